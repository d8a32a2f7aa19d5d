"""Damaged modules: accepted or refused as wasm-tools does, and never another exception than WasmError."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.corpus import example_modules, seed_modules, smith_modules, wasm_tools_mutants
from tests.fuzz.mutate import OPERATIONS, join_sections, mutants, mutate, split_sections
from tests.fuzz.oracle import disagreements, our_refusal, refused_by_wasm_tools, wasm_tools_refusal
from tests.wasm_bytes import HEADER
from wasmjit.errors import WasmError

SEED_MODULES = seed_modules()


@pytest.mark.parametrize("count", [400, pytest.param(3000, marks=pytest.mark.slow)])
def test_mutants_agree_with_wasm_tools(count: int) -> None:
    modules = list(mutants(SEED_MODULES + smith_modules(15, seed=11) + example_modules(10_000), count, seed=11))
    accepted = sum(our_refusal(wasm) is None for wasm in modules)
    assert count / 10 < accepted < count - count / 10  # the mutator neither destroys everything nor does nothing
    assert disagreements(modules) == []


@pytest.mark.parametrize("count", [100, pytest.param(300, marks=pytest.mark.slow)])
def test_mutants_of_wasm_tools_mutate_agree(count: int) -> None:
    modules = wasm_tools_mutants(SEED_MODULES + smith_modules(20, seed=12), count, seed=12)
    assert len(modules) > count / 3
    assert disagreements(modules) == []


def test_the_mutator_is_deterministic_and_uses_every_operation() -> None:
    first, second = (list(mutants(SEED_MODULES, 200, seed=5)) for _ in range(2))
    assert first == second
    assert first != list(mutants(SEED_MODULES, 200, seed=6))
    for operation in OPERATIONS:
        rng = random.Random(1)
        assert any(operation(wasm, rng) != wasm for wasm in SEED_MODULES for _ in range(3)), operation


def test_sections_split_and_join() -> None:
    for wasm in SEED_MODULES:
        assert join_sections(split_sections(wasm)) == wasm


def test_the_oracle_in_bulk_says_what_it_says_one_by_one() -> None:
    modules = [HEADER, *mutants(SEED_MODULES, 60, seed=8), b"", b"\0asm"]
    one_by_one = {i for i, wasm in enumerate(modules) if wasm_tools_refusal(wasm) is not None}
    assert refused_by_wasm_tools(modules) == one_by_one
    assert 0 < len(one_by_one) < len(modules)


def check_error(wasm: bytes) -> None:
    """Accepted, or a WasmError whose offset lies in the module."""
    error = our_refusal(wasm)
    if error is not None:
        assert isinstance(error, WasmError)
        assert error.offset is not None and 0 <= error.offset <= len(wasm), (error, wasm.hex())


quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@quick
@given(seed=st.integers(0, 2**32), module=st.sampled_from(SEED_MODULES), rounds=st.integers(1, 4))
def test_repeated_mutation_gives_only_wasm_errors(seed: int, module: bytes, rounds: int) -> None:
    rng = random.Random(seed)
    wasm = module
    for _ in range(rounds):
        check_error(wasm)
        try:
            wasm = mutate(wasm, rng)
        except (IndexError, ValueError):  # the mutator wants whole sections; what it was given is damaged already
            return
    check_error(wasm)


@quick
@given(
    module=st.sampled_from(SEED_MODULES),
    edits=st.lists(st.tuples(st.floats(0, 1), st.sampled_from("rid"), st.binary(min_size=1, max_size=6)), max_size=6),
)
def test_edited_bytes_give_only_wasm_errors(module: bytes, edits: list[tuple[float, str, bytes]]) -> None:
    wasm = bytearray(module)
    for place, kind, data in edits:
        at = 8 + int(place * max(0, len(wasm) - 8))
        if kind == "r":
            wasm[at : at + len(data)] = data
        elif kind == "i":
            wasm[at:at] = data
        else:
            del wasm[at : at + len(data)]
    check_error(bytes(wasm))


@quick
@given(sections=st.lists(st.tuples(st.integers(0, 14), st.binary(max_size=40)), max_size=6))
def test_random_sections_give_only_wasm_errors(sections: list[tuple[int, bytes]]) -> None:
    check_error(join_sections(sections))


@quick
@given(body=st.binary(max_size=60))
def test_random_bodies_give_only_wasm_errors(body: bytes) -> None:
    sections = [
        (number, contents) if number != 10 else (10, b"\1" + bytes([len(body) + 1]) + b"\0" + body)
        for number, contents in split_sections(SEED_MODULES[4])
    ]
    check_error(join_sections(sections))


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_truncated_seeds(length: int) -> None:
    for wasm in SEED_MODULES:
        check_error(wasm[:-length] if length else wasm)
