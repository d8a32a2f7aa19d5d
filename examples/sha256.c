/* SHA-256 (FIPS 180-4) of the files named on the command line, or of standard input.
 *
 *   sha256 [FILE]...        "-" is standard input; prints "digest  name" as sha256sum does
 *
 * Exit code 1 if a file cannot be read; the others are still printed. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    uint32_t state[8];
    uint64_t length_bytes;
    uint8_t block[64];
    size_t used;
} sha256;

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate_right(uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

static void hash_block(uint32_t state[8], const uint8_t block[64]) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + round_constants[i] + w[i];
        uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static void start(sha256 *hash) {
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, initial, sizeof initial);
    hash->length_bytes = 0;
    hash->used = 0;
}

static void update(sha256 *hash, const uint8_t *data, size_t size) {
    hash->length_bytes += size;
    while (size) {
        if (!hash->used && size >= 64) {
            hash_block(hash->state, data);
            data += 64, size -= 64;
            continue;
        }
        size_t take = 64 - hash->used < size ? 64 - hash->used : size;
        memcpy(hash->block + hash->used, data, take);
        hash->used += take, data += take, size -= take;
        if (hash->used == 64) {
            hash_block(hash->state, hash->block);
            hash->used = 0;
        }
    }
}

static void finish(sha256 *hash, char digest[65]) {
    uint64_t length_bits = hash->length_bytes * 8;
    uint8_t tail[72] = {0x80};
    size_t padding = (hash->used < 56 ? 56 : 120) - hash->used;
    for (int i = 0; i < 8; i++) tail[padding + i] = (uint8_t)(length_bits >> (56 - 8 * i));
    update(hash, tail, padding + 8);
    for (int i = 0; i < 8; i++) snprintf(digest + 8 * i, 9, "%08x", (unsigned)hash->state[i]);
}

static int print_digest(FILE *file, const char *name) {
    static uint8_t buffer[65536];
    sha256 hash;
    char digest[65];
    size_t count;
    start(&hash);
    while ((count = fread(buffer, 1, sizeof buffer, file)) > 0) update(&hash, buffer, count);
    if (ferror(file)) {
        fprintf(stderr, "sha256: %s: %s\n", name, strerror(errno));
        return 1;
    }
    finish(&hash, digest);
    printf("%s  %s\n", digest, name);
    return 0;
}

int main(int argc, char **argv) {
    int failed = 0;
    if (argc < 2) return print_digest(stdin, "-");
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-")) {
            failed |= print_digest(stdin, "-");
            continue;
        }
        FILE *file = fopen(argv[i], "rb");
        if (!file) {
            fprintf(stderr, "sha256: %s: %s\n", argv[i], strerror(errno));
            failed = 1;
            continue;
        }
        failed |= print_digest(file, argv[i]);
        fclose(file);
    }
    return failed;
}
