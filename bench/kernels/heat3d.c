/* Heat equation in three dimensions (PolyBench's heat-3d): a seven-point stencil, vectorisable. */
#include "kernel.h"
#define N 48

static double grid[2][N][N][N];

static void step(double (*restrict to)[N][N], double (*restrict from)[N][N]) {
    for (int i = 1; i < N - 1; i++)
        for (int j = 1; j < N - 1; j++)
            for (int k = 1; k < N - 1; k++)
                to[i][j][k] = 0.125 * (from[i + 1][j][k] - 2.0 * from[i][j][k] + from[i - 1][j][k]) +
                              0.125 * (from[i][j + 1][k] - 2.0 * from[i][j][k] + from[i][j - 1][k]) +
                              0.125 * (from[i][j][k + 1] - 2.0 * from[i][j][k] + from[i][j][k - 1]) + from[i][j][k];
}

int main(int argc, char **argv) {
    double sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            for (int k = 0; k < N; k++) grid[0][i][j][k] = grid[1][i][j][k] = (double)(i + j + (N - k)) * 10 / N;
    for (long round = iterations(argc, argv, 100); round > 0; round--) {
        step(grid[1], grid[0]);
        step(grid[0], grid[1]);
    }
    for (int i = 0; i < N; i++) sum += grid[0][i][i][N - 1 - i];
    print_checksum("heat3d", double_bits(sum));
    return 0;
}
