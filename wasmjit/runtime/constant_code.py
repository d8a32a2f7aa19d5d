"""What takes evaluation when an instance is made: globals that begin with no plain constant, and constant functions.

All of it is done at once, in the order of the module. What comes behind the globals reads immutable ones only, which
have their values then: nobody can tell that a table's initial value or a segment's offset was computed early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import abi
from ..errors import ArtifactError
from ..wasm import types as wt
from ..wasm.const_expr import CALL, GLOBAL_GET
from ..wasm.module import Module
from .func_item import FuncItem
from .interpreter import ConstantInterpreter
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
        """`dynamic_globals`: positions, among the defined globals, of those without a constant value. With `objects`,
        that evaluates the constant functions.

        Raises MemoryError, and ArtifactError for what no module has.
        """
        self._module = module
        self._layout = layout
        self._func_ref_offsets = func_ref_offsets
        first, count = len(module.functions), len(module.constant_functions)
        self._functions = range(first, first + count)
        try:
            steps = [self._global_step(position) for position in dynamic_globals]
        except (LookupError, ValueError) as error:
            raise ArtifactError(f"the artifact's globals are damaged ({error})") from None
        done = {step[1] for step in steps if step[0] == abi.CONSTANT_COMPUTED}
        behind_imports = first - module.num_imported_functions
        rest = [position for position in range(behind_imports, behind_imports + count) if position not in done]
        steps += [(abi.CONSTANT_COMPUTED, position, 0) for position in rest]
        self._steps = ffi.new("wj_constant[]", steps)
        self._objects = objects
        self._interpreter = None
        if count and objects is None:
            self._interpreter = ConstantInterpreter(module, layout, func_ref_offsets)
        self._job = ffi.new("wj_constants *", {"steps": self._steps, "count": len(steps)})  # but for the instance
        self._job.first_constant = behind_imports
        if self._interpreter is not None:
            self._job.interpreter = ffi.cast("wj_interpreter *", self._interpreter.address)

    def _global_step(self, position: int) -> tuple[int, int, int]:
        """How a global gets its value, as wj_constant."""
        module, layout = self._module, self._layout
        definition = module.global_definitions[position]
        ((opcode, index),) = definition.init
        to = layout.globals + position * abi.GLOBAL_BYTES
        if opcode == CALL:
            return (
                abi.CONSTANT_COMPUTED,
                self.position(index) + self._functions.start - module.num_imported_functions,
                to,
            )
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
        """Sets the globals of an instance; the values of the constant functions. Raises Trap, MemoryError."""
        job = ffi.new("wj_constants *", self._job[0])
        job.context = ffi.cast("void *", context)
        count = len(self._functions)
        if not count:
            lib.wj_constants_run(job)
            return ()
        if self._objects is not None:
            kept = self._objects.evaluator()
            job.objects = kept[0]
        job.results = results = ffi.new("uint64_t[]", count)
        self._call(native, record, job)
        if job.failed:
            raise MemoryError("no memory for constant expressions")
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
