"""Links the relocatable objects of a module into one position-independent image: machine code, then constants.

Everything in our objects refers to code and constants relative to the place of use, so all relocations are resolved
here, when the artifact is made: loading is mapping. What would need patching at load time (absolute addresses, a GOT)
or does not exist (undefined symbols) is refused as a defect of ours. The exported arrays ``wj_functions*`` are left
out: their contents are `Image.function_offsets`, from which the loader makes the module's function table.

The image: code from offset 0, constants from `Image.rodata_offset`, a multiple of `Image.alignment`, so both can have
page protections of their own.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from . import dwarf, elf
from .errors import ArtifactError, CompileError

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    from .records import dataclass, field

# The largest page size of the target's kernels, so that one image fits them all.
IMAGE_ALIGNMENT_BYTES = {elf.EM_X86_64: 4096, elf.EM_AARCH64: 65536}
# What fills gaps in code: int3; udf #0.
_CODE_FILLER = {elf.EM_X86_64: b"\xcc", elf.EM_AARCH64: b"\0"}
_FUNCTION_ALIGNMENT_BYTES = 16
FUNCTION_ARRAY_PREFIX = "wj_functions"
_LARGEST_IMAGE_BYTES = (1 << 31) - 1


class Unit(Protocol):
    """What the compiler hands over: an ELF object that holds functions `first_function` ... + `count`."""

    @property
    def first_function(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def object(self) -> bytes: ...
    @property
    def is_left(self) -> bool: ...  # whether there is no code of them but a placeholder
    @property
    def seconds(self) -> float: ...  # that making it took


@dataclass(frozen=True, slots=True)
class Image:
    """Linked code. Arrays hold unsigned 32-bit numbers; `address_offsets` is ascending, a row holds up to the next.

    `function_offsets` and `function_sizes` have an entry per defined function, in bytes, relative to the image.
    `register_entries` has (function index, offset, size) of the code of those whose entry there is but a wrapper of it
    (compile/tail_calls.py).
    `address_lines` are offsets into the wasm module, 0 where unknown.
    """

    machine: int
    text: bytes
    rodata: bytes
    function_offsets: array[int]
    function_sizes: array[int]
    address_offsets: array[int]
    address_lines: array[int]
    register_entries: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def alignment(self) -> int:
        """Alignment of the image and of its constants, in bytes."""
        return IMAGE_ALIGNMENT_BYTES[self.machine]

    @property
    def rodata_offset(self) -> int:
        """Where the constants start."""
        return -(-len(self.text) // self.alignment) * self.alignment


@dataclass(slots=True)
class _PlacedObject:
    """A unit's object and where its sections lie: section index -> offset in the code or in the constants.

    There can be several code sections: LLVM puts functions that always trap into ``.text.unlikely.``.
    """

    unit: Unit
    elf: elf.ElfObject
    text_offsets: dict[int, int]
    rodata_offsets: dict[int, int]


def link(units: Iterable[Unit], first_function: int, function_count: int) -> Image:
    """Link `units`, which together define functions `first_function` ... + `function_count`, each once.

    Raises CompileError if the objects are not of the form that the module docstring describes, ArtifactError if
    they are damaged.
    """
    text, rodata = bytearray(), bytearray()
    placed = [_place(unit, text, rodata) for unit in sorted(units, key=lambda u: u.first_function)]
    machines = {p.elf.machine for p in placed}
    if len(machines) > 1:
        raise CompileError("units were compiled for different machines")
    machine = machines.pop() if machines else elf.EM_X86_64  # without code it does not matter
    if len(text) + len(rodata) + (1 << 20) > _LARGEST_IMAGE_BYTES:
        raise CompileError(f"{len(text) + len(rodata)} bytes of machine code: an image is limited to 2 GiB")
    alignment = IMAGE_ALIGNMENT_BYTES[machine]
    rodata_start = -(-len(text) // alignment) * alignment
    for p in placed:
        _relocate(p, text, rodata, rodata_start)
    offsets, sizes = _function_ranges(placed, first_function, function_count)
    address_offsets, address_lines = _address_map(placed)
    entries = _register_entries(placed)
    return Image(machine, bytes(text), bytes(rodata), offsets, sizes, address_offsets, address_lines, entries)


def _register_entries(placed: Iterable[_PlacedObject]) -> list[tuple[int, int, int]]:
    return [
        (index, p.text_offsets[symbol.section] + symbol.value, symbol.size_bytes)
        for p in placed
        for index, symbol in sorted(p.elf.functions("body").items())
    ]


def _address_map(placed: Iterable[_PlacedObject]) -> tuple[array[int], array[int]]:
    """Offsets in the code, ascending, and the wasm offset that holds from each up to the next."""
    address_offsets, address_lines = array("I"), array("I")
    for p in placed:
        rows = dwarf.line_rows(p.elf)
        for section, text_offset in p.text_offsets.items():  # in the order of their code
            for offset, line in rows.get(section, ()):
                if offset > p.elf.sections[section].size_bytes or not 0 <= line < 1 << 32:
                    raise ArtifactError(f".debug_line: row ({offset:#x}, {line}) is out of range")
                if address_offsets and address_offsets[-1] == text_offset + offset:
                    address_lines[-1] = line  # where one section's table ends, the next one's begins
                    continue
                address_offsets.append(text_offset + offset)
                address_lines.append(line)
    return address_offsets, address_lines


class GroupImage:
    """The linked code of one unit, whose functions need not be neighbours. As `Image`; see there.

    `functions` are the functions, `function_offsets` and `function_sizes` in the same order.
    """

    def __init__(self, unit: Unit, functions: Sequence[int]) -> None:
        """Raises CompileError and ArtifactError as `link`."""
        text, rodata = bytearray(), bytearray()
        self._placed = _place(unit, text, rodata)
        self.machine = self._placed.elf.machine
        alignment = IMAGE_ALIGNMENT_BYTES[self.machine]
        self.rodata_offset = -(-len(text) // alignment) * alignment
        _relocate(self._placed, text, rodata, self.rodata_offset)
        self.text = bytes(text)
        self.rodata = bytes(rodata)
        self.functions = functions
        self.function_offsets, self.function_sizes = array("I"), array("I")
        defined = self._placed.elf.functions()
        for function in functions:
            symbol = defined.get(function)
            if symbol is None or symbol.section not in self._placed.text_offsets:
                raise CompileError("the unit's object does not define it", function=function)
            self.function_offsets.append(self._placed.text_offsets[symbol.section] + symbol.value)
            self.function_sizes.append(symbol.size_bytes)
        self.register_entries = _register_entries([self._placed])

    def address_map(self) -> tuple[array[int], array[int]]:
        """`Image.address_offsets` and `address_lines`; decoded when asked for, which is after traps only."""
        return _address_map([self._placed])


def _place(unit: Unit, text: bytearray, rodata: bytearray) -> _PlacedObject:
    """Append the object's code to `text` and its constants to `rodata`."""
    obj = elf.read(unit.object)
    undefined = obj.undefined_symbols()
    if undefined:
        raise CompileError(f"compiled code refers to undefined symbol {undefined[0]!r}", function=unit.first_function)
    text_offsets: dict[int, int] = {}
    rodata_offsets: dict[int, int] = {}
    arrays = {s.section for s in obj.symbols if s.name.startswith(FUNCTION_ARRAY_PREFIX)}
    for index, section in enumerate(obj.sections):
        if not section.flags & elf.SHF_ALLOC or not section.size_bytes:
            continue
        if section.flags & elf.SHF_EXECINSTR:
            _pad(text, max(section.alignment, _FUNCTION_ALIGNMENT_BYTES), _CODE_FILLER[obj.machine])
            text_offsets[index] = len(text)
            text += section.data
        elif index in arrays or section.name == ".eh_frame" or section.type == elf.SHT_NOTE:
            continue
        elif section.flags & elf.SHF_WRITE or section.type == elf.SHT_NOBITS:
            raise CompileError(f"compiled code has writable data: section {section.name}", function=unit.first_function)
        else:
            _pad(rodata, section.alignment, b"\0")
            rodata_offsets[index] = len(rodata)
            rodata += section.data
    return _PlacedObject(unit, obj, text_offsets, rodata_offsets)


def _pad(buffer: bytearray, alignment: int, filler: bytes) -> None:
    buffer += filler * (-len(buffer) % alignment)


def _function_ranges(
    placed: list[_PlacedObject], first_function: int, function_count: int
) -> tuple[array[int], array[int]]:
    offsets, sizes = array("I"), array("I")
    for p in placed:
        functions = p.elf.functions()
        if p.unit.first_function != first_function + len(offsets):
            raise CompileError("units overlap or leave functions out", function=p.unit.first_function)
        for index in range(p.unit.first_function, p.unit.first_function + p.unit.count):
            if index not in functions:
                raise CompileError("the unit's object does not define it", function=index)
            symbol = functions[index]
            if symbol.section not in p.text_offsets:
                raise CompileError("its code is in no code section", function=index)
            offsets.append(p.text_offsets[symbol.section] + symbol.value)
            sizes.append(symbol.size_bytes)
    if len(offsets) != function_count:
        raise CompileError(f"{len(offsets)} functions were compiled of {function_count}")
    return offsets, sizes


def _relocate(p: _PlacedObject, text: bytearray, rodata: bytearray, rodata_start: int) -> None:
    """Apply the relocations of one object's code and constants."""
    addresses: list[int | None] = []  # of each symbol, relative to the image; None where it has none
    for symbol in p.elf.symbols:
        if symbol.section in p.text_offsets:
            addresses.append(p.text_offsets[symbol.section] + symbol.value)
        elif symbol.section in p.rodata_offsets:
            addresses.append(rodata_start + p.rodata_offsets[symbol.section] + symbol.value)
        else:
            addresses.append(None)
    apply = _APPLY[p.elf.machine]
    places = [(index, rodata, offset, rodata_start) for index, offset in p.rodata_offsets.items()]
    places += [(index, text, offset, 0) for index, offset in p.text_offsets.items()]
    for index, buffer, start, base in places:
        for offset, kind, symbol_index, addend in p.elf.relocations(index):
            address = addresses[symbol_index]
            if address is None or not apply(buffer, start + offset, base + start + offset, kind, address + addend):
                name = p.elf.symbols[symbol_index].name or f"symbol {symbol_index}"
                raise CompileError(
                    f"relocation type {kind} against {name!r} at {offset:#x} of {p.elf.sections[index].name}: "
                    "unknown, out of range, or needs an absolute address",
                    function=p.unit.first_function,
                )


def function_code(object_bytes: bytes) -> dict[str, bytes]:
    """The code of each function of an object whose functions refer to nothing outside of themselves, by symbol.

    Raises CompileError if one does, ArtifactError if the object is damaged.
    """
    obj = elf.read(object_bytes)
    found: dict[str, bytes] = {}
    for symbol in obj.symbols:
        if symbol.type != elf.STT_FUNC or symbol.section == elf.SHN_UNDEF:
            continue
        if obj.relocations(symbol.section):
            raise CompileError(f"the code of {symbol.name} cannot stand alone: it has relocations")
        section = obj.sections[symbol.section]
        found[symbol.name] = bytes(section.data[symbol.value : symbol.value + symbol.size_bytes])
    return found


_I32 = struct.Struct("<i")
_U32 = struct.Struct("<I")
_I64 = struct.Struct("<q")


def _apply_x86_64(buffer: bytearray, at: int, place: int, kind: int, target: int) -> bool:
    """Patch ``buffer[at:]``, which lies at `place` of the image; False if that cannot be done."""
    if kind in (2, 4):  # R_X86_64_PC32, R_X86_64_PLT32
        value = target - place
        if not -(1 << 31) <= value < 1 << 31 or at + 4 > len(buffer):
            return False
        _I32.pack_into(buffer, at, value)
        return True
    if kind == 24 and at + 8 <= len(buffer):  # R_X86_64_PC64
        _I64.pack_into(buffer, at, target - place)
        return True
    return False


# R_AARCH64_LDST<8 << scale>_ABS_LO12_NC -> scale; ADD_ABS_LO12_NC has no scale.
_LOW12_SCALES = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}
# Branches and literal loads, whose immediate counts instructions: type -> (bits, shift in the instruction).
_WORD_OFFSETS = {282: (26, 0), 283: (26, 0), 280: (19, 5), 273: (19, 5), 279: (14, 5)}


def _apply_aarch64(buffer: bytearray, at: int, place: int, kind: int, target: int) -> bool:
    """Patch ``buffer[at:]``, which lies at `place` of the image; False if that cannot be done."""
    if at + 4 > len(buffer):
        return False
    value = target - place
    if kind in (261, 314):  # R_AARCH64_PREL32, R_AARCH64_PLT32
        if not -(1 << 31) <= value < 1 << 31:
            return False
        _I32.pack_into(buffer, at, value)
        return True
    if kind == 260:  # R_AARCH64_PREL64
        if at + 8 > len(buffer):
            return False
        _I64.pack_into(buffer, at, value)
        return True
    (instruction,) = _U32.unpack_from(buffer, at)
    if kind in _LOW12_SCALES:
        low, scale = target & 0xFFF, _LOW12_SCALES[kind]
        if low & ((1 << scale) - 1):
            return False
        instruction = instruction & ~(0xFFF << 10) | (low >> scale) << 10
    elif kind in _WORD_OFFSETS:
        bits, shift = _WORD_OFFSETS[kind]
        words = value >> 2
        if value & 3 or not -(1 << bits - 1) <= words < 1 << bits - 1:
            return False
        mask = (1 << bits) - 1
        instruction = instruction & ~(mask << shift) | (words & mask) << shift
    elif kind in (275, 274):  # R_AARCH64_ADR_PREL_PG_HI21, R_AARCH64_ADR_PREL_LO21
        count = (target >> 12) - (place >> 12) if kind == 275 else value
        if not -(1 << 20) <= count < 1 << 20:
            return False
        instruction = instruction & ~(3 << 29 | 0x7FFFF << 5) | (count & 3) << 29 | (count >> 2 & 0x7FFFF) << 5
    else:
        return False
    _U32.pack_into(buffer, at, instruction)
    return True


_APPLY: dict[int, Callable[[bytearray, int, int, int, int], bool]] = {
    elf.EM_X86_64: _apply_x86_64,
    elf.EM_AARCH64: _apply_aarch64,
}
if sys.byteorder != "little":
    raise ImportError("wasmjit runs on little-endian machines")
