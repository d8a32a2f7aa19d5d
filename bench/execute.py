"""Run time of the examples and kernels under wasmjit and under the wasmtime package, side by side in one process.

    python -m bench.execute [--json] [--output FILE] [--runs N] [--opt-level LEVEL] [NAME...]

What is timed is the call of ``_start`` alone, in a fresh Store and instance each time, with the module compiled before:
WASI calls, file reads and writes included; compilation, instantiation and start of the process not. The engines take
turns (ours, theirs, ours, ...), so that a disturbance of the machine meets both; a figure is the median of N runs (5).
The ratio is wasmjit's time by wasmtime's: below 1, wasmjit is faster. Both write to a file, and what they wrote is
compared: a benchmark with differing output is an error, not a figure.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import wasmjit

from .kernels import catalogue

try:
    import wasmtime
except ImportError:  # a test extra
    wasmtime = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
DEFAULT_RUNS = 5

WORDS = """a an and are as at be byte call code compile does each engine every for from function global has in instance
is it linear load local loop machine memory module native no not of on one or page reads stack start stores table that
the this to trap type value wasm what where which with word writes""".split()


@dataclass(frozen=True, slots=True)
class Case:
    """One benchmark: a program and its arguments. `directory` is what it sees as ``/``."""

    name: str
    wasm: Path
    arguments: tuple[str, ...]
    directory: Path


def make_inputs(directory: Path) -> None:
    """Deterministic input files for the examples: about 4 MB of text, 3 MB of JSON."""
    random_words = random.Random(1)
    lines = [" ".join(random_words.choices(WORDS, k=random_words.randrange(4, 16))) for _ in range(80_000)]
    (directory / "text.txt").write_text("\n".join(lines) + "\n")
    records = [
        {
            "id": i,
            "name": f"record \u00e9 {i}",
            "weight": i * 0.37,
            "tags": random_words.choices(WORDS, k=5),
            "on": i % 3 == 0,
        }
        for i in range(25_000)
    ]
    (directory / "records.json").write_text(json.dumps(records))


def cases(directory: Path) -> list[Case]:
    """All benchmarks; `directory` holds the input of the examples."""
    examples = {
        "sha256": ("text.txt", "records.json"),
        "json_pretty": ("records.json",),
        "mandelbrot": ("600", "400", "500"),
        "textsearch": ("-n", "[st][a-z]*e .*wasm$", "text.txt"),
        "wordfreq": ("text.txt",),
    }
    found = [Case(name, EXAMPLES / f"{name}.wasm", arguments, directory) for name, arguments in examples.items()]
    return found + [Case(k.name, k.wasm, (str(k.iterations),), directory) for k in catalogue.KERNELS]


class Runner:
    """One engine, through an API that both packages share."""

    def __init__(self, api: ModuleType | Any, config: Any = None) -> None:
        self._api = api
        self._engine = api.Engine(config) if config is not None else api.Engine()

    def compile(self, case: Case) -> Any:
        """The compiled module of a case."""
        return self._api.Module.from_file(self._engine, str(case.wasm))

    def run(self, module: Any, case: Case, output: Path) -> float:
        """Seconds that ``_start`` takes. Raises RuntimeError if the program fails."""
        api = self._api
        store = api.Store(self._engine)
        wasi = api.WasiConfig()
        wasi.argv = [case.name, *case.arguments]
        wasi.stdout_file = str(output)
        wasi.inherit_stderr()
        wasi.preopen_dir(str(case.directory), "/")
        store.set_wasi(wasi)
        linker = api.Linker(self._engine)
        linker.define_wasi()
        start = linker.instantiate(store, module).exports(store)["_start"]
        code = 0
        started = time.perf_counter()
        try:
            start(store)
        except api.ExitTrap as exit_trap:
            code = exit_trap.code
        seconds = time.perf_counter() - started
        if code:
            raise RuntimeError(f"{case.name} exited with {code} under {api.__name__}")
        return seconds


def measure(case: Case, runners: dict[str, Runner], runs: int, directory: Path) -> dict[str, Any]:
    """The figures of one case. Raises RuntimeError if the engines' outputs differ."""
    modules = {name: runner.compile(case) for name, runner in runners.items()}
    outputs = {name: directory / f"{name}.out" for name in runners}
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(runs):
        for name, runner in runners.items():
            seconds[name].append(runner.run(modules[name], case, outputs[name]))
    if len({output.read_bytes() for output in outputs.values()}) != 1:
        raise RuntimeError(f"{case.name}: the outputs differ")
    figures: dict[str, Any] = {"case": case.name, "arguments": list(case.arguments), "runs": runs}
    for name, values in seconds.items():
        figures[f"{name}_s"] = statistics.median(values)
        figures[f"{name}_min_s"] = min(values)
        figures[f"{name}_max_s"] = max(values)
    if "wasmtime" in runners:
        figures["ratio"] = figures["wasmjit_s"] / figures["wasmtime_s"]
    return figures


def print_table_row(figures: dict[str, Any]) -> None:
    """One line of the table."""
    line = f"{figures['case']:<14} {figures['wasmjit_s'] * 1e3:>10.1f}"
    if "ratio" in figures:
        line += f" {figures['wasmtime_s'] * 1e3:>10.1f} {figures['ratio']:>7.2f}"
    spread = (figures["wasmjit_max_s"] - figures["wasmjit_min_s"]) / figures["wasmjit_s"]
    print(f"{line} {spread:>8.0%}", flush=True)


def main(arguments: list[str]) -> list[dict[str, Any]]:
    """Measures and prints; returns the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.execute", description="run time beside wasmtime's")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    parser.add_argument("--output", type=Path, help="write the figures to this file as JSON")
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS)
    parser.add_argument("--opt-level", default="speed", help="Config.opt_level of wasmjit")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args(arguments)
    config = wasmjit.Config()
    config.opt_level = options.opt_level
    runners = {"wasmjit": Runner(wasmjit, config)}
    if wasmtime is not None:
        runners["wasmtime"] = Runner(wasmtime)
    results = []
    if not options.json:
        print(
            f"\nRun time in ms: _start alone, median of {options.runs} interleaved runs, opt_level={options.opt_level}"
        )
        print(f"{'program':<14} {'wasmjit':>10} {'wasmtime':>10} {'ratio':>7} {'spread':>8}")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_inputs(directory)
        for case in cases(directory):
            if options.names and case.name not in options.names:
                continue
            results.append(measure(case, runners, options.runs, directory))
            if not options.json:
                print_table_row(results[-1])
    ratios = [figures["ratio"] for figures in results if "ratio" in figures]
    if ratios and not options.json:
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        print(f"geometric mean of the ratios: {mean:.2f} ({len(ratios)} programs, {os.cpu_count()} cores)")
    if options.json:
        json.dump(results, sys.stdout, indent=1)
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
