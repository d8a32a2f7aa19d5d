/* A finite impulse response filter on 16-bit samples with 32-bit sums: an integer reduction, vectorisable. */
#include "kernel.h"
#define N 16384
#define TAPS 32

static int16_t samples[N + TAPS], taps[TAPS];
static int32_t filtered[N];

int main(int argc, char **argv) {
    uint32_t seed = 11;
    uint64_t sum = 0;
    for (int i = 0; i < N + TAPS; i++) samples[i] = (int16_t)next_random(&seed);
    for (int i = 0; i < TAPS; i++) taps[i] = (int16_t)(next_random(&seed) % 2001 - 1000);
    for (long round = iterations(argc, argv, 150); round > 0; round--) {
        for (int i = 0; i < N; i++) {
            int32_t total = 0;
            for (int k = 0; k < TAPS; k++) total += samples[i + k] * taps[k] >> 4;
            filtered[i] = total;
        }
        samples[round % N] = (int16_t)filtered[(round * 7) % N];
    }
    for (int i = 0; i < N; i++) sum = sum * 31 + (uint32_t)filtered[i];
    print_checksum("fir", sum);
    return 0;
}
