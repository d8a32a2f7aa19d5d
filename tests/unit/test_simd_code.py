"""The machine code of vector instructions: docs/simd.md is up to date, and no lane goes through scalar registers."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from wasmjit import wat2wasm
from wasmjit.compile import pipeline
from wasmjit.config import Config
from wasmjit.wasm.decode import decode

ROOT = Path(__file__).resolve().parents[2]


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simd_table", ROOT / "tools" / "simd_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simd_table"] = module
    spec.loader.exec_module(module)
    return module


TOOL = load_tool()
# Moves between vector and general registers, scalar arithmetic on lanes, calls.
SCALAR = re.compile(
    r"v?pextr[bwdq]\s|v?pinsr[bwdq]\s|v?movd\s+%xmm|v?movq\s+%xmm\d+, %r|v?cvtt?s[sd]2|v?cvtsi2|"
    r"v?(add|mul|min|max)s[sd]\s|imul|call|[us]mov\s+[wx]|ins\s|fmov\s+[wx]|mov\s+[wx]\d+, v|"
    r"mov\s+v\d+\.[bhsd]\[|[us]cvtf\s+[sdwx]|fcvtz[su]\s+[wxsd]|bl\s"
)
# Instructions that are about one lane, or whose result is a number.
ONE_LANE = re.compile(r"lane|splat|any_true|all_true|bitmask|_zero$")
NO_INSTRUCTION = {("NEON", "i64x2.mul")}


def test_the_table_in_the_documentation_is_up_to_date() -> None:
    assert TOOL.PAGE.read_text() == TOOL.page(), "run tools/simd_table.py and look at the difference"


@pytest.mark.parametrize("column", TOOL.COLUMNS, ids=lambda column: column.title)
def test_no_vector_instruction_is_taken_apart(column: object) -> None:
    found = {
        (column.title, op.name): scalar  # type: ignore[attr-defined]
        for op, body in zip(TOOL.VECTORS, TOOL.assembly(TOOL.VECTORS, column), strict=True)
        if not ONE_LANE.search(op.name) and (scalar := [line for line in body if SCALAR.match(line)])
    }
    assert set(found) <= NO_INSTRUCTION, found


@pytest.mark.parametrize(
    ("column", "name", "most"),
    [
        ("SSE4.2", "f32x4.min", 5),
        ("AVX2", "f64x2.pmax", 1),
        ("SSE4.2", "i8x16.swizzle", 2),
        ("SSE4.2", "i32x4.dot_i16x8_s", 1),
        ("AVX2", "i32x4.relaxed_trunc_f32x4_s", 1),
        ("AVX2", "f32x4.relaxed_madd", 1),
        ("AVX2", "v128.load32_splat", 3),
        ("SSE4.2", "i16x8.narrow_i32x4_u", 1),
        ("NEON", "i8x16.swizzle", 1),
        ("NEON", "f32x4.relaxed_nmadd", 2),
        ("NEON", "i32x4.trunc_sat_f64x2_u_zero", 2),
        ("NEON", "i16x8.extmul_high_i8x16_u", 1),
        ("NEON", "v128.bitselect", 1),
    ],
)
def test_sequences_stay_short(column: str, name: str, most: int) -> None:
    (op,) = [op for op in TOOL.VECTORS if op.name == name]
    (chosen,) = [c for c in TOOL.COLUMNS if c.title == column]
    (body,) = TOOL.assembly([op], chosen)
    assert TOOL.length(body) <= most, body


SUMS = {
    "i32x4.dot_i16x8_s": "(local.get 0) (local.get 1)",
    "i32x4.extmul_low_i16x8_s": "(local.get 0) (local.get 1)",
    "i32x4.extmul_high_i16x8_s": "(local.get 0) (local.get 1)",
    "i32x4.extadd_pairwise_i16x8_s": "(local.get 0)",
    "i32x4.relaxed_dot_i8x16_i7x16_add_s": "(local.get 0) (local.get 1) (local.get 2)",
}


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", SUMS)
def test_sums_of_products_are_added_by_an_instruction_of_its_own(name: str, deterministic: bool) -> None:
    """Not as part of VNNI's: its latency would be that of each step of a loop that sums up."""
    product = f"({name} {SUMS[name]})"
    text = f"(module (func (param v128 v128 v128) (result v128) (i32x4.add {product} (local.get 2))))"
    config = Config(
        target="x86_64-unknown-linux-gnu", cpu="sapphirerapids", wasm_relaxed_simd_deterministic=deterministic
    )
    code = pipeline.render(decode(wat2wasm(text), config.features), config, "assembly")
    assert "vpmaddwd" in code and "vpaddd" in code
    assert "vpdp" not in code
