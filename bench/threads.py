"""What threads give and cost: ``python -m bench.threads [ROUNDS]``.

Throughput of two threads by that of one, by wasi-threads and by `threading.Thread`, in wall-clock time: it takes two
processors that nobody else uses. And the time from ``thread-spawn`` to what its thread stores first, as the first one
sees it, for a module of 1 MB whose functions are all compiled.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from pathlib import Path

import wasmjit
from wasmjit import Config, Engine, Limits, Linker, MemoryType, Module, SharedMemory, Store

PROGRAMS = Path(__file__).parent.parent / "tests" / "threads" / "programs.wasm"
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


def seconds(work: object) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began


def throughput(rounds: int) -> dict[str, float]:
    """Of two threads, by that of one."""
    module = Module.from_file(Engine(Config(shared_memory=True, tier="optimized")), str(PROGRAMS))
    store, exports = instance(module)
    others = [instance(module) for _ in range(2)]
    spin = exports["spin"]
    spin(store, 1)

    def two() -> None:
        threads = [threading.Thread(target=other["spin"], args=(own, 1)) for own, other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    ratios: dict[str, list[float]] = {"wasi-threads": [], "threading.Thread": []}
    for _ in range(rounds):
        alone = seconds(lambda: spin(store, 1))
        ratios["wasi-threads"].append(2 * alone / seconds(lambda: spin(store, 2)))
        ratios["threading.Thread"].append(2 * alone / seconds(two))
    return {name: statistics.median(values) for name, values in ratios.items()}


def spawn_microseconds() -> tuple[int, float, float]:
    """Size of the module in bytes, median and least time."""
    text = SPAWN.replace("FUNCTIONS", FUNCTION * (MODULE_BYTES // 68))
    wasm = wasmjit.wat2wasm(text)
    store, exports = instance(Module(Engine(Config(shared_memory=True, tier="baseline")), wasm))
    spawn = exports["spawn"]
    taken = []
    for _ in range(SPAWNS):
        taken.append(spawn(store) / 1000)
        time.sleep(0.002)  # so that the thread before has ended
    return len(wasm), statistics.median(taken), min(taken)


def main() -> int:
    """Prints the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with open("/proc/loadavg") as file:
        print(f"load before: {file.read().split()[0]}")
    for name, ratio in throughput(rounds).items():
        print(f"two threads by one, {name}: {ratio:.2f}")
    size_bytes, median, least = spawn_microseconds()
    print(f"thread-spawn to first store, module of {size_bytes:,} bytes: {median:.0f} us (least {least:.0f})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
