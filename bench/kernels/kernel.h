/* Shared by the kernels: each takes an iteration count as its argument and prints one line with a checksum. */
#ifndef KERNEL_H
#define KERNEL_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#ifdef WITHOUT_STDIO /* nine tenths of a small program are its library, which tests would have compiled each time */
extern ssize_t write(int fd, const void *from, size_t size); /* <unistd.h> has names that kernels have */

static inline long iterations(int argc, char **argv, long standard) {
    long number = argc > 1 ? 0 : standard;
    for (const char *digit = argc > 1 ? argv[1] : ""; *digit; digit++) number = number * 10 + (*digit - '0');
    return number;
}

static inline void print(int fd, const char *text) {
    if (write(fd, text, strlen(text)) < 0) exit(2);
}

static inline void print_checksum(const char *name, uint64_t checksum) {
    char digits[] = " 0123456789abcdef\n";
    for (int i = 16; i > 0; i--, checksum >>= 4) digits[i] = "0123456789abcdef"[checksum & 15];
    print(1, name);
    print(1, digits);
}
#else
static inline long iterations(int argc, char **argv, long standard) {
    return argc > 1 ? strtol(argv[1], NULL, 10) : standard;
}

static inline void print_checksum(const char *name, uint64_t checksum) {
    printf("%s %016llx\n", name, (unsigned long long)checksum);
}
#endif

/* A 32-bit linear congruential generator (constants of Numerical Recipes); the upper bits are the good ones. */
static inline uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* The bits of a sum of doubles: floating-point kernels must agree to the last bit. */
static inline uint64_t double_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
#endif
