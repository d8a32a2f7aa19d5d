"""A short run of `tail_calls.py` in each mode; and that its programs compile for the other architecture."""

from __future__ import annotations

from unittest import mock

import pytest

pytest.importorskip("wasmtime")

from tests.fuzz.loops_run import CHANGED, NEVER, become_eager
from tests.fuzz.tail_calls import Program, compare
from wasmjit import Config, Engine, Module, thresholds
from wasmjit.compile import tail_calls

# LLVM takes a tenth of a second for each. Every other one goes deep.
SEEDS = pytest.mark.parametrize("num_seeds", [2, pytest.param(16, marks=pytest.mark.slow)])


@pytest.mark.part(3)
@SEEDS
@pytest.mark.parametrize("unit_bytes", [300, 96 << 10])
@pytest.mark.parametrize(
    "options",
    [{}, {"opt_level": "none", "signals_based_traps": False}, {"exact_traps": True}],
    ids=["speed", "none, explicit checks", "exact traps"],
)
def test_random_tail_calls_behave_as_in_wasmtime(options: dict[str, object], unit_bytes: int, num_seeds: int) -> None:
    for seed in range(unit_bytes, unit_bytes + num_seeds):
        deep = seed % 2 == 1
        counts = (0, 1, 10, 30, 50_000) if deep else (0, 1, 10, 30)
        assert not compare(seed, Config(**options), unit_bytes, counts, deep), seed


@pytest.mark.part(2)
@SEEDS
@pytest.mark.parametrize("budget", [NEVER, 1, 3, 20])
@pytest.mark.parametrize("options", [{}, {"consume_fuel": True}], ids=["plain", "fuel"])
@pytest.mark.parametrize("has_stencils", [False, True], ids=["words", "stencils"])
def test_random_tail_calls_in_the_first_tier(
    budget: int, options: dict[str, object], has_stencils: bool, num_seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the interpreter, or code from stencils, of some; in compiled code once they are hot."""
    for owner, name in CHANGED:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    become_eager()
    thresholds.INTERPRETER_BUDGET = budget
    thresholds.STENCILS = has_stencils
    for seed in range(700 + budget % 100, 700 + budget % 100 + num_seeds):
        thresholds.REGISTER_SEED = seed % 3
        deep = seed % 2 == 1
        counts = (0, 1, 10, 30, 50_000) if deep else (0, 1, 10, 30)
        assert not compare(seed, Config(tier="auto", **options), 96 << 10, counts, deep), seed


@SEEDS
@pytest.mark.parametrize("options", [{}, {"opt_level": "none"}], ids=["speed", "none"])
def test_random_tail_calls_that_share_their_jumps(
    options: dict[str, object], num_seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of functions that make hundreds."""
    monkeypatch.setattr(tail_calls, "_MOST_TAIL_CALLS", 0)
    for seed in range(500, 500 + num_seeds):
        deep = seed % 2 == 1
        counts = (0, 1, 10, 30, 50_000) if deep else (0, 1, 10, 30)
        assert not compare(seed, Config(tier="optimized", **options), 96 << 10, counts, deep), seed


def test_results_of_host_functions_wrap_as_i64() -> None:
    """Sums that do not fit were an OverflowError, of the harness's making."""
    assert not compare(22, Config(tier="optimized", opt_level="none"), 96 << 10, (0, 1, 3, 10, 30), False)


@SEEDS
@pytest.mark.parametrize("level", ["none", "speed"])
def test_random_tail_calls_compile_for_aarch64(level: str, num_seeds: int) -> None:
    engine = Engine(Config(target="aarch64-unknown-linux-gnu", opt_level=level, verify_ir=True))
    for seed in range(num_seeds):
        with mock.patch("wasmjit.thresholds.UNIT_BODY_BYTES", 300):
            for text in Program(seed, deep=True).modules:
                assert Module(engine, text).serialize()
