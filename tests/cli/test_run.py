"""``wasmjit run``: programs, functions by name, their exit status, what they may see of the system."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
WriteWat = Callable[[str, str], Path]

FUNCTIONS = """(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "wide") (param i64) (result i64) (local.get 0))
  (func (export "half") (param f32) (result f32) (f32.mul (local.get 0) (f32.const 0.5)))
  (func (export "twice") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 2)))
  (func (export "pair") (result i32 i64) (i32.const 7) (i64.const -8))
  (func (export "nothing"))
  (func (export "same") (param externref) (result externref) (local.get 0))
  (func (export "trap") (unreachable))
  (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func $deep (export "deep") (call $deep) (call $deep)))"""

# Writes its first bytes of memory to stdout with fd_write, then exits with `CODE`.
PROGRAM = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\06\\00\\00\\00")
  (data (i32.const 16) "hello\\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.const CODE))))"""


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["add", "2", "3"], "5\n"),
        (["add", "0x7fffffff", "1"], "-2147483648\n"),
        (["add", "4294967295", "-1"], "-2\n"),
        (["wide", "18446744073709551615"], "-1\n"),
        (["half", "0.2"], "0.1\n"),
        (["half", "1e39"], "inf\n"),  # rounds, as any f32 operation
        (["twice", "0x1.8p1"], "6.0\n"),
        (["twice", "nan"], "nan\n"),
        (["pair"], "7\n-8\n"),
        (["nothing"], ""),
        (["same", "null"], "null\n"),
    ],
)
def test_invoke(wasmjit: CommandLine, write_wat: WriteWat, words: list[str], printed: str) -> None:
    write_wat("f.wat", FUNCTIONS)
    done = wasmjit("run", "--invoke", words[0], "f.wat", *words[1:])
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["add", "1"], "add takes 2 arguments (i32 i32), not 1"),
        (["add", "1", "x"], "'x' is not an i32"),
        (["add", "1", "4294967296"], "'4294967296' is not an i32"),
        (["half", "x"], "'x' is not an f32"),
        (["same", "3"], "externref cannot be given"),
        (["missing"], "no exported function 'missing'"),
    ],
)
def test_wrong_invocations_are_explained(
    wasmjit: CommandLine, write_wat: WriteWat, words: list[str], reason: str
) -> None:
    write_wat("f.wat", FUNCTIONS)
    done = wasmjit("run", "--invoke", words[0], "f.wat", *words[1:])
    assert done.returncode == 1
    assert done.stderr.startswith("wasmjit: error: ") and reason in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.part(2)
@pytest.mark.parametrize(
    "policy", [[], ["--explicit-checks"], ["-O0"], ["-O", "s"]], ids=["guard", "explicit", "O0", "Os"]
)
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["trap"], "unreachable"),
        (["divide", "1", "0"], "integer divide by zero"),
        (["divide", "-2147483648", "-1"], "integer overflow"),
        (["deep"], "call stack exhausted"),
    ],
    ids=["unreachable", "by-zero", "overflow", "stack"],
)
def test_a_trap_exits_with_134(
    wasmjit: CommandLine, write_wat: WriteWat, policy: list[str], words: list[str], reason: str
) -> None:
    write_wat("f.wat", FUNCTIONS)
    done = wasmjit("run", *policy, "--invoke", words[0], "f.wat", *words[1:])
    assert done.returncode == 134
    assert reason in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("code", "status"), [(0, 0), (1, 1), (7, 7), (255, 255), (256, 1), (513, 1)])
def test_exit_status_is_the_guests(wasmjit: CommandLine, write_wat: WriteWat, code: int, status: int) -> None:
    write_wat("p.wat", PROGRAM.replace("CODE", str(code)))
    done = wasmjit("run", "p.wat")
    assert (done.returncode, done.stdout, done.stderr) == (status if code != 513 else 1, "hello\n", "")


def test_run_may_be_left_out(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("p.wat", PROGRAM.replace("CODE", "3"))
    assert wasmjit("p.wat").returncode == 3


ARGUMENTS = """(module
  (import "wasi_snapshot_preview1" "NAME_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "NAME_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 1024) (i32.const 8192)))
    (i32.store (i32.const 16) (i32.const 8192))
    (i32.store (i32.const 20) (i32.load (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32)))))"""


def test_the_program_gets_its_arguments(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("a.wat", ARGUMENTS.replace("NAME", "args"))
    done = wasmjit("run", tmp_path / "a.wat", "one", "--two", "-O", "--", "three", "\u00e4")
    assert done.stdout == "a.wat\0one\0--two\0-O\0--\0three\0\u00e4\0"
    assert wasmjit("run", "--argv0", "prog", "a.wat").stdout == "prog\0"


def test_the_program_gets_only_the_environment_it_is_given(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("e.wat", ARGUMENTS.replace("NAME", "environ"))
    ours = {**os.environ, "FROM_US": "here"}
    done = wasmjit("run", "--env", "A=1", "--env", "B=x=y", "--env", "FROM_US", "e.wat", env=ours)
    assert done.stdout == "A=1\0B=x=y\0FROM_US=here\0"
    assert wasmjit("run", "e.wat", env=ours).stdout == ""
    refused = wasmjit("run", "--env", "NOT_THERE", "e.wat")
    assert refused.returncode == 1 and "NOT_THERE" in refused.stderr


def test_a_library_is_named_as_such(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("f.wat", FUNCTIONS)
    done = wasmjit("run", "f.wat")
    assert done.returncode == 1
    assert "has no _start" in done.stderr and "add" in done.stderr


def test_preload(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("f.wat", FUNCTIONS)
    write_wat(
        "user.wat",
        '(module (import "math" "add" (func $add (param i32 i32) (result i32)))'
        ' (func (export "inc") (param i32) (result i32) (call $add (local.get 0) (i32.const 1))))',
    )
    assert wasmjit("run", "--preload", "math=f.wat", "--invoke", "inc", "user.wat", "41").stdout == "42\n"
    missing = wasmjit("run", "--invoke", "inc", "user.wat", "41")
    assert missing.returncode == 1 and "math" in missing.stderr and "add" in missing.stderr
    wrong = wasmjit("run", "--preload", "math", "user.wat")
    assert wrong.returncode == 1 and "NAME=FILE" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["missing.wasm"], "missing.wasm"),
        (["."], "."),
        (["bad.wasm"], "bad.wasm"),
        (["--dir", "nowhere", "f.wat"], "nowhere is not a directory"),
        (["--dir", ".::/::rw", "f.wat"], "expected HOST"),
        (["--env", "=x", "f.wat"], "expected NAME=VALUE"),
    ],
)
def test_our_errors_exit_with_1(wasmjit: CommandLine, write_wat: WriteWat, words: list[str], reason: str) -> None:
    write_wat("f.wat", FUNCTIONS)
    write_wat("bad.wasm", "\0asm\1\0\0\0\1\0\0\0")
    done = wasmjit("run", *words)
    assert done.returncode == 1
    assert done.stderr.startswith("wasmjit: error: ") and reason in done.stderr and "Traceback" not in done.stderr


def test_wrong_usage_exits_with_2(wasmjit: CommandLine) -> None:
    for words in ([], ["unknown"], ["run"], ["run", "-O9", "x.wasm"], ["run", "--max-wasm-stack", "lots", "x.wasm"]):
        done = wasmjit(*words)
        assert done.returncode == 2 and "usage: wasmjit" in done.stderr


def test_interrupt_ends_a_running_program(write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("loop.wat", PROGRAM.replace("(call $exit (i32.const CODE))", "(loop (br 0))"))
    process = subprocess.Popen(
        [sys.executable, "-m", "wasmjit", "run", "loop.wat"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "hello\n"
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        assert time.monotonic() - started < 60
        assert process.returncode in (-signal.SIGINT, 130)
        assert "Traceback" not in errors
    finally:
        process.kill()


def test_a_closed_pipe_is_no_traceback(write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("p.wat", PROGRAM.replace("CODE", "0"))
    for words in (["run", "p.wat"], ["settings"]):
        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "wasmjit", *words],
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
            )
        finally:
            os.close(write_end)
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


ENDLESS = """(module (memory 1 100)
  (func (export "f") (loop br 0))
  (func (export "g") (result i32) (memory.grow (i32.const 9))))"""


def test_limits_of_a_run(wasmjit: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "endless.wat"
    path.write_text(ENDLESS)
    out_of_fuel = wasmjit("run", "--fuel", "10000", "--invoke", "f", path)
    assert out_of_fuel.returncode == 134 and "all fuel consumed" in out_of_fuel.stderr
    late = wasmjit("run", "--timeout", "0.05", "--invoke", "f", path)
    assert late.returncode == 134 and "interrupt" in late.stderr
    assert wasmjit("run", "--max-memory", "128k", "--invoke", "g", path).stdout.strip() == "-1"
    assert wasmjit("run", "--max-memory", "1m", "--invoke", "g", path).stdout.strip() == "1"
    too_small = wasmjit("run", "--max-memory", "1k", "--invoke", "g", path)
    assert too_small.returncode == 1 and too_small.stderr


def test_profiles(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("f.wat", FUNCTIONS)
    assert wasmjit("run", "--profile", "jitdump", "--invoke", "add", "f.wat", "1", "2").stdout == "3\n"
    (dump,) = tmp_path.glob("jit-*.dump")
    assert dump.read_bytes()[:4] == b"DTiJ" and b"wasm[0]::add\0" in dump.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-m", "wasmjit", "run", "--profile", "perfmap", "--invoke", "add", "f.wat", "1", "2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    )
    assert process.communicate(timeout=60)[0] == b"3\n"
    perf_map = Path(f"/tmp/perf-{process.pid}.map")
    try:
        assert re.fullmatch(r"[0-9a-f]+ [0-9a-f]+ wasm\[0\]::add", perf_map.read_text().splitlines()[0])
    finally:
        perf_map.unlink()
    assert wasmjit("run", "--profile", "gprof", "f.wat").returncode == 2


MAKES_DIRECTORY = """(module
  (import "wasi_snapshot_preview1" "path_create_directory" (func $make (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 0) "new")
  (func (export "f") (result i32) (call $make (i32.const 3) (i32.const 0) (i32.const 3))))"""


def test_directories_may_be_read_only(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("m.wat", MAKES_DIRECTORY)
    given = tmp_path / "given"
    given.mkdir()
    refused = wasmjit("run", "--dir", "given::/::ro", "--invoke", "f", "m.wat")
    assert refused.returncode == 0 and refused.stdout != "0\n" and not list(given.iterdir())
    for words in (["--dir", "given"], ["--dir=given::/x"]):
        assert wasmjit("run", *words, "--invoke", "f", "m.wat").stdout == "0\n"
        (given / "new").rmdir()


@pytest.mark.parametrize("command", [("run",), ("validate",), ("compile", "-o", "x.cwasm"), ("objdump",)])
def test_devices_are_not_read_for_ever(wasmjit: CommandLine, command: tuple[str, ...]) -> None:
    done = wasmjit(*command, "/dev/zero")
    assert done.returncode == 1 and "/dev/zero" in done.stderr and "Traceback" not in done.stderr


def test_limits_are_refused_where_they_are_wrong(wasmjit: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "endless.wat"
    path.write_text(ENDLESS)
    for option, value, reason in (
        ("--timeout", "1e30", "'1e30' is more than 1000000000 seconds"),
        ("--compile-timeout", "1e30", "'1e30' is more than 1000000000 seconds"),
        ("--fuel", str(1 << 64), f"'{1 << 64}' is more than {(1 << 64) - 1}"),
        ("--max-table-elements", str(1 << 64), f"'{1 << 64}' is more than {(1 << 64) - 1}"),
    ):
        done = wasmjit("run", option, value, "--invoke", "g", path)
        assert done.returncode == 2 and f"'{option}': {reason}" in done.stderr, done.stderr
    assert wasmjit("run", "--timeout", "1e9", "--fuel", str((1 << 64) - 1), "--invoke", "g", path).returncode == 0
