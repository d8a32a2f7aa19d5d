"""`FsspecFS`: file systems of the fsspec package, and whatever looks like one, for programs to read.

Nothing of fsspec is imported. No path is made of what a program says: each component is looked up in the listing of the
directory before, and the file system is only ever given names that it listed itself. So neither ``~`` nor a protocol in
front of a name, which some of them understand, means anything here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .descriptors import Access, DirPerms, FilePerms
from .streams import CHUNK_BYTES
from .virtual import Contents, DirectoryNode, FileNode, LinkNode, Node, VirtualFileSystem

_TIME_KEYS = ("mtime", "modified", "last_modified", "LastModified", "updated", "created", "date_time")
_OUTSIDE = b"/"  # a target that is refused


def looks_like_fsspec(candidate: object) -> bool:
    """Whether an object has the methods that are used here."""
    return all(callable(getattr(candidate, name, None)) for name in ("ls", "info", "open"))


def _time_ns(info: Mapping[str, Any]) -> int:
    """When a file was changed; 0 where the file system does not tell."""
    import datetime

    for key in _TIME_KEYS:
        value = info.get(key)
        if isinstance(value, datetime.datetime):
            return max(0, round(value.timestamp() * 10**9))
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return max(0, round(value * 10**9))
    return 0


class _OpenFile(Contents):
    def __init__(self, file: Any, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes

    def size(self) -> int:
        return self._size_bytes

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        self._file.seek(offset)
        total = 0
        for vector in vectors:
            while vector:
                data = self._file.read(min(len(vector), CHUNK_BYTES))
                if not data:
                    return total
                vector[: len(data)] = data
                vector = vector[len(data) :]
                total += len(data)
        return total

    def close(self) -> None:
        self._file.close()


class _RemoteFile(FileNode):
    def __init__(self, inode: int, info: Mapping[str, Any], file_system: Any) -> None:
        super().__init__(inode, _time_ns(info))
        self._path = info["name"]
        self._file_system = file_system
        size = info.get("size")
        self._size_bytes = size if isinstance(size, int) else None

    def size(self) -> int:
        if self._size_bytes is None:  # as of web pages, until they are read
            self._size_bytes = int(self._file_system.info(self._path).get("size") or 0)
        return self._size_bytes

    def open(self) -> Contents:
        return _OpenFile(self._file_system.open(self._path, "rb"), self.size())


class _RemoteDirectory(DirectoryNode):
    def __init__(self, inode: int, path: str, time_ns: int, owner: FsspecFS) -> None:
        super().__init__(inode, time_ns)
        self._path = path
        self._owner = owner
        self._entries: dict[bytes, Node] | None = None

    def entries(self) -> dict[bytes, Node]:
        if self._entries is None:
            self._entries = self._owner._list(self._path)
        return self._entries


class FsspecFS(VirtualFileSystem):
    """A file system of the fsspec package (S3, HTTP, zip, ...), below `root`, for programs to read; for `preopen_dir`.

    Any object with its methods ``ls``, ``info`` and ``open`` will do. `preopen_dir` also takes the file system itself,
    which stands for one with an empty root. Each directory is listed once, when it is first looked into, and shown
    sorted; `refresh` forgets what was listed. Symbolic links that the file system reports are refused, since where they
    lead is not known. What it raises, unless it is an OSError, passes through the program.

    >>> import fsspec  # doctest: +SKIP
    >>> from wasmjit import WasiConfig
    >>> data = FsspecFS(fsspec.filesystem("zip", fo="data.zip"), "folder/in/it")  # doctest: +SKIP
    >>> WasiConfig().preopen_dir(data, "/data")  # doctest: +SKIP
    """

    def __init__(self, file_system: Any, root: str = "") -> None:
        if not looks_like_fsspec(file_system):
            raise TypeError(f"expected a file system with ls, info and open, not {type(file_system).__name__}")
        super().__init__()
        self._file_system = file_system
        self._root_path = root
        self.refresh()

    def refresh(self) -> None:
        """Forgets what was listed; programs that run keep what they have seen."""
        self._root = _RemoteDirectory(self._new_inode(), self._root_path, 0, self)

    def _root_node(self) -> DirectoryNode:
        return self._root

    def _permitted(self, access: Access) -> Access:
        directories = DirPerms.READ if access.can_list else DirPerms(0)
        return Access(directories, FilePerms.READ if access.can_read else FilePerms(0))

    def _list(self, path: str) -> dict[bytes, Node]:
        found: dict[bytes, Node] = {}
        own = path.strip("/")
        for info in self._file_system.ls(path, detail=True):
            full = str(info["name"]).rstrip("/")
            name = full.rpartition("/")[2]
            if full.strip("/") == own or name in ("", ".", "..") or "\0" in name:  # it may list itself
                continue
            found[name.encode("utf-8", "surrogateescape")] = self._node(info, full)
        return dict(sorted(found.items(), key=lambda item: item[0]))

    def _node(self, info: Mapping[str, Any], path: str) -> Node:
        inode = self._new_inode()
        if info.get("islink") or info.get("type") not in ("file", "directory"):
            return LinkNode(inode, _time_ns(info), _OUTSIDE)
        if info["type"] == "directory":
            return _RemoteDirectory(inode, path, _time_ns(info), self)
        return _RemoteFile(inode, info, self._file_system)
