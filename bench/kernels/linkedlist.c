/* A linked list, built, searched, reversed and merge-sorted (as CoreMark does): pointer chasing. */
#include "kernel.h"
#define LENGTH 2000

typedef struct Node { struct Node *next; uint32_t key, value; } Node;

static Node nodes[LENGTH];

static Node *reverse(Node *list) {
    Node *done = NULL;
    while (list) {
        Node *next = list->next;
        list->next = done, done = list, list = next;
    }
    return done;
}

static Node *merge(Node *a, Node *b, int by_value) {
    Node head, *tail = &head;
    while (a && b) {
        Node **least = (by_value ? a->value <= b->value : a->key <= b->key) ? &a : &b;
        tail->next = *least, tail = *least, *least = (*least)->next;
    }
    tail->next = a ? a : b;
    return head.next;
}

static Node *sort(Node *list, int by_value) {
    if (!list || !list->next) return list;
    Node *slow = list, *fast = list->next;
    while (fast && fast->next) slow = slow->next, fast = fast->next->next;
    Node *second = slow->next;
    slow->next = NULL;
    return merge(sort(list, by_value), sort(second, by_value), by_value);
}

static uint32_t find(const Node *list, uint32_t key) {
    uint32_t steps = 0;
    for (; list && list->key != key; list = list->next) steps++;
    return steps;
}

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    uint32_t seed = 23;
    for (int i = 0; i < LENGTH; i++) nodes[i] = (Node){i + 1 < LENGTH ? &nodes[i + 1] : NULL, (uint32_t)i, next_random(&seed)};
    Node *list = nodes;
    for (long round = iterations(argc, argv, 120); round > 0; round--) {
        list = sort(list, 1);
        for (uint32_t i = 0; i < 40; i++) checksum = checksum * 31 + find(list, i * 47 % LENGTH);
        list = reverse(list);
        checksum = checksum * 31 + list->value;
        list = sort(list, 0);
        list->value = next_random(&seed);
    }
    print_checksum("linkedlist", checksum);
    return 0;
}
