"""The interpreter's view of a module: what functions of tier "auto" run in until they are worth compiling.

The interpreter itself is C (``runtime_c/interpret.h``). It translates a function when it is first called, which takes
microseconds, and reports functions and loops that are called or iterated often (`LazyCode.hot`).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from .. import abi, thresholds
from ..config import MIN_GUARD_BYTES, Config
from ..target import has_fused_multiply_add, host_machine
from ..wasm import types as wt
from ..wasm.module import Module
from ..weak_values import WeakMembers
from .native import ffi, lib
from .type_ids import ModuleTypes


def _vector_choice(config: Config) -> int:
    """Which texts vector instructions have (`wasmjit.stencils.vectors.Choice`), as compiled code has them."""
    has_multiply_add = has_fused_multiply_add(host_machine(), config.target, config.cpu, config.cpu_features)
    choices = (config.nan_canonicalization, config.wasm_relaxed_simd_deterministic, has_multiply_add)
    return sum(1 << bit for bit, is_so in enumerate(choices) if is_so)


# Kinds of memories and tables, as C has them (wj_interpreter_plan).
_IS_WIDE, _IS_CHECKED = 1, 2


class Interpreter:
    """Translated functions of one module, for one function table. Thread-safe.

    Must live as long as anything may run in it.
    """

    module: Module
    # What C's struct points to. from_buffer's object holds the bytes in place.
    _wasm: Any
    _bodies: array[int]
    _function_types: array[int]
    _types: array[int]
    _global_types: array[int]
    _func_ref_offsets: array[int]

    def __init__(
        self,
        module: Module,
        types: ModuleTypes,
        layout: abi.VMContextLayout,
        func_ref_offsets: Mapping[int, int],
        stubs: tuple[int, int],
        config: Config,
    ) -> None:
        """`stubs`: where they lie in memory, one per defined function, and their size in bytes. `config`: what
        is counted.

        The module was validated: C is given the bodies that validation says it can take.
        """
        imported = module.num_imported_functions
        self.module = module
        self._wasm = ffi.from_buffer(module.wasm)
        interpretable = module.interpretable or bytes(len(module.bodies))
        self._bodies = array(
            "Q", [body.start if fits else 0 for body, fits in zip(module.bodies, interpretable, strict=True)]
        )
        self._function_types = array("I", module.functions)
        self._held_types = types
        # 0 for one that is none of functions.
        self._types = array(
            "Q",
            [
                address if isinstance(type, wt.FuncType) else 0
                for type, address in zip(module.types, types.signatures, strict=True)
            ],
        )
        self._global_types = array("B", [wt.basic(item.content) for item in module.globals])
        # Memories of other page sizes have no guard page where they end.
        has_guards = config.memory_policy.guarded
        self._memory_kinds = array(
            "B",
            [
                _IS_WIDE * memory.is_64 | _IS_CHECKED * (not has_guards or memory.page_size_log2 != wt.PAGE_SIZE_LOG2)
                for memory in module.memories
            ],
        )
        self._table_kinds = array("B", [_IS_WIDE * table.is_64 for table in module.tables])
        offsets = [layout.imported_functions + abi.POINTER_BYTES * function for function in range(imported)]
        offsets += [func_ref_offsets.get(imported + position, 0) for position in range(len(module.bodies))]
        self._func_ref_offsets = array("I", offsets)
        self._start(layout, stubs, config)

    def _start(self, layout: abi.VMContextLayout, stubs: tuple[int, int], config: Config) -> None:
        """Gives C the plan. Raises MemoryError."""
        module = self.module
        plan = ffi.new(
            "wj_interpreter_plan *",
            {
                "wasm": ffi.cast("const uint8_t *", self._wasm),
                "bodies": _pointer("const uint64_t *", self._bodies),
                "function_types": _pointer("const uint32_t *", self._function_types),
                "types": _pointer("const wj_signature *const *", self._types),
                "global_types": _pointer("const uint8_t *", self._global_types),
                "func_ref_offsets": _pointer("const uint32_t *", self._func_ref_offsets),
                "memory_kinds": _pointer("const uint8_t *", self._memory_kinds),
                "table_kinds": _pointer("const uint8_t *", self._table_kinds),
                "function_count": len(module.bodies),
                "imported_function_count": module.num_imported_functions,
                "imported_global_count": module.num_imported_globals,
                "imported_functions_offset": layout.imported_functions,
                "imported_globals_offset": layout.imported_globals,
                "globals_offset": layout.globals,
                "memories_offset": layout.memories,
                "tables_offset": layout.tables,
                "has_memory": bool(module.memories),
                "guard_bytes": MIN_GUARD_BYTES,
                "budget": thresholds.INTERPRETER_BUDGET,
                "patient": thresholds.INTERPRETER_IS_PATIENT,
                "stubs_address": stubs[0],
                "stub_bytes": stubs[1],
                "canonical_nans": config.nan_canonicalization,
                "vector_choice": _vector_choice(config),
                "counts_fuel": config.consume_fuel,
                "looks_at_epochs": config.epoch_interruption,
                "has_stencils": thresholds.STENCILS,
                "register_seed": thresholds.REGISTER_SEED,
            },
        )
        native = lib.wj_interpreter_new(plan)
        if native == ffi.NULL:
            raise MemoryError
        self._native = ffi.gc(native, lib.wj_interpreter_free)
        self.address = int(ffi.cast("uintptr_t", native))
        _live.add(self)

    def find(self, pc: int) -> tuple[int, int] | None:
        """The function of a backtrace's address, and the offset in the module; None if it is not one of its."""
        native = self._native
        offset = ffi.new("uint32_t *")
        function = lib.wj_interpreter_find(native, pc, offset)
        return None if function == abi.NO_FUNCTION else (function, offset[0])

    def tell(self, position: int) -> None:
        """There is code that whoever runs a function goes on in where it asks: not at the next interval, but now."""
        native = self._native
        lib.wj_interpreter_tell(native, position)

    def report(self) -> list[tuple[int, float]]:
        """What translating has made of each function, by position: bytes of native code (stencils), 0 if it is
        interpreted, and the seconds that took, 0 if it was not called."""
        native = self._native
        count = len(self._bodies)
        found = ffi.new("wj_translation[]", max(count, 1))
        lib.wj_interpreter_report(native, found)
        return [(item.code_bytes, item.nanoseconds * 1e-9) for item in ffi.unpack(found, count)]

    def measure(self, translate_all: bool = False) -> dict[str, int]:
        """For measurements, while nothing runs: what translations came to (`wj_translated_module`).

        With `translate_all`, those functions are translated that are not, and that time is counted.
        """
        native = self._native
        total = ffi.new("wj_translated_module *")
        (lib.wj_interpreter_translate_all if translate_all else lib.wj_interpreter_measure)(native, total)
        return {name: int(getattr(total, name)) for name, _ in ffi.typeof("wj_translated_module").fields or ()}


_live: WeakMembers[Interpreter] = WeakMembers()


def lookup_interpreted(pc: int) -> tuple[Module, int, int] | None:
    """The module and function of a backtrace's address, and the offset in the module (0: the function's start)."""
    for interpreter in _live:
        found = interpreter.find(pc)
        if found is not None:
            return interpreter.module, *found
    return None


def _pointer(type: str, items: array[int]) -> object:
    return ffi.cast(type, items.buffer_info()[0])
