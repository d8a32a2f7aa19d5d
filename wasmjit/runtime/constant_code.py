"""What takes evaluation when an instance is made: globals that begin with no plain constant, and constant functions.
C does it (runtime_c/constants.c), in every tier.

All of it is done at once, in the order of the module. What comes behind the globals reads immutable ones only, which
have their values then: nobody can tell that a table's initial value or a segment's offset was computed early.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from .. import abi
from ..errors import ArtifactError
from ..wasm import types as wt
from ..wasm.const_expr import CALL, GLOBAL_GET
from ..wasm.module import Module
from .func_item import FuncItem
from .native import ffi, lib
from .native_store import NativeStore
from .object_types import ObjectTypes
from .store import StoreRecord
from .trampolines import ENTER
from .type_ids import signature_of
from .typed import TypedFunc

_NOTHING = wt.FuncType((), ())
_CODE = lib.wj_constants_code()


class ConstantCode:
    """The evaluation for instances of one module. Thread-safe."""

    def __init__(
        self,
        module: Module,
        layout: abi.VMContextLayout,
        func_ref_offsets: Mapping[int, int],
        dynamic_globals: Sequence[int],
        objects: ObjectTypes | None,
    ) -> None:
        """`dynamic_globals`: positions, among the defined globals, of those without a constant value. `objects`: the
        types of those that constant functions may make.

        Raises ArtifactError for what no module has.
        """
        self._module = module
        self._layout = layout
        self._func_ref_offsets = func_ref_offsets
        self._kept: list[Any] = [objects]
        functions = module.constant_functions
        first = len(module.functions)
        self._functions = range(first, first + len(functions))
        try:
            steps = [self._global_step(position) for position in dynamic_globals]
        except (LookupError, ValueError) as error:
            raise ArtifactError(f"the artifact's globals are damaged ({error})") from None
        done = {step[1] for step in steps if step[0] == abi.CONSTANT_COMPUTED}
        steps += [(abi.CONSTANT_COMPUTED, at, 0) for at in range(len(functions)) if at not in done]
        self._most_operands = max([function.end - function.start for function in functions], default=0)
        job = {"steps": self._new("wj_constant[]", steps), "count": len(steps)}
        if functions:
            job["code"] = self._code(objects)
        self._job = ffi.new("wj_constants *", job)  # but for the instance

    def _new(self, type: str, items: Any) -> Any:
        made = ffi.new(type, items)
        self._kept.append(made)
        return made

    def _code(self, objects: ObjectTypes | None) -> Any:
        module, layout = self._module, self._layout
        imported = module.num_imported_functions
        offsets = [layout.imported_functions + abi.POINTER_BYTES * function for function in range(imported)]
        offsets += [self._func_ref_offsets.get(function, 0) for function in range(imported, len(module.functions))]
        sizes = [function.end - function.start for function in module.constant_functions]
        return self._new(
            "wj_constant_code *",
            {
                "types": ffi.NULL if objects is None else objects.native,
                "bodies": self._new("uint8_t[]", module.bytes_of_constants()),
                "starts": self._new("uint32_t[]", list(itertools.accumulate(sizes, initial=0))),
                "global_bytes": self._new("uint8_t[]", [_value_bytes(item.content) for item in module.globals]),
                "imported_global_count": module.num_imported_globals,
                "globals_offset": layout.globals,
                "imported_globals_offset": layout.imported_globals,
                "imported_function_count": imported,
                "func_ref_offsets": self._new("uint32_t[]", offsets),
            },
        )

    def _global_step(self, position: int) -> tuple[int, int, int]:
        """How a global gets its value, as wj_constant."""
        module, layout = self._module, self._layout
        definition = module.global_definitions[position]
        ((opcode, index),) = definition.init
        to = layout.globals + position * abi.GLOBAL_BYTES
        if opcode == CALL:
            return abi.CONSTANT_COMPUTED, self.position(index), to
        if opcode == GLOBAL_GET:
            is_wide = module.globals[index].content == wt.V128
            if index < module.num_imported_globals:
                kind = abi.CONSTANT_IMPORTED_WIDE if is_wide else abi.CONSTANT_IMPORTED_WORD
                return kind, layout.imported_globals + index * abi.POINTER_BYTES, to
            at = layout.globals + (index - module.num_imported_globals) * abi.GLOBAL_BYTES
            return (abi.CONSTANT_WIDE if is_wide else abi.CONSTANT_WORD), at, to
        if index < module.num_imported_functions:
            return abi.CONSTANT_WORD, layout.imported_functions + index * abi.POINTER_BYTES, to
        return abi.CONSTANT_ADDRESS, self._func_ref_offsets[index], to

    def position(self, function: int) -> int:
        """The position of a constant function among them. Raises ArtifactError."""
        if function not in self._functions:
            raise ArtifactError(f"the artifact's constant expressions are damaged (function {function})")
        return function - self._functions.start

    def run(self, native: NativeStore, record: StoreRecord, context: int) -> Sequence[int]:
        """Sets the globals of an instance; the values of the constant functions. Raises Trap."""
        job = ffi.new("wj_constants *", self._job[0])
        job.context = ffi.cast("void *", context)
        count = len(self._functions)
        if not count:
            lib.wj_constants_run(job)
            return ()
        job.results = results = ffi.new("uint64_t[]", count)
        job.stack = stack = ffi.new("uint64_t[]", 2 * self._most_operands)
        self._call(native, record, job)
        del stack  # until then
        values: list[int] = ffi.unpack(results, count)
        return values

    @staticmethod
    def _call(_native: NativeStore, record: StoreRecord, job: Any) -> None:
        """Through the gate, as a start function is called: constant instructions may trap, and calls be interrupted."""
        signature = signature_of(_NOTHING)
        reference = ffi.new("uint64_t[]", [_CODE, int(ffi.cast("uintptr_t", job)), signature.id, 0])
        address = int(ffi.cast("uintptr_t", reference))
        enter = record.engine._trampolines.find(ENTER, _NOTHING)
        TypedFunc._make(record, FuncItem(address, _NOTHING, signature, enter), 0)()


def _value_bytes(valtype: int) -> int:
    return 4 if valtype in (wt.I32, wt.F32) else 16 if valtype == wt.V128 else 8
