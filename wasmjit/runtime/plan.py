"""InstancePlan: what is the same for all instances of a module, worked out once and in the form that C takes.

Constant expressions are nearly always a plain constant or a function: then C runs the segments
(``runtime_c/instance.c``) and constant globals are part of the template. For the others, `instance.py` evaluates.
"""

from __future__ import annotations

import mmap
import threading
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from .. import abi
from ..config import Config
from ..errors import ArtifactError
from ..wasm.module import ACTIVE, ConstExpr, DataSegment, ElementSegment, FunctionItems, Module
from .native import ffi, lib

I32_CONST, I64_CONST, F32_CONST, F64_CONST = 0x41, 0x42, 0x43, 0x44
V128_CONST = 0xFD00C  # as in wasm.ops, a table of all instructions that running a compiled module does not take
REF_NULL, REF_FUNC = 0xD0, 0xD2
MASK_32 = (1 << 32) - 1
MASK_64 = (1 << 64) - 1
_NULL_REFERENCE = MASK_32
_IMPORTED_REFERENCE = 1
# Less than this is copied for the first instance, which is often the only one; making an image costs some system calls
# and a file descriptor. Images get no huge pages, so one that is mostly holes is not worth it.
MIN_IMAGE_BYTES = 256 << 10
MAX_IMAGE_SPAN_PER_BYTE = 4
MAX_IMAGE_HOLES_BYTES = 1 << 20


def constant(expression: ConstExpr) -> int | None:
    """The raw bits of an expression that is one constant or null; None for any other."""
    if len(expression) != 1:
        return None
    opcode, immediate = expression[0]
    if opcode in (I32_CONST, F32_CONST) and immediate is not None:
        return immediate & MASK_32
    if opcode in (I64_CONST, F64_CONST) and immediate is not None:
        return immediate & MASK_64
    if opcode == V128_CONST:
        return immediate
    return 0 if opcode == REF_NULL else None


class InstancePlan:
    """How to instantiate one module. Thread-safe.

    `elements` and `data` are C's arrays of segments, or None if `instance.py` has to evaluate some of them.
    `dynamic_globals` are the positions, among the defined globals, of those that are not in the template.
    """

    def __init__(
        self, module: Module, layout: abi.VMContextLayout, func_ref_offsets: Mapping[int, int], template: bytearray
    ) -> None:
        self._module = module
        self._kept: list[object] = []  # what C's structs point to
        self.memory_types = module.memories[module.num_imported_memories :]
        self.table_types = module.tables[module.num_imported_tables :]
        self.dynamic_globals = _put_constant_globals(module, layout, template)
        self.elements = self._plan_elements(module.elements, layout, func_ref_offsets)
        self.data = _plan_data(module.data)
        self.num_elements, self.num_data = len(module.elements), len(module.data)
        self._image: Any = None
        self._is_used = False
        self._image_lock = threading.Lock()
        contents = ffi.from_buffer(bytes(template))
        self._kept.append(contents)
        self.native = ffi.new(
            "wj_instance_plan *",
            {
                "template_bytes": contents,
                "size_bytes": layout.size_bytes,
                "imported_functions_offset": layout.imported_functions,
                "imported_function_count": module.num_imported_functions,
                "imported_globals_offset": layout.imported_globals,
                "imported_global_count": module.num_imported_globals,
                "memories_offset": layout.memories,
                "memory_count": len(module.memories),
                "tables_offset": layout.tables,
                "table_count": len(module.tables),
                "func_refs_offset": layout.func_refs,
                "func_ref_count": len(func_ref_offsets),
                "data_segments_offset": layout.data_segments,
                "element_segments_offset": layout.element_segments,
            },
        )

    def _plan_elements(
        self, segments: Sequence[ElementSegment], layout: abi.VMContextLayout, func_ref_offsets: Mapping[int, int]
    ) -> Any:
        rows = []
        imported = self._module.num_imported_functions
        first = layout.imported_functions | _IMPORTED_REFERENCE
        # Where in a context the reference of a function is, as wj_element_plan has it.
        places = dict(enumerate(range(first, first + abi.POINTER_BYTES * imported, abi.POINTER_BYTES)))
        places.update(func_ref_offsets)
        for segment in segments:
            start = constant(segment.start) if segment.mode == ACTIVE else 0
            items = segment.items
            encoded: list[int] | None
            if isinstance(items, FunctionItems):
                try:
                    encoded = [places[function] for function in items.functions]
                except KeyError as error:
                    raise ArtifactError(f"the artifact's element segments are damaged (function {error})") from None
            else:
                encoded = _references(items, places)
            if start is None or encoded is None:
                return None
            references = array("I", encoded)
            self._kept.append(references)
            address = ffi.cast("uint32_t *", references.buffer_info()[0])
            rows.append((segment.mode, segment.table, start, len(encoded), address))
        return ffi.new("wj_element_plan[]", rows)

    def image(self, config: Config, wanted: bool = False) -> Any:
        """The ``wj_image *`` of the first memory that the module defines, NULL if it has none (yet).

        Made when it is `wanted`, at the first call if there is much data, else at the second.
        """
        if self._image is None:
            with self._image_lock:
                if self._image is not None:
                    return self._image
                if not (wanted or self._is_used or len(self._module.wasm) >= MIN_IMAGE_BYTES):
                    self._is_used = True
                    return ffi.NULL
                self._image = self._make_image() if config.memory_init_cow else ffi.NULL
        return self._image

    def _make_image(self) -> Any:
        module = self._module
        memory = module.num_imported_memories
        segments = [s for s in module.data if s.mode == ACTIVE and s.memory == memory and s.data_end > s.data_start]
        size_bytes = sum(segment.data_end - segment.data_start for segment in segments)
        if self.data is None or not segments:
            return ffi.NULL
        type = module.memories[memory]
        starts = [constant(segment.start) or 0 for segment in segments]
        first = min(starts) // mmap.PAGESIZE * mmap.PAGESIZE
        last = max(start + s.data_end - s.data_start for start, s in zip(starts, segments, strict=True))
        end = -(-last // mmap.PAGESIZE) * mmap.PAGESIZE
        largest_bytes = MAX_IMAGE_HOLES_BYTES + MAX_IMAGE_SPAN_PER_BYTE * size_bytes
        if end > type.limits.min << type.page_size_log2 or end - first > largest_bytes:
            return ffi.NULL
        image = lib.wj_image_new(first, end - first)
        if image == ffi.NULL:  # no memfd here
            return ffi.NULL
        image = ffi.gc(image, lib.wj_image_free)
        with memoryview(module.wasm) as contents:
            for start, segment in zip(starts, segments, strict=True):
                piece = contents[segment.data_start : segment.data_end]
                if lib.wj_image_write(image, start, ffi.from_buffer(piece), len(piece)):
                    return ffi.NULL
        return image


def _put_constant_globals(module: Module, layout: abi.VMContextLayout, template: bytearray) -> list[int]:
    """Writes the values of constant globals into the template; returns the positions of the others."""
    others = []
    for position, definition in enumerate(module.global_definitions):
        bits = constant(definition.init)
        if bits is None:
            others.append(position)
        else:
            offset = layout.globals + position * abi.GLOBAL_BYTES
            template[offset : offset + abi.GLOBAL_BYTES] = bits.to_bytes(abi.GLOBAL_BYTES, "little")
    return others


def _references(items: Sequence[ConstExpr], places: Mapping[int, int]) -> list[int] | None:
    """The references of elements as wj_element_plan has them; None if one of them takes evaluation."""
    encoded = []
    for item in items:
        if len(item) != 1:
            return None
        opcode, immediate = item[0]
        if opcode == REF_NULL:
            encoded.append(_NULL_REFERENCE)
        elif opcode == REF_FUNC and immediate is not None:
            encoded.append(places[immediate])
        else:
            return None
    return encoded


def _plan_data(segments: Sequence[DataSegment]) -> Any:
    rows = []
    for segment in segments:
        start = constant(segment.start) if segment.mode == ACTIVE else 0
        if start is None:
            return None
        rows.append((segment.mode, segment.memory, start))
    return ffi.new("wj_data_plan[]", rows)
