/* Validation of UTF-8 by three lookups per byte pair (J. Keiser, D. Lemire: less than one instruction per byte). */
#include "simd.h"
#define SIZE (64 * 1024)

static uint8_t text[SIZE];

enum {
    TOO_SHORT = 1,
    TOO_LONG = 2,
    OVERLONG_3 = 4,
    TOO_LARGE = 8,
    SURROGATE = 16,
    OVERLONG_2 = 32,
    OVERLONG_4 = 64, /* and too large, from 0x1000 on */
    TWO_CONTINUATIONS = 128,
    CARRY = TOO_SHORT | TOO_LONG | TWO_CONTINUATIONS,
    LARGE = CARRY | TOO_LARGE | OVERLONG_4,
    ANY_LOW = TOO_LONG | OVERLONG_2 | TWO_CONTINUATIONS
};

static inline v128_t errors(v128_t before, v128_t in) {
    const v128_t first_high = wasm_u8x16_const(
        TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TWO_CONTINUATIONS,
        TWO_CONTINUATIONS, TWO_CONTINUATIONS, TWO_CONTINUATIONS, TOO_SHORT | OVERLONG_2, TOO_SHORT,
        TOO_SHORT | OVERLONG_3 | SURROGATE, TOO_SHORT | TOO_LARGE | OVERLONG_4);
    const v128_t first_low = wasm_u8x16_const(
        CARRY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4, CARRY | OVERLONG_2, CARRY, CARRY, CARRY | TOO_LARGE, LARGE, LARGE,
        LARGE, LARGE, LARGE, LARGE, LARGE, LARGE, LARGE | SURROGATE, LARGE, LARGE);
    const v128_t second_high = wasm_u8x16_const(
        TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
        ANY_LOW | OVERLONG_3 | OVERLONG_4, ANY_LOW | OVERLONG_3 | TOO_LARGE, ANY_LOW | SURROGATE | TOO_LARGE,
        ANY_LOW | SURROGATE | TOO_LARGE, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT);
    v128_t back1 = wasm_i8x16_shuffle(before, in, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30);
    v128_t back2 = wasm_i8x16_shuffle(before, in, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29);
    v128_t back3 = wasm_i8x16_shuffle(before, in, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28);
    v128_t special = wasm_v128_and(
        wasm_v128_and(wasm_i8x16_swizzle(first_high, wasm_u8x16_shr(back1, 4)),
                      wasm_i8x16_swizzle(first_low, wasm_v128_and(back1, wasm_u8x16_splat(15)))),
        wasm_i8x16_swizzle(second_high, wasm_u8x16_shr(in, 4)));
    v128_t third = wasm_u8x16_sub_sat(back2, wasm_u8x16_splat(0xe0 - 0x80));
    v128_t fourth = wasm_u8x16_sub_sat(back3, wasm_u8x16_splat(0xf0 - 0x80));
    v128_t must_continue = wasm_v128_and(wasm_v128_or(third, fourth), wasm_u8x16_splat(0x80));
    return wasm_v128_xor(must_continue, special);
}

static __attribute__((noinline)) int valid(const uint8_t *from, int size) {
    v128_t before = wasm_u32x4_splat(0), wrong = before;
    for (int i = 0; i < size; i += 16) {
        v128_t in = wasm_v128_load(from + i);
        wrong = wasm_v128_or(wrong, errors(before, in));
        before = in;
    }
    wrong = wasm_v128_or(wrong, errors(before, wasm_u32x4_splat(0))); /* cut off at the end */
    return !wasm_v128_any_true(wrong);
}

/* The same, byte by byte. */
static int valid_scalar(const uint8_t *s, int size) {
    for (int i = 0; i < size;) {
        int length = s[i] < 0x80 ? 1 : s[i] < 0xc2 ? 0 : s[i] < 0xe0 ? 2 : s[i] < 0xf0 ? 3 : s[i] < 0xf5 ? 4 : 0;
        if (length == 0 || i + length > size) return 0;
        for (int j = 1; j < length; j++)
            if ((s[i + j] & 0xc0) != 0x80) return 0;
        if (length == 3 && ((s[i] == 0xe0 && s[i + 1] < 0xa0) || (s[i] == 0xed && s[i + 1] > 0x9f))) return 0;
        if (length == 4 && ((s[i] == 0xf0 && s[i + 1] < 0x90) || (s[i] == 0xf4 && s[i + 1] > 0x8f))) return 0;
        i += length;
    }
    return 1;
}

/* Writes one character; returns its length. */
static int put(uint8_t *to, uint32_t character) {
    if (character < 0x80) return to[0] = character, 1;
    int length = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    for (int i = length - 1; i > 0; i--, character >>= 6) to[i] = 0x80 | (character & 0x3f);
    to[0] = (0xf00 >> length & 0xff) | character;
    return length;
}

int main(int argc, char **argv) {
    static const uint32_t limits[4] = {0x80, 0x800, 0xd800, 0x110000};
    uint32_t seed = 6;
    uint64_t found = 0;
    int at = 0;
    while (at < SIZE - 3) {
        uint32_t limit = limits[next_random(&seed) >> 8 & 3], character = next_random(&seed) % limit;
        at += put(text + at, character - 0xd800 < 0x800 ? '?' : character);
    }
    while (at < SIZE) text[at++] = '.';
    require(valid(text, SIZE) && valid_scalar(text, SIZE), "valid text");
    for (int i = 0; i < 20000; i++) { /* one byte wrong, or not */
        int place = next_random(&seed) % 256;
        uint8_t old = text[place];
        text[place] = next_random(&seed) >> 4;
        int right = valid_scalar(text, 256);
        require(valid(text, 256) == right, "validity");
        found += right;
        text[place] = old;
    }
    for (long round = iterations(argc, argv, 1000); round > 0; round--) {
        uint8_t *place = text + next_random(&seed) % SIZE, old = *place;
        *place ^= next_random(&seed) >> 8 & 1 ? 0x81 : 0;
        found = found * 3 + valid(text, SIZE);
        *place = old;
    }
    print_checksum("utf8", found);
    return 0;
}
