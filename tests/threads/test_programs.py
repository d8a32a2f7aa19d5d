"""Programs in C with threads (programs.c): what they compute is the same alone, on several threads, and under wasmtime.

``python examples/rebuild.py programs`` compiles them.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime

import wasmjit
from wasmjit import Config, Engine, Limits, Linker, MemoryType, Module, SharedMemory, Store, ThreadPool

WASM = Path(__file__).parent / "programs.wasm"
NAMES = ["counters", "mutexes", "conditions", "work_queue", "sort", "matrix", "mandelbrot"]
THREADS = (1, 2, 4)
RUNS = {"short": 3, "long": 1000}
PAGES = (20, 64)
SECONDS = 30.0  # of a run that hangs

Run = Callable[[str, int], int]


@functools.cache
def module(tier: str) -> Module:
    return Module.from_file(Engine(Config(shared_memory=True, tier=tier)), str(WASM))


def ours(tier: str) -> Run:
    """Threads by ``wasi::thread-spawn``."""
    compiled = module(tier)
    store, linker = Store(compiled.engine, timeout=SECONDS), Linker(compiled.engine)
    store.set_wasi(wasmjit.WasiConfig())
    linker.define_wasi(threads=True)
    memory = SharedMemory(compiled.engine, MemoryType(Limits(*PAGES), shared=True))
    linker.define(store, "env", "memory", memory)
    exports = linker.instantiate(store, compiled).exports(store)
    return lambda name, count: exports[name](store, count)


def theirs() -> Run:
    """Threads by a thread-spawn in Python; wasmtime's SharedMemory mended, which cannot be linked as it is."""

    class Shared(wasmtime.SharedMemory):
        def _as_extern(self) -> Any:
            union = wasmtime._ffi.wasmtime_extern_union(sharedmemory=self.ptr())
            return wasmtime._ffi.wasmtime_extern_t(wasmtime._ffi.WASMTIME_EXTERN_SHAREDMEMORY, union)

    config = wasmtime.Config()
    config.wasm_threads = config.shared_memory = True
    engine = wasmtime.Engine(config)
    compiled = wasmtime.Module.from_file(engine, str(WASM))
    memory = Shared(engine, wasmtime.MemoryType(wasmtime.Limits(*PAGES), shared=True))
    numbers = itertools.count(1)

    def instance() -> tuple[Any, Any]:
        store = wasmtime.Store(engine)
        i32 = wasmtime.ValType.i32()
        spawn = wasmtime.Func(store, wasmtime.FuncType([i32], [i32]), start)
        return store, wasmtime.Instance(store, compiled, [memory, spawn]).exports(store)

    def start(argument: int) -> int:
        number = next(numbers)

        def work() -> None:
            store, exports = instance()
            exports["wasi_thread_start"](store, number, argument)

        threading.Thread(target=work, daemon=True).start()
        return number

    store, exports = instance()
    return lambda name, count: exports[name](store, count)


@functools.cache
def expected(name: str) -> int:
    return ours("baseline")(name, 1)


@pytest.mark.parametrize("length", ["short", pytest.param("long", marks=pytest.mark.slow)])
@pytest.mark.parametrize("tier", ["auto", "baseline", pytest.param("optimized", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_several_threads_compute_the_same(name: str, tier: str, length: str) -> None:
    run = ours(tier)
    for number in range(RUNS[length]):
        count = THREADS[number % len(THREADS)]
        assert run(name, count) == expected(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_package_computes_the_same(name: str) -> None:
    run = theirs()
    assert [run(name, count) for count in THREADS] == [expected(name)] * len(THREADS)


def test_a_pool_calls_them() -> None:
    compiled = module("auto")
    imports = [SharedMemory(compiled.engine, MemoryType(Limits(*PAGES), shared=True)), lambda argument: -1]
    with ThreadPool(compiled, imports, workers=1) as pool:
        assert list(pool.map("mandelbrot", [1, 1])) == [expected("mandelbrot")] * 2
