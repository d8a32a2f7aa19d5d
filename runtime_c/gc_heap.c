/* The heap of garbage collected objects: making it, and room for objects. See wj_gc.h. */
#include "wj_gc.h"

#include "address_space.h"

#include <stdlib.h>
#include <string.h>

#define GUARD_BYTES (UINT64_C(1) << 16) /* behind the heap: what is read at an offset that is none stays within */
#define NO_BLOCK UINT64_MAX
#define SMALL_BYTES (UINT64_C(2) << 20) /* heaps up to here take ordinary pages; what comes behind, huge ones */

/* For tests: every allocation collects, in heaps that are made from then on. */
static bool stresses_heaps;

/* ---- the heap ---- */

static uint64_t starts_bytes(const wj_gc_heap *heap)
{
    return heap->most_blocks * WJ_GC_BLOCK_WORDS * sizeof(uint64_t);
}

static void *map_zeros(uint64_t size_bytes)
{
    void *mapping = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return mapping == MAP_FAILED ? NULL : mapping;
}

/* NULL with errno. */
static uint8_t *map_heap(uint64_t size_bytes)
{
    uint8_t *base = reserve(size_bytes + GUARD_BYTES);
    if (base == NULL) {
        return NULL;
    }
    uint8_t *writable = base + WJ_GC_NULL_BYTES;
    if (mprotect(base, size_bytes + GUARD_BYTES, PROT_READ) != 0 ||
        mprotect(writable, size_bytes - WJ_GC_NULL_BYTES, PROT_READ | PROT_WRITE) != 0) {
        int number = errno;
        (void)munmap(base, size_bytes + GUARD_BYTES);
        errno = number;
        return NULL;
    }
    uint64_t start = WJ_GC_OBJECTS_START + SMALL_BYTES;
    (void)madvise(base + start, size_bytes - start, MADV_HUGEPAGE);
    return base;
}

static void free_heap(wj_gc_heap *heap)
{
    if (heap->base != NULL) {
        (void)munmap(heap->base, heap->size_bytes + GUARD_BYTES);
    }
    void *const maps[] = {heap->blocks, heap->starts, heap->marks, heap->grey};
    const uint64_t sizes[] = {heap->most_blocks * sizeof *heap->blocks, starts_bytes(heap), starts_bytes(heap),
                              heap->grey_length * sizeof *heap->grey};
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        if (maps[i] != NULL) {
            (void)munmap(maps[i], sizes[i]);
        }
    }
    free(heap->types);
    free(heap);
}

int wj_gc_heap_make(wj_store *store, uint64_t reserved_bytes)
{
    if (store->gc != NULL) {
        return 0;
    }
    wj_gc_heap *heap = calloc(1, sizeof *heap);
    if (heap == NULL) {
        return ENOMEM;
    }
    uint64_t fitting = reserved_bytes < WJ_GC_MOST_BYTES ? reserved_bytes : WJ_GC_MOST_BYTES;
    heap->size_bytes = (fitting > WJ_GC_LEAST_BYTES ? fitting : WJ_GC_LEAST_BYTES) & ~(uint64_t)(WJ_GC_BLOCK_BYTES - 1);
    heap->most_blocks = (heap->size_bytes - WJ_GC_OBJECTS_START) / WJ_GC_BLOCK_BYTES;
    heap->types = calloc(WJ_GC_FIRST_TYPES, sizeof *heap->types);
    heap->base = map_heap(heap->size_bytes);
    heap->blocks = map_zeros(heap->most_blocks * sizeof *heap->blocks);
    heap->starts = map_zeros(starts_bytes(heap));
    heap->marks = map_zeros(starts_bytes(heap));
    if (heap->types == NULL || heap->base == NULL || heap->blocks == NULL || heap->starts == NULL || heap->marks == NULL) {
        free_heap(heap);
        return ENOMEM;
    }
    heap->types_length = WJ_GC_FIRST_TYPES;
    heap->descriptors_end = WJ_GC_NULL_BYTES;
    heap->collect_at_bytes = WJ_GC_LEAST_GIVEN_BYTES;
    heap->is_stressed = stresses_heaps;
    store->gc_heap = (uint64_t)(uintptr_t)heap->base;
    store->gc = heap;
    return 0;
}

void wj_gc_heap_free(wj_store *store)
{
    if (store->gc != NULL) {
        give_back(store, store->gc->used_blocks * WJ_GC_BLOCK_BYTES);
        free_heap(store->gc);
        store->gc = NULL;
        store->gc_heap = 0;
    }
}

void wj_store_set_gc_limit(wj_store *store, uint64_t most_bytes)
{
    store->gc_most_bytes = most_bytes;
}

void wj_gc_stress(int is_stressed)
{
    stresses_heaps = is_stressed != 0;
}

/* ---- room ---- */

/* Gives a block that is free a use; it is zeros then. */
static void take_block(wj_gc_heap *heap, uint64_t block, uint8_t use)
{
    wj_gc_block *taken = &heap->blocks[block];
    if (taken->is_touched) {
        memset(heap->base + wj_gc_block_start(block), 0, WJ_GC_BLOCK_BYTES);
    }
    *taken = (wj_gc_block){.use = use, .is_touched = true};
    heap->used_blocks++;
    if (block >= heap->block_end) {
        heap->block_end = block + 1;
    }
}

/* The first of `count` free blocks in a row, which count for the store's limits from then on; or NO_BLOCK. */
static uint64_t find_free(wj_store *store, uint64_t count)
{
    wj_gc_heap *heap = store->gc;
    uint64_t run = 0;
    uint64_t at = heap->first_free;
    bool is_first = true;
    for (; at < heap->block_end && run < count; at++) {
        bool is_free = heap->blocks[at].use == WJ_GC_FREE;
        run = is_free ? run + 1 : 0;
        if (is_free && is_first) {
            heap->first_free = at;
            is_first = false;
        }
    }
    if (run < count) { /* those behind the last one that was ever used are free, too */
        at = heap->block_end + (count - run);
    }
    if (is_first) {
        heap->first_free = at - count;
    }
    bool fits = at <= heap->most_blocks && (heap->used_blocks + count) * WJ_GC_BLOCK_BYTES <= store->gc_most_bytes;
    return fits && take_new(store, 0, &store->gc_most_bytes, count * WJ_GC_BLOCK_BYTES) ? at - count : NO_BLOCK;
}

/* The next hole of a block from `line` on; false if there is none. */
static bool find_hole(const wj_gc_block *block, uint32_t line, uint32_t *first, uint32_t *end)
{
    while (line < WJ_GC_BLOCK_LINES && (wj_gc_has_line(block->live, line) || wj_gc_has_line(block->fresh, line))) {
        line++;
    }
    *first = line;
    while (line < WJ_GC_BLOCK_LINES && !wj_gc_has_line(block->live, line) && !wj_gc_has_line(block->fresh, line)) {
        line++;
    }
    *end = line;
    return *first < *end;
}

static wj_gc_hole give_lines(wj_gc_heap *heap, uint64_t block, uint32_t first, uint32_t end)
{
    wj_gc_hole hole = {wj_gc_block_start(block) + first * WJ_GC_LINE_BYTES,
                       wj_gc_block_start(block) + end * WJ_GC_LINE_BYTES};
    wj_gc_add_lines(heap->blocks[block].fresh, first, end);
    heap->blocks[block].is_indexed = false;
    heap->given_bytes += hole.limit - hole.cursor;
    return hole;
}

/* A block to itself; an empty hole if there is none. */
static wj_gc_hole whole_block(wj_store *store)
{
    wj_gc_heap *heap = store->gc;
    uint64_t block = find_free(store, 1);
    if (block == NO_BLOCK) {
        return (wj_gc_hole){0, 0};
    }
    take_block(heap, block, WJ_GC_SMALL);
    return give_lines(heap, block, 0, WJ_GC_BLOCK_LINES);
}

/* The next hole of so many bytes at least, from the block at *number on; an empty one if there is none. Those that are too
 * short are not looked at again by way of *number before the next collection. */
static wj_gc_hole next_hole(wj_store *store, uint64_t *number, uint64_t size_bytes)
{
    wj_gc_heap *heap = store->gc;
    for (; *number < heap->block_end; ++*number) {
        const wj_gc_block *block = &heap->blocks[*number];
        uint32_t first = 0;
        for (uint32_t end = 0; block->use == WJ_GC_SMALL && find_hole(block, end, &first, &end);) {
            if ((uint64_t)(end - first) * WJ_GC_LINE_BYTES >= size_bytes) {
                wj_gc_hole hole = give_lines(heap, *number, first, end);
                memset(heap->base + hole.cursor, 0, hole.limit - hole.cursor);
                return hole;
            }
        }
    }
    return whole_block(store);
}

/* What is larger than WJ_GC_LARGE_BYTES; 0 if there is no room. */
static uint32_t allocate_large(wj_store *store, uint64_t size_bytes)
{
    wj_gc_heap *heap = store->gc;
    uint64_t count = (size_bytes + WJ_GC_BLOCK_BYTES - 1) / WJ_GC_BLOCK_BYTES;
    uint64_t first = count > heap->most_blocks ? NO_BLOCK : find_free(store, count);
    if (first == NO_BLOCK) {
        return 0;
    }
    for (uint64_t i = 0; i < count; i++) {
        take_block(heap, first + i, i == 0 ? WJ_GC_LARGE : WJ_GC_LARGE_REST);
        heap->blocks[first + i].run_blocks = (uint32_t)(i == 0 ? count : i);
    }
    heap->given_bytes += count * WJ_GC_BLOCK_BYTES;
    uint32_t start = wj_gc_block_start(first);
    wj_gc_add_start(heap->starts, start);
    return start;
}

static uint32_t take_from(wj_gc_hole *hole, uint64_t size_bytes)
{
    uint32_t start = hole->cursor;
    if (size_bytes > hole->limit - start) {
        return 0;
    }
    hole->cursor += (uint32_t)size_bytes;
    return start;
}

/* Room for an object; 0 if there is none without a collection. */
static uint32_t find_room(wj_store *store, uint64_t size_bytes)
{
    wj_gc_heap *heap = store->gc;
    if (size_bytes > WJ_GC_LARGE_BYTES) {
        return allocate_large(store, size_bytes);
    }
    wj_gc_hole hole = {(uint32_t)store->gc_cursor, heap->limit};
    uint32_t start = take_from(&hole, size_bytes);
    if (start == 0 && size_bytes > WJ_GC_LINE_BYTES) {
        start = take_from(&heap->medium, size_bytes);
        if (start == 0) {
            heap->medium = next_hole(store, &heap->next_medium, size_bytes);
            start = take_from(&heap->medium, size_bytes);
        }
        return start;
    }
    if (start == 0) {
        hole = next_hole(store, &heap->next_hole, size_bytes);
        start = take_from(&hole, size_bytes);
    }
    store->gc_cursor = hole.cursor;
    heap->limit = hole.limit;
    store->gc_limit = heap->is_stressed ? 0 : hole.limit;
    return start;
}

uint64_t wj_gc_allocate(wj_store *store, uint32_t descriptor, uint64_t length, uint64_t size_bytes)
{
    wj_gc_heap *heap = store->gc;
    if (size_bytes > heap->most_blocks * WJ_GC_BLOCK_BYTES) {
        return 0;
    }
    uint64_t wanted = round_up(size_bytes, WJ_GC_OBJECT_ALIGNMENT);
    bool is_due = heap->is_stressed || heap->given_bytes + (wanted > WJ_GC_LARGE_BYTES ? wanted : 0) > heap->collect_at_bytes;
    bool has_collected = is_due && wj_gc_collect(store, NULL);
    uint32_t start = find_room(store, wanted);
    if (start == 0 && !has_collected && wj_gc_collect(store, NULL)) {
        start = find_room(store, wanted);
    }
    if (start == 0) {
        return 0;
    }
    wj_gc_object *made = wj_gc_object_at(heap, start);
    made->descriptor = descriptor;
    if (length != 0) {
        made->length = (uint32_t)length;
    }
    return start;
}

uint64_t wj_builtin_gc_allocate(void *vmctx, uint32_t descriptor, uint64_t length, uint64_t size_bytes)
{
    uint64_t made = wj_gc_allocate(((wj_vmcontext *)vmctx)->store, descriptor, length, size_bytes);
    if (made == 0) {
        wj_trap(WJ_TRAP_ALLOCATION_TOO_LARGE, 0);
    }
    wj_resume(&wj_this_thread, __builtin_frame_address(0));
    return made;
}

wj_gc_hole wj_gc_set_aside(wj_store *store)
{
    if (store->gc == NULL) {
        return (wj_gc_hole){0, 0};
    }
    wj_gc_hole hole = {(uint32_t)store->gc_cursor, store->gc->limit};
    store->gc_cursor = store->gc_limit = 0;
    store->gc->limit = 0;
    return hole;
}

void wj_gc_put_back(wj_store *store, wj_gc_hole hole)
{
    if (store->gc != NULL) {
        wj_gc_clean(store);
        store->gc_cursor = hole.cursor;
        store->gc->limit = hole.limit;
        store->gc_limit = store->gc->is_stressed ? 0 : hole.limit;
    }
}

void wj_gc_clean(wj_store *store)
{
    wj_gc_heap *heap = store->gc;
    if (heap != NULL && store->gc_cursor < heap->limit) {
        memset(heap->base + store->gc_cursor, 0, heap->limit - store->gc_cursor);
    }
}
