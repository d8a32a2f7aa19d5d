/* Memory for the stencil tier's code. Wherever the system refuses some, functions are interpreted. */
#include "stencil.h"

#include "leb128.h"
#include "wj_thread.h"
#include "wj_thresholds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define LEAST_ARENA_BYTES ((size_t)64 << 10)
#define MOST_ARENA_BYTES ((size_t)4 << 20)
#define CODE_ALIGNMENT_BYTES ((size_t)32)
#define PAGE_BYTES ((size_t)4096)
#define COMMITTED_BYTES ((size_t)64 << 10) /* at a time */

/* Of the lists and arenas of all modules. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void wj_natives_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

void wj_natives_after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

/* A file in memory, or -1. Some systems want to be told that it will be executed, older ones do not know of that. */
static int make_file(size_t size_bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur < size_bytes) {
        return -1; /* or the system would send a signal */
    }
    int file = memfd_create("wasmjit", MFD_CLOEXEC | MFD_EXEC);
    if (file < 0 && errno == EINVAL) {
        file = memfd_create("wasmjit", MFD_CLOEXEC);
    }
    if (file >= 0 && ftruncate(file, (off_t)size_bytes) != 0) {
        (void)close(file);
        return -1;
    }
    return file;
}

/* One more arena, with room for `size_bytes`, in front of the others. NULL: the system refuses. */
static wj_code_arena *add_arena(wj_interpreter *interpreter, size_t size_bytes)
{
    size_t wanted = interpreter->arenas == NULL ? LEAST_ARENA_BYTES : 2 * interpreter->arenas->size_bytes;
    wanted = wanted > MOST_ARENA_BYTES ? MOST_ARENA_BYTES : wanted;
    wanted = wanted < size_bytes ? (size_bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1) : wanted;
    wj_code_arena *made = calloc(1, sizeof *made);
    int file = make_file(wanted);
    if (made == NULL || file < 0) {
        goto failed;
    }
    made->writable = mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (made->writable == MAP_FAILED) {
        goto failed;
    }
    made->executable = mmap(NULL, wanted, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
    if (made->executable == MAP_FAILED) {
        munmap(made->writable, wanted);
        goto failed;
    }
    made->size_bytes = wanted;
    made->generation = wj_fork_generation;
    uintptr_t start = (uintptr_t)made->executable;
    if (wj_code_register(start, start + wanted) != 0) {
        munmap(made->writable, wanted);
        munmap(made->executable, wanted);
        goto failed;
    }
    (void)close(file);
    made->next = interpreter->arenas;
    interpreter->arenas = made;
    return made;
failed:
    if (file >= 0) {
        (void)close(file);
    }
    free(made);
    return NULL;
}

/* Has pages for all up to `end`: a write where the system has none left would be the end of the process. */
static bool commit(wj_code_arena *arena, size_t end)
{
    if (end <= arena->committed_bytes) {
        return true;
    }
    size_t wanted = (end + COMMITTED_BYTES - 1) & ~(COMMITTED_BYTES - 1);
    wanted = wanted < arena->size_bytes ? wanted : arena->size_bytes;
    uint8_t *from = arena->writable + arena->committed_bytes;
    int error = madvise(from, wanted - arena->committed_bytes, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
    if (error == ENOMEM || error == EFAULT || error == EHWPOISON) { /* else this system cannot be asked */
        return false;
    }
    arena->committed_bytes = wanted;
    return true;
}

/* An arena with room for `size_bytes` more, or NULL. After a fork both processes have the same pages, and would write
 * over each other's code: the child begins a new one. */
static wj_code_arena *arena_for(wj_interpreter *interpreter, size_t size_bytes)
{
    wj_code_arena *arena = interpreter->arenas;
    if (arena == NULL || arena->generation != wj_fork_generation || arena->size_bytes - arena->used_bytes < size_bytes) {
        arena = add_arena(interpreter, size_bytes);
    }
    return arena != NULL && commit(arena, arena->used_bytes + size_bytes) ? arena : NULL;
}

/* Before the system is asked for memory again: whoever has it may give some back. */
static void wait_before_asking(wj_interpreter *interpreter)
{
    int64_t pause_ns = 2 * interpreter->pause_ns;
    pause_ns = pause_ns < WJ_CODE_MEMORY_FIRST_PAUSE_NS ? WJ_CODE_MEMORY_FIRST_PAUSE_NS : pause_ns;
    pause_ns = pause_ns > WJ_CODE_MEMORY_LONGEST_PAUSE_NS ? WJ_CODE_MEMORY_LONGEST_PAUSE_NS : pause_ns;
    interpreter->pause_ns = pause_ns;
    __atomic_store_n(&interpreter->asks_again_ns, wj_now_ns(CLOCK_MONOTONIC) + pause_ns, __ATOMIC_RELAXED);
}

#ifdef __aarch64__

enum { FILLER = 0 }; /* udf */
enum { REGISTER_SYNC_CORE = 64, SYNC_CORE = 32 }; /* of membarrier(2) */

/* Has all threads execute what was just written, from the executable mapping on, whose instructions no cache of
 * instructions may have from before. Threads on other processors may have fetched some already, of what was there: where the
 * system can, they begin anew. */
static void make_visible(const uint8_t *code, size_t size_bytes)
{
    char *start = (char *)(uintptr_t)code;
    __builtin___clear_cache(start, start + size_bytes);
    if (syscall(SYS_membarrier, SYNC_CORE, 0, 0) != 0 && syscall(SYS_membarrier, REGISTER_SYNC_CORE, 0, 0) == 0) {
        (void)syscall(SYS_membarrier, SYNC_CORE, 0, 0);
    }
}

#else

enum { FILLER = 0xcc }; /* int3 */

static void make_visible(const uint8_t *code, size_t size_bytes)
{
    (void)code;
    (void)size_bytes;
}

#endif

wj_native *wj_native_publish(wj_interpreter *interpreter, uint32_t function_index, const wj_translated_code *code)
{
    wj_native *made = malloc(sizeof *made + code->sites_bytes);
    if (made == NULL) {
        return NULL;
    }
    size_t size_bytes = (code->size_bytes + CODE_ALIGNMENT_BYTES - 1) & ~(CODE_ALIGNMENT_BYTES - 1);
    pthread_mutex_lock(&lock);
    wj_code_arena *arena = arena_for(interpreter, size_bytes);
    if (arena == NULL) {
        wait_before_asking(interpreter);
        pthread_mutex_unlock(&lock);
        free(made);
        return NULL;
    }
    __atomic_store_n(&interpreter->asks_again_ns, 0, __ATOMIC_RELAXED);
    interpreter->pause_ns = 0;
    uint8_t *to = arena->writable + arena->used_bytes;
    made->code = arena->executable + arena->used_bytes;
    arena->used_bytes += size_bytes;
    memcpy(to, code->code, code->size_bytes);
    memset(to + code->size_bytes, FILLER, size_bytes - code->size_bytes); /* nothing goes on there */
    make_visible(made->code, size_bytes);
    made->size_bytes = (uint32_t)code->size_bytes;
    made->frame_bytes = code->frame_bytes;
    made->function_index = function_index;
    made->sites_bytes = (uint32_t)code->sites_bytes;
    if (code->sites_bytes != 0) {
        memcpy(made->sites, code->sites, code->sites_bytes);
    }
    made->next = interpreter->natives;
    __atomic_store_n(&interpreter->natives, made, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
    return made;
}

void wj_natives_free(wj_interpreter *interpreter)
{
    for (wj_native *native = interpreter->natives, *next; native != NULL; native = next) {
        next = native->next;
        free(native);
    }
    for (wj_code_arena *arena = interpreter->arenas, *next; arena != NULL; arena = next) {
        next = arena->next;
        wj_code_unregister((uintptr_t)arena->executable);
        munmap(arena->writable, arena->size_bytes);
        munmap(arena->executable, arena->size_bytes);
        free(arena);
    }
}

/* The offset in the module of the last site up to a place in the code; 0 if there is none. */
static uint32_t offset_at(const wj_native *native, uint32_t place)
{
    uint32_t offset = 0;
    uint32_t found = 0;
    const uint8_t *end = native->sites + native->sites_bytes;
    for (const uint8_t *at = native->sites; at < end;) {
        uint32_t step = (uint32_t)wj_read_unsigned(&at);
        if (step > place) {
            break;
        }
        place -= step;
        uint32_t change = (uint32_t)wj_read_unsigned(&at);
        offset += change >> 1 ^ -(change & 1);
        found = offset;
    }
    return found;
}

const wj_native *wj_native_find(const wj_interpreter *interpreter, uintptr_t pc, uint32_t *offset)
{
    const wj_native *native = __atomic_load_n(&interpreter->natives, __ATOMIC_ACQUIRE);
    while (native != NULL && pc - (uintptr_t)native->code >= native->size_bytes) {
        native = native->next;
    }
    if (native == NULL) {
        return NULL;
    }
    *offset = offset_at(native, (uint32_t)(pc - (uintptr_t)native->code));
    return native;
}
