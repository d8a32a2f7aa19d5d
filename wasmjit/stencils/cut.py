"""Has LLVM emit the operations' texts for a processor, and cuts the code into stencils.

In the code, a form's registers are fields of three bits, which are found by emitting it with one register after the
other in the place of each operand: whatever else differs then is an error of the build. Constants, slots and jumps are
relocations. The jump to the code behind is left out where it is the last.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import llvmlite.binding as llvm

from .. import elf
from . import cut_aarch64, text
from .machine import X86_64, current
from .text import Form, Operation

_R_64, _R_PC32, _R_PLT32, _R_32, _R_32S, _R_8 = 1, 2, 4, 10, 11, 14
_SIGNED = (*text.SLOT_HOLES, text.WIDE, text.PLACE)
_REX, _ESCAPES = 0x40, (b"\x0f", b"\x0f\x38", b"\x0f\x3a")
_JUMP, _SHORT, _CONDITIONAL = 0xE9, 0x70, 0x0F80
# That an instruction has one byte as displacement, or as constant; the opcodes of those; the base of memory, rsi.
_MODE_CHANGE, _CONSTANT_CHANGE, _WITH_CONSTANT, _BASE = 0xC0, 0x02, (0x69, 0x81), 6
_JUMP_BEGINS = re.compile(rb"[\x70-\x7f\xe9\xeb]|\x0f[\x80-\x8f]")
_SHIFTS = (0, 3)  # of a register's field in a byte
_CONSTANTS = ".rodata.cst"  # the name of their sections, before their size
_DISPLACEMENT_BYTES = 4  # to the next instruction, from which addresses count
POOL = "POOL_"  # what a hole of a constant is called, before its bytes
LARGEST_BYTES = 255
_SHORT_BYTES = 24
_FLOATS = X86_64.float_registers.keys()
_FLOAT_NAME = re.compile(r"%(xmm\d+)")


class StencilError(Exception):
    """What LLVM made is no stencil."""


class Field(NamedTuple):
    """The three low bits of an operand's register, or the fourth if it `is_high`, or-ed into the byte at `offset`,
    shifted left."""

    offset: int
    shift: int
    operand: int
    is_high: bool = False


class Hole(NamedTuple):
    """What is written at `offset`: the value of `what`, plus `addend`; `kind` is one of KINDS."""

    offset: int
    kind: str
    what: str
    addend: int


# Of x86-64. ABSOLUTE_32, _64, _8: the value; RELATIVE_32: its distance from the hole.
KINDS = ("ABSOLUTE_32", "ABSOLUTE_64", "RELATIVE_32", "ABSOLUTE_8")


class Short(NamedTuple):
    """Where a byte can have what else is a hole of four: `hole` is its index, and `change` is xor-ed into the byte at
    `offset`, which says how many there are. What is behind moves up."""

    hole: int
    offset: int
    change: int


class Stencil(NamedTuple):
    """Machine code of one form. In the fields of registers there are zeros."""

    form: Form
    code: bytes
    fields: tuple[Field, ...]
    holes: tuple[Hole, ...]
    short: Short | None


class Blob(NamedTuple):
    """All stencils, and the constants that they read."""

    stencils: list[Stencil]
    pool: bytes
    places: dict[str, int]  # of a constant, by the name of its holes: the offset in the pool


class _Emitted(NamedTuple):
    """A function as LLVM made it."""

    code: bytes
    holes: tuple[Hole, ...]
    is_cut: bool  # a constant of 32 bits that is meant to be sign-extended is not, or one of 64 bits has 32


# Registers that are tried in the place of each operand; the last of them only where an operation has as many operands.
# Those that code may not be the same for come first: a base that is r12 or r13 takes another form of address. All are
# tested. Those of floats are such that every instruction has a REX prefix, where the fourth bit is. The bits of two are
# not the same in any of three places.
_TRIED = {
    "x86_64": {"i": ("r12", "r13", "r9", "r15"), "f": ("xmm9", "xmm10", "xmm13", "xmm14")},
    "aarch64": {"i": ("r20", "r11", "r24", "r13"), "f": ("v1", "v6", "v2", "v5")},
}
_LEAST_TRIED = {"x86_64": 3, "aarch64": 2}


# The same for forms with vectors, which are many: two of each are enough to find a field, if all bits of theirs differ.
# There are no forms of instruction for some of these registers only. No two of them have the same bits in turn.
_FEW = {
    "x86_64": {"i": ("r8", "r15"), "f": ("xmm9", "xmm14", "xmm10", "xmm13")},
    "aarch64": {"i": ("r20", "r11"), "f": ("v1", "v6", "v2", "v5")},
}
_ADDRESSING = frozenset(f"V128_{name}{suffix}" for name in ("LOAD", "STORE") for suffix in text.OFFSETS)


def _variants(form: Form) -> list[tuple[str, ...]]:
    """Registers for all operands, in which each has each of `_TRIED`, or two. Those of operands in slots are ""."""
    if "v" in form.letters and form.operation not in _ADDRESSING:
        return list(dict.fromkeys(_few_variants(form)))
    operands = sum(letter != "m" for letter in form.letters) - len(form.equal)
    count = max(_LEAST_TRIED[current().name], operands)
    tried = {kind: registers[:count] for kind, registers in _TRIED[current().name].items()}
    found = []
    for first in range(count):
        chosen: list[str] = []
        given = {"i": first, "f": first}
        for position, letter in enumerate(form.letters):
            if position in form.equal:
                chosen.append(chosen[0])
            elif letter == "m":
                chosen.append("")
            else:
                kind = "f" if letter == "v" else letter
                chosen.append(tried[kind][given[kind] % len(tried[kind])])
                given[kind] += 1
        found.append(tuple(chosen))
    return list(dict.fromkeys(found))


def _few_variants(form: Form) -> Iterator[tuple[str, ...]]:
    for second in (0, 1):
        chosen: list[str] = []
        given = {"i": 0, "f": 0}
        for position, letter in enumerate(form.letters):
            if position in form.equal:
                chosen.append(chosen[0])
            elif letter == "m":
                chosen.append("")
            else:
                kind = "f" if letter == "v" else letter
                chosen.append(_FEW[current().name][kind][given[kind] ^ second])
                given[kind] += 1
        yield tuple(chosen)


def _target_machine(cpu: str) -> llvm.TargetMachine:
    target = llvm.Target.from_triple(current().triple)
    return target.create_target_machine(cpu=cpu, opt=2, reloc="static", codemodel="small")


def _emit(functions: dict[str, str], cpu: str) -> dict[str, _Emitted]:
    """The code of all functions, by name."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    module = llvm.parse_assembly(text.prelude() + "".join(functions.values()))
    module.verify()
    machine = _target_machine(cpu)
    data = elf.read(machine.emit_object(module))
    constants = {i for i, section in enumerate(data.sections) if section.name.startswith(_CONSTANTS)}
    code_index = data.section_index(".text")
    assert code_index is not None
    contents = bytes(data.sections[code_index].data)
    relocations = sorted(data.relocations(code_index))
    made: dict[str, _Emitted] = {}
    at = 0
    for symbol in sorted((s for s in data.symbols if s.type == elf.STT_FUNC and s.size_bytes), key=lambda s: s.value):
        end = symbol.value + symbol.size_bytes
        while at < len(relocations) and relocations[at].offset < symbol.value:
            at += 1
        holes = []
        is_cut = False
        while at < len(relocations) and relocations[at].offset < end:
            relocation = relocations[at]
            at += 1
            target = data.symbols[relocation.symbol]
            if not current().is_x86:
                holes.append(_aarch64_hole(data, symbol, relocation, constants))
                continue
            kind = {
                _R_64: KINDS[1],
                _R_8: KINDS[3],
                _R_32: KINDS[0],
                _R_32S: KINDS[0],
                _R_PC32: KINDS[2],
                _R_PLT32: KINDS[2],
            }.get(relocation.type)
            if kind is None:
                raise StencilError(f"{symbol.name}: relocation {relocation.type} for {target.name}")
            what, addend = target.name, relocation.addend
            if target.section in constants:
                what, addend = _constant(data.sections[target.section], target.value + addend), 0
            is_cut |= (what == text.BYTE) != (relocation.type == _R_8)
            is_cut |= (what in _SIGNED and relocation.type == _R_32) or (what == text.FULL) != (
                relocation.type == _R_64
            )
            holes.append(Hole(relocation.offset - symbol.value, kind, what, addend))
        made[symbol.name] = _Emitted(contents[symbol.value : end], tuple(holes), is_cut)
    return made


def _aarch64_hole(data: elf.ElfObject, symbol: elf.Symbol, relocation: elf.Relocation, constants: set[int]) -> Hole:
    target = data.symbols[relocation.symbol]
    kind = cut_aarch64.KINDS.get(relocation.type)
    if kind is None:
        raise StencilError(f"{symbol.name}: relocation {relocation.type} for {target.name}")
    what, addend = target.name, relocation.addend
    if target.section in constants:
        what, addend = _constant(data.sections[target.section], target.value + addend - _DISPLACEMENT_BYTES), 0
    return Hole(relocation.offset - symbol.value, kind, what, addend)


def _constant(section: elf.Section, addend: int) -> str:
    """What a hole is called that refers to a constant: by its bytes, since every function has its own."""
    size_bytes = int(section.name.removeprefix(_CONSTANTS))
    offset = addend + _DISPLACEMENT_BYTES
    if offset % size_bytes:
        raise StencilError(
            f"the constant at {offset} of {section.name} is not referred to by the end of an instruction"
        )
    return POOL + bytes(section.data[offset : offset + size_bytes]).hex()


def _join_two_jumps(code: bytearray, holes: list[Hole]) -> None:
    """jcc over a jump to the one, else to the other of NEXT and TARGET: the condition, or its opposite, to TARGET.

    Nothing else leads to these jumps: a row has one branch, and traps stand behind.
    """
    last, over = holes[-2:], len(code) - 12
    if sorted(hole.what for hole in last) != ["NEXT", "TARGET"] or over < 0:
        return
    if [hole.offset for hole in last] != [len(code) - 9, len(code) - 4] or code[-5] != _JUMP or code[-10] != _JUMP:
        return
    if code[over] & 0xF0 == _SHORT and code[over + 1] == 5:
        condition = (code[over] & 0xF) ^ (last[1].what == "NEXT")
        code[over:] = bytes([_CONDITIONAL >> 8, _CONDITIONAL & 0xF0 | condition, 0, 0, 0, 0])
        holes[-2:] = [Hole(over + 2, KINDS[2], "TARGET", -4)]


def _without_last_jump(name: str, emitted: _Emitted) -> tuple[bytearray, list[Hole]]:
    """The code goes on behind its end where it jumped to NEXT."""
    if not current().is_x86:
        try:
            shaped, left = cut_aarch64.shape(emitted.code, emitted.holes)
        except cut_aarch64.ShapeError as error:
            raise StencilError(f"{name}: {error}") from error
        return shaped, [Hole(*hole) for hole in left]
    code, holes = bytearray(emitted.code), list(emitted.holes)

    def is_jump(hole: Hole, target: str) -> bool:
        return hole.what == target and code[hole.offset - 1] == _JUMP

    _join_two_jumps(code, holes)
    if len(holes) >= 2 and is_jump(holes[-1], "TARGET") and holes[-1].offset + 4 == len(code):
        before = holes[-2]
        condition = int.from_bytes(code[before.offset - 2 : before.offset], "big")
        # jcc NEXT; jmp TARGET: the opposite condition, to TARGET
        if before.what == "NEXT" and before.offset + 9 == len(code) and condition & 0xFFF0 == _CONDITIONAL:
            code[before.offset - 1] ^= 1
            holes[-2:] = [before._replace(what="TARGET")]
            del code[-5:]
    elif holes and is_jump(holes[-1], "NEXT") and holes[-1].offset + 4 == len(code):
        del holes[-1]
        del code[-5:]
    kept = []
    for hole in holes:
        if hole.what == "NEXT":
            if hole.kind != KINDS[2] or hole.addend != -4:
                raise StencilError(f"{name}: a jump of another kind to the code behind")
            code[hole.offset : hole.offset + 4] = struct.pack("<i", len(code) - hole.offset - 4)
        else:
            kept.append(hole)
    return code, kept


def _find_fields(name: str, emissions: list[tuple[tuple[str, ...], bytearray]]) -> list[Field]:
    """Where the code depends on the operands' registers, and that it does in no other way.

    `emissions`: pairs of registers and code.
    """
    if len({len(code) for _, code in emissions}) != 1:
        raise StencilError(f"{name}: lengths differ by register")
    if not current().is_x86:
        try:
            return [Field(*field) for field in cut_aarch64.find_fields(emissions)]
        except cut_aarch64.ShapeError as error:
            raise StencilError(f"{name}: {error}") from error
    numbers = {**X86_64.integer_registers, **X86_64.float_registers}
    # What each operand's field would hold, in one emission after the other.
    holds = {
        operand: [numbers[registers[operand]] & 7 for registers, _ in emissions]
        for operand, register in enumerate(emissions[0][0])
        if register
    }
    registers_of, first = emissions[0]
    fields = []
    for offset in range(len(first)):
        difference = 0
        for _, code in emissions:
            difference |= code[offset] ^ first[offset]
        for shift in _SHIFTS:
            if difference >> shift & 7:
                found = [code[offset] >> shift & 7 for _, code in emissions]
                operand = next((operand for operand, held in holds.items() if held == found), None)
                if operand is None:
                    raise StencilError(f"{name}: no register's field at {offset}")
                fields.append(Field(offset, shift, operand))
                difference &= ~(7 << shift)
                if registers_of[operand] in X86_64.float_registers:
                    fields.append(_high_field(name, first, fields[-1]))
        if difference:
            raise StencilError(f"{name}: the code at {offset} differs by register")
    return fields


def _high_field(name: str, code: bytes | bytearray, field: Field) -> Field:
    """The fourth bit of a register of floats, in the REX prefix of an instruction whose second byte of operands, or
    first, `field` is in: behind 0f and an opcode, or 0f, 38 or 3a, and an opcode."""
    offset = field.offset - 3 if code[field.offset - 2] == 0x0F else field.offset - 4
    bit = 2 if field.shift else 0
    escape = code[offset + 1 : field.offset - 1]
    if offset < 0 or escape not in _ESCAPES or code[offset] & 0xF0 != _REX or not code[offset] >> bit & 1:
        raise StencilError(f"{name}: no prefix for the register at {field.offset}")
    return Field(offset, bit, field.operand, True)


class _Candidate(NamedTuple):
    base: str  # name of the first function
    variants: list[tuple[tuple[str, ...], str]]  # registers, name


def _write(functions: dict[str, str], operation: Operation, form: Form, immediate: int) -> _Candidate:
    """Adds the functions of one form, with one of the texts for a constant."""
    prefix = f"{operation.name}.{form.letters}.{''.join(map(str, form.equal))}.{immediate}"
    variants = []
    has_all = text.has_floats(operation, form)
    for registers in _variants(form):
        name = f"{prefix}.{'.'.join(registers)}"
        functions[name] = text.function(
            name, operation.write(form, registers, operation.immediates[immediate]), has_all
        )
        variants.append((registers, name))
    return _Candidate(variants[0][1], variants)


def _numbers(operation: Operation) -> list[int]:
    """Of the ways to give LLVM a constant: those that are no repetitions."""
    defined = [text.define(immediate) for immediate in operation.immediates]
    return [number for number, lines in enumerate(defined) if lines not in defined[:number]]


def cut(operations: Iterable[Operation], cpu: str) -> Blob:
    """The stencils of all operations for a processor, as LLVM calls it. Raises StencilError."""
    wanted = [(operation, form) for operation in operations for form in text.form_list(operation)]
    made: dict[Form, Stencil] = {}
    for is_careful in (False, True):
        functions: dict[str, str] = {}
        candidates = {
            form: [
                _write(functions, operation, form._replace(is_careful=is_careful), number)
                for number in _numbers(operation)
            ]
            for operation, form in wanted
            if form not in made
        }
        if not functions:
            continue
        emitted = _emit(functions, cpu)
        for form, texts in candidates.items():
            try:
                made[form] = _stencil(form, texts, emitted)
            except StencilError:
                if is_careful:
                    raise
    for form in _changing(wanted, made, cpu):
        del made[form]
    stencils = [made[form] for _, form in wanted if form in made]
    constants = sorted({hole.what for stencil in stencils for hole in stencil.holes if hole.what.startswith(POOL)})
    constants.sort(key=len, reverse=True)  # aligned, one behind the other
    places: dict[str, int] = {}
    pool = bytearray()
    for constant in constants:
        places[constant] = len(pool)
        pool += bytes.fromhex(constant.removeprefix(POOL))
    return Blob(stencils, bytes(pool), places)


def _changing(wanted: Sequence[tuple[Operation, Form]], made: dict[Form, Stencil], cpu: str) -> list[Form]:
    """The forms whose code changes a register that operands may be in, for a while: that is no field, and if another
    operand is there, it is lost. There are none of these: C puts all operands into their slots then.

    Code that does has more than a few instructions. Raises StencilError: it names one that it was not told of.
    """
    functions: dict[str, str] = {}
    checked: dict[str, tuple[Form, set[str], bool]] = {}
    for operation, form in wanted:
        if current().is_x86 and len(made[form].code) < _SHORT_BYTES:
            continue
        for number in _numbers(operation):
            chosen = _write(functions, operation, made[form].form, number)
            for _, name in chosen.variants[1:]:
                functions.pop(name, None)
            checked[chosen.base] = form, set(chosen.variants[0][0]), text.has_floats(operation, form)
    module = llvm.parse_assembly(text.prelude() + "".join(functions.values()))
    machine = _target_machine(cpu)
    found: list[Form] = []
    own: tuple[Form, set[str], bool] | None = None
    for line in machine.emit_assembly(module).splitlines():
        label = line.partition(":")[0].strip('"')
        own = checked.get(label, own)
        if own is None or line.startswith("\t."):
            continue
        if not current().is_x86:
            if own[0] not in found and not cut_aarch64.other_registers(line) <= own[1]:
                found.append(own[0])
            continue
        named = set(_FLOAT_NAME.findall(line)) & _FLOATS
        if named and not own[2]:
            raise StencilError(f"{own[0]}: {named} may be those of operands")
        has_register = any(letter in "fv" for letter in own[0].letters)
        if has_register and own[0] not in found and not named <= own[1]:
            found.append(own[0])
    return found


def _short(form: Form, code: bytes | bytearray, holes: Sequence[Hole]) -> Short | None:
    """The last hole of code that is one instruction, or more without a jump, and perhaps a conditional jump behind."""
    if not current().is_x86:
        return None
    at = len(holes) - 1
    if at > 0 and holes[at].what == "TARGET" and code[-6] == 0x0F and len(code) == holes[at].offset + 4:
        at -= 1
    if at < 0 or holes[at].kind != KINDS[0]:
        return None
    place = holes[at].offset
    if len(code) - place - 4 != 6 * (len(holes) - 1 - at) or _JUMP_BEGINS.search(code, 0, place):
        return None
    if holes[at].what in text.SLOT_HOLES:
        return Short(at, place - 1, _MODE_CHANGE) if code[place - 1] & 0xC7 == 0x85 else None  # of rbp
    if any(name in form.operation for name in ("_LOAD", "_STORE")):
        is_indexed = place >= 2 and code[place - 2] & 0xC7 == 0x84 and code[place - 1] & 7 == _BASE
        return Short(at, place - 2, _MODE_CHANGE) if is_indexed else None
    if place >= 2 and code[place - 2] in _WITH_CONSTANT and code[place - 1] >= 0xC0:  # of a register
        return Short(at, place - 2, _CONSTANT_CHANGE)
    is_slot = place >= 6 and at > 0 and holes[at - 1].offset == place - 4 and code[place - 5] & 0xC7 == 0x85
    return Short(at, place - 6, _CONSTANT_CHANGE) if is_slot and code[place - 6] in _WITH_CONSTANT else None


def _stencil(form: Form, candidates: Sequence[_Candidate], emitted: dict[str, _Emitted]) -> Stencil:
    """Made of the first of the candidates that is one. Raises StencilError: why none is."""
    reasons = []
    for candidate in candidates:
        try:
            return _stencil_of(form, candidate, emitted)
        except StencilError as error:
            reasons.append(str(error))
    raise StencilError("; ".join(reasons))


def _stencil_of(form: Form, chosen: _Candidate, emitted: dict[str, _Emitted]) -> Stencil:
    if emitted[chosen.base].is_cut:
        raise StencilError(f"{chosen.base}: a constant is extended with zeros, or has 32 bits of 64")
    code, holes = _without_last_jump(chosen.base, emitted[chosen.base])
    emissions = []
    for registers, name in chosen.variants:
        other, other_holes = _without_last_jump(name, emitted[name])
        if other_holes != holes or emitted[name].is_cut:
            raise StencilError(f"{name}: holes differ by register")
        emissions.append((registers, other))
    fields = _find_fields(chosen.base, emissions)
    for field in fields:
        if current().is_x86:
            code[field.offset] &= ~((1 if field.is_high else 7) << field.shift)
        else:
            cut_aarch64.clear_field(code, field.offset, field.shift)
    if len(code) > LARGEST_BYTES:
        raise StencilError(f"{chosen.base}: {len(code)} bytes")
    return Stencil(form, bytes(code), tuple(fields), tuple(holes), _short(form, code, holes))
