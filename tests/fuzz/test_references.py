"""References to functions are what they are under wasmtime, in all tiers."""

from __future__ import annotations

from .references import disagreements, engines


def test_references_are_used_alike() -> None:
    all_engines = engines()
    assert [found for seed in range(1, 7) for found in disagreements(seed, all_engines)] == []
