"""Functions for which LLVM would take memory out of proportion: the interpreter runs them, whatever the tier.

A body with many divisions, never reached, is what makes a function one of these.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from tests.fuzz import shapes
from wasmjit import (
    ArtifactError,
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Module,
    Store,
    Trap,
    TrapCode,
    ValType,
    thresholds,
)
from wasmjit.artifact import Artifact
from wasmjit.compile import limits, unit
from wasmjit.compile.pipeline import compile_module
from wasmjit.tiers import lazy
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm

TIERS = ("optimized", "baseline", "auto")
# A block that is never entered; it needs locals $p and $q, of type i32.
MUCH = "(if (i32.const 0) (then MANY_DIVISIONS))"
_DIVISION = "(local.set $q (i32.div_s (local.get $p) (local.get $q)))"
_MANY, _FEWER = 6000, 700
_SMALLER_LIMIT_BYTES = 4 << 20


def much(wat: str, count: int = _FEWER) -> bytes:
    """The module of a text with `MUCH` in it, for which `smaller_limit` is needed but with `_MANY`."""
    return bytes(wat2wasm(wat.replace("MANY_DIVISIONS", _DIVISION * count)))


@pytest.fixture
def smaller_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the tests quicker: where this process makes the text, which the optimiser's does in tier auto."""
    monkeypatch.setattr(limits, "MOST_MEMORY_BYTES", _SMALLER_LIMIT_BYTES)


# Of the functions $left... there is no code; they and the others call each other in all ways that there are.
WAT = f"""(module
  (type $unary (func (param i32) (result i32)))
  (import "host" "add" (func $add (param i32 i32) (result i32)))
  (memory (export "memory") 1 2)
  (table (export "table") 4 funcref)
  (global $count (mut i32) (i32.const 0))
  (elem (i32.const 0) $left $compiled)
  (func $compiled (type $unary) (i32.add (call $left (local.get 0)) (i32.const 1)))
  (func $left (export "left") (param $p i32) (result i32) (local $q i32)
    {MUCH}
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store (local.get $p) (i32.const 258))
    (i32.add (call $add (local.get $p) (i32.const 3)) (i32.load8_u (local.get $p))))
  (func (export "through") (param i32) (result i32) (call $compiled (local.get 0)))
  (func (export "indirectly") (param i32 i32) (result i32)
    (call_indirect (type $unary) (local.get 0) (local.get 1)))
  (func $left_wide (export "wide") (param $p i32) (param i64 f32 f64 externref i64 i64 i64 i64 i64)
      (result f64 i64 f32 i32 externref) (local $q i32)
    {MUCH}
    local.get 3 (i64.add (local.get 1) (local.get 9)) local.get 2 (call $left (local.get $p)) local.get 4)
  (func (export "count") (result i32) (global.get $count))
  (func $left_loop (export "endless") (param $p i32) (local $q i32) {MUCH} (loop (br 0)))
  (func $left_deep (export "deep") (param $p i32) (result i32) (local $q i32)
    {MUCH} (i32.add (call $deeper (local.get $p)) (i32.const 1)))
  (func $deeper (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (call $left_deep (i32.sub (local.get 0) (i32.const 1))))
      (else (i32.const 0)))))"""
LEFT = ("left", "left_wide", "left_loop", "left_deep")


@pytest.fixture(scope="module")
def wasm() -> bytes:
    return much(WAT)


@pytest.fixture(scope="module")
def left_module(wasm: bytes) -> Module:
    """Of tier "optimized", for tests that do not change it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(limits, "MOST_MEMORY_BYTES", _SMALLER_LIMIT_BYTES)
        return Module(Engine(Config(tier="optimized", cache=False)), wasm)


def instance(store: Store, module: Module) -> Any:
    add = Func(store, FuncType([ValType.i32()] * 2, [ValType.i32()]), lambda a, b: a + b)
    return Instance(store, module, [add]).exports(store)


def check(module: Module) -> None:
    """What the module does, in its own Store."""
    store = Store(module.engine)
    exports = instance(store, module)
    assert exports["left"](store, 10) == 10 + 3 + 2
    assert exports["through"](store, 10) == 16
    assert exports["indirectly"](store, 10, 0) == 15 and exports["indirectly"](store, 10, 1) == 16
    assert exports["table"].get(store, 0)(store, 20) == 25
    mark = object()
    wide = exports["wide"](store, 5, 7, 0.5, 0.25, mark, 0, 0, 0, 0, 1 << 40)
    assert wide == [0.25, 7 + (1 << 40), 0.5, 10, mark]
    assert exports["count"](store) == 6
    assert exports["memory"].read(store, 20, 22) == b"\2\1"
    assert exports["deep"](store, 5000) == 5001
    with pytest.raises(Trap) as caught:
        exports["through"](store, 65536)
    assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS
    assert [frame.func_name for frame in caught.value.frames] == ["left", "compiled", None]
    with pytest.raises(Trap) as caught:
        exports["deep"](store, 100_000_000)
    assert caught.value.trap_code is TrapCode.STACK_OVERFLOW
    exports["memory"].grow(store, 1)
    assert exports["left"](store, 65536) == 65536 + 5
    assert exports["count"](store) == 8


def left_names(module: Module) -> set[str | None]:
    """The names of functions that have no code."""
    names = module._decoded.names.functions
    return {names[function] for function in module._artifact.interpreted}


@pytest.mark.parametrize(
    "tier", ["optimized", *(pytest.param(tier, marks=pytest.mark.slow) for tier in ("baseline", "auto"))]
)
def test_they_do_what_compiled_ones_do(tier: str) -> None:
    module = Module(Engine(Config(tier=tier, cache=False)), much(WAT, _MANY))
    check(module)
    assert module.wait_optimized(60)
    assert left_names(module) == set(LEFT)
    check(module)


@pytest.mark.usefixtures("smaller_limit")
def test_in_artifacts_too(wasm: bytes, tmp_path: Path) -> None:
    engine = Engine(Config(tier="optimized", cache=False))
    module = Module(engine, wasm)
    encoded = module.serialize()
    assert Module(engine, wasm).serialize() == encoded
    path = tmp_path / "left.cwasm"
    path.write_bytes(encoded)
    for again in (
        Module.deserialize(engine, encoded),
        Module.deserialize_file(engine, path, verify=True),
        pickle.loads(pickle.dumps(module)),
    ):
        assert left_names(again) == set(LEFT)
        check(again)
        assert again.serialize() == encoded


@pytest.mark.usefixtures("smaller_limit")
@pytest.mark.parametrize("tier", ["optimized", "baseline"])
def test_calls_of_both_kinds_are_as_deep_as_those_of_one(tier: str, wasm: bytes) -> None:
    """Between the two kinds are native frames. With wasmtime, it is 16,000."""
    engine = Engine(Config(tier=tier, cache=False))
    module = Module(engine, wasm)
    for each in (module, Module.deserialize(engine, module.serialize())):
        store = Store(engine)
        assert instance(store, each)["deep"](store, 30_000) == 30_001


@pytest.mark.usefixtures("smaller_limit")
def test_where_native_frames_get_short_no_code_is_made_for_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls in there would take more of them: how deep they get would depend on what ran before."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(thresholds, "STENCILS", False)  # whose frames are not as large as they would have to be
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 1)
    monkeypatch.setattr(thresholds, "INTERPRETER_IS_PATIENT", False)
    monkeypatch.setattr(lazy.LazyCode, "hot", lambda self, *given: asked.append(given) or 0)
    wat = f"""(module
      (func $left (export "f") (param $p i32) (result i32) (local $q i32) {MUCH}
        (if (result i32) (local.get $p)
          (then (i32.add (call $compiled (i32.sub (local.get $p) (i32.const 1))) (i32.const 1)))
          (else (i32.const 0))))
      (func $compiled (param i32) (result i32) (local i32)
        (loop (br_if 0 (i32.ne (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 3))))
        (call $left (local.get 0))))"""
    module = Module(Engine(Config(tier="optimized", cache=False)), much(wat))
    store = Store(module.engine)
    f = Instance(store, module, []).exports(store)["f"]
    assert f(store, 30_000) == 30_000
    assert {position for position, *_ in asked} == {0, 1}, "the compiled function was not interpreted"
    assert not [each for each in asked if each[1]]


_FORKS_WHILE_A_THREAD_LOADS = """
import importlib.machinery, os, signal, sys, threading, time
from wasmjit import Config, Engine, Instance, Module, Store

class Slowly:
    def find_spec(self, name, path=None, target=None):
        if name != "wasmjit.wasm.decode":
            return None
        def slowly(module):
            begun.set()
            time.sleep(0.5)
            execute(module)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute, spec.loader.exec_module = spec.loader.exec_module, slowly
        return spec

def load():
    Instance(Store(engine), Module.deserialize_file(engine, sys.argv[1]), [])

begun = threading.Event()
sys.meta_path.insert(0, Slowly())
engine = Engine(Config(tier="optimized", cache=False))
thread = threading.Thread(target=load)
thread.start()
assert begun.wait(30)
child = os.fork()
if child == 0:
    signal.alarm(20)
    load()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
thread.join()
"""


@pytest.mark.usefixtures("smaller_limit")
def test_a_fork_waits_for_what_a_thread_imports_to_load_them(tmp_path: Path) -> None:
    """Else the child waits for ever for that thread."""
    wat = f'(module (func (export "f") (param $p i32) (local $q i32) {MUCH}))'
    path = tmp_path / "left.cwasm"
    path.write_bytes(Module(Engine(Config(tier="optimized", cache=False)), much(wat)).serialize())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKS_WHILE_A_THREAD_LOADS, path], capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()


def forged(module: Module, sections: dict[str, bytes] | None = None, **properties: Any) -> bytes:
    """The artifact of a module with other contents, and checksums for these."""
    artifact = Artifact.from_bytes(module.serialize())
    made = {**artifact._sections, **{name: memoryview(data) for name, data in (sections or {}).items()}}
    meta = {**json.loads(bytes(made["meta"])), **properties}
    made["meta"] = memoryview(json.dumps(meta).encode())
    artifact._sections, artifact._serialized = made, None
    return artifact._serialize()


@pytest.mark.parametrize("name", ["interpreted", "compiled_only"])
@pytest.mark.parametrize("value", [None, 5, {}, [[1]], [None], [1.0], [True], [-1], [0], [1 << 70]], ids=repr)
def test_forged_lists_of_functions_are_errors(name: str, value: Any, left_module: Module) -> None:
    with pytest.raises(ArtifactError, match=r"metadata is damaged \(lists of functions\)"):
        Module.deserialize(left_module.engine, forged(left_module, **{name: value}))


@pytest.mark.parametrize("other", [b"", b"\0asm\1\0\0\0", None], ids=["none", "other", "cut"])
def test_a_forged_binary_module_is_an_error_when_it_is_instantiated(
    other: bytes | None, wasm: bytes, left_module: Module
) -> None:
    """It is not validated again."""
    engine = left_module.engine
    again = Module.deserialize(engine, forged(left_module, {"wasm": wasm[:-1] if other is None else other}))
    store = Store(engine)
    with pytest.raises(ArtifactError, match="section wasm is not the module that was compiled"):
        instance(store, again)


def test_a_damaged_binary_module_in_a_file_is_an_error_when_it_is_instantiated(
    wasm: bytes, left_module: Module, tmp_path: Path
) -> None:
    engine = left_module.engine
    encoded = bytearray(left_module.serialize())
    encoded[encoded.index(wasm) + len(wasm) // 2] ^= 1
    path = tmp_path / "damaged.cwasm"
    path.write_bytes(encoded)
    with pytest.raises(ArtifactError, match="damaged"):
        Module.deserialize_file(engine, path, verify=True)
    module = Module.deserialize_file(engine, path)
    store = Store(engine)
    with pytest.raises(ArtifactError, match="section wasm has a wrong checksum"):
        instance(store, module)


@pytest.mark.parametrize("tier", ["optimized", "auto"])
def test_and_from_the_cache(tier: str, tmp_path: Path) -> None:
    wasm = much(WAT, _MANY)
    engine = Engine(Config(tier=tier, cache=str(tmp_path)))
    first = Module(engine, wasm)
    assert first.wait_optimized(60)
    second = Module(engine, wasm)
    tiers = {function.name: function.tier for function in second.tier_report()}
    assert {name for name, tier in tiers.items() if tier != "optimized"} == set(LEFT), "it was not in the cache"
    assert left_names(second) == set(LEFT)
    check(second)


@pytest.mark.usefixtures("smaller_limit")
@pytest.mark.parametrize("tier", TIERS)
def test_a_timeout_ends_them(tier: str, wasm: bytes) -> None:
    module = Module(Engine(Config(tier=tier, cache=False)), wasm)
    store = Store(module.engine, timeout=0.2)
    began = time.monotonic()
    with pytest.raises(Trap) as caught:
        instance(store, module)["endless"](store, 0)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    assert time.monotonic() - began < 20


@pytest.mark.usefixtures("smaller_limit")
@pytest.mark.parametrize(
    "options", [{"memory_guard_size": 0}, {"nan_canonicalization": True}], ids=lambda options: next(iter(options))
)
def test_options_make_no_difference(options: dict[str, Any]) -> None:
    wat = f"""(module (memory 1) (func $left (export "f") (param $p i32) (result i32) (local $q i32) {MUCH}
      (i32.store (local.get $p) (i32.reinterpret_f32 (f32.sqrt (f32.const -1))))
      (i32.load (local.get $p))))"""
    module = Module(Engine(Config(tier="optimized", cache=False, **options)), much(wat))
    assert left_names(module) == {"left"}
    store = Store(module.engine)
    function = Instance(store, module, []).exports(store)["f"]
    assert function(store, 16) & 0x7FFFFFFF == 0x7FC00000
    with pytest.raises(Trap) as caught:
        function(store, 65533)
    assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS


def test_they_count_fuel_and_look_at_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the compiled functions around them, and as the same function compiled."""
    wat = f"""(module (func $left (param $p i32) (result i32) (local $q i32) {MUCH} (local.get $p))
      (func (export "f") (param i32) (result i32) (i32.add (call $left (local.get 0)) (call $left (i32.const 1)))))"""
    spent = []
    for left, limit_bytes in (({"left"}, _SMALLER_LIMIT_BYTES), (set(), 1 << 30)):
        monkeypatch.setattr(limits, "MOST_MEMORY_BYTES", limit_bytes)
        config = Config(tier="optimized", cache=False, consume_fuel=True, epoch_interruption=True)
        module = Module(Engine(config), much(wat))
        assert left_names(module) == left
        store = Store(module.engine, fuel=10_000)
        store.set_epoch_deadline(1)
        assert Instance(store, module, []).exports(store)["f"](store, 16) == 17
        spent.append(10_000 - store.get_fuel())
        store.engine.increment_epoch()
        with pytest.raises(Trap) as caught:
            Instance(store, module, []).exports(store)["f"](store, 16)
        assert caught.value.trap_code is TrapCode.INTERRUPT
    assert spent[0] == spent[1] > 8


# It does run vectors.
VECTORS = f"""(module (memory 1) (func $left (export "f") (param $p i32) (result i32) (local $q i32) {MUCH}
  (i32x4.extract_lane 2 (i32x4.add (i32x4.splat (local.get $p)) (v128.const i32x4 1 2 3 4))))
  (func (export "g") (param i32) (result i32) (i32.const 7)))"""
VECTORS_OF_OTHERS = f"""(module (memory 1)
  (func $make (param i32) (result v128) (i32x4.splat (local.get 0)))
  (func $take (param v128) (result i32) (i32x4.extract_lane 0 (local.get 0)))
  (func $left (export "f") (param $p i32) (result i32) (local $q i32) {MUCH}
    (i32.add (call $take (call $make (local.get $p))) (i32.const 3)))
  (func (export "g") (param i32) (result i32) (i32.const 7)))"""


@pytest.mark.usefixtures("smaller_limit")
@pytest.mark.parametrize("wat", [VECTORS, VECTORS_OF_OTHERS], ids=["own", "of others"])
@pytest.mark.parametrize("tier", TIERS)
def test_functions_with_vectors_are_left_too(tier: str, wat: str) -> None:
    engine = Engine(Config(tier=tier, cache=False))
    module = Module(engine, much(wat))
    assert module.wait_optimized(60)
    assert left_names(module) == (set() if tier == "auto" else {"left"})  # another process has the usual limit
    for each in (module, Module.deserialize(engine, module.serialize())):
        store = Store(engine)
        exports = Instance(store, each, []).exports(store)
        assert [exports["f"](store, 39) for _ in range(3)] == [42] * 3
        assert exports["g"](store, 0) == 7


@pytest.mark.usefixtures("smaller_limit")
def test_of_modules_with_tail_calls_all_is_compiled() -> None:
    """Others have to know which functions make tail calls; that is known when all have been looked at."""
    wat = f"""(module (func $left (export "left") (param $p i32) (result i32) (local $q i32) {MUCH}
        (if (result i32) (local.get $p)
          (then (call $tail (i32.sub (local.get $p) (i32.const 1))))
          (else (i32.const 9))))
      (func $tail (export "tail") (param i32) (result i32) (return_call $left (local.get 0))))"""
    for tier in TIERS:
        module = Module(Engine(Config(tier=tier, cache=False)), much(wat))
        assert left_names(module) == set()
        store = Store(module.engine)
        assert Instance(store, module, []).exports(store)["tail"](store, 2) == 9


def test_an_invalid_end_of_a_long_function_is_found() -> None:
    """Text is given up long before the end of this one."""
    code = b"".join([shapes.get(0), shapes.get(1), b"\x6d", shapes.put(1)]) * 40_000
    with pytest.raises(Exception, match="type mismatch"):
        Module(Engine(Config(tier="optimized", cache=False)), shapes.one(code + b"\x42\x00"))


def test_no_more_text_is_made_of_them_than_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    text = unit.Unit.text
    monkeypatch.setattr(unit.Unit, "text", lambda self: made.append(len(result := text(self))) or result)
    make = shapes.SHAPES["divisions"]
    module = decode(make(shapes.count_for(make, 1_000_000)))
    assert not [each for each in compile_module(module, Config(), interprets=True) if not each.is_left]
    assert sum(made) < 10_000


def test_the_limit_is_in_proportion() -> None:
    assert limits.most_lines(10_000) < 70_000 < limits.most_lines(100_000) < limits.most_lines(1_000_000) < 250_000
    line = "  %x = add i32 %y, %z\n"
    for tangled, factor in ((True, 1), (False, 3)):
        assert not limits.is_left(line * 60_000 * factor, 10_000, tangled=tangled)
        assert limits.is_left(line * 65_000 * factor, 10_000, tangled=tangled)
    case, table = " i32 7, label %b", "  switch i32 %x, label %b ["
    assert not limits.is_left(table + case * 60_000, 10_000, tangled=True)
    assert limits.is_left(table + case * 65_000, 10_000, tangled=True), "one line, but as much for LLVM"


def test_wasmtime_agrees(wasm: bytes) -> None:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    kind = wasmtime.FuncType([wasmtime.ValType.i32()] * 2, [wasmtime.ValType.i32()])
    add = wasmtime.Func(store, kind, lambda a, b: a + b)
    exports = wasmtime.Instance(store, wasmtime.Module(engine, wasm), [add]).exports(store)
    assert exports["through"](store, 10) == 16 and exports["deep"](store, 500) == 501


@pytest.mark.usefixtures("smaller_limit")
def test_hot_ones_are_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time, text of the function would be made again."""
    asked: list[int] = []
    lower = unit.Unit.lower
    monkeypatch.setattr(
        unit.Unit, "lower", lambda self, function, scope: asked.append(function) or lower(self, function, scope)
    )
    wat = f"""(module (func (export "f") (param $p i32) (result i32) (local $q i32) {MUCH}
      (loop (local.set $q (i32.add (local.get $q) (i32.const 2)))
        (br_if 0 (local.tee $p (i32.sub (local.get $p) (i32.const 1)))))
      (local.get $q)))"""
    module = Module(Engine(Config(tier="auto", cache=False)), much(wat))
    store = Store(module.engine)
    f = Instance(store, module, []).exports(store)["f"]
    for _ in range(10):
        assert f(store, 300_000) == 600_000
    assert len(asked) <= 2, asked


@pytest.mark.usefixtures("smaller_limit")
def test_nothing_of_them_is_compiled_later(monkeypatch: pytest.MonkeyPatch, wasm: bytes) -> None:
    module = Module(Engine(Config(tier="optimized", cache=False)), wasm)

    def fail(*given: object) -> int:
        raise AssertionError(given)

    monkeypatch.setattr(lazy.LazyCode, "resolve", fail)
    monkeypatch.setattr(lazy.LazyCode, "_begin", fail)
    check(module)


@pytest.mark.usefixtures("smaller_limit")
def test_one_that_the_interpreter_has_no_memory_for_is_compiled(monkeypatch: pytest.MonkeyPatch, wasm: bytes) -> None:
    """As all that it refuses when it is called."""
    module = Module(Engine(Config(tier="optimized", cache=False)), wasm)
    rest = lazy.LazyModule.rest_of
    monkeypatch.setattr(lazy.LazyModule, "rest_of", lambda *given: refusing(rest(*given)))

    def refusing(lazy_module: lazy.LazyModule) -> lazy.LazyModule:
        lazy_module.module.interpretable = bytes(len(lazy_module.module.bodies))
        return lazy_module

    store = Store(module.engine)
    exports = instance(store, module)
    assert exports["through"](store, 10) == 16
    assert exports["left"](store, 10) == 15
