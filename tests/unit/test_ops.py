"""Tests derived from the instruction table: each row assembles, compiles, refuses wrong types, computes as wasmtime."""

from __future__ import annotations

import itertools
import math
import struct

import pytest

import wasmjit
from tests.rows import for_each
from tests.unit import bulk
from wasmjit.compile import pipeline
from wasmjit.config import Config
from wasmjit.errors import ValidationError
from wasmjit.wasm.decode import decode
from wasmjit.wasm.ops import ATOMIC, LOAD, OPS, SPECIAL, STORE, VECTOR, Op
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.types import F32, F64, I32, I64, VALTYPE_NAMES
from wasmjit.wasm.validate import validate

wasmtime = pytest.importorskip("wasmtime")

REGULAR = [op for op in OPS.values() if op.kind not in (SPECIAL, VECTOR)]
COMPUTING = [op for op in REGULAR if op.kind not in (LOAD, STORE, ATOMIC)]
BITS = {I32: ("i32", ""), I64: ("i64", ""), F32: ("i32", "f32.reinterpret_i32"), F64: ("i64", "f64.reinterpret_i64")}
BACK = {I32: "", I64: "", F32: "i32.reinterpret_f32", F64: "i64.reinterpret_f64"}
FLOATS = (0.0, -0.0, 1.0, -1.0, 1.5, 2.5, -0.5, 1e10, -3e9, 2147483647.0, 2147483648.0, -2147483649.0, 4294967296.0)
HUGE = (9.3e18, 1.9e19, 1e-40, math.inf, -math.inf, math.nan)
VALUES = {
    I32: (0, 1, -1, 2, 31, 32, 33, 255, -128, 65535, (1 << 31) - 1, -(1 << 31)),
    I64: (0, 1, -1, 63, 64, 65, 255, -(1 << 31), 1 << 32, (1 << 63) - 1, -(1 << 63)),
    F32: tuple(struct.unpack("<i", struct.pack("<f", f))[0] for f in (*FLOATS, *HUGE)),
    F64: tuple(struct.unpack("<q", struct.pack("<d", f))[0] for f in (*FLOATS, *HUGE)),
}


def operands(types: tuple[int, ...]) -> str:
    return " ".join(f"(local.get {i})" for i in range(len(types)))


def function(op: Op) -> str:
    """A function that applies `op` to its parameters."""
    result = f"(result {VALTYPE_NAMES[op.result]})" if op.result else ""
    names = " ".join(VALTYPE_NAMES[t] for t in op.params)
    return f"(func (param {names}) {result} {operands(op.params)} {op.name})"


def code(op: Op) -> bytes:
    """What wasm-tools writes for it."""
    return bulk.encoded(tuple(op.name for op in REGULAR))[op.name]


@for_each(REGULAR, lambda op: op.name)
def test_opcode_is_the_one_wasm_tools_writes(op: Op) -> None:
    validate(decode(bulk.program(bulk.applied(op.params, op.result, code(op)))))
    assert code(op).startswith(bytes([op.code]) if op.code < 0x100 else bytes([op.code >> 8, op.code & 0xFF]))


def test_every_row_compiles_and_verifies() -> None:
    text = f"(module (memory 1) {' '.join(function(op) for op in REGULAR)})"
    for config in (Config(verify_ir=True), Config(verify_ir=True, opt_level="none", signals_based_traps=False)):
        (unit,) = pipeline.compile_module(decode(wat2wasm(text)), config)
        assert unit.count == len(REGULAR)


@for_each(REGULAR, lambda op: op.name)
def test_wrong_operand_types_are_refused(op: Op) -> None:
    for position, wrong in itertools.product(range(len(op.params)), (I32, I64, F32, F64)):
        types = (*op.params[:position], wrong, *op.params[position + 1 :])
        if types == op.params:
            continue
        with pytest.raises(ValidationError, match="type mismatch"):
            validate(decode(bulk.program(bulk.applied(types, op.result, code(op)))))
    if not op.params:
        return
    with pytest.raises(ValidationError, match="type mismatch"):  # an operand short
        validate(decode(bulk.program(bulk.applied(op.params[1:], op.result, code(op)))))


def _over_bits(op: Op, index: int) -> str:
    """An export that takes and returns bit patterns, so that no float is converted on the way."""
    params = " ".join(BITS[t][0] for t in op.params)
    pushes = " ".join(f"(local.get {i}) {BITS[t][1]}" for i, t in enumerate(op.params))
    return (
        f'(func (export "{index}") (param {params}) (result {BITS[op.result][0]}) {pushes} {op.name} {BACK[op.result]})'
    )


def _is_nan(bits: int, valtype: int) -> bool:
    if valtype == F32:
        return math.isnan(struct.unpack("<f", struct.pack("<i", bits))[0])
    return valtype == F64 and math.isnan(struct.unpack("<d", struct.pack("<q", bits))[0])


@pytest.mark.part(2)
@pytest.mark.parametrize("canonical", [False, True], ids=["", "canonical NaNs"])
@pytest.mark.parametrize("level", ["speed", "none"])
def test_every_row_computes_as_wasmtime(level: str, canonical: bool) -> None:
    text = f"(module {' '.join(_over_bits(op, i) for i, op in enumerate(COMPUTING))})"
    engines = []
    theirs_config = wasmtime.Config()
    theirs_config.cranelift_nan_canonicalization = canonical
    for api, config in (
        (wasmjit, Config(opt_level=level, nan_canonicalization=canonical)),
        (wasmtime, theirs_config),
    ):
        engine = api.Engine(config)
        store = api.Store(engine)
        exports = api.Instance(store, api.Module(engine, text), []).exports(store)
        engines.append((api, store, exports))
    compared = 0
    for index, op in enumerate(COMPUTING):
        for arguments in itertools.product(*(VALUES[t] for t in op.params)):
            seen = []
            for api, store, exports in engines:
                try:
                    seen.append(exports[str(index)](store, *arguments))
                except api.Trap as trap:
                    seen.append(trap.trap_code.name)
            ours, theirs = seen
            same = ours == theirs or (not canonical and _is_nan(ours, op.result) and _is_nan(theirs, op.result))
            assert same, f"{op.name}{arguments}: {ours}, wasmtime {theirs}"
            compared += 1
    assert compared > 5000
