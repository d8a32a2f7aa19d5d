/* Vectors in the stencil tier, on every processor.
 *
 * A v128 is in two slots of the frame, or as a whole in a register that floats are in, whose place its first slot has. A row is a
 * stencil, or where there is none, or the engine's text is another than the stencil's (interpret.h: wj_vector_offsets), a call
 * of the routine that the interpreter calls. */
#include "stencil_translate.h"

#ifdef WJ_HAS_STENCILS

/* Words are what interpret_translate.c made, of a body that validation has accepted: every slot is one.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

/* By row: a bit for each of result and operands that is a vector. */
static const uint8_t vectors_of[] = {
#define WJ_X(opcode, name, form, access, vectors) [WJ_OP_##name - WJ_FIRST_VECTOR] = (vectors),
    WJ_VECTOR_ROWS(WJ_X)
#undef WJ_X
};

/* ---- which locals are vectors ---- */

static void note(stencil_emitter *e, uint32_t slot)
{
    e->has_vectors = true;
    if (!wj_is_operand(e, slot)) {
        e->is_vector[slot] = 1;
        e->is_vector[slot + 1] = WJ_UPPER_HALF;
    }
}

/* Bits for the words behind the operation's number. */
static uint32_t vectors_at(const stencil_emitter *e, const uint32_t *word)
{
    switch (*word) {
    case WJ_OP_COPY_128:
        return 3;
    case WJ_OP_SELECT_128:
        return 7;
    case WJ_OP_CONSTANT_128:
    case WJ_OP_V128_LOAD:
    case WJ_OP_V128_LOAD_CHECKED:
    case WJ_OP_GLOBAL_GET_128:
    case WJ_OP_GLOBAL_SET_128:
    case WJ_OP_IMPORTED_GLOBAL_GET_128:
    case WJ_OP_IMPORTED_GLOBAL_SET_128:
        return 1;
    case WJ_OP_V128_STORE:
    case WJ_OP_V128_STORE_CHECKED:
        return 2;
    case WJ_OP_RETURN:
        return e->signature->result_count == 1 && e->signature->result_slots == 2;
    default:
        return *word >= WJ_FIRST_VECTOR ? vectors_of[*word - WJ_FIRST_VECTOR] : 0;
    }
}

static bool has_vector(const wj_signature *type)
{
    return type->param_slots != type->param_count || type->result_slots != type->result_count;
}

/* Whether a call gives or takes vectors. */
static bool calls_with_vectors(const stencil_emitter *e, const uint32_t *word)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    switch (*word) {
    case WJ_OP_CALL:
    case WJ_OP_CALL_IMPORT:
    case WJ_OP_RETURN_CALL:
    case WJ_OP_RETURN_CALL_IMPORT:
        return has_vector(plan->types[plan->function_types[word[1]]]);
    case WJ_OP_CALL_INDIRECT:
    case WJ_OP_CALL_REF:
    case WJ_OP_RETURN_CALL_INDIRECT:
    case WJ_OP_RETURN_CALL_REF:
        return has_vector(plan->types[word[1]]);
    default:
        return false;
    }
}

void wj_find_vector_parameters(stencil_emitter *e)
{
    uint32_t slot = 0;
    for (uint32_t i = 0; i < e->signature->param_count; i++) {
        if (e->signature->places[i].letter == WJ_LETTER_V128) {
            note(e, slot);
        }
        slot += wj_slots_of(e->signature->places[i].letter);
    }
}

void wj_find_vectors(stencil_emitter *e, const uint32_t *word)
{
    uint32_t vectors = vectors_at(e, word);
    for (uint32_t i = 0; vectors >> i != 0; i++) {
        if ((vectors >> i & 1) != 0) {
            note(e, word[1 + i]);
        }
    }
    e->has_vectors = e->has_vectors || calls_with_vectors(e, word);
}

/* ---- code ---- */

/* Where a vector will be that is made now: the place of a register, or IN_FRAME. */
static uint8_t place_vector(stencil_emitter *e, uint32_t slot, uint8_t wanted)
{
    uint8_t in = e->registers[slot];
    if (wj_is_pinned(e, slot)) {
        return in;
    }
    if (wj_is_operand(e, slot)) {
        wj_drop_operand(e, slot + 1);
        in = wj_place_operand(e, slot, true, wanted);
    } else {
        in = wj_place_copy(e, slot, true, wanted);
    }
    wj_note_vector(e, slot);
    return in;
}

/* A local that is in no register for long is in the frame, too. */
static void finish_vector(stencil_emitter *e, uint32_t slot, uint8_t place)
{
    if (place != IN_FRAME && !wj_is_operand(e, slot) && !wj_is_pinned(e, slot)) {
        wj_store_register(e, slot);
    }
}

static void drop_if_operand(stencil_emitter *e, uint32_t slot)
{
    if (wj_is_operand(e, slot)) {
        wj_drop_operand(e, slot);
    }
}

static void emit_copy(stencil_emitter *e, const stencil_instruction *found)
{
    uint32_t to = found->slots[0];
    uint32_t from = found->slots[1];
    uint8_t places[MOST_PLACES] = {IN_FRAME, e->registers[from]};
    drop_if_operand(e, from);
    places[0] = place_vector(e, to, places[1]);
    if (places[0] != places[1] || places[0] == IN_FRAME) {
        wj_copy_stencil(e, &(stencil_row){.number = found->stencil - 1, .slots = found->slots}, places);
    }
    finish_vector(e, to, places[0]);
}

static void emit_constant(stencil_emitter *e, const uint32_t *word)
{
    uint8_t place = place_vector(e, word[1], IN_FRAME);
    wj_emit_vector_constant(e, place, word[1], word + 2);
    finish_vector(e, word[1], place);
}

static void emit_shuffle(stencil_emitter *e, const uint32_t *word)
{
    wj_emit_shuffle(e, word + 1, word + 4);
    drop_if_operand(e, word[2]);
    drop_if_operand(e, word[3]);
    uint8_t place = place_vector(e, word[1], IN_FRAME);
    wj_take_shuffled(e, place, word[1]);
    finish_vector(e, word[1], place);
}

static void add_128(uint64_t *result, const uint64_t *a, const uint64_t *a_high, const uint64_t *b, const uint64_t *b_high)
{
    unsigned __int128 sum = ((unsigned __int128)*a_high << 64 | *a) + ((unsigned __int128)*b_high << 64 | *b);
    memcpy(result, &sum, sizeof sum);
}

static void subtract_128(uint64_t *result, const uint64_t *a, const uint64_t *a_high, const uint64_t *b, const uint64_t *b_high)
{
    unsigned __int128 difference = ((unsigned __int128)*a_high << 64 | *a) - ((unsigned __int128)*b_high << 64 | *b);
    memcpy(result, &difference, sizeof difference);
}

static void multiply_signed(uint64_t *result, const uint64_t *a, const uint64_t *b)
{
    __int128 product = (__int128)(int64_t)*a * (int64_t)*b;
    memcpy(result, &product, sizeof product);
}

static void multiply_unsigned(uint64_t *result, const uint64_t *a, const uint64_t *b)
{
    unsigned __int128 product = (unsigned __int128)*a * *b;
    memcpy(result, &product, sizeof product);
}

/* The routine of a row, if it is to be called. */
static const void *routine_of(const stencil_emitter *e, const stencil_instruction *found, uint32_t operation)
{
    uint32_t choice = e->of->plan.vector_choice;
    uint32_t row = operation - WJ_FIRST_VECTOR;
    bool is_same = wj_vector_offsets[choice][row] == wj_vector_offsets[0][row];
    return found->stencil != 0 && is_same ? NULL : (const void *)wj_vector_at(choice, operation);
}

static void emit_vector_row(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word)
{
    const void *routine = routine_of(e, found, *word);
    if (routine != NULL) {
        wj_emit_routine(e, routine, found->slots, found->slot_count, found->constant);
        return;
    }
    /* Those of lanes stand one behind the other. */
    stencil_row row = {.number = found->stencil - 1 + found->constant, .slots = found->slots, .uses = true};
    wj_emit_row(e, &row);
}

bool wj_emit_vector(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word)
{
    switch (*word) {
    case WJ_OP_COPY_128:
        emit_copy(e, found);
        break;
    case WJ_OP_CONSTANT_128:
        emit_constant(e, word);
        break;
    case WJ_OP_I8X16_SHUFFLE:
        emit_shuffle(e, word);
        break;
    case WJ_OP_I64_ADD128:
        wj_emit_routine(e, (const void *)add_128, word + 1, 5, 0);
        break;
    case WJ_OP_I64_SUB128:
        wj_emit_routine(e, (const void *)subtract_128, word + 1, 5, 0);
        break;
    case WJ_OP_I64_MUL_WIDE_S:
        wj_emit_routine(e, (const void *)multiply_signed, word + 1, 3, 0);
        break;
    case WJ_OP_I64_MUL_WIDE_U:
        wj_emit_routine(e, (const void *)multiply_unsigned, word + 1, 3, 0);
        break;
    default:
        if (*word < WJ_FIRST_VECTOR) {
            return false;
        }
        emit_vector_row(e, found, word);
        break;
    }
    return true;
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
