"""Descriptors, clock and random numbers of a program with threads: one table, used by calls of several threads at once.

A call that uses a descriptor counts as its user until it is over. What is closed meanwhile stays open for the host as
long: the number that the host had for it could mean another file at once. Python objects behind standard streams are
used by one thread at a time; what waits for that is ended by interrupts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from ..runtime.native import is_interrupted
from .clocks import HostClock, RandomSource
from .constants import Errno, Rights, WasiError
from .context import WasiContext
from .descriptors import Descriptor, DescriptorTable, Directory
from .streams import HostStream, InputStream, OutputStream

_LOOK_SECONDS = 0.02  # between looks for an interrupt
_FLUSH_SECONDS = 1.0
_READDIR = Rights.FD_READDIR.value


def take_lock(lock: Any) -> None:
    """Waits for a lock. Raises WasiError (INTR) if the calling code is interrupted."""
    while not lock.acquire(timeout=_LOOK_SECONDS):
        if is_interrupted():
            raise WasiError(Errno.INTR)


class ThreadDescriptors(DescriptorTable):
    """One thread's way to a table that several threads share."""

    def __init__(self, table: DescriptorTable, listing: Any) -> None:
        self._table = table
        self._listing = listing  # a lock: who lists a directory moves the host's position in it
        self.lock = table.lock
        self._used: list[Descriptor] = []  # by the calls that are under way: they may be nested
        self._taken: list[Any] = []  # locks

    def of_thread(self) -> ThreadDescriptors:
        """That of another thread."""
        return ThreadDescriptors(self._table, self._listing)

    def has_table_of(self, other: ThreadDescriptors) -> bool:
        """Whether both are ways to the same."""
        return self._table is other._table

    def call(self, function: Callable[..., int], *arguments: Any) -> int:
        """Runs a call; what it uses is free when it is over."""
        used, taken = len(self._used), len(self._taken)
        try:
            return function(*arguments)
        finally:
            while len(self._taken) > taken:
                self._taken.pop().release()
            while len(self._used) > used:
                self._release(self._used.pop())

    def _release(self, descriptor: Descriptor) -> None:
        with self.lock:
            descriptor.users -= 1
            is_last = descriptor.is_left and not descriptor.users
        if is_last:
            descriptor.close()

    def _lock(self, lock: Any) -> None:
        if lock is not None:
            take_lock(lock)
            self._taken.append(lock)

    def look(self, number: int, right: int = 0) -> Descriptor:
        with self.lock:
            descriptor = self._table.get(number, right)
            descriptor.users += 1
        self._used.append(descriptor)
        return descriptor

    def get(self, number: int, right: int = 0) -> Descriptor:
        descriptor = self.look(number, right)
        self._lock(descriptor.lock)
        return descriptor

    def directory(self, number: int, right: int = 0) -> Directory:
        found = super().directory(number, right)
        if right & _READDIR:
            self._lock(self._listing)
        return found

    def changed(self, number: int) -> None:
        pass

    def all(self) -> list[Descriptor]:
        with self.lock:
            return self._table.all()

    def check_room(self) -> None:
        with self.lock:
            self._table.check_room()

    def add(self, descriptor: Descriptor) -> int:
        """As `DescriptorTable.add`. Raises MFILE if others were faster, and closes it."""
        try:
            with self.lock:
                self._table.check_room()
                return self._table.add(descriptor)
        except WasiError:
            descriptor.close()
            raise

    def close(self, number: int) -> None:
        with self.lock:
            descriptor = self._table.take(number)
        self._finish(descriptor)

    def renumber(self, number: int, to_number: int) -> None:
        with self.lock:
            replaced = self._table.move(number, to_number)
        if replaced is not None:
            self._finish(replaced)

    def _finish(self, descriptor: Descriptor) -> None:
        try:
            self._lock(descriptor.lock)
            descriptor.flush()
        finally:
            self._table.let_go(descriptor)

    def flush(self, descriptor: Descriptor) -> None:
        """At the end of the program. A thread that reads keeps nothing back; one that is in a function of the user's
        may not come back."""
        lock = descriptor.lock
        if isinstance(descriptor, InputStream) or (lock is not None and not lock.acquire(timeout=_FLUSH_SECONDS)):
            return
        try:
            descriptor.flush()
        finally:
            if lock is not None:
                lock.release()

    def close_all(self) -> None:
        self._table.close_all()


class _GuardedClock(HostClock):
    """A clock that each look moves, for several threads."""

    is_virtual = True

    def __init__(self, clock: HostClock) -> None:
        self._clock = clock
        self._lock = threading.Lock()

    def time_ns(self, clock: int) -> int:
        with self._lock:
            return self._clock.time_ns(clock)

    def resolution_ns(self, clock: int) -> int:
        return self._clock.resolution_ns(clock)

    def advance(self, duration_ns: int) -> None:
        with self._lock:
            self._clock.advance(duration_ns)


def _guarded(random: RandomSource) -> RandomSource:
    lock = threading.RLock()

    def guarded(count: int) -> bytes:
        take_lock(lock)
        try:
            return random(count)
        finally:
            lock.release()

    return guarded


def share_context(context: WasiContext) -> WasiContext:
    """The context, of which those of further threads can be made from here on. To be called by who runs it."""
    if context.threads is None:
        context.threads = context.descriptors = _share(context)
    return context


def context_of_thread(context: WasiContext) -> WasiContext:
    """That of a further thread of a program, made from a context that `share_context` has had."""
    descriptors = context.threads.of_thread()
    made = WasiContext(
        context.arguments, context.environment, descriptors, context.clock, context.random, context.max_threads
    )
    made.close.detach()
    made.threads = descriptors
    return made


def _share(context: WasiContext) -> ThreadDescriptors:
    """Makes what the context of a program's first thread has fit for further ones. C leaves all descriptors to Python
    from here on. To be called by the thread that runs it."""
    table = context.descriptors
    table.hide()
    inputs, outputs = threading.RLock(), threading.RLock()
    for descriptor in table.all():
        if isinstance(descriptor, InputStream):
            descriptor.lock = inputs
        elif isinstance(descriptor, OutputStream) or (isinstance(descriptor, HostStream) and descriptor.budget):
            descriptor.lock = outputs
    if context.clock.is_virtual:
        context.clock = _GuardedClock(context.clock)
    if context.random is not os.urandom:
        context.random = _guarded(context.random)
    return ThreadDescriptors(table, threading.RLock())
