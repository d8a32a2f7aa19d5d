from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import struct
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wasmjit import (
    ClosedError,
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Limits,
    Memory,
    MemoryType,
    Module,
    Store,
    WasmError,
)

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


def mapped(address: int) -> bool:
    """Whether anything is mapped there."""
    libc = ctypes.CDLL(None)
    page = address & -mmap.PAGESIZE
    return bool(libc.msync(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), 1) == 0)  # MS_ASYNC only looks


def moving_memory() -> tuple[Store, Memory]:
    """A memory that gets another address whenever it grows."""
    store = Store(Engine(Config(opt_level="none", memory_reservation=0)))
    return store, Memory(store, MemoryType(Limits(1, None)))


def test_views_of_a_memory_that_moves_stay_readable_and_writable() -> None:
    store, memory = moving_memory()
    memory.write(store, b"before", 0)
    view, pointer, array = memory.view(store), memory.data_ptr(store), memory.get_buffer_ptr(store, 6)
    address = ctypes.addressof(array)
    memory.grow(store, 1)
    memory.write(store, b"after!", 0)
    assert ctypes.addressof(memory.get_buffer_ptr(store)) != address
    assert bytes(view[:6]) == bytes(pointer[:6]) == bytes(array) == b"before"
    view[0] = ord("B")
    view[PAGE - 1] = 1
    assert bytes(array) == b"Before" and memory.read(store, 0, 6) == b"after!"
    second = memory.view(store)
    memory.grow(store, 1)
    assert len(view) == PAGE and len(second) == 2 * PAGE and bytes(second[:6]) == b"after!"
    store.close()
    assert bytes(array) == b"Before" and bytes(pointer[:6]) == b"Before"
    for closed in (view, second):
        with pytest.raises(ValueError, match="released memoryview"):
            closed[0]


def test_a_mapping_goes_with_its_last_view() -> None:
    store, memory = moving_memory()
    first, second = memory.view(store), memory.get_buffer_ptr(store)
    address = ctypes.addressof(second)
    memory.grow(store, 1)
    del second
    assert mapped(address)
    del first
    assert not mapped(address)
    address = ctypes.addressof(memory.get_buffer_ptr(store))  # a view that is gone before the memory moves
    memory.grow(store, 500)
    assert not mapped(address)
    memory.write(store, b"fine", 500 * PAGE)


def test_growth_by_wasm_keeps_views_too() -> None:
    store = Store(Engine(Config(opt_level="none", memory_reservation=0)))
    # Growth by more than what is kept in reserve, so that the memory moves every time.
    text = """(module (memory (export "m") 1)
      (func (export "grow") (result i32)
        (memory.grow (i32.add (i32.const 300) (i32.mul (memory.size) (i32.const 2))))))"""
    exports = Instance(store, Module(store.engine, text), []).exports(store)
    views = []
    for number in range(3):
        view = exports["m"].view(store)
        view[0] = number
        views.append(view)
        assert exports["grow"](store) == len(view) // PAGE
    assert [view[0] for view in views] == list(range(3))
    del store, exports
    gc.collect()
    assert [view[0] for view in views] == list(range(3))


def test_growth_page_by_page_moves_seldom() -> None:
    store, memory = moving_memory()
    places = set()
    for _ in range(1000):
        memory.grow(store, 1)
        places.add(ctypes.addressof(memory.get_buffer_ptr(store)))
    assert len(places) < 5


def test_a_view_in_a_cycle_with_its_store_is_collected() -> None:
    store, memory = moving_memory()
    kept: list[Any] = [memory.view(store), memory]
    kept.append(Func(store, FuncType([], []), lambda kept=kept: None))
    memory.grow(store, 1)
    gone = weakref.ref(store._record)
    del store, memory, kept
    gc.collect()
    assert gone() is None


def test_view(store: Store, memory: Memory) -> None:
    view = memory.view(store)
    assert (view.format, view.nbytes, view.readonly) == ("B", PAGE, False)
    view[5:8] = b"abc"
    assert memory.read(store, 4, 9) == b"\0abc\0"
    assert bytes(memoryview(view)[5:8]) == b"abc"
    numpy = pytest.importorskip("numpy")
    words = numpy.frombuffer(view, dtype="<u4")
    words[:] = 0x01020304
    assert memory.read(store, -4) == b"\4\3\2\1" and words.size == PAGE // 4
    del view
    memory.grow(store, 1)
    assert words[0] == 0x01020304


def test_view_of_an_empty_memory(store: Store) -> None:
    empty = Memory(store, MemoryType(Limits(0, 1)))
    assert len(empty.view(store)) == 0 and len(empty.get_buffer_ptr(store)) == 0


def test_index_and_slices(store: Store, memory: Memory) -> None:
    memory[3:6] = b"xyz"
    memory[-1] = 255
    assert memory[3] == ord("x") and memory[-1] == 255
    assert memory[2:7] == b"\0xyz\0" and isinstance(memory[2:7], bytearray)
    assert memory[3:6:2] == b"xz" and memory[6:3] == b""
    for index in (PAGE, -PAGE - 1):
        with pytest.raises(IndexError):
            memory[index]
        with pytest.raises(IndexError):
            memory[index] = 1
    for value in (b"toolong", b""):
        with pytest.raises(ValueError, match=r".+"):
            memory[0:2] = value
    with pytest.raises(ValueError, match=r".+"):
        memory[0] = 256
    store.close()
    with pytest.raises(ClosedError):
        memory[0]
    with pytest.raises(ClosedError):
        memory[0] = 1


@pytest.mark.parametrize(
    ("kind", "value", "stored", "read"),
    [
        ("i8", -1, b"\xff", -1),
        ("u8", 0xFF, b"\xff", 255),
        ("i16", -2, b"\xfe\xff", -2),
        ("u16", 0x203, b"\3\2", 0x203),
        ("i32", 1 << 31, b"\0\0\0\x80", -(1 << 31)),
        ("u32", -1, b"\xff" * 4, (1 << 32) - 1),
        ("i64", (1 << 64) - 5, b"\xfb" + b"\xff" * 7, -5),
        ("u64", -1, b"\xff" * 8, (1 << 64) - 1),
        ("f32", 0.1, struct.pack("<f", 0.1), 0.10000000149011612),
        ("f64", 0.1, struct.pack("<d", 0.1), 0.1),
        ("f64", 3, struct.pack("<d", 3), 3.0),
    ],
)
def test_typed_access(store: Store, memory: Memory, kind: str, value: Any, stored: bytes, read: Any) -> None:
    read_value, write_value = getattr(memory, f"read_{kind}"), getattr(memory, f"write_{kind}")
    size = len(stored)
    for start in (0, 7, PAGE - size):
        write_value(store, value, start)
        assert memory.read(store, start, start + size) == stored
        assert read_value(store, start) == read
    before = memory.read(store)
    for start in (PAGE - size + 1, PAGE, -1, 1 << 64, -(1 << 70)):
        with pytest.raises(IndexError, match="index out of range"):
            read_value(store, start)
        with pytest.raises(IndexError, match="index out of range"):
            write_value(store, value, start)
    for wrong in ("1", None, b"1"):
        with pytest.raises(TypeError, match="expected a"):
            write_value(store, wrong, 0)
        with pytest.raises(TypeError, match="expected an int"):
            read_value(store, wrong)
    assert memory.read(store) == before
    store.close()
    with pytest.raises(ClosedError):
        read_value(store, 0)


def test_text(store: Store, memory: Memory) -> None:
    assert memory.write_utf8(store, "na\u00efve \N{CJK UNIFIED IDEOGRAPH-4E16}", 20) == 10
    assert memory.read_utf8(store, 20, 10) == "na\u00efve \u4e16"
    assert memory.read_utf8(store, PAGE, 0) == "" and memory.write_utf8(store, "", PAGE) == 0
    with pytest.raises(UnicodeDecodeError):
        memory.read_utf8(store, 20, 3)
    for start, size in ((PAGE, 1), (0, PAGE + 1), (-1, 1), (1, -1)):
        with pytest.raises(IndexError):
            memory.read_utf8(store, start, size)
    with pytest.raises(IndexError):
        memory.write_utf8(store, "xy", PAGE - 1)
    with pytest.raises(TypeError, match="expected a str"):
        memory.write_utf8(store, b"bytes", 0)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        memory.write_f32(store, 1e300, 0)


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
        lambda: memory.data_len(store),
        lambda: memory.view(store),
        lambda: memory[0:1],
        lambda: memory.read_str(store, 0, 1),
        lambda: memory.write_str(store, "a", 0),
        lambda: memory.read_array(store, 0, 1, "u8"),
        lambda: memory.write_array(store, b"1", 0),
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


def test_a_store_closed_in_the_middle_of_an_access(engine: Engine) -> None:
    """Arguments can run Python code, here such that closes the store: nothing is read or written then."""

    class Closing:
        def __init__(self, store: Store) -> None:
            self.store = store

        def __index__(self) -> int:
            self.store.close()
            return 3

        def __float__(self) -> float:
            return float(self.__index__())

        def __bytes__(self) -> bytes:
            self.store.close()
            return b"abc"

        def __iter__(self) -> Iterator[int]:
            self.store.close()
            return iter((1, 2))

    uses: list[Callable[[Memory, Store, Any], Any]] = [
        lambda memory, store, closing: memory.read(store, closing),
        lambda memory, store, closing: memory.write(store, b"abc", closing),
        lambda memory, store, closing: memory.write(store, closing),
        lambda memory, store, closing: memory[closing],
        lambda memory, store, closing: memory[closing:],
        lambda memory, store, closing: memory.__setitem__(closing, 5),
        lambda memory, store, closing: memory.__setitem__(3, closing),
        lambda memory, store, closing: memory.__setitem__(slice(0, 3), closing),
        lambda memory, store, closing: memory.read_u8(store, closing),
        lambda memory, store, closing: memory.write_u8(store, closing, 0),
        lambda memory, store, closing: memory.write_f64(store, closing, 0),
        lambda memory, store, closing: memory.read_str(store, 0, closing),
        lambda memory, store, closing: memory.read_array(store, 0, closing, "u8"),
        lambda memory, store, closing: memory.write_array(store, closing, 0, "u8"),
    ]
    for use in uses:
        store = Store(engine)
        memory = Memory(store, MemoryType(Limits(1, 1)))
        with pytest.raises(ClosedError, match="store is closed"):
            use(memory, store, Closing(store))


def test_a_store_closed_by_another_thread(engine: Engine) -> None:
    for _ in range(20):
        store = Store(engine)
        memory = Memory(store, MemoryType(Limits(200, 200)))
        closer = threading.Thread(target=store.close)
        closer.start()
        with contextlib.suppress(ClosedError):
            while True:
                assert not any(memory.read(store, 0, 4096))
        closer.join()
