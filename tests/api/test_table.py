from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wasmjit import ClosedError, Func, FuncType, Limits, Store, Table, TableType, Val, ValType, WasmError

I32 = ValType.i32()


def is_null(element: Any) -> bool:
    """Whether it is a null reference, which is not the None of an index out of bounds."""
    return isinstance(element, Val) and element.value is None and element == None  # noqa: E711


def numbered(store: Store, number: int) -> Func:
    return Func(store, FuncType([], [I32]), lambda: number)


@pytest.fixture
def table(store: Store) -> Table:
    return Table(store, TableType(ValType.funcref(), Limits(2, 5)), None)


def test_functions_come_back_as_themselves(store: Store, table: Table) -> None:
    function = numbered(store, 5)
    table.set(store, 1, function)
    assert table.get(store, 1) is function
    assert table.get(store, 1)(store) == 5
    assert is_null(table.get(store, 0))
    table.set(store, 1, Val.funcref(None))
    assert is_null(table.get(store, 1))
    table.set(store, 1, Val.funcref(function))
    assert table.get(store, 1) is function


def test_a_function_outlives_its_handle(store: Store, table: Table) -> None:
    table.set(store, 0, numbered(store, 6))
    assert table.get(store, 0)(store) == 6


def test_externrefs(store: Store) -> None:
    marker = object()
    table = Table(store, TableType(ValType.externref(), Limits(2, None)), marker)
    assert table.get(store, 0) is table.get(store, 1) is marker
    for value in (0, "", [], 1.5, marker):
        table.set(store, 1, value)
        assert table.get(store, 1) is value
    table.set(store, 1, None)
    assert is_null(table.get(store, 1)) and table.get(store, 1).type == ValType.externref()
    table.set(store, 1, Val.externref("wrapped"))
    assert table.get(store, 1) == "wrapped"


def test_bounds(store: Store, table: Table) -> None:
    for index in (2, -1, 1 << 32, 1 << 64, 10**30):
        assert table.get(store, index) is None
        with pytest.raises(WasmError, match="out of bounds table access"):
            table.set(store, index, None)
    for use in (lambda: table.get(store, "0"), lambda: table.set(store, 1.0, None)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="expected an int"):
            use()


def test_growth(store: Store, table: Table) -> None:
    function = numbered(store, 1)
    assert table.grow(store, 2, function) == 2
    assert table.size(store) == 4
    assert table.get(store, 3) is function
    assert table.grow(store, 0, None) == 4
    assert table.type(store) == TableType(ValType.funcref(), Limits(4, 5))
    for amount in (2, -5, 1 << 64):
        with pytest.raises(WasmError, match=f"failed to grow table by `{amount}`"):
            table.grow(store, amount, None)
    assert table.size(store) == 4


def test_wrong_values(store: Store, table: Table) -> None:
    for value in (5, "f", lambda: None, Val.i32(0), Val.externref(None)):
        with pytest.raises(TypeError):
            table.set(store, 0, value)
        with pytest.raises(TypeError):
            table.grow(store, 1, value)
        with pytest.raises(TypeError):
            Table(store, TableType(ValType.funcref(), Limits(1, 1)), value)
    with pytest.raises(TypeError, match="expected a TableType"):
        Table(store, Limits(1, 2), None)  # type: ignore[arg-type]


def test_limits_of_the_implementation(store: Store) -> None:
    with pytest.raises(WasmError, match="10000001 elements is too large: wasmjit supports at most 10000000"):
        Table(store, TableType(ValType.funcref(), Limits(10_000_001, None)), None)


def test_stores_do_not_mix(engine: Any, store: Store, table: Table) -> None:
    with Store(engine) as other:
        with pytest.raises(WasmError, match="function belongs to another Store"):
            table.set(store, 0, numbered(other, 1))
        with pytest.raises(WasmError, match="table belongs to another Store"):
            table.get(other, 0)
    store.close()
    uses: list[Callable[[], Any]] = [
        lambda: table.get(store, 0),
        lambda: table.set(store, 0, None),
        lambda: table.size(store),
        lambda: table.grow(store, 1, None),
        lambda: table.type(store),
    ]
    for use in uses:
        with pytest.raises(ClosedError, match="store is closed"):
            use()


def test_code_calls_what_the_host_put_there(store: Store, table: Table, instantiate: Any) -> None:
    exports = instantiate(
        """(module (import "" "" (table 1 funcref)) (type $t (func (result i32)))
        (func (export "call") (param i32) (result i32) local.get 0 call_indirect (type $t))
        (func $nine (result i32) i32.const 9) (elem declare func $nine)
        (func (export "put") i32.const 1 ref.func $nine table.set))""",
        table,
    )
    table.set(store, 0, numbered(store, 3))
    assert exports["call"](store, 0) == 3
    exports["put"](store)
    assert table.get(store, 1)(store) == 9
    assert table.get(store, 1).type(store) == FuncType([], [I32])
