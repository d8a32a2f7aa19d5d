"""Reads what is said to be a module, and no more of it than one may have: a device or a pipe need not end."""

from __future__ import annotations

import errno
import os
from typing import BinaryIO

from .errors import CompileError

_BINARY_MAGIC = b"\0asm"
_PIECE_BYTES = 1 << 20
# Of the text format, whose length says little about that of the module.
_MOST_TEXT_BYTES = 1 << 30
# Of files with settings, and lists.
_MOST_WRITTEN_BYTES = 1 << 20


def read_written(path: str | os.PathLike[str], most_bytes: int = _MOST_WRITTEN_BYTES) -> bytes:
    """What a file holds that people write. Raises OSError, also for one that is larger than those are."""
    with open(path, "rb") as file:
        contents = file.read(most_bytes + 1)
    if len(contents) > most_bytes:
        raise OSError(errno.EFBIG, f"has more than {most_bytes >> 20} MiB", os.fspath(path))
    return contents


def read_module(file: BinaryIO, most_bytes: int, first: bytes = b"") -> bytes:
    """The rest of `file` behind `first`, what was read of it already, with that.

    Raises OSError, and CompileError for a binary module of more than `most_bytes`. What begins as no module does is not
    read to its end.
    """
    first += file.read(max(len(_BINARY_MAGIC) - len(first), 0))
    is_binary = first.startswith(_BINARY_MAGIC)
    if not is_binary and first.startswith(_BINARY_MAGIC[:1]):
        return first
    most = most_bytes if is_binary else max(most_bytes, _MOST_TEXT_BYTES)
    pieces = [first]
    size_bytes = len(first)
    while size_bytes <= most:
        piece = file.read(min(_PIECE_BYTES, most + 1 - size_bytes))
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size_bytes += len(piece)
    raise CompileError(f"the module has more than {most} bytes: Config.max_module_bytes is {most_bytes}")
