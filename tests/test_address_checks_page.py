"""The table of checks (docs/address-checks.md) is that of the rows, and no row rots: `make mutate` runs them."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_still_applies(row: Any) -> None:
    """Its text is there once, its place has that name, and its tests exist."""
    text = (ROOT / row.file).read_text()
    assert text.count(row.search) == 1, "the check has moved: its row in tools/check_mutations.toml has to follow"
    assert row.search != row.replace and re.search(rf"\b{row.where}\b", text)
    for test in row.tests:
        path, _, name = test.partition("::")
        assert f"\ndef {name.partition('[')[0]}(" in (ROOT / path).read_text(), test
