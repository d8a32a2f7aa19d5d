/* Binary trees, allocated node by node, walked and freed (Computer Language Benchmarks Game): malloc of a free list. */
#include "kernel.h"
#define NODES 65536

typedef struct Node { struct Node *left, *right; } Node;

/* An allocator of our own, so that all contenders run the same one. */
static Node pool[NODES], *free_list;

static Node *allocate(void) {
    Node *node = free_list;
    free_list = node->left;
    return node;
}

static void release(Node *node) {
    node->left = free_list;
    free_list = node;
}

static Node *grow(int depth) {
    Node *node = allocate();
    node->left = depth ? grow(depth - 1) : NULL;
    node->right = depth ? grow(depth - 1) : NULL;
    return node;
}

static uint32_t count(const Node *node) { return node ? 1 + count(node->left) + count(node->right) : 0; }

static void cut(Node *node) {
    if (!node) return;
    Node *left = node->left;
    cut(node->right);
    release(node);
    cut(left);
}

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    for (int i = 0; i < NODES; i++) release(&pool[i]);
    for (long round = iterations(argc, argv, 120); round > 0; round--) {
        Node *lasting = grow(12);
        for (int depth = 4; depth <= 12; depth += 2) {
            Node *tree = grow(depth);
            checksum = checksum * 31 + count(tree);
            cut(tree);
        }
        checksum += count(lasting);
        cut(lasting);
    }
    print_checksum("bintree", checksum);
    return 0;
}
