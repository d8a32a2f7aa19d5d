"""Random programs of tail calls, run by wasmjit and by the wasmtime package: results must be equal.

    python -m tests.fuzz.tail_calls [--count N] [--seed S] [--opt-level LEVEL] [--explicit-checks] [--tier TIER]

Two modules and host functions call each other in tail position, directly and through a shared table, with signatures
that differ in everything but the results: 0 to 12 parameters of all types, so arguments travel in registers, on the
stack and both; 0 to 6 results. Some functions make no tail calls, and some calls are no tail calls. What a function
returns depends on each argument it got. Modules are compiled in units of a few functions; tier "auto" interprets them,
but for functions with vectors, and "hot" compiles some on the way, at calls that differ from program to program.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import wasmtime

import wasmjit
from wasmjit import thresholds

from .loops_run import MUCH_FUEL, NEVER, become_eager

TYPES = ("i32", "i64", "f32", "f64", "v128", "externref", "funcref")
NUMBERS = TYPES[:4]
# An argument as a number that is folded into a hash; and a value of a type, made from the hash in $h.
TO_NUMBER = {
    "i32": "(i64.extend_i32_s (local.get {0}))",
    "i64": "(local.get {0})",
    "f32": "(i64.trunc_sat_f32_s (local.get {0}))",
    "f64": "(i64.trunc_sat_f64_s (local.get {0}))",
    "v128": "(i64.sub (i64x2.extract_lane 0 (local.get {0})) (i64x2.extract_lane 1 (local.get {0})))",
    "externref": "(i64.extend_i32_u (ref.is_null (local.get {0})))",
    "funcref": "(i64.extend_i32_u (ref.is_null (local.get {0})))",
}
FROM_HASH = {
    "i32": "(i32.wrap_i64 (local.get $h))",
    "i64": "(local.get $h)",
    "f32": "(f32.convert_i64_s (i64.and (local.get $h) (i64.const 0xffff)))",
    "f64": "(f64.convert_i64_s (i64.and (local.get $h) (i64.const 0xffffffff)))",
    "v128": "(i64x2.replace_lane 1 (i64x2.splat (local.get $h)) (i64.const 5))",
    "externref": "(ref.null extern)",
    "funcref": "(table.get $t (i32.and (i32.wrap_i64 (local.get $h)) (i32.const 3)))",
}
STEP = "(local.set $h (i64.add (i64.mul (local.get $h) (i64.const 31)) {0}))"


class Function:
    """A function of the program: `counter` is the position of the parameter that ends the chain of calls."""

    def __init__(self, number: int, source: random.Random, results: tuple[str, ...], kind: str, home: int) -> None:
        self.number = number
        self.kind = kind  # "tail", "plain" (no tail calls), "calls" (plain calls), "host"
        self.home = home  # module 0 or 1
        types = NUMBERS if kind == "host" else TYPES
        self.params = [source.choice(types) for _ in range(source.choice((0, 1, 2, 3, 5, 8, 12)))]
        self.counter = source.randint(0, len(self.params))
        self.params.insert(self.counter, "i32")
        self.results = results

    @property
    def type(self) -> str:
        params = "".join(f" (param {t})" for t in self.params)
        return params + "".join(f" (result {t})" for t in self.results)

    def arguments(self, source: random.Random) -> str:
        """Operands for a call of it: fresh numbers, and the counter less one."""
        parts = []
        for position, valtype in enumerate(self.params):
            if position == self.counter:
                parts.append("(i32.sub (local.get $n) (i32.const 1))")
                continue
            value = STEP.format(f"(i64.const {source.randrange(1000)})") + " " + FROM_HASH[valtype]
            parts.append(f"(block (result {valtype}) {value})")
        return " ".join(parts)

    def body(self, program: Program, source: random.Random) -> str:
        """Its definition."""
        params = "".join(f" (param $p{i} {t})" for i, t in enumerate(self.params))
        results = "".join(f" (result {t})" for t in self.results)
        fold = [STEP.format(TO_NUMBER[t].format(f"$p{i}")) for i, t in enumerate(self.params)]
        finish = " ".join(f"{STEP.format('(i64.const 7)')} {FROM_HASH[t]}" for t in self.results)
        lines = [
            f'(func $f{self.number} (export "f{self.number}"){params}{results} (local $h i64) (local $n i32)',
            f"(local.set $n (local.get $p{self.counter}))",
            *fold,
            f"(if (i32.le_s (local.get $n) (i32.const 0)) (then {finish} return))",
        ]
        if self.kind == "plain":
            lines.append(finish)
        else:
            for bit in (1, 2):
                call = self.call(program, source)
                lines.append(f"(if (i32.and (i32.wrap_i64 (local.get $h)) (i32.const {bit})) (then {call} return))")
            lines.append(self.call(program, source))
        return "\n  ".join(lines) + ")"

    def call(self, program: Program, source: random.Random) -> str:
        """A call in tail position, of a function that it may call so."""
        callee = source.choice(program.functions)
        prefix = "" if self.kind == "calls" else "return_"
        garbage = "(i32.const 5) " if prefix and source.random() < 0.3 else ""
        if source.random() < 0.4:
            place = f"(i32.const {callee.number})"
            return f"{garbage}({prefix}call_indirect $t{callee.type} {callee.arguments(source)} {place})"
        return f"{garbage}({prefix}call $f{callee.number} {callee.arguments(source)})"


class Program:
    """Two modules as text, that import from each other's functions through the table's owner and from the host."""

    def __init__(self, seed: int, deep: bool) -> None:
        source = random.Random(seed)
        results = tuple(source.choice((*NUMBERS, "v128")) for _ in range(source.choice((0, 1, 1, 2, 3, 6))))
        kinds = (
            ("tail", "tail", "tail", "tail", "plain", "host") if deep else ("tail", "tail", "plain", "calls", "host")
        )
        if "v128" in results:  # which wasmtime-py does not take from Python
            kinds = kinds[:-1]
        count = source.randint(4, 12)
        self.functions = [
            Function(i, source, results, "tail" if i < 2 else source.choice(kinds), source.randrange(2))
            for i in range(count)
        ]
        self.start = self.functions[0]
        self.start.home = 1
        self.start.params = [t if t in NUMBERS else "i64" for t in self.start.params]
        self.modules = [self.module(home, source) for home in (0, 1)]

    def host_functions(self) -> list[Function]:
        return [f for f in self.functions if f.kind == "host"]

    def module(self, home: int, source: random.Random) -> str:
        """Module 0 owns the table; what it calls of module 1 it calls through the table."""
        lines = ["(module"]
        for f in self.functions:
            if f.kind == "host":
                lines.append(f'(import "host" "f{f.number}" (func $f{f.number}{f.type}))')
            elif f.home < home:
                lines.append(f'(import "other" "f{f.number}" (func $f{f.number}{f.type}))')
        if home:
            lines.append('(import "other" "t" (table $t 16 funcref))')
        else:
            lines.append('(table $t (export "t") 16 funcref)')
        own = [f for f in self.functions if f.kind != "host" and f.home == home]
        for f in own:
            lines.append(f"(elem (table $t) (i32.const {f.number}) func $f{f.number})")
        if not home:
            lines += [f"(elem (table $t) (i32.const {f.number}) func $f{f.number})" for f in self.host_functions()]
            for f in self.functions:  # stands for a function that does not exist yet
                if f.kind != "host" and f.home == 1:
                    slots = " ".join(f"(local.get {i})" for i in range(len(f.params)))
                    lines.append(
                        f"(func $f{f.number}{f.type} (return_call_indirect $t{f.type} {slots} (i32.const {f.number})))"
                    )
        lines += [f.body(self, source) for f in own]
        if home:
            lines.append(self.entry())
        return "\n".join((*lines, ")"))

    def entry(self) -> str:
        """What Python calls: the first function, and makes a number of each v128."""
        params, results = self.start.params, self.start.results
        passed = " ".join(f"(local.get {i})" for i in range(len(params)))
        locals_ = "".join(f" (local $r{i} {t})" for i, t in enumerate(results))
        numbers = [
            f"(i64x2.extract_lane 1 (local.get $r{i}))" if t == "v128" else f"(local.get $r{i})"
            for i, t in enumerate(results)
        ]
        head = "".join(f" (param {t})" for t in params)
        head += "".join(f" (result {'i64' if t == 'v128' else t})" for t in results)
        stores = " ".join(f"(local.set $r{i})" for i in reversed(range(len(results))))
        called = f"(call $f{self.start.number} {passed})"
        return f'(func (export "run"){head}{locals_} {called} {stores} {" ".join(numbers)})'

    def arguments(self, source: random.Random, count: int) -> list[Any]:
        """Arguments for the first function."""
        values: list[Any] = [
            source.randrange(1 << 20) if t in ("i32", "i64") else float(source.randrange(1 << 10))
            for t in self.start.params
        ]
        values[self.start.counter] = count
        return values


def run(api: Any, config: Any, program: Program, calls: list[list[Any]], fuel: bool) -> Iterator[Any]:
    """The result of each call of the first function, and with `fuel` what it takes."""
    engine = api.Engine(config)
    store = api.Store(engine)
    if fuel:
        store.set_fuel(MUCH_FUEL)
    linker = api.Linker(engine)

    def host(function: Function) -> Any:
        def called(*arguments: Any) -> Any:
            total = sum(int(a) * (i + 3) for i, a in enumerate(arguments)) + function.number
            values = [
                total & 0xFFFF if t == "i32" else _wrapped(total) if t == "i64" else float(total & 0xFFFF)
                for t in function.results
            ]
            return None if not values else values[0] if len(values) == 1 else values

        return called

    kinds = {t: getattr(api.ValType, t)() for t in NUMBERS}
    for f in program.host_functions():
        functype = api.FuncType([kinds[t] for t in f.params], [kinds[t] for t in f.results])
        linker.define_func("host", f"f{f.number}", functype, host(f))
    for name, text in zip(("other", "last"), program.modules, strict=True):
        instance = linker.instantiate(store, api.Module(engine, text))
        linker.define_instance(store, name, instance)
    function = instance.exports(store)["run"]
    for arguments in calls:
        if fuel:
            store.set_fuel(MUCH_FUEL)
        try:
            result = function(store, *arguments)
        except api.Trap as trap:
            yield trap.trap_code.name
        else:
            yield (result, MUCH_FUEL - store.get_fuel()) if fuel else result


def _wrapped(number: int) -> int:
    """As an i64: wasmjit refuses what does not fit (docs/rationale.md), wasmtime-py wraps it."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def compare(seed: int, config: wasmjit.Config, unit_bytes: int, counts: tuple[int, ...], deep: bool) -> list[Any]:
    """The calls of one program whose results differ: arguments, ours, theirs."""
    program = Program(seed, deep)
    source = random.Random(seed)
    calls = [program.arguments(source, count) for count in counts]
    reference = wasmtime.Config()
    reference.consume_fuel = config.consume_fuel
    theirs = run(wasmtime, reference, program, calls, config.consume_fuel)
    with mock.patch("wasmjit.thresholds.UNIT_BODY_BYTES", unit_bytes):
        ours = run(wasmjit, config, program, calls, config.consume_fuel)
        return [row for row in zip(calls, ours, theirs, strict=True) if row[1] != row[2]]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--opt-level", default="speed")
    parser.add_argument("--explicit-checks", action="store_true")
    parser.add_argument("--tier", choices=("optimized", "auto", "hot"), default="optimized")
    options = parser.parse_args()
    config = wasmjit.Config(
        tier="auto" if options.tier == "hot" else options.tier,
        opt_level=options.opt_level,
        signals_based_traps=not options.explicit_checks,
    )
    if options.tier != "optimized":
        become_eager()
    failures = 0
    for seed in range(options.seed, options.seed + options.count):
        deep = seed % 2 == 1
        thresholds.INTERPRETER_BUDGET = 1 + seed % 7 if options.tier == "hot" else NEVER
        counts = (0, 1, 3, 10, 30) + ((100_000,) if deep else ())
        different = compare(seed, config, 96 << 10 if seed % 3 else 300, counts, deep)
        for arguments, ours, theirs in different:
            failures += 1
            print(f"seed {seed}: {arguments}: ours {ours}, theirs {theirs}")
    print(f"{options.count} programs: {failures} disagreements")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
