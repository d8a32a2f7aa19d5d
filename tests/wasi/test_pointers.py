"""Pointers that lead outside of a program's memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.wasi.conftest import MEMORY_BYTES, READ, WRITE, Guest
from wasmjit.wasi.constants import Errno

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
        assert guest.call(name, *arguments) is Errno.FAULT, name
    assert bytes(guest.bytes[-8:]) == b"dir/file"


def test_lengths_that_reach_over_the_end(guest: Guest) -> None:
    for length in (MEMORY_BYTES - 99, MEMORY_BYTES, -1, -(1 << 31), (1 << 31) - 1):
        assert guest.call("random_get", 100, length) is Errno.FAULT
        assert guest.call("fd_readdir", 3, 100, length, 0, 0) is Errno.FAULT


@pytest.mark.parametrize("name", ["fd_read", "fd_write"])
def test_arrays_of_vectors_end_inside(guest: Guest, sandbox: Path, name: str) -> None:
    """One whose second vector lies outside is none, although the first would do."""
    fd = guest.open("file", READ | WRITE)
    guest.bytes[-8:] = struct.pack("<II", 0, 4)
    for count in (2, 3, 1 << 29, (1 << 32) - 1):
        assert guest.call(name, fd, MEMORY_BYTES - 8, count, 1024) is Errno.FAULT
    assert (sandbox / "file").read_bytes() == b"hello world"
    assert guest.call(name, fd, MEMORY_BYTES - 8, 1, 1024) == 0


RESULT_BYTES = {
    "clock_res_get": 8, "clock_time_get": 8, "fd_fdstat_get": 24, "fd_filestat_get": 64, "fd_tell": 8, "fd_seek": 8,
    "fd_read": 4, "fd_write": 4, "fd_pread": 4, "fd_pwrite": 4, "poll_oneoff": 4, "events": 64, "subscriptions": 96,
    "path_filestat_get": 64, "path": 4, "pointers": 8, "strings": 8, "count": 4, "size": 4, "random_get": 16,
}  # fmt: skip


@pytest.mark.parametrize("name", RESULT_BYTES)
def test_results_end_with_the_memory(make_guest: Callable[..., Guest], sandbox: Path, name: str) -> None:
    """What a function stores, or reads, may end there, and a byte further it is a fault before anything is done."""
    guest = make_guest(root=sandbox, argv=["one", "two"])
    fd = guest.open("file", READ | WRITE)
    vector = guest.put(struct.pack("<II", guest.put(b"HELLO"), 5))
    over = struct.pack("<QB7xI4xQQH6x", 0, 0, 1, 1, 0, 1) * 2  # since the first nanosecond of the clock
    subscriptions, events, result = guest.put(over), guest.allocate(64), guest.allocate(64)
    path = guest.put(b"file")
    guest.bytes[-len(over) :] = b"file" * (len(over) // 4) if name == "path" else over
    calls: dict[str, Callable[[int], tuple[str, tuple[int, ...]]]] = {
        "clock_res_get": lambda at: ("clock_res_get", (0, at)),
        "clock_time_get": lambda at: ("clock_time_get", (0, 0, at)),
        "fd_fdstat_get": lambda at: ("fd_fdstat_get", (fd, at)),
        "fd_filestat_get": lambda at: ("fd_filestat_get", (fd, at)),
        "fd_tell": lambda at: ("fd_tell", (fd, at)),
        "fd_seek": lambda at: ("fd_seek", (fd, 1, 0, at)),
        "fd_read": lambda at: ("fd_read", (fd, vector, 1, at)),
        "fd_write": lambda at: ("fd_write", (fd, vector, 1, at)),
        "fd_pread": lambda at: ("fd_pread", (fd, vector, 1, 0, at)),
        "fd_pwrite": lambda at: ("fd_pwrite", (fd, vector, 1, 0, at)),
        "path_filestat_get": lambda at: ("path_filestat_get", (3, 0, path, 4, at)),
        "path": lambda at: ("path_filestat_get", (3, 0, at, 4, result)),
        "poll_oneoff": lambda at: ("poll_oneoff", (subscriptions, events, 2, at)),
        "events": lambda at: ("poll_oneoff", (subscriptions, at, 2, result)),
        "subscriptions": lambda at: ("poll_oneoff", (at, events, 2, result)),
        "pointers": lambda at: ("args_get", (at, result)),
        "strings": lambda at: ("args_get", (result, at)),
        "count": lambda at: ("args_sizes_get", (at, result)),
        "size": lambda at: ("args_sizes_get", (result, at)),
        "random_get": lambda at: ("random_get", (at, 16)),
    }
    last, tail = MEMORY_BYTES - RESULT_BYTES[name], bytes(guest.bytes[-len(over) :])
    for beyond in (1, RESULT_BYTES[name] - 1, RESULT_BYTES[name], RESULT_BYTES[name] + 1):
        function, arguments = calls[name](last + beyond)
        assert guest.call(function, *arguments) is Errno.FAULT, beyond
    assert (sandbox / "file").read_bytes() == b"hello world"
    assert bytes(guest.bytes[-len(over) :]) == tail or name in ("pointers", "strings")  # Python stores one by one
    function, arguments = calls[name](last)
    assert guest.call(function, *arguments) is Errno.SUCCESS
    position = guest.allocate(8)
    assert guest.call("fd_tell", fd, position) is Errno.SUCCESS
    assert guest.u64(position) == {"fd_seek": 1, "fd_read": 5, "fd_write": 5}.get(name, 0)
