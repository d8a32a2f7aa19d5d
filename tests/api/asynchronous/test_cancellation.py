"""Cancelling, interrupting and timeouts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.asynchronous.program import I32_TO_I32, NOTHING, double, until
from wasmjit import Engine, Func, Linker, Module, Store, Trap, TrapCode


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
        leave.wait(120)

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
        assert time.monotonic() - start < 60
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
