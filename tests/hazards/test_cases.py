"""Each case of `cases.toml` has tests that exist, and each runnable case found beside the repository is there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).resolve().parents[2]
CASES: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("cases.toml").read_text())


@pytest.mark.parametrize("case", CASES)
def test_the_tests_of_a_case_exist(case: str) -> None:
    assert CASES[case]
    for name in CASES[case]:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


def test_no_case_is_without_tests() -> None:
    found = ROOT.parent / "shared" / "cases"
    if not found.is_dir():
        pytest.skip("the cases are not here")
    assert {path.name for path in found.iterdir() if path.suffix in (".c", ".py", ".wat")} <= CASES.keys()
