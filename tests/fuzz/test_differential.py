"""A short run of `differential.py` in each mode; `make fuzz` has the long one."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("wasmtime")


@pytest.mark.parametrize("count", [3, pytest.param(80, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "tiers",
    [
        "exact,speed,explicit,none,artifact",
        "auto,hot,stencils,stencils-explicit,auto-explicit,hot-explicit",
        "stencils-metered",  # in which the oracle counts, too
    ],
)
def test_random_programs_behave_as_in_wasmtime(tiers: str, count: int) -> None:
    command = [sys.executable, "-m", "tests.fuzz.differential", "--count", str(count), "--tiers", tiers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
