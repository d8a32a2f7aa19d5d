/* Recursive Fibonacci numbers: the cost of direct calls. */
#include "kernel.h"

__attribute__((noinline)) static uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

int main(int argc, char **argv) {
    uint64_t checksum = 0;
    for (long i = iterations(argc, argv, 4); i > 0; i--) checksum = checksum * 31 + fib(29 + (uint32_t)(i & 1));
    print_checksum("fib", checksum);
    return 0;
}
