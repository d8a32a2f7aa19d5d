"""What is done so that huge functions neither take all memory nor compile forever."""

from __future__ import annotations

from typing import Any

import pytest

from wasmjit import Config, Engine, Instance, Module, Store, Trap, TrapCode, thresholds
from wasmjit.compile import function, llvm, lower
from wasmjit.compile.liveness import Block, PendingStore, dead_stores
from wasmjit.inspection import llvm_text
from wasmjit.wasm.text import wat2wasm

# Locals of every type, parameters among them, that live through joins and a loop.
MIX = """(module (memory 1)
  (func (export "mix") (param i32 f64) (result f64) (local i64 f32 f64 v128 externref i32)
    (loop
      (local.set 2 (i64.add (local.get 2) (i64.extend_i32_u (local.get 0))))
      (if (i32.and (local.get 0) (i32.const 1))
        (then (local.set 3 (f32.add (local.get 3) (f32.const 0.5))) (local.set 7 (i32.add (local.get 7) (i32.const 3))))
        (else (local.set 4 (f64.add (local.get 4) (local.get 1)))
              (local.set 5 (i32x4.add (local.get 5) (i32x4.splat (local.get 0))))))
      (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.set 7 (i32.add (local.get 7) (ref.is_null (local.get 6))))
    (f64.add (f64.add (f64.convert_i64_u (local.get 2)) (f64.promote_f32 (local.get 3)))
      (f64.add (f64.add (local.get 4) (f64.convert_i32_u (local.get 7)))
        (f64.convert_i32_s (i32x4.extract_lane 2 (local.get 5))))))
  (func (export "dead") (param i32) (local i32 i32)
    (local.set 1 (i32.load (local.get 0)))
    (if (local.get 0) (then (local.set 2 (local.get 1))) (else (local.set 2 (i32.const 1))))))"""


def exports(wat: str, **options: Any) -> tuple[Store, Any]:
    store = Store(Engine(Config(**options)))
    return store, Instance(store, Module(store.engine, wat), []).exports(store)


@pytest.mark.parametrize("level", ["none", "speed"])
@pytest.mark.parametrize("promoted", [0, 1, 40])
def test_locals_in_the_frame_hold_the_same_values(monkeypatch: pytest.MonkeyPatch, level: str, promoted: int) -> None:
    store, usual = exports(MIX, opt_level=level)
    expected = usual["mix"](store, 9, 0.25)
    monkeypatch.setattr(function, "MAX_PROMOTED", promoted)
    store, demoted = exports(MIX, opt_level=level)
    assert demoted["mix"](store, 9, 0.25) == expected == 45 + 2.5 + 1 + 16 + 20
    demoted["dead"](store, 0)
    with pytest.raises(Trap) as caught:
        demoted["dead"](store, 65536)
    assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS


def test_the_most_used_locals_stay_in_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    wasm = wat2wasm(
        "(module (func (param i32 i32) (result i32)"
        " (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1)))"
        "   (if (local.get 0) (then (local.set 1 (i32.add (local.get 1) (i32.const 2)))))"
        "   (br_if 0 (local.get 0)))"
        " (local.set 0 (i32.mul (local.get 0) (i32.const 3))) (i32.add (local.get 0) (local.get 1))))"
    )
    usual = llvm_text(wasm, Config(), "ir")
    assert "volatile" not in usual
    monkeypatch.setattr(function, "MAX_PROMOTED", 5)
    text = llvm_text(wasm, Config(), "ir")
    assert "store volatile i32 %p1, ptr %l1" in text
    assert text.replace(" volatile", "") == usual
    assert not [line for line in text.splitlines() if "volatile" in line and "%l0" in line]


def test_the_longest_function_of_a_module() -> None:
    assert llvm.longest_function("declare void @a()\n") == 0
    one, two = "define void @a() {\n  ret void\n}\n", "define void @bb() {\n  ret void\n}\n"
    assert llvm.longest_function(f"; head\n{one}{two}") == len(two)
    assert llvm.longest_function(f"{two}{one}") == len(two)


@pytest.mark.parametrize("opt_level", ["speed", "speed_and_size"])
def test_enormous_functions_are_compiled_as_without_optimisation(
    monkeypatch: pytest.MonkeyPatch, opt_level: str
) -> None:
    text = llvm_text(wat2wasm(MIX), Config(), "ir")
    request = {
        "triple": None,
        "cpu": None,
        "features": None,
        "guard_pages": True,
        "verify": True,
        "output": "optimised",
    }

    def optimised(level: str) -> bytes:
        return llvm.compile_text(text, {**request, "opt_level": level})[0]

    usual, none = optimised(opt_level), optimised("none")
    monkeypatch.setattr(thresholds, "HUGE_FUNCTION_TEXT_BYTES", 0)
    huge = optimised(opt_level)
    monkeypatch.setattr(thresholds, "ENORMOUS_FUNCTION_TEXT_BYTES", 0)
    assert optimised(opt_level) == none != usual
    assert huge != none


def test_liveness_looks_at_a_bounded_part_of_a_switch() -> None:
    start, reader = Block(), Block()
    reader.reads.add(0)
    switch = Block()
    switch.successors = [Block() for _ in range(50_000)]
    start.successors = [switch]
    start.pending = [PendingStore(0, 1, "%x", 0, None)]
    assert list(dead_stores([start])) == start.pending
    switch.successors[-1] = reader
    assert list(dead_stores([start])) == []
    switch.writes[0] = 49_999  # overwritten before the last branch: none of the others reads it
    assert list(dead_stores([start])) == start.pending


@pytest.mark.parametrize("level", ["none", "speed"])
def test_constants_beyond_those_that_llvm_looks_through(monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    monkeypatch.setattr(lower, "_MOST_CONSTANTS", 2)
    wat = """(module
      (func (export "f64") (result f64)
        (f64.add (f64.const 1.5) (f64.mul (f64.const -0x1p-3) (f64.add (f64.const 1e300) (f64.const 1.5)))))
      (func (export "bits") (result i64)
        (drop (f64.const 1.25)) (drop (f64.const 2.25)) (i64.reinterpret_f64 (f64.const nan:0x4000000000001)))
      (func (export "nan") (result i32)
        (drop (f32.const 1.25)) (drop (f32.const 2.25)) (i32.reinterpret_f32 (f32.const -nan:0x200001)))
      (func (export "f32") (result f32)
        (f32.add (f32.const 0.1) (f32.add (f32.const 0.2) (f32.sub (f32.const 0.3) (f32.const -0.4)))))
      (func (export "v128") (result v128)
        (i32x4.add (v128.const i32x4 1 2 3 4) (i32x4.mul (v128.const i32x4 5 6 7 8)
          (i32x4.add (v128.const i32x4 -1 9 1000000 0x7fffffff) (v128.const i32x4 0 0 0 0)))))
      (func (export "join") (param i32) (result f64)
        (drop (f64.const 7)) (drop (f64.const 8))
        (if (result f64) (local.get 0) (then (f64.const 9)) (else (f64.const 10)))))"""
    store, found = exports(wat, opt_level=level)
    assert found["f64"](store) == 1.5 - 0.125 * (1e300 + 1.5)
    assert found["bits"](store) == 0x7FF4000000000001
    assert found["nan"](store) & 0xFFFFFFFF == 0xFFA00001
    assert found["f32"](store) == pytest.approx(1.0)
    lanes = [1 - 5, 2 + 54, 3 + 7_000_000, 4 + 8 * 0x7FFFFFFF]
    assert found["v128"](store).hex() == b"".join((lane % 2**32).to_bytes(4, "little") for lane in lanes).hex()
    assert (found["join"](store, 1), found["join"](store, 0)) == (9.0, 10.0)
    assert "@wj_constants" in llvm_text(bytes(wat2wasm(wat)), Config(), "ir")
