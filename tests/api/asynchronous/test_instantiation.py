"""`instantiate_async`, and modules in a Linker that calls coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.api.asynchronous.program import I32_TO_I32, double
from wasmjit import Engine, Instance, Linker, LinkError, Module, Store, Trap, UnknownImportError, WasmError

START = """(module (import "host" "get" (func $get (param i32) (result i32)))
  (global $g (export "global") (mut i32) (i32.const 0))
  (func $start (global.set $g (call $get (i32.const 4)))) (start $start)
  (func (export "value") (result i32) (global.get $g)))"""


@pytest.fixture
def linker(engine: Engine) -> Iterator[Linker]:
    with Linker(engine) as linker:
        linker.func_new_async("host", "get", I32_TO_I32, double)
        yield linker


def test_instantiate_async(engine: Engine, store: Store, linker: Linker) -> None:
    module = Module(engine, START)

    async def main() -> None:
        for instance in (
            await linker.instantiate_async(store, module),
            await linker.instantiate_pre(module).instantiate_async(store),
            await Instance.new_async(store, module, [linker.get(store, "host", "get")]),
        ):
            assert instance.exports(store)["value"](store) == 8

    asyncio.run(main())
    with pytest.raises(WasmError, match=r"await linker\.instantiate_async"):
        linker.instantiate(store, module)


def test_instantiate_async_errors(engine: Engine, store: Store, linker: Linker) -> None:
    async def main() -> None:
        with pytest.raises(UnknownImportError, match="`a::b` has not been defined"):
            await linker.instantiate_async(store, Module(engine, '(module (import "a" "b" (func)))'))
        with pytest.raises(TypeError, match=r"expected a .?Module"):
            await linker.instantiate_async(store, None)  # type: ignore[arg-type]
        with pytest.raises(Trap):
            await linker.instantiate_async(store, Module(engine, "(module (func $f unreachable) (start $f))"))

    asyncio.run(main())


def test_module_async_reactor_and_command(engine: Engine, store: Store, linker: Linker) -> None:
    body = START.replace("(start $start)", "")
    reactor = Module(engine, body.replace("$start", '$start (export "_initialize")'))
    command = Module(engine, body.replace("$start", '$start (export "_start")').replace('(export "global")', ""))

    async def main() -> None:
        await linker.module_async(store, "reactor", reactor)
        assert linker.get(store, "reactor", "value")(store) == 8
        await linker.module_async(store, "command", command)
        await linker.get(store, "command", "_start").call_async(store)
        with pytest.raises(LinkError, match="defined twice"):
            await linker.module_async(store, "reactor", reactor)

    asyncio.run(main())
