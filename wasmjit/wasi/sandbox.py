"""Where a guest path leads: resolution below an open host directory, which no path leaves.

A path is resolved by us, one component at a time, relative to a directory that is already open (``openat`` with
``O_NOFOLLOW``): the kernel never follows a symbolic link or a ``..`` for the guest. Symbolic links are read and their
contents resolved by the same rules; ``..`` goes back to a directory we came through, never above the preopened one. So
no path leaves the sandbox, also not while somebody else renames directories or swaps links. Where the kernel has
``openat2`` with ``RESOLVE_BENEATH`` it does the same in one call, for all but the last component; what it gives up on
(a race, a filter that forbids the call) is resolved component by component.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from typing import NamedTuple

from ..runtime.native import lib
from .constants import Errno, WasiError

MAX_SYMLINKS = 40  # as the Linux kernel
MAX_PATH_BYTES = 4095  # as the Linux kernel
MAX_OPEN_COMPONENTS = 256  # each directory on the way stays open while a path is resolved

# O_PATH needs no read permission on the directories passed through; where it is missing, O_RDONLY does.
OPEN_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC

_AT_FDCWD = -100

# What says that there is no such call: an old kernel, one that knows less of it, and filters.
_NO_SUCH_CALL = (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG)

# Host errors after which the kernel's answer is not the last word: races, and no such call after all.
_UNDECIDED = (errno.EAGAIN, errno.ENOSYS)


class Location(NamedTuple):
    """Where a guest path leads: an entry of an open directory."""

    directory_fd: int
    name: bytes  # one component, or b"." for the directory itself
    must_be_directory: bool  # the path ended in a slash


def components_of(path: bytes) -> list[bytes]:
    """The components of a path, without empty ones and ``.``.

    Raises WasiError for what no rule allows: NOENT for an empty path, INVAL for a NUL, PERM for an absolute path,
    NAMETOOLONG for one beyond `MAX_PATH_BYTES`.
    """
    if not path:
        raise WasiError(Errno.NOENT)
    if b"\0" in path:
        raise WasiError(Errno.INVAL)
    if path[0] == 0x2F:
        raise WasiError(Errno.PERM)
    if len(path) > MAX_PATH_BYTES:
        raise WasiError(Errno.NAMETOOLONG)
    return [part for part in path.split(b"/") if part and part != b"."]


def names_directory(path: bytes) -> bool:
    """Whether a path can only mean a directory by how it ends."""
    return path.endswith((b"/", b"/.", b"/..")) or path in (b".", b"..")


def last_component(path: bytes) -> bytes:
    """What stands behind the last slash, slashes at the end left out."""
    return path.rstrip(b"/").rpartition(b"/")[2]


class _Openat2:
    """The system call, which Python has no function for."""

    @functools.cached_property
    def works(self) -> bool:
        """False where there is none, or it is forbidden."""
        if sys.platform != "linux":
            return False
        try:
            os.close(self(_AT_FDCWD, b".", OPEN_DIRECTORY, 0))
        except OSError as error:  # any other comes from the call itself: the working directory may be gone
            return error.errno not in _NO_SUCH_CALL
        return True

    def __call__(self, directory_fd: int, path: bytes, flags: int, mode: int) -> int:
        """A descriptor. Raises OSError: EXDEV for a path that leads outside."""
        opened = int(lib.wj_open_beneath(directory_fd, path, flags, mode))
        if opened < 0:
            raise OSError(-opened, os.strerror(-opened))
        return opened


openat2 = _Openat2()


def open_beneath(directory_fd: int, path: bytes, flags: int, mode: int = 0) -> int | None:
    """Opens `path` below a directory in one call; None where that cannot be had and a `Walk` has to decide.

    Raises OSError, and WasiError with PERM for a path that leads outside.
    """
    if not openat2.works:
        return None
    try:
        return openat2(directory_fd, path, flags, mode)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise WasiError(Errno.PERM) from None
        if error.errno in _UNDECIDED:
            return None
        raise


class Walk:
    """Resolves one path below `root_fd`; a context manager, because it keeps the directories it came through open."""

    def __init__(self, root_fd: int, path: bytes) -> None:
        self._root_fd = root_fd
        self._path = path
        self._opened: list[int] = []
        self._pending = components_of(path)[::-1]  # components still to resolve, the next one last
        self._symlinks = 0
        self._must_be_directory = names_directory(path)

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *exception: object) -> None:
        for opened in self._opened:
            os.close(opened)

    def resolve(self, follow_last: bool) -> Location:
        """The entry that the path names; `follow_last`: a symbolic link at the end is resolved as well."""
        if len(self._pending) > 1 and self._pending[0] != b"..":
            location = self._resolve_at_once(follow_last or self._must_be_directory)
            if location is not None:
                return location
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

    def _resolve_at_once(self, follow_last: bool) -> Location | None:
        """All components but the last in one system call; None if that settles nothing."""
        name, *parents = self._pending
        opened = open_beneath(self._root_fd, b"/".join(reversed(parents)), OPEN_DIRECTORY)
        if opened is None:
            return None
        self._opened.append(opened)
        if follow_last and self._read_symlink(name) is not None:
            os.close(self._opened.pop())
            return None  # its target may go back through directories that only a walk keeps
        return Location(opened, name, self._must_be_directory)

    def _expand_symlink(self, target: bytes) -> None:
        self._symlinks += 1
        if self._symlinks > MAX_SYMLINKS:
            raise WasiError(Errno.LOOP)
        components = components_of(target)
        if not self._pending and names_directory(target):
            self._must_be_directory = True
        self._pending += reversed(components)

    def _directory_fd(self) -> int:
        return self._opened[-1] if self._opened else self._root_fd

    def _read_symlink(self, name: bytes) -> bytes | None:
        try:
            return os.readlink(name, dir_fd=self._directory_fd())
        except OSError:  # not a link, or not there at all: whoever uses the name will tell
            return None

    def _enter(self, name: bytes) -> None:
        try:
            opened = os.open(name, OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._directory_fd())
        except OSError:
            target = self._read_symlink(name)
            if target is None:
                raise
            self._expand_symlink(target)
            return
        self._opened.append(opened)
        if len(self._opened) > MAX_OPEN_COMPONENTS:
            raise WasiError(Errno.NAMETOOLONG)
