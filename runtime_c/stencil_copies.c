/* Constants and copies between slots, to native code. */
#include "stencil_translate.h"

#ifdef WJ_HAS_STENCILS
#ifdef __aarch64__
#include "wj_stencils_aarch64.h"
#else
#include "wj_stencils.h"
#endif

/* Words are what interpret_translate.c made, of a body that validation has accepted: every slot and every target is one.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

enum { MOST_SINGLE_COPIES = 8 };

void wj_emit_constant(stencil_emitter *e, uint32_t slot, uint64_t value)
{
    if (e->registers[slot] >= FIRST_FLOAT) {
        wj_emit_float_constant(e, e->registers[slot], value);
        return;
    }
    if (value == 0 && e->registers[slot] != IN_FRAME && wj_emit_zero(e, e->registers[slot])) {
        wj_note_narrow(e, slot, true);
        return;
    }
    uint32_t number = value > UINT32_MAX ? WJ_STENCIL_CONSTANT_64 : WJ_STENCIL_CONSTANT;
    wj_copy_stencil(e, &(stencil_row){.number = number, .slots = &slot, .constant = value}, (const uint8_t[MOST_PLACES]){e->registers[slot]});
    wj_note_narrow(e, slot, value <= UINT32_MAX);
}

void wj_write_constant(stencil_emitter *e, uint32_t slot, uint64_t value)
{
    if (wj_is_operand(e, slot)) {
        wj_place_constant(e, slot, value);
        return;
    }
    if (!wj_is_pinned(e, slot)) {
        (void)wj_place_copy(e, slot, e->is_float[slot] != 0, IN_FRAME);
    }
    wj_emit_constant(e, slot, value);
    if (!wj_is_pinned(e, slot)) {
        wj_store_register(e, slot);
    }
}

bool wj_is_in_float(const stencil_emitter *e, uint32_t slot)
{
    uint8_t in = e->registers[slot];
    return in >= FIRST_FLOAT || (in == IN_FRAME && !wj_is_operand(e, slot) && e->is_float[slot] != 0);
}

static void copy_places(stencil_emitter *e, uint32_t to, uint32_t from, const uint8_t *places)
{
    uint32_t number = WJ_STENCIL_COPY;
    if (places[0] >= FIRST_FLOAT) {
        number = places[1] == IN_FRAME || places[1] >= FIRST_FLOAT ? WJ_STENCIL_COPY_FLOAT : WJ_STENCIL_COPY_TO_FLOAT;
    } else if (places[1] >= FIRST_FLOAT) {
        number = places[0] == IN_FRAME ? WJ_STENCIL_COPY_FLOAT : WJ_STENCIL_COPY_FROM_FLOAT;
    }
    wj_copy_stencil(e, &(stencil_row){.number = number, .slots = (uint32_t[]){to, from}}, places);
}

/* The words of arguments, from the one that is emitted now on, up to the call that takes them: whether the copy of a local is
 * one of them. */
static bool is_argument_only(const stencil_emitter *e, uint32_t to, uint32_t from)
{
    if (!ALIASES_ARGUMENTS || e->alias_count == MOST_ALIASES || wj_is_operand(e, from) || !wj_is_operand(e, to) || e->has_vectors) {
        return false;
    }
    const wj_interpreter_plan *plan = &e->of->plan;
    const uint32_t *words = e->body->words;
    for (uint32_t at = e->next_word, n = 0; n < MOST_ALIASES && at < e->body->word_count && e->marks[at] == e->region; n++) {
        const uint32_t *word = words + at;
        switch (*word) {
        case WJ_OP_COPY:
        case WJ_OP_CONSTANT:
        case WJ_OP_CONSTANT_64:
            if (!wj_is_operand(e, word[1]) || word[1] == to || (*word == WJ_OP_COPY && word[2] == to)) {
                return false;
            }
            at += wj_forms[*word].words;
            break;
        case WJ_OP_CALL:
        case WJ_OP_CALL_IMPORT: {
            const wj_signature *type = plan->types[plan->function_types[word[1]]];
            return type != NULL && to >= word[2] && to - word[2] < type->param_slots;
        }
        case WJ_OP_CALL_INDIRECT: {
            const wj_signature *type = plan->types[word[1]];
            return type != NULL && to >= word[4] && to - word[4] < type->param_slots;
        }
        default:
            return false;
        }
    }
    return false;
}

void wj_emit_copy(stencil_emitter *e, uint32_t to, uint32_t from)
{
    const uint64_t *constant = wj_constant_of(e, from);
    if (constant != NULL) {
        uint64_t value = *constant;
        wj_drop_operand(e, from);
        wj_write_constant(e, to, value);
        return;
    }
    if (is_argument_only(e, to, from)) {
        wj_drop_operand(e, to);
        e->aliases[e->alias_count].slot = to;
        e->aliases[e->alias_count++].local = from;
        return;
    }
    uint8_t places[MOST_PLACES] = {IN_FRAME, e->registers[from]};
    bool is_float = wj_is_in_float(e, from);
    bool narrow = wj_is_narrow(e, from);
    if (wj_is_operand(e, from)) {
        wj_drop_operand(e, from);
    }
    places[0] = wj_is_operand(e, to)  ? wj_place_operand(e, to, is_float, places[1])
                : wj_is_pinned(e, to) ? e->registers[to]
                                     : wj_place_copy(e, to, is_float, places[1]);
    if (places[0] != places[1] || places[0] == IN_FRAME) {
        copy_places(e, to, from, places);
    }
    wj_note_narrow(e, to, narrow);
    if (!wj_is_operand(e, to) && !wj_is_pinned(e, to) && places[0] != IN_FRAME) {
        wj_store_register(e, to);
    }
}

/* Slots from `from` on to those from `to` on, which lie below. */
void wj_emit_move(stencil_emitter *e, uint32_t to, uint32_t from, uint32_t count)
{
    if (count <= MOST_SINGLE_COPIES && !e->has_vectors) { /* those are in registers as a whole, or in none */
        for (uint32_t i = 0; i < count; i++) {
            wj_emit_copy(e, to + i, from + i);
        }
        return;
    }
    wj_store_operands(e, NULL, 0, false);
    wj_move_slots(e, to, from, count);
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
