"""LEB128 integers (spec section 5.2.2), with the over-long and too-large checks the specification asks for.

Each reader takes the buffer and an offset and returns (value, next offset). Running off the buffer raises IndexError,
which the callers turn into a MalformedError "unexpected end"; they read the common one-byte case in line.
"""

from __future__ import annotations

from ..errors import MalformedError

Buffer = bytes | memoryview


def read_unsigned(wasm: Buffer, at: int, bits: int) -> tuple[int, int]:
    """An unsigned integer of at most `bits` bits."""
    start = at
    byte = wasm[at]
    value = byte & 0x7F
    shift = 7
    while byte & 0x80:
        if shift >= bits:
            raise MalformedError("integer representation too long", offset=start)
        at += 1
        byte = wasm[at]
        value |= (byte & 0x7F) << shift
        shift += 7
    if value >> bits:
        raise MalformedError("integer too large", offset=start)
    return value, at + 1


def read_signed(wasm: Buffer, at: int, bits: int) -> tuple[int, int]:
    """A signed integer of `bits` bits."""
    start = at
    byte = wasm[at]
    value = byte & 0x7F
    shift = 7
    while byte & 0x80:
        if shift >= bits:
            raise MalformedError("integer representation too long", offset=start)
        at += 1
        byte = wasm[at]
        value |= (byte & 0x7F) << shift
        shift += 7
    if byte & 0x40:
        value -= 1 << shift
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise MalformedError("integer too large", offset=start)
    return value, at + 1


def read_u32(wasm: Buffer, at: int) -> tuple[int, int]:
    """A u32: counts, indices, sizes."""
    return read_unsigned(wasm, at, 32)
