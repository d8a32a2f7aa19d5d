"""Store: what instances and host objects live in, and its ownership of the C store.

`Store` is the public handle; `StoreRecord` is what every Func, Memory, Instance... refers to; `NativeStore` owns the C
store. The C store is freed when the last of record, memory views and running calls lets go of its NativeStore. A record
never refers to handles of its own store, so dropping a Store frees everything at once; the cycle collector is needed
only where a host function refers to its own store.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from ..errors import ClosedError, WasmError
from ..wasm import types as wt
from .engine import Engine
from .handle import Handle
from .native import ffi, lib, store_roots

if TYPE_CHECKING:
    from .externs import Caller, Func
    from .instance import InstanceRecord

UNLIMITED = (1 << 64) - 1
# Externref handles are swept when their number has doubled since the last sweep, but not below this.
FIRST_SWEEP_HANDLES = 4096
# What the wasmtime package allows a store by default.
DEFAULT_MAX_ITEMS = 10_000


class NativeStore:
    """Owns one C store. `keepalive` holds what generated code and C point to: loaded code, type ids, segment bytes."""

    __slots__ = ("__weakref__", "_roots", "keepalive", "pointer")

    def __init__(self, max_wasm_stack_bytes: int) -> None:
        pointer = lib.wj_store_new(max_wasm_stack_bytes)
        if pointer == ffi.NULL:
            raise MemoryError("no memory for a Store")
        self.pointer = pointer
        self.keepalive: set[object] = set()
        self._roots: object = None
        # At interpreter exit the process's memory goes anyway, and views may still be in use.
        weakref.finalize(self, _free_store, pointer, self.keepalive).atexit = False

    def keep_roots(self) -> None:
        """Shows the garbage collector the host functions that C holds. Call after making one."""
        if self._roots is None:
            self._roots = store_roots(self.pointer)


def _free_store(pointer: object, keepalive: set[object]) -> None:
    lib.wj_store_free(pointer)
    keepalive.clear()


@dataclass(slots=True)
class StoreLimits:
    """What `Store.set_limits` sets; sizes hold for each memory or table."""

    memory_size: int = UNLIMITED  # bytes
    table_elements: int = UNLIMITED
    instances: int = DEFAULT_MAX_ITEMS
    tables: int = DEFAULT_MAX_ITEMS
    memories: int = DEFAULT_MAX_ITEMS


class StoreRecord:
    """The state of one Store. `native` is None once the store is closed."""

    def __init__(self, engine: Engine, data: Any) -> None:
        self.engine = engine
        self.data = data
        self.native: NativeStore | None = NativeStore(engine._config.max_wasm_stack)
        self.limits = StoreLimits()
        self.instances: dict[int, InstanceRecord] = {}  # by context address
        self.wasi: Any = None
        self.linker_functions: dict[object, Any] = {}  # a Linker's Store-independent definition -> FuncItem here
        self.functions: weakref.WeakValueDictionary[int, Func] = weakref.WeakValueDictionary()  # by func-ref address
        self.num_memories = 0
        self.num_tables = 0
        # Externrefs: wasm sees small integers.
        self.externrefs: dict[int, Any] = {}
        self._externref_ids: dict[int, int] = {}  # id(object) -> its handle
        self._next_externref = 1
        self._sweep_at = FIRST_SWEEP_HANDLES
        # Where externrefs can be found: callables that list handles in use.
        self.externref_roots: list[Callable[[], list[int]]] = []

    @property
    def pointer(self) -> Any:
        """The C store. Raises ClosedError."""
        return self.open().pointer

    def open(self) -> NativeStore:
        """The native store. Raises ClosedError when the store is closed."""
        if self.native is None:
            raise ClosedError("store is closed")
        return self.native

    def is_running(self) -> bool:
        """Whether wasm code of this store is on some thread's stack."""
        return self.native is not None and bool(lib.wj_store_is_running(self.native.pointer))

    def allocate(self, size_bytes: int) -> int:
        """Address of zeroed memory that lives as long as the C store."""
        pointer = lib.wj_store_alloc(self.pointer, size_bytes)
        if pointer == ffi.NULL:
            raise MemoryError(f"no memory for {size_bytes} bytes in a Store")
        return int(ffi.cast("uintptr_t", pointer))

    def close(self) -> None:
        """Lets go of everything. Raises WasmError while wasm code of this store runs."""
        if self.native is None:
            return
        if self.is_running():
            raise WasmError("store cannot be closed while its code is running")
        self.native = None
        self.instances.clear()
        self.linker_functions.clear()
        self.externref_roots.clear()
        self.externrefs.clear()
        self._externref_ids.clear()
        self.data = self.wasi = None

    # ---- limits ----

    def check_new_instance(self) -> None:
        """Raises WasmError if there may be no further instance."""
        if len(self.instances) >= self.limits.instances:
            raise WasmError(f"resource limit exceeded: instance count too high at {len(self.instances) + 1}")

    def check_new_memory(self, type: wt.MemoryType) -> None:
        """Raises WasmError if `set_limits` forbids another memory of this type."""
        if self.num_memories >= self.limits.memories:
            raise WasmError(f"resource limit exceeded: memory count too high at {self.num_memories + 1}")
        if type.limits.min << type.page_size_log2 > self.limits.memory_size:
            raise WasmError(f"memory minimum size of {type.limits.min} pages exceeds memory limits")

    def check_new_table(self, type: wt.TableType) -> None:
        """Raises WasmError if `set_limits` forbids another table of this type."""
        if self.num_tables >= self.limits.tables:
            raise WasmError(f"resource limit exceeded: table count too high at {self.num_tables + 1}")
        if type.limits.min > self.limits.table_elements:
            raise WasmError(f"table minimum size of {type.limits.min} elements exceeds table limits")

    # ---- externrefs ----

    def externref_handle(self, value: Any) -> int:
        """The raw externref for a Python object: 0 for None, else a handle that keeps the object alive until `gc`."""
        if value is None:
            return 0
        handle = self._externref_ids.get(id(value))
        if handle is None:
            if len(self.externrefs) >= self._sweep_at and not self.is_running():
                self.sweep_externrefs()
            handle = self._next_externref
            self._next_externref += 1
            self.externrefs[handle] = value
            self._externref_ids[id(value)] = handle
        return handle

    def externref_value(self, handle: int) -> Any:
        """The Python object of a raw externref."""
        return self.externrefs[handle] if handle else None

    def sweep_externrefs(self) -> None:
        """Forgets the objects that no table, global or segment refers to. No code of the store may be running."""
        live: set[int] = set()
        for root in self.externref_roots:
            live.update(root())
        for handle in [h for h in self.externrefs if h not in live]:
            del self._externref_ids[id(self.externrefs.pop(handle))]
        self._sweep_at = max(FIRST_SWEEP_HANDLES, 2 * len(self.externrefs))


class Store(Handle):
    """What instances, functions, memories, tables and globals live in; used by one thread at a time.

    >>> with Store(Engine(), data="mine") as store:
    ...     store.data()
    'mine'
    """

    def __init__(self, engine: Engine | None = None, data: Any = None) -> None:
        if engine is None:
            engine = Engine()
        elif not isinstance(engine, Engine):
            raise TypeError("expected an Engine")
        engine._check_open()
        self.engine = engine
        self._record = StoreRecord(engine, data)

    def close(self) -> None:
        """Frees what lives in this store, memory that Python still has views of when the last view goes.

        Later use of the store and of what belongs to it raises ClosedError. Raises WasmError while its code is running.
        """
        self._record.close()

    def data(self) -> Any:
        """The object given to the constructor."""
        self._record.open()
        return self._record.data

    def gc(self) -> None:
        """Drops externref objects that nothing in this store refers to any more; a no-op while its code is running."""
        self._record.open()
        if not self._record.is_running():
            self._record.sweep_externrefs()

    def set_limits(
        self, memory_size: int = -1, table_elements: int = -1, instances: int = -1, tables: int = -1, memories: int = -1
    ) -> None:
        """Limits what this store may hold; negative values leave a limit as it is.

        `memory_size` (bytes) and `table_elements` hold for each memory and table: creation beyond them is a WasmError,
        growth beyond them fails. `instances`, `tables` and `memories` are counts.
        """
        record = self._record
        pointer = record.pointer
        for name, value in (
            ("memory_size", memory_size),
            ("table_elements", table_elements),
            ("instances", instances),
            ("tables", tables),
            ("memories", memories),
        ):
            if not isinstance(value, int):
                raise TypeError(f"expected an int for {name}")
            if value >= 0:
                setattr(record.limits, name, min(value, UNLIMITED))
        lib.wj_store_set_limits(pointer, record.limits.memory_size, record.limits.table_elements)

    def set_wasi(self, wasi: Any) -> None:
        """What WASI functions of this store see: a `WasiConfig`. Raises TypeError for anything else."""
        if type(wasi).__name__ != "WasiConfig":  # its package lies above this one
            raise TypeError("expected a WasiConfig")
        self._record.open()
        self._record.wasi = wasi

    def set_fuel(self, fuel: int) -> None:
        """Sets the fuel left. Raises WasmError unless `Config.consume_fuel` is on."""
        if not isinstance(fuel, int):
            raise TypeError("expected an int")
        self._record.open()
        raise WasmError("fuel is not configured in this store")

    def get_fuel(self) -> int:
        """The fuel left. Raises WasmError unless `Config.consume_fuel` is on."""
        self._record.open()
        raise WasmError("fuel is not configured in this store")

    def set_epoch_deadline(self, ticks_after_current: int) -> None:
        """Sets when code is interrupted. Raises WasmError unless `Config.epoch_interruption` is on."""
        if not isinstance(ticks_after_current, int):
            raise TypeError("expected an int")
        self._record.open()
        raise WasmError("epoch interruption is not configured in this store")


Storelike = Union[Store, "Caller"]


def record_of(store: Storelike) -> StoreRecord:
    """The open record behind a Store or Caller. Raises TypeError, ClosedError, or ValueError for a stale Caller."""
    record = getattr(store, "_record", None)
    if not isinstance(record, StoreRecord):
        raise TypeError("expected a Store")
    record.open()
    return record


def check_store(store: Storelike, owner: StoreRecord, what: str) -> None:
    """Raises unless `store` is open and the one that `owner`, the record of a `what`, belongs to."""
    if record_of(store) is not owner:
        raise WasmError(f"{what} belongs to another Store than the one given")


def address_of(pointer: Any) -> int:
    """A cffi pointer as an int."""
    return int(ffi.cast("uintptr_t", pointer))


def read_u64s(address: int, count: int) -> list[int]:
    """`count` 64-bit words at `address`."""
    return list((ctypes.c_uint64 * count).from_address(address)) if count else []
