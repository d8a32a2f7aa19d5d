"""Pointers that lead outside of a program's memory."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.wasi.conftest import MEMORY_BYTES, READ, WRITE, Guest
from wasmjit.wasi.constants import Errno
from wasmjit.wasi.preview1 import FUNCTIONS, call

EDGES = (MEMORY_BYTES - 7, MEMORY_BYTES - 3, MEMORY_BYTES, MEMORY_BYTES + 1, 1 << 31, (1 << 32) - 8, (1 << 32) - 1)


@pytest.mark.parametrize("start", EDGES)
def test_wasi_pointers_at_the_edges(guest: Guest, sandbox: Path, start: int) -> None:
    """C passes arguments as numbers with a sign."""
    signed = start - (1 << 32) if start >> 31 else start
    guest.bytes[-8:] = b"dir/file"
    for name, arguments in {
        "random_get": (signed, 8),
        "path_create_directory": (3, signed, 8),
        "path_unlink_file": (3, signed, 8),
        "path_filestat_get": (3, 0, signed, 8, 0),
        "fd_readdir": (3, signed, 8, 0, 0),
        "poll_oneoff": (signed, 0, 1, 0),
    }.items():
        found = call(FUNCTIONS[name], guest.context, guest.memory, arguments)
        assert found == Errno.FAULT, name
    assert bytes(guest.bytes[-8:]) == b"dir/file"


def test_lengths_that_reach_over_the_end(guest: Guest) -> None:
    for length in (MEMORY_BYTES - 99, MEMORY_BYTES, -1, -(1 << 31), (1 << 31) - 1):
        assert call(FUNCTIONS["random_get"], guest.context, guest.memory, (100, length)) == Errno.FAULT
        assert call(FUNCTIONS["fd_readdir"], guest.context, guest.memory, (3, 100, length, 0, 0)) == Errno.FAULT


@pytest.mark.parametrize("name", ["fd_read", "fd_write"])
def test_arrays_of_vectors_end_inside(guest: Guest, sandbox: Path, name: str) -> None:
    """One whose second vector lies outside is none, although the first would do."""
    fd = guest.open("file", READ | WRITE)
    guest.bytes[-8:] = struct.pack("<II", 0, 4)
    for count in (2, 3, 1 << 29, (1 << 32) - 1):
        assert guest.call(name, fd, MEMORY_BYTES - 8, count, 1024) is Errno.FAULT
    assert (sandbox / "file").read_bytes() == b"hello world"
    assert guest.call(name, fd, MEMORY_BYTES - 8, 1, 1024) == 0
