/* Address space, and what a store may take of it: what memory.c and table.c share. */
#ifndef WJ_ADDRESS_SPACE_H
#define WJ_ADDRESS_SPACE_H

#include "wj.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* The longest mapping we ask for: half of a 47-bit address space keeps every sum below free of overflow. */
#define MAX_MAPPING_BYTES (UINT64_C(1) << 46)

static inline uint64_t host_page_bytes(void)
{
    static uint64_t bytes;
    uint64_t known = __atomic_load_n(&bytes, __ATOMIC_RELAXED);
    if (known == 0) {
        known = (uint64_t)sysconf(_SC_PAGESIZE);
        __atomic_store_n(&bytes, known, __ATOMIC_RELAXED);
    }
    return known;
}

/* Callers keep `value` below 2^63. */
static inline uint64_t round_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) / alignment * alignment;
}

static inline uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

/* Inaccessible address space, or NULL with errno. */
static inline uint8_t *reserve(uint64_t size_bytes)
{
    if (size_bytes > MAX_MAPPING_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    void *mapping;
    do {
        mapping = mmap(NULL, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    } while (mapping == MAP_FAILED && wj_pool_drain());
    return mapping == MAP_FAILED ? NULL : mapping;
}

static inline bool commit(uint8_t *start, uint64_t size_bytes)
{
    return size_bytes == 0 || mprotect(start, size_bytes, PROT_READ | PROT_WRITE) == 0;
}

/* Counts what a memory or table is about to take; false, and nothing counted, if the store may not hold so much. Needs
 * store->lock. */
static inline bool take_bytes(wj_store *store, uint64_t added_bytes)
{
    if (store->total_bytes > store->max_total_bytes || added_bytes > store->max_total_bytes - store->total_bytes) {
        return false;
    }
    store->total_bytes += added_bytes;
    return true;
}

/* The same for something new of size_bytes, in a unit in which it has its own limit. EDQUOT says no. */
static inline bool take_new(wj_store *store, uint64_t size, const uint64_t *limit, uint64_t size_bytes)
{
    wj_lock_take(&store->lock);
    bool allowed = size <= *limit && take_bytes(store, size_bytes);
    wj_lock_give(&store->lock);
    return allowed;
}

static inline void give_back(wj_store *store, uint64_t size_bytes)
{
    wj_lock_take(&store->lock);
    store->total_bytes -= size_bytes;
    wj_lock_give(&store->lock);
}

#endif
