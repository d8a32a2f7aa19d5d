"""`python -m tests.fuzz.exceptions [--count N] [--seed S] [--tiers none,speed,...]`: random programs that throw and
catch, beside the wasmtime package.

Functions call each other, directly and through a table, in try_tables with all kinds of clauses, and change locals,
globals and memory on the way. What an exported function returns, or which exception leaves it with what values,
and what it leaves in globals must be the same. Exit code 1 if it is not once.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Any

TAGS: tuple[tuple[str, ...], ...] = ((), ("i32",), ("i64", "f64"), ("i32", "i32", "v128"), ("i32",))
LOCALS = ("i32", "i32", "i64", "f64", "v128", "exnref")  # behind the parameters
PARAMS = ("i32", "i32", "f64")
FUNCTIONS = 6
RUNS = 12


class Generator:
    """A module, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.labels = 0
        self.budget = 0

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return self.random.random() < probability

    def local(self, kind: str) -> int:
        """A local of a type; not the one that bounds the depth of calls."""
        return self.random.choice([n for n, k in enumerate((*PARAMS, *LOCALS)) if k == kind and n])

    def value(self, kind: str, depth: int = 0) -> str:
        """An expression."""
        pick = self.random.random()
        if kind == "i32":
            if depth < 3 and pick < 0.4:
                operation = self.random.choice(("add", "sub", "mul", "xor", "and", "lt_s", "eq"))
                return f"(i32.{operation} {self.value('i32', depth + 1)} {self.value('i32', depth + 1)})"
            if pick < 0.5:
                return f"(i32.load offset={self.random.randrange(64)} (i32.and {self.value('i32', 3)} (i32.const 63)))"
            if pick < 0.55:
                return "(global.get $g)"
            if pick < 0.6 and depth < 2 and self.budget > 0:
                return self.call()
            if pick < 0.604:
                divisor = self.value("i32", 3)  # seldom 0: a trap ends all that would come
                if not self.chance(0.03):
                    divisor = f"(i32.or {divisor} (i32.const 1))"
                return f"(i32.div_s {self.value('i32', 3)} {divisor})"
            if pick < 0.85:
                return f"(local.get {self.local('i32')})"
            return f"(i32.const {self.random.choice((0, 1, -1, 2, 7, 100))})"
        if kind in ("i64", "f64"):
            if pick < 0.3 and depth < 3:
                return f"({kind}.add {self.value(kind, depth + 1)} {self.value(kind, depth + 1)})"
            if pick < 0.5:
                conversion = "i64.extend_i32_s" if kind == "i64" else "f64.convert_i32_s"
                return f"({conversion} {self.value('i32', depth + 1)})"
            return f"(local.get {self.local(kind)})" if pick < 0.9 else f"({kind}.const {self.random.randrange(9)})"
        if kind == "v128":
            return f"(i32x4.splat {self.value('i32', 2)})" if pick < 0.5 else f"(local.get {self.local('v128')})"
        return f"(local.get {self.local('exnref')})"

    def call(self) -> str:
        """A call, which is one less deep."""
        self.budget -= 1
        arguments = f"(i32.sub (local.get 0) (i32.const 1)) {self.value('i32', 2)} {self.value('f64', 2)}"
        target = self.random.randrange(FUNCTIONS)
        if self.chance(0.3):
            made = f"(call_indirect (type $f) {arguments} (i32.const {target}))"
        elif self.chance(0.2):
            made = f"(call $many {arguments} {arguments} {arguments} (i32.const {target}))"
        else:
            made = f"(call $f{target} {arguments})"
        return f"(if (result i32) (i32.gt_s (local.get 0) (i32.const 0)) (then {made}) (else (i32.const 3)))"

    def throw(self) -> str:
        """One that may not happen."""
        if self.chance(0.2):
            number = self.local("exnref")
            made = f"(if (i32.eqz (ref.is_null (local.get {number}))) (then (throw_ref (local.get {number}))))"
        else:
            tag = self.random.randrange(len(TAGS))
            made = f"(throw $t{tag} {' '.join(self.value(kind) for kind in TAGS[tag])})"
        if self.chance(0.6):
            return f"(if {self.value('i32')} (then {made}))"
        return made

    def handler(self, kinds: tuple[str, ...]) -> str:
        """What is done with values on the stack."""
        taken = []
        for kind in reversed(kinds):
            if kind == "(ref exn)" or kind == "exnref":
                taken.append(f"(local.set {self.local('exnref')})")
            elif self.chance(0.2):
                taken.append("(drop)")
            else:
                taken.append(f"(local.set {self.local(kind)})")
        return " ".join(taken)

    def try_table(self, depth: int) -> str:
        """With handlers for its clauses behind it."""
        self.labels += 1
        name = f"${self.labels}"
        clauses, blocks = [], []
        for number in range(self.random.randrange(4)):
            label = f"{name}h{number}"
            tag = self.random.randrange(len(TAGS))
            word = self.random.choice(("catch", "catch", "catch_ref", "catch_all", "catch_all_ref"))
            kinds: tuple[str, ...] = () if "all" in word else TAGS[tag]
            kinds += ("exnref",) if word.endswith("ref") else ()
            clauses.append(f"({word} {'' if 'all' in word else f'$t{tag} '}{label})")
            blocks.append((label, kinds))
        has_result = self.chance(0.5)
        result = " (result i32)" if has_result else ""
        body = self.statements(depth + 1) + (self.value("i32") if has_result else "")
        text = f"(try_table{result} {' '.join(clauses)} {body})"
        after = f"(local.set {self.local('i32')})" if has_result else ""
        text = f"{text} {after} (br {name}out)"
        for label, kinds in blocks:
            results = f"(result {' '.join(kinds)})" if kinds else ""
            text = f"(block {label} {results} {text}) {self.handler(kinds)} {self.statements(depth + 1)} (br {name}out)"
        return f"(block {name}out {text})"

    def statement(self, depth: int) -> str:
        """One."""
        pick = self.random.random()
        if pick < 0.28:
            kind = self.random.choice(LOCALS[:5])
            return f"(local.set {self.local(kind)} {self.value(kind)})"
        if pick < 0.36:
            return f"(global.set $g {self.value('i32')})"
        if pick < 0.42:
            return f"(i32.store (i32.and {self.value('i32')} (i32.const 127)) {self.value('i32')})"
        if pick < 0.52:
            return self.throw()
        if pick < 0.62:
            return f"(local.set {self.local('i32')} {self.call() if self.budget > 0 else self.value('i32')})"
        if depth > 3:
            return "(nop)"
        if pick < 0.72:
            return f"(if {self.value('i32')} (then {self.statements(depth + 1)}) (else {self.statements(depth + 1)}))"
        if pick < 0.78:
            self.labels += 1
            label = f"$l{self.labels}"
            count = self.random.randrange(1, 4)
            return (
                f"(global.set $n{depth} (i32.const {count})) (loop {label} {self.statements(depth + 1)} "
                f"(global.set $n{depth} (i32.sub (global.get $n{depth}) (i32.const 1)))"
                f"(br_if {label} (i32.gt_s (global.get $n{depth}) (i32.const 0))))"
            )
        if pick < 0.8:
            return f"(br_if $body {self.value('i32')})"
        if pick < 0.82:
            return f"(if {self.value('i32')} (then (return {self.value('i32')})))"
        return self.try_table(depth)

    def statements(self, depth: int) -> str:
        """Some."""
        return " ".join(self.statement(depth) for _ in range(self.random.randrange(1, 5 - min(depth, 2))))

    def module(self) -> str:
        """The text of a module."""
        parts = [f"(tag $t{n} (param {' '.join(kinds)}))" for n, kinds in enumerate(TAGS)]
        parts.append("(type $f (func (param i32 i32 f64) (result i32)))")
        parts.append('(memory 1) (global $g (export "g") (mut i32) (i32.const 5))')
        parts += [f"(global $n{n} (mut i32) (i32.const 0))" for n in range(6)]
        parts.append(f"(table funcref (elem {' '.join(f'$f{n}' for n in range(FUNCTIONS))}))")
        for number in range(FUNCTIONS):
            self.budget = 4
            body = f"(block $body {self.statements(0)})"
            parts.append(
                f"(func $f{number} (type $f) (local {' '.join(LOCALS)}) "
                f"(global.set $steps (i32.sub (global.get $steps) (i32.const 1)))"
                f"(if (i32.lt_s (global.get $steps) (i32.const 0)) (then (return (i32.const 99))))"
                f"{body} {self.value('i32')})"
            )
        parts.append('(global $steps (export "steps") (mut i32) (i32.const 300))')
        parts.append(
            f"(func $many (param {' '.join(PARAMS * 3)} i32) (result i32)"
            "(call_indirect (type $f) (local.get 0) (local.get 4) (local.get 8) (local.get 9)))"
        )
        parts.append(self.entry())
        return f"(module {' '.join(parts)})"

    def entry(self) -> str:
        """An exported function that catches whatever leaves, and tells of it."""
        text = "(try_table (result i32) "
        text += " ".join(f"(catch $t{n} $h{n})" for n in range(len(TAGS)))
        text += " (call_indirect (type $f) (i32.const 6) (local.get 1) (local.get 2) (local.get 0))) (return)"
        for number, kinds in enumerate(TAGS):
            results = f"(result {' '.join(kinds)})" if kinds else ""
            told = []
            for kind in reversed(kinds):
                told.append(
                    {
                        "i32": "",
                        "i64": "i32.wrap_i64",
                        "f64": "i32.trunc_sat_f64_s",
                        "v128": "i32x4.extract_lane 2",
                    }[kind]
                    + " (local.set 3) (local.set 4 (i32.add (i32.mul (local.get 4) (i32.const 31)) (local.get 3)))"
                )
            given = f"(return (i32.add (local.get 4) (i32.const {1_000_000 * (number + 1)})))"
            text = f"(block $h{number} {results} {text}) {' '.join(told)} {given}"
        return f'(func (export "run") (param i32 i32 f64) (result i32) (local i32 i32) {text})'


def outcomes(api: Any, config: Any, wasm: bytes, seed: int) -> list[tuple[Any, ...]]:
    """What calls give, and leave in globals."""
    engine = api.Engine(config)
    store = api.Store(engine)
    if getattr(config, "consume_fuel", False) is True:
        store.set_fuel(1 << 50)
    exports = api.Instance(store, api.Module(engine, wasm), []).exports(store)
    source = random.Random(seed)
    found: list[tuple[Any, ...]] = []
    for number in range(RUNS):
        exports["steps"].set_value(store, 300)
        arguments = (number % FUNCTIONS, source.randrange(-3, 9), source.random() * 9)
        try:
            result: Any = exports["run"](store, *arguments)
        except api.Trap as trap:
            result = trap.trap_code.name
        found.append((result, exports["g"].value(store), exports["steps"].value(store)))
    return found


TIERS: dict[str, dict[str, Any]] = {
    "none": {"tier": "optimized", "opt_level": "none"},
    "speed": {"tier": "optimized"},
    "size": {"tier": "optimized", "opt_level": "speed_and_size"},
    "explicit": {"tier": "optimized", "signals_based_traps": False},
    "auto": {"tier": "auto"},
    "metered": {"tier": "optimized", "consume_fuel": True},
}


def main() -> int:
    """The command line."""
    import wasmtime

    import wasmjit

    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tiers", default="none,speed", help=",".join(TIERS))
    options = parser.parse_args()
    differ = thrown = traps = 0
    for seed in range(options.seed, options.seed + options.count):
        wasm = bytes(wasmjit.wat2wasm(Generator(seed).module()))
        config = wasmtime.Config()
        config.wasm_exceptions = True
        theirs = outcomes(wasmtime, config, wasm, seed)
        thrown += sum(isinstance(step[0], int) and abs(step[0]) > 500_000 for step in theirs)
        traps += sum(isinstance(step[0], str) for step in theirs)
        for tier in options.tiers.split(","):
            ours = outcomes(wasmjit, wasmjit.Config(**TIERS[tier]), wasm, seed)
            if ours != theirs:
                differ += 1
                print(f"seed {seed}, {tier}: {ours}\n    wasmtime: {theirs}", flush=True)
    print(f"{options.count} modules, {RUNS * options.count} calls, {thrown} exceptions, {traps} traps, {differ} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
