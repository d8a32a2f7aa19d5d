"""From bytes to the end of a task of any length, in a fresh process with nothing cached, beside the wasmtime package.

    python -m bench.task_length [--lengths 0.001,0.01,...] [--runs N] [--processors 2,1] [--output DIRECTORY] [NAME...]

A task is a program of `bench/kernels` or of a registry (tests/realworld) with as much work as keeps wasmtime's code
busy for a length: what that is, is measured first. What is timed begins behind the import of the package: making
engine, module, store and instance with default settings, and running ``_start``. The figures are the medians of N (3)
processes of each package, which take turns, in wall time: with all processors, and with one (both are kept on the
first). With one, `--time processor` takes the processor time of all processes that take part instead: what wall time is
where nobody else wants the processor, and hardly another where somebody does. `results.json`, `ratios.svg` and
`README.md` are written to DIRECTORY (bench/results/task-length).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.realworld.packages import UnavailableError

from . import figures, first_result, sqlite_program, svg
from .compare import circumstances, occasion
from .kernels.catalogue import KERNELS
from .start import kept_bytecode

RESULTS = Path(__file__).resolve().parent / "results" / "task-length"
LENGTHS = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
PACKAGES = ("wasmjit", "wasmtime")
# Of each kind of kernel at least one.
KERNEL_NAMES = ("fib", "gemm", "sieve", "json", "crc32", "raytrace", "quicksort", "lz", "dispatch", "blur")
LOOPS: dict[str, Callable[[int], list[str]]] = {  # by program: the arguments for so much work
    "quickjs": lambda n: ["-e", f"let s = 0; for (let i = 0; i < {n}; i++) s += i % 7; console.log(s)"],
    "ruby": lambda n: ["--disable-gems", "-e", f"s = 0; {n}.times {{ |i| s += i % 7 }}; puts s"],
    "cpython": lambda n: ["-c", f"print(sum(i % 7 for i in range({n})))"],
}
# What is wanted: wasmjit's time by wasmtime's, and so much more for tasks that are shorter than this.
MOST_RATIO = 1.0
SHORT_SECONDS = 0.1
SHORT_MARGIN_SECONDS = 0.005
CALIBRATION_SECONDS = 0.2
MOST_WORK = 1 << 40


@dataclass(frozen=True, slots=True)
class Program:
    """What is run, and its arguments for so much work."""

    name: str
    wasm: Path
    directory: Path
    arguments: Callable[[int], list[str]]


def programs(names: Sequence[str], scratch: Path) -> Iterator[Program]:
    """Those with these names, or all; real ones are downloaded at first use."""
    for kernel in KERNELS:
        if kernel.name in (names or KERNEL_NAMES):
            yield Program(kernel.name, kernel.wasm, scratch, lambda work: [str(work)])
    if not names or "sqlite" in names:
        try:
            yield Program("sqlite", sqlite_program.module(), scratch, lambda work: [str(work)])
        except (UnavailableError, ValueError) as error:
            print(f"sqlite: {error}", file=sys.stderr)
    if not names or not LOOPS.keys().isdisjoint(names):
        for task in first_result.realworld_tasks(scratch):
            if task.name in LOOPS and task.name in (names or LOOPS):
                yield Program(task.name, task.wasm, task.directory, LOOPS[task.name])


class _Execution:
    """Executes a program under the wasmtime package, compiled once, to find out how much work takes how long."""

    def __init__(self, program: Program) -> None:
        import wasmtime

        self._api: Any = wasmtime
        self._program = program
        self._engine = wasmtime.Engine()
        self._module = wasmtime.Module(self._engine, program.wasm.read_bytes())

    def seconds(self, work: int) -> float:
        """Of ``_start``, in processor time: others may want the processor, too."""
        api = self._api
        store = api.Store(self._engine)
        wasi = api.WasiConfig()
        wasi.argv = [self._program.name, *self._program.arguments(work)]
        wasi.stdout_file = os.devnull
        wasi.preopen_dir(str(self._program.directory), "/")
        store.set_wasi(wasi)
        linker = api.Linker(self._engine)
        linker.define_wasi()
        start = linker.instantiate(store, self._module).exports(store)["_start"]
        started = time.thread_time()
        try:
            start(store)
        except api.ExitTrap as exit:
            if exit.code:
                raise
        return time.thread_time() - started


def work_for(program: Program, lengths: Sequence[float]) -> dict[float, int]:
    """How much work takes how long; lengths that the program's own start exceeds are left out."""
    execution = _Execution(program)
    least = min(execution.seconds(1) for _ in range(3))
    work, taken = 1, least
    while taken - least < CALIBRATION_SECONDS and work < MOST_WORK:
        work *= 4
        taken = execution.seconds(work)
    rate = (taken - least) / work
    found = {length: max(1, round((length - least) / rate)) for length in lengths}
    return {length: work for length, work in found.items() if least + rate * work < 1.5 * length}


def measure(
    program: Program, length: float, work: int, runs: int, scratch: Path, *, of_processor: bool = False
) -> dict[str, Any]:
    """The medians of one point, in wall time or processor time. Raises RuntimeError if outputs differ."""
    outputs = {package: scratch / package for package in PACKAGES}
    seconds: dict[str, list[float]] = {package: [] for package in PACKAGES}
    for run in range(runs):
        for package in PACKAGES if run % 2 else PACKAGES[::-1]:
            variant = "auto" if package == "wasmjit" else package  # which is the default
            found = first_result.measure(
                variant, program.wasm, program.arguments(work), outputs[package], program.directory
            )
            if found.code:
                raise RuntimeError(f"{program.name} under {package}: exit code {found.code}")
            seconds[package].append(found.processor_s if of_processor else found.total_s)
    if outputs["wasmjit"].read_bytes() != outputs["wasmtime"].read_bytes():
        raise RuntimeError(f"{program.name}: the outputs differ")
    row: dict[str, Any] = {"program": program.name, "length_s": length, "work": work}
    for package, taken in seconds.items():
        row[f"{package}_s"] = statistics.median(taken)
    row["ratio"] = row["wasmjit_s"] / row["wasmtime_s"]
    return row


def is_met(row: dict[str, Any]) -> bool:
    """Whether a point is what is wanted."""
    margin = SHORT_MARGIN_SECONDS if row["length_s"] < SHORT_SECONDS else 0.0
    return bool(row["wasmjit_s"] <= MOST_RATIO * row["wasmtime_s"] + margin)


def report(results: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    rows = results["rows"]
    lines = [
        "# From bytes to the end of a task, beside wasmtime",
        "",
        f"Taken {results['date']} by `{results['command']}` on "
        f"{circumstances(results['host'], 'wasmjit', 'llvmlite', 'wasmtime')}. {results['time'].capitalize()} time of"
        f" fresh processes, nothing cached, default settings; medians of {results['runs']}. Below 1, wasmjit is sooner."
        " A length is what"
        " wasmtime's code takes for the task.",
        "",
        "![ratios](ratios.svg)",
    ]
    for processors in results["processors"]:
        some = [row for row in rows if row["processors"] == processors]
        names = list(dict.fromkeys(row["program"] for row in some))
        lengths = sorted({row["length_s"] for row in some})
        missed = sum(not is_met(row) for row in some)
        mean = figures.geometric_mean(row["ratio"] for row in some)
        lines += ["", f"## With {processors} processor{'s' if processors > 1 else ''}", ""]
        lines += [f"Geometric mean {mean:.2f}; {missed} of {len(some)} points are above what is wanted.", ""]
        lines += ["| program | " + " | ".join(f"{length:g} s" for length in lengths) + " |"]
        lines += ["|---|" + "---:|" * len(lengths)]
        for name in names:
            by_length = {row["length_s"]: row for row in some if row["program"] == name}
            cells = []
            for length in lengths:
                row = by_length.get(length)
                cells.append("" if row is None else f"{row['ratio']:.2f}" if is_met(row) else f"**{row['ratio']:.2f}**")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    seconds = "  ".join(f"{package} {row[f'{package}_s']:8.3f} s" for package in PACKAGES)
    point = f"{row['program']:<12} {row['length_s']:>6g} s, {row['processors']} processors"
    return f"{point}: {seconds}  {row['ratio']:5.2f}{'' if is_met(row) else '  missed'}"


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Measures, prints and writes; returns the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.task_length", description="tasks of any length")
    parser.add_argument("--lengths", default=",".join(f"{length:g}" for length in LENGTHS), metavar="SECONDS,...")
    parser.add_argument("--runs", type=int, default=3, metavar="N")
    parser.add_argument("--processors", default="2,1", metavar="N,...")
    parser.add_argument("--time", choices=("wall", "processor"), default="wall", help="what is measured")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIRECTORY")
    parser.add_argument("names", nargs="*", metavar="NAME", help="programs (default: all)")
    options = parser.parse_args(arguments)
    lengths = [float(length) for length in options.lengths.split(",")]
    processors = [int(number) for number in options.processors.split(",")]
    if options.time == "processor" and processors != [1]:
        parser.error("processor time is no measure of how long several take: --processors 1")
    results: dict[str, Any] = {
        "time": options.time,
        **occasion("task_length", arguments),
        "runs": options.runs,
        "processors": processors,
        "rows": [],
    }
    all_processors = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name, kept_bytecode():
        scratch = Path(name)
        for program in programs(options.names, scratch):
            for length, work in work_for(program, lengths).items():
                for number in processors:
                    os.sched_setaffinity(0, all_processors[:number])
                    row = measure(
                        program, length, work, options.runs, scratch, of_processor=options.time == "processor"
                    ) | {"processors": number}
                    os.sched_setaffinity(0, all_processors)
                    results["rows"].append(row)
                    print(_line(row), flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = {
        f"{row['program']}, {row['processors']}": [
            (other["length_s"], other["ratio"])
            for other in results["rows"]
            if (other["program"], other["processors"]) == (row["program"], row["processors"])
        ]
        for row in results["rows"]
    }
    chart = svg.line_chart(
        "From bytes to the end, by the length of the task",
        lines,
        x_label="seconds of wasmtime's execution",
        y_label="wasmjit's time by wasmtime's",
        legend=False,
    )
    (options.output / "ratios.svg").write_text(chart)
    (options.output / "README.md").write_text(report(results))
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
