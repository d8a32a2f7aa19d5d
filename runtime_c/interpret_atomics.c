/* Atomic instructions, from the body of a function to the interpreter's words: those that access memory are one operation. */
#include "interpret_stack.h"

/* The static analyser does not know that bodies are valid, and takes the operand stack to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

enum { FENCE = 0x03, LAST_THAT_WAITS = 0x02 };
enum { MOST_OPERANDS = 3 };

typedef struct {
    uint8_t operand_count;
    bool has_result;
} row;

static const row rows[WJ_ATOMIC_COUNT] = {
#define WJ_X(opcode, operation, bytes, operands, result) [opcode] = {operands, result},
    WJ_ATOMIC_ROWS(WJ_X)
#undef WJ_X
};

void wj_atomic_instruction(translator *t, const uint8_t *at)
{
    uint32_t number = read_index(t);
    if (number == FENCE) {
        t->at++; /* the zero byte */
        begin(t, WJ_OP_ATOMIC_FENCE);
        return;
    }
    row of = rows[number]; /* there is one: see immediates_of */
    wj_memory_place place = wj_memory_argument(t);
    uint32_t slots[MOST_OPERANDS];
    pop_slots(t, of.operand_count, slots);
    if (number <= LAST_THAT_WAITS) { /* Python's signal handlers, which may look at the fuel, run while a thread waits */
        save_fuel(t);
    }
    site(t, at);
    if (of.has_result) {
        begin_result(t, WJ_OP_ATOMIC);
    } else {
        begin(t, WJ_OP_ATOMIC);
        emit(t, WJ_NO_RESULT);
    }
    emit(t, number);
    wj_emit_place(t, place);
    for (uint32_t i = 0; i < MOST_OPERANDS; i++) {
        emit(t, slots[i < of.operand_count ? i : 0]);
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
