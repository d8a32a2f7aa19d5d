/* Heapsort of 32-bit integers: data-dependent branches and scattered loads. */
#include "kernel.h"
#define COUNT 200000

static uint32_t values[COUNT];

static void sift_down(size_t root, size_t count) {
    uint32_t value = values[root];
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && values[child + 1] > values[child]) child++;
        if (values[child] <= value) break;
        values[root] = values[child];
    }
    values[root] = value;
}

int main(int argc, char **argv) {
    uint32_t seed = 42;
    uint64_t checksum = 0;
    for (long round = iterations(argc, argv, 12); round > 0; round--) {
        for (size_t i = 0; i < COUNT; i++) values[i] = next_random(&seed);
        for (size_t i = COUNT / 2; i-- > 0;) sift_down(i, COUNT);
        for (size_t i = COUNT; --i > 0;) {
            uint32_t largest = values[0];
            values[0] = values[i];
            values[i] = largest;
            sift_down(0, i);
        }
        for (size_t i = 0; i < COUNT; i += 997) checksum = checksum * 31 + values[i];
    }
    print_checksum("heapsort", checksum);
    return 0;
}
