"""Threads that wait for compilers, where one compilation has several at work.

Those of `concurrent.futures` do nothing more once the main thread has ended, though others run on; and who gives them
something holds a lock, which a signal handler that compiles would wait for in the same thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .. import processes

Job = Callable[[], None]


class Crew:
    """Threads, which end when there is nothing to do.

    Without locks: who holds one may be interrupted by a signal handler that waits for these threads.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._at_work: set[object] = set()  # one mark for each thread

    def submit(self, job: Job, most: int) -> None:
        """Has one of at most so many threads do a job, which raises nothing.

        Raises RuntimeError or MemoryError if there can be no thread.
        """
        self._jobs.append(job)
        mark = object()
        try:
            if len(self._at_work) < most:
                self._at_work.add(mark)
                processes.start_thread(lambda: self._work(mark))
        except BaseException as error:
            self._at_work.discard(mark)
            if isinstance(error, (RuntimeError, MemoryError)):
                try:
                    self._jobs.remove(job)
                except ValueError:  # another thread has it
                    return
            raise

    def _work(self, mark: object) -> None:
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                # Whoever brings a job looks how many are at work after that: either sees the other.
                self._at_work.discard(mark)
                if not self._jobs:
                    return
                self._at_work.add(mark)
                continue
            job()
            del job  # not to be kept while waiting
