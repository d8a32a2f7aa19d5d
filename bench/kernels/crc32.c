/* CRC-32 (reflected 0xEDB88320), one table lookup per byte: a chain of dependent loads. */
#include "kernel.h"
#define SIZE 65536

static uint32_t table[256];
static uint8_t data[SIZE];

int main(int argc, char **argv) {
    uint32_t crc = 0, seed = 7;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
        table[i] = value;
    }
    for (size_t i = 0; i < SIZE; i++) data[i] = (uint8_t)next_random(&seed);
    for (long round = iterations(argc, argv, 1200); round > 0; round--) {
        crc = ~crc;
        for (size_t i = 0; i < SIZE; i++) crc = table[(crc ^ data[i]) & 0xff] ^ crc >> 8;
        crc = ~crc;
    }
    print_checksum("crc32", crc);
    return 0;
}
