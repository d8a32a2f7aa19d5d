"""A decoded module back into bytes: an encoder for the tests, so that nothing the decoder reads goes unchecked."""

from __future__ import annotations

from tests.wasm_bytes import (
    CODE,
    DATA,
    DATA_COUNT,
    ELEMENT,
    EXPORT,
    FUNCTION,
    GLOBAL,
    IMPORT,
    MEMORY,
    START,
    TABLE,
    TAG,
    TYPE,
    module,
    name,
    section,
    signed,
    unsigned,
    vector,
)
from wasmjit.wasm.const_expr import CALL, V128_CONST
from wasmjit.wasm.module import ACTIVE, PASSIVE, ConstExpr, DataSegment, ElementSegment, FunctionItems, Module
from wasmjit.wasm.types import PAGE_SIZE_LOG2, GlobalType, Limits, MemoryType, TableType
from wasmjit.wasm.types import TAG as TAG_KIND


def _expression(decoded: Module, expression: ConstExpr) -> bytes:
    ((opcode, immediate),) = expression
    if opcode == CALL:
        function = decoded.constant_functions[immediate - len(decoded.functions)]
        return bytes(decoded.wasm[function.start : function.end])
    if opcode == V128_CONST:
        return b"\xfd\x0c" + immediate.to_bytes(16, "little") + b"\x0b"
    if opcode in (0x41, 0x42):
        written = signed(immediate)
    elif opcode in (0x43, 0x44):
        written = immediate.to_bytes(4 if opcode == 0x43 else 8, "little")
    else:
        written = unsigned(immediate)
    return bytes([opcode]) + written + b"\x0b"


def _limits(limits: Limits, flags: int = 0) -> bytes:
    if limits.max is None:
        return bytes([flags]) + unsigned(limits.min)
    return bytes([flags | 1]) + unsigned(limits.min) + unsigned(limits.max)


def _memory(memory: MemoryType) -> bytes:
    flags = 4 * memory.is_64 + 2 * memory.shared
    if memory.page_size_log2 == PAGE_SIZE_LOG2:
        return _limits(memory.limits, flags)
    return _limits(memory.limits, flags | 8) + unsigned(memory.page_size_log2)


def _extern_type(extern: int | TableType | MemoryType | GlobalType) -> bytes:
    if isinstance(extern, int):
        return unsigned(extern)
    if isinstance(extern, TableType):
        return bytes([extern.element]) + _limits(extern.limits, 4 * extern.is_64)
    if isinstance(extern, MemoryType):
        return _memory(extern)
    return bytes([extern.content, extern.mutable])


def _element(decoded: Module, segment: ElementSegment) -> bytes:
    """Functions as functions, whose references are not null; else with expressions."""
    if isinstance(segment.items, FunctionItems):
        form, element, items = 0, b"\0", vector(*[unsigned(function) for function in segment.items.functions])
    else:
        form, element = 4, bytes([segment.element])
        items = vector(*[_expression(decoded, item) for item in segment.items])
    if segment.mode == ACTIVE:
        return bytes([form + 2]) + unsigned(segment.table) + _expression(decoded, segment.start) + element + items
    return bytes([form + (1 if segment.mode == PASSIVE else 3)]) + element + items


def _data(decoded: Module, segment: DataSegment) -> bytes:
    contents = decoded.wasm[segment.data_start : segment.data_end]
    start = b"\1" if segment.mode == PASSIVE else b"\2" + unsigned(segment.memory) + _expression(decoded, segment.start)
    return start + unsigned(len(contents)) + contents


def encode(decoded: Module) -> bytes:
    """The module again: custom sections are left out, every integer is as short as can be, elements are expressions."""
    types = [
        b"\x60" + vector(*[bytes([t]) for t in functype.params]) + vector(*[bytes([t]) for t in functype.results])
        for functype in decoded.types
    ]
    imports = [
        name(i.module) + name(i.name) + bytes([i.kind]) + (b"\0" if i.kind == TAG_KIND else b"") + _extern_type(i.type)
        for i in decoded.imports
    ]
    defined = {
        FUNCTION: [unsigned(index) for index in decoded.functions[decoded.num_imported_functions :]],
        TABLE: [_extern_type(table) for table in decoded.tables[decoded.num_imported_tables :]],
        MEMORY: [_extern_type(memory) for memory in decoded.memories[decoded.num_imported_memories :]],
        TAG: [b"\0" + unsigned(tag) for tag in decoded.tags[decoded.num_imported_tags :]],
        GLOBAL: [_extern_type(g.type) + _expression(decoded, g.init) for g in decoded.global_definitions],
        EXPORT: [name(e.name) + bytes([e.kind]) + unsigned(e.index) for e in decoded.exports],
    }
    bodies = [decoded.wasm[body.start : body.end] for body in decoded.bodies]
    sections = [section(TYPE, vector(*types)), section(IMPORT, vector(*imports))]
    sections += [section(number, vector(*entries)) for number, entries in defined.items()]
    if decoded.start is not None:
        sections.append(section(START, unsigned(decoded.start)))
    sections.append(section(ELEMENT, vector(*[_element(decoded, segment) for segment in decoded.elements])))
    if decoded.data_count is not None:
        sections.append(section(DATA_COUNT, unsigned(decoded.data_count)))
    sections.append(section(CODE, vector(*[unsigned(len(body)) + body for body in bodies])))
    sections.append(section(DATA, vector(*[_data(decoded, segment) for segment in decoded.data])))
    return module(*sections)
