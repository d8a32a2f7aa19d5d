from __future__ import annotations

from typing import Any

import pytest

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
    assert isinstance(table, Table) and table.get(store, 3) is None
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
