"""Memory, Table and Global."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import pytest


@pytest.fixture
def memory(api: Any, store: Any) -> Any:
    return api.Memory(store, api.MemoryType(api.Limits(1, 3)))


def test_sizes(memory: Any, store: Any) -> None:
    assert (memory.size(store), memory.data_len(store)) == (1, 65536)
    assert (memory.page_size(store), memory.page_size_log2(store)) == (65536, 16)


def test_the_type_of_a_memory(api: Any, memory: Any, store: Any) -> None:
    type = memory.type(store)
    assert isinstance(type, api.MemoryType)
    assert (type.limits, type.is_64, type.is_shared) == (api.Limits(1, 3), False, False)


def test_memory_grow(api: Any, memory: Any, store: Any) -> None:
    assert memory.grow(store, 0) == 1
    assert memory.grow(store, 2) == 1
    assert (memory.size(store), memory.data_len(store)) == (3, 3 * 65536)
    for too_much in (1, 65536):
        with pytest.raises(api.WasmtimeError):
            memory.grow(store, too_much)
    with pytest.raises(api.WasmtimeError, match="cannot grow by negative amount"):
        memory.grow(store, -1)
    assert memory.size(store) == 3


def test_growing_keeps_the_contents(memory: Any, store: Any) -> None:
    memory.write(store, b"kept", 100)
    memory.grow(store, 1)
    assert memory.read(store, 100, 104) == b"kept"
    assert memory.read(store, 65536, 65540) == bytes(4)


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 5, b"hello"),
        (1, 3, b"el"),
        (None, 2, b"he"),
        (3, 3, b""),
        (4, 2, b""),
        (-1, None, b"Z"),
        (-2, -1, b"\0"),
        (65535, None, b"Z"),
        (65536, None, b""),
        (70000, 80000, b""),
    ],
)
def test_read(memory: Any, store: Any, start: int | None, stop: int | None, expected: bytes) -> None:
    memory.write(store, b"hello")
    memory.write(store, b"Z", 65535)
    found = memory.read(store, start, stop)
    assert found == expected and isinstance(found, bytearray)


def test_read_everything(memory: Any, store: Any) -> None:
    assert len(memory.read(store)) == 65536


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
def test_write(memory: Any, store: Any, value: Any) -> None:
    assert memory.write(store, value, 7) == 3
    assert memory.read(store, 6, 11) == b"\0abc\0"


def test_write_from_the_end(memory: Any, store: Any) -> None:
    assert memory.write(store, b"xyz", -3) == 3
    assert memory.read(store, -3) == b"xyz"


def test_write_nothing(memory: Any, store: Any) -> None:
    assert memory.write(store, b"", 5) == 0


@pytest.mark.parametrize(
    ("value", "start"), [(b"ab", 65535), (b"a", 65536), (b"", 65536), (b"a", 1 << 40), (b"abc", -2)]
)
def test_write_outside(memory: Any, store: Any, value: bytes, start: int) -> None:
    with pytest.raises(IndexError):
        memory.write(store, value, start)
    assert memory.read(store, -2) == b"\0\0"


def test_data_ptr(memory: Any, store: Any) -> None:
    memory.write(store, b"\x2a", 3)
    pointer = memory.data_ptr(store)
    assert pointer[3] == 42
    pointer[4] = 43
    assert memory.read(store, 3, 5) == b"\x2a\x2b"
    assert isinstance(pointer, ctypes.POINTER(ctypes.c_ubyte))


def test_get_buffer_ptr(memory: Any, store: Any) -> None:
    buffer = memory.get_buffer_ptr(store)
    assert len(buffer) == 65536
    buffer[9] = 7
    assert memory.read(store, 9, 10) == b"\x07"
    part = memory.get_buffer_ptr(store, 4, 8)
    assert bytes(part) == b"\0\x07\0\0"
    assert memoryview(part).nbytes == 4


def test_wasm_and_python_see_the_same_memory(instantiate: Any, store: Any) -> None:
    exports = instantiate(
        """(module (memory (export "m") 1)
             (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
             (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
             (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"""
    )
    exports["store"](store, 8, -2)
    assert exports["m"].read(store, 8, 12) == b"\xfe\xff\xff\xff"
    exports["m"].write(store, (77).to_bytes(4, "little"), 16)
    assert exports["load"](store, 16) == 77
    assert exports["grow"](store, 2) == 1
    assert exports["m"].size(store) == 3
    exports["m"].grow(store, 1)
    assert exports["grow"](store, 0) == 4


def test_growing_in_wasm_past_the_maximum(instantiate: Any, store: Any) -> None:
    grow = instantiate(
        '(module (memory 1 2) (func (export "g") (param i32) (result i32) (memory.grow (local.get 0))))'
    )["g"]
    assert [grow(store, 1), grow(store, 1), grow(store, -1)] == [1, -1, -1]


def test_a_memory_of_size_zero(api: Any, store: Any) -> None:
    memory = api.Memory(store, api.MemoryType(api.Limits(0, None)))
    assert (memory.size(store), memory.data_len(store), memory.read(store)) == (0, 0, b"")
    assert memory.grow(store, 1) == 0


def test_one_byte_pages(api: Any) -> None:
    config = api.Config()
    config.wasm_custom_page_sizes = True
    store = api.Store(api.Engine(config))
    memory = api.Memory(store, api.MemoryType(api.Limits(10, 20), page_size_log2=0))
    assert (memory.size(store), memory.data_len(store), memory.page_size(store)) == (10, 10, 1)
    assert memory.grow(store, 5) == 10
    assert memory.data_len(store) == 15


# ---- tables ----


@pytest.fixture
def table(api: Any, store: Any) -> Any:
    return api.Table(store, api.TableType(api.ValType.funcref(), api.Limits(2, 4)), None)


def test_a_table(api: Any, table: Any, store: Any) -> None:
    assert table.size(store) == 2
    type = table.type(store)
    assert isinstance(type, api.TableType)
    assert (type.limits, type.element) == (api.Limits(2, 4), api.ValType.funcref())
    assert [table.get(store, n) for n in (0, 1, 2, 100)] == [None] * 4


def test_functions_in_a_table(api: Any, table: Any, store: Any, host: Any) -> None:
    table.set(store, 1, host("-> i32", lambda: 11))
    found = table.get(store, 1)
    assert isinstance(found, api.Func) and found(store) == 11
    table.set(store, 1, None)
    assert table.get(store, 1).value is None  # a Val, where there is an element
    assert table.get(store, 2) is None


def test_table_grow(api: Any, table: Any, store: Any, host: Any) -> None:
    assert table.grow(store, 2, host("-> i32", lambda: 5)) == 2
    assert table.size(store) == 4
    assert table.get(store, 3)(store) == 5 and table.get(store, 1).value is None
    with pytest.raises(api.WasmtimeError):
        table.grow(store, 1, None)
    assert table.size(store) == 4


def test_outside_a_table(api: Any, table: Any, store: Any) -> None:
    for index in (2, 1 << 31):
        with pytest.raises(api.WasmtimeError):
            table.set(store, index, None)


@pytest.mark.parametrize("wrong", [1, "x", 1.5])
def test_wrong_elements(api: Any, table: Any, store: Any, wrong: Any) -> None:
    with pytest.raises(TypeError):
        table.set(store, 0, wrong)
    with pytest.raises(TypeError):
        table.grow(store, 1, wrong)
    with pytest.raises(TypeError):
        api.Table(store, api.TableType(api.ValType.funcref(), api.Limits(2, 4)), wrong)


def test_a_table_of_externrefs(api: Any, store: Any) -> None:
    thing = {"any": "thing"}
    table = api.Table(store, api.TableType(api.ValType.externref(), api.Limits(2, None)), thing)
    assert table.get(store, 0) is thing and table.get(store, 1) is thing
    table.set(store, 0, None)
    table.set(store, 1, 12)
    assert (table.get(store, 0), table.get(store, 1)) == (None, 12)
    assert table.grow(store, 1, "more") == 2
    assert table.get(store, 2) == "more"


def test_wasm_and_python_see_the_same_table(instantiate: Any, store: Any, host: Any) -> None:
    exports = instantiate(
        """(module (table (export "t") 3 funcref) (elem (i32.const 1) $two) (func $two (result i32) i32.const 2)
             (func (export "call") (param i32) (result i32) (call_indirect (result i32) (local.get 0))))"""
    )
    assert exports["t"].get(store, 1)(store) == 2
    exports["t"].set(store, 0, host("-> i32", lambda: 1))
    assert [exports["call"](store, n) for n in (0, 1)] == [1, 2]
    exports["t"].set(store, 2, exports["t"].get(store, 1))
    assert exports["call"](store, 2) == 2


# ---- globals ----


@pytest.mark.parametrize(
    ("type", "value", "expected"),
    [("i32", 5, 5), ("i32", 2**32 - 1, -1), ("i64", -(2**63), -(2**63)), ("f32", 0.5, 0.5), ("f64", math.pi, math.pi)],
)
def test_globals(api: Any, store: Any, type: str, value: Any, expected: Any) -> None:
    valtype = getattr(api.ValType, type)()
    item = api.Global(store, api.GlobalType(valtype, False), value)
    assert item.value(store) == expected
    assert isinstance(item.type(store), api.GlobalType)
    assert (item.type(store).content, item.type(store).mutable) == (valtype, False)


def test_setting_a_global(api: Any, store: Any) -> None:
    item = api.Global(store, api.GlobalType(api.ValType.i32(), True), 1)
    assert item.set_value(store, 9) is None
    assert item.value(store) == 9
    item.set_value(store, api.Val.i32(10))
    assert item.value(store) == 10


def test_an_immutable_global(api: Any, store: Any) -> None:
    item = api.Global(store, api.GlobalType(api.ValType.i32(), False), 1)
    with pytest.raises(api.WasmtimeError, match="immutable global cannot be set"):
        item.set_value(store, 2)
    assert item.value(store) == 1


@pytest.mark.parametrize(("type", "wrong"), [("i32", 1.0), ("i32", None), ("f64", 1), ("i64", "x"), ("funcref", 1)])
def test_wrong_values_for_a_global(api: Any, store: Any, type: str, wrong: Any) -> None:
    with pytest.raises(TypeError):
        api.Global(store, api.GlobalType(getattr(api.ValType, type)(), True), wrong)


def test_a_wrong_new_value(api: Any, store: Any) -> None:
    item = api.Global(store, api.GlobalType(api.ValType.i32(), True), 1)
    for wrong in (1.0, None, "x", api.Val.i64(1)):
        with pytest.raises(TypeError):
            item.set_value(store, wrong)
    assert item.value(store) == 1


def test_a_global_needs_a_type(api: Any, store: Any) -> None:
    with pytest.raises(TypeError, match="expected a GlobalType"):
        api.Global(store, api.ValType.i32(), 1)


def test_globals_of_references(api: Any, store: Any, host: Any) -> None:
    thing = object()
    item = api.Global(store, api.GlobalType(api.ValType.externref(), True), thing)
    assert item.value(store) is thing
    function = api.Global(store, api.GlobalType(api.ValType.funcref(), True), host("-> i32", lambda: 3))
    assert function.value(store)(store) == 3


def test_wasm_and_python_see_the_same_global(instantiate: Any, store: Any) -> None:
    exports = instantiate(
        """(module (global $g (export "g") (mut f64) (f64.const 1.5))
             (func (export "double") (global.set $g (f64.mul (global.get $g) (f64.const 2)))))"""
    )
    exports["double"](store)
    assert exports["g"].value(store) == 3.0
    exports["g"].set_value(store, 10.0)
    exports["double"](store)
    assert exports["g"].value(store) == 20.0
