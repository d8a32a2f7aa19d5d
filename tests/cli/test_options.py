"""Options: both parsers agree, groups, names of wasmtime's, help, errors in colour."""

from __future__ import annotations

import io
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmjit import CompileProgress, Config, Engine, Module, WasmError
from wasmjit.cli import COMMANDS, click_commands, commands, console, groups, rows, run_rows
from wasmjit.cli.options import ENGINE_ROWS, config_from

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
WriteWat = Callable[[str, str], Path]

SEVEN = '(module (func (export "f") (result i32) (i32.const 7)))'


# ---- two parsers, one meaning ----
def by_click(words: list[str]) -> SimpleNamespace | None:
    """The arguments as click understands them, None for wrong usage and help."""
    seen: list[SimpleNamespace] = []
    command = click_commands.make(
        "run", lambda arguments: seen.append(arguments) or 0, run_rows.ROWS, "", passes_words=True
    )
    try:
        command.main(words, standalone_mode=False)
    except commands.click.ClickException:
        return None
    return seen[0] if seen else None


WORDS = [
    "--fuel", "--fuel=7", "7", "-1", "--timeout", "2s", "--dir", ".", "--dir=a::b", "--env", "A=1", "-O2", "-O", "-Os",
    "-O9", "-W", "simd=n", "-Wsimd=n,threads=y", "help", "-S", "inherit-env", "--allow-precompiled", "-g", "-gO2",
    "--allow-precompiled=y", "--exact-traps", "--", "-", "--unknown", "-x", "--profile", "perfmap", "--profile=other",
    "--invoke", "f", "file.wasm", "--help", "--max-memory", "1m", "--config", "x.toml", "--no-cache", "",
    "--optimize=0", "-C", "cache=n", "-D", "debug-info", "--preload", "n=f", "--tier", "auto", "--argv0=",
]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=7))
@settings(max_examples=200, deadline=None)
def test_what_is_parsed_quickly_is_what_click_says(words: list[str]) -> None:
    quick = rows.parse_quickly(run_rows.ROWS, words)
    if quick is not None:
        assert by_click(words) == quick


@pytest.mark.parametrize(
    "words",
    [
        ["file.wasm"],
        ["--dir", "a", "--dir=b", "-O2", "-W", "simd=n", "--fuel", "0x10", "file.wasm", "--fuel", "x"],
        ["--timeout=1.5", "-g", "--", "-file", "--"],
        ["--env", "--dir", "-"],
    ],
)
def test_plain_command_lines_need_no_click(words: list[str]) -> None:
    quick = rows.parse_quickly(run_rows.ROWS, words)
    assert quick is not None and quick == by_click(words)


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["-W", "help", "f"], ["--fuel", "x", "f"], ["--fuel"], ["-gO2", "f"]]
)
def test_the_rest_is_left_to_click(words: list[str]) -> None:
    assert rows.parse_quickly(run_rows.ROWS, words) is None


# ---- values ----
@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (rows.size_bytes, "0", 0),
        (rows.size_bytes, "64K", 65536),
        (rows.size_bytes, "512Mi", 512 << 20),
        (rows.size_bytes, "0x1f", 31),
        (rows.size_bytes, "1MiB", 1 << 20),
        (rows.duration_seconds, "2s", 2.0),
        (rows.duration_seconds, "0.5", 0.5),
        (rows.duration_seconds, "3m", 180.0),
        (rows.duration_seconds, "250ms", 0.25),
        (rows.integer, "0x10", 16),
        (rows.positive, "1", 1),
    ],
)
def test_values(kind: Callable[[str], object], text: str, value: object) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (rows.size_bytes, "lots"),
        (rows.size_bytes, "-1"),
        (rows.size_bytes, ""),
        (rows.size_bytes, "1t"),
        (rows.duration_seconds, "0"),
        (rows.duration_seconds, "-1s"),
        (rows.duration_seconds, "inf"),
        (rows.duration_seconds, "nan"),
        (rows.duration_seconds, "soon"),
        (rows.integer, "-1"),
        (rows.positive, "0"),
    ],
)
def test_values_that_are_none(kind: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        kind(text)


# ---- groups ----
def config_of(*words: str) -> Config:
    quick = rows.parse_quickly(ENGINE_ROWS, [*words, "f"])
    assert quick is not None
    return config_from(quick)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["-O0"], "opt_level", "none"),
        (["-O", "opt-level=s"], "opt_level", "speed_and_size"),
        (["-O", "3"], "opt_level", "speed"),
        (["--opt-level", "none"], "opt_level", "none"),
        (["--optimize", "speed,memory-reservation=1g"], "memory_reservation", 1 << 30),
        (["-O", "static-memory-maximum-size=65536"], "memory_reservation", 65536),
        (["-O", "dynamic-memory-guard-size=64k"], "memory_guard_size", 65536),
        (["-O", "memory-may-move=n"], "memory_may_move", False),
        (["-O", "memory_init_cow=n"], "memory_init_cow", False),
        (["-O", "signals-based-traps=n"], "signals_based_traps", False),
        (["-O", "tier=auto"], "tier", "auto"),
        (["-C", "compiler=cranelift"], "strategy", "cranelift"),
        (["-C", "cache=n"], "cache", True),  # `run` looks at it
        (["-C", "cache-config=/somewhere"], "cache", "/somewhere"),
        (["-C", "cpu-features=+avx2,-fma"], "cpu_features", "+avx2,-fma"),
        (["-C", "cranelift-has-avx2"], "cpu_features", "+avx2"),
        (["-C", "cranelift-debug-verifier"], "verify_ir", True),
        (["-C", "parallel-compilation=n"], "parallel_compilation", False),
        (["-D", "debug-info"], "debug_info", True),
        (["-g"], "debug_info", True),
        (["-D", "address-map=n"], "generate_address_map", False),
        (["-W", "nan-canonicalization=y"], "nan_canonicalization", True),
        (["-W", "max-wasm-stack=0x10000"], "max_wasm_stack", 65536),
        (["--explicit-checks"], "signals_based_traps", False),
        (["--no-cache"], "cache", False),
        ([], "cache", True),
        (["-W", "simd=n", "-W", "simd=y"], "wasm_simd", True),
    ],
)
def test_groups_set_options(words: list[str], name: str, value: object) -> None:
    assert getattr(config_of(*words), name) == value


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("-Opooling-allocator", "no pooling allocator"),
        ("-Opooling-total-memories=3", "no pooling allocator"),
        ("-Oregalloc-algorithm=single-pass", "LLVM chooses"),
        ("-Ccollector=null", "garbage collector"),
        ("-Ccompiler=winch", "no winch"),
        ("-Dcoredump=x", "no core dumps"),
        ("-Wwmemcheck", "checker"),
        ("-Wcomponent-model-async", "component model"),
        ("-Shttp", "preview 2"),
        ("-Snn", "wasi-nn"),
        ("-Rpath=x", "cannot be recorded"),
    ],
)
def test_what_wasmtime_has_and_we_do_not_is_said(wasmjit: CommandLine, option: str, reason: str) -> None:
    done = wasmjit("run", option, "x.wasm")
    assert done.returncode == 2 and reason in done.stderr
    assert "has no equivalent" in done.stderr or "no winch" in done.stderr


@pytest.mark.parametrize("letter", "OCDWS")
def test_help_of_groups(wasmjit: CommandLine, letter: str) -> None:
    done = wasmjit("run", f"-{letter}", "help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split("=")[0].strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert set(groups.entries(letter)) <= set(listed)
    assert "without an equivalent" in done.stdout


def test_an_unknown_option_of_a_group(wasmjit: CommandLine) -> None:
    done = wasmjit("run", "-O", "fast", "x.wasm")
    assert done.returncode == 2 and "unknown option 'fast' (`-O help` lists them)" in done.stderr
    assert wasmjit("run", "-C", "cranelift-no-such-flag=1", "x.wasm").returncode == 1


# ---- what groups do to a run ----
GROWS = '(module (memory 1) (func (export "f") (result i32) (memory.grow (i32.const 9))))'
IMPORTS = """(module (import "env" "f" (func $f (result i32)))
  (func (export "calls") (result i32) (call $f)) (func (export "does not") (result i32) (i32.const 3)))"""


def test_limits_by_group(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("loop.wat", '(module (func (export "f") (loop br 0)))')
    write_wat("grow.wat", GROWS)
    assert "all fuel consumed" in wasmjit("run", "-W", "fuel=1000", "--invoke", "f", "loop.wat").stderr
    late = wasmjit("run", "-Wtimeout=50ms", "--invoke", "f", "loop.wat")
    assert late.returncode == 134 and "interrupt" in late.stderr
    assert wasmjit("run", "-W", "max-memory-size=128k", "--invoke", "f", "grow.wat").stdout == "-1\n"
    assert wasmjit("run", "-W", "max-memories=0", "--invoke", "f", "grow.wat").returncode == 1
    # wasmtime's holds for each memory, ours for all together: both hold.
    for each, together, grown in (("128k", "1m", "-1\n"), ("1m", "128k", "-1\n"), ("1m", "1m", "1\n")):
        limits = ("-W", f"max-memory-size={each}", "--max-memory", together)
        assert wasmjit("run", *limits, "--invoke", "f", "grow.wat").stdout == grown


def test_unknown_imports(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("i.wat", IMPORTS)
    assert wasmjit("run", "--invoke", "does not", "i.wat").returncode == 1
    traps = ("run", "-W", "unknown-imports-trap", "--invoke")
    assert wasmjit(*traps, "does not", "i.wat").stdout == "3\n"
    called = wasmjit(*traps, "calls", "i.wat")
    assert called.returncode == 1 and "`env::f` has not been defined" in called.stderr
    assert wasmjit("run", "-W", "unknown-imports-default", "--invoke", "calls", "i.wat").stdout == "0\n"


def test_epochs_do_not_end_a_run(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("m.wat", SEVEN)
    assert wasmjit("run", "-W", "epoch-interruption", "--invoke", "f", "m.wat").stdout == "7\n"


WASI = """(module
  (import "wasi_snapshot_preview1" "NAME" (func $f (param PARAMS) (result i32)))
  (memory (export "memory") 1)
  (func (export "f") (result i64) (drop (call $f ARGUMENTS)) (i64.load (i32.const 8))))"""


def test_wasi_group(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    arguments = "(i32.const 8) (i32.const 8)"
    program = WASI.replace("NAME", "random_get").replace("PARAMS", "i32 i32").replace("ARGUMENTS", arguments)
    write_wat("random.wat", program)
    refused = wasmjit("run", "-S", "cli=n", "--invoke", "f", "random.wat")
    assert refused.returncode == 1 and "unknown import" in refused.stderr
    same = {wasmjit("run", "-S", "deterministic", "--invoke", "f", "random.wat").stdout for _ in range(2)}
    assert len(same) == 1
    assert wasmjit("run", "--invoke", "f", "random.wat").stdout not in same


def test_inherit_env(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    arguments = "(i32.const 8) (i32.const 12)"
    program = WASI.replace("NAME", "environ_sizes_get").replace("PARAMS", "i32 i32").replace("ARGUMENTS", arguments)
    write_wat("env.wat", program)

    def count(*words: str) -> int:
        return int(wasmjit("run", *words, "--invoke", "f", "env.wat").stdout) & 0xFFFFFFFF

    assert count() == 0
    assert count("--env", "A=1") == 1
    inherited = count("-S", "inherit-env")
    assert inherited >= len(os.environ)  # Python may have added some
    assert count("-S", "inherit-env", "--env", "SURELY_NEW_HERE=1") == inherited + 1


def test_a_socket_that_listens(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    program = WASI.replace("NAME", "fd_fdstat_get").replace("PARAMS", "i32 i32")
    write_wat("socket.wat", program.replace("ARGUMENTS", "(i32.const 3) (i32.const 8)"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = wasmjit("run", "-S", f"tcplisten=127.0.0.1:{port}", "--invoke", "f", "socket.wat")
        assert refused.returncode == 1 and "tcplisten" in refused.stderr
    done = wasmjit("run", "-S", "tcplisten=127.0.0.1:0", "--invoke", "f", "socket.wat")
    assert int(done.stdout) & 0xFF == 6  # a stream socket
    assert wasmjit("run", "-S", "tcplisten=nowhere", "x.wasm").returncode == 2


# ---- help and errors ----
def test_help_lists_every_command(wasmjit: CommandLine) -> None:
    text = wasmjit("--help").stdout
    for name, summary in COMMANDS.items():
        assert f"\n  {name}" in text and summary in text


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "cache"])
def test_help_of_commands_lists_their_options(command: str) -> None:
    made = commands.program().get_command(commands.click.Context(commands.program()), command)
    assert made is not None
    text = made.get_help(click_commands.Context(made, info_name=command))
    for parameter in made.params:
        if isinstance(parameter, commands.click.Option):
            assert all(flag in text for flag in parameter.opts)
            assert parameter.help


def test_exclusive_forms(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("m.wat", SEVEN)
    done = wasmjit("objdump", "--ir", "--assembly", "m.wat")
    assert done.returncode == 2 and "one at a time" in done.stderr and "Traceback" not in done.stderr


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "coloured"),
    [
        (_Terminal(), {}, True),
        (_Terminal(), {"NO_COLOR": "1"}, False),
        (_Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, variables: dict[str, str], coloured: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    console.report("went wrong", stream)
    text = stream.getvalue()
    assert ("\033[" in text) is coloured
    assert text.replace("\033[1;31m", "").replace("\033[0m", "") == "wasmjit: error: went wrong\n"


def on_a_terminal(words: list[str], directory: Path, **variables: str) -> str:
    """What a command writes to stderr where that is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "wasmjit", *words],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **variables},
    ):
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            parts.append(part)
        os.close(ours)
    return b"".join(parts).decode()


def test_a_terminal_gets_colours(tmp_path: Path) -> None:
    assert "\033[1;31mwasmjit: error:\033[0m " in on_a_terminal(["run", "missing.wasm"], tmp_path)
    assert "\033[" not in on_a_terminal(["run", "missing.wasm"], tmp_path, NO_COLOR="1")


class _Pty:
    """A terminal in place of stderr, while `shown` (pytest sets stderr anew between a fixture and its test)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, show_after_seconds: float) -> None:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self.stream = open(theirs, "w")  # noqa: SIM115 - closed by __exit__
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stderr", self.stream)
        monkeypatch.setattr(console, "SHOW_AFTER_SECONDS", show_after_seconds)

    def __enter__(self) -> _Pty:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stream.close()
        os.close(self._ours)

    def written(self) -> str:
        """What was written since the last call."""
        try:
            return os.read(self._ours, 1 << 16).decode()
        except BlockingIOError:
            return ""

    def wait_for(self, text: str) -> str:
        """What is written up to and with `text`."""
        seen, ends = "", time.monotonic() + 120
        while text not in seen and time.monotonic() < ends:
            seen += self.written()
            time.sleep(0.01)
        return seen


def bar_threads_end() -> bool:
    """Whether threads of rich and of the timer end, soon; pytest's and the compiler's own may be there."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer) or "rich" in type(thread).__module__:
            thread.join(timeout=30)
            if thread.is_alive():
                return False
    return True


def test_a_long_compilation_shows_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    with _Pty(monkeypatch, 0.0) as terminal:
        with console.compile_progress("large.wasm") as progress:
            assert progress is not None
            assert "compiling large.wasm" in terminal.wait_for("functions")
            progress(CompileProgress(30, 70, 1, 2))
            assert "30/70 functions" in terminal.wait_for("30/70 functions")
            progress(CompileProgress(70, 70, 2, 2))
        assert bar_threads_end()


def test_what_is_quick_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with _Pty(monkeypatch, 3600.0) as terminal:
        with console.compile_progress("small.wasm") as progress:
            assert progress is not None
            Module(Engine(), SEVEN, progress=progress)
        assert terminal.written() == "" and bar_threads_end()


def test_an_error_takes_the_bar_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with _Pty(monkeypatch, 0.0) as terminal:
        with pytest.raises(WasmError, match="mine"), console.compile_progress("large.wasm"):
            assert "compiling" in terminal.wait_for("functions")
            raise WasmError("mine")
        assert bar_threads_end()


def test_no_terminal_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "SHOW_AFTER_SECONDS", 0.0)
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        with console.compile_progress("large.wasm") as progress:
            assert progress is None


def test_a_process_without_standard_streams(write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("m.wat", SEVEN)
    command = f"{sys.executable} -m wasmjit run m.wat >&- 2>&- <&-"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path).returncode == 1


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["settings"], ["cache", "path"], ["run", "-W", "help"]])
def test_a_full_disk_is_an_error_of_ours(wasmjit: CommandLine, words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = wasmjit(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and "No space left" in done.stderr and "Traceback" not in done.stderr
