/* The spectral norm of an infinite matrix (Computer Language Benchmarks Game): divisions of doubles. */
#include "kernel.h"
#include <math.h>
#define N 200

static double u[N], v[N], w[N];

static double element(int i, int j) { return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1); }

static void times(const double *from, double *to) {
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int j = 0; j < N; j++) sum += element(i, j) * from[j];
        to[i] = sum;
    }
}

static void times_transposed(const double *from, double *to) {
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int j = 0; j < N; j++) sum += element(j, i) * from[j];
        to[i] = sum;
    }
}

int main(int argc, char **argv) {
    double uv = 0, vv = 0;
    for (int i = 0; i < N; i++) u[i] = 1;
    for (long round = iterations(argc, argv, 100); round > 0; round--) {
        times(u, w), times_transposed(w, v);
        times(v, w), times_transposed(w, u);
    }
    for (int i = 0; i < N; i++) uv += u[i] * v[i], vv += v[i] * v[i];
    print_checksum("spectral", double_bits(sqrt(uv / vv)));
    return 0;
}
