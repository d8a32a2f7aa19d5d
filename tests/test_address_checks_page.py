"""The table of checks (docs/address-checks.md) is that of the rows, and no row rots: `make mutate` runs them, all."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.rows import for_each

ROOT = Path(__file__).resolve().parent.parent


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutate_checks", ROOT / "tools" / "mutate_checks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutate_checks"] = module
    spec.loader.exec_module(module)
    return module


TOOL = _tool()
ROWS = TOOL.read_rows()


def test_the_page_has_the_rows() -> None:
    assert TOOL.PAGE.read_text() == TOOL.page_text(ROWS), "run python tools/mutate_checks.py --docs"


def test_rows_have_names_of_their_own() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS) > 100


@for_each(ROWS, lambda row: row.id)
def test_a_row_still_applies(row: Any) -> None:
    """Its text is there once, its place has that name, and its tests exist."""
    text = (ROOT / row.file).read_text()
    assert text.count(row.search) == 1, "the check has moved: its row in tools/check_mutations.toml has to follow"
    assert row.search != row.replace and re.search(rf"\b{row.where}\b", text)
    for test in row.tests:
        path, _, name = test.partition("::")
        assert f"\ndef {name.partition('[')[0]}(" in (ROOT / path).read_text(), test


class _Tree:
    """In place of a copy of the repository: the first row survives, all other tests fail."""

    tried: list[str]

    def __init__(self, directory: Path) -> None:
        pass

    def run_tests(self, tests: list[str], seconds: int = 0) -> Any:
        _Tree.tried.append("tests")
        return type("done", (), {"returncode": 0})

    def try_row(self, row: Any) -> str:
        _Tree.tried.append(row.id)
        return str(TOOL.NOT_HELD if row is ROWS[0] else TOOL.HELD)


def test_a_run_tells_of_all_rows_and_begins_again_with_those_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TOOL, "Tree", _Tree)
    path = tmp_path / "outcomes.jsonl"
    _Tree.tried = []
    assert TOOL.mutate(ROWS, 2, TOOL.Outcomes(path, "tree")) == 1
    assert sorted(_Tree.tried) == sorted(["tests", *(row.id for row in ROWS)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:-2]] == [f"{row.id}:" for row in ROWS]
    assert lines[-2:] == [f"not held: {ROWS[0].id}", f"{len(ROWS) - 1} of {len(ROWS)} checks are held by a test"]

    _Tree.tried = []
    assert TOOL.mutate(ROWS, 2, TOOL.Outcomes(path, "tree")) == 1
    assert _Tree.tried == [ROWS[0].id]
    assert capsys.readouterr().out.splitlines()[-1] == lines[-1]

    for outcomes in (TOOL.Outcomes(path, "another tree"), TOOL.Outcomes(path, "tree", anew=True)):
        assert not outcomes.held and not outcomes.passed


def test_copies_that_are_built_at_once_leave_the_output_alone(tmp_path: Path) -> None:
    """Two threads that each replaced ``sys.stdout`` left it replaced: what was printed later was lost."""
    before = sys.stdout
    targets = [tmp_path / f"{number}.c" for number in range(2)]
    with ThreadPoolExecutor() as pool:
        done = [pool.submit(TOOL.generate, ROOT / "runtime_c", target) for target in targets]
        while not all(one.done() for one in done):
            assert sys.stdout is before
    assert targets[0].read_bytes() == targets[1].read_bytes() != b""


def test_each_machine_has_its_own_rows() -> None:
    """Those of another machine's code cannot be held here."""
    emulated = TOOL.choose(ROWS, [], emulated=True)
    own = TOOL.choose(ROWS, [], emulated=False)
    assert {row.machine for row in emulated} == {"aarch64"}
    assert all("x86_64" not in row.file for row in emulated)
    assert {row.machine for row in own} <= {"", platform.machine()}
    assert len(own) > 100
    named = TOOL.choose(ROWS, ["stencil-narrow"], emulated=True)
    assert {row.machine for row in named} == {"", "aarch64"}
    for row in ROWS:
        for machine in ("x86_64", "aarch64"):
            assert f"stencil_{machine}" not in row.file or row.machine == machine
