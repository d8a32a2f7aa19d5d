"""The harness from end to end on one kernel, and what it does about contenders that fail or are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import compare, contenders, figures
from bench.kernels.catalogue import DIRECTORY, KERNELS, Kernel

SHORT = Kernel("sieve", 1, "memory")


class Fake(contenders.Contender):
    """A contender with made-up answers."""

    def __init__(self, name: str, output: str, why_absent: str | None = None) -> None:
        self.name, self._output, self.why_absent = name, output, why_absent
        self.order: list[str] = []

    def run(self, kernel: Kernel, directory: Path) -> dict[str, Any]:
        self.order.append(self.name)
        return {"execute_s": [1.0], "output": self._output}


def test_catalogue_and_directory_agree() -> None:
    assert sorted(kernel.name for kernel in KERNELS) == sorted(path.stem for path in DIRECTORY.glob("*.c"))
    assert all(kernel.wasm.is_file() for kernel in KERNELS)
    assert len(KERNELS) >= 30 and sum(kernel.vectorisable for kernel in KERNELS) >= 10


def test_contenders_take_turns() -> None:
    first, second = Fake("wasmjit", "same"), Fake("other", "same")
    first.order = second.order
    found = compare.measure(SHORT, [first, second], 3, Path(), "execute_s")
    assert first.order == ["wasmjit", "other"] * 3
    assert found["contenders"]["other"]["execute_s"]["runs"] == 3 and found["ratios"] == {"other": 1.0}


def test_different_outputs_are_refused() -> None:
    with pytest.raises(RuntimeError, match="outputs differ"):
        compare.measure(SHORT, [Fake("wasmjit", "a"), Fake("other", "b")], 1, Path(), "execute_s")


def test_absent_and_failing_contenders_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parties = [Fake("wasmjit", "a"), Fake("other", "b"), Fake("gone", "", "it is not installed")]
    monkeypatch.setattr(contenders, "all_contenders", lambda **_: parties)
    monkeypatch.setattr(compare, "KERNELS", [SHORT])
    results = compare.main(["--quick", "--no-compile-plot", "--output", str(tmp_path)])
    assert results["absent"] == {"gone": "it is not installed"} and "outputs differ" in results["failed"]["sieve"]
    page = (tmp_path / "README.md").read_text()
    assert "gone (it is not installed)" in page and "Failed: sieve" in page
    assert "skipped: gone" in capsys.readouterr().out


def test_wrong_usage() -> None:
    for arguments in (["no-such-kernel"], ["--runs", "-1"], ["--clock", "sun"]):
        with pytest.raises(SystemExit) as exit_info:
            compare.main(arguments)
        assert exit_info.value.code == 2


def test_quick_run_of_one_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "KERNELS", [SHORT])
    compare.main(["--quick", "--json", "--no-compile-plot", "--opt-level", "none", "--output", str(tmp_path)])
    results = json.loads(capsys.readouterr().out)
    assert (tmp_path / "results.json").read_text() == figures.text(results)
    assert results["failed"] == {}
    (kernel,) = results["kernels"]
    present = {party.name for party in contenders.all_contenders() if party.why_absent is None}
    assert set(kernel["contenders"]) == present and set(kernel["ratios"]) == present - {"wasmjit"}
    ours = kernel["contenders"]["wasmjit"]
    layers = {"compile_s", "load_s", "instantiate_s", "execute_s", "execute_cpu_s", "call_s", "growth_bytes"}
    assert layers <= set(ours) and all(ours[layer]["median"] > 0 for layer in layers)
    assert (tmp_path / "ratios.svg").read_text().startswith("<svg ") == bool(kernel["ratios"])
    assert "| sieve | memory |" in (tmp_path / "README.md").read_text()
