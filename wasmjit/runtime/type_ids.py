"""What C knows of function types: signatures (runtime_c/signature.c), whose ids call_indirect compares.

Equal types have one signature in the whole process while somebody holds it, and its memory comes back then: a module
holds those of its types (`ModuleTypes`), a function in Python its own (`Signature`), and C those of what it can call.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ..wasm.recursion import group_of_serial
from ..wasm.types import (
    NON_NULL,
    SIGNATURE_LETTERS,
    DefinedType,
    FuncType,
    RecursionGroup,
    TypeReference,
    is_defaultable,
    non_null,
    reference_to,
    signature_letters,
)
from .native import (
    GroupMember,
    ffi,
    group_signatures,
    hold_signatures,
    lib,
    signature,
    signature_group,
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


Node = TypeVar("Node")


def _inner_first(
    root: Node, inner: Callable[[Node], Iterable[Node]], is_done: Callable[[Node], bool]
) -> Iterator[Node]:
    """What is not done of `root` and of all that it refers to, each after what it refers to: it is to be done when the
    next one is asked for. No recursion: types refer to types to any depth."""
    waiting = [root]
    while waiting:
        present = waiting[-1]
        missing = [] if is_done(present) else [node for node in inner(present) if not is_done(node)]
        if missing:
            waiting.extend(missing)
            continue
        waiting.pop()
        if not is_done(present):
            yield present


class _SignatureMaker:
    """Makes signatures of types that have references to functions of one type, or that are never null, or that are of
    recursion groups."""

    def __init__(self) -> None:
        self._made: dict[FuncType | RecursionGroup, list[Signature]] = {}

    def of(self, type: DefinedType) -> Signature:
        """The signature of `type`, after those that it refers to. Raises MemoryError, WasmError."""
        for node in _inner_first(_node(type), _refers_to, self._made.__contains__):
            self._made[node] = self._make_group(node) if isinstance(node, RecursionGroup) else [self._make(node)]
        return self._found(type)

    def _found(self, type: DefinedType) -> Signature:
        return self._made[_node(type)][0 if type.definition is None else type.definition.position]

    def _pointer(self, valtype: int) -> Any:
        """Of what a reference is to; NULL for any other value type."""
        type = _type_of(valtype)
        return ffi.NULL if type is None else self._found(type).pointer

    def _make(self, type: FuncType) -> Signature:
        values = (*type.params, *type.results)
        letters = signature_letters(type.params), signature_letters(type.results)
        types = [self._pointer(t) for t in values]
        return _made(signature_with_references(*letters, types, [not is_defaultable(t) for t in values]))

    def _make_group(self, group: RecursionGroup) -> list[Signature]:
        return [_made(pointer) for pointer in group_signatures(group.serial, [self._member(t) for t in group.types])]

    def _member(self, type: DefinedType) -> GroupMember:
        """Of types of other kinds than functions C knows that they are there, and their supertypes."""
        definition = type.definition
        assert definition is not None
        group, above = definition.group, definition.supertype
        params, results = (type.params, type.results) if isinstance(type, FuncType) else ((), ())
        values = (*params, *results)
        siblings = [_position_in(group, _type_of(t)) for t in values]
        super_sibling = _position_in(group, above)
        return GroupMember(
            signature_letters(params),
            signature_letters(results),
            [ffi.NULL if sibling else self._pointer(t) for t, sibling in zip(values, siblings, strict=True)],
            siblings,
            [not is_defaultable(t) for t in values],
            ffi.NULL if above is None or super_sibling else self._found(above).pointer,
            super_sibling,
            definition.is_final,
        )


def _node(type: DefinedType) -> FuncType | RecursionGroup:
    """What is made at once: the types of a group."""
    if type.definition is not None:
        return type.definition.group
    assert isinstance(type, FuncType)
    return type


def _type_of(valtype: int) -> DefinedType | None:
    """The type of what a reference is to, if it is one type."""
    return valtype.type if isinstance(valtype, TypeReference) else None


def _position_in(group: RecursionGroup, type: DefinedType | None) -> int:
    """As C is told: 0 for a type that is not of the group."""
    if type is None or type.definition is None or type.definition.group is not group:
        return 0
    return type.definition.position + 1


def _refers_to(node: FuncType | RecursionGroup) -> Iterator[FuncType | RecursionGroup]:
    """What has to be made before."""
    for type in node.types if isinstance(node, RecursionGroup) else (node,):
        values = (*type.params, *type.results) if isinstance(type, FuncType) else ()
        for inner in map(_type_of, values):
            if inner is not None and _node(inner) is not node:
                yield _node(inner)
        above = None if type.definition is None else type.definition.supertype
        if above is not None and _node(above) is not node:
            yield _node(above)


def signature_of(type: DefinedType) -> Signature:
    """The signature of `type`, which functions or objects have. Raises MemoryError, WasmError."""
    if isinstance(type, FuncType) and type.definition is None:
        return _signature(type.params, type.results)
    return _SignatureMaker().of(type)


def is_of_type(id: int, type: DefinedType) -> bool:
    """Whether the type with an id, which somebody holds, is `type` or was declared to be below it."""
    return bool(lib.wj_type_matches_id(id, _SignatureMaker().of(type).id))


def type_of_id(id: int) -> FuncType:
    """The type with the `id` in a func-ref, whose owner holds it, and keeps types of recursion groups."""
    found = defined_type_of_id(id)
    assert isinstance(found, FuncType)
    return found


def defined_type_of_id(id: int) -> DefinedType:
    """As `type_of_id`, of functions and of objects."""
    root = signature_of_id(id)
    made: dict[int, DefinedType] = {}  # by address, which what is held above keeps
    for present in _inner_first(root, _parts_referred_to, lambda pointer: _address(pointer) in made):
        made[_address(present)] = _type_of_parts(present, made)
    return made[_address(root)]


def _parts_referred_to(pointer: Any) -> list[Any]:
    if signature_group(pointer)[0]:
        return []
    return [inner for inner in signature_parts(pointer)[2] if inner != ffi.NULL]


def _type_of_parts(pointer: Any, made: Mapping[int, DefinedType]) -> DefinedType:
    serial, position = signature_group(pointer)
    if serial:
        return group_of_serial(serial).types[position]
    letters, param_count, types, never_null = signature_parts(pointer)
    values = [
        _valtype(letter, None if t == ffi.NULL else made[_address(t)], flag)
        for letter, t, flag in zip(letters, types, never_null, strict=True)
    ]
    return FuncType(tuple(values[:param_count]), tuple(values[param_count:]))


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


def _valtype(letter: str, type: DefinedType | None, never_null: bool) -> int:
    if type is not None:
        return reference_to(type, nullable=not never_null)
    return non_null(_VALTYPES[letter]) if never_null else _VALTYPES[letter]


class ModuleTypes:
    """The ids and the signatures' addresses of a module's types, by index: good as long as this object lives."""

    __slots__ = ("_held", "_made", "ids", "signatures")

    def __init__(self, types: Sequence[DefinedType]) -> None:
        """Raises MemoryError, WasmError."""
        self.ids = array("I", bytes(4 * len(types)))
        self.signatures = array("Q")
        self._held: list[Any] = []
        self._made: list[Signature] | None = None
        plain = [type for type in types if isinstance(type, FuncType) and type.definition is None]
        if len(plain) < len(types) or any(max((*t.params, *t.results), default=0) >= NON_NULL for t in plain):
            maker = _SignatureMaker()
            self._made = [maker.of(type) for type in types]
            self.ids = array("I", [made.id for made in self._made])
            self.signatures = array("Q", [made.address for made in self._made])
            return
        for start in range(0, len(types), _PIECE):
            piece = plain[start : start + _PIECE]
            values = [some for type in piece for some in (type.params, type.results)]
            letters = b"\0".join(map(bytes, [*values, ()])).translate(_LETTERS)
            with ffi.from_buffer("uint32_t[]", self.ids) as ids:
                held = hold_signatures(letters, len(piece), ids + start)
            self._held.append(held)
            self.signatures.frombytes(ffi.buffer(held, self.signatures.itemsize * len(piece)))

    def signature(self, index: int, type: FuncType) -> Signature:
        """The signature of the type at an index, which is `type`."""
        return signature_of(type) if self._made is None else self._made[index]
