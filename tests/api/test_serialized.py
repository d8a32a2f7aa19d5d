"""What `Module.serialize` writes: damage is always an error, tools can read it, equal input gives equal bytes."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wasmjit import ArtifactError, Config, Engine, Instance, Module, Store
from wasmjit import elf as elf_reader

TEXT = """(module $sample (import "a" "b" (func (param i32))) (memory (export "m") 1) (table 3 funcref)
  (data (i32.const 3) "hello") (elem (i32.const 0) $double) (global (mut f64) (f64.const 1.5))
  (func $double (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func (export "fail") unreachable))"""


@pytest.fixture(scope="module")
def serialized(engine: Engine) -> bytes:
    return bytes(Module(engine, TEXT).serialize())


def test_every_truncation_is_an_error(engine: Engine, serialized: bytes) -> None:
    for size in (*range(0, len(serialized), 64), *range(1, 256), len(serialized) - 1):
        with pytest.raises(ArtifactError):
            Module.deserialize(engine, serialized[:size])
    with pytest.raises(ArtifactError):
        Module.deserialize(engine, serialized + b"\0" * 64)


def test_every_bit_flip_is_an_error(engine: Engine, serialized: bytes) -> None:
    generator = random.Random(23)
    for _ in range(4_000):
        damaged = bytearray(serialized)
        at = generator.randrange(len(damaged))
        damaged[at] ^= 1 << generator.randrange(8)
        with pytest.raises(ArtifactError):
            Module.deserialize(engine, damaged)


def test_damage_in_files(engine: Engine, serialized: bytes, tmp_path: Path) -> None:
    """Header and metadata: always an error. Code: only with `verify`."""
    path = tmp_path / "m.cwasm"
    sections = {s.name: s for s in elf_reader.read(serialized).sections if s.size_bytes}
    code_at = serialized.index(bytes(sections[".text"].data))
    meta_at = serialized.index(bytes(sections[".wasmjit.meta"].data))
    meta_size = sections[".wasmjit.meta"].size_bytes
    generator = random.Random(29)
    for at in (*range(0, 64, 7), *(meta_at + generator.randrange(meta_size) for _ in range(200))):
        damaged = bytearray(serialized)
        damaged[at] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"m\.cwasm: "):
            Module.deserialize_file(engine, path)
    damaged = bytearray(serialized)
    damaged[code_at + sections[".text"].size_bytes - 1] ^= 1
    path.write_bytes(damaged)
    assert Module.deserialize_file(engine, path).name == "sample"
    with pytest.raises(ArtifactError, match=r"m\.cwasm: damaged: the contents have a wrong checksum"):
        Module.deserialize_file(engine, path, verify=True)
    with path.open("rb") as file, pytest.raises(ArtifactError, match="wrong checksum"):
        Module.deserialize_open_file(engine, file, verify=True)
    path.write_bytes(serialized)
    module = Module.deserialize_file(engine, path, verify=True)
    with Store(engine) as store:
        from wasmjit import Func, FuncType, ValType

        host = Func(store, FuncType([ValType.i32()], []), lambda number: None)
        assert Instance(store, module, [host]).exports(store)["double"](store, 4) == 8


def test_equal_input_gives_equal_bytes_in_every_process(serialized: bytes) -> None:
    program = (
        "import hashlib, sys; from wasmjit import *;"
        "module = Module(Engine(Config(opt_level='none')), sys.argv[1]);"
        "print(hashlib.sha256(module.serialize()).hexdigest())"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, TEXT], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True
        )
        assert done.stdout == hashlib.sha256(serialized).hexdigest() + "\n", done.stderr


@pytest.mark.skipif(shutil.which("readelf") is None or shutil.which("objdump") is None, reason="binutils are missing")
def test_binutils_read_it(serialized: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.cwasm"
    path.write_bytes(serialized)

    def run(*command: str) -> str:
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, errors="replace", check=True)
        assert "arning" not in done.stderr
        return done.stdout

    assert " .wasmjit.header " in run("readelf", "-WS") and " .wasmjit.meta " in run("readelf", "-WS")
    assert re.search(r"FUNC .*wasm\[1\]::double$", run("readelf", "-Ws"), re.MULTILINE)
    assert "<wasm[1]::double>:" in run("objdump", "-d")


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"opt_level": "speed"}, "opt_level is none, expected speed"),
        ({"exact_traps": True}, "exact_traps is False, expected True"),
        ({"signals_based_traps": False}, "memory is guarded:.*, expected checked"),
        ({"nan_canonicalization": True}, "nan_canonicalization is False, expected True"),
    ],
)
def test_mismatches_say_what_differs_and_what_to_do(
    options: dict[str, object], difference: str, serialized: bytes
) -> None:
    engine = Engine(Config(**{"opt_level": "none", **options}))
    with pytest.raises(ArtifactError, match=f"{difference}.*use the same options or compile the module again"):
        Module.deserialize(engine, serialized)
