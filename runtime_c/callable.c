/* The objects that Python calls: bases of TypedFunc (wasm arguments only) and Func (a store first). Vectorcall, so that
 * a call makes no tuple and is not counted against Python's recursion limit: our own stack limit guards the C stack. */
#include "boundary.h"
#include "wj_gc.h"

#include <stdlib.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *owner; /* the StoreRecord, which must outlive the code; NULL once cleared */
    PyObject *code;   /* what keeps the trampoline mapped, to be let go of at the end only; or NULL */
    wj_target target; /* its `record` is the owner */
} callable_object;

static PyTypeObject *typed_base; /* made on first use, with the GIL held */
static PyTypeObject *func_base;
static PyObject *record_name; /* "_record" */

/* ---- calls ---- */

static PyObject *refuse_count(Py_ssize_t given, uint32_t expected)
{
    wj_set_error("ParameterCountError", "too %s parameters provided: given %zd, expected %u",
                 given > expected ? "many" : "few", given, expected);
    return NULL;
}

static inline PyObject *call_target(callable_object *self, PyObject *const *arguments, Py_ssize_t count,
                                    PyObject *keywords)
{
    wj_target *target = &self->target;
    if (UNLIKELY(keywords != NULL && PyTuple_GET_SIZE(keywords) != 0)) {
        PyErr_SetString(PyExc_TypeError, "WebAssembly functions take no keyword arguments");
        return NULL;
    }
    const wj_signature *of = target->signature;
    uint32_t expected = (target->flags & WJ_FLAG_UNCHECKED) != 0 ? of->param_slots : of->param_count;
    if (UNLIKELY(count != (Py_ssize_t)expected)) {
        return refuse_count(count, expected);
    }
    wj_store *store = target->store; /* who calls keeps this object, and with it the store, meanwhile */
    bool has_externrefs = of->has_externrefs;
    wj_gc_holder holder = {wj_gc_holders, store};
    if (UNLIKELY(has_externrefs)) { /* converting one argument, or result, may run code that has references swept */
        wj_gc_holders = &holder;
        wj_references_hold(store);
    }
    PyObject *result = target->enter(target, arguments);
    if (UNLIKELY(has_externrefs)) {
        wj_gc_holders = holder.outer;
        wj_references_release(store);
    } else if (UNLIKELY(store->sweep_due)) { /* by what host functions returned */
        wj_externrefs_sweep(store);
    }
    return result;
}

static PyObject *typed_vectorcall(PyObject *self_object, PyObject *const *arguments, size_t flagged_count,
                                  PyObject *keywords)
{
    callable_object *self = (callable_object *)self_object;
    if (UNLIKELY(self->target.store == NULL)) {
        PyErr_SetString(PyExc_TypeError, "this object was not made by Func.typed");
        return NULL;
    }
    return call_target(self, arguments, PyVectorcall_NARGS(flagged_count), keywords);
}

/* Func(store, *arguments): the store must be the function's own, and open. */
static PyObject *func_vectorcall(PyObject *self_object, PyObject *const *arguments, size_t flagged_count,
                                 PyObject *keywords)
{
    callable_object *self = (callable_object *)self_object;
    Py_ssize_t count = PyVectorcall_NARGS(flagged_count);
    if (UNLIKELY(self->target.store == NULL || count == 0)) {
        PyErr_SetString(PyExc_TypeError, "a Func is called with a Store as first argument");
        return NULL;
    }
    PyObject *record = PyObject_GetAttr(arguments[0], record_name);
    if (UNLIKELY(record != self->owner || self->target.store->closed)) {
        if (record == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError)) { /* a Caller whose call is over */
                return NULL;
            }
            PyErr_Clear();
        }
        Py_XDECREF(record);
        PyObject *refused = PyObject_CallMethod(self_object, "_refuse_store", "O", arguments[0]);
        if (refused != NULL) { /* its own, and open as the record says: another thread is closing it */
            Py_DECREF(refused);
            wj_set_error("ClosedError", "store is closed");
        }
        return NULL;
    }
    Py_DECREF(record); /* self->owner holds it */
    return call_target(self, arguments + 1, count - 1, keywords);
}

/* ---- objects ---- */

static int callable_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((callable_object *)self)->owner);
    return 0;
}

static int callable_clear(PyObject *self)
{
    ((callable_object *)self)->target.record = NULL;
    Py_CLEAR(((callable_object *)self)->owner);
    return 0;
}

static void callable_dealloc(PyObject *self_object)
{
    callable_object *self = (callable_object *)self_object;
    PyTypeObject *type = Py_TYPE(self_object);
    PyObject_GC_UnTrack(self_object);
    (void)callable_clear(self_object);
    wj_target_clear(&self->target);
    Py_XDECREF(self->code);
    type->tp_free(self_object);
    Py_DECREF(type);
}

/* _bind(owner, code, store, func-ref, signature, trampoline, flags, caller = 0): addresses as ints. `code` keeps the
 * trampoline. Once per object. */
static PyObject *bind(PyObject *self_object, PyObject *const *arguments, Py_ssize_t count)
{
    callable_object *self = (callable_object *)self_object;
    if (count < 7 || count > 8 || self->target.store != NULL) {
        PyErr_SetString(PyExc_TypeError, "a function is bound once, by its class");
        return NULL;
    }
    uint64_t numbers[6] = {0};
    for (Py_ssize_t i = 0; i < count - 2; i++) {
        numbers[i] = PyLong_AsUnsignedLongLong(arguments[i + 2]);
        if (numbers[i] == UINT64_MAX && PyErr_Occurred()) {
            return NULL;
        }
    }
    self->owner = Py_NewRef(arguments[0]);
    self->code = Py_NewRef(arguments[1]);
    wj_target_set(&self->target, (wj_store *)(uintptr_t)numbers[0], arguments[0],
                  (wj_func_ref *)(uintptr_t)numbers[1], (const wj_signature *)(uintptr_t)numbers[2], (wj_enter_function *)(uintptr_t)numbers[3],
                  (uint32_t)numbers[4]);
    self->target.caller = (void *)(uintptr_t)numbers[5];
    Py_RETURN_NONE;
}

/* _set_trampoline(code, address): of a function that was bound without one. No other takes its place later: it may be
 * running, on any thread. */
static PyObject *set_trampoline(PyObject *self_object, PyObject *const *arguments, Py_ssize_t count)
{
    callable_object *self = (callable_object *)self_object;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected what keeps the code, and its address");
        return NULL;
    }
    uint64_t address = PyLong_AsUnsignedLongLong(arguments[1]);
    if (address == UINT64_MAX && PyErr_Occurred()) {
        return NULL;
    }
    if (self->target.store != NULL && self->target.enter == wj_enter_any && (self->target.flags & WJ_FLAG_UNCHECKED) == 0) {
        PyObject *old = self->code; /* nothing that keeps code */
        self->code = Py_NewRef(arguments[0]);
        self->target.enter = (wj_enter_function *)(uintptr_t)address;
        Py_XDECREF(old);
    }
    Py_RETURN_NONE;
}

/* _run_map(code, job): runs the loop of a map over arrays, see abi.MAP_JOB. */
static PyObject *run_map(PyObject *self_object, PyObject *const *arguments, Py_ssize_t count)
{
    callable_object *self = (callable_object *)self_object;
    if (count != 2 || self->target.store == NULL) {
        PyErr_SetString(PyExc_TypeError, "expected two addresses");
        return NULL;
    }
    uintptr_t code = (uintptr_t)PyLong_AsVoidPtr(arguments[0]);
    uint64_t *job = PyLong_AsVoidPtr(arguments[1]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    wj_target *target = &self->target;
    if (target->store->closed) {
        wj_set_error("ClosedError", "store is closed");
        return NULL;
    }
    job[WJ_MAP_JOB_CODE / sizeof *job] = (uint64_t)(uintptr_t)target->func_ref->code;
    job[WJ_MAP_JOB_VMCTX / sizeof *job] = (uint64_t)(uintptr_t)target->func_ref->vmctx;
    wj_frame frame;
    frame.ints[0] = (uint64_t)(uintptr_t)job;
    Py_INCREF(self_object);
    uint32_t failed = wj_run_frame(target, (const void *)code, 0, &frame);
    Py_DECREF(self_object);
    return failed != 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef callable_methods[] = {
    {"_bind", (PyCFunction)(void (*)(void))bind, METH_FASTCALL, NULL},
    {"_set_trampoline", (PyCFunction)(void (*)(void))set_trampoline, METH_FASTCALL, NULL},
    {"_run_map", (PyCFunction)(void (*)(void))run_map, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef callable_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(callable_object, vectorcall), READONLY, NULL},
    {"_owner", T_OBJECT_EX, offsetof(callable_object, owner), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *new_object(PyTypeObject *type, vectorcallfunc vectorcall)
{
    PyObject *made = type->tp_alloc(type, 0);
    if (made != NULL) {
        ((callable_object *)made)->vectorcall = vectorcall;
    }
    return made;
}

static PyObject *new_typed(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    return new_object(type, typed_vectorcall);
}

static PyObject *new_func(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    return new_object(type, func_vectorcall);
}

static PyTypeObject *make_base(const char *name, newfunc new_function)
{
    PyType_Slot slots[] = {{Py_tp_traverse, (void *)callable_traverse},
                           {Py_tp_clear, (void *)callable_clear},
                           {Py_tp_dealloc, (void *)callable_dealloc},
                           {Py_tp_new, (void *)new_function},
                           {Py_tp_call, (void *)PyVectorcall_Call},
                           {Py_tp_methods, callable_methods},
                           {Py_tp_members, callable_members},
                           {0, NULL}};
    PyType_Spec spec = {
        .name = name,
        .basicsize = sizeof(callable_object),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_VECTORCALL,
        .slots = slots,
    };
    return (PyTypeObject *)PyType_FromSpec(&spec);
}

uintptr_t wj_callable_base(int is_func)
{
    PyGILState_STATE state = PyGILState_Ensure();
    if (record_name == NULL) {
        record_name = PyUnicode_InternFromString("_record");
    }
    PyTypeObject **base = is_func != 0 ? &func_base : &typed_base;
    if (*base == NULL && record_name != NULL) {
        *base = is_func != 0 ? make_base("wasmjit.runtime._native.FuncBase", new_func)
                             : make_base("wasmjit.runtime._native.TypedBase", new_typed);
    }
    if (*base == NULL) {
        PyErr_Clear();
    }
    uintptr_t found = (uintptr_t)Py_XNewRef(*base);
    PyGILState_Release(state);
    return found;
}

/* Subclasses made in Python inherit tp_call but, before 3.12, not the flag that lets the interpreter skip it. */
void wj_callable_finish_class(uintptr_t class)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyTypeObject *type = (PyTypeObject *)class;
    if (type->tp_call == PyVectorcall_Call && type->tp_vectorcall_offset != 0) {
        type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
    }
    PyGILState_Release(state);
}

uint64_t wj_func_address(PyObject *value, const wj_store *store)
{
    if (func_base == NULL || !PyObject_TypeCheck(value, func_base)) {
        return 0;
    }
    const wj_target *target = &((callable_object *)value)->target;
    return target->store == store && !store->closed ? (uint64_t)(uintptr_t)target->func_ref : 0;
}

void wj_decref(uintptr_t object)
{
    PyGILState_STATE state = PyGILState_Ensure();
    Py_XDECREF((PyObject *)object);
    PyGILState_Release(state);
}

/* ---- for C callers ---- */

wj_target *wj_native_target_new(wj_store *store, wj_func_ref *func_ref, const wj_signature *signature)
{
    wj_target *target = calloc(1, sizeof *target);
    if (target != NULL) {
        __atomic_store_n(&store->has_native, true, __ATOMIC_SEQ_CST);
        wj_target_set(target, store, NULL, func_ref, signature, NULL, 0);
    }
    return target;
}
