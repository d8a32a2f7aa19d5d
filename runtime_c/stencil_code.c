/* Memory for the stencil tier's code. */
#include "stencil.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEAST_ARENA_BYTES ((size_t)64 << 10)
#define MOST_ARENA_BYTES ((size_t)4 << 20)
#define CODE_ALIGNMENT_BYTES ((size_t)32)
#define PAGE_BYTES ((size_t)4096)

/* One more arena, with room for `size_bytes`, in front of the others. NULL: the system refuses. */
static wj_code_arena *add_arena(wj_interpreter *interpreter, size_t size_bytes)
{
    size_t wanted = interpreter->arenas == NULL ? LEAST_ARENA_BYTES : 2 * interpreter->arenas->size_bytes;
    wanted = wanted > MOST_ARENA_BYTES ? MOST_ARENA_BYTES : wanted;
    wanted = wanted < size_bytes ? (size_bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1) : wanted;
    wj_code_arena *made = calloc(1, sizeof *made);
    int file = memfd_create("wasmjit", MFD_CLOEXEC);
    if (made == NULL || file < 0 || ftruncate(file, (off_t)wanted) != 0) {
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

wj_native *wj_native_publish(wj_interpreter *interpreter, uint32_t function_index, const wj_translated_code *code)
{
    wj_native *made = malloc(sizeof *made + code->site_count * sizeof made->sites[0]);
    if (made == NULL) {
        return NULL;
    }
    size_t size_bytes = (code->size_bytes + CODE_ALIGNMENT_BYTES - 1) & ~(CODE_ALIGNMENT_BYTES - 1);
    pthread_mutex_lock(&interpreter->lock);
    wj_code_arena *arena = interpreter->arenas;
    if (arena == NULL || arena->size_bytes - arena->used_bytes < size_bytes) {
        arena = add_arena(interpreter, size_bytes);
    }
    if (arena == NULL) {
        pthread_mutex_unlock(&interpreter->lock);
        free(made);
        return NULL;
    }
    uint8_t *to = arena->writable + arena->used_bytes;
    made->code = arena->executable + arena->used_bytes;
    arena->used_bytes += size_bytes;
    memcpy(to, code->code, code->size_bytes);
    memset(to + code->size_bytes, 0xcc, size_bytes - code->size_bytes); /* int3: nothing goes on there */
    made->size_bytes = (uint32_t)code->size_bytes;
    made->function_index = function_index;
    made->site_count = (uint32_t)code->site_count;
    if (code->site_count != 0) {
        memcpy(made->sites, code->sites, code->site_count * sizeof made->sites[0]);
    }
    made->next = interpreter->natives;
    __atomic_store_n(&interpreter->natives, made, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&interpreter->lock);
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
    pthread_mutex_destroy(&interpreter->lock);
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
    uint32_t distance = (uint32_t)(pc - (uintptr_t)native->code);
    *offset = 0;
    for (uint32_t low = 0, high = native->site_count; low < high;) { /* the last site up to there */
        uint32_t middle = low + (high - low) / 2;
        if (native->sites[middle][0] <= distance) {
            *offset = native->sites[middle][1];
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return native;
}
