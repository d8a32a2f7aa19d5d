"""Random signatures: values that cross the boundary, both ways and on every path, must arrive as they left.

    python -m tests.fuzz.signatures [--count 1000] [--seed S] [--rounds N] [--opt-level LEVEL]

For each signature there are two exports: `pass` returns some of its parameters, and `host` hands its parameters to a
Python function of the same signature and returns what that returns. They are called as func(store, ...), typed with the
GIL released and kept, through raw slots, and through `typed.map`; the wasmtime package runs the same module with the
same values, where it has the type. Expected values come from a model of their own (`seen_as`). Prints each
disagreement; exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import wasmtime

import wasmjit

MAX_PARAMS, MAX_RESULTS = 20, 10
PER_MODULE = 50
NUMBERS = ("i32", "i64", "f32", "f64")
REFERENCES = ("funcref", "externref")
VECTORS = ("v128",) if hasattr(wasmjit.ValType, "v128") else ()
KINDS = NUMBERS + REFERENCES + VECTORS
BITS = {"i32": 32, "i64": 64, "f32": 32, "f64": 64, "v128": 128}
DTYPES: dict[str, Any] = {"i32": numpy.int32, "i64": numpy.int64, "f32": numpy.float32, "f64": numpy.float64}
TARGETS = 4  # functions that stand for funcrefs: number k returns k

DOUBLE_NANS = (0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000001, 0xFFFFFFFFFFFFFFFF, 0x7FF0000000000001)
FLOATS = (
    *(0.0, -0.0, 1.0, -1.5, 0.1, 1e10, -1e30, 1e300, 5e-324, -2.2250738585072014e-308, 1.1754943508222875e-38),
    *(float("inf"), float("-inf"), 3.4028234663852886e38, 3.4028235677973366e38, 1.7976931348623157e308, 1e-45),
    *(struct.unpack("<d", bits.to_bytes(8, "little"))[0] for bits in DOUBLE_NANS),
    struct.unpack("<d", (0x7FF4000020000001).to_bytes(8, "little"))[0],
)


WRONG: dict[str, list[tuple[Any, type[Exception]]]] = {
    "i32": [
        ("1", TypeError),
        (1.0, TypeError),
        (None, TypeError),
        (1 << 32, OverflowError),
        (~(1 << 31), OverflowError),
    ],
    "i64": [(b"1", TypeError), (1.0, TypeError), (1 << 64, OverflowError), (~(1 << 63), OverflowError)],
    "f32": [("1", TypeError), (None, TypeError), ([], TypeError)],
    "f64": [("1", TypeError), (None, TypeError), ([], TypeError)],
    "funcref": [(3, TypeError), (len, TypeError)],
    "v128": [("1", TypeError), (1.0, TypeError), (1 << 128, OverflowError), (-1, OverflowError)],
}


@dataclass(frozen=True)
class Signature:
    """A signature, and which parameter comes back as which result (None: a constant, there is no such parameter)."""

    params: tuple[str, ...]
    results: tuple[str, ...]
    picks: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"({' '.join(self.params)}) -> ({' '.join(self.results)})"


class Token:
    """What an externref refers to: equal only to itself."""


# ---- signatures and modules ----


def make_signature(source: random.Random) -> Signature:
    """Any of the kinds, or, half of the time, few of them: runs of one kind fill registers up."""
    kinds = KINDS if source.random() < 0.5 else tuple(source.choices(KINDS, k=source.randint(1, 2)))
    params = tuple(source.choice(kinds) for _ in range(source.choice((0, 1, 2, 3, source.randint(0, MAX_PARAMS)))))
    results, picks = [], []
    for _ in range(source.choice((0, 1, 1, 2, 3, source.randint(0, MAX_RESULTS)))):
        if params and source.random() < 0.95:
            pick = source.randrange(len(params))
            picks.append(pick)
            results.append(params[pick])
        else:
            picks.append(None)
            results.append(source.choice(kinds))
    return Signature(params, tuple(results), tuple(picks))


def constant(kind: str) -> tuple[str, int]:
    """An instruction that makes the kind's constant, and its bits."""
    return {
        "i32": ("i32.const -7", 0xFFFFFFF9),
        "i64": ("i64.const -9", 0xFFFFFFFFFFFFFFF7),
        "f32": ("f32.const -nan:0x600001", 0xFFE00001),
        "f64": ("f64.const -0.0", 1 << 63),
        "v128": ("v128.const i64x2 1 0x8000000000000000", 1 << 127 | 1),
        "funcref": ("ref.null func", 0),
        "externref": ("ref.null extern", 0),
    }[kind]


def module_text(signatures: list[Signature]) -> str:
    """A module with `pass` and `host` of each, and functions to be passed as references."""
    imports, bodies = [], []
    for i, signature in enumerate(signatures):
        type = f"(param {' '.join(signature.params)}) (result {' '.join(signature.results)})"
        gets = [f"local.get {n}" for n in range(len(signature.params))]
        picked = [
            constant(kind)[0] if pick is None else gets[pick]
            for kind, pick in zip(signature.results, signature.picks, strict=True)
        ]
        imports.append(f'(import "host" "f{i}" (func $host{i} {type}))')
        bodies.append(f'(func (export "pass{i}") {type} {" ".join(picked)})')
        bodies.append(f'(func (export "host{i}") {type} {" ".join(gets)} call $host{i})')
    bodies += [f'(func (export "target{k}") (result i32) i32.const {k})' for k in range(TARGETS)]
    return "(module " + "\n".join(imports + bodies) + ")"


# ---- values ----


def random_value(kind: str, source: random.Random, targets: list[Any], tokens: list[Any]) -> Any:
    """Something to pass: a number, the index of a target or of a token, or None."""
    if kind in ("i32", "i64"):
        bits = BITS[kind]
        edges = (0, 1, -1, (1 << bits - 1) - 1, -(1 << bits - 1), 1 << bits - 1, (1 << bits) - 1, (1 << 30), -(1 << 30))
        return source.choice((*edges, source.randrange(-(1 << bits - 1), 1 << bits)))
    if kind in ("f32", "f64"):
        bits = source.getrandbits(64).to_bytes(8, "little")
        return source.choice((*FLOATS, source.uniform(-1e6, 1e6), struct.unpack("<d", bits)[0]))
    if kind == "v128":
        return source.choice((0, 1, (1 << 128) - 1, 1 << 127, 1 << 64, source.getrandbits(128)))
    return source.choice((None, *(targets if kind == "funcref" else tokens)))


def float_bits(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def narrow_bits(value: float) -> int:
    """The f32 nearest to a double, as bits. A NaN becomes quiet and keeps the upper part of its payload."""
    if value != value:
        bits = float_bits(value)
        return bits >> 63 << 31 | 0x7FC00000 | bits >> 29 & 0x3FFFFF
    try:
        return int.from_bytes(struct.pack("<f", value), "little")
    except OverflowError:  # what C makes of it
        return 0x7F800000 if value > 0 else 0xFF800000


def widen_bits(bits: int) -> int:
    """The double that an f32 is, both as bits. A NaN becomes quiet."""
    if bits & 0x7FFFFFFF > 0x7F800000:
        return bits >> 31 << 63 | 0x7FF8000000000000 | (bits & 0x3FFFFF) << 29
    return float_bits(struct.unpack("<f", bits.to_bytes(4, "little"))[0])


def raw_bits(kind: str, value: Any) -> int:
    """What lies in wasm for a Python number."""
    if kind == "f32":
        return narrow_bits(value)
    return float_bits(value) if kind == "f64" else int(value) & (1 << BITS[kind]) - 1


def seen_as(kind: str, value: Any) -> Any:
    """What Python sees of a value once it was in wasm, in the form of `observed`."""
    if kind in REFERENCES:
        return value
    bits = raw_bits(kind, value)
    if kind in ("i32", "i64"):
        return bits - (1 << BITS[kind]) if bits >> BITS[kind] - 1 else bits
    if kind == "v128":
        return bits.to_bytes(16, "little")
    return f"float {widen_bits(bits) if kind == 'f32' else bits:016x}"


def constant_seen(kind: str) -> Any:
    """The constant, as Python sees it."""
    bits = constant(kind)[1]
    if kind in REFERENCES:
        return None
    if kind in ("f32", "f64"):
        return f"float {widen_bits(bits) if kind == 'f32' else bits:016x}"
    return seen_as(kind, bits)


def observed(value: Any) -> Any:
    """A value from a call in a form that compares exactly: a float is its bits."""
    return f"float {float_bits(value):016x}" if isinstance(value, float) else value


def quiet(value: Any) -> Any:
    """For wasmtime, whose results pass through ctypes: all NaNs are alike, and Val stands for a null."""
    if isinstance(value, wasmtime.Val):
        value = value.value
    if isinstance(value, str) and (int(value[6:], 16) & (1 << 63) - 1) > 0x7FF0000000000000:
        return "nan"
    return value


# ---- running ----


class Subject:
    """The module in one of the packages. Values of `host` come from `answer`; what it is given is in `given`."""

    def __init__(self, api: Any, engine: Any, wasm: bytes, signatures: list[Signature]) -> None:
        self.api = api
        self.store = api.Store(engine)
        self.given: list[Any] = []
        self.answer: Any = None
        linker = api.Linker(engine)
        for i, signature in enumerate(signatures):
            linker.define_func("host", f"f{i}", self.functype(signature), self.host)
        self.exports = linker.instantiate(self.store, api.Module(engine, wasm)).exports(self.store)
        self.targets = [self.exports[f"target{k}"] for k in range(TARGETS)]

    def functype(self, signature: Signature) -> Any:
        make = self.api.ValType
        return self.api.FuncType(
            *([getattr(make, kind)() for kind in side] for side in (signature.params, signature.results))
        )

    def host(self, *values: Any) -> Any:
        self.given.append(values)
        return self.answer

    def give(self, kind: str, value: Any) -> Any:
        """The value as this package takes it: the indices of targets become functions."""
        return self.targets[value] if kind == "funcref" and value is not None else value

    def answer_with(self, kinds: tuple[str, ...], values: list[Any]) -> None:
        """What `host` returns from now on."""
        answers = [self.give(kind, value) for kind, value in zip(kinds, values, strict=True)]
        self.answer = None if not answers else answers[0] if len(answers) == 1 else tuple(answers)

    def see(self, value: Any) -> Any:
        """A value from a call, comparable: functions are what they return."""
        return value(self.store) if isinstance(value, self.api.Func) else observed(value)


def as_list(count: int, returned: Any) -> list[Any]:
    """What a call returned, as a list of results."""
    if count == 0:
        assert returned is None, f"{returned!r} instead of None"
        return []
    if count == 1:
        return [returned]
    assert isinstance(returned, list) and len(returned) == count, f"{returned!r} instead of {count} results"
    return returned


class Fuzzer:
    """Compares, and collects what differs."""

    def __init__(self, seed: int, rounds: int, opt_level: str, tier: str = "optimized") -> None:
        self.source = random.Random(seed)
        self.rounds = rounds
        self.engine = wasmjit.Engine(wasmjit.Config(tier=tier, opt_level=opt_level))
        self.wasmtime_engine = wasmtime.Engine()
        self.tokens = [Token() for _ in range(3)]
        self.calls = 0
        self.disagreements: list[str] = []

    def check(self, what: str, seen: Any, expected: Any) -> None:
        """Notes a difference."""
        self.calls += 1
        if seen != expected or [type(v) for v in seen] != [type(v) for v in expected]:
            self.disagreements.append(f"{what}:\n    seen     {seen}\n    expected {expected}")

    def run_module(self, signatures: list[Signature]) -> None:
        """All signatures of one module."""
        wasm = bytes(wasmjit.wat2wasm(module_text(signatures)))
        ours = Subject(wasmjit, self.engine, wasm, signatures)
        known = [i for i, s in enumerate(signatures) if "v128" not in s.params + s.results]
        theirs = None
        if len(known) == len(signatures):
            theirs = Subject(wasmtime, self.wasmtime_engine, wasm, signatures)
        for i, signature in enumerate(signatures):
            sets = [[self.value(kind) for kind in signature.params] for _ in range(self.rounds)]
            for values in sets:
                answers = [self.value(kind) for kind in signature.results]
                self.call_ours(ours, i, signature, values, answers)
                self.call_raw(ours, i, signature)
                self.refuse_wrong(ours, i, signature, values)
                if theirs is not None:
                    self.call_theirs(theirs, i, signature, values, answers)
            self.map_arrays(ours, i, signature, sets)
        ours.store.close()

    def value(self, kind: str) -> Any:
        """A random value."""
        return random_value(kind, self.source, list(range(TARGETS)), self.tokens)

    def expected(self, signature: Signature, values: list[Any]) -> list[Any]:
        """What `pass` returns."""
        picks = zip(signature.results, signature.picks, strict=True)
        return [constant_seen(kind) if pick is None else seen_as(kind, values[pick]) for kind, pick in picks]

    def call_ours(self, ours: Subject, i: int, signature: Signature, values: list[Any], answers: list[Any]) -> None:
        """The checked paths."""
        params, results = signature.params, signature.results
        arguments = [ours.give(kind, value) for kind, value in zip(params, values, strict=True)]
        ours.answer_with(results, answers)
        for name, expected in (
            (f"pass{i}", self.expected(signature, values)),
            (f"host{i}", [seen_as(kind, value) for kind, value in zip(results, answers, strict=True)]),
        ):
            function = ours.exports[name]
            paths: dict[str, Callable[..., Any]] = {
                "func": lambda *a, function=function: function(ours.store, *a),
                "typed": function.typed(ours.store),
                "typed, GIL kept": function.typed(ours.store, nogil=False),
            }
            for path, call in paths.items():
                ours.given.clear()
                seen = [ours.see(v) for v in as_list(len(results), call(*arguments))]
                self.check(f"{name} {signature} by {path} of {values}", seen, expected)
                if name.startswith("host"):
                    (given,) = ours.given
                    was = [seen_as(kind, value) for kind, value in zip(params, values, strict=True)]
                    self.check(f"parameters of {name} {signature} by {path}", [ours.see(v) for v in given], was)

    def refuse_wrong(self, ours: Subject, i: int, signature: Signature, values: list[Any]) -> None:
        """One wrong argument or one too few: an error that names it, and wasm is not entered."""
        can_be_wrong = [n for n, kind in enumerate(signature.params) if kind in WRONG]
        if not can_be_wrong:
            return
        position = self.source.choice(can_be_wrong)
        kind = signature.params[position]
        wrong, error = self.source.choice(WRONG[kind])
        arguments = [ours.give(kind, value) for kind, value in zip(signature.params, values, strict=True)]
        refused = [*arguments[:position], wrong, *arguments[position + 1 :]]
        function = ours.exports[f"host{i}"]
        ours.given.clear()
        for call in (function.typed(ours.store), lambda *a: function(ours.store, *a)):
            for given, named in ((refused, f"parameter {position + 1}: "), (arguments[1:], "too few parameters")):
                try:
                    call(*given)
                    seen: Any = "no error"
                except (TypeError, OverflowError, wasmjit.WasmError) as raised:
                    kept = isinstance(raised, error if given is refused else wasmjit.WasmError)
                    seen = named if kept and str(raised).startswith(named) else repr(raised)
                self.check(f"host{i} {signature} of {given}", [seen], [named])
        self.check(f"host{i} {signature} called with wrong values", ours.given, [])

    def call_raw(self, ours: Subject, i: int, signature: Signature) -> None:
        """Raw slots: random bits for numbers, nulls for references (others would be addresses)."""
        slots, of_param = [], []
        for kind in signature.params:
            bits = 0 if kind in REFERENCES else self.source.getrandbits(BITS[kind])
            of_param.append(bits)
            slots += [bits & (1 << 64) - 1, bits >> 64] if kind == "v128" else [bits]
        expected = []
        for kind, pick in zip(signature.results, signature.picks, strict=True):
            bits = constant(kind)[1] if pick is None else of_param[pick]
            expected += [bits & (1 << 64) - 1, bits >> 64] if kind == "v128" else [bits]
        seen = ours.exports[f"pass{i}"].call_unchecked(ours.store, slots)
        kinds = [k for kind in signature.results for k in ((kind, kind) if kind == "v128" else (kind,))]
        masked = [bits & 0xFFFFFFFF if kind in ("i32", "f32") else bits for kind, bits in zip(kinds, seen, strict=True)]
        self.check(f"pass{i} {signature} by raw slots {slots}", masked, expected)

    def call_theirs(self, theirs: Subject, i: int, signature: Signature, values: list[Any], answers: list[Any]) -> None:
        """The wasmtime package has to see what we expect."""
        params, results = signature.params, signature.results
        arguments = [theirs.give(kind, value) for kind, value in zip(params, values, strict=True)]
        theirs.answer_with(results, answers)
        for name, expected in (
            (f"pass{i}", self.expected(signature, values)),
            (f"host{i}", [seen_as(kind, value) for kind, value in zip(results, answers, strict=True)]),
        ):
            returned = theirs.exports[name](theirs.store, *arguments)
            seen = [quiet(theirs.see(v)) for v in as_list(len(results), returned)]
            self.check(f"wasmtime, {name} {signature} of {values}", seen, [quiet(v) for v in expected])

    def map_arrays(self, ours: Subject, i: int, signature: Signature, sets: list[list[Any]]) -> None:
        """`typed.map` of both exports over the value sets as columns, where all types are numbers."""
        params, results = signature.params, signature.results
        if not params or not results or set(params + results) - set(NUMBERS):
            return
        bits = [[raw_bits(kind, value) for kind, value in zip(params, values, strict=True)] for values in sets]
        arrays = []
        for n, kind in enumerate(params):
            unsigned = numpy.array([row[n] for row in bits], dtype=f"u{DTYPES[kind]().itemsize}")
            arrays.append(unsigned.view(DTYPES[kind]))
        returned = ours.exports[f"pass{i}"].typed(ours.store).map(*arrays)
        columns = [returned] if len(results) == 1 else list(returned)
        seen = [(c.dtype, c.view(f"u{c.dtype.itemsize}").tolist()) for c in columns]
        expected = [
            (numpy.dtype(DTYPES[kind]), [constant(kind)[1] if pick is None else row[pick] for row in bits])
            for kind, pick in zip(results, signature.picks, strict=True)
        ]
        self.check(f"pass{i} {signature} by map of {sets}", seen, expected)


def batches(count: int, source: random.Random) -> Iterator[list[Signature]]:
    """`count` signatures, a module's worth at a time."""
    made = [make_signature(source) for _ in range(count)]
    # wasmtime's Python API has no v128: modules with and without it, so that most are compared.
    made.sort(key=lambda signature: "v128" in signature.params + signature.results)
    for start in range(0, count, PER_MODULE):
        yield made[start : start + PER_MODULE]


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--opt-level", default="none")
    parser.add_argument("--tier", default="optimized")
    options = parser.parse_args(arguments)
    fuzzer = Fuzzer(options.seed, options.rounds, options.opt_level, options.tier)
    for signatures in batches(options.count, fuzzer.source):
        fuzzer.run_module(signatures)
    for disagreement in fuzzer.disagreements[:20]:
        print(disagreement)
    print(f"{options.count} signatures, {fuzzer.calls} comparisons: {len(fuzzer.disagreements)} disagreements")
    return 1 if fuzzer.disagreements or not fuzzer.calls else 0


if __name__ == "__main__":
    sys.exit(main())
