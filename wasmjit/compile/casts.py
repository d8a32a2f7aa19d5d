"""Tests and casts within the any hierarchy: no branches, and no calls.

A type that is final is that of the descriptor's offset in the object; another one is in the display of the descriptor,
at its depth. Through null, zeros are read. What may be no object is taken for null then: it has one of the low bits.
"""

from __future__ import annotations

from .. import abi
from ..wasm.types import (
    ANYREF,
    ARRAYREF,
    EQREF,
    I31REF,
    NULLREF,
    STRUCTREF,
    TypeReference,
    is_defaultable,
    matches,
    non_null,
    nullable,
)
from . import calls, heap
from .calls import CallingEmitter

_KINDS = {STRUCTREF: abi.GC_STRUCT, ARRAYREF: abi.GC_ARRAY}


def fits(lowering: CallingEmitter, reference: str, from_: int, target: int) -> str:
    """Whether a reference of type `from_` is one of type `target`: an i1."""
    wanted = nullable(target)
    name = lowering.fresh()
    emit = lowering.lines.append
    if matches(non_null(from_), non_null(target)):
        if is_defaultable(target):
            return "true"
        emit(f"  {name} = icmp ne ptr {reference}, null")
        return name
    if wanted == NULLREF:
        found = "false"
    elif isinstance(wanted, TypeReference):
        found = _is_of_type(lowering, reference, from_, wanted)
    elif wanted in _KINDS:
        found = _is_of_kind(lowering, reference, from_, wanted)
    else:
        found = _has_bits(lowering, reference, wanted)
    if not is_defaultable(target):
        return found
    emit(f"  {name}n = icmp eq ptr {reference}, null")
    if found == "false":
        return f"{name}n"
    emit(f"  {name} = or i1 {name}n, {found}")
    return name


def _has_bits(lowering: CallingEmitter, reference: str, wanted: int) -> str:
    """What the low bits tell, without null."""
    name = lowering.fresh()
    value = heap.word(lowering, reference)
    if wanted == I31REF:
        lowering.lines.append(f"  {name} = trunc i64 {value} to i1")
    else:
        assert wanted in (EQREF, ANYREF)  # all but what is of the host
        lowering.lines.append(
            f"  {name}b = and i64 {value}, {abi.WORD_KIND_MASK}\n  {name}h = icmp ne i64 {name}b, {abi.WORD_HOST}\n"
            f"  {name}z = icmp ne i64 {value}, 0\n  {name} = and i1 {name}h, {name}z"
        )
    return name


def _object_or_null(lowering: CallingEmitter, reference: str, from_: int) -> str:
    """The reference, if it is to an object; else null."""
    if matches(from_, STRUCTREF) or matches(from_, ARRAYREF):
        return reference
    value = heap.word(lowering, reference)
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name}b = and i64 {value}, {abi.WORD_KIND_MASK}\n  {name}o = icmp eq i64 {name}b, 0\n"
        f"  {name} = select i1 {name}o, ptr {reference}, ptr null"
    )
    return name


def _descriptor(lowering: CallingEmitter, reference: str, from_: int) -> str:
    """The offset of the descriptor of what a reference is to; 0: it is no object."""
    object = heap.address(lowering, _object_or_null(lowering, reference, from_))
    return heap.header_word(lowering, object, "descriptor")


def _is_of_type(lowering: CallingEmitter, reference: str, from_: int, wanted: TypeReference) -> str:
    expected = calls.type_id(lowering, lowering.module.index_of_reference(wanted))
    found = _descriptor(lowering, reference, from_)
    definition = wanted.type.definition
    assert definition is not None
    if not definition.is_final:
        place = abi.GC_DESCRIPTOR["display"] + 4 * definition.depth
        found = heap.descriptor_word(lowering, found, place)
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = icmp eq i32 {found}, {expected}")
    return name


def _is_of_kind(lowering: CallingEmitter, reference: str, from_: int, wanted: int) -> str:
    """Structures and arrays; where the module has no types of them, the runtime tells."""
    name = lowering.fresh()
    if heap.has_heap(lowering):
        found = heap.descriptor_word(lowering, _descriptor(lowering, reference, from_), abi.GC_DESCRIPTOR["kind"])
        lowering.lines.append(f"  {name} = icmp eq i32 {found}, {_KINDS[wanted]}")
        return name
    value = heap.word(lowering, reference)
    callee = lowering.builtin_pointer("gc_kind")
    lowering.lines.append(
        f"  {name}k = call i64 {callee}(ptr %vmctx, i64 {value})\n  {name} = icmp eq i64 {name}k, {_KINDS[wanted]}"
    )
    return name
