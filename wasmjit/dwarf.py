"""Reads the line tables (``.debug_line``) that LLVM emits: code offset -> "line", an offset in the wasm module.

DWARF 4 and 5 line programs (DWARF 5 section 6.2). File and directory tables are skipped: there is one file. Line 0
means "no location": LLVM gives it to code that it combined from several instructions, and it stays unknown here.
"""

from __future__ import annotations

import struct

from .elf import EM_AARCH64, EM_X86_64, ElfObject
from .errors import ArtifactError

# Relocations that put an absolute address into debug sections: (machine, type) -> bytes.
_ABSOLUTE_RELOCATIONS = {
    (EM_X86_64, 1): 8,  # R_X86_64_64
    (EM_X86_64, 10): 4,  # R_X86_64_32
    (EM_AARCH64, 257): 8,  # R_AARCH64_ABS64
    (EM_AARCH64, 258): 4,  # R_AARCH64_ABS32
}
_DW_LNS_copy, _DW_LNS_advance_pc, _DW_LNS_advance_line = 1, 2, 3
_DW_LNS_const_add_pc, _DW_LNS_fixed_advance_pc = 8, 9
_DW_LNE_end_sequence, _DW_LNE_set_address = 1, 2


Rows = list[tuple[int, int]]


def line_rows(obj: ElfObject) -> dict[int, Rows]:
    """The line table of each code section, by section index: (offset, line) rows, offsets strictly ascending.

    A row holds from its offset to the next row's; consecutive rows differ in their line. The end of a sequence gives
    a row with line 0. Raises ArtifactError where the table is damaged or of an unknown version.
    """
    index = obj.section_index(".debug_line")
    if index is None:
        return {}
    data = bytearray(obj.sections[index].data)
    address_sections: dict[int, int] = {}
    for relocation in obj.relocations(index):
        symbol = obj.symbols[relocation.symbol]
        width = _ABSOLUTE_RELOCATIONS.get((obj.machine, relocation.type))
        value = symbol.value + relocation.addend
        if width is None or relocation.offset + width > len(data) or not 0 <= value < 1 << 8 * width:
            raise ArtifactError(f".debug_line: relocation type {relocation.type} at {relocation.offset:#x}")
        data[relocation.offset : relocation.offset + width] = value.to_bytes(width, "little")
        address_sections[relocation.offset] = symbol.section
    sequences: dict[int, list[Rows]] = {}
    at = 0
    contents = bytes(data)
    try:
        while at < len(data):
            at = _read_unit(contents, at, address_sections, sequences)
    except (IndexError, struct.error):
        raise ArtifactError(f".debug_line is truncated in the unit at {at:#x}") from None
    return {section: _merge(of_section) for section, of_section in sequences.items()}


def _merge(sequences: list[Rows]) -> Rows:
    """One ascending table: of rows at the same offset the last one holds; rows that change nothing are dropped."""
    merged: Rows = []
    for sequence in sorted(sequences, key=lambda sequence: sequence[0]):
        for offset, line in sequence:
            if merged and merged[-1][0] == offset:
                merged.pop()
            elif merged and merged[-1][0] > offset:
                raise ArtifactError(f".debug_line: rows are not in ascending order at {offset:#x}")
            if not merged or merged[-1][1] != line:
                merged.append((offset, line))
    return merged


def _read_unit(data: bytes, at: int, address_sections: dict[int, int], sequences: dict[int, list[Rows]]) -> int:
    """Read the unit at `at` and add its sequences to those of their code sections; returns the next unit's offset."""
    start = at
    (length,) = struct.unpack_from("<I", data, at)
    at += 4
    offset_format = "<I"
    if length == 0xFFFFFFFF:
        (length,) = struct.unpack_from("<Q", data, at)
        at += 8
        offset_format = "<Q"
    end: int = at + length
    if end > len(data):
        raise ArtifactError(f".debug_line: the unit at {start:#x} is longer than its section")
    (version,) = struct.unpack_from("<H", data, at)
    at += 2
    if version not in (4, 5):
        raise ArtifactError(f".debug_line: version {version} is not supported")
    if version == 5:
        if data[at] != 8 or data[at + 1] != 0:
            raise ArtifactError(f".debug_line: addresses of {data[at]} bytes, segments of {data[at + 1]}")
        at += 2
    (header_length,) = struct.unpack_from(offset_format, data, at)
    at += struct.calcsize(offset_format)
    program = at + header_length
    minimum_instruction, _, _, line_base, line_range, opcode_base = struct.unpack_from("<BBBbBB", data, at)
    at += 6
    if line_range == 0 or opcode_base == 0 or program > end:
        raise ArtifactError(f".debug_line: damaged header of the unit at {start:#x}")
    operand_counts = (0, *data[at : at + opcode_base - 1])
    # What each special opcode adds to the address and the line.
    special = [
        ((code // line_range) * minimum_instruction, line_base + code % line_range) for code in range(256 - opcode_base)
    ]
    header = (minimum_instruction, opcode_base, operand_counts, special)
    _run_program(data[:end], program, header, address_sections, sequences)
    return end


def _run_program(
    data: bytes,
    at: int,
    header: tuple[int, int, tuple[int, ...], list[tuple[int, int]]],
    address_sections: dict[int, int],
    sequences: dict[int, list[Rows]],
) -> None:
    """Interpret the line program ``data[at:]`` (DWARF 5 section 6.2.5)."""
    minimum_instruction, opcode_base, operand_counts, special = header
    address, line, section = 0, 1, -1
    rows: Rows = []
    end = len(data)
    while at < end:
        opcode = data[at]
        at += 1
        if opcode >= opcode_base:
            address_advance, line_advance = special[opcode - opcode_base]
            address += address_advance
            line += line_advance
            rows.append((address, line))
        elif opcode == _DW_LNS_copy:
            rows.append((address, line))
        elif opcode == _DW_LNS_advance_line:
            advance, at = _signed(data, at)
            line += advance
        elif opcode == _DW_LNS_advance_pc:
            advance, at = _unsigned(data, at)
            address += advance * minimum_instruction
        elif opcode == _DW_LNS_const_add_pc:
            address += special[255 - opcode_base][0]
        elif opcode == _DW_LNS_fixed_advance_pc:
            address += int.from_bytes(data[at : at + 2], "little")
            at += 2
        elif opcode == 0:
            length, at = _unsigned(data, at)
            extended = data[at]
            if length == 0 or at + length > end:
                raise IndexError
            if extended == _DW_LNE_set_address:
                if length != 9:
                    raise ArtifactError(f".debug_line: an address of {length - 1} bytes")
                address = int.from_bytes(data[at + 1 : at + 9], "little")
                section = address_sections.get(at + 1, -1)
            elif extended == _DW_LNE_end_sequence:
                rows.append((address, 0))
                sequences.setdefault(section, []).append(rows)
                address, line, section, rows = 0, 1, -1, []
            at += length
        else:
            for _ in range(operand_counts[opcode]):
                _, at = _unsigned(data, at)
    if rows:
        raise ArtifactError(".debug_line: the last sequence does not end")


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    """A ULEB128 number and the offset behind it."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
    return value, at


def _signed(data: bytes, at: int) -> tuple[int, int]:
    """An SLEB128 number and the offset behind it."""
    start = at
    value, at = _unsigned(data, at)
    if data[at - 1] & 0x40:
        value -= 1 << 7 * (at - start)
    return value, at
