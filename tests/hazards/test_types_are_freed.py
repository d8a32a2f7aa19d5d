"""What a module brings goes with it: function types, their ids and signatures, trampolines. What still uses them keeps
them: functions in tables, in Python's hands, in other instances, on other threads."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import os
import random
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import wasm_bytes
from wasmjit import (
    ClosedError,
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Limits,
    LinkError,
    Module,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    Val,
    ValType,
    WasmError,
    metadata,
)
from wasmjit.runtime import type_ids
from wasmjit.runtime.native import lib
from wasmjit.runtime.trampolines import Trampoline

ROOT = Path(__file__).resolve().parent.parent.parent
TIERS = ("auto", "baseline", "optimized")


def config(tier: str) -> Config:
    return Config(tier=tier, opt_level="none", cache=False)


def types_module(number: int, count: int, *, exported: int = 0) -> bytes:
    """A module with `count` types that no module of another `number` has, and as many functions as are `exported`, of
    the first ones, which return their last parameter."""
    assert number < 4**7
    numbers = (b"\x7f", b"\x7e", b"\x7d", b"\x7c")
    first = b"".join(numbers[number >> 2 * place & 3] for place in range(7))
    types = [
        b"\x60\x10" + first + b"".join(others) + b"\x7f\x01\x7f"
        for others in itertools.islice(itertools.product(numbers, repeat=8), count)
    ]
    sections = [wasm_bytes.section(wasm_bytes.TYPE, wasm_bytes.vector(*types))]
    if exported:
        indices = [wasm_bytes.unsigned(index) for index in range(exported)]
        exports = [wasm_bytes.name(f"f{index}") + b"\0" + wasm_bytes.unsigned(index) for index in range(exported)]
        body = b"\4\0\x20\x0f\x0b"  # local.get 15, end
        sections += [
            wasm_bytes.section(wasm_bytes.FUNCTION, wasm_bytes.vector(*indices)),
            wasm_bytes.section(wasm_bytes.EXPORT, wasm_bytes.vector(*exports)),
            wasm_bytes.section(wasm_bytes.CODE, wasm_bytes.vector(*[body] * exported)),
        ]
    return wasm_bytes.module(*sections)


def arguments(function: Func, store: Store, last: int) -> list[Any]:
    params = function.type(store).params
    return [0.5 if str(t).startswith("f") else 1 for t in params[:-1]] + [last]


def settled() -> int:
    """The number of signatures, once what is garbage is gone."""
    forget_recent_types()
    for _ in range(3):
        gc.collect()
    return int(lib.wj_signature_count())


def made(tier: str, wasm: bytes, engine: Engine | None = None, *, through_artifact: bool = False) -> Module:
    engine = engine or Engine(config(tier))
    module = Module(engine, wasm)
    return Module.deserialize(engine, module.serialize()) if through_artifact else module


RESIDENT = """
import sys
sys.path.insert(0, {root!r})
import gc
from tests.hazards.test_types_are_freed import arguments, config, made, types_module
from wasmjit import Engine, Instance, Store
tier, through_artifact, modules, types, exported = {arguments!r}
engine = Engine(config(tier))
for number in range(modules):
    store = Store(engine)
    module = made(tier, types_module(number, types, exported=exported), engine, through_artifact=through_artifact)
    exports = Instance(store, module, []).exports(store)
    for name in list(exports)[:200]:
        assert exports[name](store, *arguments(exports[name], store, number)) == number
    del store, module, exports
    gc.collect()
    with open("/proc/self/statm") as file:
        print(int(file.read().split()[1]) * 4 // 1024, flush=True)
"""


def resident(*given: object) -> list[int]:
    """MiB of the process after each of some modules, which are dropped one after the other."""
    code = RESIDENT.format(root=str(ROOT), arguments=given)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("tier", "through_artifact"),
    [
        ("auto", False),
        pytest.param("baseline", False, marks=SLOW),  # whose types are where they are in tier "optimized"
        pytest.param("optimized", False, marks=SLOW),
        pytest.param("optimized", True, marks=SLOW),
    ],
)
def test_type_leak(tier: str, through_artifact: bool) -> None:
    """type-leak.py: 5 to 12 MB were lost for each of these."""
    sizes = resident(tier, through_artifact, 6, 10_000, 0)
    assert sizes[-1] - sizes[2] < 5, sizes


@pytest.mark.parametrize(("tier", "through_artifact"), [pytest.param("auto", False, marks=SLOW), ("optimized", True)])
def test_type_leak_of_exported_functions(tier: str, through_artifact: bool) -> None:
    """With an Engine for all: its trampolines."""
    sizes = resident(tier, through_artifact, 5, 3_000, 25)
    assert sizes[-1] - sizes[1] < 3, sizes


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("through_artifact", [False, True])
def test_signatures_go_with_the_last_that_needs_them(tier: str, through_artifact: bool) -> None:
    before = settled()
    wasm = types_module(1000, 500, exported=2)
    module = made(tier, wasm, through_artifact=through_artifact)
    store = Store(module._engine)
    exports = Instance(store, module, []).exports(store)
    function = exports["f0"]
    assert settled() >= before + 500
    typed = function.typed(store)
    del module, exports
    assert settled() >= before + 500, "the instance has them"
    assert function(store, *arguments(function, store, 7)) == 7
    assert typed(*arguments(function, store, 8)) == 8
    given = arguments(function, store, 9)
    store.close()
    del store
    del function
    for some in (given, given[1:]):  # both look at the signature first
        with pytest.raises(WasmError, match=r"store is closed|too few parameters"):
            typed(*some)
    del typed
    assert settled() == before


@pytest.mark.parametrize("kind", ["host", "native"])
def test_a_host_function_keeps_its_type(kind: str) -> None:
    engine = Engine(config("auto"))
    store = Store(engine)
    types = [ValType.i32()] * 13
    ty = FuncType(types, [ValType.i32()])
    if kind == "host":
        function = Func(store, ty, lambda *given: sum(given))
    else:
        prototype = ctypes.CFUNCTYPE(*[ctypes.c_int32] * 14)
        function = Func.native(store, ty, prototype(lambda *given: sum(given)))
    table = Table(store, TableType(ValType.funcref(), Limits(1, None)), None)
    table.set(store, 0, function)
    variable = Global(store, GlobalType(ValType.funcref(), mutable=True), Val.funcref(function))
    del function, ty
    forget_recent_types()
    for again in (table.get(store, 0), variable.value(store)):
        assert again is not None and again.type(store).params == types
        assert again(store, *range(13)) == sum(range(13))


def forget_recent_types() -> None:
    """Lets go of the few that are kept without need."""
    type_ids._signature.cache_clear()


CALLER = """(module
  (type $t (func {params} (result i32)))
  (import "" "table" (table 2 funcref))
  (func (export "call") (param i32) (result i32) {arguments} (call_indirect (type $t) (local.get 0))))"""
CALLEE = """(module
  (type (func (param f32)))
  (import "" "table" (table 2 funcref))
  (func $f (export "f") {params} (result i32) (i32.const {result}))
  (elem (i32.const {at}) $f))"""


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("through_artifact", [False, True])
def test_equal_types_are_equal_when_one_of_their_modules_is_gone(tier: str, through_artifact: bool) -> None:
    engine = Engine(config(tier))
    params, given = "(param i32 i64 f32 f64 i64 i32)", "(i32.const 1) (i64.const 1) (f32.const 1) (f64.const 1)"
    given += " (i64.const 1) (i32.const 1)"
    store = Store(engine)
    table = Table(store, TableType(ValType.funcref(), Limits(2, None)), None)

    def instance(text: str) -> Any:
        return Instance(store, made(tier, text, engine, through_artifact=through_artifact), [table]).exports(store)

    for at, result in ((0, 41), (1, 42)):
        instance(CALLEE.format(params=params, result=result, at=at))
        forget_recent_types()
    call = instance(CALLER.format(params=params, arguments=given))["call"]
    forget_recent_types()
    assert [call(store, at) for at in (0, 1)] == [41, 42]
    other = instance(CALLER.format(params="(param i32 i64 f32 f64 i64 f32)", arguments=given[:-13] + "(f32.const 1)"))
    with pytest.raises(Trap) as caught:
        other["call"](store, 0)
    assert caught.value.trap_code == TrapCode.BAD_SIGNATURE
    # Imports, of functions whose module is gone.
    function = table.get(store, 1)
    assert function is not None
    forget_recent_types()
    text = f'(module (import "" "" (func $f {params} (result i32))) (func (export "g") (result i32) (call $f {given})))'
    module = made(tier, text, engine, through_artifact=through_artifact)
    assert Instance(store, module, [function]).exports(store)["g"](store) == 42
    wrong = Module(engine, '(module (import "" "" (func (param i32))))')
    with pytest.raises(LinkError):
        Instance(store, wrong, [function])


def test_what_is_kept_of_types_is_small() -> None:
    """Those of artifacts, too: a type may have 2,000 values."""
    before = metadata._usual_type.cache_info().currsize
    for count in (100, 1000):
        text = f"(module (type (func (param {'i64 ' * count}))))"
        module = made("optimized", text, through_artifact=True)
        assert len(module._code.artifact.module.types[0].params) == count
    assert metadata._usual_type.cache_info().currsize == before


def test_ids_are_not_used_again() -> None:
    """A stale id would match another type."""
    seen: set[int] = set()
    for number in range(5):
        module = made("auto", types_module(2000 + number, 300))
        ids = set(module._load().types.ids)
        assert len(ids) == 300 and not ids & seen
        seen |= ids
        del module
        settled()


LAST_IDS = """
from wasmjit import Engine, Func, FuncType, Instance, Module, Store, ValType, WasmError
from wasmjit import metadata
from wasmjit.runtime import type_ids
from wasmjit.runtime.native import lib
from wasmjit.runtime.trampolines import Trampoline
store = Store(Engine())
old = Func(store, FuncType([ValType.i32()], []), print)
lib.wj_signature_skip_ids(2**32 - 3)
text = '(module (type (func (param {}))) (func (export "f") (param i32) (result i32) (local.get 0)))'
exports = Instance(store, Module(store.engine, text.format("i64")), []).exports(store)
assert exports["f"](store, 5) == 5
for attempt in range(3):
    try:
        Instance(store, Module(store.engine, text.format("f32 f32")), [])
    except WasmError as error:
        print(error)
try:
    Func(store, FuncType([ValType.f64()] * 3, []), print)
except WasmError as error:
    print(error)
assert exports["f"](store, 6) == 6
assert Instance(store, Module(store.engine, text.format("i64")), []).exports(store)["f"](store, 7) == 7
Func(store, FuncType([ValType.i32()], []), print)(store, 1)
"""


def test_when_there_are_no_ids_left() -> None:
    done = subprocess.run([sys.executable, "-c", LAST_IDS], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and lines[-1] == "1", lines
    assert all("no new function types: this process has had 4,294,967,295" in line for line in lines[:-1]), lines


@pytest.mark.parametrize("tier", ["auto", "optimized"])
def test_modules_come_and_go_on_all_threads(tier: str) -> None:
    """Functions of some live on: in a table, in Python's hands, as TypedFuncs of closed stores."""
    engine = Engine(config(tier))
    rounds = 15
    artifacts = [made(tier, types_module(3000 + n, 40, exported=8), engine).serialize() for n in range(6)]
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        numbers = random.Random(seed)
        kept: list[tuple[Store, Func, int]] = []
        typed: list[tuple[Any, Sequence[Any]]] = []
        try:
            for number in range(rounds):
                store = Store(engine)
                if tier == "auto" and number % 4 == 0:
                    module = made(tier, types_module(4000 + rounds * seed + number, 40, exported=8), engine)
                else:
                    module = Module.deserialize(engine, numbers.choice(artifacts))
                exports = Instance(store, module, []).exports(store)
                function = exports[f"f{numbers.randrange(8)}"]
                given = arguments(function, store, number)
                assert function(store, *given) == number
                fate = numbers.randrange(4)
                if fate == 0:
                    kept.append((store, function, number))
                elif fate == 1:
                    typed.append((function.typed(store), given))
                    assert typed[-1][0](*given) == number
                elif fate == 2:
                    table = Table(store, TableType(ValType.funcref(), Limits(1, None)), None)
                    table.set(store, 0, function)
                    del module, exports, function
                    gc.collect()
                    again = table.get(store, 0)
                    assert again is not None and again(store, *given) == number
                else:
                    typed.append((function.typed(store), given))
                    store.close()
                if len(kept) > 3:
                    store, function, value = kept.pop(numbers.randrange(4))
                    assert function(store, *arguments(function, store, value)) == value
                if len(typed) > 3:
                    call, given = typed.pop(numbers.randrange(4))
                    with contextlib.suppress(ClosedError):
                        assert call(*given) == given[-1]
        except BaseException as error:
            errors.append(error)

    before = settled()
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert settled() == before


def test_trampolines_go_with_the_last_that_calls_through_them() -> None:
    engine = Engine(config("optimized"))
    artifacts = [made("optimized", types_module(5000 + n, 120, exported=120), engine).serialize() for n in range(2)]
    mappings: list[weakref.ref[Any]] = []
    typed = []
    for number, artifact in enumerate(artifacts):
        store = Store(engine)
        module = Module.deserialize(engine, artifact)
        exports = Instance(store, module, []).exports(store)
        function = exports["f0"]
        assert isinstance(function._item.enter, Trampoline)
        installed = module._load()._installed
        mappings += [weakref.ref(mapping) for mapping in {code._mapping for code in installed.values()}]
        given = arguments(function, store, number)
        typed.append((function.typed(store), given))
        store.close()
        del store, module, exports, function, installed
        if number % 2:
            typed.pop()

    def count() -> int:
        engine._trampolines._recent.clear()
        gc.collect()
        return sum(reference() is not None for reference in mappings)

    assert len(mappings) >= 4
    assert count() == len(typed) == 1, "each keeps one of several that its module had"
    for call, given in typed:
        with pytest.raises(ClosedError):
            call(*given)
    typed.clear()
    del call
    assert count() == 0


def test_forks_beside_threads_that_make_types() -> None:
    stop = threading.Event()

    def work() -> None:
        number = 6000
        while not stop.is_set():
            number += 1
            made("auto", types_module(number, 2000))._load()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                for params in range(30):
                    Func(Store(), FuncType([ValType.i64()] * params, []), print)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert status == 0
    finally:
        stop.set()
        thread.join()
