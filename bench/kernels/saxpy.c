/* Single-precision vectors: y = a * x + y, and their differences: vectorisable. */
#include "kernel.h"
#define N 8192

static float x[N], y[N], z[N];

int main(int argc, char **argv) {
    double sum = 0;
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i % 97) * 0.25f;
        y[i] = (float)(i % 89) * 0.5f;
    }
    for (long round = iterations(argc, argv, 8000); round > 0; round--) {
        float a = (float)(round % 7) * 0.125f - 0.375f;
        for (int i = 0; i < N; i++) y[i] = a * x[i] + y[i];
        for (int i = 0; i < N; i++) z[i] = y[i] - x[i] * 0.5f;
    }
    for (int i = 0; i < N; i++) sum += (double)y[i] + (double)z[i];
    print_checksum("saxpy", double_bits(sum));
    return 0;
}
