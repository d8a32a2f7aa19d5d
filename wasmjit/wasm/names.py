"""The name section (spec appendix A.4). It is advice: damage in it is never an error."""

from __future__ import annotations

from ..errors import MalformedError
from .binary import Reader
from .module import Names

_MODULE_NAME, _FUNCTION_NAMES = 0, 1
_DAMAGED = (IndexError, UnicodeDecodeError, MalformedError)


def decode_names(data: bytes, names: Names) -> None:
    """Reads the contents of a name section into `names`: what a damaged subsection says up to the damage counts."""
    reader = Reader(data, 0)
    try:
        while reader.at < len(data):
            subsection = reader.byte()
            size = reader.unsigned()
            start = reader.skip(size)
            if subsection == _MODULE_NAME:
                names.module = Reader(data[start : reader.at], start).name()
            elif subsection == _FUNCTION_NAMES:
                _function_names(data[start : reader.at], names.functions)
    except _DAMAGED:
        pass


def _function_names(data: bytes, functions: dict[int, str]) -> None:
    """A name map: function index, length, UTF-8. LEB128s of one and two bytes are read in place: modules hold many."""
    reader = Reader(data, 0)
    count = reader.unsigned()
    at = reader.at
    for _ in range(count):
        index = data[at]
        at += 1
        if index >= 0x80:
            byte = data[at]
            at += 1
            if byte < 0x80:
                index += (byte << 7) - 0x80
            else:
                reader.at = at - 2
                index = reader.unsigned()
                at = reader.at
        length = data[at]
        at += 1
        if length >= 0x80:
            reader.at = at - 1
            length = reader.unsigned()
            at = reader.at
        end = at + length
        if end > len(data):
            return
        functions[index] = str(data[at:end], "utf-8")
        at = end
