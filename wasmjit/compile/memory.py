"""The only code that makes a native pointer from a wasm address.

A mistake here is a sandbox escape. The rules: a 32-bit address is zero-extended (sign extension would reach below the
base), pointers are made by `getelementptr` from the memory's base (LLVM 22 miscompiles `inttoptr` addresses and cannot
vectorise them), and what the guard pages do not cover is compared with the memory's size first.

Explicit checks are kept cheap, and such that LLVM vectorises the loops that they are in (`_BEYOND_BYTES`). Memories
never shrink, so what was once found in bounds stays so: an access behind another one with the same address operand and
no larger offset is not checked again (`AddressingEmitter.checked`), and one at a constant address below the minimum
size never is. A load with a larger offset widens the check that is there, if nothing with an effect lies in between
(`_widen`). A 64-bit memory with guard pages only has its address compared: constant offsets end in the guard behind it,
so one check does for all offsets.
"""

from __future__ import annotations

from .. import abi
from ..config import MIN_GUARD_BYTES
from ..wasm.types import MemoryType
from .anchors import AnchoringEmitter
from .patterns import late
from .unit_state import UnitState, has_guard_pages

_MASK_64 = (1 << 64) - 1
# What must not stand between a check and a load that widens it: it would no longer happen before the trap.
# Stores to locals and pure intrinsics have none.
_HAS_EFFECT = late(
    r"\b(?:ret|switch|br|atomic|atomicrmw|cmpxchg|fence)\b|\bcall\b(?! \w+ @llvm\.)|\bstore\b(?!.*, ptr %l\d+$)"
)
# More than any address space has room for. LLVM wants to know that there is some end: the address that a loop steps
# must not wrap before it is there, or it does not count the iterations until a check fails, and vectorises nothing. For
# 32 bits the least such number would be worse: checks would be compared in 32 bits, where addresses do wrap.
_BEYOND_BYTES = 1 << 62
_MAX_WIDENING_LINES = 64  # how far to look, so that it stays linear


class Check:
    """A bounds check in a function: it covers ``[address, address + end)``."""

    __slots__ = ("cold", "end", "line", "name", "size")

    def __init__(self, end: int, line: int, cold: int, name: str, size: str) -> None:
        self.end = end
        self.line = line  # of `lines`
        self.cold = cold  # of `cold`: the block that traps
        self.name = name  # prefix of its values
        self.size = size  # the value it compares with


class AddressingEmitter(AnchoringEmitter):
    """The text of a function, and what it knows of the bounds of memories."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.guard_pages = unit.guard_pages
        self.guarded = unit.guarded  # memories that never move and whose addresses need no check
        self.wide_memories = unit.wide_memories
        self.checked: dict[tuple[int, str], Check] = {}  # (memory, address operand) -> its check, by their lines
        self.check_lines: set[int] = set()  # where bounds checks branch
        self.bases: dict[int, str] = {}  # memories whose base is in the prologue

    def forget_checks(self, mark: int) -> None:
        """Forgets the bounds checks from line `mark` on: what is behind a join need not have passed them."""
        checked = self.checked
        while checked:  # in the order of their lines, so that this costs no more than what it forgets
            key, check = checked.popitem()
            if check.line < mark:
                checked[key] = check
                break
        self.forget_fetched(mark)


def pointer(lowering: AddressingEmitter, memory: int, address: str, offset: int, access_bytes: int, at: int) -> str:
    """Emits the address computation, and the check where the policy needs one; returns the pointer operand."""
    emit = lowering.lines.append
    if memory not in lowering.guarded or offset + access_bytes > MIN_GUARD_BYTES:
        address = lowering.fetched_once(address, "i64" if memory in lowering.wide_memories else "i32")
        check(lowering, memory, address, offset + access_bytes, at)
    base = lowering.bases.get(memory) or memory_base(lowering, memory)
    lowering.counter = number = lowering.counter + 1
    name = f"%a{number}"
    if address[0] != "%" and address != "poison":  # a constant address
        type = lowering.module.memories[memory]
        start = (int(address) & (_MASK_64 if type.is_64 else 0xFFFFFFFF)) + offset
        if start + access_bytes > _minimum_bytes(type):
            name += ".far"  # `promotion` knows by this that it may trap
        emit(f"  {name} = getelementptr i8, ptr {base}, i64 {_signed(start)}")
        return name
    wide = address
    if memory not in lowering.wide_memories:
        wide = f"{name}z"
        emit(f"  {wide} = zext i32 {address} to i64")
    if offset:
        emit(
            f"  {name}b = getelementptr i8, ptr {base}, i64 {wide}\n"
            f"  {name} = getelementptr i8, ptr {name}b, i64 {_signed(offset)}"
        )
    else:
        emit(f"  {name} = getelementptr i8, ptr {base}, i64 {wide}")
    return name


def _signed(value: int) -> int:
    """An i64 as LLVM likes to read it. Offsets that wrap belong to accesses that trap before."""
    value &= _MASK_64
    return value - (1 << 64) if value >> 63 else value


def memory_base(lowering: AddressingEmitter, memory: int) -> str:
    """A memory's base: an invariant where memories never move, else loaded anew for each access."""
    if memory in lowering.guarded:
        lowering.bases[memory] = name = _field(lowering, "%base", memory, "base")
        return name
    record = memory_record(lowering, memory)
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = load ptr, ptr {record}, align 8, !tbaa !2")
    return name


def _field(lowering: AddressingEmitter, name: str, memory: int, field: str) -> str:
    """What the memory's slot in the instance context (abi.MEMORY_SLOT) has."""
    slot = lowering.unit.layout.memories + abi.MEMORY_SLOT["sizeof"] * memory
    # Base and size can be loaded in front of a loop whether or not it begins with an access.
    facts = f", !dereferenceable !{{i64 {abi.MEMORY['sizeof']}}}, !align !{{i64 8}}" if field == "memory" else ""
    return lowering.invariant(f"{name}{memory}", "%vmctx", slot + abi.MEMORY_SLOT[field], facts=facts)


def memory_record(lowering: AddressingEmitter, memory: int) -> str:
    """The address of a memory's record (abi.MEMORY); that of its size follows it."""
    record = _field(lowering, "%memory", memory, "memory")
    lowering.address(f"{record}.size", record, abi.MEMORY["size_bytes"])
    return record


def size_bytes(lowering: AddressingEmitter, memory: int) -> str:
    """Loads the current size of a memory as an i64."""
    record = memory_record(lowering, memory)
    name = lowering.fresh()
    least = min(_minimum_bytes(lowering.module.memories[memory]), _BEYOND_BYTES - 1)
    lowering.lines.append(
        f"  {name} = load i64, ptr {record}.size, align 8, !tbaa !2, !range !{{i64 {least}, i64 {_BEYOND_BYTES}}}"
    )
    return name


def size_pages(lowering: AddressingEmitter, memory: int) -> str:
    """memory.size: the current size in pages, as the memory's address type."""
    type = lowering.module.memories[memory]
    pages = size_bytes(lowering, memory)
    if type.page_size_log2:
        name = lowering.fresh()
        lowering.lines.append(f"  {name} = lshr i64 {pages}, {type.page_size_log2}")
        pages = name
    if type.is_64:
        return pages
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = trunc i64 {pages} to i32")
    return name


def check(lowering: AddressingEmitter, memory: int, address: str, end: int, at: int) -> None:
    """Traps unless ``address + end`` is at most the memory's size, or unless that is known already."""
    type = lowering.module.memories[memory]
    if address[0] != "%" and address != "poison":
        _check_constant(lowering, memory, (int(address) & (_MASK_64 if type.is_64 else 0xFFFFFFFF)) + end, at)
        return
    if lowering.guard_pages and end <= MIN_GUARD_BYTES and has_guard_pages(type):
        end = 0  # the rest is the guard's matter
    known = lowering.checked.get((memory, address))
    if known is not None and (end <= known.end or _widen(lowering, type, known, address, end, at)):
        return
    size = size_bytes(lowering, memory)
    name = lowering.fresh()
    line = len(lowering.lines)
    lowering.lines.append(_comparison(type, address, name, size, end))
    lowering.trap_if(name, "MEMORY_OUT_OF_BOUNDS", at)
    lowering.check_lines.add(line + 1)
    lowering.checked.pop((memory, address), None)  # behind all others now, see `forget_checks`
    lowering.checked[memory, address] = Check(end, line, len(lowering.cold) - 1, name, size)


def _minimum_bytes(type: MemoryType) -> int:
    return type.limits.min << type.page_size_log2


def _check_constant(lowering: AddressingEmitter, memory: int, end: int, at: int) -> None:
    if end <= _minimum_bytes(lowering.module.memories[memory]):
        return
    lowering.anchor_waiting()  # LLVM may find that this always traps
    name = lowering.fresh()
    # No memory has 2^64 bytes, so what does not fit is out of bounds.
    lowering.lines.append(f"  {name} = icmp ugt i64 {_signed(min(end, _MASK_64))}, {size_bytes(lowering, memory)}")
    lowering.trap_if(name, "MEMORY_OUT_OF_BOUNDS", at)


def _comparison(type: MemoryType, address: str, name: str, size: str, end: int) -> str:
    """`name` is true where ``address + end > size``, computed without overflow."""
    lines = []
    wide = address
    if not type.is_64:
        wide = f"{name}z"
        lines.append(f"  {wide} = zext i32 {address} to i64")
    if end == 0:
        lines.append(f"  {name} = icmp ugt i64 {wide}, {size}")
    elif end <= _minimum_bytes(type):  # the difference does not wrap, and is the same all through a loop
        lines.append(f"  {name}l = sub nuw i64 {size}, {end}\n  {name} = icmp ugt i64 {wide}, {name}l")
    elif not type.is_64:  # the sum of two 33-bit numbers does not wrap
        lines.append(f"  {name}e = add nuw nsw i64 {wide}, {end}\n  {name} = icmp ugt i64 {name}e, {size}")
    else:
        bound = _signed(min(end, _MASK_64))
        lines.append(
            f"  {name}e = add i64 {wide}, {bound}\n"
            f"  {name}c = icmp ult i64 {name}e, {bound}\n"
            f"  {name}o = icmp ugt i64 {name}e, {size}\n"
            f"  {name} = or i1 {name}c, {name}o"
        )
    return "\n".join(lines)


def _widen(lowering: AddressingEmitter, type: MemoryType, known: Check, address: str, end: int, at: int) -> bool:
    """Makes an earlier check cover this access too, if nothing between them has an effect and they trap alike.

    The cold block then finds out which access it was, so that backtraces stay exact.
    """
    lines = lowering.lines
    if known.end == 0 or len(lines) - known.line > _MAX_WIDENING_LINES:
        return False
    if (end <= _minimum_bytes(type)) != (known.end <= _minimum_bytes(type)):
        return False
    checks = lowering.check_lines
    for line in range(known.line + 2, len(lines)):
        if line not in checks and _HAS_EFFECT.search(lines[line]):
            return False
    # What the check was so far moves to the cold block.
    lowering.counter += 1
    first, later = f"t{lowering.counter}", f"u{lowering.counter}"
    name = lowering.fresh()
    label, _, rest = lowering.cold[known.cold].partition(":\n")
    lowering.cold[known.cold] = (
        f"{label}:\n{_comparison(type, address, name, known.size, known.end)}\n"
        f"  br i1 {name}, label %{first}, label %{later}\n{first}:\n{rest}\n"
        f"{lowering.trap_text(later, 'MEMORY_OUT_OF_BOUNDS', at)}"
    )
    known.end = end
    lines[known.line] = _comparison(type, address, known.name, known.size, end)
    return True
