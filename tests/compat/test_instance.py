"""Instance and its exports."""

from __future__ import annotations

from typing import Any

import pytest


def test_exports_by_name_and_by_position(api: Any, instantiate: Any, store: Any) -> None:
    exports = instantiate('(module (func (export "a") (result i32) i32.const 1) (memory (export "b") 1))')
    assert exports["a"](store) == 1
    assert exports.by_index[0](store) == 1
    assert isinstance(exports["b"], api.Memory) and isinstance(exports.by_index[1], api.Memory)
    assert (len(exports), list(exports), "a" in exports, "c" in exports) == (2, ["a", "b"], True, False)
    assert exports.get("c") is None and sorted(exports.keys()) == ["a", "b"]
    assert [type(item) for item in exports.values()] == [api.Func, api.Memory]


def test_unknown_exports(instantiate: Any) -> None:
    exports = instantiate('(module (func (export "a")))')
    with pytest.raises(KeyError):
        exports["nothing"]
    with pytest.raises(IndexError):
        exports.by_index[7]


def test_the_kinds_of_exports(api: Any, instantiate: Any) -> None:
    exports = instantiate(
        """(module (func (export "f")) (table (export "t") 1 funcref) (memory (export "m") 1)
             (global (export "g") i32 (i32.const 0)))"""
    )
    kinds = {"f": api.Func, "t": api.Table, "m": api.Memory, "g": api.Global}
    assert {name: type(item) for name, item in exports.items()} == kinds


def test_imports_in_order(instantiate: Any, host: Any, store: Any) -> None:
    exports = instantiate(
        """(module (import "" "a" (func $a (result i32))) (import "" "b" (func $b (result i32)))
             (func (export "f") (result i32) (i32.sub (call $a) (call $b))))""",
        host("-> i32", lambda: 10),
        host("-> i32", lambda: 3),
    )
    assert exports["f"](store) == 7


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_imports(api: Any, instantiate: Any, host: Any, count: int) -> None:
    with pytest.raises(api.WasmtimeError, match=f"expected 1 imports, found {count}"):
        instantiate('(module (import "" "f" (func)))', *[host("->", lambda: None)] * count)


@pytest.mark.parametrize("found", ["i64 ->", "-> i32", "", "i32 i32 ->", "i32 -> i32"])
def test_a_function_of_another_type(api: Any, instantiate: Any, host: Any, found: str) -> None:
    with pytest.raises(api.WasmtimeError, match="incompatible import type"):
        instantiate('(module (import "a" "f" (func (param i32))))', host(found, lambda *_: None))


def test_an_item_of_another_kind(api: Any, instantiate: Any, store: Any) -> None:
    memory = api.Memory(store, api.MemoryType(api.Limits(1, None)))
    with pytest.raises(api.WasmtimeError, match="incompatible import type"):
        instantiate('(module (import "a" "f" (func)))', memory)


@pytest.mark.parametrize(
    ("given", "wanted", "fits"),
    [
        ((1, None), "1", True),
        ((2, None), "1", True),
        ((1, None), "2", False),
        ((1, 2), "1 2", True),
        ((1, 2), "1 3", True),
        ((1, 3), "1 2", False),
        ((1, None), "1 2", False),
    ],
)
def test_memory_limits_match(
    api: Any, instantiate: Any, store: Any, given: tuple[int, int | None], wanted: str, fits: bool
) -> None:
    memory = api.Memory(store, api.MemoryType(api.Limits(*given)))
    if fits:
        instantiate(f'(module (import "" "" (memory {wanted})))', memory)
    else:
        with pytest.raises(api.WasmtimeError, match="incompatible import type"):
            instantiate(f'(module (import "" "" (memory {wanted})))', memory)


def test_the_size_at_the_time_counts(api: Any, instantiate: Any, store: Any) -> None:
    memory = api.Memory(store, api.MemoryType(api.Limits(1, None)))
    memory.grow(store, 1)
    instantiate('(module (import "" "" (memory 2)))', memory)


@pytest.mark.parametrize(
    ("content", "mutable", "wanted", "fits"),
    [
        ("i32", False, "i32", True),
        ("i32", True, "(mut i32)", True),
        ("i32", True, "i32", False),
        ("i32", False, "(mut i32)", False),
        ("i64", False, "i32", False),
    ],
)
def test_global_types_match(
    api: Any, instantiate: Any, store: Any, content: str, mutable: bool, wanted: str, fits: bool
) -> None:
    item = api.Global(store, api.GlobalType(getattr(api.ValType, content)(), mutable), 1)
    text = f'(module (import "" "" (global {wanted})))'
    if fits:
        instantiate(text, item)
    else:
        with pytest.raises(api.WasmtimeError):
            instantiate(text, item)


@pytest.mark.parametrize("wrong", [1, None, "f", object()])
def test_imports_are_externs(api: Any, instantiate: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a Func, Global, Memory"):
        instantiate('(module (import "" "f" (func)))', wrong)


def test_the_start_function_runs(instantiate: Any, host: Any) -> None:
    calls: list[int] = []
    instantiate(
        '(module (import "" "f" (func $f (param i32))) (start $go) (func $go (call $f (i32.const 5))))',
        host("i32 ->", calls.append),
    )
    assert calls == [5]


def test_an_imported_start_function(instantiate: Any, host: Any) -> None:
    calls: list[str] = []
    instantiate('(module (import "" "f" (func $f)) (start $f))', host("->", lambda: calls.append("called")))
    assert calls == ["called"]


def test_a_start_function_that_traps(api: Any, instantiate: Any) -> None:
    with pytest.raises(api.Trap) as caught:
        instantiate("(module (start $f) (func $f unreachable))")
    assert caught.value.trap_code == api.TrapCode.UNREACHABLE


def test_a_start_function_that_raises(instantiate: Any, host: Any) -> None:
    def fail() -> None:
        raise ZeroDivisionError("from the host")

    with pytest.raises(ZeroDivisionError, match="from the host"):
        instantiate('(module (import "" "f" (func $f)) (start $f))', host("->", fail))


def test_data_that_does_not_fit(api: Any, instantiate: Any) -> None:
    with pytest.raises(api.Trap) as caught:
        instantiate('(module (memory 1) (data (i32.const 65535) "ab"))')
    assert caught.value.trap_code == api.TrapCode.MEMORY_OUT_OF_BOUNDS


def test_elements_that_do_not_fit(api: Any, instantiate: Any) -> None:
    with pytest.raises(api.Trap) as caught:
        instantiate("(module (table 1 funcref) (func $f) (elem (i32.const 1) $f))")
    assert caught.value.trap_code == api.TrapCode.TABLE_OUT_OF_BOUNDS


def test_segments_before_the_one_that_traps_stay(api: Any, instantiate: Any, store: Any) -> None:
    memory = api.Memory(store, api.MemoryType(api.Limits(1, None)))
    with pytest.raises(api.Trap):
        instantiate(
            '(module (import "" "" (memory 1)) (data (i32.const 0) "kept") (data (i32.const 65536) "x"))', memory
        )
    assert memory.read(store, 0, 4) == b"kept"


def test_exports_of_imports(api: Any, instantiate: Any, host: Any, store: Any) -> None:
    exports = instantiate(
        '(module (import "" "f" (func $f (result i32))) (export "g" (func $f)))', host("-> i32", lambda: 9)
    )
    assert exports["g"](store) == 9


def test_instances_share_what_they_import(instantiate: Any, store: Any) -> None:
    provider = instantiate(
        """(module (memory (export "m") 1) (global (export "g") (mut i32) (i32.const 1))
             (func (export "f") (result i32) (i32.load (i32.const 0))))"""
    )
    user = instantiate(
        """(module (import "" "m" (memory 1)) (import "" "g" (global $g (mut i32)))
             (import "" "f" (func $f (result i32)))
             (func (export "run") (result i32)
               (i32.store (i32.const 0) (i32.const 41)) (global.set $g (i32.const 5))
               (i32.add (call $f) (i32.const 1))))""",
        provider["m"],
        provider["g"],
        provider["f"],
    )
    assert user["run"](store) == 42
    assert provider["g"].value(store) == 5


def test_instances_do_not_share_what_they_define(api: Any, store: Any) -> None:
    module = api.Module(store.engine, '(module (memory (export "m") 1))')
    first, second = (api.Instance(store, module, []).exports(store)["m"] for _ in range(2))
    first.write(store, b"x")
    assert (first.read(store, 0, 1), second.read(store, 0, 1)) == (b"x", b"\0")


def test_an_instance_keeps_its_module(api: Any, store: Any) -> None:
    module = api.Module(store.engine, '(module (func (export "f") (result i32) i32.const 3))')
    instance = api.Instance(store, module, [])
    module.close()
    assert instance.exports(store)["f"](store) == 3
