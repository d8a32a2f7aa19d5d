"""The cost of crossing the boundary between Python and wasm, beside the wasmtime package's.

    python -m bench.call

Each figure is nanoseconds per call, the least of several runs. A plain Python function is there for scale.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wasmjit

try:
    import wasmtime
except ImportError:  # a test extra
    wasmtime = None  # type: ignore[assignment]

REPETITIONS = 5
SECONDS_PER_RUN = 0.05
LOOP_CALLS = 20_000

WAT = """(module
  (import "host" "nothing" (func $nothing))
  (import "host" "add" (func $add (param i32 i32) (result i32)))
  (func (export "nothing"))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "add64") (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1)))
  (func (export "pair") (param i32) (result i32 i64) (local.get 0) (i64.const 1))
  (func (export "call_nothing") (param i32)
    (loop (call $nothing) (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "call_add") (param i32)
    (loop (drop (call $add (local.get 0) (i32.const 1)))
      (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"""


def seconds_per_call(call: Callable[[], object]) -> float:
    """The least average time of several runs."""
    count = 1
    while True:
        started = time.perf_counter()
        for _ in range(count):
            call()
        elapsed = time.perf_counter() - started
        if elapsed > SECONDS_PER_RUN / 4:
            break
        count *= 2
    count = max(1, int(count * SECONDS_PER_RUN / elapsed))
    best = float("inf")
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - started) / count)
    return best


def measure(api: ModuleType | Any) -> dict[str, float]:
    """Nanoseconds per call for each case, through `api`: wasmjit, or the wasmtime package, whose API is the same."""
    engine = api.Engine()
    store = api.Store(engine)
    i32 = api.ValType.i32()
    linker = api.Linker(engine)
    linker.define_func("host", "nothing", api.FuncType([], []), lambda: None)
    linker.define_func("host", "add", api.FuncType([i32, i32], [i32]), lambda a, b: a + b)
    exports = linker.instantiate(store, api.Module(engine, WAT)).exports(store)
    nothing, add, add64, pair = (exports[name] for name in ("nothing", "add", "add64", "pair"))
    figures = {
        "python -> wasm ()": seconds_per_call(lambda: nothing(store)),
        "python -> wasm (i32, i32) -> i32": seconds_per_call(lambda: add(store, 1, 2)),
        "python -> wasm (f64, f64) -> f64": seconds_per_call(lambda: add64(store, 1.0, 2.0)),
        "python -> wasm (i32) -> (i32, i64)": seconds_per_call(lambda: pair(store, 1)),
    }
    for name, title in (("call_nothing", "wasm -> python ()"), ("call_add", "wasm -> python (i32, i32) -> i32")):
        loop = exports[name]
        figures[title] = seconds_per_call(lambda loop=loop: loop(store, LOOP_CALLS)) / LOOP_CALLS  # type: ignore[misc]
    return {title: seconds * 1e9 for title, seconds in figures.items()}


def main(arguments: list[str]) -> list[dict[str, object]]:
    """Measures and prints; returns the figures."""
    ours = measure(wasmjit)
    theirs = measure(wasmtime) if wasmtime is not None else {}
    function: Callable[[int, int], int] = lambda a, b: a + b  # noqa: E731  # what a call costs in Python itself
    plain = seconds_per_call(lambda: function(1, 2)) * 1e9
    figures: list[dict[str, object]] = [
        {"case": case, "wasmjit_ns": figure, "wasmtime_ns": theirs.get(case)} for case, figure in ours.items()
    ]
    if "--json" in arguments:
        json.dump(figures, sys.stdout, indent=1)
        return figures
    print(f"\nCalls, in ns each; each includes a call of a Python lambda, {plain:.0f} by itself")
    print(f"{'case':<36} {'wasmjit':>9} {'wasmtime':>9} {'ratio':>7}")
    for case, figure in ours.items():
        other = theirs.get(case)
        beside = f"{other:>9.0f} {figure / other:>7.3f}" if other else f"{'-':>9} {'-':>7}"
        print(f"{case:<36} {figure:>9.0f} {beside}", flush=True)
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
