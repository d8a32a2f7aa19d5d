"""A short run of `differential.py` in each mode; `make fuzz` has the long one."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("wasmtime")


@pytest.mark.parametrize(
    "options",
    [
        ("--exact-traps",),
        (),
        ("--opt-level=none", "--explicit-checks"),
        ("--opt-level=none", "--through-artifact"),
        ("--interpret", "--exact-traps"),
    ],
    ids=" ".join,
)
def test_random_programs_behave_as_in_wasmtime(options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "tests.fuzz.differential", "--count", "40", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
