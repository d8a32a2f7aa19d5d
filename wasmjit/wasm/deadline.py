"""When making a module or code has to be done with. What may take long looks at it, in the thread that began it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from ..errors import CompileTimeoutError

_local = threading.local()


@contextlib.contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Has `check` raise in this thread after so many seconds (never, if None), until the block is left.

    And for no other reason: a signal handler, or a finalizer, may make a module in the middle of what `until` is about.
    """
    before = getattr(_local, "limit", None), getattr(_local, "is_over", None)
    _local.limit = None if seconds is None else (time.monotonic() + seconds, seconds)
    _local.is_over = None
    try:
        yield
    finally:
        _local.limit, _local.is_over = before


class NotWantedError(Exception):
    """What was being made is not wanted any more."""


@contextlib.contextmanager
def until(is_over: Callable[[], object]) -> Iterator[None]:
    """Has `check` raise NotWantedError in this thread once `is_over` says so, until the block is left."""
    before = getattr(_local, "is_over", None)
    _local.is_over = is_over
    try:
        yield
    finally:
        _local.is_over = before


def check(function: int | None = None) -> None:
    """Raises CompileTimeoutError, which names the function, if the time is over; NotWantedError."""
    limit: tuple[float, float] | None = getattr(_local, "limit", None)
    if limit is not None and time.monotonic() >= limit[0]:
        raise timed_out(limit[1], function)
    is_over: Callable[[], object] | None = getattr(_local, "is_over", None)
    if is_over is not None and is_over():
        raise NotWantedError


def each(count: int) -> Iterator[int]:
    """The numbers below `count`, with a look at the clock now and then: there may be a million."""
    for number in range(count):
        if number & 0x3FF == 0:
            check()
        yield number


def timed_out(seconds: float, function: int | None) -> CompileTimeoutError:
    """The error that says so."""
    return CompileTimeoutError(f"compiling took longer than Config.compile_timeout ({seconds:g} s)", function=function)
