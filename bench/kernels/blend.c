/* Blends two images of bytes by a third: multiplications of 8-bit numbers in 16 bits: vectorisable. */
#include "kernel.h"
#define N 65536

static uint8_t back[N], front[N], alpha[N];

int main(int argc, char **argv) {
    uint32_t seed = 9;
    uint64_t sum = 0;
    for (int i = 0; i < N; i++) {
        back[i] = (uint8_t)next_random(&seed);
        front[i] = (uint8_t)next_random(&seed);
        alpha[i] = (uint8_t)next_random(&seed);
    }
    for (long round = iterations(argc, argv, 800); round > 0; round--) {
        for (int i = 0; i < N; i++) {
            uint16_t mixed = (uint16_t)(front[i] * alpha[i] + back[i] * (255 - alpha[i]) + 128);
            back[i] = (uint8_t)((mixed + (mixed >> 8)) >> 8);
        }
        front[round % N] ^= (uint8_t)round;
    }
    for (int i = 0; i < N; i++) sum = sum * 31 + back[i];
    print_checksum("blend", sum);
    return 0;
}
