"""A few of the random worlds of modules; `python -m tests.fuzz.type_worlds` makes as many as wanted."""

from __future__ import annotations

import pytest

pytest.importorskip("wasmtime")

from tests.fuzz import type_worlds


@pytest.mark.parametrize(("first", "last"), [(1, 2), pytest.param(3, 8, marks=pytest.mark.slow)])
def test_modules_share_functions_as_under_wasmtime(first: int, last: int) -> None:
    compared = 0
    for seed in range(first, last + 1):
        count, found = type_worlds.compare(seed)
        assert not found, found
        compared += count
    assert compared > 1000
