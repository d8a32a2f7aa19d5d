"""Hostile modules: one thread changes a number in shared memory, another one checks and uses it, again and again.

    python -m tests.threads.hostile [--rounds 1000000000] [--tiers words,stencils] [--places br_table]

In each place the number has to be checked before it is trusted: it is an index, an address, a length, a divisor. All
that may come of it is what is right for some number that was there, or a trap. The bad numbers are so far away that
one that were trusted unchecked would end the process; what is read and called is looked at. Each tier with each way to
check addresses has a process of its own, and `rounds` is the sum of all. `control` is a module that fetches twice
itself: how often it finds another number the second time says what the other figures are worth.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from wasmjit import (
    Config,
    Engine,
    Instance,
    Limits,
    MemoryType,
    Module,
    SharedMemory,
    Store,
    Trap,
    TrapCode,
    thresholds,
)

TIERS = ("optimized", "baseline", "words", "stencils")  # the last two: the first tier's, and nothing else
# What Config has besides.
POLICIES: dict[str, dict[str, Any]] = {
    "guarded": {},
    "checked": {"signals_based_traps": False},
    "exact": {"exact_traps": True},
    "exact, checked": {"exact_traps": True, "signals_based_traps": False},
}
PLACE, ENDED, BEGUN, WRITTEN, QUIET, NUMBERS = 0x1BC0, 512, 576, 640, 1024, 2048
DATA = 8192  # from here on all bytes are PATTERN
PATTERN, BYTE = 0xA5, r"\a5"
WORD, LONG = "0xa5a5a5a5", "0xa5a5a5a5a5a5a5a5"
FAR = (0x7FFFFFF0, 0xFFFFFFF0, 0x90000001, 0x40000000)
FAR_64 = (0x7FFFFFFFFFFFFFF0, 0xFFFFFFFFFFFFFFF0, 1 << 45, 0x500000000, 0x10000FFF8)
INDICES = (0, 1, 2, 3)
ADDRESSES = (DATA, DATA + 64, DATA + 8, 65528)
TRAPS = {
    TrapCode.TABLE_OUT_OF_BOUNDS,
    TrapCode.MEMORY_OUT_OF_BOUNDS,
    TrapCode.HEAP_MISALIGNED,
    TrapCode.INTEGER_DIVISION_BY_ZERO,
    TrapCode.INTEGER_OVERFLOW,
}


class Place:
    """What is done with the number, in local $x or, of 64 bits, $y; good numbers, and bad ones."""

    def __init__(self, use: str, good: Sequence[int], bad: Sequence[int] = FAR, memory: str = "") -> None:
        self.use = use
        self.good = good
        self.bad = bad
        self.memory = memory  # "64": of the module with such addresses


def _is(value: str, expected: str, kind: str = "i32") -> str:
    return f"(if ({kind}.ne {value} ({kind}.const {expected})) (then (unreachable)))"


_ADDRESSED = {
    "load8": _is("(i32.load8_u ADDRESS)", str(PATTERN)),
    "load": _is("(i32.load ADDRESS)", WORD),
    "load64": _is("(i64.load offset=8 (OFFSET))", LONG, "i64"),
    "loads": f"{_is('(i32.load ADDRESS)', WORD)} {_is('(i32.load offset=4 (OFFSET))', WORD)}",
    "vector": _is("(i64x2.extract_lane 0 (v128.load (OFFSET)))", LONG, "i64"),
    "store": f"(i32.store ADDRESS (i32.const {WORD}))",
    "store64": f"(i64.store ADDRESS (i64.const {LONG}))",
    "atomic load": _is("(i32.atomic.load ADDRESS)", WORD),
    "atomic store": f"(i32.atomic.store ADDRESS (i32.const {WORD}))",
    "atomic add": "(drop (i64.atomic.rmw.add ADDRESS (i64.const 0)))",
    "atomic exchange": "(drop (i32.atomic.rmw16.cmpxchg_u ADDRESS (i32.const 0) (i32.const 0xa5a5)))",
    "notify": "(drop (memory.atomic.notify ADDRESS (i32.const 1)))",
    "wait": "(drop (memory.atomic.wait32 ADDRESS (i32.const 0) (i64.const 0)))",
    "fill": f"(memory.fill ADDRESS (i32.const {PATTERN}) (SIZE 8))",
    "fill length": f"(memory.fill (SIZE {DATA}) (i32.const {PATTERN}) ADDRESS)",
    "copy": f"(memory.copy ADDRESS (SIZE {DATA}) (SIZE 8))",
    "copy source": f"(memory.copy (SIZE {DATA}) ADDRESS (SIZE 8))",
    "copy length": f"(memory.copy (SIZE {DATA}) (SIZE {DATA + 8}) ADDRESS)",
    "init": "(memory.init $d ADDRESS (i32.const 0) (i32.const 8))",
}
_LENGTHS = (8, 64, 24, 4096)
_UNALIGNED = (DATA + 1, DATA + 2, DATA + 7)


def _addressed(bits: int) -> dict[str, Place]:
    local, far = ("$y", FAR_64) if bits == 64 else ("$x", FAR)
    kind = f"i{bits}"
    places = {}
    for name, use in _ADDRESSED.items():
        # The largest number that is good has to be so with the offset that is used.
        text = use.replace("ADDRESS", f"(local.get {local})").replace("(SIZE", f"({kind}.const")
        text = text.replace("(OFFSET)", f"({kind}.sub (local.get {local}) ({kind}.const 8))")
        bad = far + _UNALIGNED if "atomic" in use else far
        places[f"{name} {bits}"] = Place(text, _LENGTHS if "length" in name else ADDRESSES, bad, f"{bits}")
    return places


PLACES: dict[str, Place] = {
    "control": Place(
        "(if (i32.lt_u (local.get $x) (i32.const 4)) (then "
        f"(if (i32.ge_u (i32.atomic.load (i32.const {PLACE})) (i32.const 4)) "
        "(then (global.set $found (i32.add (global.get $found) (i32.const 1)))))))",
        INDICES,
    ),
    "call_indirect": Place(_is("(call_indirect $fixed (type $t) (local.get $x))", "7"), INDICES),
    "call_indirect, table that grows": Place(_is("(call_indirect $grows (type $t) (local.get $x))", "7"), INDICES),
    "return_call_indirect": Place(_is("(call $tail (local.get $x))", "7"), INDICES),
    "table.get": Place("(if (ref.is_null (table.get $fixed (local.get $x))) (then (unreachable)))", INDICES),
    "table.get, table that grows": Place(
        "(if (ref.is_null (table.get $grows (local.get $x))) (then (unreachable)))", INDICES
    ),
    "table.set": Place("(table.set $set (local.get $x) (ref.func $f))", INDICES),
    "table.fill": Place("(table.fill $set (i32.const 0) (ref.func $f) (local.get $x))", INDICES),
    "table.copy": Place("(table.copy $set $fixed (local.get $x) (i32.const 0) (i32.const 1))", INDICES),
    "table.init": Place("(table.init $set $e (i32.const 0) (i32.const 0) (local.get $x))", INDICES),
    "br_table": Place(
        "(block $d (block $c (block $b (block $a (br_table $a $b $c $d $d (local.get $x))) "
        "(br_if $d (i32.eqz (local.get $x))) (unreachable))))",
        INDICES,
    ),
    "division": Place(_is("(i32.rem_s (i32.const 7) (local.get $x))", "0"), (1, 7), (0,)),
    "division that overflows": Place(
        "(drop (i32.div_s (i32.const 0x80000000) (local.get $x)))", (1, 7), (0, 0xFFFFFFFF)
    ),
    # Compared by the module itself: with guard pages nothing else is, and what LLVM makes of the sum must stay inside.
    "scaled": Place(
        "(if (i32.lt_u (local.get $x) (i32.const 1000)) (then "
        + _is(f"(i32.load offset={DATA} (i32.shl (local.get $x) (i32.const 3)))", WORD)
        + "))",
        (0, 5, 999),
    ),
    "loop": Place(
        "(local.set $i (i32.const 0)) (loop $m "
        + _is(f"(i32.load offset={DATA} (i32.shl (local.get $i) (i32.const 2)))", WORD)
        + "(br_if $m (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $x))))",
        (1, 3, 16),
        (0x10000, 0xFFFFFFFF),
    ),
    **_addressed(32),
    **_addressed(64),
}


def text(memory: str, names: Sequence[str]) -> str:
    """A module of these places, with memories of one kind of addresses."""
    kind = f"i{memory}"

    def loop(place: Place) -> str:
        wide = f"(local.set $x (i32.wrap_i64 (local.tee $y (i64.load ({kind}.const {PLACE})))))"
        # What is before the number forbids that it is loaded in front of the loop.
        return f"""(local $x i32) (local $y i64) (local $i i32) (local $before i32) (loop $again
          (drop (i32.atomic.load ({kind}.const {QUIET})))
          {wide if "$y" in place.use else f"(local.set $x (i32.load ({kind}.const {PLACE})))"}
          (global.set $left (i32.sub (global.get $left) (i32.const 1)))
          (global.set $seen (i32.add (global.get $seen) (i32.ne (local.get $x) (local.get $before))))
          (local.set $before (local.get $x))
          {place.use}
          (br_if $again (global.get $left)))"""

    places = {name: PLACES[name] for name in names if (PLACES[name].memory or "32") == memory}
    functions = "\n".join(f'(func (export "{name}") {loop(place)})' for name, place in places.items())
    return f"""(module (import "" "m" (memory {"i64" if memory == "64" else ""} 1 1 shared))
      (type $t (func (result i32)))
      (table $fixed 4 4 funcref) (table $grows 4 400 funcref) (table $set 4 4 funcref)
      (elem (table $fixed) (i32.const 0) func $f $f $f $f) (elem (table $grows) (i32.const 0) func $f $f $f $f)
      (elem $e func $f $f $f $f) (data $d "{8 * BYTE}")
      (global $left (export "left") (mut i32) (i32.const 0)) (global $found (export "found") (mut i32) (i32.const 0))
      (global $seen (export "changes") (mut i32) (i32.const 0))
      (func $f (type $t) (i32.const 7))
      (func $tail (param i32) (result i32) (return_call_indirect $fixed (type $t) (local.get 0)))
      {functions}
      (func (export "change") (param $count i32) (local $i i32) (local $written i64)
        (i32.atomic.store ({kind}.const {BEGUN}) (i32.const 1))
        (loop $again
          (i64.store ({kind}.const {PLACE}) (i64.load offset={NUMBERS} {_index(kind)}))
          (local.set $written (i64.add (local.get $written) (i64.const 1)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (if (i32.eq (local.get $i) (local.get $count)) (then (local.set $i (i32.const 0))))
          (br_if $again (i32.eqz (i32.atomic.load ({kind}.const {ENDED})))))
        (i64.atomic.store ({kind}.const {WRITTEN}) (local.get $written))))"""


def _index(kind: str) -> str:
    index = "(i32.shl (local.get $i) (i32.const 3))"
    return index if kind == "i32" else f"(i64.extend_i32_u {index})"


class World:
    """An engine, and the modules of both kinds of memories."""

    def __init__(self, tier: str, policy: str, names: Sequence[str] = tuple(PLACES)) -> None:
        config = Config(tier="auto" if tier in ("words", "stencils") else tier, **POLICIES[policy])
        config.shared_memory, config.cache = True, False
        self.engine = Engine(config)
        self.modules = {memory: Module(self.engine, text(memory, names)) for memory in ("32", "64")}

    def play(self, name: str, rounds: int) -> Counter[str]:
        """So many uses of a place while the number changes; how they ended. Raises for what must not happen."""
        place = PLACES[name]
        module = self.modules[place.memory or "32"]
        memory = SharedMemory(self.engine, MemoryType(Limits(1, 1), shared=True, is_64=place.memory == "64"))
        view = memory.view()
        view[DATA - 64 :] = bytes([PATTERN]) * (65536 - DATA + 64)
        numbers = list(itertools.chain.from_iterable(zip(itertools.cycle(place.good), place.bad, place.good * 4)))
        for position, number in enumerate(numbers):
            memory.store(NUMBERS + 8 * position, number, "u64")
        memory.store(PLACE, place.good[0], "u64")
        changer = threading.Thread(target=self.change, args=(module, memory, len(numbers)))
        changer.start()
        try:
            while not memory.load(BEGUN):
                time.sleep(0.0005)
            ends = self.use(module, memory, name, rounds)
        finally:
            memory.store(ENDED, 1)
            changer.join()
        ends["written"] = memory.load(WRITTEN, "u64")
        return ends

    def change(self, module: Module, memory: SharedMemory, count: int) -> None:
        store = Store(self.engine)
        Instance(store, module, [memory]).exports(store)["change"](store, count)

    def use(self, module: Module, memory: SharedMemory, name: str, rounds: int) -> Counter[str]:
        store = Store(self.engine)
        exports = Instance(store, module, [memory]).exports(store)
        use, left = exports[name], exports["left"]
        left.set_value(store, rounds)
        ends: Counter[str] = Counter()
        while left.value(store):
            try:
                use(store)
            except Trap as trap:
                if trap.trap_code not in TRAPS:
                    raise
                ends[trap.trap_code.name] += 1
        for name in ("found", "changes"):
            ends[name] = exports[name].value(store)
        ends["rounds"] = rounds
        return ends


def force(tier: str) -> None:
    """Has modules stay in the first tier, if that is meant."""
    if tier in ("words", "stencils"):
        thresholds.STENCILS = tier == "stencils"
        thresholds.INTERPRETER_BUDGET = 2**30


def child(tier: str, policy: str, names: Sequence[str], rounds: int) -> None:
    """All places in one tier; a line of JSON for each."""
    force(tier)
    world = World(tier, policy, names)
    for name in names:
        print(json.dumps({"place": name}), flush=True)
        began = time.monotonic()
        ends = world.play(name, rounds)
        print(json.dumps({"place": name, "ends": ends, "seconds": time.monotonic() - began}), flush=True)


def main() -> int:
    """Prints a line for each tier and policy, and whatever was odd."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10**7)
    parser.add_argument("--tiers", default=",".join(TIERS))
    parser.add_argument("--policies", default=",".join(POLICIES).replace("exact, checked", "exact+checked"))
    parser.add_argument("--places", default=",".join(name.replace(",", ";") for name in PLACES))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = [name.replace(";", ",") for name in options.places.split(",")]
    tiers = options.tiers.split(",")
    policies = [name.replace("+", ", ") for name in options.policies.split(",")]
    if options.child:
        child(tiers[0], policies[0], names, options.rounds)
        return 0
    cells = [(tier, policy) for tier in tiers for policy in policies]
    each = -(-options.rounds // (len(cells) * len(names)))
    odd, total, found = 0, Counter[str](), Counter[str]()
    for tier, policy in cells:
        command = [sys.executable, "-m", "tests.threads.hostile", "--child", "--tiers", tier, "--rounds", str(each)]
        command += ["--policies", policy.replace(", ", "+"), "--places", options.places]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        ends = sum((Counter(line["ends"]) for line in lines if "ends" in line), Counter())
        found += Counter({line["place"]: line["ends"].get("found", 0) for line in lines if "ends" in line})
        seconds = sum(line.get("seconds", 0) for line in lines)
        total += ends
        print(f"{tier}, {policy}: {seconds:.0f} s, {dict(ends)}", flush=True)
        if done.returncode:
            odd += 1
            print(f"  ODD: {lines[-1] if lines else None}: exit code {done.returncode}\n{done.stderr}", flush=True)
    print(f"all: {dict(total)}; second fetches that differed in `control`: {found['control']} of {each * len(cells)}")
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
