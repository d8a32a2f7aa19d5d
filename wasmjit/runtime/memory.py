"""Memory: linear memories of a store, and how Python reads, writes and views them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from .. import abi
from ..errors import WasmError
from ..wasm import types as wt
from .engine import Engine
from .memory_access import TypedAccess
from .native import ffi, lib
from .store import NativeStore, Storelike, StoreRecord, address_of, check_store, record_of
from .values import MemoryType

REFUSED = (1 << 64) - 1


@dataclass(slots=True, eq=False)
class MemoryItem:
    """A linear memory of one store."""

    pointer: Any  # wj_memory *
    type: wt.MemoryType  # as declared: its current size is in C
    moves: bool = False  # growth may give it another base

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


def new_memory_item(record: StoreRecord, type: wt.MemoryType, image: Any = ffi.NULL) -> MemoryItem:
    """Makes a memory laid out by the engine's memory policy, with an image's contents where that can be mapped.

    Raises WasmError if it cannot be had.
    """
    record.check_new_memory(type)
    reservation_bytes, guard_bytes = _memory_layout(record.engine, type)
    most_pages = 1 << ((64 if type.is_64 else 32) - type.page_size_log2)
    max_pages = most_pages if type.limits.max is None else min(type.limits.max, most_pages)
    error = ffi.new("int *")
    while True:
        pointer = lib.wj_memory_new_from_image(
            record.pointer,
            type.limits.min,
            max_pages,
            type.page_size_log2,
            reservation_bytes,
            guard_bytes,
            image,
            error,
        )
        if pointer != ffi.NULL:
            break
        if guard_bytes or not reservation_bytes:
            raise WasmError(f"cannot allocate a memory of {type.limits.min} pages (errno {error[0]})")
        reservation_bytes = 0  # explicitly checked code does not need it: the base moves then
    record.num_memories += 1
    return MemoryItem(pointer, type, moves=reservation_bytes == 0)


def _memory_layout(engine: Engine, type: wt.MemoryType) -> tuple[int, int]:
    """Reservation and guard in bytes. A memory without guards still gets its address space if that is affordable,
    so that it rarely moves and views of it stay valid."""
    policy = engine._memory_policy
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


class _Mapping:
    """Keeps what a view points to: the C store, and, of a memory that moves, the mapping that the view was made of."""

    __slots__ = ("_native", "_view")

    def __init__(self, native: NativeStore, item: MemoryItem) -> None:
        self._native = native
        self._view: Any = None
        if item.moves:
            self._view = lib.wj_memory_view(item.pointer)
            if self._view == ffi.NULL:
                raise MemoryError("no memory for a view")

    # A weakref.finalize would outlive a cycle through host functions; the C object needs no store to be released.
    def __del__(self, release: Any = lib.wj_view_release) -> None:
        if self._view is not None:
            release(self._view)


class Memory(TypedAccess):
    """A linear memory in a store.

    It is read and written by `read` and `write`, by typed helpers (`read_i32`, `write_utf8`, ...), by index and slice
    (``memory[10:15]``), and without copying through `view`.

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

    def _open(self, store: Storelike) -> tuple[NativeStore, Any]:
        """The C store, which the caller keeps: a callback or another thread may close the store; and the memory."""
        check_store(store, self._owner, "memory")
        return self._owner.open(), self._item.pointer

    def type(self, store: Storelike) -> MemoryType:
        """Its type, with the current size as minimum."""
        _native, _ = self._open(store)
        return MemoryType._wrap(self._item.current_type())

    def size(self, store: Storelike) -> int:
        """Current size in pages."""
        _native, _ = self._open(store)
        return self._item.size_pages()

    def data_len(self, store: Storelike) -> int:
        """Current size in bytes."""
        _native, pointer = self._open(store)
        return int(lib.wj_memory_size_bytes(pointer))

    def page_size(self, store: Storelike) -> int:
        """Page size in bytes."""
        return 1 << self.page_size_log2(store)

    def page_size_log2(self, store: Storelike) -> int:
        """Log2 of the page size in bytes."""
        self._open(store)
        return self._item.type.page_size_log2

    def _may_grow(self, delta: int) -> bool:
        """Whether the store's limiter allows it."""
        if self._owner.limiter is None or delta == 0:
            return True
        maximum, shift = self._item.type.limits.max, self._item.type.page_size_log2
        current = self._item.size_pages()
        maximum_bytes = None if maximum is None else maximum << shift
        return self._owner.allows_growth("memory", current << shift, current + delta << shift, maximum_bytes)

    def grow(self, store: Storelike, delta: int) -> int:
        """Grows by `delta` pages; returns the previous size in pages. Raises WasmError if that is not possible."""
        _native, pointer = self._open(store)
        if not isinstance(delta, int):
            raise TypeError("expected an int for the delta")
        if delta < 0:
            raise WasmError("cannot grow by negative amount")
        previous = lib.wj_memory_grow(pointer, delta) if delta < REFUSED and self._may_grow(delta) else REFUSED
        if previous == REFUSED:
            raise WasmError(f"failed to grow memory by `{delta}`")
        return int(previous)

    # ---- without copying ----

    def data_ptr(self, store: Storelike) -> ctypes._Pointer[ctypes.c_ubyte]:
        """Raw pointer to its first byte; at most `data_len` bytes. Valid as `get_buffer_ptr`'s view is."""
        array = self.get_buffer_ptr(store)
        pointer = ctypes.cast(array, ctypes.POINTER(ctypes.c_ubyte))
        pointer._owner = array._owner  # type: ignore[attr-defined]
        return pointer

    def get_buffer_ptr(
        self, store: Storelike, size: int | None = None, offset: int = 0
    ) -> ctypes.Array[ctypes.c_ubyte]:
        """A writable view of `size` bytes from `offset` (all the rest by default), without copying.

        It has the buffer protocol (``numpy.frombuffer``, ``memoryview``) and stays valid after the store is closed.
        Growth does not enlarge it. Where memories may move (see `Config.memory_may_move`) it shows, after the memory
        grew, what was there before: take a new one. Raises IndexError if it would not lie inside the memory.
        """
        native, pointer = self._open(store)
        size_bytes = int(lib.wj_memory_size_bytes(pointer))
        if size is None:
            size = size_bytes - offset
        if offset < 0 or size < 0 or offset + size > size_bytes:
            raise IndexError("index out of range")
        return self._array(native, size, offset)

    def _array(self, native: NativeStore, size: int, offset: int = 0) -> ctypes.Array[ctypes.c_ubyte]:
        """The view; `size` bytes from `offset` lie inside the memory."""
        mapping = _Mapping(native, self._item)  # before the base is read: the memory may move
        array = (ctypes.c_ubyte * size).from_address(int(lib.wj_memory_base(self._item.pointer)) + offset)
        array._owner = mapping  # type: ignore[attr-defined]
        return array

    def view(self, store: Storelike) -> memoryview[int]:
        """A writable memoryview of all its bytes, for slices, `struct` and ``numpy.frombuffer``; as `get_buffer_ptr`.

        >>> from wasmjit import Limits, Store
        >>> store = Store()
        >>> memory = Memory(store, MemoryType(Limits(1)))
        >>> memory.view(store)[4:6] = b"hi"
        >>> bytes(memory.view(store)[4:6])
        b'hi'
        """
        return memoryview(self.get_buffer_ptr(store)).cast("B")

    # ---- copies ----

    def read(self, store: Storelike, start: int | None = 0, stop: int | None = None) -> bytearray:
        """A copy of the bytes ``[start:stop]``, with the rules of slices (negative counts from the end)."""
        _native, pointer = self._open(store)
        start, stop, _ = slice(start, stop).indices(int(lib.wj_memory_size_bytes(pointer)))
        return self._read_bytes(pointer, start, max(stop - start, 0))

    def _read_bytes(self, pointer: Any, start: int, size_bytes: int) -> bytearray:
        copy = bytearray(size_bytes)
        if copy and lib.wj_memory_read(pointer, start, ffi.from_buffer(copy), size_bytes):
            raise IndexError("index out of range")
        return copy

    def write(self, store: Storelike, value: bytes | bytearray | memoryview, start: int | None = None) -> int:
        """Writes bytes at `start` (negative counts from the end); returns their number.

        Raises IndexError, and writes nothing, unless all of them lie inside the memory.
        """
        _native, pointer = self._open(store)
        size_bytes = int(lib.wj_memory_size_bytes(pointer))
        start = slice(start, None).indices(size_bytes)[0]
        if start >= size_bytes:
            raise IndexError("index out of range")
        if not isinstance(value, (bytes, bytearray)):
            value = bytes(value)
        if value and lib.wj_memory_write(pointer, start, ffi.from_buffer(value), len(value)):
            raise IndexError("index out of range")
        return len(value)

    def _read_exactly(self, store: Storelike, start: int, size_bytes: int) -> bytearray:
        _native, pointer = self._open(store)
        if not isinstance(start, int) or not isinstance(size_bytes, int):
            raise TypeError("expected an int")
        if start < 0 or size_bytes < 0 or start + size_bytes > int(lib.wj_memory_size_bytes(pointer)):
            raise IndexError("index out of range")
        return self._read_bytes(pointer, start, size_bytes)

    def _write_exactly(self, store: Storelike, value: bytes, start: int) -> None:
        _native, pointer = self._open(store)
        if not isinstance(start, int):
            raise TypeError("expected an int")
        if start < 0 or start + len(value) > int(lib.wj_memory_size_bytes(pointer)):
            raise IndexError("index out of range")
        if value and lib.wj_memory_write(pointer, start, ffi.from_buffer(value), len(value)):
            raise IndexError("index out of range")

    def _own_view(self) -> memoryview[int]:
        """As `view`, in the store that it belongs to."""
        native = self._owner.open()
        return memoryview(self._array(native, int(lib.wj_memory_size_bytes(self._item.pointer)))).cast("B")

    def __getitem__(self, key: int | slice) -> int | bytearray:
        """A byte as int, or a copy of a slice. Raises IndexError for a byte outside, ClosedError on a closed store."""
        found = self._own_view()[key]
        return found if isinstance(found, int) else bytearray(found)

    def __setitem__(self, key: int | slice, value: Any) -> None:
        """Writes a byte, or bytes of the slice's length. Raises IndexError, or ValueError for another length."""
        self._own_view()[key] = value


__all__ = ["Memory", "MemoryItem", "new_memory_item"]
