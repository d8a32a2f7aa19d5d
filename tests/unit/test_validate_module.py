"""Validation of everything around the function bodies: what is refused, in which words, and where."""

from __future__ import annotations

import pytest

from tests.wasm_bytes import (
    CODE,
    DATA,
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
    TYPE,
    functions,
    module,
    name,
    section,
    signed,
    unsigned,
    vector,
)
from wasmjit.errors import MalformedError, ValidationError
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.validate import validate, validate_module_level

# WAT -> how the message starts. The offset must lie in the section given.
INVALID = {
    "unknown type of an import": ('(import "" "" (func (type 7)))', "unknown type 7", IMPORT),
    "unknown type of a function": ("(func (type 7))", "unknown type 7", FUNCTION),
    "memory too large": ("(memory 65537)", "memory size must be at most 65536 pages (4GiB)", MEMORY),
    "memory maximum too large": ("(memory 0 65537)", "memory size must be at most 65536 pages (4GiB)", MEMORY),
    "imported memory too large": ('(import "" "" (memory 65537))', "memory size must be at most 65536 pages", IMPORT),
    "memory limits swapped": ("(memory 2 1)", "size minimum must not be greater than maximum", MEMORY),
    "table limits swapped": ("(table 2 1 funcref)", "size minimum must not be greater than maximum", TABLE),
    "imported table limits swapped": (
        '(import "" "" (table 2 1 funcref))',
        "size minimum must not be greater than maximum",
        IMPORT,
    ),
    "export of an unknown function": ('(export "a" (func 0))', "unknown function 0", EXPORT),
    "export of an unknown table": ('(export "a" (table 0))', "unknown table 0", EXPORT),
    "export of an unknown memory": ('(export "a" (memory 0))', "unknown memory 0", EXPORT),
    "export of an unknown global": ('(export "a" (global 0))', "unknown global 0", EXPORT),
    "export twice": (
        '(memory 0) (func) (export "a" (func 0)) (export "b" (func 0)) (export "a" (memory 0))',
        'duplicate export name "a"',
        EXPORT,
    ),
    "unknown start": ("(start 0)", "unknown function 0", START),
    "start with a parameter": ("(func (param i32)) (start 0)", "start function", START),
    "start with a result": ("(func (result i32) (i32.const 0)) (start 0)", "start function", START),
    "global of another type": ("(global i32 (i64.const 0))", "type mismatch", GLOBAL),
    "global without a value": ("(global i32)", "type mismatch", GLOBAL),
    "global with two values": ("(global i32 (i32.const 0) (i32.const 0))", "type mismatch", GLOBAL),
    "null of another type": ("(global funcref (ref.null extern))", "type mismatch", GLOBAL),
    "function for an externref": ("(func $f) (global externref (ref.func $f))", "type mismatch", GLOBAL),
    "sum of one": ("(global i32 (i32.const 0) i32.add)", "type mismatch", GLOBAL),
    "sum of nothing": ("(global i32 i32.add)", "type mismatch", GLOBAL),
    "sum of two types": ("(global i32 (i32.add (i32.const 0) (i64.const 0)))", "type mismatch", GLOBAL),
    "sum of another type": ("(global i64 (i32.add (i32.const 0) (i32.const 0)))", "type mismatch", GLOBAL),
    "unknown global": ("(global i32 (global.get 1))", "unknown global 1", GLOBAL),
    "global that reads itself": ("(global i32 (global.get 0))", "unknown global 0", GLOBAL),
    "global behind": (
        "(global i32 (global.get 1)) (global i32 (i32.const 0))",
        "unknown global 1: only globals before this",
        GLOBAL,
    ),
    "mutable global of the module": (
        "(global (mut i32) (i32.const 0)) (global i32 (global.get 0))",
        "constant expression required: global 0 is mutable",
        GLOBAL,
    ),
    "global of the module for a table": (
        "(table 1 funcref (global.get 0)) (global funcref (ref.null func))",
        "unknown global 0: only globals before this",
        TABLE,
    ),
    "global that reads a variable": (
        '(import "" "" (global (mut i32))) (global i32 (global.get 0))',
        "constant expression required",
        GLOBAL,
    ),
    "global that reads another type": (
        '(import "" "" (global i64)) (global i32 (global.get 0))',
        "type mismatch",
        GLOBAL,
    ),
    "reference to an unknown function": ("(global funcref (ref.func 3))", "unknown function 3", GLOBAL),
    "elements of an unknown table": ("(elem (i32.const 0) func)", "unknown table 0", ELEMENT),
    "unknown function in elements": ("(table 1 funcref) (elem (i32.const 0) 5)", "unknown function 5", ELEMENT),
    "unknown function in an expression": ("(elem funcref (ref.func 5))", "unknown function 5", ELEMENT),
    "functions for a table of externref": (
        "(table 1 externref) (func $f) (elem (i32.const 0) func $f)",
        "type mismatch",
        ELEMENT,
    ),
    "externref for a table of funcref": (
        "(table 1 funcref) (elem (i32.const 0) externref (ref.null extern))",
        "type mismatch",
        ELEMENT,
    ),
    "element of another type": ("(elem funcref (ref.null extern))", "type mismatch", ELEMENT),
    "number as element": ("(elem funcref (item i32.const 0))", "type mismatch", ELEMENT),
    "element start of another type": ("(table 1 funcref) (elem (i64.const 0) func)", "type mismatch", ELEMENT),
    "data of an unknown memory": ('(data (i32.const 0) "")', "unknown memory 0", DATA),
    "data of a further memory": ('(memory 0) (data (memory 2) (i32.const 0) "")', "unknown memory 2", DATA),
    "data start of another type": ('(memory 0) (data (f32.const 0) "")', "type mismatch", DATA),
    "function as data start": ('(memory 0) (func $f) (data (ref.func $f) "")', "type mismatch", DATA),
}


def section_of(wasm: bytes, offset: int) -> int:
    """The id of the section that holds `offset`."""
    at = len(HEADER)
    while True:
        size, start, shift = 0, at + 1, 0
        while wasm[start] >= 0x80:
            size |= (wasm[start] & 0x7F) << shift
            start, shift = start + 1, shift + 7
        size |= wasm[start] << shift
        if at <= offset <= start + 1 + size:
            return wasm[at]
        at = start + 1 + size


@pytest.mark.parametrize(("text", "message", "place"), INVALID.values(), ids=INVALID)
def test_invalid(text: str, message: str, place: int) -> None:
    wasm = wat2wasm(f"(module {text})")
    decoded = decode(wasm)
    with pytest.raises(ValidationError) as caught:
        validate_module_level(decoded)
    assert caught.value.reason.startswith(message)
    assert caught.value.offset is not None
    assert section_of(wasm, caught.value.offset) == place
    with pytest.raises(ValidationError):
        validate(decoded)


VALID = {
    "nothing": "",
    "largest memory": "(memory 65536 65536)",
    "largest table": "(table 0 4294967295 funcref)",
    "one name for each kind": '(func (export "a")) (memory (export "b") 0)',
    "start": "(func) (start 0)",
    "imported start": '(import "" "" (func)) (start 0)',
    "arithmetic": """(import "" "" (global i32)) (import "" "" (global i64))
        (global i32 (i32.mul (i32.sub (global.get 0) (i32.const 1)) (i32.add (i32.const 2) (global.get 0))))
        (global (mut i64) (i64.mul (i64.sub (global.get 1) (i64.const 1)) (i64.add (i64.const 2) (global.get 1))))""",
    "references": """(import "" "" (global externref)) (global externref (global.get 0))
        (func $f) (global funcref (ref.func $f))""",
    "elements": """(import "" "" (global i32)) (import "" "" (global funcref))
        (table 1 funcref) (table 1 externref) (func $f)
        (elem (table 0) (global.get 0) funcref (global.get 1) (ref.func $f) (ref.null func))
        (elem (table 1) (i32.const 9) externref (ref.null extern))""",
    "data outside of the memory": '(memory 0) (data (i32.const -1) "x")',
    "many tables": "(table 0 funcref)" * 200,
}


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
def test_valid(text: str) -> None:
    validate(decode(wat2wasm(f"(module {text})")))


def test_numbers_of_limits_that_do_not_fit_32_bits_are_invalid() -> None:
    for size in (2**32, 2**63, 2**64 - 1):
        with pytest.raises(ValidationError, match="memory size must be at most"):
            validate(decode(module(section(MEMORY, b"\1\0" + unsigned(size)))))
        with pytest.raises(ValidationError, match="table size must be at most"):
            validate(decode(module(section(TABLE, b"\1\x70\1\0" + unsigned(size)))))


def test_bodies_are_validated_too() -> None:
    wasm = module(*functions(b"\x0b", b"\x6a\x0b"))
    decoded = decode(wasm)
    validate_module_level(decoded)
    with pytest.raises(ValidationError, match="type mismatch") as caught:
        validate(decoded)
    assert caught.value.function == 1
    assert caught.value.offset == wasm.rindex(b"\x6a\x0b")


def test_errors_name_the_function() -> None:
    wasm = wat2wasm('(module (import "" "" (func)) (func $good) (func $bad (result i32)))')
    with pytest.raises(ValidationError, match=r"type mismatch.*function 2 <bad>") as caught:
        validate(decode(wasm))
    assert caught.value.function_name == "bad"


def test_a_malformed_body_is_malformed() -> None:
    with pytest.raises(MalformedError) as caught:
        validate(decode(module(*functions(b"\xff\x0b"))))
    assert caught.value.function == 0


def test_functions_may_be_referenced_only_where_declared() -> None:
    text = "(module (func $f) (func (drop (ref.func $f))) {})"
    for declaration in (
        "(elem declare func $f)",
        "(elem func $f)",
        '(export "f" (func $f))',
        "(global funcref (ref.func $f))",
        "(elem declare funcref (ref.func $f))",
    ):
        validate(decode(wat2wasm(text.format(declaration))))
    for declaration in ("", "(start $f)", "(elem declare funcref (ref.null func))"):
        with pytest.raises(ValidationError, match="undeclared function reference"):
            validate(decode(wat2wasm(text.format(declaration))))


def test_a_long_constant_expression() -> None:
    terms = 100_000
    expression = b"\x41\1" + (b"\x41" + signed(3) + b"\x6a") * terms + b"\x0b"
    validate(decode(module(section(GLOBAL, vector(b"\x7f\0" + expression)))))
    with pytest.raises(ValidationError, match="type mismatch"):
        validate(decode(module(section(GLOBAL, vector(b"\x7f\0" + b"\x41\1" * terms + b"\x0b")))))


def test_unknown_type_at_any_place_among_many() -> None:
    types = section(TYPE, vector(EMPTY_TYPE, EMPTY_TYPE))
    for bad in range(3):
        indices = [b"\1"] * 3
        indices[bad] = b"\2"
        wasm = module(types, section(FUNCTION, vector(*indices)), section(CODE, vector(*[EMPTY_BODY] * 3)))
        with pytest.raises(ValidationError, match="unknown type 2"):
            validate(decode(wasm))


def test_duplicate_export_among_many() -> None:
    exports = [name(f"m{i}") + b"\2\0" for i in range(500)]
    validate(decode(module(section(MEMORY, b"\1\0\0"), section(EXPORT, vector(*exports)))))
    wasm = module(section(MEMORY, b"\1\0\0"), section(EXPORT, vector(*exports, name("m77") + b"\2\0")))
    with pytest.raises(ValidationError, match='duplicate export name "m77"') as caught:
        validate(decode(wasm))
    assert caught.value.offset == len(wasm) - 6
