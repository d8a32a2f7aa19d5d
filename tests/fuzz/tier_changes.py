"""Changes of tier in real time: threads run long programs of tier "auto" from shared modules, which get hot meanwhile.

    nice -n 10 python -m tests.fuzz.tier_changes --seconds 600 [--seed 1]

Programs are nests of loops (`Program`), each of which runs for some tenths of a second, so that its activation watches
loops, awaits one and goes on in other code, with the waiting that there is outside of tests; in some rounds thresholds
are extreme. Results, traps with their frames, memory, globals and fuel must be those of tier "optimized", and those of
the wasmtime package as far as it tells. Prints what differs with the seed of its round (`--rounds 1 --seed N` runs that
one again); exit code 1 if anything did, or if few modules had an activation that went over.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import random
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import wasmtime

import wasmjit
from wasmjit import abi, thresholds, wat2wasm
from wasmjit.tiers.lazy import LazyCode

THREADS = 4
PROGRAMS = 4  # of a round
RUN_SECONDS = 0.2  # of a call, at least, in optimised code
HANG_SECONDS = 300
MUCH_FUEL = 1 << 50

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "fuel": {"consume_fuel": True},
    "epoch": {"epoch_interruption": True},
    "explicit": {"signals_based_traps": False},
    "exact": {"exact_traps": True},
}
EXTREMES: dict[str, dict[str, Any]] = {
    "ordinary": {},
    "small budget": {"INTERPRETER_BUDGET": 20},
    "nothing watched": {"WATCHES_LOOPS": False},
    "no patience": {"LOOP_PATIENCE_SECONDS_A_BYTE": 0.0},
    "few calls": {"FEW_CALLS": 1 << 30},
    "interpreter": {"STENCILS": False},
    "all": {
        "INTERPRETER_BUDGET": 3,
        "LOOP_PATIENCE_SECONDS_A_BYTE": 0.0,
        "FEW_CALLS": 1 << 30,
        "IGNORED_QUESTIONS": 0,
        "PATIENCE_ALONE_SECONDS": 0.0,
        "MOST_AWAITED": 1,
    },
    "waits long": {"MOST_AWAITED": 1000, "INTERPRETER_BUDGET": 100},
}

# ---- programs ----

HEAD = """(module
  (import "" "host" (func $host (param i32) (result i32)))
  (memory (export "memory") 1 40)
  (global $g (export "g") (mut i64) (i64.const 1))
  (global $h (export "h") (mut f64) (f64.const 0.5))
  (table funcref (elem $leaf $mix $spin $leaf))
  (func $leaf (param i32) (result i32)
    (i32.xor (i32.mul (local.get 0) (i32.const 0x9e3779b1)) (i32.shr_u (local.get 0) (i32.const 7))))
  (func $mix (param i32) (result i32)
    (i32.store8 (i32.and (local.get 0) (i32.const 0xffff)) (local.get 0))
    (i32.rotl (local.get 0) (i32.const 5)))
  (func $spin (param i32) (result i32) (local i32)
    (loop $spinning
      (local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 5)) (local.get 1)))
      (br_if $spinning (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 7))))
    (local.get 0))
  (func $both (param i32 i64) (result i64 i32)
    (i64.add (local.get 1) (i64.extend_i32_u (local.get 0)))
    (i32.wrap_i64 (i64.shr_u (local.get 1) (i64.const 9))))
  (func $down (param $deep i32) (param $x i32) (result i32) (local $k i32)
    (if (i32.eqz (local.get $deep)) (then (return (call $leaf (local.get $x)))))
    (loop $twice
      (local.set $x (call $down (i32.sub (local.get $deep) (i32.const 1)) (i32.add (local.get $x) (local.get $k))))
      (br_if $twice (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 2))))
    (local.get $x))
  (func $fail (param i32) (drop (i32.div_s (local.get 0) (i32.sub (local.get 0) (local.get 0)))))
"""

LOCALS = (
    "(local $a i64) (local $x i32) (local $f f32) (local $d f64) (local $kept externref) (local $null externref) "
    "(local $t i32) (local $s i32)"
)

# What happens in the middle, by `$how`; a `br_table` leads there.
MIDDLE = """
  (if (i32.eq (local.get $t) (local.get $stop)) (then
    (block $three (block $two (block $one (block $zero
      (br_table $zero $one $two $three $three (local.get $how)))
      (return (local.get $a) (local.get $x) (local.get $f) (local.get $d) (local.get $kept)))
      unreachable)
      (call $fail (local.get $x)))
    (drop (i64.load offset=0xfffffff0 (local.get $t)))))"""
HOWS = 4


class Program:
    """A nest of loops, of which one runs `$n` times."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.count = 0
        source = self.source
        self.depth = source.randint(2, 6)
        long_one = source.randrange(self.depth)
        self.turns = [self._turns(level, long_one) for level in range(self.depth)]
        self.counters = [f"$i{level}" for level in range(self.depth)]
        self.has_floats = source.random() < 0.6
        middle = source.randrange(self.depth) if source.random() < 0.5 else self.depth - 1
        body = self._nest(0, middle)
        locals_ = " ".join(f"(local {name} i32)" for name in self.counters)
        self.text = (
            f'{HEAD}  (func $run (export "run") (param $n i32) (param $stop i32) (param $how i32) (param $r externref)'
            f" (result i64 i32 f32 f64 externref)\n  {LOCALS} {locals_}\n"
            "  (local.set $kept (local.get $r)) (local.set $a (global.get $g)) (local.set $f (f32.const 1.5))\n"
            f"{body}\n"
            "  (global.set $g (local.get $a)) (global.set $h (local.get $d))\n"
            "  (local.get $a) (i32.xor (local.get $x) (local.get $t)) (local.get $f) (local.get $d)"
            " (select (result externref) (local.get $kept) (local.get $null) (i32.and (local.get $t) (i32.const 1)))))"
        )
        self.wasm = wat2wasm(self.text)

    def _turns(self, level: int, long_one: int) -> str:
        if level == long_one:
            return "(local.get $n)"
        if level < long_one:  # around it: they hardly recur, or not at all
            return f"(i32.const {self.source.choice((1, 1, 1, 2, 3))})"
        rest = self.depth - long_one - 1
        # The second: a loop that ends while it is watched or awaited.
        counts = (3, 9, 60) if rest > 1 else (5, 100, 4000, 70_000)
        return f"(i32.const {self.source.choice(counts)})"

    def _label(self) -> str:
        self.count += 1
        return f"$l{self.count}"

    def _nest(self, level: int, middle: int) -> str:
        """The loop at a level, and all in it."""
        source = self.source
        inner = self._nest(level + 1, middle) if level + 1 < self.depth else ""
        label, counter = self._label(), self.counters[level]
        parts = [self._step() for _ in range(source.randint(0 if inner else 1, 2))]
        parts.append(inner)
        if not inner:
            parts.append("(local.set $t (i32.add (local.get $t) (i32.const 1)))")
        parts += [self._step() for _ in range(source.randint(0, 2))]
        if level == middle:
            parts.append(MIDDLE)
        next_ = f"(local.tee {counter} (i32.add (local.get {counter}) (i32.const 1)))"
        goes_on = f"(i32.lt_u {next_} {self.turns[level]})"
        body = "\n".join(parts)
        begin = f"(local.set {counter} (i32.const 0))"
        shape = source.randrange(16)
        if shape == 0:  # an operand beneath
            loop = f"(loop {label} {body} (br_if {label} {goes_on}))"
            return f"{begin} (local.get $x) {loop} (local.set $x (i32.add (local.get $x)))"
        if shape == 1:  # a parameter
            kept = "(local.set $s (i32.add (local.get $s)))"
            loop = f"(loop {label} (param i32) {kept} {body} (local.get $s) (br_if {label} {goes_on}) (drop))"
            return f"{begin} (local.get $x) {loop}"
        if shape in (2, 3, 4):  # looks before
            out = self._label()
            last = f"(br_if {out} (i32.ge_u (local.get {counter}) {self.turns[level]}))"
            step = f"(local.set {counter} (i32.add (local.get {counter}) (i32.const 1)))"
            return f"{begin} (block {out} (loop {label} {last} {step} {body} (br {label})))"
        if shape in (5, 6):  # two ways back
            early = (
                f"(if (i32.eq (i32.and (local.get $x) (i32.const 3)) (i32.const 2)) (then (br_if {label} {goes_on})))"
            )
            return f"{begin} (loop {label} {body} {early} (br_if {label} {goes_on}))"
        return f"{begin} (loop {label} {body} (br_if {label} {goes_on}))"

    def _step(self) -> str:
        source = self.source
        steps = [self._integers, self._integers, self._memory, self._inner, self._table, self._call, self._rare]
        if self.has_floats:
            steps.append(self._floats)
        return source.choice(steps)()

    def _integers(self) -> str:
        number = self.source.randrange(1, 1 << 20) | 1
        return (
            f"(local.set $a (i64.add (i64.mul (local.get $a) (i64.const {number})) (i64.extend_i32_s (local.get $x))))"
            f"(local.set $x (i32.add (local.get {self.source.choice(self.counters)})"
            " (i32.wrap_i64 (i64.shr_u (local.get $a) (i64.const 11)))))"
        )

    def _floats(self) -> str:
        return (
            "(local.set $f (f32.add (f32.mul (local.get $f) (f32.const 0.5)) (f32.convert_i32_s (local.get $x))))"
            "(local.set $d (f64.add (f64.mul (local.get $d) (f64.const 0.25))"
            " (f64.sqrt (f64.convert_i32_u (local.get $t)))))"
        )

    def _memory(self) -> str:
        address = "(i32.and (local.get $x) (i32.const 0xfff8))"
        if self.source.random() < 0.5:
            return f"(i64.store {address} (i64.xor (local.get $a) (i64.load {address})))"
        return f"(local.set $x (i32.add (local.get $x) (i32.load16_u offset=3 {address})))"

    def _inner(self) -> str:
        """A short loop beside the others."""
        label = self._label()
        turns = self.source.choice((2, 5, 17))
        return (
            f"(local.set $s (i32.const 0)) (if (i32.and (local.get $x) (i32.const 1)) (then (loop {label}"
            " (local.set $a (i64.rotl (i64.xor (local.get $a) (i64.extend_i32_u (local.get $s))) (i64.const 3)))"
            f" (br_if {label} (i32.lt_u (local.tee $s (i32.add (local.get $s) (i32.const 1))) (i32.const {turns}))))))"
        )

    def _table(self) -> str:
        one, two, out = self._label(), self._label(), self._label()
        return (
            f"(block {out} (block {two} (block {one}"
            f" (br_table {one} {two} {out} (i32.and (local.get $x) (i32.const 3))))"
            f" (local.set $x (i32.add (local.get $x) (i32.const 77))) (br {out}))"
            " (local.set $a (i64.sub (local.get $a) (i64.extend_i32_s (local.get $x)))))"
        )

    def _call(self) -> str:
        return self.source.choice(
            (
                "(local.set $x (call $leaf (local.get $x)))",
                "(local.set $x (call $spin (local.get $x)))",
                "(call $both (local.get $x) (local.get $a)) (local.set $x) (local.set $a)",
                "(local.set $x (call_indirect (param i32) (result i32) (local.get $x)"
                " (i32.and (local.get $t) (i32.const 3))))",
                "(local.set $x (call $down (i32.const 3) (local.get $x)))",
            )
        )

    def _rare(self) -> str:
        mask = (1 << self.source.randint(14, 19)) - 1
        what = self.source.choice(
            (
                "(local.set $x (call $host (local.get $x)))",
                "(local.set $x (i32.add (local.get $x) (memory.grow (i32.const 1))))",
                "(global.set $g (i64.add (global.get $g) (local.get $a)))",
            )
        )
        return f"(if (i32.eqz (i32.and (local.get $t) (i32.const {mask}))) (then {what}))"


# ---- running them ----


class Call(NamedTuple):
    """Arguments of `run`."""

    turns: int
    stop: int
    how: int


class Outcome(NamedTuple):
    """All that can be seen of a call. What is not promised is None."""

    results: tuple[Any, ...] | None
    trap: tuple[str, tuple[tuple[int, int], ...]] | None
    memory: tuple[int, bytes] | None
    globals: tuple[Any, ...] | None
    fuel: int | None


class Reentrant:
    """An instance whose host function calls it again."""

    store: Any
    exports: Any
    depth = 0

    def _host(self, x: int) -> int:
        """Calls the function that is in the middle of its loops."""
        if self.depth:
            return x ^ 5
        self.depth += 1
        try:
            return int(self.exports["run"](self.store, 1, -1, 0, None)[1])
        finally:
            self.depth -= 1


class Ours(Reentrant):
    """An instance of a module."""

    def __init__(self, module: wasmjit.Module, options: dict[str, Any]) -> None:
        engine = module.engine
        self.is_exact = bool(options.get("exact_traps"))
        self.counts_fuel = bool(options.get("consume_fuel"))
        self.store = store = wasmjit.Store(engine)
        if options.get("epoch_interruption"):
            store.set_epoch_deadline(1 << 40)
        host = wasmjit.Func(store, wasmjit.FuncType([wasmjit.ValType.i32()], [wasmjit.ValType.i32()]), self._host)
        if self.counts_fuel:
            store.set_fuel(MUCH_FUEL)
        self.exports = wasmjit.Instance(store, module, [host]).exports(store)

    def call(self, call: Call) -> Outcome:
        """What comes of it."""
        store, exports = self.store, self.exports
        if self.counts_fuel:
            store.set_fuel(MUCH_FUEL)
        results = trap = None
        try:
            results = tuple(exports["run"](store, *call, "kept"))
        except wasmjit.Trap as error:
            trap = error.trap_code.name, tuple((frame.func_index, frame.module_offset) for frame in error.frames)
        if trap is not None and not self.is_exact:
            return Outcome(None, trap, None, None, None)
        memory = exports["memory"]
        digest = hashlib.blake2b(memory.view(store)).digest()
        values = tuple(exports[name].value(store) for name in "gh")
        fuel = MUCH_FUEL - store.get_fuel() if self.counts_fuel and trap is None else None
        return Outcome(results, trap, (memory.size(store), digest), values, fuel)


class Theirs(Reentrant):
    """An instance under the wasmtime package."""

    engine: wasmtime.Engine | None = None  # made when needed: its handlers of signals come after faulthandler's

    def __init__(self, wasm: bytes) -> None:
        Theirs.engine = Theirs.engine or wasmtime.Engine()
        self.store = wasmtime.Store(self.engine)
        kind = wasmtime.FuncType([wasmtime.ValType.i32()], [wasmtime.ValType.i32()])
        host = wasmtime.Func(self.store, kind, self._host)
        self.exports = wasmtime.Instance(self.store, wasmtime.Module(self.engine, wasm), [host]).exports(self.store)

    def call(self, call: Call) -> Outcome:
        """What comes of it; of a trap, nothing but that."""
        try:
            results = tuple(self.exports["run"](self.store, *call, "kept"))
        except wasmtime.Trap:
            return Outcome(None, ("", ()), None, None, None)
        memory = self.exports["memory"]
        digest = hashlib.blake2b(memory.read(self.store)).digest()
        values = tuple(self.exports[name].value(self.store) for name in "gh")
        return Outcome(results, None, (memory.size(self.store), digest), values, None)


class Case(NamedTuple):
    """A program, what it is called with one time after the other, and what comes of that."""

    program: Program
    calls: list[Call]
    expected: list[Outcome]


def prepare(seed: int, options: dict[str, Any]) -> tuple[Case, str]:
    """A program and what is expected; and how the two that are to tell differ, if they do."""
    program = Program(seed)
    source = random.Random(seed + 1)
    engine = wasmjit.Engine(wasmjit.Config(tier="optimized", cache=False, **options))
    with wasmjit.Module(engine, program.wasm) as module:
        turns, ended = 1, 0.0
        while True:
            trial = Ours(module, options)
            began = time.thread_time()
            outcome = trial.call(Call(turns, -1, 0))
            ended = time.thread_time() - began
            trial.store.close()
            if ended >= RUN_SECONDS or turns >= 1 << 28:
                break
            turns *= 2 if ended > RUN_SECONDS / 8 else 8
        assert outcome.results is not None
        calls = [Call(turns, -1, 0)]
        stops = _iterations(program, turns)
        stopped = Call(turns, source.randint(stops // 3, max(stops, 1)), source.randrange(HOWS))
        calls.insert(source.randrange(2), stopped)
        ours = Ours(module, options)
        expected = [ours.call(call) for call in calls]
        ours.store.close()
    theirs = Theirs(program.wasm)
    wrong = ""
    for call, mine in zip(calls, expected, strict=True):
        other = theirs.call(call)
        if (mine.trap is None) != (other.trap is None) or (mine.trap is None and mine[:4] != other[:4]):
            wrong = f"{call}: optimised {mine}, wasmtime {other}"
        if mine.trap is not None:
            break  # what memory is behind it is not promised
    theirs.store.close()
    return Case(program, calls, expected), wrong


def _iterations(program: Program, turns: int) -> int:
    """How often the innermost loop begins, about."""
    count = 1
    for one in program.turns:
        count *= turns if "$n" in one else int(one.split()[1].rstrip(")"))
    return min(count, (1 << 31) - 1)


class Handed:
    """Counts the activations that are given code to go on in."""

    def __init__(self) -> None:
        self.count = 0
        self.watches = 0
        self.awaits = 0
        self.codes: set[LazyCode] = set()  # whose activations they were

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """In which `LazyCode.hot` is looked at."""
        hot = LazyCode.hot

        def counted(code: LazyCode, position: int, loop_offset: int, asked_by: int = 0) -> int:
            answer = hot(code, position, loop_offset, asked_by)
            if answer > abi.ANSWER_WATCH and not answer & abi.ANSWER_AWAIT:
                self.count += 1
                self.codes.add(code)
            self.watches += answer == abi.ANSWER_WATCH
            self.awaits += bool(answer & abi.ANSWER_AWAIT)
            return answer

        LazyCode.hot = counted  # type: ignore[method-assign]
        try:
            yield
        finally:
            LazyCode.hot = hot  # type: ignore[method-assign]


@contextlib.contextmanager
def turned(changes: dict[str, Any]) -> Iterator[None]:
    """With other thresholds."""
    before = {name: getattr(thresholds, name) for name in changes}
    try:
        for name, value in changes.items():
            setattr(thresholds, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(thresholds, name, value)


class Round:
    """Some programs, run by some threads in one configuration."""

    def __init__(self, seed: int, handed: Handed, configuration: str = "", extreme: str = "") -> None:
        source = random.Random(seed)
        self.seed = seed
        self.handed = handed
        self.configuration = configuration or source.choice(["default", *CONFIGURATIONS])
        self.extreme = extreme or (source.choice(list(EXTREMES)) if source.random() < 0.5 else "ordinary")
        self.options = CONFIGURATIONS[self.configuration]
        self.executions = 0
        self.modules = 0
        self.changed = 0  # modules in which there is better code of `run` than at first
        self.left = 0  # modules of which an activation went over in the middle
        self.odd: list[str] = []

    def run(self, programs: int = PROGRAMS, threads: int = THREADS) -> None:
        """Fills the counts, and `odd`."""
        cases = []
        for number in range(programs):
            case, wrong = prepare(self.seed * 1000 + number, self.options)
            if wrong:
                self.odd.append(f"program {number}: {wrong}")
            cases.append(case)
        with turned(EXTREMES[self.extreme]):
            engine = wasmjit.Engine(wasmjit.Config(tier="auto", cache=False, **self.options))
            modules = [wasmjit.Module(engine, case.program.wasm) for case in cases]
            workers = [threading.Thread(target=self._work, args=(n, cases, modules)) for n in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            self.modules += len(modules)
            self.left += len(self.handed.codes)
            self.handed.codes.clear()
            for module in modules:
                run = module.tier_report()[-1]
                self.changed += run.tier in ("baseline", "optimized") or bool(run.loops)
                module.close()

    def _work(self, thread: int, cases: list[Case], modules: list[wasmjit.Module]) -> None:
        source = random.Random(self.seed * 100 + thread)
        order = list(range(len(cases)))
        if self.seed % 2:  # else they are in the same loop at the same time
            source.shuffle(order)
        for number in order:
            case = cases[number]
            try:
                subject = Ours(modules[number], self.options)
                for call, expected in zip(case.calls, case.expected, strict=True):
                    found = subject.call(call)
                    self.executions += 1
                    if found != expected:
                        self.odd.append(f"program {number}, {call}: expected {expected}, got {found}")
                        break
                subject.store.close()
            except BaseException as error:
                self.odd.append(f"program {number}: {type(error).__name__}: {error}")


def main() -> int:
    """Runs rounds until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rounds", type=int, default=1 << 30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--configuration", choices=CONFIGURATIONS, default="")
    parser.add_argument("--extreme", choices=EXTREMES, default="")
    arguments = parser.parse_args()
    faulthandler.enable()
    thresholds.BESIDE_NICENESS = 0  # where this process gives way to others, its compilers are not to be done too late
    handed = Handed()
    executions = modules = changed = left = disagreements = 0
    end = time.monotonic() + arguments.seconds
    with handed.counting():
        for seed in range(arguments.seed, arguments.seed + arguments.rounds):
            if time.monotonic() >= end:
                break
            one = Round(seed, handed, arguments.configuration, arguments.extreme)
            print(f"round {seed}: {one.configuration}, {one.extreme}", end="", flush=True)
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            one.run()
            faulthandler.cancel_dump_traceback_later()
            executions += one.executions
            modules += one.modules
            changed += one.changed
            left += one.left
            disagreements += len(one.odd)
            print(
                f": {one.executions} executions, {one.changed} of {one.modules} modules changed, "
                f"{one.left} in the middle",
                flush=True,
            )
            for line in one.odd:
                print("   ", line, flush=True)
    print(
        f"{executions} executions, {changed} of {modules} modules changed, {left} in the middle: {handed.count} "
        f"activations went over, {handed.watches} watched, {handed.awaits} awaited; {disagreements} disagreements"
    )
    return int(disagreements > 0 or left * 2 < modules)


if __name__ == "__main__":
    sys.exit(main())
