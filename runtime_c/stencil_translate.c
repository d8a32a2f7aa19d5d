/* From the interpreter's words to native code. See stencil.h. */
#include "stencil_emit.h"

#ifdef WJ_HAS_STENCILS
#ifdef __aarch64__
#include "wj_stencils_aarch64.h"
#else
#include "wj_stencils.h"
#endif

#include <stdlib.h>
#include <string.h>

/* Words are what interpret_translate.c made, of a body that validation has accepted: every slot and every target is one.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

enum { MOST_SINGLE_COPIES = 8 };
#define EACH_BYTE UINT32_C(0x01010101)
enum { NO_STENCIL = UINT32_MAX };

const uint8_t *wj_stencil_pool(size_t *size_bytes)
{
    *size_bytes = sizeof stencil_pool;
    return stencil_pool;
}

/* ---- what words stand for ---- */

static bool is_between(uint32_t operation, uint32_t first, uint32_t last)
{
    return operation >= first && operation <= last;
}

const stencil_form wj_forms[WJ_OPERATION_COUNT] = {
#define OTHER(name, slots, flags) [WJ_OP_##name] = {WJ_WORDS_##name, slots, flags, 0}
    OTHER(UNREACHABLE, 0, ENDS),
    [WJ_OP_COPY] = {WJ_WORDS_COPY, 2, 0, 2},
    OTHER(MOVE, 0, 0),
    [WJ_OP_CONSTANT] = {WJ_WORDS_CONSTANT, 1, HAS_CONSTANT, 1},
    OTHER(CONSTANT_64, 0, 0),
    [WJ_OP_SELECT] = {WJ_WORDS_SELECT, 4, 0, 3},
    OTHER(COPY_128, 2, VECTORS),
    OTHER(CONSTANT_128, 0, VECTORS),
    OTHER(SELECT_128, 4, VECTORS),
    OTHER(V128_LOAD, 2, HAS_CONSTANT | ACCESSES | VECTORS),
    OTHER(V128_STORE, 2, HAS_CONSTANT | ACCESSES | VECTORS),
    OTHER(V128_LOAD_CHECKED, 2, ACCESSES | VECTORS),
    OTHER(V128_STORE_CHECKED, 2, ACCESSES | VECTORS),
    OTHER(LOOP, 0, 0),
    OTHER(BRANCH, 0, HAS_TARGET | ENDS),
    OTHER(BRANCH_IF, 1, HAS_TARGET),
    OTHER(BRANCH_UNLESS, 1, HAS_TARGET),
    OTHER(BRANCH_ON_NULL, 1, HAS_TARGET),
    OTHER(BRANCH_ON_NON_NULL, 1, HAS_TARGET),
    OTHER(BRANCH_TABLE, 0, ENDS),
    OTHER(RETURN, 0, ENDS | VECTORS),
    OTHER(CALL, 0, CALLS | VECTORS),
    OTHER(CALL_IMPORT, 0, CALLS | VECTORS),
    OTHER(CALL_INDIRECT, 0, CALLS | VECTORS),
    OTHER(CALL_REF, 0, CALLS | VECTORS),
    OTHER(RETURN_CALL, 0, ENDS | VECTORS),
    OTHER(RETURN_CALL_IMPORT, 0, ENDS | VECTORS),
    OTHER(RETURN_CALL_INDIRECT, 0, ENDS | VECTORS),
    OTHER(RETURN_CALL_REF, 0, ENDS | VECTORS),
    OTHER(GLOBAL_GET_32, 1, HAS_CONSTANT),
    OTHER(GLOBAL_GET_64, 1, HAS_CONSTANT),
    OTHER(GLOBAL_SET_32, 1, HAS_CONSTANT),
    OTHER(GLOBAL_SET_64, 1, HAS_CONSTANT),
    OTHER(IMPORTED_GLOBAL_GET_32, 1, HAS_CONSTANT),
    OTHER(IMPORTED_GLOBAL_GET_64, 1, HAS_CONSTANT),
    OTHER(IMPORTED_GLOBAL_SET_32, 1, HAS_CONSTANT),
    OTHER(IMPORTED_GLOBAL_SET_64, 1, HAS_CONSTANT),
    OTHER(GLOBAL_GET_128, 1, HAS_CONSTANT | VECTORS),
    OTHER(GLOBAL_SET_128, 1, HAS_CONSTANT | VECTORS),
    OTHER(IMPORTED_GLOBAL_GET_128, 1, HAS_CONSTANT | VECTORS),
    OTHER(IMPORTED_GLOBAL_SET_128, 1, HAS_CONSTANT | VECTORS),
    OTHER(I64_ADD128, 0, VECTORS),
    OTHER(I64_SUB128, 0, VECTORS),
    OTHER(I64_MUL_WIDE_S, 0, VECTORS),
    OTHER(I64_MUL_WIDE_U, 0, VECTORS),
    OTHER(REF_FUNC, 1, HAS_CONSTANT),
    OTHER(REF_FUNC_IMPORTED, 1, HAS_CONSTANT),
    OTHER(TABLE_GET, 0, 0),
    OTHER(TABLE_SET, 0, 0),
    OTHER(TABLE_SIZE, 0, 0),
    OTHER(TABLE_GROW, 0, CALLS),
    OTHER(TABLE_FILL, 0, CALLS),
    OTHER(TABLE_COPY, 0, CALLS),
    OTHER(TABLE_INIT, 0, CALLS),
    OTHER(ELEM_DROP, 0, CALLS),
    OTHER(CHECK, 0, 0),
    OTHER(MEMORY_SIZE, 0, CALLS),
    OTHER(MEMORY_GROW, 0, CALLS),
    OTHER(MEMORY_FILL, 0, CALLS),
    OTHER(MEMORY_COPY, 0, CALLS),
    OTHER(MEMORY_INIT, 0, CALLS),
    OTHER(DATA_DROP, 0, CALLS),
    OTHER(TABLE_GROW_WIDE, 0, CALLS),
    OTHER(TABLE_FILL_WIDE, 0, CALLS),
    OTHER(TABLE_COPY_WIDE, 0, CALLS),
    OTHER(TABLE_INIT_WIDE, 0, CALLS),
    OTHER(MEMORY_GROW_WIDE, 0, CALLS),
    OTHER(MEMORY_FILL_WIDE, 0, CALLS),
    OTHER(MEMORY_COPY_WIDE, 0, CALLS),
    OTHER(MEMORY_INIT_WIDE, 0, CALLS),
    OTHER(ATOMIC, 0, CALLS),
    OTHER(ATOMIC_FENCE, 0, CALLS),
    OTHER(CANONICAL_32, 2, 0),
    OTHER(CANONICAL_64, 2, 0),
    OTHER(SATURATE, 2, 0),
    OTHER(FUEL_BEGIN, 0, METERS),
    OTHER(FUEL, 0, METERS),
    OTHER(FUEL_SAVE, 0, METERS),
    OTHER(FUEL_SAVE_COUNT, 0, METERS),
    OTHER(FUEL_LOAD, 0, METERS),
    OTHER(FUEL_CHECK, 0, METERS),
    OTHER(EPOCH, 0, METERS),
#undef OTHER
#define WJ_X(opcode, name, form, ...) [WJ_OP_##name] = WJ_FORM_##form,
#define WJ_FORM_UNARY {WJ_WORDS_VECTOR_UNARY, 2, VECTORS, 0}
#define WJ_FORM_BINARY {WJ_WORDS_VECTOR_BINARY, 3, VECTORS, 0}
#define WJ_FORM_TERNARY {WJ_WORDS_VECTOR_TERNARY, 4, VECTORS, 0}
#define WJ_FORM_UNARY_LANE {WJ_WORDS_VECTOR_UNARY_LANE, 2, HAS_CONSTANT | VECTORS, 0}
#define WJ_FORM_BINARY_LANE {WJ_WORDS_VECTOR_BINARY_LANE, 3, HAS_CONSTANT | VECTORS, 0}
#define WJ_FORM_SHUFFLE {WJ_WORDS_VECTOR_SHUFFLE, 3, VECTORS, 0}
    WJ_VECTOR_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) [WJ_OP_##name] = {WJ_WORDS_UNARY, 2, 0, 0},
    WJ_UNARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) [WJ_OP_##name] = {WJ_WORDS_ACCESS, 2, HAS_CONSTANT | ACCESSES, 0},
    WJ_LOAD_ROWS(WJ_X) WJ_STORE_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) [WJ_OP_##name##_CHECKED] = {WJ_WORDS_CHECKED_ACCESS, 2, ACCESSES, 0},
    WJ_LOAD_ROWS(WJ_X) WJ_STORE_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) [WJ_OP_##name] = {WJ_WORDS_BINARY, 3, 0, 0},
    WJ_FLOAT_BINARY_ROWS(WJ_X) WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define DIVISION(name) ((name) >= WJ_OP_I32_DIV_S ? DIVIDES : 0)
#define WJ_X(opcode, name, ...)                                                                                     \
    [WJ_OP_##name##_IMMEDIATE] = {WJ_WORDS_BINARY, 2, HAS_CONSTANT | DIVISION(WJ_OP_##name), 0},                    \
    [WJ_OP_BRANCH_##name] = {WJ_WORDS_BINARY, 2, HAS_TARGET, 0},                                                    \
    [WJ_OP_BRANCH_##name##_IMMEDIATE] = {WJ_WORDS_BINARY, 1, HAS_CONSTANT | HAS_TARGET | DIVISION(WJ_OP_##name), 0},
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#undef DIVISION
};

/* ---- code ---- */

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

/* Where the operands of a row are: a register's place for each that is in one of its class; IN_FRAME. */
static void find_operands(stencil_emitter *e, stencil_row *of, uint8_t *places)
{
    const wj_stencil_operation *operation = &stencil_operations[of->number];
    uint32_t first = operation->has_result;
    uint32_t count = operation->operand_count;
    uint32_t floats = operation->floats;
    uint32_t taken = 0; /* registers */
    for (uint32_t i = first; i < count && e->constant_count != 0; i++) {
        if (e->registers[of->slots[i]] != NOWHERE) {
            continue;
        }
        const uint64_t *value = wj_constant_of(e, of->slots[i]);
        if (value != NULL && takes_pooled(of->number) && of->uses) {
            of->pooled |= 1u << i;
            of->values[i] = *value;
            wj_drop_operand(e, of->slots[i]);
        }
        wj_load_constant(e, of->slots[i], (floats >> i & 1) != 0);
    }
    for (uint32_t i = first; i < count; i++) {
        bool is_float = (floats >> i & 1) != 0;
        places[i] = e->registers[of->slots[i]];
        if (places[i] != IN_FRAME && is_float != (places[i] >= FIRST_FLOAT)) {
            places[i] = other_class(e, of->slots[i], &taken);
        }
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
    uint32_t i = in >= FIRST_FLOAT ? (uint32_t)in - FIRST_FLOAT + INTEGER_REGISTERS : (uint32_t)in - FIRST_INTEGER;
    return (e->copies >> i & 1) == 0;
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
static uint32_t position_of(const wj_stencil_operation *operation, const uint8_t *places)
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

static void copy_stencil(stencil_emitter *e, const stencil_row *of, const uint8_t *places, uint32_t position)
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
        uint8_t number = wj_register_number(places[field->operand % WJ_STENCIL_HIGH]);
        wj_fill_field(to, field, field->operand < WJ_STENCIL_HIGH ? wj_low_bits(number) : number >> 3);
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
    find_operands(e, of, places);
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

static void emit_row(stencil_emitter *e, uint32_t number, const uint32_t *slots, uint64_t constant, uint32_t target)
{
    wj_emit_row(e, &(stencil_row){.number = number, .slots = slots, .constant = constant, .target = target, .uses = true});
}

static uint32_t region_at(const stencil_emitter *e, uint32_t word)
{
    return e->marks[word] & (TARGET_MARK - 1u);
}

/* What an instruction jumps to from here: the word, or code that leads to its region first. */
static uint32_t edge_to(stencil_emitter *e, uint32_t target)
{
    const stencil_region *from = &e->regions[e->region];
    const stencil_region *to = &e->regions[region_at(e, target)];
    if (from == to || memcmp(from->slots, to->slots, sizeof from->slots) == 0) {
        return target;
    }
    return STUB_TARGET | wj_add_stub(e, STUB_EDGE, target);
}

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

static void emit_constant(stencil_emitter *e, uint32_t slot, uint64_t value)
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

static bool is_in_float(const stencil_emitter *e, uint32_t slot)
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

static void emit_copy(stencil_emitter *e, uint32_t to, uint32_t from)
{
    const uint64_t *constant = wj_constant_of(e, from);
    if (constant != NULL) {
        uint64_t value = *constant;
        wj_drop_operand(e, from);
        emit_constant(e, to, value);
        return;
    }
    if (is_argument_only(e, to, from)) {
        wj_drop_operand(e, to);
        e->aliases[e->alias_count].slot = to;
        e->aliases[e->alias_count++].local = from;
        return;
    }
    uint8_t places[MOST_PLACES] = {IN_FRAME, e->registers[from]};
    bool is_float = is_in_float(e, from);
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
static void emit_move(stencil_emitter *e, uint32_t to, uint32_t from, uint32_t count)
{
    if (count <= MOST_SINGLE_COPIES && !e->has_vectors) { /* those are in registers as a whole, or in none */
        for (uint32_t i = 0; i < count; i++) {
            emit_copy(e, to + i, from + i);
        }
        return;
    }
    wj_store_operands(e, NULL, 0, false);
    wj_move_slots(e, to, from, count);
}

/* A division by a constant: the constant is put into a slot of its own. */
static void emit_division(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word, uint32_t target)
{
    bool branches = *word >= WJ_OP_BRANCH_I32_EQ;
    if (!branches && wj_emit_division_by(e, word)) {
        return;
    }
    uint32_t plain = branches ? *word - WJ_OP_BRANCH_I32_EQ_IMMEDIATE : *word - WJ_OP_I32_EQ_IMMEDIATE;
    bool is_wide = is_between(plain, WJ_OP_I64_DIV_S - WJ_OP_I32_EQ, WJ_OP_I64_REM_U - WJ_OP_I32_EQ);
    uint64_t value = is_wide ? (uint64_t)(int64_t)(int32_t)found->constant : found->constant;
    emit_constant(e, e->scratch_slot, value);
    uint32_t slots[3] = {found->slots[0], e->scratch_slot, 0};
    if (!branches) {
        slots[1] = found->slots[1];
        slots[2] = e->scratch_slot;
    }
    emit_row(e, found->stencil - 1, slots, 0, target);
}

/* The words have the low half of a constant of 64 bits, which is extended with its sign. */
static uint64_t constant_of(const stencil_instruction *found)
{
    return (uint64_t)(int64_t)(int32_t)found->constant;
}

/* What does a call or a tail call. */
typedef void call_emitter(stencil_emitter *e, const wj_callee *callee, const wj_signature *type, uint32_t first);

static void emit_call_of(stencil_emitter *e, uint32_t function, uint32_t first, call_emitter *emit)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    const wj_signature *type = plan->types[plan->function_types[function]];
    wj_callee callee = {.kind = function < plan->imported_function_count ? CALLEE_IMPORT : CALLEE_OWN, .index = function};
    emit(e, &callee, type, first);
}

static void emit_indirect_call(stencil_emitter *e, const uint32_t *word, call_emitter *emit)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    wj_save_count(e);
    emit_row(e, WJ_STENCIL_FUNC_REF, &word[3], plan->tables_offset + (uint64_t)WJ_TABLE_SLOT_SIZEOF * word[2], 0);
    uint32_t stub = wj_add_stub(e, STUB_TYPE, word[1]);
    emit_row(e, WJ_STENCIL_OTHER_TYPE, NULL, sizeof(uint32_t) * (uint64_t)word[1], STUB_TARGET | stub);
    wj_return_here(e, stub);
    emit(e, &(wj_callee){.kind = CALLEE_REFERENCE}, plan->types[word[1]], word[4]);
}

static void emit_reference_call(stencil_emitter *e, const uint32_t *word, call_emitter *emit)
{
    wj_save_count(e);
    emit_row(e, WJ_STENCIL_FUNC_REF_OPERAND, &word[2], 0, 0);
    emit(e, &(wj_callee){.kind = CALLEE_REFERENCE}, e->of->plan.types[word[1]], word[3]);
}

static void emit_table(stencil_emitter *e, uint32_t slot, uint32_t count, const uint32_t *words)
{
    uint32_t *targets = malloc((count + (size_t)1) * sizeof *targets);
    if (targets == NULL) {
        e->failed = true;
        return;
    }
    wj_store_operands(e, &slot, 1, false);
    wj_load_constant(e, slot, false);
    for (uint32_t i = 0; i <= count; i++) { /* many that are next to each other lead to the same word */
        targets[i] = i != 0 && words[i] == words[i - 1] ? targets[i - 1] : edge_to(e, words[i]);
    }
    wj_emit_table(e, slot, count, targets);
    free(targets);
}

static void emit_other(stencil_emitter *e, const uint32_t *w)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    uint64_t table;
    switch (w[0]) {
    case WJ_OP_UNREACHABLE:
        wj_emit_trap(e, WJ_TRAP_UNREACHABLE);
        break;
    case WJ_OP_MOVE:
        emit_move(e, w[1], w[2], w[3]);
        break;
    case WJ_OP_CONSTANT_64:
        emit_constant(e, w[1], w[2] | (uint64_t)w[3] << 32);
        break;
    case WJ_OP_LOOP: /* it, and fuel and epochs behind it, may call out: what is in registers where no branch leads here is lost */
        wj_use_home_memory(e); /* whose base is loaded then */
        wj_store_operands(e, NULL, 0, false);
        wj_count_iteration(e, w[1]);
        break;
    case WJ_OP_BRANCH:
        wj_store_operands(e, NULL, 0, false);
        wj_emit_edge(e, e->region, region_at(e, w[1]));
        wj_emit_jump(e, w[1]);
        break;
    case WJ_OP_BRANCH_TABLE:
        emit_table(e, w[1], w[2], w + 3);
        break;
    case WJ_OP_RETURN:
        for (uint32_t i = 0; i < e->signature->result_slots; i++) {
            wj_load_constant(e, w[1] + i, false);
        }
        wj_emit_return(e, w[1]);
        break;
    case WJ_OP_CALL:
    case WJ_OP_CALL_IMPORT:
        emit_call_of(e, w[1], w[2], wj_emit_call);
        break;
    case WJ_OP_CALL_INDIRECT:
        emit_indirect_call(e, w, wj_emit_call);
        break;
    case WJ_OP_CALL_REF:
        emit_reference_call(e, w, wj_emit_call);
        break;
    case WJ_OP_RETURN_CALL:
    case WJ_OP_RETURN_CALL_IMPORT:
        emit_call_of(e, w[1], w[2], wj_emit_tail_call);
        break;
    case WJ_OP_RETURN_CALL_INDIRECT:
        emit_indirect_call(e, w, wj_emit_tail_call);
        break;
    case WJ_OP_RETURN_CALL_REF:
        emit_reference_call(e, w, wj_emit_tail_call);
        break;
    case WJ_OP_TABLE_GET:
        table = plan->tables_offset + (uint64_t)WJ_TABLE_SLOT_SIZEOF * w[2];
        emit_row(e, WJ_STENCIL_TABLE_GET, (uint32_t[]){w[1], w[3]}, table, 0);
        break;
    case WJ_OP_TABLE_SET:
        table = plan->tables_offset + (uint64_t)WJ_TABLE_SLOT_SIZEOF * w[1];
        emit_row(e, WJ_STENCIL_TABLE_SET, (uint32_t[]){w[2], w[3]}, table, 0);
        break;
    case WJ_OP_TABLE_SIZE:
        emit_row(e, WJ_STENCIL_TABLE_SIZE, (uint32_t[]){w[1]}, plan->tables_offset + (uint64_t)WJ_TABLE_SLOT_SIZEOF * w[2], 0);
        break;
    case WJ_OP_CHECK:
        wj_emit_check(e, 0, w[1], (uint64_t)w[2] + w[3], false);
        break;
    default:
        wj_emit_runtime_call(e, w);
        break;
    }
}

static void emit_select(stencil_emitter *e, const stencil_instruction *found)
{
    bool is_float = is_in_float(e, found->slots[1]) || is_in_float(e, found->slots[2]);
    bool narrow = wj_is_narrow(e, found->slots[1]) && wj_is_narrow(e, found->slots[2]);
    emit_row(e, is_float ? WJ_STENCIL_SELECT_FLOAT : WJ_STENCIL_SELECT, found->slots, 0, 0);
    wj_note_narrow(e, found->slots[0], narrow);
}

/* A branch that is taken or not: behind it, operands are where they were; where it leads they are in the frame. */
static void emit_branch(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word)
{
    bool keeps_operand = *word == WJ_OP_BRANCH_ON_NULL || *word == WJ_OP_BRANCH_ON_NON_NULL;
    wj_store_operands(e, found->slots, keeps_operand ? 0 : found->slot_count, true);
    uint32_t target = edge_to(e, found->target);
    if ((found->flags & DIVIDES) != 0) {
        emit_division(e, found, word, target);
    } else {
        stencil_row row = {.number = found->stencil - 1, .slots = found->slots, .constant = constant_of(found)};
        row.target = target;
        row.uses = !keeps_operand;
        wj_emit_row(e, &row);
    }
}

/* False: the stencil of its row is all there is to it. */
static bool emit_irregular(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word)
{
    if ((found->flags & HAS_TARGET) != 0 && *word != WJ_OP_BRANCH) {
        emit_branch(e, found, word);
    } else if ((found->flags & DIVIDES) != 0) {
        emit_division(e, found, word, 0);
    } else if ((found->flags & METERS) != 0) {
        wj_emit_metering(e, word);
    } else if ((found->flags & VECTORS) != 0 && wj_emit_vector(e, found, word)) {
        return true;
    } else if (found->stencil == 0) {
        emit_other(e, word);
    } else if (*word == WJ_OP_SELECT) {
        emit_select(e, found);
    } else if (*word == WJ_OP_COPY) {
        emit_copy(e, word[1], word[2]);
    } else if (*word == WJ_OP_CONSTANT) {
        emit_constant(e, word[1], word[2]);
    } else if ((found->flags & ACCESSES) != 0) {
        wj_emit_access(e, found, word);
    } else {
        return false;
    }
    return true;
}

static bool is_mask(uint32_t operation)
{
    return operation == WJ_OP_I32_AND_IMMEDIATE || operation == WJ_OP_I64_AND_IMMEDIATE;
}

static void emit_instruction(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word)
{
    if (is_mask(*word) && wj_emit_mask(e, word)) {
        return;
    }
    bool is_plain = (found->flags & ~HAS_CONSTANT) == 0 && found->stencil != 0 && found->loose == 0; /* most of them */
    if (is_plain || !emit_irregular(e, found, word)) {
        emit_row(e, found->stencil - 1, found->slots, constant_of(found), 0);
    }
}

/* Before a word: where control comes from elsewhere too, or goes to another region. */
static void begin_block(stencil_emitter *e, uint32_t at, bool is_reached)
{
    uint32_t region = region_at(e, at);
    if (is_reached) {
        wj_use_home_memory(e);
        wj_store_operands(e, NULL, 0, false);
        wj_emit_edge(e, e->region, region);
    }
    e->base_of = e->home_memory;
    wj_forget_checks(e);
    wj_set_region(e, region);
}

/* A comparison of floats whose result is what the next word, a branch, looks at: the stencil of both, or NO_STENCIL. */
static uint32_t float_branch(const stencil_emitter *e, const uint32_t *word, uint32_t next)
{
    static const struct {
        uint16_t holds, fails;
    } branches[] = {
#define WJ_X(name) [WJ_OP_##name - WJ_OP_F32_EQ] = {WJ_STENCIL_BRANCH_##name, WJ_STENCIL_BRANCH_UNLESS_##name}
        WJ_X(F32_LT), WJ_X(F32_GT), WJ_X(F32_LE), WJ_X(F32_GE), WJ_X(F64_LT), WJ_X(F64_GT), WJ_X(F64_LE), WJ_X(F64_GE),
#undef WJ_X
    };
    const uint32_t *branch = e->body->words + next;
    if ((*branch != WJ_OP_BRANCH_IF && *branch != WJ_OP_BRANCH_UNLESS) ||
        branch[1] != word[1] || !wj_is_operand(e, word[1]) || (e->marks[next] & TARGET_MARK) != 0) {
        return NO_STENCIL;
    }
    uint32_t number = *word - WJ_OP_F32_EQ;
    uint32_t found = *branch == WJ_OP_BRANCH_IF ? branches[number].holds : branches[number].fails;
    return found == 0 ? NO_STENCIL : found;
}

static bool is_comparison(uint32_t operation)
{
    return is_between(operation, WJ_OP_I32_EQ, WJ_OP_I64_GE_U) || is_between(operation, WJ_OP_I32_EQ_IMMEDIATE, WJ_OP_I64_GE_U_IMMEDIATE) ||
           operation == WJ_OP_I32_EQZ || operation == WJ_OP_I64_EQZ;
}

/* Whether a constant goes to an operand that a comparison has nothing to do with. */
static bool is_constant_beside(const stencil_emitter *e, const uint32_t *word, const uint32_t *comparison)
{
    return (*word == WJ_OP_CONSTANT || *word == WJ_OP_CONSTANT_64) && wj_is_operand(e, word[1]) && word[1] != comparison[1] &&
           word[1] != comparison[2] && (wj_forms[*comparison].slot_count != 3 || word[1] != comparison[3]);
}

/* A comparison and the select that looks at its result, between which there are the constants that are selected: all that
 * they do. Returns how many words are behind the comparison's; 0: there is no instruction for it. */
static uint32_t emit_fused(stencil_emitter *e, const uint32_t *word, uint32_t next)
{
    uint32_t at = next;
    const uint32_t *words = e->body->words;
    while (e->marks[at] == e->region && is_constant_beside(e, words + at, word)) {
        at += wj_forms[words[at]].words;
    }
    const uint32_t *select = words + at;
    if (e->marks[at] != e->region || *select != WJ_OP_SELECT || select[4] != word[1]) {
        return 0;
    }
    for (uint32_t constant = next; constant != at; constant += wj_forms[words[constant]].words) {
        const uint32_t *of = words + constant;
        emit_constant(e, of[1], *of == WJ_OP_CONSTANT ? of[2] : of[2] | (uint64_t)of[3] << 32);
    }
    uint32_t length = wj_emit_fused_select(e, word, select); /* else these are done again */
    if (length != 0 && e->check_count != 0) {
        stencil_instruction found = wj_decode(select);
        wj_forget_checks_of(e, &found);
    }
    return length == 0 ? 0 : at - next + length;
}

/* A copy of a local that the next word, a return, takes: the return takes the local. */
static uint32_t returned_local(const stencil_emitter *e, const uint32_t *word, uint32_t next)
{
    const uint32_t *other = e->body->words + next;
    bool is_it = *other == WJ_OP_RETURN && other[1] == word[1] && e->signature->result_slots == 1 &&
                 wj_is_operand(e, word[1]) && !wj_is_operand(e, word[2]) && (e->marks[next] & TARGET_MARK) == 0;
    return is_it ? word[2] : NO_SLOT;
}

void wj_emit_body(stencil_emitter *e)
{
    const wj_body_words *f = e->body;
    const uint32_t(*offsets)[2] = wj_offsets_of(f);
    uint32_t site = 0;
    uint32_t next_site = f->offset_count != 0 ? offsets[0][0] : UINT32_MAX;
    bool is_reached = true;
    for (uint32_t at = 0; at < f->word_count && !e->failed;) {
        const uint32_t *word = f->words + at;
        stencil_instruction found = wj_decode(word);
        if (wj_this_thread.pending != 0) {
            e->failed = e->is_interrupted = true; /* the interpreter looks at that */
        }
        if (e->marks[at] != e->region || !is_reached) { /* or it has TARGET_MARK */
            begin_block(e, at, is_reached);
        }
        e->places[at] = (uint32_t)e->count;
        if (at == next_site) {
            e->module_offset = offsets[site++][1];
            next_site = site < f->offset_count ? offsets[site][0] : UINT32_MAX;
            wj_note_site(e, (uint32_t)e->count, e->module_offset);
        }
        e->next_word = at + found.length;
        uint32_t both = is_between(*word, WJ_OP_F32_LT, WJ_OP_F64_GE) ? float_branch(e, word, at + found.length) : NO_STENCIL;
        uint32_t fused = is_comparison(*word) ? emit_fused(e, word, at + found.length) : 0;
        is_reached = (found.flags & ENDS) == 0;
        if ((found.flags & (HAS_TARGET | ENDS)) != 0 || both != NO_STENCIL) {
            wj_use_home_memory(e);
        }
        if (both != NO_STENCIL) {
            const uint32_t *branch = word + found.length;
            wj_store_operands(e, &word[2], 2, true);
            emit_row(e, both, &word[2], 0, edge_to(e, branch[2]));
            found.length += WJ_WORDS_BRANCH_IF;
        } else if (*word == WJ_OP_COPY && returned_local(e, word, at + found.length) != NO_SLOT) {
            wj_emit_return(e, word[2]);
            found.length += WJ_WORDS_RETURN;
            is_reached = false;
        } else if (fused != 0) {
            found.length += fused;
        } else {
            emit_instruction(e, &found, word);
            if (e->check_count != 0) {
                wj_forget_checks_of(e, &found);
            }
        }
        at += found.length;
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
