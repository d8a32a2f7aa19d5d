/* Sieve of Eratosthenes over bytes: strided stores, then a counting scan. */
#include "kernel.h"
#define LIMIT 1000000

static uint8_t composite[LIMIT + 1];

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    for (long i = iterations(argc, argv, 30); i > 0; i--) {
        uint32_t limit = LIMIT - (uint32_t)(i & 7), count = 0;
        memset(composite, 0, sizeof composite);
        for (uint32_t p = 2; p * p <= limit; p++)
            if (!composite[p])
                for (uint32_t q = p * p; q <= limit; q += p) composite[q] = 1;
        for (uint32_t p = 2; p <= limit; p++) count += !composite[p];
        checksum = checksum * 31 + count;
    }
    print_checksum("sieve", checksum);
    return 0;
}
