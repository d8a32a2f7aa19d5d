"""``fdflags.append``: what is written goes to the end, and what is written at an offset goes there, as POSIX has it.

Linux appends in both cases where the descriptor has O_APPEND, and so does wasmtime.
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.api.wasi_guest import CREAT, READ, TRUNC, WRITE, Program, text_of
from wasmjit import Config, Engine, MemoryFS, Module, WasiConfig
from wasmjit.wasi import files as host_files
from wasmjit.wasi.constants import FDFLAGS_APPEND, FDFLAGS_NONBLOCK, FDFLAGS_SYNC, Errno

SET, CURRENT = 0, 1


@pytest.fixture(scope="module")
def module() -> Module:
    return Module(Engine(Config(tier="baseline")), text_of())


class File:
    """A program with a file open, and how to see what is in it."""

    def __init__(self, module: Module, source: Any, fdflags: int) -> None:
        import wasmjit

        config = WasiConfig()
        config.preopen_dir(source, "/")
        self.source = source
        self.program = Program(wasmjit, module.engine, module, config)
        self.fd = self.program.open(b"file", READ | WRITE, CREAT | TRUNC, fdflags=fdflags)
        assert self.fd > 3

    def vector(self, data: bytes) -> int:
        return self.program.put(struct.pack("<II", self.program.put(data), len(data)))

    def write(self, data: bytes) -> None:
        assert self.program.call("fd_write", self.fd, self.vector(data), 1, 64) == 0
        assert self.program.u32(64) == len(data)

    def pwrite(self, data: bytes, offset: int) -> None:
        assert self.program.call("fd_pwrite", self.fd, self.vector(data), 1, offset, 64) == 0

    def position(self) -> int:
        assert self.program.call("fd_tell", self.fd, 64) == 0
        return self.program.u32(64)

    def flags(self) -> int:
        assert self.program.call("fd_fdstat_get", self.fd, 512) == 0
        return int(struct.unpack("<H", self.program.get(514, 2))[0])

    def contents(self) -> bytes:
        return (
            self.source.read_bytes("file") if isinstance(self.source, MemoryFS) else (self.source / "file").read_bytes()
        )


@pytest.fixture(params=["memory", "host", "host without RWF_APPEND"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "memory":
        return MemoryFS()
    if request.param != "host":
        monkeypatch.setattr(host_files, "_RWF_APPEND", 0)
    return tmp_path


def test_pwrite_goes_to_its_offset(module: Module, source: Any) -> None:
    file = File(module, source, FDFLAGS_APPEND)
    file.write(b"12345")
    file.pwrite(b"xy", 0)
    assert file.contents() == b"xy345" and file.position() == 5
    file.pwrite(b"z", 7)
    assert file.contents() == b"xy345\0\0z" and file.position() == 5
    file.write(b"!")
    assert file.contents() == b"xy345\0\0z!" and file.position() == 9


def test_append_can_be_set_and_taken_away(module: Module, source: Any) -> None:
    file = File(module, source, 0)
    file.write(b"12345")
    assert file.flags() == 0
    assert file.program.call("fd_fdstat_set_flags", file.fd, FDFLAGS_APPEND) == 0 and file.flags() == FDFLAGS_APPEND
    assert file.program.call("fd_seek", file.fd, 0, SET, 64) == 0
    file.write(b"67")
    file.pwrite(b"xy", 0)
    assert file.contents() == b"xy34567" and file.position() == 7
    assert file.program.call("fd_fdstat_set_flags", file.fd, FDFLAGS_NONBLOCK) == 0 and file.flags() == FDFLAGS_NONBLOCK
    assert file.program.call("fd_seek", file.fd, 1, SET, 64) == 0
    file.write(b"--")
    assert file.contents() == b"x--4567" and file.position() == 3
    assert file.program.call("fd_fdstat_set_flags", file.fd, FDFLAGS_SYNC) == Errno.INVAL


def test_several_vectors_are_appended_together(module: Module, source: Any) -> None:
    file = File(module, source, FDFLAGS_APPEND)
    parts = [file.program.put(b"ab"), file.program.put(b"cde")]
    vectors = file.program.put(struct.pack("<IIII", parts[0], 2, parts[1], 3))
    for _ in range(2):
        assert file.program.call("fd_write", file.fd, vectors, 2, 64) == 0 and file.program.u32(64) == 5
    assert file.contents() == b"abcde" * 2


def test_others_append_too(module: Module, tmp_path: Path) -> None:
    """Each write goes behind what anybody wrote, in one step."""
    file = File(module, tmp_path, FDFLAGS_APPEND)
    with open(tmp_path / "file", "ab", buffering=0) as other:
        for number in range(20):
            file.write(b"ours%02d" % number)
            other.write(b"theirs%02d" % number)
    assert file.contents() == b"".join(b"ours%02dtheirs%02d" % (number, number) for number in range(20))


def test_a_file_that_may_only_be_appended_to(module: Module, tmp_path: Path) -> None:
    file = File(module, tmp_path, FDFLAGS_APPEND)
    file.write(b"1")
    if os.geteuid() != 0 or subprocess.run(["chattr", "+a", tmp_path / "file"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no such attribute here")
    try:
        fd = file.program.open(b"file", WRITE, 0, fdflags=FDFLAGS_APPEND)
        assert fd > 3 and file.program.open(b"file", WRITE) == -Errno.PERM
        assert file.program.call("fd_write", fd, file.vector(b"2"), 1, 64) == 0
        assert file.contents() == b"12"
    finally:
        subprocess.run(["chattr", "-a", tmp_path / "file"], check=True)
