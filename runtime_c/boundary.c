/* Python <-> wasm. Calls into wasm are METH_FASTCALL builtins over a Callable object; calls out of wasm arrive at
 * wj_host_dispatch through the assembly stub. cffi releases the GIL around the wj_api.h functions, so those that touch
 * Python objects take it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "wj.h"

#define MAX_VALUES 1000u /* parameters or results: the JS API's implementation limit */
#define LOCAL_SLOTS 96u
#define LOCAL_ARGUMENTS 16u
#define SLOT_OF(member) (offsetof(wj_frame, member) / sizeof(uint64_t))

enum { FLAG_CALLER = 1, FLAG_UNCHECKED = 2, FLAG_KEEP_GIL = 4 };

/* ---- signatures: where each value of a call lies ---- */

typedef struct {
    char letter;
    uint32_t slot; /* in the wj_frame; for the third and further results in the results area */
} value_place;

typedef struct wj_signature {
    uint32_t param_count;
    uint32_t result_count;
    uint32_t param_slots; /* as the unchecked form counts them: a v128 is two */
    uint32_t result_slots;
    uint32_t stack_slots; /* even: keeps the stack 16-byte aligned */
    uint32_t area_slots;
    value_place places[]; /* parameters, then results */
} signature;

static bool is_float_class(char letter)
{
    return letter == 'f' || letter == 'F' || letter == 'V';
}

static bool letters_are_valid(const char *letters)
{
    size_t count = strlen(letters);
    return count <= MAX_VALUES && strspn(letters, "iIfFVr") == count;
}

/* The platform's C convention: integer and float registers are counted apart, what does not fit goes to the stack. */
static void place_params(signature *made, const char *params)
{
    uint32_t ints = made->result_count > WJ_MAX_REGISTER_RESULTS ? 2 : 1; /* vmctx, results area */
    uint32_t floats = 0;
    uint32_t stack = 0;
    for (uint32_t i = 0; i < made->param_count; i++) {
        value_place *place = &made->places[i];
        place->letter = params[i];
        if (is_float_class(params[i]) && floats < WJ_FLOAT_REGISTERS) {
            place->slot = (uint32_t)SLOT_OF(floats) + 2 * floats++;
        } else if (!is_float_class(params[i]) && ints < WJ_INT_REGISTERS) {
            place->slot = (uint32_t)SLOT_OF(ints) + ints++;
        } else {
            stack += params[i] == 'V' ? stack % 2 : 0;
            place->slot = (uint32_t)SLOT_OF(stack) + stack;
            stack += params[i] == 'V' ? 2 : 1;
        }
    }
    made->stack_slots = stack + stack % 2;
}

static void place_results(signature *made, const char *results)
{
    uint32_t ints = 0;
    uint32_t floats = 0;
    uint32_t area = 0;
    for (uint32_t i = 0; i < made->result_count; i++) {
        value_place *place = &made->places[made->param_count + i];
        place->letter = results[i];
        if (i >= WJ_MAX_REGISTER_RESULTS) {
            place->slot = area;
            area += results[i] == 'V' ? 2 : 1;
        } else if (is_float_class(results[i])) {
            place->slot = (uint32_t)SLOT_OF(float_results) + 2 * floats++;
        } else {
            place->slot = (uint32_t)SLOT_OF(int_results) + ints++;
        }
    }
    made->area_slots = area;
}

static uint32_t slot_total(const char *letters)
{
    uint32_t total = 0;
    for (; *letters != 0; letters++) {
        total += *letters == 'V' ? 2 : 1;
    }
    return total;
}

static size_t signature_bytes(const char *params, const char *results)
{
    return sizeof(signature) + (strlen(params) + strlen(results)) * sizeof(value_place);
}

/* Fills storage of signature_bytes(); the letters are valid. */
static void make_signature(signature *made, const char *params, const char *results)
{
    made->param_count = (uint32_t)strlen(params);
    made->result_count = (uint32_t)strlen(results);
    made->param_slots = slot_total(params);
    made->result_slots = slot_total(results);
    place_params(made, params);
    place_results(made, results);
}

static uint64_t *result_slot(const signature *of, uint32_t index, wj_frame *frame, uint64_t *area)
{
    uint64_t *slots = index < WJ_MAX_REGISTER_RESULTS ? (uint64_t *)frame : area;
    return slots + of->places[of->param_count + index].slot;
}

/* ---- errors ---- */

/* Sets wasmjit.errors.WasmError. */
static void set_wasm_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *message = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    PyObject *module = message == NULL ? NULL : PyImport_ImportModule("wasmjit.errors");
    PyObject *type = module == NULL ? NULL : PyObject_GetAttrString(module, "WasmError");
    if (type != NULL) {
        PyErr_SetObject(type, message);
    }
    Py_XDECREF(type);
    Py_XDECREF(module);
    Py_XDECREF(message);
}

static const char *letter_name(char letter)
{
    switch (letter) {
    case 'i':
        return "i32";
    case 'I':
        return "i64";
    case 'f':
        return "f32";
    case 'F':
        return "f64";
    case 'V':
        return "v128";
    default:
        return "reference";
    }
}

static PyObject *trap_factory; /* owned; replaced with the GIL held */

void wj_set_trap_factory(uintptr_t callable)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *old = trap_factory;
    trap_factory = Py_XNewRef((PyObject *)callable);
    Py_XDECREF(old);
    PyGILState_Release(state);
}

static PyObject *backtrace_tuple(const wj_entry *entry)
{
    PyObject *pcs = PyTuple_New(entry->pc_count);
    for (uint32_t i = 0; pcs != NULL && i < entry->pc_count; i++) {
        PyObject *pc = PyLong_FromUnsignedLongLong(entry->pcs[i]);
        if (pc == NULL) {
            Py_CLEAR(pcs);
            break;
        }
        PyTuple_SET_ITEM(pcs, i, pc);
    }
    return pcs;
}

/* Sets the exception for the trap that the entry recorded. */
static void set_trap(const wj_entry *entry)
{
    if (trap_factory == NULL) {
        PyErr_Format(PyExc_RuntimeError, "wasm trap %d", entry->trap_code);
        return;
    }
    PyObject *pcs = backtrace_tuple(entry);
    if (pcs == NULL) {
        return;
    }
    PyObject *exception = PyObject_CallFunction(trap_factory, "iKO", entry->trap_code,
                                                (unsigned long long)entry->fault_address, pcs);
    Py_DECREF(pcs);
    if (exception == NULL) {
        return;
    }
    if (PyExceptionInstance_Check(exception)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    } else {
        PyErr_Format(PyExc_TypeError, "the trap factory returned %R, which is no exception", exception);
    }
    Py_DECREF(exception);
}

/* ---- values ---- */

static bool v128_to_slots(PyObject *value, uint64_t *slot)
{
    PyObject *shift = PyLong_FromLong(64);
    PyObject *high = shift == NULL ? NULL : PyNumber_Rshift(value, shift);
    if (high != NULL) {
        slot[0] = PyLong_AsUnsignedLongLongMask(value);
        slot[1] = PyLong_AsUnsignedLongLongMask(high);
    }
    Py_XDECREF(high);
    Py_XDECREF(shift);
    return high != NULL;
}

static PyObject *v128_from_slots(const uint64_t *slot)
{
    PyObject *low = PyLong_FromUnsignedLongLong(slot[0]);
    PyObject *high = PyLong_FromUnsignedLongLong(slot[1]);
    PyObject *shift = PyLong_FromLong(64);
    PyObject *value = NULL;
    if (low != NULL && high != NULL && shift != NULL) {
        PyObject *shifted = PyNumber_Lshift(high, shift);
        value = shifted == NULL ? NULL : PyNumber_Or(shifted, low);
        Py_XDECREF(shifted);
    }
    Py_XDECREF(shift);
    Py_XDECREF(high);
    Py_XDECREF(low);
    return value;
}

static bool refuse_value(PyObject *value, char letter, const char *expected)
{
    PyErr_Format(PyExc_TypeError, "don't know how to convert %R to %s: expected %s", value, letter_name(letter),
                 expected);
    return false;
}

static bool is_32_bits(char letter)
{
    return letter == 'i' || letter == 'f';
}

/* Integers of any size wrap modulo 2^32 or 2^64, as ctypes does it; floats must be Python floats: what the wasmtime
 * package accepts. */
static bool value_to_slot(PyObject *value, char letter, uint64_t *slot)
{
    if (is_float_class(letter) && letter != 'V') {
        if (!PyFloat_Check(value)) {
            return refuse_value(value, letter, "a float");
        }
        double number = PyFloat_AS_DOUBLE(value);
        if (letter == 'F') {
            memcpy(slot, &number, sizeof number);
        } else {
            float narrow = (float)number;
            uint32_t bits;
            memcpy(&bits, &narrow, sizeof bits);
            *slot = bits;
        }
        return true;
    }
    if (!PyLong_Check(value)) {
        return refuse_value(value, letter, "an integer");
    }
    if (letter == 'V') {
        return v128_to_slots(value, slot);
    }
    uint64_t bits = PyLong_AsUnsignedLongLongMask(value);
    *slot = is_32_bits(letter) ? (uint32_t)bits : bits;
    return true;
}

static PyObject *slot_to_value(const uint64_t *slot, char letter)
{
    switch (letter) {
    case 'i':
        return PyLong_FromLong((int32_t)(uint32_t)*slot);
    case 'I':
        return PyLong_FromLongLong((int64_t)*slot);
    case 'f': {
        float number;
        memcpy(&number, slot, sizeof number);
        return PyFloat_FromDouble((double)number);
    }
    case 'F': {
        double number;
        memcpy(&number, slot, sizeof number);
        return PyFloat_FromDouble(number);
    }
    case 'V':
        return v128_from_slots(slot);
    default:
        return PyLong_FromUnsignedLongLong(*slot);
    }
}

/* The unchecked form: the bits of one value from one or two ints at *items, which moves on. */
static bool bits_to_slot(PyObject *const **items, char letter, uint64_t *slot)
{
    for (int part = 0; part < (letter == 'V' ? 2 : 1); part++) {
        PyObject *item = *(*items)++;
        if (!PyLong_Check(item)) {
            return refuse_value(item, letter, "an integer");
        }
        uint64_t bits = PyLong_AsUnsignedLongLongMask(item);
        slot[part] = is_32_bits(letter) ? (uint32_t)bits : bits;
    }
    return true;
}

/* Appends the bits of one value at `at` of a list made for them; returns the next position, or -1 with an exception. */
static Py_ssize_t slot_to_bits(const uint64_t *slot, char letter, PyObject *list, Py_ssize_t at)
{
    for (int part = 0; part < (letter == 'V' ? 2 : 1); part++) {
        PyObject *bits = PyLong_FromUnsignedLongLong(is_32_bits(letter) ? (uint32_t)slot[part] : slot[part]);
        if (bits == NULL) {
            return -1;
        }
        PyList_SET_ITEM(list, at++, bits);
    }
    return at;
}

/* ---- wasm calls Python ---- */

static void release_arguments(PyObject **arguments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Py_DECREF(arguments[i]);
    }
}

/* The parameters as new references in arguments[0...]; false with an exception and no references otherwise. */
static bool frame_to_arguments(const signature *of, const wj_frame *frame, PyObject **arguments)
{
    for (uint32_t i = 0; i < of->param_count; i++) {
        arguments[i] = slot_to_value((const uint64_t *)frame + of->places[i].slot, of->places[i].letter);
        if (arguments[i] == NULL) {
            release_arguments(arguments, i);
            return false;
        }
    }
    return true;
}

/* The parameters as one list of raw slots. */
static bool frame_to_list(const signature *of, const wj_frame *frame, PyObject **arguments)
{
    PyObject *list = PyList_New(of->param_slots);
    Py_ssize_t at = list == NULL ? -1 : 0;
    for (uint32_t i = 0; at >= 0 && i < of->param_count; i++) {
        at = slot_to_bits((const uint64_t *)frame + of->places[i].slot, of->places[i].letter, list, at);
    }
    if (at < 0) {
        Py_CLEAR(list);
    }
    arguments[0] = list;
    return list != NULL;
}

/* What a host function returned: None, the value, or a sequence of values or of raw slots. */
static bool store_results(const signature *of, PyObject *returned, wj_frame *frame, bool unchecked)
{
    uint64_t *area = (uint64_t *)(uintptr_t)frame->ints[1];
    const value_place *places = of->places + of->param_count;
    if (of->result_count == 0 && !unchecked) {
        if (returned != Py_None) {
            set_wasm_error("callback produced results when it shouldn't");
        }
        return returned == Py_None;
    }
    if (of->result_count == 1 && !unchecked) {
        return value_to_slot(returned, places[0].letter, result_slot(of, 0, frame, area));
    }
    PyObject *sequence = PySequence_Fast(returned, "callback did not return a sequence of results");
    if (sequence == NULL) {
        return false;
    }
    bool stored = PySequence_Fast_GET_SIZE(sequence) == (unchecked ? of->result_slots : of->result_count);
    if (!stored) {
        set_wasm_error("callback produced wrong number of results");
    }
    PyObject *const *items = PySequence_Fast_ITEMS(sequence);
    for (uint32_t i = 0; stored && i < of->result_count; i++) {
        uint64_t *slot = result_slot(of, i, frame, area);
        stored = unchecked ? bits_to_slot(&items, places[i].letter, slot)
                           : value_to_slot(*items++, places[i].letter, slot);
    }
    Py_DECREF(sequence);
    return stored;
}

/* Calls the host function with the GIL held; false with an exception set. */
static bool call_host(const wj_host_func *host, wj_frame *frame)
{
    const signature *of = host->signature;
    bool unchecked = (host->flags & FLAG_UNCHECKED) != 0;
    if (host->callable == NULL) {
        set_wasm_error("store is closed");
        return false;
    }
    PyObject *local[LOCAL_ARGUMENTS];
    PyObject **storage = local;
    if (of->param_count + 2 > LOCAL_ARGUMENTS) {
        storage = (PyObject **)PyMem_Malloc((of->param_count + 2) * sizeof(PyObject *));
        if (storage == NULL) {
            PyErr_NoMemory();
            return false;
        }
    }
    PyObject **arguments = storage + 1; /* one free place in front: PY_VECTORCALL_ARGUMENTS_OFFSET */
    size_t count = 0;
    bool complete = true;
    if ((host->flags & FLAG_CALLER) != 0) {
        arguments[0] = PyLong_FromVoidPtr(host->store->caller);
        complete = arguments[0] != NULL;
        count = complete ? 1 : 0;
    }
    if (complete) {
        complete = unchecked ? frame_to_list(of, frame, arguments + count)
                             : frame_to_arguments(of, frame, arguments + count);
        count += !complete ? 0 : unchecked ? 1 : of->param_count;
    }
    bool called = false;
    if (complete) {
        PyObject *callable = Py_NewRef((PyObject *)host->callable);
        PyObject *returned = PyObject_Vectorcall(callable, arguments, count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        Py_DECREF(callable);
        called = returned != NULL && store_results(of, returned, frame, unchecked);
        Py_XDECREF(returned);
    }
    release_arguments(arguments, count);
    if (storage != local) {
        PyMem_Free((void *)storage);
    }
    return called;
}

void wj_host_dispatch(wj_host_func *host, wj_frame *frame)
{
    wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    PyThreadState *state = entry->thread_state;
    entry->host_fp = (uintptr_t)&frame->link;
    if (state != NULL) {
        PyEval_RestoreThread(state);
        entry->thread_state = NULL;
    }
    bool called = call_host(host, frame);
    if (!called) { /* the exception stays set, and the GIL held, until the entry returns to the interpreter */
        wj_record_frames(thread, entry, 0, entry->host_fp);
        wj_unwind(entry, WJ_STATUS_EXCEPTION);
    }
    if (state != NULL) {
        entry->thread_state = PyEval_SaveThread();
    }
    entry->host_fp = 0;
    wj_resume(thread, &frame->link);
}

wj_func_ref *wj_host_func_new(wj_store *store, uintptr_t callable, const char *params, const char *results,
                              uint32_t type_id, uint32_t flags)
{
    if (!letters_are_valid(params) || !letters_are_valid(results)) {
        return NULL;
    }
    wj_host_func *host = wj_store_alloc(store, sizeof *host);
    signature *made = wj_store_alloc(store, signature_bytes(params, results));
    if (host == NULL || made == NULL) {
        return NULL;
    }
    make_signature(made, params, results);
    host->func_ref = (wj_func_ref){.code = (const void *)wj_host_stub, .vmctx = host, .type_id = type_id};
    host->store = store;
    host->signature = made;
    host->flags = flags;
    PyGILState_STATE state = PyGILState_Ensure();
    bool open = !store->closed;
    if (open) {
        host->callable = Py_NewRef((PyObject *)callable);
        host->next = store->host_funcs;
        store->host_funcs = host;
    }
    PyGILState_Release(state);
    return open ? &host->func_ref : NULL;
}

/* ---- Python calls wasm ---- */

typedef struct {
    PyObject_HEAD
    wj_store *store; /* one reference on the record */
    wj_func_ref *func_ref;
    PyObject *owner;
    signature *signature;
    uint32_t flags;
} callable_object;

/* Looks at what came before the code runs; a status other than OK if it must not. With the GIL held. */
static int may_start(wj_store *store, wj_thread *thread, wj_entry *entry, bool outermost)
{
    if (outermost && store->timeout_ns != 0 && !wj_interrupt_begin(thread, entry, store->timeout_ns)) {
        set_wasm_error("timeouts need a timer, and the system refuses to make one");
        return WJ_STATUS_EXCEPTION;
    }
    if (__atomic_load_n(&thread->pending, __ATOMIC_SEQ_CST) == 0 &&
        __atomic_load_n(&store->interrupt_id, __ATOMIC_SEQ_CST) != store->call_id) {
        return WJ_STATUS_OK;
    }
    if ((thread->pending & WJ_PENDING_SIGNALS) != 0) {
        __atomic_and_fetch(&thread->pending, ~WJ_PENDING_SIGNALS, __ATOMIC_SEQ_CST);
        if (PyErr_CheckSignals() != 0) {
            return WJ_STATUS_EXCEPTION;
        }
    }
    if (wj_trap_is_pending(thread)) {
        wj_trap_at_entry(thread, entry, WJ_TRAP_INTERRUPT);
        return WJ_STATUS_TRAP;
    }
    return WJ_STATUS_OK;
}

/* Undoes what enter() did. With the GIL held. */
static void leave(wj_store *store, wj_thread *thread, const wj_entry *entry, bool outermost)
{
    if (outermost) {
        __atomic_store_n(&store->call_id, store->call_id + 1, __ATOMIC_SEQ_CST);
    }
    thread->entry = entry->outer;
    if (entry->deadline_ns != 0 || thread->pending != 0) {
        wj_interrupt_end(thread, entry);
    }
    __atomic_store_n(&store->depth, store->depth - 1, __ATOMIC_RELAXED);
    store->stack_limit = entry->stack_limit;
    store->caller = entry->caller;
}

/* Runs func_ref with the prepared frame. Returns a WJ_STATUS with *entry filled in, or -1 with an exception. */
static int enter(wj_store *store, const wj_func_ref *func_ref, wj_frame *frame, bool keep_gil, wj_entry *entry)
{
    wj_thread *thread = &wj_this_thread;
    if (store->closed) {
        set_wasm_error("store is closed");
        return -1;
    }
    if (store->depth != 0 && store->thread != thread) {
        set_wasm_error("store is running on another thread: a Store is for one thread at a time");
        return -1;
    }
    if (thread->entry == NULL && !wj_thread_prepare(thread)) {
        PyErr_NoMemory();
        return -1;
    }
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
    uintptr_t limit = sp > store->max_wasm_stack_bytes ? sp - store->max_wasm_stack_bytes : 0;
    if (sp >= thread->stack_low && sp < thread->stack_high) { /* else some library switched stacks */
        uintptr_t end = thread->stack_low + thread->stack_headroom_bytes;
        limit = limit > end ? limit : end;
    }
    entry->outer = thread->entry;
    if (sp <= limit) {
        wj_trap_at_entry(thread, entry, WJ_TRAP_STACK_OVERFLOW);
        return WJ_STATUS_TRAP;
    }
    entry->store = store;
    entry->host_fp = 0;
    entry->own_pc_count = 0;
    entry->deadline_ns = 0;
    entry->stack_limit = store->stack_limit;
    entry->caller = store->caller;
    store->stack_limit = limit;
    store->caller = NULL;
    store->thread = thread;
    bool outermost = store->depth == 0;
    __atomic_store_n(&store->depth, store->depth + 1, __ATOMIC_RELAXED);
    if (outermost) {
        __atomic_store_n(&store->call_id, store->call_id + 1, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(&thread->entry, entry, __ATOMIC_SEQ_CST); /* whoever interrupts from now on finds it */
    frame->ints[0] = (uint64_t)(uintptr_t)func_ref->vmctx;
    entry->thread_state = NULL;
    int status = may_start(store, thread, entry, outermost);
    if (status == WJ_STATUS_OK) {
        /* CPython counted the builtin against its recursion limit, which protects the C stack. Here our stack limit
         * does, so nesting is as deep as without us. */
        Py_LeaveRecursiveCall();
        entry->thread_state = keep_gil ? NULL : PyEval_SaveThread();
        status = wj_enter(entry, func_ref->code, frame);
        entry->host_fp = (uintptr_t)frame; /* not in wasm code any more */
        if (entry->thread_state != NULL) {
            PyEval_RestoreThread(entry->thread_state);
        }
        (void)Py_EnterRecursiveCall(""); /* the count was as high before: it cannot fail */
    }
    leave(store, thread, entry, outermost);
    if (status == WJ_STATUS_SIGNALS) {
        status = PyErr_CheckSignals() != 0 ? WJ_STATUS_EXCEPTION : WJ_STATUS_TRAP;
    }
    return status;
}

/* None, the value, or a list of values. */
static PyObject *results_to_python(const signature *of, wj_frame *frame, uint64_t *area)
{
    const value_place *places = of->places + of->param_count;
    if (of->result_count == 0) {
        Py_RETURN_NONE;
    }
    if (of->result_count == 1) {
        return slot_to_value(result_slot(of, 0, frame, area), places[0].letter);
    }
    PyObject *list = PyList_New(of->result_count);
    for (uint32_t i = 0; list != NULL && i < of->result_count; i++) {
        PyObject *value = slot_to_value(result_slot(of, i, frame, area), places[i].letter);
        if (value == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, value);
        }
    }
    return list;
}

static PyObject *results_to_list(const signature *of, wj_frame *frame, uint64_t *area)
{
    PyObject *list = PyList_New(of->result_slots);
    Py_ssize_t at = list == NULL ? -1 : 0;
    for (uint32_t i = 0; at >= 0 && i < of->result_count; i++) {
        at = slot_to_bits(result_slot(of, i, frame, area), of->places[of->param_count + i].letter, list, at);
    }
    if (at < 0) {
        Py_CLEAR(list);
    }
    return list;
}

/* Places the arguments, runs, converts the results; `slots` has room for the frame, its stack part and the area. */
static PyObject *call_in_slots(callable_object *self, PyObject *const *arguments, uint64_t *slots)
{
    const signature *of = self->signature;
    bool unchecked = (self->flags & FLAG_UNCHECKED) != 0;
    wj_frame *frame = (wj_frame *)(void *)slots;
    uint64_t *area = frame->stack + of->stack_slots;
    for (uint32_t i = 0; i < of->param_count; i++) {
        uint64_t *slot = slots + of->places[i].slot;
        if (!(unchecked ? bits_to_slot(&arguments, of->places[i].letter, slot)
                        : value_to_slot(*arguments++, of->places[i].letter, slot))) {
            return NULL;
        }
    }
    if (of->result_count > WJ_MAX_REGISTER_RESULTS) {
        frame->ints[1] = (uint64_t)(uintptr_t)area;
    }
    frame->link[0] = of->stack_slots;
    wj_entry entry;
    int status = enter(self->store, self->func_ref, frame, (self->flags & FLAG_KEEP_GIL) != 0, &entry);
    if (status == WJ_STATUS_OK) {
        return unchecked ? results_to_list(of, frame, area) : results_to_python(of, frame, area);
    }
    if (status == WJ_STATUS_TRAP) {
        set_trap(&entry);
    }
    if (status > WJ_STATUS_OK) {
        wj_add_traceback(&entry);
    }
    return NULL;
}

static PyObject *callable_call(PyObject *self_object, PyObject *const *arguments, Py_ssize_t count)
{
    callable_object *self = (callable_object *)self_object;
    const signature *of = self->signature;
    uint32_t expected = (self->flags & FLAG_UNCHECKED) != 0 ? of->param_slots : of->param_count;
    if (count != expected) {
        set_wasm_error("too %s parameters provided: given %zd, expected %u", count > expected ? "many" : "few", count,
                       expected);
        return NULL;
    }
    size_t slot_count = SLOT_OF(stack) + of->stack_slots + of->area_slots;
    if (slot_count <= LOCAL_SLOTS) {
        _Alignas(16) uint64_t local[LOCAL_SLOTS];
        return call_in_slots(self, arguments, local);
    }
    uint64_t *slots = malloc(slot_count * sizeof(uint64_t)); /* malloc aligns to 16 bytes on our targets */
    if (slots == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *result = call_in_slots(self, arguments, slots);
    free(slots);
    return result;
}

static PyMethodDef callable_method = {
    "wasm_function", (PyCFunction)(void (*)(void))callable_call, METH_FASTCALL,
    "Calls a WebAssembly function with the wasm arguments as Python numbers."};

/* ---- the object behind a builtin ---- */

static int callable_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((callable_object *)self)->owner);
    return 0;
}

static int callable_clear(PyObject *self)
{
    Py_CLEAR(((callable_object *)self)->owner);
    return 0;
}

static void callable_dealloc(PyObject *self_object)
{
    callable_object *self = (callable_object *)self_object;
    PyTypeObject *type = Py_TYPE(self_object);
    PyObject_GC_UnTrack(self_object);
    (void)callable_clear(self_object);
    wj_store_release_record(self->store);
    free(self->signature);
    PyObject_GC_Del(self_object);
    Py_DECREF(type);
}

static PyType_Slot callable_slots[] = {{Py_tp_traverse, (void *)callable_traverse},
                                       {Py_tp_clear, (void *)callable_clear},
                                       {Py_tp_dealloc, (void *)callable_dealloc},
                                       {0, NULL}};

static PyType_Spec callable_spec = {
    .name = "wasmjit.runtime._native.Callable",
    .basicsize = sizeof(callable_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = callable_slots,
};

static PyTypeObject *callable_type; /* made on first use, with the GIL held */

static PyObject *new_callable(wj_store *store, wj_func_ref *func_ref, const char *params, const char *results,
                              PyObject *owner, uint32_t flags)
{
    if (callable_type == NULL) {
        callable_type = (PyTypeObject *)PyType_FromSpec(&callable_spec);
        if (callable_type == NULL) {
            return NULL;
        }
    }
    signature *made = malloc(signature_bytes(params, results));
    if (made == NULL) {
        return PyErr_NoMemory();
    }
    make_signature(made, params, results);
    callable_object *self = PyObject_GC_New(callable_object, callable_type);
    if (self == NULL) {
        free(made);
        return NULL;
    }
    __atomic_add_fetch(&store->references, 1, __ATOMIC_RELAXED);
    self->store = store;
    self->func_ref = func_ref;
    self->owner = Py_XNewRef(owner);
    self->signature = made;
    self->flags = flags;
    PyObject_GC_Track((PyObject *)self);
    PyObject *builtin = PyCFunction_New(&callable_method, (PyObject *)self);
    Py_DECREF(self); /* the builtin holds it now, or it goes away */
    return builtin;
}

uintptr_t wj_callable_new(wj_store *store, wj_func_ref *func_ref, const char *params, const char *results,
                          uintptr_t owner, uint32_t flags)
{
    if (!letters_are_valid(params) || !letters_are_valid(results)) {
        return 0;
    }
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *builtin = new_callable(store, func_ref, params, results, (PyObject *)owner, flags);
    if (builtin == NULL) {
        PyErr_Clear(); /* cffi cannot pass it on; 0 tells */
    }
    PyGILState_Release(state);
    return (uintptr_t)builtin;
}

void wj_decref(uintptr_t object)
{
    PyGILState_STATE state = PyGILState_Ensure();
    Py_XDECREF((PyObject *)object);
    PyGILState_Release(state);
}
