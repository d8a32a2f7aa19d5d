/* The ChaCha20 stream cipher: additions, exclusive ors and rotations of 32-bit words. */
#include "kernel.h"
#define BLOCKS 1024

static uint32_t stream[BLOCKS][16];

static inline uint32_t rotate(uint32_t value, int by) { return value << by | value >> (32 - by); }

#define QUARTER(a, b, c, d)                                                                              \
    (a += b, d = rotate(d ^ a, 16), c += d, b = rotate(b ^ c, 12), a += b, d = rotate(d ^ a, 8), c += d, \
     b = rotate(b ^ c, 7))

static void block(uint32_t *out, const uint32_t *key) {
    uint32_t x[16];
    memcpy(x, key, sizeof x);
    for (int round = 0; round < 10; round++) {
        QUARTER(x[0], x[4], x[8], x[12]);
        QUARTER(x[1], x[5], x[9], x[13]);
        QUARTER(x[2], x[6], x[10], x[14]);
        QUARTER(x[3], x[7], x[11], x[15]);
        QUARTER(x[0], x[5], x[10], x[15]);
        QUARTER(x[1], x[6], x[11], x[12]);
        QUARTER(x[2], x[7], x[8], x[13]);
        QUARTER(x[3], x[4], x[9], x[14]);
    }
    for (int i = 0; i < 16; i++) out[i] = x[i] + key[i];
}

int main(int argc, char **argv) {
    uint32_t key[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 9, 10};
    uint64_t checksum = 0;
    for (long round = iterations(argc, argv, 600); round > 0; round--) {
        for (int i = 0; i < BLOCKS; i++) {
            block(stream[i], key);
            key[12]++;
        }
        checksum = checksum * 31 + stream[round % BLOCKS][round % 16];
    }
    print_checksum("chacha", checksum);
    return 0;
}
