/* From the body of a function to the interpreter's words, in one pass.
 *
 * Bodies are valid: every immediate is well-formed, every index in range, and the operand stack has what is popped.
 * An operand need not be in its own slot: a `local.get` or a constant makes no code before something uses it. Where
 * control flow joins, every operand is in its own slot, `own_slot`. */
/* The static analyser does not know that bodies are valid, and takes the operand stack and the frames to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
#include "interpret.h"

#include <stdlib.h>
#include <string.h>

enum { I32 = 0x7f, F32 = 0x7d, EMPTY_TYPE = 0x40 };
enum { BLOCK = 0x02, LOOP = 0x03, IF = 0x04, BODY = 0 };
enum { NO_WORD = UINT32_MAX };
enum { MOST_WORDS = 1 << 26, MOST_RESULTS = 1000 }; /* results: of a block or function (signature.c) */

typedef struct {
    bool is_constant;
    uint32_t slot;
    uint64_t value;
} operand;

typedef struct {
    uint32_t opcode;
    uint32_t param_count, result_count;
    uint32_t height;      /* of the operand stack, below the parameters */
    uint32_t target;      /* of branches to a loop */
    uint32_t fixups;      /* the last word that waits for the label; it holds the one before; NO_WORD: none */
    uint32_t else_fixup;
    bool dead; /* stands in unreachable code */
} frame;

typedef struct {
    const wj_interpreter *of;
    const uint8_t *at;
    uint32_t local_count;
    uint32_t result_count;
    uint32_t height, most_height;
    bool live;
    bool failed; /* no memory, or something that is compiled only */
    operand *operands;
    size_t operand_room;
    frame *frames;
    size_t frame_count, frame_room;
    uint32_t *words;
    size_t count, room;
    uint32_t (*offsets)[2];
    size_t offset_count, offset_room;
    uint32_t last;        /* the instruction that was emitted last, if its first operand is its result; else NO_WORD */
} translator;

/* ---- reading ---- */

static uint64_t read_unsigned(translator *t)
{
    uint64_t value = 0;
    for (uint32_t shift = 0;; shift += 7) {
        uint8_t byte = *t->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
}

static uint32_t read_index(translator *t)
{
    return (uint32_t)read_unsigned(t);
}

static int64_t read_signed(translator *t)
{
    uint64_t value = 0;
    uint32_t shift = 0;
    uint8_t byte;
    do {
        byte = *t->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte >= 0x80);
    if ((byte & 0x40) != 0 && shift < 64) {
        value |= ~UINT64_C(0) << shift;
    }
    return (int64_t)value;
}

/* ---- writing ---- */

/* The array, with zeroed room for so many more; as it was, and the translation failed, if there is no memory. */
static void *reserved(translator *t, void *array, size_t count, size_t *room, size_t more, size_t item_bytes)
{
    if (count + more <= *room) {
        return array;
    }
    size_t wanted = 2 * *room + more;
    uint8_t *grown = realloc(array, wanted * item_bytes);
    if (grown == NULL) {
        t->failed = true;
        return array;
    }
    memset(grown + *room * item_bytes, 0, (wanted - *room) * item_bytes);
    *room = wanted;
    return grown;
}

static void emit(translator *t, uint32_t word)
{
    t->words = reserved(t, t->words, t->count, &t->room, 64, sizeof *t->words);
    t->failed = t->failed || t->count >= MOST_WORDS;
    if (!t->failed) {
        t->words[t->count++] = word;
    }
}

static void begin(translator *t, uint32_t operation)
{
    t->last = NO_WORD;
    emit(t, operation);
}

/* The instruction that comes next may trap or call. */
static void site(translator *t, const uint8_t *at)
{
    t->offsets = reserved(t, t->offsets, t->offset_count, &t->offset_room, 1, sizeof *t->offsets);
    if (!t->failed) {
        t->offsets[t->offset_count][0] = (uint32_t)t->count;
        t->offsets[t->offset_count++][1] = (uint32_t)(at - t->of->plan.wasm);
    }
}

/* ---- the operand stack ---- */

static uint32_t own_slot(const translator *t, uint32_t position)
{
    return t->local_count + position;
}

/* There is room: see wj_translate. */
static operand *push(translator *t)
{
    operand *made = &t->operands[t->height];
    *made = (operand){.slot = own_slot(t, t->height)};
    t->height++;
    t->most_height = t->height > t->most_height ? t->height : t->most_height;
    return made;
}

static void push_many(translator *t, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        (void)push(t);
    }
}

static void write_constant(translator *t, uint32_t slot, uint64_t value)
{
    begin(t, value <= UINT32_MAX ? WJ_OP_CONSTANT : WJ_OP_CONSTANT_64);
    emit(t, slot);
    emit(t, (uint32_t)value);
    if (value > UINT32_MAX) {
        emit(t, (uint32_t)(value >> 32));
    }
}

static void write_to(translator *t, uint32_t slot, const operand *from)
{
    if (from->is_constant) {
        write_constant(t, slot, from->value);
    } else if (from->slot != slot) {
        begin(t, WJ_OP_COPY);
        emit(t, slot);
        emit(t, from->slot);
    }
}

/* Puts the operand at a position into its own slot. */
static void settle(translator *t, uint32_t position)
{
    operand *at = &t->operands[position];
    write_to(t, own_slot(t, position), at);
    *at = (operand){.slot = own_slot(t, position)};
}

static void settle_from(translator *t, uint32_t position)
{
    for (; position < t->height && !t->failed; position++) {
        settle(t, position);
    }
}

static const operand *pop(translator *t)
{
    return &t->operands[--t->height];
}

/* Pops an operand into some slot. */
static uint32_t pop_slot(translator *t)
{
    uint32_t position = --t->height;
    if (t->operands[position].is_constant) {
        settle(t, position);
    }
    return t->operands[position].slot;
}

/* Pops a few operands, the last of which is on top; their slots in order. */
static void pop_slots(translator *t, uint32_t count, uint32_t *slots)
{
    t->height -= count;
    for (uint32_t i = 0; i < count; i++) {
        if (t->operands[t->height + i].is_constant) {
            settle(t, t->height + i);
        }
        slots[i] = t->operands[t->height + i].slot;
    }
}

/* Begins an instruction whose first operand is the slot of its result, which it pushes; that word comes first. */
static void begin_result(translator *t, uint32_t operation)
{
    uint32_t position = (uint32_t)t->count;
    begin(t, operation);
    emit(t, push(t)->slot);
    t->last = position;
}

/* Before local `index` changes: who refers to it gets the present value. True if somebody did. */
static bool detach(translator *t, uint32_t index)
{
    bool any = false;
    for (uint32_t i = 0; i < t->height; i++) {
        if (!t->operands[i].is_constant && t->operands[i].slot == index) {
            settle(t, i);
            any = true;
        }
    }
    return any;
}

static void set_local(translator *t, uint32_t index)
{
    operand value = *pop(t);
    uint32_t own = own_slot(t, t->height);
    uint32_t last = t->last;
    if (value.slot == index && !value.is_constant) {
        return;
    }
    if (!detach(t, index) && last != NO_WORD && !value.is_constant && value.slot == own && t->words[last + 1] == own) {
        t->words[last + 1] = index; /* straight into the local */
    } else {
        write_to(t, index, &value);
    }
    t->last = NO_WORD;
}

/* ---- control flow ---- */

static frame *push_frame(translator *t, uint32_t opcode, uint32_t param_count, uint32_t result_count)
{
    frame *made = &t->frames[t->frame_count++];
    *made = (frame){opcode, param_count, result_count, t->height - param_count, 0, NO_WORD, NO_WORD, !t->live};
    return made;
}

static uint32_t arity_of(const frame *f)
{
    return f->opcode == LOOP ? f->param_count : f->result_count;
}

/* A word that holds the target of a branch to the frame's label. */
static void emit_target(translator *t, frame *f)
{
    if (f->opcode == LOOP) {
        emit(t, f->target);
        return;
    }
    uint32_t before = f->fixups;
    f->fixups = (uint32_t)t->count;
    emit(t, before);
}

static void fix(translator *t, uint32_t fixups)
{
    while (fixups != NO_WORD && !t->failed) {
        uint32_t before = t->words[fixups];
        t->words[fixups] = (uint32_t)t->count;
        fixups = before;
    }
    t->last = NO_WORD; /* what comes next is reached from elsewhere too */
}

/* Whether the operands that a branch carries have to be moved. */
static bool has_moves(const translator *t, const frame *f)
{
    uint32_t arity = arity_of(f);
    for (uint32_t i = 0; i < arity; i++) {
        const operand *from = &t->operands[t->height - arity + i];
        if (from->is_constant || from->slot != own_slot(t, f->height + i)) {
            return true;
        }
    }
    return false;
}

/* In ascending order: each goes to its own place or below, so that none overwrites what is still to be moved. */
static void move_operands(translator *t, const frame *f)
{
    uint32_t arity = arity_of(f);
    for (uint32_t i = 0; i < arity; i++) {
        write_to(t, own_slot(t, f->height + i), &t->operands[t->height - arity + i]);
    }
}

static void branch(translator *t, frame *f)
{
    move_operands(t, f);
    begin(t, WJ_OP_BRANCH);
    emit_target(t, f);
}

/* Integer operations are numbered as their rows stand: comparisons first, divisions last. `operation` counts from the
 * first of them. */
enum { COMPARISONS = 20, FIRST_WIDE = WJ_OP_I64_ADD - WJ_OP_I32_EQ, FIRST_DIVISION = WJ_OP_I32_DIV_S - WJ_OP_I32_EQ };

static bool divides(uint32_t operation)
{
    return operation >= FIRST_DIVISION;
}

static bool has_wide_result(uint32_t operation)
{
    return (operation >= FIRST_WIDE && operation < FIRST_DIVISION) || operation >= WJ_OP_I64_DIV_S - WJ_OP_I32_EQ;
}

static bool has_wide_operands(uint32_t operation)
{
    return has_wide_result(operation) ||
           (operation >= WJ_OP_I64_EQ - WJ_OP_I32_EQ && operation < WJ_OP_I32_ADD - WJ_OP_I32_EQ);
}

/* The comparison that holds where the i-th does not. */
static uint32_t inverse(uint32_t i)
{
    static const uint8_t inverses[] = {1, 0, 8, 9, 6, 7, 4, 5, 2, 3};
    return i / 10 * 10 + inverses[i % 10];
}

/* Pops a condition; emits a branch for where it holds, or does not, up to its target. */
static void emit_condition(translator *t, bool holds)
{
    uint32_t last = t->last;
    uint32_t own = own_slot(t, t->height - 1);
    const operand *top = &t->operands[t->height - 1];
    if (last == NO_WORD || top->is_constant || top->slot != own || t->words[last + 1] != own) {
        uint32_t slot = pop_slot(t);
        begin(t, holds ? WJ_OP_BRANCH_IF : WJ_OP_BRANCH_UNLESS);
        emit(t, slot);
        return;
    }
    /* The result of the last instruction, which nothing else uses: both become one. */
    uint32_t first = t->words[last] >= WJ_OP_I32_EQ_IMMEDIATE ? WJ_OP_I32_EQ_IMMEDIATE : WJ_OP_I32_EQ;
    uint32_t branches = first == WJ_OP_I32_EQ ? WJ_OP_BRANCH_I32_EQ : WJ_OP_BRANCH_I32_EQ_IMMEDIATE;
    uint32_t operation = t->words[last] - first;
    uint32_t slot = t->words[last + 2];
    uint32_t second = 0;
    if (t->words[last] == WJ_OP_I32_EQZ) {
        branches = holds ? WJ_OP_BRANCH_UNLESS : WJ_OP_BRANCH_IF;
        operation = NO_WORD;
    } else if (t->words[last] < WJ_OP_I32_EQ || has_wide_result(operation) || (!holds && operation >= COMPARISONS)) {
        slot = pop_slot(t);
        begin(t, holds ? WJ_OP_BRANCH_IF : WJ_OP_BRANCH_UNLESS);
        emit(t, slot);
        return;
    } else {
        second = t->words[last + 3];
        branches += holds ? operation : inverse(operation);
    }
    t->height--;
    t->count = last; /* its site, if it has one, is the same */
    begin(t, branches);
    emit(t, slot);
    if (operation != NO_WORD) {
        emit(t, second);
    }
}

static void branch_if(translator *t, frame *f)
{
    t->height--;
    bool moves = has_moves(t, f);
    t->height++;
    emit_condition(t, !moves);
    if (!moves) {
        emit_target(t, f);
        t->last = NO_WORD;
        return;
    }
    uint32_t skip = (uint32_t)t->count;
    emit(t, 0);
    branch(t, f);
    if (!t->failed) {
        t->words[skip] = (uint32_t)t->count;
    }
    t->last = NO_WORD;
}

static void branch_table(translator *t)
{
    uint32_t count = read_index(t);
    uint32_t index = pop_slot(t);
    begin(t, WJ_OP_BRANCH_TABLE);
    emit(t, index);
    emit(t, count);
    uint32_t first = (uint32_t)t->count;
    const uint8_t *labels = t->at;
    for (uint32_t i = 0; i <= count && !t->failed; i++) {
        frame *f = &t->frames[t->frame_count - 1 - read_index(t)];
        if (has_moves(t, f)) {
            emit(t, 0);
        } else {
            emit_target(t, f);
        }
    }
    const uint8_t *end = t->at;
    t->at = labels;
    for (uint32_t i = 0; i <= count && !t->failed; i++) { /* those that move operands jump to code of their own */
        frame *f = &t->frames[t->frame_count - 1 - read_index(t)];
        if (has_moves(t, f)) {
            t->words[first + i] = (uint32_t)t->count;
            branch(t, f);
        }
    }
    t->at = end;
}

static void emit_return(translator *t)
{
    uint32_t first = t->height - t->result_count;
    uint32_t slot = 0;
    if (t->result_count == 1) {
        uint32_t height = t->height;
        slot = pop_slot(t);
        t->height = height;
    } else if (t->result_count != 0) {
        settle_from(t, first);
        slot = own_slot(t, first);
    }
    begin(t, WJ_OP_RETURN);
    emit(t, slot);
}

static void block_type(translator *t, uint32_t *param_count, uint32_t *result_count)
{
    uint8_t code = *t->at;
    if ((code & 0xc0) == 0x40) {
        *param_count = 0;
        *result_count = code != EMPTY_TYPE;
        t->at++;
        if (code == 0x63 || code == 0x7b) { /* (ref null ...) has another byte; v128 */
            t->failed = t->failed || code == 0x7b;
            t->at += code == 0x63;
        }
        return;
    }
    const wj_signature *type = t->of->plan.types[(uint32_t)read_signed(t)];
    if (type == NULL) {
        t->failed = true;
        *param_count = 0;
        *result_count = 0;
        return;
    }
    *param_count = type->param_count;
    *result_count = type->result_count;
}

static void begin_block(translator *t, uint8_t opcode, const uint8_t *at)
{
    uint32_t params;
    uint32_t results;
    block_type(t, &params, &results);
    if (!t->live || t->failed) {
        (void)push_frame(t, opcode, 0, 0);
        return;
    }
    uint32_t else_fixup = NO_WORD;
    if (opcode == IF) {
        for (uint32_t i = 0; i + 1 < t->height; i++) {
            settle(t, i);
        }
        emit_condition(t, false);
        else_fixup = (uint32_t)t->count;
        emit(t, NO_WORD);
        t->last = NO_WORD;
    } else {
        settle_from(t, 0);
    }
    frame *made = push_frame(t, opcode, params, results);
    made->else_fixup = else_fixup;
    t->last = NO_WORD;
    if (opcode == LOOP) {
        made->target = (uint32_t)t->count;
        begin(t, WJ_OP_LOOP);
        emit(t, t->height == 0 ? (uint32_t)(at - t->of->plan.wasm) : 0);
    }
}

static void begin_else(translator *t)
{
    frame *f = &t->frames[t->frame_count - 1];
    if (f->dead) {
        return;
    }
    if (t->live) {
        branch(t, f);
    }
    fix(t, f->else_fixup);
    f->else_fixup = NO_WORD;
    t->height = f->height;
    push_many(t, f->param_count);
    t->live = true;
}

static void end_block(translator *t)
{
    const frame *f = &t->frames[t->frame_count - 1];
    if (f->dead) {
        t->frame_count--;
        return;
    }
    if (t->live) {
        move_operands(t, &(frame){.result_count = f->result_count, .height = f->height});
    }
    if (f->else_fixup != NO_WORD) { /* no else: the parameters, which are in their slots, are the results */
        fix(t, f->else_fixup);
    }
    fix(t, f->fixups);
    t->height = f->height;
    push_many(t, f->result_count);
    t->frame_count--;
    t->live = true; /* if the label cannot be reached either, what follows is translated for nothing */
    if (t->frame_count == 0) {
        emit_return(t);
    }
}

/* ---- instructions ---- */

typedef struct {
    enum { OTHER, UNARY, FLOAT_BINARY, INTEGER_BINARY, LOAD, STORE } form;
    uint32_t operation;
} row;

static row row_of(uint32_t opcode)
{
    switch (opcode) {
#define WJ_X(opcode, name, ...) \
    case opcode:                \
        return (row){UNARY, WJ_OP_##name};
        WJ_UNARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) \
    case opcode:                \
        return (row){FLOAT_BINARY, WJ_OP_##name};
        WJ_FLOAT_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) \
    case opcode:                \
        return (row){INTEGER_BINARY, WJ_OP_##name};
        WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) \
    case opcode:                \
        return (row){LOAD, WJ_OP_##name};
        WJ_LOAD_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) \
    case opcode:                \
        return (row){STORE, WJ_OP_##name};
        WJ_STORE_ROWS(WJ_X)
#undef WJ_X
    default:
        return (row){OTHER, 0};
    }
}

/* The offset of a memory argument. Only memory 0 is interpreted. */
static uint32_t memory_argument(translator *t)
{
    uint32_t flags = read_index(t);
    t->failed = t->failed || (flags & 0x40) != 0;
    return (uint32_t)read_unsigned(t);
}

static void binary(translator *t, uint32_t operation, bool is_integer, const uint8_t *at)
{
    const operand *top = &t->operands[t->height - 1];
    uint32_t number = operation - WJ_OP_I32_EQ;
    bool fits = top->value <= INT32_MAX || top->value >= (uint64_t)INT32_MIN;
    if (is_integer && top->is_constant && (fits || !has_wide_operands(number))) {
        uint32_t immediate = (uint32_t)top->value;
        t->height--;
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
    uint32_t offset;
    switch (found.form) {
    case UNARY:
        slots[0] = pop_slot(t);
        site(t, at);
        begin_result(t, found.operation);
        emit(t, slots[0]);
        break;
    case LOAD:
        offset = memory_argument(t);
        slots[0] = pop_slot(t);
        site(t, at);
        begin_result(t, found.operation);
        emit(t, slots[0]);
        emit(t, offset);
        break;
    case STORE:
        offset = memory_argument(t);
        pop_slots(t, 2, slots);
        site(t, at);
        begin(t, found.operation);
        emit(t, slots[0]);
        emit(t, slots[1]);
        emit(t, offset);
        break;
    default:
        binary(t, found.operation, found.form == INTEGER_BINARY, at);
        break;
    }
}

static void call(translator *t, uint32_t operation, const wj_signature *type, uint32_t callee, uint32_t table, uint32_t index,
                 const uint8_t *at)
{
    if (type == NULL) {
        t->failed = true;
        return;
    }
    uint32_t first = t->height - type->param_count;
    settle_from(t, first);
    site(t, at);
    begin(t, operation);
    emit(t, callee);
    if (operation == WJ_OP_CALL_INDIRECT) {
        emit(t, table);
        emit(t, index);
    }
    emit(t, own_slot(t, first));
    t->height = first;
    push_many(t, type->result_count);
}

static void global(translator *t, uint32_t index, bool sets)
{
    bool imported = index < t->of->plan.imported_global_count;
    uint8_t type = t->of->plan.global_types[index];
    bool narrow = type == I32 || type == F32;
    uint32_t offset = imported ? t->of->plan.imported_globals_offset + 8 * index
                               : t->of->plan.globals_offset + WJ_GLOBAL_BYTES * (index - t->of->plan.imported_global_count);
    uint32_t operation = imported ? WJ_OP_IMPORTED_GLOBAL_GET_32 : WJ_OP_GLOBAL_GET_32;
    operation += (sets ? 2 : 0) + (narrow ? 0 : 1);
    t->failed = t->failed || type == 0x7b;
    if (sets) {
        uint32_t slot = pop_slot(t);
        begin(t, operation);
        emit(t, slot);
    } else {
        begin_result(t, operation);
    }
    emit(t, offset);
}

static void push_constant(translator *t, uint64_t value)
{
    operand *made = push(t);
    made->is_constant = true;
    made->value = value;
}

/* An instruction with immediates and a number of operands, in the order of the operation's; it may trap. */
static void with_operands(translator *t, uint32_t operation, bool has_result, const uint32_t *immediates, uint32_t immediate_count,
                          uint32_t operand_count, const uint8_t *at)
{
    uint32_t slots[3];
    pop_slots(t, operand_count, slots);
    site(t, at);
    if (has_result) {
        begin_result(t, operation);
    } else {
        begin(t, operation);
    }
    for (uint32_t i = 0; i < immediate_count; i++) {
        emit(t, immediates[i]);
    }
    for (uint32_t i = 0; i < operand_count; i++) {
        emit(t, slots[i]);
    }
}

static void prefixed(translator *t, const uint8_t *at)
{
    uint32_t number = read_index(t);
    row found = row_of(0xfc00 + number);
    if (found.form != OTHER) {
        regular(t, found, at);
        return;
    }
    uint32_t first = number <= 17 ? read_index(t) : 0;
    uint32_t second = number == 8 || number == 10 || number == 12 || number == 14 ? read_index(t) : 0;
    switch (number) {
    case 8: /* memory.init: the segment comes first */
        with_operands(t, WJ_OP_MEMORY_INIT, false, (uint32_t[]){second, first}, 2, 3, at);
        break;
    case 9:
        with_operands(t, WJ_OP_DATA_DROP, false, &first, 1, 0, at);
        break;
    case 10:
        with_operands(t, WJ_OP_MEMORY_COPY, false, (uint32_t[]){first, second}, 2, 3, at);
        break;
    case 11:
        with_operands(t, WJ_OP_MEMORY_FILL, false, &first, 1, 3, at);
        break;
    case 12:
        with_operands(t, WJ_OP_TABLE_INIT, false, (uint32_t[]){second, first}, 2, 3, at);
        break;
    case 13:
        with_operands(t, WJ_OP_ELEM_DROP, false, &first, 1, 0, at);
        break;
    case 14:
        with_operands(t, WJ_OP_TABLE_COPY, false, (uint32_t[]){first, second}, 2, 3, at);
        break;
    case 15:
        with_operands(t, WJ_OP_TABLE_GROW, true, &first, 1, 2, at);
        break;
    case 16:
        with_operands(t, WJ_OP_TABLE_SIZE, true, &first, 1, 0, at);
        break;
    case 17:
        with_operands(t, WJ_OP_TABLE_FILL, false, &first, 1, 3, at);
        break;
    default: /* wide arithmetic */
        t->failed = true;
        break;
    }
}

static void select_operands(translator *t)
{
    uint32_t slots[3];
    pop_slots(t, 3, slots);
    begin_result(t, WJ_OP_SELECT);
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

/* After an instruction that does not go on to the next. */
static void end_of_path(translator *t)
{
    t->live = false;
    t->height = t->frames[t->frame_count - 1].height;
    t->last = NO_WORD;
}

static void other(translator *t, uint8_t opcode, const uint8_t *at)
{
    const wj_interpreter_plan *of = &t->of->plan;
    uint32_t index;
    uint32_t table;
    switch (opcode) {
    case 0x00:
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
        branch(t, &t->frames[t->frame_count - 1 - read_index(t)]);
        end_of_path(t);
        break;
    case 0x0d:
        branch_if(t, &t->frames[t->frame_count - 1 - read_index(t)]);
        break;
    case 0x0e:
        branch_table(t);
        end_of_path(t);
        break;
    case 0x0f:
        emit_return(t);
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
        call(t, WJ_OP_CALL_INDIRECT, of->types[index], index, table, pop_slot(t), at);
        break;
    case 0x1a:
        t->height--;
        t->last = NO_WORD;
        break;
    case 0x1c: /* select with types, of which there is one */
        (void)read_index(t);
        if (*t->at++ == 0x63) {
            t->at++;
        }
        select_operands(t);
        break;
    case 0x1b:
        select_operands(t);
        break;
    case 0x20: {
        operand *made = push(t);
        made->slot = read_index(t);
        break;
    }
    case 0x21:
        set_local(t, read_index(t));
        break;
    case 0x22:
        index = read_index(t);
        set_local(t, index);
        push(t)->slot = index;
        break;
    case 0x23:
        global(t, read_index(t), false);
        break;
    case 0x24:
        global(t, read_index(t), true);
        break;
    case 0x25:
        index = read_index(t);
        with_operands(t, WJ_OP_TABLE_GET, true, &index, 1, 1, at);
        break;
    case 0x26:
        index = read_index(t);
        with_operands(t, WJ_OP_TABLE_SET, false, &index, 1, 2, at);
        break;
    case 0x3f:
        index = read_index(t);
        with_operands(t, WJ_OP_MEMORY_SIZE, true, &index, 1, 0, at);
        break;
    case 0x40:
        index = read_index(t);
        with_operands(t, WJ_OP_MEMORY_GROW, true, &index, 1, 1, at);
        break;
    case 0x41:
        push_constant(t, (uint32_t)read_signed(t));
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
    case 0xfc:
        prefixed(t, at);
        break;
    default:
        t->failed = true;
        break;
    }
}

/* Passes over an instruction in unreachable code. */
static void skip(translator *t, uint8_t opcode)
{
    uint32_t count;
    switch (opcode) {
    case 0x0c:
    case 0x0d:
    case 0x10:
    case 0x20:
    case 0x21:
    case 0x22:
    case 0x23:
    case 0x24:
    case 0x25:
    case 0x26:
    case 0x3f:
    case 0x40:
    case 0x41:
    case 0x42:
    case 0xd0:
    case 0xd2:
        (void)read_unsigned(t); /* of the same length if it is signed */
        break;
    case 0x0e:
        for (count = read_index(t) + 1; count != 0; count--) {
            (void)read_index(t);
        }
        break;
    case 0x11:
        (void)read_index(t);
        (void)read_index(t);
        break;
    case 0x1c:
        t->failed = t->failed || read_index(t) != 1;
        if (*t->at++ == 0x63) {
            t->at++;
        }
        break;
    case 0x43:
        t->at += 4;
        break;
    case 0x44:
        t->at += 8;
        break;
    case 0xfc:
        count = read_index(t);
        t->failed = t->failed || count > 17;
        if (count >= 8) {
            (void)read_index(t);
        }
        if (count == 8 || count == 10 || count == 12 || count == 14) {
            (void)read_index(t);
        }
        break;
    case 0xfd:
        t->failed = true;
        break;
    default:
        if (opcode >= 0x28 && opcode <= 0x3e) {
            (void)memory_argument(t);
        }
        break;
    }
}

static void instruction(translator *t)
{
    const uint8_t *at = t->at;
    uint8_t opcode = *t->at++;
    switch (opcode) {
    case 0x02:
    case 0x03:
    case 0x04:
        begin_block(t, opcode, at);
        return;
    case 0x05:
        begin_else(t);
        return;
    case 0x0b:
        end_block(t);
        return;
    default:
        break;
    }
    if (!t->live) {
        skip(t, opcode);
        return;
    }
    row found = opcode == 0xfc ? (row){OTHER, 0} : row_of(opcode);
    if (found.form == OTHER) {
        other(t, opcode, at);
    } else {
        regular(t, found, at);
    }
}

/* Reads the declarations of locals: their number, parameters not counted. Not interpreted if one is a vector. */
static void locals(translator *t)
{
    uint32_t groups = read_index(t);
    for (uint32_t i = 0; i < groups; i++) {
        t->local_count += read_index(t);
        uint8_t type = *t->at++;
        if (type == 0x63) {
            t->at++;
        }
        t->failed = t->failed || type == 0x7b;
    }
}

/* For whatever one instruction pushes. */
static void make_room(translator *t)
{
    t->operands = reserved(t, t->operands, t->height, &t->operand_room, MOST_RESULTS + 1, sizeof *t->operands);
    t->frames = reserved(t, t->frames, t->frame_count, &t->frame_room, 1, sizeof *t->frames);
}

static wj_interpreted *finish(const translator *t, uint32_t function_index, const wj_signature *signature)
{
    size_t words_bytes = (t->count + t->count % 2) * sizeof(uint32_t);
    wj_interpreted *made = malloc(sizeof *made + words_bytes + t->offset_count * sizeof *t->offsets);
    if (made == NULL) {
        return NULL;
    }
    uint32_t *offsets = made->words + t->count + t->count % 2;
    memcpy(made->words, t->words, t->count * sizeof(uint32_t));
    if (t->offset_count != 0) {
        memcpy(offsets, t->offsets, t->offset_count * sizeof *t->offsets);
    }
    made->function_index = function_index;
    made->local_count = t->local_count;
    made->slot_count = t->local_count + t->most_height;
    made->word_count = (uint32_t)t->count;
    made->offset_count = (uint32_t)t->offset_count;
    made->budget = t->of->plan.budget;
    made->signature = signature;
    made->offsets = (const uint32_t(*)[2])(const void *)offsets;
    return made;
}

wj_interpreted *wj_translate(const wj_interpreter *interpreter, uint32_t position)
{
    const wj_interpreter_plan *plan = &interpreter->plan;
    uint32_t function_index = plan->imported_function_count + position;
    const wj_signature *signature = plan->types[plan->function_types[function_index]];
    if (signature == NULL) {
        return NULL;
    }
    translator t = {.of = interpreter, .at = plan->wasm + plan->bodies[position]};
    t.local_count = signature->param_count;
    t.result_count = signature->result_count;
    t.live = true;
    t.last = NO_WORD;
    locals(&t);
    make_room(&t);
    if (!t.failed) {
        (void)push_frame(&t, BODY, 0, t.result_count);
    }
    while (!t.failed && t.frame_count != 0) {
        make_room(&t);
        if (!t.failed) {
            instruction(&t);
        }
    }
    wj_interpreted *made = t.failed ? NULL : finish(&t, function_index, signature);
    free(t.operands);
    free(t.frames);
    free(t.words);
    free(t.offsets);
    return made;
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
