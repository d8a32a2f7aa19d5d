"""Programs of the registries as code from stencils and under the wasmtime package, turn by turn in one process.

    python -m bench.stencils_programs [--rounds N] [--output DIRECTORY] [NAME...]

As `bench.stencils`, with the programs and tasks of ``make realworld`` that the wasmtime package can run: a figure is
the least processor time of N (5) executions. Functions are translated at their first call, in the first execution. What
that came to is in the results, too: bytes of code and tables, and of what is kept of the words that the interpreter
would run, by those of the wasm.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.realworld.__main__ import PROGRAMS
from tests.realworld.harness import Program, Result

from . import figures
from .compare import circumstances, occasion
from .stencils import NAMES, NEVER_HOT, RESULTS, ROOT

MOST_MEAN = 1.4
_CHILD = "from bench.stencils_programs import child; child()"


class _Runner:
    """A program in one package."""

    def __init__(self, name: str, program: Program, scratch: Path) -> None:
        self._api: Any = importlib.import_module(name)
        self._program = program
        self._scratch = scratch
        config = self._api.Config()
        if name == "wasmjit":
            config.tier = "auto"
            config.cache = False
        if program.max_wasm_stack_bytes:
            config.max_wasm_stack = program.max_wasm_stack_bytes
        self._engine = self._api.Engine(config)
        self.module = self._api.Module(self._engine, program.module().read_bytes())

    def execute(self) -> float:
        """Seconds of processor time of one execution, whose result is checked."""
        program, api = self._program, self._api
        with tempfile.TemporaryDirectory(dir=self._scratch) as directory:
            root = Path(directory, "root")
            root.mkdir()
            for name, contents in program.files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(contents.encode() if isinstance(contents, str) else contents)
            streams = {name: Path(directory, name) for name in ("stdin", "stdout", "stderr")}
            streams["stdin"].write_bytes(program.stdin)
            wasi = api.WasiConfig()
            wasi.argv = [program.module().stem, *program.arguments]
            for name, file in streams.items():
                setattr(wasi, f"{name}_file", str(file))
            wasi.preopen_dir(str(root), "/")
            store = api.Store(self._engine)
            store.set_wasi(wasi)
            linker = api.Linker(self._engine)
            linker.define_wasi()
            exports = linker.instantiate(store, self.module).exports(store)
            started = time.process_time()
            try:
                if program.export != "_start":
                    exports["_initialize"](store)
                exit_code = int(exports[program.export](store) or 0)
            except api.ExitTrap as exit_trap:
                exit_code = int(exit_trap.code)
            taken = time.process_time() - started
            del exports, linker
            store.close()
            files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
            program.check(Result(exit_code, streams["stdout"].read_bytes(), streams["stderr"].read_bytes(), files))
        return taken


def child() -> None:
    """In a process of its own: prints the seconds of all executions, ours and theirs, and what was translated."""
    name, rounds = sys.argv[1:]
    from wasmjit import thresholds

    thresholds.STENCILS = True
    thresholds.INTERPRETER_BUDGET = NEVER_HOT
    thresholds.OPTIMISER_PATIENCE_SECONDS = 3600.0
    program = next(program for program in PROGRAMS if program.name == name)
    with tempfile.TemporaryDirectory(prefix="wasmjit-stencils-") as scratch:
        runners = [_Runner(package, program, Path(scratch)) for package in NAMES]
        seconds = [[runner.execute() for runner in runners] for _ in range(int(rounds))]
    translated = runners[0].module._load()._interpreter.measure()
    print(json.dumps({"seconds": seconds, "translated": translated}))


def measure(program: Program, rounds: int) -> dict[str, Any]:
    """The figures of one program. Raises CalledProcessError."""
    command = [sys.executable, "-c", _CHILD, program.name, str(rounds)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
        env=os.environ | {"WASMJIT_STENCILS": "1"},
    )
    found = json.loads(done.stdout.splitlines()[-1])
    ours, theirs = (min(column) for column in zip(*found["seconds"], strict=True))
    wasm_bytes = program.module().stat().st_size
    row = {"program": program.name, "wasm_bytes": wasm_bytes, "first_s": found["seconds"][0][0], "wasmjit_s": ours}
    return row | {"wasmtime_s": theirs, "ratio": ours / theirs, **found["translated"]}


def report(results: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    rows = results["kernels"]
    mean = figures.geometric_mean(row["ratio"] for row in rows)
    taken = circumstances(results["host"], "wasmjit", "llvmlite", "wasmtime")
    lines = [
        "# Programs of the registries as code from stencils, and under wasmtime, turn by turn in one process",
        "",
        f"Taken {results['date']} by `{results['command']}` on {taken}. Least processor time of {results['rounds']}"
        " executions; nothing is optimised meanwhile. Below 1, stencils are faster.",
        "",
        f"Geometric mean {mean:.2f} of {len(rows)} programs (wanted: {MOST_MEAN}). Memory: of the functions that were"
        " called, times the size of the wasm.",
        "",
        "| program | stencils, first, ms | least, ms | wasmtime, ms | ratio | code and tables | words |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        first, ours, theirs = (1e3 * row[key] for key in ("first_s", "wasmjit_s", "wasmtime_s"))
        tables = (row["code_bytes"] + row["table_bytes"]) / row["wasm_bytes"]
        words = row["word_bytes"] / row["wasm_bytes"]
        times = f"{first:.1f} | {ours:.1f} | {theirs:.1f} | {row['ratio']:.2f}"
        lines.append(f"| {row['program']} | {times} | {tables:.2f} | {words:.2f} |")
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    return f"{row['program']:<13} {1e3 * row['wasmjit_s']:>10.1f} {1e3 * row['wasmtime_s']:>11.1f} {row['ratio']:>6.2f}"


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Measures, prints and writes; returns the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.stencils_programs", description="programs as stencils")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--output", type=Path, metavar="DIRECTORY")
    parser.add_argument("names", nargs="*", metavar="NAME", help="programs (default: all)")
    options = parser.parse_args(arguments)
    programs = [program for program in PROGRAMS if not program.reference_is_command]
    programs = [program for program in programs if not options.names or program.name in options.names]
    results: dict[str, Any] = {
        **occasion("stencils_programs", arguments),
        "rounds": options.rounds,
    }
    print(f"{'program':<13} {'stencil ms':>10} {'wasmtime ms':>11} {'ratio':>6}")
    rows = (measure(program, options.rounds) for program in programs)
    figures.collect(results, rows, options.output or RESULTS / "programs", line=_line, report=report)
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
