"""The rows of the atomic instructions: validation, results beside the wasmtime package's, traps, what LLVM is given."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import pytest

import wasmjit
from tests.rows import for_each
from tests.unit import bulk
from tests.unit.test_first_tier import code_of
from wasmjit.compile import pipeline
from wasmjit.config import Config, Features
from wasmjit.errors import MalformedError, UnsupportedError, ValidationError
from wasmjit.wasm.decode import decode
from wasmjit.wasm.ops import ATOMIC, OPS, Op
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.types import I32, VALTYPE_NAMES
from wasmjit.wasm.validate import validate

wasmtime = pytest.importorskip("wasmtime")

ROWS = [op for op in OPS.values() if op.kind == ATOMIC]
ACCESSES = [op for op in ROWS if op.access_bytes and op.lowering not in ("wait", "notify")]
VALUES = (0, -1, 0x111, 0x1122334455667788)
# Every third row, and all of them.
PARTS = pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)], ids=["a third", "all"])
BEFORE = 0xF1E2D3C4B5A69788


def checked(op: Op, immediates: bytes, features: Features | None = None) -> None:
    """Validates a function that applies the instruction to its parameters."""
    wasm = bulk.program(bulk.applied(op.params, op.result, code_of(op) + immediates))
    validate(decode(wasm, features))


def test_there_are_as_many_as_in_the_proposal() -> None:
    assert len(ROWS) == 67


@for_each(ROWS, lambda op: op.name)
def test_alignment_is_the_natural_one(op: Op) -> None:
    if not op.access_bytes:
        checked(op, b"\0")
        with pytest.raises(MalformedError, match="zero byte expected"):
            checked(op, b"\1")
        return
    natural = op.access_bytes.bit_length() - 1
    checked(op, bytes([natural, 0]))
    for other in {*range(5)} - {natural}:
        with pytest.raises(ValidationError, match="alignment of an atomic access must be natural"):
            checked(op, bytes([other, 0]))


@for_each(ROWS, lambda op: op.name)
def test_they_are_a_feature(op: Op) -> None:
    alignment = bytes([max(op.access_bytes.bit_length() - 1, 0)])
    with pytest.raises(UnsupportedError, match="feature threads is off"):
        checked(op, alignment + b"\0" * bool(op.access_bytes), Features(threads=False))


def test_other_opcodes_with_their_prefix_are_malformed() -> None:
    known = {op.code & 0xFF for op in ROWS}
    for sub in {*range(0x80)} - known:
        with pytest.raises(MalformedError, match="illegal opcode 0xfe"):
            validate(decode(bulk.program(((), (), bytes([0xFE, sub])))))


def test_shared_memories_have_a_maximum() -> None:
    with pytest.raises(ValidationError, match="shared memory must have maximum"):
        validate(decode(bulk.program().replace(b"\x05\x03\x01\x00\x01", b"\x05\x03\x01\x02\x01")))


def program(rows: list[Op], memory: str) -> str:
    """An export for each row, of an address and values; what was, is set and read by other exports."""
    wide = "i64" in memory
    functions = []
    for op in rows:
        address = "(i32.wrap_i64 (local.get 0))" if not wide else "(local.get 0)"
        params = " ".join(["i64", *(VALTYPE_NAMES[t] for t in op.params[1:])])
        gets = " ".join(f"(local.get {i})" for i in range(1, len(op.params)))
        result = f"(result {VALTYPE_NAMES[op.result]})" if op.result else ""
        functions.append(
            f'(func (export "{op.name}") (param {params}) {result} ({op.name} {address} {gets}))'
            f'(func (export "{op.name}+") (param {params}) {result} ({op.name} offset=5 {address} {gets}))'
        )
    to = "i64" if wide else "i32"
    return f"""(module {memory} {" ".join(functions)}
      (func (export "set") (param i64) (i64.store ({to}.const 8) (local.get 0)))
      (func (export "get") (result i64) (i64.load ({to}.const 8))))"""


def cut(value: int, valtype: int) -> int:
    """A number as one of the type."""
    bits = 32 if valtype == I32 else 64
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def exports_of(api: Any, config: Any, text: str) -> Any:
    engine = api.Engine(config)
    store = api.Store(engine)
    exports = api.Instance(store, api.Module(engine, text), []).exports(store)
    return lambda name, *arguments: exports[name](store, *arguments)


def compute_alike(ours: Any, theirs: Any, rows: Sequence[Op], tried: Sequence[int]) -> None:
    """Each access, in a program of both engines, with each combination of operands."""
    for op in rows:
        for values in itertools.product(tried, repeat=len(op.params) - 1):
            arguments = [cut(value, t) for value, t in zip(values, op.params[1:], strict=True)]
            for expected in (None, cut(BEFORE, 64)) if op.lowering == "cmpxchg" else (None,):
                if expected is not None:  # what is there, and more
                    arguments[0] = cut(BEFORE, op.params[1])
                found = []
                for call in (ours, theirs):
                    call("set", cut(BEFORE, 64))
                    found.append((call(op.name, 8, *arguments), call("get")))
                assert found[0] == found[1], (op.name, arguments)


@pytest.mark.parametrize(
    "options",
    [{"tier": "optimized"}, {"tier": "baseline", "signals_based_traps": False}],
    ids=["optimized", "baseline, checked"],
)
@pytest.mark.parametrize("memory", ["(memory 1 1)", "(memory i64 1 1)"])
@PARTS
def test_every_access_computes_as_wasmtime(step: int, memory: str, options: dict[str, Any]) -> None:
    rows = ACCESSES[len(options) % step :: step]
    text = program(rows, memory)
    ours = exports_of(wasmjit, Config(cache=False, **options), text)
    theirs = exports_of(wasmtime, wasmtime.Config(), text)
    compute_alike(ours, theirs, rows, VALUES)


@pytest.mark.parametrize(
    ("memory", "options"),
    [
        ("(memory 1 1)", {"tier": "optimized"}),
        ("(memory 1 1)", {"tier": "baseline", "signals_based_traps": False}),
        ("(memory i64 1 1)", {"tier": "baseline"}),
    ],
    ids=["guard pages", "checked", "64 bits"],
)
@PARTS
def test_addresses_are_checked(step: int, memory: str, options: dict[str, Any]) -> None:
    """Of each access: alignment, of the sum with the offset, and bounds."""
    rows = ACCESSES[::step]
    call = exports_of(wasmjit, Config(cache=False, **options), program(rows, memory))
    for op in rows:
        values = [0] * (len(op.params) - 1)
        size = op.access_bytes
        call(op.name, 65536 - size, *values)
        call(f"{op.name}+", 65536 - size - 5, *values)
        for address in (65536, (1 << 32) - size):
            with pytest.raises(wasmjit.Trap, match="out of bounds memory access"):
                call(op.name, address, *values)
        for low in range(1, size):
            for address in (low, 65536 + low):
                with pytest.raises(wasmjit.Trap, match="unaligned atomic"):
                    call(op.name, address, *values)
        if size > 1:
            with pytest.raises(wasmjit.Trap, match="unaligned atomic"):
                call(f"{op.name}+", 8, *values)


def test_constant_addresses_are_checked() -> None:
    text = """(module (memory 1 1)
      (func (export "1") (result i32) (i32.atomic.load (i32.const 2)))
      (func (export "2") (result i32) (i32.atomic.load offset=2 (i32.const 0)))
      (func (export "3") (result i32) (i32.atomic.rmw.add offset=2 (i32.const 2) (i32.const 1)))
      (func (export "4") (result i32) (i32.atomic.load offset=65532 (i32.const 4))))"""
    call = exports_of(wasmjit, Config(cache=False, tier="optimized"), text)
    for name in "12":
        with pytest.raises(wasmjit.Trap, match="unaligned atomic"):
            call(name)
    assert (call("3"), call("3")) == (0, 1)
    with pytest.raises(wasmjit.Trap, match="out of bounds"):
        call("4")


def test_waiting_in_a_memory_that_is_not_shared_traps() -> None:
    rows = [op for op in ROWS if op.lowering in ("wait", "notify")]
    for memory in ("(memory 1 1)", "(memory i64 1 1)"):
        call = exports_of(wasmjit, Config(cache=False), program(rows, memory))
        for op in rows:
            values = [0] * (len(op.params) - 1)
            with pytest.raises(wasmjit.Trap, match="unaligned atomic"):
                call(op.name, 2, *values)
            with pytest.raises(wasmjit.Trap, match="out of bounds memory access"):
                call(op.name, 65536, *values)
            if op.lowering == "notify":
                assert call(op.name, 8, 7) == 0
                continue
            with pytest.raises(wasmjit.Trap, match="atomic wait on non-shared memory") as caught:
                call(op.name, 8, *values)
            assert caught.value.frames is not None and len(caught.value.frames) == 1


def test_sums_that_wrap_are_nowhere() -> None:
    """Not even that of an address right below 2^64 and an offset, which is one of the memory."""
    texts = []
    for op in ROWS:
        if op.access_bytes:
            values = " ".join(f"({VALTYPE_NAMES[t]}.const 0)" for t in op.params[1:])
            dropped = f"(drop ({op.name} offset=16 (i64.const -8) {values}))"
            body = dropped if op.result else dropped[6:-1]
            texts.append(f'(func (export "{op.name}") {body})')
    call = exports_of(wasmjit, Config(cache=False, tier="baseline"), f"(module (memory i64 1 1) {' '.join(texts)})")
    for op in ROWS:
        if op.access_bytes:
            with pytest.raises(wasmjit.Trap, match="out of bounds memory access"):
                call(op.name)


USES = """(module (memory {memory}) (table 4 funcref) (type $t (func))
  (func (export "f") (param $p i32) (local $x i32) (local.set $x (i32.load (local.get $p)))
    {use}))"""
TRUSTED = {
    "call_indirect": "(call_indirect (type $t) (local.get $x))",
    "table.get": "(drop (table.get (local.get $x)))",
    "table.set": "(table.set (local.get $x) (ref.null func))",
    "br_table": "(block (block (br_table 0 1 (local.get $x))))",
    "division": "(drop (i32.div_s (i32.const 7) (local.get $x)))",
    "bounds": "(i32.store (local.get $x) (i32.const 1))",
    "alignment": "(i32.atomic.store (local.get $x) (i32.const 1))",
}


@pytest.mark.parametrize("name", TRUSTED)
def test_what_is_checked_and_then_trusted_is_loaded_once(name: str) -> None:
    """LLVM knows nothing of where it comes from: it may not load it again behind the check."""
    texts = {}
    for memory in ("1 1", "1 1 shared"):
        module = decode(wat2wasm(USES.format(memory=memory, use=TRUSTED[name])))
        config = Config(opt_level="none", signals_based_traps=name != "bounds")
        texts[memory] = pipeline.render(module, config, "ir")
    hidden = re.compile(r'= call i32 asm "", "=r,0"\(i32 (%x\w+)\)')
    assert len(hidden.findall(texts["1 1 shared"])) > len(hidden.findall(texts["1 1"]))
