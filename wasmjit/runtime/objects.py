"""StructRef and ArrayRef: objects of garbage collection, as Python makes, reads and writes them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .. import abi
from ..errors import WasmError
from ..wasm import types as wt
from .externs import read_bits
from .func import bits_to_python, python_to_bits
from .native import ffi, lib
from .native_store import NativeStore
from .object_reference import AnyRef, classes, type_of_object
from .object_types import layout_of, make_heap, traced_words
from .store import Storelike, StoreRecord, check_store, record_of
from .type_ids import defined_type_of_id, signature_of
from .value_types import ArrayType, StructType

_ELEMENTS = abi.GC_OBJECT["sizeof"]
_Type = wt.StructType | wt.ArrayType


class _ObjectRef(AnyRef):
    """What both share."""

    __slots__ = ()

    def _defined(self) -> Any:
        """The type of the object."""
        native = self._owner.open()
        return defined_type_of_id(type_of_object(native, self._word)[1])

    def _address(self, _native: NativeStore) -> int:
        return _native.read_word(abi.STORE["gc_heap"]) + self._word

    def _fill(self, store: Storelike, type: _Type, places: Sequence[tuple[int, int]], values: Sequence[Any]) -> None:
        """Makes the object with values at places, each an offset and a storage type; the last one ends it."""
        record = record_of(store)
        native = record.open()
        lib.wj_gc_run(native.pointer, 1)  # it is not done while references are held
        if not self._fit(record, type, places, values):
            lib.wj_gc_run(native.pointer, 0)
            if not self._fit(record, type, places, values):
                raise _refusal(record)

    def _fit(self, record: StoreRecord, type: _Type, places: Sequence[tuple[int, int]], values: Sequence[Any]) -> bool:
        """As `_fill`; false if there is no room for it."""
        native = record.open()
        *fields, (size_bytes, _) = places
        with native:  # keeps what the values are to until the object has it, and the object until the place has that
            bits = [python_to_bits(record, wt.unpacked(s), v) for (_, s), v in zip(fields, values, strict=True)]
            length = len(values) if isinstance(type, wt.ArrayType) else 0
            word = lib.wj_gc_new(native.pointer, _descriptor(record, type), length, size_bytes)
            if not word:
                return False
            self._take(record, word)
            address = self._address(native)
            for (offset, storage), value in zip(fields, bits, strict=True):
                _write(native, address + offset, storage, value)
        return True

    def _read(self, offset: int, storage: int) -> Any:
        """What is stored there; without sign, if it is packed."""
        native = self._owner.open()
        place = self._address(native) + offset
        if wt.is_packed(storage):
            return int.from_bytes(ctypes.string_at(place, abi.storage_bytes(storage)), "little")
        with native:  # keeps the object until Python has it
            if wt.is_anyref(storage):
                return bits_to_python(self._owner, storage, ctypes.c_uint32.from_address(place).value)
            return bits_to_python(self._owner, storage, read_bits(native, place, storage))

    def _store(self, offset: int, field: wt.FieldType, value: Any, what: str) -> None:
        if not field.mutable:
            raise WasmError(f"{what} is immutable")
        native = self._owner.open()
        with native:
            bits = python_to_bits(self._owner, wt.unpacked(field.storage), value)
            _write(native, self._address(native) + offset, field.storage, bits)


def _write(_native: NativeStore, place: int, storage: int, bits: int) -> None:
    size_bytes = abi.storage_bytes(storage)
    ctypes.memmove(place, (bits & (1 << 8 * size_bytes) - 1).to_bytes(size_bytes, "little"), size_bytes)


def _refusal(record: StoreRecord) -> Exception:
    if record.is_running():
        return WasmError("no object can be made now: code of the store runs on another thread, or was interrupted")
    return MemoryError("no room for an object of garbage collection")


def _descriptor(record: StoreRecord, type: _Type) -> int:
    """The descriptor of a type in a store, whose heap is made if need be. Raises MemoryError, WasmError."""
    native = record.open()
    make_heap(native)
    assert type.definition is not None
    above = type.definition.supertype
    supertype = 0 if above is None else _descriptor(record, above)  # type: ignore[arg-type]
    signature = signature_of(type)
    native.keepalive.add(signature)  # C has the signature, from which `defined_type_of_id` comes back to the type
    native.keepalive.add(type)
    kind, size_bytes, places = layout_of(type)
    traced = traced_words(places)
    words = ffi.new("uint32_t[]", traced)
    descriptor = int(
        lib.wj_gc_describe_type(native.pointer, signature.id, kind, size_bytes, supertype, words, len(traced))
    )
    if not descriptor:
        raise _refusal(record)
    return descriptor


def _checked(index: Any, count: int, what: str) -> int:
    if not isinstance(index, int):
        raise TypeError("expected an int for the index")
    if not 0 <= index < count:
        raise IndexError(f"no {what} {index}: there are {count}")
    return index


class StructRef(_ObjectRef):
    """A reference to a structure, which it keeps. Equal references are to the same one.

    >>> from wasmjit import FieldType, Store, ValType
    >>> store = Store()
    >>> type = StructType([FieldType(ValType.i32(), mutable=True), FieldType(ValType.f64())])
    >>> point = StructRef(store, type, [3, 4.5])
    >>> point.set_field(store, 0, -1)
    >>> point.field(store, 0), point.field(store, 1)
    (-1, 4.5)
    """

    __slots__ = ()

    def __init__(self, store: Storelike, ty: StructType, fields: Iterable[Any]) -> None:
        """Makes a structure. Raises TypeError and OverflowError for what does not fit, MemoryError."""
        if not isinstance(ty, StructType):
            raise TypeError("expected a StructType")
        values = tuple(fields)
        types = ty._type.fields
        if len(values) != len(types):
            raise TypeError(f"expected {len(types)} fields, given {len(values)}")
        offsets, size_bytes = abi.struct_layout(ty._type)
        places = [(at, field.storage) for at, field in zip(offsets, types, strict=True)]
        self._fill(store, ty._type, [*places, (size_bytes, 0)], values)

    @property
    def type(self) -> StructType:
        """Its type."""
        return StructType._wrap(self._defined())

    def field(self, store: Storelike, index: int) -> Any:
        """The value of a field; of a packed one without sign. Raises IndexError."""
        check_store(store, self._owner, "reference")
        type = self._defined()
        index = _checked(index, len(type.fields), "field")
        return self._read(abi.struct_layout(type)[0][index], type.fields[index].storage)

    def set_field(self, store: Storelike, index: int, value: Any) -> None:
        """Writes a field. Raises IndexError, TypeError for what does not fit, WasmError if it is immutable."""
        check_store(store, self._owner, "reference")
        type = self._defined()
        index = _checked(index, len(type.fields), "field")
        self._store(abi.struct_layout(type)[0][index], type.fields[index], value, f"field {index}")


class ArrayRef(_ObjectRef):
    """A reference to an array, which it keeps. Equal references are to the same one.

    >>> from wasmjit import FieldType, Store
    >>> store = Store()
    >>> text = ArrayRef(store, ArrayType(FieldType("i8", mutable=True)), b"wasm")
    >>> text.set(store, 0, ord("W"))
    >>> text.len(store), bytes(text)
    (4, b'Wasm')
    """

    __slots__ = ()

    def __init__(self, store: Storelike, ty: ArrayType, elements: Iterable[Any]) -> None:
        """Makes an array of these elements. Raises TypeError and OverflowError for what does not fit, MemoryError."""
        if not isinstance(ty, ArrayType):
            raise TypeError("expected an ArrayType")
        values = tuple(elements)
        storage = ty._type.element.storage
        size_bytes = abi.storage_bytes(storage)
        places = [(_ELEMENTS + size_bytes * at, storage) for at in range(len(values) + 1)]
        self._fill(store, ty._type, places, values)

    @property
    def type(self) -> ArrayType:
        """Its type."""
        return ArrayType._wrap(self._defined())

    def __len__(self) -> int:
        native = self._owner.open()
        return ctypes.c_uint32.from_address(self._address(native) + abi.GC_OBJECT["length"]).value

    def __iter__(self) -> Iterator[Any]:
        storage = self._defined().element.storage
        for index in range(len(self)):
            yield self._read(_ELEMENTS + index * abi.storage_bytes(storage), storage)

    def len(self, store: Storelike) -> int:
        """How many elements there are."""
        check_store(store, self._owner, "reference")
        return len(self)

    def get(self, store: Storelike, index: int) -> Any:
        """An element; a packed one without sign. Raises IndexError."""
        check_store(store, self._owner, "reference")
        storage = self._defined().element.storage
        return self._read(_ELEMENTS + _checked(index, len(self), "element") * abi.storage_bytes(storage), storage)

    def set(self, store: Storelike, index: int, value: Any) -> None:
        """Writes an element. Raises IndexError, TypeError for what does not fit, WasmError if it is immutable."""
        check_store(store, self._owner, "reference")
        element = self._defined().element
        offset = _ELEMENTS + _checked(index, len(self), "element") * abi.storage_bytes(element.storage)
        self._store(offset, element, value, "an element of this array")


classes[abi.GC_STRUCT] = StructRef
classes[abi.GC_ARRAY] = ArrayRef
