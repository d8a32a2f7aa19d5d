"""Permissions and rights of preopened directories, file systems that are Python objects, and wasi_unstable."""

from __future__ import annotations

import datetime
import io
import itertools
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.test_wasi_errno import PAIRS, PATHS, make_tree
from tests.api.wasi_guest import CREAT, DIRECTORY, EXCL, READ, TRUNC, WRITE, Program, program
from wasmjit import DirPerms, FilePerms, FsspecFS, MemoryFS, WasiConfig, WasmError
from wasmjit.wasi.constants import Errno, FileType
from wasmjit.wasi.descriptors import READ_WRITE
from wasmjit.wasi.files import PLAIN_VIEW, HostFile
from wasmjit.wasi.memory_fs import NAME_BYTES, NODE_BYTES
from wasmjit.wasi.operations import HAS_POSITION
from wasmjit.wasi.preview1 import FUNCTIONS, call
from wasmjit.wasi.sandbox import openat2

APPEND = 1


def guest_of(source: Any, *more: Any, **permissions: Any) -> Program:
    """A program with directories: descriptors 3 and up."""
    config = WasiConfig()
    for each in (source, *more):
        config.preopen_dir(each, "/", **permissions)
    return program(config)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory on the host."""
    (tmp_path / "secret").write_text("secret")
    directory = tmp_path / "root"
    (directory / "dir" / "sub").mkdir(parents=True)
    (directory / "file").write_text("hello world")
    (directory / "dir" / "a").write_text("aaa")
    os.symlink("file", directory / "link")
    os.symlink("../secret", directory / "up")
    return directory


def listing(guest: Program, fd: int = 3) -> list[tuple[bytes, int]]:
    """(name, type) as fd_readdir has them."""
    room, used = guest.room(8192), guest.room(4)
    assert guest.call("fd_readdir", fd, room, 8192, 0, used) == 0
    found, at, end = [], room, room + guest.u32(used)
    while at < end:
        _, _, length, file_type = struct.unpack("<QQIB", guest.get(at, 21))
        found.append((guest.get(at + 24, length), file_type))
        at += 24 + length
    return found


# ---- permissions ----


def test_directories_that_can_be_changed_with_files_that_cannot(root: Path) -> None:
    guest = guest_of(root, file_perms=FilePerms.READ)
    assert guest.read(guest.open(b"file"), 5) == b"hello"
    for rights, oflags in ((WRITE, 0), (READ | WRITE, 0), (READ, TRUNC), (READ, CREAT), (WRITE, CREAT)):
        assert guest.open(b"file", rights, oflags) == -Errno.PERM
    assert guest.path("path_create_directory", b"new") == 0 and guest.path("path_unlink_file", b"dir/a") == 0
    fd = guest.open(b"file")
    assert guest.call("fd_filestat_set_size", fd, 0) == guest.call("fd_filestat_set_times", fd, 1, 1, 5) == Errno.PERM
    assert guest.call("fd_allocate", fd, 0, 100) == Errno.BADF
    assert (root / "file").read_text() == "hello world" and (root / "new").is_dir()


def test_files_that_can_be_changed_in_directories_that_cannot(root: Path) -> None:
    guest = guest_of(root, dir_perms=DirPerms.READ)
    assert guest.write(guest.open(b"file", WRITE), b"HELLO") == 5
    assert guest.open(b"new", WRITE, CREAT) == guest.open(b"file", WRITE, TRUNC) == -Errno.PERM
    for name in ("path_create_directory", "path_unlink_file", "path_remove_directory"):
        assert guest.path(name, b"dir/a") == Errno.PERM
    assert (root / "file").read_text() == "HELLO world" and (root / "dir" / "a").exists()


def test_a_directory_to_drop_files_into(root: Path) -> None:
    guest = guest_of(root, dir_perms=DirPerms.READ_WRITE, file_perms=FilePerms.WRITE)
    assert guest.open(b"file") == -Errno.PERM and guest.open(b"file", READ | WRITE) == -Errno.PERM
    assert guest.write(guest.open(b"new", WRITE, CREAT | EXCL), b"x") == 1 and (root / "new").read_bytes() == b"x"
    assert guest.open(b"dir", READ, DIRECTORY) > 3


def test_nothing_can_be_seen_without_permission_to_look(root: Path) -> None:
    guest = guest_of(root, dir_perms=DirPerms.MUTATE)
    assert guest.open(b"file") == guest.open(b"dir", READ, DIRECTORY) == -Errno.PERM
    assert guest.path("path_filestat_get", b"file", 512, before=(1,)) == Errno.PERM
    assert guest.path("path_readlink", b"link", 512, 64, 600) == Errno.PERM
    assert guest.call("fd_readdir", 3, 512, 100, 0, 700) == Errno.PERM


@pytest.mark.parametrize("name", ["path_rename", "path_link"])
def test_a_file_gains_no_permission_by_another_name(tmp_path: Path, name: str) -> None:
    """From a directory where it cannot be written into one where it could, on the same file system."""
    for directory in ("ours", "theirs"):
        (tmp_path / directory).mkdir()
    (tmp_path / "ours" / "file").write_text("keep")
    config = WasiConfig()
    config.preopen_dir(tmp_path / "ours", "/ours", file_perms=FilePerms.READ)
    config.preopen_dir(tmp_path / "theirs", "/theirs")
    guest = program(config)

    def move(from_fd: int, to_fd: int) -> int:
        old = (from_fd, 0) if name == "path_link" else (from_fd,)
        return guest.call(name, *old, guest.put(b"file"), 4, to_fd, guest.put(b"file2"), 5)

    assert move(3, 4) == Errno.PERM and os.listdir(tmp_path / "theirs") == []
    assert move(3, 3) == 0
    (tmp_path / "theirs" / "file").write_text("free")
    (tmp_path / "ours" / "file2").unlink()
    assert move(4, 3) == 0


def test_permissions_hold_in_directories_opened_below(root: Path) -> None:
    guest = guest_of(root, fs_mutable=False)
    fd = guest.open(b"dir", READ, DIRECTORY)
    assert guest.open(b"a", WRITE, fd=fd) == -Errno.PERM
    assert guest.path("path_unlink_file", b"a", fd=fd) == Errno.PERM
    assert guest.read(guest.open(b"a", fd=fd), 9) == b"aaa"
    assert guest.open(b"../file", fd=fd) == -Errno.PERM  # a descriptor is a root of its own
    assert guest.call("fd_renumber", fd, 3) == 0 and guest.open(b"../file") == -Errno.PERM


def test_wrong_permissions_are_refused(root: Path) -> None:
    for keywords in ({"dir_perms": True}, {"file_perms": DirPerms.READ}, {"dir_perms": 3}):
        with pytest.raises(TypeError):
            WasiConfig().preopen_dir(root, "/", **keywords)  # type: ignore[arg-type]
    for wrong in (DirPerms.READ, FilePerms.READ):  # true, but they do not mean that all can be changed
        with pytest.raises(TypeError, match="by name"):
            WasiConfig().preopen_dir(root, "/", wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        WasiConfig().preopen_dir(3, "/")
    with pytest.raises(WasmError):
        WasiConfig().preopen_dir(root, "a\0b")


# ---- rights ----


def rights_of(guest: Program, fd: int) -> tuple[int, int]:
    room = guest.room(24)
    assert guest.call("fd_fdstat_get", fd, room) == 0
    base, inheriting = struct.unpack("<QQ", guest.get(room + 8, 16))
    return base, inheriting


@pytest.mark.parametrize("kind", ["host", "memory"])
def test_rights_can_be_given_up_and_not_got_back(root: Path, kind: str) -> None:
    guest = guest_of(root if kind == "host" else MemoryFS({"file": "hello world", "dir/a": "aaa"}))
    fd = guest.open(b"file", READ | WRITE)
    base, inheriting = rights_of(guest, fd)
    assert base & (READ | WRITE) == READ | WRITE and inheriting == 0
    assert guest.call("fd_fdstat_set_rights", fd, base & ~WRITE, 0) == 0
    assert rights_of(guest, fd) == (base & ~WRITE, 0)
    assert guest.write(fd, b"x") == -Errno.NOTCAPABLE and guest.read(fd, 5) == b"hello"
    assert guest.call("fd_fdstat_set_rights", fd, base, 0) == Errno.NOTCAPABLE
    assert guest.call("fd_fdstat_set_rights", fd, 0, 0) == 0
    for name, rest in (
        ("fd_read", (0, 0, 512)), ("fd_tell", (512,)), ("fd_seek", (0, 0, 512)), ("fd_filestat_get", (512,)),
        ("fd_sync", ()), ("fd_advise", (0, 0, 0)), ("fd_filestat_set_size", (0,)), ("fd_pread", (0, 0, 0, 512)),
    ):  # fmt: skip
        assert guest.call(name, fd, *rest) == Errno.NOTCAPABLE, name
    assert guest.call("fd_close", fd) == 0
    assert guest.call("fd_fdstat_set_rights", 99, 0, 0) == Errno.BADF


def test_what_a_directory_hands_down_can_be_given_up(root: Path) -> None:
    guest = guest_of(root)
    base, inheriting = rights_of(guest, 3)
    create_directory = 1 << 9
    assert guest.call("fd_fdstat_set_rights", 3, base & ~create_directory, inheriting & ~WRITE) == 0
    assert guest.path("path_create_directory", b"new") == Errno.NOTCAPABLE and not (root / "new").exists()
    assert guest.open(b"file", WRITE) == -Errno.NOTCAPABLE
    below = guest.open(b"dir", READ, DIRECTORY)
    assert guest.open(b"a", READ | WRITE, fd=below) == -Errno.NOTCAPABLE
    assert guest.read(guest.open(b"a", fd=below), 9) == b"aaa"


# ---- allocate ----


@pytest.mark.parametrize("kind", ["host", "memory"])
def test_allocate(root: Path, kind: str) -> None:
    guest = guest_of(root if kind == "host" else MemoryFS({"file": "hello world"}))
    fd = guest.open(b"file", READ | WRITE)
    status = guest.room(64)

    def size() -> int:
        assert guest.call("fd_filestat_get", fd, status) == 0
        return int(struct.unpack("<Q", guest.get(status + 32, 8))[0])

    assert guest.call("fd_allocate", fd, 0, 5) == 0 and size() == 11
    assert guest.call("fd_allocate", fd, 10, 90) == 0 and size() == 100
    assert guest.read(fd, 200) == b"hello world" + bytes(89)
    assert guest.call("fd_allocate", fd, 0, 0) == Errno.INVAL
    assert guest.call("fd_allocate", fd, -1, 1) == Errno.INVAL
    assert guest.call("fd_allocate", guest.open(b"file"), 0, 5) == Errno.BADF == guest.call("fd_allocate", 1, 0, 5)


# ---- the sandbox ----


@pytest.mark.parametrize("by_kernel", [True, False])
def test_links_of_proc_are_no_way_out(by_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where somebody gives a program /proc/self: its links lead out, and not by what they contain."""
    if not by_kernel:
        monkeypatch.setattr(openat2, "works", False)
    guest = guest_of("/proc/self")
    for path in (b"root/etc/passwd", b"cwd/x", b"root", b"exe", b"fd/0", b"task/../root/etc"):
        assert guest.open(path) in (-Errno.PERM, -Errno.LOOP, -Errno.NOENT), path
    assert guest.open(b"../self/root") == -Errno.PERM
    assert guest.path("path_readlink", b"root", 512, 64, 600) == Errno.PERM


def test_only_the_host_knows_positions_on_devices(tmp_path: Path) -> None:
    """A block device refuses positions behind its end."""
    descriptor = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    known = {
        mode: HostFile(descriptor, True, True, READ_WRITE, mode, 0, PLAIN_VIEW).host_operations() & HAS_POSITION
        for mode in (stat.S_IFREG, stat.S_IFBLK)
    }
    os.close(descriptor)
    assert known == {stat.S_IFREG: HAS_POSITION, stat.S_IFBLK: 0}


def test_openat2_is_used_where_the_kernel_has_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not openat2.works:
        pytest.skip("the kernel has no openat2, or forbids it")
    guest = guest_of(root)
    guest.call("sched_yield")
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda name, *rest, **more: opened.append(name) or real(name, *rest, **more))
    assert guest.open(b"dir/sub/../a") > 3 and not opened


# ---- MemoryFS ----


def test_memory_is_filled_by_python_and_by_the_program() -> None:
    files = MemoryFS({"in/a.txt": "hello", "/in/b": b"\0\1"})
    guest = guest_of(files)
    assert guest.read(guest.open(b"in/a.txt"), 10) == b"hello"
    assert guest.path("path_create_directory", b"out") == 0
    fd = guest.open(b"out/new", READ | WRITE, CREAT)
    assert guest.write(fd, b"0123456789") == 10 and guest.call("fd_seek", fd, 4, 0, 512) == 0
    assert guest.write(fd, b"xy") == 2 and guest.read(fd, 100) == b"6789"
    assert files.read_bytes("out/new") == b"0123xy6789"
    appending = guest.open(b"out/new", WRITE, fdflags=APPEND)
    assert guest.write(appending, b"!") == 1 and files.read_text("/out/new") == "0123xy6789!"
    assert guest.open(b"out/new", WRITE, TRUNC) > 3 and files.read_bytes("out/new") == b""
    files.write_text("out/new", "from Python")  # seen by who has it open
    assert guest.call("fd_seek", fd, 0, 0, 512) == 0 and guest.read(fd, 100) == b"from Python"
    assert files.files() == {"in/a.txt": b"hello", "in/b": b"\0\1", "out/new": b"from Python"}
    assert listing(guest) == [(b".", 3), (b"..", 3), (b"in", 3), (b"out", 3)]


def test_memory_links_and_times() -> None:
    files = MemoryFS({"dir/file": "x"})
    files.symlink("dir/file", "link")
    files.symlink("../../etc/passwd", "dir/out")
    files.link("dir/file", "hard")
    files.set_times("hard", 5, 7)
    assert (files.stat("dir/file").links, files.stat("link").modified_ns, files.stat("hard").accessed_ns) == (2, 7, 5)
    assert files.is_symlink("link") and files.is_file("link") and files.readlink("link") == "dir/file"
    guest = guest_of(files)
    assert guest.read(guest.open(b"link"), 5) == b"x" and guest.open(b"link", follow=0) == -Errno.LOOP
    assert guest.open(b"dir/out") == -Errno.PERM == guest.open(b"/dir/file")
    assert guest.path("path_unlink_file", b"dir/file") == 0 and not files.exists("link") and files.is_file("hard")
    assert guest.path("path_filestat_set_times", b"hard", 11, 13, 5, before=(0,)) == 0
    assert files.stat("hard").modified_ns == 13 and files.stat("hard").links == 1
    renamed = guest.call("path_rename", 3, guest.put(b"dir"), 3, 3, guest.put(b"moved"), 5)
    assert renamed == 0 and files.listdir() == ["hard", "link", "moved"]


def test_python_gets_oserrors_that_name_the_path() -> None:
    files = MemoryFS({"dir/file": "x"})
    cases: list[tuple[Callable[[], object], type[OSError]]] = [
        (lambda: files.read_bytes("nothing"), FileNotFoundError),
        (lambda: files.read_bytes("dir"), IsADirectoryError),
        (lambda: files.listdir("dir/file"), NotADirectoryError),
        (lambda: files.mkdir("dir"), FileExistsError),
        (lambda: files.mkdir("a/b"), FileNotFoundError),
        (lambda: files.rmdir("dir"), OSError),
        (lambda: files.unlink("dir"), IsADirectoryError),
        (lambda: files.write_bytes("dir/file/x", b""), NotADirectoryError),
        (lambda: files.read_bytes("../x"), PermissionError),
        (lambda: files.symlink("/etc", "s"), PermissionError),
    ]
    for run, expected in cases:
        with pytest.raises(expected):
            run()
    with pytest.raises(FileNotFoundError, match="'some/where'"):
        files.stat("some/where")
    files.mkdir("a/b", parents=True)
    files.mkdir("a/b", exist_ok=True)
    files.rename("dir/file", "a/b/c")
    files.rmdir("dir")
    assert files.is_dir("a/b") and files.files() == {"a/b/c": b"x"}


def test_memory_is_bounded_and_given_back() -> None:
    files = MemoryFS(max_bytes=10_500)
    guest = guest_of(files)
    fd = guest.open(b"file", READ | WRITE, CREAT)
    assert guest.write(fd, bytes(9000)) == 9000
    assert guest.write(fd, bytes(2000)) == -Errno.NOSPC
    for name, rest in (("fd_filestat_set_size", (1 << 60,)), ("fd_allocate", (0, 1 << 60))):
        assert guest.call(name, fd, *rest) == Errno.NOSPC
    vector = guest.put(struct.pack("<II", 0, 1))
    assert guest.call("fd_pwrite", fd, vector, 1, 1 << 50, 512) == Errno.NOSPC
    assert guest.path("path_unlink_file", b"file") == 0 and files.used_bytes > 9000  # it is still open
    assert (
        guest.open(b"other", WRITE, CREAT) > 3 and guest.write(guest.open(b"other", WRITE), bytes(900)) == -Errno.NOSPC
    )
    assert guest.call("fd_close", fd) == 0 and files.used_bytes == NODE_BYTES + NAME_BYTES + 5  # of the other file
    while guest.path("path_create_directory", b"d%d" % files.used_bytes) == 0:
        pass
    assert 10_500 - NODE_BYTES - NAME_BYTES - 10 < files.used_bytes <= 10_500
    for name in files.listdir():
        (files.rmdir if files.is_dir(name) else files.unlink)(name)
    del guest
    assert files.used_bytes <= NODE_BYTES  # what "other" takes while a descriptor of the program is open


def codes_of_path_calls(make: Callable[[], Any]) -> dict[tuple[Any, ...], str]:
    """What the calls of test_wasi_errno give in a directory that `make` makes anew for each function."""
    found: dict[tuple[Any, ...], str] = {}
    for name in ("path_rename", "path_link", "path_symlink"):
        guest = guest_of(make())
        for old, new in PAIRS:
            pointers = guest.put(old), len(old), 3, guest.put(new), len(new)
            before = {"path_link": (3, 0), "path_rename": (3,), "path_symlink": ()}[name]
            found[name, old, new] = Errno(guest.call(name, *before, *pointers)).name
    for name in ("path_create_directory", "path_remove_directory", "path_unlink_file"):
        guest = guest_of(make())
        found |= {(name, path[:20]): Errno(guest.path(name, path)).name for path in PATHS}
    for oflags in (0, CREAT, DIRECTORY, TRUNC, CREAT | EXCL, DIRECTORY | CREAT):
        for follow in (0, 1):
            for rights in (READ, WRITE):
                guest = guest_of(make())
                for path in PATHS:
                    code = max(0, -guest.open(path, rights, oflags, follow))
                    found["open", oflags, follow, rights, path[:20]] = Errno(code).name
    return found


def test_memory_behaves_as_the_host_does(tmp_path: Path) -> None:
    """Host directories are compared with wasmtime in test_wasi_errno."""
    numbers = itertools.count()

    def memory() -> MemoryFS:
        files = MemoryFS({"file": "hello world", "dir/a": "aaa"})
        files.mkdir("dir/sub")
        for link, target in {"link": "file", "dlink": "dir", "loop": "loop", "up": "..", "dangling": "nowhere"}.items():
            files.symlink(target, link)
        files._root.entries()[b"out"] = files._new_node(FileType.SYMBOLIC_LINK, 0, b"/etc")  # not to be had otherwise
        return files

    ours = codes_of_path_calls(memory)
    theirs = codes_of_path_calls(lambda: make_tree(tmp_path / str(next(numbers)) / "root"))
    assert {call: (code, theirs[call]) for call, code in ours.items() if code != theirs[call]} == {}
    assert len(set(ours.values())) > 10


def test_the_kernel_and_the_walk_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not openat2.works:
        pytest.skip("the kernel has no openat2, or forbids it")
    numbers = itertools.count()

    def codes() -> dict[tuple[Any, ...], str]:
        found = codes_of_path_calls(lambda: make_tree(tmp_path / str(next(numbers)) / "root"))
        guest = guest_of(make_tree(tmp_path / str(next(numbers)) / "root"))
        for follow in (0, 1):
            for path in PATHS:
                code = guest.path("path_filestat_get", path, 512, before=(follow,))
                found["stat", follow, path[:20]] = Errno(code).name
        return found

    by_kernel = codes()
    monkeypatch.setattr(openat2, "works", False)
    by_walk = codes()
    assert {call: (code, by_walk[call]) for call, code in by_kernel.items() if code != by_walk[call]} == {}


def test_programs_on_several_threads_share_a_memory() -> None:
    files = MemoryFS()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            guest = guest_of(files)
            for turn in range(50):
                fd = guest.open(b"shared", WRITE, CREAT, fdflags=APPEND)
                assert guest.write(fd, b"%d" % number) == 1 and guest.call("fd_close", fd) == 0
                name = b"own%d-%d" % (number, turn)
                assert guest.path("path_create_directory", name) == 0
                assert guest.path("path_remove_directory", name) == 0
                guest._next = 1024
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    data = files.read_bytes("shared")
    assert [data.count(b"%d" % number) for number in range(4)] == [50] * 4 and files.listdir() == ["shared"]


# ---- fsspec ----


class Recorded:
    """Looks like a file system of fsspec."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.files = {"data/a": b"aaa", "data/sub/b": b"0123456789"}

    def ls(self, path: str, detail: bool = True) -> list[dict[str, Any]]:
        self.calls.append(("ls", path))
        when = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
        listings = {
            "data": [
                {"name": "data", "type": "directory", "size": 0},
                {"name": "data/a", "type": "file", "size": 3, "LastModified": when},
                {"name": "data/sub/", "type": "directory"},
                {"name": "data/out", "type": "file", "islink": True},
                {"name": "data/device", "type": "other"},
                {"name": "data/..", "type": "directory"},
            ],
            "data/sub": [{"name": "data/sub/b", "type": "file", "size": None, "mtime": 1.5}],
        }
        return listings[path.rstrip("/")]

    def info(self, path: str) -> dict[str, Any]:
        return {"name": path, "type": "file", "size": len(self.files[path])}

    def open(self, path: str, mode: str) -> io.BytesIO:
        self.calls.append(("open", path))
        return io.BytesIO(self.files[path])


def test_what_looks_like_fsspec_can_be_read() -> None:
    recorded = Recorded()
    guest = guest_of(FsspecFS(recorded, "data"))
    assert listing(guest) == [(b".", 3), (b"..", 3), (b"a", 4), (b"device", 7), (b"out", 7), (b"sub", 3)]
    fd = guest.open(b"sub/../sub/b")
    assert guest.read(fd, 4) == b"0123" and guest.read(fd, 100) == b"456789" and guest.read(fd, 1) == b""
    status = guest.room(64)
    assert guest.path("path_filestat_get", b"a", status, before=(1,)) == 0
    assert struct.unpack("<B7xQQQQ", guest.get(status + 16, 40)) == (4, 1, 3, 1577836800 * 10**9, 1577836800 * 10**9)
    assert guest.call("fd_filestat_get", fd, status) == 0
    assert struct.unpack("<QQQ", guest.get(status + 32, 24))[0::2] == (10, 1_500_000_000)
    for path in (b"out", b"device", b"../data/a"):
        assert guest.open(path) == -Errno.PERM
    assert guest.open(b"data/a") == guest.open(b"nothing") == -Errno.NOENT
    assert {path for _, path in recorded.calls} == {"data", "data/sub", "data/sub/b"}


def test_nothing_can_be_written_through_fsspec() -> None:
    memory = MemoryFileSystem()
    memory.pipe("/wasi-test/file", b"contents")
    try:
        guest = guest_of(FsspecFS(memory, "/wasi-test"))
        assert guest.read(guest.open(b"file"), 100) == b"contents"
        for rights, oflags in ((WRITE, 0), (READ, CREAT), (READ, TRUNC)):
            assert guest.open(b"file", rights, oflags) == -Errno.PERM
        for name in ("path_create_directory", "path_unlink_file", "path_remove_directory"):
            assert guest.path(name, b"file") == Errno.PERM
        assert guest.call("path_rename", 3, guest.put(b"file"), 4, 3, guest.put(b"f"), 1) == Errno.PERM
        fd = guest.open(b"file")
        assert guest.call("fd_filestat_set_size", fd, 0) == Errno.PERM and guest.write(fd, b"x") == -Errno.BADF
        assert memory.cat("/wasi-test/file") == b"contents"
    finally:
        memory.rm("/wasi-test", recursive=True)


def test_a_local_fsspec_file_system_is_no_way_out(root: Path) -> None:
    """Names that fsspec itself understands (~, protocols) mean nothing, and links are refused."""
    guest = guest_of(FsspecFS(LocalFileSystem(), str(root)))
    assert guest.read(guest.open(b"dir/a"), 9) == b"aaa"
    for path in (b"file:/etc/passwd", b"file:///etc/passwd", b"~/.bashrc", b"~root", b"local:etc"):
        assert guest.open(path) == -Errno.NOENT
    for path in (b"../secret", b"up", b"link", b"/etc/passwd", b"dir/../../secret"):
        assert guest.open(path) == -Errno.PERM


def test_an_archive_is_a_directory(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("folder/text", "in the archive")
    config = WasiConfig()
    config.preopen_dir(fsspec.filesystem("zip", fo=str(tmp_path / "data.zip")), "/zip")
    assert (guest := program(config)).read(guest.open(b"folder/text"), 100) == b"in the archive"


def test_errors_of_a_file_system_reach_the_program_or_the_caller() -> None:
    class Broken(Recorded):
        def open(self, path: str, mode: str) -> io.BytesIO:
            raise FileNotFoundError(path) if path == "data/a" else ZeroDivisionError("mine")

    guest = guest_of(FsspecFS(Broken(), "data"))
    assert guest.open(b"a") == -Errno.NOENT
    with pytest.raises(ZeroDivisionError, match="mine"):
        guest.open(b"sub/b")
    with pytest.raises(TypeError):
        FsspecFS(object())


def test_nothing_moves_between_file_systems(root: Path) -> None:
    guest = guest_of(MemoryFS({"file": "x"}), MemoryFS(), root)
    for from_fd, to_fd in ((3, 4), (3, 5), (5, 3)):
        old, new = (guest.put(b"file"), 4), (guest.put(b"new"), 3)
        assert guest.call("path_rename", from_fd, *old, to_fd, *new) == Errno.XDEV
        assert guest.call("path_link", from_fd, 0, *old, to_fd, *new) == Errno.XDEV


# ---- wasi_unstable ----


def test_wasi_unstable_has_its_own_layouts(root: Path) -> None:
    os.link(root / "file", root / "hard")
    os.utime(root / "file", ns=(5, 7))
    config = WasiConfig(stdin=b"input")
    config.preopen_dir(root, "/")
    guest = program(config, "wasi_unstable")
    fd = guest.open(b"file")
    result = guest.room(64)
    for offset, whence, position in ((3, 2, 3), (2, 0, 5), (-1, 1, 10)):  # SET, CUR, END
        assert guest.call("fd_seek", fd, offset, whence, result) == 0
        assert guest.u32(result) == position
    assert guest.call("fd_seek", fd, 0, 3, result) == Errno.INVAL
    for code in (
        guest.call("fd_filestat_get", fd, result),
        guest.path("path_filestat_get", b"link", result, before=(1,)),
    ):
        assert code == 0
        assert struct.unpack("<B3xIQQQ", guest.get(result + 16, 32)) == (4, 2, 11, 5, 7)
    clock = struct.pack("<QB7xQI4xQQH6x", 1, 0, 99, 1, 1000, 0, 0)
    stdin = struct.pack("<QB7xI4x32x", 2, 1, 0)
    assert guest.poll(stdin, clock)[0] == (2, 0, 1, 1, 0) and guest.poll(clock) == [(1, 0, 0, 0, 0)]
    assert "sock_accept" not in guest.exports and "sock_recv" in guest.exports


# ---- anything at all ----

INTERESTING = [0, 1, 2, 3, 4, 5, 6, 24, 64, 100, 1024, 2048, 2060, (1 << 17) - 1, 1 << 17, 0x7FFF_FFFF, -1, 1 << 62]
NAMES = sorted(set(FUNCTIONS) - {"poll_oneoff", "proc_exit"})  # one may sleep, the other does not return


@settings(max_examples=150, deadline=None)
@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(NAMES), st.lists(st.sampled_from(INTERESTING) | st.integers(), min_size=9, max_size=9)
        ),
        max_size=20,
    ),
    contents=st.binary(max_size=256),
)
def test_arbitrary_arguments_give_an_error_code(calls: list[tuple[str, list[int]]], contents: bytes) -> None:
    """On virtual directories and sockets; for host directories see tests/wasi/test_preview1.py."""
    ours, theirs = socket.socketpair()
    ours.close()
    files = MemoryFS({"dir/a": "aaa", "file": "hello"}, max_bytes=1 << 20)
    config = WasiConfig(stdin=b"input", deterministic=True)
    for source in (files, FsspecFS(Recorded(), "data")):
        config.preopen_dir(source, "/")
    config.preopen_socket(theirs)
    theirs.close()
    context = config.build()
    memory = bytearray(1 << 17)
    memory[: len(contents)] = contents
    memory[2048:2065] = b"dir/../file\0sub/b"
    for name, arguments in calls:
        code = call(FUNCTIONS[name], context, memoryview(memory), tuple(arguments[: len(FUNCTIONS[name].params)]))
        assert code in list(Errno)
    context.close()
    config.close()
    assert files.used_bytes <= 1 << 20
