/* SipHash-2-4 of short keys: a chain of 64-bit additions and rotations. */
#include "kernel.h"
#define SIZE 65536

static uint8_t data[SIZE];

static inline uint64_t rotate(uint64_t value, int by) { return value << by | value >> (64 - by); }

#define ROUND                                                                                           \
    (v0 += v1, v1 = rotate(v1, 13) ^ v0, v0 = rotate(v0, 32), v2 += v3, v3 = rotate(v3, 16) ^ v2,         \
     v0 += v3, v3 = rotate(v3, 21) ^ v0, v2 += v1, v1 = rotate(v1, 17) ^ v2, v2 = rotate(v2, 32))

static uint64_t siphash(uint64_t k0, uint64_t k1, const uint8_t *from, size_t size) {
    uint64_t v0 = 0x736f6d6570736575u ^ k0, v1 = 0x646f72616e646f6du ^ k1;
    uint64_t v2 = 0x6c7967656e657261u ^ k0, v3 = 0x7465646279746573u ^ k1, word;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        memcpy(&word, from + at, 8);
        v3 ^= word;
        ROUND, ROUND;
        v0 ^= word;
    }
    word = (uint64_t)size << 56;
    for (size_t i = at; i < size; i++) word |= (uint64_t)from[i] << (8 * (i - at));
    v3 ^= word;
    ROUND, ROUND;
    v0 ^= word, v2 ^= 0xff;
    ROUND, ROUND, ROUND, ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

int main(int argc, char **argv) {
    uint64_t hash = 0;
    uint32_t seed = 41;
    for (size_t i = 0; i < SIZE; i++) data[i] = (uint8_t)next_random(&seed);
    for (long round = iterations(argc, argv, 300); round > 0; round--)
        for (size_t at = 0; at + 64 <= SIZE; at += 24) hash = siphash(hash, (uint64_t)round, data + at, 16 + at % 48);
    print_checksum("siphash", hash);
    return 0;
}
