"""Memory, Table and Global; the items behind them, which exist once per store however many handles there are.

An *item* (MemoryItem, TableItem, GlobalItem, and FuncItem in func.py) is what instances import and export: the C object
with its type. A handle (Memory, ...) pairs an item with its store's record, for the public API.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from .. import abi
from ..errors import TRAPS, WasmError
from ..wasm import types as wt
from .engine import Engine
from .func import Caller, Func, FuncItem, bits_to_python, python_to_bits
from .native import ffi, lib
from .store import NativeStore, Storelike, StoreRecord, address_of, check_store, read_u64s, record_of
from .values import GlobalType, MemoryType, TableType

REFUSED = (1 << 64) - 1
# C's limit (runtime_c/wj.h), and what the JS API's limits appendix asks for.
MAX_TABLE_ELEMENTS = 10_000_000
_TABLE_OUT_OF_BOUNDS = next(trap.message for trap in TRAPS if trap.name == "TABLE_OUT_OF_BOUNDS")


@dataclass(slots=True, eq=False)
class MemoryItem:
    """A linear memory of one store."""

    pointer: Any  # wj_memory *
    type: wt.MemoryType  # as declared: its current size is in C

    def size_pages(self) -> int:
        """Current size."""
        return int(lib.wj_memory_size_bytes(self.pointer)) >> self.type.page_size_log2

    def size_counter(self) -> ctypes.c_uint64:
        """Where C keeps the current size in bytes: valid as long as the store is."""
        return ctypes.c_uint64.from_address(address_of(self.pointer) + abi.MEMORY["size_bytes"])

    def current_type(self) -> wt.MemoryType:
        """The type that import matching sees: the minimum is the current size."""
        declared = self.type
        limits = wt.Limits(self.size_pages(), declared.limits.max)
        return wt.MemoryType(limits, declared.is_64, declared.shared, declared.page_size_log2)


@dataclass(slots=True, eq=False)
class TableItem:
    """A table of one store."""

    pointer: Any  # wj_table *
    type: wt.TableType

    def current_type(self) -> wt.TableType:
        """The type that import matching sees: the minimum is the current length."""
        limits = wt.Limits(int(lib.wj_table_length(self.pointer)), self.type.limits.max)
        return wt.TableType(self.type.element, limits, self.type.is_64)


@dataclass(slots=True, eq=False)
class GlobalItem:
    """A global of one store: the address of its value."""

    address: int
    type: wt.GlobalType

    def current_type(self) -> wt.GlobalType:
        """Its type."""
        return self.type


def new_memory_item(record: StoreRecord, type: wt.MemoryType) -> MemoryItem:
    """Makes a memory laid out by the engine's memory policy. Raises WasmError if it cannot be had."""
    record.check_new_memory(type)
    reservation_bytes, guard_bytes = _memory_layout(record.engine, type)
    most_pages = 1 << ((64 if type.is_64 else 32) - type.page_size_log2)
    max_pages = most_pages if type.limits.max is None else min(type.limits.max, most_pages)
    error = ffi.new("int *")
    while True:
        pointer = lib.wj_memory_new(
            record.pointer, type.limits.min, max_pages, type.page_size_log2, reservation_bytes, guard_bytes, error
        )
        if pointer != ffi.NULL:
            break
        if guard_bytes or not reservation_bytes:
            raise WasmError(f"cannot allocate a memory of {type.limits.min} pages (errno {error[0]})")
        reservation_bytes = 0  # explicitly checked code does not need it: the base moves then
    record.num_memories += 1
    return MemoryItem(pointer, type)


def _memory_layout(engine: Engine, type: wt.MemoryType) -> tuple[int, int]:
    """Reservation and guard in bytes. A memory without guards still gets its address space if that is affordable,
    so that it rarely moves and views of it stay valid."""
    policy = engine._config.memory_policy
    if policy.guarded and not type.is_64 and type.page_size_log2 == wt.PAGE_SIZE_LOG2:
        return policy.reservation_bytes, policy.guard_bytes
    if type.limits.max is not None:
        needed_bytes = type.limits.max << type.page_size_log2
    else:
        needed_bytes = 1 << (64 if type.is_64 else 32)
    if needed_bytes <= policy.reservation_bytes:
        return needed_bytes, 0
    if engine._config.memory_may_move:
        return 0, 0
    return max(policy.reservation_bytes, type.limits.min << type.page_size_log2), 0


def new_table_item(record: StoreRecord, type: wt.TableType, init_bits: int) -> TableItem:
    """Makes a table filled with a raw reference. Raises WasmError if it cannot be had."""
    record.check_new_table(type)
    maximum = MAX_TABLE_ELEMENTS if type.limits.max is None else type.limits.max
    error = ffi.new("int *")
    pointer = lib.wj_table_new(record.pointer, type.limits.min, maximum, init_bits, error)
    if pointer == ffi.NULL:
        raise WasmError(f"cannot allocate a table of {type.limits.min} elements (errno {error[0]})")
    record.num_tables += 1
    if type.element == wt.EXTERNREF:
        record.externref_roots.append(
            lambda: read_u64s(int(lib.wj_table_elements(pointer)), int(lib.wj_table_length(pointer)))
        )
    return TableItem(pointer, type)


def new_global_item(record: StoreRecord, type: wt.GlobalType, address: int) -> GlobalItem:
    """Describes the global whose value lies at `address`."""
    if type.content == wt.EXTERNREF:
        record.externref_roots.append(lambda: read_u64s(address, 1))
    return GlobalItem(address, type)


def read_bits(address: int, valtype: int) -> int:
    """The raw value of a global: i32 and f32 in the low half, which is all that is specified; v128 as 128 bits."""
    if valtype in (wt.I32, wt.F32):
        return ctypes.c_uint32.from_address(address).value
    if valtype == wt.V128:
        low, high = read_u64s(address, 2)
        return low | high << 64
    return ctypes.c_uint64.from_address(address).value


def write_bits(address: int, valtype: int, bits: int) -> None:
    """Writes the raw value of a global."""
    ctypes.c_uint64.from_address(address).value = bits & REFUSED
    if valtype == wt.V128:
        ctypes.c_uint64.from_address(address + 8).value = bits >> 64


def _index(value: Any, what: str) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected an int for the {what}")
    return value


class Memory:
    """A linear memory in a store.

    >>> from wasmjit import Limits, Store
    >>> store = Store()
    >>> memory = Memory(store, MemoryType(Limits(1, 2)))
    >>> memory.write(store, b"hello", 10), memory.read(store, 10, 15)
    (5, bytearray(b'hello'))
    """

    __slots__ = ("__weakref__", "_item", "_owner")

    def __init__(self, store: Storelike, ty: MemoryType) -> None:
        """Makes a memory of `ty`'s minimum size. Raises WasmError over the store's limits or the machine's."""
        record = record_of(store)
        if not isinstance(ty, MemoryType):
            raise TypeError("expected a MemoryType")
        if ty.is_shared:
            raise WasmError("shared memories must be created through `SharedMemory`")
        self._owner = record
        self._item = new_memory_item(record, ty._type)

    @classmethod
    def _wrap(cls, record: StoreRecord, item: MemoryItem) -> Memory:
        self = cls.__new__(cls)
        self._owner = record
        self._item = item
        return self

    def _pointer(self, store: Storelike) -> Any:
        check_store(store, self._owner, "memory")
        return self._item.pointer

    def type(self, store: Storelike) -> MemoryType:
        """Its type, with the current size as minimum."""
        self._pointer(store)
        return MemoryType._wrap(self._item.current_type())

    def size(self, store: Storelike) -> int:
        """Current size in pages."""
        self._pointer(store)
        return self._item.size_pages()

    def data_len(self, store: Storelike) -> int:
        """Current size in bytes."""
        return int(lib.wj_memory_size_bytes(self._pointer(store)))

    def page_size(self, store: Storelike) -> int:
        """Page size in bytes."""
        return 1 << self.page_size_log2(store)

    def page_size_log2(self, store: Storelike) -> int:
        """Log2 of the page size in bytes."""
        self._pointer(store)
        return self._item.type.page_size_log2

    def grow(self, store: Storelike, delta: int) -> int:
        """Grows by `delta` pages; returns the previous size in pages. Raises WasmError if that is not possible."""
        pointer = self._pointer(store)
        if _index(delta, "delta") < 0:
            raise WasmError("cannot grow by negative amount")
        previous = lib.wj_memory_grow(pointer, delta) if delta < REFUSED else REFUSED
        if previous == REFUSED:
            raise WasmError(f"failed to grow memory by `{delta}`")
        return int(previous)

    def data_ptr(self, store: Storelike) -> ctypes._Pointer[ctypes.c_ubyte]:
        """Raw pointer to its first byte; valid as long as the pointer object lives, at most `data_len` bytes.

        Where memories may move (see `Config.memory_may_move`), valid until the memory grows.
        """
        array = self.get_buffer_ptr(store)
        pointer = ctypes.cast(array, ctypes.POINTER(ctypes.c_ubyte))
        pointer._owner = array._owner  # type: ignore[attr-defined]
        return pointer

    def get_buffer_ptr(
        self, store: Storelike, size: int | None = None, offset: int = 0
    ) -> ctypes.Array[ctypes.c_ubyte]:
        """A writable view of `size` bytes from `offset` (all the rest by default), without copying.

        It has the buffer protocol (``numpy.frombuffer``, ``memoryview``) and stays valid after the store is closed.
        Where memories may move (see `Config.memory_may_move`) it is valid until the memory grows.
        Raises IndexError if it would not lie inside the memory.
        """
        pointer = self._pointer(store)
        size_bytes = int(lib.wj_memory_size_bytes(pointer))
        if size is None:
            size = size_bytes - offset
        if offset < 0 or size < 0 or offset + size > size_bytes:
            raise IndexError("index out of range")
        view = (ctypes.c_ubyte * size).from_address(int(lib.wj_memory_base(pointer)) + offset)
        _keep_alive(view, self._owner.open())
        return view

    def read(self, store: Storelike, start: int | None = 0, stop: int | None = None) -> bytearray:
        """A copy of the bytes ``[start:stop]``, with the rules of slices (negative counts from the end)."""
        pointer = self._pointer(store)
        start, stop, _ = slice(start, stop).indices(int(lib.wj_memory_size_bytes(pointer)))
        copy = bytearray(max(stop - start, 0))
        if copy and lib.wj_memory_read(pointer, start, ffi.from_buffer(copy), len(copy)):
            raise IndexError("index out of range")
        return copy

    def write(self, store: Storelike, value: bytes | bytearray | memoryview, start: int | None = None) -> int:
        """Writes bytes at `start` (negative counts from the end); returns their number.

        Raises IndexError, and writes nothing, unless all of them lie inside the memory.
        """
        pointer = self._pointer(store)
        size_bytes = int(lib.wj_memory_size_bytes(pointer))
        start = slice(start, None).indices(size_bytes)[0]
        if start >= size_bytes:
            raise IndexError("index out of range")
        if not isinstance(value, (bytes, bytearray)):
            value = bytes(value)
        if value and lib.wj_memory_write(pointer, start, ffi.from_buffer(value), len(value)):
            raise IndexError("index out of range")
        return len(value)


def _keep_alive(view: Any, native: NativeStore) -> None:
    """The C store lives as long as the view."""
    view._owner = native


class Table:
    """A table of references in a store."""

    __slots__ = ("__weakref__", "_item", "_owner")

    def __init__(self, store: Storelike, ty: TableType, init: Any) -> None:
        """Makes a table of `ty`'s minimum size, filled with `init`. Raises TypeError if `init` does not fit."""
        record = record_of(store)
        if not isinstance(ty, TableType):
            raise TypeError("expected a TableType")
        self._owner = record
        self._item = new_table_item(record, ty._type, python_to_bits(record, ty._type.element, init))

    @classmethod
    def _wrap(cls, record: StoreRecord, item: TableItem) -> Table:
        self = cls.__new__(cls)
        self._owner = record
        self._item = item
        return self

    def _pointer(self, store: Storelike) -> Any:
        check_store(store, self._owner, "table")
        return self._item.pointer

    def type(self, store: Storelike) -> TableType:
        """Its type, with the current size as minimum."""
        self._pointer(store)
        return TableType._wrap(self._item.current_type())

    def size(self, store: Storelike) -> int:
        """Current size in elements."""
        return int(lib.wj_table_length(self._pointer(store)))

    def grow(self, store: Storelike, amt: int, init: Any) -> int:
        """Grows by `amt` elements, each `init`; returns the previous size. Raises WasmError if that is not possible."""
        pointer = self._pointer(store)
        bits = python_to_bits(self._owner, self._item.type.element, init)
        previous = lib.wj_table_grow(pointer, amt, bits) if 0 <= _index(amt, "amount") < REFUSED else REFUSED
        if previous == REFUSED:
            raise WasmError(f"failed to grow table by `{amt}`")
        return int(previous)

    def get(self, store: Storelike, idx: int) -> Any:
        """The element at `idx`: a Func, the object of an externref, None for null and where `idx` is out of bounds."""
        pointer = self._pointer(store)
        bits = ffi.new("uint64_t *")
        if not 0 <= _index(idx, "index") < REFUSED or lib.wj_table_get(pointer, idx, bits):
            return None
        return bits_to_python(self._owner, self._item.type.element, int(bits[0]))

    def set(self, store: Storelike, idx: int, val: Any) -> None:
        """Sets the element at `idx`. Raises WasmError where it is out of bounds, TypeError for a wrong `val`."""
        pointer = self._pointer(store)
        bits = python_to_bits(self._owner, self._item.type.element, val)
        if not 0 <= _index(idx, "index") < REFUSED or lib.wj_table_set(pointer, idx, bits):
            raise WasmError(f"wasm trap: {_TABLE_OUT_OF_BOUNDS}")


class Global:
    """A global variable in a store."""

    __slots__ = ("__weakref__", "_item", "_owner")

    def __init__(self, store: Storelike, ty: GlobalType, val: Any) -> None:
        """Makes a global with this value. Raises TypeError if `val` does not fit the type."""
        record = record_of(store)
        if not isinstance(ty, GlobalType):
            raise TypeError("expected a GlobalType")
        type = ty._type
        bits = python_to_bits(record, type.content, val)
        address = record.allocate(16)
        write_bits(address, type.content, bits)
        self._owner = record
        self._item = new_global_item(record, type, address)

    @classmethod
    def _wrap(cls, record: StoreRecord, item: GlobalItem) -> Global:
        self = cls.__new__(cls)
        self._owner = record
        self._item = item
        return self

    def type(self, store: Storelike) -> GlobalType:
        """Its type."""
        check_store(store, self._owner, "global")
        return GlobalType._wrap(self._item.type)

    def value(self, store: Storelike) -> Any:
        """The current value as a Python object."""
        return bits_to_python(self._owner, self._item.type.content, self.value_bits(store))

    def value_bits(self, store: Storelike) -> int:
        """The current value's raw bits (a NaN's payload is exact; references are raw handles)."""
        check_store(store, self._owner, "global")
        return read_bits(self._item.address, self._item.type.content)

    def set_value(self, store: Storelike, val: Any) -> None:
        """Sets the value. Raises WasmError if the global is immutable, TypeError if `val` does not fit the type."""
        check_store(store, self._owner, "global")
        bits = python_to_bits(self._owner, self._item.type.content, val)
        if not self._item.type.mutable:
            raise WasmError("immutable global cannot be set")
        write_bits(self._item.address, self._item.type.content, bits)


Item = FuncItem | MemoryItem | TableItem | GlobalItem
AsExtern = Func | Memory | Table | Global


def wrap_item(record: StoreRecord, item: Item) -> AsExtern:
    """The public handle for an item."""
    if isinstance(item, FuncItem):
        return Func._wrap(record, item)
    if isinstance(item, MemoryItem):
        return Memory._wrap(record, item)
    if isinstance(item, TableItem):
        return Table._wrap(record, item)
    return Global._wrap(record, item)


def item_of(extern: Any, record: StoreRecord) -> Item:
    """The item behind a handle of this store. Raises TypeError for anything else, WasmError for another Store's."""
    if not isinstance(extern, (Func, Memory, Table, Global)):
        raise TypeError("expected a Func, Global, Memory, or Table")
    if extern._owner is not record:
        raise WasmError(f"{type(extern).__name__.lower()} belongs to another Store than the one given")
    return extern._item


__all__ = ["AsExtern", "Caller", "Func", "Global", "Memory", "Table"]
