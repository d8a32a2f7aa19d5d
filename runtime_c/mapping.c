/* Mapping objects: what views of a memory hold on to. Each keeps the contents mapped (a reference on the memory, and of one
 * that moves the wj_view), so no pointer that Python got can dangle, whatever becomes of the Store. Those behind
 * Memory.view are listed in the store, so that Store.close finds the memoryviews (wasmjit/runtime/views.py). They live as
 * long as the memoryview, released or not: some libraries (torch) go on using the address of one without saying so. */
#include "memory_object.h"

typedef struct mapping_object mapping_object;

struct mapping_object {
    PyObject_HEAD
    wj_memory *memory; /* a reference */
    wj_view *view;     /* of a memory that moves, else NULL */
    uint8_t *base;
    Py_ssize_t size_bytes;
    Py_ssize_t export_count;         /* buffers that are in use: at most one for each memoryview and what is cut from it */
    PyObject *memoryview_reference;  /* weakref to the memoryview that was handed out; NULL if there is none any more */
    mapping_object *next, *previous; /* in store->mappings */
    wj_store *store;                 /* in whose list it is: a reference on the record; or NULL */
};

static void unlist(mapping_object *self)
{
    if (self->store == NULL) {
        return;
    }
    if (self->previous != NULL) {
        self->previous->next = self->next;
    } else {
        self->store->mappings = self->next;
    }
    if (self->next != NULL) {
        self->next->previous = self->previous;
    }
    wj_store_release_record(self->store);
}

static void mapping_dealloc(PyObject *self_object)
{
    mapping_object *self = (mapping_object *)self_object;
    PyTypeObject *type = Py_TYPE(self_object);
    unlist(self);
    Py_XDECREF(self->memoryview_reference);
    wj_view_release(self->view);
    wj_memory_release(self->memory);
    type->tp_free(self_object);
    Py_DECREF(type);
}

static int mapping_get_buffer(PyObject *self_object, Py_buffer *buffer, int flags)
{
    mapping_object *self = (mapping_object *)self_object;
    if (PyBuffer_FillInfo(buffer, self_object, self->base, self->size_bytes, 0, flags) != 0) {
        return -1;
    }
    self->export_count++;
    return 0;
}

static void mapping_release_buffer(PyObject *self, Py_buffer *buffer)
{
    (void)buffer;
    ((mapping_object *)self)->export_count--;
}

static PyObject *mapping_get_address(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromVoidPtr(((mapping_object *)self)->base);
}

static PyObject *mapping_get_size_bytes(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSsize_t(((mapping_object *)self)->size_bytes);
}

static PyObject *mapping_get_memoryview(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *reference = ((mapping_object *)self)->memoryview_reference;
    if (reference == NULL) {
        Py_RETURN_NONE;
    }
    return PyObject_CallNoArgs(reference);
}

/* Releasing a memoryview fails if something was made from it, and those released before it stay released: so Store.close
 * looks at all of them first. There is no other way to look. Slices, and the memoryviews of its own in which numpy keeps
 * what it uses, share the managed buffer: they cannot be told from each other, and releasing the latter would pull the
 * memory from under the array. */
static PyObject *mapping_get_is_in_use(PyObject *self_object, void *closure)
{
    const mapping_object *self = (const mapping_object *)self_object;
    PyObject *found = mapping_get_memoryview(self_object, closure);
    if (found == NULL) {
        return NULL;
    }
    bool in_use = self->export_count != 0;
    if (in_use && found != Py_None) {
        const PyMemoryViewObject *view = (const PyMemoryViewObject *)found;
        bool is_released = view->mbuf == NULL || (view->flags & _Py_MEMORYVIEW_RELEASED) != 0;
        in_use = is_released || self->export_count != 1 || view->exports != 0 || view->mbuf->exports != 1;
    }
    Py_DECREF(found);
    return PyBool_FromLong(in_use);
}

/* Called when the memoryview goes: with the weakref goes the reference to this object that it holds. */
static PyObject *forget_memoryview(PyObject *self, PyObject *reference)
{
    (void)reference;
    Py_CLEAR(((mapping_object *)self)->memoryview_reference);
    Py_RETURN_NONE;
}

static PyGetSetDef mapping_attributes[] = {
    {"address", mapping_get_address, NULL, "Of the first byte.", NULL},
    {"size_bytes", mapping_get_size_bytes, NULL, "Of the memory when this was made.", NULL},
    {"memoryview", mapping_get_memoryview, NULL, "What was handed out, or None if it is gone.", NULL},
    {"is_in_use", mapping_get_is_in_use, NULL, "Whether something that cannot be released uses it.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef forget_method = {"forget_memoryview", forget_memoryview, METH_O, NULL};

static PyType_Slot mapping_slots[] = {{Py_tp_dealloc, (void *)mapping_dealloc},
                                      {Py_bf_getbuffer, (void *)mapping_get_buffer},
                                      {Py_bf_releasebuffer, (void *)mapping_release_buffer},
                                      {Py_tp_getset, mapping_attributes},
                                      {Py_tp_doc, (void *)"Keeps bytes of a linear memory mapped."},
                                      {0, NULL}};

static PyType_Spec mapping_spec = {
    .name = "wasmjit.runtime._native.Mapping",
    .basicsize = sizeof(mapping_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = mapping_slots,
};

static PyTypeObject *mapping_type; /* made on first use, with the GIL held */

/* The memory is not freed yet; NULL with an exception. */
static mapping_object *new_mapping(wj_memory *memory)
{
    wj_memory_hold(memory); /* first: making objects can run code that closes the store */
    wj_view *view;
    uint8_t *base;
    uint64_t size_bytes;
    bool found = wj_memory_view(memory, &view, &base, &size_bytes);
    if (!found) {
        PyErr_NoMemory();
    } else if (mapping_type == NULL) {
        mapping_type = (PyTypeObject *)PyType_FromSpec(&mapping_spec);
    }
    bool ready = found && mapping_type != NULL;
    mapping_object *self = ready ? (mapping_object *)mapping_type->tp_alloc(mapping_type, 0) : NULL;
    if (self == NULL) {
        wj_view_release(view);
        wj_memory_release(memory);
        return NULL;
    }
    self->memory = memory;
    self->view = view;
    self->base = base;
    self->size_bytes = (Py_ssize_t)size_bytes;
    return self;
}

/* A weakref to it that keeps `self`. */
static PyObject *refer_to(PyObject *view, PyObject *self)
{
    PyObject *callback = PyCFunction_New(&forget_method, self);
    PyObject *reference = callback == NULL ? NULL : PyWeakref_NewRef(view, callback);
    Py_XDECREF(callback);
    return reference;
}

PyObject *wj_new_memoryview(wj_store *store, wj_memory *memory, Py_ssize_t start, Py_ssize_t size_bytes)
{
    __atomic_add_fetch(&store->references, 1, __ATOMIC_RELAXED); /* first, as there */
    mapping_object *self = new_mapping(memory);
    if (self == NULL) {
        wj_store_release_record(store);
        return NULL;
    }
    self->base += start;
    self->size_bytes = size_bytes;
    PyObject *view = PyMemoryView_FromObject((PyObject *)self);
    if (view != NULL) {
        self->memoryview_reference = refer_to(view, (PyObject *)self);
        if (self->memoryview_reference == NULL) {
            Py_CLEAR(view);
        }
    }
    if (view != NULL) {
        self->store = store;
        self->next = store->mappings;
        if (self->next != NULL) {
            self->next->previous = self;
        }
        store->mappings = self;
    } else {
        wj_store_release_record(store);
    }
    Py_DECREF(self); /* the memoryview and the weakref have it */
    return view;
}

uintptr_t wj_mapping_new(wj_memory *memory)
{
    PyGILState_STATE state = PyGILState_Ensure();
    mapping_object *self = new_mapping(memory);
    if (self == NULL) {
        PyErr_Clear(); /* cffi cannot pass it on; 0 tells */
    }
    PyGILState_Release(state);
    return (uintptr_t)self;
}

uintptr_t wj_store_mappings(wj_store *store)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *list = PyList_New(0); /* making it may run the garbage collector, so first */
    for (mapping_object *mapping = store->mappings; mapping != NULL && list != NULL; mapping = mapping->next) {
        if (mapping->export_count != 0 && PyList_Append(list, (PyObject *)mapping) != 0) {
            Py_CLEAR(list);
        }
    }
    if (list == NULL) {
        PyErr_Clear();
    }
    PyGILState_Release(state);
    return (uintptr_t)list;
}
