from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest

from wasmjit import ClosedError, Func, FuncType, Global, GlobalType, Store, Val, ValType, WasmError


@pytest.mark.parametrize(
    ("valtype", "value", "read"),
    [
        (ValType.i32(), 1 << 31, -(1 << 31)),
        (ValType.i32(), -1, -1),
        (ValType.i32(), True, 1),
        (ValType.i64(), (1 << 64) - 1, -1),
        (ValType.f32(), 0.1, 0.10000000149011612),
        (ValType.f32(), 1e300, math.inf),
        (ValType.f64(), -0.0, -0.0),
        (ValType.externref(), "text", "text"),
        (ValType.externref(), None, None),
        (ValType.funcref(), None, None),
    ],
)
def test_values(store: Store, valtype: ValType, value: Any, read: Any) -> None:
    variable = Global(store, GlobalType(valtype, True), value)
    assert variable.value(store) == read
    variable.set_value(store, value)
    assert variable.value(store) == read
    assert math.copysign(1, variable.value(store)) == math.copysign(1, read) if isinstance(read, float) else True
    assert variable.type(store) == GlobalType(valtype, True)


def test_bits_are_exact(store: Store, instantiate: Any) -> None:
    exports = instantiate(
        '(module (global (export "f") f32 (f32.const nan:0x200001)) (global (export "d") f64 (f64.const -nan:0x1)))'
    )
    assert exports["f"].value_bits(store) == 0x7FA00001  # signalling: a Python float would lose it
    assert exports["d"].value_bits(store) == 0xFFF0000000000001
    assert math.isnan(exports["f"].value(store))
    variable = Global(store, GlobalType(ValType.f64(), False), 1.5)
    assert variable.value_bits(store) == int.from_bytes(struct.pack("<d", 1.5), "little")
    assert Global(store, GlobalType(ValType.i32(), False), -1).value_bits(store) == 0xFFFFFFFF


def test_functions(store: Store) -> None:
    function = Func(store, FuncType([], []), lambda: None)
    variable = Global(store, GlobalType(ValType.funcref(), True), function)
    assert variable.value(store) is function
    variable.set_value(store, Val.funcref(None))
    null = variable.value(store)
    assert isinstance(null, Val) and null.value is None and null == None  # noqa: E711


def test_immutable(store: Store) -> None:
    constant = Global(store, GlobalType(ValType.i32(), False), 4)
    with pytest.raises(WasmError, match="immutable global cannot be set"):
        constant.set_value(store, 5)
    assert constant.value(store) == 4


@pytest.mark.parametrize(
    ("valtype", "value"),
    [(ValType.i32(), 1 << 32), (ValType.i32(), -(1 << 31) - 1), (ValType.i64(), 1 << 64), (ValType.i64(), -1 << 64)],
)
def test_an_integer_that_does_not_fit_is_refused(store: Store, valtype: ValType, value: int) -> None:
    """It became what is left of it modulo the width: 2**64 a zero."""
    with pytest.raises(OverflowError, match=f"{value} does not fit {valtype}"):
        Global(store, GlobalType(valtype, True), value)
    variable = Global(store, GlobalType(valtype, True), 4)
    with pytest.raises(OverflowError, match=f"{value} does not fit {valtype}"):
        variable.set_value(store, value)
    assert variable.value(store) == 4


def test_wrong_values(store: Store) -> None:
    variable = Global(store, GlobalType(ValType.i32(), True), 4)
    for value in (4.0, "4", None, Val.i64(4), Val.f32(1.0)):
        with pytest.raises(TypeError):
            variable.set_value(store, value)
    with pytest.raises(TypeError, match="don't know how to convert 1 to f32"):
        Global(store, GlobalType(ValType.f32(), True), 1)
    with pytest.raises(TypeError, match="expected a GlobalType"):
        Global(store, 3, 1)  # type: ignore[arg-type]
    assert variable.value(store) == 4


def test_code_and_host_share_it(store: Store, instantiate: Any) -> None:
    shared = Global(store, GlobalType(ValType.i64(), True), 1)
    exports = instantiate(
        """(module (import "" "" (global $g (mut i64))) (global (export "own") (mut i64) (i64.const -2))
        (func (export "double") global.get $g global.get $g i64.add global.set $g) (export "again" (global $g)))""",
        shared,
    )
    exports["double"](store)
    exports["double"](store)
    assert shared.value(store) == exports["again"].value(store) == 4
    exports["own"].set_value(store, 1 << 63)
    assert exports["own"].value(store) == -(1 << 63)


def test_stores_do_not_mix(engine: Any, store: Store) -> None:
    variable = Global(store, GlobalType(ValType.i32(), True), 4)
    with Store(engine) as other, pytest.raises(WasmError, match="global belongs to another Store"):
        variable.value(other)
    store.close()
    uses: list[Callable[[], Any]] = [
        lambda: variable.value(store),
        lambda: variable.value_bits(store),
        lambda: variable.set_value(store, 1),
        lambda: variable.type(store),
    ]
    for use in uses:
        with pytest.raises(ClosedError, match="store is closed"):
            use()
