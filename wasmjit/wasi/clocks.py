"""The clocks and the random numbers that a program gets: the host's, or ones that repeat."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from .constants import (
    CLOCK_MONOTONIC,
    CLOCK_PROCESS_CPUTIME,
    CLOCK_REALTIME,
    CLOCK_THREAD_CPUTIME,
    Errno,
    WasiError,
)

_DEFAULT_START_NS = 946_684_800 * 10**9  # 2000-01-01, midnight UTC

RandomSource = Callable[[int], bytes]


_CLOCKS: dict[int, tuple[Callable[[], int], str]] = {
    CLOCK_REALTIME: (time.time_ns, "time"),
    CLOCK_MONOTONIC: (time.monotonic_ns, "monotonic"),
    CLOCK_PROCESS_CPUTIME: (time.process_time_ns, "process_time"),
    CLOCK_THREAD_CPUTIME: (time.thread_time_ns, "thread_time"),
}


class HostClock:
    """The host's clocks."""

    is_virtual = False

    def time_ns(self, clock: int) -> int:
        """What a clock shows. Raises INVAL for a number that is none."""
        try:
            return _CLOCKS[clock][0]()
        except KeyError:
            raise WasiError(Errno.INVAL) from None

    def resolution_ns(self, clock: int) -> int:
        """Its resolution. Raises INVAL."""
        if clock not in _CLOCKS:
            raise WasiError(Errno.INVAL)
        name = _CLOCKS[clock][1]
        return max(1, round(time.get_clock_info(name).resolution * 1e9))  # type: ignore[arg-type]

    def advance(self, duration_ns: int) -> None:
        """Lets time pass without waiting. Not for this clock."""
        raise NotImplementedError


class VirtualClock(HostClock):
    """Clocks that show the same in every run: time passes only by being looked at, and by sleeping, which takes none.

    `start_ns` is what the wall clock shows at first, in nanoseconds since 1970; the other clocks start at 0. Each look
    at any of them moves all on by `step_ns`: with 0 they stand still but for sleeps, and a program that waits by
    looking at the clock again and again does so for ever. For `WasiConfig.clock`; each run starts anew.

    >>> from wasmjit import WasiConfig
    >>> config = WasiConfig(clock=VirtualClock(1_700_000_000 * 10**9, step_ns=1000))
    """

    is_virtual = True

    def __init__(self, start_ns: int = _DEFAULT_START_NS, step_ns: int = 1000) -> None:
        for name, value in (("start_ns", start_ns), ("step_ns", step_ns)):
            if not isinstance(value, int) or not 0 <= value < 1 << 63:
                raise ValueError(f"{name} must be an int of at least 0 that fits 63 bits, not {value!r}")
        self.start_ns = start_ns
        self.step_ns = step_ns
        self._elapsed_ns = 0

    def started(self) -> VirtualClock:
        """A clock with these settings that nobody has looked at."""
        return VirtualClock(self.start_ns, self.step_ns)

    def time_ns(self, clock: int) -> int:
        """What a clock shows; the look moves them on. Raises INVAL for a number that is none."""
        self.resolution_ns(clock)
        shown = self._elapsed_ns + (self.start_ns if clock == CLOCK_REALTIME else 0)
        self._elapsed_ns += self.step_ns
        return min(shown, (1 << 64) - 1)

    def resolution_ns(self, clock: int) -> int:
        """Its resolution. Raises INVAL."""
        if clock not in _CLOCKS:
            raise WasiError(Errno.INVAL)
        return max(1, self.step_ns)

    def advance(self, duration_ns: int) -> None:
        """Lets time pass."""
        self._elapsed_ns += duration_ns


def clock_from(setting: object) -> HostClock:
    """The clock that a `WasiConfig.clock` names. Raises TypeError, ValueError."""
    if setting is None:
        return HostClock()
    if isinstance(setting, VirtualClock):
        return setting.started()
    if isinstance(setting, int) and not isinstance(setting, bool):
        return VirtualClock(setting, step_ns=0)
    raise TypeError(f"clock must be None, nanoseconds as an int or a VirtualClock, not {type(setting).__name__}")


def random_from(setting: object) -> RandomSource:
    """What gives random bytes by a `WasiConfig.random`. Raises TypeError."""
    if setting is None:
        return os.urandom
    if isinstance(setting, (int, bytes)) and not isinstance(setting, bool):
        import random

        return random.Random(setting).randbytes
    if callable(setting):
        return setting
    raise TypeError(
        f"random must be None, a seed (int or bytes) or a function of the number of bytes, not {type(setting).__name__}"
    )
