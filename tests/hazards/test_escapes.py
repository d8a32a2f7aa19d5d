"""Ways out of the sandbox that were open once."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import pytest

from wasmjit import Config, Engine, Instance, Module, Store, Trap, TrapCode

pytestmark = pytest.mark.usefixtures("interpreted")

LOADS = [
    *(("i32", name) for name in ("load", "load8_s", "load8_u", "load16_s", "load16_u")),
    *(("i64", name) for name in ("load", "load8_s", "load8_u", "load16_s", "load16_u", "load32_s", "load32_u")),
    ("f32", "load"),
    ("f64", "load"),
]
STORES = [
    *(("i32", name) for name in ("store", "store8", "store16")),
    *(("i64", name) for name in ("store", "store8", "store16", "store32")),
    ("f32", "store"),
    ("f64", "store"),
]
OFFSETS = (0x7FFF_FFF8, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF8, 0xFFFF_FFFF)
ADDRESSES = (0, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF0, 0xFFFF_FFFF)


def exports_of(tier: str, text: str) -> tuple[Store, Any]:
    store = Store(Engine(Config(tier=tier)))
    return store, Instance(store, Module(store.engine, text), []).exports(store)


@pytest.mark.parametrize("tier", ["auto", "baseline", "optimized"])
def test_large_offsets_do_not_reach_over_the_guard(tier: str) -> None:
    """An interpreted access added a 32-bit address and a 32-bit offset without a check, and the guard ends at 6 GiB."""
    functions = []
    for offset in OFFSETS:
        for type, name in LOADS:
            functions.append(f'(func (export "{type}.{name} {offset}") (param i32)')
            functions.append(f"(drop ({type}.{name} offset={offset} (local.get 0))))")
        for type, name in STORES:
            functions.append(f'(func (export "{type}.{name} {offset}") (param i32)')
            functions.append(f"({type}.{name} offset={offset} (local.get 0) ({type}.const 1)))")
    store, exports = exports_of(tier, f"(module (memory 1) {' '.join(functions)})")
    for name in exports:
        for address in ADDRESSES:
            with pytest.raises(Trap) as caught:
                exports[name](store, address)
            assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS, (name, address)


@pytest.mark.parametrize("tier", ["auto", "baseline", "optimized"])
def test_what_the_host_has_behind_the_guard_is_out_of_reach(tier: str) -> None:
    """The same, as an attack: reads and overwrites a mapping of the host's."""
    secret = mmap.mmap(-1, 1 << 20)
    secret[:14] = b"HOST SECRET 42"
    store, exports = exports_of(
        tier,
        """(module (memory (export "memory") 1)
          (func (export "peek") (param i32) (result i64) (i64.load offset=0xffffffff (local.get 0)))
          (func (export "poke") (param i32 i64) (i64.store offset=0xffffffff (local.get 0) (local.get 1))))""",
    )
    base = ctypes.addressof(exports["memory"].get_buffer_ptr(store))
    anchor = ctypes.c_char.from_buffer(secret)
    address = ctypes.addressof(anchor) - base - 0xFFFF_FFFF
    if not 0 <= address < 1 << 32:
        pytest.skip("the mapping is out of reach of 33 bits this time")
    with pytest.raises(Trap):
        exports["peek"](store, address)
    with pytest.raises(Trap):
        exports["poke"](store, address, 0)
    assert secret[:14] == b"HOST SECRET 42"


def test_large_offsets_within_the_memory_work() -> None:
    """What is behind 2 GiB in a memory that has it is read and written."""
    store, exports = exports_of(
        "auto",
        """(module (memory 32769 32769)
          (func (export "poke") (param i32 i32) (i32.store offset=0x80000000 (local.get 0) (local.get 1)))
          (func (export "peek") (param i32) (result i32) (i32.load offset=0x7fffffff (local.get 0))))""",
    )
    exports["poke"](store, 65532, 42)
    assert exports["peek"](store, 65533) == 42
    with pytest.raises(Trap):
        exports["poke"](store, 65533, 42)
    with pytest.raises(Trap):
        exports["peek"](store, 65534)


def test_the_interpreter_tells_memories_apart() -> None:
    store, exports = exports_of(
        "auto",
        """(module (memory $a 2) (memory $b 1) (data (memory $a) (i32.const 8) "A") (data (memory $b) (i32.const 8) "B")
          (func (export "load") (param i32) (result i32) (i32.load8_u $b (local.get 0)))
          (func (export "store") (param i32) (result i32)
            (i32.store8 $b (local.get 0) (i32.const 67)) (i32.load8_u $b (local.get 0))))""",
    )
    assert exports["load"](store, 8) == ord("B")
    assert exports["store"](store, 8) == ord("C")
    for name in ("load", "store"):
        with pytest.raises(Trap) as caught:
            exports[name](store, 0x1_0000)
        assert caught.value.trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS
