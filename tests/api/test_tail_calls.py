"""Tail calls: constant stack for every kind of callee, and everything else as with other calls."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from wasmjit import (
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Linker,
    Module,
    Store,
    Trap,
    TrapCode,
    ValType,
    WasmError,
    thresholds,
)
from wasmjit.compile import pipeline
from wasmjit.errors import UnsupportedError, ValidationError
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm

I64 = ValType.i64()
ITERATIONS = 200_000  # a frame left behind by each would take six times the stack that these stores allow
WASM_STACK_BYTES = 256 << 10
MODES = {
    "speed": {},
    "none": {"opt_level": "none"},
    "checked": {"signals_based_traps": False, "opt_level": "none"},
    "fuel and epochs": {"consume_fuel": True, "epoch_interruption": True},
    "interpreted": {"tier": "auto"},
    "interpreted, fuel and epochs": {"tier": "auto", "consume_fuel": True, "epoch_interruption": True},
    "stencils": {"tier": "auto"},
    "stencils, fuel and epochs": {"tier": "auto", "consume_fuel": True, "epoch_interruption": True},
    "stencils, checked": {"tier": "auto", "signals_based_traps": False},
    "soon compiled": {"tier": "auto"},
}

INTEGERS = " ".join(f"(param $a{i} i64)" for i in range(10))
FLOATS = " ".join(f"(param $b{i} f32)" for i in range(10))
TEN = "i32 i64 f32 f64 i64 i32 f64 f32 i64 i32"
# Each export takes a count, and is called that many times in tail position before a result comes back.
WAT = f"""(module $m
  (import "" "host" (func $host (param i64) (result i64)))
  (import "" "host_many" (func $host_many (param {"i64 " * 12}) (result i64)))
  (type $one (func (param i64) (result i64)))
  (type $two (func (param f64 i64) (result i64)))
  (type $many (func {INTEGERS} {FLOATS} (result i64)))
  (table $t 4 4 funcref) (elem (table $t) (i32.const 0) func $table $table2 $few $much)
  (memory 1)
  (func $self (export "self") (param i64) (result i64)
    (if (i64.eqz (local.get 0)) (then (return (i64.const 7))))
    (return_call $self (i64.sub (local.get 0) (i64.const 1))))
  (func $even (export "mutual") (param i64) (result i64)
    (if (i64.eqz (local.get 0)) (then (return (i64.const 1))))
    (return_call $odd (f32.const 1.5) (i64.sub (local.get 0) (i64.const 1))))
  (func $odd (param f32 i64) (result i64)
    (if (i64.eqz (local.get 1)) (then (return (i64.const 2))))
    (return_call $even (i64.sub (local.get 1) (i64.const 1))))
  (func $table (export "table") (param i64) (result i64)
    (if (i64.eqz (local.get 0)) (then (return (i64.const 3))))
    (return_call_indirect $t (type $two) (f64.const 1) (i64.sub (local.get 0) (i64.const 1)) (i32.const 1)))
  (func $table2 (param f64 i64) (result i64)
    (if (i64.eqz (local.get 1)) (then (return (i64.const 4))))
    (return_call_indirect $t (type $one) (i64.sub (local.get 1) (i64.const 1)) (i32.const 0)))
  (func $few (export "stack arguments") (param i64) (result i64)
    (return_call $much (local.get 0) {" ".join(f"(i64.const {n})" for n in range(1, 10))}
      {" ".join(f"(f32.const {n}.5)" for n in range(10))}))
  (func $much {INTEGERS} {FLOATS} (result i64)
    (if (i64.eqz (local.get 0)) (then (return
      (i64.add (i64.mul (local.get $a9) (i64.const 100)) (i64.trunc_f32_s (f32.mul (local.get $b9) (f32.const 2)))))))
    (return_call $few (i64.sub (local.get 0) (i64.const 1))))
  (func $few_table (export "stack arguments, table") (param i64) (result i64)
    (if (i64.eqz (local.get 0)) (then (return (i64.const 5))))
    (return_call_indirect $t (type $many) (i64.sub (local.get 0) (i64.const 1))
      {" ".join(f"(i64.const {n})" for n in range(1, 10))} {" ".join(f"(f32.const {n}.5)" for n in range(10))}
      (i32.const 3)))
  (func (export "not a leaf") (param i64) (result i64) (return_call $calls (local.get 0)))
  (func $calls (param i64) (result i64)
    (if (i64.eqz (call $identity (local.get 0))) (then (return (i64.const 6))))
    (return_call $calls (i64.sub (local.get 0) (call $identity (i64.const 1)))))
  (func $identity (param i64) (result i64) local.get 0)
  (func (export "locals") (param i64) (result i64) (local {"i64 " * 40})
    (i64.store (i32.const 0) (local.get 0))
    (return_call $locals_too (local.get 0) {"(i64.load (i32.const 0)) " * 30}))
  (func $locals_too (param $n i64) (param {"i64 " * 30}) (result i64)
    (if (i64.eqz (local.get 0)) (then (return (i64.add (local.get 29) (i64.const 8)))))
    (return_call $locals_too (i64.sub (local.get 0) (i64.const 1))
      {" ".join(f"(local.get {n % 30 + 1})" for n in range(30))}))
  (func $ten (export "ten results") (param i64) (result {TEN})
    (if (i64.eqz (local.get 0)) (then (return (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4) (i64.const 5)
      (i32.const 6) (f64.const 7) (f32.const 8) (i64.const 9) (i32.const 10))))
    (return_call $ten_many {"(i32.const 9) " * 19} (local.get 0)))
  (func $ten_many (param {"i32 " * 19} i64) (result {TEN})
    (return_call $ten (i64.sub (local.get 19) (i64.const 1))))
  (func (export "host") (param i64) (result i64) (return_call $host (local.get 0)))
  (func (export "host many") (param i64) (result i64)
    (return_call $host_many {" ".join("(local.get 0)" for _ in range(12))}))
)"""
RESULTS = {
    "self": 7,
    "mutual": 1,
    "table": 3,
    "stack arguments": 919,
    "stack arguments, table": 919,
    "not a leaf": 6,
    "locals": ITERATIONS + 8,
    "ten results": [1, 2, 3.0, 4.0, 5, 6, 7.0, 8.0, 9, 10],
}


def make_store(**options: Any) -> Store:
    store = Store(Engine(Config(max_wasm_stack=WASM_STACK_BYTES, **options)))
    if options.get("consume_fuel"):
        store.set_fuel(10**12)
    if options.get("epoch_interruption"):
        store.set_epoch_deadline(1)
    return store


def make(store: Store, host: Callable[[int], int] = lambda n: n, unit_bytes: int = 96 << 10) -> Any:
    functions = [
        Func(store, FuncType([I64], [I64]), host),
        Func(store, FuncType([I64] * 12, [I64]), lambda *numbers: sum(n * (i + 1) for i, n in enumerate(numbers))),
    ]
    with mock.patch("wasmjit.thresholds.UNIT_BODY_BYTES", unit_bytes):
        return Instance(store, Module(store.engine, WAT), functions).exports(store)


@pytest.fixture(params=MODES, ids=str)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600.0)
    monkeypatch.setattr(thresholds, "INTERPRETER_IS_PATIENT", False)
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 100 if request.param == "soon compiled" else 1 << 30)
    monkeypatch.setattr(thresholds, "STENCILS", not request.param.startswith("interpreted"))
    return make_store(**MODES[request.param])


@pytest.mark.parametrize("unit_bytes", [96 << 10, 1], ids=["one unit", "many units"])
def test_constant_stack(store: Store, unit_bytes: int) -> None:
    exports = make(store, unit_bytes=unit_bytes)
    for name, result in RESULTS.items():
        assert exports[name](store, ITERATIONS) == result, name


@pytest.mark.part(2)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{}, {"consume_fuel": True, "epoch_interruption": True}], ids=["plain", "metered"])
@pytest.mark.parametrize("name", RESULTS)
def test_chains_in_code_from_stencils(
    name: str, options: dict[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million calls, or ten: one frame for each would take more than there is."""
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600.0)
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 1 << 30)
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    store = make_store(tier="auto", cache=False, **options)
    functions = [
        Func(store, FuncType([I64], [I64]), lambda n: n),
        Func(store, FuncType([I64] * 12, [I64]), lambda *numbers: sum(n * (i + 1) for i, n in enumerate(numbers))),
    ]
    module = Module(store.engine, WAT)
    exports: Any = Instance(store, module, functions).exports(store)
    iterations = 1_000_000 if seed == 0 and name != "not a leaf" else 10_000
    expected = RESULTS[name] if name != "locals" else iterations + 8
    assert exports[name](store, iterations) == expected
    tiers = {function.tier for function in module.tier_report() if function.calls}
    # Arguments come through the store to functions that are interpreted.
    assert "stencil" in tiers and (tiers == {"stencil"} or name not in ("self", "mutual", "table", "not a leaf"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("level", ["none", "speed"])
def test_a_hundred_million(name: str, level: str) -> None:
    store = make_store(opt_level=level)
    expected = RESULTS[name] if name != "locals" else 10**8 + 8
    assert make(store)[name](store, 10**8) == expected


PING_PONG = """(module
  (type $f (func (param i64 f32) (result i64)))
  (type $g (func (param {more} i64) (result i64)))
  (import "" "table" (table $t 2 funcref))
  (elem (table $t) (i32.const {own}) func $f)
  (func $f (export "f") (param {params} i64) (result i64)
    (if (i64.eqz (local.get {last})) (then (return (i64.const {own}))))
    (return_call_indirect $t (param {others} i64) (result i64)
      {zeros} (i64.sub (local.get {last}) (i64.const 1)) (i32.const {other}))))"""


def ping_pong(own: int, params: str, others: str) -> str:
    zeros = " ".join(f"({t}.const 0)" for t in others.split())
    return PING_PONG.format(
        own=own, other=1 - own, params=params, others=others, more=others, zeros=zeros, last=len(params.split())
    )


@pytest.mark.parametrize("params", ["", "f64 i32", "i64 " * 9, "f32 " * 9], ids=["none", "two", "ints", "floats"])
@pytest.mark.parametrize("iterations", [ITERATIONS, pytest.param(10**8, marks=pytest.mark.slow)])
def test_two_instances_call_each_other(store: Store, params: str, iterations: int) -> None:
    texts = [ping_pong(0, "", params), ping_pong(1, params, "")]
    linker = Linker(store.engine)
    table = Instance(store, Module(store.engine, '(module (table (export "t") 2 funcref))'), []).exports(store)["t"]
    linker.define(store, "", "table", table)
    first, _ = [linker.instantiate(store, Module(store.engine, text)) for text in texts]
    assert first.exports(store)["f"](store, iterations) == 0
    assert first.exports(store)["f"](store, iterations + 1) == 1


# What may have more operands than its bytes are worth is compiled at its first call; the others are interpreted.
TURNS = f"""(module
  (type $many (func {INTEGERS} (result i64)))
  (table funcref (elem $interpreted $compiled))
  (func $interpreted (export "f") {INTEGERS} (result i64)
    (if (i64.eqz (local.get 0)) (then (return (i64.add (i64.mul (local.get $a8) (i64.const 10)) (local.get $a9)))))
    (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
    (if (i64.eqz (i64.and (local.get 0) (i64.const 2))) (then (return_call $compiled
      {" ".join(f"(local.get {i})" for i in range(10))})))
    (return_call_indirect (type $many) {" ".join(f"(local.get {i})" for i in range(10))} (i32.const 1)))
  (func $thousand (result {"i32 " * 1000}) unreachable)
  (func $compiled {INTEGERS} (result i64) (local v128)
    (if (i32.const 0) (then {"(call $thousand) " * 70} unreachable))
    (local.set 10 (i64x2.splat (local.get $a9)))
    (if (i64.eqz (i64.and (local.get 0) (i64.const 4))) (then (return_call $interpreted
      {" ".join(f"(local.get {i})" for i in range(9))} (i64.add (i64.const 1) (i64x2.extract_lane 1 (local.get 10))))))
    (return_call_indirect (type $many) {" ".join(f"(local.get {i})" for i in range(10))} (i32.const 0))))"""


@pytest.mark.parametrize("has_stencils", [False, True], ids=["words", "stencils"])
def test_compiled_and_other_functions_take_turns(has_stencils: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By register entries, since not all arguments fit in registers."""
    monkeypatch.setattr(thresholds, "STENCILS", has_stencils)
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600.0)
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 1 << 30)
    store = make_store(tier="auto")
    module = Module(store.engine, TURNS)
    function = Instance(store, module, []).exports(store)["f"]
    other = make_store(tier="optimized")
    expected = Instance(other, Module(other.engine, TURNS), []).exports(other)["f"](other, ITERATIONS, *range(1, 10))
    assert function(store, ITERATIONS, *range(1, 10)) == expected > ITERATIONS // 8
    first = "stencil" if has_stencils else "interpreted"
    assert [each.tier for each in module.tier_report()] == [first, "interpreted", "baseline"]


def test_an_import_of_another_instance(store: Store) -> None:
    exports = make(store)
    text = """(module (import "" "f" (func $f (param i64) (result i64)))
      (func (export "g") (param f32 i64) (result i64) (return_call $f (local.get 1))))"""
    for name in ("self", "stack arguments"):
        other = Instance(store, Module(store.engine, text), [exports[name]]).exports(store)
        assert other["g"](store, 1.0, ITERATIONS) == RESULTS[name]


def test_host_functions(store: Store) -> None:
    exports = make(store, lambda n: 3 * n)
    assert exports["host"](store, 5) == 15
    assert exports["host many"](store, 2) == 2 * sum(range(1, 13))


def test_host_and_wasm_take_turns(store: Store) -> None:
    """A chain through a host function is as deep as its plain calls; here there are none but the host's own."""
    text = """(module (import "" "h" (func $h (param i32) (result i32)))
      (func $f (export "f") (param i32 i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (return_call $h (local.get 1))))
        (return_call $f (i32.sub (local.get 0) (i32.const 1)) (local.get 1))))"""
    seen = []
    functype = FuncType([ValType.i32()], [ValType.i32()])

    def host(depth: int) -> int:
        seen.append(depth)
        return depth if depth == 0 else exports["f"](store, 1000, depth - 1)

    exports = Instance(store, Module(store.engine, text), [Func(store, functype, host)]).exports(store)
    assert exports["f"](store, 1000, 5) == 0
    assert seen == [5, 4, 3, 2, 1, 0]


def test_a_host_exception_passes_through(store: Store) -> None:
    def fail(number: int) -> int:
        raise KeyError(number)

    with pytest.raises(KeyError, match="5"):
        make(store, fail)["host"](store, 5)


def test_the_caller_is_the_instance_that_tail_called(store: Store) -> None:
    seen = []
    host = Func(store, FuncType([], []), lambda caller: seen.append(caller.get("g").value(caller)), access_caller=True)
    text = """(module (import "" "f" (func $f)) (global (export "g") i32 (i32.const {number}))
      (func (export "f") (return_call $f)))"""
    inner = Instance(store, Module(store.engine, text.format(number=1)), [host]).exports(store)
    outer = Instance(store, Module(store.engine, text.format(number=2)), [inner["f"]]).exports(store)
    outer["f"](store)
    assert seen == [1]


# ---- traps ----

TRAPS = f"""(module $m
  (import "" "host" (func $host (param i64) (result i64)))
  (type $t (func (param i64) (result i64)))
  (type $other (func (param i32) (result i64)))
  (table 4 4 funcref) (elem (i32.const 0) $leaf $mismatch)
  (memory 1)
  (func $mismatch (param i32) (result i64) unreachable)
  (func $leaf (param i64) (result i64) unreachable)
  (func $many (param {"i64 " * 9}) (result i64) (i64.load offset=0xfffffff0 (i32.const 0)))
  (func $tail_many (param {"i64 " * 9}) (result i64)
    (return_call $many {"(local.get 0)" * 9}))
  (func $a (param i64) (result i64) (return_call $b (local.get 0) (local.get 0)))
  (func $b (param i64 i64) (result i64) (return_call $leaf (local.get 0)))
  (func $c (param i64) (result i64) (return_call $tail_many {"(local.get 0)" * 9}))
  (func $d (param i64) (result i64) (return_call_indirect (type $t) (local.get 0) (i32.wrap_i64 (local.get 0))))
  (func $e (param i64) (result i64) (return_call $host (local.get 0)))
  (func $deep (param i64) (result i64) (i64.add (i64.const 1) (call $deep2 (local.get 0))))
  (func $deep2 (param i64) (result i64) (return_call $deep (local.get 0)))
  (func $dropped (param i64) (result i64)
    (i64.load offset=0xfffffff0 (i32.const 0)) (return_call $fine (i64.const 1)))
  (func $forgotten (param i64) (result i64) (local i64)
    (local.set 1 (i64.load offset=0xfffffff0 (i32.const 0))) (return_call $fine (i64.const 1)))
  (func $fine (param i64) (result i64) (i64.const 0))
  {
    " ".join(
        f'(func $call_{name} (export "{name}") (param i64) (result i64) (i64.add (i64.const 1) '
        f"(call ${name} (local.get 0))))"
        for name in ("a", "c", "d", "e", "deep", "dropped", "forgotten")
    )
})"""


@pytest.fixture
def trapping(store: Store) -> Any:
    def host(number: int) -> int:
        raise Trap("from the host")

    functions = [Func(store, FuncType([I64], [I64]), host)]
    return Instance(store, Module(store.engine, TRAPS), functions).exports(store)


@pytest.mark.parametrize(
    ("name", "argument", "code", "frames"),
    [
        ("a", 0, TrapCode.UNREACHABLE, ["leaf"]),
        ("c", 0, TrapCode.MEMORY_OUT_OF_BOUNDS, ["many"]),
        ("d", 0, TrapCode.UNREACHABLE, ["leaf"]),
        ("d", 1, TrapCode.BAD_SIGNATURE, ["d"]),
        ("d", 2, TrapCode.INDIRECT_CALL_TO_NULL, ["d"]),
        ("d", 4, TrapCode.TABLE_OUT_OF_BOUNDS, ["d"]),
        ("dropped", 0, TrapCode.MEMORY_OUT_OF_BOUNDS, ["dropped"]),
        ("forgotten", 0, TrapCode.MEMORY_OUT_OF_BOUNDS, ["forgotten"]),
    ],
)
def test_traps_and_their_backtraces(
    store: Store, trapping: Any, name: str, argument: int, code: TrapCode, frames: list[str]
) -> None:
    with pytest.raises(Trap) as caught:
        trapping[name](store, argument)
    assert caught.value.trap_code is code
    assert [frame.func_name for frame in caught.value.frames] == [*frames, f"call_{name}"]
    assert all(frame.func_offset > 0 for frame in caught.value.frames)


def test_a_trap_raised_by_a_host_function(store: Store, trapping: Any) -> None:
    with pytest.raises(Trap, match="from the host"):
        trapping["e"](store, 0)


def test_the_stack_is_exhausted_by_plain_calls_between(store: Store, trapping: Any) -> None:
    with pytest.raises(Trap) as caught:
        trapping["deep"](store, 0)
    assert caught.value.trap_code is TrapCode.STACK_OVERFLOW
    first, *others = [frame.func_name for frame in caught.value.frames[:-1]]
    assert first in ("deep", "deep2")  # interpreted code looks before each function
    assert set(others) <= {"deep", "call_deep"}


# ---- what bounds running code ----

ENDLESS = f"""(module
  (type $t (func (param i64)))
  (table funcref (elem $indirect))
  (func $self (export "self") (return_call $self))
  (func $a (export "mutual") (param i64) (return_call $b (i32.const 1) (local.get 0)))
  (func $b (param i32 i64) (return_call $a (local.get 1)))
  (func $indirect (export "indirect") (param i64) (return_call_indirect (type $t) (local.get 0) (i32.const 0)))
  (func $many (export "many") (param i64) (return_call $more {"(local.get 0)" * 12}))
  (func $more (param {"i64 " * 12}) (return_call $many (local.get 0)))
  (func (export "count") (param $n i64) (param {"i64 " * 9}) (result i64)
    (if (i64.eqz (local.get 0)) (then (return (local.get 9))))
    (return_call $count (i64.sub (local.get 0) (i64.const 1)) {" ".join(f"(local.get {n})" for n in range(1, 10))}))
  (func $count (param $n i64) (param {"i64 " * 9}) (result i64)
    (if (i64.eqz (local.get 0)) (then (return (local.get 9))))
    (return_call $count (i64.sub (local.get 0) (i64.const 1)) {" ".join(f"(local.get {n})" for n in range(1, 10))})))"""
ENDLESS_ARGUMENTS = {"self": (), "mutual": (1,), "indirect": (1,), "many": (1,)}


def endless(store: Store, name: str) -> Callable[[], Any]:
    function = Instance(store, Module(store.engine, ENDLESS), []).exports(store)[name]
    return lambda: function(store, *ENDLESS_ARGUMENTS[name])


@pytest.mark.parametrize("name", ENDLESS_ARGUMENTS)
def test_fuel_runs_out(name: str) -> None:
    left = set()
    for level in ("none", "speed"):
        store = Store(Engine(Config(consume_fuel=True, opt_level=level)))
        store.set_fuel(10_000)
        with pytest.raises(Trap) as caught:
            endless(store, name)()
        assert caught.value.trap_code is TrapCode.OUT_OF_FUEL
        left.add(store.get_fuel())
    assert len(left) == 1


@pytest.mark.parametrize("name", ENDLESS_ARGUMENTS)
def test_the_epoch_ends(name: str) -> None:
    store = Store(Engine(Config(epoch_interruption=True)))
    store.set_epoch_deadline(1)
    threading.Timer(0.02, store.engine.increment_epoch).start()
    with pytest.raises(Trap) as caught:
        endless(store, name)()
    assert caught.value.trap_code is TrapCode.INTERRUPT


@pytest.mark.parametrize("name", ENDLESS_ARGUMENTS)
def test_interrupted(name: str) -> None:
    store = Store(Engine(Config()), timeout=0.02)
    for _ in range(5):
        with pytest.raises(Trap) as caught:
            endless(store, name)()
        assert caught.value.trap_code is TrapCode.INTERRUPT
        assert len(caught.value.frames) <= 2


HANDLERS = """
import os, signal, threading, time
from wasmjit import Engine, Instance, Module, Store
store = Store(Engine())
count = Instance(store, Module(store.engine, TEXT), []).exports(store)["count"]
handled = 0
def handler(number, frame):
    global handled
    handled += 1
    assert count(store, 3, *range(101, 110)) == 109
signal.signal(signal.SIGINT, handler)
going = True
def send():
    while going:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.0005)
sender = threading.Thread(target=send, daemon=True)
sender.start()
end = time.monotonic() + 0.7
while time.monotonic() < end:
    assert count(store, 1_000_000, *range(1, 10)) == 9
going = False
sender.join()
print("many" if handled > 100 else handled)
"""


def test_signal_handlers_leave_arguments_in_memory_alone() -> None:
    """A handler runs between any two instructions, so also between a jump's arguments and the callee that reads them;
    what it runs in the same store tail-calls too."""
    program = HANDLERS.replace("TEXT", repr(ENDLESS))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "many\n", done.stderr


def test_interrupted_in_a_host_function_that_has_no_wasm_caller_left() -> None:
    store = Store(Engine(Config()))
    host = Func(store, FuncType([], []), lambda: store.interrupt() and None)
    text = '(module (import "" "h" (func $h)) (func (export "f") (return_call $h)))'
    function = Instance(store, Module(store.engine, text), [host]).exports(store)["f"]
    with pytest.raises(Trap) as caught:
        function(store)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    assert caught.value.frames == []


# ---- validation ----


@pytest.mark.parametrize(
    "body",
    [
        "(func (result i32) (return_call $f))",
        "(func (return_call_indirect (type $r) (i32.const 0)))",
        "(func (result i64 i32) (return_call $g))",
        "(func (return_call $p (i64.const 1)))",
        "(func (return_call $p))",
        "(func (return_call_indirect (type $v) (i64.const 0)))",
    ],
)
def test_invalid(store: Store, body: str) -> None:
    text = f"""(module (type $v (func)) (type $r (func (result i32))) (table 1 funcref)
      (func $f) (func $g (result i32 i64) i32.const 0 i64.const 0) (func $p (param i32)) {body})"""
    with pytest.raises(ValidationError, match="type mismatch"):
        Module.validate(store.engine, bytes(wat2wasm(text)))


@pytest.mark.parametrize("opcode", ["(return_call $f)", "(return_call_indirect (i32.const 0))"])
def test_the_feature_can_be_off(opcode: str) -> None:
    engine = Engine(Config(wasm_tail_call=False))
    with pytest.raises(UnsupportedError, match="tail_call"):
        Module(engine, f"(module (table 1 funcref) (func $f {opcode}))")
    with pytest.raises(WasmError, match="tail_call"):
        Module.validate(engine, bytes(wat2wasm(f"(module (table 1 funcref) (func $f unreachable {opcode}))")))


# ---- the code ----


def assembly(wat: str, **options: Any) -> str:
    return pipeline.render(decode(bytes(wat2wasm(wat))), Config(**options), "assembly")


@pytest.mark.parametrize("target", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])
@pytest.mark.parametrize("level", ["none", "speed"])
def test_tail_calls_are_jumps(target: str, level: str) -> None:
    text = assembly(ENDLESS, target=target, opt_level=level)
    body = text[text.index("\nf0:") if "\nf0:" in text else text.index("\nt0:") :]
    body = body[: body.index(".size")]
    assert ("call" if target.startswith("x86") else "\tbl") not in body


def test_artifacts_keep_both_entries(store: Store) -> None:
    module = Module(store.engine, WAT)
    again = Module.deserialize(store.engine, module.serialize())
    functions = [Func(store, i.type, lambda *numbers: numbers[0]) for i in again.imports]
    exports = Instance(store, again, functions).exports(store)
    assert exports["stack arguments, table"](store, ITERATIONS) == 919
    sizes = {function.name: function.size for function in again.functions()}
    assert sizes == {function.name: function.size for function in module.functions()}
    assert sizes["much"] > 20


def test_aarch64_code_links(store: Store) -> None:
    for level in ("none", "speed"):
        config = Config(target="aarch64-unknown-linux-gnu", opt_level=level)
        assert Module(Engine(config), WAT).serialize()


def test_modules_without_tail_calls_have_no_second_names(store: Store) -> None:
    text = '(module (func $f (param i32)) (func (export "g") (call $f (i32.const 1))))'
    ir = pipeline.render(decode(bytes(wat2wasm(text))), Config(), "ir")
    assert "alias" not in ir and "@t" not in ir and "musttail" not in ir
