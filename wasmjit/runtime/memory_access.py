"""Typed reads and writes of a memory: numbers in little endian, as wasm has them, and text."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .store import Storelike

_F32 = struct.Struct("<f")
_F64 = struct.Struct("<d")


class TypedAccess:
    """The typed helpers of `Memory`. Addresses are in bytes, never negative, and need no alignment.

    All raise IndexError, and write nothing, unless all bytes lie inside the memory. Integers given to a write wrap to
    the width, as arguments of calls do; TypeError for anything but an int (for floats: an int or float).

    >>> from wasmjit import Limits, Memory, MemoryType, Store
    >>> store = Store()
    >>> memory = Memory(store, MemoryType(Limits(1)))
    >>> memory.write_i32(store, -2, 8)
    >>> memory.read_u32(store, 8), memory.read_i8(store, 8)
    (4294967294, -2)
    >>> memory.write_utf8(store, "zażółć", 100)
    10
    >>> memory.read_utf8(store, 100, 10)
    'zażółć'
    """

    __slots__ = ()

    def _read_exactly(self, store: Storelike, start: int, size_bytes: int) -> bytearray:
        raise NotImplementedError

    def _write_exactly(self, store: Storelike, value: bytes, start: int) -> None:
        raise NotImplementedError

    def _read_int(self, store: Storelike, start: int, size_bytes: int, signed: bool) -> int:
        return int.from_bytes(self._read_exactly(store, start, size_bytes), "little", signed=signed)

    def _write_int(self, store: Storelike, value: int, start: int, size_bytes: int) -> None:
        if not isinstance(value, int):
            raise TypeError("expected an int")
        mask = (1 << 8 * size_bytes) - 1
        self._write_exactly(store, (value & mask).to_bytes(size_bytes, "little"), start)

    def read_i8(self, store: Storelike, start: int) -> int:
        """The signed byte at `start`."""
        return self._read_int(store, start, 1, signed=True)

    def read_u8(self, store: Storelike, start: int) -> int:
        """The unsigned byte at `start`."""
        return self._read_int(store, start, 1, signed=False)

    def read_i16(self, store: Storelike, start: int) -> int:
        """The signed 16-bit integer at `start`."""
        return self._read_int(store, start, 2, signed=True)

    def read_u16(self, store: Storelike, start: int) -> int:
        """The unsigned 16-bit integer at `start`."""
        return self._read_int(store, start, 2, signed=False)

    def read_i32(self, store: Storelike, start: int) -> int:
        """The signed 32-bit integer at `start`."""
        return self._read_int(store, start, 4, signed=True)

    def read_u32(self, store: Storelike, start: int) -> int:
        """The unsigned 32-bit integer at `start`; what pointers and lengths of 32-bit programs are."""
        return self._read_int(store, start, 4, signed=False)

    def read_i64(self, store: Storelike, start: int) -> int:
        """The signed 64-bit integer at `start`."""
        return self._read_int(store, start, 8, signed=True)

    def read_u64(self, store: Storelike, start: int) -> int:
        """The unsigned 64-bit integer at `start`."""
        return self._read_int(store, start, 8, signed=False)

    def read_f32(self, store: Storelike, start: int) -> float:
        """The 32-bit float at `start`."""
        value: float = _F32.unpack(self._read_exactly(store, start, 4))[0]
        return value

    def read_f64(self, store: Storelike, start: int) -> float:
        """The 64-bit float at `start`."""
        value: float = _F64.unpack(self._read_exactly(store, start, 8))[0]
        return value

    def write_i8(self, store: Storelike, value: int, start: int) -> None:
        """Writes the low 8 bits of `value` at `start`."""
        self._write_int(store, value, start, 1)

    def write_u8(self, store: Storelike, value: int, start: int) -> None:
        """Writes the low 8 bits of `value` at `start`."""
        self._write_int(store, value, start, 1)

    def write_i16(self, store: Storelike, value: int, start: int) -> None:
        """Writes the low 16 bits of `value` at `start`."""
        self._write_int(store, value, start, 2)

    def write_u16(self, store: Storelike, value: int, start: int) -> None:
        """Writes the low 16 bits of `value` at `start`."""
        self._write_int(store, value, start, 2)

    def write_i32(self, store: Storelike, value: int, start: int) -> None:
        """Writes the low 32 bits of `value` at `start`."""
        self._write_int(store, value, start, 4)

    def write_u32(self, store: Storelike, value: int, start: int) -> None:
        """Writes the low 32 bits of `value` at `start`."""
        self._write_int(store, value, start, 4)

    def write_i64(self, store: Storelike, value: int, start: int) -> None:
        """Writes the low 64 bits of `value` at `start`."""
        self._write_int(store, value, start, 8)

    def write_u64(self, store: Storelike, value: int, start: int) -> None:
        """Writes the low 64 bits of `value` at `start`."""
        self._write_int(store, value, start, 8)

    def write_f32(self, store: Storelike, value: float, start: int) -> None:
        """Writes `value`, rounded to 32 bits, at `start`. Raises OverflowError if it is finite and too large."""
        if not isinstance(value, (int, float)):
            raise TypeError("expected a float")
        self._write_exactly(store, _F32.pack(value), start)

    def write_f64(self, store: Storelike, value: float, start: int) -> None:
        """Writes `value` at `start`."""
        if not isinstance(value, (int, float)):
            raise TypeError("expected a float")
        self._write_exactly(store, _F64.pack(value), start)

    def read_utf8(self, store: Storelike, start: int, size: int) -> str:
        """The text of `size` bytes at `start`. Raises UnicodeDecodeError if they are not UTF-8."""
        return self._read_exactly(store, start, size).decode()

    def write_utf8(self, store: Storelike, value: str, start: int) -> int:
        """Writes text as UTF-8 at `start`, without a terminator; returns the number of bytes."""
        if not isinstance(value, str):
            raise TypeError("expected a str")
        encoded = value.encode()
        self._write_exactly(store, encoded, start)
        return len(encoded)
