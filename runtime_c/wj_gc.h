/* The heap of a store, for objects of garbage collection: offsets in it are references (abi.GC_OBJECT). */
#ifndef WJ_GC_H
#define WJ_GC_H

#include "wj_base.h"

typedef struct {
    uint32_t descriptor;
    uint32_t length; /* of an array; a structure's fields begin here */
} wj_gc_object;

typedef struct {
    uint32_t type_id, kind, depth, size_bytes, references;
    uint32_t display[WJ_GC_DISPLAY_ENTRIES];
    uint32_t traced[]; /* offset << 2 | WJ_GC_TRACED_... */
} wj_gc_descriptor;

WJ_ASSERT_OFFSET(wj_gc_object, descriptor, WJ_GC_OBJECT_DESCRIPTOR);
WJ_ASSERT_OFFSET(wj_gc_object, length, WJ_GC_OBJECT_LENGTH);
_Static_assert(sizeof(wj_gc_object) == WJ_GC_OBJECT_SIZEOF, "object header size");
WJ_ASSERT_OFFSET(wj_gc_descriptor, type_id, WJ_GC_DESCRIPTOR_TYPE_ID);
WJ_ASSERT_OFFSET(wj_gc_descriptor, kind, WJ_GC_DESCRIPTOR_KIND);
WJ_ASSERT_OFFSET(wj_gc_descriptor, depth, WJ_GC_DESCRIPTOR_DEPTH);
WJ_ASSERT_OFFSET(wj_gc_descriptor, size_bytes, WJ_GC_DESCRIPTOR_SIZE_BYTES);
WJ_ASSERT_OFFSET(wj_gc_descriptor, references, WJ_GC_DESCRIPTOR_REFERENCES);
WJ_ASSERT_OFFSET(wj_gc_descriptor, display, WJ_GC_DESCRIPTOR_DISPLAY);
WJ_ASSERT_OFFSET(wj_gc_descriptor, traced, WJ_GC_TRACED);

/* What a type of a module is to the heap. `supertype` is the descriptor of the one that it declares, 0: it has none. */
typedef struct {
    uint32_t type_id, kind, supertype, size_bytes, traced_count;
    const uint32_t *traced;
} wj_gc_type;

/* Makes the heap, if there is none. 0 or an errno value. */
WJ_INTERNAL int wj_gc_heap_make(wj_store *store);
/* The descriptor of a type, always the same for one; 0: there is no memory. */
WJ_INTERNAL uint32_t wj_gc_describe(wj_store *store, const wj_gc_type *type);
WJ_INTERNAL void wj_gc_heap_free(wj_store *store);

#endif
