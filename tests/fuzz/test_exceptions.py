"""Random programs that throw and catch, beside wasmtime: a few, or many."""

from __future__ import annotations

import pytest

import wasmjit
from tests.fuzz.exceptions import TIERS, Generator, outcomes

wasmtime = pytest.importorskip("wasmtime")


@pytest.mark.parametrize(
    ("first", "count", "tiers"),
    [(1, 2, ("none", "speed")), pytest.param(100, 60, tuple(TIERS), marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_random_programs(first: int, count: int, tiers: tuple[str, ...]) -> None:
    for seed in range(first, first + count):
        config = wasmtime.Config()
        config.wasm_exceptions = True
        wasm = bytes(wasmjit.wat2wasm(Generator(seed).module()))
        theirs = outcomes(wasmtime, config, wasm, seed)
        for tier in tiers:
            assert outcomes(wasmjit, wasmjit.Config(**TIERS[tier]), wasm, seed) == theirs, (seed, tier)
