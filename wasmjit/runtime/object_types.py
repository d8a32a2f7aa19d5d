"""What C knows of a module's types of objects (runtime_c/gc_types.c).

An instance has ids of its own for them: offsets of descriptors in the heap of its store.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import abi
from ..errors import WasmError
from ..wasm import types as wt
from ..wasm.module import Module
from .native import ffi, lib
from .native_store import NativeStore
from .store import StoreRecord

_NO_TYPE = 0xFFFFFFFF
if os.environ.get("WASMJIT_GC_STRESS") == "1":  # for tests: every allocation collects
    lib.wj_gc_stress(1)


def has_objects(module: Module) -> bool:
    """Whether instances need a heap."""
    return any(not isinstance(type, wt.FuncType) for type in module.types)


def make_heap(native: NativeStore, record: StoreRecord) -> None:
    """Makes the heap of a store, if it has none. Raises WasmError if there can be none."""
    number = lib.wj_gc_make_heap(native.pointer, record.engine._config.gc_heap_reservation)
    if number:
        raise WasmError(f"cannot make a heap for garbage collection: {os.strerror(number)}")


def layout_of(type: wt.StructType | wt.ArrayType) -> tuple[int, int, list[tuple[int, int]]]:
    """Kind, size in bytes as a descriptor has it; storage type and offset of each field, or of the first element."""
    if isinstance(type, wt.ArrayType):
        storage = type.element.storage
        return abi.GC_ARRAY, abi.storage_bytes(storage), [(storage, abi.GC_OBJECT["sizeof"])]
    offsets, size_bytes = abi.struct_layout(type)
    return abi.GC_STRUCT, size_bytes, [(field.storage, at) for field, at in zip(type.fields, offsets, strict=True)]


def traced_words(places: Iterable[tuple[int, int]]) -> list[int]:
    """How the collector follows those fields that it has to, given storage types and offsets."""
    words = []
    for storage, offset in places:
        if wt.is_anyref(storage):
            words.append(offset << abi.GC_TRACED_SHIFT | abi.GC_TRACED_ANYREF)
        elif wt.is_externref(storage):
            words.append(offset << abi.GC_TRACED_SHIFT | abi.GC_TRACED_EXTERNREF)
        elif wt.is_exnref(storage):
            words.append(offset << abi.GC_TRACED_SHIFT | abi.GC_TRACED_EXNREF)
    return words


class ObjectTypes:
    """The types of one module. Thread-safe."""

    def __init__(self, module: Module, ids: array[int]) -> None:
        """`ids`: the process-wide ones, which somebody holds."""
        self._kept: list[Any] = [ids]
        self._layouts: list[tuple[int, ...]] = []
        self._traced_words: list[int] = []
        self._fields: list[tuple[int, int]] = []
        indices = {type: index for index, type in reversed(list(enumerate(module.types)))}
        for type in module.types:
            self._add(type, indices)
        self.native = ffi.new(
            "wj_gc_types *",
            {
                "count": len(module.types),
                "ids": ffi.cast("uint32_t *", ids.buffer_info()[0]),
                "layouts": self._new("wj_gc_layout[]", self._layouts),
                "traced": self._new("uint32_t[]", self._traced_words),
                "fields": self._new("uint32_t[][2]", self._fields),
            },
        )

    def _new(self, type: str, items: Sequence[Any]) -> Any:
        made = ffi.new(type, items)
        self._kept.append(made)
        return made

    def _add(self, type: wt.DefinedType, indices: Mapping[wt.DefinedType, int]) -> None:
        definition = type.definition
        above = _NO_TYPE if definition is None or definition.supertype is None else indices[definition.supertype]
        first_traced, first_field = len(self._traced_words), len(self._fields)
        if isinstance(type, wt.FuncType):
            self._layouts.append((0, above, 0, first_traced, 0, first_field, 0))
            return
        kind, size_bytes, places = layout_of(type)
        self._traced_words += traced_words(places)
        if kind == abi.GC_STRUCT:
            self._fields += [(offset, abi.storage_bytes(storage)) for storage, offset in places]
        traced_count, field_count = len(self._traced_words) - first_traced, len(self._fields) - first_field
        self._layouts.append((kind, above, size_bytes, first_traced, traced_count, first_field, field_count))

    def describe(self, native: NativeStore, context: Any) -> None:
        """Gives an instance its type ids, in a store that has a heap. Raises MemoryError."""
        if lib.wj_gc_describe_types(native.pointer, context, self.native):
            raise MemoryError("no memory for types of objects of garbage collection")
