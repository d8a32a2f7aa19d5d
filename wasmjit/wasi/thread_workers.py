"""Python threads that are kept for a moment when what they ran is over: waking one takes a fraction of starting one."""

from __future__ import annotations

import _thread
import os
import threading
from collections.abc import Callable

_MOST_IDLE = 16
_IDLE_SECONDS = 1.0
# Before what can be done later is begun: whoever waits for the thread's end may need its processor first.
_BEFORE_LATER_SECONDS = 0.0005
_IDLE_NAME = "wasmjit-idle"

Later = Callable[[], None]
Work = Callable[[], "Later | None"]

_idle: list[_Worker] = []  # whoever takes one out of it owns it


def run(work: Work, name: str) -> None:
    """Runs `work` in a thread of this name that keeps nothing from ending, and then what it returned, unless the thread
    has other work at once. Both raise nothing. Raises RuntimeError if the system has no more threads."""
    worker = _take_idle()
    if worker is None:
        _Worker(work, name).thread.start()
    else:
        worker.take(work, name)


def _take_idle() -> _Worker | None:
    try:
        return _idle.pop()
    except IndexError:
        return None


def lose_name() -> None:
    """By the work: the thread goes on for a moment, but as nobody's."""
    threading.current_thread().name = _IDLE_NAME


class _Worker:
    """A thread, and what it runs next."""

    def __init__(self, work: Work, name: str) -> None:
        self._work: Work | None = work
        self._has_work = _thread.allocate_lock()
        self._has_work.acquire()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def take(self, work: Work, name: str) -> None:
        """To be called by who took it from the idle ones."""
        self._work = work
        self.thread.name = name
        self._has_work.release()

    def _run(self) -> None:
        while (work := self._work) is not None:
            self._work = None
            later = work()
            del work  # and what it refers to: the thread may wait for long
            lose_name()
            if later is not None and not self._is_given_work(_BEFORE_LATER_SECONDS):
                later()
            del later
            if self._work is None:
                self._is_given_work(_IDLE_SECONDS)

    def _is_given_work(self, within_seconds: float) -> bool:
        if len(_idle) >= _MOST_IDLE:
            return False
        _idle.append(self)
        if self._has_work.acquire(timeout=within_seconds):
            return True
        try:
            _idle.remove(self)
        except ValueError:  # somebody has it, and is about to say for what
            return self._has_work.acquire()
        return False


os.register_at_fork(after_in_child=_idle.clear)
