"""Threads that wake each other, in turns: a wake-up that gets lost leaves all of them waiting.

    python -m tests.threads.wakeups [--rounds 10000000] [--tiers words] [--kinds "two, wait64"]

A round is one thread that stores, notifies, and then waits until it is its turn again. A whole number of them is played
at a time, and has to end before the call's timeout. `rounds` is the sum of all.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence

from tests.threads.hostile import TIERS, force
from wasmjit import Config, Engine, Instance, Limits, MemoryType, Module, SharedMemory, Store, Trap, WaitResult

# Whose turn it is, is in one word for all of them, or each has a word of its own, in lines of their own or in one.
KINDS = ("two", "two, wait64", "two, wait a little", "four, one word", "three, a word each", "two, Python and wasm")
SECONDS = 120.0
AT_A_TIME = 20_000  # rounds of all threads together


def text(kind: str) -> str:
    """A module of threads that wait by one kind of instruction."""
    bits = 64 if "wait64" in kind else 32
    ns = 2000 if "a little" in kind else -1
    # Threads look for their number, at a place of their own or at 0; what they store there is the next one's.
    own = "(i32.const 0)" if "one word" in kind else "(i32.shl (local.get $own) (i32.const 3))"
    other = own.replace("$own", "$next")
    most = "-1" if "one word" in kind else "1"
    number, following = ("(local.get $own)", "(local.get $next)")
    if bits == 64:
        number, following = (f"(i64.extend_i32_u {value})" for value in (number, following))
    return f"""(module (import "" "m" (memory 1 1 shared))
      (func (export "play") (param $own i32) (param $next i32) (param $turns i32) (local $found i{bits})
        (loop $turn
          (block $have (loop $look
            (br_if $have (i{bits}.eq (local.tee $found (i{bits}.atomic.load {own})) {number}))
            (drop (memory.atomic.wait{bits} {own} (local.get $found) (i64.const {ns})))
            (br $look)))
          {"" if "one word" in kind else f"(i{bits}.atomic.store {own} (i{bits}.const -1))"}
          (i{bits}.atomic.store {other} {following})
          (drop (memory.atomic.notify {other} (i32.const {most})))
          (br_if $turn (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))"""


def play_from_python(memory: SharedMemory, own: int, following: int, turns: int) -> None:
    """What `play` does."""
    for _ in range(turns):
        while (found := memory.load(8 * own, "i32")) != own:
            if memory.atomic_wait32(8 * own, found & 0xFFFFFFFF, SECONDS) is WaitResult.TIMED_OUT:
                raise TimeoutError
        memory.store(8 * own, -1, "i32")
        memory.store(8 * following, following, "i32")
        memory.atomic_notify(8 * following, 1)


class World:
    """An engine, and the modules of all kinds."""

    def __init__(self, tier: str, kinds: Sequence[str]) -> None:
        config = Config(tier="auto" if tier in ("words", "stencils") else tier)
        config.shared_memory, config.cache = True, False
        self.engine = Engine(config)
        self.modules = {kind: Module(self.engine, text(kind)) for kind in kinds}

    def play(self, kind: str, rounds: int) -> None:
        """So many rounds. Raises if one did not end."""
        memory = SharedMemory(self.engine, MemoryType(Limits(1, 1), shared=True))
        count = {"four": 4, "three": 3}.get(kind.partition(",")[0], 2)
        memory.view()[:64] = b"\xff" * 64
        failures: list[BaseException] = []

        def work(own: int) -> None:
            following, turns = (own + 1) % count, -(-rounds // count)
            try:
                if "Python" in kind and own == 0:
                    play_from_python(memory, own, following, turns)
                else:
                    store = Store(self.engine, timeout=SECONDS)
                    Instance(store, self.modules[kind], [memory]).exports(store)["play"](store, own, following, turns)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(own,)) for own in range(count)]
        for thread in threads:
            thread.start()
        memory.store(0, 0, "u64" if "wait64" in kind else "u32")
        memory.atomic_notify(0)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


def main() -> int:
    """Prints a line for each tier and kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10**6)
    parser.add_argument("--tiers", default=",".join(TIERS))
    parser.add_argument("--kinds", action="append", choices=KINDS)
    options = parser.parse_args()
    kinds, tiers = options.kinds or KINDS, options.tiers.split(",")
    each = -(-options.rounds // (len(kinds) * len(tiers)))
    lost = total = 0
    for tier in tiers:
        force(tier)
        world = World(tier, kinds)
        for kind in kinds:
            began, done = time.monotonic(), 0
            try:
                while done < each:
                    now = min(AT_A_TIME, each - done)
                    world.play(kind, now)
                    done += now
            except (Trap, TimeoutError) as error:
                lost += 1
                print(f"LOST: {error!r}")
            total += done
            print(f"{tier}, {kind}: {done:,} rounds, {1e6 * (time.monotonic() - began) / done:.1f} us each", flush=True)
    print(f"all: {total:,} rounds, {lost} lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
