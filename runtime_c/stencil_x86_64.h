/* The stencil tier on x86-64: frames, calls, and what else is not made of stencils. Here: its instructions, and
 * where slots are, and what a function saves.
 *
 *     rbp   the frame; the slots lie below the saved registers: slot i at rbp - frame_bytes + 8 i, ascending, since code that
 *           goes on from a loop takes the locals there (abi.py); below them the stack arguments of calls
 *     rbx   the instance context          rsi   base of a memory, if the function has accesses: of the one that it uses most where
 *                                               a block begins or ends
 *     rdi   what is left of the fuel, where code counts it; else iterations until a loop is hot (edi), if it has loops
 *     r8 to r15, xmm1 to xmm7, xmm9, xmm10, xmm13, xmm14: the slots that are used most; calls leave those from r12 on alone
 *     all others are free within a stencil */
#include "stencil_emit.h"
#ifndef WJ_STENCIL_X86_64_H
#define WJ_STENCIL_X86_64_H

#include "stencil_emit.h"

#include <string.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
static const uint8_t ARGUMENT_NUMBERS[WJ_INT_REGISTERS] = {RDI, RSI, RDX, RCX, R8, R9};

/* Above the slots, from rbp down: rbx; then what the function has of: the results area of its caller, rdi, the fuel that a loop
 * is hot at, a func-ref,
 * r12 to r15. */
enum { SAVED_RBX = -8, RESULTS_AREA = -16 };

/* ---- bytes ---- */

static inline void bytes(stencil_emitter *e, const void *from, size_t count)
{
    if (wj_reserve(e, count)) {
        memcpy(e->code + e->count, from, count);
        e->count += count;
    }
}

static inline void byte(stencil_emitter *e, uint8_t value)
{
    bytes(e, &value, 1);
}

static inline void word(stencil_emitter *e, uint32_t value)
{
    bytes(e, &value, sizeof value);
}

#define BYTES(e, ...) bytes(e, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

enum { MOST_INSTRUCTION_BYTES = 15 };

/* Prefixes and opcode of an instruction with two registers; where the rest of it goes. */
static inline uint8_t *begin_instruction(stencil_emitter *e, uint8_t prefix, bool is_wide, uint32_t opcode, uint8_t reg, uint8_t rm)
{
    if (!wj_reserve(e, MOST_INSTRUCTION_BYTES)) {
        return e->lost;
    }
    uint8_t *to = e->code + e->count;
    if (prefix != 0) {
        *to++ = prefix;
    }
    uint8_t rex = (uint8_t)(0x40 | (is_wide ? 8 : 0) | (reg >> 3) << 2 | rm >> 3);
    if (rex != 0x40) {
        *to++ = rex;
    }
    if (opcode > 0xff) {
        *to++ = (uint8_t)(opcode >> 8);
    }
    *to++ = (uint8_t)opcode;
    return to;
}

static inline void end_instruction(stencil_emitter *e, const uint8_t *end)
{
    if (!e->failed) {
        e->count = (size_t)(end - e->code);
    }
}

/* An instruction with a register and a memory operand [base + displacement]. `prefix`: 0 for none. `opcode`: one byte, or two
 * of which the first is 0x0f. */
static inline void memory_form(stencil_emitter *e, uint8_t prefix, bool is_wide, uint32_t opcode, uint8_t reg, uint8_t base,
                        int32_t displacement)
{
    uint8_t *to = begin_instruction(e, prefix, is_wide, opcode, reg, base);
    bool is_short = displacement >= INT8_MIN && displacement <= INT8_MAX;
    *to++ = (uint8_t)((is_short ? 0x40 : 0x80) | (reg & 7) << 3 | (base & 7));
    if ((base & 7) == RSP) {
        *to++ = 0x24; /* rsp, r12: no index */
    }
    memcpy(to, &displacement, sizeof displacement);
    end_instruction(e, to + (is_short ? 1 : sizeof displacement));
}

static inline void register_form(stencil_emitter *e, uint8_t prefix, bool is_wide, uint32_t opcode, uint8_t reg, uint8_t rm)
{
    uint8_t *to = begin_instruction(e, prefix, is_wide, opcode, reg, rm);
    *to++ = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
    end_instruction(e, to);
}

static inline void load(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0, true, 0x8b, reg, base, displacement);
}

static inline void load_narrow(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0, false, 0x8b, reg, base, displacement);
}

static inline void store(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0, true, 0x89, reg, base, displacement);
}

static inline void move(stencil_emitter *e, uint8_t to, uint8_t from)
{
    register_form(e, 0, true, 0x89, from, to);
}

/* movsd */
static inline void load_float(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0xf2, false, 0x0f10, reg, base, displacement);
}

static inline void store_float(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0xf2, false, 0x0f11, reg, base, displacement);
}

/* movups */
static inline void load_vector(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0, false, 0x0f10, reg, base, displacement);
}

static inline void store_vector(stencil_emitter *e, uint8_t reg, uint8_t base, int32_t displacement)
{
    memory_form(e, 0, false, 0x0f11, reg, base, displacement);
}

/* movaps */
static inline void move_float(stencil_emitter *e, uint8_t to, uint8_t from)
{
    register_form(e, 0, false, 0x0f28, to, from);
}

/* movq between a float register and one of integers */
static inline void move_to_float(stencil_emitter *e, uint8_t to, uint8_t from)
{
    register_form(e, 0x66, true, 0x0f6e, to, from);
}

static inline void move_from_float(stencil_emitter *e, uint8_t to, uint8_t from)
{
    register_form(e, 0x66, true, 0x0f7e, from, to);
}

static inline void load_number(stencil_emitter *e, uint8_t reg, uint32_t value)
{
    if (reg >= R8) {
        byte(e, 0x41);
    }
    byte(e, (uint8_t)(0xb8 | (reg & 7)));
    word(e, value);
}

/* movabs */
static inline void load_address(stencil_emitter *e, const void *pointer)
{
    uint64_t address = (uint64_t)(uintptr_t)pointer;
    BYTES(e, 0x48, 0xb8); /* to %rax */
    bytes(e, &address, sizeof address);
}

static inline void call_address(stencil_emitter *e, const void *function)
{
    load_address(e, function);
    BYTES(e, 0xff, 0xd0); /* call *%rax */
}

/* ---- jumps ---- */

static inline void jump(stencil_emitter *e, uint32_t target)
{
    byte(e, 0xe9);
    word(e, 0);
    wj_add_jump(e, (uint32_t)e->count - 4, target, (uint32_t)e->count);
}

static inline void jump_if(stencil_emitter *e, uint8_t condition, uint32_t target)
{
    BYTES(e, 0x0f, condition);
    word(e, 0);
    wj_add_jump(e, (uint32_t)e->count - 4, target, (uint32_t)e->count);
}

static inline void jump_back(stencil_emitter *e, uint32_t place)
{
    byte(e, 0xe9);
    word(e, place - (uint32_t)(e->count + 4));
}

/* ---- slots ---- */

/* Whether rdi holds what is left of the fuel, or iterations. */
static inline bool has_count(const stencil_emitter *e)
{
    return e->has_loops || wj_counts_fuel(e);
}

static inline int32_t count_at(const stencil_emitter *e)
{
    return SAVED_RBX - 8 * (1 + (int32_t)(e->signature->area_slots != 0));
}

/* Where code counts fuel: a loop is hot when no more than this is left. At least 0. */
static inline int32_t hot_fuel_at(const stencil_emitter *e)
{
    return count_at(e) - 8 * (int32_t)has_count(e);
}

static inline int32_t reference(const stencil_emitter *e)
{
    return hot_fuel_at(e) - 8 * (int32_t)(e->has_loops && wj_counts_fuel(e));
}

/* Where the i-th of the registers is saved that calls leave alone: there is room up to the last that is used. */
static inline int32_t saved_at(const stencil_emitter *e, uint32_t i)
{
    return reference(e) - 8 * (int32_t)(i + e->calls_through_tables);
}

static inline uint32_t saved_bytes(const stencil_emitter *e)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < SAVED_REGISTERS; i++) {
        used = (e->saved_mask >> i & 1) != 0 ? i + 1 : used;
    }
    return (uint32_t)-saved_at(e, used) - 8;
}

/* From rbp to a slot. */
static inline int32_t slot_at(const stencil_emitter *e, uint32_t slot)
{
    return e->slots_at + 8 * (int32_t)slot;
}

static inline bool survives_calls(uint8_t where)
{
    return where >= FIRST_INTEGER && where < FIRST_INTEGER + SAVED_REGISTERS;
}

/* Of a memory with guard pages the base never changes; of others it does where they grow, which only something that is called
 * does. */
static inline void load_base_of(stencil_emitter *e, uint32_t memory)
{
    int32_t slot = (int32_t)(e->of->plan.memories_offset + WJ_MEMORY_SLOT_SIZEOF * memory);
    if (e->of->plan.memory_kinds[memory] == 0) {
        load(e, RSI, RBX, slot + WJ_MEMORY_SLOT_BASE);
    } else {
        load(e, RSI, RBX, slot + WJ_MEMORY_SLOT_MEMORY);
        load(e, RSI, RSI, WJ_MEMORY_BASE);
    }
    e->base_of = memory;
}

/* After whatever changes the register, or the memory's place. */
static inline void load_base(stencil_emitter *e)
{
    if (e->uses_memory) {
        load_base_of(e, e->home_memory);
    }
}

/* The words of a wj_frame that a place may be in (boundary.h). */
static inline bool is_integer_place(uint32_t slot)
{
    return slot < WJ_SLOT_OF(floats);
}

static inline bool is_stack_place(uint32_t slot)
{
    return slot >= WJ_SLOT_OF(stack);
}

static inline uint8_t float_of(uint32_t place, uint32_t first)
{
    return (uint8_t)((place - first) / 2);
}

/* Whether some parameter is in r8 or r9. */
static inline bool has_many_integers(const wj_signature *type)
{
    for (uint32_t i = 0; i < type->param_count; i++) {
        uint32_t place = type->places[i].slot;
        if (is_integer_place(place) && ARGUMENT_NUMBERS[place - WJ_SLOT_OF(ints)] >= R8) {
            return true;
        }
    }
    return false;
}

/* ---- stencil_x86_64_metering.c ---- */

/* Behind the body: perhaps nothing is left of the fuel. */
WJ_INTERNAL void wj_emit_fuel_check(stencil_emitter *e);
/* The loops of the activation are hot once they have used so much more. Changes rax and rcx. */
WJ_INTERNAL void wj_set_hot_fuel(stencil_emitter *e);

/* ---- stencil_x86_64_frame.c ---- */

/* Those that calls leave alone. */
WJ_INTERNAL void wj_restore_registers(stencil_emitter *e);

#endif
