/* Externrefs: wasm sees numbers (handles), and what is here knows the Python objects that they stand for. Handles are
 * never used again, so a stale one is told from the present ones.
 *
 * A sweep forgets the objects that no table, global or segment of the store refers to. It reads those and takes the dead
 * handles out with the GIL held throughout and no Python code in between, so no finalizer and no other thread can be in
 * the middle of it; objects are let go of afterwards. It does not happen while code of the store runs (`depth`: the
 * references may be in registers, frames, results areas, tail arguments, the interpreter's slots) and while somebody has
 * handles in hands (`held`: arguments and results of a call that are being converted). It is made up for after that. */
#include "boundary.h"
#include "wj_gc.h"

#include <stdlib.h>

#define FIRST_SWEEP_HANDLES 4096 /* a sweep is due when their number has doubled since the last one, but not below */

typedef struct {
    PyObject_HEAD
    wj_store *store;   /* one reference on the record */
    PyObject *objects; /* dict: handle -> object; in the order of handles, which only grow */
    PyObject *handles; /* dict: id of the object -> handle */
    uint64_t last_handle;
    Py_ssize_t sweep_at;
} externrefs_object;

/* ---- sweeps ---- */

typedef struct {
    uint64_t *handles; /* sorted */
    bool *live;
    PyObject **dead; /* owned */
    size_t count;
} sweep;

static void mark(sweep *of, uint64_t handle)
{
    size_t low = 0;
    size_t high = of->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (of->handles[middle] < handle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < of->count && of->handles[low] == handle) {
        of->live[low] = true;
    }
}

static void mark_words(void *of, const uint64_t *words, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (words[i] != 0) {
            mark(of, words[i]);
        }
    }
}

void wj_roots_mark(wj_store *store, void (*mark_them)(void *, const uint64_t *, uint64_t), void *into)
{
    wj_lock_take(&store->lock); /* new ones are pushed without the GIL */
    for (const wj_table *table = store->tables; table != NULL; table = table->next) {
        if (table->has_externrefs) {
            mark_them(into, table->elements, wj_table_length((wj_table *)table));
        }
    }
    for (const wj_externref_root *root = store->externref_roots; root != NULL; root = root->next) {
        const wj_segment_slot *segment = root->place;
        if (root->is_segment) {
            mark_them(into, segment->start, segment->length);
        } else {
            mark_them(into, root->place, 1);
        }
    }
    wj_lock_give(&store->lock);
}

static void mark_word(void *of, uint64_t word)
{
    mark(of, word);
}

/* False where it cannot be known what objects of garbage collection refer to. */
static bool mark_roots(sweep *of, wj_store *store)
{
    const wj_gc_visitor visitor = {mark_word, of};
    if (store->gc != NULL && !(wj_gc_knows_thread() && wj_gc_collect(store, &visitor))) {
        return false;
    }
    wj_exceptions_mark(store, mark_words, of); /* numbers that look like one keep an object, too */
    wj_roots_mark(store, mark_words, of);
    return true;
}

/* Takes what is not marked out of the dicts, into `dead`; how many. Deleting from a dict with int keys runs no code. */
static size_t take_dead(externrefs_object *self, sweep *of)
{
    size_t dead = 0;
    for (size_t i = 0; i < of->count; i++) {
        if (of->live[i]) {
            continue;
        }
        PyObject *handle = PyLong_FromUnsignedLongLong(of->handles[i]);
        PyObject *object = handle == NULL ? NULL : PyDict_GetItemWithError(self->objects, handle);
        PyObject *id = object == NULL ? NULL : PyLong_FromVoidPtr(object);
        if (id != NULL) {
            of->dead[dead++] = Py_NewRef(object);
            (void)PyDict_DelItem(self->handles, id);
            (void)PyDict_DelItem(self->objects, handle);
        }
        Py_XDECREF(id);
        Py_XDECREF(handle);
    }
    return dead;
}

static void sweep_and_unclaim(externrefs_object *self)
{
    size_t size = (size_t)PyDict_GET_SIZE(self->objects);
    sweep of = {malloc((size + 1) * sizeof(uint64_t)), calloc(size + 1, sizeof(bool)),
                (PyObject **)malloc((size + 1) * sizeof(PyObject *)), 0};
    size_t dead = 0;
    if (of.handles != NULL && of.live != NULL && of.dead != NULL) { /* else another time */
        Py_ssize_t at = 0;
        PyObject *handle;
        PyObject *object;
        while (of.count < size && PyDict_Next(self->objects, &at, &handle, &object)) {
            of.handles[of.count++] = PyLong_AsUnsignedLongLong(handle);
        }
        dead = mark_roots(&of, self->store) ? take_dead(self, &of) : 0;
    }
    wj_store_unclaim(self->store);
    Py_ssize_t twice = 2 * PyDict_GET_SIZE(self->objects);
    self->sweep_at = twice > FIRST_SWEEP_HANDLES ? twice : FIRST_SWEEP_HANDLES;
    for (size_t i = 0; i < dead; i++) {
        Py_DECREF(of.dead[i]); /* may run any code: all is as it has to be */
    }
    free(of.handles);
    free(of.live);
    free((void *)of.dead);
}

void wj_externrefs_sweep(wj_store *store)
{
    externrefs_object *self = store->externrefs;
    if (store->closed || self == NULL) {
        store->sweep_due = false;
        return;
    }
    if (store->held != 0 || !wj_store_claim(store)) {
        return;
    }
    store->sweep_due = false;
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* of a call that failed, say */
    Py_INCREF(self);
    sweep_and_unclaim(self);
    Py_DECREF(self);
    PyErr_Restore(type, value, traceback);
}

void wj_references_hold(wj_store *store)
{
    store->held++;
    __atomic_add_fetch(&store->holds, 1, __ATOMIC_RELEASE);
}

void wj_references_release(wj_store *store)
{
    store->held--;
    if (store->sweep_due) {
        wj_externrefs_sweep(store);
    }
}

int wj_store_add_externref_root(wj_store *store, uintptr_t place, int is_segment)
{
    wj_externref_root *root = wj_store_alloc(store, sizeof *root);
    if (root == NULL) {
        return 1;
    }
    root->place = (const void *)place;
    root->is_segment = is_segment != 0;
    wj_lock_take(&store->lock);
    root->next = store->externref_roots;
    store->externref_roots = root;
    wj_lock_give(&store->lock);
    return 0;
}

void wj_table_set_has_externrefs(wj_table *table)
{
    table->has_externrefs = true;
}

/* ---- handles ---- */

PyObject *wj_externref_value(const wj_store *store, uint64_t handle)
{
    externrefs_object *self = store->externrefs;
    PyObject *number = self == NULL || store->closed ? NULL : PyLong_FromUnsignedLongLong(handle);
    PyObject *found = number == NULL ? NULL : PyDict_GetItemWithError(self->objects, number);
    Py_XINCREF(found);
    Py_XDECREF(number);
    if (found == NULL && !PyErr_Occurred()) {
        if (store->closed) {
            wj_set_error("ClosedError", "store is closed");
        } else {
            wj_set_error("WasmError", "externref %llu stands for no object of this Store", (unsigned long long)handle);
        }
    }
    return found;
}

/* handle(object): its handle, which is made if need be. Somebody holds references, or has none in hands. */
static PyObject *get_handle(PyObject *self_object, PyObject *object)
{
    externrefs_object *self = (externrefs_object *)self_object;
    if (self->store->closed) {
        wj_set_error("ClosedError", "store is closed");
        return NULL;
    }
    PyObject *id = PyLong_FromVoidPtr(object);
    PyObject *handle = id == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(self->handles, id));
    if (id == NULL || handle != NULL || PyErr_Occurred()) {
        Py_XDECREF(id);
        return handle;
    }
    if (PyDict_GET_SIZE(self->objects) >= self->sweep_at) {
        self->store->sweep_due = true;
        wj_externrefs_sweep(self->store);
        handle = Py_XNewRef(PyDict_GetItemWithError(self->handles, id)); /* a finalizer may have used the object */
        if (handle != NULL || self->store->closed) {
            Py_DECREF(id);
            return handle != NULL ? handle : get_handle(self_object, object);
        }
    }
    self->last_handle += WJ_WORD_KIND_MASK + 1; /* the low bits stay those of what is of the host */
    handle = PyLong_FromUnsignedLongLong(self->last_handle);
    if (handle != NULL && (PyDict_SetItem(self->objects, handle, object) != 0)) {
        Py_CLEAR(handle);
    }
    if (handle != NULL && PyDict_SetItem(self->handles, id, handle) != 0) {
        (void)PyDict_DelItem(self->objects, handle);
        Py_CLEAR(handle);
    }
    Py_DECREF(id);
    return handle;
}

/* value(handle): the object. */
static PyObject *get_value(PyObject *self, PyObject *handle)
{
    uint64_t number = PyLong_AsUnsignedLongLong(handle);
    if (number == UINT64_MAX && PyErr_Occurred()) {
        return NULL;
    }
    return wj_externref_value(((externrefs_object *)self)->store, number);
}

static PyObject *sweep_method(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    wj_externrefs_sweep(((externrefs_object *)self)->store);
    Py_RETURN_NONE;
}

/* clear(): lets go of all objects, when the store is closed. */
static PyObject *clear_method(PyObject *self_object, PyObject *nothing)
{
    (void)nothing;
    externrefs_object *self = (externrefs_object *)self_object;
    PyObject *objects = PyDict_New();
    PyObject *handles = objects == NULL ? NULL : PyDict_New();
    if (handles == NULL) {
        Py_XDECREF(objects);
        return NULL;
    }
    PyObject *old[] = {self->objects, self->handles};
    self->objects = objects;
    self->handles = handles;
    Py_DECREF(old[0]);
    Py_DECREF(old[1]);
    Py_RETURN_NONE;
}

static Py_ssize_t get_length(PyObject *self)
{
    return PyDict_GET_SIZE(((externrefs_object *)self)->objects);
}

/* ---- the object ---- */

static int externrefs_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((externrefs_object *)self)->objects); /* the other one holds ints */
    return 0;
}

/* The dict stays, for those that still look into it. */
static int externrefs_clear(PyObject *self_object)
{
    externrefs_object *self = (externrefs_object *)self_object;
    if (self->handles != NULL && self->objects != NULL) {
        PyDict_Clear(self->handles);
        PyDict_Clear(self->objects);
    }
    return 0;
}

static void externrefs_dealloc(PyObject *self_object)
{
    externrefs_object *self = (externrefs_object *)self_object;
    PyTypeObject *type = Py_TYPE(self_object);
    PyObject_GC_UnTrack(self_object);
    self->store->externrefs = NULL;
    wj_store_release_record(self->store);
    Py_XDECREF(self->objects);
    Py_XDECREF(self->handles);
    PyObject_GC_Del(self_object);
    Py_DECREF(type);
}

static PyMethodDef externrefs_methods[] = {
    {"handle", get_handle, METH_O, NULL},
    {"value", get_value, METH_O, NULL},
    {"sweep", sweep_method, METH_NOARGS, NULL},
    {"clear", clear_method, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot externrefs_slots[] = {{Py_tp_traverse, (void *)externrefs_traverse},
                                         {Py_tp_clear, (void *)externrefs_clear},
                                         {Py_tp_dealloc, (void *)externrefs_dealloc},
                                         {Py_tp_methods, externrefs_methods},
                                         {Py_mp_length, (void *)get_length},
                                         {0, NULL}};

static PyType_Spec externrefs_spec = {
    .name = "wasmjit.runtime._native.Externrefs",
    .basicsize = sizeof(externrefs_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = externrefs_slots,
};

static PyTypeObject *externrefs_type; /* made on first use, with the GIL held */

static PyObject *new_externrefs(wj_store *store)
{
    externrefs_object *self = PyObject_GC_New(externrefs_object, externrefs_type);
    if (self == NULL) {
        return NULL;
    }
    __atomic_add_fetch(&store->references, 1, __ATOMIC_RELAXED);
    self->store = store;
    self->last_handle = WJ_WORD_HOST;
    self->sweep_at = FIRST_SWEEP_HANDLES;
    self->objects = PyDict_New();
    self->handles = PyDict_New();
    if (self->objects == NULL || self->handles == NULL || store->externrefs != NULL) {
        /* What making them ran has made one, or there is no memory. */
        PyObject *found = Py_XNewRef((PyObject *)store->externrefs);
        void *made = store->externrefs;
        Py_DECREF(self);
        store->externrefs = made;
        return found;
    }
    store->externrefs = self;
    PyObject_GC_Track((PyObject *)self);
    return (PyObject *)self;
}

uintptr_t wj_store_externrefs(wj_store *store)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *found = Py_XNewRef((PyObject *)store->externrefs);
    if (found == NULL && externrefs_type == NULL) {
        externrefs_type = (PyTypeObject *)PyType_FromSpec(&externrefs_spec);
    }
    if (found == NULL && externrefs_type != NULL) {
        found = new_externrefs(store);
    }
    if (found == NULL) {
        PyErr_Clear();
    }
    PyGILState_Release(state);
    return (uintptr_t)found;
}
