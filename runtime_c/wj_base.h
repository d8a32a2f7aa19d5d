/* What all of the C runtime uses: includes, types by name, the clock, bounds. */
#ifndef WJ_BASE_H
#define WJ_BASE_H

/* Include this before any system header (boundary.h: after Python.h, which defines it too). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "arch.h"
#include "wj_abi.h"
#include "wj_api.h"

#define WJ_INTERNAL __attribute__((visibility("hidden")))
#define WJ_MAX_BACKTRACE 128

#define WJ_NS_PER_SECOND INT64_C(1000000000)

static inline int64_t wj_now_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * WJ_NS_PER_SECOND + now.tv_nsec;
}

typedef struct wj_thread wj_thread;
typedef struct wj_entry wj_entry;
typedef struct wj_host_func wj_host_func;
typedef struct wj_allocation wj_allocation;
typedef struct wj_view wj_view;
typedef struct wj_membership wj_membership;
typedef struct wj_externref_root wj_externref_root;
typedef struct wj_interpreted wj_interpreted;
typedef struct wj_tag wj_tag;
typedef struct wj_exception wj_exception;

#define WJ_ASSERT_OFFSET(type, field, offset) \
    _Static_assert(offsetof(type, field) == (offset), #type "." #field " differs from wasmjit/abi.py")

static inline bool wj_in_bounds(uint64_t start, uint64_t count, uint64_t size)
{
    return start <= size && count <= size - start;
}

#endif
