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
    if (!wj_choose_registers(e)) {
        return NULL;
    }
    wj_find_narrow(e);
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

/* What arrays of a translation have room for at first. Those that grow: about what programs need. */
typedef struct {
    size_t slots, locals, words, code_bytes, sites_bytes, jumps, stubs;
} usual_sizes;

static usual_sizes sizes_of(const wj_interpreted *function, const wj_body_words *body)
{
    enum { CODE_BYTES_A_WORD = 4, MORE_CODE_BYTES = 512, WORDS_A_SITE_BYTE = 2, WORDS_A_JUMP = 16, WORDS_A_STUB = 32, MORE = 16 };
    size_t words = (size_t)body->word_count + 1;
    return (usual_sizes){
        .slots = (size_t)function->slot_count + 2,
        .locals = (size_t)function->local_count + 2,
        .words = words,
        .code_bytes = CODE_BYTES_A_WORD * words + MORE_CODE_BYTES,
        .sites_bytes = words / WORDS_A_SITE_BYTE + MORE,
        .jumps = words / WORDS_A_JUMP + MORE,
        .stubs = words / WORDS_A_STUB + MORE,
    };
}

/* All arrays, in one block. False: there is no memory. */
static bool begin_arrays(stencil_emitter *e)
{
    const size_t rounding_bytes = (size_t)16 * WJ_SCRATCH_ALIGNMENT; /* as many arrays, at the most */
    usual_sizes of = sizes_of(e->function, e->body);
    size_t zeroed_bytes = of.slots * (sizeof *e->registers + sizeof *e->latest + sizeof *e->narrow_blocks) +
                          of.locals * (sizeof *e->is_float + sizeof *e->is_narrow + sizeof *e->is_vector) +
                          of.words * (sizeof *e->ends + sizeof *e->marks) + rounding_bytes;
    size_t size_bytes = zeroed_bytes + of.words * sizeof *e->places + FIRST_USES_BYTES + FIRST_REGIONS * sizeof *e->regions +
                        of.code_bytes + of.sites_bytes + of.jumps * sizeof *e->jumps + of.stubs * sizeof *e->stubs;
    if (!wj_scratch_begin(&e->scratch, zeroed_bytes, size_bytes)) {
        return false;
    }
    wj_scratch *from = &e->scratch;
    e->latest = wj_scratch_take(from, of.slots * sizeof *e->latest);
    e->narrow_blocks = wj_scratch_take(from, of.slots * sizeof *e->narrow_blocks);
    e->ends = wj_scratch_take(from, of.words * sizeof *e->ends);
    e->marks = wj_scratch_take(from, of.words * sizeof *e->marks);
    e->registers = wj_scratch_take(from, of.slots * sizeof *e->registers);
    e->is_float = wj_scratch_take(from, of.locals * sizeof *e->is_float);
    e->is_narrow = wj_scratch_take(from, of.locals * sizeof *e->is_narrow);
    e->is_vector = wj_scratch_take(from, of.locals * sizeof *e->is_vector);
    e->places = wj_scratch_take(from, of.words * sizeof *e->places);
    e->regions = wj_scratch_take(from, FIRST_REGIONS * sizeof *e->regions);
    e->code = wj_scratch_take(from, of.code_bytes);
    e->sites = wj_scratch_take(from, of.sites_bytes);
    e->jumps = wj_scratch_take(from, of.jumps * sizeof *e->jumps);
    e->stubs = wj_scratch_take(from, of.stubs * sizeof *e->stubs);
    e->region_room = FIRST_REGIONS;
    e->room = of.code_bytes;
    e->sites_room = of.sites_bytes;
    e->jump_room = of.jumps;
    e->stub_room = of.stubs;
    return e->latest != NULL && e->narrow_blocks != NULL && e->ends != NULL && e->marks != NULL && e->registers != NULL &&
           e->is_float != NULL && e->is_narrow != NULL && e->is_vector != NULL && e->places != NULL && e->regions != NULL &&
           e->code != NULL && e->sites != NULL && e->jumps != NULL && e->stubs != NULL;
}

static void end_arrays(stencil_emitter *e)
{
    void *const all[] = {e->latest,    e->narrow_blocks, e->ends,    e->marks, e->registers, e->is_float, e->is_narrow,
                         e->is_vector, e->places,        e->regions, e->code,  e->sites,     e->jumps,    e->stubs};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        wj_scratch_free(&e->scratch, all[i]);
    }
    wj_scratch_end(&e->scratch);
    free(e->pooled);
}

/* Native code, or WJ_NO_NATIVE; NULL if something is to interrupt this thread, or the system gives no memory for now. */
static const wj_native *make_of(wj_interpreter *interpreter, const wj_interpreted *function, const wj_body_words *body)
{
    stencil_emitter e = {.of = interpreter, .function = function, .body = body, .signature = function->signature};
    e.local_count = function->local_count;
    e.scratch_slot = function->slot_count;
    wj_begin_emitter(&e);
    const wj_native *native = begin_arrays(&e) ? translate(&e, interpreter) : NULL;
    end_arrays(&e);
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
