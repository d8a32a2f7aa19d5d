"""Standard streams that are Python objects, clocks, random numbers and the deterministic mode; and `wasmjit.run`."""

from __future__ import annotations

import io
import logging
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest

import wasmjit
from tests.api.wasi_guest import READ, WRITE, Program, program, subscription
from wasmjit import Config, Engine, MemoryFS, Module, Result, Trap, TrapCode, VirtualClock, WasiConfig, WasmError, run
from wasmjit.wasi.constants import Errno
from wasmjit.wasi.streams import MAX_LOG_LINE_BYTES

pytestmark = pytest.mark.usefixtures("command_line_environment")  # a cache of its own

# ---- loggers ----


class Collected(logging.Handler):
    """Keeps (logger, level, message)."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.name, record.levelno, record.getMessage()))


@pytest.fixture
def logger() -> Any:
    """(logger, its records)."""
    made = logging.getLogger("wasmjit.tests.guest")
    made.setLevel(logging.DEBUG)
    made.propagate = False
    handler = Collected()
    made.addHandler(handler)
    yield made, handler.records
    made.removeHandler(handler)


def test_a_logger_gets_a_record_for_each_line(logger: Any) -> None:
    target, records = logger
    guest = program(WasiConfig(stdout=target, stderr=target))
    for part in (b"one\ntwo", b" and", b" more\r\n", b"\n", "ž".encode()[:1], "ž".encode()[1:] + b" 100% %s"):
        assert guest.write(1, part) == len(part)
    guest.write(2, b"wrong\n")
    name = target.name
    assert records == [
        (name, logging.INFO, "one"), (name, logging.INFO, "two and more"), (name, logging.INFO, ""),
        (name, logging.ERROR, "wrong"),
    ]  # fmt: skip
    with pytest.raises(wasmjit.ExitTrap):
        guest.exports["proc_exit"](guest.store, 0)
    assert records[-1] == (name, logging.INFO, "ž 100% %s")


def test_the_last_line_is_not_lost(logger: Any) -> None:
    target, records = logger
    config = WasiConfig(stdout=logging.LoggerAdapter(target, {}))
    program(config).write(1, b"no end")
    assert [message for _, _, message in records] == ["no end"]
    guest = program(config)
    guest.write(1, b"closed")
    assert guest.call("fd_close", 1) == 0 and records[-1][2] == "closed"


def test_lines_without_end_are_cut(logger: Any) -> None:
    target, records = logger
    guest = program(WasiConfig(stdout=target))
    for _ in range(5):
        guest._next = 1024
        guest.write(1, b"x" * (MAX_LOG_LINE_BYTES // 2))
    assert [len(message) for _, _, message in records] == [MAX_LOG_LINE_BYTES] * 2


# ---- other objects ----


def test_functions_and_files_take_output(tmp_path: Path) -> None:
    parts: list[bytes] = []
    with open(tmp_path / "text", "w", encoding="utf-8") as text:
        guest = program(WasiConfig(stdout=parts.append, stderr=text))
        guest.write(1, b"a")
        guest.write(2, "ž".encode())
    assert parts == [b"a"] and (tmp_path / "text").read_bytes() == "ž".encode()
    output = io.StringIO()
    guest = program(WasiConfig(stdout=output))
    guest.write(1, "ž".encode()[:1])
    guest.store._record.wasi.close()
    assert output.getvalue() == "\N{REPLACEMENT CHARACTER}"
    for wrong in (3, b"bytes"):
        with pytest.raises(TypeError, match=r"file object, a function or a Logger"):
            WasiConfig(stdout=wrong)


def test_input_comes_from_objects_as_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    for source in (
        b"0123456789",
        "0123456789",
        bytearray(b"0123456789"),
        io.BytesIO(b"0123456789"),
        io.StringIO("0123456789"),
    ):
        guest = program(WasiConfig(stdin=source))
        assert guest.read(0, 4) == b"0123" and guest.read(0, 100) == b"456789" and guest.read(0, 4) == b""
    with open(tmp_path / "file", "rb") as file, open(tmp_path / "file", "rb", buffering=0) as raw:
        assert (
            program(WasiConfig(stdin=file)).read(0, 100) == b"0123456789" == program(WasiConfig(stdin=raw)).read(0, 100)
        )


def test_a_program_ends_also_when_its_output_cannot_be_flushed() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = open(writing, "wb")  # noqa: SIM115
    text = io.StringIO()
    guest = program(WasiConfig(stdout=output, stderr=text))
    assert guest.write(1, b"lost") == 4 and guest.write(2, "ž".encode()[:1]) == 1
    with pytest.raises(wasmjit.ExitTrap):
        guest.exports["proc_exit"](guest.store, 0)
    assert text.getvalue() == "\N{REPLACEMENT CHARACTER}"
    with pytest.raises(BrokenPipeError):
        output.close()


# ---- clocks and random numbers ----


def times_of(guest: Program, clock: int, count: int = 2) -> list[int]:
    """What so many looks at a clock show."""
    room, found = guest.room(8), []
    for _ in range(count):
        assert guest.call("clock_time_get", clock, 0, room) == 0
        found.append(struct.unpack("<Q", guest.get(room, 8))[0])
    return found


def random_of(guest: Program, size: int) -> bytes:
    room = guest.room(size)
    assert guest.call("random_get", room, size) == 0
    return guest.get(room, size)


def test_fixed_clocks() -> None:
    guest = program(WasiConfig(clock=5 * 10**18))
    assert times_of(guest, 0) == [5 * 10**18] * 2 and times_of(guest, 1) == [0, 0]
    guest.poll(subscription(1, 0, 1, 10**9))
    assert times_of(guest, 0) == [5 * 10**18 + 10**9] * 2
    config = WasiConfig(clock=VirtualClock(start_ns=100, step_ns=7))
    for _ in range(2):  # every run starts anew
        guest = program(config)
        assert times_of(guest, 0) == [100, 107] and times_of(guest, 1) == [14, 21] and times_of(guest, 3) == [28, 35]
    assert guest.call("clock_time_get", 4, 0, 512) == Errno.INVAL == guest.call("clock_res_get", 4, 512)
    for wrong in ("now", 1.5, True):
        with pytest.raises(TypeError):
            WasiConfig(clock=wrong)
    for settings in ({"start_ns": -1}, {"step_ns": 1.5}, {"start_ns": 1 << 63}):
        with pytest.raises(ValueError):
            VirtualClock(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        WasiConfig(clock=-1)


def test_random_numbers() -> None:
    runs = [random_of(program(WasiConfig(random=seed)), 70_000) for seed in (1, 1, 2, b"seed", None, None)]
    assert runs[0] == runs[1] and len(set(runs)) == 5 and all(len(set(data)) == 256 for data in runs)
    asked: list[int] = []
    guest = program(WasiConfig(random=lambda count: asked.append(count) or bytes(count)))  # type: ignore[func-returns-value]
    assert random_of(guest, 10) == bytes(10) and asked == [10]
    with pytest.raises(ValueError):
        random_of(program(WasiConfig(random=lambda count: b"")), 10)
    with pytest.raises(TypeError):
        WasiConfig(random="x")


def observe(directory: Path) -> list[Any]:
    """All that a program could tell two runs apart by, in a directory with three files."""
    config = WasiConfig(deterministic=True)
    config.preopen_dir(directory, "/")
    guest = program(config)
    seen: list[Any] = [times_of(guest, clock) for clock in range(4)]
    seen.append(random_of(guest, 1000))
    room, used = guest.room(2000), guest.room(4)
    assert guest.call("fd_readdir", 3, room, 2000, 0, used) == 0
    seen.append(guest.get(room, guest.u32(used)))
    for path in (b"b", b"a", b"b", b"c", b"."):
        assert guest.path("path_filestat_get", path, room, before=(1,)) == 0
        seen.append(guest.get(room, 64))
    fd = guest.open(b"a", READ | WRITE)
    guest.write(fd, b"x")
    assert guest.call("fd_filestat_get", fd, room) == 0
    seen.append(guest.get(room, 64))
    seen.append(guest.poll(subscription(1, 0, 1, 10**12)))
    seen.append(times_of(guest, 1))
    return seen


def test_runs_in_deterministic_mode_see_the_same(tmp_path: Path) -> None:
    for name, files in (("one", "abc"), ("two", "cab")):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_bytes(b"hello")
            time.sleep(0.005)
    started = time.monotonic()
    assert observe(tmp_path / "one") == observe(tmp_path / "two")
    assert time.monotonic() - started < 60
    config = WasiConfig(deterministic=True, clock=7, random=3)
    guest = program(config)
    assert times_of(guest, 0) == [7, 7]
    assert (
        random_of(guest, 8)
        == random_of(program(WasiConfig(random=3)), 8)
        != random_of(program(WasiConfig(deterministic=True)), 8)
    )


# ---- wasmjit.run ----

# Copies standard input to standard output, then exits with the number of arguments, the program's name included.
COPY = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64))
    (loop
      (i32.store (i32.const 4) (i32.const 1024))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
      (if (i32.load (i32.const 4)) (then
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br 1))))
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (call $exit (i32.load (i32.const 0)))))"""


def test_a_program_in_one_call(examples: Path) -> None:
    result = run(examples / "json_pretty.wasm", ["-c"], stdin='{"a": [1, 2]}')
    assert result == Result(0, b'{"a":[1,2]}\n', b"") and result.exit_code == 0
    assert run(COPY.encode(), ["x", "y"], stdin=b"input") == (3, b"input", b"")
    module = Module(Engine(), COPY)
    assert [run(module, stdin=io.BytesIO(b"again")) for _ in range(2)] == [Result(1, b"again", b"")] * 2
    output: list[bytes] = []
    assert run(module, stdin="x", stdout=output.append) == (1, b"", b"") and output == [b"x"]


def test_directories_of_all_kinds(examples: Path, tmp_path: Path) -> None:
    program = Module.from_file(Engine(Config(tier="baseline")), str(examples / "textsearch.wasm"))
    (tmp_path / "file").write_text("a needle\n")
    files = MemoryFS({"sub/hay": "hay\nneedle in memory\n"})
    result = run(program, ["-r", "needle", "/host", "/memory"], dirs={"/host": (tmp_path, "ro"), "/memory": files})
    assert result == (0, b"/host/file:a needle\n/memory/sub/hay:needle in memory\n", b"")
    assert run(program, ["needle", str(tmp_path / "file")], dirs=[tmp_path]).stdout == b"a needle\n"
    assert run(program, ["needle", str(tmp_path / "file")]).exit_code == 2  # nothing is visible unless given


def test_output_goes_to_a_memory(examples: Path) -> None:
    files = MemoryFS()
    assert run(examples / "mandelbrot.wasm", ["9", "9", "9", "/out/image.ppm"], dirs={"/out": files}).exit_code == 0
    assert files.read_bytes("image.ppm").startswith(b"P6\n9 9\n")
    result = run(examples / "mandelbrot.wasm", ["9", "9", "9", "/out/new.ppm"], dirs={"/out": (files, "ro")})
    assert result.exit_code == 1 and files.listdir() == ["image.ppm"]


def test_arguments_and_environment_reach_the_program() -> None:
    show = """(module
      (import "wasi_snapshot_preview1" "{0}_sizes_get" (func $sizes (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "{0}_get" (func $get (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (drop (call $get (i32.const 64) (i32.const 1024))) (drop (call $sizes (i32.const 0) (i32.const 4)))
        (i32.store (i32.const 0) (i32.const 1024))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
    engine = Engine()
    assert run(show.format("args").encode(), ["a", "ž"], engine=engine).stdout == "program\0a\0ž\0".encode()
    assert run(show.format("args").encode(), ["a"], argv0="me", engine=engine).stdout == b"me\0a\0"
    assert run(show.format("environ").encode(), env={"A": "1", "B": ""}, engine=engine).stdout == b"A=1\0B=\0"
    assert run(show.format("environ").encode(), engine=engine).stdout == b""


def test_what_goes_wrong_is_an_exception(tmp_path: Path, examples: Path) -> None:
    engine = Engine()
    with pytest.raises(Trap) as caught:
        run(b'(module (func (export "_start") unreachable))', engine=engine)
    assert caught.value.trap_code is TrapCode.UNREACHABLE
    with pytest.raises(Trap) as caught:
        run(b'(module (func (export "_start") (loop br 0)))', timeout=0.05, engine=engine)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    with pytest.raises(WasmError, match="_start"):
        run(b"(module)", engine=engine)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.wasm"):
        run(tmp_path / "nowhere.wasm")
    with pytest.raises(WasmError, match="nowhere"):
        run(COPY.encode(), dirs=["nowhere"], engine=engine)
    with pytest.raises(WasmError, match="Engine"):
        run(Module(Engine(), COPY), engine=engine)
    for wrong in ({"dirs": "/"}, {"stdin": 3}):
        with pytest.raises(TypeError):
            run(COPY.encode(), engine=engine, **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        run(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='"ro" or "rw"'):
        run(COPY.encode(), dirs={"/": (".", "rx")}, engine=engine)
    with pytest.raises(ZeroDivisionError):
        run(COPY.encode(), stdin="x", stdout=lambda data: 1 // 0, engine=engine)


def test_output_is_kept_when_the_program_traps() -> None:
    output = io.BytesIO()
    with pytest.raises(Trap):
        run(
            COPY.replace("(call $exit", "(unreachable) (call $exit").encode(),
            stdin="kept",
            stdout=output,
            engine=Engine(),
        )
    assert output.getvalue() == b"kept"


def test_nothing_is_left_open(tmp_path: Path) -> None:
    module = Module(Engine(), COPY)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run(module, dirs={"/a": tmp_path, "/b": tmp_path})
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the module's own image
