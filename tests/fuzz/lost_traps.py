"""Loads as operands of every instruction, at the end of memory: what must trap traps, and nothing else does.

    python -m tests.fuzz.lost_traps [--count N] [--seed S] [--cpu CPU]... [--tier TIER]...

Functions are made at random from what loses loads: operands that make no difference, stores that are overwritten, bits
that nobody looks at, selects, branches, loops whose values are not used, or only those of one iteration; half of them
are made by `vanishing.py`. A module has many, and each is called at addresses around the end of memory. The wasmtime
package says what is to come out. N is the number of executions in all. Prints each function that lost a trap, or
trapped where it must not; exit code 1 if any.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import wasmtime

import wasmjit
from tests.fuzz.differential import compile_eagerly, plain
from tests.processors import runnable
from wasmjit.target import host_machine
from wasmjit.wasm.ops import ATOMIC, LOAD, OPS, SPECIAL, STORE, VECTOR, Op
from wasmjit.wasm.types import F32, F64, I32, I64, VALTYPE_NAMES

from . import vanishing

END = 65536
PARAMS = "(param $a i32) (param $n i32) (param $i32 i32) (param $i64 i64) (param $f32 f32) (param $f64 f64)"
LOCALS = "(local $k i32) (local $vi32 i32) (local $vi64 i64) (local $vf32 f32) (local $vf64 f64)"
TYPES = (I32, I64, F32, F64)
LOADS = {t: [op for op in OPS.values() if op.kind == LOAD and op.result == t] for t in TYPES}
STORES = {t: [op for op in OPS.values() if op.kind == STORE and op.params[1] == t] for t in TYPES}
NUMERIC = [
    op
    for op in OPS.values()
    if op.kind not in (LOAD, STORE, SPECIAL, VECTOR, ATOMIC) and op.params and op.result in TYPES
]
# Divisions and conversions trap by themselves, and which of two traps comes is not promised.
TRAPPING = ("div_s", "div_u", "rem_s", "rem_u")
NUMERIC = [op for op in NUMERIC if op.name[4:] not in TRAPPING and not op.name[4:].startswith(("trunc_f",))]
BY_RESULT = {t: [op for op in NUMERIC if op.result == t] for t in TYPES}
INTEGERS = {
    32: [
        0,
        1,
        -1,
        2,
        4,
        7,
        8,
        12,
        16,
        24,
        31,
        32,
        0xFF,
        0xFF00,
        0xFFFF,
        0xFF0000,
        0x7FFFFFFF,
        -(1 << 31),
        -256,
        -65536,
    ],
    64: [
        0,
        1,
        -1,
        8,
        16,
        32,
        48,
        56,
        63,
        0xFF,
        0xFF00,
        0xFFFF,
        0xFFFFFFFF,
        0xFF << 56,
        1 << 32,
        -(1 << 63),
        (1 << 63) - 1,
    ],
}
FLOATS = ["0", "-0", "1", "-1", "inf", "-inf", "nan", "-nan", "0x1p-149", "3.5"]
CPUS = ("x86-64-v2", "haswell", "skylake-avx512", "znver4") if host_machine() == "x86_64" else ("generic",)


@dataclass(frozen=True)
class Function:
    """A function: its body, and whether its result depends on what it loads."""

    body: str
    result: int


class Generator:
    """Makes functions from a source of chance."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.address = "(local.get $a)"

    def pick(self, choices: Sequence[Any]) -> Any:
        return self.source.choice(choices)

    def constant(self, valtype: int) -> str:
        name = VALTYPE_NAMES[valtype]
        value = self.pick(FLOATS) if valtype in (F32, F64) else self.pick(INTEGERS[int(name[1:])])
        return f"({name}.const {value})"

    def load(self, valtype: int) -> str:
        op: Op = self.pick(LOADS[valtype])
        offset = self.pick((0, 0, 0, 1, 4, 8))
        return f"({op.name} offset={offset} {self.address})"

    def leaf(self, valtype: int) -> str:
        chance = self.source.random()
        if chance < 0.55:
            return self.load(valtype)
        return self.constant(valtype) if chance < 0.85 else f"(local.get ${VALTYPE_NAMES[valtype]})"

    def value(self, valtype: int, depth: int) -> str:
        """An expression; most have a load in them."""
        if depth == 0:
            return self.leaf(valtype)
        if self.source.random() < 0.15:
            condition = self.pick((self.constant(I32), "(local.get $i32)", self.value(I32, depth - 1)))
            return f"(select {self.value(valtype, depth - 1)} {self.value(valtype, depth - 1)} {condition})"
        return self.apply(self.pick(BY_RESULT[valtype]), depth)

    def apply(self, op: Op, depth: int) -> str:
        operands = [self.value(t, depth - 1) for t in op.params]
        if len(operands) == 2 and op.params[0] == op.params[1] and self.source.random() < 0.1:
            operands[1] = operands[0]
        return f"({op.name} {' '.join(operands)})"

    def store(self, valtype: int, value: str, address: str = "") -> str:
        op: Op = self.pick(STORES[valtype])
        return f"({op.name} {address or self.pick(('(i32.const 16)', '(i32.const 17)', '(i32.const 20)'))} {value})"

    def statement(self) -> str:
        """Something that uses a loaded value, or loses it."""
        valtype = self.pick(TYPES)
        name = VALTYPE_NAMES[valtype]
        value = self.value(valtype, self.pick((0, 1, 1, 2)))
        other = self.value(valtype, self.pick((0, 1)))
        return self.pick(
            (
                lambda: f"(drop {value})",
                lambda: f"(local.set $v{name} {value}) (local.set $v{name} {other})",
                lambda: f"(global.set $g{name} {value}) (global.set $g{name} {self.constant(valtype)})",
                lambda: f"{self.store(valtype, value)} {self.store(valtype, self.constant(valtype))}",
                lambda: f"{self.store(valtype, value)} (i64.store (i32.const 16) (i64.const 1))",
                lambda: self.store(valtype, self.load(valtype), self.address),
                lambda: (
                    f"{self.store(valtype, value)} (if (local.get $i32) (then {self.store(valtype, other)}) "
                    f"(else {self.store(valtype, self.constant(valtype))}))"
                ),
                lambda: f"(local.set $v{name} {value}) (if (local.get $i32) (then (local.set $v{name} {other})))",
                lambda: f"(if {self.value(I32, 1)} (then (global.set $g{name} {other})) (else (drop {value})))",
                lambda: f"(block (br_if 0 {self.value(I32, 1)}) (global.set $g{name} {self.constant(valtype)}))",
                lambda: self.loop(),
                lambda: self.loop(),
            )
        )()

    def loop(self) -> str:
        """A loop over addresses that go up or down across the end; what it computes may not be used."""
        valtype = self.pick(TYPES)
        name = VALTYPE_NAMES[valtype]
        stride = self.pick((1, 2, 4, 8, -1, -4, -8, 12, 0))
        before, self.address = self.address, f"(i32.add (local.get $a) (i32.mul (local.get $k) (i32.const {stride})))"
        value = self.value(valtype, self.pick((0, 0, 1, 2)))
        combine = self.pick([op.name for op in BY_RESULT[valtype] if op.params == (valtype, valtype)])
        variable = f"$v{name}"
        body = self.pick(
            (
                lambda: f"(local.set {variable} {value})",
                lambda: f"(local.set {variable} ({combine} (local.get {variable}) {value}))",
                lambda: f"(drop {value})",
                lambda: f"(global.set $g{name} {value})",
                lambda: self.store(valtype, value),
                lambda: f"{self.store(valtype, value)} {self.store(valtype, self.constant(valtype))}",
                lambda: self.store(valtype, value, "(i32.add (i32.const 64) (i32.mul (local.get $k) (i32.const 8)))"),
                lambda: self.store(valtype, value, self.address),
                lambda: (
                    f"(local.set {variable} (select {value} (local.get {variable}) "
                    f"({self.pick(('i32.lt_u', 'i32.ge_s', 'i32.ne'))} (local.get $k) (local.get $i32))))"
                ),
                lambda: (
                    f"(local.set {variable} (select {value} (local.get {variable}) "
                    f"(i32.and {self.value(I32, 0)} (i32.const 1))))"
                ),
                lambda: (
                    f"(if (i32.eq (local.get $k) (local.get $i32)) (then (local.set {variable} {value})) "
                    f"(else (local.set {variable} {self.constant(valtype)})))"
                ),
            )
        )()
        self.address = before
        use = self.pick((f"(global.set $g{name} (local.get {variable}))", ""))
        return (
            f"(local.set $k (i32.const 0)) (loop {body} (local.set $k (i32.add (local.get $k) (i32.const 1))) "
            f"(br_if 0 (i32.lt_u (local.get $k) (local.get $n)))) {use}"
        )

    def function(self) -> Function:
        result = self.pick(TYPES)
        statements = " ".join(self.statement() for _ in range(self.pick((0, 1, 1, 2))))
        last = self.pick(
            (self.value(result, self.pick((1, 1, 2, 3))), self.constant(result))
            if statements
            else (self.value(result, self.pick((1, 1, 2, 3))),)
        )
        return Function(f"{statements} {last}", result)


def every_operand() -> list[Function]:
    """Each numeric instruction with a load as each operand, and special constants as the other one."""
    found = []
    for op in NUMERIC:
        for position, valtype in enumerate(op.params):
            name = VALTYPE_NAMES[valtype]
            load = f"({LOADS[valtype][0].name} (local.get $a))"
            if len(op.params) == 1:
                found.append(Function(f"({op.name} {load})", op.result))
                continue
            constants = FLOATS if valtype in (F32, F64) else INTEGERS[int(name[1:])]
            for constant in constants:
                operands = [f"({name}.const {constant})"] * 2
                operands[position] = load
                found.append(Function(f"({op.name} {' '.join(operands)})", op.result))
        if len(op.params) == 2 and op.params[0] == op.params[1]:
            load = f"({LOADS[op.params[0]][0].name} (local.get $a))"
            found.append(Function(f"({op.name} {load} {load})", op.result))
    return found


def memories(is_64: bool, has_two: bool) -> str:
    """Memories of one page, of which the last bytes are not zero."""
    data = "".join(f"\\{byte:02x}" for byte in random.Random(3).randbytes(256))
    of_type = " i64" if is_64 else ""
    text = f'(memory $first (export "m"){of_type} 1 1) (data ({"i64" if is_64 else "i32"}.const {END - 256}) "{data}")'
    if has_two:
        text += f' (memory $other (export "o") 1 1) (data (memory $other) (i32.const {END - 256}) "{data}")'
    return text


def module_text(functions: Sequence[Function], memories_text: str = "") -> str:
    """A module whose exports are "0", "1", ..."""
    globals_ = "\n".join(f"(global $g{n} (mut {n}) ({n}.const 0))" for n in ("i32", "i64", "f32", "f64"))
    text = "\n".join(
        f'(func (export "{index}") {PARAMS} (result {VALTYPE_NAMES[function.result]}) {LOCALS} {vanishing.LOCALS}'
        f" {function.body})"
        for index, function in enumerate(functions)
    )
    memories_text = memories_text or memories(is_64=False, has_two=False)
    return f"(module {memories_text} {globals_} {vanishing.SURROUNDINGS}\n{text})"


def outcomes(api: Any, config: Any, wasm: bytes, count: int, calls: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """For each function what each call ends in: "trap" or the result. Memory is the same before each call."""
    engine = api.Engine(config)
    module = api.Module(engine, wasm)
    found = []
    for index in range(count):
        store = api.Store(engine)
        exports = api.Instance(store, module, []).exports(store)
        function = exports[str(index)]
        first = [(exports[name], exports[name].read(store, 0, END)) for name in ("m", "o") if name in exports]
        ends = []
        for arguments in calls:
            for memory, content in first:
                memory.write(store, content)
            try:
                ends.append(plain(function(store, *arguments)))
            except api.Trap:
                ends.append("trap")
        found.append(ends)
    return found


def calls_of(source: random.Random) -> list[tuple[Any, ...]]:
    """Arguments: an address at the end, or far in or out of memory, a number of iterations, and others."""
    found: list[tuple[Any, ...]] = []

    def rest() -> tuple[Any, ...]:
        return (source.choice((0, 1, 5, 63)), source.choice((0, -1, 1 << 40)), source.choice((0.0, 1.5)), 2.0)

    found += [(END - distance, 1, *rest()) for distance in range(20)]
    for _ in range(4):
        near = END - source.randrange(0, 20)
        found.append((near - source.randrange(0, 300), source.choice((2, 9, 40, 70)), *rest()))
        found.append((near + source.randrange(0, 300), source.choice((2, 40, 70)), *rest()))
        count = source.choice((2, 5, 8, 9, 33, 64, 100))
        # The last of so many elements, or the one behind it, lies across the end.
        found.append((END - count * source.choice((1, 2, 4, 8)) + source.randrange(-9, 10), count, *rest()))
    found.append((1 << 30, 3, 0, 0, 0.0, 0.0))
    found.append((1 << 30, 0, 0, 0, 0.0, 0.0))
    found.append((1024, 40, 1, 1, 0.0, 0.0))
    return found


def configs(tiers: Sequence[str], cpus: Sequence[str]) -> list[tuple[str, Callable[[], wasmjit.Config]]]:
    """What is tried, with names."""
    found: list[tuple[str, Callable[[], wasmjit.Config]]] = []
    for tier in tiers:
        if tier == "optimized":
            found += [(f"optimized {cpu}", lambda cpu=cpu: wasmjit.Config(tier="optimized", cpu=cpu)) for cpu in cpus]
        elif tier == "checked":
            found.append((tier, lambda: wasmjit.Config(tier="optimized", signals_based_traps=False)))
        elif tier == "size":
            found.append((tier, lambda: wasmjit.Config(tier="optimized", opt_level="speed_and_size")))
        else:
            found.append((tier, lambda tier=tier: wasmjit.Config(tier=tier)))
    return found


def compare(
    functions: Sequence[Function],
    source: random.Random,
    wanted: Sequence[tuple[str, Callable[[], wasmjit.Config]]],
    memories_text: str = "",
) -> tuple[int, list[str]]:
    """How many executions there were, and what went wrong."""
    wasm = wasmjit.wat2wasm(module_text(functions, memories_text))
    calls = calls_of(source)
    expected = outcomes(wasmtime, wasmtime.Config(), wasm, len(functions), calls)
    wrong = []
    for name, config in wanted:
        found = outcomes(wasmjit, config(), wasm, len(functions), calls)
        for index, function in enumerate(functions):
            for arguments, ours, theirs in zip(calls, found[index], expected[index], strict=True):
                if ours == "trap" or theirs == "trap":
                    if ours != theirs:
                        what = "lost" if theirs == "trap" else "spurious"
                        wrong.append(f"{what} trap: {name}: {function.body} {arguments}: {ours}, not {theirs}")
                        break
                elif ours != theirs and "trap" not in expected[index]:  # stores before a trap are not promised
                    wrong.append(f"wrong result: {name}: {function.body} {arguments}: {ours}, not {theirs}")
                    break
    return len(functions) * len(calls) * len(wanted), wrong


def run(count: int, seed: int, tiers: Sequence[str], cpus: Sequence[str], functions_each: int = 150) -> list[str]:
    """`count` executions; returns what went wrong."""
    source = random.Random(seed)
    wanted = configs(tiers, cpus)
    systematic = every_operand()
    source.shuffle(systematic)
    compile_eagerly(wanted=True)
    done = 0
    wrong: list[str] = []
    try:
        while done < count:
            generator = Generator(source)
            functions = systematic[:50] + [generator.function() for _ in range(functions_each - 50)]
            systematic = systematic[50:] + systematic[:50]
            executions, found = compare(functions, source, wanted)
            done += executions
            wrong += found
            is_64, has_two = source.random() < 0.15, source.random() < 0.15
            vanisher = vanishing.Vanishing(source, is_64, has_two)
            functions = [
                Function(f"{vanisher.body()} (i64.extend_i32_u (local.get $vi32))", I64) for _ in range(functions_each)
            ]
            executions, more = compare(functions, source, wanted, memories(is_64, has_two))
            found = [*found, *more]
            wrong += more
            done += executions
            for line in found:
                print(line, flush=True)
            print(f"{done} executions, {len(wrong)} wrong", file=sys.stderr, flush=True)
    finally:
        compile_eagerly(wanted=False)
    return wrong


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpu", action="append")
    parser.add_argument("--tier", action="append")
    options = parser.parse_args()
    tiers = options.tier or ["auto", "baseline", "optimized", "size", "checked"]
    cpus = runnable(options.cpu or CPUS)
    if not configs(tiers, cpus):
        return 0
    return 1 if run(options.count, options.seed, tiers, cpus) else 0


if __name__ == "__main__":
    sys.exit(main())
