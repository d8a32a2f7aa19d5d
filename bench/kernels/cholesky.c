/* Cholesky decomposition (PolyBench's cholesky): dot products, whose order of additions is fixed, and square roots. */
#include "kernel.h"
#include <math.h>
#define N 160

static double a[N][N];

static void fill(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) a[i][j] = i == j ? N : 1.0 / (1 + (i > j ? i - j : j - i));
}

static void decompose(void) {
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < i; j++) {
            double value = a[i][j];
            for (int k = 0; k < j; k++) value -= a[i][k] * a[j][k];
            a[i][j] = value / a[j][j];
        }
        double value = a[i][i];
        for (int k = 0; k < i; k++) value -= a[i][k] * a[i][k];
        a[i][i] = sqrt(value);
    }
}

int main(int argc, char **argv) {
    double sum = 0;
    for (long round = iterations(argc, argv, 60); round > 0; round--) {
        fill();
        decompose();
        sum += a[N - 1][N - 1] + a[N - 1][N / 2];
    }
    print_checksum("cholesky", double_bits(sum));
    return 0;
}
