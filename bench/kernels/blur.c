/* A 3x3 blur of a grey image: bytes widened, added and narrowed: vectorisable. */
#include "kernel.h"
#define W 512
#define H 256

static uint8_t image[2][H][W];

static void blur(uint8_t (*restrict to)[W], uint8_t (*restrict from)[W]) {
    for (int y = 1; y < H - 1; y++)
        for (int x = 1; x < W - 1; x++)
            to[y][x] = (uint8_t)((from[y - 1][x - 1] + 2 * from[y - 1][x] + from[y - 1][x + 1] + 2 * from[y][x - 1] +
                                  4 * from[y][x] + 2 * from[y][x + 1] + from[y + 1][x - 1] + 2 * from[y + 1][x] +
                                  from[y + 1][x + 1] + 8) >>
                                 4);
}

int main(int argc, char **argv) {
    uint32_t seed = 5;
    uint64_t sum = 0;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) image[0][y][x] = image[1][y][x] = (uint8_t)next_random(&seed);
    for (long round = iterations(argc, argv, 100); round > 0; round--) {
        blur(image[1], image[0]);
        blur(image[0], image[1]);
        image[0][round % H][round % W] ^= 0xff;
    }
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) sum = sum * 31 + image[0][y][x];
    print_checksum("blur", sum);
    return 0;
}
