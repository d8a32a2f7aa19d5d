"""Addresses and offsets at every edge, with a canary in the host's memory around (tests/fuzz/address_forms.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import address_forms
from tests.fuzz.address_forms import INSTRUCTIONS, LAYOUTS, Contents, sample
from wasmjit.wasm.ops import ATOMIC, OPS

pytestmark = pytest.mark.usefixtures("interpreted")


@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("tier", "canary"), [("auto", "mapped"), ("baseline", "none"), ("optimized", "mapped")])
def test_every_address_form_stays_inside(tier: str, canary: str, count: int, root: Path) -> None:
    """A part of what ``python -m tests.fuzz.address_forms --all`` does, the same in every run."""
    command = [sys.executable, "-m", "tests.fuzz.address_forms", "--in-process", "--instructions", str(count)]
    command += ["--tier", tier, "--canary", canary]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "all as expected" in done.stdout


def test_every_load_and_store_is_tried() -> None:
    """With the sizes that the table of instructions has."""
    # Those of atomic instructions: tests/unit/test_atomics.py.
    rows = {op.name: op.access_bytes for op in OPS.values() if op.access_bytes and op.kind != ATOMIC}
    assert {access.name: access.access_bytes for access in INSTRUCTIONS} == rows


def test_the_canary_ends_with_the_address_space() -> None:
    """Memories are that near to its end now and then, as the system places them."""
    end = address_forms.END_OF_USER_SPACE
    assert all(high <= end for _, high in address_forms.gaps([end - (1 << 32)]))


def test_the_canary_sees_what_leaves_the_memory(root: Path) -> None:
    """A program that looks and writes behind a memory by itself is found out. And a mapping that another thread makes
    where the canary was to be is left alone: it was an error."""
    program = """
import ctypes, mmap
from tests.fuzz import address_forms
from tests.fuzz.address_forms import LAYOUTS, Canary, Program
gaps, listed, taken = address_forms.gaps, [], []
def gaps_and_another_mapping(bases):
    listed.append(gaps(bases))
    if not taken:
        taken.append(mmap.mmap(-1, 1 << 20))
        taken.append(ctypes.addressof(ctypes.c_char.from_buffer(taken[0])))
    return listed[-1]
address_forms.gaps = gaps_and_another_mapping
program = Program(LAYOUTS["checked"], "baseline", [])
canary = Canary("mapped")
canary.fill([program.base()])
assert any(low <= taken[1] < high for low, high in listed[0]) and len(listed) > 1
assert not any(low <= taken[1] < high for low, high in canary.filled) and taken[0][0] == 0
assert sum(high - low for low, high in canary.filled) > 1 << 34
start = next(high - 8 for low, high in canary.filled if high > program.base() - (8 << 30))
behind = ctypes.c_uint64.from_address(start)
assert canary.is_intact()
assert behind.value == 0x59524E41435F5957, hex(behind.value)
behind.value = 1
assert not canary.is_intact()
print("seen")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=100)
    assert done.stdout == "seen\n", done.stderr


def test_the_model_agrees_with_wasmtime() -> None:
    """What is expected of wasmjit is what the wasmtime package does."""
    layouts = [LAYOUTS[name] for name in ("guarded", "guarded-grown", "guarded-large", "wide", "wide-grown")]
    assert not address_forms.check_model(layouts, lambda layout: sample(layout, 5, seed=2))


def test_the_pattern_tells_places_apart() -> None:
    """Wrapped addresses would go unnoticed if contents were alike."""
    contents = Contents(1 << 32)
    pieces = [contents.at(start, 16) for start in (0, 1, 4096, 65536, 1 << 31, (1 << 32) - 16)]
    assert len(set(pieces)) == len(pieces)
