"""Fuel and epochs: what they bound, and what a program sees of them. Amounts of fuel are each compiler's own."""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Any

import pytest

COUNT = """(module (func (export "count") (param i32) (result i32) (local i32)
  (loop $again (br_if $again (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (local.get 0))))
  (local.get 1)))"""
FOREVER = '(module (func (export "f") (loop $again (br $again))))'


@pytest.fixture(scope="module")
def fuelled(api: Any) -> Any:
    """An engine whose code consumes fuel."""
    config = api.Config()
    config.consume_fuel = True
    return api.Engine(config)


@pytest.fixture(scope="module")
def clocked(api: Any) -> Any:
    """An engine whose code looks at the epoch."""
    config = api.Config()
    config.epoch_interruption = True
    return api.Engine(config)


def function(api: Any, store: Any, text: str, name: str) -> Any:
    return api.Instance(store, api.Module(store.engine, text), []).exports(store)[name]


def test_fuel_is_set_and_read(api: Any, fuelled: Any) -> None:
    store = api.Store(fuelled)
    assert store.get_fuel() == 0
    assert store.set_fuel(1000) is None
    assert store.get_fuel() == 1000
    store.set_fuel(7)
    assert store.get_fuel() == 7


@pytest.mark.parametrize("amount", [0, 1, 2**32, 2**63 - 1])
def test_amounts_of_fuel(api: Any, fuelled: Any, amount: int) -> None:
    store = api.Store(fuelled)
    store.set_fuel(amount)
    assert store.get_fuel() == amount


def test_fuel_needs_its_option(api: Any, store: Any) -> None:
    with pytest.raises(api.WasmtimeError, match="fuel is not configured in this store"):
        store.set_fuel(1)
    with pytest.raises(api.WasmtimeError, match="fuel is not configured in this store"):
        store.get_fuel()


def test_code_consumes_fuel(api: Any, fuelled: Any) -> None:
    store = api.Store(fuelled)
    count = function(api, store, COUNT, "count")
    spent = []
    for rounds in (10, 10, 1000):
        store.set_fuel(1_000_000)
        assert count(store, rounds) == rounds
        spent.append(1_000_000 - store.get_fuel())
    assert 0 < spent[0] == spent[1] < spent[2]


def test_without_fuel_nothing_runs(api: Any, fuelled: Any) -> None:
    store = api.Store(fuelled)
    count = function(api, store, COUNT, "count")
    with pytest.raises(api.Trap) as caught:
        count(store, 10)
    assert caught.value.trap_code == api.TrapCode.OUT_OF_FUEL


def test_running_out_of_fuel(api: Any, fuelled: Any) -> None:
    store = api.Store(fuelled)
    forever = function(api, store, FOREVER, "f")
    store.set_fuel(10_000)
    with pytest.raises(api.Trap, match="all fuel consumed by WebAssembly") as caught:
        forever(store)
    assert caught.value.trap_code == api.TrapCode.OUT_OF_FUEL
    assert store.get_fuel() == 0


def test_a_store_goes_on_with_new_fuel(api: Any, fuelled: Any) -> None:
    store = api.Store(fuelled)
    count = function(api, store, COUNT, "count")
    for _ in range(2):
        store.set_fuel(50)
        with pytest.raises(api.Trap):
            count(store, 1000)
        store.set_fuel(1_000_000)
        assert count(store, 1000) == 1000


def test_fuel_is_spent_inside_of_host_calls_too(api: Any, fuelled: Any) -> None:
    store = api.Store(fuelled)
    count = function(api, store, COUNT, "count")
    seen: list[int] = []

    def nested() -> None:
        seen.append(store.get_fuel())
        count(store, 100)
        seen.append(store.get_fuel())

    host = api.Func(store, api.FuncType([], []), nested)
    module = api.Module(fuelled, '(module (import "" "f" (func $f)) (func (export "go") (call $f) (call $f)))')
    go = api.Instance(store, module, [host]).exports(store)["go"]
    store.set_fuel(100_000)
    go(store)
    assert 100_000 > seen[0] > seen[1] >= seen[2] > seen[3] >= store.get_fuel()


def test_starting_takes_fuel(api: Any, fuelled: Any) -> None:
    store = api.Store(fuelled)
    module = api.Module(fuelled, "(module (func $f (loop $again (br $again))) (start $f))")
    store.set_fuel(1000)
    with pytest.raises(api.Trap) as caught:
        api.Instance(store, module, [])
    assert caught.value.trap_code == api.TrapCode.OUT_OF_FUEL


def test_set_fuel_takes_an_int(api: Any, fuelled: Any) -> None:
    store = api.Store(fuelled)
    for wrong in ("1", None):
        with pytest.raises((TypeError, ctypes.ArgumentError)):
            store.set_fuel(wrong)


# ---- epochs ----


def test_the_deadline_has_passed_from_the_start(api: Any, clocked: Any) -> None:
    store = api.Store(clocked)
    forever = function(api, store, FOREVER, "f")
    with pytest.raises(api.Trap) as caught:
        forever(store)
    assert caught.value.trap_code == api.TrapCode.INTERRUPT


def test_before_the_deadline_nothing_happens(api: Any, clocked: Any) -> None:
    store = api.Store(clocked)
    store.set_epoch_deadline(2)
    count = function(api, store, COUNT, "count")
    assert count(store, 100) == 100
    clocked.increment_epoch()
    assert count(store, 100) == 100
    clocked.increment_epoch()
    with pytest.raises(api.Trap) as caught:
        count(store, 100)
    assert caught.value.trap_code == api.TrapCode.INTERRUPT
    assert "wasm trap: interrupt" in caught.value.message
    store.set_epoch_deadline(1)
    assert count(store, 100) == 100


def test_another_thread_advances_the_epoch(api: Any, clocked: Any) -> None:
    store = api.Store(clocked)
    store.set_epoch_deadline(1)
    forever = function(api, store, FOREVER, "f")

    def later() -> None:
        time.sleep(0.05)
        clocked.increment_epoch()

    thread = threading.Thread(target=later)
    thread.start()
    with pytest.raises(api.Trap) as caught:
        forever(store)
    thread.join()
    assert caught.value.trap_code == api.TrapCode.INTERRUPT


def test_the_deadline_counts_from_the_current_epoch(api: Any, clocked: Any) -> None:
    for _ in range(5):
        clocked.increment_epoch()
    store = api.Store(clocked)
    store.set_epoch_deadline(1)
    assert function(api, store, COUNT, "count")(store, 10) == 10


def test_a_host_function_may_move_the_deadline(api: Any, clocked: Any) -> None:
    store = api.Store(clocked)
    store.set_epoch_deadline(1)

    def extend() -> None:
        clocked.increment_epoch()
        store.set_epoch_deadline(1)

    host = api.Func(store, api.FuncType([], []), extend)
    module = api.Module(
        clocked,
        """(module (import "" "f" (func $f))
             (func (export "go") (result i32) (local i32) (call $f)
               (loop $again (br_if $again (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 9))))
               (local.get 0)))""",
    )
    assert api.Instance(store, module, [host]).exports(store)["go"](store) == 9


AMOUNTS = [
    ("", 1),
    ("nop nop nop", 1),
    ("(drop (i32.const 1))", 2),
    ("(drop (i32.add (i32.const 1) (i32.const 2)))", 4),
    ("(block (nop))", 1),
    ("(if (i32.const 1) (then (call $nothing)) (else (call $nothing) (call $nothing)))", 5),
    ("(if (i32.const 0) (then (call $nothing)) (else (call $nothing) (call $nothing)))", 7),
    ("(call $nothing)", 3),
    ("(return)", 1),
    ("(block (br 0) (call $nothing))", 2),
    ("(block (br_if 0 (i32.const 1)) (call $nothing))", 3),
    ("(block (block (br_table 0 1 (i32.const 0))) (call $nothing))", 5),
    ("(drop (i32.load (i32.const 0)))", 3),
    ("(i64.store (i32.const 0) (i64.const 5))", 4),
    ("(call_indirect (i32.const 0))", 4),
    ("(drop (select (i32.const 1) (i32.const 2) (i32.const 3)))", 5),
    ("(call $host)", 2),
]


@pytest.mark.parametrize(("body", "amount"), AMOUNTS, ids=[body for body, _ in AMOUNTS])
def test_what_instructions_cost(api: Any, fuelled: Any, body: str, amount: int) -> None:
    store = api.Store(fuelled)
    module = api.Module(
        fuelled,
        f"""(module (import "" "" (func $host)) (memory 1 9) (table 1 funcref) (elem (i32.const 0) $nothing)
              (func $nothing) (func (export "f") {body}))""",
    )
    host = api.Func(store, api.FuncType([], []), lambda: None)
    function = api.Instance(store, module, [host]).exports(store)["f"]
    store.set_fuel(1000)
    function(store)
    assert 1000 - store.get_fuel() == amount
