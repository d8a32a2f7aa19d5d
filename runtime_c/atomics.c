/* The atomic instructions, as functions: what the interpreter and code from stencils call. Sequentially consistent, as in
 * compiled code (compile/atomics.py). */
#include "atomics.h"
#include "interpret.h"

#define ATOMIC(name, bytes)                                                                                               \
    static uint64_t name##_##bytes(void *vmctx, uint32_t memory, uint64_t offset, uint64_t address, uint64_t operand, \
                                   uint64_t replacement)
#define PLACE(type) ((type *)(void *)wj_atomic_place(wj_memory_of(vmctx, memory), address, offset, sizeof(type)))
#define FINISH(value)                                          \
    wj_resume(&wj_this_thread, __builtin_frame_address(0)); \
    (void)operand;                                          \
    (void)replacement;                                      \
    return value

#define READ_AND_WRITE(name, bytes, type, builtin)                                        \
    ATOMIC(name, bytes)                                                                   \
    {                                                                                     \
        uint64_t before = builtin(PLACE(type), (type)operand, __ATOMIC_SEQ_CST);          \
        FINISH(before);                                                                   \
    }

/* What is in memory and narrower than an operand or result is its low bits; above those of a result there are zeros. */
#define ALL_OF(bytes, type)                                                                                        \
    ATOMIC(load, bytes)                                                                                            \
    {                                                                                                              \
        uint64_t found = __atomic_load_n(PLACE(type), __ATOMIC_SEQ_CST);                                           \
        FINISH(found);                                                                                             \
    }                                                                                                              \
    ATOMIC(store, bytes)                                                                                           \
    {                                                                                                              \
        __atomic_store_n(PLACE(type), (type)operand, __ATOMIC_SEQ_CST);                                            \
        FINISH(0);                                                                                                 \
    }                                                                                                              \
    ATOMIC(cmpxchg, bytes)                                                                                         \
    {                                                                                                              \
        type found = (type)operand;                                                                                \
        (void)__atomic_compare_exchange_n(PLACE(type), &found, (type)replacement, false, __ATOMIC_SEQ_CST,         \
                                          __ATOMIC_SEQ_CST);                                                       \
        FINISH(found);                                                                                             \
    }                                                                                                              \
    READ_AND_WRITE(add, bytes, type, __atomic_fetch_add)                                                           \
    READ_AND_WRITE(sub, bytes, type, __atomic_fetch_sub)                                                           \
    READ_AND_WRITE(and, bytes, type, __atomic_fetch_and)                                                           \
    READ_AND_WRITE(or, bytes, type, __atomic_fetch_or)                                                             \
    READ_AND_WRITE(xor, bytes, type, __atomic_fetch_xor)                                                           \
    READ_AND_WRITE(xchg, bytes, type, __atomic_exchange_n)

ALL_OF(1, uint8_t)
ALL_OF(2, uint16_t)
ALL_OF(4, uint32_t)
ALL_OF(8, uint64_t)

ATOMIC(notify, 4)
{
    (void)replacement;
    return wj_builtin_memory_notify(vmctx, memory, address, offset, operand);
}

ATOMIC(wait, 4)
{
    return wj_builtin_memory_wait32(vmctx, memory, address, offset, operand, replacement);
}

ATOMIC(wait, 8)
{
    return wj_builtin_memory_wait64(vmctx, memory, address, offset, operand, replacement);
}

wj_atomic_function *const wj_atomic_functions[WJ_ATOMIC_COUNT] = {
#define WJ_X(opcode, operation, bytes, operands, result) [opcode] = operation##_##bytes,
    WJ_ATOMIC_ROWS(WJ_X)
#undef WJ_X
};

void wj_atomic_fence(void *vmctx)
{
    (void)vmctx;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
