/* What bulk instructions of memories, tables and arrays share: builtins.c, gc_arrays.c. */
#ifndef WJ_BUILTINS_H
#define WJ_BUILTINS_H

#include "wj.h"

#include <string.h>

/* Interrupts are looked at between pieces of this size: two milliseconds where every page is touched first. */
#define PIECE_BYTES (UINT64_C(2) << 20)

#define FREE_COUNT 128u /* bytes, elements or pages that a bulk instruction handles whatever fuel is left */

/* The last thing that a builtin does: see wj_resume. */
static inline void resume(void)
{
    wj_resume(&wj_this_thread, __builtin_frame_address(0));
}

/* Of a bulk instruction whose operands are in bounds, before anything moves: generated code has charged for the whole of
 * it (compile/metering.py), but only looks where functions and loops begin, and straight code may move terabytes before
 * that. What is cheap runs though, as with the wasmtime package: then both stop at the same instructions. */
static inline void spend(const void *vmctx, uint64_t count)
{
    if (count > FREE_COUNT && (int64_t)((const wj_vmcontext *)vmctx)->store->fuel <= 0) {
        wj_trap(WJ_TRAP_OUT_OF_FUEL, 0);
    }
}

static inline wj_segment_slot *data_segment_of(void *vmctx, uint32_t index)
{
    const wj_vmcontext *context = vmctx;
    uint8_t *slots = (uint8_t *)vmctx + context->instance->data_segments;
    return (wj_segment_slot *)(void *)slots + index;
}

static inline wj_segment_slot *element_segment_of(void *vmctx, uint32_t index)
{
    const wj_vmcontext *context = vmctx;
    uint8_t *slots = (uint8_t *)vmctx + context->instance->element_segments;
    return (wj_segment_slot *)(void *)slots + index;
}

/* Copies between places of two memories, tables or arrays, in pieces. Python's signal handlers may run between them, and a
 * trap may end it half done; contents stay where they are meanwhile (wj_store.frozen). */
static inline void copy_in_pieces(uint8_t *to, const uint8_t *from, uint64_t size_bytes)
{
    bool from_the_end = to > from; /* where they overlap, no piece may overwrite what is still to be copied */
    while (size_bytes > PIECE_BYTES) {
        size_bytes -= PIECE_BYTES;
        if (from_the_end) {
            memmove(to + size_bytes, from + size_bytes, PIECE_BYTES);
        } else {
            memmove(to, from, PIECE_BYTES);
            to += PIECE_BYTES;
            from += PIECE_BYTES;
        }
        resume();
    }
    if (size_bytes != 0) { /* a dropped or empty segment may have no start */
        memmove(to, from, size_bytes);
    }
    resume();
}

#endif
