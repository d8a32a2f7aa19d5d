/* The stencil tier on x86-64: calls. */
#ifdef __x86_64__
#include "stencil_x86_64.h"

/* Where arguments that are passed in memory go: so far from a register. */
typedef struct {
    uint8_t base;
    int32_t displacement;
} argument_area;

/* The slot that an argument is taken from: its own, or that of the local it is a copy of. */
static uint32_t source_of(const stencil_emitter *e, uint32_t slot)
{
    for (uint32_t i = 0; i < e->alias_count; i++) {
        if (e->aliases[i].slot == slot) {
            return e->aliases[i].local;
        }
    }
    return slot;
}

static bool goes_straight(const stencil_emitter *e, const wj_signature *type, uint32_t place, uint32_t slot);

/* A v128, which is in a register of its class or the frame. Those in memory are passed first: xmm0 is free. */
static void pass_vector(stencil_emitter *e, uint32_t place, uint32_t slot, argument_area area)
{
    uint8_t where = e->registers[slot];
    uint8_t to = is_stack_place(place) ? 0 : float_of(place, WJ_SLOT_OF(floats));
    if (where == IN_FRAME) {
        load_vector(e, to, RBP, slot_at(e, slot));
    } else if (!is_stack_place(place)) {
        move_float(e, to, wj_register_number(where));
    } else {
        to = wj_register_number(where);
    }
    if (is_stack_place(place)) {
        store_vector(e, to, area.base, area.displacement + 8 * (int32_t)(place - (uint32_t)WJ_SLOT_OF(stack)));
    }
}

/* Loads an argument into the register or the place in memory that the convention wants. Changes rax. */
static void pass(stencil_emitter *e, const wj_signature *type, uint32_t place, uint32_t slot, argument_area area)
{
    uint32_t source = source_of(e, slot);
    /* A local whose register may be overwritten, or is no more: it is in the frame, too. */
    uint8_t where = source == slot || goes_straight(e, type, place, source) ? e->registers[source] : IN_FRAME;
    slot = source;
    const uint64_t *constant = wj_constant_of(e, slot);
    uint8_t number = where == IN_FRAME || constant != NULL ? RAX : wj_register_number(where);
    if (is_stack_place(place)) {
        int32_t at = area.displacement + 8 * (int32_t)(place - (uint32_t)WJ_SLOT_OF(stack));
        if (where >= FIRST_FLOAT) {
            store_float(e, number, area.base, at);
            return;
        }
        if (where == IN_FRAME) {
            load(e, RAX, RBP, slot_at(e, slot));
        }
        store(e, number, area.base, at);
    } else if (is_integer_place(place)) {
        uint8_t to = ARGUMENT_NUMBERS[place - WJ_SLOT_OF(ints)];
        if (constant != NULL) {
            load_number(e, to, (uint32_t)*constant);
        } else if (where == IN_FRAME) {
            load(e, to, RBP, slot_at(e, slot));
        } else if (where >= FIRST_FLOAT) {
            move_from_float(e, to, number);
        } else {
            move(e, to, number);
        }
    } else {
        uint8_t to = float_of(place, WJ_SLOT_OF(floats));
        if (where == IN_FRAME) {
            load_float(e, to, RBP, slot_at(e, slot));
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
            if (type->places[i].letter == WJ_LETTER_V128) {
                pass_vector(e, type->places[i].slot, slot, area);
            } else {
                pass(e, type, type->places[i].slot, slot, area);
            }
        }
    }
}

/* Whether an argument goes to its place from the register where it is, or as the constant that it is: nothing that is
 * passed before may be in that register. */
static bool goes_straight(const stencil_emitter *e, const wj_signature *type, uint32_t place, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    const uint64_t *constant = wj_constant_of(e, slot);
    if (constant != NULL) {
        return is_integer_place(place) && *constant <= UINT32_MAX;
    }
    if (where >= FIRST_FLOAT) {
        return is_stack_place(place) ||
               (!is_integer_place(place) && wj_register_number(where) >= float_of(place, WJ_SLOT_OF(floats)));
    }
    return is_stack_place(place) || survives_calls(where) || wj_register_number(where) > R9 || !has_many_integers(type);
}

/* Stores the operands that are no arguments, and those arguments that may be overwritten. */
static void store_for_call(stencil_emitter *e, const wj_signature *type, uint32_t first)
{
    uint32_t straight[WJ_INT_REGISTERS + 8];
    uint32_t count = 0;
    for (uint32_t i = 0, slot = first; i < type->param_count; slot += wj_slots_of(type->places[i++].letter)) {
        bool fits = count < sizeof straight / sizeof straight[0];
        if (fits && e->registers[slot] != IN_FRAME && goes_straight(e, type, type->places[i].slot, slot)) {
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
        int32_t at = slot_at(e, first);
        bool is_vector = places[i].letter == WJ_LETTER_V128;
        if (i >= WJ_MAX_REGISTER_RESULTS) {
            for (uint32_t half = 0; half < wj_slots_of(places[i].letter); half++) {
                load(e, RCX, RSP, 8 * (int32_t)(type->stack_slots + place + half));
                store(e, RCX, RBP, at + 8 * (int32_t)half);
            }
        } else if (place >= WJ_SLOT_OF(float_results)) {
            (is_vector ? store_vector : store_float)(e, float_of(place, WJ_SLOT_OF(float_results)), RBP, at);
        } else {
            store(e, place == WJ_SLOT_OF(int_results) ? RAX : RDX, RBP, at);
        }
        first += wj_slots_of(places[i].letter);
    }
}

/* A single result, in rax or xmm0, which nothing has changed meanwhile. */
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
        (place->letter == WJ_LETTER_V128 ? store_vector : store_float)(e, 0, RBP, slot_at(e, first));
    } else if (where != IN_FRAME) {
        bool narrow = place->letter == 'i';
        register_form(e, 0, !narrow, 0x89, RAX, wj_register_number(where));
        wj_note_narrow(e, first, narrow);
    } else {
        store(e, RAX, RBP, slot_at(e, first));
    }
}

/* Tells the store who calls: mov store(%rbx), %rax; mov %rbx, caller(%rax). */
static void announce_caller(stencil_emitter *e)
{
    load(e, RAX, RBX, WJ_VMCONTEXT_STORE);
    store(e, RBX, RAX, WJ_STORE_CALLER);
}

static void call_memory(stencil_emitter *e, uint8_t base, int32_t displacement)
{
    memory_form(e, 0, false, 0xff, 2, base, displacement);
}

/* Of a call that has checked something first; else the store was told by the operation before. */
static void tell_fuel(stencil_emitter *e, const wj_callee *callee)
{
    if (callee->kind == CALLEE_REFERENCE && wj_counts_fuel(e)) {
        load(e, RAX, RBX, WJ_VMCONTEXT_STORE);
        load(e, RCX, RBP, count_at(e));
        store(e, RCX, RAX, WJ_STORE_FUEL);
    }
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
    if (callee->kind != CALLEE_REFERENCE && !wj_counts_fuel(e)) {
        wj_save_count(e);
    }
    argument_area on_stack = {RSP, 0};
    pass_all(e, type, first, true, on_stack);
    if (callee->kind != CALLEE_OWN) {
        announce_caller(e);
    }
    pass_all(e, type, first, false, on_stack);
    if (type->area_slots != 0) {
        memory_form(e, 0, true, 0x8d, RSI, RSP, 8 * (int32_t)type->stack_slots);
    }
    const wj_interpreter_plan *plan = &e->of->plan;
    if (callee->kind == CALLEE_OWN) {
        move(e, RDI, RBX);
        load(e, RAX, RBX, WJ_VMCONTEXT_FUNCTIONS);
        call_memory(e, RAX, 8 * (int32_t)(callee->index - plan->imported_function_count));
    } else {
        if (callee->kind == CALLEE_IMPORT) {
            load(e, RAX, RBX, (int32_t)(plan->imported_functions_offset + 8 * callee->index));
        } else {
            move(e, RAX, RDI);
        }
        load(e, RDI, RAX, WJ_FUNC_REF_VMCTX);
        call_memory(e, RAX, WJ_FUNC_REF_CODE);
    }
    e->alias_count = 0;
    wj_drop_operands(e);
    take_results(e, type, first);
    wj_load_registers(e);
    load_base(e);
    if (!wj_counts_fuel(e)) { /* else the next operation asks the store */
        wj_load_count(e);
    }
    take_result(e, type, first);
}

/* ---- tail calls ----
 *
 * The frame is left, and what is called is jumped to. Its arguments beyond the registers go where this function's own were, if
 * there is room for them; else through the store to its register entry, if it has one (compile/tail_calls.py). If it has none
 * it makes no tail calls, and is called. */

enum { OWN_ARGUMENTS = 16 }; /* from rbp: above the saved one and the return address */

static int32_t function_word(const stencil_emitter *e, uint32_t array, uint32_t function)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    int64_t word = (int64_t)array * plan->function_count + (function - plan->imported_function_count);
    return (int32_t)(8 * word);
}

/* Loads what is to be jumped to, code or a register entry, into rax, and its context into rdi, where a func-ref may be. */
static void load_callee(stencil_emitter *e, const wj_callee *callee, bool is_register_entry)
{
    if (callee->kind == CALLEE_OWN) {
        load(e, RAX, RBX, WJ_VMCONTEXT_FUNCTIONS);
        load(e, RAX, RAX, function_word(e, is_register_entry ? WJ_REGISTER_ENTRIES : WJ_CODES, callee->index));
        move(e, RDI, RBX);
        return;
    }
    if (callee->kind == CALLEE_IMPORT) {
        load(e, RAX, RBX, (int32_t)(e->of->plan.imported_functions_offset + 8 * callee->index));
    } else {
        move(e, RAX, RDI);
    }
    load(e, RDI, RAX, WJ_FUNC_REF_VMCTX);
    load(e, RAX, RAX, is_register_entry ? WJ_FUNC_REF_TAIL_CODE : WJ_FUNC_REF_CODE);
}

static void jump_to_callee(stencil_emitter *e, const wj_callee *callee, const wj_signature *type, uint32_t first,
                           bool is_register_entry)
{
    pass_all(e, type, first, false, (argument_area){RSP, 0});
    if (type->area_slots != 0) {
        load(e, RSI, RBP, RESULTS_AREA);
    }
    load_callee(e, callee, is_register_entry);
    wj_restore_registers(e);
    BYTES(e, 0xc9, 0xff, 0xe0); /* leave; jmp *%rax */
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
        pass_all(e, type, first, true, (argument_area){RBP, OWN_ARGUMENTS});
        jump_to_callee(e, callee, type, first, false);
        return;
    }
    if (callee->kind == CALLEE_OWN) {
        load(e, RAX, RBX, WJ_VMCONTEXT_FUNCTIONS);
        load(e, RAX, RAX, function_word(e, WJ_REGISTER_ENTRIES, callee->index));
    } else if (callee->kind == CALLEE_IMPORT) {
        load(e, RAX, RBX, (int32_t)(e->of->plan.imported_functions_offset + 8 * callee->index));
        load(e, RAX, RAX, WJ_FUNC_REF_TAIL_CODE);
    } else {
        load(e, RAX, RDI, WJ_FUNC_REF_TAIL_CODE);
    }
    register_form(e, 0, true, 0x85, RAX, RAX); /* test; je to the call */
    BYTES(e, 0x0f, 0x84);
    word(e, 0);
    size_t hole = e->count - 4;
    load(e, RCX, RBX, WJ_VMCONTEXT_STORE);
    load(e, RCX, RCX, WJ_STORE_TAIL_ARGUMENTS);
    pass_all(e, type, first, true, (argument_area){RCX, WJ_TAIL_ARGUMENTS_SIZEOF});
    jump_to_callee(e, callee, type, first, true);
    if (!e->failed) {
        wj_write_32(e, hole, (uint32_t)(e->count - hole - 4));
    }
    wj_note_site(e, (uint32_t)e->count, WJ_HAND_OVER_OFFSET); /* in backtraces, what is called stands for this activation */
    wj_emit_call(e, callee, type, first);
    wj_emit_return(e, first);
    wj_note_site(e, (uint32_t)e->count, e->module_offset);
}

void wj_emit_builtin(stencil_emitter *e, const void *function, uint32_t result, bool is_wide, const wj_argument *arguments,
                     size_t count)
{
    wj_store_registers(e, false);
    wj_save_count(e);
    for (size_t i = 0; i < count; i++) {
        uint8_t to = ARGUMENT_NUMBERS[1 + i];
        uint32_t slot = arguments[i].value;
        if (arguments[i].kind == ARGUMENT_NUMBER) {
            load_number(e, to, slot);
            continue;
        }
        bool has_all = arguments[i].kind == ARGUMENT_WIDE_SLOT;
        uint8_t where = e->registers[slot];
        if (survives_calls(where)) {
            register_form(e, 0, has_all, 0x89, wj_register_number(where), to);
        } else {
            memory_form(e, 0, has_all, 0x8b, to, RBP, slot_at(e, slot));
        }
    }
    move(e, RDI, RBX);
    call_address(e, function);
    if (result != NO_SLOT) { /* an operand, which is in the frame, or a local */
        uint8_t where = e->registers[result];
        if (survives_calls(where)) {
            register_form(e, 0, is_wide, 0x89, RAX, wj_register_number(where));
        } else {
            register_form(e, 0, is_wide, 0x89, RAX, RAX);
            store(e, RAX, RBP, slot_at(e, result));
        }
    }
    wj_load_registers(e);
    load_base(e);
    wj_load_count(e);
}
#endif
