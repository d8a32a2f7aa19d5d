/* Vector instructions, from the body of a function to the interpreter's words.
 *
 * What accesses memory and computes something is two operations: the access of a number, and what is computed from it. */
#include "interpret_stack.h"

/* The static analyser does not know that bodies are valid, and takes the operand stack to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

enum { V128_LOAD = 0x00, V128_STORE = 0x0b, V128_CONST = 0x0c };
enum { MASK_WORDS = 4, VECTOR_BYTES = 16 };

typedef enum { NO_ROW, UNARY, BINARY, TERNARY, UNARY_LANE, BINARY_LANE, SHUFFLE } row_form;

typedef struct {
    uint16_t operation;
    uint16_t access; /* the operation of the access, or 0 */
    uint8_t form;
    uint8_t vectors; /* a bit for each of result and operands */
} row;

static const row rows[] = {
#define WJ_X(opcode, name, form, access, vectors) [opcode] = {WJ_OP_##name, access, form, vectors},
    WJ_VECTOR_ROWS(WJ_X)
#undef WJ_X
};

static uint32_t access_bytes_of(uint32_t operation)
{
    switch (operation) {
    case WJ_OP_I32_LOAD8_U:
    case WJ_OP_I32_STORE8:
        return 1;
    case WJ_OP_I32_LOAD16_U:
    case WJ_OP_I32_STORE16:
        return 2;
    case WJ_OP_I32_LOAD:
    case WJ_OP_I32_STORE:
        return 4;
    default:
        return 8;
    }
}

static uint32_t operand_count(const row *of)
{
    switch (of->form) {
    case UNARY:
    case UNARY_LANE:
        return 1;
    case TERNARY:
        return 3;
    default:
        return 2;
    }
}

/* The words behind the result's. */
static void emit_operands(translator *t, const row *of, const uint32_t *slots, uint32_t lane, const uint32_t *mask)
{
    for (uint32_t i = 0; i < operand_count(of); i++) {
        emit(t, slots[i]);
    }
    if (of->form == UNARY_LANE || of->form == BINARY_LANE) {
        emit(t, lane);
    }
    for (uint32_t i = 0; of->form == SHUFFLE && i < MASK_WORDS; i++) {
        emit(t, mask[i]);
    }
}

static uint32_t read_word(translator *t)
{
    uint32_t word;
    memcpy(&word, t->at, sizeof word); /* little-endian, as the format */
    t->at += sizeof word;
    return word;
}

static void load_vector(translator *t, const uint8_t *at)
{
    uint32_t slots[2];
    wj_memory_place at_memory = wj_memory_argument(t);
    slots[1] = pop_slot(t);
    slots[0] = push_vector(t);
    wj_access(t, WJ_OP_V128_LOAD, VECTOR_BYTES, at_memory, slots, slots[1], at);
}

static void store_vector(translator *t, const uint8_t *at)
{
    uint32_t slots[2];
    wj_memory_place at_memory = wj_memory_argument(t);
    pop_slots(t, 2, slots);
    wj_access(t, WJ_OP_V128_STORE, VECTOR_BYTES, at_memory, slots, slots[0], at);
}

static void constant(translator *t)
{
    uint64_t halves[2];
    memcpy(halves, t->at, sizeof halves);
    t->at += sizeof halves;
    push_vector_constant(t, halves[0], halves[1]);
}

void wj_vector_instruction(translator *t, const uint8_t *at)
{
    uint32_t number = read_index(t);
    switch (number) {
    case V128_LOAD:
        load_vector(t, at);
        return;
    case V128_STORE:
        store_vector(t, at);
        return;
    case V128_CONST:
        constant(t);
        return;
    default:
        break;
    }
    const row *of = &rows[number]; /* there is one: see immediates_of */
    wj_memory_place at_memory = {0, 0};
    if (of->access != 0) {
        at_memory = wj_memory_argument(t);
    }
    uint32_t mask[MASK_WORDS] = {0};
    for (uint32_t i = 0; of->form == SHUFFLE && i < MASK_WORDS; i++) {
        mask[i] = read_word(t);
    }
    uint32_t lane = of->form == UNARY_LANE || of->form == BINARY_LANE ? *t->at++ : 0;
    bool loads = of->access != 0 && (of->vectors & 1) != 0;
    bool stores = of->access != 0 && !loads;
    uint32_t slots[3];
    pop_slots(t, operand_count(of) + stores, slots); /* of a store the address comes first */
    if (loads) {
        uint32_t words[2] = {own_slot(t, t->height), slots[0]};
        wj_access(t, of->access, access_bytes_of(of->access), at_memory, words, slots[0], at);
        slots[0] = words[0];
    }
    if (stores) { /* what is stored goes to where the vector may have been */
        uint32_t words[2] = {slots[0], own_slot(t, t->height + 1)};
        begin(t, of->operation);
        emit(t, words[1]);
        emit_operands(t, of, slots + 1, lane, mask);
        wj_access(t, of->access, access_bytes_of(of->access), at_memory, words, slots[0], at);
        return;
    }
    begin_result_of(t, of->operation, (of->vectors & 1) != 0);
    emit_operands(t, of, slots, lane, mask);
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

/* The bytes of two vectors that the mask names. */
void wj_shuffle(void *result, const void *a, const void *b, const void *mask)
{
    uint8_t both[2 * VECTOR_BYTES];
    uint8_t chosen[VECTOR_BYTES];
    memcpy(both, a, VECTOR_BYTES);
    memcpy(both + VECTOR_BYTES, b, VECTOR_BYTES);
    for (size_t i = 0; i < sizeof chosen; i++) {
        chosen[i] = both[((const uint8_t *)mask)[i] % sizeof both];
    }
    memcpy(result, chosen, sizeof chosen);
}
