"""InstancePlan: what is the same for all instances of a module, worked out once and in the form that C takes.

Constant expressions are nearly always a plain constant or a function: then C runs the segments
(``runtime_c/instance.c``) and constant globals are part of the template. For the others there is `constant_code.py`,
and `instance.py`, which looks up the values.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from .. import abi, processes
from ..artifact import DataFile
from ..config import Config
from ..errors import ArtifactError
from ..wasm.const_expr import REF_FUNC, REF_NULL, constant
from ..wasm.initial_data import DROPPED
from ..wasm.module import ACTIVE, ConstExpr, ElementSegment, FunctionItems, Module
from .constant_code import ConstantCode
from .native import ffi, lib
from .object_types import ObjectTypes, has_objects

# Less than this is copied for the first instance, which is often the only one: an image costs some system calls and a
# file descriptor. Where contents are mapped from the file they are in (MIN_MAPPED_BYTES), there is nothing to make.
MIN_IMAGE_BYTES = 256 << 10


class InitialData:
    """The data segments of a loaded module, merged if possible, and their bytes, in place as long as this lives."""

    __slots__ = ("address", "contents", "file", "merged", "segments")

    def __init__(self, module: Module, file: DataFile | None = None) -> None:
        """`file`: where the bytes are too, if they are those of an artifact."""
        # By position; those that are dropped at once are left out.
        self.segments = [(at, segment) for at, segment in enumerate(module.data) if segment is not DROPPED]
        self.merged = None if module.merged_data is None else module.data[module.merged_data]
        self.file = None if self.merged is None else file
        self.contents = module.wasm
        size_bytes = len(self.contents)
        if any(not 0 <= segment.data_start <= segment.data_end <= size_bytes for _, segment in self.segments):
            raise ArtifactError("the artifact's data segments are damaged")  # C would read behind the end
        # Not kept: the garbage collector breaks cycles at a memoryview although cffi still uses its buffer, and
        # releasing that crashes.
        with ffi.from_buffer(self.contents) as pointer:
            self.address = int(ffi.cast("uintptr_t", pointer))


class InstancePlan:
    """How to instantiate one module. Thread-safe.

    `elements` and `data` are C's arrays of segments, of data the active ones, or None if `instance.py` has to evaluate
    some of them.
    `constants` evaluates what is not in the template; None if there is no such.
    """

    def __init__(
        self,
        module: Module,
        layout: abi.VMContextLayout,
        func_ref_offsets: Mapping[int, int],
        template: bytearray,
        data: InitialData,
        type_ids: array[int],
    ) -> None:
        self._module = module
        self._data = data
        self._kept: list[object] = []  # what C's structs point to
        self.memory_types = module.memories[module.num_imported_memories :]
        self.table_types = module.tables[module.num_imported_tables :]
        self.table_inits = module.table_inits
        dynamic_globals = _put_constant_globals(module, layout, template)
        self.objects: ObjectTypes | None = None
        if has_objects(module):
            self.objects = ObjectTypes(module, type_ids)
        self.constants: ConstantCode | None = None
        if dynamic_globals or module.constant_functions:
            self.constants = ConstantCode(module, layout, func_ref_offsets, dynamic_globals, self.objects)
        self.elements = self._plan_elements(module.elements, layout, func_ref_offsets)
        self.data, self.num_data = _plan_data(data)
        self.num_elements = len(module.elements)
        self._image: Any = None
        self._is_used = False
        self._image_lock = processes.lock()  # a finalizer may make an instance, too
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
        first = layout.imported_functions | abi.IMPORTED_REFERENCE
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
                is_ready = self._data.file is not None or len(self._data.contents) >= MIN_IMAGE_BYTES
                if not (wanted or self._is_used or is_ready):
                    self._is_used = True
                    return ffi.NULL
                self._image = self._make_image() if config.memory_init_cow else ffi.NULL
        return self._image

    def _make_image(self) -> Any:
        """Of merged data segments (wasm/initial_data.py); NULL for others, and where the system refuses."""
        data = self._data
        if data.merged is None:
            return ffi.NULL
        start, size_bytes = constant(data.merged.start), data.merged.data_end
        file, data.file = data.file, None
        image = ffi.NULL
        if file is not None:
            image = lib.wj_image_of_file(file.descriptor, file.offset_bytes, start, size_bytes)
        if image == ffi.NULL:
            image = lib.wj_image_new(start, size_bytes, ffi.cast("void *", data.address))
        return image if image == ffi.NULL else ffi.gc(image, lib.wj_image_free)


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
            encoded.append(abi.NULL_REFERENCE)
        elif opcode == REF_FUNC:
            encoded.append(places[immediate])
        else:
            return None
    return encoded


def _plan_data(data: InitialData) -> tuple[Any, int]:
    """C's array of active segments, and their number; None if one takes evaluation."""
    rows = []
    for position, segment in data.segments:
        if segment.mode == ACTIVE:
            start = constant(segment.start)
            if start is None:
                return None, 1
            rows.append((position, segment.memory, start, segment is data.merged))
    return ffi.new("wj_data_plan[]", rows), len(rows)
