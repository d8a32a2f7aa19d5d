"""File systems that are no host directories: nodes, and the guest descriptors that stand for them.

Paths are resolved over the nodes by the rules of `sandbox`, so what holds there holds here. A file system subclasses
`VirtualFileSystem` and makes nodes; one that makes them read-only permits no more than `READ_ONLY`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .constants import (
    FDFLAGS_APPEND,
    OFLAGS_CREAT,
    OFLAGS_DIRECTORY,
    OFLAGS_EXCL,
    OFLAGS_TRUNC,
    Errno,
    FileType,
    WasiError,
    file_rights,
)
from .descriptors import Access, Descriptor, Directory, DirectoryEntry, FileStat, Times, same_kind
from .files import asks_for_new_directory, check_symlink_target
from .listing import NumberedItems
from .sandbox import MAX_SYMLINKS, components_of, last_component, names_directory

MAX_NAME_BYTES = 255
_MAX_OFFSET = (1 << 63) - 1

Now = Callable[[], int]


class Node:
    """A file, directory or symbolic link of a virtual file system. Times in nanoseconds since 1970."""

    __slots__ = ("accessed_ns", "changed_ns", "inode", "links", "modified_ns")

    file_type = FileType.UNKNOWN

    def __init__(self, inode: int, time_ns: int) -> None:
        self.inode = inode
        self.links = 1
        self.accessed_ns = self.modified_ns = self.changed_ns = time_ns

    def size(self) -> int:
        """Its size in bytes, as ``stat`` has it."""
        return 0

    def touch(self, time_ns: int) -> None:
        """Notes that it was changed."""
        self.modified_ns = self.changed_ns = time_ns


class Contents:
    """An open file's bytes."""

    def size(self) -> int:
        """How many there are."""
        raise NotImplementedError

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        """Fills the buffers in order; how many bytes, fewer only at the end."""
        raise NotImplementedError

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        """Writes the buffers in order, zeros where nothing was; how many bytes."""
        raise WasiError(Errno.ROFS)

    def set_size(self, size_bytes: int) -> None:
        """Cuts it, or appends zeros."""
        raise WasiError(Errno.ROFS)

    def close(self) -> None:
        """Lets go of it."""


class FileNode(Node):
    """A file."""

    __slots__ = ()

    file_type = FileType.REGULAR_FILE

    def open(self) -> Contents:
        """Its bytes."""
        raise NotImplementedError


class LinkNode(Node):
    """A symbolic link."""

    __slots__ = ("target",)

    file_type = FileType.SYMBOLIC_LINK

    def __init__(self, inode: int, time_ns: int, target: bytes) -> None:
        super().__init__(inode, time_ns)
        self.target = target

    def size(self) -> int:
        return len(self.target)


class DirectoryNode(Node):
    """A directory."""

    __slots__ = ("_numbered",)

    file_type = FileType.DIRECTORY

    def __init__(self, inode: int, time_ns: int) -> None:
        super().__init__(inode, time_ns)
        self.links = 2  # and one for each directory in it; 0 once it is removed
        self._numbered: NumberedItems[Node] | None = None  # once it was listed

    def entries(self) -> dict[bytes, Node]:
        """What is in it, by name. Changes are made by `add` and `remove`."""
        raise NotImplementedError

    def add(self, name: bytes, node: Node) -> None:
        """Puts something in it. The name is free."""
        self.entries()[name] = node
        if self._numbered is not None:
            self._numbered.added(name)

    def remove(self, name: bytes) -> None:
        """Takes something out."""
        del self.entries()[name]
        if self._numbered is not None:
            self._numbered.removed(name)

    def listed(self, cookie: int) -> Iterator[tuple[int, bytes, Node]]:
        """(cookie behind it, name, node) of what comes behind `cookie`."""
        if self._numbered is None:
            self._numbered = NumberedItems(self.entries())
        return self._numbered.behind(cookie)


class Found(NamedTuple):
    """Where a path leads: an entry that there is, or could be, in a directory."""

    parent: DirectoryNode
    name: bytes  # b"." for the directory itself
    node: Node | None
    must_be_directory: bool

    def existing(self) -> Node:
        """What is there. Raises NOENT, and NOTDIR where the path can only mean a directory."""
        if self.node is None:
            raise WasiError(Errno.NOENT)
        if self.must_be_directory and not isinstance(self.node, DirectoryNode):
            raise WasiError(Errno.NOTDIR)
        return self.node

    def check_free(self) -> None:
        """Raises EXIST if there is something, NOENT where the path asks for a directory to be there."""
        if self.node is not None or self.must_be_directory:
            self.existing()
            raise WasiError(Errno.EXIST)


def resolve(root: DirectoryNode, path: bytes, follow_last: bool) -> Found:
    """Resolves a path below `root`, as `sandbox.Walk` does."""
    stack = [root]
    pending = components_of(path)[::-1]
    must_be_directory = names_directory(path)
    symlinks = 0
    while pending:
        name = pending.pop()
        if name == b"..":
            if len(stack) == 1:
                raise WasiError(Errno.PERM)
            stack.pop()
            continue
        if len(name) > MAX_NAME_BYTES:
            raise WasiError(Errno.NAMETOOLONG)
        node = stack[-1].entries().get(name)
        if isinstance(node, LinkNode) and (pending or follow_last or must_be_directory):
            symlinks += 1
            if symlinks > MAX_SYMLINKS:
                raise WasiError(Errno.LOOP)
            components = components_of(node.target)
            must_be_directory = must_be_directory or (not pending and names_directory(node.target))
            pending += reversed(components)
        elif not pending:
            return Found(stack[-1], name, node, must_be_directory)
        elif isinstance(node, DirectoryNode):
            stack.append(node)
        else:
            raise WasiError(Errno.NOENT if node is None else Errno.NOTDIR)
    return Found(stack[-1], b".", stack[-1], True)


def is_below(node: Node, directory: DirectoryNode) -> bool:
    """Whether `node` is `directory` or lies somewhere in it."""
    waiting: list[Node] = [directory]
    while waiting:
        looked_at = waiting.pop()
        if looked_at is node:
            return True
        if isinstance(looked_at, DirectoryNode):
            waiting += looked_at.entries().values()
    return False


class VirtualFileSystem:
    """What `WasiConfig.preopen_dir` takes instead of a path. One object may serve many programs, also at once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._next_inode = 1

    def _new_inode(self) -> int:
        self._next_inode += 1
        return self._next_inode - 1

    def _root_node(self) -> DirectoryNode:
        raise NotImplementedError

    def _permitted(self, access: Access) -> Access:
        """What of `access` it can grant."""
        return access

    def _new_node(self, kind: FileType, time_ns: int, target: bytes = b"") -> Node:
        """A new file, directory or symbolic link. Raises NOSPC."""
        raise WasiError(Errno.ROFS)

    def _named(self, name: bytes) -> None:
        """Notes that a directory gets an entry of this name. Raises NOSPC."""

    def _unnamed(self, name: bytes) -> None:
        """Notes that such an entry has gone, or never came."""

    def _unlinked(self, node: Node) -> None:
        """Notes that a name of `node` has gone."""

    def _open_root(self, access: Access, guest_path: bytes, now: Now) -> VirtualDirectory:
        """The guest descriptor of a new program."""
        return VirtualDirectory(self, self._root_node(), self._permitted(access), guest_path, now)


def _stat(node: Node, size_bytes: int) -> FileStat:
    return FileStat(
        1, node.inode, node.file_type, node.links, size_bytes, node.accessed_ns, node.modified_ns, node.changed_ns
    )


def _set_times(node: Node, times: Times, now_ns: int) -> None:
    node.accessed_ns, node.modified_ns = times(_stat(node, node.size()))
    node.changed_ns = now_ns


class VirtualFile(Descriptor):
    """An open file of a virtual file system."""

    file_type = FileType.REGULAR_FILE

    def __init__(
        self, directory: VirtualDirectory, node: FileNode, readable: bool, writable: bool, fdflags: int
    ) -> None:
        self._node = node
        self._lock = directory.file_system._lock
        self._now = directory.now
        self._access = directory.access
        self._readable = readable
        self._writable = writable
        self._fdflags = fdflags
        self._position = 0
        self._contents = node.open()

    def rights(self) -> tuple[int, int]:
        return file_rights(self._readable, self._writable), 0

    def flags(self) -> int:
        return self._fdflags

    def set_flags(self, flags: int) -> None:
        if flags & ~5:  # append and nonblock, as for host files
            raise WasiError(Errno.INVAL)
        self._fdflags = flags

    def _check(self, allowed: bool) -> None:
        if not allowed:
            raise WasiError(Errno.BADF)

    def read(self, vectors: Sequence[memoryview]) -> int:
        with self._lock:
            count = self.read_at(vectors, self._position)
            self._position += count
        return count

    def write(self, vectors: Sequence[memoryview]) -> int:
        with self._lock:
            if self._fdflags & FDFLAGS_APPEND:
                self._position = self._contents.size()
            count = self.write_at(vectors, self._position)
            self._position += count
        return count

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        self._check(self._readable)
        if offset > _MAX_OFFSET:
            raise WasiError(Errno.INVAL)
        with self._lock:
            self._node.accessed_ns = self._now()
            return self._contents.read_at(vectors, offset)

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        self._check(self._writable)
        if offset > _MAX_OFFSET:
            raise WasiError(Errno.INVAL)
        with self._lock:
            count = self._contents.write_at(vectors, offset)
            self._node.touch(self._now())
        return count

    def seek(self, offset: int, whence: int) -> int:
        with self._lock:
            start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._contents.size()}[whence]
            if not 0 <= start + offset <= _MAX_OFFSET:
                raise WasiError(Errno.INVAL)
            self._position = start + offset
            return self._position

    def stat(self) -> FileStat:
        return _stat(self._node, self._contents.size())

    def set_size(self, size_bytes: int) -> None:
        if not self._writable:
            raise WasiError(Errno.INVAL if self._access.can_write else Errno.PERM)
        if size_bytes > _MAX_OFFSET:
            raise WasiError(Errno.INVAL)
        with self._lock:
            self._contents.set_size(size_bytes)
            self._node.touch(self._now())

    def set_times(self, times: Times) -> None:
        if not self._access.can_write:
            raise WasiError(Errno.PERM)
        _set_times(self._node, times, self._now())

    def advise(self, offset: int, length: int, advice: int) -> None:
        pass

    def allocate(self, offset: int, length: int) -> None:
        self._check(self._writable)
        if not length or offset > _MAX_OFFSET or length > _MAX_OFFSET:  # as posix_fallocate(3)
            raise WasiError(Errno.INVAL)
        if offset + length > _MAX_OFFSET:
            raise WasiError(Errno.FBIG)
        with self._lock:
            if self._contents.size() < offset + length:
                self.set_size(offset + length)

    def sync(self, data_only: bool) -> None:
        pass

    def available_bytes(self) -> int:
        return max(0, self._contents.size() - self._position)

    def close(self) -> None:
        self._contents.close()


class VirtualDirectory(Directory):
    """An open directory of a virtual file system."""

    def __init__(
        self,
        file_system: VirtualFileSystem,
        node: DirectoryNode,
        access: Access,
        guest_path: bytes | None,
        now: Now,
    ) -> None:
        super().__init__(access, guest_path)
        self.file_system = file_system
        self.now = now
        self._node = node
        self._lock = file_system._lock

    def stat(self) -> FileStat:
        return _stat(self._node, 0)

    def set_times(self, times: Times) -> None:
        self.access.check_mutate()
        _set_times(self._node, times, self.now())

    def sync(self, data_only: bool) -> None:
        pass

    def _own_inode(self) -> int:
        return self._node.inode

    def _contents(self, cookie: int, about_bytes: int) -> Iterator[DirectoryEntry]:
        with self._lock:
            found = self._node.listed(cookie)
        for following, name, node in found:
            yield following, node.inode, node.file_type, name

    def open(self, path: bytes, follow: bool, oflags: int, readable: bool, writable: bool, fdflags: int) -> Descriptor:
        creating, exclusive = bool(oflags & OFLAGS_CREAT), bool(oflags & OFLAGS_EXCL)
        if oflags & OFLAGS_DIRECTORY and oflags & (OFLAGS_CREAT | OFLAGS_EXCL | OFLAGS_TRUNC):
            raise WasiError(Errno.INVAL)
        changing = bool(oflags & (OFLAGS_CREAT | OFLAGS_TRUNC))
        self.access.check_open(False, writable or changing, changing)
        with self._lock:
            if creating and asks_for_new_directory(path):
                resolve(self._node, path.rstrip(b"/"), False)
                raise WasiError(Errno.ISDIR)
            found = resolve(self._node, path, follow and not (creating and exclusive))
            node = found.node
            if node is None:
                if not creating:
                    raise WasiError(Errno.NOENT)
                if found.must_be_directory:
                    raise WasiError(Errno.ISDIR)
            elif creating and exclusive:
                raise WasiError(Errno.EXIST)
            if isinstance(node, LinkNode):
                raise WasiError(Errno.LOOP)
            if isinstance(node, DirectoryNode):
                if writable or changing:
                    raise WasiError(Errno.ISDIR)
                return VirtualDirectory(self.file_system, node, self.access, None, self.now)
            if node is not None and (found.must_be_directory or oflags & OFLAGS_DIRECTORY):
                raise WasiError(Errno.NOTDIR)
            self.access.check_open(readable, writable, changing)
            if node is None:
                node = self._create(found, FileType.REGULAR_FILE)
            assert isinstance(node, FileNode)
            opened = VirtualFile(self, node, readable, writable, fdflags)
            if oflags & OFLAGS_TRUNC:
                opened._contents.set_size(0)
                node.touch(self.now())
            return opened

    def _create(self, found: Found, kind: FileType, target: bytes = b"") -> Node:
        now_ns = self.now()
        self._check_present(found.parent)
        self.file_system._named(found.name)
        try:
            node = self.file_system._new_node(kind, now_ns, target)
        except WasiError:
            self.file_system._unnamed(found.name)
            raise
        self._insert(found, node, now_ns)
        return node

    @staticmethod
    def _check_present(directory: DirectoryNode) -> None:
        """A directory that was removed while open takes nothing any more."""
        if directory.links == 0:
            raise WasiError(Errno.NOENT)

    @staticmethod
    def _insert(found: Found, node: Node, now_ns: int) -> None:
        found.parent.add(found.name, node)
        found.parent.touch(now_ns)
        if isinstance(node, DirectoryNode):
            found.parent.links += 1

    def _remove(self, found: Found, node: Node) -> None:
        found.parent.remove(found.name)
        self.file_system._unnamed(found.name)
        now_ns = self.now()
        found.parent.touch(now_ns)
        node.changed_ns = now_ns
        if isinstance(node, DirectoryNode):
            found.parent.links -= 1
            node.links = 0
        else:
            node.links -= 1
        self.file_system._unlinked(node)

    def stat_path(self, path: bytes, follow: bool) -> FileStat:
        self.access.check_list()
        with self._lock:
            node = resolve(self._node, path, follow).existing()
            return _stat(node, node.size())

    def set_times_path(self, path: bytes, follow: bool, times: Times) -> None:
        self.access.check_mutate()
        with self._lock:
            _set_times(resolve(self._node, path, follow).existing(), times, self.now())

    def create_directory(self, path: bytes) -> None:
        self.access.check_mutate()
        with self._lock:
            if last_component(path) == b".":
                resolve(self._node, path, True).existing()
                raise WasiError(Errno.EXIST)
            found = resolve(self._node, path.rstrip(b"/") or path, False)
            if found.node is not None:
                raise WasiError(Errno.EXIST)
            self._create(found, FileType.DIRECTORY)

    def unlink_file(self, path: bytes) -> None:
        self.access.check_mutate()
        with self._lock:
            found = resolve(self._node, path, False)
            node = found.existing()
            if isinstance(node, DirectoryNode):
                raise WasiError(Errno.ISDIR)
            self._remove(found, node)

    def remove_directory(self, path: bytes) -> None:
        self.access.check_mutate()
        with self._lock:
            found = resolve(self._node, path.rstrip(b"/") or path, False)
            if found.name == b"." or last_component(path) == b".":
                raise WasiError(Errno.INVAL)
            node = found.existing()
            if not isinstance(node, DirectoryNode):
                raise WasiError(Errno.NOTDIR)
            if node.entries():
                raise WasiError(Errno.NOTEMPTY)
            self._remove(found, node)

    def rename(self, path: bytes, to_directory: Directory, to_path: bytes) -> None:
        self.access.check_move(to_directory.access)
        to = self._same_file_system(to_directory)
        with self._lock:
            source = resolve(self._node, path.rstrip(b"/") or path, False)
            target = resolve(to._node, to_path.rstrip(b"/") or to_path, False)
            if b"." in (source.name, target.name, last_component(path), last_component(to_path)):
                raise WasiError(Errno.BUSY)
            node = source.existing()
            is_directory = isinstance(node, DirectoryNode)
            if (path.endswith(b"/") or to_path.endswith(b"/")) and not is_directory:
                raise WasiError(Errno.NOTDIR)
            if target.node is node:  # also two names of one file: rename(2) does nothing
                return
            if isinstance(node, DirectoryNode) and is_below(target.parent, node):
                raise WasiError(Errno.INVAL)
            self._check_present(target.parent)
            self.file_system._named(target.name)
            try:
                if target.node is not None:
                    self._replace(target, is_directory)
            except WasiError:
                self.file_system._unnamed(target.name)
                raise
            self.file_system._unnamed(source.name)
            source.parent.remove(source.name)
            source.parent.links -= is_directory
            now_ns = self.now()
            source.parent.touch(now_ns)
            node.changed_ns = now_ns
            self._insert(target, node, now_ns)

    def _replace(self, target: Found, by_directory: bool) -> None:
        """Removes what stands where something is renamed to."""
        node = target.node
        assert node is not None
        if isinstance(node, DirectoryNode):
            if not by_directory:
                raise WasiError(Errno.ISDIR)
            if node.entries():
                raise WasiError(Errno.NOTEMPTY)
        elif by_directory:
            raise WasiError(Errno.NOTDIR)
        self._remove(target, node)

    def _same_file_system(self, directory: Directory) -> VirtualDirectory:
        to = same_kind(directory, VirtualDirectory)
        if to.file_system is not self.file_system:
            raise WasiError(Errno.XDEV)
        return to

    def link(self, path: bytes, to_directory: Directory, to_path: bytes) -> None:
        self.access.check_move(to_directory.access)
        to = self._same_file_system(to_directory)
        with self._lock:
            node = resolve(self._node, path, False).existing()
            target = resolve(to._node, to_path, False)
            target.check_free()
            if isinstance(node, DirectoryNode):
                raise WasiError(Errno.PERM)
            self._check_present(target.parent)
            self.file_system._named(target.name)
            now_ns = self.now()
            self._insert(target, node, now_ns)
            node.links += 1
            node.changed_ns = now_ns

    def read_link(self, path: bytes) -> bytes:
        self.access.check_list()
        with self._lock:
            node = resolve(self._node, path, False).existing()
        if not isinstance(node, LinkNode):
            raise WasiError(Errno.INVAL)
        if node.target.startswith(b"/"):
            raise WasiError(Errno.PERM)
        return node.target

    def symlink(self, target: bytes, path: bytes) -> None:
        self.access.check_mutate()
        check_symlink_target(target)
        with self._lock:
            found = resolve(self._node, path, False)
            if not target:
                raise WasiError(Errno.NOENT)
            found.check_free()
            self._create(found, FileType.SYMBOLIC_LINK, target)
