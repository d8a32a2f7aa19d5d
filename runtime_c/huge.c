/* Which part of a memory gets huge pages (2 MiB): what is proven to be in use, and a little more. No Python here.
 *
 * A touched byte makes its whole page resident. So a memory that is touched here and there would cost 512 times what it
 * uses, if all of it had huge pages; and one that is used everywhere loses up to half of its speed if it has none. The
 * promise (docs/bounds.md): what the host takes is at most 4 times what the guest touched, and GRANT_BYTES.
 *  - The first GRANT_BYTES of one memory of each store, and of each that was made for no store, need no proof.
 *  - Beyond, huge pages reach as far as 4 times the bytes that are in use: found out when the memory has grown by a
 *    quarter, and, as long as there is more memory than that, at calls between wasm and host, 4, 8, 16, ... ms apart.
 * In use is what is resident and, by samples, not all zero. */
#include "wj.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MINIMUM_BYTES (UINT64_C(4) << 20) /* smaller memories never get any */
#define GRANT_BYTES (UINT64_C(16) << 20)
#define PER_USED_BYTE 4
#define SAMPLES 16u /* of each huge page */
#define MOST_PAGES 512u /* in a huge page: fewer where pages are larger than 4 KiB */
#define FIRST_LOOK_NS INT64_C(4000000) /* a look takes about 1 us for each 2 MiB: nothing for who lives shortly */
#define LAST_INTERVAL_NS INT64_C(3600000000000)
#define COLLAPSED_AT_ONCE_BYTES (UINT64_C(64) << 20) /* some 10 ms */
#ifdef MADV_HUGEPAGE
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static uint64_t page_bytes(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Whether the system gives huge pages to whoever does not ask for them: then not to want them has to be said. */
static bool given_unasked;

/* When the library is loaded: no lock is held while the file is read. */
__attribute__((constructor)) static void look_who_is_given_huge_pages(void)
{
    char text[64] = "";
    int file = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) {
        close(file);
    }
    given_unasked = size <= 0 || (strstr(text, "[madvise]") == NULL && strstr(text, "[never]") == NULL);
}

/* Pages of a file are never huge. */
static uint64_t start_of(const wj_memory *memory)
{
    return memory->image_start + memory->image_bytes;
}

/* The guest must not know which pages are looked at: those it would fill, and no others. */
static uint32_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

static bool is_zero(const uint8_t *page, uint64_t size_bytes)
{
    const volatile uint64_t *words = (const volatile uint64_t *)(const void *)page; /* others may write meanwhile */
    for (uint64_t i = 0; i < size_bytes / sizeof *words; i++) {
        if (words[i] != 0) {
            return false;
        }
    }
    return true;
}

/* How many of the pages from `start` on are in use, about: resident, and not all zero, as far as samples tell. What was
 * only read is resident too, but takes nothing; and of a huge page all is resident. */
static uint32_t used_pages(const uint8_t *start, uint32_t pages, uint64_t of_bytes, uint64_t *random)
{
    unsigned char resident[MOST_PAGES];
    if (mincore((void *)(uintptr_t)start, pages * of_bytes, resident) != 0) {
        return 0;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < pages; i++) {
        count += resident[i] & 1;
    }
    uint32_t samples = count < SAMPLES ? count : SAMPLES;
    uint32_t filled = 0;
    for (uint32_t i = 0; i < samples; i++) {
        uint32_t page = next_random(random) % pages;
        while ((resident[page] & 1) == 0) {
            page = page + 1 == pages ? 0 : page + 1;
        }
        filled += !is_zero(start + page * of_bytes, of_bytes);
    }
    return samples == 0 ? 0 : count * filled / samples;
}

static uint64_t seed(const wj_memory *memory)
{
    return ((uint64_t)wj_now_ns(CLOCK_MONOTONIC) << 20) ^ (uintptr_t)memory ^ UINT64_C(0x9E3779B97F4A7C15);
}

/* How many bytes from base + start to base + end are in use, about. */
static uint64_t used_bytes(const wj_memory *memory, uint64_t start, uint64_t end)
{
    uint64_t of_bytes = page_bytes();
    uint64_t random = seed(memory);
    uint64_t used = 0;
    for (uint64_t at = start; at < end; at += WJ_HUGE_PAGE_BYTES) {
        uint64_t left_bytes = end - at < WJ_HUGE_PAGE_BYTES ? end - at : WJ_HUGE_PAGE_BYTES;
        used += used_pages(memory->base + at, (uint32_t)(left_bytes / of_bytes), of_bytes, &random) * of_bytes;
    }
    return used;
}

/* Makes huge pages of what is in small ones, where they are nearly all in use. */
static void collapse(const wj_memory *memory, uint64_t start, uint64_t end)
{
    uint64_t of_bytes = page_bytes();
    uint64_t random = seed(memory);
    uint32_t pages = (uint32_t)(WJ_HUGE_PAGE_BYTES / of_bytes);
    uint64_t misaligned = ((uintptr_t)memory->base + start) % WJ_HUGE_PAGE_BYTES;
    uint64_t at = misaligned == 0 ? start : start + WJ_HUGE_PAGE_BYTES - misaligned;
    for (; at + WJ_HUGE_PAGE_BYTES <= end; at += WJ_HUGE_PAGE_BYTES) {
        if (used_pages(memory->base + at, pages, of_bytes, &random) >= pages - pages / 4) {
            (void)madvise(memory->base + at, WJ_HUGE_PAGE_BYTES, MADV_COLLAPSE); /* a refusal is harmless */
        }
    }
}

/* Sets the advice as the limit says. Returns where the huge pages ended before. */
static uint64_t advise(wj_memory *memory)
{
    uint64_t start = start_of(memory);
    uint64_t before = memory->huge_bytes;
    uint64_t end = memory->huge_limit_bytes < memory->committed_bytes ? memory->huge_limit_bytes : memory->committed_bytes;
    end = end > start ? end / page_bytes() * page_bytes() : start;
    if (end > start && end > before) {
        (void)madvise(memory->base + start, end - start, MADV_HUGEPAGE);
    } else if (end < before) { /* the pool has it from a store that had proven more */
        (void)madvise(memory->base + end, before - end, MADV_NOHUGEPAGE);
    }
    if (end < memory->committed_bytes && memory->committed_bytes >= WJ_HUGE_PAGE_BYTES && given_unasked) {
        (void)madvise(memory->base + end, memory->committed_bytes - end, MADV_NOHUGEPAGE);
    }
    memory->huge_bytes = end > start ? end : 0;
    return before > start ? before : start;
}

static void find_limit(wj_memory *memory)
{
    uint64_t start = start_of(memory);
    uint64_t proven = start + PER_USED_BYTE * used_bytes(memory, start, memory->committed_bytes);
    if (proven > memory->huge_limit_bytes) {
        memory->huge_limit_bytes = proven;
    }
    memory->looked_at_bytes = memory->committed_bytes;
}

/* The grant of a member that has not given it to another memory; a memory of no store has one of its own. */
static void take_grant(wj_memory *memory)
{
    bool granted = memory->members == NULL;
    for (wj_membership *member = memory->members; member != NULL && !granted; member = member->next_member) {
        wj_lock_take(&member->store->lock);
        granted = !member->store->has_huge_grant;
        member->store->has_huge_grant = true;
        wj_lock_give(&member->store->lock);
    }
    if (granted) {
        memory->has_huge_grant = true;
        memory->huge_limit_bytes = start_of(memory) + GRANT_BYTES;
    }
}

/* Has the members look at it, from time to time. */
static void watch(const wj_memory *memory)
{
    for (wj_membership *member = memory->members; member != NULL; member = member->next_member) {
        wj_store *store = member->store;
        wj_lock_take(&store->lock);
        if (store->next_look_ns == 0) {
            store->look_interval_ns = FIRST_LOOK_NS;
            store->next_look_ns = wj_now_ns(CLOCK_MONOTONIC_COARSE) + FIRST_LOOK_NS;
        }
        wj_lock_give(&store->lock);
    }
}

void wj_prefer_huge_pages(wj_memory *memory)
{
    uint64_t start = start_of(memory);
    if (memory->committed_bytes < start + MINIMUM_BYTES) {
        if (memory->huge_bytes != 0 || given_unasked) {
            (void)advise(memory);
        }
        return;
    }
    if (!memory->has_huge_grant) {
        take_grant(memory);
    }
    if (memory->committed_bytes > memory->huge_limit_bytes) {
        if (memory->looked_at_bytes == 0) {
            memory->looked_at_bytes = start + MINIMUM_BYTES; /* nothing can be in use yet, or not much */
        } else if (memory->committed_bytes - memory->looked_at_bytes >= memory->looked_at_bytes / 4) {
            find_limit(memory);
        }
        if (memory->committed_bytes > memory->huge_limit_bytes) {
            watch(memory);
        }
    }
    (void)advise(memory);
}

/* Whether there will be nothing more to look for. Needs memory->lock. */
static bool look_at(wj_memory *memory)
{
    if (memory->committed_bytes < start_of(memory) + MINIMUM_BYTES ||
        memory->committed_bytes <= memory->huge_limit_bytes) {
        return true;
    }
    find_limit(memory);
    uint64_t limit = memory->huge_limit_bytes;
    if (limit > memory->huge_bytes + COLLAPSED_AT_ONCE_BYTES) { /* the rest at the next look */
        memory->huge_limit_bytes = memory->huge_bytes + COLLAPSED_AT_ONCE_BYTES;
    }
    uint64_t before = advise(memory);
    collapse(memory, before, memory->huge_bytes);
    return memory->committed_bytes <= memory->huge_limit_bytes;
}

void wj_look_at_memories(wj_store *store)
{
    int64_t now_ns = wj_now_ns(CLOCK_MONOTONIC_COARSE);
    if (now_ns < store->next_look_ns) {
        return;
    }
    wj_lock_take(&store->lock);
    int64_t interval_ns = store->look_interval_ns;
    store->next_look_ns = 0; /* what grows from now on on another thread asks for a look of its own */
    wj_lock_give(&store->lock);
    bool all_proven = true;
    wj_membership *membership = __atomic_load_n(&store->memories, __ATOMIC_ACQUIRE);
    for (; membership != NULL; membership = membership->next) {
        wj_lock_take(&membership->memory->lock);
        all_proven = look_at(membership->memory) && all_proven;
        wj_lock_give(&membership->memory->lock);
    }
    if (!all_proven && interval_ns < LAST_INTERVAL_NS) {
        wj_lock_take(&store->lock);
        store->look_interval_ns = 2 * interval_ns;
        store->next_look_ns = now_ns + store->look_interval_ns;
        wj_lock_give(&store->lock);
    }
}
#else
void wj_prefer_huge_pages(wj_memory *memory)
{
    (void)memory;
}

void wj_look_at_memories(wj_store *store)
{
    (void)store;
}
#endif

void wj_forget_density(wj_memory *memory)
{
    memory->huge_limit_bytes = memory->looked_at_bytes = 0;
    memory->has_huge_grant = false;
}
