/* BLAKE3 of 64 KiB: chunks of 1024 bytes and parents of the tree, four at a time, one in each lane. */
#include "simd.h"
#define CHUNKS 64
enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8 };

static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
/* The order in which each round takes the words of the message. */
static const uint8_t order[7][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
    {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1}, {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
    {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4}, {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
    {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13}};

static uint8_t input[CHUNKS * 1024];

static inline v128_t rotate(v128_t x, int by) {
    return wasm_v128_or(wasm_u32x4_shr(x, by), wasm_i32x4_shl(x, 32 - by));
}

#define MIX(a, b, c, d, x, y) \
    a = wasm_i32x4_add(wasm_i32x4_add(a, b), x), d = rotate(wasm_v128_xor(d, a), 16), c = wasm_i32x4_add(c, d), \
    b = rotate(wasm_v128_xor(b, c), 12), a = wasm_i32x4_add(wasm_i32x4_add(a, b), y), \
    d = rotate(wasm_v128_xor(d, a), 8), c = wasm_i32x4_add(c, d), b = rotate(wasm_v128_xor(b, c), 7)

#define ROUND(r) \
    MIX(v[0], v[4], v[8], v[12], m[order[r][0]], m[order[r][1]]); \
    MIX(v[1], v[5], v[9], v[13], m[order[r][2]], m[order[r][3]]); \
    MIX(v[2], v[6], v[10], v[14], m[order[r][4]], m[order[r][5]]); \
    MIX(v[3], v[7], v[11], v[15], m[order[r][6]], m[order[r][7]]); \
    MIX(v[0], v[5], v[10], v[15], m[order[r][8]], m[order[r][9]]); \
    MIX(v[1], v[6], v[11], v[12], m[order[r][10]], m[order[r][11]]); \
    MIX(v[2], v[7], v[8], v[13], m[order[r][12]], m[order[r][13]]); \
    MIX(v[3], v[4], v[9], v[14], m[order[r][14]], m[order[r][15]])

/* Four words of four blocks, turned round: to[i] gets word i of each. */
static inline void transpose(v128_t *to, const uint8_t *b0, const uint8_t *b1, const uint8_t *b2, const uint8_t *b3) {
    v128_t w0 = wasm_v128_load(b0), w1 = wasm_v128_load(b1), w2 = wasm_v128_load(b2), w3 = wasm_v128_load(b3);
    v128_t low01 = wasm_i32x4_shuffle(w0, w1, 0, 4, 1, 5), high01 = wasm_i32x4_shuffle(w0, w1, 2, 6, 3, 7);
    v128_t low23 = wasm_i32x4_shuffle(w2, w3, 0, 4, 1, 5), high23 = wasm_i32x4_shuffle(w2, w3, 2, 6, 3, 7);
    to[0] = wasm_i64x2_shuffle(low01, low23, 0, 2), to[1] = wasm_i64x2_shuffle(low01, low23, 1, 3);
    to[2] = wasm_i64x2_shuffle(high01, high23, 0, 2), to[3] = wasm_i64x2_shuffle(high01, high23, 1, 3);
}

/* Compresses a block of each of four inputs, which lie `stride` bytes apart, into h. */
static inline void compress(v128_t h[8], const uint8_t *block, size_t stride, v128_t counter, uint32_t size,
                            uint32_t flags) {
    v128_t m[16], v[16];
    for (int i = 0; i < 16; i += 4) {
        const uint8_t *at = block + 4 * i;
        transpose(m + i, at, at + stride, at + 2 * stride, at + 3 * stride);
    }
    for (int i = 0; i < 8; i++) v[i] = h[i];
    for (int i = 0; i < 4; i++) v[8 + i] = wasm_u32x4_splat(initial[i]);
    v[12] = counter, v[13] = wasm_u32x4_splat(0), v[14] = wasm_u32x4_splat(size), v[15] = wasm_u32x4_splat(flags);
    ROUND(0);
    ROUND(1);
    ROUND(2);
    ROUND(3);
    ROUND(4);
    ROUND(5);
    ROUND(6);
    for (int i = 0; i < 8; i++) h[i] = wasm_v128_xor(v[i], v[8 + i]);
}

static inline void start(v128_t h[8]) {
    for (int i = 0; i < 8; i++) h[i] = wasm_u32x4_splat(initial[i]);
}

/* Stores the results of four inputs one after the other. */
static inline void finish(uint32_t out[4][8], v128_t h[8]) {
    v128_t turned[8];
    transpose(turned, (uint8_t *)&h[0], (uint8_t *)&h[1], (uint8_t *)&h[2], (uint8_t *)&h[3]);
    transpose(turned + 4, (uint8_t *)&h[4], (uint8_t *)&h[5], (uint8_t *)&h[6], (uint8_t *)&h[7]);
    for (int i = 0; i < 4; i++) wasm_v128_store(out[i], turned[i]), wasm_v128_store(out[i] + 4, turned[4 + i]);
}

static __attribute__((noinline)) void hash(uint32_t result[8]) {
    static uint32_t nodes[CHUNKS + 8][8]; /* the last four parents may lie beyond the level's end */
    v128_t h[8];
    for (uint32_t chunk = 0; chunk < CHUNKS; chunk += 4) {
        v128_t counter = wasm_u32x4_make(chunk, chunk + 1, chunk + 2, chunk + 3);
        start(h);
        for (int block = 0; block < 16; block++)
            compress(h, input + chunk * 1024 + block * 64, 1024, counter, 64,
                     block == 0 ? CHUNK_START : block == 15 ? CHUNK_END : 0);
        finish(nodes + chunk, h);
    }
    for (int count = CHUNKS / 2; count >= 1; count /= 2)
        for (int parent = 0; parent < count; parent += 4) {
            start(h);
            compress(h, (uint8_t *)nodes[2 * parent], 64, wasm_u32x4_splat(0), 64, count == 1 ? PARENT | ROOT : PARENT);
            finish(nodes + parent, h);
        }
    memcpy(result, nodes[0], 32);
}

int main(int argc, char **argv) {
    /* Of no bytes at all, from the specification. */
    static const uint8_t empty[32] = {0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d,
                                      0xea, 0x36, 0xdc, 0xc9, 0x49, 0x9b, 0xcb, 0x25, 0xc9, 0xad, 0xc1,
                                      0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62};
    uint32_t seed = 7, results[4][8], digest[8];
    uint64_t checksum = HASH_START;
    v128_t h[8];
    start(h);
    compress(h, input, 0, wasm_u32x4_splat(0), 0, CHUNK_START | CHUNK_END | ROOT);
    finish(results, h);
    for (int lane = 0; lane < 4; lane++) require(memcmp(results[lane], empty, 32) == 0, "hash of nothing");
    for (size_t i = 0; i < sizeof input; i++) input[i] = next_random(&seed) >> 8;
    for (long round = iterations(argc, argv, 500); round > 0; round--) {
        hash(digest);
        memcpy(input + round % CHUNKS * 1024, digest, sizeof digest);
        checksum = hash_bytes(checksum, digest, sizeof digest);
    }
    print_checksum("blake3", checksum);
    return 0;
}
