/* Multiplication of dense double matrices, the plain triple loop. */
#include "kernel.h"
#define N 160

static double a[N][N], b[N][N], c[N][N];

int main(int argc, char **argv) {
    double sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) a[i][j] = (i * j % 7) * 0.25 + 1, b[i][j] = (i + 2 * j) % 11 - 5.0;
    for (long round = iterations(argc, argv, 20); round > 0; round--) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double dot = 0;
                for (int k = 0; k < N; k++) dot += a[i][k] * b[k][j];
                c[i][j] = dot;
            }
        a[round % N][0] = c[round % N][1] * 1e-3;
        sum += c[round % N][N / 2] + c[N - 1][N - 1];
    }
    print_checksum("matrix", double_bits(sum));
    return 0;
}
