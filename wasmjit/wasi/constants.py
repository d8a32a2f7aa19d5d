"""Numbers of WASI preview 1 (`wasi_snapshot_preview1` witx): error codes, rights, flags, file types."""

from __future__ import annotations

import enum
import errno
import functools
import stat


class Errno(enum.IntEnum):
    """``errno``: the result of every preview 1 function."""

    SUCCESS = 0
    TOOBIG = 1
    ACCES = 2
    ADDRINUSE = 3
    ADDRNOTAVAIL = 4
    AFNOSUPPORT = 5
    AGAIN = 6
    ALREADY = 7
    BADF = 8
    BADMSG = 9
    BUSY = 10
    CANCELED = 11
    CHILD = 12
    CONNABORTED = 13
    CONNREFUSED = 14
    CONNRESET = 15
    DEADLK = 16
    DESTADDRREQ = 17
    DOM = 18
    DQUOT = 19
    EXIST = 20
    FAULT = 21
    FBIG = 22
    HOSTUNREACH = 23
    IDRM = 24
    ILSEQ = 25
    INPROGRESS = 26
    INTR = 27
    INVAL = 28
    IO = 29
    ISCONN = 30
    ISDIR = 31
    LOOP = 32
    MFILE = 33
    MLINK = 34
    MSGSIZE = 35
    MULTIHOP = 36
    NAMETOOLONG = 37
    NETDOWN = 38
    NETRESET = 39
    NETUNREACH = 40
    NFILE = 41
    NOBUFS = 42
    NODEV = 43
    NOENT = 44
    NOEXEC = 45
    NOLCK = 46
    NOLINK = 47
    NOMEM = 48
    NOMSG = 49
    NOPROTOOPT = 50
    NOSPC = 51
    NOSYS = 52
    NOTCONN = 53
    NOTDIR = 54
    NOTEMPTY = 55
    NOTRECOVERABLE = 56
    NOTSOCK = 57
    NOTSUP = 58
    NOTTY = 59
    NXIO = 60
    OVERFLOW = 61
    OWNERDEAD = 62
    PERM = 63
    PIPE = 64
    PROTO = 65
    PROTONOSUPPORT = 66
    PROTOTYPE = 67
    RANGE = 68
    ROFS = 69
    SPIPE = 70
    SRCH = 71
    STALE = 72
    TIMEDOUT = 73
    TXTBSY = 74
    XDEV = 75
    NOTCAPABLE = 76


# Host errno -> WASI errno, by name: the two sets share their names but for 2BIG, which is no Python identifier.
_FROM_HOST: dict[int, Errno] = {
    getattr(errno, "E" + code.name): code for code in Errno if hasattr(errno, "E" + code.name)
}
_FROM_HOST[errno.E2BIG] = Errno.TOOBIG
_FROM_HOST.setdefault(errno.EOPNOTSUPP, Errno.NOTSUP)


def errno_from_host(code: int | None) -> Errno:
    """The WASI error of a host ``errno`` value; IO for those WASI has no name for."""
    return Errno.IO if code is None else _FROM_HOST.get(code, Errno.IO)


# What exceptions mean that were made without a number, as file systems written in Python do.
_FROM_EXCEPTION: tuple[tuple[type[OSError], Errno], ...] = (
    (FileNotFoundError, Errno.NOENT),
    (FileExistsError, Errno.EXIST),
    (NotADirectoryError, Errno.NOTDIR),
    (IsADirectoryError, Errno.ISDIR),
    (PermissionError, Errno.ACCES),
    (BlockingIOError, Errno.AGAIN),
    (BrokenPipeError, Errno.PIPE),
    (TimeoutError, Errno.TIMEDOUT),
)


def errno_of_exception(error: OSError) -> Errno:
    """The WASI error of a host exception: by its number, else by its class; IO if neither tells."""
    if error.errno is None:
        return next((code for kind, code in _FROM_EXCEPTION if isinstance(error, kind)), Errno.IO)
    return errno_from_host(error.errno)


class WasiError(Exception):
    """A preview 1 function fails with this error code; never leaves wasmjit.wasi."""

    def __init__(self, code: Errno) -> None:
        super().__init__(code.name)
        self.code = code


class FileType(enum.IntEnum):
    """``filetype``."""

    UNKNOWN = 0
    BLOCK_DEVICE = 1
    CHARACTER_DEVICE = 2
    DIRECTORY = 3
    REGULAR_FILE = 4
    SOCKET_DGRAM = 5
    SOCKET_STREAM = 6
    SYMBOLIC_LINK = 7


_FILE_TYPES = {
    stat.S_IFBLK: FileType.BLOCK_DEVICE,
    stat.S_IFCHR: FileType.CHARACTER_DEVICE,
    stat.S_IFDIR: FileType.DIRECTORY,
    stat.S_IFREG: FileType.REGULAR_FILE,
    stat.S_IFSOCK: FileType.SOCKET_STREAM,
    stat.S_IFLNK: FileType.SYMBOLIC_LINK,
}


def file_type_from_mode(mode: int) -> FileType:
    """The WASI file type of a host ``st_mode``; pipes have none and are UNKNOWN."""
    return _FILE_TYPES.get(stat.S_IFMT(mode), FileType.UNKNOWN)


class Rights(enum.IntFlag):
    """``rights``. FD_READ and FD_WRITE decide how a file is opened; others matter once ``fd_fdstat_set_rights`` took
    them away."""

    FD_DATASYNC = 1 << 0
    FD_READ = 1 << 1
    FD_SEEK = 1 << 2
    FD_FDSTAT_SET_FLAGS = 1 << 3
    FD_SYNC = 1 << 4
    FD_TELL = 1 << 5
    FD_WRITE = 1 << 6
    FD_ADVISE = 1 << 7
    FD_ALLOCATE = 1 << 8
    PATH_CREATE_DIRECTORY = 1 << 9
    PATH_CREATE_FILE = 1 << 10
    PATH_LINK_SOURCE = 1 << 11
    PATH_LINK_TARGET = 1 << 12
    PATH_OPEN = 1 << 13
    FD_READDIR = 1 << 14
    PATH_READLINK = 1 << 15
    PATH_RENAME_SOURCE = 1 << 16
    PATH_RENAME_TARGET = 1 << 17
    PATH_FILESTAT_GET = 1 << 18
    PATH_FILESTAT_SET_SIZE = 1 << 19
    PATH_FILESTAT_SET_TIMES = 1 << 20
    FD_FILESTAT_GET = 1 << 21
    FD_FILESTAT_SET_SIZE = 1 << 22
    FD_FILESTAT_SET_TIMES = 1 << 23
    PATH_SYMLINK = 1 << 24
    PATH_REMOVE_DIRECTORY = 1 << 25
    PATH_UNLINK_FILE = 1 << 26
    POLL_FD_READWRITE = 1 << 27
    SOCK_SHUTDOWN = 1 << 28
    SOCK_ACCEPT = 1 << 29


_WRITING_FILE_RIGHTS = Rights.FD_WRITE | Rights.FD_ALLOCATE | Rights.FD_FILESTAT_SET_SIZE
_FILE_RIGHTS = (
    Rights.FD_DATASYNC
    | Rights.FD_READ
    | Rights.FD_SEEK
    | Rights.FD_FDSTAT_SET_FLAGS
    | Rights.FD_SYNC
    | Rights.FD_TELL
    | Rights.FD_ADVISE
    | Rights.FD_FILESTAT_GET
    | Rights.FD_FILESTAT_SET_TIMES
    | Rights.POLL_FD_READWRITE
    | _WRITING_FILE_RIGHTS
)
_CHANGING_DIRECTORY_RIGHTS = (
    Rights.PATH_CREATE_DIRECTORY
    | Rights.PATH_CREATE_FILE
    | Rights.PATH_LINK_SOURCE
    | Rights.PATH_LINK_TARGET
    | Rights.PATH_RENAME_SOURCE
    | Rights.PATH_RENAME_TARGET
    | Rights.PATH_FILESTAT_SET_SIZE
    | Rights.PATH_FILESTAT_SET_TIMES
    | Rights.PATH_SYMLINK
    | Rights.PATH_REMOVE_DIRECTORY
    | Rights.PATH_UNLINK_FILE
)
_DIRECTORY_RIGHTS = (
    Rights.PATH_OPEN
    | Rights.FD_READDIR
    | Rights.PATH_READLINK
    | Rights.PATH_FILESTAT_GET
    | Rights.FD_FILESTAT_GET
    | Rights.FD_FILESTAT_SET_TIMES
    | Rights.FD_FDSTAT_SET_FLAGS
    | Rights.FD_SYNC
    | Rights.FD_DATASYNC
    | _CHANGING_DIRECTORY_RIGHTS
)


@functools.cache
def file_rights(readable: bool, writable: bool) -> int:
    """What is reported for an open file, as a plain int."""
    rights = _FILE_RIGHTS if writable else _FILE_RIGHTS & ~_WRITING_FILE_RIGHTS
    return (rights if readable else rights & ~Rights.FD_READ).value


@functools.cache
def directory_rights(mutable: bool, readable: bool = True, writable: bool | None = None) -> tuple[int, int]:
    """(base, inheriting) reported for a directory; of its files, `readable` and `writable` (None: as `mutable`)."""
    base = (_DIRECTORY_RIGHTS if mutable else _DIRECTORY_RIGHTS & ~_CHANGING_DIRECTORY_RIGHTS).value
    return base, base | file_rights(readable, mutable if writable is None else writable)


def socket_rights(listening: bool) -> Rights:
    """What is reported for a socket."""
    both = Rights.POLL_FD_READWRITE | Rights.FD_FDSTAT_SET_FLAGS | Rights.FD_FILESTAT_GET
    return both | (Rights.SOCK_ACCEPT if listening else Rights.FD_READ | Rights.FD_WRITE | Rights.SOCK_SHUTDOWN)


SYMLINK_FOLLOW = 1  # lookupflags

OFLAGS_CREAT, OFLAGS_DIRECTORY, OFLAGS_EXCL, OFLAGS_TRUNC = 1, 2, 4, 8
FDFLAGS_APPEND, FDFLAGS_DSYNC, FDFLAGS_NONBLOCK, FDFLAGS_RSYNC, FDFLAGS_SYNC = 1, 2, 4, 8, 16
FSTFLAGS_ATIM, FSTFLAGS_ATIM_NOW, FSTFLAGS_MTIM, FSTFLAGS_MTIM_NOW = 1, 2, 4, 8
WHENCE_SET, WHENCE_CUR, WHENCE_END = 0, 1, 2
ADVICE_COUNT = 6
CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME, CLOCK_THREAD_CPUTIME = 0, 1, 2, 3
EVENTTYPE_CLOCK, EVENTTYPE_FD_READ, EVENTTYPE_FD_WRITE = 0, 1, 2
SUBCLOCKFLAGS_ABSTIME = 1
EVENTRWFLAGS_HANGUP = 1
PREOPENTYPE_DIR = 0
RIFLAGS_PEEK, RIFLAGS_WAITALL = 1, 2
ROFLAGS_DATA_TRUNCATED = 1
SDFLAGS_RD, SDFLAGS_WR = 1, 2
