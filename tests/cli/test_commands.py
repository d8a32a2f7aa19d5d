"""``wasmjit compile``, ``validate``, ``objdump`` and ``settings``."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
WriteWat = Callable[[str, str], Path]

MODULE = """(module $sample
  (import "env" "callback" (func $callback (param i32)))
  (memory 1)
  (func $sum (export "sum") (param i32) (result i32) (local i32)
    (loop (result i32)
      (local.set 1 (i32.add (local.get 1) (i32.load (i32.shl (local.get 0) (i32.const 2)))))
      (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))
      (local.get 1)))
  (func $second (call $callback (i32.const 1))))"""
ADD = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'


def test_compile_then_run(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("add.wat", ADD)
    assert wasmjit("compile", "add.wat", "-o", "out/../other.cwasm").returncode == 1
    done = wasmjit("compile", "add.wat")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = wasmjit("run", "--allow-precompiled", "--invoke", "add", "add.cwasm", "20", "22")
    assert (done.returncode, done.stdout) == (0, "42\n")
    refused = wasmjit("run", "--invoke", "add", "add.cwasm", "20", "22")
    assert refused.returncode == 1 and "--allow-precompiled" in refused.stderr
    assert (tmp_path / "add.cwasm").stat().st_mode & 0o444 == 0o444


def test_compile_is_deterministic(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("m.wat", MODULE)
    for name in ("a.cwasm", "b.cwasm"):
        assert wasmjit("compile", "--no-cache", "m.wat", "-o", name).returncode == 0
    assert (tmp_path / "a.cwasm").read_bytes() == (tmp_path / "b.cwasm").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"m.wat", "a.cwasm", "b.cwasm"}


def test_damaged_artifacts_are_refused(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("add.wat", ADD)
    wasmjit("compile", "add.wat")
    whole = (tmp_path / "add.cwasm").read_bytes()
    for size in (len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.cwasm").write_bytes(whole[:size])
        done = wasmjit("run", "--allow-precompiled", "--invoke", "add", "cut.cwasm", "1", "2")
        assert done.returncode == 1 and done.stderr.startswith("wasmjit: error: ")


def test_artifacts_of_another_machine_are_refused(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("add.wat", ADD)
    other = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    done = wasmjit("compile", "add.wat", "--target", f"{other}-unknown-linux-gnu", "-o", "other.cwasm")
    assert done.returncode == 0, done.stderr
    done = wasmjit("run", "--allow-precompiled", "--invoke", "add", "other.cwasm", "1", "2")
    assert done.returncode == 1 and other in done.stderr
    done = wasmjit("compile", "add.wat", "--target", "vax-dec-vms")
    assert done.returncode == 1 and "vax" in done.stderr


def test_validate(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("good.wat", ADD)
    write_wat("invalid.wat", "(module (func (result i32) (i64.const 1)))")
    write_wat("text.wat", "(module (func (result i33)))")
    (tmp_path / "short.wasm").write_bytes(b"\0asm\1\0\0\0\1\5")
    assert (wasmjit("validate", "good.wat").returncode, wasmjit("validate", "good.wat").stdout) == (0, "")
    done = wasmjit("validate", "good.wat", "invalid.wat", "text.wat", "short.wasm")
    assert done.returncode == 1 and done.stdout == "" and "good.wat" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("wasmjit: error: ")]
    assert [re.search(r"\w+\.wa[st]m?", line)[0] for line in lines] == ["invalid.wat", "text.wat", "short.wasm"]  # type: ignore[index]


def test_objdump_lists_functions(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("m.wat", MODULE)
    done = wasmjit("objdump", "m.wat")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [(row[0], row[-1]) for row in rows] == [("1", "sum"), ("2", "second")]
    wasm_offset, wasm_size, code_offset, code_size = (int(word, 0) for word in rows[0][1:5])
    next_wasm_offset, _, next_code_offset, _ = (int(word, 0) for word in rows[1][1:5])
    assert wasm_offset > 0 and wasm_offset + wasm_size <= next_wasm_offset
    assert code_size > 0 and code_offset + code_size <= next_code_offset


def test_objdump_of_an_artifact(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("m.wat", MODULE)
    wasmjit("compile", "m.wat")
    assert wasmjit("objdump", "m.cwasm").stdout == wasmjit("objdump", "m.wat").stdout
    refused = wasmjit("objdump", "--ir", "m.cwasm")
    assert refused.returncode == 1 and "m.cwasm" in refused.stderr


def test_objdump_tells_what_is_left_to_the_interpreter(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    """Gigabytes of IR would be for nothing."""
    division = "(local.set 1 (i32.div_s (local.get 0) (local.get 1)))"
    write_wat("m.wat", f"(module (func $odd (param i32) (local i32) {division * 6000}) (func $other))")
    wasmjit("compile", "m.wat", "-o", "m.cwasm")
    for file in ("m.wat", "m.cwasm"):
        _, odd, other = wasmjit("objdump", file).stdout.splitlines()
        assert odd.split()[3:] == ["interpreted", "odd"]
        assert other.split()[5:] == ["other"]
    shown = wasmjit("objdump", "--ir", "m.wat").stdout
    assert "@f0(" in shown and "@f1(" in shown and len(shown) < 5_000


def test_objdump_shows_ir(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("m.wat", MODULE)
    whole = wasmjit("objdump", "--ir", "m.wat").stdout
    assert "define" in whole and "@f1(" in whole and "@f2(" in whole
    one = wasmjit("objdump", "--ir", "--function", "second", "m.wat").stdout
    assert re.findall(r"^define .*@f(\d+)\(", one, re.MULTILINE) == ["2"]
    assert wasmjit("objdump", "--ir", "--function", "2", "m.wat").stdout == one
    missing = wasmjit("objdump", "--ir", "--function", "third", "m.wat")
    assert missing.returncode == 1 and "third" in missing.stderr


def test_objdump_disassembles(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("m.wat", MODULE)
    done = wasmjit("objdump", "--disassemble", "m.wat")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"<wasm.*::(\w+)>:", done.stdout) == ["sum", "second"] and re.search(r"\bret", done.stdout)
    one = wasmjit("objdump", "--disassemble", "--function", "sum", "m.wat").stdout
    assert re.findall(r"<wasm.*::(\w+)>:", one) == ["sum"] and re.search(r"\bret", one)


def test_settings_names_every_option(wasmjit: CommandLine) -> None:
    from wasmjit import Config

    printed = wasmjit("settings").stdout
    assert printed.startswith("Host: ") and platform.machine() in printed.splitlines()[0]
    for name, option in Config.options().items():
        assert f"{name} = {option.default!r}" in printed


@pytest.mark.parametrize(
    "command", ["", "run", "compile", "validate", "objdump", "explore", "wast", "settings", "bench"]
)
def test_help(wasmjit: CommandLine, command: str) -> None:
    done = wasmjit(*([command] if command else []), "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: wasmjit {command}".rstrip())


def test_version(wasmjit: CommandLine) -> None:
    assert re.fullmatch(r"wasmjit \d+\.\d+\.\d+\n", wasmjit("--version").stdout)
