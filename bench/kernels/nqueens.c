/* Counts the solutions of the queens' problem with bit sets: recursion and branches. */
#include "kernel.h"

static uint32_t solutions(uint32_t all, uint32_t columns, uint32_t left, uint32_t right) {
    uint32_t count = 0;
    if (columns == all) return 1;
    for (uint32_t free = all & ~(columns | left | right); free;) {
        uint32_t bit = free & (0u - free);
        free ^= bit;
        count += solutions(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return count;
}

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    for (long round = iterations(argc, argv, 15); round > 0; round--)
        checksum = checksum * 31 + solutions((1u << (9 + round % 3)) - 1, 0, 0, 0);
    print_checksum("nqueens", checksum);
    return 0;
}
