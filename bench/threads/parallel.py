"""Two threads on two processors, and how long a program waits for a thread that it starts: in wall-clock time."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wasmjit
from wasmjit import Config, Engine, Limits, Linker, MemoryType, Module, SharedMemory, Store

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = ROOT / "tests" / "threads" / "programs.wasm"
MODULE_BYTES = 1 << 20
SPAWNS = 200

SPAWN = """(module (import "env" "memory" (memory 20 64 shared)) (export "memory" (memory 0))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (func (export "spawn") (result i64)
    (i32.atomic.store (i32.const 0) (i32.const 0))
    (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 16)))
    (drop (call $spawn (i32.const 0)))
    (loop (br_if 0 (i32.eqz (i32.atomic.load (i32.const 0)))))
    (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 24)))
    (i64.sub (i64.load (i32.const 24)) (i64.load (i32.const 16))))
  (func (export "wasi_thread_start") (param i32 i32) (i32.atomic.store (i32.const 0) (i32.const 1)))
  FUNCTIONS)"""
# Some 60 bytes.
FUNCTION = "(func (param i32) (result i32) (local i32)" + "(local.set 1 (i32.mul (local.get 0) (i32.const 77777)))" * 6
FUNCTION += "(local.get 1))"


def instance(module: Module) -> tuple[Store, wasmjit.InstanceExports]:
    """With threads."""
    store, linker = Store(module.engine), Linker(module.engine)
    store.set_wasi(wasmjit.WasiConfig())
    linker.define_wasi(threads=True)
    linker.define(store, "env", "memory", SharedMemory(module.engine, MemoryType(Limits(20, 64), shared=True)))
    return store, linker.instantiate(store, module).exports(store)


def _programs() -> Module:
    return Module.from_file(Engine(Config(shared_memory=True, tier="optimized")), str(PROGRAMS))


def seconds(work: Callable[[], Any]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class _Process:
    """A process that does the same work when it is told to."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", "from bench.threads.parallel import serve; serve()"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.wait()

    def begin(self) -> None:
        """Has it begin."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)

    def wait(self) -> None:
        """Until it is done."""
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def end(self) -> None:
        """Ends it."""
        self._process.communicate()


def serve() -> None:
    """What such a process runs."""
    store, exports = instance(_programs())
    exports["spin"](store, 1)
    print(flush=True)
    for _ in sys.stdin:
        exports["spin"](store, 1)
        print(flush=True)


def throughput(rounds: int) -> dict[str, list[float]]:
    """Of two at once, by that of one, for each round; of two processes it is what the machine has."""
    module = _programs()
    store, exports = instance(module)
    others = [instance(module) for _ in range(2)]
    spin = exports["spin"]
    spin(store, 1)
    processes = [_Process() for _ in range(2)]

    def by_threads() -> None:
        threads = [threading.Thread(target=other["spin"], args=(own, 1)) for own, other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def by_processes() -> None:
        for process in processes:
            process.begin()
        for process in processes:
            process.wait()

    ways = {"processes": by_processes, "wasi-threads": lambda: spin(store, 2), "threading.Thread": by_threads}
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            ratios[name].append(2 * seconds(lambda: spin(store, 1)) / seconds(way))
    for process in processes:
        process.end()
    return ratios


def spawn_microseconds() -> dict[str, float]:
    """The time from ``thread-spawn`` to what its thread stores first, as the first one sees it."""
    text = SPAWN.replace("FUNCTIONS", FUNCTION * (MODULE_BYTES // 68))
    wasm = wasmjit.wat2wasm(text)
    store, exports = instance(Module(Engine(Config(shared_memory=True, tier="baseline")), wasm))
    taken = []
    for _ in range(SPAWNS):
        taken.append(exports["spawn"](store) / 1000)
        time.sleep(0.003)  # so that the thread before has ended
    lower, median, upper = statistics.quantiles(taken, n=4)
    return {
        "module_bytes": len(wasm),
        "first": taken[0],
        "least": min(taken),
        "lower": lower,
        "median": median,
        "upper": upper,
    }
