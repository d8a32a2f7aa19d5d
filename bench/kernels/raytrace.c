/* Rays against spheres, with shadows: floating-point branches, square roots, small structures passed by value. */
#include "kernel.h"
#include <math.h>
#define SIZE 96
#define SPHERES 12

typedef struct { double x, y, z; } Vector;
typedef struct { Vector centre; double radius; } Sphere;

static Sphere spheres[SPHERES];

static Vector add(Vector a, Vector b) { return (Vector){a.x + b.x, a.y + b.y, a.z + b.z}; }
static Vector scale(Vector a, double by) { return (Vector){a.x * by, a.y * by, a.z * by}; }
static double dot(Vector a, Vector b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static Vector unit(Vector a) { return scale(a, 1 / sqrt(dot(a, a))); }

/* The distance along the ray to the sphere, or a negative number. */
static double meets(Vector from, Vector direction, const Sphere *sphere) {
    Vector to = add(sphere->centre, scale(from, -1));
    double along = dot(to, direction), off = dot(to, to) - along * along, square = sphere->radius * sphere->radius;
    if (along < 0 || off > square) return -1;
    return along - sqrt(square - off);
}

static int nearest(Vector from, Vector direction, double *distance) {
    int found = -1;
    *distance = 1e30;
    for (int i = 0; i < SPHERES; i++) {
        double at = meets(from, direction, &spheres[i]);
        if (at > 1e-6 && at < *distance) *distance = at, found = i;
    }
    return found;
}

static double trace(Vector from, Vector direction, int depth) {
    static const Vector light = {0.48, 0.64, -0.6};
    double distance, ignored;
    int hit = nearest(from, direction, &distance);
    if (hit < 0) return 0.2 + 0.2 * direction.y;
    Vector at = add(from, scale(direction, distance));
    Vector normal = unit(add(at, scale(spheres[hit].centre, -1)));
    double brightness = dot(normal, light);
    if (brightness < 0 || nearest(at, light, &ignored) >= 0) brightness = 0;
    if (depth == 0) return brightness;
    Vector mirrored = add(direction, scale(normal, -2 * dot(direction, normal)));
    return 0.7 * brightness + 0.3 * trace(at, mirrored, depth - 1);
}

int main(int argc, char **argv) {
    uint32_t seed = 17;
    double sum = 0;
    for (int i = 0; i < SPHERES; i++) {
        double place[3];
        for (int k = 0; k < 3; k++) place[k] = (double)(next_random(&seed) % 1000) / 250 - 2;
        spheres[i] = (Sphere){{place[0], place[1], place[2] + 6}, 0.3 + (double)(next_random(&seed) % 100) / 125};
    }
    for (long round = iterations(argc, argv, 20); round > 0; round--)
        for (int y = 0; y < SIZE; y++)
            for (int x = 0; x < SIZE; x++) {
                Vector direction = {(double)x / SIZE - 0.5, (double)y / SIZE - 0.5, 1 + 0.001 * (double)round};
                sum += trace((Vector){0, 0, 0}, unit(direction), 3);
            }
    print_checksum("raytrace", double_bits(sum));
    return 0;
}
