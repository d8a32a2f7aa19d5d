/* What the Python class NativeStore is based on: it owns a C store, and whoever uses an address of that store keeps this
 * object meanwhile. The store is freed when the object is deallocated, not by a finalizer: of objects that go together in
 * a cycle all finalizers run first, and one of the user's may still call into the store. */
#include "boundary.h"

typedef struct {
    PyObject_HEAD
    wj_store *store;
    /* A set: loaded code and whatever else C points to, to be let go of after the store. The garbage collector neither needs
     * to see it (nothing there refers to a store) nor may clear it before: C callers can enter as long as the store is open. */
    PyObject *keepalive;
} store_object;

static wj_store *store_of(PyObject *self)
{
    return ((store_object *)self)->store;
}

static PyObject *new_store(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    unsigned long long max_wasm_stack_bytes;
    if ((keywords != NULL && PyDict_GET_SIZE(keywords) != 0) ||
        !PyArg_ParseTuple(arguments, "K", &max_wasm_stack_bytes)) {
        return PyErr_Occurred() != NULL ? NULL : PyErr_Format(PyExc_TypeError, "expected a size in bytes");
    }
    store_object *self = (store_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->keepalive = PySet_New(NULL);
    self->store = self->keepalive == NULL ? NULL : wj_store_new(max_wasm_stack_bytes);
    if (self->store == NULL) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_MemoryError, "no memory for a Store");
        return NULL;
    }
    return (PyObject *)self;
}

static bool is_exiting(void)
{
#if PY_VERSION_HEX >= 0x030d0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
}

/* Not at interpreter exit: the process's memory goes anyway, and threads may still be in there. */
static void store_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    wj_store *store = store_of(self);
    ((store_object *)self)->store = NULL;
    if (store != NULL && !is_exiting()) {
        PyObject *error_type;
        PyObject *value;
        PyObject *traceback;
        PyErr_Fetch(&error_type, &value, &traceback); /* host functions go, and with them anything */
        __atomic_add_fetch(&store->references, 1, __ATOMIC_RELAXED);
        wj_store_free(store);
        if (store->closed) { /* else a C caller is in there still: what it runs stays for good */
            Py_XDECREF(((store_object *)self)->keepalive);
        }
        wj_store_release_record(store);
        PyErr_Restore(error_type, value, traceback);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *get_address(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromVoidPtr(store_of(self));
}

static PyObject *get_keepalive(PyObject *self, void *closure)
{
    (void)closure;
    return Py_NewRef(((store_object *)self)->keepalive);
}

static PyObject *is_running(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    return PyBool_FromLong(wj_store_is_running(store_of(self)));
}

static PyObject *is_closed(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    return PyBool_FromLong(store_of(self)->closed);
}

static PyObject *hold_references(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    wj_references_hold(store_of(self));
    return Py_NewRef(self);
}

static PyObject *release_references(PyObject *self, PyObject *const *exception, Py_ssize_t count)
{
    (void)exception;
    (void)count;
    wj_references_release(store_of(self));
    Py_RETURN_NONE;
}

/* A word of the store that generated code uses too, at this offset; NULL with an exception. */
static uint64_t *word_at(PyObject *self, PyObject *offset)
{
    size_t number = PyLong_AsSize_t(offset);
    if (number == (size_t)-1 && PyErr_Occurred()) {
        return NULL;
    }
    if (number % sizeof(uint64_t) != 0 || number > sizeof(wj_store) - sizeof(uint64_t)) {
        PyErr_SetString(PyExc_IndexError, "a store has no word there");
        return NULL;
    }
    return (uint64_t *)(void *)((uint8_t *)store_of(self) + number);
}

static PyObject *read_word(PyObject *self, PyObject *offset)
{
    const uint64_t *word = word_at(self, offset);
    return word == NULL ? NULL : PyLong_FromUnsignedLongLong(__atomic_load_n(word, __ATOMIC_RELAXED));
}

static PyObject *write_word(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected an offset and a value");
        return NULL;
    }
    uint64_t *word = word_at(self, arguments[0]);
    uint64_t value = word == NULL ? 0 : PyLong_AsUnsignedLongLong(arguments[1]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
    Py_RETURN_NONE;
}

static PyGetSetDef store_attributes[] = {
    {"address", get_address, NULL, "Of the C store.", NULL},
    {"keepalive", get_keepalive, NULL, "A set of what lives at least as long as the C store.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef store_methods[] = {
    {"is_running", is_running, METH_NOARGS, NULL},
    {"is_closed", is_closed, METH_NOARGS, NULL},
    {"read_word", read_word, METH_O, NULL},
    {"write_word", (PyCFunction)(void (*)(void))write_word, METH_FASTCALL, NULL},
    {"__enter__", hold_references, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))release_references, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot store_slots[] = {{Py_tp_new, (void *)new_store},
                                    {Py_tp_dealloc, (void *)store_dealloc},
                                    {Py_tp_getset, store_attributes},
                                    {Py_tp_methods, store_methods},
                                    {0, NULL}};

static PyType_Spec store_spec = {
    .name = "wasmjit.runtime._native.StoreBase",
    .basicsize = sizeof(store_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = store_slots,
};

static PyTypeObject *store_base; /* made on first use, with the GIL held */

uintptr_t wj_store_base(void)
{
    PyGILState_STATE state = PyGILState_Ensure();
    if (store_base == NULL) {
        store_base = (PyTypeObject *)PyType_FromSpec(&store_spec);
    }
    if (store_base == NULL) {
        PyErr_Clear(); /* cffi cannot pass it on; 0 tells */
    }
    PyObject *found = Py_XNewRef((PyObject *)store_base);
    PyGILState_Release(state);
    return (uintptr_t)found;
}
