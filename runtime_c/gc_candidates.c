/* Finds the objects that words may be references to, of which nothing is known but their bits. See wj_gc.h. */
#include "gc_mark.h"

/* Enters the objects of a hole into `starts`. */
static void index_hole(wj_gc_heap *heap, uint32_t from, uint32_t to)
{
    while (from < to) {
        const wj_gc_object *object = wj_gc_object_at(heap, from);
        if (object->descriptor == 0) {
            return; /* nothing was put there yet */
        }
        wj_gc_add_start(heap->starts, from);
        from += (uint32_t)wj_gc_size_of(object, wj_gc_descriptor_of(heap, object));
    }
}

static void index_block(wj_gc_heap *heap, uint64_t number)
{
    wj_gc_block *block = &heap->blocks[number];
    block->is_indexed = true;
    for (uint32_t first = 0, end; first < WJ_GC_BLOCK_LINES; first = end) {
        end = first + 1;
        if (!wj_gc_has_line(block->fresh, first)) {
            continue;
        }
        while (end < WJ_GC_BLOCK_LINES && wj_gc_has_line(block->fresh, end)) {
            end++;
        }
        index_hole(heap, wj_gc_block_start(number) + first * WJ_GC_LINE_BYTES,
                   wj_gc_block_start(number) + end * WJ_GC_LINE_BYTES);
    }
}

void wj_gc_index(wj_gc_heap *heap)
{
    for (uint64_t number = 0; number < heap->block_end; number++) {
        if (heap->blocks[number].use == WJ_GC_SMALL && !heap->blocks[number].is_indexed) {
            index_block(heap, number);
        }
    }
}

/* The last object that begins at or before an offset, in its block; 0 if there is none. */
static uint32_t start_before(const wj_gc_heap *heap, uint32_t offset)
{
    uint64_t place = wj_gc_place(offset);
    uint64_t first_word = wj_gc_block_of(offset) * WJ_GC_BLOCK_WORDS;
    uint64_t word = place / 64;
    uint64_t bits = heap->starts[word] & (UINT64_MAX >> (63 - place % 64));
    while (bits == 0 && word > first_word) {
        bits = heap->starts[--word];
    }
    if (bits == 0) {
        return 0;
    }
    uint64_t found = word * 64 + 63 - (uint64_t)__builtin_clzll(bits);
    return (uint32_t)(WJ_GC_OBJECTS_START + found * WJ_GC_OBJECT_ALIGNMENT);
}

void wj_gc_mark_candidate(wj_gc_collection *of, uint64_t offset, uint64_t most_large)
{
    wj_gc_heap *heap = of->heap;
    if (offset < WJ_GC_OBJECTS_START || offset >= wj_gc_block_start(heap->block_end)) {
        return;
    }
    uint64_t number = wj_gc_block_of((uint32_t)offset);
    const wj_gc_block *block = &heap->blocks[number];
    uint32_t start;
    if (block->use == WJ_GC_LARGE || block->use == WJ_GC_LARGE_REST) {
        start = wj_gc_block_start(block->use == WJ_GC_LARGE ? number : number - block->run_blocks);
        if (offset - start >= most_large) {
            return;
        }
    } else if (block->use == WJ_GC_SMALL) {
        if (!block->is_indexed) {
            index_block(heap, number);
        }
        start = start_before(heap, (uint32_t)offset);
    } else {
        return;
    }
    if (start == 0 || !wj_gc_has_start(heap->starts, start)) {
        return;
    }
    const wj_gc_object *object = wj_gc_object_at(heap, start);
    if (offset < start + wj_gc_size_of(object, wj_gc_descriptor_of(heap, object))) {
        wj_gc_mark(of, start);
    }
}
