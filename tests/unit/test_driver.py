"""The driver: modules to artifacts, without what runs them; and the optimiser's process, which has nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import wasmjit
from wasmjit import Config, Engine, Module, wat2wasm
from wasmjit.tiers import optimiser

PACKAGE = str(Path(wasmjit.__file__).parent)
# As processes.py starts children: a bare package in place of wasmjit.
BARE = f"""import json, sys, types
package = types.ModuleType("wasmjit")
package.__path__ = [{PACKAGE!r}]
sys.modules["wasmjit"] = package
"""
MADE = BARE + (
    """
from wasmjit.config import Config
from wasmjit.driver.build import build
from wasmjit.driver.trampoline_code import TrampolineCode
config = Config(tier="optimized", cache=False)
wasm = bytes.fromhex(sys.argv[1])
(artifact,) = build(config, [wasm], TrampolineCode(config))
print(json.dumps([bytes(artifact.serialized).hex(), sorted(sys.modules)]))
"""
)


def wasm_of(number: int, functions: int = 1) -> bytes:
    """A module that differs from others."""
    bodies = "".join(
        f'(func (export "f{each}") (param i32) (result i32) (i32.add (local.get 0) (i32.const {number + each})))'
        for each in range(functions)
    )
    return bytes(wat2wasm(f"(module {bodies})"))


def config_of(**options: Any) -> Config:
    return Config(**{"tier": "optimized", "cache": False, **options})


def test_it_builds_without_the_c_runtime() -> None:
    wasm = wasm_of(7)
    done = subprocess.run([sys.executable, "-c", MADE, wasm.hex()], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    artifact, modules = json.loads(done.stdout)
    assert not [name for name in modules if name.endswith("_native") or name.startswith("wasmjit.runtime")]
    assert "wasmjit.compile.pipeline" in modules
    assert bytes.fromhex(artifact) == Module(Engine(config_of()), wasm).serialize()


def test_the_optimisers_process_does_not_load_the_c_runtime() -> None:
    """Nor when it has made something."""
    imports = "import wasmjit.tiers.optimiser_process\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", BARE + imports], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    modules = json.loads(done.stdout)
    assert not [name for name in modules if name.endswith("_native") or name.startswith("wasmjit.runtime")]
    assert Module(Engine(Config(tier="auto", cache=False)), wasm_of(1)).wait_optimized()
    process = optimiser._current_optimiser().process
    assert process is not None
    mapped = Path(f"/proc/{process.pid}/maps").read_text()
    assert "python" in mapped and "_native" not in mapped
    assert "_native" in Path("/proc/self/maps").read_text()
