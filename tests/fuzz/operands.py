"""Random functions that shuffle operands, which the interpreter's translator keeps in locals, constants and slots.

    python -m tests.fuzz.operands [--count N] [--seed S]

Locals are read, set while they are on the stack, and carried, with constants, through blocks, loops, branches and
tables with up to 20 operands. Results of tier "auto", which interprets them all, are compared with the wasmtime
package's. Prints each disagreement; exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass, field
from typing import Any

import wasmtime

import wasmjit

LOCALS = 6
RESULTS = 4
FUNCTIONS = 30
MOST_NESTED = 5
PLAIN_BINARY = ("i32.add", "i32.sub", "i32.xor", "i32.lt_s", "i32.eq", "i32.mul")


@dataclass
class _Frame:
    floor: int
    arity: int
    is_loop: bool = False


@dataclass
class _Body:
    rng: random.Random
    code: list[str] = field(default_factory=list)
    frames: list[_Frame] = field(default_factory=list)
    height: int = 0

    def local(self) -> int:
        return self.rng.randrange(LOCALS)

    def targets(self, available: int) -> list[tuple[int, int]]:
        """Depth and arity of labels that so many operands suffice for. Not of loops: they would not end."""
        frames = enumerate(reversed(self.frames))
        return [(depth, f.arity) for depth, f in frames if f.arity <= available and not f.is_loop]

    def plain(self, available: int) -> None:
        """An instruction that goes on to the next."""
        rng = self.rng
        constant = rng.choice([0, 1, 2, 5, -1, 100, 2**31 - 1, rng.randrange(2**31)])
        choices = [(20, f"i32.const {constant}", 1), (24, f"local.get {self.local()}", 1)]
        if available >= 1:
            choices += [(12, f"local.set {self.local()}", -1), (9, f"local.tee {self.local()}", 0), (2, "drop", -1)]
            choices += [(1, "i32.eqz", 0)]
        if available >= 2:
            choices += [(9, rng.choice(PLAIN_BINARY), -1), (3, "call $two", 0)]
        if available >= 3:
            choices += [(2, "select", -2)]
        _, text, change = rng.choices(choices, [weight for weight, _, _ in choices])[0]
        self.code.append(text)
        self.height += change

    def branch(self, available: int) -> bool:
        """A branch; True if nothing follows it."""
        rng, targets = self.rng, self.targets(available - 1)
        if not targets:
            return False
        depth, arity = rng.choice(targets)
        kind = rng.choice(["br_if", "br_if", "br_table", "br"])
        if kind == "br_table":
            depths = [other for other, others_arity in targets if others_arity == arity]
            labels = [str(rng.choice(depths)) for _ in range(rng.randrange(1, 7))]
            self.code.append(f"i32.const 3 i32.and br_table {' '.join(labels)}")
            return True
        if kind == "br":
            if len(self.frames) == 1:
                return False
            self.code.append(f"drop br {depth}")
            return True
        self.code.append(f"br_if {depth}")
        self.height -= 1
        return False

    def block(self, available: int) -> None:
        rng = self.rng
        kind = rng.choice(["block", "block", "if", "loop"])
        if kind == "if":
            if available < 1:
                return
            available -= 1
            self.height -= 1
        params = rng.randrange(min(available, 8) + 1)
        results = rng.choice([0, 1, 1, 2, 3, 5, 6, 9, 20])
        self.code.append(f"{kind} (param {'i32 ' * params}) (result {'i32 ' * results})")
        height, floor = self.height, self.height - params
        for arm in range(2 if kind == "if" else 1):
            if arm:
                self.code.append("else")
            self.height = height
            self.frames.append(_Frame(floor, results, kind == "loop"))
            if self.sequence(rng.randrange(1, 25)):
                self.fill(floor + results)
            self.frames.pop()
        self.code.append("end")
        self.height = floor + results

    def fill(self, height: int) -> None:
        """Makes the operand stack as high as it has to be."""
        while self.height < height:
            self.code.append(self.rng.choice([f"local.get {self.local()}", "i32.const 77"]))
            self.height += 1
        while self.height > height:
            self.code.append(self.rng.choice(["drop", f"local.set {self.local()}"]))
            self.height -= 1

    def sequence(self, count: int) -> bool:
        """So many instructions; False if the end is not reached."""
        for _ in range(count):
            available = self.height - self.frames[-1].floor
            chance = self.rng.random()
            if chance < 0.1 and len(self.frames) <= MOST_NESTED:
                self.block(available)
            elif chance < 0.18 and available >= 1:
                if self.branch(available):
                    return False
            else:
                self.plain(available)
        return True


def _function(rng: random.Random) -> tuple[int, str]:
    """The number of parameters, and type and body."""
    body = _Body(rng, frames=[_Frame(0, RESULTS)])
    if body.sequence(120):
        body.fill(RESULTS)
    params = rng.randrange(1, LOCALS)
    types = f"(param {'i32 ' * params}) (result {'i32 ' * RESULTS}) (local {'i32 ' * (LOCALS - params)})"
    return params, f"{types} {' '.join(body.code)}"


def module(seed: int) -> tuple[list[int], str]:
    """How many parameters the exports f0, f1... take, and the text."""
    rng = random.Random(seed)
    functions = [_function(rng) for _ in range(FUNCTIONS)]
    two = "(func $two (param i32 i32) (result i32 i32) (i32.add (local.get 0) (local.get 1)) (local.get 0))"
    exported = "\n".join(f'(func (export "f{i}") {text})' for i, (_, text) in enumerate(functions))
    return [params for params, _ in functions], f"(module {two}\n{exported})"


def disagreements(seed: int, reference: Any, ours: Any) -> list[str]:
    """What differs between the two engines for the module of a seed."""
    params, text = module(seed)
    rng = random.Random(seed)
    found = []
    reference_store, store = wasmtime.Store(reference), wasmjit.Store(ours)
    expected = wasmtime.Instance(reference_store, wasmtime.Module(reference, text), []).exports(reference_store)
    got = wasmjit.Instance(store, wasmjit.Module(ours, text), []).exports(store)
    for i, count in enumerate(params):
        arguments = [rng.choice([0, 1, 2, 3, -1, rng.randrange(2**31)]) for _ in range(count)]
        results = [list(expected[f"f{i}"](reference_store, *arguments)), list(got[f"f{i}"](store, *arguments))]
        if results[0] != results[1]:
            found.append(f"seed {seed}, f{i}({arguments}): wasmtime {results[0]}, wasmjit {results[1]}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    reference, ours = wasmtime.Engine(), wasmjit.Engine(wasmjit.Config(tier="auto"))
    found = []
    for seed in range(options.seed, options.seed + options.count):
        found += disagreements(seed, reference, ours)
    print(*found, f"{options.count} modules: {len(found)} disagreements", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
