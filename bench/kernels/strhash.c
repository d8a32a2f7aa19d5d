/* Strings made, hashed (FNV-1a) and looked up in an open-addressing table: byte loads, compares, pointer chasing. */
#include "kernel.h"
#define SLOTS 65536
#define KEYS 20000

typedef struct {
    char *key;
    uint32_t hash, count;
} slot;

static slot slots[SLOTS];

static uint32_t hash_string(const char *s) {
    uint32_t hash = 2166136261u;
    while (*s) hash = (hash ^ (uint8_t)*s++) * 16777619u;
    return hash;
}

static slot *find(const char *key) {
    uint32_t hash = hash_string(key), at = hash % SLOTS;
    while (slots[at].key && (slots[at].hash != hash || strcmp(slots[at].key, key))) at = (at + 1) % SLOTS;
    slots[at].hash = hash;
    return &slots[at];
}

static void make_key(char *out, uint32_t number) {
    const char *syllables = "kaselotimuranopeqidu";
    do {
        memcpy(out, syllables + 2 * (number % 10), 2);
        out += 2;
        number /= 10;
    } while (number);
    *out = 0;
}

int main(int argc, char **argv) {
    uint32_t seed = 99;
    uint64_t checksum = 0;
    char key[32];
    for (long round = iterations(argc, argv, 60); round > 0; round--)
        for (int i = 0; i < KEYS; i++) {
            make_key(key, next_random(&seed) % 30000);
            slot *found = find(key);
            if (!found->key) {
                found->key = malloc(strlen(key) + 1);
                strcpy(found->key, key);
            }
            found->count++;
        }
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].key) checksum += (uint64_t)slots[i].hash * slots[i].count;
    print_checksum("strhash", checksum);
    return 0;
}
