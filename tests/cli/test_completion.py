"""``wasmjit completion``: the scripts, and what they are told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wasmjit import Config
from wasmjit.cli import COMMANDS
from wasmjit.cli.build import TARGETS

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
Complete = Callable[..., "list[tuple[str, str]]"]
Words = Callable[..., "set[str]"]


@pytest.fixture
def complete(wasmjit: CommandLine) -> Complete:
    """Gives kind and word of each completion of the last of some words, as bash gets them."""

    def run(*words: str) -> list[tuple[str, str]]:
        variables = {"_WASMJIT_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(["wasmjit", *words])}
        done = wasmjit(env={**os.environ, **variables, "COMP_CWORD": str(len(words))})
        assert done.stderr == ""
        found = [tuple(line.split(",", 1)) for line in done.stdout.splitlines()]
        return [(kind, word) for kind, word in found]

    return run


@pytest.fixture
def words_for(complete: Complete) -> Words:
    return lambda *words: {word for _, word in complete(*words)}


def test_commands(words_for: Words) -> None:
    assert words_for("") == set(COMMANDS)
    assert words_for("co") == {"compile", "completion"}
    assert words_for("cache", "") == {"info", "clear", "path"}


def test_options(words_for: Words) -> None:
    assert {"--memory-reservation", "--memory-guard-size"} == words_for("run", "--memory")
    assert words_for("run", "--tier", "") == {"baseline", "optimized", "auto"}
    assert words_for("compile", "--target", "aarch64") == {name for name in TARGETS if name.startswith("aarch64")}
    assert words_for("completion", "") == {"bash", "zsh", "fish"}


def test_groups(words_for: Words) -> None:
    proposals = {name.replace("_", "-") for name in Config().features.__dataclass_fields__}
    assert proposals <= words_for("run", "-W", "")
    assert words_for("run", "-W", "custom") == {"custom-page-sizes"}
    assert words_for("run", "-O", "memory-i") == {"memory-init-cow"}


def test_files(complete: Complete) -> None:
    assert complete("run", "ex") == [("file", "ex")]
    assert complete("run", "prog.wasm", "ar") == [("file", "ar")]
    assert complete("run", "--dir", "d") == [("dir", "d")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(wasmjit: CommandLine, shell: str) -> None:
    done = wasmjit("completion", shell)
    assert (done.returncode, done.stderr) == (0, "") and f"_WASMJIT_COMPLETE={shell}_complete" in done.stdout
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=done.stdout, text=True).returncode == 0


def test_in_a_shell(wasmjit: CommandLine, tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    script = tmp_path / "completion.sh"
    script.write_text(wasmjit("completion", "bash").stdout)
    launcher = tmp_path / "wasmjit"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m wasmjit "$@"\n')
    launcher.chmod(0o755)
    program = (
        f'PATH="{tmp_path}:$PATH"; . "{script}"; COMP_WORDS=(wasmjit valid); COMP_CWORD=1;'
        ' _wasmjit_completion wasmjit; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "validate", done.stderr


def test_usage(wasmjit: CommandLine) -> None:
    assert wasmjit("completion").returncode == 2
    assert wasmjit("completion", "tcsh").returncode == 2
