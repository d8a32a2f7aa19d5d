"""WASI in instances whose memory other threads write to: what it has checked is what it uses."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import wasmjit
from tests.api.wasi_guest import Program, program
from wasmjit.wasi import native
from wasmjit.wasi.constants import Errno

PAGES = 2
END = PAGES << 16
IOVEC, RESULT, PATH, DATA = 64, 128, 256, 4096
ROUNDS = 800
FAULT, SUCCESS, NOENT = Errno.FAULT.value, 0, Errno.NOENT.value


@pytest.fixture(params=["in C", "in Python"], autouse=True)
def done_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "enabled", request.param == "in C")


# Writes one of two values to an address again and again, until what stands at 0 is no longer 0.
SWAPPER = """(module (import "" "memory" (memory 1 16 shared))
  (func (export "swap") (param $at i32) (param $one i64) (param $other i64)
    (loop
      (i64.store (local.get $at) (local.get $one)) (i64.store (local.get $at) (local.get $other))
      (br_if 0 (i32.eqz (i32.atomic.load (i32.const 0)))))))"""


@contextmanager
def swapping(guest: Program, at: int, one: bytes, other: bytes) -> Iterator[None]:
    """Meanwhile another thread changes 8 bytes all the time."""
    engine, memory = guest.store.engine, guest.memory
    store = wasmjit.Store(engine)
    swap = wasmjit.Instance(store, wasmjit.Module(engine, SWAPPER), [memory]).exports(store)["swap"]
    numbers = struct.unpack("<qq", one + other)
    thread = threading.Thread(target=swap, args=(store, at, *numbers), daemon=True)
    memory.view()[:4] = bytes(4)
    thread.start()
    try:
        yield
    finally:
        memory.view()[0] = 1
        thread.join()


def test_vectors_that_change_lie_inside_or_are_a_fault(tmp_path: Path) -> None:
    """Their length and address are read together, once: no write has bytes of any other place, and none is longer."""
    config = wasmjit.WasiConfig()
    config.stdout_file = str(tmp_path / "out")
    guest = program(config, pages=PAGES, shared=True)
    guest.memory.view()[DATA : DATA + 8] = b"inside.."
    codes = set()
    with swapping(guest, IOVEC, struct.pack("<II", DATA, 8), struct.pack("<II", END - 4, 1 << 20)):
        for _ in range(ROUNDS):
            codes.add(guest.call("fd_write", 1, IOVEC, 1, RESULT))
    assert codes <= {SUCCESS, FAULT}
    written = (tmp_path / "out").read_bytes()
    assert set(struct.unpack(f"{len(written) // 8}Q", written)) <= set(struct.unpack("<Q", b"inside.."))


def test_paths_that_change_stay_in_their_directory(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root" / "aasecret").write_text("inner")
    config = wasmjit.WasiConfig()
    config.preopen_dir(str(tmp_path / "root"), "/")
    guest = program(config, pages=PAGES, shared=True)
    inside, outside = b"aasecret", b"../secre"
    guest.memory.view()[PATH : PATH + 9] = inside + b"t"
    codes = set()
    with swapping(guest, PATH, inside, outside):
        for _ in range(ROUNDS):
            codes.add(guest.call("path_filestat_get", 3, 0, PATH, 8, RESULT))
            codes.add(guest.call("path_filestat_get", 3, 0, PATH, 9, RESULT))
            if codes & {SUCCESS}:
                assert guest.u32(RESULT + 32) != len("secret")
    assert codes <= {SUCCESS, NOENT, Errno.PERM.value, Errno.NOTCAPABLE.value, Errno.ILSEQ.value}


def test_memory_that_another_thread_grew_is_there_at_once() -> None:
    output = io.BytesIO()
    engine = wasmjit.Engine(wasmjit.Config(tier="baseline", shared_memory=True))
    memory = wasmjit.SharedMemory(engine, wasmjit.MemoryType(wasmjit.Limits(1, 4), shared=True))
    text = """(module (import "" "memory" (memory 1 4 shared)) (export "memory" (memory 0))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (func (export "write") (param i32) (result i32)
        (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (i32.const 2))
        (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))"""
    store, linker = wasmjit.Store(engine), wasmjit.Linker(engine)
    store.set_wasi(wasmjit.WasiConfig(stdout=output))
    linker.define_wasi()
    linker.define(store, "", "memory", memory)
    write = linker.instantiate(store, wasmjit.Module(engine, text)).exports(store)["write"]
    assert write(store, 65536) == FAULT
    thread = threading.Thread(target=memory.grow, args=(1,))
    thread.start()
    thread.join()
    memory.view()[65536:65538] = b"ab"
    assert write(store, 65536) == SUCCESS and output.getvalue() == b"ab"
