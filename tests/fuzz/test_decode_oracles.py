"""The decoder against independent ones: wasm-tools (objdump, print, validate), wasm-tob and the wasmtime package."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import wasm_tob
import wasmtime

from tests.fuzz.corpus import SEEDS, example_modules, seed_modules, smith_modules
from tests.fuzz.encode import encode
from tests.fuzz.mutate import join_sections, split_sections
from tests.fuzz.oracle import ALL_FEATURES, our_refusal, wasm_tools_refusal
from wasmjit.wasm.const_expr import CALL
from wasmjit.wasm.decode import decode
from wasmjit.wasm.module import ACTIVE, ConstExpr, Module
from wasmjit.wasm.text import find_wasm_tools
from wasmjit.wasm.types import (
    EXNREF,
    FUNCREF,
    NULLEXNREF,
    V128,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    TableType,
    valtype_name,
)

MVP = (
    "--bulk-memory-enabled=false",
    "--custom-page-sizes-enabled=false",
    "--exceptions-enabled=false",
    "--memory64-enabled=false",
    "--multi-value-enabled=false",
    "--reference-types-enabled=false",
    "--relaxed-simd-enabled=false",
    "--simd-enabled=false",
    "--threads-enabled=false",
)
REF_FUNC = 0xD2


@pytest.fixture(scope="module")
def modules() -> list[bytes]:
    """Seeds, small examples, and modules from wasm-tools smith, some with needlessly long LEB128s."""
    return [
        *seed_modules(),
        *example_modules(30_000),
        *smith_modules(60, seed=1),
        *smith_modules(20, seed=2, options=("--min-uleb-size=4", "--exceptions-enabled=false")),
    ]


def wasm_tools(*arguments: str, wasm: bytes) -> str:
    result = subprocess.run([find_wasm_tools(), *arguments], input=wasm, capture_output=True, check=True)
    return result.stdout.decode()


def test_there_are_seeds(modules: list[bytes]) -> None:
    assert len(list(SEEDS.glob("*.wat"))) >= 7
    assert len(modules) >= 80


def test_valid_modules_are_accepted(modules: list[bytes]) -> None:
    for wasm in modules:
        assert wasm_tools_refusal(wasm) is None
        assert our_refusal(wasm) is None


def test_sections_counts_and_ranges_are_those_of_objdump(modules: list[bytes]) -> None:
    row = re.compile(r"^ +([\w ]+?)(?: \"(.*)\")? +\| +0x([0-9a-f]+) - +0x([0-9a-f]+) \|.*\| (\d+) count$", re.M)
    for wasm in modules:
        decoded = decode(wasm, ALL_FEATURES)
        defined = {
            "types": len(decoded.types),
            "imports": len(decoded.imports),
            "functions": len(decoded.functions) - decoded.num_imported_functions,
            "tables": len(decoded.tables) - decoded.num_imported_tables,
            "memories": len(decoded.memories) - decoded.num_imported_memories,
            "tags": len(decoded.tags) - decoded.num_imported_tags,
            "globals": len(decoded.global_definitions),
            "exports": len(decoded.exports),
            "elements": len(decoded.elements),
            "data count": 1,
            "code": len(decoded.bodies),
            "data": len(decoded.data),
            "start": 1,
        }
        customs = []
        for what, _name, start, end, count in row.findall(wasm_tools("objdump", wasm=wasm)):
            if what == "custom":
                customs.append((int(start, 16), int(end, 16)))
                continue
            assert int(count) == defined.pop(what), (what, wasm.hex())
            if what == "code" and decoded.bodies:
                assert decoded.code_end == int(end, 16)
                assert decoded.code_start == int(start, 16)
        assert [(s.start, s.end) for s in decoded.custom_sections] == customs
        assert not any(count for what, count in defined.items() if what not in ("data count", "start"))


def test_encoding_what_was_decoded_gives_the_same_module(modules: list[bytes]) -> None:
    for wasm in modules:
        decoded = decode(wasm, ALL_FEATURES)
        without_customs = join_sections([(number, data) for number, data in split_sections(wasm) if number != 0])
        again = encode(decoded)
        assert printed(again) == printed(without_customs), wasm.hex()
        assert comparable(decode(again, ALL_FEATURES)) == comparable(decoded)


def printed(wasm: bytes) -> str:
    """As WAT, every element segment spelt with expressions and an explicit table."""
    text = wasm_tools("print", wasm=wasm).replace(" (pagesize 0x10000)", "")  # the default
    lines = []
    for line in text.splitlines():
        if line.startswith("  (elem "):
            line = re.sub(r"\(table \d+\) ", "", line)
            line = re.sub(r" func((?: \d+)*)\)$", _as_expressions, line)
        lines.append(line)
    return "\n".join(lines)


def _as_expressions(match: re.Match[str]) -> str:
    return " funcref" + "".join(f" (ref.func {index})" for index in match[1].split()) + ")"


def comparable(decoded: Module) -> tuple[Any, ...]:
    """What does not depend on where in the bytes things are."""
    return (
        decoded.types,
        [(i.module, i.name, i.kind, i.type) for i in decoded.imports],
        decoded.functions,
        decoded.tables,
        decoded.memories,
        decoded.tags,
        decoded.globals,
        [(g.type, g.init) for g in decoded.global_definitions],
        [(e.name, e.kind, e.index) for e in decoded.exports],
        decoded.start,
        [(e.mode, e.element, e.items, e.table, e.start) for e in decoded.elements],
        [(d.mode, d.memory, d.start, decoded.wasm[d.data_start : d.data_end]) for d in decoded.data],
        decoded.data_count,
        [decoded.wasm[body.start : body.end] for body in decoded.bodies],
        [(decoded.wasm[f.start : f.end], f.result, f.num_globals) for f in decoded.constant_functions],
        decoded.referenced_functions,
    )


def test_function_names_are_those_that_wasm_tools_prints() -> None:
    named = re.compile(r"\(func \$(\S+) \(;(\d+);\)")
    found = 0
    for wasm in seed_modules():
        names = decode(wasm, ALL_FEATURES).names.functions
        for function_name, index in named.findall(wasm_tools("print", wasm=wasm)):
            assert names[int(index)] == function_name
            found += 1
    assert found > 100


def test_wasm_tob_reads_the_same() -> None:
    """wasm-tob knows the MVP only: modules of that kind, section by section."""
    modules = smith_modules(80, seed=3, options=(*MVP, "--min-data-segments=1", "--min-globals=1"))
    assert len(modules) > 60
    seen: set[int] = set()
    for wasm in modules:
        decoded = decode(wasm, ALL_FEATURES)
        if len(decoded.memories) > 1:
            continue
        for fragment in list(wasm_tob.decode_module(wasm))[1:]:
            section, payload = fragment.data.id, fragment.data.payload
            seen.add(section)
            assert as_wasm_tob_sees(decoded, section) == from_wasm_tob(section, payload, fragment.data), section
    assert seen >= {1, 2, 3, 4, 5, 6, 7, 9, 10, 11}


def as_wasm_tob_sees(decoded: Module, section: int) -> list[Any]:
    if section == 0:
        return []  # compared with objdump

    def read(expression: ConstExpr) -> tuple[tuple[int, int | None], ...]:
        ((opcode, index),) = expression
        if opcode != CALL:
            return expression
        function = decoded.constant_functions[index - len(decoded.functions)]
        return instructions_of(list(wasm_tob.decode_bytecode(decoded.wasm[function.start : function.end])))

    return {
        1: lambda: [(t.params, t.results) for t in decoded.types],
        2: lambda: [(i.module, i.name, i.kind, i.type) for i in decoded.imports],
        3: lambda: decoded.functions[decoded.num_imported_functions :],
        4: lambda: decoded.tables[decoded.num_imported_tables :],
        5: lambda: decoded.memories[decoded.num_imported_memories :],
        6: lambda: [(g.type, read(g.init)) for g in decoded.global_definitions],
        7: lambda: [(e.name, e.kind, e.index) for e in decoded.exports],
        8: lambda: [decoded.start],
        9: lambda: [(e.table, read(e.start), [i[0][1] for i in e.items]) for e in decoded.elements if e.mode == ACTIVE],
        10: lambda: [body.end - body.start for body in decoded.bodies],
        11: lambda: [(d.memory, read(d.start), decoded.wasm[d.data_start : d.data_end]) for d in decoded.data],
        12: lambda: [decoded.data_count],
    }[section]()


def from_wasm_tob(section: int, payload: Any, whole: Any) -> list[Any]:
    """wasm-tob's view in our records; its value types are signed 7-bit numbers."""
    if section == 0:
        return []
    return {
        1: lambda: [
            (tuple(t & 0x7F for t in e.param_types), (e.return_type & 0x7F,) if e.return_count else ())
            for e in payload.entries
        ],
        2: lambda: [(text(e.module_str), text(e.field_str), e.kind, extern(e.kind, e.type)) for e in payload.entries],
        3: lambda: list(payload.types),
        4: lambda: [extern(1, e) for e in payload.entries],
        5: lambda: [extern(2, e) for e in payload.entries],
        6: lambda: [(extern(3, e.type), instructions_of(e.init)) for e in payload.globals],
        7: lambda: [(text(e.field_str), e.kind, e.index) for e in payload.entries],
        8: lambda: [payload.index],
        9: lambda: [(e.index, instructions_of(e.offset), list(e.elems)) for e in payload.entries],
        10: lambda: [e.body_size for e in payload.bodies],
        11: lambda: [(e.index, instructions_of(e.offset), e.data.tobytes()) for e in payload.entries],
        12: lambda: [payload.count],
    }[section]()


def text(view: memoryview) -> str:
    return bytes(view).decode()


def extern(kind: int, entry: Any) -> int | TableType | MemoryType | GlobalType:
    if kind == 0:
        return int(entry.type)
    if kind == 3:
        return GlobalType(entry.content_type & 0x7F, bool(entry.mutability))
    limits = Limits(entry.limits.initial, entry.limits.maximum if entry.limits.flags & 1 else None)
    return TableType(entry.element_type & 0x7F, limits) if kind == 1 else MemoryType(limits)


def instructions_of(instructions: Any) -> tuple[tuple[int, int | None], ...]:
    out: list[tuple[int, int | None]] = []
    for instruction in instructions[:-1]:
        immediate = instruction.imm
        value = getattr(immediate, "value", getattr(immediate, "global_index", None))
        out.append((instruction.op.id, value))
    return tuple(out)


def test_imports_and_exports_are_those_of_the_wasmtime_package(modules: list[bytes]) -> None:
    config = wasmtime.Config()
    config.wasm_custom_page_sizes = config.wasm_wide_arithmetic = True
    engine = wasmtime.Engine(config)
    compared = 0
    for wasm in modules:
        decoded, theirs = decode(wasm, ALL_FEATURES), wasmtime.Module(engine, wasm)
        types = {type for t in decoded.types for type in (*t.params, *t.results)}
        types |= {g.content for g in decoded.globals} | {t.element for t in decoded.tables}
        if decoded.tags or not types.isdisjoint((V128, EXNREF, NULLEXNREF)):
            continue  # the wasmtime package aborts on these
        compared += 1
        ours = [(i.module, i.name, described(decoded, i.type)) for i in decoded.imports]
        assert ours == [(i.module, i.name, from_wasmtime(i.type)) for i in theirs.imports]
        spaces = (decoded.functions, decoded.tables, decoded.memories, decoded.globals)
        exports = [(e.name, described(decoded, spaces[e.kind][e.index])) for e in decoded.exports]
        assert exports == [(e.name, from_wasmtime(e.type)) for e in theirs.exports]
    assert compared > len(modules) // 4


def described(decoded: Module, extern_type: int | TableType | MemoryType | GlobalType) -> tuple[Any, ...]:
    if isinstance(extern_type, int):
        functype: FuncType = decoded.types[extern_type]
        return tuple(map(valtype_name, functype.params)), tuple(map(valtype_name, functype.results))
    if isinstance(extern_type, TableType):
        return valtype_name(extern_type.element), extern_type.limits.min, extern_type.limits.max
    if isinstance(extern_type, MemoryType):
        return *_limits(extern_type), extern_type.is_64, 1 << extern_type.page_size_log2
    return valtype_name(extern_type.content), extern_type.mutable


def _limits(memory: Any) -> tuple[int, int | None]:
    return memory.limits.min, memory.limits.max


def from_wasmtime(extern_type: Any) -> tuple[Any, ...]:
    if isinstance(extern_type, wasmtime.FuncType):
        return tuple(map(valtype_text, extern_type.params)), tuple(map(valtype_text, extern_type.results))
    if isinstance(extern_type, wasmtime.TableType):
        return valtype_text(extern_type.element), extern_type.limits.min, extern_type.limits.max
    if isinstance(extern_type, wasmtime.MemoryType):
        return *_limits(extern_type), extern_type.is_64, extern_type.page_size
    return valtype_text(extern_type.content), extern_type.mutable


def valtype_text(valtype: wasmtime.ValType) -> str:
    return "externref" if valtype == wasmtime.ValType.externref() else str(valtype)  # it prints that one as "anyref"


def test_the_long_form_of_reference_types_is_the_short_one() -> None:
    assert decode(b"\0asm\1\0\0\0\4\5\1\x63\x70\0\1").tables == [TableType(FUNCREF, Limits(1))]
