"""Programs leave nothing behind: memory and descriptors stay flat over many runs (`make soak` does it for longer)."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import soak

LEAK_BYTES = 64 << 10

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


@pytest.mark.parametrize("cycles", [300, pytest.param(800, marks=pytest.mark.slow)])
def test_cycles_leave_nothing_behind(root: Path, cycles: int) -> None:
    """In a process of its own, where no memory lies about that a leak could fill."""
    command = [sys.executable, root / "tools" / "soak.py", "--cycles", str(cycles), "--minutes", "0"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split()[0] == str(cycles)


def test_leaks_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kept: list[mmap.mmap] = []

    def leak() -> None:
        kept.append(mmap.mmap(-1, LEAK_BYTES))
        kept[-1].write(b"x" * LEAK_BYTES)

    monkeypatch.setattr(soak, "cycles_on", lambda directory: [leak])
    assert soak.main(["--cycles", "400", "--minutes", "0"]) == 1
    assert "grew by" in capsys.readouterr().err
    held: list[int] = []
    monkeypatch.setattr(soak, "cycles_on", lambda directory: [lambda: held.append(os.open(tmp_path, os.O_RDONLY))])
    monkeypatch.setattr(soak, "WARM_UP_CYCLES", 1)
    assert soak.main(["--cycles", "4", "--minutes", "0"]) == 1
    assert "and 3 descriptors" in capsys.readouterr().err
    for descriptor in held:
        os.close(descriptor)
