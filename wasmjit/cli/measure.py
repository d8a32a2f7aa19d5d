"""Measures one run of one module under one package, layer by layer, in a process of its own.

``python -m wasmjit.cli.measure`` reads a request, `Request` as JSON, from stdin and answers with JSON on stdout: what
`measure` returns, or ``{"error": reason}``. `wasmjit bench` starts it, and so do the project's own benchmarks; a fresh
process each time, so that neither warmth nor memory of one run gets into the next.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Packages that share the API which is used here.
ENGINES = ("wasmjit", "wasmtime")
CALLS = 20_000
ADD = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure. `config`: options of wasmjit's Config by name (not for other engines).

    `directories` are (host, guest) pairs. With an `artifact` path, the compiled module is kept there, and taken from
    there when it exists: then nothing is compiled. `any_exit_code`: no exit code of the program is an error.
    """

    engine: str
    wasm: str
    arguments: list[str] = field(default_factory=list)
    executions: int = 1
    invoke: str = "_start"
    directories: list[tuple[str, str]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    artifact: str | None = None
    calls: int = CALLS
    any_exit_code: bool = False


def installed(engine: str) -> bool:
    """Whether a package of ENGINES can be imported."""
    return importlib.util.find_spec(engine) is not None


def in_own_process(request: Request, timeout_seconds: float | None = None) -> dict[str, Any]:
    """The answer of a fresh process. Raises RuntimeError with its reason if the measurement failed."""
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(
        command, input=json.dumps(asdict(request)), capture_output=True, text=True, timeout=timeout_seconds
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        answer = {"error": f"exited with {done.returncode}: {done.stderr.strip()}"}
    if "error" in answer:
        raise RuntimeError(f"{request.engine}: {answer['error']}")
    return answer


def measure(request: Request) -> dict[str, Any]:
    """Seconds by layer, bytes of memory, and a hash of what the program wrote to stdout.

    `compile_s` (absent if an artifact was there), `load_s` (from an artifact's file), `instantiate_s` (Store, WASI,
    instance), `execute_s` and `execute_cpu_s` (lists: the call alone, each in a fresh instance; processor time is that
    of the calling thread), `exit_code` (a list), `call_s` (from Python to a function that adds two numbers),
    `base_bytes` (resident memory with the package imported, before anything is compiled), `compile_peak_bytes` and
    `peak_bytes` (this process's peak after compiling, and at the end), `worker_peak_bytes` (peaks of its compiler
    processes, added up).
    """
    api: Any = importlib.import_module(request.engine)
    wasm = Path(request.wasm).read_bytes()
    figures: dict[str, Any] = {"engine": request.engine, "wasm_bytes": len(wasm), "base_bytes": _resident_bytes()}
    started = time.perf_counter()
    engine = api.Engine(api.Config(**request.config)) if request.config else api.Engine()
    figures["engine_s"] = time.perf_counter() - started
    with tempfile.TemporaryDirectory(prefix="wasmjit-bench-") as scratch:
        artifact = Path(request.artifact or os.path.join(scratch, "artifact"))
        if not artifact.exists():
            started = time.perf_counter()
            module = api.Module(engine, wasm)
            figures["compile_s"] = time.perf_counter() - started
            figures["compile_peak_bytes"] = _peak_bytes()
            figures["worker_peak_bytes"] = _children_peak_bytes()
            artifact.write_bytes(module.serialize())
        figures["artifact_bytes"] = artifact.stat().st_size
        started = time.perf_counter()
        module = api.Module.deserialize_file(engine, str(artifact))
        figures["load_s"] = time.perf_counter() - started
        output = Path(scratch, "stdout")
        figures |= {"instantiate_s": [], "execute_s": [], "execute_cpu_s": [], "exit_code": []}
        for _ in range(request.executions):
            for key, seconds in _execute(api, engine, module, request, output).items():
                figures[key].append(seconds)
        if request.executions:
            figures["output"] = hashlib.sha256(output.read_bytes()).hexdigest()
            figures["first_line"] = output.read_bytes().split(b"\n")[0][:80].decode(errors="replace")
    figures["peak_bytes"] = _peak_bytes()
    if request.calls:
        figures["call_s"] = _call(api, engine, request.calls)
    return figures


def _execute(api: Any, engine: Any, module: Any, request: Request, output: Path) -> dict[str, float]:
    """Seconds by figure, and the exit code. Raises RuntimeError if the program reports failure."""
    started = time.perf_counter()
    store = api.Store(engine)
    wasi = api.WasiConfig()
    wasi.argv = [os.path.basename(request.wasm), *request.arguments]
    wasi.stdin_file = os.devnull
    wasi.stdout_file = str(output)
    wasi.inherit_stderr()
    for host, guest in request.directories:
        wasi.preopen_dir(host, guest)
    store.set_wasi(wasi)
    linker = api.Linker(engine)
    linker.define_wasi()
    exports = linker.instantiate(store, module).exports(store)
    instantiated = time.perf_counter()
    output.touch()  # a program that needs no WASI may leave it unopened
    function = exports.get(request.invoke)
    if function is None:
        raise RuntimeError(f"there is no exported function {request.invoke!r}")
    arguments = [] if request.invoke == "_start" else list(map(int, request.arguments))
    code = 0
    begun, busy = time.perf_counter(), time.thread_time()
    try:
        function(store, *arguments)
    except api.ExitTrap as exit_trap:
        code = exit_trap.code
    ended, busy = time.perf_counter(), time.thread_time() - busy
    store.close()
    if code and not request.any_exit_code:
        raise RuntimeError(f"the program exited with {code}")
    return {
        "instantiate_s": instantiated - started,
        "execute_s": ended - begun,
        "execute_cpu_s": busy,
        "exit_code": code,
    }


def _call(api: Any, engine: Any, calls: int) -> float:
    """Seconds per call from Python of a function that does next to nothing."""
    store = api.Store(engine)
    add = api.Instance(store, api.Module(engine, ADD), []).exports(store)["add"]
    for _ in range(calls // 10):
        add(store, 1, 2)
    started = time.perf_counter()
    for _ in range(calls):
        add(store, 1, 2)
    return (time.perf_counter() - started) / calls


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _peak_bytes(process: str = "self") -> int:
    """The most memory that was ever resident; 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _children_peak_bytes() -> int:
    children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return sum(map(_peak_bytes, children.split()))


def main() -> int:
    """Answers one request; 1 if it failed."""
    request = Request(**json.loads(sys.stdin.read()))
    try:
        answer = measure(request)
    except Exception as error:  # whatever it is, the reader of the answer is told
        answer = {"error": f"{type(error).__name__}: {error}"}
    json.dump(answer, sys.stdout)
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
