from __future__ import annotations

from typing import Any

import pytest

from wasmjit import (
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Limits,
    LinkError,
    Memory,
    MemoryType,
    Module,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    ValType,
    WasmError,
)
from wasmjit.runtime.instance import types_match
from wasmjit.wasm import types as wt

I32, I64, FUNCREF, EXTERNREF = ValType.i32(), ValType.i64(), ValType.funcref(), ValType.externref()


def test_exports_by_name_position_and_iteration(instantiate: Any, store: Store) -> None:
    exports = instantiate(
        """(module (memory (export "m") 1) (func (export "f") (result i32) i32.const 1) (table (export "") 1 funcref)
        (global (export "é") i32 (i32.const 2)) (export "f2" (func 0)))"""
    )
    assert list(exports) == ["m", "f", "", "é", "f2"]
    assert len(exports) == 5
    assert [type(item) for item in exports.by_index] == [Memory, Func, Table, Global, Func]
    assert exports[0] is exports["m"] is exports.by_index[0]
    assert exports["f2"] is exports["f"]
    assert exports.get("missing") is None
    assert "m" in exports and "missing" not in exports
    assert dict(exports)["é"].value(store) == 2
    with pytest.raises(KeyError, match="missing"):
        exports["missing"]
    with pytest.raises(IndexError):
        exports[5]


def test_exports_are_made_once(store: Store) -> None:
    instance = Instance(store, Module(store.engine, '(module (func (export "f")))'), [])
    assert instance.exports(store) is instance.exports(store)


@pytest.mark.parametrize(
    ("wanted", "given", "message"),
    [
        ("(func (param i32))", "func", r"expected function \[i32\] -> \[\], found function \[\] -> \[\]"),
        ("(memory 1)", "func", r"expected memory 1\.\., found function"),
        ("(func)", "memory", r"expected function .*, found memory 1\.\.3"),
        ("(memory 2)", "memory", r"expected memory 2\.\., found memory 1\.\.3"),
        ("(memory 1 2)", "memory", r"expected memory 1\.\.2, found memory 1\.\.3"),
        ("(memory 1 9)", "endless memory", r"expected memory 1\.\.9, found memory 1\.\."),
        ("(table 3 funcref)", "table", r"expected table 3\.\. funcref, found table 2\.\.4 funcref"),
        ("(table 1 3 funcref)", "table", r"found table 2\.\.4 funcref"),
        ("(table 1 externref)", "table", r"expected table 1\.\. externref, found table 2\.\.4 funcref"),
        ("(global i64)", "global", "expected global i64, found global i32"),
        ("(global (mut i32))", "global", "expected global mut i32, found global i32"),
        ("(global i32)", "variable", "expected global i32, found global mut i32"),
    ],
)
def test_imports_that_do_not_fit(store: Store, wanted: str, given: str, message: str) -> None:
    items: dict[str, Any] = {
        "func": Func(store, FuncType([], []), lambda: None),
        "memory": Memory(store, MemoryType(Limits(1, 3))),
        "endless memory": Memory(store, MemoryType(Limits(1, None))),
        "table": Table(store, TableType(FUNCREF, Limits(2, 4)), None),
        "global": Global(store, GlobalType(I32, False), 0),
        "variable": Global(store, GlobalType(I32, True), 0),
    }
    module = Module(store.engine, f'(module (import "mod" "name" {wanted}))')
    with pytest.raises(LinkError, match=f"incompatible import type for `mod::name`: .*{message}"):
        Instance(store, module, [items[given]])


def test_the_current_size_counts(store: Store) -> None:
    memory = Memory(store, MemoryType(Limits(1, 3)))
    table = Table(store, TableType(FUNCREF, Limits(1, 4)), None)
    module = Module(store.engine, '(module (import "" "m" (memory 2 3)) (import "" "t" (table 3 4 funcref)))')
    with pytest.raises(LinkError):
        Instance(store, module, [memory, table])
    memory.grow(store, 1)
    table.grow(store, 2, None)
    Instance(store, module, [memory, table])


@pytest.mark.parametrize(
    ("found", "wanted", "fits"),
    [
        ((1, None), (1, None), True),
        ((2, None), (1, None), True),
        ((0, None), (1, None), False),
        ((1, 5), (1, None), True),
        ((1, 5), (1, 5), True),
        ((1, 5), (1, 6), True),
        ((1, 5), (1, 4), False),
        ((1, None), (1, 5), False),
    ],
)
def test_limits_matching(found: tuple[int, int | None], wanted: tuple[int, int | None], fits: bool) -> None:
    assert types_match(wt.MemoryType(wt.Limits(*found)), wt.MemoryType(wt.Limits(*wanted))) is fits
    assert (
        types_match(wt.TableType(wt.FUNCREF, wt.Limits(*found)), wt.TableType(wt.FUNCREF, wt.Limits(*wanted))) is fits
    )
    assert not types_match(wt.MemoryType(wt.Limits(*found)), wt.TableType(wt.FUNCREF, wt.Limits(*wanted)))


def test_address_type_sharing_and_page_size_match_exactly() -> None:
    plain = wt.MemoryType(wt.Limits(1, 2))
    for other in (
        wt.MemoryType(wt.Limits(1, 2), is_64=True),
        wt.MemoryType(wt.Limits(1, 2), shared=True),
        wt.MemoryType(wt.Limits(1, 2), page_size_log2=0),
    ):
        assert not types_match(plain, other) and not types_match(other, plain)
        assert types_match(other, other)


def test_number_and_kind_of_imports(store: Store) -> None:
    module = Module(store.engine, '(module (import "" "" (func)))')
    for imports in ([], [Func(store, FuncType([], []), print)] * 2):
        with pytest.raises(LinkError, match=f"expected 1 imports, found {len(imports)}"):
            Instance(store, module, imports)
    for wrong in (3, print, None, store):
        with pytest.raises(TypeError, match="expected a Func, Global, Memory, SharedMemory, Tag, or Table"):
            Instance(store, module, [wrong])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="expected a Module"):
        Instance(store, b"", [])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Store"):
        Instance(module, module, [])  # type: ignore[arg-type]


def test_stores_and_engines_do_not_mix(engine: Engine, store: Store) -> None:
    module = Module(engine, '(module (import "" "" (func)))')
    with Store(engine) as other:
        with pytest.raises(WasmError, match="func belongs to another Store"):
            Instance(store, module, [Func(other, FuncType([], []), print)])
        instance = Instance(store, Module(engine, "(module)"), [])
        with pytest.raises(WasmError, match="instance belongs to another Store"):
            instance.exports(other)
    with pytest.raises(WasmError, match="cross-`Engine` instantiation"):
        Instance(store, Module(Engine(), "(module)"), [])


def test_constant_expressions(store: Store, instantiate: Any) -> None:
    exports = instantiate(
        """(module (import "" "i" (global $i i32)) (import "" "I" (global $I i64)) (import "" "e" (global $e externref))
        (import "" "h" (func $h (result i32)))
        (global (export "a") i32 (i32.add (global.get $i) (i32.const -1)))
        (global (export "b") i64 (i64.mul (global.get $I) (i64.sub (i64.const 3) (i64.const 5))))
        (global (export "c") i32 (i32.mul (i32.const 0x10001) (i32.const 0x10001)))
        (global (export "d") externref (global.get $e)) (global (export "f") funcref (ref.func $h))
        (global (export "g") funcref (ref.func $own)) (global (export "n") funcref (ref.null func))
        (func $own (result i32) i32.const 8))""",
        Global(store, GlobalType(I32, False), -(1 << 31)),
        Global(store, GlobalType(I64, False), 1 << 62),
        Global(store, GlobalType(EXTERNREF, False), "object"),
        Func(store, FuncType([], [I32]), lambda: 7),
    )
    values = {name: exports[name].value(store) for name in exports}
    assert values["a"] == (1 << 31) - 1
    assert values["b"] == -(1 << 63)
    assert values["c"] == 0x20001
    assert values["d"] == "object"
    assert (values["f"](store), values["g"](store), values["n"]) == (7, 8, None)


def test_segments(store: Store, instantiate: Any) -> None:
    exports = instantiate(
        """(module (import "" "at" (global $at i32)) (memory (export "m") 1) (table (export "t") 5 funcref)
        (data (i32.const 0) "abcdef") (data (i32.add (global.get $at) (i32.const 1)) "XY") (data $p "passive")
        (elem (global.get $at) $one $two) (elem $e func $two) (func $one (result i32) i32.const 1)
        (func $two (result i32) i32.const 2)
        (func (export "init") i32.const 10 i32.const 0 i32.const 7 memory.init $p data.drop $p
          i32.const 0 i32.const 0 i32.const 1 table.init $e)
        (func (export "again") i32.const 0 i32.const 0 i32.const 1 memory.init $p)
        (func (export "active") i32.const 0 i32.const 0 i32.const 1 memory.init 0))""",
        Global(store, GlobalType(I32, False), 2),
    )
    memory, table = exports["m"], exports["t"]
    assert memory.read(store, 0, 6) == b"abcXYf"
    elements = [table.get(store, i) for i in range(5)]
    assert [i(store) if isinstance(i, Func) else i for i in elements] == [None, None, 1, 2, None]
    exports["init"](store)
    assert memory.read(store, 10, 17) == b"passive"
    assert table.get(store, 0)(store) == 2
    for name in ("again", "active"):  # dropped, by data.drop and by instantiation
        with pytest.raises(Trap) as caught:
            exports[name](store)
        assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS


def test_effects_before_a_trap_stay(store: Store) -> None:
    memory = Memory(store, MemoryType(Limits(1, 1)))
    table = Table(store, TableType(FUNCREF, Limits(2, 2)), None)
    head = '(module (import "" "m" (memory 1)) (import "" "t" (table 2 funcref)) (func $f (result i32) i32.const 3)'
    out_of_memory = Module(
        store.engine,
        head
        + '(elem (i32.const 0) $f) (data (i32.const 1) "first") (data (i32.const 65535) "no") (data (i32.const 9) ""))',
    )
    with pytest.raises(Trap, match="out of bounds memory access") as caught:
        Instance(store, out_of_memory, [memory, table])
    assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS
    assert memory.read(store, 0, 10) == b"\0first\0\0\0\0"
    assert memory.read(store, -1) == b"\0"
    assert table.get(store, 0)(store) == 3  # elements come before data, and the function lives on
    out_of_table = Module(
        store.engine, head + '(elem (i32.const 1) $f) (elem (i32.const 1) $f $f) (data (i32.const 20) "data"))'
    )
    with pytest.raises(Trap, match="out of bounds table access") as caught:
        Instance(store, out_of_table, [memory, table])
    assert caught.value.trap_code is TrapCode.TABLE_OUT_OF_BOUNDS
    assert table.get(store, 1)(store) == 3
    assert memory.read(store, 20, 24) == bytes(4)


def test_start_function(store: Store, instantiate: Any) -> None:
    calls: list[str] = []
    host = Func(store, FuncType([], []), lambda: calls.append("host"))
    exports = instantiate(
        """(module (import "" "" (func $h)) (global (export "g") (mut i32) (i32.const 0)) (memory (export "m") 1)
        (data (i32.const 0) "x") (func $s call $h i32.const 0 i32.load8_u global.set 0) (start $s))""",
        host,
    )
    assert calls == ["host"]
    assert exports["g"].value(store) == ord("x")  # it ran after the data segments
    instantiate('(module (import "" "" (func $h)) (start $h))', host)
    assert calls == ["host"] * 2


def test_failing_start_function(store: Store, instantiate: Any) -> None:
    with pytest.raises(Trap) as caught:
        instantiate("(module $m (func $s unreachable) (start $s))")
    assert [(frame.module_name, frame.func_name) for frame in caught.value.frames] == [("m", "s")]

    def fail() -> None:
        raise ValueError("from the host")

    with pytest.raises(ValueError, match="from the host"):
        instantiate('(module (import "" "" (func $h)) (start $h))', Func(store, FuncType([], []), fail))


def test_reexported_imports_are_the_same_items(store: Store, instantiate: Any) -> None:
    memory = Memory(store, MemoryType(Limits(1, 2)))
    function = Func(store, FuncType([], [I32]), lambda: 1)
    exports = instantiate(
        """(module (import "" "" (memory 1)) (import "" "" (func (result i32)))
        (export "m" (memory 0)) (export "f" (func 0)))""",
        memory,
        function,
    )
    assert exports["f"] is function
    memory.write(store, b"shared")
    assert exports["m"].read(store, 0, 6) == b"shared"
    exports["m"].grow(store, 1)
    assert memory.size(store) == 2


def test_instances_of_one_module_are_separate(store: Store) -> None:
    module = Module(
        store.engine,
        """(module (global $g (mut i32) (i32.const 0)) (memory (export "m") 1)
        (func (export "next") (result i32) global.get $g i32.const 1 i32.add global.set $g global.get $g))""",
    )
    first, second = (Instance(store, module, []).exports(store) for _ in range(2))
    assert [first["next"](store), first["next"](store), second["next"](store)] == [1, 2, 1]
    first["m"].write(store, b"1")
    assert second["m"].read(store, 0, 1) == b"\0"


def test_getters_by_kind(store: Store) -> None:
    module = Module(
        store.engine,
        """(module (memory (export "m") 1) (table (export "t") 1 funcref) (global (export "g") i32 (i32.const 7))
        (func (export "f") (result i32) i32.const 5))""",
    )
    instance = Instance(store, module, [])
    getters = {
        "m": (instance.get_memory, Memory),
        "t": (instance.get_table, Table),
        "g": (instance.get_global, Global),
        "f": (instance.get_func, Func),
    }
    for wanted, (get, kind) in getters.items():
        for name in (*getters, "missing"):
            found = get(store, name)
            assert isinstance(found, kind) if name == wanted else found is None
        with pytest.raises(TypeError, match="expected a str"):
            get(store, 0)  # type: ignore[arg-type]
        with Store(store.engine) as other, pytest.raises(WasmError, match="instance belongs to another Store"):
            get(other, wanted)
        assert isinstance(instance.get_export(store, wanted), kind)
    assert instance.get_export(store, "missing") is None
    function = instance.get_func(store, "f")
    assert function is not None and function(store) == 5
    assert function is instance.exports(store)["f"]


def test_exports_stay_the_same_handles(instantiate: Any, store: Store) -> None:
    exports = instantiate('(module (memory (export "m") 1) (func (export "f")))')
    assert exports["m"] is exports["m"] is exports[0] is exports.by_index[0]
    assert exports["f"] is exports[-1]
    with pytest.raises(KeyError):
        exports["missing"]
    with pytest.raises(IndexError):
        exports[2]
    assert "missing" not in exports and exports.get("missing") is None and "m" in exports
