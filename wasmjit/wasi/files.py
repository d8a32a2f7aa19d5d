"""Files and directories of the host, as guest descriptors. Where a path leads is decided in `sandbox`."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence

from . import operations
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
    WasiError,
    file_rights,
    file_type_from_mode,
)
from .descriptors import Access, Descriptor, Directory, DirectoryEntry, FileStat, Times, same_kind
from .host_io import may_block, read_some, write_some
from .listing import HostListing, SortedNames, knows_positions
from .sandbox import Location, Walk, components_of, last_component, open_beneath, openat2

_SYNC_FLAGS = (
    (FDFLAGS_DSYNC, getattr(os, "O_DSYNC", os.O_SYNC)),
    (FDFLAGS_RSYNC, getattr(os, "O_RSYNC", os.O_SYNC)),
    (FDFLAGS_SYNC, os.O_SYNC),
)
# ``advice`` in the order of the specification.
_ADVICE = ("NORMAL", "SEQUENTIAL", "RANDOM", "WILLNEED", "DONTNEED", "NOREUSE")
_MAX_OFFSET = (1 << 63) - 1
_RWF_APPEND = getattr(os, "RWF_APPEND", 0)
LOOK_AT = getattr(os, "O_PATH", 0) and os.O_PATH | os.O_CLOEXEC  # opens nothing for use: for fstat, also of links


class HostView:
    """How what the host tells about files is shown to the program: as it is."""

    sorts_entries = False

    def stat(self, status: os.stat_result) -> FileStat:
        """The state of a file."""
        return FileStat.from_host(status)

    def inode(self, device: int, inode: int) -> int:
        """The number of a file."""
        return inode


class StableHostView(HostView):
    """Shows nothing that differs from run to run: entries sorted by name, files numbered in the order in which the
    program meets them, one device, and `time_ns` as all times."""

    sorts_entries = True

    def __init__(self, time_ns: int) -> None:
        self._time_ns = time_ns
        self._numbers: dict[tuple[int, int], int] = {}

    def stat(self, status: os.stat_result) -> FileStat:
        shown = FileStat.from_host(status)
        # What a directory's size and links count differs between file systems.
        links, size = (1, 0) if shown.file_type is FileType.DIRECTORY else (shown.links, shown.size_bytes)
        number = self.inode(shown.device, shown.inode)
        return FileStat(1, number, shown.file_type, links, size, self._time_ns, self._time_ns, self._time_ns)

    def inode(self, device: int, inode: int) -> int:
        return self._numbers.setdefault((device, inode), len(self._numbers) + 1)


PLAIN_VIEW = HostView()


class HostFile(Descriptor):
    """An open host file that is no directory.

    What may block (pipes, devices) is open without blocking; reads and writes wait for it here, where an interrupt ends
    the wait.
    """

    host_fd: int

    def __init__(
        self, host_fd: int, readable: bool, writable: bool, access: Access, mode: int, fdflags: int, view: HostView
    ) -> None:
        self.host_fd = host_fd
        self._access = access
        self._readable = readable
        self._writable = writable
        self._may_block = may_block(mode)
        self._nonblocking = bool(fdflags & FDFLAGS_NONBLOCK)
        self._appends = bool(fdflags & FDFLAGS_APPEND)
        self._may_be_synchronous = bool(fdflags & (FDFLAGS_DSYNC | FDFLAGS_RSYNC | FDFLAGS_SYNC))
        # Not where the host may append: there it decides where a write ends. Nor of devices: their positions end.
        self._has_position = stat.S_ISREG(mode) and not self._appends
        self._view = view
        self.file_type = file_type_from_mode(mode)

    def rights(self) -> tuple[int, int]:
        return file_rights(self._readable, self._writable), 0

    def flags(self) -> int:
        flags = FDFLAGS_APPEND if self._appends else 0
        flags |= FDFLAGS_NONBLOCK if self._nonblocking else 0
        if not self._may_be_synchronous:
            return flags
        host_flags = fcntl.fcntl(self.host_fd, fcntl.F_GETFL)
        for flag, host_flag in _SYNC_FLAGS:
            flags |= flag if host_flags & host_flag == host_flag else 0
        return flags

    def set_flags(self, flags: int) -> None:
        if flags & ~(FDFLAGS_APPEND | FDFLAGS_NONBLOCK):  # F_SETFL cannot change the synchronous modes
            raise WasiError(Errno.INVAL)
        self._appends = bool(flags & FDFLAGS_APPEND)
        self._nonblocking = bool(flags & FDFLAGS_NONBLOCK)

    def host_operations(self) -> int:
        allowed = operations.FDSTAT | (operations.STAT if self._view is PLAIN_VIEW else 0)
        if self._readable:
            allowed |= operations.READ
        if self._writable:
            allowed |= operations.WRITE
        if self._may_block:
            return allowed | operations.MAY_BLOCK
        allowed |= operations.SEEK | operations.TELL | (operations.APPENDS if self._appends else 0)
        allowed |= operations.READ_AT if self._readable else 0
        allowed |= operations.HAS_POSITION if self._has_position else 0
        return allowed | (operations.WRITE_AT if self._writable else 0)

    def read(self, vectors: Sequence[memoryview]) -> int:
        if not self._readable:
            raise WasiError(Errno.BADF)
        if self._may_block:
            return read_some(self.host_fd, vectors, not self._nonblocking)
        return os.readv(self.host_fd, vectors)

    def write(self, vectors: Sequence[memoryview]) -> int:
        if not self._writable:
            raise WasiError(Errno.BADF)
        if self._may_block:
            return write_some(self.host_fd, vectors, not self._nonblocking)
        return self._append(vectors) if self._appends else os.writev(self.host_fd, vectors)

    def _append(self, vectors: Sequence[memoryview]) -> int:
        """The descriptor never has O_APPEND: Linux has pwrite append then too, where POSIX wants its offset. This does
        the same for one write, and moves the position as it would."""
        if _RWF_APPEND:
            try:
                return os.pwritev(self.host_fd, vectors, -1, _RWF_APPEND)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                    raise
        os.lseek(self.host_fd, 0, os.SEEK_END)  # what somebody else appends just now is overwritten
        return os.writev(self.host_fd, vectors)

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        if not self._readable:
            raise WasiError(Errno.BADF)
        return os.preadv(self.host_fd, vectors, offset)

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        if not self._writable:
            raise WasiError(Errno.BADF)
        return os.pwritev(self.host_fd, vectors, offset)

    def seek(self, offset: int, whence: int) -> int:
        return os.lseek(self.host_fd, offset, whence)

    def stat(self) -> FileStat:
        return self._view.stat(os.fstat(self.host_fd))

    def set_size(self, size_bytes: int) -> None:
        if not self._writable:  # as ftruncate(2) has it, once the permissions are not the reason
            raise WasiError(Errno.INVAL if self._access.can_write else Errno.PERM)
        os.ftruncate(self.host_fd, size_bytes)

    def set_times(self, times: Times) -> None:
        if not self._access.can_write:
            raise WasiError(Errno.PERM)
        os.utime(self.host_fd, ns=times(FileStat.from_host(os.fstat(self.host_fd))))

    def advise(self, offset: int, length: int, advice: int) -> None:
        host_advice = getattr(os, f"POSIX_FADV_{_ADVICE[advice]}", None)
        if host_advice is not None and not self._may_block and offset <= _MAX_OFFSET and length <= _MAX_OFFSET:
            os.posix_fadvise(self.host_fd, offset, length, host_advice)

    def allocate(self, offset: int, length: int) -> None:
        if not self._writable:
            raise WasiError(Errno.BADF)
        if not hasattr(os, "posix_fallocate"):
            raise WasiError(Errno.NOTSUP)
        os.posix_fallocate(self.host_fd, offset, length)

    def sync(self, data_only: bool) -> None:
        (getattr(os, "fdatasync", os.fsync) if data_only else os.fsync)(self.host_fd)

    def available_bytes(self) -> int:
        if self._may_block:
            return 1
        return max(0, os.fstat(self.host_fd).st_size - os.lseek(self.host_fd, 0, os.SEEK_CUR))

    def close(self) -> None:
        if self.host_fd >= 0:
            os.close(self.host_fd)
        self.host_fd = -1


def _host_flags(oflags: int, readable: bool, writable: bool, fdflags: int) -> int:
    """The flags of open(2). Never waits, for the other end of a pipe for example."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    flags |= (os.O_RDWR if readable else os.O_WRONLY) if writable else os.O_RDONLY
    flags |= os.O_CREAT if oflags & OFLAGS_CREAT else 0
    flags |= os.O_EXCL if oflags & OFLAGS_EXCL else 0
    flags |= os.O_TRUNC if oflags & OFLAGS_TRUNC else 0
    flags |= os.O_DIRECTORY if oflags & OFLAGS_DIRECTORY else 0
    for flag, host_flag in _SYNC_FLAGS:
        flags |= host_flag if fdflags & flag else 0
    return flags


class HostDirectory(Directory):
    """An open host directory."""

    host_fd: int

    def __init__(
        self, host_fd: int, access: Access, guest_path: bytes | None = None, view: HostView = PLAIN_VIEW
    ) -> None:
        super().__init__(access, guest_path)
        self.host_fd = host_fd
        self._view = view
        self._listing = HostListing(host_fd) if knows_positions and not view.sorts_entries else None
        self._names: SortedNames | None = None  # where there is no listing: once entries were asked for

    def stat(self) -> FileStat:
        return self._view.stat(os.fstat(self.host_fd))

    def host_operations(self) -> int:
        if self._view is not PLAIN_VIEW:
            return operations.FDSTAT
        by_path = operations.STAT_PATH if self.access.can_list and openat2.works and LOOK_AT else 0
        return operations.FDSTAT | operations.STAT | by_path

    def set_times(self, times: Times) -> None:
        self.access.check_mutate()
        os.utime(self.host_fd, ns=times(FileStat.from_host(os.fstat(self.host_fd))))

    def sync(self, data_only: bool) -> None:
        os.fsync(self.host_fd)

    def close(self) -> None:
        if self.host_fd >= 0:
            os.close(self.host_fd)
        self.host_fd = -1

    def _own_inode(self) -> int:
        own = os.fstat(self.host_fd)
        return self._view.inode(own.st_dev, own.st_ino)

    def _contents(self, cookie: int, about_bytes: int) -> Iterator[DirectoryEntry]:
        device = os.fstat(self.host_fd).st_dev
        if self._listing is not None:
            for following, inode, file_type, name in self._listing.behind(cookie, about_bytes):
                if file_type is None:
                    file_type = self._look_at(name)[1]
                yield following, self._view.inode(device, inode), file_type, name
            return
        if self._names is None:
            self._names = SortedNames(self._scan)
        for following, name in self._names.behind(cookie):
            inode, file_type = self._look_at(name)
            yield following, self._view.inode(device, inode), file_type, name

    def _scan(self) -> Iterator[bytes]:
        with os.scandir(self.host_fd) as found:
            for entry in found:
                yield os.fsencode(entry.name)

    def _look_at(self, name: bytes) -> tuple[int, FileType]:
        """The inode and type of an entry."""
        try:
            status = os.stat(name, dir_fd=self.host_fd, follow_symlinks=False)
        except OSError:  # gone meanwhile
            return 0, FileType.UNKNOWN
        return status.st_ino, file_type_from_mode(status.st_mode)

    def open(self, path: bytes, follow: bool, oflags: int, readable: bool, writable: bool, fdflags: int) -> Descriptor:
        if oflags & OFLAGS_DIRECTORY and oflags & (OFLAGS_CREAT | OFLAGS_EXCL | OFLAGS_TRUNC):
            raise WasiError(Errno.INVAL)
        changing = bool(oflags & (OFLAGS_CREAT | OFLAGS_TRUNC))
        self.access.check_open(False, writable or changing, changing)
        flags = _host_flags(oflags, readable, writable, fdflags)
        exclusive = bool(oflags & OFLAGS_CREAT and oflags & OFLAGS_EXCL)
        try:
            host_fd = self._open_host(path, follow and not exclusive, flags)
        except NotADirectoryError:
            if not follow and self._is_symlink(path):
                raise WasiError(Errno.LOOP) from None
            raise
        except PermissionError as error:
            if error.errno != errno.EPERM or not fdflags & FDFLAGS_APPEND:
                raise
            # A file that may only be appended to (chattr +a) is only opened so.
            host_fd = self._open_host(path, follow and not exclusive, flags | os.O_APPEND)
        try:
            mode = os.fstat(host_fd).st_mode
            if stat.S_ISDIR(mode):
                return HostDirectory(host_fd, self.access, view=self._view)
            self.access.check_open(readable, writable, changing)
            return HostFile(host_fd, readable, writable, self.access, mode, fdflags, self._view)
        except BaseException:
            os.close(host_fd)
            raise

    def _open_host(self, path: bytes, follow: bool, flags: int) -> int:
        """A host descriptor of what `path` names."""
        components_of(path)  # what no rule allows
        host_fd = open_beneath(self.host_fd, path, flags & ~os.O_NOFOLLOW if follow else flags, _new_file_mode(flags))
        if host_fd is not None:
            return host_fd
        if flags & os.O_CREAT and asks_for_new_directory(path):
            with Walk(self.host_fd, path.rstrip(b"/")) as walk:
                walk.resolve(False)
            raise WasiError(Errno.ISDIR)
        with Walk(self.host_fd, path) as walk:
            directory_fd, name, must_be_directory = walk.resolve(follow)
            if must_be_directory:
                if flags & os.O_CREAT:
                    raise WasiError(Errno.EXIST if flags & os.O_EXCL else Errno.ISDIR)
                flags |= os.O_DIRECTORY
            return os.open(name, flags, 0o666, dir_fd=directory_fd)

    def _is_symlink(self, path: bytes) -> bool:
        try:
            with Walk(self.host_fd, path) as walk:
                location = walk.resolve(False)
                return not location.must_be_directory and stat.S_ISLNK(self._stat_location(location).st_mode)
        except OSError:
            return False

    def stat_path(self, path: bytes, follow: bool) -> FileStat:
        self.access.check_list()
        components_of(path)  # what no rule allows
        host_fd = open_beneath(self.host_fd, path, LOOK_AT if follow else LOOK_AT | os.O_NOFOLLOW) if LOOK_AT else None
        if host_fd is not None:
            try:
                return self._view.stat(os.fstat(host_fd))
            finally:
                os.close(host_fd)
        with Walk(self.host_fd, path) as walk:
            return self._view.stat(self._stat_location(walk.resolve(follow)))

    @staticmethod
    def _stat_location(location: Location) -> os.stat_result:
        status = os.stat(location.name, dir_fd=location.directory_fd, follow_symlinks=False)
        if location.must_be_directory and not stat.S_ISDIR(status.st_mode):
            raise WasiError(Errno.NOTDIR)
        return status

    def _is_directory(self, location: Location) -> bool:
        return stat.S_ISDIR(self._stat_location(location).st_mode)

    def set_times_path(self, path: bytes, follow: bool, times: Times) -> None:
        self.access.check_mutate()
        with Walk(self.host_fd, path) as walk:
            location = walk.resolve(follow)
            new_times = times(FileStat.from_host(self._stat_location(location)))
            os.utime(location.name, ns=new_times, dir_fd=location.directory_fd, follow_symlinks=False)

    def create_directory(self, path: bytes) -> None:
        self.access.check_mutate()
        if last_component(path) == b".":  # exists, or "new/." whose "new" does not
            with Walk(self.host_fd, path) as walk:
                self._stat_location(walk.resolve(True))
            raise WasiError(Errno.EXIST)
        with Walk(self.host_fd, path.rstrip(b"/") or path) as walk:
            location = walk.resolve(False)
            if location.name == b".":
                raise WasiError(Errno.EXIST)
            os.mkdir(location.name, dir_fd=location.directory_fd)

    def unlink_file(self, path: bytes) -> None:
        self.access.check_mutate()
        with Walk(self.host_fd, path) as walk:
            location = walk.resolve(False)
            if location.must_be_directory:
                raise WasiError(Errno.ISDIR if self._is_directory(location) else Errno.NOTDIR)
            os.unlink(location.name, dir_fd=location.directory_fd)

    def remove_directory(self, path: bytes) -> None:
        self.access.check_mutate()
        with Walk(self.host_fd, path.rstrip(b"/") or path) as walk:
            location = walk.resolve(False)
            if location.name == b"." or last_component(path) == b".":  # as rmdir(2)
                raise WasiError(Errno.INVAL)
            os.rmdir(location.name, dir_fd=location.directory_fd)

    def rename(self, path: bytes, to_directory: Directory, to_path: bytes) -> None:
        self.access.check_move(to_directory.access)
        to = same_kind(to_directory, HostDirectory)
        # A slash at the end of the new name is fine for a directory that does not exist yet: look at the old one.
        with (
            Walk(self.host_fd, path.rstrip(b"/") or path) as walk,
            Walk(to.host_fd, to_path.rstrip(b"/") or to_path) as to_walk,
        ):
            source = walk.resolve(False)
            target = to_walk.resolve(False)
            if b"." in (source.name, target.name, last_component(path), last_component(to_path)):
                raise WasiError(Errno.BUSY)
            if (path.endswith(b"/") or to_path.endswith(b"/")) and not self._is_directory(source):
                raise WasiError(Errno.NOTDIR)
            os.rename(source.name, target.name, src_dir_fd=source.directory_fd, dst_dir_fd=target.directory_fd)

    def link(self, path: bytes, to_directory: Directory, to_path: bytes) -> None:
        self.access.check_move(to_directory.access)
        to = same_kind(to_directory, HostDirectory)
        with Walk(self.host_fd, path) as walk, Walk(to.host_fd, to_path) as to_walk:
            source = walk.resolve(False)
            target = to_walk.resolve(False)
            if source.must_be_directory:
                self._stat_location(source)  # NOTDIR; link(2) refuses directories itself
            if target.must_be_directory:
                self._stat_location(target)  # NOENT
                raise WasiError(Errno.EXIST)
            os.link(
                source.name,
                target.name,
                src_dir_fd=source.directory_fd,
                dst_dir_fd=target.directory_fd,
                follow_symlinks=False,
            )

    def read_link(self, path: bytes) -> bytes:
        self.access.check_list()
        with Walk(self.host_fd, path) as walk:
            location = walk.resolve(False)
            if location.must_be_directory:
                self._stat_location(location)  # NOTDIR; readlink(2) refuses directories itself
            target = os.readlink(location.name, dir_fd=location.directory_fd)
        if target.startswith(b"/"):  # names a place outside, which the guest has no business with
            raise WasiError(Errno.PERM)
        return target

    def symlink(self, target: bytes, path: bytes) -> None:
        self.access.check_mutate()
        check_symlink_target(target)
        with Walk(self.host_fd, path) as walk:
            location = walk.resolve(False)
            if not target:  # as symlink(2)
                raise WasiError(Errno.NOENT)
            if location.must_be_directory:
                self._stat_location(location)  # NOENT
                raise WasiError(Errno.EXIST)
            os.symlink(target, location.name, dir_fd=location.directory_fd)


def _new_file_mode(flags: int) -> int:
    """The mode to give to openat2, which wants none unless it may create."""
    return 0o666 if flags & os.O_CREAT else 0


def asks_for_new_directory(path: bytes) -> bool:
    """Whether open(2) refuses to create what `path` names, whatever is there, because of its last slash."""
    return path.endswith(b"/") and last_component(path) not in (b"", b".", b"..")


def check_symlink_target(target: bytes) -> None:
    """Raises PERM for an absolute target, INVAL for one with a NUL."""
    if target.startswith(b"/"):
        raise WasiError(Errno.PERM)
    if b"\0" in target:
        raise WasiError(Errno.INVAL)
