"""Constant expressions of several instructions as functions: what they are made of, checked by, and kept in."""

from __future__ import annotations

import time
from typing import Any

import pytest

import wasmjit.wasm.decode
from tests.wasm_bytes import (
    CODE,
    DATA,
    ELEMENT,
    EMPTY_BODY,
    EMPTY_TYPE,
    EXPORT,
    FUNCTION,
    GLOBAL,
    MEMORY,
    START,
    TABLE,
    TYPE,
    custom,
    module,
    name,
    section,
    signed,
    unsigned,
    vector,
)
from wasmjit import Engine, Func, Global, GlobalType, Instance, Module, Store, ValType, abi
from wasmjit import FuncType as PublicFuncType
from wasmjit.artifact import CONSTANTS, Artifact
from wasmjit.compile.pipeline import CompiledUnit, _request_fields, target_architecture
from wasmjit.compile.unit import Unit
from wasmjit.compile.unit_state import CodePolicy
from wasmjit.compile.workers import pool
from wasmjit.config import OPTIMIZED, Config, Features
from wasmjit.driver.build import build
from wasmjit.driver.group_code import GroupCode
from wasmjit.driver.trampoline_code import TrampolineCode
from wasmjit.errors import ArtifactError, CompileTimeoutError, MalformedError, UnsupportedError, ValidationError
from wasmjit.metadata import decode_module, dump_json, encode_module, strip
from wasmjit.runtime.code import load
from wasmjit.runtime.func_item import FuncItem
from wasmjit.runtime.native import ffi
from wasmjit.runtime.type_ids import signature_of
from wasmjit.runtime.typed import TypedFunc
from wasmjit.wasm import deadline
from wasmjit.wasm.const_expr import CALL, GLOBAL_GET
from wasmjit.wasm.decode import decode
from wasmjit.wasm.module import ConstantFunction
from wasmjit.wasm.module import Module as DecodedModule
from wasmjit.wasm.ops import CONSTANT_FEATURES, OPS, UNSUPPORTED_OPCODES
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.types import I32, I64, FuncType
from wasmjit.wasm.validate import validate, validate_module_level

EVERYWHERE = """(module (import "" "base" (global $base i32)) (import "" "f" (func)) (func $own) (func (export "g"))
  (global i32 (i32.add (global.get $base) (i32.const 1)))
  (global i32 (global.get $base))
  (global (mut i64) (i64.sub (i64.const 1) (i64.mul (i64.const 2) (i64.const 3))))
  (table 9 funcref) (memory 1) (memory i64 1)
  (elem (offset (i32.mul (i32.const 2) (i32.const 3))) $own)
  (elem (i32.const 0) $own)
  (data (offset (i32.sub (global.get 1) (i32.const 5))) "x")
  (data (memory 1) (offset (i64.add (i64.const 1) (i64.const 2))) "y"))"""
ADD = b"\x41\1\x41\2\x6a"


def decoded(text: str) -> DecodedModule:
    return decode(bytes(wat2wasm(text)))


def with_globals(*expressions: bytes, valtype: int = I32) -> bytes:
    return module(section(GLOBAL, vector(*[bytes([valtype, 0]) + each + b"\x0b" for each in expressions])))


def test_they_stand_behind_the_functions_of_the_module() -> None:
    found = decoded(EVERYWHERE)
    assert len(found.functions) == 3 and len(found.bodies) == 2  # as many as the module says
    assert [g.init for g in found.global_definitions] == [((CALL, 3),), ((GLOBAL_GET, 0),), ((CALL, 4),)]
    assert [e.start for e in found.elements] == [((CALL, 5),), ((0x41, 0),)]
    assert [d.start for d in found.data] == [((CALL, 6),), ((CALL, 7),)]
    assert [f.result for f in found.constant_functions] == [I32, I64, I32, I32, I64]
    assert [f.num_globals for f in found.constant_functions] == [1, 3, 4, 4, 4]
    assert [found.function_type(index) for index in range(3, 8)] == [
        FuncType((), (f.result,)) for f in found.constant_functions
    ]
    assert [found.function_name(index) for index in range(3, 8)] == [
        f"constant expression of {owner}"
        for owner in ("global 1", "global 3", "element segment 0", "data segment 0", "data segment 1")
    ]
    assert found.function_name(1) == "own"
    assert found.bytes_of_constants() == b"".join(found.wasm[f.start : f.end] for f in found.constant_functions)
    assert found.wasm[found.body(3).start : found.body(3).end] == b"\x23\0\x41\1\x6a\x0b"
    validate(found)


def test_plain_instructions_make_no_function() -> None:
    text = """(module (import "" "" (global i32)) (import "" "" (global $v v128)) (func $f) (memory 1) (table 2 funcref)
      (global i32 (i32.const 1)) (global i64 (i64.const 1)) (global f32 (f32.const 1)) (global f64 (f64.const 1))
      (global v128 (v128.const i64x2 1 2)) (global v128 (global.get $v)) (global funcref (ref.func $f))
      (global externref (ref.null extern)) (global i32 (global.get 0)) (elem (table 0) (i32.const 0) funcref
      (ref.func $f) (ref.null func)) (data (global.get 0) "a"))"""
    assert decoded(text).constant_functions == []


def test_only_constant_instructions_are_taken() -> None:
    """By the decoder; and by the walk, whatever the decoder let through."""
    others = [code for code in range(0x100) if code not in CONSTANT_FEATURES and code not in (0x0B, 0xFB, 0xFD)]
    for code in others:
        body = b"\x41\1" + bytes([code]) + bytes(20)
        is_known = code in OPS or code in UNSUPPORTED_OPCODES or code in (0xFC, 0xFE)
        with pytest.raises(ValidationError if is_known else MalformedError) as caught:
            decode(with_globals(body))
        assert ("constant expression required" in caught.value.reason) == is_known
        found = claimed(body + b"\x0b")
        with pytest.raises((ValidationError, MalformedError), match="of global 0"):
            validate_module_level(found)
    for sub in (0, 13, 0x6D, 0x100, 0x100C):  # the last one has the low bits of v128.const
        body = b"\xfd" + unsigned(sub) + bytes(16)
        with pytest.raises(ValidationError, match="constant expression required"):
            decode(with_globals(body))
        with pytest.raises(ValidationError, match="constant expression required"):
            validate_module_level(claimed(body + b"\x0b"))


def claimed(body: bytes) -> DecodedModule:
    """A module with a constant function whose body is something else than what the decoder read."""
    found = decode(with_globals(ADD))
    start = len(found.wasm)
    found.wasm = bytes(found.wasm) + body
    found.constant_functions = [ConstantFunction(start, len(found.wasm), I32, 0)]
    return found


def test_the_evaluator_knows_all_constant_instructions() -> None:
    """What is new here has to be done in runtime_c/constants.c."""
    assert {OPS[code].name for code in CONSTANT_FEATURES} == set(
        """
        i32.const i64.const f32.const f64.const v128.const global.get ref.null ref.func
        i32.add i32.sub i32.mul i64.add i64.sub i64.mul
        struct.new struct.new_default array.new array.new_default array.new_fixed
        ref.i31 any.convert_extern extern.convert_any
        """.split()
    )


@pytest.mark.parametrize(
    ("text", "reason", "owner"),
    [
        ("(global i32 i32.const 1 i64.const 2 i32.add)", "type mismatch: expected i32, found i64", "global 0"),
        ("(global i32 i32.const 1 i32.add)", "type mismatch: expected i32, but nothing is on the stack", "global 0"),
        ("(global i32 i32.add)", "type mismatch", "global 0"),
        ("(global i32 i32.const 1 i32.const 2)", "type mismatch: values remaining", "global 0"),
        ("(global i64 i32.const 1 i32.const 2 i32.add)", "type mismatch: expected i64, found i32", "global 0"),
        ("(global i32 (i32.add (global.get 0) (i32.const 1)))", "unknown global 0: only globals before", "global 0"),
        ("(global i32 (i32.add (global.get 7) (i32.const 1)))", "unknown global 7", "global 0"),
        (
            "(global (mut i32) (i32.const 1)) (global i32 (i32.add (global.get 0) (i32.const 1)))",
            "constant expression required: global 0 is mutable",
            "global 1",
        ),
        (
            "(table 1 funcref) (elem (offset (i64.add (i64.const 1) (i64.const 2))))",
            "type mismatch: expected i32, found i64",
            "element segment 0",
        ),
        (
            "(table i64 1 funcref) (elem (table 0) (offset (i32.add (i32.const 1) (i32.const 2))) func)",
            "type mismatch: expected i64, found i32",
            "element segment 0",
        ),
        (
            "(func) (elem funcref (item ref.func 0 ref.func 0))",
            "type mismatch: values remaining",
            "element segment 0",
        ),
        ("(elem funcref (item ref.func 0 ref.func 0))", "unknown function 0", "element segment 0"),
        ("(memory 1) (data (offset i32.const 1 i32.mul))", "type mismatch", "data segment 0"),
        ("(table 1 (ref null func) (ref.null func) (ref.null func))", "type mismatch: values remaining", "table 0"),
    ],
)
def test_what_is_wrong_is_named_by_what_it_is_of(text: str, reason: str, owner: str) -> None:
    found = decoded(f"(module {text})")
    with pytest.raises(ValidationError) as caught:
        validate_module_level(found)
    assert caught.value.reason.startswith(reason)
    assert caught.value.reason.endswith(f", in the constant expression of {owner}")
    (function,) = found.constant_functions
    assert caught.value.offset is not None and function.start <= caught.value.offset < function.end
    assert caught.value.function is None  # it is none of the module's


def test_segments_of_what_is_not_there() -> None:
    computed = ADD + b"\x0b"
    for sections, reason in (
        ((section(DATA, vector(b"\0" + computed + b"\0")),), "unknown memory 0"),
        ((section(ELEMENT, vector(b"\0" + computed + b"\0")),), "unknown table 0"),
        ((section(MEMORY, b"\1\0\1"), section(DATA, vector(b"\2\5" + computed + b"\0"))), "unknown memory 5"),
    ):
        with pytest.raises(ValidationError, match=reason):
            validate_module_level(decode(module(*sections)))


def outside_references() -> dict[str, bytes]:
    """Modules with two functions and a constant function, whose index is 2, and what names 2 from elsewhere."""
    types = section(TYPE, vector(EMPTY_TYPE, b"\x60\0\1\x7f"))
    has_functions = section(FUNCTION, vector(b"\0", b"\0"))
    has_global = section(GLOBAL, vector(b"\x7f\0" + ADD + b"\x0b"))
    table = section(TABLE, vector(b"\x70\0\5"))

    def body(code: bytes) -> bytes:
        return section(CODE, vector(unsigned(len(code) + 2) + b"\0" + code + b"\x0b", EMPTY_BODY))

    empty = section(CODE, vector(EMPTY_BODY, EMPTY_BODY))
    head = (types, has_functions, table, has_global)
    reference = section(GLOBAL, vector(b"\x7f\0" + ADD + b"\x0b", b"\x70\0\xd2\2\x0b"))
    return {
        "call": module(*head, body(b"\x10\2\x1a")),
        "return_call": module(*head, body(b"\x12\2")),
        "ref.func": module(*head, body(b"\xd2\2\x1a")),
        "export": module(*head, section(EXPORT, vector(name("x") + b"\0\2")), empty),
        "start": module(*head, section(START, b"\2"), empty),
        "element": module(*head, section(ELEMENT, vector(b"\0\x41\0\x0b" + vector(b"\2"))), empty),
        "item": module(*head, section(ELEMENT, vector(b"\4\x41\0\x0b" + vector(b"\xd2\2\x0b"))), empty),
        "global": module(types, has_functions, table, reference, empty),
    }


@pytest.mark.parametrize("what", outside_references())
def test_nothing_else_reaches_them(what: str) -> None:
    wasm = outside_references()[what]
    with pytest.raises(ValidationError, match="unknown function 2"):
        validate(decode(wasm))
    with pytest.raises(ValidationError, match="unknown function 2"):
        validate_module_level(decode(wasm))
        build(Config(), [wasm], TrampolineCode(Config()))


def test_the_name_section_does_not_name_them() -> None:
    content = vector(b"\0" + name("f"), b"\1" + name("g"))
    names = custom("name", b"\1" + unsigned(len(content)) + content)
    found = decode(module(section(GLOBAL, vector(b"\x7f\0" + ADD + b"\x0b")), names))
    assert found.names.functions == {0: "f", 1: "g"}
    assert found.function_name(0) == "constant expression of global 0"


def test_features_they_take() -> None:
    for off, expression in (("extended_const", ADD), ("gc", b"\x23\0\x41\1\x6a")):
        wasm = module(section(GLOBAL, vector(b"\x7f\0\x41\1\x0b", b"\x7f\0" + expression + b"\x0b")))
        validate_module_level(decode(wasm))
        with pytest.raises(UnsupportedError, match=f"feature {off} is off"):
            validate_module_level(decode(wasm, Features(**{off: False})))


def test_they_are_no_longer_than_other_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasmjit.wasm.decode, "MAX_BODY_BYTES", 6)
    decode(with_globals(ADD))
    with pytest.raises(MalformedError, match="constant expression size exceeds limit of 6: 9") as caught:
        decode(with_globals(ADD + b"\x41\1\x6a"))
    assert caught.value.offset == 13


def test_checking_them_ends_in_time() -> None:
    many = decode(with_globals(*[b"\x41" + signed(k) + b"\x41\5\x6c" for k in range(20_000)]))
    long = decode(with_globals(b"\x41\1" + b"\x41\3\x6a" * 100_000))
    for found in (many, long):
        with pytest.raises(CompileTimeoutError) as caught, deadline.within(0.001):
            time.sleep(0.002)
            validate_module_level(found)
        assert caught.value.function is None


# ---- the artifact ----


def artifact_of(text: str) -> Artifact:
    config = Config()
    config.tier = OPTIMIZED
    return build(config, [bytes(wat2wasm(text))], TrampolineCode(config))[0]


def test_they_are_kept_in_artifacts() -> None:
    found = decoded(EVERYWHERE)
    artifact = Artifact.from_bytes(artifact_of(EVERYWHERE).to_bytes())
    kept = artifact.module
    assert kept.constant_functions == found.constant_functions
    assert kept.bytes_of_constants() == found.bytes_of_constants() == bytes(artifact._sections[CONSTANTS])
    assert [g.init for g in kept.global_definitions] == [g.init for g in found.global_definitions]
    assert kept.function_name(3) == "constant expression of global 1"
    assert len(artifact.functions) == len(kept.bodies) == 2


def test_none_of_them_takes_nothing_in_artifacts() -> None:
    artifact = artifact_of("(module (func) (global i32 (i32.const 1)))")
    assert bytes(artifact._sections[CONSTANTS]) == b""
    assert artifact.module.constant_functions == []


def test_damaged_metadata_is_refused() -> None:
    stripped = strip(decoded(EVERYWHERE))
    encoded, indices = encode_module(stripped)
    numbers = memoryview(indices).cast("I")

    def read(code: bytes = stripped.constant_code, **changes: Any) -> DecodedModule:
        return decode_module({**encoded, **changes}, numbers, stripped.wasm, code)

    assert read().constant_functions == stripped.constant_functions
    rows = encoded["constant_functions"]
    for code in (b"", stripped.constant_code[:-1], stripped.constant_code + b"\x0b"):
        with pytest.raises(ArtifactError, match="metadata is damaged"):
            read(code)
    for changed in (
        rows[:-1],
        [*rows, rows[0]],
        [[1, 1, I32, 0], *rows],
        [[9, 5, I32, 0], *rows],
        [[1]],
        None,
        [[0, 1, 5, 0]],
    ):
        with pytest.raises(ArtifactError, match="metadata is damaged"):
            read(constant_functions=changed)


def test_expressions_of_artifacts_are_one_instruction() -> None:
    stripped = strip(decoded(EVERYWHERE))
    encoded, indices = encode_module(stripped)
    encoded["global_definitions"][1][2] = [[0x41, 1], [0x41, 2]]
    with pytest.raises(ArtifactError, match="metadata is damaged"):
        decode_module(encoded, memoryview(indices).cast("I"), stripped.wasm, stripped.constant_code)


@pytest.mark.parametrize("index", [0, 2, 8, -1, 1 << 40])
def test_forged_calls_are_refused(index: int) -> None:
    """Of artifacts whose checksums are right."""
    engine = Engine(config := Config())
    config.tier = OPTIMIZED
    for field, place in (("global_definitions", (0, 2)), ("data", (1, 0, 3))):
        artifact = artifact_of(EVERYWHERE)
        encoded, _ = encode_module(strip(decoded(EVERYWHERE)))
        row = encoded[field]
        for at in place[:-1]:
            row = row[at]
        row[place[-1]] = [[CALL, index]]
        artifact._sections = {**artifact._sections, "module": memoryview(dump_json(encoded))}  # type: ignore[attr-defined]
        store = Store(engine)
        made = Module._wrap(engine, artifact)
        base = Global(store, GlobalType(ValType.i32(), False), 1)
        with pytest.raises(ArtifactError, match="damaged"):
            Instance(store, made, [base, Func(store, PublicFuncType([], []), lambda: None)])


# ---- the same lowering as all functions ----


def compiled_value(module: DecodedModule, index: int, context: int, store: Store) -> int:
    """What LLVM makes of a constant function, called."""
    config = Config()
    policy = CodePolicy.from_config(config, target_architecture(config))
    text = Unit(module, range(index, index + 1), policy, abi.module_layout(module)).text()
    _, made = pool().begin(_request_fields(config, "object"), text.encode()).result()
    code = load(GroupCode(module, CompiledUnit(index, 1, made), [index]))
    type = module.function_type(index)
    signature = signature_of(type)
    reference = ffi.new("uint64_t[]", [code.function_addresses[0], context, signature.id, 0])
    item = FuncItem(int(ffi.cast("uintptr_t", reference)), type, signature, None)
    value: int = TypedFunc._make(store._record, item, 0)()
    return value


def test_the_compiler_makes_the_same_of_them() -> None:
    text = """(module (import "" "b" (global $b i32)) (import "" "c" (global $c i64)) (func)
      (global $x (export "0") i32 (i32.mul (i32.add (global.get $b) (i32.const 1)) (i32.const 0x10001)))
      (global $y (export "1") i64 (i64.sub (i64.mul (global.get $c) (i64.const -7)) (i64.const 3)))
      (global (export "2") i32 (i32.sub (global.get $x) (global.get $b)))
      (global (export "3") i64 (i64.add (global.get $y) (i64.add (global.get $y) (global.get $c)))))"""
    config = Config()
    config.tier = OPTIMIZED
    store = Store(Engine(config))
    made = Module(store.engine, text)
    imports = [
        Global(store, GlobalType(ValType.i32(), False), 0x7FFFFFFF),
        Global(store, GlobalType(ValType.i64(), False), -(1 << 62) + 12345),
    ]
    instance = Instance(store, made, imports)
    found = decoded(text)
    for position in range(4):
        value = instance.exports(store)[str(position)].value(store)
        assert compiled_value(found, 1 + position, instance._instance.address, store) == value
