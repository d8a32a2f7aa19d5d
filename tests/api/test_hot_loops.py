"""Activations that stay in a loop: from the interpreter to baseline code, from that or from stencils to optimised code.

The loops run until a flag in memory is set, which is done where the runtime hands out optimised code. Then optimised
code of tier "optimized" does as many iterations, and has to come to the same.
"""

from __future__ import annotations

import ctypes
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from wasmjit import (
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Memory,
    Module,
    Store,
    Trap,
    TrapCode,
    abi,
    thresholds,
    wat2wasm,
)
from wasmjit.tiers.lazy import LazyCode

ENDLESS = (1 << 63) - 1
WAIT_SECONDS = 60

TYPES = """(module (memory (export "memory") 1)
  (func (export "run") (param $limit i64) (param $step i32) (param $unused f64) (param $ref externref)
      (result i64 i32 f32 f64 externref externref)
    (local $i i64) (local $a i32) (local $f f32) (local $d f64) (local $kept externref) (local $null externref)
    (local.set $kept (local.get $ref))
    (local.set $f (f32.const 1.5))
    (loop $again
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (local.set $a (i32.add (i32.mul (local.get $a) (i32.const 31)) (local.get $step)))
      (local.set $f (f32.add (f32.mul (local.get $f) (f32.const 0.5)) (f32.convert_i32_s (local.get $a))))
      (local.set $d (f64.add (local.get $d) (f64.sqrt (f64.convert_i64_s (local.get $i)))))
      (br_if $again (i32.and (i64.lt_s (local.get $i) (local.get $limit)) (i32.eqz (i32.load (i32.const 0))))))
    (local.get $i) (local.get $a) (local.get $f) (local.get $d) (local.get $kept) (local.get $null)))"""

NESTED = """(module (memory (export "memory") 1)
  (func (export "run") (param $limit i64) (result i64 i32)
    (local $i i64) (local $j i32) (local $total i32) (local $first i32)
    (local.set $first (i32.const 77))
    (loop $outer
      (local.set $j (i32.const 0))
      (if (i64.eqz (i64.and (local.get $i) (i64.const 1)))
        (then
          (loop $inner
            (local.set $total (i32.add (i32.mul (local.get $total) (i32.const 3)) (local.get $j)))
            (br_if $inner (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 9)))))
        (else
          (loop $other
            (local.set $total (i32.xor (local.get $total) (i32.add (local.get $j) (local.get $first))))
            (br_if $other (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 2))) (i32.const 9))))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $outer (i32.and (i64.lt_s (local.get $i) (local.get $limit)) (i32.eqz (i32.load (i32.const 0))))))
    (local.get $i) (i32.add (local.get $total) (local.get $first))))"""

NOTHING = """(module (memory (export "memory") 1)
  (global $i (export "i") (mut i64) (i64.const 0))
  (func (export "run") (param $limit i64)
    (loop $again
      (global.set $i (i64.add (global.get $i) (i64.const 1)))
      (br_if $again (i32.and (i64.lt_s (global.get $i) (local.get $limit)) (i32.eqz (i32.load (i32.const 0))))))))"""

# The trap at the end is in the loop, in what it calls, or behind the loop.
TRAPS = """(module (import "" "host" (func $host)) (memory (export "memory") 1)
  (func $check (param i32) (if (local.get 0) (then (call $host) unreachable)))
  (func $loop (param $where i32) (result i32)
    (loop $again
      (if (i32.eq (local.get $where) (i32.const 1)) (then (call $check (i32.load (i32.const 0)))))
      (if (i32.eqz (local.get $where)) (then (drop (i32.div_u (i32.const 1) (i32.eqz (i32.load (i32.const 0)))))))
      (br_if $again (i32.eqz (i32.load (i32.const 0)))))
    (i32.load offset=0xffff (i32.const 1)))
  (func (export "run") (param i32) (result i32) (call $loop (local.get 0))))"""

ENDLESS_LOOP = '(module (memory (export "memory") 1) (func $loop (loop (br 0))) (func (export "run") (call $loop)))'


class Observer:
    """Sees which optimised code is handed out, and sets the flag in the memory then."""

    def __init__(self) -> None:
        self.flag: ctypes.c_int32 | None = None
        self.entered = threading.Event()
        self.loops: set[int] = set()

    def watch(self, memory: Memory, store: Store) -> None:
        self.flag = ctypes.c_int32.from_address(ctypes.addressof(memory.data_ptr(store).contents))

    def hot(self, code: LazyCode, position: int, loop_offset: int, is_compiled: int = 0) -> int:
        address = HOT(code, position, loop_offset, is_compiled)
        is_code = address > abi.ANSWER_WATCH and not address & abi.ANSWER_AWAIT
        if is_code and is_compiled:
            self.loops.add(loop_offset)
            self.entered.set()
            if self.flag is not None:
                self.flag.value = 1
        return address


HOT = LazyCode.hot


@pytest.fixture(params=[True, False], ids=["stencils", "interpreter"])
def observer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Observer]:
    """In a process in which no function gets optimised as a whole, unless it is called from stencils more than once."""
    monkeypatch.setattr(thresholds, "STENCILS", request.param)
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600)
    observer = Observer()
    monkeypatch.setattr(LazyCode, "hot", lambda *arguments: observer.hot(*arguments))
    yield observer


def make(store: Store, wat: str, imports: Any = ()) -> tuple[Module, Any]:
    module = Module(store.engine, wat)
    return module, Instance(store, module, list(imports)).exports(store)


def auto() -> Engine:
    return Engine(Config(tier="auto", cache=False))


def optimised_loops(module: Module) -> set[int]:
    """The offsets of loops that can be entered in optimised code."""
    return {offset for function in module.tier_report() for offset, tier in function.loops if tier == "optimized"}


@pytest.mark.parametrize("compiled_at_once", [False, True])
@pytest.mark.parametrize(
    ("wat", "arguments"), [(TYPES, (7, 2.5, "reference")), (NESTED, ())], ids=["all types", "nested loops"]
)
def test_results_are_those_of_optimised_code(
    observer: Observer, wat: str, arguments: Any, compiled_at_once: bool
) -> None:
    store = Store(auto())
    module, exports = make(store, wat)
    if compiled_at_once and thresholds.STENCILS:
        pytest.skip("there is no code that the function would begin in, and not stay")
    if compiled_at_once:  # the function's code begins, and not that of a loop
        while not any(function.tier == "baseline" for function in module.tier_report()):
            exports["run"](store, 5000, *arguments)
    observer.watch(exports["memory"], store)
    found = exports["run"](store, ENDLESS, *arguments)
    assert observer.loops and observer.loops <= optimised_loops(module)
    reference = Store(Engine(Config(tier="optimized", cache=False)))
    assert make(reference, wat)[1]["run"](reference, found[0], *arguments) == found


MATRIX = """(module (memory (export "memory") 1)
  (func (export "run") (param $rounds i64) (result i64 i64)
    (local $total i64) (local $round i64) (local $i i32) (local $j i32)
    (loop $again
      (local.set $i (i32.const 0))
      (loop $rows
        (local.set $j (i32.const 0))
        (loop $columns
          (local.set $total (i64.add (i64.mul (local.get $total) (i64.const 7)) (i64.extend_i32_u (local.get $j))))
          (br_if $columns (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 9))))
        (local.set $total (i64.xor (local.get $total) (i64.extend_i32_u (local.get $i))))
        (br_if $rows (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 11))))
      (local.set $round (i64.add (local.get $round) (i64.const 1)))
      (br_if $again (i32.and (i64.lt_s (local.get $round) (local.get $rounds)) (i32.eqz (i32.load (i32.const 0))))))
    (local.get $round) (local.get $total)))"""


def test_the_outermost_loop_that_recurs_is_entered(observer: Observer) -> None:
    """From stencils, in which a thread watches for a moment which loops begin again."""
    store = Store(auto())
    _, exports = make(store, MATRIX)
    observer.watch(exports["memory"], store)
    rounds, total = exports["run"](store, ENDLESS)
    reference = Store(Engine(Config(tier="optimized", cache=False)))
    assert make(reference, MATRIX)[1]["run"](reference, rounds) == [rounds, total]
    loops = sorted(match.start() for match in re.finditer(b"\x03\x40", wat2wasm(MATRIX)))
    if thresholds.STENCILS:
        assert observer.loops == {loops[0]}
        assert exports["run"](store, 1) == make(reference, MATRIX)[1]["run"](reference, 1)
    else:
        assert observer.loops <= set(loops)


ONCE = MATRIX.replace("(i32.const 9)", "(i32.const 0x7fffffff)").replace(
    "(local.set $total (i64.add (i64.mul",
    "(if (i32.load (i32.const 0)) (then (return (i64.extend_i32_u (local.get $j)) (local.get $total))))"
    "(local.set $total (i64.add (i64.mul",
)


def test_a_loop_that_stays_is_entered_though_those_around_it_never_begin_again(observer: Observer) -> None:
    store = Store(auto())
    _, exports = make(store, ONCE)
    observer.watch(exports["memory"], store)
    columns, total = exports["run"](store, 1)
    assert observer.loops
    reference = Store(Engine(Config(tier="optimized", cache=False)))
    wat = ONCE.replace("(i32.load (i32.const 0))", f"(i32.eq (local.get $j) (i32.const {columns}))", 1)
    assert make(reference, wat)[1]["run"](reference, 1) == [columns, total]


def test_a_function_is_compiled_though_there_is_code_of_its_loop(observer: Observer) -> None:
    """Else each of its calls would begin in the code that it had at first."""
    store = Store(auto())
    module, exports = make(store, TYPES)
    observer.watch(exports["memory"], store)
    exports["run"](store, ENDLESS, 7, 2.5, None)
    assert observer.loops
    exports["memory"].write(store, bytes(4), 0)
    observer.flag = None
    deadline = time.monotonic() + WAIT_SECONDS
    while module.tier_report()[0].tier not in ("baseline", "optimized"):
        exports["run"](store, 30_000, 7, 2.5, None)
        assert time.monotonic() < deadline


def test_no_results(observer: Observer) -> None:
    store = Store(auto())
    module, exports = make(store, NOTHING)
    observer.watch(exports["memory"], store)
    assert exports["run"](store, ENDLESS) is None
    assert observer.loops <= optimised_loops(module)
    assert exports["i"].value(store) > 0


def test_it_ends_by_itself_as_well(observer: Observer) -> None:
    """Nobody sets the flag: the call goes through all that there is, or ends before."""
    reference = Store(Engine(Config(tier="optimized", cache=False)))
    expected = make(reference, TYPES)[1]["run"](reference, 3_000_000, 7, 2.5, "reference")
    store = Store(auto())
    module, exports = make(store, TYPES)
    while not observer.loops and module.tier_report()[0].tier != "optimized":
        assert exports["run"](store, 3_000_000, 7, 2.5, "reference") == expected
    assert observer.loops <= optimised_loops(module)


def begin(observer: Observer, store: Store, memory: Memory) -> None:
    """Has the flag set when optimised code is handed out, or at once where there is no other code."""
    observer.watch(memory, store)
    if store.engine._config.tier != "auto":
        memory.write(store, b"\1", 0)


@pytest.mark.parametrize("where", range(3), ids=["in the loop", "in a callee", "behind the loop"])
def test_frames_of_traps(observer: Observer, where: int) -> None:
    def trapped(store: Store, seen: list[Any]) -> Trap:
        host = Func(store, FuncType([], []), lambda: seen.append(1))
        _, exports = make(store, TRAPS, [host])
        begin(observer, store, exports["memory"])
        with pytest.raises(Trap) as caught:
            exports["run"](store, where)
        return caught.value

    seen: list[Any] = []
    found = trapped(Store(auto()), seen)
    assert observer.loops
    expected = trapped(Store(Engine(Config(tier="optimized", cache=False))), seen)
    assert (found.trap_code, found.frames) == (expected.trap_code, expected.frames)
    assert [frame.func_index for frame in found.frames] == ([1] if where == 1 else []) + [2, 3]
    assert len(seen) == (2 if where == 1 else 0)


def test_frames_of_exceptions(observer: Observer) -> None:
    def fail() -> None:
        raise LookupError("from the host")

    def tracebacks(store: Store) -> list[tuple[str, int]]:
        _, exports = make(store, TRAPS, [Func(store, FuncType([], []), fail)])
        begin(observer, store, exports["memory"])
        with pytest.raises(LookupError) as caught:
            exports["run"](store, 1)
        return [(item.name, item.lineno) for item in caught.traceback if "wasm module" in str(item.path)]

    found = tracebacks(Store(auto()))
    assert observer.loops
    assert found == tracebacks(Store(Engine(Config(tier="optimized", cache=False))))


def test_interrupts(observer: Observer) -> None:
    store = Store(auto())
    _, exports = make(store, ENDLESS_LOOP)

    def interrupt() -> None:
        assert observer.entered.wait(WAIT_SECONDS)
        while not store.interrupt():
            pass

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Trap) as caught:
        exports["run"](store)
    thread.join()
    assert caught.value.trap_code == TrapCode.INTERRUPT
    # The interrupt may be so early that the optimised code has not begun.
    assert [frame.func_index for frame in caught.value.frames][-2:] == [0, 1]


def test_timeouts(observer: Observer) -> None:
    store = Store(auto(), timeout=0.3)
    module, exports = make(store, ENDLESS_LOOP)
    while not observer.loops and module.tier_report()[0].tier != "optimized":
        with pytest.raises(Trap) as caught:
            exports["run"](store)
        assert caught.value.trap_code == TrapCode.INTERRUPT
    assert [frame.func_index for frame in caught.value.frames] == [0, 1]


def test_nothing_is_asked_where_functions_are_not_interpreted(
    observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "INTERPRETS", False)
    store = Store(auto())
    module, exports = make(store, TYPES)
    assert exports["run"](store, 100_000, 7, 2.5, None)[0] == 100_000
    assert not observer.loops and not optimised_loops(module)


def test_a_refused_loop_goes_on_in_baseline_code(observer: Observer) -> None:
    """One with an operand below it is never entered, the loop within is."""
    wat = """(module (func (export "run") (param $n i32) (result i32) (local $i i32)
      (i32.const 5)
      (loop $again (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
      (i32.add (local.get $i))))"""
    store = Store(auto())
    module, exports = make(store, wat)
    for _ in range(20):
        assert exports["run"](store, 1_000_000) == 1_000_005
    assert not observer.loops and not optimised_loops(module)
