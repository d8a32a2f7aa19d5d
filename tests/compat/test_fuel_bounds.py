"""Where fuel runs out: with any amount, code ends as with the wasmtime package, and what is left is the same.

Both run each module here, so these tests belong to no `api`. After a trap in mid-function what is left may differ:
wasmjit has charged for what ran, wasmtime for what ran before the function's last call.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

wasmtime = pytest.importorskip("wasmtime")
import wasmjit  # noqa: E402

HEAD = f"""(module (import "" "host" (func $host)) (memory 4 2000) (table $t 3000 9000 funcref)
  (data $d "{"d" * 3000}") (elem $e func {"$nothing " * 3000})
  (func $nothing) (func (export "first_byte") (result i32) (i32.load8_u (i32.const 0)))
  (func $recurse (param i32) (if (local.get 0) (then (call $recurse (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "f") %s))"""

BULK = {
    "memory.fill": "(memory.fill (i32.const 0) (i32.const 7) (i32.const {n}))",
    "memory.copy": "(memory.copy (i32.const 0) (i32.const 9000) (i32.const {n}))",
    "memory.copy backwards": "(memory.copy (i32.const 9) (i32.const 1) (i32.const {n}))",
    "memory.init": "(memory.init $d (i32.const 0) (i32.const 0) (i32.const {n}))",
    "memory.grow": "(drop (memory.grow (i32.const {n})))",
    "table.fill": "(table.fill $t (i32.const 0) (ref.null func) (i32.const {n}))",
    "table.copy": "(table.copy $t $t (i32.const 0) (i32.const 1) (i32.const {n}))",
    "table.init": "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const {n}))",
    "table.grow": "(drop (table.grow $t (ref.null func) (i32.const {n})))",
    "out of bounds": "(memory.fill (i32.const 262143) (i32.const 7) (i32.const {n}))",
}
OTHERS = {
    "nothing": "",
    "straight code": "(drop (i32.add (i32.const 1) (i32.const 2)))" * 20,
    "calls": "(call $nothing)" * 5,
    "host calls": "(call $host)" * 5,
    "a loop": """(local i32)
      (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 9))))""",
    "recursion": "(call $recurse (i32.const 9))",
    "a trap": "(call $nothing) (unreachable)",
}
TIERS = [("optimized", True), ("baseline", True), ("auto", True), ("optimized", False)]


def engine_of(api: Any, tier: str = "", guarded: bool = True) -> Any:
    config = api.Config()
    config.consume_fuel = True
    if tier:
        config.tier = tier
    if not guarded:
        config.memory_reservation = config.memory_guard_size = 0
    return api.Engine(config)


def outcome(api: Any, module: Any, fuel: int) -> tuple[Any, int, int]:
    store = api.Store(module_engine(module))
    store.set_fuel(1000)  # instantiation takes some with wasmtime
    host = api.Func(store, api.FuncType([], []), lambda: None)
    exports = api.Instance(store, module, [host]).exports(store)
    store.set_fuel(fuel)
    try:
        ended = exports["f"](store)
    except api.Trap as trap:
        ended = trap.trap_code.name
    left = store.get_fuel()
    store.set_fuel(100)
    return ended, left, exports["first_byte"](store)


_engines: dict[int, Any] = {}


def module_engine(module: Any) -> Any:
    return _engines[id(module)]


def make(api: Any, engine: Any, text: str) -> Any:
    module = api.Module(engine, text)
    _engines[id(module)] = engine
    return module


@pytest.fixture(scope="module")
def reference_engine() -> Any:
    return engine_of(wasmtime)


@pytest.mark.part(2)
@pytest.mark.parametrize(("tier", "guarded"), TIERS, ids=["optimized", "baseline", "auto", "explicit checks"])
def test_bulk_instructions_look_before_the_first_byte(reference_engine: Any, tier: str, guarded: bool) -> None:
    """300 fills of 65 MB ran to their end on 100 units of fuel: only loops and calls looked at what was charged."""
    engine = engine_of(wasmjit, tier, guarded)
    amounts = random.Random(13)
    for name, instruction in BULK.items():
        n = 1000 if "grow" not in name else 1500
        text = HEAD % instruction.format(n=n)
        ours, reference = make(wasmjit, engine, text), make(wasmtime, reference_engine, text)
        spent = 100_000_000 - outcome(wasmtime, reference, 100_000_000)[1]
        for fuel in [1, 2, 5, n, spent - 1, spent, spent + 1, amounts.randrange(2 * n)]:
            expected, got = outcome(wasmtime, reference, fuel), outcome(wasmjit, ours, fuel)
            assert got[0] == expected[0], (name, fuel)
            if got[0] == "OUT_OF_FUEL":
                assert got[1:] == (0, 0), (name, fuel)
            elif got[0] is None:
                assert got[1:] == expected[1:], (name, fuel)


@pytest.mark.parametrize("tier", ["baseline", "auto"])
def test_small_and_other_code_stops_where_wasmtime_stops(reference_engine: Any, tier: str) -> None:
    engine = engine_of(wasmjit, tier)
    small = {f"{name} of {n}": text.format(n=n) for name, text in BULK.items() for n in (0, 128, 129)}
    for name, body in {**OTHERS, **small}.items():
        ours, reference = make(wasmjit, engine, HEAD % body), make(wasmtime, reference_engine, HEAD % body)
        for fuel in (0, 1, 2, 5, 40, 134, 1000):
            expected, got = outcome(wasmtime, reference, fuel), outcome(wasmjit, ours, fuel)
            assert got[0] == expected[0], (name, fuel)
            if got[0] is None:
                assert got[1] == expected[1], (name, fuel)


@pytest.mark.parametrize("amount", [2**63 - 1, 2**63, 2**64 - 1])
def test_no_amount_wraps(amount: int) -> None:
    """Charges are subtracted from a signed integer."""
    module = make(wasmjit, engine_of(wasmjit, "baseline"), HEAD % BULK["memory.fill"].format(n=1000))
    assert outcome(wasmjit, module, amount)[0] is None


def test_fuel_that_ends_inside_of_a_callback() -> None:
    engine = engine_of(wasmjit, "baseline")
    store = wasmjit.Store(engine, fuel=50)
    text = '(module (import "" "" (func)) (memory 1) (func (export "f") (call 0)) (func (export "fill") %s))'
    exports: Any = None
    host = wasmjit.Func(store, wasmjit.FuncType([], []), lambda: exports["fill"](store))
    module = wasmjit.Module(engine, text % BULK["memory.fill"].format(n=1000))
    exports = wasmjit.Instance(store, module, [host]).exports(store)
    with pytest.raises(wasmjit.Trap) as caught:
        exports["f"](store)
    assert caught.value.trap_code is wasmjit.TrapCode.OUT_OF_FUEL
    assert store.get_fuel() == 0


def test_a_start_function_runs_out_of_fuel_before_the_first_byte() -> None:
    engine = engine_of(wasmjit, "baseline")
    store = wasmjit.Store(engine, fuel=50)
    memory = wasmjit.Memory(store, wasmjit.MemoryType(wasmjit.Limits(1, 1)))
    text = f'(module (import "" "" (memory 1)) (func $s {BULK["memory.fill"].format(n=1000)}) (start $s))'
    with pytest.raises(wasmjit.Trap, match="all fuel consumed"):
        wasmjit.Instance(store, wasmjit.Module(engine, text), [memory])
    assert memory.read(store, 0, 1) == b"\0"


START_FUNCTIONS = {
    "empty": '(module (import "" "" (func)) (func $f) (start $f))',
    "code": "(module (func $f (local i32) (local.set 0 (i32.add (local.get 0) (i32.const 1)))) (start $f))",
    "calls": "(module (func $g nop i32.const 0 drop) (func $f (call $g) (call $g)) (start $f))",
    "host": '(module (import "" "" (func $h)) (start $h))',
    "calls the host": '(module (import "" "" (func $h)) (func $f (call $h)) (start $f))',
    "loop": "(module (func $f (loop i32.const 0 br_if 0)) (start $f))",
    "traps": "(module (func $f unreachable) (start $f))",
    "segments": """(module (memory 1) (data (i32.const 0) "d") (table 2 funcref) (elem (i32.const 0) $f)
      (func $f) (start $f))""",
    "none": '(module (memory 1) (data (i32.const 0) "d"))',
}


# Bodies that trap in mid-function; all but the first after a call, before which the store is told what is left.
TRAPS = {
    "at once": "unreachable",
    "unreachable": "(call $nothing) (drop (i32.add (i32.const 1) (i32.const 2))) (unreachable)",
    "a division": "(call $nothing) (drop (i32.div_s (i32.const 1) (i32.const 0)))",
    "a load": "(call $nothing) (drop (i32.load (i32.const -1)))",
    "a call through null": "(call $nothing) (call_indirect (i32.const 7))",
    "a call of another type": "(table.set $t (i32.const 0) (ref.func $recurse)) (call_indirect (i32.const 0))",
    "a fill": "(call $nothing) (memory.fill (i32.const -1) (i32.const 7) (i32.const 100))",
    "a table": "(call $nothing) (drop (table.get $t (i32.const -1)))",
    "a loop": """(local i32) (loop
      (local.set 0 (i32.add (local.get 0) (i32.const 1)))
      (if (i32.eq (local.get 0) (i32.const 5)) (then (drop (i32.load (i32.const -1)))))
      (if (i32.eq (local.get 0) (i32.const 3)) (then (call $nothing)))
      (br 0))""",
    "deep recursion": "(call $recurse (i32.const 1000000000))",
}


@pytest.mark.parametrize("name", TRAPS)
def test_what_is_left_after_a_trap_does_not_depend_on_the_tier(name: str) -> None:
    left = []
    for tier in ("optimized", "baseline", "auto"):
        text = (HEAD % TRAPS[name]).replace("(func $nothing)", "(elem declare func $recurse) (func $nothing)")
        module = make(wasmjit, engine_of(wasmjit, tier), text)
        left.append(outcome(wasmjit, module, 1_000_000_000))
    assert left[0][0] is not None
    if name == "deep recursion":  # the stacks are not of the same size
        left = [(ended, 0, 0) for ended, _, _ in left]
    assert left[0] == left[1] == left[2]


@pytest.mark.part(2)
@pytest.mark.parametrize("tier", ["optimized", "baseline", "auto"])
@pytest.mark.parametrize("name", START_FUNCTIONS)
def test_a_start_function_takes_what_it_takes_with_wasmtime(reference_engine: Any, tier: str, name: str) -> None:
    """Calling it costs 2."""

    def outcome(api: Any, engine: Any, fuel: int) -> tuple[str, int]:
        store = api.Store(engine)
        store.set_fuel(fuel)
        module = api.Module(engine, START_FUNCTIONS[name])
        host = api.Func(store, api.FuncType([], []), lambda: None)
        try:
            api.Instance(store, module, [host] * len(module.imports))
        except api.Trap as trap:
            return trap.trap_code.name, store.get_fuel()
        return "", store.get_fuel()

    engine = engine_of(wasmjit, tier)
    for fuel in range(14):
        assert outcome(wasmjit, engine, fuel) == outcome(wasmtime, reference_engine, fuel), fuel
