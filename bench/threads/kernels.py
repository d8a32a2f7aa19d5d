"""The kernels with a memory of their own, and with the same memory shared, under both packages in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wasmjit

from ..kernels.catalogue import KERNELS, Kernel
from ..programs import Program
from .shared import with_shared_memory


def _engine(api: Any) -> Any:
    config = api.Config()
    config.wasm_threads = config.shared_memory = True
    if api is wasmjit:
        config.tier = "optimized"
    return api.Engine(config)


def measure(names: list[str], rounds: int, apis: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """For each kernel the least seconds of processor time of each way, the first of which does not count."""
    engines = {name: _engine(api) for name, api in apis.items()}
    for kernel in KERNELS:
        if not names or kernel.name in names:
            with tempfile.TemporaryDirectory(prefix="wasmjit-threads-") as directory:
                yield _row(kernel, rounds, apis, engines, Path(directory))


def _row(kernel: Kernel, rounds: int, apis: dict[str, Any], engines: dict[str, Any], directory: Path) -> dict[str, Any]:
    wasm = kernel.wasm.read_bytes()
    programs = {}
    for name, api in apis.items():
        for is_shared in (False, True):
            module = api.Module(engines[name], with_shared_memory(wasm) if is_shared else wasm)
            key = f"{name}_shared_s" if is_shared else f"{name}_s"
            arguments = [kernel.name, str(kernel.iterations)]
            programs[key] = Program(api, engines[name], module, arguments, directory / key)
    taken: dict[str, list[float]] = {key: [] for key in programs}
    for number in range(rounds + 1):
        for key, program in programs.items():
            seconds = program.execute(time.thread_time)
            if number:
                taken[key].append(seconds)
    outputs = {program.output() for program in programs.values()}
    if len(outputs) != 1:
        raise ValueError(f"{kernel.name}: the outputs differ")
    least = {key: min(values) for key, values in taken.items()}
    return {
        "kernel": kernel.name,
        "vectorisable": kernel.vectorisable,
        **least,
        "shared_by_own": least["wasmjit_shared_s"] / least["wasmjit_s"],
        "ratio": least["wasmjit_s"] / least["wasmtime_s"],
        "shared_ratio": least["wasmjit_shared_s"] / least["wasmtime_shared_s"],
    }
