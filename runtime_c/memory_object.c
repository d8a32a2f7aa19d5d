/* The base class of Memory: copies between Python objects and linear memory, at the price of a method call and a copy. */
#include "memory_object.h"

#include <string.h>

static PyObject *name_record; /* "_record", interned */

/* ---- arguments ---- */

static bool take_keywords(const wj_parameters *parameters, PyObject *const *values, PyObject *keywords,
                          PyObject *taken[WJ_MAX_ARGUMENTS])
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keywords); i++) {
        PyObject *name = PyTuple_GET_ITEM(keywords, i);
        Py_ssize_t position = 0;
        while (position < parameters->count &&
               PyUnicode_CompareWithASCIIString(name, parameters->names[position]) != 0) {
            position++;
        }
        if (position == parameters->count) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", parameters->method, name);
            return false;
        }
        if (taken[position] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'", parameters->method, name);
            return false;
        }
        taken[position] = values[i];
    }
    return true;
}

bool wj_take_arguments(const wj_parameters *parameters, PyObject *const *given, Py_ssize_t count, PyObject *keywords,
                       PyObject *taken[WJ_MAX_ARGUMENTS])
{
    if (count > parameters->count) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)", parameters->method,
                     parameters->count, count);
        return false;
    }
    for (Py_ssize_t i = 0; i < WJ_MAX_ARGUMENTS; i++) {
        taken[i] = i < count ? given[i] : NULL;
    }
    if (keywords != NULL && !take_keywords(parameters, given + count, keywords, taken)) {
        return false;
    }
    for (Py_ssize_t i = 0; i < parameters->required; i++) {
        if (taken[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", parameters->method,
                         parameters->names[i]);
            return false;
        }
    }
    return true;
}

/* A bound of a slice, cut to what a Py_ssize_t holds; false with an exception. */
static bool take_bound(PyObject *given, Py_ssize_t if_none, Py_ssize_t *bound)
{
    if (given == NULL || given == Py_None) {
        *bound = if_none;
        return true;
    }
    if (!PyIndex_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "slice indices must be integers or None or have an __index__ method");
        return false;
    }
    *bound = PyNumber_AsSsize_t(given, NULL);
    return *bound != -1 || PyErr_Occurred() == NULL;
}

bool wj_format_has(const Py_buffer *bytes, const char *letters)
{
    bool in_name = false; /* fields of records are written as "T{i:name:}" */
    for (const char *at = bytes->format; at != NULL && *at != '\0'; at++) {
        in_name = in_name != (*at == ':');
        if (!in_name && strchr(letters, *at) != NULL) {
            return true;
        }
    }
    return false;
}

bool wj_get_bytes(PyObject *value, Py_buffer *bytes)
{
    if (!PyObject_CheckBuffer(value)) {
        PyObject *made = PyObject_Bytes(value);
        int status = made == NULL ? -1 : PyObject_GetBuffer(made, bytes, PyBUF_SIMPLE);
        Py_XDECREF(made);
        return status == 0;
    }
    if (PyObject_GetBuffer(value, bytes, PyBUF_FULL_RO) != 0) {
        return false;
    }
    if (wj_format_has(bytes, "O")) {
        PyBuffer_Release(bytes); /* addresses of Python objects are no data */
        PyErr_SetString(PyExc_TypeError, "cannot write Python objects into a memory");
        return false;
    }
    return true;
}

/* As wj_get_bytes, and one after the other. */
static bool get_contiguous_bytes(PyObject *value, Py_buffer *bytes)
{
    if (!wj_get_bytes(value, bytes) || PyBuffer_IsContiguous(bytes, 'C')) {
        return PyErr_Occurred() == NULL;
    }
    PyBuffer_Release(bytes);
    PyObject *copy = PyObject_Bytes(value);
    bool done = copy != NULL && wj_get_bytes(copy, bytes);
    Py_XDECREF(copy);
    return done;
}

/* ---- access ---- */

int wj_index_error(void)
{
    PyErr_SetString(PyExc_IndexError, "index out of range");
    return -1;
}

/* Has the Python class raise what is wrong with `store`, or with this memory if it is NULL. */
static void refuse(PyObject *self, PyObject *store)
{
    PyObject *result = store != NULL ? PyObject_CallMethod(self, "_open", "O", store)
                                     : PyObject_CallMethod(self, "_open_own", NULL);
    if (result != NULL) { /* another thread is closing it */
        Py_DECREF(result);
        wj_set_error("ClosedError", "store is closed");
    }
}

static wj_memory *own_memory(PyObject *self_object)
{
    const memory_object *self = (const memory_object *)self_object;
    if (self->store != NULL && !self->store->closed) {
        return self->memory;
    }
    refuse(self_object, NULL);
    return NULL;
}

wj_memory *wj_open_memory(PyObject *self_object, PyObject *store)
{
    PyObject *record = PyObject_GetAttr(store, name_record);
    if (record == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return NULL;
        }
        PyErr_Clear();
    }
    const memory_object *self = (const memory_object *)self_object;
    bool is_owner = record != NULL && record == self->owner;
    Py_XDECREF(record);
    if (is_owner && self->store != NULL && !self->store->closed) {
        return self->memory;
    }
    refuse(self_object, store);
    return NULL;
}

void wj_copy_out(wj_memory *memory, uint64_t start, void *to, uint64_t size_bytes)
{
    bool locked = wj_lock_if_it_moves(memory);
    memcpy(to, memory->base + start, size_bytes);
    wj_unlock_if(locked, memory);
}

void wj_copy_in(wj_memory *memory, uint64_t start, const void *from, uint64_t size_bytes)
{
    bool locked = wj_lock_if_it_moves(memory);
    memmove(memory->base + start, from, size_bytes); /* it may be a view of this memory */
    wj_unlock_if(locked, memory);
}

int wj_copy_buffer_in(wj_memory *memory, uint64_t start, Py_buffer *bytes)
{
    uint64_t size_bytes = (uint64_t)bytes->len;
    if (!wj_memory_has(memory, start, size_bytes)) {
        return wj_index_error();
    }
    if (PyBuffer_IsContiguous(bytes, 'C')) {
        wj_copy_in(memory, start, bytes->buf, size_bytes);
        return 0;
    }
    bool moves = memory->moves; /* what may raise, and so run Python code, does not run with the lock held */
    uint8_t *gathered = moves ? PyMem_Malloc(size_bytes != 0 ? size_bytes : 1) : memory->base + start;
    if (gathered == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int status = PyBuffer_ToContiguous(gathered, bytes, bytes->len, 'C');
    if (moves) {
        if (status == 0) {
            wj_copy_in(memory, start, gathered, size_bytes);
        }
        PyMem_Free(gathered);
    }
    return status;
}

static PyObject *new_copy(wj_memory *memory, Py_ssize_t start, Py_ssize_t size_bytes)
{
    PyObject *copy = PyByteArray_FromStringAndSize(NULL, size_bytes);
    if (copy != NULL && size_bytes != 0) {
        wj_copy_out(memory, (uint64_t)start, PyByteArray_AS_STRING(copy), (uint64_t)size_bytes);
    }
    return copy;
}

/* ---- methods ---- */

/* The memory and the part of it that arguments (store, start, stop) mean; NULL with an exception. */
static wj_memory *open_part(const wj_parameters *parameters, PyObject *self, PyObject *const *given, Py_ssize_t count,
                            PyObject *keywords, Py_ssize_t *start, Py_ssize_t *size_bytes)
{
    PyObject *taken[WJ_MAX_ARGUMENTS];
    Py_ssize_t stop;
    if (!wj_take_arguments(parameters, given, count, keywords, taken) || !take_bound(taken[1], 0, start) ||
        !take_bound(taken[2], PY_SSIZE_T_MAX, &stop)) {
        return NULL;
    }
    wj_memory *memory = wj_open_memory(self, taken[0]);
    if (memory != NULL) {
        *size_bytes = PySlice_AdjustIndices((Py_ssize_t)wj_memory_size_bytes(memory), start, &stop, 1);
    }
    return memory;
}

static PyObject *memory_read(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    static const wj_parameters parameters = {"read", {"store", "start", "stop"}, 3, 1};
    Py_ssize_t start;
    Py_ssize_t size_bytes;
    wj_memory *memory = open_part(&parameters, self, given, count, keywords, &start, &size_bytes);
    return memory == NULL ? NULL : new_copy(memory, start, size_bytes);
}

static PyObject *memory_view(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    static const wj_parameters parameters = {"view", {"store", "start", "stop"}, 3, 1};
    Py_ssize_t start;
    Py_ssize_t size_bytes;
    wj_memory *memory = open_part(&parameters, self, given, count, keywords, &start, &size_bytes);
    return memory == NULL ? NULL : wj_new_memoryview(((memory_object *)self)->store, memory, start, size_bytes);
}

static PyObject *memory_write(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    static const wj_parameters parameters = {"write", {"store", "value", "start"}, 3, 2};
    PyObject *taken[WJ_MAX_ARGUMENTS];
    Py_ssize_t start;
    Py_buffer bytes;
    if (!wj_take_arguments(&parameters, given, count, keywords, taken) || !take_bound(taken[2], 0, &start) ||
        !wj_get_bytes(taken[1], &bytes)) {
        return NULL;
    }
    int status = -1;
    wj_memory *memory = wj_open_memory(self, taken[0]);
    if (memory != NULL) {
        Py_ssize_t size_bytes = (Py_ssize_t)wj_memory_size_bytes(memory);
        Py_ssize_t stop = PY_SSIZE_T_MAX;
        (void)PySlice_AdjustIndices(size_bytes, &start, &stop, 1);
        status = start < size_bytes ? wj_copy_buffer_in(memory, (uint64_t)start, &bytes) : wj_index_error();
    }
    Py_ssize_t written_bytes = bytes.len;
    PyBuffer_Release(&bytes);
    return status == 0 ? PyLong_FromSsize_t(written_bytes) : NULL;
}

static wj_memory *open_for(const char *method, PyObject *self, PyObject *const *given, Py_ssize_t count,
                           PyObject *keywords)
{
    const wj_parameters parameters = {method, {"store"}, 1, 1};
    PyObject *taken[WJ_MAX_ARGUMENTS];
    return wj_take_arguments(&parameters, given, count, keywords, taken) ? wj_open_memory(self, taken[0]) : NULL;
}

static PyObject *memory_size(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    wj_memory *memory = open_for("size", self, given, count, keywords);
    return memory == NULL ? NULL : PyLong_FromUnsignedLongLong(wj_memory_size_bytes(memory) >> memory->page_size_log2);
}

static PyObject *memory_data_len(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *keywords)
{
    wj_memory *memory = open_for("data_len", self, given, count, keywords);
    return memory == NULL ? NULL : PyLong_FromUnsignedLongLong(wj_memory_size_bytes(memory));
}

/* ---- index and slice ---- */

static bool index_in(wj_memory *memory, Py_ssize_t *index)
{
    Py_ssize_t size_bytes = (Py_ssize_t)wj_memory_size_bytes(memory);
    *index += *index < 0 ? size_bytes : 0;
    if (*index < 0 || *index >= size_bytes) {
        (void)wj_index_error();
        return false;
    }
    return true;
}

static PyObject *get_slice(PyObject *self, PyObject *key)
{
    Py_ssize_t start;
    Py_ssize_t stop;
    Py_ssize_t step;
    if (PySlice_Unpack(key, &start, &stop, &step) != 0) {
        return NULL;
    }
    wj_memory *memory = own_memory(self);
    if (memory == NULL) {
        return NULL;
    }
    Py_ssize_t count = PySlice_AdjustIndices((Py_ssize_t)wj_memory_size_bytes(memory), &start, &stop, step);
    if (step == 1) {
        return new_copy(memory, start, count);
    }
    PyObject *copy = PyByteArray_FromStringAndSize(NULL, count);
    if (copy != NULL) {
        char *bytes = PyByteArray_AS_STRING(copy);
        bool locked = wj_lock_if_it_moves(memory);
        for (Py_ssize_t i = 0; i < count; i++) {
            bytes[i] = (char)memory->base[start + i * step];
        }
        wj_unlock_if(locked, memory);
    }
    return copy;
}

static int set_slice(PyObject *self, PyObject *key, PyObject *value)
{
    Py_ssize_t start;
    Py_ssize_t stop;
    Py_ssize_t step;
    Py_buffer bytes;
    if (PySlice_Unpack(key, &start, &stop, &step) != 0 ||
        !(step == 1 ? wj_get_bytes(value, &bytes) : get_contiguous_bytes(value, &bytes))) {
        return -1;
    }
    int status = -1;
    wj_memory *memory = own_memory(self);
    if (memory != NULL) {
        Py_ssize_t count = PySlice_AdjustIndices((Py_ssize_t)wj_memory_size_bytes(memory), &start, &stop, step);
        if (count != bytes.len) {
            PyErr_Format(PyExc_ValueError, "cannot write %zd bytes to a slice of %zd", bytes.len, count);
        } else if (step == 1) {
            status = wj_copy_buffer_in(memory, (uint64_t)start, &bytes);
        } else {
            bool locked = wj_lock_if_it_moves(memory);
            for (Py_ssize_t i = 0; i < count; i++) {
                memory->base[start + i * step] = ((const uint8_t *)bytes.buf)[i];
            }
            wj_unlock_if(locked, memory);
            status = 0;
        }
    }
    PyBuffer_Release(&bytes);
    return status;
}

static PyObject *memory_subscript(PyObject *self, PyObject *key)
{
    if (PySlice_Check(key)) {
        return get_slice(self, key);
    }
    Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
    wj_memory *memory = index == -1 && PyErr_Occurred() != NULL ? NULL : own_memory(self);
    if (memory == NULL || !index_in(memory, &index)) {
        return NULL;
    }
    uint8_t byte;
    wj_copy_out(memory, (uint64_t)index, &byte, 1);
    return PyLong_FromLong(byte);
}

static int memory_assign_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "bytes of a memory cannot be deleted");
        return -1;
    }
    if (PySlice_Check(key)) {
        return set_slice(self, key, value);
    }
    Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (index == -1 && PyErr_Occurred() != NULL) {
        return -1;
    }
    Py_ssize_t number = PyNumber_AsSsize_t(value, NULL);
    if (number == -1 && PyErr_Occurred() != NULL) {
        return -1;
    }
    if (number < 0 || number > UINT8_MAX) {
        PyErr_SetString(PyExc_ValueError, "a byte must be in range(0, 256)");
        return -1;
    }
    wj_memory *memory = own_memory(self);
    if (memory == NULL || !index_in(memory, &index)) {
        return -1;
    }
    uint8_t byte = (uint8_t)number;
    wj_copy_in(memory, (uint64_t)index, &byte, 1);
    return 0;
}

/* ---- the object ---- */

static void detach(memory_object *self)
{
    wj_store *store = self->store;
    PyObject *owner = self->owner;
    self->store = NULL;
    self->memory = NULL;
    self->owner = NULL;
    if (store != NULL) {
        wj_store_release_record(store);
    }
    Py_XDECREF(owner);
}

/* _attach(owner, store, memory): addresses of the wj_store and of its wj_memory, or 0 if the store is closed, since they
 * may be gone then. */
static PyObject *memory_attach(PyObject *self_object, PyObject *const *given, Py_ssize_t count)
{
    memory_object *self = (memory_object *)self_object;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "expected a record and two addresses");
        return NULL;
    }
    wj_store *store = PyLong_AsVoidPtr(given[1]);
    wj_memory *memory = store == NULL ? NULL : PyLong_AsVoidPtr(given[2]);
    if (memory == NULL && PyErr_Occurred() != NULL) {
        return NULL;
    }
    detach(self);
    if (memory != NULL) {
        __atomic_add_fetch(&store->references, 1, __ATOMIC_RELAXED);
        self->store = store;
        self->memory = memory;
    }
    self->owner = Py_NewRef(given[0]);
    Py_RETURN_NONE;
}

static PyObject *memory_get_owner(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *owner = ((memory_object *)self)->owner;
    if (owner == NULL) {
        PyErr_SetString(PyExc_AttributeError, "memory was not initialised");
        return NULL;
    }
    return Py_NewRef(owner);
}

static int memory_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((memory_object *)self)->owner);
    return 0;
}

static int memory_clear(PyObject *self)
{
    detach((memory_object *)self);
    return 0;
}

static void memory_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    detach((memory_object *)self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyGetSetDef memory_attributes[] = {
    {"_owner", memory_get_owner, NULL, "The StoreRecord.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define WITH_KEYWORDS (METH_FASTCALL | METH_KEYWORDS)

static PyMethodDef memory_methods[] = {
    {"read", WJ_METHOD(memory_read), WITH_KEYWORDS,
     "read($self, store, start=0, stop=None)\n--\n\n"
     "A copy of the bytes ``[start:stop]``, a bytearray, with the rules of slices (negative counts from the end)."},
    {"write", WJ_METHOD(memory_write), WITH_KEYWORDS,
     "write($self, store, value, start=None)\n--\n\n"
     "Writes the bytes of any buffer at `start` (negative counts from the end); returns their number.\n\n"
     "They are copied once, an array with gaps too. What is no buffer goes through ``bytes``. Raises IndexError, and writes\n"
     "nothing, unless all of them lie inside the memory."},
    {"size", WJ_METHOD(memory_size), WITH_KEYWORDS, "size($self, store)\n--\n\nCurrent size in pages."},
    {"data_len", WJ_METHOD(memory_data_len), WITH_KEYWORDS, "data_len($self, store)\n--\n\nCurrent size in bytes."},
    {"view", WJ_METHOD(memory_view), WITH_KEYWORDS,
     "view($self, store, start=0, stop=None)\n--\n\n"
     "A writable memoryview of the bytes ``[start:stop]``, without copying: for `struct` and ``numpy.frombuffer``.\n\n"
     "It stays valid when the memory grows, which does not enlarge it, and when the Store is garbage collected.\n"
     "`Store.close` releases it: later use is a ValueError. While slices of it or numpy arrays over it exist, `Store.close`\n"
     "raises BufferError instead. Where memories may move (see `Config.memory_may_move`) it shows, after the memory grew,\n"
     "what was there before: take a new one."},
    {"_attach", WJ_METHOD(memory_attach), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot memory_slots[] = {{Py_tp_traverse, (void *)memory_traverse},
                                     {Py_tp_clear, (void *)memory_clear},
                                     {Py_tp_dealloc, (void *)memory_dealloc},
                                     {Py_mp_subscript, (void *)memory_subscript},
                                     {Py_mp_ass_subscript, (void *)memory_assign_subscript},
                                     {Py_tp_getset, memory_attributes},
                                     {Py_tp_methods, memory_methods},
                                     {Py_tp_doc, (void *)"What `Memory` does in C."},
                                     {0, NULL}};

static PyType_Spec memory_spec = {
    .name = "wasmjit.runtime._native.MemoryAccess",
    .basicsize = sizeof(memory_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = memory_slots,
};

/* Adds the methods of memory_typed.c. */
static bool add_typed_methods(PyTypeObject *type)
{
    for (PyMethodDef *method = wj_typed_methods; method->ml_name != NULL; method++) {
        PyObject *descriptor = PyDescr_NewMethod(type, method);
        int status = descriptor == NULL ? -1 : PyObject_SetAttrString((PyObject *)type, method->ml_name, descriptor);
        Py_XDECREF(descriptor);
        if (status != 0) {
            return false;
        }
    }
    return true;
}

static PyTypeObject *memory_type; /* made on first use, with the GIL held */

uintptr_t wj_memory_base_type(void)
{
    PyGILState_STATE state = PyGILState_Ensure();
    if (name_record == NULL) {
        name_record = PyUnicode_InternFromString("_record");
    }
    if (memory_type == NULL && name_record != NULL) {
        memory_type = (PyTypeObject *)PyType_FromSpec(&memory_spec);
        if (memory_type != NULL && !add_typed_methods(memory_type)) {
            Py_CLEAR(memory_type);
        }
    }
    if (memory_type == NULL) {
        PyErr_Clear(); /* cffi cannot pass it on; 0 tells */
    }
    PyObject *type = Py_XNewRef((PyObject *)memory_type);
    PyGILState_Release(state);
    return (uintptr_t)type;
}
