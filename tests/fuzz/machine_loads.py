"""Loads that the code generator leaves out, found by reading: no call, and no address at the end of memory is needed.

    python -m tests.fuzz.machine_loads [--cpu CPU]... [--opt-level LEVEL] [--count N] [--seed S] [--plain] [MODULE...]

Compiles modules as wasmjit does, up to the text that goes to the code generator (`exact.finish`), has LLVM print what
it made of that as machine instructions, which say what they access, and compares. A load of linear memory in the text
must be found among them, with all its bytes; of two that are equal one is enough. Prints each that is not, with its
function and the wasm offset; exit code 1 if any. Modules are files, binary or text, and N of each generator of random
programs. With `--plain` loads are not volatile: what is found then is what would be lost.

What the optimiser leaves out before is not seen: `lost_traps` and `loops` look for that, by calling.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding as llvm

import wasmjit
from wasmjit.compile import llvm as compiler
from wasmjit.compile import pipeline, workers
from wasmjit.compile.lines import size_bytes
from wasmjit.wasm.decode import decode
from wasmjit.wasm.types import I64

from . import loops, lost_traps, vanishing

CPUS = ("x86-64-v2", "haswell", "skylake-avx512", "znver4")
GENERATORS = ("lost_traps", "vanishing", "loops")
LAST_PASS = "stack-frame-layout"
_DEFINE = re.compile(r"^define [^@]*@\"?([^\s\"(]+)\"?\(.*?^}", re.MULTILINE | re.DOTALL)
_LOAD = re.compile(
    r"^  (%\S+) = load (volatile )?(<[^>]*>|\w+), ptr (%[-\w.$]+), align 1\b(?:.*!dbg (![0-9]+))?", re.MULTILINE
)
_LOCATION = re.compile(r"^(!\d+) = !DILocation\(line: (\d+),", re.MULTILINE)
_BODY = re.compile(r"^name: +(\S+)$.*?^body: +\|$(.*?)^\.\.\.$", re.MULTILINE | re.DOTALL)
_DEFINED = re.compile(r"^  (%\S+) = (.*)$", re.MULTILINE)
_NAME = re.compile(r"%[-\w.$]+")
_FLAGS = re.compile(r" (?:nuw|nsw|nusw|nneg|exact|disjoint|inbounds|samesign)\b")
_DISTANCE = re.compile(r"getelementptr (?:[a-z]+ )*i8, ptr (%[-\w.$]+), i64 (-?\d+)\b")
# Instructions that read a part of what their operand says, which the code generator takes for all of it.
_READS_PART = re.compile(r"V?(?:PMOV[SZ]X([BWD])([WDQ])|MOVDDUP|CVTPS2PD|CVTU?DQ2PD)(Y|Z128|Z256|Z|)rm")
_BITS = {"B": 8, "W": 16, "D": 32, "Q": 64}
_WIDTHS = {"": 128, "Z128": 128, "Y": 256, "Z256": 256, "Z": 512}
# Of an operand under a mask, the code generator forgets what it accesses.
_WITHOUT_OPERAND = re.compile(r" = KMOV[BWDQ]km .*debug-location (!\d+)")
_OPERAND = re.compile(
    r"\((?:[-\w]+ )*load (?:\((?:s(\d+)|<(\d+) x s(\d+)>)\)|unknown-size)"
    r"(?: from %ir\.([-\w.$]+)(?: ([+-]) (\d+))?)?"
)


class Load(NamedTuple):
    """A load of a text, by its pointer."""

    name: str
    is_volatile: bool
    type: str
    pointer: str
    line: int


class Finding(NamedTuple):
    """A load that is not found."""

    function: str
    offset: int
    step: str
    load: Load

    def __str__(self) -> str:
        load = self.load
        return f"{self.function} at {self.offset:#x} {self.step}: {load.name} = load {load.type} {load.pointer}"


def loads_of(text: str) -> dict[str, list[Load]]:
    """The loads of linear memory in a module's text, by function."""
    lines = {mark: int(line) for mark, line in _LOCATION.findall(text)}
    return {
        match[1]: [
            Load(name, bool(volatile), kind, pointer, lines.get(mark, -1))
            for name, volatile, kind, pointer, mark in _LOAD.findall(match[0])
        ]
        for match in _DEFINE.finditer(text)
    }


class Pointers:
    """What pointers of a function are computed from: equal computations are one place, and constants added to it are
    distances."""

    def __init__(self, text: str) -> None:
        self.definitions = dict(_DEFINED.findall(text))
        self.forms: dict[str, str] = {}
        self.numbers: dict[str, str] = {}

    def form(self, name: str, depth: int = 0) -> str:
        """The same for all values that are computed in the same way."""
        if name in self.forms:
            return self.forms[name]
        computed = self.definitions.get(name, "")
        self.forms[name] = name
        if computed and depth < 200 and not computed.startswith(("phi", "load", "call", "tail", "invoke")):
            computed = _FLAGS.sub("", computed.partition(", !")[0])
            key = _NAME.sub(lambda match: self.form(match[0], depth + 1), computed)
            self.forms[name] = self.numbers.setdefault(key, f"%#{len(self.numbers)}")
        return self.forms[name]

    def place(self, pointer: str) -> tuple[str, int]:
        """The computation that a pointer begins with, and the distance from there in bytes."""
        distance = 0
        while match := _DISTANCE.match(self.definitions.get(pointer, "")):
            pointer = match[1]
            distance += int(match[2])
        return self.form(pointer), distance


def machine_bytes(body: str, pointers: Pointers) -> dict[str, set[int]]:
    """Of each place of a function in machine instructions: the bytes behind it that are loaded."""
    found: dict[str, set[int]] = defaultdict(set)
    for instruction in body.split("\n"):
        part = _READS_PART.search(instruction)
        most_bits = 512
        if part is not None:
            most_bits = _WIDTHS[part[3]] * (_BITS[part[1]] if part[1] else 1) // (_BITS[part[2]] if part[1] else 2)
            if "MOVDDUP" in part[0] and part[3]:
                most_bits = 512  # lanes of all of it
        for bits, lanes, lane_bits, pointer, sign, distance in _OPERAND.findall(instruction):
            if not pointer:
                continue
            size = min(most_bits, int(bits) if bits else int(lanes) * int(lane_bits) if lanes else 512) // 8
            place, first = pointers.place(f"%{pointer}")
            first += int(distance or 0) * (-1 if sign == "-" else 1)
            found[place].update(range(first, first + max(size, 1)))
    return found


def compare(text: str, machine_text: str) -> Iterator[Finding]:
    """What the code generator left out of `text`, where `machine_text` is what it made."""
    head, _, rest = machine_text.partition("\n...\n")
    lowered_text = "\n".join(line[2:] for line in head.split("\n"))
    lowered = loads_of(lowered_text)
    lines = {mark: int(line) for mark, line in _LOCATION.findall(lowered_text)}
    pointers = {match[1]: Pointers(match[0]) for match in _DEFINE.finditer(lowered_text)}
    bodies = {name.strip("'\""): body for name, body in _BODY.findall(rest)}
    for function, loads in loads_of(text).items():
        now = Counter((load.line, load.is_volatile) for load in lowered.get(function, ()))
        before = Counter((load.line, load.is_volatile) for load in loads)
        for load in loads:
            key = load.line, load.is_volatile
            if now[key] < before[key]:
                now[key] += 1
                yield Finding(function, load.line, "taken out of the text", load)
        if function not in pointers:
            continue
        body = bodies.get(function, "")
        found = machine_bytes(body, pointers[function])
        without = {lines.get(mark) for mark in _WITHOUT_OPERAND.findall(body)}
        for load in lowered.get(function, ()):
            if load.line in without:
                continue
            place, first = pointers[function].place(load.pointer)
            if not set(range(first, first + size_bytes(load.type))) <= found[place]:
                yield Finding(function, load.line, "not in the machine code", load)


def prepare(cpus: Sequence[str]) -> None:
    """Has this process compile by itself, and print machine instructions from now on: nothing else is compiled."""
    workers.pool().go_alone()
    compiler._set_options()
    compiler.initialise(all_targets=False)
    # What asks LLVM by compiling something.
    compiler.takes_narrow_inductions_for_wide()
    for cpu in cpus:
        for name in {cpu, compiler.resolve_target(None, cpu, None)[1]}:
            triple, _, features = compiler.resolve_target(None, cpu, None)
            compiler.vector_registers(triple, name, features)
    llvm.set_option("machine_loads", f"-stop-after={LAST_PASS}")


def check(wasm: bytes, config: wasmjit.Config, *, plain: bool = False) -> list[Finding]:
    """The findings of a module."""
    fields = pipeline._request_fields(config, "optimised")
    triple, cpu, features = compiler.resolve_target(fields["triple"], fields["cpu"], fields["features"])
    machine = compiler.target_machine(compiler.code_triple(triple), cpu, features, fields["opt_level"])
    found = []
    for text in re.split("^(?=; ModuleID)", pipeline.render(decode(wasm), config, "optimised"), flags=re.MULTILINE):
        if "define " in text:
            part = text.replace(" load volatile ", " load ") if plain else text
            found += compare(part, machine.emit_assembly(compiler.parse(part, machine)))
    return found


def generated(kind: str, seed: int) -> bytes:
    """A module of one of the generators of random programs."""
    source = random.Random(seed)
    if kind == "loops":
        made = loops.make(seed, 0)
        return loops.binary([subject.function for subject in made.subjects], made.memory)
    if kind == "lost_traps":
        generator = lost_traps.Generator(source)
        return bytes(wasmjit.wat2wasm(lost_traps.module_text([generator.function() for _ in range(100)])))
    vanisher = vanishing.Vanishing(source, source.random() < 0.15, has_two := source.random() < 0.15)
    bodies = [f"{vanisher.body()} (i64.extend_i32_u (local.get $vi32))" for _ in range(100)]
    functions = [lost_traps.Function(body, I64) for body in bodies]
    return bytes(wasmjit.wat2wasm(lost_traps.module_text(functions, lost_traps.memories(vanisher.is_64, has_two))))


def modules(options: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """What is to be checked, with names."""
    for path in options.modules:
        wasm = path.read_bytes()
        yield path.name, wasm if wasm[:1] == b"\0" else bytes(wasmjit.wat2wasm(wasm.decode()))
    for seed in range(options.seed, options.seed + options.count):
        for kind in options.generator or GENERATORS:
            yield f"{kind} {seed}", generated(kind, seed)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.machine_loads")
    parser.add_argument("--cpu", action="append")
    parser.add_argument("--opt-level", default="speed")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--generator", action="append", choices=GENERATORS)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("modules", nargs="*", type=Path, metavar="MODULE")
    options = parser.parse_args(arguments)
    cpus = options.cpu or CPUS
    prepare(cpus)
    num_found = num_modules = 0
    for name, wasm in modules(options):
        num_modules += 1
        for cpu in cpus:
            config = wasmjit.Config(tier="optimized", cpu=cpu, opt_level=options.opt_level, cache=False)
            found = check(wasm, config, plain=options.plain)
            num_found += len(found)
            for finding in found:
                print(f"{name} {cpu}: {finding}", flush=True)
        print(f"{name}: {num_found} in {num_modules} modules", file=sys.stderr, flush=True)
    print(f"{num_found} loads missing in {num_modules} modules for {len(cpus)} processors")
    return 1 if num_found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
