/* The stencil tier on AArch64: fuel and epochs, as the interpreter has them (interpret_stack.h: `charge`).
 *
 * What is left of the fuel is in x25. Iterations are not counted then: a loop is hot when it has used as much as they would,
 * which the comparison with nothing tells, too: what it compares with is 0 once less is left than that. */
#ifdef __aarch64__
#include "stencil_aarch64.h"

enum { FUEL_OF_AN_ITERATION = 16 }; /* of loops in compiled programs */

static void load_store_record(stencil_emitter *e)
{
    load(e, TEMPORARY, CONTEXT, WJ_VMCONTEXT_STORE);
}

static void charge(stencil_emitter *e, uint64_t cost)
{
    if (cost == 0) {
        return;
    }
    if (cost <= INT32_MAX) {
        add_distance(e, COUNT, COUNT, -(int64_t)cost);
    } else {
        load_number(e, SECOND, cost);
        three(e, 0xcb000000, COUNT, COUNT, SECOND); /* sub */
    }
}

static void tell_store(stencil_emitter *e)
{
    load_store_record(e);
    store(e, COUNT, TEMPORARY, WJ_STORE_FUEL);
}

/* Charges the count that a bulk instruction has as an operand, which is still needed. */
static void charge_count(stencil_emitter *e, uint32_t slot, bool is_wide)
{
    const uint64_t *constant = wj_constant_of(e, slot);
    if (constant != NULL) {
        uint64_t count = is_wide ? *constant : (uint32_t)*constant;
        charge(e, count < WJ_MOST_CHARGED ? count : WJ_MOST_CHARGED);
        return;
    }
    uint8_t where = e->registers[slot];
    if (where >= FIRST_FLOAT) {
        wj_store_register(e, slot);
    }
    if (where == IN_FRAME || where >= FIRST_FLOAT) {
        reach(e, is_wide ? LOAD : LOAD_NARROW, TEMPORARY, FRAME, slot_at(slot));
    } else {
        (is_wide ? move : move_narrow)(e, TEMPORARY, wj_register_number(where));
    }
    if (is_wide) {
        load_number(e, SECOND, WJ_MOST_CHARGED);
        compare(e, TEMPORARY, SECOND);
        three(e, 0x9a803000, TEMPORARY, TEMPORARY, SECOND); /* csel, lower */
    }
    three(e, 0xcb000000, COUNT, COUNT, TEMPORARY); /* sub */
}

void wj_set_hot_fuel(stencil_emitter *e)
{
    int64_t wanted = 1 + (int64_t)(e->of->plan.budget - 1) * FUEL_OF_AN_ITERATION;
    int64_t used = wanted < INT32_MAX ? wanted : INT32_MAX;
    load_number(e, SECOND, (uint64_t)used);
    three(e, 0xeb000000, SECOND, COUNT, SECOND);      /* subs */
    three(e, 0x9a805000, SECOND, SECOND, ZERO);       /* csel, plus: else 0 */
    store(e, SECOND, RECORD, HOT_FUEL_AT);
}

static void begin_function(stencil_emitter *e)
{
    load_store_record(e);
    load(e, COUNT, TEMPORARY, WJ_STORE_FUEL);
    word(e, 0xf1000739); /* subs x25, x25, #1 */
    jump_if(e, LESS_OR_EQUAL, STUB_TARGET | wj_add_stub(e, STUB_OUT_OF_FUEL, 0));
    if (e->has_loops) {
        wj_set_hot_fuel(e);
    }
}

static void begin_loop(stencil_emitter *e)
{
    load(e, TEMPORARY, RECORD, HOT_FUEL_AT);
    compare(e, COUNT, TEMPORARY);
    uint32_t stub = wj_add_stub(e, STUB_HOT, e->loop_offset);
    jump_if(e, LESS_OR_EQUAL, STUB_TARGET | stub);
    wj_return_here(e, stub);
}

/* Another thread advances the epoch: this is an aligned load. */
static void look_at_epoch(stencil_emitter *e)
{
    load_store_record(e);
    load(e, SECOND, TEMPORARY, WJ_STORE_EPOCH);
    load(e, SECOND, SECOND, 0);
    load(e, THIRD, TEMPORARY, WJ_STORE_EPOCH_DEADLINE);
    compare(e, SECOND, THIRD);
    uint32_t stub = wj_add_stub(e, STUB_EPOCH, 0);
    jump_if(e, AT_LEAST, STUB_TARGET | stub);
    wj_return_here(e, stub);
}

void wj_emit_metering(stencil_emitter *e, const uint32_t *w)
{
    switch (w[0]) {
    case WJ_OP_FUEL_BEGIN:
        begin_function(e);
        break;
    case WJ_OP_FUEL:
        charge(e, w[1]);
        break;
    case WJ_OP_FUEL_SAVE:
        charge(e, w[1]);
        tell_store(e);
        break;
    case WJ_OP_FUEL_SAVE_COUNT:
        charge_count(e, w[2], w[3] != 0);
        charge(e, w[1]);
        tell_store(e);
        break;
    case WJ_OP_FUEL_LOAD:
        load_store_record(e);
        load(e, COUNT, TEMPORARY, WJ_STORE_FUEL);
        break;
    case WJ_OP_FUEL_CHECK:
        begin_loop(e);
        break;
    default:
        look_at_epoch(e);
        break;
    }
}

/* ---- behind the body ---- */

void wj_emit_out_of_fuel(stencil_emitter *e)
{
    tell_store(e);
    wj_emit_trap(e, WJ_TRAP_OUT_OF_FUEL);
}

void wj_emit_fuel_check(stencil_emitter *e)
{
    compare(e, COUNT, ZERO);
    size_t over = e->count;
    word(e, 0x54000000 | GREATER);
    wj_emit_out_of_fuel(e);
    land(e, over);
}

void wj_emit_epoch(stencil_emitter *e, const stencil_stub *stub)
{
    wj_store_registers(e, false);
    wj_save_count(e);
    move(e, X0, CONTEXT);
    call_address(e, (const void *)wj_builtin_epoch_deadline_reached);
    wj_load_registers(e);
    load_base(e);
    wj_load_count(e);
    jump_back(e, stub->back);
}
#endif
