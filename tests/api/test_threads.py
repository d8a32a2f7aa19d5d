"""Modules that share memories: linking, growth, and threads that wait for each other."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import wasmjit
from wasmjit import (
    Config,
    Engine,
    FuncType,
    Instance,
    Limits,
    Linker,
    MemoryType,
    Module,
    SharedMemory,
    Store,
    Trap,
    TrapCode,
    WaitResult,
    WasmError,
)
from wasmjit.runtime.native import ffi, lib

TEXT = """(module (import "host" "memory" (memory 1 4 shared)) (export "memory" (memory 0))
  (func (export "load") (param i32) (result i32) (i32.atomic.load (local.get 0)))
  (func (export "store") (param i32 i32) (i32.atomic.store (local.get 0) (local.get 1)))
  (func (export "count") (param i32 i32)
    (loop (drop (i32.atomic.rmw.add (local.get 0) (i32.const 1)))
      (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1))))))
  (func (export "wait") (param i32 i32 i64) (result i32)
    (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "wait64") (param i32 i64 i64) (result i32)
    (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "notify") (param i32 i32) (result i32) (memory.atomic.notify (local.get 0) (local.get 1)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "size") (result i32) (memory.size)))"""
CONFIGURATIONS = {
    "optimized": {"tier": "optimized"},
    "baseline": {"tier": "baseline"},
    "auto, checked": {"tier": "auto", "signals_based_traps": False},
}
FOR_EVER = -1
OK, NOT_EQUAL, TIMED_OUT = range(3)
TYPE = MemoryType(Limits(1, 4), shared=True)


class World:
    """A module, a shared memory, and instances of the one with the other, each in a Store of its own."""

    def __init__(self, compiled: World | None = None, **options: Any) -> None:
        self.engine = compiled.engine if compiled else Engine(Config(shared_memory=True, cache=False, **options))
        self.module = compiled.module if compiled else Module(self.engine, TEXT)
        self.memory = SharedMemory(self.engine, TYPE)
        self.linker = Linker(self.engine)
        self.linker.define(Store(self.engine), "host", "memory", self.memory)
        self.call = self.instance()

    def instance(self, store: Store | None = None) -> Callable[..., Any]:
        """A function that calls the exports of a new instance by their names."""
        own = store or Store(self.engine)
        exports = self.linker.instantiate(own, self.module).exports(own)
        return lambda name, *arguments: exports[name](own, *arguments)

    def wait_for_waiters(self, address: int, count: int = 1) -> None:
        """Wakes so many, which may still be on their way."""
        end = time.monotonic() + 120
        while count:
            count -= self.call("notify", address, count)
            assert time.monotonic() < end, "nobody waits"
            time.sleep(0.001)


@pytest.fixture(params=CONFIGURATIONS, scope="module")
def compiled(request: pytest.FixtureRequest) -> World:
    """The engine and module of each configuration, which all tests use."""
    return World(**CONFIGURATIONS[request.param])


@pytest.fixture
def world(compiled: World) -> World:
    return World(compiled)


def started(*works: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    return threads


def joined(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


# ---- linking ----


def test_one_linker_shares_it_with_all_stores(world: World) -> None:
    other = world.instance()
    world.call("store", 4, 7)
    assert other("load", 4) == 7 and world.memory.view()[4] == 7


def test_an_instance_takes_it_and_exports_it(world: World) -> None:
    store = Store(world.engine)
    exported = Instance(store, world.module, [world.memory]).exports(store)["memory"]
    assert isinstance(exported, SharedMemory) and exported.type() == TYPE
    exported.view()[9] = 3
    store.close()
    assert exported.view()[9] == world.memory.view()[9] == 3
    again = Store(world.engine)
    assert Instance(again, world.module, [exported]).exports(again)["load"](again, 8) == 3 << 8


def test_a_module_defines_one(world: World) -> None:
    store = Store(world.engine)
    text = '(module (memory (export "memory") i64 1 3 shared) (data (i64.const 2) "ab"))'
    memory = Instance(store, Module(world.engine, text), []).exports(store)["memory"]
    assert isinstance(memory, SharedMemory) and bytes(memory.view()[:4]) == b"\0\0ab"
    assert (memory.grow(2), memory.size()) == (1, 3)


def test_what_an_instance_exports_is_there_for_all_stores(world: World) -> None:
    store, linker = Store(world.engine), Linker(world.engine)
    text = '(module (memory (export "memory") 1 4 shared) (func (export "f")))'
    linker.define_instance(store, "host", Instance(store, Module(world.engine, text), []))
    for own, value in ((store, 0), (Store(world.engine), 5)):
        exports = linker.instantiate(own, world.module).exports(own)
        assert exports["load"](own, 0) == value
        exports["store"](own, 0, 5)
    with pytest.raises(WasmError, match="belongs to another Store"):
        linker.get(Store(world.engine), "host", "f")


def test_its_option_and_its_engine(world: World) -> None:
    plain = Store(Engine(Config(cache=False)))
    defines = Module(plain.engine, "(module (memory 1 1 shared))")
    with pytest.raises(WasmError, match="shared memory support is disabled for this engine"):
        Instance(plain, defines, [])
    for other in (Store(Engine(Config(shared_memory=True))), plain):
        with pytest.raises(WasmError, match="belongs to another Engine"):
            Instance(other, Module(other.engine, TEXT), [world.memory])


def test_types_have_to_match(world: World) -> None:
    store = Store(world.engine)
    unshared = wasmjit.Memory(store, MemoryType(Limits(1, 4)))
    with pytest.raises(WasmError, match="incompatible import type"):
        Instance(store, world.module, [unshared])
    for limits in ("1 4", "2 4 shared", "1 3 shared"):
        module = Module(world.engine, f'(module (import "host" "memory" (memory {limits})))')
        with pytest.raises(WasmError, match="incompatible import type"):
            Instance(store, module, [world.memory])
    world.memory.grow(1)
    Instance(store, Module(world.engine, '(module (import "host" "memory" (memory 2 4 shared)))'), [world.memory])


def test_limits_of_a_store_count_it(world: World) -> None:
    small = Store(world.engine, max_memory=65536)
    call = world.instance(small)
    assert call("grow", 1) == -1 and world.memory.size() == 1
    with pytest.raises(WasmError, match="failed to grow"):
        world.memory.grow(1)
    small.close()
    assert world.memory.grow(1) == 1
    with pytest.raises(WasmError, match="the shared memory cannot be used in the Store"):
        world.instance(Store(world.engine, max_memory=65536))


def test_a_maximum_that_cannot_be_reserved() -> None:
    engine = Engine(Config(shared_memory=True, cache=False))
    for maximum in (1 << 46, 1 << 48):
        with pytest.raises(WasmError):
            SharedMemory(engine, MemoryType(Limits(1, maximum), is_64=True, shared=True))
        store = Store(engine)
        with pytest.raises(WasmError):
            Instance(store, Module(engine, f"(module (memory i64 1 {maximum} shared))"), [])


def test_code_that_counts_on_guards_gets_no_memory_without() -> None:
    """Whatever Engine a memory says it is of."""
    checked = Engine(Config(shared_memory=True, cache=False, signals_based_traps=False))
    guarded = Engine(Config(shared_memory=True, cache=False))
    memory = SharedMemory(checked, TYPE)
    memory._engine = guarded
    store = Store(guarded)
    with pytest.raises(WasmError, match="another layout than code of this Engine needs"):
        Instance(store, Module(guarded, TEXT), [memory])


def test_what_could_move_is_not_shared() -> None:
    error = ffi.new("int *")
    for reservation_bytes, maximum in ((0, 4), (2 * 65536, 4), (4 * 65536, 4)):
        memory = lib.wj_memory_new(ffi.NULL, 1, maximum, 16, reservation_bytes, 0, error)
        assert lib.wj_memory_share(memory) == (0 if reservation_bytes == 4 * 65536 else errno.EINVAL)
        lib.wj_memory_release(memory)


# ---- threads ----


def test_counts_get_lost_nowhere(world: World) -> None:
    calls = [world.instance() for _ in range(3)]
    joined(started(*[lambda call=call: call("count", 64, 20_000) for call in calls]))
    assert world.call("load", 64) == 60_000


def test_growth_while_others_run(world: World) -> None:
    call = world.instance()
    threads = started(lambda: call("count", 64, 200_000))
    view = world.memory.view()
    assert (world.memory.grow(1), world.call("grow", 1), world.memory.size()) == (1, 2, 3)
    joined(threads)
    assert call("size") == 3
    assert view[64:68] == memoryview((200_000).to_bytes(4, "little")) and world.call("load", 3 * 65536 - 4) == 0


# ---- waiting ----


def test_what_waiting_returns(world: World) -> None:
    assert world.call("wait", 8, 1, FOR_EVER) == NOT_EQUAL
    assert world.call("wait64", 8, 1 << 40, FOR_EVER) == NOT_EQUAL
    begin = time.monotonic()
    assert world.call("wait", 8, 0, 20_000_000) == TIMED_OUT
    assert time.monotonic() - begin >= 0.02
    assert world.call("wait64", 8, 0, 0) == TIMED_OUT
    assert world.call("notify", 8, -1) == 0


def test_as_many_are_woken_as_are_asked_for(world: World) -> None:
    """In order, by address, whatever they wait with."""
    woken: list[int] = []

    def wait(number: int, name: str, address: int) -> None:
        assert world.instance()(name, address, 0, FOR_EVER) == OK
        woken.append(number)

    threads = started(lambda: wait(0, "wait", 8), lambda: wait(1, "wait64", 8), lambda: wait(2, "wait", 16))
    world.wait_for_waiters(16)
    threads[2].join(30)
    assert woken == [2]
    world.wait_for_waiters(8, 2)
    joined(threads)
    assert sorted(woken) == [0, 1, 2] and world.call("notify", 8, 1) == 0


def test_interrupt_and_timeout_end_it(world: World) -> None:
    store, ends = Store(world.engine), []
    call = world.instance(store)

    def wait() -> None:
        with pytest.raises(Trap, match="interrupt"):
            call("wait", 8, 0, FOR_EVER)
        ends.append(time.monotonic())

    threads = started(wait)
    while not store.interrupt():
        time.sleep(0.001)
    joined(threads)
    assert world.call("notify", 8, 1) == 0, "it is in nobody's queue"
    limited = world.instance(Store(world.engine, timeout=0.02))
    with pytest.raises(Trap, match="interrupt"):
        limited("wait", 8, 0, FOR_EVER)
    assert world.call("notify", 8, 1) == 0


def test_signal_handlers_run_while_it_waits(world: World) -> None:
    """One that returns changes nothing: it still waits, and is woken. One that raises ends it."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(world.call("load", 8)))
    try:

        def wake() -> None:
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
            while not seen:
                time.sleep(0.001)
            world.instance()("notify", 8, 1)

        threads = started(wake)
        assert world.call("wait", 8, 0, 20_000_000_000) == OK
        joined(threads)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [0]
    threads = started(lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        world.call("wait", 8, 0, FOR_EVER)
    joined(threads)
    assert world.call("notify", 8, 1) == 0


def test_other_threads_have_the_gil_meanwhile(world: World) -> None:
    """Also where a function keeps it."""
    store = Store(world.engine)
    exports = world.linker.instantiate(store, world.module).exports(store)
    typed = exports["wait"].typed(store, nogil=False)
    results: list[int] = []
    threads = started(lambda: results.append(typed(8, 0, FOR_EVER)))
    world.wait_for_waiters(8)
    joined(threads)
    assert results == [OK]


def is_waiting(store: Store) -> bool:
    """Whether a call of the store is at a wait, or on its way there."""
    return store._record.is_running()


def ended_by(end: Callable[[Store], object], wait: Callable[[Store], object], engine: Engine) -> None:
    """`wait` is called in another thread, and has to end with an interrupt after `end`."""
    store = Store(engine)

    def work() -> None:
        with pytest.raises(Trap) as caught:
            wait(store)
        assert caught.value.trap_code is TrapCode.INTERRUPT

    failures: list[BaseException] = []

    def caught_work() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = started(caught_work)
    while not is_waiting(store):
        time.sleep(0.0005)
    end(store)
    joined(threads)
    assert not failures, failures


def close(store: Store) -> None:
    """Of one that may not be at its wait yet, where it cannot be closed."""
    while store._record.native is not None:
        with contextlib.suppress(WasmError):
            store.close()


def in_host_function(world: World, store: Store) -> object:
    """A call whose host function waits, by a method of the memory."""
    linker = Linker(world.engine)
    linker.define_func("", "wait", FuncType([], []), lambda: void(world.memory.atomic_wait32(8, 0)))
    module = Module(world.engine, '(module (import "" "wait" (func $w)) (func (export "f") (call $w)))')
    return linker.instantiate(store, module).exports(store)["f"](store)


def void(_: object) -> None:
    """For functions without a result."""


@pytest.mark.parametrize("end", [close, lambda store: store.interrupt()], ids=["close", "interrupt"])
@pytest.mark.parametrize("place", ["wasm", "host function"])
def test_a_wait_of_another_thread_is_ended(world: World, place: str, end: Callable[[Store], object]) -> None:
    def wait(store: Store) -> object:
        if place == "host function":
            return in_host_function(world, store)
        return world.instance(store)("wait", 8, 0, FOR_EVER)

    ended_by(end, wait, world.engine)
    assert world.memory.atomic_notify(8) == 0, "it is in nobody's queue"


def test_a_timeout_ends_a_wait_in_a_host_function(world: World) -> None:
    with pytest.raises(Trap) as caught:
        in_host_function(world, Store(world.engine, timeout=0.02))
    assert caught.value.trap_code is TrapCode.INTERRUPT


def test_a_thread_does_not_close_the_store_that_it_waits_in(world: World) -> None:
    """In a signal handler: it would wait for itself."""
    store, seen = Store(world.engine), []
    call = world.instance(store)

    def handler(*_: object) -> None:
        try:
            store.close()
        except WasmError as error:
            seen.append(str(error))
        world.memory.atomic_notify(8)

    before = signal.signal(signal.SIGINT, handler)
    try:
        threads = started(lambda: (wait_until(lambda: is_waiting(store)), os.kill(os.getpid(), signal.SIGINT)))
        # It may come before the wait begins.
        assert call("wait", 8, 0, 2_000_000_000) in (OK, TIMED_OUT)
        joined(threads)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["store cannot be closed while its code is running"]
    store.close()


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0005)


def test_python_and_wasm_wake_each_other(world: World) -> None:
    memory = world.memory
    results: list[object] = []
    threads = started(
        lambda: results.append(memory.atomic_wait32(8, 0)),
        lambda: results.append(memory.atomic_wait64(8, 0, 60)),
        lambda: results.append(world.instance()("wait", 16, 0, FOR_EVER)),
    )
    world.wait_for_waiters(8, 2)
    wait_until(lambda: memory.atomic_notify(16, 1))
    joined(threads)
    assert results == [WaitResult.OK] * 3 == [OK] * 3


def test_signal_handlers_run_while_python_waits(world: World) -> None:
    """One that returns changes nothing; one that raises ends it."""
    memory, seen = world.memory, threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: seen.set())
    try:

        def interrupt() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            seen.wait(20)
            wait_until(lambda: memory.atomic_notify(8))

        threads = started(interrupt)
        assert memory.atomic_wait32(8, 0, 60) is WaitResult.OK
        joined(threads)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(KeyboardInterrupt):
        threads = started(lambda: os.kill(os.getpid(), signal.SIGINT))
        memory.atomic_wait32(8, 0, 60)
    joined(threads)
    assert memory.atomic_notify(8) == 0


def test_counts_of_python_and_wasm_get_lost_nowhere(world: World) -> None:
    calls = [world.instance() for _ in range(2)]
    adds = [lambda: [world.memory.add(64, 3) for _ in range(500)]] * 2
    joined(started(*[lambda call=call: call("count", 64, 20_000) for call in calls], *adds))
    assert world.memory.load(64) == 43_000


def test_messages_arrive_in_order(world: World) -> None:
    """Two threads that wake each other, in turns: no wake-up is lost."""
    text = """(module (import "host" "memory" (memory 1 4 shared))
      (func (export "play") (param $own i32) (param $other i32) (param $turns i32)
        (loop $turn
          (block $have (loop $look
            (br_if $have (i32.atomic.load (local.get $own)))
            (drop (memory.atomic.wait32 (local.get $own) (i32.const 0) (i64.const -1)))
            (br $look)))
          (i32.atomic.store (local.get $own) (i32.const 0))
          (i32.atomic.store (local.get $other) (i32.const 1))
          (drop (memory.atomic.notify (local.get $other) (i32.const 1)))
          (br_if $turn (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))"""
    module = Module(world.engine, text)

    def play(own: int, other: int) -> None:
        store = Store(world.engine, timeout=60)
        world.linker.instantiate(store, module).exports(store)["play"](store, own, other, 2000)

    world.call("store", 128, 1)
    joined(started(lambda: play(128, 132), lambda: play(132, 128)))
    assert (world.call("load", 128), world.call("load", 132)) == (1, 0)


def test_a_program_ends_with_threads_that_wait() -> None:
    program = f"""
import threading, time
from tests.api.test_threads import Store, World
world = World(tier="baseline")
stores = [Store(world.engine) for _ in range(3)]
for store in stores:
    threading.Thread(target=world.instance(store), args=("wait", 8, 0, -1), daemon=True).start()
threading.Thread(target=world.memory.atomic_wait32, args=(8, 0), daemon=True).start()
while not all(store._record.is_running() for store in stores):
    time.sleep(0.001)
print("end", {len(TEXT)})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()[0]) == (0, "end"), done.stderr


def test_a_child_of_a_fork_waits_and_wakes(world: World) -> None:
    """Whatever the parent's threads were doing with the queues."""
    call = world.instance()
    threads = started(lambda: call("wait", 8, 0, FOR_EVER))
    time.sleep(0.02)  # so that it waits; or not, which comes to the same
    child = os.fork()
    if child == 0:
        found = (world.call("notify", 8, 5), world.call("wait", 8, 0, 1_000_000))
        os._exit(0 if found == (0, TIMED_OUT) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    world.wait_for_waiters(8)
    joined(threads)


FORKED_IN_A_HANDLER = """
import os, signal, sys, threading
from tests.api.test_threads import *
from wasmjit.runtime import store as store_module
world = World(tier="baseline")
own, other = Store(world.engine), Store(world.engine)
threading.Thread(target=world.instance(other), args=("wait", 8, 0, FOR_EVER), daemon=True).start()
while not is_waiting(other):
    time.sleep(0.001)
store_module._END_OF_WAIT_SECONDS = 3600  # so long it would wait for a thread that the child has not got
signal.signal(signal.SIGALRM, signal.SIG_DFL)
children = []

def fork(*_):
    children.append(os.fork())
    if not children[0]:
        signal.alarm(20)
        try:
            other.close()
        except WasmError:
            children.append("running")

signal.signal(signal.SIGUSR1, fork)
call = world.instance(own)
threading.Timer(0.02, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
ended = call("wait", 16, 0, 100_000_000)
wait_until(lambda: children)
if not children[0]:
    own.close()
    os._exit(0 if (ended, children) == (TIMED_OUT, [0, "running"]) else 1)
other.close()
os._exit(os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]))
"""


def test_a_child_that_a_handler_forked_knows_who_waits() -> None:
    """It goes on waiting itself, and does not wait for a thread that it does not have."""
    assert subprocess.run([sys.executable, "-c", FORKED_IN_A_HANDLER], timeout=60).returncode == 0


FORKS = """
import os, signal, sys, threading
from wasmjit import *
engine = Engine(Config(shared_memory=True, cache=False, tier="baseline"))
memory = SharedMemory(engine, MemoryType(Limits(1, 4000), shared=True))
linker = Linker(engine)
linker.define(Store(engine), "", "memory", memory)
module = Module(engine, '''(module (import "" "memory" (memory 1 4000 shared))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))
  (func (export "go_on") (loop (drop (memory.grow (i32.const 0))) (br 0))))''')
def call(name):
    store = Store(engine)
    return linker.instantiate(store, module).exports(store)[name](store)
for _ in range(2):
    threading.Thread(target=call, args=["go_on"], daemon=True).start()
signal.signal(signal.SIGALRM, signal.SIG_DFL)
for _ in range(16):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if call("grow") == 1 and len(memory.view()) == 2 * 65536 else 1)
    if os.waitpid(child, 0)[1] != 0:
        os._exit(1)
os._exit(0)
"""


def test_a_child_uses_a_memory_that_grew_as_it_was_forked() -> None:
    """Its lock was held by a thread that the child does not have."""
    assert subprocess.run([sys.executable, "-c", FORKS], timeout=60).returncode == 0
