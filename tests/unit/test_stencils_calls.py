"""What code from stencils passes to what it calls, and where its own locals begin."""

from __future__ import annotations

import itertools

import pytest

from tests.hazards.test_stencils import exports_of
from wasmjit import thresholds

TYPES = ["i32", "f64", "i32", "i64", "f32", "i32", "i64", "f64", "i32", "i64", "f64", "i32"]
SEEDS = range(6)


@pytest.fixture(autouse=True)
def stencils(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "STENCILS", True)


def digits(types: list[str]) -> str:
    """A function that gives its parameters as digits of a number."""
    sums = "(i64.const 0)"
    for number, kind in enumerate(types):
        value = f"(local.get {number})"
        value = {"i32": f"(i64.extend_i32_u {value})", "i64": value}.get(kind, f"(i64.trunc_{kind}_u {value})")
        sums = f"(i64.add (i64.mul {sums} (i64.const 16)) {value})"
    return f"(param {' '.join(types)}) (result i64) {sums}"


def callers(types: list[str]) -> tuple[str, dict[str, list[int]]]:
    """A module whose functions pass their own parameters on in other orders; and the orders, by name."""
    of_type = {kind: [i for i, each in enumerate(types) if each == kind] for kind in types}
    texts = [f"(type $t (func (param {' '.join(types)}) (result i64)))"]
    texts.append("(table 1 funcref) (elem (i32.const 0) $callee)")
    texts.append(f"(func $callee (type $t) {digits(types)})")
    orders = {}
    for turn, kind in itertools.product(range(3), ("direct", "indirect", "in a loop")):
        order = []
        for number, each in enumerate(types):
            same = of_type[each]
            order.append(same[(same.index(number) + turn) % len(same)])
        arguments = " ".join(f"(local.get {number})" for number in order)
        call = f"(call $callee {arguments})"
        if kind == "indirect":
            call = f"(call_indirect (type $t) {arguments} (i32.const 0))"
        elif kind == "in a loop":
            again = "(br_if $l (i32.eqz (local.tee $k (i32.const 1))))"
            call = f"(loop $l (local.set $n {call}) {again}) (local.get $n)"
        head = f'(export "{turn} {kind}") (param {" ".join(types)}) (result i64) (local $n i64) (local $k i32)'
        texts.append(f"(func {head} {call})")
        orders[f"{turn} {kind}"] = order
    return "(module " + "\n".join(texts) + ")", orders


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("types", [TYPES, ["i32"] * 6, ["i64", "i32"] * 4, ["f64"] * 10, ["i32", "f32"]], ids="-".join)
def test_locals_are_passed_on_in_any_order(seed: int, types: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    text, orders = callers(types)
    store, exports = exports_of(text)
    values = [number + 1 for number in range(len(types))]
    given = [float(value) if kind[0] == "f" else value for value, kind in zip(values, types, strict=True)]
    for name, order in orders.items():
        expected = 0
        for number in order:
            expected = 16 * expected + values[number]
        assert exports[name](store, *given) == expected, name


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [1, 2, 3, 31, 32, 33, 40])
def test_locals_begin_as_zeros(seed: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is on the stack."""
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    kinds = ["i64", "f64", "i32"]
    numbered = [(number, kinds[number % 3]) for number in range(count)]
    as_i64 = {"i64": "{}", "f64": "(i64.reinterpret_f64 {})", "i32": "(i64.extend_i32_u {})"}
    either = "(i64.const 0)"
    for number, kind in numbered:
        either = f"(i64.or {either} {as_i64[kind].format(f'(local.get {number})')})"
    written = "".join(f"(local.set {number} ({kind}.const -1))" for number, kind in numbered)
    locals_ = " ".join(kind for _, kind in numbered)
    store, exports = exports_of(
        f"""(module (func $f (result i64) (local {locals_}) {either} {written} {either} drop)
          (func (export "f") (result i64) (i64.or (call $f) (call $f))))"""
    )
    assert exports["f"](store) == 0
