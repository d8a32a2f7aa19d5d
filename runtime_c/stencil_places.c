/* Slots that are in registers, to the frame and back, on every processor. See stencil_emit.h. */
#include "stencil_emit.h"

#ifdef WJ_HAS_STENCILS

void wj_store_register(stencil_emitter *e, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    if (where != IN_FRAME) {
        wj_store_place(e, where, slot, where >= FIRST_FLOAT && wj_is_vector(e, slot));
    }
}

void wj_load_register(stencil_emitter *e, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    if (where != IN_FRAME) {
        wj_load_place(e, where, slot, where >= FIRST_FLOAT && wj_is_vector(e, slot));
    }
}

void wj_store_registers(stencil_emitter *e, bool all)
{
    for (uint32_t i = all ? 0 : SAVED_REGISTERS; i < STENCIL_REGISTERS; i++) {
        if (e->held[i] != NO_SLOT && !wj_is_operand(e, e->held[i])) {
            wj_store_register(e, e->held[i]);
        }
    }
}

void wj_load_registers(stencil_emitter *e)
{
    for (uint32_t i = SAVED_REGISTERS; i < STENCIL_REGISTERS; i++) {
        if (e->held[i] != NO_SLOT) {
            wj_load_register(e, e->held[i]);
        }
    }
}

static void between(stencil_emitter *e, uint32_t i, uint32_t slot, bool loads)
{
    bool is_float = i >= INTEGER_REGISTERS;
    uint8_t place = (uint8_t)(is_float ? FIRST_FLOAT + i - INTEGER_REGISTERS : FIRST_INTEGER + i);
    (loads ? wj_load_place : wj_store_place)(e, place, slot, is_float && e->is_vector[slot] != 0);
}

void wj_emit_edge(stencil_emitter *e, uint32_t from, uint32_t to)
{
    const stencil_region *before = &e->regions[from];
    const stencil_region *after = &e->regions[to];
    if (from == to) {
        return;
    }
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

#endif
