/* From the interpreter's words to native code. See stencil.h. */
#include "stencil_emit.h"

#ifdef __x86_64__
#include "wj_stencils.h"

#include <stdlib.h>
#include <string.h>

/* Words are what interpret_translate.c made, of a body that validation has accepted: every slot and every target is one.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

enum { MOST_DEPTH = 4, WEIGHT_OF_DEPTH = 3 }; /* a loop counts 8 times what is around it */
enum { MOST_WEIGHT = 1 << 28 };
enum { MOST_SINGLE_COPIES = 8 };
enum { MIXED_SHARE = 16 }; /* of a slot that is an integer here and a float there, what the other may be */
enum { LEAST_WEIGHT = 3 }; /* what saving and restoring a register costs */

const uint8_t *wj_stencil_pool(size_t *size_bytes)
{
    *size_bytes = sizeof stencil_pool;
    return stencil_pool;
}

/* ---- what words stand for ---- */

/* Whether an operation is one of a row of the table, and its operands in slots: the result first, if it has one. */
typedef struct {
    uint32_t stencil; /* and 1; 0: none */
    uint32_t slots[4];
    uint32_t slot_count;
    bool has_constant;
    uint32_t constant; /* 32 bits, as in the words */
    bool has_target;
    uint32_t target;
    uint32_t length; /* words */
} instruction;

enum {
    FIRST_UNARY = WJ_OP_I32_EQZ,
    LAST_UNARY = WJ_OP_I64_TRUNC_SAT_F64_U,
    FIRST_FLOAT_BINARY = WJ_OP_F32_EQ,
    LAST_FLOAT_BINARY = WJ_OP_F64_COPYSIGN
};

static bool is_between(uint32_t operation, uint32_t first, uint32_t last)
{
    return operation >= first && operation <= last;
}

/* Fills in the operands of a row's operation: result and operands in slots, then a constant, then a target. */
static instruction row(const uint32_t *at, uint32_t slots, bool has_constant, bool has_target)
{
    instruction made = {.stencil = stencils_of[at[0]], .slot_count = slots, .length = 1 + slots};
    for (uint32_t i = 0; i < slots; i++) {
        made.slots[i] = at[1 + i];
    }
    if (has_constant) {
        made.has_constant = true;
        made.constant = at[made.length++];
    }
    if (has_target) {
        made.has_target = true;
        made.target = at[made.length++];
    }
    return made;
}

/* The operation at a word, as far as it is a row; `length` is set for all. */
static instruction decode(const uint32_t *at)
{
    uint32_t operation = at[0];
    if (is_between(operation, WJ_OP_I32_EQ, WJ_OP_I64_REM_U)) {
        return row(at, 3, false, false);
    }
    if (is_between(operation, WJ_OP_I32_EQ_IMMEDIATE, WJ_OP_I64_REM_U_IMMEDIATE)) {
        return row(at, 2, true, false);
    }
    if (is_between(operation, WJ_OP_BRANCH_I32_EQ, WJ_OP_BRANCH_I64_REM_U)) {
        return row(at, 2, false, true);
    }
    if (is_between(operation, WJ_OP_BRANCH_I32_EQ_IMMEDIATE, WJ_OP_BRANCH_I64_REM_U_IMMEDIATE)) {
        return row(at, 1, true, true);
    }
    if (is_between(operation, FIRST_UNARY, LAST_UNARY)) {
        return row(at, 2, false, false);
    }
    if (is_between(operation, FIRST_FLOAT_BINARY, LAST_FLOAT_BINARY)) {
        return row(at, 3, false, false);
    }
    if (is_between(operation, WJ_OP_I32_LOAD, WJ_OP_I64_LOAD32_U) || is_between(operation, WJ_OP_I32_STORE, WJ_OP_I64_STORE32)) {
        return row(at, 2, true, false);
    }
    switch (operation) {
    case WJ_OP_COPY:
        return row(at, 2, false, false);
    case WJ_OP_CONSTANT:
        return row(at, 1, true, false);
    case WJ_OP_SELECT:
        return row(at, 4, false, false);
    case WJ_OP_BRANCH_IF:
    case WJ_OP_BRANCH_UNLESS:
    case WJ_OP_BRANCH_ON_NULL:
    case WJ_OP_BRANCH_ON_NON_NULL:
        return row(at, 1, false, true);
    case WJ_OP_GLOBAL_GET_32:
    case WJ_OP_GLOBAL_GET_64:
    case WJ_OP_GLOBAL_SET_32:
    case WJ_OP_GLOBAL_SET_64:
    case WJ_OP_IMPORTED_GLOBAL_GET_32:
    case WJ_OP_IMPORTED_GLOBAL_GET_64:
    case WJ_OP_IMPORTED_GLOBAL_SET_32:
    case WJ_OP_IMPORTED_GLOBAL_SET_64:
    case WJ_OP_REF_FUNC:
    case WJ_OP_REF_FUNC_IMPORTED:
        return row(at, 1, true, false);
    default:
        break;
    }
    instruction made = {.length = 0};
    switch (operation) {
    case WJ_OP_UNREACHABLE:
        made.length = 1;
        break;
    case WJ_OP_MOVE:
    case WJ_OP_CONSTANT_64:
    case WJ_OP_CHECK:
    case WJ_OP_TABLE_GET:
    case WJ_OP_TABLE_SET:
    case WJ_OP_MEMORY_GROW:
    case WJ_OP_CALL_REF:
        made.length = 4;
        break;
    case WJ_OP_LOOP:
    case WJ_OP_ELEM_DROP:
    case WJ_OP_DATA_DROP:
    case WJ_OP_RETURN:
        made.length = 2;
        break;
    case WJ_OP_BRANCH:
        made.length = 2;
        made.has_target = true;
        made.target = at[1];
        break;
    case WJ_OP_BRANCH_TABLE:
        made.length = 4 + at[2];
        break;
    case WJ_OP_CALL:
    case WJ_OP_CALL_IMPORT:
    case WJ_OP_TABLE_SIZE:
    case WJ_OP_MEMORY_SIZE:
        made.length = 3;
        break;
    case WJ_OP_CALL_INDIRECT:
    case WJ_OP_TABLE_GROW:
    case WJ_OP_TABLE_FILL:
    case WJ_OP_MEMORY_FILL:
        made.length = 5;
        break;
    case WJ_OP_TABLE_COPY:
    case WJ_OP_TABLE_INIT:
    case WJ_OP_MEMORY_COPY:
    case WJ_OP_MEMORY_INIT:
        made.length = 6;
        break;
    default:
        break;
    }
    return made;
}

/* Whether an operation divides by a constant. */
static bool divides(uint32_t operation)
{
    return is_between(operation, WJ_OP_I32_DIV_S_IMMEDIATE, WJ_OP_I64_REM_U_IMMEDIATE) ||
           is_between(operation, WJ_OP_BRANCH_I32_DIV_S_IMMEDIATE, WJ_OP_BRANCH_I64_REM_U_IMMEDIATE);
}

/* Whether an operation changes the registers that calls do not leave alone. */
static bool calls(uint32_t operation)
{
    switch (operation) {
    case WJ_OP_CALL:
    case WJ_OP_CALL_IMPORT:
    case WJ_OP_CALL_INDIRECT:
    case WJ_OP_CALL_REF:
    case WJ_OP_TABLE_GROW:
    case WJ_OP_TABLE_FILL:
    case WJ_OP_TABLE_COPY:
    case WJ_OP_TABLE_INIT:
    case WJ_OP_ELEM_DROP:
    case WJ_OP_MEMORY_SIZE:
    case WJ_OP_MEMORY_GROW:
    case WJ_OP_MEMORY_FILL:
    case WJ_OP_MEMORY_COPY:
    case WJ_OP_MEMORY_INIT:
    case WJ_OP_DATA_DROP:
        return true;
    default:
        return false;
    }
}

/* ---- which slots are in registers ---- */

static void add_weight(uint32_t *weights, uint32_t slot, uint32_t weight)
{
    uint32_t sum = weights[slot] + weight;
    weights[slot] = sum > MOST_WEIGHT ? MOST_WEIGHT : sum;
}

/* Weights of uses as integers and as floats, and of calls. */
typedef struct {
    uint32_t *integers, *floats;
    uint32_t calls;
    bool has_loops, uses_memory, calls_through_tables, divides;
} weights;

static void weigh_operands(const instruction *of, uint32_t weight, weights *w)
{
    const wj_stencil_operation *operation = &stencil_operations[of->stencil - 1];
    for (uint32_t i = 0; i < of->slot_count; i++) {
        add_weight((operation->floats >> i & 1) != 0 ? w->floats : w->integers, of->slots[i], weight);
    }
}

/* Notes the last word that jumps back to a word, for words that something jumps back to. */
static bool find_loops(stencil_emitter *e, uint32_t *ends)
{
    const wj_interpreted *f = e->function;
    for (uint32_t at = 0; at < f->word_count;) {
        instruction found = decode(f->words + at);
        if (found.length == 0) {
            return false;
        }
        if (found.has_target && found.target <= at) {
            ends[found.target] = at;
        } else if (f->words[at] == WJ_OP_BRANCH_TABLE) {
            for (uint32_t i = 0; i <= f->words[at + 2]; i++) {
                uint32_t target = f->words[at + 3 + i];
                if (target <= at) {
                    ends[target] = at;
                }
            }
        }
        at += found.length;
    }
    return true;
}

static void weigh(stencil_emitter *e, const uint32_t *ends, weights *w)
{
    const wj_interpreted *f = e->function;
    uint32_t open[MOST_DEPTH];
    uint32_t depth = 0;
    for (uint32_t at = 0; at < f->word_count;) {
        while (depth != 0 && at > open[depth - 1]) {
            depth--;
        }
        if (ends[at] != 0 && depth < MOST_DEPTH) {
            open[depth++] = ends[at];
        }
        uint32_t weight = 1u << WEIGHT_OF_DEPTH * depth;
        const uint32_t *word = f->words + at;
        instruction found = decode(word);
        w->calls_through_tables = w->calls_through_tables || *word == WJ_OP_CALL_INDIRECT;
        w->divides = w->divides || divides(*word);
        if (found.stencil != 0) {
            bool is_access = is_between(*word, WJ_OP_I32_LOAD, WJ_OP_I64_STORE32);
            w->uses_memory = w->uses_memory || is_access;
            if (*word != WJ_OP_COPY && *word != WJ_OP_CONSTANT) { /* those fit either */
                weigh_operands(&found, weight, w);
            }
        } else if (*word == WJ_OP_LOOP) {
            w->has_loops = true;
        } else if (calls(*word)) {
            w->calls = w->calls + weight > MOST_WEIGHT ? MOST_WEIGHT : w->calls + weight;
        }
        at += found.length;
    }
}

/* The slot that is used most and in no register yet, if it is used more than `least`. */
static uint32_t most_used(const stencil_emitter *e, const uint32_t *own, const uint32_t *other, uint32_t least)
{
    uint32_t found = NO_SLOT;
    for (uint32_t slot = 0; slot < e->function->slot_count; slot++) {
        if (own[slot] > least && own[slot] / MIXED_SHARE >= other[slot] && e->registers[slot] == IN_FRAME) {
            found = slot;
            least = own[slot];
        }
    }
    return found;
}

static void choose_registers(stencil_emitter *e, const weights *w)
{
    for (uint32_t i = 0; i < INTEGER_REGISTERS; i++) {
        bool survives = i < SAVED_REGISTERS;
        uint32_t least = survives ? LEAST_WEIGHT : 2 * w->calls + LEAST_WEIGHT;
        uint32_t slot = most_used(e, w->integers, w->floats, least);
        if (slot != NO_SLOT) {
            e->registers[slot] = (uint8_t)(FIRST_INTEGER + i);
            e->integers[i] = slot;
        }
    }
    for (uint32_t i = 0; i < FLOAT_REGISTERS; i++) {
        uint32_t slot = most_used(e, w->floats, w->integers, 2 * w->calls + LEAST_WEIGHT);
        if (slot != NO_SLOT) {
            e->registers[slot] = (uint8_t)(FIRST_FLOAT + i);
            e->floats[i] = slot;
        }
    }
}

/* Any slot in any register is right, and so is none, though it may have to go through the frame: tests try them. */
static void choose_at_random(stencil_emitter *e)
{
    uint64_t state = e->of->plan.register_seed + UINT64_C(0x9e3779b97f4a7c15) * (e->function->function_index + 1);
    for (uint32_t i = 0; i < INTEGER_REGISTERS + FLOAT_REGISTERS; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t slot = (uint32_t)(state >> 33) % (e->function->slot_count + 1);
        if (slot == e->function->slot_count || e->registers[slot] != IN_FRAME) {
            continue;
        }
        bool is_float = i >= INTEGER_REGISTERS;
        e->registers[slot] = (uint8_t)(is_float ? FIRST_FLOAT + i - INTEGER_REGISTERS : FIRST_INTEGER + i);
        *(is_float ? &e->floats[i - INTEGER_REGISTERS] : &e->integers[i]) = slot;
    }
}

/* ---- code ---- */

/* Copies the stencil of an operation. `slots`: of the result, if there is one, and the operands. */
static void emit_row(stencil_emitter *e, uint32_t number, const uint32_t *slots, uint64_t constant, uint32_t target)
{
    const wj_stencil_operation *operation = &stencil_operations[number];
    uint32_t count = operation->operand_count;
    uint32_t form = 0;
    uint8_t chosen[4] = {0};
    uint32_t reload = NO_SLOT;
    for (uint32_t i = operation->has_result; i < count; i++) { /* operands first: they may be stored for this */
        bool is_float = (operation->floats >> i & 1) != 0;
        uint8_t in = e->registers[slots[i]];
        if (in == IN_FRAME) {
            continue;
        }
        if (is_float != (in >= FIRST_FLOAT)) {
            wj_store_register(e, slots[i]);
            continue;
        }
        chosen[i] = wj_register_number(in);
        form |= 1u << i;
        if (operation->has_result && in == e->registers[slots[0]]) {
            form |= 1u << (count + i);
        }
    }
    if (operation->has_result) {
        bool is_float = (operation->floats & 1) != 0;
        uint8_t in = e->registers[slots[0]];
        if (in != IN_FRAME && is_float == (in >= FIRST_FLOAT)) {
            chosen[0] = wj_register_number(in);
            form |= 1;
        } else if (in != IN_FRAME) {
            reload = slots[0];
        }
    }
    if ((form & 1) == 0 && operation->has_result) {
        form &= (1u << count) - 1; /* nothing is in its register */
    }
    uint32_t position = stencil_forms[operation->forms + form];
    if (position == 0 || !wj_reserve(e, UINT8_MAX)) {
        e->failed = true;
        return;
    }
    const wj_stencil *stencil = &stencils[position];
    uint8_t *to = e->code + e->count;
    memcpy(to, stencil_code + stencil->code, stencil->size_bytes);
    for (uint32_t i = 0; i < stencil->field_count; i++) {
        const wj_stencil_field *field = &stencil_fields[stencil->fields + i];
        to[field->offset] = (uint8_t)(to[field->offset] | (chosen[field->operand] & 7) << field->shift);
    }
    for (uint32_t i = 0; i < stencil->hole_count; i++) {
        const wj_stencil_hole *hole = &stencil_holes[stencil->holes + i];
        wj_fill_hole(e, e->count + hole->offset, hole, slots, operation->has_result, constant, target);
    }
    e->count += stencil->size_bytes;
    if (reload != NO_SLOT) {
        wj_load_register(e, reload);
    }
}

static void emit_copy(stencil_emitter *e, uint32_t to, uint32_t from)
{
    bool is_float[2] = {e->registers[to] >= FIRST_FLOAT, e->registers[from] >= FIRST_FLOAT};
    uint32_t number = is_float[0] && (is_float[1] || e->registers[from] == IN_FRAME) ? WJ_STENCIL_COPY_FLOAT
                      : is_float[0]                                                 ? WJ_STENCIL_COPY_TO_FLOAT
                      : is_float[1] && e->registers[to] == IN_FRAME                 ? WJ_STENCIL_COPY_FLOAT
                      : is_float[1]                                                 ? WJ_STENCIL_COPY_FROM_FLOAT
                                                                                    : WJ_STENCIL_COPY;
    emit_row(e, number, (uint32_t[]){to, from}, 0, 0);
}

/* Slots from `from` on to those from `to` on, which lie below. */
static void emit_move(stencil_emitter *e, uint32_t to, uint32_t from, uint32_t count)
{
    if (count <= MOST_SINGLE_COPIES) {
        for (uint32_t i = 0; i < count; i++) {
            emit_copy(e, to + i, from + i);
        }
        return;
    }
    for (uint32_t slot = from; slot < from + count; slot++) {
        wj_store_register(e, slot);
    }
    wj_move_slots(e, to, from, count);
    for (uint32_t slot = to; slot < to + count; slot++) {
        wj_load_register(e, slot);
    }
}

static void emit_constant(stencil_emitter *e, uint32_t slot, uint64_t value)
{
    bool is_wide = value > UINT32_MAX;
    uint32_t number = e->registers[slot] >= FIRST_FLOAT
                          ? (is_wide ? WJ_STENCIL_CONSTANT_FLOAT_64 : WJ_STENCIL_CONSTANT_FLOAT)
                          : (is_wide ? WJ_STENCIL_CONSTANT_64 : WJ_STENCIL_CONSTANT);
    emit_row(e, number, &slot, value, 0);
}

/* A division by a constant: the constant is put into a slot of its own. */
static void emit_division(stencil_emitter *e, const instruction *found, const uint32_t *word)
{
    bool branches = *word >= WJ_OP_BRANCH_I32_EQ;
    uint32_t plain = branches ? *word - WJ_OP_BRANCH_I32_EQ_IMMEDIATE : *word - WJ_OP_I32_EQ_IMMEDIATE;
    bool is_wide = is_between(plain, WJ_OP_I64_DIV_S - WJ_OP_I32_EQ, WJ_OP_I64_REM_U - WJ_OP_I32_EQ);
    uint64_t value = is_wide ? (uint64_t)(int64_t)(int32_t)found->constant : found->constant;
    emit_constant(e, e->scratch_slot, value);
    uint32_t slots[3] = {found->slots[0], e->scratch_slot, 0};
    if (!branches) {
        slots[1] = found->slots[1];
        slots[2] = e->scratch_slot;
    }
    uint32_t operation = plain + (branches ? WJ_OP_BRANCH_I32_EQ : WJ_OP_I32_EQ);
    emit_row(e, stencils_of[operation] - 1u, slots, 0, found->target);
}

/* The words have the low half of a constant of 64 bits, which is extended with its sign. */
static uint64_t constant_of(const instruction *found)
{
    return (uint64_t)(int64_t)(int32_t)found->constant;
}

static void emit_access(stencil_emitter *e, const instruction *found)
{
    /* The processor takes the 32 bits of an instruction for a signed number: an offset from 2 GiB on would reach below the
     * memory, to whatever the process has there. */
    uint32_t is_far = found->constant > INT32_MAX;
    emit_row(e, found->stencil - 1 + is_far, found->slots, found->constant, 0);
}

static void emit_call_of(stencil_emitter *e, uint32_t function, uint32_t first)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    const wj_signature *type = plan->types[plan->function_types[function]];
    wj_callee callee = {.kind = function < plan->imported_function_count ? CALLEE_IMPORT : CALLEE_OWN, .index = function};
    wj_emit_call(e, &callee, type, first);
}

static void emit_indirect_call(stencil_emitter *e, const uint32_t *word)
{
    const wj_interpreter_plan *plan = &e->of->plan;
    wj_save_iterations(e);
    emit_row(e, WJ_STENCIL_FUNC_REF, &word[3], plan->tables_offset + (uint64_t)WJ_TABLE_SLOT_SIZEOF * word[2], 0);
    uint32_t stub = wj_add_stub(e, STUB_TYPE, word[1]);
    emit_row(e, WJ_STENCIL_OTHER_TYPE, NULL, sizeof(uint32_t) * (uint64_t)word[1], STUB_TARGET | stub);
    wj_return_here(e, stub);
    wj_emit_call(e, &(wj_callee){.kind = CALLEE_REFERENCE}, plan->types[word[1]], word[4]);
}

static void emit_reference_call(stencil_emitter *e, const uint32_t *word)
{
    wj_save_iterations(e);
    emit_row(e, WJ_STENCIL_FUNC_REF_OPERAND, &word[2], 0, 0);
    wj_emit_call(e, &(wj_callee){.kind = CALLEE_REFERENCE}, e->of->plan.types[word[1]], word[3]);
}

/* What the runtime does. */
static void emit_builtin(stencil_emitter *e, const uint32_t *w)
{
#define CALL(name, result, ...) \
    wj_emit_builtin(e, (const void *)wj_builtin_##name, result, (wj_argument[]){__VA_ARGS__}, \
                    sizeof((wj_argument[]){__VA_ARGS__}) / sizeof(wj_argument))
#define NUMBER(word) {ARGUMENT_NUMBER, w[word]}
#define NARROW_SLOT(word) {ARGUMENT_NARROW_SLOT, w[word]}
#define WIDE_SLOT(word) {ARGUMENT_WIDE_SLOT, w[word]}
    switch (w[0]) {
    case WJ_OP_TABLE_GROW:
        CALL(table_grow, w[1], NUMBER(2), WIDE_SLOT(3), NARROW_SLOT(4));
        break;
    case WJ_OP_TABLE_FILL:
        CALL(table_fill, NO_SLOT, NUMBER(1), NARROW_SLOT(2), WIDE_SLOT(3), NARROW_SLOT(4));
        break;
    case WJ_OP_TABLE_COPY:
        CALL(table_copy, NO_SLOT, NUMBER(1), NUMBER(2), NARROW_SLOT(3), NARROW_SLOT(4), NARROW_SLOT(5));
        break;
    case WJ_OP_TABLE_INIT:
        CALL(table_init, NO_SLOT, NUMBER(1), NUMBER(2), NARROW_SLOT(3), NARROW_SLOT(4), NARROW_SLOT(5));
        break;
    case WJ_OP_ELEM_DROP:
        CALL(elem_drop, NO_SLOT, NUMBER(1));
        break;
    case WJ_OP_MEMORY_SIZE:
        wj_emit_builtin(e, (const void *)wj_native_memory_size, w[1], (wj_argument[]){NUMBER(2)}, 1);
        break;
    case WJ_OP_MEMORY_GROW:
        CALL(memory_grow, w[1], NUMBER(2), NARROW_SLOT(3));
        break;
    case WJ_OP_MEMORY_FILL:
        CALL(memory_fill, NO_SLOT, NUMBER(1), NARROW_SLOT(2), NARROW_SLOT(3), NARROW_SLOT(4));
        break;
    case WJ_OP_MEMORY_COPY:
        CALL(memory_copy, NO_SLOT, NUMBER(1), NUMBER(2), NARROW_SLOT(3), NARROW_SLOT(4), NARROW_SLOT(5));
        break;
    case WJ_OP_MEMORY_INIT:
        CALL(memory_init, NO_SLOT, NUMBER(1), NUMBER(2), NARROW_SLOT(3), NARROW_SLOT(4), NARROW_SLOT(5));
        break;
    case WJ_OP_DATA_DROP:
        CALL(data_drop, NO_SLOT, NUMBER(1));
        break;
    default:
        e->failed = true;
        break;
    }
#undef CALL
#undef NUMBER
#undef NARROW_SLOT
#undef WIDE_SLOT
}

uint64_t wj_native_memory_size(void *vmctx, uint32_t index)
{
    const wj_vmcontext *context = vmctx;
    const wj_memory_slot *slots = (const void *)((const uint8_t *)vmctx + context->instance->memories);
    const wj_memory *memory = slots[index].memory;
    return __atomic_load_n(&memory->size_bytes, __ATOMIC_RELAXED) >> memory->page_size_log2;
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
    case WJ_OP_LOOP:
        wj_count_iteration(e, w[1]);
        break;
    case WJ_OP_BRANCH:
        wj_emit_jump(e, w[1]);
        break;
    case WJ_OP_BRANCH_TABLE:
        wj_emit_table(e, w[1], w[2], w + 3);
        break;
    case WJ_OP_RETURN:
        wj_emit_return(e, w[1]);
        break;
    case WJ_OP_CALL:
    case WJ_OP_CALL_IMPORT:
        emit_call_of(e, w[1], w[2]);
        break;
    case WJ_OP_CALL_INDIRECT:
        emit_indirect_call(e, w);
        break;
    case WJ_OP_CALL_REF:
        emit_reference_call(e, w);
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
        wj_emit_memory_slot(e);
        emit_row(e, WJ_STENCIL_CHECK, (uint32_t[]){w[1]}, (uint64_t)w[2] + w[3], 0);
        wj_load_iterations(e);
        break;
    default:
        emit_builtin(e, w);
        break;
    }
}

static void emit_instruction(stencil_emitter *e, const instruction *found, const uint32_t *word)
{
    if (divides(*word)) {
        emit_division(e, found, word);
    } else if (found->stencil == 0) {
        emit_other(e, word);
    } else if (*word == WJ_OP_COPY) {
        emit_copy(e, word[1], word[2]);
    } else if (*word == WJ_OP_CONSTANT) {
        emit_constant(e, word[1], word[2]);
    } else if (is_between(*word, WJ_OP_I32_LOAD, WJ_OP_I64_STORE32)) {
        emit_access(e, found);
    } else {
        emit_row(e, found->stencil - 1, found->slots, constant_of(found), found->target);
    }
}

static void emit_body(stencil_emitter *e)
{
    const wj_interpreted *f = e->function;
    uint32_t site = 0;
    for (uint32_t at = 0; at < f->word_count && !e->failed;) {
        const uint32_t *word = f->words + at;
        instruction found = decode(word);
        e->places[at] = (uint32_t)e->count;
        if (site < f->offset_count && f->offsets[site][0] == at) {
            e->module_offset = f->offsets[site++][1];
            wj_note_site(e, (uint32_t)e->count, e->module_offset);
        }
        emit_instruction(e, &found, word);
        at += found.length;
    }
}

/* ---- a function ---- */

static const void *translate(stencil_emitter *e, wj_interpreter *interpreter)
{
    uint32_t words = e->function->word_count;
    uint32_t slots = e->function->slot_count + 1;
    uint32_t *ends = calloc(words, sizeof *ends);
    weights w = {.integers = calloc(slots, sizeof(uint32_t)), .floats = calloc(slots, sizeof(uint32_t))};
    const void *code = NULL;
    if (ends == NULL || w.integers == NULL || w.floats == NULL || !find_loops(e, ends)) {
        goto done;
    }
    weigh(e, ends, &w);
    if (interpreter->plan.register_seed != 0) {
        choose_at_random(e);
    } else {
        choose_registers(e, &w);
    }
    e->uses_memory = w.uses_memory && interpreter->plan.has_memory != 0;
    e->has_loops = w.has_loops;
    e->calls_through_tables = w.calls_through_tables;
    e->has_scratch_slot = w.divides;
    wj_emit_prologue(e);
    emit_body(e);
    wj_emit_rest(e);
    if (!e->failed) {
        wj_translated_code made = {e->code, e->count, (const uint32_t(*)[2])(const void *)e->sites, e->site_count};
        const wj_native *native = wj_native_publish(interpreter, e->function->function_index, &made);
        code = native == NULL ? NULL : native->code;
    }
done:
    free(ends);
    free(w.integers);
    free(w.floats);
    return code;
}

const void *wj_native_of(wj_interpreter *interpreter, const wj_interpreted *function)
{
    if (function->slot_count > MOST_SLOTS || !wj_has_stencils()) {
        return NULL;
    }
    stencil_emitter e = {.of = interpreter, .function = function, .signature = function->signature};
    e.scratch_slot = function->slot_count;
    e.registers = calloc(function->slot_count + 1, sizeof *e.registers);
    e.places = calloc(function->word_count + 1, sizeof *e.places);
    wj_begin_emitter(&e);
    const void *code = e.registers == NULL || e.places == NULL ? NULL : translate(&e, interpreter);
    free(e.registers);
    free(e.places);
    free(e.code);
    free(e.sites);
    free(e.jumps);
    free(e.stubs);
    return code;
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

#else

const void *wj_native_of(wj_interpreter *interpreter, const wj_interpreted *function)
{
    (void)interpreter;
    (void)function;
    return NULL;
}
#endif
