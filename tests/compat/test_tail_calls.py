"""Tail calls: what a program sees of them."""

from __future__ import annotations

from typing import Any

import pytest

WAT = """(module
  (import "" "host" (func $host (param i32) (result i32)))
  (type $t (func (param i32) (result i32)))
  (table 4 4 funcref) (elem (i32.const 0) $leaf $two)
  (func $two (param i32 i32) (result i32) unreachable)
  (func $leaf (param i32) (result i32) (i32.div_u (i32.const 6) (local.get 0)))
  (func $direct (param i32) (result i32) (return_call $direct2 (i64.const 1) (local.get 0)))
  (func $direct2 (param i64 i32) (result i32) (return_call $leaf (local.get 1)))
  (func $table (param i32) (result i32) (return_call_indirect (type $t) (local.get 0) (local.get 0)))
  (func $wide (param i32) (result i32) (return_call $wide2 (local.get 0) (i64.const 1) (i64.const 2) (i64.const 3)
    (i64.const 4) (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9)))
  (func $wide2 (param i32 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i32) (return_call $leaf (local.get 0)))
  (func $host_call (param i32) (result i32) (return_call $host (local.get 0)))
  (func (export "direct") (param i32) (result i32) (i32.add (i32.const 1) (call $direct (local.get 0))))
  (func (export "table") (param i32) (result i32) (i32.add (i32.const 1) (call $table (local.get 0))))
  (func (export "wide") (param i32) (result i32) (i32.add (i32.const 1) (call $wide (local.get 0))))
  (func (export "host") (param i32) (result i32) (i32.add (i32.const 1) (call $host_call (local.get 0))))
  (func $loop (export "loop") (param i32 i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
    (return_call $loop (i32.sub (local.get 0) (i32.const 1)) (i32.add (local.get 1) (local.get 0)))))"""


@pytest.fixture
def exports(api: Any, instantiate: Any, host: Any) -> Any:
    return instantiate(WAT, host("i32 -> i32", lambda n: 10 // n))


def test_results(store: Any, exports: Any) -> None:
    assert [exports[name](store, 3) for name in ("direct", "wide")] == [3, 3]
    assert exports["host"](store, 3) == 4
    assert exports["loop"](store, 1_000_000, 0) == 1784293664


@pytest.mark.parametrize(
    ("name", "argument", "frames"),
    [
        ("direct", 0, ["leaf"]),
        ("wide", 0, ["leaf"]),
        ("table", 0, ["leaf"]),
        ("table", 1, ["table"]),  # bad signature
        ("table", 2, ["table"]),  # null
        ("table", 4, ["table"]),  # out of bounds
    ],
)
def test_frames_of_functions_that_tail_called_are_gone(
    api: Any, store: Any, exports: Any, name: str, argument: int, frames: list[str]
) -> None:
    with pytest.raises(api.Trap) as caught:
        exports[name](store, argument)
    names = [frame.func_name for frame in caught.value.frames]
    assert names[:-1] == frames
    assert len(names) == 2  # and the exported function, which has no name


def test_host_exceptions_pass_through(store: Any, exports: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        exports["host"](store, 0)
