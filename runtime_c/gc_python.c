/* What Python asks of a store's heap. See wj_gc.h. */
#include "boundary.h"
#include "wj_gc.h"

#include <errno.h>

_Thread_local wj_gc_holder *wj_gc_holders __attribute__((tls_model("initial-exec")));

/* ---- with nobody else in the store ---- */

/* Whether this thread may use the heap; *is_claimed: wj_store_unclaim is to be called behind it. With the GIL held. */
static bool enter_heap(wj_store *store, bool *is_claimed)
{
    *is_claimed = false;
    if (store->closed || store->gc == NULL || store->frozen != 0) { /* code that stands anywhere may be about to allocate */
        return false;
    }
    if (__atomic_load_n(&store->depth, __ATOMIC_ACQUIRE) != 0) {
        return store->thread == &wj_this_thread;
    }
    *is_claimed = wj_store_claim(store);
    return *is_claimed;
}

static void leave_heap(wj_store *store, bool is_claimed)
{
    if (is_claimed) {
        wj_store_unclaim(store);
    }
}

bool wj_gc_knows_thread(void)
{
    return wj_this_thread.stack_high != 0 || wj_thread_prepare(&wj_this_thread);
}

int wj_gc_make_heap(wj_store *store, uint64_t reserved_bytes)
{
    PyGILState_STATE state = PyGILState_Ensure();
    int number = store->closed ? 0 : wj_gc_heap_make(store, reserved_bytes);
    PyGILState_Release(state);
    return number;
}

uint32_t wj_gc_describe_type(wj_store *store, uint32_t type_id, uint32_t kind, uint32_t size_bytes, uint32_t supertype,
                             const uint32_t *traced, uint32_t traced_count)
{
    PyGILState_STATE state = PyGILState_Ensure();
    bool is_claimed = false;
    uint32_t found = 0;
    if (enter_heap(store, &is_claimed)) {
        const wj_gc_type type = {type_id, kind, supertype, size_bytes, traced_count, traced};
        found = wj_gc_describe(store, &type);
        leave_heap(store, is_claimed);
    }
    PyGILState_Release(state);
    return found;
}

uint64_t wj_gc_new(wj_store *store, uint32_t descriptor, uint64_t length, uint64_t size_bytes)
{
    PyGILState_STATE state = PyGILState_Ensure();
    bool is_claimed;
    uint64_t word = 0;
    if (enter_heap(store, &is_claimed)) {
        word = wj_gc_allocate(store, descriptor, length, size_bytes);
        leave_heap(store, is_claimed);
    }
    PyGILState_Release(state);
    return word;
}

int wj_gc_run(wj_store *store, int is_due_only)
{
    if (is_due_only != 0 && (store->gc == NULL || store->gc->given_bytes < store->gc->collect_at_bytes)) {
        return 0;
    }
    PyGILState_STATE state = PyGILState_Ensure();
    bool is_claimed;
    int number = 0;
    if (store->gc != NULL) {
        number = EBUSY;
        if (enter_heap(store, &is_claimed)) {
            number = wj_gc_knows_thread() && wj_gc_collect(store, NULL) ? 0 : EAGAIN;
            leave_heap(store, is_claimed);
        }
    }
    PyGILState_Release(state);
    return number;
}

void wj_gc_statistics(const wj_store *store, wj_gc_figures *figures)
{
    const wj_gc_heap *heap = store->gc;
    *figures = (wj_gc_figures){0};
    if (heap != NULL) {
        *figures = (wj_gc_figures){heap->live_bytes, heap->used_blocks * WJ_GC_BLOCK_BYTES, heap->collections,
                                   heap->longest_pause_ns};
    }
}
