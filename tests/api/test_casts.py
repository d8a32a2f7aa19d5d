"""Tests, casts and branches on casts of references to functions, and to something of the host."""

from __future__ import annotations

from typing import Any

import pytest

from wasmjit import Config, Engine, Instance, Module, Store, Trap, TrapCode, UnsupportedError

CONFIGS: dict[str, dict[str, Any]] = {
    "optimized": {"tier": "optimized"},
    "unoptimized": {"tier": "optimized", "opt_level": "none"},
    "explicit": {"tier": "optimized", "signals_based_traps": False},
    "fuel": {"tier": "optimized", "consume_fuel": True},
    "baseline": {"tier": "baseline"},
    "auto": {"tier": "auto"},
}
# Each is above those behind it in a string: $b and $d are below $a, $c below $b; the others stand by themselves.
ABOVE = {"a": "a", "b": "ab", "c": "abc", "d": "ad", "e": "e", "x": "", "null": ""}
TYPES = """(type $a (sub (func (result i32)))) (type $b (sub $a (func (result i32))))
  (type $c (sub final $b (func (result i32)))) (type $d (sub final $a (func (result i32))))
  (type $e (func (result i32))) (type $x (func (param i64)))"""
FUNCTIONS = "".join([f"(func $f{name} (type ${name}) (i32.const 7))" for name in "abcde"])
FUNCTIONS += "(func $fx (type $x)) (table 7 funcref) (elem (i32.const 0) $fa $fb $fc $fd $fe $fx)"


def of_target(heap: str, null: str, suffix: str) -> str:
    """What there is for a type: 1 where a reference fits, 0 where it does not, or a trap."""
    target, operand = f"(ref {null}{heap})", "(table.get (local.get 0))"
    failing = "(ref func)" if null else "funcref"
    head = "(param i32) (result i32)"
    return f"""
      (func (export "test{suffix}") {head} (ref.test {target} {operand}))
      (func (export "cast{suffix}") {head} (drop (ref.cast {target} {operand})) (i32.const 1))
      (func (export "branch{suffix}") {head} (block (result {target})
          (drop (br_on_cast 0 funcref {target} {operand})) (return (i32.const 0)))
        drop (i32.const 1))
      (func (export "branch_on_failure{suffix}") {head} (block (result {failing})
          (drop (br_on_cast_fail 0 funcref {target} {operand})) (return (i32.const 1)))
        drop (i32.const 0))"""


TARGETS = [(f"${name}", null, f" {name} {null}") for name in "abce" for null in ("", "null ")]
TARGETS += [("func", null, f" func {null}") for null in ("", "null ")]
MODULE = f"(module {TYPES} {FUNCTIONS} {''.join([of_target(*row) for row in TARGETS])})"


def begun(config: str, text: str, *, through_artifact: bool = False) -> tuple[Store, Any]:
    store = Store(Engine(Config(**CONFIGS[config])))
    if config == "fuel":
        store.set_fuel(1_000_000)
    made = Module(store.engine, text)
    if through_artifact:
        made = Module.deserialize(store.engine, made.serialize())
    return store, Instance(store, made, []).exports(store)


@pytest.mark.parametrize("config", CONFIGS)
def test_what_fits(config: str) -> None:
    store, exports = begun(config, MODULE, through_artifact=config == "explicit")
    for index, (found, above) in enumerate(ABOVE.items()):
        for heap, null, suffix in TARGETS:
            expected = bool(null) if found == "null" else heap == "func" or heap[1:] in above
            what = (found, suffix)
            assert exports[f"test{suffix}"](store, index) == expected, what
            assert exports[f"branch{suffix}"](store, index) == expected, what
            assert exports[f"branch_on_failure{suffix}"](store, index) == expected, what
            if expected:
                assert exports[f"cast{suffix}"](store, index) == 1, what
            else:
                with pytest.raises(Trap, match="cast failure") as raised:
                    exports[f"cast{suffix}"](store, index)
                assert raised.value.trap_code is TrapCode.CAST_FAILURE


@pytest.mark.parametrize("config", CONFIGS)
def test_values_stay_where_they_are(config: str) -> None:
    """Below the reference, and the reference over a branch."""
    text = f"""(module {TYPES} {FUNCTIONS}
      (func (export "f") (param i32) (result i32)
        (block $other (result i32 funcref)
          (i32.const 5) (br_on_cast_fail $other funcref (ref $b) (table.get (local.get 0))) call_ref $b i32.add return)
        drop (i32.const 100) i32.mul)
      (func (export "g") (param i32) (result i32)
        (block $it (result i32 (ref $b))
          (i32.const 5) (br_on_cast $it funcref (ref $b) (table.get (local.get 0))) drop (i32.const 100) i32.mul return)
        call_ref $b i32.add))"""
    store, exports = begun(config, text)
    for index, name in enumerate(ABOVE):
        for function in "fg":
            assert exports[function](store, index) == (12 if "b" in ABOVE[name] else 500)


def test_a_trap_before_a_cast_comes_first() -> None:
    """And what was written before the cast is."""
    text = f"""(module {TYPES} {FUNCTIONS} (memory (export "memory") 1)
      (func (export "f") (param i32) (result i32) (local i32)
        (local.set 1 (i32.load (local.get 0))) (i32.store (i32.const 8) (i32.const 3))
        (drop (ref.cast (ref $c) (ref.func $fa))) (i32.store (i32.const 8) (i32.const 4)) (local.get 1)))"""
    for config in CONFIGS:
        store, exports = begun(config, text)
        for address, code in ((-4, TrapCode.MEMORY_OUT_OF_BOUNDS), (0, TrapCode.CAST_FAILURE)):
            with pytest.raises(Trap) as raised:
                exports["f"](store, address)
            assert raised.value.trap_code is code
            assert exports["memory"].read(store, 8, 9)[0] == (3 if code is TrapCode.CAST_FAILURE else 0)


@pytest.mark.parametrize("config", ["auto", "unoptimized"])
def test_externrefs(config: str) -> None:
    text = """(module (func (export "f") (param externref) (result i32 i32)
        (ref.test (ref extern) (local.get 0)) (ref.test (ref null extern) (local.get 0)))
      (func (export "g") (param externref) (result externref) (ref.cast (ref extern) (local.get 0)))
      (func (export "dead") (result i32) (return (i32.const 1)) (ref.test (ref extern) (unreachable))))"""
    store, exports = begun(config, text)
    assert exports["f"](store, "some") == [1, 1] and exports["f"](store, None) == [0, 1]
    assert exports["g"](store, "some") == "some" and exports["dead"](store) == 1
    with pytest.raises(Trap, match="cast failure"):
        exports["g"](store, None)


@pytest.mark.parametrize("config", CONFIGS)
def test_bottom_types(config: str) -> None:
    text = """(module (func (export "func") (param funcref) (result i32 i32)
        (ref.test (ref nofunc) (local.get 0)) (ref.test (ref null nofunc) (local.get 0)))
      (func (export "extern") (param externref) (result externref)
        (ref.cast (ref null noextern) (local.get 0)))
      (func (export "dead") (result i32) (return (i32.const 1)) (ref.cast (ref i31) (unreachable)) drop))"""
    store, exports = begun(config, text)
    assert exports["func"](store, exports["dead"]) == [0, 0] and exports["func"](store, None) == [0, 1]
    assert exports["extern"](store, None) is None
    with pytest.raises(Trap, match="cast failure"):
        exports["extern"](store, "some")


def test_casts_are_part_of_a_feature() -> None:
    with pytest.raises(UnsupportedError, match="gc is off"):
        Module(Engine(Config(wasm_gc=False)), "(module (func (drop (ref.test (ref func) (ref.null func)))))")
