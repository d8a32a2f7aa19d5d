/* The stencil tier on AArch64: calls. */
#ifdef __aarch64__
#include "stencil_aarch64.h"

/* Where arguments that are passed in memory go: so far from a register. */
typedef struct {
    uint8_t base;
    int32_t displacement;
} argument_area;

/* A v128, which is in a register of its class or the frame. Those in memory are passed first: v0 is free. */
static void pass_vector(stencil_emitter *e, uint32_t place, uint32_t slot, argument_area area)
{
    uint8_t where = e->registers[slot];
    uint8_t to = is_stack_place(place) ? 0 : float_of(place, WJ_SLOT_OF(floats));
    if (where == IN_FRAME) {
        load_vector(e, to, FRAME, slot_at(slot));
    } else if (!is_stack_place(place)) {
        move_float(e, to, wj_register_number(where));
    } else {
        to = wj_register_number(where);
    }
    if (is_stack_place(place)) {
        store_vector(e, to, area.base, area.displacement + 8 * (int32_t)(place - (uint32_t)WJ_SLOT_OF(stack)));
    }
}

/* Loads an argument into the register or the place in memory that the convention wants. */
static void pass(stencil_emitter *e, uint32_t place, uint32_t slot, argument_area area)
{
    uint8_t where = e->registers[slot];
    const uint64_t *constant = wj_constant_of(e, slot);
    uint8_t number = where == IN_FRAME || constant != NULL ? TEMPORARY : wj_register_number(where);
    if (is_stack_place(place)) {
        int32_t at = area.displacement + 8 * (int32_t)(place - (uint32_t)WJ_SLOT_OF(stack));
        if (where >= FIRST_FLOAT) {
            store_float(e, number, area.base, at);
            return;
        }
        if (where == IN_FRAME) {
            load(e, TEMPORARY, FRAME, slot_at(slot));
        }
        store(e, number, area.base, at);
    } else if (is_integer_place(place)) {
        uint8_t to = (uint8_t)(place - WJ_SLOT_OF(ints));
        if (constant != NULL) {
            load_number(e, to, *constant);
        } else if (where == IN_FRAME) {
            load(e, to, FRAME, slot_at(slot));
        } else if (where >= FIRST_FLOAT) {
            move_from_float(e, to, number);
        } else {
            move(e, to, number);
        }
    } else {
        uint8_t to = float_of(place, WJ_SLOT_OF(floats));
        if (where == IN_FRAME) {
            load_float(e, to, FRAME, slot_at(slot));
        } else if (where >= FIRST_FLOAT) {
            move_float(e, to, number);
        } else {
            move_to_float(e, to, number);
        }
    }
}

/* Passes those in memory, or those in registers. */
static void pass_all(stencil_emitter *e, const wj_signature *type, uint32_t first, bool in_memory, argument_area area)
{
    for (uint32_t i = 0, slot = first; i < type->param_count; slot += wj_slots_of(type->places[i++].letter)) {
        if (is_stack_place(type->places[i].slot) == in_memory) {
            (type->places[i].letter == WJ_LETTER_V128 ? pass_vector : pass)(e, type->places[i].slot, slot, area);
        }
    }
}

/* Whether an argument goes to its place from the register where it is, or as the constant that it is: nothing that is
 * passed before may be in that register. */
static bool goes_straight(const stencil_emitter *e, uint32_t place, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    const uint64_t *constant = wj_constant_of(e, slot);
    if (constant != NULL) {
        return is_integer_place(place);
    }
    if (where >= FIRST_FLOAT) {
        return is_stack_place(place) ||
               (!is_integer_place(place) && wj_register_number(where) >= float_of(place, WJ_SLOT_OF(floats)));
    }
    return true; /* no argument is passed in any of those of integers */
}

/* Stores the operands that are no arguments, and those arguments that may be overwritten. */
static void store_for_call(stencil_emitter *e, const wj_signature *type, uint32_t first)
{
    uint32_t straight[WJ_INT_REGISTERS + 8];
    uint32_t count = 0;
    for (uint32_t i = 0, slot = first; i < type->param_count; slot += wj_slots_of(type->places[i++].letter)) {
        bool fits = count < sizeof straight / sizeof straight[0];
        if (fits && e->registers[slot] != IN_FRAME && goes_straight(e, type->places[i].slot, slot)) {
            straight[count++] = slot;
        }
    }
    wj_store_operands(e, straight, count, false);
}

/* Stores the results of a call in the frame; a single one is left where the convention has it. */
static void take_results(stencil_emitter *e, const wj_signature *type, uint32_t first)
{
    const wj_place *places = type->places + type->param_count;
    for (uint32_t i = 0; i < type->result_count && type->result_count != 1; i++) {
        uint32_t place = places[i].slot;
        int32_t at = slot_at(first);
        bool is_vector = places[i].letter == WJ_LETTER_V128;
        if (i >= WJ_MAX_REGISTER_RESULTS) {
            for (uint32_t half = 0; half < wj_slots_of(places[i].letter); half++) {
                load(e, TEMPORARY, SP, 8 * (int32_t)(type->stack_slots + place + half));
                store(e, TEMPORARY, FRAME, at + 8 * (int32_t)half);
            }
        } else if (place >= WJ_SLOT_OF(float_results)) {
            (is_vector ? store_vector : store_float)(e, float_of(place, WJ_SLOT_OF(float_results)), FRAME, at);
        } else {
            store(e, (uint8_t)(place - WJ_SLOT_OF(int_results)), FRAME, at);
        }
        first += wj_slots_of(places[i].letter);
    }
}

/* A single result, in x0 or v0, which nothing has changed meanwhile. */
static void take_result(stencil_emitter *e, const wj_signature *type, uint32_t first)
{
    if (type->result_count != 1) {
        return;
    }
    const wj_place *place = &type->places[type->param_count];
    bool is_float = place->slot >= WJ_SLOT_OF(float_results);
    uint8_t where = wj_place_operand(e, first, is_float, IN_FRAME);
    if (place->letter == WJ_LETTER_V128) {
        wj_note_vector(e, first);
    }
    if (is_float && where != IN_FRAME) {
        move_float(e, wj_register_number(where), 0);
    } else if (is_float) {
        (place->letter == WJ_LETTER_V128 ? store_vector : store_float)(e, 0, FRAME, slot_at(first));
    } else if (where != IN_FRAME) {
        bool narrow = place->letter == 'i';
        (narrow ? move_narrow : move)(e, wj_register_number(where), X0);
        wj_note_narrow(e, first, narrow);
    } else {
        store(e, X0, FRAME, slot_at(first));
    }
}

/* Tells the store who calls. */
static void announce_caller(stencil_emitter *e)
{
    load(e, TEMPORARY, CONTEXT, WJ_VMCONTEXT_STORE);
    store(e, CONTEXT, TEMPORARY, WJ_STORE_CALLER);
}

/* After a call: the base of a memory that does not move is in a register that calls leave alone. */
static void find_base(stencil_emitter *e)
{
    if (e->uses_memory && (e->base_of != e->home_memory || e->of->plan.memory_kinds[e->home_memory] != 0)) {
        load_base_of(e, e->home_memory);
    }
}

/* Of a call that has checked something first; else the store was told by the operation before. */
static void tell_fuel(stencil_emitter *e, const wj_callee *callee)
{
    if (callee->kind == CALLEE_REFERENCE && wj_counts_fuel(e)) {
        load(e, TEMPORARY, CONTEXT, WJ_VMCONTEXT_STORE);
        load(e, SECOND, RECORD, COUNT_AT);
        store(e, SECOND, TEMPORARY, WJ_STORE_FUEL);
    }
}

static int64_t function_word(const stencil_emitter *e, uint32_t array, uint32_t function)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    int64_t word = (int64_t)array * plan->function_count + (function - plan->imported_function_count);
    return 8 * word;
}

/* Loads what is to be called or jumped to, code or a register entry, into x17, and its context into x0. */
static void load_callee(stencil_emitter *e, const wj_callee *callee, bool is_register_entry)
{
    if (callee->kind == CALLEE_OWN) {
        load(e, CALLEE, CONTEXT, WJ_VMCONTEXT_FUNCTIONS);
        load(e, CALLEE, CALLEE, function_word(e, is_register_entry ? WJ_REGISTER_ENTRIES : WJ_CODES, callee->index));
        move(e, X0, CONTEXT);
        return;
    }
    uint8_t func_ref = COUNT; /* the spare register of stencils */
    if (callee->kind == CALLEE_IMPORT) {
        func_ref = TEMPORARY;
        load(e, func_ref, CONTEXT, e->of->plan.imported_functions_offset + 8 * (int64_t)callee->index);
    }
    load(e, X0, func_ref, WJ_FUNC_REF_VMCTX);
    load(e, CALLEE, func_ref, is_register_entry ? WJ_FUNC_REF_TAIL_CODE : WJ_FUNC_REF_CODE);
}

void wj_emit_call(stencil_emitter *e, const wj_callee *callee, const wj_signature *type, uint32_t first)
{
    if (type == NULL) {
        e->failed = true;
        return;
    }
    uint32_t outgoing = 8 * (type->stack_slots + type->area_slots);
    e->outgoing_bytes = outgoing > e->outgoing_bytes ? outgoing : e->outgoing_bytes;
    store_for_call(e, type, first);
    wj_store_registers(e, false);
    tell_fuel(e, callee);
    argument_area on_stack = {SP, 0};
    pass_all(e, type, first, true, on_stack);
    if (callee->kind != CALLEE_OWN) {
        announce_caller(e);
    }
    pass_all(e, type, first, false, on_stack);
    if (type->area_slots != 0) {
        add_distance(e, X1, SP, 8 * (int64_t)type->stack_slots);
    }
    load_callee(e, callee, false);
    call_register(e, CALLEE);
    wj_drop_operands(e);
    take_results(e, type, first);
    wj_load_registers(e);
    find_base(e);
    if (callee->kind == CALLEE_REFERENCE && !wj_counts_fuel(e)) { /* else it is where it was, or the next operation asks the store */
        wj_load_count(e);
    }
    take_result(e, type, first);
}

/* ---- tail calls ----
 *
 * The frame is left, and what is called is jumped to. Its arguments beyond the registers go where this function's own were, if
 * there is room for them; else through the store to its register entry, if it has one (compile/tail_calls.py). If it has none
 * it makes no tail calls, and is called. */

enum { OWN_ARGUMENTS = 16 }; /* from x29: above the frame record */

static void jump_to_callee(stencil_emitter *e, const wj_callee *callee, const wj_signature *type, uint32_t first,
                           bool is_register_entry)
{
    pass_all(e, type, first, false, (argument_area){SP, 0});
    if (type->area_slots != 0) {
        load(e, X1, RECORD, RESULTS_AREA);
    }
    load_callee(e, callee, is_register_entry);
    wj_restore_registers(e);
    word(e, 0x910003bf); /* mov sp, x29 */
    word(e, 0xa8c17bfd); /* ldp x29, x30, [sp], #16 */
    word(e, 0xd61f0220); /* br x17 */
}

void wj_emit_tail_call(stencil_emitter *e, const wj_callee *callee, const wj_signature *type, uint32_t first)
{
    if (type == NULL) {
        e->failed = true;
        return;
    }
    store_for_call(e, type, first);
    tell_fuel(e, callee);
    if (callee->kind != CALLEE_OWN) {
        announce_caller(e);
    }
    if (type->stack_slots <= e->signature->stack_slots) {
        pass_all(e, type, first, true, (argument_area){RECORD, OWN_ARGUMENTS});
        jump_to_callee(e, callee, type, first, false);
        return;
    }
    load_callee(e, callee, true);
    size_t to_the_call = e->count;
    word(e, JUMP_IF_ZERO | CALLEE);
    load(e, THIRD, CONTEXT, WJ_VMCONTEXT_STORE);
    load(e, THIRD, THIRD, WJ_STORE_TAIL_ARGUMENTS);
    pass_all(e, type, first, true, (argument_area){THIRD, WJ_TAIL_ARGUMENTS_SIZEOF});
    jump_to_callee(e, callee, type, first, true);
    land(e, to_the_call);
    wj_note_site(e, (uint32_t)e->count, WJ_HAND_OVER_OFFSET); /* in backtraces, what is called stands for this activation */
    wj_emit_call(e, callee, type, first);
    wj_emit_return(e, first);
    wj_note_site(e, (uint32_t)e->count, e->module_offset);
}

void wj_emit_builtin(stencil_emitter *e, const void *function, uint32_t result, bool is_wide, const wj_argument *arguments,
                     size_t count)
{
    wj_store_registers(e, false);
    for (size_t i = 0; i < count; i++) {
        uint8_t to = (uint8_t)(X1 + i);
        uint32_t slot = arguments[i].value;
        if (arguments[i].kind == ARGUMENT_NUMBER) {
            load_number(e, to, slot);
            continue;
        }
        bool has_all = arguments[i].kind == ARGUMENT_WIDE_SLOT;
        uint8_t where = e->registers[slot];
        if (survives_calls(where)) {
            (has_all ? move : move_narrow)(e, to, wj_register_number(where));
        } else {
            reach(e, has_all ? LOAD : LOAD_NARROW, to, FRAME, slot_at(slot));
        }
    }
    move(e, X0, CONTEXT);
    call_address(e, function);
    if (result != NO_SLOT) { /* an operand, which is in the frame, or a local */
        uint8_t where = e->registers[result];
        if (survives_calls(where)) {
            (is_wide ? move : move_narrow)(e, wj_register_number(where), X0);
        } else {
            if (!is_wide) {
                move_narrow(e, X0, X0);
            }
            store(e, X0, FRAME, slot_at(result));
        }
    }
    wj_load_registers(e);
    find_base(e);
}
#endif
