/* Multiplication of float matrices, blocks of 4 rows and 8 columns in registers. */
#include "simd.h"
#define N 128

static float a[N][N], b[N][N], c[N][N];

static void block(int row, int column) {
    v128_t sums[4][2];
    for (int i = 0; i < 4; i++) sums[i][0] = sums[i][1] = wasm_f32x4_splat(0);
    for (int k = 0; k < N; k++) {
        v128_t left = wasm_v128_load(&b[k][column]), right = wasm_v128_load(&b[k][column + 4]);
        for (int i = 0; i < 4; i++) {
            v128_t factor = wasm_v128_load32_splat(&a[row + i][k]);
            sums[i][0] = wasm_f32x4_add(sums[i][0], wasm_f32x4_mul(factor, left));
            sums[i][1] = wasm_f32x4_add(sums[i][1], wasm_f32x4_mul(factor, right));
        }
    }
    for (int i = 0; i < 4; i++) {
        wasm_v128_store(&c[row + i][column], sums[i][0]);
        wasm_v128_store(&c[row + i][column + 4], sums[i][1]);
    }
}

static __attribute__((noinline)) void multiply(void) {
    for (int row = 0; row < N; row += 4)
        for (int column = 0; column < N; column += 8) block(row, column);
}

int main(int argc, char **argv) {
    uint32_t seed = 3;
    double sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) a[i][j] = next_random(&seed) % 8, b[i][j] = next_random(&seed) % 8 - 3.5f;
    multiply();
    for (int i = 0; i < N; i += 5)
        for (int j = 0; j < N; j++) {
            float exact = 0;
            for (int k = 0; k < N; k++) exact += a[i][k] * b[k][j];
            require(c[i][j] == exact, "product");
        }
    for (long round = iterations(argc, argv, 200); round > 0; round--) {
        a[round % N][round % 7] += 0.25f;
        multiply();
        sum += c[round % N][N / 2] + c[N - 1][N - 1];
    }
    print_checksum("matmul", double_bits(sum));
    return 0;
}
