"""What a program may have the host take: memory, descriptors, output, time (docs/bounds.md)."""

from __future__ import annotations

import io
import json
import logging
import os
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wasmjit
from tests.api.wasi_guest import CREAT, DIRECTORY, READ, WRITE, Program, text_of
from tests.wasi import hostile
from wasmjit import Engine, Instance, MemoryFS, Module, Store, Trap, TrapCode, WasiConfig, WasmError
from wasmjit.wasi.constants import Errno
from wasmjit.wasi.memory_fs import NAME_BYTES, NODE_BYTES
from wasmjit.wasi.sparse_bytes import BLOCK_BYTES, SparseBytes

MIB = 1 << 20


@pytest.fixture(scope="module")
def module(engine: Engine) -> Module:
    return Module(engine, text_of())


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(wasmjit.Config(tier="baseline"))


def program_of(module: Module, config: WasiConfig, **limits: Any) -> Program:
    return Program(wasmjit, module.engine, module, config, **limits)


# ---- memory ----


def test_no_call_takes_more_than_four_times_the_guests_memory() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-m", "tests.wasi.hostile"], cwd=root, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    grown = {case: growth_bytes for case, (_, growth_bytes) in json.loads(done.stdout).items()}
    assert len(grown) > 200
    bound = 4 * hostile.MEMORY_BYTES + 64 * MIB
    assert {case: size for case, size in grown.items() if size > bound} == {}
    assert sum(grown.values()) < 2 * bound


@pytest.mark.parametrize("target", ["BytesIO", "StringIO", "callable"])
def test_vectors_over_the_same_bytes_are_written_once_around(module: Module, target: str) -> None:
    found: list[int] = []
    sink: Any = {"BytesIO": io.BytesIO(), "StringIO": io.StringIO(), "callable": lambda b: found.append(len(b))}[target]
    program = program_of(module, WasiConfig(stdout=sink))
    array = program.put(struct.pack("<II", 65536, 3 * 65536) * 100)
    assert program.call("fd_write", 1, array, 100, 64) == 0
    written = program.u32(64)
    assert written == 4 * 65536 == (sum(found) or len(sink.getvalue()))
    assert max(found, default=0) <= MIB


def test_many_vectors_are_one_piece_for_a_callable(module: Module) -> None:
    found: list[bytes] = []
    program = program_of(module, WasiConfig(stdout=found.append))
    parts = [program.put(part) for part in (b"ab", b"", b"cde")]
    array = program.put(b"".join(struct.pack("<II", at, size) for at, size in zip(parts, (2, 0, 3), strict=True)))
    assert program.call("fd_write", 1, array, 3, 64) == 0 and found == [b"abcde"]


def test_a_long_path_is_not_even_copied(module: Module) -> None:
    config = WasiConfig()
    config.preopen_dir(MemoryFS(), "/")
    program = program_of(module, config)
    assert program.call("path_create_directory", 3, 0, 4 * 65536) == Errno.NAMETOOLONG
    assert program.call("path_create_directory", 3, 0, 4 * 65536 + 1) == Errno.FAULT


def test_holes_of_a_file_in_memory_take_nothing(module: Module) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    files = MemoryFS()
    config = WasiConfig()
    config.preopen_dir(files, "/")
    program = program_of(module, config)
    fd = program.open(b"file", READ | WRITE, CREAT)
    assert program.call("fd_filestat_set_size", fd, 1 << 29) == 0
    assert program.call("fd_pwrite", fd, program.put(struct.pack("<II", 1024, 8)), 1, 1 << 28, 64) == 0
    assert files.used_bytes == (1 << 29) + NODE_BYTES + NAME_BYTES + 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    assert program.call("fd_filestat_set_size", fd, 100) == 0 and files.read_bytes("file") == bytes(100)


def test_sparse_bytes_are_bytes() -> None:
    import random

    rng = random.Random(0)
    sparse, plain = SparseBytes(), bytearray()
    for _ in range(300):
        offset = rng.choice((0, BLOCK_BYTES - 3, BLOCK_BYTES, 5 * BLOCK_BYTES + 7, rng.randrange(8 * BLOCK_BYTES)))
        size = rng.choice((0, 1, 5, BLOCK_BYTES, 3 * BLOCK_BYTES + 1))
        match rng.randrange(3):
            case 0:
                data = rng.randbytes(size)
                end = max(len(plain), offset + size)
                plain.extend(bytes(end - len(plain)))
                plain[offset : offset + size] = data
                sparse.set_size(end)
                sparse.write(memoryview(data), offset)
            case 1:
                plain = plain[:offset] + bytes(max(0, offset - len(plain)))
                sparse.set_size(offset)
            case 2:
                target = bytearray(b"#" * size)
                count = sparse.read_into(memoryview(target), offset)
                assert target[:count] == plain[offset : offset + size] and set(target[count:]) <= {ord("#")}
        assert sparse.size_bytes == len(plain)
    assert sparse.to_bytes() == plain


def test_names_and_links_count() -> None:
    files = MemoryFS({"file": b""}, max_bytes=100_000)
    with pytest.raises(OSError, match="No space"):
        for number in range(10_000):
            files.link("file", f"{number}" + "x" * 200)
    assert files.used_bytes <= 100_000
    number = len(files.listdir()) - 1
    assert files.used_bytes == NODE_BYTES + sum(NAME_BYTES + len(name) for name in files.listdir())
    with pytest.raises(OSError, match="No space"):
        files.rename("file", "y" * 255)
    assert files.exists("file") and len(files.listdir()) == number + 1
    for name in files.listdir():
        files.unlink(name)
    assert files.used_bytes == 0


def test_failed_changes_give_back_what_they_took() -> None:
    files = MemoryFS({"d/x": b"", "e/y": b""}, max_bytes=10_000)
    used = files.used_bytes
    with pytest.raises(OSError, match="not empty"):
        files.rename("d", "e")
    with pytest.raises(OSError, match="exists"):
        files.mkdir("d")
    with pytest.raises(OSError, match="No space"):
        files.symlink("x" * 9000, "link")
    assert files.used_bytes == used
    files.rename("d", "f")
    files.rename("f/x", "e/y")
    files.rename("f", "d")
    files.write_bytes("d/x", b"")
    assert files.used_bytes == used


# ---- directories ----


def listing(program: Program, fd: int, size: int, between: Callable[[int], None] = lambda count: None) -> list[str]:
    """The names that reading on gives, with as many bytes at a time; calls `between` in between."""
    found: list[str] = []
    cookie = 0
    buffer = program.room(size)
    while True:
        assert program.call("fd_readdir", fd, buffer, size, cookie, 64) == 0
        data, at = program.get(buffer, program.u32(64)), 0
        full = len(data) == size
        while at + 24 <= len(data):
            following, _, length = struct.unpack_from("<QQI", data, at)
            if at + 24 + length > len(data):
                break
            found.append(data[at + 24 : at + 24 + length].decode())
            cookie = following
            at += 24 + length
        if not full:
            return found
        between(len(found))


KINDS = ["memory", "host", "sorted"]


@pytest.fixture
def directory(request: pytest.FixtureRequest, tmp_path: Path, module: Module) -> Any:
    """(program with a directory 3 that has 500 files, make, remove)."""
    names = [f"{number:03}-{'x' * (number % 50)}" for number in range(500)]
    config = WasiConfig(deterministic=request.param == "sorted")
    if request.param == "memory":
        files = MemoryFS(dict.fromkeys(names, b""))
        config.preopen_dir(files, "/")
        return program_of(module, config), names, lambda name: files.write_bytes(name, b""), files.unlink
    for name in names:
        (tmp_path / name).touch()
    config.preopen_dir(tmp_path, "/")
    remove = lambda name: (tmp_path / name).unlink()  # noqa: E731
    return program_of(module, config), names, lambda name: (tmp_path / name).touch(), remove


@pytest.mark.part(2)
@pytest.mark.parametrize("directory", KINDS, indirect=True)
@pytest.mark.parametrize("size", [100, 300, 4096, 60_000])
def test_reading_on_gives_each_entry_once(directory: Any, size: int) -> None:
    program, names, _, _ = directory
    found = listing(program, 3, size)
    assert found[:2] == [".", ".."] and sorted(found[2:]) == names


@pytest.mark.parametrize("directory", KINDS, indirect=True)
def test_removing_while_reading_skips_nothing(directory: Any) -> None:
    program, names, _, remove = directory
    left = set(names)

    def between(count: int) -> None:
        for name in sorted(left)[: 5 if count % 2 else 0]:
            left.remove(name)
            remove(name)

    found = listing(program, 3, 300, between)
    assert len(found) == len(set(found)) and left <= set(found)


@pytest.mark.parametrize("directory", KINDS, indirect=True)
def test_making_while_reading_repeats_nothing(directory: Any) -> None:
    program, names, make, remove = directory

    def between(count: int) -> None:
        make(f"new{count}")
        remove(f"new{count}")
        make(f"new{count}")

    found = listing(program, 3, 1000, between)
    assert len(found) == len(set(found)) and set(names) <= set(found)


@pytest.mark.parametrize("directory", KINDS, indirect=True)
def test_any_earlier_cookie_goes_back(directory: Any) -> None:
    program, _, _, _ = directory
    whole = listing(program, 3, 60_000)
    buffer = program.room(400)
    for cookie in (0, 1, 2, 3, 250, 100, 501, 502, 503, 10_000):
        assert program.call("fd_readdir", 3, buffer, 400, cookie, 64) == 0
        if cookie >= len(whole):
            assert program.u32(64) == 0
        else:
            length = struct.unpack("<I", program.get(buffer + 16, 4))[0]
            assert program.get(buffer + 24, length).decode() == whole[cookie]


@pytest.mark.parametrize("directory", ["memory"], indirect=True)
def test_making_and_removing_for_ever_keeps_nothing(directory: Any) -> None:
    program, names, make, remove = directory
    assert len(listing(program, 3, 60_000)) == 502
    node = program.store._record.wasi.descriptors.get(3)._node
    for _ in range(5000):
        make("again")
        remove("again")
    assert len(node._numbered._order) < 3 * len(names)
    assert len(listing(program, 3, 60_000)) == 502


# ---- descriptors ----


@pytest.mark.parametrize("of_host", [False, True])
def test_descriptors_are_bounded(module: Module, tmp_path: Path, of_host: bool) -> None:
    (tmp_path / "file").touch()
    config = WasiConfig(max_descriptors=20)
    config.preopen_dir(tmp_path if of_host else MemoryFS({"file": b""}), "/")
    program = program_of(module, config)
    opened = [program.open(b"file") for _ in range(20)]
    assert opened == [*range(4, 20), *[-Errno.MFILE] * 4]
    assert program.call("fd_close", 7) == 0 and program.open(b".", READ, DIRECTORY) == 7
    assert program.open(b"file") == -Errno.MFILE


def test_by_default_half_of_the_process_is_left(module: Module, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        config = WasiConfig()
        config.preopen_dir(tmp_path, "/")
        program = program_of(module, config)
        while (fd := program.open(b"file")) >= 0:
            assert fd < 128
        assert fd == -Errno.MFILE
        os.close(os.open(tmp_path / "file", os.O_RDONLY))
        program.store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("name", ["max_descriptors", "max_output_bytes"])
@pytest.mark.parametrize("value", [-1, "5", True, 1.5])
def test_bounds_are_counts(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be None or an int"):
        WasiConfig(**{name: value})


# ---- output ----

WRITES = b"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\\10\\00\\00\\00\\e8\\03\\00\\00")
  (func (export "_start") (local $n i32)
    (loop $l
      (drop (call $write (i32.add (i32.const 1) (i32.and (local.get $n) (i32.const 1)))
        (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100))))))"""


def test_collected_output_is_bounded(engine: Engine) -> None:
    assert len(wasmjit.run(WRITES, engine=engine, max_output=100_000).stdout) == 50_000
    with pytest.raises(WasmError, match=r"output exceeds `max_output_bytes`: 99999 bytes"):
        wasmjit.run(WRITES, engine=engine, max_output=99_999)
    with pytest.raises(WasmError, match="output exceeds"):
        wasmjit.run(WRITES, engine=engine, max_output=0)


@pytest.mark.parametrize("kind", ["BytesIO", "StringIO", "file", "callable", "logger"])
def test_all_output_is_cut_at_the_bound(engine: Engine, tmp_path: Path, kind: str) -> None:
    found: list[bytes] = []
    config = WasiConfig(max_output_bytes=2500)
    stream: Any = {"BytesIO": io.BytesIO(), "StringIO": io.StringIO()}.get(kind)
    if kind == "file":
        config.stdout_file = tmp_path / "out"
    elif kind == "logger":
        config.stdout = logging.getLogger("wasmjit.tests.bounds")
    else:
        config.stdout = found.append if kind == "callable" else stream
    store = Store(engine)
    store.set_wasi(config)
    linker = wasmjit.Linker(engine)
    linker.define_wasi()
    start = linker.instantiate(store, Module(engine, WRITES)).exports(store)["_start"]
    with pytest.raises(WasmError, match="output exceeds"):
        start(store)
    if kind in ("BytesIO", "StringIO"):
        assert len(stream.getvalue()) == 2500 - 1000  # what went to stderr counts
    elif kind == "callable":
        assert sum(map(len, found)) == 1500
    elif kind == "file":
        assert (tmp_path / "out").stat().st_size == 1500


def test_what_is_kept_in_memory_is_bounded_by_default(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasmjit.wasi.config.DEFAULT_MAX_CAPTURED_BYTES", 3000)
    with pytest.raises(WasmError, match="what is kept in memory"):
        wasmjit.run(WRITES, engine=engine)
    found: list[bytes] = []
    wasmjit.run(WRITES, engine=engine, stdout=found.append, stderr=found.append)
    assert len(found) == 100  # a function may do with it as it likes
    with pytest.raises(WasmError, match="what is kept in memory"):
        wasmjit.run(WRITES, engine=engine, stdout=io.TextIOWrapper(io.BytesIO()), stderr=len)


# ---- time ----


class Slow(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        time.sleep(0.0002)


def test_a_timeout_ends_records_of_a_logger(module: Module) -> None:
    logger = logging.getLogger("wasmjit.tests.slow")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = Slow()
    logger.addHandler(handler)
    try:
        program = program_of(module, WasiConfig(stdout=logger), timeout=0.2)
        program.memory.write(program.store, b"\n" * (3 * 65536), 65536)
        array = program.put(struct.pack("<II", 65536, 3 * 65536))
        with pytest.raises(Trap) as caught:
            program.call("fd_write", 1, array, 1, 64)
        assert caught.value.trap_code is TrapCode.INTERRUPT
        assert 0 < handler.records < 20_000  # all would be 196,608
    finally:
        logger.removeHandler(handler)


def test_a_long_line_becomes_records_of_bounded_size(module: Module) -> None:
    sizes: list[int] = []

    class Sizes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sizes.append(len(record.getMessage()))

    logger = logging.getLogger("wasmjit.tests.sizes")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = Sizes()
    logger.addHandler(handler)
    try:
        program = program_of(module, WasiConfig(stdout=logger))
        program.memory.write(program.store, b"x" * 150_000 + b"\n" + b"yy\n", 65536)
        assert program.call("fd_write", 1, program.put(struct.pack("<II", 65536, 150_004)), 1, 64) == 0
        assert sizes == [65536, 65536, 150_000 - 2 * 65536, 2]
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("used", ["start function", "compiling"])
def test_the_timeout_of_run_is_for_all_of_it(engine: Engine, monkeypatch: pytest.MonkeyPatch, used: str) -> None:
    started: list[bytes] = []
    if used == "compiling":
        from wasmjit.wasi import run as of_run

        slow = of_run._module_of
        monkeypatch.setattr(of_run, "_module_of", lambda *arguments: (slow(*arguments), time.sleep(0.3))[0])
    text = """(module (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func $wait  ;; 0.15 s
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 150000000))
        (drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200))))
      (start $wait)
      (func (export "_start") (call $wait)))"""
    with pytest.raises(Trap) as caught:
        wasmjit.run(text.encode(), engine=engine, timeout=0.25, stdout=started.append)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    assert wasmjit.run(b'(module (func (export "_start")))', engine=engine, timeout=60).exit_code == 0


def test_a_start_function_may_exit(engine: Engine) -> None:
    text = b"""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (func $leave (call $exit (i32.const 3))) (start $leave)
      (func (export "_start") unreachable))"""
    assert wasmjit.run(text, engine=engine).exit_code == 3


# ---- memories and tables of a store ----


def test_max_memory_bounds_the_sum(engine: Engine) -> None:
    page = 65536
    store = Store(engine, max_memory=10 * page)
    module = Module(
        engine,
        """(module (memory (export "a") 4) (memory (export "b") 4) (table (export "t") 1024 funcref)
          (func (export "a+") (param i32) (result i32) (memory.grow 0 (local.get 0)))
          (func (export "b+") (param i32) (result i32) (memory.grow 1 (local.get 0)))
          (func (export "t+") (param i32) (result i32) (table.grow (ref.null func) (local.get 0))))""",
    )
    exports: Any = Instance(store, module, []).exports(store)
    assert exports["t+"](store, 8 * page) == -1 and exports["a+"](store, 2) == -1
    assert exports["a+"](store, 1) == 4 and exports["b+"](store, 1) == -1
    assert exports["t+"](store, page // 8 - 1024) == 1024 and exports["t+"](store, 1) == -1
    with pytest.raises(WasmError, match="failed to grow"):
        exports["b"].grow(store, 1)
    with pytest.raises(WasmError, match=r"memory minimum size of 1 pages exceeds memory limits: 65536 bytes beside"):
        wasmjit.Memory(store, wasmjit.MemoryType(wasmjit.Limits(1, None)))
    store.set_limits(total_memory=11 * page)
    assert exports["b+"](store, 1) == 4
    store.set_limits(total_memory=0)  # what there is stays
    assert exports["b+"](store, 1) == -1 and exports["b+"](store, 0) == 5


@pytest.mark.parametrize(
    "what", ["(memory 16)" * 99, "(table 10000000 funcref)" * 20, "(memory 1) (table 130000 funcref)"]
)
def test_run_bounds_memories_and_tables_together(engine: Engine, what: str) -> None:
    text = f'(module (memory (export "memory") 1) {what} (func (export "_start")))'.encode()
    with pytest.raises(WasmError, match=r"(memory|table) minimum size of \d+ (pages|elements) exceeds memory limits"):
        wasmjit.run(text, max_memory=1 << 20, engine=engine)
    assert (
        wasmjit.run(b'(module (memory 16) (func (export "_start")))', max_memory=1 << 20, engine=engine).exit_code == 0
    )


def test_run_bounds_tables(engine: Engine) -> None:
    text = b'(module (table 11 funcref) (func (export "_start")))'
    assert wasmjit.run(text, max_table_elements=11, engine=engine).exit_code == 0
    with pytest.raises(WasmError, match="table minimum size of 11 elements exceeds table limits"):
        wasmjit.run(text, max_table_elements=10, engine=engine)


def test_a_refused_growth_counts_nothing() -> None:
    engine = Engine(wasmjit.Config(tier="baseline"))
    store = Store(engine, max_memory=1 << 20)
    memory = wasmjit.Memory(store, wasmjit.MemoryType(wasmjit.Limits(1, 3)))
    table = wasmjit.Table(store, wasmjit.TableType(wasmjit.ValType.funcref(), wasmjit.Limits(1, 3)), None)
    for _ in range(100):
        for each, amount in ((memory, 3), (table, 3)):
            with pytest.raises(WasmError):
                each.grow(store, amount) if each is memory else table.grow(store, amount, None)
    assert memory.grow(store, 2) == 1 and table.grow(store, 2, None) == 1


def test_run_with_fuel_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "p.wat"
    path.write_text('(module (func (export "_start") (loop $l (br $l))))')
    with pytest.raises(Trap) as caught:
        wasmjit.run(path, fuel=10_000)
    assert caught.value.trap_code is TrapCode.OUT_OF_FUEL
    path.write_text('(module (func (export "_start")))')
    assert wasmjit.run(path, fuel=10_000).exit_code == 0 and wasmjit.run(path).exit_code == 0
    assert wasmjit.run(path.read_bytes(), fuel=10_000).exit_code == 0
