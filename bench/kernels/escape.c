/* Escape times of the Mandelbrot set: a floating-point loop that ends where the data say. */
#include "kernel.h"
#define W 200
#define H 150

int main(int argc, char **argv) {
    uint64_t sum = 0;
    long limit = iterations(argc, argv, 400);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            double cr = 3.0 * x / W - 2.25, ci = 2.5 * y / H - 1.25, r = 0, i = 0;
            long n = 0;
            for (; n < limit && r * r + i * i <= 4; n++) {
                double t = r * r - i * i + cr;
                i = 2 * r * i + ci;
                r = t;
            }
            sum = sum * 31 + (uint64_t)n;
        }
    print_checksum("escape", sum);
    return 0;
}
