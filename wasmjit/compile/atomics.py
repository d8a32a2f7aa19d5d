"""Atomic accesses, which are sequentially consistent, fences, and the calls of what waits and wakes.

An address that is no multiple of the access's size traps: LLVM may take for granted that it is one.
"""

from __future__ import annotations

from ..wasm.ops import Op
from ..wasm.types import I64, llvm_type
from . import metering
from .memory import AddressingEmitter, pointer
from .metering import MeteredEmitter


class AtomicEmitter(MeteredEmitter, AddressingEmitter):
    """The text of a function that may have atomic instructions."""


def lower(lowering: AtomicEmitter, row: Op, memory: int, offset: int, at: int) -> None:
    """Lowers one atomic instruction."""
    if not row.access_bytes:
        lowering.lines.append(f"  fence seq_cst{lowering.debug(at)}")
        return
    values = lowering.values
    operands = values[-len(row.params) :]
    del values[-len(row.params) :]
    if row.lowering in ("wait", "notify"):
        _call_runtime(lowering, row, memory, offset, operands, at)
        return
    address = lowering.fetched_once(operands[0], "i64" if memory in lowering.wide_memories else "i32")
    _check_alignment(lowering, memory, address, offset, row.access_bytes, at)
    place = pointer(lowering, memory, address, offset, row.access_bytes, at)
    arguments = [_narrowed(lowering, row, value) for value in operands[1:]]
    result = _access(lowering, row, place, arguments, at)
    if not result:
        return
    if row.memory_type != row.value_type:
        narrow, result = result, lowering.fresh()
        lowering.lines.append(f"  {result} = zext {row.memory_type} {narrow} to {row.value_type}")
    values.append(result)


def _check_alignment(
    lowering: AtomicEmitter, memory: int, address: str, offset: int, access_bytes: int, at: int
) -> None:
    """Traps unless the effective address is a multiple of `access_bytes`: of both parts only the low bits count."""
    if access_bytes == 1:
        return
    lowering.anchor_waiting()  # LLVM may find that this always traps
    llvm = "i64" if memory in lowering.wide_memories else "i32"
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name}e = add {llvm} {address}, {offset % access_bytes}\n"
        f"  {name}l = and {llvm} {name}e, {access_bytes - 1}\n"
        f"  {name} = icmp ne {llvm} {name}l, 0"
    )
    lowering.trap_if(name, "HEAP_MISALIGNED", at)


def _narrowed(lowering: AtomicEmitter, row: Op, value: str) -> str:
    """An operand as it is in memory."""
    if row.memory_type == row.value_type:
        return value
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = trunc {row.value_type} {value} to {row.memory_type}")
    return name


def _access(lowering: AtomicEmitter, row: Op, place: str, arguments: list[str], at: int) -> str:
    """Emits the access itself; returns what was in memory before, or nothing for a store."""
    emit, kind, site = lowering.lines.append, row.memory_type, lowering.debug(at)
    align = f"align {row.access_bytes}{site}"
    if row.lowering == "store":
        emit(f"  store atomic {kind} {arguments[0]}, ptr {place} seq_cst, {align}")
        return ""
    name = lowering.fresh()
    if row.lowering == "load":
        emit(f"  {name} = load atomic {kind}, ptr {place} seq_cst, {align}")
    elif row.lowering == "cmpxchg":
        expected, replacement = arguments
        emit(
            f"  {name}p = cmpxchg ptr {place}, {kind} {expected}, {kind} {replacement} seq_cst seq_cst, {align}\n"
            f"  {name} = extractvalue {{ {kind}, i1 }} {name}p, 0"
        )
    else:
        emit(f"  {name} = atomicrmw {row.lowering} ptr {place}, {kind} {arguments[0]} seq_cst, {align}")
    return name


def _call_runtime(lowering: AtomicEmitter, row: Op, memory: int, offset: int, operands: list[str], at: int) -> None:
    """memory.atomic.wait32, wait64 and notify: the C runtime checks the address."""
    name = "memory_notify" if row.lowering == "notify" else f"memory_wait{8 * row.access_bytes}"
    callee = lowering.builtin_pointer(name)
    types = (lowering.module.memories[memory].address_type, *row.params[1:])
    arguments = ["ptr %vmctx", f"i32 {memory}"]
    for position, (value, valtype) in enumerate(zip(operands, types, strict=True)):
        if valtype != I64:
            wide = lowering.fresh()
            lowering.lines.append(f"  {wide} = zext {llvm_type(valtype)} {value} to i64")
            value = wide
        arguments.append(f"i64 {value}")
        if position == 0:
            arguments.append(f"i64 {offset if offset < 1 << 63 else offset - (1 << 64)}")
    if lowering.fuel:  # Python's signal handlers, which may look at it, run while a thread waits
        metering.charge(lowering)
        metering.save_fuel(lowering)
    result = lowering.fresh()
    lowering.lines.append(
        f"  {result}w = call i64 {callee}({', '.join(arguments)}){lowering.debug(at)}\n"
        f"  {result} = trunc i64 {result}w to i32"
    )
    lowering.values.append(result)
