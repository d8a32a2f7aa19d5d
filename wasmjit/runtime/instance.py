"""Instance: import matching, instance contexts, constant expressions, segments, start (spec section 4.5.4)."""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import abi
from ..errors import TRAPS, LinkError, WasmError
from ..wasm import types as wt
from ..wasm.module import ACTIVE, DECLARATIVE, ConstExpr, Export
from .externs import (
    AsExtern,
    Func,
    GlobalItem,
    Item,
    MemoryItem,
    TableItem,
    item_of,
    new_global_item,
    new_memory_item,
    new_table_item,
    read_bits,
    wrap_item,
    write_bits,
)
from .func import FuncItem
from .module import LoadedModule, Module
from .native import ffi, lib
from .store import Storelike, StoreRecord, address_of, read_u64s, record_of
from .trap import Trap

_CODES = {trap.name: trap.number for trap in TRAPS}
_MASK_32 = (1 << 32) - 1
_MASK_64 = (1 << 64) - 1
_I32_CONST, _I64_CONST, _F32_CONST, _F64_CONST = 0x41, 0x42, 0x43, 0x44
_GLOBAL_GET, _REF_NULL, _REF_FUNC = 0x23, 0xD0, 0xD2
_ARITHMETIC = {
    0x6A: (int.__add__, _MASK_32),
    0x6B: (int.__sub__, _MASK_32),
    0x6C: (int.__mul__, _MASK_32),
    0x7C: (int.__add__, _MASK_64),
    0x7D: (int.__sub__, _MASK_64),
    0x7E: (int.__mul__, _MASK_64),
}
_KIND_ITEMS = {wt.FUNCTION: FuncItem, wt.TABLE: TableItem, wt.MEMORY: MemoryItem, wt.GLOBAL: GlobalItem}


# ---- import matching (spec section 3.4, "Matching") ----


def _limits_match(found: wt.Limits, wanted: wt.Limits) -> bool:
    """Whether something of size and maximum `found` can be used where `wanted` is required."""
    if found.min < wanted.min:
        return False
    return wanted.max is None or (found.max is not None and found.max <= wanted.max)


def types_match(found: wt.ExternType, wanted: wt.ExternType) -> bool:
    """Whether an item of type `found` (with its current size as minimum) can be imported as `wanted`."""
    if isinstance(found, wt.MemoryType) and isinstance(wanted, wt.MemoryType):
        same = (found.is_64, found.shared, found.page_size_log2) == (wanted.is_64, wanted.shared, wanted.page_size_log2)
        return same and _limits_match(found.limits, wanted.limits)
    if isinstance(found, wt.TableType) and isinstance(wanted, wt.TableType):
        same = (found.element, found.is_64) == (wanted.element, wanted.is_64)
        return same and _limits_match(found.limits, wanted.limits)
    return found == wanted


def _describe(type: wt.ExternType) -> str:
    return f"function {type}" if isinstance(type, wt.FuncType) else str(type)


def check_imports(loaded: LoadedModule, items: Sequence[Item]) -> None:
    """Raises LinkError unless `items` are what the module imports, in its order."""
    imports = loaded.module.imports
    if len(items) != len(imports):
        raise LinkError(f"expected {len(imports)} imports, found {len(items)}")
    for wanted, item, needed in zip(imports, items, loaded.import_types, strict=True):
        found = item.current_type()
        if not types_match(found, needed):
            raise LinkError(
                f"incompatible import type for `{wanted.module}::{wanted.name}`: "
                f"expected {_describe(needed)}, found {_describe(found)}"
            )


# ---- constant expressions (spec section 4.5.4; extended constant expressions) ----


def evaluate(expression: ConstExpr, globals: Sequence[GlobalItem], functions: Mapping[int, int]) -> int:
    """The raw bits of a constant expression's value. `functions` has the func-ref addresses."""
    stack: list[int] = []
    for opcode, immediate in expression:
        if opcode in _ARITHMETIC:
            operation, mask = _ARITHMETIC[opcode]
            right = stack.pop()
            stack.append(operation(stack.pop(), right) & mask)
            continue
        assert immediate is not None
        if opcode == _GLOBAL_GET:
            stack.append(read_bits(globals[immediate].address, globals[immediate].type.content))
        elif opcode == _REF_FUNC:
            stack.append(functions[immediate])
        elif opcode == _REF_NULL:
            stack.append(0)
        else:
            stack.append(immediate & (_MASK_32 if opcode in (_I32_CONST, _F32_CONST) else _MASK_64))
    (value,) = stack
    return value


# ---- instances ----


class InstanceRecord:
    """One instance of a store: its context (abi.VMCONTEXT) and its index spaces. Refers to no handle."""

    __slots__ = ("_functions", "address", "func_refs", "globals", "loaded", "memories", "tables")

    def __init__(self, loaded: LoadedModule, imports: Sequence[Item]) -> None:
        self.loaded = loaded
        self.address = 0
        self._functions: dict[int, FuncItem] = {}
        self.memories: list[MemoryItem] = []
        self.tables: list[TableItem] = []
        self.globals: list[GlobalItem] = []
        # Func-ref addresses by function index: imports, and the module's own functions that may become references.
        self.func_refs: dict[int, int] = {}
        for item in imports:
            if isinstance(item, FuncItem):
                self._functions[len(self.func_refs)] = item
                self.func_refs[len(self.func_refs)] = item.address
            elif isinstance(item, MemoryItem):
                self.memories.append(item)
            elif isinstance(item, TableItem):
                self.tables.append(item)
            else:
                self.globals.append(item)

    def export(self, record: StoreRecord, name: str) -> AsExtern | None:
        """The handle of an export; None if there is none of that name."""
        export = self.loaded.exports.get(name)
        return None if export is None else wrap_item(record, self.item(export))

    def item(self, export: Export) -> Item:
        """The item that is exported."""
        if export.kind == wt.FUNCTION:
            return self.function(export.index)
        spaces: dict[int, Sequence[Item]] = {wt.TABLE: self.tables, wt.MEMORY: self.memories, wt.GLOBAL: self.globals}
        return spaces[export.kind][export.index]

    def function(self, index: int) -> FuncItem:
        """The function `index`, which has a func-ref."""
        found = self._functions.get(index)
        if found is None:
            found = self._functions[index] = FuncItem(self.func_refs[index], self.loaded.module.function_type(index))
        return found


def instantiate(record: StoreRecord, loaded: LoadedModule, imports: Sequence[Item]) -> InstanceRecord:
    """Makes an instance and runs its start function. Raises LinkError, WasmError, Trap, or what a host function raised.

    If a segment does not fit or the start function traps, the effects so far stay (spec section 4.5.4).
    """
    native = record.open()
    check_imports(loaded, imports)
    record.check_new_instance()
    instance = InstanceRecord(loaded, imports)
    native.keepalive.add(loaded)
    module = loaded.module
    for memory_type in module.memories[module.num_imported_memories :]:
        instance.memories.append(new_memory_item(record, memory_type))
    for table_type in module.tables[module.num_imported_tables :]:
        instance.tables.append(new_table_item(record, table_type, 0))
    context = _new_context(record, instance)
    record.instances[instance.address] = instance
    _initialize_globals(record, instance)
    elements = _evaluate_elements(record, instance, context)
    _run_element_segments(instance, context, elements)
    _run_data_segments(instance, context)
    if module.start is not None:
        _start_function(record, instance)()
    return instance


def _new_context(record: StoreRecord, instance: InstanceRecord) -> memoryview[int]:
    """Makes the instance's context; returns it as 64-bit words. Globals and element segments are still zero."""
    loaded = instance.loaded
    layout = loaded.layout
    pointer = lib.wj_instance_new(
        record.pointer,
        ffi.from_buffer(loaded.template),
        layout.size_bytes,
        layout.memories,
        layout.tables,
        layout.data_segments,
        layout.element_segments,
    )
    if pointer == ffi.NULL:
        raise MemoryError("no memory for an instance")
    address = instance.address = address_of(pointer)
    context: memoryview[int] = memoryview(ffi.buffer(pointer, layout.size_bytes)).cast("Q")
    _put(context, layout.imported_functions, list(instance.func_refs.values()))
    for at, memory in _strided(layout.memories, abi.MEMORY_SLOT["sizeof"], instance.memories):
        _put(context, at, [address_of(memory.pointer), int(lib.wj_memory_base(memory.pointer))])
    for at, table in _strided(layout.tables, abi.TABLE_SLOT["sizeof"], instance.tables):
        _put(context, at, [address_of(table.pointer), int(lib.wj_table_elements(table.pointer))])
    _put(context, layout.imported_globals, [item.address for item in instance.globals])
    for function, offset in loaded.func_ref_offsets.items():
        context[(offset + abi.FUNC_REF["vmctx"]) // 8] = address
        instance.func_refs[function] = address + offset
    return context


def _put(context: memoryview[int], offset: int, words: list[int]) -> None:
    context[offset // 8 : offset // 8 + len(words)] = memoryview(array("Q", words))


def _strided(start: int, stride: int, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    return zip(range(start, start + stride * len(items), stride), items, strict=True)


def _initialize_globals(record: StoreRecord, instance: InstanceRecord) -> None:
    at = instance.address + instance.loaded.layout.globals
    for definition in instance.loaded.module.global_definitions:
        bits = evaluate(definition.init, instance.globals, instance.func_refs)
        write_bits(at, definition.type.content, bits)
        instance.globals.append(new_global_item(record, definition.type, at))
        at += abi.GLOBAL_BYTES


def _evaluate_elements(record: StoreRecord, instance: InstanceRecord, context: memoryview[int]) -> list[int]:
    """Evaluates all element segments into the store; returns where their slots lie, as word indices of the context."""
    slots = []
    layout = instance.loaded.layout
    for at, segment in _strided(layout.element_segments, abi.SEGMENT_SLOT["sizeof"], instance.loaded.module.elements):
        slots.append(at // 8)
        if segment.mode == DECLARATIVE or not segment.items:
            continue
        functions = instance.func_refs
        references = array("Q", [evaluate(item, instance.globals, functions) for item in segment.items])
        address = record.allocate(8 * len(references))
        ctypes.memmove(address, references.buffer_info()[0], 8 * len(references))
        _put(context, at, [address, len(references)])
        if segment.element == wt.EXTERNREF:
            slot = instance.address + at

            def live_references(slot: int = slot) -> list[int]:
                start, length = read_u64s(slot, 2)
                return read_u64s(start, length)

            record.externref_roots.append(live_references)
    return slots


def _run_element_segments(instance: InstanceRecord, context: memoryview[int], slots: list[int]) -> None:
    for slot, segment in zip(slots, instance.loaded.module.elements, strict=True):
        if segment.mode != ACTIVE:
            continue
        start = evaluate(segment.start, instance.globals, instance.func_refs)
        source = ffi.cast("uint64_t *", context[slot])
        if lib.wj_table_write(instance.tables[segment.table].pointer, start, source, context[slot + 1]):
            raise Trap._from_code(_CODES["TABLE_OUT_OF_BOUNDS"])
        context[slot + 1] = 0  # dropped


def _run_data_segments(instance: InstanceRecord, context: memoryview[int]) -> None:
    layout = instance.loaded.layout
    for at, segment in _strided(layout.data_segments, abi.SEGMENT_SLOT["sizeof"], instance.loaded.module.data):
        if segment.mode != ACTIVE:
            continue
        slot = at // 8
        start = evaluate(segment.start, instance.globals, instance.func_refs)
        source = ffi.cast("void *", context[slot])
        if lib.wj_memory_write(instance.memories[segment.memory].pointer, start, source, context[slot + 1]):
            raise Trap._from_code(_CODES["MEMORY_OUT_OF_BOUNDS"])
        context[slot + 1] = 0  # dropped


def _start_function(record: StoreRecord, instance: InstanceRecord) -> Any:
    """What calls the start function. It need not have a func-ref, so it may get one here."""
    loaded = instance.loaded
    start = loaded.module.start
    assert start is not None
    if start not in instance.func_refs:
        id = loaded.type_ids[loaded.module.functions[start]]
        reference = struct.pack("<QQIIQ", loaded.function_address(start), instance.address, id, start, 0)
        address = instance.func_refs[start] = record.allocate(len(reference))
        ctypes.memmove(address, reference, len(reference))
    return Func._wrap(record, instance.function(start))._bind()


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
        if record_of(store) is not self._owner:
            raise WasmError("instance belongs to another Store than the one given")
        if self._exports is None:
            self._exports = InstanceExports(self._owner, self._instance)
        return self._exports


class InstanceExports(Mapping[str, AsExtern]):
    """An instance's exports by name, ``exports["memory"]``, or by position, ``exports[0]``, in the module's order."""

    def __init__(self, record: StoreRecord, instance: InstanceRecord) -> None:
        self._by_name = {
            name: wrap_item(record, instance.item(export)) for name, export in instance.loaded.exports.items()
        }
        self._by_index = tuple(self._by_name.values())

    @property
    def by_index(self) -> Sequence[AsExtern]:
        """The exports in the module's order."""
        return self._by_index

    def __getitem__(self, key: str | int) -> AsExtern:
        return self._by_index[key] if isinstance(key, int) else self._by_name[key]

    def __len__(self) -> int:
        return len(self._by_index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)


def checked_load(record: StoreRecord, module: Module) -> LoadedModule:
    """The executable module. Raises WasmError if it belongs to another Engine than the store."""
    if module._engine is not record.engine:
        raise WasmError(
            "cross-`Engine` instantiation is not supported: the Module and the Store have different Engines"
        )
    return module._load()


__all__ = ["Instance", "InstanceExports", "InstanceRecord", "instantiate"]
