"""Host functions that are `async def`, and calls that they make themselves."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import wasmjit
from tests.api.asynchronous.program import I32, I32_TO_I32, NOTHING, TEXT, double, until
from wasmjit import Caller, Config, Engine, Func, FuncType, Linker, LinkError, Module, Store, ValType, WasmError


def test_they_run_on_the_loop_in_the_awaiting_task(store: Store, exports_with: Callable[..., Any]) -> None:
    seen = []

    async def get(n: int) -> int:
        seen.append((threading.current_thread(), asyncio.get_running_loop(), asyncio.current_task()))
        return n

    exports = exports_with(get)

    async def main() -> None:
        await exports["run"].call_async(store, 1)
        assert seen == [(threading.main_thread(), asyncio.get_running_loop(), asyncio.current_task())]

    asyncio.run(main())


def test_what_they_return_is_checked(store: Store, exports_with: Callable[..., Any]) -> None:
    async def text(n: int) -> str:
        return "text"

    with pytest.raises(TypeError, match="don't know how to convert 'text' to i32"):
        asyncio.run(exports_with(text)["run"].call_async(store, 1))
    with pytest.raises(TypeError, match="returned nothing to await"):
        asyncio.run(exports_with(lambda n: n)["run"].call_async(store, 1))


def test_any_awaitable_will_do(store: Store, exports_with: Callable[..., Any]) -> None:
    def get(n: int) -> Awaitable[int]:
        return asyncio.ensure_future(double(n))

    assert asyncio.run(exports_with(get)["run"].call_async(store, 2)) == 5


def test_something_that_cannot_be_called(engine: Engine) -> None:
    with pytest.raises(TypeError, match="expected a callable"):
        Linker(engine).func_new_async("host", "get", I32_TO_I32, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a FuncType"):
        Linker(engine).func_new_async("host", "get", None, double)  # type: ignore[arg-type]


def test_types_from_annotations(engine: Engine, store: Store) -> None:
    async def third(caller: Caller, n: wasmjit.i32) -> tuple[wasmjit.i32, wasmjit.f64]:
        assert isinstance(caller, Caller)
        await asyncio.sleep(0)
        return n // 3, n / 3

    linker = Linker(engine)
    linker.func_wrap_async("host", "third", third)
    for function in (linker.get(store, "host", "third"), Func.wrap_async(store, third)):
        assert function.type(store).results == [I32, ValType.f64()]
        assert asyncio.run(function.call_async(store, 6)) == [2, 2.0]

    async def unknown(n: str) -> None:
        pass

    with pytest.raises(TypeError, match="no WebAssembly type"):
        linker.func_wrap_async("host", "unknown", unknown)
    with pytest.raises(TypeError, match="no WebAssembly type"):
        Func.wrap_async(store, unknown)


def test_functions_of_one_store(store: Store) -> None:
    function = Func.new_async(store, I32_TO_I32, double)
    assert asyncio.run(function.call_async(store, 4)) == 8
    with pytest.raises(WasmError, match="asynchronous"):
        function(store, 4)
    with pytest.raises(TypeError, match="expected a callable"):
        Func.new_async(store, I32_TO_I32, None)  # type: ignore[arg-type]


def test_the_name_may_be_taken(engine: Engine) -> None:
    linker = Linker(engine)
    linker.func_new_async("host", "get", I32_TO_I32, double)
    with pytest.raises(LinkError, match="`host::get` defined twice"):
        linker.func_new_async("host", "get", I32_TO_I32, double)


def test_a_plain_call_that_reaches_one(store: Store, exports_with: Callable[..., Any]) -> None:
    exports = exports_with(double)
    with pytest.raises(WasmError, match=r"host function double is asynchronous: .*call_async"):
        exports["run"](store, 1)

    async def main() -> None:
        with pytest.raises(WasmError, match="asynchronous"):
            exports["run"](store, 1)

    asyncio.run(main())


def test_the_caller_is_valid_while_they_are_awaited(store: Store, exports_with: Callable[..., Any]) -> None:
    kept = []

    async def get(caller: Caller, n: int) -> int:
        kept.append(caller)
        memory = caller["memory"]
        await asyncio.sleep(0.001)
        memory.write(caller, b"written", 8)
        assert memory.grow(caller, 1) == 1
        return await caller["add"].call_async(caller, n, 1)

    exports = exports_with(get, access_caller=True)
    assert asyncio.run(exports["run"].call_async(store, 5)) == 7
    assert bytes(exports["memory"].read(store, 8, 15)) == b"written"
    assert exports["memory"].size(store) == 2
    assert kept[0].get("memory") is None


def test_a_memory_that_has_to_move_grows_from_the_coroutine() -> None:
    """Without reserved address space, growth moves a memory: not while code on another thread may hold its address."""
    engine = Engine(Config(opt_level="none", signals_based_traps=False, memory_reservation=0, memory_guard_size=0))
    store = Store(engine)
    exports: Any = None

    async def get(n: int) -> int:
        exports["memory"].write(store, b"written", 8)
        assert exports["memory"].grow(store, 1) == 1
        assert await exports["add"].call_async(store, 1, 1) == 2
        assert exports["memory"].grow(store, 1) == 2
        return n

    linker = Linker(engine)
    linker.func_new_async("host", "get", I32_TO_I32, get)
    exports = linker.instantiate(store, Module(engine, TEXT)).exports(store)
    assert asyncio.run(exports["run"].call_async(store, 1)) == 2
    assert bytes(exports["memory"].read(store, 8, 15)) == b"written"

    async def grow_while_it_runs() -> None:
        call = asyncio.ensure_future(exports["forever"].call_async(store))
        await until(store._record.is_running)
        with pytest.raises(WasmError, match="failed to grow"):
            exports["memory"].grow(store, 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(grow_while_it_runs())


def test_context_variables_travel_both_ways(store: Store, exports_with: Callable[..., Any]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def get(n: int) -> int:
        seen.append(variable.get())
        variable.set("by the host coroutine")
        return n

    exports = exports_with(get)

    def on_worker() -> None:
        seen.append(variable.get())
        variable.set("by the worker")

    plain = Func(store, NOTHING, on_worker)

    async def main() -> None:
        variable.set("by main")
        await exports["run"].call_async(store, 1)
        await plain.call_async(store)
        seen.append(variable.get())

    asyncio.run(main())
    assert seen == ["by main", "by the host coroutine", "by the worker"]


def test_a_coroutine_sees_what_a_host_function_before_it_set(engine: Engine, store: Store) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    linker = Linker(engine)
    linker.define_func("host", "set", FuncType([I32], []), lambda n: variable.set(n) and None)

    async def get() -> int:
        return variable.get()

    linker.func_new_async("host", "get", FuncType([], [I32]), get)
    text = """(module (import "host" "set" (func $set (param i32))) (import "host" "get" (func $get (result i32)))
      (func (export "run") (result i32) (call $set (i32.const 6)) (call $get)))"""
    run = linker.instantiate(store, Module(engine, text)).exports(store)["run"]
    assert asyncio.run(run.call_async(store)) == 6


# ---- nested calls ----


def test_a_host_coroutine_calls_into_its_store(store: Store, exports_with: Callable[..., Any]) -> None:
    """wasm, coroutine, wasm, coroutine ... as deep as one likes, on one thread."""
    threads = set()
    note = Func(store, NOTHING, lambda: threads.add(threading.current_thread()))

    async def get(n: int) -> int:
        await note.call_async(store)
        return await exports["run"].call_async(store, n - 1) if n else 0

    exports = exports_with(get)
    assert asyncio.run(exports["run"].call_async(store, 20)) == 21
    assert len(threads) == 1


def test_a_task_of_a_host_coroutine_calls_into_the_store(store: Store, exports_with: Callable[..., Any]) -> None:
    async def get(n: int) -> int:
        return sum(await asyncio.gather(*[exports["add"].call_async(store, n, m) for m in range(5)]))

    exports = exports_with(get)
    assert asyncio.run(exports["run"].call_async(store, 1)) == 16


def test_a_call_left_behind_by_a_host_coroutine_still_runs(store: Store, exports_with: Callable[..., Any]) -> None:
    left: list[asyncio.Future[int]] = []

    async def get(n: int) -> int:
        left.append(asyncio.ensure_future(exports["add"].call_async(store, n, 1)))
        return n

    exports = exports_with(get)

    async def main() -> None:
        assert await exports["run"].call_async(store, 1) == 2
        assert await left[0] == 2

    asyncio.run(main())


def test_two_stores_that_call_each_other(engine: Engine, module: Module) -> None:
    stores = [Store(engine), Store(engine)]
    functions: list[Any] = []

    async def get(n: int) -> int:
        return await functions[n % 2].call_async(stores[n % 2], n - 1) if n else 0

    linker = Linker(engine)
    linker.func_new_async("host", "get", I32_TO_I32, get)
    functions += [linker.instantiate(store, module).exports(store)["run"] for store in stores]
    assert asyncio.run(functions[0].call_async(stores[0], 10)) == 11


def test_a_host_function_with_a_loop_of_its_own_cannot_wait_for_its_own_store(store: Store) -> None:
    inner = Func(store, NOTHING, lambda: None)

    def host() -> None:
        asyncio.run(inner.call_async(store))

    outer = Func(store, NOTHING, host)
    with pytest.raises(WasmError, match="call it directly"):
        asyncio.run(outer.call_async(store))


def test_a_plain_host_function_between_the_two(store: Store, exports_with: Callable[..., Any]) -> None:
    """A host function on the worker thread may call wasm that reaches an asynchronous one."""
    exports = exports_with(double)
    between = Func(store, FuncType([], [I32]), lambda: exports["run"](store, 4))
    assert asyncio.run(between.call_async(store)) == 9
