"""``wasmjit run -S threads``: programs that start threads."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
WriteWat = Callable[[str, str], Path]

# The first thread waits; what the second one does is in END. Nobody but the command makes the memory.
PROGRAM = """(module (import "env" "memory" (memory 1 4 shared)) (export "memory" (memory 0))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func (export "_start")
    (if (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0)) (then (call $exit (i32.const 77))))
    (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
  (func $second (export "wasi_thread_start") (param i32 i32) END))"""
RETURN = "(i32.atomic.store (i32.const 0) (i32.const 1)) (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))"


@pytest.mark.parametrize(
    ("options", "end", "code", "message"),
    [
        (["-S", "threads"], RETURN, 0, ""),
        (["-S", "threads"], "(call $exit (i32.const 3))", 3, ""),
        (
            ["-S", "threads"],
            "(unreachable)",
            134,
            "in thread 1 of the program: error while executing at wasm backtrace",
        ),
        (["-S", "threads", "--max-threads", "0"], RETURN, 77, ""),
        ([], RETURN, 1, "(it imports `wasi::thread-spawn`): allow that with -S threads"),
        (["-S", "threads", "-W", "threads=n"], RETURN, 1, "threads"),
        (["-S", "threads,cli=n"], RETURN, 1, "wasi-threads is part of WASI"),
    ],
)
def test_programs_with_threads(
    wasmjit: CommandLine, write_wat: WriteWat, options: list[str], end: str, code: int, message: str
) -> None:
    write_wat("t.wat", PROGRAM.replace("END", end))
    done = wasmjit("run", *options, "t.wat")
    assert done.returncode == code and message in done.stderr, done.stderr
    assert code == 1 or code == 134 or not done.stderr


def test_memories_of_modules_without_threads_are_left_alone(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("m.wat", '(module (import "env" "memory" (memory 1 4 shared)))')
    assert "unknown import: `env::memory`" in wasmjit("run", "m.wat").stderr
    write_wat("own.wat", '(module (memory (export "m") 1 4 shared) (func (export "f") (result i32) (memory.size)))')
    assert wasmjit("run", "-W", "shared-memory", "--invoke", "f", "own.wat").stdout == "1\n"


def test_objdump_and_explore_show_shared_memories_and_atomics(
    wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path
) -> None:
    text = """(module (import "env" "<m>" (memory 1 4 shared)) (memory 2 8 shared) (memory 1)
      (func (export "f") (param i32) (result i32) (i32.atomic.rmw.add (local.get 0) (i32.const 1))))"""
    write_wat("s.wat", text)
    lines = wasmjit("objdump", "s.wat").stdout.splitlines()
    assert lines[2:] == [
        "memory 0: shared, 1 to 4 pages, imported as env::<m>", "memory 1: shared, 2 to 8 pages, defined"
    ]  # fmt: skip
    output = tmp_path / "s.html"
    assert wasmjit("explore", "s.wat", "-o", str(output)).returncode == 0
    shown = output.read_text()
    assert "i32.atomic.rmw.add" in shown and "shared, 1 to 4 pages, imported as env::&lt;m&gt;" in shown
