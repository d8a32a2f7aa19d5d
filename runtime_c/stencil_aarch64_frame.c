/* The stencil tier on AArch64: the start and the end of a function, and what stands behind its body. */
#ifdef __aarch64__
#include "stencil_aarch64.h"

void wj_restore_registers(stencil_emitter *e)
{
    for (uint32_t i = 0; i < SAVED_REGISTERS; i++) {
        if ((e->saved_mask >> i & 1) != 0) {
            load(e, wj_register_number((uint8_t)(FIRST_INTEGER + i)), RECORD, saved_at(i));
        }
    }
    load_two(e, COUNT, BASE, RECORD, SAVED_COUNT_AND_BASE);
    load_two(e, FRAME, CONTEXT, RECORD, SAVED_CONTEXT_AND_FRAME);
}

static void leave_function(stencil_emitter *e)
{
    wj_restore_registers(e);
    word(e, 0x910003bf); /* mov sp, x29 */
    word(e, 0xa8c17bfd); /* ldp x29, x30, [sp], #16 */
    word(e, 0xd65f03c0); /* ret */
}

/* A result in a register that the convention wants, from the slot. */
static void return_in_register(stencil_emitter *e, const wj_place *place, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    int32_t at = slot_at(slot);
    bool is_float = place->slot >= WJ_SLOT_OF(float_results);
    uint8_t to = is_float ? float_of(place->slot, WJ_SLOT_OF(float_results)) : (uint8_t)(place->slot - WJ_SLOT_OF(int_results));
    if (where == IN_FRAME && is_float) {
        (place->letter == WJ_LETTER_V128 ? load_vector : load_float)(e, to, FRAME, at);
    } else if (where == IN_FRAME) {
        load(e, to, FRAME, at);
    } else if (where >= FIRST_FLOAT && is_float) {
        move_float(e, to, wj_register_number(where));
    } else if (where >= FIRST_FLOAT) {
        move_from_float(e, to, wj_register_number(where));
    } else if (is_float) {
        move_to_float(e, to, wj_register_number(where));
    } else {
        move(e, to, wj_register_number(where));
    }
}

void wj_emit_return(stencil_emitter *e, uint32_t slot)
{
    const wj_signature *type = e->signature;
    const wj_place *places = type->places + type->param_count;
    if (type->area_slots != 0) {
        load(e, SECOND, RECORD, RESULTS_AREA);
    }
    uint32_t behind = slot + type->result_slots;
    for (uint32_t i = type->result_count; i-- > WJ_MAX_REGISTER_RESULTS;) { /* those in memory first */
        behind -= wj_slots_of(places[i].letter);
        wj_store_register(e, behind);
        for (uint32_t half = 0; half < wj_slots_of(places[i].letter); half++) {
            load(e, TEMPORARY, FRAME, slot_at(behind + half));
            store(e, TEMPORARY, SECOND, 8 * (int32_t)(places[i].slot + half));
        }
    }
    for (uint32_t i = 0; i < type->result_count && i < WJ_MAX_REGISTER_RESULTS; i++) {
        return_in_register(e, &places[i], slot);
        slot += wj_slots_of(places[i].letter);
    }
    leave_function(e);
}

static uint32_t float_count(const wj_signature *type)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < type->param_count; i++) {
        uint32_t place = type->places[i].slot;
        count += !is_integer_place(place) && !is_stack_place(place);
    }
    return count;
}

/* Whether a parameter can go to its register now: nothing that comes after it may be in there. */
static bool arrives_straight(const stencil_emitter *e, uint32_t index, uint32_t slot)
{
    uint32_t place = e->signature->places[index].slot;
    uint8_t where = e->registers[slot];
    if (where == IN_FRAME || is_stack_place(place) || is_integer_place(place) == (where >= FIRST_FLOAT)) {
        return false;
    }
    uint8_t to = wj_register_number(where);
    if (is_integer_place(place)) {
        return true; /* no parameter is in any of those of integers */
    }
    return to <= float_of(place, WJ_SLOT_OF(floats)) || to >= float_count(e->signature);
}

/* Puts a parameter into its register, or into the frame. Above an i32 there may be anything, which becomes zeros. */
static void take_parameter(stencil_emitter *e, uint32_t index, uint32_t slot)
{
    uint32_t place = e->signature->places[index].slot;
    uint8_t where = e->registers[slot];
    char letter = e->signature->places[index].letter;
    bool is_wide = letter != 'i';
    int32_t at = slot_at(slot);
    if (is_stack_place(place)) {
        for (int32_t half = 0; half < (int32_t)wj_slots_of(letter); half++) {
            int32_t from = 16 + 8 * (half + (int32_t)(place - (uint32_t)WJ_SLOT_OF(stack)));
            reach(e, is_wide ? LOAD : LOAD_NARROW, TEMPORARY, RECORD, from);
            store(e, TEMPORARY, FRAME, at + 8 * half);
        }
    } else if (is_integer_place(place)) {
        uint8_t from = (uint8_t)(place - WJ_SLOT_OF(ints));
        if (arrives_straight(e, index, slot)) {
            (is_wide ? move : move_narrow)(e, wj_register_number(where), from);
            return;
        }
        if (!is_wide) {
            move_narrow(e, from, from);
        }
        store(e, from, FRAME, at);
    } else if (arrives_straight(e, index, slot)) {
        move_float(e, wj_register_number(where), float_of(place, WJ_SLOT_OF(floats)));
    } else {
        (letter == WJ_LETTER_V128 ? store_vector : store_float)(e, float_of(place, WJ_SLOT_OF(floats)), FRAME, at);
    }
}

static void take_parameters(stencil_emitter *e)
{
    const wj_signature *type = e->signature;
    for (uint32_t i = 0, slot = 0; i < type->param_count; slot += wj_slots_of(type->places[i++].letter)) {
        take_parameter(e, i, slot);
    }
    for (uint32_t i = 0, slot = 0; i < type->param_count; slot += wj_slots_of(type->places[i++].letter)) {
        if (!arrives_straight(e, i, slot)) {
            wj_load_register(e, slot);
        }
    }
}

enum { MOST_SINGLE_LOCALS = 16 };

/* Locals begin as zeros. */
static void clear_locals(stencil_emitter *e)
{
    uint32_t first = e->signature->param_slots;
    uint32_t end = e->function->local_count;
    bool are_many = end - first > MOST_SINGLE_LOCALS;
    if (are_many) {
        add_distance(e, TEMPORARY, FRAME, slot_at(first));
        load_number(e, SECOND, end - first);
        word(e, 0xf800853f); /* str xzr, [x9], #8 */
        word(e, 0xf10005ce); /* subs x14, x14, #1 */
        word(e, 0x54ffffc1); /* b.ne, back to the first */
    }
    for (uint32_t i = first; i < end; i++) {
        uint8_t where = e->registers[i];
        if (where >= FIRST_FLOAT) {
            clear_float(e, wj_register_number(where));
        } else if (where != IN_FRAME) {
            move(e, wj_register_number(where), ZERO);
        } else if (!are_many) {
            store(e, ZERO, FRAME, slot_at(i));
        }
    }
}

/* How often the function was called: a report when it was often enough (wj_native_hot). */
static void count_call(stencil_emitter *e)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    uint32_t position = e->function->function_index - plan->imported_function_count;
    load(e, TEMPORARY, CONTEXT, WJ_VMCONTEXT_FUNCTIONS);
    int64_t counter = 8 * ((int64_t)WJ_COUNTERS * plan->function_count + position);
    load(e, SECOND, TEMPORARY, counter);
    add_distance(e, SECOND, SECOND, 1);
    store(e, SECOND, TEMPORARY, counter);
    load_address(e, TEMPORARY, &e->function->budget);
    load_narrow(e, SECOND, TEMPORARY, 0);
    count_down(e, SECOND);
    reach(e, STORE_NARROW, SECOND, TEMPORARY, 0);
    uint32_t stub = wj_add_stub(e, STUB_HOT, 0);
    jump_if(e, LESS_OR_EQUAL, STUB_TARGET | stub);
    wj_return_here(e, stub);
}

void wj_emit_prologue(stencil_emitter *e)
{
    _Static_assert(offsetof(wj_store, stencil_limit) <= 8 * MOST_SCALED, "the load needs no other register");
    e->saved_bytes = saved_bytes(e);
    word(e, 0xa9bf7bfd); /* stp x29, x30, [sp, #-16]! */
    word(e, 0x910003fd); /* mov x29, sp */
    /* Before anything is written below: recursion would run off the thread's stack, whatever lies there. */
    e->check_hole = (uint32_t)e->count;
    word(e, 0x52800010); /* movz w16, and movk: the size of the frame */
    word(e, 0x72a00010);
    load(e, CALLEE, X0, WJ_VMCONTEXT_STORE);
    three(e, 0xcb000000, ADDRESS, RECORD, ADDRESS); /* sub */
    load(e, CALLEE, CALLEE, offsetof(wj_store, stencil_limit));
    compare(e, ADDRESS, CALLEE);
    e->module_offset = 0;
    jump_if(e, BELOW, STUB_TARGET | wj_add_stub(e, STUB_EXHAUSTED, 0));
    word(e, 0x9100021f); /* mov sp, x16 */
    store_two(e, FRAME, CONTEXT, RECORD, SAVED_CONTEXT_AND_FRAME);
    store_two(e, COUNT, BASE, RECORD, SAVED_COUNT_AND_BASE);
    for (uint32_t i = 0; i < SAVED_REGISTERS; i++) {
        if ((e->saved_mask >> i & 1) != 0) {
            store(e, wj_register_number((uint8_t)(FIRST_INTEGER + i)), RECORD, saved_at(i));
        }
    }
    move(e, CONTEXT, X0);
    add_distance(e, FRAME, RECORD, -(int64_t)(e->saved_bytes + slots_bytes(e)));
    if (e->signature->area_slots != 0) {
        store(e, X1, RECORD, RESULTS_AREA);
    }
    take_parameters(e);
    clear_locals(e);
    count_call(e);
    load_base(e);
    if (e->has_loops && !wj_counts_fuel(e)) {
        load_number(e, COUNT, (uint32_t)e->of->plan.budget);
    }
}

void wj_count_iteration(stencil_emitter *e, uint32_t loop_offset)
{
    if (wj_counts_fuel(e)) { /* the next operation compares what is left with what a loop is hot at */
        e->loop_offset = loop_offset;
        return;
    }
    count_down(e, COUNT);
    uint32_t stub = wj_add_stub(e, STUB_HOT, loop_offset);
    jump_if(e, EQUAL, STUB_TARGET | stub);
    wj_return_here(e, stub);
}

/* ---- behind the body ---- */

/* A function or loop that began often. From a loop whose operand stack is empty it may go on in other code, which takes the
 * locals from the frame (abi.py: loop entries) and gives the function's results. */
void wj_emit_hot(stencil_emitter *e, const stencil_stub *stub, bool is_loop)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    bool has_fuel = is_loop && wj_counts_fuel(e);
    if (has_fuel) {
        wj_emit_fuel_check(e);
        wj_save_count(e);
    }
    wj_store_registers(e, is_loop);
    move(e, X0, CONTEXT);
    load_number(e, X1, e->function->function_index - plan->imported_function_count);
    load_number(e, X2, stub->number);
    call_address(e, (const void *)wj_native_hot);
    if (is_loop && stub->number != 0) {
        size_t over = e->count;
        word(e, JUMP_IF_ZERO | X0);
        if (has_fuel) {
            load(e, SECOND, RECORD, COUNT_AT);
            store(e, SECOND, FRAME, slot_at(e->function->local_count));
        }
        move(e, CALLEE, X0);
        move(e, X0, CONTEXT);
        move(e, X2, FRAME);
        if (e->signature->area_slots != 0) {
            load(e, X1, RECORD, RESULTS_AREA);
        } else {
            move(e, X1, FRAME);
        }
        wj_note_site(e, (uint32_t)e->count, WJ_HAND_OVER_OFFSET); /* in backtraces, that code stands for this activation */
        call_register(e, CALLEE);
        wj_note_site(e, (uint32_t)e->count, stub->module_offset);
        leave_function(e);
        land(e, over);
    }
    if (is_loop && !has_fuel) {
        move_narrow(e, COUNT, X1); /* wj_hot_answer.budget, of which the lower half counts */
    }
    wj_load_registers(e);
    if (is_loop) {
        load_base(e);
    }
    if (has_fuel) {
        wj_load_count(e);
        wj_set_hot_fuel(e);
    }
    jump_back(e, stub->back);
}

/* All registers that calls change, on top of the stack, and back: operands are in them, too, some of them vectors. */
static void between_stack_and_changed(stencil_emitter *e, bool loads)
{
    enum { CHANGED_INTEGERS = INTEGER_REGISTERS - SAVED_REGISTERS, VECTOR_BYTES = 16 };
    enum { INTEGER_BYTES = (8 * CHANGED_INTEGERS + STACK_ALIGNMENT_BYTES - 1) / STACK_ALIGNMENT_BYTES * STACK_ALIGNMENT_BYTES };
    enum { BYTES_OF_ALL = INTEGER_BYTES + VECTOR_BYTES * FLOAT_REGISTERS };
    _Static_assert(BYTES_OF_ALL % STACK_ALIGNMENT_BYTES == 0, "the stack stays aligned");
    if (!loads) {
        add_distance(e, SP, SP, -(int64_t)BYTES_OF_ALL);
    }
    for (uint32_t i = SAVED_REGISTERS; i < STENCIL_REGISTERS; i++) {
        if (i >= INTEGER_REGISTERS) {
            uint32_t number = i - INTEGER_REGISTERS;
            (loads ? load_vector : store_vector)(e, wj_register_number((uint8_t)(FIRST_FLOAT + number)), SP,
                                                 INTEGER_BYTES + VECTOR_BYTES * (int32_t)number);
        } else {
            int32_t at = 8 * (int32_t)(i - SAVED_REGISTERS);
            (loads ? load : store)(e, wj_register_number((uint8_t)(FIRST_INTEGER + i)), SP, at);
        }
    }
    if (loads) {
        add_distance(e, SP, SP, BYTES_OF_ALL);
    }
}

/* A call through a table, of a function whose type has another id: it may be a subtype. */
void wj_emit_type(stencil_emitter *e, const stencil_stub *stub)
{
    between_stack_and_changed(e, false);
    load_narrow(e, X1, COUNT, WJ_FUNC_REF_TYPE_ID); /* of the func-ref in the spare register */
    load(e, TEMPORARY, CONTEXT, WJ_VMCONTEXT_TYPE_IDS);
    load_narrow(e, X2, TEMPORARY, (int64_t)sizeof(uint32_t) * stub->number);
    move(e, X0, CONTEXT);
    call_address(e, (const void *)wj_builtin_type_matches);
    size_t over = e->count;
    word(e, JUMP_UNLESS_ZERO | X0);
    wj_emit_trap(e, WJ_TRAP_BAD_SIGNATURE);
    land(e, over);
    between_stack_and_changed(e, true);
    load_base(e);
    jump_back(e, stub->back);
}

/* The native stack has no room for the frame: the call begins anew in the interpreter, which has another stack. */
void wj_emit_exhausted(stencil_emitter *e)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    uint64_t position = e->function->function_index - plan->imported_function_count;
    word(e, 0xa8c17bfd); /* ldp x29, x30, [sp], #16 */
    load_address(e, CALLEE, (const void *)(uintptr_t)(plan->stubs_address + position * plan->stub_bytes));
    word(e, 0xd61f0220); /* br x17 */
}

void wj_write_frame(stencil_emitter *e)
{
    uint32_t upper = e->check_hole + INSTRUCTION_BYTES;
    wj_write_32(e, e->check_hole, instruction_at(e, e->check_hole) | (e->frame_bytes & 0xffff) << 5);
    wj_write_32(e, upper, instruction_at(e, upper) | e->frame_bytes >> 16 << 5);
}

#endif
