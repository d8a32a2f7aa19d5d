/* Dot product of two float vectors with four accumulators. */
#include "simd.h"
#define N 4096

static float a[N], b[N];

static __attribute__((noinline)) float dot(const float *x, const float *y, int count) {
    v128_t s0 = wasm_f32x4_splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (int i = 0; i < count; i += 16) {
        s0 = wasm_f32x4_add(s0, wasm_f32x4_mul(wasm_v128_load(x + i), wasm_v128_load(y + i)));
        s1 = wasm_f32x4_add(s1, wasm_f32x4_mul(wasm_v128_load(x + i + 4), wasm_v128_load(y + i + 4)));
        s2 = wasm_f32x4_add(s2, wasm_f32x4_mul(wasm_v128_load(x + i + 8), wasm_v128_load(y + i + 8)));
        s3 = wasm_f32x4_add(s3, wasm_f32x4_mul(wasm_v128_load(x + i + 12), wasm_v128_load(y + i + 12)));
    }
    v128_t sum = wasm_f32x4_add(wasm_f32x4_add(s0, s1), wasm_f32x4_add(s2, s3));
    return wasm_f32x4_extract_lane(sum, 0) + wasm_f32x4_extract_lane(sum, 1) + wasm_f32x4_extract_lane(sum, 2) +
           wasm_f32x4_extract_lane(sum, 3);
}

int main(int argc, char **argv) {
    uint32_t seed = 1;
    float exact = 0;
    double sum = 0;
    for (int i = 0; i < N; i++) {
        a[i] = next_random(&seed) % 16, b[i] = next_random(&seed) % 16; /* all sums are exact in a float */
        exact += a[i] * b[i];
    }
    require(dot(a, b, N) == exact, "dot product");
    for (long round = iterations(argc, argv, 10000); round > 0; round--) {
        a[round % N] += 0.125f;
        sum += dot(a, b, N);
    }
    print_checksum("dot_f32", double_bits(sum));
    return 0;
}
