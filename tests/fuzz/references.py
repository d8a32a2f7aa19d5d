"""Random functions over references to functions, in all tiers beside the wasmtime package.

    python -m tests.fuzz.references [--count N] [--seed S]

Prints each disagreement; exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Any

import wasmtime

import wasmjit

FUNCTIONS = 12
ARGUMENTS = ((0, 1), (5, 0), (7, 9))
NULLABLE, SOME = "(ref null $u)", "(ref $u)"


def _number(rng: random.Random, depth: int) -> str:
    simple = [f"(i32.const {rng.randrange(100)})", f"(local.get {rng.randrange(2)})"]
    kind = rng.randrange(9) if depth else 0
    if kind < 2:
        return rng.choice(simple)
    a, b, c = (_number(rng, depth - 1) for _ in range(3))
    reference = _nullable(rng, depth - 1)
    return {
        2: f"(i32.add {a} {b})",
        3: f"(call_ref $u {a} {rng.choice((reference, _some(rng, depth - 1)))})",
        4: f"(ref.is_null {reference})",
        5: f"(block (result i32) {a} (br_on_null 0 {reference}) drop {b} i32.add)",
        6: f"(call $minus (block (result i32 i32) {a} {b} (br_on_null 0 {reference}) (call_ref $u)))",
        7: f"(local.tee {rng.randrange(2)} {a})",
        8: f"(if (result i32) {a} (then {b}) (else {c}))",
    }[kind]


def _nullable(rng: random.Random, depth: int) -> str:
    kind = rng.randrange(7) if depth else rng.randrange(3)
    if kind < 3:
        return ("(ref.null $u)", f"(local.get {rng.choice((2, 3))})", _some(rng, 0))[kind]
    a, b, number = _nullable(rng, depth - 1), _nullable(rng, depth - 1), _number(rng, depth - 1)
    return {
        3: f"(select (result {NULLABLE}) {a} {b} {number})",
        4: f"(local.tee {rng.choice((2, 3))} {a})",
        5: f"(table.get $t (i32.and {number} (i32.const 3)))",
        6: f"(block (result {NULLABLE}) (br_if 0 {a} {number}))",
    }[kind]


def _some(rng: random.Random, depth: int) -> str:
    kind = rng.randrange(5) if depth else rng.randrange(2)
    if kind < 2:
        return (f"(ref.func ${rng.choice('abh')})", "(local.get 4)")[kind]
    a, b = _nullable(rng, depth - 1), _some(rng, depth - 1)
    return {
        2: f"(ref.as_non_null {a})",
        3: f"(block (result {SOME}) (br_on_non_null 0 {a}) {b})",
        4: f"(block $o (result {SOME}) (block $z (br $o (br_on_null $z {a}))) {b})",
    }[kind]


def module(seed: int) -> str:
    """The text."""
    rng = random.Random(seed)
    functions = " ".join(
        f'(func (export "f{i}") (param i32 i32) (result i32) (local {NULLABLE} {NULLABLE} {SOME}) '
        f"(local.set 4 (ref.func $a)) (local.set 3 {_nullable(rng, 2)}) {_number(rng, 5)})"
        for i in range(FUNCTIONS)
    )
    return f"""(module (type $u (func (param i32) (result i32))) (import "" "h" (func $h (type $u)))
      (table $t 4 {NULLABLE})
      (elem (table $t) (i32.const 0) {NULLABLE} (ref.func $a) (ref.null $u) (ref.func $h) (ref.func $b))
      (func $a (type $u) (i32.mul (local.get 0) (i32.const 3)))
      (func $b (type $u) (i32.xor (local.get 0) (i32.const 5)))
      (func $minus (param i32 i32) (result i32) (i32.sub (local.get 0) (local.get 1))) {functions})"""


def outcomes(package: Any, engine: Any, wasm: bytes) -> list[int | str]:
    """What each function gives for each pair of arguments: a number, or the name of a trap."""
    store = package.Store(engine)
    i32 = package.ValType.i32()
    host = package.Func(store, package.FuncType([i32], [i32]), lambda n: (n + 1) & 0x7FFFFFFF)
    exports = package.Instance(store, package.Module(engine, wasm), [host]).exports(store)
    seen: list[int | str] = []
    for i in range(FUNCTIONS):
        for arguments in ARGUMENTS:
            try:
                seen.append(exports[f"f{i}"](store, *arguments))
            except package.Trap as trap:
                seen.append(trap.trap_code.name)
    return seen


def disagreements(seed: int, engines: dict[str, wasmjit.Engine]) -> list[str]:
    """The tiers that do something else than wasmtime."""
    wasm = bytes(wasmjit.wat2wasm(module(seed)))
    expected = outcomes(wasmtime, wasmtime.Engine(), wasm)
    return [f"seed {seed}: {name}" for name, engine in engines.items() if outcomes(wasmjit, engine, wasm) != expected]


def engines() -> dict[str, wasmjit.Engine]:
    """One a tier."""
    configs = {
        "auto": wasmjit.Config(tier="auto"),
        "none": wasmjit.Config(tier="optimized", opt_level="none"),
        "speed": wasmjit.Config(tier="optimized"),
    }
    return {name: wasmjit.Engine(config) for name, config in configs.items()}


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Compares random functions over references with wasmtime.")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    all_engines = engines()
    found = [
        text for seed in range(options.seed, options.seed + options.count) for text in disagreements(seed, all_engines)
    ]
    print("\n".join([*found, f"{options.count} modules, {len(found)} disagreements"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
