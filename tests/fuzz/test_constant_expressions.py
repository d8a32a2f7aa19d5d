"""Constant expressions have the values that they have under wasmtime, in all tiers."""

from __future__ import annotations

import pytest

from .constant_expressions import disagreements, text_of


def test_constant_expressions_have_the_same_values() -> None:
    assert disagreements(range(1, 9)) == []


@pytest.mark.slow
def test_more_constant_expressions_have_the_same_values() -> None:
    assert disagreements(range(1000, 1200)) == []


def test_the_modules_have_what_they_are_for() -> None:
    texts = [text_of(seed) for seed in range(1, 25)]
    assert sum("i32.mul" in text and "i64.sub" in text for text in texts) > 10
    assert sum("(item global.get" in text for text in texts) > 3
