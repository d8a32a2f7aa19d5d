/* Internal structures of the C runtime. Who owns what: a wj_store owns everything made in it; a wj_entry lives on the
 * C stack of the thread that entered wasm; a wj_thread is thread-local. */
#ifndef WJ_H
#define WJ_H

/* Include this before any system header (boundary.c: after Python.h, which defines it too). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "arch.h"
#include "wj_abi.h"
#include "wj_api.h"

#define WJ_INTERNAL __attribute__((visibility("hidden")))
#define WJ_MAX_BACKTRACE 128

/* How wj_enter returns. */
enum { WJ_STATUS_TRAP = WJ_STATUS_OK + 1, WJ_STATUS_EXCEPTION, WJ_STATUS_SIGNALS };

/* Bits of wj_thread.pending: something to look at before wasm code goes on. */
enum { WJ_PENDING_TRAP = 1, WJ_PENDING_SIGNALS = 2 };

#define WJ_NS_PER_SECOND INT64_C(1000000000)

static inline int64_t wj_now_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * WJ_NS_PER_SECOND + now.tv_nsec;
}

typedef struct wj_thread wj_thread;
typedef struct wj_entry wj_entry;
typedef struct wj_host_func wj_host_func;
typedef struct wj_allocation wj_allocation;
typedef struct wj_view wj_view;
typedef struct wj_membership wj_membership;
typedef struct wj_externref_root wj_externref_root;
typedef struct wj_interpreted wj_interpreted;

/* A running function of the interpreter; in the store's interpreter stack (interpret.h). */
typedef struct wj_activation {
    struct wj_activation *outer;  /* in the same entry */
    const uint32_t *ip;           /* the instruction that may trap or call, last; NULL: compiled code goes on for it */
    const wj_interpreted *function;
    uint64_t *slots;
    void *vmctx;
    bool is_first; /* of those that one C function on the native stack (`run`) goes through */
} wj_activation;

/* ---- contract with generated code: offsets in wj_abi.h ---- */

struct wj_func_ref {
    const void *code;
    void *vmctx;
    uint32_t type_id;
    uint32_t function_index;
    const void *tail_code;
};

/* A linear memory. It belongs to no store: it lives as long as somebody has a reference, which stores have as members. */
struct wj_memory {
    uint8_t *base;
    uint64_t size_bytes; /* what wasm sees; written last on growth */
    /* C's own */
    uint32_t references; /* atomic: of each member, each mapping object, and whoever made it for no store */
    uint8_t *mapping; /* whole reservation with guards, what the fault handler compares with */
    uint64_t mapping_bytes;
    uint64_t capacity_bytes;  /* address space for contents behind base */
    uint64_t committed_bytes; /* readable and writable, a multiple of the host's page */
    uint64_t guard_bytes;
    uint64_t max_pages;
    uint32_t page_size_log2;
    bool moves; /* no reservation: growth makes a new mapping. Such a memory never has a second member. */
    uint64_t image_id;    /* of the image mapped at image_start, or 0 */
    uint64_t image_bytes; /* from image_start, which is relative to base */
    uint64_t image_start;
    wj_view *views; /* of the present mapping; NULL before there are any */
    uint64_t huge_bytes;        /* contents that may have huge pages end here: a multiple of their size, or committed_bytes */
    uint64_t huge_limit_bytes;  /* and may go as far as this, by what was found to be in use */
    uint64_t looked_at_bytes;   /* committed_bytes when that was found */
    bool has_huge_grant;        /* the huge pages that need no reason */
    pthread_mutex_t lock;       /* guards all of this against other threads. Taken before a store's, of which nobody has two */
    wj_membership *members;     /* of whose stores code may use it */
};

/* That code of a store may use a memory. Made while the store is open, and gone with what else the store has. */
struct wj_membership {
    wj_membership *next;        /* in store->memories: written before others see this */
    wj_membership *next_member; /* in memory->members; guarded by memory->lock */
    wj_store *store;
    wj_memory *memory; /* a reference */
};

/* Who uses one mapping of a memory that moves: the memory itself, and the views that Python has. */
struct wj_view {
    uint32_t references; /* atomic; taken with memory->lock held */
    uint8_t *mapping;    /* what to unmap with the last one; NULL while the memory has it */
    uint64_t mapping_bytes;
};

struct wj_table {
    uint64_t *elements;
    uint64_t length;
    /* C's own */
    wj_table *next;
    wj_store *store;
    uint64_t capacity;        /* elements: growth past it is refused */
    uint64_t mapping_bytes;   /* 0: elements come from wj_store_alloc */
    uint64_t committed_bytes;
    bool has_externrefs; /* a root for those */
};

/* Where externrefs can be found besides tables: one in a global, or those of an element segment. */
struct wj_externref_root {
    wj_externref_root *next; /* in store->externref_roots */
    const void *place;       /* the value, or a wj_segment_slot */
    bool is_segment;
};

struct wj_store {
    uint64_t stack_limit;
    void *caller; /* instance context of the code that makes an import or indirect call */
    uint64_t fuel;
    uint64_t epoch;
    uint64_t epoch_deadline;
    uint8_t *tail_arguments; /* behind this record */
    /* C's own */
    uint32_t references; /* atomic: one for wj_store_free, one for each callable */
    bool closed;         /* written with the GIL held */
    uint32_t pins;       /* atomic: what keeps the rest of what it has, one for the store itself */
    uint32_t depth;      /* entries that are active now; see wj_store_claim */
    bool has_native;     /* C callers have addresses of functions: entries come without the GIL, too */
    wj_thread *thread;   /* on this thread, if depth > 0 */
    uint64_t call_id;      /* of the outermost call, odd while it runs; atomic */
    uint64_t interrupt_id; /* the call that is to be ended: equal to call_id if it is the present one; atomic */
    uint32_t frozen;       /* > 0: memories may not move now */
    bool lent;             /* the thread waits in a host function, others may act for it; guarded by `lock` */
    int64_t timeout_ns;    /* for each outermost call; 0: none */
    void *epoch_callback;  /* PyObjects, owned, or NULL; guarded by the GIL */
    void *limiter;
    uint64_t max_wasm_stack_bytes;
    uint8_t *interpreter_stack; /* NULL before something is interpreted */
    uint64_t interpreter_stack_bytes;
    int64_t interpreter_gap_bytes; /* what has to be free in it for a call without a look at it; 0: much of it was used */
    uint64_t max_memory_bytes;
    uint64_t max_table_elements;
    uint64_t max_total_bytes; /* of all memories and tables together */
    pthread_mutex_t lock;   /* guards what follows against other threads: cffi calls run without the GIL */
    uint64_t total_bytes;   /* what its memories, shared or not, and tables take now; never more than max_total_bytes was */
    bool has_huge_grant;    /* one of its memories has got the huge pages that need no reason */
    int64_t look_interval_ns; /* between looks at memories with more than may have huge pages (huge.c) */
    int64_t next_look_ns;     /* 0: there are none; read by the thread that runs the code, without the lock */
    wj_membership *memories; /* new ones are pushed in front with release order; the fault handler reads the list */
    wj_table *tables;
    wj_allocation *allocations;
    wj_externref_root *externref_roots;
    wj_host_func *host_funcs; /* guarded by the GIL instead */
    void *roots;              /* borrowed PyObject, see wj_store_roots; guarded by the GIL */
    void *mappings;           /* list of the mapping objects behind Memory.view (mapping.c); guarded by the GIL */
    void *record_reference;   /* PyObject, owned: a weakref to the StoreRecord; guarded by the GIL */
    void *failure; /* PyObject, owned: the exception of a call that C made, or NULL; guarded by the GIL */
    void *externrefs; /* borrowed PyObject, see externrefs.c; guarded by the GIL */
    uint32_t held;    /* who has references in hands that no root has (yet): nothing is swept; guarded by the GIL */
    bool sweep_due;   /* guarded by the GIL */
};

typedef struct {
    wj_memory *memory;
    uint8_t *base;
} wj_memory_slot;

typedef struct {
    wj_table *table;
    uint64_t *elements;
} wj_table_slot;

typedef struct {
    const void *start;
    uint64_t length;
} wj_segment_slot;

/* In front of the function table of a module whose code is replaced. */
typedef struct {
    uint64_t unused;
    struct wj_interpreter *interpreter; /* NULL: nothing of it is interpreted */
    void *reporter;                     /* PyObjects, kept by whoever keeps the table; reporter: NULL, or as interpreter */
    void *resolver;
} wj_function_table_header;

static inline const wj_function_table_header *wj_header_of(const void *functions)
{
    return (const wj_function_table_header *)functions - 1;
}

/* One of the arrays of a table for `count` functions: WJ_CODES, WJ_REGISTER_ENTRIES, WJ_COUNTERS. */
static inline uint64_t *wj_function_words(const void *functions, uint32_t array, uint64_t count)
{
    return (uint64_t *)(uintptr_t)functions + array * count;
}

/* Where the arrays of one module's instance context lie. */
typedef struct {
    uint32_t memories, tables, data_segments, element_segments;
} wj_instance;

typedef struct {
    uint32_t magic;
    uint32_t flags;
    wj_store *store;
    void *functions;
    const void *builtins;
    void *type_ids;
    const wj_instance *instance;
} wj_vmcontext;

#define WJ_ASSERT_OFFSET(type, field, offset) \
    _Static_assert(offsetof(type, field) == (offset), #type "." #field " differs from wasmjit/abi.py")
WJ_ASSERT_OFFSET(struct wj_func_ref, code, WJ_FUNC_REF_CODE);
WJ_ASSERT_OFFSET(struct wj_func_ref, vmctx, WJ_FUNC_REF_VMCTX);
WJ_ASSERT_OFFSET(struct wj_func_ref, type_id, WJ_FUNC_REF_TYPE_ID);
WJ_ASSERT_OFFSET(struct wj_func_ref, function_index, WJ_FUNC_REF_FUNCTION_INDEX);
WJ_ASSERT_OFFSET(struct wj_func_ref, tail_code, WJ_FUNC_REF_TAIL_CODE);
WJ_ASSERT_OFFSET(struct wj_memory, base, WJ_MEMORY_BASE);
WJ_ASSERT_OFFSET(struct wj_memory, size_bytes, WJ_MEMORY_SIZE_BYTES);
WJ_ASSERT_OFFSET(struct wj_table, elements, WJ_TABLE_ELEMENTS);
WJ_ASSERT_OFFSET(struct wj_table, length, WJ_TABLE_LENGTH);
WJ_ASSERT_OFFSET(struct wj_store, stack_limit, WJ_STORE_STACK_LIMIT);
WJ_ASSERT_OFFSET(struct wj_store, caller, WJ_STORE_CALLER);
WJ_ASSERT_OFFSET(struct wj_store, fuel, WJ_STORE_FUEL);
WJ_ASSERT_OFFSET(struct wj_store, epoch, WJ_STORE_EPOCH);
WJ_ASSERT_OFFSET(struct wj_store, epoch_deadline, WJ_STORE_EPOCH_DEADLINE);
WJ_ASSERT_OFFSET(struct wj_store, tail_arguments, WJ_STORE_TAIL_ARGUMENTS);
WJ_ASSERT_OFFSET(wj_memory_slot, memory, WJ_MEMORY_SLOT_MEMORY);
WJ_ASSERT_OFFSET(wj_memory_slot, base, WJ_MEMORY_SLOT_BASE);
WJ_ASSERT_OFFSET(wj_table_slot, table, WJ_TABLE_SLOT_TABLE);
WJ_ASSERT_OFFSET(wj_table_slot, elements, WJ_TABLE_SLOT_ELEMENTS);
WJ_ASSERT_OFFSET(wj_segment_slot, start, WJ_SEGMENT_SLOT_START);
WJ_ASSERT_OFFSET(wj_segment_slot, length, WJ_SEGMENT_SLOT_LENGTH);
WJ_ASSERT_OFFSET(wj_function_table_header, interpreter, WJ_FUNCTION_TABLE_HEADER_INTERPRETER);
WJ_ASSERT_OFFSET(wj_function_table_header, reporter, WJ_FUNCTION_TABLE_HEADER_REPORTER);
WJ_ASSERT_OFFSET(wj_function_table_header, resolver, WJ_FUNCTION_TABLE_HEADER_RESOLVER);
WJ_ASSERT_OFFSET(wj_vmcontext, magic, WJ_VMCONTEXT_MAGIC);
WJ_ASSERT_OFFSET(wj_vmcontext, flags, WJ_VMCONTEXT_FLAGS);
WJ_ASSERT_OFFSET(wj_vmcontext, store, WJ_VMCONTEXT_STORE);
WJ_ASSERT_OFFSET(wj_vmcontext, functions, WJ_VMCONTEXT_FUNCTIONS);
WJ_ASSERT_OFFSET(wj_vmcontext, builtins, WJ_VMCONTEXT_BUILTINS);
WJ_ASSERT_OFFSET(wj_vmcontext, type_ids, WJ_VMCONTEXT_TYPE_IDS);
WJ_ASSERT_OFFSET(wj_vmcontext, instance, WJ_VMCONTEXT_INSTANCE);
_Static_assert(sizeof(struct wj_func_ref) == WJ_FUNC_REF_SIZEOF, "VMFuncRef size");
_Static_assert(sizeof(wj_memory_slot) == WJ_MEMORY_SLOT_SIZEOF, "memory slot size");
_Static_assert(sizeof(wj_table_slot) == WJ_TABLE_SLOT_SIZEOF, "table slot size");
_Static_assert(sizeof(wj_segment_slot) == WJ_SEGMENT_SLOT_SIZEOF, "segment slot size");
_Static_assert(sizeof(wj_function_table_header) == WJ_FUNCTION_TABLE_HEADER_SIZEOF, "function table header size");
_Static_assert(sizeof(uint64_t) == WJ_SLOT_BYTES, "slots are words");
_Static_assert(sizeof *((struct wj_table *)NULL)->elements == WJ_ELEMENT_BYTES, "elements are words");
_Static_assert(sizeof(wj_vmcontext) == WJ_VMCONTEXT_SIZEOF, "vmcontext head size");

/* ---- the boundary (boundary.h, arch_*.c) ---- */

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
    uint64_t stack_limit;  /* store->stack_limit and caller to put back */
    void *caller;
    int64_t deadline_ns; /* CLOCK_MONOTONIC, of the call's timeout; 0: none */
    wj_activation *activation; /* the innermost function that is interpreted, or NULL */
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
/* Called by wj_host_stub. */
WJ_INTERNAL void wj_host_dispatch(wj_host_func *host, wj_frame *frame);
WJ_INTERNAL void wj_lazy_stub(void);
/* Called by wj_lazy_stub: the code of the function at this position of the caller's function table. */
WJ_INTERNAL uint64_t wj_lazy_resolve(void *vmctx, uint32_t position, void *frame_address);

WJ_INTERNAL void wj_interpreter_stub(void);
/* Called by wj_interpreter_stub: runs the function at this position of the caller's function table. 0; or, where it is not
 * interpreted, the code that is to be run instead. */
WJ_INTERNAL uint64_t wj_interpret(uint32_t position, wj_frame *frame);
/* Calls wasm code with the registers and stack slots (an even number) of `frame`, and stores the results there. */
WJ_INTERNAL void wj_call_frame(const void *code, wj_frame *frame, uint64_t stack_slots);
/* Tells Python of a hot function, from below wasm, and whether it runs in baseline code; the address of code to go on
 * in, or 0. */
WJ_INTERNAL uint64_t wj_report_hot(void *vmctx, uint32_t position, uint32_t loop_offset, uint32_t is_compiled);
/* Whether this thread may tell Python of something hot now: it takes the GIL, which others may hold for milliseconds. */
WJ_INTERNAL bool wj_may_ask(void);
/* Whether pc lies in the interpreter's loop: one activation stands behind each such pc of a stack. */
WJ_INTERNAL bool wj_in_interpreter(uintptr_t pc);
/* Gives back what deep recursion took, where nothing of the store runs; and all of it. */
WJ_INTERNAL void wj_interpreter_stack_trim(wj_store *store);
WJ_INTERNAL void wj_interpreter_stack_free(wj_store *store);

/* ---- threads and traps (trap.c) ---- */

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
    uint32_t sigint_depth;
    int64_t look_tick;      /* when wj_thread_prepare was called last, in ticks of the coarse clock; 0: it has to be */
    int faulthandler_state; /* whether it was enabled then */
    int64_t sigint_look_ns; /* when it will look again, by the timer; 0: not */
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

/* Async-signal-safe. */
WJ_INTERNAL bool wj_code_is_registered(uintptr_t pc);
/* Records a trap of code that was interrupted at these registers. Async-signal-safe. */
WJ_INTERNAL void wj_record_trap(const wj_thread *thread, wj_entry *entry, int code, wj_registers at);
/* Records the wasm frames of this entry from pc (0: none) and the frame record fp on, for wj_add_traceback. */
WJ_INTERNAL void wj_record_frames(const wj_thread *thread, wj_entry *entry, uintptr_t pc, uintptr_t fp);

/* ---- signature.c ---- */

WJ_INTERNAL void wj_signatures_before_fork(void);
WJ_INTERNAL void wj_signatures_after_fork(void);

/* ---- interrupts (interrupt.c) ---- */

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

/* ---- callbacks.c ---- */

/* Has `called` when Python has been finalized; false if it has no room for that. */
WJ_INTERNAL bool wj_at_python_end(void (*called)(void));

/* Runs Python's signal handlers below wasm code that stands at pc and fp; false: one raised, and the GIL is held. */
WJ_INTERNAL bool wj_python_signals(wj_thread *thread, wj_entry *entry, uintptr_t pc, uintptr_t fp);
/* Asks the store's limiter about a growth (bytes or elements) from below wasm code; unwinds if it raises. */
WJ_INTERNAL bool wj_limiter_allows(wj_store *store, int is_table, uint64_t current, uint64_t desired, uint64_t maximum,
                                   void *fp);
/* Puts the entry's wasm frames into the traceback of the current exception. */
WJ_INTERNAL void wj_add_traceback(const wj_entry *entry);

/* ---- store.c ---- */

/* Makes the store this thread's, if nobody is in it: until wj_store_unclaim nothing enters it, not even a C caller without
 * the GIL. With the GIL held. */
WJ_INTERNAL bool wj_store_claim(wj_store *store);
WJ_INTERNAL void wj_store_unclaim(wj_store *store);
/* Gives up one reference on the record. */
WJ_INTERNAL void wj_store_release_record(wj_store *store);

/* Gives up one pin; with the last, everything of the store but its record is freed. */
WJ_INTERNAL void wj_store_unpin(wj_store *store);

/* ---- memory.c ---- */

/* Frees everything of the store but its record. */
WJ_INTERNAL void wj_store_release(wj_store *store);
/* Where the contents are now, and, of a memory that moves, what keeps them there (else NULL): until every view is
 * released, growth leaves a copy of the contents behind, so a pointer into it stays readable and writable. Whoever has the
 * view has a reference on the memory, too. False: out of memory. */
WJ_INTERNAL bool wj_memory_view(wj_memory *memory, wj_view **view, uint8_t **base, uint64_t *size_bytes);
WJ_INTERNAL void wj_view_release(wj_view *view);
WJ_INTERNAL void wj_memory_hold(wj_memory *memory);
WJ_INTERNAL bool wj_store_runs_elsewhere(const wj_store *store);
/* A memory that moves may do so on another thread, which holds the lock and perhaps no GIL: without it this thread would
 * go on copying where nothing is mapped any more, or something else. It never shrinks. */
static inline bool wj_lock_if_it_moves(wj_memory *memory)
{
    if (memory->moves) {
        pthread_mutex_lock(&memory->lock);
    }
    return memory->moves;
}

static inline void wj_unlock_if(bool locked, wj_memory *memory)
{
    if (locked) {
        pthread_mutex_unlock(&memory->lock);
    }
}

/* ---- pool.c ---- */

/* A freed memory with this layout, preferably showing the image, or NULL: mapping, mapping_bytes, base, guard_bytes,
 * committed_bytes, image_* and an unlocked lock. The rest is left over from its former life. */
WJ_INTERNAL wj_memory *wj_pool_take(uint64_t mapping_bytes, uint64_t guard_bytes, uint64_t image_id);
/* Frees a memory that nothing refers to, or keeps its mapping for later. */
WJ_INTERNAL void wj_pool_give(wj_memory *memory);
/* Unmaps what is kept, where address space is short; false if there was nothing. */
WJ_INTERNAL bool wj_pool_drain(void);
/* Unmaps what shows an image that is going away. */
WJ_INTERNAL void wj_pool_forget(uint64_t image_id);

/* ---- huge.c ---- */

#define WJ_HUGE_PAGE_BYTES (UINT64_C(2) << 20)
/* After `memory` was made or has grown: gives huge pages to what deserves them. Needs memory->lock, and no
 * store's. */
WJ_INTERNAL void wj_prefer_huge_pages(wj_memory *memory);
/* At a call between wasm and the host, if it is time: looks again. */
WJ_INTERNAL void wj_look_at_memories(wj_store *store);
/* What is known of how a pooled memory was used holds for the next user no more. */
WJ_INTERNAL void wj_forget_density(wj_memory *memory);

/* In the way of every call: one load, as long as there is nothing to look at. */
static inline __attribute__((always_inline)) void wj_look_if_due(wj_store *store)
{
    if (__builtin_expect(store->next_look_ns != 0, 0)) {
        wj_look_at_memories(store);
    }
}

/* ---- instance.c ---- */

struct wj_image {
    uint64_t id; /* never used again: tells whether a mapping shows this image */
    uint64_t start, size_bytes;
    int file;
    uint64_t offset_bytes; /* of the contents in the file */
};

static inline bool wj_in_bounds(uint64_t start, uint64_t count, uint64_t size)
{
    return start <= size && count <= size - start;
}

#endif
