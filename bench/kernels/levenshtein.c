/* The edit distance of two strings by dynamic programming: minima in a chain from left to right. */
#include "kernel.h"
#define LENGTH 1000

static char a[LENGTH], b[LENGTH];
static int32_t row[LENGTH + 1];

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    uint32_t seed = 61;
    for (int i = 0; i < LENGTH; i++) {
        a[i] = (char)('a' + next_random(&seed) % 4);
        b[i] = (char)('a' + next_random(&seed) % 4);
    }
    for (long round = iterations(argc, argv, 60); round > 0; round--) {
        for (int j = 0; j <= LENGTH; j++) row[j] = j;
        for (int i = 0; i < LENGTH; i++) {
            int32_t diagonal = row[0];
            row[0] = i + 1;
            for (int j = 0; j < LENGTH; j++) {
                int32_t best = diagonal + (a[i] != b[j]);
                diagonal = row[j + 1];
                if (diagonal + 1 < best) best = diagonal + 1;
                if (row[j] + 1 < best) best = row[j] + 1;
                row[j + 1] = best;
            }
        }
        checksum = checksum * 31 + (uint32_t)row[LENGTH];
        a[round % LENGTH] = 'a';
    }
    print_checksum("levenshtein", checksum);
    return 0;
}
