/* The stencil tier on AArch64: frames, calls, and what else is not made of stencils. Here: its instructions, and
 * where slots are, and what a function saves.
 *
 *     x29   the frame record
 *     x28   the frame: slot 0, and the others above it, ascending, since code that goes on from a loop takes the locals there
 *           (abi.py); above them what the function saves, below them the stack arguments of calls
 *     x27   the instance context          x26   base of a memory, if the function has accesses: of the one that it uses most
 *                                               where a block begins or ends
 *     x25   what is left of the fuel, where code counts it; else iterations until a loop is hot (w25), if it has loops
 *     x20 to x24, x10 to x13, v1 to v7: the slots that are used most; calls leave those from x20 on alone
 *     v8 to v15 are what the caller has there; all others are free within a stencil, but for x18 and x19 */
#ifndef WJ_STENCIL_AARCH64_H
#define WJ_STENCIL_AARCH64_H

#include "stencil_emit.h"

#include <string.h>

enum { X0, X1, X2, X3, X4 };
enum { TEMPORARY = 9, SECOND = 14, THIRD = 15, ADDRESS = 16, CALLEE = 17 }; /* ADDRESS: of the instructions below, too */
enum { COUNT = 25, BASE = 26, CONTEXT = 27, FRAME = 28, RECORD = 29, SP = 31, ZERO = 31 };

/* From x29 down. The last: of x20 and those that follow. */
enum {
    SAVED_CONTEXT_AND_FRAME = -16,
    SAVED_COUNT_AND_BASE = -32,
    RESULTS_AREA = -40,
    COUNT_AT = -48,
    HOT_FUEL_AT = -56,
    FIRST_SAVED_AT = -64,
};
enum { INSTRUCTION_BYTES = 4 };

/* ---- instructions ---- */

static inline void word(stencil_emitter *e, uint32_t value)
{
    if (wj_reserve(e, sizeof value)) {
        memcpy(e->code + e->count, &value, sizeof value);
        e->count += sizeof value;
    }
}

static inline uint32_t instruction_at(const stencil_emitter *e, size_t place)
{
    uint32_t found;
    memcpy(&found, e->code + place, sizeof found);
    return found;
}

/* With registers in their usual fields. */
static inline void three(stencil_emitter *e, uint32_t opcode, uint8_t to, uint8_t first, uint8_t second)
{
    word(e, opcode | (uint32_t)second << 16 | (uint32_t)first << 5 | to);
}

/* movz, or movn; and movk, as far as they are needed */
static inline void load_number(stencil_emitter *e, uint8_t to, uint64_t value)
{
    bool inverts = value >> 32 == UINT32_MAX;
    bool is_first = true;
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t part = (uint32_t)(value >> 16 * i) & 0xffff;
        if (part == (inverts ? 0xffffU : 0)) {
            continue;
        }
        uint32_t opcode = !is_first ? 0xf2800000 : inverts ? 0x92800000 : 0xd2800000;
        word(e, opcode | i << 21 | (is_first && inverts ? part ^ 0xffff : part) << 5 | to);
        is_first = false;
    }
    if (is_first) {
        word(e, (inverts ? 0x92800000 : 0xd2800000) | to);
    }
}

/* Of loads and stores: the opcode with a displacement of 9 bits; log2 of the size. */
typedef struct {
    uint32_t opcode;
    uint8_t scale;
} memory_form;

static const memory_form LOAD = {0xf8400000, 3}, STORE = {0xf8000000, 3}, LOAD_NARROW = {0xb8400000, 2},
                         LOAD_FLOAT = {0xfc400000, 3}, STORE_FLOAT = {0xfc000000, 3}, LOAD_VECTOR = {0x3cc00000, 4},
                         STORE_VECTOR = {0x3c800000, 4}, STORE_NARROW = {0xb8000000, 2};
enum { SCALED_FORM = 0x01000000, REGISTER_FORM = 0x00206800, MOST_SCALED = 4095 };

static inline void reach(stencil_emitter *e, memory_form form, uint8_t reg, uint8_t base, int64_t displacement)
{
    uint64_t scaled = (uint64_t)displacement >> form.scale;
    if (displacement >= 0 && scaled << form.scale == (uint64_t)displacement && scaled <= MOST_SCALED) {
        word(e, form.opcode | SCALED_FORM | (uint32_t)scaled << 10 | (uint32_t)base << 5 | reg);
    } else if (displacement >= -256 && displacement <= 255) {
        word(e, form.opcode | ((uint32_t)displacement & 0x1ff) << 12 | (uint32_t)base << 5 | reg);
    } else {
        load_number(e, ADDRESS, (uint64_t)displacement);
        three(e, form.opcode | REGISTER_FORM, reg, base, ADDRESS);
    }
}

static inline void load(stencil_emitter *e, uint8_t reg, uint8_t base, int64_t displacement)
{
    reach(e, LOAD, reg, base, displacement);
}

static inline void load_narrow(stencil_emitter *e, uint8_t reg, uint8_t base, int64_t displacement)
{
    reach(e, LOAD_NARROW, reg, base, displacement);
}

static inline void store(stencil_emitter *e, uint8_t reg, uint8_t base, int64_t displacement)
{
    reach(e, STORE, reg, base, displacement);
}

static inline void load_float(stencil_emitter *e, uint8_t reg, uint8_t base, int64_t displacement)
{
    reach(e, LOAD_FLOAT, reg, base, displacement);
}

static inline void store_float(stencil_emitter *e, uint8_t reg, uint8_t base, int64_t displacement)
{
    reach(e, STORE_FLOAT, reg, base, displacement);
}

static inline void load_vector(stencil_emitter *e, uint8_t reg, uint8_t base, int64_t displacement)
{
    reach(e, LOAD_VECTOR, reg, base, displacement);
}

static inline void store_vector(stencil_emitter *e, uint8_t reg, uint8_t base, int64_t displacement)
{
    reach(e, STORE_VECTOR, reg, base, displacement);
}

/* stp and ldp of two that lie one behind the other, at a small distance */
static inline void store_two(stencil_emitter *e, uint8_t first, uint8_t second, uint8_t base, int32_t displacement)
{
    word(e, 0xa9000000 | ((uint32_t)(displacement / 8) & 0x7f) << 15 | (uint32_t)second << 10 | (uint32_t)base << 5 | first);
}

static inline void load_two(stencil_emitter *e, uint8_t first, uint8_t second, uint8_t base, int32_t displacement)
{
    word(e, 0xa9400000 | ((uint32_t)(displacement / 8) & 0x7f) << 15 | (uint32_t)second << 10 | (uint32_t)base << 5 | first);
}

static inline void move(stencil_emitter *e, uint8_t to, uint8_t from)
{
    three(e, 0xaa000000, to, ZERO, from);
}

/* Has zeros above. */
static inline void move_narrow(stencil_emitter *e, uint8_t to, uint8_t from)
{
    three(e, 0x2a000000, to, ZERO, from);
}

static inline void move_float(stencil_emitter *e, uint8_t to, uint8_t from)
{
    three(e, 0x4ea01c00, to, from, from);
}

static inline void move_to_float(stencil_emitter *e, uint8_t to, uint8_t from)
{
    three(e, 0x9e670000, to, from, 0);
}

static inline void move_from_float(stencil_emitter *e, uint8_t to, uint8_t from)
{
    three(e, 0x9e660000, to, from, 0);
}

static inline void clear_float(stencil_emitter *e, uint8_t to)
{
    word(e, 0x6f00e400u | to); /* movi v.2d, #0 */
}

/* A sum with an address, which sp may be, too. */
static inline void add_distance(stencil_emitter *e, uint8_t to, uint8_t base, int64_t distance)
{
    uint64_t size = distance < 0 ? -(uint64_t)distance : (uint64_t)distance;
    uint32_t opcode = distance < 0 ? 0xd1000000 : 0x91000000;
    if (size >> 24 != 0) {
        load_number(e, ADDRESS, size);
        three(e, distance < 0 ? 0xcb206000 : 0x8b206000, to, base, ADDRESS);
        return;
    }
    if (size >> 12 != 0) {
        word(e, opcode | 1u << 22 | (uint32_t)(size >> 12) << 10 | (uint32_t)base << 5 | to);
        base = to;
    }
    if ((size & 0xfff) != 0 || size == 0) {
        word(e, opcode | (uint32_t)(size & 0xfff) << 10 | (uint32_t)base << 5 | to);
    }
}

static inline void compare(stencil_emitter *e, uint8_t first, uint8_t second)
{
    three(e, 0xeb000000, ZERO, first, second);
}

/* subs w, w, #1 */
static inline void count_down(stencil_emitter *e, uint8_t reg)
{
    word(e, 0x71000400u | (uint32_t)reg << 5 | reg);
}

/* ---- jumps ---- */

enum { EQUAL, NOT_EQUAL, AT_LEAST, BELOW, GREATER = 12, LESS_OR_EQUAL, ALWAYS };
enum { JUMP_IF_ZERO = 0xb4000000u, JUMP_UNLESS_ZERO = 0xb5000000u };

/* An instruction with a distance. */
static inline void distant(stencil_emitter *e, uint32_t opcode, uint32_t target)
{
    word(e, opcode);
    wj_add_jump(e, (uint32_t)e->count - INSTRUCTION_BYTES, target, (uint32_t)e->count - INSTRUCTION_BYTES);
}

static inline void jump(stencil_emitter *e, uint32_t target)
{
    distant(e, 0x14000000, target);
}

static inline void jump_if(stencil_emitter *e, uint32_t condition, uint32_t target)
{
    distant(e, 0x54000000 | condition, target);
}

static inline void jump_back(stencil_emitter *e, uint32_t place)
{
    word(e, 0x14000000);
    if (!e->failed) {
        wj_write_distance(e, e->count - INSTRUCTION_BYTES, place - (uint32_t)(e->count - INSTRUCTION_BYTES));
    }
}

/* Has a jump at a place, before, lead to here. */
static inline void land(stencil_emitter *e, size_t place)
{
    if (!e->failed) {
        wj_write_distance(e, place, (uint32_t)(e->count - place));
    }
}

/* Of a number behind the code. */
static inline void load_address(stencil_emitter *e, uint8_t to, const void *pointer)
{
    distant(e, 0x58000000u | to, CONSTANT_TARGET | wj_add_constant(e, (uint64_t)(uintptr_t)pointer));
}

static inline void call_register(stencil_emitter *e, uint8_t reg)
{
    word(e, 0xd63f0000 | (uint32_t)reg << 5);
}

static inline void call_address(stencil_emitter *e, const void *function)
{
    load_address(e, CALLEE, function);
    call_register(e, CALLEE);
}

/* ---- slots ---- */

/* Whether x25 holds what is left of the fuel, or iterations. */
static inline bool has_count(const stencil_emitter *e)
{
    return e->has_loops || wj_counts_fuel(e);
}

static inline int32_t saved_at(uint32_t i)
{
    return FIRST_SAVED_AT - 8 * (int32_t)i;
}

static inline uint32_t saved_bytes(const stencil_emitter *e)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < SAVED_REGISTERS; i++) {
        used = (e->saved_mask >> i & 1) != 0 ? i + 1 : used;
    }
    return (uint32_t)-saved_at(used) - 8;
}

/* From x28 to a slot. */
static inline int32_t slot_at(uint32_t slot)
{
    return 8 * (int32_t)slot;
}

static inline bool survives_calls(uint8_t where)
{
    return where >= FIRST_INTEGER && where < FIRST_INTEGER + SAVED_REGISTERS;
}

/* Of a memory with guard pages the base never changes; of others it does where they grow, which only something that is called
 * does. */
static inline void load_base_of(stencil_emitter *e, uint32_t memory)
{
    int64_t slot = e->of->plan.memories_offset + (int64_t)WJ_MEMORY_SLOT_SIZEOF * memory;
    if (e->of->plan.memory_kinds[memory] == 0) {
        load(e, BASE, CONTEXT, slot + WJ_MEMORY_SLOT_BASE);
    } else {
        load(e, BASE, CONTEXT, slot + WJ_MEMORY_SLOT_MEMORY);
        load(e, BASE, BASE, WJ_MEMORY_BASE);
    }
    e->base_of = memory;
}

/* After whatever changes the memory's place. */
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

/* ---- stencil_aarch64_metering.c ---- */

/* Behind the body: perhaps nothing is left of the fuel. */
WJ_INTERNAL void wj_emit_fuel_check(stencil_emitter *e);
/* The loops of the activation are hot once they have used so much more. */
WJ_INTERNAL void wj_set_hot_fuel(stencil_emitter *e);

/* ---- stencil_aarch64_frame.c ---- */

/* All that the caller has in registers, but for its frame record. */
WJ_INTERNAL void wj_restore_registers(stencil_emitter *e);

#endif
