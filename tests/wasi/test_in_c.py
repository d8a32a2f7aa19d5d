"""What C does without Python (runtime_c/wasi.c), what it leaves to Python, and when it is told that something changed.

All other tests of preview 1 run both ways (conftest.py): these are about which way a call goes.
"""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.api.wasi_guest import CREAT, DIRECTORY, READ, WRITE, Program, program, subscription, text_of
from wasmjit import (
    Config,
    DirPerms,
    Engine,
    ExitTrap,
    Linker,
    MemoryFS,
    Module,
    Store,
    Trap,
    TrapCode,
    WasiConfig,
    WasmError,
)
from wasmjit.wasi import definitions, native
from wasmjit.wasi.constants import FDFLAGS_APPEND, Errno, Rights
from wasmjit.wasi.operations import NEEDED_RIGHTS
from wasmjit.wasi.sandbox import openat2

Called = list[str]
RESULT = 64
ABSOLUTE, DAY_NS = 1, 86_400 * 10**9


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    """The functions that Python was asked for."""
    names: Called = []
    ask = definitions.call

    def call(function: Any, *arguments: Any) -> int:
        names.append(function.name)
        return ask(function, *arguments)

    monkeypatch.setattr(definitions, "call", call)
    return names


@pytest.fixture
def guest(tmp_path: Path, called: Called) -> Program:
    """A program with a file open for reading and writing as 4, and a context."""
    (tmp_path / "file").write_bytes(b"hello world")
    config = WasiConfig(argv=["one", "two"], env={"A": "1"})
    config.preopen_dir(tmp_path, "/")
    made = program(config)
    assert made.open(b"file", READ | WRITE) == 4
    called.clear()
    return made


def vector(guest: Program, data: bytes) -> int:
    return guest.put(struct.pack("<II", guest.put(data), len(data)))


def cases(guest: Program) -> list[tuple[str, tuple[int, ...]]]:
    """A call of each function that C has."""
    strings = guest.room(64)
    soon = guest.put(subscription(7, 0, 1, timeout_ns=1, flags=ABSOLUTE) + subscription(8, 0, 0, timeout_ns=DAY_NS))
    return [
        ("args_sizes_get", (RESULT, RESULT + 4)),
        ("args_get", (strings, strings + 32)),
        ("environ_sizes_get", (RESULT, RESULT + 4)),
        ("environ_get", (strings, strings + 32)),
        ("clock_res_get", (1, RESULT)),
        ("clock_time_get", (0, 0, RESULT)),
        ("fd_fdstat_get", (4, RESULT)),
        ("fd_filestat_get", (4, RESULT)),
        ("path_filestat_get", (3, 1, guest.put(b"file"), 4, RESULT)),
        ("fd_write", (4, vector(guest, b"HELLO"), 1, RESULT)),
        ("fd_pwrite", (4, vector(guest, b"WORLD"), 1, 6, RESULT)),
        ("fd_seek", (4, 1, 0, RESULT)),
        ("fd_tell", (4, RESULT)),
        ("fd_read", (4, vector(guest, b"    "), 1, RESULT)),
        ("fd_pread", (4, vector(guest, b"    "), 1, 6, RESULT)),
        ("poll_oneoff", (soon, guest.room(64), 2, RESULT)),
        ("random_get", (guest.room(100), 100)),
        ("sched_yield", ()),
    ]


def test_python_is_asked_for_nothing_that_c_does(guest: Program, called: Called, tmp_path: Path) -> None:
    done = cases(guest)
    assert {name for name, _ in done} == set(native.NAMES)
    for name, arguments in done:
        assert guest.call(name, *arguments) == 0, name
    assert called == []
    assert (tmp_path / "file").read_bytes() == b"HELLO WORLD"


def test_the_memory_afterwards_is_what_python_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte of it, but for times and random numbers."""
    left = []
    for enabled in (True, False):
        monkeypatch.setattr(native, "enabled", enabled)
        (tmp_path / "file").write_bytes(b"hello world")
        os.utime(tmp_path / "file", ns=(10**18, 10**18 + 1))
        config = WasiConfig(argv=["one", "two"], env={"A": "1"})
        config.preopen_dir(tmp_path, "/")
        guest = program(config)
        assert guest.open(b"file", READ | WRITE) == 4
        results = []
        for name, arguments in cases(guest):
            assert guest.call(name, *arguments) == 0, name
            results.append((name, guest.get(RESULT, 48)))  # of a filestat, all but the times of the writes here
            guest.memory.write(guest.store, bytes(64), RESULT)
            if name == "random_get":
                guest.memory.write(guest.store, bytes(arguments[1]), arguments[0])
        left.append(([pair for pair in results if pair[0] != "clock_time_get"], guest.get(0, 4 << 16)))
    assert left[0] == left[1]


@pytest.mark.parametrize("name", ["fd_read", "fd_write", "fd_pread", "fd_pwrite", "fd_seek", "fd_tell"])
def test_virtual_files_are_python_s(name: str, called: Called) -> None:
    config = WasiConfig()
    config.preopen_dir(MemoryFS({"file": b"hello"}), "/")
    guest = program(config)
    fd = guest.open(b"file", READ | WRITE)
    called.clear()
    arguments = next(arguments for found, arguments in cases(guest) if found == name)
    assert guest.call(name, fd, *arguments[1:]) == 0
    assert called == [name]


CALL_OF_RIGHT = {
    Rights.FD_READ: ("fd_read", "fd_pread"),
    Rights.FD_WRITE: ("fd_write", "fd_pwrite"),
    Rights.FD_SEEK: ("fd_seek", "fd_pread", "fd_pwrite"),
    Rights.FD_TELL: ("fd_tell",),
    Rights.FD_FILESTAT_GET: ("fd_filestat_get",),
    Rights.PATH_FILESTAT_GET: ("path_filestat_get",),  # of the directory, which is 3
}


@pytest.mark.parametrize("right", CALL_OF_RIGHT)
def test_a_right_that_was_given_up_is_refused(guest: Program, right: Rights) -> None:
    fd = 3 if right is Rights.PATH_FILESTAT_GET else 4
    assert guest.call("fd_fdstat_get", fd, RESULT) == 0
    rights = struct.unpack("<QQ", guest.get(RESULT + 8, 16))
    assert guest.call("fd_fdstat_set_rights", fd, rights[0] & ~right.value, rights[1]) == 0
    for name, arguments in cases(guest):
        if name.startswith(("fd_", "path_")):
            expected = Errno.NOTCAPABLE if name in CALL_OF_RIGHT[right] else 0
            assert guest.call(name, *arguments) == expected, name
    assert guest.call("fd_fdstat_get", fd, RESULT) == 0
    assert struct.unpack("<Q", guest.get(RESULT + 8, 8))[0] == rights[0] & ~right.value


def test_every_right_that_c_needs_is_tried() -> None:
    needed = 0
    for rights in NEEDED_RIGHTS.values():
        needed |= rights
    assert needed == sum(right.value for right in CALL_OF_RIGHT)


def test_a_closed_number_stands_for_nothing(guest: Program) -> None:
    assert guest.call("fd_close", 4) == 0
    for name, arguments in cases(guest):
        if name.startswith("fd_"):
            assert guest.call(name, *arguments) == Errno.BADF, name


def test_a_number_that_others_took_is_theirs(guest: Program, called: Called, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"the other")
    assert guest.open(b"other") == 5
    assert guest.call("fd_renumber", 5, 4) == 0
    called.clear()
    assert guest.read(4, 100) == b"the other" and called == []
    assert guest.read(5, 100) == -Errno.BADF
    assert guest.write(4, b"x") == -Errno.BADF  # it is open for reading


def test_flags_that_change_change_here(guest: Program, called: Called, tmp_path: Path) -> None:
    assert guest.call("fd_fdstat_set_flags", 4, FDFLAGS_APPEND) == 0
    called.clear()
    assert guest.call("fd_fdstat_get", 4, RESULT) == 0
    assert struct.unpack("<H", guest.get(RESULT + 2, 2))[0] == FDFLAGS_APPEND
    assert guest.write(4, b"!") == 1
    assert called == [] and (tmp_path / "file").read_bytes() == b"hello world!"


def test_more_descriptors_than_there_were_rows_for(guest: Program, called: Called) -> None:
    opened = [guest.open(b"file") for _ in range(100)]
    assert opened == list(range(5, 105))
    called.clear()
    for fd in (4, 5, 16, 63, 64, 104):
        assert guest.read(fd, 5) == b"hello"
    assert called == []
    for fd in (105, 127, 128, 1 << 20, (1 << 31) - 1, -1, -(1 << 31)):
        assert guest.read(fd, 5) == -Errno.BADF


def test_directories_and_streams(guest: Program, called: Called) -> None:
    for fd in (0, 1, 3):
        assert guest.call("fd_fdstat_get", fd, RESULT) == 0
    assert guest.call("fd_filestat_get", 3, RESULT) == 0
    assert called == ["fd_fdstat_get", "fd_fdstat_get"]  # those of the streams, which are Python's
    assert guest.read(3, 1) == -Errno.BADF and guest.call("fd_seek", 3, 0, 0, RESULT) == Errno.BADF


PATHS = [
    *b"file ./file nothing nothing/x file/ file/x link link/ dangling loop loop/x out out/x .. ../x".split(),
    *b"dir/../file dir/../../x / /etc . dir dir/ dir/.".split(),
    b"", b"a\0b", b"file\0", "ü".encode(), b"\xff", b"a" * 255, b"a" * 256, b"a" * 65536,
    b"./" * 2047 + b".", b"./" * 2048, b"./" * 50_000,
]  # fmt: skip


@pytest.mark.parametrize("works", [True, False], ids=["openat2", "walk"])
def test_paths_mean_the_same_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    (tmp_path / "root" / "dir").mkdir(parents=True)
    (tmp_path / "root" / "file").write_bytes(b"hello")
    (tmp_path / "root" / "ü").touch()
    for name, target in {"link": "file", "dangling": "nowhere", "loop": "loop", "out": ".."}.items():
        (tmp_path / "root" / name).symlink_to(target)
    monkeypatch.setattr(openat2, "works", openat2.works and works)
    found: list[list[tuple[object, ...]]] = []
    for enabled in (True, False):
        monkeypatch.setattr(native, "enabled", enabled)
        config = WasiConfig()
        config.preopen_dir(tmp_path / "root", "/")
        guest = program(config)
        codes: list[tuple[object, ...]] = []
        for path in PATHS:
            for flags in (0, 1, 2):
                guest._next = 4096
                guest.memory.write(guest.store, bytes(64), RESULT)
                code = guest.path("path_filestat_get", path, RESULT, before=(flags,))
                state = guest.get(RESULT, 64)
                codes.append((path, flags, code, state[:40], state[48:]))  # but for when links were read
        found.append(codes)
    assert found[0] == found[1]
    by_path = {path: code for path, flags, code, *_ in found[0] if flags == 1}
    assert {*by_path.values()} >= {0, Errno.NOENT, Errno.PERM, Errno.LOOP, Errno.ILSEQ, Errno.NAMETOOLONG}
    for path in (b"out", b"out/x", b"..", b"../x", b"dir/../../x", b"/etc"):
        assert by_path[path] == Errno.PERM, path


def test_a_directory_that_may_not_be_listed_is_python_s(tmp_path: Path, called: Called) -> None:
    (tmp_path / "file").touch()
    config = WasiConfig()
    config.preopen_dir(tmp_path, "/", dir_perms=DirPerms.MUTATE)
    guest = program(config)
    guest.call("sched_yield")
    called.clear()
    assert guest.path("path_filestat_get", b"file", RESULT, before=(0,)) == Errno.PERM
    assert called == ["path_filestat_get"]


POSITIONS = (0, 1, 5, 100, -1, -5, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63), -(1 << 31))
APPENDING, PLAIN = 5, 4  # descriptors of the same file


def some_calls(guest: Program, random: Random) -> list[object]:
    """What calls in some order say: about positions, and what moves them or depends on them."""
    seen: list[object] = []

    def call(name: str, *arguments: int) -> None:
        for at in (RESULT, RESULT + 8):
            guest.memory.write(guest.store, bytes(8), at)
        seen.append((name, arguments, guest.call(name, *arguments), guest.get(RESULT, 8)))

    fds = [PLAIN, APPENDING]
    for _ in range(40):
        guest._next = 4096
        fd = random.choice(fds)
        name = random.choice(
            [*(f"fd_{each}" for each in ("read", "write", "pread", "pwrite")), "fd_tell", *["seek"] * 4]
        )
        if name == "seek":
            call("fd_seek", fd, random.choice(POSITIONS), random.choice((0, 1, 2, 3)), RESULT)
        elif name == "fd_tell":
            call(name, fd, RESULT)
        else:
            array = guest.put(struct.pack("<II", guest.put(b"abcdefghij"), random.choice((0, 1, 10))))
            offset = (random.choice((0, 3, 1 << 20, -1)),) if name.startswith("fd_p") else ()
            call(name, fd, array, 1, *offset, RESULT)
        other = random.randrange(12)
        if other == 0:
            call("fd_renumber", fd, random.choice(fds))
            fds = [each for each in (PLAIN, APPENDING) if guest.call("fd_tell", each, RESULT) != Errno.BADF]
        elif other == 1:
            call("fd_fdstat_set_flags", fd, random.choice((0, FDFLAGS_APPEND)))
        elif other == 2:
            call("fd_filestat_set_size", fd, random.choice((0, 4, 30)))
        elif other == 3:
            seen.append(guest.poll(subscription(1, 1, fd)))
        elif other == 4:
            call("fd_read", fd, 1 << 20, 1, RESULT)  # a fault
    return seen


@pytest.mark.parametrize("module", definitions.MODULES)
def test_positions_are_the_same_both_ways(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of wasi_unstable too, whose fd_seek is Python's alone (SQLite found its file to be no database)."""
    for seed in range(60):
        found = []
        for enabled in (True, False):
            monkeypatch.setattr(native, "enabled", enabled)
            (tmp_path / "file").write_bytes(b"hello world")
            config = WasiConfig()
            config.preopen_dir(tmp_path, "/")
            guest = program(config, module)
            assert guest.open(b"file", READ | WRITE) == PLAIN
            assert guest.open(b"file", READ | WRITE, fdflags=FDFLAGS_APPEND) == APPENDING
            found.append((some_calls(guest, Random(seed)), (tmp_path / "file").stat().st_size))
        assert found[0] == found[1], seed


def test_random_numbers_are_not_those_of_another_process(guest: Program) -> None:
    assert guest.call("random_get", 128, 16) == 0
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            guest.call("random_get", 128, 16)
            os.write(writing, guest.get(128, 16))
        finally:
            os._exit(0)
    os.close(writing)
    assert guest.call("random_get", 128, 16) == 0
    theirs = os.read(reading, 100)
    os.close(reading)
    os.waitpid(child, 0)
    assert len(theirs) == 16 and theirs != guest.get(128, 16)


def test_random_numbers_differ(guest: Program, called: Called) -> None:
    """Few of them come from a stock, more do not."""
    seen = set()
    for size in [1] * 3 + [16] * 300 + [255, 256, 257, 2047, 2048, 2049, 65535, 65536, 100_000]:
        guest.memory.write(guest.store, bytes(size + 1), 4096)
        assert guest.call("random_get", 4096, size) == 0
        found = guest.get(4096, size + 1)
        assert found[-1] == 0
        if size >= 16:
            seen |= {found[at : at + 16] for at in range(0, size - 15, 16)}
    assert called == [] and len(seen) == 300 + 15 + 16 + 16 + 127 + 128 + 128 + 4095 + 4096 + 6250


def test_many_vectors(guest: Program, tmp_path: Path) -> None:
    """More than C takes, and more than there may be: one byte each."""
    for count in (1, 2, 127, 128, 129, 1024, 1500):
        data = guest.put(bytes(range(256)) * 6)
        vectors = guest.put(b"".join(struct.pack("<II", data + i, 1) for i in range(count)))
        assert guest.call("fd_pwrite", 4, vectors, count, 0, RESULT) == 0
        assert guest.u32(RESULT) == min(count, 1024)
        assert (tmp_path / "file").read_bytes()[: min(count, 1024)] == (bytes(range(256)) * 6)[: min(count, 1024)]


def test_vectors_over_the_same_bytes_end_with_the_memory(guest: Program, tmp_path: Path) -> None:
    size = 4 << 16
    vectors = guest.put(struct.pack("<II", 0, size) * 3)
    assert guest.call("fd_pwrite", 4, vectors, 3, 0, RESULT) == 0
    assert guest.u32(RESULT) == size and (tmp_path / "file").stat().st_size == size


def test_many_subscriptions(guest: Program, called: Called) -> None:
    for count in (1, 16, 17, 1000):
        over = [subscription(number, 0, 1, timeout_ns=1, flags=ABSOLUTE) for number in range(count)]
        assert [event[0] for event in guest.poll(*over)] == list(range(count))
    assert called == ["poll_oneoff"] * 2


def test_output_is_bounded_as_ever(tmp_path: Path) -> None:
    config = WasiConfig(max_output_bytes=10)
    config.stdout_file = tmp_path / "output"
    guest = program(config)
    assert guest.write(1, b"123456") == 6
    with pytest.raises(WasmError, match="exceeds"):
        guest.write(1, b"789012")
    assert (tmp_path / "output").read_bytes() == b"1234567890"


def test_a_broken_pipe_ends_a_program_that_wants_it() -> None:
    from tests.api.test_wasi_waiting import with_stream

    for ends in (False, True):
        reading, writing = os.pipe()
        guest = with_stream(1, writing)
        guest.store._record.wasi.descriptors.get(1).exit_on_broken_pipe = ends
        os.close(reading)
        if ends:
            with pytest.raises(ExitTrap):
                guest.write(1, b"x")
        else:
            assert guest.write(1, b"x") == -Errno.PIPE
        os.close(writing)


def test_pipes_do_not_wait_in_c(called: Called) -> None:
    from tests.api.test_wasi_waiting import with_stream

    reading, writing = os.pipe()
    guest = with_stream(0, reading)
    os.write(writing, b"abc")
    called.clear()
    assert guest.read(0, 10) == b"abc" and called == []
    threading.Timer(0.05, os.write, (writing, b"def")).start()
    assert guest.read(0, 10) == b"def" and called == ["fd_read"]
    os.close(writing)
    assert guest.read(0, 10) == b"" and called == ["fd_read"]
    os.close(reading)


def test_a_closed_context_has_nothing_open(guest: Program) -> None:
    guest.store._record.wasi.close()
    for name, arguments in cases(guest):
        if name.startswith("fd_"):
            assert guest.call(name, *arguments) == Errno.BADF, name


def test_another_configuration_is_another_program(guest: Program, called: Called, tmp_path: Path) -> None:
    config = WasiConfig(argv=["three"])
    config.stdout_file = tmp_path / "output"
    guest.store.set_wasi(config)
    assert guest.call("fd_tell", 4, RESULT) == Errno.BADF and called == ["fd_tell"]
    called.clear()
    assert guest.write(1, b"output") == 6 and guest.call("args_sizes_get", RESULT, RESULT + 4) == 0
    assert called == [] and guest.u32(RESULT) == 1 and guest.u32(RESULT + 4) == 6
    assert (tmp_path / "output").read_bytes() == b"output"


def test_configurations_that_were_replaced_are_let_go(guest: Program, tmp_path: Path) -> None:
    """Descriptors are closed, and nothing is kept of them, whether code runs or not."""
    record = guest.store._record
    kept = len(record.native.keepalive)
    opened = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        config = WasiConfig()
        config.stdout_file = tmp_path / "output"
        guest.store.set_wasi(config)
        if number % 2:
            assert guest.write(1, b"x") == 1
        guest._next = 1024
    del config
    guest.store.set_wasi(WasiConfig())
    assert guest.call("sched_yield") == 0
    assert len(record.native.keepalive) == kept and record._former_wasi == []
    assert len(os.listdir("/proc/self/fd")) < opened  # the file and the directory of the first are closed


def test_clocks_and_random_numbers_that_are_not_the_host_s(called: Called) -> None:
    guest = program(WasiConfig(clock=123, random=1))
    for _ in range(2):
        assert guest.call("clock_time_get", 0, 0, RESULT) == 0
        assert guest.call("random_get", 128, 8) == 0
        assert struct.unpack("<Q", guest.get(RESULT, 8))[0] == 123
    assert called == ["clock_time_get", "random_get"] * 2


WRITER = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "letter") (param i32) (i32.store8 (i32.const 16) (local.get 0)))
  (func (export "run") (result i32)
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 1))
    (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
  (func (export "grow") (drop (memory.grow (i32.const 1))))
  (func (export "far") (result i32)
    (i32.store8 (i32.const 65536) (i32.const 0x66))
    (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 1))
    (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 65540))))"""


def instances(config: Config, count: int, output: Path) -> tuple[Store, list[Any]]:
    store = Store(Engine(config))
    wasi = WasiConfig()
    wasi.stdout_file = output
    store.set_wasi(wasi)
    linker = Linker(store.engine)
    linker.define_wasi()
    module = Module(store.engine, WRITER)
    return store, [linker.instantiate(store, module).exports(store) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 8, 9, 20])
def test_each_instance_has_its_own_memory(count: int, tmp_path: Path) -> None:
    store, exports = instances(Config(tier="baseline"), count, tmp_path / "output")
    for position, each in enumerate(exports):
        each["letter"](store, 65 + position)
    for _ in range(3):
        for each in exports:
            assert each["run"](store) == 0
    expected = bytes(65 + position for position in range(count)) * 3
    assert (tmp_path / "output").read_bytes() == expected


@pytest.mark.parametrize("options", [{}, {"memory_reservation": 0}], ids=["stays", "moves"])
def test_memory_that_grows(options: dict[str, Any], tmp_path: Path, called: Called) -> None:
    """A memory that moves is Python's, which looks for it anew."""
    store, (exports,) = instances(Config(tier="baseline", **options), 1, tmp_path / "output")
    exports["letter"](store, 65)
    assert exports["run"](store) == 0
    exports["grow"](store)
    assert exports["far"](store) == 0
    assert (tmp_path / "output").read_bytes() == b"Af"
    assert called == ["fd_write"] * (2 if options else 1)


def test_with_the_gil_kept(tmp_path: Path, called: Called) -> None:
    store, (exports,) = instances(Config(tier="baseline"), 1, tmp_path / "output")
    exports["letter"](store, 65)
    run = exports["run"].typed(store, nogil=False)
    for _ in range(10):
        assert run() == 0
    assert (tmp_path / "output").read_bytes() == b"A" * 10 and called == ["fd_write"]


def test_set_wasi_while_the_program_runs(tmp_path: Path) -> None:
    """Another thread gives the store another configuration: each write goes to one of the files, whole."""
    text = text_of().replace(
        '(memory (export "memory") 4)',
        """(memory (export "memory") 4)
        (func (export "repeat") (param $vector i32) (param $turns i32) (result i32) (local $errors i32)
          (loop (local.set $errors (i32.or (local.get $errors)
              (call $fd_write (i32.const 1) (local.get $vector) (i32.const 1) (i32.const 64))))
            (br_if 0 (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
          (local.get $errors))""",
    )
    engine = Engine(Config(tier="baseline"))
    files = [tmp_path / str(number) for number in range(20)]
    configurations = []
    for file in files:
        configurations.append(WasiConfig())
        configurations[-1].stdout_file = file
    import wasmjit

    guest = Program(wasmjit, engine, Module(engine, text), configurations[0])
    array = vector(guest, b"0123456789")
    turns = 50_000
    failed: list[BaseException] = []

    def change() -> None:
        try:
            for configuration in configurations[1:]:
                guest.store.set_wasi(configuration)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=change)
    thread.start()
    assert guest.call("repeat", array, turns) == 0
    thread.join()
    assert not failed and sum(file.stat().st_size for file in files) == 10 * turns


@pytest.fixture
def endless() -> tuple[Store, Any]:
    """A program that asks for the time, for ever; its store, which ends it after ten seconds."""
    text = """(module
      (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "run") (loop (drop (call $time (i32.const 1) (i64.const 0) (i32.const 0))) (br 0))))"""
    engine = Engine(Config(tier="baseline"))
    store, linker = Store(engine, timeout=10), Linker(engine)
    store.set_wasi(WasiConfig())
    linker.define_wasi()
    return store, linker.instantiate(store, Module(engine, text)).exports(store)["run"]


@pytest.mark.parametrize("end", [Store.interrupt, None], ids=["interrupt", "timeout"])
def test_a_loop_of_calls_ends(end: Callable[[Store], object] | None, endless: tuple[Store, Any]) -> None:
    store, run = endless
    if end is None:
        store.timeout = 0.05
    else:
        threading.Timer(0.05, end, (store,)).start()
    with pytest.raises(Trap) as caught:
        run(store)
    assert caught.value.trap_code is TrapCode.INTERRUPT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGALRM])
@pytest.mark.parametrize("nogil", [True, False])
def test_handlers_run_in_a_loop_of_calls(number: int, nogil: bool, endless: tuple[Store, Any]) -> None:
    """One that returns does not end it, one that raises does."""
    store, run = endless
    calls = []

    def handle(*_: object) -> None:
        calls.append(number)
        if len(calls) == 2:
            raise KeyError("ended by a signal")
        signal.setitimer(signal.ITIMER_REAL, 0.02)

    previous = {each: signal.signal(each, handle) for each in (number, signal.SIGALRM)}
    timer = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, number))
    timer.start()
    try:
        with pytest.raises(KeyError, match="ended by a signal"):
            run.typed(store, nogil=nogil)()
    finally:
        timer.join()
        for each, handler in previous.items():
            signal.signal(each, handler)
    assert len(calls) == 2


def test_the_header_is_up_to_date() -> None:
    header = Path(__file__).parents[2] / "runtime_c" / "wj_wasi.h"
    assert header.read_text() == native.render_header(), "run `make abi`"


def test_directories_are_opened_as_ever(guest: Program) -> None:
    assert guest.open(b".", oflags=DIRECTORY) == 5
    assert guest.open(b"new", WRITE, CREAT) == 6
