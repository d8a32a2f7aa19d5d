/* What the interpreter keeps: of a module its translated functions, of a store the stack that their activations are in. */
#include "stencil.h"

#include <stdlib.h>
#include <sys/mman.h>

/* The interpreter stack has so many times what compiled code may use: a slot for each local and operand takes more than
 * the registers that these are in, and no program may get less deep here. */
#define STACK_FACTOR 16u
#define LEAST_STACK_BYTES 4096u
#define MOST_STACK_BYTES (UINT64_C(1) << 32)
#define STACK_ALIGNMENT_BYTES 4096u
#define STACK_KEPT_BYTES (UINT64_C(1) << 20) /* stays after the call that used it */

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
        if (function->words != NULL) {
            free(wj_body_of(function->words));
        }
        free(function->fresh);
        free(function);
    }
    wj_natives_free(interpreter);
    free(interpreter);
}

uint32_t wj_interpreter_find(wj_interpreter *interpreter, uintptr_t pc, uint32_t *offset)
{
    const wj_native *native = wj_native_find(interpreter, pc, offset);
    if (native != NULL) {
        return *offset == WJ_HAND_OVER_OFFSET ? WJ_NO_FUNCTION : native->function_index;
    }
    const wj_interpreted *function = __atomic_load_n(&interpreter->made, __ATOMIC_ACQUIRE);
    for (; function != NULL; function = function->next) {
        const uint32_t *words = __atomic_load_n(&function->words, __ATOMIC_ACQUIRE);
        uintptr_t distance = pc - (uintptr_t)words;
        if (words == NULL || distance >= wj_body_of(words)->word_count * sizeof(uint32_t)) {
            continue;
        }
        const uint32_t(*offsets)[2] = wj_offsets_of(wj_body_of(words));
        *offset = 0;
        for (uint32_t i = 0; i < wj_body_of(words)->offset_count; i++) {
            if (offsets[i][0] == distance / sizeof(uint32_t)) {
                *offset = offsets[i][1];
            }
        }
        return function->function_index;
    }
    return WJ_NO_FUNCTION;
}

void wj_interpreter_report(const wj_interpreter *interpreter, wj_translation *translations)
{
    uint32_t imported = interpreter->plan.imported_function_count;
    const wj_interpreted *function = __atomic_load_n(&interpreter->made, __ATOMIC_ACQUIRE);
    for (; function != NULL; function = function->next) {
        int64_t taken_ns = __atomic_load_n(&function->translate_ns, __ATOMIC_RELAXED);
        translations[function->function_index - imported].nanoseconds = (uint64_t)taken_ns;
    }
    const wj_native *native = __atomic_load_n(&interpreter->natives, __ATOMIC_ACQUIRE);
    for (; native != NULL; native = native->next) {
        translations[native->function_index - imported].code_bytes = native->size_bytes;
    }
}

void wj_interpreter_tell(wj_interpreter *interpreter, uint32_t position)
{
    wj_interpreted *function = __atomic_load_n(&interpreter->functions[position], __ATOMIC_ACQUIRE);
    if (function != NULL && function != WJ_REFUSED_FUNCTION) {
        __atomic_store_n(&function->has_news, 1, __ATOMIC_RELAXED);
    }
}

void wj_interpreter_translate_all(wj_interpreter *interpreter, wj_translated_module *total)
{
    int64_t began_ns = wj_now_ns(CLOCK_THREAD_CPUTIME_ID);
    for (uint32_t position = 0; position < interpreter->plan.function_count; position++) {
        (void)wj_interpreted_at(interpreter, position);
    }
    int64_t between_ns = wj_now_ns(CLOCK_THREAD_CPUTIME_ID);
    for (wj_interpreted *function = interpreter->made; function != NULL; function = function->next) {
        (void)wj_native_of(interpreter, function);
    }
    total->word_ns = (uint64_t)(between_ns - began_ns);
    total->code_ns = (uint64_t)(wj_now_ns(CLOCK_THREAD_CPUTIME_ID) - between_ns);
    wj_interpreter_measure(interpreter, total);
}

void wj_interpreter_measure(const wj_interpreter *interpreter, wj_translated_module *total)
{
    for (const wj_interpreted *function = interpreter->made; function != NULL; function = function->next) {
        total->function_count++;
        total->instruction_count += function->instruction_count;
        total->word_bytes += sizeof *function;
        total->word_bytes += function->words != NULL ? wj_body_words_bytes(wj_body_of(function->words)) : 0;
        total->word_bytes += function->fresh != NULL ? wj_body_words_bytes(function->fresh) : 0;
    }
    for (const wj_native *native = interpreter->natives; native != NULL; native = native->next) {
        total->native_count++;
        total->code_bytes += native->size_bytes;
        total->table_bytes += sizeof *native + native->sites_bytes;
    }
}

/* Threads may both translate: one of the two stays. */
wj_interpreted *wj_interpreted_at(wj_interpreter *interpreter, uint32_t position)
{
    wj_interpreted **place = &interpreter->functions[position];
    wj_interpreted *found = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (LIKELY(found != NULL)) {
        return found;
    }
    int64_t began_ns = wj_now_ns(CLOCK_MONOTONIC);
    wj_interpreted *made = wj_translate(interpreter, position);
    if (made == NULL) {
        made = WJ_REFUSED_FUNCTION;
    } else {
        made->translate_ns = wj_now_ns(CLOCK_MONOTONIC) - began_ns;
    }
    if (!__atomic_compare_exchange_n(place, &found, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        if (made != WJ_REFUSED_FUNCTION) {
            free(made->fresh);
            free(made);
        }
        return found;
    }
    if (made != WJ_REFUSED_FUNCTION) {
        made->next = __atomic_load_n(&interpreter->made, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&interpreter->made, &made->next, made, false, __ATOMIC_ACQ_REL,
                                            __ATOMIC_RELAXED)) {
        }
    }
    return made;
}

wj_body_words *wj_take_words(const wj_interpreter *interpreter, wj_interpreted *function)
{
    wj_body_words *fresh = __atomic_exchange_n(&function->fresh, NULL, __ATOMIC_ACQ_REL);
    uint32_t position = function->function_index - interpreter->plan.imported_function_count;
    return fresh != NULL ? fresh : wj_translate_again(interpreter, position);
}

void wj_keep_words(wj_interpreted *function, wj_body_words *body)
{
    const uint32_t *none = NULL;
    if (!__atomic_compare_exchange_n(&function->words, &none, body->words, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        free(body); /* another thread was faster, and may be running those */
    }
}

bool wj_make_words(const wj_interpreter *interpreter, wj_interpreted *function)
{
    if (__atomic_load_n(&function->words, __ATOMIC_ACQUIRE) == NULL) {
        wj_body_words *body = wj_take_words(interpreter, function);
        if (body == NULL) {
            return false;
        }
        wj_keep_words(function, body);
    }
    return true;
}

/* ---- the interpreter stack ---- */

/* How much has to be free for calls not to look. */
static int64_t gap_at_first(const wj_store *store)
{
    return store->interpreter_stack_bytes > STACK_KEPT_BYTES ? (int64_t)(store->interpreter_stack_bytes - STACK_KEPT_BYTES) : 1;
}

bool wj_interpreter_stack_make(wj_store *store)
{
    uint64_t most = MOST_STACK_BYTES / STACK_FACTOR;
    uint64_t bytes = STACK_FACTOR * (store->max_wasm_stack_bytes < most ? store->max_wasm_stack_bytes : most);
    bytes = (bytes + LEAST_STACK_BYTES + STACK_ALIGNMENT_BYTES - 1) & ~(uint64_t)(STACK_ALIGNMENT_BYTES - 1);
    void *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        return false;
    }
    (void)madvise(mapping, bytes, MADV_NOHUGEPAGE); /* both ends are touched: two small pages, not two of 2 MiB */
    store->interpreter_stack = mapping;
    store->interpreter_stack_bytes = bytes;
    store->interpreter_gap_bytes = gap_at_first(store);
    return true;
}

void wj_interpreter_stack_free(wj_store *store)
{
    if (store->interpreter_stack != NULL) {
        munmap(store->interpreter_stack, store->interpreter_stack_bytes);
        store->interpreter_stack = NULL;
    }
}

void wj_interpreter_stack_give_back(wj_store *store)
{
    (void)madvise(store->interpreter_stack, store->interpreter_stack_bytes, MADV_DONTNEED);
    store->interpreter_gap_bytes = gap_at_first(store);
}

void wj_interpreter_stack_trim(wj_store *store)
{
    if (store->depth == 0 && store->interpreter_stack != NULL && store->interpreter_gap_bytes == 0) {
        wj_interpreter_stack_give_back(store);
    }
}
