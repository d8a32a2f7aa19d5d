"""References to objects of garbage collection as Python has them, which keep the objects. An i31 is an int."""

from __future__ import annotations

import ctypes
from typing import Any

from ..abi import GC_ARRAY, GC_STRUCT, WORD_HOST, WORD_KIND_MASK
from ..errors import WasmError
from ..wasm import types as wt
from .native import ffi, lib
from .native_store import NativeStore
from .store import StoreRecord, allocate, read_u64s

_KINDS = {GC_STRUCT: wt.STRUCTREF, GC_ARRAY: wt.ARRAYREF}


class AnyRef:
    """A reference to an object of garbage collection, which it keeps: a StructRef or an ArrayRef.

    Equal references are to the same object. Its word is at a place that the collector looks at, one of the store's,
    which goes to another reference later.

    >>> from wasmjit import ArrayRef, ArrayType, FieldType, Store
    >>> isinstance(ArrayRef(Store(), ArrayType(FieldType("i8")), b""), AnyRef)
    True
    """

    __slots__ = ("__weakref__", "_native", "_owner", "_place")

    _native: NativeStore
    _owner: StoreRecord
    _place: int

    def __init__(self) -> None:
        raise WasmError("cannot construct directly")

    @classmethod
    def _make(cls, record: StoreRecord, word: int) -> AnyRef:
        """In ``with native:``, or from a call's conversions: what the word is to stays until the place has it."""
        native = record.open()
        kind, _ = type_of_object(native, word)
        if not kind:
            raise WasmError(f"reference {word} is to no object of this Store")
        found = classes[kind]
        self = found.__new__(found)
        self._take(record, word)
        return self

    def _take(self, record: StoreRecord, word: int) -> None:
        """Becomes the reference with this word."""
        native = record.open()
        if getattr(self, "_place", 0):
            raise WasmError("this reference is made already")
        self._place = 0
        self._owner = record
        self._native = native
        self._place = record.reference_places.pop() if record.reference_places else _new_place(native)
        _write(native, self._place, word)

    def __del__(self) -> None:
        if getattr(self, "_place", 0):  # one that could not be made has none
            native = self._native
            _write(native, self._place, 0)
            self._owner.reference_places.append(self._place)

    @property
    def _word(self) -> int:
        native = self._native
        return read_u64s(native, self._place, 1)[0]

    @property
    def kind(self) -> str:
        """``struct`` or ``array``"""
        native = self._owner.open()
        kind, _ = type_of_object(native, self._word)
        return "array" if kind == GC_ARRAY else "struct"

    def __reduce_ex__(self, protocol: object) -> Any:  # a copy would have the same place
        raise TypeError(f"cannot pickle or copy {type(self).__name__!r} object")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AnyRef):
            return NotImplemented
        return self._owner is other._owner and self._word == other._word

    def __hash__(self) -> int:
        return hash((id(self._owner), self._word))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._word:#x}>"


# The classes of references to objects of each kind (objects.py).
classes: dict[int, type[AnyRef]] = {}


def _write(_native: NativeStore, place: int, word: int) -> None:
    ctypes.c_uint64.from_address(place).value = word


def _new_place(native: NativeStore) -> int:
    place = allocate(native, 8)
    if lib.wj_store_add_externref_root(native.pointer, place, 0):
        raise MemoryError("no memory for a reference")
    return place


def word_to_python(record: StoreRecord, word: int) -> Any:
    """The Python value of a word that is a reference below any, or one to something of the host."""
    if not word:
        return None
    if word & 1:
        return (word >> 1 ^ 1 << 30) - (1 << 30)
    if word & WORD_KIND_MASK == WORD_HOST:
        return record.externref_value(word)
    return AnyRef._make(record, word)


def type_of_object(native: NativeStore, word: int) -> tuple[int, int]:
    """The kind (abi.GC_STRUCT, GC_ARRAY) and the type's id of the object that a word is to."""
    id = ffi.new("uint32_t *")
    return int(lib.wj_gc_type_of(native.pointer, word, id)), int(id[0])


def object_word(record: StoreRecord, valtype: int, reference: AnyRef) -> int:
    """The word of a reference that is given as `valtype`. Raises TypeError if it is to something else, WasmError."""
    if reference._owner is not record:
        raise WasmError("object belongs to another Store than the one given")
    native = record.open()
    word = reference._word
    kind, id = type_of_object(native, word)
    if isinstance(valtype, wt.TypeReference):
        from .type_ids import is_of_type

        fits = is_of_type(id, valtype.type)
    else:
        fits = wt.is_externref(valtype) or wt.matches(_KINDS[kind], wt.nullable(valtype))
    if not fits:
        raise TypeError(f"{reference!r} is no {wt.valtype_name(valtype)}")
    return word


def python_to_word(record: StoreRecord, valtype: int, value: Any) -> int:
    """The word of a Python value, which is not None, that is given as `valtype`, of the any hierarchy: an int is an
    i31, and what is no reference something of the host. Raises TypeError, OverflowError, WasmError."""
    if isinstance(value, AnyRef):
        return object_word(record, valtype, value)
    if type(value) is int and wt.matches(wt.I31REF, wt.nullable(valtype)):
        if not -(1 << 30) <= value < 1 << 31:
            raise OverflowError(f"{value!r} does not fit 31 bits")
        return (value << 1 | 1) & 0xFFFFFFFF
    if wt.nullable(valtype) == wt.ANYREF:
        handle = record.externref_handle(value)
        if handle >> 32:
            raise WasmError("too many objects of the host for a reference of type anyref")
        return handle
    raise TypeError(f"don't know how to convert {value!r} to {wt.valtype_name(valtype)}")
