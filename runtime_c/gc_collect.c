/* The collector: finds what the roots reach, and has everything else be free lines and blocks. See wj_gc.h.
 *
 * Roots are what tables, globals, segments and Python hold, each a reference for sure; and whatever looks like one
 * in places where all kinds of values are: the stack of the thread, with the registers of what called, and what the
 * interpreter and exceptions hold. A value that points anywhere into an object keeps it; nothing is ever moved. */
#include "gc_mark.h"

#include "address_space.h"
#include "interpret.h"
#include "sanitizer.h"

#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>

#define MOST_OF_LARGE UINT64_C(16) /* how far behind its begin what is no address may point and keep a large object */
#define KEPT_FREE_BLOCKS UINT64_C(1024) /* what is free beyond so many goes back to the system */

/* ---- what may be a reference ---- */

/* A word of which nothing is known: an address, or one offset, or two.
 *
 * An offset is a reference, to where an object begins; what LLVM makes of it are addresses. Half of any address may look like
 * an offset, and would nearly always point into an array that is a good part of the heap. */
static inline void mark_unknown(wj_gc_collection *of, uint64_t word)
{
    uint64_t distance = word - (uint64_t)(uintptr_t)of->heap->base;
    if (distance < of->heap->size_bytes) {
        wj_gc_mark_candidate(of, distance, UINT64_MAX);
        return;
    }
    wj_gc_mark_candidate(of, word & UINT32_MAX, MOST_OF_LARGE);
    wj_gc_mark_candidate(of, word >> 32, MOST_OF_LARGE);
}

/* Of a stack, where the sanitizers have places that nothing else may read. */
static void __attribute__((no_sanitize("address", "thread"))) mark_range(wj_gc_collection *of, const uint64_t *from, const uint64_t *to)
{
    for (; from < to; from++) {
        mark_unknown(of, *from);
    }
}

static void mark_payload(void *of, const uint64_t *words, uint64_t count)
{
    mark_range(of, words, words + count);
}

/* ---- roots ---- */

/* Words that are references, or what who calls C without checks says is one. */
static void mark_words(void *of, const uint64_t *words, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (words[i] == 0) {
            continue; /* most of a large table */
        }
        if ((words[i] & WJ_WORD_KIND_MASK) == 0) {
            wj_gc_mark_candidate(of, words[i], MOST_OF_LARGE);
        } else {
            wj_gc_mark_word(of, words[i]);
        }
    }
}

/* What is below the innermost activation's last slot. */
static void mark_interpreter(wj_gc_collection *of)
{
    const wj_store *store = of->store;
    const wj_activation *innermost = NULL;
    for (const wj_entry *entry = wj_this_thread.entry; entry != NULL && innermost == NULL; entry = entry->outer) {
        innermost = entry->store == store ? entry->activation : NULL;
    }
    if (innermost != NULL) {
        mark_range(of, wj_interpreter_slots(store), innermost->slots + innermost->function->slot_count);
    }
}

/* From its own frame on, which is below those of all that called it. */
static void __attribute__((noinline)) mark_frames(wj_gc_collection *of)
{
    mark_range(of, __builtin_frame_address(0), (const uint64_t *)wj_this_thread.stack_high);
}

/* The stack, and the registers that who called may have something in: they are on the stack then. */
static void __attribute__((noinline)) mark_stack(wj_gc_collection *of)
{
    jmp_buf registers;
    if (setjmp(registers) == 0) {
        mark_frames(of);
    }
    __asm__ volatile("" ::"r"(&registers) : "memory"); /* it is there until then */
}

/* ---- what is free then ---- */

/* Has the object of a run of blocks stay, or the blocks be free. */
static void sweep_large(wj_gc_heap *heap, uint64_t number)
{
    uint64_t count = heap->blocks[number].run_blocks;
    if (wj_gc_has_start(heap->marks, wj_gc_block_start(number))) {
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        heap->blocks[number + i].use = WJ_GC_FREE;
    }
    heap->used_blocks -= count;
}

/* Gives the memory of free blocks back, but for the first ones. */
static void give_back_free(wj_gc_heap *heap)
{
    uint64_t kept = KEPT_FREE_BLOCKS + heap->used_blocks;
    for (uint64_t first = 0, end; first < heap->block_end; first = end) {
        end = first + 1;
        if (heap->blocks[first].use != WJ_GC_FREE || !heap->blocks[first].is_touched) {
            continue;
        }
        if (kept != 0) {
            kept--;
            continue;
        }
        while (end < heap->block_end && heap->blocks[end].use == WJ_GC_FREE && heap->blocks[end].is_touched) {
            end++;
        }
        if (madvise(heap->base + wj_gc_block_start(first), (end - first) * WJ_GC_BLOCK_BYTES, MADV_DONTNEED) == 0) {
            for (uint64_t i = first; i < end; i++) {
                heap->blocks[i].is_touched = false;
            }
        }
    }
}

static bool has_lines(const wj_gc_lines lines)
{
    uint64_t all = 0;
    for (size_t i = 0; i < sizeof(wj_gc_lines) / sizeof lines[0]; i++) {
        all |= lines[i];
    }
    return all != 0;
}

static void sweep(wj_gc_heap *heap)
{
    uint64_t *starts = heap->starts; /* becomes the marks of the next collection */
    for (uint64_t number = 0; number < heap->block_end; number++) {
        wj_gc_block *block = &heap->blocks[number];
        memset(block->fresh, 0, sizeof block->fresh);
        block->is_indexed = true;
        uint64_t *words = starts + number * WJ_GC_BLOCK_WORDS;
        if (block->use == WJ_GC_LARGE) {
            words[0] = 0;
            sweep_large(heap, number);
        } else if (block->use == WJ_GC_SMALL) {
            memset(words, 0, WJ_GC_BLOCK_WORDS * sizeof *words);
            if (!has_lines(block->live)) {
                block->use = WJ_GC_FREE;
                heap->used_blocks--;
            }
        } /* else nothing begins there; where a huge array is, these words have no memory */
    }
    give_back_free(heap);
    heap->starts = heap->marks;
    heap->marks = starts;
    heap->first_free = heap->next_hole = heap->next_medium = 0;
    while (heap->block_end != 0 && heap->blocks[heap->block_end - 1].use == WJ_GC_FREE &&
           !heap->blocks[heap->block_end - 1].is_touched) {
        heap->block_end--; /* as if it had never been in use: the next collection has less to go through */
    }
}

/* Whether all who have references in hands are on this thread's stack. */
static bool sees_all_holders(const wj_store *store)
{
    uint32_t count = 0;
    for (const wj_gc_holder *holder = wj_gc_holders; holder != NULL; holder = holder->outer) {
        count += holder->store == store;
    }
    return __atomic_load_n(&store->held, __ATOMIC_RELAXED) == count;
}

/* Another thread of Python may have taken a reference from where this looked only afterwards. It has it in a place of its
 * own by now; or in hands, where nobody sees it: then nothing is freed this time. */
static void look_again(wj_gc_collection *of)
{
    wj_roots_mark(of->store, mark_words, of);
    wj_gc_mark_reached(of);
    if (sees_all_holders(of->store)) {
        return;
    }
    wj_gc_heap *heap = of->heap;
    wj_gc_index(heap);
    heap->live_bytes = 0;
    memcpy(heap->marks, heap->starts, heap->block_end * WJ_GC_BLOCK_WORDS * sizeof *heap->marks);
    of->has_overflown = true;
    wj_gc_mark_reached(of);
}

static void forget_holes(wj_store *store)
{
    store->gc_cursor = store->gc_limit = 0;
    store->gc->limit = 0;
    store->gc->medium = (wj_gc_hole){0, 0};
    store->gc->given_bytes = 0;
}

bool wj_gc_collect(wj_store *store, const wj_gc_visitor *host_words)
{
    wj_thread *thread = &wj_this_thread;
    wj_gc_heap *heap = store->gc;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    /* Else some library switched stacks; or code was interrupted anywhere, and holds references in registers. */
    bool knows_stack = here >= thread->stack_low && here < thread->stack_high && store->frozen == 0;
    uint64_t holds = __atomic_load_n(&store->holds, __ATOMIC_ACQUIRE);
    if (heap == NULL || !sees_all_holders(store) || !knows_stack) {
        return false;
    }
    int64_t began_ns = wj_now_ns(CLOCK_MONOTONIC);
    wj_gc_collection of = {store, heap, host_words, false};
    heap->live_bytes = 0;
    for (uint64_t number = 0; number < heap->block_end; number++) {
        memset(heap->blocks[number].live, 0, sizeof heap->blocks[number].live);
    }
    wj_roots_mark(store, mark_words, &of);
    mark_interpreter(&of);
    wj_exceptions_mark(store, mark_payload, &of);
    mark_stack(&of);
    wj_gc_mark_reached(&of);
    if (__atomic_load_n(&store->holds, __ATOMIC_ACQUIRE) != holds) {
        look_again(&of);
    }
    uint64_t used_blocks = heap->used_blocks;
    sweep(heap);
    give_back(store, (used_blocks - heap->used_blocks) * WJ_GC_BLOCK_BYTES);
    forget_holes(store);
    heap->collect_at_bytes = heap->live_bytes > WJ_GC_LEAST_GIVEN_BYTES ? heap->live_bytes : WJ_GC_LEAST_GIVEN_BYTES;
    heap->collections++;
    int64_t took_ns = wj_now_ns(CLOCK_MONOTONIC) - began_ns;
    heap->longest_pause_ns = took_ns > heap->longest_pause_ns ? took_ns : heap->longest_pause_ns;
    return true;
}
