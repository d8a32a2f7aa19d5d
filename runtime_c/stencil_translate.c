/* From the interpreter's words to native code. See stencil.h. */
#include "stencil_translate.h"

#ifdef WJ_HAS_STENCILS
#ifdef __aarch64__
#include "wj_stencils_aarch64.h"
#else
#include "wj_stencils.h"
#endif

/* Words are what interpret_translate.c made, of a body that validation has accepted: every slot and every target is one.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

enum { NO_STENCIL = UINT32_MAX };

/* A division by a constant: the constant is put into a slot of its own. */
static void emit_division(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word, uint32_t target)
{
    bool branches = *word >= WJ_OP_BRANCH_I32_EQ;
    if (!branches && wj_emit_division_by(e, word)) {
        return;
    }
    uint32_t plain = branches ? *word - WJ_OP_BRANCH_I32_EQ_IMMEDIATE : *word - WJ_OP_I32_EQ_IMMEDIATE;
    bool is_wide = is_between(plain, WJ_OP_I64_DIV_S - WJ_OP_I32_EQ, WJ_OP_I64_REM_U - WJ_OP_I32_EQ);
    uint64_t value = is_wide ? (uint64_t)(int64_t)(int32_t)found->constant : found->constant;
    wj_write_constant(e, e->scratch_slot, value);
    uint32_t slots[3] = {found->slots[0], e->scratch_slot, 0};
    if (!branches) {
        slots[1] = found->slots[1];
        slots[2] = e->scratch_slot;
    }
    emit_row(e, found->stencil - 1, slots, 0, target);
}

/* The words have the low half of a constant of 64 bits, which is extended with its sign. */
static uint64_t constant_of(const stencil_instruction *found)
{
    return (uint64_t)(int64_t)(int32_t)found->constant;
}

static void emit_select(stencil_emitter *e, const stencil_instruction *found)
{
    bool is_float = wj_is_in_float(e, found->slots[1]) || wj_is_in_float(e, found->slots[2]);
    bool narrow = wj_is_narrow(e, found->slots[1]) && wj_is_narrow(e, found->slots[2]);
    emit_row(e, is_float ? WJ_STENCIL_SELECT_FLOAT : WJ_STENCIL_SELECT, found->slots, 0, 0);
    wj_note_narrow(e, found->slots[0], narrow);
}

/* A branch that is taken or not: behind it, operands are where they were; where it leads they are in the frame. */
static void emit_branch(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word)
{
    bool keeps_operand = *word == WJ_OP_BRANCH_ON_NULL || *word == WJ_OP_BRANCH_ON_NON_NULL;
    wj_store_operands(e, found->slots, keeps_operand ? 0 : found->slot_count, true);
    uint32_t target = edge_to(e, found->target);
    if ((found->flags & DIVIDES) != 0) {
        emit_division(e, found, word, target);
    } else {
        stencil_row row = {.number = found->stencil - 1, .slots = found->slots, .constant = constant_of(found)};
        row.target = target;
        row.uses = !keeps_operand;
        wj_emit_row(e, &row);
    }
}

/* False: the stencil of its row is all there is to it. */
static bool emit_irregular(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word)
{
    if ((found->flags & HAS_TARGET) != 0 && *word != WJ_OP_BRANCH) {
        emit_branch(e, found, word);
    } else if ((found->flags & DIVIDES) != 0) {
        emit_division(e, found, word, 0);
    } else if ((found->flags & METERS) != 0) {
        wj_emit_metering(e, word);
    } else if ((found->flags & VECTORS) != 0 && wj_emit_vector(e, found, word)) {
        return true;
    } else if (found->stencil == 0) {
        wj_emit_other(e, word);
    } else if (*word == WJ_OP_SELECT) {
        emit_select(e, found);
    } else if (*word == WJ_OP_COPY) {
        wj_emit_copy(e, word[1], word[2]);
    } else if (*word == WJ_OP_CONSTANT) {
        wj_write_constant(e, word[1], word[2]);
    } else if ((found->flags & ACCESSES) != 0) {
        wj_emit_access(e, found, word);
    } else {
        return false;
    }
    return true;
}

static void emit_instruction(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word)
{
    if ((found->flags & MASKS) != 0 && wj_emit_mask(e, word)) {
        return;
    }
    if (!emit_irregular(e, found, word)) {
        emit_row(e, found->stencil - 1, found->slots, constant_of(found), 0);
    }
}

/* Before a word: where control comes from elsewhere too, or goes to another region. */
static void begin_block(stencil_emitter *e, uint32_t at, bool is_reached)
{
    uint32_t region = region_at(e, at);
    if (is_reached) {
        wj_use_home_memory(e);
        wj_store_operands(e, NULL, 0, false);
        wj_emit_edge(e, e->region, region);
    }
    e->base_of = e->home_memory;
    wj_forget_checks(e);
    wj_set_region(e, region);
}

/* A comparison of floats whose result is what the next word, a branch, looks at: the stencil of both, or NO_STENCIL. */
static uint32_t float_branch(const stencil_emitter *e, const uint32_t *word, uint32_t next)
{
    static const struct {
        uint16_t holds, fails;
    } branches[] = {
#define WJ_X(name) [WJ_OP_##name - WJ_OP_F32_EQ] = {WJ_STENCIL_BRANCH_##name, WJ_STENCIL_BRANCH_UNLESS_##name}
        WJ_X(F32_LT), WJ_X(F32_GT), WJ_X(F32_LE), WJ_X(F32_GE), WJ_X(F64_LT), WJ_X(F64_GT), WJ_X(F64_LE), WJ_X(F64_GE),
#undef WJ_X
    };
    const uint32_t *branch = e->body->words + next;
    if ((*branch != WJ_OP_BRANCH_IF && *branch != WJ_OP_BRANCH_UNLESS) ||
        branch[1] != word[1] || !wj_is_operand(e, word[1]) || (e->marks[next] & TARGET_MARK) != 0) {
        return NO_STENCIL;
    }
    uint32_t number = *word - WJ_OP_F32_EQ;
    uint32_t found = *branch == WJ_OP_BRANCH_IF ? branches[number].holds : branches[number].fails;
    return found == 0 ? NO_STENCIL : found;
}

/* Whether a constant goes to an operand that a comparison has nothing to do with. */
static bool is_constant_beside(const stencil_emitter *e, const uint32_t *word, const uint32_t *comparison)
{
    return (*word == WJ_OP_CONSTANT || *word == WJ_OP_CONSTANT_64) && wj_is_operand(e, word[1]) && word[1] != comparison[1] &&
           word[1] != comparison[2] && (wj_forms[*comparison].slot_count != 3 || word[1] != comparison[3]);
}

static inline void forget_written(stencil_emitter *e, const stencil_instruction *found)
{
    if (e->check_count != 0) {
        wj_forget_checks_of(e, found);
    }
}

/* A comparison and the select that looks at its result, between which there are the constants that are selected: all that
 * they do. Returns how many words are behind the comparison's; 0: there is no instruction for it. */
static uint32_t emit_fused(stencil_emitter *e, const uint32_t *word, uint32_t next)
{
    uint32_t at = next;
    const uint32_t *words = e->body->words;
    while (e->marks[at] == e->region && is_constant_beside(e, words + at, word)) {
        at += wj_forms[words[at]].words;
    }
    const uint32_t *select = words + at;
    if (e->marks[at] != e->region || *select != WJ_OP_SELECT || select[4] != word[1]) {
        return 0;
    }
    for (uint32_t constant = next; constant != at; constant += wj_forms[words[constant]].words) {
        const uint32_t *of = words + constant;
        wj_write_constant(e, of[1], *of == WJ_OP_CONSTANT ? of[2] : of[2] | (uint64_t)of[3] << 32);
    }
    uint32_t length = wj_emit_fused_select(e, word, select); /* else these are done again */
    if (length != 0) {
        stencil_instruction found = wj_decode(select);
        forget_written(e, &found);
    }
    return length == 0 ? 0 : at - next + length;
}

/* A copy of a local that the next word, a return, takes: the return takes the local. */
static uint32_t returned_local(const stencil_emitter *e, const uint32_t *word, uint32_t next)
{
    const uint32_t *other = e->body->words + next;
    bool is_it = *other == WJ_OP_RETURN && other[1] == word[1] && e->signature->result_slots == 1 &&
                 wj_is_operand(e, word[1]) && !wj_is_operand(e, word[2]) && (e->marks[next] & TARGET_MARK) == 0;
    return is_it ? word[2] : NO_SLOT;
}

/* What a stencil is not all of, or may be one instruction with the next word: `found` gets the length of all that is
 * emitted. Returns whether control reaches what is behind it. */
static bool emit_special(stencil_emitter *e, stencil_instruction *found, const uint32_t *word)
{
    uint32_t next = e->next_word;
    uint32_t both = (found->flags & COMPARES_FLOATS) != 0 ? float_branch(e, word, next) : NO_STENCIL;
    uint32_t fused = (found->flags & COMPARES) != 0 ? emit_fused(e, word, next) : 0;
    if ((found->flags & (HAS_TARGET | ENDS)) != 0 || both != NO_STENCIL) {
        wj_use_home_memory(e);
    }
    if (both != NO_STENCIL) {
        const uint32_t *branch = word + found->length;
        wj_store_operands(e, &word[2], 2, true);
        emit_row(e, both, &word[2], 0, edge_to(e, branch[2]));
        found->length += WJ_WORDS_BRANCH_IF;
    } else if (*word == WJ_OP_COPY && returned_local(e, word, next) != NO_SLOT) {
        wj_emit_return(e, word[2]);
        found->length += WJ_WORDS_RETURN;
        return false;
    } else if (fused != 0) {
        found->length += fused;
    } else {
        emit_instruction(e, found, word);
        forget_written(e, found);
    }
    return (found->flags & ENDS) == 0;
}

void wj_emit_body(stencil_emitter *e)
{
    const wj_body_words *f = e->body;
    const uint32_t(*offsets)[2] = wj_offsets_of(f);
    uint32_t site = 0;
    uint32_t next_site = f->offset_count != 0 ? offsets[0][0] : UINT32_MAX;
    bool is_reached = true;
    for (uint32_t at = 0; at < f->word_count && !e->failed;) {
        const uint32_t *word = f->words + at;
        stencil_instruction found = wj_decode(word);
        if (wj_this_thread.pending != 0) {
            e->failed = e->is_interrupted = true; /* the interpreter looks at that */
        }
        if (e->marks[at] != e->region || !is_reached) { /* or it has TARGET_MARK */
            begin_block(e, at, is_reached);
        }
        e->places[at] = (uint32_t)e->count;
        if (at == next_site) {
            e->module_offset = offsets[site++][1];
            next_site = site < f->offset_count ? offsets[site][0] : UINT32_MAX;
            wj_note_site(e, (uint32_t)e->count, e->module_offset);
        }
        e->next_word = at + found.length;
        if (LIKELY((found.flags & ~HAS_CONSTANT) == 0 && found.stencil != 0 && found.loose == 0)) {
            emit_row(e, found.stencil - 1, found.slots, constant_of(&found), 0);
            forget_written(e, &found);
            is_reached = true;
        } else {
            is_reached = emit_special(e, &found, word);
        }
        at += found.length;
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
