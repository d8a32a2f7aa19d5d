"""Store: what instances and host objects live in, and its ownership of the C store.

`Store` is the public handle; `StoreRecord` is what every Func, Memory, Instance... refers to; `NativeStore` owns the C
store. The C store is freed when the last of record and running calls lets go of its NativeStore; its memories stay
mapped as long as there are views of them (``runtime_c/mapping.c``). A record never refers to handles of its own store,
so dropping a Store frees everything at once; the cycle collector is needed only where a host function refers to its own
store.
"""

from __future__ import annotations

import ctypes
import functools
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from .. import abi, processes
from ..abi import ELEMENT_BYTES, MAX_TABLE_ELEMENTS, UNLIMITED
from ..errors import ClosedError, WasmError
from ..wasm import types as wt
from .engine import Engine
from .func_item import FuncItem
from .handle import Handle
from .native import FuncBase, ffi, lib, store_externrefs, take_object
from .native_store import NativeStore
from .trampolines import ENTER, HOST
from .views import release_views

if TYPE_CHECKING:
    from dataclasses import dataclass

    from .caller import Caller
else:
    from ..records import dataclass

# What C knows as the maximum of a 32-bit and a 64-bit memory in bytes, that have none of their own.
NO_MEMORY_MAXIMUM = (1 << 32, UNLIMITED)
# Longer ones are as good as none, and overflow a 64-bit count of nanoseconds.
MAX_TIMEOUT_SECONDS = 1e9
# How long Store.close gives a call that waits for its way out, where exception handlers of host functions may be. How
# often it looks, and after how many looks it ends the call again.
_END_OF_WAIT_SECONDS, _LOOK_SECONDS, _LOOKS = 5.0, 0.0005, 20
# Generated code counts fuel down in a signed 64-bit integer.
MAX_FUEL = (1 << 63) - 1
_FUEL = abi.STORE["fuel"]
# What the wasmtime package allows a store by default.
DEFAULT_MAX_ITEMS = 10_000


class GcStats(NamedTuple):
    """What `Store.gc_stats` tells."""

    live_bytes: int  # that the last collection found
    heap_bytes: int  # that are in use now
    collections: int
    longest_pause_seconds: float


@dataclass(slots=True)
class StoreLimits:
    """What `Store.set_limits` sets; sizes hold for each memory or table, but for the first."""

    total_memory: int = UNLIMITED  # bytes of all memories and tables together
    memory_size: int = UNLIMITED  # bytes
    table_elements: int = UNLIMITED
    instances: int = DEFAULT_MAX_ITEMS
    tables: int = DEFAULT_MAX_ITEMS
    memories: int = DEFAULT_MAX_ITEMS
    gc_heap_size: int = UNLIMITED  # bytes of all objects of garbage collection

    def give_to(self, native: NativeStore) -> None:
        """Has C know those that it looks at."""
        lib.wj_store_set_limits(native.pointer, self.memory_size, self.table_elements, self.total_memory)
        lib.wj_store_set_gc_limit(native.pointer, self.gc_heap_size)


class _Limiter:
    """A limiter as the user gave it, behind one way of asking. Refers to no store."""

    def __init__(self, limiter: Any) -> None:
        self.given = limiter
        by_kind = {kind: getattr(limiter, f"{kind}_growing", None) for kind in ("memory", "table")}
        self._by_kind = by_kind if any(by_kind.values()) else None
        if self._by_kind is None and not callable(limiter):
            raise TypeError("expected a callable, or an object with memory_growing or table_growing")
        self.ask_from_code = functools.partial(_ask_from_code, self)

    def ask(self, kind: str, current: int, desired: int, maximum: int | None) -> bool:
        """Whether it allows that."""
        if self._by_kind is None:
            return bool(self.given(kind, current, desired, maximum))
        question = self._by_kind[kind]
        return question is None or bool(question(current, desired, maximum))


def _ask_from_code(limiter: _Limiter, is_table: int, current: int, desired: int, maximum: int) -> bool:
    """What C calls when wasm code grows something."""
    if is_table:
        return limiter.ask("table", current, desired, None if maximum == MAX_TABLE_ELEMENTS else maximum)
    return limiter.ask("memory", current, desired, None if maximum in NO_MEMORY_MAXIMUM else maximum)


_WASI_LOCK = processes.lock()  # of all stores: it is held for a moment, in which a signal's handler may come


def _end_wait(native: NativeStore) -> None:
    """Ends a call that waits in a shared memory, on another thread, and waits until that has left the store."""
    if not lib.wj_store_end_wait(native.pointer):
        return
    looked, give_up = 0, time.monotonic() + _END_OF_WAIT_SECONDS
    while native.is_running() and time.monotonic() < give_up:
        time.sleep(_LOOK_SECONDS)
        looked += 1
        if looked % _LOOKS == 0:  # it may wait again
            lib.wj_store_end_wait(native.pointer)


class StoreRecord:
    """The state of one Store. `native` is None once the store is closed."""

    def __init__(self, engine: Engine, data: Any) -> None:
        self.engine = engine
        self.data = data
        native = NativeStore(engine._max_wasm_stack)
        self.native: NativeStore | None = native
        if engine._has_epochs:
            native.keepalive.add(engine._epoch)
            native.write_word(abi.STORE["epoch"], address_of(engine._epoch))
        if engine._config.consume_fuel:
            native.write_word(_FUEL, 0)
        self.limits = StoreLimits()
        self.limiter: _Limiter | None = None
        self.timeout: float | None = None
        self.instances: dict[int, Any] = {}  # InstanceRecords, by context address
        self.wasi: Any = None
        # What C knows of the program, which has a `pointer` and lives as long as C uses it.
        self._wasi_table: Any = None
        # Both, where they were replaced while code ran, on some thread, that may still use them.
        self._former_wasi: list[tuple[Any, Any]] = []
        self.blueprints: dict[object, Any] = {}  # of modules whose instances start threads (linker.py), by LoadedModule
        self.group: Any = None  # of the threads that run beside this store (wasi/threads.py)
        self.epoch_callback: Callable[[], int] | None = None
        self.linker_functions: dict[object, Any] = {}  # a Linker's Store-independent definition -> FuncItem here
        # The handles there are of functions, by func-ref address: at most one entry a func-ref, which lives as long.
        self.functions: dict[int, weakref.ref[FuncBase]] = {}
        self.slow_functions: list[FuncItem] = []  # host functions without a trampoline
        self.num_memories = 0
        self.num_tables = 0
        self.tags: dict[int, Any] = {}  # TagItems, by address
        self.reference_places: list[int] = []  # of references in Python (object_reference.py), to be used again
        self.externrefs: Any = None  # what knows their objects; None before there are any

    def speed_up(self) -> None:
        """Gives host functions that were made before there was a trampoline for their type the one there is now."""
        native = self.native
        if native is None:
            return
        find = self.engine._trampolines.find
        still_slow = []
        for item in self.slow_functions:
            code = find(HOST, item.type)
            if code is not None:
                native.keepalive.add(code)
                lib.wj_host_func_set_code(ffi.cast("wj_func_ref *", item.address), code.address)
                item.enter = find(ENTER, item.type)
            else:
                still_slow.append(item)
        self.slow_functions[:] = still_slow
        if still_slow:
            self.engine._trampolines.expect(self)

    def open(self) -> NativeStore:
        """The native store, which the caller keeps in a local variable while it uses an address of it.

        Raises ClosedError when the store is closed.
        """
        native = self.native
        if native is None:
            raise ClosedError("store is closed")
        return native

    def is_running(self) -> bool:
        """Whether wasm code of this store is on some thread's stack."""
        native = self.native
        return native is not None and native.is_running()

    def interrupt(self) -> bool:
        """Ends the outermost call that runs now, or threads that go on after one; False if there are none. From any
        thread, at any time."""
        native = self.native
        if native is None:
            return False
        group = self.group
        return bool(lib.wj_store_interrupt(native.pointer)) or (group is not None and group.interrupt_beside(self))

    def close(self) -> None:
        """Lets go of everything. Ends a call that waits on another thread.

        Raises WasmError while other wasm code of this store runs, BufferError as `Store.close`.
        """
        native = self.native
        if native is None:
            return
        if native.is_running():
            _end_wait(native)
        if not native.is_running():
            if self.group is not None:
                self.group.interrupt_beside(self)
            release_views(native)
        if lib.wj_store_close(native.pointer):
            raise WasmError("store cannot be closed while its code is running")
        self.native = None
        self.instances.clear()
        self.linker_functions.clear()
        self.slow_functions.clear()
        if self.externrefs is not None:
            self.externrefs.clear()
        self.blueprints.clear()
        self.data = self.wasi = self.limiter = self.group = self.epoch_callback = None
        self._former_wasi.clear()

    def set_wasi(self, wasi: Any, table: Any = None, *, instead_of: Any = None) -> bool:
        """Sets what WASI functions see, and the `table` of what C may do for them: without one it asks Python.

        With `instead_of` this is the thread that runs the store, in a function of WASI, and nothing happens (False) if
        something else has been set meanwhile.
        """
        native = self.open()
        with _WASI_LOCK:
            if instead_of is not None and self.wasi is not instead_of:
                return False
            if table is not None:
                native.keepalive.add(table)
            lib.wj_store_set_wasi(native.pointer, ffi.NULL if table is None else table.pointer)
            former = [*self._former_wasi, (self.wasi, self._wasi_table)]
            self.wasi, self._wasi_table = wasi, table
            is_in_use = instead_of is None and native.is_running()
            self._former_wasi = former if is_in_use else []
        if not is_in_use:
            native.keepalive.difference_update([former_table for _, former_table in former])
        return True

    # ---- limits ----

    def set_limiter(self, limiter: object) -> None:
        """What is asked before memories and tables are made or grow; None: nothing is."""
        native = self.open()
        made = None if limiter is None else _Limiter(limiter)
        lib.wj_store_set_limiter(native.pointer, 0 if made is None else id(made.ask_from_code))
        native.keep_roots(self)
        self.limiter = made

    def allows_growth(self, kind: str, current: int, desired: int, maximum: int | None) -> bool:
        """Whether the limiter lets a ``"memory"`` (bytes) or ``"table"`` (elements) grow. Raises what it raises."""
        return self.limiter is None or self.limiter.ask(kind, current, desired, maximum)

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
        self._check_total(
            f"memory minimum size of {type.limits.min} pages exceeds memory limits",
            type.limits.min << type.page_size_log2,
        )
        maximum = None if type.limits.max is None else type.limits.max << type.page_size_log2
        if not self.allows_growth("memory", 0, type.limits.min << type.page_size_log2, maximum):
            raise WasmError(
                f"memory minimum size of {type.limits.min} pages exceeds memory limits: the limiter refused it"
            )

    def check_new_table(self, type: wt.TableType) -> None:
        """Raises WasmError if `set_limits` forbids another table of this type."""
        if self.num_tables >= self.limits.tables:
            raise WasmError(f"resource limit exceeded: table count too high at {self.num_tables + 1}")
        if type.limits.min > self.limits.table_elements:
            raise WasmError(f"table minimum size of {type.limits.min} elements exceeds table limits")
        if type.limits.min <= MAX_TABLE_ELEMENTS:  # a larger one cannot be had at all, which is said elsewhere
            self._check_total(
                f"table minimum size of {type.limits.min} elements exceeds memory limits",
                type.limits.min * ELEMENT_BYTES,
            )
        if not self.allows_growth("table", 0, type.limits.min, type.limits.max):
            raise WasmError(
                f"table minimum size of {type.limits.min} elements exceeds table limits: the limiter refused it"
            )

    def _check_total(self, what: str, added_bytes: int) -> None:
        """Raises WasmError if there may not be so many more bytes in memories and tables; `what` begins its message."""
        if self.limits.total_memory == UNLIMITED:
            return
        native = self.open()
        present_bytes = int(lib.wj_store_total_bytes(native.pointer))
        if present_bytes + added_bytes > self.limits.total_memory:
            raise WasmError(
                f"{what}: {added_bytes} bytes beside {present_bytes} of other memories and tables, where the store may"
                f" have {self.limits.total_memory}"
            )

    # ---- externrefs ----

    def externref_handle(self, value: Any) -> int:
        """The raw externref for a Python object: 0 for None, else a handle that keeps the object alive until a sweep.

        To be called within ``with native:`` that lasts until a root has the handle, or from a call's conversions.
        """
        if value is None:
            return 0
        native = self.open()
        if self.externrefs is None:
            self.externrefs = store_externrefs(native.pointer)
        handle: int = self.externrefs.handle(value)
        return handle

    def externref_value(self, handle: int) -> Any:
        """The Python object of a raw externref. Raises WasmError where it stands for none, ClosedError."""
        if not handle:
            return None
        _native = self.open()
        if self.externrefs is None:
            raise WasmError(f"externref {handle} stands for no object of this Store")
        return self.externrefs.value(handle)

    def sweep_externrefs(self) -> None:
        """Forgets the objects that no table, global or segment refers to; not while code of the store is running, nor
        while somebody has references in hands."""
        if self.externrefs is not None:
            self.externrefs.sweep()


def allocate(native: NativeStore, size_bytes: int) -> int:
    """Address of zeroed memory that lives as long as the C store. Raises MemoryError."""
    pointer = lib.wj_store_alloc(native.pointer, size_bytes)
    if pointer == ffi.NULL:
        raise MemoryError(f"no memory for {size_bytes} bytes in a Store")
    return address_of(pointer)


class Store(Handle):
    """What instances, functions, memories, tables and globals live in; used by one thread at a time.

    >>> with Store(Engine(), data="mine") as store:
    ...     store.data()
    'mine'
    """

    def __init__(
        self,
        engine: Engine | None = None,
        data: Any = None,
        *,
        fuel: int | None = None,
        timeout: float | None = None,
        max_memory: int | None = None,
    ) -> None:
        """Makes an empty store; `data` is yours. `fuel` as for `set_fuel`, `timeout` in seconds, `max_memory` how many
        bytes all its memories and tables together may take (an element of a table takes 8).

        Raises WasmError for `fuel` without `Config.consume_fuel`, ValueError for a `timeout` that is not positive.

        >>> from wasmjit import Instance, Module, Store
        >>> store = Store(timeout=0.05)
        >>> module = Module(store.engine, '(module (func (export "f") (loop br 0)))')
        >>> Instance(store, module, []).exports(store)["f"](store)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        wasmjit.runtime.trap.Trap: error while executing at wasm backtrace:
        ...
            wasm trap: interrupt
        <BLANKLINE>
        """
        if engine is None:
            engine = Engine()
        elif not isinstance(engine, Engine):
            raise TypeError("expected an Engine")
        engine._check_open()
        self.engine = engine
        self._record = StoreRecord(engine, data)
        if fuel is not None:
            self.set_fuel(fuel)
        if timeout is not None:
            self.timeout = timeout
        if max_memory is not None:
            self.set_limits(total_memory=max_memory)

    def close(self) -> None:
        """Frees what lives in this store, memory that `Memory.data_ptr` or `get_buffer_ptr` gave out when that goes.

        Later use of the store and of what belongs to it raises ClosedError. Memoryviews from `Memory.view` are
        released: their later use is a ValueError. Raises BufferError, and closes nothing, while something that cannot
        be released uses one (a numpy array, a slice of it), and WasmError while code of the store is running. But a
        call on another thread that waits for a shared memory to change ends with a Trap of code INTERRUPT first.

        >>> from wasmjit import Limits, Memory, MemoryType, Store
        >>> store = Store()
        >>> view = Memory(store, MemoryType(Limits(1))).view(store)
        >>> store.close()
        >>> view[0]
        Traceback (most recent call last):
        ...
        ValueError: operation forbidden on released memoryview object
        """
        self._record.close()

    def data(self) -> Any:
        """The object given to the constructor."""
        self._record.open()
        return self._record.data

    def gc(self) -> None:
        """Frees what nothing in this store refers to any more: objects of garbage collection, and those of Python that
        externrefs were to, these only while no code of the store is running."""
        native = self._record.open()
        lib.wj_gc_run(native.pointer, 0)
        self._record.sweep_externrefs()

    def gc_stats(self) -> GcStats:
        """What there is of the objects of garbage collection, and what collecting them took.

        >>> from wasmjit import FieldType, StructRef, StructType, ValType
        >>> store = Store()
        >>> kept = StructRef(store, StructType([FieldType(ValType.i32())]), [1])
        >>> store.gc()
        >>> store.gc_stats().live_bytes
        8
        """
        native = self._record.open()
        figures = ffi.new("wj_gc_figures *")
        lib.wj_gc_statistics(native.pointer, figures)
        return GcStats(
            int(figures.live_bytes), int(figures.heap_bytes), int(figures.collections), figures.longest_pause_ns * 1e-9
        )

    def set_limits(
        self,
        memory_size: int = -1,
        table_elements: int = -1,
        instances: int = -1,
        tables: int = -1,
        memories: int = -1,
        *,
        total_memory: int = -1,
        gc_heap_size: int = -1,
    ) -> None:
        """Limits what this store may hold; negative values leave a limit as it is.

        `memory_size` (bytes) and `table_elements` hold for each memory and table: creation beyond them is a WasmError,
        growth beyond them fails. `instances`, `tables` and `memories` are counts, 10,000 of each by default.
        `total_memory` is the `max_memory` of the constructor: bytes of all memories, tables
        and objects of garbage collection together.
        `gc_heap_size` (bytes) holds for all objects of garbage collection, live or not: what does not fit, though all
        that can be freed was, is a trap, "allocation size too large". Without it, they may take some 3.9 GB.
        """
        record = self._record
        native = record.open()
        for name, value in (
            ("memory_size", memory_size),
            ("table_elements", table_elements),
            ("instances", instances),
            ("tables", tables),
            ("memories", memories),
            ("total_memory", total_memory),
            ("gc_heap_size", gc_heap_size),
        ):
            if not isinstance(value, int):
                raise TypeError(f"expected an int for {name}")
            if value >= 0:
                setattr(record.limits, name, min(value, UNLIMITED))
        record.limits.give_to(native)
        if record.group is not None:
            record.group.forget_spares()

    def set_wasi(self, wasi: Any) -> None:
        """What WASI functions of this store see: a `WasiConfig`. Raises TypeError for anything else."""
        if type(wasi).__name__ != "WasiConfig":  # its package lies above this one
            raise TypeError("expected a WasiConfig")
        self._record.set_wasi(wasi)

    @property
    def limiter(self) -> Any:
        """What is asked before a memory or table of this store is made or grows; None (the default): nothing is.

        A callable ``(kind, current, desired, maximum) -> bool`` with the kind ``"memory"`` (sizes in bytes) or
        ``"table"`` (in elements) and a maximum of None where there is none; or an object with methods
        ``memory_growing(current, desired, maximum)`` and ``table_growing``. If it says no, growth fails and creation is
        a WasmError. What it raises passes through the wasm code. It comes in addition to `set_limits`.

        >>> from wasmjit import Limits, Memory, MemoryType, Store
        >>> store = Store()
        >>> store.limiter = lambda kind, current, desired, maximum: desired <= 1 << 20
        >>> Memory(store, MemoryType(Limits(17, None)))
        Traceback (most recent call last):
        ...
        wasmjit.errors.WasmError: memory minimum size of 17 pages exceeds memory limits: the limiter refused it
        """
        self._record.open()
        return None if self._record.limiter is None else self._record.limiter.given

    @limiter.setter
    def limiter(self, limiter: Any) -> None:
        self._record.set_limiter(limiter)

    # ---- interrupts ----

    @property
    def timeout(self) -> float | None:
        """Seconds after which a call into this store ends with an INTERRUPT Trap; None (the default): never.

        Nested calls share the time of the outermost one. Time in host functions counts, but Python code is not
        interrupted: the call ends when it returns to wasm. A new value holds from the next outermost call on. Copying
        the segments of a new instance takes as long at most, too.
        """
        self._record.open()
        return self._record.timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        record = self._record
        native = record.open()
        if seconds is not None:
            if not isinstance(seconds, (int, float)):
                raise TypeError("expected a number of seconds")
            if not seconds > 0:
                raise ValueError("a timeout must be positive")
        nanoseconds = 0 if seconds is None or seconds > MAX_TIMEOUT_SECONDS else max(1, round(seconds * 1e9))
        lib.wj_store_set_timeout(native.pointer, nanoseconds)
        record.timeout = seconds

    def interrupt(self) -> bool:
        """Ends the call into this store that is running, with a Trap of code INTERRUPT; from any thread.

        The whole call ends, also where a host function in it catches the Trap: its wasm code does not go on. Python
        code is not interrupted: a host function ends first. Returns whether a call was running; if not, the next
        call is not affected.

        >>> import threading
        >>> from wasmjit import Instance, Module, Store, Trap
        >>> store = Store()
        >>> module = Module(store.engine, '(module (func (export "f") (loop br 0)))')
        >>> threading.Timer(0.05, store.interrupt).start()
        >>> try:
        ...     Instance(store, module, []).exports(store)["f"](store)
        ... except Trap as trap:
        ...     print(trap.trap_code)
        TrapCode.INTERRUPT
        """
        self._record.open()
        return self._record.interrupt()

    def check_native_calls(self) -> None:
        """Raises the first failure of a call that C code made through `Func.native_address`, if there was one since the
        last failure was raised. The next call into this store from Python does that too."""
        native = self._record.open()
        failure = lib.wj_store_take_failure(native.pointer)
        if failure:
            raise take_object(failure)

    # ---- fuel and epochs ----

    def _open_for_fuel(self) -> NativeStore:
        native = self._record.open()
        if not self.engine._config.consume_fuel:
            raise WasmError("fuel is not configured in this store")
        return native

    def set_fuel(self, fuel: int) -> None:
        """Sets the fuel left, at most 2**63-1 (larger values mean that). Code that runs out of it ends with a Trap of
        code OUT_OF_FUEL; after setting more, further calls run. A new store has none.

        An interrupted call may be charged less than it used. Raises WasmError unless `Config.consume_fuel` is on.

        >>> from wasmjit import Config, Engine, Store
        >>> store = Store(Engine(Config(consume_fuel=True)), fuel=100)
        >>> store.get_fuel()
        100
        """
        if not isinstance(fuel, int):
            raise TypeError("expected an int")
        self._open_for_fuel().write_word(_FUEL, min(fuel & UNLIMITED, MAX_FUEL))

    def get_fuel(self) -> int:
        """The fuel left. Raises WasmError unless `Config.consume_fuel` is on."""
        fuel = self._open_for_fuel().read_word(_FUEL)
        return fuel if fuel <= MAX_FUEL else 0  # code may have counted below zero

    def set_epoch_deadline(self, ticks_after_current: int) -> None:
        """Code ends with a Trap of code INTERRUPT, or calls the callback, when the engine's epoch has advanced by this.

        Only code compiled with `Config.epoch_interruption` looks; in a new store the deadline is reached already.
        """
        if not isinstance(ticks_after_current, int):
            raise TypeError("expected an int")
        native = self._record.open()
        deadline = min(int(self.engine._epoch[0]) + (ticks_after_current & UNLIMITED), UNLIMITED)
        native.write_word(abi.STORE["epoch_deadline"], deadline)

    def epoch_deadline_trap(self) -> None:
        """At the deadline code ends with a Trap of code INTERRUPT: the default."""
        native = self._record.open()
        self._record.epoch_callback = None
        lib.wj_store_set_epoch_callback(native.pointer, 0)

    def epoch_deadline_callback(self, callback: Callable[[], int]) -> None:
        """At the deadline code calls `callback`, and goes on for as many ticks as it returns.

        What it raises passes through the wasm code.

        >>> from wasmjit import Config, Engine, Store
        >>> store = Store(Engine(Config(epoch_interruption=True)))
        >>> store.epoch_deadline_callback(lambda: 10)
        """
        if not callable(callback):
            raise TypeError("expected a callable")
        native = self._record.open()
        self._record.epoch_callback = callback
        lib.wj_store_set_epoch_callback(native.pointer, id(callback))
        native.keep_roots(self._record)


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


def read_u64s(native: NativeStore, address: int, count: int) -> list[int]:
    """`count` 64-bit words at an address of a store."""
    return list((ctypes.c_uint64 * count).from_address(address)) if count else []
