/* Shared by the kernels: each takes an iteration count as its argument and prints one line with a checksum. */
#ifndef KERNEL_H
#define KERNEL_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline long iterations(int argc, char **argv, long standard) {
    return argc > 1 ? strtol(argv[1], NULL, 10) : standard;
}

/* A 32-bit linear congruential generator (constants of Numerical Recipes); the upper bits are the good ones. */
static inline uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static inline void print_checksum(const char *name, uint64_t checksum) {
    printf("%s %016llx\n", name, (unsigned long long)checksum);
}

/* The bits of a sum of doubles: floating-point kernels must agree to the last bit. */
static inline uint64_t double_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
#endif
