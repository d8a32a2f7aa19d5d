/* Ending wasm code from outside: interrupt(), timeouts, and Python's own signals (Ctrl-C), without polling.
 *
 * A private real-time signal goes to the thread that runs the store. Its handler acts only where the pc is in generated
 * code, which holds no lock and owns no half-made state: it redirects the thread to the entry's landing point, like a
 * trap. Anywhere else it leaves `pending` set, which host functions and builtins look at on their way back to wasm; in
 * the few instructions between that look and the code (or below some other signal's handler) it comes again a
 * millisecond later, by the thread's own timer.
 *
 * Python's signal handlers have to run in the middle of wasm, since they may return and the program then goes on. The
 * first handler runs on the small alternate stack, so it raises a second signal, which is delivered at the same
 * instruction on the thread's own stack; there it is safe to take the GIL and run Python code. */
#include "sanitizer.h"
#include "wj.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define RETRY_NS 1000000
#define SIGINT_LOOK_NS 20000000
#define MAX_HANDLERS 16u
#define PYTHON_STACK_BYTES (64u << 10) /* must be free below wasm code for Python's handlers to run on top of it */

static int interrupt_signal; /* 0 until chosen; then for ever the same */
static int python_signal;

/* Threads that ran wasm and still exist, so that no signal is sent to one that ended. */
static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static wj_thread *live_threads;
static wj_thread *main_thread;

/* ---- what is wanted ---- */

/* An interrupt of an outer call ends the calls inside of it too. */
static bool trap_wanted(const wj_entry *entry)
{
    for (; entry != NULL; entry = entry->outer) {
        const wj_store *store = entry->store;
        if (__atomic_load_n(&store->interrupt_id, __ATOMIC_SEQ_CST) == store->call_id) {
            return true;
        }
    }
    return false;
}

/* Turns passed deadlines into interrupts; returns the earliest one to come, or 0. */
static int64_t expire_deadlines(const wj_entry *entry)
{
    int64_t next = 0;
    int64_t now = 0;
    for (; entry != NULL; entry = entry->outer) {
        if (entry->deadline_ns == 0) {
            continue;
        }
        now = now == 0 ? wj_now_ns(CLOCK_MONOTONIC) : now;
        if (entry->deadline_ns <= now) {
            __atomic_store_n(&entry->store->interrupt_id, entry->store->call_id, __ATOMIC_SEQ_CST);
        } else if (next == 0 || entry->deadline_ns < next) {
            next = entry->deadline_ns;
        }
    }
    return next;
}

/* ---- the thread's timer ---- */

/* Absolute time; 0: never, unless for wj_watch_sigint. Async-signal-safe. */
static void set_timer(const wj_thread *thread, int64_t at_ns)
{
    int64_t look_ns = thread->sigint_look_ns;
    if (look_ns != 0 && (at_ns == 0 || look_ns < at_ns)) {
        at_ns = look_ns;
    }
    if (thread->has_timer) {
        struct itimerspec when;
        memset(&when, 0, sizeof when);
        when.it_value.tv_sec = at_ns / WJ_NS_PER_SECOND;
        when.it_value.tv_nsec = at_ns % WJ_NS_PER_SECOND;
        (void)timer_settime(thread->timer, TIMER_ABSTIME, &when, NULL);
    }
}

void wj_interrupt_disarm(wj_thread *thread)
{
    thread->sigint_look_ns = 0;
    set_timer(thread, 0);
}

static void retry_soon(const wj_thread *thread)
{
    set_timer(thread, wj_now_ns(CLOCK_MONOTONIC) + RETRY_NS);
}

static void make_timer(wj_thread *thread)
{
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = interrupt_signal;
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    thread->has_timer = timer_create(CLOCK_MONOTONIC, &event, &thread->timer) == 0;
}

void wj_unblock_signals(void)
{
    sigset_t needed;
    sigemptyset(&needed);
    sigaddset(&needed, interrupt_signal);
    sigaddset(&needed, python_signal);
    sigaddset(&needed, SIGSEGV);
    sigaddset(&needed, SIGBUS);
    sigaddset(&needed, WJ_TRAP_SIGNAL);
    (void)pthread_sigmask(SIG_UNBLOCK, &needed, NULL);
}

bool wj_interrupt_begin(wj_thread *thread, wj_entry *entry, int64_t timeout_ns)
{
    if (timeout_ns != 0) {
        if (!thread->has_timer) {
            return false;
        }
        wj_unblock_signals(); /* they may be blocked since wj_thread_prepare looked */
        int64_t now = wj_now_ns(CLOCK_MONOTONIC);
        entry->deadline_ns = timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
        int64_t next = expire_deadlines(entry);
        set_timer(thread, next == 0 ? now + 1 : next);
    }
    return true;
}

void wj_interrupt_end(wj_thread *thread, const wj_entry *entry)
{
    if (entry->deadline_ns != 0) {
        set_timer(thread, expire_deadlines(entry->outer));
    }
    if ((thread->pending & WJ_PENDING_TRAP) != 0 && !trap_wanted(entry->outer)) {
        __atomic_and_fetch(&thread->pending, ~WJ_PENDING_TRAP, __ATOMIC_SEQ_CST);
    }
}

/* ---- on the way back into wasm ---- */

bool wj_trap_is_pending(wj_thread *thread)
{
    bool wanted = trap_wanted(thread->entry);
    if (wanted) {
        __atomic_or_fetch(&thread->pending, WJ_PENDING_TRAP, __ATOMIC_SEQ_CST);
    }
    return wanted;
}

void wj_resume_pending(void *fp)
{
    wj_thread *thread = &wj_this_thread;
    if ((__atomic_load_n(&thread->pending, __ATOMIC_SEQ_CST) & WJ_PENDING_SIGNALS) != 0 &&
        !wj_python_signals(thread, thread->entry, 0, (uintptr_t)fp)) {
        wj_unwind(thread->entry, WJ_STATUS_EXCEPTION);
    }
    if (wj_trap_is_pending(thread)) {
        wj_trap(WJ_TRAP_INTERRUPT, 0);
    }
}

/* ---- the two signals ---- */

static void land(ucontext_t *context, const wj_entry *entry, int status)
{
    wj_context_redirect(context, (wj_registers){entry->landing_pc, entry->landing_sp, entry->landing_fp}, status);
}

/* Acts on what is pending at interrupted code; true if it has to be tried again. */
static bool interrupt_here(wj_thread *thread, wj_entry *entry, ucontext_t *context)
{
    bool trap = trap_wanted(entry);
    if (trap) {
        __atomic_or_fetch(&thread->pending, WJ_PENDING_TRAP, __ATOMIC_SEQ_CST);
    } else if (thread->pending == 0) {
        return false;
    }
    if (entry->host_fp != 0) {
        return false; /* looked at when the host function returns */
    }
    wj_registers at = wj_context_registers(context);
    if (!wj_code_is_registered(at.pc)) {
        return true;
    }
    if (trap) {
        wj_record_trap(thread, entry, WJ_TRAP_INTERRUPT, at);
        land(context, entry, WJ_STATUS_TRAP);
    } else if (at.sp > thread->stack_low && at.sp - thread->stack_low >= PYTHON_STACK_BYTES) {
        (void)pthread_kill(pthread_self(), python_signal); /* blocked until this handler returns */
    } else { /* a huge frame at the end of the stack: Python's handlers run after the code has been left */
        wj_record_trap(thread, entry, WJ_TRAP_INTERRUPT, at);
        land(context, entry, WJ_STATUS_SIGNALS);
    }
    return false;
}

static bool stand_in_front(void);

static void interrupt(void *context)
{
    int saved_errno = errno;
    wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    __atomic_store_n(&thread->wake, 1, __ATOMIC_SEQ_CST); /* the kernel looks at it before it goes on waiting */
    if (thread->sigint_look_ns != 0 && thread->sigint_look_ns <= wj_now_ns(CLOCK_MONOTONIC)) {
        thread->sigint_look_ns = 0;
        if (entry != NULL && stand_in_front()) { /* a signal may have come meanwhile */
            __atomic_or_fetch(&thread->pending, WJ_PENDING_SIGNALS, __ATOMIC_SEQ_CST);
        }
    }
    if (entry != NULL) {
        int64_t next = expire_deadlines(entry);
        if (interrupt_here(thread, entry, context)) {
            retry_soon(thread);
        } else if (next != 0) {
            set_timer(thread, next);
        }
    }
    errno = saved_errno;
}

static WJ_UNSANITIZED void on_interrupt(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)info;
    if (wj_handler_may_act(context)) {
        interrupt(context);
    }
}

static void let_python_handle(ucontext_t *context)
{
    int saved_errno = errno;
    wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    wj_registers at = wj_context_registers(context);
    if (entry != NULL && entry->host_fp == 0 && (thread->pending & WJ_PENDING_SIGNALS) != 0) {
        if (wj_code_is_registered(at.pc)) {
            sigset_t unblocked = context->uc_sigmask;
            (void)pthread_sigmask(SIG_SETMASK, &unblocked, NULL);
            if (!wj_python_signals(thread, entry, at.pc, at.fp)) {
                land(context, entry, WJ_STATUS_EXCEPTION);
            } else if (thread->pending != 0) {
                retry_soon(thread);
            }
        } else {
            retry_soon(thread);
        }
    }
    errno = saved_errno;
}

static WJ_UNSANITIZED void on_python_signal(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)info;
    if (wj_handler_may_act(context)) {
        let_python_handle(context);
    }
}

/* ---- Ctrl-C ---- */

/* Python's handler only notes the signal for the interpreter, which does not run while wasm does. Ours stands in front
 * of it and interrupts the main thread's wasm. Nodes stay for ever: one for each distinct handler. */
typedef struct found_handler {
    struct sigaction action;
    const struct found_handler *older;
} found_handler;

static found_handler handlers[MAX_HANDLERS];
static uint32_t handler_count;
static found_handler *newest_handler;

static void on_sigint(int signal_number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    wj_thread *thread = &wj_this_thread;
    /* A handler that was installed over ours may call ours as its predecessor: go on with the one before it. */
    const found_handler *found = __atomic_load_n(&newest_handler, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < thread->sigint_depth && found != NULL; i++) {
        found = found->older;
    }
    if (found != NULL) {
        thread->sigint_depth++;
        if ((found->action.sa_flags & SA_SIGINFO) != 0) {
            found->action.sa_sigaction(signal_number, info, context);
        } else if (found->action.sa_handler != SIG_DFL && found->action.sa_handler != SIG_IGN) {
            found->action.sa_handler(signal_number);
        }
        thread->sigint_depth--;
    }
    wj_thread *target = __atomic_load_n(&main_thread, __ATOMIC_ACQUIRE);
    if (target != NULL) {
        __atomic_or_fetch(&target->pending, WJ_PENDING_SIGNALS, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&target->entry, __ATOMIC_RELAXED) != NULL) {
            (void)pthread_kill(target->pthread, interrupt_signal);
        }
    }
    errno = saved_errno;
}

static bool same_action(const struct sigaction *a, const struct sigaction *b)
{
    return a->sa_flags == b->sa_flags && a->sa_handler == b->sa_handler;
}

/* The node of this handler, made if there is none; NULL if there have been too many. */
static found_handler *handler_node(const struct sigaction *action)
{
    for (uint32_t i = 0; i < handler_count; i++) {
        if (same_action(&handlers[i].action, action)) {
            return &handlers[i];
        }
    }
    if (handler_count == MAX_HANDLERS) {
        return NULL;
    }
    found_handler *node = &handlers[handler_count++];
    node->action = *action;
    node->older = newest_handler;
    return node;
}

/* Main thread only; async-signal-safe. False if we stood there already. */
static bool stand_in_front(void)
{
    struct sigaction found;
    if (sigaction(SIGINT, NULL, &found) != 0) {
        return false;
    }
    bool has_function = (found.sa_flags & SA_SIGINFO) != 0
                            ? found.sa_sigaction != on_sigint
                            : found.sa_handler != SIG_DFL && found.sa_handler != SIG_IGN;
    if (!has_function) {
        return false;
    }
    found_handler *node = handler_node(&found);
    if (node == NULL) {
        return false;
    }
    __atomic_store_n(&newest_handler, node, __ATOMIC_RELEASE);
    struct sigaction ours;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_sigint;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (found.sa_flags & SA_RESTART);
    ours.sa_mask = found.sa_mask;
    sigaddset(&ours.sa_mask, interrupt_signal); /* so that it finds the interrupted code, not our handler */
    return sigaction(SIGINT, &ours, NULL) == 0;
}

/* wj_thread_prepare looks once in a tick of the clock; a handler that is installed after it, just before a call, is found
 * when the timer comes. */
void wj_watch_sigint(wj_thread *thread)
{
    (void)stand_in_front();
    if (thread->has_timer) {
        thread->sigint_look_ns = wj_now_ns(CLOCK_MONOTONIC) + SIGINT_LOOK_NS;
        set_timer(thread, thread->sigint_look_ns);
    }
}

/* ---- from other threads ---- */

int wj_store_interrupt(wj_store *store)
{
    int interrupted = 0;
    pthread_mutex_lock(&live_lock);
    uint64_t id = __atomic_load_n(&store->call_id, __ATOMIC_SEQ_CST);
    if (id % 2 == 1) {
        interrupted = 1;
        const wj_thread *target = store->thread;
        __atomic_store_n(&store->interrupt_id, id, __ATOMIC_SEQ_CST);
        for (const wj_thread *thread = live_threads; thread != NULL; thread = thread->next_live) {
            if (thread == target) {
                (void)pthread_kill(thread->pthread, interrupt_signal);
                break;
            }
        }
    }
    pthread_mutex_unlock(&live_lock);
    return interrupted;
}

int wj_is_interrupted(void)
{
    const wj_entry *entry = wj_this_thread.entry;
    (void)expire_deadlines(entry);
    return trap_wanted(entry);
}

void wj_store_forget_interrupt(wj_store *store)
{
    wj_thread *thread = &wj_this_thread;
    pthread_mutex_lock(&live_lock);
    __atomic_store_n(&store->interrupt_id, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&live_lock);
    if (!trap_wanted(thread->entry)) {
        __atomic_and_fetch(&thread->pending, ~WJ_PENDING_TRAP, __ATOMIC_SEQ_CST);
    }
    if (thread->entry != NULL) {
        retry_soon(thread); /* a deadline may have passed as well, and still counts */
    }
}

void wj_store_set_timeout(wj_store *store, int64_t timeout_ns)
{
    store->timeout_ns = timeout_ns;
}

int wj_wait(uintptr_t descriptors, uint64_t count, int64_t timeout_ns)
{
    const wj_thread *thread = &wj_this_thread;
    sigset_t ours;
    sigset_t before;
    sigemptyset(&ours);
    sigaddset(&ours, interrupt_signal);
    (void)pthread_sigmask(SIG_BLOCK, &ours, &before); /* a signal after the look below ends ppoll at once */
    int result = -EINTR;
    if (thread->pending == 0) {
        struct timespec timeout = {timeout_ns / WJ_NS_PER_SECOND, timeout_ns % WJ_NS_PER_SECOND};
        sigset_t during = before;
        sigdelset(&during, interrupt_signal);
        result = ppoll((struct pollfd *)descriptors, (nfds_t)count, timeout_ns < 0 ? NULL : &timeout, &during);
        result = result < 0 ? -errno : result;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

/* ---- threads ---- */

void wj_interrupt_thread_start(wj_thread *thread)
{
    if (!thread->live) {
        thread->pthread = pthread_self();
        thread->is_main = syscall(SYS_gettid) == getpid();
        if (thread->is_main) {
            __atomic_store_n(&main_thread, thread, __ATOMIC_RELEASE);
        }
        pthread_mutex_lock(&live_lock);
        thread->live = true;
        thread->next_live = live_threads;
        live_threads = thread;
        pthread_mutex_unlock(&live_lock);
    }
    if (!thread->has_timer) {
        make_timer(thread);
    }
}

void wj_interrupt_thread_end(wj_thread *thread)
{
    pthread_mutex_lock(&live_lock);
    for (wj_thread **at = &live_threads; *at != NULL; at = &(*at)->next_live) {
        if (*at == thread) {
            *at = thread->next_live;
            break;
        }
    }
    thread->live = false;
    pthread_mutex_unlock(&live_lock);
    if (thread->has_timer) {
        thread->has_timer = false;
        (void)timer_delete(thread->timer);
    }
}

void wj_interrupt_before_fork(void)
{
    pthread_mutex_lock(&live_lock);
}

void wj_interrupt_after_fork_in_parent(void)
{
    pthread_mutex_unlock(&live_lock);
}

/* Only the forking thread exists, it is the main thread now, and timers are not inherited. */
void wj_interrupt_after_fork_in_child(void)
{
    wj_thread *thread = &wj_this_thread;
    live_threads = NULL;
    __atomic_store_n(&main_thread, NULL, __ATOMIC_RELEASE);
    if (thread->live) {
        thread->is_main = true;
        thread->next_live = NULL;
        live_threads = thread;
        __atomic_store_n(&main_thread, thread, __ATOMIC_RELEASE);
    }
    thread->has_timer = false;
    thread->sigint_look_ns = 0;
    thread->look_tick = 0;
    pthread_mutex_unlock(&live_lock);
}

/* qemu, which runs programs of other processors, keeps the highest signals for itself: it takes a handler, and sends none. */
static bool can_be_sent(int number)
{
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = number;
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) {
        return errno != EINVAL;
    }
    (void)timer_delete(timer);
    return true;
}

/* The highest real-time signal below `below` that nobody uses, or 0. */
static int free_signal(int below)
{
    for (int number = below - 1; number >= SIGRTMIN; number--) {
        struct sigaction found;
        if (wj_sigaction(number, NULL, &found) == 0 && (found.sa_flags & SA_SIGINFO) == 0 && found.sa_handler == SIG_DFL &&
            can_be_sent(number)) {
            return number;
        }
    }
    return 0;
}

static bool has_handler(int number, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction found;
    return wj_sigaction(number, NULL, &found) == 0 && (found.sa_flags & SA_SIGINFO) != 0 && found.sa_sigaction == handler;
}

bool wj_interrupt_is_ours(int *number)
{
    *number = has_handler(interrupt_signal, on_interrupt) ? python_signal : interrupt_signal;
    return *number == python_signal && has_handler(python_signal, on_python_signal);
}

int wj_interrupt_init(void)
{
    int first = free_signal(SIGRTMAX); /* not SIGRTMAX itself: a popular choice */
    int second = first == 0 ? 0 : free_signal(first);
    if (second == 0) {
        return EAGAIN;
    }
    interrupt_signal = first;
    python_signal = second;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = on_python_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaddset(&action.sa_mask, interrupt_signal);
    if (wj_sigaction(python_signal, &action, NULL) != 0) {
        return errno;
    }
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, python_signal);
    action.sa_sigaction = on_interrupt;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    return wj_sigaction(interrupt_signal, &action, NULL) == 0 ? 0 : errno;
}
