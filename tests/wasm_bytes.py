"""Binary modules by hand, for the tests: LEB128, vectors, sections."""

from __future__ import annotations

HEADER = b"\0asm\1\0\0\0"
EMPTY_TYPE = b"\x60\0\0"  # [] -> []
ZERO = b"\x41\0\x0b"  # i32.const 0, end
EMPTY_BODY = b"\2\0\x0b"  # two bytes: no locals, end

TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT, TAG = range(1, 14)


def unsigned(value: int, width: int = 1) -> bytes:
    """An unsigned LEB128 of at least `width` bytes."""
    out = bytearray()
    while value >= 0x80 or len(out) + 1 < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    """A signed LEB128 of the shortest form."""
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def vector(*items: bytes) -> bytes:
    """A count, then the items."""
    return unsigned(len(items)) + b"".join(items)


def name(text: str) -> bytes:
    """A length in bytes, then UTF-8."""
    encoded = text.encode()
    return unsigned(len(encoded)) + encoded


def section(number: int, contents: bytes) -> bytes:
    """A section: id, size, contents."""
    return bytes([number]) + unsigned(len(contents)) + contents


def custom(section_name: str, contents: bytes = b"") -> bytes:
    """A custom section."""
    return section(0, name(section_name) + contents)


def module(*sections: bytes) -> bytes:
    """A module of these sections."""
    return HEADER + b"".join(sections)


def functions(*bodies: bytes, type_section: bytes = section(TYPE, vector(EMPTY_TYPE))) -> tuple[bytes, bytes, bytes]:
    """Type, function and code sections of functions of type 0, given their instructions (without locals, with end)."""
    entries = [unsigned(len(body) + 1) + b"\0" + body for body in bodies]
    return type_section, section(FUNCTION, vector(*[b"\0"] * len(bodies))), section(CODE, vector(*entries))
