/* What native code in the making consists of, on every processor. See stencil_emit.h. */
#include "stencil_emit.h"

#include <stdlib.h>
#include <string.h>

#ifdef WJ_HAS_STENCILS

/* Code is in proportion to the body, whatever that is: a call of two bytes may pass a thousand arguments, and then the
 * function is interpreted. */
enum { MOST_SMALL_BYTES = 16 << 10, MOST_BYTES_A_WORD = 64, CODE_ROOM_BYTES = 256 };

/* The array, with room for one more; as it was, and the translation failed, if there is no memory. */
static void *grown(stencil_emitter *e, void *array, size_t count, size_t *room, size_t more, size_t item_bytes)
{
    if (count + more <= *room) {
        return array;
    }
    size_t wanted = 2 * *room + more;
    void *made = wj_scratch_resize(&e->scratch, array, count * item_bytes, wanted * item_bytes);
    if (made == NULL) {
        e->failed = true;
        return array;
    }
    *room = wanted;
    return made;
}

void wj_begin_emitter(stencil_emitter *e)
{
    for (uint32_t i = 0; i < STENCIL_REGISTERS; i++) {
        e->held[i] = NO_SLOT;
    }
}

bool wj_make_room(stencil_emitter *e, size_t size_bytes)
{
    e->code = grown(e, e->code, e->count, &e->room, size_bytes + CODE_ROOM_BYTES, 1);
    e->failed = e->failed || e->count > MOST_SMALL_BYTES + MOST_BYTES_A_WORD * (size_t)e->body->word_count;
    return !e->failed;
}

/* In LEB128. */
static uint8_t *write_number(uint8_t *to, uint32_t value)
{
    for (; value > 0x7f; value >>= 7) {
        *to++ = (uint8_t)(value | 0x80);
    }
    *to++ = (uint8_t)value;
    return to;
}

void wj_note_site(stencil_emitter *e, uint32_t place, uint32_t module_offset)
{
    enum { MOST_SITE_BYTES = 10, MORE_BYTES = 64 };
    if (module_offset == e->site_offset) {
        return; /* as it is without: of what stands before the first it is 0 */
    }
    if (UNLIKELY(e->sites_bytes + MOST_SITE_BYTES > e->sites_room)) {
        e->sites = grown(e, e->sites, e->sites_bytes, &e->sites_room, MORE_BYTES, 1);
    }
    if (!e->failed) {
        uint32_t change = module_offset - e->site_offset;
        uint8_t *to = write_number(e->sites + e->sites_bytes, place - e->site_place);
        e->sites_bytes = (size_t)(write_number(to, change << 1 ^ -(change >> 31)) - e->sites);
        e->site_place = place;
        e->site_offset = module_offset;
    }
}

void wj_add_jump(stencil_emitter *e, uint32_t hole, uint32_t target, uint32_t base)
{
    e->jumps = grown(e, e->jumps, e->jump_count, &e->jump_room, 16, sizeof *e->jumps);
    if (!e->failed) {
        e->jumps[e->jump_count++] = (stencil_jump){hole, target, base};
    }
}

uint32_t wj_add_stub(stencil_emitter *e, int kind, uint32_t number)
{
    /* Of an instruction that may trap in the same way at several places there is one. */
    for (size_t i = e->stub_count; kind == STUB_TRAP && i > 0 && i + 4 > e->stub_count; i--) {
        const stencil_stub *stub = &e->stubs[i - 1];
        if (stub->kind == STUB_TRAP && stub->number == number && stub->module_offset == e->module_offset) {
            return (uint32_t)(i - 1);
        }
    }
    e->stubs = grown(e, e->stubs, e->stub_count, &e->stub_room, 16, sizeof *e->stubs);
    if (e->failed) {
        return 0;
    }
    stencil_stub made = {.number = number, .module_offset = e->module_offset, .region = e->region};
    made.kind = kind;
    e->stubs[e->stub_count] = made;
    return (uint32_t)e->stub_count++;
}

void wj_return_here(stencil_emitter *e, uint32_t stub)
{
    if (!e->failed) {
        e->stubs[stub].back = (uint32_t)e->count;
    }
}

uint32_t wj_add_constant(stencil_emitter *e, uint64_t value)
{
    for (size_t i = e->pooled_count; i > 0 && i + 16 > e->pooled_count; i--) {
        if (e->pooled[i - 1] == value) {
            return (uint32_t)(i - 1);
        }
    }
    e->pooled = grown(e, e->pooled, e->pooled_count, &e->pooled_room, 16, sizeof *e->pooled);
    if (e->failed) {
        return 0;
    }
    e->pooled[e->pooled_count] = value;
    return (uint32_t)e->pooled_count++;
}

uint32_t wj_add_wide_constant(stencil_emitter *e, uint64_t lower, uint64_t upper)
{
    for (size_t i = e->pooled_count; i > 1 && i + 32 > e->pooled_count; i--) {
        if (e->pooled[i - 2] == lower && e->pooled[i - 1] == upper) {
            return (uint32_t)(i - 2);
        }
    }
    e->pooled = grown(e, e->pooled, e->pooled_count, &e->pooled_room, 16, sizeof *e->pooled);
    if (e->failed) {
        return 0;
    }
    e->pooled[e->pooled_count++] = lower;
    e->pooled[e->pooled_count++] = upper;
    return (uint32_t)e->pooled_count - 2;
}

void wj_write_32(stencil_emitter *e, size_t place, uint32_t value)
{
    memcpy(e->code + place, &value, sizeof value);
}

void wj_write_jumps(stencil_emitter *e)
{
    for (size_t i = 0; i < e->jump_count && !e->failed; i++) {
        const stencil_jump *jump = &e->jumps[i];
        uint32_t target = jump->target;
        uint32_t place = (target & STUB_TARGET) != 0       ? e->stubs[target & ~STUB_TARGET].place
                         : (target & POOL_TARGET) != 0     ? e->pool + (target & ~POOL_TARGET)
                         : (target & CONSTANT_TARGET) != 0 ? e->own_pool + 8 * (target & ~CONSTANT_TARGET)
                                                           : e->places[target];
        wj_write_distance(e, jump->hole, place - jump->base);
    }
}
#endif
