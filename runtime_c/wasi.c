/* Preview 1 for descriptors, clocks and random numbers of the host, without Python: wasm code calls these functions as it
 * would a host function of Python's (their vmctx is the host function's record).
 *
 * Each does what Python has said that it may do (wj_wasi: wasmjit/wasi/native.py) and what is done at once. Whatever else
 * there is, it leaves to the Python function of its host function, with the same arguments and before anything has
 * happened: what C has no row for, pointers that lead outside, errors, waiting. So every error code, message and limit is
 * Python's. */
#include "boundary.h"
#include "wj_wasi.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Of Linux, not of every system's headers. */
#define SYSTEM_CALL_OPENAT2 437 /* on every architecture but Alpha */
#define OPEN_NO_MAGIC_LINKS UINT64_C(0x02)
#define OPEN_BENEATH UINT64_C(0x08)

#define MOST_ARGUMENTS 9u
#define MOST_VECTORS 128u /* of a call; with more it is Python's */
#define MOST_SUBSCRIPTIONS 16u
#define MOST_PATH_BYTES 4095u /* as sandbox.py */
#define PYTHON_KNOWS UINT32_MAX
#define VECTOR_BYTES 8u
#define FILESTAT_BYTES 64u
#define LEAST_MAX_POSITION (INT64_C(1) << 31) /* every file system has positions up to here */
#define RANDOM_CHUNK_BYTES (UINT32_C(1) << 16) /* between looks for an interrupt */
#define FEW_RANDOM_BYTES 256u
#define CALLS_BETWEEN_LOOKS 256u /* for signals, */
#define SIGNALS_LOOK_NS 50000000 /* and the time */
#define YIELD_NS 1000000 /* between system calls for sched_yield, at the least */
#define MEMORIES (sizeof((wj_wasi *)NULL)->memories / sizeof((wj_wasi *)NULL)->memories[0])
/* Of subscriptions and events, as preview 1 lays them out. */
#define SUBSCRIPTION_BYTES 48u
#define EVENT_BYTES 32u

/* ---- what Python says ---- */

void wj_store_set_wasi(wj_store *store, wj_wasi *wasi)
{
    __atomic_store_n(&store->wasi, wasi, __ATOMIC_RELEASE);
}

void wj_wasi_add_memory(wj_wasi *wasi, uintptr_t instance, const wj_memory *memory)
{
    if (!memory->moves) {
        uint32_t at = wasi->memory_count++ % MEMORIES;
        wasi->memories[at].instance = (const void *)instance;
        wasi->memories[at].memory = memory;
    }
}

/* Lets the host know the descriptor's position: before something is done that depends on it, or may move it. */
static void settle(wj_wasi_descriptor *row)
{
    if (row->is_elsewhere != 0) {
        (void)lseek(row->host_fd, row->position, SEEK_SET);
    }
    row->is_known = 0;
    row->is_elsewhere = 0;
}

void wj_wasi_settle(wj_wasi *wasi, uint32_t number)
{
    if (number < wasi->descriptor_count) {
        settle(&wasi->descriptors[number]);
    }
}

void wj_wasi_write(wj_wasi *wasi, uint32_t number, int host_fd, uint32_t operations, const uint8_t *fdstat)
{
    wj_wasi_descriptor *row = &wasi->descriptors[number];
    settle(row); /* the descriptor may stand for another number now */
    row->host_fd = host_fd;
    row->operations = operations;
    if (fdstat != NULL) {
        memcpy(row->fdstat, fdstat, sizeof row->fdstat);
    }
}

int wj_open_beneath(int directory_fd, const char *path, uint64_t flags, uint64_t mode)
{
    struct {
        uint64_t flags, mode, resolve;
    } how = {flags, mode, OPEN_NO_MAGIC_LINKS | OPEN_BENEATH};
    for (;;) {
        long opened = syscall(SYSTEM_CALL_OPENAT2, directory_fd, path, &how, sizeof how);
        if (opened >= 0 || errno != EINTR) { /* as Python's own calls */
            return opened >= 0 ? (int)opened : -errno;
        }
    }
}

uintptr_t wj_wasi_function(uint32_t position)
{
#define WJ_WASI_CODE(name) (const void *)wj_wasi_##name,
    static const void *const functions[] = {WJ_WASI_FUNCTIONS(WJ_WASI_CODE)};
    return position < sizeof functions / sizeof functions[0] ? (uintptr_t)functions[position] : 0;
}

/* ---- a call ---- */

/* The caller's memory and what C knows of the program. */
typedef struct {
    wj_wasi *wasi;
    const wj_memory *memory;
} guest;

/* False: nothing is known of the store, or of the code that calls. */
static inline bool find_guest(const wj_host_func *host, guest *found)
{
    const wj_store *store = host->store;
    wj_wasi *wasi = __atomic_load_n(&store->wasi, __ATOMIC_ACQUIRE);
    if (UNLIKELY(wasi == NULL)) {
        return false;
    }
    const void *caller = store->caller;
    for (size_t i = 0; i < MEMORIES; i++) {
        if (LIKELY(wasi->memories[i].instance == caller)) {
            *found = (guest){wasi, wasi->memories[i].memory};
            return found->memory != NULL;
        }
    }
    return false;
}

/* The row of a descriptor with which all of `operations` may be done; NULL: there is none. */
static inline wj_wasi_descriptor *find_descriptor(const guest *of, uint32_t number, uint32_t operations)
{
    if (number >= of->wasi->descriptor_count) {
        return NULL;
    }
    wj_wasi_descriptor *row = &of->wasi->descriptors[number];
    return (row->operations & operations) == operations ? row : NULL;
}

/* Every pointer of the program's goes through here: where these bytes are; NULL if not all of them are in the memory. */
static inline uint8_t *guest_bytes(const guest *of, uint32_t start, uint64_t size_bytes)
{
    uint64_t memory_bytes = __atomic_load_n(&of->memory->size_bytes, __ATOMIC_RELAXED);
    return wj_in_bounds(start, size_bytes, memory_bytes) ? of->memory->base + start : NULL;
}

/* A copy of the program's bytes that is looked at from here on: other threads may write to a memory that they share, so the
 * compiler must not fetch again what was checked. */
static inline void take_bytes(void *copy, const uint8_t *from, size_t size_bytes)
{
    memcpy(copy, from, size_bytes);
    __asm__ volatile("" : : "r"(copy) : "memory");
}

static inline void put_u32(uint8_t *where, uint32_t value)
{
    memcpy(where, &value, sizeof value);
}

static inline void put_u64(uint8_t *where, uint64_t value)
{
    memcpy(where, &value, sizeof value);
}

/* Around system calls that may take long: releases the GIL if the code runs with it. The answer is for go_on. */
static inline wj_entry *let_others_run(void)
{
    wj_entry *entry = wj_this_thread.entry;
    if (LIKELY(entry->thread_state != NULL)) {
        return NULL;
    }
    entry->thread_state = PyEval_SaveThread();
    return entry;
}

static inline void go_on(wj_entry *entry)
{
    if (UNLIKELY(entry != NULL)) {
        int saved_errno = errno;
        PyEval_RestoreThread(entry->thread_state);
        entry->thread_state = NULL;
        errno = saved_errno;
    }
}

/* Python runs handlers of signals, and other threads, between its instructions, of which a program may have none for long. */
static void __attribute__((noinline)) look_for_signals(wj_thread *thread, void *frame_address)
{
    int64_t now_ns = wj_now_ns(CLOCK_MONOTONIC_COARSE);
    if (now_ns - thread->signals_look_ns < SIGNALS_LOOK_NS) { /* the GIL may have to be waited for */
        return;
    }
    thread->signals_look_ns = now_ns;
    go_on(let_others_run());
    if (thread->is_main && !wj_python_signals(thread, thread->entry, 0, (uintptr_t)frame_address)) {
        wj_unwind(thread->entry, WJ_STATUS_EXCEPTION);
    }
}

/* Before a function returns to wasm code: what a host function of Python's does there. */
static inline uint32_t succeed(const wj_host_func *host, void *frame_address)
{
    wj_thread *thread = &wj_this_thread;
    if (UNLIKELY(++thread->wasi_calls % CALLS_BETWEEN_LOOKS == 0)) {
        look_for_signals(thread, frame_address);
    }
    wj_look_if_due(host->store);
    wj_resume(thread, frame_address);
    return 0;
}

/* Calls the Python function. `frame_address`: the caller's own frame. */
static uint32_t __attribute__((noinline)) call_python(wj_host_func *host, void *frame_address, const uint64_t *arguments,
                                                      uint32_t count)
{
    wj_boundary_host_begin(host, frame_address);
    PyObject *objects[WJ_SPARE_ARGUMENTS + MOST_ARGUMENTS];
    for (uint32_t i = 0; i < count; i++) {
        bool failed = i > 0 && objects[WJ_SPARE_ARGUMENTS + i - 1] == NULL;
        objects[WJ_SPARE_ARGUMENTS + i] = failed ? NULL : PyLong_FromUnsignedLongLong(arguments[i]);
    }
    void *returned = wj_boundary_host_call(host, (void *)(objects + WJ_SPARE_ARGUMENTS), count);
    uint32_t code = (uint32_t)wj_boundary_host_result(host, returned);
    wj_boundary_host_end(host, frame_address);
    return code;
}

#define PYTHON(host, ...)                                                                                              \
    call_python(host, __builtin_frame_address(0), (const uint64_t[]){__VA_ARGS__},                                     \
                sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))
#define SUCCEED(host) succeed(host, __builtin_frame_address(0))

/* ---- arguments and environment ---- */

static bool put_strings(const guest *of, const wj_wasi_strings *strings, uint32_t pointers, uint32_t buffer)
{
    uint8_t *pointer = guest_bytes(of, pointers, (uint64_t)strings->count * sizeof(uint32_t));
    uint8_t *to = guest_bytes(of, buffer, strings->size_bytes);
    if (pointer == NULL || to == NULL) {
        return false;
    }
    const char *string = strings->bytes;
    for (uint32_t i = 0; i < strings->count; i++) { /* one by one: the two may overlap */
        size_t size_bytes = strlen(string) + 1;
        put_u32(pointer, buffer);
        memcpy(to, string, size_bytes);
        pointer += sizeof(uint32_t);
        to += size_bytes;
        string += size_bytes;
        buffer += (uint32_t)size_bytes;
    }
    return true;
}

static bool put_sizes(const guest *of, const wj_wasi_strings *strings, uint32_t count, uint32_t size)
{
    uint8_t *count_to = guest_bytes(of, count, sizeof(uint32_t));
    uint8_t *size_to = guest_bytes(of, size, sizeof(uint32_t));
    if (count_to == NULL || size_to == NULL) {
        return false;
    }
    put_u32(count_to, strings->count);
    put_u32(size_to, strings->size_bytes);
    return true;
}

uint32_t wj_wasi_args_get(wj_host_func *host, uint32_t pointers, uint32_t buffer)
{
    guest of;
    bool done = find_guest(host, &of) && put_strings(&of, &of.wasi->arguments, pointers, buffer);
    return done ? SUCCEED(host) : PYTHON(host, pointers, buffer);
}

uint32_t wj_wasi_args_sizes_get(wj_host_func *host, uint32_t count, uint32_t size)
{
    guest of;
    bool done = find_guest(host, &of) && put_sizes(&of, &of.wasi->arguments, count, size);
    return done ? SUCCEED(host) : PYTHON(host, count, size);
}

uint32_t wj_wasi_environ_get(wj_host_func *host, uint32_t pointers, uint32_t buffer)
{
    guest of;
    bool done = find_guest(host, &of) && put_strings(&of, &of.wasi->environment, pointers, buffer);
    return done ? SUCCEED(host) : PYTHON(host, pointers, buffer);
}

uint32_t wj_wasi_environ_sizes_get(wj_host_func *host, uint32_t count, uint32_t size)
{
    guest of;
    bool done = find_guest(host, &of) && put_sizes(&of, &of.wasi->environment, count, size);
    return done ? SUCCEED(host) : PYTHON(host, count, size);
}

/* ---- clocks ---- */

static bool host_clock(uint32_t clock, clockid_t *found)
{
    switch (clock) {
    case WJ_WASI_CLOCK_REALTIME:
        *found = CLOCK_REALTIME;
        return true;
    case WJ_WASI_CLOCK_MONOTONIC:
        *found = CLOCK_MONOTONIC;
        return true;
    case WJ_WASI_CLOCK_PROCESS_CPUTIME:
        *found = CLOCK_PROCESS_CPUTIME_ID;
        return true;
    case WJ_WASI_CLOCK_THREAD_CPUTIME:
        *found = CLOCK_THREAD_CPUTIME_ID;
        return true;
    default:
        return false;
    }
}

/* Stores what a clock shows, or its resolution. */
static inline bool put_time(const wj_host_func *host, uint32_t clock, uint32_t result,
                            int (*ask)(clockid_t, struct timespec *))
{
    guest of;
    clockid_t found;
    if (!find_guest(host, &of) || (of.wasi->operations & WJ_WASI_HOST_CLOCK) == 0 || !host_clock(clock, &found)) {
        return false;
    }
    uint8_t *to = guest_bytes(&of, result, sizeof(uint64_t));
    struct timespec time;
    if (to == NULL || ask(found, &time) != 0) {
        return false;
    }
    put_u64(to, (uint64_t)time.tv_sec * WJ_NS_PER_SECOND + (uint64_t)time.tv_nsec);
    return true;
}

uint32_t wj_wasi_clock_res_get(wj_host_func *host, uint32_t clock, uint32_t result)
{
    return put_time(host, clock, result, clock_getres) ? SUCCEED(host) : PYTHON(host, clock, result);
}

uint32_t wj_wasi_clock_time_get(wj_host_func *host, uint32_t clock, uint64_t precision, uint32_t result)
{
    return put_time(host, clock, result, clock_gettime) ? SUCCEED(host) : PYTHON(host, clock, precision, result);
}

/* ---- reading and writing ---- */

/* The buffers of an array of iovecs, each read once. */
static bool find_vectors(const guest *of, uint32_t iovecs, uint32_t count, struct iovec *vectors)
{
    if (count == 0 || count > MOST_VECTORS) {
        return false;
    }
    const uint8_t *array = guest_bytes(of, iovecs, (uint64_t)count * VECTOR_BYTES);
    if (array == NULL) {
        return false;
    }
    uint64_t total_bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t start_and_length[2];
        take_bytes(start_and_length, array + (size_t)i * VECTOR_BYTES, sizeof start_and_length);
        uint8_t *bytes = guest_bytes(of, start_and_length[0], start_and_length[1]);
        if (bytes == NULL) {
            return false;
        }
        vectors[i] = (struct iovec){bytes, start_and_length[1]};
        total_bytes += start_and_length[1];
    }
    return guest_bytes(of, 0, total_bytes) != NULL; /* over the same bytes again and again: Python says how far */
}

static bool is_ready(int host_fd, short events)
{
    struct pollfd one = {host_fd, events, 0};
    return poll(&one, 1, 0) > 0;
}

/* On what may take any time: without waiting. */
static ssize_t move_now(int host_fd, const struct iovec *vectors, uint32_t count, bool writes)
{
    ssize_t moved = writes ? pwritev2(host_fd, vectors, (int)count, -1, RWF_NOWAIT)
                           : preadv2(host_fd, vectors, (int)count, -1, RWF_NOWAIT);
    if (moved >= 0 || (errno != EOPNOTSUPP && errno != EINVAL && errno != ESPIPE && errno != ENOSYS)) {
        return moved;
    }
    if (!is_ready(host_fd, writes ? POLLOUT : POLLIN)) {
        return -1;
    }
    return writes ? writev(host_fd, vectors, (int)count) : readv(host_fd, vectors, (int)count);
}

static ssize_t move_at(int host_fd, const struct iovec *vectors, uint32_t count, off_t offset, bool writes)
{
    if (count == 1) {
        return writes ? pwrite(host_fd, vectors->iov_base, vectors->iov_len, offset)
                      : pread(host_fd, vectors->iov_base, vectors->iov_len, offset);
    }
    return writes ? pwritev(host_fd, vectors, (int)count, offset) : preadv(host_fd, vectors, (int)count, offset);
}

/* Where the program is, if C may know it. */
static bool knows_position(wj_wasi_descriptor *row)
{
    if (row->is_known == 0 && (row->operations & WJ_WASI_HAS_POSITION) != 0) {
        row->position = lseek(row->host_fd, 0, SEEK_CUR);
        row->is_known = row->position >= 0;
    }
    return row->is_known != 0;
}

/* At the descriptor's position. Negative: to be done in Python, nothing has happened. */
static ssize_t move(wj_wasi_descriptor *row, const struct iovec *vectors, uint32_t count, bool writes)
{
    int host_fd = row->host_fd;
    if ((row->operations & WJ_WASI_MAY_BLOCK) != 0) {
        return move_now(host_fd, vectors, count, writes);
    }
    if (writes && (row->operations & WJ_WASI_APPENDS) != 0) {
        ssize_t moved = pwritev2(host_fd, vectors, (int)count, -1, RWF_APPEND);
        if (moved >= 0) { /* and the host's position is the end */
            row->is_known = 0;
            row->is_elsewhere = 0;
        }
        return moved;
    }
    if (!knows_position(row)) {
        return writes ? writev(host_fd, vectors, (int)count) : readv(host_fd, vectors, (int)count);
    }
    ssize_t moved = move_at(host_fd, vectors, count, row->position, writes);
    if (moved > 0) {
        row->position += moved;
        row->is_elsewhere = 1;
    }
    return moved;
}

/* What a call reads or writes: which descriptor, which operation it takes, where its arguments say. */
typedef struct {
    uint32_t fd, operation, iovecs, count, result;
    bool writes, has_offset;
    uint64_t offset;
} transfer;

static bool transfer_now(const wj_host_func *host, const transfer *wanted)
{
    guest of;
    struct iovec vectors[MOST_VECTORS];
    if (!find_guest(host, &of) || wanted->offset > INT64_MAX) {
        return false;
    }
    uint8_t *to = guest_bytes(&of, wanted->result, sizeof(uint32_t));
    wj_wasi_descriptor *row = find_descriptor(&of, wanted->fd, wanted->operation);
    if (to == NULL || row == NULL || !find_vectors(&of, wanted->iovecs, wanted->count, vectors)) {
        return false;
    }
    wj_entry *entry = let_others_run();
    ssize_t moved = wanted->has_offset
                        ? move_at(row->host_fd, vectors, wanted->count, (off_t)wanted->offset, wanted->writes)
                        : move(row, vectors, wanted->count, wanted->writes);
    go_on(entry);
    if (moved >= 0) {
        put_u32(to, (uint32_t)moved);
    }
    return moved >= 0;
}

uint32_t wj_wasi_fd_read(wj_host_func *host, uint32_t fd, uint32_t iovecs, uint32_t count, uint32_t result)
{
    transfer wanted = {fd, WJ_WASI_READ, iovecs, count, result, false, false, 0};
    return transfer_now(host, &wanted) ? SUCCEED(host) : PYTHON(host, fd, iovecs, count, result);
}

uint32_t wj_wasi_fd_write(wj_host_func *host, uint32_t fd, uint32_t iovecs, uint32_t count, uint32_t result)
{
    transfer wanted = {fd, WJ_WASI_WRITE, iovecs, count, result, true, false, 0};
    return transfer_now(host, &wanted) ? SUCCEED(host) : PYTHON(host, fd, iovecs, count, result);
}

uint32_t wj_wasi_fd_pread(wj_host_func *host, uint32_t fd, uint32_t iovecs, uint32_t count, uint64_t offset,
                          uint32_t result)
{
    transfer wanted = {fd, WJ_WASI_READ_AT, iovecs, count, result, false, true, offset};
    return transfer_now(host, &wanted) ? SUCCEED(host) : PYTHON(host, fd, iovecs, count, offset, result);
}

uint32_t wj_wasi_fd_pwrite(wj_host_func *host, uint32_t fd, uint32_t iovecs, uint32_t count, uint64_t offset,
                           uint32_t result)
{
    transfer wanted = {fd, WJ_WASI_WRITE_AT, iovecs, count, result, true, true, offset};
    return transfer_now(host, &wanted) ? SUCCEED(host) : PYTHON(host, fd, iovecs, count, offset, result);
}

/* ---- positions and states ---- */

/* Moves to what is less than LEAST_MAX_POSITION from the start; negative: the host has to say what comes of it. */
static int64_t position_by_us(wj_wasi_descriptor *row, int64_t offset, int whence)
{
    int64_t position = -1;
    bool stays = whence == SEEK_CUR && offset == 0;
    if (whence != SEEK_END && offset < LEAST_MAX_POSITION && offset > -LEAST_MAX_POSITION && knows_position(row)) {
        bool is_near = row->position < LEAST_MAX_POSITION;
        position = whence == SEEK_SET ? offset : is_near ? row->position + offset : stays ? row->position : -1;
    }
    if (position < 0 || (position >= LEAST_MAX_POSITION && !stays)) {
        return -1;
    }
    if (position != row->position) {
        row->position = position;
        row->is_elsewhere = 1;
    }
    return position;
}

static bool put_position(const wj_host_func *host, uint32_t fd, uint32_t operation, int64_t offset, int whence,
                         uint32_t result)
{
    guest of;
    if (!find_guest(host, &of)) {
        return false;
    }
    uint8_t *to = guest_bytes(&of, result, sizeof(uint64_t));
    wj_wasi_descriptor *row = find_descriptor(&of, fd, operation);
    if (to == NULL || row == NULL) {
        return false;
    }
    int64_t position = position_by_us(row, offset, whence);
    if (position < 0) {
        settle(row);
        position = lseek(row->host_fd, offset, whence);
    }
    if (position >= 0) {
        put_u64(to, (uint64_t)position);
    }
    return position >= 0;
}

uint32_t wj_wasi_fd_seek(wj_host_func *host, uint32_t fd, uint64_t offset, uint32_t whence, uint32_t result)
{
    bool done = false;
    if (whence == WJ_WASI_WHENCE_CUR) {
        uint32_t operation = offset == 0 ? WJ_WASI_TELL : WJ_WASI_SEEK;
        done = put_position(host, fd, operation, (int64_t)offset, SEEK_CUR, result);
    } else if (whence == WJ_WASI_WHENCE_SET || whence == WJ_WASI_WHENCE_END) {
        int from = whence == WJ_WASI_WHENCE_SET ? SEEK_SET : SEEK_END;
        done = put_position(host, fd, WJ_WASI_SEEK, (int64_t)offset, from, result);
    }
    return done ? SUCCEED(host) : PYTHON(host, fd, offset, whence, result);
}

uint32_t wj_wasi_fd_tell(wj_host_func *host, uint32_t fd, uint32_t result)
{
    return put_position(host, fd, WJ_WASI_TELL, 0, SEEK_CUR, result) ? SUCCEED(host) : PYTHON(host, fd, result);
}

static bool put_fdstat(const wj_host_func *host, uint32_t fd, uint32_t result)
{
    guest of;
    const wj_wasi_descriptor *row = find_guest(host, &of) ? find_descriptor(&of, fd, WJ_WASI_FDSTAT) : NULL;
    uint8_t *to = row == NULL ? NULL : guest_bytes(&of, result, sizeof row->fdstat);
    if (to == NULL) {
        return false;
    }
    memcpy(to, row->fdstat, sizeof row->fdstat);
    return true;
}

uint32_t wj_wasi_fd_fdstat_get(wj_host_func *host, uint32_t fd, uint32_t result)
{
    return put_fdstat(host, fd, result) ? SUCCEED(host) : PYTHON(host, fd, result);
}

static uint64_t nanoseconds(struct timespec time)
{
    return (uint64_t)time.tv_sec * WJ_NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

static void put_filestat(uint8_t *to, const struct stat *found, uint8_t file_type)
{
    uint64_t words[FILESTAT_BYTES / sizeof(uint64_t)] = {
        found->st_dev,
        found->st_ino,
        file_type, /* and seven bytes of nothing */
        found->st_nlink,
        (uint64_t)found->st_size,
        nanoseconds(found->st_atim),
        nanoseconds(found->st_mtim),
        nanoseconds(found->st_ctim),
    };
    memcpy(to, words, sizeof words);
}

static bool stat_descriptor(const wj_host_func *host, uint32_t fd, uint32_t result)
{
    guest of;
    const wj_wasi_descriptor *row = find_guest(host, &of) ? find_descriptor(&of, fd, WJ_WASI_STAT) : NULL;
    struct stat found;
    uint8_t *to = row == NULL ? NULL : guest_bytes(&of, result, FILESTAT_BYTES);
    if (to == NULL || fstat(row->host_fd, &found) != 0) {
        return false;
    }
    put_filestat(to, &found, row->fdstat[0]);
    return true;
}

uint32_t wj_wasi_fd_filestat_get(wj_host_func *host, uint32_t fd, uint32_t result)
{
    return stat_descriptor(host, fd, result) ? SUCCEED(host) : PYTHON(host, fd, result);
}

/* ---- paths ---- */

/* A copy of a path; false for one that Python has to look at: whatever is no relative path in ASCII. */
static bool copy_path(const guest *of, uint32_t start, uint32_t length, char *path)
{
    const uint8_t *from = guest_bytes(of, start, length);
    if (from == NULL || length == 0 || length > MOST_PATH_BYTES) {
        return false;
    }
    take_bytes(path, from, length);
    path[length] = 0;
    bool is_plain = path[0] != '/';
    for (uint32_t i = 0; i < length; i++) {
        is_plain = is_plain && path[i] != 0 && ((uint8_t)path[i] & 0x80) == 0;
    }
    return is_plain;
}

/* The error code, or PYTHON_KNOWS. */
static uint32_t stat_path(const wj_host_func *host, uint32_t fd, uint32_t flags, uint32_t start, uint32_t length,
                          uint32_t result)
{
    static const uint8_t file_types[16] = WJ_WASI_FILE_TYPES;
    guest of;
    char path[MOST_PATH_BYTES + 1];
    const wj_wasi_descriptor *row = find_guest(host, &of) ? find_descriptor(&of, fd, WJ_WASI_STAT_PATH) : NULL;
    uint8_t *to = row == NULL ? NULL : guest_bytes(&of, result, FILESTAT_BYTES);
    if (to == NULL || (flags & ~WJ_WASI_SYMLINK_FOLLOW) != 0 || !copy_path(&of, start, length, path)) {
        return PYTHON_KNOWS;
    }
    int no_follow = (flags & WJ_WASI_SYMLINK_FOLLOW) != 0 ? 0 : O_NOFOLLOW;
    int directory_fd = row->host_fd;
    struct stat found;
    wj_entry *entry = let_others_run();
    int opened = wj_open_beneath(directory_fd, path, (uint64_t)(O_PATH | O_CLOEXEC | no_follow), 0);
    bool done = opened >= 0 && fstat(opened, &found) == 0;
    if (opened >= 0) {
        (void)close(opened);
    }
    go_on(entry);
    if (!done) { /* programs look for files that are not there again and again */
        return opened == -ENOENT ? WJ_WASI_ERRNO_NOENT : PYTHON_KNOWS;
    }
    put_filestat(to, &found, file_types[(found.st_mode & S_IFMT) >> 12]);
    return 0;
}

uint32_t wj_wasi_path_filestat_get(wj_host_func *host, uint32_t fd, uint32_t flags, uint32_t path, uint32_t length,
                                   uint32_t result)
{
    uint32_t code = stat_path(host, fd, flags, path, length, result);
    if (code == PYTHON_KNOWS) {
        return PYTHON(host, fd, flags, path, length, result);
    }
    (void)SUCCEED(host);
    return code;
}

/* ---- random numbers, and time that passes ---- */

/* The host's, some in advance: a system call for a few bytes would cost more than they do. What was given out is wiped. */
static bool few_random_bytes(wj_wasi *wasi, uint8_t *to, uint32_t length)
{
    if (wasi->random_left < length || wasi->random_generation != wj_fork_generation) { /* never the same in two processes */
        if (getrandom(wasi->random, sizeof wasi->random, 0) != (ssize_t)sizeof wasi->random) {
            wasi->random_left = 0;
            return false;
        }
        wasi->random_left = sizeof wasi->random;
        wasi->random_generation = wj_fork_generation;
    }
    uint8_t *from = wasi->random + sizeof wasi->random - wasi->random_left;
    memcpy(to, from, length);
    memset(from, 0, length);
    wasi->random_left -= length;
    return true;
}

uint32_t wj_wasi_random_get(wj_host_func *host, uint32_t buffer, uint32_t length)
{
    guest of;
    uint8_t *to = find_guest(host, &of) && (of.wasi->operations & WJ_WASI_HOST_RANDOM) != 0
                      ? guest_bytes(&of, buffer, length)
                      : NULL;
    if (to != NULL && length <= FEW_RANDOM_BYTES && few_random_bytes(of.wasi, to, length)) {
        return SUCCEED(host);
    }
    while (to != NULL && length > 0) {
        uint32_t chunk = length < RANDOM_CHUNK_BYTES ? length : RANDOM_CHUNK_BYTES;
        wj_entry *entry = chunk < RANDOM_CHUNK_BYTES ? NULL : let_others_run();
        ssize_t filled = getrandom(to, chunk, 0);
        go_on(entry);
        if (filled < 0) { /* what was filled is as good as any: Python fills all of it */
            return PYTHON(host, buffer, length);
        }
        to += filled;
        buffer += (uint32_t)filled;
        length -= (uint32_t)filled;
        wj_resume(&wj_this_thread, __builtin_frame_address(0));
    }
    return to != NULL ? SUCCEED(host) : PYTHON(host, buffer, length);
}

uint32_t wj_wasi_sched_yield(wj_host_func *host)
{
    guest of;
    if (!find_guest(host, &of)) {
        return call_python(host, __builtin_frame_address(0), NULL, 0);
    }
    static _Thread_local int64_t next_ns;
    int64_t now_ns = wj_now_ns(CLOCK_MONOTONIC_COARSE);
    if (now_ns >= next_ns) { /* who calls this in a loop lets others run once in a while, as the scheduler does */
        wj_entry *entry = let_others_run();
        (void)sched_yield();
        go_on(entry);
        next_ns = now_ns + YIELD_NS;
    }
    return SUCCEED(host);
}

/* One clock subscription. */
typedef struct {
    uint64_t userdata;
    int64_t deadline_ns; /* by CLOCK_MONOTONIC */
} alarm_clock;

static int64_t deadline_of(uint32_t clock, uint64_t timeout_ns, bool is_absolute, int64_t now_ns)
{
    if (is_absolute) {
        int64_t by_clock = clock == WJ_WASI_CLOCK_REALTIME ? wj_now_ns(CLOCK_REALTIME) : now_ns;
        timeout_ns = timeout_ns > (uint64_t)by_clock ? timeout_ns - (uint64_t)by_clock : 0;
    }
    return timeout_ns > (uint64_t)(INT64_MAX - now_ns) ? INT64_MAX : now_ns + (int64_t)timeout_ns;
}

/* Reads subscriptions that are all to clocks that may be waited for; false if not. */
static bool read_alarms(const uint8_t *subscriptions, uint32_t count, alarm_clock *alarms)
{
    int64_t now_ns = wj_now_ns(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < count; i++) {
        struct {
            uint64_t userdata;
            uint8_t tag, unused[7];
            uint32_t clock, padding;
            uint64_t timeout_ns, precision_ns;
            uint16_t flags, rest[3];
        } read;
        _Static_assert(sizeof read == SUBSCRIPTION_BYTES, "the layout of preview 1");
        take_bytes(&read, subscriptions + (size_t)i * SUBSCRIPTION_BYTES, sizeof read);
        if (read.tag != WJ_WASI_EVENTTYPE_CLOCK ||
            (read.clock != WJ_WASI_CLOCK_REALTIME && read.clock != WJ_WASI_CLOCK_MONOTONIC)) {
            return false;
        }
        bool is_absolute = (read.flags & WJ_WASI_SUBCLOCKFLAGS_ABSTIME) != 0;
        alarms[i] = (alarm_clock){read.userdata, deadline_of(read.clock, read.timeout_ns, is_absolute, now_ns)};
    }
    return true;
}

/* Writes the events of those whose time has come; how many there are. */
static uint32_t put_events(const alarm_clock *alarms, uint32_t count, uint8_t *events)
{
    int64_t now_ns = wj_now_ns(CLOCK_MONOTONIC);
    uint32_t fired = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (alarms[i].deadline_ns <= now_ns) {
            uint8_t *event = events + (size_t)fired++ * EVENT_BYTES;
            memset(event, 0, EVENT_BYTES); /* no error; the tag is 0 */
            put_u64(event, alarms[i].userdata);
        }
    }
    return fired;
}
_Static_assert(WJ_WASI_EVENTTYPE_CLOCK == 0, "see put_events");

/* Only for what need not be waited for. */
static bool poll_now(const wj_host_func *host, uint32_t subscriptions, uint32_t events, uint32_t count, uint32_t result)
{
    guest of;
    alarm_clock alarms[MOST_SUBSCRIPTIONS];
    if (!find_guest(host, &of) || (of.wasi->operations & WJ_WASI_HOST_CLOCK) == 0 || count > MOST_SUBSCRIPTIONS) {
        return false;
    }
    const uint8_t *from = guest_bytes(&of, subscriptions, (uint64_t)count * SUBSCRIPTION_BYTES);
    uint8_t *to = guest_bytes(&of, events, (uint64_t)count * EVENT_BYTES);
    uint8_t *fired_to = guest_bytes(&of, result, sizeof(uint32_t));
    if (from == NULL || to == NULL || fired_to == NULL || !read_alarms(from, count, alarms)) {
        return false;
    }
    uint32_t fired = put_events(alarms, count, to);
    if (fired > 0) {
        put_u32(fired_to, fired);
    }
    return fired > 0;
}

uint32_t wj_wasi_poll_oneoff(wj_host_func *host, uint32_t subscriptions, uint32_t events, uint32_t count,
                             uint32_t result)
{
    if (poll_now(host, subscriptions, events, count, result)) {
        return SUCCEED(host);
    }
    return PYTHON(host, subscriptions, events, count, result);
}
