"""Table, Global and Tag; the items behind them, which exist once per store however many handles there are.

An *item* (MemoryItem, TableItem, GlobalItem, and FuncItem) is what instances import and export: the C object
with its type. A handle (Memory, ...) pairs an item with its store's record, for the public API.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

from .. import abi
from ..abi import MAX_TABLE_ELEMENTS, REFUSED
from ..errors import TRAPS, WasmError
from ..wasm import types as wt
from ..wasm.const_expr import MASK_64
from .func import Func, bits_to_python, python_to_bits
from .func_item import FuncItem
from .memory import Memory, MemoryItem, new_memory_item
from .native import ffi, lib
from .native_store import NativeStore
from .shared_memory import SharedMemory
from .store import Storelike, StoreRecord, allocate, check_store, read_u64s, record_of
from .values import GlobalType, TableType, TagType, Val

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from ..records import dataclass

_TABLE_OUT_OF_BOUNDS = next(trap.message for trap in TRAPS if trap.name == "TABLE_OUT_OF_BOUNDS")


@dataclass(slots=True, eq=False)
class TableItem:
    """A table of one store."""

    pointer: Any  # wj_table *
    type: wt.TableType

    def current_type(self, _native: NativeStore) -> wt.TableType:
        """The type that import matching sees: the minimum is the current length."""
        limits = wt.Limits(int(lib.wj_table_length(self.pointer)), self.type.limits.max)
        return wt.TableType(self.type.element, limits, self.type.is_64)


@dataclass(slots=True, eq=False)
class GlobalItem:
    """A global of one store: the address of its value."""

    address: int
    type: wt.GlobalType

    def current_type(self, _native: NativeStore) -> wt.GlobalType:
        """Its type."""
        return self.type


@dataclass(slots=True, eq=False)
class TagItem:
    """A tag of one store: the address by which code tells it from others."""

    address: int
    type: wt.TagType

    def current_type(self, _native: NativeStore) -> wt.TagType:
        """Its type."""
        return self.type


def new_tag_item(record: StoreRecord, type: wt.TagType) -> TagItem:
    """Makes a tag. Raises MemoryError."""
    native = record.open()
    native.keep_roots(record)  # C asks the record what an exception is that leaves wasm
    address = allocate(native, abi.TAG["sizeof"])
    payload_bytes = abi.payload_offsets(type.functype.params)[-1] - abi.EXCEPTION["sizeof"]
    ctypes.c_uint64.from_address(address + abi.TAG["payload_bytes"]).value = payload_bytes
    item = record.tags[address] = TagItem(address, type)
    return item


def new_table_item(record: StoreRecord, type: wt.TableType, init_bits: int) -> TableItem:
    """Makes a table filled with a raw reference. Raises WasmError if it cannot be had."""
    native = record.open()
    record.check_new_table(type)
    if type.limits.min > MAX_TABLE_ELEMENTS:
        raise WasmError(
            f"a table of {type.limits.min} elements is too large: wasmjit supports at most {MAX_TABLE_ELEMENTS}"
        )
    maximum = MAX_TABLE_ELEMENTS if type.limits.max is None else type.limits.max
    error = ffi.new("int *")
    pointer = lib.wj_table_new(native.pointer, type.limits.min, maximum, init_bits, error)
    if pointer == ffi.NULL:
        raise WasmError(f"cannot allocate a table of {type.limits.min} elements: {os.strerror(error[0])}")
    record.num_tables += 1
    if wt.is_collected(type.element):
        lib.wj_table_set_has_externrefs(pointer)
    if wt.is_exnref(type.element):
        lib.wj_store_keep_exceptions(native.pointer)
    return TableItem(pointer, type)


def new_global_item(record: StoreRecord, type: wt.GlobalType, address: int) -> GlobalItem:
    """Describes the global whose value lies at `address`. Raises MemoryError."""
    if wt.is_collected(type.content):
        native = record.open()
        if lib.wj_store_add_externref_root(native.pointer, address, 0):
            raise MemoryError("no memory for a global")
    if wt.is_exnref(type.content):
        lib.wj_store_keep_exceptions(record.open().pointer)
    return GlobalItem(address, type)


def read_bits(native: NativeStore, address: int, valtype: int) -> int:
    """The raw value of a global: i32 and f32 in the low half, which is all that is specified; v128 as 128 bits."""
    if valtype in (wt.I32, wt.F32):
        return ctypes.c_uint32.from_address(address).value
    if valtype == wt.V128:
        low, high = read_u64s(native, address, 2)
        return low | high << 64
    return ctypes.c_uint64.from_address(address).value


def write_bits(_native: NativeStore, address: int, valtype: int, bits: int) -> None:
    """Writes the raw value of a global."""
    ctypes.c_uint64.from_address(address).value = bits & MASK_64
    if valtype == wt.V128:
        ctypes.c_uint64.from_address(address + 8).value = bits >> 64


def _element_to_python(record: StoreRecord, valtype: int, bits: int) -> Any:
    """What Table.get and Global.value return. The wasmtime package gives null references as Val; programs read their
    ``value`` or ``type``, or tell them from an index out of bounds by it."""
    if bits == 0 and wt.is_reference(valtype):
        return Val(valtype, None)
    return bits_to_python(record, valtype, bits)


def _index(value: Any, what: str) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected an int for the {what}")
    return value


class Table:
    """A table of references in a store.

    >>> from wasmjit import Limits, Store, ValType
    >>> store = Store()
    >>> table = Table(store, TableType(ValType.externref(), Limits(2)), "initial")
    >>> table.set(store, 1, "another")
    >>> table.get(store, 0), table.get(store, 1), table.size(store)
    ('initial', 'another', 2)
    """

    __slots__ = ("__weakref__", "_item", "_owner")

    def __init__(self, store: Storelike, ty: TableType, init: Any) -> None:
        """Makes a table of `ty`'s minimum size, filled with `init`. Raises TypeError if `init` does not fit."""
        record = record_of(store)
        if not isinstance(ty, TableType):
            raise TypeError("expected a TableType")
        self._owner = record
        with record.open():  # keeps the reference until the table has it
            self._item = new_table_item(record, ty._type, python_to_bits(record, ty._type.element, init))

    @classmethod
    def _wrap(cls, record: StoreRecord, item: TableItem) -> Table:
        self = cls.__new__(cls)
        self._owner = record
        self._item = item
        return self

    def _open(self, store: Storelike) -> tuple[NativeStore, Any]:
        """The C store, which the caller keeps: a callback or another thread may close the store; and the table."""
        check_store(store, self._owner, "table")
        native = self._owner.open()
        return native, self._item.pointer

    def type(self, store: Storelike) -> TableType:
        """Its type, with the current size as minimum."""
        native, _ = self._open(store)
        return TableType._wrap(self._item.current_type(native))

    def size(self, store: Storelike) -> int:
        """Current size in elements."""
        _native, pointer = self._open(store)
        return int(lib.wj_table_length(pointer))

    def _may_grow(self, _native: NativeStore, amount: int) -> bool:
        """Whether the store's limiter allows it."""
        if self._owner.limiter is None or amount == 0:
            return True
        current = int(lib.wj_table_length(self._item.pointer))
        return self._owner.allows_growth("table", current, current + amount, self._item.type.limits.max)

    def grow(self, store: Storelike, amt: int, init: Any) -> int:
        """Grows by `amt` elements, each `init`; returns the previous size. Raises WasmError if that is not possible."""
        native, pointer = self._open(store)
        previous = REFUSED
        with native:  # keeps the reference until the table has it
            bits = python_to_bits(self._owner, self._item.type.element, init)
            if 0 <= _index(amt, "amount") < REFUSED and self._may_grow(native, amt):
                previous = lib.wj_table_grow(pointer, amt, bits)
        if previous == REFUSED:
            raise WasmError(f"failed to grow table by `{amt}`")
        return int(previous)

    def get(self, store: Storelike, idx: int) -> Any:
        """The element at `idx`: a Func, or the object of an externref; None where `idx` is out of bounds.

        A null reference comes as a Val whose `value` is None, so it differs from "out of bounds" (and equals None by
        ``==``), as in the wasmtime package.
        """
        native, pointer = self._open(store)
        bits = ffi.new("uint64_t *")
        with native:  # keeps the object, should the table lose it now
            if not 0 <= _index(idx, "index") < REFUSED or lib.wj_table_get(pointer, idx, bits):
                return None
            return _element_to_python(self._owner, self._item.type.element, int(bits[0]))

    def set(self, store: Storelike, idx: int, val: Any) -> None:
        """Sets the element at `idx`. Raises WasmError where it is out of bounds, TypeError for a wrong `val`."""
        native, pointer = self._open(store)
        with native:  # as in `grow`
            bits = python_to_bits(self._owner, self._item.type.element, val)
            refused = not 0 <= _index(idx, "index") < REFUSED or lib.wj_table_set(pointer, idx, bits)
        if refused:
            raise WasmError(f"wasm trap: {_TABLE_OUT_OF_BOUNDS}")


class Global:
    """A global variable in a store.

    >>> from wasmjit import Store, ValType
    >>> store = Store()
    >>> counter = Global(store, GlobalType(ValType.i32(), True), 41)
    >>> counter.set_value(store, counter.value(store) + 1)
    >>> counter.value(store)
    42
    """

    __slots__ = ("__weakref__", "_item", "_owner")

    def __init__(self, store: Storelike, ty: GlobalType, val: Any) -> None:
        """Makes a global with this value. Raises TypeError if `val` does not fit the type, OverflowError for an integer
        that does not."""
        record = record_of(store)
        if not isinstance(ty, GlobalType):
            raise TypeError("expected a GlobalType")
        type = ty._type
        native = record.open()
        with native:  # keeps the reference until the global is a root
            bits = python_to_bits(record, type.content, val)
            address = allocate(native, 16)
            write_bits(native, address, type.content, bits)
            self._item = new_global_item(record, type, address)
        self._owner = record

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
        """The current value as a Python object; a null reference as a Val whose `value` is None (see `Table.get`)."""
        check_store(store, self._owner, "global")
        native, item = self._owner.open(), self._item
        with native:  # as in Table.get
            return _element_to_python(
                self._owner, item.type.content, read_bits(native, item.address, item.type.content)
            )

    def value_bits(self, store: Storelike) -> int:
        """The current value's raw bits (a NaN's payload is exact; references are raw handles)."""
        check_store(store, self._owner, "global")
        native = self._owner.open()
        return read_bits(native, self._item.address, self._item.type.content)

    def set_value(self, store: Storelike, val: Any) -> None:
        """Sets the value. Raises WasmError if the global is immutable, TypeError if `val` does not fit the type,
        OverflowError for an integer that does not."""
        check_store(store, self._owner, "global")
        native, item = self._owner.open(), self._item
        with native:  # converting runs Python code
            bits = python_to_bits(self._owner, item.type.content, val)
            if not item.type.mutable:
                raise WasmError("immutable global cannot be set")
            write_bits(native, item.address, item.type.content, bits)


class Tag:
    """A tag in a store: what tells the exceptions of WebAssembly apart.

    An exception has one, which says what values it carries. Modules import and export tags; see `WasmException`.

    >>> from wasmjit import FuncType, Store, ValType
    >>> store = Store()
    >>> tag = Tag(store, TagType(FuncType([ValType.i32()], [])))
    >>> tag.type(store).functype.params
    [i32]
    """

    __slots__ = ("__weakref__", "_item", "_owner")

    def __init__(self, store: Storelike, ty: TagType) -> None:
        """Makes a new tag, which equals no other. Raises TypeError or, for a type with results, WasmError."""
        record = record_of(store)
        if not isinstance(ty, TagType):
            raise TypeError("expected a TagType")
        if ty.functype.results:
            raise WasmError("the type of a tag for exceptions has no results")
        self._owner = record
        self._item = new_tag_item(record, ty._type)

    @classmethod
    def _wrap(cls, record: StoreRecord, item: TagItem) -> Tag:
        self = cls.__new__(cls)
        self._owner = record
        self._item = item
        return self

    def type(self, store: Storelike) -> TagType:
        """Its type."""
        check_store(store, self._owner, "tag")
        return TagType._wrap(self._item.type)

    def eq(self, store: Storelike, other: Tag) -> bool:
        """Whether `other` is the same tag, not just one of equal type. Raises WasmError for another Store's tag."""
        check_store(store, self._owner, "tag")
        if not isinstance(other, Tag):
            raise TypeError("expected a Tag")
        check_store(store, other._owner, "tag")
        return self._item is other._item


Item = FuncItem | MemoryItem | TableItem | GlobalItem | TagItem
AsExtern = Func | Memory | Table | Global | SharedMemory | Tag


def wrap_item(record: StoreRecord, item: Item) -> AsExtern:
    """The public handle for an item."""
    if isinstance(item, FuncItem):
        return Func._wrap(record, item)
    if isinstance(item, MemoryItem):
        if item.type.shared:
            return SharedMemory._wrap(record.engine, item, record.open())
        return Memory._wrap(record, item)
    if isinstance(item, TableItem):
        return Table._wrap(record, item)
    if isinstance(item, TagItem):
        return Tag._wrap(record, item)
    return Global._wrap(record, item)


def item_of(extern: Any, record: StoreRecord) -> Item:
    """The item behind a handle of this store.

    Raises TypeError for anything else, WasmError for another Store's.
    """
    if isinstance(extern, SharedMemory):
        return extern._join(record)
    if not isinstance(extern, (Func, Memory, Table, Global, Tag)):
        raise TypeError("expected a Func, Global, Memory, SharedMemory, Tag, or Table")
    if extern._owner is not record:
        raise WasmError(f"{type(extern).__name__.lower()} belongs to another Store than the one given")
    return extern._item


__all__ = [
    "AsExtern",
    "Func",
    "Global",
    "GlobalItem",
    "Item",
    "Memory",
    "MemoryItem",
    "SharedMemory",
    "Table",
    "TableItem",
    "Tag",
    "TagItem",
    "item_of",
    "new_global_item",
    "new_memory_item",
    "new_table_item",
    "new_tag_item",
    "read_bits",
    "wrap_item",
    "write_bits",
]
