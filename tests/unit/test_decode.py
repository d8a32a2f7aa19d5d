"""The decoder on hand-made bytes: what comes out, and what every kind of damage is called and where."""

from __future__ import annotations

import pytest

from tests.wasm_bytes import (
    CODE,
    DATA,
    DATA_COUNT,
    ELEMENT,
    EMPTY_BODY,
    EMPTY_TYPE,
    EXPORT,
    FUNCTION,
    GLOBAL,
    HEADER,
    IMPORT,
    MEMORY,
    START,
    TABLE,
    TAG,
    TYPE,
    ZERO,
    custom,
    functions,
    module,
    name,
    section,
    signed,
    unsigned,
    vector,
)
from wasmjit.config import SUPPORTED_FEATURES, Features
from wasmjit.errors import MalformedError, UnsupportedError, ValidationError
from wasmjit.wasm.const_expr import CALL
from wasmjit.wasm.decode import decode
from wasmjit.wasm.module import ACTIVE, DECLARATIVE, PASSIVE, Export, FunctionBody
from wasmjit.wasm.types import (
    EXTERNREF,
    F32,
    F64,
    FUNCREF,
    I32,
    I64,
    NON_NULL,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    TableType,
)

REF_FUNC, REF_NULL, GLOBAL_GET, I32_CONST = 0xD2, 0xD0, 0x23, 0x41


def global_section(*entries: bytes) -> bytes:
    return module(section(GLOBAL, vector(*entries)))


# ---- what comes out ----


def test_the_empty_module() -> None:
    decoded = decode(HEADER)
    assert decoded.types == [] and decoded.bodies == [] and decoded.start is None and decoded.data_count is None


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda wasm: memoryview(b"x" + wasm)[1:]])
def test_any_buffer_is_accepted_and_copied(wrap) -> None:  # type: ignore[no-untyped-def]
    decoded = decode(wrap(module(section(MEMORY, b"\1\0\1"))))
    assert decoded.memories == [MemoryType(Limits(1))]
    assert type(decoded.wasm) is bytes


def test_what_is_no_buffer_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        decode("(module)")  # type: ignore[arg-type]


def test_types() -> None:
    many = bytes((I32, I64)) * 70
    decoded = decode(
        module(
            section(
                TYPE,
                vector(
                    EMPTY_TYPE,
                    bytes((0x60, 4, I32, I64, F32, F64, 2, FUNCREF, EXTERNREF)),
                    b"\x60" + unsigned(140) + many + b"\0",
                    b"\x60\1\x63\x70\1\x63\x6f",  # (ref null func), (ref null extern): long forms
                    b"\x60\x82\0\x7f\x7e\x81\x80\0\x7d",  # counts in more bytes than needed
                ),
            )
        )
    )
    assert decoded.types == [
        FuncType((), ()),
        FuncType((I32, I64, F32, F64), (FUNCREF, EXTERNREF)),
        FuncType(tuple(many), ()),
        FuncType((FUNCREF,), (EXTERNREF,)),
        FuncType((I32, I64), (F32,)),
    ]


def test_imports_start_the_index_spaces() -> None:
    decoded = decode(
        module(
            section(TYPE, vector(EMPTY_TYPE)),
            section(
                IMPORT,
                vector(
                    name("m") + name("f") + b"\0\0",
                    name("m") + name("t") + b"\1\x70\1\2\3",
                    name("") + name("mémoire") + b"\2\0\1",
                    name("m") + name("g") + b"\3\x7e\1",
                    name("m") + name("f") + b"\0\0",
                ),
            ),
            section(FUNCTION, b"\1\0"),
            section(TABLE, vector(b"\x6f\0\5")),
            section(GLOBAL, vector(b"\x7f\0" + ZERO)),
            section(CODE, vector(EMPTY_BODY)),
        )
    )
    assert [(i.module, i.name, i.kind, i.type) for i in decoded.imports] == [
        ("m", "f", 0, 0),
        ("m", "t", 1, TableType(FUNCREF, Limits(2, 3))),
        ("", "mémoire", 2, MemoryType(Limits(1))),
        ("m", "g", 3, GlobalType(I64, True)),
        ("m", "f", 0, 0),
    ]
    assert decoded.functions == [0, 0, 0] and decoded.num_imported_functions == 2
    assert decoded.tables == [TableType(FUNCREF, Limits(2, 3)), TableType(EXTERNREF, Limits(5))]
    assert (decoded.num_imported_tables, decoded.num_imported_memories, decoded.num_imported_globals) == (1, 1, 1)
    assert decoded.globals == [GlobalType(I64, True), GlobalType(I32, False)]
    assert decoded.wasm[decoded.imports[1].offset :].startswith(name("m") + name("t"))


def test_function_indices_of_one_two_and_more_bytes() -> None:
    indices = [0, 127, 128, 300, 16_383, 16_384, 70_000]
    type_section = section(TYPE, vector(*[EMPTY_TYPE] * 70_001))
    entries = [unsigned(index) for index in indices] + [unsigned(5, width=5)]
    decoded = decode(
        module(type_section, section(FUNCTION, vector(*entries)), section(CODE, vector(*[EMPTY_BODY] * len(entries))))
    )
    assert decoded.functions == [*indices, 5]


def test_constant_expressions() -> None:
    entries = {
        bytes((I32, 0, I32_CONST)) + signed(-1): ((I32_CONST, -1),),
        bytes((I32, 0, I32_CONST)) + signed(63): ((I32_CONST, 63),),
        bytes((I32, 0, I32_CONST)) + signed(-64): ((I32_CONST, -64),),
        bytes((I32, 0, I32_CONST)) + signed(-(2**31)): ((I32_CONST, -(2**31)),),
        bytes((I32, 0, I32_CONST)) + b"\xff\xff\xff\xff\x07": ((I32_CONST, 2**31 - 1),),
        bytes((I32, 0, I32_CONST)) + b"\x80\x80\x80\x80\x00": ((I32_CONST, 0),),
        bytes((I64, 0, 0x42)) + signed(-(2**63)): ((0x42, -(2**63)),),
        bytes((I64, 0, 0x42)) + signed(2**63 - 1): ((0x42, 2**63 - 1),),
        bytes((F32, 0, 0x43)) + b"\1\0\xa0\x7f": ((0x43, 0x7FA00001),),  # a signalling NaN keeps its bits
        bytes((F64, 1, 0x44)) + b"\1\0\0\0\0\0\xf4\xff": ((0x44, 0xFFF4000000000001),),
        bytes((FUNCREF, 0, REF_NULL, FUNCREF)): ((REF_NULL, FUNCREF),),
        bytes((EXTERNREF, 0, REF_NULL, EXTERNREF)): ((REF_NULL, EXTERNREF),),
        bytes((FUNCREF, 0, REF_FUNC)) + unsigned(300): ((REF_FUNC, 300),),
        bytes((I32, 0, GLOBAL_GET, 5)): ((GLOBAL_GET, 5),),
        # Several instructions become a function behind those of the module, as does one that takes operands.
        bytes((I32, 0, I32_CONST, 1, I32_CONST, 2, 0x6A)): ((CALL, 0),),
        bytes((I64, 0, 0x42, 1, 0x42, 2, 0x7E, 0x42, 3, 0x7D)): ((CALL, 1),),
        bytes((I32, 0, 0x6A)): ((CALL, 2),),
        bytes((I32, 0)): (),
    }
    decoded = decode(global_section(*[entry + b"\x0b" for entry in entries]))
    assert [definition.init for definition in decoded.global_definitions] == list(entries.values())
    assert [definition.type.mutable for definition in decoded.global_definitions].count(True) == 1
    assert decoded.referenced_functions == {300}
    computed = [
        (entry[2:] + b"\x0b", entry[0], at)
        for at, (entry, init) in enumerate(entries.items())
        if init[:1] and init[0][0] == CALL
    ]
    assert [(decoded.wasm[f.start : f.end], f.result, f.num_globals) for f in decoded.constant_functions] == computed
    assert all(decoded.wasm[d.offset] == d.type.content for d in decoded.global_definitions)


def test_the_eight_forms_of_element_segments() -> None:
    null = bytes((REF_NULL, FUNCREF, 0x0B))
    one = bytes((REF_FUNC, 1, 0x0B))
    decoded = decode(
        module(
            section(
                ELEMENT,
                vector(
                    b"\0\x41\1\x0b" + vector(b"\0", b"\2"),
                    b"\1\0" + vector(b"\3"),
                    b"\2\7\x41\2\x0b\0" + vector(),
                    b"\3\0" + vector(b"\4", unsigned(200)),
                    b"\4\x41\3\x0b" + vector(one, null),
                    b"\5\x6f" + vector(bytes((REF_NULL, EXTERNREF, 0x0B))),
                    b"\6\2\x23\0\x0b\x70" + vector(null),
                    b"\7\x70" + vector(one),
                ),
            )
        )
    )
    ref = [(((REF_FUNC, i),)) for i in range(201)]
    null_func, null_extern = ((REF_NULL, FUNCREF),), ((REF_NULL, EXTERNREF),)
    assert [(e.mode, e.element, e.items, e.table, e.start) for e in decoded.elements] == [
        (ACTIVE, FUNCREF | NON_NULL, (ref[0], ref[2]), 0, ((I32_CONST, 1),)),
        (PASSIVE, FUNCREF | NON_NULL, (ref[3],), 0, ()),
        (ACTIVE, FUNCREF | NON_NULL, (), 7, ((I32_CONST, 2),)),
        (DECLARATIVE, FUNCREF | NON_NULL, (ref[4], ref[200]), 0, ()),
        (ACTIVE, FUNCREF, (ref[1], null_func), 0, ((I32_CONST, 3),)),
        (PASSIVE, EXTERNREF, (null_extern,), 0, ()),
        (ACTIVE, FUNCREF, (null_func,), 2, ((GLOBAL_GET, 0),)),
        (DECLARATIVE, FUNCREF, (ref[1],), 0, ()),
    ]
    assert decoded.referenced_functions == {0, 1, 2, 3, 4, 200}


def test_the_three_forms_of_data_segments() -> None:
    decoded = decode(
        module(
            section(DATA_COUNT, b"\3"),
            section(DATA, vector(b"\0\x41\4\x0b\3abc", b"\1\0", b"\2\1\x23\2\x0b\2de")),
        )
    )
    assert [(d.mode, d.memory, d.start, decoded.wasm[d.data_start : d.data_end]) for d in decoded.data] == [
        (ACTIVE, 0, ((I32_CONST, 4),), b"abc"),
        (PASSIVE, 0, (), b""),
        (ACTIVE, 1, ((GLOBAL_GET, 2),), b"de"),
    ]
    assert decoded.data_count == 3


def test_exports_start_and_bodies() -> None:
    wasm = module(
        section(TYPE, vector(EMPTY_TYPE)),
        section(FUNCTION, b"\2\0\0"),
        section(EXPORT, vector(name("f") + b"\0\1", name("m") + b"\2\0", name("") + b"\3" + unsigned(1000))),
        section(START, b"\1"),
        section(CODE, vector(EMPTY_BODY, unsigned(4, width=3) + b"\0\1\1\x0b")),
    )
    decoded = decode(wasm)
    assert [(e.name, e.kind, e.index) for e in decoded.exports] == [("f", 0, 1), ("m", 2, 0), ("", 3, 1000)]
    assert decoded.exports[1] == Export("m", 2, 0, wasm.index(name("m") + b"\2\0"))
    assert decoded.start == 1 and wasm[decoded.start_offset - 2] == START
    assert decoded.referenced_functions == {1}
    end = len(wasm)
    assert decoded.bodies == [FunctionBody(end - 9, end - 7), FunctionBody(end - 4, end)]
    assert (decoded.code_start, decoded.code_end) == (end - 11, end)


def test_custom_sections_anywhere_and_any_number() -> None:
    wasm = module(custom("a", b"123"), section(MEMORY, b"\0"), custom("a"), custom("ü", b"\xff"))
    decoded = decode(wasm)
    assert [(s.name, wasm[s.start : s.end]) for s in decoded.custom_sections] == [
        ("a", b"123"),
        ("a", b""),
        ("ü", b"\xff"),
    ]


# ---- the name section ----


def names_section(*subsections: tuple[int, bytes]) -> bytes:
    return custom("name", b"".join([section(number, contents) for number, contents in subsections]))


def test_names() -> None:
    long = "x" * 300
    function_names = vector(b"\0" + name("f"), unsigned(200) + name("größe"), unsigned(20_000) + name(long))
    wasm = module(names_section((0, name("mod")), (1, function_names), (2, b"garbage"), (99, b"")))
    assert decode(wasm).names.module == "mod"
    assert decode(wasm).names.functions == {0: "f", 200: "größe", 20_000: long}


@pytest.mark.parametrize(
    ("contents", "module_name", "function_names"),
    [
        (b"\0", None, {}),
        (b"\0\x80", None, {}),
        (b"\0\x05\1a", None, {}),
        (b"\0\2\1\xff", None, {}),
        (b"\0\xff\xff\xff\xff\xff\xff", None, {}),
        (section(0, name("m")) + b"\1\x09\5\0\1f\1\2gg\2", "m", {0: "f", 1: "gg"}),
        (section(0, name("m")) + section(1, b"\2\0\1f\1\1\xff"), "m", {0: "f"}),
        (section(1, b"\2\0\1f\1\x7fx"), None, {0: "f"}),
        (b"\xff\xff\xff", None, {}),
    ],
)
def test_a_damaged_name_section_is_no_error(
    contents: bytes, module_name: str | None, function_names: dict[int, str]
) -> None:
    names = decode(module(custom("name", contents))).names
    assert (names.module, names.functions) == (module_name, function_names)


# ---- malformed ----

ONE_FUNCTION = functions(b"\x0b")
LONG = b"\x80\x80\x80\x80\x80\x00"  # zero in six bytes
LARGE = b"\x80\x80\x80\x80\x10"  # 2^32

MALFORMED = {
    "nothing": (b"", "unexpected end", 0),
    "half a magic": (b"\0as", "unexpected end", 3),
    "wrong magic": (b"\0asn\1\0\0\0", "magic header not detected", 0),
    "text": (b"(module)", "magic header not detected", 0),
    "half a version": (b"\0asm\1\0", "unexpected end", 6),
    "version 2": (b"\0asm\2\0\0\0", "unknown binary version", 4),
    "a component": (b"\0asm\x0d\0\1\0", "unknown binary version: this is a component", 4),
    "section id 14": (module(section(14, b"")), "malformed section id", 8),
    "section id as LEB128": (module(b"\x85\0\1\0"), "malformed section id", 8),
    "section without a size": (module(b"\1"), "unexpected end", 9),
    "section size cut off": (module(b"\1\x80"), "unexpected end", 10),
    "section size too long": (module(b"\1" + LONG), "integer representation too long", 9),
    "section size too large": (module(b"\1" + LARGE), "integer too large", 9),
    "section over the end": (module(b"\1\5\0"), "length out of bounds", 8),
    "empty section": (module(section(TYPE, b"")), "unexpected end of section or function", 10),
    "section with too much": (module(section(MEMORY, b"\0\0")), "section size mismatch", 11),
    "section with too little": (module(section(MEMORY, b"\1"), custom("")), "unexpected end of section", 11),
    "sections out of order": (
        module(section(MEMORY, b"\0"), section(TABLE, b"\0")),
        "unexpected content after last",
        11,
    ),
    "section twice": (
        module(section(MEMORY, b"\0"), section(MEMORY, b"\0")),
        "unexpected content after last section",
        11,
    ),
    "start section twice": (module(*[section(START, b"\0")] * 2), "unexpected content after last section", 11),
    "data count before elements": (
        module(section(DATA_COUNT, b"\0"), section(ELEMENT, b"\0")),
        "unexpected content",
        11,
    ),
    "junk at the end": (module(section(MEMORY, b"\0"), b"\7"), "unexpected end", 12),
    "custom section without name": (module(section(0, b"")), "unexpected end", 10),
    "custom name over the end": (module(section(0, b"\5abcd")), "length out of bounds", 11),
    "custom name not UTF-8": (module(section(0, b"\2a\xff")), "malformed UTF-8 encoding", 12),
    "import name not UTF-8": (module(section(IMPORT, b"\1\2\xc0\x80")), "malformed UTF-8 encoding", 12),
    "surrogate in a name": (module(section(0, b"\3\xed\xa0\x80")), "malformed UTF-8 encoding", 11),
    "export name cut off": (module(section(EXPORT, b"\1\x80")), "unexpected end", 12),
    "name of 100,001 bytes": (module(section(0, unsigned(100_001) + b"a" * 100_001)), "string size out of bounds", 12),
    "type form": (module(section(TYPE, b"\1\x61\0\0")), "malformed type", 11),
    "value type": (module(section(TYPE, b"\1\x60\1\x7a\0")), "malformed value type", 13),
    "value type i8": (module(section(TYPE, b"\1\x60\1\x78\0")), "malformed value type", 13),
    "value type 0x40": (module(section(TYPE, b"\1\x60\1\x40\0")), "malformed value type", 13),
    "params cut off": (module(section(TYPE, b"\1\x60\2\x7f")), "unexpected end", 14),
    "heap type": (module(section(TYPE, b"\1\x60\1\x63\x5f\0")), "malformed heap type", 14),
    "heap type in two bytes": (module(section(TYPE, b"\1\x60\1\x63\xf0\x7f\0")), "malformed heap type", 14),
    "type count too long": (module(section(TYPE, LONG)), "integer representation too long", 10),
    "type count too large": (module(section(TYPE, LARGE)), "integer too large", 10),
    "more types than bytes": (module(section(TYPE, unsigned(1000) + EMPTY_TYPE)), "unexpected end", 15),
    "import kind": (module(section(IMPORT, vector(b"\0\0\5\0"))), "malformed import kind", 13),
    "export kind": (module(section(EXPORT, vector(b"\0\x80\0"))), "malformed export kind", 12),
    "mutability": (global_section(b"\x7f\2" + ZERO), "malformed mutability", 12),
    "table element type": (module(section(TABLE, vector(b"\x7f\0\0"))), "malformed reference type", 11),
    "table limits flags 8": (module(section(TABLE, vector(b"\x70\x08\0"))), "malformed limits flags", 12),
    "table limits flags as LEB128": (module(section(TABLE, vector(b"\x70\x81\0\0\0"))), "malformed limits flags", 12),
    "table with a broken initializer": (
        module(section(TABLE, vector(b"\x40\1\x70\0\0" + ZERO))),
        "malformed table",
        12,
    ),
    "memory limits flags 16": (module(section(MEMORY, vector(b"\x10\0"))), "malformed limits flags", 11),
    "memory limits flags as LEB128": (module(section(MEMORY, vector(b"\x81\0\0\0"))), "malformed limits flags", 11),
    "memory without maximum": (module(section(MEMORY, b"\1\1\0")), "unexpected end", 13),
    "memory minimum too long": (
        module(section(MEMORY, b"\1\0" + b"\x80" * 10 + b"\0")),
        "integer representation too long",
        12,
    ),
    "a feature's flag, cut off": (module(section(MEMORY, b"\1\x04")), "unexpected end", 12),
    "no code section": (module(*ONE_FUNCTION[:2]), "function and code section have inconsistent lengths", 18),
    "no function section": (module(section(CODE, vector(EMPTY_BODY))), "function and code section have incons", 10),
    "a body too few": (
        module(ONE_FUNCTION[0], section(FUNCTION, b"\2\0\0"), ONE_FUNCTION[2]),
        "function and code section have inconsistent lengths",
        21,
    ),
    "body over the section": (module(*ONE_FUNCTION[:2], section(CODE, b"\1\3\0\x0b")), "unexpected end", 21),
    "body size cut off": (module(*ONE_FUNCTION[:2], section(CODE, b"\1\x80")), "unexpected end", 22),
    "junk after the bodies": (module(*ONE_FUNCTION[:2], section(CODE, b"\1\2\0\x0b\0")), "section size mismatch", 24),
    "data count without data": (
        module(section(DATA_COUNT, b"\1")),
        "data count and data section have inconsistent",
        11,
    ),
    "data without their count": (
        module(section(DATA_COUNT, b"\2"), section(DATA, vector(b"\1\0"))),
        "data count and data section have inconsistent lengths",
        13,
    ),
    "data segment kind": (module(section(DATA, vector(b"\3\0"))), "malformed data segment kind", 11),
    "data over the section": (module(section(DATA, vector(b"\1\2x"))), "length out of bounds", 13),
    "element segment kind": (module(section(ELEMENT, vector(b"\x08\0\0"))), "malformed elements segment kind", 11),
    "element kind": (module(section(ELEMENT, vector(b"\1\1\0"))), "malformed element kind", 12),
    "element type": (module(section(ELEMENT, vector(b"\5\x7f\0"))), "malformed reference type", 12),
    "i32.const too large": (global_section(b"\x7f\0\x41\x80\x80\x80\x80\x08\x0b"), "integer too large", 14),
    "i32.const, wrong sign bits": (global_section(b"\x7f\0\x41\xff\xff\xff\xff\x4f\x0b"), "integer too large", 14),
    "i32.const too long": (global_section(b"\x7f\0\x41" + LONG + b"\x0b"), "integer representation too long", 14),
    "i64.const too large": (global_section(b"\x7e\0\x42" + b"\x80" * 9 + b"\x01\x0b"), "integer too large", 14),
    "i64.const too long": (global_section(b"\x7e\0\x42" + b"\x80" * 10 + b"\0\x0b"), "integer representation", 14),
    "f64.const cut off": (global_section(b"\x7c\0\x44\0\0\0"), "length out of bounds", 14),
    "constant without end": (global_section(b"\x7f\0\x41\0"), "unexpected end", 15),
    "constant ends in the next section": (module(section(GLOBAL, b"\1\x7f\0\x41"), b"\0\x0b"), "unexpected end", 14),
    "constant with illegal opcode": (global_section(b"\x7f\0\xff\x0b"), "illegal opcode 0xff", 13),
}


@pytest.mark.parametrize(("wasm", "message", "offset"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(wasm: bytes, message: str, offset: int) -> None:
    with pytest.raises(MalformedError) as caught:
        decode(wasm)
    assert caught.value.reason.startswith(message)
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    "instruction",
    [
        b"\x01",
        b"\x41\0\x41\0\x6d",
        b"\x41\0\x45",
        b"\x20\0",
        b"\x10\0",
        b"\x02\x40\x0b",
        b"\xfc\x08\0\0",
        b"\xfd\0",
        b"\x12\0",
    ],
    ids=lambda code: code.hex(),
)
def test_an_instruction_that_is_not_constant(instruction: bytes) -> None:
    with pytest.raises(ValidationError, match="constant expression required"):
        decode(global_section(b"\x7f\0" + instruction + b"\x0b"))


def test_every_truncation_is_malformed_or_a_shorter_module() -> None:
    wasm = module(
        section(TYPE, vector(EMPTY_TYPE, b"\x60\2\x7f\x7e\1\x7d")),
        section(IMPORT, vector(name("m") + name("t") + b"\1\x70\1\2\3")),
        section(FUNCTION, b"\1\0"),
        section(MEMORY, b"\1\1\1\2"),
        section(GLOBAL, vector(b"\x7f\0" + ZERO)),
        section(EXPORT, vector(name("f") + b"\0\0")),
        section(ELEMENT, vector(b"\0\x41\0\x0b\1\0")),
        section(DATA_COUNT, b"\1"),
        section(CODE, vector(EMPTY_BODY)),
        section(DATA, vector(b"\1\4data")),
        custom("c", b"contents"),
    )
    decode(wasm)
    whole = 0
    for length in range(len(wasm)):
        try:
            decode(wasm[:length])
            whole += 1
        except MalformedError as error:
            assert error.offset is not None and 0 <= error.offset <= length
    # Cut before the function section, after the data section: these are modules.
    assert whole == 4


# ---- features ----

FEATURES = {
    "v128 parameter": ("simd", module(section(TYPE, b"\1\x60\1\x7b\0")), 13),
    "v128.const": ("simd", global_section(b"\x7f\0\xfd\x0c" + bytes(16) + b"\x0b"), 13),
    "v128 global": ("simd", global_section(b"\x7b\0\xfd\x0c" + bytes(16) + b"\x0b"), 11),
    "shared memory": ("threads", module(section(MEMORY, b"\1\3\1\1")), 11),
    "64-bit memory": ("memory64", module(section(MEMORY, b"\1\4\x80\x80\x80\x80\x80\1")), 11),
    "64-bit table": ("memory64", module(section(TABLE, b"\1\x70\5\0\1")), 12),
    "page size": ("custom_page_sizes", module(section(MEMORY, b"\1\x08\1\0")), 11),
    "tag section": ("exceptions", module(section(TYPE, vector(EMPTY_TYPE)), section(TAG, b"\1\0\0")), 17),
    "tag import": ("exceptions", module(section(TYPE, vector(EMPTY_TYPE)), section(IMPORT, b"\1\0\0\4\0\0")), 20),
    "exnref": ("exceptions", module(section(TYPE, b"\1\x60\1\x69\0")), 13),
    "anyref": ("gc", global_section(b"\x6e\0\xd0\x71\x0b"), 11),
    "null of none": ("gc", global_section(b"\x70\0\xd0\x71\x0b"), 14),
    "reference to a structure": (
        "gc",
        module(section(TYPE, b"\1\x5f\0"), section(TABLE, b"\1\x63\0\0\0")),
        17,
    ),
    "function of anyref": (
        "gc",
        module(section(TYPE, b"\1\x60\1\x6e\0"), section(IMPORT, b"\1\0\0\0\0")),
        21,
    ),
    "struct.new_default": (
        "gc",
        module(section(TYPE, b"\1\x5f\0"), section(GLOBAL, vector(b"\x6e\0\xfb\1\0\x0b"))),
        16,
    ),
    "non-null reference": ("function_references", module(section(TYPE, b"\1\x60\1\x64\x70\0")), 13),
    "reference to a type": ("function_references", module(section(TYPE, b"\2\x60\0\0\x60\1\x63\0\0")), 17),
    "table with initializer": ("function_references", module(section(TABLE, b"\1\x40\0\x70\0\0\xd0\x70\x0b")), 11),
    "second memory": ("multi_memory", module(section(MEMORY, b"\2\0\0\0\0")), 10),
}


@pytest.mark.parametrize(("feature", "wasm", "offset"), FEATURES.values(), ids=FEATURES)
def test_features_that_are_missing_are_named(feature: str, wasm: bytes, offset: int) -> None:
    if feature in SUPPORTED_FEATURES:
        decode(wasm, Features(**{feature: True}))
        with pytest.raises(
            UnsupportedError, match=rf"feature {feature} is off.*-W {feature.replace('_', '-')}=y"
        ) as off:
            decode(wasm, Features(**{feature: False}))
        assert off.value.offset == offset or feature == "gc"  # its types are off where they are defined
    else:
        with pytest.raises(UnsupportedError, match=f"feature {feature} is not supported yet") as caught:
            decode(wasm)
        assert caught.value.offset == offset


DEFINED = {
    "anyref": (b"\1\x60\1\x6e\0", 13),
    "structure": (b"\1\x5f\2\x78\1\x7f\0", 11),
    "array": (b"\1\x5e\x77\0", 11),
    "group": (b"\1\x4e\2\x50\0\x5f\0\x60\0\0", 11),
    "supertype": (b"\2\x50\0\x60\0\0\x4f\1\0\x60\0\0", 11),
}


@pytest.mark.parametrize(("types", "offset"), DEFINED.values(), ids=DEFINED)
def test_types_of_garbage_collection_can_be_defined(types: bytes, offset: int) -> None:
    wasm = module(section(TYPE, types))
    decode(wasm)
    with pytest.raises(UnsupportedError, match=r"feature gc is off.*-W gc=y") as off:
        decode(wasm, Features(gc=False))
    assert off.value.offset == offset


@pytest.mark.parametrize(("feature", "wasm", "offset"), FEATURES.values(), ids=FEATURES)
def test_damage_comes_before_missing_features(feature: str, wasm: bytes, offset: int) -> None:
    with pytest.raises(MalformedError, match="function and code section have inconsistent lengths"):
        decode(wasm + section(CODE, b"\1\2\0\x0b"))


@pytest.mark.parametrize(
    ("feature", "wasm"),
    [
        ("multi_value", module(section(TYPE, b"\1\x60\0\2\x7f\x7f"))),
        ("bulk_memory", module(section(DATA, vector(b"\1\0")))),
        ("bulk_memory", module(section(DATA_COUNT, b"\0"))),
        ("bulk_memory", module(section(ELEMENT, vector(b"\1\0\0")))),
        ("reference_types", module(section(TYPE, b"\1\x60\1\x6f\0"))),
        ("reference_types", module(section(TABLE, vector(b"\x70\0\0", b"\x70\0\0")))),
        ("reference_types", module(section(ELEMENT, vector(b"\4\x41\0\x0b\0")))),
    ],
)
def test_features_that_are_off(feature: str, wasm: bytes) -> None:
    decode(wasm)
    with pytest.raises(UnsupportedError, match=f"feature {feature} is off in the Config"):
        decode(wasm, Features(**{feature: False}))


# ---- implementation limits: at the limit and one over ----


# What there may be a million of: section and item.
MILLIONS = {
    "types": (TYPE, EMPTY_TYPE),
    "imports": (IMPORT, b"\0\0\3\x7f\0"),
    "globals": (GLOBAL, b"\x7f\0" + ZERO),
    "exports": (EXPORT, b"\0\3\0"),
}


def million(what: str, more: int, present: int = 1_000_000) -> bytes:
    """A module that says it has a million of this and `more`, of which so many are there."""
    number, item = MILLIONS[what]
    return module(section(number, unsigned(1_000_000 + more) + item * present))


def at_limit(count: int) -> dict[str, bytes]:
    """What else is limited -> a module that has `count` of it too many."""
    params = b"\x60" + unsigned(1000 + count) + b"\x7f" * (1000 + count) + b"\0"
    results = b"\x60\0" + unsigned(1000 + count) + b"\x7f" * (1000 + count)
    body = b"\0" + b"\1" * (7_654_319 + count) + b"\x0b"
    return {
        "params": module(section(TYPE, vector(params))),
        "results": module(section(TYPE, vector(results))),
        "tables": module(section(TABLE, vector(*[b"\x70\0\0"] * (100_000 + count)))),
        "element segments": module(section(ELEMENT, vector(*[b"\1\0\0"] * (100_000 + count)))),
        "data segments": module(section(DATA, vector(*[b"\1\0"] * (100_000 + count)))),
        "function body size": module(*ONE_FUNCTION[:2], section(CODE, vector(unsigned(len(body)) + body))),
    }


def test_limits() -> None:
    for wasm in at_limit(0).values():
        decode(wasm)
    for what in MILLIONS:  # whole ones: test_a_million
        with pytest.raises(MalformedError, match="unexpected end"):
            decode(million(what, 0, present=3))
    for what, wasm in (at_limit(1) | {what: million(what, 1) for what in MILLIONS}).items():
        with pytest.raises(MalformedError, match=f"^{what}.* exceeds limit of ") as caught:
            decode(wasm)
        assert caught.value.offset is not None


@pytest.mark.slow
@pytest.mark.parametrize("what", MILLIONS)
def test_a_million(what: str) -> None:
    decode(million(what, 0))


def test_imports_count_towards_the_limits() -> None:
    table = b"\0\0\1\x70\0\0"
    wasm = module(section(IMPORT, vector(*[table] * 60_000)), section(TABLE, vector(*[b"\x70\0\0"] * 40_001)))
    with pytest.raises(MalformedError, match="tables count exceeds limit of 100000: 100001"):
        decode(wasm)
    with pytest.raises(MalformedError, match="tables count exceeds limit of 100000: 100001"):
        decode(module(section(IMPORT, vector(*[table] * 100_001))))


def test_a_huge_count_costs_nothing() -> None:
    with pytest.raises(MalformedError, match="unexpected end"):
        decode(module(section(ELEMENT, b"\1\1\0" + unsigned(10_000_000))))
    with pytest.raises(MalformedError, match="elements count exceeds limit"):
        decode(module(section(ELEMENT, b"\1\1\0" + unsigned(2**32 - 1))))
