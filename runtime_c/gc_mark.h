/* A collection that is going on: what gc_collect.c, gc_mark.c and gc_candidates.c share. */
#ifndef WJ_GC_MARK_H
#define WJ_GC_MARK_H

#include "wj_gc.h"

typedef struct {
    wj_store *store;
    wj_gc_heap *heap;
    const wj_gc_visitor *host_words; /* or NULL */
    bool has_overflown; /* there was no memory for `grey`: objects that are marked may not have been looked through */
} wj_gc_collection;

/* An object that is reached. */
WJ_INTERNAL void wj_gc_mark(wj_gc_collection *of, uint32_t offset);
/* A word that is a reference for sure. */
WJ_INTERNAL void wj_gc_mark_word(wj_gc_collection *of, uint64_t word);
/* Marks all that those reach which are marked. */
WJ_INTERNAL void wj_gc_mark_reached(wj_gc_collection *of);

/* The object that an offset points into, if it does, is reached. If it has blocks to itself, its first `most_large` bytes
 * count. */
WJ_INTERNAL void wj_gc_mark_candidate(wj_gc_collection *of, uint64_t offset, uint64_t most_large);

#endif
