"""WASI preview 1: the functions of the import modules ``wasi_snapshot_preview1`` and ``wasi_unstable``.

Each is a row of a table (name, parameters, function) at the end. The functions take the context, the guest's memory
and unsigned integers; they return nothing, or raise `WasiError` or `OSError`, and `call` alone turns these into the
error code that the guest gets. Pointers come from the guest: `span` and ``struct`` check them against the memory, and a
pointer that leads outside gives FAULT. Where something is stored through a pointer after a side effect, it is checked
before it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterable
from operator import and_

from ..runtime.native import is_interrupted
from ..runtime.trap import ExitTrap
from . import operations
from .constants import (
    ADVICE_COUNT,
    CLOCK_REALTIME,
    FSTFLAGS_ATIM,
    FSTFLAGS_ATIM_NOW,
    FSTFLAGS_MTIM,
    FSTFLAGS_MTIM_NOW,
    OFLAGS_CREAT,
    OFLAGS_TRUNC,
    PREOPENTYPE_DIR,
    SYMLINK_FOLLOW,
    WHENCE_CUR,
    WHENCE_END,
    WHENCE_SET,
    Errno,
    WasiError,
    errno_of_exception,
)
from .context import WasiContext
from .descriptors import FDSTAT_BYTES, Directory, FileStat, Times, fdstat, rights_left
from .guest_memory import U32, U64, check, path_at, span, vectors_at
from .sockets import sock_accept, sock_recv, sock_send, sock_shutdown

_FILESTAT = struct.Struct("<QQBxxxxxxxQQQQQ")  # device, inode, filetype, links, size, accessed, modified, changed
_PRESTAT = struct.Struct("<BxxxI")  # tag, length of the name
_DIRENT = struct.Struct("<QQIBxxx")  # next cookie, inode, length of the name, filetype

_RANDOM_CHUNK_BYTES = 1 << 16
_ENTRIES_BETWEEN_LOOKS = 1024  # for an interrupt
_U64_MASK = (1 << 64) - 1
_MASKS = {"i": 0xFFFF_FFFF, "I": _U64_MASK}
_ALL_OFLAGS, _ALL_FDFLAGS = (1 << 4) - 1, (1 << 5) - 1

# As plain ints: operations of enum.Flag cost more than all else in a call. Of what C does too, see `operations`.
_DATASYNC, _, _, _SET_FLAGS, _SYNC, _, _, _ADVISE, _ALLOCATE = (1 << bit for bit in range(9))
(
    _CREATE_DIRECTORY, _CREATE_FILE, _LINK_SOURCE, _LINK_TARGET, _OPEN, _READDIR, _READLINK, _RENAME_SOURCE,
    _RENAME_TARGET, _, _PATH_SET_SIZE, _PATH_SET_TIMES, _, _SET_SIZE, _SET_TIMES, _SYMLINK,
    _REMOVE_DIRECTORY, _UNLINK,
) = (1 << bit for bit in range(9, 27))  # fmt: skip
_READ, _WRITE, _READ_AT, _WRITE_AT, _SEEK, _TELL, _STAT, _PATH_STAT = (
    operations.NEEDED_RIGHTS[operation]
    for operation in (
        operations.READ, operations.WRITE, operations.READ_AT, operations.WRITE_AT, operations.SEEK, operations.TELL,
        operations.STAT, operations.STAT_PATH,
    )
)  # fmt: skip


class WasiFunction:
    """One preview 1 function. Types are letters: ``i`` i32, ``I`` i64."""

    __slots__ = ("implementation", "in_c", "masks", "name", "params", "results")

    def __init__(self, name: str, params: str, implementation: Callable[..., None], in_c: bool) -> None:
        self.name = name
        self.params = params
        self.results = "" if name == "proc_exit" else "i"
        self.implementation = implementation
        self.masks = tuple(map(_MASKS.__getitem__, params))  # what makes each argument unsigned
        self.in_c = in_c


def call(function: WasiFunction, context: WasiContext, memory: memoryview, arguments: tuple[int, ...]) -> int:
    """Runs one function and returns its error code. ExitTrap and exceptions of user-supplied files pass through."""
    try:
        function.implementation(context, memory, *map(and_, arguments, function.masks))
    except WasiError as error:
        return int(error.code)
    except OSError as error:
        return int(errno_of_exception(error))
    except struct.error:  # pack_into, unpack_from outside the memory
        return int(Errno.FAULT)
    except OverflowError:  # an offset or time that the host's types cannot hold
        return int(Errno.INVAL)
    except MemoryError:
        return int(Errno.NOMEM)
    return 0


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _write_strings(memory: memoryview, strings: list[bytes], pointers: int, buffer: int) -> None:
    for string in strings:
        U32.pack_into(memory, pointers, buffer)
        span(memory, buffer, len(string) + 1)[:] = string + b"\0"
        pointers += 4
        buffer += len(string) + 1


def _write_sizes(memory: memoryview, strings: list[bytes], count_pointer: int, size_pointer: int) -> None:
    U32.pack_into(memory, count_pointer, len(strings))
    U32.pack_into(memory, size_pointer, sum(len(string) + 1 for string in strings))


def args_get(context: WasiContext, memory: memoryview, argv: int, argv_buffer: int) -> None:
    _write_strings(memory, context.arguments, argv, argv_buffer)


def args_sizes_get(context: WasiContext, memory: memoryview, count_pointer: int, size_pointer: int) -> None:
    _write_sizes(memory, context.arguments, count_pointer, size_pointer)


def environ_get(context: WasiContext, memory: memoryview, environ: int, environ_buffer: int) -> None:
    _write_strings(memory, context.environment, environ, environ_buffer)


def environ_sizes_get(context: WasiContext, memory: memoryview, count_pointer: int, size_pointer: int) -> None:
    _write_sizes(memory, context.environment, count_pointer, size_pointer)


def clock_res_get(context: WasiContext, memory: memoryview, clock: int, result: int) -> None:
    U64.pack_into(memory, result, context.clock.resolution_ns(clock))


def clock_time_get(context: WasiContext, memory: memoryview, clock: int, precision: int, result: int) -> None:
    U64.pack_into(memory, result, context.clock.time_ns(clock))


def fd_advise(context: WasiContext, memory: memoryview, fd: int, offset: int, length: int, advice: int) -> None:
    descriptor = context.descriptors.get(fd, _ADVISE)
    if advice >= ADVICE_COUNT:
        raise WasiError(Errno.INVAL)
    descriptor.advise(offset, length, advice)


def fd_allocate(context: WasiContext, memory: memoryview, fd: int, offset: int, length: int) -> None:
    context.descriptors.get(fd, _ALLOCATE).allocate(offset, length)


def fd_close(context: WasiContext, memory: memoryview, fd: int) -> None:
    context.descriptors.close(fd)


def fd_datasync(context: WasiContext, memory: memoryview, fd: int) -> None:
    context.descriptors.get(fd, _DATASYNC).sync(data_only=True)


def fd_fdstat_get(context: WasiContext, memory: memoryview, fd: int, result: int) -> None:
    span(memory, result, FDSTAT_BYTES)[:] = fdstat(context.descriptors.get(fd))


def fd_fdstat_set_rights(context: WasiContext, memory: memoryview, fd: int, base: int, inheriting: int) -> None:
    """Takes rights away. What was not asked for when a file was opened is not refused later, but this is."""
    descriptor = context.descriptors.get(fd)
    has_base, has_inheriting = rights_left(descriptor)
    if base & ~has_base or inheriting & ~has_inheriting:
        raise WasiError(Errno.NOTCAPABLE)
    descriptor.lost |= has_base & ~base
    descriptor.lost_inheriting |= has_inheriting & ~inheriting
    context.descriptors.changed(fd)


def fd_fdstat_set_flags(context: WasiContext, memory: memoryview, fd: int, flags: int) -> None:
    context.descriptors.get(fd, _SET_FLAGS).set_flags(flags)
    context.descriptors.changed(fd)


def _write_stat(memory: memoryview, result: int, status: FileStat) -> None:
    wrapped = (value & _U64_MASK for value in status)  # times before 1970 are negative
    _FILESTAT.pack_into(memory, result, *wrapped)


def fd_filestat_get(context: WasiContext, memory: memoryview, fd: int, result: int) -> None:
    _write_stat(memory, result, context.descriptors.get(fd, _STAT).stat())


def fd_filestat_set_size(context: WasiContext, memory: memoryview, fd: int, size_bytes: int) -> None:
    context.descriptors.get(fd, _SET_SIZE).set_size(size_bytes)


def _new_times(context: WasiContext, accessed_ns: int, modified_ns: int, flags: int) -> Times:
    """What ``*_filestat_set_times`` asks for, as a function of the present state."""
    both_atim = FSTFLAGS_ATIM | FSTFLAGS_ATIM_NOW
    both_mtim = FSTFLAGS_MTIM | FSTFLAGS_MTIM_NOW
    if flags & both_atim == both_atim or flags & both_mtim == both_mtim or flags & ~(both_atim | both_mtim):
        raise WasiError(Errno.INVAL)

    def times(status: FileStat) -> tuple[int, int]:
        now_ns = context.clock.time_ns(CLOCK_REALTIME)
        accessed, modified = status.accessed_ns, status.modified_ns
        if flags & both_atim:
            accessed = now_ns if flags & FSTFLAGS_ATIM_NOW else accessed_ns
        if flags & both_mtim:
            modified = now_ns if flags & FSTFLAGS_MTIM_NOW else modified_ns
        return accessed, modified

    return times


def fd_filestat_set_times(
    context: WasiContext, memory: memoryview, fd: int, accessed_ns: int, modified_ns: int, flags: int
) -> None:
    context.descriptors.get(fd, _SET_TIMES).set_times(_new_times(context, accessed_ns, modified_ns, flags))


def fd_pread(
    context: WasiContext, memory: memoryview, fd: int, iovecs: int, count: int, offset: int, result: int
) -> None:
    check(memory, result, 4)
    U32.pack_into(
        memory, result, context.descriptors.get(fd, _READ_AT).read_at(vectors_at(memory, iovecs, count), offset)
    )


def fd_prestat_get(context: WasiContext, memory: memoryview, fd: int, result: int) -> None:
    _PRESTAT.pack_into(memory, result, PREOPENTYPE_DIR, len(_preopened_name(context, fd, Errno.BADF)))


def fd_prestat_dir_name(context: WasiContext, memory: memoryview, fd: int, path: int, length: int) -> None:
    name = _preopened_name(context, fd, Errno.NOTDIR)
    if length < len(name):
        raise WasiError(Errno.NAMETOOLONG)
    span(memory, path, len(name))[:] = name


def _preopened_name(context: WasiContext, fd: int, otherwise: Errno) -> bytes:
    """The guest's name of a preopened directory. fd_prestat_get has BADF for others: wasi-libc takes that as the end
    of the list."""
    descriptor = context.descriptors.get(fd)
    if not isinstance(descriptor, Directory) or descriptor.guest_path is None:
        raise WasiError(otherwise)
    return descriptor.guest_path


def fd_pwrite(
    context: WasiContext, memory: memoryview, fd: int, iovecs: int, count: int, offset: int, result: int
) -> None:
    check(memory, result, 4)
    U32.pack_into(
        memory, result, context.descriptors.get(fd, _WRITE_AT).write_at(vectors_at(memory, iovecs, count), offset)
    )


def fd_read(context: WasiContext, memory: memoryview, fd: int, iovecs: int, count: int, result: int) -> None:
    check(memory, result, 4)
    U32.pack_into(memory, result, context.descriptors.get(fd, _READ).read(vectors_at(memory, iovecs, count)))


def fd_readdir(
    context: WasiContext, memory: memoryview, fd: int, buffer: int, length: int, cookie: int, result: int
) -> None:
    """Fills the buffer to its end, cutting the last entry: a buffer not full means that there are no more."""
    check(memory, result, 4)
    room = span(memory, buffer, length)
    used = 0
    entries = context.descriptors.directory(fd, _READDIR).entries(cookie, length)
    for count, (following, inode, file_type, name) in enumerate(entries, 1):
        record = (_DIRENT.pack(following, inode, len(name), file_type) + name)[: length - used]
        room[used : used + len(record)] = record
        used += len(record)
        if used == length:
            break
        if count % _ENTRIES_BETWEEN_LOOKS == 0 and is_interrupted():
            raise WasiError(Errno.INTR)
    U32.pack_into(memory, result, used)


def fd_renumber(context: WasiContext, memory: memoryview, fd: int, to_fd: int) -> None:
    context.descriptors.renumber(fd, to_fd)


_WHENCE = {WHENCE_SET: os.SEEK_SET, WHENCE_CUR: os.SEEK_CUR, WHENCE_END: os.SEEK_END}


def fd_seek(context: WasiContext, memory: memoryview, fd: int, offset: int, whence: int, result: int) -> None:
    _seek(context, memory, fd, offset, _WHENCE.get(whence), result)


def _seek(context: WasiContext, memory: memoryview, fd: int, offset: int, whence: int | None, result: int) -> None:
    check(memory, result, 8)
    # To stay and tell where is asked of both rights alike.
    descriptor = context.descriptors.get(fd, _TELL if whence == os.SEEK_CUR and not offset else _SEEK)
    if whence is None:
        raise WasiError(Errno.INVAL)
    U64.pack_into(memory, result, descriptor.seek(_signed(offset), whence))


def fd_sync(context: WasiContext, memory: memoryview, fd: int) -> None:
    context.descriptors.get(fd, _SYNC).sync(data_only=False)


def fd_tell(context: WasiContext, memory: memoryview, fd: int, result: int) -> None:
    U64.pack_into(memory, result, context.descriptors.get(fd, _TELL).seek(0, os.SEEK_CUR))


def fd_write(context: WasiContext, memory: memoryview, fd: int, iovecs: int, count: int, result: int) -> None:
    check(memory, result, 4)
    U32.pack_into(memory, result, context.descriptors.get(fd, _WRITE).write(vectors_at(memory, iovecs, count)))


def path_create_directory(context: WasiContext, memory: memoryview, fd: int, path: int, length: int) -> None:
    context.descriptors.directory(fd, _CREATE_DIRECTORY).create_directory(path_at(memory, path, length))


def _follows(lookup_flags: int) -> bool:
    """Whether a link at the end of a path is followed. Raises WasiError (INVAL) for flags that there are none of."""
    if lookup_flags & ~SYMLINK_FOLLOW:
        raise WasiError(Errno.INVAL)
    return bool(lookup_flags)


def path_filestat_get(
    context: WasiContext, memory: memoryview, fd: int, flags: int, path: int, length: int, result: int
) -> None:
    directory = context.descriptors.directory(fd, _PATH_STAT)
    status = directory.stat_path(path_at(memory, path, length), _follows(flags))
    _write_stat(memory, result, status)


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
    times = _new_times(context, accessed_ns, modified_ns, time_flags)
    directory = context.descriptors.directory(fd, _PATH_SET_TIMES)
    directory.set_times_path(path_at(memory, path, length), _follows(flags), times)


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
    directory = context.descriptors.directory(fd, _LINK_SOURCE)
    to_directory = context.descriptors.directory(to_fd, _LINK_TARGET)
    directory.link(path_at(memory, path, length), to_directory, path_at(memory, to_path, to_length))


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
    check(memory, result, 4)
    if oflags & ~_ALL_OFLAGS or fdflags & ~_ALL_FDFLAGS:
        raise WasiError(Errno.INVAL)
    needed = _OPEN
    if oflags & OFLAGS_CREAT:
        needed |= _CREATE_FILE
    if oflags & OFLAGS_TRUNC:
        needed |= _PATH_SET_SIZE
    directory = context.descriptors.directory(fd, needed)
    if rights & directory.lost_inheriting:
        raise WasiError(Errno.NOTCAPABLE)
    context.descriptors.check_room()
    opened = directory.open(
        path_at(memory, path, length),
        follow=_follows(flags),
        oflags=oflags,
        readable=bool(rights & _READ) or not rights & _WRITE,
        writable=bool(rights & _WRITE),
        fdflags=fdflags,
    )
    opened.lost = opened.lost_inheriting = directory.lost_inheriting
    U32.pack_into(memory, result, context.descriptors.add(opened))


def path_readlink(
    context: WasiContext, memory: memoryview, fd: int, path: int, length: int, buffer: int, size: int, result: int
) -> None:
    check(memory, result, 4)
    target = context.descriptors.directory(fd, _READLINK).read_link(path_at(memory, path, length))[:size]
    span(memory, buffer, len(target))[:] = target
    U32.pack_into(memory, result, len(target))


def path_remove_directory(context: WasiContext, memory: memoryview, fd: int, path: int, length: int) -> None:
    context.descriptors.directory(fd, _REMOVE_DIRECTORY).remove_directory(path_at(memory, path, length))


def path_rename(
    context: WasiContext, memory: memoryview, fd: int, path: int, length: int, to_fd: int, to_path: int, to_length: int
) -> None:
    directory = context.descriptors.directory(fd, _RENAME_SOURCE)
    to_directory = context.descriptors.directory(to_fd, _RENAME_TARGET)
    directory.rename(path_at(memory, path, length), to_directory, path_at(memory, to_path, to_length))


def path_symlink(
    context: WasiContext, memory: memoryview, target: int, target_length: int, fd: int, path: int, length: int
) -> None:
    directory = context.descriptors.directory(fd, _SYMLINK)
    directory.symlink(path_at(memory, target, target_length), path_at(memory, path, length))


def path_unlink_file(context: WasiContext, memory: memoryview, fd: int, path: int, length: int) -> None:
    context.descriptors.directory(fd, _UNLINK).unlink_file(path_at(memory, path, length))


def poll_oneoff(
    context: WasiContext, memory: memoryview, subscriptions: int, events: int, count: int, result: int
) -> None:
    from .poll import PREVIEW1_LAYOUT, poll  # here: most programs start sooner without

    poll(context, memory, PREVIEW1_LAYOUT, (subscriptions, events, count, result))


def proc_exit(context: WasiContext, memory: memoryview, code: int) -> None:
    with contextlib.suppress(OSError):  # nobody is left to be told, as with exit(3)
        context.descriptors.flush_all()
    raise ExitTrap(code - (1 << 32) if code >> 31 else code)


def proc_raise(context: WasiContext, memory: memoryview, signal: int) -> None:
    """There are no signals: a program has no handlers, and the process is not its own."""
    raise WasiError(Errno.NOTSUP)


def random_get(context: WasiContext, memory: memoryview, buffer: int, length: int) -> None:
    target = span(memory, buffer, length)
    for start in range(0, length, _RANDOM_CHUNK_BYTES):
        if is_interrupted():
            raise WasiError(Errno.INTR)
        chunk = target[start : start + _RANDOM_CHUNK_BYTES]
        chunk[:] = context.random(len(chunk))


def sched_yield(context: WasiContext, memory: memoryview) -> None:
    time.sleep(0)


# ---- wasi_unstable: what it has differently ----

_UNSTABLE_FILESTAT = struct.Struct("<QQBxxxIQQQQ")  # as _FILESTAT, with a u32 for the links
_UNSTABLE_WHENCE = {0: os.SEEK_CUR, 1: os.SEEK_END, 2: os.SEEK_SET}


def _unstable_write_stat(memory: memoryview, result: int, status: FileStat) -> None:
    wrapped = [value & _U64_MASK for value in status]
    wrapped[3] = min(status.links, 0xFFFF_FFFF)
    _UNSTABLE_FILESTAT.pack_into(memory, result, *wrapped)


def _unstable_fd_filestat_get(context: WasiContext, memory: memoryview, fd: int, result: int) -> None:
    _unstable_write_stat(memory, result, context.descriptors.get(fd, _STAT).stat())


def _unstable_path_filestat_get(
    context: WasiContext, memory: memoryview, fd: int, flags: int, path: int, length: int, result: int
) -> None:
    directory = context.descriptors.directory(fd, _PATH_STAT)
    status = directory.stat_path(path_at(memory, path, length), _follows(flags))
    _unstable_write_stat(memory, result, status)


def _unstable_fd_seek(context: WasiContext, memory: memoryview, fd: int, offset: int, whence: int, result: int) -> None:
    _seek(context, memory, fd, offset, _UNSTABLE_WHENCE.get(whence), result)


def _unstable_poll_oneoff(
    context: WasiContext, memory: memoryview, subscriptions: int, events: int, count: int, result: int
) -> None:
    from .poll import UNSTABLE_LAYOUT, poll  # as in poll_oneoff

    poll(context, memory, UNSTABLE_LAYOUT, (subscriptions, events, count, result))


# ---- the tables ----

# What C (runtime_c/wasi.c, function ``wj_wasi_<name>``) does itself where the host is behind it, calling the function
# here for all else: `native` tells C of what it may do.
IN_C, IN_PYTHON = True, False
_Row = tuple[str, str, Callable[..., None], bool]

_ROWS: tuple[_Row, ...] = (
    ("args_get", "ii", args_get, IN_C),
    ("args_sizes_get", "ii", args_sizes_get, IN_C),
    ("environ_get", "ii", environ_get, IN_C),
    ("environ_sizes_get", "ii", environ_sizes_get, IN_C),
    ("clock_res_get", "ii", clock_res_get, IN_C),
    ("clock_time_get", "iIi", clock_time_get, IN_C),
    ("fd_advise", "iIIi", fd_advise, IN_PYTHON),
    ("fd_allocate", "iII", fd_allocate, IN_PYTHON),
    ("fd_close", "i", fd_close, IN_PYTHON),
    ("fd_datasync", "i", fd_datasync, IN_PYTHON),
    ("fd_fdstat_get", "ii", fd_fdstat_get, IN_C),
    ("fd_fdstat_set_flags", "ii", fd_fdstat_set_flags, IN_PYTHON),
    ("fd_fdstat_set_rights", "iII", fd_fdstat_set_rights, IN_PYTHON),
    ("fd_filestat_get", "ii", fd_filestat_get, IN_C),
    ("fd_filestat_set_size", "iI", fd_filestat_set_size, IN_PYTHON),
    ("fd_filestat_set_times", "iIIi", fd_filestat_set_times, IN_PYTHON),
    ("fd_pread", "iiiIi", fd_pread, IN_C),
    ("fd_prestat_get", "ii", fd_prestat_get, IN_PYTHON),
    ("fd_prestat_dir_name", "iii", fd_prestat_dir_name, IN_PYTHON),
    ("fd_pwrite", "iiiIi", fd_pwrite, IN_C),
    ("fd_read", "iiii", fd_read, IN_C),
    ("fd_readdir", "iiiIi", fd_readdir, IN_PYTHON),
    ("fd_renumber", "ii", fd_renumber, IN_PYTHON),
    ("fd_seek", "iIii", fd_seek, IN_C),
    ("fd_sync", "i", fd_sync, IN_PYTHON),
    ("fd_tell", "ii", fd_tell, IN_C),
    ("fd_write", "iiii", fd_write, IN_C),
    ("path_create_directory", "iii", path_create_directory, IN_PYTHON),
    ("path_filestat_get", "iiiii", path_filestat_get, IN_C),
    ("path_filestat_set_times", "iiiiIIi", path_filestat_set_times, IN_PYTHON),
    ("path_link", "iiiiiii", path_link, IN_PYTHON),
    ("path_open", "iiiiiIIii", path_open, IN_PYTHON),
    ("path_readlink", "iiiiii", path_readlink, IN_PYTHON),
    ("path_remove_directory", "iii", path_remove_directory, IN_PYTHON),
    ("path_rename", "iiiiii", path_rename, IN_PYTHON),
    ("path_symlink", "iiiii", path_symlink, IN_PYTHON),
    ("path_unlink_file", "iii", path_unlink_file, IN_PYTHON),
    ("poll_oneoff", "iiii", poll_oneoff, IN_C),
    ("proc_exit", "i", proc_exit, IN_PYTHON),
    ("proc_raise", "i", proc_raise, IN_PYTHON),
    ("random_get", "ii", random_get, IN_C),
    ("sched_yield", "", sched_yield, IN_C),
    ("sock_accept", "iii", sock_accept, IN_PYTHON),
    ("sock_recv", "iiiiii", sock_recv, IN_PYTHON),
    ("sock_send", "iiiii", sock_send, IN_PYTHON),
    ("sock_shutdown", "ii", sock_shutdown, IN_PYTHON),
)
_UNSTABLE_ROWS: tuple[_Row, ...] = (
    *(row for row in _ROWS if row[0] != "sock_accept"),  # which came later
    ("fd_filestat_get", "ii", _unstable_fd_filestat_get, IN_PYTHON),
    ("fd_seek", "iIii", _unstable_fd_seek, IN_PYTHON),
    ("path_filestat_get", "iiiii", _unstable_path_filestat_get, IN_PYTHON),
    ("poll_oneoff", "iiii", _unstable_poll_oneoff, IN_PYTHON),
)


def _functions(rows: Iterable[_Row]) -> dict[str, WasiFunction]:
    """By name; of two rows with one name the later holds."""
    return {row[0]: WasiFunction(*row) for row in rows}


FUNCTIONS = _functions(_ROWS)
UNSTABLE_FUNCTIONS = _functions(_UNSTABLE_ROWS)
MODULES = {"wasi_snapshot_preview1": FUNCTIONS, "wasi_unstable": UNSTABLE_FUNCTIONS}
