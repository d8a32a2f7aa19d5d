"""All kernels as two trees of wasmjit compile them, in pairs of processes: what a change costs.

    python -m bench.pairs [--after TREE] [--pairs N] [--rounds N] [--output DIRECTORY] BEFORE [NAME...]

BEFORE and TREE (this one) are checkouts with an environment each (`make venv`). Each compiles a kernel once (tier
`optimized`, default opt level, no cache). A pair is two processes, one of each tree, which execute the kernel by turns,
a fraction of a second apart, in N (9) rounds; the order alternates. Each process maps the code elsewhere, and what a
branch predictor makes of it depends on that, hence N (7) pairs. The figure of a process is the least processor time of
`_start`, that of a pair the ratio of both (after by before: below 1, it became faster), and that of a kernel the median
over its pairs; the spread is their least and greatest. Outputs that differ are an error. `results.json` and `README.md`
are written to DIRECTORY (bench/results/pairs).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import figures
from .compare import circumstances, occasion
from .kernels.catalogue import KERNELS, Kernel

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "pairs"
TREES = ("before", "after")
# What this project allows a change that mends something to cost.
MOST_SLOWER = 1.03
MOST_SLOWER_MEAN = 1.01

# The program of a child, which its tree may be too old to have: compiles, or loads and executes once for each line of
# its input, and answers with the processor time in seconds.
_CHILD = """
import sys, time
import wasmjit
tree, kernel, compiled, output, iterations = sys.argv[1:]
if not wasmjit.__file__.startswith(tree + "/"):
    raise SystemExit(f"wasmjit is {wasmjit.__file__}, not of {tree}: `make venv` there")
if not iterations:
    engine = wasmjit.Engine(wasmjit.Config(tier="optimized", cache=False))
    with open(kernel, "rb") as source, open(compiled, "wb") as target:
        target.write(wasmjit.Module(engine, source.read()).serialize())
    raise SystemExit
engine = wasmjit.Engine(wasmjit.Config(tier="optimized", cache=False))
module = wasmjit.Module.deserialize_file(engine, compiled)
for _ in sys.stdin:
    store = wasmjit.Store(engine)
    wasi = wasmjit.WasiConfig()
    wasi.argv = ["kernel", iterations]
    wasi.stdout_file = output
    store.set_wasi(wasi)
    linker = wasmjit.Linker(engine)
    linker.define_wasi()
    start = linker.instantiate(store, module).exports(store)["_start"]
    started = time.thread_time()
    start(store)
    print(time.thread_time() - started, flush=True)
"""


class _Tree:
    """One kernel, as one tree compiles it."""

    def __init__(self, name: str, tree: Path, kernel: Kernel, directory: Path) -> None:
        self.output = directory / f"{name}.txt"
        compiled = directory / f"{name}.cwasm"
        # -I: nothing of the environment or of this directory, but the tree that the interpreter belongs to.
        python = [str(tree / ".venv" / "bin" / "python"), "-I", "-c", _CHILD]
        words = [*python, str(tree), str(kernel.wasm), str(compiled), str(self.output)]
        subprocess.run([*words, ""], check=True)
        self._command = [*words, str(kernel.iterations)]

    def open(self) -> subprocess.Popen[str]:
        """A process that executes the kernel by turns."""
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _execute(process: subprocess.Popen[str]) -> float:
    """Seconds of processor time of one execution. Raises RuntimeError if it ended otherwise."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"a kernel ended with status {process.wait()}")
    return float(answer)


def _pair(trees: Sequence[_Tree], rounds: int) -> list[float]:
    """The least seconds of each tree in one pair of processes."""
    processes = [tree.open() for tree in trees]
    taken: list[list[float]] = [[] for _ in processes]
    try:
        for number in range(rounds + 1):
            for position in (0, 1) if number % 2 else (1, 0):
                seconds = _execute(processes[position])
                if number:  # the first one finds cold caches
                    taken[position].append(seconds)
    finally:
        for process in processes:
            process.communicate()
    return [min(seconds) for seconds in taken]


def measure(kernel: Kernel, trees: dict[str, Path], pairs: int, rounds: int) -> dict[str, Any]:
    """The figures of one kernel. Raises CalledProcessError, or RuntimeError if the outputs differ."""
    with tempfile.TemporaryDirectory(prefix="wasmjit-pairs-") as name:
        both = [_Tree(tree, trees[tree], kernel, Path(name)) for tree in TREES]
        taken = [_pair(both, rounds) for _ in range(pairs)]
        if both[0].output.read_bytes() != both[1].output.read_bytes():
            raise RuntimeError(f"{kernel.name}: the outputs differ")
    ratios = [after / before for before, after in taken]
    return {
        "kernel": kernel.name,
        "kind": kernel.kind,
        "before_s": statistics.median(before for before, _ in taken),
        "after_s": statistics.median(after for _, after in taken),
        "ratio": statistics.median(ratios),
        "of_minima": min(after for _, after in taken) / min(before for before, _ in taken),
        "spread": [min(ratios), max(ratios)],
    }


def commit(tree: Path) -> str:
    """The commit of a checkout, with a plus if it was changed since."""
    done = subprocess.run(
        ["git", "-C", str(tree), "describe", "--always", "--abbrev=7", "--exclude=*", "--dirty=+"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def report(results: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    rows = results["kernels"]
    slow = ", ".join(f"{row['kernel']} {row['ratio']:.3f}" for row in rows if row["ratio"] > MOST_SLOWER)
    taken = circumstances(results["host"], "wasmjit", "llvmlite")
    lines = [
        f"# Kernels as commit {results['after']} compiles them, by {results['before']}",
        "",
        f"Taken {results['date']} by `{results['command']}` on {taken}. A ratio is the median of {results['pairs']}"
        f" pairs of processes; that of a pair is the least processor time of {results['rounds']} executions after, by"
        " that before, in turns. The spread is the least and the greatest of the pairs. Below 1, it became faster.",
        "",
        f"Geometric mean {figures.geometric_mean(row['ratio'] for row in rows):.3f} of {len(rows)} kernels (to be at"
        f" most {MOST_SLOWER_MEAN}). Above {MOST_SLOWER}: {slow or 'none'}.",
        "",
        "| kernel | kind | before, ms | after, ms | ratio | spread | of the minima |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lower, upper = row["spread"]
        lines.append(
            f"| {row['kernel']} | {row['kind']} | {1e3 * row['before_s']:.1f} | {1e3 * row['after_s']:.1f}"
            f" | {row['ratio']:.3f} | {lower:.3f}-{upper:.3f} | {row['of_minima']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    lower, upper = row["spread"]
    figures_of_row = f"{1e3 * row['before_s']:>10.1f} {row['ratio']:>6.3f} {lower:.3f}-{upper:.3f}"
    return f"{row['kernel']:<13} {figures_of_row} {row['of_minima']:.3f}"


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Measures, prints and writes; returns the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.pairs", description="kernels of two trees, in pairs")
    parser.add_argument("--after", type=Path, default=ROOT, metavar="TREE")
    parser.add_argument("--pairs", type=int, default=7, metavar="N")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIRECTORY")
    parser.add_argument("before", type=Path, metavar="BEFORE")
    parser.add_argument("names", nargs="*", metavar="NAME", help="kernels (default: all)")
    options = parser.parse_args(arguments)
    trees = {"before": options.before.resolve(), "after": options.after.resolve()}
    kernels = [kernel for kernel in KERNELS if not options.names or kernel.name in options.names]
    results: dict[str, Any] = {
        **occasion("pairs", arguments),
        **{name: commit(tree) for name, tree in trees.items()},
        "pairs": options.pairs,
        "rounds": options.rounds,
    }
    print(f"{'kernel':<13} {'before ms':>10} {'ratio':>6} spread      of minima")
    rows = (measure(kernel, trees, options.pairs, options.rounds) for kernel in kernels)
    figures.collect(results, rows, options.output, line=_line, report=report)
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
