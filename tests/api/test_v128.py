"""v128 in Python: taken as 16 bytes or an int, given as bytes; in calls, host functions, globals and Val."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

import pytest

import wasmjit
from wasmjit import Config, Engine, Func, FuncType, Global, GlobalType, Instance, Linker, Module, Store, Val, ValType

ONE = (1).to_bytes(16, "little")
MIXED = bytes(range(16))
V128 = ValType.v128()


def instance(text: str, imports: Sequence[Any] = (), **options: Any) -> tuple[Store, Any]:
    store = Store(Engine(Config(**options)))
    return store, Instance(store, Module(store.engine, text), list(imports)).exports(store)


@pytest.mark.parametrize("value", [MIXED, bytearray(MIXED), memoryview(MIXED), int.from_bytes(MIXED, "little")])
def test_what_a_v128_parameter_takes(value: Any) -> None:
    store, exports = instance('(module (func (export "f") (param v128) (result v128) local.get 0))')
    assert exports["f"](store, value) == MIXED
    assert type(exports["f"](store, value)) is bytes


def test_lanes_are_in_memory_order() -> None:
    store, exports = instance("""(module (memory (export "memory") 1)
      (func (export "store") (param v128) (v128.store (i32.const 32) (local.get 0)))
      (func (export "lane") (param v128) (result i32) (i32x4.extract_lane 1 (local.get 0))))""")
    exports["store"](store, MIXED)
    assert exports["memory"].read(store, 32, 48) == MIXED
    assert exports["lane"](store, 7 << 32) == 7


@pytest.mark.parametrize("value", [b"", bytes(15), bytes(17), array.array("Q", [1, 2, 3]), 1.5, None, "x"])
def test_wrong_values_are_refused(value: Any) -> None:
    store, exports = instance('(module (func (export "f") (param v128)))')
    with pytest.raises(TypeError, match="v128"):
        exports["f"](store, value)
    with pytest.raises(TypeError):
        Val.v128(value)


@pytest.mark.parametrize("value", [-1, 1 << 128])
def test_integers_out_of_range_are_refused(value: int) -> None:
    store, exports = instance('(module (func (export "f") (param v128)))')
    with pytest.raises(OverflowError):
        exports["f"](store, value)
    with pytest.raises(OverflowError):
        Val.v128(value)


def test_val() -> None:
    value = Val.v128(1)
    assert value.value == ONE and value.as_v128() == ONE and value.type == V128 and value.as_i64() is None
    assert value == Val.v128(ONE) and value == ONE and str(V128) == "v128" and Val.i64(1).as_v128() is None
    store, exports = instance('(module (func (export "f") (param v128) (result v128) local.get 0))')
    assert exports["f"](store, value) == ONE


def test_many_values_in_both_directions() -> None:
    """More vectors and numbers than there are registers, both ways, through a host function."""
    params = "i32 v128 f64 v128 v128 i64 v128 v128 v128 v128 v128 f32 v128 v128 i32 v128".split()
    values: list[Any] = [
        bytes([number] * 16) if kind == "v128" else float(number) if kind[0] == "f" else number
        for number, kind in enumerate(params)
    ]
    seen: list[Any] = []

    def host(*arguments: Any) -> list[Any]:
        seen.append(list(arguments))
        return list(reversed(arguments))

    types = [getattr(ValType, kind)() for kind in params]
    store = Store()
    function = Func(store, FuncType(types, types[::-1]), host)
    text = f"""(module (import "" "" (func $host (param {" ".join(params)}) (result {" ".join(params[::-1])})))
      (func (export "f") (param {" ".join(params)}) (result {" ".join(params[::-1])})
        {" ".join(f"local.get {index}" for index in range(len(params)))} call $host))"""
    exports = Instance(store, Module(store.engine, text), [function]).exports(store)
    assert exports["f"](store, *values) == values[::-1]
    assert function(store, *values) == values[::-1]
    assert seen == [values, values]


def test_two_results_in_registers() -> None:
    text = """(module
      (func $two (param v128 i32) (result i32 v128) local.get 1 local.get 0)
      (func $vectors (param v128 v128) (result v128 v128) local.get 1 local.get 0)
      (func (export "f") (param v128 i32) (result v128 i32) (local i32)
        local.get 0 local.get 1 call $two (local.set 0) (local.set 2) (local.get 0) (local.get 2))
      (func (export "g") (param v128 v128) (result v128 v128) local.get 0 local.get 1 call $vectors))"""
    for level in ("none", "speed"):
        store, exports = instance(text, opt_level=level)
        assert exports["f"](store, MIXED, 5) == [MIXED, 5]
        assert exports["g"](store, MIXED, ONE) == [ONE, MIXED]


def test_globals() -> None:
    store = Store()
    made = Global(store, GlobalType(V128, True), 1)
    assert made.value(store) == ONE and made.type(store).content == V128
    made.set_value(store, MIXED)
    assert made.value(store) == MIXED
    with pytest.raises(TypeError):
        made.set_value(store, b"short")
    text = """(module
      (import "" "" (global $in (mut v128)))
      (import "" "" (global $fixed v128))
      (global (export "constant") v128 (v128.const i64x2 1 -1))
      (global (export "copy") v128 (global.get $fixed))
      (func (export "set") (param v128) (global.set $in (local.get 0)))
      (func (export "get") (result v128) (global.get $in)))"""
    fixed = Global(store, GlobalType(V128, False), MIXED)
    exports = Instance(store, Module(store.engine, text), [made, fixed]).exports(store)
    assert exports["get"](store) == MIXED
    exports["set"](store, 1)
    assert made.value(store) == ONE
    assert exports["constant"].value(store) == ONE[:8] + b"\xff" * 8
    assert exports["copy"].value(store) == MIXED


def test_unchecked_calls_take_two_slots() -> None:
    store, exports = instance('(module (func (export "f") (param v128 i32) (result i32 v128) local.get 1 local.get 0))')
    assert exports["f"].call_unchecked(store, [1, 2, 3]) == [3, 1, 2]


def test_annotations() -> None:
    store = Store()

    def swap(value: wasmjit.v128) -> wasmjit.v128:
        return value[::-1]

    function = Func.wrap(store, swap)
    assert function(store, MIXED) == MIXED[::-1]
    linker = Linker(store.engine)
    linker.func_wrap("", "swap", swap)
    text = """(module (import "" "swap" (func $swap (param v128) (result v128)))
      (func (export "f") (result v128) (call $swap (v128.const i64x2 1 0))))"""
    exports = linker.instantiate(store, Module(store.engine, text)).exports(store)
    assert exports["f"](store) == ONE[::-1]


def test_imports_are_matched_by_type() -> None:
    store = Store()
    module = Module(store.engine, '(module (import "" "" (global v128)))')
    assert str(module.imports[0].type.content) == "v128"
    with pytest.raises(wasmjit.WasmError, match="v128"):
        Instance(store, module, [Global(store, GlobalType(ValType.i64(), False), 1)])


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("simd", "(module (func (param v128)))"),
        ("simd", "(module (func (local v128)))"),
        ("simd", "(module (func (block (result v128) unreachable) drop))"),
        ("simd", "(module (func (drop (v128.const i32x4 0 0 0 0))))"),
        ("simd", "(module (global v128 (v128.const i32x4 0 0 0 0)))"),
        ("relaxed_simd", "(module (func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))))"),
    ],
)
def test_features_that_are_off_are_named(option: str, text: str) -> None:
    engine = Engine(Config(**{f"wasm_{option}": False}))
    with pytest.raises(wasmjit.WasmError, match=f"feature {option} is off in the Config"):
        Module(engine, text)
    with pytest.raises(wasmjit.WasmError, match=f"feature {option} is off"):
        Module.validate(engine, wasmjit.wat2wasm(text))
    Module(Engine(), text)
