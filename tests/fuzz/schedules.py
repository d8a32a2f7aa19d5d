"""Hostile schedules: two threads and finalizers use every method of every public handle, while stores are closed.

    python -m tests.fuzz.schedules --rounds 10000 [--seed 1]
    python tools/asan.py -m tests.fuzz.schedules --rounds 500

A round has a store, and handles of all kinds, of its own; two threads and the finalizers of garbage take methods at
random (`methods`: they are found in the classes, a new one takes part by itself) with arguments by name and annotation
(`arguments.py`), the garbage collector runs as often as after every allocation, and the interpreter switches threads as
often as it can. What comes back must be a value that somebody put there, or an error that is for the user
(`is_expected`). Rounds run in processes of a few hundred, in which freed memory is overwritten: one that crashes, or
hangs, counts. Prints what was odd with the seed of its round; exit code 1 if anything was.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import functools
import gc
import inspect
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.fuzz.schedule_world import HOT_METHODS, Method, World, is_expected, methods, named
from wasmjit import Engine

ROUNDS_PER_PROCESS = 250
ACTIONS = 30  # of each thread
HANG_SECONDS = 60
THRESHOLDS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 700)
CLOSES, CLOSES_FROM_GARBAGE = 0.01, 0.1  # how many actions close the store, and how many finalizers
AFTER_CLOSE = 4  # actions of a thread when the store is closed
GARBAGE = 0.3  # how many actions leave a finalizer behind


class Finalizer:
    """Garbage that acts when it is collected: it refers to itself, so that the collector's time is its time."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act
        self.cycle = self

    def __del__(self) -> None:
        self.act()


class Round:
    """One round. `odd` has what must not happen; `done` counts the calls that returned."""

    def __init__(self, seed: int, engines: list[Engine]) -> None:
        self.seed = seed
        self.choose = random.Random(seed)
        self.odd: list[str] = []
        self.done: Counter[str] = Counter()
        self.depth = threading.local()
        self.world = World(self.choose, engines[seed % len(engines)], self.act_inside)

    def act_inside(self, seed: int) -> None:
        """What host functions do."""
        if seed % 3 == 0:
            self.act(random.Random(seed), closes=CLOSES)

    def act(self, choose: random.Random, focus: Sequence[Method] = (), closes: float = CLOSES_FROM_GARBAGE) -> None:
        """One action, of `focus` if there is one; nested ones are few."""
        depth = getattr(self.depth, "value", 0)
        if depth > 3:
            return
        self.depth.value = depth + 1
        try:
            self.call_something(choose, focus, closes)
        finally:
            self.depth.value = depth

    def call_something(self, choose: random.Random, focus: Sequence[Method], closes: float) -> None:
        """Calls a method of a handle."""
        world = self.world
        name = "arguments"
        try:
            if choose.random() < closes:
                name, call = "Store.close", world.store.close
            else:
                name, call = choose.choice(focus or one_class(choose))(world, choose)
            result = call()
            if inspect.iscoroutine(result):
                result = result.close() if asyncio._get_running_loop() else asyncio.run(result)
            world.check(name, result)
            self.done[name] += 1
        except BaseException as error:
            if not is_expected(error):
                self.odd.append(f"{name}: {type(error).__name__}: {error}")

    def run(self) -> None:
        """Both threads to their ends."""
        choose = self.choose
        barrier = threading.Barrier(2)

        def use(seed: int) -> None:
            own = random.Random(seed)
            # A few methods meet a few others many times; or all of them.
            focus = [own.choice(one_class(own)) for _ in range(own.choice((0, 1, 2, 4)))]
            barrier.wait()
            left = ACTIONS
            while left > 0:
                left = left - 1 if self.world.is_open() else min(left - 1, AFTER_CLOSE)
                if own.random() < GARBAGE:
                    later = random.Random(own.randrange(1 << 30))
                    Finalizer(functools.partial(self.act, later))
                self.act(own, focus, CLOSES)

        threads = [
            threading.Thread(target=use, args=(choose.randrange(1 << 30),), name=f"user {number}", daemon=True)
            for number in range(2)
        ]
        gc.set_threshold(choose.choice(THRESHOLDS), choose.choice((1, 10)), choose.choice((1, 10)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.set_threshold(700, 10, 10)
        gc.collect(1)  # the finalizers that have not run
        try:
            self.world.check_views()
        except AssertionError as error:
            self.odd.append(f"views: {error}")
        self.world.forget()


WEIGHTS, METHODS = zip(*methods(), strict=True)
HOT = [special for name in HOT_METHODS for special in [named(name)]]


def one_class(choose: random.Random) -> Sequence[Method]:
    """The methods of one of the classes, or those in which most can go wrong."""
    found: Sequence[Method] = HOT if choose.random() < 0.5 else choose.choices(METHODS, WEIGHTS)[0]
    return found


def run_rounds(first: int, count: int, progress: Path | None) -> tuple[dict[int, list[str]], Counter[str]]:
    """What was odd, by seed, and which methods returned how often."""
    engines = World.engines()
    odd: dict[int, list[str]] = {}
    done: Counter[str] = Counter()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for seed in range(first, first + count):
            if progress is not None:
                progress.write_text(str(seed))
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            this = Round(seed, engines)
            this.run()
            faulthandler.cancel_dump_traceback_later()
            done.update(this.done)
            if this.odd:
                odd[seed] = this.odd
            del this
            gc.collect(1)
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(700, 10, 10)
    return odd, done


def run_process(first: int, count: int) -> tuple[dict[int, list[str]], Counter[str]]:
    """The same in a process of its own, which may crash."""
    with tempfile.TemporaryDirectory() as directory:
        progress = Path(directory, "round")
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.schedules", "--child", str(progress)]
        command += ["--seed", str(first), "--rounds", str(count)]
        environment = {**os.environ, "MALLOC_PERTURB_": str(1 + first % 255)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            seed = int(progress.read_text()) if progress.exists() else first
            return {seed: [f"exit code {done.returncode}: {done.stderr[-4000:]}"]}, Counter()
    odd, counts = json.loads(done.stdout.splitlines()[-1])
    return {int(seed): found for seed, found in odd.items()}, Counter(counts)


def main() -> int:
    """Runs what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--methods", action="store_true", help="say how often each method returned")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_rounds(options.seed, options.rounds, options.child)))
        sys.stdout.flush()
        os._exit(0)  # threads of calls that were cut off may be left
    odd: dict[int, list[str]] = {}
    done: Counter[str] = Counter()
    for start in range(0, options.rounds, ROUNDS_PER_PROCESS):
        count = min(ROUNDS_PER_PROCESS, options.rounds - start)
        first = options.seed + start
        while count > 0:
            found, counts = run_process(first, count)
            done.update(counts)
            for seed, what in found.items():
                print(f"seed {seed}:", *what, sep="\n  ", flush=True)
            odd.update(found)
            crashed = not counts and found
            rest = first + count - (max(found) + 1) if crashed else 0
            first, count = first + count - rest, rest
    if options.methods:
        for name, times in sorted(done.items()):
            print(f"{times:8} {name}")
    print(f"{options.rounds} rounds, {sum(done.values())} calls of {len(done)} methods returned, {len(odd)} rounds odd")
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
