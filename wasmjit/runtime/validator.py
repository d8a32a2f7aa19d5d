"""Validation of bodies in C, outside the GIL: what spares the walker in Python nearly all of them.

The validator (``runtime_c/validate.h``) says "valid" or "look again" (`wasm.validate.BodyChecker`). What it knows of
the opcode table is generated (``wasm/validator_rows.py``).
"""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .. import thresholds
from ..processes import importing, num_processors, start_thread
from ..wasm import deadline, table_sources
from ..wasm import types as wt
from ..wasm.body_facts import (
    CONCRETE,
    FEATURES,
    HAS_TAIL_CALLS,
    INDEX_SHIFT,
    IS_INTERPRETABLE,
    BodyFacts,
    usable,
)
from ..wasm.module import Module
from .native import ffi, lib

if TYPE_CHECKING:
    import queue

_NO_TYPE = 0xFFFFFFFF


def _is_of_this_table() -> bool:
    if lib.wj_table_sources_checksum() == table_sources.checksum() != 0:
        return True
    from ..wasm.validator_rows import checksum

    return bool(lib.wj_rows_checksum() == checksum())


# Whoever edits the table and does not build C anew has all bodies walked through.
_IS_OF_THIS_TABLE = _is_of_this_table()


def check_bodies(module: Module, *, parallel: bool) -> bytearray:
    """What is known of each body (a `validate.BodyChecker`); `parallel`: of large modules on all processors that the
    process may use.

    Raises what `deadline.check` raises.
    """
    verdicts = bytearray(len(module.bodies))
    if verdicts and _IS_OF_THIS_TABLE:
        is_shared = parallel and module.code_end - module.code_start >= thresholds.SHARED_CODE_BYTES
        _Run(_Checked(module), verdicts, module).run(num_processors() if is_shared else 1)
    return verdicts


def body_facts(module: Module, first: int = 0) -> list[BodyFacts | None]:
    """All that is known of each body from position `first` on; None where it has to be looked at."""
    count = len(module.bodies)
    checked = _Checked(module)
    facts = ffi.new("wj_body_facts[]", count)
    verdicts = ffi.from_buffer(bytearray(count))
    position = first
    while position < count:
        position = lib.wj_check_bodies(checked.native, position, count, verdicts, facts)
    return [
        BodyFacts(
            num_instructions=found.instruction_count,
            needed=frozenset(name for bit, name in enumerate(FEATURES) if found.needed >> bit & 1),
            has_tail_calls=bool(found.verdict & HAS_TAIL_CALLS),
            deepest_stack=found.deepest_stack,
            is_interpretable=bool(found.verdict & IS_INTERPRETABLE),
        )
        if found.verdict
        else None
        for found in itertools.islice(facts, first, None)
    ]


class _Checked:
    """A module as C reads it."""

    def __init__(self, module: Module) -> None:
        self._held: list[Any] = []  # what `native` points to
        types = _Types(module)
        bodies = array("Q", bytes(16 * len(module.bodies)))
        bodies[::2] = array("Q", [body.start for body in module.bodies])
        bodies[1::2] = array("Q", [body.end for body in module.bodies])
        self.bodies: Sequence[int] = bodies
        is_referenced = bytearray(len(module.functions))
        for function in module.referenced_functions:
            if function < len(is_referenced):
                is_referenced[function] = True
        encode = types.encode
        self.native = ffi.new(
            "wj_checked_module *",
            {
                "wasm": self._pointer("const uint8_t *", module.wasm),
                "wasm_bytes": len(module.wasm),
                "bodies": self._pointer("const uint64_t *", bodies),
                "types": self._pointer("const wj_checked_type *", types.rows),
                "values": self._pointer("const uint32_t *", types.values),
                "functions": self._numbers("const uint32_t *", module.functions),
                "is_referenced": self._pointer("const uint8_t *", is_referenced),
                "tables": self._numbers(
                    "const wj_checked_table *", [x for t in module.tables for x in (encode(t.element), t.address_type)]
                ),
                "memories": self._numbers("const uint32_t *", [memory.address_type for memory in module.memories]),
                "globals": self._numbers(
                    "const wj_checked_global *", [x for g in module.globals for x in (encode(g.content), g.mutable)]
                ),
                "element_segments": self._numbers("const uint32_t *", [encode(e.element) for e in module.elements]),
                "type_count": len(module.types),
                "function_count": len(module.functions),
                "imported_function_count": module.num_imported_functions,
                "table_count": len(module.tables),
                "memory_count": len(module.memories),
                "global_count": len(module.globals),
                "element_segment_count": len(module.elements),
                "data_count": module.data_count or 0,
                "has_data_count": module.data_count is not None,
                "features": usable(module.features),
            },
        )

    def _numbers(self, type: str, numbers: Sequence[int]) -> Any:
        return self._pointer(type, array("I", numbers))

    def _pointer(self, type: str, buffer: Any) -> Any:
        held = ffi.from_buffer(buffer)
        self._held.append(held)
        return ffi.cast(type, held)


class _Types:
    """The types of a module as C has them: value types are codes, or lowest indices of equal types."""

    def __init__(self, module: Module) -> None:
        self._index_of: dict[wt.DefinedType, int] = {}
        for index in deadline.each(len(module.types)):
            self._index_of.setdefault(module.types[index], index)
        self.rows = array("I")
        self.values = array("I")
        for index in deadline.each(len(module.types)):
            self._add(module.types[index], needs_gc=index in module.gc_types)

    def _add(self, type: wt.DefinedType, needs_gc: bool) -> None:
        definition = type.definition
        above = None if definition is None else definition.supertype
        supertype = _NO_TYPE if above is None else self._index_of.get(above, _NO_TYPE)
        first, reference = len(self.values), self._index_of[type] << INDEX_SHIFT | CONCRETE
        if not isinstance(type, wt.FuncType):
            self.rows.extend((first, 0, 0, reference, supertype, False, True))
            return
        params, results = type.params, type.results
        for valtypes in (params, results):
            if max(valtypes, default=0) < wt.NON_NULL:
                self.values.extend(valtypes)
            else:
                self.values.extend(map(self.encode, valtypes))
        self.rows.extend((first, len(params), len(results), reference, supertype, True, needs_gc))

    def encode(self, valtype: int) -> int:
        """A value type as C has it."""
        if not isinstance(valtype, wt.TypeReference):
            return valtype
        return self._index_of[valtype.type] << INDEX_SHIFT | CONCRETE | valtype & wt.NON_NULL


class _Run:
    """Has C look at all bodies of a module."""

    def __init__(self, checked: _Checked, verdicts: bytearray, module: Module) -> None:
        self._checked = checked
        self._first_function = module.num_imported_functions
        self._verdicts = ffi.from_buffer(verdicts)
        self._count = len(verdicts)
        self._parts: Iterator[tuple[int, int]] = iter(())
        self._is_over = False
        self._ended: queue.SimpleQueue[None]  # of each other thread, where there are such

    def run(self, threads: int) -> None:
        """In this thread and `threads` - 1 others, if there can be so many. Raises what `deadline.check` raises."""
        if threads < 2:
            self._look(0, self._count, deadline.check)
            return
        with importing():  # 1 ms, which small modules do not wait for
            import queue
        self._ended = queue.SimpleQueue()
        self._parts = iter(self._cut())  # of a list: threads may take from it
        num_started = 0
        try:
            for _ in range(threads - 1):
                try:
                    start_thread(self._help)
                except (RuntimeError, MemoryError):  # no more threads
                    break
                num_started += 1
            self._work(deadline.check)
            for _ in range(num_started):
                self._ended.get()
        except BaseException:
            self._is_over = True  # they hold what they read, and end within milliseconds
            raise

    def _cut(self) -> list[tuple[int, int]]:
        """Ranges of positions, of about as many bytes each."""
        cut, first = [], 0
        starts = self._checked.bodies[::2]
        while first < self._count:
            end = bisect_left(starts, starts[first] + thresholds.SHARED_PART_BYTES, first + 1)
            cut.append((first, end))
            first = end
        return cut

    def _help(self) -> None:
        try:
            self._work()
        except MemoryError:  # what it has not looked at is looked at again
            pass
        finally:
            self._ended.put(None)

    def _work(self, look: Callable[[int], object] | None = None) -> None:
        for first, end in self._parts:
            self._look(first, end, look)
            if self._is_over:
                return

    def _look(self, first: int, end: int, look: Callable[[int], object] | None) -> None:
        while first < end and not self._is_over:
            if look is not None:
                look(self._first_function + first)
            first = lib.wj_check_bodies(self._checked.native, first, end, self._verdicts, ffi.NULL)
