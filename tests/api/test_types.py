from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wasmjit import (
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    Module,
    Store,
    TableType,
    Val,
    ValType,
    WasmError,
)

ALL = [ValType.i32, ValType.i64, ValType.f32, ValType.f64, ValType.externref, ValType.funcref]


@pytest.mark.parametrize("make", ALL)
def test_valtype(make: Callable[[], ValType]) -> None:
    assert make() == make()
    assert hash(make()) == hash(make())
    # The wasmtime package prints externref so, and programs compare it.
    assert str(make()) == repr(make()) == make.__name__.replace("externref", "anyref")
    assert [other for other in ALL if other() == make()] == [make]
    assert make() != make.__name__


def test_valtype_has_no_constructor() -> None:
    with pytest.raises(WasmError, match="cannot construct directly"):
        ValType()


def test_functype() -> None:
    kind = FuncType([ValType.i32(), ValType.f64()], [ValType.funcref()])
    assert kind.params == [ValType.i32(), ValType.f64()]
    assert kind.results == [ValType.funcref()]
    assert kind == FuncType(kind.params, kind.results)
    assert kind != FuncType([], [])
    assert len({kind, FuncType(kind.params, kind.results)}) == 1
    assert "[i32 f64] -> [funcref]" in repr(kind)
    for wrong in ([3], ["i32"], [None]):
        with pytest.raises(TypeError, match="expected ValType"):
            FuncType(wrong, [])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="expected ValType"):
            FuncType([], wrong)  # type: ignore[arg-type]


def test_globaltype() -> None:
    kind = GlobalType(ValType.i64(), True)
    assert (kind.content, kind.mutable) == (ValType.i64(), True)
    assert kind != GlobalType(ValType.i64(), False)
    with pytest.raises(TypeError, match="expected valtype"):
        GlobalType("i64", True)  # type: ignore[arg-type]


def test_tabletype() -> None:
    kind = TableType(ValType.externref(), Limits(1, None))
    assert (kind.element, kind.limits) == (ValType.externref(), Limits(1, None))
    with pytest.raises(TypeError, match="expected Limits"):
        TableType(ValType.funcref(), 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected valtype"):
        TableType(3, Limits(1, 2))  # type: ignore[arg-type]
    for valtype, limits in (
        (ValType.i32(), Limits(1, 2)),
        (ValType.funcref(), Limits(2, 1)),
        (ValType.funcref(), Limits(-1, None)),
        (ValType.funcref(), Limits(1 << 32, None)),
        (ValType.funcref(), Limits(0, 1 << 32)),
    ):
        with pytest.raises(WasmError):
            TableType(valtype, limits)


def test_memorytype() -> None:
    kind = MemoryType(Limits(1, 3))
    assert (kind.limits, kind.is_64, kind.is_shared) == (Limits(1, 3), False, False)
    assert (kind.page_size, kind.page_size_log2) == (65536, 16)
    assert MemoryType(Limits(1, 2), is_64=True, shared=True).is_shared
    assert MemoryType(Limits(65536, 65536)).limits.min == 65536
    with pytest.raises(TypeError, match="expected Limits"):
        MemoryType(1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "options", "message"),
    [
        (Limits(3, 2), {}, "maximum page size cannot be smaller"),
        (Limits(65537, None), {}, "minimum size is too large"),
        (Limits(1, 65537), {}, "maximum size is too large"),
        (Limits(-1, None), {}, "not a size"),
        (Limits(1, None), {"shared": True}, "must have a maximum"),
        (Limits(1, None), {"page_size_log2": 12}, "page size"),
        (Limits((1 << 48) + 1, None), {"is_64": True}, "minimum size is too large"),
    ],
)
def test_impossible_memorytypes(limits: Limits, options: dict[str, Any], message: str) -> None:
    with pytest.raises(WasmError, match=message):
        MemoryType(limits, **options)


def test_limits() -> None:
    assert Limits(1, 2) == Limits(1, 2)
    assert Limits(1, None) != Limits(1, 2)
    assert (Limits(1, 2).min, Limits(1, 2).max) == (1, 2)


def test_types_close() -> None:
    for handle in (ValType.i32(), FuncType([], []), MemoryType(Limits(1, 2)), GlobalType(ValType.i32(), True)):
        with handle:
            pass
        handle.close()
        with pytest.raises(ValueError, match="closed"):
            hash(handle) if not isinstance(handle, ValType) else str(handle)


def test_importtype_and_exporttype(store: Store) -> None:
    module = Module(
        store.engine,
        """(module (import "a" "f" (func (param i32) (result f64))) (import "a" "g" (global (mut i64)))
        (import "" "t" (table 1 2 externref)) (import "é" "" (memory 3))
        (export "m" (memory 0)) (export "f" (func 0)) (export "t" (table 0)) (export "g" (global 0)))""",
    )
    assert [(item.module, item.name, item.type) for item in module.imports] == [
        ("a", "f", FuncType([ValType.i32()], [ValType.f64()])),
        ("a", "g", GlobalType(ValType.i64(), True)),
        ("", "t", TableType(ValType.externref(), Limits(1, 2))),
        ("é", "", MemoryType(Limits(3, None))),
    ]
    exports = [(item.name, item.type) for item in module.exports]
    assert [name for name, _ in exports] == ["m", "f", "t", "g"]
    assert exports[0][1] == MemoryType(Limits(3, None))
    assert exports[1][1] == FuncType([ValType.i32()], [ValType.f64()])
    item = module.imports[0]
    item.close()
    with pytest.raises(ValueError, match="closed"):
        _ = item.type


def test_val_numbers() -> None:
    assert Val.i32(1 << 31).value == -(1 << 31)
    assert Val.i32((1 << 40) + 5).as_i32() == 5
    assert Val.i64(1 << 63).as_i64() == -(1 << 63)
    assert Val.f32(0.1).value == 0.10000000149011612
    assert Val.f32(1e300).value == float("inf")
    assert Val.f64(0.1).as_f64() == 0.1
    assert Val.i32(1).as_i64() is None and Val.f64(1.0).as_f32() is None and Val.i64(1).as_i32() is None
    for make, wrong in ((Val.i32, 1.0), (Val.i64, "1"), (Val.f32, 1), (Val.f64, None)):
        with pytest.raises(TypeError, match=r"expected an? "):
            make(wrong)  # type: ignore[operator]


def test_val_references_and_equality(store: Store) -> None:
    marker = object()
    assert Val.externref(marker).value is marker
    assert Val.externref(marker).as_externref() is marker
    assert Val.ref_null(ValType.funcref()).as_funcref() is None
    assert Val.ref_null(ValType.externref()).type == ValType.externref()
    with pytest.raises(WasmError, match="Invalid reference type for `ref_null`: i32"):
        Val.ref_null(ValType.i32())
    assert Val.i32(1) == Val.i32(1) and Val.i32(1) == 1 and Val.i32(1) != Val.i64(1)
    assert Val.i32(1).type == ValType.i32()
    assert repr(Val.f64(1.5)) == "Val.f64(1.5)"
