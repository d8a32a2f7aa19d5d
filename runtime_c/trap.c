/* Faults become traps here: the registry of generated code, per-thread preparation, the signal handler, backtraces.
 *
 * The handler claims a fault only if this thread is inside a wasm entry (not in a host function it called), the pc is
 * in registered code, and the address or instruction is one that generated code faults at on purpose. It then rewrites
 * the interrupted registers to the entry's landing point (wj_enter), so no C or Python frame is ever skipped.
 * Everything else goes to the handler that was there before ours. */
#include "sanitizer.h"
#include "stencil.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALTERNATE_STACK_BYTES (64u << 10)
#define ALTERNATE_STACK_MINIMUM_BYTES (32u << 10)
/* What host functions find at least, and the runtime itself, below the deepest wasm: a quarter of the stack, but at most and
 * at least these; half of a stack that is so small. Python's compiler takes 1 MiB for an expression of 200 parentheses. */
#define MOST_HEADROOM_BYTES (1u << 20)
#define LEAST_HEADROOM_BYTES (256u << 10)
#define MOST_GUESSED_STACK_BYTES (64ull << 20) /* the kernel leaves so much room, whatever the limit was at the start */
#define NULL_PAGE_BYTES 4096u
_Static_assert(WJ_FUNC_REF_SIZEOF <= NULL_PAGE_BYTES, "code reads through null func-refs");
#define STACK_PROBE_SLACK_BYTES (64u << 10) /* how far a faulting frame probe may be from sp or the guard's ends */
#define MAX_HISTORY 8
#define REPEATS_BEFORE_GIVING_UP 100000u /* a fraction of a second */

_Thread_local wj_thread wj_this_thread __attribute__((tls_model("initial-exec")));

/* Writers of everything below hold this; the handler never does. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- registered code: an immutable sorted array behind an atomic pointer ---- */

typedef struct code_ranges {
    struct code_ranges *next_retired;
    size_t count;
    wj_code_range ranges[];
} code_ranges;

static code_ranges *current_ranges;
static uint32_t active_readers;
static code_ranges *retired_ranges; /* replaced, but a reader was active at the time */

/* The registered range that holds pc, or an empty one. Async-signal-safe. */
static wj_code_range registered_range(uintptr_t pc)
{
    wj_code_range found = {0, 0};
    __atomic_add_fetch(&active_readers, 1, __ATOMIC_SEQ_CST);
    const code_ranges *ranges = __atomic_load_n(&current_ranges, __ATOMIC_SEQ_CST);
    size_t low = 0;
    size_t high = ranges == NULL ? 0 : ranges->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const wj_code_range *range = &ranges->ranges[middle];
        if (pc < range->start) {
            high = middle;
        } else if (pc >= range->end) {
            low = middle + 1;
        } else {
            found = (wj_code_range){range->start, __atomic_load_n(&range->end, __ATOMIC_RELAXED)};
            break;
        }
    }
    __atomic_sub_fetch(&active_readers, 1, __ATOMIC_SEQ_CST);
    return found;
}

static uintptr_t registered_end(uintptr_t pc)
{
    return registered_range(pc).end;
}

/* Replaces the array; needs registry_lock. A reader that starts after the exchange sees the new array, so once no
 * reader is active the retired ones are unreachable. */
static void publish_ranges(code_ranges *ranges)
{
    code_ranges *old = __atomic_exchange_n(&current_ranges, ranges, __ATOMIC_SEQ_CST);
    if (old != NULL) {
        old->next_retired = retired_ranges;
        retired_ranges = old;
    }
    if (__atomic_load_n(&active_readers, __ATOMIC_SEQ_CST) == 0) {
        for (code_ranges *retired = retired_ranges, *next; retired != NULL; retired = next) {
            next = retired->next_retired;
            free(retired);
        }
        retired_ranges = NULL;
    }
}

static int register_locked(uintptr_t start, uintptr_t end)
{
    const code_ranges *old = current_ranges;
    size_t count = old == NULL ? 0 : old->count;
    code_ranges *ranges = malloc(sizeof *ranges + (count + 1) * sizeof(wj_code_range));
    if (ranges == NULL) {
        return ENOMEM;
    }
    size_t at = 0;
    while (at < count && old->ranges[at].start < start) {
        at++;
    }
    if ((at > 0 && old->ranges[at - 1].end > start) || (at < count && old->ranges[at].start < end)) {
        free(ranges);
        return EEXIST;
    }
    if (count != 0) {
        memcpy(ranges->ranges, old->ranges, at * sizeof(wj_code_range));
        memcpy(ranges->ranges + at + 1, old->ranges + at, (count - at) * sizeof(wj_code_range));
    }
    ranges->ranges[at] = (wj_code_range){start, end};
    ranges->count = count + 1;
    publish_ranges(ranges);
    return 0;
}

void wj_code_addresses(uint64_t *addresses, uint64_t start, const uint32_t *offsets, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        addresses[i] = start + offsets[i];
    }
}

int wj_code_register(uintptr_t start, uintptr_t end)
{
    if (start >= end) {
        return EINVAL;
    }
    pthread_mutex_lock(&registry_lock);
    int error = register_locked(start, end);
    pthread_mutex_unlock(&registry_lock);
    return error;
}

void wj_code_unregister(uintptr_t start)
{
    pthread_mutex_lock(&registry_lock);
    code_ranges *old = current_ranges;
    size_t count = old == NULL ? 0 : old->count;
    size_t at = 0;
    while (at < count && old->ranges[at].start != start) {
        at++;
    }
    if (at < count) {
        code_ranges *ranges = malloc(sizeof *ranges + count * sizeof(wj_code_range));
        if (ranges != NULL) {
            memcpy(ranges->ranges, old->ranges, at * sizeof(wj_code_range));
            memcpy(ranges->ranges + at, old->ranges + at + 1, (count - at - 1) * sizeof(wj_code_range));
            ranges->count = count - 1;
            publish_ranges(ranges);
        } else {
            /* No memory for a copy: shrink to nothing, which no reader can misread as a hit. */
            __atomic_store_n(&old->ranges[at].end, start, __ATOMIC_SEQ_CST);
        }
    }
    pthread_mutex_unlock(&registry_lock);
}

void wj_code_forget(void *start)
{
    wj_code_unregister((uintptr_t)start);
}

/* ---- backtraces ---- */

/* The activations behind one pc in the interpreter. */
static void add_activations(wj_entry *entry, const wj_activation **next)
{
    const wj_activation *activation = *next;
    for (bool was_first = false; activation != NULL && !was_first && entry->pc_count < WJ_MAX_BACKTRACE;) {
        was_first = activation->is_first;
        if (activation->ip != NULL) {
            entry->pcs[entry->pc_count++] = (uintptr_t)activation->ip;
        }
        activation = activation->outer;
    }
    *next = activation;
}

/* `activation`: the innermost one behind code of the interpreter that is not told of yet. */
static void add_pc(wj_entry *entry, uintptr_t pc, const wj_activation **activation)
{
    if (wj_in_interpreter(pc)) {
        add_activations(entry, activation);
        return;
    }
    if (registered_end(pc) == 0) {
        return;
    }
    if (entry->pc_count < WJ_MAX_BACKTRACE) {
        entry->pcs[entry->pc_count++] = pc;
    }
}

/* Follows frame records from fp up to the frame of wj_enter, whose frame pointer is end_fp. Nothing below
 * readable_from or above the stack is touched, so a wild frame pointer ends the walk and does no harm. */
static void walk_frames(const wj_thread *thread, wj_entry *into, const wj_activation *activation, uintptr_t fp,
                        uintptr_t end_fp, uintptr_t readable_from)
{
    uintptr_t limit = end_fp < thread->stack_high - 16 ? end_fp : thread->stack_high - 16;
    while (into->pc_count < WJ_MAX_BACKTRACE && fp >= readable_from && fp < limit && fp % sizeof(uintptr_t) == 0) {
        const uintptr_t *record = (const uintptr_t *)fp;
        add_pc(into, wj_return_address(record[1]) - 1, &activation); /* back into the call instruction */
        if (record[0] <= fp) {
            break;
        }
        fp = record[0];
    }
}

/* The frames of the entries around `entry`, each from where it called out to the host. sp bounds the live stack. */
static void capture_outer(const wj_thread *thread, wj_entry *entry, uintptr_t sp)
{
    for (const wj_entry *outer = entry->outer; outer != NULL; outer = outer->outer) {
        walk_frames(thread, entry, outer->activation, outer->host_fp, outer->landing_fp, sp);
    }
}

/* The whole backtrace, from pc (0: none) and the frame record fp of code that `entry` runs. */
static void capture(const wj_thread *thread, wj_entry *entry, uintptr_t pc, uintptr_t fp, uintptr_t sp)
{
    const wj_activation *activation = entry->activation;
    uintptr_t readable_from = sp > thread->stack_low ? sp : thread->stack_low;
    entry->pc_count = 0;
    add_pc(entry, pc, &activation);
    walk_frames(thread, entry, activation, fp, entry->landing_fp, readable_from);
    entry->own_pc_count = entry->pc_count;
    capture_outer(thread, entry, readable_from);
}

wj_code_range wj_code_range_of(uintptr_t pc)
{
    return registered_range(pc);
}

bool wj_code_is_registered(uintptr_t pc)
{
    return registered_end(pc) != 0 || wj_in_interpreter(pc);
}

void wj_record_trap(const wj_thread *thread, wj_entry *entry, int code, wj_registers at)
{
    entry->trap_code = code;
    entry->fault_address = 0;
    capture(thread, entry, at.pc, at.fp, at.sp);
}

void wj_record_frames(const wj_thread *thread, wj_entry *entry, uintptr_t pc, uintptr_t fp)
{
    const wj_activation *activation = entry->activation;
    entry->pc_count = 0;
    add_pc(entry, pc, &activation);
    walk_frames(thread, entry, activation, fp, entry->landing_fp, (uintptr_t)__builtin_frame_address(0));
    entry->own_pc_count = entry->pc_count;
}

void wj_trap_at_entry(const wj_thread *thread, wj_entry *entry, int code)
{
    entry->trap_code = code;
    entry->fault_address = 0;
    entry->pc_count = 0;
    entry->own_pc_count = 0;
    capture_outer(thread, entry, (uintptr_t)__builtin_frame_address(0));
}

void wj_trap(int code, uintptr_t fault_address)
{
    wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    uintptr_t fp = (uintptr_t)__builtin_frame_address(0);
    entry->trap_code = code;
    entry->fault_address = fault_address;
    capture(thread, entry, 0, fp, fp);
    wj_unwind(entry, WJ_STATUS_TRAP);
}

/* ---- classifying a fault ---- */

/* Of the code's own store, which does not end while it runs: so none of these memories does. One that has other members,
 * whose threads may be anywhere, never moves. Async-signal-safe. */
static bool in_memory_of(const wj_store *store, uintptr_t address)
{
    const wj_membership *membership = __atomic_load_n(&store->memories, __ATOMIC_ACQUIRE);
    for (; membership != NULL; membership = membership->next) {
        const wj_memory *memory = membership->memory;
        if (address - (uintptr_t)memory->mapping < memory->mapping_bytes) {
            return true;
        }
    }
    return false;
}

/* A frame that grew over the end of the stack: the address lies around the guard area and close to sp. */
static bool in_stack_guard(const wj_thread *thread, uintptr_t address, uintptr_t sp)
{
    uint64_t guard_bytes = thread->stack_guard_bytes > STACK_PROBE_SLACK_BYTES ? thread->stack_guard_bytes
                                                                               : STACK_PROBE_SLACK_BYTES;
    return address + guard_bytes >= thread->stack_low && address < thread->stack_low + STACK_PROBE_SLACK_BYTES &&
           address + STACK_PROBE_SLACK_BYTES >= sp && address < sp + STACK_PROBE_SLACK_BYTES;
}

/* The main thread's stack may not grow as far as when its bounds were looked at: RLIMIT_STACK was lowered. */
static bool is_refused_growth(const wj_thread *thread, const siginfo_t *info, uintptr_t address, uintptr_t sp)
{
    return thread->is_main && info->si_code == SEGV_MAPERR && address >= thread->stack_low && address < thread->stack_high &&
           address + STACK_PROBE_SLACK_BYTES >= sp && address < sp + STACK_PROBE_SLACK_BYTES;
}

/* The trap that a fault of generated code means, or -1 if it means none. */
static int classify(const wj_thread *thread, const wj_entry *entry, int signal_number, const siginfo_t *info,
                    wj_registers at, uintptr_t code_end)
{
    if (signal_number == WJ_TRAP_SIGNAL) {
        if (code_end - at.pc < WJ_TRAP_INSTRUCTION_BYTES) {
            return -1;
        }
        return wj_trap_instruction_code((const uint8_t *)at.pc);
    }
    if (signal_number == SIGSEGV && info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR) {
        return -1; /* the kernel knows no address, e.g. for a non-canonical one */
    }
    uintptr_t address = (uintptr_t)info->si_addr;
    if (in_memory_of(entry->store, address)) {
        return WJ_TRAP_MEMORY_OUT_OF_BOUNDS;
    }
    if (address < NULL_PAGE_BYTES) {
        return WJ_TRAP_INDIRECT_CALL_TO_NULL; /* the signature check reads through a null func-ref */
    }
    if (in_stack_guard(thread, address, at.sp) || is_refused_growth(thread, info, address, at.sp)) {
        return WJ_TRAP_STACK_OVERFLOW;
    }
    return -1;
}

/* Turns the fault into a trap if it is one of ours. */
static bool claim(int signal_number, const siginfo_t *info, ucontext_t *context)
{
    wj_thread *thread = &wj_this_thread;
    wj_entry *entry = thread->entry;
    if (entry == NULL || entry->host_fp != 0 || info->si_code <= 0) { /* <= 0: sent by kill() and the like */
        return false;
    }
    wj_registers at = wj_context_registers(context);
    uintptr_t code_end = registered_end(at.pc);
    if (code_end == 0 && (signal_number == WJ_TRAP_SIGNAL || !wj_in_interpreter(at.pc))) {
        return false;
    }
    int code = classify(thread, entry, signal_number, info, at, code_end);
    if (code < 0) {
        return false;
    }
    thread->repeat_signal = 0;
    entry->trap_code = code;
    entry->fault_address = signal_number == WJ_TRAP_SIGNAL ? 0 : (uintptr_t)info->si_addr;
    capture(thread, entry, at.pc, at.fp, at.sp);
    wj_context_redirect(context, (wj_registers){entry->landing_pc, entry->landing_sp, entry->landing_fp},
                        WJ_STATUS_TRAP);
    return true;
}

/* ---- the handlers that were there before ours ---- */

static const int our_signals[] = {SIGSEGV, SIGBUS, WJ_TRAP_SIGNAL};
#define OUR_SIGNAL_COUNT (sizeof our_signals / sizeof our_signals[0])

/* What we found installed, oldest first. Published like the code ranges but never freed: at most a few ever exist. */
typedef struct {
    uint32_t count;
    struct sigaction actions[MAX_HISTORY];
} handler_history;

static handler_history *histories[OUR_SIGNAL_COUNT];

static void on_fault(int signal_number, siginfo_t *info, void *context);

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == on_fault;
}

static size_t signal_slot(int signal_number)
{
    size_t slot = 0;
    while (slot + 1 < OUR_SIGNAL_COUNT && our_signals[slot] != signal_number) {
        slot++;
    }
    return slot;
}

static bool same_handler(const struct sigaction *a, const struct sigaction *b)
{
    if ((a->sa_flags & SA_SIGINFO) != (b->sa_flags & SA_SIGINFO)) {
        return false;
    }
    return (a->sa_flags & SA_SIGINFO) != 0 ? a->sa_sigaction == b->sa_sigaction : a->sa_handler == b->sa_handler;
}

/* Makes `found` the newest entry of the history; needs registry_lock. */
static int remember(size_t slot, const struct sigaction *found)
{
    const handler_history *old = histories[slot];
    if (old != NULL && old->count > 0 && same_handler(&old->actions[old->count - 1], found)) {
        return 0;
    }
    handler_history *history = calloc(1, sizeof *history);
    if (history == NULL) {
        return ENOMEM;
    }
    for (uint32_t i = 0; old != NULL && i < old->count; i++) {
        if (!same_handler(&old->actions[i], found)) {
            history->actions[history->count++] = old->actions[i];
        }
    }
    if (history->count == MAX_HISTORY) { /* keep the very first, it is most likely the default */
        memmove(history->actions + 1, history->actions + 2, (MAX_HISTORY - 2) * sizeof history->actions[0]);
        history->count--;
    }
    history->actions[history->count++] = *found;
    __atomic_store_n(&histories[slot], history, __ATOMIC_RELEASE);
    return 0;
}

/* Puts our handlers on top of whatever is installed. */
static int install(void)
{
    struct sigaction ours;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    int error = 0;
    pthread_mutex_lock(&registry_lock);
    for (size_t slot = 0; slot < OUR_SIGNAL_COUNT && error == 0; slot++) {
        struct sigaction found;
        if (wj_sigaction(our_signals[slot], NULL, &found) != 0) {
            error = errno;
        } else if (!is_ours(&found)) {
            error = remember(slot, &found); /* before ours can run */
            if (error == 0 && wj_sigaction(our_signals[slot], &ours, NULL) != 0) {
                error = errno;
            }
        }
    }
    pthread_mutex_unlock(&registry_lock);
    return error;
}

/* What the kernel does without a handler: returning repeats the faulting instruction, which then kills the process;
 * a signal that somebody sent has to be sent again. */
static void die_by_default(int signal_number, const siginfo_t *info)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    sigemptyset(&action.sa_mask);
    (void)wj_sigaction(signal_number, &action, NULL);
    if (info->si_code <= 0) {
        (void)raise(signal_number);
    }
}

/* Calls a previous handler with the signal mask it asked for. */
static void call_handler(const struct sigaction *action, int signal_number, siginfo_t *info, void *context)
{
    sigset_t before;
    sigset_t own;
    (void)pthread_sigmask(SIG_BLOCK, &action->sa_mask, &before);
    if ((action->sa_flags & SA_NODEFER) != 0) {
        sigemptyset(&own);
        sigaddset(&own, signal_number);
        (void)pthread_sigmask(SIG_UNBLOCK, &own, NULL);
    }
    if ((action->sa_flags & SA_SIGINFO) != 0) {
        action->sa_sigaction(signal_number, info, context);
    } else {
        action->sa_handler(signal_number);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* How many of the newest handlers gave this very fault back, again and again, without moving the pc: a handler that was
 * switched off, or that "restored" ours, would otherwise loop for ever. */
static uint32_t handlers_to_skip(wj_thread *thread, int signal_number, const siginfo_t *info, uintptr_t pc)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    if (thread->repeat_signal == signal_number && thread->repeat_pc == pc && thread->repeat_address == address) {
        thread->repeat_count++;
    } else {
        thread->repeat_signal = signal_number;
        thread->repeat_pc = pc;
        thread->repeat_address = address;
        thread->repeat_count = 0;
    }
    return thread->repeat_count / REPEATS_BEFORE_GIVING_UP;
}

/* Passes the signal on. A previous handler may itself pass it on to what it found when it was installed, which is our
 * handler if it came after us. Then we are called again from within it, lower on the same stack, and go on with
 * the handler before that one. (A handler that left by longjmp left chain_depth behind: a later fault is not lower.) */
static void chain(int signal_number, siginfo_t *info, void *context)
{
    wj_thread *thread = &wj_this_thread;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    if (thread->chain_depth != 0 &&
        !(frame < thread->chain_frame && thread->chain_frame - frame < ALTERNATE_STACK_BYTES)) {
        thread->chain_depth = 0;
    }
    uint32_t skip = thread->chain_depth;
    if (skip == 0) {
        skip = handlers_to_skip(thread, signal_number, info, wj_context_registers(context).pc);
    }
    const handler_history *history = __atomic_load_n(&histories[signal_slot(signal_number)], __ATOMIC_ACQUIRE);
    const struct sigaction *action = NULL;
    if (history != NULL && skip < history->count) {
        action = &history->actions[history->count - 1 - skip];
    }
    bool has_function = action != NULL && ((action->sa_flags & SA_SIGINFO) != 0 ||
                                           (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN));
    if (has_function) {
        uintptr_t outer_frame = thread->chain_frame;
        uint32_t outer_depth = thread->chain_depth;
        uintptr_t pc = wj_context_registers(context).pc;
        thread->chain_frame = frame;
        thread->chain_depth = skip + 1;
        call_handler(action, signal_number, info, context);
        thread->chain_frame = outer_frame;
        thread->chain_depth = outer_depth;
        if (wj_context_registers(context).pc != pc) {
            thread->repeat_signal = 0; /* it was that handler's own fault, e.g. another engine's trap */
        }
    } else if (action != NULL && action->sa_handler == SIG_IGN && info->si_code <= 0) {
        return; /* only a signal that was sent can be ignored */
    } else {
        die_by_default(signal_number, info);
    }
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    if (!claim(signal_number, info, context)) {
        chain(signal_number, info, context);
    }
    errno = saved_errno;
}

/* ---- threads ---- */

static pthread_key_t thread_end_key;

static void on_thread_end(void *value)
{
    wj_thread *thread = value;
    stack_t current;
    wj_interrupt_thread_end(thread);
    thread->ready = false;
    if (thread->alternate_stack == NULL) {
        return;
    }
    if (sigaltstack(NULL, &current) == 0 && current.ss_sp == thread->alternate_stack) {
        stack_t none;
        memset(&none, 0, sizeof none);
        none.ss_flags = SS_DISABLE;
        (void)sigaltstack(&none, NULL);
    }
    munmap(thread->alternate_stack, ALTERNATE_STACK_BYTES);
    thread->alternate_stack = NULL;
}

/* A signal stack for this thread, unless it has one of sufficient size: after a stack overflow there is no other. */
static bool ensure_alternate_stack(wj_thread *thread)
{
    stack_t current;
    if (sigaltstack(NULL, &current) == 0 && (current.ss_flags & SS_DISABLE) == 0 &&
        current.ss_size >= ALTERNATE_STACK_MINIMUM_BYTES) {
        return true;
    }
    if (thread->alternate_stack == NULL) {
        void *mapping = mmap(NULL, ALTERNATE_STACK_BYTES, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapping == MAP_FAILED) {
            return false;
        }
        thread->alternate_stack = mapping;
    }
    stack_t ours;
    memset(&ours, 0, sizeof ours);
    ours.ss_sp = thread->alternate_stack;
    ours.ss_size = ALTERNATE_STACK_BYTES;
    return sigaltstack(&ours, NULL) == 0;
}

/* How far the main thread's stack may grow. */
static uint64_t main_stack_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_STACK, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

/* The bounds of the main thread's stack without /proc, which is read for them otherwise: there may be none, or no
 * descriptor for it. The program's name is the last thing on that stack. */
static bool guess_main_stack(wj_thread *thread)
{
    const char *name = (const char *)getauxval(AT_EXECFN);
    if (syscall(SYS_gettid) != getpid() || name == NULL) {
        return false;
    }
    uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    uint64_t limit = main_stack_limit();
    thread->stack_high = ((uintptr_t)name + strlen(name) + page_bytes) & ~(page_bytes - 1);
    limit = limit < MOST_GUESSED_STACK_BYTES ? limit : MOST_GUESSED_STACK_BYTES;
    thread->stack_low = thread->stack_high - (limit & ~(page_bytes - 1));
    thread->stack_guard_bytes = page_bytes;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    return here >= thread->stack_low && here < thread->stack_high;
}

static bool ask_for_stack(wj_thread *thread)
{
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) {
        return false;
    }
    void *low = NULL;
    size_t size_bytes = 0;
    size_t guard_bytes = 0;
    int error = pthread_attr_getstack(&attributes, &low, &size_bytes);
    if (error == 0) {
        error = pthread_attr_getguardsize(&attributes, &guard_bytes);
    }
    pthread_attr_destroy(&attributes);
    if (error != 0) {
        return false;
    }
    thread->stack_low = (uintptr_t)low;
    thread->stack_high = (uintptr_t)low + size_bytes;
    thread->stack_guard_bytes = guard_bytes;
#ifndef __GLIBC__
    /* musl reports what the main thread's stack has grown to so far, not how far it may grow. */
    struct rlimit limit;
    if (syscall(SYS_gettid) == getpid() && getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur > size_bytes) {
        thread->stack_low = thread->stack_high - limit.rlim_cur;
    }
#endif
    return true;
}

static bool find_stack_bounds(wj_thread *thread)
{
    thread->stack_limit_bytes = thread->is_main ? main_stack_limit() : 0;
    if (!ask_for_stack(thread) && !guess_main_stack(thread)) {
        return false;
    }
    uint64_t stack_bytes = thread->stack_high - thread->stack_low;
    uint64_t least = stack_bytes / 2 < LEAST_HEADROOM_BYTES ? stack_bytes / 2 : LEAST_HEADROOM_BYTES;
    uint64_t quarter = stack_bytes / 4 < MOST_HEADROOM_BYTES ? stack_bytes / 4 : MOST_HEADROOM_BYTES;
    thread->stack_headroom_bytes = quarter > least ? quarter : least;
    return true;
}

bool wj_thread_prepare(wj_thread *thread)
{
    if (thread->is_main) {
        wj_watch_sigint(thread);
    }
    if (!thread->ready) {
        if (!find_stack_bounds(thread) || !ensure_alternate_stack(thread)) {
            return false;
        }
        if (pthread_setspecific(thread_end_key, thread) != 0) {
            return false;
        }
        thread->ready = true;
    }
    if (thread->is_main && thread->stack_limit_bytes != main_stack_limit() && !find_stack_bounds(thread)) {
        return false;
    }
    wj_unblock_signals();
    if (!thread->has_timer) { /* also after a fork */
        wj_interrupt_thread_start(thread);
        if (thread->is_main) {
            wj_watch_sigint(thread);
        }
    }
    /* Another library may have installed its handler over ours since the last call (faulthandler does). */
    struct sigaction found;
    if (wj_sigaction(SIGSEGV, NULL, &found) == 0 && is_ours(&found)) {
        return true;
    }
    return install() == 0 && ensure_alternate_stack(thread);
}

static void before_fork(void)
{
    wj_natives_before_fork(); /* who holds that lock may wait for the next */
    pthread_mutex_lock(&registry_lock);
    wj_signatures_before_fork();
    wj_interrupt_before_fork();
}

static void after_fork_in_parent(void)
{
    wj_interrupt_after_fork_in_parent();
    wj_signatures_after_fork();
    pthread_mutex_unlock(&registry_lock);
    wj_natives_after_fork();
}

uint32_t wj_fork_generation;

static void after_fork_in_child(void)
{
    wj_fork_generation++;
    wj_locks_after_fork_in_child();
    wj_waits_after_fork_in_child();
    wj_interrupt_after_fork_in_child();
    wj_signatures_after_fork();
    pthread_mutex_unlock(&registry_lock);
    wj_natives_after_fork();
}

static pthread_once_t init_once = PTHREAD_ONCE_INIT;
static int init_error;

/* The types and hooks that we keep were those of the interpreter that is gone. */
static void on_python_end(void)
{
    init_error = ESTALE;
}

static void init(void)
{
    if (!wj_at_python_end(on_python_end)) {
        init_error = ENOMEM; /* its list is full */
        return;
    }
    init_error = pthread_key_create(&thread_end_key, on_thread_end);
    if (init_error == 0) {
        init_error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    }
    if (init_error == 0) {
        init_error = wj_interrupt_init();
    }
    if (init_error == 0) {
        init_error = install();
    }
}

int wj_runtime_init(void)
{
    pthread_once(&init_once, init);
    return init_error;
}
