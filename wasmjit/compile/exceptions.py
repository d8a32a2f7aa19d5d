"""Exceptions: throw, throw_ref, and the landings of try_tables, where tags are compared.

The store's record has the exception that is on its way. A throw within a try_table of the same function puts it there
and branches to the landing. Any other calls the runtime, which finds the landing and goes on there
(runtime_c/exceptions.c).

Functions with a try_table are lowered as tangled ones are (`anchors.TangledError`): each access to memory is volatile,
and what becomes of them where an exception leaves in between needs no thought.
"""

from __future__ import annotations

from .. import abi
from ..errors import UnsupportedError
from ..target import host_machine
from ..wasm.lowering import Catch, Frame
from ..wasm.types import llvm_type
from . import metering
from .anchors import TangledError
from .calls import CallingEmitter
from .liveness import Block


def begin(lowering: CallingEmitter, frame: Frame) -> None:
    """At a try_table with clauses, whose frame has its labels."""
    if lowering.unit.policy.machine != host_machine():  # LLVM would have to read the other one's assembly
        raise UnsupportedError("try_table cannot be compiled for another architecture", offset=lowering.body_start)
    lowering.unit.catching.add(lowering.function_index)
    if not lowering.tangled:
        raise TangledError
    lowering.counter += 1
    frame.else_label = f"landing{lowering.counter}"
    frame.otherwise = Block()
    lowering.tries.append(frame)


def throw(lowering: CallingEmitter, tag: int, at: int) -> None:
    """Pops what the exception carries."""
    params = lowering.module.called_type(lowering.module.tags[tag]).params
    values = lowering.values
    lowering.work(1 + len(params))
    operands = values[len(values) - len(params) :]
    del values[len(values) - len(params) :]
    _settle(lowering)
    lowering.leaf = False
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name} = call ptr {lowering.builtin_pointer('exception_new')}(ptr %vmctx, ptr {_tag(lowering, tag)})"
        f"{lowering.debug(at)}"
    )
    for value, valtype, offset in zip(operands, params, abi.payload_offsets(params), strict=False):
        place = lowering.fresh()
        lowering.lines.append(
            f"  {place} = getelementptr i8, ptr {name}, i64 {offset}\n"
            f"  store {llvm_type(valtype)} {value}, ptr {place}, align 8, !tbaa !2"
        )
    _raise(lowering, name, at)


def throw_ref(lowering: CallingEmitter, at: int) -> None:
    """Pops the reference, which must not be null."""
    value = lowering.values.pop()
    _settle(lowering)
    lowering.leaf = False
    null = lowering.fresh()
    lowering.lines.append(f"  {null} = icmp eq ptr {value}, null")
    lowering.trap_if(null, "NULL_REFERENCE", at)
    _raise(lowering, value, at)


def _settle(lowering: CallingEmitter) -> None:
    """Before something that does not come back."""
    lowering.anchor_waiting()
    if lowering.fuel:
        metering.charge(lowering)
        metering.save_fuel(lowering)


def _raise(lowering: CallingEmitter, exception: str, at: int) -> None:
    """Ends the block: an exception goes to the innermost try_table of the function, or leaves it."""
    if lowering.tries:
        lowering.lines.append(f"  store ptr {exception}, ptr {_pending(lowering)}, align 8, !tbaa !2")
        lowering.lines.append(f"  br label %{lowering.landing()}")
        lowering.num_edges += 1
    else:
        _leave(lowering, exception, at)
    lowering.close_block()


def _leave(lowering: CallingEmitter, exception: str, at: int) -> None:
    lowering.lines.append(
        f"  call void {lowering.builtin_pointer('exception_throw')}(ptr %vmctx, ptr {exception})"
        f"{lowering.debug(at)}\n  unreachable"
    )


def _tag(lowering: CallingEmitter, index: int) -> str:
    """The address of a tag, by which tags are told apart."""
    return lowering.invariant(f"%tag{index}", "%vmctx", lowering.unit.layout.tags + abi.POINTER_BYTES * index)


def _pending(lowering: CallingEmitter) -> str:
    """The place of the exception that is on its way."""
    return lowering.address("%exception.p", lowering.store_record(), abi.STORE["exception"])


def land(lowering: CallingEmitter, frame: Frame, at: int) -> None:
    """The landing of a try_table, which is not open any more. The caller has begun its block."""
    if lowering.fuel:
        metering.load_fuel(lowering)
    exception, tag = lowering.fresh(), lowering.fresh()
    lowering.lines.append(
        f"  {exception} = load ptr, ptr {_pending(lowering)}, align 8, !tbaa !2\n"
        f"  {tag} = load ptr, ptr {exception}, align 8, !tbaa !2"
    )
    for clause in frame.catches:
        if clause.tag is None:
            _take(lowering, clause, exception, at)
            return
        lowering.counter += 1
        taken, otherwise = f"taken{lowering.counter}", f"otherwise{lowering.counter}"
        same = lowering.fresh()
        lowering.lines.append(
            f"  {same} = icmp eq ptr {tag}, {_tag(lowering, clause.tag)}\n"
            f"  br i1 {same}, label %{taken}, label %{otherwise}"
        )
        lowering.start_label(taken)
        _take(lowering, clause, exception, at)
        lowering.start_label(otherwise)
    if lowering.tries:
        lowering.lines.append(f"  br label %{lowering.landing()}")
        lowering.num_edges += 1
    else:
        _leave(lowering, exception, at)


def _take(lowering: CallingEmitter, clause: Catch, exception: str, at: int) -> None:
    """Branches to a clause's label, with what the exception carries."""
    height = len(lowering.values)
    lowering.work(1 + len(clause.frame.label_types))
    if clause.tag is not None:
        params = lowering.module.called_type(lowering.module.tags[clause.tag]).params
        for valtype, offset in zip(params, abi.payload_offsets(params), strict=False):
            name = lowering.fresh()
            lowering.lines.append(
                f"  {name}p = getelementptr i8, ptr {exception}, i64 {offset}\n"
                f"  {name} = load {llvm_type(valtype)}, ptr {name}p, align 8, !tbaa !2"
            )
            lowering.values.append(name)
    if clause.takes_reference:
        place = lowering.fresh()
        lowering.lines.append(
            f"  {place} = getelementptr i8, ptr {exception}, i64 {abi.EXCEPTION['flags']}\n"
            f"  store i32 {abi.EXCEPTION_REFERENCED}, ptr {place}, align 8, !tbaa !2"
        )
        lowering.values.append(exception)
    else:
        lowering.lines.append(
            f"  call void {lowering.builtin_pointer('exception_release')}(ptr %vmctx, ptr {exception})"
            f"{lowering.debug(at)}"
        )
    lowering.edge(clause.frame)
    lowering.lines.append(f"  br label %{clause.frame.label}")
    del lowering.values[height:]
