/* The functions that generated code calls through its instance context (abi.BUILTINS). Sizes and positions come from
 * wasm: every check happens before anything is written, and no sum may wrap (wj_in_bounds). */
#include "builtins.h"
#include "stencil_emit.h"

#include <math.h>
#include <string.h>

static wj_table *table_of(void *vmctx, uint32_t index)
{
    const wj_vmcontext *context = vmctx;
    const uint8_t *slots = (const uint8_t *)vmctx + context->instance->tables;
    return ((const wj_table_slot *)(const void *)slots)[index].table;
}

uint64_t wj_builtin_memory_grow(void *vmctx, uint32_t memory, uint64_t delta_pages)
{
    wj_memory *grown = wj_memory_of(vmctx, memory);
    spend(vmctx, delta_pages);
    wj_store *store = ((wj_vmcontext *)vmctx)->store;
    if (store->limiter != NULL && delta_pages != 0) {
        uint64_t current = wj_memory_size_bytes(grown);
        uint64_t most = UINT64_MAX >> grown->page_size_log2;
        uint64_t delta = delta_pages > most ? UINT64_MAX : delta_pages << grown->page_size_log2;
        uint64_t desired = delta > UINT64_MAX - current ? UINT64_MAX : current + delta;
        uint64_t maximum = grown->max_pages > most ? UINT64_MAX : grown->max_pages << grown->page_size_log2;
        if (!wj_limiter_allows(store, 0, current, desired, maximum, __builtin_frame_address(0))) {
            resume();
            return WJ_REFUSED;
        }
    }
    uint64_t old_pages = wj_memory_grow(grown, delta_pages);
    resume();
    return old_pages;
}

void wj_builtin_memory_copy(void *vmctx, uint32_t destination_memory, uint32_t source_memory, uint64_t destination,
                            uint64_t source, uint64_t size_bytes)
{
    wj_memory *to = wj_memory_of(vmctx, destination_memory);
    wj_memory *from = wj_memory_of(vmctx, source_memory);
    if (!wj_in_bounds(source, size_bytes, wj_memory_size_bytes(from)) ||
        !wj_in_bounds(destination, size_bytes, wj_memory_size_bytes(to))) {
        wj_trap(WJ_TRAP_MEMORY_OUT_OF_BOUNDS, 0);
    }
    spend(vmctx, size_bytes);
    copy_in_pieces(to->base + destination, from->base + source, size_bytes);
}

void wj_builtin_memory_fill(void *vmctx, uint32_t memory, uint64_t start, uint32_t byte, uint64_t size_bytes)
{
    wj_memory *to = wj_memory_of(vmctx, memory);
    if (!wj_in_bounds(start, size_bytes, wj_memory_size_bytes(to))) {
        wj_trap(WJ_TRAP_MEMORY_OUT_OF_BOUNDS, 0);
    }
    spend(vmctx, size_bytes);
    while (size_bytes > PIECE_BYTES) {
        memset(to->base + start, (int)(byte & 0xff), PIECE_BYTES);
        start += PIECE_BYTES;
        size_bytes -= PIECE_BYTES;
        resume();
    }
    memset(to->base + start, (int)(byte & 0xff), size_bytes);
    resume();
}

void wj_builtin_memory_init(void *vmctx, uint32_t memory, uint32_t segment, uint64_t destination, uint64_t source,
                            uint64_t size_bytes)
{
    wj_memory *to = wj_memory_of(vmctx, memory);
    const wj_segment_slot *from = data_segment_of(vmctx, segment);
    if (!wj_in_bounds(source, size_bytes, from->length) ||
        !wj_in_bounds(destination, size_bytes, wj_memory_size_bytes(to))) {
        wj_trap(WJ_TRAP_MEMORY_OUT_OF_BOUNDS, 0);
    }
    spend(vmctx, size_bytes);
    copy_in_pieces(to->base + destination, (const uint8_t *)from->start + source, size_bytes);
}

void wj_builtin_data_drop(void *vmctx, uint32_t segment)
{
    data_segment_of(vmctx, segment)->length = 0;
}

/* As copy_in_pieces, but for the last look. Elements stay where they are as long as the store lives. */
static void fill_in_pieces(uint64_t *elements, uint64_t count, uint64_t value)
{
    while (count != 0) {
        uint64_t piece = count > PIECE_BYTES / sizeof *elements ? PIECE_BYTES / sizeof *elements : count;
        for (uint64_t i = 0; i < piece; i++) {
            elements[i] = value;
        }
        elements += piece;
        count -= piece;
        resume();
    }
}

uint64_t wj_builtin_table_grow(void *vmctx, uint32_t table, void *init, uint64_t delta)
{
    wj_table *grown = table_of(vmctx, table);
    spend(vmctx, delta);
    wj_store *store = ((wj_vmcontext *)vmctx)->store;
    if (store->limiter != NULL && delta != 0) {
        uint64_t current = wj_table_length(grown);
        uint64_t desired = delta > UINT64_MAX - current ? UINT64_MAX : current + delta;
        if (!wj_limiter_allows(store, 1, current, desired, grown->capacity, __builtin_frame_address(0))) {
            resume();
            return WJ_REFUSED;
        }
    }
    uint64_t old_length = wj_table_grow(grown, delta, 0);
    if (old_length != WJ_REFUSED && init != NULL) {
        fill_in_pieces(grown->elements + old_length, delta, (uintptr_t)init);
    }
    resume();
    return old_length;
}

void wj_builtin_table_fill(void *vmctx, uint32_t table, uint64_t start, void *value, uint64_t count)
{
    wj_table *to = table_of(vmctx, table);
    if (!wj_in_bounds(start, count, wj_table_length(to))) {
        wj_trap(WJ_TRAP_TABLE_OUT_OF_BOUNDS, 0);
    }
    spend(vmctx, count);
    fill_in_pieces(to->elements + start, count, (uintptr_t)value);
    resume();
}

void wj_builtin_table_copy(void *vmctx, uint32_t destination_table, uint32_t source_table, uint64_t destination,
                           uint64_t source, uint64_t count)
{
    wj_table *to = table_of(vmctx, destination_table);
    wj_table *from = table_of(vmctx, source_table);
    if (!wj_in_bounds(source, count, wj_table_length(from)) ||
        !wj_in_bounds(destination, count, wj_table_length(to))) {
        wj_trap(WJ_TRAP_TABLE_OUT_OF_BOUNDS, 0);
    }
    spend(vmctx, count);
    copy_in_pieces((uint8_t *)(to->elements + destination), (const uint8_t *)(from->elements + source),
                   count * sizeof(uint64_t));
}

void wj_builtin_table_init(void *vmctx, uint32_t table, uint32_t segment, uint64_t destination, uint64_t source,
                           uint64_t count)
{
    wj_table *to = table_of(vmctx, table);
    const wj_segment_slot *from = element_segment_of(vmctx, segment);
    if (!wj_in_bounds(source, count, from->length) || !wj_in_bounds(destination, count, wj_table_length(to))) {
        wj_trap(WJ_TRAP_TABLE_OUT_OF_BOUNDS, 0);
    }
    spend(vmctx, count);
    copy_in_pieces((uint8_t *)(to->elements + destination), (const uint8_t *)((const uint64_t *)from->start + source),
                   count * sizeof(uint64_t));
}

void wj_builtin_elem_drop(void *vmctx, uint32_t segment)
{
    element_segment_of(vmctx, segment)->length = 0;
}

uint64_t wj_builtin_hot_loop(void *vmctx, uint32_t position, uint32_t loop_offset)
{
    const wj_function_table_header *header = wj_header_of(((const wj_vmcontext *)vmctx)->functions);
    uint64_t code = header->reporter != NULL && wj_may_ask() ? wj_report_hot(vmctx, position, loop_offset, WJ_ASKED_BY_BASELINE) : 0;
    resume();
    return code;
}

wj_hot_answer wj_native_hot(void *vmctx, uint32_t position, uint32_t loop_offset)
{
    wj_hot_answer answer = wj_report_native(vmctx, position, loop_offset);
    resume();
    return answer;
}

uint64_t wj_builtin_type_matches(void *vmctx, uint32_t found, uint32_t wanted)
{
    (void)vmctx;
    bool matches = wj_type_matches(found, wanted);
    resume();
    return matches;
}

uintptr_t wj_builtins(void)
{
#define ADDRESS_OF(name) (const void *)wj_builtin_##name,
    static const void *const table[] = {WJ_BUILTINS(ADDRESS_OF)};
#undef ADDRESS_OF
    return (uintptr_t)table;
}

/* ---- relaxed SIMD, deterministic, on processors that cannot do it in one instruction ---- */

uint64_t wj_builtin_fused_multiply_add_f32(void *vmctx, uint64_t a, uint64_t b, uint64_t c)
{
    (void)vmctx;
    float x;
    float y;
    float z;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    memcpy(&z, &c, sizeof z);
    float sum = fmaf(x, y, z);
    uint32_t bits;
    memcpy(&bits, &sum, sizeof bits);
    resume();
    return isnan(sum) ? UINT32_C(0x7fc00000) : bits;
}

uint64_t wj_builtin_fused_multiply_add_f64(void *vmctx, uint64_t a, uint64_t b, uint64_t c)
{
    (void)vmctx;
    double x;
    double y;
    double z;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    memcpy(&z, &c, sizeof z);
    double sum = fma(x, y, z);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    resume();
    return isnan(sum) ? UINT64_C(0x7ff8000000000000) : bits;
}
