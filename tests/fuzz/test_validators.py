"""A short run of `validators.py`; `make fuzz-validators` is the long form."""

from __future__ import annotations

import itertools

import pytest

from tests.fuzz.corpus import example_modules, seed_modules, smith_modules
from tests.fuzz.validators import (
    Base,
    Body,
    Tally,
    bases_of,
    compare,
    fuzz,
    instructions,
    kernels,
    random_modules,
    with_bodies,
)
from tests.unit.test_first_tier import spellings
from wasmjit.wasm.ops import OPS


@pytest.fixture(scope="module")
def bases() -> list[Base]:
    made = [*random_modules(3, 1), *smith_modules(20, 1)]
    return bases_of(kernels()[::6] + seed_modules() + example_modules(30_000) + made)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_mutants_are_taken_by_both_or_by_none(bases: list[Base], seed: int) -> None:
    total = Tally()
    for tally in itertools.islice(fuzz(bases, seed), 10):
        assert tally.disagreements == []
        total.accepted += tally.accepted
        total.refused += tally.refused
        total.missed += tally.missed
        total.reasons += tally.reasons
    assert total.accepted > 200  # not all of them are damaged beyond doubt,
    assert total.refused > 800
    assert len(total.reasons) > 60  # nor all alike
    assert total.missed == 0


def test_bodies_are_cut_into_instructions() -> None:
    for op in OPS.values():
        for spelled in spellings(op):
            cut = instructions(spelled, 0)
            assert b"".join(cut) == spelled, op.name


def test_bodies_that_are_put_together_again_are_the_same(bases: list[Base]) -> None:
    def whole(body: Body) -> tuple[int, bytes]:
        return body.position, body.head + b"".join(body.code)

    accepted = left = 0
    for base in bases:
        module, first = with_bodies(base.module, [whole(body) for body in base.bodies])
        tally = Tally()
        compare(module, tally, first)
        assert (tally.accepted + tally.left, tally.refused, tally.missed) == (len(base.bodies), 0, 0)
        accepted, left = accepted + tally.accepted, left + tally.left
        for number, body in enumerate(base.bodies):
            original, again = base.module.bodies[body.position], module.bodies[first + number]
            assert base.module.wasm[original.start : original.end] == module.wasm[again.start : again.end]
    assert accepted > 10 * left, "only bodies with exceptions are left to the walker"
