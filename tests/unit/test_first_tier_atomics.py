"""Atomic instructions in the first tier: the interpreter, and code from stencils, which calls the same functions."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wasmjit
from tests.unit.test_atomics import ACCESSES, ROWS, VALUES, compute_alike, exports_of, program
from tests.unit.test_first_tier import no_compiler as no_compiler
from wasmjit import Config, thresholds
from wasmjit.cli.wast import WastOptions, run_file
from wasmjit.wasm.types import VALTYPE_NAMES

wasmtime = pytest.importorskip("wasmtime")

SUITE = Path(
    os.environ.get("WASMJIT_TESTSUITE") or Path(__file__).resolve().parents[3] / "shared" / "spec" / "testsuite"
)
MEMORIES = {"32": "(memory 1 1)", "64": "(memory i64 1 1)"}
FAR = 1 << 33  # an offset of more than 32 bits
KINDS = [
    pytest.param((False, {}), id="words"),
    pytest.param((True, {}), id="stencils"),
    pytest.param((False, {"signals_based_traps": False}), id="words-checked", marks=pytest.mark.slow),
    pytest.param((True, {"consume_fuel": True, "epoch_interruption": True}), id="stencils-metered"),
]

pytestmark = pytest.mark.usefixtures("no_compiler")


@pytest.fixture(params=KINDS)
def options(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    has_stencils, found = request.param
    monkeypatch.setattr(thresholds, "STENCILS", has_stencils)
    monkeypatch.setattr(thresholds, "REGISTER_SEED", 7)
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 2**30)
    return {"tier": "auto", "cache": False, **found}


def started(options: dict[str, Any], text: str) -> Callable[..., Any]:
    """What calls an export, of a module of wasmjit's."""
    store = wasmjit.Store(wasmjit.Engine(Config(**options)))
    if "consume_fuel" in options:
        store.set_fuel(1 << 40)
        store.set_epoch_deadline(1)
    exports = wasmjit.Instance(store, wasmjit.Module(store.engine, text), []).exports(store)
    return lambda name, *arguments: exports[name](store, *arguments)


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
def test_every_access_computes_as_wasmtime(options: dict[str, Any], memory: str) -> None:
    text = program(ACCESSES, memory)
    ours = started(options, text)
    theirs = exports_of(wasmtime, wasmtime.Config(), text)
    compute_alike(ours, theirs, ACCESSES, VALUES[1:3])


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
def test_addresses_are_checked(options: dict[str, Any], memory: str) -> None:
    """Of each access: alignment, of the sum with the offset, and bounds."""
    rows = [op for op in ROWS if op.access_bytes]
    call = started(options, program(rows, memory))
    for op in rows:
        values = [0] * (len(op.params) - 1)
        size = op.access_bytes
        if op.lowering == "wait":
            with pytest.raises(wasmjit.Trap, match="atomic wait on non-shared memory"):
                call(op.name, 65536 - size, *values)
        else:
            call(op.name, 65536 - size, *values)
        for address in (65536, (1 << 32) - size):
            with pytest.raises(wasmjit.Trap, match="out of bounds memory access"):
                call(op.name, address, *values)
        if size > 1:
            for name, address in ((op.name, size // 2), (op.name, 65536 + 1), (f"{op.name}+", 8)):
                with pytest.raises(wasmjit.Trap, match="unaligned atomic") as caught:
                    call(name, address, *values)
                assert caught.value.frames is not None and len(caught.value.frames) == 1


def test_offsets_have_64_bits(options: dict[str, Any]) -> None:
    texts = []
    for op in ACCESSES:
        values = " ".join(f"({VALTYPE_NAMES[t]}.const 0)" for t in op.params[1:])
        for name, offset, address in (("near", 16, -8), ("far", FAR, 8 - FAR), ("outside", FAR, 8)):
            body = f"({op.name} offset={offset} (i64.const {address}) {values})"
            texts.append(
                f'(func (export "{op.name} {name}") {"(drop" * bool(op.result)} {body} {")" * bool(op.result)})'
            )
    call = started(options, f"(module (memory i64 1 1) {' '.join(texts)})")
    for op, name in itertools.product(ACCESSES, ("near", "far", "outside")):
        with pytest.raises(wasmjit.Trap, match="out of bounds memory access"):
            call(f"{op.name} {name}")


def test_an_address_of_32_bits_is_the_low_half(options: dict[str, Any]) -> None:
    """Of an i64 that is wrapped, the high half stays where it is."""
    call = started(options, program(ACCESSES, MEMORIES["32"]))
    for op in ACCESSES:
        call(op.name, 8 + FAR, *([0] * (len(op.params) - 1)))


USED = """(module (memory $a 1 1) (memory $b 1 1)
  (func (export "f") (param i32 i64) (result i32 i64) (local i32 i64)
    (i32.atomic.store $b offset=4 (local.get 0) (i32.const 11))
    (atomic.fence)
    (loop $l
      (local.set 2 (i32.add (local.get 2) (i32.atomic.rmw.add $b offset=4 (local.get 0) (i32.const 3))))
      (local.set 1 (i64.mul (local.get 1) (i64.const 7)))
      (local.set 3 (i64.xor (local.get 3) (i64.atomic.rmw.xchg $a (local.get 0) (local.get 1))))
      (br_if $l (i32.lt_u (i32.atomic.load $b offset=4 (local.get 0)) (i32.const 100))))
    (local.set 0 (i32.atomic.load8_u $b offset=4 (local.get 0)))
    (local.get 2) (i64.add (local.get 3) (i64.extend_i32_u (local.get 0)))))"""


def test_locals_and_operands_around_them_are_what_they_were(options: dict[str, Any]) -> None:
    """Of several memories, with constants, locals and other results as operands."""
    call = started(options, USED)
    theirs = exports_of(wasmtime, wasmtime.Config(), USED)
    for address, value in itertools.product((0, 8, 65520), (1, -5, 1 << 40)):
        assert call("f", address, value) == theirs("f", address, value)


@pytest.mark.parametrize("has_stencils", [False, True], ids=["words", "stencils"])
def test_the_script_of_the_suite_passes_and_nothing_is_compiled(
    has_stencils: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "STENCILS", has_stencils)
    result = run_file(SUITE / "proposals" / "threads" / "atomic.wast", WastOptions(settings=(("tier", "auto"),)))
    assert not result.failures and result.passed


def test_it_takes_as_much_fuel_as_in_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the store knows when one traps, too."""
    monkeypatch.undo()
    text = """(module (memory 1 1) (func (export "f") (param i32) (result i32)
      (drop (i32.atomic.rmw.add (local.get 0) (i32.const 1))) (atomic.fence)
      (drop (memory.atomic.notify (i32.const 8) (i32.const 1)))
      (i32.atomic.load (local.get 0))))"""
    found = []
    for tier, has_stencils in (("optimized", False), ("auto", False), ("auto", True)):
        monkeypatch.setattr(thresholds, "STENCILS", has_stencils)
        store = wasmjit.Store(wasmjit.Engine(Config(tier=tier, consume_fuel=True, cache=False)), fuel=1000)
        function = wasmjit.Instance(store, wasmjit.Module(store.engine, text), []).exports(store)["f"]
        left = []
        for address in (0, 2):
            try:
                function(store, address)
            except wasmjit.Trap as trap:
                assert "unaligned" in trap.message
            left.append(store.get_fuel())
        found.append(left)
    assert found[0] == found[1] == found[2]
