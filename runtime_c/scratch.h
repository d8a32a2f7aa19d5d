/* Memory of a translation, which needs a dozen arrays, each for as long as it takes: one block, from which arrays get what
 * they usually need. One that needs more is allocated by itself then. */
#ifndef WJ_SCRATCH_H
#define WJ_SCRATCH_H

#include "wj_base.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *start;
    size_t used_bytes, size_bytes;
} wj_scratch;

enum { WJ_SCRATCH_ALIGNMENT = 16 };

/* False: there is no memory. What is taken first is zeroed, so much of it. */
static inline bool wj_scratch_begin(wj_scratch *s, size_t zeroed_bytes, size_t size_bytes)
{
    s->used_bytes = 0;
    s->size_bytes = size_bytes;
    s->start = malloc(size_bytes);
    if (s->start != NULL) {
        memset(s->start, 0, zeroed_bytes);
    }
    return s->start != NULL;
}

static inline size_t wj_scratch_rounded(size_t size_bytes)
{
    return (size_bytes + WJ_SCRATCH_ALIGNMENT - 1) & ~(size_t)(WJ_SCRATCH_ALIGNMENT - 1);
}

/* So many bytes of the block, which has room for them. Where a sanitizer looks for what leaves an array, each is allocated
 * by itself; then it may be NULL. */
static inline void *wj_scratch_take(wj_scratch *s, size_t size_bytes)
{
#ifdef __SANITIZE_ADDRESS__
    s->used_bytes += size_bytes;
    return calloc(1, size_bytes);
#else
    void *taken = s->start + s->used_bytes;
    s->used_bytes += wj_scratch_rounded(size_bytes);
    return taken;
#endif
}

static inline bool wj_scratch_has(const wj_scratch *s, const void *array)
{
    return (uintptr_t)array - (uintptr_t)s->start < s->size_bytes;
}

/* As realloc of an array of which `used_bytes` are in use. */
static inline void *wj_scratch_resize(const wj_scratch *s, void *array, size_t used_bytes, size_t size_bytes)
{
    if (array == NULL || !wj_scratch_has(s, array)) {
        return realloc(array, size_bytes);
    }
    void *made = malloc(size_bytes);
    if (made != NULL) {
        memcpy(made, array, used_bytes);
    }
    return made;
}

static inline void wj_scratch_free(const wj_scratch *s, void *array)
{
    if (array != NULL && !wj_scratch_has(s, array)) {
        free(array);
    }
}

static inline void wj_scratch_end(wj_scratch *s)
{
    free(s->start);
    s->start = NULL;
}

#endif
