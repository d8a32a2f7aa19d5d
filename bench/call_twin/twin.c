/* The functions that bench/call.py calls in wasm, as a C extension: the limit for what a call can cost. Once as cffi wraps
 * them, once as METH_FASTCALL builtins written against the CPython API, with range checks as wasmjit makes them. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "twin.h"

/* What cffi makes of the Python functions given to def_extern. */
extern void twin_callback_nothing(void);
extern int32_t twin_callback_add(int32_t a, int32_t b);

__attribute__((noinline)) void twin_nothing(void)
{
    __asm__ volatile("");
}

__attribute__((noinline)) int32_t twin_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

uintptr_t twin_add_address(void)
{
    return (uintptr_t)twin_add;
}

/* Volatile, so that each call loads it: a wasm import is called through memory too. */
static int32_t (*volatile add_pointer)(int32_t, int32_t) = twin_add;

void twin_loop_callback_nothing(int32_t count)
{
    for (int32_t i = count; i > 0; i--) {
        twin_callback_nothing();
    }
}

int32_t twin_loop_callback_add(int32_t count)
{
    int32_t last = 0;
    for (int32_t i = count; i > 0; i--) {
        last = twin_callback_add(i, 1);
    }
    return last;
}

int32_t twin_loop_native(int32_t count)
{
    int32_t last = 0;
    for (int32_t i = count; i > 0; i--) {
        last = add_pointer(i, 1);
    }
    return last;
}

int32_t twin_loop_address(uintptr_t function, int32_t count)
{
    int32_t (*pointer)(int32_t, int32_t) = (int32_t (*)(int32_t, int32_t))function;
    int32_t last = 0;
    for (int32_t i = count; i > 0; i--) {
        last = pointer(i, 1);
    }
    return last;
}

uint32_t twin_spin(uint32_t count)
{
    uint32_t state = 1;
    for (uint32_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        state ^= state >> 13;
    }
    return state;
}

void twin_map_add(const int32_t *a, const int32_t *b, int32_t *sums, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        sums[i] = add_pointer(a[i], b[i]);
    }
}

/* ---- against the CPython API ---- */

static bool take_int32(PyObject *value, int32_t *taken, int position)
{
    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "parameter %d: expected an integer, not %R", position, value);
        return false;
    }
    int overflow = 0;
    long long wide = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0 || wide < INT32_MIN || wide > (long long)UINT32_MAX) {
        PyErr_Format(PyExc_OverflowError, "parameter %d: %R does not fit i32", position, value);
        return false;
    }
    *taken = (int32_t)(uint32_t)wide;
    return true;
}

static bool take_pair(PyObject *const *arguments, Py_ssize_t count, int32_t *a, int32_t *b)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected 2 arguments");
        return false;
    }
    return take_int32(arguments[0], a, 1) && take_int32(arguments[1], b, 2);
}

static PyObject *builtin_nothing(PyObject *Py_UNUSED(self), PyObject *const *Py_UNUSED(arguments), Py_ssize_t count)
{
    if (count != 0) {
        PyErr_SetString(PyExc_TypeError, "expected 0 arguments");
        return NULL;
    }
    twin_nothing();
    Py_RETURN_NONE;
}

static PyObject *builtin_add(PyObject *Py_UNUSED(self), PyObject *const *arguments, Py_ssize_t count)
{
    int32_t a;
    int32_t b;
    return take_pair(arguments, count, &a, &b) ? PyLong_FromLong(add_pointer(a, b)) : NULL;
}

static PyObject *builtin_add_released(PyObject *Py_UNUSED(self), PyObject *const *arguments, Py_ssize_t count)
{
    int32_t a;
    int32_t b;
    if (!take_pair(arguments, count, &a, &b)) {
        return NULL;
    }
    int32_t sum;
    Py_BEGIN_ALLOW_THREADS;
    sum = add_pointer(a, b);
    Py_END_ALLOW_THREADS;
    return PyLong_FromLong(sum);
}

#define BUILTIN(name) {#name, (PyCFunction)(void (*)(void))builtin_##name, METH_FASTCALL, NULL}
static PyMethodDef BUILTINS[] = {BUILTIN(nothing), BUILTIN(add), BUILTIN(add_released)};

uintptr_t twin_builtin(uint32_t which)
{
    if (which >= sizeof BUILTINS / sizeof BUILTINS[0]) {
        return 0;
    }
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *made = PyCFunction_New(&BUILTINS[which], NULL);
    PyGILState_Release(state);
    return (uintptr_t)made;
}

/* What a GIL that is released while other code runs costs at each call. */
static void let_go(int release)
{
    if (release) {
        Py_BEGIN_ALLOW_THREADS;
        twin_nothing();
        Py_END_ALLOW_THREADS;
    }
}

/* 0, or -1 after printing what the callable raised. */
int32_t twin_loop_python_nothing(uintptr_t callable, int32_t count, int release)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *free_place[1] = {NULL};
    bool ok = true;
    for (int32_t i = count; ok && i > 0; i--) {
        PyObject *returned =
            PyObject_Vectorcall((PyObject *)callable, free_place + 1, PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        ok = returned == Py_None;
        Py_XDECREF(returned);
        let_go(release);
    }
    if (!ok) {
        PyErr_Print();
    }
    PyGILState_Release(state);
    return ok ? 0 : -1;
}

/* The last sum, or -1 after printing what the callable raised. */
int32_t twin_loop_python_add(uintptr_t callable, int32_t count, int release)
{
    PyGILState_STATE state = PyGILState_Ensure();
    int32_t last = 0;
    bool ok = true;
    for (int32_t i = count; ok && i > 0; i--) {
        PyObject *arguments[3] = {NULL, PyLong_FromLong(i), PyLong_FromLong(1)};
        PyObject *returned = NULL;
        if (arguments[1] != NULL && arguments[2] != NULL) {
            returned = PyObject_Vectorcall((PyObject *)callable, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        }
        ok = returned != NULL && take_int32(returned, &last, 1);
        Py_XDECREF(returned);
        Py_XDECREF(arguments[1]);
        Py_XDECREF(arguments[2]);
        let_go(release);
    }
    if (!ok) {
        PyErr_Print();
        last = -1;
    }
    PyGILState_Release(state);
    return last;
}
