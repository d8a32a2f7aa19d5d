/* Quicksort of records with the order given by a function pointer: indirect calls, signature checks. */
#include "kernel.h"
#define COUNT 100000

typedef struct {
    uint32_t id;
    float weight;
    uint16_t group, rank;
} record;

static record records[COUNT];

static int by_id(const record *a, const record *b) { return (a->id > b->id) - (a->id < b->id); }
static int by_weight(const record *a, const record *b) {
    return a->weight != b->weight ? (a->weight > b->weight ? 1 : -1) : by_id(a, b);
}
static int by_group(const record *a, const record *b) {
    return a->group != b->group ? (int)a->group - (int)b->group : by_id(a, b);
}
static int by_rank(const record *a, const record *b) {
    return a->rank != b->rank ? (int)b->rank - (int)a->rank : by_id(a, b);
}

typedef int (*ordering)(const record *, const record *);
static ordering orderings[] = {by_id, by_weight, by_group, by_rank};

static void sort(record *first, record *last, ordering order) {
    while (last - first > 1) {
        record pivot = first[(last - first) / 2], *low = first, *high = last - 1;
        while (low <= high) {
            while (order(low, &pivot) < 0) low++;
            while (order(high, &pivot) > 0) high--;
            if (low <= high) {
                record kept = *low;
                *low++ = *high;
                *high-- = kept;
            }
        }
        if (high + 1 - first < last - low) { /* recurse into the smaller part: the stack stays small */
            sort(first, high + 1, order);
            first = low;
        } else {
            sort(low, last, order);
            last = high + 1;
        }
    }
}

int main(int argc, char **argv) {
    uint32_t seed = 5;
    uint64_t checksum = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t r = next_random(&seed);
        records[i] = (record){i, (float)(r % 5000) * 0.5f, (uint16_t)(r % 31), (uint16_t)(r % 4001)};
    }
    for (long round = iterations(argc, argv, 24); round > 0; round--) {
        sort(records, records + COUNT, orderings[(round * 3) % 4]);
        for (int i = 0; i < COUNT; i += 1009) checksum = checksum * 31 + records[i].id;
    }
    print_checksum("quicksort", checksum);
    return 0;
}
