"""Store: data, limits, closing; close() and `with` of every handle; threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.compat.conftest import func_type


def test_a_store_takes_an_engine_or_nothing(api: Any, engine: Any) -> None:
    assert api.Store(engine).engine is engine
    assert isinstance(api.Store().engine, api.Engine)
    for wrong in (1, "engine"):
        with pytest.raises(TypeError, match="expected an Engine"):
            api.Store(wrong)


def test_data(api: Any, engine: Any) -> None:
    thing = object()
    assert api.Store(engine, thing).data() is thing
    assert api.Store(engine).data() is None


def test_gc_returns_nothing(store: Any) -> None:
    assert store.gc() is None


# ---- limits ----


def test_a_memory_over_the_limit(api: Any, store: Any) -> None:
    store.set_limits(memory_size=65536)
    api.Memory(store, api.MemoryType(api.Limits(1, None)))
    with pytest.raises(api.WasmtimeError):
        api.Memory(store, api.MemoryType(api.Limits(2, None)))


def test_growing_a_memory_over_the_limit(api: Any, instantiate: Any, store: Any) -> None:
    store.set_limits(memory_size=3 * 65536)
    exports = instantiate(
        '(module (memory (export "m") 1) (func (export "g") (param i32) (result i32) (memory.grow (local.get 0))))'
    )
    assert [exports["g"](store, delta) for delta in (1, 2, 1, 1)] == [1, -1, 2, -1]
    with pytest.raises(api.WasmtimeError):
        exports["m"].grow(store, 1)


def test_growing_a_table_over_the_limit(api: Any, instantiate: Any, store: Any) -> None:
    store.set_limits(table_elements=5)
    exports = instantiate(
        """(module (table $t (export "t") 4 funcref)
             (func (export "g") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0))))"""
    )
    assert [exports["g"](store, delta) for delta in (1, 1)] == [4, -1]
    with pytest.raises(api.WasmtimeError):
        exports["t"].grow(store, 1, None)


def test_a_table_over_the_limit(api: Any, store: Any) -> None:
    store.set_limits(table_elements=5)
    with pytest.raises(api.WasmtimeError):
        api.Table(store, api.TableType(api.ValType.funcref(), api.Limits(6, None)), None)


@pytest.mark.parametrize(
    ("limit", "text"),
    [("instances", "(module)"), ("memories", "(module (memory 0))"), ("tables", "(module (table 0 funcref))")],
)
def test_counted_limits(api: Any, engine: Any, store: Any, limit: str, text: str) -> None:
    store.set_limits(**{limit: 2})
    module = api.Module(engine, text)
    for _ in range(2):
        api.Instance(store, module, [])
    with pytest.raises(api.WasmtimeError):
        api.Instance(store, module, [])


def test_negative_limits_are_none(api: Any, store: Any) -> None:
    store.set_limits(memory_size=-1, table_elements=-1, instances=-1, tables=-1, memories=-1)
    api.Memory(store, api.MemoryType(api.Limits(10, None)))


# ---- closing ----


def handles(api: Any) -> dict[str, Any]:
    engine = api.Engine()
    module = api.Module(engine, '(module (import "" "f" (func)) (memory (export "m") 1))')
    linker = api.Linker(engine)
    linker.define_func("", "f", func_type(api, "->"), lambda: None)
    return {
        "Config": api.Config(),
        "Engine": engine,
        "Module": module,
        "Linker": linker,
        "InstancePre": linker.instantiate_pre(module),
        "Store": api.Store(engine),
        "WasiConfig": api.WasiConfig(),
        "FuncType": func_type(api, "i32 ->"),
        "ValType": api.ValType.i32(),
        "GlobalType": api.GlobalType(api.ValType.i32(), True),
        "MemoryType": api.MemoryType(api.Limits(1, None)),
        "TableType": api.TableType(api.ValType.funcref(), api.Limits(1, None)),
        "ImportType": module.imports[0],
        "ExportType": module.exports[0],
        "Trap": api.Trap("x"),
        "WasmtimeError": api.WasmtimeError("x"),
    }


KINDS = """Config Engine Module Linker InstancePre Store WasiConfig FuncType ValType GlobalType MemoryType TableType
    ImportType ExportType Trap WasmtimeError""".split()


@pytest.mark.parametrize("kind", KINDS)
def test_everything_closes_twice_and_works_in_with(api: Any, kind: str) -> None:
    handle = handles(api)[kind]
    with handle as entered:
        assert entered is handle
    handle.close()
    handle.close()


CLOSED_USES = {
    "Module": lambda api, it: it.exports,
    "Engine": lambda api, it: api.Module(it, "(module)"),
    "Store": lambda api, it: it.gc(),
    "Linker": lambda api, it: it.define_wasi(),
    "InstancePre": lambda api, it: it.module,
    "FuncType": lambda api, it: it.params,
    "ValType": lambda api, it: str(it),
    "GlobalType": lambda api, it: it.content,
    "MemoryType": lambda api, it: it.limits,
    "TableType": lambda api, it: it.element,
    "ImportType": lambda api, it: it.name,
    "ExportType": lambda api, it: it.name,
}


@pytest.mark.parametrize("kind", CLOSED_USES)
def test_what_is_closed_is_a_value_error(api: Any, kind: str) -> None:
    handle = handles(api)[kind]
    handle.close()
    with pytest.raises(ValueError):
        CLOSED_USES[kind](api, handle)


def test_what_belongs_to_a_closed_store(api: Any, engine: Any) -> None:
    store = api.Store(engine)
    exports = api.Instance(
        store,
        api.Module(
            engine, '(module (func (export "f")) (memory (export "m") 1) (global (export "g") i32 (i32.const 1)))'
        ),
        [],
    ).exports(store)
    store.close()
    for use in (
        lambda: exports["f"](store),
        lambda: exports["m"].size(store),
        lambda: exports["g"].value(store),
        lambda: api.Instance(store, api.Module(engine, "(module)"), []),
        store.data,
    ):
        with pytest.raises(ValueError):
            use()


def test_a_module_outlives_its_engine(api: Any) -> None:
    engine = api.Engine()
    module = api.Module(engine, '(module (func (export "f") (result i32) i32.const 4))')
    store = api.Store(engine)
    engine.close()
    assert api.Instance(store, module, []).exports(store)["f"](store) == 4


# ---- threads ----


def in_threads(count: int, work: Any) -> list[Any]:
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        results[number] = work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


FACTORIAL = """(module (func $fac (export "fac") (param i64) (result i64)
  (if (result i64) (i64.eqz (local.get 0)) (then (i64.const 1))
    (else (i64.mul (local.get 0) (call $fac (i64.sub (local.get 0) (i64.const 1))))))))"""


def test_a_module_in_many_threads(api: Any, engine: Any) -> None:
    module = api.Module(engine, FACTORIAL)

    def work(number: int) -> int:
        store = api.Store(engine)
        fac = api.Instance(store, module, []).exports(store)["fac"]
        return sum(fac(store, 10) for _ in range(50))

    assert in_threads(8, work) == [50 * 3628800] * 8


def test_compiling_in_many_threads(api: Any, engine: Any) -> None:
    def work(number: int) -> int:
        store = api.Store(engine)
        module = api.Module(engine, f'(module (func (export "f") (result i32) i32.const {number}))')
        return int(api.Instance(store, module, []).exports(store)["f"](store))

    assert in_threads(6, work) == list(range(6))


def test_a_linker_in_many_threads(api: Any, engine: Any) -> None:
    linker = api.Linker(engine)
    linker.define_func("", "double", func_type(api, "i32 -> i32"), lambda n: 2 * n)
    module = api.Module(
        engine,
        """(module (import "" "double" (func $d (param i32) (result i32)))
             (func (export "f") (param i32) (result i32) (call $d (local.get 0))))""",
    )

    def work(number: int) -> list[int]:
        store = api.Store(engine)
        f = linker.instantiate(store, module).exports(store)["f"]
        return [f(store, number + k) for k in range(20)]

    assert in_threads(4, work) == [[2 * (n + k) for k in range(20)] for n in range(4)]


def test_a_store_moves_between_threads(api: Any, instantiate: Any, store: Any) -> None:
    fac = instantiate(FACTORIAL)["fac"]
    assert in_threads(1, lambda _: fac(store, 5)) == [120]
    assert fac(store, 4) == 24


def test_traps_in_threads(api: Any, engine: Any) -> None:
    module = api.Module(engine, '(module (memory 1) (func (export "f") (drop (i32.load (i32.const 65536)))))')

    def work(number: int) -> Any:
        store = api.Store(engine)
        try:
            api.Instance(store, module, []).exports(store)["f"](store)
        except api.Trap as trap:
            return trap.trap_code

    assert in_threads(4, work) == [api.TrapCode.MEMORY_OUT_OF_BOUNDS] * 4
