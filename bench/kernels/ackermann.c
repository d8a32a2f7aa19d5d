/* Ackermann's and Takeuchi's functions: nothing but recursion. */
#include "kernel.h"

static uint32_t ackermann(uint32_t m, uint32_t n) {
    if (m == 0) return n + 1;
    if (n == 0) return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}

static int tak(int x, int y, int z) { return y >= x ? z : tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y)); }

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    for (long round = iterations(argc, argv, 60); round > 0; round--)
        checksum = checksum * 31 + ackermann(2 + (uint32_t)round % 2, 6) + (uint64_t)tak(14 + (int)round % 3, 8, 2);
    print_checksum("ackermann", checksum);
    return 0;
}
