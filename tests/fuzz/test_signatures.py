"""A short run of `signatures.py`; `make fuzz` has the long one."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("wasmtime")
pytest.importorskip("numpy")


@pytest.mark.parametrize(
    ("seed", "tier"), [(1, "optimized"), pytest.param(2, "optimized", marks=pytest.mark.slow), (3, "auto")]
)
def test_values_of_random_signatures_arrive_as_they_left(seed: int, tier: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz.signatures", "--count", "40", "--rounds", "3", "--seed", str(seed)]
    command += ["--tier", tier]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 signatures" in done.stdout
