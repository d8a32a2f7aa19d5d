/* Types of objects: their descriptors in the heap, which are found by the types' ids. See wj_gc.h. */
#include "address_space.h"
#include "wj_gc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static wj_gc_known_type *place_of(const wj_gc_heap *heap, uint32_t type_id)
{
    uint32_t mask = heap->types_length - 1;
    uint32_t at = type_id * UINT32_C(0x9E3779B1) & mask;
    while (heap->types[at].descriptor != 0 && heap->types[at].type_id != type_id) {
        at = (at + 1) & mask;
    }
    return &heap->types[at];
}

static bool make_room_for_types(wj_gc_heap *heap)
{
    if (heap->types_count < heap->types_length / 2) {
        return true;
    }
    wj_gc_known_type *old = heap->types;
    uint32_t old_length = heap->types_length;
    wj_gc_known_type *made = calloc(2 * (size_t)old_length, sizeof *made);
    if (made == NULL) {
        return false;
    }
    heap->types = made;
    heap->types_length = 2 * old_length;
    for (uint32_t i = 0; i < old_length; i++) {
        if (old[i].descriptor != 0) {
            *place_of(heap, old[i].type_id) = old[i];
        }
    }
    free(old);
    return true;
}

uint32_t wj_gc_describe(wj_store *store, const wj_gc_type *type)
{
    wj_gc_heap *heap = store->gc;
    uint64_t wanted = round_up(sizeof(wj_gc_descriptor) + type->traced_count * sizeof(uint32_t), WJ_GC_OBJECT_ALIGNMENT);
    if (!make_room_for_types(heap)) {
        return 0;
    }
    wj_gc_known_type *known = place_of(heap, type->type_id);
    if (known->descriptor != 0) {
        return known->descriptor;
    }
    if (wanted > WJ_GC_OBJECTS_START - heap->descriptors_end) {
        return 0;
    }
    wj_gc_descriptor *made = (wj_gc_descriptor *)(void *)(heap->base + heap->descriptors_end);
    made->type_id = type->type_id;
    made->kind = type->kind;
    made->size_bytes = type->size_bytes;
    made->references = type->traced_count;
    if (type->supertype != 0) {
        const wj_gc_descriptor *above = (const wj_gc_descriptor *)(const void *)(heap->base + type->supertype);
        made->depth = above->depth + 1;
        memcpy(made->display, above->display, made->depth * sizeof made->display[0]);
    }
    made->display[made->depth] = heap->descriptors_end;
    for (uint32_t i = 0; i < type->traced_count; i++) {
        made->traced[i] = type->traced[i];
        if ((type->traced[i] & ((1u << WJ_GC_TRACED_SHIFT) - 1)) == WJ_GC_TRACED_EXNREF) {
            store->keeps_exceptions = true; /* nobody looks for those that objects refer to */
        }
    }
    *known = (wj_gc_known_type){type->type_id, heap->descriptors_end};
    heap->types_count++;
    heap->descriptors_end += (uint32_t)wanted;
    return known->descriptor;
}

int wj_gc_describe_types(wj_store *store, void *context, const wj_gc_types *types)
{
    uint32_t *ids = wj_store_alloc(store, types->count * sizeof *ids);
    if (ids == NULL) {
        return ENOMEM;
    }
    memcpy(ids, types->ids, types->count * sizeof *ids);
    for (uint32_t i = 0; i < types->count; i++) {
        const wj_gc_layout *layout = &types->layouts[i];
        if (layout->kind == 0) {
            continue;
        }
        wj_gc_type type = {
            .type_id = ids[i],
            .kind = layout->kind,
            .supertype = layout->supertype == UINT32_MAX ? 0 : ids[layout->supertype],
            .size_bytes = layout->size_bytes,
            .traced_count = layout->traced_count,
            .traced = types->traced + layout->first_traced,
        };
        ids[i] = wj_gc_describe(store, &type);
        if (ids[i] == 0) {
            return ENOMEM;
        }
    }
    ((wj_vmcontext *)context)->type_ids = ids;
    return 0;
}

uint32_t wj_gc_type_of(const wj_store *store, uint64_t word, uint32_t *type_id)
{
    const uint8_t *heap = (const uint8_t *)(uintptr_t)store->gc_heap;
    *type_id = 0;
    if (heap == NULL || word >> 32 != 0) {
        return 0;
    }
    const wj_gc_object *object = (const wj_gc_object *)(const void *)(heap + word);
    const wj_gc_descriptor *descriptor = (const wj_gc_descriptor *)(const void *)(heap + object->descriptor);
    *type_id = descriptor->type_id;
    return descriptor->kind;
}
