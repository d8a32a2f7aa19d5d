"""What two threads see of each other in a shared memory: never what the memory model forbids.

The shapes are the classical ones. In each round both threads meet, then do their part, and note what they read.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest

from wasmjit import (
    Config,
    Engine,
    Limits,
    Linker,
    MemoryType,
    Module,
    SharedMemory,
    Store,
    thresholds,
)

PAGES = 512  # so much that the notes of a million rounds have room, a word for each thread and round
X, Y, NOTES = 1024, 1088, 65536
SHAPES = {
    # What thread 0 does, what thread 1 does; what they may not both have read. A thread reads into local $a.
    "store buffering": ("(store $x)(load $y)", "(store $y)(load $x)", {(0, 0)}),
    "load buffering": ("(load $x)(store $y)", "(load $y)(store $x)", {(1, 1)}),
    "message passing": ("(plain $x)(store $y)", "(load $y)(both)", {(0, 2)}),
    "coherence": ("(store $x)", "(twice)", {(0, 2)}),
}
# 2: the first look saw the other's store, and the second one did not.
PARTS = {
    "(store $x)": f"(i32.atomic.store (i32.const {X}) (local.get $r))",
    "(store $y)": f"(i32.atomic.store (i32.const {Y}) (local.get $r))",
    "(plain $x)": f"(i32.store (i32.const {X}) (local.get $r))",
    "(load $x)": f"(local.set $a (i32.eq (i32.atomic.load (i32.const {X})) (local.get $r)))",
    "(load $y)": f"(local.set $a (i32.eq (i32.atomic.load (i32.const {Y})) (local.get $r)))",
    "(both)": f"(if (i32.and (local.get $a) (i32.ne (i32.load (i32.const {X})) (local.get $r))) "
    "(then (local.set $a (i32.const 2))))",
    "(twice)": f"(local.set $a (i32.eq (i32.atomic.load (i32.const {X})) (local.get $r)))"
    f"(if (i32.and (local.get $a) (i32.ne (i32.atomic.load (i32.const {X})) (local.get $r))) "
    "(then (local.set $a (i32.const 2))))",
}
TIERS = ("optimized", "baseline", "auto", "words", "stencils")  # the last two: code of the first tier, and no other
# Each takes a slice of the processor's time where two threads have one.
ROUNDS = [100, pytest.param(1_000_000, marks=pytest.mark.slow)]


def function(number: int, parts: str) -> str:
    """One thread's: as many rounds as it is told."""
    for name, text in PARTS.items():
        parts = parts.replace(name, text)
    return f"""(func (export "{number}") (param $rounds i32) (local $r i32) (local $a i32)
      (loop $next
        (local.set $r (i32.add (local.get $r) (i32.const 1)))
        (local.set $a (i32.const 0))
        (i32.atomic.store (i32.const {128 * number}) (local.get $r))
        (loop $meet (br_if $meet (i32.lt_u (i32.atomic.load (i32.const {128 * (1 - number)})) (local.get $r))))
        {parts}
        (i32.store offset={NOTES + 4 * number} (i32.mul (local.get $r) (i32.const 8)) (local.get $a))
        (br_if $next (i32.lt_u (local.get $r) (local.get $rounds)))))"""


@pytest.fixture(params=TIERS)
def tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is to be configured."""
    if request.param not in ("words", "stencils"):
        return str(request.param)
    monkeypatch.setattr(thresholds, "STENCILS", request.param == "stencils")
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 2**30)
    return "auto"


def together(*works: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def caught(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=caught, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_seen_that_the_model_forbids(shape: str, tier: str, rounds: int) -> None:
    first, second, forbidden = SHAPES[shape]
    engine = Engine(Config(tier=tier, shared_memory=True))
    text = f"""(module (import "" "m" (memory {PAGES} {PAGES} shared)) {function(0, first)} {function(1, second)})"""
    module = Module(engine, text)
    memory = SharedMemory(engine, MemoryType(Limits(PAGES, PAGES), shared=True))
    linker = Linker(engine)
    linker.define(Store(engine), "", "m", memory)

    def work(number: int) -> None:
        store = Store(engine, timeout=300)
        linker.instantiate(store, module).exports(store)[str(number)](store, rounds)

    together(lambda: work(0), lambda: work(1))
    notes = memory.view()[NOTES + 8 : NOTES + 8 + 8 * rounds].cast("I")
    seen = Counter(zip(notes[::2], notes[1::2], strict=True))
    assert seen.total() == rounds and not forbidden & seen.keys(), seen
