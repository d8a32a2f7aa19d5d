"""Writes and compiles a large C program, for benchmarks of compile time: at least 300,000 wasm instructions.

    python bench/kernels/large.py [-o OUT.wasm] [--functions N] [--seed N]

The program is about a thousand functions of several kinds (integer and floating-point expressions, arrays, structures,
switches, strings, nested loops, direct and indirect calls), drawn from a seeded generator: the same arguments give the
same C, and the same ziglang version the same ``.wasm``. It runs, too: ``large.wasm [ROUNDS]`` calls every function and
prints a checksum, which another engine must print as well.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent.parent / "build"
DEFAULT_FUNCTIONS = 1000
DEFAULT_SEED = 1
# As examples/rebuild.py: Wasm 2.0 without SIMD.
FLAGS = ["-target", "wasm32-wasi", "-mcpu=lime1", "-O2", "-s", "-std=c11", "-w"]

PRELUDE = """\
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define KEEP __attribute__((noinline)) static
typedef struct { uint32_t id; int16_t level; uint8_t kind; double weight; uint64_t mask; int32_t links[4]; } item;
static item items[256];
static uint32_t words[1024];
static uint64_t longs[256];
static double numbers[512];
static float singles[512];
static char text[4096];
static uint32_t budget; /* nested calls left: bounds the running time */
static uint32_t rotate(uint32_t x, uint32_t n) { return x << (n & 31) | x >> (-n & 31); }
static double bounded(double x) { return x > -1e9 && x < 1e9 ? x : 1.5; } /* also no NaN, no infinity */
typedef uint32_t function(uint32_t a, uint32_t b, uint64_t c, double d);
extern function *const functions[];
"""

MAIN = """\
int main(int argc, char **argv) {
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
    uint64_t checksum = 0;
    for (uint32_t i = 0; i < 1024; i++) words[i] = i * 2654435761u;
    for (uint32_t i = 0; i < 512; i++) numbers[i] = (double)(i * 37 % 101) / 8 - 5, singles[i] = (float)(i % 19) - 7;
    for (uint32_t i = 0; i < 4096; i++) text[i] = (char)(' ' + i * 31 % 90);
    for (long round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < COUNT; i++) {
            budget = 20;
            checksum = checksum * 31 + functions[i](i, words[i & 1023], longs[i & 255] ^ i, numbers[i & 511]);
        }
    double sum = 0;
    for (int i = 0; i < 512; i++) sum += bounded(numbers[i]) + bounded(singles[i]);
    for (int i = 0; i < 256; i++) checksum ^= longs[i] + items[i].id + items[i].mask + (uint64_t)items[i].level;
    printf("large %016llx %.6f\\n", (unsigned long long)checksum, sum);
    return 0;
}
"""


class Generator:
    """Draws C functions; every one terminates and has defined behaviour for all arguments."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._names: list[str] = []
        self._kinds: list[Callable[[], list[str]]] = [
            self._integers,
            self._floats,
            self._arrays,
            self._structures,
            self._switch,
            self._strings,
            self._loops,
            self._calls,
        ]

    def program(self, functions: int) -> str:
        """The whole C source."""
        parts = [PRELUDE]
        for index in range(functions):
            name = f"f{index}"
            kinds = (self._kinds[index % len(self._kinds)], self._random.choice(self._kinds))
            body = "\n    ".join(line for kind in kinds for line in ("{", *kind(), "}"))
            parts.append(
                f"KEEP uint32_t {name}(uint32_t a, uint32_t b, uint64_t c, double d) {{\n"
                f"    uint32_t x = a ^ {self._constant():#x}u, y = b + {self._constant():#x}u;\n"
                f"    uint64_t z = c | {self._constant():#x}u;\n    double e = bounded(d), g = {self._float()};\n"
                f"    {body}\n"
                "    return x ^ y ^ (uint32_t)(z >> 32) ^ (uint32_t)z ^ (uint32_t)(int32_t)bounded(e);\n}\n"
            )
            self._names.append(name)
        table = ",\n    ".join(self._names)
        parts.append(f"#define COUNT {functions}\nfunction *const functions[] = {{\n    {table}}};\n")
        parts.append(MAIN)
        return "\n".join(parts)

    def _constant(self) -> int:
        return self._random.choice(
            [self._random.randrange(256), self._random.getrandbits(16), self._random.getrandbits(32)]
        )

    def _float(self) -> str:
        return f"{self._random.uniform(-8, 8):.4f}"

    def _integer(self, depth: int = 3) -> str:
        """An unsigned 32-bit expression over a, b, x, y."""
        if depth == 0 or self._random.random() < 0.1:
            return self._random.choice(["a", "b", "x", "y", "(uint32_t)z", f"{self._constant():#x}u"])
        left, right = self._integer(depth - 1), self._integer(depth - 1)
        form = self._random.choice(
            [
                "({0} + {1})", "({0} - {1})", "({0} * {1})", "({0} ^ {1})", "({0} & {1})", "({0} | {1})",
                "({0} >> ({1} & 31))", "({0} << ({1} & 31))", "rotate({0}, {1})", "({0} / ({1} | 1))",
                "({0} % ({1} | 1))",
                "({0} < {1} ? {0} : {1})", "(uint32_t)((int32_t){0} >> ({1} & 31))", "(uint32_t)(int8_t){0}",
                "(uint32_t)__builtin_popcount({0})", "(uint32_t)__builtin_clz({0} | 1)",
                "((int32_t){0} > (int32_t){1})",
                "words[{0} & 1023]", "(uint32_t)(uint16_t){0}",
            ]
        )  # fmt: skip
        return form.format(left, right)

    def _real(self, depth: int = 2) -> str:
        """A double expression over d, e, g."""
        if depth == 0 or self._random.random() < 0.1:
            return self._random.choice(
                ["d", "e", "g", self._float(), "(double)x", "(double)(int32_t)y", "numbers[y & 511]"]
            )
        left, right = self._real(depth - 1), self._real(depth - 1)
        form = self._random.choice(
            [
                "({0} + {1})", "({0} - {1})", "({0} * {1})", "({0} / ({1} * {1} + 1.0))",
                "__builtin_sqrt({0} * {0} + 1.0)",
                "__builtin_fabs({0})", "__builtin_floor({0})", "({0} < {1} ? {0} : {1})", "(double)(float){0}",
                "__builtin_copysign({0}, {1})", "__builtin_trunc({0})", "(double)singles[x & 511]",
            ]
        )  # fmt: skip
        return form.format(left, right)

    def _integers(self) -> list[str]:
        return [
            f"x = {self._integer()};",
            f"y += {self._integer()};",
            f"z = z * {self._constant() | 1:#x}u + (uint64_t){self._integer(2)};",
            f"z ^= z >> {self._random.randrange(1, 63)};",
            f"if (x > y) x ^= {self._integer(2)}; else y -= {self._integer(2)};",
            f"z = (uint64_t)x * y + (z << {self._random.randrange(1, 63)} | z >> {self._random.randrange(1, 63)});",
        ]

    def _floats(self) -> list[str]:
        terms = " + e * (".join(self._float() for _ in range(self._random.randrange(3, 8)))
        polynomial = terms + ")" * terms.count("(")
        return [
            f"e = bounded({self._real()});",
            f"g = bounded({polynomial});",
            f"if (e > {self._float()} || g < {self._float()}) e = bounded({self._real()});",
            f"else g = bounded({self._real()});",
            f"numbers[x & 511] = bounded(e - g * {self._float()});",
            f"singles[y & 511] = (float)g * {self._float()}f;",
            "x += (uint32_t)(int32_t)bounded(g); z += (uint64_t)(int64_t)(bounded(e) * 1000);",
        ]

    def _arrays(self) -> list[str]:
        size, step = self._random.choice([16, 32, 64]), self._random.choice([1, 3, 5, 7])
        return [
            f"for (uint32_t i = 0; i < {size}; i++) {{",
            f"    words[(i * {step} + a) & 1023] ^= {self._integer(2)} + i;",
            f"    longs[(i + b) & 255] += (uint64_t)words[i & 1023] << {self._random.randrange(32)};",
            f"    x += words[(x + i) & 1023] {self._random.choice(['>>', '<<'])} (i & 15);",
            "}",
            f"memcpy(words + (x & 511), words + 512 + (y & 255), {4 * self._random.randrange(1, 60)});",
        ]

    def _structures(self) -> list[str]:
        return [
            "item *p = &items[x & 255], *q = &items[y & 255];",
            f"p->id += q->id ^ {self._integer(2)};",
            f"p->level = (int16_t)(q->level * {self._random.randrange(1, 99)} + (int16_t)x);",
            f"if (p->kind++ & {1 << self._random.randrange(7)}) p->mask |= z; else q->mask ^= z + p->id;",
            f"q->weight = bounded(p->weight * {self._float()} + {self._real(1)});",
            f"for (int i = 0; i < 4; i++) p->links[i] = q->links[{self._random.randrange(4)} ^ i] - (int32_t)p->id;",
            "item copy = *q; copy.id = y; if (copy.level < p->level) items[a & 255] = copy;",
            f"x ^= (uint32_t)p->links[{self._random.randrange(4)}];",
        ]

    def _switch(self) -> list[str]:
        cases = self._random.randrange(5, 14)
        lines = [f"switch ({self._integer(1)} % {cases + 1}u) {{"]
        for case in range(cases):
            action = self._random.choice(
                [
                    f"x = {self._integer(2)};",
                    f"y ^= {self._integer(2)};",
                    f"e = bounded({self._real(1)});",
                    f"z += {self._constant()}u;",
                ]
            )
            lines.append(f"case {case}: {action} {self._random.choice(['break;', 'break;', '/* falls through */'])}")
        return [*lines, f"default: y += {self._constant()}u;", "}"]

    def _strings(self) -> list[str]:
        return [
            f"char *s = text + (x & 2047), *t = text + 2048 + (y & 1023); uint32_t hash = {self._constant() | 1}u;",
            f"for (int i = 0; i < {self._random.randrange(8, 60)} && s[i]; i++) {{",
            f"    hash = (hash ^ (uint8_t)s[i]) * {self._constant() | 1}u;",
            f"    if (s[i] == '{chr(self._random.randrange(97, 122))}') t[i] = (char)(' ' + (hash & 63));",
            "    else if (s[i] < t[i]) y++;",
            "}",
            f"x += hash; z ^= (uint64_t)memcmp(s, t, {self._random.randrange(4, 40)}) & 1;",
        ]

    def _loops(self) -> list[str]:
        outer, inner = self._random.randrange(2, 7), self._random.randrange(2, 9)
        return [
            f"for (uint32_t i = 0; i < {outer}; i++) {{",
            f"    for (uint32_t j = i; j < {outer + inner}; j++) {{",
            f"        if (((i ^ j) & {self._random.randrange(1, 8)}) == {self._random.randrange(4)}) continue;",
            f"        numbers[(i * 16 + j + x) & 511] += singles[(j * {inner} + y) & 511] * {self._float()};",
            f"        x = rotate(x, j) + {self._integer(1)};",
            f"        if (x == {self._constant()}u) break;",
            "    }",
            "    e = bounded(e + numbers[(i + b) & 511]);",
            "}",
            f"do {{ y = y / 3 + {self._integer(1)} % 7u; z >>= 1; }}",
            f"while (y > {self._random.randrange(20, 90)} && z);",
        ]

    def _calls(self) -> list[str]:
        if not self._names:
            return self._integers()
        direct = [self._random.choice(self._names[-200:]) for _ in range(2)]
        return [
            "if (budget) {",
            "    budget--;",
            f"    x ^= {direct[0]}({self._integer(1)}, y, z, e);",
            f"    if (x & {1 << self._random.randrange(5)}) y += {direct[1]}(b, {self._integer(1)}, z + x, g);",
            f"    else z ^= functions[{self._integer(1)} % {len(self._names)}u](y, a, z, bounded(d));",
            "}",
        ]


def build(target: Path, functions: int = DEFAULT_FUNCTIONS, seed: int = DEFAULT_SEED) -> None:
    """Compiles the program to `target` with ziglang. Raises CalledProcessError if the compiler refuses."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "large.c")
        source.write_text(Generator(seed).program(functions))
        call = [sys.executable, "-m", "ziglang", "cc", *FLAGS, source.name, "-o", str(target.resolve())]
        subprocess.run(call, cwd=directory, check=True)
    target.chmod(0o644)


def module() -> bytes:
    """The standard module's bytes: compiled on first use, then kept in build/ under a name that says what it is of."""
    key = hashlib.sha256(Path(__file__).read_bytes() + version("ziglang").encode()).hexdigest()[:16]
    target = BUILD / f"large-{key}.wasm"
    if not target.exists():
        BUILD.mkdir(exist_ok=True)
        partial = BUILD / f"large-{key}-{os.getpid()}.partial"
        build(partial)
        partial.replace(target)
    return target.read_bytes()


def main() -> int:
    """Compiles what the command line asks for."""
    parser = argparse.ArgumentParser(description="compile a large wasm module from generated C")
    parser.add_argument("-o", "--output", type=Path, default=Path("large.wasm"))
    parser.add_argument("--functions", type=int, default=DEFAULT_FUNCTIONS)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    arguments = parser.parse_args()
    build(arguments.output, arguments.functions, arguments.seed)
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
