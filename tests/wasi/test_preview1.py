"""The functions of preview 1, called with pointers into a memory as a guest does."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wasmjit.runtime.trap import ExitTrap
from wasmjit.wasi.config import WasiConfig
from wasmjit.wasi.constants import Errno, errno_from_host
from wasmjit.wasi.preview1 import FUNCTIONS

if TYPE_CHECKING:
    from tests.wasi.conftest import Guest

    MakeGuest = Callable[..., Guest]

READ, WRITE = 1 << 1, 1 << 6
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
APPEND = 1
OUTSIDE = 0xFFFF_FFF0


def test_every_function_of_preview_1_is_there() -> None:
    """Names and parameter counts of wasi_snapshot_preview1.witx, lowered to core types."""
    assert {name: (f.params, f.results) for name, f in FUNCTIONS.items()} == {
        "args_get": ("ii", "i"),
        "args_sizes_get": ("ii", "i"),
        "environ_get": ("ii", "i"),
        "environ_sizes_get": ("ii", "i"),
        "clock_res_get": ("ii", "i"),
        "clock_time_get": ("iIi", "i"),
        "fd_advise": ("iIIi", "i"),
        "fd_allocate": ("iII", "i"),
        "fd_close": ("i", "i"),
        "fd_datasync": ("i", "i"),
        "fd_fdstat_get": ("ii", "i"),
        "fd_fdstat_set_flags": ("ii", "i"),
        "fd_fdstat_set_rights": ("iII", "i"),
        "fd_filestat_get": ("ii", "i"),
        "fd_filestat_set_size": ("iI", "i"),
        "fd_filestat_set_times": ("iIIi", "i"),
        "fd_pread": ("iiiIi", "i"),
        "fd_prestat_get": ("ii", "i"),
        "fd_prestat_dir_name": ("iii", "i"),
        "fd_pwrite": ("iiiIi", "i"),
        "fd_read": ("iiii", "i"),
        "fd_readdir": ("iiiIi", "i"),
        "fd_renumber": ("ii", "i"),
        "fd_seek": ("iIii", "i"),
        "fd_sync": ("i", "i"),
        "fd_tell": ("ii", "i"),
        "fd_write": ("iiii", "i"),
        "path_create_directory": ("iii", "i"),
        "path_filestat_get": ("iiiii", "i"),
        "path_filestat_set_times": ("iiiiIIi", "i"),
        "path_link": ("iiiiiii", "i"),
        "path_open": ("iiiiiIIii", "i"),
        "path_readlink": ("iiiiii", "i"),
        "path_remove_directory": ("iii", "i"),
        "path_rename": ("iiiiii", "i"),
        "path_symlink": ("iiiii", "i"),
        "path_unlink_file": ("iii", "i"),
        "poll_oneoff": ("iiii", "i"),
        "proc_exit": ("i", ""),
        "proc_raise": ("i", "i"),
        "random_get": ("ii", "i"),
        "sched_yield": ("", "i"),
        "sock_accept": ("iii", "i"),
        "sock_recv": ("iiiiii", "i"),
        "sock_send": ("iiiii", "i"),
        "sock_shutdown": ("ii", "i"),
    }


@pytest.mark.parametrize(("stem", "strings"), [("args", [b"prog", b"", "ä".encode()]), ("environ", [b"A=1", b"B=x=y"])])
def test_strings(make_guest: MakeGuest, stem: str, strings: list[bytes]) -> None:
    guest = make_guest(argv=["prog", "", "ä"], env={"A": "1", "B": "x=y"})
    count, size = guest.allocate(4), guest.allocate(4)
    assert guest.call(f"{stem}_sizes_get", count, size) == 0
    assert (guest.u32(count), guest.u32(size)) == (len(strings), sum(len(s) + 1 for s in strings))
    pointers, buffer = guest.allocate(4 * len(strings)), guest.allocate(guest.u32(size))
    assert guest.call(f"{stem}_get", pointers, buffer) == 0
    for index, string in enumerate(strings):
        address = guest.u32(pointers + 4 * index)
        assert bytes(guest.bytes[address : address + len(string) + 1]) == string + b"\0"
    assert guest.call(f"{stem}_get", OUTSIDE, buffer) is Errno.FAULT
    assert guest.call(f"{stem}_get", pointers, len(guest.bytes) - 2) is Errno.FAULT


def test_clocks(guest: Guest) -> None:
    now = guest.allocate(8)
    for clock, reference in (
        (0, time.time_ns),
        (1, time.monotonic_ns),
        (2, time.process_time_ns),
        (3, time.thread_time_ns),
    ):
        before = reference()
        assert guest.call("clock_time_get", clock, 0, now) == 0
        assert before <= guest.u64(now) <= reference()
        assert guest.call("clock_res_get", clock, now) == 0
        assert 1 <= guest.u64(now) <= 10**9
    assert guest.call("clock_time_get", 4, 0, now) is Errno.INVAL
    assert guest.call("clock_res_get", -1, now) is Errno.INVAL
    assert guest.call("clock_time_get", 0, 0, OUTSIDE) is Errno.FAULT


def test_random(guest: Guest) -> None:
    buffer = guest.allocate(70_000)
    assert guest.call("random_get", buffer, 70_000) == 0
    data = bytes(guest.bytes[buffer : buffer + 70_000])
    assert len(set(data)) == 256 and data[:64] != data[-64:] and any(data[65_536:])
    assert guest.call("random_get", buffer, 0xFFFF_FFFF) is Errno.FAULT
    assert guest.call("random_get", 0, 0) == 0


@pytest.mark.parametrize(("value", "code"), [(0, 0), (3, 3), (255, 255), (-1, -1), (0x8000_0000, -(1 << 31))])
def test_exit(guest: Guest, value: int, code: int) -> None:
    with pytest.raises(ExitTrap) as caught:
        guest.call("proc_exit", value)
    assert caught.value.code == code


def test_streams_of_python_objects(make_guest: MakeGuest) -> None:
    output, errors, calls = io.BytesIO(), io.StringIO(), []
    guest = make_guest(stdin=b"some input", stdout=output, stderr=errors)
    assert guest.write(1, b"one ", b"", b"two") == 7
    assert guest.write(2, "ž".encode()[:1]) == 1 and guest.write(2, "ž".encode()[1:] + b"!") == 2
    assert guest.read(0, 4) == b"some" and guest.read(0, 100) == b" input" and guest.read(0, 100) == b""
    assert output.getvalue() == b"one two" and errors.getvalue() == "ž!"
    config = WasiConfig(stdin=io.StringIO("žluť"))
    config.stdout_custom = calls.append
    config.stderr_custom = lambda data: min(len(data), 2)
    guest = make_guest(config)
    assert guest.write(1, b"a", b"b") == 2 and guest.write(2, b"abc") == 2
    assert calls == [b"ab"]
    assert b"".join(iter(lambda: guest.read(0, 1), b"")) == "žluť".encode()
    assert guest.call("fd_write", 0, 0, 0, 0) is Errno.BADF and guest.call("fd_read", 1, 0, 0, 0) is Errno.BADF


def test_an_exception_of_a_stream_comes_through_as_it_is(make_guest: MakeGuest) -> None:
    def refuse(data: bytes) -> None:
        raise ZeroDivisionError("mine")

    config = WasiConfig()
    config.stdout_custom = refuse
    with pytest.raises(ZeroDivisionError, match="mine"):
        make_guest(config).write(1, b"x")
    config.stdout_custom = lambda data: -28  # -ENOSPC, as the wasmtime package has it
    guest = make_guest(config)
    assert guest.call("fd_write", 1, guest.put(struct.pack("<II", 0, 1)), 1, 0) is Errno.NOSPC


def test_without_settings_there_is_nothing(make_guest: MakeGuest) -> None:
    guest = make_guest()
    assert guest.read(0, 10) == b"" and guest.write(1, b"lost") == 4 and guest.write(2, b"lost") == 4
    assert guest.call("fd_prestat_get", 3, 0) is Errno.BADF
    assert guest.call("args_sizes_get", 0, 4) == 0 and guest.u64(0) == 0


def test_files_named_in_the_config(make_guest: MakeGuest, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    config = WasiConfig()
    config.stdin_file = tmp_path / "in"
    config.stdout_file = str(tmp_path / "out")
    config.stderr_file = os.fsencode(tmp_path / "err")
    guest = make_guest(config)
    assert guest.read(0, 100) == b"from a file"
    assert guest.write(1, b"out") == 3 and guest.write(2, b"err") == 3
    assert (tmp_path / "out").read_bytes() == b"out" and (tmp_path / "err").read_bytes() == b"err"
    for code in (guest.call("fd_seek", 0, 0, 0, 0), guest.call("fd_tell", 1, 0), guest.call("fd_pread", 0, 0, 0, 0, 0)):
        assert code is Errno.SPIPE


def test_reading_and_writing_a_file(guest: Guest, sandbox: Path) -> None:
    fd = guest.open("file", READ | WRITE)
    assert guest.read(fd, 5) == b"hello"
    assert guest.write(fd, b"-", b"WO") == 3
    result = guest.allocate(8)
    for offset, whence, position in ((-3, 2, 8), (1, 1, 9), (0, 0, 0), (100, 0, 100), (-100, 1, 0)):
        assert guest.call("fd_seek", fd, offset & (1 << 64) - 1, whence, result) == 0
        assert guest.u64(result) == position
    assert guest.call("fd_seek", fd, -1, 0, result) is Errno.INVAL
    assert guest.call("fd_seek", fd, 0, 3, result) is Errno.INVAL
    assert guest.call("fd_tell", fd, result) == 0 and guest.u64(result) == 0
    buffer = guest.allocate(16)
    vectors = guest.put(struct.pack("<IIII", buffer, 2, buffer + 8, 3))
    assert guest.call("fd_pread", fd, vectors, 2, 4, result) == 0 and guest.u32(result) == 5
    assert bytes(guest.bytes[buffer : buffer + 2]) == b"o-" and bytes(guest.bytes[buffer + 8 : buffer + 11]) == b"WOr"
    assert guest.call("fd_pwrite", fd, guest.put(struct.pack("<II", buffer, 2)), 1, 12, result) == 0
    assert guest.call("fd_pwrite", fd, vectors, 2, -1, result) is Errno.INVAL
    assert (sandbox / "file").read_bytes() == b"hello-WOrld\0o-"
    assert guest.call("fd_filestat_set_size", fd, 3) == 0 and (sandbox / "file").read_bytes() == b"hel"
    assert guest.call("fd_filestat_set_size", fd, -1) is Errno.INVAL
    for name in ("fd_sync", "fd_datasync"):
        assert guest.call(name, fd) == 0
    assert guest.call("fd_close", fd) == 0 and guest.call("fd_close", fd) is Errno.BADF


def test_rights_decide_how_a_file_is_opened(guest: Guest, sandbox: Path) -> None:
    reading, writing = guest.open("file", READ), guest.open("file", WRITE)
    vector = guest.put(struct.pack("<II", guest.allocate(4), 4))
    assert guest.call("fd_write", reading, vector, 1, 0) is Errno.BADF
    assert guest.call("fd_read", writing, vector, 1, 0) is Errno.BADF
    assert guest.call("fd_filestat_set_size", reading, 0) is Errno.INVAL
    assert guest.read(guest.open("file", 0), 5) == b"hello"
    fd = guest.open("file", WRITE, fdflags=APPEND)
    guest.write(fd, b"!")
    fd = guest.open("file", WRITE, oflags=TRUNC)
    assert (sandbox / "file").read_bytes() == b""


def test_flags(guest: Guest) -> None:
    fd, result = guest.open("file", READ | WRITE), guest.allocate(24)

    def flags() -> int:
        assert guest.call("fd_fdstat_get", fd, result) == 0
        return int(struct.unpack_from("<H", guest.bytes, result + 2)[0])

    assert flags() == 0
    assert guest.call("fd_fdstat_set_flags", fd, 5) == 0 and flags() == 5
    assert guest.call("fd_fdstat_set_flags", fd, 0) == 0 and flags() == 0
    assert guest.call("fd_fdstat_set_flags", fd, 16) is Errno.INVAL
    assert guest.call("fd_fdstat_get", fd, OUTSIDE) is Errno.FAULT
    assert guest.call("fd_fdstat_get", 3, result) == 0 and guest.bytes[result] == 3


def test_stat(guest: Guest, sandbox: Path) -> None:
    result = guest.allocate(64)
    assert guest.path("path_filestat_get", "link", result, before=(1,)) == 0
    status = os.stat(sandbox / "file")
    expected = (status.st_dev, status.st_ino, 4, 1, 11, status.st_atime_ns, 10**18, status.st_ctime_ns)
    assert struct.unpack_from("<QQB7xQQQQQ", guest.bytes, result) == expected
    assert guest.call("fd_filestat_get", guest.open("file"), result) == 0
    assert struct.unpack_from("<QQB7xQQ", guest.bytes, result) == expected[:5]
    assert guest.path("path_filestat_get", "link", result, before=(0,)) == 0 and guest.bytes[result + 16] == 7
    assert guest.path("path_filestat_get", "file", OUTSIDE, before=(0,)) is Errno.FAULT
    assert guest.path("path_filestat_get", "nope", result, before=(0,)) is Errno.NOENT
    assert guest.call("fd_filestat_get", 3, result) == 0 and guest.bytes[result + 16] == 3


def test_times(guest: Guest, sandbox: Path) -> None:
    fd = guest.open("file", READ | WRITE)
    assert guest.call("fd_filestat_set_times", fd, 5, 7, 1 | 4) == 0
    status = os.stat(sandbox / "file")
    assert (status.st_atime_ns, status.st_mtime_ns) == (5, 7)
    assert guest.path("path_filestat_set_times", "link", 9, 9, 4, before=(1,)) == 0
    status = os.stat(sandbox / "file")
    assert (status.st_atime_ns, status.st_mtime_ns) == (5, 9)
    before = time.time_ns()
    assert guest.path("path_filestat_set_times", "file", 9, 9, 2 | 8, before=(1,)) == 0
    assert os.stat(sandbox / "file").st_mtime_ns >= before - 10**9
    for flags in (3, 12, 16):
        assert guest.call("fd_filestat_set_times", fd, 5, 7, flags) is Errno.INVAL


def test_readdir(guest: Guest, sandbox: Path) -> None:
    names = {".", ".."} | set(os.listdir(sandbox / "dir"))
    fd = guest.open("dir", oflags=DIRECTORY)
    buffer, used = guest.allocate(4096), guest.allocate(4)

    def entries(size: int, cookie: int) -> list[tuple[str, int, int]]:
        """Complete entries only: name, type, next cookie."""
        assert guest.call("fd_readdir", fd, buffer, size, cookie, used) == 0
        found, at, end = [], buffer, buffer + guest.u32(used)
        while at + 24 <= end:
            following, _, length, file_type = struct.unpack_from("<QQIB", guest.bytes, at)
            if at + 24 + length > end:
                break
            found.append((bytes(guest.bytes[at + 24 : at + 24 + length]).decode(), file_type, following))
            at += 24 + length
        return found

    every = entries(4096, 0)
    assert {name for name, _, _ in every} == names and guest.u32(used) < 4096
    types = {name: file_type for name, file_type, _ in every}
    assert (types["a"], types["sub"], types["up2"], types["."], types[".."]) == (4, 3, 7, 3, 3)
    assert entries(4096, every[-1][2]) == [] and entries(4096, 1 << 60) == []
    one_by_one, cookie = [], 0
    while some := entries(40, cookie):
        one_by_one += some
        cookie = some[-1][2]
    assert one_by_one == every
    entries(10, 0)
    assert guest.u32(used) == 10  # a cut entry fills the buffer
    (sandbox / "dir" / "later").write_text("")
    assert {name for name, _, _ in entries(4096, 0)} == names | {"later"}
    assert guest.call("fd_readdir", guest.open("file"), buffer, 10, 0, used) is Errno.NOTDIR
    assert guest.call("fd_readdir", fd, len(guest.bytes) - 1, 10, 0, used) is Errno.FAULT


def test_preopened_directories(make_guest: MakeGuest, sandbox: Path) -> None:
    config = WasiConfig()
    config.preopen_dir(sandbox, "/data")
    guest = make_guest(config)
    result, name = guest.allocate(8), guest.allocate(8)
    assert guest.call("fd_prestat_get", 3, result) == 0
    assert (guest.bytes[result], guest.u32(result + 4)) == (0, 5)
    assert guest.call("fd_prestat_dir_name", 3, name, 5) == 0 and bytes(guest.bytes[name : name + 6]) == b"/data\0"
    assert guest.call("fd_prestat_dir_name", 3, name, 4) is Errno.NAMETOOLONG
    assert guest.call("fd_prestat_get", 4, result) is Errno.BADF
    fd = guest.open("dir", oflags=DIRECTORY)
    assert guest.call("fd_prestat_get", fd, result) is Errno.BADF
    status = guest.allocate(64)
    assert guest.path("path_filestat_get", "a", status, before=(0,), fd=fd) == 0 and guest.bytes[status + 16] == 4


def test_path_functions(guest: Guest, sandbox: Path) -> None:
    assert guest.path("path_create_directory", "new") == 0 and (sandbox / "new").is_dir()
    target, path = guest.put(b"../file"), guest.put(b"new/s")
    assert guest.call("path_symlink", target, 7, 3, path, 5) == 0 and os.readlink(sandbox / "new" / "s") == "../file"
    assert guest.read(guest.open("new/s"), 5) == b"hello"
    buffer, used = guest.allocate(8), guest.allocate(4)
    assert guest.path("path_readlink", "new/s", buffer, 4, used) == 0
    assert guest.u32(used) == 4 and bytes(guest.bytes[buffer : buffer + 8]) == b"../f\0\0\0\0"
    assert guest.path("path_readlink", "new/s", OUTSIDE, 100, used) is Errno.FAULT
    assert guest.call("path_link", 3, 0, guest.put(b"file"), 4, 3, guest.put(b"new/h"), 5) == 0
    assert os.stat(sandbox / "file").st_nlink == 2
    assert guest.call("path_link", 3, 1, guest.put(b"file"), 4, 3, guest.put(b"new/i"), 5) is Errno.INVAL
    assert guest.call("path_rename", 3, guest.put(b"new/h"), 5, 3, guest.put(b"moved"), 5) == 0
    assert guest.path("path_unlink_file", "moved") == 0 and guest.path("path_unlink_file", "new/s") == 0
    assert guest.path("path_remove_directory", "new") == 0 and not (sandbox / "new").exists()
    assert guest.path("path_create_directory", b"\xff\xfe") is Errno.ILSEQ
    fd = guest.open("file")
    assert guest.path("path_create_directory", "x", fd=fd) is Errno.NOTDIR
    assert guest.path("path_create_directory", "x", fd=1) is Errno.BADF
    assert guest.path("path_create_directory", "x", fd=99) is Errno.BADF
    assert guest.path("path_create_directory", "../x") is Errno.PERM


def test_renumber(guest: Guest) -> None:
    first, second = guest.open("file"), guest.open("dir/a")
    assert guest.call("fd_renumber", second, first) == 0
    assert guest.read(first, 9) == b"aaa" and guest.call("fd_close", second) is Errno.BADF
    assert guest.call("fd_renumber", first, 0) == 0 and guest.open("file") == first


def test_there_are_no_signals(guest: Guest) -> None:
    assert guest.call("proc_raise", 6) is Errno.NOTSUP


@pytest.mark.parametrize("name", ["fd_read", "fd_write", "fd_pread", "fd_pwrite"])
def test_bad_vectors_are_faults_and_move_nothing(guest: Guest, sandbox: Path, name: str) -> None:
    fd = guest.open("file", READ | WRITE)
    end = len(guest.bytes)
    offset = (0,) if name.startswith("fd_p") else ()
    good, result = struct.pack("<II", 0, 4), guest.allocate(4)
    for vector in (
        struct.pack("<II", end - 3, 4), struct.pack("<II", end, 1), struct.pack("<II", 0xFFFF_FFFF, 1),
        struct.pack("<II", 1, 0xFFFF_FFFF), struct.pack("<II", 0xFFFF_FFFF, 0xFFFF_FFFF),
        struct.pack("<II", end + 1, 0),
    ):  # fmt: skip
        assert guest.call(name, fd, guest.put(vector), 1, *offset, result) is Errno.FAULT
        assert guest.call(name, fd, guest.put(good + vector), 2, *offset, result) is Errno.FAULT
    assert guest.call(name, fd, end - 4, 1, *offset, result) is Errno.FAULT
    assert guest.call(name, fd, 0, 0x2000_0000, *offset, result) is Errno.FAULT
    assert guest.call(name, fd, 0xFFFF_FFF8, 1, *offset, result) is Errno.FAULT
    assert guest.call(name, fd, guest.put(good), 1, *offset, end - 3) is Errno.FAULT
    assert (sandbox / "file").read_bytes() == b"hello world"
    assert guest.call("fd_tell", fd, result) == 0 and guest.u32(result) == 0


def test_a_vector_may_end_where_memory_ends(guest: Guest) -> None:
    fd, end = guest.open("file"), len(guest.bytes)
    assert guest.call("fd_read", fd, guest.put(struct.pack("<II", end - 5, 5)), 1, 0) == 0
    assert bytes(guest.bytes[-5:]) == b"hello"


def test_more_vectors_than_the_host_takes(guest: Guest, sandbox: Path) -> None:
    fd = guest.open("many", WRITE, oflags=CREAT)
    guest.bytes[0:4] = b"abcd"
    vectors = guest.put(struct.pack("<II", 0, 2) * 3000)
    result = guest.allocate(4)
    assert guest.call("fd_write", fd, vectors, 3000, result) == 0
    assert 2 <= guest.u32(result) <= 6000 and (sandbox / "many").stat().st_size == guest.u32(result)


def test_path_open_checks_its_result_pointer_first(guest: Guest, sandbox: Path) -> None:
    code = guest.path("path_open", "new", CREAT, WRITE, 0, 0, len(guest.bytes) - 3, before=(0,))
    assert code is Errno.FAULT and not (sandbox / "new").exists()


def subscription(userdata: int, tag: int, subject: int, timeout_ns: int = 0, flags: int = 0) -> bytes:
    return struct.pack("<QB7xI4xQQH6x", userdata, tag, subject, timeout_ns, 0, flags)


def poll(guest: Guest, *subscriptions: bytes) -> list[tuple[int, int, int]]:
    """(userdata, error, type) of each event."""
    events, count = guest.allocate(32 * len(subscriptions)), guest.allocate(4)
    assert guest.call("poll_oneoff", guest.put(b"".join(subscriptions)), events, len(subscriptions), count) == 0
    return [struct.unpack_from("<QHB", guest.bytes, events + 32 * i) for i in range(guest.u32(count))]


def test_poll_clocks(guest: Guest) -> None:
    started = time.monotonic_ns()
    assert poll(guest, subscription(7, 0, 1, 20_000_000), subscription(8, 0, 0, 10**18)) == [(7, 0, 0)]
    assert 20_000_000 <= time.monotonic_ns() - started < 2_000_000_000
    assert poll(guest, subscription(1, 0, 1, 0), subscription(2, 0, 0, 0)) == [(1, 0, 0), (2, 0, 0)]
    assert poll(guest, subscription(3, 0, 1, time.monotonic_ns() + 10_000_000, flags=1)) == [(3, 0, 0)]
    assert poll(guest, subscription(4, 0, 0, 5, flags=1)) == [(4, 0, 0)]
    assert poll(guest, subscription(5, 0, 9)) == [(5, Errno.INVAL, 0)]
    assert poll(guest, subscription(6, 9, 0)) == [(6, Errno.INVAL, 9)]


def test_poll_descriptors(make_guest: MakeGuest, sandbox: Path) -> None:
    guest = make_guest(root=sandbox, stdin=b"x")
    fd = guest.open("file", READ | WRITE)
    assert poll(guest, subscription(1, 1, fd), subscription(2, 2, fd), subscription(3, 0, 1, 10**12)) == [
        (1, 0, 1),
        (2, 0, 2),
    ]
    assert poll(guest, subscription(4, 1, 0), subscription(5, 1, 99)) == [(4, 0, 1), (5, Errno.BADF, 1)]
    reading, writing = os.pipe()
    try:
        guest.context.descriptors.get(fd).close()
        guest.context.descriptors.get(fd).host_fd = reading
        assert poll(guest, subscription(6, 1, fd), subscription(7, 0, 1, 10_000_000)) == [(7, 0, 0)]
        thread = threading.Timer(0.02, os.write, (writing, b"x"))
        thread.start()
        assert poll(guest, subscription(8, 1, fd), subscription(9, 0, 1, 10**11)) == [(8, 0, 1)]
        thread.join()
    finally:
        os.close(writing)
    assert guest.call("poll_oneoff", 0, 0, 0, 0) is Errno.INVAL
    assert guest.call("poll_oneoff", len(guest.bytes) - 8, 0, 1, 0) is Errno.FAULT
    assert guest.call("poll_oneoff", 0, len(guest.bytes) - 8, 1, 0) is Errno.FAULT


def test_host_errors_are_mapped_by_name() -> None:
    import errno

    for name in ("ENOENT", "EACCES", "EEXIST", "ENOTEMPTY", "EXDEV", "ELOOP", "ENOSPC", "EPIPE", "EROFS", "EISDIR"):
        assert errno_from_host(getattr(errno, name)).name == name[1:]
    assert errno_from_host(errno.E2BIG) is Errno.TOOBIG and errno_from_host(None) is Errno.IO
    assert errno_from_host(99_999) is Errno.IO


INTERESTING = [
    0,
    1,
    2,
    3,
    4,
    5,
    24,
    64,
    100,
    1024,
    2040,
    (1 << 17) - 1,
    1 << 17,
    0x7FFF_FFFF,
    0x8000_0000,
    OUTSIDE,
    -1,
    1 << 62,
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(sorted(FUNCTIONS)),
            st.lists(
                st.one_of(st.sampled_from(INTERESTING), st.integers(-(1 << 63), (1 << 64) - 1)), min_size=9, max_size=9
            ),
        ),
        max_size=12,
    ),
    contents=st.binary(max_size=256),
)
def test_arbitrary_arguments_give_an_error_code(
    make_guest: MakeGuest, sandbox: Path, calls: list[tuple[str, list[int]]], contents: bytes
) -> None:
    guest = make_guest(root=sandbox, argv=["p"], env={"A": "b"})
    guest.bytes[: len(contents)] = contents
    guest.bytes[2048:2060] = b"dir/../file\0"
    for name, arguments in calls:
        if name in ("poll_oneoff", "proc_exit"):  # may sleep; does not return
            continue
        assert guest.call(name, *arguments[: len(FUNCTIONS[name].params)]) in list(Errno)
    guest.context.close()
    assert (sandbox.parent / "secret").read_text() == "secret"
