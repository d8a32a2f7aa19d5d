/* Two-dimensional Jacobi relaxation: a five-point stencil that a vectorising compiler likes. */
#include "kernel.h"
#define N 400

static double grid[2][N][N];

static void relax(double (*restrict to)[N], double (*restrict from)[N]) {
    for (int i = 1; i < N - 1; i++)
        for (int j = 1; j < N - 1; j++)
            to[i][j] = 0.2 * (from[i][j] + from[i][j - 1] + from[i][j + 1] + from[i - 1][j] + from[i + 1][j]);
}

int main(int argc, char **argv) {
    double sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) grid[0][i][j] = grid[1][i][j] = (double)(i * (j + 2) + 10) / N;
    for (long round = iterations(argc, argv, 150); round > 0; round--) {
        relax(grid[1], grid[0]);
        relax(grid[0], grid[1]);
    }
    for (int i = 0; i < N; i++) sum += grid[0][i][i] + grid[0][i][N - 1 - i];
    print_checksum("jacobi2d", double_bits(sum));
    return 0;
}
