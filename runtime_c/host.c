/* Out of wasm: calls of functions that Python implements. Trampolines (compile/trampolines.py) and wj_host_dispatch, which
 * serves any signature behind the assembly stub, share the steps: take the GIL, call, store results, give the GIL back. */
#include "boundary.h"

#include <stdlib.h>
#include <string.h>

#define LOCAL_ARGUMENTS 16u

static PyObject *caller_factory; /* (record, context address) -> Caller; owned */

void wj_set_caller_factory(uintptr_t callable)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *old = caller_factory;
    caller_factory = Py_XNewRef((PyObject *)callable);
    Py_XDECREF(old);
    PyGILState_Release(state);
}

/* ---- steps ---- */

/* A nested call of the host function has an entry of its own, so one place in the entry is enough for what to give back. */
void wj_boundary_host_begin(void *host, void *frame_address)
{
    (void)host;
    wj_entry *entry = wj_this_thread.entry;
    entry->host_fp = (uintptr_t)frame_address; /* from here on faults and interrupts are not wasm's */
    entry->gil_to_give = wj_take_gil(entry);
}

void wj_boundary_host_end(void *host, void *frame_address)
{
    (void)host;
    wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    wj_give_gil(entry, entry->gil_to_give);
    wj_look_if_due(entry->store);
    entry->host_fp = 0;
    wj_resume(thread, frame_address);
}

void wj_leave_with_exception(void)
{
    wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    wj_throw_from_host(thread, entry);
    wj_record_frames(thread, entry, 0, entry->host_fp);
    wj_unwind(entry, WJ_STATUS_EXCEPTION);
}

static void release_arguments(PyObject **arguments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Py_XDECREF(arguments[i]);
    }
}

static wj_where value_of(const wj_host_func *host, uint32_t position)
{
    return (wj_where){host->store, NULL, WJ_RESULT, position};
}

/* A Caller for the function, and after the call its end. */
static PyObject *make_caller(const wj_host_func *host)
{
    PyObject *record = wj_record_of(value_of(host, 0));
    PyObject *address = record == NULL ? NULL : PyLong_FromVoidPtr(host->store->caller);
    PyObject *made = NULL;
    if (address != NULL && caller_factory != NULL) {
        made = PyObject_CallFunctionObjArgs(caller_factory, record, address, NULL);
    }
    Py_XDECREF(address);
    Py_XDECREF(record);
    if (made == NULL && !PyErr_Occurred()) {
        wj_set_error("ClosedError", "store is closed");
    }
    return made;
}

static void end_caller(PyObject *caller)
{
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *done = PyObject_CallMethod(caller, "_invalidate", NULL);
    if (done == NULL) {
        PyErr_WriteUnraisable(caller);
    }
    Py_XDECREF(done);
    Py_DECREF(caller);
    PyErr_Restore(type, value, traceback);
}

/* Calls with arguments[0...count-1], behind WJ_SPARE_ARGUMENTS free places; consumes them, of which each may be NULL with an
 * exception set. NULL with an exception. */
static PyObject *call_python(const wj_host_func *host, PyObject **arguments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (UNLIKELY(arguments[i] == NULL)) {
            release_arguments(arguments, count);
            return NULL;
        }
    }
    if (UNLIKELY(host->callable == NULL)) {
        release_arguments(arguments, count);
        wj_set_error("ClosedError", "store is closed");
        return NULL;
    }
    PyObject *caller = NULL;
    PyObject **first = arguments;
    size_t total = count;
    if ((host->flags & (WJ_FLAG_CALLER | WJ_FLAG_CALLER_OBJECT)) != 0) {
        caller = (host->flags & WJ_FLAG_CALLER) != 0 ? PyLong_FromVoidPtr(host->store->caller) : make_caller(host);
        if (caller == NULL) {
            release_arguments(arguments, count);
            return NULL;
        }
        *--first = caller;
        total++;
    }
    PyObject *callable = Py_NewRef((PyObject *)host->callable); /* the call may drop the store's reference */
    PyObject *returned = PyObject_Vectorcall(callable, first, total | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(callable);
    release_arguments(arguments, count);
    if (caller != NULL && (host->flags & WJ_FLAG_CALLER_OBJECT) != 0) {
        end_caller(caller);
    } else {
        Py_XDECREF(caller);
    }
    return returned;
}

void *wj_boundary_host_argument(void *host_pointer, uint64_t bits, uint32_t position)
{
    const wj_host_func *host = host_pointer;
    if (PyErr_Occurred() != NULL) { /* an argument before it failed: no Python code may run now */
        return NULL;
    }
    return wj_slot_to_value(&bits, host->signature->places[position].letter, value_of(host, position));
}

void *wj_boundary_host_call(void *host, void *arguments, uint64_t count)
{
    PyObject *returned = call_python(host, (PyObject **)arguments, count);
    if (UNLIKELY(returned == NULL)) {
        wj_leave_with_exception();
    }
    return returned;
}

/* ---- results ---- */

static bool result_to_slot(const wj_host_func *host, uint32_t index, PyObject *value, uint64_t *slot)
{
    const wj_signature *of = host->signature;
    return wj_value_to_slot(value, &of->places[of->param_count + index], slot, value_of(host, index));
}

static bool check_no_result(PyObject *returned)
{
    if (returned != Py_None) {
        wj_set_error("WasmError", "callback produced results when it shouldn't");
    }
    return returned == Py_None;
}

/* A function that returns several results returns a sequence; `expected` values. */
static PyObject *result_sequence(PyObject *returned, uint32_t expected)
{
    PyObject *sequence = PySequence_Fast(returned, "callback did not return a sequence of results");
    if (sequence != NULL && PySequence_Fast_GET_SIZE(sequence) != expected) {
        wj_set_error("WasmError", "callback produced wrong number of results");
        Py_CLEAR(sequence);
    }
    return sequence;
}

static bool results_to_slots(const wj_host_func *host, PyObject *returned, uint64_t *first_two, uint64_t *area)
{
    const wj_signature *of = host->signature;
    PyObject *sequence = result_sequence(returned, of->result_count);
    bool stored = sequence != NULL;
    for (uint32_t i = 0; stored && i < of->result_count; i++) {
        /* A conversion runs Python code, which may shorten a list. */
        PyObject *value = i < PySequence_Fast_GET_SIZE(sequence) ? PySequence_Fast_GET_ITEM(sequence, i) : Py_None;
        uint64_t *slot = i < WJ_MAX_REGISTER_RESULTS ? first_two + (size_t)2 * i
                                                     : area + of->places[of->param_count + i].slot;
        Py_INCREF(value);
        stored = result_to_slot(host, i, value, slot);
        Py_DECREF(value);
    }
    Py_XDECREF(sequence);
    return stored;
}

void wj_boundary_host_no_result(void *host, void *object)
{
    (void)host;
    bool none = check_no_result(object);
    Py_DECREF((PyObject *)object);
    if (UNLIKELY(!none)) {
        wj_leave_with_exception();
    }
}

uint64_t wj_boundary_host_result(void *host, void *object)
{
    uint64_t bits = 0;
    bool stored = result_to_slot(host, 0, object, &bits);
    Py_DECREF((PyObject *)object);
    if (UNLIKELY(!stored)) {
        wj_leave_with_exception();
    }
    return bits;
}

void wj_boundary_host_results(void *host_pointer, void *object, void *first_two, void *area)
{
    const wj_host_func *host = host_pointer;
    bool stored = host->signature->result_count == 1 ? result_to_slot(host, 0, object, first_two)
                                                     : results_to_slots(host, object, first_two, area);
    Py_DECREF((PyObject *)object);
    if (UNLIKELY(!stored)) {
        wj_leave_with_exception();
    }
}

/* ---- without a trampoline ---- */

/* The parameters as one list of raw slots. */
static PyObject *frame_to_list(const wj_signature *of, const wj_frame *frame)
{
    PyObject *list = PyList_New(of->param_slots);
    Py_ssize_t at = list == NULL ? -1 : 0;
    for (uint32_t i = 0; at >= 0 && i < of->param_count; i++) {
        at = wj_slot_to_bits((const uint64_t *)frame + of->places[i].slot, of->places[i].letter, list, at);
    }
    if (at < 0) {
        Py_CLEAR(list);
    }
    return list;
}

/* What an unchecked function returned: a sequence of raw slots. */
static bool bits_to_slots(const wj_host_func *host, PyObject *returned, wj_frame *frame, uint64_t *area)
{
    const wj_signature *of = host->signature;
    PyObject *sequence = result_sequence(returned, of->result_slots);
    if (sequence == NULL) {
        return false;
    }
    PyObject *const *items = PySequence_Fast_ITEMS(sequence);
    bool stored = true;
    for (uint32_t i = 0; stored && i < of->result_count; i++) {
        const wj_place *place = &of->places[of->param_count + i];
        uint64_t *slot = wj_result_slot(of, i, frame, area);
        stored = wj_bits_to_slot(&items, place->letter, slot, value_of(host, i));
    }
    Py_DECREF(sequence);
    return stored;
}

static bool results_to_frame(const wj_host_func *host, PyObject *returned, wj_frame *frame)
{
    const wj_signature *of = host->signature;
    uint64_t *area = (uint64_t *)(uintptr_t)frame->ints[1];
    if ((host->flags & WJ_FLAG_UNCHECKED) != 0) {
        return bits_to_slots(host, returned, frame, area);
    }
    if (of->result_count == 0) {
        return check_no_result(returned);
    }
    uint64_t first_two[2 * WJ_MAX_REGISTER_RESULTS];
    bool stored = of->result_count == 1 ? result_to_slot(host, 0, returned, first_two)
                                        : results_to_slots(host, returned, first_two, area);
    for (uint32_t i = 0; stored && i < of->result_count && i < WJ_MAX_REGISTER_RESULTS; i++) {
        const wj_place *place = &of->places[of->param_count + i];
        memcpy((uint64_t *)frame + place->slot, first_two + (size_t)2 * i,
               wj_slots_of(place->letter) * sizeof(uint64_t));
    }
    return stored;
}

/* Calls the host function with the GIL held; false with an exception set. */
static bool call_host(const wj_host_func *host, wj_frame *frame)
{
    const wj_signature *of = host->signature;
    PyObject *local[LOCAL_ARGUMENTS + WJ_SPARE_ARGUMENTS];
    PyObject **storage = local;
    if (of->param_count > LOCAL_ARGUMENTS) {
        storage = (PyObject **)PyMem_Malloc((of->param_count + WJ_SPARE_ARGUMENTS) * sizeof(PyObject *));
        if (storage == NULL) {
            PyErr_NoMemory();
            return false;
        }
    }
    PyObject **arguments = storage + WJ_SPARE_ARGUMENTS;
    size_t count = of->param_count;
    if ((host->flags & WJ_FLAG_UNCHECKED) != 0) {
        arguments[0] = frame_to_list(of, frame);
        count = 1;
    } else {
        for (uint32_t i = 0; i < of->param_count; i++) {
            arguments[i] = NULL;
            if (i == 0 || arguments[i - 1] != NULL) {
                arguments[i] = wj_slot_to_value((const uint64_t *)frame + of->places[i].slot, of->places[i].letter,
                                                value_of(host, i));
            }
        }
    }
    PyObject *returned = call_python(host, arguments, count);
    bool called = returned != NULL && results_to_frame(host, returned, frame);
    Py_XDECREF(returned);
    if (storage != local) {
        PyMem_Free((void *)storage);
    }
    return called;
}

void wj_host_dispatch(wj_host_func *host, wj_frame *frame)
{
    wj_boundary_host_begin(host, &frame->link);
    if (!call_host(host, frame)) {
        wj_leave_with_exception();
    }
    wj_boundary_host_end(host, &frame->link);
}

/* ---- host functions ---- */

wj_func_ref *wj_host_func_new(wj_store *store, uintptr_t callable, const wj_signature *signature, uint32_t flags,
                              uintptr_t code, uintptr_t native)
{
    wj_host_func *host = signature == NULL ? NULL : wj_store_alloc(store, sizeof *host);
    if (host == NULL) {
        return NULL;
    }
    host->boundary = wj_boundary_table;
    host->native = (const void *)native;
    const void *entry_point = code != 0 ? (const void *)code : (const void *)wj_host_stub;
    host->func_ref = (wj_func_ref){.code = entry_point, .vmctx = host, .type_id = signature->id};
    host->store = store;
    host->signature = signature;
    host->flags = flags;
    PyGILState_STATE state = PyGILState_Ensure();
    bool open = !store->closed;
    if (open) {
        host->callable = Py_NewRef((PyObject *)callable);
        wj_signature_hold_again(signature); /* until wj_store_free goes through the list */
        host->next = store->host_funcs;
        store->host_funcs = host;
    }
    PyGILState_Release(state);
    return open ? &host->func_ref : NULL;
}

int wj_host_func_set_code(wj_func_ref *func_ref, uintptr_t code)
{
    if (func_ref->code != (const void *)wj_host_stub) {
        return 0;
    }
    __atomic_store_n(&func_ref->code, (const void *)code, __ATOMIC_RELEASE);
    return 1;
}
