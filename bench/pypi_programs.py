"""Programs of PyPI that import the wasmtime package, unmodified, with wasmjit in its place: their first use.

    python -m bench.pypi_programs [--runs N] [--output DIRECTORY] [NAME...]

The packages are downloaded at first use. Each task (bench/pypi) runs N (5) times in turns, under wasmtime and with a
module `wasmtime` on the path that is wasmjit: in a process of its own, with an empty home and no setting of ours, from
the start of Python to its end. Outputs have to be equal. Figures are medians, of wall time and of the process's
processor time. `results.json`, `ratios.svg` and `README.md` are written to DIRECTORY (bench/results/pypi-programs).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.realworld.packages import BUILD, ROOT, Package

from . import figures, svg
from .compare import circumstances, occasion

RESULTS = Path(__file__).resolve().parent / "results" / "pypi-programs"
TASKS = Path(__file__).resolve().parent / "pypi"
DEFAULT_RUNS = 5
ENGINES = ("wasmjit", "wasmtime")
IN_ITS_PLACE = 'import sys\n\nimport wasmjit\n\nsys.modules["wasmtime"] = wasmjit\n'
PACKAGES = {
    package.name: package
    for package in (
        Package(
            "pypi",
            "cowboy-protocol-py",
            "0.6.0",
            "cowboy_protocol_py-0.6.0-py3-none-any.whl",
            "bb32938ebdb84d6553b16c76e5225be213cafbdf55c6f51f0d483bc0060e0db8",
        ),
        Package(
            "pypi",
            "fazflow-policy-gate",
            "0.1.5",
            "fazflow_policy_gate-0.1.5-py3-none-any.whl",
            "589c082d6c3220a17f568b62e54a46e7885fa7c9cfc9b870e904335a3bec9844",
        ),
        Package(
            "pypi",
            "gangajal",
            "0.1.0",
            "gangajal-0.1.0-py3-none-any.whl",
            "9928534928db326b96e50b844ff63a33710b55e27ce15dcdd6adb91b87a74c98",
        ),
        Package(
            "pypi",
            "pii-shield-wasi",
            "2.3.1",
            "pii_shield_wasi-2.3.1-py3-none-any.whl",
            "51059a6d4b297f82cfeccc63378e878feaa4e6c9fc8c8767a4863c4d811bee1f",
        ),
        Package(
            "pypi",
            "pin-derive",
            "0.11.4",
            "pin_derive-0.11.4-py3-none-any.whl",
            "a11b80cf2dd77f06a8b85a2fdceb60709fc1aa9a018b23f00ad2120780734f00",
        ),
        Package(
            "pypi",
            "quickjs-rs",
            "0.2.6",
            "quickjs_rs-0.2.6-py3-none-any.whl",
            "3591faae7eef58f41e01f50071795679f2b53042e40a64f3784546a6bde35339",
        ),
    )
}
# Whose task is not named as the package is imported.
_TASK_NAMES = {"cowboy-protocol-py": "cowboy_protocol", "pii-shield-wasi": "pii_shield"}


class Run(NamedTuple):
    """What a process gave and took: exit code, output, seconds of the wall clock and of processors."""

    exit_code: int
    output: bytes
    wall_s: float
    cpu_s: float


def task_of(package: Package) -> Path:
    """The program that uses a package."""
    return TASKS / f"{_TASK_NAMES.get(package.name, package.name.replace('-', '_'))}_task.py"


def installed(package: Package) -> Path:
    """The directory that a package's files are in."""
    directory = BUILD / "pypi" / f"{package.name}-{package.version}"
    if not directory.exists():
        partial = directory.with_suffix(f".{os.getpid()}")
        with zipfile.ZipFile(package.fetch()) as wheel:
            wheel.extractall(partial)
        partial.rename(directory)
    return directory


def run(package: Package, engine: str) -> Run:
    """Runs a package's task in a process of its own, with no cache of anybody's."""
    with tempfile.TemporaryDirectory(prefix="wasmjit-pypi-") as name:
        scratch = Path(name)
        paths = [installed(package)]
        if engine == "wasmjit":
            (scratch / "place").mkdir()
            (scratch / "place" / "wasmtime.py").write_text(IN_ITS_PLACE)
            paths = [scratch / "place", *paths, ROOT]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "WASMJIT", "XDG"))}
        environment = {**kept, "HOME": name, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        with (scratch / "output").open("w+b") as output:
            started = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, str(task_of(package))],
                cwd=scratch,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, used = os.wait4(process.pid, 0)
            wall_s = time.monotonic() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            return Run(process.returncode, output.read(), wall_s, used.ru_utime + used.ru_stime)


def measure(package: Package, runs: int) -> dict[str, Any]:
    """The figures of a program. Raises RuntimeError if one fails, or if outputs differ."""
    samples: dict[str, list[Run]] = {engine: [] for engine in ENGINES}
    for number in range(runs + 1):  # the first is for Python's bytecode
        for engine in ENGINES:
            found = run(package, engine)
            samples[engine] += [found] if number else []
            if found.exit_code:
                raise RuntimeError(f"{package} under {engine}: {found.output.decode(errors='replace')[-1000:]}")
    outputs = {found.output for rows in samples.values() for found in rows}
    if len(outputs) > 1:
        raise RuntimeError(f"{package}: outputs differ: {sorted(outputs)}")
    row: dict[str, Any] = {"program": package.name, "version": package.version}
    row["wasm_bytes"] = sum(path.stat().st_size for path in installed(package).rglob("*.wasm"))
    for key in ("wall_s", "cpu_s"):
        row[key] = {engine: figures.spread([getattr(found, key) for found in samples[engine]]) for engine in ENGINES}
        row[f"{key}_ratio"] = row[key]["wasmjit"]["median"] / row[key]["wasmtime"]["median"]
    return row


def report(results: Mapping[str, Any]) -> str:
    """The results as a page of Markdown."""
    rows = results["programs"]
    lines = [
        "# Programs of PyPI with wasmjit in wasmtime's place: their first use",
        "",
        f"Taken {results['date']} by `{results['command']}` on"
        f" {circumstances(results['host'], 'wasmjit', 'llvmlite', 'wasmtime')}. Packages that depend on wasmtime,"
        " unmodified, no setting changed; each run is a process of its own with no cache, from the start of Python to"
        f" its end. Medians of {results['runs']} runs in turns, wasmjit's / wasmtime's, in milliseconds: wall time,"
        " which other work on the machine makes longer for both, and processor time of all of its threads. What"
        " wasmjit's other processes make in the background meanwhile is in the wall time only. Outputs are equal.",
        "",
        "![ratios by program](ratios.svg)",
        "",
        "Geometric means: "
        + ", ".join(
            f"{name} {figures.geometric_mean(row[f'{key}_ratio'] for row in rows):.2f}"
            for name, key in (("wall time", "wall_s"), ("processor time", "cpu_s"))
        )
        + ".",
        "",
        "| package | wasm, kB | wall, ms | ratio | processor, ms | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = []
        for key in ("wall_s", "cpu_s"):
            ours, theirs = (1e3 * row[key][engine]["median"] for engine in ENGINES)
            cells.append(f"{ours:,.0f} / {theirs:,.0f} | {row[f'{key}_ratio']:.2f}")
        lines.append(f"| {row['program']} {row['version']} | {row['wasm_bytes'] / 1e3:,.0f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(results: Mapping[str, Any], directory: Path) -> None:
    """Writes the results, the plot and the page about them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(figures.text(results))
    groups = {
        row["program"]: {"wall time": row["wall_s_ratio"], "processor time": row["cpu_s_ratio"]}
        for row in results["programs"]
    }
    title = "First use with wasmjit relative to wasmtime (below 1: wasmjit is faster)"
    (directory / "ratios.svg").write_text(svg.bar_chart(title, groups))
    (directory / "README.md").write_text(report(results))


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Measures, prints and writes; returns the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.pypi_programs", description="programs of PyPI, first use")
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIRECTORY")
    parser.add_argument("names", nargs="*", metavar="NAME", help="packages (default: all)")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {
        **occasion("pypi_programs", arguments),
        "runs": options.runs,
        "programs": [],
    }
    for name in options.names or PACKAGES:
        row = measure(PACKAGES[name], options.runs)
        results["programs"].append(row)
        print(f"{name:20} wall {row['wall_s_ratio']:5.2f}  processor {row['cpu_s_ratio']:5.2f}", flush=True)
    write(results, options.output)
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
