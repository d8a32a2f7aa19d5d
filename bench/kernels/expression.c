/* Arithmetic expressions, parsed to a tree by precedence and evaluated: allocation from a pool, and recursion. */
#include "kernel.h"
#define SIZE 16384

typedef struct Node { char operator; int32_t value; struct Node *left, *right; } Node;

static char text[SIZE + 1];
static Node pool[SIZE];
static size_t used;
static const char *at;

static Node *node(char operator, int32_t value, Node *left, Node *right) {
    pool[used] = (Node){operator, value, left, right};
    return &pool[used++];
}

static int precedence(char c) { return c == '+' || c == '-' ? 1 : c == '*' || c == '/' ? 2 : 0; }

static Node *parse(int least) {
    Node *left;
    if (*at == '(') {
        at++;
        left = parse(1);
        at++;
    } else {
        int32_t value = 0;
        for (; *at >= '0' && *at <= '9'; at++) value = value * 10 + (*at - '0');
        left = node(0, value, NULL, NULL);
    }
    for (int rank; (rank = precedence(*at)) >= least && rank;) {
        char operator = *at++;
        Node *right = parse(rank + 1);
        left = node(operator, 0, left, right);
    }
    return left;
}

static uint32_t evaluate(const Node *tree) {
    if (!tree->operator) return (uint32_t)tree->value;
    uint32_t a = evaluate(tree->left), b = evaluate(tree->right);
    switch (tree->operator) {
        case '+': return a + b;
        case '-': return a - b;
        case '*': return a * b;
        default: return b ? a / b : 0;
    }
}

static void generate(char **out, uint32_t *seed, int depth) {
    if (depth == 0) {
        *out += sprintf(*out, "%u", next_random(seed) % 1000);
        return;
    }
    int brackets = next_random(seed) % 2;
    if (brackets) *(*out)++ = '(';
    generate(out, seed, depth - 1);
    *(*out)++ = "+-*/"[next_random(seed) % 4];
    generate(out, seed, depth - 1);
    if (brackets) *(*out)++ = ')';
}

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    uint32_t seed = 47;
    char *end = text;
    generate(&end, &seed, 11);
    *end = 0;
    char *digit = text;
    while (*digit < '0') digit++;
    for (long round = iterations(argc, argv, 600); round > 0; round--) {
        used = 0;
        at = text;
        Node *tree = parse(1);
        for (int i = 0; i < 4; i++) checksum = checksum * 31 + evaluate(tree) + used;
        *digit = (char)('1' + round % 9);
    }
    print_checksum("expression", checksum);
    return 0;
}
