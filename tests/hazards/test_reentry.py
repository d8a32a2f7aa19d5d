"""What holds a lock of ours may be interrupted by a finalizer or a signal handler that wants the same: it must not wait
for itself. Each test plays that at the worst moment, by calling from what is called under the lock."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wasmjit import Config, Engine, Instance, Module, Store, profiling
from wasmjit.artifact import Artifact
from wasmjit.compile import workers
from wasmjit.runtime import engine as engine_file
from wasmjit.runtime import pickles
from wasmjit.runtime.shipping import module_from, module_reference
from wasmjit.tiers import optimiser as client

TEXT = '(module (func (export "f") (result i32) (i32.const 42)))'


def once(function: Callable[..., Any], nested: Callable[[], Any]) -> Callable[..., Any]:
    """`function`, with `nested` called at the beginning of the first call, on the same thread."""
    is_first = True

    def called(*arguments: Any, **keywords: Any) -> Any:
        nonlocal is_first
        if is_first:
            is_first = False
            nested()
        return function(*arguments, **keywords)

    return called


def ends(work: Callable[[], None]) -> None:
    """Runs `work` on a thread, and fails if it hangs."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it waits for itself"
    if errors:
        raise errors[0]


def test_the_pool_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_pool", None)
    seen = []
    monkeypatch.setattr(workers, "WorkerPool", once(workers.WorkerPool, lambda: seen.append(workers.pool())))
    ends(lambda: seen.append(workers.pool()))
    assert len(seen) == 2 and seen[0] is seen[1]


def test_the_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_optimiser", None)
    seen = []
    made = once(client._Optimiser, lambda: seen.append(client._current_optimiser()))
    monkeypatch.setattr(client, "_Optimiser", made)
    before = threading.active_count()
    ends(lambda: seen.append(client._current_optimiser()))
    assert len(seen) == 2 and seen[0] is seen[1]
    assert threading.active_count() <= before + 1


def test_a_module_that_is_loaded_while_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(Config(tier="auto", cache=False))
    module = Module(engine, TEXT)
    assert module.wait_optimized(60)
    results: list[int] = []

    def use() -> None:
        store = Store(engine)
        results.append(Instance(store, module, []).exports(store)["f"](store))

    optimisation = module._code.optimisation
    assert optimisation is not None

    class Running:
        def replace_code(self, code: Any) -> None:
            results.append(0)

    attach = once(optimisation._load, lambda: optimisation.attach(Running()))  # type: ignore[arg-type]
    monkeypatch.setattr(optimisation, "_load", attach)
    ends(lambda: optimisation.attach(Running()))  # type: ignore[arg-type]
    ends(use)
    assert results == [0, 0, 42]


def test_modules_that_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module(Engine(Config(tier="optimized", opt_level="none", wasm_tail_call=False)), TEXT)
    reference = module_reference(module)
    seen = []

    def fetch() -> bytes:
        if len(seen) == 0:
            seen.append(module_from(reference, module.serialize))
        return bytes(module.serialize())

    ends(lambda: seen.append(module_from(reference, fetch)))
    assert len(seen) == 2 and seen[0] is seen[1]

    artifact = bytes(module.serialize())
    config = Config(tier="optimized", opt_level="none", wasm_simd=False, wasm_relaxed_simd=False)
    module = Module(Engine(config), TEXT)
    artifact = bytes(module.serialize())
    engines = []

    def unpickle() -> None:
        engines.append(pickles.unpickle(Module.deserialize, config, artifact).engine)

    monkeypatch.setattr(engine_file, "_definite", once(engine_file._definite, unpickle))
    ends(unpickle)
    assert len(engines) == 2 and engines[0] is engines[1]


@pytest.mark.parametrize("profiler", ["perfmap", "jitdump"])
def test_profilers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profiler: str) -> None:
    monkeypatch.setattr(profiling, "PERF_MAP_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(profiling, "_dump", None)
    monkeypatch.chdir(tmp_path)
    engine = Engine(Config(tier="optimized", opt_level="none", profiler=profiler))

    def load(name: str) -> None:
        Module(engine, f'(module (func ${name} (export "{name}")))')._load()

    monkeypatch.setattr(profiling, "function_names", once(profiling.function_names, lambda: load("inner")))
    ends(lambda: load("outer"))
    (file,) = tmp_path.iterdir()
    contents = file.read_bytes()
    assert contents.count(b"outer") == contents.count(b"inner") == 1
    assert contents.index(b"outer") < contents.index(b"inner")


def test_a_files_mapping_is_taken_once(tmp_path: Path) -> None:
    path = tmp_path / "module.cwasm"
    path.write_bytes(Module(Engine(Config(tier="optimized")), TEXT).serialize())
    artifact = Artifact.open_file(str(path))
    assert artifact.take_file_mapping() is not None and artifact.take_file_mapping() is None
    assert artifact.take_data_file() is None


AT_THE_END = """
import builtins
from wasmjit import Func, FuncType, Linker, Store

class Last:
    def __init__(self):
        self.store, self.linker = Store(), None
        self.linker = Linker(self.store.engine)
    def __del__(self):
        async def function():
            pass
        try:
            import asyncio
        except ImportError:
            print("end", flush=True)
        Func.new_async(self.store, FuncType([], []), function)
        self.linker.func_new_async("", "", FuncType([], []), function)
        print("made", flush=True)

builtins.last = Last()
"""


def test_asynchronous_functions_can_be_made_when_nothing_can_be_imported() -> None:
    done = subprocess.run([sys.executable, "-c", AT_THE_END], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "end\nmade\n", done.stderr
