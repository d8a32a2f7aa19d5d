from __future__ import annotations

import copy
import threading
from typing import Any

import pytest

import wasmjit
from wasmjit import (
    Caller,
    ClosedError,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Linker,
    LinkError,
    Memory,
    Module,
    Store,
    Table,
    UnknownImportError,
    Val,
    ValType,
    WasmError,
)

I32 = ValType.i32()
NOTHING = FuncType([], [])
USES_HOST = '(module (import "m" "n" (func $n (result i32))) (func (export "run") (result i32) call $n))'


@pytest.fixture
def linker(engine: Engine) -> Linker:
    return Linker(engine)


def test_define_and_instantiate(linker: Linker, store: Store) -> None:
    linker.define(store, "m", "n", Func(store, FuncType([], [I32]), lambda: 5))
    assert linker.instantiate(store, Module(linker.engine, USES_HOST)).exports(store)["run"](store) == 5
    assert linker.get(store, "m", "n")(store) == 5  # type: ignore[operator]


def test_one_linker_serves_many_stores(linker: Linker, engine: Engine) -> None:
    def host(caller: Caller) -> int:
        memory = caller["memory"]
        assert isinstance(memory, Memory)
        return memory.size(caller)

    linker.define_func("m", "n", FuncType([], [I32]), host, access_caller=True)
    for pages in (1, 2):
        module = Module(engine, USES_HOST.replace("(func (export", f'(memory (export "memory") {pages}) (func (export'))
        with Store(engine) as store:
            assert linker.instantiate(store, module).exports(store)["run"](store) == pages
            assert linker.get(store, "m", "n") is linker.get(store, "m", "n")


def test_unknown_import(linker: Linker, store: Store) -> None:
    module = Module(linker.engine, '(module (import "m" "n" (func (param i32))))')
    for use in (lambda: linker.instantiate(store, module), lambda: linker.instantiate_pre(module)):
        with pytest.raises(UnknownImportError) as caught:
            use()
        error = caught.value
        assert str(error) == "unknown import: `m::n` has not been defined"
        assert (error.module, error.name, error.type) == ("m", "n", FuncType([I32], []))
        assert isinstance(error, LinkError)


def test_incompatible_import(linker: Linker, store: Store) -> None:
    linker.define_func("m", "n", NOTHING, lambda: None)
    with pytest.raises(
        LinkError, match=r"incompatible import type for `m::n`: expected function \[\] -> \[i32\], found"
    ):
        linker.instantiate(store, Module(linker.engine, USES_HOST))


def test_shadowing(linker: Linker, store: Store) -> None:
    assert linker.allow_shadowing is False
    linker.define_func("m", "n", FuncType([], [I32]), lambda: 1)
    for define in (
        lambda: linker.define_func("m", "n", NOTHING, lambda: None),
        lambda: linker.define(store, "m", "n", Func(store, NOTHING, lambda: None)),
    ):
        with pytest.raises(WasmError, match="import of `m::n` defined twice"):
            define()
    linker.allow_shadowing = True
    linker.define_func("m", "n", FuncType([], [I32]), lambda: 2)
    assert linker.instantiate(store, Module(linker.engine, USES_HOST)).exports(store)["run"](store) == 2


def test_wrong_arguments(linker: Linker, store: Store) -> None:
    function = Func(store, NOTHING, lambda: None)
    wrong: list[Any] = [
        lambda: Linker(3),  # type: ignore[arg-type]
        lambda: linker.define(store, 1, "n", function),  # type: ignore[arg-type]
        lambda: linker.define(store, "m", None, function),  # type: ignore[arg-type]
        lambda: linker.define(store, "m", "n", print),  # type: ignore[arg-type]
        lambda: linker.define(3, "m", "n", function),  # type: ignore[arg-type]
        lambda: linker.define_func("m", "n", 3, print),  # type: ignore[arg-type]
        lambda: linker.define_func("m", "n", NOTHING, 3),  # type: ignore[arg-type]
        lambda: linker.define_instance(store, "m", 3),  # type: ignore[arg-type]
        lambda: linker.define_module(store, "m", 3),  # type: ignore[arg-type]
        lambda: linker.instantiate(store, b""),  # type: ignore[arg-type]
        lambda: linker.instantiate_pre(3),  # type: ignore[arg-type]
        lambda: linker.define_unknown_imports_as_traps(3),  # type: ignore[arg-type]
    ]
    for use in wrong:
        with pytest.raises(TypeError, match="expected a"):
            use()


def test_stores_and_engines_do_not_mix(linker: Linker, engine: Engine, store: Store) -> None:
    function = Func(store, FuncType([], [I32]), lambda: 5)
    module = Module(engine, USES_HOST)
    with Store(engine) as other:
        with pytest.raises(WasmError, match="func belongs to another Store"):
            linker.define(other, "m", "n", function)
        linker.define(store, "m", "n", function)
        prepared = linker.instantiate_pre(module)
        for use in (
            lambda: linker.instantiate(other, module),
            lambda: linker.get(other, "m", "n"),
            lambda: prepared.instantiate(other),
            lambda: linker.define_instance(other, "i", linker.instantiate(store, module)),
        ):
            with pytest.raises(WasmError, match="belongs to another Store"):
                use()
    foreign = Module(Engine(), "(module)")
    for use in (
        lambda: linker.instantiate(store, foreign),
        lambda: linker.instantiate_pre(foreign),
        lambda: Linker(foreign._engine).instantiate(store, foreign),
    ):
        with pytest.raises(WasmError, match="cross-`Engine` instantiation"):
            use()


def test_define_instance(linker: Linker, store: Store) -> None:
    exporting = Module(
        linker.engine,
        """(module (func (export "n") (result i32) i32.const 6) (memory (export "memory") 1)
        (global (export "g") i32 (i32.const 1)))""",
    )
    instance = linker.instantiate(store, exporting)
    linker.define_instance(store, "m", instance)
    assert linker.instantiate(store, Module(linker.engine, USES_HOST)).exports(store)["run"](store) == 6
    assert isinstance(linker.get(store, "m", "memory"), Memory)
    with pytest.raises(WasmError, match="defined twice"):
        linker.define_instance(store, "m", instance)


def test_instance_pre(linker: Linker, engine: Engine) -> None:
    linker.define_func("m", "n", FuncType([], [I32]), lambda: 7)
    module = Module(engine, USES_HOST)
    prepared = linker.instantiate_pre(module)
    linker.close()
    assert prepared.module is module
    for _ in range(2):
        with Store(engine) as store:
            assert prepared.instantiate(store).exports(store)["run"](store) == 7
    with prepared:
        pass
    with pytest.raises(ClosedError):
        prepared.instantiate(Store(engine))


def test_get(linker: Linker, store: Store) -> None:
    with pytest.raises(WasmError, match="item not defined in linker"):
        linker.get(store, "m", "n")


def test_get_default(linker: Linker, store: Store) -> None:
    assert linker.get_default(store, "nothing")(store) is None
    assert linker.get_default(store, "nothing").type(store) == NOTHING
    linker.define_func("m", "_start", FuncType([], [I32]), lambda: 1)
    assert linker.get_default(store, "m")(store) == 1
    linker.define_func("m", "", FuncType([], [I32]), lambda: 2)
    assert linker.get_default(store, "m")(store) == 2
    linker.define(store, "g", "", Global(store, GlobalType(I32, False), 0))
    with pytest.raises(WasmError, match="default export in 'g' is not a function"):
        linker.get_default(store, "g")


COUNTER = """(global $count (mut i32) (i32.const 0)) (memory (export "memory") 1)
(func (export "next") (result i32) global.get $count i32.const 1 i32.add global.set $count global.get $count)"""


def test_commands_are_instantiated_for_each_call(linker: Linker, store: Store) -> None:
    linker.define_module(store, "c", Module(linker.engine, f'(module {COUNTER} (func (export "_start")))'))
    following = linker.get(store, "c", "next")
    assert [following(store), following(store)] == [1, 1]  # type: ignore[operator]
    with pytest.raises(WasmError, match="not defined"):
        linker.get(store, "c", "memory")
    linker.get_default(store, "c")(store)


def test_reactors_are_instantiated_once(linker: Linker, store: Store) -> None:
    calls: list[int] = []
    linker.define_func("host", "called", NOTHING, lambda: calls.append(1))
    text = f'(module (import "host" "called" (func $c)) {COUNTER} (func (export "_initialize") call $c))'
    linker.define_module(store, "r", Module(linker.engine, text))
    assert calls == [1]
    following = linker.get(store, "r", "next")
    assert [following(store), following(store)] == [1, 2]  # type: ignore[operator]
    assert isinstance(linker.get(store, "r", "memory"), Memory)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('(module (func (export "_start")) (func (export "_initialize")))', "cannot be both a command"),
        ('(module (memory (export "_start") 1))', "`_start` must be a function"),
        (
            '(module (func (export "_start")) (global (export "g") i32 (i32.const 0)))',
            "command export 'g' is not a function",
        ),
        ('(module (func (export "_start")) (table (export "memory") 1 funcref))', "command export 'memory'"),
    ],
)
def test_modules_that_are_no_program(linker: Linker, store: Store, text: str, message: str) -> None:
    with pytest.raises(WasmError, match=message):
        linker.define_module(store, "m", Module(linker.engine, text))


def test_unknown_imports_as_traps(linker: Linker, store: Store) -> None:
    linker.define_func("m", "known", FuncType([], [I32]), lambda: 3)
    module = Module(
        linker.engine,
        """(module (import "m" "n" (func $n (param i32) (result i32))) (import "m" "n" (func (param i32) (result i32)))
        (import "m" "known" (func $k (result i32))) (func (export "run") (result i32) i32.const 0 call $n)
        (func (export "known") (result i32) call $k))""",
    )
    linker.define_unknown_imports_as_traps(module)
    exports = linker.instantiate(store, module).exports(store)
    assert exports["known"](store) == 3
    with pytest.raises(WasmError, match="unknown import: `m::n` has not been defined"):
        exports["run"](store)
    other = Module(linker.engine, '(module (import "m" "mem" (memory 1)))')
    linker.define_unknown_imports_as_traps(other)  # only functions can trap
    with pytest.raises(UnknownImportError, match="m::mem"):
        linker.instantiate(store, other)


def test_unknown_imports_as_default_values(linker: Linker, store: Store) -> None:
    module = Module(
        linker.engine,
        """(module (import "m" "f" (func $f (param i32) (result i32 f64 externref funcref))) (import "m" "v" (func $v))
        (import "m" "one" (func $one (result f32))) (import "m" "mem" (memory 2 3)) (import "m" "t" (table 4 externref))
        (import "m" "g" (global (mut i64))) (import "m" "r" (global funcref))
        (func (export "run") (result i32 f64 externref funcref) call $v i32.const 1 call $f)
        (func (export "one") (result f32) call $one))""",
    )
    linker.define_unknown_imports_as_default_values(store, module)
    exports = linker.instantiate(store, module).exports(store)
    assert exports["run"](store) == [0, 0.0, None, None]
    assert exports["one"](store) == 0.0
    memory, table, variable = (linker.get(store, "m", name) for name in ("mem", "t", "g"))
    assert isinstance(memory, Memory) and memory.size(store) == 2
    assert isinstance(table, Table) and table.get(store, 3) == Val.externref(None)
    assert isinstance(variable, Global) and variable.value(store) == 0


def test_define_wasi(linker: Linker, store: Store) -> None:
    linker.define_wasi()
    assert isinstance(linker.get(store, "wasi_snapshot_preview1", "fd_write"), Func)
    with pytest.raises(WasmError, match="defined twice"):
        linker.define_wasi()


def test_close(linker: Linker, engine: Engine, store: Store) -> None:
    with linker:
        pass
    module = Module(engine, "(module)")
    for use in (
        lambda: linker.instantiate(store, module),
        lambda: linker.define_func("m", "n", NOTHING, print),
        lambda: linker.get(store, "m", "n"),
        lambda: linker.allow_shadowing,
        lambda: linker.define_wasi(),
    ):
        with pytest.raises(ClosedError, match="linker is closed"):
            use()


def test_a_failing_start_leaves_the_linker_usable(linker: Linker, store: Store) -> None:
    with pytest.raises(Exception, match="unreachable"):
        linker.instantiate(store, Module(linker.engine, "(module (func $s unreachable) (start $s))"))
    assert isinstance(linker.instantiate(store, Module(linker.engine, "(module)")), Instance)


def test_define_name(linker: Linker, store: Store) -> None:
    function = Func(store, FuncType([], [I32]), lambda: 8)
    linker.define_name(store, "one", function)
    assert linker.get_default(store, "one") is linker.get(store, "one", "") is function
    text = USES_HOST.replace('"m" "n"', '"one" ""')
    assert linker.instantiate(store, Module(linker.engine, text)).exports(store)["run"](store) == 8
    with pytest.raises(LinkError, match="import of `one::` defined twice"):
        linker.define_name(store, "one", function)
    with Store(linker.engine) as other, pytest.raises(WasmError, match="another Store"):
        linker.define_name(other, "two", function)
    with pytest.raises(TypeError, match="expected a str"):
        linker.define_name(store, 3, function)  # type: ignore[arg-type]


def test_func_new_is_define_func(linker: Linker, store: Store) -> None:
    linker.func_new("m", "n", FuncType([], [I32]), lambda caller: caller.data() or 4, access_caller=True)
    assert linker.get(store, "m", "n")(store) == 4  # type: ignore[operator]


def test_func_wrap(linker: Linker, engine: Engine) -> None:
    def host(caller: Caller, a: wasmjit.i32, b: float) -> tuple[wasmjit.f32, int]:
        assert caller.data() in (1, 2)
        return b / 2, a

    linker.func_wrap("m", "n", host)
    for data in (1, 2):
        with Store(engine, data) as store:
            function = linker.get(store, "m", "n")
            assert isinstance(function, Func)
            assert function.type(store) == FuncType([I32, ValType.f64()], [ValType.f32(), ValType.i64()])
            assert function(store, 7, 3.0) == [1.5, 7]
    with pytest.raises(LinkError, match="defined twice"):
        linker.func_wrap("m", "n", host)
    with pytest.raises(TypeError, match="has no annotation"):
        linker.func_wrap("m", "o", lambda a: None)


def test_func_new_unchecked(linker: Linker, store: Store) -> None:
    seen: list[Any] = []

    def host(slots: list[int]) -> list[int]:
        seen.append(slots)
        return [slots[1], slots[0] & 0xFFFFFFFF, 0x3FF8000000000000]

    types = FuncType([I32, ValType.i64()], [ValType.i64(), I32, ValType.f64()])
    linker.func_new_unchecked("m", "f", types, host)
    function = linker.get(store, "m", "f")
    assert isinstance(function, Func)
    assert function(store, -1, -2) == [-2, -1, 1.5]
    assert seen[0][0] & 0xFFFFFFFF == 0xFFFFFFFF and seen[0][1] == (1 << 64) - 2

    def with_caller(caller: Caller, slots: list[int]) -> list[int]:
        memory = caller["memory"]
        assert isinstance(memory, Memory)
        return [memory.read_u32(caller, slots[0] & 0xFFFFFFFF)]

    linker.func_new_unchecked("m", "load", FuncType([I32], [I32]), with_caller, access_caller=True)
    text = """(module (import "m" "load" (func $l (param i32) (result i32))) (memory (export "memory") 1)
    (data (i32.const 4) "\\2a") (func (export "run") (result i32) i32.const 4 call $l))"""
    assert linker.instantiate(store, Module(linker.engine, text)).exports(store)["run"](store) == 42


def test_func_new_unchecked_errors(linker: Linker, store: Store) -> None:
    for wrong in ([], [1, 2], None, ["x"], [1.0]):
        linker.allow_shadowing = True
        linker.func_new_unchecked("m", "n", FuncType([], [I32]), lambda slots, wrong=wrong: wrong)
        with pytest.raises((WasmError, TypeError)):
            linker.get(store, "m", "n")(store)  # type: ignore[operator]
    linker.allow_shadowing = False
    with pytest.raises(LinkError, match="defined twice"):
        linker.func_new_unchecked("m", "n", NOTHING, list)
    with pytest.raises(TypeError, match="expected a FuncType"):
        linker.func_new_unchecked("m", "x", 3, list)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a callable"):
        linker.func_new_unchecked("m", "x", NOTHING, 3)  # type: ignore[arg-type]

    def fails(slots: list[int]) -> list[int]:
        raise KeyError("mine")

    linker.func_new_unchecked("m", "fails", NOTHING, fails)
    with pytest.raises(KeyError, match="mine"):
        linker.get(store, "m", "fails")(store)  # type: ignore[operator]


def test_a_name_is_defined_by_all_or_none_of_an_instance(linker: Linker, store: Store) -> None:
    text = '(module (func (export "a")) (func (export "b")))'
    instance = linker.instantiate(store, Module(linker.engine, text))
    linker.define_func("m", "b", NOTHING, lambda: None)
    with pytest.raises(LinkError, match="import of `m::b` defined twice"):
        linker.instance(store, "m", instance)
    assert [(module, name) for module, name, _ in linker.iter(store)] == [("m", "b")]
    linker.allow_shadowing = True
    linker.instance(store, "m", instance)
    assert linker.get(store, "m", "b") is instance.exports(store)["b"]


def test_module_is_define_module(linker: Linker, store: Store) -> None:
    linker.module(store, "r", Module(linker.engine, f"(module {COUNTER})"))
    assert linker.get(store, "r", "next")(store) == 1  # type: ignore[operator]


def test_what_commands_may_export(linker: Linker, store: Store) -> None:
    tolerated = """(module (func (export "_start")) (memory (export "memory") 1)
    (table (export "table") 1 funcref) (table (export "__indirect_function_table") 1 funcref)
    (global (export "__data_end") i32 (i32.const 0)) (global (export "__heap_base") i32 (i32.const 0))
    (global (export "__dso_handle") i32 (i32.const 0)) (global (export "__rtti_base") i32 (i32.const 0)))"""
    linker.define_module(store, "c", Module(linker.engine, tolerated))
    assert [name for _, name, _ in linker.iter(store)] == ["_start"]
    unknown = Module(linker.engine, '(module (func (export "_start")) (global (export "g") i32 (i32.const 0)))')
    assert linker.allow_unknown_exports is False
    with pytest.raises(LinkError, match="command export 'g' is not a function"):
        linker.define_module(store, "d", unknown)
    assert len(list(linker.iter(store))) == 1
    linker.allow_unknown_exports = True
    linker.define_module(store, "d", unknown)
    assert [name for module, name, _ in linker.iter(store) if module == "d"] == ["_start"]


def test_command_functions_pass_values_and_errors(linker: Linker, store: Store) -> None:
    linker.define_func("host", "fail", NOTHING, lambda: 1 / 0)
    text = """(module (import "host" "fail" (func $f)) (func (export "_start") call $f)
    (func (export "swap") (param i32 f64) (result f64 i32) local.get 1 local.get 0))"""
    linker.define_module(store, "c", Module(linker.engine, text))
    assert linker.get(store, "c", "swap")(store, 1, 2.5) == [2.5, 1]  # type: ignore[operator]
    with pytest.raises(ZeroDivisionError):
        linker.get_default(store, "c")(store)
    with Store(linker.engine) as other:  # a command belongs to no store
        assert linker.get(other, "c", "swap")(other, 3, 4.5) == [4.5, 3]  # type: ignore[operator]


def test_reactors_that_fail(linker: Linker, store: Store) -> None:
    for text, error in (
        ('(module (func (export "_initialize") unreachable))', "unreachable"),
        ('(module (func (export "_initialize") (param i32)))', "too few parameters"),
        ('(module (memory (export "_initialize") 1))', "`_initialize` must be a function"),
    ):
        with pytest.raises((WasmError, wasmjit.Trap), match=error):
            linker.define_module(store, "r", Module(linker.engine, text))
    assert list(linker.iter(store)) == []


def test_alias(linker: Linker, store: Store) -> None:
    linker.define_func("m", "n", FuncType([], [I32]), lambda: 1)
    linker.alias("m", "n", "other", "name")
    assert linker.get(store, "other", "name") is linker.get(store, "m", "n")
    with pytest.raises(LinkError, match="`m::missing`: it has not been defined"):
        linker.alias("m", "missing", "x", "y")
    with pytest.raises(LinkError, match="import of `other::name` defined twice"):
        linker.alias("m", "n", "other", "name")
    linker.allow_shadowing = True
    linker.define_func("m", "n", FuncType([], [I32]), lambda: 2)
    assert linker.get(store, "other", "name")(store) == 1  # type: ignore[operator]
    linker.alias("m", "n", "other", "name")
    assert linker.get(store, "other", "name")(store) == 2  # type: ignore[operator]
    with pytest.raises(TypeError, match="expected a str"):
        linker.alias("m", "n", 3, "x")  # type: ignore[arg-type]


def test_alias_module(linker: Linker, store: Store) -> None:
    for name in ("a", "b"):
        linker.define_func("m", name, NOTHING, lambda: None)
    linker.alias_module("m", "copy")
    assert [(module, name) for module, name, _ in linker.iter(store)] == [
        ("m", "a"),
        ("m", "b"),
        ("copy", "a"),
        ("copy", "b"),
    ]
    with pytest.raises(LinkError, match="nothing is defined in it"):
        linker.alias_module("missing", "x")
    linker.define_func("partly", "b", NOTHING, lambda: None)
    with pytest.raises(LinkError, match="`partly::b` defined twice"):
        linker.alias_module("m", "partly")
    with pytest.raises(WasmError, match="not defined"):
        linker.get(store, "partly", "a")
    with pytest.raises(LinkError, match="defined twice"):
        linker.alias_module("m", "m")
    linker.allow_shadowing = True
    linker.alias_module("m", "m")


def test_get_by_import(linker: Linker, store: Store) -> None:
    (wanted,) = Module(linker.engine, USES_HOST).imports
    with pytest.raises(UnknownImportError) as caught:
        linker.get_by_import(store, wanted)
    assert (caught.value.module, caught.value.name, caught.value.type) == ("m", "n", wanted.type)
    linker.define_func("m", "n", NOTHING, lambda: None)
    assert linker.get_by_import(store, wanted) is linker.get(store, "m", "n")
    with pytest.raises(TypeError, match="expected an ImportType"):
        linker.get_by_import(store, "m")  # type: ignore[arg-type]


def test_iter(linker: Linker, store: Store) -> None:
    assert list(linker.iter(store)) == []
    linker.define_func("b", "x", NOTHING, lambda: None)
    variable = Global(store, GlobalType(I32, False), 3)
    linker.define(store, "a", "y", variable)
    found = linker.iter(store)
    linker.define_func("c", "z", NOTHING, lambda: None)
    items = list(found)
    assert [(module, name, type(item)) for module, name, item in items] == [("b", "x", Func), ("a", "y", Global)]
    assert items[1][2].value(store) == 3  # type: ignore[union-attr]
    with (
        Store(linker.engine) as other,
        pytest.raises(WasmError, match="`a::y` in this Linker belongs to another Store"),
    ):
        linker.iter(other)


def test_copies_are_independent(linker: Linker, store: Store) -> None:
    linker.define_func("m", "n", FuncType([], [I32]), lambda: 1)
    linker.allow_unknown_exports = True
    copied = copy.copy(linker)
    assert copied.engine is linker.engine
    assert (copied.allow_shadowing, copied.allow_unknown_exports) == (False, True)
    copied.define_func("only", "here", NOTHING, lambda: None)
    copied.allow_shadowing = True
    linker.define_func("only", "there", NOTHING, lambda: None)
    assert [name for _, name, _ in copied.iter(store)] == ["n", "here"]
    assert [name for _, name, _ in linker.iter(store)] == ["n", "there"]
    assert linker.allow_shadowing is False
    linker.close()
    assert copied.get(store, "m", "n")(store) == 1  # type: ignore[operator]
    with pytest.raises(ClosedError):
        copy.copy(linker)


def test_instantiate_pre_checks_types(linker: Linker, store: Store) -> None:
    linker.define_func("m", "n", NOTHING, lambda: None)
    expected = r"incompatible import type for `m::n`: expected function \[\] -> \[i32\], found function \[\] -> \[\]"
    with pytest.raises(LinkError, match=expected):
        linker.instantiate_pre(Module(linker.engine, USES_HOST))
    needs_memory = Module(linker.engine, '(module (import "m" "memory" (memory 2 3)))')
    linker.define(store, "m", "memory", Memory(store, wasmjit.MemoryType(wasmjit.Limits(1, 3))))
    with pytest.raises(LinkError, match=r"expected memory 2..3, found memory 1..3"):
        linker.instantiate_pre(needs_memory)
    linker.get(store, "m", "memory").grow(store, 1)  # type: ignore[union-attr, call-arg, arg-type]
    prepared = linker.instantiate_pre(needs_memory)
    prepared.instantiate(store)
    store.close()
    for use in (lambda: linker.instantiate_pre(needs_memory), lambda: prepared.instantiate(store)):
        with pytest.raises(ClosedError):
            use()


def test_instance_pre_keeps_what_was_defined(linker: Linker, store: Store) -> None:
    linker.allow_shadowing = True
    linker.define_func("m", "n", FuncType([], [I32]), lambda: 1)
    prepared = linker.instantiate_pre(Module(linker.engine, USES_HOST))
    linker.define_func("m", "n", FuncType([], [I32]), lambda: 2)
    assert prepared.instantiate(store).exports(store)["run"](store) == 1
    with pytest.raises(WasmError, match="cross-`Engine`"):
        prepared.instantiate(Store(Engine()))


def test_one_instance_pre_in_many_threads(linker: Linker, engine: Engine) -> None:
    linker.func_wrap("m", "n", thread_number)
    prepared = linker.instantiate_pre(Module(engine, USES_HOST))
    results: dict[int, set[int]] = {}

    def work() -> None:
        found = set()
        for _ in range(50):
            with Store(engine) as store:
                found.add(prepared.instantiate(store).exports(store)["run"](store))
        results[thread_number()] = found

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6 and all(found == {number} for number, found in results.items())


def thread_number() -> wasmjit.i32:
    return threading.get_native_id()


def test_tags_are_defined_and_matched(linker: Linker, engine: Engine, store: Store) -> None:
    tag = wasmjit.Tag(store, wasmjit.TagType(NOTHING))
    linker.define(store, "m", "n", tag)
    found = linker.instantiate(store, Module(engine, '(module (import "m" "n" (tag)) (export "t" (tag 0)))'))
    assert found.exports(store)["t"].eq(store, tag)  # type: ignore[union-attr]
    with pytest.raises(wasmjit.LinkError, match="incompatible import type"):
        linker.instantiate(store, Module(engine, '(module (import "m" "n" (tag (param i32))))'))
    with pytest.raises(wasmjit.LinkError, match="incompatible import type"):
        Instance(store, Module(engine, USES_HOST), [tag])
