"""`python -m tests.fuzz.validators --count 1000000`: mutated bodies, for the validator in C and the walker in Python.

C may not take what the walker refuses, and knows the same of what both take; what it leaves to the walker though that
takes it is a miss, and counted. Prints each disagreement, and the commonest misses; exit status 1 if there is a
disagreement. The same `--seed` gives the same mutants. `--seconds` ends it earlier.

The bodies mutated are the bench kernels', the conformance suite's where it is found, those of the fuzzers' random
modules and of `wasm-tools smith`. So are the modules around them: which features are on, types of memories, tables and
globals, what may be referred to.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import loops_make, loops_tree, operands, references, type_worlds
from tests.fuzz.corpus import seed_modules, smith_modules
from tests.fuzz.mutate import INTERESTING_BYTES, INTERESTING_NUMBERS, damage, tamper_leb128
from tests.fuzz.tail_calls import Program
from tests.wasm_bytes import unsigned
from wasmjit.cli.wast import convert
from wasmjit.config import SUPPORTED_FEATURES, Features
from wasmjit.errors import WasmError
from wasmjit.runtime.validator import body_facts
from wasmjit.wasm.body import walk_body
from wasmjit.wasm.body_facts import BodyFacts
from wasmjit.wasm.decode import decode
from wasmjit.wasm.leb128 import read_unsigned
from wasmjit.wasm.module import FunctionBody, Module
from wasmjit.wasm.ops import IMMEDIATES, OPS, SPECIAL, VECTOR, Op
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.types import EXTERNREF, FUNCREF, NUMERIC_TYPES, V128, GlobalType, MemoryType, TableType
from wasmjit.wasm.validate import validate_module_level
from wasmjit.wasm.vectors import ROWS as VECTOR_ROWS

ROOT = Path(__file__).resolve().parents[2]
SUITE = Path(os.environ.get("WASMJIT_TESTSUITE") or ROOT.parent / "shared" / "spec" / "testsuite")
FEATURES = Features(wide_arithmetic=True, custom_page_sizes=True)
LEFT_TO_THE_WALKER = frozenset({"exceptions", "gc"})  # bodies with these are no misses
MUTANTS_A_BATCH = 200  # of one module, which has to be made ready for C
MOST_BODY_BYTES = 1500  # of what is mutated: the walker is slow
VECTOR_LETTERS = {"memarg": "m", "lane": "1", "lanes": "v", "bits": "v"}
BYTES = {"1": 1, "4": 4, "8": 8, "v": 16}
BLOCKS = (
    b"\x02\x40",
    b"\x03\x40",
    b"\x02\x7f",
    b"\x03\x7e",
    b"\x41\0\x04\x40",
    b"\x02\x70",
    b"\x02\x63\x70",
    b"\x02\0",
)
HEADS = (b"\0", b"\1\1\x7f", b"\1\2\x64\x70", b"\1\1\x7b", b"\2\x83\x80\0\x7e\1\x6f", b"\1\xff\xff\xff\xff\x0f\x7f")


def _alike() -> dict[tuple[object, ...], list[bytes]]:
    """Opcodes, as bytes, of rows that take and give the same types and have the same immediates."""
    found: dict[tuple[object, ...], list[bytes]] = {}
    for op in OPS.values():
        found.setdefault(_kind(op), []).append(_opcode(op))
    return found


def _kind(op: Op) -> tuple[object, ...]:
    return (op.kind == SPECIAL, op.params, op.result, op.immediates)


def _opcode(op: Op) -> bytes:
    if op.kind == VECTOR:
        return b"\xfd" + unsigned(op.code & 0xFFF)
    return bytes([op.code]) if op.code < 0x100 else bytes([op.code >> 8]) + unsigned(op.code & 0xFF)


ALIKE = _alike()
ALL_OPCODES = [_opcode(op) for op in OPS.values()]


def _row_at(code: bytes, at: int) -> tuple[Op, int] | None:
    """The row of the instruction at `at`, and where its immediates are; None if there is none, or it is damaged."""
    try:
        first = code[at]
        if first not in (0xFB, 0xFC, 0xFD, 0xFE):
            return (OPS[first], at + 1) if first in OPS else None
        sub, after = read_unsigned(code, at + 1, 32)
    except (IndexError, WasmError):
        return None
    if first != 0xFD:
        row = OPS.get(first << 8 | sub) if sub < 0x100 else None
    else:
        row = VECTOR_ROWS[sub] if sub < len(VECTOR_ROWS) else None
    return None if row is None else (row, after)


def _skip(code: bytes, at: int, letter: str) -> int:
    """The offset behind an immediate of a well-formed body."""
    if letter in BYTES:
        return at + BYTES[letter]
    repeats = 1
    if letter == "c":
        clauses, at = read_unsigned(code, at, 32)
        for _ in range(clauses):
            at = _skip_numbers(code, at + 1, 2 if code[at] < 2 else 1)  # with a tag, or for every exception
        return at
    if letter == "m":
        flags, at = read_unsigned(code, at, 32)
        repeats = 2 if flags & 0x40 else 1
    elif letter in ("l", "t"):
        repeats, at = read_unsigned(code, at, 32)
        repeats += letter == "l"
    for _ in range(repeats):
        if letter in ("b", "t", "h") and code[at] in (0x63, 0x64):
            at += 1
        at = _skip_numbers(code, at, 1)
    return at


def _skip_numbers(code: bytes, at: int, count: int) -> int:
    for _ in range(count):
        while code[at] >= 0x80:
            at += 1
        at += 1
    return at


def instructions(code: bytes, at: int) -> list[bytes]:
    """The instructions from `at` on, each with its immediates, of a body that is well-formed; as far as it is."""
    found = []
    try:
        while at < len(code):
            row = _row_at(code, at)
            if row is None:
                break
            after = row[1]
            for word in row[0].immediates:
                letter = VECTOR_LETTERS[word] if row[0].kind == VECTOR else IMMEDIATES[word]
                after = _skip(code, after, letter)
            found.append(code[at:after])
            at = after
    except (IndexError, WasmError):
        pass
    return found


class Body(NamedTuple):
    """A valid body, cut up."""

    position: int
    head: bytes  # the declarations of its locals
    code: tuple[bytes, ...]


@dataclass
class Base:
    """A module whose bodies are mutated, or what takes their place."""

    module: Module
    bodies: list[Body]


def base(wasm: bytes) -> Base | None:
    """None if no body of the module is valid and short enough."""
    try:
        module = decode(wasm, FEATURES)
        validate_module_level(module)
    except WasmError:
        return None
    found = []
    for position, body in enumerate(module.bodies):
        if body.end - body.start > MOST_BODY_BYTES:
            continue
        try:
            walk_body(module, module.num_imported_functions + position)
        except WasmError:
            continue
        at = _end_of_locals(wasm, body.start)
        found.append(Body(position, wasm[body.start : at], tuple(instructions(wasm[: body.end], at))))
    return Base(module, found) if found else None


def _end_of_locals(wasm: bytes, at: int) -> int:
    count, at = read_unsigned(wasm, at, 32)
    for _ in range(count):
        _, at = read_unsigned(wasm, at, 32)
        at = _skip(wasm, at, "b")
    return at


# ---- mutations ----


def _immediates(code: list[bytes], at: int, rng: random.Random, pool: Sequence[bytes]) -> None:
    """Another number where there is an index, or a damaged one."""
    whole = bytearray(code[at])
    row = _row_at(code[at], 0)
    if row is None or row[1] >= len(whole):
        code[at] = rng.choice(pool)
        return
    place = rng.randrange(row[1], len(whole))
    kind = rng.randrange(4)
    if kind == 0:
        whole[place:] = unsigned(rng.choice(INTERESTING_NUMBERS))
    elif kind == 1:
        whole[place] = (whole[place] + rng.choice((-2, -1, 1, 2))) & 0xFF
    elif kind == 2:
        whole[place] = rng.randrange(256)
    else:
        tamper_leb128(whole, place, rng)
    code[at] = bytes(whole)


def _another(code: list[bytes], at: int, rng: random.Random, pool: Sequence[bytes]) -> None:
    """An instruction that takes and gives the same, or any other opcode, before the same immediates."""
    row = _row_at(code[at], 0)
    if row is None:
        code[at] = rng.choice(pool)
    else:
        choices = ALIKE[_kind(row[0])] if rng.random() < 0.8 else ALL_OPCODES
        code[at] = rng.choice(choices) + code[at][row[1] :]


def _splice(code: list[bytes], at: int, rng: random.Random, pool: Sequence[bytes]) -> None:
    start = rng.randrange(len(pool))
    code[at : at + rng.randrange(3)] = pool[start : start + rng.randint(1, 6)]


def _wrap(code: list[bytes], at: int, rng: random.Random, pool: Sequence[bytes]) -> None:
    """Puts a block around some instructions."""
    end = min(len(code), at + rng.randrange(8))
    code[at:end] = [rng.choice(BLOCKS), *code[at:end], b"\x0b"]


def _insert_pair(code: list[bytes], at: int, rng: random.Random, pool: Sequence[bytes]) -> None:
    """What leaves the operand stack as it was, or makes the rest unreachable."""
    code[at:at] = rng.choice(
        ([b"\x41\x05", b"\x1a"], [b"\x01"], [b"\x00"], [b"\xd0\x70", b"\xd1", b"\x1a"], [b"\x0c\0"], [b"\x0f"])
    )


def _move(code: list[bytes], at: int, rng: random.Random, pool: Sequence[bytes]) -> None:
    other = rng.randrange(len(code))
    code[at], code[other] = code[other], code[at]


def _repeat(code: list[bytes], at: int, rng: random.Random, pool: Sequence[bytes]) -> None:
    code[at:at] = code[at : at + rng.randint(1, 10)]


def _remove(code: list[bytes], at: int, rng: random.Random, pool: Sequence[bytes]) -> None:
    del code[at : at + rng.randint(1, 3)]


def _one_byte(code: list[bytes], at: int, rng: random.Random, pool: Sequence[bytes]) -> None:
    code[at] = damage(code[at], rng)


# Some of them more often: what changes little may stay valid.
MUTATIONS = (
    *(_another, _another, _another, _another, _immediates, _immediates, _insert_pair, _insert_pair, _insert_pair),
    *(_splice, _wrap, _move, _repeat, _remove, _one_byte),
)


def mutant(body: Body, rng: random.Random, pool: Sequence[bytes]) -> bytes:
    """A body with one to four changes, or with bytes that are damaged as they come."""
    code, head = list(body.code), body.head
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
        if code:
            rng.choice(MUTATIONS)(code, rng.randrange(len(code)), rng, pool)
    kind = rng.randrange(20)
    if kind == 0:
        head = rng.choice(HEADS)
    elif kind == 1:
        head = damage(head, rng)
    whole = head + b"".join(code)
    if kind == 2:
        whole = damage(whole, rng)
    elif kind == 3 and whole:
        at = rng.randrange(len(whole))
        whole = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
    elif kind == 4 and whole:
        whole = whole[: rng.randrange(len(whole))]
    elif kind == 5:
        whole += bytes([rng.choice(INTERESTING_BYTES)])
    return whole


def surroundings(module: Module, rng: random.Random) -> Module:
    """The module, or one that differs in what its bodies depend on."""
    made = copy.copy(module)
    made.references = {}
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        kind = rng.randrange(8)
        if kind == 0:
            made.features = replace(made.features, **{rng.choice(sorted(SUPPORTED_FEATURES)): False})
        elif kind == 1:
            is_64 = rng.random() < 0.5
            made.memories = [MemoryType(memory.limits, is_64 and rng.random() < 0.8) for memory in made.memories]
        elif kind == 2:
            made.tables = [
                TableType(rng.choice((table.element, FUNCREF, EXTERNREF)), table.limits, rng.random() < 0.3)
                for table in made.tables
            ]
        elif kind == 3:
            contents = (*NUMERIC_TYPES, V128, FUNCREF)
            made.globals = [
                GlobalType(rng.choice((*contents, g.content, g.content)), rng.random() < 0.8) for g in made.globals
            ]
        elif kind == 4:
            made.referenced_functions = {f for f in range(len(made.functions)) if rng.random() < 0.5}
        elif kind == 5:
            made.data_count = rng.choice((None, 0, 1, 5))
        elif kind == 6:
            made.functions = rng.sample(made.functions, len(made.functions))
        else:
            made.memories = (
                (made.memories + [MemoryType(made.memories[0].limits, True)])[rng.randrange(2) :]
                if (made.memories)
                else []
            )
    return made


def with_bodies(module: Module, mutants: Sequence[tuple[int, bytes]]) -> tuple[Module, int]:
    """The module with further functions, each of the type of a position of it; and the first one's position."""
    made = copy.copy(module)
    at = len(module.wasm)
    made.bodies, made.functions = list(module.bodies), list(module.functions)
    for position, body in mutants:
        made.bodies.append(FunctionBody(at, at + len(body)))
        made.functions.append(module.functions[module.num_imported_functions + position])
        at += len(body)
    made.wasm = bytes(module.wasm) + b"".join([body for _, body in mutants])
    return made, len(module.bodies)


# ---- comparing ----


@dataclass
class Tally:
    """What came of some bodies."""

    accepted: int = 0  # by both
    refused: int = 0  # by the walker
    missed: int = 0  # by C, though the walker accepts them
    left: int = 0  # the same, of what is refused in the end
    disagreements: list[str] = field(default_factory=list)
    misses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)  # why the walker refused

    def __str__(self) -> str:
        total = self.accepted + self.refused + self.missed
        return (
            f"{total} bodies: {self.accepted} accepted by both, {self.refused} refused by the walker, "
            f"{self.missed} left to it that are valid, {len(self.disagreements)} disagreements"
        )


def walked(module: Module, position: int) -> BodyFacts | str:
    """What the walker says."""
    try:
        return walk_body(module, module.num_imported_functions + position)
    except WasmError as error:
        return f"{type(error).__name__}: {error}"


def compare(module: Module, tally: Tally, first: int = 0) -> None:
    """Adds what both say of the bodies from a position on."""
    for position, found in enumerate(body_facts(module, first), first):
        said = walked(module, position)
        body = module.bodies[position]
        shown = module.wasm[body.start : body.end][:200].hex()
        if isinstance(said, str):
            tally.refused += 1
            tally.reasons[said.partition(" (")[0][:40]] += 1
            if found is not None:
                tally.disagreements.append(f"C takes what the walker refuses ({said}): {shown}")
        elif found is None and (not LEFT_TO_THE_WALKER.isdisjoint(said.needed) or module.gc_types):
            tally.left += 1
        elif found is None:
            tally.missed += 1
            tally.misses[shown] += 1
        elif found != said:
            tally.disagreements.append(f"C says {found}, the walker {said}: {shown}")
        else:
            tally.accepted += 1


def fuzz(bases: Sequence[Base], seed: int) -> Iterator[Tally]:
    """Batches of mutants, without end."""
    rng = random.Random(seed)
    everything = [instruction for each in bases for body in each.bodies for instruction in body.code]
    while True:
        chosen = rng.choice(bases)
        own = [instruction for body in chosen.bodies for instruction in body.code]
        made = surroundings(chosen.module, rng)
        mutants = []
        for _ in range(MUTANTS_A_BATCH):
            body = rng.choice(chosen.bodies)
            pool = own if own and rng.random() < 0.8 else everything
            mutants.append((body.position, mutant(body, rng, pool)))
        tally = Tally()
        made, first = with_bodies(made, mutants)
        compare(made, tally, first)
        yield tally


# ---- what is mutated ----


def random_modules(count: int, seed: int) -> Iterator[bytes]:
    """Modules of the fuzzers' own generators."""
    for number in range(seed, seed + count):
        yield wat2wasm(references.module(number))
        yield wat2wasm(operands.module(number)[1])
        for text in Program(number, deep=number % 2 == 1).modules:
            yield wat2wasm(text)
        for written in type_worlds.world(number):
            yield wat2wasm(written.text)
        rng = random.Random(number)
        shape = loops_tree.MemoryShape(is_64=number % 3 == 0)
        yield loops_tree.binary([loops_make.make_function(rng, shape)[0]], shape)


def suite_modules(every: int = 1) -> Iterator[tuple[str, bytes]]:
    """The modules of every so many scripts of the conformance suite, valid and invalid ones, and the script's name."""
    scripts = sorted(SUITE.rglob("*.wast")) if SUITE.is_dir() else []
    for script in scripts[::every]:
        with tempfile.TemporaryDirectory(prefix="wasmjit-validators-") as directory:
            try:
                convert(script, Path(directory))
            except WasmError:  # of a proposal that the tool has given up
                continue
            for path in sorted(Path(directory).glob("*.wasm")):
                yield script.stem, path.read_bytes()


def bases_of(wasms: Iterator[bytes] | Sequence[bytes]) -> list[Base]:
    """Those that have bodies to mutate."""
    return [found for wasm in wasms if (found := base(wasm)) is not None]


def kernels() -> list[bytes]:
    """The bench kernels."""
    return [path.read_bytes() for path in sorted((ROOT / "bench" / "kernels").rglob("*.wasm"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="mutants (default 1000000)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so many seconds")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default 0)")
    parser.add_argument("--smith", type=int, default=60, help="modules of wasm-tools smith (default 60)")
    arguments = parser.parse_args()

    started = time.perf_counter()
    wasms = kernels() + seed_modules() + list(random_modules(20, arguments.seed))
    wasms += smith_modules(arguments.smith, arguments.seed) + [wasm for _, wasm in suite_modules()]
    bases = bases_of(wasms)
    print(f"{len(bases)} modules, {sum(len(each.bodies) for each in bases)} bodies", flush=True)
    total = Tally()
    for number, tally in enumerate(fuzz(bases, arguments.seed), 1):
        total.accepted += tally.accepted
        total.refused += tally.refused
        total.missed += tally.missed
        total.misses += tally.misses
        total.reasons += tally.reasons
        total.disagreements += tally.disagreements
        for text in tally.disagreements:
            print(f"- {text}", flush=True)
        seconds = time.perf_counter() - started
        if number * MUTANTS_A_BATCH >= arguments.count or seconds > arguments.seconds:
            break
    print(f"seed {arguments.seed}: {total}, {time.perf_counter() - started:.0f} s")
    print(f"refused for {len(total.reasons)} reasons; most often {total.reasons.most_common(12)}")
    for shown, times in total.misses.most_common(5):
        print(f"missed {times} times: {shown}")
    return 1 if total.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
