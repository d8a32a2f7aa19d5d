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
# How memoryviews have the elements of an array, a packed one without sign; and in what else the same bytes may come.
_FORMATS = {wt.I8: "B", wt.I16: "H", wt.I32: "i", wt.I64: "q", wt.F32: "f", wt.F64: "d", wt.V128: "B"}
_TAKEN_FORMATS = {wt.I8: "Bb", wt.I16: "Hh", wt.I32: "iI", wt.I64: "qQlL", wt.F32: "f", wt.F64: "d"}
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

    def _make_object(
        self,
        store: Storelike,
        type: _Type,
        size_bytes: int,
        fields: Sequence[tuple[int, int]],
        values: Sequence[Any],
        contents: memoryview | None = None,
    ) -> None:
        """Makes the object with values at `fields`, each an offset and a storage type; or with the `contents` of all
        elements of an array."""
        record = record_of(store)
        native = record.open()
        make_heap(native, record)
        lib.wj_gc_run(native.pointer, 1)  # it is not done while references are held
        if not self._fit(record, type, size_bytes, fields, values, contents):
            lib.wj_gc_run(native.pointer, 0)
            if not self._fit(record, type, size_bytes, fields, values, contents):
                raise _refusal(record)

    def _fit(
        self,
        record: StoreRecord,
        type: _Type,
        size_bytes: int,
        fields: Sequence[tuple[int, int]],
        values: Sequence[Any],
        contents: memoryview | None,
    ) -> bool:
        """As `_make_object`; false if there is no room for it."""
        native = record.open()
        with native:  # keeps what the values are to until the object has it, and the object until the place has that
            bits = [python_to_bits(record, wt.unpacked(s), v) for (_, s), v in zip(fields, values, strict=True)]
            length = 0
            if isinstance(type, wt.ArrayType):
                length = len(values) if contents is None else len(contents)
            word = lib.wj_gc_new(native.pointer, _descriptor(record, type), length, size_bytes)
            if not word:
                return False
            self._take(record, word)
            address = self._address(native)
            for (offset, storage), value in zip(fields, bits, strict=True):
                _write(native, address + offset, storage, value)
            if contents is not None:
                ffi.memmove(ffi.cast("void *", address + _ELEMENTS), contents, contents.nbytes)
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
    """The descriptor of a type in a store that has a heap. Raises MemoryError, WasmError."""
    native = record.open()
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


def _contents(storage: int, elements: object) -> memoryview | None:
    """Of a buffer with the bytes of elements as an array has them; None of anything else."""
    try:
        contents = memoryview(elements)  # type: ignore[arg-type]
    except TypeError:
        return None
    fits = contents.format in _TAKEN_FORMATS.get(storage, "") and contents.itemsize == abi.storage_bytes(storage)
    return contents if fits and contents.ndim == 1 and contents.c_contiguous else None


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
        self._make_object(store, ty._type, size_bytes, places, values)

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
        """Writes a field. Raises IndexError, TypeError and OverflowError for what does not fit, WasmError if
        it is immutable."""
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
        """Makes an array of these elements; a buffer of the same numbers (bytes for i8, an `array.array`) is copied at
        once. Raises TypeError and OverflowError for what does not fit, MemoryError."""
        if not isinstance(ty, ArrayType):
            raise TypeError("expected an ArrayType")
        storage = ty._type.element.storage
        element_bytes = abi.storage_bytes(storage)
        contents = _contents(storage, elements)
        if contents is not None:
            self._make_object(store, ty._type, _ELEMENTS + contents.nbytes, (), (), contents)
            return
        values = tuple(elements)
        places = [(_ELEMENTS + element_bytes * at, storage) for at in range(len(values))]
        self._make_object(store, ty._type, _ELEMENTS + element_bytes * len(values), places, values)

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
        """Writes an element. Raises IndexError, TypeError and OverflowError for what does not fit, WasmError if
        it is immutable."""
        check_store(store, self._owner, "reference")
        element = self._defined().element
        offset = _ELEMENTS + _checked(index, len(self), "element") * abi.storage_bytes(element.storage)
        self._store(offset, element, value, "an element of this array")

    def view(self, store: Storelike) -> memoryview:
        """The elements, not copied: of an array of numbers. It can be written to if they are mutable.

        Packed elements are without sign, a v128 is 16 bytes. The view keeps the array, and the memory of all objects
        of its Store, even when that is closed. Raises TypeError for references.

        >>> from array import array
        >>> from wasmjit import FieldType, Store, ValType
        >>> store = Store()
        >>> numbers = ArrayRef(store, ArrayType(FieldType(ValType.i32(), mutable=True)), array("i", [1, 2, 3]))
        >>> view = numbers.view(store)
        >>> view[1] += 5
        >>> numbers.get(store, 1), sum(view)
        (7, 11)
        """
        check_store(store, self._owner, "reference")
        element = self._defined().element
        format = _FORMATS.get(element.storage)
        if format is None:
            raise TypeError("elements that are references cannot be viewed")
        native = self._owner.open()
        size_bytes = len(self) * abi.storage_bytes(element.storage)
        contents: Any = (ctypes.c_uint8 * size_bytes).from_address(self._address(native) + _ELEMENTS)
        contents.kept = self
        whole: Any = memoryview(contents).cast("B")
        view: memoryview = whole.cast(format)
        return view if element.mutable else view.toreadonly()

    def read(self, store: Storelike, start: int = 0, stop: int | None = None) -> bytearray:
        """The bytes of elements that are numbers, from `start` up to `stop`, as slices have them."""
        view = self.view(store).cast("B")
        first, end, _ = slice(start, stop).indices(len(self))
        element_bytes = abi.storage_bytes(self._defined().element.storage)
        return bytearray(view[first * element_bytes : end * element_bytes])

    def write(self, store: Storelike, value: Any, start: int = 0) -> None:
        """Writes bytes, or another buffer, to elements that are numbers, from `start` on.

        Raises ValueError if they are no whole number of elements, IndexError if there are not so many, and WasmError if
        they are immutable.
        """
        view = self.view(store)
        if view.readonly:
            raise WasmError("elements of this array are immutable")
        element_bytes = abi.storage_bytes(self._defined().element.storage)
        contents = memoryview(value).cast("B")
        begin = _checked(start, len(self) + 1, "element") * element_bytes
        if contents.nbytes % element_bytes != 0:
            raise ValueError(f"{contents.nbytes} bytes are no whole number of elements of {element_bytes}")
        if contents.nbytes > view.nbytes - begin:
            count = contents.nbytes // element_bytes
            raise IndexError(f"{count} elements do not fit from {start} on: there are {len(self)}")
        view.cast("B")[begin : begin + contents.nbytes] = contents


classes[abi.GC_STRUCT] = StructRef
classes[abi.GC_ARRAY] = ArrayRef
