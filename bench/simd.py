"""CPU time of kernels written with vector intrinsics: wasmjit, the wasmtime package, and the same source natively.

    python -m bench.simd [--json] [--runs N] [--keep DIRECTORY] [--first-tier] [NAME...]

The kernels (``kernels/simd``) are compiled here: for WebAssembly by the ziglang package (``-O3 -msimd128``), natively
by gcc (``-O3 -march=native``, with `simd.h` in place of ``wasm_simd128.h``; without contraction to multiply-add, which
would round differently). Each checks itself and prints a checksum; checksums that differ are an error, not a figure.

A figure is the median of N runs (7) in ms, the contenders taking turns. It is CPU time, of the thread that calls
``_start`` in a fresh Store, or of the native process (its start, under a millisecond, included); a busy machine
disturbs that less than wall time. Compilation of the module is not in it. wasmjit has its default Config (opt level
speed, guard pages), with all of the module optimised before; with ``--first-tier`` nothing is ever hot, and all runs
in code from stencils (or, with ``WASMJIT_STENCILS=0``, in the interpreter). Ratios are wasmjit's time by the other's:
below 1, wasmjit is faster.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wasmjit
from wasmjit import thresholds

try:
    import wasmtime
except ImportError:  # a test extra
    wasmtime = None  # type: ignore[assignment]

KERNELS = Path(__file__).resolve().parent / "kernels" / "simd"
DEFAULT_RUNS = 7
NEVER_HOT = (1 << 31) - 1
# About a tenth of a second each.
ITERATIONS = {
    "base64": 6000,
    "blake3": 3200,
    "blur": 3000,
    "chacha20": 5000,
    "dot_f32": 300_000,
    "dot_i16": 200_000,
    "matmul": 1000,
    "utf8": 15_000,
}
C_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O3", "-Wall", "-Wextra")
CONTENDERS = ("wasmjit", "wasmtime", "native")

# Runs the kernel for a number of iterations: (CPU seconds, what it printed).
Run = Callable[[int], tuple[float, bytes]]


def _compile(command: list[str], output: Path) -> Path:
    done = subprocess.run([*command, "-o", str(output)], cwd=KERNELS, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr[:2000]}")
    return output


def compile_wasm(name: str, directory: Path) -> Path:
    """Compiles a kernel to a WASI command in `directory`. Raises RuntimeError if the compiler refuses.

    What it needs of a C library it brings (kernels/simd/library.h): zig would compile one first.
    """
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-mcpu=lime1+simd128"]
    kernel = _compile([*compiler, *C_FLAGS, "-c", f"{name}.c"], directory / f"{name}.o")
    return _compile([*compiler, "-nostdlib", "-O2", "-s", str(kernel)], directory / f"{name}.wasm")


def compile_native(name: str, directory: Path) -> Path:
    """Compiles a kernel for this processor with gcc. Raises RuntimeError if gcc refuses."""
    return _compile(["gcc", *C_FLAGS, "-march=native", "-ffp-contract=off", f"{name}.c"], directory / name)


def stay_in_first_tier() -> None:
    """From now on nothing is compiled in this process."""
    os.environ["WASMJIT_TIER"] = "auto"
    thresholds.INTERPRETER_BUDGET = NEVER_HOT
    thresholds.OPTIMISER_PATIENCE_SECONDS = 3600.0


def wasm_run(api: Any, wasm: Path) -> Run:
    """A kernel under one of the packages, compiled. `run` raises RuntimeError if the kernel finds itself wrong."""
    engine = api.Engine()
    module = api.Module.from_file(engine, str(wasm))
    printed = wasm.with_suffix(f".{api.__name__}.out")

    def run(iterations: int) -> tuple[float, bytes]:
        store = api.Store(engine)
        wasi = api.WasiConfig()
        wasi.argv = [wasm.stem, str(iterations)]
        wasi.stdout_file = str(printed)
        wasi.inherit_stderr()
        store.set_wasi(wasi)
        linker = api.Linker(engine)
        linker.define_wasi()
        start = linker.instantiate(store, module).exports(store)["_start"]
        code = 0
        started = time.thread_time()
        try:
            start(store)
        except api.ExitTrap as exit_trap:
            code = exit_trap.code
        seconds = time.thread_time() - started
        if code:
            raise RuntimeError(f"{wasm.stem} exited with {code} under {api.__name__}")
        return seconds, printed.read_bytes()

    return run


def native_run(program: Path) -> Run:
    """A kernel as a native process. `run` raises RuntimeError if the kernel finds itself wrong."""
    printed = program.with_suffix(".native.out")

    def run(iterations: int) -> tuple[float, bytes]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        to_file = [(os.POSIX_SPAWN_OPEN, 1, str(printed), flags, 0o600)]
        child = os.posix_spawn(program, [program.name, str(iterations)], os.environ, file_actions=to_file)
        _, status, usage = os.wait4(child, 0)
        if status:
            raise RuntimeError(f"{program.name} ended with status {status}")
        return usage.ru_utime + usage.ru_stime, printed.read_bytes()

    return run


def contenders(name: str, directory: Path) -> dict[str, Run]:
    """The contenders that this machine has, ready to run."""
    wasm = compile_wasm(name, directory)
    runs = {"wasmjit": wasm_run(wasmjit, wasm)}
    if wasmtime is not None:
        runs["wasmtime"] = wasm_run(wasmtime, wasm)
    if shutil.which("gcc"):
        runs["native"] = native_run(compile_native(name, directory))
    return runs


def measure(name: str, rounds: int, directory: Path) -> dict[str, Any]:
    """The figures of one kernel, in seconds. Raises RuntimeError if checksums differ or a kernel is wrong."""
    runs = contenders(name, directory)
    seconds: dict[str, list[float]] = {contender: [] for contender in runs}
    checksums = set()
    for _ in range(rounds):
        for contender, run in runs.items():
            elapsed, printed = run(ITERATIONS[name])
            seconds[contender].append(elapsed)
            checksums.add(printed)
    if len(checksums) != 1:
        raise RuntimeError(f"{name}: checksums differ: {sorted(checksums)}")
    figures: dict[str, Any] = {"case": name, "iterations": ITERATIONS[name], "runs": rounds}
    figures["checksum"] = checksums.pop().split()[-1].decode()
    for contender, values in seconds.items():
        figures[f"{contender}_s"] = statistics.median(values)
        figures[f"{contender}_min_s"] = min(values)
        figures[f"{contender}_max_s"] = max(values)
    for other in CONTENDERS[1:]:
        if other in runs:
            figures[f"ratio_to_{other}"] = figures["wasmjit_s"] / figures[f"{other}_s"]
    return figures


def print_row(figures: dict[str, Any]) -> None:
    """One line of the table; what this machine does not have is "-"."""
    times = [f"{figures[key] * 1e3:.1f}" if (key := f"{c}_s") in figures else "-" for c in CONTENDERS]
    ratios = [f"{figures[key]:.2f}" if (key := f"ratio_to_{c}") in figures else "-" for c in CONTENDERS[1:]]
    spread = (figures["wasmjit_max_s"] - figures["wasmjit_min_s"]) / figures["wasmjit_s"]
    cells = [f"{text:>10}" for text in times] + [f"{text:>12}" for text in ratios]
    print(f"{figures['case']:<12} {' '.join(cells)} {spread:>8.0%}  {figures['checksum']}", flush=True)


def main(arguments: list[str]) -> list[dict[str, Any]]:
    """Measures and prints; returns the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.simd", description="kernels with vector intrinsics")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS)
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="leave the compiled kernels there")
    parser.add_argument("--first-tier", action="store_true", help="nothing is hot, and nothing compiled")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ITERATIONS)}")
    options = parser.parse_args(arguments)
    if options.first_tier:
        stay_in_first_tier()
    if unknown := set(options.names) - set(ITERATIONS):
        parser.error(f"no such kernel: {', '.join(sorted(unknown))}")
    if options.runs < 1:
        parser.error("--runs takes a number from 1")
    if importlib.util.find_spec("ziglang") is None:
        print("bench.simd: the kernels take the ziglang package to compile (a test extra)", file=sys.stderr)
        return []
    if not options.json:
        print(f"\nVector kernels: CPU time in ms, median of {options.runs} interleaved runs; ratios of wasmjit's time")
        headings = [f"{name:>10}" for name in CONTENDERS] + [f"{f'by {name}':>12}" for name in CONTENDERS[1:]]
        print(f"{'kernel':<12} {' '.join(headings)} {'spread':>8}  checksum")
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        for name in options.names or ITERATIONS:
            results.append(measure(name, options.runs, directory.resolve()))
            if not options.json:
                print_row(results[-1])
    if options.json:
        json.dump(results, sys.stdout, indent=1)
        return results
    for other in CONTENDERS[1:]:
        ratios = [figures[key] for figures in results if (key := f"ratio_to_{other}") in figures]
        if ratios:
            print(f"geometric mean of the ratios to {other}: {math.exp(statistics.fmean(map(math.log, ratios))):.2f}")
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
