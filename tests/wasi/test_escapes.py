"""Attempts to reach what was not given: all are refused, and nothing outside is touched, seen or left open.

Each attempt calls preview 1 as a guest does, with the kernel resolving paths (openat2) and with our own walk. Outside
is everything beside the preopened directories: names, contents, modes, links, times and inode numbers must be the
same afterwards, and the secret must not be in the guest's memory.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.wasi.conftest import Guest, OpenError
from wasmjit.wasi.config import WasiConfig
from wasmjit.wasi.constants import Errno
from wasmjit.wasi.sandbox import openat2

SECRET = b"the secret outside"
ROOT, READ_ONLY, FIRST_FREE = 3, 4, 5
READ, WRITE, BOTH = 1 << 1, 1 << 6, 1 << 1 | 1 << 6
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
FOLLOW = 1
MIN_ROUNDS = 20
OK = Errno.SUCCESS
# What a refused path may say where several checks apply, or somebody else renames things meanwhile.
REFUSED = {
    Errno.PERM, Errno.NOENT, Errno.NOTDIR, Errno.LOOP, Errno.EXIST, Errno.ISDIR, Errno.NOTEMPTY, Errno.INVAL,
    Errno.NOTCAPABLE, Errno.ACCES, Errno.BUSY,
}  # fmt: skip

LINKS = {
    "up": "../secret",
    "updir": "../outside",
    "chain1": "chain2",
    "chain2": "dir/chain3",
    "dir/chain3": "sub/chain4",
    "dir/sub/chain4": "../../../secret",
    "dangling": "../created",
    "absolute dangling": "/tmp/wasmjit-escape-created",
    "absolute": "/etc/passwd",
    "slash": "/",
    "proc": "/proc/self",
    "devfd": "/dev/fd",
    "parent": "..",
    "dir/parent": "..",
    "inside": "dir/a",
    "dlink": "dir",
    "through": "dir/parent/parent/secret",
    "loop": "loop",
    "round": "../root/file",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """``root`` and ``ro``, to be preopened, and beside them what must not be reached."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "outside" / "empty").mkdir(parents=True)
    (tmp_path / "outside" / "file").write_bytes(SECRET)
    for name in ("root", "ro"):
        (tmp_path / name / "dir" / "sub").mkdir(parents=True)
        (tmp_path / name / "file").write_text("inner")
        (tmp_path / name / "dir" / "a").write_text("aaa")
    for name, target in LINKS.items():
        os.symlink(target, tmp_path / "root" / name)
    os.symlink(str(tmp_path / "outside"), tmp_path / "root" / "absdir")
    os.symlink("../../root/file", tmp_path / "ro" / "dir" / "to root")
    return tmp_path


def fingerprint(place: Path, but: tuple[str, ...] = ("root",)) -> dict[str, object]:
    """Everything about every name at `place`, but what is in the directories `but`."""
    found: dict[str, object] = {"created elsewhere": os.path.lexists("/tmp/wasmjit-escape-created")}
    directories = [str(place)]
    for directory in directories:
        with os.scandir(directory) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if len(directory) == len(str(place)) and entry.name in but:
                    found[entry.name] = status.st_mode
                    continue
                what: object = None
                if entry.is_symlink():
                    what = os.readlink(entry.path)
                elif entry.is_dir():
                    directories.append(entry.path)
                elif entry.is_file():
                    with open(entry.path, "rb") as file:
                        what = file.read()
                found[entry.path] = (
                    status.st_mode, status.st_ino, status.st_nlink, status.st_size, status.st_mtime_ns,
                    status.st_ctime_ns, what,
                )  # fmt: skip
    return found


def open_files() -> set[tuple[str, str]]:
    """The descriptors of files and directories. Pipes are those of processes that compile, which come and go."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            if target.startswith("/"):
                found.add((descriptor, target))
    return found


@pytest.fixture(params=["openat2", "walk"], autouse=True)
def resolver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to resolve paths."""
    if request.param == "walk":
        monkeypatch.setattr(openat2, "works", False)
    elif not openat2.works:
        pytest.skip("the kernel has no openat2, or forbids it")


@pytest.fixture
def guest(place: Path, make_guest: Callable[..., Guest]) -> Iterator[Guest]:
    """Has ``root`` as 3 and, read-only, ``ro`` as 4; afterwards nothing outside was changed, left open or seen."""
    config = WasiConfig()
    config.preopen_dir(str(place / "root"), "/", True)
    config.preopen_dir(str(place / "ro"), "/ro", False)
    before = fingerprint(place)
    make_guest()  # the first one has compilers started, which stay
    files = open_files()
    guest = make_guest(config)
    yield guest
    guest.context.close()
    assert not open_files() - files, "host descriptors are left open"
    assert not guest.has(SECRET)
    assert fingerprint(place) == before


def opened(guest: Guest, path: str | bytes, rights: int = READ, oflags: int = 0, fd: int = ROOT) -> Errno:
    """The code of one path_open that follows links; what could be opened is read, for the check that follows."""
    try:
        number = guest.open(path, rights, oflags, fd=fd)
    except OpenError as error:
        return error.code
    if rights & READ and not oflags & DIRECTORY:
        guest.read(number, 100)
    guest.call("fd_close", number)
    return OK


def renamed(guest: Guest, source: str | bytes, target: str | bytes, fd: int = ROOT, to_fd: int = ROOT) -> Errno:
    target = target.encode() if isinstance(target, str) else target
    return guest.path("path_rename", source, to_fd, guest.put(target), len(target), fd=fd)


def linked(
    guest: Guest, source: str | bytes, target: str | bytes, fd: int = ROOT, to_fd: int = ROOT, follow: int = 0
) -> Errno:
    target = target.encode() if isinstance(target, str) else target
    return guest.path("path_link", source, to_fd, guest.put(target), len(target), before=(follow,), fd=fd)


def symlinked(guest: Guest, target: str | bytes, path: str | bytes, fd: int = ROOT) -> Errno:
    target = target.encode() if isinstance(target, str) else target
    path = path.encode() if isinstance(path, str) else path
    return guest.call("path_symlink", guest.put(target), len(target), fd, guest.put(path), len(path))


def read_link(guest: Guest, path: str | bytes, fd: int = ROOT) -> Errno:
    buffer, used = guest.allocate(256), guest.allocate(4)
    return guest.path("path_readlink", path, buffer, 256, used, fd=fd)


def stat(guest: Guest, path: str | bytes, follow: int = FOLLOW, fd: int = ROOT) -> Errno:
    return guest.path("path_filestat_get", path, guest.allocate(64), before=(follow,), fd=fd)


def set_times(guest: Guest, path: str | bytes, follow: int = FOLLOW, fd: int = ROOT) -> Errno:
    return guest.path("path_filestat_set_times", path, 1000, 1000, 1 | 4, before=(follow,), fd=fd)


def joined(path: bytes, name: bytes) -> bytes:
    return path + (b"" if path.endswith(b"/") else b"/") + name


# Where a way leads: a directory that holds "secret", "file" or nothing. The operations act on a name below it.
WAYS_TO_A_DIRECTORY = {
    "dot dot": b"..",
    "dot dot slashes": b"..///",
    "dot dot after a directory": b"dir/../..",
    "dot dot after two": b"dir/sub/../../..",
    "dot dot after dots": b"./././..",
    "dot dot after a link": b"dlink/../..",
    "dot dot in and out": b"../root/..",
    "dot dot back in": b"../root",
    "many dot dots": b"../" * 50,
    "absolute": b"/",
    "absolute to itself": b"/root",
    "two slashes": b"//etc",
    "three slashes": b"///etc/",
    "link to the parent": b"parent",
    "link to the parent in the middle": b"dir/parent/parent",
    "link to a directory outside": b"updir",
    "link to a directory outside, slash": b"updir/",
    "link to a directory outside, dot": b"updir/.",
    "dot dot after a link out": b"updir/..",
    "link to an absolute directory": b"absdir",
    "dot dot after an absolute link": b"absdir/..",
    "link to the host's root": b"slash",
    "host's root and down": b"slash/tmp",
    "proc": b"proc/root",
    "proc's working directory": b"proc/cwd",
    "dev fd": b"devfd",
}
OPERATIONS: dict[str, Callable[[Guest, bytes], Errno]] = {
    "open": lambda guest, way: opened(guest, joined(way, b"secret")),
    "create": lambda guest, way: opened(guest, joined(way, b"new"), WRITE, CREAT),
    "truncate": lambda guest, way: opened(guest, joined(way, b"file"), WRITE, TRUNC),
    "open directory": lambda guest, way: opened(guest, way, READ, DIRECTORY),
    "stat": lambda guest, way: stat(guest, joined(way, b"file")),
    "times": lambda guest, way: set_times(guest, joined(way, b"file")),
    "mkdir": lambda guest, way: guest.path("path_create_directory", joined(way, b"new")),
    "rmdir": lambda guest, way: guest.path("path_remove_directory", joined(way, b"empty")),
    "unlink": lambda guest, way: guest.path("path_unlink_file", joined(way, b"file")),
    "rename out": lambda guest, way: renamed(guest, b"file", joined(way, b"new")),
    "rename in": lambda guest, way: renamed(guest, joined(way, b"file"), b"stolen"),
    "link out": lambda guest, way: linked(guest, b"file", joined(way, b"new")),
    "link in": lambda guest, way: linked(guest, joined(way, b"file"), b"stolen"),
    "symlink": lambda guest, way: symlinked(guest, b"file", joined(way, b"new")),
    "readlink": lambda guest, way: read_link(guest, joined(way, b"file")),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_operation_acts_outside(guest: Guest, place: Path, operation: str) -> None:
    before, files, free = fingerprint(place), open_files(), guest._next
    for way, path in WAYS_TO_A_DIRECTORY.items():
        guest._next = free
        assert OPERATIONS[operation](guest, path) is Errno.PERM, way
        assert not guest.has(SECRET), way
        assert not open_files() - files, way
        assert fingerprint(place) == before, way


WAYS_TO_A_FILE = {
    "dot dot": (b"../secret", Errno.PERM),
    "dot dot, slash": (b"../secret/", Errno.PERM),
    "link out": (b"up", Errno.PERM),
    "link out, slash": (b"up/", Errno.PERM),
    "link out, dot": (b"up/.", Errno.PERM),
    "link chain": (b"chain1", Errno.PERM),
    "link chain, slash": (b"chain1/", Errno.PERM),
    "link through a link to the parent": (b"through", Errno.PERM),
    "link out and back in": (b"round", Errno.PERM),
    "absolute link": (b"absolute", Errno.PERM),
    "absolute path": (b"/etc/passwd", Errno.PERM),
    "dangling link out": (b"dangling", Errno.PERM),
    "absolute dangling link": (b"absolute dangling", Errno.PERM),
    "own program": (b"proc/exe", Errno.PERM),
    "own memory": (b"proc/mem", Errno.PERM),
    "own environment": (b"proc/environ", Errno.PERM),
    "own descriptors": (b"proc/fd/0", Errno.PERM),
    "descriptors by dev": (b"devfd/3", Errno.PERM),
    "NUL after a name": (b"file\0/../../secret", Errno.INVAL),
    "NUL after dot dot": (b"..\0/secret", Errno.INVAL),
    "NUL alone": (b"\0", Errno.INVAL),
    "NUL at the end": (b"../secret\0", Errno.INVAL),
    "overlong UTF-8 dots": (b"\xc0\xae\xc0\xae/secret", Errno.ILSEQ),
    "overlong UTF-8 slash": (b"..\xc0\xafsecret", Errno.ILSEQ),
    "no UTF-8": (b"\xff/../../secret", Errno.ILSEQ),
    "a surrogate": (b"\xed\xbb\xbf/../../secret", Errno.ILSEQ),
    "full width dots": ("\uff0e\uff0e/secret".encode(), Errno.NOENT),
    "one dot leader": ("\u2024\u2024/secret".encode(), Errno.NOENT),
    "division slash": ("..\u2215secret".encode(), Errno.NOENT),
    "back slash": (b"..\\secret", Errno.NOENT),
    "a drive": (b"C:/secret", Errno.NOENT),
    "percent signs": (b"%2e%2e/secret", Errno.NOENT),
    "home": (b"~/secret", Errno.NOENT),
    "three dots": (b".../secret", Errno.NOENT),
    "dots and a space": (b".. /secret", Errno.NOENT),
    "dots and a line": (b"..\n/secret", Errno.NOENT),
    "through a file": (b"file/../../secret", Errno.NOTDIR),
    "through nothing": (b"nothing/../../secret", Errno.NOENT),
    "through a loop": (b"loop/../../secret", Errno.LOOP),
    "a name too long": (b"n" * 256 + b"/../../secret", Errno.NAMETOOLONG),
    "very many dots": (b"dir/../" * 500 + b"../secret", Errno.PERM),
    "a path too long": (b"dir/../" * 10_000 + b"../secret", Errno.NAMETOOLONG),
    "a path of slashes": (b"dir" + b"/" * 4000 + b"../../secret", Errno.PERM),
}


@pytest.mark.part(2)
@pytest.mark.parametrize("way", WAYS_TO_A_FILE)
def test_no_name_is_a_file_outside(guest: Guest, place: Path, way: str) -> None:
    path, code = WAYS_TO_A_FILE[way]
    copy = guest.put(path)

    def open_with(rights: int, oflags: int) -> Errno:
        arguments = (ROOT, FOLLOW, copy, len(path), oflags, rights, rights, 0, guest.allocate(4))
        return guest.call("path_open", *arguments)

    codes = [open_with(READ, 0), open_with(WRITE, CREAT), open_with(WRITE, TRUNC)]
    codes.append(guest.call("path_filestat_get", ROOT, FOLLOW, copy, len(path), guest.allocate(64)))
    codes.append(guest.call("path_filestat_set_times", ROOT, FOLLOW, copy, len(path), 1, 1, 1 | 4))
    assert codes[0] is code
    if b"/" in path or code is not Errno.NOENT:
        assert OK not in codes and guest.open("file") == FIRST_FREE  # none of them has left a descriptor
    else:
        assert (place / "root" / os.fsdecode(path)).is_file()  # nothing but a name


def test_links_may_be_handled_as_links(guest: Guest, place: Path) -> None:
    """What names a link and not its target is inside: removing, renaming and stamping it leaves the target alone."""
    assert stat(guest, "up", follow=0) is OK
    assert set_times(guest, "up", follow=0) is OK
    assert renamed(guest, "up", "dir/up") is OK
    assert guest.path("path_unlink_file", "dir/up") is OK
    assert guest.path("path_unlink_file", "updir") is OK
    assert guest.path("path_remove_directory", "absdir") is Errno.NOTDIR
    assert renamed(guest, "file", "absolute") is OK
    assert not (place / "root" / "absolute").is_symlink()


@pytest.mark.parametrize("link", ["absolute", "slash", "absdir", "proc", "devfd", "absolute dangling"])
def test_absolute_targets_are_not_told(guest: Guest, link: str) -> None:
    assert read_link(guest, link) is Errno.PERM


@pytest.mark.parametrize("target", ["/", "/etc", "//etc", "/proc/self/root", "/dev/fd/0", "/root/file"])
def test_guests_make_no_absolute_links(guest: Guest, place: Path, target: str) -> None:
    assert symlinked(guest, target, "made") is Errno.PERM
    assert not os.path.lexists(place / "root" / "made")


@pytest.mark.parametrize("target", ["..", "../", "../..", "../secret", "dir/../..", "./../outside", "parent"])
def test_links_made_by_a_guest_lead_nowhere(guest: Guest, target: str) -> None:
    assert symlinked(guest, target, "made") is OK
    codes = [opened(guest, "made"), opened(guest, "made/secret"), opened(guest, "made/new", WRITE, CREAT)]
    codes += [opened(guest, "made", READ, DIRECTORY), stat(guest, "made/"), linked(guest, "file", "made/new")]
    assert codes == [Errno.PERM] * len(codes)


def test_a_link_moved_up_leads_nowhere(guest: Guest) -> None:
    """It was made where it led inside."""
    assert symlinked(guest, "../../file", "dir/sub/made") is OK
    assert opened(guest, "dir/sub/made") is OK
    assert renamed(guest, "dir/sub/made", "made") is OK
    assert opened(guest, "made") is Errno.PERM


def test_a_link_in_a_directory_moved_up_leads_nowhere(guest: Guest) -> None:
    assert symlinked(guest, "../../../secret", "dir/sub/made") is OK
    assert symlinked(guest, "../../file", "dir/sub/ok") is OK
    assert renamed(guest, "dir/sub", "sub") is OK
    assert (opened(guest, "sub/made"), opened(guest, "sub/ok")) == (Errno.PERM, Errno.PERM)


def test_a_chain_as_long_as_allowed_leads_nowhere(guest: Guest, place: Path) -> None:
    os.symlink("../secret", place / "root" / "c0")
    for number in range(1, 50):
        os.symlink(f"c{number - 1}", place / "root" / f"c{number}")
    assert {opened(guest, f"c{number}") for number in range(50)} == {Errno.PERM, Errno.LOOP}


def test_a_hard_link_to_a_link_leads_nowhere(guest: Guest) -> None:
    assert linked(guest, "up", "hard") is OK
    assert opened(guest, "hard") is Errno.PERM


@pytest.mark.parametrize("link", ["up", "updir", "absolute", "dangling"])
def test_hard_links_do_not_follow(guest: Guest, link: str) -> None:
    assert linked(guest, link, "hard", follow=FOLLOW) in (Errno.INVAL, Errno.PERM)


def test_directories_get_no_hard_links(guest: Guest) -> None:
    assert linked(guest, "dir", "hard") is Errno.PERM
    assert linked(guest, ".", "hard") in REFUSED


def test_opened_directories_are_borders_as_well(guest: Guest) -> None:
    inner = guest.open("dir/sub", READ, DIRECTORY)
    assert opened(guest, "../a", fd=inner) is Errno.PERM
    assert opened(guest, "../..", READ, DIRECTORY, fd=inner) is Errno.PERM
    assert opened(guest, "chain4", fd=inner) is Errno.PERM
    assert renamed(guest, "../a", "stolen", fd=inner, to_fd=inner) is Errno.PERM


def test_a_directory_moved_out_by_the_host_is_no_way_up(guest: Guest, place: Path) -> None:
    inner = guest.open("dir/sub", READ, DIRECTORY)
    os.rename(place / "root" / "dir" / "sub", place / "root" / "moved")
    assert opened(guest, "../secret", fd=inner) is Errno.PERM
    os.rename(place / "root" / "moved", place / "moved")
    try:
        assert opened(guest, "../secret", fd=inner) is Errno.PERM
        assert opened(guest, "..", READ, DIRECTORY, fd=inner) is Errno.PERM
        assert stat(guest, "../outside/file", fd=inner) is Errno.PERM
    finally:
        os.rename(place / "moved", place / "root" / "moved")


def test_dot_dot_is_not_the_host_s_parent(guest: Guest, place: Path) -> None:
    """fd_readdir gives an entry "..", but not the parent's inode number."""
    buffer, used = guest.allocate(4096), guest.allocate(4)
    assert guest.call("fd_readdir", ROOT, buffer, 4096, 0, used) is OK
    data = bytes(guest.bytes[buffer : buffer + guest.u32(used)])
    inodes, at = {}, 0
    while at + 24 <= len(data):
        _, inode, size, _ = struct.unpack_from("<QQIB", data, at)
        inodes[data[at + 24 : at + 24 + size]] = inode
        at += 24 + size
    assert inodes[b".."] != place.stat().st_ino


@pytest.mark.parametrize("over", [ROOT, READ_ONLY, 0, 1])
def test_renumbering_a_directory_keeps_its_border(guest: Guest, over: int) -> None:
    inner = guest.open("dir", READ, DIRECTORY)
    assert guest.call("fd_renumber", inner, over) is OK
    assert opened(guest, "../file", fd=over) is Errno.PERM
    assert opened(guest, "../../secret", fd=over) is Errno.PERM
    assert opened(guest, "a", fd=inner) is Errno.BADF


def test_renumbering_does_not_lend_rights(guest: Guest) -> None:
    """The read-only directory stays so under the number of the other."""
    assert guest.call("fd_renumber", READ_ONLY, ROOT) is OK
    assert opened(guest, "file", BOTH) is Errno.PERM
    assert guest.path("path_unlink_file", "file") is Errno.PERM
    assert guest.path("path_create_directory", "new") is Errno.PERM


def test_renumbering_a_file_over_a_directory(guest: Guest) -> None:
    file = guest.open("file", READ)
    assert guest.call("fd_renumber", file, ROOT) is OK
    assert opened(guest, "file") in (Errno.NOTDIR, Errno.BADF)
    assert opened(guest, "../secret") in (Errno.NOTDIR, Errno.BADF)


def test_renumbering_from_and_to_what_is_not_open(guest: Guest, place: Path) -> None:
    host_fd = os.open(place / "secret", os.O_RDONLY)
    try:
        for number in (host_fd, 0x7FFF_FFFF, -1, 99):
            number = number if number not in (0, 1, 2, 3, 4) else 99
            assert guest.call("fd_renumber", number & 0xFFFF_FFFF, ROOT) is Errno.BADF
            assert guest.call("fd_renumber", ROOT, number & 0xFFFF_FFFF) is Errno.BADF
    finally:
        os.close(host_fd)
    assert opened(guest, "file") is OK


def test_a_closed_preopen_is_gone(guest: Guest) -> None:
    assert guest.call("fd_close", ROOT) is OK
    assert opened(guest, "file") is Errno.BADF
    assert guest.open("file", READ, fd=READ_ONLY) == ROOT  # the number is given again, to a file
    assert opened(guest, "../secret") is Errno.NOTDIR
    assert guest.call("fd_prestat_get", ROOT, guest.allocate(8)) is Errno.BADF


def test_numbers_of_the_host_are_not_the_guest_s(guest: Guest, place: Path) -> None:
    """A file open in the host process cannot be used by its number there."""
    host_fds = [os.open(place / "secret", os.O_RDWR) for _ in range(20)]
    try:
        for number in (number for number in host_fds if number > READ_ONLY):
            vector = guest.put(struct.pack("<II", guest.allocate(64), 64))
            for name in ("fd_read", "fd_write"):
                assert guest.call(name, number, vector, 1, guest.allocate(4)) is Errno.BADF
            assert guest.call("fd_filestat_set_size", number, 0) is Errno.BADF
            assert guest.call("fd_close", number) is Errno.BADF
            assert opened(guest, "secret", fd=number) is Errno.BADF
    finally:
        for host_fd in host_fds:
            os.close(host_fd)


@pytest.mark.parametrize("name", ["root/etc/passwd", "cwd", "exe", "fd/0", "fd/3", "root", "cwd/secret"])
def test_magic_links_are_not_followed(make_guest: Callable[..., Guest], name: str) -> None:
    """Even where /proc/self itself was given."""
    guest = make_guest(root=Path("/proc/self"))
    for oflags in (0, DIRECTORY):
        assert opened(guest, name, READ, oflags) in REFUSED
    assert stat(guest, name) in REFUSED
    assert read_link(guest, name.split("/")[0]) in REFUSED | {OK}


@pytest.mark.parametrize("directory", ["/dev/fd", "/proc/self/fd"])
def test_descriptors_given_as_files_are_not_opened(
    make_guest: Callable[..., Guest], place: Path, directory: str
) -> None:
    host_fd = os.open(place / "secret", os.O_RDWR)
    try:
        guest = make_guest(root=Path(directory))
        assert opened(guest, str(host_fd)) in REFUSED
        assert opened(guest, str(host_fd), WRITE, TRUNC) in REFUSED
        assert not guest.has(SECRET)
    finally:
        os.close(host_fd)
    assert (place / "secret").read_bytes() == SECRET


# The read-only directory.
CHANGES: dict[str, Callable[[Guest], Errno]] = {
    "write": lambda guest: opened(guest, "file", BOTH, fd=READ_ONLY),
    "write only": lambda guest: opened(guest, "file", WRITE, fd=READ_ONLY),
    "create": lambda guest: opened(guest, "new", READ, CREAT, fd=READ_ONLY),
    "create exclusively": lambda guest: opened(guest, "new", READ, CREAT | EXCL, fd=READ_ONLY),
    "truncate to read": lambda guest: opened(guest, "file", READ, TRUNC, fd=READ_ONLY),
    "mkdir": lambda guest: guest.path("path_create_directory", "new", fd=READ_ONLY),
    "rmdir": lambda guest: guest.path("path_remove_directory", "dir/sub", fd=READ_ONLY),
    "unlink": lambda guest: guest.path("path_unlink_file", "file", fd=READ_ONLY),
    "unlink a link": lambda guest: guest.path("path_unlink_file", "dir/to root", fd=READ_ONLY),
    "rename": lambda guest: renamed(guest, "file", "new", READ_ONLY, READ_ONLY),
    "rename into": lambda guest: renamed(guest, "file", "new", ROOT, READ_ONLY),
    "rename over": lambda guest: renamed(guest, "file", "file", ROOT, READ_ONLY),
    "rename out of": lambda guest: renamed(guest, "file", "new", READ_ONLY, ROOT),
    "link into": lambda guest: linked(guest, "file", "new", ROOT, READ_ONLY),
    "link out of": lambda guest: linked(guest, "file", "new", READ_ONLY, ROOT),
    "symlink": lambda guest: symlinked(guest, "file", "new", READ_ONLY),
    "times": lambda guest: set_times(guest, "file", fd=READ_ONLY),
    "times of a link": lambda guest: set_times(guest, "dir/to root", follow=0, fd=READ_ONLY),
    "times of itself": lambda guest: guest.call("fd_filestat_set_times", READ_ONLY, 1, 1, 1 | 4),
    "through a link to the other": lambda guest: opened(guest, "dir/to root", BOTH, fd=READ_ONLY),
    "below": lambda guest: opened(guest, "a", BOTH, fd=guest.open("dir", READ, DIRECTORY, fd=READ_ONLY)),
    "unlink below": lambda guest: guest.path(
        "path_unlink_file", "a", fd=guest.open("dir", READ, DIRECTORY, fd=READ_ONLY)
    ),
}
CHANGES_OF_A_FILE: dict[str, Callable[[Guest, int], Errno]] = {
    "write": lambda guest, fd: guest.call("fd_write", fd, guest.put(bytes(8)), 1, guest.allocate(4)),
    "pwrite": lambda guest, fd: guest.call("fd_pwrite", fd, guest.put(bytes(8)), 1, 0, guest.allocate(4)),
    "size": lambda guest, fd: guest.call("fd_filestat_set_size", fd, 0),
    "allocate": lambda guest, fd: guest.call("fd_allocate", fd, 0, 100),
    "times": lambda guest, fd: guest.call("fd_filestat_set_times", fd, 1, 1, 1 | 4),
    "rights": lambda guest, fd: guest.call("fd_fdstat_set_rights", fd, BOTH, BOTH),
}


@pytest.mark.part(2)
@pytest.mark.parametrize("change", CHANGES)
def test_a_read_only_directory_stays_as_it_is(guest: Guest, place: Path, change: str) -> None:
    before = fingerprint(place, but=())
    assert CHANGES[change](guest) is Errno.PERM
    assert fingerprint(place, but=()) == before


@pytest.mark.parametrize("change", CHANGES_OF_A_FILE)
def test_a_read_only_file_stays_as_it_is(guest: Guest, place: Path, change: str) -> None:
    before = fingerprint(place, but=())
    file = guest.open("file", READ, fd=READ_ONLY)
    assert CHANGES_OF_A_FILE[change](guest, file) in {Errno.PERM, Errno.BADF, Errno.INVAL, Errno.NOTCAPABLE}
    assert fingerprint(place, but=()) == before


@pytest.mark.parametrize("length", [1, 16, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_paths_outside_the_memory_are_not_read(guest: Guest, length: int) -> None:
    address = len(guest.bytes) - min(length, 17) + 1
    for name, before, rest in (
        ("path_open", (FOLLOW,), (CREAT, WRITE, 0, 0, 512)),
        ("path_create_directory", (), ()),
        ("path_unlink_file", (), ()),
        ("path_filestat_get", (FOLLOW,), (512,)),
    ):
        assert guest.call(name, ROOT, *before, address, length, *rest) is Errno.FAULT


def test_a_descriptor_that_cannot_be_told_is_not_kept(guest: Guest) -> None:
    """path_open's result pointer is outside the memory: nothing stays open."""
    for _ in range(3):
        path = guest.put(b"file")
        assert guest.call("path_open", ROOT, FOLLOW, path, 4, 0, READ, 0, 0, len(guest.bytes) - 2) is Errno.FAULT
    assert guest.open("file") == FIRST_FREE


def test_nothing_is_given_unasked(make_guest: Callable[..., Guest], monkeypatch: pytest.MonkeyPatch) -> None:
    """No argument, variable, directory or stream of the host's."""
    monkeypatch.setenv("WASMJIT_SECRET", "the secret outside")
    guest = make_guest(WasiConfig())
    count, size = guest.allocate(4), guest.allocate(4)
    for name in ("args_sizes_get", "environ_sizes_get"):
        assert guest.call(name, count, size) is OK
        assert (guest.u32(count), guest.u32(size)) == (0, 0)
    for number in range(3, 50):
        assert guest.call("fd_fdstat_get", number, guest.allocate(24)) is Errno.BADF
    assert guest.read(0, 16) == b""
    assert opened(guest, "file") is Errno.BADF


# Somebody else changes the tree meanwhile: each step of the cycle is made in turn, over and over.
def _swap_with_link(root: Path) -> None:
    os.rename(root / "swap", root / "kept")
    os.symlink("../outside", root / "swap")
    os.unlink(root / "swap")
    os.rename(root / "kept", root / "swap")


def _swap_file_with_link(root: Path) -> None:
    os.symlink("../../outside/file", root / "swap" / "new")
    os.replace(root / "swap" / "new", root / "swap" / "file")
    (root / "swap" / "new").write_bytes(b"inner")
    os.replace(root / "swap" / "new", root / "swap" / "file")


def _move_up_and_down(root: Path) -> None:
    os.rename(root / "swap" / "deep", root / "deep")
    os.rename(root / "deep", root / "swap" / "deep")


RACERS = {"a directory and a link": _swap_with_link, "a file and a link": _swap_file_with_link,
          "a directory's place": _move_up_and_down}  # fmt: skip
RACED: dict[str, Callable[[Guest], Errno]] = {
    "open": lambda guest: opened(guest, "swap/file"),
    "truncate": lambda guest: opened(guest, "swap/file", WRITE, TRUNC),
    "create": lambda guest: opened(guest, "swap/made", WRITE, CREAT),
    "stat": lambda guest: stat(guest, "swap/file"),
    "times": lambda guest: set_times(guest, "swap/file"),
    "mkdir": lambda guest: guest.path("path_create_directory", "swap/madedir"),
    "unlink": lambda guest: guest.path("path_unlink_file", "swap/made"),
    "rmdir": lambda guest: guest.path("path_remove_directory", "swap/empty"),
    "rename out": lambda guest: renamed(guest, "file", "swap/renamed"),
    "rename in": lambda guest: renamed(guest, "swap/file", "stolen"),
    "link": lambda guest: linked(guest, "file", "swap/linked"),
    "symlink": lambda guest: symlinked(guest, "x", "swap/symlinked"),
    "dot dot": lambda guest: opened(guest, "swap/deep/../../../secret"),
    "dot dot inside": lambda guest: opened(guest, "swap/deep/../../file"),
}


# What calls preview 1 is run twice (conftest.py), and with each resolver: all together race for a tenth of a second, or
# for as long as MIN_ROUNDS take.
@pytest.mark.part(3)
@pytest.mark.parametrize("seconds", [0.025, pytest.param(0.5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("racer", RACERS)
@pytest.mark.parametrize("operation", RACED)
def test_no_race_is_won(guest: Guest, place: Path, racer: str, operation: str, seconds: float) -> None:
    root = place / "root"
    (root / "swap" / "deep").mkdir(parents=True)
    (root / "swap" / "file").write_bytes(b"inner")
    stop = threading.Event()
    rounds: list[None] = []
    failures: list[OSError] = []

    def race() -> None:
        try:
            while not stop.is_set():
                RACERS[racer](root)
                rounds.append(None)
        except OSError as error:  # then nothing would be tested
            failures.append(error)

    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=race)
    thread.start()
    deadline = time.monotonic() + seconds
    codes, first_free = set(), guest._next
    try:
        while not failures and (time.monotonic() < deadline or len(rounds) < MIN_ROUNDS):
            guest._next = first_free
            codes.add(RACED[operation](guest))
            assert not guest.has(SECRET)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(switch_interval)
    assert not failures
    assert codes <= REFUSED | {OK}
    if operation == "dot dot":
        assert OK not in codes
