"""Typed function references: what runs, and every way in which a reference of the wrong type could get to code that
relies on it. Such code calls without a check, so each of these is an escape from the sandbox if it is let through."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest

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
    Module,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    Val,
    ValType,
    WasmError,
    thresholds,
)
from wasmjit.compile import workers
from wasmjit.errors import LinkError, UnsupportedError, ValidationError
from wasmjit.runtime import type_ids
from wasmjit.runtime.native import lib
from wasmjit.tiers.lazy import LazyCode
from wasmjit.wasm import types as wt
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.types import EXTERNREF, FUNCREF, I32, NON_NULL, UNKNOWN, matches, non_null, reference_to, valtype_name
from wasmjit.wasm.validate import validate

MODES: dict[str, dict[str, Any]] = {
    "optimized": {"tier": "optimized"},
    "none": {"tier": "optimized", "opt_level": "none"},
    "checked": {"tier": "optimized", "signals_based_traps": False},
    "fuel": {"tier": "optimized", "consume_fuel": True},
    "baseline": {"tier": "baseline"},
    "auto": {"tier": "auto"},
}


@pytest.fixture(params=MODES)
def store(request: pytest.FixtureRequest) -> Store:
    config = Config()
    for option, value in MODES[request.param].items():
        setattr(config, option, value)
    store = Store(Engine(config))
    if config.consume_fuel:
        store.set_fuel(10**9)
    return store


def instance(store: Store, wat: str, *imports: Any) -> Any:
    return Instance(store, Module(store.engine, wat), list(imports)).exports(store)


UNARY = FuncType([ValType.i32()], [ValType.i32()])
NULLARY = FuncType([], [])

# `$null` and `$some` are parameters and results of every reference type.
WAT = """(module
  (type $unary (func (param i32) (result i32)))
  (type $other (func (param i64) (result i64)))
  (import "" "host" (func $host (type $unary)))
  (table $t (export "table") 3 10 (ref null $unary))
  (table $full (export "full") 2 10 (ref $unary) (ref.func $double))
  (global $g (export "global") (mut (ref $unary)) (ref.func $double))
  (global $n (export "nullable") (mut (ref null $unary)) (ref.null $unary))
  (elem (table $t) (i32.const 0) (ref null $unary) (ref.func $double) (ref.func $host) (ref.null $unary))
  (func $double (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func $long (export "long") (param i64) (result i64) (local.get 0))
  (func (export "call") (param i32 i32) (result i32)
    (call_ref $unary (local.get 0) (table.get $t (local.get 1))))
  (func (export "call_full") (param i32 i32) (result i32)
    (call_ref $unary (local.get 0) (table.get $full (local.get 1))))
  (func (export "call_global") (param i32) (result i32) (call_ref $unary (local.get 0) (global.get $g)))
  (func (export "call_nullable") (param i32) (result i32) (call_ref $unary (local.get 0) (global.get $n)))
  (func (export "tail") (param i32 i32) (result i32)
    (return_call_ref $unary (local.get 0) (table.get $t (local.get 1))))
  (func (export "take") (param (ref $unary) i32) (result i32) (call_ref $unary (local.get 1) (local.get 0)))
  (func (export "take_null") (param (ref null $unary) i32) (result i32)
    (if (result i32) (ref.is_null (local.get 0))
      (then (i32.const -1))
      (else (call_ref $unary (local.get 1) (ref.as_non_null (local.get 0))))))
  (func (export "give") (param i32) (result (ref null $unary)) (table.get $t (local.get 0)))
  (func (export "as_non_null") (param i32) (result i32)
    (ref.is_null (ref.as_non_null (table.get $t (local.get 0)))))
  (func (export "on_null") (param i32) (result i32)
    (block $null
      (call_ref $unary (i32.const 5) (br_on_null $null (table.get $t (local.get 0))))
      return)
    (i32.const -7))
  (func (export "on_non_null") (param i32) (result i32)
    (call_ref $unary (i32.const 6)
      (block $some (result (ref $unary))
        (br_on_non_null $some (table.get $t (local.get 0)))
        (return (i32.const -8)))))
  (func (export "local") (param i32) (result i32) (local $f (ref $unary))
    (local.set $f (ref.func $double))
    (if (local.get 0) (then (local.set $f (ref.func $host))))
    (call_ref $unary (i32.const 10) (local.get $f)))
  (func (export "extern") (param (ref extern)) (result (ref null extern)) (local.get 0))
)"""


def exports(store: Store) -> Any:
    return instance(store, WAT, Func(store, UNARY, lambda n: n + 100))


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Trap as trap:
        return trap.trap_code


def test_calls(store: Store) -> None:
    found = exports(store)
    null = TrapCode.NULL_REFERENCE
    for name, expected in {
        "call": [42, 121, null],
        "tail": [42, 121, null],
        "call_full": [42, 42, TrapCode.TABLE_OUT_OF_BOUNDS],
    }.items():
        assert [outcome(lambda n=n, f=found[name]: f(store, 21, n)) for n in range(3)] == expected, name
    for name, expected in {
        "as_non_null": [0, 0, null],
        "on_null": [10, 105, -7],
        "on_non_null": [12, 106, -8],
        "local": [20, 110, 110],
    }.items():
        assert [outcome(lambda n=n, f=found[name]: f(store, n)) for n in range(3)] == expected, name
    assert found["call_global"](store, 4) == 8
    assert outcome(lambda: found["call_nullable"](store, 4)) == null
    with pytest.raises(Trap, match="null reference"):
        found["call"](store, 1, 2)


def wrong_functions(store: Store, found: Any) -> list[Any]:
    """References that no place of type (ref null $unary) may get."""
    return [
        found["long"],
        Func(store, NULLARY, lambda: None),
        Func(store, FuncType([ValType.i32()], []), lambda n: None),
        Func(store, FuncType([ValType.i32()], [ValType.i32()] * 2), lambda n: [n, n]),
        Val.funcref(found["long"]),
    ]


def test_arguments_are_checked(store: Store) -> None:
    found = exports(store)
    for _ in range(3):  # with and without trampolines
        assert found["take"](store, found["double"], 3) == 6
        assert found["take"](store, Val.funcref(found["double"]), 3) == 6
        assert found["take_null"](store, None, 3) == -1
        assert found["take_null"](store, found["give"](store, 1), 3) == 103
        for wrong in wrong_functions(store, found):
            for name in ("take", "take_null"):
                with pytest.raises(TypeError, match="parameter 1"):
                    found[name](store, wrong, 3)
        for null in (None, Val.funcref(None), Val.ref_null(ValType.funcref())):
            with pytest.raises(TypeError, match="not null"):
                found["take"](store, null, 3)


@pytest.mark.parametrize("name", ["take", "take_null"])
def test_arguments_of_typed_functions_are_checked(store: Store, name: str) -> None:
    found = exports(store)
    typed = found[name].typed(store)
    for _ in range(3):
        assert typed(found["double"], 3) == 6
        with pytest.raises(TypeError, match="another type"):
            typed(found["long"], 3)


def test_externrefs_that_are_not_null(store: Store) -> None:
    found = exports(store)
    thing = object()
    assert found["extern"](store, thing) is thing
    with pytest.raises(TypeError, match="not null"):
        found["extern"](store, None)


def test_results_of_host_functions_are_checked(store: Store) -> None:
    module = Module(
        store.engine,
        """(module
          (type $unary (func (param i32) (result i32)))
          (import "" "one" (func $one (result (ref $unary))))
          (import "" "maybe" (func $maybe (result (ref null $unary))))
          (import "" "many" (func $many (result i32 (ref $unary) i64 (ref $unary))))
          (func (export "one") (result i32) (call_ref $unary (i32.const 1) (call $one)))
          (func (export "maybe") (result i32) (call_ref $unary (i32.const 2) (call $maybe)))
          (func (export "many") (result i32) (local (ref null $unary))
            call $many local.set 0 drop drop drop (call_ref $unary (i32.const 3) (local.get 0))))""",
    )
    box: list[Any] = [None]
    one, maybe, many = (
        Func(store, item.type, function)
        for item, function in zip(
            module.imports, (lambda: box[0], lambda: box[0], lambda: [1, good, 2, box[0]]), strict=True
        )
    )
    good = Func(store, UNARY, lambda n: n + 1)
    long = Func(store, FuncType([ValType.i64()], [ValType.i64()]), lambda n: n)
    found = Instance(store, module, [one, maybe, many]).exports(store)
    for _ in range(3):
        box[0] = good
        assert [found[name](store) for name in ("one", "maybe", "many")] == [2, 3, 4]
        box[0] = None
        assert outcome(lambda: found["maybe"](store)) == TrapCode.NULL_REFERENCE
        for wrong in (None, long, Val.funcref(long), Func(store, NULLARY, print), 7, "text"):
            box[0] = wrong
            for name in ("one", "many") if wrong is None else ("one", "maybe", "many"):
                with pytest.raises(TypeError, match="result"):
                    found[name](store)


def test_globals_and_tables_are_checked(store: Store) -> None:
    found = exports(store)
    for wrong in wrong_functions(store, found):
        with pytest.raises(TypeError):
            found["global"].set_value(store, wrong)
        with pytest.raises(TypeError):
            found["nullable"].set_value(store, wrong)
        for table in (found["table"], found["full"]):
            with pytest.raises(TypeError):
                table.set(store, 0, wrong)
            with pytest.raises(TypeError):
                table.grow(store, 1, wrong)
            with pytest.raises(TypeError):
                Table(store, table.type(store), wrong)
        with pytest.raises(TypeError):
            Global(store, found["global"].type(store), wrong)
    for attempt in (
        lambda: found["global"].set_value(store, None),
        lambda: found["full"].set(store, 0, None),
        lambda: found["full"].grow(store, 1, None),
        lambda: Table(store, found["full"].type(store), None),
        lambda: Global(store, found["global"].type(store), Val.ref_null(ValType.funcref())),
    ):
        with pytest.raises(TypeError, match="not null"):
            attempt()
    found["nullable"].set_value(store, found["double"])
    assert found["call_nullable"](store, 4) == 8
    found["global"].set_value(store, Func(store, UNARY, lambda n: n - 1))
    assert found["call_global"](store, 4) == 3
    assert found["full"].grow(store, 1, found["double"]) == 2
    assert found["call_full"](store, 4, 2) == 8
    assert [found["call_full"](store, 4, n) for n in (0, 1)] == [8, 8]


def test_a_function_of_another_store_is_refused(store: Store) -> None:
    found = exports(store)
    with pytest.raises(WasmError, match="another Store"):
        found["take"](store, Func(Store(store.engine), UNARY, abs), 1)


EXPORTER = """(module
  (type $unary (func (param i32) (result i32))) (type $long (func (param i64) (result i64)))
  (func $u (export "u") (type $unary) (local.get 0)) (func $l (export "l") (type $long) (local.get 0))
  (elem declare func $u $l)
  (func (export "takes u") (param (ref $unary))) (func (export "takes l") (param (ref $long)))
  (func (export "takes null u") (param (ref null $unary)))
  (func (export "gives u") (result (ref $unary)) (ref.func $u))
  (global (export "u const") (ref $unary) (ref.func $u)) (global (export "l const") (ref $long) (ref.func $l))
  (global (export "u or null") (ref null $unary) (ref.func $u))
  (global (export "u mut") (mut (ref $unary)) (ref.func $u))
  (global (export "any") funcref (ref.func $u))
  (global (export "any mut") (mut funcref) (ref.func $u))
  (table (export "us") 1 (ref $unary) (ref.func $u)) (table (export "u nulls") 1 (ref null $unary))
  (table (export "anys") 1 funcref))"""
# What is exported, what is imported, and whether the one fits the other.
LINKS = [
    ("takes u", "(func (param (ref $unary)))", True),
    ("takes u", "(func (param (ref $long)))", False),
    ("takes u", "(func (param (ref null $unary)))", False),
    ("takes u", "(func (param funcref))", False),
    ("takes null u", "(func (param (ref $unary)))", False),
    ("gives u", "(func (result (ref $unary)))", True),
    ("gives u", "(func (result (ref null $unary)))", False),
    ("gives u", "(func (result funcref))", False),
    ("gives u", "(func (result (ref $long)))", False),
    ("u const", "(global (ref $unary))", True),
    ("u const", "(global (ref null $unary))", True),
    ("u const", "(global funcref)", True),
    ("u const", "(global (ref func))", True),
    ("u const", "(global (ref $long))", False),
    ("u const", "(global (mut (ref $unary)))", False),
    ("u const", "(global externref)", False),
    ("l const", "(global (ref $unary))", False),
    ("u or null", "(global (ref $unary))", False),
    ("u or null", "(global (ref func))", False),
    ("u mut", "(global (mut (ref $unary)))", True),
    ("u mut", "(global (mut (ref null $unary)))", False),
    ("u mut", "(global (mut funcref))", False),
    ("u mut", "(global (ref $unary))", False),
    ("any", "(global (ref null $unary))", False),
    ("any mut", "(global (mut (ref null $unary)))", False),
    ("us", "(table 1 (ref $unary))", True),
    ("us", "(table 1 (ref null $unary))", False),
    ("us", "(table 1 funcref)", False),
    ("us", "(table 1 (ref $long))", False),
    ("u nulls", "(table 1 (ref null $unary))", True),
    ("u nulls", "(table 1 (ref $unary))", False),
    ("u nulls", "(table 1 funcref)", False),
    ("anys", "(table 1 (ref null $unary))", False),
    ("anys", "(table 1 funcref)", True),
]


@pytest.mark.parametrize("through_artifact", [False, True])
def test_links(through_artifact: bool) -> None:
    """Types of modules whose type sections number them differently, and which may come from other processes."""
    engine = Engine(Config(tier="optimized", opt_level="none"))
    store = Store(engine)
    source = instance(store, EXPORTER)
    for export, wanted, fits in LINKS:
        wasm = f"""(module (type $filler (func)) (type $long (func (param i64) (result i64)))
          (type $more (func (param f32))) (type $unary (func (param i32) (result i32))) (import "" "" {wanted}))"""
        module = Module(engine, wasm)
        if through_artifact:
            module = Module.deserialize(engine, module.serialize())
        if fits:
            Instance(store, module, [source[export]])
            continue
        with pytest.raises(LinkError, match="incompatible import type"):
            Instance(store, module, [source[export]])
        linker = Linker(engine)
        linker.define(store, "", "", source[export])
        with pytest.raises(WasmError, match="incompatible import type"):
            linker.instantiate(store, module)


INVALID = {
    "nullable for non-null": "(func (param (ref null $u)) (result (ref $u)) local.get 0)",
    "other type": "(func (param (ref $l)) (result (ref null $u)) local.get 0)",
    "funcref for typed": "(func (param funcref) (result (ref null $u)) local.get 0)",
    "externref for func": "(func (param (ref extern)) (result (ref func)) local.get 0)",
    "call_ref of funcref": "(func (param funcref) (result i32) (call_ref $u (i32.const 0) (local.get 0)))",
    "call_ref of other": "(func (param (ref $l)) (result i32) (call_ref $u (i32.const 0) (local.get 0)))",
    "return_call_ref of other": "(func (param (ref $l)) (result i32) (return_call_ref $u (i32.const 0) (local.get 0)))",
    "return_call_ref results": "(func (param (ref $u)) (return_call_ref $u (i32.const 0) (local.get 0)))",
    "local.set": "(func (param (ref $l)) (local (ref null $u)) (local.set 1 (local.get 0)))",
    "local.set of null": "(func (param (ref null $u)) (local (ref $u)) (local.set 1 (local.get 0)))",
    "local.tee": "(func (param funcref) (local (ref null $u)) (drop (local.tee 1 (local.get 0))))",
    "local.tee gives the local's type": """(func (param (ref $u)) (result (ref $u)) (local (ref null $u))
        (local.tee 1 (local.get 0)))""",
    "unset local": "(func (local (ref $u)) (drop (local.get 0)))",
    "unset after block": """(func (param (ref $u)) (local (ref $u)) (block (local.set 1
        (local.get 0))) (drop (local.get 1)))""",
    "unset in else": """(func (param (ref $u) i32) (local (ref $u))
        (if (local.get 1) (then (local.set 2 (local.get 0))) (else (drop (local.get 2)))))""",
    "unset in dead code": "(func (local (ref $u)) unreachable (drop (local.get 0)))",
    "global.set": "(global $g (mut (ref $u)) (ref.func $f)) (func (global.set $g (ref.null $u)))",
    "global init": "(global (ref $u) (ref.null $u))",
    "global init of other": "(global (ref $u) (ref.func $g))",
    "table without init": "(table 1 (ref $u))",
    "empty table without init": "(table 0 (ref $u))",
    "table init null": "(table 1 (ref $u) (ref.null $u))",
    "table init of other": "(table 1 (ref null $u) (ref.func $g))",
    "table.set": "(table 1 (ref null $u)) (func (table.set (i32.const 0) (ref.func $g)))",
    "table.set funcref": "(table 1 (ref null $u)) (func (param funcref) (table.set (i32.const 0) (local.get 0)))",
    "table.fill": "(table 1 (ref null $u)) (func (table.fill (i32.const 0) (ref.func $g) (i32.const 1)))",
    "table.grow": "(table 1 (ref null $u)) (func (drop (table.grow (ref.null func) (i32.const 1))))",
    "table.copy": """(table $a 1 (ref null $u)) (table $b 1 funcref)
        (func (table.copy $a $b (i32.const 0) (i32.const 0) (i32.const 1)))""",
    "table.copy null": """(table $a 1 (ref $u) (ref.func $f)) (table $b 1 (ref null $u))
        (func (table.copy $a $b (i32.const 0) (i32.const 0) (i32.const 1)))""",
    "table.init": """(table 1 (ref null $u)) (elem $e func $g)
        (func (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)))""",
    "table.init null": """(table 1 (ref $u) (ref.func $f)) (elem $e (ref null $u) (ref.null $u))
        (func (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)))""",
    "active segment": "(table 1 (ref null $u)) (elem (i32.const 0) func $f)",
    "active segment null": "(table 1 (ref $u) (ref.func $f)) (elem (i32.const 0) (ref null $u) (ref.null $u))",
    "segment item": "(elem (ref $u) (ref.func $g))",
    "segment null item": "(elem (ref func) (ref.null func))",
    "call argument": "(func $takes (param (ref $u))) (func (call $takes (ref.null $u)))",
    "block result": "(func (param (ref null $u)) (drop (block (result (ref $u)) (local.get 0))))",
    "if without else": """(func (param (ref null $u) i32) (drop (if (param (ref null $u))
        (result (ref $u)) (local.get 0) (local.get 1) (then (ref.as_non_null)))))""",
    "branch": "(func (param (ref null $u)) (drop (block (result (ref $u)) (br 0 (local.get 0)))))",
    "br_table": """(func (param (ref null $u)) (drop (block (result (ref $u))
        (br_table 0 0 (local.get 0) (i32.const 0)))))""",
    "br_on_null keeps null": """(func (param (ref null $u)) (result (ref $u)) (block (br_on_null 0
        (local.get 0)) return) unreachable (br_on_null 0 (local.get 0)))""",
    "br_on_non_null label": """(func (param (ref null $l)) (drop (block (result (ref $u))
        (br_on_non_null 0 (local.get 0)) unreachable)))""",
    "br_on_non_null without label": "(func (param (ref null $u)) (block (br_on_non_null 0 (local.get 0))))",
    "ref.as_non_null of number": "(func (drop (ref.as_non_null (i32.const 0))))",
    "dead ref.as_non_null": "(func (result i32) unreachable ref.as_non_null)",
    "dead br_on_null": "(func (result i32) (unreachable) br_on_null 0)",
    "select untyped": "(func (param (ref $u) i32) (drop (select (local.get 0) (local.get 0) (local.get 1))))",
    "select typed": """(func (param (ref $l) (ref $u) i32) (drop (select (result (ref $u))
        (local.get 0) (local.get 1) (local.get 2))))""",
    "ref.func undeclared": "(func $h (type $u) (drop (ref.func $h)) (i32.const 0))",
    "return": "(func (param (ref null $u)) (result (ref $u)) (return (local.get 0)))",
    "unknown type": "(func (drop (ref.null 99)))",
    "unknown type of a local": "(func (local (ref null 99)))",
    "unknown type of call_ref": "(func unreachable call_ref 99)",
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name: str) -> None:
    text = f"""(module (type $u (func (param i32) (result i32))) (type $l (func (param i64) (result i64)))
      (func $f (type $u) (local.get 0)) (func $g (type $l) (local.get 0))
      (export "f" (func $f)) (export "g" (func $g)) {INVALID[name]})"""
    decodes = {"unknown type of a local": ValidationError}
    with pytest.raises(decodes.get(name, ValidationError)):
        validate(decode(wat2wasm(text)))


def test_types_that_refer_forward_are_refused() -> None:
    with pytest.raises(ValidationError, match="unknown type 1"):
        decode(b"\0asm\1\0\0\0" + b"\1\x09\2\x60\1\x63\1\0\x60\0\0")
    with pytest.raises(ValidationError, match="unknown type 7"):
        decode(b"\0asm\1\0\0\0" + b"\1\4\1\x60\0\0" + b"\6\7\1\x63\7\0\xd0\7\x0b")


def test_matches() -> None:
    unary, binary = wt.FuncType((I32,), (I32,)), wt.FuncType((I32, I32), (I32,))
    null_u, u = reference_to(unary, nullable=True), reference_to(unary, nullable=False)
    null_b, b = reference_to(binary, nullable=True), reference_to(binary, nullable=False)
    func, extern = FUNCREF | NON_NULL, EXTERNREF | NON_NULL
    order = [I32, FUNCREF, func, EXTERNREF, extern, null_u, u, null_b, b]
    fits = {
        I32: {I32},
        FUNCREF: {FUNCREF},
        func: {func, FUNCREF},
        EXTERNREF: {EXTERNREF},
        extern: {extern, EXTERNREF},
        null_u: {null_u, FUNCREF},
        u: {u, null_u, func, FUNCREF},
        null_b: {null_b, FUNCREF},
        b: {b, null_b, func, FUNCREF},
        UNKNOWN: set(order),
        NON_NULL: set(order) - {I32},
    }
    for found, wanted in fits.items():
        assert {t for t in order if matches(found, t)} == wanted, valtype_name(found)
    assert non_null(null_u) == u != b and non_null(FUNCREF) == func
    assert pickle.loads(pickle.dumps((null_u, u, unary))) == (null_u, u, unary)
    assert len({null_u, u, null_b, b, FUNCREF, func}) == 6


def test_names_of_deep_types_are_short() -> None:
    type = wt.FuncType((), ())
    for _ in range(10_000):
        type = wt.FuncType((reference_to(type, nullable=True),) * 2, (reference_to(type, nullable=False),))
    reference = reference_to(type, nullable=True)
    name = valtype_name(reference)
    assert name == "(ref null (func (param (ref null ...)) (param (ref null ...)) (result (ref ...))))"
    assert matches(reference, FUNCREF) and reference == reference_to(type, nullable=True)


def test_types_that_refer_to_types_to_any_depth() -> None:
    depth = 3000
    types = ["(type (func))"] + [f"(type (func (param (ref null {i})) (result (ref null {i}))))" for i in range(depth)]
    text = f'(module {" ".join(types)} (func (export "f") (type {depth}) (local.get 0)))'
    before = lib.wj_signature_count()
    store = Store(Engine(Config(tier="optimized", opt_level="none")))
    module = Module(store.engine, text)
    module = Module.deserialize(store.engine, module.serialize())
    function = Instance(store, module, []).exports(store)["f"]
    assert function(store, None) is None
    assert lib.wj_signature_count() >= depth
    with pytest.raises(TypeError, match="another type"):
        function(store, function)
    table = Table(store, TableType(ValType.funcref(), Limits(1)), function)
    assert table.get(store, 0).type(store) == function.type(store)
    del module, function, table, store
    gc.collect()
    type_ids._signature.cache_clear()
    gc.collect()
    assert lib.wj_signature_count() < before + 100


def test_modules_with_new_types_leave_nothing_behind() -> None:
    engine = Engine(Config(tier="auto"))
    counts = []
    for round in range(60):
        letters = " ".join("i32" if round >> bit & 1 else "i64" for bit in range(7))
        text = f"""(module (type $a (func (param {letters}))) (type $b (func (param (ref $a)) (result (ref null $a))))
          (func (export "f") (type $b) (local.get 0)))"""
        store = Store(engine)
        exports = Instance(store, Module(engine, text), []).exports(store)
        assert exports["f"].type(store).params[0] != ValType.funcref()
        store.close()
        del store, exports
        if round % 20 == 19:
            type_ids._signature.cache_clear()
            engine._trampolines._found.clear()
            gc.collect()
            counts.append((lib.wj_signature_count(), len(wt._references)))
    assert counts[2] <= counts[1] and counts[1] <= counts[0]


def test_equal_types_have_one_id_whatever_their_index(store: Store) -> None:
    """call_indirect compares ids: of types with references they must be those of equal types, and of no others."""
    text = """(module {types}
      (type $r (func (param (ref null $u)) (result i32)))
      (table (export "t") 4 funcref)
      (func $impl (type $r) (i32.const {value})) (elem declare func $impl)
      (func (export "put") (param i32) (table.set (local.get 0) (ref.func $impl)))
      (func (export "call") (param i32) (result i32) (call_indirect (type $r) (ref.null $u) (local.get 0))))"""
    first = instance(store, text.format(types="(type $u (func (param i32) (result i32)))", value=1))
    importer = text.replace('(table (export "t") 4 funcref)', '(import "" "t" (table 4 funcref))')
    # The import comes before types that are defined in the text: wasm-tools sorts sections.
    same = instance(
        store, importer.format(types="(type (func)) (type $u (func (param i32) (result i32)))", value=2), first["t"]
    )
    other = instance(store, importer.format(types="(type $u (func (param i64) (result i32)))", value=3), first["t"])
    first["put"](store, 0)
    same["put"](store, 1)
    other["put"](store, 2)
    table = [[outcome(lambda e=e, n=n: e["call"](store, n)) for n in range(3)] for e in (first, same, other)]
    bad = TrapCode.BAD_SIGNATURE
    assert table == [[1, 2, bad], [1, 2, bad], [bad, bad, 3]]


def test_the_feature_can_be_switched_off() -> None:
    for text in (
        "(module (type $t (func)) (func (param (ref null $t))))",
        "(module (func (param (ref func))))",
        "(module (table 1 funcref (ref.null func)))",
        "(module (func (drop (ref.as_non_null (ref.null func)))))",
        "(module (func (local (ref func))))",
        "(module (type $t (func)) (func unreachable call_ref $t))",
    ):
        for tier in ("optimized", "auto"):
            config = Config(tier=tier, wasm_function_references=False)
            with pytest.raises(UnsupportedError, match="function_references is off"):
                Module(Engine(config), text)
            Module(Engine(Config(tier=tier)), text)


def test_default_values_of_unknown_imports() -> None:
    engine = Engine(Config(tier="auto"))
    store = Store(engine)
    types = "(type $u (func (param i32) (result i32)))"
    for wanted in ("(global (ref $u))", "(table 1 (ref $u))", "(global (ref extern))"):
        linker = Linker(engine)
        with pytest.raises(WasmError, match="no default value"):
            linker.define_unknown_imports_as_default_values(
                store, Module(engine, f'(module {types} (import "" "" {wanted}))')
            )
    module = Module(
        engine,
        f"""(module {types} (import "" "f" (func $f (result (ref $u)))) (import "" "g" (global (ref null $u)))
          (func (export "go") (drop (call $f))))""",
    )
    linker = Linker(engine)
    linker.define_unknown_imports_as_default_values(store, module)
    with pytest.raises(TypeError, match="not null"):
        linker.instantiate(store, module).exports(store)["go"](store)


def test_traps_before_a_null_are_not_lost() -> None:
    """LLVM finds that these always trap, and would drop what comes before."""
    text = """(module (type $u (func (param i32) (result i32))) (memory 1)
      (func (export "call") (param i32) (result i32)
        (i32.add (i32.load (local.get 0)) (call_ref $u (i32.const 1) (ref.null $u))))
      (func (export "argument") (param i32) (result i32) (call_ref $u (i32.load (local.get 0)) (ref.null $u)))
      (func (export "tail") (param i32) (result i32) (return_call_ref $u (i32.load (local.get 0)) (ref.null $u)))
      (func (export "as") (param i32) (result i32)
        (i32.add (i32.load (local.get 0)) (ref.is_null (ref.as_non_null (ref.null $u))))))"""
    for config in (Config(tier="optimized"), Config(tier="optimized", signals_based_traps=False)):
        store = Store(Engine(config))
        found = instance(store, text)
        for name in ("call", "argument", "tail", "as"):
            for address, expected in ((0, TrapCode.NULL_REFERENCE), (65536, TrapCode.MEMORY_OUT_OF_BOUNDS)):
                with pytest.raises(Trap) as raised:
                    found[name](store, address)
                assert raised.value.trap_code == expected, name


def test_objects_behind_references_that_are_not_null_stay(store: Store) -> None:
    found = instance(
        store,
        """(module (import "" "g" (global $g (ref extern)))
          (table (export "t") 2 externref)
          (table $full (export "full") 3 (ref extern) (global.get $g)))""",
        Global(store, _non_null_extern(store), [b"kept"]),
    )
    gc.collect()
    for _ in range(2000):  # sweeps come with new references
        found["t"].set(store, 0, [b"other"])
    gc.collect()
    assert [found["full"].get(store, n) for n in range(3)] == [[b"kept"]] * 3


def _non_null_extern(store: Store) -> GlobalType:
    module = Module(store.engine, '(module (import "" "g" (global (ref extern))))')
    kind = module.imports[0].type
    assert isinstance(kind, GlobalType)
    return kind


def test_a_hot_loop_takes_references_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the interpreter to compiled code, in locals that have no initial value and on the operand stack."""
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 10)
    monkeypatch.setattr(thresholds, "INTERPRETER_IS_PATIENT", False)
    ready = LazyCode._ready
    monkeypatch.setattr(LazyCode, "_ready", lambda code, timeout: ready(code, 60))
    store = Store(Engine(Config(tier="auto")))
    module = Module(
        store.engine,
        """(module (type $u (func (param i32) (result i32)))
          (func $inc (type $u) (i32.add (local.get 0) (i32.const 1)))
          (func $dec (type $u) (i32.sub (local.get 0) (i32.const 1))) (elem declare func $inc $dec)
          (func (export "sum") (param $n i32) (result i32)
            (local $f (ref $u)) (local $g (ref null $u)) (local $s i32)
            (local.set $f (ref.func $inc))
            (loop $again
              (local.set $s (call_ref $u (local.get $s) (local.get $f)))
              (if (i32.eq (local.get $n) (i32.const 500)) (then (local.set $g (ref.func $dec))))
              (block $null
                (local.set $s (call_ref $u (local.get $s) (br_on_null $null (local.get $g)))))
              (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (local.get $s)))""",
    )
    total = Instance(store, module, []).exports(store)["sum"]
    assert [total(store, n) for n in (100_000, 1000, 400)] == [99_500, 500, 400]
    assert any(function.loops for function in module.tier_report())


def test_functions_with_references_are_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pool: workers.WorkerPool, *request: object) -> workers.Pending:
        raise AssertionError("a compiler was asked")

    monkeypatch.setattr(workers.WorkerPool, "begin", refuse)
    store = Store(Engine(Config(tier="auto")))
    wat = WAT.replace('(func (export "tail")', '(func (export "no tail")').replace("return_call_ref", "call_ref")
    found = instance(store, wat, Func(store, UNARY, lambda n: n + 100))
    assert [found["call"](store, 21, n) for n in range(2)] == [42, 121]
    assert [found["on_null"](store, n) for n in range(3)] == [10, 105, -7]
    assert [found["on_non_null"](store, n) for n in range(3)] == [12, 106, -8]
    assert found["take"](store, found["double"], 3) == 6
