/* Where the interpreter is, and how much of the native stack what it calls may use. */
#ifndef WJ_INTERPRET_LIMITS_H
#define WJ_INTERPRET_LIMITS_H

#include "stencil.h"

#define STENCIL_STACK_FACTOR 4u /* of the native stack, what code from stencils may use of what compiled code may */

typedef struct {
    wj_interpreter *interpreter;
    const uint64_t *functions; /* the function table */
    uint8_t *vmctx;
    uintptr_t native_top;      /* where, on the native stack, the frames of this interpreter begin, */
    uintptr_t native_end;      /* and what they must not go below; 0: not known */
    int64_t fuel;              /* what is left, where code counts it; the store knows what was left at the last call */
    bool is_exhausted;         /* what is interpreted first is so because code from stencils has no room there */
    /* A tail call that is a jump: code, NULL: there is none; and what it is given, with the operands in the first slots. */
    const void *next;
    void *next_vmctx;
    const wj_signature *next_type;
} context;

static inline wj_store *store_of(const context *c)
{
    return ((wj_vmcontext *)(void *)c->vmctx)->store;
}

/* How much of the native stack compiled code finds, where it is called with as little above it as can be. */
static inline uint64_t at_first(const context *c)
{
    const wj_store *store = store_of(c);
    uint64_t most = wj_this_thread.entry->landing_sp - c->native_end;
    return most < store->max_wasm_stack_bytes ? most : store->max_wasm_stack_bytes;
}

/* The limit for code that is called from `here`: what it may use does not depend on how much of the native stack the
 * interpreter's own frames take, nor those of code from stencils, up to a few times what may be used. */
static inline uint64_t limit_below(const context *c, uint64_t limit, uintptr_t here)
{
    if (c->native_end == 0 || limit <= c->native_end) {
        return limit;
    }
    uint64_t own_bytes = c->native_top - here;
    uint64_t lowered = limit - c->native_end < own_bytes ? c->native_end : limit - own_bytes;
    if (c->is_exhausted) {
        uint64_t most = store_of(c)->max_wasm_stack_bytes;
        uint64_t top = wj_this_thread.entry->landing_sp;
        uint64_t end = (top - c->native_end) / STENCIL_STACK_FACTOR < most ? c->native_end : top - STENCIL_STACK_FACTOR * most;
        uint64_t anew = here < end + most ? end : here - most;
        return anew < lowered ? anew : lowered;
    }
    return lowered;
}

/* Whether code that is called from `here` may find less of the native stack than it may use, for the interpreter's frames:
 * functions that alternate between the two would get less deep than in either. */
static inline bool is_short(const context *c, uintptr_t here)
{
    const wj_store *store = store_of(c);
    if (c->is_exhausted) {
        uint64_t limit = limit_below(c, store->stack_limit, here);
        return c->native_end == 0 || here <= limit || here - limit < at_first(c) / 2;
    }
    if (c->native_end == 0 || here <= c->native_end || store->stack_limit > c->native_end + (c->native_top - here)) {
        return false;
    }
    return here - c->native_end < at_first(c) / 2;
}

/* What the limits are put back to. */
typedef struct {
    uint64_t stack, stencils;
} limits;

static inline limits lower_limits(const context *c, uintptr_t here)
{
    wj_store *store = store_of(c);
    limits before = {store->stack_limit, store->stencil_limit};
    store->stack_limit = limit_below(c, before.stack, here);
    store->stencil_limit = wj_stencil_limit(here, store->stack_limit);
    return before;
}

static inline void put_back(const context *c, limits before)
{
    wj_store *store = store_of(c);
    store->stack_limit = before.stack;
    store->stencil_limit = before.stencils;
}

#endif
