/* Dot product of two vectors of 16-bit integers, as in fixed-point filters, with two accumulators. */
#include "simd.h"
#define N 8192

static int16_t a[N], b[N];

static __attribute__((noinline)) uint32_t dot(const int16_t *x, const int16_t *y, int count) {
    v128_t s0 = wasm_u32x4_splat(0), s1 = s0;
    for (int i = 0; i < count; i += 16) {
        s0 = wasm_i32x4_add(s0, wasm_i32x4_dot_i16x8(wasm_v128_load(x + i), wasm_v128_load(y + i)));
        s1 = wasm_i32x4_add(s1, wasm_i32x4_dot_i16x8(wasm_v128_load(x + i + 8), wasm_v128_load(y + i + 8)));
    }
    v128_t sum = wasm_i32x4_add(s0, s1);
    return wasm_u32x4_extract_lane(sum, 0) + wasm_u32x4_extract_lane(sum, 1) + wasm_u32x4_extract_lane(sum, 2) +
           wasm_u32x4_extract_lane(sum, 3);
}

int main(int argc, char **argv) {
    uint32_t seed = 2, exact = 0;
    uint64_t sum = 0;
    for (int i = 0; i < N; i++) {
        a[i] = (int16_t)next_random(&seed), b[i] = (int16_t)next_random(&seed);
        exact += (uint32_t)(a[i] * b[i]);
    }
    require(dot(a, b, N) == exact, "dot product");
    for (long round = iterations(argc, argv, 10000); round > 0; round--) {
        a[round % N] ^= 1;
        sum += dot(a, b, N);
    }
    print_checksum("dot_i16", sum);
    return 0;
}
