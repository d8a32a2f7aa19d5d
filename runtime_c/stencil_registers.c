/* Which slots are in which registers, in each loop of a function.
 *
 * A region is a loop, without the loops in it, which are regions of their own; what is in no loop is the first. In a region
 * some locals are in registers from its start to its end; where control goes to another region, those that have another
 * place there are stored and loaded. Operands are in registers that are left over, from the instruction that makes them to
 * the one that uses them, but not from one block to another: how many registers are left for them, their use decides as that
 * of locals does. */
#include "stencil_translate.h"

#include <string.h>

#ifdef WJ_HAS_STENCILS

/* Words are what interpret_translate.c made, of a body that validation has accepted: every slot and every target is one.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

enum { MOST_DEPTH = 6, WEIGHT_OF_DEPTH = 3 }; /* a loop in a loop of that depth counts 8 times what is around it */
enum { MOST_REGIONS = TARGET_MARK - 1 };
enum { MOST_WEIGHT = 1 << 28 };
enum { MIXED_SHARE = 16 };   /* of a local that is read as an integer here and a float there, what the other may be */
enum { LEAST_WEIGHT = 3 };   /* what saving and restoring a register costs */
enum { WEIGHT_OF_ENTRY = 2 }; /* what storing and loading it costs where a loop is entered and left */
enum { LEAST_FREE = 2 };     /* registers that are left for operands */

/* What a region does with a slot. */
typedef struct {
    uint32_t slot, region, next; /* the next of the region, or NO_USE */
    uint32_t weights[3];         /* as an integer, as a float, as either */
    bool is_written;
} use;

enum { NO_USE = UINT32_MAX };

typedef struct {
    stencil_emitter *e;
    use *uses;
    size_t count, room;
    uint32_t *latest;  /* by slot: its last use in any region, or NO_USE */
    uint32_t *order;   /* of slots: where one is in `merged` */
} allocator;

static uint32_t sum_of(uint32_t a, uint32_t b)
{
    return a + b > MOST_WEIGHT ? MOST_WEIGHT : a + b;
}

enum { INTEGER, FLOAT, EITHER };

/* The first is of no region: slots that nothing was done with have it, and all, if there is no memory. */
static bool begin_uses(allocator *a)
{
    a->latest = a->e->latest;
    a->uses = wj_scratch_take(&a->e->scratch, FIRST_USES_BYTES);
    if (a->uses == NULL) {
        return false;
    }
    a->room = FIRST_USES_BYTES / sizeof *a->uses;
    a->uses[0] = (use){.region = UINT32_MAX, .next = NO_USE};
    a->count = 1;
    return true;
}

/* What a region does with a slot that it did nothing with before. 0: no memory. */
static uint32_t begin_use(allocator *a, uint32_t region, uint32_t slot)
{
    if (a->count == a->room) {
        size_t room = 2 * a->room + 64;
        use *grown = wj_scratch_resize(&a->e->scratch, a->uses, a->count * sizeof *grown, room * sizeof *grown);
        if (grown == NULL) {
            a->e->failed = true;
            return 0;
        }
        a->uses = grown;
        a->room = room;
    }
    uint32_t found = (uint32_t)a->count++;
    a->uses[found] = (use){.slot = slot, .region = region, .next = a->e->regions[region].uses};
    a->e->regions[region].uses = found;
    a->latest[slot] = found;
    return found;
}

static inline use *use_of(allocator *a, uint32_t region, uint32_t slot)
{
    uint32_t found = a->latest[slot];
    if (UNLIKELY(a->uses[found].region != region)) {
        found = begin_use(a, region, slot);
    }
    return &a->uses[found];
}

static inline void add_use(allocator *a, uint32_t region, uint32_t slot, uint32_t weight, uint32_t kind, bool is_written)
{
    use *at = use_of(a, region, slot);
    at->weights[kind] = sum_of(at->weights[kind], weight);
    at->is_written |= is_written;
}

/* ---- regions ---- */

static void note_target(stencil_emitter *e, uint32_t *ends, uint32_t from, uint32_t target)
{
    e->marks[target] |= TARGET_MARK;
    if (target <= from) {
        ends[target] = from;
    }
}

/* Notes what words jumps go to, and the last that jumps back to each; and which locals are vectors. False: there are no
 * stencils of something. */
static bool find_targets(stencil_emitter *e, uint32_t *ends)
{
    const wj_body_words *f = e->body;
    for (uint32_t at = 0, length; at < f->word_count; at += length) {
        const uint32_t *word = f->words + at;
        stencil_form of = wj_forms[*word];
        length = of.words;
        if (length == 0) {
            return false;
        }
        if ((of.flags & VECTORS) != 0) {
            wj_find_vectors(e, word);
        }
        if ((of.flags & HAS_TARGET) != 0) {
            note_target(e, ends, at, word[length - 1]);
        } else if (*word == WJ_OP_BRANCH_TABLE) {
            length += word[2];
            for (uint32_t i = 0; i <= word[2]; i++) {
                note_target(e, ends, at, word[3 + i]);
            }
        }
    }
    return true;
}

static uint32_t add_region(stencil_emitter *e, uint32_t parent, uint32_t end)
{
    if (e->region_count == e->region_room) {
        uint32_t room = 2 * e->region_room + 8;
        stencil_region *grown = wj_scratch_resize(&e->scratch, e->regions, e->region_count * sizeof *grown, room * sizeof *grown);
        if (grown == NULL) {
            e->failed = true;
            return parent;
        }
        e->regions = grown;
        e->region_room = room;
    }
    e->regions[e->region_count] = (stencil_region){.parent = parent, .end = end, .uses = NO_USE};
    return e->region_count++;
}

/* The loop that begins at a word that is jumped back to, and goes on to the word `end`: a region, unless there are many. */
static uint32_t enter(stencil_emitter *e, uint32_t around, uint32_t *depth, uint32_t end)
{
    for (uint32_t outer = around; e->regions[outer].end < end; outer = e->regions[outer].parent) {
        e->regions[outer].end = end; /* an inner loop that is jumped back to later than the outer */
    }
    if (*depth == MOST_DEPTH || e->region_count == MOST_REGIONS) {
        return around;
    }
    ++*depth;
    return add_region(e, around, end);
}

static inline void weigh_operands(allocator *a, const stencil_instruction *of, uint32_t region, uint32_t weight)
{
    const wj_stencil_operation *operation = &wj_stencil_operations[of->stencil - 1];
    uint32_t floats = operation->floats;
    bool is_written = operation->has_result != 0; /* the first */
    for (uint32_t i = 0; i < of->slot_count; i++) {
        use *at = use_of(a, region, of->slots[i]);
        at->weights[i < of->loose ? EITHER : floats & 1] += weight; /* fits: see MOST_WORDS */
        at->is_written |= is_written;
        is_written = false;
        floats >>= 1;
    }
}

/* What is no row writes operands, as calls, or a local, which its first word is then. That of some is no slot: then a
 * local is taken to be written that is not, which costs a store. */
static void weigh_other(allocator *a, const stencil_instruction *of, const uint32_t *word, uint32_t region)
{
    if (of->length > 1 && word[1] < a->e->function->local_count) {
        add_use(a, region, word[1], *word == WJ_OP_BRANCH_TABLE, *word == WJ_OP_BRANCH_TABLE ? INTEGER : EITHER, true);
    }
}

static void weigh(allocator *a, const uint32_t *ends)
{
    stencil_emitter *e = a->e;
    const wj_body_words *f = e->body;
    uint32_t region = 0;
    uint32_t end = e->regions[0].end;
    uint32_t depth = 0;
    uint32_t flags = 0; /* of any */
    for (uint32_t at = 0; at < f->word_count && !e->failed;) {
        while (UNLIKELY(at > end)) {
            region = e->regions[region].parent;
            end = e->regions[region].end;
            depth--;
        }
        uint32_t inner = 0; /* loops that are no regions */
        if (ends[at] != 0) {
            uint32_t made = enter(e, region, &depth, ends[at]);
            inner += made == region;
            region = made;
            end = e->regions[region].end;
        }
        e->marks[at] = (uint16_t)(e->marks[at] | region);
        uint32_t weight = inner != 0 ? 1u << WEIGHT_OF_DEPTH : 1;
        const uint32_t *word = f->words + at;
        stencil_instruction found = wj_decode(word);
        flags |= found.flags;
        if (found.stencil != 0) {
            if ((found.flags & ACCESSES) != 0) {
                wj_count_access(e, word, depth + inner);
            }
            weigh_operands(a, &found, region, weight);
        } else if (*word == WJ_OP_LOOP) {
            e->has_loops = true;
        } else if (*word == WJ_OP_RETURN_CALL_INDIRECT) {
            e->calls_through_tables = true;
        } else if ((found.flags & METERS) == 0 && (*word < WJ_OP_RETURN_CALL || *word > WJ_OP_RETURN_CALL_REF)) {
            e->regions[region].calls = sum_of(e->regions[region].calls, (found.flags & CALLS) != 0 ? weight : 0);
            e->calls_through_tables = e->calls_through_tables || *word == WJ_OP_CALL_INDIRECT;
            weigh_other(a, &found, word, region);
        }
        at += found.length;
    }
    e->has_scratch_slot = e->has_scratch_slot || (flags & DIVIDES) != 0;
    e->has_accesses = (flags & ACCESSES) != 0;
}

/* ---- candidates ---- */

/* Puts a slot among those of a class that are used most. */
static void consider(stencil_candidate *best, uint32_t count, stencil_candidate made)
{
    if (made.weight == 0 || made.weight <= best[count - 1].weight) {
        return;
    }
    uint32_t i = count - 1;
    for (; i > 0 && best[i - 1].weight < made.weight; i--) {
        best[i] = best[i - 1];
    }
    best[i] = made;
}

/* Sums up what a region does with each slot, for the region around it too. Inner regions were before. `merged`: uses, one
 * for each slot at the end. */
static void merge(allocator *a, uint32_t region)
{
    stencil_region *of = &a->e->regions[region];
    for (uint32_t i = 0; i < STENCIL_CANDIDATES; i++) {
        of->integers[i] = of->floats[i] = (stencil_candidate){.slot = NO_SLOT};
    }
    if (region != 0 && (of->calls != 0 || of->has_inner_calls)) {
        a->e->regions[of->parent].has_inner_calls = true;
    }
    for (uint32_t i = of->uses; i != NO_USE; i = a->uses[i].next) { /* the last of a slot gets all */
        use *at = &a->uses[i];
        use *sum = &a->uses[a->latest[at->slot]];
        if (sum->region != region) { /* the first that is met */
            a->latest[at->slot] = i;
        } else if (sum != at) {
            for (uint32_t kind = 0; kind < 3; kind++) {
                sum->weights[kind] = sum_of(sum->weights[kind], at->weights[kind]);
            }
            sum->is_written = sum->is_written || at->is_written;
        }
    }
    uint32_t local_count = a->e->function->local_count;
    for (uint32_t i = of->uses; i != NO_USE && !a->e->failed; i = a->uses[i].next) {
        use at = a->uses[i];
        if (a->latest[at.slot] != i) {
            continue;
        }
        bool is_operand = at.slot >= local_count;
        if (is_operand) { /* whoever uses it waits until it is made, and stored: a local was, often, long before */
            at.weights[INTEGER] += at.weights[INTEGER] / 2;
            at.weights[FLOAT] += at.weights[FLOAT] / 2;
        }
        bool is_float = at.weights[FLOAT] > at.weights[INTEGER] || (!is_operand && a->e->is_vector[at.slot] != 0);
        if (is_operand || at.weights[INTEGER] / MIXED_SHARE >= at.weights[FLOAT]) {
            uint32_t weight = at.weights[INTEGER] + (is_float || is_operand ? 0 : at.weights[EITHER]);
            consider(of->integers, STENCIL_CANDIDATES, (stencil_candidate){at.slot, weight, at.is_written});
        }
        if (is_operand || at.weights[FLOAT] / MIXED_SHARE >= at.weights[INTEGER]) {
            uint32_t weight = at.weights[FLOAT] + (is_float ? at.weights[EITHER] : 0);
            consider(of->floats, STENCIL_CANDIDATES, (stencil_candidate){at.slot, weight, at.is_written});
        }
        if (region != 0 && !is_operand) {
            bool is_known = at.weights[FLOAT] != at.weights[INTEGER];
            uint32_t any = at.weights[FLOAT] + at.weights[INTEGER] + at.weights[EITHER];
            uint32_t kind = !is_known ? EITHER : is_float ? FLOAT : INTEGER;
            add_use(a, of->parent, at.slot, any != 0 ? WEIGHT_OF_ENTRY : 0, kind, at.is_written);
            of = &a->e->regions[region];
        }
        if (region == 0 && !is_operand) {
            a->e->is_float[at.slot] = is_float;
        }
    }
}

/* ---- the choice ---- */

typedef struct {
    uint32_t first, count; /* registers of the class, in stencil_region.slots */
    uint32_t saved;        /* so many of them calls leave alone */
} class;

static const class INTEGERS = {0, INTEGER_REGISTERS, SAVED_REGISTERS};
static const class FLOATS = {INTEGER_REGISTERS, FLOAT_REGISTERS, 0};

static uint32_t find(const stencil_region *in, const class *of, uint32_t slot)
{
    for (uint32_t i = of->first; i < of->first + of->count; i++) {
        if (in->slots[i] == slot) {
            return i;
        }
    }
    return NO_SLOT;
}

/* A register that is free in a region: one that is free around it, too, if there is one. */
static uint32_t free_register(const stencil_region *in, const stencil_region *around, const class *of, bool survives,
                              bool from_the_end)
{
    uint32_t found = NO_SLOT;
    uint32_t count = survives ? of->saved : of->count;
    for (uint32_t n = 0; n < count; n++) {
        uint32_t i = of->first + (from_the_end ? count - 1 - n : n);
        if (in->slots[i] != NO_SLOT) {
            continue;
        }
        if (around == NULL || around->slots[i] == NO_SLOT) {
            return i;
        }
        found = found == NO_SLOT ? i : found;
    }
    return found;
}

static void put(stencil_region *in, const stencil_region *around, uint32_t i, uint32_t slot, bool is_written)
{
    in->slots[i] = slot;
    in->occupied |= 1u << i;
    bool stays = around != NULL && around->slots[i] == slot;
    bool is_dirty = around == NULL || (stays ? (around->dirty >> i & 1) != 0 : is_written);
    in->dirty |= (uint32_t)is_dirty << i;
}

static void choose_class(stencil_emitter *e, uint32_t region, const class *of, const stencil_candidate *best)
{
    stencil_region *in = &e->regions[region];
    const stencil_region *around = region == 0 ? NULL : &e->regions[in->parent];
    stencil_candidate chosen[STENCIL_CANDIDATES];
    uint32_t count = 0;
    uint32_t operands = 0;
    uint32_t later = 0; /* operands among the rest */
    uint32_t least = region != 0 ? 0 : e->region_count == 1 ? LEAST_WEIGHT : WEIGHT_OF_ENTRY;
    bool is_leaf = region == 0 && in->calls == 0 && !in->has_inner_calls;
    uint32_t unsaved = is_leaf && e->region_count == 1 ? of->count - of->saved : 0; /* these cost nothing */
    for (uint32_t i = 0; i < STENCIL_CANDIDATES && best[i].slot != NO_SLOT; i++) {
        bool is_operand = best[i].slot >= e->function->local_count;
        if (count + operands == of->count) {
            later += is_operand;
        } else if (is_operand) {
            operands++;
        } else if (best[i].weight > least || count < unsaved) {
            chosen[count++] = best[i];
        }
    }
    while (operands < LEAST_FREE && later != 0 && count != 0) {
        operands++;
        later--;
        count -= count + operands > of->count;
    }
    bool is_taken[STENCIL_CANDIDATES] = {false};
    for (uint32_t i = 0; i < count && around != NULL; i++) { /* where they are already */
        uint32_t at = find(around, of, chosen[i].slot);
        bool survives = at != NO_SLOT && at - of->first < of->saved;
        if (at != NO_SLOT && (survives || chosen[i].weight > 2 * in->calls)) {
            put(in, around, at, chosen[i].slot, chosen[i].is_written);
            is_taken[i] = true;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (is_taken[i]) {
            continue;
        }
        uint32_t at = free_register(in, around, of, chosen[i].weight <= 2 * in->calls, is_leaf);
        if (at != NO_SLOT) {
            put(in, around, at, chosen[i].slot, chosen[i].is_written);
        }
    }
    if (around == NULL) {
        return;
    }
    uint32_t left = of->count - operands; /* for what is in registers around it, and stays there */
    for (uint32_t i = of->first; i < of->first + of->count; i++) {
        left -= in->slots[i] != NO_SLOT && left != 0;
    }
    for (uint32_t i = of->first; i < of->first + of->count && left != 0; i++) {
        bool survives = i - of->first < of->saved;
        if (in->slots[i] == NO_SLOT && around->slots[i] != NO_SLOT && (survives || in->calls == 0) &&
            find(in, of, around->slots[i]) == NO_SLOT) {
            put(in, around, i, around->slots[i], false);
            left--;
        }
    }
}

static void choose(stencil_emitter *e, uint32_t region)
{
    stencil_region *in = &e->regions[region];
    choose_class(e, region, &INTEGERS, in->integers);
    choose_class(e, region, &FLOATS, in->floats);
    for (uint32_t i = 0; i < SAVED_REGISTERS; i++) {
        e->saved_mask |= (uint32_t)(in->slots[i] != NO_SLOT) << i;
    }
    /* Where operands need more than what calls change. */
    uint32_t operands = 0;
    uint32_t taken = 0;
    for (uint32_t i = 0; i < STENCIL_CANDIDATES && in->integers[i].slot != NO_SLOT; i++) {
        operands += in->integers[i].slot >= e->function->local_count && (region != 0 || in->integers[i].weight > LEAST_WEIGHT);
    }
    for (uint32_t i = SAVED_REGISTERS; i < INTEGER_REGISTERS; i++) {
        taken += in->slots[i] != NO_SLOT;
    }
    for (uint32_t i = 0; i < SAVED_REGISTERS && operands + taken > INTEGER_REGISTERS - SAVED_REGISTERS; i++) {
        if (in->slots[i] == NO_SLOT) {
            e->saved_mask |= 1u << i;
            taken--;
        }
    }
}

/* Any local in any register is right, and so is none, though it may have to go through the frame: tests try them. */
static void choose_at_random(stencil_emitter *e, uint32_t region)
{
    stencil_region *in = &e->regions[region];
    const stencil_region *around = region == 0 ? NULL : &e->regions[in->parent];
    for (uint32_t i = 0; i < STENCIL_REGISTERS; i++) {
        uint32_t slot = wj_random(e) % (e->function->local_count + 1);
        if (around != NULL && wj_random(e) % 2 == 0) {
            slot = around->slots[i] == NO_SLOT ? e->function->local_count : around->slots[i];
        }
        uint8_t half = slot < e->function->local_count ? e->is_vector[slot] : 0;
        if (half == WJ_UPPER_HALF || (half != 0 && i < INTEGER_REGISTERS)) {
            continue;
        }
        if (slot != e->function->local_count && find(in, &INTEGERS, slot) == NO_SLOT && find(in, &FLOATS, slot) == NO_SLOT) {
            put(in, around, i, slot, true);
        }
    }
    e->saved_mask = (1u << SAVED_REGISTERS) - 1;
}

uint32_t wj_random(stencil_emitter *e)
{
    e->random = e->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(e->random >> 33);
}

bool wj_choose_registers(stencil_emitter *e)
{
    uint32_t *ends = e->ends;
    allocator a = {.e = e};
    bool done = false;
    if (!begin_uses(&a) || !find_targets(e, ends)) {
        goto end;
    }
    (void)add_region(e, 0, e->body->word_count);
    if (e->failed) {
        goto end;
    }
    weigh(&a, ends);
    for (uint32_t i = e->region_count; i > 0 && !e->failed; i--) {
        merge(&a, i - 1);
    }
    uint64_t seed = e->of->plan.register_seed;
    e->random = seed + UINT64_C(0x9e3779b97f4a7c15) * (e->function->function_index + 1);
    for (uint32_t i = 0; i < e->region_count && !e->failed; i++) {
        memset(e->regions[i].slots, 0xff, sizeof e->regions[i].slots);
        if (seed != 0) {
            choose_at_random(e, i);
        } else {
            choose(e, i);
        }
    }
    e->counts_in_frame = COUNTS_IN_FRAME && e->has_loops && !wj_counts_fuel(e);
    for (uint32_t i = 1; i < e->region_count; i++) {
        e->counts_in_frame = e->counts_in_frame && (e->regions[i].calls != 0 || e->regions[i].has_inner_calls);
    }
    done = !e->failed;
end:
    wj_scratch_free(&e->scratch, a.uses);
    return done;
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
