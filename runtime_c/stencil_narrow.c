/* Which values have zeros above their low 32 bits: as an address, such a one needs no instruction that makes them.
 *
 * A slot has 64 bits, of which those of an i32 are the low ones; what is above is zeros if an instruction wrote it whose
 * result is an i32, but i32.wrap_i64 writes nothing, and what callers and callees give may have anything there. A mistake
 * here lets a function reach what the host has above its memory: whatever is not known to be narrow is not. */
#include "stencil_translate.h"

#include <string.h>

#ifdef WJ_HAS_STENCILS

/* NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

enum { MOST_ROUNDS = 4 };

typedef struct {
    stencil_emitter *e;
    uint32_t *blocks; /* by operand: the block in which it was made narrow, or 0 */
    uint32_t block;   /* the one now */
    bool changed;
} narrowness;

/* Of a local that others are narrow because of: what was found is to be found again if it is not. */
enum { NARROW = 1, RELIED_ON = 2 };

static bool is_narrow(const narrowness *n, uint32_t slot)
{
    if (wj_is_operand(n->e, slot)) {
        return n->blocks[slot] == n->block;
    }
    uint8_t *local = &n->e->is_narrow[slot];
    *local = *local != 0 ? NARROW | RELIED_ON : 0;
    return *local != 0;
}

static inline void note(narrowness *n, uint32_t slot, bool narrow)
{
    if (wj_is_operand(n->e, slot)) {
        n->blocks[slot] = narrow ? n->block : 0;
    } else if (!narrow && n->e->is_narrow[slot] != 0) {
        n->changed = n->changed || (n->e->is_narrow[slot] & RELIED_ON) != 0;
        n->e->is_narrow[slot] = 0;
    }
}

static void look_at_other(narrowness *n, const uint32_t *word)
{
    switch (*word) {
    case WJ_OP_COPY:
        note(n, word[1], is_narrow(n, word[2]));
        return;
    case WJ_OP_CONSTANT:
        note(n, word[1], true);
        return;
    case WJ_OP_SELECT:
        note(n, word[1], is_narrow(n, word[2]) && is_narrow(n, word[3]));
        return;
    case WJ_OP_LOOP:
    case WJ_OP_BRANCH:
    case WJ_OP_BRANCH_TABLE:
    case WJ_OP_RETURN:
    case WJ_OP_RETURN_CALL:
    case WJ_OP_RETURN_CALL_IMPORT:
    case WJ_OP_RETURN_CALL_INDIRECT:
    case WJ_OP_RETURN_CALL_REF:
    case WJ_OP_UNREACHABLE:
    case WJ_OP_CHECK:
        return;
    case WJ_OP_CALL: /* these write operands only, of which none is known to be narrow from then on */
    case WJ_OP_CALL_IMPORT:
    case WJ_OP_CALL_INDIRECT:
    case WJ_OP_CALL_REF:
    case WJ_OP_I64_ADD128:
    case WJ_OP_I64_SUB128:
    case WJ_OP_I64_MUL_WIDE_S:
    case WJ_OP_I64_MUL_WIDE_U:
    case WJ_OP_MOVE:
        n->block++;
        return;
    default:
        break;
    }
    if (word[1] < n->e->function->slot_count) { /* the result of others, or something that is no slot */
        note(n, word[1], false);
    }
}

/* Returns how many words it has. */
static inline uint32_t look_at(narrowness *n, const uint32_t *word)
{
    stencil_form of = wj_forms[*word];
    if (LIKELY(of.slot_count != 0 && of.loose == 0 && wj_results_of[*word] != WJ_RESULT_UNKNOWN)) { /* a row */
        if (wj_results_of[*word] != WJ_RESULT_NONE) {
            note(n, word[1], wj_results_of[*word] == WJ_RESULT_NARROW);
        }
    } else if ((of.flags & METERS) == 0) {
        look_at_other(n, word);
    }
    return of.words + (*word == WJ_OP_BRANCH_TABLE ? word[2] : 0);
}

void wj_find_narrow(stencil_emitter *e)
{
    if (!e->has_accesses) {
        return; /* nobody asks */
    }
    const wj_body_words *f = e->body;
    narrowness n = {.e = e, .blocks = e->narrow_blocks, .block = 1, .changed = true};
    memset(e->is_narrow, NARROW, e->function->local_count);
    for (uint32_t i = 0, slot = 0; i < e->signature->param_count; i++) {
        e->is_narrow[slot] = e->signature->places[i].letter == 'i';
        slot += wj_slots_of(e->signature->places[i].letter);
    }
    for (uint32_t round = 0; n.changed && round < MOST_ROUNDS; round++) {
        n.changed = false;
        for (uint32_t at = 0; at < f->word_count;) {
            n.block += (e->marks[at] & TARGET_MARK) != 0;
            at += look_at(&n, f->words + at);
        }
        n.block++;
    }
    if (n.changed) {
        memset(e->is_narrow, 0, e->function->local_count);
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
