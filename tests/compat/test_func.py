"""Func and Caller: calls in both directions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.conftest import func_type

IDENTITY = """(module
  (func (export "i32") (param i32) (result i32) local.get 0)
  (func (export "i64") (param i64) (result i64) local.get 0)
  (func (export "f32") (param f32) (result f32) local.get 0)
  (func (export "f64") (param f64) (result f64) local.get 0))"""


@pytest.mark.parametrize(
    ("type", "value", "result"),
    [
        ("i32", 0, 0),
        ("i32", -1, -1),
        ("i32", 2**31 - 1, 2**31 - 1),
        ("i32", 2**31, -(2**31)),
        ("i32", 2**32 - 5, -5),
        ("i32", True, 1),
        ("i64", -(2**63), -(2**63)),
        ("i64", 2**63, -(2**63)),
        ("i64", 2**64 - 1, -1),
        ("f32", 1.5, 1.5),
        ("f32", 0.1, 0.10000000149011612),
        ("f32", 1e300, math.inf),
        ("f64", 0.1, 0.1),
        ("f64", -math.inf, -math.inf),
    ],
)
def test_numbers_go_through(instantiate: Any, store: Any, type: str, value: Any, result: Any) -> None:
    found = instantiate(IDENTITY)[type](store, value)
    assert found == result and isinstance(found, float if type[0] == "f" else int)


@pytest.mark.parametrize("type", ["f32", "f64"])
def test_nan_and_negative_zero_go_through(instantiate: Any, store: Any, type: str) -> None:
    identity = instantiate(IDENTITY)[type]
    assert math.isnan(identity(store, math.nan))
    assert math.copysign(1, identity(store, -0.0)) == -1


@pytest.mark.parametrize(
    ("type", "value"),
    [("i32", 1.0), ("i32", "1"), ("i32", None), ("i64", 1.5), ("f32", 1), ("f64", 2), ("f64", "x"), ("i32", [])],
)
def test_arguments_of_a_wrong_kind(instantiate: Any, store: Any, type: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"don't know how to convert .* to {type}"):
        instantiate(IDENTITY)[type](store, value)


def test_arguments_as_val(api: Any, instantiate: Any, store: Any) -> None:
    exports = instantiate(IDENTITY)
    assert exports["i32"](store, api.Val.i32(4)) == 4
    assert exports["f64"](store, api.Val.f64(4.5)) == 4.5
    with pytest.raises(TypeError, match="wrong type of `Val` provided"):
        exports["i32"](store, api.Val.i64(4))


@pytest.mark.parametrize(("arguments", "amount"), [((), "few"), ((1, 2), "many"), ((1, 2, 3), "many")])
def test_a_wrong_number_of_arguments(
    api: Any, instantiate: Any, store: Any, arguments: tuple[int, ...], amount: str
) -> None:
    with pytest.raises(
        api.WasmtimeError, match=f"too {amount} parameters provided: given {len(arguments)}, expected 1"
    ):
        instantiate(IDENTITY)["i32"](store, *arguments)


@pytest.mark.parametrize(
    ("results", "value"),
    [("", None), ("i32", 1), ("i32 i64", [1, 2]), ("i32 i64 f32 f64", [1, 2, 3.0, 4.0])],
)
def test_results_by_number(instantiate: Any, store: Any, results: str, value: Any) -> None:
    constants = " ".join(f"({type}.const {number})" for number, type in enumerate(results.split(), 1))
    found = instantiate(f'(module (func (export "f") (result {results}) {constants}))')["f"](store)
    assert found == value and type(found) is type(value)


def test_twenty_results(instantiate: Any, store: Any) -> None:
    types, constants = "i64 " * 20, " ".join(f"(i64.const {n})" for n in range(20))
    assert instantiate(f'(module (func (export "f") (result {types}) {constants}))')["f"](store) == list(range(20))


def test_many_parameters(instantiate: Any, store: Any) -> None:
    sum_ = "(local.get 0)"
    for n in range(1, 30):
        sum_ = f"(i64.add {sum_} (local.get {n}))"
    function = instantiate(f'(module (func (export "f") (param {"i64 " * 30}) (result i64) {sum_}))')["f"]
    assert function(store, *range(30)) == sum(range(30))


def test_the_type(instantiate: Any, store: Any) -> None:
    type = instantiate('(module (func (export "f") (param i32 externref) (result f64 funcref) unreachable))')["f"].type(
        store
    )
    assert ([str(t) for t in type.params[:1]], [str(t) for t in type.results]) == (["i32"], ["f64", "funcref"])


# ---- host functions ----


def test_a_host_function_called_from_python(host: Any, store: Any) -> None:
    assert host("i32 i32 -> i32", lambda a, b: a - b)(store, 10, 3) == 7
    assert host("->", lambda: None)(store) is None
    assert host("f64 -> f64 f64", lambda x: (x, -x))(store, 1.5) == [1.5, -1.5]


def test_the_arguments_of_a_host_function(instantiate: Any, host: Any, store: Any) -> None:
    seen: list[Any] = []
    instantiate(
        """(module (import "" "f" (func $f (param i32 i64 f32 f64)))
             (func (export "go") (call $f (i32.const -1) (i64.const 4294967296) (f32.const 0.5) (f64.const 0.1))))""",
        host("i32 i64 f32 f64 ->", lambda *arguments: seen.extend(arguments)),
    )["go"](store)
    assert seen == [-1, 2**32, 0.5, 0.1] and [type(value) for value in seen] == [int, int, float, float]


CALL_I32 = '(module (import "" "f" (func $f (result i32))) (func (export "go") (result i32) (call $f)))'


@pytest.mark.parametrize(("returned", "seen"), [(7, 7), (2**31, -(2**31)), (-1, -1), (True, 1)])
def test_what_a_host_function_returns(instantiate: Any, host: Any, store: Any, returned: Any, seen: int) -> None:
    assert instantiate(CALL_I32, host("-> i32", lambda: returned))["go"](store) == seen


@pytest.mark.parametrize("returned", [None, "x", 1.0, [1], (1,)])
def test_a_host_function_returns_a_wrong_kind(instantiate: Any, host: Any, store: Any, returned: Any) -> None:
    with pytest.raises(TypeError, match="don't know how to convert"):
        instantiate(CALL_I32, host("-> i32", lambda: returned))["go"](store)


def test_a_host_function_returns_a_val(api: Any, instantiate: Any, host: Any, store: Any) -> None:
    assert instantiate(CALL_I32, host("-> i32", lambda: api.Val.i32(12)))["go"](store) == 12


def test_a_host_function_returns_something_unexpected(api: Any, instantiate: Any, host: Any, store: Any) -> None:
    go = instantiate('(module (import "" "f" (func $f)) (func (export "go") (call $f)))', host("->", lambda: 1))["go"]
    with pytest.raises(api.WasmtimeError, match="callback produced results when it shouldn't"):
        go(store)


CALL_TWO = '(module (import "" "f" (func $f (result i32 f32))) (func (export "go") (result i32 f32) (call $f)))'


@pytest.mark.parametrize("returned", [(1, 2.0), [1, 2.0]])
def test_several_results(instantiate: Any, host: Any, store: Any, returned: Any) -> None:
    assert instantiate(CALL_TWO, host("-> i32 f32", lambda: returned))["go"](store) == [1, 2.0]


@pytest.mark.parametrize("returned", [(), (1,), (1, 2.0, 3)])
def test_a_wrong_number_of_results(api: Any, instantiate: Any, host: Any, store: Any, returned: Any) -> None:
    with pytest.raises(api.WasmtimeError, match="callback produced wrong number of results"):
        instantiate(CALL_TWO, host("-> i32 f32", lambda: returned))["go"](store)


@pytest.mark.parametrize("returned", [(1.0, 2.0), (1, 2), (None, None)])
def test_several_results_of_wrong_kinds(instantiate: Any, host: Any, store: Any, returned: Any) -> None:
    with pytest.raises(TypeError, match="don't know how to convert"):
        instantiate(CALL_TWO, host("-> i32 f32", lambda: returned))["go"](store)


def test_one_thing_for_several_results(instantiate: Any, host: Any, store: Any) -> None:
    with pytest.raises(TypeError):
        instantiate(CALL_TWO, host("-> i32 f32", lambda: 5))["go"](store)


@pytest.mark.parametrize("error", [ValueError, KeyError, OSError, KeyboardInterrupt, SystemExit])
def test_exceptions_pass_through(instantiate: Any, host: Any, store: Any, error: type[BaseException]) -> None:
    raised = error("from the host")

    def fail() -> int:
        raise raised

    with pytest.raises(error) as caught:
        instantiate(CALL_I32, host("-> i32", fail))["go"](store)
    assert caught.value is raised


def test_exceptions_pass_through_nested_calls(instantiate: Any, host: Any, store: Any) -> None:
    inner = instantiate(CALL_I32, host("-> i32", lambda: 1 // 0))["go"]
    outer = instantiate(CALL_I32, host("-> i32", lambda: inner(store)))["go"]
    with pytest.raises(ZeroDivisionError):
        outer(store)


def test_the_host_can_catch_what_comes_from_inside(instantiate: Any, host: Any, store: Any) -> None:
    inner = instantiate(CALL_I32, host("-> i32", lambda: 1 // 0))["go"]

    def careful() -> int:
        try:
            return int(inner(store))
        except ZeroDivisionError:
            return -5

    assert instantiate(CALL_I32, host("-> i32", careful))["go"](store) == -5


def test_a_store_works_on_after_an_exception(instantiate: Any, host: Any, store: Any) -> None:
    answers: list[Callable[[], int]] = [lambda: 1 // 0, lambda: 8]
    go = instantiate(CALL_I32, host("-> i32", lambda: answers.pop(0)()))["go"]
    with pytest.raises(ZeroDivisionError):
        go(store)
    assert go(store) == 8


def test_a_host_function_that_traps(api: Any, instantiate: Any, host: Any, store: Any) -> None:
    def fail() -> int:
        raise api.Trap("told to")

    with pytest.raises(api.Trap, match="told to"):
        instantiate(CALL_I32, host("-> i32", fail))["go"](store)


def test_recursion_through_the_host(instantiate: Any, host: Any, store: Any) -> None:
    functions: dict[str, Any] = {}
    text = """(module (import "" "f" (func $f (param i32) (result i32)))
        (func (export "go") (param i32) (result i32)
          (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
            (else (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1))))))))"""
    functions["go"] = instantiate(text, host("i32 -> i32", lambda n: functions["go"](store, n)))["go"]
    assert functions["go"](store, 50) == 50


@pytest.mark.parametrize("wrong", ["i32", None, 1])
def test_a_function_needs_a_type(api: Any, store: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a FuncType"):
        api.Func(store, wrong, lambda: None)


@pytest.mark.parametrize("wrong", ["store", None, 1])
def test_a_function_needs_a_store(api: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a Store"):
        api.Func(wrong, func_type(api, "->"), lambda: None)


# ---- Caller ----


def call_with_caller(api: Any, store: Any, function: Callable[..., Any]) -> None:
    text = """(module (import "" "f" (func $f)) (memory (export "memory") 1) (data (i32.const 8) "data")
        (global (export "g") (mut i32) (i32.const 3)) (func (export "two") (result i32) i32.const 2)
        (func (export "go") (call $f)))"""
    host = api.Func(store, func_type(api, "->"), function, access_caller=True)
    api.Instance(store, api.Module(store.engine, text), [host]).exports(store)["go"](store)


def test_a_caller_finds_exports(api: Any, store: Any) -> None:
    def check(caller: Any) -> None:
        assert isinstance(caller, api.Caller)
        assert caller["memory"].read(caller, 8, 12) == b"data"
        assert caller.get("memory").size(caller) == 1
        assert caller.get("nothing") is None
        with pytest.raises(KeyError):
            caller["nothing"]
        assert isinstance(caller.get("two"), api.Func)

    call_with_caller(api, store, check)


def test_a_caller_is_a_store(api: Any, store: Any) -> None:
    def check(caller: Any) -> None:
        assert caller["two"](caller) == 2
        caller["g"].set_value(caller, 5)
        assert caller["g"].value(store) == 5
        caller["memory"].write(caller, b"new", 0)
        assert caller["memory"].grow(caller, 1) == 1

    call_with_caller(api, store, check)


def test_a_caller_after_the_call(api: Any, store: Any) -> None:
    kept: list[Any] = []
    call_with_caller(api, store, kept.append)
    (caller,) = kept
    assert caller.get("memory") is None
    with pytest.raises(KeyError):
        caller["memory"]
    with pytest.raises(ValueError, match="caller is no longer valid"):
        api.Memory(store, api.MemoryType(api.Limits(1, None))).size(caller)


def test_a_caller_that_python_calls(api: Any, store: Any) -> None:
    kept: list[Any] = []
    api.Func(store, func_type(api, "->"), lambda caller: kept.append(caller.get("memory")), access_caller=True)(store)
    assert kept == [None]


def test_a_caller_needs_a_name(api: Any, store: Any) -> None:
    def check(caller: Any) -> None:
        with pytest.raises((TypeError, AttributeError)):
            caller.get(1)

    call_with_caller(api, store, check)
