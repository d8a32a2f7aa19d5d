/* Tables and memories as a whole, and what else stands behind the prefix of bulk instructions, from the body of a function to
 * the interpreter's words. */
#include "interpret_translate.h"

/* The static analyser does not know that bodies are valid, and takes the operand stack and the frames to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

/* Before the runtime is called, by an instruction whose last operand, if it has any, is a count or a growth. */
static void charge_call(translator *t, uint32_t operand_count, const uint32_t *slots, bool is_wide)
{
    if (t->of->plan.counts_fuel == 0) {
        return;
    }
    if (operand_count == 0) {
        save_fuel(t);
        return;
    }
    begin(t, WJ_OP_FUEL_SAVE_COUNT);
    emit(t, t->cost);
    emit(t, slots[operand_count - 1]);
    emit(t, is_wide);
    t->cost = 0;
}

typedef struct {
    const uint32_t *immediates;
    uint32_t immediate_count, operand_count;
} operands;

static void emit_instruction(translator *t, uint32_t operation, bool has_result, operands of, const uint32_t *slots,
                             const uint8_t *at)
{
    site(t, at);
    if (has_result) {
        begin_result(t, operation);
    } else {
        begin(t, operation);
    }
    for (uint32_t i = 0; i < of.immediate_count; i++) {
        emit(t, of.immediates[i]);
    }
    for (uint32_t i = 0; i < of.operand_count; i++) {
        emit(t, slots[i]);
    }
}

/* An instruction with immediates and a number of operands, in the order of the operation's; it may trap. */
static void with_operands(translator *t, uint32_t operation, bool has_result, operands of, const uint8_t *at)
{
    uint32_t slots[3];
    pop_slots(t, of.operand_count, slots);
    emit_instruction(t, operation, has_result, of, slots, at);
}

/* As an i32, an operand that was popped, of 64 bits if it `is_wide`: a table has no element at the largest. */
static void saturate(translator *t, uint32_t *slot, uint32_t position, bool is_wide)
{
    if (is_wide) {
        begin(t, WJ_OP_SATURATE);
        emit(t, own_slot(t, position));
        emit(t, *slot);
        *slot = own_slot(t, position);
    }
}

/* An instruction that the runtime does. `wide` has a bit for each operand that has 64 bits, or is no size; and if any index of a
 * table or address of a memory does, they all get as many. */
static void call_runtime(translator *t, uint32_t operation, bool has_result, operands of, bool any_is_wide, uint32_t wide,
                         const uint8_t *at)
{
    uint32_t slots[3];
    pop_slots(t, of.operand_count, slots);
    for (uint32_t i = 0; any_is_wide && i < of.operand_count; i++) {
        if ((wide >> i & 1) == 0) {
            begin(t, WJ_OP_I64_EXTEND_I32_U);
            emit(t, own_slot(t, t->height + i));
            emit(t, slots[i]);
            slots[i] = own_slot(t, t->height + i);
        }
    }
    charge_call(t, of.operand_count, slots, any_is_wide);
    if (any_is_wide) {
        operation += operation < WJ_OP_MEMORY_GROW ? WJ_OP_TABLE_GROW_WIDE - WJ_OP_TABLE_GROW
                                                   : WJ_OP_MEMORY_GROW_WIDE - WJ_OP_MEMORY_GROW;
    }
    emit_instruction(t, operation, has_result, of, slots, at);
}

/* From low and high halves to those of the result. */
static void wide_arithmetic(translator *t, uint32_t operation, uint32_t operand_count)
{
    uint32_t slots[4];
    pop_slots(t, operand_count, slots);
    begin(t, operation);
    emit(t, push(t));
    (void)push(t);
    for (uint32_t i = 0; i < operand_count; i++) {
        emit(t, slots[i]);
    }
}

uint32_t wj_pop_index(translator *t, uint32_t table)
{
    uint32_t slot = pop_slot(t);
    saturate(t, &slot, t->height, is_wide_table(t, table));
    return slot;
}

void wj_table_or_memory(translator *t, uint8_t opcode, const uint8_t *at)
{
    uint32_t index;
    uint32_t slots[2];
    uint32_t table;
    switch (opcode) {
    case 0x25: /* table.get */
        table = read_index(t);
        index = wj_pop_index(t, table);
        emit_instruction(t, WJ_OP_TABLE_GET, true, (operands){&table, 1, 1}, &index, at);
        break;
    case 0x26: /* table.set */
        table = read_index(t);
        pop_slots(t, 2, slots);
        saturate(t, &slots[0], t->height, is_wide_table(t, table));
        emit_instruction(t, WJ_OP_TABLE_SET, false, (operands){&table, 1, 2}, slots, at);
        break;
    case 0x3f: /* memory.size */
        index = read_index(t);
        with_operands(t, WJ_OP_MEMORY_SIZE, true, (operands){&index, 1, 0}, at);
        break;
    default: /* memory.grow */
        index = read_index(t);
        call_runtime(t, WJ_OP_MEMORY_GROW, true, (operands){&index, 1, 1}, is_wide_memory(t, index), 1, at);
        break;
    }
}

void wj_bulk(translator *t, uint32_t number, const uint8_t *at)
{
    uint32_t first = number <= 17 ? read_index(t) : 0;
    uint32_t second = number == 8 || number == 10 || number == 12 || number == 14 ? read_index(t) : 0;
    uint32_t both[2] = {first, second};
    uint32_t swapped[2] = {second, first}; /* of init, the segment comes first */
    uint32_t wide;
    uint32_t wide_from;
    switch (number) {
    case 8:
        wide = is_wide_memory(t, second);
        call_runtime(t, WJ_OP_MEMORY_INIT, false, (operands){swapped, 2, 3}, wide != 0, wide, at);
        break;
    case 9:
        charge_call(t, 0, NULL, false);
        with_operands(t, WJ_OP_DATA_DROP, false, (operands){both, 1, 0}, at);
        break;
    case 10:
        wide = is_wide_memory(t, first);
        wide_from = is_wide_memory(t, second);
        call_runtime(t, WJ_OP_MEMORY_COPY, false, (operands){both, 2, 3}, (wide | wide_from) != 0,
                     wide | wide_from << 1 | (wide & wide_from) << 2, at);
        break;
    case 11:
        wide = is_wide_memory(t, first);
        call_runtime(t, WJ_OP_MEMORY_FILL, false, (operands){both, 1, 3}, wide != 0, 7, at);
        break;
    case 12:
        wide = is_wide_table(t, second);
        call_runtime(t, WJ_OP_TABLE_INIT, false, (operands){swapped, 2, 3}, wide != 0, wide, at);
        break;
    case 13:
        charge_call(t, 0, NULL, false);
        with_operands(t, WJ_OP_ELEM_DROP, false, (operands){both, 1, 0}, at);
        break;
    case 14:
        wide = is_wide_table(t, first);
        wide_from = is_wide_table(t, second);
        call_runtime(t, WJ_OP_TABLE_COPY, false, (operands){both, 2, 3}, (wide | wide_from) != 0,
                     wide | wide_from << 1 | (wide & wide_from) << 2, at);
        break;
    case 15:
        call_runtime(t, WJ_OP_TABLE_GROW, true, (operands){both, 1, 2}, is_wide_table(t, first), 3, at);
        break;
    case 16:
        with_operands(t, WJ_OP_TABLE_SIZE, true, (operands){both, 1, 0}, at);
        break;
    case 17:
        call_runtime(t, WJ_OP_TABLE_FILL, false, (operands){both, 1, 3}, is_wide_table(t, first), 7, at);
        break;
    case 19:
        wide_arithmetic(t, WJ_OP_I64_ADD128, 4);
        break;
    case 20:
        wide_arithmetic(t, WJ_OP_I64_SUB128, 4);
        break;
    case 21:
        wide_arithmetic(t, WJ_OP_I64_MUL_WIDE_S, 2);
        break;
    case 22:
        wide_arithmetic(t, WJ_OP_I64_MUL_WIDE_U, 2);
        break;
    default:
        t->failed = true;
        break;
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
