/* The stencil tier on AArch64: what of vectors is not made of stencils. */
#ifdef __aarch64__
#include "stencil_aarch64.h"

enum { SPARE = 0, BOTH = 30, VECTOR_BYTES = 16 }; /* numbers of registers: `tbl` reads two that follow each other */

static void load_constant(stencil_emitter *e, uint8_t number, uint64_t lower, uint64_t upper)
{
    distant(e, 0x9c000000u | number, CONSTANT_TARGET | wj_add_wide_constant(e, lower, upper));
}

static uint64_t pair(const uint32_t *words)
{
    return words[0] | (uint64_t)words[1] << 32;
}

void wj_emit_vector_constant(stencil_emitter *e, uint8_t where, uint32_t slot, const uint32_t *words)
{
    uint8_t number = where == IN_FRAME ? SPARE : wj_register_number(where);
    uint64_t lower = pair(words);
    uint64_t upper = pair(words + 2);
    if ((lower | upper) == 0) {
        clear_float(e, number);
    } else {
        load_constant(e, number, lower, upper);
    }
    if (where == IN_FRAME) {
        store_vector(e, SPARE, FRAME, slot_at(slot));
    }
}

static void load_operand(stencil_emitter *e, uint8_t to, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    if (where == IN_FRAME) {
        load_vector(e, to, FRAME, slot_at(slot));
    } else {
        move_float(e, to, wj_register_number(where));
    }
}

void wj_emit_shuffle(stencil_emitter *e, const uint32_t *slots, const uint32_t *mask)
{
    load_operand(e, BOTH, slots[1]);
    load_operand(e, BOTH + 1, slots[2]);
    load_constant(e, SPARE, pair(mask), pair(mask + 2));
    three(e, 0x4e002000, SPARE, BOTH, SPARE); /* tbl v0.16b, {v30.16b, v31.16b}, v0.16b */
}

void wj_take_shuffled(stencil_emitter *e, uint8_t where, uint32_t slot)
{
    if (where == IN_FRAME) {
        store_vector(e, SPARE, FRAME, slot_at(slot));
    } else {
        move_float(e, wj_register_number(where), SPARE);
    }
}

void wj_emit_routine(stencil_emitter *e, const void *function, const uint32_t *slots, uint32_t count, uint32_t number)
{
    wj_store_operands(e, NULL, 0, false);
    wj_store_registers(e, true);
    for (uint32_t i = 0; i < count; i++) {
        add_distance(e, (uint8_t)i, FRAME, slot_at(slots[i]));
    }
    if (count < 5) {
        load_number(e, X4, number);
    }
    call_address(e, function);
    wj_load_registers(e);
    if (!wj_is_operand(e, slots[0])) {
        wj_load_register(e, slots[0]);
    }
}
#endif
