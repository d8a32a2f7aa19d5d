/* Five bodies under gravity (made-up masses and orbits), leapfrog steps: scalar doubles with square roots and divisions. */
#include "kernel.h"
#define BODIES 5

typedef struct {
    double x, y, z, vx, vy, vz, mass;
} body;

static body bodies[BODIES] = {
    {0, 0, 0, 0, 0, 0, 40.0},
    {4.0, -1.0, 0.1, 0.6, 2.8, 0.02, 0.04},
    {8.0, 4.0, -0.4, -1.0, 1.8, 0.01, 0.01},
    {12.0, -15.0, -0.2, 1.1, 0.9, -0.01, 0.002},
    {15.0, -25.0, 0.2, 0.9, 0.6, -0.03, 0.002},
};

static void advance(double dt) {
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            body *p = &bodies[i], *q = &bodies[j];
            double dx = p->x - q->x, dy = p->y - q->y, dz = p->z - q->z;
            double square = dx * dx + dy * dy + dz * dz;
            double pull = dt / (square * __builtin_sqrt(square));
            p->vx -= dx * q->mass * pull, p->vy -= dy * q->mass * pull, p->vz -= dz * q->mass * pull;
            q->vx += dx * p->mass * pull, q->vy += dy * p->mass * pull, q->vz += dz * p->mass * pull;
        }
    for (int i = 0; i < BODIES; i++) {
        body *p = &bodies[i];
        p->x += dt * p->vx, p->y += dt * p->vy, p->z += dt * p->vz;
    }
}

int main(int argc, char **argv) {
    double sum = 0;
    for (long step = iterations(argc, argv, 1000000); step > 0; step--) advance(0.001);
    for (int i = 0; i < BODIES; i++) sum += bodies[i].x + bodies[i].y * 3 + bodies[i].vz * 7;
    print_checksum("nbody", double_bits(sum));
    return 0;
}
