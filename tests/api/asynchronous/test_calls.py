"""`call_async`: results, threads, many stores and loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.asynchronous.program import I32, I32_TO_I32, NOTHING, double, until
from wasmjit import ClosedError, Engine, Func, FuncType, Linker, Module, Store, Trap, TrapCode, WasmError
from wasmjit.runtime import asynchronous


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
    blocking = Func(store, FuncType([], [I32]), lambda: int(leave.wait(120)))

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
    blocked = [Func(store, NOTHING, lambda: leave.wait(120) and None) for store in stores]

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
