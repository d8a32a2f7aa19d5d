/* The heap of a store: makes it, describes types, and hands out what is behind the cursor. */
#include "wj.h"
#include "wj_gc.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define HEAP_BYTES (UINT64_C(1) << 32)
#define GUARD_BYTES (UINT64_C(64) << 10)
#define FIRST_DESCRIPTOR UINT32_C(0x10000)
#define END_OF_DESCRIPTORS UINT32_C(0x10000000)
#define FIRST_OBJECT UINT64_C(0x20000000)
#define END_OF_OBJECTS UINT64_C(0xFFF00000)
#define SMALL_BYTES (UINT64_C(2) << 20) /* heaps up to here take ordinary pages; what comes behind, huge ones */

static uint8_t *heap_of(const wj_store *store)
{
    return (uint8_t *)(uintptr_t)store->gc_heap;
}

int wj_gc_heap_make(wj_store *store)
{
    if (store->gc_heap != 0) {
        return 0;
    }
    uint8_t *start = mmap(NULL, 2 * HEAP_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) {
        return errno;
    }
    uint8_t *heap = (uint8_t *)(((uintptr_t)start + HEAP_BYTES - 1) & ~(uintptr_t)(HEAP_BYTES - 1));
    uint8_t *end = heap + HEAP_BYTES + GUARD_BYTES;
    if (heap != start) {
        (void)munmap(start, (size_t)(heap - start));
    }
    (void)munmap(end, (size_t)(start + 2 * HEAP_BYTES - end));
    if (mprotect(heap, FIRST_DESCRIPTOR, PROT_READ) != 0 ||
        mprotect(heap + FIRST_DESCRIPTOR, HEAP_BYTES - FIRST_DESCRIPTOR, PROT_READ | PROT_WRITE) != 0 ||
        mprotect(heap + HEAP_BYTES, GUARD_BYTES, PROT_READ) != 0) {
        int number = errno;
        (void)munmap(heap, HEAP_BYTES + GUARD_BYTES);
        return number;
    }
    (void)madvise(heap + FIRST_OBJECT + SMALL_BYTES, END_OF_OBJECTS - FIRST_OBJECT - SMALL_BYTES, MADV_HUGEPAGE);
    store->gc_cursor = FIRST_OBJECT;
    store->gc_limit = END_OF_OBJECTS;
    store->gc_descriptors_end = FIRST_DESCRIPTOR;
    store->gc_heap = (uint64_t)(uintptr_t)heap;
    return 0;
}

void wj_gc_heap_free(wj_store *store)
{
    if (store->gc_heap != 0) {
        (void)munmap(heap_of(store), HEAP_BYTES + GUARD_BYTES);
        store->gc_heap = 0;
    }
}

static uint32_t bytes_of(const wj_gc_descriptor *descriptor)
{
    uint32_t size_bytes = (uint32_t)sizeof *descriptor + descriptor->references * (uint32_t)sizeof(uint32_t);
    return (size_bytes + 7) & ~UINT32_C(7);
}

uint32_t wj_gc_describe(wj_store *store, const wj_gc_type *type)
{
    uint8_t *heap = heap_of(store);
    uint32_t at = FIRST_DESCRIPTOR;
    while (at != store->gc_descriptors_end) {
        const wj_gc_descriptor *known = (const wj_gc_descriptor *)(void *)(heap + at);
        if (known->type_id == type->type_id) {
            return at;
        }
        at += bytes_of(known);
    }
    wj_gc_descriptor *made = (wj_gc_descriptor *)(void *)(heap + at);
    if (sizeof *made + type->traced_count * sizeof(uint32_t) > END_OF_DESCRIPTORS - at) {
        return 0;
    }
    made->type_id = type->type_id;
    made->kind = type->kind;
    made->size_bytes = type->size_bytes;
    made->references = type->traced_count;
    if (type->supertype != 0) {
        const wj_gc_descriptor *above = (const wj_gc_descriptor *)(void *)(heap + type->supertype);
        made->depth = above->depth + 1;
        memcpy(made->display, above->display, made->depth * sizeof made->display[0]);
    }
    made->display[made->depth] = at;
    if (type->traced_count != 0) {
        memcpy(made->traced, type->traced, type->traced_count * sizeof made->traced[0]);
    }
    store->gc_descriptors_end = at + bytes_of(made);
    return at;
}

uint64_t wj_builtin_gc_allocate(void *vmctx, uint32_t descriptor, uint64_t length, uint64_t size_bytes)
{
    wj_store *store = ((wj_vmcontext *)vmctx)->store;
    uint64_t at = store->gc_cursor;
    if (size_bytes > END_OF_OBJECTS - at) {
        wj_trap(WJ_TRAP_ALLOCATION_TOO_LARGE, 0);
    }
    wj_gc_object *made = (wj_gc_object *)(void *)(heap_of(store) + at);
    made->descriptor = descriptor;
    if (length != 0) {
        made->length = (uint32_t)length;
    }
    store->gc_cursor = at + size_bytes;
    wj_resume(&wj_this_thread, __builtin_frame_address(0));
    return at;
}
