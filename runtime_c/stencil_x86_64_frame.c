/* The stencil tier on x86-64: the start and the end of a function, and what stands behind its body. */
#ifdef __x86_64__
#include "stencil_x86_64.h"

void wj_restore_registers(stencil_emitter *e)
{
    for (uint32_t i = 0; i < SAVED_REGISTERS; i++) {
        if ((e->saved_mask >> i & 1) != 0) {
            load(e, wj_register_number((uint8_t)(FIRST_INTEGER + i)), RBP, saved_at(e, i));
        }
    }
    load(e, RBX, RBP, SAVED_RBX);
}

static void leave_function(stencil_emitter *e)
{
    wj_restore_registers(e);
    BYTES(e, 0xc9, 0xc3); /* leave; ret */
}

/* A result in a register that the convention wants, from the slot. */
static void return_in_register(stencil_emitter *e, const wj_place *place, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    int32_t at = slot_at(e, slot);
    bool is_float = place->slot >= WJ_SLOT_OF(float_results);
    uint8_t to = is_float                                 ? float_of(place->slot, WJ_SLOT_OF(float_results))
                 : place->slot == WJ_SLOT_OF(int_results) ? RAX
                                                          : RDX;
    if (where == IN_FRAME && is_float) {
        (place->letter == WJ_LETTER_V128 ? load_vector : load_float)(e, to, RBP, at);
    } else if (where == IN_FRAME) {
        load(e, to, RBP, at);
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
        load(e, RCX, RBP, RESULTS_AREA);
    }
    uint32_t behind = slot + type->result_slots;
    for (uint32_t i = type->result_count; i-- > WJ_MAX_REGISTER_RESULTS;) { /* those in memory first: they go through rax */
        behind -= wj_slots_of(places[i].letter);
        wj_store_register(e, behind);
        for (uint32_t half = 0; half < wj_slots_of(places[i].letter); half++) {
            load(e, RAX, RBP, slot_at(e, behind + half));
            store(e, RAX, RCX, 8 * (int32_t)(places[i].slot + half));
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
        return survives_calls(where) || to > R9 || !has_many_integers(e->signature);
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
    int32_t at = slot_at(e, slot);
    if (is_stack_place(place)) {
        for (int32_t half = 0; half < (int32_t)wj_slots_of(letter); half++) {
            memory_form(e, 0, is_wide, 0x8b, RAX, RBP, 16 + 8 * (half + (int32_t)(place - (uint32_t)WJ_SLOT_OF(stack))));
            store(e, RAX, RBP, at + 8 * half);
        }
    } else if (is_integer_place(place)) {
        uint8_t from = ARGUMENT_NUMBERS[place - WJ_SLOT_OF(ints)];
        if (arrives_straight(e, index, slot)) {
            register_form(e, 0, is_wide, 0x89, from, wj_register_number(where));
            return;
        }
        if (!is_wide) {
            register_form(e, 0, false, 0x89, from, from);
        }
        store(e, from, RBP, at);
    } else if (arrives_straight(e, index, slot)) {
        move_float(e, wj_register_number(where), float_of(place, WJ_SLOT_OF(floats)));
    } else {
        (letter == WJ_LETTER_V128 ? store_vector : store_float)(e, float_of(place, WJ_SLOT_OF(floats)), RBP, at);
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

enum { MOST_SINGLE_LOCALS = 32 };

/* Slots of the frame, two at once where there are two: parameters are out of xmm0. */
static void clear_slots(stencil_emitter *e, uint32_t first, uint32_t end)
{
    if (first < end) {
        register_form(e, 0, false, 0x0f57, 0, 0); /* xorps */
    }
    for (uint32_t i = first; i < end; i += 2) {
        (end - i == 1 ? store_float : store_vector)(e, 0, RBP, slot_at(e, i));
    }
}

/* By a loop: rep stosq takes long to begin. */
static void clear_many(stencil_emitter *e, uint32_t first, uint32_t end)
{
    uint32_t last = first + (end - first) / 2 * 2;
    register_form(e, 0, false, 0x0f57, 0, 0); /* xorps */
    memory_form(e, 0, true, 0x8d, RDI, RBP, slot_at(e, first)); /* lea */
    memory_form(e, 0, true, 0x8d, RAX, RBP, slot_at(e, last));
    BYTES(e, 0x0f, 0x11, 0x07,       /* movups %xmm0, (%rdi) */
          0x48, 0x83, 0xc7, 0x10,    /* add $16, %rdi */
          0x48, 0x39, 0xc7,          /* cmp %rax, %rdi */
          0x72, 0xf4);               /* jb, to the first */
    if (last != end) {
        store_float(e, 0, RBP, slot_at(e, last));
    }
}

/* Locals begin as zeros. */
static void clear_locals(stencil_emitter *e)
{
    uint32_t first = e->signature->param_slots;
    uint32_t end = e->function->local_count;
    bool are_many = end - first > MOST_SINGLE_LOCALS;
    if (are_many) {
        clear_many(e, first, end);
    }
    uint32_t cleared = are_many ? end : first;
    for (uint32_t i = first; i < end; i++) {
        uint8_t where = e->registers[i];
        uint8_t number = where == IN_FRAME ? 0 : wj_register_number(where);
        if (where != IN_FRAME) { /* xor, or xorps */
            register_form(e, 0, false, where >= FIRST_FLOAT ? 0x0f57 : 0x31, number, number);
        }
    }
    while (cleared < end) {
        uint32_t from = cleared;
        for (; from < end && e->registers[from] != IN_FRAME; from++) {
        }
        for (cleared = from; cleared < end && e->registers[cleared] == IN_FRAME; cleared++) {
        }
        clear_slots(e, from, cleared);
    }
}

/* The low bits of a count of calls that are 0 once for so many, or some fewer. */
static uint32_t mask_of(int32_t budget)
{
    return budget <= 1 ? 0 : (1u << (31 - (uint32_t)__builtin_clz((uint32_t)budget))) - 1;
}

/* How often the function was called: a report whenever it was often enough (wj_native_hot). */
static void count_call(stencil_emitter *e)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    uint32_t position = e->function->function_index - plan->imported_function_count;
    load(e, RAX, RBX, WJ_VMCONTEXT_FUNCTIONS);
    int64_t counter = 8 * ((int64_t)WJ_COUNTERS * plan->function_count + position);
    load(e, RCX, RAX, (int32_t)counter);
    BYTES(e, 0x48, 0xff, 0xc1); /* inc %rcx */
    store(e, RCX, RAX, (int32_t)counter);
    BYTES(e, 0xf7, 0xc1); /* test $often, %ecx */
    word(e, mask_of(plan->budget));
    uint32_t stub = wj_add_stub(e, STUB_HOT, 0);
    jump_if(e, 0x84, STUB_TARGET | stub); /* je */
    wj_return_here(e, stub);
}

void wj_emit_prologue(stencil_emitter *e)
{
    e->saved_bytes = saved_bytes(e);
    e->slots_at = -(int32_t)(e->saved_bytes + slots_bytes(e));
    BYTES(e, 0x55, 0x48, 0x89, 0xe5); /* push %rbp; mov %rsp, %rbp */
    /* Before anything is written below: recursion would run off the thread's stack, whatever lies there. */
    BYTES(e, 0x48, 0x8d, 0x85); /* lea -frame(%rbp), %rax */
    e->check_hole = (uint32_t)e->count;
    word(e, 0);
    load(e, R11, RDI, WJ_VMCONTEXT_STORE);
    memory_form(e, 0, true, 0x3b, RAX, R11, offsetof(wj_store, stencil_limit)); /* cmp */
    e->module_offset = 0;
    jump_if(e, 0x82, STUB_TARGET | wj_add_stub(e, STUB_EXHAUSTED, 0)); /* jb */
    BYTES(e, 0x48, 0x81, 0xec); /* sub $frame, %rsp */
    e->frame_hole = (uint32_t)e->count;
    word(e, 0);
    store(e, RBX, RBP, SAVED_RBX);
    for (uint32_t i = 0; i < SAVED_REGISTERS; i++) {
        if ((e->saved_mask >> i & 1) != 0) {
            store(e, wj_register_number((uint8_t)(FIRST_INTEGER + i)), RBP, saved_at(e, i));
        }
    }
    move(e, RBX, RDI);
    if (e->signature->area_slots != 0) {
        store(e, RSI, RBP, RESULTS_AREA);
    }
    take_parameters(e);
    clear_locals(e);
    count_call(e);
    load_base(e);
    if (e->counts_in_frame) {
        memory_form(e, 0, false, 0xc7, 0, RBP, count_at(e)); /* movl */
        word(e, (uint32_t)e->of->plan.budget);
    } else if (e->has_loops && !wj_counts_fuel(e)) {
        load_number(e, RDI, (uint32_t)e->of->plan.budget);
    }
}

void wj_count_iteration(stencil_emitter *e, uint32_t loop_offset)
{
    if (wj_counts_fuel(e)) { /* the next operation compares what is left with what a loop is hot at */
        e->loop_offset = loop_offset;
        return;
    }
    if (e->counts_in_frame) {
        memory_form(e, 0, false, 0xff, 1, RBP, count_at(e)); /* decl */
    } else {
        BYTES(e, 0xff, 0xcf); /* decl %edi */
    }
    uint32_t stub = wj_add_stub(e, STUB_HOT, loop_offset);
    jump_if(e, 0x84, STUB_TARGET | stub); /* je */
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
    move(e, RDI, RBX);
    load_number(e, RSI, e->function->function_index - plan->imported_function_count);
    load_number(e, RDX, stub->number);
    call_address(e, (const void *)wj_native_hot);
    if (is_loop && stub->number != 0) {
        BYTES(e, 0x48, 0x85, 0xc0, 0x74, 0); /* test %rax, %rax; je */
        size_t hole = e->count - 1;
        if (has_fuel) {
            load(e, RCX, RBP, count_at(e));
            store(e, RCX, RBP, slot_at(e, e->function->local_count));
        }
        move(e, RDI, RBX);
        memory_form(e, 0, true, 0x8d, RDX, RBP, slot_at(e, 0));
        if (e->signature->area_slots != 0) {
            load(e, RSI, RBP, RESULTS_AREA);
        } else {
            move(e, RSI, RDX);
        }
        wj_note_site(e, (uint32_t)e->count, WJ_HAND_OVER_OFFSET); /* in backtraces, that code stands for this activation */
        BYTES(e, 0xff, 0xd0); /* call *%rax */
        wj_note_site(e, (uint32_t)e->count, stub->module_offset);
        leave_function(e);
        if (!e->failed) {
            e->code[hole] = (uint8_t)(e->count - hole - 1);
        }
    }
    if (is_loop && e->counts_in_frame) {
        memory_form(e, 0, false, 0x89, RDX, RBP, count_at(e));
    } else if (is_loop && !has_fuel) {
        move(e, RDI, RDX); /* wj_hot_answer.budget, of which the lower half counts */
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
        BYTES(e, 0x48, 0x81, 0xec); /* sub $, %rsp */
        word(e, BYTES_OF_ALL);
    }
    for (uint32_t i = SAVED_REGISTERS; i < STENCIL_REGISTERS; i++) {
        if (i >= INTEGER_REGISTERS) {
            uint32_t number = i - INTEGER_REGISTERS;
            (loads ? load_vector : store_vector)(e, wj_register_number((uint8_t)(FIRST_FLOAT + number)), RSP,
                                                 INTEGER_BYTES + VECTOR_BYTES * (int32_t)number);
        } else {
            int32_t at = 8 * (int32_t)(i - SAVED_REGISTERS);
            (loads ? load : store)(e, wj_register_number((uint8_t)(FIRST_INTEGER + i)), RSP, at);
        }
    }
    if (loads) {
        BYTES(e, 0x48, 0x81, 0xc4); /* add $, %rsp */
        word(e, BYTES_OF_ALL);
    }
}

/* A call through a table, of a function whose type has another id: it may be a subtype. */
void wj_emit_type(stencil_emitter *e, const stencil_stub *stub)
{
    store(e, RDI, RBP, reference(e));
    between_stack_and_changed(e, false);
    load_narrow(e, RSI, RDI, WJ_FUNC_REF_TYPE_ID);
    load(e, RAX, RBX, WJ_VMCONTEXT_TYPE_IDS);
    load_narrow(e, RDX, RAX, (int32_t)(sizeof(uint32_t) * stub->number));
    move(e, RDI, RBX);
    call_address(e, (const void *)wj_builtin_type_matches);
    BYTES(e, 0x48, 0x85, 0xc0, 0x75, 5); /* test %rax, %rax; jne over the trap */
    wj_emit_trap(e, WJ_TRAP_BAD_SIGNATURE);
    between_stack_and_changed(e, true);
    load_base(e);
    load(e, RDI, RBP, reference(e));
    jump_back(e, stub->back);
}

/* The native stack has no room for the frame: the call begins anew in the interpreter, which has another stack. */
void wj_emit_exhausted(stencil_emitter *e)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    uint64_t position = e->function->function_index - plan->imported_function_count;
    byte(e, 0x5d); /* pop %rbp */
    load_address(e, (const void *)(uintptr_t)(plan->stubs_address + position * plan->stub_bytes));
    BYTES(e, 0xff, 0xe0); /* jmp *%rax */
}

void wj_write_frame(stencil_emitter *e)
{
    wj_write_32(e, e->check_hole, -e->frame_bytes);
    wj_write_32(e, e->frame_hole, e->frame_bytes);
}

#endif
