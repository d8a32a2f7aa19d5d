/* Matrix transpose times vector (PolyBench's atax, second half): additions along rows, vectorisable. */
#include "kernel.h"
#define N 400

static double a[N][N], x[N], y[N];

int main(int argc, char **argv) {
    double sum = 0;
    for (int i = 0; i < N; i++) {
        x[i] = 1 + (double)i / N;
        for (int j = 0; j < N; j++) a[i][j] = (double)((i + j) % N) / (5 * N);
    }
    for (long round = iterations(argc, argv, 300); round > 0; round--) {
        for (int j = 0; j < N; j++) y[j] = 0;
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) y[j] += a[i][j] * x[i];
        for (int j = 0; j < N; j++) x[j] = 0.5 * x[j] + 0.0125 * y[j];
    }
    for (int i = 0; i < N; i++) sum += x[i] + y[i];
    print_checksum("atax", double_bits(sum));
    return 0;
}
