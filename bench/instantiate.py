"""The time from a compiled module to an instance and back: Store, Instance, close; beside the wasmtime package's.

    python -m bench.instantiate [--json]

Both packages take turns within one run. A figure is the median of many turns, in microseconds. `touch` also calls a
function that reads and writes a byte in each of 16 pages of the initial data, which shows what mapping them costs.
"""

from __future__ import annotations

import json
import statistics
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

TURNS = 60
INSTANCES_PER_TURN = 25
PAGE_BYTES = 65536

EMPTY = "(module)"
SMALL = """(module (memory (export "memory") 2) (table 8 funcref) (global (mut i32) (i32.const 65536))
  (elem (i32.const 1) $f $f) (data (i32.const 1024) "hello")
  (func $f (export "f") (result i32) (i32.const 1)))"""
TOUCH = """(func (export "touch") (local i32)
  (loop
    (i32.store8 (local.get 0) (i32.add (i32.load8_u (local.get 0)) (i32.const 1)))
    (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 4194304))) (i32.const 67108864)))))"""


def module_with_data(size_bytes: int, code: str = "") -> bytes:
    """A module whose memory is full of initial data."""
    wat = f'(module (memory (export "memory") {size_bytes // PAGE_BYTES}) {code} (data (i32.const 0) "0123456789"))'
    binary = bytes(wasmjit.wat2wasm(wat))
    small = bytes([11]) + _sized(b"\1" + _segment(b"0123456789"))
    at = binary.index(small)  # the text parser would take minutes for the real contents
    data = bytes([11]) + _sized(b"\1" + _segment(bytes(range(1, 256)) * (size_bytes // 255 + 1), size_bytes))
    return binary[:at] + data + binary[at + len(small) :]


def _segment(contents: bytes, size_bytes: int | None = None) -> bytes:
    return b"\0\x41\0\x0b" + _sized(contents[:size_bytes])


def _sized(contents: bytes) -> bytes:
    number, encoded = len(contents), bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number]) + contents


def cases() -> dict[str, tuple[str | bytes, bool]]:
    """Title -> module, and whether to call `touch`."""
    large = module_with_data(64 << 20, TOUCH)
    return {
        "empty module": (EMPTY, False),
        "memory, table, global, segments": (SMALL, False),
        "1 MiB of initial data": (module_with_data(1 << 20), False),
        "64 MiB of initial data": (large, False),
        "64 MiB of initial data, touch": (large, True),
    }


def one_turn(api: ModuleType | Any, engine: Any, module: Any, touch: bool, count: int) -> float:
    """Seconds for one Store with an instance, closed again."""
    started = time.perf_counter()
    for _ in range(count):
        store = api.Store(engine)
        instance = api.Instance(store, module, [])
        if touch:
            instance.exports(store)["touch"](store)
        store.close()
    return (time.perf_counter() - started) / count


def measure(wasm: str | bytes, touch: bool) -> dict[str, float]:
    """Median microseconds by package."""
    turns: dict[str, Callable[[int], float]] = {}
    for api in (wasmjit, wasmtime):
        if api is not None:
            engine = api.Engine()
            module = api.Module(engine, wasm)
            turns[api.__name__] = lambda n, api=api, e=engine, m=module: one_turn(api, e, m, touch, n)  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn(3)
    for _ in range(TURNS):
        for name, turn in turns.items():
            seconds[name].append(turn(INSTANCES_PER_TURN))
    return {name: statistics.median(values) * 1e6 for name, values in seconds.items()}


def main(arguments: list[str]) -> list[dict[str, object]]:
    """Measures and prints; returns the figures."""
    figures: list[dict[str, object]] = []
    if "--json" not in arguments:
        print("\nStore + Instance + close, in microseconds (median; both packages take turns)")
        print(f"{'case':<36} {'wasmjit':>9} {'wasmtime':>9} {'ratio':>7}")
    for case, (wasm, touch) in cases().items():
        found = measure(wasm, touch)
        ours, theirs = found["wasmjit"], found.get("wasmtime")
        figures.append({"case": case, "wasmjit_us": ours, "wasmtime_us": theirs})
        if "--json" not in arguments:
            beside = f"{theirs:>9.1f} {ours / theirs:>7.2f}" if theirs else f"{'-':>9} {'-':>7}"
            print(f"{case:<36} {ours:>9.1f} {beside}", flush=True)
    if "--json" in arguments:
        json.dump(figures, sys.stdout, indent=1)
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
