/* The 0/1 knapsack by dynamic programming over two rows: additions and maxima, vectorisable. */
#include "kernel.h"
#define CAPACITY 10000
#define ITEMS 100

static int32_t rows[2][CAPACITY + 1];

static void take(int32_t *restrict to, const int32_t *restrict from, int weight, int32_t value) {
    for (int room = 0; room < weight; room++) to[room] = from[room];
    for (int room = weight; room <= CAPACITY; room++) {
        int32_t with = from[room - weight] + value;
        to[room] = from[room] > with ? from[room] : with;
    }
}

int main(int argc, char **argv) {
    uint64_t sum = 0;
    uint32_t seed = 21;
    for (long round = iterations(argc, argv, 60); round > 0; round--) {
        memset(rows, 0, sizeof rows);
        for (int item = 0; item < ITEMS; item++) {
            int weight = (int)(next_random(&seed) % 500 + 1);
            take(rows[(item + 1) & 1], rows[item & 1], weight, (int32_t)(next_random(&seed) % 1000));
        }
        sum = sum * 31 + (uint32_t)rows[ITEMS & 1][CAPACITY];
    }
    print_checksum("knapsack", sum);
    return 0;
}
