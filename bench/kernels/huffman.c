/* Huffman coding of bytes: a tree from counts, bits packed one code at a time, then unpacked by walking the tree. */
#include "kernel.h"
#define SIZE 65536
#define SYMBOLS 64

typedef struct { uint32_t count; int16_t left, right; } Node;

static uint8_t source[SIZE], unpacked[SIZE], packed[SIZE * 2];
static Node nodes[2 * SYMBOLS];
static uint32_t codes[SYMBOLS];
static uint8_t lengths[SYMBOLS];

static void assign(int node, uint32_t code, int length) {
    if (node < SYMBOLS) {
        codes[node] = code;
        lengths[node] = (uint8_t)length;
        return;
    }
    assign(nodes[node].left, code << 1, length + 1);
    assign(nodes[node].right, code << 1 | 1, length + 1);
}

static int build(void) {
    uint8_t used[2 * SYMBOLS] = {0};
    int count = SYMBOLS;
    for (int i = 0; i < SYMBOLS; i++) nodes[i] = (Node){1, -1, -1};
    for (int i = 0; i < SIZE; i++) nodes[source[i]].count++;
    while (count < 2 * SYMBOLS - 1) {
        int pair[2];
        for (int k = 0; k < 2; k++) {
            pair[k] = -1;
            for (int i = 0; i < count; i++)
                if (!used[i] && (pair[k] < 0 || nodes[i].count < nodes[pair[k]].count)) pair[k] = i;
            used[pair[k]] = 1;
        }
        nodes[count++] = (Node){nodes[pair[0]].count + nodes[pair[1]].count, (int16_t)pair[0], (int16_t)pair[1]};
    }
    assign(count - 1, 0, 0);
    return count - 1;
}

static size_t pack(void) {
    uint64_t bits = 0;
    int held = 0;
    size_t out = 0;
    for (int i = 0; i < SIZE; i++) {
        bits = bits << lengths[source[i]] | codes[source[i]];
        held += lengths[source[i]];
        for (; held >= 8; held -= 8) packed[out++] = (uint8_t)(bits >> (held - 8));
    }
    packed[out++] = (uint8_t)(bits << (8 - held));
    return out;
}

static void unpack(int root) {
    size_t bit = 0;
    for (int i = 0; i < SIZE; i++) {
        int node = root;
        for (; node >= SYMBOLS; bit++) node = packed[bit / 8] >> (7 - bit % 8) & 1 ? nodes[node].right : nodes[node].left;
        unpacked[i] = (uint8_t)node;
    }
}

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    uint32_t seed = 37;
    for (long round = iterations(argc, argv, 40); round > 0; round--) {
        for (int i = 0; i < SIZE; i++) source[i] = (uint8_t)(next_random(&seed) % 64 & next_random(&seed));
        int root = build();
        checksum = checksum * 31 + pack();
        unpack(root);
        if (memcmp(source, unpacked, SIZE)) {
            fprintf(stderr, "huffman: what was unpacked differs\n");
            return 1;
        }
        checksum = checksum * 31 + packed[1000];
    }
    print_checksum("huffman", checksum);
    return 0;
}
