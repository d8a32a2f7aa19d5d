"""Files for `perf`: names, places and code of functions, as the formats want them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from wasmjit import Config, Engine, Instance, Module, Store, WasmError, elf, profiling

WAT = """(module (import "env" "f" (func $imported))
  (memory 1)
  (func $first (export "a") (result i32) (i32.load (i32.const 0)))
  (func (export "b\\nname") (param i32) (result i32) (i32.load (local.get 0))))"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(profiling, "PERF_MAP_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(profiling, "_dump", None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(profiler: str) -> Module:
    module = Module(Engine(Config(profiler=profiler, opt_level="none")), WAT)
    module.initialize_copy_on_write_image()  # loads it
    return module


def test_perf_map(directory: Path) -> None:
    module = load("perfmap")
    lines = (directory / f"perf-{os.getpid()}.map").read_text().splitlines()
    found = [(int(start, 16), int(size, 16), name) for start, size, name in (line.split(" ", 2) for line in lines)]
    assert [name for _, _, name in found] == ["wasm[1]::first", "wasm[2]::bname"]
    for (start, size, _), function in zip(found, module.functions(), strict=True):
        assert (start - module.image_range().start, size) == (function.offset, function.size)


def test_perf_map_grows(directory: Path) -> None:
    modules = [load("perfmap"), load("perfmap")]
    assert len((directory / f"perf-{os.getpid()}.map").read_text().splitlines()) == 2 * len(modules)


def test_perf_map_follows_no_link(directory: Path) -> None:
    victim = directory / "victim"
    victim.write_text("mine")
    (directory / f"perf-{os.getpid()}.map").symlink_to(victim)
    with pytest.raises(WasmError, match="perfmap"):
        load("perfmap")
    assert victim.read_text() == "mine"


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and contents of each record of a jitdump file, whose header is checked."""
    magic, version, size, machine, _, pid, timestamp, flags = struct.unpack_from("=IIIIIIQQ", data)
    assert (magic, version, size, pid, flags) == (0x4A695444, 1, 40, os.getpid(), 0) and timestamp > 0
    assert machine in elf.MACHINE_NUMBERS.values()
    at = size
    while at < len(data):
        kind, length, _ = struct.unpack_from("=IIQ", data, at)
        assert length > 16
        yield kind, data[at + 16 : at + length]
        at += length
    assert at == len(data)


def test_jitdump(directory: Path) -> None:
    module = load("jitdump")
    found = list(records((directory / f"jit-{os.getpid()}.dump").read_bytes()))
    loads = [contents for kind, contents in found if kind == 0]
    text = bytes(module.text)
    start = module.image_range().start
    for index, (contents, function) in enumerate(zip(loads, module.functions(), strict=True), 1):
        _, _, address, code_address, size, number = struct.unpack_from("=IIQQQQ", contents)
        name, _, code = contents[40:].partition(b"\0")
        assert (address - start, size, number) == (function.offset, function.size, index)
        assert code_address == address and name.startswith(f"wasm[{function.index}]".encode())
        assert code == text[function.offset : function.offset + function.size]


def test_jitdump_has_wasm_offsets(directory: Path) -> None:
    module = load("jitdump")
    found = list(records((directory / f"jit-{os.getpid()}.dump").read_bytes()))
    assert [kind for kind, _ in found] == [2, 0, 2, 0]
    expected = {offset for _, offset in module.address_map() if offset}
    lines = set()
    for kind, contents in found:
        if kind == 2:
            _, count = struct.unpack_from("=QQ", contents)
            for at in range(count):
                _, line, _ = struct.unpack_from("=QII", contents, 16 + at * (16 + len(b"wasm\0")))
                lines.add(line)
    assert lines == expected


def test_a_directory_that_cannot_be_written(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / f"jit-{os.getpid()}.dump").mkdir()
    with pytest.raises(WasmError, match="jitdump"):
        load("jitdump")


def test_nothing_is_written_without_a_profiler(directory: Path) -> None:
    store = Store(Engine())
    Instance(store, Module(store.engine, '(module (func (export "f")))'), [])
    assert list(directory.iterdir()) == []


def test_optimised_code_is_announced_too(directory: Path) -> None:
    engine = Engine(Config(profiler="perfmap", tier="auto", cache=False))
    store = Store(engine)
    module = Module(engine, '(module (func $f (export "f") (result i32) (i32.const 1)))')
    Instance(store, module, [])
    module.wait_optimized(60)
    lines = (directory / f"perf-{os.getpid()}.map").read_text().splitlines()
    assert len(lines) == 2 and all(line.endswith("wasm[0]::f") for line in lines)
