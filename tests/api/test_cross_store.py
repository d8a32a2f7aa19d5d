"""What belongs to one Store or Engine and is used with another: a clear error everywhere, and nothing happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    Linker,
    Memory,
    MemoryType,
    Module,
    Store,
    Table,
    TableType,
    Tag,
    TagType,
    Val,
    ValType,
    WasmError,
)

I32, FUNCREF = ValType.i32(), ValType.funcref()
NOTHING = FuncType([], [])
PROGRAM = """(module (memory (export "memory") 1) (table (export "table") 2 funcref)
(global (export "global") (mut funcref) (ref.null func)) (func (export "run") (result i32) i32.const 1)
(func (export "take") (param funcref)) (func (export "give") (result funcref) ref.null func))"""


@pytest.fixture
def other(engine: Engine) -> Iterator[Store]:
    with Store(engine) as other:
        yield other


def items(store: Store) -> dict[str, Any]:
    """One of everything."""
    return {
        "function": Func(store, NOTHING, lambda: None),
        "memory": Memory(store, MemoryType(Limits(1, 2))),
        "table": Table(store, TableType(FUNCREF, Limits(1, 2)), None),
        "global": Global(store, GlobalType(FUNCREF, True), None),
        "tag": Tag(store, TagType(NOTHING)),
        "instance": Instance(store, Module(store.engine, PROGRAM), []),
    }


USES: list[tuple[str, Callable[[Any, Store], Any]]] = [
    ("function", lambda f, s: f(s)),
    ("function", lambda f, s: f.type(s)),
    ("function", lambda f, s: f.typed(s)),
    ("function", lambda f, s: f.call_unchecked(s, [])),
    ("memory", lambda m, s: m.type(s)),
    ("memory", lambda m, s: m.size(s)),
    ("memory", lambda m, s: m.data_len(s)),
    ("memory", lambda m, s: m.page_size(s)),
    ("memory", lambda m, s: m.grow(s, 1)),
    ("memory", lambda m, s: m.read(s)),
    ("memory", lambda m, s: m.write(s, b"x")),
    ("memory", lambda m, s: m.read_i32(s, 0)),
    ("memory", lambda m, s: m.write_i32(s, 1, 0)),
    ("memory", lambda m, s: m.read_utf8(s, 0, 1)),
    ("memory", lambda m, s: m.view(s)),
    ("memory", lambda m, s: m.data_ptr(s)),
    ("memory", lambda m, s: m.get_buffer_ptr(s)),
    ("table", lambda t, s: t.type(s)),
    ("table", lambda t, s: t.size(s)),
    ("table", lambda t, s: t.get(s, 0)),
    ("table", lambda t, s: t.set(s, 0, None)),
    ("table", lambda t, s: t.grow(s, 1, None)),
    ("global", lambda g, s: g.type(s)),
    ("global", lambda g, s: g.value(s)),
    ("global", lambda g, s: g.value_bits(s)),
    ("global", lambda g, s: g.set_value(s, None)),
    ("tag", lambda t, s: t.type(s)),
    ("tag", lambda t, s: t.eq(s, t)),
    ("instance", lambda i, s: i.exports(s)),
]


@pytest.mark.parametrize(("kind", "use"), USES)
def test_an_item_used_with_another_store(
    store: Store, other: Store, kind: str, use: Callable[[Any, Store], Any]
) -> None:
    item = items(store)[kind]
    with pytest.raises(WasmError, match=f"{kind} belongs to another Store than the one given"):
        use(item, other)
    use(item, store)


@pytest.mark.parametrize("wrap", [lambda f: f, Val.funcref])
def test_a_function_given_to_another_store(store: Store, other: Store, wrap: Callable[[Func], Any]) -> None:
    foreign = wrap(Func(other, NOTHING, lambda: None))
    table = Table(store, TableType(FUNCREF, Limits(1, 2)), None)
    variable = Global(store, GlobalType(FUNCREF, True), None)
    exports = Instance(store, Module(store.engine, PROGRAM), []).exports(store)
    uses: list[Callable[[], Any]] = [
        lambda: Table(store, TableType(FUNCREF, Limits(1, 2)), foreign),
        lambda: table.set(store, 0, foreign),
        lambda: table.grow(store, 1, foreign),
        lambda: Global(store, GlobalType(FUNCREF, False), foreign),
        lambda: variable.set_value(store, foreign),
        lambda: exports["take"](store, foreign),
        lambda: exports["take"].typed(store)(foreign),
        lambda: Func(store, FuncType([], [FUNCREF]), lambda: foreign)(store),
    ]
    for use in uses:
        with pytest.raises(WasmError, match="function belongs to another Store than the one given"):
            use()
    assert table.get(store, 0) == None and variable.value(store) == None and table.size(store) == 1  # noqa: E711


@pytest.mark.parametrize("kind", ["function", "memory", "table", "global"])
def test_imports_of_another_store(store: Store, other: Store, kind: str) -> None:
    item = items(other)[kind]
    types = {"function": "(func)", "memory": "(memory 1)", "table": "(table 1 funcref)", "global": "(global funcref)"}
    module = Module(store.engine, f'(module (import "m" "n" {types[kind]}))')
    linker = Linker(store.engine)
    with pytest.raises(WasmError, match="belongs to another Store than the one given"):
        Instance(store, module, [item])
    with pytest.raises(WasmError, match="belongs to another Store than the one given"):
        linker.define(store, "m", "n", item)
    linker.define(other, "m", "n", item)
    with pytest.raises(WasmError, match="`m::n` in this Linker belongs to another Store than the one given"):
        linker.instantiate(store, module)


def test_engines_do_not_mix(engine: Engine, store: Store) -> None:
    stranger = Engine()
    module, foreign = Module(engine, PROGRAM), Module(stranger, PROGRAM)
    linker = Linker(engine)
    foreign_linker = Linker(stranger)
    prepared = linker.instantiate_pre(module)
    uses: list[Callable[[], Any]] = [
        lambda: Instance(store, foreign, []),
        lambda: Instance(Store(stranger), module, []),
        lambda: linker.instantiate(store, foreign),
        lambda: linker.instantiate_pre(foreign),
        lambda: linker.define_module(store, "m", foreign),
        lambda: foreign_linker.instantiate(store, module),
        lambda: foreign_linker.instantiate(store, foreign),
        lambda: prepared.instantiate(Store(stranger)),
    ]
    for use in uses:
        with pytest.raises(WasmError, match="cross-`Engine` instantiation is not supported"):
            use()


def test_a_caller_is_its_own_store_only(store: Store, other: Store) -> None:
    memory = Memory(other, MemoryType(Limits(1, 2)))
    function = Func(store, NOTHING, lambda caller: memory.size(caller) and None, access_caller=True)
    with pytest.raises(WasmError, match="memory belongs to another Store than the one given"):
        function(store)
