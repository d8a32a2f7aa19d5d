/* What the kernels take of a C library, over preview 1, where they are wasm: their linker would have one compiled. */
#ifndef LIBRARY_H
#define LIBRARY_H
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define PREVIEW1(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) extern
/* The compiler is not to make a call to a function of its loop. */
#define LIBRARY __attribute__((no_builtin))
PREVIEW1(args_sizes_get) int preview1_args_sizes_get(size_t *count, size_t *bytes);
PREVIEW1(args_get) int preview1_args_get(char **arguments, char *text);
PREVIEW1(fd_write) int preview1_fd_write(int fd, const void *parts, size_t count, size_t *written);
PREVIEW1(proc_exit) _Noreturn void preview1_proc_exit(int code);

_Noreturn void exit(int code) { preview1_proc_exit(code); }

ssize_t write(int fd, const void *from, size_t size) {
    struct { const void *from; size_t size; } part = {from, size};
    size_t written = 0;
    return preview1_fd_write(fd, &part, 1, &written) ? -1 : (ssize_t)written;
}

LIBRARY size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    return length;
}

LIBRARY void *memchr(const void *in, int wanted, size_t size) {
    const unsigned char *bytes = in;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] == (unsigned char)wanted) return (void *)(bytes + i);
    return NULL;
}

LIBRARY int memcmp(const void *x, const void *y, size_t size) {
    const unsigned char *left = x, *right = y;
    for (size_t i = 0; i < size; i++)
        if (left[i] != right[i]) return left[i] - right[i];
    return 0;
}

int __main_argc_argv(int argc, char **argv); /* what clang calls `main` */

__attribute__((export_name("_start"))) void _start(void) {
    static char *arguments[8], text[256];
    size_t count, bytes;
    if (preview1_args_sizes_get(&count, &bytes) || count >= 8 || bytes > sizeof text) exit(71);
    if (preview1_args_get(arguments, text)) exit(71);
    int code = __main_argc_argv((int)count, arguments);
    if (code) exit(code);
}
#endif
