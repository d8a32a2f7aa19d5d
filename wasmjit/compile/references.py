"""References: null, and calls of what they refer to. Validation has seen that each has the type it is used with."""

from __future__ import annotations

from . import calls, tail_calls
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
