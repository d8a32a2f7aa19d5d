"""Upper bounds of time on a machine that does other things as well."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator


def is_quick(act: Callable[[], object], seconds: float, attempts: int = 20) -> bool:
    """Whether `act` takes less than this by the clock, once at least: others' work makes some attempts slow, what is
    wrong here makes all of them slow."""
    for _ in range(attempts):
        began = time.monotonic()
        act()
        if time.monotonic() - began < seconds:
            return True
    return False


def becomes_true(holds: Callable[[], object], seconds: float = 120, pause: float = 0.01) -> bool:
    """Whether it does, at some time; the time is only for tests that fail."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return bool(holds())
        time.sleep(pause)
    return True


@contextlib.contextmanager
def again_and_again(act: Callable[[], object], seconds: float = 0.05) -> Iterator[None]:
    """Has a thread call it from time to time: what it is to end may begin only after the first."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(seconds):
            act()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
