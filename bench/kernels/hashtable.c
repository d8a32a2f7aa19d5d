/* A hash table with open addressing and 64-bit keys: inserts, look-ups and deletions at random. */
#include "kernel.h"
#define SLOTS 16384
#define KEYS 12000

static uint64_t keys[SLOTS];
static uint32_t values[SLOTS];

static uint32_t slot_of(uint64_t key) {
    uint32_t at = (uint32_t)(key * 0x9e3779b97f4a7c15u >> 50);
    while (keys[at] && keys[at] != key) at = (at + 1) % SLOTS;
    return at;
}

static void delete(uint32_t at) {
    keys[at] = 0;
    for (uint32_t next = (at + 1) % SLOTS; keys[next]; next = (next + 1) % SLOTS) {
        uint64_t key = keys[next];
        keys[next] = 0;
        uint32_t to = slot_of(key);
        keys[to] = key, values[to] = values[next];
    }
}

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    uint32_t seed = 53;
    for (long i = iterations(argc, argv, 3000000); i > 0; i--) {
        uint64_t key = next_random(&seed) % KEYS + 1;
        uint32_t at = slot_of(key);
        if (!keys[at]) {
            keys[at] = key, values[at] = (uint32_t)i;
        } else if (i % 5 == 0) {
            delete(at);
        } else {
            checksum = checksum * 31 + values[at]++;
        }
    }
    print_checksum("hashtable", checksum);
    return 0;
}
