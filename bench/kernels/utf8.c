/* Validates UTF-8 and counts its code points: a byte-wise automaton in branches. */
#include "kernel.h"
#define SIZE 131072

static uint8_t text[SIZE + 4];

static size_t encode(uint8_t *to, uint32_t c) {
    if (c < 0x80) return to[0] = (uint8_t)c, 1;
    if (c < 0x800) return to[0] = (uint8_t)(0xc0 | c >> 6), to[1] = (uint8_t)(0x80 | (c & 63)), 2;
    to[0] = (uint8_t)(0xe0 | c >> 12), to[1] = (uint8_t)(0x80 | (c >> 6 & 63)), to[2] = (uint8_t)(0x80 | (c & 63));
    return 3;
}

/* The number of code points, or minus the place of the first error. */
static int32_t count(size_t size) {
    int32_t found = 0;
    for (size_t at = 0; at < size; found++) {
        uint8_t lead = text[at];
        size_t more = lead < 0x80 ? 0 : lead >= 0xc2 && lead < 0xe0 ? 1 : (lead & 0xf0) == 0xe0 ? 2 : 9;
        if (more == 9 || at + more >= size) return -(int32_t)at;
        for (size_t k = 1; k <= more; k++)
            if ((text[at + k] & 0xc0) != 0x80) return -(int32_t)at;
        at += more + 1;
    }
    return found;
}

int main(int argc, char **argv) {
    uint32_t seed = 73;
    uint64_t checksum = 0;
    size_t size = 0;
    while (size < SIZE) {
        uint32_t r = next_random(&seed);
        size += encode(text + size, r % 3 ? 32 + r % 90 : r % 7 ? 0x80 + r % 0x700 : 0x4e00 + r % 0x2000);
    }
    for (long round = iterations(argc, argv, 300); round > 0; round--) {
        checksum = checksum * 31 + (uint64_t)(int64_t)count(size - (size_t)(round % 50));
        if (text[round] < 0x80) text[round] ^= 1;
    }
    print_checksum("utf8", checksum);
    return 0;
}
