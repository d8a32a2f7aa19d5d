/* Sums over bytes and words, and counts of bits: integer reductions, vectorisable. */
#include "kernel.h"
#define SIZE 65536

static uint8_t bytes[SIZE];
static uint32_t words[SIZE / 4];

int main(int argc, char **argv) {
    uint32_t seed = 79;
    uint64_t checksum = 0;
    for (int i = 0; i < SIZE; i++) bytes[i] = (uint8_t)next_random(&seed);
    for (int i = 0; i < SIZE / 4; i++) words[i] = next_random(&seed) * 257u;
    for (long round = iterations(argc, argv, 2000); round > 0; round--) {
        uint32_t sum = 0, xored = 0, bits = 0;
        for (int i = 0; i < SIZE; i++) sum += bytes[i];
        for (int i = 0; i < SIZE / 4; i++) {
            uint32_t word = words[i];
            xored ^= word * 2654435761u;
            word = word - (word >> 1 & 0x55555555u);
            word = (word & 0x33333333u) + (word >> 2 & 0x33333333u);
            bits += (((word + (word >> 4)) & 0x0f0f0f0fu) * 0x01010101u) >> 24;
        }
        checksum = checksum * 31 + sum + xored + bits;
        bytes[round % SIZE]++;
        words[round % (SIZE / 4)]++;
    }
    print_checksum("sums", checksum);
    return 0;
}
