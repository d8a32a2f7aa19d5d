/* A Lempel-Ziv compressor with hash chains, and its decompressor: byte work with unpredictable branches. */
#include "kernel.h"
#define SIZE 262144
#define HASHES 16384
#define WINDOW 32768
#define MAX_MATCH 255
#define MIN_MATCH 4

static uint8_t source[SIZE], packed[SIZE + SIZE / 8 + 64], unpacked[SIZE];
static int32_t heads[HASHES], chain[WINDOW];

static uint32_t hash4(const uint8_t *p) {
    uint32_t word;
    memcpy(&word, p, 4);
    return (word * 2654435761u) >> 18;
}

/* Output: a control byte of 8 flags before each group; 0: literal byte, 1: length byte, 16-bit distance. */
static size_t compress(void) {
    size_t out = 0, control = 0;
    int flags = 8;
    for (int i = 0; i < HASHES; i++) heads[i] = -1;
    for (int32_t at = 0; at < SIZE;) {
        int32_t best = 0, distance = 0;
        if (at + MIN_MATCH <= SIZE) {
            int32_t candidate = heads[hash4(source + at)];
            for (int tries = 16; tries && candidate >= 0 && at - candidate < WINDOW; tries--) {
                int32_t length = 0;
                while (length < MAX_MATCH && at + length < SIZE && source[candidate + length] == source[at + length])
                    length++;
                if (length > best) best = length, distance = at - candidate;
                int32_t older = chain[candidate % WINDOW];
                if (older >= candidate) break;
                candidate = older;
            }
        }
        if (flags == 8) control = out++, packed[control] = 0, flags = 0;
        if (best >= MIN_MATCH) {
            packed[control] |= (uint8_t)(1 << flags);
            packed[out++] = (uint8_t)best;
            packed[out++] = (uint8_t)distance;
            packed[out++] = (uint8_t)(distance >> 8);
        } else {
            best = 1;
            packed[out++] = source[at];
        }
        flags++;
        for (int32_t end = at + best; at < end; at++)
            if (at + MIN_MATCH <= SIZE) {
                uint32_t hash = hash4(source + at);
                chain[at % WINDOW] = heads[hash];
                heads[hash] = at;
            }
    }
    return out;
}

static size_t decompress(size_t size) {
    size_t out = 0, in = 0;
    while (in < size) {
        int control = packed[in++];
        for (int flag = 0; flag < 8 && in < size; flag++) {
            if (control >> flag & 1) {
                size_t length = packed[in], distance = packed[in + 1] | (size_t)packed[in + 2] << 8;
                in += 3;
                for (size_t i = 0; i < length; i++, out++) unpacked[out] = unpacked[out - distance];
            } else {
                unpacked[out++] = packed[in++];
            }
        }
    }
    return out;
}

static void make_text(uint32_t seed) {
    static const char *words[] = {"module ", "function ", "memory ", "table ", "trap ",  "value ",
                                  "stack ",  "branch ",   "global ", "the ",   "a ",     "of "};
    size_t at = 0;
    while (at < SIZE) {
        uint32_t r = next_random(&seed);
        const char *word = words[r % 12];
        if (r % 5 == 0) source[at++] = (uint8_t)(r >> 8);
        while (*word && at < SIZE) source[at++] = (uint8_t)*word++;
    }
}

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    for (long round = iterations(argc, argv, 8); round > 0; round--) {
        make_text((uint32_t)round * 77);
        size_t size = compress();
        if (decompress(size) != SIZE || memcmp(source, unpacked, SIZE)) {
            fprintf(stderr, "lz: what was unpacked differs\n");
            return 1;
        }
        checksum = checksum * 31 + size;
        for (size_t i = 0; i < size; i += 61) checksum = checksum * 31 + packed[i];
    }
    print_checksum("lz", checksum);
    return 0;
}
