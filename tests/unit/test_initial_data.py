"""Merging data segments: contents are what the segments write one by one, and what cannot be known is left alone."""

from __future__ import annotations

import gc
import random

import pytest

import wasmjit
from wasmjit import Config, Engine, Instance, Module, Store, Trap
from wasmjit.artifact import Artifact
from wasmjit.config import Features
from wasmjit.wasm.decode import decode
from wasmjit.wasm.initial_data import DROPPED, PAGE_BYTES, merge
from wasmjit.wasm.module import ACTIVE
from wasmjit.wasm.module import Module as DecodedModule


def decoded(text: str) -> DecodedModule:
    return decode(bytes(wasmjit.wat2wasm(text)), Features(custom_page_sizes=True))


def test_segments_that_overlap_and_leave_holes() -> None:
    generator = random.Random(7)
    for _ in range(50):
        expected = bytearray(2 << 16)
        segments = []
        for _ in range(generator.randint(1, 12)):
            start, size = generator.randrange(1 << 16), generator.choice((0, 1, 7, 5000))
            contents = bytes(generator.randrange(97, 123) for _ in range(size))
            expected[start : start + size] = contents
            segments.append(f'(data (i32.const {start}) "{contents.decode()}")')
        module = decoded(f'(module (memory 2) {"".join(segments)} (data "passive"))')
        merged = merge(module)
        if merged is module:  # nothing to write
            assert not any(expected)
            continue
        assert merged.merged_data == 0 and merged.data[1:-1] == [DROPPED] * (len(segments) - 1)
        segment, passive = merged.data[0], merged.data[-1]
        ((_, start),) = segment.start
        assert start is not None and segment.mode == ACTIVE and segment.data_start == 0
        assert start % PAGE_BYTES == segment.data_end % PAGE_BYTES == 0
        found = bytearray(2 << 16)
        found[start : start + segment.data_end] = merged.wasm[: segment.data_end]
        assert found == expected
        assert merged.wasm[passive.data_start : passive.data_end] == b"passive"


@pytest.mark.parametrize(
    "text",
    [
        '(module (import "" "" (memory 1)) (data (i32.const 0) "x"))',
        '(module (import "" "" (global i32)) (memory 1) (data (global.get 0) "x"))',
        '(module (memory 1) (data (i32.const 0) "x") (data (i32.const 65536) "x"))',
        '(module (memory 1) (data (i32.const -1) "x"))',
        '(module (memory 1) (memory 1) (data (memory 0) (i32.const 0) "x") (data (memory 1) (i32.const 0) "x"))',
        '(module (memory 100) (data (i32.const 0) "x") (data (i32.const 3000000) "x"))',
        '(module (memory 1 (pagesize 1)) (data (i32.const 0) "x"))',
        '(module (memory 1) (data "x"))',
        "(module (memory 1))",
        "(module)",
    ],
    ids="imported global far negative memories holes page passive none empty".split(),
)
def test_what_stays_as_it_is(text: str) -> None:
    module = decoded(text)
    assert merge(module) is module and module.merged_data is None


TEXT = f"""(module (memory (export "memory") 40)
  (data (i32.const 100) "first") (data "passive") (data (i32.const 70000) "{"second" * 10000}")
  (data (i32.const 102) "RS")
  (func (export "init") (param i32) (memory.init 1 (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "init_active") (param i32) (memory.init 2 (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "drop") (data.drop 0) (data.drop 3)))"""


@pytest.mark.parametrize("cow", [True, False])
@pytest.mark.parametrize("how", ["compiled", "bytes", "file", "auto"])
def test_contents_of_every_instance(how: str, cow: bool, tmp_path: object) -> None:
    engine = Engine(Config(opt_level="none" if how != "auto" else "speed", tier="auto", memory_init_cow=cow))
    module = Module(engine, TEXT)
    if how == "bytes":
        module = Module.deserialize(engine, module.serialize())
    elif how == "file":
        path = f"{tmp_path}/module.cwasm"
        with open(path, "wb") as file:
            file.write(module.serialize())
        module = Module.deserialize_file(engine, path)
        assert module._artifact.take_data_file() is not None
        module = Module.deserialize_file(engine, path)
    for _ in range(3):
        with Store(engine) as store:
            exports = Instance(store, module, []).exports(store)
            memory = exports["memory"]
            assert memory.read(store, 98, 110) == b"\0\0fiRSt\0\0\0\0\0"
            assert memory.read(store, 69990, 130010) == bytes(10) + b"second" * 10000 + bytes(10)
            memory.write(store, b"changed", 70000)  # nobody else's
            exports["init"](store, 7)
            assert memory.read(store, 0, 8) == b"passive\0"
            exports["init_active"](store, 0)
            with pytest.raises(Trap):
                exports["init_active"](store, 1)
            exports["drop"](store)


def test_a_file_with_many_segments_is_small() -> None:
    """Segments that are merged take no room of their own."""
    segments = "".join(f'(data (i32.const {16 * i}) "{i:04}")' for i in range(4000))
    artifact = Module(Engine(Config(opt_level="none")), f"(module (memory 1) {segments})")._artifact
    assert isinstance(artifact, Artifact)
    assert len(artifact._sections["module"]) < 1000
    assert len(artifact.module.data) == 4000


def test_modules_in_garbage_cycles_are_collected() -> None:
    """cffi's hold on a memoryview's buffer was released after the garbage collector had cleared the memoryview."""
    engine = Engine(Config(opt_level="none"))
    for _ in range(5):
        module = Module(engine, TEXT)
        with Store(engine) as store:
            Instance(store, module, [])
        cycle: list[object] = [module, module._load()]
        cycle.append(cycle)
        del module, cycle
        gc.collect()
