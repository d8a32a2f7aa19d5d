"""Tests derived from the vector rows of the instruction table: encodings, types, immediates, results as wasmtime's."""

from __future__ import annotations

import functools
import itertools
import math
import random
import re
import struct
from collections.abc import Sequence
from typing import Any

import pytest

import wasmjit
from tests.processors import skip_unless_runnable
from tests.rows import for_each
from tests.unit import bulk
from wasmjit.compile import pipeline
from wasmjit.config import Config
from wasmjit.errors import MalformedError, ValidationError
from wasmjit.wasm.decode import decode
from wasmjit.wasm.ops import OPS, VECTOR, Op
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.types import F32, F64, I32, I64, V128, VALTYPE_NAMES
from wasmjit.wasm.validate import validate
from wasmjit.wasm.vectors import LANES, ROWS

wasmtime = pytest.importorskip("wasmtime")

VECTORS = [op for op in OPS.values() if op.kind == VECTOR]
RELAXED = [op for op in VECTORS if "relaxed" in op.name]
SHUFFLES = ["0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", "31 0 5 16 16 7 30 2 9 9 21 12 3 4 28 15", "3 " * 16]
ROWS_OF_INPUT = 600
LOADS = {I32: "i32.load", I64: "i64.load", F32: "f32.load", F64: "f64.load", V128: "v128.load"}
STORES = {I32: "i32.store", I64: "i64.store", F32: "f32.store", F64: "f64.store", V128: "v128.store"}


def immediates(op: Op) -> list[str]:
    """What to try for its immediates."""
    if "lanes" in op.immediates:
        return SHUFFLES
    if "bits" in op.immediates:
        return ["i32x4 1 -2 3 0x7fc00001", "i64x2 0 0"]
    return [str(lane) for lane in range(LANES[op.shape])] if "lane" in op.immediates else [""]


def function(op: Op, immediate: str, types: tuple[int, ...]) -> str:
    """A function that applies `op` to parameters of `types`."""
    result = f"(result {VALTYPE_NAMES[op.result]})" if op.result else ""
    params = f"(param {' '.join(VALTYPE_NAMES[t] for t in types)})" if types else ""
    return f"(func {params} {result} {' '.join(f'(local.get {i})' for i in range(len(types)))} {op.name} {immediate})"


def test_there_are_236_and_20() -> None:
    assert len(VECTORS) - len(RELAXED) == 236 and len(RELAXED) == 20


def code(op: Op) -> bytes:
    """What wasm-tools writes for it, with the first of its immediates."""
    texts = {op.name: f"{op.name} {immediates(op)[0]}" for op in VECTORS}
    return bulk.encoded(tuple(texts.values()))[texts[op.name]]


@for_each(VECTORS, lambda op: op.name)
def test_opcode_is_the_one_wasm_tools_writes(op: Op) -> None:
    validate(decode(bulk.program(bulk.applied(op.params, op.result, code(op)))))
    sub = op.code & 0xFFF
    assert code(op).startswith(bytes([0xFD, sub]) if sub < 0x80 else bytes([0xFD, sub & 0x7F | 0x80, sub >> 7]))


@pytest.mark.part(3)
@pytest.mark.parametrize("target", [None, "x86_64-linux-gnu", "aarch64-linux-gnu"])
@pytest.mark.parametrize("level", ["none", "speed"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_every_row_compiles_and_verifies(target: str | None, level: str, deterministic: bool) -> None:
    text = f"(module (memory 1) {' '.join(function(op, immediates(op)[-1], op.params) for op in VECTORS)})"
    config = Config(
        verify_ir=True,
        opt_level=level,
        target=target,
        wasm_relaxed_simd_deterministic=deterministic,
        nan_canonicalization=deterministic,
    )
    (unit,) = pipeline.compile_module(decode(wat2wasm(text)), config)
    assert unit.count == len(VECTORS)


@for_each(VECTORS, lambda op: op.name)
def test_wrong_operand_types_are_refused(op: Op) -> None:
    for position, wrong in itertools.product(range(len(op.params)), (I32, I64, F32, F64, V128)):
        types = (*op.params[:position], wrong, *op.params[position + 1 :])
        if types != op.params:
            with pytest.raises(ValidationError, match="type mismatch"):
                validate(decode(bulk.program(bulk.applied(types, op.result, code(op)))))
    if op.params:
        with pytest.raises(ValidationError, match="type mismatch"):  # an operand short
            validate(decode(bulk.program(bulk.applied(op.params[1:], op.result, code(op)))))


def unreachable(op: Op) -> tuple[Sequence[int], Sequence[int], bytes]:
    return (), [op.result] if op.result else [], b"\0" + code(op)


@for_each(VECTORS, lambda op: op.name)
def test_in_unreachable_code_operands_may_be_missing(op: Op) -> None:
    validate(decode(bulk.program(unreachable(op))))


def test_unreachable_code_compiles() -> None:
    wasmjit.Module(wasmjit.Engine(), bulk.program(*map(unreachable, VECTORS)))


def body(code: bytes) -> bytes:
    """A module with a memory and a function of type (i32 v128) -> v128 with this code."""

    def section(number: int, contents: bytes) -> bytes:
        return bytes([number, len(contents)]) + contents

    code = b"\0" + code + b"\x0b"
    return b"".join(
        (
            b"\0asm\1\0\0\0",
            section(1, b"\1\x60\2\x7f\x7b\1\x7b"),
            section(3, b"\1\0"),
            section(5, b"\1\0\1"),
            section(10, b"\1" + bytes([len(code)]) + code),
        )
    )


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (b"\x20\1\x20\1\xfd\x0d" + bytes(15) + b"\x20", ValidationError, "invalid lane index 32"),
        (b"\x20\1\xfd\x15\x10", ValidationError, "invalid lane index 16: i8x16 has 16 lanes"),
        (b"\x20\1\xfd\x1d\2", ValidationError, "invalid lane index 2: i64x2"),
        (b"\x20\0\x20\1\xfd\x57\3\0\2", ValidationError, "invalid lane index 2"),
        (b"\x20\0\xfd\0\5\0", ValidationError, "alignment must not be larger than natural"),
        (b"\x20\0\x20\1\xfd\x54\1\0\0", ValidationError, "alignment must not be larger than natural"),
        (b"\x20\0\xfd\0\x44\1\0", ValidationError, "unknown memory 1"),
        (b"\x20\1\xfd\x9a\1", MalformedError, "illegal opcode 0xfd 0x9a"),
        (b"\x20\1\xfd\x94\2", MalformedError, "illegal opcode 0xfd 0x114"),
        (b"\x20\1\xfd\xff\xff\xff\xff\xff\xff", MalformedError, "integer"),
        (b"\xfd\x0c" + bytes(12), MalformedError, "unexpected end"),
        (b"\x20\1\x20\1\xfd\x0d" + bytes(12), MalformedError, "unexpected end"),
        (b"\x20\1\xfd", MalformedError, "unexpected end"),
    ],
)
def test_bad_immediates(code: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        validate(decode(body(code)))


def test_the_rows_are_complete() -> None:
    missing = [sub for sub, row in enumerate(ROWS) if row is None]
    text = "9a a2 a5 a6 af b0 b2 b3 b4 bb c2 c5 c6 cf d0 d2 d3 d4 e2 ee"  # left out of the specification too
    assert missing == [int(sub, 16) for sub in text.split()]


# ---- results: each function walks over the same rows of input and writes a row of output for each ----

SPECIAL_F32 = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 2147483520.0, 2147483648.0, -2147483648.0, 4294967040.0]
SPECIAL_F32 += [4294967296.0, -2147483904.0, 1e-40, 3e38, math.inf, -math.inf, math.nan, 8388609.5, -0.75]
SPECIAL_F64 = [*SPECIAL_F32, 2147483647.5, -2147483648.9, 4294967295.5, 1e300, 5e-324, 4503599627370497.5]
NANS_F32 = [0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF812345]
NANS_F64 = [0x7FF8 << 48, 0xFFF8 << 48, (0x7FF << 52) + 1, (0xFFF << 52) + 12345]


def vector(choose: random.Random) -> bytes:
    """16 bytes that are interesting for some shape."""
    kind = choose.randrange(9)
    if kind == 0:
        return choose.randbytes(16)
    if kind == 1:
        return struct.pack("<4f", *(choose.choice(SPECIAL_F32) for _ in range(4)))
    if kind == 2:
        return struct.pack("<2d", *(choose.choice(SPECIAL_F64) for _ in range(2)))
    if kind == 3:
        return bytes(choose.choice((0, 1, 2, 15, 16, 17, 127, 128, 129, 143, 144, 240, 254, 255)) for _ in range(16))
    if kind == 4:
        return struct.pack("<8h", *(choose.choice((0, 1, -1, 32767, -32768, 128, -129, 255, 256)) for _ in range(8)))
    if kind == 5:
        return struct.pack("<4i", *(choose.choice((0, 1, -1, 2**31 - 1, -(2**31), 32768, -32769)) for _ in range(4)))
    if kind == 6:
        return struct.pack("<2q", *(choose.choice((0, 1, -1, 2**63 - 1, -(2**63), 2**31)) for _ in range(2)))
    if kind == 7:
        return struct.pack("<4I", *(choose.choice(NANS_F32) for _ in range(4)))
    return struct.pack("<2Q", *(choose.choice(NANS_F64) for _ in range(2)))


def walk(op: Op, immediate: str, index: int) -> str:
    """The export `index`: rows of 64 bytes from 0 on, three vectors and a number; results of 16 bytes from $out on."""
    operands = []
    place = 0
    for valtype in op.params:
        if op.access_bytes and not operands:
            operands.append("(local.get $out)" if not op.result else "(i32.add (local.get $in) (i32.const 5))")
        elif valtype == V128:
            operands.append(f"(v128.load offset={place} (local.get $in))")
            place += 16
        else:
            operands.append(f"({LOADS[valtype]} offset=48 (local.get $in))")
    text = f"({op.name} {immediate} {' '.join(operands)})"
    if op.result:
        text = f"({STORES[op.result]} (local.get $out) {text})"
    return f"""(func (export "{index}") (param $in i32) (param $out i32) (loop $next {text}
      (local.set $in (i32.add (local.get $in) (i32.const 64)))
      (local.set $out (i32.add (local.get $out) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get $in) (i32.const {64 * ROWS_OF_INPUT})))))"""


CASES = [(op, immediate) for op in VECTORS for immediate in immediates(op)]
OUTPUT = 1 << 16


def module_of(cases: Sequence[tuple[Op, str]]) -> str:
    text = "\n".join(walk(op, immediate, index) for index, (op, immediate) in enumerate(cases))
    return f'(module (memory (export "memory") 2) {text})'


@functools.cache
def generated(**options: Any) -> list[str]:
    """What LLVM is given for every case: the text, and the attributes that it names."""
    text = pipeline.render(decode(wat2wasm(module_of(CASES))), Config(**options), "ir")
    functions = re.findall(r"^define .*?^}", text, re.MULTILINE | re.DOTALL)
    assert len(functions) == len(CASES)
    attributes = "\n".join(re.findall(r"^attributes .*", text, re.MULTILINE))
    return [function + attributes for function in functions]


def results(api: Any, config: Any, cases: Sequence[tuple[Op, str]], rows: bytes) -> list[bytes]:
    """The output of cases, computed by wasmjit or wasmtime."""
    engine = api.Engine(config)
    store = api.Store(engine)
    module = api.Module(engine, module_of(cases))
    exports = api.Instance(store, module, []).exports(store)
    memory = exports["memory"]
    outputs = []
    for index in range(len(cases)):
        memory.write(store, rows, 0)
        memory.write(store, bytes(16 * ROWS_OF_INPUT), OUTPUT)
        exports[str(index)](store, 0, OUTPUT)
        outputs.append(bytes(memory.read(store, OUTPUT, OUTPUT + 16 * ROWS_OF_INPUT)))
    return outputs


def without_nans(op: Op, output: bytes) -> list[Any]:
    """The lanes of float results, with None for every NaN."""
    shape = op.result_shape
    if shape[0] != "f" or not op.result:
        return [output]
    lanes = struct.unpack(f"<{len(output) // 4}f" if shape == "f32x4" else f"<{len(output) // 8}d", output)
    return [None if lane != lane else lane for lane in lanes]


@pytest.mark.part(2)
@pytest.mark.parametrize("canonical", [False, True], ids=["", "canonical"])
@pytest.mark.parametrize("deterministic", [False, True], ids=["", "deterministic"])
@pytest.mark.parametrize("level", ["speed", "none"])
def test_every_row_computes_as_wasmtime(level: str, deterministic: bool, canonical: bool) -> None:
    choose = random.Random(f"{level}{deterministic}{canonical}")
    rows = b"".join(vector(choose) for _ in range(4 * ROWS_OF_INPUT))
    theirs_config = wasmtime.Config()
    theirs_config.wasm_relaxed_simd = True
    theirs_config.wasm_relaxed_simd_deterministic = deterministic
    theirs_config.cranelift_nan_canonicalization = canonical
    options = {"wasm_relaxed_simd_deterministic": deterministic, "nan_canonicalization": canonical}
    plain = generated(opt_level=level)
    cases = CASES
    if deterministic or canonical:  # what LLVM is given the same for computes the same
        changed = generated(opt_level=level, **options)
        cases = [case for case, with_them, without in zip(CASES, changed, plain, strict=True) if with_them != without]
        assert len(cases) >= 17
    ours = results(wasmjit, Config(opt_level=level, **options), cases, rows)
    theirs = results(wasmtime, theirs_config, cases, rows)
    different = []
    for (op, immediate), mine, other in zip(cases, ours, theirs, strict=True):
        if mine != other and (canonical or without_nans(op, mine) != without_nans(op, other)):
            at = next(at for at in range(0, len(mine), 16) if mine[at : at + 16] != other[at : at + 16])
            row = rows[4 * at : 4 * at + 64]
            different.append(
                f"{op.name} {immediate}: {[row[i : i + 16].hex() for i in range(0, 64, 16)]} -> "
                f"{mine[at : at + 16].hex()}, wasmtime {other[at : at + 16].hex()}"
            )
    assert not different, "\n".join(different)


@pytest.mark.parametrize("names", ["madd", pytest.param("", marks=pytest.mark.slow)])
def test_multiply_add_is_rounded_once_on_every_processor(names: str) -> None:
    """Deterministic, without an instruction: the same results as with it."""
    cases = [case for case in CASES if names in case[0].name]
    assert len(cases) >= 4
    choose = random.Random("fma")
    rows = b"".join(vector(choose) for _ in range(4 * ROWS_OF_INPUT))
    skip_unless_runnable("x86-64-v3")
    outputs = [
        results(wasmjit, Config(cpu=cpu, wasm_relaxed_simd_deterministic=True, nan_canonicalization=True), cases, rows)
        for cpu in ("x86-64-v2", "x86-64-v3")
    ]
    for (op, _), without, with_ in zip(cases, *outputs, strict=True):
        assert without == with_, op.name


def test_multiply_add_by_calls_keeps_registers() -> None:
    """`madd` in a loop without an instruction for it calls the runtime: a call per lane, and registers survive."""
    text = """(module (func (export "f") (param v128 i64) (result v128) (local v128)
      (loop $next
        (local.set 2 (f64x2.relaxed_madd (local.get 0) (local.get 0) (local.get 2)))
        (br_if $next (i64.ne (local.tee 1 (i64.sub (local.get 1) (i64.const 1))) (i64.const 0))))
      (local.get 2)))"""
    engine = wasmjit.Engine(Config(cpu="x86-64-v2", wasm_relaxed_simd_deterministic=True))
    store = wasmjit.Store(engine)
    exports = wasmjit.Instance(store, wasmjit.Module(engine, text), []).exports(store)
    assert struct.unpack("<2d", exports["f"](store, struct.pack("<2d", 2.0, 3.0), 1000)) == (4000.0, 9000.0)


@pytest.mark.parametrize("level", ["none", "speed"])
@pytest.mark.parametrize(
    "body",
    [
        "(f32x4.demote_f64x2_zero (f64x2.promote_low_f32x4 (local.get 0)))",
        "(f32x4.min (local.get 0) (local.get 0))",
        "(f32x4.max (local.get 0) (v128.const f32x4 -inf -inf -inf -inf))",
        "(f32x4.sub (local.get 0) (v128.const i32x4 0 0 0 0))",
        "(f32x4.mul (local.get 0) (f32x4.splat (f32.const 1)))",
        "(f32x4.div (local.get 0) (v128.const f32x4 -1 -1 -1 -1))",
        "(f32x4.relaxed_madd (local.get 0) (v128.const f32x4 1 1 1 1) (v128.const f32x4 -0 -0 -0 -0))",
        "(f32x4.add (local.get 0) (f32x4.replace_lane 0 (f32x4.splat (f32.const -0)) (f32.const -0)))",
        "(f32x4.add (local.get 0) (i8x16.shuffle 0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7"
        " (f32x4.splat (f32.const -0)) (local.get 0)))",
    ],
)
def test_what_llvm_folds_still_quietens_signalling_nans(body: str, level: str) -> None:
    store = wasmjit.Store(wasmjit.Engine(Config(opt_level=level)))
    text = f'(module (func (export "f") (param v128) (result v128) {body}))'
    exports = wasmjit.Instance(store, wasmjit.Module(store.engine, text), []).exports(store)
    for lane in struct.unpack("<2I", exports["f"](store, struct.pack("<4I", *[0x7F800001] * 4))[:8]):
        assert lane & 0x7FC00000 == 0x7FC00000
