"""Modules with a memory of their own, and the same with that memory shared."""

from __future__ import annotations

_MEMORY_SECTION = 5
_HAS_MAXIMUM, _IS_SHARED = 1, 2
_MOST_PAGES = 1 << 16


def _read(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            return value, at


def _written(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(written) + bytes([value])


def with_shared_memory(wasm: bytes) -> bytes:
    """The module with its one memory shared, of the same minimum. Raises ValueError if it defines another number."""
    at = 8
    while at < len(wasm):
        section = wasm[at]
        size, start = _read(wasm, at + 1)
        if section == _MEMORY_SECTION:
            count, position = _read(wasm, start)
            flags, position = _read(wasm, position)
            minimum, position = _read(wasm, position)
            if count != 1 or flags & ~_HAS_MAXIMUM:
                raise ValueError("expected one memory, of 32 bits and not shared")
            maximum = _read(wasm, position)[0] if flags else _MOST_PAGES
            body = bytes([1, _HAS_MAXIMUM | _IS_SHARED]) + _written(minimum) + _written(maximum)
            return wasm[:at] + bytes([section]) + _written(len(body)) + body + wasm[start + size :]
        at = start + size
    raise ValueError("the module defines no memory")
