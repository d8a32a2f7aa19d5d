"""The time from a compiled file to a Module, and to an instance, beside the wasmtime package's.

    python -m bench.load [--runs N] [--json] [FILE.wasm]

What is loaded is FILE, or a generated program (bench/kernels/large.py), compiled at opt level `none`, which makes a
file of some 3 MB. "first" is the first time in a process, behind importing the package: the median of N (30) processes
of each, which take turns. "again" is the median of 200 times in one process, in which both packages take turns.
`instance` also makes a Store with WASI, a Linker and an instance; where it is the first, wasmjit imports its WASI.
(Where modules are loaded and instantiated by turns, loading takes about a half more: instances leave caches cold.)
"""

from __future__ import annotations

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

from .kernels import large
from .start import environment

ROOT = Path(__file__).resolve().parent.parent
OPTIONS: dict[str, dict[str, str]] = {"wasmjit": {"opt_level": "none"}, "wasmtime": {}}  # of Config, by package
FIGURES = ("deserialize_file", "instance")
DEFAULT_RUNS = 30
TURNS = 200
FUNCTIONS = 1400  # of the generated program
_CHILD = "from bench.load import child; child()"


class Package:
    """One of the packages, with an engine."""

    def __init__(self, name: str) -> None:
        self.api: Any = importlib.import_module(name)
        config = self.api.Config()
        for option, value in OPTIONS[name].items():
            setattr(config, option, value)
        self.engine = self.api.Engine(config)

    def deserialize(self, path: str) -> float:
        """Seconds to a Module."""
        started = time.perf_counter()
        _module = self.api.Module.deserialize_file(self.engine, path)
        return time.perf_counter() - started

    def load(self, path: str) -> tuple[float, float]:
        """Seconds to a Module, and to an instance of it."""
        api = self.api
        started = time.perf_counter()
        module = api.Module.deserialize_file(self.engine, path)
        loaded = time.perf_counter()
        store = api.Store(self.engine)
        store.set_wasi(api.WasiConfig())
        linker = api.Linker(self.engine)
        linker.define_wasi()
        linker.instantiate(store, module)
        return loaded - started, time.perf_counter() - started


def file_of(name: str, directory: Path) -> Path:
    """Where the compiled file of a package lies."""
    return directory / f"{name}.cwasm"


def child() -> None:
    """In a process of its own: loads the files in turns, and prints the seconds by package."""
    directory, turns, *names = sys.argv[1:]
    packages = {name: Package(name) for name in names}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    paths = {name: str(file_of(name, Path(directory))) for name in names}
    for _ in range(int(turns)):
        for name, package in packages.items():
            taken[name].append(package.load(paths[name]))
    if int(turns) > 1:  # loading alone: what an instance leaves behind is not in its way
        for turn in range(int(turns)):
            for name, package in packages.items():
                taken[name][turn] = package.deserialize(paths[name]), taken[name][turn][1]
    print(json.dumps(taken))


def measure(directory: Path, turns: int, names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """The seconds of `turns` loads in a fresh process. Raises CalledProcessError."""
    command = [sys.executable, "-c", _CHILD, str(directory), str(turns), *names]
    variables = environment(directory)  # with bytecode, as installed packages have
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT, env=variables)
    found: dict[str, list[tuple[float, float]]] = json.loads(done.stdout)
    return found


def _generated(directory: Path) -> bytes:
    wasm = directory / "large.wasm"
    large.build(wasm, FUNCTIONS)
    return wasm.read_bytes()


def main(arguments: list[str]) -> dict[str, Any]:
    """Measures and prints; returns the figures."""
    words = list(arguments)
    runs = DEFAULT_RUNS
    if "--runs" in words:
        at = words.index("--runs")
        runs = int(words[at + 1])
        del words[at : at + 2]
    paths = [word for word in words if not word.startswith("--")]
    with tempfile.TemporaryDirectory(prefix="wasmjit-load-") as name:
        directory = Path(name)
        wasm = Path(paths[0]).read_bytes() if paths else _generated(directory)
        for name in OPTIONS:
            package = Package(name)
            file_of(name, directory).write_bytes(package.api.Module(package.engine, wasm).serialize())
        again = measure(directory, TURNS, list(OPTIONS))
        first: dict[str, list[tuple[float, float]]] = {name: [] for name in OPTIONS}
        for _ in range(runs):
            for name in OPTIONS:
                first[name] += measure(directory, 1, [name])[name]
        sizes = {name: file_of(name, directory).stat().st_size for name in OPTIONS}
    rows: list[dict[str, Any]] = []
    for position, what in enumerate(FIGURES):
        for when, taken in (("first", first), ("again", again)):
            medians = {f"{name}_us": 1e6 * statistics.median(t[position] for t in taken[name]) for name in OPTIONS}
            rows.append({"what": what, "when": when, **medians})
    result = {"file_bytes": sizes, "runs": runs, "turns": TURNS, "options": OPTIONS, "rows": rows}
    if "--json" in arguments:
        json.dump(result, sys.stdout, indent=1)
        return result
    files = ", ".join(f"{name} {size:,} bytes" for name, size in sizes.items())
    print(f"\nfrom a compiled file ({files}), in microseconds")
    print(f"{'':<18} {'':<6} {'wasmjit':>9} {'wasmtime':>9} {'ratio':>7}")
    for row in rows:
        ours, theirs = row["wasmjit_us"], row["wasmtime_us"]
        print(f"{row['what']:<18} {row['when']:<6} {ours:>9.1f} {theirs:>9.1f} {ours / theirs:>7.2f}")
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
