"""Random loops in C over small arrays, for `tests.fuzz.csmith`: what compilers make of the loops that people write.

A kernel has two to four arrays of elements of 8 to 64 bits or floats, and loops over them by indices that are plain,
masked, modulo, divided, mirrored, circular (`j = j + 1 & 7`, `if (++j == 10) j = 0`), or read from another array; in
counters of all integer types, up, down, in strides, nested; with sums, minima, conditions, breaks and values carried
along. Each ends for any `n`, which calls choose. Indices stay inside of the arrays as long as `n` is at most LENGTH.
"""

from __future__ import annotations

import random

TYPES = ("uint8_t", "uint8_t", "int8_t", "uint16_t", "int16_t", "uint32_t", "int32_t", "uint64_t", "float", "double")
COUNTERS = ("int", "int", "int", "unsigned", "unsigned", "long long", "short", "unsigned char", "unsigned long long")
MASKS = (1, 3, 7, 15, 31, 63)
MODULI = (2, 3, 8, 10, 16, 32, 60)
LENGTH = 256
CALLS = (0, 1, 2, 3, 7, 8, 15, 16, 31, 64, 100, 200, 255, 256)

PRELUDE = f"""
#define LENGTH {LENGTH}
static uint32_t random_state;
__attribute__((noinline)) static uint32_t next_random(void)
{{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}}
"""


class _Kernel:
    def __init__(self, source: random.Random, number: int) -> None:
        self.random = source
        self.number = number
        choose = source.choice
        first = choose(TYPES)
        self.arrays = {
            f"a{number}_{i}": first if source.random() < 0.5 else choose(TYPES) for i in range(choose((2, 2, 3, 4)))
        }
        self.accumulators = {
            f"s{i}": choose(("uint32_t", "uint64_t", "int", first)) for i in range(choose((0, 0, 1, 2)))
        }
        self.circles: list[str] = []
        self.counters: list[str] = []

    def index(self) -> str:
        """An expression below 64, or the counter."""
        choose = self.random.choice
        i = choose(self.counters)
        if self.circles and self.random.random() < 0.3:
            return choose(self.circles)
        mask, modulus = choose(MASKS), choose(MODULI)
        integers = [name for name, t in self.arrays.items() if t not in ("float", "double")]
        table = f"{choose(integers)}[{i} & {mask}] & 63" if integers else f"{i} & 3"
        return choose(
            (
                i,
                i,
                i,
                f"{i} & {mask}",
                f"{i} & {mask}",
                f"({i} + {choose((1, 5, 3))}) & {mask}",
                f"({i} * 3) & {mask}",
                f"(unsigned){i} % {modulus}",
                f"({i} + 5u) % {modulus}",
                f"{i} / 2",
                f"({i} >> 2) & {mask}",
                f"({i} ^ 1) & {LENGTH - 1}",
                f"({mask} - {i}) & {mask}",
                f"{LENGTH - 1} - ({i} & {LENGTH - 1})",
                f"({i} + 1) & {LENGTH - 1}",
                table,
            )
        )

    def element(self) -> str:
        return f"{self.random.choice(list(self.arrays))}[{self.index()}]"

    def value(self, depth: int) -> str:
        choose = self.random.choice
        if depth <= 0:
            return choose(
                (self.element(), self.element(), self.element(), choose(self.counters), str(choose((1, 3, 7, 100))))
            )
        left, right = self.value(depth - 1), self.value(depth - 1)
        kind = self.random.random()
        if kind < 0.6:
            return f"({left} {choose('+ + + - *'.split())} {right})"
        if kind < 0.75:
            return f"((uint32_t){left} {choose('& | ^'.split())} (uint32_t){right})"
        if kind < 0.85:
            return f"((uint32_t){left} {choose(('>>', '<<'))} {choose((1, 3, 7, 16))})"
        if kind < 0.95:
            return f"({left} {choose(('<', '>'))} {right} ? {left} : {right})"
        return f"({choose(('uint8_t', 'int16_t', 'uint64_t', 'float'))}){left}"

    def statement(self, depth: int) -> list[str]:
        choose = self.random.choice
        kind = self.random.random()
        value = self.value(choose((0, 1, 1, 2)))
        if kind < 0.5:
            return [f"{self.element()} = {value};"]
        if kind < 0.65:
            name = choose(list(self.arrays))
            operator = choose(("+", "-", "+", "*") + (() if self.arrays[name] in ("float", "double") else ("^", "|")))
            if operator in "^|":
                value = f"(uint32_t){value}"
            return [f"{name}[{self.index()}] {operator}= {value};"]
        if kind < 0.8 and self.accumulators:
            name = choose(list(self.accumulators))
            return [choose((f"{name} += {value};", f"{name} = {name} < {value} ? {value} : {name};"))]
        if kind < 0.9 and depth:
            return [
                f"if ({self.element()} {choose(('<', '>', '!='))} {choose((0, 10, 100))}) {{",
                *self.statement(0),
                "}",
            ]
        if kind < 0.93:
            return [f"if ({self.element()} == {choose((17, 200))}) {choose(('break', 'continue'))};"]
        if kind < 0.97:
            name = f"j{len(self.circles)}"
            self.circles.append(name)
            step = choose(
                (
                    f"{name} = ({name} + 1) & {choose(MASKS)};",
                    f"if (++{name} == {choose(MODULI)}) {name} = 0;",
                    f"{name}++;",
                )
            )
            return [step if name + "++" not in step else f"{name} = {name} >= 200 ? 0 : {name} + 1;"]
        return [f"{self.element()} = {self.element()};"]

    def loop(self, depth: int) -> list[str]:
        choose = self.random.choice
        i = f"i{depth}"
        counter = choose(COUNTERS)
        bound = "n" if depth == 0 else str(choose((4, 8, 10, 16, 33)))
        if depth == 0 and self.random.random() < 0.2:
            bound = str(choose((16, 64, 100, 256, 200)))
        if counter in ("unsigned char", "short") and self.random.random() < 0.5:
            counter = "int"
        limit = f"({bound} & 127)" if counter in ("unsigned char",) else bound
        step = choose((1, 1, 1, 1, 2, 4))
        head = choose(
            (
                f"for ({counter} {i} = 0; {i} < ({counter}){limit}; {i} += {step}) {{",
                f"for ({counter} {i} = 0; {i} != ({counter}){limit}; {i}++) {{",
                f"for (int {i} = {bound} - 1; {i} >= 0; {i}--) {{",
                f"for ({counter} {i} = ({counter}){limit}; {i}-- > 0;) {{",
                f"for (unsigned {i} = 0, e{i} = {bound} & ~3; {i} < e{i}; {i}++) {{",
            )
        )
        self.counters.append(i)
        body = [line for _ in range(choose((1, 1, 2, 3))) for line in self.statement(1)]
        if depth < 2 and self.random.random() < 0.2:
            body[len(body) :] = self.loop(depth + 1)
        self.counters.pop()
        pragma = choose(("", "", "", "#pragma clang loop unroll(disable)", "#pragma clang loop unroll_count(4)"))
        return [*([pragma] if pragma else []), head, *body, "}"]

    def text(self) -> str:
        loops = self.loop(0)
        if self.random.random() < 0.25:
            loops += self.loop(0)
        k = self.number
        arrays = [f"static {t} {name}[LENGTH + 64];" for name, t in self.arrays.items()]
        fill = [
            f"for (int i = 0; i < LENGTH + 64; i++) {a} [i] = ({t})(next_random() & 255);"
            for a, t in self.arrays.items()
        ]
        declared = [f"{t} {name} = 0;" for name, t in self.accumulators.items()]
        declared += [f"unsigned {name} = 0;" for name in self.circles]
        mixed = ["uint64_t result = 1;"]
        mixed += [f"result = result * 31 + (uint64_t)(int64_t){name};" for name in [*self.accumulators, *self.circles]]
        mixed += [
            f"for (int i = 0; i < LENGTH + 64; i++) result = result * 31 + (uint64_t)(int64_t){name}[i];"
            for name in self.arrays
        ]
        return "\n".join(
            [
                *arrays,
                f"__attribute__((noinline)) static uint64_t kernel_{k}(int n)",
                "{",
                *declared,
                *loops,
                *mixed,
                "return result;",
                "}",
                f'__attribute__((export_name("run_{k}"))) uint32_t run_{k}(int n)',
                "{",
                f"random_state = {k};",
                *fill,
                f"uint64_t result = kernel_{k}(n);",
                "return (uint32_t)(result ^ (result >> 32));",
                "}",
                "",
            ]
        )


def kernel(seed: int, number: int) -> str:
    """The C text of a kernel, which exports `run_NUMBER(n)`; two of one file need different numbers."""
    return _Kernel(random.Random(f"kernel:{seed}"), number).text()
