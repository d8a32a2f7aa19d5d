"""Where the time of a thread goes, by phase: of `wasmjit run --timing` (docs/performance.md).

Who does one of the phases says so with `phase`, which costs next to nothing where nobody listens (`listen`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

# The phases, in the order in which they come first.
READING = "reading"
CACHE = "looking in the cache"
DECODING = "decoding"
VALIDATION = "validation"
COMPILING = "compiling"
LOADING = "loading"
INSTANTIATION = "instantiation"
EXECUTION = "execution"
WAITING = "waiting for code"
ASKING = "asking for better code"
PHASES = (READING, CACHE, DECODING, VALIDATION, COMPILING, LOADING, INSTANTIATION, EXECUTION, WAITING, ASKING)


class Stopwatch:
    """Seconds by phase, each without the phases within it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._thread = threading.get_ident()
        self._running: list[str] = []
        self._since = 0.0

    def _turn(self) -> None:
        """What runs gets the time until now."""
        now = time.perf_counter()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Around a phase."""
        self._turn()
        self._running.append(name)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    @property
    def is_for_this_thread(self) -> bool:
        """Whether this thread is the one whose time it takes."""
        return threading.get_ident() == self._thread


_listening: Stopwatch | None = None
_NOTHING = contextlib.nullcontext()


@contextlib.contextmanager
def listen() -> Iterator[Stopwatch]:
    """Takes the time of this thread's phases until the block is left. One at a time in a process."""
    global _listening
    before, _listening = _listening, Stopwatch()
    try:
        yield _listening
    finally:
        _listening = before


def phase(name: str) -> contextlib.AbstractContextManager[None]:
    """Around what belongs to a phase."""
    stopwatch = _listening
    if stopwatch is None or not stopwatch.is_for_this_thread:
        return _NOTHING
    return stopwatch.measure(name)
