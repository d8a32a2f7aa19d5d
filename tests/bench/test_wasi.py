"""The WASI benchmark runs, and measures both packages on the same work."""

from __future__ import annotations

import pytest

from bench import wasi


def test_every_case_runs_under_both_packages(capsys: pytest.CaptureFixture[str]) -> None:
    figures = wasi.main(["--quick"])
    assert list(figures) == [case.name for case in wasi.CASES]
    assert all(set(seconds) == {"wasmjit", "wasmtime"} for seconds in figures.values())
    printed = capsys.readouterr().out
    assert all(case.name in printed for case in wasi.CASES) and "GB/s" in printed and "µs" in printed


def test_an_error_code_is_not_taken_for_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = wasi.Case("closed", "(call $fd_close (i32.const 77))", 10)
    monkeypatch.setattr(wasi, "CASES", (wrong,))
    with pytest.raises(RuntimeError, match="closed: error 8"):
        wasi.main(["--quick"])
