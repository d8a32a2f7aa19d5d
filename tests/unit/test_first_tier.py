"""The instruction table's columns of first tier and immediates: what C takes of a body, and what it must pass over."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import wasmjit
from tests.unit import test_ops
from tests.wasm_bytes import (
    CODE,
    DATA,
    DATA_COUNT,
    ELEMENT,
    EXPORT,
    FUNCTION,
    GLOBAL,
    MEMORY,
    TABLE,
    TAG,
    TYPE,
    name,
    section,
    signed,
    unsigned,
    vector,
)
from tests.wasm_bytes import module as module_of
from wasmjit import Config, Engine, Instance, Module, Store, Trap, thresholds
from wasmjit.compile import workers
from wasmjit.config import Features
from wasmjit.records import replace
from wasmjit.wasm import first_tier, vectors
from wasmjit.wasm.body import walk_body
from wasmjit.wasm.body_facts import BodyFacts
from wasmjit.wasm.decode import decode
from wasmjit.wasm.ops import ATOMIC, COMPILED, INTERPRETED, LOAD, OP_BY_NAME, OPS, SPECIAL, STORE, VECTOR, Op
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.types import I32, I64, VALTYPE_NAMES

wasmtime = pytest.importorskip("wasmtime")

END, DEAD = b"\x0b", b"\x00"  # unreachable: what follows is dead, and has any operands
MANY = 200  # of everything, so that indices take two bytes
# Bytes that would be `end` (0x0b) if they were taken for an instruction, in one byte and in two.
INDICES = (b"\x0b", b"\x8b\x01", b"\x8b\x80\x80\x00")
IMMEDIATES = {
    "x": INDICES,
    "4": (b"\x0b" * 4,),
    "8": (b"\x0b" * 8,),
    "m": tuple(b"\0" + index for index in INDICES) + (b"\x80\x00\x0b",),
    "b": (b"\x40", b"\x7f", b"\x63\x70"),
    "l": (b"\x03" + b"\x0b\x0b\x8b\x00\x0b",),
    "t": (b"\x01\x7f", b"\x81\x00\x6f", b"\x01\x63\x70"),
    "h": (b"\x70", b"\x6f"),
    "1": (b"\0",),
    "c": (b"\0", b"\1\2\x0b"),
}
VECTOR_IMMEDIATES = {"memarg": b"\0\x0b", "lane": b"\0", "lanes": b"\x0b" * 16, "bits": b"\x0b" * 16}
FEATURES = {"wasm_wide_arithmetic": True}


def code_of(op: Op) -> bytes:
    """The bytes of the opcode."""
    if op.code < 0x100:
        return bytes([op.code])
    if op.code < 0x10000:
        return bytes([op.code >> 8]) + unsigned(op.code & 0xFF)
    return b"\xfd" + unsigned(op.code & 0xFFF)


def spellings(op: Op) -> list[bytes]:
    """The instruction with immediates of each kind and length, and the end of what it begins."""
    head, found = code_of(op), [b""]
    if op.name == "else":
        return [b"\x04\x40" + head + END]
    if op.name == "br_on_non_null":  # the label takes a reference
        return [b"\x02\x70" + DEAD + head + b"\0" + DEAD + END]
    if op.name == "end":
        return [b"\x02\x40" + head]
    for word in op.immediates:
        if op.code >= 0x10000:
            choices: tuple[bytes, ...] = (VECTOR_IMMEDIATES[word],)
        elif word == "memory":
            choices = (b"\0", b"\x80\x00")
        elif word in ("atomic", "zero"):
            alignment = bytes([max(op.access_bytes.bit_length() - 1, 0)])
            choices = tuple(alignment + index for index in INDICES) if word == "atomic" else (b"\0",)
        elif word == "label":
            choices = (b"\x0b", b"\x8b\x00")
        else:
            choices = IMMEDIATES[first_tier.IMMEDIATES[word]]
        found = [before + choice for before in found for choice in choices]
    # What a block gives is taken from dead code.
    tail = DEAD + (b"\x05" + DEAD if op.name == "if" else b"") + END if "blocktype" in op.immediates else b""
    return [head + immediates + tail for immediates in found]


def dead(op: Op, depth: int = 12) -> bytes:
    """A body that has the instruction, spelled in each way, where it cannot be reached, and returns 42."""
    body = b"\x02\x40" * depth + DEAD.replace(b"\0", b"\x0c\0")
    for spelling in spellings(op):
        body += spelling + DEAD
    return body + END * depth + b"\x41" + signed(42) + END


def module(*bodies: bytes) -> bytes:
    """Functions [] -> [i32], with plenty of everything that an index can name."""
    locals_ = vector(unsigned(MANY) + b"\x7f")
    entries = [unsigned(len(locals_ + body)) + locals_ + body for body in bodies]
    count = max(MANY, len(bodies))
    entries += [unsigned(4) + b"\0\x41\x07\x0b"] * (count - len(bodies))
    passive = [b"\x01\x00\x00"] * MANY
    return module_of(
        section(TYPE, vector(*[b"\x60\0\1\x7f"] * MANY, b"\x60\0\0")),
        section(FUNCTION, vector(*[b"\0"] * count)),
        section(TABLE, vector(*[b"\x70\0\1"] * MANY)),
        section(MEMORY, vector(b"\0\1")),
        section(TAG, vector(*[b"\0" + unsigned(MANY)] * MANY)),
        section(GLOBAL, vector(*[b"\x7f\1\x41\0\x0b"] * MANY)),
        section(EXPORT, vector(*[name(str(i)) + b"\0" + unsigned(i) for i in range(len(bodies))])),
        section(ELEMENT, vector(b"\x03\0" + vector(b"\x0b", b"\x8b\x01"), *passive[1:])),
        section(DATA_COUNT, unsigned(MANY)),
        section(CODE, vector(*entries)),
        section(DATA, vector(*[b"\x01\0"] * MANY)),
    )


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is not interpreted fails."""

    def refuse(pool: workers.WorkerPool) -> workers.Worker:
        raise AssertionError("a compiler was started")

    monkeypatch.setattr(workers.WorkerPool, "_take", refuse)


def test_header_is_up_to_date() -> None:
    root = Path(__file__).resolve().parents[2]
    assert (root / "runtime_c" / "wj_opcodes.h").read_text() == first_tier.render_header()


def test_every_row_has_immediates_feature_and_first_tier() -> None:
    features = set(Features.__dataclass_fields__)
    assert {op.feature for op in OPS.values()} <= features | {""}
    compiled = {op.feature for op in OPS.values() if op.first_tier != INTERPRETED}
    assert compiled == {"exceptions", "gc"}
    assert OP_BY_NAME["call_indirect"].immediates == ("type", "table")
    assert OP_BY_NAME["i64.load"].immediates == ("memarg",)


def interpreted_rows() -> list[Op]:
    """In the order of their opcodes."""
    return [op for _, op in sorted(OPS.items()) if op.first_tier == INTERPRETED]


@pytest.mark.usefixtures("no_compiler")
def test_dead_code_of_every_interpreted_opcode_is_passed_over() -> None:
    rows = interpreted_rows()
    config = Config(tier="auto")
    for option, value in FEATURES.items():
        setattr(config, option, value)
    engine = Engine(config)
    store = Store(engine)
    exports = Instance(store, Module(engine, module(*map(dead, rows))), []).exports(store)
    assert {op.name: exports[i](store) for i, op in enumerate(rows)} == dict.fromkeys([op.name for op in rows], 42)


@pytest.mark.parametrize("name", ["f64x2.relaxed_madd", "i64.mul_wide_u"])
def test_a_body_with_an_instruction_that_is_compiled_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not interpreted, even where the instruction is dead. None of those without effects is: one is made one."""
    op = OP_BY_NAME[name]
    decoded = decode(module(dead(op)), Features(wide_arithmetic=True))
    assert walk_body(decoded, 0).is_interpretable
    compiled_only = replace(op, first_tier=COMPILED)
    monkeypatch.setitem(OPS, op.code, compiled_only)
    if op.kind == VECTOR:
        monkeypatch.setattr(vectors, "ROWS", [compiled_only if row is op else row for row in vectors.ROWS])
    assert not walk_body(decoded, 0).is_interpretable
    assert walk_body(decoded, 1).is_interpretable


# Each special row in a function that takes an i32.
REACHED = """(module
  (type $unary (func (param i32) (result i32)))
  (memory (export "memory") 1 4)
  (table $t 6 9 funcref) (table $o 4 funcref)
  (global $g (mut i64) (i64.const 5))
  (elem (table $t) (i32.const 1) func $twice $thrice)
  (elem $e func $thrice $twice)
  (data $d "\\01\\02\\03\\04")
  (func $twice (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func $thrice (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
  (func (export "unreachable") (param i32) (result i32) (if (local.get 0) (then unreachable)) (i32.const 1))
  (func (export "control") (param i32) (result i32)
    nop
    (block $b (result i32)
      (loop $l
        (br_if $l (i32.lt_s (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 5))))
      (if (result i32) (i32.eq (local.get 0) (i32.const 7)) (then (br $b (i32.const 70))) (else (i32.const 3)))))
  (func (export "table") (param i32) (result i32)
    (block $c (block $b (block $a (br_table $a $b $c (local.get 0))) (return (i32.const 10))) (return (i32.const 11)))
    (i32.const 12))
  (func (export "calls") (param i32) (result i32)
    (i32.add (call $twice (local.get 0)) (call_indirect $t (type $unary) (i32.const 9) (local.get 0))))
  (func $counts (export "tail_calls") (param i32) (result i32)
    (if (i32.lt_s (local.get 0) (i32.const 1)) (then (return_call $twice (local.get 0))))
    (return_call_indirect $t (type $unary) (i32.sub (local.get 0) (i32.const 2)) (i32.and (local.get 0) (i32.const 3))))
  (func (export "tail_calls_ref") (param i32) (result i32)
    (return_call_ref $unary (i32.const 11)
      (select (result (ref null $unary)) (ref.null $unary) (ref.func $thrice) (i32.eq (local.get 0) (i32.const 6)))))
  (func (export "parametric") (param i32) (result i32) (local i32)
    (drop (i32.const 3)) (local.set 1 (i32.const 8))
    (i32.add (select (local.get 0) (local.get 1) (local.get 0))
             (ref.is_null (select (result funcref) (ref.null func) (ref.func $twice) (local.get 0)))))
  (func (export "references") (param i32) (result i32) (local (ref $unary))
    (local.set 1 (ref.as_non_null (select (result (ref null $unary)) (ref.null $unary) (ref.func $twice)
      (i32.eq (local.get 0) (i32.const 6)))))
    (block $null (result i32 i32)
      (i32.const 8) (i32.const 9)
      (br_on_null $null (select (result (ref null $unary)) (local.get 1) (ref.null $unary) (local.get 0)))
      (block $some (param i32 i32 (ref $unary)) (result i32 i32 (ref null $unary))
        drop
        (br_on_non_null $some (select (result (ref null $unary)) (local.get 1) (ref.null $unary)
          (i32.eq (local.get 0) (i32.const 1))))
        (ref.func $thrice))
      (call_ref $unary))
    i32.sub (call_ref $unary (local.get 1)))
  (func (export "globals") (param i32) (result i32)
    (global.set $g (i64.add (global.get $g) (i64.extend_i32_s (local.get 0))))
    (i32.wrap_i64 (i64.sub (global.get $g) (i64.const 11))))
  (func (export "constants") (param i32) (result i32)
    (i32.add (i32.trunc_f32_s (f32.add (f32.const 2.5) (f32.convert_i32_s (local.get 0))))
             (i32.trunc_f64_s (f64.const -1.5e3))))
  (func (export "memory_") (param i32) (result i32)
    (memory.init $d (i32.const 8) (i32.const 0) (local.get 0))
    (memory.copy (i32.const 12) (i32.const 8) (i32.const 4))
    (memory.fill (i32.const 20) (local.get 0) (i32.const 3))
    (data.drop $d)
    (i32.add (memory.grow (i32.const 1))
             (i32.add (memory.size) (i32.add (i32.load (i32.const 12)) (i32.load (i32.const 20))))))
  (func (export "tables") (param i32) (result i32)
    (table.set $o (i32.const 0) (table.get $t (local.get 0)))
    (table.init $o $e (i32.const 2) (i32.const 0) (i32.const 2))
    (elem.drop $e)
    (table.copy $t $o (i32.const 3) (i32.const 2) (i32.const 2))
    (table.fill $t (i32.const 5) (ref.func $twice) (i32.const 1))
    (i32.add (table.grow $t (ref.func $twice) (i32.const 1))
             (i32.add (table.size $t) (call_indirect $t (type $unary) (i32.const 5) (i32.const 3)))))
  (func $low (param i32) (result i64) (i64.sub (i64.const 1) (i64.extend_i32_s (local.get 0))))
  (func (export "wide") (param i32) (result i32) (local i64 i64)
    (i64.add128 (call $low (local.get 0)) (i64.const 7) (i64.const -1) (i64.extend_i32_s (local.get 0)))
    (i64.sub128 (i64.const 5) (call $low (local.get 0)))
    (i64.mul_wide_s (i64.const 0x123456789abcdef))
    (local.set 1)
    (i64.xor (local.get 1))
    (i64.mul_wide_u (i64.const -3))
    (local.set 2)
    (i64.add (i64.mul (local.get 2) (i64.const 31)))
    (i32.wrap_i64 (i64.xor (i64.shr_u (i64.const 29)))))
)"""


# What the first tier does otherwise: options of Config.
MANNERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "metered": {"consume_fuel": True, "epoch_interruption": True},
    "checked": {"signals_based_traps": False},
    "canonical": {"nan_canonicalization": True},
}


# What code from stencils has, too.
IN_STENCILS = ("plain", "metered", "checked", "canonical")


def _kinds() -> Iterator[Any]:
    """A manner, and the seed for registers, or None: words."""
    for manner in MANNERS:
        yield pytest.param((manner, None), id=f"words-{manner}")
    for manner in IN_STENCILS:
        for seed in range(30 if manner == "plain" else 12):
            yield pytest.param(
                (manner, seed), id=f"stencils-{manner}-{seed}", marks=[pytest.mark.slow] * (seed > (manner == "plain"))
            )


@pytest.fixture(params=_kinds())
def first_code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The interpreter; stencils with the registers that they have; and with others. Options of Config for it."""
    manner, seed = request.param
    monkeypatch.setattr(thresholds, "STENCILS", seed is not None)
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed or 0)
    return MANNERS[manner]


Call = tuple[str, tuple[int, ...]]


@functools.cache
def theirs_of(text: str, fuel: int, canonical: bool) -> tuple[wasmtime.Engine, wasmtime.Module]:
    """The module of wasmtime's, which takes longer to compile it than all calls."""
    config = wasmtime.Config()
    config.wasm_wide_arithmetic = True
    config.consume_fuel = fuel != 0
    config.cranelift_nan_canonicalization = canonical
    engine = wasmtime.Engine(config)
    return engine, wasmtime.Module(engine, text)


@functools.cache
def expected(text: str, calls: tuple[Call, ...], fuel: int, canonical: bool) -> list[Any]:
    """What the calls do with wasmtime: the same for several kinds of code of ours."""
    return outcomes(wasmtime, *theirs_of(text, fuel, canonical), calls, fuel)


def both(options: dict[str, Any], text: str, calls: Sequence[Call]) -> tuple[list[Any], list[Any]]:
    """What the calls do in tier "auto" with these options, and with wasmtime."""
    fuel = 1 << 40 if "consume_fuel" in options else 0
    own = Config(tier="auto", **options)
    for option, value in FEATURES.items():
        setattr(own, option, value)
    engine = Engine(own)
    ours = outcomes(wasmjit, engine, Module(engine, text), calls, fuel)
    return ours, expected(text, tuple(calls), fuel, "nan_canonicalization" in options)


@pytest.mark.part(2)
@pytest.mark.usefixtures("no_compiler")
def test_every_special_row_does_in_the_interpreter_what_it_does_in_wasmtime(first_code: dict[str, Any]) -> None:
    wasm = wat2wasm(REACHED)
    decoded = decode(wasm, Features(wide_arithmetic=True))
    reached = set()
    for body in decoded.bodies:
        reached |= set(wasm[body.start : body.end])  # not only opcodes, but they are among these
    for op in interpreted_rows():
        if op.kind != SPECIAL:
            continue
        assert op.code >> 8 or op.code in reached, op.name
        assert op.code < 0x100 or op.name in REACHED, op.name
    for export, argument in itertools.product(decoded.exports[1:], (0, 1, 2, 3, 6, 100, -1)):
        ours, theirs = both(first_code, REACHED, [(export.name, (argument,))])
        assert ours == theirs, (export.name, argument)


def facts(text: str) -> BodyFacts:
    decoded = decode(wat2wasm(text), Features(wide_arithmetic=True))
    return walk_body(decoded, decoded.num_imported_functions)


@pytest.mark.parametrize(
    ("text", "deepest", "needed"),
    [
        ("(func)", 0, set()),
        ("(func (result i32) (i32.add (i32.const 1) (i32.add (i32.const 2) (i32.const 3))))", 3, set()),
        ("(func (local i32) (i32.const 1) (i32.const 1) (i32.const 1) local.set 0 drop drop)", 3, set()),
        ("(memory 1) (func (i64.const 1) (i32.const 1) (i64.const 2) i64.store drop)", 3, set()),
        ("(func (result i32 i32) (call 0))", 2, set()),
        ("(func (local v128))", 0, {"simd"}),
        ("(func (result i32) (i8x16.all_true (i32x4.splat (i32.const 1))))", 1, {"simd"}),
        ("(func unreachable (i64.add128) drop drop)", 2, {"wide_arithmetic"}),
        ("(memory 1) (memory 1) (func (drop (i32.load 1 (i32.const 0))))", 1, set()),
        ("(func (drop (ref.null func)))", 1, {"reference_types"}),
        ("(func return_call 0)", 0, {"tail_call"}),
        # Vectors that no instruction of the body makes are none that it needs the feature for.
        ("(func (param v128))", 0, set()),
        ("(func (result v128) unreachable)", 0, set()),
        ("(func (call $v) drop) (func $v (result v128) unreachable)", 1, set()),
        (
            "(type $v (func (result v128))) (table 1 funcref) (func (call_indirect (type $v) (i32.const 0)) drop)",
            1,
            set(),
        ),
        ("(type $v (func (result v128))) (func (block (type $v) unreachable) drop)", 1, set()),
        ("(global v128 (v128.const i64x2 1 2)) (func (drop (global.get 0)))", 1, set()),
    ],
)
def test_facts_of_a_body(text: str, deepest: int, needed: set[str]) -> None:
    found = facts(f"(module {text})")
    assert found.deepest_stack == deepest
    assert found.needed == needed
    assert found.is_interpretable
    assert found.has_vectors == ("simd" in needed)
    assert found.has_tail_calls == ("tail_call" in needed)


@pytest.mark.parametrize(("calls", "more", "interpretable"), [(60, 0, True), (70, 0, False), (70, 20_000, True)])
def test_only_operands_in_proportion_to_the_bytes_are_interpreted(calls: int, more: int, interpretable: bool) -> None:
    """There is a record for each while the body is translated."""
    many = f"(func $many (result {'i32 ' * 1000}) unreachable)"
    found = facts(f"(module (func {'(call $many)' * calls} unreachable {'nop ' * more}) {many})")
    assert found.deepest_stack == 1000 * calls
    assert found.is_interpretable == interpretable


@pytest.mark.part(2)
@pytest.mark.usefixtures("no_compiler")
def test_every_regular_row_computes_in_the_interpreter_what_it_does_in_wasmtime(
    first_code: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 2**30)
    computing = test_ops.COMPUTING
    assert all(op.first_tier == INTERPRETED for op in computing)
    functions = [test_ops._over_bits(op, i) for i, op in enumerate(computing)]
    for op in test_ops.REGULAR:
        if op.kind == LOAD:
            kind, back = test_ops.BITS[op.result][0], test_ops.BACK[op.result]
            functions.append(
                f'(func (export "{op.name}") (param i32) (result {kind}) local.get 0 {op.name} offset=5 {back})'
            )
        elif op.kind == STORE:
            kind, pushed = test_ops.BITS[op.params[1]]
            functions.append(
                f'(func (export "{op.name}") (param i32 {kind}) (result i64) '
                f"(i64.store (local.get 0) (i64.const -2)) local.get 0 local.get 1 {pushed} {op.name} "
                "(i64.load (local.get 0)))"
            )
    data = "".join(f"\\{(37 * i + 128) & 0xFF:02x}" for i in range(64))
    text = f'(module (memory 1) (data (i32.const 0) "{data}") {" ".join(functions)})'
    calls = [
        (str(i), arguments)
        for i, op in enumerate(computing)
        for arguments in itertools.product(*(test_ops.VALUES[t] for t in op.params))
    ]
    for op in test_ops.REGULAR:
        addresses = (0, 1, 7, 40, 65536 - 5 - op.access_bytes, 65536 - 4 - op.access_bytes, 65535, -1)
        if op.kind == LOAD:
            calls += [(op.name, (address,)) for address in addresses]
        elif op.kind == STORE:
            calls += [(op.name, (a, v)) for a in (0, 64, 65528, 65536, -8) for v in test_ops.VALUES[op.params[1]]]
    ours, theirs = both(first_code, text, calls)
    assert len(ours) == len(calls) > 5000
    for (export, arguments), mine, other in zip(calls, ours, theirs, strict=True):
        result = computing[int(export)].result if export.isdecimal() else 0
        if mine != other:
            assert "nan_canonicalization" not in first_code
            assert test_ops._is_nan(mine[0], result) and test_ops._is_nan(other[0], result), (export, arguments)
            assert mine[1] == other[1], (export, arguments)


CONSTANTS = (0, 1, -1, 2, 7, 31, 63, 127, 128, -128, 255, 65535, 2**31 - 1, -(2**31), 2**31, 2**40, 2**63 - 1, -(2**63))


@pytest.mark.part(2)
@pytest.mark.usefixtures("no_compiler")
def test_every_integer_row_with_a_constant_computes_what_it_does_in_wasmtime(
    first_code: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a value, as a condition, and as one that is not to hold."""
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 2**30)
    functions: list[str] = []
    calls: list[Call] = []
    for op in test_ops.REGULAR:
        if op.kind in (LOAD, STORE, ATOMIC) or len(op.params) != 2 or op.params[0] not in (I32, I64):
            continue
        kind, result = VALTYPE_NAMES[op.params[0]], VALTYPE_NAMES[op.result]
        for constant in {
            (c + 2**31) % 2**32 - 2**31 if kind == "i32" else (c + 2**63) % 2**64 - 2**63 for c in CONSTANTS
        }:
            number = len(functions)
            value = f"({op.name} (local.get 0) ({kind}.const {constant}))"
            condition = value if result == "i32" else f"(i64.eqz {value})"
            functions.append(
                f'(func (export "{number}") (param {kind}) (result {result} i32 i32) (local {result})'
                f" (local.set 1 {value}) (local.get 1)"
                f" (if (result i32) {condition} (then (i32.const 1)) (else (i32.const 2)))"
                f" (block (result i32) (i32.const 5) (br_if 0 {condition}) drop (i32.const 6)))"
            )
            calls += [(str(number), (value,)) for value in test_ops.VALUES[op.params[0]]]
    text = f"(module {' '.join(functions)})"
    ours, theirs = both(first_code, text, calls)
    assert len(calls) > 5000
    for call, mine, other in zip(calls, ours, theirs, strict=True):
        assert mine == other, (functions[int(call[0])], call)


def outcomes(package: Any, engine: Any, module: Any, calls: Sequence[Call], fuel: int) -> list[Any]:
    """What the calls give in one instance: a result, or a trap's name; and the fuel that it takes, of `fuel` if that
    is not 0. What it takes up to a trap is each compiler's own."""
    store = package.Store(engine)
    if fuel:
        store.set_fuel(fuel)
    if package is wasmjit:
        store.set_epoch_deadline(1)
    exports = package.Instance(store, module, []).exports(store)
    seen: list[Any] = []
    for export, arguments in calls:
        if fuel:
            store.set_fuel(fuel)
        try:
            result = exports[export](store, *arguments)
        except package.Trap as trap:
            seen.append((trap.trap_code.name, 0))
        else:
            seen.append((result, fuel - store.get_fuel() if fuel else 0))
    return seen


def test_all_that_a_block_or_a_call_gives_has_room() -> None:
    """A thousand results, where hardly anything was on the stack of operands before, again and again."""
    results = "(result" + " i64" * 1000 + ")"
    constants = "".join(f"(i64.const {i})" for i in range(1000))
    drops = "(drop)" * 1000
    text = f"""(module (type $many (func {results})) (type $through (func (param{" i64" * 1000}) {results}))
      (func $give {results} {constants})
      (func (export "last") (param i32) (result i64) (local i64)
        (call $give) (local.set 1) {drops[:-6]}
        (block (type $many) (call $give)) (loop (type $through)) (local.set 1) {drops[:-6]}
        (if (type $many) (local.get 0) (then (call $give)) (else (call $give))) (local.set 1) {drops[:-6]}
        (local.get 1)))"""
    store = Store(Engine(Config(tier="auto", cache=False)))
    instance = Instance(store, Module(store.engine, text), [])
    assert [instance.exports(store)["last"](store, way) for way in (0, 1)] == [999, 999]


def test_measuring_translates_all_functions(root: Path) -> None:
    """Each kernel's, to code that is not much larger than what it is made of (bench/translation.py)."""
    wasm = (root / "bench/kernels/json.wasm").read_bytes()
    interpreter = Module(Engine(Config(tier="auto", cache=False)), wasm)._load()._interpreter
    assert interpreter is not None
    none, found = interpreter.measure(), interpreter.measure(translate_all=True)
    assert none["function_count"] == none["code_bytes"] == 0 and found["code_ns"] > 0
    assert found["native_count"] == found["function_count"] > 20
    assert found["code_bytes"] < 10 * found["instruction_count"] and found["table_bytes"] < found["code_bytes"] / 8
    # The words are gone, but for the record of each function.
    assert found["word_bytes"] <= 128 * found["function_count"] < found["code_bytes"] / 8


def test_words_are_made_again_where_the_native_stack_ends() -> None:
    """They were freed when there was native code; the interpreter goes on where that has no room, and keeps them."""
    text = """(module (func $down (export "down") (param i64) (result i64)
      (if (result i64) (i64.eqz (local.get 0)) (then (unreachable))
        (else (i64.add (i64.const 1) (call $down (i64.sub (local.get 0) (i64.const 1))))))))"""
    store = Store(Engine(Config(tier="auto", cache=False, max_wasm_stack=256 * 1024)))
    module = Module(store.engine, text)
    down = Instance(store, module, []).exports(store)["down"]
    interpreter = module._load()._interpreter
    assert interpreter is not None
    seen = []
    for depth in (3, 20_000, 3):
        with pytest.raises(Trap) as raised:
            down(store, depth)
        frames = raised.value.frames
        assert {frame.func_index for frame in frames} == {0} and len({frame.module_offset for frame in frames}) == 2
        seen.append(interpreter.measure()["word_bytes"])
    assert seen[0] <= 128 < seen[1] == seen[2]
