/* Looks through the whole heap for what must not be: for tests. See wj_gc.h. */
#include "wj_gc.h"

#include <string.h>

/* Whether an object may begin there, of a type that there is, and end where it may. */
static bool is_whole(const wj_gc_heap *heap, uint32_t offset, uint32_t end)
{
    const wj_gc_object *object = wj_gc_object_at(heap, offset);
    if (object->descriptor < WJ_GC_NULL_BYTES || object->descriptor >= heap->descriptors_end) {
        return false;
    }
    const wj_gc_descriptor *type = wj_gc_descriptor_of(heap, object);
    bool is_type = (type->kind == WJ_GC_STRUCT || type->kind == WJ_GC_ARRAY) && type->depth < WJ_GC_DISPLAY_ENTRIES &&
                   type->display[type->depth] == object->descriptor;
    return is_type && wj_gc_size_of(object, type) <= end - offset;
}

static bool refers_well(const wj_gc_heap *heap, const uint8_t *place, uint32_t kind)
{
    uint64_t word = 0;
    memcpy(&word, place, kind == WJ_GC_TRACED_ANYREF ? sizeof(uint32_t) : sizeof word);
    if (kind == WJ_GC_TRACED_EXNREF || word == 0 || (word & WJ_WORD_KIND_MASK) != 0) {
        return true;
    }
    return word >= WJ_GC_OBJECTS_START && word < wj_gc_block_start(heap->block_end) && word % WJ_GC_OBJECT_ALIGNMENT == 0 &&
           heap->blocks[wj_gc_block_of((uint32_t)word)].use != WJ_GC_FREE && wj_gc_has_start(heap->starts, (uint32_t)word);
}

static bool fields_are_well(const wj_gc_heap *heap, uint32_t offset)
{
    const wj_gc_object *object = wj_gc_object_at(heap, offset);
    const wj_gc_descriptor *type = wj_gc_descriptor_of(heap, object);
    const uint8_t *bytes = (const uint8_t *)object;
    uint32_t mask = (1u << WJ_GC_TRACED_SHIFT) - 1;
    if (type->kind == WJ_GC_STRUCT) {
        for (uint32_t i = 0; i < type->references; i++) {
            if (!refers_well(heap, bytes + (type->traced[i] >> WJ_GC_TRACED_SHIFT), type->traced[i] & mask)) {
                return false;
            }
        }
        return true;
    }
    for (uint32_t i = 0; type->references != 0 && i < object->length; i++) {
        if (!refers_well(heap, bytes + sizeof *object + (uint64_t)i * type->size_bytes, type->traced[0] & mask)) {
            return false;
        }
    }
    return true;
}

/* Calls `check` for each object that `starts` has; the first for which that is false, or 0. Only what the last collection
 * kept, or what has been given out since, may be looked at: the rest refers to what is gone. */
static uint32_t first_bad(const wj_gc_heap *heap, bool checks_fields)
{
    for (uint64_t word = 0; word < heap->block_end * WJ_GC_BLOCK_WORDS; word++) {
        for (uint64_t bits = heap->starts[word]; bits != 0; bits &= bits - 1) {
            uint64_t place = word * 64 + (uint64_t)__builtin_ctzll(bits);
            uint32_t offset = (uint32_t)(WJ_GC_OBJECTS_START + place * WJ_GC_OBJECT_ALIGNMENT);
            uint64_t block = wj_gc_block_of(offset);
            uint64_t count = heap->blocks[block].use == WJ_GC_LARGE ? heap->blocks[block].run_blocks : 1;
            bool is_in_use = heap->blocks[block].use == WJ_GC_SMALL || heap->blocks[block].use == WJ_GC_LARGE;
            bool is_well = checks_fields ? fields_are_well(heap, offset)
                                         : is_in_use && is_whole(heap, offset, wj_gc_block_start(block + count));
            if (!is_well) {
                return offset;
            }
        }
    }
    return 0;
}

uint32_t wj_gc_verify(const wj_store *store)
{
    wj_gc_heap *heap = store->gc;
    if (heap == NULL) {
        return 0;
    }
    wj_gc_index(heap);
    uint32_t bad = first_bad(heap, false);
    bad = bad != 0 ? bad : first_bad(heap, true);
    for (uint64_t number = 0; number < heap->block_end; number++) {
        heap->blocks[number].is_indexed = false; /* holes are still filled */
    }
    return bad;
}
