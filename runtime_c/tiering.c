/* Questions to Python about code: of functions that have none, and better code for what is hot (wasmjit/tiers/lazy.py). */
#include "boundary.h"
#include "interpret.h"
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

static int64_t held_until_ns; /* atomic */

void wj_hold_questions(int64_t nanoseconds)
{
    int64_t until_ns = nanoseconds == 0 ? 0 : wj_now_ns(CLOCK_MONOTONIC_COARSE) + nanoseconds;
    __atomic_store_n(&held_until_ns, until_ns, __ATOMIC_RELAXED);
}

bool wj_may_ask(void)
{
    int64_t now_ns = wj_now_ns(CLOCK_MONOTONIC_COARSE);
    return now_ns >= next_question_ns && now_ns >= __atomic_load_n(&held_until_ns, __ATOMIC_RELAXED);
}

bool wj_may_ask_of(wj_interpreted *function)
{
    bool has_news = __atomic_load_n(&function->has_news, __ATOMIC_RELAXED) != 0;
    if (UNLIKELY(has_news)) {
        __atomic_store_n(&function->has_news, 0, __ATOMIC_RELAXED);
    }
    return has_news || wj_may_ask();
}

uint64_t wj_report_hot(void *vmctx, uint32_t position, uint32_t loop_offset, uint32_t asked_by)
{
    void *frame_address = __builtin_frame_address(0);
    if (UNLIKELY(!has_room_for_compiler())) {
        return 0;
    }
    int64_t began_ns = wj_now_ns(CLOCK_MONOTONIC);
    wj_boundary_host_begin(NULL, frame_address);
    PyObject *reporter = wj_header_of(((const wj_vmcontext *)vmctx)->functions)->reporter;
    PyObject *answer = PyObject_CallFunction(reporter, "III", position, loop_offset, asked_by);
    /* Python had no room even for asking (LazyCode.hot catches the rest): the program goes on in the code that it has. */
    if (UNLIKELY(answer == NULL) && (PyErr_ExceptionMatches(PyExc_RecursionError) || PyErr_ExceptionMatches(PyExc_MemoryError))) {
        PyErr_Clear();
        answer = PyLong_FromLong(0);
    }
    uint64_t code = address_answered(answer);
    int64_t ended_ns = wj_now_ns(CLOCK_MONOTONIC);
    int64_t pause_ns = WJ_QUESTION_COST_SHARE * (ended_ns - began_ns);
    if (pause_ns < WJ_QUESTION_INTERVAL_NS) {
        pause_ns = WJ_QUESTION_INTERVAL_NS;
    } else if (pause_ns > WJ_LONGEST_QUESTION_INTERVAL_NS) {
        pause_ns = WJ_LONGEST_QUESTION_INTERVAL_NS;
    }
    next_question_ns = ended_ns + pause_ns;
    wj_boundary_host_end(NULL, frame_address);
    return code;
}

/* ---- which loop of a nest to go on in ----
 *
 * An activation that stays in a nest of loops asks from the innermost one, nearly always. Code that is entered there has
 * to be made for each of the loops around it, too (compile/loop_entry.py). So the thread watches for a moment: it asks
 * where any loop of the function begins, and the outermost one that began again and again in that time is the one to
 * make code for. When that is made, the thread asks everywhere once more, and goes over when that loop begins. */

#define WATCH_NS 1000000
#define AWAIT_NS 5000000
#define LOOKS_AT_CLOCK 64 /* begun loops between two */

static _Thread_local struct {
    const wj_interpreted *function; /* NULL: nothing is watched. Compared only: it may be gone */
    int64_t end_ns;
    uint32_t count;    /* of loops begun */
    uint32_t previous; /* the offset of the loop that began last */
    uint32_t lowest;   /* of those that began again: a loop has a lower offset than those in it */
    uint32_t awaited;  /* the offset of a loop that there is code for; 0: none, they are watched */
} watch __attribute__((tls_model("initial-exec")));

static void begin_watch(const wj_interpreted *function, uint32_t loop_offset, uint32_t awaited)
{
    watch.function = function;
    watch.end_ns = wj_now_ns(CLOCK_MONOTONIC) + (awaited == 0 ? WATCH_NS : AWAIT_NS);
    watch.count = 0;
    watch.previous = watch.lowest = loop_offset;
    watch.awaited = awaited;
}

/* Whether it is over. */
static bool is_watched(uint32_t loop_offset)
{
    if (loop_offset <= watch.previous && loop_offset < watch.lowest) {
        watch.lowest = loop_offset;
    }
    watch.previous = loop_offset;
    bool is_over = ++watch.count % LOOKS_AT_CLOCK == 0 && wj_now_ns(CLOCK_MONOTONIC) >= watch.end_ns;
    if (is_over || loop_offset == watch.awaited) {
        watch.function = NULL;
    }
    return watch.function == NULL;
}

wj_hot_answer wj_report_native(void *vmctx, uint32_t position, uint32_t loop_offset)
{
    const wj_interpreter *interpreter = wj_header_of(((const wj_vmcontext *)vmctx)->functions)->interpreter;
    wj_interpreted *function = interpreter->functions[position];
    wj_hot_answer answer = {0, (uint32_t)interpreter->plan.budget};
    if (loop_offset == 0) {
        __atomic_store_n(&function->budget, interpreter->plan.budget, __ATOMIC_RELAXED);
    }
    if (loop_offset != 0 && watch.function == function) {
        if (!is_watched(loop_offset)) {
            answer.budget = 1;
            return answer;
        }
        if (watch.awaited == 0) {
            /* It may answer with code, but for another loop than the one that begins here. */
            (void)wj_report_hot(vmctx, position, watch.lowest, WJ_ASKED_BY_WATCH);
            return answer;
        }
        if (loop_offset != watch.awaited) {
            return answer;
        }
    } else if (interpreter->plan.patient != 0 && !wj_may_ask_of(function)) {
        return answer;
    }
    uint64_t code = wj_report_hot(vmctx, position, loop_offset, WJ_ASKED_BY_STENCILS);
    if (code != WJ_ANSWER_WATCH && (code & WJ_ANSWER_AWAIT) == 0) {
        answer.code = code;
    } else if (loop_offset != 0) {
        begin_watch(function, loop_offset, code == WJ_ANSWER_WATCH ? 0 : (uint32_t)code);
        answer.budget = 1;
    }
    return answer;
}
