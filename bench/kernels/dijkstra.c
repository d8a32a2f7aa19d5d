/* Shortest paths in a sparse graph with a binary heap: unpredictable branches, indexed loads. */
#include "kernel.h"
#define VERTICES 4000
#define EDGES 6
#define HEAP (VERTICES * EDGES + 1)

typedef struct { uint32_t distance, vertex; } Entry;

static uint32_t target[VERTICES][EDGES], cost[VERTICES][EDGES], distance[VERTICES];
static Entry heap[HEAP + 1];
static uint32_t entries;

static void push(Entry entry) {
    uint32_t at = ++entries;
    for (; at > 1 && heap[at / 2].distance > entry.distance; at /= 2) heap[at] = heap[at / 2];
    heap[at] = entry;
}

static Entry pop(void) {
    Entry least = heap[1], last = heap[entries--];
    uint32_t at = 1;
    for (uint32_t child = 2; child <= entries; child = at * 2) {
        if (child < entries && heap[child + 1].distance < heap[child].distance) child++;
        if (heap[child].distance >= last.distance) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return least;
}

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    uint32_t seed = 59;
    for (uint32_t v = 0; v < VERTICES; v++)
        for (uint32_t e = 0; e < EDGES; e++) {
            target[v][e] = next_random(&seed) % VERTICES;
            cost[v][e] = next_random(&seed) % 1000 + 1;
        }
    for (long round = iterations(argc, argv, 60); round > 0; round--) {
        for (uint32_t v = 0; v < VERTICES; v++) distance[v] = UINT32_MAX;
        uint32_t start = (uint32_t)round * 61 % VERTICES;
        distance[start] = 0;
        push((Entry){0, start});
        while (entries) {
            Entry nearest = pop();
            if (nearest.distance > distance[nearest.vertex]) continue;
            for (uint32_t e = 0; e < EDGES; e++) {
                uint32_t to = target[nearest.vertex][e], through = nearest.distance + cost[nearest.vertex][e];
                if (through < distance[to]) {
                    distance[to] = through;
                    push((Entry){through, to});
                }
            }
        }
        for (uint32_t v = 0; v < VERTICES; v += 13) checksum = checksum * 31 + distance[v];
    }
    print_checksum("dijkstra", checksum);
    return 0;
}
