"""The types that users get: py.typed ships, and a program that uses the API passes ``mypy --strict``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PROGRAM = '''
from __future__ import annotations

import wasmjit
from wasmjit import Caller, Config, Engine, ExitTrap, Func, FuncType, Instance, Linker, Memory, Module, Store, Trap
from wasmjit import Global, GlobalType, Limits, MemoryType, Table, TableType, TrapCode, Val, ValType, WasiConfig


def log(caller: Caller, address: int, length: int) -> None:
    memory = caller["memory"]
    assert isinstance(memory, Memory)
    text: bytearray = memory.read(caller, address, address + length)
    print(text.decode())


def main() -> int:
    config = Config()
    config.cranelift_opt_level = "none"
    config.wasm_threads = False
    level: str = config.opt_level
    engine = Engine(config)
    linker = Linker(engine)
    linker.allow_shadowing = True
    linker.define_wasi()
    linker.define_func("host", "log", FuncType([ValType.i32(), ValType.i32()], []), log, access_caller=True)
    module = Module(engine, "(module)")
    names: list[str] = [item.name for item in module.exports]
    data: bytearray = module.serialize()
    module = Module.deserialize(engine, data)
    with Store(engine, data=names) as store:
        wasi = WasiConfig()
        wasi.argv = ["program", level]
        wasi.stdin = b"input"
        store.set_wasi(wasi)
        instance: Instance = linker.instantiate(store, module)
        exports = instance.exports(store)
        run = exports.get("run")
        if isinstance(run, Func):
            try:
                run(store, 1, Val.f64(2.0))
            except Trap as trap:
                code: TrapCode | None = trap.trap_code
                print(code, [frame.func_name for frame in trap.frames])
            except ExitTrap as end:
                return end.code
        memory = Memory(store, MemoryType(Limits(1, None)))
        written: int = memory.write(store, b"bytes", 3)
        counter = Global(store, GlobalType(ValType.i32(), True), 1)
        counter.set_value(store, written)
        table = Table(store, TableType(ValType.funcref(), Limits(1, 2)), None)
        return table.size(store) + memory.grow(store, 1)


class Mine(wasmjit.WasmtimeError):
    """WasmtimeError is a class to type checkers too."""


if __name__ == "__main__":
    raise SystemExit(main())
'''
WRONG = """
from wasmjit import Engine, Module

Module(Engine(), 3)
Engine(config="none")
size: str = Module(Engine(), "(module)").exports
"""


def mypy(*paths: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mypy")
    # "silent": what there is to say about wasmjit itself, `make check` says.
    options = ["--strict", "--config-file=", "--follow-imports=silent", "--cache-dir", str(paths[0].parent / "cache")]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, *map(str, paths)],
        cwd=paths[0].parent,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_user_program_passes_mypy_strict(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(PROGRAM)
    wrong.write_text(WRONG)
    done = mypy(right, wrong)
    assert done.returncode == 1
    *errors, summary = done.stdout.splitlines()
    found = [line.rpartition("/")[2].split(":")[:2] for line in errors]
    assert found == [["wrong.py", "4"], ["wrong.py", "5"], ["wrong.py", "6"]]
    assert "in 1 file (checked 2 source files)" in summary


def test_the_user_program_runs() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 2)


def test_py_typed_ships(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path / "lib")]
    environment = {**os.environ, "WASMJIT_RUNTIME_IS_BUILT": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lib" / "wasmjit" / "py.typed").exists()
