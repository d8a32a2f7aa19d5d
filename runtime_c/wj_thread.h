/* Threads that run wasm: traps (trap.c), interrupts (interrupt.c), and what a fork needs. */
#ifndef WJ_THREAD_H
#define WJ_THREAD_H

#include "wj_base.h"
#include "wj_entry.h"

/* Bits of wj_thread.pending: something to look at before wasm code goes on. */
enum { WJ_PENDING_TRAP = 1, WJ_PENDING_SIGNALS = 2 };

struct wj_thread {
    wj_entry *entry; /* innermost; NULL outside wasm */
    bool ready;      /* the rest up to alternate_stack is set */
    uintptr_t stack_low, stack_high;
    uint64_t stack_guard_bytes;
    uint64_t stack_limit_bytes;    /* RLIMIT_STACK when they were found, of the main thread */
    uint64_t stack_headroom_bytes; /* kept free below wasm for host functions and the runtime */
    void *alternate_stack;         /* our own mapping, or NULL */
    /* Chaining to a previous handler, see wj_chain */
    uintptr_t chain_frame;
    uint32_t chain_depth;
    int repeat_signal;
    uint32_t repeat_count;
    uintptr_t repeat_pc, repeat_address;
    /* Interrupts, see interrupt.c */
    uint32_t pending; /* WJ_PENDING_*; atomic */
    uint32_t wake;    /* what atomic_wait.c sleeps on: not 0 where there is something to look at; atomic */
    uint32_t sigint_depth;
    int64_t look_tick;      /* when wj_thread_prepare was called last, in ticks of the coarse clock; 0: it has to be */
    int faulthandler_state; /* whether it was enabled then */
    int64_t sigint_look_ns; /* when it will look again, by the timer; 0: not */
    uint32_t wasi_calls;      /* that Python saw nothing of */
    int64_t signals_look_ns;  /* when wasi.c last let Python's handlers run */
    pthread_t pthread;
    wj_thread *next_live;
    bool live; /* in the list of threads */
    bool is_main;
    bool has_timer;
    timer_t timer;
};

/* Initial-exec: reading it in a signal handler must never allocate. */
extern WJ_INTERNAL _Thread_local wj_thread wj_this_thread __attribute__((tls_model("initial-exec")));

/* Makes this thread fit to run wasm: stack bounds, signal stack, our handlers on top. False: the system has
 * no memory for them. */
WJ_INTERNAL bool wj_thread_prepare(wj_thread *thread);
/* Records a trap in an entry that did not run yet; only entry->outer is set. */
WJ_INTERNAL void wj_trap_at_entry(const wj_thread *thread, wj_entry *entry, int code);
/* Leaves the innermost entry of this thread with a trap, from a C function that generated code called. */
WJ_INTERNAL void wj_trap(int code, uintptr_t fault_address) __attribute__((noreturn));

/* How many forks lie between the first process with this runtime and this one. */
extern WJ_INTERNAL uint32_t wj_fork_generation;

/* Async-signal-safe. */
WJ_INTERNAL bool wj_code_is_registered(uintptr_t pc);
/* Code that was registered together, from `start` up to `end`. */
typedef struct {
    uintptr_t start, end;
} wj_code_range;
/* That which holds pc, or an empty one. Async-signal-safe. */
WJ_INTERNAL wj_code_range wj_code_range_of(uintptr_t pc);
/* Records a trap of code that was interrupted at these registers. Async-signal-safe. */
WJ_INTERNAL void wj_record_trap(const wj_thread *thread, wj_entry *entry, int code, wj_registers at);
/* Records the wasm frames of this entry from pc (0: none) and the frame record fp on, for wj_add_traceback. */
WJ_INTERNAL void wj_record_frames(const wj_thread *thread, wj_entry *entry, uintptr_t pc, uintptr_t fp);

/* ---- interrupt.c ---- */

WJ_INTERNAL int wj_interrupt_init(void); /* 0 or an errno value */
WJ_INTERNAL void wj_interrupt_thread_start(wj_thread *thread);
WJ_INTERNAL void wj_interrupt_thread_end(wj_thread *thread);
WJ_INTERNAL void wj_interrupt_before_fork(void);
WJ_INTERNAL void wj_interrupt_after_fork_in_parent(void);
WJ_INTERNAL void wj_interrupt_after_fork_in_child(void);
/* Unblocks the signals that have to reach this thread while it runs wasm: a program may have blocked all of them, for another
 * thread to wait for them. Ours mean nothing to such a program, and a fault while its signal is blocked kills the process. */
WJ_INTERNAL void wj_unblock_signals(void);
/* Whether our two signals still have our handlers; *number is one that has not. */
WJ_INTERNAL bool wj_interrupt_is_ours(int *number);
/* No signal comes by the thread's timer any more: another handler would get it, or, when Python ends and takes that back, the
 * process would die of it. */
WJ_INTERNAL void wj_interrupt_disarm(wj_thread *thread);
/* Puts our handler in front of Python's for SIGINT. Main thread only. */
WJ_INTERNAL void wj_watch_sigint(wj_thread *thread);
/* Around an outermost call; false: there is no timer for the timeout. */
WJ_INTERNAL bool wj_interrupt_begin(wj_thread *thread, wj_entry *entry, int64_t timeout_ns);
WJ_INTERNAL void wj_interrupt_end(wj_thread *thread, const wj_entry *entry);
/* Whether the calls that are active now have to end. */
WJ_INTERNAL bool wj_trap_is_pending(wj_thread *thread);
/* The slow part of wj_resume. */
WJ_INTERNAL void wj_resume_pending(void *fp);

/* C functions call this right before they return to wasm code; fp: their own frame address. May not return. */
static inline void wj_resume(wj_thread *thread, void *fp)
{
    if (__builtin_expect(__atomic_load_n(&thread->pending, __ATOMIC_RELAXED) != 0, 0)) {
        wj_resume_pending(fp);
    }
}

/* ---- atomic_wait.c ---- */

WJ_INTERNAL void wj_waits_after_fork_in_child(void);

/* ---- signature.c ---- */

WJ_INTERNAL void wj_signatures_before_fork(void);
WJ_INTERNAL void wj_signatures_after_fork(void);

/* ---- callbacks.c ---- */

/* Has `called` when Python has been finalized; false if it has no room for that. */
WJ_INTERNAL bool wj_at_python_end(void (*called)(void));

/* Runs Python's signal handlers below wasm code that stands at pc and fp; false: one raised, and the GIL is held. */
WJ_INTERNAL bool wj_python_signals(wj_thread *thread, wj_entry *entry, uintptr_t pc, uintptr_t fp);

#endif
