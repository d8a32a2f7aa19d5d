"""The configuration file: where it is, what it may say, and that the command line wins."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from wasmjit.cli.options import config_from
from wasmjit.cli.rows import parse_quickly
from wasmjit.cli.run_rows import ROWS
from wasmjit.cli.settings_file import use_config_file

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
WriteWat = Callable[[str, str], Path]

SEVEN = '(module (func (export "f") (result i32) (i32.const 7)))'
LOOP = '(module (func (export "f") (loop br 0)))'
WIDE = "(module (func (param i64 i64) (result i64 i64) (i64.mul_wide_u (local.get 0) (local.get 1))))"


@pytest.fixture
def configure(tmp_path: Path) -> Callable[[str], None]:
    """Writes config.toml."""
    return lambda text: (tmp_path / "config.toml").write_text(text) and None


def test_groups(wasmjit: CommandLine, write_wat: WriteWat, configure: Callable[[str], None]) -> None:
    write_wat("wide.wat", WIDE)
    configure("[wasm]\nwide-arithmetic = true\n[optimize]\nopt-level = 0\nmemory-reservation = '1g'\n")
    assert wasmjit("validate", "wide.wat").returncode == 1
    for command in ("validate", "compile", "objdump"):
        assert wasmjit(command, "--config", "config.toml", "wide.wat").returncode == 0
    refused = wasmjit("validate", "--config", "config.toml", "-W", "wide-arithmetic=n", "wide.wat")
    assert refused.returncode == 1  # the command line wins


def test_run_options(wasmjit: CommandLine, write_wat: WriteWat, configure: Callable[[str], None]) -> None:
    write_wat("loop.wat", LOOP)
    configure('[run]\ntimeout = "50ms"\n')
    late = wasmjit("run", "--config", "config.toml", "--invoke", "f", "loop.wat")
    assert late.returncode == 134 and "interrupt" in late.stderr
    configure("[run]\nfuel = 1000\ntimeout = 50\n")
    spent = wasmjit("run", "--config", "config.toml", "--invoke", "f", "loop.wat")
    assert spent.returncode == 134 and "fuel" in spent.stderr
    configure('[run]\ntimeout = "1h"\n')
    done = wasmjit("run", "--config", "config.toml", "--invoke", "f", "loop.wat")
    assert done.returncode == 1 and "config.toml: [run] timeout: '1h' is not a duration" in done.stderr
    configure("[run]\nfuel = 1000000000000\n")
    spent = wasmjit("run", "--config", "config.toml", "--fuel", "1000", "--invoke", "f", "loop.wat")
    assert spent.returncode == 134 and "fuel" in spent.stderr


def test_lists_are_joined(wasmjit: CommandLine, configure: Callable[[str], None], write_wat: WriteWat) -> None:
    write_wat(
        "count.wat",
        """(module (import "wasi_snapshot_preview1" "environ_sizes_get" (func $f (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "f") (result i32) (drop (call $f (i32.const 8) (i32.const 12))) (i32.load (i32.const 8))))""",
    )
    configure('[run]\nenv = ["A=1", "B=2"]\n')
    done = wasmjit("run", "--config", "config.toml", "--env", "C=3", "--env", "A=4", "--invoke", "f", "count.wat")
    assert done.stdout == "3\n"


def test_the_place_where_it_is_looked_for(
    wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wat("wide.wat", WIDE)
    # Not in the working directory: "python -m" would take a directory of this name for the package.
    (tmp_path / "xdg" / "wasmjit").mkdir(parents=True)
    (tmp_path / "xdg" / "wasmjit" / "config.toml").write_text("[wasm]\nwide-arithmetic = true\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert wasmjit("validate", "wide.wat").returncode == 0
    monkeypatch.delenv("XDG_CONFIG_HOME")
    os.rename(tmp_path / "xdg", tmp_path / ".config")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert wasmjit("validate", "wide.wat").returncode == 0
    (tmp_path / "empty.toml").write_text("")
    assert wasmjit("validate", "--config", "empty.toml", "wide.wat").returncode == 1  # in place of the other one


def test_cache_settings(
    wasmjit: CommandLine, write_wat: WriteWat, configure: Callable[[str], None], tmp_path: Path
) -> None:
    write_wat("m.wat", SEVEN)
    configure(f'[cache]\ndirectory = "{tmp_path / "mine"}"\n')
    # In tier "auto", so small a program that ends so early leaves nothing.
    run = ("run", "--tier", "optimized", "--config", "config.toml", "--invoke", "f", "m.wat")
    assert wasmjit(*run).stdout == "7\n" and len(list((tmp_path / "mine").glob("*.cwasm"))) == 1
    assert wasmjit("cache", "path", "--config", "config.toml").stdout == f"{tmp_path / 'mine'}\n"
    configure(f'[cache]\nenabled = false\ndirectory = "{tmp_path / "none"}"\n')
    assert wasmjit(*run).stdout == "7\n" and not (tmp_path / "none").exists()
    configure(f'[cache]\ndirectory = "{tmp_path / "mine"}"\nmax-size = "1k"\n')
    assert wasmjit(*run).stdout == "7\n" and not list((tmp_path / "mine").glob("*.cwasm"))
    assert "at most 1.0 KiB" in wasmjit("cache", "info", "--config", "config.toml").stdout


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[wasm\n", "config.toml: "),
        ("[winch]\n", "unknown table 'winch'"),
        ("wasm = 3\n", "unknown table 'wasm'"),
        ("[wasm]\nsim = true\n", "[wasm] unknown option 'sim'"),
        ("[wasm]\nsimd = 'maybe'\n", "[wasm] simd=maybe: expected y or n"),
        ("[wasm]\nsimd = [1]\n", "[wasm] simd: expected text"),
        ("[optimize]\npooling-allocator = true\n", "no pooling allocator"),
        ("[cache]\nsize = 3\n", "[cache] unknown key 'size'"),
        ("[cache]\nenabled = 1\n", "[cache] enabled: expected true or false"),
        ("[cache]\nmax-size = 'huge'\n", "[cache] max-size: 'huge' is not a size"),
        ("[cache]\ndirectory = 3\n", "[cache] directory: expected a path"),
        ("[run]\ninvoke = 'f'\n", "[run] unknown key 'invoke'"),
        ("[run]\nallow-precompiled = 'y'\n", "[run] allow-precompiled: expected true or false"),
        ("[run]\nfuel = [1, 2]\n", "[run] fuel: expected text"),
    ],
)
def test_mistakes_are_named(
    wasmjit: CommandLine, write_wat: WriteWat, configure: Callable[[str], None], text: str, reason: str
) -> None:
    write_wat("m.wat", SEVEN)
    configure(text)
    done = wasmjit("run", "--config", "config.toml", "--invoke", "f", "m.wat")
    assert done.returncode == 1 and "config.toml" in done.stderr and reason in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_a_file_that_is_not_there(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("m.wat", SEVEN)
    done = wasmjit("run", "--config", "missing.toml", "--invoke", "f", "m.wat")
    assert done.returncode == 1 and "missing.toml" in done.stderr
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert wasmjit("run", "--config", "binary.toml", "--invoke", "f", "m.wat").returncode == 1


def test_options_of_runs_do_not_bother_other_commands(
    wasmjit: CommandLine, write_wat: WriteWat, configure: Callable[[str], None]
) -> None:
    write_wat("m.wat", SEVEN)
    configure('[run]\nfuel = 3\nenv = ["A=1"]\n')
    assert wasmjit("compile", "--config", "config.toml", "m.wat").returncode == 0


def test_the_budget_of_what_goes_on_in_the_background(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[cache]\nbackground-seconds = 7\nbackground-memory = '1g'\n")

    def budget(*words: str) -> tuple[int, int]:
        arguments = parse_quickly(ROWS, ["--config", str(tmp_path / "config.toml"), *words, "file.wasm"])
        assert arguments is not None
        use_config_file(arguments)
        config = config_from(arguments)
        return config.background_cpu_seconds, config.background_memory

    assert budget() == (7, 1 << 30)
    assert budget("--background-seconds", "0") == (0, 1 << 30)
    assert budget("--background-seconds=3", "--background-memory", "64m") == (3, 64 << 20)


def test_a_file_that_does_not_end(wasmjit: CommandLine) -> None:
    done = wasmjit("run", "--config", "/dev/zero", "m.wat")
    assert (done.returncode, done.stderr) == (1, "wasmjit: error: configuration file /dev/zero: has more than 1 MiB\n")
