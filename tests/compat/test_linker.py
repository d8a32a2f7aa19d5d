"""Linker and InstancePre."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.compat.conftest import func_type

IMPORTS_FIVE = (
    '(module (import "host" "five" (func $five (result i32))) (func (export "run") (result i32) (call $five)))'
)


@pytest.fixture
def linker(api: Any, engine: Any) -> Iterator[Any]:
    with api.Linker(engine) as linker:
        yield linker


def module(api: Any, engine: Any, text: str) -> Any:
    return api.Module(engine, text)


def test_define_and_get(api: Any, linker: Any, store: Any, host: Any) -> None:
    linker.define(store, "host", "five", host("-> i32", lambda: 5))
    found = linker.get(store, "host", "five")
    assert isinstance(found, api.Func)
    assert found(store) == 5


@pytest.mark.parametrize("names", [("host", "six"), ("guest", "five"), ("", "")])
def test_get_what_is_not_there(api: Any, linker: Any, store: Any, host: Any, names: tuple[str, str]) -> None:
    linker.define(store, "host", "five", host("-> i32", lambda: 5))
    with pytest.raises(api.WasmtimeError, match="item not defined in linker"):
        linker.get(store, *names)


def test_every_kind_of_item(api: Any, linker: Any, store: Any, host: Any) -> None:
    items = {
        "func": host("->", lambda: None),
        "memory": api.Memory(store, api.MemoryType(api.Limits(1, None))),
        "table": api.Table(store, api.TableType(api.ValType.funcref(), api.Limits(1, None)), None),
        "global": api.Global(store, api.GlobalType(api.ValType.i32(), False), 7),
    }
    for name, item in items.items():
        linker.define(store, "items", name, item)
    for name, item in items.items():
        assert type(linker.get(store, "items", name)) is type(item)


@pytest.mark.parametrize("wrong", [1, None, "five", lambda: 5])
def test_only_externs_can_be_defined(linker: Any, store: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a Func, Global, Memory"):
        linker.define(store, "host", "five", wrong)


def test_names_twice(api: Any, linker: Any, store: Any, host: Any) -> None:
    linker.define(store, "host", "five", host("-> i32", lambda: 5))
    with pytest.raises(api.WasmtimeError, match="`host::five` defined twice"):
        linker.define(store, "host", "five", host("-> i32", lambda: 6))


def test_shadowing(api: Any, engine: Any, linker: Any, store: Any, host: Any) -> None:
    linker.allow_shadowing = True
    for number in (5, 6):
        linker.define(store, "host", "five", host("-> i32", lambda number=number: number))
    assert linker.instantiate(store, module(api, engine, IMPORTS_FIVE)).exports(store)["run"](store) == 6
    linker.allow_shadowing = False
    with pytest.raises(api.WasmtimeError, match="defined twice"):
        linker.define(store, "host", "five", host("-> i32", lambda: 7))


def test_define_func(api: Any, engine: Any, linker: Any) -> None:
    linker.define_func("host", "five", func_type(api, "-> i32"), lambda: 5)
    five = module(api, engine, IMPORTS_FIVE)
    for _ in range(3):
        store = api.Store(engine)
        assert linker.instantiate(store, five).exports(store)["run"](store) == 5


def test_define_func_with_a_caller(api: Any, engine: Any, linker: Any, store: Any) -> None:
    def peek(caller: Any, address: int) -> int:
        return int(caller["memory"].read(caller, address, address + 1)[0])

    linker.define_func("host", "peek", func_type(api, "i32 -> i32"), peek, access_caller=True)
    text = """(module (import "host" "peek" (func $peek (param i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 3) "\\2a")
        (func (export "run") (result i32) (call $peek (i32.const 3))))"""
    assert linker.instantiate(store, module(api, engine, text)).exports(store)["run"](store) == 42


def test_define_func_twice(api: Any, linker: Any) -> None:
    linker.define_func("a", "b", func_type(api, "->"), lambda: None)
    with pytest.raises(api.WasmtimeError, match="defined twice"):
        linker.define_func("a", "b", func_type(api, "->"), lambda: None)


def test_define_func_needs_a_type(linker: Any) -> None:
    with pytest.raises(TypeError, match="expected a FuncType"):
        linker.define_func("a", "b", "i32", lambda: None)


@pytest.mark.parametrize("arguments", [(1, "b"), ("a", None)])
def test_names_are_strings(api: Any, linker: Any, arguments: tuple[Any, Any]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        linker.define_func(*arguments, func_type(api, "->"), lambda: None)


def test_unknown_imports(api: Any, engine: Any, linker: Any, store: Any) -> None:
    with pytest.raises(api.WasmtimeError, match="unknown import: `host::five` has not been defined"):
        linker.instantiate(store, module(api, engine, IMPORTS_FIVE))


def test_imports_of_another_type(api: Any, engine: Any, linker: Any, store: Any) -> None:
    linker.define_func("host", "five", func_type(api, "-> i64"), lambda: 5)
    with pytest.raises(api.WasmtimeError, match="incompatible import type for `host::five`"):
        linker.instantiate(store, module(api, engine, IMPORTS_FIVE))


def test_traps_during_instantiation(api: Any, engine: Any, linker: Any, store: Any) -> None:
    with pytest.raises(api.Trap):
        linker.instantiate(store, module(api, engine, "(module (func $f unreachable) (start $f))"))


def test_exceptions_during_instantiation(api: Any, engine: Any, linker: Any, store: Any) -> None:
    def fail() -> None:
        raise LookupError("mine")

    linker.define_func("", "f", func_type(api, "->"), fail)
    with pytest.raises(LookupError, match="mine"):
        linker.instantiate(store, module(api, engine, '(module (import "" "f" (func $f)) (start $f))'))


def test_define_instance(api: Any, engine: Any, linker: Any, store: Any) -> None:
    exporting = api.Instance(store, module(api, engine, '(module (func (export "five") (result i32) i32.const 5))'), [])
    linker.define_instance(store, "host", exporting)
    assert linker.instantiate(store, module(api, engine, IMPORTS_FIVE)).exports(store)["run"](store) == 5
    with pytest.raises(api.WasmtimeError, match="defined twice"):
        linker.define_instance(store, "host", exporting)


def test_define_instance_takes_an_instance(api: Any, engine: Any, linker: Any, store: Any) -> None:
    for wrong in (1, None, module(api, engine, "(module)")):
        with pytest.raises(TypeError):
            linker.define_instance(store, "host", wrong)


def test_a_reactor_is_initialised_once(api: Any, engine: Any, linker: Any, store: Any) -> None:
    text = """(module (global $n (mut i32) (i32.const 0))
        (func (export "_initialize") (global.set $n (i32.const 100)))
        (func (export "next") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"""
    linker.define_module(store, "reactor", module(api, engine, text))
    following = linker.get(store, "reactor", "next")
    assert [following(store), following(store)] == [101, 102]


def test_a_command_is_new_for_every_call(api: Any, engine: Any, linker: Any, store: Any) -> None:
    text = """(module (global $n (mut i32) (i32.const 0)) (func (export "_start"))
        (func (export "next") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"""
    linker.define_module(store, "command", module(api, engine, text))
    following = linker.get(store, "command", "next")
    assert [following(store), following(store)] == [1, 1]


def test_define_module_needs_its_imports(api: Any, engine: Any, linker: Any, store: Any) -> None:
    with pytest.raises(api.WasmtimeError, match="unknown import"):
        linker.define_module(store, "m", module(api, engine, IMPORTS_FIVE))


def test_define_module_takes_a_module(linker: Any, store: Any) -> None:
    for wrong in (1, None, "(module)"):
        with pytest.raises(TypeError, match="expected a `Module`"):
            linker.define_module(store, "m", wrong)


def test_both_command_and_reactor(api: Any, engine: Any, linker: Any, store: Any) -> None:
    both = module(api, engine, '(module (func (export "_start")) (func (export "_initialize")))')
    with pytest.raises(api.WasmtimeError):
        linker.define_module(store, "both", both)


def test_get_default_is_the_command(api: Any, engine: Any, linker: Any, store: Any) -> None:
    calls: list[str] = []
    linker.define_func("host", "called", func_type(api, "->"), lambda: calls.append("called"))
    text = '(module (import "host" "called" (func $f)) (func (export "_start") (call $f)))'
    linker.define_module(store, "program", module(api, engine, text))
    assert linker.get_default(store, "program")(store) is None
    assert calls == ["called"]


def test_get_default_prefers_the_empty_name(linker: Any, store: Any, host: Any) -> None:
    linker.define(store, "m", "", host("-> i32", lambda: 1))
    linker.define(store, "m", "_start", host("-> i32", lambda: 2))
    assert linker.get_default(store, "m")(store) == 1


def test_get_default_of_nothing_does_nothing(linker: Any, store: Any) -> None:
    assert linker.get_default(store, "nowhere")(store) is None


def test_get_default_that_is_no_function(api: Any, linker: Any, store: Any) -> None:
    linker.define(store, "m", "", api.Memory(store, api.MemoryType(api.Limits(1, None))))
    with pytest.raises(api.WasmtimeError):
        linker.get_default(store, "m")


def test_unknown_imports_as_traps(api: Any, engine: Any, linker: Any, store: Any) -> None:
    linker.define_func("host", "five", func_type(api, "-> i32"), lambda: 5)
    text = """(module (import "host" "five" (func $five (result i32))) (import "x" "y" (func $other))
        (func (export "known") (result i32) (call $five)) (func (export "unknown") (call $other)))"""
    linker.define_unknown_imports_as_traps(module(api, engine, text))
    exports = linker.instantiate(store, module(api, engine, text)).exports(store)
    assert exports["known"](store) == 5
    with pytest.raises(api.WasmtimeError, match="unknown import: `x::y` has not been defined"):
        exports["unknown"](store)


def test_unknown_imports_as_default_values(api: Any, engine: Any, linker: Any, store: Any) -> None:
    text = """(module
        (import "x" "f" (func $f (param i32) (result i32 f64))) (import "x" "g" (global $g i64))
        (import "x" "m" (memory 2)) (import "x" "t" (table 3 funcref)) (import "x" "r" (func $r (result externref)))
        (func (export "f") (result i32 f64) (call $f (i32.const 3)))
        (func (export "rest") (result i64 i32 i32) (global.get $g) (memory.size) (table.size 0))
        (func (export "r") (result externref) (call $r)))"""
    user = module(api, engine, text)
    linker.define_unknown_imports_as_default_values(store, user)
    exports = linker.instantiate(store, user).exports(store)
    assert exports["f"](store) == [0, 0.0]
    assert exports["rest"](store) == [0, 2, 3]
    assert exports["r"](store) is None


def test_unknown_imports_takes_a_module(linker: Any, store: Any) -> None:
    with pytest.raises(TypeError, match="expected a `Module`"):
        linker.define_unknown_imports_as_traps(1)
    with pytest.raises(TypeError, match="expected a `Module`"):
        linker.define_unknown_imports_as_default_values(store, 1)


def test_instantiate_pre(api: Any, engine: Any, linker: Any) -> None:
    linker.define_func("host", "five", func_type(api, "-> i32"), lambda: 5)
    prepared = linker.instantiate_pre(module(api, engine, IMPORTS_FIVE))
    assert isinstance(prepared, api.InstancePre)
    for _ in range(2):
        store = api.Store(engine)
        assert prepared.instantiate(store).exports(store)["run"](store) == 5
    assert [item.name for item in prepared.module.exports] == ["run"]


def test_instantiate_pre_resolves_now(api: Any, engine: Any, linker: Any, store: Any) -> None:
    with pytest.raises(api.WasmtimeError, match="unknown import"):
        linker.instantiate_pre(module(api, engine, IMPORTS_FIVE))
    linker.allow_shadowing = True
    for number in (5, 6):
        linker.define_func("host", "five", func_type(api, "-> i32"), lambda number=number: number)
        if number == 5:
            prepared = linker.instantiate_pre(module(api, engine, IMPORTS_FIVE))
    assert prepared.instantiate(store).exports(store)["run"](store) == 5


def test_instantiate_pre_takes_a_module(linker: Any) -> None:
    with pytest.raises(TypeError, match="expected a `Module`"):
        linker.instantiate_pre("(module)")


def test_instantiate_pre_traps(api: Any, engine: Any, linker: Any, store: Any) -> None:
    prepared = linker.instantiate_pre(module(api, engine, "(module (func $f unreachable) (start $f))"))
    with pytest.raises(api.Trap):
        prepared.instantiate(store)


def test_define_wasi_defines_preview_1(api: Any, linker: Any, store: Any) -> None:
    linker.define_wasi()
    assert isinstance(linker.get(store, "wasi_snapshot_preview1", "fd_write"), api.Func)
    with pytest.raises(api.WasmtimeError, match="defined twice"):
        linker.define_wasi()


def test_the_engine(engine: Any, linker: Any) -> None:
    assert linker.engine is engine


def test_a_closed_linker(api: Any, engine: Any) -> None:
    linker = api.Linker(engine)
    linker.close()
    linker.close()
    with pytest.raises(ValueError):
        linker.define_func("a", "b", func_type(api, "->"), lambda: None)
    with pytest.raises(ValueError):
        linker.allow_shadowing = True
