"""What goes on after a program's normal end: at most one process per user, which fills the cache within a budget.

A program hands over what it wanted made by writing it to a file in memory that its optimiser has from the start
(`Legacy`); one that is killed hands over nothing, and its processes end with it. Who goes on holds a lock of the
user's; who does not get it at once ends.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Sequence
from typing import IO, Any

from .. import processes, thresholds

_COMMITTED = b"wasmjit\n"


class Legacy:
    """A file in memory that parent and optimiser share: what is to be made after the parent's end."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.descriptor = os.memfd_create("wasmjit")

    def close(self) -> None:
        """Lets go of it."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def write(self, requests: Sequence[tuple[dict[str, Any], bytes]], budget: dict[str, int]) -> None:
        """Has the child go on when this process has ended. Raises OSError."""
        from ..compile.wire import write_message

        with open(self.descriptor, "r+b", closefd=False) as file:
            file.write(bytes(len(_COMMITTED)))
            write_message(file, budget, b"")
            size_bytes = 0
            for fields, wasm in requests[: thresholds.MOST_LEFT_REQUESTS]:
                size_bytes += len(wasm)
                if size_bytes > thresholds.MOST_LEFT_REQUEST_BYTES:
                    break
                write_message(file, fields, wasm)
        os.pwrite(self.descriptor, _COMMITTED, 0)  # now it is whole


def read_legacy(descriptor: int) -> tuple[dict[str, Any], list[tuple[dict[str, Any], bytes]]] | None:
    """The budget and the requests that a parent left behind; None if there are none."""
    from ..compile.wire import read_message

    with contextlib.suppress(OSError, ValueError):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        file: IO[bytes] = io.BytesIO(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        if file.read(len(_COMMITTED)) != _COMMITTED:
            return None
        messages = []
        while (message := read_message(file)) is not None:
            messages.append(message)
        if messages:
            return messages[0][0], messages[1:]
    return None


def keep_within(budget: dict[str, Any], turn: int) -> None:
    """Has the system bound this process from now on: processor time, memory, time; it gives way to all others."""
    import resource
    import signal

    with contextlib.suppress(OSError):
        os.ftruncate(turn, 0)
        os.pwrite(turn, b"%d\n" % os.getpid(), 0)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = max(1, int(budget["cpu_seconds"]))
    limit = int(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_CPU, limit)
    _lower(resource.RLIMIT_AS, int(budget["memory_bytes"]))
    signal.setitimer(signal.ITIMER_REAL, seconds * thresholds.BACKGROUND_WALL_SECONDS_A_CPU_SECOND)
    niceness = int(budget.get("niceness", thresholds.BACKGROUND_NICENESS))  # of an earlier version: not told
    tasks = os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else ["0"]
    for thread in map(int, tasks if niceness else ()):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    processes.give_way(niceness)
    with contextlib.suppress(OSError):
        os.chdir("/")  # nobody is to be kept from unmounting where the program was


def _lower(kind: int, limit: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(kind, (limit, limit))
