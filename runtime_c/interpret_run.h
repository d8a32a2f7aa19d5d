/* What entering the interpreter (interpret_enter.c), its loop (interpret.c) and its calls of other code (interpret_calls.c)
 * share. */
#ifndef WJ_INTERPRET_RUN_H
#define WJ_INTERPRET_RUN_H

#include "interpret_limits.h"

#define INTERPRETED 1u                /* wj_vmcontext.flags: something of the instance was interpreted */
/* A fault or an interrupt leaves these frames without their end, where AddressSanitizer would make the stack usable again. */
#define ABANDONED __attribute__((noinline, no_sanitize_address))

/* What runs here is in a section of its own: backtraces know its activations by the address (wj_in_interpreter). A trap of
 * a function must be raised from here, and nothing else may call out from here while an activation is half made. */
#define INTERPRETER_SECTION __attribute__((section("wj_interpreter"), noinline))

static inline void set_instance(context *c, void *vmctx)
{
    c->vmctx = vmctx;
    c->functions = ((wj_vmcontext *)vmctx)->functions;
    c->interpreter = wj_header_of(c->functions)->interpreter;
}

/* Copies the slots of a value of the type; so many there are. */
static inline uint32_t copy_value(uint64_t *to, const uint64_t *from, char letter)
{
    to[0] = from[0];
    if (letter == WJ_LETTER_V128) {
        to[1] = from[1];
    }
    return wj_slots_of(letter);
}

/* Counts of calls and iterations: which code is hot (compile/metering.py). */
static inline uint64_t *counter_of(const context *c, uint32_t position)
{
    return wj_function_words(c->functions, WJ_COUNTERS, c->interpreter->plan.function_count) + position;
}

/* A call, or an iteration of a loop: says what is left of the budget. Threads share both numbers, and may lose some. */
static inline int32_t count_one(uint64_t *count, wj_interpreted *function)
{
    __atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
    int32_t left = __atomic_load_n(&function->budget, __ATOMIC_RELAXED) - 1;
    __atomic_store_n(&function->budget, left, __ATOMIC_RELAXED);
    return left;
}

/* The function at a position, if it is interpreted, and known to be: it has words then. */
static inline wj_interpreted *interpreted_at(const context *c, uint32_t position)
{
    const wj_interpreter_plan *plan = &c->interpreter->plan;
    uint64_t code = __atomic_load_n(&c->functions[position], __ATOMIC_ACQUIRE);
    if (UNLIKELY(code != plan->stubs_address + (uint64_t)position * plan->stub_bytes)) {
        return NULL;
    }
    wj_interpreted *function = __atomic_load_n(&c->interpreter->functions[position], __ATOMIC_ACQUIRE);
    bool is_one = LIKELY(function != WJ_REFUSED_FUNCTION && function != NULL);
    return is_one && LIKELY(__atomic_load_n(&function->words, __ATOMIC_ACQUIRE) != NULL) ? function : NULL;
}

/* Native code of the function, which the function table has from now on, unless somebody was faster; NULL: there is none. */
static inline const wj_native *native_of(const context *c, uint32_t position, wj_interpreted *function)
{
    const wj_interpreter_plan *plan = &c->interpreter->plan;
    const wj_native *native = wj_native_of(c->interpreter, function);
    uint64_t stub = plan->stubs_address + (uint64_t)position * plan->stub_bytes;
    if (native != NULL) {
        uint64_t *place = wj_function_words(c->functions, WJ_CODES, plan->function_count) + position;
        (void)__atomic_compare_exchange_n(place, &stub, (uint64_t)(uintptr_t)native->code, false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_ACQUIRE);
    }
    return native;
}

/* The context of another instance whose function is called, if it is interpreted; NULL. */
static inline void *interpreted_instance(const wj_func_ref *reference)
{
    /* A host function's record has an address in place of the magic number, and addresses are aligned. */
    const wj_vmcontext *vmctx = reference->vmctx;
    return vmctx->magic == WJ_MAGIC && vmctx->flags == INTERPRETED ? reference->vmctx : NULL;
}

/* Where an access of so many bytes is, of a memory without guard pages, or another than the first: compared with the size, as
 * it is now. `words`: the memory and the offset (interpret.h). NULL: not in the memory. */
static inline uint8_t *wj_checked_place(const context *c, uint64_t address, const uint32_t *words, uint64_t access_bytes)
{
    const uint8_t *slots = c->vmctx + c->interpreter->plan.memories_offset;
    const wj_memory *memory = ((const wj_memory_slot *)(const void *)slots)[words[0] / 2].memory;
    uint64_t start = words[0] % 2 != 0 ? address : (uint32_t)address;
    uint64_t size_bytes = __atomic_load_n(&memory->size_bytes, __ATOMIC_RELAXED);
    if (UNLIKELY(__builtin_add_overflow(start, words[1] | (uint64_t)words[2] << 32, &start)) ||
        UNLIKELY(!wj_in_bounds(start, access_bytes, size_bytes))) {
        return NULL;
    }
    return memory->base + start;
}

/* ---- the interpreter stack ---- */

/* What is left between the slots of a function and its activation, but for two more activations: so a trap for want of
 * room, and a signal handler on top of the code that looks for it, have one to write. Negative: the call does not fit. */
static inline int64_t gap_of(const wj_activation *activation, const wj_interpreted *function, const uint64_t *slots)
{
    return (const uint8_t *)(activation - 2) - (const uint8_t *)(slots + function->slot_count);
}

/* Whether a call fits that leaves less free than calls may without a look. */
static inline bool fits(wj_store *store, int64_t gap_bytes)
{
    store->interpreter_gap_bytes = 0; /* to be given back after the call */
    return gap_bytes >= 0;
}

/* Interrupts land in the interpreter's own code only. Without the barriers this becomes a call of memset, where those that
 * a function of many locals is called again and again do not get through for seconds. */
static inline void clear_locals(const wj_interpreted *function, uint64_t *slots)
{
    uint32_t i = function->signature->param_slots;
    uint32_t end = function->local_count;
    for (; i + 8 <= end; i += 8) {
        for (uint32_t j = 0; j < 8; j++) {
            slots[i + j] = 0;
        }
        __asm__ volatile("" ::: "memory");
    }
    for (; i < end; i++) {
        slots[i] = 0;
        __asm__ volatile("" ::: "memory");
    }
}

/* ---- interpret.c ---- */

/* Runs the function of an activation, whose arguments are in its slots, where its results are then. With `c->next` instead
 * if other code is to be jumped to, with what is in the slots. */
WJ_INTERNAL void wj_run_interpreted(context *c, wj_store *store, wj_entry *entry, wj_activation *activation);

/* ---- interpret_calls.c ---- */

/* Goes on in compiled code that is entered at a loop (abi.py), with the locals as its frame, which the results replace. */
WJ_INTERNAL void wj_enter_loop(const context *c, uint64_t code, const wj_signature *type, uint64_t *locals);
/* The function is called or a loop begins anew, often: code to go on in, or 0. */
WJ_INTERNAL uint64_t wj_hot(const context *c, wj_interpreted *function, uint32_t loop_offset);
/* Where interpreted_at knows none: calls the function, with the operands at `values`, where it puts the results, and
 * returns NULL; or returns what is to be interpreted. */
WJ_INTERNAL wj_interpreted *wj_call_defined(const context *c, uint32_t position, uint64_t *values);
/* Of another instance, or a host function: says who calls. */
WJ_INTERNAL void wj_call_reference(const context *c, const wj_func_ref *reference, const wj_signature *type, uint64_t *values);
/* Tail calls in place of `activation`, with the operands at `values`. What is to be interpreted, of the instance that `c` is
 * of then; or NULL: `c` has code that is to be jumped to, or the results are in the activation's first slots. */
WJ_INTERNAL wj_interpreted *wj_tail_call_defined(context *c, wj_activation *activation, uint32_t position, uint64_t *values);
WJ_INTERNAL wj_interpreted *wj_tail_call_reference(context *c, wj_activation *activation, const wj_func_ref *reference,
                                                   const wj_signature *type, uint64_t *values);

#endif
