"""Error codes are those of the wasmtime package, call by call; what differs is listed with its reason."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime

import wasmjit
from tests.api.wasi_guest import CREAT, DIRECTORY, EXCL, READ, TRUNC, WRITE, Program, text_of
from wasmjit.wasi.constants import Errno

PATHS = [
    b"", b"/", b"//", b"a\0b", b".", b"..", b"./", b"../", b"dir/..", b"dir/../..", b"x" * 300, b"dir/" * 2000,
    b"file", b"file/", b"file/x", b"link", b"link/", b"link/x", b"dlink", b"dlink/", b"dlink/a", b"dir", b"dir/",
    b"dir/sub", b"dir/sub/", b"nothing", b"nothing/x", b"nothing/", b"loop", b"loop/", b"loop/x", b"out", b"out/secret",
    b"up", b"up/secret", b"\xc5\xa1", b"~", b"..a", b"dir/.././file", b"dangling", b"dangling/",
]  # fmt: skip
PAIRS = [
    (b"file", b"file"), (b"file", b"file/"), (b"file/", b"g"), (b"dir", b"file"), (b"file", b"dir"), (b"link", b"l"),
    (b"dir", b"dir/sub/y"), (b"", b"x"), (b"x", b""), (b"nothing", b"x"), (b"dir/sub/", b"s/"), (b"s", b"dir"),
    (b"file", b"../x"), (b"../x", b"file"), (b"/x", b"file"), (b"file", b"/x"), (b"dlink/", b"d"), (b"link", b"l2/"),
    (b".", b"q"), (b"dir/..", b"q"), (b"dir/.", b"q"), (b"file", b"."), (b"file", b"nothing/x"), (b"out", b"o"),
    (b"file", b"dangling"), (b"dangling", b"m"), (b"link/", b"n"), (b"file", b"up/x"), (b"up/secret", b"stolen"),
]  # fmt: skip

# rmdir of a path that ends in a slash: INVAL there, for directories and all else; rmdir(2) takes it, so we do.
SLASHES_OF_RMDIR = {b"./", b"dlink/", b"dir/sub/", b"dir/", b"nothing/", b"loop/", b"dangling/", b"link/", b"file/"}


def make_tree(root: Path) -> Path:
    """What the calls work on; a new one for each package."""
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "file").write_text("hello world")
    (root / "dir" / "a").write_text("aaa")
    (root.parent / "secret").write_text("secret")
    links = {"link": "file", "dlink": "dir", "loop": "loop", "out": "/etc", "up": "..", "dangling": "nowhere"}
    for name, target in links.items():
        os.symlink(target, root / name)
    return root


Both = Callable[[Callable[[Program], Any]], tuple[Any, Any]]


@pytest.fixture(scope="module")
def compiled() -> list[tuple[Any, Any, Any]]:
    """(API, engine, module); with us the memory is shared."""
    ours, theirs = wasmjit.Engine(wasmjit.Config(tier="baseline", shared_memory=True)), wasmtime.Engine()
    module = wasmjit.Module(ours, text_of(shared=True))
    return [(wasmjit, ours, module), (wasmtime, theirs, wasmtime.Module(theirs, text_of()))]


@pytest.fixture(params=[True, False], ids=["read-write", "read-only"])
def both(request: pytest.FixtureRequest, compiled: list[tuple[Any, Any, Any]], tmp_path: Path) -> Both:
    """Runs the same under both packages, on trees of their own; the results."""

    def run(calls: Callable[[Program], Any]) -> tuple[Any, Any]:
        results = []
        for api, engine, module in compiled:
            base = tmp_path / api.__name__
            shutil.rmtree(base, ignore_errors=True)
            root = make_tree(base / "root")
            config = api.WasiConfig()
            (tmp_path / "input").write_bytes(b"input")
            config.stdin_file = str(tmp_path / "input")
            config.stdout_file = str(tmp_path / "output")
            config.preopen_dir(str(root), "/", request.param)
            found = calls(Program(api, engine, module, config))
            tree = sorted(str(path.relative_to(base)) for path in base.rglob("*"))
            results.append((found, tree))
        return results[0], results[1]

    return run


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("path_create_directory", ()),
        ("path_remove_directory", ()),
        ("path_unlink_file", ()),
        ("path_filestat_get", (0,)),
        ("path_filestat_get", (1,)),
        ("path_readlink", ()),
    ],
)
def test_paths(both: Both, name: str, before: tuple[int, ...]) -> None:
    def calls(program: Program) -> list[tuple[bytes, str]]:
        rest = {"path_filestat_get": (512,), "path_readlink": (512, 64, 600)}.get(name, ())
        paths = [p for p in PATHS if name != "path_remove_directory" or p not in SLASHES_OF_RMDIR]
        return [(path[:40], Errno(program.path(name, path, *rest, before=before)).name) for path in paths]

    ours, theirs = both(calls)
    assert ours == theirs


@pytest.mark.part(3)
@pytest.mark.parametrize("follow", [0, 1])
@pytest.mark.parametrize("oflags", [0, CREAT, DIRECTORY, TRUNC, CREAT | EXCL, DIRECTORY | CREAT, EXCL])
@pytest.mark.parametrize("rights", [0, READ, WRITE, READ | WRITE])
def test_opening(both: Both, follow: int, oflags: int, rights: int) -> None:
    ours, theirs = both(lambda program: [(path[:40], program.open(path, rights, oflags, follow)) for path in PATHS])
    assert ours == theirs


@pytest.mark.parametrize("name", ["path_rename", "path_link", "path_symlink"])
def test_two_paths(both: Both, name: str) -> None:
    def calls(program: Program) -> list[tuple[bytes, bytes, str]]:
        found = []
        for first, second in PAIRS:
            old, new = (program.put(first), len(first)), (program.put(second), len(second))
            arguments = (*old, 3, *new) if name == "path_symlink" else (3, *old, 3, *new)
            if name == "path_link":
                arguments = (3, 0, *old, 3, *new)
            found.append((first, second, Errno(program.call(name, *arguments)).name))
        return found

    ours, theirs = both(calls)
    assert ours == theirs


DESCRIPTOR_CALLS: dict[str, tuple[int, ...]] = {
    "fd_advise": (0, 0, 0),
    "fd_filestat_get": (1024,),
    "fd_filestat_set_size": (5,),
    "fd_filestat_set_times": (8, 8, 5),
    "fd_fdstat_set_flags": (1,),
    "fd_pread": (64, 0, 0, 1024),
    "fd_pwrite": (64, 0, 0, 1024),
    "fd_read": (64, 0, 1024),
    "fd_write": (64, 0, 1024),
    "fd_seek": (0, 1, 1024),
    "fd_tell": (1024,),
    "fd_prestat_get": (1024,),
    "fd_prestat_dir_name": (1024, 1),
    "fd_readdir": (1024, 40, 0, 1100),
    "fd_renumber": (99,),
    "fd_close": (),
    "sock_accept": (0, 1024),
    "sock_recv": (64, 0, 0, 1024, 1032),
    "sock_send": (64, 0, 0, 1024),
    "sock_shutdown": (1,),
}
# fd_readdir of a file: BADF there, but NOTDIR from every other function that wants a directory, and in POSIX.
# fd_read of standard input into no buffers: INTR there, but nothing to do is no error.
KNOWN = {("fd_readdir", "file"), ("fd_readdir", "write only"), ("fd_read", "stdin")}


@pytest.mark.parametrize("name", DESCRIPTOR_CALLS)
def test_every_kind_of_descriptor(both: Both, name: str) -> None:
    def calls(program: Program) -> dict[str, str]:
        numbers = {
            "stdin": 0, "stdout": 1, "stderr": 2, "preopened": 3, "not open": 77, "no number": -1,
            "directory": program.open(b"dir", oflags=DIRECTORY), "file": program.open(b"file"),
            "write only": program.open(b"file", WRITE),
        }  # fmt: skip
        return {
            kind: Errno(program.call(name, number, *DESCRIPTOR_CALLS[name])).name
            for kind, number in numbers.items()
            if (name, kind) not in KNOWN and (number >= 0 or kind == "no number")
        }

    (ours, _), (theirs, _) = both(calls)
    assert ours == theirs


def test_what_has_no_subject(both: Both) -> None:
    def calls(program: Program) -> list[str]:
        codes = [program.call("sched_yield"), program.call("proc_raise", 6), program.call("poll_oneoff", 0, 0, 0, 0)]
        codes += [program.call("fd_renumber", *pair) for pair in ((3, 3), (3, 9), (9, 3), (1, 3), (3, 1))]
        codes += [program.call("random_get", 0, 0), program.call("clock_time_get", 1, 0, 1024)]
        return [Errno(code).name for code in codes]

    ours, theirs = both(calls)
    assert ours == theirs


def test_directory_listings(both: Both) -> None:
    def calls(program: Program) -> list[tuple[str, int]]:
        room, used = program.room(4096), program.room(4)
        found = []
        for cookie in (0, 1, 3, 5, 100, -1):
            assert program.call("fd_readdir", 3, room, 4096, cookie, used) == 0
            found.append((str(cookie), program.u32(used)))
        return found

    ours, theirs = both(calls)
    assert ours == theirs


def test_a_listing_goes_on_where_a_cookie_says(both: Both) -> None:
    """Also with a buffer that holds no whole second entry, and after the directory has changed meanwhile."""

    def calls(program: Program) -> list[bytes]:
        room, used = program.room(256), program.room(4)
        names, cookie = [], 0
        while True:
            assert program.call("fd_readdir", 3, room, 34, cookie, used) == 0
            if program.u32(used) < 24:
                return sorted(names)
            cookie, _, length = struct.unpack("<QQI", program.get(room, 20))
            names.append(program.get(room + 24, length))

    (ours, _), (theirs, _) = both(calls)
    assert ours == theirs and len(ours) == 10
