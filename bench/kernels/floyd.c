/* Floyd and Warshall's shortest paths on integers: an inner loop of additions and minima, vectorisable. */
#include "kernel.h"
#define N 160

static int32_t path[N][N];

int main(int argc, char **argv) {
    uint64_t sum = 0;
    for (long round = iterations(argc, argv, 20); round > 0; round--) {
        uint32_t seed = (uint32_t)round;
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) path[i][j] = i == j ? 0 : (int32_t)(next_random(&seed) % 1000 + 1);
        for (int k = 0; k < N; k++)
            for (int i = 0; i < N; i++) {
                int32_t first = path[i][k];
                for (int j = 0; j < N; j++) {
                    int32_t through = first + path[k][j];
                    path[i][j] = path[i][j] < through ? path[i][j] : through;
                }
            }
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) sum = sum * 31 + (uint64_t)path[i][j];
    }
    print_checksum("floyd", sum);
    return 0;
}
