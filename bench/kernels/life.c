/* Conway's game of life, a byte per cell: sums of neighbours and comparisons, vectorisable. */
#include "kernel.h"
#define N 256

static uint8_t cells[2][N][N];

static void step(uint8_t (*restrict to)[N], uint8_t (*restrict from)[N]) {
    for (int y = 1; y < N - 1; y++)
        for (int x = 1; x < N - 1; x++) {
            uint8_t around = (uint8_t)(from[y - 1][x - 1] + from[y - 1][x] + from[y - 1][x + 1] + from[y][x - 1] +
                                       from[y][x + 1] + from[y + 1][x - 1] + from[y + 1][x] + from[y + 1][x + 1]);
            to[y][x] = (uint8_t)((around == 3) | ((around == 2) & from[y][x]));
        }
}

int main(int argc, char **argv) {
    uint32_t seed = 3;
    uint64_t sum = 0;
    for (int y = 1; y < N - 1; y++)
        for (int x = 1; x < N - 1; x++) cells[0][y][x] = next_random(&seed) % 3 == 0;
    for (long round = iterations(argc, argv, 200); round > 0; round--) {
        step(cells[1], cells[0]);
        step(cells[0], cells[1]);
    }
    for (int y = 0; y < N; y++)
        for (int x = 0; x < N; x++) sum = sum * 31 + cells[0][y][x];
    print_checksum("life", sum);
    return 0;
}
