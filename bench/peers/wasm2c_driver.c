/* Runs a kernel that wasm2c made C of (as module "kernel"), once, and reports times to stderr as JSON.
   WASI is what the kernels need: arguments, and output to stdout and stderr. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"
#include "wasm-rt-impl.h"

struct Z_wasi_snapshot_preview1_instance_t {
    int argc;
    char **argv;
};

static Z_kernel_instance_t kernel;
static double begun, started, busy;

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void report(int status) {
    double execute_cpu_s = now(CLOCK_THREAD_CPUTIME_ID) - busy, execute_s = now(CLOCK_MONOTONIC) - started;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    fprintf(stderr, "{\"instantiate_s\": %.9f, \"execute_s\": %.9f, \"execute_cpu_s\": %.9f, \"peak_bytes\": %ld}\n",
            started - begun, execute_s, execute_cpu_s, usage.ru_maxrss * 1024);
    exit(status);
}

static u8 *memory(u32 at) { return Z_kernelZ_memory(&kernel)->data + at; }

static void put32(u32 at, u32 value) { memcpy(memory(at), &value, 4); }

static u32 get32(u32 at) {
    u32 value;
    memcpy(&value, memory(at), 4);
    return value;
}

typedef struct Z_wasi_snapshot_preview1_instance_t Wasi;

u32 Z_wasi_snapshot_preview1Z_args_sizes_get(Wasi *wasi, u32 count, u32 size) {
    u32 bytes = 0;
    for (int i = 0; i < wasi->argc; i++) bytes += (u32)strlen(wasi->argv[i]) + 1;
    put32(count, (u32)wasi->argc);
    put32(size, bytes);
    return 0;
}

u32 Z_wasi_snapshot_preview1Z_args_get(Wasi *wasi, u32 pointers, u32 bytes) {
    for (int i = 0; i < wasi->argc; i++) {
        size_t size = strlen(wasi->argv[i]) + 1;
        put32(pointers + 4 * (u32)i, bytes);
        memcpy(memory(bytes), wasi->argv[i], size);
        bytes += (u32)size;
    }
    return 0;
}

u32 Z_wasi_snapshot_preview1Z_fd_write(Wasi *wasi, u32 fd, u32 vectors, u32 count, u32 written) {
    u32 total = 0;
    (void)wasi;
    for (u32 i = 0; i < count; i++) {
        u32 size = get32(vectors + 8 * i + 4);
        if (write((int)fd, memory(get32(vectors + 8 * i)), size) != (ssize_t)size) return 29; /* EIO */
        total += size;
    }
    put32(written, total);
    return 0;
}

u32 Z_wasi_snapshot_preview1Z_fd_close(Wasi *wasi, u32 fd) { return (void)wasi, (void)fd, 0; }

u32 Z_wasi_snapshot_preview1Z_fd_seek(Wasi *wasi, u32 fd, u64 by, u32 whence, u32 at) {
    return (void)wasi, (void)fd, (void)by, (void)whence, (void)at, 70; /* ESPIPE */
}

u32 Z_wasi_snapshot_preview1Z_fd_fdstat_get(Wasi *wasi, u32 fd, u32 to) {
    (void)wasi, (void)fd;
    memset(memory(to), 0, 24);
    memory(to)[0] = 2; /* a character device */
    memset(memory(to + 8), 0xff, 16);
    return 0;
}

void Z_wasi_snapshot_preview1Z_proc_exit(Wasi *wasi, u32 status) {
    (void)wasi;
    report((int)status);
}

int main(int argc, char **argv) {
    Wasi wasi = {argc, argv};
    begun = now(CLOCK_MONOTONIC);
    wasm_rt_init();
    Z_kernel_init_module();
    Z_kernel_instantiate(&kernel, &wasi);
    started = now(CLOCK_MONOTONIC);
    busy = now(CLOCK_THREAD_CPUTIME_ID);
    wasm_rt_trap_t trap = (wasm_rt_trap_t)wasm_rt_impl_try();
    if (trap != 0) {
        fprintf(stderr, "trap %d\n", (int)trap);
        return 134;
    }
    Z_kernelZ__start(&kernel);
    report(0);
}
