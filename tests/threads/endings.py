"""How long a thread that waits goes on after it was ended: ``python -m tests.threads.endings [ROUNDS]``.

Milliseconds from `Store.interrupt`, `Store.close`, the end of its `timeout` and Ctrl-C until the thread is past its
call, and from the last line of a program with such threads, and without, until the process has ended. For waits in
wasm, and in a host function by `SharedMemory.atomic_wait32`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from wasmjit import Config, Engine, FuncType, Limits, Linker, MemoryType, Module, SharedMemory, Store, Trap

TIMEOUT = 0.02
PLACES = ("wasm", "host function")
PROGRAM = """
import sys, threading, time
from tests.threads.endings import World
world = World()
for place in sys.argv[1:]:
    world.start(place, lambda: None)
time.sleep(0.1)
print(time.monotonic(), flush=True)
"""


class World:
    """A memory in which nobody is ever notified, and a module that waits."""

    def __init__(self) -> None:
        self.engine = Engine(Config(shared_memory=True, tier="baseline"))
        self.memory = SharedMemory(self.engine, MemoryType(Limits(1, 1), shared=True))
        self.linker = Linker(self.engine)
        self.linker.define(Store(self.engine), "", "m", self.memory)
        self.linker.define_func("", "wait", FuncType([], []), self.wait_in_python)
        self.module = Module(
            self.engine,
            """(module (import "" "m" (memory 1 1 shared)) (import "" "wait" (func $wait))
              (func (export "wasm") (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
              (func (export "host function") (call $wait)))""",
        )

    def wait_in_python(self) -> None:
        self.memory.atomic_wait32(0, 0)

    def wait(self, place: str, store: Store) -> None:
        with contextlib.suppress(Trap, KeyboardInterrupt):
            self.linker.instantiate(store, self.module).exports(store)[place](store)

    def start(self, place: str, then: Callable[[], None]) -> Store:
        """A thread that waits."""
        store = Store(self.engine)

        def work() -> None:
            self.wait(place, store)
            then()

        threading.Thread(target=work, daemon=True).start()
        return store


def ended_by(world: World, place: str, end: Callable[[Store], object]) -> float:
    """Seconds until a waiting thread has noticed `end`."""
    over = threading.Event()
    times: list[float] = []
    store = world.start(place, lambda: (times.append(time.monotonic()), over.set())[0])
    time.sleep(0.01)  # so that it waits; where it does not yet, it ends as fast
    began = time.monotonic()
    while not end(store):
        pass
    over.wait()
    return times[0] - began


def close(store: Store) -> bool:
    store.close()
    return True


def ended_by_timeout(world: World, place: str) -> float:
    store = Store(world.engine, timeout=TIMEOUT)
    began = time.monotonic()
    world.wait(place, store)
    return time.monotonic() - began - TIMEOUT


def ended_by_ctrl_c(world: World, place: str) -> float:
    times: list[float] = []

    def press() -> None:
        time.sleep(0.01)
        times.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    world.wait(place, Store(world.engine))
    ended = time.monotonic()
    thread.join()
    return ended - times[0]


def end_of_program(*places: str) -> float:
    done = subprocess.Popen([sys.executable, "-c", PROGRAM, *places], stdout=subprocess.PIPE, text=True)
    assert done.stdout is not None
    last_line = float(done.stdout.readline())
    done.wait()
    return time.monotonic() - last_line


def main() -> int:
    """Prints the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    signal.signal(signal.SIGINT, signal.default_int_handler)
    world = World()
    ends: dict[str, Callable[[str], float]] = {
        "interrupt": lambda place: ended_by(world, place, lambda store: store.interrupt()),
        "close": lambda place: ended_by(world, place, close),
        "timeout": lambda place: ended_by_timeout(world, place),
        "Ctrl-C": lambda place: ended_by_ctrl_c(world, place),
    }
    for name, end in ends.items():
        for place in PLACES:
            taken = sorted(1000 * end(place) for _ in range(rounds))
            print(f"{name}, wait in {place}: median {statistics.median(taken):.2f} ms, most {taken[-1]:.2f} ms")
    for name, places in {"with": PLACES, "without": ()}.items():
        taken = sorted(1000 * end_of_program(*places) for _ in range(max(3, rounds // 10)))
        print(f"end of a program {name} threads: median {statistics.median(taken):.0f} ms, most {taken[-1]:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
