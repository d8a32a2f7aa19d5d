"""Huge pages only for what is in use: a byte here and there must not become 2 MiB, and dense memories keep theirs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from wasmjit import Config, Engine, Instance, Limits, Memory, MemoryType, Module, Store, Trap
from wasmjit.runtime.native import lib

MIB = 1 << 20
PAGE = 1 << 16
ALLOWED_BYTES = 64 * MIB  # what docs/bounds.md promises, beside 4 times what was touched

PROGRAM = """(module (memory (export "memory") {pages})
  (func (export "touch") (param $from i32) (param $step i32) (param $n i32)
    (loop $l
      (i32.store (local.get $from) (i32.const 1))
      (local.set $from (i32.add (local.get $from) (local.get $step)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "read") (param $to i32) (result i32) (local $at i32) (local $sum i32)
    (loop $l
      (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $l (i32.lt_u (local.get $at) (local.get $to))))
    (local.get $sum))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"""


@pytest.fixture(scope="module", params=["guard pages", "moving"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "moving":
        return Engine(Config(tier="baseline", signals_based_traps=False, memory_reservation=0))
    return Engine(Config(tier="baseline"))


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def mapping_flags(address: int) -> list[str]:
    """The VmFlags of the mapping that holds an address."""
    inside = False
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            head = line.split(" ", 1)[0]
            if "-" in head and not head.endswith(":"):
                start, end = (int(part, 16) for part in head.split("-"))
                inside = start <= address < end
            elif inside and line.startswith("VmFlags:"):
                return line.split()[1:]
    return []


def supported() -> bool:
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            return "[never]" not in file.read()
    except OSError:
        return False


class Made(NamedTuple):
    """A store and the memory of its only instance."""

    store: Store
    memory: Memory

    def address(self) -> int:
        return int(lib.wj_memory_base(self.memory._item.pointer))


def program(engine: Engine, pages: int) -> tuple[Made, Callable[..., Any], Callable[..., Any]]:
    store = Store(engine)
    exports: Any = Instance(store, Module(engine, PROGRAM.format(pages=pages)), []).exports(store)
    return Made(store, exports["memory"]), exports["touch"], exports["grow"]


def test_sparse_segments_take_what_they_are() -> None:
    segments = "".join(f'(data (i32.const {i << 21}) "x")' for i in range(512))
    engine = Engine(Config(tier="baseline"))
    module = Module(engine, f'(module (memory (export "m") 16384) {segments})')
    before = resident_bytes()
    with Store(engine) as store:
        Instance(store, module, [])
        assert resident_bytes() - before < 512 * 4 * 4096 + ALLOWED_BYTES  # was 1 GiB


def test_sparse_stores_take_what_they_are(engine: Engine) -> None:
    (store, _), touch, _ = program(engine, 16384)
    before = resident_bytes()
    for round in range(8):
        touch(store, round * 4096, 2 * MIB, 512)
        time.sleep(0.005)  # it looks again and again
    assert resident_bytes() - before < 8 * 512 * 4 * 4096 + ALLOWED_BYTES
    store.close()


def test_sparse_growth_takes_what_it_is(engine: Engine) -> None:
    (store, _), touch, grow = program(engine, 64)
    before = resident_bytes()
    for _ in range(256):
        end = grow(store, 64)
        touch(store, end * PAGE, 2 * MIB, 2)
    assert resident_bytes() - before < 2 * 256 * 4 * 4096 + ALLOWED_BYTES
    store.close()


def test_a_guest_that_shows_what_it_wants_to_be_seen(engine: Engine) -> None:
    """Sixteen evenly spaced pages in each huge page: as many as are looked at, but not those."""
    (store, _), touch, _ = program(engine, 16384)
    before = resident_bytes()
    for _ in range(4):
        touch(store, 0, 128 << 10, 8192)
        time.sleep(0.01)
    assert resident_bytes() - before < 4 * 8192 * 4096 + ALLOWED_BYTES
    store.close()


def test_what_is_only_read_takes_nothing(engine: Engine) -> None:
    """Small pages that were never written are all the same one: making huge ones of them would make them real."""
    store = Store(engine)
    exports: Any = Instance(store, Module(engine, PROGRAM.format(pages=4096)), []).exports(store)
    before = resident_bytes()
    for _ in range(5):
        assert exports["read"](store, 256 * MIB) == 0
        time.sleep(0.01)  # it looks at what is in use
    assert exports["grow"](store, 1) == 4096
    assert resident_bytes() - before < 32 * MIB
    store.close()


def test_one_grant_for_a_store() -> None:
    engine = Engine(Config(tier="baseline"))
    store = Store(engine)
    memories = [Memory(store, MemoryType(Limits(256, 256))) for _ in range(20)]
    before = resident_bytes()
    for memory in memories:
        for start in range(0, 16 * MIB, 2 * MIB):
            memory.write(store, b"x", start)
    assert resident_bytes() - before < 20 * 8 * 4 * 4096 + ALLOWED_BYTES  # was 320 MiB
    store.close()


def test_a_dense_program_does_not_leave_its_huge_pages_to_the_next() -> None:
    engine = Engine(Config(tier="baseline"))
    (store, _), touch, _ = program(engine, 2048)
    for _ in range(8):
        touch(store, 0, 4096, 32768)
    store.close()  # its reservation goes to the pool
    (store, _), touch, _ = program(engine, 2048)
    before = resident_bytes()
    touch(store, 0, 2 * MIB, 64)
    assert resident_bytes() - before < 32 * MIB
    store.close()


@pytest.mark.skipif(not supported(), reason="no transparent huge pages here")
def test_dense_memories_have_huge_pages() -> None:
    engine = Engine(Config(tier="baseline"))
    growing, touch, grow = program(engine, 1)
    for _ in range(16):
        end = grow(growing.store, 64)
        touch(growing.store, end * PAGE, 4096, 1024)
    large, touch, _ = program(engine, 1024)
    for _ in range(4):
        touch(large.store, 0, 4096, 16384)
        time.sleep(0.02)  # it looks at what is in use every few milliseconds
    for each in (growing, large):
        assert "hg" in mapping_flags(each.address() + 60 * MIB)
        each.store.close()


@pytest.mark.skipif(not supported(), reason="no transparent huge pages here")
def test_calls_that_end_by_a_trap_make_no_huge_pages() -> None:
    """It takes some 10 ms, and a time that is over is to be over: `memory.fill` of gigabytes was 50 ms late."""
    text = (
        PROGRAM.format(pages=1024)[:-1]
        + """
      (func (export "fill_and_trap") (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x4000000)) unreachable))"""
    )
    engine = Engine(Config(tier="baseline"))
    store = Store(engine)
    exports: Any = Instance(store, Module(engine, text), []).exports(store)
    made = Made(store, exports["memory"])
    for _ in range(4):
        with pytest.raises(Trap):
            exports["fill_and_trap"](store)
        time.sleep(0.02)
    assert "hg" not in mapping_flags(made.address() + 60 * MIB)
    for _ in range(4):
        exports["touch"](store, 0, 4096, 16384)
        time.sleep(0.02)
    assert "hg" in mapping_flags(made.address() + 60 * MIB)
    store.close()


@pytest.mark.parametrize("viewed", [False, True])
def test_moving_keeps_contents_and_holes(viewed: bool) -> None:
    engine = Engine(Config(tier="baseline", signals_based_traps=False, memory_reservation=0))
    made, touch, grow = program(engine, 512)
    store, memory = made
    touch(store, 0, 4096, 6000)  # more than what has huge pages, so that both kinds move
    before, address = resident_bytes(), made.address()
    views = []
    for _ in range(6):
        if viewed:
            views.append(memory.get_buffer_ptr(store))  # the contents are copied then, and what it shows stays
        assert grow(store, 1024) > 0
    assert made.address() != address
    assert resident_bytes() - before < (6 * 24 if viewed else 0) * MIB + 16 * MIB
    assert all(memory.read_u32(store, at * 4096) == (at < 6000) for at in range(6500))
    store.close()
