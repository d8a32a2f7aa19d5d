"""What is written to people: errors, in colour on a terminal, and progress bars. stdout is the program's."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import printable

SHOW_AFTER_SECONDS = 1.0
_RED_BOLD, _PLAIN = "\033[1;31m", "\033[0m"

Progress = Callable[[Any], None]


def use_colour(stream: Any) -> bool:
    """Whether to colour what is written to `stream`: on a terminal, unless NO_COLOR says no (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # closed, or not a file
        return False


def show(text: str, end: str = "\n") -> None:
    """Writes to stdout what may hold names out of modules and files: escape sequences do not reach the terminal."""
    print(printable(text), end=end)


def show_traceback(error: BaseException) -> None:
    """Writes where an error came from to stderr."""
    import traceback

    if sys.stderr is not None:
        print(printable("".join(traceback.format_exception(error))), end="", file=sys.stderr)


def report(text: str, stream: Any = None) -> None:
    """Writes an error to stderr, behind what stdout has."""
    stream = sys.stderr if stream is None else stream
    if stream is None:  # a process without standard streams
        return
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        pass  # what cannot be written there is no reason to be silent here
    label = "wasmjit: error: "
    if use_colour(stream):
        label = f"{_RED_BOLD}wasmjit: error:{_PLAIN} "
    with contextlib.suppress(OSError, ValueError):  # a full disk, a closed pipe: there is no other place to say it
        print(f"{label}{printable(text.rstrip())}", file=stream, flush=True)


@contextmanager
def compile_progress(title: str) -> Iterator[Progress | None]:
    """What to give to Module as `progress`: shows a bar on a terminal when it takes over a second; else None."""
    stream = sys.stderr
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    bar = _Bar(f"compiling {printable(title, newlines=False)}")
    try:
        yield bar.update
    finally:
        bar.close()


class _Bar:
    """A progress bar that appears late: in a thread of its own, because a large function reports nothing for long."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._lock = threading.Lock()
        self._done, self._total = 0, 0
        self._closed = False
        self._shown: Any = None
        self._task: Any = None
        self._timer = threading.Timer(SHOW_AFTER_SECONDS, self._show)
        self._timer.daemon = True
        self._timer.start()

    def update(self, progress: Any) -> None:
        """Takes a CompileProgress."""
        with self._lock:
            self._done, self._total = progress.functions_done, progress.functions_total
            if self._shown is not None:
                self._shown.update(self._task, completed=self._done, total=self._total)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._lock:
            if self._closed:
                return
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total} functions", markup=False),
                TimeElapsedColumn(),
            )
            self._shown = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._shown.add_task(self.title, completed=self._done, total=self._total or None)
            self._shown.start()

    def close(self) -> None:
        """Takes it away again."""
        self._timer.cancel()
        with self._lock:
            self._closed = True
            if self._shown is not None:
                self._shown.stop()
        self._timer.join()
