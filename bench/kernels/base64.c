/* Encodes bytes as base 64 and decodes them again: shifts, table look-ups, byte loads and stores. */
#include "kernel.h"
#define SIZE 49152

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static uint8_t source[SIZE], encoded[SIZE / 3 * 4], decoded[SIZE], value_of[256];

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    uint32_t seed = 67;
    for (int i = 0; i < SIZE; i++) source[i] = (uint8_t)next_random(&seed);
    for (int i = 0; i < 64; i++) value_of[(uint8_t)digits[i]] = (uint8_t)i;
    for (long round = iterations(argc, argv, 600); round > 0; round--) {
        for (size_t in = 0, out = 0; in < SIZE; in += 3, out += 4) {
            uint32_t bits = (uint32_t)source[in] << 16 | (uint32_t)source[in + 1] << 8 | source[in + 2];
            for (size_t k = 0; k < 4; k++) encoded[out + k] = (uint8_t)digits[bits >> (18 - 6 * k) & 63];
        }
        for (size_t in = 0, out = 0; out < SIZE; in += 4, out += 3) {
            uint32_t bits = 0;
            for (size_t k = 0; k < 4; k++) bits = bits << 6 | value_of[encoded[in + k]];
            decoded[out] = (uint8_t)(bits >> 16);
            decoded[out + 1] = (uint8_t)(bits >> 8);
            decoded[out + 2] = (uint8_t)bits;
        }
        checksum = checksum * 31 + decoded[round * 7 % SIZE] + encoded[round % SIZE];
        source[round % SIZE]++;
    }
    print_checksum("base64", checksum);
    return 0;
}
