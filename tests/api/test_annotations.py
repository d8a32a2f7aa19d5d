"""`Func.wrap`, and what annotations mean."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

import wasmjit
from wasmjit import Caller, Func, FuncType, Store, ValType, WasmError

I32, I64, F32, F64 = ValType.i32(), ValType.i64(), ValType.f32(), ValType.f64()


def all_markers(
    a: wasmjit.i32, b: wasmjit.i64, c: wasmjit.f32, d: wasmjit.f64, e: wasmjit.externref, f: wasmjit.funcref
) -> tuple[wasmjit.funcref, wasmjit.externref, wasmjit.f64, wasmjit.f32, wasmjit.i64, wasmjit.i32]:
    return f, e, d, c, b, a


def bare(a: int, b: float) -> tuple[float, int]:
    return b, a


def nothing() -> None:
    pass


def with_caller(caller: Caller, a: wasmjit.i32) -> wasmjit.i32:
    assert caller.data() == "data"
    return a + 1


def with_options(a: int, *, scale: int = 2) -> int:
    return a * scale


class Adder:
    def __init__(self, amount: int) -> None:
        self.amount = amount

    def method(self, a: wasmjit.i32) -> wasmjit.i32:
        return a + self.amount

    def __call__(self, a: wasmjit.i32) -> wasmjit.i32:
        return a + self.amount


def add(a: wasmjit.i32, b: wasmjit.i32) -> wasmjit.i32:
    return a + b


@pytest.mark.parametrize(
    ("function", "params", "results"),
    [
        (
            all_markers,
            [I32, I64, F32, F64, ValType.externref(), ValType.funcref()],
            [ValType.funcref(), ValType.externref(), F64, F32, I64, I32],
        ),
        (bare, [I64, F64], [F64, I64]),
        (nothing, [], []),
        (with_caller, [I32], [I32]),
        (with_options, [I64], [I64]),
        (Adder(3).method, [I32], [I32]),
        (Adder(3), [I32], [I32]),
        (functools.partial(add, 4), [I32], [I32]),
    ],
)
def test_types(store: Store, function: Callable[..., Any], params: list[ValType], results: list[ValType]) -> None:
    assert Func.wrap(store, function).type(store) == FuncType(params, results)


def test_calls(store: Store) -> None:
    with Store(store.engine, "data") as other:
        assert Func.wrap(other, with_caller)(other, 4) == 5
    marker = object()
    itself = Func.wrap(store, all_markers)
    assert itself(store, 1, 2, 0.5, 1.5, marker, itself) == [itself, marker, 1.5, 0.5, 2, 1]
    assert Func.wrap(store, bare)(store, 1 << 40, 0.1) == [0.1, 1 << 40]
    assert Func.wrap(store, nothing)(store) is None
    assert Func.wrap(store, with_options)(store, 4) == 8
    assert Func.wrap(store, Adder(3).method)(store, 1) == Func.wrap(store, Adder(3))(store, 1) == 4
    assert Func.wrap(store, functools.partial(add, 4))(store, 5) == 9


def no_annotation(a) -> None:  # type: ignore[no-untyped-def]
    pass


def no_result(a: int):  # type: ignore[no-untyped-def]
    pass


def wrong_type(a: str) -> None:
    pass


def wrong_result() -> list[int]:
    return []


def wrong_in_tuple() -> tuple[int, str]:
    return 1, ""


def any_length() -> tuple[int, ...]:
    return ()


def starred(*a: int) -> None:
    pass


def keyword(*, a: int) -> None:
    pass


def unknown_name(a: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821
    pass


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_annotation, "no_annotation: parameter a has no annotation"),
        (no_result, "no_result: the result has no annotation"),
        (wrong_type, "wrong_type: parameter a has no WebAssembly type: <class 'str'>"),
        (wrong_result, "wrong_result: the result has no WebAssembly type"),
        (wrong_in_tuple, "wrong_in_tuple: result 1 has no WebAssembly type"),
        (any_length, "tuple of any length"),
        (starred, "which passes positions"),
        (keyword, "which passes positions"),
        (unknown_name, "cannot read the annotations of unknown_name: name 'Missing' is not defined"),
        (lambda a: None, "parameter a has no annotation"),
        (3, "expected a callable"),
        (max, "max"),
    ],
)
def test_what_has_no_type(store: Store, function: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Func.wrap(store, function)


def test_wrap_needs_a_store(store: Store) -> None:
    with pytest.raises(TypeError, match="expected a Store"):
        Func.wrap(3, nothing)  # type: ignore[arg-type]
    store.close()
    with pytest.raises(WasmError, match="store is closed"):
        Func.wrap(store, nothing)
