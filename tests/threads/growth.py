"""Shared memories that grow, go and are accessed outside of their ends, from several threads.

    python -m tests.threads.growth [--seconds 600] [--threads 4] [--seed 1]

The threads have a few memories in common. Each takes one after the other, uses it from wasm and from Python, keeps
views, and puts new ones in their places: those who use an old one keep it, and it is unmapped with the last. A page
that somebody uses has its number in its first word, or nothing yet. What is outside of a memory is a trap, and never
another's.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.timing import becomes_true
from wasmjit import (
    Config,
    Engine,
    Instance,
    Limits,
    MemoryType,
    Module,
    SharedMemory,
    Store,
    Trap,
    TrapCode,
    WasmError,
)

PAGE, MOST_PAGES, PLACES = 65536, 200, 3
MARK = 0x5EED0000
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "optimized": {"tier": "optimized"},
    "checked": {"tier": "optimized", "signals_based_traps": False},
    "baseline": {"tier": "baseline"},
    "auto": {"tier": "auto"},
    "auto, checked": {"tier": "auto", "signals_based_traps": False},
}


def text(is_64: bool) -> str:
    kind, wide = ("i64", "i64 ") if is_64 else ("i32", "")

    def mark_of(page: str) -> str:
        return f"(i32.add (i32.const {MARK}) {f'(i32.wrap_i64 {page})' if is_64 else page})"

    mark = mark_of("(local.get 0)")
    return f"""(module (import "" "m" (memory {wide}1 {MOST_PAGES} shared)) (memory $own 0 {MOST_PAGES})
      (func (export "grow") (param {kind}) (result {kind}) (memory.grow 0 (local.get 0)))
      (func (export "size") (result {kind}) (memory.size 0))
      (func (export "mark") (param {kind}) (i32.store (i{kind[1:]}.mul (local.get 0) ({kind}.const {PAGE})) {mark}))
      (func (export "look") (param {kind}) (result i32) (i32.load (local.get 0)))
      (func (export "look atomically") (param {kind}) (result i32) (i32.atomic.load (local.get 0)))
      (func (export "fill") (param {kind} {kind}) (memory.fill 0 (local.get 0) (i32.const 0) (local.get 1)))
      (func (export "sum") (param {kind}) (result i32) (local $a {kind}) (local $s i32)
        (loop $l (local.set $s (i32.add (local.get $s) (i32.load offset=4 (local.get $a))))
          (br_if $l ({kind}.lt_u (local.tee $a ({kind}.add (local.get $a) ({kind}.const 64))) (local.get 0))))
        (local.get $s))
      ;; Grows now and then, marks what it got, and looks at a page; how many looks showed what nobody writes.
      (func (export "churn") (param {kind}) (result i32)
        (local $page {kind}) (local $old {kind}) (local $found i32) (local $odd i32)
        (loop $l
          (if ({kind}.eqz ({kind}.and (local.get 0) ({kind}.const 15))) (then
            (local.set $old (memory.grow 0 ({kind}.const 1)))
            (if ({kind}.ne (local.get $old) ({kind}.const -1)) (then
              (i32.store ({kind}.mul (local.get $old) ({kind}.const {PAGE})) {mark_of("(local.get $old)")})))))
          (local.set $page ({kind}.rem_u ({kind}.mul (local.get 0) ({kind}.const 7919)) (memory.size 0)))
          (local.set $found (i32.load ({kind}.mul (local.get $page) ({kind}.const {PAGE}))))
          (if (local.get $found) (then
            (local.set $odd (i32.add (local.get $odd) (i32.ne (local.get $found) {mark_of("(local.get $page)")})))))
          (br_if $l ({kind}.ne ({kind}.const 0) (local.tee 0 ({kind}.sub (local.get 0) ({kind}.const 1))))))
        (local.get $odd))
      (func $deep (export "deep") (call $deep))
      (func (export "own") (param i32) (result i32)
        (drop (memory.grow $own (local.get 0))) (i32.load $own (i32.mul (memory.size $own) (i32.const {PAGE})))))"""


class World:
    """What the threads have in common."""

    def __init__(self, configuration: str) -> None:
        self.engine = Engine(Config(shared_memory=True, cache=False, **CONFIGURATIONS[configuration]))
        self.modules = {is_64: Module(self.engine, text(is_64)) for is_64 in (False, True)}
        self.memories = [self.memory(place) for place in range(PLACES)]
        self.done: Counter[str] = Counter()
        self.odd: list[str] = []
        self.ended = False

    def memory(self, place: int) -> SharedMemory:
        kind = MemoryType(Limits(1, MOST_PAGES), shared=True, is_64=place == PLACES - 1)
        made = SharedMemory(self.engine, kind)
        view = made.view()
        if any(view[at : at + 8] != b"\0" * 8 for at in (0, 4096, PAGE - 8)):
            raise AssertionError("a new memory has something in it")
        return made


class Player:
    """One thread."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.choose = random.Random(seed)
        self.views: list[memoryview] = []

    def play(self) -> None:
        try:
            while not self.world.ended:
                self.use(self.choose.randrange(PLACES))
        except BaseException:
            self.world.odd.append(traceback.format_exc())
            self.world.ended = True

    def use(self, place: int) -> None:
        """Takes a memory, and does this and that with it."""
        world, choose = self.world, self.choose
        memory = world.memories[place]
        is_64 = place == PLACES - 1
        store = Store(world.engine)
        exports = Instance(store, world.modules[is_64], [memory]).exports(store)

        def call(name: str, *arguments: int) -> Any:
            return exports[name](store, *arguments)

        acts: list[Callable[[], object]] = [
            lambda: self.grow(memory, call),
            lambda: self.look(memory, call),
            lambda: self.look(memory, call),
            lambda: self.trapping(TrapCode.STACK_OVERFLOW, lambda: call("deep")),
            lambda: self.trapping(TrapCode.MEMORY_OUT_OF_BOUNDS, lambda: call("own", 1)),
            lambda: call("sum", memory.data_len()),
            lambda: self.churn(call),
            lambda: self.look_from_python(memory),
            lambda: self.replace(place),
        ]
        for _ in range(choose.randrange(1, 8)):
            choose.choice(acts)()
        if choose.random() < 0.5:
            store.close()
        if choose.random() < 0.05:
            gc.collect()

    def grow(self, memory: SharedMemory, call: Callable[..., Any]) -> None:
        before = memory.size()
        if self.choose.random() < 0.5:
            with contextlib.suppress(WasmError):
                memory.grow(1)
        else:
            old = call("grow", 1)
            if old != -1 and not before <= old < memory.size():
                raise AssertionError((before, old, memory.size()))
        number = call("size") - 1
        call("mark", number)
        if call("look", number * PAGE) != MARK + number:
            raise AssertionError("what was written is not there")
        self.world.done["growth"] += 1

    def churn(self, call: Callable[..., Any]) -> None:
        """Without the GIL."""
        if call("churn", 1000):
            raise AssertionError("a page has what nobody wrote")
        self.world.done["churned"] += 1

    def look(self, memory: SharedMemory, call: Callable[..., Any]) -> None:
        """At the begin of a page inside, at the end, or behind: it may have grown as far meanwhile."""
        size = memory.size()
        name = self.choose.choice(["look", "look atomically"])
        number = self.choose.randrange(size)
        if call(name, number * PAGE) not in (0, MARK + number):
            raise AssertionError((number, call(name, number * PAGE)))
        behind = self.choose.choice([size, size + 1, MOST_PAGES, MOST_PAGES + 1000, 30000])
        try:
            found = call(name, behind * PAGE)
        except Trap as trap:
            if trap.trap_code is not TrapCode.MEMORY_OUT_OF_BOUNDS:
                raise
        else:
            # A page can be accessed before the size counts it, which it does as soon as who grows it goes on.
            if found not in (0, MARK + behind) or not becomes_true(lambda: behind < memory.size(), 20):
                raise AssertionError((behind, found))
        if self.choose.random() < 0.3:
            self.trapping(TrapCode.MEMORY_OUT_OF_BOUNDS, lambda: call("fill", 8, MOST_PAGES * PAGE))
        self.world.done["faults"] += 1

    def trapping(self, code: TrapCode, act: Callable[[], object]) -> None:
        try:
            act()
        except Trap as trap:
            if trap.trap_code is not code:
                raise
            self.world.done[code.name] += 1
        else:
            raise AssertionError(f"no {code.name}")

    def look_from_python(self, memory: SharedMemory) -> None:
        """At what is mapped still, whoever has dropped it."""
        self.views.append(memory.view())
        for view in self.views:
            number = self.choose.randrange(len(view) // PAGE)
            if int.from_bytes(view[number * PAGE : number * PAGE + 4], "little") not in (0, MARK + number):
                raise AssertionError("a view shows another memory")
            view[-1] = 0
        del self.views[: len(self.views) - 3]

    def replace(self, place: int) -> None:
        self.world.memories[place] = self.world.memory(place)
        self.world.done["memories"] += 1


def play(configuration: str, seconds: float, threads: int = 4, seed: int = 1) -> World:
    """What was done, and what was odd."""
    world = World(configuration)
    playing = [threading.Thread(target=Player(world, seed * 1000 + number).play) for number in range(threads)]
    for thread in playing:
        thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not world.ended:
        time.sleep(min(0.1, seconds))
    world.ended = True
    for thread in playing:
        thread.join()
    return world


def main() -> int:
    """Prints a line for each configuration."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    faulthandler.enable()
    odd = 0
    for configuration in CONFIGURATIONS:
        world = play(configuration, options.seconds / len(CONFIGURATIONS), options.threads, options.seed)
        odd += len(world.odd)
        print(f"{configuration}: {dict(world.done)}", *world.odd, sep="\n  ", flush=True)
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
