"""Fuel and epochs in code from stencils: counted, and looked at, where the interpreter does."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bench.kernels.catalogue import KERNELS
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
    WasiConfig,
    thresholds,
)

MUCH = 1 << 60


@pytest.fixture(autouse=True)
def stencils(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "STENCILS", True)
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600)


def engine_of(**options: Any) -> Engine:
    return Engine(Config(tier="auto", cache=False, **options))


def tiers(module: Module) -> set[str]:
    return {function.tier for function in module.tier_report() if function.calls}


WAT = """(module
  (type $unary (func (param i32) (result i32)))
  (import "host" "ask" (func $ask (param i32) (result i32)))
  (memory 1 20) (table $t 4 funcref) (elem (i32.const 0) $double $ask)
  (func $double (type $unary) (i32.add (local.get 0) (local.get 0)))
  (func (export "loop") (param $n i32) (result i32) (local $s i32)
    (loop $again
      (local.set $s (i32.add (local.get $s) (local.get $n)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $s))
  (func (export "calls") (param $n i32) (result i32) (local $s i32)
    (loop $again
      (local.set $s (i32.add (call $double (local.get $s)) (call_indirect (type $unary) (local.get $n) (i32.const 0))))
      (local.set $s (i32.add (local.get $s) (call $ask (local.get $n))))
      (if (i32.gt_s (local.get $n) (i32.const 2))
        (then (local.set $s (i32.add (local.get $s) (call_indirect (type $unary) (local.get $n) (i32.const 1))))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $s))
  (func (export "bulk") (param $n i32) (result i32)
    (memory.fill (i32.const 0) (i32.const 7) (local.get $n))
    (memory.copy (i32.const 100) (i32.const 0) (i32.mul (local.get $n) (i32.const 2)))
    (table.fill $t (i32.const 2) (ref.null func) (i32.and (local.get $n) (i32.const 1)))
    (drop (memory.grow (i32.const 1)))
    (drop (table.grow $t (ref.null func) (i32.const 3)))
    (memory.size))
  (func (export "table") (param $n i32) (result i32)
    (block $c (block $b (block $a (br_table $a $b $c (local.get $n))) (return (i32.const 10))) (return (i32.const 11)))
    (i32.const 12))
  (func $deep (export "recursion") (param $n i32) (result i32)
    (if (result i32) (local.get $n) (then (call $deep (i32.sub (local.get $n) (i32.const 1)))) (else (i32.const 1))))
  (func (export "traps") (param $n i32) (result i32)
    (loop $again
      (drop (call $double (local.get $n)))
      (drop (i32.load (i32.mul (local.get $n) (i32.const 30000))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br $again))
    unreachable)
)"""


def spending(has_stencils: bool, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What calls give and leave, with much fuel and with little, and where they end."""
    monkeypatch.setattr(thresholds, "STENCILS", has_stencils)
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    engine = engine_of(consume_fuel=True, epoch_interruption=True)
    module = Module(engine, WAT)
    seen: list[Any] = []
    store = Store(engine)

    def ask(value: int) -> int:
        seen.append(store.get_fuel())
        store.set_fuel(store.get_fuel() + 1)
        return value + 1

    store.set_epoch_deadline(1)
    store.set_fuel(MUCH)
    host = Func(store, FuncType([ValType.i32()], [ValType.i32()]), ask)
    exports: Any = Instance(store, module, [host]).exports(store)
    for name in ("loop", "calls", "bulk", "table", "recursion", "traps"):
        for fuel in (MUCH, 2**63 - 1, *range(0, 60, 3), 200):
            for argument in (1, 2, 5, 200):
                store.set_fuel(fuel)
                try:
                    ended: Any = exports[name](store, argument)
                except Trap as trap:
                    ended = (trap.trap_code.name, [(f.func_index, f.module_offset) for f in trap.frames])
                seen.append((name, fuel, argument, ended, store.get_fuel()))
    assert tiers(module) == {"stencil" if has_stencils else "interpreted"}
    return seen


@pytest.mark.parametrize("seed", range(4))
def test_fuel_is_what_it_is_in_the_interpreter(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each call of the host, at each end, and with each amount at the start."""
    assert spending(True, seed, monkeypatch) == spending(False, 0, monkeypatch)


KERNELS_HERE = [
    pytest.param(kernel, id=kernel.name, marks=[pytest.mark.slow] * (kernel.name not in ("fib", "json", "nbody")))
    for kernel in KERNELS
]


@pytest.mark.parametrize("kernel", KERNELS_HERE)
def test_kernels_take_as_much_fuel(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the interpreter, and as where hot loops go on in compiled code."""
    spent = {}
    with tempfile.TemporaryDirectory() as directory:
        for kind, budget in (("words", 1 << 30), ("stencils", 1 << 30), ("leaving", 2000)):
            monkeypatch.setattr(thresholds, "STENCILS", kind != "words")
            monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", budget)
            engine = engine_of(consume_fuel=True)
            store = Store(engine, fuel=MUCH)
            wasi = WasiConfig()
            wasi.argv = [kernel.name, str(max(1, kernel.iterations // 100))]
            wasi.stdout_file = str(Path(directory) / kind)
            store.set_wasi(wasi)
            linker = Linker(engine)
            linker.define_wasi()
            start: Any = linker.instantiate(store, Module(engine, kernel.wasm.read_bytes())).exports(store)["_start"]
            start(store)
            spent[kind] = MUCH - store.get_fuel(), (Path(directory) / kind).read_bytes()
    assert spent["words"] == spent["stencils"] == spent["leaving"]


SPIN = """(module (memory 1) (global $n (export "n") (mut i64) (i64.const 0))
  (func (export "spin") (loop $l (global.set $n (i64.add (global.get $n) (i64.const 1))) (br $l)))
  (func (export "spin_in_registers") (local $i i64) (local $f f64)
    (loop $l (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (local.set $f (f64.add (local.get $f) (f64.const 1))) (i64.store (i32.const 8) (local.get $i)) (br $l)))
  (func $f (export "recurse") (param $n i32) (result f64) (local $x f64)
    (local.set $x (f64.convert_i32_s (local.get $n)))
    (if (local.get $n) (then
      (local.set $x (f64.add (local.get $x) (call $f (i32.sub (local.get $n) (i32.const 1)))))))
    (local.get $x))
  (func (export "sum") (param $n i32) (result i32) (local $s i32) (local $x f64) (local $a i32) (local $b i32)
    (local.set $a (i32.const 3)) (local.set $b (i32.const 4)) (local.set $x (f64.const 0.5))
    (loop $l
      (local.set $s (i32.add (i32.xor (local.get $s) (i32.mul (local.get $n) (local.get $a))) (local.get $b)))
      (local.set $x (f64.add (local.get $x) (f64.convert_i32_s (local.get $s))))
      (i32.store (i32.const 4) (local.get $s))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.xor (i32.trunc_sat_f64_s (local.get $x)) (i32.add (local.get $s) (i32.load (i32.const 4)))))
)"""


@pytest.mark.parametrize("export", ["spin", "spin_in_registers"])
def test_an_epoch_ends_a_loop(export: str) -> None:
    engine = engine_of(epoch_interruption=True)
    store, module = Store(engine), Module(engine, SPIN)
    store.set_epoch_deadline(2)
    exports: Any = Instance(store, module, []).exports(store)
    advanced = []

    def advance() -> None:
        for _ in range(2):
            time.sleep(0.05)
            advanced.append(time.monotonic())
            engine.increment_epoch()

    thread = threading.Thread(target=advance)
    thread.start()
    with pytest.raises(Trap) as caught:
        exports[export](store)
    advanced_before = len(advanced)
    thread.join()
    assert caught.value.trap_code is TrapCode.INTERRUPT
    assert advanced_before == 2, "it ended at the deadline"
    assert caught.value.frames[0].func_index == (0 if export == "spin" else 1)
    assert tiers(module) == {"stencil"}


@pytest.mark.parametrize("options", [{}, {"consume_fuel": True}], ids=["epochs", "both"])
@pytest.mark.parametrize("seed", range(4))
def test_a_callback_leaves_everything_as_it_is(
    seed: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each look: all registers are put back, and memory may have moved."""
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    results = []
    for is_called in (False, True):
        engine = engine_of(epoch_interruption=True, **options)
        store, module = Store(engine), Module(engine, SPIN)
        if options:
            store.set_fuel(MUCH)
        exports: Any = Instance(store, module, []).exports(store)
        looks = []
        if is_called:
            store.epoch_deadline_callback(lambda looks=looks: looks.append(1) or 0)
        else:
            store.set_epoch_deadline(1)
        left = []
        for export, argument in (("sum", 100), ("recurse", 50)):
            left.append(exports[export](store, argument))
            left.append(store.get_fuel() if options else 0)
        assert len(looks) == (1 + 100 + 51) * is_called
        assert tiers(module) == {"stencil"}
        results.append(left)
    assert results[0] == results[1]


def test_what_a_callback_raises_ends_the_call() -> None:
    engine = engine_of(epoch_interruption=True)
    store, module = Store(engine), Module(engine, SPIN)
    exports: Any = Instance(store, module, []).exports(store)
    looks = []

    def callback() -> int:
        looks.append(1)
        if len(looks) == 10:
            raise KeyError("enough")
        return 0

    store.epoch_deadline_callback(callback)
    with pytest.raises(KeyError, match="enough"):
        exports["spin"](store)
    assert exports["n"].value(store) == 8  # the first look is at the function's start


def test_little_fuel_is_enough_to_be_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of code that counts fuel report by what they used, and functions by their calls."""
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 100)
    monkeypatch.setattr(thresholds, "INTERPRETER_IS_PATIENT", False)
    engine = engine_of(consume_fuel=True)
    store, module = Store(engine, fuel=10_000_000), Module(engine, WAT)
    host = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda value: value)
    exports: Any = Instance(store, module, [host]).exports(store)
    reports = module._load()._lazy.reports
    exports["loop"](store, 100)
    assert sum(reports.values()) == 0
    exports["loop"](store, 100_000)
    assert sum(reports.values()) > 100
