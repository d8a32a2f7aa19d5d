"""Stage 1: the binary format (spec section 5) -> `Module`. Function bodies stay byte ranges.

What later proposals add to the sections is parsed too, as far as it takes to tell a module that uses a feature
(UnsupportedError, from `Features.check`) from one that is damaged (MalformedError).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from ..config import Features
from ..errors import MalformedError, ValidationError
from .binary import Reader
from .const_expr import CALL, GLOBAL_GET, I32_CONST, I64_CONST, PLAIN, REF_FUNC
from .deadline import each
from .module import (
    ACTIVE,
    DECLARATIVE,
    PASSIVE,
    ConstantFunction,
    ConstExpr,
    CustomSection,
    DataSegment,
    ElementSegment,
    Export,
    FunctionBody,
    FunctionItems,
    GlobalDefinition,
    Import,
    Module,
)
from .names import decode_names
from .type_section import MAX_TYPES, TypeDecoder
from .types import (
    EXTERN_KIND_NAMES,
    FUNCREF,
    FUNCTION,
    GLOBAL,
    I32,
    MEMORY,
    NON_NULL,
    PAGE_SIZE_LOG2,
    TABLE,
    TAG,
    GlobalType,
    Limits,
    MemoryType,
    TableType,
)

MAGIC = b"\0asm"
VERSION = b"\1\0\0\0"
COMPONENT_VERSION = b"\x0d\0\1\0"

# Implementation limits: the WebAssembly JavaScript API's appendix, which engines share. Element segments are not
# limited there; the number is wasm-tools'.
MAX_MODULE_BYTES = 1 << 30
MAX_IMPORTS = 1_000_000
MAX_FUNCTIONS = 1_000_000
MAX_TABLES = 100_000
MAX_MEMORIES = 100
MAX_GLOBALS = 1_000_000
MAX_EXPORTS = 1_000_000
MAX_ELEMENT_SEGMENTS = 100_000
MAX_ELEMENTS = 10_000_000  # of one segment
MAX_DATA_SEGMENTS = 100_000
MAX_BODY_BYTES = 7_654_321

SECTION_NAMES = {
    0: "custom",
    1: "type",
    2: "import",
    3: "function",
    4: "table",
    5: "memory",
    6: "global",
    7: "export",
    8: "start",
    9: "element",
    10: "code",
    11: "data",
    12: "data count",
    13: "tag",
}
_CUSTOM, _CODE, _DATA, _DATA_COUNT = 0, 10, 11, 12
_SECTION_ORDER = {section: place for place, section in enumerate((1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11), 1)}


_HAS_MAX, _SHARED, _IS_64, _PAGE_SIZE = 1, 2, 4, 8

_END = 0x0B
_NO_OPCODE = -1
_BYTES_OF_BITS = {"bytes4": 4, "bytes8": 8, "bits": 16}  # immediates that are the bits of a value
_GC_PREFIX, _MISC_PREFIX, _SIMD_PREFIX, _ATOMIC_PREFIX = _PREFIXES = 0xFB, 0xFC, 0xFD, 0xFE


def decode(wasm: bytes | bytearray | memoryview, features: Features | None = None) -> Module:
    """Decodes a binary module; `wasm` is bytes or any other buffer (copied then). Bodies are not looked into.

    Raises MalformedError (not the binary format, or over an implementation limit), UnsupportedError (a feature that
    `features` or this version leaves out) and ValidationError (an instruction that no constant expression may
    hold), each with the byte offset.
    """
    if not isinstance(wasm, bytes):
        wasm = bytes(memoryview(wasm))
    return _Decoder(wasm, Features() if features is None else features).decode()


def _address_type(space: Sequence[TableType | MemoryType], index: int) -> int:
    """The type of addresses in a table or memory; of one that is not there, which is for validation to say, any."""
    return space[index].address_type if index < len(space) else I32


class _Decoder(TypeDecoder):
    """The state of one `decode`."""

    def __init__(self, wasm: bytes, features: Features) -> None:
        super().__init__(Module(wasm, features=features))
        self.features = features
        self.sections: dict[int, Callable[[], None]] = {
            0: self.custom_section,
            1: self.type_section,
            2: self.import_section,
            3: self.function_section,
            4: self.table_section,
            5: self.memory_section,
            6: self.global_section,
            7: self.export_section,
            8: self.start_section,
            9: self.element_section,
            10: self.code_section,
            11: self.data_section,
            12: self.data_count_section,
            13: self.tag_section,
        }

    # ---- the module (spec section 5.5.16) ----

    def decode(self) -> Module:
        module = self.module
        self.header(module.wasm)
        last_place, at, end = 0, 8, len(module.wasm)
        while at < end:
            section, start, section_end = self.section_header(at)
            if section != _CUSTOM:
                place = _SECTION_ORDER[section]
                if place <= last_place:
                    raise MalformedError(
                        f"unexpected content after last section: the {SECTION_NAMES[section]} section is duplicated or "
                        "out of order",
                        offset=at,
                    )
                last_place = place
            self.section(section, start, section_end)
            at = section_end
        if len(module.bodies) != len(module.functions) - module.num_imported_functions:
            raise self.inconsistent_code(end)
        if module.data_count is not None and module.data_count != len(module.data):
            raise self.inconsistent_data(end)
        for feature, offset in self.defined_with.items():
            self.features.check_is_on(feature, offset)
        for feature, offset in self.used.items():
            self.features.check(feature, offset)
        return module

    def header(self, wasm: bytes | memoryview) -> None:
        """Magic and version."""
        if len(wasm) > MAX_MODULE_BYTES:
            raise MalformedError(f"module size of {len(wasm)} bytes exceeds the limit of {MAX_MODULE_BYTES}", offset=0)
        magic, version = wasm[:4], wasm[4:8]
        if magic != MAGIC[: len(magic)]:
            raise MalformedError("magic header not detected", offset=0)
        if len(magic) < 4:
            raise MalformedError("unexpected end: the magic header is cut off", offset=len(wasm))
        if version == COMPONENT_VERSION:
            raise MalformedError("unknown binary version: this is a component, not a module", offset=4)
        if version != VERSION[: len(version)]:
            raise MalformedError(f"unknown binary version {version.hex(' ')}", offset=4)
        if len(version) < 4:
            raise MalformedError("unexpected end: the binary version is cut off", offset=len(wasm))

    def section_header(self, at: int) -> tuple[int, int, int]:
        """Section id, start and end of the contents, of the section at `at`."""
        wasm = self.module.wasm
        section = wasm[at]
        if section not in SECTION_NAMES:
            raise MalformedError(f"malformed section id: {section}", offset=at)
        # A LEB128 of 32 bits takes five bytes at most, so a short slice is all there is to read.
        reader = Reader(wasm[at + 1 : at + 6], at + 1)
        try:
            size = reader.unsigned()
        except IndexError:
            raise MalformedError("unexpected end: the section size is cut off", offset=len(wasm)) from None
        start = at + 1 + reader.at
        if size > len(wasm) - start:
            raise MalformedError(
                f"length out of bounds: the {SECTION_NAMES[section]} section has {size} bytes, "
                f"{len(wasm) - start} are left",
                offset=at,
            )
        return section, start, start + size

    def section(self, section: int, start: int, end: int) -> None:
        """Decodes the contents of one section."""
        wasm = self.module.wasm
        if section in (_CODE, _DATA, _CUSTOM):  # large and seldom read: no copy
            reader = self.reader = Reader(memoryview(wasm)[start:end], start)
        else:
            reader = self.reader = Reader(wasm[start:end], start)
        try:
            self.sections[section]()
        except IndexError:
            raise MalformedError(
                f"unexpected end of section or function: the {SECTION_NAMES[section]} section is cut off", offset=end
            ) from None
        if reader.at != end - start:
            left = end - start - reader.at
            raise reader.error(f"section size mismatch: {left} bytes are left in the {SECTION_NAMES[section]} section")

    # ---- types of tables, memories, globals and tags (spec section 5.3) ----

    def table_type(self) -> TableType:
        element = self.reference_type()
        at = self.reader.at
        flags = self.reader.byte()
        if flags & ~(_HAS_MAX | _IS_64):
            raise self.reader.error(f"malformed limits flags {flags:#04x} of a table", at)
        if flags & _IS_64:
            self.use("memory64", at)
        return TableType(element, self.limits(flags), bool(flags & _IS_64))

    def memory_type(self) -> MemoryType:
        at = self.reader.at
        flags = self.reader.byte()
        if flags & ~(_HAS_MAX | _SHARED | _IS_64 | _PAGE_SIZE):
            raise self.reader.error(f"malformed limits flags {flags:#04x} of a memory", at)
        limits = self.limits(flags)
        page_size_log2 = PAGE_SIZE_LOG2
        if flags > _HAS_MAX:
            if flags & _SHARED:
                self.use("threads", at)
            if flags & _IS_64:
                self.use("memory64", at)
            if flags & _PAGE_SIZE:
                self.use("custom_page_sizes", at)
                page_size_log2 = self.reader.unsigned()
                if page_size_log2 >= 64:
                    raise self.reader.error(f"malformed page size: the exponent {page_size_log2} is not below 64", at)
        return MemoryType(limits, bool(flags & _IS_64), bool(flags & _SHARED), page_size_log2)

    def limits(self, flags: int) -> Limits:
        """The numbers that follow the flags."""
        minimum = self.limit()
        return Limits(minimum, self.limit() if flags & _HAS_MAX else None)

    def limit(self) -> int:
        """One number of limits, of 64 bits for all. One that is too large for 32 is for validation (Wasm 3.0)."""
        return self.reader.unsigned(64)

    def global_type(self) -> GlobalType:
        content = self.value_type()
        return GlobalType(content, self.mutability())

    def tag_type(self) -> int:
        """The type index of an exception tag."""
        at = self.reader.at
        if self.reader.byte():
            raise self.reader.error("malformed tag attribute", at)
        self.use("exceptions", at)
        return self.reader.unsigned()

    # ---- imports and definitions (spec sections 5.5.5 to 5.5.9) ----

    def import_section(self) -> None:
        reader, module = self.reader, self.module
        imports = module.imports
        for _ in each(self.count("imports", MAX_IMPORTS)):
            at = reader.at
            module_name = reader.name()
            name = reader.name()
            kind = reader.byte()
            extern: int | TableType | MemoryType | GlobalType
            if kind == FUNCTION:
                extern = self.type_of_function()
                module.functions.append(extern)
            elif kind == TABLE:
                extern = self.table_type()
                module.tables.append(extern)
            elif kind == MEMORY:
                extern = self.memory_type()
                module.memories.append(extern)
            elif kind == GLOBAL:
                extern = self.global_type()
                module.globals.append(extern)
            elif kind == TAG:
                extern = self.tag_type()
                module.tags.append(extern)
            else:
                raise reader.error(f"malformed import kind {kind:#04x}", reader.at - 1)
            imports.append(Import(module_name, name, kind, extern, reader.base + at))
        module.num_imported_functions = len(module.functions)
        module.num_imported_tables = len(module.tables)
        module.num_imported_memories = len(module.memories)
        module.num_imported_globals = len(module.globals)
        module.num_imported_tags = len(module.tags)
        for what, items, limit in (
            ("functions", module.functions, MAX_FUNCTIONS),
            ("tables", module.tables, MAX_TABLES),
            ("memories", module.memories, MAX_MEMORIES),
            ("globals", module.globals, MAX_GLOBALS),
            ("tags", module.tags, MAX_TYPES),
        ):
            if len(items) > limit:
                raise reader.error(f"{what} count exceeds limit of {limit}: {len(items)}")
        self.count_features()

    def type_of_function(self) -> int:
        """The type index of an imported function."""
        at = self.reader.at
        index = self.reader.unsigned()
        if index in self.module.gc_types:
            self.use("gc", at)
        return index

    def function_section(self) -> None:
        functions = self.module.functions
        at = self.reader.at
        defined = self.indices(self.count("functions", MAX_FUNCTIONS, len(functions)))
        functions += defined
        if self.module.gc_types and not self.module.gc_types.isdisjoint(defined):
            self.use("gc", at)

    def indices(self, count: int) -> list[int]:
        """`count` indices."""
        reader = self.reader
        data, at = reader.data, reader.at
        window = bytes(data[at : at + count])
        if len(window) == count and window.isascii():  # each takes one byte
            reader.at = at + count
            return list(window)
        indices = []
        for _ in each(count):
            index = data[at]
            at += 1
            if index >= 0x80:
                byte = data[at]
                at += 1
                if byte < 0x80:
                    index += (byte << 7) - 0x80
                else:
                    reader.at = at - 2
                    index = reader.unsigned()
                    at = reader.at
            indices.append(index)
        reader.at = at
        return indices

    def table_section(self) -> None:
        reader, tables = self.reader, self.module.tables
        for _ in each(self.count("tables", MAX_TABLES, len(tables))):
            at = reader.at
            if reader.data[at] != 0x40:
                tables.append(self.table_type())
                continue
            reader.at += 1
            if reader.byte():
                raise reader.error("malformed table: a zero byte expected", at + 1)
            self.use("function_references", at)
            type = self.table_type()
            self.module.table_inits[len(tables)] = self.const_expr(type.element)
            tables.append(type)
        self.count_features()

    def count_features(self) -> None:
        """More than one memory or table is a feature."""
        if len(self.module.memories) > 1:
            self.use("multi_memory", 0)
        if len(self.module.tables) > 1:
            self.use("reference_types", 0)

    def memory_section(self) -> None:
        memories = self.module.memories
        for _ in each(self.count("memories", MAX_MEMORIES, len(memories))):
            memories.append(self.memory_type())
        self.count_features()

    def tag_section(self) -> None:
        tags = self.module.tags
        for _ in each(self.count("tags", MAX_TYPES, len(tags))):
            tags.append(self.tag_type())
        self.use("exceptions", 0)

    def global_section(self) -> None:
        reader, module = self.reader, self.module
        for _ in each(self.count("globals", MAX_GLOBALS, len(module.globals))):
            at = reader.at
            global_type = self.global_type()
            init = self.const_expr(global_type.content)
            module.globals.append(global_type)
            module.global_definitions.append(GlobalDefinition(global_type, init, reader.base + at))

    def export_section(self) -> None:
        reader, module = self.reader, self.module
        for _ in each(self.count("exports", MAX_EXPORTS)):
            at = reader.at
            name = reader.name()
            kind = reader.byte()
            if kind >= len(EXTERN_KIND_NAMES):
                raise reader.error(f"malformed export kind {kind:#04x}", reader.at - 1)
            index = reader.unsigned()
            if kind == FUNCTION:
                module.referenced_functions.add(index)
            elif kind == TAG:
                self.use("exceptions", at)
            module.exports.append(Export(name, kind, index, reader.base + at))

    def start_section(self) -> None:
        self.module.start_offset = self.reader.base
        self.module.start = self.reader.unsigned()

    # ---- segments (spec sections 5.5.12, 5.5.14 and 5.5.15) ----

    def element_section(self) -> None:
        for _ in each(self.count("element segments", MAX_ELEMENT_SEGMENTS)):
            self.module.elements.append(self.element_segment())

    def element_segment(self) -> ElementSegment:
        """One of the eight forms. Flags: 1 passive or declarative, 2 declarative or explicit table, 4 expressions."""
        reader = self.reader
        at = reader.at
        flags = reader.unsigned()
        if flags > 7:
            raise reader.error(f"malformed elements segment kind {flags}", at)
        table = 0
        start: ConstExpr = ()
        if flags & 1:
            mode = DECLARATIVE if flags & 2 else PASSIVE
            self.use("bulk_memory", at)
        else:
            mode = ACTIVE
            if flags & 2:
                table = reader.unsigned()
            start = self.const_expr(_address_type(self.module.tables, table))
        element = FUNCREF | NON_NULL
        if flags & 4:
            element = FUNCREF
            self.use("reference_types", at)
            if flags & 3:
                element = self.reference_type()
        elif flags & 3 and reader.byte():
            raise reader.error("malformed element kind", reader.at - 1)
        count = self.count("elements", MAX_ELEMENTS)
        items: Sequence[ConstExpr]
        if flags & 4:
            items = tuple([self.const_expr(element) for _ in each(count)])
        else:
            functions = self.indices(count)
            self.module.referenced_functions.update(functions)
            items = FunctionItems(functions)
        return ElementSegment(mode, element, items, table, start, reader.base + at)

    def data_count_section(self) -> None:
        self.module.data_count = self.count("data segments", MAX_DATA_SEGMENTS)
        self.use("bulk_memory", 0)

    def data_section(self) -> None:
        reader, module = self.reader, self.module
        base = reader.base
        count = self.count("data segments", MAX_DATA_SEGMENTS)
        if module.data_count is not None and module.data_count != count:
            raise self.inconsistent_data(base)
        for _ in each(count):
            at = reader.at
            flags = reader.unsigned()
            if flags > 2:
                raise reader.error(f"malformed data segment kind {flags}", at)
            mode, memory = ACTIVE, 0
            start: ConstExpr = ()
            if flags == 1:
                mode = PASSIVE
                self.use("bulk_memory", at)
            else:
                if flags == 2:
                    memory = reader.unsigned()
                start = self.const_expr(_address_type(module.memories, memory))
            length = reader.unsigned()
            data_start = base + reader.skip(length)
            module.data.append(DataSegment(mode, memory, start, data_start, data_start + length, base + at))

    def inconsistent_data(self, offset: int) -> MalformedError:
        return MalformedError("data count and data section have inconsistent lengths", offset=offset)

    # ---- code (spec section 5.5.13) ----

    def code_section(self) -> None:
        reader, module = self.reader, self.module
        data, base, end = reader.data, reader.base, len(reader.data)
        module.code_start, module.code_end = base, base + end
        count = reader.unsigned()
        if count != len(module.functions) - module.num_imported_functions:
            raise self.inconsistent_code(base)
        bodies = module.bodies
        at = reader.at
        for _ in each(count):
            start = at
            size = data[at]
            at += 1
            if size >= 0x80 and (byte := data[at]) < 0x80:
                size += (byte << 7) - 0x80
                at += 1
            elif size >= 0x80:
                reader.at = start
                size = reader.unsigned()
                at = reader.at
                if size > MAX_BODY_BYTES:
                    raise reader.error(f"function body size exceeds limit of {MAX_BODY_BYTES}: {size}", start)
            body_end = at + size
            if body_end > end:
                raise reader.error("unexpected end of section or function: a body reaches over the code section", start)
            bodies.append(FunctionBody(base + at, base + body_end))
            at = body_end
        reader.at = at

    def inconsistent_code(self, offset: int) -> MalformedError:
        return MalformedError("function and code section have inconsistent lengths", offset=offset)

    # ---- constant expressions (spec section 5.4.9) ----

    def const_expr(self, result: int) -> ConstExpr:
        """A constant expression up to its `end`, for a value of a type; several instructions become a function."""
        reader = self.reader
        data, at = reader.data, reader.at
        if data[at] == I32_CONST and (value := data[at + 1]) < 0x80 and data[at + 2] == _END:  # the usual one
            reader.at = at + 3
            return ((I32_CONST, value - 0x80 if value & 0x40 else value),)
        found: ConstExpr = ()
        count = 0
        while (opcode := reader.byte()) != _END:
            if opcode == I32_CONST:
                immediate = reader.signed()
            elif opcode == GLOBAL_GET:
                immediate = reader.unsigned()
            elif opcode == REF_FUNC:
                immediate = reader.unsigned()
                self.module.referenced_functions.add(immediate)  # may become a reference
            else:
                opcode, immediate = self.const_instruction(opcode)
            count += 1
            found = ((opcode, immediate),)
        if count <= 1 and (not found or found[0][0] in PLAIN):
            return found
        return self.constant_function(at, result)

    def constant_function(self, at: int, result: int) -> ConstExpr:
        """The expression from position `at` of the section up to here, as a call of a function made of it."""
        reader, module = self.reader, self.module
        if reader.at - at > MAX_BODY_BYTES:
            raise reader.error(f"constant expression size exceeds limit of {MAX_BODY_BYTES}: {reader.at - at}", at)
        index = len(module.functions) + len(module.constant_functions)
        module.constant_functions.append(
            ConstantFunction(reader.base + at, reader.base + reader.at, result, len(module.globals))
        )
        return ((CALL, index),)

    def const_instruction(self, opcode: int) -> tuple[int, int]:
        """Any constant instruction, whose first byte was read: its opcode and its last immediate, 0 if it has none.

        One of a later proposal is noted. Raises ValidationError or MalformedError for any other.
        """
        reader = self.reader
        at = reader.at - 1
        code = opcode
        if opcode in (_SIMD_PREFIX, _GC_PREFIX):
            bits = 12 if opcode == _SIMD_PREFIX else 8
            sub = reader.unsigned()
            code = (opcode << bits) + sub if sub < 1 << bits else _NO_OPCODE
        from .ops import CONSTANT_FEATURES, OPS  # here: nearly all constant expressions are one of `PLAIN`

        feature = CONSTANT_FEATURES.get(code)
        if feature is None:
            self.refuse_const_instruction(opcode, at)
        if feature:
            self.use(feature, at)
        immediate = 0
        for word in OPS[code].immediates:
            immediate = self.const_immediate(word, code)
        return code, immediate

    def const_immediate(self, word: str, code: int) -> int:
        """An immediate of an instruction, by the opcode table's word for it."""
        reader = self.reader
        if word == "heaptype":
            return self.heap_type(nullable=True)
        if word == "signed":
            return reader.signed(64 if code == I64_CONST else 32)
        size_bytes = _BYTES_OF_BITS.get(word)
        if size_bytes is None:
            return reader.unsigned()
        start = reader.skip(size_bytes)
        return int.from_bytes(reader.data[start : reader.at], "little")

    def refuse_const_instruction(self, opcode: int, at: int) -> NoReturn:
        """Raises ValidationError for an instruction that is not constant, else MalformedError."""
        from .ops import OPS, UNSUPPORTED_OPCODES

        reader = self.reader
        if opcode in OPS or opcode in UNSUPPORTED_OPCODES or opcode in _PREFIXES:
            raise ValidationError("constant expression required: not a constant instruction", offset=reader.base + at)
        raise reader.error(f"illegal opcode {opcode:#04x} in a constant expression", at)

    # ---- custom sections (spec section 5.5.3) ----

    def custom_section(self) -> None:
        reader = self.reader
        name = reader.name()
        start = reader.skip(len(reader.data) - reader.at)
        module = self.module
        module.custom_sections.append(CustomSection(name, reader.base + start, reader.base + reader.at))
        if name == "name":
            decode_names(bytes(reader.data[start:]), module.names)
