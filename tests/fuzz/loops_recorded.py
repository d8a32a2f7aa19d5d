"""What the wasmtime package did with random loops, written down, for where it would take too long: under emulation.

    python -m tests.fuzz.loops --count 1000 --calls 8 --record FILE
    python tools/aarch64.py -m tests.fuzz.loops --count 1000 --calls 8 --recorded FILE --tiers stencils,hot_stencils

The functions and their calls are made anew from the seed; the file has, by module, what became of each call: what it
gave, the fuel that it took, and how memory differs from what it was before.
"""

from __future__ import annotations

import ctypes
import hashlib
import pickle
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .loops_make import Arguments
from .loops_run import Subject, Theirs
from .loops_tree import PAGE_BYTES, MemoryShape, binary


class Outcome(NamedTuple):
    """Of a call. `changes`: what was there before xor what is there, compressed; nothing if nothing changed."""

    result: int | str
    spent: int
    changes: bytes


class Recording(NamedTuple):
    """Of a module: a hash of it, and the outcomes of all calls, in the order in which they are made."""

    module: bytes
    outcomes: list[Outcome]


def _changes(one: bytes, other: bytes) -> bytes:
    if one == other:
        return b""
    difference = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return zlib.compress(difference.to_bytes(len(one), "little"), 1)


def record(subjects: Sequence[Subject], memory: MemoryShape) -> Recording:
    """Calls everything under wasmtime."""
    wasm = binary([subject.function for subject in subjects], memory)
    size = memory.pages * PAGE_BYTES
    theirs = Theirs(wasm, memory)
    outcomes = []
    for index, subject in enumerate(subjects):
        for arguments in subject.calls:
            ctypes.memmove(theirs.memory, subject.image, size)
            result = theirs.call(f"f{index}", arguments)
            changes = _changes(subject.image, ctypes.string_at(theirs.memory, size))
            outcomes.append(Outcome(result, theirs.spent(), changes))
    theirs.store.close()
    return Recording(hashlib.sha256(wasm).digest(), outcomes)


def write(path: Path, recordings: dict[int, Recording]) -> None:
    """By the modules' seeds."""
    path.write_bytes(pickle.dumps(recordings))


def read(path: Path) -> dict[int, Recording]:
    """What `write` wrote."""
    found: dict[int, Recording] = pickle.loads(path.read_bytes())
    return found


class Replay:
    """Stands in the place of wasmtime's instance: calls have to come in the order in which they were recorded."""

    def __init__(self, recording: Recording, wasm: bytes, memory: MemoryShape) -> None:
        if hashlib.sha256(wasm).digest() != recording.module:
            raise ValueError("another module was recorded")
        self._outcomes: Iterator[Outcome] = iter(recording.outcomes)
        self._last = Outcome(0, 0, b"")
        self._size = memory.pages * PAGE_BYTES
        self._bytes = ctypes.create_string_buffer(self._size)
        self.memory = ctypes.addressof(self._bytes)

    def call(self, name: str, arguments: Arguments) -> int | str:
        """The result, or the trap's name."""
        del name, arguments
        self._last = next(self._outcomes)
        if self._last.changes:
            before = int.from_bytes(self._bytes.raw, "little")
            after = before ^ int.from_bytes(zlib.decompress(self._last.changes), "little")
            self._bytes.raw = after.to_bytes(self._size, "little")
        return self._last.result

    def spent(self) -> int:
        """The fuel that the last call took."""
        return self._last.spent

    def close(self) -> None:
        """There is nothing to free."""
