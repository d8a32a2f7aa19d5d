/* Shared by the files that make memories Python objects: mapping.c, memory_object.c, memory_typed.c. */
#ifndef WJ_MEMORY_OBJECT_H
#define WJ_MEMORY_OBJECT_H

#include "boundary.h"

/* ---- mapping.c ---- */

/* A memoryview of bytes that lie inside a memory of the store, whose close can find and release it; NULL with an
 * exception. */
WJ_INTERNAL PyObject *wj_new_memoryview(wj_store *store, wj_memory *memory, Py_ssize_t start, Py_ssize_t size_bytes);

/* ---- memory_object.c ---- */

/* What the Python class Memory is based on. */
typedef struct {
    PyObject_HEAD
    PyObject *owner;   /* StoreRecord; NULL before wj_attach and once cleared */
    wj_store *store;   /* a reference on the record, which outlives the store itself; NULL if it was closed already */
    wj_memory *memory; /* to be used only while the store is not closed */
} memory_object;

#define WJ_MAX_ARGUMENTS 4

/* The parameters of a method, for the messages of its errors. */
typedef struct {
    const char *method;
    const char *names[WJ_MAX_ARGUMENTS];
    Py_ssize_t count, required;
} wj_parameters;

/* The arguments of a METH_FASTCALL | METH_KEYWORDS method by position, NULL where there is none (borrowed); false with an
 * exception. */
WJ_INTERNAL bool wj_take_arguments(const wj_parameters *parameters, PyObject *const *given, Py_ssize_t count,
                                   PyObject *keywords, PyObject *taken[WJ_MAX_ARGUMENTS]);
/* The memory, if `store` is the open Store that it lives in, else NULL with an exception. It is valid until the GIL is
 * released or Python code may run: arguments are converted before, or the store could be closed in between. */
WJ_INTERNAL wj_memory *wj_open_memory(PyObject *self, PyObject *store);
/* Copies; the bytes lie inside the memory. No Python code runs. */
WJ_INTERNAL void wj_copy_out(wj_memory *memory, uint64_t start, void *to, uint64_t size_bytes);
WJ_INTERNAL void wj_copy_in(wj_memory *memory, uint64_t start, const void *from, uint64_t size_bytes);
/* The bytes of any buffer or of what `bytes()` takes, to be given back with PyBuffer_Release; false with an exception. */
WJ_INTERNAL bool wj_get_bytes(PyObject *value, Py_buffer *bytes);
/* Whether the format that a buffer gives for its elements has one of these letters. */
WJ_INTERNAL bool wj_format_has(const Py_buffer *bytes, const char *letters);
/* Copies them to `start`. -1 with an IndexError, and nothing is written, unless they fit. */
WJ_INTERNAL int wj_copy_buffer_in(wj_memory *memory, uint64_t start, Py_buffer *bytes);
WJ_INTERNAL int wj_index_error(void); /* -1 */

static inline bool wj_memory_has(wj_memory *memory, uint64_t start, uint64_t size_bytes)
{
    return wj_in_bounds(start, size_bytes, wj_memory_size_bytes(memory));
}

#define WJ_METHOD(function) ((PyCFunction)(void (*)(void))(function))

/* ---- memory_typed.c ---- */

/* The typed helpers; ends with an entry without a name. */
extern WJ_INTERNAL PyMethodDef wj_typed_methods[];

#endif
