"""Process-wide interning of function types: equal types have equal ids, so call_indirect compares one u32."""

from __future__ import annotations

import threading

from ..wasm.types import FuncType

_lock = threading.Lock()
_ids: dict[FuncType, int] = {}
# 0 stays free: it never equals the id that a zeroed func-ref holds.
_types: list[FuncType | None] = [None]


def type_id(type: FuncType) -> int:
    """The id of `type`, at least 1, the same for the life of the process."""
    found = _ids.get(type)
    if found is None:
        with _lock:
            found = _ids.get(type)
            if found is None:
                found = len(_types)
                _types.append(type)
                _ids[type] = found
    return found


def type_of_id(id: int) -> FuncType:
    """The type that `type_id` gave `id` for."""
    type = _types[id]
    assert type is not None, "type id 0 names no type"
    return type
