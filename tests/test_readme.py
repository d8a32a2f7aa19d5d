"""What the README shows works as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The command lines after a prompt, without their comments."""
    lines = [line for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    return [line[2:].partition("#")[0].strip() for line in lines]


def test_the_library_example() -> None:
    (example,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60)
    expected = re.findall(r"print\(.*#\s*(.*)", example)
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (expected, "", 0)
    assert expected


def test_the_shell_examples(tmp_path: Path) -> None:
    # Elsewhere, because they write files. Programs may not follow links out of what they are given: README is copied.
    os.symlink(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "README.md", tmp_path)
    ours = [shlex.split(command)[1:] for command in commands() if command.startswith("wasmjit ")]
    assert len(ours) >= 4
    for words in ours:
        done = subprocess.run(
            [sys.executable, "-m", "wasmjit", *words],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, ""), words


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z0-9-]+)", TEXT))
    assert named >= {"demo", "test"} and named <= targets
