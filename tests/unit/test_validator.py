"""The validator in C takes what the walker takes, knows the same of it, and takes nothing else."""

from __future__ import annotations

import functools
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from tests.fuzz.corpus import example_modules, smith_modules
from tests.fuzz.validators import FEATURES, SUITE, Tally, compare, kernels, random_modules, suite_modules
from tests.unit.test_first_tier import dead
from tests.unit.test_first_tier import module as module_of_rows
from tests.wasm_bytes import CODE, FUNCTION, MEMORY, TABLE, TYPE, section, unsigned, vector
from tests.wasm_bytes import module as module_of
from wasmjit import Config, Engine, thresholds
from wasmjit import Module as CompiledModule
from wasmjit.config import Features
from wasmjit.errors import CompileTimeoutError, MalformedError, ValidationError, WasmError
from wasmjit.runtime import validator
from wasmjit.runtime.validator import body_facts, check_bodies
from wasmjit.wasm import deadline, validator_rows
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
    rows = sorted(OPS.values(), key=lambda op: op.code)
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


def test_bodies_of_random_modules() -> None:
    accepted = 0
    for wasm in [*random_modules(8, 7), *smith_modules(40, 5)]:
        one = compared(wasm)
        assert (one.missed, one.disagreements) == (0, [])
        accepted += one.accepted
    assert accepted > 300


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

    monkeypatch.setattr("wasmjit.wasm.validate.walk_body", refuse)
    engine = Engine(Config(tier="auto"))
    wasm = wat2wasm('(module (func (export "f") (result i32) i32.const 1))')
    CompiledModule.validate(engine, wasm)
    CompiledModule(engine, wasm)
    with pytest.raises(AssertionError, match="the walker was asked"):
        CompiledModule.validate(engine, wat2wasm("(module (func i32.add))"))


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
    "a million blocks that end": b"\0" + b"\x02\x40" * 1_000_000 + b"\x0b" * 1_000_001,
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
    bodies = [dead(op, depth=11) for op in OPS.values()]
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
        ('b"\\x10\\0" * 1_000_000', True),
        ('b"\\x02\\x01" * 500_000', False),  # that are left open
        ('b"\\0" + b"\\x02\\1\\0\\x0b" * 700_000', False),  # results by the thousand
        ('b"\\x41\\0" * 1_000_000', False),  # that are left on the stack
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
    monkeypatch.setattr(validator.os, "sched_getaffinity", lambda pid: range(5))
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


def test_without_further_threads_one_does_it(large: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = check_bodies(large, parallel=False)
    monkeypatch.setattr(validator.os, "sched_getaffinity", lambda pid: range(3))
    monkeypatch.setattr(thresholds, "SHARED_CODE_BYTES", 0)
    with mock.patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")) as start:
        assert check_bodies(large, parallel=True) == alone
    start.assert_called_once()


@pytest.mark.parametrize("processors", [1, 3])
def test_the_time_may_be_over(large: Module, monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    monkeypatch.setattr(validator.os, "sched_getaffinity", lambda pid: range(processors))
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
    monkeypatch.setattr(validator.os, "sched_getaffinity", lambda pid: range(3))
    monkeypatch.setattr(thresholds, "SHARED_CODE_BYTES", 0)

    def interrupt(function: int | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deadline, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        check_bodies(large, parallel=True)
    for thread in threading.enumerate():
        if thread.name == "wasmjit validator":
            thread.join(10)
            assert not thread.is_alive()
