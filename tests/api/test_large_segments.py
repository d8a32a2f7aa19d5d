"""Segments of megabytes, which are copied in pieces: what they give, where they do not fit, and when they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests import wasm_bytes as w
from wasmjit import (
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Limits,
    Memory,
    MemoryType,
    Module,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    ValType,
)
from wasmjit.runtime.instance import _Clock

PAGES, NUM_ELEMENTS = 96, 600_000
CONTENTS = bytes(range(1, 252)) * (PAGES * 65536 // 251)
FUNCREF = 0x70


def large_module(
    *, evaluated: bool, passive: bool = False, data: bytes = CONTENTS, elements: int = NUM_ELEMENTS
) -> bytes:
    """Imports a memory and a table, and fills both from segments: at 5 and 7."""
    type_section = w.section(w.TYPE, w.vector(w.EMPTY_TYPE))
    imports = w.section(
        w.IMPORT,
        w.vector(w.name("") + w.name("m") + b"\2\0\0", w.name("") + w.name("t") + bytes([1, FUNCREF, 0, 0])),
    )
    body = w.vector(w.EMPTY_BODY)

    def place(number: int) -> bytes:
        constant = b"\x41" + w.signed(number)
        return constant + (b"\x41\0\x6a" if evaluated else b"") + b"\x0b"  # i32.add

    indices = w.unsigned(elements) + bytes(elements)
    element = b"\1\0" + indices if passive else b"\0" + place(7) + indices
    return w.module(
        type_section,
        imports,
        w.section(w.FUNCTION, w.vector(b"\0")),
        w.section(w.ELEMENT, w.vector(element)),
        w.section(w.CODE, body),
        w.section(w.DATA, w.vector(b"\0" + place(5) + w.unsigned(len(data)) + data)),
    )


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(Engine(Config(tier="baseline"))) as made:
        yield made


def imports_of(store: Store, elements: int = NUM_ELEMENTS) -> list[Any]:
    memory = Memory(store, MemoryType(Limits(PAGES, None)))
    return [memory, Table(store, TableType(ValType.funcref(), Limits(elements + 7, None)), None)]


def is_null(store: Store, table: Table, place: int) -> bool:
    element: Any = table.get(store, place)
    return not isinstance(element, Func)


@pytest.mark.parametrize("evaluated", [False, True])
def test_contents(store: Store, evaluated: bool) -> None:
    memory, table = imports_of(store)
    Instance(store, Module(store.engine, large_module(evaluated=evaluated)), [memory, table])
    assert memory.read(store, 0, 5 + len(CONTENTS)) == bytes(5) + CONTENTS
    places = [0, 6, 7, 262143, 262150, 262151, 524295, NUM_ELEMENTS + 6]
    assert [is_null(store, table, place) for place in places] == [True, True, *[False] * 6]


@pytest.mark.parametrize("evaluated", [False, True])
def test_nothing_is_written_of_what_does_not_fit(store: Store, evaluated: bool) -> None:
    memory, table = imports_of(store)
    for data, elements in ((CONTENTS, NUM_ELEMENTS + 1), (CONTENTS + bytes(300), NUM_ELEMENTS)):
        wasm = large_module(evaluated=evaluated, data=data, elements=elements)
        with pytest.raises(Trap, match="out of bounds"):
            Instance(store, Module(store.engine, wasm), [memory, table])
        assert memory.read(store, 0, memory.data_len(store)) == bytes(memory.data_len(store))
        assert is_null(store, table, 7) == (elements > NUM_ELEMENTS)  # data come after the elements


@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("passive", [False, True])
def test_an_instance_ends_at_the_stores_time(store: Store, evaluated: bool, passive: bool) -> None:
    imports = imports_of(store)
    module = Module(store.engine, large_module(evaluated=evaluated, passive=passive))
    store.timeout = 1e-9
    with pytest.raises(Trap) as caught:
        Instance(store, module, imports)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    assert imports[0].read(store, len(CONTENTS) - 10, len(CONTENTS)) == bytes(10)
    store.timeout = None
    Instance(store, module, imports)
    assert imports[0].read(store, 5, 5 + len(CONTENTS)) == CONTENTS


def test_an_instance_ends_with_the_call_that_makes_it(store: Store) -> None:
    """A host function makes an instance of another store, after its own has been interrupted."""
    with Store(store.engine) as other:
        imports = imports_of(other)
        module = Module(store.engine, large_module(evaluated=False))
        ends = []

        def make() -> None:
            store.interrupt()
            with suppress(Trap):
                Instance(other, module, imports)
                ends.append("made")

        host = Func(store, FuncType([], []), make)
        caller = Module(store.engine, '(module (import "" "" (func $f)) (func (export "f") (call $f)))')
        function: Any = Instance(store, caller, [host]).exports(store)["f"]
        with pytest.raises(Trap) as caught:
            function(store)
        assert caught.value.trap_code is TrapCode.INTERRUPT and not ends


def test_handlers_of_signals_run_between_pieces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = imports_of(store)
    module = Module(store.engine, large_module(evaluated=False))
    seen = []
    monkeypatch.setattr(_Clock, "look", lambda clock: seen.append(bytes(imports[0].read(store, 5, 6))))
    Instance(store, module, imports)
    assert seen == [b"\0", b"\0", b"\1", b"\1"]
