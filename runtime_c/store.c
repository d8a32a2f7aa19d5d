/* The life of a store: its record, the Python references it holds, and what shows those to the garbage collector. */
#include "boundary.h"

#include <stdlib.h>
#include <string.h>

void wj_store_release_record(wj_store *store)
{
    if (__atomic_sub_fetch(&store->references, 1, __ATOMIC_ACQ_REL) == 0) {
        wj_lock_destroy(&store->lock);
        free(store);
    }
}

void wj_store_pin(wj_store *store)
{
    __atomic_add_fetch(&store->pins, 1, __ATOMIC_RELAXED);
}

void wj_store_unpin(wj_store *store)
{
    if (__atomic_sub_fetch(&store->pins, 1, __ATOMIC_ACQ_REL) == 0) {
        wj_store_release(store);
    }
}

bool wj_store_claim(wj_store *store)
{
    uint32_t nobody = 0;
    return __atomic_compare_exchange_n(&store->depth, &nobody, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

void wj_store_unclaim(wj_store *store)
{
    __atomic_store_n(&store->depth, 0, __ATOMIC_RELEASE);
}

static void drop_callables(wj_store *store)
{
    /* What goes with a callable may be the last that keeps the store: the list stays until we are through it. */
    wj_store_pin(store);
    for (wj_host_func *host = store->host_funcs; host != NULL; host = host->next) {
        PyObject *callable = host->callable;
        host->callable = NULL;
        Py_XDECREF(callable);
    }
    PyObject *epoch_callback = store->epoch_callback;
    PyObject *limiter = store->limiter;
    PyObject *call_ended = store->call_ended;
    PyObject *failure = store->failure;
    store->epoch_callback = NULL;
    store->limiter = NULL;
    store->call_ended = NULL;
    store->failure = NULL;
    Py_XDECREF(epoch_callback);
    Py_XDECREF(limiter);
    Py_XDECREF(call_ended);
    Py_XDECREF(failure);
    wj_store_unpin(store);
}

void wj_store_set_record(wj_store *store, uintptr_t reference)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *old = store->record_reference;
    store->record_reference = Py_XNewRef((PyObject *)reference);
    Py_XDECREF(old);
    PyGILState_Release(state);
}

void wj_store_set_failure(wj_store *store, uintptr_t exception)
{
    PyGILState_STATE state = PyGILState_Ensure();
    if (store->failure == NULL && !store->closed) {
        store->failure = Py_NewRef((PyObject *)exception);
    }
    PyGILState_Release(state);
}

uintptr_t wj_store_take_failure(wj_store *store)
{
    PyGILState_STATE state = PyGILState_Ensure();
    uintptr_t failure = (uintptr_t)store->failure;
    store->failure = NULL;
    PyGILState_Release(state);
    return failure;
}

/* Shows the garbage collector the callables that only C holds: host functions', epoch callback, limiter. */
typedef struct {
    PyObject_HEAD
    wj_store *store; /* one reference on the record */
} roots_object;

static int roots_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    const wj_store *store = ((roots_object *)self)->store;
    PyObject *epoch_callback = store->epoch_callback;
    PyObject *limiter = store->limiter;
    PyObject *call_ended = store->call_ended;
    PyObject *failure = store->failure;
    Py_VISIT(epoch_callback);
    Py_VISIT(limiter);
    Py_VISIT(call_ended);
    Py_VISIT(failure);
    for (wj_host_func *host = store->host_funcs; host != NULL; host = host->next) {
        PyObject *callable = host->callable;
        Py_VISIT(callable);
    }
    return 0;
}

static int roots_clear(PyObject *self)
{
    drop_callables(((roots_object *)self)->store);
    return 0;
}

static void roots_dealloc(PyObject *self_object)
{
    roots_object *self = (roots_object *)self_object;
    PyTypeObject *type = Py_TYPE(self_object);
    PyObject_GC_UnTrack(self_object);
    if (self->store->roots == self) {
        self->store->roots = NULL;
    }
    wj_store_release_record(self->store);
    PyObject_GC_Del(self_object);
    Py_DECREF(type);
}

static PyType_Slot roots_slots[] = {{Py_tp_traverse, (void *)roots_traverse},
                                    {Py_tp_clear, (void *)roots_clear},
                                    {Py_tp_dealloc, (void *)roots_dealloc},
                                    {0, NULL}};

static PyType_Spec roots_spec = {
    .name = "wasmjit.runtime._native.Roots",
    .basicsize = sizeof(roots_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = roots_slots,
};

static PyTypeObject *roots_type; /* made on first use, with the GIL held */

uintptr_t wj_store_roots(wj_store *store)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *roots = Py_XNewRef((PyObject *)store->roots);
    if (roots == NULL && roots_type == NULL) {
        roots_type = (PyTypeObject *)PyType_FromSpec(&roots_spec);
    }
    if (roots == NULL && roots_type != NULL) {
        roots_object *self = PyObject_GC_New(roots_object, roots_type);
        /* Making it may have run a finalizer that made one. With two, callables would seem to have fewer other owners. */
        roots = Py_XNewRef((PyObject *)store->roots);
        if (self != NULL) {
            __atomic_add_fetch(&store->references, 1, __ATOMIC_RELAXED);
            self->store = store;
        }
        if (roots != NULL) {
            Py_XDECREF(self);
        } else if (self != NULL) {
            store->roots = self;
            PyObject_GC_Track((PyObject *)self);
            roots = (PyObject *)self;
        }
    }
    if (roots == NULL) {
        PyErr_Clear();
    }
    PyGILState_Release(state);
    return (uintptr_t)roots;
}

wj_store *wj_store_new(uint64_t max_wasm_stack_bytes)
{
    wj_store *store = malloc(sizeof *store + WJ_TAIL_ARGUMENTS_BYTES);
    if (store == NULL) {
        return NULL;
    }
    memset(store, 0, sizeof *store);
    store->tail_arguments = (uint8_t *)(store + 1);
    if (wj_lock_init(&store->lock) != 0) {
        free(store);
        return NULL;
    }
    wj_this_thread.look_tick = 0; /* its first call looks whether our fault handlers are still the first ones */
    store->references = 1;
    store->pins = 1;
    store->max_wasm_stack_bytes = max_wasm_stack_bytes;
    store->fuel = INT64_MAX; /* of code that counts none: the builtins look, whatever calls them */
    store->max_memory_bytes = WJ_UNLIMITED;
    store->max_table_elements = WJ_UNLIMITED;
    store->max_total_bytes = WJ_UNLIMITED;
    store->gc_most_bytes = WJ_UNLIMITED;
    return store;
}

int wj_store_is_running(wj_store *store)
{
    return __atomic_load_n(&store->depth, __ATOMIC_RELAXED) != 0;
}

void wj_store_lend(wj_store *store, int lent)
{
    wj_lock_take(&store->lock);
    store->lent = lent != 0;
    wj_lock_give(&store->lock);
}

void wj_epoch_increment(uint64_t *epoch)
{
    __atomic_add_fetch(epoch, 1, __ATOMIC_RELAXED);
}

int wj_store_close(wj_store *store)
{
    PyGILState_STATE state = PyGILState_Ensure(); /* no call can be on its way in, and no copy under way */
    bool claimed = wj_store_claim(store);
    if (claimed) {
        store->closed = true;
        wj_store_unclaim(store);
    }
    PyGILState_Release(state);
    return claimed ? 0 : 1;
}

void wj_store_free(wj_store *store)
{
    bool alive = Py_IsInitialized();
    PyGILState_STATE state = alive ? PyGILState_Ensure() : PyGILState_UNLOCKED;
    bool running = !wj_store_claim(store);
    if (!running) {
        store->closed = true; /* no call can be on its way in */
        wj_store_unclaim(store);
        if (alive) {
            PyObject *reference = store->record_reference;
            store->record_reference = NULL;
            Py_XDECREF(reference);
            drop_callables(store);
        }
        for (const wj_host_func *host = store->host_funcs; host != NULL; host = host->next) {
            wj_signature_release(host->signature); /* nobody can enter, and the func-refs go now */
        }
        store->host_funcs = NULL;
    }
    if (alive) {
        PyGILState_Release(state);
    }
    if (!running) { /* a running store is kept rather than pulled away from under its code */
        bool has_gil = alive && PyGILState_Check() != 0; /* giving gigabytes back takes milliseconds */
        PyThreadState *thread_state = has_gil ? PyEval_SaveThread() : NULL;
        wj_store_unpin(store);
        if (has_gil) {
            PyEval_RestoreThread(thread_state);
        }
        wj_store_release_record(store);
    }
}
