/* Calls, tables, jumps and what else more than a stencil is needed for, to native code. */
#include "stencil_translate.h"

#ifdef WJ_HAS_STENCILS
#ifdef __aarch64__
#include "wj_stencils_aarch64.h"
#else
#include "wj_stencils.h"
#endif

#include <stdlib.h>

/* Words are what interpret_translate.c made, of a body that validation has accepted: every slot and every target is one.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

/* What does a call or a tail call. */
typedef void call_emitter(stencil_emitter *e, const wj_callee *callee, const wj_signature *type, uint32_t first);

static void emit_call_of(stencil_emitter *e, uint32_t function, uint32_t first, call_emitter *emit)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    const wj_signature *type = plan->types[plan->function_types[function]];
    wj_callee callee = {.kind = function < plan->imported_function_count ? CALLEE_IMPORT : CALLEE_OWN, .index = function};
    emit(e, &callee, type, first);
}

static void emit_indirect_call(stencil_emitter *e, const uint32_t *word, call_emitter *emit)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    wj_save_count(e);
    emit_row(e, WJ_STENCIL_FUNC_REF, &word[3], plan->tables_offset + (uint64_t)WJ_TABLE_SLOT_SIZEOF * word[2], 0);
    uint32_t stub = wj_add_stub(e, STUB_TYPE, word[1]);
    emit_row(e, WJ_STENCIL_OTHER_TYPE, NULL, sizeof(uint32_t) * (uint64_t)word[1], STUB_TARGET | stub);
    wj_return_here(e, stub);
    emit(e, &(wj_callee){.kind = CALLEE_REFERENCE}, plan->types[word[1]], word[4]);
}

static void emit_reference_call(stencil_emitter *e, const uint32_t *word, call_emitter *emit)
{
    wj_save_count(e);
    emit_row(e, WJ_STENCIL_FUNC_REF_OPERAND, &word[2], 0, 0);
    emit(e, &(wj_callee){.kind = CALLEE_REFERENCE}, e->of->plan.types[word[1]], word[3]);
}

static void emit_table(stencil_emitter *e, uint32_t slot, uint32_t count, const uint32_t *words)
{
    uint32_t *targets = malloc((count + (size_t)1) * sizeof *targets);
    if (targets == NULL) {
        e->failed = true;
        return;
    }
    wj_store_operands(e, &slot, 1, false);
    wj_load_constant(e, slot, false);
    for (uint32_t i = 0; i <= count; i++) { /* many that are next to each other lead to the same word */
        targets[i] = i != 0 && words[i] == words[i - 1] ? targets[i - 1] : edge_to(e, words[i]);
    }
    wj_emit_table(e, slot, count, targets);
    free(targets);
}

void wj_emit_other(stencil_emitter *e, const uint32_t *w)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    uint64_t table;
    switch (w[0]) {
    case WJ_OP_UNREACHABLE:
        wj_emit_trap(e, WJ_TRAP_UNREACHABLE);
        break;
    case WJ_OP_MOVE:
        wj_emit_move(e, w[1], w[2], w[3]);
        break;
    case WJ_OP_CONSTANT_64:
        wj_write_constant(e, w[1], w[2] | (uint64_t)w[3] << 32);
        break;
    case WJ_OP_LOOP: /* it, and fuel and epochs behind it, may call out: what is in registers where no branch leads here is lost */
        wj_use_home_memory(e); /* whose base is loaded then */
        wj_store_operands(e, NULL, 0, false);
        wj_count_iteration(e, w[1]);
        break;
    case WJ_OP_BRANCH:
        wj_store_operands(e, NULL, 0, false);
        wj_emit_edge(e, e->region, region_at(e, w[1]));
        wj_emit_jump(e, w[1]);
        break;
    case WJ_OP_BRANCH_TABLE:
        emit_table(e, w[1], w[2], w + 3);
        break;
    case WJ_OP_RETURN:
        for (uint32_t i = 0; i < e->signature->result_slots; i++) {
            wj_load_constant(e, w[1] + i, false);
        }
        wj_emit_return(e, w[1]);
        break;
    case WJ_OP_CALL:
    case WJ_OP_CALL_IMPORT:
        emit_call_of(e, w[1], w[2], wj_emit_call);
        break;
    case WJ_OP_CALL_INDIRECT:
        emit_indirect_call(e, w, wj_emit_call);
        break;
    case WJ_OP_CALL_REF:
        emit_reference_call(e, w, wj_emit_call);
        break;
    case WJ_OP_RETURN_CALL:
    case WJ_OP_RETURN_CALL_IMPORT:
        emit_call_of(e, w[1], w[2], wj_emit_tail_call);
        break;
    case WJ_OP_RETURN_CALL_INDIRECT:
        emit_indirect_call(e, w, wj_emit_tail_call);
        break;
    case WJ_OP_RETURN_CALL_REF:
        emit_reference_call(e, w, wj_emit_tail_call);
        break;
    case WJ_OP_TABLE_GET:
        table = plan->tables_offset + (uint64_t)WJ_TABLE_SLOT_SIZEOF * w[2];
        emit_row(e, WJ_STENCIL_TABLE_GET, (uint32_t[]){w[1], w[3]}, table, 0);
        break;
    case WJ_OP_TABLE_SET:
        table = plan->tables_offset + (uint64_t)WJ_TABLE_SLOT_SIZEOF * w[1];
        emit_row(e, WJ_STENCIL_TABLE_SET, (uint32_t[]){w[2], w[3]}, table, 0);
        break;
    case WJ_OP_TABLE_SIZE:
        emit_row(e, WJ_STENCIL_TABLE_SIZE, (uint32_t[]){w[1]}, plan->tables_offset + (uint64_t)WJ_TABLE_SLOT_SIZEOF * w[2], 0);
        break;
    case WJ_OP_CHECK:
        wj_emit_check(e, 0, w[1], (uint64_t)w[2] + w[3], false);
        break;
    default:
        wj_emit_runtime_call(e, w);
        break;
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
