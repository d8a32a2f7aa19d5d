"""Messages between the compiler and its worker processes: two lengths, a JSON head, a body."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

LENGTHS = struct.Struct("<II")


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None if the stream ends before or within it."""
    head = _read(stream, LENGTHS.size)
    if head is None:
        return None
    head_bytes, body_bytes = LENGTHS.unpack(head)
    fields = _read(stream, head_bytes)
    body = _read(stream, body_bytes)
    if fields is None or body is None:
        return None
    return json.loads(fields), body


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
    head = json.dumps(fields).encode()
    _write(stream, LENGTHS.pack(len(head), len(body)) + head)
    _write(stream, body)
    stream.flush()


def _write(stream: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]
