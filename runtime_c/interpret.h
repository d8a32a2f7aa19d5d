/* The interpreter: what functions of `Config.tier` "auto" run in until they are worth compiling, and constant functions in
 * every tier.
 *
 * Bodies are translated once, at their first call, from the module's bytes, which validation has accepted, to words of
 * 32 bits: the number of an operation, then its operands. An operand of an instruction is a slot of the activation:
 * first the locals, then one slot per place of the operand stack. A slot has 64 bits; of an i32 or f32 the low half
 * counts; a v128 takes two. Functions of which validation does not say that they can be interpreted (`BodyFacts.is_interpretable`) are
 * compiled. */
#ifndef WJ_INTERPRET_H
#define WJ_INTERPRET_H

#include "boundary.h"
#include "wj_opcodes.h"

/* What instructions compute, by opcode of the binary format: opcode, name, type of the result, types of the operands,
 * expression. Operands are called a and b. Expressions that trap first call TRAP_IF. */
#define WJ_INTEGER_BINARY_ROWS(X)                                              \
    X(0x46, I32_EQ, u32, u32, u32, a == b)                                     \
    X(0x47, I32_NE, u32, u32, u32, a != b)                                     \
    X(0x48, I32_LT_S, u32, s32, s32, a < b)                                    \
    X(0x49, I32_LT_U, u32, u32, u32, a < b)                                    \
    X(0x4a, I32_GT_S, u32, s32, s32, a > b)                                    \
    X(0x4b, I32_GT_U, u32, u32, u32, a > b)                                    \
    X(0x4c, I32_LE_S, u32, s32, s32, a <= b)                                   \
    X(0x4d, I32_LE_U, u32, u32, u32, a <= b)                                   \
    X(0x4e, I32_GE_S, u32, s32, s32, a >= b)                                   \
    X(0x4f, I32_GE_U, u32, u32, u32, a >= b)                                   \
    X(0x51, I64_EQ, u32, u64, u64, a == b)                                     \
    X(0x52, I64_NE, u32, u64, u64, a != b)                                     \
    X(0x53, I64_LT_S, u32, s64, s64, a < b)                                    \
    X(0x54, I64_LT_U, u32, u64, u64, a < b)                                    \
    X(0x55, I64_GT_S, u32, s64, s64, a > b)                                    \
    X(0x56, I64_GT_U, u32, u64, u64, a > b)                                    \
    X(0x57, I64_LE_S, u32, s64, s64, a <= b)                                   \
    X(0x58, I64_LE_U, u32, u64, u64, a <= b)                                   \
    X(0x59, I64_GE_S, u32, s64, s64, a >= b)                                   \
    X(0x5a, I64_GE_U, u32, u64, u64, a >= b)                                   \
    X(0x6a, I32_ADD, u32, u32, u32, a + b)                                     \
    X(0x6b, I32_SUB, u32, u32, u32, a - b)                                     \
    X(0x6c, I32_MUL, u32, u32, u32, a * b)                                     \
    X(0x71, I32_AND, u32, u32, u32, a & b)                                     \
    X(0x72, I32_OR, u32, u32, u32, a | b)                                      \
    X(0x73, I32_XOR, u32, u32, u32, a ^ b)                                     \
    X(0x74, I32_SHL, u32, u32, u32, a << (b & 31))                             \
    X(0x75, I32_SHR_S, s32, s32, u32, a >> (b & 31))                           \
    X(0x76, I32_SHR_U, u32, u32, u32, a >> (b & 31))                           \
    X(0x77, I32_ROTL, u32, u32, u32, a << (b & 31) | a >> (-b & 31))           \
    X(0x78, I32_ROTR, u32, u32, u32, a >> (b & 31) | a << (-b & 31))           \
    X(0x7c, I64_ADD, u64, u64, u64, a + b)                                     \
    X(0x7d, I64_SUB, u64, u64, u64, a - b)                                     \
    X(0x7e, I64_MUL, u64, u64, u64, a * b)                                     \
    X(0x83, I64_AND, u64, u64, u64, a & b)                                     \
    X(0x84, I64_OR, u64, u64, u64, a | b)                                      \
    X(0x85, I64_XOR, u64, u64, u64, a ^ b)                                     \
    X(0x86, I64_SHL, u64, u64, u64, a << (b & 63))                             \
    X(0x87, I64_SHR_S, s64, s64, u64, a >> (b & 63))                           \
    X(0x88, I64_SHR_U, u64, u64, u64, a >> (b & 63))                           \
    X(0x89, I64_ROTL, u64, u64, u64, a << (b & 63) | a >> (-b & 63))           \
    X(0x8a, I64_ROTR, u64, u64, u64, a >> (b & 63) | a << (-b & 63))           \
    X(0x6d, I32_DIV_S, s32, s32, s32, (TRAP_ZERO(b), TRAP_IF(a == INT32_MIN && b == -1, INTEGER_OVERFLOW), a / b)) \
    X(0x6e, I32_DIV_U, u32, u32, u32, (TRAP_ZERO(b), a / b))                   \
    X(0x6f, I32_REM_S, s32, s32, s32, (TRAP_ZERO(b), b == -1 ? 0 : a % b))     \
    X(0x70, I32_REM_U, u32, u32, u32, (TRAP_ZERO(b), a % b))                   \
    X(0x7f, I64_DIV_S, s64, s64, s64, (TRAP_ZERO(b), TRAP_IF(a == INT64_MIN && b == -1, INTEGER_OVERFLOW), a / b)) \
    X(0x80, I64_DIV_U, u64, u64, u64, (TRAP_ZERO(b), a / b))                   \
    X(0x81, I64_REM_S, s64, s64, s64, (TRAP_ZERO(b), b == -1 ? 0 : a % b))     \
    X(0x82, I64_REM_U, u64, u64, u64, (TRAP_ZERO(b), a % b))

#define WJ_FLOAT_BINARY_ROWS(X)                                                \
    X(0x5b, F32_EQ, u32, f32, f32, a == b)                                     \
    X(0x5c, F32_NE, u32, f32, f32, a != b)                                     \
    X(0x5d, F32_LT, u32, f32, f32, a < b)                                      \
    X(0x5e, F32_GT, u32, f32, f32, a > b)                                      \
    X(0x5f, F32_LE, u32, f32, f32, a <= b)                                     \
    X(0x60, F32_GE, u32, f32, f32, a >= b)                                     \
    X(0x61, F64_EQ, u32, f64, f64, a == b)                                     \
    X(0x62, F64_NE, u32, f64, f64, a != b)                                     \
    X(0x63, F64_LT, u32, f64, f64, a < b)                                      \
    X(0x64, F64_GT, u32, f64, f64, a > b)                                      \
    X(0x65, F64_LE, u32, f64, f64, a <= b)                                     \
    X(0x66, F64_GE, u32, f64, f64, a >= b)                                     \
    X(0x92, F32_ADD, f32, f32, f32, a + b)                                     \
    X(0x93, F32_SUB, f32, f32, f32, a - b)                                     \
    X(0x94, F32_MUL, f32, f32, f32, a * b)                                     \
    X(0x95, F32_DIV, f32, f32, f32, a / b)                                     \
    X(0x96, F32_MIN, f32, f32, f32, MINIMUM(a, b, u32))                        \
    X(0x97, F32_MAX, f32, f32, f32, MAXIMUM(a, b, u32))                        \
    X(0x98, F32_COPYSIGN, u32, u32, u32, (a & 0x7fffffffu) | (b & 0x80000000u)) \
    X(0xa0, F64_ADD, f64, f64, f64, a + b)                                     \
    X(0xa1, F64_SUB, f64, f64, f64, a - b)                                     \
    X(0xa2, F64_MUL, f64, f64, f64, a * b)                                     \
    X(0xa3, F64_DIV, f64, f64, f64, a / b)                                     \
    X(0xa4, F64_MIN, f64, f64, f64, MINIMUM(a, b, u64))                        \
    X(0xa5, F64_MAX, f64, f64, f64, MAXIMUM(a, b, u64))                        \
    X(0xa6, F64_COPYSIGN, u64, u64, u64, (a & (UINT64_MAX >> 1)) | (b & ~(UINT64_MAX >> 1)))

/* Bounds of truncations are exact in f64: the first values that do not fit. */
#define WJ_UNARY_ROWS(X)                                                       \
    X(0x45, I32_EQZ, u32, u32, a == 0)                                         \
    X(0x50, I64_EQZ, u32, u64, a == 0)                                         \
    X(0x67, I32_CLZ, u32, u32, a == 0 ? 32 : (u32)__builtin_clz(a))            \
    X(0x68, I32_CTZ, u32, u32, a == 0 ? 32 : (u32)__builtin_ctz(a))            \
    X(0x69, I32_POPCNT, u32, u32, (u32)__builtin_popcount(a))                  \
    X(0x79, I64_CLZ, u64, u64, a == 0 ? 64 : (u64)__builtin_clzll(a))          \
    X(0x7a, I64_CTZ, u64, u64, a == 0 ? 64 : (u64)__builtin_ctzll(a))          \
    X(0x7b, I64_POPCNT, u64, u64, (u64)__builtin_popcountll(a))                \
    X(0x8b, F32_ABS, u32, u32, a & 0x7fffffffu)                                \
    X(0x8c, F32_NEG, u32, u32, a ^ 0x80000000u)                                \
    X(0x8d, F32_CEIL, f32, f32, QUIET(ceilf(a)))                                      \
    X(0x8e, F32_FLOOR, f32, f32, QUIET(floorf(a)))                                    \
    X(0x8f, F32_TRUNC, f32, f32, QUIET(truncf(a)))                                    \
    X(0x90, F32_NEAREST, f32, f32, QUIET(rintf(a)))                                   \
    X(0x91, F32_SQRT, f32, f32, sqrtf(a))                                      \
    X(0x99, F64_ABS, u64, u64, a & (UINT64_MAX >> 1))                          \
    X(0x9a, F64_NEG, u64, u64, a ^ ~(UINT64_MAX >> 1))                         \
    X(0x9b, F64_CEIL, f64, f64, QUIET(ceil(a)))                                       \
    X(0x9c, F64_FLOOR, f64, f64, QUIET(floor(a)))                                     \
    X(0x9d, F64_TRUNC, f64, f64, QUIET(trunc(a)))                                     \
    X(0x9e, F64_NEAREST, f64, f64, QUIET(rint(a)))                                    \
    X(0x9f, F64_SQRT, f64, f64, sqrt(a))                                       \
    X(0xa8, I32_TRUNC_F32_S, s32, f32, (TRAP_UNLESS_BETWEEN(a, -2147483649.0, 2147483648.0), (s32)a)) \
    X(0xa9, I32_TRUNC_F32_U, u32, f32, (TRAP_UNLESS_BETWEEN(a, -1.0, 4294967296.0), (u32)a)) \
    X(0xaa, I32_TRUNC_F64_S, s32, f64, (TRAP_UNLESS_BETWEEN(a, -2147483649.0, 2147483648.0), (s32)a)) \
    X(0xab, I32_TRUNC_F64_U, u32, f64, (TRAP_UNLESS_BETWEEN(a, -1.0, 4294967296.0), (u32)a)) \
    X(0xac, I64_EXTEND_I32_S, s64, s32, (s64)a)                                \
    X(0xad, I64_EXTEND_I32_U, u64, u32, (u64)a)                                \
    X(0xae, I64_TRUNC_F32_S, s64, f32, (TRAP_UNLESS_FROM(a, -0x1p63, 0x1p63), (s64)a)) \
    X(0xaf, I64_TRUNC_F32_U, u64, f32, (TRAP_UNLESS_BETWEEN(a, -1.0, 0x1p64), (u64)a)) \
    X(0xb0, I64_TRUNC_F64_S, s64, f64, (TRAP_UNLESS_FROM(a, -0x1p63, 0x1p63), (s64)a)) \
    X(0xb1, I64_TRUNC_F64_U, u64, f64, (TRAP_UNLESS_BETWEEN(a, -1.0, 0x1p64), (u64)a)) \
    X(0xb2, F32_CONVERT_I32_S, f32, s32, (f32)a)                               \
    X(0xb3, F32_CONVERT_I32_U, f32, u32, (f32)a)                               \
    X(0xb4, F32_CONVERT_I64_S, f32, s64, (f32)a)                               \
    X(0xb5, F32_CONVERT_I64_U, f32, u64, (f32)a)                               \
    X(0xb6, F32_DEMOTE_F64, f32, f64, (f32)a)                                  \
    X(0xb7, F64_CONVERT_I32_S, f64, s32, (f64)a)                               \
    X(0xb8, F64_CONVERT_I32_U, f64, u32, (f64)a)                               \
    X(0xb9, F64_CONVERT_I64_S, f64, s64, (f64)a)                               \
    X(0xba, F64_CONVERT_I64_U, f64, u64, (f64)a)                               \
    X(0xbb, F64_PROMOTE_F32, f64, f32, (f64)a)                                 \
    X(0xc0, I32_EXTEND8_S, s32, u32, (int8_t)a)                                \
    X(0xc1, I32_EXTEND16_S, s32, u32, (int16_t)a)                              \
    X(0xc2, I64_EXTEND8_S, s64, u64, (int8_t)a)                                \
    X(0xc3, I64_EXTEND16_S, s64, u64, (int16_t)a)                              \
    X(0xc4, I64_EXTEND32_S, s64, u64, (s32)a)                                  \
    X(0xd1, REF_IS_NULL, u32, u64, a == 0)                                     \
    X(0xd4, REF_AS_NON_NULL, u64, u64, (TRAP_IF(a == 0, NULL_REFERENCE), a))   \
    X(0xfc00, I32_TRUNC_SAT_F32_S, s32, f32, SATURATE(a, -0x1p31, 0x1p31, s32, INT32_MIN, INT32_MAX)) \
    X(0xfc01, I32_TRUNC_SAT_F32_U, u32, f32, SATURATE(a, 0.0, 0x1p32, u32, 0, UINT32_MAX)) \
    X(0xfc02, I32_TRUNC_SAT_F64_S, s32, f64, SATURATE(a, -0x1p31, 0x1p31, s32, INT32_MIN, INT32_MAX)) \
    X(0xfc03, I32_TRUNC_SAT_F64_U, u32, f64, SATURATE(a, 0.0, 0x1p32, u32, 0, UINT32_MAX)) \
    X(0xfc04, I64_TRUNC_SAT_F32_S, s64, f32, SATURATE(a, -0x1p63, 0x1p63, s64, INT64_MIN, INT64_MAX)) \
    X(0xfc05, I64_TRUNC_SAT_F32_U, u64, f32, SATURATE(a, 0.0, 0x1p64, u64, 0, UINT64_MAX)) \
    X(0xfc06, I64_TRUNC_SAT_F64_S, s64, f64, SATURATE(a, -0x1p63, 0x1p63, s64, INT64_MIN, INT64_MAX)) \
    X(0xfc07, I64_TRUNC_SAT_F64_U, u64, f64, SATURATE(a, 0.0, 0x1p64, u64, 0, UINT64_MAX))

/* Opcode, name, type in memory, type that it widens to. */
#define WJ_LOAD_ROWS(X)                                                        \
    X(0x28, I32_LOAD, uint32_t, u32)                                           \
    X(0x29, I64_LOAD, uint64_t, u64)                                           \
    X(0x2a, F32_LOAD, uint32_t, u32)                                           \
    X(0x2b, F64_LOAD, uint64_t, u64)                                           \
    X(0x2c, I32_LOAD8_S, int8_t, s32)                                          \
    X(0x2d, I32_LOAD8_U, uint8_t, u32)                                         \
    X(0x2e, I32_LOAD16_S, int16_t, s32)                                        \
    X(0x2f, I32_LOAD16_U, uint16_t, u32)                                       \
    X(0x30, I64_LOAD8_S, int8_t, s64)                                          \
    X(0x31, I64_LOAD8_U, uint8_t, u64)                                         \
    X(0x32, I64_LOAD16_S, int16_t, s64)                                        \
    X(0x33, I64_LOAD16_U, uint16_t, u64)                                       \
    X(0x34, I64_LOAD32_S, int32_t, s64)                                        \
    X(0x35, I64_LOAD32_U, uint32_t, u64)
#define WJ_STORE_ROWS(X)                                                       \
    X(0x36, I32_STORE, uint32_t)                                               \
    X(0x37, I64_STORE, uint64_t)                                               \
    X(0x38, F32_STORE, uint32_t)                                               \
    X(0x39, F64_STORE, uint64_t)                                               \
    X(0x3a, I32_STORE8, uint8_t)                                               \
    X(0x3b, I32_STORE16, uint16_t)                                             \
    X(0x3c, I64_STORE8, uint8_t)                                               \
    X(0x3d, I64_STORE16, uint16_t)                                             \
    X(0x3e, I64_STORE32, uint32_t)

/* Operations, how many words they have with their number, and what those behind it are. `d` is the slot of the result. A
 * table of branches has a word more for each target but the default's. */
#define WJ_OTHER_OPERATIONS(X)                                                 \
    X(UNREACHABLE, 1)                                                          \
    X(COPY, 3)          /* d, slot */                                          \
    X(MOVE, 4)          /* first d, first slot, count: d lies below slot */    \
    X(CONSTANT, 3)      /* d, value */                                         \
    X(CONSTANT_64, 4)   /* d, low half, high half */                           \
    X(SELECT, 5)        /* d, slot, slot, slot of the condition */             \
    /* The same of vectors, whose first slots are named. */                    \
    X(COPY_128, 3)                                                             \
    X(CONSTANT_128, 6)  /* d, four words */                                    \
    X(SELECT_128, 5)                                                           \
    X(V128_LOAD, 4)     /* d, slot of the address, offset */                   \
    X(V128_STORE, 4)    /* slot of the address, slot, offset */                \
    X(V128_LOAD_CHECKED, 6)                                                    \
    X(V128_STORE_CHECKED, 6)                                                   \
    X(LOOP, 2)          /* offset in the module of the loop, or 0 if it cannot be entered */ \
    X(BRANCH, 2)        /* target: distance in words from here */              \
    X(BRANCH_IF, 3)     /* slot, target */                                     \
    X(BRANCH_UNLESS, 3) /* slot, target */                                     \
    X(BRANCH_ON_NULL, 3)     /* slot of the reference, target */               \
    X(BRANCH_ON_NON_NULL, 3) /* slot of the reference, target */               \
    X(BRANCH_TABLE, 4)  /* slot, count, targets and the default's */           \
    X(RETURN, 2)        /* slot of the first result; the others follow */      \
    X(CALL, 3)          /* function, slot of the first operand and result */   \
    X(CALL_IMPORT, 3)   /* as CALL */                                          \
    X(CALL_INDIRECT, 5) /* type, table, slot of the index, slot of the first operand and result */ \
    X(CALL_REF, 4)      /* type, slot of the reference, slot of the first operand and result */ \
    X(RETURN_CALL, 3)   /* as CALL, and the other calls: in place of this function */ \
    X(RETURN_CALL_IMPORT, 3)                                                   \
    X(RETURN_CALL_INDIRECT, 5)                                                 \
    X(RETURN_CALL_REF, 4)                                                      \
    X(GLOBAL_GET_32, 3) /* d, offset in the instance context */                \
    X(GLOBAL_GET_64, 3)                                                        \
    X(GLOBAL_SET_32, 3) /* slot, offset */                                     \
    X(GLOBAL_SET_64, 3)                                                        \
    X(IMPORTED_GLOBAL_GET_32, 3) /* as above; at the offset is the value's address */ \
    X(IMPORTED_GLOBAL_GET_64, 3)                                               \
    X(IMPORTED_GLOBAL_SET_32, 3)                                               \
    X(IMPORTED_GLOBAL_SET_64, 3)                                               \
    X(GLOBAL_GET_128, 3)                                                       \
    X(GLOBAL_SET_128, 3)                                                       \
    X(IMPORTED_GLOBAL_GET_128, 3)                                              \
    X(IMPORTED_GLOBAL_SET_128, 3)                                              \
    X(REF_FUNC, 3)          /* d, offset of the func-ref */                    \
    X(REF_FUNC_IMPORTED, 3) /* d, offset of its address */                     \
    X(TABLE_GET, 4)    /* d, table, slot */                                    \
    X(TABLE_SET, 4)    /* table, slot of the index, slot */                    \
    X(TABLE_SIZE, 3)   /* d, table */                                          \
    X(TABLE_GROW, 5)   /* d, table, slot of the reference, slot of the delta */ \
    X(TABLE_FILL, 5)   /* table, slots of index, reference, count */           \
    X(TABLE_COPY, 6)   /* to, from, slots of to, from, count */                \
    X(TABLE_INIT, 6)   /* table, segment, slots of to, from, count */          \
    X(ELEM_DROP, 2)    /* segment */                                           \
    X(CHECK, 4)        /* slot of the address, offset, size of the access in bytes: traps unless memory 0 has all of it */ \
    X(MEMORY_SIZE, 3)  /* d, memory */                                         \
    X(MEMORY_GROW, 4)  /* d, memory, slot */                                   \
    X(MEMORY_FILL, 5)  /* memory, slots of to, byte, count */                  \
    X(MEMORY_COPY, 6)  /* to, from, slots of to, from, count */                \
    X(MEMORY_INIT, 6)  /* memory, segment, slots of to, from, count */         \
    X(DATA_DROP, 2)    /* segment */                                           \
    /* As those above, with operands of 64 bits each. */                       \
    X(TABLE_GROW_WIDE, 5)                                                      \
    X(TABLE_FILL_WIDE, 5)                                                      \
    X(TABLE_COPY_WIDE, 6)                                                      \
    X(TABLE_INIT_WIDE, 6)                                                      \
    X(MEMORY_GROW_WIDE, 4)                                                     \
    X(MEMORY_FILL_WIDE, 5)                                                     \
    X(MEMORY_COPY_WIDE, 6)                                                     \
    X(MEMORY_INIT_WIDE, 6)                                                     \
    X(ATOMIC, 9) /* d or NO_RESULT, row, memory and offset as of a comparison, slots of the address and of two operands */ \
    X(ATOMIC_FENCE, 1)                                                         \
    X(CANONICAL_32, 3) /* d, slot of an f32: the canonical NaN in place of any other */ \
    X(CANONICAL_64, 3)                                                         \
    X(I64_ADD128, 6)   /* first d, slots of low and high halves */              \
    X(I64_SUB128, 6)                                                           \
    X(I64_MUL_WIDE_S, 4)                                                       \
    X(I64_MUL_WIDE_U, 4)                                                       \
    X(SATURATE, 3)     /* d, slot of 64 bits: as an i32, the largest if it does not fit */ \
    X(FUEL_BEGIN, 1)   /* of a function: takes over what the store says is left, less 1; traps if that is nothing */ \
    X(FUEL, 2)         /* cost of what was passed */                              \
    X(FUEL_SAVE, 2)    /* cost; tells the store what is left */                   \
    X(FUEL_SAVE_COUNT, 4) /* cost, slot of a count that is charged too, whether that has 64 bits */ \
    X(FUEL_LOAD, 1)    /* what the store says is left */                          \
    X(FUEL_CHECK, 1)   /* traps if that is nothing */                             \
    X(EPOCH, 1)        /* calls the runtime if the deadline is reached */

/* Binary integer operations exist with a constant in place of the second slot, too; and comparisons of integers as
 * branches that are taken if they hold. Accesses exist with a comparison: of any memory, whose number, doubled, and whether its
 * addresses have 64 bits are a word, and with an offset of two words. */
#define WJ_IMMEDIATE(name) WJ_OP_##name##_IMMEDIATE
enum wj_operation {
#define WJ_X(name, words) WJ_OP_##name,
    WJ_OTHER_OPERATIONS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) WJ_OP_##name,
    WJ_UNARY_ROWS(WJ_X) WJ_FLOAT_BINARY_ROWS(WJ_X) WJ_LOAD_ROWS(WJ_X) WJ_STORE_ROWS(WJ_X)
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) WJ_IMMEDIATE(name),
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) WJ_OP_BRANCH_##name,
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) WJ_OP_BRANCH_##name##_IMMEDIATE,
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) WJ_OP_##name##_CHECKED,
    WJ_LOAD_ROWS(WJ_X) WJ_STORE_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) WJ_OP_##name,
    WJ_VECTOR_ROWS(WJ_X)
#undef WJ_X
    WJ_OPERATION_COUNT
};
enum { WJ_FIRST_VECTOR = WJ_OPERATION_COUNT - WJ_VECTOR_ROW_COUNT };

/* How many words: of rows, result or target, operands, and what an access adds to an address, are one each. */
enum {
#define WJ_X(name, words) WJ_WORDS_##name = (words),
    WJ_OTHER_OPERATIONS(WJ_X)
#undef WJ_X
    WJ_WORDS_UNARY = 3,
    WJ_WORDS_BINARY = 4,
    WJ_WORDS_ACCESS = 4,
    WJ_WORDS_CHECKED_ACCESS = 6,
    WJ_WORDS_VECTOR_UNARY = 3, /* of vector rows, by form; the number of a lane is behind the slots */
    WJ_WORDS_VECTOR_BINARY = 4,
    WJ_WORDS_VECTOR_TERNARY = 5,
    WJ_WORDS_VECTOR_UNARY_LANE = 4,
    WJ_WORDS_VECTOR_BINARY_LANE = 5,
    WJ_WORDS_VECTOR_SHUFFLE = 8, /* d, slot, slot, the bytes' indices in four words */
};

/* ---- what atomic rows do (atomics.c) ---- */

enum { WJ_ATOMIC_COUNT = 0x4f };
#define WJ_NO_RESULT UINT32_MAX

/* Whatever has no result returns 0; of fewer operands the last are not looked at. Traps. */
typedef uint64_t wj_atomic_function(void *vmctx, uint32_t memory, uint64_t offset, uint64_t address, uint64_t operand,
                                    uint64_t replacement);
/* By sub-opcode; NULL: there is none. */
extern WJ_INTERNAL wj_atomic_function *const wj_atomic_functions[WJ_ATOMIC_COUNT];
WJ_INTERNAL void wj_atomic_fence(void *vmctx);

/* ---- what vector rows compute: machine code that LLVM has made of their texts (wasmjit/stencils/routines.py) ---- */

/* From the slots of a row's operands, or NULL, to that of its result. `lane`: if it has an immediate of that kind. */
typedef void wj_vector_routine(void *result, const void *a, const void *b, const void *c, uint32_t lane);

enum { WJ_VECTOR_CHOICES = 8 }; /* wj_interpreter_plan.vector_choice */
/* By choice and row: where the routine is, from here; 0 of a shuffle. Equal texts have the same one. */
extern WJ_INTERNAL const int32_t wj_vector_offsets[WJ_VECTOR_CHOICES][WJ_VECTOR_ROW_COUNT];

static inline wj_vector_routine *wj_vector_at(uint32_t choice, uint32_t operation)
{
    uintptr_t distance = (uintptr_t)(intptr_t)wj_vector_offsets[choice][operation - WJ_FIRST_VECTOR];
    return (wj_vector_routine *)((uintptr_t)wj_vector_offsets + distance);
}

/* i8x16.shuffle, whose mask no routine has: the indices of bytes. */
WJ_INTERNAL void wj_shuffle(void *result, const void *a, const void *b, const void *mask);

/* What a body is translated to. Behind the words: the offset in the module of each that may trap or call. */
typedef struct {
    uint32_t word_count, offset_count;
    uint32_t words[];
} wj_body_words;

/* Word index, offset in the module; ascending. */
static inline const uint32_t (*wj_offsets_of(const wj_body_words *body))[2]
{
    return (const uint32_t(*)[2])(const void *)(body->words + body->word_count + body->word_count % 2);
}

static inline size_t wj_body_words_bytes(const wj_body_words *body)
{
    size_t words_bytes = (body->word_count + body->word_count % 2) * sizeof(uint32_t);
    return sizeof *body + words_bytes + body->offset_count * sizeof(uint32_t[2]);
}

/* One function, translated. Nothing of it changes but `budget`, `has_news`, `translate_ns` and what is atomic.
 *
 * Words take more memory than the wasm. Where there is native code nobody runs them, but for calls that the native stack has no
 * room for: so they are freed once that is made, and made again for such a call. What the interpreter has run once it keeps. */
struct wj_interpreted {
    wj_interpreted *next; /* in wj_interpreter.made */
    uint32_t function_index;
    uint32_t local_count; /* slots of locals, parameters included */
    uint32_t slot_count;
    uint32_t instruction_count; /* of the wasm, `end` included */
    int32_t budget;            /* calls and iterations until Python is told; threads may lose some */
    uint32_t has_news;         /* 1: there is code of it that whoever runs it does not know of; atomic */
    int64_t translate_ns;      /* what making it, and native code of it, took: for reports only */
    const struct wj_native *native; /* stencil.h: NULL until somebody asks, or WJ_NO_NATIVE; atomic */
    const wj_signature *signature;
    const uint32_t *words;     /* of a wj_body_words that stays; NULL: there is none for the interpreter to run; atomic */
    wj_body_words *fresh;      /* whoever takes them away from here has them alone; NULL: somebody did; atomic */
};

static inline wj_body_words *wj_body_of(const uint32_t *words)
{
    return (wj_body_words *)(uintptr_t)((uintptr_t)words - offsetof(wj_body_words, words));
}

/* One module; made for one function table, by `wj_interpreter_new`. */
struct wj_interpreter {
    wj_interpreter_plan plan;
    struct wj_native *natives;      /* stencil.h; these four are changed by stencil_code.c only */
    struct wj_code_arena *arenas;
    int64_t asks_again_ns;          /* atomic: the system gave no memory for code, and is not asked before then; 0: it did */
    int64_t pause_ns;               /* how long it was not asked last */
    wj_interpreted *made;        /* all of them */
    wj_interpreted *functions[]; /* by position in the function table; NULL: not translated */
};

/* Translates the function at a position of the function table; NULL if it has
 * something that is compiled only, or there is no memory. Leaves the entry for an interrupt. */
WJ_INTERNAL wj_interpreted *wj_translate(const wj_interpreter *interpreter, uint32_t position);
/* The words of one that was translated before. */
WJ_INTERNAL wj_body_words *wj_translate_again(const wj_interpreter *interpreter, uint32_t position);

/* ---- interpret_module.c ---- */

#define WJ_REFUSED_FUNCTION ((wj_interpreted *)1) /* what is compiled only */

/* The function at a position, translated now if it is not; or WJ_REFUSED_FUNCTION. */
WJ_INTERNAL wj_interpreted *wj_interpreted_at(wj_interpreter *interpreter, uint32_t position);
/* Words of a function for the caller alone, to be freed or kept; NULL: no memory. As wj_translate, may leave the entry. */
WJ_INTERNAL wj_body_words *wj_take_words(const wj_interpreter *interpreter, wj_interpreted *function);
/* Has the function keep words, those or others. */
WJ_INTERNAL void wj_keep_words(wj_interpreted *function, wj_body_words *body);
/* Before a function is interpreted: has it keep words. False: no memory. */
WJ_INTERNAL bool wj_make_words(const wj_interpreter *interpreter, wj_interpreted *function);

/* The interpreter stack of a store: one mapping, of STACK_FACTOR times what compiled code may use, whose pages the system
 * gives as they are touched. Slots of activations lie one behind the other from its start on, where a call's operands are
 * the first slots of what it calls; their records (wj_activation) lie from its end on downwards. Calls between interpreted
 * functions take nothing of the native stack, so these get as deep on any thread. */

WJ_INTERNAL bool wj_interpreter_stack_make(wj_store *store); /* false: no memory */
WJ_INTERNAL void wj_interpreter_stack_give_back(wj_store *store); /* nothing is interpreted now */

static inline uint64_t *wj_interpreter_slots(const wj_store *store)
{
    return (uint64_t *)(void *)store->interpreter_stack;
}

static inline wj_activation *wj_interpreter_activations(const wj_store *store)
{
    return (wj_activation *)(void *)(store->interpreter_stack + store->interpreter_stack_bytes);
}

#endif
