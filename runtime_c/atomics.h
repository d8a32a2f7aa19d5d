/* Where an atomic instruction accesses a memory (atomics.c, atomic_wait.c). */
#ifndef WJ_ATOMICS_H
#define WJ_ATOMICS_H

#include "boundary.h"

#include <errno.h>

/* Traps unless it is a multiple of the access's size, and in the memory. */
static inline uint8_t *wj_atomic_place(const wj_memory *memory, uint64_t address, uint64_t offset, uint64_t size_bytes)
{
    uint64_t start = address + offset;
    if (UNLIKELY(start % size_bytes != 0)) {
        wj_trap(WJ_TRAP_HEAP_MISALIGNED, 0);
    }
    if (start < address || !wj_in_bounds(start, size_bytes, __atomic_load_n(&memory->size_bytes, __ATOMIC_ACQUIRE))) {
        wj_trap(WJ_TRAP_MEMORY_OUT_OF_BOUNDS, 0);
    }
    return memory->base + start;
}

/* Of accesses from Python: 0, EINVAL if it is no multiple of the size, EFAULT if it is not in the memory. */
static inline int wj_atomic_error(const wj_memory *memory, uint64_t address, uint64_t size_bytes)
{
    if (!wj_in_bounds(address, size_bytes, __atomic_load_n(&memory->size_bytes, __ATOMIC_ACQUIRE))) {
        return EFAULT;
    }
    return address % size_bytes != 0 ? EINVAL : 0;
}

#endif
