/* The fast Fourier transform, radix 2, in place: strided floating-point work. The table of roots comes from half-angle
   formulas: libraries' sines differ in the last bit. */
#include "kernel.h"
#include <math.h>
#define N 2048
#define LOG_N 11

static double re[N], im[N], cosine[N / 2], sine[N / 2];

static void make_roots(void) {
    /* cos and sin of 2 pi / N, from those of pi / 2 by halving; then by repeated rotation. */
    double c = 0, s = 1;
    for (int i = 2; i < LOG_N; i++) {
        double half = sqrt((1 + c) / 2);
        s = s / (2 * half);
        c = half;
    }
    cosine[0] = 1;
    sine[0] = 0;
    for (int i = 1; i < N / 2; i++) {
        cosine[i] = cosine[i - 1] * c - sine[i - 1] * s;
        sine[i] = cosine[i - 1] * s + sine[i - 1] * c;
    }
}

static void transform(void) {
    for (int i = 1, j = 0; i < N; i++) {
        int bit = N >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i < j) {
            double t = re[i];
            re[i] = re[j], re[j] = t;
            t = im[i];
            im[i] = im[j], im[j] = t;
        }
    }
    for (int size = 2; size <= N; size *= 2) {
        int half = size / 2, stride = N / size;
        for (int start = 0; start < N; start += size)
            for (int k = 0; k < half; k++) {
                double wr = cosine[k * stride], wi = -sine[k * stride];
                int even = start + k, odd = even + half;
                double tr = re[odd] * wr - im[odd] * wi, ti = re[odd] * wi + im[odd] * wr;
                re[odd] = re[even] - tr, im[odd] = im[even] - ti;
                re[even] += tr, im[even] += ti;
            }
    }
}

int main(int argc, char **argv) {
    double sum = 0;
    uint32_t seed = 83;
    make_roots();
    for (long round = iterations(argc, argv, 600); round > 0; round--) {
        for (int i = 0; i < N; i++) {
            re[i] = (double)(next_random(&seed) % 1024) / 64 - 8;
            im[i] = 0;
        }
        transform();
        sum += re[1] + im[N / 4] + re[N - 1];
    }
    print_checksum("fft", double_bits(sum));
    return 0;
}
