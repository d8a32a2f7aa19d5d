/* Gaussian blur, 3 by 3 (1 2 1 in both directions), of an image with 8 bits per pixel. */
#include "simd.h"
#define WIDTH 640
#define HEIGHT 240
#define STRIDE (WIDTH + 32) /* 16 pixels of border on both sides */

static uint8_t source[HEIGHT + 2][STRIDE], blurred[HEIGHT + 2][STRIDE];

/* x + 2 y + z of 8 pixels. */
static inline v128_t weighted(v128_t x, v128_t y, v128_t z) {
    return wasm_i16x8_add(wasm_i16x8_add(x, z), wasm_i16x8_shl(y, 1));
}

static inline v128_t row_of_8(const uint8_t *at) {
    return weighted(wasm_u16x8_load8x8(at - 1), wasm_u16x8_load8x8(at), wasm_u16x8_load8x8(at + 1));
}

static inline v128_t blur_8(const uint8_t *at) {
    v128_t sum = weighted(row_of_8(at - STRIDE), row_of_8(at), row_of_8(at + STRIDE));
    return wasm_u16x8_shr(wasm_i16x8_add(sum, wasm_u16x8_splat(8)), 4);
}

static __attribute__((noinline)) void blur(void) {
    for (int y = 1; y <= HEIGHT; y++)
        for (int x = 16; x < 16 + WIDTH; x += 16) {
            v128_t low = blur_8(&source[y][x]), high = blur_8(&source[y][x + 8]);
            wasm_v128_store(&blurred[y][x], wasm_u8x16_narrow_i16x8(low, high));
        }
}

int main(int argc, char **argv) {
    static const int weights[3] = {1, 2, 1};
    uint32_t seed = 4;
    uint64_t hash = HASH_START;
    for (int y = 1; y <= HEIGHT; y++)
        for (int x = 16; x < 16 + WIDTH; x++) source[y][x] = next_random(&seed) >> 4;
    blur();
    for (int y = 1; y <= HEIGHT; y += 7)
        for (int x = 16; x < 16 + WIDTH; x++) {
            int sum = 8;
            for (int i = 0; i < 9; i++) sum += source[y + i / 3 - 1][x + i % 3 - 1] * weights[i / 3] * weights[i % 3];
            require(blurred[y][x] == sum >> 4, "blurred pixel");
        }
    for (long round = iterations(argc, argv, 500); round > 0; round--) {
        source[1 + round % HEIGHT][16 + round % WIDTH] ^= 0x55;
        blur();
        hash = hash_bytes(hash, &blurred[1 + round % HEIGHT][16], 16);
    }
    print_checksum("blur", hash_bytes(hash, blurred, sizeof blurred));
    return 0;
}
