"""A cursor over bytes of the binary format (spec section 5.2): integers, names, with offsets into the module."""

from __future__ import annotations

from ..errors import MalformedError
from .leb128 import read_signed, read_unsigned

# What wasm engines agreed on (wasm-tools enforces the same number); the specification sets none.
MAX_NAME_BYTES = 100_000


class Reader:
    """Reads `data` from `at` on; `base` is the offset of ``data[0]`` in the module.

    Reading past the end raises IndexError, which costs nothing on the way: whoever owns the Reader turns it into
    MalformedError. `data` is bytes, or a memoryview where copying would be wasteful (then `name` must not be used).
    """

    __slots__ = ("at", "base", "data")

    def __init__(self, data: bytes | memoryview, base: int) -> None:
        self.data = data
        self.at = 0
        self.base = base

    def error(self, message: str, at: int | None = None) -> MalformedError:
        """The error to raise; `at` is a position in `data`, by default the cursor."""
        return MalformedError(message, offset=self.base + (self.at if at is None else at))

    def byte(self) -> int:
        """The next byte."""
        value = self.data[self.at]
        self.at += 1
        return value

    def unsigned(self, bits: int = 32) -> int:
        """An unsigned LEB128 integer of at most `bits` bits."""
        at = self.at
        value = self.data[at]
        if value < 0x80:
            self.at = at + 1
            return value
        try:
            value, self.at = read_unsigned(self.data, at, bits)
        except MalformedError as error:
            raise self.error(error.reason, at) from None
        return value

    def signed(self, bits: int = 32) -> int:
        """A signed LEB128 integer of at most `bits` bits."""
        at = self.at
        try:
            value, self.at = read_signed(self.data, at, bits)
        except MalformedError as error:
            raise self.error(error.reason, at) from None
        return value

    def skip(self, count: int) -> int:
        """Steps over `count` bytes; returns where they start in `data`."""
        start = self.at
        if count > len(self.data) - start:
            raise self.error("length out of bounds", start)
        self.at = start + count
        return start

    def name(self) -> str:
        """A name: a length in bytes, then UTF-8 (spec section 5.2.4)."""
        length_at = self.at
        length = self.unsigned()
        if length > MAX_NAME_BYTES:
            raise self.error(f"string size out of bounds: a name of {length} bytes", length_at)
        start = self.skip(length)
        try:
            return str(self.data[start : self.at], "utf-8")
        except UnicodeDecodeError as error:
            raise self.error("malformed UTF-8 encoding", start + error.start) from None
