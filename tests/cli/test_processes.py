"""Each command in a Python of its own: other tests fork a process that has imported everything (tests/forked.py)."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forked import Forks
from wasmjit.cli import COMMANDS

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]

FILES = {
    "f.wat": '(module (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))',
    "trap.wat": '(module (func (export "f") unreachable))',
    "f.wast": '(module (func (export "f") (result i32) (i32.const 1))) (assert_return (invoke "f") (i32.const 1))',
}
LINES = {
    "run": "run --invoke f f.wat 1",
    "compile": "compile --no-cache f.wat -o made",
    "validate": "validate f.wat",
    "objdump": "objdump f.wat",
    "explore": "explore f.wat -o made",
    "wast": "wast f.wast",
    "settings": "settings",
    "cache": "cache path",
    "bench": "bench --quick --engine wasmjit --invoke f f.wat 1",
    "completion": "completion bash",
}
WRONG = {"a trap": "run --invoke f trap.wat", "no file": "validate missing", "no command": "unknown", "no words": ""}


@pytest.mark.part(4)
@pytest.mark.parametrize("line", [LINES.get(command, "") for command in COMMANDS] + list(WRONG.values()))
def test_forked_processes_do_as_others(wasmjit: CommandLine, forks: Forks, tmp_path: Path, line: str) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    made = tmp_path / "made"
    done = []
    assert forks.can(os.environ)
    if line.startswith("explore"):  # which shows how long making took what does not come from the cache
        wasmjit(*line.split())
    for options in ({}, {"timeout": 60}):  # which only a process of its own can have
        process = wasmjit(*line.split(), **options)
        said = "f.wat" if line.startswith("bench") else process.stdout  # times differ
        assert said in process.stdout
        # Times, again.
        written = re.sub(rb'"seconds":{.*?}', b"", made.read_bytes()) if made.exists() else None
        done.append((process.returncode, said, process.stderr, written))
        made.unlink(missing_ok=True)
    assert done[0] == done[1]
    assert (done[0][0] != 0) == (line in WRONG.values())


def test_forked_processes_have_their_own_variables_and_directory(wasmjit: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    environment = {**os.environ, "WASMJIT_CACHE_DIR": str(tmp_path / "other")}
    assert wasmjit("cache", "path", env=environment).stdout == f"{tmp_path / 'other'}\n"
    assert "Is a directory: 'here'" in wasmjit("validate", "here").stderr


def test_forked_processes_have_their_time(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "loop.wat").write_text('(module (func (export "f") (loop br 0)))')
    with pytest.raises(subprocess.TimeoutExpired):
        forks.run(["run", "--invoke", "f", "loop.wat"], os.environ, tmp_path, 0.1)
    assert forks.run(["validate", "loop.wat"], os.environ, tmp_path, 60).returncode == 0


def test_what_is_read_when_python_starts_needs_one_that_starts(forks: Forks) -> None:
    assert not forks.can({**os.environ, "PYTHONUTF8": "0"})
