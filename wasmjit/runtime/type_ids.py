"""What C knows of function types: signatures (runtime_c/signature.c), whose ids call_indirect compares.

Equal types have one signature in the whole process while somebody holds it, and its memory comes back then: a module
holds those of its types (`ModuleTypes`), a function in Python its own (`Signature`), and C those of what it can call.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..wasm.types import SIGNATURE_LETTERS, FuncType, signature_letters
from .native import ffi, hold_signatures, lib, signature, signature_letters_of

_VALTYPES = {letter: valtype for valtype, letter in SIGNATURE_LETTERS.items()}
_LETTERS = bytes(ord(SIGNATURE_LETTERS.get(code, "\0")) for code in range(256))  # of value types, for bytes.translate
# How many types C is given at a time: Ctrl-C is looked at in between.
_PIECE = 4096


class Signature(NamedTuple):
    """A signature, held as long as this object lives: ``wj_signature *``, its address, and the type's id."""

    pointer: Any
    address: int
    id: int


def _made(pointer: Any) -> Signature:
    return Signature(pointer, int(ffi.cast("uintptr_t", pointer)), lib.wj_signature_id(pointer))


# Types of host functions come again with each Store. Looked up by tuples: hashing a FuncType takes three times as long.
@functools.lru_cache(maxsize=128)
def _signature(params: tuple[int, ...], results: tuple[int, ...]) -> Signature:
    return _made(signature(signature_letters(params), signature_letters(results)))


def signature_of(type: FuncType) -> Signature:
    """The signature of `type`. Raises MemoryError, WasmError."""
    return _signature(type.params, type.results)


def type_of_id(id: int) -> FuncType:
    """The type with the `id` in a func-ref, whose owner holds it."""
    params, results = signature_letters_of(id)
    return FuncType(tuple([_VALTYPES[letter] for letter in params]), tuple([_VALTYPES[letter] for letter in results]))


class ModuleTypes:
    """The ids and the signatures' addresses of a module's types, by index: good as long as this object lives."""

    __slots__ = ("_held", "ids", "signatures")

    def __init__(self, types: Sequence[FuncType]) -> None:
        """Raises MemoryError, WasmError."""
        self.ids = array("I", bytes(4 * len(types)))
        self.signatures = array("Q")
        self._held: list[Any] = []
        for start in range(0, len(types), _PIECE):
            piece = types[start : start + _PIECE]
            values = [some for type in piece for some in (type.params, type.results)]
            letters = b"\0".join(map(bytes, [*values, ()])).translate(_LETTERS)
            with ffi.from_buffer("uint32_t[]", self.ids) as ids:
                held = hold_signatures(letters, len(piece), ids + start)
            self._held.append(held)
            self.signatures.frombytes(ffi.buffer(held, self.signatures.itemsize * len(piece)))
