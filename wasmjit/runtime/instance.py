"""Instance: import matching, instance contexts, constant expressions, segments, start (spec section 4.5.4)."""

from __future__ import annotations

import ctypes
import struct
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import abi
from ..errors import TRAPS, LinkError, WasmError
from ..wasm import types as wt
from ..wasm.const_expr import CALL, GLOBAL_GET, MASK_64, REF_FUNC, constant
from ..wasm.module import ACTIVE, DECLARATIVE, ConstExpr, Export
from .externs import (
    AsExtern,
    Func,
    Global,
    GlobalItem,
    Item,
    Memory,
    MemoryItem,
    Table,
    TableItem,
    TagItem,
    item_of,
    new_global_item,
    new_memory_item,
    new_table_item,
    new_tag_item,
    read_bits,
    wrap_item,
)
from .func_item import FuncItem
from .module import LoadedModule, Module, ModuleExport
from .native import ffi, lib
from .native_store import NativeStore
from .object_types import make_heap
from .store import MAX_FUEL, Storelike, StoreRecord, address_of, allocate, record_of
from .trap import Trap
from .typed import TypedFunc

_CODES = {trap.name: trap.number for trap in TRAPS}
_FUEL = abi.STORE["fuel"]
# Of segments, at most so much is done between two looks at the clock.
_PIECE_BYTES = 2 << 20
_ITEMS_BETWEEN_LOOKS = 1 << 12
_START_FUEL = 2  # what calling the start function costs with the wasmtime package: a function of its own, and the call
_KIND_ITEMS = {
    wt.FUNCTION: FuncItem,
    wt.TABLE: TableItem,
    wt.MEMORY: MemoryItem,
    wt.GLOBAL: GlobalItem,
    wt.TAG: TagItem,
}


# ---- import matching (spec section 3.4, "Matching") ----


def _limits_match(found: wt.Limits, wanted: wt.Limits) -> bool:
    """Whether something of size and maximum `found` can be used where `wanted` is required."""
    if found.min < wanted.min:
        return False
    return wanted.max is None or (found.max is not None and found.max <= wanted.max)


def types_match(found: wt.ExternType, wanted: wt.ExternType) -> bool:
    """Whether an item of type `found` (with its current size as minimum) can be imported as `wanted`."""
    if isinstance(found, wt.FuncType) and isinstance(wanted, wt.FuncType):
        return wt.is_subtype(found, wanted)
    if isinstance(found, wt.MemoryType) and isinstance(wanted, wt.MemoryType):
        same = (found.is_64, found.shared, found.page_size_log2) == (wanted.is_64, wanted.shared, wanted.page_size_log2)
        return same and _limits_match(found.limits, wanted.limits)
    if isinstance(found, wt.TableType) and isinstance(wanted, wt.TableType):
        same = (found.element, found.is_64) == (wanted.element, wanted.is_64)
        return same and _limits_match(found.limits, wanted.limits)
    if isinstance(found, wt.GlobalType) and isinstance(wanted, wt.GlobalType):
        if found.mutable or wanted.mutable:
            return found == wanted
        return wt.matches(found.content, wanted.content)
    return found == wanted


def _describe(type: wt.ExternType) -> str:
    return f"function {type}" if isinstance(type, wt.FuncType) else str(type)


def check_imports(loaded: LoadedModule, types: Sequence[wt.ExternType]) -> None:
    """Raises LinkError unless items of these types (the minimum is the current size) are what the module imports."""
    imports = loaded.module.imports
    if len(types) != len(imports):
        raise LinkError(f"expected {len(imports)} imports, found {len(types)}")
    for wanted, found, needed in zip(imports, types, loaded.import_types, strict=True):
        if not types_match(found, needed):
            raise LinkError(
                f"incompatible import type for `{wanted.module}::{wanted.name}`: "
                f"expected {_describe(needed)}, found {_describe(found)}"
            )


# ---- constant expressions (spec section 4.5.4) ----


def evaluate(native: NativeStore, expression: ConstExpr, instance: InstanceRecord, computed: Sequence[int]) -> int:
    """The raw bits of a constant expression's value, where C does not do it (instance.c). `computed` are the values of
    the constant functions."""
    ((opcode, immediate),) = expression
    if opcode == GLOBAL_GET:
        item = instance.globals[immediate]
        return read_bits(native, item.address, item.type.content)
    if opcode == REF_FUNC:
        return instance.func_ref(immediate)
    if opcode == CALL:
        constants = instance.loaded.plan.constants
        assert constants is not None
        return computed[constants.position(immediate)]
    bits = constant(expression)
    assert bits is not None
    return bits


# ---- instances ----


class InstanceRecord:
    """One instance of a store: its context (abi.VMCONTEXT) and its index spaces. Refers to no handle."""

    __slots__ = ("_functions", "address", "globals", "imported_func_refs", "loaded", "memories", "tables", "tags")

    def __init__(self, loaded: LoadedModule, imports: Sequence[Item]) -> None:
        self.loaded = loaded
        self.address = 0
        self._functions: dict[int, FuncItem] = {}
        self.memories: list[MemoryItem] = []
        self.tables: list[TableItem] = []
        self.globals: list[GlobalItem] = []
        self.tags: list[TagItem] = []
        self.imported_func_refs: list[int] = []
        for item in imports:
            if isinstance(item, FuncItem):
                self._functions[len(self.imported_func_refs)] = item
                self.imported_func_refs.append(item.address)
            elif isinstance(item, MemoryItem):
                self.memories.append(item)
            elif isinstance(item, TableItem):
                self.tables.append(item)
            elif isinstance(item, TagItem):
                self.tags.append(item)
            else:
                self.globals.append(item)

    def func_ref(self, index: int) -> int:
        """The func-ref address of function `index`: an import, or one that may become a reference."""
        imported = self.imported_func_refs
        return imported[index] if index < len(imported) else self.address + self.loaded.func_ref_offsets[index]

    def export(self, record: StoreRecord, name: str) -> AsExtern | None:
        """The handle of an export; None if there is none of that name."""
        export = self.loaded.exports.get(name)
        return None if export is None else wrap_item(record, self.item(export))

    def item(self, export: Export) -> Item:
        """The item that is exported."""
        if export.kind == wt.FUNCTION:
            return self._functions.get(export.index) or self.function(export.index)
        spaces: dict[int, Sequence[Item]] = {
            wt.TABLE: self.tables,
            wt.MEMORY: self.memories,
            wt.GLOBAL: self.globals,
            wt.TAG: self.tags,
        }
        return spaces[export.kind][export.index]

    def function(self, index: int) -> FuncItem:
        """The function `index`, which has a func-ref."""
        found = self._functions.get(index)
        if found is None:
            found = self._functions[index] = FuncItem(self.func_ref(index), *self.loaded.way_in(index))
        return found


def instantiate(record: StoreRecord, loaded: LoadedModule, imports: Sequence[Item]) -> InstanceRecord:
    """Makes an instance and runs its start function. Raises LinkError, WasmError, Trap, or what a host function raised.

    If a segment does not fit or the start function traps, the effects so far stay (spec section 4.5.4).
    """
    return prepare(record, loaded, imports).finish(record)


class PreparedInstance:
    """An instance in which nothing has been done yet that is seen outside of it, once `prepare` has made it."""

    __slots__ = ("_computed", "_context", "_image", "instance")

    def __init__(self, instance: InstanceRecord, context: Any, image: Any, computed: Sequence[int]) -> None:
        self.instance = instance
        self._context = context
        self._image = image
        self._computed = computed

    def finish(self, record: StoreRecord) -> InstanceRecord:
        """Runs data segments and the start function; once, and for the record that it was made for."""
        instance = self.instance
        native = record.open()
        if instance.loaded.plan.num_data:
            _run_data(native, record, instance, self._context, self._image, self._computed)
        if instance.loaded.module.start is not None:
            if record.engine._config.consume_fuel:
                _spend(native, _START_FUEL)
            _start_function(native, record, instance)()
        return instance


def prepare(record: StoreRecord, loaded: LoadedModule, imports: Sequence[Item]) -> PreparedInstance:
    """Makes an instance and fills its tables. Raises what `instantiate` raises."""
    native = record.open()
    check_imports(loaded, [item.current_type(native) for item in imports])
    record.check_new_instance()
    if record.slow_functions:
        record.speed_up()
    instance = InstanceRecord(loaded, imports)
    native.keepalive.add(loaded)
    plan = loaded.plan
    image = ffi.NULL
    if plan.memory_types:
        image = plan.image(record.engine._config)
        for position, memory_type in enumerate(plan.memory_types):
            instance.memories.append(new_memory_item(record, memory_type, ffi.NULL if position else image))
    for table_type in plan.table_types:
        instance.tables.append(new_table_item(record, table_type, 0))
    context = _new_context(native, record, instance)
    if plan.objects is not None:
        make_heap(native, record)
        plan.objects.describe(native, context)
        lib.wj_gc_run(native.pointer, 1)  # it is not done while references are held
    if loaded.module.tags:
        _make_tags(native, record, instance, context)
    _make_globals(record, instance)
    try:
        computed = _run_constants(native, record, instance, context)
    except Trap as trap:
        if trap._code != _CODES["ALLOCATION_TOO_LARGE"]:
            raise
        lib.wj_gc_run(native.pointer, 0)
        computed = _run_constants(native, record, instance, context)
    return PreparedInstance(instance, context, image, computed)


def _run_constants(native: NativeStore, record: StoreRecord, instance: InstanceRecord, context: Any) -> Sequence[int]:
    """Evaluates what is constant, and gives it to globals, tables and segments. Returns the values of the constant
    functions. Raises what `instantiate` raises; nothing was done then that cannot be done again."""
    plan = instance.loaded.plan
    computed: Sequence[int] = ()
    with native:  # keeps the references that constant expressions take from globals, or make
        if plan.constants is not None:
            computed = plan.constants.run(native, record, instance.address)
        for index, init in plan.table_inits.items():
            lib.wj_table_set_all(instance.tables[index].pointer, evaluate(native, init, instance, computed))
        if plan.num_elements:
            _run_elements(native, record, instance, context, computed)
    return computed


def _new_context(native: NativeStore, record: StoreRecord, instance: InstanceRecord) -> Any:
    """Makes the instance's context. Globals that take evaluation and element segments are still zero."""
    words = ffi.NULL
    if instance.imported_func_refs or instance.globals or instance.memories or instance.tables:
        words = ffi.new(
            "uint64_t[]",
            [
                *instance.imported_func_refs,
                *[item.address for item in instance.globals],
                *[address_of(item.pointer) for item in instance.memories],
                *[address_of(item.pointer) for item in instance.tables],
            ],
        )
    pointer = lib.wj_instance_make(native.pointer, instance.loaded.plan.native, words)
    if pointer == ffi.NULL:
        raise MemoryError("no memory for an instance")
    instance.address = address_of(pointer)
    record.instances[instance.address] = instance
    return pointer


class _Clock:
    """Ends what takes long at the time of a call that is running, or the store's from here on."""

    def __init__(self, record: StoreRecord) -> None:
        self._ends_at = None if record.timeout is None else time.monotonic() + record.timeout

    def look(self) -> None:
        """Raises Trap if it is over. To be called every few milliseconds; handlers of signals run then."""
        if lib.wj_is_interrupted() or (self._ends_at is not None and time.monotonic() >= self._ends_at):
            raise Trap._from_code(_CODES["INTERRUPT"])


def _run_elements(
    native: NativeStore, record: StoreRecord, instance: InstanceRecord, context: Any, computed: Sequence[int]
) -> None:
    """Evaluates all element segments, then runs the active ones. Raises Trap."""
    plan = instance.loaded.plan
    if plan.elements is None:
        words = _words(native, instance, context)
        clock = _Clock(record)
        slots = _evaluate_elements(native, instance, words, clock, computed)
        _run_element_segments(native, instance, words, slots, clock, computed)
        return
    at, clock = ffi.new("wj_segment_progress *"), _Clock(record)
    while (failure := lib.wj_instance_elements(context, plan.elements, plan.num_elements, at)) == abi.SEGMENT_MORE:
        clock.look()
    if failure == abi.SEGMENT_NO_MEMORY:
        raise MemoryError("no memory for element segments")
    if failure:
        raise Trap._from_code(_CODES["TABLE_OUT_OF_BOUNDS"])


def _run_data(
    native: NativeStore,
    record: StoreRecord,
    instance: InstanceRecord,
    context: Any,
    image: Any,
    computed: Sequence[int],
) -> None:
    """Runs the active data segments; those of a memory made from `image` are in it. Raises Trap."""
    plan = instance.loaded.plan
    if plan.data is None:
        _run_data_segments(native, instance, _words(native, instance, context), _Clock(record), computed)
        return
    at, clock = ffi.new("wj_segment_progress *"), _Clock(record)
    while (failure := lib.wj_instance_data(context, plan.data, plan.num_data, image, at)) == abi.SEGMENT_MORE:
        clock.look()
    if failure:
        raise Trap._from_code(_CODES["MEMORY_OUT_OF_BOUNDS"])


def _words(_native: NativeStore, instance: InstanceRecord, context: Any) -> memoryview[int]:
    return memoryview(ffi.buffer(context, instance.loaded.layout.size_bytes)).cast("Q")


def _put(_native: NativeStore, context: memoryview[int], offset: int, words: list[int]) -> None:
    context[offset // 8 : offset // 8 + len(words)] = memoryview(array("Q", words))


def _strided(start: int, stride: int, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    return zip(range(start, start + stride * len(items), stride), items, strict=True)


def _make_globals(record: StoreRecord, instance: InstanceRecord) -> None:
    """The globals that the instance defines; their values may still be zero."""
    at = instance.address + instance.loaded.layout.globals
    for definition in instance.loaded.module.global_definitions:
        instance.globals.append(new_global_item(record, definition.type, at))
        at += abi.GLOBAL_BYTES


def _make_tags(native: NativeStore, record: StoreRecord, instance: InstanceRecord, context: Any) -> None:
    """The tags that the instance defines, and where its code finds all of them."""
    module = instance.loaded.module
    for index in module.tags[module.num_imported_tags :]:
        instance.tags.append(new_tag_item(record, wt.TagType(module.called_type(index))))
    words = _words(native, instance, context)
    _put(native, words, instance.loaded.layout.tags, [item.address for item in instance.tags])


def _evaluate_elements(
    native: NativeStore,
    instance: InstanceRecord,
    context: memoryview[int],
    clock: _Clock,
    computed: Sequence[int],
) -> list[int]:
    """Evaluates all element segments into the store; returns where their slots lie, as word indices of the context."""
    slots = []
    layout = instance.loaded.layout
    for at, segment in _strided(layout.element_segments, abi.SEGMENT_SLOT["sizeof"], instance.loaded.module.elements):
        slots.append(at // 8)
        if segment.mode == DECLARATIVE or not segment.items:
            continue
        references = array("Q")
        for first in range(0, len(segment.items), _ITEMS_BETWEEN_LOOKS):
            items = segment.items[first : first + _ITEMS_BETWEEN_LOOKS]
            references.extend([evaluate(native, item, instance, computed) for item in items])
            clock.look()
        address = allocate(native, 8 * len(references))
        ctypes.memmove(address, references.buffer_info()[0], 8 * len(references))
        _put(native, context, at, [address, len(references)])
        if wt.is_collected(segment.element) and lib.wj_store_add_externref_root(
            native.pointer, instance.address + at, 1
        ):
            raise MemoryError("no memory for element segments")
    return slots


def _run_element_segments(
    native: NativeStore,
    instance: InstanceRecord,
    context: memoryview[int],
    slots: list[int],
    clock: _Clock,
    computed: Sequence[int],
) -> None:
    for slot, segment in zip(slots, instance.loaded.module.elements, strict=True):
        if segment.mode != ACTIVE:
            continue
        start = evaluate(native, segment.start, instance, computed)
        table = instance.tables[segment.table].pointer
        for at, address, count in _pieces(start, context[slot], context[slot + 1], 8, clock):
            if lib.wj_table_write(table, at, ffi.cast("uint64_t *", address), count):
                raise Trap._from_code(_CODES["TABLE_OUT_OF_BOUNDS"])
        context[slot + 1] = 0  # dropped


def _run_data_segments(
    native: NativeStore,
    instance: InstanceRecord,
    context: memoryview[int],
    clock: _Clock,
    computed: Sequence[int],
) -> None:
    layout = instance.loaded.layout
    for at, segment in _strided(layout.data_segments, abi.SEGMENT_SLOT["sizeof"], instance.loaded.module.data):
        if segment.mode != ACTIVE:
            continue
        slot = at // 8
        start = evaluate(native, segment.start, instance, computed)
        memory = instance.memories[segment.memory].pointer
        for to, address, size_bytes in _pieces(start, context[slot], context[slot + 1], 1, clock):
            if lib.wj_memory_write(memory, to, ffi.cast("void *", address), size_bytes):
                raise Trap._from_code(_CODES["MEMORY_OUT_OF_BOUNDS"])
        context[slot + 1] = 0  # dropped


def _pieces(to: int, address: int, count: int, item_bytes: int, clock: _Clock) -> Iterator[tuple[int, int, int]]:
    """What to write of `count` items at an address: where to, from where, and how many.

    The first piece has none of them, but lies where they end: nothing is written if they do not fit.
    """
    yield min(to + count, MASK_64), address, 0
    for first in range(0, count, _PIECE_BYTES // item_bytes):
        if first:
            clock.look()
        yield to + first, address + first * item_bytes, min(count - first, _PIECE_BYTES // item_bytes)


def _spend(native: NativeStore, cost: int) -> None:
    """Raises Trap if there is less fuel."""
    fuel = native.read_word(_FUEL)
    left = (fuel if fuel <= MAX_FUEL else 0) - cost  # code may have counted below zero
    native.write_word(_FUEL, max(left, 0))
    if left < 0:
        raise Trap._from_code(_CODES["OUT_OF_FUEL"])


def _start_function(native: NativeStore, record: StoreRecord, instance: InstanceRecord) -> Any:
    """What calls the start function. It need not have a func-ref, so it may get one here."""
    loaded = instance.loaded
    start = loaded.module.start
    assert start is not None
    if start < loaded.module.num_imported_functions or start in loaded.func_ref_offsets:
        return TypedFunc._make(record, instance.function(start), 0, instance.address)
    id = loaded.types.ids[loaded.module.functions[start]]
    reference = struct.pack("<QQIIQ", loaded.function_address(start), instance.address, id, start, 0)
    address = allocate(native, len(reference))
    ctypes.memmove(address, reference, len(reference))
    return TypedFunc._make(record, FuncItem(address, *loaded.way_in(start)), 0)


class Instance:
    """An instance of a module in a store.

    >>> from wasmjit import Engine, Store
    >>> store = Store(Engine())
    >>> module = Module(store.engine, '(module (func (export "two") (result i32) i32.const 2))')
    >>> Instance(store, module, []).exports(store)["two"](store)
    2
    """

    __slots__ = ("__weakref__", "_exports", "_instance", "_owner")

    def __init__(self, store: Storelike, module: Module, imports: Sequence[AsExtern]) -> None:
        """Instantiates `module` with `imports` in the order of `Module.imports`, and runs its start function.

        Raises LinkError if the imports do not fit, Trap if a segment does not fit or the start function traps,
        WasmError for items of another Store or a Module of another Engine.
        """
        record = record_of(store)
        if not isinstance(module, Module):
            raise TypeError("expected a Module")
        items = [item_of(item, record) for item in imports]
        self._initialize(record, instantiate(record, checked_load(record, module), items))

    @classmethod
    async def new_async(cls, store: Storelike, module: Module, imports: Sequence[AsExtern]) -> Instance:
        """As `Instance`, with the start function run like `Func.call_async` runs a function."""
        from .asynchronous import run

        instance: Instance = await run(record_of(store), cls, store, module, imports)
        return instance

    def _initialize(self, record: StoreRecord, instance: InstanceRecord) -> None:
        self._owner = record
        self._instance = instance
        self._exports: InstanceExports | None = None

    @classmethod
    def _wrap(cls, record: StoreRecord, instance: InstanceRecord) -> Instance:
        self = cls.__new__(cls)
        self._initialize(record, instance)
        return self

    def exports(self, store: Storelike) -> InstanceExports:
        """Its exports: a mapping by name that takes positions too."""
        self._check_store(store)
        if self._exports is None:
            self._exports = InstanceExports(self._owner, self._instance)
        return self._exports

    def get_export(self, store: Storelike, name: str) -> AsExtern | None:
        """The export `name`; None if there is none."""
        self._check_store(store)
        if not isinstance(name, str):
            raise TypeError("expected a str")
        return self._instance.export(self._owner, name)

    def get_func(self, store: Storelike, name: str) -> Func | None:
        """The exported function `name`; None if there is none, or if `name` is something else.

        >>> from wasmjit import Engine, Store
        >>> store = Store(Engine())
        >>> text = '(module (memory (export "memory") 1) (func (export "two") (result i32) i32.const 2))'
        >>> instance = Instance(store, Module(store.engine, text), [])
        >>> instance.get_func(store, "two")(store), instance.get_func(store, "memory")
        (2, None)
        """
        item = self.get_export(store, name)
        return item if isinstance(item, Func) else None

    def get_memory(self, store: Storelike, name: str) -> Memory | None:
        """The exported memory `name`; None if there is none, or if `name` is something else."""
        item = self.get_export(store, name)
        return item if isinstance(item, Memory) else None

    def get_table(self, store: Storelike, name: str) -> Table | None:
        """The exported table `name`; None if there is none, or if `name` is something else."""
        item = self.get_export(store, name)
        return item if isinstance(item, Table) else None

    def get_global(self, store: Storelike, name: str) -> Global | None:
        """The exported global `name`; None if there is none, or if `name` is something else."""
        item = self.get_export(store, name)
        return item if isinstance(item, Global) else None

    def get_module_export(self, store: Storelike, export: ModuleExport) -> AsExtern | None:
        """The export that `Module.get_export_index` found; None if it found it in another module than this one's."""
        self._check_store(store)
        if not isinstance(export, ModuleExport):
            raise TypeError("expected a ModuleExport")
        instance = self._instance
        if export._decoded is not instance.loaded.module:
            return None
        return wrap_item(self._owner, instance.item(export._export))

    def _check_store(self, store: Storelike) -> None:
        if record_of(store) is not self._owner:
            raise WasmError("instance belongs to another Store than the one given")


class InstanceExports(Mapping[str, AsExtern]):
    """An instance's exports by name, ``exports["memory"]``, or by position, ``exports[0]``, in the module's order.

    Handles are made when they are asked for, and stay the same.

    >>> from wasmjit import Store
    >>> store = Store()
    >>> module = Module(store.engine, '(module (func (export "f")) (memory (export "m") 1))')
    >>> exports = Instance(store, module, []).exports(store)
    >>> list(exports), exports["m"].size(store), exports[1] is exports["m"]
    (['f', 'm'], 1, True)
    """

    __slots__ = ("_handles", "_instance", "_names", "_owner")

    def __init__(self, record: StoreRecord, instance: InstanceRecord) -> None:
        self._owner = record
        self._instance = instance
        self._names = instance.loaded.export_names
        self._handles: dict[str, AsExtern] = {}

    @property
    def by_index(self) -> Sequence[AsExtern]:
        """The exports in the module's order."""
        return tuple([self[name] for name in self._names])

    def __getitem__(self, key: str | int) -> AsExtern:
        if isinstance(key, int):
            key = self._names[key]
        found = self._handles.get(key)
        if found is None:
            export = self._instance.loaded.exports[key]
            found = self._handles[key] = wrap_item(self._owner, self._instance.item(export))
        return found

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)


def checked_load(record: StoreRecord, module: Module) -> LoadedModule:
    """The executable module. Raises WasmError if it belongs to another Engine than the store."""
    if module._engine is not record.engine:
        raise WasmError(
            "cross-`Engine` instantiation is not supported: the Module and the Store have different Engines"
        )
    return module._load()


__all__ = ["Instance", "InstanceExports", "InstanceRecord", "PreparedInstance", "instantiate", "prepare"]
