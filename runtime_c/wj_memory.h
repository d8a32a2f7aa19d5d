/* Linear memories: memory.c, pool.c, huge.c, and their images in instance.c. */
#ifndef WJ_MEMORY_H
#define WJ_MEMORY_H

#include "wj_base.h"
#include "wj_contract.h"
#include "wj_lock.h"

/* A linear memory. It belongs to no store: it lives as long as somebody has a reference, which stores have as members. */
struct wj_memory {
    uint8_t *base;
    uint64_t size_bytes; /* what wasm sees; written last on growth */
    /* C's own */
    uint32_t references; /* atomic: of each member, each mapping object, and whoever made it for no store */
    uint8_t *mapping; /* whole reservation with guards, what the fault handler compares with */
    uint64_t mapping_bytes;
    uint64_t capacity_bytes;  /* address space for contents behind base */
    uint64_t committed_bytes; /* readable and writable, a multiple of the host's page */
    uint64_t guard_bytes;
    uint64_t max_pages;
    uint32_t page_size_log2;
    bool is_shared; /* threads may wait for what changes in it; such a memory does not move */
    bool moves; /* no reservation: growth makes a new mapping. Such a memory never has a second member. */
    uint64_t image_id;    /* of the image mapped at image_start, or 0 */
    uint64_t image_bytes; /* from image_start, which is relative to base */
    uint64_t image_start;
    wj_view *views; /* of the present mapping; NULL before there are any */
    uint64_t huge_bytes;        /* contents that may have huge pages end here: a multiple of their size, or committed_bytes */
    uint64_t huge_limit_bytes;  /* and may go as far as this, by what was found to be in use */
    uint64_t looked_at_bytes;   /* committed_bytes when that was found */
    bool has_huge_grant;        /* the huge pages that need no reason */
    wj_lock lock;               /* guards all of this against other threads. Taken before a store's, of which nobody has two */
    wj_membership *members;     /* of whose stores code may use it */
};

/* That code of a store may use a memory. Made while the store is open, and gone with what else the store has. */
struct wj_membership {
    wj_membership *next;        /* in store->memories: written before others see this */
    wj_membership *next_member; /* in memory->members; guarded by memory->lock */
    wj_store *store;
    wj_memory *memory; /* a reference */
};

/* Who uses one mapping of a memory that moves: the memory itself, and the views that Python has. */
struct wj_view {
    uint32_t references; /* atomic; taken with memory->lock held */
    uint8_t *mapping;    /* what to unmap with the last one; NULL while the memory has it */
    uint64_t mapping_bytes;
};

WJ_ASSERT_OFFSET(struct wj_memory, base, WJ_MEMORY_BASE);
WJ_ASSERT_OFFSET(struct wj_memory, size_bytes, WJ_MEMORY_SIZE_BYTES);

/* Where the contents are now, and, of a memory that moves, what keeps them there (else NULL): until every view is
 * released, growth leaves a copy of the contents behind, so a pointer into it stays readable and writable. Whoever has the
 * view has a reference on the memory, too. False: out of memory. */
WJ_INTERNAL bool wj_memory_view(wj_memory *memory, wj_view **view, uint8_t **base, uint64_t *size_bytes);
WJ_INTERNAL void wj_view_release(wj_view *view);
/* A memory of an instance, by its index. */
static inline wj_memory *wj_memory_of(const void *vmctx, uint32_t index)
{
    const wj_vmcontext *context = vmctx;
    const uint8_t *slots = (const uint8_t *)vmctx + context->instance->memories;
    return ((const wj_memory_slot *)(const void *)slots)[index].memory;
}

/* A memory that moves may do so on another thread, which holds the lock and perhaps no GIL: without it this thread would
 * go on copying where nothing is mapped any more, or something else. It never shrinks. */
static inline bool wj_lock_if_it_moves(wj_memory *memory)
{
    if (memory->moves) {
        wj_lock_take(&memory->lock);
    }
    return memory->moves;
}

static inline void wj_unlock_if(bool locked, wj_memory *memory)
{
    if (locked) {
        wj_lock_give(&memory->lock);
    }
}

/* ---- pool.c ---- */

/* A freed memory with this layout, preferably showing the image, or NULL: mapping, mapping_bytes, base, guard_bytes,
 * committed_bytes, image_* and an unlocked lock. The rest is left over from its former life. */
WJ_INTERNAL wj_memory *wj_pool_take(uint64_t mapping_bytes, uint64_t guard_bytes, uint64_t image_id);
/* Frees a memory that nothing refers to, or keeps its mapping for later. */
WJ_INTERNAL void wj_pool_give(wj_memory *memory);
/* Unmaps what is kept, where address space is short; false if there was nothing. */
WJ_INTERNAL bool wj_pool_drain(void);
/* Unmaps what shows an image that is going away. */
WJ_INTERNAL void wj_pool_forget(uint64_t image_id);

/* ---- huge.c ---- */

#define WJ_HUGE_PAGE_BYTES (UINT64_C(2) << 20)
/* After `memory` was made or has grown: gives huge pages to what deserves them. Needs memory->lock, and no
 * store's. */
WJ_INTERNAL void wj_prefer_huge_pages(wj_memory *memory);
/* What is known of how a pooled memory was used holds for the next user no more. */
WJ_INTERNAL void wj_forget_density(wj_memory *memory);

/* ---- instance.c ---- */

struct wj_image {
    uint64_t id; /* never used again: tells whether a mapping shows this image */
    uint64_t start, size_bytes;
    int file;
    uint64_t offset_bytes; /* of the contents in the file */
};

#endif
