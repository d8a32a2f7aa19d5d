"""The default tier: what Config says, what overrides it, and that nothing about a module depends on it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.timing import is_quick
from wasmjit import (
    CompileError,
    Config,
    Engine,
    Instance,
    Module,
    Store,
    Trap,
    TrapCode,
    WasmError,
    processes,
    thresholds,
)
from wasmjit.compile import workers
from wasmjit.compile.pipeline import GroupCompiler
from wasmjit.tiers import optimiser

ROOT = Path(__file__).resolve().parent.parent.parent
WAT = """(module $m (memory (export "memory") 1)
  (func $load (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func $outer (export "outer") (param i32) (result i32) (call $load (local.get 0)))
  (func (export "spin") (loop (br 0))))"""
# Of each kind of test some that make their own engines, run with no tier named at all.
ONCE_MORE = [
    "tests/compat/test_func.py",
    "tests/compat/test_trap.py",
    "tests/compat/test_fuel_epochs.py",
]


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program: tests name another tier (tests/conftest.py)."""
    monkeypatch.delenv("WASMJIT_TIER", raising=False)


@pytest.mark.usefixtures("default")
def test_the_default_is_auto() -> None:
    assert Config().tier == "auto" and repr(Config()) == "Config()"
    assert Config().starts_at_baseline
    assert Engine()._config.tier == "auto"
    assert not Config(opt_level="none").starts_at_baseline  # there is no better code
    assert not Config(target="aarch64-unknown-linux-gnu").starts_at_baseline


@pytest.mark.parametrize("tier", ["baseline", "optimized", "auto"])
def test_the_environment_sets_another(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASMJIT_TIER", tier)
    assert Config().tier == tier
    assert Config(tier="optimized").tier == Config(tier="optimized").copy().tier == "optimized"
    assert Config(tier="auto").tier == Config(tier="auto").copy().tier == "auto"
    assert pickle.loads(pickle.dumps(Config(tier="auto"))).tier == "auto"
    assert Config().cache_key() == Config(tier=tier).cache_key()


def test_a_wrong_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASMJIT_TIER", "fast")
    with pytest.raises(WasmError, match=r"WASMJIT_TIER: unknown tier: fast \(one of baseline, optimized, auto\)"):
        Config()
    monkeypatch.setenv("WASMJIT_TIER", "")
    assert Config().tier == "auto"


@pytest.mark.usefixtures("default")
def test_a_module_is_the_same_in_the_default_tier(tmp_path: Path) -> None:
    module = Module(Engine(Config(cache=str(tmp_path / "cache"))), WAT)
    optimised = Module(Engine(Config(tier="optimized")), WAT)
    assert module.serialize() == pickle.loads(pickle.dumps(module)).serialize()
    assert module.text == optimised.text and module.functions() == optimised.functions()
    assert list(module.address_map() or ()) == list(optimised.address_map() or ())
    assert len(module.image_range()) == len(optimised.image_range())
    assert module.engine.precompile_module(WAT) == optimised.serialize()
    assert module.engine.precompile_compatibility_hash() == optimised.engine.precompile_compatibility_hash()
    again = Module(module.engine, WAT)
    assert again.wait_optimized(0)  # from the cache
    assert again.serialize() == module.serialize()


@pytest.mark.usefixtures("default")
def test_traps_are_the_same_in_the_default_tier() -> None:
    seen: list[Any] = []
    for config in (Config(), Config(tier="optimized")):
        store = Store(Engine(config))
        exports = Instance(store, Module(store.engine, WAT), []).exports(store)
        with pytest.raises(Trap) as caught:
            exports["outer"](store, 1 << 20)
        assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS
        seen.append([(frame.func_name, frame.module_offset) for frame in caught.value.frames])
        store.timeout = 0.05
        with pytest.raises(Trap) as caught:
            exports["spin"](store)
        assert caught.value.trap_code is TrapCode.INTERRUPT
    assert seen[0] == seen[1]


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is not interpreted fails."""

    def refuse(pool: workers.WorkerPool) -> workers.Worker:
        raise AssertionError("a compiler was started")

    monkeypatch.setattr(workers.WorkerPool, "_take", refuse)


@pytest.mark.usefixtures("default", "no_compiler")
@pytest.mark.parametrize("options", [{"consume_fuel": True}, {"epoch_interruption": True}])
def test_modules_that_count_start_at_once(options: dict[str, bool]) -> None:
    store = Store(Engine(Config(**options)))
    if "consume_fuel" in options:
        store.set_fuel(1000)
    else:
        store.set_epoch_deadline(1)
    exports = Instance(store, Module(store.engine, WAT), []).exports(store)
    assert exports["outer"](store, 4) == 0
    store.engine.increment_epoch()
    with pytest.raises(Trap):
        exports["spin"](store)


@pytest.mark.usefixtures("default")
def test_what_is_not_interpreted_is_compiled_at_its_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "INTERPRETS", False)
    store = Store(Engine())
    module = Module(store.engine, '(module (func (export "f") (param i32) (result i32) (local.get 0)))')
    assert Instance(store, module, []).exports(store)["f"](store, 5) == 5
    assert [function.tier for function in module.tier_report()] == ["baseline"]


@pytest.mark.usefixtures("default")
def test_a_large_module_starts_at_once() -> None:
    """QuickJS and Graphviz took 27 and 48 s with the tier that was the default."""
    body = "(local.set 0 (i32.mul (i32.add (local.get 0) (i32.const 7)) (i32.load (local.get 0))))" * 50
    functions = "".join(f'(func (export "f{i}") (param i32) (result i32) {body} (local.get 0))' for i in range(30))
    from wasmjit import wat2wasm

    wasm = bytes(wat2wasm(f"(module (memory 1) {functions})"))

    def start(tier: str) -> None:
        store = Store(Engine(Config(tier=tier)))
        exports = Instance(store, Module(store.engine, wasm), []).exports(store)
        assert exports["f7"](store, 0) == 0

    began = time.monotonic()
    start("optimized")
    assert is_quick(lambda: start("auto"), (time.monotonic() - began) / 2)


LITTLE = """
import os, sys
from wasmjit import Config, Engine, Instance, Module, Store, Trap
engine = Engine(Config(cache={cache!r}))
store = Store(engine)
module = Module(engine, bytes.fromhex({wasm!r}))
exports = Instance(store, module, []).exports(store)
for number in range(100):
    assert exports["outer"](store, number) == 0
try:
    exports["outer"](store, 1 << 20)
except Trap:
    pass
else:
    sys.exit("no trap")
wanted = {{"llvmlite", "subprocess", "wasmjit.compile"}} & sys.modules.keys()
threads, children = (set(os.listdir(f"/proc/self/task")), open(f"/proc/self/task/{{os.getpid()}}/children").read())
if wanted or threads != {{str(os.getpid())}} or children:
    sys.exit(f"{{wanted}} {{threads}} {{children}}")
"""


def test_what_is_used_little_starts_no_compiler(tmp_path: Path) -> None:
    """No process, no thread, no import; and nothing goes on behind it."""
    from wasmjit import wat2wasm

    cache = tmp_path / "cache"
    environment = {name: value for name, value in os.environ.items() if name != "WASMJIT_TIER"}
    state = tmp_path / "state"
    subprocess.run(
        [sys.executable, "-c", LITTLE.format(cache=str(cache), wasm=wat2wasm(WAT).hex())],
        cwd=ROOT,
        env=environment | {"XDG_STATE_HOME": str(state)},
        check=True,
        timeout=100,
    )
    assert not cache.exists() and not list(state.rglob("background*"))


HOT = """
import sys, threading, time
from wasmjit import Config, Engine, Instance, Module, Store
threads = set()
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "wasmjit.compile.pipeline":
            threads.add(threading.get_ident())
sys.meta_path.insert(0, Finder())
store = Store(Engine(Config(tier="auto", cache=False)))
module = Module(store.engine, bytes.fromhex({wasm!r}))
outer = Instance(store, module, []).exports(store)["outer"].typed(store)
deadline = time.monotonic() + 60
while module.tier_report()[1].tier not in ("baseline", "optimized") and time.monotonic() < deadline:
    for number in range(1000):
        outer(number)
assert module.tier_report()[1].tier in ("baseline", "optimized")
assert threads and threading.get_ident() not in threads, threads
"""


def test_running_code_waits_for_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What better code is compiled from is made in another thread, and what fails there is said."""
    makers: list[int] = []
    begin = GroupCompiler.begin

    def observed(*arguments: Any, **named: Any) -> Any:
        makers.append(threading.get_ident())
        if len(makers) == 1:
            raise ValueError("not the first time")
        return begin(*arguments, **named)

    monkeypatch.setattr(GroupCompiler, "begin", observed)
    monkeypatch.setattr(processes, "_said", False)
    store = Store(Engine(Config(tier="auto", cache=False)))
    module = Module(store.engine, WAT)
    outer = Instance(store, module, []).exports(store)["outer"].typed(store)
    deadline = time.monotonic() + 60
    with pytest.warns(RuntimeWarning, match="cannot make faster code.*not the first time"):
        while module.tier_report()[1].tier not in ("baseline", "optimized") and time.monotonic() < deadline:
            for number in range(1000):
                outer(number)
    assert module.tier_report()[1].tier in ("baseline", "optimized")
    assert len(makers) >= 2 and threading.get_ident() not in makers


def test_running_code_waits_for_no_imports() -> None:
    from wasmjit import wat2wasm

    script = HOT.format(wasm=wat2wasm(WAT).hex())
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=100)


@pytest.mark.usefixtures("default")
def test_what_is_hot_is_optimised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 0)
    monkeypatch.setattr(thresholds, "INTERPRETER_IS_PATIENT", False)
    store = Store(Engine(Config(cache=False)))
    module = Module(store.engine, WAT)
    requested: list[bytes] = []

    def request(_: object, job: Any) -> bytes:
        requested.append(job.wasm)
        raise CompileError("not now")

    monkeypatch.setattr(optimiser._Optimiser, "_request", request)
    exports = Instance(store, module, []).exports(store)
    for number in range(100):
        exports["outer"](store, number)
    time.sleep(0.1)
    assert not requested
    deadline = time.monotonic() + 60
    while not requested and time.monotonic() < deadline:
        exports["outer"](store, 0)
    assert len(requested) == 1


def test_others_once_more_in_the_default_tier() -> None:
    environment = os.environ | {"WASMJIT_TEST_TIER": "auto"}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *ONCE_MORE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-4000:]
