/* From the body of a function to the interpreter's words, in one pass.
 *
 * Bodies are valid: every immediate is well-formed, every index in range, and the operand stack has what is popped. */
#include "interpret_translate.h"

/* The static analyser does not know that bodies are valid, and takes the operand stack and the frames to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

enum { FIRST_F64_ARITHMETIC = 0x99, F32_DEMOTE = 0xb6 };
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

static void prefixed(translator *t, const uint8_t *at)
{
    uint32_t number = read_index(t);
    row found = row_behind_prefix(number);
    if (found.form != OTHER) {
        regular(t, found, at);
    } else {
        wj_bulk(t, number, at);
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
    const char *immediates = wj_immediates_of(t, opcode);
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
        wj_skip(t, opcode, immediates);
        return;
    }
    if (opcode == PREFIX) {
        prefixed(t, at);
    } else {
        wj_other(t, opcode, at);
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
    wj_read_locals(&t);
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
    wj_body_words *made = t.failed ? NULL : wj_finish_words(&t);
    if (made != NULL && function != NULL) {
        *function = wj_finish(&t, made, function_index, steps);
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
