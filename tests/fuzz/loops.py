"""Random loops over linear memory, run by wasmjit and by the wasmtime package: results, traps and all of memory agree.

    python -m tests.fuzz.loops [--count FUNCTIONS] [--seconds S] [--seed S] [--tiers speed,hot,...] [--cpu A,B]
        [--calls N] [--out DIRECTORY] [--reduce-seconds S] [--most-saved N]
        [--do-not-save KINDS] [--triple TRIPLE] [--show SEED] [--record FILE | --recorded FILE]

A module has 50 functions; each is called with 40 sets of arguments, and memory is set anew before each call. `--tiers`
names configurations of `loops_run.CONFIGURATIONS` (`all` is all); `--cpu` those of LLVM's processors that optimised
code is made for, and run: all have to run here. With `--triple` modules are compiled for another machine, and not run.
A disagreement is saved, as text, as it was made and reduced (`reduce.py`), with what was expected; its head says how
to get it again. `--show 7:12` prints function 12 of module 7. `--record` writes what wasmtime does, and `--recorded`
compares with that, under emulation (`loops_recorded.py`), with the same seed and number of calls. The exit code is 1 if
there was a disagreement.

What is made (`loops_make.py`): nests of one to three loops; counters of both integer types, also narrow ones (8 and 16
bits, extended or masked), that go up, down, in strides, from and to places where they wrap; loops whose test comes
first, last, last behind a guard, or which count down beside the index; pointers that go along; bodies repeated 2, 4 and
8 times. Indices are affine in one or two counters and parameters, masked, modulo constants and parameters, divided,
sign-extended, indirect, and counted around a circle by themselves. Statements store, in all widths, what is computed of
loads in all widths; read, change and write back; accumulate in integers and floats; branch, leave loops and go on with
the next iteration by conditions on what was loaded; carry values to the next iteration; rarely fill, copy, or count in
globals. Bases are parameters, which overlap, lie at either end of memory, or behind it; or constants.

What is not made: calls, tables, growth of memory, several memories, vectors (`v128`), exceptions, br_table, atomics;
block parameters and results; values on the operand stack across loops; irreducible flow can not be. A NaN's bits never
show. Loops of more than some 50,000 iterations are not compared (`loops_run.FUEL`).
"""

from __future__ import annotations

import argparse
import functools
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import wasmtime

import wasmjit
from tests.processors import runnable

from . import loops_recorded, loops_run
from .loops_make import Arguments, make_arguments, make_function, make_image
from .loops_run import CONFIGURATIONS, NOT_OPTIMISED, Batch, Configuration, Disagreement, Reference, Subject, Theirs
from .loops_tree import PARAMS, Function, MemoryShape, binary, const, size, text
from .reduce import reduce

FUNCTIONS = 50
CALLS = 40
OUT = Path("build/loops")
IMAGES = 8
EMULATED_HANG_SECONDS = 300  # there calls wait for LLVM, which takes long


class Made(NamedTuple):
    """A module's worth of functions."""

    subjects: list[Subject]
    memory: MemoryShape


_images: dict[tuple[int, int, str], bytes] = {}


def _image(number: int, memory: MemoryShape, tame: str) -> bytes:
    key = (number, memory.pages, tame)
    if key not in _images:
        _images[key] = make_image(random.Random(f"image:{number}"), memory, tame)
    return _images[key]


def make(seed: int, calls: int = CALLS, functions: int = FUNCTIONS) -> Made:
    """The module of a seed. Its functions depend on the seed alone, their calls' first ones too."""
    source = random.Random(f"module:{seed}")
    memory = MemoryShape(source.choice((1, 1, 2)), source.random() < 0.2)
    subjects = []
    for number in range(functions):
        source = random.Random(f"function:{seed}:{number}")
        function, style = make_function(source, memory)
        arguments = [make_arguments(source, memory, style) for _ in range(calls)]
        subjects.append(Subject(function, arguments, _image(seed % IMAGES, memory, style.tame), style.tame))
    return Made(subjects, memory)


def configurations(tiers: Sequence[str], cpus: Sequence[str]) -> list[Configuration]:
    """One of each tier, of optimised ones one for each CPU."""
    made = []
    for tier in tiers:
        made += [Configuration(tier, cpu) for cpu in ([""] if tier in NOT_OPTIMISED or not cpus else cpus)]
    return made


class Finding(NamedTuple):
    """A disagreement, as made and as reduced."""

    name: str
    kind: str
    lines: int
    head: str
    reduced: str
    whole: str


def kind_of(found: Disagreement) -> str:
    """What sort of fault it is."""
    if found.expected == "to be compiled":
        return "refused"
    if found.got == "INTERRUPT":
        return "endless"
    if found.expected.isupper():
        return "lost-trap"
    return "false-trap" if found.got.isupper() else "wrong"


def investigate(found: Disagreement, made: Made, seed: int, configuration: Configuration, seconds: float) -> Finding:
    """Reduces a disagreement."""
    subject = made.subjects[found.subject]
    kind = kind_of(found)
    last = found

    def is_faulty(function: Function, arguments: Arguments) -> bool:
        nonlocal last
        trial = subject._replace(function=function, calls=[arguments])
        try:
            batch = Batch([trial], made.memory, [configuration])
        except (ValueError, wasmtime.WasmtimeError):  # a branch to a block that is gone, or a value of another type
            return False
        except wasmjit.WasmError as error:
            last = found._replace(got=str(error))
            return kind == "refused"
        try:
            seen = next(batch.disagreements(), None)
        finally:
            batch.close()
        if seen is None or kind_of(seen) != kind or kind == "refused":
            return False
        last = seen
        return True

    function, arguments = subject.function, subject.calls[found.call]
    if is_faulty(function, arguments) and seconds:
        function, arguments = reduce(function, arguments, is_faulty, seconds)
        is_faulty(function, arguments)
    call = ", ".join(f"{name}={value}" for name, value in zip(PARAMS, arguments, strict=True))
    head = (
        f";; {kind}: python -m tests.fuzz.loops --seed {seed} --count {FUNCTIONS} --tiers {configuration.kind}"
        f"{' --cpu ' + configuration.cpu if configuration.cpu else ''}   (function {found.subject})\n"
        f";; call: f0({call}), memory: image {seed % IMAGES} of loops.py{' ' + subject.tame if subject.tame else ''}\n"
        f";; expected (wasmtime): {last.expected}\n;; got (wasmjit, {configuration.name}): {last.got}\n"
    )
    reduced = text(function, made.memory)
    name = f"{kind}-{configuration.name.replace(' ', '-')}-{seed}-{found.subject}"
    return Finding(name, kind, reduced.count("\n"), head, reduced, text(subject.function, made.memory))


class Session:
    """A run over many modules: counts, and what was found."""

    def __init__(self, chosen: Sequence[Configuration], out: Path, reduce_seconds: float, most_saved: int) -> None:
        self.chosen = chosen
        self.out = out
        self.reduce_seconds = reduce_seconds
        self.most_saved = most_saved
        self.functions = self.instructions = self.executions = self.traps = self.skipped = 0
        self.found: dict[str, int] = {}
        self.faulty_functions = 0
        self.distinct: set[str] = set()
        self.saved: dict[str, int] = {}
        self.unsaved: tuple[str, ...] = ()
        self.recordings: dict[int, loops_recorded.Recording] | None = None

    def run(self, seed: int, calls: int) -> None:
        """Makes and compares the module of a seed."""
        made = make(seed, calls)
        theirs: Callable[[bytes, MemoryShape], Reference] = Theirs
        if self.recordings is not None:
            theirs = functools.partial(loops_recorded.Replay, self.recordings[seed])
        try:
            batch = Batch(made.subjects, made.memory, self.chosen, theirs)
        except wasmjit.WasmError:
            made, refused = self._without_refused(made)
        else:
            refused = []
        if refused:
            batch = Batch(made.subjects, made.memory, self.chosen)
        disagreements = refused + list(batch.disagreements())
        batch.close()
        self.functions += len(made.subjects)
        self.instructions += sum(size(subject.function) for subject in made.subjects)
        self.executions += batch.counts.executions
        self.traps += batch.counts.traps
        self.skipped += batch.counts.skipped
        self.faulty_functions += len({d.subject for d in disagreements})
        seen: set[tuple[int, str]] = set()
        made = make(seed, calls)
        for found in disagreements:
            kind = kind_of(found)
            key = f"{kind} {found.configuration}"
            self.found[key] = self.found.get(key, 0) + 1
            # The same function is wrong on several processors, as a rule.
            if (found.subject, kind) in seen:
                continue
            seen.add((found.subject, kind))
            self._save(found, made, seed)

    def _without_refused(self, made: Made) -> tuple[Made, list[Disagreement]]:
        """With empty functions for those that a configuration does not compile, and what it says of them."""
        refused = []
        subjects = list(made.subjects)
        for number, subject in enumerate(made.subjects):
            for configuration in self.chosen:
                try:
                    Batch([subject], made.memory, [configuration]).close()
                except wasmjit.WasmError as error:
                    refused.append(Disagreement(number, 0, configuration.name, "to be compiled", str(error)))
                    subjects[number] = subject._replace(function=Function({}, (), const("i64", 0)))
        return Made(subjects, made.memory), refused

    def _save(self, found: Disagreement, made: Made, seed: int) -> None:
        kind = kind_of(found)
        print(f"{kind} {seed}:{found.subject} {found.configuration}: {found.expected}, got {found.got}", flush=True)
        if kind in self.unsaved or self.saved.get(kind, 0) >= self.most_saved:
            return
        configuration = next(c for c in self.chosen if c.name == found.configuration)
        finding = investigate(found, made, seed, configuration, self.reduce_seconds)
        if finding.reduced in self.distinct:
            return
        self.distinct.add(finding.reduced)
        self.saved[kind] = self.saved.get(kind, 0) + 1
        print(f"    {finding.name}: {finding.lines} lines", flush=True)
        (self.out / "whole").mkdir(parents=True, exist_ok=True)
        (self.out / f"{finding.name}.wat").write_text(finding.head + finding.reduced)
        (self.out / "whole" / f"{finding.name}.wat").write_text(finding.head + finding.whole)

    def summary(self) -> str:
        """In a line."""
        found = ", ".join(f"{count} {key}" for key, count in sorted(self.found.items())) or "none"
        rate = 1000 * self.faulty_functions / max(1, self.functions)
        return (
            f"{self.functions} functions ({self.instructions} instructions), {self.executions} executions"
            f" ({self.traps} that trap), {self.skipped} not compared; disagreements: {found};"
            f" in {self.faulty_functions} functions, {rate:.2f} of 1000"
        )


def compile_only(triple: str, seed: int, count: int, cpus: Sequence[str]) -> None:
    """Compiles for another machine; raises CompileError."""
    for cpu in cpus or [""]:
        config = wasmjit.Config(target=triple, verify_ir=True)
        if cpu:
            config.cpu = cpu
        engine = wasmjit.Engine(config)
        for number in range(seed, seed + count // FUNCTIONS):
            made = make(number, 0)
            wasmjit.Module(engine, binary([subject.function for subject in made.subjects], made.memory))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000, help="functions")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--tiers", default="speed")
    parser.add_argument("--cpu", default="")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--reduce-seconds", type=float, default=60.0)
    parser.add_argument("--most-saved", type=int, default=20, help="of each kind")
    parser.add_argument("--do-not-save", default="", help="kinds: lost-trap, wrong, false-trap, endless")
    parser.add_argument("--triple", default="")
    parser.add_argument("--show", default="")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--recorded", type=Path)
    options = parser.parse_args(arguments)
    cpus = [cpu for cpu in options.cpu.split(",") if cpu]
    if options.show:
        seed, _, number = options.show.partition(":")
        made = make(int(seed))
        print(text(made.subjects[int(number)].function, made.memory))
        return 0
    if options.triple:
        compile_only(options.triple, options.seed, options.count, cpus)
        return 0
    seeds = range(options.seed, options.seed + -(-options.count // FUNCTIONS))
    if options.record:
        loops_recorded.write(
            options.record, {seed: loops_recorded.record(*make(seed, options.calls)) for seed in seeds}
        )
        return 0
    tiers = list(CONFIGURATIONS) if options.tiers == "all" else options.tiers.split(",")
    if cpus and not (cpus := runnable(cpus)):
        return 0
    session = Session(configurations(tiers, cpus), options.out, options.reduce_seconds, options.most_saved)
    session.unsaved = tuple(options.do_not_save.split(","))
    if options.recorded:
        session.recordings = loops_recorded.read(options.recorded)
        loops_run.HANG_SECONDS = EMULATED_HANG_SECONDS
    started = reported = time.monotonic()
    for seed in seeds:
        if time.monotonic() - started > options.seconds:
            break
        session.run(seed, options.calls)
        if time.monotonic() - reported > 60:
            reported = time.monotonic()
            print(f"[{seed}] {session.summary()}", flush=True)
    print(session.summary())
    return 1 if session.found or not session.executions else 0


if __name__ == "__main__":
    sys.exit(main())
