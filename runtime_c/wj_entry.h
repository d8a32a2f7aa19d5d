/* Into wasm and out of it: frames, entries, host functions, and the assembly of arch_*.c. */
#ifndef WJ_ENTRY_H
#define WJ_ENTRY_H

#include "wj_base.h"
#include "wj_contract.h"

/* How wj_enter returns. */
enum { WJ_STATUS_TRAP = WJ_STATUS_OK + 1, WJ_STATUS_EXCEPTION, WJ_STATUS_SIGNALS, WJ_STATUS_THROWN };

/* A running function of the interpreter; in the store's interpreter stack (interpret.h). */
typedef struct wj_activation {
    struct wj_activation *outer;  /* in the same entry */
    const uint32_t *ip;           /* the instruction that may trap or call, last; NULL: compiled code goes on for it */
    const wj_interpreted *function;
    uint64_t *slots;
    void *vmctx;
    bool is_first; /* of those that one C function on the native stack (`run`) goes through; has what follows */
    uint64_t stack_limit, stencil_limit; /* of the store, before the interpreter lowered them */
} wj_activation;

/* The registers and stack slots of one call, in either direction. Argument and result places are slot numbers here
 * (a slot is 8 bytes), so one table per signature serves wasm -> host and host -> wasm. */
typedef struct {
    uint64_t ints[WJ_INT_REGISTERS]; /* the first is vmctx */
    uint64_t floats[WJ_FLOAT_REGISTERS][2];
    uint64_t int_results[2];
    uint64_t float_results[2][2];
    uint64_t link[2]; /* host stub: saved frame pointer, return address */
    uint64_t stack[]; /* stack arguments */
} wj_frame;
_Static_assert(offsetof(wj_frame, floats) == WJ_FRAME_FLOATS, "frame offset in assembly");
_Static_assert(offsetof(wj_frame, int_results) == WJ_FRAME_INT_RESULTS, "frame offset in assembly");
_Static_assert(offsetof(wj_frame, float_results) == WJ_FRAME_FLOAT_RESULTS, "frame offset in assembly");
_Static_assert(offsetof(wj_frame, link) == WJ_FRAME_LINK, "frame offset in assembly");
_Static_assert(offsetof(wj_frame, stack) == WJ_FRAME_STACK, "frame offset in assembly");
_Static_assert(WJ_FRAME_STACK % 16 == 0 && WJ_FRAME_FLOATS % 16 == 0, "v128 places are aligned");

/* One activation of wasm from Python. Lives on the C stack; the fault handler writes into it. */
struct wj_entry {
    uintptr_t landing_sp, landing_fp, landing_pc; /* set by the gate */
    const void *code;                             /* what the gate calls */
    uint64_t stack_slots;                         /* of arguments; even */
    int status;                                   /* a WJ_STATUS: how the code was left */
    wj_entry *outer;                              /* the entry that was active before on this thread */
    wj_store *store;
    void *thread_state;    /* while the thread has not got the GIL its PyThreadState or WJ_NO_GIL, else NULL */
    void *gil_to_give;     /* in a host function: the thread_state from before */
    int gil_state;         /* what PyGILState_Ensure said */
    bool began_without_gil;
    uintptr_t host_fp;     /* frame record of the host stub while wasm waits for a host function, else 0 */
    uint64_t stack_limit;  /* store->stack_limit, stencil_limit and caller to put back */
    uint64_t stencil_limit;
    void *caller;
    int64_t deadline_ns; /* CLOCK_MONOTONIC, of the call's timeout; 0: none */
    wj_activation *activation; /* the innermost function that is interpreted, or NULL */
    wj_exception *thrown; /* what it was left with: WJ_STATUS_THROWN */
    int trap_code;
    uint32_t own_pc_count; /* how many of pcs belong to this entry; the rest to outer ones */
    uint32_t pc_count;
    uintptr_t fault_address;
    uintptr_t pcs[WJ_MAX_BACKTRACE];
};
WJ_ASSERT_OFFSET(wj_entry, landing_sp, WJ_ENTRY_LANDING_SP);
WJ_ASSERT_OFFSET(wj_entry, landing_fp, WJ_ENTRY_LANDING_FP);
WJ_ASSERT_OFFSET(wj_entry, landing_pc, WJ_ENTRY_LANDING_PC);
WJ_ASSERT_OFFSET(wj_entry, code, WJ_ENTRY_CODE);
WJ_ASSERT_OFFSET(wj_entry, stack_slots, WJ_ENTRY_STACK_SLOTS);
WJ_ASSERT_OFFSET(wj_entry, status, WJ_ENTRY_STATUS);
_Static_assert(sizeof(wj_entry) <= WJ_ENTRY_BYTES, "trampolines reserve room for an entry");

/* A host function. Its func-ref's vmctx is this record. */
struct wj_host_func {
    const void *const *boundary; /* for trampolines, as `native` */
    const void *native;          /* the C function, if it is implemented by one */
    struct wj_func_ref func_ref;
    wj_host_func *next;
    wj_store *store;
    void *callable; /* PyObject, owned; NULL once cleared */
    const wj_signature *signature; /* held */
    uint32_t flags;
};
WJ_ASSERT_OFFSET(wj_host_func, boundary, WJ_HOST_FUNC_BOUNDARY);
WJ_ASSERT_OFFSET(wj_host_func, native, WJ_HOST_FUNC_NATIVE);

/* Passes the registers and stack slots of `frame` through the gate and stores the results there. The gate
 * (wj_boundary_gate) calls entry->code and makes a landing point of the place where it returns. */
WJ_INTERNAL void wj_enter(wj_entry *entry, wj_frame *frame);
/* Leaves wasm code (and the C code it called) for the landing point of `entry`. */
WJ_INTERNAL void wj_unwind(wj_entry *entry, int status) __attribute__((noreturn));
WJ_INTERNAL void wj_host_stub(void);
/* Goes on at pc, with these stack and frame pointers. */
WJ_INTERNAL void wj_land(uintptr_t pc, uintptr_t sp, uintptr_t fp) __attribute__((noreturn));
/* Called by wj_host_stub. */
WJ_INTERNAL void wj_host_dispatch(wj_host_func *host, wj_frame *frame);
/* Calls wasm code with the registers and stack slots (an even number) of `frame`, and stores the results there. */
WJ_INTERNAL void wj_call_frame(const void *code, wj_frame *frame, uint64_t stack_slots);

/* ---- exceptions.c ---- */

/* Has the exception of Python that is set caught by wasm, if it is one of wasm and is caught: with the GIL held, in a host
 * function. Returns otherwise. */
WJ_INTERNAL void wj_throw_from_host(wj_thread *thread, wj_entry *entry);
/* Sets the exception that left the entry. With the GIL held. */
WJ_INTERNAL void wj_set_thrown(const wj_entry *entry);

/* ---- callbacks.c ---- */

/* Tells store->call_ended that a call is over, which failed if an exception is set; whether none is set now. */
WJ_INTERNAL bool wj_tell_call_ended(wj_store *store, const void *func_ref);

/* Puts the entry's wasm frames into the traceback of the current exception. */
WJ_INTERNAL void wj_add_traceback(const wj_entry *entry);

#endif
