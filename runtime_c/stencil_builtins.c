/* What code from stencils has the runtime do: instructions on tables and memories as a whole, and atomic accesses. */
#include "stencil_emit.h"

#ifdef WJ_HAS_STENCILS

/* Words are what interpret_translate.c made, of a body that validation has accepted: every slot is one.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

static void emit_atomic(stencil_emitter *e, const uint32_t *w)
{
    bool is_wide = w[3] % 2 != 0;
    wj_argument arguments[] = {
        {ARGUMENT_NUMBER, w[3] / 2},
        {ARGUMENT_NUMBER, w[4]},
        {is_wide ? ARGUMENT_WIDE_SLOT : ARGUMENT_NARROW_SLOT, w[6]},
        {ARGUMENT_WIDE_SLOT, w[7]},
        {ARGUMENT_WIDE_SLOT, w[8]},
    };
    if (w[5] != 0) { /* an offset that no argument here has room for: the interpreter's */
        e->failed = true;
        return;
    }
    wj_emit_builtin(e, (const void *)wj_atomic_functions[w[2]], w[1], true, arguments, sizeof arguments / sizeof *arguments);
}

void wj_emit_runtime_call(stencil_emitter *e, const uint32_t *w)
{
    wj_store_operands(e, NULL, 0, false);
#define CALL_FOR(name, result, is_wide, ...)                                                           \
    wj_emit_builtin(e, (const void *)wj_builtin_##name, result, is_wide, (wj_argument[]){__VA_ARGS__}, \
                    sizeof((wj_argument[]){__VA_ARGS__}) / sizeof(wj_argument))
#define CALL(name, result, ...) CALL_FOR(name, result, false, __VA_ARGS__)
#define CALL_WIDE(name, result, ...) CALL_FOR(name, result, true, __VA_ARGS__)
#define NUMBER(word) {ARGUMENT_NUMBER, w[word]}
#define NARROW_SLOT(word) {ARGUMENT_NARROW_SLOT, w[word]}
#define WIDE_SLOT(word) {ARGUMENT_WIDE_SLOT, w[word]}
    switch (w[0]) {
    case WJ_OP_TABLE_GROW:
        CALL(table_grow, w[1], NUMBER(2), WIDE_SLOT(3), NARROW_SLOT(4));
        break;
    case WJ_OP_TABLE_GROW_WIDE:
        CALL_WIDE(table_grow, w[1], NUMBER(2), WIDE_SLOT(3), WIDE_SLOT(4));
        break;
    case WJ_OP_TABLE_FILL:
        CALL(table_fill, NO_SLOT, NUMBER(1), NARROW_SLOT(2), WIDE_SLOT(3), NARROW_SLOT(4));
        break;
    case WJ_OP_TABLE_FILL_WIDE:
        CALL(table_fill, NO_SLOT, NUMBER(1), WIDE_SLOT(2), WIDE_SLOT(3), WIDE_SLOT(4));
        break;
    case WJ_OP_TABLE_COPY:
        CALL(table_copy, NO_SLOT, NUMBER(1), NUMBER(2), NARROW_SLOT(3), NARROW_SLOT(4), NARROW_SLOT(5));
        break;
    case WJ_OP_TABLE_COPY_WIDE:
        CALL(table_copy, NO_SLOT, NUMBER(1), NUMBER(2), WIDE_SLOT(3), WIDE_SLOT(4), WIDE_SLOT(5));
        break;
    case WJ_OP_TABLE_INIT:
        CALL(table_init, NO_SLOT, NUMBER(1), NUMBER(2), NARROW_SLOT(3), NARROW_SLOT(4), NARROW_SLOT(5));
        break;
    case WJ_OP_TABLE_INIT_WIDE:
        CALL(table_init, NO_SLOT, NUMBER(1), NUMBER(2), WIDE_SLOT(3), WIDE_SLOT(4), WIDE_SLOT(5));
        break;
    case WJ_OP_ELEM_DROP:
        CALL(elem_drop, NO_SLOT, NUMBER(1));
        break;
    case WJ_OP_MEMORY_SIZE:
        wj_emit_builtin(e, (const void *)wj_native_memory_size, w[1], true, (wj_argument[]){NUMBER(2)}, 1);
        break;
    case WJ_OP_MEMORY_GROW:
        CALL(memory_grow, w[1], NUMBER(2), NARROW_SLOT(3));
        break;
    case WJ_OP_MEMORY_GROW_WIDE:
        CALL_WIDE(memory_grow, w[1], NUMBER(2), WIDE_SLOT(3));
        break;
    case WJ_OP_MEMORY_FILL:
        CALL(memory_fill, NO_SLOT, NUMBER(1), NARROW_SLOT(2), NARROW_SLOT(3), NARROW_SLOT(4));
        break;
    case WJ_OP_MEMORY_FILL_WIDE:
        CALL(memory_fill, NO_SLOT, NUMBER(1), WIDE_SLOT(2), NARROW_SLOT(3), WIDE_SLOT(4));
        break;
    case WJ_OP_MEMORY_COPY:
        CALL(memory_copy, NO_SLOT, NUMBER(1), NUMBER(2), NARROW_SLOT(3), NARROW_SLOT(4), NARROW_SLOT(5));
        break;
    case WJ_OP_MEMORY_COPY_WIDE:
        CALL(memory_copy, NO_SLOT, NUMBER(1), NUMBER(2), WIDE_SLOT(3), WIDE_SLOT(4), WIDE_SLOT(5));
        break;
    case WJ_OP_MEMORY_INIT:
        CALL(memory_init, NO_SLOT, NUMBER(1), NUMBER(2), NARROW_SLOT(3), NARROW_SLOT(4), NARROW_SLOT(5));
        break;
    case WJ_OP_MEMORY_INIT_WIDE:
        CALL(memory_init, NO_SLOT, NUMBER(1), NUMBER(2), WIDE_SLOT(3), WIDE_SLOT(4), WIDE_SLOT(5));
        break;
    case WJ_OP_DATA_DROP:
        CALL(data_drop, NO_SLOT, NUMBER(1));
        break;
    case WJ_OP_ATOMIC:
        emit_atomic(e, w);
        break;
    case WJ_OP_ATOMIC_FENCE:
        wj_emit_builtin(e, (const void *)wj_atomic_fence, NO_SLOT, false, NULL, 0);
        break;
    default:
        e->failed = true;
        break;
    }
#undef CALL
#undef CALL_WIDE
#undef CALL_FOR
#undef NUMBER
#undef NARROW_SLOT
#undef WIDE_SLOT
}

_Static_assert(WJ_NO_RESULT == NO_SLOT, "of stores");

uint64_t wj_native_memory_size(void *vmctx, uint32_t index)
{
    const wj_vmcontext *context = vmctx;
    const wj_memory_slot *slots = (const void *)((const uint8_t *)vmctx + context->instance->memories);
    const wj_memory *memory = slots[index].memory;
    return __atomic_load_n(&memory->size_bytes, __ATOMIC_RELAXED) >> memory->page_size_log2;
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
