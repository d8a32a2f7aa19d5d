/* The stencil tier on x86-64: what of vectors is not made of stencils. */
#ifdef __x86_64__
#include "stencil_x86_64.h"

enum { RIP_RELATIVE = 0x05, SPARE = 0, SECOND_SPARE = 11, MASK_REGISTERS = 8, VECTOR_BYTES = 16 }; /* numbers of registers */

/* movups constant(%rip), %xmm */
static void load_constant(stencil_emitter *e, uint8_t number, uint64_t lower, uint64_t upper)
{
    if (number >= 8) {
        byte(e, 0x44);
    }
    BYTES(e, 0x0f, 0x10, (uint8_t)(RIP_RELATIVE | (number & 7) << 3));
    word(e, 0);
    wj_add_jump(e, (uint32_t)e->count - 4, CONSTANT_TARGET | wj_add_wide_constant(e, lower, upper), (uint32_t)e->count);
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
        register_form(e, 0, false, 0x0f57, number, number); /* xorps */
    } else if ((lower & upper) == UINT64_MAX) {
        register_form(e, 0x66, false, 0x0f76, number, number); /* pcmpeqd */
    } else {
        load_constant(e, number, lower, upper);
    }
    if (where == IN_FRAME) {
        store_vector(e, SPARE, RBP, slot_at(e, slot));
    }
}

static void load_operand(stencil_emitter *e, uint8_t to, uint32_t slot)
{
    uint8_t where = e->registers[slot];
    if (where == IN_FRAME) {
        load_vector(e, to, RBP, slot_at(e, slot));
    } else {
        move_float(e, to, wj_register_number(where));
    }
}

/* From the bytes that the mask names, those of the operand that begins with byte `first` of both; else 0. */
static void emit_half(stencil_emitter *e, uint8_t to, uint32_t slot, const uint32_t *mask, uint8_t first)
{
    uint8_t chosen[VECTOR_BYTES];
    uint64_t halves[2];
    for (uint32_t i = 0; i < VECTOR_BYTES; i++) {
        uint8_t index = (uint8_t)(mask[i / 4] >> 8 * (i % 4));
        bool is_own = index >= first && index < first + VECTOR_BYTES;
        chosen[i] = is_own ? (uint8_t)(index - first) : 0x80;
    }
    memcpy(halves, chosen, sizeof halves);
    load_operand(e, to, slot);
    load_constant(e, MASK_REGISTERS, halves[0], halves[1]);
    if (to == SPARE) {
        BYTES(e, 0x66, 0x41, 0x0f, 0x38, 0x00, 0xc0); /* pshufb %xmm8, %xmm0 */
    } else {
        BYTES(e, 0x66, 0x45, 0x0f, 0x38, 0x00, 0xd8); /* pshufb %xmm8, %xmm11 */
    }
}

void wj_emit_shuffle(stencil_emitter *e, const uint32_t *slots, const uint32_t *mask)
{
    bool uses[2] = {false, false};
    for (uint32_t i = 0; i < VECTOR_BYTES; i++) {
        uses[(mask[i / 4] >> 8 * (i % 4) & VECTOR_BYTES) != 0] = true;
    }
    if (!uses[1]) {
        emit_half(e, SPARE, slots[1], mask, 0);
        return;
    }
    emit_half(e, SPARE, slots[2], mask, VECTOR_BYTES);
    if (uses[0]) {
        emit_half(e, SECOND_SPARE, slots[1], mask, 0);
        BYTES(e, 0x66, 0x41, 0x0f, 0xeb, 0xc3); /* por %xmm11, %xmm0 */
    }
}

void wj_take_shuffled(stencil_emitter *e, uint8_t where, uint32_t slot)
{
    if (where == IN_FRAME) {
        store_vector(e, SPARE, RBP, slot_at(e, slot));
    } else {
        move_float(e, wj_register_number(where), SPARE);
    }
}

void wj_emit_routine(stencil_emitter *e, const void *function, const uint32_t *slots, uint32_t count, uint32_t number)
{
    wj_store_operands(e, NULL, 0, false);
    wj_store_registers(e, true);
    wj_save_count(e);
    for (uint32_t i = 0; i < count; i++) {
        memory_form(e, 0, true, 0x8d, ARGUMENT_NUMBERS[i], RBP, slot_at(e, slots[i])); /* lea */
    }
    if (count < 5) {
        load_number(e, R8, number);
    }
    call_address(e, function);
    wj_load_registers(e);
    if (!wj_is_operand(e, slots[0])) {
        wj_load_register(e, slots[0]);
    }
    load_base(e);
    wj_load_count(e);
}
#endif
