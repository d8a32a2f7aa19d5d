"""Garbage collection in validation: each instruction, each rule for its immediates and operands, and the suite."""

from __future__ import annotations

import os
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from tests.fuzz.corpus import smith_modules
from tests.fuzz.mutate import mutants
from tests.fuzz.oracle import ALL_FEATURES, TYPE_FEATURES, disagreements
from tests.rows import for_each
from tests.wasm_bytes import CODE, FUNCTION, TYPE, section, unsigned, vector
from tests.wasm_bytes import module as module_of
from wasmjit import Config, Engine, Instance, MalformedError, Module, Store, UnsupportedError, ValidationError, abi
from wasmjit.cli.wast import convert
from wasmjit.compile.unit import Unit
from wasmjit.compile.unit_state import CodePolicy
from wasmjit.errors import WasmError
from wasmjit.records import replace
from wasmjit.target import host_machine
from wasmjit.wasm import types as wt
from wasmjit.wasm.decode import decode
from wasmjit.wasm.module import Module as DecodedModule
from wasmjit.wasm.ops import OPS
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.validate import validate

FEATURES = replace(ALL_FEATURES, gc=True)
SUITE = Path(os.environ.get("WASMJIT_TESTSUITE") or Path(__file__).parents[3].joinpath("shared", "spec", "testsuite"))
SCRIPTS = """array array_copy array_fill array_init_data array_init_elem array_new_data array_new_elem binary-gc
br_on_cast br_on_cast_fail extern i31 ref_cast ref_eq ref_test struct type-canon type-equivalence type-rec
type-subtyping""".split()

TYPES = """
  (rec (type $s (sub (struct (field $n (mut i32)) (field $p i8) (field $r (mut (ref null $a))))))
    (type $t (sub $s (struct (field (mut i32)) (field i8) (field (mut (ref null $a))) (field f64))))
    (type $a (sub (array (mut i16)))))
  (type $i (array i32)) (type $x (array (mut externref))) (type $y (array (mut (ref extern)))) (type $f (func))
  (type $z (struct (field (ref eq))))
  (memory 1) (data $d "abc") (elem $e externref (ref.null extern)) (elem $l (ref $f) (ref.func $g))
  (func $g (type $f))
"""

# Parameters and results of a function, and its body.
RIGHT = {
    "new": "(result (ref $s)) i32.const 1 i32.const 2 ref.null $a struct.new $s",
    "new, of subtypes": "(param (ref $a)) (result (ref $s)) i32.const 1 i32.const 2 local.get 0 struct.new $s",
    "new, defaults": "(result (ref struct)) struct.new_default $t",
    "get": "(param (ref null $t)) (result i32 (ref null $a)) local.get 0 struct.get $s $n local.get 0 struct.get $s $r",
    "get of a packed field": "(result i32 i32) ref.null $s struct.get_s $s $p ref.null $s struct.get_u $s $p",
    "set": "(param (ref $s)) local.get 0 i32.const 1 struct.set $s $n local.get 0 ref.null none struct.set $s $r",
    "array": "(result (ref array)) i32.const 1 i32.const 2 array.new $a",
    "array of defaults": "(result (ref $x)) i32.const 2 array.new_default $x",
    "array, fixed": "(result eqref) i32.const 1 i32.const 2 array.new_fixed $i 2",
    "array, fixed and empty": "(result (ref $y)) array.new_fixed $y 0",
    "array, fixed, in dead code": "(result (ref $i)) unreachable i32.const 1 array.new_fixed $i 9999",
    "array of data": "(result (ref $a)) i32.const 0 i32.const 1 array.new_data $a $d",
    "array of elements": "(result (ref $x)) i32.const 0 i32.const 1 array.new_elem $x $e",
    "elements": "(param (ref null $i)) (result i32) local.get 0 i32.const 0 array.get $i",
    "packed elements": """(param (ref $a)) (result i32 i32)
      local.get 0 i32.const 0 array.get_s $a local.get 0 i32.const 0 array.get_u $a""",
    "element set": "(param (ref $a)) local.get 0 i32.const 0 i32.const 1 array.set $a",
    "length": "(param arrayref) (result i32) local.get 0 array.len",
    "fill": "(param (ref $a)) local.get 0 i32.const 0 i32.const 1 i32.const 2 array.fill $a",
    "copy": "(param (ref $x) (ref $y)) local.get 0 i32.const 0 local.get 1 i32.const 0 i32.const 0 array.copy $x $y",
    "data": "(param (ref $a)) local.get 0 i32.const 0 i32.const 0 i32.const 0 array.init_data $a $d",
    "segment": "(param (ref $x)) local.get 0 i32.const 0 i32.const 0 i32.const 0 array.init_elem $x $e",
    "test": "(param anyref) (result i32 i32) local.get 0 ref.test (ref $s) local.get 0 ref.test (ref null i31)",
    "test of functions": "(param (ref func)) (result i32) local.get 0 ref.test (ref $f)",
    "test of extern": "(param (ref extern)) (result i32) local.get 0 ref.test (ref noextern)",
    "cast": """(param eqref) (result (ref $s) (ref null $t))
      local.get 0 ref.cast (ref $s) local.get 0 ref.cast (ref null $t)""",
    "branch": "(param anyref) (result (ref $s)) local.get 0 br_on_cast 0 anyref (ref $s) unreachable",
    "branch, null stays": """(param (ref null $s)) (result (ref null $t))
      local.get 0 br_on_cast 0 (ref null $s) (ref null $t) ref.as_non_null drop unreachable""",
    "branch, what is kept has no null": """(param (ref null $s)) (result (ref $s))
      (block (result (ref null $t)) local.get 0 br_on_cast 0 (ref null $s) (ref null $t) return) drop unreachable""",
    "branch on failure": """(param anyref) (result (ref any)) local.get 0 br_on_cast_fail 0 anyref (ref null $s)
      drop unreachable""",
    "branch with more": "(result i32 (ref i31)) i32.const 1 ref.null i31 br_on_cast 0 i31ref (ref i31) unreachable",
    "conversions": "(param externref) (result externref) local.get 0 any.convert_extern extern.convert_any",
    "conversion keeps null out": """(param (ref extern)) (result (ref extern))
      local.get 0 any.convert_extern extern.convert_any""",
    "conversion in dead code": "(result (ref any)) unreachable any.convert_extern",
    "i31": "(result i32 i32) i32.const 1 ref.i31 i31.get_s ref.null i31 i31.get_u",
    "equality": "(param (ref $s) i31ref) (result i32) local.get 0 local.get 1 ref.eq",
    "locals": "(local anyref (ref null $s) (ref i31)) i32.const 1 ref.i31 local.tee 2 local.set 0",
    "block types": "(drop (block (result nullref) ref.null none)) (drop (select (result eqref) unreachable))",
}
WRONG = {
    "not packed": ("(param (ref $s)) (result i32) local.get 0 struct.get_u $s $n", "not packed"),
    "packed": ("(param (ref $s)) (result i32) local.get 0 struct.get $s $p", "is packed"),
    "immutable field": ("(param (ref $s)) local.get 0 i32.const 1 struct.set $s $p", "immutable field"),
    "unknown field": ("(param (ref $s)) local.get 0 struct.get $s 3 drop", "unknown field 3"),
    "no structure": ("unreachable struct.new $a", "no structure type"),
    "no array": ("unreachable array.get $s", "no array type"),
    "unknown structure": ("unreachable struct.new 99", "unknown type 99"),
    "unknown array": ("unreachable array.new 99", "unknown type 99"),
    "supertype": ("(param (ref $s)) (result f64) local.get 0 struct.get $t 3", "type mismatch"),
    "operand of new": ("(result (ref $s)) i32.const 1 i64.const 1 ref.null $a struct.new $s", "type mismatch"),
    "no default": ("(result (ref $z)) struct.new_default $z", "no default"),
    "no default of elements": ("(result (ref $y)) i32.const 1 array.new_default $y", "no default"),
    "too few elements": ("(result (ref $i)) i32.const 1 array.new_fixed $i 2", "expected 2 elements"),
    "another element": ("(result (ref $i)) i64.const 1 array.new_fixed $i 1", "type mismatch"),
    "another element in dead code": ("(result (ref $i)) unreachable i64.const 1 array.new_fixed $i 3", "type mismatch"),
    "data of references": ("(result (ref $x)) i32.const 0 i32.const 1 array.new_data $x $d", "not numeric"),
    "unknown data": ("(result (ref $i)) i32.const 0 i32.const 1 array.new_data $i 9", "unknown data segment"),
    "elements of another type": ("(result (ref $x)) i32.const 0 i32.const 1 array.new_elem $x $l", "type mismatch"),
    "unknown segment": ("(result (ref $x)) i32.const 0 i32.const 1 array.new_elem $x 9", "unknown elem segment"),
    "immutable elements": ("(param (ref $i)) local.get 0 i32.const 0 i32.const 1 array.set $i", "immutable array"),
    "immutable fill": ("(param (ref $i)) local.get 0 i32.const 0 i32.const 1 i32.const 1 array.fill $i", "immutable"),
    "immutable copy": ("unreachable array.copy $i $i", "immutable array"),
    "copy of what may be null": ("unreachable array.copy $y $x", "do not match"),
    "copy of packed ones": ("unreachable array.copy $a $i", "do not match"),
    "immutable data": ("unreachable array.init_data $i $d", "immutable array"),
    "data for references": ("unreachable array.init_data $x $d", "not numeric"),
    "segment of another type": ("unreachable array.init_elem $x $l", "type mismatch"),
    "length of a structure": ("(param (ref $s)) (result i32) local.get 0 array.len", "type mismatch"),
    "test across": ("(param externref) (result i32) local.get 0 ref.test (ref $s)", "type mismatch"),
    "cast across": ("(param funcref) (result (ref $s)) local.get 0 ref.cast (ref $s)", "type mismatch"),
    "cast up": ("(param anyref) (result anyref) local.get 0 br_on_cast 0 anyref (ref func) unreachable", "a cast of"),
    "cast to null": ("(param (ref $s)) (result eqref) local.get 0 br_on_cast 0 (ref $s) (ref null $t)", "a cast of"),
    "label of nothing": ("(param anyref) local.get 0 br_on_cast 0 anyref (ref $s) drop", "label that takes a ref"),
    "label of another": (
        "(param anyref) (result (ref $t)) local.get 0 br_on_cast 0 anyref (ref $s) unreachable",
        "mism",
    ),
    "what fails may be null": (
        "(param anyref) (result (ref any)) local.get 0 br_on_cast_fail 0 anyref (ref $s) drop unreachable",
        "type mismatch",
    ),
    "convert a number": ("(result anyref) i32.const 1 any.convert_extern", "type mismatch"),
    "convert a function": ("(param funcref) (result externref) local.get 0 extern.convert_any", "type mismatch"),
    "null is kept": ("(param externref) (result (ref any)) local.get 0 any.convert_extern", "type mismatch"),
    "i31 of any": ("(param anyref) (result i32) local.get 0 i31.get_s", "type mismatch"),
    "equality of any": ("(param anyref) (result i32) local.get 0 local.get 0 ref.eq", "type mismatch"),
    "unset local": ("(local (ref i31)) local.get 0 drop", "uninitialized local"),
    "select": ("(param i31ref) (result i31ref) local.get 0 local.get 0 i32.const 1 select", "select"),
}


def in_function(body: str) -> bytes:
    return bytes(wat2wasm(f"(module {TYPES} (func {body}))"))


def checked(wasm: bytes) -> DecodedModule:
    found = decode(wasm)
    validate(found)
    return found


@for_each(list(RIGHT))
def test_right_bodies_are_validated_and_compiled(name: str) -> None:
    found = checked(in_function(RIGHT[name]))
    unit = Unit(found, range(1), CodePolicy.from_config(Config(), host_machine()), abi.module_layout(found))
    llvm.parse_assembly(unit.text()).verify()


@for_each(list(WRONG))
def test_wrong_bodies_are_refused(name: str) -> None:
    body, reason = WRONG[name]
    with pytest.raises(ValidationError, match=reason) as raised:
        checked(in_function(body))
    assert raised.value.function == 1 and not isinstance(raised.value, UnsupportedError)


def test_each_row_is_in_a_right_body() -> None:
    names = {op.name for op in OPS.values() if op.feature == "gc"}
    written = " ".join(RIGHT.values())
    assert {n for n in names if n.removesuffix("_null") not in written} == set()


def raw(body: bytes) -> bytes:
    return module_of(
        section(TYPE, vector(b"\x60\0\0", b"\x5e\x7f\0")),
        section(FUNCTION, b"\1\0"),
        section(CODE, vector(unsigned(len(body)) + body)),
    )


@for_each([0x1F, 0x20, 0x7F, 0x80, 0x100, 0x114])
def test_other_opcodes_are_malformed(sub: int) -> None:
    with pytest.raises(MalformedError, match="illegal opcode 0xfb"):
        checked(raw(b"\0\0\xfb" + unsigned(sub) + b"\0\0\0\0\x0b"))


def test_malformed_immediates() -> None:
    for flags in (4, 0x80, 0xFF):
        with pytest.raises(MalformedError, match="malformed cast flags"):
            checked(raw(b"\0\0\xfb\x18" + bytes([flags]) + b"\0\x6e\x6e\x0b"))
    with pytest.raises(MalformedError, match="exceeds the limit of 10000"):
        checked(raw(b"\0\0\xfb\x08\1" + unsigned(10_001) + b"\x1a\x0b"))
    with pytest.raises(MalformedError, match="data count section required"):
        checked(raw(b"\0\0\xfb\x09\1\0\x1a\x0b"))


def test_dead_code_takes_no_more_operands_than_there_are() -> None:
    """Of ten thousand fields each: twenty thousand times, it would take minutes."""
    structure = b"\x5f" + unsigned(10_000) + b"\x7f\0" * 10_000
    body = b"\0\0" + b"\xfb\0\1\x1a" * 20_000 + b"\x0b"
    checked(
        module_of(
            section(TYPE, vector(b"\x60\0\0", structure)),
            section(FUNCTION, b"\1\0"),
            section(CODE, vector(unsigned(len(body)) + body)),
        )
    )


CONSTANTS = {
    "structure": "(global (ref $s) (struct.new $s (i32.const 1) (i32.const 2) (ref.null $a)))",
    "defaults": "(global (ref null $t) (struct.new_default $t))",
    "array": "(global (ref $a) (array.new $a (i32.const 1) (i32.const 2)))",
    "array of defaults": "(global (ref $x) (array.new_default $x (i32.const 1)))",
    "fixed": "(global (ref $i) (array.new_fixed $i 2 (i32.const 1) (i32.const 2)))",
    "i31": "(table 3 i31ref (ref.i31 (i32.const 1)))",
    "conversions": "(global externref (extern.convert_any (any.convert_extern (ref.null extern))))",
    "earlier globals": """(global $one (ref i31) (ref.i31 (i32.const 1)))
      (global (ref $z) (struct.new $z (global.get $one)))""",
    "segment": "(elem (ref i31) (ref.i31 (i32.const 1)))",
}


@for_each(list(CONSTANTS))
def test_constant_expressions(name: str) -> None:
    wasm = bytes(wat2wasm(f"(module {TYPES} {CONSTANTS[name]})"))
    checked(wasm)
    store = Store(Engine(Config(tier="auto")))
    module = Module(store.engine, wasm)
    for each in (module, Module.deserialize(store.engine, module.serialize())):
        Instance(store, each, [])
    with pytest.raises(UnsupportedError, match="gc is off"):
        Module(Engine(Config(wasm_gc=False)), wasm)


@for_each(
    [
        ("(global (ref $i) (array.get $i (ref.null $i) (i32.const 0)))", "constant expression required"),
        ("(global i32 (ref.eq (ref.null eq) (ref.null eq)))", "constant expression required"),
        ("(global (ref $s) (struct.new $s (i32.const 1)))", "type mismatch"),
        ("(global (ref $t) (struct.new_default $s))", "type mismatch"),
        ("(global (ref $z) (struct.new_default $z))", "no default"),
        ("(global anyref (ref.null func))", "type mismatch"),
    ]
)
def test_wrong_constant_expressions(row: tuple[str, str]) -> None:
    with pytest.raises(ValidationError, match=row[1]) as raised:
        checked(bytes(wat2wasm(f"(module {TYPES} {row[0]})")))
    assert not isinstance(raised.value, UnsupportedError)


def test_an_invalid_module_is_told_so() -> None:
    wasm = wat2wasm("(module (func (drop (ref.i31 (i32.const 1)))) (func i32.add))")
    for attempt in (Module, Module.validate):
        with pytest.raises(ValidationError, match="type mismatch") as raised:
            attempt(Engine(Config(tier="auto")), wasm)
        assert not isinstance(raised.value, UnsupportedError) and raised.value.function == 1


def test_tops_and_differences() -> None:
    (structure, function) = decode(wat2wasm("(module (type (struct)) (type (func)))")).types
    null = wt.reference_to(structure, nullable=True)
    for valtype in (wt.NULLREF, wt.I31REF | wt.NON_NULL, wt.EQREF, null):
        assert wt.top(valtype) == wt.ANYREF
    assert wt.top(wt.reference_to(function, nullable=False)) == wt.top(wt.NULLFUNCREF) == wt.FUNCREF
    assert wt.top(wt.NULLEXTERNREF | wt.NON_NULL) == wt.EXTERNREF
    assert wt.difference(null, null) == wt.difference(wt.non_null(null), null) == wt.non_null(null)
    assert wt.difference(null, wt.non_null(null)) == null
    for code in range(0x100):
        is_reference = wt.FIRST_REFERENCE <= code <= wt.LAST_REFERENCE
        assert is_reference or not wt.is_reference(code)


@pytest.mark.skipif(not SUITE.is_dir(), reason=f"no conformance suite at {SUITE}")
@pytest.mark.parametrize("name", SCRIPTS)
def test_modules_of_the_suite(name: str, tmp_path: Path) -> None:
    """What its scripts say is valid is, and nothing else."""
    seen = 0
    for command in convert(SUITE / f"{name}.wast", tmp_path):
        kind, file = command["type"], command.get("filename", "")
        if kind not in ("module", "module_definition", "assert_invalid", "assert_malformed") or not file:
            continue
        seen += 1
        try:
            wasm = (tmp_path / file).read_bytes()
            said: WasmError | None = None
            checked(bytes(wat2wasm(wasm)) if file.endswith(".wat") else wasm)
        except WasmError as error:
            said = error
        assert not isinstance(said, UnsupportedError), (command, said)
        assert (said is not None) == kind.startswith("assert"), (command, said)
    assert seen


@pytest.mark.parametrize(("count", "seed"), [(150, 1), pytest.param(20_000, 2, marks=pytest.mark.slow)])
def test_modules_are_accepted_where_wasm_tools_accepts_them(count: int, seed: int) -> None:
    options = ("gc-enabled=true", "reference-types-enabled=true", "exceptions-enabled=false")
    modules = smith_modules(max(10, count // 100), seed, tuple([f"--{option}" for option in options]))
    assert sum(bool(decode(wasm, FEATURES).gc_types) for wasm in modules) >= len(modules) // 3
    found = disagreements([*modules, *mutants(modules, count, seed)], features=TYPE_FEATURES)
    # wasm-tools lets 32-bit offsets have more than five bytes, and has no limit of array.new_fixed, as JS engines have.
    known = ("integer representation too long", "exceeds the limit of 10000")
    assert [said for _, said in found if not any(reason in said for reason in known)] == []
