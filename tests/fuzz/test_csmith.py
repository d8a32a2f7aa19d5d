"""A few programs of `csmith.py`; `make fuzz-csmith` is long."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

pytest.importorskip("wasmtime")
pytest.importorskip("ziglang")

import wasmjit
from tests.fuzz.csmith import CSMITH_HEADERS, MISSING, Comparer, compile_unit, csmith_unit, kernel_unit
from tests.fuzz.loops import configurations
from tests.fuzz.loops_run import CHANGED


@pytest.fixture(autouse=True)
def _patient_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in CHANGED:
        monkeypatch.setattr(owner, name, getattr(owner, name))


@pytest.mark.parametrize("count", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_random_loops_in_c_behave_as_in_wasmtime(tmp_path: Path, count: int) -> None:
    comparer = Comparer(configurations(["speed", "baseline"], []), tmp_path)
    unit = kernel_unit(1, count)
    wasm = compile_unit(unit, "O2", tmp_path)
    comparer.compare(wasm, unit, "O2", tmp_path / "kept")
    assert not comparer.found
    assert comparer.executions == 2 * count * len(unit.calls)
    results, memory = pickle.loads((tmp_path / "kept").read_bytes())
    (tmp_path / "kept").write_bytes(pickle.dumps((results, bytes(len(memory)))))
    comparer.compare(wasm, unit, "O2", tmp_path / "kept")  # with what was written, as under emulation
    assert set(comparer.found) == {"speed", "baseline"}
    assert wasmjit.Module(wasmjit.Engine(wasmjit.Config(target="aarch64-unknown-linux-gnu")), wasm).serialize()


@pytest.mark.skipif(not (shutil.which("csmith") and Path(CSMITH_HEADERS).is_dir()), reason=MISSING)
def test_programs_of_csmith_behave_as_in_wasmtime(tmp_path: Path) -> None:
    comparer = Comparer(configurations(["speed", "auto"], []), tmp_path)
    unit = csmith_unit(1, 2)
    comparer.compare(compile_unit(unit, "Os", tmp_path), unit, "Os")
    assert not comparer.found and comparer.executions
