"""Tables: the only code that makes a native pointer from a table index."""

from __future__ import annotations

from .. import abi
from ..wasm.types import llvm_type
from .emit import Emitter


def _field(lowering: Emitter, name: str, table: int, field: str) -> str:
    """What the table's slot in the instance context (abi.TABLE_SLOT) has; tables never move, so it is an invariant."""
    slot = lowering.unit.layout.tables + abi.TABLE_SLOT["sizeof"] * table
    return lowering.invariant(f"{name}{table}", "%vmctx", slot + abi.TABLE_SLOT[field])


def length_address(lowering: Emitter, table: int) -> str:
    """Where the table's record (abi.TABLE) has its length."""
    record = _field(lowering, "%table", table, "table")
    return lowering.address(f"{record}.length", record, abi.TABLE["length"])


def length(lowering: Emitter, table: int) -> str:
    """The table's length as an operand of its address type: a constant if the table cannot grow."""
    type = lowering.module.tables[table]
    if type.limits.max == type.limits.min <= abi.MAX_TABLE_ELEMENTS:
        return str(type.limits.min)
    place = length_address(lowering, table)
    name = lowering.fresh()
    # Lengths stay below 2^32, so the low half is the length.
    llvm = llvm_type(type.address_type)
    lowering.lines.append(f"  {name} = load {llvm}, ptr {place}, align 8, !tbaa !2")
    return name


def element_pointer(lowering: Emitter, table: int, index: str, at: int) -> str:
    """The address of an element, bounds-checked, and masked so that a mispredicted check reads nothing outside.

    The masked index is hidden from LLVM behind an empty asm: it would prove the mask redundant after the check.
    """
    count = length(lowering, table)
    llvm = llvm_type(lowering.module.tables[table].address_type)
    index = lowering.fetched_once(index, llvm)
    name = lowering.fresh()
    emit = lowering.lines.append
    emit(f"  {name}o = icmp uge {llvm} {index}, {count}")
    emit(f'  {name}h = call {llvm} asm "", "=r,0"({llvm} {index}) #2')
    if count[0] == "%":
        emit(f"  {name}i = icmp ult {llvm} {name}h, {count}\n  {name}m = select i1 {name}i, {llvm} {name}h, {llvm} 0")
    else:
        emit(f"  {name}m = and {llvm} {name}h, {abi.table_mask(int(count))}")
    lowering.trap_if(f"{name}o", "TABLE_OUT_OF_BOUNDS", at)
    if llvm == "i32":
        emit(f"  {name}z = zext i32 {name}m to i64")
    offset = f"{name}z" if llvm == "i32" else f"{name}m"
    elements = _field(lowering, "%elements", table, "elements")
    emit(f"  {name} = getelementptr ptr, ptr {elements}, i64 {offset}")
    return name


def get(lowering: Emitter, table: int, at: int) -> None:
    """table.get"""
    place = element_pointer(lowering, table, lowering.values.pop(), at)
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = load ptr, ptr {place}, align 8, !tbaa !2")
    lowering.values.append(name)


def set_(lowering: Emitter, table: int, at: int) -> None:
    """table.set"""
    value = lowering.values.pop()
    place = element_pointer(lowering, table, lowering.values.pop(), at)
    lowering.lines.append(f"  store {lowering.unit.volatile}ptr {value}, ptr {place}, align 8, !tbaa !2")


def size(lowering: Emitter, table: int) -> None:
    """table.size"""
    lowering.values.append(length(lowering, table))
