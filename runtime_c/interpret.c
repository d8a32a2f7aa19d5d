/* Runs translated functions. See interpret.h. */
#include "interpret_run.h"
#include "interpret_values.h"

#include <stdlib.h>
#include <string.h>

extern const char __start_wj_interpreter[] WJ_INTERNAL;
extern const char __stop_wj_interpreter[] WJ_INTERNAL;

bool wj_in_interpreter(uintptr_t pc)
{
    return pc >= (uintptr_t)__start_wj_interpreter && pc < (uintptr_t)__stop_wj_interpreter;
}

/* What is wrong has to be known before wj_trap walks the stack. */
#define TRAP(name) (activation->ip = ip, wj_trap(WJ_TRAP_##name, 0))
#define TRAP_IF(condition, name) (UNLIKELY(condition) ? TRAP(name) : (void)0)
#define TRAP_ZERO(b) TRAP_IF((b) == 0, INTEGER_DIVISION_BY_ZERO)
#define TRAP_UNLESS(a, fits) (TRAP_IF((a) != (a), BAD_CONVERSION_TO_INTEGER), TRAP_IF(!(fits), INTEGER_OVERFLOW))
#define TRAP_UNLESS_BETWEEN(a, low, high) TRAP_UNLESS(a, (f64)(a) > (low) && (f64)(a) < (high))
#define TRAP_UNLESS_FROM(a, low, high) TRAP_UNLESS(a, (f64)(a) >= (low) && (f64)(a) < (high))
#define AT(type, offset) (*(type *)(void *)(c->vmctx + (offset)))
#define TABLE(index) ((&AT(wj_table_slot, plan->tables_offset))[index].table)
#define NARROW(slot) ((uint64_t)(uint32_t)(slot))
/* An index that was found to be below `length`, by a branch that the processor may have predicted wrongly: it then goes on
 * with 0 instead of an index that a program chose, and so reads nothing of the host's (Spectre v1). The compiler must not
 * know what was found, or it would leave this out, nor make a branch of it. */
static inline uint64_t masked(uint64_t index, uint64_t length)
{
    __asm__("" : "+r"(index));
    return index & (uint64_t)((int64_t)(index - length) >> 63);
}

/* Calls a function of the instance that `c` is of; goes on behind it where that is done. */
#define CALL_DEFINED(position)                           \
    callee = interpreted_at(c, position);                \
    if (UNLIKELY(callee == NULL)) {                      \
        callee = wj_call_defined(c, position, operands);    \
    }                                                    \
    if (LIKELY(callee != NULL)) {                        \
        goto call;                                       \
    }
/* Calls `reference`, of another instance or the host, with operands of `type`. */
#define CALL_REFERENCE()                                                                            \
    void *instance = interpreted_instance(reference);                                               \
    if (instance != NULL) {                                                                         \
        store->caller = c->vmctx;                                                                   \
        set_instance(c, instance);                                                                  \
        uint32_t position = reference->function_index - c->interpreter->plan.imported_function_count; \
        CALL_DEFINED(position);                                                                     \
        set_instance(c, activation->vmctx);                                                         \
    } else {                                                                                        \
        wj_call_reference(c, reference, type, operands);                                               \
    }
/* The function that an index refers to, in a table that it is looked up in, if it has the type. */
#define CALLED_INDIRECTLY(reference)                                                                                     \
    const wj_table *table = TABLE(ip[2]);                                                                                \
    uint32_t index = (uint32_t)s[ip[3]];                                                                                 \
    TRAP_IF(index >= table->length, TABLE_OUT_OF_BOUNDS);                                                                \
    (reference) = (const wj_func_ref *)(uintptr_t)table->elements[masked(index, table->length)];                         \
    TRAP_IF((reference) == NULL, INDIRECT_CALL_TO_NULL);                                                                 \
    if (UNLIKELY((reference)->type_id != ((const uint32_t *)((wj_vmcontext *)c->vmctx)->type_ids)[ip[1]])) {             \
        TRAP_IF(!wj_signature_takes(plan->types[ip[1]], (reference)->type_id), BAD_SIGNATURE);                           \
    }
/* Of what has checked something first: if that traps, the store is not told. */
#define SAVE_FUEL() (plan->counts_fuel != 0 ? (void)(store->fuel = (uint64_t)c->fuel) : (void)0)
/* A number of 128 bits in two slots. */
#define WIDE(low, high) ((unsigned __int128)s[high] << 64 | s[low])
#define NEXT(name)         \
    ip += WJ_WORDS_##name; \
    goto *labels[*ip]

typedef uint64_t wide[2]; /* a v128, in two slots */

/* Runs an activation, whose operands are its first slots, up to its return; its results are there then. The activations
 * that it calls, and those call, are run here too: what recursion takes is in the interpreter stack. */
void INTERPRETER_SECTION ABANDONED wj_run_interpreted(context *c, wj_store *store, wj_entry *entry, wj_activation *activation)
{
    static const void *const labels[] = {
#define WJ_X(name, words) &&label_##name,
        WJ_OTHER_OPERATIONS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) &&label_##name,
            WJ_UNARY_ROWS(WJ_X) WJ_FLOAT_BINARY_ROWS(WJ_X) WJ_LOAD_ROWS(WJ_X) WJ_STORE_ROWS(WJ_X)
                WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) &&label_##name##_IMMEDIATE,
                    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) &&label_BRANCH_##name,
                        WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) &&label_BRANCH_##name##_IMMEDIATE,
                            WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, ...) &&label_##name##_CHECKED,
                                WJ_LOAD_ROWS(WJ_X) WJ_STORE_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, form, ...) &&label_VECTOR_##form,
                                    WJ_VECTOR_ROWS(WJ_X)
#undef WJ_X
    };
    const wj_interpreter_plan *plan;
    wj_interpreted *function;
    const uint32_t *words;
    const uint32_t *ip;
    uint64_t *s;
    uintptr_t base;
    uint64_t *counter;
    wj_interpreted *callee;
    uint64_t *operands;
    int64_t gap_bytes;
    bool is_other;

    function = (wj_interpreted *)activation->function;
    s = activation->slots;
    ip = function->words;
instance: /* of another instance than before, perhaps */
    plan = &c->interpreter->plan;
    /* Guard pages: memory 0 never moves, and whatever lies behind its end faults. */
    base = plan->has_memory != 0 ? (uintptr_t)AT(wj_memory_slot, plan->memories_offset).base : 0;
function:
    words = function->words;
    counter = counter_of(c, function->function_index - plan->imported_function_count);
    goto *labels[*ip];

/* Calls `callee` with its operands, where its results will be, in this C function. `c` is its instance already. */
call: {
    wj_activation *made = activation - 1;
    gap_bytes = gap_of(made, callee, operands);
    *made = (wj_activation){activation, callee->words, callee, operands, c->vmctx, false, 0, 0};
    __atomic_store_n(&entry->activation, made, __ATOMIC_RELEASE); /* an interrupt finds it whole or not at all */
    is_other = activation->vmctx != c->vmctx;
    activation = made;
    ip = callee->words;
    s = operands;
}
called:
    if (UNLIKELY(gap_bytes < store->interpreter_gap_bytes && !fits(store, gap_bytes))) {
        TRAP(STACK_OVERFLOW);
    }
    function = callee;
    clear_locals(function, s);
    uint32_t position = function->function_index - c->interpreter->plan.imported_function_count;
    if (UNLIKELY(count_one(counter_of(c, position), function) <= 0)) {
        (void)wj_hot(c, function, 0);
    }
    if (UNLIKELY(is_other)) {
        goto instance;
    }
    goto function;

/* What `callee` is, tail-called: it takes the place of the activation, if it is interpreted. */
tail_called:
    if (callee == NULL) {
        if (c->next != NULL) {
            return; /* to where it is jumped to */
        }
        goto finished;
    }
    memmove(s, operands, callee->signature->param_slots * sizeof *s);
    is_other = activation->vmctx != c->vmctx;
    activation->vmctx = c->vmctx;
    ip = callee->words;
    activation->ip = ip;
    /* A signal handler's activations begin behind the slots of this function: of the old one up to here. */
    __atomic_store_n(&activation->function, callee, __ATOMIC_RELEASE);
    gap_bytes = gap_of(activation, callee, s);
    goto called;

/* Goes back, with the results at `s`. */
finished:
    if (activation->is_first) {
        return;
    }
    activation = activation->outer;
    __atomic_store_n(&entry->activation, activation, __ATOMIC_RELEASE);
    function = (wj_interpreted *)activation->function;
    s = activation->slots;
    ip = activation->ip;
    ip += *ip == WJ_OP_CALL_INDIRECT ? WJ_WORDS_CALL_INDIRECT : *ip == WJ_OP_CALL_REF ? WJ_WORDS_CALL_REF : WJ_WORDS_CALL;
    if (UNLIKELY(activation->vmctx != c->vmctx)) {
        set_instance(c, activation->vmctx);
        goto instance;
    }
    goto function;

/* Operands are read before the result is written: it may go to the slot of one of them. */
#define WJ_X(opcode, name, result, operand, expression) \
    label_##name:                                       \
    {                                                   \
        operand a = READ_##operand(s[ip[2]]);           \
        s[ip[1]] = BITS_##result(expression);           \
        NEXT(UNARY);                                    \
    }
    WJ_UNARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, result, first, second, expression) \
    label_##name:                                             \
    {                                                         \
        first a = READ_##first(s[ip[2]]);                     \
        second b = READ_##second(s[ip[3]]);                   \
        s[ip[1]] = BITS_##result(expression);                 \
        NEXT(BINARY);                                         \
    }
    WJ_FLOAT_BINARY_ROWS(WJ_X)
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, result, first, second, expression) \
    label_##name##_IMMEDIATE:                                 \
    {                                                         \
        first a = READ_##first(s[ip[2]]);                     \
        second b = (second)(s64)(s32)ip[3];                   \
        s[ip[1]] = BITS_##result(expression);                 \
        NEXT(BINARY);                                         \
    }
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, result, first, second, expression) \
    label_BRANCH_##name:                                      \
    {                                                         \
        first a = READ_##first(s[ip[1]]);                     \
        second b = READ_##second(s[ip[2]]);                   \
        ip = (expression) != 0 ? words + ip[3] : ip + WJ_WORDS_BINARY;\
        goto *labels[*ip];                                    \
    }
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, result, first, second, expression) \
    label_BRANCH_##name##_IMMEDIATE:                          \
    {                                                         \
        first a = READ_##first(s[ip[1]]);                     \
        second b = (second)(s64)(s32)ip[2];                   \
        ip = (expression) != 0 ? words + ip[3] : ip + WJ_WORDS_BINARY;\
        goto *labels[*ip];                                    \
    }
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
/* An address has 32 bits, and an offset too: their sum must not be cut to 32 bits. It ends within the guard, or CHECK stands
 * before the access (interpret_access.c: check_offset): without it, the sum reaches what the host has there. The fault
 * handler reads activation->ip. */
#define WJ_X(opcode, name, memory_type, wide)                              \
    label_##name:                                                          \
    {                                                                      \
        memory_type loaded;                                                \
        activation->ip = ip;                                               \
        memcpy(&loaded, (const void *)(base + NARROW(s[ip[2]]) + ip[3]), sizeof loaded); \
        s[ip[1]] = BITS_##wide((wide)loaded);                              \
        NEXT(ACCESS);                                                      \
    }
    WJ_LOAD_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, memory_type)                                    \
    label_##name:                                                          \
    {                                                                      \
        memory_type stored = (memory_type)s[ip[2]];                        \
        activation->ip = ip;                                               \
        memcpy((void *)(base + NARROW(s[ip[1]]) + ip[3]), &stored, sizeof stored); \
        NEXT(ACCESS);                                                      \
    }
    WJ_STORE_ROWS(WJ_X)
#undef WJ_X

#define WJ_X(opcode, name, memory_type, wide)                              \
    label_##name##_CHECKED:                                                \
    {                                                                      \
        memory_type loaded;                                                \
        const uint8_t *from = wj_checked_place(c, s[ip[2]], ip + 3, sizeof loaded); \
        TRAP_IF(from == NULL, MEMORY_OUT_OF_BOUNDS);                       \
        memcpy(&loaded, from, sizeof loaded);                              \
        s[ip[1]] = BITS_##wide((wide)loaded);                              \
        NEXT(CHECKED_ACCESS);                                              \
    }
    WJ_LOAD_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, memory_type)                                    \
    label_##name##_CHECKED:                                                \
    {                                                                      \
        memory_type stored = (memory_type)s[ip[2]];                        \
        uint8_t *to = wj_checked_place(c, s[ip[1]], ip + 3, sizeof stored); \
        TRAP_IF(to == NULL, MEMORY_OUT_OF_BOUNDS);                         \
        memcpy(to, &stored, sizeof stored);                                \
        NEXT(CHECKED_ACCESS);                                              \
    }
    WJ_STORE_ROWS(WJ_X)
#undef WJ_X

label_UNREACHABLE:
    TRAP(UNREACHABLE);
label_COPY:
    s[ip[1]] = s[ip[2]];
    NEXT(COPY);
label_MOVE:
    memmove(s + ip[1], s + ip[2], ip[3] * sizeof *s);
    NEXT(MOVE);
label_CONSTANT:
    s[ip[1]] = ip[2];
    NEXT(CONSTANT);
label_CONSTANT_64:
    s[ip[1]] = ip[2] | (uint64_t)ip[3] << 32;
    NEXT(CONSTANT_64);
label_SELECT:
    s[ip[1]] = (uint32_t)s[ip[4]] != 0 ? s[ip[2]] : s[ip[3]];
    NEXT(SELECT);
label_COPY_128:
    memmove(s + ip[1], s + ip[2], sizeof(wide));
    NEXT(COPY_128);
label_CONSTANT_128:
    memcpy(s + ip[1], ip + 2, sizeof(wide));
    NEXT(CONSTANT_128);
label_SELECT_128:
    memmove(s + ip[1], s + ((uint32_t)s[ip[4]] != 0 ? ip[2] : ip[3]), sizeof(wide));
    NEXT(SELECT_128);
label_V128_LOAD:
    activation->ip = ip;
    memcpy(s + ip[1], (const void *)(base + NARROW(s[ip[2]]) + ip[3]), sizeof(wide));
    NEXT(V128_LOAD);
label_V128_STORE:
    activation->ip = ip;
    memcpy((void *)(base + NARROW(s[ip[1]]) + ip[3]), s + ip[2], sizeof(wide));
    NEXT(V128_STORE);
label_V128_LOAD_CHECKED: {
    const uint8_t *from = wj_checked_place(c, s[ip[2]], ip + 3, sizeof(wide));
    TRAP_IF(from == NULL, MEMORY_OUT_OF_BOUNDS);
    memcpy(s + ip[1], from, sizeof(wide));
    NEXT(V128_LOAD_CHECKED);
}
label_V128_STORE_CHECKED: {
    uint8_t *to = wj_checked_place(c, s[ip[1]], ip + 3, sizeof(wide));
    TRAP_IF(to == NULL, MEMORY_OUT_OF_BOUNDS);
    memcpy(to, s + ip[2], sizeof(wide));
    NEXT(V128_STORE_CHECKED);
}
#define VECTOR(form, ...)                                                                      \
    label_VECTOR_##form:                                                                       \
    (*wj_vector_at(plan->vector_choice, *ip))(s + ip[1], s + ip[2], __VA_ARGS__);              \
    NEXT(VECTOR_##form)
    VECTOR(UNARY, NULL, NULL, 0);
    VECTOR(BINARY, s + ip[3], NULL, 0);
    VECTOR(TERNARY, s + ip[3], s + ip[4], 0);
    VECTOR(UNARY_LANE, NULL, NULL, ip[3]);
    VECTOR(BINARY_LANE, s + ip[3], NULL, ip[4]);
#undef VECTOR
label_VECTOR_SHUFFLE:
    wj_shuffle(s + ip[1], s + ip[2], s + ip[3], ip + 4);
    NEXT(VECTOR_SHUFFLE);
#define WIDE_SUM(name, sign)                                                                   \
    label_##name:                                                                              \
    {                                                                                          \
        unsigned __int128 sum = WIDE(ip[2], ip[3]) sign WIDE(ip[4], ip[5]);                    \
        memcpy(s + ip[1], &sum, sizeof sum);                                                   \
        NEXT(name);                                                                            \
    }
    WIDE_SUM(I64_ADD128, +)
    WIDE_SUM(I64_SUB128, -)
#undef WIDE_SUM
label_I64_MUL_WIDE_S: {
    __int128 product = (__int128)(int64_t)s[ip[2]] * (int64_t)s[ip[3]];
    memcpy(s + ip[1], &product, sizeof product);
    NEXT(I64_MUL_WIDE_S);
}
label_I64_MUL_WIDE_U: {
    unsigned __int128 product = (unsigned __int128)s[ip[2]] * s[ip[3]];
    memcpy(s + ip[1], &product, sizeof product);
    NEXT(I64_MUL_WIDE_U);
}
label_LOOP:
    if (UNLIKELY(count_one(counter, function) <= 0)) {
        activation->ip = ip;
        uint64_t code = wj_hot(c, function, ip[1]);
        if (code != 0) {
            if (plan->counts_fuel != 0) {
                s[function->local_count] = (uint64_t)c->fuel;
            }
            activation->ip = NULL; /* in backtraces the code stands for this activation */
            wj_enter_loop(c, code, function->signature, s);
            goto finished;
        }
    }
    NEXT(LOOP);
label_BRANCH:
    ip = words + ip[1];
    goto *labels[*ip];
label_BRANCH_IF:
    ip = (uint32_t)s[ip[1]] != 0 ? words + ip[2] : ip + WJ_WORDS_BRANCH_IF;
    goto *labels[*ip];
label_BRANCH_UNLESS:
    ip = (uint32_t)s[ip[1]] == 0 ? words + ip[2] : ip + WJ_WORDS_BRANCH_UNLESS;
    goto *labels[*ip];
label_BRANCH_ON_NULL:
    ip = s[ip[1]] == 0 ? words + ip[2] : ip + WJ_WORDS_BRANCH_ON_NULL;
    goto *labels[*ip];
label_BRANCH_ON_NON_NULL:
    ip = s[ip[1]] != 0 ? words + ip[2] : ip + WJ_WORDS_BRANCH_ON_NON_NULL;
    goto *labels[*ip];
label_BRANCH_TABLE: {
    uint32_t index = (uint32_t)s[ip[1]];
    uint32_t count = ip[2];
    ip = words + ip[3 + (index < count ? index : count)];
    goto *labels[*ip];
}
label_RETURN: {
    uint32_t count = function->signature->result_slots;
    for (uint32_t i = 0; i < count; i++) {
        s[i] = s[ip[1] + i];
    }
    goto finished;
}
label_CALL: {
    activation->ip = ip;
    operands = s + ip[2];
    uint32_t position = ip[1] - plan->imported_function_count;
    CALL_DEFINED(position);
    NEXT(CALL);
}
label_CALL_IMPORT: {
    const wj_func_ref *reference = AT(const wj_func_ref *, plan->imported_functions_offset + 8 * ip[1]);
    const wj_signature *type = plan->types[plan->function_types[ip[1]]];
    activation->ip = ip;
    operands = s + ip[2];
    CALL_REFERENCE();
    NEXT(CALL_IMPORT);
}
label_CALL_INDIRECT: {
    const wj_func_ref *reference;
    CALLED_INDIRECTLY(reference);
    activation->ip = ip;
    SAVE_FUEL();
    operands = s + ip[4];
    if (LIKELY(reference->vmctx == c->vmctx)) { /* of this instance: imports have contexts of their own */
        uint32_t position = reference->function_index - plan->imported_function_count;
        CALL_DEFINED(position);
    } else {
        const wj_signature *type = plan->types[ip[1]];
        CALL_REFERENCE();
    }
    NEXT(CALL_INDIRECT);
}
label_CALL_REF: { /* validation has seen that what it refers to has the type */
    const wj_func_ref *reference = (const wj_func_ref *)(uintptr_t)s[ip[2]];
    TRAP_IF(reference == NULL, NULL_REFERENCE);
    activation->ip = ip;
    SAVE_FUEL();
    operands = s + ip[3];
    if (LIKELY(reference->vmctx == c->vmctx)) {
        uint32_t position = reference->function_index - plan->imported_function_count;
        CALL_DEFINED(position);
    } else {
        const wj_signature *type = plan->types[ip[1]];
        CALL_REFERENCE();
    }
    NEXT(CALL_REF);
}
label_RETURN_CALL:
    activation->ip = ip;
    operands = s + ip[2];
    callee = wj_tail_call_defined(c, activation, ip[1] - plan->imported_function_count, operands);
    goto tail_called;
label_RETURN_CALL_IMPORT: {
    const wj_func_ref *reference = AT(const wj_func_ref *, plan->imported_functions_offset + 8 * ip[1]);
    activation->ip = ip;
    operands = s + ip[2];
    callee = wj_tail_call_reference(c, activation, reference, plan->types[plan->function_types[ip[1]]], operands);
    goto tail_called;
}
label_RETURN_CALL_INDIRECT: {
    const wj_func_ref *reference;
    CALLED_INDIRECTLY(reference);
    activation->ip = ip;
    SAVE_FUEL();
    operands = s + ip[4];
    callee = wj_tail_call_reference(c, activation, reference, plan->types[ip[1]], operands);
    goto tail_called;
}
label_RETURN_CALL_REF: {
    const wj_func_ref *reference = (const wj_func_ref *)(uintptr_t)s[ip[2]];
    TRAP_IF(reference == NULL, NULL_REFERENCE);
    activation->ip = ip;
    SAVE_FUEL();
    operands = s + ip[3];
    callee = wj_tail_call_reference(c, activation, reference, plan->types[ip[1]], operands);
    goto tail_called;
}
label_GLOBAL_GET_32:
    s[ip[1]] = AT(uint32_t, ip[2]);
    NEXT(GLOBAL_GET_32);
label_GLOBAL_GET_64:
    s[ip[1]] = AT(uint64_t, ip[2]);
    NEXT(GLOBAL_GET_64);
label_GLOBAL_SET_32:
    AT(uint32_t, ip[2]) = (uint32_t)s[ip[1]];
    NEXT(GLOBAL_SET_32);
label_GLOBAL_SET_64:
    AT(uint64_t, ip[2]) = s[ip[1]];
    NEXT(GLOBAL_SET_64);
label_IMPORTED_GLOBAL_GET_32:
    s[ip[1]] = *AT(const uint32_t *, ip[2]);
    NEXT(IMPORTED_GLOBAL_GET_32);
label_IMPORTED_GLOBAL_GET_64:
    s[ip[1]] = *AT(const uint64_t *, ip[2]);
    NEXT(IMPORTED_GLOBAL_GET_64);
label_IMPORTED_GLOBAL_SET_32:
    *AT(uint32_t *, ip[2]) = (uint32_t)s[ip[1]];
    NEXT(IMPORTED_GLOBAL_SET_32);
label_IMPORTED_GLOBAL_SET_64:
    *AT(uint64_t *, ip[2]) = s[ip[1]];
    NEXT(IMPORTED_GLOBAL_SET_64);
label_GLOBAL_GET_128:
    memcpy(s + ip[1], &AT(wide, ip[2]), sizeof(wide));
    NEXT(GLOBAL_GET_128);
label_GLOBAL_SET_128:
    memcpy(&AT(wide, ip[2]), s + ip[1], sizeof(wide));
    NEXT(GLOBAL_SET_128);
label_IMPORTED_GLOBAL_GET_128:
    memcpy(s + ip[1], AT(const wide *, ip[2]), sizeof(wide));
    NEXT(IMPORTED_GLOBAL_GET_128);
label_IMPORTED_GLOBAL_SET_128:
    memcpy(AT(wide *, ip[2]), s + ip[1], sizeof(wide));
    NEXT(IMPORTED_GLOBAL_SET_128);
label_REF_FUNC:
    s[ip[1]] = (uint64_t)(uintptr_t)(c->vmctx + ip[2]);
    NEXT(REF_FUNC);
label_REF_FUNC_IMPORTED:
    s[ip[1]] = AT(uint64_t, ip[2]);
    NEXT(REF_FUNC_IMPORTED);
label_TABLE_GET: {
    const wj_table *table = TABLE(ip[2]);
    uint32_t index = (uint32_t)s[ip[3]];
    TRAP_IF(index >= table->length, TABLE_OUT_OF_BOUNDS);
    s[ip[1]] = table->elements[masked(index, table->length)];
    NEXT(TABLE_GET);
}
label_TABLE_SET: {
    const wj_table *table = TABLE(ip[1]);
    uint32_t index = (uint32_t)s[ip[2]];
    TRAP_IF(index >= table->length, TABLE_OUT_OF_BOUNDS);
    table->elements[masked(index, table->length)] = s[ip[3]];
    NEXT(TABLE_SET);
}
label_TABLE_SIZE:
    s[ip[1]] = TABLE(ip[2])->length;
    NEXT(TABLE_SIZE);
label_TABLE_GROW:
    activation->ip = ip;
    s[ip[1]] = NARROW(wj_builtin_table_grow(c->vmctx, ip[2], (void *)(uintptr_t)s[ip[3]], NARROW(s[ip[4]])));
    NEXT(TABLE_GROW);
label_TABLE_FILL:
    activation->ip = ip;
    wj_builtin_table_fill(c->vmctx, ip[1], NARROW(s[ip[2]]), (void *)(uintptr_t)s[ip[3]], NARROW(s[ip[4]]));
    NEXT(TABLE_FILL);
label_TABLE_COPY:
    activation->ip = ip;
    wj_builtin_table_copy(c->vmctx, ip[1], ip[2], NARROW(s[ip[3]]), NARROW(s[ip[4]]), NARROW(s[ip[5]]));
    NEXT(TABLE_COPY);
label_TABLE_INIT:
    activation->ip = ip;
    wj_builtin_table_init(c->vmctx, ip[1], ip[2], NARROW(s[ip[3]]), NARROW(s[ip[4]]), NARROW(s[ip[5]]));
    NEXT(TABLE_INIT);
label_ELEM_DROP:
    wj_builtin_elem_drop(c->vmctx, ip[1]);
    NEXT(ELEM_DROP);
label_CHECK: {
    const wj_memory *memory = AT(wj_memory_slot, plan->memories_offset).memory;
    uint64_t end = NARROW(s[ip[1]]) + ip[2] + ip[3];
    TRAP_IF(end > __atomic_load_n(&memory->size_bytes, __ATOMIC_RELAXED), MEMORY_OUT_OF_BOUNDS);
    NEXT(CHECK);
}
label_MEMORY_SIZE: {
    const wj_memory *memory = (&AT(wj_memory_slot, plan->memories_offset))[ip[2]].memory;
    s[ip[1]] = __atomic_load_n(&memory->size_bytes, __ATOMIC_RELAXED) >> memory->page_size_log2;
    NEXT(MEMORY_SIZE);
}
label_MEMORY_GROW:
    activation->ip = ip;
    s[ip[1]] = NARROW(wj_builtin_memory_grow(c->vmctx, ip[2], NARROW(s[ip[3]])));
    NEXT(MEMORY_GROW);
label_MEMORY_FILL:
    activation->ip = ip;
    wj_builtin_memory_fill(c->vmctx, ip[1], NARROW(s[ip[2]]), (uint32_t)s[ip[3]], NARROW(s[ip[4]]));
    NEXT(MEMORY_FILL);
label_MEMORY_COPY:
    activation->ip = ip;
    wj_builtin_memory_copy(c->vmctx, ip[1], ip[2], NARROW(s[ip[3]]), NARROW(s[ip[4]]), NARROW(s[ip[5]]));
    NEXT(MEMORY_COPY);
label_MEMORY_INIT:
    activation->ip = ip;
    wj_builtin_memory_init(c->vmctx, ip[1], ip[2], NARROW(s[ip[3]]), NARROW(s[ip[4]]), NARROW(s[ip[5]]));
    NEXT(MEMORY_INIT);
label_DATA_DROP:
    wj_builtin_data_drop(c->vmctx, ip[1]);
    NEXT(DATA_DROP);
label_TABLE_GROW_WIDE:
    activation->ip = ip;
    s[ip[1]] = wj_builtin_table_grow(c->vmctx, ip[2], (void *)(uintptr_t)s[ip[3]], s[ip[4]]);
    NEXT(TABLE_GROW_WIDE);
label_TABLE_FILL_WIDE:
    activation->ip = ip;
    wj_builtin_table_fill(c->vmctx, ip[1], s[ip[2]], (void *)(uintptr_t)s[ip[3]], s[ip[4]]);
    NEXT(TABLE_FILL_WIDE);
label_TABLE_COPY_WIDE:
    activation->ip = ip;
    wj_builtin_table_copy(c->vmctx, ip[1], ip[2], s[ip[3]], s[ip[4]], s[ip[5]]);
    NEXT(TABLE_COPY_WIDE);
label_TABLE_INIT_WIDE:
    activation->ip = ip;
    wj_builtin_table_init(c->vmctx, ip[1], ip[2], s[ip[3]], s[ip[4]], s[ip[5]]);
    NEXT(TABLE_INIT_WIDE);
label_MEMORY_GROW_WIDE:
    activation->ip = ip;
    s[ip[1]] = wj_builtin_memory_grow(c->vmctx, ip[2], s[ip[3]]);
    NEXT(MEMORY_GROW_WIDE);
label_MEMORY_FILL_WIDE:
    activation->ip = ip;
    wj_builtin_memory_fill(c->vmctx, ip[1], s[ip[2]], (uint32_t)s[ip[3]], s[ip[4]]);
    NEXT(MEMORY_FILL_WIDE);
label_MEMORY_COPY_WIDE:
    activation->ip = ip;
    wj_builtin_memory_copy(c->vmctx, ip[1], ip[2], s[ip[3]], s[ip[4]], s[ip[5]]);
    NEXT(MEMORY_COPY_WIDE);
label_MEMORY_INIT_WIDE:
    activation->ip = ip;
    wj_builtin_memory_init(c->vmctx, ip[1], ip[2], s[ip[3]], s[ip[4]], s[ip[5]]);
    NEXT(MEMORY_INIT_WIDE);
label_ATOMIC: {
    uint64_t address = ip[3] % 2 != 0 ? s[ip[6]] : NARROW(s[ip[6]]);
    activation->ip = ip;
    uint64_t result = (*wj_atomic_functions[ip[2]])(c->vmctx, ip[3] / 2, ip[4] | (uint64_t)ip[5] << 32, address, s[ip[7]], s[ip[8]]);
    if (ip[1] != WJ_NO_RESULT) {
        s[ip[1]] = result;
    }
    NEXT(ATOMIC);
}
label_ATOMIC_FENCE:
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    NEXT(ATOMIC_FENCE);
label_CANONICAL_32: {
    f32 a = f32_of(s[ip[2]]);
    s[ip[1]] = a != a ? UINT64_C(0x7fc00000) : f32_bits(a);
    NEXT(CANONICAL_32);
}
label_CANONICAL_64: {
    f64 a = f64_of(s[ip[2]]);
    s[ip[1]] = a != a ? UINT64_C(0x7ff8000000000000) : f64_bits(a);
    NEXT(CANONICAL_64);
}
label_SATURATE: {
    uint64_t value = s[ip[2]];
    s[ip[1]] = value < UINT32_MAX ? value : UINT32_MAX;
    NEXT(SATURATE);
}
label_FUEL_BEGIN:
    c->fuel = (int64_t)store->fuel - 1;
    if (UNLIKELY(c->fuel <= 0)) {
        store->fuel = (uint64_t)c->fuel;
        TRAP(OUT_OF_FUEL);
    }
    NEXT(FUEL_BEGIN);
label_FUEL:
    c->fuel -= ip[1];
    NEXT(FUEL);
label_FUEL_SAVE:
    c->fuel -= ip[1];
    store->fuel = (uint64_t)c->fuel;
    NEXT(FUEL_SAVE);
label_FUEL_SAVE_COUNT: {
    uint64_t count = ip[3] != 0 ? s[ip[2]] : NARROW(s[ip[2]]);
    c->fuel -= (int64_t)(ip[1] + (count < WJ_MOST_CHARGED ? count : WJ_MOST_CHARGED));
    store->fuel = (uint64_t)c->fuel;
    NEXT(FUEL_SAVE_COUNT);
}
label_FUEL_LOAD:
    c->fuel = (int64_t)store->fuel;
    NEXT(FUEL_LOAD);
label_FUEL_CHECK:
    if (UNLIKELY(c->fuel <= 0)) {
        store->fuel = (uint64_t)c->fuel;
        TRAP(OUT_OF_FUEL);
    }
    NEXT(FUEL_CHECK);
label_EPOCH: /* which another thread advances */
    if (UNLIKELY(__atomic_load_n((const uint64_t *)(uintptr_t)store->epoch, __ATOMIC_RELAXED) >= store->epoch_deadline)) {
        activation->ip = ip;
        wj_builtin_epoch_deadline_reached(c->vmctx);
    }
    NEXT(EPOCH);
}
