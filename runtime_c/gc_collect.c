/* The collector: finds what the roots reach, and has everything else be free lines and blocks. See wj_gc.h.
 *
 * Roots are what tables, globals, segments and Python hold, each a reference for sure; and whatever looks like one
 * in places where all kinds of values are: the stack of the thread, with the registers of what called, and what the
 * interpreter and exceptions hold. A value that points anywhere into an object keeps it; nothing is ever moved. */
#include "wj_gc.h"

#include "address_space.h"
#include "interpret.h"
#include "sanitizer.h"

#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>

#define FIRST_GREY (UINT64_C(1) << 16)
#define MOST_OF_LARGE UINT64_C(16) /* how far behind its begin what is no address may point and keep a large object */
#define KEPT_FREE_BLOCKS UINT64_C(1024) /* what is free beyond so many goes back to the system */

typedef struct {
    wj_store *store;
    wj_gc_heap *heap;
    const wj_gc_visitor *host_words; /* or NULL */
    bool has_overflown; /* there was no memory for `grey`: objects that are marked may not have been looked through */
} collection;

/* ---- marking ---- */

static bool make_room_for_grey(wj_gc_heap *heap)
{
    uint64_t length = heap->grey_length == 0 ? FIRST_GREY : 2 * heap->grey_length;
    void *made = heap->grey_length == 0
                     ? mmap(NULL, length * sizeof *heap->grey, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                     : mremap(heap->grey, heap->grey_length * sizeof *heap->grey, length * sizeof *heap->grey, MREMAP_MAYMOVE);
    if (made == MAP_FAILED) {
        return false;
    }
    heap->grey = made;
    heap->grey_length = length;
    return true;
}

/* An object that is reached. */
static inline void mark(collection *of, uint32_t offset)
{
    wj_gc_heap *heap = of->heap;
    uint64_t *word = &heap->marks[wj_gc_place(offset) / 64];
    uint64_t bit = UINT64_C(1) << (wj_gc_place(offset) % 64);
    if ((*word & bit) != 0) {
        return;
    }
    *word |= bit;
    if (heap->grey_count == heap->grey_length && !make_room_for_grey(heap)) {
        of->has_overflown = true;
        return;
    }
    heap->grey[heap->grey_count++] = offset;
}

/* A word that is a reference for sure. */
static inline void mark_word(collection *of, uint64_t word)
{
    if (word == 0 || (word & 1) != 0) {
        return;
    }
    if ((word & WJ_WORD_KIND_MASK) == 0) {
        mark(of, (uint32_t)word);
    } else if (of->host_words != NULL) {
        of->host_words->visit(of->host_words->into, word);
    }
}

static void mark_field(collection *of, const uint8_t *place, uint32_t kind)
{
    if (kind == WJ_GC_TRACED_ANYREF) {
        uint32_t word;
        memcpy(&word, place, sizeof word);
        mark_word(of, word);
    } else if (kind == WJ_GC_TRACED_EXTERNREF) {
        uint64_t word;
        memcpy(&word, place, sizeof word);
        mark_word(of, word);
    }
    /* A store whose objects refer to exceptions keeps those (wj_store.keeps_exceptions). */
}

/* How many elements before it is marked the mark of one is asked for. What is read behind an array's end may be anything. */
#define MARKS_AHEAD 16

static inline void ask_for_mark(const wj_gc_heap *heap, const uint8_t *place, uint32_t kind)
{
    uint32_t word;
    memcpy(&word, place, sizeof word); /* behind the heap there is a guard to read */
    if (kind == WJ_GC_TRACED_ANYREF && word >= WJ_GC_OBJECTS_START) {
        __builtin_prefetch(&heap->marks[wj_gc_place(word) / 64], 1);
    }
}

/* Marks what an object refers to, and the lines that it is in. */
static void look_through(collection *of, uint32_t offset)
{
    wj_gc_heap *heap = of->heap;
    const wj_gc_object *object = wj_gc_object_at(heap, offset);
    const wj_gc_descriptor *type = wj_gc_descriptor_of(heap, object);
    uint64_t size_bytes = wj_gc_size_of(object, type);
    wj_gc_block *block = &heap->blocks[wj_gc_block_of(offset)];
    heap->live_bytes += size_bytes;
    if (block->use == WJ_GC_SMALL) {
        uint32_t within = (offset - WJ_GC_OBJECTS_START) % WJ_GC_BLOCK_BYTES;
        wj_gc_add_lines(block->live, within / WJ_GC_LINE_BYTES,
                        (uint32_t)((within + size_bytes + WJ_GC_LINE_BYTES - 1) / WJ_GC_LINE_BYTES));
    }
    const uint8_t *bytes = (const uint8_t *)object;
    if (type->kind == WJ_GC_STRUCT) {
        for (uint32_t i = 0; i < type->references; i++) {
            uint32_t field = type->traced[i];
            mark_field(of, bytes + (field >> WJ_GC_TRACED_SHIFT), field & ((1u << WJ_GC_TRACED_SHIFT) - 1));
        }
    } else if (type->references != 0) {
        const uint8_t *element = bytes + sizeof *object;
        uint32_t kind = type->traced[0] & ((1u << WJ_GC_TRACED_SHIFT) - 1);
        for (uint32_t i = 0; i < object->length; i++, element += type->size_bytes) {
            ask_for_mark(heap, element + (uint64_t)MARKS_AHEAD * type->size_bytes, kind);
            mark_field(of, element, kind);
        }
    }
}

/* Each object is asked for some time before it is looked through: most are in no cache. */
static void look_through_grey(collection *of)
{
    enum { AHEAD = 16 };
    wj_gc_heap *heap = of->heap;
    uint32_t asked[AHEAD];
    uint32_t first = 0;
    uint32_t count = 0;
    for (;;) {
        for (; count < AHEAD && heap->grey_count != 0; count++) {
            uint32_t offset = heap->grey[--heap->grey_count];
            __builtin_prefetch(heap->base + offset);
            asked[(first + count) % AHEAD] = offset;
        }
        if (count == 0) {
            return;
        }
        uint32_t next = asked[first];
        first = (first + 1) % AHEAD;
        count--;
        look_through(of, next);
    }
}

/* ---- what may be a reference ---- */

/* Enters the objects of a hole into `starts`. */
static void index_hole(wj_gc_heap *heap, uint32_t from, uint32_t to)
{
    while (from < to) {
        const wj_gc_object *object = wj_gc_object_at(heap, from);
        if (object->descriptor == 0) {
            return; /* nothing was put there yet */
        }
        wj_gc_add_start(heap->starts, from);
        from += (uint32_t)wj_gc_size_of(object, wj_gc_descriptor_of(heap, object));
    }
}

static void index_block(wj_gc_heap *heap, uint64_t number)
{
    wj_gc_block *block = &heap->blocks[number];
    block->is_indexed = true;
    for (uint32_t first = 0, end; first < WJ_GC_BLOCK_LINES; first = end) {
        end = first + 1;
        if (!wj_gc_has_line(block->fresh, first)) {
            continue;
        }
        while (end < WJ_GC_BLOCK_LINES && wj_gc_has_line(block->fresh, end)) {
            end++;
        }
        index_hole(heap, wj_gc_block_start(number) + first * WJ_GC_LINE_BYTES,
                   wj_gc_block_start(number) + end * WJ_GC_LINE_BYTES);
    }
}

void wj_gc_index(wj_gc_heap *heap)
{
    for (uint64_t number = 0; number < heap->block_end; number++) {
        if (heap->blocks[number].use == WJ_GC_SMALL && !heap->blocks[number].is_indexed) {
            index_block(heap, number);
        }
    }
}

/* The last object that begins at or before an offset, in its block; 0 if there is none. */
static uint32_t start_before(const wj_gc_heap *heap, uint32_t offset)
{
    uint64_t place = wj_gc_place(offset);
    uint64_t first_word = wj_gc_block_of(offset) * WJ_GC_BLOCK_WORDS;
    uint64_t word = place / 64;
    uint64_t bits = heap->starts[word] & (UINT64_MAX >> (63 - place % 64));
    while (bits == 0 && word > first_word) {
        bits = heap->starts[--word];
    }
    if (bits == 0) {
        return 0;
    }
    uint64_t found = word * 64 + 63 - (uint64_t)__builtin_clzll(bits);
    return (uint32_t)(WJ_GC_OBJECTS_START + found * WJ_GC_OBJECT_ALIGNMENT);
}

/* Marks the object that an offset points into, if it does. If the object has blocks to itself, to its first `most_large`
 * bytes. */
static void mark_candidate(collection *of, uint64_t offset, uint64_t most_large)
{
    wj_gc_heap *heap = of->heap;
    if (offset < WJ_GC_OBJECTS_START || offset >= wj_gc_block_start(heap->block_end)) {
        return;
    }
    uint64_t number = wj_gc_block_of((uint32_t)offset);
    const wj_gc_block *block = &heap->blocks[number];
    uint32_t start;
    if (block->use == WJ_GC_LARGE || block->use == WJ_GC_LARGE_REST) {
        start = wj_gc_block_start(block->use == WJ_GC_LARGE ? number : number - block->run_blocks);
        if (offset - start >= most_large) {
            return;
        }
    } else if (block->use == WJ_GC_SMALL) {
        if (!block->is_indexed) {
            index_block(heap, number);
        }
        start = start_before(heap, (uint32_t)offset);
    } else {
        return;
    }
    if (start == 0 || !wj_gc_has_start(heap->starts, start)) {
        return;
    }
    const wj_gc_object *object = wj_gc_object_at(heap, start);
    if (offset < start + wj_gc_size_of(object, wj_gc_descriptor_of(heap, object))) {
        mark(of, start);
    }
}

/* A word of which nothing is known: an address, or one offset, or two.
 *
 * An offset is a reference, to where an object begins; what LLVM makes of it are addresses. Half of any address may look like
 * an offset, and would nearly always point into an array that is a good part of the heap. */
static inline void mark_unknown(collection *of, uint64_t word)
{
    uint64_t distance = word - (uint64_t)(uintptr_t)of->heap->base;
    if (distance < WJ_GC_HEAP_BYTES) {
        mark_candidate(of, distance, WJ_GC_HEAP_BYTES);
        return;
    }
    mark_candidate(of, word & UINT32_MAX, MOST_OF_LARGE);
    mark_candidate(of, word >> 32, MOST_OF_LARGE);
}

/* Of a stack, where the sanitizers have places that nothing else may read. */
static void __attribute__((no_sanitize("address", "thread"))) mark_range(collection *of, const uint64_t *from, const uint64_t *to)
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
            mark_candidate(of, words[i], MOST_OF_LARGE);
        } else {
            mark_word(of, words[i]);
        }
    }
}

/* What is below the innermost activation's last slot. */
static void mark_interpreter(collection *of)
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
static void __attribute__((noinline)) mark_frames(collection *of)
{
    mark_range(of, __builtin_frame_address(0), (const uint64_t *)wj_this_thread.stack_high);
}

/* The stack, and the registers that who called may have something in: they are on the stack then. */
static void __attribute__((noinline)) mark_stack(collection *of)
{
    jmp_buf registers;
    if (setjmp(registers) == 0) {
        mark_frames(of);
    }
    __asm__ volatile("" ::"r"(&registers) : "memory"); /* it is there until then */
}

/* Looks through all marked objects again, until `grey` was long enough. */
static void catch_up(collection *of)
{
    wj_gc_heap *heap = of->heap;
    while (of->has_overflown) {
        of->has_overflown = false;
        heap->live_bytes = 0;
        for (uint64_t word = 0; word < heap->block_end * WJ_GC_BLOCK_WORDS; word++) {
            for (uint64_t bits = heap->marks[word]; bits != 0; bits &= bits - 1) {
                uint64_t place = word * 64 + (uint64_t)__builtin_ctzll(bits);
                look_through(of, (uint32_t)(WJ_GC_OBJECTS_START + place * WJ_GC_OBJECT_ALIGNMENT));
                look_through_grey(of);
            }
        }
    }
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
    for (uint64_t number = 0; number < heap->block_end; number++) {
        wj_gc_block *block = &heap->blocks[number];
        memset(block->fresh, 0, sizeof block->fresh);
        block->is_indexed = true;
        if (block->use == WJ_GC_LARGE) {
            sweep_large(heap, number);
        } else if (block->use == WJ_GC_SMALL && !has_lines(block->live)) {
            block->use = WJ_GC_FREE;
            heap->used_blocks--;
        }
    }
    give_back_free(heap);
    uint64_t *starts = heap->starts; /* becomes the marks of the next collection */
    memset(starts, 0, heap->block_end * WJ_GC_BLOCK_WORDS * sizeof *starts);
    heap->starts = heap->marks;
    heap->marks = starts;
    heap->first_free = heap->next_hole = heap->next_medium = 0;
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
static void look_again(collection *of)
{
    wj_roots_mark(of->store, mark_words, of);
    look_through_grey(of);
    catch_up(of);
    if (sees_all_holders(of->store)) {
        return;
    }
    wj_gc_heap *heap = of->heap;
    wj_gc_index(heap);
    heap->live_bytes = 0;
    memcpy(heap->marks, heap->starts, heap->block_end * WJ_GC_BLOCK_WORDS * sizeof *heap->marks);
    of->has_overflown = true;
    catch_up(of);
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
    collection of = {store, heap, host_words, false};
    heap->live_bytes = 0;
    for (uint64_t number = 0; number < heap->block_end; number++) {
        memset(heap->blocks[number].live, 0, sizeof heap->blocks[number].live);
    }
    wj_roots_mark(store, mark_words, &of);
    mark_interpreter(&of);
    wj_exceptions_mark(store, mark_payload, &of);
    mark_stack(&of);
    look_through_grey(&of);
    catch_up(&of);
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
