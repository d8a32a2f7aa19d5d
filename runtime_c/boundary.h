/* Shared by the files that carry calls between Python and wasm: signature.c, values.c, enter.c, host.c, callable.c. */
#ifndef WJ_BOUNDARY_H
#define WJ_BOUNDARY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "wj.h"

#define LIKELY(condition) __builtin_expect((condition) != 0, 1)
#define UNLIKELY(condition) __builtin_expect((condition) != 0, 0)

/* ---- signature.c: where each value of a call lies ---- */

typedef struct {
    char letter;
    bool non_null; /* a reference that never is */
    uint32_t slot; /* in the wj_frame; for the third and further results in the results area */
    /* Of the functions that a reference is to; NULL: of any. Held, unless it is of the same group. */
    const wj_signature *type;
} wj_place;

/* A recursion group with more than a function type by itself: its signatures refer to each other, and go together. */
typedef struct {
    uint64_t references; /* atomic: of all of its signatures */
    uint64_t serial; /* Python's: equal groups have the same while they live */
    uint32_t count;
    wj_signature *members[];
} wj_group;

/* Whoever keeps its address, or its id in a func-ref or an array of type ids, holds it. */
struct wj_signature {
    uint64_t references; /* atomic; of a group, that counts instead */
    wj_group *group; /* or NULL */
    const wj_signature *supertype; /* that it declares, or NULL; held as the types of its places are */
    uint32_t id;
    uint32_t position; /* in the group */
    bool is_final;
    uint32_t param_count;
    uint32_t result_count;
    uint32_t param_slots; /* as the unchecked form counts them: a v128 is two */
    uint32_t result_slots;
    uint32_t stack_slots; /* even: keeps the stack 16-byte aligned */
    uint32_t area_slots;
    bool has_externrefs; /* among parameters or results */
    wj_signature *next_dead; /* while it is freed */
    wj_place places[]; /* parameters, then results */
};

/* One more reference, for somebody who is given the address by one that holds it. */
WJ_INTERNAL void wj_signature_hold_again(const wj_signature *signature);

/* Whether references with this letter may be to what has one type. */
static inline bool wj_has_type(char letter)
{
    return letter == WJ_LETTER_FUNCREF || letter == WJ_LETTER_ANYREF;
}

/* Whether functions or objects of a type may be used where those of `wanted` are: it is that type or was declared to be below it. */
static inline bool wj_signature_takes(const wj_signature *wanted, uint32_t found)
{
    return found == wanted->id || (!wanted->is_final && wj_type_matches(found, wanted->id));
}

#define WJ_SLOT_OF(member) (offsetof(wj_frame, member) / sizeof(uint64_t))

/* Where a result is after a call: `area` has those that do not come back in registers. */
static inline uint64_t *wj_result_slot(const wj_signature *of, uint32_t index, wj_frame *frame, uint64_t *area)
{
    uint64_t *slots = index < WJ_MAX_REGISTER_RESULTS ? (uint64_t *)frame : area;
    return slots + of->places[of->param_count + index].slot;
}

static inline bool wj_is_float_class(char letter)
{
    return letter == 'f' || letter == 'F' || letter == 'V';
}

static inline bool wj_is_32_bits(char letter)
{
    return letter == 'i' || letter == 'f';
}

static inline uint32_t wj_slots_of(char letter)
{
    return letter == 'V' ? 2 : 1;
}

/* ---- host.c ---- */

/* Leaves wasm code from a host function. The exception stays set, and the GIL held, until the entry returns to Python. */
WJ_INTERNAL void wj_leave_with_exception(void) __attribute__((noreturn));

/* ---- values.c ---- */

typedef enum { WJ_PARAMETER, WJ_RESULT } wj_role;

/* What a value is, for messages ("parameter 2"; positions count from 0 here, from 1 there), and whose. */
typedef struct {
    const wj_store *store;
    PyObject *record; /* borrowed StoreRecord, or NULL: the store knows it */
    wj_role role;
    uint32_t position;
} wj_where;

WJ_INTERNAL const char *wj_letter_name(char letter);
/* Writes the bits of a Python value to one slot (two for a v128); false with an exception. */
WJ_INTERNAL bool wj_value_to_slot(PyObject *value, const wj_place *place, uint64_t *slot, wj_where where);
/* A new reference, or NULL with an exception. */
WJ_INTERNAL PyObject *wj_slot_to_value(const uint64_t *slot, char letter, wj_where where);
/* The unchecked form: the bits of one value from one or two ints at *items, which moves on. */
WJ_INTERNAL bool wj_bits_to_slot(PyObject *const **items, char letter, uint64_t *slot, wj_where where);
/* Appends the bits of one value at `at` of a list made for them; the next position, or -1 with an exception. */
WJ_INTERNAL Py_ssize_t wj_slot_to_bits(const uint64_t *slot, char letter, PyObject *list, Py_ssize_t at);
/* Sets an exception class of wasmjit.errors. */
WJ_INTERNAL void wj_set_error(const char *class_name, const char *format, ...) __attribute__((format(printf, 2, 0)));
/* A new reference; NULL without an exception if it is gone. */
WJ_INTERNAL PyObject *wj_record_of(wj_where where);

/* ---- enter.c ---- */

/* A function to call from outside: part of a TypedFunc or Func object, or a record of its own for C callers. */
typedef struct wj_target wj_target;
typedef PyObject *wj_enter_function(wj_target *target, PyObject *const *arguments);

struct wj_target {
    const void *const *boundary;
    wj_func_ref *func_ref;
    wj_store *store;  /* one reference on the C record */
    PyObject *record; /* borrowed StoreRecord, or NULL */
    const wj_signature *signature; /* held */
    wj_enter_function *enter; /* a trampoline of its signature, which the object keeps, or wj_enter_any */
    uint32_t flags;
    void *caller; /* the instance context that a host function is to see as its caller, or NULL */
};
WJ_ASSERT_OFFSET(wj_target, boundary, WJ_TARGET_BOUNDARY);
WJ_ASSERT_OFFSET(wj_target, func_ref, WJ_TARGET_FUNC_REF);

/* Calls with arguments that are as many as the signature says, whatever it is. */
WJ_INTERNAL PyObject *wj_enter_any(wj_target *target, PyObject *const *arguments);
/* Runs the entry's code on a prepared frame; nonzero with an exception. */
WJ_INTERNAL uint32_t wj_run_frame(wj_target *target, const void *code, uint64_t stack_slots, wj_frame *frame);
WJ_INTERNAL void wj_target_set(wj_target *target, wj_store *store, PyObject *record, wj_func_ref *func_ref,
                               const wj_signature *signature, wj_enter_function *enter, uint32_t flags);
WJ_INTERNAL void wj_target_clear(wj_target *target);
/* The program counters that the entry recorded; NULL with an exception. */
WJ_INTERNAL PyObject *wj_backtrace_tuple(const wj_entry *entry);

/* As PyErr_Fetch; the value, if there is one, is an instance that knows its traceback. */
static inline void wj_fetch_exception(PyObject **type, PyObject **value, PyObject **traceback)
{
    PyErr_Fetch(type, value, traceback);
    PyErr_NormalizeException(type, value, traceback);
    if (*value != NULL && *traceback != NULL) {
        (void)PyException_SetTraceback(*value, *traceback);
    }
}

static inline wj_where wj_parameter_of(const wj_target *target, uint32_t position)
{
    return (wj_where){target->store, target->record, WJ_PARAMETER, position};
}

WJ_INTERNAL extern const void *const wj_boundary_table[];

/* ---- the GIL of an entry ---- */

/* `thread_state` of an entry that C made on a thread that did not have the GIL and may not even be known to Python. */
#define WJ_NO_GIL ((void *)-1)

/* Takes the GIL if the entry's thread does not have it now; the answer is for wj_give_gil. */
static inline void *wj_take_gil(wj_entry *entry)
{
    void *state = entry->thread_state;
    if (state == NULL) {
        return NULL;
    }
    if (state == WJ_NO_GIL) {
        entry->gil_state = (int)PyGILState_Ensure();
    } else {
        PyEval_RestoreThread(state);
    }
    entry->thread_state = NULL;
    return state;
}

static inline void wj_give_gil(wj_entry *entry, void *taken)
{
    if (taken == WJ_NO_GIL) {
        PyGILState_Release((PyGILState_STATE)entry->gil_state);
        entry->thread_state = taken;
    } else if (taken != NULL) {
        entry->thread_state = PyEval_SaveThread();
    }
}

/* ---- externrefs.c: all with the GIL held ---- */

/* The object, a new reference; NULL with an exception. No Python code runs. */
WJ_INTERNAL PyObject *wj_externref_value(const wj_store *store, uint64_t handle);
/* Between these nothing is swept: around whatever has references in hands that no table, global or segment has yet, or
 * that may vanish from there. They nest. The last one makes up for sweeps that were due: any code may run. */
WJ_INTERNAL void wj_references_hold(wj_store *store);
WJ_INTERNAL void wj_references_release(wj_store *store);
/* Forgets the objects that nothing refers to, unless somebody may have references in hands. Any code may run. */
WJ_INTERNAL void wj_externrefs_sweep(wj_store *store);

/* ---- callable.c ---- */

/* The address of a function of the same store that a Func object stands for, or 0. */
WJ_INTERNAL uint64_t wj_func_address(PyObject *value, const wj_store *store);

#endif
