/* The heap of garbage collected objects that a store has: gc_heap.c makes it and gives out room, gc_collect.c finds what is
 * free, with gc_mark.c and gc_candidates.c. Offsets in it are references of wasm; the contract is in wasmjit/abi.py
 * ("garbage collected objects").
 *
 * Objects never move. They lie in blocks, which are divided into lines: room is given out as holes, which are lines in a row
 * that nothing lives in, all zeros, and are filled from their start on by generated code. What is larger than
 * WJ_GC_LARGE_BYTES has blocks to itself. A hole can be walked object by object: what has no descriptor is free. */
#ifndef WJ_GC_H
#define WJ_GC_H

#include "wj.h"

#include <string.h>

/* Offsets in the heap. Where null would be there are zeros to read, so that a type test of null fails by itself; then
 * descriptors; then objects, which begin so far behind that small integers are not taken for references. */
#define WJ_GC_NULL_BYTES UINT32_C(0x10000)
#define WJ_GC_OBJECTS_START UINT32_C(0x08000000)
#define WJ_GC_MOST_BYTES UINT64_C(0xFFFF0000) /* of a heap, from null on */
#define WJ_GC_LEAST_BYTES (WJ_GC_OBJECTS_START + (UINT64_C(1) << 20))

#define WJ_GC_BLOCK_BYTES UINT32_C(0x8000)
#define WJ_GC_LINE_BYTES UINT32_C(128)
#define WJ_GC_BLOCK_LINES (WJ_GC_BLOCK_BYTES / WJ_GC_LINE_BYTES)
#define WJ_GC_BLOCK_WORDS (WJ_GC_BLOCK_BYTES / WJ_GC_OBJECT_ALIGNMENT / 64) /* of a bit for each place of an object */
#define WJ_GC_LARGE_BYTES UINT32_C(0x2000)
#define WJ_GC_FIRST_TYPES 64u /* that there is room for at first */
#define WJ_GC_LEAST_GIVEN_BYTES (UINT64_C(4) << 20) /* between collections */

typedef struct {
    uint32_t descriptor;
    uint32_t length; /* of an array; a structure's fields begin here */
} wj_gc_object;

typedef struct {
    uint32_t type_id, kind, depth, size_bytes, references;
    uint32_t display[WJ_GC_DISPLAY_ENTRIES];
    uint32_t traced[]; /* offset << WJ_GC_TRACED_SHIFT | WJ_GC_TRACED_... */
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

typedef uint64_t wj_gc_lines[WJ_GC_BLOCK_LINES / 64]; /* a bit for each line of a block */

enum { WJ_GC_FREE, WJ_GC_SMALL, WJ_GC_LARGE, WJ_GC_LARGE_REST };

typedef struct {
    uint8_t use;         /* one of the above */
    bool is_touched;     /* it may have other bytes than zeros */
    bool is_indexed;     /* `starts` has the objects of its fresh lines, too */
    uint32_t run_blocks; /* WJ_GC_LARGE: how many there are; WJ_GC_LARGE_REST: how far behind the first one */
    wj_gc_lines live;    /* something was there when the last collection ended */
    wj_gc_lines fresh;   /* given out since */
} wj_gc_block;

typedef struct {
    uint32_t cursor, limit; /* as the store's own two */
} wj_gc_hole;

typedef struct {
    uint32_t type_id, descriptor;
} wj_gc_known_type;

typedef struct wj_gc_heap {
    uint8_t *base; /* of what offsets count from */
    uint64_t size_bytes, most_blocks; /* of its address space, with null; how many blocks there can be */
    uint64_t used_blocks, block_end; /* how many are in use; behind the last that may have something */
    uint64_t first_free;     /* no block before it is free */
    uint64_t next_hole;      /* where to look for holes, in blocks; and for those that are longer than a line */
    uint64_t next_medium;
    uint64_t given_bytes;    /* since the last collection */
    uint64_t collect_at_bytes; /* when so much was given, one is due */
    uint64_t live_bytes;     /* that the last one found */
    uint64_t collections;
    int64_t longest_pause_ns;
    bool is_stressed; /* collects at every allocation */
    uint32_t limit;    /* of the hole at the store's cursor, whatever the store's limit is */
    wj_gc_hole medium; /* for what is longer than a line, and does not fit in what is left of a hole */
    uint32_t descriptors_end;
    wj_gc_known_type *types; /* open addressing */
    uint32_t types_length, types_count;
    wj_gc_block *blocks;
    uint64_t *starts; /* a bit for each place: what the last collection found, and what was looked for since */
    uint64_t *marks;  /* of one that is going on; else all zeros as far as `starts` is used */
    uint32_t *grey;   /* objects that are marked, and not yet looked through */
    uint64_t grey_length, grey_count;
} wj_gc_heap;

static inline wj_gc_object *wj_gc_object_at(const wj_gc_heap *heap, uint32_t offset)
{
    return (wj_gc_object *)(void *)(heap->base + offset);
}

static inline const wj_gc_descriptor *wj_gc_descriptor_of(const wj_gc_heap *heap, const wj_gc_object *object)
{
    return (const wj_gc_descriptor *)(const void *)(heap->base + object->descriptor);
}

/* Of an array; no more than 2^37. */
static inline uint64_t wj_gc_array_bytes(uint64_t length, uint64_t element_bytes)
{
    uint64_t bytes = sizeof(wj_gc_object) + length * element_bytes;
    return (bytes + WJ_GC_OBJECT_ALIGNMENT - 1) & ~(uint64_t)(WJ_GC_OBJECT_ALIGNMENT - 1);
}

static inline uint64_t wj_gc_size_of(const wj_gc_object *object, const wj_gc_descriptor *type)
{
    return type->kind == WJ_GC_STRUCT ? type->size_bytes : wj_gc_array_bytes(object->length, type->size_bytes);
}

static inline uint32_t wj_gc_block_start(uint64_t block)
{
    return (uint32_t)(WJ_GC_OBJECTS_START + block * WJ_GC_BLOCK_BYTES);
}

static inline uint64_t wj_gc_block_of(uint32_t offset)
{
    return (offset - WJ_GC_OBJECTS_START) / WJ_GC_BLOCK_BYTES;
}

static inline bool wj_gc_has_line(const wj_gc_lines lines, uint32_t line)
{
    return (lines[line / 64] >> (line % 64) & 1) != 0;
}

/* The bit of a place where an object may begin, in `starts` or `marks`. */
static inline uint64_t wj_gc_place(uint32_t offset)
{
    return (offset - WJ_GC_OBJECTS_START) / WJ_GC_OBJECT_ALIGNMENT;
}

static inline void wj_gc_add_start(uint64_t *starts, uint32_t offset)
{
    starts[wj_gc_place(offset) / 64] |= UINT64_C(1) << (wj_gc_place(offset) % 64);
}

static inline bool wj_gc_has_start(const uint64_t *starts, uint32_t offset)
{
    return (starts[wj_gc_place(offset) / 64] >> (wj_gc_place(offset) % 64) & 1) != 0;
}

/* Sets the bits of lines from `first` up to `end`. */
static inline void wj_gc_add_lines(wj_gc_lines lines, uint32_t first, uint32_t end)
{
    uint32_t line = first;
    do { /* nearly always one */
        lines[line / 64] |= UINT64_C(1) << (line % 64);
    } while (++line < end);
}

/* A function of C on this thread that has references of a store in its frame, which collections look at. */
typedef struct wj_gc_holder wj_gc_holder;
struct wj_gc_holder {
    wj_gc_holder *outer;
    const wj_store *store;
};
extern WJ_INTERNAL _Thread_local wj_gc_holder *wj_gc_holders __attribute__((tls_model("initial-exec")));

/* ---- gc_heap.c ---- */

/* Makes the heap, if there is none, in so much address space, or as much as one may have. 0 or an errno value. */
WJ_INTERNAL int wj_gc_heap_make(wj_store *store, uint64_t reserved_bytes);
WJ_INTERNAL void wj_gc_heap_free(wj_store *store);
/* An object of zeros with its head; 0 if there is no room for it. Not on a thread that has references where no collection
 * looks: see wj_gc_collect. */
WJ_INTERNAL uint64_t wj_gc_allocate(wj_store *store, uint32_t descriptor, uint64_t length, uint64_t size_bytes);
/* Has everything beyond the cursors be zeros again: wasm was left while it may have filled a new object. */
WJ_INTERNAL void wj_gc_clean(wj_store *store);

/* Around what runs while code stands anywhere, perhaps in the middle of an allocation: that goes on with its own hole. */
WJ_INTERNAL wj_gc_hole wj_gc_set_aside(wj_store *store);
WJ_INTERNAL void wj_gc_put_back(wj_store *store, wj_gc_hole hole);

/* ---- gc_types.c ---- */

/* The descriptor of a type, always the same for one; 0: there is no memory. */
WJ_INTERNAL uint32_t wj_gc_describe(wj_store *store, const wj_gc_type *type);

/* ---- gc_candidates.c ---- */

/* Enters all objects into `starts`. */
WJ_INTERNAL void wj_gc_index(wj_gc_heap *heap);

/* ---- gc_collect.c ---- */

/* Calls `visit` with `into` and the word of each reference to something of the host that is in a live object. */
typedef struct {
    void (*visit)(void *into, uint64_t word);
    void *into;
} wj_gc_visitor;

/* Finds the bounds of this thread's stack, which are known of threads that have run wasm; false: no memory. */
WJ_INTERNAL bool wj_gc_knows_thread(void);
/* Frees what nothing refers to. Does nothing, and returns false, where what this thread has on its stack cannot be known. */
WJ_INTERNAL bool wj_gc_collect(wj_store *store, const wj_gc_visitor *host_words);

#endif
