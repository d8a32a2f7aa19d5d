"""What bounds checks cost: the kernels with 32-bit and 64-bit addresses, with guard pages and with explicit checks.

    python -m bench.checks [--runs N] [NAME...]

The kernels' sources are compiled here, for wasm32 and wasm64 without WASI (so that both run the same code), with the
ziglang package. A figure is the least CPU time of N runs (5) of the exported function, in ms; the configurations take
turns. The ratios are to 32-bit addresses with guard pages, where accesses need no check at all; the last column is our
time for 64-bit addresses with guard pages by wasmtime's with its defaults. A kernel whose results differ is an error.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wasmjit

try:
    import wasmtime
except ImportError:  # a test extra
    wasmtime = None  # type: ignore[assignment]

KERNELS = Path(__file__).resolve().parent / "kernels"
ITERATIONS = {
    "crc32": 1000,
    "heapsort": 6,
    "jacobi2d": 400,
    "lz": 15,
    "matrix": 30,
    "nbody": 1_000_000,
    "quicksort": 8,
    "sieve": 60,
}
# Stands in for kernel.h, and for the few functions of the C library that the kernels use.
HEADER = """
#define KERNEL_H
#include <stdint.h>
#include <stddef.h>
static long count;
static uint64_t result;
#define iterations(argc, argv, standard) count
#define print_checksum(name, checksum) (result = (checksum))
static inline uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}
static inline uint64_t double_bits(double value) { return __builtin_bit_cast(uint64_t, value); }
static inline double sqrt(double value) { return __builtin_sqrt(value); }
#define memcpy __builtin_memcpy
#define memset __builtin_memset
#define fprintf(...) __builtin_trap()
#define memcmp own_memcmp
static inline int own_memcmp(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < size; i++) if (x[i] != y[i]) return x[i] - y[i];
    return 0;
}
int main(int argc, char **argv);
__attribute__((export_name("run"))) uint64_t run(int n) { count = n; main(0, 0); return result; }
"""


def build(name: str, bits: int, directory: Path) -> bytes:
    """A kernel for wasm32 or wasm64. Raises RuntimeError if it does not compile."""
    source = "\n".join(
        line for line in (KERNELS / f"{name}.c").read_text().splitlines() if not line.startswith("#include")
    )
    file, output = directory / f"{name}.c", directory / f"{name}{bits}.wasm"
    file.write_text(HEADER + source)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", f"wasm{bits}-freestanding", "-O2", "-nostdlib"]
    command += ["-mbulk-memory", "-Wl,--no-entry", "-Wl,--export=run", "-o", str(output), str(file)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} for wasm{bits}: {done.stderr.decode()[:2000]}")
    return output.read_bytes()


def runner(api: Any, config: Any, wasm: bytes) -> Callable[[int], tuple[float, int]]:
    """What runs the kernel and returns (seconds, result)."""
    engine = api.Engine(config)
    store = api.Store(engine)
    run = api.Instance(store, api.Module(engine, wasm), []).exports(store)["run"]

    def once(count: int) -> tuple[float, int]:
        started = time.thread_time()
        result = run(store, count)
        return time.thread_time() - started, result

    return once


def measure(name: str, runs: int, directory: Path) -> dict[str, Any]:
    """The figures of one kernel. Raises RuntimeError if results differ."""
    wasm = {bits: build(name, bits, directory) for bits in (32, 64)}
    runners = {
        f"{how}{bits}": runner(wasmjit, wasmjit.Config(signals_based_traps=how == "guard"), wasm[bits])
        for bits in (32, 64)
        for how in ("guard", "explicit")
    }
    if wasmtime is not None:
        runners["wasmtime64"] = runner(wasmtime, wasmtime.Config(), wasm[64])
    seconds: dict[str, list[float]] = {key: [] for key in runners}
    for _ in range(runs):
        results = set()  # some kernels go on where the last run ended
        for key, once in runners.items():
            elapsed, result = once(ITERATIONS[name])
            seconds[key].append(elapsed)
            results.add(result)
        if len(results) != 1:
            raise RuntimeError(f"{name}: results differ: {results}")
    return {"case": name, **{f"{key}_s": min(values) for key, values in seconds.items()}}


def main(arguments: list[str]) -> list[dict[str, Any]]:
    """Measures and prints; returns the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.checks", description="what bounds checks cost")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON as well")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args(arguments)
    print(f"\nBounds checks: least of {options.runs} runs; ratios to 32-bit addresses with guard pages")
    headings = (("guard32 ms", 10), ("explicit32", 10), ("guard64", 10), ("explicit64", 10), ("guard64/wasmtime", 17))
    print(f"{'kernel':<12}" + "".join(f" {heading:>{width}}" for heading, width in headings))
    found = []
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in options.names or ITERATIONS:
            figures = measure(name, options.runs, Path(directory))
            found.append(figures)
            base = figures["guard32_s"]
            line = f"{name:<12} {base * 1e3:>10.1f}"
            columns = {key: figures[f"{key}_s"] / base for key in ("explicit32", "guard64", "explicit64")}
            if "wasmtime64_s" in figures:
                columns["guard64/wasmtime"] = figures["guard64_s"] / figures["wasmtime64_s"]
            for key, ratio in columns.items():
                ratios.setdefault(key, []).append(ratio)
                line += f" {ratio:>{max(len(key), 10)}.2f}"
            print(line, flush=True)
    means = [math.exp(statistics.fmean(map(math.log, values))) for values in ratios.values()]
    print(f"{'geometric mean':<23}" + "".join(f" {mean:>10.2f}" for mean in means))
    if options.json:
        json.dump(found, sys.stdout, indent=1)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
