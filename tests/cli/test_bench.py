"""``wasmjit bench``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
WriteWat = Callable[[str, str], Path]

HELLO = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00hello\\0a")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))))
  (func (export "twice") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))"""
FAILING = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $exit (i32.const 3))))"""


def test_layers_as_json(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("hello.wat", HELLO)
    done = wasmjit("bench", "--json", "--runs", "2", "--engine", "wasmjit", "-O0", "hello.wat")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["runs"] == 2 and list(report["engines"]) == ["wasmjit"]
    figures = report["engines"]["wasmjit"]
    layers = ("compile_s", "load_s", "instantiate_s", "execute_s", "call_s", "growth_bytes", "worker_peak_bytes")
    assert all(figures[layer] > 0 for layer in layers)


def test_table_beside_wasmtime(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    pytest.importorskip("wasmtime")
    write_wat("hello.wat", HELLO)
    done = wasmjit("bench", "--quick", "hello.wat")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["wasmjit", "wasmtime", "ratio"]
    for layer in ("compile", "load", "instantiate", "execute", "call from Python", "memory in all"):
        assert any(line.startswith(layer) for line in lines), layer


def test_a_function_by_name(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("hello.wat", HELLO)
    assert wasmjit("bench", "--quick", "--invoke", "twice", "--engine", "wasmjit", "hello.wat", "21").returncode == 0
    done = wasmjit("bench", "--quick", "--invoke", "thrice", "--engine", "wasmjit", "hello.wat", "21")
    assert done.returncode == 1 and "no exported function 'thrice'" in done.stderr


def test_failures_have_a_reason(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("failing.wat", FAILING)
    write_wat("invalid.wat", "(module (func (result i32)))")
    done = wasmjit("bench", "--quick", "--engine", "wasmjit", "failing.wat")
    assert done.returncode == 1 and "the program exited with 3" in done.stderr
    done = wasmjit("bench", "--quick", "--engine", "wasmjit", "invalid.wat")
    assert done.returncode == 1 and "ValidationError" in done.stderr
    assert wasmjit("bench", "--runs", "0", "invalid.wat").returncode == 2
    assert wasmjit("bench", "missing.wasm").returncode == 1
