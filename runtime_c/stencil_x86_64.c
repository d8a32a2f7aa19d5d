/* The stencil tier on x86-64: frames, calls, and what else is not made of stencils.
 *
 *     rbp   the frame; the slots lie below the saved registers: slot i at rbp - frame_bytes + 8 i, ascending, since code that
 *           goes on from a loop takes the locals there (abi.py); below them the stack arguments of calls
 *     rbx   the instance context          rsi   base of memory 0, if the function has accesses
 *     edi   iterations until a loop is hot, if it has loops
 *     r8, r9, r11 to r15, xmm1 to xmm7: the slots that are used most; calls leave those from r12 on alone
 *     all others are free within a stencil */
#include "stencil_emit.h"

#ifdef __x86_64__

#include <string.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
static const uint8_t INTEGER_NUMBERS[INTEGER_REGISTERS] = {R12, R13, R14, R15, R8, R9, R11};
static const uint8_t ARGUMENT_NUMBERS[WJ_INT_REGISTERS] = {RDI, RSI, RDX, RCX, R8, R9};

/* Above the slots, from rbp down: rbx; then what the function has of: the results area of its caller, iterations, a func-ref,
 * r12 to r15. */
enum { SAVED_RBX = -8, RESULTS_AREA = -16 };
enum { STACK_ALIGNMENT_BYTES = 16 };

bool wj_has_stencils(void)
{
    /* x86-64-v2, which the stencils are made for (wasmjit/stencils/header.py) */
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("ssse3");
}

uint8_t wj_register_number(uint8_t where)
{
    /* It is a register. NOLINTNEXTLINE(clang-analyzer-security.ArrayBound) */
    return where >= FIRST_FLOAT ? (uint8_t)(where - FIRST_FLOAT + 1) : INTEGER_NUMBERS[where - FIRST_INTEGER];
}

/* ---- bytes ---- */

static void bytes(stencil_emitter *e, const void *from, size_t count)
{
    if (wj_reserve(e, count)) {
        memcpy(e->code + e->count, from, count);
        e->count += count;
    }
}

static void byte(stencil_emitter *e, uint8_t value)
{
    bytes(e, &value, 1);
}

static void word(stencil_emitter *e, uint32_t value)
{
    bytes(e, &value, sizeof value);
}

#define BYTES(e, ...) bytes(e, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* An instruction with a register and a memory operand [base + displacement]. `prefix`: 0 for none. `opcode`: one byte, or two
 * of which the first is 0x0f. */
static void memory_form(stencil_emitter *e, uint8_t prefix, bool is_wide, uint32_t opcode, uint8_t reg, uint8_t base,
                        int32_t displacement)
{
    if (prefix != 0) {
        byte(e, prefix);
    }
    uint8_t rex = (uint8_t)(0x40 | (is_wide ? 8 : 0) | (reg >> 3) << 2 | base >> 3);
    if (rex != 0x40) {
        byte(e, rex);
    }
    if (opcode > 0xff) {
        byte(e, (uint8_t)(opcode >> 8));
    }
    byte(e, (uint8_t)opcode);
    bool is_short = displacement >= INT8_MIN && displacement <= INT8_MAX;
    byte(e, (uint8_t)((is_short ? 0x40 : 0x80) | (reg & 7) << 3 | (base & 7)));
    if ((base & 7) == RSP) {
        byte(e, 0x24); /* rsp, r12: no index */
    }
    if (is_short) {
        byte(e, (uint8_t)displacement);
    } else {
        word(e, (uint32_t)displacement);
    }
}

static void register_form(stencil_emitter *e, uint8_t prefix, bool is_wide, uint32_t opcode, uint8_t reg, uint8_t rm)
{
    if (prefix != 0) {
        byte(e, prefix);
    }
    uint8_t rex = (uint8_t)(0x40 | (is_wide ? 8 : 0) | (reg >> 3) << 2 | rm >> 3);
    if (rex != 0x40) {
        byte(e, rex);
    }
    if (opcode > 0xff) {
        byte(e, (uint8_t)(opcode >> 8));
    }
    byte(e, (uint8_t)opcode);
    byte(e, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

static void load(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0, true, 0x8b, reg, base, displacement);
}

static void load_narrow(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0, false, 0x8b, reg, base, displacement);
}

static void store(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0, true, 0x89, reg, base, displacement);
}

static void move(stencil_emitter *e, uint8_t to, uint8_t from)
{
    register_form(e, 0, true, 0x89, from, to);
}

/* movsd */
static void load_float(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0xf2, false, 0x0f10, reg, base, displacement);
}

static void store_float(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0xf2, false, 0x0f11, reg, base, displacement);
}

/* movaps */
static void move_float(stencil_emitter *e, uint8_t to, uint8_t from)
{
    register_form(e, 0, false, 0x0f28, to, from);
}

/* movq between a float register and one of integers */
static void move_to_float(stencil_emitter *e, uint8_t to, uint8_t from)
{
    register_form(e, 0x66, true, 0x0f6e, to, from);
}

static void move_from_float(stencil_emitter *e, uint8_t to, uint8_t from)
{
    register_form(e, 0x66, true, 0x0f7e, from, to);
}

static void load_number(stencil_emitter *e, uint8_t reg, uint32_t value)
{
    if (reg >= R8) {
        byte(e, 0x41);
    }
    byte(e, (uint8_t)(0xb8 | (reg & 7)));
    word(e, value);
}

/* movabs */
static void load_address(stencil_emitter *e, const void *pointer)
{
    uint64_t address = (uint64_t)(uintptr_t)pointer;
    BYTES(e, 0x48, 0xb8); /* to %rax */
    bytes(e, &address, sizeof address);
}

static void call_address(stencil_emitter *e, const void *function)
{
    load_address(e, function);
    BYTES(e, 0xff, 0xd0); /* call *%rax */
}

/* ---- slots ---- */

static uint32_t slots_bytes(const stencil_emitter *e)
{
    return 8 * (e->function->slot_count + e->has_scratch_slot);
}

static int32_t iterations(const stencil_emitter *e)
{
    return SAVED_RBX - 8 * (1 + (int32_t)(e->signature->area_slots != 0));
}

static int32_t reference(const stencil_emitter *e)
{
    return iterations(e) - 8 * (int32_t)e->has_loops;
}

/* Where the i-th of the registers is saved that calls leave alone: there is room up to the last that is used. */
static int32_t saved_at(const stencil_emitter *e, uint32_t i)
{
    return reference(e) - 8 * (int32_t)(i + e->calls_through_tables);
}

static uint32_t saved_bytes(const stencil_emitter *e)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < SAVED_REGISTERS; i++) {
        used = (e->saved_mask >> i & 1) != 0 ? i + 1 : used;
    }
    return (uint32_t)-saved_at(e, used) - 8;
}

/* From rbp to a slot. */
static int32_t slot_at(const stencil_emitter *e, uint32_t slot)
{
    return -(int32_t)(e->saved_bytes + slots_bytes(e)) + 8 * (int32_t)slot;
}

void wj_fill_hole(stencil_emitter *e, size_t place, const wj_stencil_hole *hole, const uint32_t *slots, bool has_result,
                  uint64_t constant, uint32_t target)
{
    uint32_t addend = (uint32_t)(int32_t)hole->addend;
    switch (hole->what) {
    case WJ_HOLE_RESULT:
        wj_write_32(e, place, (uint32_t)slot_at(e, slots[0]) + addend);
        break;
    case WJ_HOLE_FIRST:
    case WJ_HOLE_SECOND:
    case WJ_HOLE_THIRD:
        wj_write_32(e, place, (uint32_t)slot_at(e, slots[has_result + hole->what - WJ_HOLE_FIRST]) + addend);
        break;
    case WJ_HOLE_NARROW:
    case WJ_HOLE_WIDE:
        wj_write_32(e, place, (uint32_t)constant + addend);
        break;
    case WJ_HOLE_BYTE:
        e->code[place] = (uint8_t)(constant + addend);
        break;
    case WJ_HOLE_FULL:
        constant += (uint64_t)(int64_t)hole->addend;
        memcpy(e->code + place, &constant, sizeof constant);
        break;
    case WJ_HOLE_TARGET:
        wj_add_jump(e, (uint32_t)place, target, (uint32_t)place + 4);
        break;
    case WJ_HOLE_POOL: /* the pool stands behind all code: the target is set in wj_emit_rest */
        e->uses_pool = true;
        wj_add_jump(e, (uint32_t)place, POOL_TARGET | (uint32_t)hole->addend, (uint32_t)place + 4);
        break;
    default:
        wj_add_jump(e, (uint32_t)place, STUB_TARGET | wj_add_stub(e, STUB_TRAP, hole->what - WJ_HOLE_TRAP), (uint32_t)place + 4);
        break;
    }
}

enum { MODES = 0xc0, REGISTER_OR_MEMORY = 0x07, OF_RBP = 0x85 }; /* of the byte before a slot's distance */

void wj_fill_with_constant(stencil_emitter *e, size_t place, uint64_t value)
{
    uint8_t *form = &e->code[place - 1];
    if ((*form & (MODES | REGISTER_OR_MEMORY)) != OF_RBP) {
        e->failed = true;
        return;
    }
    *form = (uint8_t)(*form & ~MODES); /* distance(%rbp) becomes distance(%rip) */
    wj_add_jump(e, (uint32_t)place, CONSTANT_TARGET | wj_add_constant(e, value), (uint32_t)place + 4);
}

void wj_emit_float_constant(stencil_emitter *e, uint8_t where, uint64_t value)
{
    uint8_t number = wj_register_number(where);
    if (value == 0) {
        register_form(e, 0, false, 0x0f57, number, number); /* xorps */
        return;
    }
    BYTES(e, 0xf2, 0x0f, 0x10, (uint8_t)(OF_RBP & ~MODES) | (uint8_t)(number << 3)); /* movsd constant(%rip) */
    word(e, 0);
    wj_add_jump(e, (uint32_t)e->count - 4, CONSTANT_TARGET | wj_add_constant(e, value), (uint32_t)e->count);
}

void wj_store_register(stencil_emitter *e, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    if (where >= FIRST_FLOAT) {
        store_float(e, wj_register_number(where), RBP, slot_at(e, slot));
    } else if (where != IN_FRAME) {
        store(e, wj_register_number(where), RBP, slot_at(e, slot));
    }
}

void wj_load_register(stencil_emitter *e, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    if (where >= FIRST_FLOAT) {
        load_float(e, wj_register_number(where), RBP, slot_at(e, slot));
    } else if (where != IN_FRAME) {
        load(e, wj_register_number(where), RBP, slot_at(e, slot));
    }
}

static bool survives_calls(uint8_t where)
{
    return where >= FIRST_INTEGER && where < FIRST_INTEGER + SAVED_REGISTERS;
}

/* All registers of locals, or those that calls change. */
static void store_registers(stencil_emitter *e, bool all)
{
    for (uint32_t i = all ? 0 : SAVED_REGISTERS; i < STENCIL_REGISTERS; i++) {
        if (e->held[i] != NO_SLOT && !wj_is_operand(e, e->held[i])) {
            wj_store_register(e, e->held[i]);
        }
    }
}

static void load_registers(stencil_emitter *e)
{
    for (uint32_t i = SAVED_REGISTERS; i < STENCIL_REGISTERS; i++) {
        if (e->held[i] != NO_SLOT) {
            wj_load_register(e, e->held[i]);
        }
    }
}

static void between(stencil_emitter *e, uint32_t i, uint32_t slot, bool loads)
{
    if (i >= INTEGER_REGISTERS) {
        (loads ? load_float : store_float)(e, wj_register_number((uint8_t)(FIRST_FLOAT + i - INTEGER_REGISTERS)), RBP,
                                           slot_at(e, slot));
    } else {
        (loads ? load : store)(e, wj_register_number((uint8_t)(FIRST_INTEGER + i)), RBP, slot_at(e, slot));
    }
}

void wj_emit_edge(stencil_emitter *e, uint32_t from, uint32_t to)
{
    const stencil_region *before = &e->regions[from];
    const stencil_region *after = &e->regions[to];
    for (uint32_t i = 0; i < STENCIL_REGISTERS; i++) {
        if (before->slots[i] != NO_SLOT && before->slots[i] != after->slots[i] && (before->dirty >> i & 1) != 0) {
            between(e, i, before->slots[i], false);
        }
    }
    for (uint32_t i = 0; i < STENCIL_REGISTERS; i++) {
        if (after->slots[i] != NO_SLOT && before->slots[i] != after->slots[i]) {
            between(e, i, after->slots[i], true);
        }
    }
}

static void load_base(stencil_emitter *e)
{
    if (e->uses_memory) {
        load(e, RSI, RBX, (int32_t)(e->of->plan.memories_offset + WJ_MEMORY_SLOT_BASE));
    }
}

void wj_save_iterations(stencil_emitter *e)
{
    if (e->has_loops) {
        store(e, RDI, RBP, iterations(e));
    }
}

void wj_load_iterations(stencil_emitter *e)
{
    if (e->has_loops) {
        load(e, RDI, RBP, iterations(e));
    }
}

void wj_emit_memory_slot(stencil_emitter *e)
{
    wj_save_iterations(e);
    memory_form(e, 0, true, 0x8d, RDI, RBX, (int32_t)e->of->plan.memories_offset); /* lea */
}

void wj_move_slots(stencil_emitter *e, uint32_t to, uint32_t from, uint32_t count)
{
    wj_save_iterations(e);
    memory_form(e, 0, true, 0x8d, RSI, RBP, slot_at(e, from));
    memory_form(e, 0, true, 0x8d, RDI, RBP, slot_at(e, to));
    load_number(e, RCX, count);
    BYTES(e, 0xf3, 0x48, 0xa5); /* rep movsq, upwards */
    load_base(e);
    wj_load_iterations(e);
}

/* ---- jumps ---- */

static void jump(stencil_emitter *e, uint32_t target)
{
    byte(e, 0xe9);
    word(e, 0);
    wj_add_jump(e, (uint32_t)e->count - 4, target, (uint32_t)e->count);
}

static void jump_if(stencil_emitter *e, uint8_t condition, uint32_t target)
{
    BYTES(e, 0x0f, condition);
    word(e, 0);
    wj_add_jump(e, (uint32_t)e->count - 4, target, (uint32_t)e->count);
}

static void jump_back(stencil_emitter *e, uint32_t place)
{
    byte(e, 0xe9);
    word(e, place - (uint32_t)(e->count + 4));
}

void wj_emit_jump(stencil_emitter *e, uint32_t target)
{
    jump(e, target);
}

void wj_emit_trap(stencil_emitter *e, int trap)
{
    BYTES(e, 0x67, 0x0f, 0xb9, 0x40, (uint8_t)trap); /* ud1l trap(%eax), %eax: wj_trap_instruction_code */
}

void wj_emit_table(stencil_emitter *e, uint32_t slot, uint32_t count, const uint32_t *targets)
{
    uint8_t where = e->registers[slot];
    if (where >= FIRST_FLOAT) {
        wj_store_register(e, slot);
        where = IN_FRAME;
    }
    if (where == IN_FRAME) {
        load_narrow(e, RAX, RBP, slot_at(e, slot));
    } else {
        register_form(e, 0, false, 0x89, wj_register_number(where), RAX);
    }
    load_number(e, RCX, count);
    BYTES(e, 0x39, 0xc8,             /* cmp %ecx, %eax */
          0x0f, 0x43, 0xc1,          /* cmovae %ecx, %eax: no branch, so no index beyond the table is ever used */
          0x48, 0x8d, 0x0d);         /* lea table(%rip), %rcx */
    word(e, 9);                      /* behind what follows */
    BYTES(e, 0x48, 0x63, 0x04, 0x81, /* movslq (%rcx,%rax,4), %rax */
          0x48, 0x01, 0xc8,          /* add %rcx, %rax */
          0xff, 0xe0);               /* jmp *%rax */
    uint32_t table = (uint32_t)e->count;
    for (uint32_t i = 0; i <= count && !e->failed; i++) {
        word(e, 0);
        wj_add_jump(e, (uint32_t)e->count - 4, targets[i], table);
    }
}

/* ---- calls ---- */

/* The words of a wj_frame that a place may be in (boundary.h). */
static bool is_integer_place(uint32_t slot)
{
    return slot < WJ_SLOT_OF(floats);
}

static bool is_stack_place(uint32_t slot)
{
    return slot >= WJ_SLOT_OF(stack);
}

static uint8_t float_of(uint32_t place, uint32_t first)
{
    return (uint8_t)((place - first) / 2);
}

/* Loads an argument into the register or stack place that the convention wants. */
static void pass(stencil_emitter *e, uint32_t place, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    const uint64_t *constant = wj_constant_of(e, slot);
    uint8_t number = where == IN_FRAME || constant != NULL ? RAX : wj_register_number(where);
    if (is_stack_place(place)) {
        int32_t at = 8 * (int32_t)(place - (uint32_t)WJ_SLOT_OF(stack));
        if (where >= FIRST_FLOAT) {
            store_float(e, number, RSP, at);
            return;
        }
        if (where == IN_FRAME) {
            load(e, RAX, RBP, slot_at(e, slot));
        }
        store(e, number, RSP, at);
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

/* Whether some parameter is in r8 or r9. */
static bool has_many_integers(const wj_signature *type)
{
    for (uint32_t i = 0; i < type->param_count; i++) {
        uint32_t place = type->places[i].slot;
        if (is_integer_place(place) && ARGUMENT_NUMBERS[place - WJ_SLOT_OF(ints)] >= R8) {
            return true;
        }
    }
    return false;
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
    for (uint32_t i = 0; i < type->param_count; i++) {
        uint32_t slot = first + i;
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
    for (uint32_t i = 0; i < type->result_count && type->result_count != 1; i++) {
        uint32_t place = type->places[type->param_count + i].slot;
        int32_t at = slot_at(e, first + i);
        if (i >= WJ_MAX_REGISTER_RESULTS) {
            load(e, RCX, RSP, 8 * (int32_t)(type->stack_slots + place));
            store(e, RCX, RBP, at);
        } else if (place >= WJ_SLOT_OF(float_results)) {
            store_float(e, float_of(place, WJ_SLOT_OF(float_results)), RBP, at);
        } else {
            store(e, place == WJ_SLOT_OF(int_results) ? RAX : RDX, RBP, at);
        }
    }
}

/* A single result, in rax or xmm0, which nothing has changed meanwhile. */
static void take_result(stencil_emitter *e, const wj_signature *type, uint32_t first)
{
    if (type->result_count != 1) {
        return;
    }
    bool is_float = type->places[type->param_count].slot >= WJ_SLOT_OF(float_results);
    uint8_t where = wj_place_operand(e, first, is_float, IN_FRAME);
    if (is_float && where != IN_FRAME) {
        move_float(e, wj_register_number(where), 0);
    } else if (is_float) {
        store_float(e, 0, RBP, slot_at(e, first));
    } else if (where != IN_FRAME) {
        bool narrow = type->places[type->param_count].letter == 'i';
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

void wj_emit_call(stencil_emitter *e, const wj_callee *callee, const wj_signature *type, uint32_t first)
{
    if (type == NULL) {
        e->failed = true;
        return;
    }
    uint32_t outgoing = 8 * (type->stack_slots + type->area_slots);
    e->outgoing_bytes = outgoing > e->outgoing_bytes ? outgoing : e->outgoing_bytes;
    store_for_call(e, type, first);
    store_registers(e, false);
    if (callee->kind != CALLEE_REFERENCE) {
        wj_save_iterations(e);
    }
    for (uint32_t i = 0; i < type->param_count; i++) {
        if (is_stack_place(type->places[i].slot)) {
            pass(e, type->places[i].slot, first + i);
        }
    }
    if (callee->kind != CALLEE_OWN) {
        announce_caller(e);
    }
    for (uint32_t i = 0; i < type->param_count; i++) {
        if (!is_stack_place(type->places[i].slot)) {
            pass(e, type->places[i].slot, first + i);
        }
    }
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
    wj_drop_operands(e);
    take_results(e, type, first);
    load_registers(e);
    load_base(e);
    wj_load_iterations(e);
    take_result(e, type, first);
}

void wj_emit_builtin(stencil_emitter *e, const void *function, uint32_t result, const wj_argument *arguments, size_t count)
{
    store_registers(e, false);
    wj_save_iterations(e);
    for (size_t i = 0; i < count; i++) {
        uint8_t to = ARGUMENT_NUMBERS[1 + i];
        uint32_t slot = arguments[i].value;
        if (arguments[i].kind == ARGUMENT_NUMBER) {
            load_number(e, to, slot);
            continue;
        }
        bool is_wide = arguments[i].kind == ARGUMENT_WIDE_SLOT;
        uint8_t where = e->registers[slot];
        if (survives_calls(where)) {
            register_form(e, 0, is_wide, 0x89, wj_register_number(where), to);
        } else {
            memory_form(e, 0, is_wide, 0x8b, to, RBP, slot_at(e, slot));
        }
    }
    move(e, RDI, RBX);
    call_address(e, function);
    if (result != NO_SLOT) { /* an operand, which is in the frame, or a local */
        uint8_t where = e->registers[result];
        if (survives_calls(where)) {
            register_form(e, 0, false, 0x89, RAX, wj_register_number(where));
        } else {
            register_form(e, 0, false, 0x89, RAX, RAX);
            store(e, RAX, RBP, slot_at(e, result));
        }
    }
    load_registers(e);
    load_base(e);
    wj_load_iterations(e);
}

/* ---- the frame ---- */

static void restore_registers(stencil_emitter *e)
{
    for (uint32_t i = 0; i < SAVED_REGISTERS; i++) {
        if ((e->saved_mask >> i & 1) != 0) {
            load(e, INTEGER_NUMBERS[i], RBP, saved_at(e, i));
        }
    }
    load(e, RBX, RBP, SAVED_RBX);
    BYTES(e, 0xc9, 0xc3); /* leave; ret */
}

void wj_emit_return(stencil_emitter *e, uint32_t slot)
{
    const wj_signature *type = e->signature;
    if (type->area_slots != 0) {
        load(e, RCX, RBP, RESULTS_AREA);
    }
    for (uint32_t i = type->result_count; i-- > 0;) { /* those in memory first: they go through rax */
        uint32_t place = type->places[type->param_count + i].slot;
        if (i >= WJ_MAX_REGISTER_RESULTS) {
            wj_store_register(e, slot + i);
            load(e, RAX, RBP, slot_at(e, slot + i));
            store(e, RAX, RCX, 8 * (int32_t)place);
        }
    }
    for (uint32_t i = 0; i < type->result_count && i < WJ_MAX_REGISTER_RESULTS; i++) {
        uint32_t place = type->places[type->param_count + i].slot;
        uint8_t where = e->registers[slot + i];
        int32_t at = slot_at(e, slot + i);
        bool is_float = place >= WJ_SLOT_OF(float_results);
        uint8_t to = is_float                             ? (uint8_t)((place - WJ_SLOT_OF(float_results)) / 2)
                     : place == WJ_SLOT_OF(int_results) ? RAX
                                                          : RDX;
        if (where == IN_FRAME && is_float) {
            load_float(e, to, RBP, at);
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
    restore_registers(e);
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
static bool arrives_straight(const stencil_emitter *e, uint32_t index)
{
    uint32_t place = e->signature->places[index].slot;
    uint8_t where = e->registers[index];
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
static void take_parameter(stencil_emitter *e, uint32_t index)
{
    uint32_t place = e->signature->places[index].slot;
    uint8_t where = e->registers[index];
    bool is_wide = e->signature->places[index].letter != 'i';
    int32_t at = slot_at(e, index);
    if (is_stack_place(place)) {
        memory_form(e, 0, is_wide, 0x8b, RAX, RBP, 16 + 8 * (int32_t)(place - (uint32_t)WJ_SLOT_OF(stack)));
        store(e, RAX, RBP, at);
    } else if (is_integer_place(place)) {
        uint8_t from = ARGUMENT_NUMBERS[place - WJ_SLOT_OF(ints)];
        if (arrives_straight(e, index)) {
            register_form(e, 0, is_wide, 0x89, from, wj_register_number(where));
            return;
        }
        if (!is_wide) {
            register_form(e, 0, false, 0x89, from, from);
        }
        store(e, from, RBP, at);
    } else if (arrives_straight(e, index)) {
        move_float(e, wj_register_number(where), float_of(place, WJ_SLOT_OF(floats)));
    } else {
        store_float(e, float_of(place, WJ_SLOT_OF(floats)), RBP, at);
    }
}

static void take_parameters(stencil_emitter *e)
{
    uint32_t count = e->signature->param_count;
    for (uint32_t i = 0; i < count; i++) {
        take_parameter(e, i);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!arrives_straight(e, i)) {
            wj_load_register(e, i);
        }
    }
}

enum { MOST_SINGLE_LOCALS = 16 };

/* Locals begin as zeros. */
static void clear_locals(stencil_emitter *e)
{
    uint32_t first = e->signature->param_count;
    uint32_t end = e->function->local_count;
    bool are_many = end - first > MOST_SINGLE_LOCALS;
    if (are_many) {
        BYTES(e, 0x31, 0xc0); /* xor %eax, %eax */
        memory_form(e, 0, true, 0x8d, RDI, RBP, slot_at(e, first));
        load_number(e, RCX, end - first);
        BYTES(e, 0xf3, 0x48, 0xab); /* rep stosq */
    }
    for (uint32_t i = first; i < end; i++) {
        uint8_t where = e->registers[i];
        uint8_t number = where == IN_FRAME ? 0 : wj_register_number(where);
        if (where != IN_FRAME) { /* xor, or xorps */
            register_form(e, 0, false, where >= FIRST_FLOAT ? 0x0f57 : 0x31, number, number);
        } else if (!are_many) {
            memory_form(e, 0, true, 0xc7, 0, RBP, slot_at(e, i)); /* movq $0 */
            word(e, 0);
        }
    }
}

/* How often the function was called: a report when it was often enough (wj_native_hot). */
static void count_call(stencil_emitter *e)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    uint32_t position = e->function->function_index - plan->imported_function_count;
    load(e, RAX, RBX, WJ_VMCONTEXT_FUNCTIONS);
    int64_t counter = 8 * ((int64_t)WJ_COUNTERS * plan->function_count + position);
    memory_form(e, 0, true, 0xff, 0, RAX, (int32_t)counter); /* incq */
    load_address(e, &e->function->budget);
    BYTES(e, 0x83, 0x28, 0x01); /* subl $1, (%rax) */
    uint32_t stub = wj_add_stub(e, STUB_HOT, 0);
    jump_if(e, 0x8e, STUB_TARGET | stub); /* jle */
    wj_return_here(e, stub);
}

void wj_emit_prologue(stencil_emitter *e)
{
    e->saved_bytes = saved_bytes(e);
    BYTES(e, 0x55, 0x48, 0x89, 0xe5); /* push %rbp; mov %rsp, %rbp */
    /* Before anything is written below: recursion would run off the thread's stack, whatever lies there. */
    BYTES(e, 0x48, 0x8d, 0x85); /* lea -frame(%rbp), %rax */
    e->check_hole = (uint32_t)e->count;
    word(e, 0);
    load(e, R11, RDI, WJ_VMCONTEXT_STORE);
    memory_form(e, 0, true, 0x3b, RAX, R11, WJ_STORE_STACK_LIMIT); /* cmp */
    e->module_offset = 0;
    jump_if(e, 0x82, STUB_TARGET | wj_add_stub(e, STUB_TRAP, WJ_TRAP_STACK_OVERFLOW)); /* jb */
    BYTES(e, 0x48, 0x81, 0xec); /* sub $frame, %rsp */
    e->frame_hole = (uint32_t)e->count;
    word(e, 0);
    store(e, RBX, RBP, SAVED_RBX);
    for (uint32_t i = 0; i < SAVED_REGISTERS; i++) {
        if ((e->saved_mask >> i & 1) != 0) {
            store(e, INTEGER_NUMBERS[i], RBP, saved_at(e, i));
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
    if (e->has_loops) {
        load_number(e, RDI, (uint32_t)e->of->plan.budget);
    }
}

void wj_count_iteration(stencil_emitter *e, uint32_t loop_offset)
{
    BYTES(e, 0xff, 0xcf); /* decl %edi */
    uint32_t stub = wj_add_stub(e, STUB_HOT, loop_offset);
    jump_if(e, 0x84, STUB_TARGET | stub); /* je */
    wj_return_here(e, stub);
}

/* ---- behind the body ---- */

/* A function or loop that began often. From a loop whose operand stack is empty it may go on in other code, which takes the
 * locals from the frame (abi.py: loop entries) and gives the function's results. */
static void emit_hot(stencil_emitter *e, const stencil_stub *stub, bool is_loop)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    store_registers(e, is_loop);
    move(e, RDI, RBX);
    load_number(e, RSI, e->function->function_index - plan->imported_function_count);
    load_number(e, RDX, stub->number);
    call_address(e, (const void *)wj_native_hot);
    if (is_loop && stub->number != 0) {
        BYTES(e, 0x48, 0x85, 0xc0, 0x74, 0); /* test %rax, %rax; je */
        size_t hole = e->count - 1;
        move(e, RDI, RBX);
        memory_form(e, 0, true, 0x8d, RDX, RBP, slot_at(e, 0));
        if (e->signature->area_slots != 0) {
            load(e, RSI, RBP, RESULTS_AREA);
        } else {
            move(e, RSI, RDX);
        }
        BYTES(e, 0xff, 0xd0); /* call *%rax */
        restore_registers(e);
        if (!e->failed) {
            e->code[hole] = (uint8_t)(e->count - hole - 1);
        }
    }
    load_registers(e);
    if (is_loop) {
        load_base(e);
        load_number(e, RDI, (uint32_t)plan->budget);
    }
    jump_back(e, stub->back);
}

/* All registers that calls change, on top of the stack, and back: operands are in them, too. */
static void between_stack_and_changed(stencil_emitter *e, bool loads)
{
    enum { BYTES_OF_ALL = 8 * (STENCIL_REGISTERS - SAVED_REGISTERS) };
    _Static_assert(BYTES_OF_ALL % STACK_ALIGNMENT_BYTES == 0, "the stack stays aligned");
    if (!loads) {
        BYTES(e, 0x48, 0x83, 0xec, BYTES_OF_ALL); /* sub $, %rsp */
    }
    for (uint32_t i = SAVED_REGISTERS; i < STENCIL_REGISTERS; i++) {
        int32_t at = 8 * (int32_t)(i - SAVED_REGISTERS);
        if (i >= INTEGER_REGISTERS) {
            (loads ? load_float : store_float)(e, wj_register_number((uint8_t)(FIRST_FLOAT + i - INTEGER_REGISTERS)), RSP, at);
        } else {
            (loads ? load : store)(e, wj_register_number((uint8_t)(FIRST_INTEGER + i)), RSP, at);
        }
    }
    if (loads) {
        BYTES(e, 0x48, 0x83, 0xc4, BYTES_OF_ALL); /* add $, %rsp */
    }
}

/* A call through a table, of a function whose type has another id: it may be a subtype. */
static void emit_type(stencil_emitter *e, const stencil_stub *stub)
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

void wj_emit_rest(stencil_emitter *e)
{
    for (size_t i = 0; i < e->stub_count && !e->failed; i++) {
        stencil_stub *stub = &e->stubs[i];
        stub->place = (uint32_t)e->count;
        if (stub->kind != STUB_EDGE) {
            wj_note_site(e, stub->place, stub->module_offset);
        }
        wj_set_region(e, stub->region);
        switch (stub->kind) {
        case STUB_EDGE:
            wj_emit_edge(e, stub->region, e->marks[stub->number] & ~TARGET_MARK);
            jump(e, stub->number);
            break;
        case STUB_TRAP:
            wj_emit_trap(e, (int)stub->number);
            break;
        case STUB_HOT:
            emit_hot(e, stub, i > 1); /* the first two are those of the function's start */
            break;
        case STUB_TYPE:
            emit_type(e, stub);
            break;
        }
    }
    if (e->uses_pool) {
        while (e->count % 16 != 0 && !e->failed) {
            byte(e, 0xcc);
        }
        e->pool = (uint32_t)e->count;
        size_t size_bytes;
        const uint8_t *pool = wj_stencil_pool(&size_bytes);
        bytes(e, pool, size_bytes);
    }
    if (e->pooled_count != 0) {
        while (e->count % 8 != 0 && !e->failed) {
            byte(e, 0xcc);
        }
        e->own_pool = (uint32_t)e->count;
        bytes(e, e->pooled, e->pooled_count * sizeof *e->pooled);
    }
    uint32_t frame = e->saved_bytes + slots_bytes(e) + e->outgoing_bytes;
    frame = (frame + STACK_ALIGNMENT_BYTES - 1) & ~(uint32_t)(STACK_ALIGNMENT_BYTES - 1);
    if (!e->failed) {
        wj_write_32(e, e->check_hole, -frame);
        wj_write_32(e, e->frame_hole, frame);
    }
    wj_write_jumps(e);
}

#else

bool wj_has_stencils(void)
{
    return false;
}
#endif
