"""The driver: modules to artifacts, without what runs them; and the optimiser's process, which has nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wasmjit
from wasmjit import CompileError, CompileProgress, Config, Engine, Module, thresholds, wat2wasm
from wasmjit.driver.build import build
from wasmjit.driver.trampoline_code import TrampolineCode
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


def artifacts_of(modules: list[bytes], config: Config, **options: Any) -> list[bytes]:
    made = build(config, modules, TrampolineCode(config), **options)
    return [bytes(artifact.serialized) for artifact in made]


@pytest.mark.parametrize("parallel", [True, False])
def test_modules_that_are_built_together_are_what_each_is_alone(
    parallel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "UNIT_BODY_BYTES", 20)  # some units each
    config = config_of(parallel_compilation=parallel)
    modules = [wasm_of(1, 12), bytes(wat2wasm("(module)")), wasm_of(2), wasm_of(3, 7), wasm_of(1, 12)]
    together = artifacts_of(modules, config)
    assert together == [artifacts_of([wasm], config)[0] for wasm in modules]
    assert together[0] == together[4] != together[3]


def test_progress_counts_all_of_them() -> None:
    seen: list[CompileProgress] = []
    artifacts_of([wasm_of(1, 3), wasm_of(2, 4)], config_of(), progress=seen.append)
    assert seen[-1].functions_done == seen[-1].functions_total == 7
    assert [each.functions_done for each in seen] == sorted(each.functions_done for each in seen)


def test_some_of_them_are_in_the_cache(tmp_path: Path) -> None:
    """What is made is in the cache then."""
    config = config_of(cache=str(tmp_path))
    modules = [wasm_of(1), wasm_of(2), wasm_of(3)]
    first = artifacts_of([modules[1]], config)
    seen: list[CompileProgress] = []
    together = artifacts_of(modules, config, progress=seen.append)
    assert together[1] == first[0]
    assert seen[-1].functions_total == 2
    del seen[:]
    assert artifacts_of(modules, config, progress=seen.append) == together
    assert seen == []


def test_a_cache_that_cannot_be_used_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert artifacts_of([wasm_of(1)], config_of(cache=str(tmp_path / "file" / "cache"))) == artifacts_of(
        [wasm_of(1)], config_of()
    )


@pytest.mark.parametrize("parallel", [True, False])
def test_errors_say_of_which_module(parallel: bool, tmp_path: Path) -> None:
    wrong = bytes(wat2wasm('(module (func (export "f") nop))')).replace(b"\x00\x01\x0b", b"\x00\x45\x0b")
    config = config_of(parallel_compilation=parallel, cache=str(tmp_path))
    artifacts_of([wasm_of(0)], config)
    with pytest.raises(wasmjit.ValidationError) as caught:
        artifacts_of([wasm_of(0), wrong, wasm_of(1, 3)], config)
    assert str(caught.value).startswith("modules[1]: ")
    assert caught.value.function == 0
    with pytest.raises(wasmjit.MalformedError, match=r"^modules\[2\]: "):
        artifacts_of([wasm_of(1), wasm_of(1), b"\0asm\1"], config)
    with pytest.raises(wasmjit.ValidationError) as caught:
        artifacts_of([wrong], config)
    assert not str(caught.value).startswith("modules")


def test_limits_hold_for_each() -> None:
    wasm = wasm_of(1, 20)
    with pytest.raises(CompileError, match=r"^modules\[1\]: .*max_module_bytes"):
        artifacts_of([wasm_of(1), wasm], config_of(max_module_bytes=len(wasm) - 1))


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
