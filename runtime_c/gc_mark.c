/* Marks what objects refer to, precisely. See wj_gc.h. */
#include "gc_mark.h"

#include <string.h>
#include <sys/mman.h>

#define FIRST_GREY (UINT64_C(1) << 16)

static bool make_room_for_grey(wj_gc_heap *heap)
{
    uint64_t length = heap->grey_length == 0 ? FIRST_GREY : 2 * heap->grey_length;
    void *made = heap->grey_length == 0
                     ? mmap(NULL, length * sizeof *heap->grey, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                     : mremap(heap->grey, heap->grey_length * sizeof *heap->grey, length * sizeof *heap->grey, MREMAP_MAYMOVE);
    if (made == MAP_FAILED) {
        return false;
    }
    heap->grey = made;
    heap->grey_length = length;
    return true;
}

/* Whether an object is reached for the first time. */
static inline bool is_new(const wj_gc_heap *heap, uint32_t offset)
{
    uint64_t *word = &heap->marks[wj_gc_place(offset) / 64];
    uint64_t bit = UINT64_C(1) << (wj_gc_place(offset) % 64);
    if ((*word & bit) != 0) {
        return false;
    }
    *word |= bit;
    return true;
}

static inline void mark(wj_gc_collection *of, uint32_t offset)
{
    wj_gc_heap *heap = of->heap;
    if (!is_new(heap, offset)) {
        return;
    }
    if (__builtin_expect(heap->grey_count == heap->grey_length, 0) && !make_room_for_grey(heap)) {
        of->has_overflown = true;
        return;
    }
    heap->grey[heap->grey_count++] = offset;
}

void wj_gc_mark(wj_gc_collection *of, uint32_t offset)
{
    mark(of, offset);
}

static inline void mark_word(wj_gc_collection *of, uint64_t word)
{
    if (word == 0 || (word & 1) != 0) {
        return;
    }
    if ((word & WJ_WORD_KIND_MASK) == 0) {
        mark(of, (uint32_t)word);
    } else if (of->host_words != NULL) {
        of->host_words->visit(of->host_words->into, word);
    }
}

void wj_gc_mark_word(wj_gc_collection *of, uint64_t word)
{
    mark_word(of, word);
}

static inline void mark_field(wj_gc_collection *of, const uint8_t *place, uint32_t kind)
{
    if (kind == WJ_GC_TRACED_ANYREF) {
        uint32_t word;
        memcpy(&word, place, sizeof word);
        mark_word(of, word);
    } else if (kind == WJ_GC_TRACED_EXTERNREF) {
        uint64_t word;
        memcpy(&word, place, sizeof word);
        mark_word(of, word);
    }
    /* A store whose objects refer to exceptions keeps those (wj_store.keeps_exceptions). */
}

/* The mark of each element is asked for some time before it is marked. */
static void __attribute__((noinline)) mark_elements(wj_gc_collection *of, const wj_gc_object *array, uint32_t kind)
{
    enum { AHEAD = 16 };
    const wj_gc_heap *heap = of->heap;
    const uint8_t *elements = (const uint8_t *)(array + 1);
    uint32_t length = array->length;
    if (kind != WJ_GC_TRACED_ANYREF) {
        for (uint32_t i = 0; i < length; i++) {
            mark_field(of, elements + i * sizeof(uint64_t), kind);
        }
        return;
    }
    const uint32_t *words = (const uint32_t *)(const void *)elements;
    for (uint32_t i = 0; i < length; i++) {
        uint32_t later = words[(uint64_t)i + AHEAD]; /* behind the array it may be anything; behind the heap there is a guard */
        if (later >= WJ_GC_OBJECTS_START) {
            __builtin_prefetch(&heap->marks[wj_gc_place(later) / 64], 1);
        }
        mark_word(of, words[i]);
    }
}

/* Marks what an object refers to, and the lines that it is in. */
static inline __attribute__((always_inline)) void look_through(wj_gc_collection *of, uint32_t offset,
                                                                const wj_gc_descriptor *type)
{
    wj_gc_heap *heap = of->heap;
    const wj_gc_object *object = wj_gc_object_at(heap, offset);
    uint64_t size_bytes = wj_gc_size_of(object, type);
    wj_gc_block *block = &heap->blocks[wj_gc_block_of(offset)];
    heap->live_bytes += size_bytes;
    if (block->use == WJ_GC_SMALL) {
        uint32_t within = (offset - WJ_GC_OBJECTS_START) % WJ_GC_BLOCK_BYTES;
        wj_gc_add_lines(block->live, within / WJ_GC_LINE_BYTES,
                        (uint32_t)((within + size_bytes + WJ_GC_LINE_BYTES - 1) / WJ_GC_LINE_BYTES));
    }
    const uint8_t *bytes = (const uint8_t *)object;
    if (type->kind == WJ_GC_STRUCT) {
        for (uint32_t i = 0; i < type->references; i++) {
            uint32_t field = type->traced[i];
            mark_field(of, bytes + (field >> WJ_GC_TRACED_SHIFT), field & ((1u << WJ_GC_TRACED_SHIFT) - 1));
        }
    } else if (type->references != 0) {
        mark_elements(of, object, type->traced[0] & ((1u << WJ_GC_TRACED_SHIFT) - 1));
    }
}

static void look_through_one(wj_gc_collection *of, uint32_t offset)
{
    look_through(of, offset, wj_gc_descriptor_of(of->heap, wj_gc_object_at(of->heap, offset)));
}

/* Objects of which each refers to one other: nothing else can be done while it is waited for. What has the type of the one
 * before is looked through before its type is known, by way of a branch that the processor foresees. */
static void look_through_chain(wj_gc_collection *of)
{
    wj_gc_heap *heap = of->heap;
    uint32_t descriptor = 0;
    const wj_gc_descriptor *type = (const wj_gc_descriptor *)(const void *)heap->base; /* zeros, as null has */
    while (heap->grey_count == 1) {
        heap->grey_count = 0;
        uint32_t offset = heap->grey[0];
        uint32_t found = wj_gc_object_at(heap, offset)->descriptor;
        if (__builtin_expect(found != descriptor, 0)) {
            __asm__ volatile("" : "+r"(found)); /* no conditional move, which would wait for both */
            descriptor = found;
            type = (const wj_gc_descriptor *)(const void *)(heap->base + found);
        }
        look_through(of, offset, type);
    }
}

/* Each object is asked for some time before it is looked through: most are in no cache. */
static void look_through_grey(wj_gc_collection *of)
{
    enum { AHEAD = 16 };
    wj_gc_heap *heap = of->heap;
    uint32_t asked[AHEAD];
    uint32_t first = 0;
    uint32_t count = 0;
    for (;;) {
        if (count == 0) {
            look_through_chain(of);
        }
        for (; count < AHEAD && heap->grey_count != 0; count++) {
            uint32_t offset = heap->grey[--heap->grey_count];
            __builtin_prefetch(heap->base + offset);
            asked[(first + count) % AHEAD] = offset;
        }
        if (count == 0) {
            return;
        }
        uint32_t next = asked[first];
        first = (first + 1) % AHEAD;
        count--;
        look_through_one(of, next);
    }
}

/* Looks through all marked objects again, until `grey` was long enough. */
static void catch_up(wj_gc_collection *of)
{
    wj_gc_heap *heap = of->heap;
    while (of->has_overflown) {
        of->has_overflown = false;
        heap->live_bytes = 0;
        for (uint64_t word = 0; word < heap->block_end * WJ_GC_BLOCK_WORDS; word++) {
            for (uint64_t bits = heap->marks[word]; bits != 0; bits &= bits - 1) {
                uint64_t place = word * 64 + (uint64_t)__builtin_ctzll(bits);
                look_through_one(of, (uint32_t)(WJ_GC_OBJECTS_START + place * WJ_GC_OBJECT_ALIGNMENT));
                look_through_grey(of);
            }
        }
    }
}

void wj_gc_mark_reached(wj_gc_collection *of)
{
    look_through_grey(of);
    catch_up(of);
}
