/* The validation of a body in progress: reading it, its operand stack, its control frames.
 *
 * Bodies are hostile bytes. Functions return false, "look again", for whatever they do not take, and the walker in Python
 * (wasmjit/wasm/body.py) decides; they take nothing that it refuses. What each does is the walker's method of that name.
 * Every byte that is read lies before `end`. Memory and time are in proportion to the bytes of the body, whatever it is:
 * operands and work are counted, and what takes more is looked at again. */
#ifndef WJ_VALIDATE_H
#define WJ_VALIDATE_H

#include "wj.h"
#include "wj_rows.h"

#include <stdlib.h>
#include <string.h>

enum { WJ_MOST_PUSHED = 4 };              /* operands that a row pushes without looking for room */
enum { WJ_FREE_WORK = 1 << 16 };          /* types that a body of any size may have compared, */
enum { WJ_MOST_WORK_PER_BYTE = 16 };      /* and of each of its bytes: those of compilers have one or two */
enum { WJ_SHORT_LEB128_BYTES = 5 };       /* of 32 and 33 bits */
enum { WJ_LONG_LEB128_BYTES = 10 };       /* of 64 bits */
enum { WJ_CONTINUES = 0x80 };             /* a byte of a LEB128 that is not the last */
enum { WJ_HAS_MEMORY_INDEX = 0x40 };      /* flag of a memory argument */
enum { WJ_FUNCTION_BODY = 0x100 };        /* the outermost frame's opcode */
#define WJ_INDEXED UINT32_C(0x80000000)   /* of a frame's type */

typedef struct {
    uint32_t type;      /* a type index and WJ_INDEXED; or the only result's type, or 0 */
    uint32_t height;    /* of the operand stack, below the parameters */
    uint32_t set_count; /* locals without an initial value that were set before it */
    uint16_t opcode;    /* of the block */
    bool unreachable;   /* its operand stack is polymorphic */
} wj_checked_frame;

typedef struct {
    const wj_checked_module *of;
    const uint8_t *at, *end;
    uint32_t *operands, *base, *top, *deepest; /* types; those above `base` are the frame's */
    size_t operand_room, most_operands;
    wj_checked_frame *frames;
    size_t frame_count, frame_room;
    uint32_t *locals;
    uint32_t local_count, local_room;
    bool *unset; /* by local; NULL: all have initial values */
    uint32_t *set; /* locals that had none and were set, in that order */
    uint32_t set_count;
    uint32_t results; /* type index of the function */
    uint64_t work, most_work;
    uint32_t needed; /* features */
    bool is_interpretable, has_tail_calls, is_done;
} wj_checker;

/* ---- in validate.c ---- */
WJ_INTERNAL bool wj_check_room(wj_checker *c, size_t count); /* for so many operands more */
WJ_INTERNAL bool wj_check_unsigned(wj_checker *c, unsigned bits, uint64_t *value);
WJ_INTERNAL bool wj_check_signed(wj_checker *c, unsigned bits, int64_t *value);
WJ_INTERNAL bool wj_check_value_type(wj_checker *c, uint32_t *type);
WJ_INTERNAL bool wj_check_heap_type(wj_checker *c, uint32_t *type);
WJ_INTERNAL bool wj_check_subtype(const wj_checker *c, uint32_t found, uint32_t wanted);
/* ---- in validate_special.c: the special row of `opcode`, behind which `at` is ---- */
WJ_INTERNAL bool wj_check_special(wj_checker *c, uint32_t opcode);

static inline wj_checked_frame *wj_checked_top(const wj_checker *c)
{
    return &c->frames[c->frame_count - 1];
}

/* An index immediate. */
static inline bool wj_check_index(wj_checker *c, uint32_t *index)
{
    if (c->at < c->end && *c->at < WJ_CONTINUES) {
        *index = *c->at++;
        return true;
    }
    uint64_t value = 0;
    bool fits = wj_check_unsigned(c, 32, &value);
    *index = (uint32_t)value;
    return fits;
}

static inline bool wj_check_feature(wj_checker *c, uint32_t feature)
{
    c->needed |= feature;
    return (c->of->features & feature) == feature;
}

/* Whether an operand of type `found` can be used where `wanted` is asked for. */
static inline bool wj_check_match(const wj_checker *c, uint32_t found, uint32_t wanted)
{
    return found == wanted || found == WJ_TYPE_UNKNOWN || wj_check_subtype(c, found, wanted);
}

/* Whether it is certainly a reference: types that are not values' as yet are none. */
static inline bool wj_is_reference(uint32_t type)
{
    return type >= WJ_TYPE_NON_NULL || (type >= WJ_FIRST_REFERENCE && type <= WJ_LAST_REFERENCE);
}

static inline bool wj_check_work(wj_checker *c, size_t count)
{
    c->work += count;
    return c->work <= c->most_work;
}

static inline bool wj_pop_any(wj_checker *c, uint32_t *found)
{
    if (c->top == c->base) {
        *found = WJ_TYPE_UNKNOWN;
        return wj_checked_top(c)->unreachable;
    }
    *found = *--c->top;
    return true;
}

static inline bool wj_pop(wj_checker *c, uint32_t wanted)
{
    uint32_t found;
    return wj_pop_any(c, &found) && wj_check_match(c, found, wanted);
}

/* Pushes one of WJ_MOST_PUSHED. */
static inline bool wj_push(wj_checker *c, uint32_t type)
{
    *c->top++ = type;
    return true;
}

/* Whether the operands on top are of these types; they stay. */
static inline bool wj_check_all(wj_checker *c, const uint32_t *types, size_t count)
{
    if (!wj_check_work(c, count)) {
        return false;
    }
    size_t there = (size_t)(c->top - c->base);
    if (there >= count && (count == 0 || memcmp(c->top - count, types, count * sizeof *types) == 0)) {
        return true;
    }
    if (there < count && !wj_checked_top(c)->unreachable) {
        return false;
    }
    for (size_t i = 1; i <= count && i <= there; i++) {
        if (!wj_check_match(c, c->top[-(ptrdiff_t)i], types[count - i])) {
            return false;
        }
    }
    return true;
}

static inline bool wj_pop_all(wj_checker *c, const uint32_t *types, size_t count)
{
    if (!wj_check_all(c, types, count)) {
        return false;
    }
    size_t there = (size_t)(c->top - c->base);
    c->top -= there < count ? there : count;
    return true;
}

static inline bool wj_push_all(wj_checker *c, const uint32_t *types, size_t count)
{
    if (count != 0) {
        if (!wj_check_work(c, count) || !wj_check_room(c, count)) {
            return false;
        }
        memcpy(c->top, types, count * sizeof *types);
        c->top += count;
    }
    return true;
}

/* The type with an index: its parameters are there, then its results. */
static inline const uint32_t *wj_checked_params(const wj_checker *c, uint32_t type)
{
    return &c->of->values[c->of->types[type].first];
}

static inline const uint32_t *wj_checked_results(const wj_checker *c, uint32_t type)
{
    return wj_checked_params(c, type) + c->of->types[type].param_count;
}

#endif
