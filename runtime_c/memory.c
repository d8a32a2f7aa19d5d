/* Linear memories, and the allocations of a store. No Python here. */
#include "address_space.h"
#include "wj_gc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGN_RESERVATION_BYTES (UINT64_C(1) << 30)
#define GROWTH_BYTES (UINT64_C(16) << 20)

struct wj_allocation {
    wj_allocation *next;
    uint64_t padding; /* keeps the bytes behind it 16-byte aligned */
};
_Static_assert(sizeof(wj_allocation) == 16, "store allocations are 16-byte aligned");

int wj_can_reserve(uint64_t reservation_bytes)
{
    if (reservation_bytes == 0) {
        return 1;
    }
    uint8_t *mapping = reserve(reservation_bytes);
    if (mapping == NULL) {
        return 0;
    }
    munmap(mapping, reservation_bytes);
    return 1;
}

/* ---- store allocations ---- */

void *wj_store_alloc(wj_store *store, uint64_t size_bytes)
{
    if (size_bytes > MAX_MAPPING_BYTES) {
        return NULL;
    }
    wj_allocation *allocation = calloc(1, sizeof(wj_allocation) + size_bytes);
    if (allocation == NULL) {
        return NULL;
    }
    wj_lock_take(&store->lock);
    allocation->next = store->allocations;
    store->allocations = allocation;
    wj_lock_give(&store->lock);
    return allocation + 1;
}

void *wj_instance_new(wj_store *store, const void *template_bytes, uint64_t size_bytes, uint32_t memories_offset,
                      uint32_t tables_offset, uint32_t data_segments_offset, uint32_t element_segments_offset)
{
    if (size_bytes < sizeof(wj_vmcontext) || size_bytes > MAX_MAPPING_BYTES) {
        return NULL;
    }
    uint64_t instance_at = round_up(size_bytes, 16);
    wj_vmcontext *context = wj_store_alloc(store, instance_at + sizeof(wj_instance));
    if (context == NULL) {
        return NULL;
    }
    wj_instance *instance = (wj_instance *)((uint8_t *)context + instance_at);
    *instance = (wj_instance){memories_offset, tables_offset, data_segments_offset, element_segments_offset};
    memcpy(context, template_bytes, size_bytes);
    context->magic = WJ_MAGIC;
    context->store = store;
    context->builtins = (const void *)wj_builtins();
    context->instance = instance;
    return context;
}

bool wj_store_runs_elsewhere(const wj_store *store)
{
    return __atomic_load_n(&store->depth, __ATOMIC_RELAXED) != 0 && store->thread != &wj_this_thread && !store->lent;
}

void wj_store_set_limits(wj_store *store, uint64_t max_memory_bytes, uint64_t max_table_elements, uint64_t max_total_bytes)
{
    wj_lock_take(&store->lock);
    store->max_memory_bytes = max_memory_bytes;
    store->max_table_elements = max_table_elements;
    store->max_total_bytes = max_total_bytes;
    wj_lock_give(&store->lock);
}

uint64_t wj_store_total_bytes(wj_store *store)
{
    wj_lock_take(&store->lock);
    uint64_t total_bytes = store->total_bytes;
    wj_lock_give(&store->lock);
    return total_bytes;
}

/* ---- memories ---- */

static uint64_t slack_bytes_for(uint64_t capacity_bytes)
{
    return capacity_bytes >= ALIGN_RESERVATION_BYTES ? WJ_HUGE_PAGE_BYTES : 0;
}

static uint64_t mapping_bytes_for(uint64_t capacity_bytes, uint64_t guard_bytes)
{
    uint64_t mapping_bytes = capacity_bytes + 2 * guard_bytes + slack_bytes_for(capacity_bytes);
    return mapping_bytes != 0 ? mapping_bytes : host_page_bytes(); /* an empty memory still gets an address of its own */
}

/* Maps guard, capacity, guard and commits the first committed_bytes. On failure nothing changes but errno. */
static bool map_memory(wj_memory *memory, uint64_t capacity_bytes, uint64_t committed_bytes)
{
    uint64_t slack_bytes = slack_bytes_for(capacity_bytes);
    uint64_t mapping_bytes = mapping_bytes_for(capacity_bytes, memory->guard_bytes);
    uint8_t *mapping = reserve(mapping_bytes);
    if (mapping == NULL) {
        return false;
    }
    uint8_t *base = mapping + memory->guard_bytes;
    if (slack_bytes != 0) {
        base += (WJ_HUGE_PAGE_BYTES - (uintptr_t)base % WJ_HUGE_PAGE_BYTES) % WJ_HUGE_PAGE_BYTES;
    }
    if (!commit(base, committed_bytes)) {
        int error = errno;
        munmap(mapping, mapping_bytes);
        errno = error;
        return false;
    }
    memory->mapping = mapping;
    memory->mapping_bytes = mapping_bytes;
    memory->base = base;
    memory->capacity_bytes = capacity_bytes;
    memory->committed_bytes = committed_bytes;
    memory->huge_bytes = 0;
    return true;
}

/* pages << page_size_log2, or UINT64_MAX where that does not fit. */
static uint64_t pages_to_bytes(uint64_t pages, uint32_t page_size_log2)
{
    return pages > (UINT64_MAX >> page_size_log2) ? UINT64_MAX : pages << page_size_log2;
}

/* Shows the image in committed space. A refusal is harmless: the contents are copied then. */
static void map_image(wj_memory *memory, const wj_image *image)
{
    uint8_t *start = memory->base + image->start;
    if (!wj_in_bounds(image->start, image->size_bytes, memory->committed_bytes) ||
        mmap(start, image->size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, image->file,
             (off_t)image->offset_bytes) == MAP_FAILED) {
        return;
    }
    memory->image_id = image->id;
    memory->image_start = image->start;
    memory->image_bytes = image->size_bytes;
}

/* Makes a pooled mapping what a fresh one would be. */
static bool renew(wj_memory *memory, uint64_t committed_bytes, uint64_t image_id)
{
    if (memory->image_id != image_id && memory->image_id != 0) {
        if (mmap(memory->base, memory->committed_bytes, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
            return false;
        }
        memory->committed_bytes = memory->huge_bytes = 0;
        memory->image_id = memory->image_start = memory->image_bytes = 0;
    }
    if (memory->committed_bytes > committed_bytes &&
        mprotect(memory->base + committed_bytes, memory->committed_bytes - committed_bytes, PROT_NONE) != 0) {
        return false;
    }
    if (memory->committed_bytes < committed_bytes &&
        !commit(memory->base + memory->committed_bytes, committed_bytes - memory->committed_bytes)) {
        return false;
    }
    memory->committed_bytes = committed_bytes;
    return true;
}

/* A record with a mapping: from the pool, or new. NULL with errno. */
static wj_memory *take_or_map(uint64_t capacity_bytes, uint64_t guard_bytes, uint64_t committed_bytes, uint64_t image_id)
{
    wj_memory *memory = wj_pool_take(mapping_bytes_for(capacity_bytes, guard_bytes), guard_bytes, image_id);
    if (memory != NULL) {
        if (renew(memory, committed_bytes, image_id)) {
            memory->capacity_bytes = capacity_bytes;
            wj_forget_density(memory);
            return memory;
        }
        munmap(memory->mapping, memory->mapping_bytes);
        wj_lock_destroy(&memory->lock);
        free(memory);
    }
    memory = calloc(1, sizeof *memory);
    if (memory == NULL) {
        return NULL;
    }
    int refusal = wj_lock_init(&memory->lock);
    if (refusal != 0) {
        free(memory);
        errno = refusal;
        return NULL;
    }
    memory->guard_bytes = guard_bytes;
    if (!map_memory(memory, capacity_bytes, committed_bytes)) {
        int error = errno;
        wj_lock_destroy(&memory->lock);
        free(memory);
        errno = error;
        return NULL;
    }
    return memory;
}

/* Takes over the membership and the store's reference. Needs memory->lock. */
static void add_member(wj_memory *memory, wj_store *store, wj_membership *membership)
{
    *membership = (wj_membership){NULL, memory->members, store, memory};
    memory->members = membership;
    wj_lock_take(&store->lock);
    membership->next = store->memories;
    __atomic_store_n(&store->memories, membership, __ATOMIC_RELEASE);
    wj_lock_give(&store->lock);
}

wj_memory *wj_memory_new(wj_store *store, uint64_t min_pages, uint64_t max_pages, uint32_t page_size_log2,
                         uint64_t reservation_bytes, uint64_t guard_bytes, int *error)
{
    return wj_memory_new_from_image(store, min_pages, max_pages, page_size_log2, reservation_bytes, guard_bytes, NULL,
                                    error);
}

wj_memory *wj_memory_new_from_image(wj_store *store, uint64_t min_pages, uint64_t max_pages, uint32_t page_size_log2,
                                    uint64_t reservation_bytes, uint64_t guard_bytes, const wj_image *image, int *error)
{
    if (page_size_log2 > 32 || min_pages > max_pages) {
        *error = EINVAL;
        return NULL;
    }
    uint64_t page_bytes = host_page_bytes();
    uint64_t size_bytes = pages_to_bytes(min_pages, page_size_log2);
    if (size_bytes > MAX_MAPPING_BYTES || reservation_bytes > MAX_MAPPING_BYTES || guard_bytes > MAX_MAPPING_BYTES) {
        *error = ENOMEM;
        return NULL;
    }
    wj_membership *membership = store == NULL ? NULL : malloc(sizeof *membership);
    if (store != NULL && membership == NULL) {
        *error = ENOMEM;
        return NULL;
    }
    if (store != NULL && !take_new(store, size_bytes, &store->max_memory_bytes, size_bytes)) {
        free(membership);
        *error = EDQUOT;
        return NULL;
    }
    uint64_t committed_bytes = round_up(size_bytes, page_bytes);
    uint64_t capacity_bytes = round_up(reservation_bytes, page_bytes);
    if (capacity_bytes < committed_bytes) {
        capacity_bytes = committed_bytes;
    }
    wj_memory *memory = take_or_map(capacity_bytes, round_up(guard_bytes, page_bytes), committed_bytes,
                                    image != NULL ? image->id : 0);
    if (memory == NULL) {
        *error = errno;
        if (store != NULL) {
            give_back(store, size_bytes);
        }
        free(membership);
        return NULL;
    }
    memory->references = 1; /* the caller's, or the store's */
    memory->members = NULL;
    memory->max_pages = max_pages;
    memory->page_size_log2 = page_size_log2;
    memory->moves = reservation_bytes == 0;
    memory->is_shared = false;
    if (image != NULL && memory->image_id != image->id && !memory->moves) {
        map_image(memory, image);
    }
    memory->size_bytes = size_bytes;
    wj_lock_take(&memory->lock);
    if (store != NULL) {
        add_member(memory, store, membership);
    }
    wj_prefer_huge_pages(memory);
    wj_lock_give(&memory->lock);
    *error = 0;
    return memory;
}

int wj_memory_join(wj_memory *memory, wj_store *store)
{
    if (memory->moves) { /* its base may be in a register of code on any thread that has a member */
        return EINVAL;
    }
    wj_membership *made = malloc(sizeof *made);
    if (made == NULL) {
        return ENOMEM;
    }
    wj_lock_take(&memory->lock);
    const wj_membership *found = memory->members;
    while (found != NULL && found->store != store) {
        found = found->next_member;
    }
    bool counted = found == NULL && take_new(store, memory->size_bytes, &store->max_memory_bytes, memory->size_bytes);
    if (counted) {
        wj_memory_hold(memory);
        add_member(memory, store, made);
    } else {
        free(made);
    }
    wj_lock_give(&memory->lock);
    return counted || found != NULL ? 0 : EDQUOT;
}

int wj_memory_share(wj_memory *memory)
{
    if (memory->moves || pages_to_bytes(memory->max_pages, memory->page_size_log2) > memory->capacity_bytes) {
        return EINVAL;
    }
    memory->is_shared = true;
    return 0;
}

int wj_memory_has_layout(const wj_memory *memory, uint64_t reservation_bytes, uint64_t guard_bytes)
{
    return memory->capacity_bytes >= reservation_bytes && memory->guard_bytes >= guard_bytes;
}

void wj_memory_hold(wj_memory *memory)
{
    __atomic_add_fetch(&memory->references, 1, __ATOMIC_RELAXED);
}

void wj_memory_release(wj_memory *memory)
{
    if (__atomic_sub_fetch(&memory->references, 1, __ATOMIC_ACQ_REL) == 0) {
        wj_view_release(memory->views);
        memory->views = NULL;
        wj_pool_give(memory);
    }
}

/* When nothing runs in the store any more. */
static void end_membership(wj_membership *membership)
{
    wj_memory *memory = membership->memory;
    wj_lock_take(&memory->lock);
    wj_membership **place = &memory->members;
    while (*place != membership) {
        place = &(*place)->next_member;
    }
    *place = membership->next_member;
    wj_lock_give(&memory->lock);
    free(membership);
    wj_memory_release(memory);
}

uintptr_t wj_memory_base(wj_memory *memory)
{
    return (uintptr_t)memory->base;
}

uint64_t wj_memory_size_bytes(wj_memory *memory)
{
    return __atomic_load_n(&memory->size_bytes, __ATOMIC_ACQUIRE);
}

bool wj_memory_view(wj_memory *memory, wj_view **view, uint8_t **base, uint64_t *size_bytes)
{
    wj_lock_take(&memory->lock);
    *view = NULL;
    *base = memory->base;
    *size_bytes = memory->size_bytes;
    if (memory->moves) {
        if (memory->views == NULL) {
            memory->views = calloc(1, sizeof *memory->views);
            if (memory->views != NULL) {
                memory->views->references = 1; /* the memory's */
            }
        }
        *view = memory->views;
        if (*view != NULL) {
            __atomic_add_fetch(&memory->views->references, 1, __ATOMIC_RELAXED);
        }
    }
    wj_lock_give(&memory->lock);
    return *view != NULL || !memory->moves;
}

void wj_view_release(wj_view *view)
{
    if (view != NULL && __atomic_sub_fetch(&view->references, 1, __ATOMIC_ACQ_REL) == 0) {
        if (view->mapping != NULL) {
            munmap(view->mapping, view->mapping_bytes);
        }
        free(view);
    }
}

/* To committed space that is still zero. What is zero is not written: it may never have been touched, and take nothing. */
static void copy_contents(uint8_t *to, const uint8_t *from, uint64_t size_bytes)
{
    uint64_t page_bytes = host_page_bytes();
    for (uint64_t at = 0; at < size_bytes; at += page_bytes) {
        uint64_t part_bytes = at_most(page_bytes, size_bytes - at);
        if (from[at] != 0 || memcmp(from + at, from + at + 1, part_bytes - 1) != 0) {
            memcpy(to + at, from + at, part_bytes);
        }
    }
}

/* Moves size_bytes of pages that have one advice, of which contents_bytes are contents, to committed space. Moving page
 * table entries is cheaper than copying, and what was never touched stays so; but the kernel may refuse it. */
static void move_pages(uint8_t *from, uint8_t *to, uint64_t size_bytes, uint64_t contents_bytes)
{
    if (size_bytes != 0 && mremap(from, size_bytes, size_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
        copy_contents(to, from, at_most(size_bytes, contents_bytes));
    }
}

/* A new, larger mapping with the old contents, and with address space for growing to twice the size without moving
 * again: growing page by page stays linear. */
static bool move_memory(wj_memory *memory, uint64_t committed_bytes)
{
    wj_memory old = *memory;
    uint64_t largest = pages_to_bytes(memory->max_pages, memory->page_size_log2);
    uint64_t roomy = at_most(2 * committed_bytes + GROWTH_BYTES, largest);
    roomy = round_up(at_most(roomy, MAX_MAPPING_BYTES), host_page_bytes());
    if ((roomy <= committed_bytes || !map_memory(memory, roomy, committed_bytes)) &&
        !map_memory(memory, committed_bytes, committed_bytes)) {
        return false;
    }
    if (old.views != NULL) {
        memory->views = NULL;
        if (__atomic_load_n(&old.views->references, __ATOMIC_ACQUIRE) > 1) {
            copy_contents(memory->base, old.base, old.size_bytes);
            old.views->mapping = old.mapping; /* the last view unmaps it */
            old.views->mapping_bytes = old.mapping_bytes;
            wj_view_release(old.views);
            return true;
        }
        wj_view_release(old.views);
    }
    move_pages(old.base, memory->base, old.huge_bytes, old.size_bytes);
    move_pages(old.base + old.huge_bytes, memory->base + old.huge_bytes, old.committed_bytes - old.huge_bytes,
               old.size_bytes > old.huge_bytes ? old.size_bytes - old.huge_bytes : 0);
    memory->huge_bytes = old.huge_bytes; /* the advice moves along */
    munmap(old.mapping, old.mapping_bytes); /* what mremap took away is a hole by now, which munmap permits */
    return true;
}

/* Commits so much, in another place if need be. */
static bool make_room(wj_memory *memory, uint64_t committed_bytes)
{
    if (committed_bytes > memory->capacity_bytes) {
        return memory->moves && move_memory(memory, committed_bytes);
    }
    if (committed_bytes > memory->committed_bytes) {
        uint64_t added_bytes = committed_bytes - memory->committed_bytes;
        if (!commit(memory->base + memory->committed_bytes, added_bytes)) {
            return false;
        }
        memory->committed_bytes = committed_bytes;
    }
    return true;
}

/* Takes back what members up to `end` have counted. As count_growth. */
static void count_back(const wj_memory *memory, const wj_membership *end, uint64_t added_bytes, bool is_locked)
{
    for (wj_membership *member = memory->members; member != end; member = member->next_member) {
        if (!is_locked) {
            wj_lock_take(&member->store->lock);
        }
        member->store->total_bytes -= added_bytes;
        if (!is_locked) {
            wj_lock_give(&member->store->lock);
        }
    }
}

/* Has all members count a growth; false, and nothing counted, if one may not have so much. Needs memory->lock. is_locked:
 * the caller has the lock of the only member. */
static bool count_growth(const wj_memory *memory, uint64_t size_bytes, bool is_locked)
{
    uint64_t added_bytes = size_bytes - memory->size_bytes;
    for (wj_membership *member = memory->members; member != NULL; member = member->next_member) {
        wj_store *store = member->store;
        if (!is_locked) {
            wj_lock_take(&store->lock);
        }
        bool allowed = size_bytes <= store->max_memory_bytes && take_bytes(store, added_bytes);
        if (!is_locked) {
            wj_lock_give(&store->lock);
        }
        if (!allowed) {
            count_back(memory, member, added_bytes, is_locked);
            return false;
        }
    }
    return true;
}

/* As count_growth. */
static uint64_t grow_memory(wj_memory *memory, uint64_t delta_pages, bool is_locked)
{
    uint64_t old_pages = memory->size_bytes >> memory->page_size_log2;
    if (delta_pages == 0) {
        return old_pages;
    }
    if (delta_pages > memory->max_pages - old_pages) {
        return WJ_REFUSED;
    }
    uint64_t size_bytes = pages_to_bytes(old_pages + delta_pages, memory->page_size_log2);
    if (size_bytes > MAX_MAPPING_BYTES || !count_growth(memory, size_bytes, is_locked)) {
        return WJ_REFUSED;
    }
    if (!make_room(memory, round_up(size_bytes, host_page_bytes()))) {
        count_back(memory, NULL, size_bytes - memory->size_bytes, is_locked);
        return WJ_REFUSED;
    }
    __atomic_store_n(&memory->size_bytes, size_bytes, __ATOMIC_RELEASE);
    return old_pages;
}

uint64_t wj_memory_grow(wj_memory *memory, uint64_t delta_pages)
{
    uint64_t old_pages = WJ_REFUSED; /* if that thread's code may hold the base in a register */
    wj_lock_take(&memory->lock);
    uint64_t committed_bytes = memory->committed_bytes;
    if (memory->moves && memory->members != NULL) { /* its only member may not begin to run while it moves */
        wj_store *store = memory->members->store;
        wj_lock_take(&store->lock);
        if (store->frozen == 0 && !wj_store_runs_elsewhere(store)) {
            old_pages = grow_memory(memory, delta_pages, true);
        }
        wj_lock_give(&store->lock);
    } else {
        old_pages = grow_memory(memory, delta_pages, false);
    }
    if (memory->committed_bytes != committed_bytes) {
        wj_prefer_huge_pages(memory);
    }
    wj_lock_give(&memory->lock);
    return old_pages;
}

int wj_memory_write(wj_memory *memory, uint64_t start, const void *source, uint64_t size_bytes)
{
    if (!wj_in_bounds(start, size_bytes, wj_memory_size_bytes(memory))) {
        return 1;
    }
    bool locked = wj_lock_if_it_moves(memory);
    memmove(memory->base + start, source, size_bytes);
    wj_unlock_if(locked, memory);
    return 0;
}

int wj_memory_read(wj_memory *memory, uint64_t start, void *destination, uint64_t size_bytes)
{
    if (!wj_in_bounds(start, size_bytes, wj_memory_size_bytes(memory))) {
        return 1;
    }
    bool locked = wj_lock_if_it_moves(memory);
    memmove(destination, memory->base + start, size_bytes);
    wj_unlock_if(locked, memory);
    return 0;
}

/* ---- the end of a store ---- */

void wj_store_release(wj_store *store)
{
    wj_interpreter_stack_free(store);
    for (wj_membership *membership = store->memories, *next; membership != NULL; membership = next) {
        next = membership->next;
        end_membership(membership);
    }
    wj_tables_free(store);
    wj_exceptions_free(store);
    wj_gc_heap_free(store);
    for (wj_allocation *allocation = store->allocations, *next; allocation != NULL; allocation = next) {
        next = allocation->next;
        free(allocation);
    }
    store->memories = NULL;
    store->allocations = NULL;
}
