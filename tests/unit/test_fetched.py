"""Where memories are shared: which values get a copy that LLVM knows nothing of before they are checked and trusted."""

from __future__ import annotations

import pytest

from wasmjit.compile import pipeline
from wasmjit.compile.fetched import MARK
from wasmjit.config import Config
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.validate import validate_module_level

LOAD = "(i32.load (i32.const 0))"
USE = "(drop (table.get (local.get $x)))"
# An index that another thread may change: on some way it comes from a load.
COPIED = {
    "a load": f"(drop (table.get {LOAD}))",
    "computed": f"(drop (table.get (i32.and (i32.add {LOAD} (i32.const 1)) (i32.const 3))))",
    "a narrow load": "(drop (table.get (i32.load8_u (i32.const 0))))",
    "a local": f"(local.set $x {LOAD}) {USE}",
    "a local of a local": f"(local.set $y {LOAD}) (local.set $x (i32.shl (local.get $y) (i32.const 1))) {USE}",
    "one branch": f"(if (local.get $p) (then (local.set $x {LOAD}))) {USE}",
    "the value of a block": f"(drop (table.get (if (result i32) (local.get $p) (then {LOAD}) (else (i32.const 1)))))",
    "selected": f"(drop (table.get (select (local.get $p) {LOAD} (local.get $p))))",
    "the iteration before": f"(loop $l {USE} (local.set $x {LOAD}) (br_if $l (local.get $p)))",
    "through two loops": f"""(loop $l (loop $m {USE} (br_if $m (local.get $p)))
      (local.set $y {LOAD}) (local.set $x (local.get $y)) (br_if $l (local.get $p)))""",
    "a parameter of a loop": f"""(i32.const 1)
      (loop $l (param i32) (local.set $x) {USE} {LOAD} (br_if $l (local.get $p)) drop)""",
    "the result of a call": "(drop (table.get (call $other (i32.const 1))))",
    "a global": "(drop (table.get (global.get $g)))",
    "an atomic load": "(drop (table.get (i32.atomic.load (i32.const 0))))",
    "around itself": f"(drop (table.get (local.get $p))) (drop (call $f {LOAD}))",
    "a compared load": f"(drop (table.get (i32.eqz {LOAD})))",
    "a float": "(drop (table.get (i32.trunc_sat_f32_s (f32.load (i32.const 0)))))",
}
# One that comes from no load.
TRUSTED = {
    "a parameter": "(drop (table.get (local.get $p)))",
    "a counter": f"""(loop $l {USE} (local.set $x (i32.add (local.get $x) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $x) (local.get $p))))""",
    "a local that had a load": f"""(local.set $x {LOAD}) (local.set $y (local.get $x))
      (local.set $x (local.get $p)) {USE}""",
    "both branches": f"""(if (local.get $p) (then (local.set $x (i32.const 1))) (else (local.set $x (i32.const 2))))
      {USE}""",
}


def copies(body: str, **settings: object) -> int:
    config = Config(shared_memory=True, target="x86_64-unknown-linux-gnu")
    for name, value in settings.items():
        setattr(config, name, value)
    text = f"""(module (memory 1 1 shared) (table 4 4 funcref) (global $g (mut i32) (i32.const 1))
      (func $other (param i32) (result i32) (local.get 0))
      (func $f (export "f") (param $p i32) (result i32) (local $x i32) (local $y i32) {body} (i32.const 0)))"""
    module = decode(wat2wasm(text), config.features)
    validate_module_level(module)
    return pipeline.render(module, config, "ir").count(MARK)


@pytest.mark.parametrize("body", COPIED.values(), ids=COPIED)
def test_what_another_thread_may_change_is_copied(body: str) -> None:
    assert copies(body) == 1


@pytest.mark.parametrize("body", TRUSTED.values(), ids=TRUSTED)
def test_what_nobody_else_can_change_is_not(body: str) -> None:
    assert copies(body) == 0


def test_each_use_is_judged_by_itself() -> None:
    assert copies(f"(drop (table.get (local.get $p))) (local.set $x {LOAD}) {USE} {USE}") == 1


def test_checked_addresses_of_a_loop_are_not_copied() -> None:
    """So loops over shared memories are vectorised without guard pages, too."""
    body = """(loop $l (i32.store (local.get $x) (i32.add (i32.load (local.get $x)) (i32.const 1)))
      (local.set $x (i32.add (local.get $x) (i32.const 4))) (br_if $l (i32.lt_u (local.get $x) (local.get $p))))"""
    assert copies(body, signals_based_traps=False) == 0
    assert copies("(drop (i32.load (i32.load (local.get $p))))", signals_based_traps=False) == 1


def test_where_there_is_much_to_look_at_copies_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasmjit.compile.fetched._MOST_STEPS", 0)
    assert copies(TRUSTED["a counter"]) == 1
