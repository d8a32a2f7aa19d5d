/* Threads for freestanding C over wasi-threads: starting and joining, mutexes, condition variables. Each thread has a
 * stack of its own among `stacks`. */
#ifndef THREADS_H
#define THREADS_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define MOST_THREADS 8
#define STACK_BYTES 16384

typedef struct {
    uint8_t *stack_top; /* wasi_thread_start looks for it here */
    void (*run)(int number);
    int number;
    int is_done; /* atomic */
} thread;

__attribute__((import_module("wasi"), import_name("thread-spawn"))) int thread_spawn(thread *started);

static thread threads[MOST_THREADS];
static _Alignas(16) uint8_t stacks[MOST_THREADS][STACK_BYTES];

__asm__(".globaltype __stack_pointer, i32\n"
        ".functype run_thread (i32) -> ()\n"
        ".globl wasi_thread_start\n"
        ".export_name wasi_thread_start, wasi_thread_start\n"
        ".type wasi_thread_start,@function\n"
        "wasi_thread_start:\n"
        "  .functype wasi_thread_start (i32, i32) -> ()\n"
        "  local.get 1\n"
        "  i32.load 0\n"
        "  global.set __stack_pointer\n"
        "  local.get 1\n"
        "  call run_thread\n"
        "  end_function\n");

static void wait_while(int *word, int value)
{
    __builtin_wasm_memory_atomic_wait32(word, value, -1);
}

static void wake(int *word, uint32_t most)
{
    __builtin_wasm_memory_atomic_notify(word, most);
}

__attribute__((used)) void run_thread(thread *self)
{
    self->run(self->number);
    __atomic_store_n(&self->is_done, 1, __ATOMIC_SEQ_CST);
    wake(&self->is_done, 1);
}

/* Runs a function on so many threads, with numbers from 0, and waits for all. The caller is the last of them. */
static void run_on(int count, void (*run)(int number))
{
    for (int i = 0; i < count - 1; i++) {
        threads[i] = (thread){stacks[i] + STACK_BYTES, run, i, 0};
        while (thread_spawn(&threads[i]) < 0) { /* those of the run before have not all ended */
        }
    }
    run(count - 1);
    for (int i = 0; i < count - 1; i++) {
        while (__atomic_load_n(&threads[i].is_done, __ATOMIC_SEQ_CST) == 0) {
            wait_while(&threads[i].is_done, 0);
        }
    }
}

typedef struct {
    int state; /* 0: free, 1: taken, 2: taken, and somebody may wait */
} mutex;

static void lock(mutex *of)
{
    int found = 0;
    if (__atomic_compare_exchange_n(&of->state, &found, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        return;
    }
    while (__atomic_exchange_n(&of->state, 2, __ATOMIC_SEQ_CST) != 0) {
        wait_while(&of->state, 2);
    }
}

static void unlock(mutex *of)
{
    if (__atomic_exchange_n(&of->state, 0, __ATOMIC_SEQ_CST) == 2) {
        wake(&of->state, 1);
    }
}

typedef struct {
    int changes;
} condition;

static void wait_for(condition *changed, mutex *held)
{
    int seen = __atomic_load_n(&changed->changes, __ATOMIC_SEQ_CST);
    unlock(held);
    wait_while(&changed->changes, seen);
    lock(held);
}

static void signal_all(condition *changed)
{
    __atomic_add_fetch(&changed->changes, 1, __ATOMIC_SEQ_CST);
    wake(&changed->changes, UINT32_MAX);
}

#endif
