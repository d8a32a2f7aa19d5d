"""A short run of `tier_changes.py`, in which activations go over in the middle; and that it notices what goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

pytest.importorskip("wasmtime")

from tests.fuzz.tier_changes import Handed, Program, Round
from wasmjit.compile.loop_entry import LoopEntryLowering

WAIT_SECONDS = 120


@pytest.fixture()
def handed() -> Iterator[Handed]:
    handed = Handed()
    with handed.counting():
        yield handed


@pytest.mark.parametrize(
    ("configuration", "extreme"), [("default", "ordinary"), pytest.param("fuel", "all", marks=pytest.mark.slow)]
)
def test_what_changes_its_tier_goes_on_as_it_should(handed: Handed, configuration: str, extreme: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    for seed in range(10, 100):
        one = Round(seed, handed, configuration, extreme)
        one.run(programs=1, threads=2)
        assert not one.odd
        assert one.executions == 4
        if handed.count or time.monotonic() > end:
            break
    assert handed.count


@pytest.mark.slow
def test_wrong_code_of_a_loop_is_noticed(handed: Handed, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes a local from where another is."""
    right = LoopEntryLowering.local_definition

    def wrong(lowering: LoopEntryLowering, index: int) -> str:
        text = right(lowering, index)
        counter = 4 + 8  # behind the parameters and `LOCALS`: the outermost loop's
        offsets = lowering.frame_offsets
        return text.replace(f"i64 {offsets[counter]}", f"i64 {offsets[1]}") if index == counter else text

    monkeypatch.setattr(LoopEntryLowering, "local_definition", wrong)
    end = time.monotonic() + WAIT_SECONDS
    for seed in range(200, 300):
        one = Round(seed, handed, "default", "no patience")
        one.run(programs=1, threads=2)
        if one.odd or time.monotonic() > end:
            break
    assert one.odd


def test_programs_are_the_same_each_time() -> None:
    assert Program(3).wasm == Program(3).wasm != Program(4).wasm
