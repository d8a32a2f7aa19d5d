"""wasi-threads: programs that start threads, and how they end."""

from __future__ import annotations

import asyncio
import functools
import gc
import io
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import wasmjit
from tests.timing import is_quick
from wasmjit import Config, Engine, ExitTrap, Limits, Linker, MemoryType, Module, SharedMemory, Store, Trap, WasmError
from wasmjit.wasi import thread_workers, threads
from wasmjit.wasi.constants import Errno

HEAD = """(module (import "env" "memory" (memory 1 4 shared)) (export "memory" (memory 0))
 (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
 (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
 (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
 (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
 (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
 (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
 (func $wait (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
 (func $spin (loop (br 0)))
 (func $until (param $at i32) (param $value i32)
   (loop (drop (call $yield)) (br_if 0 (i32.ne (i32.atomic.load (local.get $at)) (local.get $value)))))
"""
WAIT = "(call $wait)"
# Everything that a thread may be in when it is to end: code, a wait, a system call, another thread's lock.
PLACES = {
    "code": "(call $spin)",
    "wait": WAIT,
    "poll": """(i32.store (i32.const 1024) (i32.const 0)) (i64.store (i32.const 1048) (i64.const 1_000_000_000_000))
               (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 3072)))""",
    "stdin": """(i64.store (i32.const 1024) (i64.const 0x1000001000))
                (drop (call $read (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 3072)))""",
}
MOST = 3
AGAIN = -Errno.AGAIN.value
END_SECONDS = 0.5  # generous: 0.05 is what it takes while nobody else runs


@functools.cache
def engine(**settings: Any) -> Engine:
    return Engine(Config(shared_memory=True, tier="baseline", **settings))


@functools.cache
def module(body: str, **settings: Any) -> Module:
    return Module(engine(**settings), f"{HEAD} {body})")


class Program:
    """An instance whose threads may be MOST."""

    def __init__(self, body: str, *, settings: dict[str, Any] | None = None, wasi: Any = None, **limits: Any) -> None:
        compiled = module(body, **settings or {})
        self.store = Store(compiled.engine, **limits)
        config = wasmjit.WasiConfig(max_threads=MOST) if wasi is None else wasi
        self.store.set_wasi(config)
        self.memory = SharedMemory(compiled.engine, MemoryType(Limits(1, 4), shared=True))
        self.linker = Linker(compiled.engine)
        self.linker.define_wasi(threads=True)
        self.linker.define(self.store, "env", "memory", self.memory)
        self.exports = self.linker.instantiate(self.store, compiled).exports(self.store)

    def call(self, name: str = "_start", *arguments: int) -> Any:
        return self.exports[name](self.store, *arguments)

    def number(self, address: int) -> int:
        return int.from_bytes(self.memory.view()[address : address + 4], "little", signed=True)


def wasi_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("wasi-thread")]


@pytest.fixture(autouse=True)
def all_end() -> Any:
    yield
    deadline = time.monotonic() + 60
    while wasi_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not wasi_threads()


COUNT = """(func (export "_start") (local $i i32)
    (loop
      (i32.store (i32.add (i32.const 64) (i32.shl (local.get $i) (i32.const 2))) (call $spawn (local.get $i)))
      (br_if 0 (i32.lt_s (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
    (call $until (i32.const 0) (i32.const 3)))
  (func (export "wasi_thread_start") (param $id i32) (param $argument i32)
    (i32.store (i32.add (i32.const 32) (i32.shl (local.get $argument) (i32.const 2))) (local.get $id))
    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))"""


def test_threads_get_their_number_and_argument() -> None:
    program = Program(COUNT)
    program.call()
    numbers = [program.number(64 + 4 * i) for i in range(3)]
    assert numbers == [1, 2, 3] and [program.number(32 + 4 * i) for i in range(3)] == numbers


def test_threads_start_threads_and_numbers_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 2**29-1, and never that of a thread that runs."""
    monkeypatch.setattr(threads, "MOST_NUMBERS", 2)
    body = """(func (export "_start") (drop (call $spawn (i32.const 5))) (call $until (i32.const 0) (i32.const 6)))
      (func (export "wasi_thread_start") (param i32 i32)
        (if (local.get 1) (then
          (i32.store (i32.add (i32.const 32) (i32.shl (local.get 1) (i32.const 2))) (local.get 0))
          (loop (br_if 0 (i32.lt_s (call $spawn (i32.sub (local.get 1) (i32.const 1))) (i32.const 0))))))
        (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))"""
    program = Program(body, wasi=wasmjit.WasiConfig(max_threads=2))
    program.call()
    assert {program.number(32 + 4 * i) for i in range(1, 6)} == {1, 2}


def test_run_runs_programs_with_threads() -> None:
    """In one call, which makes the memory; without being asked it lets them start none."""
    compiled = module(LINES)
    result = wasmjit.run(compiled, threads=True, max_threads=1)
    assert result.exit_code == 0 and result.stdout.count(b"a" * 15 + b"\n") == 100 and len(result.stdout) == 3200
    with pytest.raises(wasmjit.UnknownImportError):
        wasmjit.run(compiled)


def test_there_is_a_most_of_threads() -> None:
    """Beyond it the program gets an error, and a thread that ends makes room."""
    body = f"""(func (export "spawn") (param i32) (result i32) (call $spawn (local.get 0)))
      (func (export "wasi_thread_start") (param i32 i32) (if (i32.eqz (local.get 1)) (then {WAIT})))"""
    program = Program(body)
    assert [program.call("spawn", 0) for _ in range(5)] == [1, 2, 3, AGAIN, AGAIN]
    assert len(wasi_threads()) == MOST  # of a library: they go on when the call is over
    assert program.store.interrupt() and not wasi_threads()
    assert program.call("spawn", 1) == 1
    none = Program(body, wasi=wasmjit.WasiConfig(max_threads=0))
    assert none.call("spawn", 0) == AGAIN


def test_a_system_without_threads_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    program = Program("""(func (export "spawn") (result i32) (call $spawn (i32.const 0)))
      (func (export "wasi_thread_start") (param i32 i32))""")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        patch.setattr(thread_workers, "_take_idle", lambda: None)
        assert [program.call("spawn") for _ in range(5)] == [AGAIN] * 5
    assert program.call("spawn") > 0


ENDS = {
    "exit": ("(call $exit (i32.const 42))", ExitTrap, "status 42"),
    "trap": ("(unreachable)", Trap, "in thread 1 of the program: error while executing at wasm backtrace:\n.*!last"),
}


def write_when_ended(program: Program, host_fd: int) -> None:
    while (group := program.store._record.group) is None or not group.has_ended:
        time.sleep(0.001)
    os.write(host_fd, b"x")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_one_thread_ends_all(place: str, end: str) -> None:
    """The first thread, wherever it is, and one that waits; a trap says which thread it was in."""
    code, kind, message = ENDS[end]
    body = f"""(func $waiting {WAIT}) (func $last {code})
      (func (export "_start") (drop (call $spawn (i32.const 1))) (drop (call $spawn (i32.const 0)))
        (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1))) {PLACES[place]})
      (func (export "wasi_thread_start") (param i32 i32)
        (if (local.get 1) (then (call $until (i32.const 16) (i32.const 2)) (call $last))
          (else (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1))) (call $waiting))))"""
    reading, writing = os.pipe()
    with open(reading, "rb") as stdin, open(writing, "wb"):
        program = Program(body, wasi=wasmjit.WasiConfig(stdin=stdin))
        with pytest.raises(kind, match="(?s)" + message) as caught:
            if place != "stdin":
                program.call()
            else:  # a read in Python ends when there is something to read
                threading.Thread(target=write_when_ended, args=(program, writing)).start()
                program.call()
    assert getattr(caught.value, "thread_id", 1) == 1 and not wasi_threads()


WAYS: dict[str, Any] = {
    "typed": lambda program, start: start.typed(program.store)(),
    "with the GIL": lambda program, start: start.typed(program.store, nogil=False)(),
    "call_async": lambda program, start: asyncio.run(start.call_async(program.store)),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_calls_it_raises_what_ended_the_program(way: str) -> None:
    program = Program(
        f"""(func (export "_start") (drop (call $spawn (i32.const 0))) {WAIT})
          (func (export "wasi_thread_start") (param i32 i32) (call $exit (i32.const 9)))"""
    )
    with pytest.raises(ExitTrap) as caught:
        WAYS[way](program, program.exports["_start"])
    assert caught.value.code == 9 and not wasi_threads()


def test_a_cancelled_call_ends_its_threads() -> None:
    async def cancel() -> None:
        program = Program(WAITING)
        task = asyncio.ensure_future(program.exports["_start"].call_async(program.store))
        while not program.number(16):
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not wasi_threads()

    asyncio.run(cancel())


@pytest.mark.parametrize("place", ["code", "wait", "poll"])
def test_the_return_of_start_ends_threads(place: str) -> None:
    body = f"""(func (export "_start") (drop (call $spawn (i32.const 0))) (call $until (i32.const 16) (i32.const 1)))
      (func (export "wasi_thread_start") (param i32 i32)
        (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1))) {PLACES[place]})"""
    program = Program(body)
    assert program.call() is None and not wasi_threads()


WAITING = f"""(func (export "_start")
    (drop (call $spawn (i32.const 0))) (call $until (i32.const 16) (i32.const 1)) {WAIT})
  (func (export "spawn") (drop (call $spawn (i32.const 0))) (call $until (i32.const 16) (i32.const 1)))
  (func (export "wasi_thread_start") (param i32 i32) (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1))) {WAIT})"""


def test_interrupts_reach_all_threads_at_once() -> None:
    program = Program(WAITING)

    def between_calls() -> None:
        program.memory.view()[16] = 0
        program.call("spawn")
        assert program.store.interrupt() and not wasi_threads()

    def interrupt() -> None:
        while not program.number(16):
            time.sleep(0.001)
        program.store.interrupt()

    def in_a_call() -> None:
        program.memory.view()[16] = 0
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(Trap, match="interrupt") as caught:
            program.call()
        thread.join()
        assert caught.value.thread_id is None and not wasi_threads()

    assert is_quick(between_calls, END_SECONDS)
    assert is_quick(in_a_call, END_SECONDS)


def test_a_timeout_reaches_all_threads() -> None:
    program = Program(WAITING, timeout=0.2)
    with pytest.raises(Trap, match="interrupt"):
        program.call()
    assert not wasi_threads()
    body = """(func (export "_start") (drop (call $spawn (i32.const 0))) (call $wait))
      (func (export "wasi_thread_start") (param i32 i32) (call $spin))"""
    with pytest.raises(Trap, match="interrupt"):
        Program(body, timeout=0.1).call()


def test_closing_or_dropping_a_store_ends_its_threads() -> None:
    for ends in (lambda program: program.store.close(), lambda program: program.__dict__.clear()):
        program = Program(WAITING)
        program.call("spawn")
        assert wasi_threads()
        ends(program)
        gc.collect()
        deadline = time.monotonic() + 60
        while wasi_threads() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not wasi_threads()


def test_fuel_is_divided() -> None:
    """A thread gets half of what the one that starts it has, so together they use no more than was given."""
    body = """(func (export "_start") (drop (call $spawn (i32.const 0))) (call $wait))
      (func (export "spawn") (drop (call $spawn (i32.const 1))))
      (func (export "wasi_thread_start") (param i32 i32) (if (i32.eqz (local.get 1)) (then (call $spin))))"""
    program = Program(body, settings={"consume_fuel": True}, fuel=1_000_000)
    with pytest.raises(Trap, match=r"(?s)in thread 1.*all fuel consumed"):
        program.call()
    assert 499_000 < program.store.get_fuel() <= 500_000
    program.call("spawn")
    assert 249_000 < program.store.get_fuel() <= 250_000


def test_limits_hold_for_stores_of_threads() -> None:
    body = """(table 10 funcref) (func (export "_start") (drop (call $spawn (i32.const 0))) (call $wait))
      (func (export "wasi_thread_start") (param i32 i32)
        (i32.store (i32.const 32) (table.grow (ref.null func) (i32.const 10)))
        (i32.store (i32.const 36) (memory.grow (i32.const 1))) (call $exit (i32.const 0)))"""
    program = Program(body)
    program.store.set_limits(table_elements=15)
    asked = []
    program.store.limiter = lambda *question: asked.append(question) or question[0] == "table" or question[2] <= 65536
    with pytest.raises(ExitTrap):
        program.call()
    assert program.number(32) == program.number(36) == -1 and len(asked) >= 2


def test_epochs_reach_threads() -> None:
    body = """(func (export "_start") (drop (call $spawn (i32.const 0))) (call $wait))
      (func (export "wasi_thread_start") (param i32 i32) (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1)))
        (call $spin))"""
    for _ in range(20):  # the first thread may not be at its wait yet, which no epoch ends
        program = Program(body, settings={"epoch_interruption": True})
        program.store.set_epoch_deadline(1)
        threading.Timer(0.1, program.store.engine.increment_epoch).start()
        with pytest.raises(Trap, match="interrupt") as caught:
            program.call()
        if caught.value.thread_id == 1:
            break
    assert "in thread 1" in str(caught.value)


def test_what_a_host_function_raises_ends_all() -> None:
    body = f"""(func (export "_start") (drop (call $spawn (i32.const 0))) {WAIT})
      (func (export "wasi_thread_start") (param i32 i32)
        (i64.store (i32.const 1024) (i64.const 0x100000000))
        (drop (call $write (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 3072))))"""

    def fail(data: bytes) -> None:
        raise KeyError("of mine")

    with pytest.raises(KeyError, match="of mine") as caught:
        Program(body, wasi=wasmjit.WasiConfig(stdout=fail)).call()
    assert not hasattr(caught.value, "add_note") or caught.value.__notes__ == ["in thread 1 of the program"]


def test_a_failure_while_no_call_runs_is_raised_by_the_next() -> None:
    body = """(func (export "spawn") (drop (call $spawn (i32.const 0)))) (func (export "nothing"))
      (func (export "wasi_thread_start") (param i32 i32) (call $until (i32.const 16) (i32.const 1)) (unreachable))"""
    program = Program(body)
    program.call("spawn")
    program.memory.view()[16] = 1
    deadline = time.monotonic() + 60
    while wasi_threads() and time.monotonic() < deadline:
        time.sleep(0.005)
    with pytest.raises(Trap, match="in thread 1"):
        program.call("nothing")
    program.call("nothing")


LINES = """(func $lines (param $at i32) (local $i i32)
    (i32.store (local.get $at) (i32.add (local.get $at) (i32.const 64)))
    (i32.store offset=4 (local.get $at) (i32.const 16))
    (loop
      (drop (call $write (i32.const 1) (local.get $at) (i32.const 1) (i32.add (local.get $at) (i32.const 32))))
      (br_if 0 (i32.lt_s (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100)))))
  (data (i32.const 1088) "aaaaaaaaaaaaaaa\\n") (data (i32.const 2112) "bbbbbbbbbbbbbbb\\n")
  (func (export "_start") (drop (call $spawn (i32.const 2048))) (call $lines (i32.const 1024))
    (call $until (i32.const 16) (i32.const 1)))
  (func (export "wasi_thread_start") (param i32 i32) (call $lines (local.get 1))
    (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1))))"""


@pytest.mark.parametrize("kind", ["callback", "StringIO", "bounded"])
def test_python_objects_are_used_by_one_thread_at_a_time(kind: str) -> None:
    written: list[bytes] = []
    inside: list[int] = []

    def write(data: bytes) -> None:
        inside.append(1)
        assert len(inside) == 1
        time.sleep(0.0001)
        written.append(data)
        inside.pop()

    text = io.StringIO()
    bound = 2000 if kind == "bounded" else None
    program = Program(
        LINES, wasi=wasmjit.WasiConfig(stdout=text if kind == "StringIO" else write, max_output_bytes=bound)
    )
    if kind == "bounded":
        with pytest.raises(WasmError, match="output exceeds"):
            program.call()
        assert sum(map(len, written)) == 2000
        return
    program.call()
    lines = text.getvalue().splitlines() if kind == "StringIO" else b"".join(written).decode().splitlines()
    assert sorted(lines) == ["a" * 15] * 100 + ["b" * 15] * 100


def test_a_descriptor_that_is_used_stays_open_for_the_host(tmp_path: Any) -> None:
    """Its host number could be another file's at once: closed while a thread reads, it goes when that read is over."""
    body = """(func (export "_start") (drop (call $spawn (i32.const 0))) (call $until (i32.const 16) (i32.const 1))
        (loop (drop (call $yield)) (br_if 0 (i32.eqz (i32.atomic.load (i32.const 20)))))
        (i32.store (i32.const 24) (call $close (i32.const 0)))
        (i32.store (i32.const 28) (call $close (i32.const 0)))
        (call $until (i32.const 16) (i32.const 2)))
      (func (export "wasi_thread_start") (param i32 i32) (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1)))
        (i64.store (i32.const 1024) (i64.const 0x400001000))
        (i32.store (i32.const 32) (call $read (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 3072)))
        (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1))))"""
    os.mkfifo(tmp_path / "pipe")
    host = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        config = wasmjit.WasiConfig()
        config.stdin_file = str(tmp_path / "pipe")
        program = Program(body, wasi=config)

        def go_on() -> None:
            while program.number(16) != 1:
                time.sleep(0.001)
            time.sleep(0.05)  # so that it reads
            program.memory.view()[20] = 1
            time.sleep(0.05)
            os.write(host, b"abcd")

        threading.Thread(target=go_on).start()
        program.call()
        assert program.number(24) == 0 and program.number(28) == Errno.BADF.value
        assert program.number(32) == 0 and bytes(program.memory.view()[4096:4100]) == b"abcd"
    finally:
        os.close(host)


MISSING = {
    "no memory": ('(module (memory (export "memory") 1 1 shared)', "imports no shared memory"),
    "no entry": (
        '(module (import "env" "memory" (memory 1 4 shared)) (export "memory" (memory 0))',
        "no function `wasi_",
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_what_is_missing_is_named(what: str) -> None:
    head, message = MISSING[what]
    entry = '(func (export "wasi_thread_start") (param i32 i32))' if what == "no memory" else ""
    spawn = '(import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))'
    if what == "no memory":
        head = f"(module {spawn} {head.removeprefix('(module')}"
        spawn = ""
    text = f'{head} {spawn} {entry} (func (export "f") (drop (call $spawn (i32.const 0)))))'
    store, linker = Store(engine()), Linker(engine())
    store.set_wasi(wasmjit.WasiConfig())
    linker.define_wasi(threads=True)
    linker.define(store, "env", "memory", SharedMemory(engine(), MemoryType(Limits(1, 4), shared=True)))
    exports = linker.instantiate(store, Module(engine(), text)).exports(store)
    with pytest.raises(WasmError, match=message):
        exports["f"](store)


def test_imports_of_one_store_are_named() -> None:
    head = HEAD.replace(" (func $wait", ' (import "env" "f" (func)) (func $wait')
    text = f"""{head} (func (export "wasi_thread_start") (param i32 i32))
      (func (export "spawn") (drop (call $spawn (i32.const 0)))))"""
    store, linker, compiled = Store(engine()), Linker(engine()), Module(engine(), text)
    store.set_wasi(wasmjit.WasiConfig())
    linker.define_wasi(threads=True)
    linker.define(store, "env", "memory", SharedMemory(engine(), MemoryType(Limits(1, 4), shared=True)))
    linker.define(store, "env", "f", wasmjit.Func(store, wasmjit.FuncType([], []), lambda: None))
    made = linker.instantiate(store, compiled)
    with pytest.raises(WasmError, match="`env::f` of the Linker belongs to one Store"):
        made.exports(store)["spawn"](store)
    imports = [linker.get_by_import(store, item) for item in compiled.imports]
    other = Store(engine())
    with pytest.raises(WasmError, match="another Store"):
        wasmjit.Instance(other, compiled, imports)


def test_an_instance_without_a_linker_has_no_threads() -> None:
    text = """(module (import "env" "memory" (memory 1 4 shared)) (export "memory" (memory 0))
      (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
      (func (export "wasi_thread_start") (param i32 i32)) (func (export "f") (drop (call $spawn (i32.const 0)))))"""
    store, linker, compiled = Store(engine()), Linker(engine()), Module(engine(), text)
    store.set_wasi(wasmjit.WasiConfig())
    linker.define_wasi(threads=True)
    linker.define(store, "env", "memory", SharedMemory(engine(), MemoryType(Limits(1, 4), shared=True)))
    imports = [linker.get_by_import(store, item) for item in compiled.imports]
    with pytest.raises(WasmError, match="not made by a Linker"):
        wasmjit.Instance(store, compiled, imports).exports(store)["f"](store)


def test_without_threads_the_import_is_unknown() -> None:
    store, linker = Store(engine()), Linker(engine())
    linker.define_wasi()
    linker.define(store, "env", "memory", SharedMemory(engine(), MemoryType(Limits(1, 4), shared=True)))
    with pytest.raises(wasmjit.UnknownImportError, match="wasi::thread-spawn"):
        linker.instantiate(store, module(COUNT))


SCRIPT = """import sys
from tests.api.test_wasi_threads import WAITING, Program
program = Program(WAITING)
program.call("spawn")
print("waiting", flush=True)
if sys.argv[1] == "call":
    try:
        program.memory.view()[16] = 0
        program.call()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize("how", [pytest.param("exit", marks=pytest.mark.slow), "call"])
def test_a_process_ends_with_its_threads(how: str) -> None:
    command = [sys.executable, "-c", SCRIPT, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "waiting\n"
        if how == "call":
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
        assert process.wait(60) == 0
