/* From a row of the table, and where its operands are, to a copy of a stencil. */
#include "stencil_translate.h"

#ifdef WJ_HAS_STENCILS
#define WJ_STENCIL_TABLES
#ifdef __aarch64__
#include "wj_stencils_aarch64.h"
#else
#include "wj_stencils.h"
#endif

#include <string.h>

/* Words are what interpret_translate.c made, of a body that validation has accepted: every slot and every target is one.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

#define EACH_BYTE UINT32_C(0x01010101)

const uint8_t *wj_stencil_pool(size_t *size_bytes)
{
    *size_bytes = sizeof stencil_pool;
    return stencil_pool;
}

static bool is_commutative(uint32_t number)
{
    switch (number) {
    case WJ_STENCIL_I32_ADD:
    case WJ_STENCIL_I32_MUL:
    case WJ_STENCIL_I32_AND:
    case WJ_STENCIL_I32_OR:
    case WJ_STENCIL_I32_XOR:
    case WJ_STENCIL_I64_ADD:
    case WJ_STENCIL_I64_MUL:
    case WJ_STENCIL_I64_AND:
    case WJ_STENCIL_I64_OR:
    case WJ_STENCIL_I64_XOR:
    case WJ_STENCIL_F32_ADD:
    case WJ_STENCIL_F32_MUL:
    case WJ_STENCIL_F64_ADD:
    case WJ_STENCIL_F64_MUL:
        return true;
    default:
        return false;
    }
}

/* Whether an operation's operands that are in slots are read by instructions that end with the slot's distance. */
static bool takes_pooled(uint32_t number)
{
    return is_between(number, WJ_STENCIL_F32_ADD, WJ_STENCIL_F32_DIV) || is_between(number, WJ_STENCIL_F64_ADD, WJ_STENCIL_F64_DIV);
}

/* What is in a register of one class, for an instruction that wants the other: where it is then, which is free once more
 * behind that instruction; IN_FRAME. */
static uint8_t other_class(stencil_emitter *e, uint32_t slot, uint32_t *taken)
{
    uint8_t from = e->registers[slot];
    uint8_t to = e->has_vectors ? IN_FRAME : wj_free_place(e, from < FIRST_FLOAT, taken);
    if (to == IN_FRAME) {
        wj_store_register(e, slot);
    } else {
        uint32_t number = from < FIRST_FLOAT ? WJ_STENCIL_COPY_TO_FLOAT : WJ_STENCIL_COPY_FROM_FLOAT;
        uint32_t slots[] = {slot, slot};
        wj_copy_stencil(e, &(stencil_row){.number = number, .slots = slots}, (const uint8_t[MOST_PLACES]){to, from});
    }
    return to;
}

/* Of the operands of a row that are constants: those that it reads behind the code, and the others in a register. */
static void load_constants(stencil_emitter *e, stencil_row *of, const wj_stencil_operation *operation)
{
    for (uint32_t i = operation->has_result; i < operation->operand_count && e->constant_count != 0; i++) {
        if (e->registers[of->slots[i]] != NOWHERE) {
            continue;
        }
        const uint64_t *value = wj_constant_of(e, of->slots[i]);
        if (value != NULL && takes_pooled(of->number) && of->uses) {
            of->pooled |= 1u << i;
            of->values[i] = *value;
            wj_drop_operand(e, of->slots[i]);
        }
        wj_load_constant(e, of->slots[i], (operation->floats >> i & 1) != 0);
    }
}

/* Where the operands of a row are: a register's place for each that is in one of its class; IN_FRAME. */
static inline void find_operands(stencil_emitter *e, stencil_row *of, const wj_stencil_operation *operation, uint8_t *places)
{
    uint32_t first = operation->has_result;
    uint32_t count = operation->operand_count;
    uint32_t floats = (uint32_t)operation->floats >> first;
    uint32_t taken = 0; /* registers */
    if (e->constant_count != 0) {
        load_constants(e, of, operation);
    }
    for (uint32_t i = first; i < count; i++, floats >>= 1) {
        uint8_t in = e->registers[of->slots[i]];
        bool is_other = in != IN_FRAME && ((floats ^ (uint32_t)in >> 4) & 1) != 0; /* from FIRST_FLOAT on the bit is set */
        places[i] = LIKELY(!is_other) ? in : other_class(e, of->slots[i], &taken);
    }
    for (uint32_t i = first; i < count && of->uses; i++) {
        if (wj_is_operand(e, of->slots[i])) {
            wj_drop_operand(e, of->slots[i]);
        }
    }
}

bool wj_is_pinned(const stencil_emitter *e, uint32_t slot)
{
    uint8_t in = e->registers[slot];
    if (wj_is_operand(e, slot) || in == IN_FRAME) {
        return false;
    }
    return (e->copies >> wj_index_of(in) & 1) == 0;
}

/* Where the result will be; rather where an operand was. */
static uint8_t place_result(stencil_emitter *e, const stencil_row *of, const uint8_t *places)
{
    const wj_stencil_operation *operation = &stencil_operations[of->number];
    uint32_t slot = of->slots[0];
    bool is_float = (operation->floats & 1) != 0;
    uint8_t in = e->registers[slot];
    if (wj_is_pinned(e, slot)) {
        return is_float == (in >= FIRST_FLOAT) ? in : IN_FRAME;
    }
    bool is_vector = (operation->vectors & 1) != 0;
    if (is_vector && wj_is_operand(e, slot)) {
        wj_drop_operand(e, slot + 1);
    }
    uint8_t wanted = wj_is_operand(e, slot) ? IN_FRAME : in;
    uint32_t count = is_commutative(of->number) ? operation->operand_count : 2;
    for (uint32_t i = 1; i < count && i < operation->operand_count && of->uses; i++) {
        bool fits = wj_is_operand(e, of->slots[i]) && places[i] != IN_FRAME && (places[i] >= FIRST_FLOAT) == is_float;
        wanted = fits && wanted == IN_FRAME ? places[i] : wanted;
    }
    in = wj_is_operand(e, slot) ? wj_place_operand(e, slot, is_float, wanted) : wj_place_copy(e, slot, is_float, wanted);
    if (is_vector) {
        wj_note_vector(e, slot);
    }
    return in;
}

/* What was just written where `place_result` said goes to where else it belongs. */
static void finish_result(stencil_emitter *e, uint32_t slot, uint8_t place)
{
    if (place == IN_FRAME) {
        wj_load_register(e, slot);
    } else if (!wj_is_operand(e, slot) && !wj_is_pinned(e, slot)) {
        wj_store_register(e, slot);
    }
}

/* A bit for each of four bytes, the first of which is the lowest, that is not 0. None is above 127. */
static uint32_t bytes_with_bits(uint32_t bytes)
{
    uint32_t high = (bytes + 0x7f * EACH_BYTE) >> 7 & EACH_BYTE;
    return high * UINT32_C(0x01020408) >> 24;
}

/* The stencil whose operands are at these places; 0: there is none. */
static inline uint32_t position_of(const wj_stencil_operation *operation, const uint8_t *places)
{
    uint32_t all;
    memcpy(&all, places, sizeof all); /* those behind the last operand are IN_FRAME */
    uint32_t used = bytes_with_bits(all);
    uint32_t same = used & ~bytes_with_bits(all ^ places[0] * EACH_BYTE);
    same &= operation->has_result != 0 ? ~1u : 0;
    /* Its number, as wasmjit/stencils/text.py has it (Form.number). */
    return stencil_forms[operation->forms + (used | same << operation->operand_count)];
}

/* Has a value take one byte instead of four, if it fits: what was copied last. */
static void shorten(stencil_emitter *e, const wj_stencil *stencil, bool is_pooled)
{
    const wj_stencil_hole *hole = &stencil_holes[stencil->holes + stencil->short_hole - 1];
    uint8_t *code = e->code + e->count - stencil->size_bytes;
    int32_t value;
    memcpy(&value, code + hole->offset, sizeof value);
    if (is_pooled || value != (int8_t)value) {
        return;
    }
    enum { SAVED_BYTES = 3 };
    uint32_t behind = hole->offset + (uint32_t)sizeof value;
    code[stencil->short_offset] ^= stencil->short_change;
    memmove(code + behind - SAVED_BYTES, code + behind, stencil->size_bytes - behind);
    e->count -= SAVED_BYTES;
    if (behind != stencil->size_bytes) {
        stencil_jump *last = &e->jumps[e->jump_count - 1];
        last->hole -= SAVED_BYTES;
        last->base -= SAVED_BYTES;
    }
}

/* All of one, and perhaps what is behind it: there is room for the largest. */
static inline void copy_code(uint8_t *to, const wj_stencil *stencil)
{
    enum { USUAL_BYTES = 32 };
    _Static_assert(USUAL_BYTES <= UINT8_MAX, "there is room for as much");
    const uint8_t *from = stencil_code + stencil->code;
    if (LIKELY(stencil->size_bytes <= USUAL_BYTES && stencil->code + USUAL_BYTES <= sizeof stencil_code)) {
        memcpy(to, from, USUAL_BYTES); /* so many that the compiler knows: a few instructions */
    } else {
        memcpy(to, from, stencil->size_bytes);
    }
}

static inline __attribute__((always_inline)) void copy_stencil(stencil_emitter *e, const stencil_row *of,
                                                                const uint8_t *places, uint32_t position)
{
    const wj_stencil_operation *operation = &stencil_operations[of->number];
    bool has_result = operation->has_result;
    if (position == 0 || !wj_reserve(e, UINT8_MAX)) {
        e->failed = true;
        return;
    }
    const wj_stencil *stencil = &stencils[position];
    uint8_t *to = e->code + e->count;
    copy_code(to, stencil);
    const wj_stencil_field *fields = &stencil_fields[stencil->fields];
    for (const wj_stencil_field *field = fields, *end = fields + stencil->field_count; field != end; field++) {
        wj_fill_field(to, field, wj_field_bits(field, places));
    }
    const wj_stencil_hole *holes = &stencil_holes[stencil->holes];
    for (const wj_stencil_hole *hole = holes, *end = holes + stencil->hole_count; hole != end; hole++) {
        uint32_t operand = has_result + hole->what - WJ_HOLE_FIRST;
        if (is_between(hole->what, WJ_HOLE_FIRST, WJ_HOLE_THIRD) && (of->pooled >> operand & 1) != 0) {
            wj_fill_with_constant(e, e->count + hole->offset, of->values[operand]);
        } else if (!wj_fill_simple_hole(e, to + hole->offset, hole, of->slots, has_result, of->constant)) {
            wj_fill_hole(e, e->count + hole->offset, hole, of->slots, has_result, of->constant, of->target);
        }
    }
    e->count += stencil->size_bytes;
    if (stencil->short_hole != 0 && !e->failed) {
        shorten(e, stencil, of->pooled != 0);
    }
}

void wj_copy_stencil(stencil_emitter *e, const stencil_row *of, const uint8_t *places)
{
    copy_stencil(e, of, places, position_of(&stencil_operations[of->number], places));
}

void wj_emit_row(stencil_emitter *e, stencil_row *of)
{
    uint8_t places[MOST_PLACES] = {IN_FRAME};
    const wj_stencil_operation *operation = &stencil_operations[of->number];
    bool has_result = operation->has_result;
    find_operands(e, of, operation, places);
    if (has_result) {
        places[0] = place_result(e, of, places);
    }
    uint8_t place = places[0];
    uint32_t position = position_of(operation, places);
    if (position == 0) { /* there is one with all in the frame */
        for (uint32_t i = has_result; i < operation->operand_count; i++) {
            if (places[i] != IN_FRAME) {
                wj_store_place(e, places[i], of->slots[i], (operation->vectors >> i & 1) != 0);
                places[i] = IN_FRAME;
            }
        }
        places[0] = IN_FRAME;
        position = position_of(operation, places);
    }
    copy_stencil(e, of, places, position);
    if (has_result && place != places[0]) {
        wj_load_register(e, of->slots[0]);
    }
    if (has_result) {
        finish_result(e, of->slots[0], place);
        wj_note_narrow(e, of->slots[0], operation->is_narrow != 0);
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
