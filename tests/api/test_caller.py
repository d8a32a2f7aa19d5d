from __future__ import annotations

from typing import Any

import pytest

from wasmjit import Caller, Engine, Func, FuncType, Global, GlobalType, Memory, Store, Table, ValType, WasmError

I32 = ValType.i32()
TEXT = """(module (import "" "" (func $h (param i32)))
(memory (export "memory") 1) (table (export "table") 2 funcref)
(global (export "global") (mut i32) (i32.const 3))
(func (export "add_one") (param i32) (result i32) local.get 0 i32.const 1 i32.add)
(data (i32.const 8) "data") (func (export "run") i32.const 5 call $h))"""


def test_reaches_the_calling_instance(store: Store, instantiate: Any) -> None:
    seen: list[Any] = []

    def host(caller: Caller, number: int) -> None:
        memory = caller["memory"]
        assert isinstance(memory, Memory)
        seen.append(
            (number, memory.read(caller, 8, 12), caller["add_one"](caller, number), caller["global"].value(caller))
        )  # type: ignore[operator, union-attr]
        memory.write(caller, b"DATA", 8)
        assert isinstance(caller.get("table"), Table)
        assert caller.get("missing") is None
        with pytest.raises(KeyError, match="failed to find export missing"):
            caller["missing"]
        with pytest.raises(TypeError):
            caller.get(3)  # type: ignore[arg-type]
        made = Global(caller, GlobalType(I32, True), 9)
        assert made.value(caller) == made.value(store) == 9

    exports = instantiate(TEXT, Func(store, FuncType([I32], []), host, access_caller=True))
    exports["run"](store)
    assert seen == [(5, b"data", 6, 3)]
    assert exports["memory"].read(store, 8, 12) == b"DATA"


def test_data(engine: Engine) -> None:
    kept: list[Caller] = []

    def host(caller: Caller) -> None:
        kept.append(caller)
        caller.data().append("seen")

    with Store(engine, []) as store:
        Func(store, FuncType([], []), host, access_caller=True)(store)
        assert store.data() == ["seen"]
        with pytest.raises(ValueError, match="caller is no longer valid"):
            kept[0].data()


def test_ends_with_the_call(store: Store, instantiate: Any) -> None:
    kept: list[Caller] = []

    def host(caller: Caller, number: int) -> None:
        kept.append(caller)
        if number == 5:
            raise ValueError("leaves early")

    exports = instantiate(TEXT, Func(store, FuncType([I32], []), host, access_caller=True))
    with pytest.raises(ValueError, match="leaves early"):
        exports["run"](store)
    (caller,) = kept
    assert caller.get("memory") is None
    with pytest.raises(KeyError):
        caller["memory"]
    with pytest.raises(ValueError, match="caller is no longer valid"):
        exports["memory"].size(caller)
    with pytest.raises(ValueError, match="caller is no longer valid"):
        exports["add_one"](caller, 1)


def test_the_innermost_instance_counts(store: Store, instantiate: Any) -> None:
    names: list[int] = []

    def host(caller: Caller, number: int) -> None:
        names.append(caller["global"].value(caller))  # type: ignore[union-attr]
        if len(names) == 1:
            inner["run"](caller)
            names.append(caller["global"].value(caller))  # type: ignore[union-attr]

    function = Func(store, FuncType([I32], []), host, access_caller=True)
    outer, inner = instantiate(TEXT, function), instantiate(TEXT, function)
    inner["global"].set_value(store, 30)
    outer["run"](store)
    assert names == [3, 30, 3]


def test_no_instance_calls(store: Store) -> None:
    def host(caller: Caller) -> int:
        assert caller.get("memory") is None
        return 1

    assert Func(store, FuncType([], [I32]), host, access_caller=True)(store) == 1


def test_through_an_indirect_call_and_across_instances(store: Store, instantiate: Any) -> None:
    seen = []

    def host(caller: Caller, number: int) -> None:
        seen.append((number, caller["global"].value(caller)))  # type: ignore[union-attr]

    function = Func(store, FuncType([I32], []), host, access_caller=True)
    table = Table(store, instantiate('(module (table (export "t") 1 funcref))')["t"].type(store), function)
    exports = instantiate(
        """(module (import "" "t" (table 1 funcref)) (type $t (func (param i32)))
        (global (export "global") i32 (i32.const 77))
        (func (export "run") i32.const 1 i32.const 0 call_indirect (type $t)))""",
        table,
    )
    exports["run"](store)
    assert seen == [(1, 77)]


def test_belongs_to_its_store(engine: Any, store: Store) -> None:
    with Store(engine) as other:
        memory = Global(other, GlobalType(I32, False), 1)

        def host(caller: Caller) -> None:
            memory.value(caller)

        with pytest.raises(WasmError, match="global belongs to another Store"):
            Func(store, FuncType([], []), host, access_caller=True)(store)
