/* ChaCha20 (RFC 8439), four blocks at a time: each vector holds one word of all four. */
#include "simd.h"
#define SIZE (32 * 1024)

static uint8_t message[SIZE];
static uint32_t key[8], nonce[3];

static inline v128_t rotate(v128_t x, int by) {
    return wasm_v128_or(wasm_i32x4_shl(x, by), wasm_u32x4_shr(x, 32 - by));
}

#define QUARTER(a, b, c, d) \
    a = wasm_i32x4_add(a, b), d = rotate(wasm_v128_xor(d, a), 16), c = wasm_i32x4_add(c, d), \
    b = rotate(wasm_v128_xor(b, c), 12), a = wasm_i32x4_add(a, b), d = rotate(wasm_v128_xor(d, a), 8), \
    c = wasm_i32x4_add(c, d), b = rotate(wasm_v128_xor(b, c), 7)

/* XORs 16 bytes. */
static inline void apply(uint8_t *at, v128_t stream) { wasm_v128_store(at, wasm_v128_xor(wasm_v128_load(at), stream)); }

/* Encrypts 16 bytes of each of four blocks: words w0 to w3. */
static inline void apply_words(uint8_t *at, v128_t w0, v128_t w1, v128_t w2, v128_t w3) {
    v128_t low01 = wasm_i32x4_shuffle(w0, w1, 0, 4, 1, 5), high01 = wasm_i32x4_shuffle(w0, w1, 2, 6, 3, 7);
    v128_t low23 = wasm_i32x4_shuffle(w2, w3, 0, 4, 1, 5), high23 = wasm_i32x4_shuffle(w2, w3, 2, 6, 3, 7);
    apply(at, wasm_i64x2_shuffle(low01, low23, 0, 2));
    apply(at + 64, wasm_i64x2_shuffle(low01, low23, 1, 3));
    apply(at + 128, wasm_i64x2_shuffle(high01, high23, 0, 2));
    apply(at + 192, wasm_i64x2_shuffle(high01, high23, 1, 3));
}

static __attribute__((noinline)) void encrypt(uint8_t *at, int size, uint32_t counter) {
    v128_t state[16] = {wasm_u32x4_splat(0x61707865), wasm_u32x4_splat(0x3320646e), wasm_u32x4_splat(0x79622d32),
                        wasm_u32x4_splat(0x6b206574)};
    for (int i = 0; i < 8; i++) state[4 + i] = wasm_u32x4_splat(key[i]);
    for (int i = 0; i < 3; i++) state[13 + i] = wasm_u32x4_splat(nonce[i]);
    for (uint8_t *end = at + size; at < end; at += 256, counter += 4) {
        v128_t x[16];
        state[12] = wasm_u32x4_make(counter, counter + 1, counter + 2, counter + 3);
        for (int i = 0; i < 16; i++) x[i] = state[i];
        for (int round = 0; round < 10; round++) {
            QUARTER(x[0], x[4], x[8], x[12]);
            QUARTER(x[1], x[5], x[9], x[13]);
            QUARTER(x[2], x[6], x[10], x[14]);
            QUARTER(x[3], x[7], x[11], x[15]);
            QUARTER(x[0], x[5], x[10], x[15]);
            QUARTER(x[1], x[6], x[11], x[12]);
            QUARTER(x[2], x[7], x[8], x[13]);
            QUARTER(x[3], x[4], x[9], x[14]);
        }
        for (int i = 0; i < 16; i++) x[i] = wasm_i32x4_add(x[i], state[i]);
        for (int i = 0; i < 16; i += 4) apply_words(at + 4 * i, x[i], x[i + 1], x[i + 2], x[i + 3]);
    }
}

int main(int argc, char **argv) {
    /* The start of the key stream in section 2.3.2 of the RFC. */
    static const uint8_t expected[16] = {0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15,
                                         0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4};
    for (int i = 0; i < 8; i++) key[i] = 0x03020100 + i * 0x04040404;
    nonce[0] = 0x09000000, nonce[1] = 0x4a000000;
    encrypt(message, SIZE, 1);
    require(memcmp(message, expected, sizeof expected) == 0, "key stream");
    encrypt(message, SIZE - 256, 1);
    for (int i = 0; i < SIZE - 256; i++) require(message[i] == 0, "decrypted message");
    encrypt(message + SIZE - 256, 256, 1 + (SIZE - 256) / 64);
    for (int i = SIZE - 256; i < SIZE; i++) require(message[i] == 0, "decrypted message");
    for (long round = iterations(argc, argv, 500); round > 0; round--) encrypt(message, SIZE, (uint32_t)round * 1000);
    print_checksum("chacha20", hash_bytes(HASH_START, message, sizeof message));
    return 0;
}
