/* What the interpreter's words stand for, as far as there are stencils. */
#include "stencil_translate.h"

#ifdef WJ_HAS_STENCILS

/* Words are what interpret_translate.c made, of a body that validation has accepted: every slot and every target is one.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

#define IS_ZERO(operation) ((operation) == WJ_OP_I32_EQZ || (operation) == WJ_OP_I64_EQZ)
#define COMPARISON(operation)                                                       \
    ((operation) >= WJ_OP_I32_EQ && (operation) <= WJ_OP_I64_GE_U ? COMPARES        \
     : (operation) >= WJ_OP_F32_LT && (operation) <= WJ_OP_F64_GE ? COMPARES_FLOATS \
                                                                  : 0)

const stencil_form wj_forms[WJ_OPERATION_COUNT] = {
#define OTHER(name, slots, flags) [WJ_OP_##name] = {WJ_WORDS_##name, slots, 0, flags}
    OTHER(UNREACHABLE, 0, ENDS),
    [WJ_OP_COPY] = {WJ_WORDS_COPY, 2, 2, 0},
    OTHER(MOVE, 0, 0),
    [WJ_OP_CONSTANT] = {WJ_WORDS_CONSTANT, 1, 1, HAS_CONSTANT},
    OTHER(CONSTANT_64, 0, 0),
    [WJ_OP_SELECT] = {WJ_WORDS_SELECT, 4, 3, 0},
    OTHER(COPY_128, 2, VECTORS),
    OTHER(CONSTANT_128, 0, VECTORS),
    OTHER(SELECT_128, 4, VECTORS),
    OTHER(V128_LOAD, 2, HAS_CONSTANT | ACCESSES | VECTORS),
    OTHER(V128_STORE, 2, HAS_CONSTANT | ACCESSES | VECTORS),
    OTHER(V128_LOAD_CHECKED, 2, ACCESSES | VECTORS),
    OTHER(V128_STORE_CHECKED, 2, ACCESSES | VECTORS),
    OTHER(LOOP, 0, 0),
    OTHER(BRANCH, 0, HAS_TARGET | ENDS),
    OTHER(BRANCH_IF, 1, HAS_TARGET),
    OTHER(BRANCH_UNLESS, 1, HAS_TARGET),
    OTHER(BRANCH_ON_NULL, 1, HAS_TARGET),
    OTHER(BRANCH_ON_NON_NULL, 1, HAS_TARGET),
    OTHER(BRANCH_TABLE, 0, ENDS),
    OTHER(RETURN, 0, ENDS | VECTORS),
    OTHER(CALL, 0, CALLS | VECTORS),
    OTHER(CALL_IMPORT, 0, CALLS | VECTORS),
    OTHER(CALL_INDIRECT, 0, CALLS | VECTORS),
    OTHER(CALL_REF, 0, CALLS | VECTORS),
    OTHER(RETURN_CALL, 0, ENDS | VECTORS),
    OTHER(RETURN_CALL_IMPORT, 0, ENDS | VECTORS),
    OTHER(RETURN_CALL_INDIRECT, 0, ENDS | VECTORS),
    OTHER(RETURN_CALL_REF, 0, ENDS | VECTORS),
    OTHER(GLOBAL_GET_32, 1, HAS_CONSTANT),
    OTHER(GLOBAL_GET_64, 1, HAS_CONSTANT),
    OTHER(GLOBAL_SET_32, 1, HAS_CONSTANT),
    OTHER(GLOBAL_SET_64, 1, HAS_CONSTANT),
    OTHER(IMPORTED_GLOBAL_GET_32, 1, HAS_CONSTANT),
    OTHER(IMPORTED_GLOBAL_GET_64, 1, HAS_CONSTANT),
    OTHER(IMPORTED_GLOBAL_SET_32, 1, HAS_CONSTANT),
    OTHER(IMPORTED_GLOBAL_SET_64, 1, HAS_CONSTANT),
    OTHER(GLOBAL_GET_128, 1, HAS_CONSTANT | VECTORS),
    OTHER(GLOBAL_SET_128, 1, HAS_CONSTANT | VECTORS),
    OTHER(IMPORTED_GLOBAL_GET_128, 1, HAS_CONSTANT | VECTORS),
    OTHER(IMPORTED_GLOBAL_SET_128, 1, HAS_CONSTANT | VECTORS),
    OTHER(I64_ADD128, 0, VECTORS),
    OTHER(I64_SUB128, 0, VECTORS),
    OTHER(I64_MUL_WIDE_S, 0, VECTORS),
    OTHER(I64_MUL_WIDE_U, 0, VECTORS),
    OTHER(REF_FUNC, 1, HAS_CONSTANT),
    OTHER(REF_FUNC_IMPORTED, 1, HAS_CONSTANT),
    OTHER(TABLE_GET, 0, 0),
    OTHER(TABLE_SET, 0, 0),
    OTHER(TABLE_SIZE, 0, 0),
    OTHER(TABLE_GROW, 0, CALLS),
    OTHER(TABLE_FILL, 0, CALLS),
    OTHER(TABLE_COPY, 0, CALLS),
    OTHER(TABLE_INIT, 0, CALLS),
    OTHER(ELEM_DROP, 0, CALLS),
    OTHER(CHECK, 0, 0),
    OTHER(MEMORY_SIZE, 0, CALLS),
    OTHER(MEMORY_GROW, 0, CALLS),
    OTHER(MEMORY_FILL, 0, CALLS),
    OTHER(MEMORY_COPY, 0, CALLS),
    OTHER(MEMORY_INIT, 0, CALLS),
    OTHER(DATA_DROP, 0, CALLS),
    OTHER(TABLE_GROW_WIDE, 0, CALLS),
    OTHER(TABLE_FILL_WIDE, 0, CALLS),
    OTHER(TABLE_COPY_WIDE, 0, CALLS),
    OTHER(TABLE_INIT_WIDE, 0, CALLS),
    OTHER(MEMORY_GROW_WIDE, 0, CALLS),
    OTHER(MEMORY_FILL_WIDE, 0, CALLS),
    OTHER(MEMORY_COPY_WIDE, 0, CALLS),
    OTHER(MEMORY_INIT_WIDE, 0, CALLS),
    OTHER(ATOMIC, 0, CALLS),
    OTHER(ATOMIC_FENCE, 0, CALLS),
    OTHER(CANONICAL_32, 2, 0),
    OTHER(CANONICAL_64, 2, 0),
    OTHER(SATURATE, 2, 0),
    OTHER(FUEL_BEGIN, 0, METERS),
    OTHER(FUEL, 0, METERS),
    OTHER(FUEL_SAVE, 0, METERS),
    OTHER(FUEL_SAVE_COUNT, 0, METERS),
    OTHER(FUEL_LOAD, 0, METERS),
    OTHER(FUEL_CHECK, 0, METERS),
    OTHER(EPOCH, 0, METERS),
#undef OTHER
#define WJ_X(opcode, name, form, ...) [WJ_OP_##name] = WJ_FORM_##form,
#define WJ_FORM_UNARY {WJ_WORDS_VECTOR_UNARY, 2, 0, VECTORS}
#define WJ_FORM_BINARY {WJ_WORDS_VECTOR_BINARY, 3, 0, VECTORS}
#define WJ_FORM_TERNARY {WJ_WORDS_VECTOR_TERNARY, 4, 0, VECTORS}
#define WJ_FORM_UNARY_LANE {WJ_WORDS_VECTOR_UNARY_LANE, 2, 0, HAS_CONSTANT | VECTORS}
#define WJ_FORM_BINARY_LANE {WJ_WORDS_VECTOR_BINARY_LANE, 3, 0, HAS_CONSTANT | VECTORS}
#define WJ_FORM_SHUFFLE {WJ_WORDS_VECTOR_SHUFFLE, 3, 0, VECTORS}
    WJ_VECTOR_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) [WJ_OP_##name] = {WJ_WORDS_UNARY, 2, 0, IS_ZERO(WJ_OP_##name) ? COMPARES : 0},
    WJ_UNARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) [WJ_OP_##name] = {WJ_WORDS_ACCESS, 2, 0, HAS_CONSTANT | ACCESSES},
    WJ_LOAD_ROWS(WJ_X) WJ_STORE_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) [WJ_OP_##name##_CHECKED] = {WJ_WORDS_CHECKED_ACCESS, 2, 0, ACCESSES},
    WJ_LOAD_ROWS(WJ_X) WJ_STORE_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) [WJ_OP_##name] = {WJ_WORDS_BINARY, 3, 0, COMPARISON(WJ_OP_##name)},
    WJ_FLOAT_BINARY_ROWS(WJ_X) WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define DIVISION(operation) ((operation) >= WJ_OP_I32_DIV_S ? DIVIDES : 0)
#define MASK(operation) ((operation) == WJ_OP_I32_AND || (operation) == WJ_OP_I64_AND ? MASKS : 0)
#define SPECIAL(operation) (DIVISION(operation) | MASK(operation) | COMPARISON(operation))
#define WJ_X(opcode, name, ...)                                                                                     \
    [WJ_OP_##name##_IMMEDIATE] = {WJ_WORDS_BINARY, 2, 0, HAS_CONSTANT | SPECIAL(WJ_OP_##name)},                     \
    [WJ_OP_BRANCH_##name] = {WJ_WORDS_BINARY, 2, 0, HAS_TARGET},                                                    \
    [WJ_OP_BRANCH_##name##_IMMEDIATE] = {WJ_WORDS_BINARY, 1, 0, HAS_CONSTANT | HAS_TARGET | DIVISION(WJ_OP_##name)},
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#undef DIVISION
#undef MASK
#undef SPECIAL
};
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
