/* Matrix product with scaling, in the order that runs along rows (PolyBench's gemm): vectorisable. */
#include "kernel.h"
#define N 160

static double a[N][N], b[N][N], c[N][N];

static void gemm(double alpha, double beta) {
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) c[i][j] *= beta;
        for (int k = 0; k < N; k++)
            for (int j = 0; j < N; j++) c[i][j] += alpha * a[i][k] * b[k][j];
    }
}

int main(int argc, char **argv) {
    double sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (double)(i * j % 13 + 1) / 13;
            b[i][j] = (double)(i * (j + 1) % 17) / 17;
            c[i][j] = (double)((i + j) % 7) / 7;
        }
    for (long round = iterations(argc, argv, 40); round > 0; round--) gemm(0.75, 0.5);
    for (int i = 0; i < N; i++) sum += c[i][i] + c[i][N - 1 - i];
    print_checksum("gemm", double_bits(sum));
    return 0;
}
