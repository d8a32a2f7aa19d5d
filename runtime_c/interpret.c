/* Runs translated functions. See interpret.h. */
#include "interpret.h"

#include <alloca.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef int64_t s64;
typedef float f32;
typedef double f64;

#define REFUSED ((wj_interpreted *)1) /* what is compiled only */
#define STACK_SLACK_BYTES 1024u       /* for the frames of C functions around the slots of an activation */

/* What runs here is in a section of its own: backtraces know its activations by the address (wj_in_interpreter). A trap of
 * a function must be raised from here, and nothing else may call out from here while an activation is half made. */
#define INTERPRETER_SECTION __attribute__((section("wj_interpreter"), noinline))
extern const char __start_wj_interpreter[] WJ_INTERNAL;
extern const char __stop_wj_interpreter[] WJ_INTERNAL;

bool wj_in_interpreter(uintptr_t pc)
{
    return pc >= (uintptr_t)__start_wj_interpreter && pc < (uintptr_t)__stop_wj_interpreter;
}

/* ---- a module ---- */

wj_interpreter *wj_interpreter_new(const wj_interpreter_plan *plan)
{
    wj_interpreter *made = calloc(1, sizeof *made + plan->function_count * sizeof made->functions[0]);
    if (made != NULL) {
        made->plan = *plan;
    }
    return made;
}

void wj_interpreter_free(wj_interpreter *interpreter)
{
    for (wj_interpreted *function = interpreter->made, *next; function != NULL; function = next) {
        next = function->next;
        free(function);
    }
    free(interpreter);
}

uint64_t wj_interpreter_stub_address(void)
{
    return (uint64_t)(uintptr_t)wj_interpreter_stub;
}

uint32_t wj_interpreter_find(wj_interpreter *interpreter, uintptr_t pc, uint32_t *offset)
{
    const wj_interpreted *function = __atomic_load_n(&interpreter->made, __ATOMIC_ACQUIRE);
    for (; function != NULL; function = function->next) {
        uintptr_t distance = pc - (uintptr_t)function->words;
        if (distance >= function->word_count * sizeof(uint32_t)) {
            continue;
        }
        *offset = 0;
        for (uint32_t i = 0; i < function->offset_count; i++) {
            if (function->offsets[i][0] == distance / sizeof(uint32_t)) {
                *offset = function->offsets[i][1];
            }
        }
        return function->function_index;
    }
    return UINT32_MAX;
}

/* The function at a position, translated now if it is not; REFUSED. Threads may both translate: one of the two stays. */
static wj_interpreted *function_at(wj_interpreter *interpreter, uint32_t position)
{
    wj_interpreted **place = &interpreter->functions[position];
    wj_interpreted *found = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (LIKELY(found != NULL)) {
        return found;
    }
    wj_interpreted *made = wj_translate(interpreter, position);
    made = made == NULL ? REFUSED : made;
    if (!__atomic_compare_exchange_n(place, &found, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        if (made != REFUSED) {
            free(made);
        }
        return found;
    }
    if (made != REFUSED) {
        made->next = __atomic_load_n(&interpreter->made, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&interpreter->made, &made->next, made, false, __ATOMIC_ACQ_REL,
                                            __ATOMIC_RELAXED)) {
        }
    }
    return made;
}

/* ---- calls ---- */

typedef struct {
    wj_interpreter *interpreter;
    const uint64_t *functions; /* the function table */
    uint8_t *vmctx;
} context;

static context context_of(void *vmctx)
{
    const uint64_t *functions = ((wj_vmcontext *)vmctx)->functions;
    return (context){(wj_interpreter *)(uintptr_t)functions[-3], functions, vmctx};
}

/* Counts of calls and iterations, behind both halves of the function table: which code is hot (compile/metering.py). */
static uint64_t *counter_of(const context *c, uint32_t position)
{
    return (uint64_t *)(uintptr_t)c->functions + (size_t)2 * c->interpreter->plan.function_count + position;
}

/* A frame on the stack of the function that this stands in, with so many slots behind it. Aligned as the stack is, by
 * hand: v128 places are stored with aligned moves. */
#define FRAME(slots)                                                                                  \
    ((wj_frame *)(((uintptr_t)alloca((WJ_SLOT_OF(stack) + (slots) + 2) * sizeof(uint64_t)) + 15) & ~(uintptr_t)15))

/* Calls code with the operands at `values`, where it puts the results. */
static void call_native(const void *code, void *vmctx, const wj_signature *type, uint64_t *values)
{
    wj_frame *frame = FRAME(type->stack_slots + type->area_slots);
    uint64_t *area = frame->stack + type->stack_slots;
    uint64_t *places = (uint64_t *)frame;
    frame->ints[0] = (uint64_t)(uintptr_t)vmctx;
    frame->ints[1] = (uint64_t)(uintptr_t)area;
    for (uint32_t i = 0; i < type->param_count; i++) {
        places[type->places[i].slot] = values[i];
    }
    wj_call_frame(code, frame, type->stack_slots);
    for (uint32_t i = 0; i < type->result_count; i++) {
        values[i] = *wj_result_slot(type, i, frame, area);
    }
}

/* Goes on in compiled code, whose only parameter are the locals; the results come to `values`. */
static void enter_loop(uint64_t code, void *vmctx, const wj_signature *type, uint64_t *locals, uint64_t *values)
{
    wj_frame *frame = FRAME(type->area_slots);
    uint64_t *area = frame->stack;
    bool has_area = type->result_count > WJ_MAX_REGISTER_RESULTS;
    frame->ints[0] = (uint64_t)(uintptr_t)vmctx;
    frame->ints[1] = (uint64_t)(uintptr_t)(has_area ? area : locals);
    frame->ints[2] = (uint64_t)(uintptr_t)locals;
    wj_call_frame((const void *)(uintptr_t)code, frame, 0);
    for (uint32_t i = 0; i < type->result_count; i++) {
        values[i] = *wj_result_slot(type, i, frame, area);
    }
}

static void run(const context *c, wj_interpreted *function, uint64_t *slots, uint64_t *values, wj_activation *activation);

static void INTERPRETER_SECTION overflow(void)
{
    wj_trap(WJ_TRAP_STACK_OVERFLOW, 0);
}

/* The function is called or a loop begins anew, often: code to go on in, or 0. */
static uint64_t hot(const context *c, wj_interpreted *function, uint32_t loop_offset)
{
    const wj_interpreter_plan *plan = &c->interpreter->plan;
    function->budget = plan->budget;
    if (plan->patient != 0 && !wj_may_ask()) {
        return 0;
    }
    return wj_report_hot(c->vmctx, function->function_index - plan->imported_function_count, loop_offset, 0);
}

/* Runs a function with the operands at `values`, where it puts the results. */
static void call_interpreted(const context *c, wj_interpreted *function, uint64_t *values)
{
    wj_entry *entry = wj_this_thread.entry;
    wj_activation activation = {entry->activation, function->words};
    size_t bytes = (size_t)function->slot_count * sizeof(uint64_t);
    entry->activation = &activation;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uint64_t limit = ((wj_vmcontext *)c->vmctx)->store->stack_limit;
    if (UNLIKELY(here < limit || here - limit < bytes + STACK_SLACK_BYTES)) {
        overflow();
    }
    ++*counter_of(c, function->function_index - c->interpreter->plan.imported_function_count);
    if (UNLIKELY(--function->budget <= 0)) {
        (void)hot(c, function, 0);
    }
    uint64_t *slots = alloca(bytes + sizeof(uint64_t));
    uint32_t params = function->signature->param_count;
    for (uint32_t i = 0; i < params; i++) {
        slots[i] = values[i];
    }
    memset(slots + params, 0, (function->local_count - params) * sizeof(uint64_t));
    run(c, function, slots, values, &activation);
    entry->activation = activation.outer;
}

static void call_defined(const context *c, uint32_t index, uint64_t *values)
{
    const wj_interpreter_plan *plan = &c->interpreter->plan;
    uint32_t position = index - plan->imported_function_count;
    uint64_t code = __atomic_load_n(&c->functions[position], __ATOMIC_ACQUIRE);
    if (code == plan->stubs_address + (uint64_t)position * plan->stub_bytes) {
        wj_interpreted *function = function_at(c->interpreter, position);
        if (LIKELY(function != REFUSED)) {
            call_interpreted(c, function, values);
            return;
        }
    }
    call_native((const void *)(uintptr_t)code, c->vmctx, plan->types[plan->function_types[index]], values);
}

/* Of another instance, or a host function: says who calls. */
static void call_reference(const context *c, const wj_func_ref *reference, const wj_signature *type, uint64_t *values)
{
    ((wj_vmcontext *)c->vmctx)->store->caller = c->vmctx;
    call_native(__atomic_load_n(&reference->code, __ATOMIC_ACQUIRE), reference->vmctx, type, values);
}

uint64_t wj_interpret(uint32_t position, wj_frame *frame)
{
    context c = context_of((void *)(uintptr_t)frame->ints[0]);
    wj_interpreted *function = function_at(c.interpreter, position);
    if (function == REFUSED) {
        return wj_lazy_resolve(c.vmctx, position, &frame->link);
    }
    const wj_signature *type = function->signature;
    uint32_t count = type->param_count > type->result_count ? type->param_count : type->result_count;
    uint64_t *values = alloca((count + 1) * sizeof(uint64_t));
    uint64_t *places = (uint64_t *)frame;
    for (uint32_t i = 0; i < type->param_count; i++) {
        values[i] = places[type->places[i].slot];
    }
    uint64_t *area = (uint64_t *)(uintptr_t)frame->ints[1];
    call_interpreted(&c, function, values);
    for (uint32_t i = 0; i < type->result_count; i++) {
        *wj_result_slot(type, i, frame, area) = values[i];
    }
    return 0;
}

/* ---- the loop ---- */

static inline f32 f32_of(uint64_t slot)
{
    uint32_t bits = (uint32_t)slot;
    f32 value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline f64 f64_of(uint64_t slot)
{
    f64 value;
    memcpy(&value, &slot, sizeof value);
    return value;
}

static inline uint64_t f32_bits(f32 value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint64_t f64_bits(f64 value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

#define READ_u32(slot) ((u32)(slot))
#define READ_s32(slot) ((s32)(slot))
#define READ_u64(slot) ((u64)(slot))
#define READ_s64(slot) ((s64)(slot))
#define READ_f32(slot) f32_of(slot)
#define READ_f64(slot) f64_of(slot)
#define BITS_u32(value) ((uint64_t)(u32)(value))
#define BITS_s32(value) ((uint64_t)(u32)(s32)(value))
#define BITS_u64(value) ((uint64_t)(value))
#define BITS_s64(value) ((uint64_t)(s64)(value))
#define BITS_f32(value) f32_bits(value)
#define BITS_f64(value) f64_bits(value)

/* What is wrong has to be known before wj_trap walks the stack. */
#define TRAP(name) (activation->ip = ip, wj_trap(WJ_TRAP_##name, 0))
#define TRAP_IF(condition, name) (UNLIKELY(condition) ? TRAP(name) : (void)0)
#define TRAP_ZERO(b) TRAP_IF((b) == 0, INTEGER_DIVISION_BY_ZERO)
#define TRAP_UNLESS(a, fits) (TRAP_IF((a) != (a), BAD_CONVERSION_TO_INTEGER), TRAP_IF(!(fits), INTEGER_OVERFLOW))
#define TRAP_UNLESS_BETWEEN(a, low, high) TRAP_UNLESS(a, (f64)(a) > (low) && (f64)(a) < (high))
#define TRAP_UNLESS_FROM(a, low, high) TRAP_UNLESS(a, (f64)(a) >= (low) && (f64)(a) < (high))
#define SATURATE(a, low, high, type, least, most) \
    ((a) != (a) ? 0 : (f64)(a) < (low) ? (least) : (f64)(a) >= (high) ? (most) : (type)(a))
/* These C functions may return a signalling NaN as it is. */
#define QUIET(expression) ((a) != (a) ? (a) + (a) : (expression))
/* Equal numbers may be zeros of both signs; sums of NaNs are quiet NaNs. */
#define MINIMUM(a, b, bits) ((a) != (a) || (b) != (b) ? (a) + (b) : (a) == (b) ? OR_##bits(a, b) : (a) < (b) ? (a) : (b))
#define MAXIMUM(a, b, bits) ((a) != (a) || (b) != (b) ? (a) + (b) : (a) == (b) ? AND_##bits(a, b) : (a) > (b) ? (a) : (b))
#define OR_u32(a, b) f32_of(f32_bits(a) | f32_bits(b))
#define AND_u32(a, b) f32_of(f32_bits(a) & f32_bits(b))
#define OR_u64(a, b) f64_of(f64_bits(a) | f64_bits(b))
#define AND_u64(a, b) f64_of(f64_bits(a) & f64_bits(b))

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

#define NEXT(words) \
    ip += (words);  \
    goto *labels[*ip]

static void INTERPRETER_SECTION run(const context *c, wj_interpreted *function, uint64_t *s, uint64_t *values,
                                    wj_activation *activation)
{
    static const void *const labels[] = {
#define WJ_X(name) &&label_##name,
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
    };
    const wj_interpreter_plan *plan = &c->interpreter->plan;
    const uint32_t *words = function->words;
    const uint32_t *ip = words;
    /* Guard pages: memory 0 never moves, and whatever lies behind its end faults. */
    uintptr_t base = plan->has_memory != 0 ? (uintptr_t)AT(wj_memory_slot, plan->memories_offset).base : 0;
    uint64_t *counter = counter_of(c, function->function_index - plan->imported_function_count);
    goto *labels[*ip];

/* Operands are read before the result is written: it may go to the slot of one of them. */
#define WJ_X(opcode, name, result, operand, expression) \
    label_##name:                                       \
    {                                                   \
        operand a = READ_##operand(s[ip[2]]);           \
        s[ip[1]] = BITS_##result(expression);           \
        NEXT(3);                                        \
    }
    WJ_UNARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, result, first, second, expression) \
    label_##name:                                             \
    {                                                         \
        first a = READ_##first(s[ip[2]]);                     \
        second b = READ_##second(s[ip[3]]);                   \
        s[ip[1]] = BITS_##result(expression);                 \
        NEXT(4);                                              \
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
        NEXT(4);                                              \
    }
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, result, first, second, expression) \
    label_BRANCH_##name:                                      \
    {                                                         \
        first a = READ_##first(s[ip[1]]);                     \
        second b = READ_##second(s[ip[2]]);                   \
        ip = (expression) != 0 ? words + ip[3] : ip + 4;      \
        NEXT(0);                                              \
    }
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, result, first, second, expression) \
    label_BRANCH_##name##_IMMEDIATE:                          \
    {                                                         \
        first a = READ_##first(s[ip[1]]);                     \
        second b = (second)(s64)(s32)ip[2];                   \
        ip = (expression) != 0 ? words + ip[3] : ip + 4;      \
        NEXT(0);                                              \
    }
    WJ_INTEGER_BINARY_ROWS(WJ_X)
#undef WJ_X
/* An address has 32 bits, and an offset too: their sum must not be cut to 32 bits. It ends within the guard, or CHECK stands
 * before the access (interpret_translate.c: check_offset): without it, the sum reaches what the host has there. The fault
 * handler reads activation->ip. */
#define WJ_X(opcode, name, memory_type, wide)                              \
    label_##name:                                                          \
    {                                                                      \
        memory_type loaded;                                                \
        activation->ip = ip;                                               \
        memcpy(&loaded, (const void *)(base + NARROW(s[ip[2]]) + ip[3]), sizeof loaded); \
        s[ip[1]] = BITS_##wide((wide)loaded);                              \
        NEXT(4);                                                           \
    }
    WJ_LOAD_ROWS(WJ_X)
#undef WJ_X
#define WJ_X(opcode, name, memory_type)                                    \
    label_##name:                                                          \
    {                                                                      \
        memory_type stored = (memory_type)s[ip[2]];                        \
        activation->ip = ip;                                               \
        memcpy((void *)(base + NARROW(s[ip[1]]) + ip[3]), &stored, sizeof stored); \
        NEXT(4);                                                           \
    }
    WJ_STORE_ROWS(WJ_X)
#undef WJ_X

label_UNREACHABLE:
    TRAP(UNREACHABLE);
label_COPY:
    s[ip[1]] = s[ip[2]];
    NEXT(3);
label_MOVE:
    memmove(s + ip[1], s + ip[2], ip[3] * sizeof *s);
    NEXT(4);
label_CONSTANT:
    s[ip[1]] = ip[2];
    NEXT(3);
label_CONSTANT_64:
    s[ip[1]] = ip[2] | (uint64_t)ip[3] << 32;
    NEXT(4);
label_SELECT:
    s[ip[1]] = (uint32_t)s[ip[4]] != 0 ? s[ip[2]] : s[ip[3]];
    NEXT(5);
label_LOOP:
    ++*counter;
    if (UNLIKELY(--function->budget <= 0)) {
        activation->ip = ip;
        uint64_t code = hot(c, function, ip[1]);
        if (code != 0) {
            activation->ip = NULL; /* in backtraces the code stands for this activation, */
            enter_loop(code, c->vmctx, function->signature, s, values);
            __asm__ volatile("" ::: "memory"); /* and ours has to be there: a tail call would leave a record too many */
            return;
        }
    }
    NEXT(2);
label_BRANCH:
    ip = words + ip[1];
    NEXT(0);
label_BRANCH_IF:
    ip = (uint32_t)s[ip[1]] != 0 ? words + ip[2] : ip + 3;
    NEXT(0);
label_BRANCH_UNLESS:
    ip = (uint32_t)s[ip[1]] == 0 ? words + ip[2] : ip + 3;
    NEXT(0);
label_BRANCH_TABLE: {
    uint32_t index = (uint32_t)s[ip[1]];
    uint32_t count = ip[2];
    ip = words + ip[3 + (index < count ? index : count)];
    NEXT(0);
}
label_RETURN: {
    uint32_t count = function->signature->result_count;
    for (uint32_t i = 0; i < count; i++) {
        values[i] = s[ip[1] + i];
    }
    return;
}
label_CALL:
    activation->ip = ip;
    call_defined(c, ip[1], s + ip[2]);
    NEXT(3);
label_CALL_IMPORT:
    activation->ip = ip;
    call_reference(c, AT(const wj_func_ref *, plan->imported_functions_offset + 8 * ip[1]),
                   plan->types[plan->function_types[ip[1]]], s + ip[2]);
    NEXT(3);
label_CALL_INDIRECT: {
    const wj_table *table = TABLE(ip[2]);
    uint32_t index = (uint32_t)s[ip[3]];
    TRAP_IF(index >= table->length, TABLE_OUT_OF_BOUNDS);
    const wj_func_ref *reference = (const wj_func_ref *)(uintptr_t)table->elements[masked(index, table->length)];
    TRAP_IF(reference == NULL, INDIRECT_CALL_TO_NULL);
    TRAP_IF(reference->type_id != ((const uint32_t *)((wj_vmcontext *)c->vmctx)->type_ids)[ip[1]], BAD_SIGNATURE);
    activation->ip = ip;
    if (LIKELY(reference->vmctx == c->vmctx)) { /* of this instance: imports have contexts of their own */
        call_defined(c, reference->function_index, s + ip[4]);
    } else {
        call_reference(c, reference, plan->types[ip[1]], s + ip[4]);
    }
    NEXT(5);
}
label_GLOBAL_GET_32:
    s[ip[1]] = AT(uint32_t, ip[2]);
    NEXT(3);
label_GLOBAL_GET_64:
    s[ip[1]] = AT(uint64_t, ip[2]);
    NEXT(3);
label_GLOBAL_SET_32:
    AT(uint32_t, ip[2]) = (uint32_t)s[ip[1]];
    NEXT(3);
label_GLOBAL_SET_64:
    AT(uint64_t, ip[2]) = s[ip[1]];
    NEXT(3);
label_IMPORTED_GLOBAL_GET_32:
    s[ip[1]] = *AT(const uint32_t *, ip[2]);
    NEXT(3);
label_IMPORTED_GLOBAL_GET_64:
    s[ip[1]] = *AT(const uint64_t *, ip[2]);
    NEXT(3);
label_IMPORTED_GLOBAL_SET_32:
    *AT(uint32_t *, ip[2]) = (uint32_t)s[ip[1]];
    NEXT(3);
label_IMPORTED_GLOBAL_SET_64:
    *AT(uint64_t *, ip[2]) = s[ip[1]];
    NEXT(3);
label_REF_FUNC:
    s[ip[1]] = (uint64_t)(uintptr_t)(c->vmctx + ip[2]);
    NEXT(3);
label_REF_FUNC_IMPORTED:
    s[ip[1]] = AT(uint64_t, ip[2]);
    NEXT(3);
label_TABLE_GET: {
    const wj_table *table = TABLE(ip[2]);
    uint32_t index = (uint32_t)s[ip[3]];
    TRAP_IF(index >= table->length, TABLE_OUT_OF_BOUNDS);
    s[ip[1]] = table->elements[masked(index, table->length)];
    NEXT(4);
}
label_TABLE_SET: {
    const wj_table *table = TABLE(ip[1]);
    uint32_t index = (uint32_t)s[ip[2]];
    TRAP_IF(index >= table->length, TABLE_OUT_OF_BOUNDS);
    table->elements[masked(index, table->length)] = s[ip[3]];
    NEXT(4);
}
label_TABLE_SIZE:
    s[ip[1]] = TABLE(ip[2])->length;
    NEXT(3);
label_TABLE_GROW:
    activation->ip = ip;
    s[ip[1]] = NARROW(wj_builtin_table_grow(c->vmctx, ip[2], (void *)(uintptr_t)s[ip[3]], NARROW(s[ip[4]])));
    NEXT(5);
label_TABLE_FILL:
    activation->ip = ip;
    wj_builtin_table_fill(c->vmctx, ip[1], NARROW(s[ip[2]]), (void *)(uintptr_t)s[ip[3]], NARROW(s[ip[4]]));
    NEXT(5);
label_TABLE_COPY:
    activation->ip = ip;
    wj_builtin_table_copy(c->vmctx, ip[1], ip[2], NARROW(s[ip[3]]), NARROW(s[ip[4]]), NARROW(s[ip[5]]));
    NEXT(6);
label_TABLE_INIT:
    activation->ip = ip;
    wj_builtin_table_init(c->vmctx, ip[1], ip[2], NARROW(s[ip[3]]), NARROW(s[ip[4]]), NARROW(s[ip[5]]));
    NEXT(6);
label_ELEM_DROP:
    wj_builtin_elem_drop(c->vmctx, ip[1]);
    NEXT(2);
label_CHECK: {
    const wj_memory *memory = AT(wj_memory_slot, plan->memories_offset).memory;
    uint64_t end = NARROW(s[ip[1]]) + ip[2] + ip[3];
    TRAP_IF(end > __atomic_load_n(&memory->size_bytes, __ATOMIC_RELAXED), MEMORY_OUT_OF_BOUNDS);
    NEXT(4);
}
label_MEMORY_SIZE: {
    const wj_memory *memory = (&AT(wj_memory_slot, plan->memories_offset))[ip[2]].memory;
    s[ip[1]] = __atomic_load_n(&memory->size_bytes, __ATOMIC_RELAXED) >> memory->page_size_log2;
    NEXT(3);
}
label_MEMORY_GROW:
    activation->ip = ip;
    s[ip[1]] = NARROW(wj_builtin_memory_grow(c->vmctx, ip[2], NARROW(s[ip[3]])));
    NEXT(4);
label_MEMORY_FILL:
    activation->ip = ip;
    wj_builtin_memory_fill(c->vmctx, ip[1], NARROW(s[ip[2]]), (uint32_t)s[ip[3]], NARROW(s[ip[4]]));
    NEXT(5);
label_MEMORY_COPY:
    activation->ip = ip;
    wj_builtin_memory_copy(c->vmctx, ip[1], ip[2], NARROW(s[ip[3]]), NARROW(s[ip[4]]), NARROW(s[ip[5]]));
    NEXT(6);
label_MEMORY_INIT:
    activation->ip = ip;
    wj_builtin_memory_init(c->vmctx, ip[1], ip[2], NARROW(s[ip[3]]), NARROW(s[ip[4]]), NARROW(s[ip[5]]));
    NEXT(6);
label_DATA_DROP:
    wj_builtin_data_drop(c->vmctx, ip[1]);
    NEXT(2);
}
