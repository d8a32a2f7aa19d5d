/* Questions to Python about code: of functions that have none, and better code for what is hot (wasmjit/tiers/lazy.py). */
#include "boundary.h"
#include "wj_thresholds.h"

#define COMPILER_STACK_BYTES (60u << 10) /* it takes about 40 KiB; a thread of 128 KiB always has 64 */

uint64_t wj_codeless_stub_address(void)
{
    return (uint64_t)(uintptr_t)wj_codeless_stub;
}

/* The address that Python answered with; leaves if it raised instead. */
static uint64_t address_answered(PyObject *answer)
{
    uint64_t address = answer == NULL ? 0 : PyLong_AsUnsignedLongLong(answer);
    Py_XDECREF(answer);
    if (UNLIKELY(PyErr_Occurred() != NULL)) {
        wj_leave_with_exception();
    }
    return address;
}

/* Whether the stack has room for making code, which is Python. */
static bool has_room_for_compiler(void)
{
    const wj_thread *thread = &wj_this_thread;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    return here < thread->stack_low || here >= thread->stack_high || here - thread->stack_low >= COMPILER_STACK_BYTES;
}

uint64_t wj_lazy_resolve(void *vmctx, uint32_t position, void *frame_address)
{
    if (UNLIKELY(!has_room_for_compiler())) {
        wj_trap(WJ_TRAP_STACK_OVERFLOW, 0);
    }
    wj_boundary_host_begin(NULL, frame_address);
    PyObject *resolver = wj_header_of(((const wj_vmcontext *)vmctx)->functions)->resolver;
    uint64_t code = address_answered(PyObject_CallFunction(resolver, "I", position));
    wj_boundary_host_end(NULL, frame_address);
    if (UNLIKELY(code == 0)) { /* an interrupt, or the end of the time, came first */
        wj_trap(WJ_TRAP_INTERRUPT, 0);
    }
    return code;
}

static _Thread_local int64_t next_question_ns __attribute__((tls_model("initial-exec")));

bool wj_may_ask(void)
{
    return wj_now_ns(CLOCK_MONOTONIC_COARSE) >= next_question_ns;
}

uint64_t wj_report_hot(void *vmctx, uint32_t position, uint32_t loop_offset, uint32_t is_compiled)
{
    void *frame_address = __builtin_frame_address(0);
    if (UNLIKELY(!has_room_for_compiler())) {
        return 0;
    }
    int64_t began_ns = wj_now_ns(CLOCK_MONOTONIC);
    wj_boundary_host_begin(NULL, frame_address);
    PyObject *reporter = wj_header_of(((const wj_vmcontext *)vmctx)->functions)->reporter;
    PyObject *answer = PyObject_CallFunction(reporter, "III", position, loop_offset, is_compiled);
    /* Python had no room even for asking (LazyCode.hot catches the rest): the program goes on in the code that it has. */
    if (UNLIKELY(answer == NULL) && (PyErr_ExceptionMatches(PyExc_RecursionError) || PyErr_ExceptionMatches(PyExc_MemoryError))) {
        PyErr_Clear();
        answer = PyLong_FromLong(0);
    }
    uint64_t code = address_answered(answer);
    int64_t ended_ns = wj_now_ns(CLOCK_MONOTONIC);
    int64_t pause_ns = WJ_QUESTION_COST_SHARE * (ended_ns - began_ns);
    next_question_ns = ended_ns + (pause_ns < WJ_QUESTION_INTERVAL_NS ? WJ_QUESTION_INTERVAL_NS : pause_ns);
    wj_boundary_host_end(NULL, frame_address);
    return code;
}
