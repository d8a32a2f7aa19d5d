"""All kernels as code from stencils and under the wasmtime package, turn by turn in one process.

    python -m bench.stencils [--rounds N] [--with fuel|epochs|checks] [--output DIRECTORY] [NAME...]

The first tier only: nothing becomes hot. A figure is the least processor time of N (5) executions of ``_start`` in a
process of their own; functions are translated in the first of them, which counts like the others. `results.json` and
`README.md` are written to DIRECTORY (bench/results/stencils). A kernel whose outputs differ is an error.

`--with` has both packages count fuel, look at epochs, or compare addresses where they else have guard pages; the
directory is then bench/results/stencils/<what>.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import figures
from .compare import circumstances, occasion
from .kernels.catalogue import KERNELS, Kernel
from .programs import Program

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "stencils"
NAMES = ("wasmjit", "wasmtime")
NEVER_HOT = (1 << 31) - 1
MUCH_FUEL = 1 << 62
# What both are to do besides: options of the packages' Configs.
MANNERS: dict[str, dict[str, dict[str, Any]]] = {
    "": {},
    "fuel": {"wasmjit": {"consume_fuel": True}, "wasmtime": {"consume_fuel": True}},
    "epochs": {"wasmjit": {"epoch_interruption": True}, "wasmtime": {"epoch_interruption": True}},
    "checks": {"wasmjit": {"signals_based_traps": False}, "wasmtime": {"signals_based_traps": False}},
}
# What is wanted of each kernel, and of all.
MOST_RATIO, MOST_MEAN = 2.0, 1.25
_CHILD = "from bench.stencils import child; child()"


def _prepare(manner: str) -> Callable[[Any], None]:
    """What a store needs that runs to its end."""

    def prepare(store: Any) -> None:
        if manner == "fuel":
            store.set_fuel(MUCH_FUEL)
        elif manner == "epochs":
            store.set_epoch_deadline(MUCH_FUEL)

    return prepare


def _program(name: str, kernel: Path, iterations: str, directory: Path, manner: str) -> Program:
    """One kernel in one package."""
    api: Any = importlib.import_module(name)
    config = api.Config()
    for option, value in MANNERS[manner].get(name, {}).items():
        setattr(config, option, value)
    if name == "wasmjit":
        config.tier = "auto"
        config.cache = False
    engine = api.Engine(config)
    module = api.Module(engine, kernel.read_bytes())
    output = directory / f"{name}.txt"
    return Program(api, engine, module, [kernel.stem, iterations], output, _prepare(manner))


def child() -> None:
    """In a process of its own: prints the seconds of all executions, ours and theirs."""
    kernel, iterations, rounds, manner = sys.argv[1:]
    from wasmjit import thresholds

    thresholds.STENCILS = True
    thresholds.INTERPRETER_BUDGET = NEVER_HOT
    thresholds.OPTIMISER_PATIENCE_SECONDS = 3600.0  # else it begins with the most called functions, hot or not
    with tempfile.TemporaryDirectory(prefix="wasmjit-stencils-") as directory:
        programs = [_program(name, Path(kernel), iterations, Path(directory), manner) for name in NAMES]
        seconds: list[list[float]] = [[], []]
        for _ in range(int(rounds)):
            for position, program in enumerate(programs):
                seconds[position].append(program.execute(time.thread_time))
        if programs[0].output() != programs[1].output():
            raise SystemExit("the outputs differ")
    print(json.dumps(seconds))


def measure(kernel: Kernel, rounds: int, manner: str) -> dict[str, Any]:
    """The figures of one kernel. Raises CalledProcessError."""
    words = [str(kernel.wasm), str(kernel.iterations), str(rounds), manner]
    environment = os.environ | {"WASMJIT_STENCILS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *words], stdout=subprocess.PIPE, check=True, cwd=ROOT, env=environment
    )
    ours, theirs = (min(seconds) for seconds in json.loads(done.stdout))
    return {"kernel": kernel.name, "kind": kernel.kind, "wasmjit_s": ours, "wasmtime_s": theirs, "ratio": ours / theirs}


def report(results: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    rows = results["kernels"]
    mean = figures.geometric_mean(row["ratio"] for row in rows)
    slow = ", ".join(f"{row['kernel']} {row['ratio']:.2f}" for row in rows if row["ratio"] > MOST_RATIO)
    taken = circumstances(results["host"], "wasmjit", "llvmlite", "wasmtime")
    lines = [
        "# Kernels as code from stencils, and under wasmtime, turn by turn in one process",
        "",
        f"Taken {results['date']} by `{results['command']}` on {taken}. Least processor time of {results['rounds']}"
        " executions of `_start`; nothing is optimised meanwhile. Below 1, stencils are faster.",
        "",
        f"Geometric mean {mean:.2f} of {len(rows)} kernels (wanted: {MOST_MEAN})."
        f" Above {MOST_RATIO}: {slow or 'none'}.",
        "",
        "| kernel | kind | stencils, ms | wasmtime, ms | ratio |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows:
        ours, theirs = 1e3 * row["wasmjit_s"], 1e3 * row["wasmtime_s"]
        lines.append(f"| {row['kernel']} | {row['kind']} | {ours:.1f} | {theirs:.1f} | {row['ratio']:.2f} |")
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    return f"{row['kernel']:<13} {1e3 * row['wasmjit_s']:>10.1f} {1e3 * row['wasmtime_s']:>11.1f} {row['ratio']:>6.2f}"


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Measures, prints and writes; returns the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.stencils", description="stencils beside wasmtime")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--with", dest="manner", choices=[manner for manner in MANNERS if manner], default="")
    parser.add_argument("--output", type=Path, metavar="DIRECTORY")
    parser.add_argument("names", nargs="*", metavar="NAME", help="kernels (default: all)")
    options = parser.parse_args(arguments)
    kernels = [kernel for kernel in KERNELS if not options.names or kernel.name in options.names]
    results: dict[str, Any] = {
        **occasion("stencils", arguments),
        "rounds": options.rounds,
    }
    print(f"{'kernel':<13} {'stencil ms':>10} {'wasmtime ms':>11} {'ratio':>6}")
    rows = (measure(kernel, options.rounds, options.manner) for kernel in kernels)
    figures.collect(results, rows, options.output or RESULTS / options.manner, line=_line, report=report)
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
