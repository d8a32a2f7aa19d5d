"""Messages between the compiler and its worker processes: two lengths, a head, a body.

The head is JSON, but of what a worker is asked, which it need not import `json` for: it is one with what asks, and the
same Python. What LLVM was given comes from anywhere, and what a worker says is read as what may come from anywhere.
"""

from __future__ import annotations

import marshal
import struct
from typing import IO, Any

LENGTHS = struct.Struct("<II")


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None if the stream ends before or within it."""
    parts = _read_parts(stream)
    if parts is None:
        return None
    import json

    return json.loads(parts[0]), parts[1]


def read_request(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The same of what `write_request` wrote. For a worker."""
    parts = _read_parts(stream)
    return None if parts is None else (marshal.loads(parts[0]), parts[1])


def _read_parts(stream: IO[bytes]) -> tuple[bytes, bytes] | None:
    lengths = _read(stream, LENGTHS.size)
    if lengths is None:
        return None
    head_bytes, body_bytes = LENGTHS.unpack(lengths)
    head = _read(stream, head_bytes)
    body = _read(stream, body_bytes)
    return None if head is None or body is None else (head, body)


def _read(stream: IO[bytes], size_bytes: int) -> bytes | None:
    """As many bytes, of a stream without a buffer, too; None if it ends before."""
    data = stream.read(size_bytes)
    if len(data) == size_bytes:
        return data
    parts, missing = [data], size_bytes - len(data)
    while data and missing:
        data = stream.read(missing)
        parts.append(data)
        missing -= len(data)
    return None if missing else b"".join(parts)


def write_message(stream: IO[bytes], fields: dict[str, Any], body: bytes) -> None:
    """Writes one message."""
    _write_parts(stream, _json(fields).encode(), body)


def write_request(stream: IO[bytes], fields: dict[str, Any], body: bytes) -> None:
    """The same, for a worker."""
    _write_parts(stream, marshal.dumps(fields), body)


def _json(fields: dict[str, Any]) -> str:
    """JSON of plain fields, without the library's module."""
    parts = []
    for name, value in fields.items():
        if type(value) is str and value.isascii() and value.isprintable() and not set('"\\') & set(value):
            parts.append(f'"{name}": "{value}"')
        elif type(value) is float and value - value == 0:
            parts.append(f'"{name}": {value!r}')
        else:
            import json

            return json.dumps(fields)
    return "{" + ", ".join(parts) + "}"


def _write_parts(stream: IO[bytes], head: bytes, body: bytes) -> None:
    _write(stream, LENGTHS.pack(len(head), len(body)) + head)
    _write(stream, body)
    stream.flush()


def _write(stream: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]
