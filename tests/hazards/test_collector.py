"""The collector of garbage: what is reached stays as it is, what is not is freed, whatever is on the stack."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Iterator

import pytest

from wasmjit import (
    ArrayRef,
    ArrayType,
    Config,
    Engine,
    FieldType,
    Func,
    FuncType,
    Instance,
    Limits,
    Module,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    ValType,
)
from wasmjit.runtime.native import ffi, lib

MODULE = """
(module
  (type $node (struct (field $value (mut i32))
    (field $left (mut (ref null $node))) (field $right (mut (ref null $node)))))
  (type $nodes (array (mut (ref null $node))))
  (type $bytes (array (mut i8)))
  (type $wide (struct (field (mut externref)) (field (mut anyref)) (field v128) (field funcref)))
  (import "host" "call" (func $host))
  (global $kept (mut (ref null $nodes)) (ref.null $nodes))
  (table $table (export "table") 4 externref)
  (func $make (export "make") (param $depth i32) (result (ref null $node))
    (if (i32.eqz (local.get $depth)) (then (return (ref.null $node))))
    (struct.new $node (i32.const 1)
      (call $make (i32.sub (local.get $depth) (i32.const 1)))
      (call $make (i32.sub (local.get $depth) (i32.const 1)))))
  (func $count (export "count") (param $of (ref null $node)) (result i32)
    (if (ref.is_null (local.get $of)) (then (return (i32.const 0))))
    (i32.add (struct.get $node $value (local.get $of))
      (i32.add (call $count (struct.get $node $left (local.get $of)))
               (call $count (struct.get $node $right (local.get $of))))))
  ;; Keeps trees in places of an array, chosen at random, and drops those that were there.
  (func (export "churn") (param $rounds i32) (param $seed i32) (result i32)
    (local $sum i32) (local $at i32) (local $nodes (ref $nodes))
    (local.set $nodes (array.new_default $nodes (i32.const 64)))
    (global.set $kept (local.get $nodes))
    (loop $again
      (local.set $seed (i32.add (i32.mul (local.get $seed) (i32.const 1103515245)) (i32.const 12345)))
      (local.set $at (i32.and (i32.shr_u (local.get $seed) (i32.const 10)) (i32.const 63)))
      (local.set $sum (i32.add (local.get $sum) (call $count (array.get $nodes (local.get $nodes) (local.get $at)))))
      (array.set $nodes (local.get $nodes) (local.get $at)
        (call $make (i32.and (i32.shr_u (local.get $seed) (i32.const 20)) (i32.const 7))))
      (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (local.get $sum))
  (func (export "drop") (global.set $kept (ref.null $nodes)))
  ;; Large objects, each with its own bytes, of which every other one is dropped.
  (func (export "large") (param $count i32) (param $size i32) (result i32)
    (local $i i32) (local $wrong i32) (local $bytes (ref null $bytes)) (local $before (ref null $bytes))
    (loop $again
      (local.set $before (local.get $bytes))
      (local.set $bytes (array.new $bytes (local.get $i) (local.get $size)))
      (if (local.get $i) (then
        (local.set $wrong (i32.add (local.get $wrong)
          (i32.ne (array.get_u $bytes (local.get $before) (i32.sub (local.get $size) (i32.const 1)))
                  (i32.and (i32.sub (local.get $i) (i32.const 1)) (i32.const 255)))))))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $count))))
    (local.get $wrong))
  ;; Sums an array up, with a call that collects between any two elements.
  (func (export "across") (param $count i32) (result i32)
    (local $i i32) (local $sum i32) (local $array (ref $bytes))
    (local.set $array (array.new $bytes (i32.const 3) (local.get $count)))
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (array.get_u $bytes (local.get $array) (local.get $i))))
      (call $host)
      (drop (struct.new_default $node))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $count))))
    (local.get $sum))
  (func (export "wrap") (param externref) (result anyref)
    (struct.new $wide (local.get 0) (any.convert_extern (local.get 0)) (v128.const i64x2 -1 -1) (ref.null func)))
  (func (export "unwrap") (param anyref) (result externref)
    (struct.get $wide 0 (ref.cast (ref $wide) (local.get 0))))
  (func (export "forever") (loop $again (drop (call $make (i32.const 6))) (br $again)))
  (func (export "huge") (param i32) (drop (array.new_default $bytes (local.get 0))))
  (func (export "too_large") (param i32) (drop (array.new_default $nodes (local.get 0)))))
"""


@pytest.fixture(scope="module", params=["speed", "none"])
def module(request: pytest.FixtureRequest) -> Module:
    return Module(Engine(Config(opt_level=request.param, tier="optimized")), MODULE)


class World:
    """A store with an instance."""

    def __init__(self, module: Module) -> None:
        self.store = Store(module.engine)
        host = Func(self.store, FuncType([], []), lambda: self.store.gc())
        self.exports = Instance(self.store, module, [host]).exports(self.store)

    def call(self, name: str, *arguments: object) -> object:
        return self.exports[name](self.store, *arguments)

    def figures(self) -> object:
        figures = ffi.new("wj_gc_figures *")
        lib.wj_gc_statistics(self.store._record.open().pointer, figures)
        return figures

    def verify(self) -> None:
        assert lib.wj_gc_verify(self.store._record.open().pointer) == 0


@pytest.fixture
def world(module: Module) -> World:
    return World(module)


@pytest.fixture
def stressed(module: Module) -> Iterator[World]:
    """Every allocation collects."""
    lib.wj_gc_stress(1)
    try:
        made = World(module)
    finally:
        lib.wj_gc_stress(0)
    yield made
    made.verify()


def test_trees_stay_while_others_go(world: World) -> None:
    first = world.call("churn", 30_000, 1)
    assert first == world.call("churn", 30_000, 1)
    assert world.figures().collections > 0
    world.verify()


def test_trees_stay_where_every_allocation_collects(stressed: World, world: World) -> None:
    assert stressed.call("churn", 60, 5) == world.call("churn", 60, 5)


def test_what_is_dropped_is_freed(world: World) -> None:
    tree = world.call("make", 12)
    world.store.gc()
    kept_bytes = world.figures().live_bytes
    assert kept_bytes >= 4095 * 16
    assert world.call("count", tree) == 4095
    del tree
    world.store.gc()
    assert world.figures().live_bytes < kept_bytes / 4


@pytest.mark.parametrize("size", [1, 300, 5000, 9000, 40_000, 300_000])
def test_objects_of_any_size_keep_their_bytes(world: World, size: int) -> None:
    assert world.call("large", 500, size) == 0
    world.verify()
    assert world.figures().heap_bytes < 64 << 20


def test_large_objects_where_every_allocation_collects(stressed: World) -> None:
    for size in (1, 300, 9000, 70_000):
        assert stressed.call("large", 20, size) == 0


def test_an_array_is_seen_across_calls_in_a_loop(world: World, stressed: World) -> None:
    assert world.call("across", 100) == 300
    assert stressed.call("across", 40) == 120


class Thing:
    """Something of the host."""


def test_objects_keep_what_is_of_the_host(world: World) -> None:
    thing = Thing()
    known = weakref.ref(thing)
    wrapped = world.call("wrap", thing)
    assert world.call("unwrap", wrapped) is thing
    del thing
    gc.collect()
    world.store.gc()
    assert known() is not None
    assert world.call("unwrap", wrapped) is known()
    del wrapped
    world.store.gc()
    world.store.gc()  # the first one lets go of what was in registers of the last call
    assert known() is None


def test_memory_is_bounded(world: World) -> None:
    for _ in range(20):
        world.call("make", 14)
    assert world.figures().heap_bytes < 32 << 20


def test_an_object_that_does_not_fit_is_a_trap(world: World) -> None:
    for count in (1 << 30, (1 << 32) - 1):
        with pytest.raises(Trap) as raised:
            world.call("too_large", count)
        assert raised.value.trap_code is TrapCode.ALLOCATION_TOO_LARGE
    assert world.call("churn", 100, 2) == world.call("churn", 100, 2)
    world.verify()


@pytest.mark.parametrize("length", [0xF7FEFFF8, 0xD0000000])
def test_an_array_of_most_of_the_heap_is_freed(world: World, length: int) -> None:
    """The lower halves of nearly all addresses are offsets within it, and kept it."""
    for _ in range(4):
        assert world.call("huge", length - (1 << 32)) is None


def test_interrupts_leave_a_heap_that_verifies(module: Module, world: World) -> None:
    source = random.Random(7)
    for _ in range(60):
        world.store.timeout = source.uniform(0.0005, 0.004)
        with pytest.raises(Trap) as raised:
            world.call("forever")
        assert raised.value.trap_code is TrapCode.INTERRUPT
        world.verify()
    world.store.timeout = None
    assert world.call("churn", 200, 3) == World(module).call("churn", 200, 3)


def test_what_another_thread_moves_stays(stressed: World) -> None:
    """A collection on the thread that runs the store saw it neither where it was nor where it went: in a table that was
    looked at before another, which takes milliseconds, and then where references of Python are."""
    store = stressed.store
    Table(store, TableType(ValType.externref(), Limits(1 << 22)), None)
    table = Table(store, TableType(ValType.externref(), Limits(1)), None)  # the newest is looked at first
    table.set(store, 0, ArrayRef(store, ArrayType(FieldType("i8")), b"moved"))
    ends = threading.Event()

    def run() -> None:
        while not ends.is_set():
            stressed.call("make", 2)

    thread = threading.Thread(target=run)
    thread.start()
    first = stressed.figures().collections
    try:
        while stressed.figures().collections < first + 10:
            moved = table.get(store, 0)
            table.set(store, 0, None)
            assert bytes(moved) == b"moved"
            table.set(store, 0, moved)
            del moved
    finally:
        ends.set()
        thread.join()
    assert bytes(table.get(store, 0)) == b"moved"
    stressed.verify()
