"""What guest file descriptors stand for: streams, host files and sandboxed host directories, and the descriptor table.

A guest path is resolved by us, one component at a time, relative to a directory that is already open
(``openat`` with ``O_NOFOLLOW``): the kernel never follows a symbolic link or a ``..`` for the guest. Symbolic links are
read and their contents resolved by the same rules; ``..`` goes back to a directory we came through, never above the
preopened one. So no path leaves the sandbox, also not while somebody else renames directories or swaps links.
"""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import stat
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from .constants import (
    FDFLAGS_APPEND,
    FDFLAGS_DSYNC,
    FDFLAGS_NONBLOCK,
    FDFLAGS_RSYNC,
    FDFLAGS_SYNC,
    OFLAGS_CREAT,
    OFLAGS_DIRECTORY,
    OFLAGS_EXCL,
    OFLAGS_TRUNC,
    Errno,
    FileType,
    Rights,
    WasiError,
    directory_rights,
    file_rights,
    file_type_from_mode,
)

MAX_SYMLINKS = 40  # as the Linux kernel
MAX_PATH_BYTES = 65536
MAX_OPEN_COMPONENTS = 256  # each directory on the way stays open while a path is resolved
MAX_VECTORS = 1024  # IOV_MAX

# O_PATH needs no read permission on the directories passed through; where it is missing, O_RDONLY does.
_OPEN_COMPONENT = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SYNC_FLAGS = (
    (FDFLAGS_DSYNC, getattr(os, "O_DSYNC", os.O_SYNC)),
    (FDFLAGS_RSYNC, getattr(os, "O_RSYNC", os.O_SYNC)),
    (FDFLAGS_SYNC, os.O_SYNC),
)


class FileStat(NamedTuple):
    """``filestat``; times in nanoseconds since the epoch."""

    device: int
    inode: int
    file_type: FileType
    links: int
    size_bytes: int
    accessed_ns: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def from_host(cls, status: os.stat_result) -> FileStat:
        """From the result of ``os.stat``."""
        return cls(
            status.st_dev,
            status.st_ino,
            file_type_from_mode(status.st_mode),
            status.st_nlink,
            status.st_size,
            status.st_atime_ns,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )


class DirectoryEntry(NamedTuple):
    """One entry that ``fd_readdir`` reports."""

    inode: int
    file_type: FileType
    name: bytes


class Descriptor:
    """What one guest file descriptor stands for. Operations a kind does not have fail as POSIX would have it."""

    file_type: FileType = FileType.UNKNOWN
    host_fd: int | None = None  # for poll: None means always ready

    def rights(self) -> tuple[Rights, Rights]:
        """(base, inheriting) to report."""
        return Rights(0), Rights(0)

    def flags(self) -> int:
        """``fdflags`` to report."""
        return 0

    def set_flags(self, flags: int) -> None:
        """``fd_fdstat_set_flags``."""
        raise WasiError(Errno.BADF)

    def read(self, vectors: Sequence[memoryview]) -> int:
        """Fills the buffers in order; bytes read, 0 at the end of the file."""
        raise WasiError(Errno.BADF)

    def write(self, vectors: Sequence[memoryview]) -> int:
        """Writes the buffers in order; bytes written."""
        raise WasiError(Errno.BADF)

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        """As `read` from an absolute offset, leaving the position alone."""
        raise WasiError(Errno.SPIPE)

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        """As `write` to an absolute offset, leaving the position alone."""
        raise WasiError(Errno.SPIPE)

    def seek(self, offset: int, whence: int) -> int:
        """Moves the position; the new one. whence: ``os.SEEK_*``."""
        raise WasiError(Errno.SPIPE)

    def stat(self) -> FileStat:
        """``fd_filestat_get``."""
        return FileStat(0, 0, self.file_type, 0, 0, 0, 0, 0)

    def set_size(self, size_bytes: int) -> None:
        """``fd_filestat_set_size``."""
        raise WasiError(Errno.BADF)

    def set_times(self, times: Callable[[FileStat], tuple[int, int]]) -> None:
        """``fd_filestat_set_times``; `times` maps the present state to (accessed, modified) in nanoseconds."""
        raise WasiError(Errno.BADF)

    def advise(self) -> None:
        """``fd_advise``: hints are accepted and ignored."""
        raise WasiError(Errno.BADF)

    def sync(self, data_only: bool) -> None:
        """``fd_sync``, ``fd_datasync``."""
        raise WasiError(Errno.BADF)

    def close(self) -> None:
        """Lets go of the host's descriptor."""


def write_all(write: Callable[[memoryview], int], vectors: Sequence[memoryview]) -> int:
    """Writes buffers one by one with `write`; stops at the first short write."""
    total = 0
    for vector in vectors:
        written = write(vector)
        total += written
        if written < len(vector):
            break
    return total


class InputStream(Descriptor):
    """Standard input from a Python file object (binary or text), read on demand."""

    def __init__(self, stream: Any) -> None:
        self._stream = getattr(stream, "buffer", stream)
        self._left = b""  # read, but not taken yet
        # A buffered readinto waits until the whole buffer is full, which would hang an interactive guest.
        # Only types known not to keep the buffer get a view of guest memory; it may be unmapped later.
        self._into: Callable[[memoryview], int | None] | None = None
        if type(self._stream) is io.BufferedReader:
            self._into = self._stream.readinto1
        elif type(self._stream) in (io.BytesIO, io.FileIO):
            self._into = self._stream.readinto

    def rights(self) -> tuple[Rights, Rights]:
        return Rights.FD_READ | Rights.POLL_FD_READWRITE, Rights(0)

    def read(self, vectors: Sequence[memoryview]) -> int:
        vector = next((v for v in vectors if len(v)), None)
        if vector is None:
            return 0
        if self._into is not None:
            count = self._into(vector)
            if count is None:
                raise WasiError(Errno.AGAIN)
            return count
        if not self._left:
            data = self._stream.read(len(vector))
            if data is None:
                raise WasiError(Errno.AGAIN)
            self._left = data.encode() if isinstance(data, str) else bytes(data)
        count = min(len(self._left), len(vector))
        vector[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class OutputStream(Descriptor):
    """Standard output to a callback that takes ``bytes`` and returns None or the count it took."""

    def __init__(self, write: Callable[[bytes], int | None]) -> None:
        self._write = write

    @classmethod
    def to_file(cls, stream: Any) -> Descriptor:
        """To a Python file object: binary, or text (decoded as UTF-8, with errors replaced)."""
        if hasattr(stream, "buffer"):
            stream.flush()  # what was printed before must come before
            stream = stream.buffer
        if type(stream) in (io.BytesIO, io.FileIO, io.BufferedWriter, io.BufferedRandom):
            return _BinaryOutputStream(stream)
        if isinstance(stream, io.TextIOBase):
            decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

            def write_text(data: bytes) -> None:
                stream.write(decoder.decode(data))

            return cls(write_text)
        return cls(stream.write)

    def rights(self) -> tuple[Rights, Rights]:
        return Rights.FD_WRITE | Rights.POLL_FD_READWRITE, Rights(0)

    def write(self, vectors: Sequence[memoryview]) -> int:
        data = b"".join(vectors)
        count = self._write(data)
        if count is None:
            return len(data)
        if count < 0:  # the wasmtime package's convention: a negative host errno
            raise OSError(-count, os.strerror(-count))
        return min(int(count), len(data))


class _BinaryOutputStream(OutputStream):
    """To a file object of the io module, which copies at once: no intermediate bytes."""

    def __init__(self, stream: io.BytesIO | io.FileIO | io.BufferedWriter) -> None:
        self._stream = stream

    def write(self, vectors: Sequence[memoryview]) -> int:
        return write_all(lambda vector: self._stream.write(vector) or 0, vectors)


class HostStream(Descriptor):
    """A host descriptor used as a stream: inherited stdio, or the file behind ``stdout_file``."""

    def __init__(self, host_fd: int, direction: Literal["in", "out"], owned: bool) -> None:
        self.host_fd = host_fd
        self._owned = owned
        self._is_input = direction == "in"
        # As wasmtime: a terminal is a character device (so that guests use line buffering), all else is unknown.
        self.file_type = FileType.CHARACTER_DEVICE if os.isatty(host_fd) else FileType.UNKNOWN

    def rights(self) -> tuple[Rights, Rights]:
        return (Rights.FD_READ if self._is_input else Rights.FD_WRITE) | Rights.POLL_FD_READWRITE, Rights(0)

    def read(self, vectors: Sequence[memoryview]) -> int:
        if not self._is_input or self.host_fd is None:
            raise WasiError(Errno.BADF)
        return os.readv(self.host_fd, vectors)

    def write(self, vectors: Sequence[memoryview]) -> int:
        if self._is_input or self.host_fd is None:
            raise WasiError(Errno.BADF)
        return os.writev(self.host_fd, vectors)

    def close(self) -> None:
        if self._owned and self.host_fd is not None:
            os.close(self.host_fd)
        self.host_fd = None


class HostFile(Descriptor):
    """An open host file that is no directory."""

    host_fd: int

    def __init__(self, host_fd: int, readable: bool, writable: bool, mutable: bool, mode: int) -> None:
        self.host_fd = host_fd
        self._mutable = mutable
        self._readable = readable
        self._writable = writable
        self.file_type = file_type_from_mode(mode)

    def rights(self) -> tuple[Rights, Rights]:
        return file_rights(self._readable, self._writable), Rights(0)

    def flags(self) -> int:
        host_flags = fcntl.fcntl(self.host_fd, fcntl.F_GETFL)
        flags = FDFLAGS_APPEND if host_flags & os.O_APPEND else 0
        flags |= FDFLAGS_NONBLOCK if host_flags & os.O_NONBLOCK else 0
        for flag, host_flag in _SYNC_FLAGS:
            flags |= flag if host_flags & host_flag == host_flag else 0
        return flags

    def set_flags(self, flags: int) -> None:
        if flags & ~(FDFLAGS_APPEND | FDFLAGS_NONBLOCK):  # F_SETFL cannot change the synchronous modes
            raise WasiError(Errno.INVAL)
        host_flags = fcntl.fcntl(self.host_fd, fcntl.F_GETFL) & ~(os.O_APPEND | os.O_NONBLOCK)
        host_flags |= os.O_APPEND if flags & FDFLAGS_APPEND else 0
        host_flags |= os.O_NONBLOCK if flags & FDFLAGS_NONBLOCK else 0
        fcntl.fcntl(self.host_fd, fcntl.F_SETFL, host_flags)

    def _check(self, allowed: bool) -> None:
        if not allowed:
            raise WasiError(Errno.BADF)

    def read(self, vectors: Sequence[memoryview]) -> int:
        self._check(self._readable)
        return os.readv(self.host_fd, vectors)

    def write(self, vectors: Sequence[memoryview]) -> int:
        self._check(self._writable)
        return os.writev(self.host_fd, vectors)

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        self._check(self._readable)
        return os.preadv(self.host_fd, vectors, offset)

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        self._check(self._writable)
        return os.pwritev(self.host_fd, vectors, offset)

    def seek(self, offset: int, whence: int) -> int:
        return os.lseek(self.host_fd, offset, whence)

    def stat(self) -> FileStat:
        return FileStat.from_host(os.fstat(self.host_fd))

    def set_size(self, size_bytes: int) -> None:
        self._check(self._writable)
        os.ftruncate(self.host_fd, size_bytes)

    def set_times(self, times: Callable[[FileStat], tuple[int, int]]) -> None:
        if not self._mutable:
            raise WasiError(Errno.PERM)
        os.utime(self.host_fd, ns=times(self.stat()))

    def advise(self) -> None:
        pass

    def sync(self, data_only: bool) -> None:
        (getattr(os, "fdatasync", os.fsync) if data_only else os.fsync)(self.host_fd)

    def close(self) -> None:
        if self.host_fd >= 0:
            os.close(self.host_fd)
        self.host_fd = -1


class Location(NamedTuple):
    """Where a guest path leads: an entry of an open directory."""

    directory_fd: int
    name: bytes  # one component, or b"." for the directory itself
    must_be_directory: bool  # the path ended in a slash


class _Walk:
    """Resolves one path below `root_fd`; a context manager, because it keeps the directories it came through open."""

    def __init__(self, root_fd: int, path: bytes) -> None:
        self._root_fd = root_fd
        self._opened: list[int] = []
        self._pending: list[bytes] = []  # components still to resolve, the next one last
        self._symlinks = 0
        self._must_be_directory = False
        self._push(path)

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, *exception: object) -> None:
        for opened in self._opened:
            os.close(opened)

    def _push(self, path: bytes) -> None:
        if not path:
            raise WasiError(Errno.NOENT)
        if b"\0" in path:
            raise WasiError(Errno.INVAL)
        if path.startswith(b"/"):
            raise WasiError(Errno.PERM)
        if len(path) > MAX_PATH_BYTES:
            raise WasiError(Errno.NAMETOOLONG)
        components = [part for part in path.split(b"/") if part and part != b"."]
        if not self._pending and (path.endswith((b"/", b"/.", b"/..")) or path in (b".", b"..")):
            self._must_be_directory = True
        self._pending += reversed(components)

    def _expand_symlink(self, target: bytes) -> None:
        self._symlinks += 1
        if self._symlinks > MAX_SYMLINKS:
            raise WasiError(Errno.LOOP)
        self._push(target)

    def _directory_fd(self) -> int:
        return self._opened[-1] if self._opened else self._root_fd

    def _read_symlink(self, name: bytes) -> bytes | None:
        try:
            return os.readlink(name, dir_fd=self._directory_fd())
        except OSError:  # not a link, or not there at all: whoever uses the name will tell
            return None

    def _enter(self, name: bytes) -> None:
        try:
            opened = os.open(name, _OPEN_COMPONENT, dir_fd=self._directory_fd())
        except OSError:
            target = self._read_symlink(name)
            if target is None:
                raise
            self._expand_symlink(target)
            return
        self._opened.append(opened)
        if len(self._opened) > MAX_OPEN_COMPONENTS:
            raise WasiError(Errno.NAMETOOLONG)

    def resolve(self, follow_last: bool) -> Location:
        """The entry that the path names; `follow_last`: a symbolic link at the end is resolved as well."""
        while self._pending:
            name = self._pending.pop()
            if name == b"..":
                if not self._opened:
                    raise WasiError(Errno.PERM)
                os.close(self._opened.pop())
            elif self._pending:
                self._enter(name)
            else:
                target = self._read_symlink(name) if follow_last or self._must_be_directory else None
                if target is None:
                    return Location(self._directory_fd(), name, self._must_be_directory)
                self._expand_symlink(target)
        return Location(self._directory_fd(), b".", True)


def _entry_file_type(entry: os.DirEntry[str]) -> FileType:
    if entry.is_symlink():
        return FileType.SYMBOLIC_LINK
    if entry.is_dir(follow_symlinks=False):
        return FileType.DIRECTORY
    if entry.is_file(follow_symlinks=False):
        return FileType.REGULAR_FILE
    try:
        return file_type_from_mode(entry.stat(follow_symlinks=False).st_mode)
    except OSError:  # gone meanwhile
        return FileType.UNKNOWN


def _last_component(path: bytes) -> bytes:
    return path.rstrip(b"/").rpartition(b"/")[2]


class HostDirectory(Descriptor):
    """An open host directory, the root of a sandbox: every path operation resolves below it."""

    host_fd: int
    file_type = FileType.DIRECTORY

    def __init__(self, host_fd: int, mutable: bool, guest_path: bytes | None = None) -> None:
        self.host_fd = host_fd
        self.mutable = mutable
        self.guest_path = guest_path  # set for preopened directories
        self._entries: list[DirectoryEntry] | None = None

    def rights(self) -> tuple[Rights, Rights]:
        return directory_rights(self.mutable)

    def set_flags(self, flags: int) -> None:
        raise WasiError(Errno.BADF)

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.BADF)

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.BADF)

    def seek(self, offset: int, whence: int) -> int:
        raise WasiError(Errno.BADF)

    def stat(self) -> FileStat:
        return FileStat.from_host(os.fstat(self.host_fd))

    def set_times(self, times: Callable[[FileStat], tuple[int, int]]) -> None:
        self._check_mutable()
        os.utime(self.host_fd, ns=times(self.stat()))

    def sync(self, data_only: bool) -> None:
        os.fsync(self.host_fd)

    def close(self) -> None:
        if self.host_fd >= 0:
            os.close(self.host_fd)
        self.host_fd = -1

    def _check_mutable(self) -> None:
        if not self.mutable:
            raise WasiError(Errno.PERM)

    def entries(self, refresh: bool) -> list[DirectoryEntry]:
        """``.``, ``..`` and the contents; kept until `refresh`, so that positions stay valid between calls."""
        if self._entries is None or refresh:
            # The parent's inode would tell about the host outside the sandbox: both report the directory's own.
            own = os.fstat(self.host_fd).st_ino
            self._entries = [DirectoryEntry(own, FileType.DIRECTORY, name) for name in (b".", b"..")]
            with os.scandir(self.host_fd) as found:
                self._entries += [
                    DirectoryEntry(entry.inode(), _entry_file_type(entry), os.fsencode(entry.name)) for entry in found
                ]
        return self._entries

    def open(self, path: bytes, follow: bool, oflags: int, readable: bool, writable: bool, fdflags: int) -> Descriptor:
        """``path_open``: opens or creates a file, or opens a directory."""
        if oflags & OFLAGS_DIRECTORY and oflags & (OFLAGS_CREAT | OFLAGS_EXCL | OFLAGS_TRUNC):
            raise WasiError(Errno.INVAL)
        if writable or oflags & (OFLAGS_CREAT | OFLAGS_TRUNC):
            self._check_mutable()
        flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
        flags |= (os.O_RDWR if readable else os.O_WRONLY) if writable else os.O_RDONLY
        flags |= os.O_CREAT if oflags & OFLAGS_CREAT else 0
        flags |= os.O_EXCL if oflags & OFLAGS_EXCL else 0
        flags |= os.O_TRUNC if oflags & OFLAGS_TRUNC else 0
        flags |= os.O_APPEND if fdflags & FDFLAGS_APPEND else 0
        flags |= os.O_NONBLOCK if fdflags & FDFLAGS_NONBLOCK else 0
        for flag, host_flag in _SYNC_FLAGS:
            flags |= host_flag if fdflags & flag else 0
        exclusive = bool(oflags & OFLAGS_CREAT and oflags & OFLAGS_EXCL)
        with _Walk(self.host_fd, path) as walk:
            directory_fd, name, must_be_directory = walk.resolve(follow and not exclusive)
            if oflags & OFLAGS_DIRECTORY or must_be_directory:
                if oflags & OFLAGS_CREAT:  # open(2) never creates a directory
                    raise WasiError(Errno.ISDIR)
                flags |= os.O_DIRECTORY
            host_fd = os.open(name, flags, 0o666, dir_fd=directory_fd)
        try:
            mode = os.fstat(host_fd).st_mode
            if stat.S_ISDIR(mode):
                return HostDirectory(host_fd, self.mutable)
            return HostFile(host_fd, readable, writable, self.mutable, mode)
        except BaseException:
            os.close(host_fd)
            raise

    def stat_path(self, path: bytes, follow: bool) -> FileStat:
        """``path_filestat_get``."""
        with _Walk(self.host_fd, path) as walk:
            return self._stat_location(walk.resolve(follow))

    @staticmethod
    def _stat_location(location: Location) -> FileStat:
        status = os.stat(location.name, dir_fd=location.directory_fd, follow_symlinks=False)
        if location.must_be_directory and not stat.S_ISDIR(status.st_mode):
            raise WasiError(Errno.NOTDIR)
        return FileStat.from_host(status)

    def set_times_path(self, path: bytes, follow: bool, times: Callable[[FileStat], tuple[int, int]]) -> None:
        """``path_filestat_set_times``."""
        self._check_mutable()
        with _Walk(self.host_fd, path) as walk:
            location = walk.resolve(follow)
            new_times = times(self._stat_location(location))
            os.utime(location.name, ns=new_times, dir_fd=location.directory_fd, follow_symlinks=False)

    def create_directory(self, path: bytes) -> None:
        """``path_create_directory``."""
        self._check_mutable()
        if _last_component(path) == b".":  # exists, or "new/." whose "new" does not
            self.stat_path(path, True)
            raise WasiError(Errno.EXIST)
        with _Walk(self.host_fd, path.rstrip(b"/") or path) as walk:
            location = walk.resolve(False)
            if location.name == b".":
                raise WasiError(Errno.EXIST)
            os.mkdir(location.name, dir_fd=location.directory_fd)

    def unlink_file(self, path: bytes) -> None:
        """``path_unlink_file``."""
        self._check_mutable()
        with _Walk(self.host_fd, path) as walk:
            location = walk.resolve(False)
            if location.must_be_directory:
                is_directory = self._stat_location(location).file_type is FileType.DIRECTORY
                raise WasiError(Errno.ISDIR if is_directory else Errno.NOTDIR)
            os.unlink(location.name, dir_fd=location.directory_fd)

    def remove_directory(self, path: bytes) -> None:
        """``path_remove_directory``."""
        self._check_mutable()
        with _Walk(self.host_fd, path.rstrip(b"/") or path) as walk:
            location = walk.resolve(False)
            if location.name == b"." or _last_component(path) == b".":  # as rmdir(2)
                raise WasiError(Errno.INVAL)
            os.rmdir(location.name, dir_fd=location.directory_fd)

    def rename(self, path: bytes, to_directory: HostDirectory, to_path: bytes) -> None:
        """``path_rename``: both ends are resolved in their own sandbox."""
        self._check_mutable()
        to_directory._check_mutable()
        # A slash at the end of the new name is fine for a directory that does not exist yet: look at the old one.
        with (
            _Walk(self.host_fd, path.rstrip(b"/") or path) as walk,
            _Walk(to_directory.host_fd, to_path.rstrip(b"/") or to_path) as to_walk,
        ):
            source = walk.resolve(False)
            target = to_walk.resolve(False)
            if b"." in (source.name, target.name, _last_component(path), _last_component(to_path)):
                raise WasiError(Errno.BUSY)
            needs_directory = path.endswith(b"/") or to_path.endswith(b"/")
            if needs_directory and self._stat_location(source).file_type is not FileType.DIRECTORY:
                raise WasiError(Errno.NOTDIR)
            os.rename(source.name, target.name, src_dir_fd=source.directory_fd, dst_dir_fd=target.directory_fd)

    def link(self, path: bytes, to_directory: HostDirectory, to_path: bytes) -> None:
        """``path_link``: a hard link; symbolic links are never followed."""
        self._check_mutable()
        to_directory._check_mutable()
        with _Walk(self.host_fd, path) as walk, _Walk(to_directory.host_fd, to_path) as to_walk:
            source = walk.resolve(False)
            target = to_walk.resolve(False)
            if source.must_be_directory:
                self._stat_location(source)  # NOTDIR; link(2) refuses directories itself
            if target.must_be_directory:
                raise WasiError(Errno.NOENT)
            os.link(
                source.name,
                target.name,
                src_dir_fd=source.directory_fd,
                dst_dir_fd=target.directory_fd,
                follow_symlinks=False,
            )

    def read_link(self, path: bytes) -> bytes:
        """``path_readlink``: the link's contents."""
        with _Walk(self.host_fd, path) as walk:
            location = walk.resolve(False)
            target = os.readlink(location.name, dir_fd=location.directory_fd)
        if target.startswith(b"/"):  # names a place outside, which the guest has no business with
            raise WasiError(Errno.PERM)
        return target

    def symlink(self, target: bytes, path: bytes) -> None:
        """``path_symlink``. Absolute targets are refused: they mean something else to the host than to the guest."""
        self._check_mutable()
        if target.startswith(b"/"):
            raise WasiError(Errno.PERM)
        if b"\0" in target:
            raise WasiError(Errno.INVAL)
        with _Walk(self.host_fd, path) as walk:
            location = walk.resolve(False)
            if location.must_be_directory:
                self._stat_location(location)  # NOENT
                raise WasiError(Errno.EXIST)
            os.symlink(target, location.name, dir_fd=location.directory_fd)


class DescriptorTable:
    """Guest descriptor numbers -> descriptors. 0 to 2 are standard streams, preopened directories follow."""

    def __init__(self, descriptors: Sequence[Descriptor]) -> None:
        self._descriptors: dict[int, Descriptor] = dict(enumerate(descriptors))
        self._lowest_free = len(descriptors)

    def get(self, number: int) -> Descriptor:
        """The descriptor, or BADF."""
        try:
            return self._descriptors[number]
        except KeyError:
            raise WasiError(Errno.BADF) from None

    def directory(self, number: int) -> HostDirectory:
        """The directory; NOTDIR for a file, BADF for anything else."""
        descriptor = self.get(number)
        if not isinstance(descriptor, HostDirectory):
            raise WasiError(Errno.NOTDIR if isinstance(descriptor, HostFile) else Errno.BADF)
        return descriptor

    def add(self, descriptor: Descriptor) -> int:
        """The lowest free number, as POSIX has it, now taken."""
        number = self._lowest_free
        self._descriptors[number] = descriptor
        while self._lowest_free in self._descriptors:
            self._lowest_free += 1
        return number

    def close(self, number: int) -> None:
        """Closes one; BADF if it is not open."""
        descriptor = self.get(number)
        del self._descriptors[number]
        self._lowest_free = min(self._lowest_free, number)
        descriptor.close()

    def renumber(self, number: int, to_number: int) -> None:
        """Moves `number` to `to_number`, which must be open too and is closed."""
        descriptor = self.get(number)
        replaced = self.get(to_number)
        if number == to_number:
            return
        del self._descriptors[number]
        self._descriptors[to_number] = descriptor
        self._lowest_free = min(self._lowest_free, number)
        replaced.close()

    def close_all(self) -> None:
        """Closes everything."""
        descriptors = list(self._descriptors.values())
        self._descriptors.clear()
        self._lowest_free = 0
        for descriptor in descriptors:
            descriptor.close()
