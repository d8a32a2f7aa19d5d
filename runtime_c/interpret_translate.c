/* From the body of a function to the interpreter's words, in one pass.
 *
 * Bodies are valid: every immediate is well-formed, every index in range, and the operand stack has what is popped. */
#include "interpret_stack.h"

/* The static analyser does not know that bodies are valid, and takes the operand stack and the frames to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

enum { PREFIX = 0xfc, VECTOR_PREFIX = 0xfd, ATOMIC_PREFIX = 0xfe };
enum { HAS_MEMORY_INDEX = 0x40 }; /* flag of a memory argument */
enum { FIRST_F64_ARITHMETIC = 0x99, F32_DEMOTE = 0xb6 };
enum { WIDE = 1 };                /* kind of a memory or table (wj_interpreter_plan) */
enum { LOOK_STEPS = 1 << 15 }; /* instructions between looks at interrupts: a millisecond */

enum { OTHER, UNARY, FLOAT_BINARY, INTEGER_BINARY, LOAD, STORE };
typedef struct {
    uint16_t operation;
    uint8_t form;
    uint8_t access_bytes; /* of LOAD and STORE */
} row;

enum { SATURATING = 0xfc00, SATURATING_COUNT = 8, PLAIN_COUNT = 256 };

/* Those behind the prefix stand behind the others. A switch would be a jump that is mispredicted, for each instruction. */
#define ROW_INDEX(opcode) ((opcode) < PLAIN_COUNT ? (opcode) : (opcode) - SATURATING + PLAIN_COUNT)
static const row rows[PLAIN_COUNT + SATURATING_COUNT] = {
#define WJ_X(opcode, name, ...) [ROW_INDEX(opcode)] = {WJ_OP_##name, UNARY, 0},
    WJ_UNARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) [ROW_INDEX(opcode)] = {WJ_OP_##name, FLOAT_BINARY, 0},
    WJ_FLOAT_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) [ROW_INDEX(opcode)] = {WJ_OP_##name, INTEGER_BINARY, 0},
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, type, ...) [ROW_INDEX(opcode)] = {WJ_OP_##name, LOAD, sizeof(type)},
    WJ_LOAD_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, type) [ROW_INDEX(opcode)] = {WJ_OP_##name, STORE, sizeof(type)},
    WJ_STORE_ROWS(WJ_X)
#undef WJ_X
};

static row row_behind_prefix(uint32_t number)
{
    return number < SATURATING_COUNT ? rows[ROW_INDEX(SATURATING + number)] : (row){0, OTHER, 0};
}

void wj_grow_words(translator *t)
{
    enum { FIRST_WORDS = 256 };
    if (t->count >= MOST_WORDS) {
        t->failed = true;
        return;
    }
    size_t wanted = t->room == 0 ? FIRST_WORDS : 2 * t->room;
    wanted = wanted > MOST_WORDS ? MOST_WORDS : wanted;
    uint32_t *grown = t->failed ? NULL : realloc(t->words, wanted * sizeof *grown);
    t->failed = grown == NULL;
    if (grown != NULL) {
        t->words = grown;
        t->room = wanted;
    }
}

wj_memory_place wj_memory_argument(translator *t)
{
    uint32_t flags = read_index(t);
    uint32_t memory = (flags & HAS_MEMORY_INDEX) != 0 ? read_index(t) : 0;
    return (wj_memory_place){memory, read_unsigned(t)};
}

static bool is_wide_memory(const translator *t, uint32_t memory)
{
    return (t->of->plan.memory_kinds[memory] & WIDE) != 0;
}

static bool is_wide_table(const translator *t, uint32_t table)
{
    return (t->of->plan.table_kinds[table] & WIDE) != 0;
}

/* Whether an access has to be compared with the size: but in the first memory, where that has guard pages. */
static bool is_checked(const translator *t, uint32_t memory)
{
    return memory != 0 || t->of->plan.memory_kinds[0] != 0;
}

void wj_emit_place(translator *t, wj_memory_place at)
{
    emit(t, 2 * at.memory + is_wide_memory(t, at.memory));
    emit(t, (uint32_t)at.offset);
    emit(t, (uint32_t)(at.offset >> 32));
}

/* Before an access: the guard behind the memory takes what ends up to `guard_bytes` behind the largest address. A larger
 * offset reaches over it, to whatever the process has there: without the check, a guest reads and writes its host. */
static void check_offset(translator *t, uint32_t address, uint32_t offset, uint32_t access_bytes, const uint8_t *at)
{
    if ((uint64_t)offset + access_bytes <= t->of->plan.guard_bytes) {
        return;
    }
    site(t, at);
    begin(t, WJ_OP_CHECK);
    emit(t, address);
    emit(t, offset);
    emit(t, access_bytes);
}

static uint32_t access_words(const translator *t, uint32_t memory)
{
    return is_checked(t, memory) ? WJ_WORDS_CHECKED_ACCESS : WJ_WORDS_ACCESS;
}

/* The same access with a comparison. */
static uint32_t checked_access(uint32_t operation)
{
    switch (operation) {
    case WJ_OP_V128_LOAD:
        return WJ_OP_V128_LOAD_CHECKED;
    case WJ_OP_V128_STORE:
        return WJ_OP_V128_STORE_CHECKED;
    default:
        return operation - WJ_OP_I32_LOAD + WJ_OP_I32_LOAD_CHECKED;
    }
}

void wj_access(translator *t, uint32_t operation, uint32_t access_bytes, wj_memory_place at_memory, const uint32_t *slots,
               uint32_t address, const uint8_t *at)
{
    bool compares = is_checked(t, at_memory.memory);
    if (!compares) {
        check_offset(t, address, (uint32_t)at_memory.offset, access_bytes, at);
    }
    site(t, at);
    begin(t, compares ? checked_access(operation) : operation);
    emit(t, slots[0]);
    emit(t, slots[1]);
    if (compares) {
        wj_emit_place(t, at_memory);
    } else {
        emit(t, (uint32_t)at_memory.offset);
    }
}

static void binary(translator *t, uint32_t operation, bool is_integer, const uint8_t *at)
{
    const operand *top = &t->operands[t->height - 1];
    uint32_t number = operation - WJ_OP_I32_EQ;
    bool fits = top->value <= INT32_MAX || top->value >= (uint64_t)INT32_MIN;
    if (is_integer && top->is_constant && (fits || !has_wide_operands(number))) {
        uint32_t immediate = (uint32_t)top->value;
        (void)pop(t);
        uint32_t a = pop_slot(t);
        if (divides(number)) {
            site(t, at);
        }
        begin_result(t, number + WJ_OP_I32_EQ_IMMEDIATE);
        emit(t, a);
        emit(t, immediate);
        return;
    }
    uint32_t slots[2];
    pop_slots(t, 2, slots);
    if (is_integer && divides(number)) {
        site(t, at);
    }
    begin_result(t, operation);
    emit(t, slots[0]);
    emit(t, slots[1]);
}

static void regular(translator *t, row found, const uint8_t *at)
{
    uint32_t slots[2];
    wj_memory_place at_memory;
    switch (found.form) {
    case UNARY:
        slots[0] = pop_slot(t);
        site(t, at);
        begin_result(t, found.operation);
        emit(t, slots[0]);
        break;
    case LOAD:
        at_memory = wj_memory_argument(t);
        slots[1] = pop_slot(t);
        slots[0] = push(t);
        wj_access(t, found.operation, found.access_bytes, at_memory, slots, slots[1], at);
        t->last = (uint32_t)t->count - access_words(t, at_memory.memory);
        break;
    case STORE:
        at_memory = wj_memory_argument(t);
        pop_slots(t, 2, slots);
        wj_access(t, found.operation, found.access_bytes, at_memory, slots, slots[0], at);
        break;
    default:
        binary(t, found.operation, found.form == INTEGER_BINARY, at);
        break;
    }
}

/* After an instruction that does not go on to the next. */
static void end_of_path(translator *t)
{
    t->live = false;
    pop_to(t, t->frames[t->frame_count - 1].height);
    t->last = NO_WORD;
}

/* Or a tail call, whose operation `operation` is then. */
static void call(translator *t, uint32_t operation, const wj_signature *type, uint32_t callee, uint32_t table, uint32_t index,
                 const uint8_t *at)
{
    if (type == NULL) {
        t->failed = true;
        return;
    }
    uint32_t first = t->height - type->param_slots;
    bool is_indirect = operation == WJ_OP_CALL_INDIRECT || operation == WJ_OP_RETURN_CALL_INDIRECT;
    bool checks = is_indirect || operation == WJ_OP_CALL_REF || operation == WJ_OP_RETURN_CALL_REF;
    settle_from(t, first);
    if (checks) {
        charge(t); /* it tells the store itself what is left, once it has */
    } else {
        save_fuel(t);
    }
    site(t, at);
    begin(t, operation);
    emit(t, callee);
    if (is_indirect) {
        emit(t, table);
    }
    if (checks) {
        emit(t, index);
    }
    emit(t, own_slot(t, first));
    if (operation >= WJ_OP_RETURN_CALL && operation <= WJ_OP_RETURN_CALL_REF) {
        end_of_path(t);
        return;
    }
    load_fuel(t);
    pop_to(t, first);
    push_places(t, type->places + type->param_count, type->result_count);
}

static void global(translator *t, uint32_t index, bool sets)
{
    bool imported = index < t->of->plan.imported_global_count;
    uint8_t type = t->of->plan.global_types[index];
    bool narrow = type == WJ_TYPE_I32 || type == WJ_TYPE_F32;
    bool is_vector = type == WJ_TYPE_V128;
    uint32_t offset = imported ? t->of->plan.imported_globals_offset + 8 * index
                               : t->of->plan.globals_offset + WJ_GLOBAL_BYTES * (index - t->of->plan.imported_global_count);
    uint32_t operation = imported ? WJ_OP_IMPORTED_GLOBAL_GET_32 : WJ_OP_GLOBAL_GET_32;
    operation += (sets ? 2 : 0) + (narrow ? 0 : 1);
    if (is_vector) {
        operation = (imported ? WJ_OP_IMPORTED_GLOBAL_GET_128 : WJ_OP_GLOBAL_GET_128) + (sets ? 1 : 0);
    }
    if (sets) {
        uint32_t slot = pop_slot(t);
        begin(t, operation);
        emit(t, slot);
    } else {
        begin_result_of(t, operation, is_vector);
    }
    emit(t, offset);
}

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

static void prefixed(translator *t, const uint8_t *at)
{
    uint32_t number = read_index(t);
    row found = row_behind_prefix(number);
    if (found.form != OTHER) {
        regular(t, found, at);
        return;
    }
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

/* Pops an index of a table into some slot. */
static uint32_t pop_index(translator *t, uint32_t table)
{
    uint32_t slot = pop_slot(t);
    saturate(t, &slot, t->height, is_wide_table(t, table));
    return slot;
}

static void select_operands(translator *t)
{
    uint32_t slots[3];
    pop_slots(t, 3, slots);
    bool is_vector = t->operands[t->height].is_vector;
    begin_result_of(t, is_vector ? WJ_OP_SELECT_128 : WJ_OP_SELECT, is_vector);
    emit(t, slots[0]);
    emit(t, slots[1]);
    emit(t, slots[2]);
}

static uint64_t read_bits(translator *t, size_t size_bytes)
{
    uint64_t bits = 0;
    memcpy(&bits, t->at, size_bytes); /* little-endian, as the format */
    t->at += size_bytes;
    return bits;
}

static void other(translator *t, uint8_t opcode, const uint8_t *at)
{
    const wj_interpreter_plan *of = &t->of->plan;
    uint32_t index;
    uint32_t table;
    uint32_t slots[2];
    switch (opcode) {
    case 0x00:
        save_fuel(t);
        site(t, at);
        begin(t, WJ_OP_UNREACHABLE);
        end_of_path(t);
        break;
    case 0x01: /* nop */
    case 0xa7: /* i32.wrap_i64 and the reinterpretations: the low bits stay as they are */
    case 0xbc:
    case 0xbd:
    case 0xbe:
    case 0xbf:
        break;
    case 0x0c:
        wj_branch(t, &t->frames[t->frame_count - 1 - read_index(t)]);
        end_of_path(t);
        break;
    case 0x0d:
        wj_branch_if(t, &t->frames[t->frame_count - 1 - read_index(t)]);
        break;
    case 0x0e:
        wj_branch_table(t);
        end_of_path(t);
        break;
    case 0x0f:
        wj_return(t);
        end_of_path(t);
        break;
    case 0x10:
        index = read_index(t);
        call(t, index < of->imported_function_count ? WJ_OP_CALL_IMPORT : WJ_OP_CALL, of->types[of->function_types[index]],
             index, 0, 0, at);
        break;
    case 0x11:
        index = read_index(t);
        table = read_index(t);
        call(t, WJ_OP_CALL_INDIRECT, of->types[index], index, table, pop_index(t, table), at);
        break;
    case 0x12:
        index = read_index(t);
        call(t, index < of->imported_function_count ? WJ_OP_RETURN_CALL_IMPORT : WJ_OP_RETURN_CALL,
             of->types[of->function_types[index]], index, 0, 0, at);
        break;
    case 0x13:
        index = read_index(t);
        table = read_index(t);
        call(t, WJ_OP_RETURN_CALL_INDIRECT, of->types[index], index, table, pop_index(t, table), at);
        break;
    case 0x14:
        index = read_index(t);
        call(t, WJ_OP_CALL_REF, of->types[index], index, 0, pop_slot(t), at);
        break;
    case 0x15:
        index = read_index(t);
        call(t, WJ_OP_RETURN_CALL_REF, of->types[index], index, 0, pop_slot(t), at);
        break;
    case 0xd5:
    case 0xd6:
        wj_branch_on_null(t, &t->frames[t->frame_count - 1 - read_index(t)], opcode == 0xd5);
        break;
    case 0x1a:
        (void)pop(t);
        t->last = NO_WORD;
        break;
    case 0x1c: /* select with types, of which there is one */
        (void)read_index(t);
        (void)read_value_type(t);
        select_operands(t);
        break;
    case 0x1b:
        select_operands(t);
        break;
    case 0x23:
        global(t, read_index(t), false);
        break;
    case 0x24:
        global(t, read_index(t), true);
        break;
    case 0x25:
        table = read_index(t);
        index = pop_index(t, table);
        emit_instruction(t, WJ_OP_TABLE_GET, true, (operands){&table, 1, 1}, &index, at);
        break;
    case 0x26:
        table = read_index(t);
        pop_slots(t, 2, slots);
        saturate(t, &slots[0], t->height, is_wide_table(t, table));
        emit_instruction(t, WJ_OP_TABLE_SET, false, (operands){&table, 1, 2}, slots, at);
        break;
    case 0x3f:
        index = read_index(t);
        with_operands(t, WJ_OP_MEMORY_SIZE, true, (operands){&index, 1, 0}, at);
        break;
    case 0x40:
        index = read_index(t);
        call_runtime(t, WJ_OP_MEMORY_GROW, true, (operands){&index, 1, 1}, is_wide_memory(t, index), 1, at);
        break;
    case 0x42:
        push_constant(t, (uint64_t)read_signed(t));
        break;
    case 0x43:
        push_constant(t, read_bits(t, 4));
        break;
    case 0x44:
        push_constant(t, read_bits(t, 8));
        break;
    case 0xd0:
        (void)read_signed(t);
        push_constant(t, 0);
        break;
    case 0xd2:
        index = read_index(t);
        begin_result(t, index < of->imported_function_count ? WJ_OP_REF_FUNC_IMPORTED : WJ_OP_REF_FUNC);
        emit(t, of->func_ref_offsets[index]);
        break;
    case PREFIX:
        prefixed(t, at);
        break;
    case VECTOR_PREFIX:
        wj_vector_instruction(t, at);
        break;
    case ATOMIC_PREFIX:
        wj_atomic_instruction(t, at);
        break;
    default:
        t->failed = true;
        break;
    }
}

/* How the immediates of an instruction are encoded (wj_opcodes.h); NULL: it is none that is interpreted. Of a prefixed one
 * `t` is behind the prefix. */
static const char *immediates_of(const translator *t, uint8_t opcode)
{
    static const char *const all[256] = {
#define WJ_X(opcode, immediates) [opcode] = (immediates),
        WJ_OPCODES(WJ_X)
    };
    static const char *const prefixed[256] = {
        WJ_PREFIXED_OPCODES(WJ_X)
    };
    enum { COUNT = 512 };
    static const char *const vectors[COUNT] = {
        WJ_VECTOR_OPCODES(WJ_X)
    };
    static const char *const atomics[256] = {
        WJ_ATOMIC_OPCODES(WJ_X)
#undef WJ_X
    };
    if (opcode < PREFIX || opcode > ATOMIC_PREFIX) {
        return all[opcode];
    }
    translator reader = *t;
    uint64_t number = read_unsigned(&reader);
    if (opcode == VECTOR_PREFIX) {
        return number < COUNT ? vectors[number] : NULL;
    }
    return number < 256 ? (opcode == PREFIX ? prefixed : atomics)[number] : NULL;
}

/* Passes over an instruction in unreachable code. */
static void skip(translator *t, uint8_t opcode, const char *immediates)
{
    if (opcode >= PREFIX && opcode <= ATOMIC_PREFIX) {
        (void)read_index(t);
    }
    for (; *immediates != 0 && !t->failed; immediates++) {
        switch (*immediates) {
        case 'x':
        case 'h':
            (void)read_unsigned(t); /* of the same length if it is signed */
            break;
        case '4':
            t->at += 4;
            break;
        case '8':
            t->at += 8;
            break;
        case '1':
            t->at++;
            break;
        case 'w':
            t->at += 16;
            break;
        case 'm':
            (void)wj_memory_argument(t);
            break;
        case 'l':
            for (uint32_t count = read_index(t) + 1; count != 0; count--) {
                (void)read_index(t);
            }
            break;
        case 't':
            for (uint32_t count = read_index(t); count != 0; count--) {
                (void)read_value_type(t);
            }
            break;
        default: /* block types are read by wj_begin_block */
            t->failed = true;
            break;
        }
    }
}

/* Half of all instructions. None makes words of its own that are charged for, so fuel may be counted behind it. */
static inline bool frequent(translator *t, uint8_t opcode)
{
    uint32_t place;
    switch (opcode) {
    case 0x20:
        push_local(t, place_of_local(t, read_index(t)));
        return true;
    case 0x21:
        set_local(t, place_of_local(t, read_index(t)));
        return true;
    case 0x22:
        place = place_of_local(t, read_index(t));
        set_local(t, place);
        push_local(t, place);
        return true;
    case 0x41:
        push_constant(t, (uint32_t)read_signed(t));
        return true;
    default:
        return false;
    }
}

static bool takes_fuel(uint8_t opcode)
{
    switch (opcode) {
    WJ_FREE_OF_FUEL:
        return false;
    default:
        return true;
    }
}

static bool makes_nans(uint8_t opcode)
{
    switch (opcode) {
    WJ_MAKES_NANS:
        return true;
    default:
        return false;
    }
}

/* The result that was just made; it may be put into a local instead. */
static void make_canonical(translator *t, uint8_t opcode)
{
    uint32_t own = own_slot(t, t->height - 1);
    uint32_t position = (uint32_t)t->count;
    begin(t, opcode >= FIRST_F64_ARITHMETIC && opcode != F32_DEMOTE ? WJ_OP_CANONICAL_64 : WJ_OP_CANONICAL_32);
    emit(t, own);
    emit(t, own);
    t->last = position;
}

static void instruction(translator *t)
{
    const uint8_t *at = t->at;
    uint8_t opcode = *t->at++;
    row found = rows[opcode];
    if (LIKELY(t->live && found.form != OTHER)) {
        t->cost += t->of->plan.counts_fuel != 0 && takes_fuel(opcode);
        regular(t, found, at);
        if (UNLIKELY(t->of->plan.canonical_nans != 0) && makes_nans(opcode)) {
            make_canonical(t, opcode);
        }
        return;
    }
    if (LIKELY(t->live) && frequent(t, opcode)) {
        t->cost += t->of->plan.counts_fuel != 0 && takes_fuel(opcode);
        return;
    }
    const char *immediates = immediates_of(t, opcode);
    if (immediates == NULL) {
        t->failed = true;
        return;
    }
    if (t->of->plan.counts_fuel != 0 && t->live && takes_fuel(opcode)) {
        t->cost++;
    }
    switch (opcode) {
    case 0x02:
    case 0x03:
    case 0x04:
        wj_begin_block(t, opcode, at);
        return;
    case 0x05:
        wj_begin_else(t);
        return;
    case 0x0b:
        wj_end_block(t);
        return;
    default:
        break;
    }
    if (!t->live) {
        skip(t, opcode, immediates);
        return;
    }
    other(t, opcode, at);
}

/* So many locals more, behind the others; of functions without vectors nothing is kept of each. */
static void add_locals(translator *t, uint32_t first, uint32_t count, bool are_vectors)
{
    bool are_first = t->local_slots == NULL;
    if (are_first && !are_vectors) {
        t->local_count += count;
        return;
    }
    size_t begun = are_first ? 0 : first;
    t->local_slots = reserved(t, t->local_slots, begun, &t->local_room, first - begun + count, sizeof *t->local_slots);
    if (t->failed) {
        return;
    }
    for (uint32_t i = 0; i < first && are_first; i++) {
        t->local_slots[i] = i;
    }
    for (uint32_t i = first; i < first + count; i++) {
        t->local_slots[i] = are_vectors ? t->local_count | IS_VECTOR : t->local_count;
        t->local_count += are_vectors ? 2 : 1;
    }
}

/* The parameters, and the declarations of locals, which are read if there are some. */
static void locals(translator *t, bool declares)
{
    uint32_t count = t->signature->param_count;
    for (uint32_t i = 0; i < count; i++) {
        add_locals(t, i, 1, t->signature->places[i].letter == WJ_LETTER_V128);
    }
    uint32_t groups = declares ? read_index(t) : 0;
    for (uint32_t i = 0; i < groups; i++) {
        uint32_t more = read_index(t);
        add_locals(t, count, more, read_value_type(t) == WJ_TYPE_V128);
        count += more;
    }
}

/* For whatever one instruction pushes, but for what has a type (push_places). */
static inline void make_room(translator *t)
{
    enum { MOST_PUSHED = 16, FRAMES = 8 };
    if (LIKELY(t->height + MOST_PUSHED <= t->operand_room && t->frame_count + FRAMES <= t->frame_room)) {
        return;
    }
    reserve_operands(t, MOST_PUSHED);
    t->frames = reserved(t, t->frames, t->frame_count, &t->frame_room, FRAMES, sizeof *t->frames);
}

static wj_body_words *finish_words(const translator *t)
{
    wj_body_words of = {(uint32_t)t->count, (uint32_t)t->offset_count};
    wj_body_words *made = malloc(wj_body_words_bytes(&of));
    if (made == NULL) {
        return NULL;
    }
    *made = of;
    memcpy(made->words, t->words, t->count * sizeof(uint32_t));
    if (t->offset_count != 0) {
        memcpy(made->words + t->count + t->count % 2, t->offsets, t->offset_count * sizeof *t->offsets);
    }
    return made;
}

static wj_interpreted *finish(const translator *t, wj_body_words *words, uint32_t function_index, uint32_t instruction_count)
{
    wj_interpreted *made = malloc(sizeof *made);
    if (made == NULL) {
        free(words);
        return NULL;
    }
    *made = (wj_interpreted){.function_index = function_index, .local_count = t->local_count, .fresh = words};
    /* Behind the locals, where a loop begins without operands, goes what is left of the fuel (`abi.py`: loop entries). */
    bool is_handed = t->of->plan.counts_fuel != 0 && t->most_height == 0;
    made->slot_count = t->local_count + t->most_height + is_handed;
    made->instruction_count = instruction_count;
    made->budget = t->of->plan.budget;
    made->signature = t->signature;
    return made;
}

/* A look at what may end the call that a translation is made for: that of the largest body takes a tenth of a second. */
static void look(translator *t)
{
    wj_thread *thread = &wj_this_thread;
    if (thread->pending == 0 || thread->entry == NULL) {
        return;
    }
    void *fp = __builtin_frame_address(0);
    t->raised = (thread->pending & WJ_PENDING_SIGNALS) != 0 && !wj_python_signals(thread, thread->entry, 0, (uintptr_t)fp);
    t->ended = !t->raised && wj_trap_is_pending(thread);
    t->failed = t->failed || t->raised || t->ended;
}

/* Where each local is newest: nowhere. */
static void make_locals(translator *t)
{
    t->newest = malloc((t->local_count + 1) * sizeof *t->newest);
    t->failed = t->failed || t->newest == NULL;
    for (uint32_t i = 0; i < t->local_count && t->newest != NULL; i++) {
        t->newest[i] = NO_WORD;
    }
}

/* The words of a function, and what it is, too, if `function` is not NULL. */
static wj_body_words *translate(const wj_interpreter *interpreter, uint32_t position, wj_interpreted **function)
{
    const wj_interpreter_plan *plan = &interpreter->plan;
    uint32_t function_index = plan->imported_function_count + position;
    const wj_signature *signature = plan->types[plan->function_types[function_index]];
    if (signature == NULL || plan->bodies[position] == 0) {
        return NULL;
    }
    translator t = {.of = interpreter, .at = plan->wasm + plan->bodies[position]};
    t.signature = signature;
    t.live = true;
    t.last = NO_WORD;
    locals(&t, position < plan->first_constant);
    make_locals(&t);
    make_room(&t);
    if (!t.failed) {
        wj_push_frame(&t, BODY, 0, signature->result_slots)->type = signature;
        begin_metered(&t, WJ_OP_FUEL_BEGIN, plan->wasm + plan->bodies[position]);
    }
    uint32_t steps = 0;
    while (!t.failed && t.frame_count != 0) {
        if (++steps % LOOK_STEPS == 0) {
            look(&t);
        }
        make_room(&t);
        if (!t.failed) {
            instruction(&t);
        }
    }
    wj_body_words *made = t.failed ? NULL : finish_words(&t);
    if (made != NULL && function != NULL) {
        *function = finish(&t, made, function_index, steps);
    }
    free(t.newest);
    free(t.local_slots);
    free(t.operands);
    free(t.frames);
    free(t.words);
    free(t.offsets);
    if (t.raised) {
        wj_unwind(wj_this_thread.entry, WJ_STATUS_EXCEPTION);
    } else if (t.ended) {
        wj_trap(WJ_TRAP_INTERRUPT, 0);
    }
    return made;
}

wj_interpreted *wj_translate(const wj_interpreter *interpreter, uint32_t position)
{
    wj_interpreted *made = NULL; /* it has the words */
    (void)translate(interpreter, position, &made);
    return made;
}

wj_body_words *wj_translate_again(const wj_interpreter *interpreter, uint32_t position)
{
    return translate(interpreter, position, NULL);
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
