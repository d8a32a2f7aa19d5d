/* Evaluates constant expressions when an instance is made: all that are no plain constant, in one pass.
 *
 * The collector does not run meanwhile: who makes an instance has references in hands (wj_store.held). */
#include "builtins.h"
#include "leb128.h"
#include "wj_gc.h"

#include <string.h>

/* Of what may be left by a trap. */
#define ABANDONED __attribute__((noinline, no_sanitize_address))

typedef struct {
    const wj_constant_code *code;
    void *vmctx;
    const uint8_t *at;
    uint64_t (*top)[2]; /* behind the topmost operand */
} evaluation;

static void push(evaluation *e, uint64_t value)
{
    (*e->top)[0] = value;
    (*e->top)[1] = 0;
    e->top++;
}

static void push_bytes(evaluation *e, uint32_t size_bytes)
{
    push(e, 0);
    memcpy(e->top[-1], e->at, size_bytes);
    e->at += size_bytes;
}

static uint8_t *object_at(const evaluation *e, uint64_t object)
{
    return (uint8_t *)(uintptr_t)((wj_vmcontext *)e->vmctx)->store->gc_heap + object;
}

static uint64_t allocate(const evaluation *e, uint32_t type, uint64_t length, uint64_t size_bytes)
{
    uint32_t descriptor = ((const uint32_t *)((wj_vmcontext *)e->vmctx)->type_ids)[type];
    return wj_builtin_gc_allocate(e->vmctx, descriptor, length, size_bytes);
}

static void new_struct(evaluation *e, bool is_default)
{
    uint32_t type = (uint32_t)wj_read_unsigned(&e->at);
    const wj_gc_layout *layout = &e->code->types->layouts[type];
    uint64_t made = allocate(e, type, 0, layout->size_bytes);
    if (!is_default) {
        e->top -= layout->field_count;
        const uint32_t(*fields)[2] = e->code->types->fields + layout->first_field;
        for (uint32_t i = 0; i < layout->field_count; i++) {
            memcpy(object_at(e, made) + fields[i][0], e->top[i], fields[i][1]);
        }
    }
    push(e, made);
}

static uint64_t new_array(const evaluation *e, uint32_t type, uint64_t length)
{
    return allocate(e, type, length, wj_gc_array_bytes(length, e->code->types->layouts[type].size_bytes));
}

static void put_element(const evaluation *e, uint64_t array, uint32_t type, uint64_t position, const uint64_t *value)
{
    uint64_t element_bytes = e->code->types->layouts[type].size_bytes;
    memcpy(object_at(e, array) + sizeof(wj_gc_object) + position * element_bytes, value, element_bytes);
}

/* In pieces, between which it may be interrupted. The array is one that nothing refers to yet. */
static void fill(const evaluation *e, uint64_t array, uint32_t type, uint64_t length, const uint64_t *value)
{
    uint64_t element_bytes = e->code->types->layouts[type].size_bytes;
    uint8_t *first = object_at(e, array) + sizeof(wj_gc_object);
    uint64_t size_bytes = length * element_bytes;
    uint64_t done = size_bytes == 0 ? 0 : element_bytes;
    memcpy(first, value, done);
    while (done < size_bytes) { /* what is there is copied behind itself */
        uint64_t piece = done < PIECE_BYTES ? done : PIECE_BYTES / element_bytes * element_bytes;
        piece = piece < size_bytes - done ? piece : size_bytes - done;
        memcpy(first + done, first, piece);
        done += piece;
        resume();
    }
}

static void new_filled_array(evaluation *e, bool is_default)
{
    uint32_t type = (uint32_t)wj_read_unsigned(&e->at);
    uint64_t length = (uint32_t)(*--e->top)[0];
    uint64_t made = new_array(e, type, length);
    if (!is_default) {
        e->top--;
        fill(e, made, type, length, *e->top);
    }
    push(e, made);
}

static void new_fixed_array(evaluation *e)
{
    uint32_t type = (uint32_t)wj_read_unsigned(&e->at);
    uint64_t length = wj_read_unsigned(&e->at);
    uint64_t made = new_array(e, type, length);
    e->top -= length;
    for (uint64_t i = 0; i < length; i++) {
        put_element(e, made, type, i, e->top[i]);
    }
    push(e, made);
}

static void object_instruction(evaluation *e)
{
    switch (wj_read_unsigned(&e->at)) {
    case 0x00:
        new_struct(e, false);
        return;
    case 0x01:
        new_struct(e, true);
        return;
    case 0x06:
        new_filled_array(e, false);
        return;
    case 0x07:
        new_filled_array(e, true);
        return;
    case 0x08:
        new_fixed_array(e);
        return;
    case 0x1a: /* any.convert_extern */
        if (e->top[-1][0] >> 32 != 0) {
            wj_trap(WJ_TRAP_ALLOCATION_TOO_LARGE, 0);
        }
        return;
    case 0x1c:
        e->top[-1][0] = (uint32_t)(e->top[-1][0] << 1 | 1);
        return;
    default: /* extern.convert_any */
        return;
    }
}

static void arithmetic(evaluation *e, uint8_t opcode)
{
    e->top--;
    uint64_t a = e->top[-1][0];
    uint64_t b = e->top[0][0];
    uint32_t operation = opcode >= 0x7c ? opcode - 0x7cu : opcode - 0x6au; /* i64.add, i32.add, each before sub, mul */
    uint64_t result = operation == 0 ? a + b : operation == 1 ? a - b : a * b;
    e->top[-1][0] = opcode >= 0x7c ? result : (uint32_t)result;
}

static void get_global(evaluation *e)
{
    uint32_t index = (uint32_t)wj_read_unsigned(&e->at);
    const wj_constant_code *code = e->code;
    const uint8_t *context = e->vmctx;
    const void *from = context + code->globals_offset + WJ_GLOBAL_BYTES * (uint64_t)(index - code->imported_global_count);
    if (index < code->imported_global_count) {
        from = ((const void *const *)(const void *)(context + code->imported_globals_offset))[index];
    }
    push(e, 0);
    memcpy(e->top[-1], from, code->global_bytes[index]);
}

static void push_function(evaluation *e)
{
    uint32_t index = (uint32_t)wj_read_unsigned(&e->at);
    const uint8_t *place = (const uint8_t *)e->vmctx + e->code->func_ref_offsets[index];
    uint64_t reference = (uintptr_t)place;
    if (index < e->code->imported_function_count) {
        memcpy(&reference, place, sizeof reference);
    }
    push(e, reference);
}

/* The value of the constant function at a position. */
static void ABANDONED evaluate(const wj_constants *of, uint32_t position, uint64_t *value)
{
    const wj_constant_code *code = of->code;
    evaluation e = {code, of->context, code->bodies + code->starts[position], (uint64_t(*)[2])of->stack};
    for (;;) {
        uint8_t opcode = *e.at++;
        switch (opcode) {
        case 0x0b: /* end */
            memcpy(value, e.top[-1], sizeof e.top[-1]);
            return;
        case 0x23:
            get_global(&e);
            break;
        case 0x41:
            push(&e, (uint32_t)wj_read_signed(&e.at));
            break;
        case 0x42:
            push(&e, (uint64_t)wj_read_signed(&e.at));
            break;
        case 0x43:
            push_bytes(&e, sizeof(uint32_t));
            break;
        case 0x44:
            push_bytes(&e, sizeof(uint64_t));
            break;
        case 0xd0:
            (void)wj_read_signed(&e.at);
            push(&e, 0);
            break;
        case 0xd2:
            push_function(&e);
            break;
        case 0xfb:
            object_instruction(&e);
            break;
        case 0xfd: /* v128.const */
            (void)wj_read_unsigned(&e.at);
            push_bytes(&e, 2 * sizeof(uint64_t));
            break;
        default: /* validation has seen that it is one */
            arithmetic(&e, opcode);
            break;
        }
    }
}

/* ---- all of an instance ---- */

void ABANDONED wj_constants_run(wj_constants *constants)
{
    uint8_t *context = constants->context;
    for (; constants->done < constants->count; constants->done++) {
        const wj_constant *step = &constants->steps[constants->done];
        const void *from = context + step->from;
        uint64_t value[2] = {0, 0};
        switch (step->kind) {
        case WJ_CONSTANT_WORD:
            memcpy(value, from, sizeof value[0]);
            break;
        case WJ_CONSTANT_WIDE:
            memcpy(value, from, sizeof value);
            break;
        case WJ_CONSTANT_IMPORTED_WORD:
            memcpy(value, *(const void *const *)from, sizeof value[0]);
            break;
        case WJ_CONSTANT_IMPORTED_WIDE:
            memcpy(value, *(const void *const *)from, sizeof value);
            break;
        case WJ_CONSTANT_ADDRESS:
            value[0] = (uint64_t)(uintptr_t)from;
            break;
        default: /* WJ_CONSTANT_COMPUTED: of the constant function at a position */
            evaluate(constants, step->from, value);
            constants->results[step->from] = value[0];
            resume();
            break;
        }
        if (step->to != 0) {
            memcpy(context + step->to, value, sizeof value);
        }
    }
}

uint64_t wj_constants_code(void)
{
    return (uint64_t)(uintptr_t)wj_constants_run;
}
