/* What a function has around its instructions, as it is translated for the interpreter: locals, and the room for words. */
#include "interpret_translate.h"

/* The static analyser does not know that bodies are valid, and takes the operand stack and the frames to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

void wj_grow_words(translator *t)
{
    enum { FIRST_WORDS = 256 };
    if (t->count >= MOST_WORDS) {
        t->failed = true;
        return;
    }
    size_t wanted = t->room == 0 ? FIRST_WORDS : 2 * t->room;
    wanted = wanted > MOST_WORDS ? MOST_WORDS : wanted;
    uint32_t *grown = t->failed ? NULL : realloc(t->words, wanted * sizeof *grown);
    t->failed = grown == NULL;
    if (grown != NULL) {
        t->words = grown;
        t->room = wanted;
    }
}

/* So many locals more, behind the others; of functions without vectors nothing is kept of each. */
static void add_locals(translator *t, uint32_t first, uint32_t count, bool are_vectors)
{
    bool are_first = t->local_slots == NULL;
    if (are_first && !are_vectors) {
        t->local_count += count;
        return;
    }
    size_t begun = are_first ? 0 : first;
    t->local_slots = reserved(t, t->local_slots, begun, &t->local_room, first - begun + count, sizeof *t->local_slots);
    if (t->failed) {
        return;
    }
    for (uint32_t i = 0; i < first && are_first; i++) {
        t->local_slots[i] = i;
    }
    for (uint32_t i = first; i < first + count; i++) {
        t->local_slots[i] = are_vectors ? t->local_count | IS_VECTOR : t->local_count;
        t->local_count += are_vectors ? 2 : 1;
    }
}

/* Where each local is newest: nowhere. */
static void make_newest(translator *t)
{
    t->newest = malloc((t->local_count + 1) * sizeof *t->newest);
    t->failed = t->failed || t->newest == NULL;
    for (uint32_t i = 0; i < t->local_count && t->newest != NULL; i++) {
        t->newest[i] = NO_WORD;
    }
}

/* The parameters, and the declarations of locals, which are read if there are some. */
void wj_read_locals(translator *t)
{
    uint32_t count = t->signature->param_count;
    for (uint32_t i = 0; i < count; i++) {
        add_locals(t, i, 1, t->signature->places[i].letter == WJ_LETTER_V128);
    }
    uint32_t groups = read_index(t);
    for (uint32_t i = 0; i < groups; i++) {
        uint32_t more = read_index(t);
        add_locals(t, count, more, read_value_type(t) == WJ_TYPE_V128);
        count += more;
    }
    make_newest(t);
}

wj_body_words *wj_finish_words(const translator *t)
{
    wj_body_words of = {(uint32_t)t->count, (uint32_t)t->offset_count};
    wj_body_words *made = malloc(wj_body_words_bytes(&of));
    if (made == NULL) {
        return NULL;
    }
    *made = of;
    memcpy(made->words, t->words, t->count * sizeof(uint32_t));
    if (t->offset_count != 0) {
        memcpy(made->words + t->count + t->count % 2, t->offsets, t->offset_count * sizeof *t->offsets);
    }
    return made;
}

wj_interpreted *wj_finish(const translator *t, wj_body_words *words, uint32_t function_index, uint32_t instruction_count)
{
    wj_interpreted *made = malloc(sizeof *made);
    if (made == NULL) {
        free(words);
        return NULL;
    }
    *made = (wj_interpreted){.function_index = function_index, .local_count = t->local_count, .fresh = words};
    /* Behind the locals, where a loop begins without operands, goes what is left of the fuel (`abi.py`: loop entries). */
    bool is_handed = t->of->plan.counts_fuel != 0 && t->most_height == 0;
    made->slot_count = t->local_count + t->most_height + is_handed;
    made->instruction_count = instruction_count;
    made->budget = t->of->plan.budget;
    made->signature = t->signature;
    return made;
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
