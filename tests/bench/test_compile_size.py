"""The benchmark of compile time against size."""

from __future__ import annotations

from pathlib import Path

from bench import compile_size
from wasmjit import Engine, Module
from wasmjit.wasm.decode import decode


def test_the_interpreter_is_one_valid_function_of_about_the_wanted_size() -> None:
    for wanted in (500, 5_000):
        wasm = compile_size.interpreter(wanted)
        Module.validate(Engine(), wasm)
        assert len(decode(wasm).bodies) == 1
        assert wasm == compile_size.interpreter(wanted) != compile_size.interpreter(wanted, seed=2)
        assert 2 * wanted < len(wasm) < 6 * wanted


def test_figures_plots_and_page_are_written(tmp_path: Path) -> None:
    files = []
    for wanted in (100, 400):
        files.append(tmp_path / f"function-{wanted}.wasm")
        files[-1].write_bytes(compile_size.interpreter(wanted))
    found = compile_size.sweep(files, quiet=True)
    assert [row["instructions"] > 90 and row["object_bytes"] > 0 for row in found["speed"]] == [True, True]
    assert all(row["wall_s"] > 0 and row["cpu_s"] > 0 and row["peak_bytes"] > 1 << 20 for row in found["none"])
    results = {"date": "today", "system": "here", "cores": 2, "load": 0.0, "programs": found, "function": found}
    compile_size.write(results, tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"results.json", "programs.svg", "function.svg", "README.md"}
    page = (tmp_path / "out" / "README.md").read_text()
    assert f"| {found['speed'][1]['instructions']:,} | speed |" in page
