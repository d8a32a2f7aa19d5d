"""The code generator leaves out no load (`machine_loads`), which needs a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.fuzz.machine_loads import CPUS, GENERATORS
from wasmjit.target import host_machine

pytestmark = pytest.mark.skipif(host_machine() != "x86_64", reason="reads machine instructions of x86-64")


def lines_of(*arguments: str) -> list[str]:
    """What the command finds, and its summary."""
    command = [sys.executable, "-m", "tests.fuzz.machine_loads"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("cpu", "generators"),
    [("skylake-avx512", ["loops"]), *(pytest.param(cpu, GENERATORS, marks=pytest.mark.slow) for cpu in CPUS)],
)
def test_no_load_of_random_functions_is_left_out(cpu: str, generators: Sequence[str]) -> None:
    options = [word for generator in generators for word in ("--generator", generator)]
    lines = lines_of("--cpu", cpu, "--seed", "12", "--count", "1", *options)
    assert lines == [f"0 loads missing in {len(generators)} modules for 1 processors"]


@pytest.mark.slow
def test_it_finds_products_that_became_equal() -> None:
    """A comparison of them is nothing then, and loads of eight copies of a loop had gone with it."""
    lines = lines_of("--cpu", "haswell", "--seed", "12", "--count", "1", "--generator", "vanishing", "--plain")
    assert sum("f59 at 0x3889 not in the machine code" in line for line in lines) >= 7
