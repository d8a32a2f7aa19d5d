"""What of cutting stencils is AArch64's: all instructions have 32 bits, with registers in fields of five.

LLVM loads a constant, or a slot's distance, by a pair of instructions, `adrp` and `add`: here that is one, `adr`, which
C replaces by what loads the number (`runtime_c/stencil_aarch64.c`); or, where all it is for is the address of a slot,
none, and the load or store has the distance. What the code reads beside that is near it, and read by `ldr` alone.
Jumps to NEXT, to TARGET and to traps are made one conditional branch where that is all they are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import text
from .machine import AARCH64

# Relocations: the page of an address; its place in there, in an addition and in loads; jumps.
PAGE, LOW, LOW_LOADS, JUMP = 275, 277, (278, 284, 285, 286, 299), 282
KINDS = {PAGE: "PAGE", LOW: "LOW", **dict.fromkeys(LOW_LOADS, "LOW_LOAD"), JUMP: "JUMP"}
# What holes are called that are left.
NUMBER, SLOT, DISTANCE = "NUMBER", "SLOT", "DISTANCE"
SHIFTS = (0, 5, 10, 16)
_FRAME = 28
_B, _ADR, _NO_REGISTER = 0x14000000, 0x10000000, 31
# Mask, opcode, bits and shift of a distance, and the bit that turns the condition into its opposite.
_BRANCHES = (
    (0xFC000000, 0x14000000, 26, 0, None),
    (0xFF000010, 0x54000000, 19, 5, 0),
    (0x7E000000, 0x34000000, 19, 5, 24),
    (0x7E000000, 0x36000000, 14, 5, 24),
)
_NEAR_BRANCH_BITS = 14  # of one that reaches too little to leave a function by it


class ShapeError(Exception):
    """Code of another kind than any that is known here."""


@dataclass(eq=False)
class _Instruction:
    word: int
    kind: str = ""  # of the hole
    what: str = ""
    addend: int = 0
    target: _Instruction | None = None  # of a branch within the code


def _branch(word: int) -> tuple[int, int, int | None] | None:
    """Bits and shift of the distance, and the bit of the condition."""
    for mask, opcode, bits, shift, opposite in _BRANCHES:
        if word & mask == opcode:
            return bits, shift, opposite
    return None


def _is_jump(instruction: _Instruction) -> bool:
    return instruction.word & 0xFC000000 == _B


def _read(code: bytes, holes: Iterable[tuple[int, str, str, int]]) -> list[_Instruction]:
    made = [_Instruction(word) for (word,) in struct.iter_unpack("<I", code)]
    end = _Instruction(0)
    for offset, kind, what, addend in holes:
        at = made[offset // 4]
        at.kind, at.what, at.addend = kind, what, addend
    for index, instruction in enumerate(made):
        form = _branch(instruction.word)
        if form is None or instruction.kind:
            continue
        bits, shift, _ = form
        distance = instruction.word >> shift & ((1 << bits) - 1)
        distance -= (distance >> (bits - 1)) << bits
        instruction.target = [*made, end][index + distance]
    return made


def _remove(made: list[_Instruction], index: int) -> None:
    """What leads there leads to what follows."""
    gone = made.pop(index)
    for instruction in made:
        if instruction.target is gone:
            instruction.target = made[index]


def _join_addresses(made: list[_Instruction]) -> None:
    pages = [instruction for instruction in made if instruction.kind == "PAGE"]
    for page in pages:
        register = page.word & 31
        start = made.index(page)
        for use in made[start + 1 :]:
            if use.what == page.what and use.kind in ("LOW", "LOW_LOAD") and use.word >> 5 & 31 == register:
                break
        else:
            raise ShapeError(f"{page.what}: a page without what is in it")
        destination = use.word & 31
        if use.kind == "LOW":
            if destination != register:
                raise ShapeError(f"{use.what}: two registers")
            use.word, use.kind = _ADR | destination, NUMBER
        else:
            use.word, use.kind = _near_load(use.word), DISTANCE
        _remove(made, start)


def _near_load(word: int) -> int:
    """`ldr` of what is near in the place of one with a base."""
    near = {0xB9400000: 0x18000000, 0xF9400000: 0x58000000, 0xBD400000: 0x1C000000, 0xFD400000: 0x5C000000}
    near[0x3DC00000] = 0x9C000000
    if word & 0xFFC00000 not in near:
        raise ShapeError(f"a constant is read by {word:#x}")
    return near[word & 0xFFC00000] | word & 31


def _mentions(instruction: _Instruction, register: int) -> bool:
    if _branch(instruction.word) is not None and instruction.word & 0x7E000000 not in (0x34000000, 0x36000000):
        return False
    return any(instruction.word >> shift & 31 == register for shift in SHIFTS)


def _is_written_first(rest: Sequence[_Instruction], register: int) -> bool:
    """Whether nothing reads the register before it is written."""
    for instruction in rest:
        if _mentions(instruction, register):
            return instruction.kind == NUMBER and instruction.word & 31 == register
        if instruction.target is not None:
            return not any(_mentions(other, register) for other in rest)
    return True


_SLOT_ACCESS, _SLOT_ACCESS_MASK = 0x38206800, 0x3B20FC00  # of a register and the whole of another
_OF_VECTOR = 0x04800000


def _join_slots(made: list[_Instruction]) -> None:
    """An access to the frame has the distance of the slot, if no other instruction needs that."""
    for number in [i for i in made if i.kind == NUMBER and i.what in text.SLOT_HOLES]:
        start = made.index(number)
        register = number.word & 31
        for end in range(start + 1, len(made)):
            if _mentions(made[end], register) or made[end].target is not None:
                break
        else:
            continue
        use = made[end]
        word = use.word
        fits = word & _SLOT_ACCESS_MASK == _SLOT_ACCESS and not use.kind and use.target is None
        fits = fits and word & _OF_VECTOR != _OF_VECTOR and word & 0x04C00000 != 0x04800000
        fits = fits and word >> 16 & 31 == register and word >> 5 & 31 == _FRAME
        is_load = word >> 22 & 3 != 0
        is_lost = is_load and not word >> 26 & 1 and word & 31 == register
        if not fits or (not is_load and not word >> 26 & 1 and word & 31 == register):
            continue
        if not is_lost and not _is_written_first(made[end + 1 :], register):
            continue
        use.word = word & 0xC4C00000 | 0x39000000 | _FRAME << 5 | word & 31
        use.kind, use.what, use.addend = SLOT, number.what, number.addend
        _remove(made, start)


def _leave_directly(made: list[_Instruction]) -> None:
    """Branches to jumps out of the code."""
    for instruction in made:
        target = instruction.target
        form = _branch(instruction.word)
        if target is None or form is None or not target.what or not _is_jump(target):
            continue
        if target.what == "NEXT" or form[0] != _NEAR_BRANCH_BITS:
            instruction.target, instruction.kind, instruction.what = None, DISTANCE, target.what


def _is_reached(made: list[_Instruction], index: int) -> bool:
    return index == 0 or not _is_jump(made[index - 1]) or any(i.target is made[index] for i in made)


def _tidy(made: list[_Instruction]) -> None:
    """Leaves out what is not reached, and a last jump to what is behind."""
    changed = True
    while changed and made:
        changed = False
        for index in reversed(range(len(made))):
            if not _is_reached(made, index):
                _remove(made, index)
                changed = True
        if len(made) >= 2 and _is_jump(made[-1]) and made[-1].what != "NEXT" and made[-2].what == "NEXT":
            # a conditional branch over the last jump
            form = _branch(made[-2].word)
            if form is not None and form[2] is not None and form[0] != _NEAR_BRANCH_BITS:
                made[-2].word ^= 1 << form[2]
                made[-2].what = made[-1].what
                made.pop()
                changed = True
        if made and made[-1].what == "NEXT" and not any(i.target is made[-1] for i in made):
            made.pop()
            changed = True


def shape(code: bytes, holes: Iterable[tuple[int, str, str, int]]) -> tuple[bytearray, list[tuple[int, str, str, int]]]:
    """The code of a stencil, and its holes: offset, kind, what, addend."""
    made = _read(code, holes)
    _join_addresses(made)
    _join_slots(made)
    _leave_directly(made)
    _tidy(made)
    places = {id(instruction): index for index, instruction in enumerate(made)}
    left = []
    result = bytearray()
    for index, instruction in enumerate(made):
        word = instruction.word
        form = _branch(word)
        if instruction.target is not None or instruction.what == "NEXT":
            assert form is not None
            bits, shift, _ = form
            # Behind the end is what is next.
            distance = places.get(id(instruction.target), len(made)) - index
            word = word & ~(((1 << bits) - 1) << shift) | (distance & ((1 << bits) - 1)) << shift
        elif instruction.kind:
            if instruction.kind not in (NUMBER, SLOT, DISTANCE, "JUMP"):
                raise ShapeError(f"{instruction.what}: {instruction.kind}")
            left.append((4 * index, instruction.kind, instruction.what, instruction.addend))
        result += struct.pack("<I", word)
    return result, left


def find_fields(emissions: Sequence[tuple[tuple[str, ...], bytes | bytearray]]) -> list[tuple[int, int, int]]:
    """Where the code depends on the operands' registers, and that it does in no other way: offset, shift, operand."""
    numbers = {**AARCH64.integer_registers, **AARCH64.float_registers}
    holds = {
        operand: [numbers[registers[operand]] for registers, _ in emissions]
        for operand, register in enumerate(emissions[0][0])
        if register
    }
    words = [[word for (word,) in struct.iter_unpack("<I", code)] for _, code in emissions]
    fields = []
    for index, first in enumerate(words[0]):
        difference = 0
        for other in words:
            difference |= other[index] ^ first
        for shift in SHIFTS:
            if difference >> shift & 31:
                found = [other[index] >> shift & 31 for other in words]
                operand = next((operand for operand, held in holds.items() if held == found), None)
                if operand is None:
                    raise ShapeError(f"no register's field at {4 * index}")
                fields.append((4 * index, shift, operand))
                difference &= ~(31 << shift)
        if difference:
            raise ShapeError(f"the code at {4 * index} differs by register")
    return fields


def clear_field(code: bytearray, offset: int, shift: int) -> None:
    word = int.from_bytes(code[offset : offset + 4], "little") & ~(31 << shift)
    code[offset : offset + 4] = word.to_bytes(4, "little")


_NAME = re.compile(r"(?<![\w:.])([wxvqdshb])(\d+)\b|\b(sp)\b")
_VALUES = frozenset((*AARCH64.integer_registers, *AARCH64.float_registers))
_OTHERS = frozenset(("r18", "r19", "r29", "r30", "sp", *(name for name, _ in AARCH64.held)))


def other_registers(line: str) -> set[str]:
    """Those that an instruction names, and that hold something when a stencil begins that is no operand of its own."""
    found = set()
    for letter, number, pointer in _NAME.findall(line):
        found.add(pointer or f"{'r' if letter in 'wx' else 'v'}{number}")
    return found & (_VALUES | _OTHERS)
