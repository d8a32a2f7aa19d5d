"""All kernels under wasmjit and its peers, in one run: time by layer, memory, ratios, plots.

    python -m bench.compare [--quick] [--runs N] [--json] [--clock cpu] [--output DIRECTORY] [NAME...]

The contenders take turns on each kernel (all of them once, then all of them again), so that a disturbance of the
machine meets them alike. A figure is the median of N runs (5; --quick: 1, with smaller modules for the plot), each a
process of its own; with --quick, wasmjit and wasmtime compile once per kernel. The ratio is wasmjit's execution time by
the peer's: below 1, wasmjit is faster. --clock cpu takes ratios of processor time of the executing thread instead (of
the process, for V8), which is what to look at while other work runs on the machine. Outputs that differ are an error.
`results.json`, `ratios.svg`, `compile.svg` and `README.md` are written to DIRECTORY (bench/results/kernels).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import contenders as parties
from . import figures, svg
from .contenders import Contender
from .kernels import large
from .kernels.catalogue import KERNELS, Kernel
from .start import kept_bytecode

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "kernels"
SUBJECT = "wasmjit"
DEFAULT_RUNS = 5
QUICK_RUNS = 1
# What ratios are of: keys of the figures, by name of the clock.
CLOCKS = {"wall": "execute_s", "cpu": "execute_cpu_s"}
CLOCK_TITLES = {"wall": "wall time", "cpu": "processor time"}
# Functions of the generated program (kernels/large.py) for the plot of compile time against size.
COMPILE_SIZES = (100, 300, 1000)
QUICK_COMPILE_SIZES = (100, 300)


def measure(kernel: Kernel, contenders: Sequence[Contender], runs: int, directory: Path, key: str) -> dict[str, Any]:
    """The figures of one kernel, with ratios of figure `key`. Raises RuntimeError if one fails, or outputs differ."""
    samples: dict[str, list[dict[str, Any]]] = {
        contender.name: [contender.prepare(kernel, directory)] for contender in contenders
    }
    outputs: dict[str, str] = {}
    for _ in range(runs):
        for contender in contenders:
            sample = contender.run(kernel, directory)
            outputs[contender.name] = sample["output"]
            samples[contender.name].append(sample)
    if len(set(outputs.values())) != 1:
        raise RuntimeError(f"the outputs differ: {outputs}")
    merged = {name: figures.merge(found) for name, found in samples.items()}
    return {
        "kernel": kernel.name,
        "kind": kernel.kind,
        "vectorisable": kernel.vectorisable,
        "iterations": kernel.iterations,
        "wasm_bytes": kernel.wasm.stat().st_size,
        "output": outputs[contenders[0].name],
        "contenders": merged,
        "ratios": figures.ratios(merged, SUBJECT, key),
    }


def compile_times(sizes: Sequence[int], directory: Path) -> dict[str, list[tuple[float, float]]]:
    """(bytes of the module, seconds to compile it) by compiler, from generated programs of several sizes."""
    compilers: dict[str, parties.Package | parties.Node] = {
        "wasmjit speed": parties.Package(SUBJECT, SUBJECT, {"opt_level": "speed"}),
        "wasmjit none": parties.Package(SUBJECT, SUBJECT, {"opt_level": "none"}),
        "wasmtime": parties.Package("wasmtime", "wasmtime"),
        "V8": parties.Node(),
    }
    found: dict[str, list[tuple[float, float]]] = {}
    for size in sizes:
        wasm = directory / f"large-{size}.wasm"
        large.build(wasm, size)
        for name, compiler in compilers.items():
            if compiler.why_absent is None:
                found.setdefault(name, []).append((wasm.stat().st_size, compiler.compile(wasm)))
    return found


def host() -> dict[str, Any]:
    """The machine and the versions of everything that took part."""

    def first_line(*words: str) -> str | None:
        try:
            return subprocess.run(words, capture_output=True, text=True).stdout.partition("\n")[0] or None
        except OSError:
            return None

    def package(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "wasmjit": package("wasmjit"),
        "llvmlite": package("llvmlite"),
        "wasmtime": package("wasmtime"),
        "node": first_line("node", "--version"),
        "wasm2c": first_line("wasm2c", "--version"),
        "gcc": first_line("gcc", "--version"),
    }


def occasion(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """When, by which command and on what results are taken: what they begin with."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": " ".join([f"python -m bench.{module}", *arguments]),
        "host": host(),
    }


def circumstances(machine: Mapping[str, Any], *packages: str) -> str:
    """What `host` found, in words, with the versions of those of these that there are."""
    versions = ", ".join(f"{name} {machine[name]}" for name in packages if machine[name])
    return (
        f"{machine['cores']} cores of {machine['processor']} ({machine['system']}, Python {machine['python']}, commit"
        f" {machine['commit']}), load at the start {machine['load']:.1f}; {versions}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def report(results: dict[str, Any]) -> str:
    """The results as a page of Markdown: how they were taken, means, kernels, layers."""
    machine, settings = results["host"], results["settings"]
    taken = circumstances(machine, "wasmjit", "llvmlite", "wasmtime", "node", "wasm2c", "gcc")
    lines = [
        "# Kernels under wasmjit and its peers",
        "",
        f"Taken {results['date']} by `{settings['command']}` on {taken}; load at the end {results['load_at_end']:.1f}."
        f" Contenders took turns; medians of {settings['runs']} runs, each a process of its own; execution is timed"
        f" inside it ({CLOCK_TITLES[settings['clock']]}). Ratios are wasmjit's time by the peer's: below 1, wasmjit is"
        " faster. V8: TurboFan for everything, before it runs. Native code and wasm2c: gcc, without contraction of"
        " floating-point operations.",
        "",
        "![ratios by kernel](ratios.svg)",
        "",
        "| peer | kernels | geomean | of minima | vectorisable | others |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    keys = ("geomean", "geomean_of_minima", "geomean_vectorisable", "geomean_others")
    for peer, means in results["summary"]["peers"].items():
        lines.append(f"| {peer} | {means['kernels']} | " + " | ".join(_number(means[key]) for key in keys) + " |")
    slow = ", ".join(f"{name} {ratio:.2f}" for name, ratio in results["summary"]["slow"].items())
    lines += ["", f"Above {figures.SLOW_RATIO} of wasmtime: {slow or 'none'}."]
    lines += [f"Not taken part: {name} ({reason})." for name, reason in results["absent"].items()]
    lines += [f"Failed: {name} ({reason})." for name, reason in results["failed"].items()]
    lines += _kernel_table(results) + _layer_table(results)
    if results["compile"]:
        lines += ["", "![compile time against size](compile.svg)"]
    return "\n".join(lines) + "\n"


def _kernel_table(results: dict[str, Any]) -> list[str]:
    names = [SUBJECT, *results["summary"]["peers"]]
    heads = [f"{name}, ms" if name == SUBJECT else name for name in names]
    lines = ["", "| kernel | kind | " + " | ".join(heads) + " |", "|---|---|" + "---:|" * len(names)]
    for kernel in results["kernels"]:
        ours = kernel["contenders"].get(SUBJECT, {}).get(CLOCKS[results["settings"]["clock"]], {}).get("median")
        cells = [
            "-" if ours is None else f"{ours * 1e3:.1f}",
            *(_number(kernel["ratios"].get(name)) for name in names[1:]),
        ]
        kind = kernel["kind"] + (", vectorisable" if kernel["vectorisable"] else "")
        lines.append(f"| {kernel['kernel']} | {kind} | " + " | ".join(cells) + " |")
    return lines


def _layer_table(results: dict[str, Any]) -> list[str]:
    layers = (
        ("compile_s", 1e3, "compile, ms"),
        ("load_s", 1e3, "load, ms"),
        ("instantiate_s", 1e3, "instantiate, ms"),
        ("call_s", 1e9, "call from the host, ns"),
        ("artifact_bytes", 1e-3, "compiled file, kB"),
        ("growth_bytes", 1e-6, "memory beyond the host's, MB"),
        ("worker_peak_bytes", 1e-6, "compiler processes, MB"),
    )
    names = [SUBJECT, *results["summary"]["peers"]]
    lines = ["", "Geometric means over the kernels, first use in a fresh process:", ""]
    lines += ["| layer | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for key, factor, title in layers:
        cells = []
        for name in names:
            found = [kernel["contenders"].get(name, {}).get(key, {}).get("median") for kernel in results["kernels"]]
            mean = figures.geometric_mean(value for value in found if value)
            cells.append("-" if mean is None else f"{mean * factor:,.2f}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def write(results: dict[str, Any], directory: Path) -> None:
    """Writes the results, the plots and the page about them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(figures.text(results))
    groups = {kernel["kernel"]: kernel["ratios"] for kernel in results["kernels"] if kernel["ratios"]}
    if groups:
        title = "Execution time of wasmjit relative to peers (below 1: wasmjit is faster)"
        (directory / "ratios.svg").write_text(svg.bar_chart(title, groups))
    if results["compile"]:
        labels = {"x_label": "module, bytes", "y_label": "compile time, seconds"}
        (directory / "compile.svg").write_text(
            svg.line_chart("Compile time against size", results["compile"], **labels)
        )
    (directory / "README.md").write_text(report(results))


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="kernels beside all peers")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} run, and smaller modules to compile")
    parser.add_argument("--runs", type=int, help=f"runs of each contender (default {DEFAULT_RUNS})")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what ratios are of")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIRECTORY")
    parser.add_argument("--opt-level", default="speed", help="Config.opt_level of wasmjit")
    parser.add_argument("--contender", action="append", metavar="NAME", help="only these")
    parser.add_argument("--no-compile-plot", action="store_true", help="leave out compile time against size")
    parser.add_argument("names", nargs="*", metavar="NAME", help="kernels (default: all)")
    options = parser.parse_args(arguments)
    options.runs = options.runs or (QUICK_RUNS if options.quick else DEFAULT_RUNS)
    unknown = set(options.names) - {kernel.name for kernel in KERNELS}
    if unknown or options.runs < 1:
        parser.error(f"no such kernel: {', '.join(sorted(unknown))}" if unknown else "--runs: at least 1")
    return options


def compare(options: argparse.Namespace, arguments: list[str]) -> dict[str, Any]:
    """Measures what the options say; prints a line per kernel unless JSON was asked for.

    Results are written after each kernel, so that a run which is cut short leaves what it has.
    """
    everybody = parties.all_contenders(recompile=not options.quick, opt_level=options.opt_level)
    wanted = [party for party in everybody if not options.contender or party.name in options.contender]
    present = [party for party in wanted if party.why_absent is None]
    key = CLOCKS[options.clock]
    settings = {"command": " ".join(["python -m bench.compare", *arguments]), "runs": options.runs}
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "host": host(),
        "load_at_end": os.getloadavg()[0],
        "settings": settings | {"clock": options.clock, "opt_level": options.opt_level},
        "absent": {party.name: party.why_absent for party in wanted if party.why_absent is not None},
        "failed": {},
        "summary": figures.summarise([], SUBJECT, key),
        "kernels": [],
        "compile": {},
    }
    say = (lambda text: None) if options.json else (lambda text: print(text, flush=True))
    for name, reason in results["absent"].items():
        say(f"skipped: {name}: {reason}")
    say(f"{'kernel':<13} {'wasmjit ms':>10}" + "".join(f" {p.name[-13:]:>13}" for p in present if p.name != SUBJECT))
    for kernel in KERNELS:
        if options.names and kernel.name not in options.names:
            continue
        with tempfile.TemporaryDirectory(prefix="wasmjit-bench-") as directory, kept_bytecode():
            try:
                found = measure(kernel, present, options.runs, Path(directory), key)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                results["failed"][kernel.name] = str(error)
                say(f"{kernel.name:<13} FAILED: {error}")
                continue
        results["kernels"].append(found)
        results["summary"] = figures.summarise(results["kernels"], SUBJECT, key)
        results["load_at_end"] = os.getloadavg()[0]
        write(results, options.output)
        ours = found["contenders"].get(SUBJECT, {}).get(key, {}).get("median", 0.0)
        say(f"{kernel.name:<13} {ours * 1e3:>10.1f}" + "".join(f" {r:>13.2f}" for r in found["ratios"].values()))
    if not options.no_compile_plot:
        with tempfile.TemporaryDirectory(prefix="wasmjit-bench-") as directory:
            sizes = QUICK_COMPILE_SIZES if options.quick else COMPILE_SIZES
            results["compile"] = compile_times(sizes, Path(directory))
    write(results, options.output)
    return results


def main(arguments: list[str]) -> dict[str, Any]:
    """Measures, prints and writes; returns the results."""
    options = _options(arguments)
    results = compare(options, arguments)
    if options.json:
        json.dump(results, sys.stdout, indent=1)
        return results
    for peer, means in results["summary"]["peers"].items():
        print(f"geometric mean to {peer}: {_number(means['geomean'])} ({means['kernels']} kernels)")
    print(f"written to {options.output}")
    return results


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:])["failed"] else 0)
