"""WASI preview 1: the functions of the import module ``wasi_snapshot_preview1``.

Each is declared once, with the letters of its parameters, as a plain function of the context, the guest's memory and
unsigned integers. It returns nothing, or raises `WasiError` or `OSError`; `call` turns these into the error code that
the guest gets. Pointers come from the guest: `span` and ``struct`` check them against the memory, and a pointer that
leads outside gives FAULT. Where something is stored through a pointer after a side effect, it is checked before it.
"""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Callable, Iterator
from operator import and_
from typing import NamedTuple

from ..runtime.native import is_interrupted, wait
from ..runtime.trap import ExitTrap
from .config import WasiContext
from .constants import (
    CLOCK_MONOTONIC,
    CLOCK_PROCESS_CPUTIME,
    CLOCK_REALTIME,
    CLOCK_THREAD_CPUTIME,
    EVENTTYPE_CLOCK,
    EVENTTYPE_FD_READ,
    EVENTTYPE_FD_WRITE,
    FSTFLAGS_ATIM,
    FSTFLAGS_ATIM_NOW,
    FSTFLAGS_MTIM,
    FSTFLAGS_MTIM_NOW,
    PREOPENTYPE_DIR,
    SUBCLOCKFLAGS_ABSTIME,
    SYMLINK_FOLLOW,
    WHENCE_CUR,
    WHENCE_END,
    WHENCE_SET,
    Errno,
    Rights,
    WasiError,
    errno_from_host,
)
from .files import MAX_VECTORS, FileStat, HostDirectory

MODULE_NAME = "wasi_snapshot_preview1"

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_IOVEC = struct.Struct("<II")  # buffer, length
_FDSTAT = struct.Struct("<BxHxxxxQQ")  # filetype, flags, rights base, rights inheriting
_FILESTAT = struct.Struct("<QQBxxxxxxxQQQQQ")  # device, inode, filetype, links, size, accessed, modified, changed
_PRESTAT = struct.Struct("<BxxxI")  # tag, length of the name
_DIRENT = struct.Struct("<QQIBxxx")  # next cookie, inode, length of the name, filetype
_SUBSCRIPTION = struct.Struct("<QBxxxxxxxIxxxxQQHxxxxxx")  # userdata, tag, clock or fd, timeout, precision, flags
_EVENT = struct.Struct("<QHBxxxxxQHxxxxxx")  # userdata, error, type, bytes, flags

_MAX_SUBSCRIPTIONS = 65536
_MAX_SLEEP_NS = 10**15
_RANDOM_CHUNK_BYTES = 1 << 16


class WasiFunction(NamedTuple):
    """One preview 1 function. Types are letters: ``i`` i32, ``I`` i64."""

    name: str
    params: str
    results: str
    implementation: Callable[..., None]
    masks: tuple[int, ...]  # what makes each argument unsigned


FUNCTIONS: dict[str, WasiFunction] = {}
_Implementation = Callable[..., None]


def _wasi(params: str, results: str = "i") -> Callable[[_Implementation], _Implementation]:
    """Declares the decorated function, under its own name, with these parameters."""

    def declare(implementation: _Implementation) -> _Implementation:
        _add(implementation.__name__, params, results, implementation)
        return implementation

    return declare


def _add(name: str, params: str, results: str, implementation: _Implementation) -> None:
    masks = tuple(0xFFFF_FFFF if letter == "i" else 0xFFFF_FFFF_FFFF_FFFF for letter in params)
    FUNCTIONS[name] = WasiFunction(name, params, results, implementation, masks)


def call(function: WasiFunction, context: WasiContext, memory: memoryview, arguments: tuple[int, ...]) -> int:
    """Runs one function and returns its error code. ExitTrap and exceptions of user-supplied files pass through."""
    try:
        function.implementation(context, memory, *map(and_, arguments, function.masks))
    except WasiError as error:
        return int(error.code)
    except OSError as error:
        return int(errno_from_host(error.errno))
    except struct.error:  # pack_into, unpack_from outside the memory
        return int(Errno.FAULT)
    except OverflowError:  # an offset or time that the host's types cannot hold
        return int(Errno.INVAL)
    except MemoryError:
        return int(Errno.NOMEM)
    return 0


def span(memory: memoryview, start: int, length: int) -> memoryview:
    """``memory[start:start+length]``, or FAULT."""
    if start + length > len(memory):
        raise WasiError(Errno.FAULT)
    return memory[start : start + length]


def _vectors(memory: memoryview, iovecs: int, count: int) -> list[memoryview]:
    """The buffers of an array of iovecs. All are checked; at most MAX_VECTORS are used (a short read or write)."""
    span(memory, iovecs, count * _IOVEC.size)
    if count == 1:
        return [span(memory, *_IOVEC.unpack_from(memory, iovecs))]
    array = memory[iovecs : iovecs + count * _IOVEC.size]
    vectors: list[memoryview] = []
    for start, length in _IOVEC.iter_unpack(array):
        vector = span(memory, start, length)
        if length and len(vectors) < MAX_VECTORS:
            vectors.append(vector)
    return vectors


def _path(memory: memoryview, start: int, length: int) -> bytes:
    path = bytes(span(memory, start, length))
    try:
        path.decode()
    except UnicodeDecodeError:
        raise WasiError(Errno.ILSEQ) from None
    return path


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _write_strings(memory: memoryview, strings: list[bytes], pointers: int, buffer: int) -> None:
    for string in strings:
        _U32.pack_into(memory, pointers, buffer)
        span(memory, buffer, len(string) + 1)[:] = string + b"\0"
        pointers += 4
        buffer += len(string) + 1


def _write_sizes(memory: memoryview, strings: list[bytes], count_pointer: int, size_pointer: int) -> None:
    _U32.pack_into(memory, count_pointer, len(strings))
    _U32.pack_into(memory, size_pointer, sum(len(string) + 1 for string in strings))


@_wasi("ii")
def args_get(context: WasiContext, memory: memoryview, argv: int, argv_buffer: int) -> None:
    _write_strings(memory, context.arguments, argv, argv_buffer)


@_wasi("ii")
def args_sizes_get(context: WasiContext, memory: memoryview, count_pointer: int, size_pointer: int) -> None:
    _write_sizes(memory, context.arguments, count_pointer, size_pointer)


@_wasi("ii")
def environ_get(context: WasiContext, memory: memoryview, environ: int, environ_buffer: int) -> None:
    _write_strings(memory, context.environment, environ, environ_buffer)


@_wasi("ii")
def environ_sizes_get(context: WasiContext, memory: memoryview, count_pointer: int, size_pointer: int) -> None:
    _write_sizes(memory, context.environment, count_pointer, size_pointer)


_CLOCKS: dict[int, tuple[Callable[[], int], str]] = {
    CLOCK_REALTIME: (time.time_ns, "time"),
    CLOCK_MONOTONIC: (time.monotonic_ns, "monotonic"),
    CLOCK_PROCESS_CPUTIME: (time.process_time_ns, "process_time"),
    CLOCK_THREAD_CPUTIME: (time.thread_time_ns, "thread_time"),
}


def _clock(clock: int) -> tuple[Callable[[], int], str]:
    if clock not in _CLOCKS:
        raise WasiError(Errno.INVAL)
    return _CLOCKS[clock]


@_wasi("ii")
def clock_res_get(context: WasiContext, memory: memoryview, clock: int, result: int) -> None:
    name = _clock(clock)[1]
    _U64.pack_into(memory, result, max(1, round(time.get_clock_info(name).resolution * 1e9)))  # type: ignore[arg-type]


@_wasi("iIi")
def clock_time_get(context: WasiContext, memory: memoryview, clock: int, precision: int, result: int) -> None:
    _U64.pack_into(memory, result, _clock(clock)[0]())


@_wasi("iIIi")
def fd_advise(context: WasiContext, memory: memoryview, fd: int, offset: int, length: int, advice: int) -> None:
    if advice > 5:
        raise WasiError(Errno.INVAL)
    context.descriptors.get(fd).advise()


@_wasi("i")
def fd_close(context: WasiContext, memory: memoryview, fd: int) -> None:
    context.descriptors.close(fd)


@_wasi("i")
def fd_datasync(context: WasiContext, memory: memoryview, fd: int) -> None:
    context.descriptors.get(fd).sync(data_only=True)


@_wasi("ii")
def fd_fdstat_get(context: WasiContext, memory: memoryview, fd: int, result: int) -> None:
    descriptor = context.descriptors.get(fd)
    base, inheriting = descriptor.rights()
    _FDSTAT.pack_into(memory, result, descriptor.file_type, descriptor.flags(), base, inheriting)


@_wasi("ii")
def fd_fdstat_set_flags(context: WasiContext, memory: memoryview, fd: int, flags: int) -> None:
    context.descriptors.get(fd).set_flags(flags)


def _write_stat(memory: memoryview, result: int, status: FileStat) -> None:
    wrapped = (value & 0xFFFF_FFFF_FFFF_FFFF for value in status)  # times before 1970 are negative
    _FILESTAT.pack_into(memory, result, *wrapped)


@_wasi("ii")
def fd_filestat_get(context: WasiContext, memory: memoryview, fd: int, result: int) -> None:
    _write_stat(memory, result, context.descriptors.get(fd).stat())


@_wasi("iI")
def fd_filestat_set_size(context: WasiContext, memory: memoryview, fd: int, size_bytes: int) -> None:
    context.descriptors.get(fd).set_size(size_bytes)


def _new_times(accessed_ns: int, modified_ns: int, flags: int) -> Callable[[FileStat], tuple[int, int]]:
    """What ``*_filestat_set_times`` asks for, as a function of the present state."""
    both_atim = FSTFLAGS_ATIM | FSTFLAGS_ATIM_NOW
    both_mtim = FSTFLAGS_MTIM | FSTFLAGS_MTIM_NOW
    if flags & both_atim == both_atim or flags & both_mtim == both_mtim or flags & ~(both_atim | both_mtim):
        raise WasiError(Errno.INVAL)

    def times(status: FileStat) -> tuple[int, int]:
        now_ns = time.time_ns()
        accessed, modified = status.accessed_ns, status.modified_ns
        if flags & both_atim:
            accessed = now_ns if flags & FSTFLAGS_ATIM_NOW else accessed_ns
        if flags & both_mtim:
            modified = now_ns if flags & FSTFLAGS_MTIM_NOW else modified_ns
        return accessed, modified

    return times


@_wasi("iIIi")
def fd_filestat_set_times(
    context: WasiContext, memory: memoryview, fd: int, accessed_ns: int, modified_ns: int, flags: int
) -> None:
    context.descriptors.get(fd).set_times(_new_times(accessed_ns, modified_ns, flags))


@_wasi("iiiIi")
def fd_pread(
    context: WasiContext, memory: memoryview, fd: int, iovecs: int, count: int, offset: int, result: int
) -> None:
    span(memory, result, 4)
    _U32.pack_into(memory, result, context.descriptors.get(fd).read_at(_vectors(memory, iovecs, count), offset))


@_wasi("ii")
def fd_prestat_get(context: WasiContext, memory: memoryview, fd: int, result: int) -> None:
    _PRESTAT.pack_into(memory, result, PREOPENTYPE_DIR, len(_preopened_name(context, fd)))


@_wasi("iii")
def fd_prestat_dir_name(context: WasiContext, memory: memoryview, fd: int, path: int, length: int) -> None:
    name = _preopened_name(context, fd)
    if length < len(name):
        raise WasiError(Errno.NAMETOOLONG)
    span(memory, path, len(name))[:] = name


def _preopened_name(context: WasiContext, fd: int) -> bytes:
    """The guest's name of a preopened directory. BADF for others: wasi-libc takes that as the end of the list."""
    descriptor = context.descriptors.get(fd)
    if not isinstance(descriptor, HostDirectory) or descriptor.guest_path is None:
        raise WasiError(Errno.BADF)
    return descriptor.guest_path


@_wasi("iiiIi")
def fd_pwrite(
    context: WasiContext, memory: memoryview, fd: int, iovecs: int, count: int, offset: int, result: int
) -> None:
    span(memory, result, 4)
    _U32.pack_into(memory, result, context.descriptors.get(fd).write_at(_vectors(memory, iovecs, count), offset))


@_wasi("iiii")
def fd_read(context: WasiContext, memory: memoryview, fd: int, iovecs: int, count: int, result: int) -> None:
    span(memory, result, 4)
    _U32.pack_into(memory, result, context.descriptors.get(fd).read(_vectors(memory, iovecs, count)))


@_wasi("iiiIi")
def fd_readdir(
    context: WasiContext, memory: memoryview, fd: int, buffer: int, length: int, cookie: int, result: int
) -> None:
    """Fills the buffer to its end, cutting the last entry: a buffer not full means that there are no more."""
    span(memory, result, 4)
    room = span(memory, buffer, length)
    used = 0
    entries = context.descriptors.directory(fd).entries(refresh=cookie == 0)
    for position in range(cookie, len(entries)):
        inode, file_type, name = entries[position]
        record = (_DIRENT.pack(position + 1, inode, len(name), file_type) + name)[: length - used]
        room[used : used + len(record)] = record
        used += len(record)
        if used == length:
            break
    _U32.pack_into(memory, result, used)


@_wasi("ii")
def fd_renumber(context: WasiContext, memory: memoryview, fd: int, to_fd: int) -> None:
    context.descriptors.renumber(fd, to_fd)


_WHENCE = {WHENCE_SET: os.SEEK_SET, WHENCE_CUR: os.SEEK_CUR, WHENCE_END: os.SEEK_END}


@_wasi("iIii")
def fd_seek(context: WasiContext, memory: memoryview, fd: int, offset: int, whence: int, result: int) -> None:
    span(memory, result, 8)
    descriptor = context.descriptors.get(fd)
    if whence not in _WHENCE:
        raise WasiError(Errno.INVAL)
    _U64.pack_into(memory, result, descriptor.seek(_signed(offset), _WHENCE[whence]))


@_wasi("i")
def fd_sync(context: WasiContext, memory: memoryview, fd: int) -> None:
    context.descriptors.get(fd).sync(data_only=False)


@_wasi("ii")
def fd_tell(context: WasiContext, memory: memoryview, fd: int, result: int) -> None:
    _U64.pack_into(memory, result, context.descriptors.get(fd).seek(0, os.SEEK_CUR))


@_wasi("iiii")
def fd_write(context: WasiContext, memory: memoryview, fd: int, iovecs: int, count: int, result: int) -> None:
    span(memory, result, 4)
    _U32.pack_into(memory, result, context.descriptors.get(fd).write(_vectors(memory, iovecs, count)))


@_wasi("iii")
def path_create_directory(context: WasiContext, memory: memoryview, fd: int, path: int, length: int) -> None:
    context.descriptors.directory(fd).create_directory(_path(memory, path, length))


@_wasi("iiiii")
def path_filestat_get(
    context: WasiContext, memory: memoryview, fd: int, flags: int, path: int, length: int, result: int
) -> None:
    directory = context.descriptors.directory(fd)
    status = directory.stat_path(_path(memory, path, length), bool(flags & SYMLINK_FOLLOW))
    _write_stat(memory, result, status)


@_wasi("iiiiIIi")
def path_filestat_set_times(
    context: WasiContext,
    memory: memoryview,
    fd: int,
    flags: int,
    path: int,
    length: int,
    accessed_ns: int,
    modified_ns: int,
    time_flags: int,
) -> None:
    times = _new_times(accessed_ns, modified_ns, time_flags)
    directory = context.descriptors.directory(fd)
    directory.set_times_path(_path(memory, path, length), bool(flags & SYMLINK_FOLLOW), times)


@_wasi("iiiiiii")
def path_link(
    context: WasiContext,
    memory: memoryview,
    fd: int,
    flags: int,
    path: int,
    length: int,
    to_fd: int,
    to_path: int,
    to_length: int,
) -> None:
    if flags & SYMLINK_FOLLOW:
        raise WasiError(Errno.INVAL)
    directory, to_directory = context.descriptors.directory(fd), context.descriptors.directory(to_fd)
    directory.link(_path(memory, path, length), to_directory, _path(memory, to_path, to_length))


@_wasi("iiiiiIIii")
def path_open(
    context: WasiContext,
    memory: memoryview,
    fd: int,
    flags: int,
    path: int,
    length: int,
    oflags: int,
    rights: int,
    rights_inheriting: int,
    fdflags: int,
    result: int,
) -> None:
    span(memory, result, 4)
    opened = context.descriptors.directory(fd).open(
        _path(memory, path, length),
        follow=bool(flags & SYMLINK_FOLLOW),
        oflags=oflags,
        readable=bool(rights & Rights.FD_READ) or not rights & Rights.FD_WRITE,
        writable=bool(rights & Rights.FD_WRITE),
        fdflags=fdflags,
    )
    _U32.pack_into(memory, result, context.descriptors.add(opened))


@_wasi("iiiiii")
def path_readlink(
    context: WasiContext, memory: memoryview, fd: int, path: int, length: int, buffer: int, size: int, result: int
) -> None:
    span(memory, result, 4)
    target = context.descriptors.directory(fd).read_link(_path(memory, path, length))[:size]
    span(memory, buffer, len(target))[:] = target
    _U32.pack_into(memory, result, len(target))


@_wasi("iii")
def path_remove_directory(context: WasiContext, memory: memoryview, fd: int, path: int, length: int) -> None:
    context.descriptors.directory(fd).remove_directory(_path(memory, path, length))


@_wasi("iiiiii")
def path_rename(
    context: WasiContext, memory: memoryview, fd: int, path: int, length: int, to_fd: int, to_path: int, to_length: int
) -> None:
    directory, to_directory = context.descriptors.directory(fd), context.descriptors.directory(to_fd)
    directory.rename(_path(memory, path, length), to_directory, _path(memory, to_path, to_length))


@_wasi("iiiii")
def path_symlink(
    context: WasiContext, memory: memoryview, target: int, target_length: int, fd: int, path: int, length: int
) -> None:
    directory = context.descriptors.directory(fd)
    directory.symlink(_path(memory, target, target_length), _path(memory, path, length))


@_wasi("iii")
def path_unlink_file(context: WasiContext, memory: memoryview, fd: int, path: int, length: int) -> None:
    context.descriptors.directory(fd).unlink_file(_path(memory, path, length))


class _Subscription(NamedTuple):
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


def _deadline_ns(subscription: _Subscription) -> int:
    """When a clock subscription fires, by the monotonic clock."""
    now_ns = _clock(subscription.subject)[0]()
    if subscription.subject not in (CLOCK_REALTIME, CLOCK_MONOTONIC):
        raise WasiError(Errno.INVAL)
    wait_ns = subscription.timeout_ns - (now_ns if subscription.flags & SUBCLOCKFLAGS_ABSTIME else 0)
    return time.monotonic_ns() + max(0, wait_ns)


def _poll_events(context: WasiContext, subscriptions: list[_Subscription]) -> Iterator[_Event]:
    """Waits until at least one subscription fires and yields the events."""
    deadlines: list[tuple[int, _Subscription]] = []
    waiting: list[tuple[int, int, _Subscription]] = []  # host descriptor, select.POLL*, subscription
    ready: list[_Event] = []
    for subscription in subscriptions:
        userdata, event_type, subject = subscription[:3]
        try:
            if event_type == EVENTTYPE_CLOCK:
                deadlines.append((_deadline_ns(subscription), subscription))
            elif event_type in (EVENTTYPE_FD_READ, EVENTTYPE_FD_WRITE):
                host_fd = context.descriptors.get(subject).host_fd
                if host_fd is None:
                    ready.append(_Event(userdata, Errno.SUCCESS, event_type, 1, 0))
                else:
                    mask = select.POLLIN if event_type == EVENTTYPE_FD_READ else select.POLLOUT
                    waiting.append((host_fd, mask, subscription))
            else:
                raise WasiError(Errno.INVAL)
        except WasiError as error:
            ready.append(_Event(userdata, error.code, event_type, 0, 0))
    earliest_ns = min((deadline for deadline, _ in deadlines), default=None)
    signalled = _wait(waiting, 0 if ready else earliest_ns)
    yield from ready
    for host_fd, mask, subscription in waiting:
        if signalled.get(host_fd, 0) & (mask | select.POLLHUP | select.POLLERR):
            yield _Event(subscription.userdata, Errno.SUCCESS, subscription.event_type, 1, 0)
    now_ns = time.monotonic_ns()
    for deadline_ns, subscription in deadlines:
        if deadline_ns <= now_ns:
            yield _Event(subscription.userdata, Errno.SUCCESS, EVENTTYPE_CLOCK, 0, 0)


def _wait(waiting: list[tuple[int, int, _Subscription]], deadline_ns: int | None) -> dict[int, int]:
    """Host descriptor -> poll events, once there are any, the deadline (monotonic; None: never) has passed, or the
    calling code is interrupted: it ends when we return."""
    masks: dict[int, int] = {}
    for host_fd, mask, _ in waiting:
        masks[host_fd] = masks.get(host_fd, 0) | mask
    left_ns = None
    while masks or deadline_ns is not None:
        if deadline_ns is not None:
            left_ns = min(max(0, deadline_ns - time.monotonic_ns()), _MAX_SLEEP_NS)
        signalled = wait(masks, left_ns)
        if signalled or left_ns == 0 or is_interrupted():
            return signalled
    return {}


@_wasi("iiii")
def poll_oneoff(
    context: WasiContext, memory: memoryview, subscriptions: int, events: int, count: int, result: int
) -> None:
    if not 0 < count <= _MAX_SUBSCRIPTIONS:
        raise WasiError(Errno.INVAL)
    array = span(memory, subscriptions, count * _SUBSCRIPTION.size)
    span(memory, events, count * _EVENT.size)
    span(memory, result, 4)
    fired = list(_poll_events(context, [_Subscription(*fields) for fields in _SUBSCRIPTION.iter_unpack(array)]))
    for index, event in enumerate(fired):
        _EVENT.pack_into(memory, events + index * _EVENT.size, *event)
    _U32.pack_into(memory, result, len(fired))


@_wasi("i", results="")
def proc_exit(context: WasiContext, memory: memoryview, code: int) -> None:
    raise ExitTrap(code - (1 << 32) if code >> 31 else code)


@_wasi("ii")
def random_get(context: WasiContext, memory: memoryview, buffer: int, length: int) -> None:
    target = span(memory, buffer, length)
    for start in range(0, length, _RANDOM_CHUNK_BYTES):
        chunk = target[start : start + _RANDOM_CHUNK_BYTES]
        chunk[:] = os.urandom(len(chunk))


@_wasi("")
def sched_yield(context: WasiContext, memory: memoryview) -> None:
    time.sleep(0)


def _not_implemented(context: WasiContext, memory: memoryview, *arguments: int) -> None:
    raise WasiError(Errno.NOSYS)


for _name, _params in (
    ("fd_allocate", "iII"),
    ("fd_fdstat_set_rights", "iII"),
    ("proc_raise", "i"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
):
    _add(_name, _params, "i", _not_implemented)
