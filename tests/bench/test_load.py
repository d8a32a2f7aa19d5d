"""The benchmarks that compare both packages in one process: small runs have their figures, and the page is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import load, paired, task_length

pytest.importorskip("wasmtime")
EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "sha256.wasm"


def test_loading_a_small_program(capsys: pytest.CaptureFixture[str]) -> None:
    result = load.main(["--runs", "1", "--json", str(EXAMPLE)])
    assert json.loads(capsys.readouterr().out) == result
    assert [(row["what"], row["when"]) for row in result["rows"]] == [
        (what, when) for what in load.FIGURES for when in ("first", "again")
    ]
    assert all(row[f"{name}_us"] > 0 for row in result["rows"] for name in load.OPTIONS)


def test_one_kernel_in_pairs(tmp_path: Path) -> None:
    result = paired.main(["--processes", "1", "--rounds", "2", "--output", str(tmp_path), "bytecode"])
    (row,) = result["kernels"]
    lower, upper = row["quartiles"]
    assert 0 < lower <= row["ratio"] <= upper
    (kept,) = json.loads((tmp_path / "results.json").read_text())["kernels"]
    assert kept["ratio"] == pytest.approx(row["ratio"], rel=1e-3)
    assert f"| bytecode | branches | {1e3 * row['wasmjit_s']:.1f} |" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("time", [pytest.param("wall", marks=pytest.mark.slow), "processor"])
def test_a_kernel_of_one_length(time: str, tmp_path: Path) -> None:
    words = ["--lengths", "0.01,0.02", "--runs", "1", "--processors", "1", "--output", str(tmp_path), "json"]
    words += ["--time", time]
    result = task_length.main(words)
    assert [(row["length_s"], row["processors"]) for row in result["rows"]] == [(0.01, 1), (0.02, 1)]
    first, second = result["rows"]
    assert first["work"] < second["work"] and first["wasmjit_s"] > 0
    assert f"{second['ratio']:.2f}" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "ratios.svg").read_text().count("<circle") == 2
