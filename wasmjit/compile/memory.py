"""The only code that makes a native pointer from a wasm address.

A mistake here is a sandbox escape. The rules: a 32-bit address is zero-extended (sign extension would reach below the
base), pointers are made by `getelementptr` from the memory's base (LLVM 22 miscompiles `inttoptr` addresses and cannot
vectorise them), and what the guard pages do not cover is compared with the memory's size first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import abi
from ..config import MIN_GUARD_BYTES

if TYPE_CHECKING:
    from .function import FunctionLowering


def pointer(lowering: FunctionLowering, memory: int, address: str, offset: int, access_bytes: int, at: int) -> str:
    """Emits the address computation, and the check where the policy needs one; returns the pointer operand."""
    emit = lowering.lines.append
    if not (lowering.guard_pages and offset + access_bytes <= MIN_GUARD_BYTES):
        check(lowering, memory, address, offset + access_bytes, at)
    base = lowering.bases.get(memory) or memory_base(lowering, memory)
    lowering.counter = number = lowering.counter + 1
    name = f"%a{number}"
    if address[0] != "%" and address != "poison":  # a constant address
        emit(f"  {name} = getelementptr i8, ptr {base}, i64 {(int(address) & 0xFFFFFFFF) + offset}")
    elif offset:
        emit(
            f"  {name}z = zext i32 {address} to i64\n"
            f"  {name}b = getelementptr i8, ptr {base}, i64 {name}z\n"
            f"  {name} = getelementptr i8, ptr {name}b, i64 {offset}"
        )
    else:
        emit(f"  {name}z = zext i32 {address} to i64\n  {name} = getelementptr i8, ptr {base}, i64 {name}z")
    return name


def memory_base(lowering: FunctionLowering, memory: int) -> str:
    """A memory's base: an invariant where memories never move, else loaded anew for each access."""
    if lowering.guard_pages:
        lowering.bases[memory] = name = f"%base{memory}"
        slot = _slot(lowering, memory) + abi.MEMORY_SLOT["base"]
        lowering.prologue[name] = (
            f"  {name}.p = getelementptr i8, ptr %vmctx, i64 {slot}\n"
            f"  {name} = load ptr, ptr {name}.p, align 8, !invariant.load !0"
        )
        return name
    record = memory_record(lowering, memory)
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = load ptr, ptr {record}, align 8, !tbaa !2")
    return name


def _slot(lowering: FunctionLowering, memory: int) -> int:
    return lowering.unit.layout.memories + abi.MEMORY_SLOT["sizeof"] * memory


def memory_record(lowering: FunctionLowering, memory: int) -> str:
    """The address of a memory's record (abi.MEMORY)."""
    name = f"%memory{memory}"
    if name not in lowering.prologue:
        slot = _slot(lowering, memory) + abi.MEMORY_SLOT["memory"]
        lowering.prologue[name] = (
            f"  {name}.p = getelementptr i8, ptr %vmctx, i64 {slot}\n"
            f"  {name} = load ptr, ptr {name}.p, align 8, !invariant.load !0\n"
            f"  {name}.size = getelementptr i8, ptr {name}, i64 {abi.MEMORY['size_bytes']}"
        )
    return name


def size_bytes(lowering: FunctionLowering, memory: int) -> str:
    """Loads the current size of a memory as an i64."""
    record = memory_record(lowering, memory)
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = load i64, ptr {record}.size, align 8, !tbaa !2")
    return name


def check(lowering: FunctionLowering, memory: int, address: str, end_offset: int, at: int) -> None:
    """Traps unless ``address + end_offset <= size``. The sum of two 33-bit numbers cannot wrap in 64 bits."""
    size = size_bytes(lowering, memory)
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name}z = zext i32 {address} to i64\n"
        f"  {name}e = add i64 {name}z, {end_offset}\n"
        f"  {name} = icmp ugt i64 {name}e, {size}"
    )
    lowering.trap_if(name, "MEMORY_OUT_OF_BOUNDS", at)
