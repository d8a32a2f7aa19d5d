/* Gauss-Seidel relaxation (PolyBench's seidel-2d): each point needs its left neighbour's new value, so nothing can be
   vectorised. */
#include "kernel.h"
#define N 200

static double a[N][N];

int main(int argc, char **argv) {
    double sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) a[i][j] = ((double)i * (j + 2) + 2) / N;
    for (long round = iterations(argc, argv, 100); round > 0; round--)
        for (int i = 1; i < N - 1; i++)
            for (int j = 1; j < N - 1; j++)
                a[i][j] = (a[i - 1][j - 1] + a[i - 1][j] + a[i - 1][j + 1] + a[i][j - 1] + a[i][j] + a[i][j + 1] +
                           a[i + 1][j - 1] + a[i + 1][j] + a[i + 1][j + 1]) /
                          9.0;
    for (int i = 0; i < N; i++) sum += a[i][i];
    print_checksum("seidel2d", double_bits(sum));
    return 0;
}
