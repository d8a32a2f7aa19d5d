"""Time to the first result: from bytes to the end of ``_start``, in a fresh process with nothing cached.

    python -m bench.first_result [--runs N] [--json] [FILE.wasm...]

Each figure is the median of N (5) processes, which take turns: wasmjit in every tier, and the wasmtime package. What is
timed begins behind the import of the package: making engine, module and instance, and running ``_start`` on a small
task. Without files: the examples, and the large module of bench.kernels.large (which need not have a `_start`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from .kernels import large

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

_CHILD = """
import importlib, sys, time
variant, path, directory, output, *arguments = sys.argv[1:]
api = importlib.import_module("wasmtime" if variant == "wasmtime" else "wasmjit")
wasm = open(path, "rb").read()
started = time.perf_counter()
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
try:
    if start is not None:
        start(store)
except api.ExitTrap as exit:
    if exit.code:
        raise
print(compiled - started, time.perf_counter() - started)
"""


def measure(variant: str, wasm: Path, arguments: list[str], output: Path) -> tuple[float, float]:
    """Seconds to the Module and to the end of ``_start``. Raises CalledProcessError if the program fails."""
    command = [sys.executable, "-c", _CHILD, variant, str(wasm), str(DATA), str(output), wasm.stem, *arguments]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    module, total = process.stdout.split()
    return float(module), float(total)


def main() -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description="time to the first result")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        files = options.files
        if not files:
            files = [EXAMPLES / f"{name}.wasm" for name in ARGUMENTS]
            files.append(Path(directory, "large.wasm"))
            files[-1].write_bytes(large.module())
        rows = []
        for wasm in files:
            outputs = {variant: Path(directory, variant) for variant in VARIANTS}
            seconds: dict[str, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS}
            for _ in range(options.runs):
                for variant in VARIANTS:
                    arguments = ARGUMENTS.get(wasm.stem, [])
                    seconds[variant].append(measure(variant, wasm, arguments, outputs[variant]))
            if len({output.read_bytes() for output in outputs.values() if output.exists()}) > 1:
                raise RuntimeError(f"{wasm.stem}: the outputs differ")
            row: dict[str, object] = {"module": wasm.stem, "wasm_bytes": wasm.stat().st_size, "runs": options.runs}
            for variant in VARIANTS:
                row[f"{variant}_module_s"] = statistics.median(module for module, _ in seconds[variant])
                row[f"{variant}_s"] = statistics.median(total for _, total in seconds[variant])
            rows.append(row)
            if not options.json:
                figures = {variant: float(str(row[f"{variant}_s"])) for variant in VARIANTS}
                text = "  ".join(f"{variant} {1000 * value:8.1f} ms" for variant, value in figures.items())
                ratio = figures["auto"] / figures["wasmtime"]
                print(f"{wasm.stem:12} {text}  auto/wasmtime {ratio:5.2f}", flush=True)
    if options.json:
        print(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
