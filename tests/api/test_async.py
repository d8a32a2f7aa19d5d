"""`call_async`, `instantiate_async`, and host functions that are `async def`."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import wasmjit
from wasmjit import (
    Caller,
    ClosedError,
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Linker,
    LinkError,
    Module,
    Store,
    Trap,
    TrapCode,
    UnknownImportError,
    ValType,
    WasmError,
)
from wasmjit.runtime import asynchronous

I32 = ValType.i32()
I32_TO_I32 = FuncType([I32], [I32])
NOTHING = FuncType([], [])
# run(n) = host.get(n) + 1; the rest is for single tests.
TEXT = """
(module
  (import "host" "get" (func $get (param i32) (result i32)))
  (memory (export "memory") 1 10)
  (func (export "run") (param i32) (result i32) (i32.add (call $get (local.get 0)) (i32.const 1)))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "forever") (loop (br 0)))
  (func (export "trap") unreachable)
  (func (export "nothing")))
"""


@pytest.fixture(scope="module")
def module(engine: Engine) -> Module:
    return Module(engine, TEXT)


@pytest.fixture
def exports_with(engine: Engine, store: Store, module: Module) -> Callable[..., Any]:
    """The exports of an instance of TEXT whose ``host.get`` is this function."""

    def make(get: Callable[..., Any], access_caller: bool = False) -> Any:
        linker = Linker(engine)
        linker.func_new_async("host", "get", I32_TO_I32, get, access_caller)
        return linker.instantiate(store, module).exports(store)

    return make


async def double(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop go on until it is so, 10 s at most."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited for too long"
        await asyncio.sleep(0.001)


# ---- calls ----


def test_a_call_gives_what_a_plain_call_gives(store: Store, exports_with: Callable[..., Any]) -> None:
    exports = exports_with(double)

    async def main() -> None:
        assert await exports["run"].call_async(store, 20) == 41
        assert await exports["add"].call_async(store, 2, 3) == exports["add"](store, 2, 3) == 5
        assert await exports["nothing"].call_async(store) is None

    asyncio.run(main())


def test_the_loop_goes_on_meanwhile(store: Store, exports_with: Callable[..., Any]) -> None:
    """wasm that stays in a host function that blocks its thread does not block the loop."""
    leave = threading.Event()
    blocking = Func(store, FuncType([], [I32]), lambda: int(leave.wait(10)))

    async def main() -> None:
        call = asyncio.ensure_future(blocking.call_async(store))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not call.done()
        leave.set()
        assert await call == 1

    asyncio.run(main())


def test_wrong_arguments(engine: Engine, store: Store, exports_with: Callable[..., Any]) -> None:
    exports = exports_with(double)

    async def main() -> None:
        with pytest.raises(WasmError, match="too few parameters provided: given 0, expected 1"):
            await exports["run"].call_async(store)
        with pytest.raises(TypeError):
            await exports["run"].call_async(store, "one")
        with pytest.raises(TypeError, match="expected a Store"):
            await exports["run"].call_async(None, 1)
        with pytest.raises(WasmError, match="another Store"):
            await exports["run"].call_async(Store(engine), 1)
        store.close()
        with pytest.raises(ClosedError):
            await exports["run"].call_async(store, 1)

    asyncio.run(main())


def test_a_trap_arrives_with_its_frames(store: Store, exports_with: Callable[..., Any]) -> None:
    exports = exports_with(double)
    with pytest.raises(Trap) as caught:
        asyncio.run(exports["trap"].call_async(store))
    assert caught.value.trap_code == TrapCode.UNREACHABLE
    assert [frame.func_index for frame in caught.value.frames] == [4]


def test_many_stores_at_once(engine: Engine, module: Module) -> None:
    """All host functions are under way at the same time: none keeps another call from starting."""
    waiting = 0

    async def get(n: int) -> int:
        nonlocal waiting
        waiting += 1
        await until(lambda: waiting == 100)
        return n

    linker = Linker(engine)
    linker.func_new_async("host", "get", I32_TO_I32, get)
    stores = [Store(engine) for _ in range(100)]
    functions = [linker.instantiate(store, module).exports(store)["run"] for store in stores]

    async def main() -> list[int]:
        return await asyncio.gather(
            *[function.call_async(store, n) for n, (function, store) in enumerate(zip(functions, stores, strict=True))]
        )

    assert asyncio.run(main()) == list(range(1, 101))


def test_blocked_wasm_starves_nobody(engine: Engine) -> None:
    """Neither other calls of ours nor the loop's own thread pool, which has few threads."""
    leave = threading.Event()
    stores = [Store(engine) for _ in range(40)]
    blocked = [Func(store, NOTHING, lambda: leave.wait(10) and None) for store in stores]

    async def main() -> None:
        calls = [asyncio.ensure_future(f.call_async(s)) for f, s in zip(blocked, stores, strict=True)]
        other = Store(engine)
        quick = Func(other, FuncType([], [I32]), lambda: 7)
        assert await asyncio.wait_for(quick.call_async(other), 10) == 7
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 8), 10) == 8
        leave.set()
        await asyncio.gather(*calls)

    asyncio.run(main())


def test_calls_into_one_store_take_turns(store: Store, exports_with: Callable[..., Any]) -> None:
    inside = 0
    order = []

    async def get(n: int) -> int:
        nonlocal inside
        inside += 1
        assert inside == 1
        order.append(n)
        await asyncio.sleep(0.001)
        inside -= 1
        return n

    exports = exports_with(get)

    async def main() -> list[int]:
        return await asyncio.gather(*[exports["run"].call_async(store, n) for n in range(20)])

    assert asyncio.run(main()) == list(range(1, 21))
    assert order == list(range(20))


def test_threads_are_used_again(store: Store, exports_with: Callable[..., Any]) -> None:
    seen = set()
    note = Func(store, NOTHING, lambda: seen.add(threading.current_thread()))

    async def main() -> None:
        for _ in range(50):
            await note.call_async(store)

    asyncio.run(main())
    assert threading.main_thread() not in seen
    assert all(thread.daemon and thread.name.startswith("wasmjit-") for thread in seen)
    assert len(seen) <= 3


def test_threads_end_when_there_is_nothing_to_do(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asynchronous, "IDLE_SECONDS", 0.005)
    monkeypatch.setattr(asynchronous, "_threads", asynchronous._Threads())
    seen = set()

    async def main() -> None:
        for pause in [0.0, 0.004, 0.005, 0.006] * 10:  # also right when a thread is about to end
            store = Store(engine)
            await Func(store, NOTHING, lambda: seen.add(threading.current_thread())).call_async(store)
            await asyncio.sleep(pause)
        await until(lambda: not any(thread.is_alive() for thread in seen))

    asyncio.run(main())
    assert len(seen) > 1


def test_no_thread_to_be_had(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    function = Func(store, FuncType([], [I32]), lambda: 3)

    def refuse(work: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(asynchronous._threads, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            asyncio.run(function.call_async(store))
    assert asyncio.run(function.call_async(store)) == 3


def test_a_store_may_move_between_threads_and_loops(store: Store, exports_with: Callable[..., Any]) -> None:
    exports = exports_with(double)
    assert [asyncio.run(exports["run"].call_async(store, n)) for n in range(5)] == [1, 3, 5, 7, 9]
    assert exports["add"](store, 1, 1) == 2
    results = []

    def work() -> None:
        results.append(asyncio.run(exports["run"].call_async(store, 10)))
        results.append(exports["add"](store, 2, 2))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [21, 4]


def test_a_plain_call_while_another_thread_runs_the_store(store: Store, exports_with: Callable[..., Any]) -> None:
    started = threading.Event()

    async def get(n: int) -> int:
        started.set()
        with pytest.raises(WasmError, match="another thread"):
            exports["add"](store, 1, 1)
        return n

    exports = exports_with(get)
    assert asyncio.run(exports["run"].call_async(store, 1)) == 2
    assert started.is_set()
    assert exports["add"](store, 1, 1) == 2


# ---- asynchronous host functions ----


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


# ---- exceptions ----


class OwnError(Exception):
    pass


@pytest.mark.parametrize("kind", [OwnError, KeyError, asyncio.TimeoutError])
def test_a_coroutine_s_exception_passes_through_the_wasm(
    store: Store, exports_with: Callable[..., Any], kind: type[Exception]
) -> None:
    raised: list[Exception] = []

    async def fails(n: int) -> int:
        await asyncio.sleep(0)
        try:
            raise LookupError("the cause")
        except LookupError as cause:
            raised.append(kind("mine"))
            raise raised[0] from cause

    exports = exports_with(fails)
    with pytest.raises(kind, match="mine") as caught:
        asyncio.run(exports["run"].call_async(store, 1))
    assert caught.value is raised[0]
    assert isinstance(caught.value.__cause__, LookupError)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names.index("call_async") < names.index("fails")
    assert names.count("fails") == 1
    assert exports["add"](store, 1, 1) == 2


def test_a_plain_host_function_s_exception(store: Store) -> None:
    def fails() -> None:
        raise OwnError("mine")

    with pytest.raises(OwnError, match="mine") as caught:
        asyncio.run(Func(store, NOTHING, fails).call_async(store))
    assert "fails" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_exceptions_that_are_no_errors(
    store: Store, exports_with: Callable[..., Any], kind: type[BaseException]
) -> None:
    async def stops(n: int) -> int:
        raise kind(3)

    exports = exports_with(stops)

    async def main() -> None:
        await exports["run"].call_async(store, 1)

    with pytest.raises(kind) as caught:
        asyncio.run(main())
    assert caught.value.args == (3,)


def test_an_exception_passes_nested_calls(store: Store, exports_with: Callable[..., Any]) -> None:
    async def get(n: int) -> int:
        if n == 0:
            raise OwnError("at the bottom")
        return await exports["run"].call_async(store, n - 1)

    exports = exports_with(get)
    with pytest.raises(OwnError, match="at the bottom"):
        asyncio.run(exports["run"].call_async(store, 5))


def test_a_coroutine_handles_the_failure_of_a_nested_call(store: Store, exports_with: Callable[..., Any]) -> None:
    async def get(n: int) -> int:
        try:
            await exports["trap"].call_async(store)
        except Trap:
            return 10
        return 0

    exports = exports_with(get)
    assert asyncio.run(exports["run"].call_async(store, 5)) == 11


# ---- cancellation ----


def test_cancelling_while_a_coroutine_is_awaited(store: Store, exports_with: Callable[..., Any]) -> None:
    cleaned_up = []

    async def get(n: int) -> int:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned_up.append(n)
        return n

    exports = exports_with(get)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(exports["run"].call_async(store, 5), 0.02)
        assert cleaned_up == [5]
        assert exports["add"](store, 1, 1) == 2  # the store is free again

    asyncio.run(main())


def test_a_coroutine_may_refuse_to_be_cancelled(store: Store, exports_with: Callable[..., Any]) -> None:
    waiting = asyncio.Event()

    async def get(n: int) -> int:
        waiting.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return 30
        return n

    exports = exports_with(get)

    async def main() -> None:
        call = asyncio.ensure_future(exports["run"].call_async(store, 5))
        await waiting.wait()
        call.cancel()
        assert await call == 31

    asyncio.run(main())


def test_cancelling_a_call_that_waits_for_its_turn(store: Store, exports_with: Callable[..., Any]) -> None:
    leave = asyncio.Event()
    calls = []

    async def get(n: int) -> int:
        calls.append(n)
        await leave.wait()
        return n

    exports = exports_with(get)

    async def main() -> None:
        first = asyncio.ensure_future(exports["run"].call_async(store, 1))
        await until(lambda: bool(calls))
        second = asyncio.ensure_future(exports["run"].call_async(store, 2))
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(second, 1)
        leave.set()
        assert await first == 2
        assert calls == [1]

    asyncio.run(main())


def test_cancelling_waits_for_a_host_function_that_blocks(store: Store, exports_with: Callable[..., Any]) -> None:
    """A thread cannot be stopped in the midst of Python code; meanwhile the loop goes on, and the Store stays taken."""
    entered, leave = threading.Event(), threading.Event()

    def host() -> None:
        entered.set()
        leave.wait(10)

    blocking = Func(store, NOTHING, host)

    async def main() -> None:
        call = asyncio.ensure_future(blocking.call_async(store))
        await until(entered.is_set)
        call.cancel()
        await asyncio.sleep(0.02)
        assert not call.done()
        leave.set()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())


def test_cancelling_interrupts_wasm(store: Store, exports_with: Callable[..., Any]) -> None:
    exports = exports_with(double)

    async def main() -> None:
        start = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(exports["forever"].call_async(store), 0.02)
        assert time.monotonic() - start < 5
        assert await exports["run"].call_async(store, 1) == 3  # and nothing of it is left over

    asyncio.run(main())


def test_cancelling_at_any_moment(engine: Engine, module: Module) -> None:
    """Whether the thread is about to start, in wasm, or on its way out: the call ends, the store is good for more."""
    linker = Linker(engine)
    linker.func_new_async("host", "get", I32_TO_I32, double)
    store = Store(engine)
    exports = linker.instantiate(store, module).exports(store)

    async def main() -> None:
        for number in range(200):
            name = "forever" if number % 2 else "nothing"
            call = asyncio.ensure_future(exports[name].call_async(store))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            if call.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.wait_for(call, 10)
            assert call.done()
            if number % 5 == 0:
                assert await exports["run"].call_async(store, number) == 2 * number + 1

    asyncio.run(main())


def test_cancelling_a_nested_call(store: Store, exports_with: Callable[..., Any]) -> None:
    async def get(n: int) -> int:
        try:
            await asyncio.wait_for(exports["forever"].call_async(store), 0.02)
        except asyncio.TimeoutError:
            return n
        return 0

    exports = exports_with(get)
    assert asyncio.run(exports["run"].call_async(store, 5)) == 6


def test_interrupt_while_a_coroutine_is_awaited(store: Store, exports_with: Callable[..., Any]) -> None:
    """As for any host function: it ends first, then the wasm does not go on."""
    ended = []

    async def get(n: int) -> int:
        assert store.interrupt()
        await asyncio.sleep(0.01)
        ended.append(n)
        return n

    exports = exports_with(get)

    async def main() -> None:
        with pytest.raises(Trap) as caught:
            await exports["run"].call_async(store, 1)
        assert caught.value.trap_code == TrapCode.INTERRUPT
        assert ended == [1]
        assert await exports["add"].call_async(store, 1, 1) == 2

    asyncio.run(main())


def test_a_timeout_ends_it(engine: Engine, module: Module) -> None:
    linker = Linker(engine)
    linker.func_new_async("host", "get", I32_TO_I32, double)
    with Store(engine, timeout=0.05) as store:
        exports = linker.instantiate(store, module).exports(store)

        async def main() -> None:
            with pytest.raises(Trap) as caught:
                await exports["forever"].call_async(store)
            assert caught.value.trap_code == TrapCode.INTERRUPT
            assert await exports["run"].call_async(store, 2) == 5

        asyncio.run(main())


# ---- the end of things ----


def test_in_a_forked_child(store: Store, exports_with: Callable[..., Any]) -> None:
    """The parent's threads have not come along: the child starts its own."""
    exports = exports_with(double)
    assert asyncio.run(exports["run"].call_async(store, 1)) == 3
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if asyncio.run(asyncio.wait_for(exports["run"].call_async(store, 2), 10)) == 5 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_worker_keeps_no_store_alive(engine: Engine, module: Module) -> None:
    async def get(n: int) -> int:
        return n

    linker = Linker(engine)
    linker.func_new_async("host", "get", I32_TO_I32, get)

    def use() -> weakref.ref[Any]:
        store = Store(engine)
        function = linker.instantiate(store, module).exports(store)["run"]
        assert asyncio.run(function.call_async(store, 1)) == 2
        return weakref.ref(store._record)

    record = use()
    end = time.monotonic() + 10
    while record() is not None:  # the thread lets go right after it has told us the result
        assert time.monotonic() < end
        gc.collect()
        time.sleep(0.001)


def test_a_store_that_is_waited_for_cannot_be_closed(store: Store, exports_with: Callable[..., Any]) -> None:
    async def get(n: int) -> int:
        with pytest.raises(WasmError, match="running"):
            store.close()
        return n

    assert asyncio.run(exports_with(get)["run"].call_async(store, 1)) == 2
    store.close()


def test_a_loop_that_is_closed_meanwhile(store: Store, exports_with: Callable[..., Any]) -> None:
    """The wasm that waits for a coroutine of that loop ends, and the store can be used again."""
    entered = []

    async def get(n: int) -> int:
        entered.append(n)
        await asyncio.sleep(60)
        return n

    exports = exports_with(get)
    loop = asyncio.new_event_loop()
    task = loop.create_task(exports["run"].call_async(store, 1))
    loop.run_until_complete(until(lambda: bool(entered)))
    loop.close()
    end = time.monotonic() + 10
    while store._record.is_running():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert exports["add"](store, 1, 1) == 2
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_call_that_is_never_awaited(store: Store, exports_with: Callable[..., Any]) -> None:
    exports = exports_with(double)
    exports["forever"].call_async(store).close()
    assert not store._record.is_running()


@pytest.mark.parametrize("what", ["forever", "run"])
def test_a_process_ends_although_wasm_runs(what: str) -> None:
    """The threads are daemons: neither wasm in a loop nor one that waits for a host function keeps a process alive."""
    program = f"""
import asyncio, sys
from wasmjit import *
store = Store(Engine(Config(opt_level="none")))
linker = Linker(store.engine)
entered = []
async def get(n):
    entered.append(n)
    await asyncio.sleep(60)
linker.func_new_async("host", "get", FuncType([ValType.i32()], [ValType.i32()]), get)
exports = linker.instantiate(store, Module(store.engine, {TEXT!r})).exports(store)
loop = asyncio.new_event_loop()
task = loop.create_task(exports[{what!r}].call_async(store, *{[1] if what == "run" else []}))
loop.run_until_complete(asyncio.sleep(0.2))
print("end", store._record.is_running(), flush=True)
sys.exit(5)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (5, "end True\n"), done.stderr


def test_ctrl_c() -> None:
    """It cancels the main task, as asyncio has it, and that ends the wasm."""
    program = f"""
import asyncio
from wasmjit import *
store = Store(Engine(Config(opt_level="none")))
linker = Linker(store.engine)
linker.define_unknown_imports_as_traps(module := Module(store.engine, {TEXT!r}))
exports = linker.instantiate(store, module).exports(store)
async def main():
    try:
        asyncio.get_running_loop().call_later(0.1, lambda: print("running", store._record.is_running(), flush=True))
        await exports["forever"].call_async(store)
    finally:
        print("unwound", store._record.is_running(), flush=True)
asyncio.run(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running True\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert output == "unwound False\n"
    assert errors.rstrip().endswith("KeyboardInterrupt")


# ---- instantiation ----

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
