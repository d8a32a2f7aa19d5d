/* The stencil tier on x86-64: fuel and epochs, as the interpreter has them (interpret_stack.h: `charge`).
 *
 * What is left of the fuel is in rdi. Iterations are not counted then: a loop is hot when it has used as much as they would,
 * which the comparison with nothing tells, too: what it compares with is 0 once less is left than that. */
#ifdef __x86_64__
#include "stencil_x86_64.h"

enum { FUEL_OF_AN_ITERATION = 16 }; /* of loops in compiled programs */
enum { JUMP_IF_ABOVE_OR_EQUAL = 0x83, JUMP_IF_LESS_OR_EQUAL = 0x8e };

static void load_store_record(stencil_emitter *e, uint8_t reg)
{
    load(e, reg, RBX, WJ_VMCONTEXT_STORE);
}

/* sub $cost, %rdi */
static void charge(stencil_emitter *e, uint64_t cost)
{
    if (cost == 0) {
        return;
    }
    if (cost <= INT8_MAX) {
        BYTES(e, 0x48, 0x83, 0xef, (uint8_t)cost);
    } else if (cost <= INT32_MAX) {
        BYTES(e, 0x48, 0x81, 0xef);
        word(e, (uint32_t)cost);
    } else {
        BYTES(e, 0x48, 0xb8); /* movabs $cost, %rax; sub %rax, %rdi */
        bytes(e, &cost, sizeof cost);
        register_form(e, 0, true, 0x29, RAX, RDI);
    }
}

static void tell_store(stencil_emitter *e)
{
    load_store_record(e, RAX);
    store(e, RDI, RAX, WJ_STORE_FUEL);
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
        memory_form(e, 0, is_wide, 0x8b, RAX, RBP, slot_at(e, slot));
    } else {
        register_form(e, 0, is_wide, 0x89, wj_register_number(where), RAX);
    }
    if (is_wide) {
        uint64_t most = WJ_MOST_CHARGED;
        BYTES(e, 0x48, 0xb9); /* movabs $most, %rcx; cmp %rcx, %rax; cmova %rcx, %rax */
        bytes(e, &most, sizeof most);
        register_form(e, 0, true, 0x39, RCX, RAX);
        register_form(e, 0, true, 0x0f47, RAX, RCX);
    }
    register_form(e, 0, true, 0x29, RAX, RDI);
}

void wj_set_hot_fuel(stencil_emitter *e)
{
    int64_t wanted = 1 + (int64_t)(e->of->plan.budget - 1) * FUEL_OF_AN_ITERATION;
    int32_t used = wanted < INT32_MAX ? (int32_t)wanted : INT32_MAX;
    memory_form(e, 0, true, 0x8d, RAX, RDI, -used); /* lea */
    BYTES(e, 0x31, 0xc9);                           /* xor %ecx, %ecx */
    register_form(e, 0, true, 0x85, RAX, RAX);      /* test */
    register_form(e, 0, true, 0x0f48, RAX, RCX);    /* cmovs */
    store(e, RAX, RBP, hot_fuel_at(e));
}

static void begin_function(stencil_emitter *e)
{
    load_store_record(e, RAX);
    load(e, RDI, RAX, WJ_STORE_FUEL);
    BYTES(e, 0x48, 0xff, 0xcf); /* dec %rdi */
    jump_if(e, JUMP_IF_LESS_OR_EQUAL, STUB_TARGET | wj_add_stub(e, STUB_OUT_OF_FUEL, 0));
    if (e->has_loops) {
        wj_set_hot_fuel(e);
    }
}

static void begin_loop(stencil_emitter *e)
{
    memory_form(e, 0, true, 0x3b, RDI, RBP, hot_fuel_at(e)); /* cmp */
    uint32_t stub = wj_add_stub(e, STUB_HOT, e->loop_offset);
    jump_if(e, JUMP_IF_LESS_OR_EQUAL, STUB_TARGET | stub);
    wj_return_here(e, stub);
}

/* Another thread advances the epoch: this is an aligned load. */
static void look_at_epoch(stencil_emitter *e)
{
    load_store_record(e, RAX);
    load(e, RCX, RAX, WJ_STORE_EPOCH);
    load(e, RCX, RCX, 0);
    memory_form(e, 0, true, 0x3b, RCX, RAX, WJ_STORE_EPOCH_DEADLINE); /* cmp */
    uint32_t stub = wj_add_stub(e, STUB_EPOCH, 0);
    jump_if(e, JUMP_IF_ABOVE_OR_EQUAL, STUB_TARGET | stub);
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
        load_store_record(e, RAX);
        load(e, RDI, RAX, WJ_STORE_FUEL);
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
    register_form(e, 0, true, 0x85, RDI, RDI); /* test %rdi, %rdi; jg over the trap */
    BYTES(e, 0x7f, 0);
    size_t hole = e->count - 1;
    wj_emit_out_of_fuel(e);
    if (!e->failed) {
        e->code[hole] = (uint8_t)(e->count - hole - 1);
    }
}

void wj_emit_epoch(stencil_emitter *e, const stencil_stub *stub)
{
    wj_store_registers(e, false);
    wj_save_count(e);
    move(e, RDI, RBX);
    call_address(e, (const void *)wj_builtin_epoch_deadline_reached);
    wj_load_registers(e);
    load_base(e);
    wj_load_count(e);
    jump_back(e, stub->back);
}
#endif
