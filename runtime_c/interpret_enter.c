/* Enters the interpreter, from code that calls a function which is interpreted. */
#include "interpret_run.h"

#include <string.h>

#define STACK_SLACK_BYTES 1024u /* of the native stack, for the frames of the C functions here */

/* ---- the interpreter stack ---- */

/* The innermost activation of a store on this thread, or NULL: what is above its slots and below it is free. */
static wj_activation *innermost(const wj_store *store, const wj_entry *entry)
{
    for (; entry != NULL; entry = entry->outer) {
        if (entry->store == store && entry->activation != NULL) {
            return entry->activation;
        }
    }
    return NULL;
}

static void INTERPRETER_SECTION overflow(void)
{
    wj_trap(WJ_TRAP_STACK_OVERFLOW, 0);
}

/* An activation on top of those of the store. It traps if there is no room, also of the native stack, which is known to end
 * at `end`. */
static inline wj_activation *begin(wj_store *store, wj_entry *entry, const wj_interpreted *function, void *vmctx,
                                   uintptr_t here, uintptr_t end)
{
    wj_activation *below = innermost(store, entry);
    uint64_t *slots = below == NULL ? wj_interpreter_slots(store) : below->slots + below->function->slot_count;
    wj_activation *activation = (below == NULL ? wj_interpreter_activations(store) : below) - 1;
    *activation = (wj_activation){entry->activation, function->words, function, slots, vmctx, true,
                                  store->stack_limit, store->stencil_limit};
    int64_t gap_bytes = gap_of(activation, function, slots);
    __atomic_store_n(&entry->activation, activation, __ATOMIC_RELEASE);
    if (UNLIKELY(here < end + STACK_SLACK_BYTES ||
                 (gap_bytes < store->interpreter_gap_bytes && !fits(store, gap_bytes)))) {
        overflow();
    }
    return activation;
}

static inline void end_of(wj_store *store, wj_entry *entry, const wj_activation *activation)
{
    entry->activation = activation->outer;
    if (UNLIKELY(store->interpreter_gap_bytes == 0) && activation + 1 == wj_interpreter_activations(store)) {
        wj_interpreter_stack_give_back(store);
    }
}

/* Where an argument is: of a register entry those that do not fit in registers are in the store (compile/tail_calls.py). */
static inline uint64_t *argument_place(const wj_store *store, wj_frame *frame, uint32_t slot, bool is_register_entry)
{
    uint64_t *places = (uint64_t *)frame;
    if (!is_register_entry || slot < WJ_SLOT_OF(stack)) {
        return places + slot;
    }
    return (uint64_t *)(void *)(store->tail_arguments + WJ_TAIL_ARGUMENTS_SIZEOF) + (slot - WJ_SLOT_OF(stack));
}

/* The register entry of a function that has to be compiled first. Python makes tail calls meanwhile, perhaps. */
static uint64_t resolve_register_entry(const context *c, uint32_t position, wj_frame *frame)
{
    wj_store *store = store_of(c);
    uint8_t tail_arguments[WJ_TAIL_ARGUMENTS_BYTES];
    memcpy(tail_arguments, store->tail_arguments, sizeof tail_arguments);
    (void)wj_lazy_resolve(c->vmctx, position, &frame->link);
    memcpy(store->tail_arguments, tail_arguments, sizeof tail_arguments);
    uint64_t count = wj_header_of(c->functions)->function_count;
    return __atomic_load_n(wj_function_words(c->functions, WJ_REGISTER_ENTRIES, count) + position, __ATOMIC_ACQUIRE);
}

uint64_t ABANDONED wj_interpret(uint32_t position, wj_frame *frame)
{
    const wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    bool is_register_entry = (position & WJ_REGISTER_ENTRY_STUB) != 0;
    position &= ~WJ_REGISTER_ENTRY_STUB;
    context c = {.next = NULL};
    set_instance(&c, (void *)(uintptr_t)frame->ints[0]);
    wj_store *store = store_of(&c);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    c.native_top = (uintptr_t)frame->stack;
    bool is_known = here >= thread->stack_low && here < thread->stack_high;
    c.native_end = is_known ? thread->stack_low + thread->stack_headroom_bytes : 0;
    wj_interpreted *function =
        LIKELY(c.interpreter != NULL) ? wj_interpreted_at(c.interpreter, position) : WJ_REFUSED_FUNCTION;
    c.is_exhausted = false;
    if (function != WJ_REFUSED_FUNCTION && c.interpreter->plan.has_stencils != 0 && !is_register_entry) {
        const wj_native *native = native_of(&c, position, function);
        /* What its first instructions look at (wj_emit_prologue), which come here again where there is no room. */
        if (native != NULL && (uintptr_t)&frame->link - native->frame_bytes >= store->stencil_limit) {
            return (uint64_t)(uintptr_t)native->code;
        }
        c.is_exhausted = native != NULL;
    }
    if (function == WJ_REFUSED_FUNCTION || !wj_make_words(c.interpreter, function) ||
        (UNLIKELY(store->interpreter_stack == NULL) && !wj_interpreter_stack_make(store))) {
        return is_register_entry ? resolve_register_entry(&c, position, frame) : wj_lazy_resolve(c.vmctx, position, &frame->link);
    }
    ((wj_vmcontext *)(void *)c.vmctx)->flags = INTERPRETED;
    const wj_signature *type = function->signature;
    uintptr_t end = is_known ? c.native_end : store->stack_limit;
    wj_activation *activation = begin(store, entry, function, c.vmctx, here, end);
    uint64_t *slots = activation->slots;
    for (uint32_t i = 0, slot = 0; i < type->param_count; i++) {
        const wj_place *place = &type->places[i];
        slot += copy_value(slots + slot, argument_place(store, frame, place->slot, is_register_entry), place->letter);
    }
    uint64_t *area = (uint64_t *)(uintptr_t)frame->ints[1];
    clear_locals(function, slots);
    if (UNLIKELY(count_one(counter_of(&c, position), function) <= 0)) {
        (void)wj_hot(&c, function, 0);
    }
    wj_run_interpreted(&c, store, entry, activation);
    if (c.next != NULL) { /* with the results area as it is: it has as many results */
        frame->ints[0] = (uint64_t)(uintptr_t)c.next_vmctx;
        for (uint32_t i = 0, slot = 0; i < c.next_type->param_count; i++) {
            const wj_place *place = &c.next_type->places[i];
            slot += copy_value(argument_place(store, frame, place->slot, true), slots + slot, place->letter);
        }
        end_of(store, entry, activation);
        return (uint64_t)(uintptr_t)c.next;
    }
    for (uint32_t i = 0, slot = 0; i < type->result_count; i++) {
        slot += copy_value(wj_result_slot(type, i, frame, area), slots + slot, type->places[type->param_count + i].letter);
    }
    end_of(store, entry, activation);
    return 0;
}
