/* A translation in progress: reading the body, writing words, and the operand stack.
 *
 * An operand need not be in its own slot: a `local.get` or a constant makes no code before something uses it. Where
 * control flow joins, every operand is in its own slot, `own_slot`. Time and memory are in proportion to the bytes of the
 * body, whatever it is: what an instruction finds to be done for many operands is done once for each. */
#ifndef WJ_INTERPRET_STACK_H
#define WJ_INTERPRET_STACK_H

#include "interpret.h"
#include "leb128.h"

#include <stdlib.h>
#include <string.h>

/* The static analyser does not know that bodies are valid, and takes the operand stack to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

enum { NO_WORD = UINT32_MAX };
#define IS_VECTOR UINT32_C(0x80000000)
enum { MOST_WORDS = 1 << 26 };
enum { MOST_SINGLE_MOVES = 4 };

/* A vector takes two positions: this is what the first has; the second is nothing of its own. */
typedef struct {
    bool is_constant;
    bool is_vector;
    bool is_upper; /* a vector's second position */
    uint32_t slot;
    uint32_t before; /* of a local: the position of the operand below that is the same local, or NO_WORD */
    uint64_t value;
    uint64_t upper; /* of a vector: the upper half of the constant */
} operand;

typedef struct {
    uint32_t opcode;
    uint32_t param_count, result_count; /* slots */
    uint32_t height;      /* of the operand stack, below the parameters */
    uint32_t target;      /* of branches to a loop */
    uint32_t fixups;      /* the last word that waits for the label; it holds the one before; NO_WORD: none */
    uint32_t else_fixup;
    uint32_t table;  /* the last br_table with this label, by its first target, */
    uint32_t mover;  /* and its code that moves the operands there, for all entries of the table */
    bool dead; /* stands in unreachable code */
    bool has_vector;           /* its only result is one; */
    const wj_signature *type;  /* or it has this type, if it is not NULL */
} frame;

typedef struct {
    const wj_interpreter *of;
    const uint8_t *at;
    const wj_signature *signature;
    uint32_t local_count;  /* slots */
    uint32_t *local_slots; /* by local: its slot, or IS_VECTOR and its first; NULL: all locals have one */
    size_t local_room;
    uint32_t height, most_height;
    bool live;
    bool failed; /* no memory, or something that is compiled only */
    bool ended;  /* by an interrupt, */
    bool raised; /* or what a signal handler raised: the GIL is held */
    operand *operands;
    size_t operand_room;
    uint32_t settled;    /* the operands below this position are in their own slots */
    uint32_t *newest;    /* by local: the position of the topmost operand that is it and not in its own slot, or NO_WORD */
    frame *frames;
    size_t frame_count, frame_room;
    uint32_t *words;
    size_t count, room;
    uint32_t (*offsets)[2];
    size_t offset_count, offset_room;
    uint32_t cost;        /* fuel for what was read since the last charge */
    uint32_t last;        /* the instruction that was emitted last, if its first operand is its result; else NO_WORD */
} translator;

/* ---- reading ---- */

static inline uint64_t read_unsigned(translator *t)
{
    return wj_read_unsigned(&t->at);
}

static inline uint32_t read_index(translator *t)
{
    return (uint32_t)read_unsigned(t);
}

static inline int64_t read_signed(translator *t)
{
    return wj_read_signed(&t->at);
}

/* A value type. What is not known is compiled only. */
static inline uint8_t read_value_type(translator *t)
{
    uint8_t type = *t->at++;
    switch (type) {
    case WJ_TYPE_I32:
    case WJ_TYPE_I64:
    case WJ_TYPE_F32:
    case WJ_TYPE_F64:
    case WJ_TYPE_V128:
    case WJ_TYPE_FUNCREF:
    case WJ_TYPE_EXTERNREF:
    case WJ_TYPE_EXNREF:
    case WJ_TYPE_NULLEXNREF:
    case WJ_TYPE_NULLFUNCREF:
    case WJ_TYPE_NULLEXTERNREF:
    case WJ_TYPE_ANYREF:
    case WJ_TYPE_EQREF:
    case WJ_TYPE_I31REF:
    case WJ_TYPE_STRUCTREF:
    case WJ_TYPE_ARRAYREF:
    case WJ_TYPE_NULLREF:
        break;
    case 0x63: /* (ref null ht), (ref ht) */
    case 0x64:
        (void)read_signed(t);
        break;
    default:
        t->failed = true;
        break;
    }
    return type;
}

/* ---- writing ---- */

/* The array, with zeroed room for so many more; as it was, and the translation failed, if there is no memory. */
static inline void *reserved(translator *t, void *array, size_t count, size_t *room, size_t more, size_t item_bytes)
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

/* Room for more words; none, and the translation failed, if there is no memory, or too many are there. */
WJ_INTERNAL void wj_grow_words(translator *t);

static inline void emit(translator *t, uint32_t word)
{
    if (UNLIKELY(t->count == t->room)) {
        wj_grow_words(t);
        if (t->failed) {
            return;
        }
    }
    t->words[t->count++] = word;
}

static inline void begin(translator *t, uint32_t operation)
{
    t->last = NO_WORD;
    emit(t, operation);
}

/* The instruction that comes next may trap or call. */
static inline void site(translator *t, const uint8_t *at)
{
    t->offsets = reserved(t, t->offsets, t->offset_count, &t->offset_room, 1, sizeof *t->offsets);
    if (!t->failed) {
        t->offsets[t->offset_count][0] = (uint32_t)t->count;
        t->offsets[t->offset_count++][1] = (uint32_t)(at - t->of->plan.wasm);
    }
}

/* ---- fuel: charged and told to the store where compiled code does (compile/metering.py), so that a function takes the
 * same in both, also up to a trap ---- */

/* Before control flow goes several ways. In front of the last instruction, which may become part of a branch. */
static inline void charge(translator *t)
{
    if (t->cost == 0) {
        return;
    }
    size_t at = t->last == NO_WORD ? t->count : t->last;
    emit(t, WJ_OP_FUEL);
    emit(t, t->cost);
    if (t->failed) {
        return;
    }
    memmove(&t->words[at + 2], &t->words[at], (t->count - 2 - at) * sizeof *t->words);
    t->words[at] = WJ_OP_FUEL;
    t->words[at + 1] = t->cost;
    t->cost = 0;
    if (t->last != NO_WORD) {
        t->last += 2;
        if (t->offset_count != 0 && t->offsets[t->offset_count - 1][0] == at) {
            t->offsets[t->offset_count - 1][0] += 2;
        }
    }
}

/* Before control leaves the function. */
static inline void save_fuel(translator *t)
{
    if (t->of->plan.counts_fuel != 0) {
        begin(t, WJ_OP_FUEL_SAVE);
        emit(t, t->cost);
        t->cost = 0;
    }
}

/* Once it is back. */
static inline void load_fuel(translator *t)
{
    if (t->of->plan.counts_fuel != 0) {
        begin(t, WJ_OP_FUEL_LOAD);
    }
}

/* The checks where a function or a loop begins, whose site is `at`. */
static inline void begin_metered(translator *t, uint32_t operation, const uint8_t *at)
{
    if (t->of->plan.counts_fuel != 0) {
        site(t, at);
        begin(t, operation);
    }
    if (t->of->plan.looks_at_epochs != 0) {
        site(t, at);
        begin(t, WJ_OP_EPOCH);
    }
}

/* ---- the operand stack ---- */

static inline uint32_t own_slot(const translator *t, uint32_t position)
{
    return t->local_count + position;
}

static inline void push_operand(translator *t, operand made)
{
    t->operands[t->height++] = made; /* there is room: see make_room */
    t->most_height = t->height > t->most_height ? t->height : t->most_height;
}

/* Pushes a result, which will be in its own slot. */
static inline uint32_t push(translator *t)
{
    uint32_t slot = own_slot(t, t->height);
    t->settled += t->settled == t->height;
    push_operand(t, (operand){.slot = slot});
    return slot;
}

/* A vector. Its first slot. */
static inline uint32_t push_vector(translator *t)
{
    uint32_t slot = push(t);
    (void)push(t);
    t->operands[t->height - 2].is_vector = true;
    t->operands[t->height - 1] = (operand){.slot = NO_WORD, .is_upper = true};
    return slot;
}

static inline void reserve_operands(translator *t, size_t count)
{
    t->operands = reserved(t, t->operands, t->height, &t->operand_room, count, sizeof *t->operands);
}

/* As many values as the places are, each in its own slots; not all, if there is no memory. */
static inline void push_places(translator *t, const wj_place *places, uint32_t count)
{
    reserve_operands(t, 2 * (size_t)count);
    for (uint32_t i = 0; i < count && !t->failed; i++) {
        (void)(places[i].letter == WJ_LETTER_V128 ? push_vector(t) : push(t));
    }
}

/* The parameters or results of a block. */
static inline void push_params(translator *t, const frame *f)
{
    if (f->type != NULL) {
        push_places(t, f->type->places, f->type->param_count);
    }
}

static inline void push_results(translator *t, const frame *f)
{
    if (f->type != NULL) {
        push_places(t, f->type->places + f->type->param_count, f->type->result_count);
    } else if (f->result_count != 0) {
        (void)(f->has_vector ? push_vector(t) : push(t));
    }
}

static inline void push_constant(translator *t, uint64_t value)
{
    push_operand(t, (operand){.is_constant = true, .value = value});
}

static inline void push_vector_constant(translator *t, uint64_t lower, uint64_t upper)
{
    push_operand(t, (operand){.is_constant = true, .is_vector = true, .value = lower, .upper = upper});
    push_operand(t, (operand){.slot = NO_WORD, .is_upper = true});
}

/* Where a local is: IS_VECTOR and its first slot, or its slot. */
static inline uint32_t place_of_local(const translator *t, uint32_t index)
{
    return t->local_slots == NULL ? index : t->local_slots[index];
}

/* `place`: as of `place_of_local`. */
static inline void push_local(translator *t, uint32_t place)
{
    uint32_t slot = place & ~IS_VECTOR;
    bool is_vector = (place & IS_VECTOR) != 0;
    push_operand(t, (operand){.slot = slot, .before = t->newest[slot], .is_vector = is_vector});
    t->newest[slot] = t->height - 1;
    if (is_vector) {
        push_operand(t, (operand){.slot = NO_WORD, .is_upper = true});
    }
}

static inline bool is_local(const translator *t, const operand *of)
{
    return !of->is_constant && of->slot < t->local_count;
}

static inline void write_constant(translator *t, uint32_t slot, uint64_t value)
{
    begin(t, value <= UINT32_MAX ? WJ_OP_CONSTANT : WJ_OP_CONSTANT_64);
    emit(t, slot);
    emit(t, (uint32_t)value);
    if (value > UINT32_MAX) {
        emit(t, (uint32_t)(value >> 32));
    }
}

static inline void write_vector_constant(translator *t, uint32_t slot, const operand *from)
{
    begin(t, WJ_OP_CONSTANT_128);
    emit(t, slot);
    emit(t, (uint32_t)from->value);
    emit(t, (uint32_t)(from->value >> 32));
    emit(t, (uint32_t)from->upper);
    emit(t, (uint32_t)(from->upper >> 32));
}

static inline void write_to(translator *t, uint32_t slot, const operand *from)
{
    if (from->is_constant && from->is_vector) {
        write_vector_constant(t, slot, from);
    } else if (from->is_constant) {
        write_constant(t, slot, from->value);
    } else if (from->slot != slot) {
        begin(t, from->is_vector ? WJ_OP_COPY_128 : WJ_OP_COPY);
        emit(t, slot);
        emit(t, from->slot);
    }
}

/* Puts the operand at a position into its own slot; the lists of locals are for the caller to keep. */
static inline void settle(translator *t, uint32_t position)
{
    operand *at = &t->operands[position];
    if (!at->is_upper) {
        write_to(t, own_slot(t, position), at);
        *at = (operand){.slot = own_slot(t, position), .is_vector = at->is_vector};
    }
}

/* Of the operands from a position on. Those that are known to be settled are passed over: a function of many operands and
 * many blocks takes time in proportion to its length. */
static inline void settle_from(translator *t, uint32_t position)
{
    uint32_t first = position > t->settled ? position : t->settled;
    for (uint32_t i = t->height; i > first; i--) { /* the newest of its local each */
        if (is_local(t, &t->operands[i - 1])) {
            t->newest[t->operands[i - 1].slot] = t->operands[i - 1].before;
        }
    }
    for (uint32_t i = first; i < t->height && !t->failed; i++) {
        settle(t, i);
    }
    if (first == t->settled) {
        t->settled = t->height;
    }
}

static inline const operand *pop(translator *t)
{
    t->height -= t->operands[t->height - 1].is_upper;
    const operand *top = &t->operands[--t->height];
    if (is_local(t, top)) {
        t->newest[top->slot] = top->before;
    }
    t->settled = t->settled > t->height ? t->height : t->settled;
    return top;
}

static inline void pop_to(translator *t, uint32_t height)
{
    while (t->height > height && t->height > t->settled) {
        (void)pop(t);
    }
    t->height = height;
    t->settled = t->settled > height ? height : t->settled;
}

/* Settles all operands but the one on top, a number or reference. */
static inline void settle_below_top(translator *t)
{
    operand top = *pop(t);
    settle_from(t, 0);
    if (!top.is_constant && top.slot == own_slot(t, t->height)) {
        (void)push(t);
    } else if (is_local(t, &top)) {
        push_local(t, top.slot);
    } else {
        push_operand(t, top);
    }
}

/* The slot of an operand that was popped; a constant is put into its own. */
static inline uint32_t slot_of(translator *t, uint32_t position)
{
    if (t->operands[position].is_constant) {
        settle(t, position);
    }
    return t->operands[position].slot;
}

/* Pops an operand into some slot. */
static inline uint32_t pop_slot(translator *t)
{
    (void)pop(t);
    return slot_of(t, t->height);
}

/* Pops a few operands, the last of which is on top; their slots in order. */
static inline void pop_slots(translator *t, uint32_t count, uint32_t *slots)
{
    for (uint32_t i = 0; i < count; i++) {
        (void)pop(t);
    }
    uint32_t position = t->height;
    for (uint32_t i = 0; i < count; i++) {
        slots[i] = slot_of(t, position);
        position += t->operands[position].is_vector ? 2 : 1;
    }
}

/* Begins an instruction whose first operand is the slot of its result, which it pushes; that word comes first. */
static inline void begin_result_of(translator *t, uint32_t operation, bool is_vector)
{
    uint32_t position = (uint32_t)t->count;
    begin(t, operation);
    emit(t, is_vector ? push_vector(t) : push(t));
    t->last = position;
}

static inline void begin_result(translator *t, uint32_t operation)
{
    begin_result_of(t, operation, false);
}

/* Before the local at slot `index` changes: who refers to it gets the present value. True if somebody did. */
static inline bool detach(translator *t, uint32_t index)
{
    uint32_t position = t->newest[index];
    bool any = position != NO_WORD;
    while (position != NO_WORD && !t->failed) {
        uint32_t before = t->operands[position].before;
        settle(t, position);
        position = before;
    }
    t->newest[index] = NO_WORD;
    return any;
}

static inline void set_local(translator *t, uint32_t place)
{
    uint32_t index = place & ~IS_VECTOR;
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

/* ---- which operations are which ---- */

/* Integer operations are numbered as their rows stand: comparisons first, divisions last. `operation` counts from the
 * first of them. */
enum { COMPARISON_COUNT = 20, FIRST_WIDE = WJ_OP_I64_ADD - WJ_OP_I32_EQ, FIRST_DIVISION = WJ_OP_I32_DIV_S - WJ_OP_I32_EQ };

static inline bool divides(uint32_t operation)
{
    return operation >= FIRST_DIVISION;
}

static inline bool has_wide_result(uint32_t operation)
{
    return (operation >= FIRST_WIDE && operation < FIRST_DIVISION) || operation >= WJ_OP_I64_DIV_S - WJ_OP_I32_EQ;
}

static inline bool has_wide_operands(uint32_t operation)
{
    return has_wide_result(operation) ||
           (operation >= WJ_OP_I64_EQ - WJ_OP_I32_EQ && operation < WJ_OP_I32_ADD - WJ_OP_I32_EQ);
}

/* ---- accesses (interpret_access.c), vectors (interpret_vectors.c), atomics (interpret_atomics.c) ---- */

/* A memory argument. */
typedef struct {
    uint32_t memory;
    uint64_t offset;
} wj_memory_place;

WJ_INTERNAL wj_memory_place wj_memory_argument(translator *t);
/* An access of so many bytes by an operation for memory 0, or what it is with a comparison. `slots`: of the result and the
 * address, or of the address and the value. */
WJ_INTERNAL void wj_access(translator *t, uint32_t operation, uint32_t access_bytes, wj_memory_place at_memory,
                           const uint32_t *slots, uint32_t address, const uint8_t *at);
/* The words for a memory and an offset of an operation that compares. */
WJ_INTERNAL void wj_emit_place(translator *t, wj_memory_place at);
/* What stands behind the prefix of vector instructions, or of atomic ones; `at` is where that is. */
WJ_INTERNAL void wj_vector_instruction(translator *t, const uint8_t *at);
WJ_INTERNAL void wj_atomic_instruction(translator *t, const uint8_t *at);

/* ---- control flow (interpret_control.c) ---- */

enum { BLOCK = 0x02, LOOP = 0x03, IF = 0x04, BODY = 0 };

/* Enters a block of this opcode, or the body. There is room: see wj_translate. */
WJ_INTERNAL frame *wj_push_frame(translator *t, uint32_t opcode, uint32_t param_count, uint32_t result_count);
/* The instructions, whose opcode was read; `at` is where one begins. That what follows a branch or return is not reached
 * is for the caller to note. */
WJ_INTERNAL void wj_begin_block(translator *t, uint8_t opcode, const uint8_t *at);
WJ_INTERNAL void wj_begin_else(translator *t);
WJ_INTERNAL void wj_end_block(translator *t);
WJ_INTERNAL void wj_branch(translator *t, frame *f);
WJ_INTERNAL void wj_branch_if(translator *t, frame *f);
/* br_on_null, or br_on_non_null. */
WJ_INTERNAL void wj_branch_on_null(translator *t, frame *f, bool if_null);
WJ_INTERNAL void wj_branch_table(translator *t);
WJ_INTERNAL void wj_return(translator *t);

/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
#endif
