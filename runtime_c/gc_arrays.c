/* What instructions do to many elements of arrays at once. Operands are in bounds of arrays; those of segments are looked at
 * here, before anything is written. Objects stay where they are while Python's signal handlers run in between. */
#include "builtins.h"
#include "wj_gc.h"

static inline wj_store *store_of(const void *vmctx)
{
    return ((const wj_vmcontext *)vmctx)->store;
}

static inline uint8_t *heap_of(const void *vmctx)
{
    return (uint8_t *)(uintptr_t)store_of(vmctx)->gc_heap;
}

uint64_t wj_builtin_gc_kind(void *vmctx, uint64_t word)
{
    uint32_t type_id;
    return (word & WJ_WORD_KIND_MASK) != 0 ? 0 : wj_gc_type_of(store_of(vmctx), word, &type_id);
}

/* Copies at most four vectors, all of which are read before any is written: two from each end. */
static inline void move_few(uint8_t *to, const uint8_t *from, uint64_t size_bytes)
{
    typedef struct {
        uint64_t words[2];
    } vector;
    const uint64_t vector_bytes = sizeof(vector);
    vector ends[4];
    uint64_t second = size_bytes > 2 * vector_bytes ? vector_bytes : 0;
    uint64_t last = size_bytes - vector_bytes;
    memcpy(&ends[0], from, vector_bytes);
    memcpy(&ends[1], from + second, vector_bytes);
    memcpy(&ends[2], from + last - second, vector_bytes);
    memcpy(&ends[3], from + last, vector_bytes);
    memcpy(to, &ends[0], vector_bytes);
    memcpy(to + second, &ends[1], vector_bytes);
    memcpy(to + last - second, &ends[2], vector_bytes);
    memcpy(to + last, &ends[3], vector_bytes);
}

void wj_builtin_gc_move(void *vmctx, uint64_t to, uint64_t from, uint64_t size_bytes)
{
    uint8_t *heap = heap_of(vmctx);
    if (size_bytes - 16 <= 48) {
        move_few(heap + to, heap + from, size_bytes);
    } else {
        spend(vmctx, size_bytes);
        copy_in_pieces(heap + to, heap + from, size_bytes);
    }
    resume();
}

/* Of elements that 8 bytes have a whole number of. The last store of each size ends where the elements end. */
static inline void fill_few(uint8_t *to, uint64_t pattern, uint64_t size_bytes)
{
    if (size_bytes >= sizeof(uint64_t)) {
        uint64_t at = 0;
        for (; at + sizeof pattern <= size_bytes; at += sizeof pattern) {
            memcpy(to + at, &pattern, sizeof pattern);
        }
        memcpy(to + size_bytes - sizeof pattern, &pattern, sizeof pattern);
    } else if (size_bytes >= sizeof(uint32_t)) {
        memcpy(to, &pattern, sizeof(uint32_t));
        memcpy(to + size_bytes - sizeof(uint32_t), &pattern, sizeof(uint32_t));
    } else if (size_bytes >= sizeof(uint16_t)) {
        memcpy(to, &pattern, sizeof(uint16_t));
        memcpy(to + size_bytes - sizeof(uint16_t), &pattern, sizeof(uint16_t));
    } else if (size_bytes != 0) {
        *to = (uint8_t)pattern;
    }
}

void wj_builtin_gc_fill(void *vmctx, uint64_t to, uint64_t pattern, uint64_t size_bytes)
{
    const uint64_t few_bytes = 64;
    typedef struct {
        uint64_t words[4];
    } vector;
    uint8_t *at = heap_of(vmctx) + to;
    vector wide = {{pattern, pattern, pattern, pattern}};
    if (size_bytes <= sizeof wide) {
        fill_few(at, pattern, size_bytes);
    } else if (size_bytes <= few_bytes) {
        memcpy(at, &wide, sizeof wide);
        memcpy(at + size_bytes - sizeof wide, &wide, sizeof wide);
    } else {
        spend(vmctx, size_bytes);
        uint8_t *end = at + size_bytes;
        for (uint64_t left = PIECE_BYTES; at + sizeof wide <= end; at += sizeof wide, left -= sizeof wide) {
            if (left == 0) {
                left = PIECE_BYTES;
                resume();
            }
            memcpy(at, &wide, sizeof wide);
        }
        memcpy(end - sizeof wide, &wide, sizeof wide);
    }
    resume();
}

static const uint8_t *data_at(void *vmctx, uint32_t segment, uint64_t position, uint64_t size_bytes)
{
    const wj_segment_slot *from = data_segment_of(vmctx, segment);
    if (!wj_in_bounds(position, size_bytes, from->length)) {
        wj_trap(WJ_TRAP_MEMORY_OUT_OF_BOUNDS, 0);
    }
    return (const uint8_t *)from->start + position;
}

static const uint64_t *elements_at(void *vmctx, uint32_t segment, uint64_t position, uint64_t count)
{
    const wj_segment_slot *from = element_segment_of(vmctx, segment);
    if (!wj_in_bounds(position, count, from->length)) {
        wj_trap(WJ_TRAP_TABLE_OUT_OF_BOUNDS, 0);
    }
    return (const uint64_t *)from->start + position;
}

/* Elements of segments have 8 bytes; those of arrays of the any hierarchy 4. */
static void put_references(uint8_t *to, const uint64_t *from, uint64_t count, uint64_t element_bytes)
{
    if (element_bytes == sizeof(uint64_t)) {
        copy_in_pieces(to, (const uint8_t *)from, count * element_bytes);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        ((uint32_t *)(void *)to)[i] = (uint32_t)from[i];
        if (i % (PIECE_BYTES / sizeof(uint64_t)) == 0 && i != 0) {
            resume();
        }
    }
}

void wj_builtin_gc_init_data(void *vmctx, uint32_t segment, uint64_t to, uint64_t position, uint64_t count,
                             uint64_t element_bytes)
{
    const uint8_t *from = data_at(vmctx, segment, position, count * element_bytes);
    spend(vmctx, count);
    copy_in_pieces(heap_of(vmctx) + to, from, count * element_bytes);
}

void wj_builtin_gc_init_elem(void *vmctx, uint32_t segment, uint64_t to, uint64_t position, uint64_t count,
                             uint64_t element_bytes)
{
    const uint64_t *from = elements_at(vmctx, segment, position, count);
    spend(vmctx, count);
    put_references(heap_of(vmctx) + to, from, count, element_bytes);
    resume();
}

static uint64_t new_array(void *vmctx, uint32_t descriptor, uint64_t count, uint64_t element_bytes)
{
    return wj_builtin_gc_allocate(vmctx, descriptor, count, wj_gc_array_bytes(count, element_bytes));
}

uint64_t wj_builtin_gc_new_data(void *vmctx, uint32_t segment, uint32_t descriptor, uint64_t position, uint64_t count,
                                uint64_t element_bytes)
{
    const uint8_t *from = data_at(vmctx, segment, position, count * element_bytes);
    spend(vmctx, count);
    volatile uint64_t made = new_array(vmctx, descriptor, count, element_bytes); /* on the stack: the collector sees it */
    copy_in_pieces(heap_of(vmctx) + made + sizeof(wj_gc_object), from, count * element_bytes);
    return made;
}

uint64_t wj_builtin_gc_new_elem(void *vmctx, uint32_t segment, uint32_t descriptor, uint64_t position, uint64_t count,
                                uint64_t element_bytes)
{
    const uint64_t *from = elements_at(vmctx, segment, position, count);
    spend(vmctx, count);
    volatile uint64_t made = new_array(vmctx, descriptor, count, element_bytes);
    put_references(heap_of(vmctx) + made + sizeof(wj_gc_object), from, count, element_bytes);
    resume();
    return made;
}
