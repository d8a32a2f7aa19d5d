"""What a program with threads keeps for its next thread: the Python thread, and an instance that nobody sees before."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from wasmjit import (
    Config,
    Engine,
    FuncType,
    Limits,
    Linker,
    MemoryType,
    Module,
    SharedMemory,
    Store,
    Trap,
    WasiConfig,
    WasmError,
)
from wasmjit.wasi import thread_workers

# 0: how often the start function has run. 8: what an active segment writes. A thread notes what it finds in its table
# and its global, changes both, and says where it is.
MODULE = """(module (import "env" "memory" (memory 1 4 shared)) (export "memory" (memory 0))
 (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
 (import "host" "here" (func $here))
 (table $table 2 funcref) (elem (i32.const 0) $here) (global $global (mut i32) (i32.const 7))
 (data (i32.const 8) "\\2a")
 (func $started (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))) (start $started)
 (func (export "spawn") (param i32) (result i32) (call $spawn (local.get 0)))
 (func (export "wasi_thread_start") (param i32 i32)
   (loop (br_if 0 (i32.eq (local.get 1) (i32.const 9))))
   (i32.store (i32.const 16) (i32.add (ref.is_null (table.get (i32.const 0))) (global.get $global)))
   (table.set (i32.const 0) (ref.null func)) (global.set $global (i32.const 1))
   (call $here) (i32.atomic.store (i32.const 12) (local.get 0))))"""


@functools.cache
def module(**settings: Any) -> Module:
    return Module(Engine(Config(shared_memory=True, tier="baseline", **settings)), MODULE)


class Program:
    def __init__(self, *, settings: dict[str, Any] | None = None, **limits: Any) -> None:
        compiled = module(**settings or {})
        self.places: list[tuple[int, str]] = []
        self.store = Store(compiled.engine, **limits)
        self.store.set_wasi(WasiConfig())
        self.memory = SharedMemory(compiled.engine, MemoryType(Limits(1, 4), shared=True))
        linker = Linker(compiled.engine)
        linker.define_wasi(threads=True)
        linker.define(self.store, "env", "memory", self.memory)
        linker.define_func("host", "here", FuncType([], []), self._here)
        self.exports = linker.instantiate(self.store, compiled).exports(self.store)

    def _here(self) -> None:
        self.places.append((threading.get_ident(), threading.current_thread().name))

    def spawn(self, argument: int = 0) -> int:
        """Starts a thread, and returns when it has ended."""
        number: int = self.exports["spawn"](self.store, argument)
        group = self.store._record.group
        until(lambda: group is None or not group._threads)
        return number

    def spare(self) -> Any:
        """What there is for the next thread, once there is something."""
        until(lambda: bool(self.store._record.group._spares))
        (spare,) = self.store._record.group._spares
        return spare


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_is_made_in_advance_is_not_seen_before_its_thread() -> None:
    """No start function runs and no segment is written for a thread that there is not."""
    program = Program()
    program.spawn()
    program.memory.store(8, 5, "u8")
    spare = program.spare()
    assert program.memory.load(0) == 2 and program.memory.load(8, "u8") == 5
    assert program.spawn() == 2
    assert program.memory.load(0) == 3 and program.memory.load(8, "u8") == 0x2A
    assert program.memory.load(12) == 2 and program.memory.load(16) == 7, "each has an instance of its own"
    assert spare.store._record.native is None, "it was that one, and is closed"


def test_a_thread_runs_where_another_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """For some time; under its own name. Others may be idle as well, of tests before this one."""
    monkeypatch.setattr(thread_workers, "_IDLE_SECONDS", 60.0)
    monkeypatch.setattr(thread_workers, "_idle", idle := [])
    program = Program()
    program.spawn()
    until(lambda: bool(idle))
    monkeypatch.setattr(thread_workers, "_IDLE_SECONDS", 0.0)
    before = {thread.ident: thread.name for thread in threading.enumerate()}
    assert before[idle[-1].thread.ident] == "wasmjit-idle" and program.spawn() == 2
    assert [name for _, name in program.places] == ["wasi-thread-1", "wasi-thread-2"]
    assert program.places[1][0] in before
    while idle:  # so that they end
        idle.pop().take(lambda: None, "wasmjit-idle")


def test_threads_have_the_settings_of_their_beginning() -> None:
    """Whatever was made in advance."""
    program = Program(settings={"consume_fuel": True}, fuel=1_000_000)
    program.spawn()
    program.spare()
    program.store.set_fuel(1000)
    program.spawn()
    assert 400 < program.store.get_fuel() <= 500
    program.spare()
    program.store.timeout = 0.2
    program.store.set_fuel(1 << 62)
    group = program.store._record.group
    with pytest.raises(Trap, match="interrupt"):
        program.exports["spawn"](program.store, 9)
        until(lambda: group.has_ended)
        program.spawn()


def test_limits_of_what_is_made_in_advance_are_those_of_the_store() -> None:
    program = Program()
    program.spawn()
    program.spare()
    program.store.set_limits(memory_size=65536)
    assert not program.store._record.group._spares
    with pytest.raises(WasmError):
        program.memory.grow(1)
    program.spawn()
    program.spare()
    program.store.set_limits(memory_size=1 << 20)
    assert program.memory.grow(1) == 1, "nobody is left who forbids it"
    program.store.limiter = lambda *question: True
    program.spawn()
    time.sleep(0.01)
    assert not program.store._record.group._spares, "who decides is asked when there is a thread"


def test_nothing_is_kept_for_a_program_that_has_ended() -> None:
    program = Program()
    program.spawn()
    spare = program.spare()
    group = program.store._record.group
    group._end(None)
    group.make_spare(None)
    assert not group._spares
    del spare
