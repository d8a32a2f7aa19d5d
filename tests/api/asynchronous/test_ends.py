"""What is left when a call, a loop, a store or the process ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.asynchronous.program import I32_TO_I32, TEXT, double, until
from wasmjit import Engine, Linker, Module, Store, WasmError


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
    end = time.monotonic() + 120
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
    end = time.monotonic() + 120
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
def look():
    if store._record.is_running():
        print("running", flush=True)
    else:
        asyncio.get_running_loop().call_later(0.05, look)
async def main():
    try:
        asyncio.get_running_loop().call_later(0.1, look)
        await exports["forever"].call_async(store)
    finally:
        print("unwound", store._record.is_running(), flush=True)
asyncio.run(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert output == "unwound False\n"
    assert errors.rstrip().endswith("KeyboardInterrupt")
