"""Random programs with objects of garbage collection, as `differential` runs them: beside the wasmtime package.

    python -m tests.fuzz.objects [--count N] [--seed S] [--tiers speed,none,...]

That package aborts the process when it is asked for a type of references to objects: functions and globals that have
some are not looked at from outside, but called and read by those that have none.
"""

from __future__ import annotations

import sys
from typing import Any

import wasmjit
from tests.fuzz import differential
from wasmjit.wasm.types import FUNCREF, NUMERIC_TYPES

OPTIONS = {
    "gc-enabled": "true",
    "simd-enabled": "false",
    "relaxed-simd-enabled": "false",
    "min-memories": "0",
    "max-memories": "1",
    "memory64-enabled": "false",
    "min-types": "8",
    "max-types": "20",
    "max-instructions": "400",
    "max-funcs": "12",
}
HEAP_BYTES = 64 << 20  # most that the objects of a store may take, or any of its memories
_PLAIN = NUMERIC_TYPES | {FUNCREF}  # of an externref that was an object that package gives None


Step = differential.Step
_differences = differential.differences


def differences(
    ours: list[list[Step]], theirs: list[list[Step]], memory_after_trap: bool
) -> list[tuple[list[Step], list[Step]]]:
    """As in `differential`; how much memory objects may take is not said."""
    if any("ALLOCATION_TOO_LARGE" in step for steps in (*ours, *theirs) for step in steps):
        return []
    return _differences(ours, theirs, memory_after_trap)


def new_store(api: Any, engine: Any) -> Any:
    """As in `differential`; random lengths of arrays would take gigabytes."""
    store = api.Store(engine)
    store.set_limits(memory_size=HEAP_BYTES, **({"gc_heap_size": HEAP_BYTES} if api is wasmjit else {}))
    return store


def begin() -> None:
    """Has `differential` make such programs."""
    differential.differences = differences
    differential.new_store = new_store
    differential.SMITH_OPTIONS.update(OPTIONS)
    differential.PROPOSALS = (*differential.PROPOSALS, "wasm_gc", "wasm_function_references")
    differential.can_be_looked_at = _PLAIN.issuperset


if __name__ == "__main__":
    begin()
    sys.exit(differential.main())
