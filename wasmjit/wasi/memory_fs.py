"""`MemoryFS`: a file system in memory, for programs and for Python."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .constants import Errno, FileType, WasiError
from .descriptors import READ_WRITE, FileStat
from .sparse_bytes import SparseBytes
from .virtual import (
    Contents,
    DirectoryNode,
    FileNode,
    LinkNode,
    Node,
    VirtualDirectory,
    VirtualFileSystem,
    resolve,
)

# What each file, directory and link counts beside its contents, and each name of one beside its bytes: about what they
# take at most.
NODE_BYTES = 512
NAME_BYTES = 192
_T = TypeVar("_T")
_Path = str | os.PathLike[str]


class _MemoryFile(FileNode):
    __slots__ = ("data", "file_system", "opened")

    def __init__(self, inode: int, time_ns: int, file_system: MemoryFS) -> None:
        super().__init__(inode, time_ns)
        self.data = SparseBytes()
        self.opened = 0  # how often it is open now
        self.file_system = file_system

    def size(self) -> int:
        return self.data.size_bytes

    def open(self) -> Contents:
        return _MemoryContents(self)

    def forget_if_gone(self) -> None:
        """Gives its bytes back once it has neither a name nor somebody who has it open."""
        if not self.links and not self.opened:
            self.file_system._charge(-self.data.size_bytes - NODE_BYTES)
            self.data = SparseBytes()


class _MemoryContents(Contents):
    def __init__(self, node: _MemoryFile) -> None:
        self._node: _MemoryFile | None = node
        node.opened += 1

    def _open(self) -> _MemoryFile:
        if self._node is None:
            raise WasiError(Errno.BADF)
        return self._node

    def size(self) -> int:
        return self._open().data.size_bytes

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        data = self._open().data
        start = offset
        for vector in vectors:
            count = data.read_into(vector, offset)
            offset += count
            if count < len(vector):
                break
        return offset - start

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        end = offset + sum(map(len, vectors))
        if end == offset:
            return 0
        node = self._open()
        if end > node.data.size_bytes:
            node.file_system._charge(end - node.data.size_bytes)
            node.data.set_size(end)
        start = offset
        for vector in vectors:
            node.data.write(vector, offset)
            offset += len(vector)
        return offset - start

    def set_size(self, size_bytes: int) -> None:
        node = self._open()
        node.file_system._charge(size_bytes - node.data.size_bytes)
        node.data.set_size(size_bytes)

    def close(self) -> None:
        node, self._node = self._node, None
        if node is not None:
            with node.file_system._lock:
                node.opened -= 1
                node.forget_if_gone()


class _MemoryDirectory(DirectoryNode):
    __slots__ = ("_entries",)

    def __init__(self, inode: int, time_ns: int) -> None:
        super().__init__(inode, time_ns)
        self._entries: dict[bytes, Node] = {}

    def entries(self) -> dict[bytes, Node]:
        return self._entries


def _guest_path(path: _Path) -> bytes:
    encoded = os.fspath(path).encode("utf-8", "surrogateescape").lstrip(b"/")
    return encoded or b"."


class MemoryFS(VirtualFileSystem):
    """A file system in memory: given to `WasiConfig.preopen_dir` in place of a path, read and written by Python too.

    `files` is what it holds at first: path -> ``bytes`` or ``str`` (as UTF-8). Paths are relative to its root, a slash
    in front changes nothing. No more than `max_bytes` are held: contents, names, `NODE_BYTES` for each file, directory
    and link and `NAME_BYTES` for each name; a program that writes more gets NOSPC. Of files with holes, memory is taken
    for what was written, but their size counts. Methods raise the OSErrors that their like of `os` and `pathlib` raise,
    `PermissionError` for a path that leads out of the root. It may be used by several programs and threads at once.

    >>> files = MemoryFS({"in/a.txt": "hello"})
    >>> files.write_bytes("out/b", b"1234")
    >>> files.listdir("out"), files.read_text("in/a.txt"), files.stat("out/b").size_bytes
    (['b'], 'hello', 4)
    """

    def __init__(self, files: Mapping[str, bytes | str] | None = None, *, max_bytes: int = 1 << 30) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._root = _MemoryDirectory(self._new_inode(), time.time_ns())
        self._as_guest = VirtualDirectory(self, self._root, READ_WRITE, b"/", time.time_ns)
        for path, contents in (files or {}).items():
            self.write_bytes(path, contents.encode() if isinstance(contents, str) else contents)

    # ---- what VirtualFileSystem asks for ----

    def _root_node(self) -> DirectoryNode:
        return self._root

    def _charge(self, count_bytes: int) -> None:
        if count_bytes > 0 and self._used_bytes + count_bytes > self._max_bytes:
            raise WasiError(Errno.NOSPC)
        self._used_bytes += count_bytes

    def _new_node(self, kind: FileType, time_ns: int, target: bytes = b"") -> Node:
        self._charge(NODE_BYTES + len(target))
        if kind is FileType.REGULAR_FILE:
            return _MemoryFile(self._new_inode(), time_ns, self)
        if kind is FileType.DIRECTORY:
            return _MemoryDirectory(self._new_inode(), time_ns)
        return LinkNode(self._new_inode(), time_ns, target)

    def _named(self, name: bytes) -> None:
        self._charge(NAME_BYTES + len(name))

    def _unnamed(self, name: bytes) -> None:
        self._charge(-NAME_BYTES - len(name))

    def _unlinked(self, node: Node) -> None:
        if isinstance(node, _MemoryFile):
            node.forget_if_gone()
        elif node.links == 0:
            self._charge(-NODE_BYTES - node.size())

    # ---- for Python ----

    def _do(self, operation: Callable[..., _T], path: _Path, *rest: Any) -> _T:
        """Runs an operation of the guest; its error becomes an OSError that names the path."""
        with self._lock:
            try:
                return operation(_guest_path(path), *rest)
            except WasiError as error:
                number = getattr(errno, f"E{error.code.name}", errno.EIO)
                raise OSError(number, os.strerror(number), os.fspath(path)) from None

    @property
    def used_bytes(self) -> int:
        """What counts towards `max_bytes` now."""
        return self._used_bytes

    def _find(self, path: bytes, follow: bool = True) -> Node:
        return resolve(self._root, path, follow).existing()

    def _find_file(self, path: bytes) -> _MemoryFile:
        node = self._find(path)
        if not isinstance(node, _MemoryFile):
            raise WasiError(Errno.ISDIR)
        return node

    def read_bytes(self, path: _Path) -> bytes:
        """The contents of a file."""
        return self._do(lambda encoded: self._find_file(encoded).data.to_bytes(), path)

    def read_text(self, path: _Path, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The contents of a file, decoded."""
        return self.read_bytes(path).decode(encoding, errors)

    def write_bytes(self, path: _Path, data: bytes | bytearray | memoryview) -> None:
        """Makes a file with these contents, and the directories it lies in; or replaces the contents it has."""
        view = memoryview(data).cast("B")
        self._do(self._write, path, view)

    def _write(self, path: bytes, data: memoryview) -> None:
        self._make_directories(path.rpartition(b"/")[0])
        opened = self._as_guest.open(path, True, 1, False, True, 0)
        try:
            opened.set_size(0)
            opened.write([data])
        finally:
            opened.close()

    def write_text(self, path: _Path, text: str, encoding: str = "utf-8") -> None:
        """As `write_bytes`, of encoded text."""
        self.write_bytes(path, text.encode(encoding))

    def _make_directories(self, path: bytes) -> None:
        parts = [part for part in path.split(b"/") if part]
        for count in range(1, len(parts) + 1):
            prefix = b"/".join(parts[:count])
            if resolve(self._root, prefix, True).node is None:
                self._as_guest.create_directory(prefix)

    def mkdir(self, path: _Path, parents: bool = False, exist_ok: bool = False) -> None:
        """Makes a directory; with `parents` those it lies in, too. `exist_ok`: it may be there already."""

        def make(encoded: bytes) -> None:
            if parents:
                self._make_directories(encoded.rstrip(b"/").rpartition(b"/")[0])
            if exist_ok and isinstance(resolve(self._root, encoded, True).node, DirectoryNode):
                return
            self._as_guest.create_directory(encoded)

        self._do(make, path)

    def symlink(self, target: _Path, path: _Path) -> None:
        """Makes a symbolic link at `path`; an absolute target is refused."""
        encoded_target = os.fspath(target).encode("utf-8", "surrogateescape")
        self._do(lambda encoded: self._as_guest.symlink(encoded_target, encoded), path)

    def link(self, path: _Path, new_path: _Path) -> None:
        """Makes another name for a file."""
        self._do(self._as_guest.link, path, self._as_guest, _guest_path(new_path))

    def rename(self, path: _Path, new_path: _Path) -> None:
        """Renames, as ``os.rename``."""
        self._do(self._as_guest.rename, path, self._as_guest, _guest_path(new_path))

    def unlink(self, path: _Path) -> None:
        """Removes a file or link."""
        self._do(self._as_guest.unlink_file, path)

    def rmdir(self, path: _Path) -> None:
        """Removes an empty directory."""
        self._do(self._as_guest.remove_directory, path)

    def readlink(self, path: _Path) -> str:
        """What a symbolic link contains."""
        return self._do(self._as_guest.read_link, path).decode("utf-8", "surrogateescape")

    def stat(self, path: _Path, follow: bool = True) -> FileStat:
        """Type, size, number of links, times; of a symbolic link itself unless `follow`."""
        return self._do(self._as_guest.stat_path, path, follow)

    def set_times(self, path: _Path, accessed_ns: int, modified_ns: int) -> None:
        """Sets the times, in nanoseconds since 1970."""
        self._do(self._as_guest.set_times_path, path, True, lambda status: (accessed_ns, modified_ns))

    def exists(self, path: _Path) -> bool:
        """Whether there is something at `path`; False for a dangling link."""
        return self._type(path) is not None

    def is_file(self, path: _Path) -> bool:
        """Whether `path` names a file."""
        return self._type(path) is FileType.REGULAR_FILE

    def is_dir(self, path: _Path) -> bool:
        """Whether `path` names a directory."""
        return self._type(path) is FileType.DIRECTORY

    def is_symlink(self, path: _Path) -> bool:
        """Whether `path` names a symbolic link."""
        return self._type(path, follow=False) is FileType.SYMBOLIC_LINK

    def _type(self, path: _Path, follow: bool = True) -> FileType | None:
        try:
            return self.stat(path, follow).file_type
        except OSError:
            return None

    def listdir(self, path: _Path = "/") -> list[str]:
        """The names in a directory, sorted."""

        def names(encoded: bytes) -> list[str]:
            node = self._find(encoded)
            if not isinstance(node, DirectoryNode):
                raise WasiError(Errno.NOTDIR)
            return sorted(name.decode("utf-8", "surrogateescape") for name in node.entries())

        return self._do(names, path)

    def files(self) -> dict[str, bytes]:
        """Every file: path, without a slash in front -> contents. Links are left out."""
        found: dict[str, bytes] = {}
        with self._lock:
            waiting: list[tuple[str, Node]] = [("", self._root)]
            while waiting:
                path, node = waiting.pop()
                if isinstance(node, _MemoryFile):
                    found[path] = node.data.to_bytes()
                elif isinstance(node, DirectoryNode):
                    prefix = path and f"{path}/"
                    waiting += [
                        (prefix + name.decode("utf-8", "surrogateescape"), child)
                        for name, child in node.entries().items()
                    ]
        return dict(sorted(found.items()))
