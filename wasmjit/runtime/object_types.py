"""What C knows of a module's types of objects, and of constant expressions that make some (runtime_c/gc_constants.c).

An instance has ids of its own for them: offsets of descriptors in the heap of its store.
"""

from __future__ import annotations

import itertools
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

_NO_TYPE = 0xFFFFFFFF
if os.environ.get("WASMJIT_GC_STRESS") == "1":  # for tests: every allocation collects
    lib.wj_gc_stress(1)


def has_objects(module: Module) -> bool:
    """Whether instances need a heap, or its evaluation of constant expressions."""
    makes_references = any(wt.is_reference(function.result) for function in module.constant_functions)
    return makes_references or any(not isinstance(type, wt.FuncType) for type in module.types)


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
    """The types of one module. Thread-safe but for `native`, which one evaluation uses at a time."""

    def __init__(
        self, module: Module, ids: array[int], layout: abi.VMContextLayout, func_ref_offsets: Mapping[int, int]
    ) -> None:
        """`ids`: the process-wide ones, which somebody holds."""
        self._kept: list[Any] = [ids]
        self._layouts: list[tuple[int, ...]] = []
        self._traced_words: list[int] = []
        self._fields: list[tuple[int, int]] = []
        indices = {type: index for index, type in reversed(list(enumerate(module.types)))}
        for type in module.types:
            self._add(type, indices)
        functions = module.constant_functions
        starts = itertools.accumulate([function.end - function.start for function in functions], initial=0)
        imported = module.num_imported_functions
        offsets = [layout.imported_functions + abi.POINTER_BYTES * function for function in range(imported)]
        offsets += [func_ref_offsets.get(function, 0) for function in range(imported, len(module.functions))]
        most_operands = max([function.end - function.start for function in functions], default=0) + 1
        self._stack_words = 2 * most_operands
        self.native = ffi.new(
            "wj_gc_module *",
            {
                "type_ids": ffi.cast("uint32_t *", ids.buffer_info()[0]),
                "layouts": self._new("wj_gc_layout[]", self._layouts),
                "traced": self._new("uint32_t[]", self._traced_words),
                "fields": self._new("uint32_t[][2]", self._fields),
                "type_count": len(module.types),
                "imported_global_count": module.num_imported_globals,
                "globals_offset": layout.globals,
                "imported_globals_offset": layout.imported_globals,
                "global_bytes": self._new("uint8_t[]", [_value_bytes(item.content) for item in module.globals]),
                "imported_function_count": imported,
                "func_ref_offsets": self._new("uint32_t[]", offsets),
                "code": self._new("uint8_t[]", module.bytes_of_constants() if functions else b""),
                "starts": self._new("uint32_t[]", list(starts)),
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
        """Gives an instance its type ids. Raises WasmError if there can be no heap, MemoryError."""
        number = lib.wj_gc_describe_types(native.pointer, context, self.native)
        if number:
            raise WasmError(f"cannot make a heap for garbage collection: {os.strerror(number)}")

    def evaluator(self) -> tuple[Any, Any]:
        """A copy that one evaluation has for itself, and what is to be kept for it."""
        made = ffi.new("wj_gc_module *", self.native[0])
        made.stack = stack = ffi.new("uint64_t[]", self._stack_words)
        return made, stack


def _value_bytes(valtype: int) -> int:
    return 4 if valtype in (wt.I32, wt.F32) else 16 if valtype == wt.V128 else 8
