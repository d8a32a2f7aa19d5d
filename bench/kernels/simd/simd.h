/* The vector intrinsics of the kernels: those of <wasm_simd128.h>, and their equals for a native compiler.
 *
 * The native ones are GCC vector extensions, which GCC compiles for any processor. Where they have no such operation,
 * or GCC makes several instructions of it, x86-64's own is named: the kernels are to be as fast as if written for it.
 * Swizzle keeps WebAssembly's rule for indices above 15, as any exact translation of this source has to. */
#ifndef SIMD_H
#define SIMD_H
#define WITHOUT_STDIO
#include "../kernel.h"

#ifdef __wasm__
#include <wasm_simd128.h>

#include "library.h"
#else
#ifdef __SSE4_1__
#include <immintrin.h>
#endif

typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x8 __attribute__((vector_size(8)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef float f32x4 __attribute__((vector_size(16)));
typedef uint64_t v128_t __attribute__((vector_size(16)));
#define NATIVE static inline __attribute__((always_inline, unused))

NATIVE v128_t wasm_v128_load(const void *from) {
    v128_t value;
    memcpy(&value, from, sizeof value);
    return value;
}
NATIVE void wasm_v128_store(void *to, v128_t value) { memcpy(to, &value, sizeof value); }
NATIVE v128_t wasm_u8x16_splat(uint8_t x) {
    return (v128_t)(u8x16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
NATIVE v128_t wasm_u16x8_splat(uint16_t x) { return (v128_t)(u16x8){x, x, x, x, x, x, x, x}; }
NATIVE v128_t wasm_u32x4_splat(uint32_t x) { return (v128_t)(u32x4){x, x, x, x}; }
NATIVE v128_t wasm_f32x4_splat(float x) { return (v128_t)(f32x4){x, x, x, x}; }
NATIVE v128_t wasm_v128_load32_splat(const void *from) {
    uint32_t x;
    memcpy(&x, from, sizeof x);
    return wasm_u32x4_splat(x);
}
#define wasm_u8x16_const(...) ((v128_t)(u8x16){__VA_ARGS__})
#define wasm_i8x16_const(...) ((v128_t)(i8x16){__VA_ARGS__})
#define wasm_u32x4_make(...) ((v128_t)(u32x4){__VA_ARGS__})
#define wasm_u32x4_extract_lane(x, lane) (((u32x4)(x))[lane])
#define wasm_f32x4_extract_lane(x, lane) (((f32x4)(x))[lane])
#define wasm_i8x16_shuffle(x, y, ...) ((v128_t)__builtin_shufflevector((u8x16)(x), (u8x16)(y), __VA_ARGS__))
#define wasm_i32x4_shuffle(x, y, ...) ((v128_t)__builtin_shufflevector((u32x4)(x), (u32x4)(y), __VA_ARGS__))
#define wasm_i64x2_shuffle(x, y, ...) ((v128_t)__builtin_shufflevector((v128_t)(x), (v128_t)(y), __VA_ARGS__))

NATIVE v128_t wasm_v128_and(v128_t x, v128_t y) { return x & y; }
NATIVE v128_t wasm_v128_or(v128_t x, v128_t y) { return x | y; }
NATIVE v128_t wasm_v128_xor(v128_t x, v128_t y) { return x ^ y; }
NATIVE int wasm_v128_any_true(v128_t x) { return (x[0] | x[1]) != 0; }

NATIVE v128_t wasm_i8x16_add(v128_t x, v128_t y) { return (v128_t)((u8x16)x + (u8x16)y); }
NATIVE v128_t wasm_i8x16_eq(v128_t x, v128_t y) { return (v128_t)((u8x16)x == (u8x16)y); }
NATIVE v128_t wasm_u8x16_lt(v128_t x, v128_t y) { return (v128_t)((u8x16)x < (u8x16)y); }
NATIVE v128_t wasm_u8x16_shr(v128_t x, int by) { return (v128_t)((u8x16)x >> by); }
NATIVE v128_t wasm_i16x8_add(v128_t x, v128_t y) { return (v128_t)((u16x8)x + (u16x8)y); }
NATIVE v128_t wasm_i16x8_shl(v128_t x, int by) { return (v128_t)((u16x8)x << by); }
NATIVE v128_t wasm_u16x8_shr(v128_t x, int by) { return (v128_t)((u16x8)x >> by); }
NATIVE v128_t wasm_i32x4_add(v128_t x, v128_t y) { return (v128_t)((u32x4)x + (u32x4)y); }
NATIVE v128_t wasm_i32x4_shl(v128_t x, int by) { return (v128_t)((u32x4)x << by); }
NATIVE v128_t wasm_u32x4_shr(v128_t x, int by) { return (v128_t)((u32x4)x >> by); }
NATIVE v128_t wasm_f32x4_add(v128_t x, v128_t y) { return (v128_t)((f32x4)x + (f32x4)y); }
NATIVE v128_t wasm_f32x4_mul(v128_t x, v128_t y) { return (v128_t)((f32x4)x * (f32x4)y); }

#ifdef __SSE4_1__
NATIVE v128_t wasm_u16x8_load8x8(const void *from) { return (v128_t)_mm_cvtepu8_epi16(_mm_loadu_si64(from)); }
NATIVE v128_t wasm_i8x16_swizzle(v128_t x, v128_t index) {
    return (v128_t)_mm_shuffle_epi8((__m128i)x, _mm_adds_epu8((__m128i)index, _mm_set1_epi8(112)));
}
NATIVE v128_t wasm_u8x16_sub_sat(v128_t x, v128_t y) { return (v128_t)_mm_subs_epu8((__m128i)x, (__m128i)y); }
NATIVE v128_t wasm_u8x16_narrow_i16x8(v128_t x, v128_t y) {
    return (v128_t)_mm_packus_epi16((__m128i)x, (__m128i)y);
}
NATIVE v128_t wasm_i32x4_dot_i16x8(v128_t x, v128_t y) { return (v128_t)_mm_madd_epi16((__m128i)x, (__m128i)y); }
#else
NATIVE v128_t wasm_u16x8_load8x8(const void *from) {
    u8x8 value;
    memcpy(&value, from, sizeof value);
    return (v128_t)__builtin_convertvector(value, u16x8);
}
NATIVE v128_t wasm_i8x16_swizzle(v128_t x, v128_t index) {
    u8x16 result;
    for (int i = 0; i < 16; i++) result[i] = ((u8x16)index)[i] < 16 ? ((u8x16)x)[((u8x16)index)[i] & 15] : 0;
    return (v128_t)result;
}
NATIVE v128_t wasm_u8x16_sub_sat(v128_t x, v128_t y) {
    return (v128_t)(((u8x16)x - (u8x16)y) & (u8x16)((u8x16)x > (u8x16)y));
}
NATIVE v128_t wasm_u8x16_narrow_i16x8(v128_t x, v128_t y) {
    u8x16 result;
    for (int i = 0; i < 16; i++) {
        int lane = i < 8 ? ((i16x8)x)[i] : ((i16x8)y)[i - 8];
        result[i] = lane < 0 ? 0 : lane > 255 ? 255 : lane;
    }
    return (v128_t)result;
}
NATIVE v128_t wasm_i32x4_dot_i16x8(v128_t x, v128_t y) {
    u32x4 result;
    for (int i = 0; i < 4; i++) {
        int even = ((i16x8)x)[2 * i] * ((i16x8)y)[2 * i], odd = ((i16x8)x)[2 * i + 1] * ((i16x8)y)[2 * i + 1];
        result[i] = (uint32_t)even + (uint32_t)odd;
    }
    return (v128_t)result;
}
#endif
#endif

/* Ends the program when a kernel disagrees with its check: a figure of a wrong kernel means nothing. */
static inline void require(int holds, const char *what) {
    if (!holds) {
        print(2, "wrong result: ");
        print(2, what);
        print(2, "\n");
        exit(1);
    }
}

/* FNV-1a over the bytes of a result. */
static inline uint64_t hash_bytes(uint64_t hash, const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}
#define HASH_START 0xcbf29ce484222325u
#endif
