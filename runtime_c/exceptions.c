/* Exceptions of wasm: the objects, and the way from where one is thrown to where it is caught.
 *
 * Code that catches says where, right behind each call (compile/invoke.py): so the way leads from frame record to frame
 * record, to a return address with such a mark. Everything in between is left as a trap leaves it: what has to be put back
 * is the innermost activation of the interpreter, and the limits that it lowered. The landing uses nothing but its frame, so
 * no register but that of the frame is restored. No frame outside of the innermost entry is looked at: an exception that
 * leaves that becomes one of Python, and one of Python that a host function raises is thrown on from there.
 *
 * An exception that no reference was taken to is freed where it is caught. Others stay until the outermost call is over, or,
 * in a store with globals or tables that may keep them, as long as the store. No reference can be older. */
#include "stencil.h"

#include <stdlib.h>
#include <string.h>

/* What all exceptions of a store may take; more is a trap, as any number can be made in one call. */
#define MOST_EXCEPTION_BYTES (UINT64_C(256) << 20)

struct wj_tag {
    uint64_t payload_bytes;
};
_Static_assert(offsetof(wj_tag, payload_bytes) == WJ_TAG_PAYLOAD_BYTES, "tag layout");

struct wj_exception {
    const wj_tag *tag;
    uint32_t flags;
    uint32_t holds; /* atomic: calls that it left, and whose callers are yet to be told */
    wj_exception *next, *previous; /* in store->exceptions */
    uint64_t payload[];
};
WJ_ASSERT_OFFSET(struct wj_exception, tag, WJ_EXCEPTION_TAG);
WJ_ASSERT_OFFSET(struct wj_exception, flags, WJ_EXCEPTION_FLAGS);
WJ_ASSERT_OFFSET(struct wj_exception, payload, WJ_EXCEPTION_SIZEOF);

/* ---- the objects ---- */

static uint64_t bytes_of(const wj_exception *exception)
{
    return sizeof *exception + exception->tag->payload_bytes;
}

/* NULL: no memory, or too much of it. */
static wj_exception *make(wj_store *store, const wj_tag *tag)
{
    uint64_t size_bytes = sizeof(wj_exception) + tag->payload_bytes;
    if (store->exception_bytes + size_bytes > MOST_EXCEPTION_BYTES) {
        return NULL;
    }
    wj_exception *made = malloc(size_bytes);
    if (made == NULL) {
        return NULL;
    }
    memset(made, 0, size_bytes);
    made->tag = tag;
    made->next = store->exceptions;
    if (made->next != NULL) {
        made->next->previous = made;
    }
    store->exceptions = made;
    store->exception_bytes += size_bytes;
    return made;
}

static void unmake(wj_store *store, wj_exception *exception)
{
    if (exception->previous != NULL) {
        exception->previous->next = exception->next;
    } else {
        store->exceptions = exception->next;
    }
    if (exception->next != NULL) {
        exception->next->previous = exception->previous;
    }
    store->exception_bytes -= bytes_of(exception);
    free(exception);
}

void wj_exceptions_sweep(wj_store *store)
{
    for (wj_exception *exception = store->exceptions, *next; exception != NULL; exception = next) {
        next = exception->next;
        if (!store->keeps_exceptions && __atomic_load_n(&exception->holds, __ATOMIC_ACQUIRE) == 0) {
            unmake(store, exception);
        }
    }
}

void wj_exceptions_free(wj_store *store)
{
    for (wj_exception *exception = store->exceptions, *next; exception != NULL; exception = next) {
        next = exception->next;
        free(exception);
    }
    store->exceptions = NULL;
    store->exception_bytes = 0;
}

void wj_exceptions_mark(const wj_store *store, void (*mark)(void *, const uint64_t *, uint64_t), void *into)
{
    for (const wj_exception *exception = store->exceptions; exception != NULL; exception = exception->next) {
        mark(into, exception->payload, exception->tag->payload_bytes / sizeof(uint64_t));
    }
}

void wj_store_keep_exceptions(wj_store *store)
{
    store->keeps_exceptions = true;
}

uintptr_t wj_exception_new(wj_store *store, uintptr_t tag)
{
    return (uintptr_t)make(store, (const wj_tag *)tag);
}

uint64_t wj_store_exception_bytes(wj_store *store)
{
    return store->exception_bytes;
}

void *wj_builtin_exception_new(void *vmctx, void *tag)
{
    wj_exception *made = make(((wj_vmcontext *)vmctx)->store, tag);
    if (made == NULL) {
        wj_trap(WJ_TRAP_ALLOCATION_TOO_LARGE, 0);
    }
    return made;
}

void wj_builtin_exception_release(void *vmctx, void *exception_pointer)
{
    wj_exception *exception = exception_pointer;
    if (exception->flags == 0 && __atomic_load_n(&exception->holds, __ATOMIC_ACQUIRE) == 0) {
        unmake(((wj_vmcontext *)vmctx)->store, exception);
    }
}

/* ---- the way to where it is caught ---- */

/* Where code goes on, and what is put back there. */
typedef struct {
    uintptr_t pc, sp, fp;
    wj_activation *activation;
    const wj_activation *outermost_left; /* of those that are left, or NULL */
} landing;

/* The landing of a call that returns to `at`, or 0. What is registered is code that we have made, and `at` begins one of its
 * instructions. `range`: where the frame before was, whose code is kept while it is active. */
static uintptr_t landing_of(uintptr_t at, wj_code_range *range)
{
    if (at - 1 < range->start || at - 1 >= range->end) {
        *range = wj_code_range_of(at - 1);
    }
    if (range->end < at + WJ_MARK_BYTES) {
        return 0;
    }
    intptr_t distance = wj_mark_distance((const uint8_t *)at);
    uintptr_t found = at + (uintptr_t)distance;
    return distance != 0 && found >= range->start && found < range->end ? found : 0;
}

/* Follows frame records from fp on, as walk_frames of trap.c does. */
static bool find_landing(const wj_thread *thread, const wj_entry *entry, uintptr_t fp, landing *found)
{
    uintptr_t limit = entry->landing_fp < thread->stack_high - 16 ? entry->landing_fp : thread->stack_high - 16;
    uintptr_t readable_from = (uintptr_t)__builtin_frame_address(0);
    found->activation = entry->activation;
    found->outermost_left = NULL;
    found->pc = 0;
    wj_code_range range = {0, 0};
    while (fp >= readable_from && fp < limit && fp % sizeof(uintptr_t) == 0) {
        const uintptr_t *record = (const uintptr_t *)fp;
        uintptr_t at = wj_return_address(record[1]);
        if (wj_in_interpreter(at - 1)) { /* as add_activations of trap.c */
            for (bool was_first = false; found->activation != NULL && !was_first;) {
                was_first = found->activation->is_first;
                found->outermost_left = found->activation;
                found->activation = found->activation->outer;
            }
        } else {
            found->pc = landing_of(at, &range);
        }
        if (found->pc != 0) {
            wj_registers caller = wj_marked_caller(fp);
            found->sp = caller.sp;
            found->fp = caller.fp;
            return true;
        }
        if (record[0] <= fp) {
            return false;
        }
        fp = record[0];
    }
    return false;
}

/* Has the exception caught there. */
static void __attribute__((noreturn)) land(wj_entry *entry, wj_exception *exception, const landing *at)
{
    wj_store *store = entry->store;
    if (at->outermost_left != NULL) {
        store->stack_limit = at->outermost_left->stack_limit;
        store->stencil_limit = at->outermost_left->stencil_limit;
    }
    __atomic_store_n(&entry->activation, at->activation, __ATOMIC_RELEASE);
    store->exception = exception;
    wj_land(at->pc, at->sp, at->fp);
}

void wj_builtin_exception_throw(void *vmctx, void *exception_pointer)
{
    (void)vmctx;
    wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    wj_exception *exception = exception_pointer;
    void *frame = __builtin_frame_address(0);
    wj_resume(thread, frame);
    landing at;
    if (find_landing(thread, entry, (uintptr_t)frame, &at)) {
        land(entry, exception, &at);
    }
    /* When the caller is told, others may be in the store, or it may be closed. */
    __atomic_add_fetch(&exception->holds, 1, __ATOMIC_RELAXED);
    wj_store_pin(entry->store);
    entry->thrown = exception;
    wj_record_frames(thread, entry, 0, (uintptr_t)frame);
    wj_unwind(entry, WJ_STATUS_THROWN);
}

/* ---- Python's ---- */

/* Owned; replaced with the GIL held. */
static PyObject *exception_class; /* of those of Python that are caught by wasm */
static PyObject *to_wasm;         /* (record, its instance) -> address of an exception, or None: it is not this store's */
static PyObject *to_python;       /* (record, tag, payload, pcs) -> its instance */

void wj_set_exception_hooks(uintptr_t class_object, uintptr_t to_wasm_object, uintptr_t to_python_object)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *old[] = {exception_class, to_wasm, to_python};
    exception_class = Py_XNewRef((PyObject *)class_object);
    to_wasm = Py_XNewRef((PyObject *)to_wasm_object);
    to_python = Py_XNewRef((PyObject *)to_python_object);
    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
        Py_XDECREF(old[i]);
    }
    PyGILState_Release(state);
}

/* The exception for one of Python that is set; NULL if there is none, or with another one of Python set. */
static wj_exception *from_python(wj_store *store)
{
    if (exception_class == NULL || !PyErr_ExceptionMatches(exception_class)) {
        return NULL;
    }
    PyObject *record = wj_record_of((wj_where){store, NULL, WJ_RESULT, 0});
    if (record == NULL) {
        return NULL;
    }
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    wj_fetch_exception(&type, &value, &traceback);
    PyObject *address = PyObject_CallFunctionObjArgs(to_wasm, record, value, NULL);
    Py_DECREF(record);
    wj_exception *made = NULL;
    if (address != NULL && address != Py_None) {
        made = (wj_exception *)PyLong_AsVoidPtr(address);
    }
    if (address == NULL || PyErr_Occurred() != NULL) {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        made = NULL;
    } else {
        PyErr_Restore(type, value, traceback);
    }
    Py_XDECREF(address);
    return made;
}

void wj_throw_from_host(wj_thread *thread, wj_entry *entry)
{
    landing at;
    uintptr_t fp = entry->host_fp;
    wj_store *store = entry->store;
    if (!find_landing(thread, entry, fp, &at)) {
        return;
    }
    wj_exception *exception = from_python(store);
    if (exception == NULL) {
        return;
    }
    PyErr_Clear(); /* any code may run */
    wj_give_gil(entry, entry->gil_to_give);
    wj_look_if_due(store);
    entry->host_fp = 0;
    wj_resume(thread, (void *)fp);
    land(entry, exception, &at);
}

void wj_set_thrown(const wj_entry *entry)
{
    wj_store *store = entry->store;
    wj_exception *exception = entry->thrown;
    PyObject *record = wj_record_of((wj_where){store, NULL, WJ_RESULT, 0});
    PyObject *pcs = record == NULL ? NULL : wj_backtrace_tuple(entry);
    PyObject *made = NULL;
    if (pcs != NULL && to_python != NULL) {
        made = PyObject_CallFunction(to_python, "OKKO", record, (unsigned long long)(uintptr_t)exception->tag,
                                     (unsigned long long)(uintptr_t)exception->payload, pcs);
    }
    Py_XDECREF(pcs);
    Py_XDECREF(record);
    __atomic_sub_fetch(&exception->holds, 1, __ATOMIC_RELEASE); /* a sweep may free it now */
    wj_store_unpin(store);
    if (made != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(made), made);
        Py_DECREF(made);
    } else if (!PyErr_Occurred()) {
        wj_set_error("ClosedError", "store is closed");
    }
}
