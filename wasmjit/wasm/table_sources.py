"""Whether the instruction table is that which the C runtime was built with, told by its sources: reading the table in
takes longer than all else that the first module of a process waits for.

The build compares table and header, and leaves this checksum in the C runtime (``runtime_c/build.py``).
"""

from __future__ import annotations

import zlib
from pathlib import Path

from .body_facts import FEATURES

# What `validator_rows.checksum` is of, with the names of features.
NAMES = ("types.py", "ops.py", "body_facts.py", "validator_rows.py")


def checksum() -> int:
    """Of the sources' bytes, never 0 but where there are none (in an archive, or bytecode alone)."""
    found = zlib.crc32(repr(FEATURES).encode())
    try:
        for name in NAMES:
            found = zlib.crc32(Path(__file__).with_name(name).read_bytes(), found)
    except OSError:
        return 0
    return found & 0x7FFFFFFF or 1
