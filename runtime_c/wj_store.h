/* Stores: the record, store.c, and what memory.c, huge.c and callbacks.c do for one. */
#ifndef WJ_STORE_H
#define WJ_STORE_H

#include "wj_base.h"
#include "wj_lock.h"

/* Where externrefs, and references to objects, can be found besides tables: one in a global or of Python's, or those of an
 * element segment. */
struct wj_externref_root {
    wj_externref_root *next; /* in store->externref_roots */
    const void *place;       /* the value, or a wj_segment_slot */
    bool is_segment;
};

struct wj_store {
    uint64_t stack_limit;
    void *caller; /* instance context of the code that makes an import or indirect call */
    uint64_t fuel;
    uint64_t epoch;
    uint64_t epoch_deadline;
    uint8_t *tail_arguments; /* behind this record */
    wj_exception *exception; /* on its way to where it is caught */
    uint64_t gc_heap;        /* address; 0: there is none yet. See wj_gc.h */
    uint64_t gc_cursor;      /* offset of the hole that objects are put into, which is all zeros */
    uint64_t gc_limit;       /* and of its end */
    /* C's own */
    uint64_t stencil_limit; /* as stack_limit, of code from stencils: half of the stack is left for compiled code */
    uint32_t references; /* atomic: one for wj_store_free, one for each callable */
    bool closed;         /* written with the GIL held */
    uint32_t pins;       /* atomic: what keeps the rest of what it has, one for the store itself */
    uint32_t depth;      /* entries that are active now; see wj_store_claim */
    bool has_native;     /* C callers have addresses of functions: entries come without the GIL, too */
    wj_thread *thread;   /* on this thread, if depth > 0 */
    uint64_t call_id;      /* of the outermost call, odd while it runs; atomic */
    uint64_t interrupt_id; /* the call that is to be ended: equal to call_id if it is the present one; atomic */
    uint32_t waiting;      /* waits of its calls, or of those that they made (atomic_wait.c); atomic */
    uint32_t waiting_generation; /* of forks: who waited in a parent does not in its child; atomic */
    uint32_t frozen;       /* > 0: memories may not move now */
    bool lent;             /* the thread waits in a host function, others may act for it; guarded by `lock` */
    int64_t timeout_ns;    /* for each outermost call; 0: none */
    wj_wasi *wasi;         /* what WASI in C may do, or NULL; atomic */
    void *epoch_callback;  /* PyObjects, owned, or NULL; guarded by the GIL */
    void *limiter;
    void *call_ended;      /* who is told when an outermost call from Python is over; as they */
    uint64_t max_wasm_stack_bytes;
    uint8_t *interpreter_stack; /* NULL before something is interpreted */
    uint64_t interpreter_stack_bytes;
    int64_t interpreter_gap_bytes; /* what has to be free in it for a call without a look at it; 0: much of it was used */
    uint64_t max_memory_bytes;
    uint64_t max_table_elements;
    uint64_t max_total_bytes; /* of all memories and tables together */
    wj_lock lock;           /* guards what follows against other threads: cffi calls run without the GIL */
    uint64_t total_bytes;   /* what its memories, shared or not, and tables take now; never more than max_total_bytes was */
    bool has_huge_grant;    /* one of its memories has got the huge pages that need no reason */
    int64_t look_interval_ns; /* between looks at memories with more than may have huge pages (huge.c) */
    int64_t next_look_ns;     /* 0: there are none; read by the thread that runs the code, without the lock */
    wj_membership *memories; /* new ones are pushed in front with release order; the fault handler reads the list */
    wj_table *tables;
    wj_allocation *allocations;
    wj_externref_root *externref_roots;
    wj_host_func *host_funcs; /* guarded by the GIL instead */
    void *roots;              /* borrowed PyObject, see wj_store_roots; guarded by the GIL */
    void *mappings;           /* list of the mapping objects behind Memory.view (mapping.c); guarded by the GIL */
    void *record_reference;   /* PyObject, owned: a weakref to the StoreRecord; guarded by the GIL */
    void *failure; /* PyObject, owned: the exception of a call that C made, or NULL; guarded by the GIL */
    void *externrefs; /* borrowed PyObject, see externrefs.c; guarded by the GIL */
    wj_exception *exceptions; /* all that there are; of the thread that is in the store */
    uint64_t exception_bytes; /* that they take */
    uint64_t holds;   /* how often somebody began to have references in hands; atomic */
    uint32_t held;    /* who has references in hands that no root has (yet): nothing is swept; guarded by the GIL */
    bool sweep_due;   /* guarded by the GIL */
    bool keeps_exceptions; /* there are globals or tables that may have references to some */
    struct wj_gc_heap *gc;   /* what there is to it; NULL: as gc_heap */
    uint64_t gc_most_bytes;  /* that its objects may take */
};

WJ_ASSERT_OFFSET(struct wj_store, stack_limit, WJ_STORE_STACK_LIMIT);
WJ_ASSERT_OFFSET(struct wj_store, caller, WJ_STORE_CALLER);
WJ_ASSERT_OFFSET(struct wj_store, fuel, WJ_STORE_FUEL);
WJ_ASSERT_OFFSET(struct wj_store, epoch, WJ_STORE_EPOCH);
WJ_ASSERT_OFFSET(struct wj_store, epoch_deadline, WJ_STORE_EPOCH_DEADLINE);
WJ_ASSERT_OFFSET(struct wj_store, tail_arguments, WJ_STORE_TAIL_ARGUMENTS);
WJ_ASSERT_OFFSET(struct wj_store, exception, WJ_STORE_EXCEPTION);
WJ_ASSERT_OFFSET(struct wj_store, gc_heap, WJ_STORE_GC_HEAP);
WJ_ASSERT_OFFSET(struct wj_store, gc_cursor, WJ_STORE_GC_CURSOR);
WJ_ASSERT_OFFSET(struct wj_store, gc_limit, WJ_STORE_GC_LIMIT);

/* Makes the store this thread's, if nobody is in it: until wj_store_unclaim nothing enters it, not even a C caller without
 * the GIL. With the GIL held. */
WJ_INTERNAL bool wj_store_claim(wj_store *store);
WJ_INTERNAL void wj_store_unclaim(wj_store *store);
/* Gives up one reference on the record. */
WJ_INTERNAL void wj_store_release_record(wj_store *store);

/* Keeps everything of the store. By who is in it, or has the GIL and knows that it is open. */
WJ_INTERNAL void wj_store_pin(wj_store *store);
/* Gives up one pin; with the last, everything of the store but its record is freed. */
WJ_INTERNAL void wj_store_unpin(wj_store *store);

/* ---- exceptions.c ---- */

/* Forgets the exceptions that nothing can refer to, while no code of the store runs. */
WJ_INTERNAL void wj_exceptions_sweep(wj_store *store);
WJ_INTERNAL void wj_exceptions_free(wj_store *store);
/* Calls `mark` with `into` and the words of each exception, among which are those of externrefs. */
WJ_INTERNAL void wj_exceptions_mark(const wj_store *store, void (*mark)(void *, const uint64_t *, uint64_t), void *into);

/* ---- externrefs.c ---- */

/* As that, for the words of references that tables, globals and segments have, and what Python has of objects. */
WJ_INTERNAL void wj_roots_mark(wj_store *store, void (*mark_them)(void *, const uint64_t *, uint64_t), void *into);

/* ---- memory.c ---- */

/* Frees everything of the store but its record. */
WJ_INTERNAL void wj_store_release(wj_store *store);
WJ_INTERNAL bool wj_store_runs_elsewhere(const wj_store *store);

/* ---- huge.c ---- */

/* At a call between wasm and the host, if it is time: looks again. */
WJ_INTERNAL void wj_look_at_memories(wj_store *store);

/* In the way of every call: one load, as long as there is nothing to look at. */
static inline __attribute__((always_inline)) void wj_look_if_due(wj_store *store)
{
    if (__builtin_expect(store->next_look_ns != 0, 0)) {
        wj_look_at_memories(store);
    }
}

/* ---- callbacks.c ---- */

/* Asks the store's limiter about a growth (bytes or elements) from below wasm code; unwinds if it raises. */
WJ_INTERNAL bool wj_limiter_allows(wj_store *store, int is_table, uint64_t current, uint64_t desired, uint64_t maximum,
                                   void *fp);

#endif
