/* Objects with methods called through pointers: indirect calls to small functions. */
#include "kernel.h"
#define OBJECTS 4096
#define KINDS 6

typedef struct Object { uint32_t (*step)(struct Object *, uint32_t); uint32_t state; } Object;

static uint32_t add(Object *self, uint32_t by) { return self->state += by; }
static uint32_t mix(Object *self, uint32_t by) { return self->state ^= by << 3 ^ self->state >> 5; }
static uint32_t multiply(Object *self, uint32_t by) { return self->state *= by | 1; }
static uint32_t rotate(Object *self, uint32_t by) { return self->state = self->state << 7 | self->state >> 25, by; }
static uint32_t count(Object *self, uint32_t by) { return (void)by, self->state++; }
static uint32_t keep(Object *self, uint32_t by) { return self->state > by ? self->state : by; }

static uint32_t (*const methods[KINDS])(Object *, uint32_t) = {add, mix, multiply, rotate, count, keep};
static Object objects[OBJECTS];

int main(int argc, char **argv) {
    uint32_t seed = 71, carried = 1;
    uint64_t checksum = 0;
    for (int i = 0; i < OBJECTS; i++) objects[i] = (Object){methods[next_random(&seed) % KINDS], next_random(&seed)};
    for (long round = iterations(argc, argv, 3000); round > 0; round--) {
        for (int i = 0; i < OBJECTS; i++) carried = objects[i].step(&objects[i], carried + (uint32_t)i);
        checksum = checksum * 31 + carried;
    }
    print_checksum("dispatch", checksum);
    return 0;
}
