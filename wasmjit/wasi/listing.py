"""How directories are listed a buffer at a time, without keeping lists: a program may have a thousand of them open.

A cookie says where to go on: it counts entries, as wasmtime's do. Of host directories the last ones given out stand for
the kernel's own positions (``d_off``), where entries are sorted for names, and in virtual directories each entry keeps
its number as long as it is there. So who reads on sees all that is there all the time once, whatever is made or removed
between the calls; who goes back in a host directory does as long as it does not change.
"""

from __future__ import annotations

import ctypes
import errno
import heapq
import os
import struct
import sys
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from .constants import FileType, file_type_from_mode

# The cookies 1 and 2 are those behind ``.`` and ``..``, which begin every list.
FIRST_COOKIE = 2
_DIRENT64 = struct.Struct("=QqHB")  # inode, offset, length of the record, type; the name follows
_SYS_GETDENTS64 = {"x86_64": 217, "aarch64": 61}.get(os.uname().machine)
_BUFFER_BYTES = 1 << 15
_SMALLEST_BUFFER_BYTES = 512  # for the longest name
_BATCH_NAMES = 4096
_BATCHES = 4

Item = TypeVar("Item")


# What the kernel says of one entry: position behind it, inode, type (None where it does not say), name. Plain tuples:
# there may be many.
HostEntry = tuple[int, int, FileType | None, bytes]
_FILE_TYPES = {kind: file_type_from_mode(kind << 12) for kind in range(1, 16)}  # of ``d_type``


def _find_getdents() -> Callable[..., int] | None:
    if sys.platform != "linux" or _SYS_GETDENTS64 is None:
        return None
    try:
        syscall = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError):  # a Python without dynamic loading
        return None
    syscall.restype = ctypes.c_long
    syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    return syscall


_getdents = _find_getdents()
knows_positions = _getdents is not None


def host_entries(host_fd: int, position: int, about_bytes: int) -> Iterator[HostEntry]:
    """The entries of an open directory behind a position of the kernel's; 0 is the beginning. Moves the descriptor's
    own position. `about_bytes`: how much the caller has room for. Raises OSError."""
    assert _getdents is not None and _SYS_GETDENTS64 is not None
    try:
        os.lseek(host_fd, position, os.SEEK_SET)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOVERFLOW):  # nothing was ever there
            return
        raise
    buffer_bytes = max(_SMALLEST_BUFFER_BYTES, min(about_bytes, _BUFFER_BYTES))
    buffer = ctypes.create_string_buffer(buffer_bytes)
    while True:
        size_bytes = int(_getdents(_SYS_GETDENTS64, host_fd, buffer, buffer_bytes))
        if size_bytes < 0:
            code = ctypes.get_errno()
            if code == errno.ENOENT:  # the directory was removed
                return
            raise OSError(code, os.strerror(code))
        if size_bytes == 0:
            return
        records = buffer.raw[:size_bytes]
        at = 0
        while at < size_bytes:
            inode, offset, length, kind = _DIRENT64.unpack_from(records, at)
            name = records[at + _DIRENT64.size : at + length]
            name = name[: name.index(b"\0")]
            at += length
            if name not in (b".", b".."):
                yield offset, inode, _FILE_TYPES.get(kind), name


class HostListing:
    """The entries of an open directory in the kernel's order. Cookies count them; of the last few it is kept which
    position of the kernel's they stand for."""

    def __init__(self, host_fd: int) -> None:
        self._host_fd = host_fd
        self._recent: deque[tuple[int, int]] = deque(maxlen=4)  # (cookie, position)

    def behind(self, cookie: int, about_bytes: int) -> Iterator[HostEntry]:
        """What comes behind `cookie`, with cookies for positions; `FIRST_COOKIE` begins anew."""
        following, start = FIRST_COOKIE, 0
        for known in self._recent:
            if known[0] == cookie:
                following, start = known
        for position, inode, file_type, name in host_entries(self._host_fd, start, about_bytes):
            following += 1
            if following > cookie:
                self._recent.append((following, position))
                yield following, inode, file_type, name


class SortedNames:
    """A directory that is listed in the order of its names, some of them at a time: cookies count them.

    `scan` gives all names, in any order. What is kept is bounded: of each list the last names that were given out, and
    of the few that were used last a batch of names to come.
    """

    _with_batches: ClassVar[deque[weakref.ref[SortedNames]]] = deque()

    def __init__(self, scan: Callable[[], Iterator[bytes]]) -> None:
        self._scan = scan
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=4)  # (cookie behind it, name)
        self._batch: list[bytes] = []
        self._batch_start = FIRST_COOKIE  # the cookie in front of the batch

    def behind(self, cookie: int) -> Iterator[tuple[int, bytes]]:
        """(the cookie behind it, name) of what comes behind `cookie`; `FIRST_COOKIE` begins anew."""
        if cookie == FIRST_COOKIE:
            self._recent.clear()
            self._batch = []
        while True:
            at = cookie - self._batch_start
            if not 0 <= at < len(self._batch):
                self._load(cookie)
                at = 0
                if not self._batch:
                    return
            for name in self._batch[at:]:
                cookie += 1
                self._recent.append((cookie, name))
                yield cookie, name

    def _load(self, cookie: int) -> None:
        """Makes a batch of what comes behind `cookie`."""
        last = next((name for known, name in self._recent if known == cookie), None)
        if last is None:  # by counting: right as long as nothing in front was made or removed
            last = b""
            for skipped in range(FIRST_COOKIE, cookie, _BATCH_NAMES):
                names = self._after(last, min(_BATCH_NAMES, cookie - skipped))
                if not names:
                    self._batch = []
                    return
                last = names[-1]
        self._batch, self._batch_start = self._after(last, _BATCH_NAMES), cookie
        self._with_batches.append(weakref.ref(self))
        while len(self._with_batches) > _BATCHES:
            oldest = self._with_batches.popleft()()
            if oldest is not None and oldest is not self:
                oldest._batch = []

    def _after(self, last: bytes, count: int) -> list[bytes]:
        return heapq.nsmallest(count, (name for name in self._scan() if name > last))


class NumberedItems(Generic[Item]):
    """The items of a dict in the order of insertion, each with a number that it keeps: later ones have larger numbers.

    Whoever changes the dict says so (`added`, `removed`). Costs nothing until it is first listed.
    """

    def __init__(self, items: dict[bytes, Item]) -> None:
        self._items = items
        self._numbers: dict[bytes, int] | None = None
        self._order: list[tuple[Any, ...]] = []  # (number, name), also of some that are gone
        self._next = FIRST_COOKIE + 1

    def added(self, name: bytes) -> None:
        """Notes a new name."""
        if self._numbers is not None:
            self._numbers[name] = self._next
            self._order.append((self._next, name))
            self._next += 1
            if len(self._order) > 2 * len(self._items) + 64:
                self._order = [pair for pair in self._order if self._numbers.get(pair[1]) == pair[0]]

    def removed(self, name: bytes) -> None:
        """Notes that a name has gone."""
        if self._numbers is not None:
            del self._numbers[name]

    def behind(self, cookie: int) -> Iterator[tuple[int, bytes, Item]]:
        """(number, name, item) of all with larger numbers than `cookie`. The dict may change meanwhile."""
        if self._numbers is None:
            self._order = list(enumerate(self._items, self._next))
            self._numbers = {name: number for number, name in self._order}
            self._next += len(self._order)
        return self._those_left(self._numbers, self._order, bisect_left(self._order, (cookie + 1,)))

    def _those_left(
        self, numbers: dict[bytes, int], order: list[tuple[Any, ...]], start: int
    ) -> Iterator[tuple[int, bytes, Item]]:
        for index in range(start, len(order)):
            number, name = order[index]
            item = self._items.get(name)
            if item is not None and numbers.get(name) == number:
                yield number, name, item
