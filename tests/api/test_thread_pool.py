"""ThreadPool: calls over instances that share a memory."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import CancelledError
from typing import Any

import pytest

import wasmjit
from wasmjit import Config, Engine, Linker, LinkError, Module, Store, ThreadPool, Trap, WasmError

TEXT = """(module (import "env" "memory" (memory 1 4 shared)) (import "env" "log" (func $log (param i32)))
  (global $number (export "number") (mut i32) (i32.const -1))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "count") (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
  (func (export "both") (result i32) ;; only where two threads are in here at once
    (drop (i32.atomic.rmw.add (i32.const 8) (i32.const 1)))
    (loop (br_if 0 (i32.lt_s (i32.atomic.load (i32.const 8)) (i32.const 2)))) (i32.const 2))
  (func (export "log") (param i32) (call $log (local.get 0)))
  (func (export "trap") (unreachable))
  (func (export "spin") (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1))) (loop (br 0)))
  (func (export "which") (result i32) (global.get $number)))"""
ENGINE = Engine(Config(shared_memory=True, tier="baseline"))
MODULE = Module(ENGINE, TEXT)


def linker(log: Any = print) -> Linker:
    made = Linker(ENGINE)
    made.func_wrap("env", "log", log)
    return made


def log(value: wasmjit.i32) -> None:
    LOGGED.append(value)


LOGGED: list[int] = []


@pytest.fixture(autouse=True)
def all_end() -> Any:
    yield
    deadline = time.monotonic() + 60
    while any(thread.name.startswith("wasmjit-pool") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_results_come_in_order_and_the_memory_is_one() -> None:
    with ThreadPool(MODULE, linker(log), workers=2) as pool:
        assert list(pool.map("add", range(50), range(100, 200))) == list(range(100, 200, 2))
        assert [future.result(10) for future in (pool.submit("both"), pool.submit("both"))] == [2, 2]
        for _ in range(20):
            pool.submit("count")
        memory = pool.memory
    assert memory.view()[0] == 20
    with pytest.raises(wasmjit.ClosedError):
        pool.submit("add", 1, 2)


def test_exceptions_are_those_of_the_call() -> None:
    with ThreadPool(MODULE, linker(log), workers=1) as pool:
        failing = pool.submit("trap")
        assert isinstance(failing.exception(10), Trap)
        assert pool.submit("add", 1, 2).result(10) == 3
        with pytest.raises(TypeError):
            pool.submit("add", "1", 2).result(10)
        with pytest.raises(KeyError):
            pool.submit("nothing")
        with pytest.raises(Trap):
            pool.submit("trap").result(10)
        assert list(pool.map("add", [], [], timeout=1)) == []


def test_imports_may_be_a_sequence_and_threads_be_initialized() -> None:
    seen: list[int] = []

    def initialize(store: Store, instance: wasmjit.Instance, number: int) -> None:
        instance.exports(store)["number"].set_value(store, number)

    memory = wasmjit.SharedMemory(ENGINE, wasmjit.MemoryType(wasmjit.Limits(1, 4), shared=True))
    with ThreadPool(MODULE, [memory, seen.append], workers=3, initializer=initialize) as pool:
        assert pool.memory is memory and pool.memories == [memory]
        list(pool.map("log", range(10)))
        assert {pool.submit("which").result(10) for _ in range(20)} <= {0, 1, 2}
    assert sorted(seen) == list(range(10))


def test_terminate_ends_what_runs_and_cancels_the_rest() -> None:
    pool = ThreadPool(MODULE, linker(log), workers=1)
    running, waiting = pool.submit("spin"), pool.submit("add", 1, 1)
    while not pool.memory.view()[16]:
        time.sleep(0.001)
    pool.terminate()
    assert isinstance(running.exception(10), Trap)
    with pytest.raises((CancelledError, wasmjit.ClosedError)):
        waiting.result(10)
    with pytest.raises(RuntimeError, match="of mine"), ThreadPool(MODULE, linker(log), workers=2) as other:
        spinning = other.submit("spin")
        raise RuntimeError("of mine")
    with pytest.raises((Trap, wasmjit.ClosedError)):
        spinning.result(10)


def test_a_pool_that_is_dropped_ends() -> None:
    pool = ThreadPool(MODULE, linker(log), workers=2)
    pool.submit("spin")
    del pool
    gc.collect()


def test_limits_are_those_of_each_store() -> None:
    with ThreadPool(MODULE, linker(log), workers=1, timeout=0.05) as pool:
        assert isinstance(pool.submit("spin").exception(10), Trap)
    with pytest.raises(WasmError, match="memory"):
        ThreadPool(MODULE, linker(log), workers=1, max_memory=1000)


def test_what_cannot_be_made_is_said() -> None:
    for imports, kind, message in (
        (None, wasmjit.UnknownImportError, "env::log"),
        ([print], LinkError, "expected 2 imports, found 1"),
        ([print, print], TypeError, "must be a SharedMemory or a function"),
    ):
        with pytest.raises(kind, match=message):
            ThreadPool(MODULE, imports, workers=1)
    with pytest.raises(ValueError, match="at least one worker"):
        ThreadPool(MODULE, linker(log), workers=0)

    def fail(*arguments: object) -> None:
        raise KeyError("of mine")

    with pytest.raises(KeyError, match="of mine"):
        ThreadPool(MODULE, linker(log), workers=2, initializer=fail)
