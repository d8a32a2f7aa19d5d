"""Path resolution and what descriptors do: nothing outside a preopened directory can be reached or seen."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wasmjit.wasi.constants import Errno, WasiError, errno_from_host
from wasmjit.wasi.descriptors import READ_ONLY, READ_WRITE, DescriptorTable
from wasmjit.wasi.files import HostDirectory
from wasmjit.wasi.sandbox import MAX_SYMLINKS, openat2

CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8


@pytest.fixture(params=["openat2", "walk"])
def directory(sandbox: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> HostDirectory:
    """The sandbox, resolved by the kernel where it can, and component by component by us."""
    if request.param == "walk":
        monkeypatch.setattr(openat2, "works", False)
    elif not openat2.works:
        pytest.skip("the kernel has no openat2, or forbids it")
    return HostDirectory(os.open(sandbox, os.O_RDONLY | os.O_DIRECTORY), access=READ_WRITE)


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file outside the sandbox: name -> contents."""
    return {str(p): p.read_bytes() for p in root.parent.rglob("*") if p.is_file() and root not in p.parents}


def read(directory: HostDirectory, path: bytes, follow: bool = True) -> bytes:
    opened = directory.open(path, follow, 0, True, False, 0)
    buffer = bytearray(100)
    try:
        return bytes(buffer[: opened.read([memoryview(buffer)])])
    finally:
        opened.close()


def code_of(operation: Callable[[], object]) -> Errno:
    """The WASI error an operation fails with; SUCCESS if it does not fail."""
    try:
        operation()
    except WasiError as error:
        return error.code
    except OSError as error:
        return errno_from_host(error.errno)
    return Errno.SUCCESS


@pytest.mark.parametrize(
    ("path", "contents"),
    [
        (b"file", b"hello world"),
        (b"./file", b"hello world"),
        (b"dir/../file", b"hello world"),
        (b"dir//./a", b"aaa"),
        (b"dir/sub/../../dir/a", b"aaa"),
        (b"link", b"hello world"),
        (b"dlink/a", b"aaa"),
        (b"dir/parent/dlink/parent/link", b"hello world"),
        (b"dlink/sub/../a", b"aaa"),
    ],
)
def test_paths_inside(directory: HostDirectory, path: bytes, contents: bytes) -> None:
    assert read(directory, path) == contents


ESCAPES = [
    b"/etc/passwd", b"//etc/passwd", b"/", b"..", b"../", b"../secret", b"../root/file", b"dir/../../secret",
    b"dir/sub/../../../secret", b"./../secret", b"abs", b"up", b"updir/file", b"updir", b"dir/up2", b"dir/twice",
    b"rootlink/etc/passwd", b"rootlink", b"absdir/file", b"absdir/..", b"inside", b"dlink/../../secret",
    b"dir/parent/dir/parent/../secret", b"dir/parent/../secret", b"dlink/parent/up",
]  # fmt: skip


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leads_outside(directory: HostDirectory, sandbox: Path, path: bytes) -> None:
    before = snapshot(sandbox)
    operations: dict[str, Callable[[], object]] = {
        "read": lambda: read(directory, path),
        "write": lambda: directory.open(path, True, CREAT | TRUNC, False, True, 0),
        "opendir": lambda: directory.open(path, True, DIRECTORY, True, False, 0),
        "stat": lambda: directory.stat_path(path, True),
        "mkdir": lambda: directory.create_directory(path + b"/new"),
        "unlink": lambda: directory.unlink_file(path + b"/file"),
        "rmdir": lambda: directory.remove_directory(path + b"/outside"),
        "rename from": lambda: directory.rename(path + b"/file", directory, b"stolen"),
        "rename to": lambda: directory.rename(b"file", directory, path + b"/file"),
        "link from": lambda: directory.link(path + b"/file", directory, b"stolen"),
        "link to": lambda: directory.link(b"file", directory, path + b"/new"),
        "symlink": lambda: directory.symlink(b"x", path + b"/new"),
        "readlink": lambda: directory.read_link(path + b"/file"),
        "times": lambda: directory.set_times_path(path, True, lambda status: (1, 1)),
    }
    codes = {name: code_of(operation) for name, operation in operations.items()}
    assert codes == dict.fromkeys(operations, Errno.PERM)
    assert snapshot(sandbox) == before
    assert (sandbox / "file").exists() and not (sandbox / "stolen").exists()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"", Errno.NOENT),
        (b"nothing", Errno.NOENT),
        (b"nothing/x", Errno.NOENT),
        (b"dangling", Errno.NOENT),
        (b"file/x", Errno.NOTDIR),
        (b"file/", Errno.NOTDIR),
        (b"file/.", Errno.NOTDIR),
        (b"file/..", Errno.NOTDIR),
        (b"link/", Errno.NOTDIR),
        (b"loop1", Errno.LOOP),
        (b"loop1/x", Errno.LOOP),
        (b"self", Errno.LOOP),
        (b"a\0b", Errno.INVAL),
        (b"x" * 300, Errno.NAMETOOLONG),
        (b"./" * 40_000, Errno.NAMETOOLONG),
        (b"dir/parent/" * 200 + b"file", Errno.LOOP),
    ],
)
def test_errors_of_resolution(directory: HostDirectory, path: bytes, code: Errno) -> None:
    assert code_of(lambda: read(directory, path)) is code


def test_symlinks_are_followed_only_so_far(directory: HostDirectory, sandbox: Path) -> None:
    for number in range(MAX_SYMLINKS + 1):
        os.symlink("file" if number == 0 else f"chain{number - 1}", sandbox / f"chain{number}")
    assert read(directory, f"chain{MAX_SYMLINKS - 1}".encode()) == b"hello world"
    assert code_of(lambda: read(directory, f"chain{MAX_SYMLINKS}".encode())) is Errno.LOOP


def test_deep_paths_do_not_use_up_host_descriptors(directory: HostDirectory, sandbox: Path) -> None:
    open_before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    path = sandbox
    for _ in range(300):
        path = path / "d"
        path.mkdir()
    assert code_of(lambda: directory.stat_path(b"d/" * 200, True)) is Errno.SUCCESS
    code = Errno.NOENT if openat2.works else Errno.NAMETOOLONG
    assert code_of(lambda: directory.stat_path(b"d/" * 300 + b"x", True)) is code
    if open_before:
        assert len(os.listdir("/proc/self/fd")) == open_before


def test_the_last_link_is_followed_only_on_request(directory: HostDirectory) -> None:
    assert code_of(lambda: read(directory, b"link", follow=False)) is Errno.LOOP
    assert code_of(lambda: read(directory, b"abs", follow=False)) is Errno.LOOP
    assert directory.stat_path(b"up", False).file_type.name == "SYMBOLIC_LINK"
    assert directory.read_link(b"up") == b"../secret"
    assert code_of(lambda: directory.read_link(b"abs")) is Errno.PERM
    assert directory.stat_path(b"dlink/", False).file_type.name == "DIRECTORY"


def test_links_can_be_renamed_and_removed_without_touching_their_target(
    directory: HostDirectory, sandbox: Path
) -> None:
    directory.rename(b"up", directory, b"dir/moved")
    assert os.readlink(sandbox / "dir" / "moved") == "../secret"
    directory.unlink_file(b"dir/moved")
    directory.unlink_file(b"updir")
    assert code_of(lambda: directory.unlink_file(b"absdir/")) is Errno.PERM
    assert (sandbox.parent / "secret").read_text() == "secret" and (sandbox.parent / "outside" / "file").exists()


def test_creation_through_a_dangling_link_stays_inside(directory: HostDirectory, sandbox: Path) -> None:
    directory.open(b"dangling", True, CREAT, False, True, 0).close()
    assert (sandbox / "nowhere").read_bytes() == b""
    os.symlink("../created", sandbox / "evil")
    os.symlink("/tmp/created-by-wasmjit-test", sandbox / "evil2")
    for path in (b"evil", b"evil2"):
        assert code_of(lambda path=path: directory.open(path, True, CREAT, False, True, 0)) is Errno.PERM
        assert code_of(lambda path=path: directory.open(path, True, CREAT | EXCL, False, True, 0)) is Errno.EXIST
    assert not (sandbox.parent / "created").exists() and not Path("/tmp/created-by-wasmjit-test").exists()


def test_symlinks_made_by_the_guest_are_no_way_out(directory: HostDirectory) -> None:
    assert code_of(lambda: directory.symlink(b"/etc", b"s")) is Errno.PERM
    directory.symlink(b"../..", b"s")
    directory.symlink(b"s/secret", b"t")
    assert code_of(lambda: read(directory, b"s/secret")) is Errno.PERM
    assert code_of(lambda: read(directory, b"t")) is Errno.PERM


def test_rename_across_preopened_directories(directory: HostDirectory, sandbox: Path, tmp_path: Path) -> None:
    other_path = tmp_path / "other"
    other_path.mkdir()
    other = HostDirectory(os.open(other_path, os.O_RDONLY), access=READ_WRITE)
    read_only = HostDirectory(os.open(other_path, os.O_RDONLY), access=READ_ONLY)
    for target in (b"../x", b"/x", b"x/../../x"):
        assert code_of(lambda target=target: directory.rename(b"file", other, target)) in (Errno.PERM, Errno.NOENT)
    assert code_of(lambda: directory.rename(b"file", read_only, b"x")) is Errno.PERM
    assert code_of(lambda: read_only.rename(b"x", directory, b"y")) is Errno.PERM
    directory.rename(b"file", other, b"x")
    assert (other_path / "x").read_text() == "hello world" and not (sandbox / "file").exists()
    for opened in (other, read_only):
        opened.close()


def test_a_directory_moved_away_while_open_does_not_open_the_way_up(directory: HostDirectory, sandbox: Path) -> None:
    sub = directory.open(b"dir/sub", True, DIRECTORY, True, False, 0)
    assert isinstance(sub, HostDirectory)
    os.rename(sandbox / "dir" / "sub", sandbox.parent / "moved")
    assert code_of(lambda: read(sub, b"../secret")) is Errno.PERM
    sub.close()


def test_swapping_links_during_resolution_never_leads_outside(directory: HostDirectory, sandbox: Path) -> None:
    """Another process alternates ``swap`` between a directory and a link out: reads give the inner file or an error."""
    (sandbox / "real").mkdir()
    (sandbox / "real" / "file").write_text("inner")
    os.symlink("../outside", sandbox / "out")
    (sandbox / "swap").mkdir()
    (sandbox / "swap" / "file").write_text("inner")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(sandbox / "swap", sandbox / "kept")
            os.symlink("../outside", sandbox / "swap")
            os.unlink(sandbox / "swap")
            os.rename(sandbox / "kept", sandbox / "swap")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    deadline = time.monotonic() + 0.3
    try:
        while time.monotonic() < deadline:
            try:
                seen.add(read(directory, b"swap/file"))
            except (OSError, WasiError) as error:
                seen.add(type(error).__name__.encode())
    finally:
        stop.set()
        thread.join()
    assert b"inner" in seen
    assert b"outside" not in seen


def test_a_read_only_directory_cannot_be_changed(sandbox: Path) -> None:
    directory = HostDirectory(os.open(sandbox, os.O_RDONLY), access=READ_ONLY)
    before = sorted(str(p) for p in sandbox.rglob("*"))
    operations: list[Callable[[], object]] = [
        lambda: directory.open(b"new", True, CREAT, True, False, 0),
        lambda: directory.open(b"file", True, 0, False, True, 0),
        lambda: directory.open(b"file", True, TRUNC, True, False, 0),
        lambda: directory.create_directory(b"new"),
        lambda: directory.unlink_file(b"file"),
        lambda: directory.remove_directory(b"dir/sub"),
        lambda: directory.rename(b"file", directory, b"new"),
        lambda: directory.link(b"file", directory, b"new"),
        lambda: directory.symlink(b"file", b"new"),
        lambda: directory.set_times_path(b"file", True, lambda status: (1, 1)),
        lambda: directory.set_times(lambda status: (1, 1)),
        lambda: directory.open(b"file", True, 0, True, False, 0).set_times(lambda status: (1, 1)),
    ]
    assert [code_of(operation) for operation in operations] == [Errno.PERM] * len(operations)
    sub = directory.open(b"dir", True, DIRECTORY, True, False, 0)
    assert isinstance(sub, HostDirectory)
    assert code_of(lambda: sub.unlink_file(b"a")) is Errno.PERM
    assert read(directory, b"file") == b"hello world" == (sandbox / "file").read_bytes()
    assert sorted(str(p) for p in sandbox.rglob("*")) == before
    assert os.stat(sandbox / "file").st_mtime_ns == 10**18


@pytest.mark.parametrize(
    ("path", "oflags", "writable", "code"),
    [
        (b"dir", DIRECTORY | CREAT, False, Errno.INVAL),
        (b"file", DIRECTORY, False, Errno.NOTDIR),
        (b"dir", 0, True, Errno.ISDIR),
        (b"dir", CREAT, True, Errno.ISDIR),
        (b"file", CREAT | EXCL, True, Errno.EXIST),
        (b"link", CREAT | EXCL, True, Errno.EXIST),
        (b"new/", CREAT, True, Errno.ISDIR),
        (b"no/new", CREAT, True, Errno.NOENT),
    ],
)
def test_refused_ways_to_open(directory: HostDirectory, path: bytes, oflags: int, writable: bool, code: Errno) -> None:
    assert code_of(lambda: directory.open(path, True, oflags, not writable, writable, 0)) is code


def test_directories_are_made_moved_and_removed(directory: HostDirectory, sandbox: Path) -> None:
    directory.create_directory(b"new/")
    assert code_of(lambda: directory.create_directory(b"new")) is Errno.EXIST
    assert code_of(lambda: directory.create_directory(b".")) is Errno.EXIST
    assert code_of(lambda: directory.create_directory(b"x/.")) is Errno.NOENT
    assert code_of(lambda: directory.unlink_file(b"new")) in (Errno.ISDIR, Errno.PERM)
    assert code_of(lambda: directory.remove_directory(b"dir")) is Errno.NOTEMPTY
    assert code_of(lambda: directory.remove_directory(b"file")) is Errno.NOTDIR
    assert code_of(lambda: directory.remove_directory(b"new/.")) is Errno.INVAL
    assert code_of(lambda: directory.remove_directory(b".")) is Errno.INVAL
    assert code_of(lambda: directory.rename(b"file", directory, b"new2/")) is Errno.NOTDIR
    assert code_of(lambda: directory.rename(b".", directory, b"x")) is Errno.BUSY
    assert code_of(lambda: directory.rename(b"dir", directory, b"dir/sub/x")) is Errno.INVAL
    directory.rename(b"new/", directory, b"newer/")
    directory.remove_directory(b"newer/")
    assert not (sandbox / "newer").exists()


def test_descriptor_numbers_are_the_lowest_free(sandbox: Path) -> None:
    def opened() -> HostDirectory:
        return HostDirectory(os.open(sandbox, os.O_RDONLY), access=READ_ONLY)

    table = DescriptorTable([opened(), opened()])
    assert [table.add(opened()) for _ in range(3)] == [2, 3, 4]
    table.close(1)
    table.close(3)
    assert [table.add(opened()) for _ in range(3)] == [1, 3, 5]
    table.renumber(5, 2)
    assert table.add(opened()) == 5
    for number, to_number in ((77, 1), (1, 77)):
        assert code_of(lambda a=number, b=to_number: table.renumber(a, b)) is Errno.BADF
    table.renumber(1, 1)
    assert code_of(lambda: table.close(77)) is Errno.BADF
    host_fds = [table.directory(number).host_fd for number in range(6)]
    table.close_all()
    for host_fd in host_fds:
        with pytest.raises(OSError):
            os.fstat(host_fd)
    assert table.add(opened()) == 0
    table.close_all()
