/* Where wasm code calls Python other than by a host function: Python's signal handlers, the epoch callback, the store's
 * limiter; and the wasm frames that exceptions show in their tracebacks. */
#include "boundary.h"
#include "wj_gc.h"

#include <frameobject.h>
#include <string.h>

bool wj_at_python_end(void (*called)(void))
{
    PyGILState_STATE state = PyGILState_Ensure();
    bool done = Py_AtExit(called) == 0;
    PyGILState_Release(state);
    return done;
}

/* ---- to Python and back, from below wasm code ---- */

/* `fp`: the frame record where the backtrace goes on. */
static void *python_begin(wj_entry *entry, uintptr_t fp)
{
    entry->host_fp = fp;
    return wj_take_gil(entry);
}

static void python_end(wj_entry *entry, void *taken)
{
    wj_give_gil(entry, taken);
    entry->host_fp = 0;
}

bool wj_python_signals(wj_thread *thread, wj_entry *entry, uintptr_t pc, uintptr_t fp)
{
    void *state = python_begin(entry, fp);
    __atomic_and_fetch(&thread->pending, ~WJ_PENDING_SIGNALS, __ATOMIC_SEQ_CST);
    wj_store *store = entry->store;
    store->frozen++; /* the code stands anywhere: it may hold a memory's base in a register */
    uint8_t tail_arguments[WJ_TAIL_ARGUMENTS_BYTES]; /* or be about to jump with arguments there */
    memcpy(tail_arguments, store->tail_arguments, sizeof tail_arguments);
    wj_gc_hole hole = wj_gc_set_aside(store);
    int failed = PyErr_CheckSignals();
    wj_gc_put_back(store, hole);
    memcpy(store->tail_arguments, tail_arguments, sizeof tail_arguments);
    store->frozen--;
    if (failed) { /* the GIL stays held until the entry returns to the interpreter */
        wj_record_frames(thread, entry, pc, fp);
        return false;
    }
    python_end(entry, state);
    return true;
}

/* ---- epochs ---- */

void wj_builtin_epoch_deadline_reached(void *vmctx)
{
    wj_store *store = ((wj_vmcontext *)vmctx)->store;
    if (store->epoch_callback == NULL) {
        wj_trap(WJ_TRAP_INTERRUPT, 0);
    }
    wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    void *frame = __builtin_frame_address(0);
    void *state = python_begin(entry, (uintptr_t)frame);
    PyObject *callback = Py_NewRef((PyObject *)store->epoch_callback);
    PyObject *ticks = PyObject_CallNoArgs(callback);
    Py_DECREF(callback);
    uint64_t delta = ticks == NULL ? 0 : PyLong_AsUnsignedLongLong(ticks);
    Py_XDECREF(ticks);
    if (PyErr_Occurred()) {
        wj_record_frames(thread, entry, 0, (uintptr_t)frame);
        wj_unwind(entry, WJ_STATUS_EXCEPTION);
    }
    uint64_t now = __atomic_load_n((uint64_t *)(uintptr_t)store->epoch, __ATOMIC_RELAXED);
    store->epoch_deadline = delta > UINT64_MAX - now ? UINT64_MAX : now + delta;
    python_end(entry, state);
    wj_resume(thread, frame);
}

static void set_callable(void **place, uintptr_t callable)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *old = *place;
    *place = Py_XNewRef((PyObject *)callable);
    Py_XDECREF(old);
    PyGILState_Release(state);
}

void wj_store_set_epoch_callback(wj_store *store, uintptr_t callable)
{
    set_callable(&store->epoch_callback, callable);
}

/* ---- the end of calls ---- */

void wj_store_set_call_ended(wj_store *store, uintptr_t callable)
{
    set_callable(&store->call_ended, callable);
}

bool wj_tell_call_ended(wj_store *store, const void *func_ref)
{
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    wj_fetch_exception(&type, &value, &traceback);
    PyObject *callback = Py_NewRef((PyObject *)store->call_ended);
    PyObject *answer = PyObject_CallFunction(callback, "KO", (unsigned long long)(uintptr_t)func_ref,
                                             value == NULL ? Py_None : value);
    Py_DECREF(callback);
    if (answer == Py_None) {
        PyErr_Restore(type, value, traceback);
    } else {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        if (answer != NULL) {
            PyErr_SetObject((PyObject *)Py_TYPE(answer), answer);
        }
    }
    Py_XDECREF(answer);
    return PyErr_Occurred() == NULL;
}

/* ---- limits ---- */

void wj_store_set_limiter(wj_store *store, uintptr_t callable)
{
    set_callable(&store->limiter, callable);
}

bool wj_limiter_allows(wj_store *store, int is_table, uint64_t current, uint64_t desired, uint64_t maximum, void *fp)
{
    wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    void *state = python_begin(entry, (uintptr_t)fp);
    int allowed = 1;
    if (store->limiter != NULL) { /* it may have gone while we waited for the GIL */
        PyObject *limiter = Py_NewRef((PyObject *)store->limiter);
        PyObject *answer =
            PyObject_CallFunction(limiter, "iKKK", is_table, (unsigned long long)current, (unsigned long long)desired,
                                  (unsigned long long)maximum);
        Py_DECREF(limiter);
        allowed = answer == NULL ? -1 : PyObject_IsTrue(answer);
        Py_XDECREF(answer);
    }
    if (allowed < 0) {
        wj_record_frames(thread, entry, 0, (uintptr_t)fp);
        wj_unwind(entry, WJ_STATUS_EXCEPTION);
    }
    python_end(entry, state);
    return allowed != 0;
}

/* ---- wasm frames in tracebacks ---- */

/* Owned; replaced with the GIL held. */
static PyObject *frame_describer;
static PyObject *exit_class;

void wj_set_frame_describer(uintptr_t callable, uintptr_t exit_class_object)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *old = frame_describer;
    PyObject *old_class = exit_class;
    frame_describer = Py_XNewRef((PyObject *)callable);
    exit_class = Py_XNewRef((PyObject *)exit_class_object);
    Py_XDECREF(old);
    Py_XDECREF(old_class);
    PyGILState_Release(state);
}

/* The frame of a (file, function, line); NULL, without an exception, if it cannot be made. */
static PyFrameObject *make_frame(PyObject *description, PyObject *globals)
{
    const char *file = NULL;
    const char *name = NULL;
    int line = 0;
    PyCodeObject *code = NULL;
    if (PyArg_ParseTuple(description, "ssi", &file, &name, &line)) {
        code = PyCode_NewEmpty(file, name, line);
    }
    PyFrameObject *frame = code == NULL ? NULL : PyFrame_New(PyThreadState_Get(), code, globals, NULL);
    Py_XDECREF(code);
    PyErr_Clear();
    return frame;
}

/* What the describer makes of the entry's frames: a list, or NULL without an exception. */
static PyObject *describe_frames(const wj_entry *entry)
{
    PyObject *pcs = PyTuple_New(entry->own_pc_count);
    for (uint32_t i = 0; pcs != NULL && i < entry->own_pc_count; i++) {
        PyObject *pc = PyLong_FromUnsignedLongLong(entry->pcs[i]);
        if (pc == NULL) {
            Py_CLEAR(pcs);
            break;
        }
        PyTuple_SET_ITEM(pcs, i, pc);
    }
    PyObject *frames = pcs == NULL ? NULL : PyObject_CallOneArg(frame_describer, pcs);
    Py_XDECREF(pcs);
    if (frames != NULL && !PyList_Check(frames)) {
        Py_CLEAR(frames);
    }
    PyErr_Clear();
    return frames;
}

void wj_add_traceback(const wj_entry *entry)
{
    if (frame_describer == NULL || entry->own_pc_count == 0 || PyErr_ExceptionMatches(exit_class)) {
        return;
    }
    /* The exception is put aside while frames are made: what fails in here must not replace it. */
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *globals = PyDict_New();
    PyObject *frames = globals == NULL ? NULL : describe_frames(entry);
    for (Py_ssize_t i = 0; frames != NULL && i < PyList_GET_SIZE(frames); i++) {
        PyFrameObject *frame = make_frame(PyList_GET_ITEM(frames, i), globals);
        if (frame == NULL) {
            break;
        }
        PyErr_Restore(type, value, traceback);
        (void)PyTraceBack_Here(frame);
        PyErr_Fetch(&type, &value, &traceback);
        Py_DECREF(frame);
    }
    Py_XDECREF(frames);
    Py_XDECREF(globals);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}
