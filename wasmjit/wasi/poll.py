"""``poll_oneoff``: waits for clocks and descriptors; an interrupt, a timeout of the Store or Ctrl-C ends the wait.

A subscription that cannot be had gives an event with its error, as the specification says, and does not fail the call.
"""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..runtime.native import is_interrupted, wait
from .constants import (
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    EVENTRWFLAGS_HANGUP,
    EVENTTYPE_CLOCK,
    EVENTTYPE_FD_READ,
    EVENTTYPE_FD_WRITE,
    SUBCLOCKFLAGS_ABSTIME,
    Errno,
    Rights,
    WasiError,
)
from .guest_memory import U32, check, span

if TYPE_CHECKING:
    from .context import WasiContext

_SUBSCRIPTION = struct.Struct("<QBxxxxxxxIxxxxQQHxxxxxx")  # userdata, tag, clock or fd, timeout, precision, flags
# userdata, tag, the clock's own userdata or the fd (whose upper half says nothing), clock, timeout, precision, flags
_UNSTABLE_SUBSCRIPTION = struct.Struct("<QBxxxxxxxQIxxxxQQHxxxxxx")
_EVENT = struct.Struct("<QHBxxxxxQHxxxxxx")  # userdata, error, type, bytes, flags

_MAX_SUBSCRIPTIONS = 65536
_MAX_SLEEP_NS = 10**15
_POLL_RIGHT = Rights.POLL_FD_READWRITE.value


class Subscription(NamedTuple):
    """``subscription``."""

    userdata: int
    event_type: int
    subject: int  # clock id or descriptor
    timeout_ns: int
    precision_ns: int
    flags: int


class _Event(NamedTuple):
    userdata: int
    error: Errno
    event_type: int
    byte_count: int
    flags: int


class _Poll:
    """One call: the subscriptions by what they wait for, and the events there are already."""

    def __init__(self, context: WasiContext, subscriptions: Sequence[Subscription]) -> None:
        self._context = context
        self._clock = context.clock
        self._deadlines: list[tuple[int, Subscription]] = []  # by `_now_ns`
        self._waiting: list[tuple[int, int, Subscription]] = []  # host descriptor, select.POLL*, subscription
        self._events: list[_Event] = []
        now_ns = self._now_ns()
        for subscription in subscriptions:
            try:
                self._add(subscription, now_ns)
            except WasiError as error:
                self._fire(subscription, error.code)

    def _now_ns(self) -> int:
        return self._clock.time_ns(CLOCK_MONOTONIC)

    def _fire(self, subscription: Subscription, error: Errno = Errno.SUCCESS, count: int = 0, flags: int = 0) -> None:
        self._events.append(_Event(subscription.userdata, error, subscription.event_type, count, flags))

    def _fire_ready(self, subscription: Subscription, flags: int = 0) -> None:
        """A descriptor is ready."""
        count = 1
        if subscription.event_type == EVENTTYPE_FD_READ:
            try:
                count = self._context.descriptors.look(subscription.subject).available_bytes()
            except OSError:  # not of a kind that tells
                count = 1
        self._fire(subscription, count=count, flags=flags)

    def _add(self, subscription: Subscription, now_ns: int) -> None:
        if subscription.event_type == EVENTTYPE_CLOCK:
            self._deadlines.append((self._deadline_ns(subscription, now_ns), subscription))
        elif subscription.event_type in (EVENTTYPE_FD_READ, EVENTTYPE_FD_WRITE):
            host_fd = self._context.descriptors.look(subscription.subject, _POLL_RIGHT).host_fd
            if host_fd is None:
                self._fire_ready(subscription)
            else:
                mask = select.POLLIN if subscription.event_type == EVENTTYPE_FD_READ else select.POLLOUT
                self._waiting.append((host_fd, mask, subscription))
        else:
            raise WasiError(Errno.INVAL)

    def _deadline_ns(self, subscription: Subscription, now_ns: int) -> int:
        """When a clock subscription fires, by `_now_ns`."""
        if subscription.subject not in (CLOCK_REALTIME, CLOCK_MONOTONIC):
            raise WasiError(Errno.INVAL)
        wait_ns = subscription.timeout_ns
        if subscription.flags & SUBCLOCKFLAGS_ABSTIME:
            by_clock = self._clock.time_ns(CLOCK_REALTIME) if subscription.subject == CLOCK_REALTIME else now_ns
            wait_ns -= by_clock
        return now_ns + max(0, wait_ns)

    def run(self) -> list[_Event]:
        """Waits until at least one subscription fires; the events."""
        earliest_ns = min((deadline for deadline, _ in self._deadlines), default=None)
        if self._clock.is_virtual and earliest_ns is not None:
            signalled = self._wait(0)
            if not signalled and not self._events:
                self._clock.advance(max(0, earliest_ns - self._now_ns()))
        else:
            left_ns = None if earliest_ns is None else max(0, earliest_ns - self._now_ns())
            signalled = self._wait(0 if self._events else left_ns)
        for host_fd, mask, subscription in self._waiting:
            found = signalled.get(host_fd, 0)
            if found & select.POLLNVAL:
                self._fire(subscription, Errno.BADF)
            elif found & (mask | select.POLLHUP | select.POLLERR):
                self._fire_ready(subscription, EVENTRWFLAGS_HANGUP if found & select.POLLHUP else 0)
        now_ns = self._now_ns()
        for deadline_ns, subscription in self._deadlines:
            if deadline_ns <= now_ns:
                self._fire(subscription)
        return self._events

    def _wait(self, timeout_ns: int | None) -> dict[int, int]:
        """Host descriptor -> poll events, once there are any, the time (None: for ever) is over, or the calling code is
        interrupted: it ends when we return."""
        masks: dict[int, int] = {}
        for host_fd, mask, _ in self._waiting:
            masks[host_fd] = masks.get(host_fd, 0) | mask
        if not masks and timeout_ns in (None, 0):
            return {}
        deadline_ns = None if timeout_ns is None else time.monotonic_ns() + timeout_ns
        left_ns = timeout_ns
        while True:
            signalled = wait(masks, None if left_ns is None else min(left_ns, _MAX_SLEEP_NS))
            if deadline_ns is not None:
                left_ns = max(0, deadline_ns - time.monotonic_ns())
            if signalled or left_ns == 0 or is_interrupted():
                return signalled


class SubscriptionLayout(NamedTuple):
    """How subscriptions lie in memory."""

    fields: struct.Struct
    make: Callable[[tuple[int, ...]], Subscription]


def _unstable_subscription(fields: tuple[int, ...]) -> Subscription:
    userdata, tag, first, clock, timeout_ns, precision_ns, flags = fields
    subject = clock if tag == EVENTTYPE_CLOCK else first & 0xFFFF_FFFF
    return Subscription(userdata, tag, subject, timeout_ns, precision_ns, flags)


PREVIEW1_LAYOUT = SubscriptionLayout(_SUBSCRIPTION, Subscription._make)
UNSTABLE_LAYOUT = SubscriptionLayout(_UNSTABLE_SUBSCRIPTION, _unstable_subscription)


def poll(
    context: WasiContext, memory: memoryview, layout: SubscriptionLayout, pointers: tuple[int, int, int, int]
) -> None:
    """``poll_oneoff`` with subscriptions of a `layout`; `pointers`: subscriptions, events, count, result."""
    subscriptions, events, count, result = pointers
    if not 0 < count <= _MAX_SUBSCRIPTIONS:
        raise WasiError(Errno.INVAL)
    array = span(memory, subscriptions, count * layout.fields.size)
    check(memory, events, count * _EVENT.size)
    check(memory, result, 4)
    fired = _Poll(context, [layout.make(fields) for fields in layout.fields.iter_unpack(array)]).run()
    for index, event in enumerate(fired):
        _EVENT.pack_into(memory, events + index * _EVENT.size, *event)
    U32.pack_into(memory, result, len(fired))
