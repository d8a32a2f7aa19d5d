"""What threads give and cost, beside the wasmtime package.

    python -m bench.threads [--rounds N] [--output DIRECTORY] [--parts PART,...] [NAME...]

PART is `parallel` (throughput of two threads, time to start one: by the clock, so they take two processors that nobody
else uses, or `chrt -f 1` in front), `atomics` and `kernels` (processor time; NAMEs are kernels). What is measured takes
the place of what was there in ``results.json`` and ``README.md`` of DIRECTORY (bench/results/threads), by kernels.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import figures
from ..compare import circumstances, occasion
from . import atomics, kernels, parallel

RESULTS = Path(__file__).resolve().parent.parent / "results" / "threads"
PARTS = ("parallel", "atomics", "kernels")
_UNITS = {"turn": "us"}
_KERNEL_RATIOS = ("shared_by_own", "ratio", "shared_ratio")


def _parallel(rounds: int) -> dict[str, Any]:
    ratios = parallel.throughput(rounds)
    quartiles = {name: statistics.quantiles(values, n=4) for name, values in ratios.items()}
    return {"throughput": quartiles, "spawn_us": parallel.spawn_microseconds()}


def _atomics(rounds: int) -> dict[str, Any]:
    apis = {name: importlib.import_module(name) for name in atomics.PACKAGES}
    taken = atomics.measure(rounds, apis)
    return {
        what: {name: (statistics.median if what in _UNITS else min)(values) for name, values in by.items()}
        for what, by in taken.items()
    }


def _kernels(rounds: int, names: list[str], before: list[dict[str, Any]]) -> dict[str, Any]:
    apis = {name: importlib.import_module(name) for name in atomics.PACKAGES}
    rows = {row["kernel"]: row for row in before}
    for row in kernels.measure(names, rounds, apis):
        rows[row["kernel"]] = {**row, "rounds": rounds}
        print(
            f"{row['kernel']:<13} {row['shared_by_own']:.3f} {row['ratio']:.2f} {row['shared_ratio']:.2f}", flush=True
        )
    return {"rows": [rows[name] for name in sorted(rows)]}


def _taken(part: dict[str, Any]) -> str:
    taken = circumstances(part["host"], "wasmjit", "llvmlite", "wasmtime")
    return f"Taken {part['date']} by `{part['command']}`, {part['rounds']} rounds, on {taken}."


def _parallel_lines(part: dict[str, Any]) -> list[str]:
    spawn = part["spawn_us"]
    lines = ["## Two threads, and one that starts", "", _taken(part), ""]
    lines += ["| two at once | throughput by that of one | quartiles |", "|---|---:|---:|"]
    for name, (lower, median, upper) in part["throughput"].items():
        lines.append(f"| {name} | {median:.2f} | {lower:.2f}-{upper:.2f} |")
    return [
        *lines,
        "",
        f"From `thread-spawn` to what the thread stores first, as seen by who started it, in a module of"
        f" {spawn['module_bytes']:,} bytes: {spawn['median']:.0f} us (quartiles {spawn['lower']:.0f}-"
        f"{spawn['upper']:.0f}, least {spawn['least']:.0f}; the first of a program {spawn['first']:.0f}).",
        "",
    ]


def _atomics_lines(part: dict[str, Any]) -> list[str]:
    lines = ["## Atomic instructions, wait and notify", "", _taken(part), ""]
    lines += [
        "Least of the rounds, of processor time; a turn, in which each of two threads wakes the other: the median, by"
        " the clock.",
        "",
        "| | wasmjit | wasmtime | ratio |",
        "|---|---:|---:|---:|",
    ]
    for what in part["ns"]:
        ours, theirs = (part["ns"][what][name] for name in atomics.PACKAGES)
        unit, scale = ("us", 1000) if what in _UNITS else ("ns", 1)
        lines.append(f"| {what} | {ours / scale:.2f} {unit} | {theirs / scale:.2f} {unit} | {ours / theirs:.2f} |")
    return [*lines, ""]


def _kernels_lines(part: dict[str, Any]) -> list[str]:
    rows = part["rows"]
    lines = ["## Kernels with a shared memory", "", _taken(part), ""]
    means = []
    for wanted in (True, False):
        chosen = [row for row in rows if row["vectorisable"] is wanted]
        if chosen:
            own, ratio, shared = (figures.geometric_mean(row[key] for row in chosen) for key in _KERNEL_RATIOS)
            name = "vectorisable" if wanted else "others"
            means.append(f"| {name} ({len(chosen)}) | {own:.3f} | {ratio:.2f} | {shared:.2f} | |")
    return [
        *lines,
        "Least processor time of each. The module with its memory shared, by the module as it is; and wasmjit by"
        " wasmtime, without and with a shared memory. Layout moves branchy kernels by 10 % and more, either way.",
        "",
        "| kernel | shared by own | by wasmtime | both shared | rounds |",
        "|---|---:|---:|---:|---:|",
        *means,
        *(
            f"| {row['kernel']} | {row['shared_by_own']:.3f} | {row['ratio']:.2f} | {row['shared_ratio']:.2f} |"
            f" {row['rounds']} |"
            for row in rows
        ),
        "",
    ]


_PAGES = {"parallel": _parallel_lines, "atomics": _atomics_lines, "kernels": _kernels_lines}


def report(results: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    lines = ["# Threads and shared memories", ""]
    for name in PARTS:
        if name in results:
            lines += _PAGES[name](results[name])
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(prog="python -m bench.threads", description="what threads give and cost")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIRECTORY")
    parser.add_argument("--parts", default=",".join(PARTS), metavar="PART,...")
    parser.add_argument("names", nargs="*", metavar="NAME", help="kernels (default: all)")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in options.parts.split(","):
        part = {**occasion("threads", arguments), "rounds": options.rounds}
        if name == "atomics":
            part["ns"] = _atomics(options.rounds)
        elif name == "parallel":
            part.update(_parallel(options.rounds))
        else:
            part.update(_kernels(options.rounds, options.names, results.get(name, {}).get("rows", [])))
        results[name] = part
        file.write_text(figures.text(results))
        (options.output / "README.md").write_text(report(json.loads(file.read_text())))
        if name != "kernels":
            print("\n".join(_PAGES[name](part)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
