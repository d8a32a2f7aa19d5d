"""All kernels under wasmjit and the wasmtime package, turn by turn in one process: ratios that noise does not move.

    python -m bench.paired [--processes N] [--rounds N] [--output DIRECTORY] [NAME...]

Where the machine's speed changes within seconds, medians of processes that ran one after the other differ by more than
what is measured (bench.compare). Here a round is one execution under each package, a fraction of a second apart; its
figure is the ratio of both times, and that of a kernel is the median over N (15) rounds in each of N (4) processes. The
order alternates from round to round. Modules are compiled once; each execution has a Store and an instance of its own,
which are not timed. `results.json` and `README.md` are written to DIRECTORY (bench/results/paired).
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import figures
from .compare import circumstances, occasion
from .kernels.catalogue import KERNELS, Kernel
from .programs import Program

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "paired"
NAMES = ("wasmjit", "wasmtime")
_CHILD = "from bench.paired import child; child()"


def _program(name: str, kernel: Path, iterations: str, directory: Path) -> Program:
    """One kernel, compiled by one package."""
    api: Any = importlib.import_module(name)
    engine = api.Engine()
    compiled = directory / f"{kernel.stem}.{name}"
    if not compiled.exists():
        compiled.write_bytes(bytes(api.Module(engine, kernel.read_bytes()).serialize()))
    module = api.Module.deserialize_file(engine, str(compiled))
    return Program(api, engine, module, [kernel.stem, iterations], directory / f"{kernel.stem}.{name}.txt")


def child() -> None:
    """In a process of its own: prints pairs of seconds."""
    kernel, iterations, directory, rounds = sys.argv[1:]
    programs = [_program(name, Path(kernel), iterations, Path(directory)) for name in NAMES]
    for program in programs:
        program.execute(time.perf_counter)
    pairs = []
    for number in range(int(rounds)):
        seconds = {
            position: programs[position].execute(time.perf_counter) for position in ((0, 1) if number % 2 else (1, 0))
        }
        pairs.append([seconds[0], seconds[1]])
    if programs[0].output() != programs[1].output():
        raise SystemExit("the outputs differ")
    print(json.dumps(pairs))


def measure(kernel: Kernel, processes: int, rounds: int) -> dict[str, Any]:
    """The figures of one kernel. Raises CalledProcessError."""
    pairs: list[list[float]] = []
    with tempfile.TemporaryDirectory(prefix="wasmjit-paired-") as directory:
        words = [str(kernel.wasm), str(kernel.iterations), directory, str(rounds)]
        for _ in range(processes):
            done = subprocess.run([sys.executable, "-c", _CHILD, *words], stdout=subprocess.PIPE, check=True, cwd=ROOT)
            pairs += json.loads(done.stdout)
    ratios = [ours / theirs for ours, theirs in pairs]
    lower, ratio, upper = statistics.quantiles(ratios, n=4)
    return {
        "kernel": kernel.name,
        "kind": kernel.kind,
        "vectorisable": kernel.vectorisable,
        "wasmjit_s": statistics.median(ours for ours, _ in pairs),
        "wasmtime_s": statistics.median(theirs for _, theirs in pairs),
        "ratio": ratio,
        "quartiles": [lower, upper],
    }


def report(results: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    rows = results["kernels"]
    mean = figures.geometric_mean(row["ratio"] for row in rows)
    slow = ", ".join(f"{row['kernel']} {row['ratio']:.2f}" for row in rows if row["ratio"] > figures.SLOW_RATIO)
    taken = circumstances(results["host"], "wasmjit", "llvmlite", "wasmtime")
    lines = [
        "# Kernels under wasmjit and wasmtime, turn by turn in one process",
        "",
        f"Taken {results['date']} by `{results['command']}` on {taken}. Each ratio is the median of {results['rounds']}"
        f" rounds in each of {results['processes']} processes; a round is one execution under each, one right after the"
        " other. Quartiles are those of the rounds. Below 1, wasmjit is faster.",
        "",
        f"Geometric mean {mean:.2f} of {len(rows)} kernels. Above {figures.SLOW_RATIO}: {slow or 'none'}.",
        "",
        "| kernel | kind | wasmjit, ms | wasmtime, ms | ratio | quartiles |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        kind = row["kind"] + (", vectorisable" if row["vectorisable"] else "")
        lower, upper = row["quartiles"]
        ours, theirs = 1e3 * row["wasmjit_s"], 1e3 * row["wasmtime_s"]
        lines.append(
            f"| {row['kernel']} | {kind} | {ours:.1f} | {theirs:.1f} | {row['ratio']:.2f} | {lower:.2f}-{upper:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    lower, upper = row["quartiles"]
    return f"{row['kernel']:<13} {1e3 * row['wasmjit_s']:>10.1f} {row['ratio']:>6.2f} {lower:.2f}-{upper:.2f}"


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Measures, prints and writes; returns the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.paired", description="kernels beside wasmtime, in pairs")
    parser.add_argument("--processes", type=int, default=4, metavar="N")
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIRECTORY")
    parser.add_argument("names", nargs="*", metavar="NAME", help="kernels (default: all)")
    options = parser.parse_args(arguments)
    kernels = [kernel for kernel in KERNELS if not options.names or kernel.name in options.names]
    results: dict[str, Any] = {
        **occasion("paired", arguments),
        "processes": options.processes,
        "rounds": options.rounds,
    }
    print(f"{'kernel':<13} {'wasmjit ms':>10} {'ratio':>6} quartiles")
    rows = (measure(kernel, options.processes, options.rounds) for kernel in kernels)
    figures.collect(results, rows, options.output, line=_line, report=report)
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
