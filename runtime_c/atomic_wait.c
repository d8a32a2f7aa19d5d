/* memory.atomic.wait32, wait64 and notify: threads wait by the address of what they wait for, whatever store or instance
 * they run in. A memory that is shared never moves.
 *
 * A thread sleeps on a word of its own (wj_thread.wake), which is set by who notifies it and by the handler of the signal
 * for interrupts (interrupt.c), so a signal that comes right before it sleeps is not missed. It stays in its queue while
 * Python's signal handlers run, and leaves it before it leaves its code. */
#include "atomics.h"
#include "sanitizer.h"

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of Linux, not of every system's headers; with the flag for words that processes do not share. */
#define FUTEX_WAIT_HERE (0 | 128)
#define FUTEX_WAKE_HERE (1 | 128)

#define QUEUES 256u
#define LOOK_NS 20000000 /* between looks at signals for Python, whose handlers know nothing of `wake` */

typedef struct waiter {
    struct waiter *next, *previous;
    const uint8_t *address;
    wj_thread *thread;
    bool is_notified;
    uint32_t fork_generation; /* in which it was put into its queue */
} waiter;

typedef struct {
    pthread_mutex_t lock; /* guards all of this, and the waiters in it */
    uint32_t count;       /* atomic */
    waiter *first, *last;
} queue;

static queue queues[QUEUES] = {[0 ... QUEUES - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

static queue *queue_of(const uint8_t *address)
{
    uint64_t key = (uint64_t)(uintptr_t)address >> 2;
    return &queues[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 56];
}

static void enter_queue(queue *in, waiter *entering)
{
    entering->fork_generation = wj_fork_generation;
    entering->next = NULL;
    entering->previous = in->last;
    *(in->last == NULL ? &in->first : &in->last->next) = entering;
    in->last = entering;
}

static void leave_queue(queue *in, const waiter *leaving)
{
    *(leaving->previous == NULL ? &in->first : &leaving->previous->next) = leaving->next;
    *(leaving->next == NULL ? &in->last : &leaving->next->previous) = leaving->previous;
    (void)__atomic_sub_fetch(&in->count, 1, __ATOMIC_SEQ_CST);
}

/* The threads that waited are gone, but for one that forks in a signal handler: it enters its queue again. */
void wj_waits_after_fork_in_child(void)
{
    for (uint32_t i = 0; i < QUEUES; i++) {
        queues[i] = (queue){.lock = PTHREAD_MUTEX_INITIALIZER};
    }
    for (const wj_entry *entry = wj_this_thread.entry; entry != NULL; entry = entry->outer) {
        entry->store->waiting_generation = wj_fork_generation;
    }
}

/* ---- one thread ---- */

/* Nanoseconds; a negative timeout: for ever. */
static void sleep_on(const uint32_t *word, int64_t timeout_ns)
{
#ifdef __SANITIZE_THREAD__
    wj_sleep_sanitized(word, timeout_ns);
#else
    struct timespec timeout = {timeout_ns / WJ_NS_PER_SECOND, timeout_ns % WJ_NS_PER_SECOND};
    (void)syscall(SYS_futex, word, FUTEX_WAIT_HERE, 0, timeout_ns < 0 ? NULL : &timeout, NULL, 0);
#endif
}

/* Takes what waits out of its queue; whether it was notified before. */
static bool end_wait(queue *in, const waiter *ending)
{
    pthread_mutex_lock(&in->lock);
    bool is_notified = ending->is_notified;
    if (!is_notified && ending->fork_generation == wj_fork_generation) {
        leave_queue(in, ending);
    }
    pthread_mutex_unlock(&in->lock);
    return is_notified;
}

/* In a child of a fork. */
static void enter_again(queue *in, waiter *entering)
{
    pthread_mutex_lock(&in->lock);
    if (!entering->is_notified) {
        (void)__atomic_add_fetch(&in->count, 1, __ATOMIC_SEQ_CST);
        enter_queue(in, entering);
    }
    pthread_mutex_unlock(&in->lock);
}

/* That a call waits: Store.close may end it. */
static void note_waiting(const wj_entry *entry, bool begins)
{
    for (; entry != NULL; entry = entry->outer) {
        __atomic_store_n(&entry->store->waiting_generation, wj_fork_generation, __ATOMIC_RELAXED);
        (void)__atomic_add_fetch(&entry->store->waiting, begins ? 1 : UINT32_MAX, __ATOMIC_SEQ_CST);
    }
}

static int64_t end_of(int64_t timeout_ns)
{
    int64_t now_ns = wj_now_ns(CLOCK_MONOTONIC);
    return timeout_ns < 0 || timeout_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + timeout_ns;
}

/* Negative: for ever. */
static int64_t left_until(int64_t end_ns)
{
    int64_t now_ns = wj_now_ns(CLOCK_MONOTONIC);
    return end_ns == INT64_MAX ? -1 : end_ns > now_ns ? end_ns - now_ns : 0;
}

static void go_on(wj_entry *entry, bool released)
{
    if (released) {
        PyEval_RestoreThread(entry->thread_state);
        entry->thread_state = NULL;
    }
}

/* Sleeps until it is notified or time is over. Leaves the code for what is pending; `frame` is the builtin's own. */
static uint64_t wait_in(queue *in, waiter *waiting, int64_t timeout_ns, void *frame)
{
    wj_thread *thread = waiting->thread;
    wj_entry *entry = thread->entry;
    int64_t end_ns = end_of(timeout_ns);
    note_waiting(entry, true); /* before the first look: who ends it looks at this first */
    bool released = entry->thread_state == NULL; /* the code runs with the GIL */
    if (released) {
        entry->thread_state = PyEval_SaveThread();
    }
    bool is_timed_out = false;
    int status = WJ_STATUS_OK;
    for (;;) {
        __atomic_store_n(&thread->wake, 0, __ATOMIC_SEQ_CST); /* before looking at what comes with it */
        if (__atomic_load_n(&waiting->is_notified, __ATOMIC_ACQUIRE) || is_timed_out) {
            break;
        }
        uint32_t pending = __atomic_load_n(&thread->pending, __ATOMIC_SEQ_CST);
        if ((pending & WJ_PENDING_SIGNALS) != 0) {
            if (!wj_python_signals(thread, entry, 0, (uintptr_t)frame)) {
                status = WJ_STATUS_EXCEPTION;
                break;
            }
            if (waiting->fork_generation != wj_fork_generation) {
                enter_again(in, waiting);
            }
            continue;
        }
        if (wj_trap_is_pending(thread)) {
            status = WJ_STATUS_TRAP;
            break;
        }
        int64_t left_ns = left_until(end_ns);
        if (left_ns == 0) {
            is_timed_out = true;
            continue;
        }
        sleep_on(&thread->wake, left_ns);
    }
    bool is_notified = end_wait(in, waiting);
    note_waiting(entry, false);
    if (status == WJ_STATUS_EXCEPTION) { /* which holds the GIL */
        wj_unwind(entry, WJ_STATUS_EXCEPTION);
    }
    go_on(entry, released);
    if (status == WJ_STATUS_TRAP) {
        wj_trap(WJ_TRAP_INTERRUPT, 0);
    }
    return is_notified ? WJ_WAIT_OK : WJ_WAIT_TIMED_OUT;
}

/* ---- the builtins ---- */

/* Puts it into the queue if what is in memory is what is expected. */
static bool enter_if_equal(queue *in, waiter *waiting, bool is_wide, uint64_t expected)
{
    const void *at = waiting->address;
    pthread_mutex_lock(&in->lock);
    (void)__atomic_add_fetch(&in->count, 1, __ATOMIC_SEQ_CST); /* before the look: see `notify` */
    uint64_t found = is_wide ? __atomic_load_n((const uint64_t *)at, __ATOMIC_SEQ_CST)
                             : __atomic_load_n((const uint32_t *)at, __ATOMIC_SEQ_CST);
    bool is_equal = found == expected;
    if (is_equal) {
        enter_queue(in, waiting);
    } else {
        (void)__atomic_sub_fetch(&in->count, 1, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(&in->lock);
    return is_equal;
}

static uint64_t begin_wait(const wj_memory *memory, const uint8_t *at, bool is_wide, uint64_t expected, uint64_t timeout_ns,
                           void *frame)
{
    if (!memory->is_shared) {
        wj_trap(WJ_TRAP_ATOMIC_WAIT_NON_SHARED_MEMORY, 0);
    }
    waiter waiting = {.address = at, .thread = &wj_this_thread};
    queue *in = queue_of(at);
    bool is_equal = enter_if_equal(in, &waiting, is_wide, expected);
    uint64_t result = is_equal ? wait_in(in, &waiting, (int64_t)timeout_ns, frame) : WJ_WAIT_MISMATCH;
    wj_resume(&wj_this_thread, frame);
    return result;
}

uint64_t wj_builtin_memory_wait32(void *vmctx, uint32_t memory, uint64_t address, uint64_t offset, uint64_t expected,
                                  uint64_t timeout_ns)
{
    const wj_memory *in = wj_memory_of(vmctx, memory);
    const uint8_t *at = wj_atomic_place(in, address, offset, sizeof(uint32_t));
    return begin_wait(in, at, false, (uint32_t)expected, timeout_ns, __builtin_frame_address(0));
}

uint64_t wj_builtin_memory_wait64(void *vmctx, uint32_t memory, uint64_t address, uint64_t offset, uint64_t expected,
                                  uint64_t timeout_ns)
{
    const wj_memory *in = wj_memory_of(vmctx, memory);
    const uint8_t *at = wj_atomic_place(in, address, offset, sizeof(uint64_t));
    return begin_wait(in, at, true, expected, timeout_ns, __builtin_frame_address(0));
}

/* Wakes those that wait at an address, the first first; how many. */
static uint64_t notify(const uint8_t *at, uint32_t most)
{
    uint64_t woken = 0;
    queue *in = queue_of(at);
    /* What the thread has stored comes before this look, and a waiter's counting before its look at what is stored. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&in->count, __ATOMIC_SEQ_CST) == 0) {
        return 0;
    }
    pthread_mutex_lock(&in->lock);
    for (waiter *waiting = in->first, *next; waiting != NULL && woken < most; waiting = next) {
        next = waiting->next;
        if (waiting->address == at) {
            leave_queue(in, waiting);
            __atomic_store_n(&waiting->is_notified, true, __ATOMIC_RELEASE);
            /* It takes the lock before it goes on, so its record and its thread are there until then. */
            __atomic_store_n(&waiting->thread->wake, 1, __ATOMIC_SEQ_CST);
            (void)syscall(SYS_futex, &waiting->thread->wake, FUTEX_WAKE_HERE, INT_MAX, NULL, NULL, 0);
            woken++;
        }
    }
    pthread_mutex_unlock(&in->lock);
    return woken;
}

uint64_t wj_builtin_memory_notify(void *vmctx, uint32_t memory, uint64_t address, uint64_t offset, uint64_t most)
{
    const wj_memory *in = wj_memory_of(vmctx, memory);
    const uint8_t *at = wj_atomic_place(in, address, offset, sizeof(uint32_t));
    uint64_t woken = in->is_shared ? notify(at, (uint32_t)most) : 0;
    wj_resume(&wj_this_thread, __builtin_frame_address(0));
    return woken;
}

/* ---- from Python (SharedMemory) ---- */

int wj_memory_notify(const wj_memory *memory, uint64_t address, uint32_t most, uint64_t *woken)
{
    int error = wj_atomic_error(memory, address, sizeof(uint32_t));
    if (error == 0) {
        *woken = notify(memory->base + address, most);
    }
    return error;
}

/* With the GIL held, which it gives away. -1 with what a signal handler raised. */
static int sleep_for_python(queue *in, waiter *waiting, int64_t timeout_ns)
{
    wj_thread *thread = waiting->thread;
    int64_t end_ns = end_of(timeout_ns);
    bool is_main = syscall(SYS_gettid) == getpid();
    int result = WJ_WAIT_TIMED_OUT;
    note_waiting(thread->entry, true);
    PyThreadState *state = PyEval_SaveThread();
    for (;;) {
        __atomic_store_n(&thread->wake, 0, __ATOMIC_SEQ_CST); /* before looking at what comes with it */
        int64_t left_ns = left_until(end_ns);
        if (thread->entry != NULL && wj_trap_is_pending(thread)) {
            result = WJ_WAIT_ENDED;
            break;
        }
        if (__atomic_load_n(&waiting->is_notified, __ATOMIC_ACQUIRE) || left_ns == 0) {
            break;
        }
        sleep_on(&thread->wake, is_main && (left_ns < 0 || left_ns > LOOK_NS) ? LOOK_NS : left_ns);
        if (is_main) {
            PyEval_RestoreThread(state);
            result = PyErr_CheckSignals() != 0 ? -1 : result;
            state = PyEval_SaveThread();
            if (waiting->fork_generation != wj_fork_generation) {
                enter_again(in, waiting);
            }
        }
        if (result < 0) {
            break;
        }
    }
    bool is_notified = end_wait(in, waiting);
    PyEval_RestoreThread(state);
    note_waiting(thread->entry, false);
    return is_notified && result == WJ_WAIT_TIMED_OUT ? WJ_WAIT_OK : result;
}

/* Address of a memory that the caller keeps, address in it, whether the word has 64 bits, what is expected, nanoseconds. A
 * negative error number where there is no such word. */
static PyObject *wait_for_python(PyObject *self, PyObject *arguments)
{
    unsigned long long memory_address;
    unsigned long long address;
    unsigned long long expected;
    long long timeout_ns;
    int is_wide;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "KKpKL", &memory_address, &address, &is_wide, &expected, &timeout_ns)) {
        return NULL;
    }
    const wj_memory *memory = (const wj_memory *)(uintptr_t)memory_address;
    int error = wj_atomic_error(memory, address, is_wide ? sizeof(uint64_t) : sizeof(uint32_t));
    if (error != 0) {
        return PyLong_FromLong(-error);
    }
    waiter waiting = {.address = memory->base + address, .thread = &wj_this_thread};
    queue *in = queue_of(waiting.address);
    int result = WJ_WAIT_MISMATCH;
    if (enter_if_equal(in, &waiting, is_wide, expected)) {
        result = sleep_for_python(in, &waiting, timeout_ns);
    }
    return result < 0 ? NULL : PyLong_FromLong(result);
}

uintptr_t wj_memory_waiter(void)
{
    static PyMethodDef method = {"wait", wait_for_python, METH_VARARGS, NULL};
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *made = PyCFunction_New(&method, NULL);
    if (made == NULL) {
        PyErr_Clear(); /* cffi cannot pass it on; 0 tells */
    }
    PyGILState_Release(state);
    return (uintptr_t)made;
}

/* ---- Store.close ---- */

int wj_store_end_wait(wj_store *store)
{
    bool is_own = store->thread == &wj_this_thread;
    bool waits = __atomic_load_n(&store->waiting, __ATOMIC_SEQ_CST) != 0 &&
                 __atomic_load_n(&store->waiting_generation, __ATOMIC_RELAXED) == wj_fork_generation;
    return !is_own && waits && wj_store_interrupt(store);
}
