"""The time to start a program that is compiled already, from nothing to the end of its process.

    python -m bench.start [--runs N] [--json]

Contenders take turns, each run a process of its own: ``wasmjit run`` with the program in its cache, a Python program
that does the same with the wasmtime package and `Module.deserialize_file`, and Python doing nothing. Figures are the
medians of N (30) runs: processor time (user and system, of the process and its children), and wall time.
`wasmjit run` ends by `os._exit`, as its console script does; the Python program ends as any does.
All have bytecode of what they import, as installed packages do: it is kept in a directory of this benchmark's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import wasmjit

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
DEFAULT_RUNS = 30
SUBJECT, PEER, NOTHING = "wasmjit run", "wasmtime package", "python -c pass"

HELLO = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00hello\\0a")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"""

# What pip installs as `wasmjit`.
_SCRIPT = """import sys
from wasmjit.cli import main
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(main())
"""
_PEER = """import sys
import wasmtime
path, directory, *arguments = sys.argv[1:]
engine = wasmtime.Engine()
module = wasmtime.Module.deserialize_file(engine, path)
linker = wasmtime.Linker(engine)
linker.define_wasi()
store = wasmtime.Store(engine)
wasi = wasmtime.WasiConfig()
wasi.argv = ["program", *arguments]
wasi.inherit_stdin()
wasi.inherit_stdout()
wasi.inherit_stderr()
wasi.preopen_dir(directory, "/data")
store.set_wasi(wasi)
try:
    linker.instantiate(store, module).exports(store)["_start"](store)
except wasmtime.ExitTrap as exit:
    sys.exit(exit.code)
"""


def commands(wasm: Path, arguments: Sequence[str], scratch: Path) -> dict[str, list[str]]:
    """The command line of each contender."""
    data = str(EXAMPLES / "data")
    (scratch / "wasmjit_script.py").write_text(_SCRIPT)
    run = [sys.executable, str(scratch / "wasmjit_script.py"), "run", "--dir", f"{data}::/data", str(wasm), *arguments]
    found = {SUBJECT: run}
    try:
        import wasmtime
    except ImportError:  # a test extra
        pass
    else:
        compiled = scratch / f"{wasm.stem}.wasmtime"
        compiled.write_bytes(bytes(wasmtime.Module(wasmtime.Engine(), wasm.read_bytes()).serialize()))
        (scratch / "peer.py").write_text(_PEER)
        found[PEER] = [sys.executable, str(scratch / "peer.py"), str(compiled), data, *arguments]
    found[NOTHING] = [sys.executable, "-c", "pass"]
    return found


@contextlib.contextmanager
def kept_bytecode() -> Iterator[None]:
    """Has processes that are started meanwhile keep bytecode of what they import, as installed packages do."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="wasmjit-bytecode-") as directory:
        try:
            _set_environment(_with_bytecode(directory))
            yield
        finally:
            _set_environment(before)


def _with_bytecode(directory: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": directory}


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def environment(scratch: Path) -> dict[str, str]:
    """Bytecode and cache in `scratch`; this tree's wasmjit; no configuration."""
    return _with_bytecode(str(scratch / "bytecode")) | {
        "PYTHONPATH": str(Path(wasmjit.__file__).resolve().parent.parent),
        "WASMJIT_CACHE_DIR": str(scratch / "cache"),
        "XDG_CONFIG_HOME": str(scratch / "none"),
    }


def run_once(command: list[str], variables: dict[str, str]) -> tuple[float, float, bytes]:
    """Processor seconds, wall seconds and output of a process. Raises RuntimeError if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}")
    return usage.ru_utime + usage.ru_stime, wall, output


def measure(wasm: Path, arguments: Sequence[str], runs: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of each contender. Raises RuntimeError if outputs differ."""
    with tempfile.TemporaryDirectory(prefix="wasmjit-start-") as directory:
        scratch = Path(directory)
        variables = environment(scratch)
        contenders = commands(wasm, arguments, scratch)
        outputs = {name: run_once(command, variables)[2] for name, command in contenders.items()}
        if len({output for name, output in outputs.items() if name != NOTHING}) != 1:
            raise RuntimeError(f"{wasm}: the outputs differ: {outputs}")
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        for _ in range(runs):
            for name, command in contenders.items():
                times[name].append(run_once(command, variables)[:2])
    return {
        name: {
            "cpu_ms": 1e3 * statistics.median(cpu for cpu, _ in found),
            "wall_ms": 1e3 * statistics.median(wall for _, wall in found),
        }
        for name, found in times.items()
    }


def main(arguments: list[str]) -> list[dict[str, object]]:
    """Measures and prints; returns the figures."""
    runs = int(arguments[arguments.index("--runs") + 1]) if "--runs" in arguments else DEFAULT_RUNS
    as_json = "--json" in arguments
    figures: list[dict[str, object]] = []
    if not as_json:
        print(f"\nstart to end of a compiled program, in ms (medians of {runs} runs in turns)")
        print(f"{'program':<10} {'contender':<18} {'CPU':>8} {'wall':>8}  ratio of CPU to the wasmtime package")
    with tempfile.TemporaryDirectory(prefix="wasmjit-start-") as directory:
        hello = Path(directory) / "hello.wasm"
        hello.write_bytes(bytes(wasmjit.wat2wasm(HELLO)))
        for wasm, words in ((hello, []), (EXAMPLES / "sha256.wasm", ["/data/article.txt"])):
            found = measure(wasm, words, runs)
            figures.append({"program": wasm.stem, "runs": runs, "contenders": found})
            for name, times in found.items() if not as_json else ():
                ratio = f"{times['cpu_ms'] / found[PEER]['cpu_ms']:8.2f}" if PEER in found else ""
                print(
                    f"{wasm.stem:<10} {name:<18} {times['cpu_ms']:>8.1f} {times['wall_ms']:>8.1f}  {ratio}", flush=True
                )
    if as_json:
        json.dump(figures, sys.stdout, indent=1)
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
