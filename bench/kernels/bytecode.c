/* An interpreter of bytecode for a stack machine, its program a prime counter: one hard-to-predict switch. */
#include "kernel.h"

enum Op { PUSH, LOAD, STORE, ADD, SUBTRACT, MULTIPLY, REMAINDER, LESS, JUMP, JUMP_IF_ZERO, DUPLICATE, DROP, HALT };

/* for (n = 2; n < limit; n++) { for (d = 2; d * d <= n; d++) if (n % d == 0) goto next; sum += n; next: ; } */
enum Slot { N, D, SUM, LIMIT, SLOTS };
static const int32_t program[] = {
    PUSH, 2, STORE, N,                                             /* 0 */
    LOAD, N, LOAD, LIMIT, LESS, JUMP_IF_ZERO, 58,                  /* 4: while n < limit */
    PUSH, 2, STORE, D,                                             /* 11 */
    LOAD, N, LOAD, D, DUPLICATE, MULTIPLY, LESS, JUMP_IF_ZERO, 33, /* 15: unless n < d * d, try d */
    LOAD, SUM, LOAD, N, ADD, STORE, SUM, JUMP, 49,                 /* 24: a prime */
    LOAD, N, LOAD, D, REMAINDER, JUMP_IF_ZERO, 49,                 /* 33: composite */
    LOAD, D, PUSH, 1, ADD, STORE, D, JUMP, 15,                     /* 40: the next d */
    LOAD, N, PUSH, 1, ADD, STORE, N, JUMP, 4,                      /* 49: the next n */
    HALT,                                                          /* 58 */
};

static int64_t run(int64_t limit, uint64_t *executed) {
    int64_t stack[64], slots[SLOTS] = {0, 0, 0, limit};
    int top = 0, pc = 0;
    uint64_t count = 0;
    for (;;) {
        count++;
        switch ((enum Op)program[pc++]) {
            case PUSH: stack[top++] = program[pc++]; break;
            case LOAD: stack[top++] = slots[program[pc++]]; break;
            case STORE: slots[program[pc++]] = stack[--top]; break;
            case ADD: top--, stack[top - 1] += stack[top]; break;
            case SUBTRACT: top--, stack[top - 1] -= stack[top]; break;
            case MULTIPLY: top--, stack[top - 1] *= stack[top]; break;
            case REMAINDER: top--, stack[top - 1] %= stack[top]; break;
            case LESS: top--, stack[top - 1] = stack[top - 1] < stack[top]; break;
            case JUMP: pc = program[pc]; break;
            case JUMP_IF_ZERO: pc = stack[--top] ? pc + 1 : program[pc]; break;
            case DUPLICATE: stack[top] = stack[top - 1], top++; break;
            case DROP: top--; break;
            case HALT: *executed = count; return slots[SUM];
        }
    }
}

int main(int argc, char **argv) {
    uint64_t executed = 0;
    int64_t sum = run(iterations(argc, argv, 20000), &executed);
    print_checksum("bytecode", (uint64_t)sum * 31 + executed);
    return 0;
}
