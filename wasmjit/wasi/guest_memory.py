"""Pointers that a program hands over: checked against its memory before anything is read or written through them."""

from __future__ import annotations

import struct

from .constants import Errno, WasiError

U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")
_IOVEC = struct.Struct("<II")  # buffer, length

MAX_VECTORS = 1024  # IOV_MAX


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
    """The buffers of an array of iovecs. All are checked; at most MAX_VECTORS are used (a short read or write)."""
    if count == 1:  # nearly always; struct checks the first pointer
        start, length = _IOVEC.unpack_from(memory, iovecs)
        check(memory, start, length)
        return [memory[start : start + length]]
    check(memory, iovecs, count * _IOVEC.size)
    array = memory[iovecs : iovecs + count * _IOVEC.size]
    vectors: list[memoryview] = []
    for start, length in _IOVEC.iter_unpack(array):
        vector = span(memory, start, length)
        if length and len(vectors) < MAX_VECTORS:
            vectors.append(vector)
    return vectors


def path_at(memory: memoryview, start: int, length: int) -> bytes:
    """A path, or ILSEQ if it is not UTF-8."""
    path = bytes(span(memory, start, length))
    try:
        path.decode()
    except UnicodeDecodeError:
        raise WasiError(Errno.ILSEQ) from None
    return path
