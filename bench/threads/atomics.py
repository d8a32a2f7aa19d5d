"""Atomic instructions, notify, and two threads that wake each other, beside the wasmtime package."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import wasmjit

PACKAGES = ("wasmjit", "wasmtime")
TIMES = 1_000_000
TURNS = 5_000
_REPEATED = {
    "atomic add": "(i32.atomic.rmw.add (i32.const 64) (i32.const 1))",
    "atomic cmpxchg": "(i32.atomic.rmw.cmpxchg (i32.const 64) (i32.const 1) (i32.const 2))",
    "notify without a waiter": "(memory.atomic.notify (i32.const 64) (i32.const 1))",
}
_LOOP = """(func (export "{name}") (param i32) (loop $l (drop {what})
  (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))"""
# Who has the turn takes it, gives it to the other, and waits.
_PLAY = """(func (export "play") (param $own i32) (param $other i32) (param $turns i32)
  (loop $turn
    (block $have (loop $look
      (br_if $have (i32.atomic.load (local.get $own)))
      (drop (memory.atomic.wait32 (local.get $own) (i32.const 0) (i64.const -1)))
      (br $look)))
    (i32.atomic.store (local.get $own) (i32.const 0))
    (i32.atomic.store (local.get $other) (i32.const 1))
    (drop (memory.atomic.notify (local.get $other) (i32.const 1)))
    (br_if $turn (local.tee $turns (i32.sub (local.get $turns) (i32.const 1))))))"""
MODULE = f"""(module (import "" "m" (memory 1 1 shared))
  {" ".join(_LOOP.format(name=name, what=what) for name, what in _REPEATED.items())} {_PLAY})"""


class Subject:
    """The module in one package, with any number of instances over one memory."""

    def __init__(self, api: Any) -> None:
        config = api.Config()
        config.wasm_threads = config.shared_memory = True
        if api is wasmjit:
            config.tier = "optimized"
        else:
            mend(api)
        self._api = api
        self._engine = api.Engine(config)
        self._module = api.Module(self._engine, MODULE)
        self._memory = api.SharedMemory(self._engine, api.MemoryType(api.Limits(1, 1), shared=True))

    def bound(self) -> Callable[..., Any]:
        """Calls an export by its name in an instance of its own."""
        store, linker = self._api.Store(self._engine), self._api.Linker(self._engine)
        linker.define(store, "", "m", self._memory)
        exports = linker.instantiate(store, self._module).exports(store)
        return lambda name, *arguments: exports[name](store, *arguments)

    def play(self) -> float:
        """Seconds of a turn of two threads."""
        players = [self.bound() for _ in range(2)]
        self._memory.data_ptr()[64] = 1
        self._memory.data_ptr()[128] = 0
        places = ((64, 128), (128, 64))
        threads = [
            threading.Thread(target=player, args=("play", *place, TURNS))
            for player, place in zip(players, places, strict=True)
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (time.perf_counter() - began) / TURNS


def mend(api: Any) -> None:
    """The package's Linker takes no SharedMemory: what makes it an item has a wrong type."""
    bindings = api._ffi

    def as_extern(memory: Any) -> Any:
        union = bindings.wasmtime_extern_union(sharedmemory=memory.ptr())
        return bindings.wasmtime_extern_t(bindings.WASMTIME_EXTERN_SHAREDMEMORY, union)

    api.SharedMemory._as_extern = as_extern


def measure(rounds: int, apis: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Nanoseconds of each, by package, a round after the other: of this thread's processor time, and of turns by the
    clock."""
    subjects = {name: Subject(api) for name, api in apis.items()}
    calls = {name: subject.bound() for name, subject in subjects.items()}
    taken: dict[str, dict[str, list[float]]] = {what: {name: [] for name in apis} for what in (*_REPEATED, "turn")}
    for _ in range(rounds):
        for what in _REPEATED:
            for name, call in calls.items():
                began = time.thread_time()
                call(what, TIMES)
                taken[what][name].append((time.thread_time() - began) / TIMES * 1e9)
        for name, subject in subjects.items():
            taken["turn"][name].append(subject.play() * 1e9)
    return taken
