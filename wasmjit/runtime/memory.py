"""Memory: linear memories of a store, and how Python reads, writes and views them."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

from .. import abi
from ..abi import REFUSED
from ..errors import WasmError
from ..wasm import types as wt
from .engine import Engine
from .memory_access import MemoryAccess
from .native import ffi, lib, take_object
from .native_store import NativeStore
from .store import Storelike, StoreRecord, address_of, check_store, record_of
from .values import MemoryType

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from ..records import dataclass


@dataclass(slots=True, eq=False)
class MemoryItem:
    """A linear memory of one store."""

    pointer: Any  # wj_memory *
    type: wt.MemoryType  # as declared: its current size is in C
    moves: bool = False  # growth may give it another base

    def size_pages(self, _native: NativeStore) -> int:
        """Current size."""
        return int(lib.wj_memory_size_bytes(self.pointer)) >> self.type.page_size_log2

    def size_counter(self, native: NativeStore) -> ctypes.c_uint64:
        """Where C keeps the current size in bytes; it keeps the C store."""
        counter = ctypes.c_uint64.from_address(address_of(self.pointer) + abi.MEMORY["size_bytes"])
        counter._owner = native  # type: ignore[attr-defined]
        return counter

    def current_type(self, native: NativeStore) -> wt.MemoryType:
        """The type that import matching sees: the minimum is the current size."""
        declared = self.type
        limits = wt.Limits(self.size_pages(native), declared.limits.max)
        return wt.MemoryType(limits, declared.is_64, declared.shared, declared.page_size_log2)


def new_memory_item(record: StoreRecord, type: wt.MemoryType, image: Any = ffi.NULL) -> MemoryItem:
    """Makes a memory laid out by the engine's memory policy, with an image's contents where that can be mapped.

    Raises WasmError if it cannot be had.
    """
    native = record.open()
    if type.shared:
        check_sharing(record.engine)
    record.check_new_memory(type)
    reservation_bytes, guard_bytes = memory_layout(record.engine, type)
    max_pages = type.most_pages if type.limits.max is None else min(type.limits.max, type.most_pages)
    error = ffi.new("int *")
    while True:
        pointer = lib.wj_memory_new_from_image(
            native.pointer,
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
        if (guard_bytes and not type.is_64) or not reservation_bytes or type.shared:
            raise WasmError(f"cannot allocate a memory of {type.limits.min} pages: {os.strerror(error[0])}")
        reservation_bytes = 0  # explicitly checked code does not need it: the base moves then
    record.num_memories += 1
    if type.shared and lib.wj_memory_share(pointer):
        raise WasmError("a shared memory has no room for its maximum")
    return MemoryItem(pointer, type, moves=reservation_bytes == 0)


def check_sharing(engine: Engine) -> None:
    """Raises WasmError unless shared memories can be created."""
    if not engine._config.shared_memory:
        raise WasmError("shared memory support is disabled for this engine: see `Config.shared_memory`")


def memory_layout(engine: Engine, type: wt.MemoryType) -> tuple[int, int]:
    """Reservation and guard in bytes. A memory without guards still gets its address space if that is affordable,
    so that it rarely moves and views of it stay valid. A shared one never moves.

    Raises WasmError for a shared memory with a maximum beyond all address spaces.
    """
    policy = engine._memory_policy
    guard_bytes = 0
    if policy.guarded and type.page_size_log2 == wt.PAGE_SIZE_LOG2:
        guard_bytes = policy.guard_bytes
        if not type.is_64:
            return policy.reservation_bytes, guard_bytes
    if type.limits.max is not None:
        needed_bytes = type.limits.max << type.page_size_log2
    else:
        needed_bytes = 1 << (64 if type.is_64 else 32)
    if needed_bytes <= policy.reservation_bytes:
        return max(needed_bytes, int(type.shared)), guard_bytes
    if type.shared:
        if needed_bytes >= REFUSED:
            raise WasmError(f"cannot reserve a shared memory of at most {type.limits.max} pages")
        return needed_bytes, guard_bytes
    if engine._config.memory_may_move:
        return 0, guard_bytes
    return max(policy.reservation_bytes, type.limits.min << type.page_size_log2), guard_bytes


class Memory(MemoryAccess):
    """A linear memory in a store.

    It is read and written by `read` and `write`, by index and slice (``memory[10:15]``), by typed helpers, and without
    copying through `view`. Copies go through no Python code and are made once.

    The typed helpers (`read_u32`, `write_f64`, `read_str`, `write_array`, ...) have little endian numbers, as wasm has.
    Their addresses are in bytes, never negative, and need no alignment. Integers to be written may be meant signed or
    unsigned; OverflowError for what fits neither way. TypeError for anything but an int (for floats: an int or float).

    Everything raises IndexError, and writes nothing, unless all bytes lie inside the memory, and ClosedError once the
    store is closed.

    >>> from wasmjit import Limits, Store
    >>> store = Store()
    >>> memory = Memory(store, MemoryType(Limits(1, 2)))
    >>> memory.write(store, b"hello", 10), memory.read(store, 10, 15)
    (5, bytearray(b'hello'))
    >>> memory.write_i32(store, -2, 8)
    >>> memory.read_u32(store, 8), memory.read_i8(store, 8)
    (4294967294, -2)
    >>> memory.write_str(store, "zażółć", 100)
    10
    >>> memory.read_str(store, 100, 10)
    'zażółć'
    >>> memory.write_array(store, [1, 2, 3], 40, "u16")
    6
    >>> memory.read_array(store, 40, 3, "u16")
    array('H', [1, 2, 3])
    >>> view = memory.view(store, 4, 8)
    >>> view[:2] = b"hi"
    >>> memory[4:8], memory[4]
    (bytearray(b'hi\\x00\\x00'), 104)
    """

    __slots__ = ("__weakref__", "_item")

    def __init__(self, store: Storelike, ty: MemoryType) -> None:
        """Makes a memory of `ty`'s minimum size. Raises WasmError over the store's limits or the machine's."""
        record = record_of(store)
        if not isinstance(ty, MemoryType):
            raise TypeError("expected a MemoryType")
        if ty.is_shared:
            raise WasmError("shared memories must be created through `SharedMemory`")
        native = record.open()  # as in _wrap
        self._item = new_memory_item(record, ty._type)
        self._attach(record, native.address, address_of(self._item.pointer))

    @classmethod
    def _wrap(cls, record: StoreRecord, item: MemoryItem) -> Memory:
        self = cls.__new__(cls)
        self._item = item
        native = record.native  # kept meanwhile: another thread may close the store
        self._attach(record, 0 if native is None else native.address, address_of(item.pointer))
        return self

    def _open(self, store: Storelike) -> tuple[NativeStore, Any]:
        """The C store, which the caller keeps: a callback or another thread may close the store; and the memory."""
        check_store(store, self._owner, "memory")
        native = self._owner.open()
        return native, self._item.pointer

    def _open_own(self) -> None:
        """What C calls to have raised what is wrong with the store."""
        self._owner.open()

    def type(self, store: Storelike) -> MemoryType:
        """Its type, with the current size as minimum."""
        native, _ = self._open(store)
        return MemoryType._wrap(self._item.current_type(native))

    def page_size(self, store: Storelike) -> int:
        """Page size in bytes."""
        return 1 << self.page_size_log2(store)

    def page_size_log2(self, store: Storelike) -> int:
        """Log2 of the page size in bytes."""
        self._open(store)
        return self._item.type.page_size_log2

    def _may_grow(self, native: NativeStore, delta: int) -> bool:
        """Whether the store's limiter allows it."""
        if self._owner.limiter is None or delta == 0:
            return True
        maximum, shift = self._item.type.limits.max, self._item.type.page_size_log2
        current = self._item.size_pages(native)
        maximum_bytes = None if maximum is None else maximum << shift
        return self._owner.allows_growth("memory", current << shift, current + delta << shift, maximum_bytes)

    def grow(self, store: Storelike, delta: int) -> int:
        """Grows by `delta` pages; returns the previous size in pages. Raises WasmError if that is not possible."""
        native, pointer = self._open(store)
        if not isinstance(delta, int):
            raise TypeError("expected an int for the delta")
        if delta < 0:
            raise WasmError("cannot grow by negative amount")
        previous = REFUSED
        if delta < REFUSED and self._may_grow(native, delta):
            previous = lib.wj_memory_grow(pointer, delta)
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

        It has the buffer protocol (``numpy.frombuffer``, ``memoryview``) and stays valid after the store is closed,
        unlike `view`.
        Growth does not enlarge it. Where memories may move (see `Config.memory_may_move`) it shows, after the memory
        grew, what was there before: take a new one. Raises IndexError if it would not lie inside the memory.
        """
        _native, pointer = self._open(store)
        size_bytes = int(lib.wj_memory_size_bytes(pointer))
        if size is None:
            size = size_bytes - offset
        if offset < 0 or size < 0 or offset + size > size_bytes:
            raise IndexError("index out of range")
        mapping = take_object(lib.wj_mapping_new(pointer))
        array = (ctypes.c_ubyte * size).from_address(mapping.address + offset)
        array._owner = mapping  # type: ignore[attr-defined]
        return array


__all__ = ["Memory", "MemoryItem", "check_sharing", "memory_layout", "new_memory_item"]
