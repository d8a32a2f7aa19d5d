"""Threads of one program that open, use and close the same descriptors at once: no call reaches another file."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import wasmjit
from wasmjit import Config, Engine, Limits, Linker, MemoryType, Module, SharedMemory, Store

# Each thread has a block of 64 KiB. It opens "a" or "b", writes to any of the descriptors 4 to 9, reads, moves and
# closes them, as its own random numbers say. What a call says is not looked at.
TEXT = """(module (import "env" "memory" (memory 4 4 shared)) (export "memory" (memory 0))
 (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
 (import "wasi_snapshot_preview1" "path_open"
   (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
 (func $work (param $block i32) (local $seed i32) (local $i i32) (local $fd i32) (local $what i32)
   (local.set $seed (i32.add (local.get $block) (i32.const 12345)))
   (i32.store8 (local.get $block)
     (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $block) (i32.const 16)) (i32.const 1))))
   (i32.store offset=16 (local.get $block) (i32.add (local.get $block) (i32.const 64)))
   (i32.store offset=20 (local.get $block) (i32.const 4))
   (i32.store offset=64 (local.get $block) (i32.const 0x78787878))
   (loop
     (local.set $seed (i32.add (i32.mul (local.get $seed) (i32.const 1664525)) (i32.const 1013904223)))
     (local.set $fd (i32.add (i32.const 4) (i32.rem_u (i32.shr_u (local.get $seed) (i32.const 8)) (i32.const 6))))
     (local.set $what (i32.and (i32.shr_u (local.get $seed) (i32.const 20)) (i32.const 7)))
     (if (i32.le_u (local.get $what) (i32.const 1)) (then
       (drop (call $open (i32.const 3) (i32.const 0) (local.get $block) (i32.const 1) (i32.const 1)
         (i64.const 0x1ff) (i64.const 0) (i32.const 0) (i32.add (local.get $block) (i32.const 32))))))
     (if (i32.eq (local.get $what) (i32.const 2)) (then (drop (call $close (local.get $fd)))))
     (if (i32.eq (local.get $what) (i32.const 3)) (then
       (drop (call $renumber (local.get $fd)
         (i32.add (i32.const 4) (i32.rem_u (i32.shr_u (local.get $seed) (i32.const 12)) (i32.const 6)))))))
     (if (i32.eq (local.get $what) (i32.const 4)) (then
       (drop (call $read (local.get $fd) (i32.add (local.get $block) (i32.const 16)) (i32.const 1)
         (i32.add (local.get $block) (i32.const 32))))
       (i32.store offset=64 (local.get $block) (i32.const 0x78787878))))
     (if (i32.eq (local.get $what) (i32.const 5)) (then
       (drop (call $readdir (i32.const 3) (i32.add (local.get $block) (i32.const 256)) (i32.const 64) (i64.const 0)
         (i32.add (local.get $block) (i32.const 32))))))
     (if (i32.gt_u (local.get $what) (i32.const 5)) (then
       (drop (call $seek (local.get $fd) (i64.const 0) (i32.const 0) (i32.add (local.get $block) (i32.const 32))))
       (drop (call $write (local.get $fd) (i32.add (local.get $block) (i32.const 16)) (i32.const 1)
         (i32.add (local.get $block) (i32.const 32))))))
     (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.load (i32.const 8)))))
   (drop (i32.atomic.rmw.add (i32.const 4) (i32.const 1))))
 (func (export "_start")
   (drop (call $spawn (i32.const 0x10000))) (drop (call $spawn (i32.const 0x20000))) (call $work (i32.const 0x30000))
   (loop (br_if 0 (i32.lt_s (i32.atomic.load (i32.const 4)) (i32.const 3)))))
 (func (export "wasi_thread_start") (param i32 i32) (call $work (local.get 1))))"""


@contextmanager
def outside_files(path: Path) -> Iterator[None]:
    """Meanwhile a file is open under several numbers of the host's, which change; nobody has written to it."""
    path.write_bytes(b"outside" * 100)
    is_over = threading.Event()

    def open_and_close() -> None:
        while not is_over.is_set():
            opened = [os.open(path, os.O_RDWR) for _ in range(4)]
            time.sleep(0.0002)
            for host_fd in opened:
                os.close(host_fd)

    thread = threading.Thread(target=open_and_close)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert path.read_bytes() == b"outside" * 100


def open_below(directory: Path) -> list[str]:
    """What this process has open there. Other descriptors come and go: those of compilers that earlier tests began."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the directory that is read
            found.append(os.readlink(descriptor))
    return [path for path in found if path.startswith(str(directory))]


@pytest.mark.parametrize("rounds", [150, pytest.param(30_000, marks=pytest.mark.slow)])
def test_threads_use_and_close_the_same_descriptors(tmp_path: Path, rounds: int) -> None:
    """Files of the host get the numbers that are free meanwhile: nothing is written to them."""
    (tmp_path / "root").mkdir()
    engine = Engine(Config(shared_memory=True, tier="baseline"))
    store, linker = Store(engine, timeout=120), Linker(engine)
    config = wasmjit.WasiConfig()
    config.preopen_dir(str(tmp_path / "root"), "/")
    store.set_wasi(config)
    linker.define_wasi(threads=True)
    memory = SharedMemory(engine, MemoryType(Limits(4, 4), shared=True))
    linker.define(store, "env", "memory", memory)
    memory.view()[8:12] = rounds.to_bytes(4, "little")
    exports = linker.instantiate(store, Module(engine, TEXT)).exports(store)
    before = open_below(tmp_path)
    with outside_files(tmp_path / "outside"):
        exports["_start"](store)
    assert {path.name for path in (tmp_path / "root").iterdir()} == {"a", "b"}
    assert not set(b"".join((tmp_path / "root" / name).read_bytes() for name in "ab")) - {ord("x")}
    context = store._record.wasi
    assert all(not descriptor.users for descriptor in context.descriptors.all())
    context.close()
    assert open_below(tmp_path) == before
