/* Into wasm and out again: what every activation does, whoever starts it. The code between wj_boundary_begin and
 * wj_boundary_end is a trampoline that the compiler made for the signature (compile/trampolines.py), or wj_enter_any. */
#include "stencil.h"
#include "wj_gc.h"

#include <stdlib.h>

#define LOCAL_SLOTS 96u

/* ---- exceptions ---- */

static PyObject *trap_factory; /* owned; replaced with the GIL held */

void wj_set_trap_factory(uintptr_t callable)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *old = trap_factory;
    trap_factory = Py_XNewRef((PyObject *)callable);
    Py_XDECREF(old);
    PyGILState_Release(state);
}

PyObject *wj_backtrace_tuple(const wj_entry *entry)
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
    PyObject *pcs = wj_backtrace_tuple(entry);
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

/* The exception for how the entry ended. With the GIL held. */
static void set_exception(const wj_entry *entry, int status)
{
    if (status == WJ_STATUS_TRAP) {
        set_trap(entry);
    } else if (status == WJ_STATUS_THROWN) {
        wj_set_thrown(entry);
    }
    wj_add_traceback(entry);
}

/* ---- the way in ---- */

/* Refuses the call with a trap before anything runs; entry->outer is set. */
static int trap_before(const wj_thread *thread, wj_entry *entry, int code)
{
    wj_trap_at_entry(thread, entry, code);
    return WJ_STATUS_TRAP;
}

/* Looks at what came before the code runs; a status other than OK if it must not. With the GIL held, or WJ_NO_GIL. */
static int __attribute__((noinline)) may_start(wj_store *store, wj_thread *thread, wj_entry *entry, bool outermost)
{
    if (outermost && store->timeout_ns != 0 && !wj_interrupt_begin(thread, entry, store->timeout_ns)) {
        (void)wj_take_gil(entry); /* held until the exception is dealt with */
        wj_set_error("WasmError", "timeouts need a timer, and the system refuses to make one");
        return WJ_STATUS_EXCEPTION;
    }
    if ((__atomic_load_n(&thread->pending, __ATOMIC_SEQ_CST) & WJ_PENDING_SIGNALS) != 0) {
        __atomic_and_fetch(&thread->pending, ~WJ_PENDING_SIGNALS, __ATOMIC_SEQ_CST);
        void *taken = wj_take_gil(entry);
        if (PyErr_CheckSignals() != 0) {
            return WJ_STATUS_EXCEPTION;
        }
        wj_give_gil(entry, taken);
    }
    return wj_trap_is_pending(thread) ? trap_before(thread, entry, WJ_TRAP_INTERRUPT) : WJ_STATUS_OK;
}

/* faulthandler, which puts its fault handlers over ours and takes ours away with its own: what its is_enabled() calls. */
static PyCFunction faulthandler_is_enabled;
static PyObject *faulthandler_module;

void wj_watch_faulthandler(uintptr_t is_enabled)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *function = (PyObject *)is_enabled;
    if (PyCFunction_CheckExact(function) && (PyCFunction_GET_FLAGS(function) & METH_NOARGS) != 0) {
        faulthandler_module = Py_XNewRef(PyCFunction_GET_SELF(function));
        faulthandler_is_enabled = PyCFunction_GET_FUNCTION(function);
    }
    PyGILState_Release(state);
}

enum { REFUSED_CLOSED = -1, REFUSED_THREAD = -2, REFUSED_MEMORY = -3, REFUSED_SIGNAL = -4 };

/* The thread's preparation costs system calls, so it is done once in a tick of the coarse clock (some milliseconds), and
 * when faulthandler was switched on or off since. What else puts a fault handler over ours, or switches faulthandler off
 * and on again, is found at the next tick; a trap that comes before reaches that handler first. The same goes for signals that the thread blocks. A WJ_STATUS; or
 * negative, and nothing may run. */
static int make_ready(wj_thread *thread, bool has_gil)
{
    int64_t tick = wj_now_ns(CLOCK_MONOTONIC_COARSE);
    int faulthandler_state = thread->faulthandler_state;
    if (has_gil && faulthandler_is_enabled != NULL) {
        PyObject *enabled = faulthandler_is_enabled(faulthandler_module, NULL);
        faulthandler_state = enabled == Py_True;
        Py_XDECREF(enabled);
    }
    if (LIKELY(tick == thread->look_tick && faulthandler_state == thread->faulthandler_state)) {
        return WJ_STATUS_OK;
    }
    int number;
    if (!wj_thread_prepare(thread)) {
        return REFUSED_MEMORY;
    }
    if (!wj_interrupt_is_ours(&number)) {
        wj_interrupt_disarm(thread);
        return REFUSED_SIGNAL;
    }
    thread->look_tick = tick;
    thread->faulthandler_state = faulthandler_state;
    return WJ_STATUS_OK;
}

/* Whether the thread is in this store already. */
static bool runs_here(const wj_thread *thread, const wj_store *store)
{
    const wj_entry *entry = thread->entry;
    while (entry != NULL && entry->store != store) {
        entry = entry->outer;
    }
    return entry != NULL;
}

/* Makes *entry the thread's innermost one. A WJ_STATUS; or negative, and nothing is changed. */
static inline __attribute__((always_inline)) int enter(wj_target *target, wj_entry *entry, void *thread_state)
{
    wj_store *store = target->store;
    wj_thread *thread = &wj_this_thread;
    if (UNLIKELY(store->closed)) {
        return REFUSED_CLOSED;
    }
    uint32_t depth = store->depth;
    if (UNLIKELY(depth != 0 && store->thread != thread)) {
        return REFUSED_THREAD;
    }
    int refusal = thread->entry == NULL ? make_ready(thread, thread_state == NULL) : WJ_STATUS_OK;
    if (UNLIKELY(refusal < 0)) {
        return refusal;
    }
    /* Else the GIL is held by all that enter and all that close. */
    if (UNLIKELY(store->has_native) && !runs_here(thread, store)) {
        if (!wj_store_claim(store)) {
            return REFUSED_THREAD;
        }
        depth = 0;
        if (store->closed) { /* before we had it; now nobody can */
            wj_store_unclaim(store);
            return REFUSED_CLOSED;
        }
    }
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
    uintptr_t limit = sp > store->max_wasm_stack_bytes ? sp - store->max_wasm_stack_bytes : 0;
    if (sp >= thread->stack_low && sp < thread->stack_high) { /* else some library switched stacks */
        uintptr_t end = thread->stack_low + thread->stack_headroom_bytes;
        limit = limit > end ? limit : end;
    }
    entry->outer = thread->entry;
    entry->store = store;
    entry->thread_state = thread_state;
    entry->began_without_gil = thread_state == WJ_NO_GIL;
    entry->host_fp = 0;
    entry->activation = NULL;
    entry->own_pc_count = 0;
    entry->deadline_ns = 0;
    entry->stack_limit = store->stack_limit;
    entry->stencil_limit = store->stencil_limit;
    entry->caller = store->caller;
    entry->code = target->func_ref->code;
    entry->stack_slots = target->signature->stack_slots;
    entry->status = WJ_STATUS_OK;
    store->stack_limit = limit;
    store->stencil_limit = wj_stencil_limit(sp, limit);
    store->caller = target->caller;
    store->thread = thread;
    __atomic_store_n(&store->depth, depth + 1, __ATOMIC_RELAXED);
    /* Whoever interrupts from another thread writes interrupt_id, then sends a signal to store->thread. So what matters
     * is the order on this thread alone: its signal handler either finds the entry, or came before we look at
     * interrupt_id below. The release makes store->thread visible to those who see the odd call_id. */
    uint64_t call_id = store->call_id;
    if (depth == 0) {
        __atomic_store_n(&store->call_id, ++call_id, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&thread->entry, entry, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (UNLIKELY(sp <= limit)) {
        return trap_before(thread, entry, WJ_TRAP_STACK_OVERFLOW);
    }
    if (UNLIKELY(__atomic_load_n(&thread->pending, __ATOMIC_RELAXED) != 0 || store->timeout_ns != 0 ||
                 __atomic_load_n(&store->interrupt_id, __ATOMIC_RELAXED) == call_id)) {
        return may_start(store, thread, entry, depth == 0);
    }
    return WJ_STATUS_OK;
}

/* Undoes what enter() did. */
static inline __attribute__((always_inline)) void leave(wj_entry *entry)
{
    wj_store *store = entry->store;
    wj_thread *thread = &wj_this_thread;
    uint32_t depth = store->depth - 1;
    if (depth == 0) {
        __atomic_store_n(&store->call_id, store->call_id + 1, __ATOMIC_RELEASE);
        if (UNLIKELY(store->exceptions != NULL)) {
            wj_exceptions_sweep(store);
        }
    }
    __atomic_store_n(&thread->entry, entry->outer, __ATOMIC_RELEASE);
    if (UNLIKELY(entry->deadline_ns != 0 || thread->pending != 0)) {
        wj_interrupt_end(thread, entry);
    }
    store->stack_limit = entry->stack_limit;
    store->stencil_limit = entry->stencil_limit;
    store->caller = entry->caller;
    if (LIKELY(entry->status == WJ_STATUS_OK)) { /* else somebody waits for the end: it takes some 10 ms */
        wj_look_if_due(store); /* while nobody else may use the store */
    } else {
        wj_gc_clean(store);
    }
    __atomic_store_n(&store->depth, depth, __ATOMIC_RELEASE); /* another thread may enter at once */
}

/* What happened to a call that C made and that nobody could be told about is told now. */
static void raise_failure(wj_store *store)
{
    PyObject *failure = store->failure;
    store->failure = NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
    Py_DECREF(failure);
}

static void set_refusal(int refusal)
{
    if (refusal == REFUSED_MEMORY) {
        PyErr_SetString(PyExc_MemoryError, "no memory for what a thread takes to run wasm: a stack for signals");
        return;
    }
    int number;
    if (refusal == REFUSED_SIGNAL && !wj_interrupt_is_ours(&number)) {
        wj_set_error("WasmError",
                     "signal %d, by which calls are interrupted, has another handler now: install that before wasmjit is "
                     "imported, which then takes another signal",
                     number);
        return;
    }
    if (refusal == REFUSED_CLOSED) {
        wj_set_error("ClosedError", "store is closed");
    } else {
        wj_set_error("WasmError", "store is running on another thread: a Store is for one thread at a time");
    }
}

/* ---- calls from Python ---- */

/* Tells who wants to know that the outermost call is over; whether the call failed, or does now. */
static uint32_t __attribute__((noinline)) call_ended(const wj_target *target, uint32_t failed)
{
    wj_store *store = target->store;
    return store->depth != 0 ? failed : wj_tell_call_ended(store, target->func_ref) ? 0 : 1;
}

uint32_t wj_boundary_begin(void *target_pointer, void *entry_pointer)
{
    wj_target *target = target_pointer;
    wj_entry *entry = entry_pointer;
    if (UNLIKELY(target->store->failure != NULL)) {
        raise_failure(target->store);
        return target->store->call_ended != NULL ? call_ended(target, 1) : 1;
    }
    int status = enter(target, entry, NULL);
    if (LIKELY(status == WJ_STATUS_OK)) {
        if ((target->flags & WJ_FLAG_KEEP_GIL) == 0) {
            entry->thread_state = PyEval_SaveThread();
        }
        return 0;
    }
    if (status < 0) {
        set_refusal(status);
        return 1;
    }
    leave(entry);
    set_exception(entry, status);
    return target->store->call_ended != NULL ? call_ended(target, 1) : 1;
}

uint32_t wj_boundary_end(void *target, void *entry_pointer)
{
    wj_entry *entry = entry_pointer;
    entry->host_fp = (uintptr_t)entry; /* not in wasm code any more */
    if (entry->thread_state != NULL) {
        PyEval_RestoreThread(entry->thread_state);
    }
    leave(entry);
    if (LIKELY(entry->status == WJ_STATUS_OK)) {
        return UNLIKELY(entry->store->call_ended != NULL) ? call_ended(target, 0) : 0;
    }
    int status = entry->status;
    wj_interpreter_stack_trim(entry->store);
    if (status == WJ_STATUS_SIGNALS) {
        status = PyErr_CheckSignals() != 0 ? WJ_STATUS_EXCEPTION : WJ_STATUS_TRAP;
    }
    set_exception(entry, status);
    return entry->store->call_ended != NULL ? call_ended(target, 1) : 1;
}

uint32_t wj_run_frame(wj_target *target, const void *code, uint64_t stack_slots, wj_frame *frame)
{
    wj_entry entry;
    if (wj_boundary_begin(target, &entry) != 0) {
        return 1;
    }
    if (code != NULL) {
        entry.code = code;
        entry.stack_slots = stack_slots;
    }
    wj_enter(&entry, frame);
    return wj_boundary_end(target, &entry);
}

/* ---- without a trampoline ---- */

/* None, the value, or a list of values. */
static PyObject *results_to_python(const wj_target *target, wj_frame *frame, uint64_t *area)
{
    const wj_signature *of = target->signature;
    const wj_place *places = of->places + of->param_count;
    if (of->result_count == 0) {
        Py_RETURN_NONE;
    }
    if (of->result_count == 1) {
        return wj_slot_to_value(wj_result_slot(of, 0, frame, area), places[0].letter, wj_parameter_of(target, 0));
    }
    PyObject *list = PyList_New(of->result_count);
    for (uint32_t i = 0; list != NULL && i < of->result_count; i++) {
        PyObject *value = wj_slot_to_value(wj_result_slot(of, i, frame, area), places[i].letter, wj_parameter_of(target, 0));
        if (value == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, value);
        }
    }
    return list;
}

static PyObject *results_to_list(const wj_signature *of, wj_frame *frame, uint64_t *area)
{
    PyObject *list = PyList_New(of->result_slots);
    Py_ssize_t at = list == NULL ? -1 : 0;
    for (uint32_t i = 0; at >= 0 && i < of->result_count; i++) {
        at = wj_slot_to_bits(wj_result_slot(of, i, frame, area), of->places[of->param_count + i].letter, list, at);
    }
    if (at < 0) {
        Py_CLEAR(list);
    }
    return list;
}

/* Places the arguments, runs, converts the results; `slots` has room for the frame, its stack part and the area. */
static PyObject *call_in_slots(wj_target *target, PyObject *const *arguments, uint64_t *slots)
{
    const wj_signature *of = target->signature;
    bool unchecked = (target->flags & WJ_FLAG_UNCHECKED) != 0;
    wj_frame *frame = (wj_frame *)(void *)slots;
    uint64_t *area = frame->stack + of->stack_slots;
    for (uint32_t i = 0; i < of->param_count; i++) {
        uint64_t *slot = slots + of->places[i].slot;
        wj_where where = wj_parameter_of(target, i);
        if (!(unchecked ? wj_bits_to_slot(&arguments, of->places[i].letter, slot, where)
                        : wj_value_to_slot(*arguments++, &of->places[i], slot, where))) {
            return NULL;
        }
    }
    if (of->result_count > WJ_MAX_REGISTER_RESULTS) {
        frame->ints[1] = (uint64_t)(uintptr_t)area;
    }
    if (target->store->closed) { /* by what a conversion ran: the func-ref is gone */
        set_refusal(REFUSED_CLOSED);
        return NULL;
    }
    frame->ints[0] = (uint64_t)(uintptr_t)target->func_ref->vmctx;
    if (wj_run_frame(target, NULL, 0, frame) != 0) {
        return NULL;
    }
    return unchecked ? results_to_list(of, frame, area) : results_to_python(target, frame, area);
}

PyObject *wj_enter_any(wj_target *target, PyObject *const *arguments)
{
    const wj_signature *of = target->signature;
    size_t slot_count = WJ_SLOT_OF(stack) + of->stack_slots + of->area_slots;
    if (slot_count <= LOCAL_SLOTS) {
        _Alignas(16) uint64_t local[LOCAL_SLOTS];
        return call_in_slots(target, arguments, local);
    }
    uint64_t *slots = malloc(slot_count * sizeof(uint64_t)); /* malloc aligns to 16 bytes on our targets */
    if (slots == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *result = call_in_slots(target, arguments, slots);
    free(slots);
    return result;
}

/* ---- calls from C (Func.native_address) ---- */

static void keep_failure(wj_store *store);

/* Makes the exception of a call that failed, and keeps it in the store. */
static void fail_natively(wj_entry *entry, int status)
{
    /* A host function's exception comes with the GIL held, which gil_state gives back if the entry began without. */
    void *taken = entry->thread_state == NULL && entry->began_without_gil ? WJ_NO_GIL : wj_take_gil(entry);
    if (status == WJ_STATUS_SIGNALS) {
        status = PyErr_CheckSignals() != 0 ? WJ_STATUS_EXCEPTION : WJ_STATUS_TRAP;
    }
    if (status < 0) {
        set_refusal(status);
    } else {
        set_exception(entry, status);
    }
    keep_failure(entry->store);
    wj_give_gil(entry, taken);
}

uint32_t wj_boundary_native_begin(void *target_pointer, void *entry_pointer)
{
    wj_target *target = target_pointer;
    wj_entry *entry = entry_pointer;
    bool has_gil = PyGILState_Check() != 0;
    if (!has_gil && !Py_IsInitialized()) {
        return 1;
    }
    int status = enter(target, entry, has_gil ? NULL : WJ_NO_GIL);
    if (LIKELY(status == WJ_STATUS_OK)) {
        return 0;
    }
    if (status < 0) {
        entry->store = target->store;
        entry->own_pc_count = 0;
        entry->thread_state = has_gil ? NULL : WJ_NO_GIL;
        entry->began_without_gil = !has_gil;
    } else {
        leave(entry);
    }
    fail_natively(entry, status);
    return 1;
}

/* Keeps the current exception for the next who can be told; what came first is kept. With the GIL held. */
static void keep_failure(wj_store *store)
{
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    wj_fetch_exception(&type, &value, &traceback);
    if (value != NULL && store->failure == NULL && !store->closed) {
        store->failure = Py_NewRef(value);
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

void wj_boundary_native_end(void *target, void *entry_pointer)
{
    (void)target;
    wj_entry *entry = entry_pointer;
    entry->host_fp = (uintptr_t)entry;
    leave(entry);
    if (UNLIKELY(entry->status != WJ_STATUS_OK)) {
        fail_natively(entry, entry->status);
    }
}

/* ---- targets ---- */

void wj_target_set(wj_target *target, wj_store *store, PyObject *record, wj_func_ref *func_ref,
                   const wj_signature *signature, wj_enter_function *enter_function, uint32_t flags)
{
    __atomic_add_fetch(&store->references, 1, __ATOMIC_RELAXED);
    wj_signature_hold_again(signature);
    target->boundary = wj_boundary_table;
    target->store = store;
    target->record = record;
    target->func_ref = func_ref;
    target->signature = signature;
    target->enter = enter_function == NULL || (flags & WJ_FLAG_UNCHECKED) != 0 ? wj_enter_any : enter_function;
    target->flags = flags;
}

void wj_target_clear(wj_target *target)
{
    if (target->store != NULL) {
        wj_store_release_record(target->store);
        wj_signature_release(target->signature);
        target->store = NULL;
    }
}

#define ADDRESS(name) (const void *)wj_boundary_##name,
const void *const wj_boundary_table[] = {WJ_BOUNDARY(ADDRESS)};
