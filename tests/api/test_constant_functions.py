"""Constant expressions of several instructions, as programs meet them: values, what shows of them, what ends them."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.wasm_bytes import EXPORT, GLOBAL, module, name, section, signed, unsigned, vector
from wasmjit import (
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Module,
    Store,
    Trap,
    TrapCode,
    ValType,
    inspection,
    thresholds,
    wat2wasm,
)
from wasmjit.compile import limits

I32 = ValType.i32()
WAT = """(module (import "" "base" (global $base i32)) (import "" "f" (func)) (memory (export "m") 1)
  (table (export "t") 9 funcref) (func $own (export "own") (result i32) global.get $a)
  (global $a (export "a") i32 (i32.mul (i32.add (global.get $base) (i32.const 3)) (i32.const 5)))
  (global $b (export "b") i32 (global.get $a))
  (global $c (export "c") (mut i64) (i64.sub (i64.const 1) (i64.const 2)))
  (elem (offset (i32.sub (global.get $b) (global.get $a))) $own) (elem (i32.const 4) $own)
  (data (offset (i32.add (global.get $base) (i32.const 10))) "x"))"""


def imports(store: Store, base: int = 1) -> list[Any]:
    return [Global(store, GlobalType(I32, False), base), Func(store, FuncType([], []), lambda: None)]


def checked_values(store: Store, module: Module, base: int = 1) -> Instance:
    instance = Instance(store, module, imports(store, base))
    exports = instance.exports(store)
    assert [exports[n].value(store) for n in "abc"] == [5 * (base + 3), 5 * (base + 3), -1]
    assert exports["m"].read(store, base + 9, base + 12) == b"\0x\0"
    assert exports["t"].get(store, 0)(store) == exports["t"].get(store, 4)(store) == 5 * (base + 3)
    return instance


def config_of(kind: str) -> Config:
    config = Config(tier="auto" if kind == "auto" else "baseline" if kind == "baseline" else "optimized")
    if kind == "fuel":
        config.consume_fuel = True
    elif kind == "epochs":
        config.epoch_interruption = True
    elif kind == "checked":
        config.memory_guard_size = 0
    elif kind == "nan":
        config.nan_canonicalization = True
    return config


KINDS = ["optimized", "baseline", "auto", "fuel", "epochs", "checked", "nan"]


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(config_of(request.param))


def made_store(engine: Engine) -> Store:
    store = Store(engine)
    if engine._config.consume_fuel:
        store.set_fuel(1_000)
    if engine._config.epoch_interruption:
        store.set_epoch_deadline(1)
    return store


def test_values_in_every_tier_and_form(engine: Engine, tmp_path: Path) -> None:
    made = Module(engine, WAT)
    store = made_store(engine)
    for base in (0, 7, 1000):
        checked_values(store, made, base)
    serialized = made.serialize()
    path = tmp_path / "made.cwasm"
    path.write_bytes(serialized)
    for again in (
        Module.deserialize(engine, serialized),
        Module.deserialize_file(engine, os.fspath(path), verify=True),
    ):
        checked_values(made_store(engine), again)
        assert again.serialize() == serialized
    unpickled = pickle.loads(pickle.dumps(made))
    checked_values(made_store(unpickled.engine), unpickled)


def test_they_take_no_fuel() -> None:
    engine = Engine(config_of("fuel"))
    store = made_store(engine)
    store.set_fuel(0)
    Instance(store, Module(engine, WAT), imports(store))
    assert store.get_fuel() == 0


def test_nothing_shows_them(engine: Engine) -> None:
    made = Module(engine, WAT)
    assert [f.index for f in made.functions()] == [1]
    assert [f.index for f in made.tier_report()] == [1]
    assert [e.name for e in made.exports] == ["m", "t", "own", "a", "b", "c"]
    assert [f.index for f in inspection.functions(engine.precompile_module(wat2wasm(WAT)))] == [1]
    assert inspection.llvm_text(bytes(wat2wasm(WAT)), Config(), "ir").count("define ") == 1
    checked_values(made_store(engine), made)
    assert [f.index for f in made.tier_report()] == [1]


def test_no_code_is_made_of_them() -> None:
    """Their number takes nothing of compilers."""
    engine = Engine(config_of("optimized"))
    many = " ".join(f"(global i32 (i32.add (i32.const {i}) (i32.const 1)))" for i in range(500))
    assert Module(engine, f"(module (func) {many})").text == Module(engine, "(module (func))").text


def test_beside_functions_that_are_left_to_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "is_left", lambda *_, **__: True)
    monkeypatch.setattr(thresholds, "STENCILS", False)
    engine = Engine(config_of("optimized"))
    made = Module(engine, WAT)
    for each in (made, Module.deserialize(engine, made.serialize())):
        checked_values(Store(engine), each)
        assert [f.tier for f in each.tier_report()] == ["interpreted"]


def test_an_instance_made_below_wasm(engine: Engine) -> None:
    """The activations of the interpreter that are there stay as they are."""
    inner = Module(engine, WAT)
    store = made_store(engine)

    def host(value: int) -> int:
        checked_values(store, inner, value)
        return value

    outer = Module(
        engine,
        """(module (import "" "host" (func $host (param i32) (result i32)))
        (func (export "run") (param i32) (result i32) (local i64 i64 i32) (local.set 1 (i64.const -1))
          (i32.add (i32.add (call $host (local.get 0)) (i32.const 1)) (i32.wrap_i64 (local.get 1)))))""",
    )
    run = Instance(store, outer, [Func(store, FuncType([I32], [I32]), host)]).exports(store)["run"]
    assert [run(store, value) for value in (3, 4)] == [3, 4]


# ---- large ones ----


def with_globals(*expressions: bytes) -> bytes:
    entries = [b"\x7f\0" + each + b"\x0b" for each in expressions]
    exported = vector(name("g") + b"\3" + unsigned(len(entries) - 1))
    return module(section(GLOBAL, vector(*entries)), section(EXPORT, exported))


MANY = 12_000


def with_many(count: int) -> tuple[Engine, Module]:
    """A module with so many expressions, the last of which is 5 (count - 1)."""
    engine = Engine(config_of("optimized"))
    return engine, Module(engine, with_globals(*[b"\x41" + signed(k) + b"\x41\5\x6c" for k in range(count)]))


@pytest.fixture(scope="module")
def many() -> tuple[Engine, Module]:
    return with_many(MANY)


def value_of(store: Store, made: Module) -> int:
    found: int = Instance(store, made, []).exports(store)["g"].value(store)
    return found


@pytest.mark.parametrize("count", [MANY, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_expressions(many: tuple[Engine, Module], count: int) -> None:
    engine, made = many if count == MANY else with_many(count)
    for each in (made, Module.deserialize(engine, made.serialize())):
        assert value_of(Store(engine), each) == 5 * (count - 1)


@pytest.mark.parametrize("count", [100_000, pytest.param(500_000, marks=pytest.mark.slow)])
def test_many_instructions_in_one(count: int) -> None:
    engine = Engine(config_of("optimized"))
    wasm = with_globals(b"\x41\1" + b"\x41\3\x6a" * count)
    assert value_of(Store(engine), Module(engine, wasm)) == 1 + 3 * count


def test_operands_take_no_stack() -> None:
    small = config_of("optimized")
    small.max_wasm_stack = 64 << 10
    engine = Engine(small)
    count = 200_000
    made = Module(engine, with_globals(b"\x41\1" * count + b"\x6a" * (count - 1)))
    assert value_of(Store(engine), made) == count


# ---- what ends them, and who else is there ----


def test_the_time_of_a_store(many: tuple[Engine, Module]) -> None:
    engine, made = many
    store = Store(engine)
    store.timeout = 0.0001
    with pytest.raises(Trap) as caught:
        Instance(store, made, [])
    assert caught.value.trap_code is TrapCode.INTERRUPT
    store.timeout = None
    assert value_of(store, made) == 5 * (MANY - 1)


def test_what_a_signal_handler_raises(many: tuple[Engine, Module]) -> None:
    engine, made = many

    class AlarmError(Exception):
        pass

    def alarm(*_: object) -> None:
        raise AlarmError

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        for delay in (0.001, 0.02, 0.05):
            store = Store(engine)
            with pytest.raises(AlarmError):
                signal.setitimer(signal.ITIMER_REAL, delay)
                deadline = time.monotonic() + 120
                while time.monotonic() < deadline:
                    Instance(store, made, [])
            assert value_of(store, made) == 5 * (MANY - 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_threads_make_their_first_instances_at_once() -> None:
    engine = Engine(config_of("optimized"))
    many = " ".join(f"(global i32 (i32.mul (i32.const {i}) (i32.const 3)))" for i in range(2_000))
    made = Module(engine, f'(module {many} (global (export "g") i32 (i32.add (global.get 1999) (i32.const 1))))')
    made._load()
    barrier, found = threading.Barrier(4), []

    def make() -> None:
        store = Store(engine)
        barrier.wait()
        found.append(value_of(store, made))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [5998] * 4


def test_after_a_fork() -> None:
    engine = Engine(config_of("optimized"))
    made = Module(engine, WAT)
    checked_values(Store(engine), made)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            checked_values(Store(engine), made)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_awaited_instances() -> None:
    engine = Engine(config_of("optimized"))
    store = Store(engine)

    async def make() -> int:
        instance = await Instance.new_async(store, Module(engine, WAT), imports(store))
        value: int = instance.exports(store)["a"].value(store)
        return value

    assert asyncio.run(make()) == 20


def test_references_to_objects_of_python_pass_through() -> None:
    """Beside what is computed, globals and tables get references that only globals hold."""
    engine = Engine(config_of("optimized"))
    store = Store(engine)
    made = Module(
        engine,
        """(module (import "" "e" (global $e externref)) (global $i i32 (i32.add (i32.const 1) (i32.const 1)))
        (global $f (export "f") externref (global.get $e)) (global (export "g") externref (global.get $f))
        (table (export "t") 3 externref) (elem (offset (i32.sub (global.get $i) (i32.const 1))) externref
          (item global.get $f)))""",
    )
    imported = Global(store, GlobalType(ValType.externref(), False), ["object"])
    exports = Instance(store, made, [imported]).exports(store)
    store.gc()
    assert exports["g"].value(store) is exports["f"].value(store) is exports["t"].get(store, 1)
    assert exports["g"].value(store) == ["object"]
