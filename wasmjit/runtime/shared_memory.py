"""SharedMemory: a linear memory that belongs to no store, for threads."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from ..abi import REFUSED
from ..errors import ClosedError, WasmError
from ..wasm import types as wt
from .engine import Engine
from .handle import Handle
from .memory import MemoryItem, check_sharing, memory_layout
from .native import ffi, lib, take_object
from .native_store import NativeStore
from .store import StoreRecord
from .values import MemoryType


class SharedMemory(Handle):
    """A memory that any thread may read, write and grow, and that lives as long as somebody has it.

    Modules import it, in any number of Stores of its Engine, and those that define one export it.

    >>> from wasmjit import Config, Limits
    >>> memory = SharedMemory(Engine(Config(shared_memory=True)), MemoryType(Limits(1, 4), shared=True))
    >>> memory.grow(2), memory.size(), memory.data_len()
    (1, 3, 196608)
    """

    def __init__(self, engine: Engine, ty: MemoryType) -> None:
        """Makes a memory of `ty`'s minimum size with address space for the maximum, so it never moves.

        Raises WasmError without `Config.shared_memory`, if `ty` is not shared, or if the memory cannot be had, and
        TypeError for arguments of another kind.
        """
        if not isinstance(engine, Engine):
            raise TypeError("expected an Engine")
        engine._check_open()
        if not isinstance(ty, MemoryType):
            raise TypeError("expected a MemoryType")
        check_sharing(engine)
        type: wt.MemoryType = ty._type
        if not type.shared or type.limits.max is None:
            raise WasmError("shared memory must have the `shared` flag enabled on its memory type")
        self._type = type
        self._engine = engine
        error = ffi.new("int *")
        reservation_bytes, guard_bytes = memory_layout(engine, type)
        minimum, maximum, shift = type.limits.min, type.limits.max, type.page_size_log2
        made: Any = ffi.NULL
        if max(minimum, maximum) <= type.most_pages:
            made = lib.wj_memory_new(ffi.NULL, minimum, maximum, shift, reservation_bytes, guard_bytes, error)
        if made == ffi.NULL:
            raise WasmError(f"cannot reserve a shared memory of at most {maximum} pages (errno {error[0]})")
        self._pointer: Any = ffi.gc(made, lib.wj_memory_release)
        if lib.wj_memory_share(made):
            raise WasmError(f"cannot reserve a shared memory of at most {maximum} pages")

    @classmethod
    def _wrap(cls, engine: Engine, item: MemoryItem, native: NativeStore) -> SharedMemory:
        """The handle of what an instance has; `native` is the store that keeps the memory meanwhile."""
        self = cls.__new__(cls)
        self._type = item.type
        self._engine = engine
        lib.wj_memory_hold(item.pointer)
        self._pointer = ffi.gc(item.pointer, lib.wj_memory_release)
        return self

    def _join(self, record: StoreRecord) -> MemoryItem:
        """The memory as one of a store, which has it from now on, until it is closed.

        Raises WasmError for a Store of another Engine, or over its limits.
        """
        pointer = self._open()
        native = record.open()
        if self._engine is not record.engine:
            raise WasmError("the shared memory belongs to another Engine than the Store")
        # Code counts on it: so the C runtime is asked, whatever the Engine says.
        if not lib.wj_memory_has_layout(pointer, *memory_layout(record.engine, self._type)):
            raise WasmError("the shared memory has another layout than code of this Engine needs")
        error = lib.wj_memory_join(pointer, native.pointer)
        if error:
            raise WasmError(f"the shared memory cannot be used in the Store: {os.strerror(error)}")
        return MemoryItem(pointer, self._type)

    def _current_type(self) -> wt.MemoryType:
        """The type that import matching sees: the minimum is the current size."""
        declared = self._type
        limits = wt.Limits(self.size(), declared.limits.max)
        return wt.MemoryType(limits, declared.is_64, declared.shared, declared.page_size_log2)

    def close(self) -> None:
        """Lets go of it; pointers from `data_ptr` stay valid as long as they live. Later use raises ClosedError."""
        super().close()
        self._pointer = None

    def _open(self) -> Any:
        """The memory, which the caller keeps while it uses it: another thread may close this object."""
        pointer = self._pointer
        if pointer is None:
            raise ClosedError("sharedmemory is closed")
        return pointer

    def type(self) -> MemoryType:
        """Its type, as given."""
        self._open()
        return MemoryType._wrap(self._type)

    def grow(self, delta: int) -> int:
        """Grows by `delta` pages; returns the previous size in pages. Raises WasmError if that is not possible."""
        pointer = self._open()
        if not isinstance(delta, int):
            raise TypeError("expected an int for the delta")
        if delta < 0:
            raise WasmError("cannot grow by negative amount")
        previous = lib.wj_memory_grow(pointer, delta) if delta < REFUSED else REFUSED
        if previous == REFUSED:
            raise WasmError(f"failed to grow memory by `{delta}`")
        return int(previous)

    def size(self) -> int:
        """Current size in pages."""
        return self.data_len() >> self._type.page_size_log2

    def data_len(self) -> int:
        """Current size in bytes."""
        pointer = self._open()
        return int(lib.wj_memory_size_bytes(pointer))

    def data_ptr(self) -> ctypes._Pointer[ctypes.c_ubyte]:
        """Raw pointer to its first byte: at most `data_len` bytes, valid as long as the pointer object lives."""
        memory = self._open()
        mapping = take_object(lib.wj_mapping_new(memory))
        pointer = ctypes.cast(mapping.address, ctypes.POINTER(ctypes.c_ubyte))
        pointer._owner = mapping  # type: ignore[attr-defined]
        return pointer

    def view(self) -> memoryview[int]:
        """A writable memoryview of its present bytes; growth does not enlarge it, and it stays valid after `close`."""
        memory = self._open()
        return memoryview(take_object(lib.wj_mapping_new(memory)))


__all__ = ["SharedMemory"]
