/* Calls of the interpreter that leave its loop: of compiled code and host functions, and questions about better code. */
#include "interpret_run.h"

#include <alloca.h>
#include <string.h>

/* A frame on the stack of the function that this stands in, with so many slots behind it. Aligned as the stack is, by
 * hand: v128 places are stored with aligned moves. */
#define FRAME(slots)                                                                                  \
    ((wj_frame *)(((uintptr_t)alloca((WJ_SLOT_OF(stack) + (slots) + 2) * sizeof(uint64_t)) + 15) & ~(uintptr_t)15))

/* Puts the results of a call into the slots at `values`. */
static inline void take_results(const wj_signature *type, wj_frame *frame, uint64_t *area, uint64_t *values)
{
    for (uint32_t i = 0, slot = 0; i < type->result_count; i++) {
        slot += copy_value(values + slot, wj_result_slot(type, i, frame, area), type->places[type->param_count + i].letter);
    }
}

/* Calls code with the operands at `values`, where it puts the results. */
static void ABANDONED call_native(const context *c, const void *code, void *vmctx, const wj_signature *type, uint64_t *values)
{
    wj_frame *frame = FRAME(type->stack_slots + type->area_slots);
    uint64_t *area = frame->stack + type->stack_slots;
    uint64_t *places = (uint64_t *)frame;
    frame->ints[0] = (uint64_t)(uintptr_t)vmctx;
    frame->ints[1] = (uint64_t)(uintptr_t)area;
    for (uint32_t i = 0, slot = 0; i < type->param_count; i++) {
        slot += copy_value(places + type->places[i].slot, values + slot, type->places[i].letter);
    }
    limits before = lower_limits(c, (uintptr_t)frame);
    wj_call_frame(code, frame, type->stack_slots);
    put_back(c, before);
    take_results(type, frame, area, values);
}

_Static_assert(sizeof(uint64_t) == WJ_LOOP_FRAME_SLOT_BYTES, "locals are the frame of a loop entry");
void ABANDONED wj_enter_loop(const context *c, uint64_t code, const wj_signature *type, uint64_t *locals)
{
    wj_frame *frame = FRAME(type->area_slots);
    uint64_t *area = frame->stack;
    bool has_area = type->result_count > WJ_MAX_REGISTER_RESULTS;
    frame->ints[0] = (uint64_t)(uintptr_t)c->vmctx;
    frame->ints[1] = (uint64_t)(uintptr_t)(has_area ? area : locals);
    frame->ints[2] = (uint64_t)(uintptr_t)locals;
    limits before = lower_limits(c, (uintptr_t)frame);
    wj_call_frame((const void *)(uintptr_t)code, frame, 0);
    put_back(c, before);
    take_results(type, frame, area, locals);
}

uint64_t wj_hot(const context *c, wj_interpreted *function, uint32_t loop_offset)
{
    const wj_interpreter_plan *plan = &c->interpreter->plan;
    __atomic_store_n(&function->budget, plan->budget, __ATOMIC_RELAXED);
    uint32_t position = function->function_index - plan->imported_function_count;
    if (loop_offset == 0 && plan->has_stencils != 0) { /* the system gave no memory for it when it was called first, perhaps */
        (void)native_of(c, position, function);
    }
    /* What the code of a loop calls is native frames further down: where they get short it is not for this one. */
    if ((plan->patient != 0 && !wj_may_ask_of(function)) || (loop_offset != 0 && is_short(c, (uintptr_t)__builtin_frame_address(0)))) {
        return 0;
    }
    return wj_report_hot(c->vmctx, position, loop_offset, WJ_ASKED_BY_INTERPRETER);
}

wj_interpreted *wj_call_defined(const context *c, uint32_t position, uint64_t *values)
{
    const wj_interpreter_plan *plan = &c->interpreter->plan;
    uint64_t code = __atomic_load_n(&c->functions[position], __ATOMIC_ACQUIRE);
    bool must_interpret = is_short(c, (uintptr_t)__builtin_frame_address(0));
    if (must_interpret || code == plan->stubs_address + (uint64_t)position * plan->stub_bytes) {
        wj_interpreted *function = wj_interpreted_at(c->interpreter, position);
        /* This one is interpreted since it has something that there are no stencils of: what it calls may have nothing. */
        bool may_be_native = !must_interpret && function != WJ_REFUSED_FUNCTION && plan->has_stencils != 0;
        const wj_native *native = may_be_native ? native_of(c, position, function) : NULL;
        if (native != NULL) {
            code = (uint64_t)(uintptr_t)native->code;
        } else if (function != WJ_REFUSED_FUNCTION && wj_make_words(c->interpreter, function)) {
            return function;
        }
    }
    uint32_t type = plan->function_types[plan->imported_function_count + position];
    call_native(c, (const void *)(uintptr_t)code, c->vmctx, plan->types[type], values);
    return NULL;
}

void wj_call_reference(const context *c, const wj_func_ref *reference, const wj_signature *type, uint64_t *values)
{
    store_of(c)->caller = c->vmctx;
    call_native(c, __atomic_load_n(&reference->code, __ATOMIC_ACQUIRE), reference->vmctx, type, values);
}

/* ---- tail calls ----
 *
 * What is called takes the place of the caller. If that is interpreted too, it takes its activation. Other code is jumped to,
 * by the stub through which the loop was entered, if the caller is the first activation that the loop runs: so a chain of
 * jumps between both kinds takes one frame. If it is not, the code is called in its place, and the next interpreted function
 * of the chain is a first one. Arguments that do not fit in registers go where compiled code puts them (compile/tail_calls.py):
 * a function that has no register entry makes no tail calls, and is called. */

/* Of `code`, or its register entry if it has one. */
static void leave(context *c, wj_activation *activation, const void *code, const void *register_entry, void *vmctx,
                  const wj_signature *type, uint64_t *values)
{
    bool fits = type->stack_slots == 0;
    if (activation->is_first && (fits || register_entry != NULL)) {
        memmove(activation->slots, values, type->param_slots * sizeof *values);
        c->next = fits ? code : register_entry;
        c->next_vmctx = vmctx;
        c->next_type = type;
        return;
    }
    activation->ip = NULL; /* in backtraces the code stands for this activation */
    call_native(c, code, vmctx, type, values);
    memmove(activation->slots, values, type->result_slots * sizeof *values);
}

wj_interpreted *wj_tail_call_defined(context *c, wj_activation *activation, uint32_t position, uint64_t *values)
{
    const wj_interpreter_plan *plan = &c->interpreter->plan;
    uint64_t code = __atomic_load_n(&c->functions[position], __ATOMIC_ACQUIRE);
    if (code == plan->stubs_address + (uint64_t)position * plan->stub_bytes ||
        (!activation->is_first && is_short(c, (uintptr_t)__builtin_frame_address(0)))) {
        wj_interpreted *function = wj_interpreted_at(c->interpreter, position);
        if (function != WJ_REFUSED_FUNCTION && wj_make_words(c->interpreter, function)) {
            return function;
        }
    }
    uint64_t entry = __atomic_load_n(wj_function_words(c->functions, WJ_REGISTER_ENTRIES, plan->function_count) + position,
                                     __ATOMIC_ACQUIRE);
    uint32_t type = plan->function_types[plan->imported_function_count + position];
    leave(c, activation, (const void *)(uintptr_t)code, (const void *)(uintptr_t)entry, c->vmctx, plan->types[type], values);
    return NULL;
}

wj_interpreted *wj_tail_call_reference(context *c, wj_activation *activation, const wj_func_ref *reference,
                                       const wj_signature *type, uint64_t *values)
{
    if (reference->vmctx != c->vmctx) {
        void *instance = interpreted_instance(reference);
        store_of(c)->caller = c->vmctx;
        if (instance == NULL) {
            leave(c, activation, __atomic_load_n(&reference->code, __ATOMIC_ACQUIRE), reference->tail_code, reference->vmctx,
                  type, values);
            return NULL;
        }
        set_instance(c, instance);
    }
    return wj_tail_call_defined(c, activation, reference->function_index - c->interpreter->plan.imported_function_count, values);
}
