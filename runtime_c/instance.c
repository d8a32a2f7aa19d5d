/* Instances: contexts made from a module's plan, segments, and copy-on-write images of initial contents. No Python here.
 * Everything that is the same for all instances of a module was worked out once, in wasmjit/runtime/plan.py. */
#include "wj.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The low bit of a context offset, which is otherwise a multiple of 8. */
_Static_assert(WJ_IMPORTED_REFERENCE == 1, "a bit that no offset has");

static const uint64_t *put_words(uint8_t *destination, const uint64_t *words, uint32_t count)
{
    if (count != 0) {
        memcpy(destination, words, count * sizeof *words);
    }
    return words + count;
}

void *wj_instance_make(wj_store *store, const wj_instance_plan *plan, const uint64_t *words)
{
    uint8_t *context = wj_instance_new(store, plan->template_bytes, plan->size_bytes, plan->memories_offset,
                                       plan->tables_offset, plan->data_segments_offset, plan->element_segments_offset);
    if (context == NULL) {
        return NULL;
    }
    words = put_words(context + plan->imported_functions_offset, words, plan->imported_function_count);
    words = put_words(context + plan->imported_globals_offset, words, plan->imported_global_count);
    wj_memory_slot *memories = (wj_memory_slot *)(void *)(context + plan->memories_offset);
    for (uint32_t i = 0; i < plan->memory_count; i++) {
        wj_memory *memory = (wj_memory *)(uintptr_t)*words++;
        memories[i] = (wj_memory_slot){memory, memory->base};
    }
    wj_table_slot *tables = (wj_table_slot *)(void *)(context + plan->tables_offset);
    for (uint32_t i = 0; i < plan->table_count; i++) {
        wj_table *table = (wj_table *)(uintptr_t)*words++;
        tables[i] = (wj_table_slot){table, table->elements};
    }
    struct wj_func_ref *references = (struct wj_func_ref *)(void *)(context + plan->func_refs_offset);
    for (uint32_t i = 0; i < plan->func_ref_count; i++) {
        references[i].vmctx = context;
    }
    return context;
}

int wj_template_func_refs(void *references, const uint32_t *functions, uint32_t count, uint32_t imported_count,
                          const uint64_t *table, uint32_t defined_count, const uint32_t *function_types,
                          const uint32_t *type_ids, uint32_t type_count)
{
    struct wj_func_ref *slots = references;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t position = functions[i] - imported_count;
        if (position >= defined_count || function_types[functions[i]] >= type_count) {
            return 1;
        }
        slots[i].code = (const void *)(uintptr_t)wj_function_words(table, WJ_CODES, defined_count)[position];
        slots[i].tail_code =
            (const void *)(uintptr_t)wj_function_words(table, WJ_REGISTER_ENTRIES, defined_count)[position];
        slots[i].type_id = type_ids[function_types[functions[i]]];
        slots[i].function_index = functions[i];
    }
    return 0;
}

static uint64_t reference_at(uint8_t *context, uint32_t encoded)
{
    if (encoded == WJ_NULL_REFERENCE) {
        return 0;
    }
    uint8_t *place = context + (encoded & ~(uint32_t)WJ_IMPORTED_REFERENCE);
    return (encoded & WJ_IMPORTED_REFERENCE) != 0 ? *(uint64_t *)(void *)place : (uint64_t)(uintptr_t)place;
}

/* What one call handles of segments: two milliseconds where every page is touched first. */
#define ROOM_BYTES (UINT64_C(2) << 20)

int wj_instance_elements(void *context, const wj_element_plan *segments, uint32_t count, wj_segment_progress *at)
{
    const wj_vmcontext *head = context;
    wj_segment_slot *slots = (wj_segment_slot *)(void *)((uint8_t *)context + head->instance->element_segments);
    const wj_table_slot *tables = (const wj_table_slot *)(void *)((uint8_t *)context + head->instance->tables);
    uint64_t room = ROOM_BYTES / sizeof(uint64_t);
    /* Passive ones first: all segments are evaluated before any is copied. */
    for (; at->segment < UINT64_C(2) * count; at->segment++, at->done = 0) {
        bool is_copied = at->segment >= count;
        uint64_t i = is_copied ? at->segment - count : at->segment;
        const wj_element_plan *segment = &segments[i];
        if (segment->mode != (is_copied ? WJ_SEGMENT_ACTIVE : WJ_SEGMENT_PASSIVE) || (!is_copied && segment->count == 0)) {
            continue;
        }
        if (room == 0) {
            return WJ_SEGMENT_MORE;
        }
        uint64_t *to;
        if (is_copied) {
            wj_table *table = tables[segment->table].table;
            if (!wj_in_bounds(segment->start, segment->count, wj_table_length(table))) {
                return WJ_SEGMENT_OUT_OF_BOUNDS;
            }
            to = table->elements + segment->start;
        } else {
            if (at->done == 0) {
                slots[i].start = wj_store_alloc(head->store, segment->count * sizeof *to);
            }
            to = (uint64_t *)(uintptr_t)slots[i].start;
            if (to == NULL) {
                return WJ_SEGMENT_NO_MEMORY;
            }
        }
        while (at->done < segment->count) {
            if (room == 0) {
                return WJ_SEGMENT_MORE;
            }
            to[at->done] = reference_at(context, segment->references[at->done]);
            at->done++;
            room--;
        }
        if (!is_copied) {
            slots[i].length = segment->count;
        }
    }
    return 0;
}

/* Finds the next pieces that are not all zeros, from *at on: sets *at, and returns how many bytes; 0: there are none. */
static uint64_t next_run(const uint8_t *bytes, uint64_t size_bytes, uint64_t *at)
{
    enum { PIECE_BYTES = 4096 };
    static const uint8_t zeros[PIECE_BYTES];
    uint64_t end = *at;
    uint64_t run_bytes = 0;
    while (end < size_bytes) {
        uint64_t piece_bytes = size_bytes - end < PIECE_BYTES ? size_bytes - end : PIECE_BYTES;
        bool is_zero = memcmp(bytes + end, zeros, piece_bytes) == 0;
        if (is_zero && run_bytes != 0) {
            break;
        }
        end += piece_bytes;
        run_bytes += is_zero ? 0 : piece_bytes;
    }
    *at = end - run_bytes;
    return run_bytes;
}

/* Where memory is zero before, writing zeros would only make pages resident. */
static int write_data(wj_memory *memory, bool is_zero_before, uint64_t start, const uint8_t *bytes, uint64_t size_bytes)
{
    if (!is_zero_before) {
        return wj_memory_write(memory, start, bytes, size_bytes);
    }
    uint64_t at = 0;
    for (uint64_t run_bytes; (run_bytes = next_run(bytes, size_bytes, &at)) != 0; at += run_bytes) {
        if (wj_memory_write(memory, start + at, bytes + at, run_bytes) != 0) {
            return WJ_SEGMENT_OUT_OF_BOUNDS;
        }
    }
    return 0;
}

int wj_instance_data(void *context, const wj_data_plan *segments, uint32_t count, const wj_image *image,
                     wj_segment_progress *at)
{
    const wj_vmcontext *head = context;
    wj_segment_slot *slots = (wj_segment_slot *)(void *)((uint8_t *)context + head->instance->data_segments);
    const wj_memory_slot *memories = (const wj_memory_slot *)(void *)((uint8_t *)context + head->instance->memories);
    uint64_t room = ROOM_BYTES;
    for (; at->segment < count; at->segment++, at->done = 0) {
        const wj_data_plan *segment = &segments[at->segment];
        wj_memory *memory = memories[segment->memory].memory;
        wj_segment_slot *slot = &slots[segment->segment];
        if (image == NULL || memory->image_id != image->id) {
            if (!wj_in_bounds(segment->start, slot->length, wj_memory_size_bytes(memory))) {
                return WJ_SEGMENT_OUT_OF_BOUNDS;
            }
            const uint8_t *bytes = slot->start;
            while (at->done < slot->length) {
                uint64_t left = slot->length - at->done;
                uint64_t size_bytes = left < room ? left : room;
                if (size_bytes == 0) {
                    return WJ_SEGMENT_MORE;
                }
                if (write_data(memory, segment->is_whole, segment->start + at->done, bytes + at->done, size_bytes) != 0) {
                    return WJ_SEGMENT_OUT_OF_BOUNDS;
                }
                at->done += size_bytes;
                room -= size_bytes;
            }
        }
        slot->length = 0; /* dropped */
    }
    return 0;
}

/* ---- images ---- */

static bool write_all(int file, const uint8_t *bytes, uint64_t size_bytes, uint64_t offset)
{
    while (size_bytes != 0) {
        ssize_t written = pwrite(file, bytes, size_bytes, (off_t)offset);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        bytes += written;
        offset += (uint64_t)written;
        size_bytes -= (uint64_t)written;
    }
    return true;
}

/* An image of what is in `file`, which becomes its own. */
static wj_image *image_of(int file, uint64_t offset_bytes, uint64_t start, uint64_t size_bytes)
{
    static uint64_t last_id;
    wj_image *image = file < 0 ? NULL : calloc(1, sizeof *image);
    if (image == NULL) {
        if (file >= 0) {
            close(file);
        }
        return NULL;
    }
    *image = (wj_image){__atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED), start, size_bytes, file, offset_bytes};
    return image;
}

static bool counts_pages(uint64_t size_bytes)
{
    return size_bytes % (uint64_t)sysconf(_SC_PAGESIZE) == 0;
}

wj_image *wj_image_new(uint64_t start, uint64_t size_bytes, const void *contents)
{
    if (!counts_pages(start) || !counts_pages(size_bytes)) {
        return NULL;
    }
    int file = memfd_create("wasmjit", MFD_CLOEXEC);
    bool is_written = file >= 0 && ftruncate(file, (off_t)size_bytes) == 0;
    const uint8_t *bytes = contents;
    uint64_t at = 0;
    for (uint64_t run_bytes; is_written && (run_bytes = next_run(bytes, size_bytes, &at)) != 0; at += run_bytes) {
        is_written = write_all(file, bytes + at, run_bytes, at);
    }
    if (!is_written) {
        if (file >= 0) {
            close(file);
        }
        return NULL;
    }
    return image_of(file, 0, start, size_bytes);
}

wj_image *wj_image_of_file(int file, uint64_t offset_bytes, uint64_t start, uint64_t size_bytes)
{
    if (!counts_pages(start) || !counts_pages(size_bytes) || !counts_pages(offset_bytes)) {
        return NULL;
    }
    return image_of(fcntl(file, F_DUPFD_CLOEXEC, 0), offset_bytes, start, size_bytes);
}

void wj_image_free(wj_image *image)
{
    if (image != NULL) {
        wj_pool_forget(image->id);
        close(image->file);
        free(image);
    }
}
