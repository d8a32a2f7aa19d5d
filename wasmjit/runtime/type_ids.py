"""What C knows of function types, the same for the whole process: ids, which call_indirect compares, and signatures."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from ..wasm.types import FuncType, signature_letters
from .native import ffi, signature

# No lock: a finalizer may ask for an id in the middle of anything.
_numbers = itertools.count(1)  # 0 stays free: it never equals the id that a zeroed func-ref holds
# By parameters and results: a pair of tuples is looked up in a third of the time that a FuncType takes.
_Key = tuple[tuple[int, ...], tuple[int, ...]]
_ids: dict[_Key, int] = {}
_types: dict[int, FuncType] = {}


def type_id(type: FuncType) -> int:
    """The id of `type`, at least 1, the same for the life of the process."""
    key = type.params, type.results
    found = _ids.get(key)
    if found is None:
        number = next(_numbers)
        _types[number] = type
        found = _ids.setdefault(key, number)
    return found


def type_of_id(id: int) -> FuncType:
    """The type that `type_id` gave `id` for."""
    return _types[id]


class Signature(NamedTuple):
    """The C record of a signature (``wj_signature *``) and its address."""

    pointer: Any
    address: int


_signatures: dict[_Key, Signature] = {}


def signature_of(type: FuncType) -> Signature:
    """The signature of `type`. Raises MemoryError."""
    key = type.params, type.results
    found = _signatures.get(key)
    if found is None:
        pointer = signature(signature_letters(type.params), signature_letters(type.results))
        found = _signatures.setdefault(key, Signature(pointer, int(ffi.cast("uintptr_t", pointer))))
    return found
