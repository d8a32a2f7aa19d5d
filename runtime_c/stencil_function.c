/* Native code of a function, made when it is first asked for. See stencil.h. */
#include "stencil_translate.h"

#ifdef WJ_HAS_STENCILS

#include <stdlib.h>
#include <string.h>

/* What is no code, at a multiple of so many bytes: where it is. */
static uint32_t append(stencil_emitter *e, const void *from, size_t size_bytes, size_t alignment)
{
    size_t filled = -e->count % alignment;
    if (!wj_reserve(e, filled + size_bytes)) {
        return 0;
    }
    memset(e->code + e->count, FILLER, filled);
    memcpy(e->code + e->count + filled, from, size_bytes);
    e->count += filled + size_bytes;
    return (uint32_t)(e->count - size_bytes);
}

/* What the body jumps to, and what it reads. */
static void emit_rest(stencil_emitter *e)
{
    for (size_t i = 0; i < e->stub_count && !e->failed; i++) {
        stencil_stub *stub = &e->stubs[i];
        stub->place = (uint32_t)e->count;
        if (stub->kind != STUB_EDGE && stub->kind != STUB_EXHAUSTED) {
            wj_note_site(e, stub->place, stub->module_offset);
        }
        wj_set_region(e, stub->region);
        switch (stub->kind) {
        case STUB_EDGE:
            wj_emit_edge(e, stub->region, e->marks[stub->number] & ~TARGET_MARK);
            wj_emit_jump(e, stub->number);
            break;
        case STUB_TRAP:
            wj_emit_trap(e, (int)stub->number);
            break;
        case STUB_EXHAUSTED:
            wj_emit_exhausted(e);
            break;
        case STUB_HOT:
            wj_emit_hot(e, stub, i > 1); /* the first two are those of the function's start */
            break;
        case STUB_TYPE:
            wj_emit_type(e, stub);
            break;
        case STUB_OUT_OF_FUEL:
            wj_emit_out_of_fuel(e);
            break;
        case STUB_EPOCH:
            wj_emit_epoch(e, stub);
            break;
        }
    }
    if (e->uses_pool) {
        size_t size_bytes;
        const uint8_t *pool = wj_stencil_pool(&size_bytes);
        e->pool = append(e, pool, size_bytes, 16);
    }
    if (e->pooled_count != 0) {
        e->own_pool = append(e, e->pooled, e->pooled_count * sizeof *e->pooled, 8);
    }
    uint32_t frame = e->saved_bytes + slots_bytes(e) + e->outgoing_bytes;
    e->frame_bytes = (frame + STACK_ALIGNMENT_BYTES - 1) & ~(uint32_t)(STACK_ALIGNMENT_BYTES - 1);
    if (!e->failed) {
        wj_write_frame(e);
    }
    wj_write_jumps(e);
}

static const wj_native *translate(stencil_emitter *e, wj_interpreter *interpreter)
{
    wj_find_vector_parameters(e);
    if (!wj_choose_registers(e) || !wj_find_narrow(e)) {
        return NULL;
    }
    e->uses_memory = e->uses_memory && interpreter->plan.has_memory != 0;
    wj_set_region(e, 0);
    wj_emit_prologue(e);
    wj_emit_body(e);
    emit_rest(e);
    if (e->failed) {
        return NULL;
    }
    wj_translated_code made = {e->code, e->count, e->frame_bytes, e->sites, e->sites_bytes};
    const wj_native *native = wj_native_publish(interpreter, e->function->function_index, &made);
    e->is_refused = native == NULL;
    return native;
}

/* Native code, or WJ_NO_NATIVE; NULL if something is to interrupt this thread, or the system gives no memory for now. */
static const wj_native *make_of(wj_interpreter *interpreter, const wj_interpreted *function, const wj_body_words *body)
{
    stencil_emitter e = {.of = interpreter, .function = function, .body = body, .signature = function->signature};
    e.scratch_slot = function->slot_count;
    e.registers = calloc(function->slot_count + 2, sizeof *e.registers);
    e.is_float = calloc(function->local_count + 1, sizeof *e.is_float);
    e.is_narrow = calloc(function->local_count + 1, sizeof *e.is_narrow);
    e.is_vector = calloc(function->local_count + 2, sizeof *e.is_vector);
    e.places = calloc(body->word_count + 1, sizeof *e.places);
    e.marks = calloc(body->word_count + 1, sizeof *e.marks);
    wj_begin_emitter(&e);
    bool has_room = e.registers != NULL && e.is_float != NULL && e.is_narrow != NULL && e.is_vector != NULL && e.places != NULL && e.marks != NULL;
    const wj_native *native = has_room ? translate(&e, interpreter) : NULL;
    free(e.registers);
    free(e.is_float);
    free(e.is_narrow);
    free(e.is_vector);
    free(e.pooled);
    free(e.places);
    free(e.marks);
    free(e.regions);
    free(e.code);
    free(e.sites);
    free(e.jumps);
    free(e.stubs);
    return native == NULL && !e.is_interrupted && !e.is_refused ? WJ_NO_NATIVE : native;
}

/* The words are freed once there is native code. */
static const wj_native *make(wj_interpreter *interpreter, wj_interpreted *function)
{
    if (function->slot_count > MOST_SLOTS || !wj_has_stencils()) {
        return WJ_NO_NATIVE;
    }
    const uint32_t *kept = __atomic_load_n(&function->words, __ATOMIC_ACQUIRE);
    if (kept != NULL) {
        return make_of(interpreter, function, wj_body_of(kept));
    }
    wj_body_words *body = wj_take_words(interpreter, function);
    if (body == NULL) {
        return NULL;
    }
    const wj_native *made = make_of(interpreter, function, body);
    if (made == NULL || made == WJ_NO_NATIVE) {
        wj_keep_words(function, body);
    } else {
        free(body);
    }
    return made;
}

/* Whether the system has not just refused memory for code. */
static bool may_ask(const wj_interpreter *interpreter)
{
    int64_t asks_again_ns = __atomic_load_n(&interpreter->asks_again_ns, __ATOMIC_RELAXED);
    return asks_again_ns == 0 || wj_now_ns(CLOCK_MONOTONIC) >= asks_again_ns;
}

const wj_native *wj_native_of(wj_interpreter *interpreter, wj_interpreted *function)
{
    const wj_native *found = __atomic_load_n(&function->native, __ATOMIC_ACQUIRE);
    if (found == NULL && may_ask(interpreter)) {
        int64_t began_ns = wj_now_ns(CLOCK_MONOTONIC);
        const wj_native *made = make(interpreter, function);
        (void)__atomic_fetch_add(&function->translate_ns, wj_now_ns(CLOCK_MONOTONIC) - began_ns, __ATOMIC_RELAXED);
        if (__atomic_compare_exchange_n(&function->native, &found, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            found = made; /* else another thread was faster */
        }
    }
    return found == WJ_NO_NATIVE ? NULL : found;
}

#else

const wj_native *wj_native_of(wj_interpreter *interpreter, wj_interpreted *function)
{
    (void)interpreter;
    (void)function;
    return NULL;
}
#endif
