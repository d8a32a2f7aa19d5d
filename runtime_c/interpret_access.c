/* Loads and stores, from the body of a function to the interpreter's words. */
#include "interpret_translate.h"

/* The static analyser does not know that bodies are valid, and takes the operand stack and the frames to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

enum { HAS_MEMORY_INDEX = 0x40 }; /* flag of a memory argument */

wj_memory_place wj_memory_argument(translator *t)
{
    uint32_t flags = read_index(t);
    uint32_t memory = (flags & HAS_MEMORY_INDEX) != 0 ? read_index(t) : 0;
    return (wj_memory_place){memory, read_unsigned(t)};
}

void wj_emit_place(translator *t, wj_memory_place at)
{
    emit(t, 2 * at.memory + is_wide_memory(t, at.memory));
    emit(t, (uint32_t)at.offset);
    emit(t, (uint32_t)(at.offset >> 32));
}

/* Before an access: the guard behind the memory takes what ends up to `guard_bytes` behind the largest address. A larger
 * offset reaches over it, to whatever the process has there: without the check, a guest reads and writes its host. */
static void check_offset(translator *t, uint32_t address, uint32_t offset, uint32_t access_bytes, const uint8_t *at)
{
    if ((uint64_t)offset + access_bytes <= t->of->plan.guard_bytes) {
        return;
    }
    site(t, at);
    begin(t, WJ_OP_CHECK);
    emit(t, address);
    emit(t, offset);
    emit(t, access_bytes);
}

/* The same access with a comparison. */
static uint32_t checked_access(uint32_t operation)
{
    switch (operation) {
    case WJ_OP_V128_LOAD:
        return WJ_OP_V128_LOAD_CHECKED;
    case WJ_OP_V128_STORE:
        return WJ_OP_V128_STORE_CHECKED;
    default:
        return operation - WJ_OP_I32_LOAD + WJ_OP_I32_LOAD_CHECKED;
    }
}

void wj_access(translator *t, uint32_t operation, uint32_t access_bytes, wj_memory_place at_memory, const uint32_t *slots,
               uint32_t address, const uint8_t *at)
{
    bool compares = is_checked(t, at_memory.memory);
    if (!compares) {
        check_offset(t, address, (uint32_t)at_memory.offset, access_bytes, at);
    }
    site(t, at);
    begin(t, compares ? checked_access(operation) : operation);
    emit(t, slots[0]);
    emit(t, slots[1]);
    if (compares) {
        wj_emit_place(t, at_memory);
    } else {
        emit(t, (uint32_t)at_memory.offset);
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
