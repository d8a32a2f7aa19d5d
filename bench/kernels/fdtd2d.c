/* Finite differences in time domain (PolyBench's fdtd-2d): three fields updated in turn: vectorisable. */
#include "kernel.h"
#define N 220

static double ex[N][N], ey[N][N], hz[N][N];

static void step(double source) {
    for (int j = 0; j < N; j++) ey[0][j] = source;
    for (int i = 1; i < N; i++)
        for (int j = 0; j < N; j++) ey[i][j] -= 0.5 * (hz[i][j] - hz[i - 1][j]);
    for (int i = 0; i < N; i++)
        for (int j = 1; j < N; j++) ex[i][j] -= 0.5 * (hz[i][j] - hz[i][j - 1]);
    for (int i = 0; i < N - 1; i++)
        for (int j = 0; j < N - 1; j++) hz[i][j] -= 0.7 * (ex[i][j + 1] - ex[i][j] + ey[i + 1][j] - ey[i][j]);
}

int main(int argc, char **argv) {
    double sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            ex[i][j] = (double)i * (j + 1) / N;
            ey[i][j] = (double)i * (j + 2) / N;
            hz[i][j] = (double)i * (j + 3) / N;
        }
    for (long round = iterations(argc, argv, 300); round > 0; round--) step((double)(round % 100));
    for (int i = 0; i < N; i++) sum += ex[i][i] + ey[i][i] + hz[i][i];
    print_checksum("fdtd2d", double_bits(sum));
    return 0;
}
