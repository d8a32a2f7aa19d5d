"""Messages between the compiler and its worker processes: two lengths, a JSON head, a body."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

FRAME = struct.Struct("<II")


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None if the stream ends before or within it."""
    head = stream.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    head_bytes, body_bytes = FRAME.unpack(head)
    fields = stream.read(head_bytes)
    body = stream.read(body_bytes)
    if len(fields) < head_bytes or len(body) < body_bytes:
        return None
    return json.loads(fields), body


def write_message(stream: IO[bytes], fields: dict[str, Any], body: bytes) -> None:
    """Writes one message."""
    head = json.dumps(fields).encode()
    stream.write(FRAME.pack(len(head), len(body)))
    stream.write(head)
    stream.write(body)
    stream.flush()
