"""What guest file descriptors stand for, whoever is behind them; and the table of them that a program has."""

from __future__ import annotations

import contextlib
import enum
import os
import resource
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from .constants import Errno, FileType, WasiError, directory_rights, file_type_from_mode
from .listing import FIRST_COOKIE

DEFAULT_MAX_DESCRIPTORS = 1024

Times = Callable[["FileStat"], tuple[int, int]]  # of the present state: (accessed, modified) in nanoseconds


class DirPerms(enum.Flag):
    """What a program may do with the directories below a preopened one; for `WasiConfig.preopen_dir`.

    ``READ``: open, list and look at what is there. ``MUTATE``: create, rename, delete and change it.

    >>> DirPerms.READ_WRITE == DirPerms.READ | DirPerms.MUTATE
    True
    """

    READ = 1
    MUTATE = 2
    READ_ONLY = READ
    WRITE_ONLY = MUTATE
    READ_WRITE = READ | MUTATE


class FilePerms(enum.Flag):
    """What a program may do with the contents of files below a preopened directory; for `WasiConfig.preopen_dir`.

    >>> FilePerms.READ_WRITE == FilePerms.READ | FilePerms.WRITE
    True
    """

    READ = 1
    WRITE = 2
    READ_ONLY = READ
    WRITE_ONLY = WRITE
    READ_WRITE = READ | WRITE


class Access:
    """The permissions that hold below a preopened directory. Compared and tested often, so these are plain bools."""

    __slots__ = ("can_list", "can_mutate", "can_read", "can_write")

    def __init__(self, directories: DirPerms, files: FilePerms) -> None:
        self.can_list = bool(directories & DirPerms.READ)
        self.can_mutate = bool(directories & DirPerms.MUTATE)
        self.can_read = bool(files & FilePerms.READ)
        self.can_write = bool(files & FilePerms.WRITE)

    def check_list(self) -> None:
        """Raises PERM unless directories may be read."""
        if not self.can_list:
            raise WasiError(Errno.PERM)

    def check_mutate(self) -> None:
        """Raises PERM unless directories may be changed."""
        if not self.can_mutate:
            raise WasiError(Errno.PERM)

    def check_open(self, readable: bool, writable: bool, changing: bool) -> None:
        """Raises PERM unless a file may be opened so; `changing`: it may be created or cut."""
        if not self.can_list or (changing and not self.can_mutate):
            raise WasiError(Errno.PERM)
        if (readable and not self.can_read) or (writable and not self.can_write):
            raise WasiError(Errno.PERM)

    def check_move(self, to: Access) -> None:
        """Raises PERM if a file that comes under `to` could then be used in ways that it cannot be used here."""
        self.check_mutate()
        to.check_mutate()
        for name in ("can_list", "can_read", "can_write"):
            if getattr(to, name) and not getattr(self, name):
                raise WasiError(Errno.PERM)


READ_WRITE = Access(DirPerms.READ_WRITE, FilePerms.READ_WRITE)
READ_ONLY = Access(DirPerms.READ, FilePerms.READ)


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


_FDSTAT = struct.Struct("<BxHxxxxQQ")  # filetype, flags, rights base, rights inheriting
FDSTAT_BYTES = _FDSTAT.size

# One entry that ``fd_readdir`` reports: the cookie for going on behind it, inode, type, name.
DirectoryEntry = tuple[int, int, FileType, bytes]


class Descriptor:
    """What one guest file descriptor stands for. Operations a kind does not have fail as POSIX would have it."""

    file_type: FileType = FileType.UNKNOWN
    host_fd: int | None = None  # for poll: None means always ready
    # Rights taken away by fd_fdstat_set_rights, as bits of `Rights`.
    lost = 0
    lost_inheriting = 0
    # Where threads share it: how many of their calls use it now, whether it is closed as far as the guest knows, and
    # what a call has to have meanwhile (None: any number may use it at once).
    users = 0
    is_left = False
    lock: Any = None

    def rights(self) -> tuple[int, int]:
        """(base, inheriting) to report, as long as none is lost."""
        return 0, 0

    def flags(self) -> int:
        """``fdflags`` to report."""
        return 0

    def set_flags(self, flags: int) -> None:
        """``fd_fdstat_set_flags``."""
        raise WasiError(Errno.BADF)

    def host_operations(self) -> int:
        """Bits of `operations`: what C may do with `host_fd` itself, as the methods here would, if no right is lost."""
        return 0

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

    def set_times(self, times: Times) -> None:
        """``fd_filestat_set_times``."""
        raise WasiError(Errno.BADF)

    def advise(self, offset: int, length: int, advice: int) -> None:
        """``fd_advise``, a hint."""
        raise WasiError(Errno.BADF)

    def allocate(self, offset: int, length: int) -> None:
        """``fd_allocate``: makes room for these bytes, growing the file if it is shorter."""
        raise WasiError(Errno.BADF)

    def sync(self, data_only: bool) -> None:
        """``fd_sync``, ``fd_datasync``."""
        raise WasiError(Errno.BADF)

    def available_bytes(self) -> int:
        """How many bytes a read would give, for ``poll_oneoff``; 1 where that is not known."""
        return 1

    def flush(self) -> None:
        """Hands on what is kept back, at the end of the program."""

    def close(self) -> None:
        """Lets go of the host's descriptor."""


def rights_left(descriptor: Descriptor) -> tuple[int, int]:
    """(base, inheriting) without those that were taken away."""
    base, inheriting = descriptor.rights()
    return int(base) & ~descriptor.lost, int(inheriting) & ~descriptor.lost_inheriting


def fdstat(descriptor: Descriptor) -> bytes:
    """What ``fd_fdstat_get`` stores."""
    return _FDSTAT.pack(descriptor.file_type, descriptor.flags(), *rights_left(descriptor))


class Directory(Descriptor):
    """An open directory, the root of a sandbox: every path operation resolves below it.

    Paths are the guest's. Operations raise WasiError or OSError.
    """

    file_type = FileType.DIRECTORY

    def __init__(self, access: Access, guest_path: bytes | None) -> None:
        self.access = access
        self.guest_path = guest_path  # set for preopened directories

    def rights(self) -> tuple[int, int]:
        return directory_rights(self.access.can_mutate, self.access.can_read, self.access.can_write)

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.BADF)

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.BADF)

    def seek(self, offset: int, whence: int) -> int:
        raise WasiError(Errno.BADF)

    def entries(self, cookie: int, about_bytes: int) -> Iterator[DirectoryEntry]:
        """``.``, ``..`` and the contents, from behind `cookie` on; 0 is the beginning. `about_bytes`: room for them."""
        self.access.check_list()
        own_inode = self._own_inode()
        for number, name in enumerate((b".", b".."), 1):
            if cookie < number:  # the parent's inode would tell about the host outside the sandbox
                yield number, own_inode, FileType.DIRECTORY, name
        yield from self._contents(max(cookie, FIRST_COOKIE), about_bytes)

    def _own_inode(self) -> int:
        raise NotImplementedError

    def _contents(self, cookie: int, about_bytes: int) -> Iterator[DirectoryEntry]:
        """The contents from behind `cookie` on; `FIRST_COOKIE` is the beginning."""
        raise NotImplementedError

    def open(self, path: bytes, follow: bool, oflags: int, readable: bool, writable: bool, fdflags: int) -> Descriptor:
        """``path_open``: opens or creates a file, or opens a directory."""
        raise NotImplementedError

    def stat_path(self, path: bytes, follow: bool) -> FileStat:
        """``path_filestat_get``."""
        raise NotImplementedError

    def set_times_path(self, path: bytes, follow: bool, times: Times) -> None:
        """``path_filestat_set_times``."""
        raise NotImplementedError

    def create_directory(self, path: bytes) -> None:
        """``path_create_directory``."""
        raise NotImplementedError

    def unlink_file(self, path: bytes) -> None:
        """``path_unlink_file``."""
        raise NotImplementedError

    def remove_directory(self, path: bytes) -> None:
        """``path_remove_directory``."""
        raise NotImplementedError

    def rename(self, path: bytes, to_directory: Directory, to_path: bytes) -> None:
        """``path_rename``: both ends are resolved in their own sandbox. XDEV between different file systems."""
        raise NotImplementedError

    def link(self, path: bytes, to_directory: Directory, to_path: bytes) -> None:
        """``path_link``: a hard link; symbolic links are never followed."""
        raise NotImplementedError

    def read_link(self, path: bytes) -> bytes:
        """``path_readlink``: the link's contents."""
        raise NotImplementedError

    def symlink(self, target: bytes, path: bytes) -> None:
        """``path_symlink``. Absolute targets are refused: they mean something else to the host than to the guest."""
        raise NotImplementedError


def default_max_descriptors() -> int:
    """How many descriptors a program gets: as on Linux, but never more than half of those this process may have."""
    soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft_limit == resource.RLIM_INFINITY:
        return DEFAULT_MAX_DESCRIPTORS
    return min(DEFAULT_MAX_DESCRIPTORS, soft_limit // 2)


if TYPE_CHECKING:

    class Mirror(Protocol):
        """What is told of every change to a `DescriptorTable`, so that C does what it may do (see `native`)."""

        def write(self, number: int, descriptor: Descriptor | None) -> None:
            """What a number stands for now; None: nothing."""

        def settle(self, number: int) -> None:
            """Lets the host know what C knows of a descriptor: its position."""

        def clear(self) -> None:
            """No number stands for anything now."""


class DescriptorTable:
    """Guest descriptor numbers -> descriptors. 0 to 2 are standard streams, preopened directories follow.

    No more than `max_descriptors` are open at once; what the table begins with is there in any case.
    """

    def __init__(self, descriptors: Sequence[Descriptor], max_descriptors: int = DEFAULT_MAX_DESCRIPTORS) -> None:
        self._max_descriptors = max_descriptors
        self._descriptors: dict[int, Descriptor] = dict(enumerate(descriptors))
        self._lowest_free = len(descriptors)
        self._mirror: Mirror | None = None
        self.lock = threading.RLock()  # of what closes, and of all where threads share the table

    def show_in(self, mirror: Mirror) -> None:
        """From now on `mirror` has what is here."""
        self._mirror = mirror
        for number, descriptor in self._descriptors.items():
            mirror.write(number, descriptor)

    def hide(self) -> None:
        """From now on no mirror is told; what it knew the host knows."""
        mirror, self._mirror = self._mirror, None
        if mirror is not None:
            for number in self._descriptors:
                mirror.settle(number)
            mirror.clear()

    def changed(self, number: int) -> None:
        """To be called whenever the answer of a descriptor's `host_operations`, its flags or its rights may differ."""
        if self._mirror is not None:
            self._mirror.write(number, self._descriptors.get(number))

    def get(self, number: int, right: int = 0) -> Descriptor:
        """The descriptor, or BADF; NOTCAPABLE if `right` (bits of `Rights`) was taken away from it."""
        try:
            descriptor = self._descriptors[number]
        except KeyError:
            raise WasiError(Errno.BADF) from None
        if descriptor.lost & right:
            raise WasiError(Errno.NOTCAPABLE)
        if self._mirror is not None:  # whatever is done with it now may depend on the position, or move it
            self._mirror.settle(number)
        return descriptor

    def directory(self, number: int, right: int = 0) -> Directory:
        """As `get`, but NOTDIR for a file and BADF for anything else that is no directory."""
        descriptor = self.get(number, right)
        if not isinstance(descriptor, Directory):
            raise WasiError(Errno.NOTDIR if descriptor.file_type is FileType.REGULAR_FILE else Errno.BADF)
        return descriptor

    def look(self, number: int, right: int = 0) -> Descriptor:
        """As `get`, for what only looks at it, and may take long."""
        return self.get(number, right)

    def all(self) -> list[Descriptor]:
        """What is open."""
        return list(self._descriptors.values())

    def check_room(self) -> None:
        """Raises MFILE if no further descriptor can be added."""
        if len(self._descriptors) >= self._max_descriptors:
            raise WasiError(Errno.MFILE)

    def add(self, descriptor: Descriptor) -> int:
        """The lowest free number, as POSIX has it, now taken."""
        number = self._lowest_free
        self._descriptors[number] = descriptor
        self.changed(number)
        while self._lowest_free in self._descriptors:
            self._lowest_free += 1
        return number

    def close(self, number: int) -> None:
        """Closes one; BADF if it is not open."""
        descriptor = self.take(number)
        descriptor.flush()
        descriptor.close()

    def take(self, number: int) -> Descriptor:
        """Takes one out; BADF if it is not open."""
        descriptor = self.get(number)
        del self._descriptors[number]
        self.changed(number)
        self._lowest_free = min(self._lowest_free, number)
        return descriptor

    def renumber(self, number: int, to_number: int) -> None:
        """Moves `number` to `to_number`, which must be open too and is closed."""
        replaced = self.move(number, to_number)
        if replaced is not None:
            replaced.flush()
            replaced.close()

    def move(self, number: int, to_number: int) -> Descriptor | None:
        """As `renumber`; what stood there before, still open."""
        descriptor = self.get(number)
        replaced = self.get(to_number)
        if number == to_number:
            return None
        del self._descriptors[number]
        self._descriptors[to_number] = descriptor
        self.changed(number)
        self.changed(to_number)
        self._lowest_free = min(self._lowest_free, number)
        return replaced

    def let_go(self, descriptor: Descriptor) -> None:
        """Closes what was taken out, or lets the last call that uses it do so."""
        with self.lock:
            descriptor.is_left = True
            if descriptor.users:
                return
        descriptor.close()

    def flush(self, descriptor: Descriptor) -> None:
        """Hands on what one keeps back."""
        descriptor.flush()

    def flush_all(self) -> None:
        """Hands on what streams keep back. Raises what the objects behind them raise, an OSError at the end."""
        failure: OSError | None = None
        for descriptor in self.all():
            try:
                self.flush(descriptor)
            except OSError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def close_all(self) -> None:
        """Closes everything."""
        if self._mirror is not None:
            self._mirror.clear()
        with self.lock:
            descriptors = self.all()
            self._descriptors.clear()
            self._lowest_free = 0
        for descriptor in descriptors:
            with contextlib.suppress(OSError):  # the others are to be closed as well
                self.let_go(descriptor)


Kind = TypeVar("Kind", bound=Descriptor)


def same_kind(directory: Descriptor, kind: type[Kind]) -> Kind:
    """The other end of a rename or a link, if it is of the same kind; XDEV if it is not."""
    if not isinstance(directory, kind):
        raise WasiError(Errno.XDEV)
    return directory
