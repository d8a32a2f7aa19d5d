"""Who runs the kernels: wasmjit, and its peers. A contender that cannot run here says why, and is left out.

Each run is a process of its own, and execution is timed inside it, around the program's start function: the start of
the process, compiling and instantiating do not count. All print the same checksum, or the figures are refused. Native
code does not contract floating-point operations: a fused multiplication and addition rounds once, and wasm has none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wasmjit.cli import measure

from .kernels.catalogue import Kernel

PEERS = Path(__file__).resolve().parent / "peers"
TIMEOUT_SECONDS = 600
NATIVE_FLAGS = ["-std=gnu11", "-ffp-contract=off"]
# No baseline compiler, and everything compiled before it runs: V8 at its best, as warm as it gets.
NODE_FLAGS = ["--no-warnings", "--no-liftoff", "--no-wasm-tier-up", "--no-wasm-lazy-compilation"]
WASM2C_RUNTIMES = (Path("/usr/share/wabt/wasm2c"), Path("/usr/local/share/wabt/wasm2c"))


def command(words: list[str], directory: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """A finished process. Raises RuntimeError with its stderr unless it succeeded."""
    done = subprocess.run(words, cwd=directory, capture_output=True, timeout=TIMEOUT_SECONDS)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()[-2000:]
        raise RuntimeError(f"{words[0]} exited with {done.returncode}: {reason}")
    return done


class Contender:
    """One way to run a kernel. `why_absent` is None where it can run."""

    name = ""
    why_absent: str | None = None

    def prepare(self, kernel: Kernel, directory: Path) -> dict[str, Any]:
        """Builds what `run` needs in `directory`; returns figures of that, such as `compile_s`."""
        return {}

    def run(self, kernel: Kernel, directory: Path) -> dict[str, Any]:
        """Figures of one run, among them `execute_s`, and `output`, a hash of what was printed."""
        raise NotImplementedError


class Package(Contender):
    """A Python package with wasmtime's API. `config`: options for wasmjit's Config.

    With `recompile` off, only the first run compiles; the others load what it made.
    """

    def __init__(
        self, name: str, engine: str, config: Mapping[str, Any] | None = None, *, recompile: bool = True
    ) -> None:
        self.name = name
        self._engine = engine
        self._config = dict(config or {})
        self._recompile = recompile
        self.why_absent = None if measure.installed(engine) else f"the {engine} package is not installed"

    def run(self, kernel: Kernel, directory: Path) -> dict[str, Any]:
        artifact = None if self._recompile else str(directory / f"{self.name}.compiled".replace(" ", "-"))
        request = measure.Request(
            engine=self._engine,
            wasm=str(kernel.wasm),
            arguments=[str(kernel.iterations)],
            config=self._config,
            artifact=artifact,
        )
        figures = measure.in_own_process(request, TIMEOUT_SECONDS)
        if "compile_peak_bytes" in figures:
            figures["compile_growth_bytes"] = figures["compile_peak_bytes"] - figures["base_bytes"]
        figures["growth_bytes"] = figures["peak_bytes"] - figures["base_bytes"]
        return figures

    def compile(self, wasm: Path) -> float:
        """Seconds from a module's bytes to code, in a fresh process."""
        request = measure.Request(engine=self._engine, wasm=str(wasm), executions=0, calls=0, config=self._config)
        return float(measure.in_own_process(request, TIMEOUT_SECONDS)["compile_s"])


class Node(Contender):
    """V8's optimising compiler, through Node."""

    name = "V8"

    def __init__(self) -> None:
        self.why_absent = None if shutil.which("node") else "node is not installed"

    def _figures(self, wasm: Path, executions: int, calls: int, arguments: list[str]) -> tuple[dict[str, Any], bytes]:
        driver = [str(PEERS / "node_driver.mjs"), str(executions), str(calls)]
        done = command(["node", *NODE_FLAGS, *driver, str(wasm), *arguments])
        return json.loads(done.stderr.splitlines()[-1]), done.stdout

    def run(self, kernel: Kernel, directory: Path) -> dict[str, Any]:
        figures, stdout = self._figures(kernel.wasm, 1, 100_000, [str(kernel.iterations)])
        figures["growth_bytes"] = figures["peak_bytes"] - figures["base_bytes"]
        return figures | {"output": hashlib.sha256(stdout).hexdigest()}

    def compile(self, wasm: Path) -> float:
        """Seconds from a module's bytes to code, in a fresh process."""
        return float(self._figures(wasm, 0, 0, [])[0]["compile_s"])


class Built(Contender):
    """A kernel as an executable that `build` makes: called with the kernel and its directory."""

    def __init__(self, name: str, build: Callable[[Kernel, Path], Path], *needs: str) -> None:
        self.name = name
        self._build = build
        missing = [need for need in needs if not shutil.which(need)]
        self.why_absent = f"{', '.join(missing)} not found" if missing else None

    def _directory(self, directory: Path) -> Path:
        own = directory / self.name.replace(" ", "-")
        own.mkdir(parents=True, exist_ok=True)
        return own

    def prepare(self, kernel: Kernel, directory: Path) -> dict[str, Any]:
        started = time.perf_counter()
        program = self._build(kernel, self._directory(directory))
        return {"compile_s": time.perf_counter() - started, "artifact_bytes": program.stat().st_size}

    def run(self, kernel: Kernel, directory: Path) -> dict[str, Any]:
        done = command([str(self._directory(directory) / "program"), str(kernel.iterations)])
        figures: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
        return figures | {"output": hashlib.sha256(done.stdout).hexdigest()}


def native(*flags: str) -> Callable[[Kernel, Path], Path]:
    """Builds the same source with gcc. `main` is renamed: gcc takes a function of that name to be cold."""

    def build(kernel: Kernel, directory: Path) -> Path:
        program, compiled = directory / "program", directory / "kernel.o"
        renamed = ["-Dmain=kernel_main", "-c", str(kernel.source), "-o", str(compiled)]
        command(["gcc", *NATIVE_FLAGS, *flags, *renamed])
        command(["gcc", *NATIVE_FLAGS, "-O2", str(PEERS / "native_driver.c"), str(compiled), "-lm", "-o", str(program)])
        return program

    return build


def wasm2c(kernel: Kernel, directory: Path) -> Path:
    """Builds the module by way of wasm2c's C."""
    runtime = next((path for path in WASM2C_RUNTIMES if path.is_dir()), None)
    if runtime is None:
        raise RuntimeError("the C files of wasm2c's runtime were not found")
    program = directory / "program"
    command(["wasm2c", "-n", "kernel", str(kernel.wasm), "-o", "kernel.c"], directory)
    sources = ["kernel.c", str(PEERS / "wasm2c_driver.c"), str(runtime / "wasm-rt-impl.c")]
    command(["gcc", "-O3", "-I.", f"-I{runtime}", *sources, "-lm", "-o", str(program)], directory)
    return program


def all_contenders(*, recompile: bool = True, opt_level: str = "speed") -> list[Contender]:
    """wasmjit first, then its peers, those that are absent included."""
    return [
        Package("wasmjit", "wasmjit", {"opt_level": opt_level}, recompile=recompile),
        Package("wasmtime", "wasmtime", recompile=recompile),
        Node(),
        Built("wasm2c", wasm2c, "wasm2c", "gcc"),
        Built("native -O3", native("-O3"), "gcc"),
        Built("native -march=native", native("-O3", "-march=native"), "gcc"),
    ]
