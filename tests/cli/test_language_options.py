"""``-W``: proposals by name, on every command that compiles."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from wasmjit import Config

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
WriteWat = Callable[[str, str], Path]

COMMANDS = ("run", "compile", "validate", "objdump", "wast")
WIDE = """(module (func (export "f") (param i64 i64) (result i64 i64)
  (i64.mul_wide_u (local.get 0) (local.get 1))))"""
MEMORY64 = "(module (memory i64 1))"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_proposal(wasmjit: CommandLine, command: str) -> None:
    done = wasmjit(command, "-W", "help")
    assert (done.returncode, done.stderr) == (0, "")
    for field in fields(Config().features):
        default = "y" if getattr(Config().features, field.name) else "n"
        (line,) = [row for row in done.stdout.splitlines() if row.split("=")[0].strip() == field.name.replace("_", "-")]
        assert line.endswith(f"(default: {default})")


@pytest.mark.parametrize(
    "options",
    [["-W", "wide-arithmetic"], ["-Wwide_arithmetic=y"], ["-W", "simd=n,relaxed-simd=n,wide-arithmetic=true"]],
)
def test_turning_on(wasmjit: CommandLine, write_wat: WriteWat, options: list[str]) -> None:
    write_wat("wide.wat", WIDE)
    refused = wasmjit("run", "--invoke", "f", "wide.wat", "2", "3")
    assert refused.returncode == 1 and "`-W wide-arithmetic=y`" in refused.stderr
    done = wasmjit("run", *options, "--invoke", "f", "wide.wat", "-1", "-1")
    assert (done.returncode, done.stdout.split()) == (0, ["1", "-2"]), done.stderr


def test_the_last_one_wins(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("wide.wat", WIDE)
    assert wasmjit("validate", "-W", "wide-arithmetic=n", "-W", "wide-arithmetic=y", "wide.wat").returncode == 0
    assert wasmjit("validate", "-W", "wide-arithmetic=y,wide-arithmetic=n", "wide.wat").returncode == 1


def test_turning_off(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("m.wat", MEMORY64)
    write_wat("m.wast", MEMORY64)
    for command, file in (("validate", "m.wat"), ("compile", "m.wat"), ("objdump", "m.wat"), ("wast", "m.wast")):
        assert wasmjit(command, file).returncode == 0
        off = wasmjit(command, "-v", "-W", "memory64=no", file) if command == "wast" else None
        off = off or wasmjit(command, "-W", "memory64=no", file)
        assert off.returncode == 1
        assert "feature memory64 is off" in off.stderr + off.stdout and "`-W memory64=y`" in off.stderr + off.stdout
    assert wasmjit("compile", "-W", "all-proposals=n", "-W", "memory64=y", "m.wat").returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sim=n", "unknown option 'sim'"),
        ("simd=maybe", "simd=maybe: expected y or n"),
        ("max-wasm-stack=much", "max-wasm-stack: expected a number"),
        ("", "unknown option ''"),
    ],
)
def test_wrong_usage(wasmjit: CommandLine, write_wat: WriteWat, text: str, message: str) -> None:
    write_wat("m.wat", MEMORY64)
    done = wasmjit("compile", "-W", text, "m.wat")
    assert done.returncode == 2 and message in done.stderr


def test_numbers(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("deep.wat", '(module (func $f (export "f") (call $f)))')
    done = wasmjit("run", "-W", "max-wasm-stack=100000", "--invoke", "f", "deep.wat")
    assert done.returncode == 134 and "stack" in done.stderr
