"""References: null, casts, and calls of what they refer to. Validation has seen that each has the type it needs."""

from __future__ import annotations

from .. import abi
from ..wasm.types import ANYREF, TypeReference, is_defaultable, matches, non_null, top
from . import calls, casts, tail_calls
from .anchors import AnchoringEmitter
from .calls import CallingEmitter
from .tail_calls import TailCallingEmitter


def is_null(lowering: AnchoringEmitter) -> None:
    """ref.is_null"""
    name = lowering.fresh()
    value = lowering.values.pop()
    lowering.lines.append(f"  {name}n = icmp eq ptr {value}, null\n  {name} = zext i1 {name}n to i32")
    if value in lowering.tainted:
        lowering.tainted.add(name)
    lowering.values.append(name)


def comparison_with_null(lowering: AnchoringEmitter, predicate: str, reference: str) -> str:
    """An i1."""
    condition = f"%c{lowering.fresh()[1:]}"
    lowering.lines.append(f"  {condition} = icmp {predicate} ptr {reference}, null")
    if reference in lowering.tainted:
        lowering.tainted.add(condition)
    return condition


def as_non_null(lowering: AnchoringEmitter, at: int) -> None:
    """ref.as_non_null, of a reference that may be null"""
    lowering.anchor_waiting(operands=1)  # LLVM may find that this always traps
    lowering.trap_if(comparison_with_null(lowering, "eq", lowering.values[-1]), "NULL_REFERENCE", at)


# ---- casts ----


def test(lowering: CallingEmitter, from_: int, target: int, at: int) -> None:
    """ref.test"""
    condition = fits(lowering, from_, target, at)
    lowering.values.pop()
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = zext i1 {condition} to i32")
    if condition in lowering.tainted:
        lowering.tainted.add(name)
    lowering.values.append(name)


def cast(lowering: CallingEmitter, from_: int, target: int, at: int) -> None:
    """ref.cast, which leaves the reference as it is or traps"""
    lowering.anchor_waiting(operands=1)  # LLVM may find that this always traps
    lowering.trap_if(fits(lowering, from_, target, at, is_negated=True), "CAST_FAILURE", at)


def fits(lowering: CallingEmitter, from_: int, target: int, at: int, *, is_negated: bool = False) -> str:
    """Whether the reference on top, of type `from_`, is one of type `target`; or whether it is none: an i1.

    Of null no type id is read, but some bytes of the instance context, which count for nothing then.
    """
    reference = lowering.values[-1]
    name = lowering.fresh()
    condition = f"%c{name[1:]}"
    if top(target) == ANYREF:
        found = casts.fits(lowering, reference, from_, target)
        lowering.lines.append(f"  {condition} = xor i1 {found}, {str(is_negated).lower()}")
        if reference in lowering.tainted:
            lowering.tainted.add(condition)
        return condition
    lines = [f"  {name}n = icmp eq ptr {reference}, null"]
    null = f"i1 {str(is_defaultable(target)).lower()}"
    if matches(non_null(from_), target):  # if it is not null, it is one
        lines.append(f"  {name}m = select i1 {name}n, {null}, i1 true")
    elif not isinstance(target, TypeReference):  # a bottom type
        lines.append(f"  {name}m = select i1 {name}n, {null}, i1 false")
    else:
        found = _type_matches(lowering, name, reference, target, at, lines)
        lines.append(f"  {name}m = select i1 {name}n, {null}, i1 {found}")
    lines.append(f"  {condition} = xor i1 {name}m, {str(is_negated).lower()}")
    lowering.lines += lines
    if reference in lowering.tainted:
        lowering.tainted.add(condition)
    return condition


def _type_matches(
    lowering: CallingEmitter, name: str, reference: str, target: TypeReference, at: int, lines: list[str]
) -> str:
    """Adds the lines that compare the type of what a reference is to, and returns the i1 that they end with."""
    expected = calls.type_id(lowering, lowering.module.index_of_reference(target))
    lines.append(
        f"  {name}s = select i1 {name}n, ptr %vmctx, ptr {reference}\n"
        f"  {name}p = getelementptr i8, ptr {name}s, i64 {abi.FUNC_REF['type_id']}\n"
        f"  {name}i = load i32, ptr {name}p, align 4"
    )
    definition = target.type.definition
    if definition is None or definition.is_final:
        lines.append(f"  {name}e = icmp eq i32 {name}i, {expected}")
    else:
        builtin = lowering.builtin_pointer("type_matches")
        lines.append(
            f"  {name}w = call i64 {builtin}(ptr %vmctx, i32 {name}i, i32 {expected}){lowering.debug(at)}\n"
            f"  {name}e = icmp ne i64 {name}w, 0"
        )
    return f"{name}e"


# ---- calls ----


def call(lowering: CallingEmitter, type_index: int, may_be_null: bool, at: int) -> None:
    """call_ref"""
    reference = _callee(lowering, type_index, may_be_null, at)
    calls.announce_caller(lowering)
    code, context = calls.load_func_ref(lowering, reference)
    calls.emit_call(lowering, lowering.module.called_type(type_index), code, context, at)


def return_call(lowering: TailCallingEmitter, type_index: int, may_be_null: bool, at: int) -> None:
    """return_call_ref"""
    reference = _callee(lowering, type_index, may_be_null, at)
    tail_calls.call_reference(lowering, lowering.module.called_type(type_index), reference, at)


def _callee(lowering: CallingEmitter, type_index: int, may_be_null: bool, at: int) -> str:
    """Pops a reference to call, and traps if it is null."""
    reference = lowering.values.pop()
    if may_be_null:
        params = lowering.module.called_type(type_index).params
        if params:
            lowering.anchor_values(lowering.values[-len(params) :], params)
        lowering.anchor_waiting(operands=len(params))  # LLVM may find that this always traps
        null = lowering.fresh()
        lowering.lines.append(f"  {null} = icmp eq ptr {reference}, null")
        lowering.trap_if(null, "NULL_REFERENCE", at)
    return reference
