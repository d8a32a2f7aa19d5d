"""Recursion groups, finality and declared supertypes of function types: equality, subtyping, and what checks it."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest

from tests.wasm_bytes import EMPTY_TYPE, TYPE, module, section, signed, unsigned
from wasmjit import (
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Limits,
    Linker,
    LinkError,
    Module,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    UnsupportedError,
    ValidationError,
    ValType,
    metadata,
)
from wasmjit.runtime import type_ids
from wasmjit.runtime.native import lib
from wasmjit.wasm import recursion
from wasmjit.wasm import types as wt
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.validate import validate

BAD = TrapCode.BAD_SIGNATURE
CONFIGS: dict[str, dict[str, Any]] = {
    "optimized": {"tier": "optimized"},
    "explicit": {"tier": "optimized", "signals_based_traps": False},
    "fuel": {"tier": "optimized", "consume_fuel": True},
    "baseline": {"tier": "baseline"},
    "auto": {"tier": "auto"},
}
# $a above $b above $c; $d is a type like $a.
TYPES = """(type $a (sub (func (param i32) (result i32)))) (type $b (sub $a (func (param i32) (result i32))))
  (type $c (sub final $b (func (param i32) (result i32)))) (type $f (func (param i32) (result i32)))
  (rec (type $r (sub $a (func (param i32) (result i32)))) (type $s (struct (field (ref $r)))))"""


def function(name: str, number: int) -> str:
    return f'(func ${name} (export "{name}") (type ${name}) (i32.add (local.get 0) (i32.const {number})))'


NAMES = "abcfr"
TABLE = f"""(table (export "t") 8 funcref) (elem (i32.const 0) ${" $".join(NAMES)})
  {" ".join(function(name, number) for number, name in enumerate(NAMES))}"""
CALLS = " ".join(
    f'(func (export "as_{name}") (param i32) (result i32) (call_indirect (type ${name}) (i32.const 10) (local.get 0)))'
    f'(func (export "tail_{name}") (param i32) (result i32)'
    f" (return_call_indirect (type ${name}) (i32.const 10) (local.get 0)))"
    for name in NAMES
)
ABOVE = {"a": "a", "b": "ab", "c": "abc", "f": "f", "r": "ar"}


@pytest.fixture(params=CONFIGS)
def store(request: pytest.FixtureRequest) -> Store:
    store = Store(Engine(Config(cache=False, opt_level="none", **CONFIGS[request.param])))
    if request.param == "fuel":
        store.set_fuel(10**9)
    return store


def exports(store: Store, text: str, *imports: Any, through_artifact: bool = False) -> Any:
    made = Module(store.engine, text)
    if through_artifact:
        made = Module.deserialize(store.engine, made.serialize())
    return Instance(store, made, imports).exports(store)


def outcome(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Trap as trap:
        return trap.trap_code


def expected(name: str, wanted: str) -> Any:
    return 10 + NAMES.index(name) if wanted in ABOVE[name] else BAD


@pytest.mark.parametrize("through_artifact", [False, True])
def test_indirect_calls_take_subtypes(store: Store, through_artifact: bool) -> None:
    own = exports(store, f"(module {TYPES} {TABLE} {CALLS})", through_artifact=through_artifact)
    text = f'(module {TYPES} (import "" "t" (table 8 funcref)) {CALLS})'
    other = exports(store, text, own["t"], through_artifact=through_artifact)
    for found in (own, other):
        for prefix in ("as", "tail"):
            for wanted in NAMES:
                call = found[f"{prefix}_{wanted}"]
                for _ in range(2):  # what was found once is remembered
                    assert [outcome(partial(call, store, n)) for n in range(len(NAMES))] == [
                        expected(name, wanted) for name in NAMES
                    ]
                assert outcome(partial(call, store, 7)) == TrapCode.INDIRECT_CALL_TO_NULL
                assert outcome(partial(call, store, 8)) == TrapCode.TABLE_OUT_OF_BOUNDS


def test_calls_by_reference_take_subtypes(store: Store) -> None:
    found = exports(
        store,
        f"""(module {TYPES} {TABLE}
          (func (export "call") (param (ref null $a)) (result i32) (call_ref $a (i32.const 10) (local.get 0)))
          (func (export "tail") (param (ref null $a)) (result i32) (return_call_ref $a (i32.const 10) (local.get 0)))
          (global $g (export "g") (mut (ref null $a)) (ref.func $c))
          (func (export "global") (result i32) (call_ref $a (i32.const 10) (global.get $g))))""",
    )
    for name in NAMES:
        for how in ("call", "tail"):
            if "a" in ABOVE[name]:
                assert found[how](store, found[name]) == expected(name, "a")
            else:
                with pytest.raises(TypeError, match="another type"):
                    found[how](store, found[name])
    assert found["global"](store) == expected("c", "a")
    found["g"].set_value(store, found["b"])
    assert found["global"](store) == expected("b", "a")
    with pytest.raises(TypeError, match="is no"):
        found["g"].set_value(store, found["f"])


def test_imports_take_subtypes(store: Store) -> None:
    found = exports(store, f"(module {TYPES} {TABLE})")
    for wanted in NAMES:
        text = f"""(module {TYPES} (import "" "" (func $i (type ${wanted})))
          (func (export "go") (result i32) (call $i (i32.const 10))))"""
        for name in NAMES:
            if wanted in ABOVE[name]:
                assert exports(store, text, found[name])["go"](store) == expected(name, wanted)
            else:
                with pytest.raises(LinkError):
                    exports(store, text, found[name])


def test_functions_in_python_have_types_of_groups(store: Store) -> None:
    found = exports(store, f"(module {TYPES} {TABLE} {CALLS})")
    kinds = {name: found[name].type(store) for name in NAMES}
    assert len(set(kinds.values())) == len(NAMES)
    host = Func(store, kinds["b"], lambda n: n + 90)
    with pytest.raises(LinkError):
        exports(store, f'(module {TYPES} (import "" "" (func (type $c))))', host)
    table = found["t"]
    table.set(store, 6, host)
    del host, kinds
    type_ids._signature.cache_clear()
    gc.collect()
    assert [outcome(partial(found[f"as_{name}"], store, 6)) for name in NAMES] == [100, 100, BAD, BAD, BAD]
    again = table.get(store, 6)
    assert again is not None and again.type(store) == found["b"].type(store) != FuncType(again.type(store).params, [])


def test_a_function_type_that_refers_to_itself(store: Store) -> None:
    text = """(module (type $t (func (param i32 (ref null $t)) (result i32)))
      (func $f (export "f") (type $t)
        (if (result i32) (local.get 0)
          (then (call_ref $t (i32.sub (local.get 0) (i32.const 1)) (local.get 1) (local.get 1)))
          (else (i32.const 7))))
      (func (export "go") (result i32) (call $f (i32.const 5) (ref.func $f))))"""
    found = exports(store, text)
    other = exports(store, text, through_artifact=True)
    assert found["go"](store) == other["go"](store) == 7
    assert found["f"](store, 3, other["f"]) == 7
    assert found["f"].type(store) == other["f"].type(store)
    assert str(found["f"].type(store).params[1]) == "(ref null (func (param i32) (param (ref null ...)) (result i32)))"
    with pytest.raises(TypeError, match="another type"):
        found["f"](store, 3, found["go"])
    variable = Global(store, GlobalType(found["f"].type(store).params[1], mutable=True), found["f"])
    assert variable.value(store).type(store) == found["f"].type(store)
    table = Table(store, TableType(found["f"].type(store).params[1], Limits(1)), found["f"])
    with pytest.raises(TypeError, match="is no"):
        table.set(store, 0, found["go"])


SECTIONS = {
    "itself": "(type $t (func (param (ref $t)) (result (ref null $t))))",
    "structures": """(rec
      (type $s (sub (struct (field i8) (field (mut i16)) (field (mut (ref null $a))) (field anyref))))
      (type $a (array (mut (ref $s)))) (type $f (sub final (func (param v128 (ref eq) externref (ref $a))))))
      (type $s2 (sub $s (struct
        (field i8) (field (mut i16)) (field (mut (ref null $a))) (field (ref i31)) (field f64))))
      (type (func (param (ref $s) (ref null $f) nullfuncref (ref nofunc) (ref noextern)) (result (ref none))))""",
    "the same group twice": """
      (rec (type $a (sub (func (param (ref null $b))))) (type $b (sub $a (func (param funcref)))))
      (rec (type $c (sub (func (param (ref null $d))))) (type $d (sub $c (func (param funcref)))))
      (type (func (param (ref $d))))""",
    "supertypes": TYPES,
    "plain": "(rec (type (func (param i32)))) (type (sub final (func (result i64 funcref)))) (rec)",
}


@pytest.mark.parametrize("name", SECTIONS)
def test_type_sections_are_written_and_read(name: str) -> None:
    decoded = decode(wat2wasm(f"(module {SECTIONS[name]})"))
    validate(decoded)
    written, indices = metadata.encode_module(metadata.strip(decoded))
    again = metadata.decode_module(written, memoryview(indices).cast("I"), b"")
    assert again.types == decoded.types
    assert pickle.loads(pickle.dumps(decoded.types)) == decoded.types
    assert type_ids.ModuleTypes(decoded.types).ids == type_ids.ModuleTypes(again.types).ids
    if name == "plain":
        assert all(type.definition is None for type in decoded.types)
    if name == "the same group twice":
        assert decoded.types[0] is decoded.types[2] and decoded.types[1] is decoded.types[3]


@pytest.mark.parametrize(
    "damage",
    [
        *("(F!", "(F99!:)", "(F!<1!>:)", "(X!:)", "(S!w)", "(F!w:)", "S!+\x7f", "(S!+)"),
        *("(F0?:)", "(F1?:,F?:)", "(F1?:,F0?:)"),  # above themselves, which has no end
        *(": (F0?:)", "(F?:) (F0?\x7f:)", "(S?) (F0?:)"),  # supertypes that do not fit
        " ".join(["(F?:)", *(f"(F{above}?:)" for above in range(64))]),
        *("-:", ":x", f"{chr(0x7F) * 40}:-"),
    ],
)
def test_damaged_type_sections_are_refused(damage: str) -> None:
    written, indices = metadata.encode_module(metadata.strip(decode(wat2wasm("(module (type (func)))"))))
    with pytest.raises(metadata.ArtifactError):
        metadata.decode_module({**written, "types": damage}, memoryview(indices).cast("I"), b"")


INVALID = {
    "ahead of the group": ("(rec (type (func (param (ref 1))))) (type (func))", "unknown type 1"),
    "supertype ahead": ("(rec (type $a (sub $b (func))) (type $b (sub (func))))", "unknown type 1"),
    "supertype itself": ("(type $a (sub $a (func)))", "unknown type 0"),
    "final supertype": ("(type $a (func)) (type (sub $a (func)))", "sub type 1: the supertype is final"),
    "final supertype with one": (
        "(type $a (sub (func))) (type $b (sub final $a (func))) (type (sub $b (func)))",
        "sub type 2: the supertype is final",
    ),
    "parameters": ("(type $a (sub (func))) (type (sub $a (func (param i32))))", "sub type 1: the func type does not"),
    "results": ("(type $a (sub (func (result (ref func))))) (type (sub $a (func (result funcref))))", "sub type 1"),
    "fewer fields": ("(type $a (sub (struct (field i32)))) (type (sub $a (struct)))", "sub type 1: the struct type"),
    "kinds": ("(type $a (sub (array i32))) (type (sub $a (struct (field i32))))", "sub type 1"),
    "call of a structure": (
        "(type $a (struct)) (table 1 funcref) (func (call_indirect (type $a) (i32.const 0)))",
        "no f",
    ),
    "call by reference": ("(type $a (struct)) (func unreachable call_ref $a)", "no function type"),
    "function of a structure": ("(type $a (struct)) (func (type $a))", "no function type"),
    "block of a structure": ("(type $a (struct)) (func (block (type $a)))", "no function type"),
    "another group": (
        """(rec (type $a (func)) (type (struct))) (rec (type (struct)) (type $b (func)))
        (func (param (ref $a)) (result (ref $b)) (local.get 0))""",
        "type mismatch",
    ),
    "supertype for subtype": (
        "(type $a (sub (func))) (type $b (sub $a (func))) (func (param (ref $a)) (result (ref $b)) (local.get 0))",
        "type mismatch",
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name: str) -> None:
    text, message = INVALID[name]
    with pytest.raises(ValidationError, match=message):
        validate(decode(wat2wasm(f"(module {text})")))


VALUES = {
    "local": "(func (local anyref))",
    "local of a structure": "(type $s (struct)) (func (local (ref null $s)))",
    "block": "(func (drop (block (result anyref) unreachable)))",
    "block by type": "(type $f (func (result anyref))) (func (block (type $f) unreachable) drop)",
    "call": "(type $f (func (param anyref))) (table 1 funcref) (func unreachable (call_indirect (type $f)))",
    "call by reference": "(type $f (func (param anyref))) (func unreachable call_ref $f)",
    "tail call": """(type $f (func (param anyref))) (table 1 funcref)
      (func unreachable (return_call_indirect (type $f)))""",
    "null": "(func (drop (ref.null any)))",
    "null of a structure": "(type $s (struct)) (func (drop (ref.null $s)))",
    "function": "(func (param anyref))",
    "function of a structure of its group": """(rec (type $f (func (param (ref null $s)))) (type $s (struct)))
      (func (type $f))""",
    "call with a structure of its group": """(rec (type $s (struct)) (type $f (func (result (ref null $s)))))
      (table 1 funcref) (func (drop (call_indirect (type $f) (i32.const 0))))""",
    "import": '(type $s (struct)) (import "" "" (func (param (ref $s))))',
    "table": "(table 1 eqref)",
    "global": "(type $a (array i8)) (global (ref null $a) (ref.null $a))",
    "segment": "(elem i31ref)",
    "instruction": "(type $s (struct)) (func nop (drop (struct.new $s)))",
    "comparison": "(func unreachable ref.eq drop)",
    "constant expression": "(type $s (struct)) (global i32 (i32.const 0)) (elem anyref (struct.new $s))",
    "constant without a type": "(global externref (extern.convert_any (any.convert_extern (ref.null extern))))",
}


@pytest.mark.parametrize("name", VALUES)
def test_values_of_garbage_collection(name: str) -> None:
    wasm = wat2wasm(f"(module {VALUES[name]})")
    Module.validate(Engine(), wasm)
    for tier in ("auto", "baseline", "optimized"):
        module = Module(Engine(Config(tier=tier, parallel_compilation=False)), wasm)
        linker = Linker(module.engine)
        linker.define_unknown_imports_as_traps(module)
        linker.instantiate(Store(module.engine), module)


def test_what_needs_the_feature() -> None:
    for text in ("(rec)", "(type (sub (func)))", "(type (struct))", "(type (func (param anyref)))"):
        with pytest.raises(UnsupportedError, match="gc is off"):
            Module(Engine(Config(wasm_gc=False)), f"(module {text})")
        Module(Engine(Config()), f"(module {text})")
    itself = "(module (type $t (func (param (ref null $t)))) (func (type $t)))"
    Module(Engine(Config(wasm_gc=False)), itself)
    with pytest.raises(UnsupportedError, match="function_references is off"):
        Module(Engine(Config(wasm_function_references=False)), itself)


def test_constant_expressions_read_globals_of_the_module(store: Store) -> None:
    text = """(module (import "" "i" (global $i i32))
      (global $a i32 (i32.const 7)) (global $b i32 (global.get $a))
      (global $c (export "c") (mut i32) (i32.add (global.get $b) (i32.mul (global.get $i) (global.get $a))))
      (type $t (func (result i32))) (func $f (type $t) (i32.const 42)) (global $r (ref $t) (ref.func $f))
      (global $x (ref null $t) (global.get $r))
      (memory (export "m") 1) (data (offset (i32.add (global.get $b) (i32.const 1))) "xyz")
      (table (export "t") 4 (ref null $t)) (elem (table 0) (offset (i32.sub (global.get $b) (i32.const 5)))
        (ref null $t) (global.get $x) (ref.null $t)))"""
    kind = GlobalType(ValType.i32(), mutable=False)
    for through_artifact in (False, True):
        found = exports(store, text, Global(store, kind, 3), through_artifact=through_artifact)
        assert found["c"].value(store) == 7 + 3 * 7
        assert bytes(found["m"].read(store, 7, 12)) == b"\0xyz\0"
        assert found["t"].get(store, 2)(store) == 42
        assert [found["t"].get(store, n) for n in (0, 1, 3)] == [None] * 3
    with pytest.raises(UnsupportedError, match="gc is off"):
        Module(Engine(Config(wasm_gc=False)), "(module (global i32 (i32.const 1)) (global i32 (global.get 0)))")


def left() -> tuple[int, ...]:
    type_ids._signature.cache_clear()
    for _ in range(3):
        gc.collect()
    return (
        int(lib.wj_signature_count()),
        len(recursion._groups),
        len(recursion._groups_by_serial),
        len(wt._references),
    )


@pytest.mark.parametrize("tier", ["auto", "optimized"])
def test_groups_go_with_their_modules(tier: str) -> None:
    engine = Engine(Config(tier=tier, opt_level="none", cache=False))
    counts = []
    for number in range(15 if tier == "auto" else 6):
        _use_new_types(engine, number)
        engine._trampolines._found.clear()
        counts.append(left())
    assert max(counts[-3:]) <= max(counts[1:3])


@pytest.mark.slow
def test_ten_thousand_modules_with_new_types() -> None:
    engine = Engine(Config(tier="auto", cache=False))
    counts, sizes = [], []
    for number in range(10_000):
        _use_new_types(engine, number)
        if number % 1000 == 999:
            engine._trampolines._found.clear()
            counts.append(left())
            with open("/proc/self/statm") as file:
                sizes.append(int(file.read().split()[1]) * 4 // 1024)
    assert max(counts[1:]) <= counts[0], counts
    assert sizes[-1] - sizes[1] < 12, sizes


def _use_new_types(engine: Engine, number: int) -> None:
    """A module with groups and subtypes that no other number has, used and dropped."""
    letters = " ".join("i32" if number >> bit & 1 else "i64" for bit in range(14))
    store = Store(engine)
    found = exports(
        store,
        f"""(module
          (rec (type $a (sub (func (param (ref null $b) {letters}))))
            (type $b (sub $a (func (param funcref {letters})))))
          (type $c (sub $b (func (param funcref {letters}))))
          (func $f (export "f") (type $c)) (table (export "t") 1 (ref null $a) (ref.func $f))
          (func (export "type") (param (ref null $c)) (result (ref null $a)) (local.get 0)))""",
    )
    function = found["t"].get(store, 0)
    assert function.type(store) == found["f"].type(store)
    assert found["type"](store, function).type(store) == function.type(store)
    host = Func(store, function.type(store), lambda *given: None)
    assert found["type"](store, host).type(store) == function.type(store)
    store.close()


def test_groups_come_and_go_on_all_threads() -> None:
    """The last that lets a group go, while others look for it."""
    before = left()
    more = "(rec (type $x (func (param (ref $y)))) (type $y (sub $a (func (param i32) (result i32)))))"
    wasm = wat2wasm(f"(module {TYPES} {more})")
    wrong: list[object] = []

    def work() -> None:
        for _ in range(150):
            first, second = decode(wasm), decode(wasm)
            ids = type_ids.ModuleTypes(first.types).ids
            kept = type_ids.ModuleTypes(second.types)
            again = type_ids.ModuleTypes(first.types).ids
            if first.types != second.types or again != kept.ids or len(set(ids)) != len(ids):
                wrong.append((first.types, second.types, kept.ids))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert left() == before


def test_a_type_outlives_its_module() -> None:
    """What has it in Python, without a store."""
    store = Store(Engine(Config(tier="auto")))
    kind = exports(store, '(module (type $t (sub (func (param (ref null $t))))) (func (export "f") (type $t)))')[
        "f"
    ].type(store)
    store.close()
    del store
    left()
    store = Store(Engine(Config(tier="auto")))
    function = Func(store, kind, lambda given: None)
    text = '(module (type $t (sub (func (param (ref null $t))))) (import "" "" (func (type $t))) (export "g" (func 0)))'
    assert exports(store, text, function)["g"].type(store) == kind


# ---- sizes: linear work, or an error that says where ----


def many(head: bytes, *types: bytes) -> bytes:
    return module(section(TYPE, head + b"".join(types)))


def reference(index: int) -> bytes:
    return b"\x60\1\x63" + signed(index) + b"\0"


LARGE: dict[str, Callable[[int], bytes]] = {
    "groups and plain types in turns": lambda count: many(
        unsigned(count), EMPTY_TYPE, *[b"\x50\0" * (index % 2) + reference(index) for index in range(count - 1)]
    ),
    "one group": lambda count: many(b"\1\x4e" + unsigned(count), EMPTY_TYPE * count),
    "a group that refers ahead": lambda count: many(
        b"\1\x4e" + unsigned(count), *[reference(count - 1 - index) for index in range(count)]
    ),
    "a group that refers back": lambda count: many(
        b"\1\x4e" + unsigned(count), *[reference(max(0, n - 1)) for n in range(count)]
    ),
    "groups that refer to the one before": lambda count: many(
        unsigned(count), b"\x50\0" + EMPTY_TYPE, *[b"\x50\0" + reference(index) for index in range(count - 1)]
    ),
    "groups of their own": lambda count: many(unsigned(count), *[reference(index) for index in range(count)]),
    "empty groups": lambda count: many(unsigned(count), b"\x4e\0" * count),
}


@pytest.mark.parametrize("count", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LARGE)
def test_many_types(name: str, count: int) -> None:
    before = left()
    decoded = decode(LARGE[name](count))
    validate(decoded)
    types = type_ids.ModuleTypes(decoded.types)
    written, indices = metadata.encode_module(metadata.strip(decoded))
    again = metadata.decode_module(written, memoryview(indices).cast("I"), b"")
    assert again.types == decoded.types
    del decoded, again, types
    assert left() == before


def test_chains_of_supertypes_are_bounded() -> None:
    def chain(depth: int) -> bytes:
        return many(
            unsigned(depth + 1),
            b"\x50\0" + EMPTY_TYPE,
            *[b"\x50\1" + unsigned(index) + EMPTY_TYPE for index in range(depth)],
        )

    decoded = decode(chain(63))
    assert wt.is_subtype(decoded.types[63], decoded.types[0])
    with pytest.raises(ValidationError, match="sub type 64: more than 63 supertypes") as raised:
        decode(chain(64))
    assert raised.value.offset == 12 + 5 + 63 * 6
    count = 20_000
    grouped = many(
        b"\1\x4e" + unsigned(count),
        b"\x50\0" + EMPTY_TYPE,
        *[b"\x50\1" + unsigned(index) + reference(count - 1) for index in range(count - 1)],
    )
    with pytest.raises(ValidationError, match="sub type 64: more than 63 supertypes"):
        decode(grouped)


def test_references_far_ahead() -> None:
    for index in (2, 1 << 20, (1 << 32) - 1):
        with pytest.raises(ValidationError, match=f"unknown type {index}") as raised:
            decode(many(b"\1\x4e\2", reference(index), EMPTY_TYPE))
        assert raised.value.offset == 16
    with pytest.raises(ValidationError, match="unknown type 1"):
        decode(many(b"\2", reference(1), EMPTY_TYPE))


def test_no_more_types_than_the_limit() -> None:
    with pytest.raises(Exception, match="types count exceeds limit of 1000000: 1000001"):
        decode(many(b"\2" + EMPTY_TYPE + b"\x4e" + unsigned(1_000_000)))


def test_nothing_of_python_runs_where_types_go() -> None:
    """What a signal handler raised there would be lost: Ctrl-C, while those of a large module are freed."""
    types = (
        "(type $a (sub (func (param i64 f64)))) (type $b (func (param (ref null $a)))) (type (func (param (ref $b))))"
    )
    decoded = decode(wat2wasm(f"(module {types})"))
    seen: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        module = frame.f_globals.get("__name__", "")  # other packages have callbacks of their own
        if event == "call" and module.partition(".")[0] in ("wasmjit", "weakref"):
            seen.append(f"{module}.{frame.f_code.co_name}")

    sys.setprofile(note)
    try:
        del decoded
        gc.collect()
    finally:
        sys.setprofile(None)
    assert not seen
