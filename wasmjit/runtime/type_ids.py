"""What C knows of function types: signatures (runtime_c/signature.c), whose ids call_indirect compares.

Equal types have one signature in the whole process while somebody holds it, and its memory comes back then: a module
holds those of its types (`ModuleTypes`), a function in Python its own (`Signature`), and C those of what it can call.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..wasm.types import (
    NON_NULL,
    SIGNATURE_LETTERS,
    FunctionReference,
    FuncType,
    is_defaultable,
    non_null,
    reference_to,
    signature_letters,
)
from .native import (
    ffi,
    hold_signatures,
    lib,
    signature,
    signature_of_id,
    signature_parts,
    signature_with_references,
)

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
    if max((*params, *results), default=0) < NON_NULL:
        return _made(signature(signature_letters(params), signature_letters(results)))
    return _SignatureMaker().of(FuncType(params, results))


class _SignatureMaker:
    """Makes signatures of types that have references to functions of one type, or that are never null."""

    def __init__(self) -> None:
        self._made: dict[FuncType, Signature] = {}

    def of(self, type: FuncType) -> Signature:
        """The signature of `type`, after those that it refers to. Raises MemoryError, WasmError."""
        waiting = [type]  # no recursion: types refer to types to any depth
        while waiting:
            present = waiting[-1]
            inner = [t.type for t in (*present.params, *present.results) if isinstance(t, FunctionReference)]
            missing = [t for t in inner if t not in self._made]
            if missing:
                waiting.extend(missing)
                continue
            waiting.pop()
            if present not in self._made:
                self._made[present] = self._make(present)
        return self._made[type]

    def _make(self, type: FuncType) -> Signature:
        values = (*type.params, *type.results)
        types = [self._made[t.type].pointer if isinstance(t, FunctionReference) else ffi.NULL for t in values]
        letters = signature_letters(type.params), signature_letters(type.results)
        return _made(signature_with_references(*letters, types, [not is_defaultable(t) for t in values]))


def signature_of(type: FuncType) -> Signature:
    """The signature of `type`. Raises MemoryError, WasmError."""
    return _signature(type.params, type.results)


def type_of_id(id: int) -> FuncType:
    """The type with the `id` in a func-ref, whose owner holds it."""
    root = signature_of_id(id)
    made: dict[int, FuncType] = {}  # by address, which what is held above keeps
    waiting = [root]
    while waiting:
        present = waiting[-1]
        letters, param_count, types, never_null = signature_parts(present)
        missing = [t for t in types if t != ffi.NULL and _address(t) not in made]
        if missing:
            waiting.extend(missing)
            continue
        waiting.pop()
        values = [
            _valtype(letter, None if t == ffi.NULL else made[_address(t)], flag)
            for letter, t, flag in zip(letters, types, never_null, strict=True)
        ]
        made[_address(present)] = FuncType(tuple(values[:param_count]), tuple(values[param_count:]))
    return made[_address(root)]


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


def _valtype(letter: str, type: FuncType | None, never_null: bool) -> int:
    if type is not None:
        return reference_to(type, nullable=not never_null)
    return non_null(_VALTYPES[letter]) if never_null else _VALTYPES[letter]


class ModuleTypes:
    """The ids and the signatures' addresses of a module's types, by index: good as long as this object lives."""

    __slots__ = ("_held", "_made", "ids", "signatures")

    def __init__(self, types: Sequence[FuncType]) -> None:
        """Raises MemoryError, WasmError."""
        self.ids = array("I", bytes(4 * len(types)))
        self.signatures = array("Q")
        self._held: list[Any] = []
        self._made: list[Signature] | None = None
        if any(max((*type.params, *type.results), default=0) >= NON_NULL for type in types):
            maker = _SignatureMaker()
            self._made = [maker.of(type) for type in types]
            self.ids = array("I", [made.id for made in self._made])
            self.signatures = array("Q", [made.address for made in self._made])
            return
        for start in range(0, len(types), _PIECE):
            piece = types[start : start + _PIECE]
            values = [some for type in piece for some in (type.params, type.results)]
            letters = b"\0".join(map(bytes, [*values, ()])).translate(_LETTERS)
            with ffi.from_buffer("uint32_t[]", self.ids) as ids:
                held = hold_signatures(letters, len(piece), ids + start)
            self._held.append(held)
            self.signatures.frombytes(ffi.buffer(held, self.signatures.itemsize * len(piece)))

    def signature(self, index: int, type: FuncType) -> Signature:
        """The signature of the type at an index, which is `type`."""
        return signature_of(type) if self._made is None else self._made[index]
