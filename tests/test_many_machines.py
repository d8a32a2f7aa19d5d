"""Modules in many threads, processes and (as far as one machine can show it) machines: by every way they get there."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from wasmjit import ArtifactError, Config, Engine, FuncType, Linker, Module, Store, ValType
from wasmjit.runtime import shipping
from wasmjit.runtime.shipping import ModuleReference, cache_info, module_from, module_reference

I32 = ValType.i32()
# sum(n) adds up get(1) ... get(n) through memory, a table and a global: what each Store must have of its own.
TEXT = """
(module
  (import "host" "get" (func $get (param i32) (result i32)))
  (memory 1)
  (global $sum (mut i32) (i32.const 0))
  (table 1 funcref)
  (elem (i32.const 0) $indirect)
  (data (i32.const 100) "\\07\\00\\00\\00")
  (type $one (func (param i32) (result i32)))
  (func $indirect (type $one) (call $get (local.get 0)))
  (func (export "sum") (param $n i32) (result i32)
    (global.set $sum (i32.const 0))
    (loop $again
      (i32.store (i32.const 0) (call_indirect (type $one) (local.get $n) (i32.const 0)))
      (global.set $sum (i32.add (global.get $sum) (i32.load (i32.const 0))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.add (global.get $sum) (i32.sub (i32.load (i32.const 100)) (i32.const 7)))))
"""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Config(opt_level="none"))


@pytest.fixture(scope="module")
def module(engine: Engine) -> Module:
    return Module(engine, TEXT)


# ---- threads ----


def by_pickle(module: Module, tmp_path: Path) -> Module:
    return pickle.loads(pickle.dumps(module))  # type: ignore[no-any-return]


def by_deserialize(module: Module, tmp_path: Path) -> Module:
    return Module.deserialize(module.engine, module.serialize())


def by_file(module: Module, tmp_path: Path) -> Module:
    (tmp_path / "module.cwasm").write_bytes(module.serialize())
    return Module.deserialize_file(module.engine, str(tmp_path / "module.cwasm"))


def by_copy(module: Module, tmp_path: Path) -> Module:
    return copy.copy(module)


def by_reference(module: Module, tmp_path: Path) -> Module:
    return module_from(module_reference(module), module.serialize)


def sum_by_instantiate(linker: Linker, store: Store, module: Module, n: int) -> int:
    return linker.instantiate(store, module).exports(store)["sum"](store, n)  # type: ignore[no-any-return]


def sum_by_pre(linker: Linker, store: Store, module: Module, n: int) -> int:
    return linker.instantiate_pre(module).instantiate(store).exports(store)["sum"](store, n)  # type: ignore[no-any-return]


def sum_asynchronously(linker: Linker, store: Store, module: Module, n: int) -> int:
    async def call() -> int:
        instance = await linker.instantiate_async(store, module)
        return await instance.exports(store)["sum"].call_async(store, n)  # type: ignore[no-any-return]

    return asyncio.run(call())


def sum_through_aliases(linker: Linker, store: Store, module: Module, n: int) -> int:
    linker = copy.copy(linker)  # this Store's own definitions
    linker.define_module(store, "original", module)
    linker.alias("original", "sum", "new", "name")
    linker.alias_module("original", "whole")
    first: int = linker.get(store, "new", "name")(store, n)
    assert linker.get(store, "whole", "sum")(store, n) == first
    return first


SUMS = [sum_by_instantiate, sum_by_pre, sum_asynchronously]
if hasattr(Linker, "alias_module"):
    SUMS.append(sum_through_aliases)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Runs ``work(number)`` in threads that start together; raises what the first that failed raised."""
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.part(2)
@pytest.mark.parametrize("sum_to", SUMS)
@pytest.mark.parametrize("arrive", [by_pickle, by_deserialize, by_file, by_copy, by_reference])
def test_one_module_in_many_stores_and_threads(
    module: Module, tmp_path: Path, arrive: Callable[..., Module], sum_to: Callable[..., int]
) -> None:
    """A Module that came in any way, used at once by eight threads with many Stores each: nothing is shared that must
    not be, and loading happens once."""
    arrived = arrive(module, tmp_path)
    linker = Linker(arrived.engine)

    async def get_later(n: int) -> int:
        await asyncio.sleep(0)
        return n

    if sum_to is sum_asynchronously:
        linker.func_new_async("host", "get", FuncType([I32], [I32]), get_later)
    else:
        linker.define_func("host", "get", FuncType([I32], [I32]), lambda n: n)

    def work(number: int) -> None:
        for n in range(number + 1, number + 6):
            with Store(arrived.engine) as store:
                assert sum_to(linker, store, arrived, n) == n * (n + 1) // 2

    in_threads(8, work)


def test_a_module_that_arrives_in_all_threads_at_once(module: Module) -> None:
    """All get one Module, and the artifact is fetched once."""
    reference = module_reference(module)
    shipping._modules.entries.clear()
    fetched, arrived = [], []

    def fetch() -> bytearray:
        fetched.append(threading.current_thread())
        return module.serialize()

    in_threads(8, lambda number: arrived.append(module_from(reference, fetch)))
    assert len(fetched) == 1
    assert len(arrived) == 8 and len(set(map(id, arrived))) == 1


# ---- references ----


def test_a_reference_is_small_and_equal_for_equal_modules(engine: Engine, module: Module) -> None:
    reference = module_reference(module)
    assert reference == module_reference(copy.copy(module))
    assert reference == pickle.loads(pickle.dumps(reference))
    assert len(pickle.dumps(reference)) < 2000
    assert reference.size_bytes == len(module.serialize())
    assert reference.digest != module_reference(Module(engine, "(module)")).digest


def test_what_is_not_the_artifact_is_refused(engine: Engine, module: Module) -> None:
    reference = module_reference(Module(engine, '(module (func (export "another")))'))
    with pytest.raises(ArtifactError, match=f"expected the artifact with SHA-256 {reference.digest}"):
        module_from(reference, module.serialize)
    with pytest.raises(ZeroDivisionError):
        module_from(reference, lambda: bytes(1 // 0))
    with pytest.raises(TypeError, match="expected a ModuleReference"):
        module_from(None, module.serialize)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Module"):
        module_reference(None)  # type: ignore[arg-type]


def test_a_config_that_does_not_fit_is_refused(engine: Engine, module: Module) -> None:
    right = module_reference(module)
    wrong = ModuleReference(right.digest, right.size_bytes, Config(opt_level="speed"))
    with pytest.raises(ArtifactError):
        module_from(wrong, module.serialize)


def test_the_cache_forgets_what_was_not_used_for_longest(
    engine: Engine, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "MAX_MODULES", 2)
    modules = [Module(engine, f'(module (func (export "f{n}")))') for n in range(3)]
    references = [module_reference(module) for module in modules]

    def fetches(number: int) -> bool:
        before = cache_info().fetches
        module_from(references[number], modules[number].serialize)
        return cache_info().fetches > before

    assert [fetches(n) for n in (0, 1, 0, 2, 0, 1)] == [True, True, False, True, False, True]
    assert cache_info().modules == 2


def test_a_closed_module_is_fetched_again(engine: Engine) -> None:
    module = Module(engine, '(module (func (export "closed")))')
    reference = module_reference(module)
    module_from(reference, module.serialize).close()
    assert module_from(reference, module.serialize).exports


def test_after_fork_the_cache_is_of_use(module: Module) -> None:
    """A child knows what its parent had, and is not stopped by a thread that the parent had."""
    reference = module_reference(module)
    module_from(reference, module.serialize)
    stuck, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with shipping._modules.lock:
            stuck.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    stuck.wait()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            module_from(reference, lambda: b"")
            status = 0
        finally:
            os._exit(status)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---- processes ----


@pytest.fixture(scope="module")
def dask_map(root: Path) -> Iterator[ModuleType]:
    """The example, as a module that worker processes can import."""
    pytest.importorskip("distributed")
    folder = str(root / "examples")
    sys.path.insert(0, folder)
    try:
        import dask_map

        yield dask_map
    finally:
        sys.path.remove(folder)


INPUTS = [(1 + 1000 * n, 1001 + 1000 * n) for n in range(24)]


@pytest.fixture(scope="module")
def program(dask_map: ModuleType) -> Module:
    return Module(Engine(), dask_map.PROGRAM)


@pytest.fixture(scope="module")
def expected(dask_map: ModuleType, program: Module) -> list[int]:
    return [dask_map.call(program, "longest", arguments) for arguments in INPUTS]


def look_around(_: object = None) -> dict[str, Any]:
    """What a worker process has come to."""
    import psutil

    return {
        "compilers": sorted(m for m in sys.modules if m.startswith(("wasmjit.compile", "llvmlite", "wasm_tools"))),
        "children": [child.name() for child in psutil.Process().children(recursive=True)],
        "cache": tuple(cache_info()),
    }


def test_multiprocessing(dask_map: ModuleType, program: Module, expected: list[int]) -> None:
    assert expected[0] == 178  # 871 takes longest among the first thousand
    assert dask_map.map_with_processes(program, "longest", INPUTS) == expected


def test_processes_that_receive_a_module_compile_nothing(dask_map: ModuleType, program: Module) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, dask_map._receive, (program,)) as pool:
        assert pool.apply(dask_map._pool_task, (("longest", INPUTS[0]),)) == 178
        seen = pool.apply(look_around)
    assert (seen["compilers"], seen["children"]) == ([], [])
    assert "wasmjit.compile.pipeline" in look_around()["compilers"]  # here, where it was compiled, one sees it


def arrivals(key: str, dask_worker: Any = None) -> dict[str, Any]:
    """In a Dask worker: how often the data under `key` came in, and what the process has come to."""
    events = [event for event in dask_worker.state.stimulus_log if key in (getattr(event, "data", None) or {})]
    return {**look_around(), "arrivals": len(events), "held": key in dask_worker.data}


def test_dask(dask_map: ModuleType, program: Module, expected: list[int]) -> None:
    import dask
    from distributed import Client, LocalCluster

    with (
        # It takes copies away that no task waits for at the moment it looks, every two seconds.
        dask.config.set({"distributed.scheduler.active-memory-manager.start": False}),
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        assert dask_map.map_with_dask(client, program, "longest", INPUTS) == expected
        again = Module.deserialize(program.engine, program.serialize())
        assert dask_map.map_with_dask(client, again, "longest", INPUTS) == expected
        reference, artifact = dask_map.scatter(client, program)
        seen = client.run(arrivals, artifact.key)
    assert artifact.key == f"wasmjit-{reference.digest}"
    assert len(seen) == 2
    for worker in seen.values():
        assert (worker["compilers"], worker["children"]) == ([], [])
        assert worker["held"]
        assert worker["arrivals"] == 1
    assert all(worker["cache"][0] <= 1 for worker in seen.values())
    assert sum(worker["cache"][0] + worker["cache"][1] for worker in seen.values()) == 2 * len(INPUTS)
