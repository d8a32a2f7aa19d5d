"""SharedMemory: a linear memory that belongs to no store, for threads."""

from __future__ import annotations

import ctypes
import enum
import errno
import functools
import operator
import os
from typing import Any, Literal

from .. import abi
from ..errors import ClosedError, WasmError
from ..wasm import types as wt
from .engine import Engine
from .handle import Handle
from .memory import MemoryItem, check_sharing, memory_layout
from .native import ffi, lib, take_object
from .native_store import NativeStore
from .store import MAX_TIMEOUT_SECONDS, StoreRecord
from .trap import Trap, TrapCode
from .values import MemoryType

IntegerType = Literal["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"]

_BYTES = {f"{letter}{bits}": bits // 8 for letter in "iu" for bits in (8, 16, 32, 64)}
_EVERYBODY = 0xFFFFFFFF


class WaitResult(enum.IntEnum):
    """Why a wait ended, as numbers that the instructions give, too.

    >>> WaitResult(2).name
    'TIMED_OUT'
    """

    OK = abi.WAIT_OK  # notified
    MISMATCH = abi.WAIT_MISMATCH  # there was something else in memory than what was expected
    TIMED_OUT = abi.WAIT_TIMED_OUT


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
        previous = lib.wj_memory_grow(pointer, delta) if delta < abi.REFUSED else abi.REFUSED
        if previous == abi.REFUSED:
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

    # ---- atomic accesses, in one order with those of all threads ----

    def load(self, address: int, type: IntegerType = "i32") -> int:
        """Reads a number. `type` says its bits, and whether it is signed.

        This and the methods below raise IndexError outside of the memory, ValueError for an address that is no multiple
        of the number's size or a `type` that there is not, TypeError for what is no integer, and OverflowError for a
        value that does not fit the type, read as signed or unsigned.

        >>> from wasmjit import Config, Limits
        >>> memory = SharedMemory(Engine(Config(shared_memory=True)), MemoryType(Limits(1, 1), shared=True))
        >>> memory.store(8, -1)
        >>> memory.load(8, "u8"), memory.add(8, 3), memory.compare_exchange(8, 2, 70), memory.load(8)
        (255, -1, 2, 70)
        """
        return self._access(abi.ATOMIC_LOAD, address, type)

    def store(self, address: int, value: int, type: IntegerType = "i32") -> None:
        """Writes a number."""
        self._access(abi.ATOMIC_STORE, address, type, value)

    def add(self, address: int, value: int, type: IntegerType = "i32") -> int:
        """Adds to a number, which wraps; returns what was there."""
        return self._access(abi.ATOMIC_ADD, address, type, value)

    def compare_exchange(self, address: int, expected: int, replacement: int, type: IntegerType = "i32") -> int:
        """Writes `replacement` if `expected` is there; returns what was there."""
        return self._access(abi.ATOMIC_COMPARE_EXCHANGE, address, type, expected, replacement)

    def _access(self, operation: int, address: int, type: str, value: int = 0, replacement: int = 0) -> int:
        size_bytes = _BYTES.get(type)
        if size_bytes is None:
            raise ValueError(f"expected a type from i8 to u64, not {type!r}")
        operands = _bits(value, type), _bits(replacement, type)
        found = ffi.new("uint64_t *")
        place = _address(address)
        pointer = self._open()
        error = lib.wj_memory_atomic(pointer, operation, size_bytes, place, *operands, found)
        _check(error, address, size_bytes)
        bits = 8 * size_bytes
        before = int(found[0])
        return before - (1 << bits) if type[0] == "i" and before >> (bits - 1) else before

    def atomic_notify(self, address: int, count: int = _EVERYBODY) -> int:
        """Wakes at most `count` of those that wait at the address, in wasm or Python; returns how many.

        Errors as of `load`, for a number of 4 bytes.
        """
        woken = ffi.new("uint64_t *")
        most, place = operator.index(count), _address(address)
        if not 0 <= most <= _EVERYBODY:
            raise OverflowError(f"count: {count} does not fit u32")
        pointer = self._open()
        _check(lib.wj_memory_notify(pointer, place, most, woken), address, 4)
        return int(woken[0])

    def atomic_wait32(self, address: int, expected: int, timeout: float | None = None) -> WaitResult:
        """Waits until the address is notified, if the 32 bits there are `expected`; at most `timeout` seconds.

        Other threads have the GIL meanwhile. In the main thread signal handlers run, and what they raise (Ctrl-C) ends
        it. In a host function it ends with the call of wasm: by a Trap of code INTERRUPT. Other errors are as of
        `load`.

        >>> from wasmjit import Config, Limits
        >>> memory = SharedMemory(Engine(Config(shared_memory=True)), MemoryType(Limits(1, 1), shared=True))
        >>> memory.atomic_wait32(8, 1).name, memory.atomic_wait32(8, 0, timeout=0.001).name, memory.atomic_notify(8)
        ('MISMATCH', 'TIMED_OUT', 0)
        """
        return self._wait(address, _bits(expected, "i32"), timeout, 4)

    def atomic_wait64(self, address: int, expected: int, timeout: float | None = None) -> WaitResult:
        """As `atomic_wait32`, with 64 bits."""
        return self._wait(address, _bits(expected, "i64"), timeout, 8)

    def _wait(self, address: int, expected: int, timeout: float | None, size_bytes: int) -> WaitResult:
        timeout_ns = _nanoseconds(timeout)
        place = _address(address)
        pointer = self._open()  # which is kept until it is over
        result = _waiter()(int(ffi.cast("uintptr_t", pointer)), place, size_bytes == 8, expected, timeout_ns)
        if result == abi.WAIT_ENDED:
            raise Trap._from_code(TrapCode.INTERRUPT.value)
        _check(-result if result < 0 else 0, address, size_bytes)
        return WaitResult(result)


@functools.cache
def _waiter() -> Any:
    """What waits: C, since it calls signal handlers."""
    return take_object(lib.wj_memory_waiter())


def _address(address: int) -> int:
    """What no memory has, for what is negative or too large."""
    number = operator.index(address)
    return number if 0 <= number < 1 << 63 else (1 << 64) - 1


def _bits(value: int, type: str) -> int:
    """The number as an unsigned one of 64 bits."""
    number, bits = operator.index(value), 8 * _BYTES[type]
    if not -(1 << (bits - 1)) <= number < 1 << bits:
        raise OverflowError(f"value: {number} does not fit {type}")
    return number % (1 << bits)


def _nanoseconds(timeout: float | None) -> int:
    """-1: for ever."""
    if timeout is None:
        return -1
    if not isinstance(timeout, (int, float)):
        raise TypeError("expected a number of seconds")
    if not timeout >= 0:
        raise ValueError("a timeout must not be negative")
    return -1 if timeout > MAX_TIMEOUT_SECONDS else round(timeout * 1e9)


def _check(error: int, address: int, size_bytes: int) -> None:
    if error == errno.EFAULT:
        raise IndexError("index out of range")
    if error:
        raise ValueError(f"address {address} is no multiple of {size_bytes}")


__all__ = ["SharedMemory", "WaitResult"]
