"""The validator in C takes what the walker takes, knows the same of it, and takes nothing else."""

from __future__ import annotations

import _thread
import copy
import functools
import os
import random
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.fuzz.corpus import example_modules, smith_modules
from tests.fuzz.validators import (
    FEATURES,
    LEFT_TO_THE_WALKER,
    SUITE,
    Tally,
    compare,
    kernels,
    random_modules,
    suite_modules,
    with_bodies,
)
from tests.timing import becomes_true
from tests.unit.test_first_tier import dead, interpreted_rows, spellings
from tests.unit.test_first_tier import module as module_of_rows
from tests.wasm_bytes import CODE, FUNCTION, MEMORY, TABLE, TYPE, section, unsigned, vector
from tests.wasm_bytes import module as module_of
from wasmjit import Config, Engine, processes, thresholds
from wasmjit import Module as CompiledModule
from wasmjit.config import Features
from wasmjit.errors import CompileTimeoutError, MalformedError, ValidationError, WasmError
from wasmjit.runtime import validator
from wasmjit.runtime.validator import body_facts, check_bodies
from wasmjit.wasm import deadline, table_sources, validator_rows
from wasmjit.wasm import types as wt
from wasmjit.wasm.body import walk_body
from wasmjit.wasm.decode import MAX_BODY_BYTES, decode
from wasmjit.wasm.module import Module
from wasmjit.wasm.ops import OPS, SPECIAL
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.type_section import MAX_TYPES
from wasmjit.wasm.validate import IS_INTERPRETABLE, IS_VALID, validate, validate_module_level

in_c = functools.partial(check_bodies, parallel=False)
MANY = 1_000  # results of a function: as many as there may be


def decoded(text: str, features: Features = FEATURES) -> Module:
    return decode(bytes(wat2wasm(text)), features)


def compared(wasm: bytes) -> Tally:
    """What both say of the bodies of a module; nothing if it is invalid otherwise."""
    tally = Tally()
    try:
        module = decode(wasm, FEATURES)
        validate_module_level(module)
    except WasmError:
        return tally
    compare(module, tally)
    return tally


def raw(*bodies: bytes, types: tuple[bytes, ...] = (b"\x60\0\0",), type_index: int = 0) -> Module:
    """Functions of one type with these bodies, which are bytes with local declarations; a memory and a table."""
    wasm = module_of(
        section(TYPE, vector(*types)),
        section(FUNCTION, vector(*[unsigned(type_index)] * len(bodies))),
        section(TABLE, vector(b"\x70\0\1")),
        section(MEMORY, vector(b"\0\1")),
        section(CODE, vector(*[unsigned(len(body)) + body for body in bodies])),
    )
    return decode(wasm, FEATURES)


# ---- the table ----


def test_header_is_up_to_date() -> None:
    root = Path(__file__).resolve().parents[2]
    assert (root / "runtime_c" / "wj_rows.h").read_text() == validator_rows.render_header()


def test_c_that_was_built_from_another_table_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert validator.lib.wj_rows_checksum() == validator_rows.checksum()
    op = OPS[0x6A]
    for other in (replace(op, params=op.params[:1]), replace(op, feature="simd"), replace(op, first_tier="c")):
        monkeypatch.setitem(OPS, 0x6A, other)
        assert validator.lib.wj_rows_checksum() != validator_rows.checksum()
    monkeypatch.delitem(OPS, 0x6A)
    assert validator.lib.wj_rows_checksum() != validator_rows.checksum()
    monkeypatch.undo()
    module = raw(b"\0\x0b", b"\0\x0b")
    assert 0 not in in_c(module)
    monkeypatch.setattr(validator, "_IS_OF_THIS_TABLE", False)
    assert validate(module, in_c) == 2


def test_the_table_is_known_by_its_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = validator.lib.wj_table_sources_checksum()
    assert known == table_sources.checksum() != 0
    folder = Path(table_sources.__file__).parent
    build = runpy.run_path(str(folder.parents[1] / "runtime_c" / "build.py"), run_name="build")
    assert build["TABLE_SOURCES"] == table_sources.NAMES
    assert build["table_sources_checksum"]() == known
    for name in table_sources.NAMES:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    monkeypatch.setattr(table_sources, "__file__", str(tmp_path / "table_sources.py"))
    assert table_sources.checksum() == known
    for name in table_sources.NAMES:  # edited: the table itself is compared
        (tmp_path / name).write_bytes((folder / name).read_bytes() + b"\n")
        assert table_sources.checksum() != known
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "ops.py").unlink()
    assert table_sources.checksum() == 0


def test_modules_that_c_finds_valid_do_not_wait_for_the_table() -> None:
    """Reading it in takes three times as long as all else of the first module."""
    program = """
import sys, wasmjit
wat = wasmjit.wat2wasm('(module (global i32 (i32.const 7)) (func (export "f") (result i32) (i32.const 1)))')
module = wasmjit.Module(wasmjit.Engine(wasmjit.Config(tier="auto")), wat)
loaded = {"wasmjit.wasm.ops", "wasmjit.wasm.body", "dataclasses", "llvmlite"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_types_fit_in_what_c_has_of_them() -> None:
    most = MAX_TYPES << validator_rows.INDEX_SHIFT | validator_rows.CONCRETE | wt.NON_NULL
    assert most < 1 << 31  # of a frame's type, the bit above says that it is an index
    assert not validator_rows.CONCRETE & wt.NON_NULL
    assert max(t for op in OPS.values() for t in (*op.params, op.result)) < 1 << 8


def test_rows_have_no_more_operands_and_immediates_than_c_has_room_for() -> None:
    regular = [op for op in OPS.values() if op.kind != SPECIAL]
    assert max(len(op.params) for op in regular) <= 3
    assert max(len(op.immediates) for op in regular) <= 3
    assert "?" not in "".join([validator_rows.row(op) for op in regular])


@pytest.mark.parametrize("prefix", [b"", b"\0"], ids=["live", "dead"])
def test_c_knows_every_row(prefix: bytes) -> None:
    """Of instructions in code that cannot be reached, each with all of its spellings, none is left to the walker."""
    rows = interpreted_rows()
    module = decode(module_of_rows(*[prefix + dead(op) for op in rows]), FEATURES)
    facts = body_facts(module)
    assert {op.name for op, found in zip(rows, facts, strict=False) if found is None} == set()
    for position in range(len(rows)):
        assert facts[position] == walk_body(module, position)


# ---- whole modules ----


def test_bodies_of_compilers() -> None:
    tally = Tally()
    for wasm in kernels() + example_modules(2_000_000):
        one = compared(wasm)
        assert (one.refused, one.missed, one.disagreements) == (0, 0, [])
        tally.accepted += one.accepted
    assert tally.accepted > 300


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_bodies_of_random_modules(count: int) -> None:
    accepted = 0
    for wasm in [*random_modules(count, 7), *smith_modules(5 * count, 5)]:
        one = compared(wasm)
        assert (one.missed, one.disagreements) == (0, [])
        accepted += one.accepted
    assert accepted > 37 * count


@pytest.mark.skipif(not SUITE.is_dir(), reason=f"no conformance suite at {SUITE}")
@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_modules_of_the_conformance_suite(every: int) -> None:
    """Valid and invalid ones, of every sixth script, or of all."""
    accepted = refused = 0
    for name, wasm in suite_modules(every):
        one = compared(wasm)
        assert (name, one.missed, one.disagreements) == (name, 0, [])
        accepted += one.accepted
        refused += one.refused
    assert accepted > 8_000 // (2 * every)
    assert refused > 2_500 // (2 * every)


def outcome(wasm: bytes, check: Callable[[Module], bytearray] | None) -> tuple[object, ...]:
    """What is told of a module."""
    try:
        module = decode(wasm, FEATURES)
        misses = validate(module, check)
    except WasmError as error:
        return type(error), str(error), error.offset, getattr(error, "function", None)
    return misses, module.interpretable, module.has_tail_calls


def test_errors_are_the_walkers() -> None:
    texts = [
        "(func) (func nop i32.add) (func unknown)".replace("unknown", "local.get 3"),
        "(func (result i32) i64.const 0)",
        "(func $f (result i32) (i32.const 1)) (func (drop (call $f)) (return_call $f))",
        "(func (param (ref func)) (local (ref func)) (drop (local.get 1)))",
    ]
    wasms = [bytes(wat2wasm(f"(module {text})")) for text in texts]
    wasms.append(raw(b"\0\x41\x80\x80\x80\x80\x80\0\x1a\x0b", b"\0\0").wasm[:])  # type: ignore[arg-type]
    for wasm in wasms:
        said = outcome(wasm, None)
        assert isinstance(said[0], type)
        assert outcome(wasm, in_c) == said


def test_the_first_invalid_body_is_told_of() -> None:
    good, bad, worse = b"\0\x0b", b"\0\x6a\x0b", b"\0\xff"
    module = raw(good, good, bad, good, worse)
    with pytest.raises(ValidationError, match=r"at function 2\b|function 2\b"):
        validate(module, in_c)
    module = raw(good, worse, good, bad)
    with pytest.raises(MalformedError) as caught:
        validate(module, in_c)
    assert caught.value.function == 1


def test_what_is_left_to_the_walker_is_counted() -> None:
    module = raw(b"\0\x0b", b"\0\x01\x0b", b"\0\x43\0\0\0\0\x1a\x0b")
    assert validate(module) == 0
    assert validate(module, in_c) == 0
    assert validate(module, lambda module: bytearray(3)) == 3
    assert validate(module, lambda module: bytearray((IS_VALID, 0, IS_VALID | IS_INTERPRETABLE))) == 1
    assert module.interpretable == bytes((0, 1, 1))


def test_tail_calls_are_noted() -> None:
    module = decoded("(module (func) (func return_call 0))")
    validate(module, in_c)
    assert module.has_tail_calls
    module = decoded("(module (func) (func call 0))")
    validate(module, in_c)
    assert not module.has_tail_calls


def test_modules_are_validated_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """In tier auto, and by `Module.validate`: the walker is not asked."""

    def refuse(module: Module, function: int) -> None:
        raise AssertionError("the walker was asked")

    monkeypatch.setattr("wasmjit.wasm.body.walk_body", refuse)
    engine = Engine(Config(tier="auto"))
    wasm = wat2wasm('(module (func (export "f") (result i32) i32.const 1))')
    CompiledModule.validate(engine, wasm)
    CompiledModule(engine, wasm)
    with pytest.raises(AssertionError, match="the walker was asked"):
        CompiledModule.validate(engine, wat2wasm("(module (func i32.add))"))


# ---- what is wrong, check by check ----

WORLD = """
  (type $none (func))
  (type $two (func (param i32 i64) (result i64 i32)))
  (rec (type $above (sub (func))) (type $below (sub $above (func))))
  (type $structure (struct))
  (import "" "takes" (func $takes (param i32)))
  (import "" "vector" (func $vector (result v128)))
  (import "" "two" (func $two (type $two)))
  (global $constant i32 (i32.const 0))
  (global $variable (mut i64) (i64.const 0))
  (table $t 1 funcref)
  (table $e 1 externref)
  (table $wide i64 1 funcref)
  (memory $m 1)
  (memory $large i64 1)
  (elem $functions func $takes)
  (elem $externs externref (ref.null extern))
  (data $d "x")
  (func $declared (export "declared"))
  (func $undeclared)
"""
# The body of a function without parameters or results, if it is none of text.
WRONG: dict[str, str | bytes] = {
    "a constant with a bit too many": b"\0\x41\xff\xff\xff\xff\x1f\x1a\x0b",
    "a 64-bit constant with a bit too many": b"\0\x42" + b"\xff" * 9 + b"\x01\x1a\x0b",
    "a constant that is too long": b"\0\x41\x80\x80\x80\x80\x80\0\x1a\x0b",
    "an index with a bit too many": b"\0\x10\x83\x80\x80\x80\x10\x0b",
    "an index that is too long": b"\0\x10\x83\x80\x80\x80\x80\0\x0b",
    "more behind the last end": b"\0\x0b\x01",
    "more locals than there may be": b"\1" + unsigned(50_001) + b"\x7f\x0b",
    "a local that is not there": "(func local.get 0 drop)",
    "a local far behind": b"\0\x20\xc8\1\x1a\x0b",
    "a local far behind, written in dead code": b"\0\0\x21\xc8\1\x0b",
    "a local of another type": "(func (local i64) i32.const 0 local.set 0)",
    "operands of another type": "(func i64.const 0 i32.const 0 i32.add drop)",
    "an operand of another type": "(func i64.const 0 i32.eqz drop)",
    "operands below the block": "(func i32.const 0 i32.const 0 block i32.add i32.const 0 end drop drop)",
    "an address of another type": "(func i64.const 0 i32.load drop)",
    "an address of a memory's that is wide": "(func i32.const 0 i32.load $large drop)",
    "an access aligned by more than its size": "(func i32.const 0 i32.load align=8 drop)",
    "an access aligned by more, to another memory": "(func i64.const 0 i32.load $large align=8 drop)",
    "a store of another type": "(func i32.const 0 i64.const 0 i32.store)",
    "a memory that is not there": b"\0\0\x28\x42\x09\0\x1a\x0b",
    "an offset of 33 bits": b"\0\x41\0\x28\2\x80\x80\x80\x80\x10\x1a\x0b",
    "a lane that is not there": b"\0\x41\0\xfd\x11\xfd\x1b\4\x1a\x0b",
    "lanes that are not there": b"\0\0\xfd\x0d" + b"\0" * 7 + b"\x20" + b"\0" * 8 + b"\x1a\x0b",
    "nothing to drop": "(func drop)",
    "too few operands of a call": "(func i64.const 0 call $two drop drop)",
    "operands of a call in another order": "(func i64.const 0 i32.const 0 call $two drop drop)",
    "null where there is none": "(func (result (ref func)) ref.null func)",
    "a function for something of the host's": "(func (result externref) ref.null func)",
    "a type for one that is below it": "(func (param (ref $above)) (result (ref $below)) local.get 0)",
    "a number for a reference": "(func (param i32) (result funcref) local.get 0)",
    "a heap type that is not there": b"\0\xd0\xc8\1\x1a\x0b",
    "references of garbage collection, selected without a type": (
        "(func (param anyref (ref i31)) local.get 0 local.get 1 i32.const 0 select drop)"
    ),
    "any for a function": "(func (param anyref) (result funcref) local.get 0)",
    "an opcode that is not there": b"\0\x06\x0b",
    "an opcode behind a prefix that is not there": b"\0\x43\0\0\0\0\xfc\x17\x1a\x0b",
    "a vector opcode that is not there": b"\0\x41\0\xfd\x94\2\0\0\x1a\x0b",
    "a function that is not there": b"\0\x10\x08\x0b",
    "a type that is no function's": b"\0\0\x11\4\0\x0b",
    "a block of a structure": b"\0\x02\4\x0b\x0b",
    "a global that is not there": b"\0\x23\xc8\1\x1a\x0b",
    "a table that is not there": b"\0\0\xfc\x10\xc8\1\x1a\x0b",
    "the size of a memory that is not there": b"\0\x3f\xc8\1\x1a\x0b",
    "a data segment that is not there": b"\0\xfc\x09\x08\x0b",
    "an element segment that is not there": b"\0\xfc\x0d\x08\x0b",
    "else without if": b"\0\x02\x40\x05\x0b\x0b",
    "more than a block gives": "(func block i32.const 0 end drop)",
    "more than an if gives": "(func i32.const 0 if i32.const 0 else drop end)",
    "less than a block gives": "(func block (result i32) end drop)",
    "an operand that is left": "(func i32.const 0)",
    "an if with a result and no else": "(func i32.const 0 if (result i32) i32.const 0 end drop)",
    "a local that was set in a block": (
        "(func (local (ref func)) block ref.func $declared local.set 0 end local.get 0 drop)"
    ),
    "a local that was set in the other branch": (
        "(func (local (ref func)) i32.const 0 if ref.func $declared local.set 0 else local.get 0 drop end)"
    ),
    "a local that was not set": "(func (local (ref func)) local.get 0 drop)",
    "a label that is not there": b"\0\x0c\x05\x0b",
    "a branch without its operand": "(func (result i32) br 0)",
    "a conditional branch without its operand": "(func (result i32) i32.const 0 br_if 0 i32.const 1)",
    "a table of branches without their operand": "(func (result i32) i32.const 0 br_table 0 0)",
    "a table of branches that differ": "(func (result i32) block i32.const 1 i32.const 0 br_table 0 1 end unreachable)",
    "a return without its operand": "(func (result i32) return)",
    "a call without its operand": "(func call $takes)",
    "a tail call of a function that gives something else": "(func (result i32) return_call $declared)",
    "an indirect call in a table of the host's": "(func i32.const 0 call_indirect $e (type $none))",
    "an index of another type": "(func i32.const 0 call_indirect $wide (type $none))",
    "a call by a reference to another type": "(func (param (ref $two)) local.get 0 call_ref $none)",
    "a global that is constant": "(func i32.const 0 global.set $constant)",
    "a global of another type": "(func i32.const 0 global.set $variable)",
    "two types to select from": "(func i32.const 0 i64.const 0 i32.const 0 select drop)",
    "references to select from": "(func ref.null func ref.null func i32.const 0 select drop)",
    "another type to select from": "(func i64.const 0 i64.const 0 i32.const 0 select (result i32) drop)",
    "no reference": "(func i32.const 0 ref.is_null drop)",
    "no reference in dead code": "(func unreachable i32.const 0 ref.as_non_null drop)",
    "no reference to branch on": "(func block (result funcref) i32.const 0 br_on_non_null 0 ref.null func end drop)",
    "a function that was not declared": "(func ref.func $undeclared drop)",
    "elements of another type": "(func i32.const 0 i32.const 0 i32.const 0 table.init $t $externs)",
    "elements of a table of another type": "(func i32.const 0 i32.const 0 i32.const 0 table.copy $t $e)",
    "an element of another type": "(func i32.const 0 ref.null extern table.set $t)",
    "a count of another type": "(func i64.const 0 i64.const 0 i32.const 0 memory.copy $large $large)",
}
RIGHT: dict[str, str] = {
    "vectors of a call": "(func call $vector drop)",
    "a vector among locals": "(func (local v128))",
    "another memory": "(func i64.const 0 i32.load $large drop)",
    "a tail call": "(func return_call $declared)",
    "wide arithmetic": "(func i64.const 0 i64.const 0 i64.mul_wide_u drop drop)",
    "a type for one that is above it": "(func (param (ref $below)) (result (ref null $above)) local.get 0)",
    "a reference for any function": "(func (param (ref $below)) (result funcref) local.get 0)",
    "a local that was set": "(func (local (ref func)) ref.func $declared local.set 0 block local.get 0 drop end)",
    "a count that two memories differ in": "(func i64.const 0 i32.const 0 i32.const 0 memory.copy $large $m)",
    "dead operands": "(func (result i32) unreachable i32.add select br_if 0)",
    "dead references": "(func unreachable ref.as_non_null br_on_null 0 ref.is_null drop)",
    "branches of dead code that differ": "(func block (result f32) unreachable i32.const 0 br_table 0 0 end drop)",
}


@functools.cache
def world(text: str = "") -> Module:
    return decoded(f"(module {WORLD} {text})")


@pytest.mark.parametrize("name", WRONG)
def test_c_refuses_what_is_wrong(name: str) -> None:
    body = WRONG[name]
    if isinstance(body, str):
        module, first = world(body), len(world().bodies)
    else:
        module, first = with_bodies(world(), [(0, body)])
    tally = Tally()
    compare(module, tally, first)
    assert tally.disagreements == []
    assert (tally.refused, tally.accepted, tally.missed) == (1, 0, 0)


@pytest.mark.parametrize("name", RIGHT)
def test_c_takes_what_is_right_and_knows_the_same_of_it(name: str) -> None:
    tally = Tally()
    compare(world(RIGHT[name]), tally, len(world().bodies))
    assert (tally.disagreements, tally.missed) == ([], 0)
    assert tally.accepted == 1


@pytest.mark.parametrize("feature", sorted({op.feature for op in OPS.values()} - {""} - LEFT_TO_THE_WALKER))
def test_features_that_are_off(feature: str) -> None:
    """Each row of the feature is refused, as are references and vectors among locals."""
    features = replace(FEATURES, **{feature: False})
    rows = [op for op in OPS.values() if op.feature == feature]
    bodies = [b"\0\0" + spelled + b"\0\x0b" for op in rows for spelled in spellings(op)]
    bodies += [b"\1\1\x7b\x0b", b"\1\1\x64\x70\x0b", b"\1\1\x63\0\x0b"]
    on, first = with_bodies(world(), [(0, body) for body in bodies])
    off = copy.copy(on)
    off.features = features
    tally = Tally()
    compare(off, tally, first)
    assert (tally.disagreements, tally.missed) == ([], 0)
    assert tally.refused >= len(rows)


GUARDED = """
import ctypes, mmap
from tests.unit.test_validator import HOSTILE, dead, raw
from wasmjit.runtime.validator import body_facts
from tests.unit.test_first_tier import interpreted_rows

page = mmap.PAGESIZE
size = 64 * page
area = mmap.mmap(-1, size + page)
begin = ctypes.addressof(ctypes.c_char.from_buffer(area))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(begin + size), page, 0) == 0
whole = [b"\\0" + dead(op, depth=11) for op in interpreted_rows()]
bodies = [body[:length] for body in whole for length in range(max(0, len(body) - 12), len(body))]
bodies += [body for body in HOSTILE.values() if len(body) < 200]
live = b"\\0\\x41\\0\\x28\\2\\0\\x1a\\x41\\0\\x41\\0\\x36\\2\\0\\x41\\0\\x1a"
bodies += [live[:length] for length in range(len(live))]
taken = 0
for body in bodies:
    module = raw(b"\\0\\x0b", body)
    start = size - len(module.wasm)
    area[start:size] = module.wasm
    module.wasm = memoryview(area)[start:size]
    first, second = body_facts(module)
    assert first is not None
    taken += second is not None
print(len(bodies), taken)
"""


def test_nothing_behind_the_module_is_read() -> None:
    """There is a page behind it that cannot be."""
    code = GUARDED.replace("\\\\", "\\")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, taken = map(int, done.stdout.split())
    assert count > 5_000
    assert taken < 30


# ---- hostile bodies ----

TYPES = (b"\x60\0\0", b"\x60\0" + vector(*[b"\x7f"] * MANY), b"\x60" + vector(*[b"\x7f"] * MANY) + b"\0")
HOSTILE = {
    "nothing": b"",
    "no instruction": b"\0",
    "a count of locals that is cut off": b"\x80",
    "a type of locals that is cut off": b"\1\1",
    "locals beyond counting": b"\1\xff\xff\xff\xff\x0f\x7f\x0b",
    "groups of locals beyond counting": b"\xff\xff\xff\xff\x0f\0\x7f\x0b",
    "locals that sum up to 2^32": b"\2\xff\xff\xff\xff\x0f\x7f\1\x7f\x0b",
    "as many locals as there may be": b"\1" + unsigned(50_000) + b"\x7f\x0b",
    "one local more": b"\1" + unsigned(50_001) + b"\x7f\x0b",
    "an index that is cut off": b"\0\x20\x80",
    "an index that is too long": b"\0\x10\x80\x80\x80\x80\x80\0\x0b",
    "an index with a bit too many": b"\0\x10\x80\x80\x80\x80\x10\x0b",
    "an index that is spelled in five bytes": b"\0\x10\x80\x80\x80\x80\0\x0b",
    "a constant with a sign that differs": b"\0\x41\x80\x80\x80\x80\x70\x1a\x0b",
    "a constant with all of its bits": b"\0\x41\x80\x80\x80\x80\x78\x1a\x0b",
    "a 64-bit constant with a bit too many": b"\0\x42" + b"\xff" * 9 + b"\x01\x1a\x0b",
    "the smallest 64-bit constant": b"\0\x42" + b"\x80" * 9 + b"\x7f\x1a\x0b",
    "a float that is cut off": b"\0\x44\0\0\0\0\0\0\0",
    "a vector that is cut off": b"\0\xfd\x0c" + b"\0" * 15,
    "lanes that are cut off": b"\0\0\xfd\x0d" + b"\0" * 15,
    "a lane that is there no more": b"\0\0\xfd\x15",
    "a memory argument that is cut off": b"\0\0\x28\2",
    "an offset that is cut off": b"\0\0\x28\2\x80",
    "an alignment of 2^31": b"\0\0\x28\x80\x80\x80\x80\x08\0\x1a\x0b",
    "a memory of another index": b"\0\0\x28\x42\1\0\x1a\x0b",
    "an opcode behind a prefix that is not there": b"\0\xfc",
    "an opcode behind a prefix that is too large": b"\0\xfd\xff\xff\xff\xff\x0f\x0b",
    "a block type that is cut off": b"\0\x02",
    "a block type of another module": b"\0\x02\xe4\0\x0b\x0b",
    "a negative block type in two bytes": b"\0\x02\xc0\x7f\x0b\x0b",
    "blocks that do not end": b"\0" + b"\x02\x40" * 300_000,
    "many blocks that end": b"\0" + b"\x02\x40" * 300_000 + b"\x0b" * 300_001,
    "loops in dead code": b"\0\0" + b"\x03\x40" * 200_000 + b"\x0b" * 200_001,
    "ends without end": b"\0" + b"\x0b" * 1_000,
    "labels beyond counting": b"\0\x41\0\x0e\xff\xff\xff\xff\x0f\0\0",
    "two million labels": b"\0\x41\0\x0e" + unsigned(2_000_000) + b"\0" * 2_000_001 + b"\x0b",
    "a label too far out": b"\0\x41\0\x0e\2\0\1\0\x0b",
    "operands without end": b"\0" + b"\x41\0" * 300_000 + b"\x1a" * 300_000 + b"\x0b",
    "a block behind the function's end": b"\0\x0b\x02\x40\x0b",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies(name: str) -> None:
    body = HOSTILE[name]
    assert len(body) <= MAX_BODY_BYTES
    module = raw(body, b"\0\x0b", types=TYPES)
    tally = Tally()
    compare(module, tally)
    assert tally.disagreements == []
    assert tally.missed == 0
    assert tally.accepted >= 1  # the other one


@pytest.mark.parametrize("name", [name for name, body in HOSTILE.items() if len(body) < 200])
def test_hostile_bodies_at_the_end_of_the_module(name: str) -> None:
    """Behind the last body there is nothing that could be read."""
    module = raw(b"\0\x0b", HOSTILE[name])
    assert module.bodies[-1].end == len(module.wasm)
    tally = Tally()
    compare(module, tally)
    assert (tally.disagreements, tally.missed) == ([], 0)


def test_every_prefix_of_a_body_is_refused() -> None:
    """Of one with an instruction of each row."""
    bodies = [dead(op, depth=11) for op in interpreted_rows()]
    for body in bodies[::9]:
        whole = raw(b"\0" + body)
        for length in range(len(body)):
            found = body_facts(raw(b"\0" + body[:length]))
            assert found == [None], (whole.wasm.hex(), length)


MEASURED = """
import sys
from tests.unit.test_validator import TYPES, raw
from wasmjit.runtime.validator import body_facts

def peak():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) << 10

body = b"\\0" + {code} + b"\\x0b"
module = raw(body, types=TYPES)
before = peak()
found = body_facts(module)
print(len(body), peak() - before, found[0] is not None)
"""


@pytest.mark.parametrize(
    ("code", "is_taken"),
    [
        ('b"\\x10\\0" * 500_000', True),
        ('b"\\x02\\x01" * 500_000', False),  # that are left open
        ('b"\\0" + b"\\x02\\1\\0\\x0b" * 300_000', False),  # results by the thousand
        ('b"\\x41\\0" * 500_000', False),  # that are left on the stack
        ('b"\\x41\\0" * 500_000 + b"\\x1a" * 500_000', True),
    ],
)
def test_memory_is_in_proportion(code: str, is_taken: bool) -> None:
    """What a few bytes push a thousand operands each for would take gigabytes."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.replace("{code}", code)], capture_output=True, text=True, check=True
    )
    size, taken, found = done.stdout.split()
    assert int(taken) <= 40 * int(size) + (4 << 20)
    assert found == str(is_taken)


def test_work_is_in_proportion() -> None:
    """A branch of two bytes that carries a thousand operands compares as many types: they are the walker's."""
    few, many = (b"\0\x02\1\0" + b"\x41\0\x0d\0" * count + b"\x0b\x0f\x0b" for count in (10, 20_000))
    found = body_facts(raw(few, many, types=TYPES))
    assert found[0] is not None
    assert found[1] is None
    assert validate(raw(few, many, types=TYPES), in_c) == 1


def test_many_bodies_with_as_many_locals_as_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six bytes have fifty thousand locals made: Python looks at the clock meanwhile."""
    module = raw(*[b"\1" + unsigned(50_000) + b"\x7f\x0b"] * 20_000)
    looks: list[int | None] = []
    monkeypatch.setattr(deadline, "check", lambda function=None: looks.append(function))
    assert set(check_bodies(module, parallel=False)) == {IS_VALID | IS_INTERPRETABLE}
    assert len(looks) > 10


def test_stacks_that_are_too_high_for_c_are_the_walkers() -> None:
    """Beyond what the interpreter would take of them anyway."""
    body = b"\0" + b"\x10\0" * 100 + b"\0\x0b"
    module = raw(body, types=TYPES, type_index=1)
    assert body_facts(module) == [None]
    assert validate(module, in_c) == 1
    assert module.interpretable == b"\0"


# ---- threads and time ----


@pytest.fixture
def large() -> Module:
    """Some megabytes of code."""
    wasms = {wasm for wasm in kernels() if len(wasm) < 100_000}
    bodies = []
    for wasm in sorted(wasms):
        module = decode(wasm)
        bodies += [wasm[body.start : body.end] for body in module.bodies]
    good = [b"\0" + b"\x41\1\x1a" * random.Random(i).randrange(2_000) + b"\x0b" for i in range(600)]
    return raw(*good, *bodies)


def test_threads_say_what_one_does(large: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = check_bodies(large, parallel=False)
    assert 0 in alone and IS_VALID | IS_INTERPRETABLE in alone
    monkeypatch.setattr(thresholds, "SHARED_CODE_BYTES", 0)
    monkeypatch.setattr(thresholds, "SHARED_PART_BYTES", 1_000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(5))
    for _ in range(20):
        assert check_bodies(large, parallel=True) == alone


def test_several_threads_validate_at_once(large: Module) -> None:
    alone = check_bodies(large, parallel=False)
    found: list[bytearray] = []

    def work(number: int) -> None:
        found.append(check_bodies(large, parallel=number % 2 == 0))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 6


@pytest.mark.parametrize("effect", [RuntimeError("can't start new thread"), lambda main, arguments: 1])
def test_without_further_threads_one_does_it(large: Module, monkeypatch: pytest.MonkeyPatch, effect: Any) -> None:
    """Also where one begins that has no memory for its first call, for which `threading` waits for ever."""
    alone = check_bodies(large, parallel=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(3))
    monkeypatch.setattr(thresholds, "SHARED_CODE_BYTES", 0)
    monkeypatch.setattr(threading, "_start_new_thread", lambda *_: pytest.fail("it would wait for ever"))
    with mock.patch.object(_thread, "start_new_thread", side_effect=effect) as start:
        assert check_bodies(large, parallel=True) == alone
    start.assert_called_once()


@pytest.mark.parametrize("processors", [1, 3])
def test_the_time_may_be_over(large: Module, monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(processors))
    monkeypatch.setattr(thresholds, "SHARED_CODE_BYTES", 0)
    with deadline.within(0), pytest.raises(CompileTimeoutError):
        check_bodies(large, parallel=True)
    with deadline.until(lambda: True), pytest.raises(deadline.NotWantedError):
        check_bodies(large, parallel=True)

    def check(function: int | None = None) -> None:
        if function is not None:
            raise deadline.timed_out(1, function)

    monkeypatch.setattr(deadline, "check", check)
    with pytest.raises(CompileTimeoutError) as caught:
        check_bodies(large, parallel=False)
    assert caught.value.function == 0


def test_an_exception_ends_the_threads(large: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of Ctrl-C."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(3))
    monkeypatch.setattr(thresholds, "SHARED_CODE_BYTES", 0)

    def interrupt(function: int | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deadline, "check", interrupt)
    before = processes._threads()
    with pytest.raises(KeyboardInterrupt):
        check_bodies(large, parallel=True)
    assert becomes_true(lambda: not processes._threads() - before)
