/* LU decomposition in place, without pivoting (PolyBench's lu): shrinking, row-wise updates. */
#include "kernel.h"
#define N 160

static double a[N][N];

static void fill(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) a[i][j] = (i == j ? N : 0) + (double)((i * 7 + j * 3) % 11) / 11;
}

static void decompose(void) {
    for (int k = 0; k < N; k++)
        for (int i = k + 1; i < N; i++) {
            double factor = a[i][k] /= a[k][k];
            for (int j = k + 1; j < N; j++) a[i][j] -= factor * a[k][j];
        }
}

int main(int argc, char **argv) {
    double sum = 0;
    for (long round = iterations(argc, argv, 60); round > 0; round--) {
        fill();
        decompose();
        sum += a[N - 1][N - 1] + a[N / 2][N / 3];
    }
    print_checksum("lu", double_bits(sum));
    return 0;
}
