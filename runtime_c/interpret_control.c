/* Blocks, branches and returns, from the body of a function to the interpreter's words. */
#include "interpret_stack.h"

/* The static analyser does not know that bodies are valid, and takes the operand stack and the frames to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

enum { EMPTY_TYPE = 0x40 };

frame *wj_push_frame(translator *t, uint32_t opcode, uint32_t param_count, uint32_t result_count)
{
    frame *made = &t->frames[t->frame_count++];
    *made = (frame){opcode, param_count, result_count, t->height - param_count, 0, NO_WORD, NO_WORD, NO_WORD, 0,
                    !t->live, false, NULL};
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

/* Whether the operands that a branch carries have to be moved. If they are many, they are settled. */
static bool has_moves(const translator *t, const frame *f)
{
    uint32_t arity = arity_of(f);
    if (arity > MOST_SINGLE_MOVES) {
        return t->height - arity != f->height;
    }
    for (uint32_t i = 0; i < arity; i++) {
        const operand *from = &t->operands[t->height - arity + i];
        if (!from->is_upper && (from->is_constant || from->slot != own_slot(t, f->height + i))) {
            return true;
        }
    }
    return false;
}

/* In ascending order: each goes to its own place or below, so that none overwrites what is still to be moved. Many are
 * settled first, and then moved by one instruction: there may be as many branches as the body has bytes. */
static void move_operands(translator *t, const frame *f)
{
    uint32_t arity = arity_of(f);
    if (arity > MOST_SINGLE_MOVES) {
        settle_from(t, 0);
    }
    bool has_vector = false; /* those may be in registers as a whole (stencil.h) */
    for (uint32_t i = 0; arity <= MOST_SINGLE_MOVES && i < arity; i++) {
        has_vector = has_vector || t->operands[t->height - arity + i].is_upper;
    }
    if (arity > 1 && t->settled == t->height && !has_vector) {
        if (t->height - arity != f->height) {
            begin(t, WJ_OP_MOVE);
            emit(t, own_slot(t, f->height));
            emit(t, own_slot(t, t->height - arity));
            emit(t, arity);
        }
        return;
    }
    for (uint32_t i = 0; i < arity; i++) {
        const operand *from = &t->operands[t->height - arity + i];
        if (!from->is_upper) {
            write_to(t, own_slot(t, f->height + i), from);
        }
    }
}

void wj_branch(translator *t, frame *f)
{
    charge(t);
    move_operands(t, f);
    begin(t, WJ_OP_BRANCH);
    emit_target(t, f);
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
    } else if (t->words[last] < WJ_OP_I32_EQ || has_wide_result(operation) || (!holds && operation >= COMPARISON_COUNT)) {
        slot = pop_slot(t);
        begin(t, holds ? WJ_OP_BRANCH_IF : WJ_OP_BRANCH_UNLESS);
        emit(t, slot);
        return;
    } else {
        second = t->words[last + 3];
        branches += holds ? operation : inverse(operation);
    }
    (void)pop(t);
    t->count = last; /* its site, if it has one, is the same */
    begin(t, branches);
    emit(t, slot);
    if (operation != NO_WORD) {
        emit(t, second);
    }
}

void wj_branch_if(translator *t, frame *f)
{
    charge(t);
    if (arity_of(f) > MOST_SINGLE_MOVES) {
        settle_below_top(t);
    }
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
    wj_branch(t, f);
    if (!t->failed) {
        t->words[skip] = (uint32_t)t->count;
    }
    t->last = NO_WORD;
}

void wj_branch_on_null(translator *t, frame *f, bool if_null)
{
    charge(t);
    settle_from(t, 0);
    uint32_t slot = own_slot(t, t->height - 1);
    if (if_null) { /* which the label does not get */
        (void)pop(t);
    }
    bool moves = has_moves(t, f);
    begin(t, if_null != moves ? WJ_OP_BRANCH_ON_NULL : WJ_OP_BRANCH_ON_NON_NULL);
    emit(t, slot);
    uint32_t skip = (uint32_t)t->count;
    if (moves) {
        emit(t, 0);
        wj_branch(t, f);
        if (!t->failed) {
            t->words[skip] = (uint32_t)t->count;
        }
    } else {
        emit_target(t, f);
    }
    t->last = NO_WORD;
    if (if_null) {
        (void)push(t);
    } else {
        (void)pop(t);
    }
}

void wj_branch_table(translator *t)
{
    charge(t);
    uint32_t count = read_index(t);
    uint32_t index = pop_slot(t);
    const uint8_t *labels = t->at;
    if (arity_of(&t->frames[t->frame_count - 1 - read_index(t)]) > 1) { /* all labels have as many */
        settle_from(t, 0);
    }
    t->at = labels;
    begin(t, WJ_OP_BRANCH_TABLE);
    emit(t, index);
    emit(t, count);
    uint32_t first = (uint32_t)t->count;
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
        if (!has_moves(t, f)) {
            continue;
        }
        if (f->table != first) {
            f->table = first;
            f->mover = (uint32_t)t->count;
            wj_branch(t, f);
        }
        if (!t->failed) {
            t->words[first + i] = f->mover;
        }
    }
    t->at = end;
}

void wj_return(translator *t)
{
    uint32_t first = t->height - t->signature->result_slots;
    uint32_t slot = 0;
    if (t->signature->result_count == 1) {
        slot = slot_of(t, first);
    } else if (t->signature->result_count != 0) {
        settle_from(t, first);
        slot = own_slot(t, first);
    }
    save_fuel(t);
    begin(t, WJ_OP_RETURN);
    emit(t, slot);
}

/* Reads what a block takes and gives. */
static frame block_type(translator *t)
{
    frame made = {.type = NULL};
    if (*t->at == EMPTY_TYPE) {
        t->at++;
    } else if ((*t->at & 0xc0) == 0x40) {
        made.has_vector = read_value_type(t) == WJ_TYPE_V128;
        made.result_count = made.has_vector ? 2 : 1;
    } else {
        made.type = t->of->plan.types[(uint32_t)read_signed(t)];
        t->failed = t->failed || made.type == NULL;
        made.param_count = made.type == NULL ? 0 : made.type->param_slots;
        made.result_count = made.type == NULL ? 0 : made.type->result_slots;
    }
    return made;
}

void wj_begin_block(translator *t, uint8_t opcode, const uint8_t *at)
{
    frame of = block_type(t);
    if (!t->live || t->failed) {
        (void)wj_push_frame(t, opcode, 0, 0);
        return;
    }
    uint32_t else_fixup = NO_WORD;
    if (opcode != BLOCK) {
        charge(t);
    }
    if (opcode == IF) {
        settle_below_top(t);
        emit_condition(t, false);
        else_fixup = (uint32_t)t->count;
        emit(t, NO_WORD);
        t->last = NO_WORD;
    } else {
        settle_from(t, 0);
    }
    frame *made = wj_push_frame(t, opcode, of.param_count, of.result_count);
    made->else_fixup = else_fixup;
    made->has_vector = of.has_vector;
    made->type = of.type;
    t->last = NO_WORD;
    if (opcode == LOOP) {
        made->target = (uint32_t)t->count;
        begin(t, WJ_OP_LOOP);
        emit(t, t->height == 0 ? (uint32_t)(at - t->of->plan.wasm) : 0);
        begin_metered(t, WJ_OP_FUEL_CHECK, at); /* behind it: the code that LOOP goes over to does the same */
    }
}

void wj_begin_else(translator *t)
{
    frame *f = &t->frames[t->frame_count - 1];
    if (f->dead) {
        return;
    }
    if (t->live) {
        wj_branch(t, f);
    }
    fix(t, f->else_fixup);
    f->else_fixup = NO_WORD;
    pop_to(t, f->height);
    push_params(t, f);
    t->live = true;
}

void wj_end_block(translator *t)
{
    const frame *f = &t->frames[t->frame_count - 1];
    if (f->dead) {
        t->frame_count--;
        return;
    }
    if (t->live) {
        charge(t);
        move_operands(t, &(frame){.result_count = f->result_count, .height = f->height});
    }
    if (f->else_fixup != NO_WORD) { /* no else: the parameters, which are in their slots, are the results */
        fix(t, f->else_fixup);
    }
    fix(t, f->fixups);
    pop_to(t, f->height);
    push_results(t, f);
    t->frame_count--;
    t->live = true; /* if the label cannot be reached either, what follows is translated for nothing */
    if (t->frame_count == 0 && !t->failed) {
        wj_return(t);
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
