"""A few of the random type sections; `python -m tests.fuzz.recursive_types` makes as many as wanted."""

from __future__ import annotations

import pytest

pytest.importorskip("wasmtime")

from tests.fuzz import recursive_types


@pytest.mark.parametrize(("first", "last"), [(0, 4), pytest.param(5, 39, marks=pytest.mark.slow)])
def test_type_sections_mean_what_they_do_in_wasmtime(first: int, last: int) -> None:
    compared = 0
    for seed in range(first, last + 1):
        count, difference = recursive_types.compare(seed)
        assert not difference, f"seed {seed}: {difference}"
        compared += count
    assert compared > 100


def test_mutants_of_type_sections_are_accepted_where_wasm_tools_accepts_them() -> None:
    assert recursive_types.mutants_of_sections(600, 1) == []
