/* The Mandelbrot set as a portable pixmap (P6).
 *
 *   mandelbrot [WIDTH [HEIGHT [ITERATIONS [FILE]]]]      without FILE: standard output
 *
 * Exit code 2 for arguments that make no sense, 1 if the file cannot be written. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int escape_time(double cx, double cy, int iterations) {
    double x = 0, y = 0;
    int i = 0;
    while (i < iterations && x * x + y * y <= 4) {
        double next = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = next;
        i++;
    }
    return i;
}

static void set_colour(uint8_t pixel[3], int count, int iterations) {
    if (count == iterations) {
        pixel[0] = pixel[1] = pixel[2] = 0;
        return;
    }
    double t = (double)count / iterations, u = 1 - t;
    pixel[0] = (uint8_t)(9 * u * t * t * t * 255);
    pixel[1] = (uint8_t)(15 * u * u * t * t * 255);
    pixel[2] = (uint8_t)(8.5 * u * u * u * t * 255);
}

static int parse_argument(const char *text, int maximum) {
    char *rest;
    long number = strtol(text, &rest, 10);
    if (*rest || rest == text || number < 1 || number > maximum) {
        fprintf(stderr, "mandelbrot: %s is not a number from 1 to %d\n", text, maximum);
        exit(2);
    }
    return (int)number;
}

int main(int argc, char **argv) {
    int width = argc > 1 ? parse_argument(argv[1], 16384) : 640;
    int height = argc > 2 ? parse_argument(argv[2], 16384) : width * 2 / 3 + 1;
    int iterations = argc > 3 ? parse_argument(argv[3], 1000000) : 200;
    FILE *file = argc > 4 ? fopen(argv[4], "wb") : stdout;
    uint8_t *row = malloc((size_t)width * 3);
    if (!file || !row) {
        fprintf(stderr, "mandelbrot: %s: %s\n", argc > 4 ? argv[4] : "-", strerror(errno));
        return 1;
    }
    fprintf(file, "P6\n%d %d\n255\n", width, height);
    double scale = 3.0 / width;
    for (int j = 0; j < height; j++) {
        double cy = (j - height / 2.0) * scale;
        for (int i = 0; i < width; i++)
            set_colour(row + 3 * i, escape_time(i * scale - 2.2, cy, iterations), iterations);
        fwrite(row, 3, (size_t)width, file);
    }
    if (ferror(file) || fclose(file)) {
        fprintf(stderr, "mandelbrot: write error: %s\n", strerror(errno));
        return 1;
    }
    return 0;
}
