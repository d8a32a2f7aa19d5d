"""ELF64 little-endian relocatable objects (x86-64, AArch64): a bounds-checked reader and a small writer.

The reader takes what LLVM emits; anything that does not fit raises `ArtifactError` naming the place. The writer makes
the container of a ``.cwasm`` and the wrapper in which MCJIT takes a linked image; both are deterministic.
References: System V gABI chapter 4, psABI x86-64 section 4, ELF for the Arm 64-bit Architecture section 5.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .errors import ArtifactError

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from .records import dataclass

MAGIC = b"\x7fELF"
EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
SHDR = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELA = struct.Struct("<QQq")

ET_REL = 1
EM_X86_64, EM_AARCH64 = 62, 183
MACHINE_NAMES = {EM_X86_64: "x86_64", EM_AARCH64: "aarch64"}
MACHINE_NUMBERS = {"x86_64": EM_X86_64, "amd64": EM_X86_64, "aarch64": EM_AARCH64, "arm64": EM_AARCH64}
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS, SHT_REL = 1, 2, 3, 4, 7, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHN_UNDEF, SHN_LORESERVE, SHN_ABS = 0, 0xFF00, 0xFFF1
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = range(5)
_LARGEST_ALIGNMENT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Section:
    """One section. `data` is empty for SHT_NOBITS, whose memory size is `size_bytes` all the same."""

    name: str
    type: int
    flags: int
    data: memoryview
    size_bytes: int
    link: int
    info: int
    alignment: int


class Symbol(NamedTuple):
    """One symbol; `section` is a section index, SHN_UNDEF or a reserved index; `value` an offset in that section."""

    name: str
    value: int
    size_bytes: int
    section: int
    type: int
    binding: int


class Relocation(NamedTuple):
    """One RELA entry: `offset` into the relocated section, `symbol` an index into `ElfObject.symbols`."""

    offset: int
    type: int
    symbol: int
    addend: int


@dataclass(frozen=True, slots=True)
class ElfObject:
    """A relocatable object: sections and symbols by their ELF indices."""

    machine: int
    sections: list[Section]
    symbols: list[Symbol]
    _relocation_sections: dict[int, list[int]]

    def section_index(self, name: str) -> int | None:
        """Index of the first section called `name`."""
        return next((i for i, s in enumerate(self.sections) if s.name == name), None)

    def relocations(self, section: int) -> list[Relocation]:
        """The relocations that apply to section number `section`; raises ArtifactError if one is out of bounds."""
        result: list[Relocation] = []
        size = self.sections[section].size_bytes
        for index in self._relocation_sections.get(section, ()):
            for offset, info, addend in RELA.iter_unpack(self.sections[index].data):
                symbol = info >> 32
                if offset >= size or symbol >= len(self.symbols):
                    raise ArtifactError(f"relocation at {offset:#x} of {self.sections[section].name} is out of bounds")
                result.append(Relocation(offset, info & 0xFFFFFFFF, symbol, addend))
        return result

    def functions(self, prefix: str = "f") -> dict[int, Symbol]:
        """Wasm function index -> the symbol ``f<index>`` of its code, or that with another prefix."""
        found: dict[int, Symbol] = {}
        for symbol in self.symbols:
            head, number = symbol.name[: len(prefix)], symbol.name[len(prefix) :]
            if symbol.type == STT_FUNC and symbol.section != SHN_UNDEF and head == prefix and number.isdecimal():
                found[int(number)] = symbol
        return found

    def undefined_symbols(self) -> list[str]:
        """Names of the symbols that the object uses but does not define, sorted."""
        return sorted(s.name for i, s in enumerate(self.symbols) if i and s.section == SHN_UNDEF)


def _bytes_at(data: memoryview, offset: int, size: int, what: str) -> memoryview:
    if offset > len(data) or size > len(data) - offset:
        raise ArtifactError(f"truncated ELF object: {what} ends at {offset + size:#x} of {len(data):#x} bytes")
    return data[offset : offset + size]


def _string_at(table: memoryview, offset: int, what: str) -> str:
    if offset >= len(table):
        raise ArtifactError(f"damaged ELF object: {what} has its name outside the string table")
    raw = bytes(table[offset : offset + 4096])
    end = raw.find(b"\0")
    if end < 0:
        raise ArtifactError(f"damaged ELF object: the name of {what} does not end")
    return raw[:end].decode("utf-8", "replace")


def read(data: bytes | memoryview) -> ElfObject:
    """Parse a relocatable ELF64 object for x86-64 or AArch64. Raises ArtifactError on anything else or damaged."""
    view = memoryview(data)
    header = EHDR.unpack(_bytes_at(view, 0, EHDR.size, "the header"))
    ident, kind, machine, _, _, _, table_at, _, _, _, _, entry_size, count, names_index = header
    if ident[:4] != MAGIC or ident[4:6] != b"\x02\x01":
        raise ArtifactError("not a 64-bit little-endian ELF object")
    if kind != ET_REL or machine not in MACHINE_NAMES:
        raise ArtifactError(f"ELF type {kind}, machine {machine}: expected a relocatable object for x86-64 or AArch64")
    if entry_size != SHDR.size or not 0 < names_index < count:
        raise ArtifactError("damaged ELF object: section header table")
    headers = list(SHDR.iter_unpack(_bytes_at(view, table_at, count * SHDR.size, "the section header table")))
    names = _section_data(view, headers[names_index], "the section names")
    sections = []
    for i, row in enumerate(headers):
        name = _string_at(names, row[0], f"section {i}")
        alignment = row[8] or 1
        if alignment & (alignment - 1) or alignment > _LARGEST_ALIGNMENT_BYTES:
            raise ArtifactError(f"damaged ELF object: section {name} is aligned to {alignment}")
        contents = _section_data(view, row, f"section {name}")
        sections.append(Section(name, row[1], row[2], contents, row[5], row[6], row[7], alignment))
    return ElfObject(machine, sections, _read_symbols(sections), _find_relocation_sections(sections))


def _section_data(view: memoryview, row: tuple[int, ...], what: str) -> memoryview:
    if row[1] in (0, SHT_NOBITS):
        return memoryview(b"")
    return _bytes_at(view, row[4], row[5], what)


def _read_symbols(sections: list[Section]) -> list[Symbol]:
    table = next((s for s in sections if s.type == SHT_SYMTAB), None)
    if table is None:
        return []
    if len(table.data) % SYMBOL.size or table.link >= len(sections):
        raise ArtifactError("damaged ELF object: symbol table")
    names = sections[table.link].data
    symbols = []
    for i, (name_at, info, _, section, value, size) in enumerate(SYMBOL.iter_unpack(table.data)):
        name = _string_at(names, name_at, f"symbol {i}")
        is_defined = section < SHN_LORESERVE and section != SHN_UNDEF
        if is_defined and (section >= len(sections) or value + size > sections[section].size_bytes):
            raise ArtifactError(f"damaged ELF object: symbol {name or i} lies outside its section")
        symbols.append(Symbol(name, value, size, section, info & 15, info >> 4))
    return symbols


def _find_relocation_sections(sections: list[Section]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for i, section in enumerate(sections):
        if section.type == SHT_REL:
            raise ArtifactError(f"section {section.name}: relocations without addends are not used on these machines")
        if section.type == SHT_RELA:
            if section.info >= len(sections) or len(section.data) % RELA.size:
                raise ArtifactError(f"damaged ELF object: section {section.name}")
            found.setdefault(section.info, []).append(i)
    return found


@dataclass(frozen=True, slots=True)
class SectionToWrite:
    """A section for `write`; `size_bytes` is taken from `data`."""

    name: str
    data: bytes
    type: int = SHT_PROGBITS
    flags: int = 0
    alignment: int = 1


def write(
    machine: int, sections: Sequence[SectionToWrite], symbols: Sequence[tuple[str, int, int, int]]
) -> tuple[bytearray, list[int]]:
    """A relocatable object: its bytes, and the file offset of each of `sections`, which lie in the order given.

    `symbols` are global functions: (name, position in `sections`, offset in bytes, size in bytes).
    The first section of alignment up to 64 starts right behind the 64-byte ELF header.
    """
    string_table = bytearray(b"\0")
    rows = bytearray(SYMBOL.size)
    for name, position, offset, size in symbols:
        rows += SYMBOL.pack(len(string_table), STB_GLOBAL << 4 | STT_FUNC, 0, position + 1, offset, size)
        string_table += name.encode() + b"\0"
    strings_index = len(sections) + 2
    everything = [
        *sections,
        SectionToWrite(".symtab", bytes(rows), SHT_SYMTAB, alignment=8),
        SectionToWrite(".strtab", bytes(string_table), SHT_STRTAB),
    ]
    section_names = bytearray(b"\0")
    name_offsets = []
    for name in (*(s.name for s in everything), ".shstrtab"):
        name_offsets.append(len(section_names))
        section_names += name.encode() + b"\0"
    everything.append(SectionToWrite(".shstrtab", bytes(section_names), SHT_STRTAB))
    image = bytearray(EHDR.size)
    headers = bytearray(SHDR.size)
    offsets = []
    for section, name_at in zip(everything, name_offsets, strict=True):
        image += bytes(-len(image) % section.alignment)
        offsets.append(len(image))
        is_symbols = section.type == SHT_SYMTAB
        link, info, entry = (strings_index, 1, SYMBOL.size) if is_symbols else (0, 0, 0)
        headers += SHDR.pack(
            name_at, section.type, section.flags, 0, len(image), len(section.data), link, info, section.alignment, entry
        )
        image += section.data
    image += bytes(-len(image) % 8)
    ident = MAGIC + b"\x02\x01\x01" + bytes(9)
    count = len(everything) + 1
    image[: EHDR.size] = EHDR.pack(
        ident, ET_REL, machine, 1, 0, 0, len(image), 0, EHDR.size, 0, 0, SHDR.size, count, count - 1
    )
    return image + headers, offsets[: len(sections)]
