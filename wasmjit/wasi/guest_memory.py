"""Pointers that a program hands over: checked against its memory before anything is read or written through them."""

from __future__ import annotations

import struct

from .constants import Errno, WasiError

U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")
_IOVEC = struct.Struct("<II")  # buffer, length

MAX_VECTORS = 1024  # IOV_MAX
MOST_PATH_BYTES = 1 << 16  # longer ones are not even looked at


def check(memory: memoryview, start: int, length: int) -> None:
    """Raises FAULT unless ``memory[start:start+length]`` is all there."""
    if start + length > len(memory):
        raise WasiError(Errno.FAULT)


def span(memory: memoryview, start: int, length: int) -> memoryview:
    """``memory[start:start+length]``, or FAULT."""
    if start + length > len(memory):
        raise WasiError(Errno.FAULT)
    return memory[start : start + length]


def vectors_at(memory: memoryview, iovecs: int, count: int) -> list[memoryview]:
    """The buffers of an array of iovecs. All are checked; at most MAX_VECTORS are used (a short read or write).

    Buffers may overlap, but all together are never longer than the memory: 1024 over the same bytes would have the host
    hold 1024 times what the guest may have.
    """
    if count == 1:  # nearly always; struct checks the first pointer
        start, length = _IOVEC.unpack_from(memory, iovecs)
        check(memory, start, length)
        return [memory[start : start + length]]
    check(memory, iovecs, count * _IOVEC.size)
    array = memory[iovecs : iovecs + count * _IOVEC.size]
    vectors: list[memoryview] = []
    left_bytes = len(memory)
    for start, length in _IOVEC.iter_unpack(array):
        check(memory, start, length)
        if length and left_bytes and len(vectors) < MAX_VECTORS:
            length = min(length, left_bytes)
            vectors.append(memory[start : start + length])
            left_bytes -= length
    return vectors


def path_at(memory: memoryview, start: int, length: int) -> bytes:
    """A path, or ILSEQ if it is not UTF-8, NAMETOOLONG if it is far longer than any path may be."""
    target = span(memory, start, length)
    if length > MOST_PATH_BYTES:
        raise WasiError(Errno.NAMETOOLONG)
    path = bytes(target)
    try:
        path.decode()
    except UnicodeDecodeError:
        raise WasiError(Errno.ILSEQ) from None
    return path
