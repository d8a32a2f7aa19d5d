/* Where operands are while a function is translated. See stencil_registers.c for which registers are left for them.
 *
 * An operand is used once after it was made (interpret_stack.h), but for a reference that a branch looks at, and an address
 * that is checked first. So where it was used its register is free. Where control joins or forks all are in the frame. */
#include "stencil_translate.h"

#include <string.h>

#ifdef WJ_HAS_STENCILS

/* NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

static uint8_t place_of(uint32_t i)
{
    return (uint8_t)(i < INTEGER_REGISTERS ? FIRST_INTEGER + i : FIRST_FLOAT + i - INTEGER_REGISTERS);
}

/* The first register that a bit is for. */
static uint32_t first_of(uint32_t bits)
{
    return (uint32_t)__builtin_ctz(bits);
}

/* Registers that have no local of the region; what else is in them changes. */
static uint32_t changing(const stencil_emitter *e)
{
    return e->occupied & ~e->regions[e->region].occupied;
}

void wj_set_region(stencil_emitter *e, uint32_t region)
{
    const stencil_region *of = &e->regions[region];
    bool is_same = e->is_begun && region == e->region;
    for (uint32_t left = is_same ? changing(e) : e->occupied; left != 0; left &= left - 1) {
        e->registers[e->held[first_of(left)]] = IN_FRAME;
        e->held[first_of(left)] = NO_SLOT;
    }
    if (!is_same) {
        memcpy(e->held, of->slots, sizeof e->held);
        for (uint32_t left = of->occupied; left != 0; left &= left - 1) {
            e->registers[of->slots[first_of(left)]] = place_of(first_of(left));
        }
    }
    e->is_begun = true;
    e->occupied = of->occupied;
    for (uint32_t i = 0; i < e->constant_count; i++) {
        e->registers[e->constants[i].slot] = IN_FRAME;
    }
    e->constant_count = 0;
    e->stored = 0;
    e->copies = 0;
    e->narrow = 0;
    e->vectors = 0;
    e->region = region;
}

/* Those of a class that nothing is in, and that may be used. */
static uint32_t free_registers(const stencil_emitter *e, bool is_float)
{
    enum { SAVED = (1 << SAVED_REGISTERS) - 1, INTEGERS = (1 << INTEGER_REGISTERS) - 1, ALL = (1 << STENCIL_REGISTERS) - 1 };
    uint32_t usable = is_float ? ALL & ~INTEGERS : (INTEGERS & ~SAVED) | e->saved_mask;
    return usable & ~e->occupied;
}

uint8_t wj_free_place(stencil_emitter *e, bool is_float, uint32_t *taken)
{
    uint32_t free = free_registers(e, is_float) & ~*taken;
    if (free == 0 || (e->of->plan.register_seed != 0 && wj_random(e) % 4 == 0)) {
        return IN_FRAME;
    }
    uint32_t found = first_of(free);
    *taken |= 1u << found;
    return place_of(found);
}

/* A register of a class that has a copy, which is forgotten; NO_SLOT. */
static uint32_t take_from_copy(stencil_emitter *e, bool is_float)
{
    uint32_t first = is_float ? INTEGER_REGISTERS : 0;
    uint32_t end = is_float ? STENCIL_REGISTERS : INTEGER_REGISTERS;
    for (uint32_t n = 0; n < end - first && e->copies != 0; n++) {
        uint32_t i = first + e->next_victim++ % (end - first);
        if ((e->copies >> i & 1) != 0) {
            wj_drop_copy(e, e->held[i]);
            return i;
        }
    }
    return NO_SLOT;
}

/* A register of a class that is free, rather `wanted`, or that has a copy; NO_SLOT. */
static inline uint32_t find_register(stencil_emitter *e, bool is_float, uint8_t wanted)
{
    if (UNLIKELY(e->of->plan.register_seed != 0) && wj_random(e) % 4 == 0) {
        return NO_SLOT;
    }
    uint32_t free = free_registers(e, is_float);
    if (wanted != IN_FRAME && wanted != NOWHERE && (free >> wj_index_of(wanted) & 1) != 0) {
        return wj_index_of(wanted);
    }
    return LIKELY(free != 0) ? 31 - (uint32_t)__builtin_clz(free) : take_from_copy(e, is_float);
}

static inline uint8_t hold(stencil_emitter *e, uint32_t i, uint32_t slot)
{
    if (i == NO_SLOT) {
        return IN_FRAME;
    }
    uint32_t bit = 1u << i;
    e->held[i] = slot;
    e->occupied |= bit;
    e->stored &= ~bit;
    e->narrow &= ~bit;
    e->vectors &= ~bit;
    return e->registers[slot] = place_of(i);
}

/* Forgets an operand that was never used, a vector, whose second slot this one is. */
static void drop_upper_half(stencil_emitter *e, uint32_t slot)
{
    if (e->has_vectors && slot != 0 && wj_is_operand(e, slot - 1) && wj_is_vector(e, slot - 1)) {
        wj_drop_operand(e, slot - 1);
    }
}

uint8_t wj_place_operand(stencil_emitter *e, uint32_t slot, bool is_float, uint8_t wanted)
{
    drop_upper_half(e, slot);
    wj_drop_operand(e, slot);
    return hold(e, find_register(e, is_float, wanted), slot);
}

uint8_t wj_place_copy(stencil_emitter *e, uint32_t slot, bool is_float, uint8_t wanted)
{
    wj_drop_copy(e, slot);
    uint8_t in = hold(e, find_register(e, is_float, wanted), slot);
    if (in != IN_FRAME) {
        e->copies |= 1u << wj_index_of(in);
    }
    return in;
}

void wj_drop_copy(stencil_emitter *e, uint32_t slot)
{
    uint8_t in = e->registers[slot];
    if (in != IN_FRAME && (e->copies >> wj_index_of(in) & 1) != 0) {
        e->copies &= ~(1u << wj_index_of(in));
        wj_drop_operand(e, slot);
    }
}

void wj_drop_constant(stencil_emitter *e, uint32_t slot)
{
    for (uint32_t i = 0; i < e->constant_count; i++) {
        if (e->constants[i].slot == slot) {
            e->constants[i] = e->constants[--e->constant_count];
            break;
        }
    }
}

void wj_place_constant(stencil_emitter *e, uint32_t slot, uint64_t value)
{
    drop_upper_half(e, slot);
    wj_drop_operand(e, slot);
    if (e->constant_count == MOST_CONSTANTS) {
        wj_emit_constant(e, slot, value);
        return;
    }
    e->constants[e->constant_count].slot = slot;
    e->constants[e->constant_count++].value = value;
    e->registers[slot] = NOWHERE;
}

const uint64_t *wj_constant_of(const stencil_emitter *e, uint32_t slot)
{
    if (e->registers[slot] != NOWHERE) {
        return NULL;
    }
    for (uint32_t i = 0; i < e->constant_count; i++) {
        if (e->constants[i].slot == slot) {
            return &e->constants[i].value;
        }
    }
    return NULL;
}

void wj_load_constant(stencil_emitter *e, uint32_t slot, bool is_float)
{
    const uint64_t *value = wj_constant_of(e, slot);
    if (value != NULL) {
        uint64_t copy = *value;
        (void)wj_place_operand(e, slot, is_float, IN_FRAME);
        wj_emit_constant(e, slot, copy);
    }
}

bool wj_is_vector(const stencil_emitter *e, uint32_t slot)
{
    uint8_t in = e->registers[slot];
    if (!wj_is_operand(e, slot)) {
        return e->is_vector[slot] == 1;
    }
    return in >= FIRST_FLOAT && (e->vectors >> wj_index_of(in) & 1) != 0;
}

void wj_note_vector(stencil_emitter *e, uint32_t slot)
{
    if (e->registers[slot] >= FIRST_FLOAT) {
        e->vectors |= 1u << wj_index_of(e->registers[slot]);
    }
}

void wj_drop_operands(stencil_emitter *e)
{
    wj_set_region(e, e->region);
}

static bool is_among(const uint32_t *slots, uint32_t count, uint32_t slot)
{
    for (uint32_t i = 0; i < count; i++) {
        if (slots[i] == slot) {
            return true;
        }
    }
    return false;
}

void wj_store_operands(stencil_emitter *e, const uint32_t *but, uint32_t count, bool keep)
{
    for (uint32_t left = changing(e); left != 0; left &= left - 1) {
        uint32_t i = first_of(left);
        uint32_t slot = e->held[i];
        if (is_among(but, count, slot)) {
            continue;
        }
        if (!wj_is_operand(e, slot)) {
            if (!keep) {
                wj_drop_copy(e, slot);
            }
            continue;
        }
        if ((e->stored >> i & 1) == 0) {
            wj_store_register(e, slot);
            e->stored |= 1u << i;
        }
        if (!keep) {
            wj_drop_operand(e, slot);
        }
    }
    for (uint32_t i = e->constant_count; i > 0; i--) {
        uint32_t slot = e->constants[i - 1].slot;
        uint64_t value = e->constants[i - 1].value;
        if (!is_among(but, count, slot)) {
            wj_drop_operand(e, slot);
            wj_emit_constant(e, slot, value);
        }
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
