/* Base64 to and fro, 12 bytes as 16 characters at a time, with validation (W. Mula's lookups). */
#include "simd.h"
#define SIZE (48 * 1024)

static uint8_t data[SIZE + 16], text[SIZE / 3 * 4], decoded[SIZE + 16];

static __attribute__((noinline)) void encode(const uint8_t *from, int size, uint8_t *to) {
    const v128_t shifts = wasm_i8x16_const('a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
                                           '0' - 52, '0' - 52, '0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0);
    for (int i = 0; i < size; i += 12, to += 16) {
        v128_t in = wasm_v128_load(from + i);
        /* Each 32-bit lane gets three bytes a b c as b a c b. */
        in = wasm_i8x16_shuffle(in, in, 1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
        v128_t first = wasm_u32x4_shr(wasm_v128_and(in, wasm_u32x4_splat(0x0000fc00)), 10);
        v128_t second = wasm_i32x4_shl(wasm_v128_and(in, wasm_u32x4_splat(0x000003f0)), 4);
        v128_t third = wasm_u32x4_shr(wasm_v128_and(in, wasm_u32x4_splat(0x0fc00000)), 6);
        v128_t fourth = wasm_i32x4_shl(wasm_v128_and(in, wasm_u32x4_splat(0x003f0000)), 8);
        v128_t sextets = wasm_v128_or(wasm_v128_or(first, second), wasm_v128_or(third, fourth));
        v128_t range = wasm_u8x16_sub_sat(sextets, wasm_u8x16_splat(51));
        v128_t capital = wasm_u8x16_lt(sextets, wasm_u8x16_splat(26));
        range = wasm_v128_or(range, wasm_v128_and(capital, wasm_u8x16_splat(13)));
        wasm_v128_store(to, wasm_i8x16_add(sextets, wasm_i8x16_swizzle(shifts, range)));
    }
}

/* Whether all characters were valid. */
static __attribute__((noinline)) int decode(const uint8_t *from, int size, uint8_t *to) {
    const v128_t by_low = wasm_u8x16_const(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a, 0x1b,
                                           0x1b, 0x1b, 0x1a);
    const v128_t by_high = wasm_u8x16_const(0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10,
                                            0x10, 0x10, 0x10, 0x10);
    const v128_t rolls = wasm_i8x16_const(0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0);
    v128_t wrong = wasm_u32x4_splat(0);
    for (int i = 0; i < size; i += 16, to += 12) {
        v128_t in = wasm_v128_load(from + i);
        v128_t high = wasm_u8x16_shr(in, 4), low = wasm_v128_and(in, wasm_u8x16_splat(15));
        v128_t slash = wasm_i8x16_eq(in, wasm_u8x16_splat('/'));
        wrong = wasm_v128_or(wrong, wasm_v128_and(wasm_i8x16_swizzle(by_low, low), wasm_i8x16_swizzle(by_high, high)));
        in = wasm_i8x16_add(in, wasm_i8x16_swizzle(rolls, wasm_i8x16_add(slash, high)));
        v128_t first = wasm_i32x4_shl(wasm_v128_and(in, wasm_u32x4_splat(0x0000003f)), 18);
        v128_t second = wasm_i32x4_shl(wasm_v128_and(in, wasm_u32x4_splat(0x00003f00)), 4);
        v128_t third = wasm_u32x4_shr(wasm_v128_and(in, wasm_u32x4_splat(0x003f0000)), 10);
        in = wasm_v128_or(wasm_v128_or(first, second), wasm_v128_or(third, wasm_u32x4_shr(in, 24)));
        wasm_v128_store(to, wasm_i8x16_shuffle(in, in, 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 3, 7, 11, 15));
    }
    return !wasm_v128_any_true(wrong);
}

int main(int argc, char **argv) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t seed = 5;
    uint64_t hash = HASH_START;
    int valid = 1;
    for (int i = 0; i < SIZE; i++) data[i] = next_random(&seed) >> 8;
    encode(data, SIZE, text);
    for (int i = 0; i < SIZE / 3; i++) {
        uint32_t bits = data[3 * i] << 16 | data[3 * i + 1] << 8 | data[3 * i + 2];
        for (int j = 0; j < 4; j++) require(text[4 * i + j] == alphabet[bits >> (18 - 6 * j) & 63], "character");
    }
    require(decode(text, SIZE / 3 * 4, decoded) && memcmp(data, decoded, SIZE) == 0, "decoded bytes");
    for (int i = 0; i < 256; i++) {
        text[SIZE / 2] = i;
        require(decode(text, SIZE / 3 * 4, decoded) == (memchr(alphabet, i, 64) != NULL), "validity");
    }
    for (long round = iterations(argc, argv, 1000); round > 0; round--) {
        data[round % SIZE] ^= 0x5a;
        encode(data, SIZE, text);
        valid &= decode(text, SIZE / 3 * 4, decoded);
        hash = hash_bytes(hash, decoded + round % SIZE, 1);
    }
    require(valid, "validity");
    print_checksum("base64", hash_bytes(hash, text, sizeof text));
    return 0;
}
