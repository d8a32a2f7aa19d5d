/* The atomic instructions, as functions: what the interpreter and code from stencils call. Sequentially consistent, as in
 * compiled code (compile/atomics.py). */
#include "atomics.h"
#include "interpret.h"

#include <errno.h>

/* At a place that was checked, and as functions of wasm. What is in memory and narrower than an operand or result is its low
 * bits; above those of a result there are zeros. NOLINTBEGIN(bugprone-macro-parentheses): a type stands in none */
#define ATOMIC(name, bytes, type, expression)                                                                         \
    static uint64_t name##_at_##bytes(void *place, uint64_t operand, uint64_t replacement)                            \
    {                                                                                                                 \
        type *at = place;                                                                                             \
        (void)operand;                                                                                                \
        (void)replacement;                                                                                            \
        return expression;                                                                                            \
    }                                                                                                                 \
    static uint64_t name##_##bytes(void *vmctx, uint32_t memory, uint64_t offset, uint64_t address, uint64_t operand, \
                                   uint64_t replacement)                                                              \
    {                                                                                                                 \
        uint8_t *place = wj_atomic_place(wj_memory_of(vmctx, memory), address, offset, bytes);                        \
        uint64_t result = name##_at_##bytes(place, operand, replacement);                                             \
        wj_resume(&wj_this_thread, __builtin_frame_address(0));                                                       \
        return result;                                                                                                \
    }
/* NOLINTEND(bugprone-macro-parentheses) */
#define COMPARE_AND_EXCHANGE(type)                                                                              \
    ({                                                                                                          \
        type found = (type)operand;                                                                             \
        (void)__atomic_compare_exchange_n(at, &found, (type)replacement, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
        found;                                                                                                  \
    })
#define ALL_OF(bytes, type)                                                                                \
    ATOMIC(load, bytes, type, __atomic_load_n(at, __ATOMIC_SEQ_CST))                                       \
    ATOMIC(store, bytes, type, (__atomic_store_n(at, (type)operand, __ATOMIC_SEQ_CST), 0))                 \
    ATOMIC(cmpxchg, bytes, type, COMPARE_AND_EXCHANGE(type))                                               \
    ATOMIC(add, bytes, type, __atomic_fetch_add(at, (type)operand, __ATOMIC_SEQ_CST))                      \
    ATOMIC(sub, bytes, type, __atomic_fetch_sub(at, (type)operand, __ATOMIC_SEQ_CST))                      \
    ATOMIC(and, bytes, type, __atomic_fetch_and(at, (type)operand, __ATOMIC_SEQ_CST))                      \
    ATOMIC(or, bytes, type, __atomic_fetch_or(at, (type)operand, __ATOMIC_SEQ_CST))                        \
    ATOMIC(xor, bytes, type, __atomic_fetch_xor(at, (type)operand, __ATOMIC_SEQ_CST))                      \
    ATOMIC(xchg, bytes, type, __atomic_exchange_n(at, (type)operand, __ATOMIC_SEQ_CST))

ALL_OF(1, uint8_t)
ALL_OF(2, uint16_t)
ALL_OF(4, uint32_t)
ALL_OF(8, uint64_t)

#define CALLS(name, bytes)                                                                                            \
    static uint64_t name##_##bytes(void *vmctx, uint32_t memory, uint64_t offset, uint64_t address, uint64_t operand, \
                                   uint64_t replacement)
CALLS(notify, 4)
{
    (void)replacement;
    return wj_builtin_memory_notify(vmctx, memory, address, offset, operand);
}

CALLS(wait, 4)
{
    return wj_builtin_memory_wait32(vmctx, memory, address, offset, operand, replacement);
}

CALLS(wait, 8)
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

/* ---- from Python (SharedMemory) ---- */

int wj_memory_atomic(const wj_memory *memory, uint32_t operation, uint32_t size_bytes, uint64_t address, uint64_t operand,
                     uint64_t replacement, uint64_t *result)
{
    enum { OPERATIONS = WJ_ATOMIC_COMPARE_EXCHANGE + 1, SIZES = 9 };
    typedef uint64_t access(void *place, uint64_t operand, uint64_t replacement);
    static access *const accesses[OPERATIONS][SIZES] = {
#define SIZES_OF(name) {[1] = name##_at_1, [2] = name##_at_2, [4] = name##_at_4, [8] = name##_at_8}
        [WJ_ATOMIC_LOAD] = SIZES_OF(load),
        [WJ_ATOMIC_STORE] = SIZES_OF(store),
        [WJ_ATOMIC_ADD] = SIZES_OF(add),
        [WJ_ATOMIC_COMPARE_EXCHANGE] = SIZES_OF(cmpxchg),
#undef SIZES_OF
    };
    if (operation >= OPERATIONS || size_bytes >= SIZES || accesses[operation][size_bytes] == NULL) {
        return EINVAL;
    }
    int error = wj_atomic_error(memory, address, size_bytes);
    if (error == 0) {
        *result = accesses[operation][size_bytes](memory->base + address, operand, replacement);
    }
    return error;
}
