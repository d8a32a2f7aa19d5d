from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Any

import pytest

from wasmjit import ClosedError, Config, Engine, Instance, Limits, Memory, MemoryType, Module, Store, WasmError

PAGE = 65536


@pytest.fixture
def memory(store: Store) -> Memory:
    return Memory(store, MemoryType(Limits(1, 3)))


def test_sizes_and_growth(store: Store, memory: Memory) -> None:
    assert (memory.size(store), memory.data_len(store), memory.page_size(store)) == (1, PAGE, PAGE)
    assert memory.page_size_log2(store) == 16
    assert memory.grow(store, 0) == 1
    assert memory.grow(store, 1) == 1
    assert memory.size(store) == 2
    assert memory.type(store) == MemoryType(Limits(2, 3))
    with pytest.raises(WasmError, match="failed to grow memory by `2`"):
        memory.grow(store, 2)
    for delta in (1 << 32, 1 << 64, 1 << 70):
        with pytest.raises(WasmError, match="failed to grow"):
            memory.grow(store, delta)
    with pytest.raises(WasmError, match="cannot grow by negative amount"):
        memory.grow(store, -1)
    with pytest.raises(TypeError):
        memory.grow(store, 1.0)  # type: ignore[arg-type]
    assert memory.size(store) == 2


def test_read_has_the_rules_of_slices(store: Store, memory: Memory) -> None:
    reference = bytearray(PAGE)
    reference[:3], reference[-3:] = b"abc", b"xyz"
    memory.write(store, b"abc")
    memory.write(store, b"xyz", -3)
    for start, stop in [
        (0, 3),
        (None, 2),
        (-3, None),
        (-3, -1),
        (5, 2),
        (0, 0),
        (PAGE, None),
        (PAGE + 9, 10**30),
        (-(10**9), 4),
    ]:
        assert memory.read(store, start, stop) == reference[start:stop]
    assert len(memory.read(store)) == PAGE


def test_write_checks_its_bounds(store: Store, memory: Memory) -> None:
    assert memory.write(store, bytearray(b"12"), PAGE - 2) == 2
    assert memory.write(store, memoryview(b"34"), -4) == 2
    assert memory.read(store, -4) == b"3412"
    assert memory.write(store, b"", 0) == 0
    for value, start in ((b"123", PAGE - 2), (b"1", PAGE), (b"", PAGE), (b"1", 10**30), (bytes(PAGE + 1), 0)):
        with pytest.raises(IndexError, match="index out of range"):
            memory.write(store, value, start)
    assert memory.read(store, -4) == b"3412"


def test_views_share_the_bytes(store: Store, memory: Memory) -> None:
    view = memory.get_buffer_ptr(store)
    assert len(view) == PAGE
    view[10] = 7
    assert memory.read(store, 10, 11) == b"\7"
    memory.write(store, b"\x08", 10)
    assert memoryview(view).cast("B")[10] == 8
    assert bytes(memory.get_buffer_ptr(store, 2, 9)) == b"\0\x08"
    pointer = memory.data_ptr(store)
    assert pointer[10] == 8
    pointer[11] = 9
    assert memory.read(store, 10, 12) == b"\x08\x09"
    assert ctypes.addressof(pointer.contents) == ctypes.addressof(view)
    for size, offset in ((PAGE + 1, 0), (1, PAGE), (1, -1), (-1, 0)):
        with pytest.raises(IndexError):
            memory.get_buffer_ptr(store, size, offset)


def test_numpy_style_use(store: Store, memory: Memory) -> None:
    words = memoryview(memory.get_buffer_ptr(store)).cast("B").cast("I")
    words[4] = 0x01020304
    assert memory.read(store, 16, 20) == b"\4\3\2\1"


def test_views_stay_valid_across_growth(store: Store, memory: Memory) -> None:
    view = memory.get_buffer_ptr(store)
    memory.grow(store, 2)
    view[0] = 5
    assert memory.read(store, 0, 1) == b"\5"


def test_views_outlive_the_store(engine: Engine) -> None:
    store = Store(engine)
    memory = Memory(store, MemoryType(Limits(1, None)))
    memory.write(store, b"still here")
    view = memoryview(memory.get_buffer_ptr(store)).cast("B")
    pointer = memory.data_ptr(store)
    store.close()
    del store, memory
    gc.collect()
    assert bytes(view[:10]) == b"still here"
    assert bytes(pointer[:5]) == b"still"


def test_use_after_close_and_with_another_store(engine: Engine, store: Store, memory: Memory) -> None:
    with Store(engine) as other, pytest.raises(WasmError, match="memory belongs to another Store"):
        memory.size(other)
    store.close()
    uses: list[Callable[[], Any]] = [
        lambda: memory.size(store),
        lambda: memory.grow(store, 1),
        lambda: memory.read(store),
        lambda: memory.write(store, b"1"),
        lambda: memory.data_ptr(store),
        lambda: memory.type(store),
        lambda: Memory(store, MemoryType(Limits(1, 1))),
    ]
    for use in uses:
        with pytest.raises(ClosedError, match="store is closed"):
            use()


def test_wrong_arguments(store: Store) -> None:
    with pytest.raises(TypeError, match="expected a MemoryType"):
        Memory(store, Limits(1, 2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Store"):
        Memory(3, MemoryType(Limits(1, 2)))  # type: ignore[arg-type]
    with pytest.raises(WasmError, match="SharedMemory"):
        Memory(store, MemoryType(Limits(1, 2), shared=True))


def test_impossible_sizes_are_errors(store: Store) -> None:
    memory = MemoryType(Limits(1 << 47, None), is_64=True)
    with pytest.raises(WasmError, match="cannot allocate a memory"):
        Memory(store, memory)


@pytest.mark.parametrize("options", [{}, {"signals_based_traps": False}, {"memory_reservation": 0}])
def test_code_and_host_see_the_same_bytes_in_every_policy(options: dict[str, Any]) -> None:
    store = Store(Engine(Config(opt_level="none", **options)))
    module = Module(
        store.engine,
        """(module (memory (export "memory") 1)
        (func (export "put") (param i32 i32) local.get 0 local.get 1 i32.store8)
        (func (export "get") (param i32) (result i32) local.get 0 i32.load8_u)
        (func (export "grow") (param i32) (result i32) local.get 0 memory.grow))""",
    )
    exports = Instance(store, module, []).exports(store)
    memory = exports["memory"]
    exports["put"](store, 7, 42)
    assert memory.read(store, 7, 8) == b"*"
    assert exports["grow"](store, 20) == 1
    assert memory.size(store) == 21
    assert memory.read(store, 7, 8) == b"*"
    memory.write(store, b"+", 20 * PAGE)
    assert exports["get"](store, 20 * PAGE) == ord("+")
    assert memory.grow(store, 1) == 21
    assert exports["get"](store, 7) == ord("*")
