/* Reservations of freed memories, kept for the next ones: making and unmapping 8 GiB of address space costs more than
 * everything else about a small instance. A pooled mapping holds no pages; it reads as zero, or as its image.
 * Slots are exchanged atomically, without a lock: a fork in the middle of it leaves nothing held. */
#include "wj.h"

#include <stdlib.h>
#include <sys/mman.h>

#define POOLED_MAPPINGS 16
#define SMALLEST_POOLED_BYTES (UINT64_C(4) << 30) /* smaller ones are cheap, and of many sizes */

static wj_memory *pool[POOLED_MAPPINGS];

static void discard(wj_memory *memory)
{
    munmap(memory->mapping, memory->mapping_bytes);
    wj_lock_destroy(&memory->lock);
    free(memory);
}

static wj_memory *take_slot(int slot)
{
    if (__atomic_load_n(&pool[slot], __ATOMIC_RELAXED) == NULL) {
        return NULL;
    }
    return __atomic_exchange_n(&pool[slot], NULL, __ATOMIC_ACQ_REL);
}

static void put_anywhere(wj_memory *memory)
{
    for (int slot = 0; slot < POOLED_MAPPINGS; slot++) {
        wj_memory *expected = NULL;
        if (__atomic_compare_exchange_n(&pool[slot], &expected, memory, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            return;
        }
    }
    discard(memory);
}

wj_memory *wj_pool_take(uint64_t mapping_bytes, uint64_t guard_bytes, uint64_t image_id)
{
    wj_memory *found = NULL;
    for (int slot = 0; slot < POOLED_MAPPINGS; slot++) {
        wj_memory *memory = take_slot(slot);
        if (memory == NULL) {
            continue;
        }
        bool fits = memory->mapping_bytes == mapping_bytes && memory->guard_bytes == guard_bytes;
        if (fits && memory->image_id == image_id) {
            if (found != NULL) {
                put_anywhere(found);
            }
            return memory;
        }
        if (fits && found == NULL) {
            found = memory;
        } else {
            put_anywhere(memory);
        }
    }
    return found;
}

void wj_pool_give(wj_memory *memory)
{
    bool kept = memory->mapping_bytes >= SMALLEST_POOLED_BYTES && !memory->moves &&
                (memory->committed_bytes == 0 || madvise(memory->base, memory->committed_bytes, MADV_DONTNEED) == 0);
    if (kept) {
        put_anywhere(memory);
    } else {
        discard(memory);
    }
}

bool wj_pool_drain(void)
{
    bool any = false;
    for (int slot = 0; slot < POOLED_MAPPINGS; slot++) {
        wj_memory *memory = take_slot(slot);
        if (memory != NULL) {
            discard(memory);
            any = true;
        }
    }
    return any;
}

void wj_pool_forget(uint64_t image_id)
{
    for (int slot = 0; slot < POOLED_MAPPINGS; slot++) {
        wj_memory *memory = take_slot(slot);
        if (memory != NULL && memory->image_id == image_id) {
            discard(memory);
        } else if (memory != NULL) {
            put_anywhere(memory);
        }
    }
}
