"""``wasmjit bench``: where the time and memory of a module go, beside the wasmtime package where it is installed."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .. import Config, WasmError
from . import measure
from .options import ENGINE_ROWS, binary_of, config_from, read_file
from .rows import Row, one_of, positive
from .settings_file import use_config_file

DESCRIPTION = """Measures a program layer by layer: engine, compile, load (of the compiled file), instantiate, execute,
one call from Python, and memory. Each run is a process of its own; engines take turns; figures are medians. Engines
whose output differs are an error."""

DEFAULT_RUNS = 5
QUICK_RUNS = 1
MEBIBYTE = 1 << 20
# Key of the figures, title, factor to the unit shown, and the unit.
LAYERS = (
    ("engine_s", "engine", 1e3, "ms"),
    ("compile_s", "compile", 1e3, "ms"),
    ("load_s", "load", 1e3, "ms"),
    ("instantiate_s", "instantiate", 1e3, "ms"),
    ("execute_s", "execute", 1e3, "ms"),
    ("call_s", "call from Python", 1e6, "us"),
    ("artifact_bytes", "compiled file", 1 / 1024, "KiB"),
    ("compile_growth_bytes", "memory to compile", 1 / MEBIBYTE, "MiB"),
    ("worker_peak_bytes", "  compiler processes", 1 / MEBIBYTE, "MiB"),
    ("growth_bytes", "memory in all", 1 / MEBIBYTE, "MiB"),
)


ROWS = (
    Row(
        "--engine",
        kind=one_of(*measure.ENGINES),
        repeated=True,
        metavar="|".join(measure.ENGINES),
        choices=measure.ENGINES,
        help="default: all that are installed",
    ),
    Row("--runs", kind=positive, metavar="N", help=f"processes per engine (default {DEFAULT_RUNS})"),
    Row("--quick", help="one run only"),
    Row("--invoke", kind=str, metavar="FUNCTION", help="call this export with integers (default: _start)"),
    Row("--dir", kind=str, repeated=True, metavar="HOST[::GUEST]", help="what the program may use"),
    Row("--json", help="print all figures as JSON"),
    *ENGINE_ROWS,
)


def command(name: str) -> Any:
    """The click command."""
    from . import click_commands

    return click_commands.make(name, bench, ROWS, DESCRIPTION, passes_words=True)


def bench(arguments: SimpleNamespace) -> int:
    """Measures and prints. Raises WasmError if an engine fails, or outputs differ."""
    use_config_file(arguments)
    engines = arguments.engine or [engine for engine in measure.ENGINES if measure.installed(engine)]
    runs = arguments.runs or (QUICK_RUNS if arguments.quick else DEFAULT_RUNS)
    wasm = binary_of(arguments.file, read_file(arguments.file))
    with tempfile.TemporaryDirectory(prefix="wasmjit-bench-") as scratch:
        path = Path(scratch, Path(arguments.file).name)
        path.write_bytes(wasm)
        requests = {engine: _request(engine, str(path), arguments) for engine in engines}
        answers = _in_turns(requests, runs)
    if len({answer["output"] for found in answers.values() for answer in found}) != 1:
        raise WasmError(f"{arguments.file}: the outputs of {' and '.join(engines)} differ, or those of two runs")
    figures = {engine: summary(found) for engine, found in answers.items()}
    if arguments.json:
        print(json.dumps({"file": arguments.file, "wasm_bytes": len(wasm), "runs": runs, "engines": figures}, indent=1))
    else:
        print(f"{arguments.file}: {len(wasm):,} bytes; medians of {runs} runs")
        print(table(figures))
    return 0


def _request(engine: str, path: str, arguments: SimpleNamespace) -> measure.Request:
    config = config_from(arguments, cached=False)
    options = {name: getattr(config, name) for name, option in Config.options().items()}
    changed = {name: value for name, value in options.items() if value != Config.options()[name].default}
    directories = []
    for word in arguments.dir:
        host, _, guest = word.partition("::")
        directories.append((host, guest or host))
    return measure.Request(
        engine=engine,
        wasm=path,
        arguments=arguments.arguments,
        invoke=arguments.invoke or "_start",
        directories=directories,
        config=changed if engine == "wasmjit" else {},
    )


def _in_turns(requests: dict[str, measure.Request], runs: int) -> dict[str, list[dict[str, Any]]]:
    answers: dict[str, list[dict[str, Any]]] = {engine: [] for engine in requests}
    for _ in range(runs):
        for engine, request in requests.items():
            try:
                answers[engine].append(measure.in_own_process(request))
            except RuntimeError as error:
                raise WasmError(str(error)) from error
    return answers


def summary(answers: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The median of each figure over the runs of one engine; memory as growth since the package was imported."""
    figures: dict[str, list[float]] = {}
    for answer in answers:
        growth = {
            "growth_bytes": answer["peak_bytes"] - answer["base_bytes"],
            "compile_growth_bytes": answer["compile_peak_bytes"] - answer["base_bytes"],
        }
        for key, value in {**answer, **growth}.items():
            if isinstance(value, (int, float)):
                figures.setdefault(key, []).append(value)
            elif isinstance(value, list):
                figures.setdefault(key, []).extend(value)
    return {key: statistics.median(values) for key, values in figures.items()}


def table(figures: dict[str, dict[str, float]]) -> str:
    """A line per layer, a column per engine, and the ratio of the first to the second: below 1, the first is better."""
    engines = list(figures)
    head = f"{'':<22} {'':<4}" + "".join(f" {engine:>12}" for engine in engines)
    lines = [head + (f" {'ratio':>8}" if len(engines) == 2 else "")]
    for key, title, factor, unit in LAYERS:
        values = [figures[engine].get(key, 0) for engine in engines]
        line = f"{title:<22} {unit:<4}" + "".join(f" {value * factor:>12.3f}" for value in values)
        if len(values) == 2 and all(values):
            line += f" {values[0] / values[1]:>8.2f}"
        lines.append(line)
    return "\n".join(lines)
