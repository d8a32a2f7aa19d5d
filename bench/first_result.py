"""Time to the first result: from bytes to the end of ``_start``, in a fresh process with nothing cached.

    python -m bench.first_result [--runs N] [--json] [--realworld] [FILE.wasm...]

Each figure is the median of N (5) processes, which take turns: wasmjit in every tier, and the wasmtime package. What is
timed begins behind the import of the package: making engine, module and instance, and running ``_start`` on a small
task. Without files: the examples, and the large module of bench.kernels.large (which need not have a `_start`). With
--realworld: the programs of tests/realworld, which are downloaded at first use, under "auto" and the wasmtime package.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .kernels import large
from .start import kept_bytecode

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
DATA = EXAMPLES / "data"
VARIANTS = ("auto", "baseline", "optimized", "wasmtime")
# A small task for each.
ARGUMENTS = {
    "sha256": ["/article.txt"],
    "json_pretty": ["/library.json"],
    "mandelbrot": ["60", "40", "50"],
    "textsearch": ["the", "/article.txt"],
    "wordfreq": ["/article.txt"],
}

# For programs of tests/realworld whose task there takes longer: arguments, and files.
SMALL_TASKS: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "boolector": (
        ("-m", "/small.smt2"),
        {
            "small.smt2": """(set-logic QF_BV)
(declare-fun x () (_ BitVec 8)) (declare-fun y () (_ BitVec 8))
(assert (= (bvmul x y) #x8f)) (assert (bvult x y)) (assert (bvult #x01 x)) (assert (bvult y #x10))
(check-sat)
"""
        },
    ),
    "quickjs": (("-e", "let s = 0; for (let i = 0; i < 1000; i++) s += i % 7; console.log(s)"), {}),
    "resvg": (
        ("/small.svg", "/small.png"),
        {
            "small.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="50" height="50">'
            '<circle cx="25" cy="25" r="20" fill="red"/></svg>'
        },
    ),
    "php": (("-v",), {}),
    "cpython": (("-c", "print(sum(range(1000)))"), {}),
    "ruby": (("-e", "puts (1..1000).sum"), {}),
}

_CHILD = """
import importlib, os, sys, time
variant, path, directory, output, *arguments = sys.argv[1:]
api = importlib.import_module("wasmtime" if variant == "wasmtime" else "wasmjit")
wasm = open(path, "rb").read()
started, used_before = time.perf_counter(), time.process_time()
config = api.Config()
if variant != "wasmtime":
    config.tier = variant
engine = api.Engine(config)
module = api.Module(engine, wasm)
compiled = time.perf_counter()
store = api.Store(engine)
wasi = api.WasiConfig()
wasi.argv = arguments
wasi.stdout_file = output
wasi.preopen_dir(directory, "/")
store.set_wasi(wasi)
linker = api.Linker(engine)
linker.define_wasi()
start = linker.instantiate(store, module).exports(store).get("_start")
code = 0
try:
    if start is not None:
        start(store)
except api.ExitTrap as exit:
    code = exit.code
ended, used = time.perf_counter(), time.process_time() - used_before
processes = [os.getpid()]
while processes:
    process = processes.pop()
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children") as file:
                processes += map(int, file.read().split())
        if process != os.getpid():
            used += time.clock_gettime(~process << 3 | 2)  # clock_getcpuclockid()
    except OSError:
        pass
print(compiled - started, ended - started, code, used)
"""


class Measured(NamedTuple):
    """One run."""

    module_s: float
    total_s: float
    code: int
    processor_s: float  # of all processes that take part


def measure(variant: str, wasm: Path, arguments: Sequence[str], output: Path, directory: Path = DATA) -> Measured:
    """Seconds to the Module and to the end of ``_start``, and exit code. Raises CalledProcessError if it traps."""
    command = [sys.executable, "-c", _CHILD, variant, str(wasm), str(directory), str(output), wasm.stem, *arguments]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    module, total, code, used = process.stdout.split()
    return Measured(float(module), float(total), int(code), float(used))


class Task(NamedTuple):
    """What is timed."""

    name: str
    wasm: Path
    arguments: Sequence[str]
    directory: Path
    variants: Sequence[str]


def own_tasks(files: Sequence[Path], scratch: Path) -> Iterator[Task]:
    """Modules in files, or the examples and a large module."""
    if not files:
        files = [EXAMPLES / f"{name}.wasm" for name in ARGUMENTS]
        (scratch / "large.wasm").write_bytes(large.module())
        files = [*files, scratch / "large.wasm"]
    for wasm in files:
        yield Task(wasm.stem, wasm, ARGUMENTS.get(wasm.stem, []), DATA, VARIANTS)


def realworld_tasks(scratch: Path, *, small: bool = True) -> Iterator[Task]:
    """Programs of the package registries that the wasmtime package can run, too, with directories in `scratch`.

    On `small` tasks, or those of their tests.
    """
    from tests.realworld.__main__ import PROGRAMS

    for program in PROGRAMS:
        if program.export != "_start" or program.reference_is_command:
            continue
        directory = scratch / program.name
        directory.mkdir()
        arguments, files = (small and SMALL_TASKS.get(program.name)) or (program.arguments, program.files)
        for name, contents in {**program.files, **files}.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(contents.encode() if isinstance(contents, str) else contents)
        yield Task(program.name, program.module(), arguments, directory, ("auto", "wasmtime"))


def compare(task: Task, runs: int, scratch: Path) -> dict[str, object]:
    """The medians of one task. Raises RuntimeError if outputs differ."""
    outputs = {variant: scratch / variant for variant in task.variants}
    seconds: dict[str, list[Measured]] = {variant: [] for variant in task.variants}
    for _ in range(runs):
        for variant in task.variants:
            seconds[variant].append(measure(variant, task.wasm, task.arguments, outputs[variant], task.directory))
    exit_codes = {each.code for taken in seconds.values() for each in taken}
    if len({output.read_bytes() for output in outputs.values() if output.exists()}) > 1 or len(exit_codes) > 1:
        raise RuntimeError(f"{task.name}: the outputs differ")
    row: dict[str, object] = {"module": task.name, "wasm_bytes": task.wasm.stat().st_size, "runs": runs}
    for variant in task.variants:
        row[f"{variant}_module_s"] = statistics.median(each.module_s for each in seconds[variant])
        row[f"{variant}_s"] = statistics.median(each.total_s for each in seconds[variant])
    return row


def main() -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description="time to the first result")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--realworld", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, kept_bytecode():
        scratch = Path(directory)
        rows = []
        for task in realworld_tasks(scratch) if options.realworld else own_tasks(options.files, scratch):
            row = compare(task, options.runs, scratch)
            rows.append(row)
            if not options.json:
                figures = {variant: float(str(row[f"{variant}_s"])) for variant in task.variants}
                text = "  ".join(f"{variant} {1000 * value:8.1f} ms" for variant, value in figures.items())
                ratio = figures["auto"] / figures["wasmtime"]
                print(f"{task.name:12} {text}  auto/wasmtime {ratio:5.2f}", flush=True)
    if options.json:
        print(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
