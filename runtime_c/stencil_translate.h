/* What the parts of the translation to native code have of each other. */
#ifndef WJ_STENCIL_TRANSLATE_H
#define WJ_STENCIL_TRANSLATE_H

#include "stencil_emit.h"

#ifdef WJ_HAS_STENCILS

/* ---- stencil_forms.c ---- */

/* What the interpreter's operations consist of. The words of those that one stencil is all of, and of BRANCH: slots, the
 * result's first, then a constant, then a target. */
enum { HAS_CONSTANT = 1, HAS_TARGET = 2, CALLS = 4, DIVIDES = 8, ENDS = 16, ACCESSES = 32, METERS = 64, VECTORS = 128,
       COMPARES = 256, COMPARES_FLOATS = 512, MASKS = 1024 };
typedef struct {
    uint8_t words; /* 0: no stencils of it; a table of branches has one more for each target but the default's */
    uint8_t slot_count;
    uint8_t loose; /* so many of the slots have integers or floats; else the stencil says which */
    uint16_t flags; /* CALLS: it changes the registers that calls do not leave alone; DIVIDES: by a constant; METERS: its words
                     * are no slots of results; VECTORS: it may have some, or is emitted like those; COMPARES (integers),
                     * COMPARES_FLOATS, MASKS: the processor may do better than the stencil */
} stencil_form;
extern WJ_INTERNAL const stencil_form wj_forms[WJ_OPERATION_COUNT];
extern WJ_INTERNAL const uint16_t wj_stencils_of[WJ_OPERATION_COUNT]; /* the number of the stencils, and 1; 0: none */
extern WJ_INTERNAL const uint8_t wj_results_of[WJ_OPERATION_COUNT]; /* WJ_RESULT_... */
extern WJ_INTERNAL const wj_stencil_operation *const wj_stencil_operations;

/* The operation at a word. */
static inline stencil_instruction wj_decode(const uint32_t *at)
{
    uint32_t operation = at[0];
    stencil_form of = wj_forms[operation];
    stencil_instruction made = {.slots = at + 1, .length = of.words, .slot_count = of.slot_count, .flags = of.flags, .loose = of.loose};
    if (operation == WJ_OP_BRANCH_TABLE) {
        made.length += at[2];
    }
    if (of.slot_count != 0) { /* those of the others are emitted with more around */
        made.stencil = wj_stencils_of[operation];
    }
    if ((of.flags & HAS_CONSTANT) != 0) {
        made.constant = at[1 + of.slot_count];
    }
    if ((of.flags & HAS_TARGET) != 0) {
        made.target = at[of.words - 1];
    }
    return made;
}

static inline bool is_between(uint32_t operation, uint32_t first, uint32_t last)
{
    return operation >= first && operation <= last;
}

/* ---- stencil_rows.c ---- */

/* Copies the stencil of an operation whose result and operands are at `places`. */
WJ_INTERNAL void wj_copy_stencil(stencil_emitter *e, const stencil_row *of, const uint8_t *places);
/* Whether a local is in a register, and not also in the frame. */
WJ_INTERNAL bool wj_is_pinned(const stencil_emitter *e, uint32_t slot);
/* The stencil of a row, with what its operands and its result have to be brought there by. */
WJ_INTERNAL void wj_emit_row(stencil_emitter *e, stencil_row *of);

static inline void emit_row(stencil_emitter *e, uint32_t number, const uint32_t *slots, uint64_t constant, uint32_t target)
{
    wj_emit_row(e, &(stencil_row){.number = number, .slots = slots, .constant = constant, .target = target, .uses = true});
}

/* ---- stencil_copies.c ---- */

/* Writes a constant to where the slot is. */
WJ_INTERNAL void wj_emit_constant(stencil_emitter *e, uint32_t slot, uint64_t value);
/* What the words do that have a constant, or copy slots: from `from` on to those from `to` on, which lie below. */
WJ_INTERNAL void wj_write_constant(stencil_emitter *e, uint32_t slot, uint64_t value);
WJ_INTERNAL void wj_emit_copy(stencil_emitter *e, uint32_t to, uint32_t from);
WJ_INTERNAL void wj_emit_move(stencil_emitter *e, uint32_t to, uint32_t from, uint32_t count);
/* Whether what a slot has is in a register of floats, or would be. */
WJ_INTERNAL bool wj_is_in_float(const stencil_emitter *e, uint32_t slot);

/* ---- stencil_other.c ---- */

/* An operation that no stencil is all of. */
WJ_INTERNAL void wj_emit_other(stencil_emitter *e, const uint32_t *word);

/* ---- stencil_translate.c ---- */

/* All of a function but what stands before and behind its body. */
WJ_INTERNAL void wj_emit_body(stencil_emitter *e);

static inline uint32_t region_at(const stencil_emitter *e, uint32_t word)
{
    return e->marks[word] & (TARGET_MARK - 1u);
}

/* What an instruction jumps to from here: the word, or code that leads to its region first. */
static inline uint32_t edge_to(stencil_emitter *e, uint32_t target)
{
    const stencil_region *from = &e->regions[e->region];
    const stencil_region *to = &e->regions[region_at(e, target)];
    if (from == to || memcmp(from->slots, to->slots, sizeof from->slots) == 0) {
        return target;
    }
    return STUB_TARGET | wj_add_stub(e, STUB_EDGE, target);
}

#endif
#endif
