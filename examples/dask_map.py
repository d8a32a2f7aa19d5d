"""Maps a WebAssembly function over many inputs: on a Dask cluster, and with multiprocessing.

    python examples/dask_map.py                       # starts a cluster of two processes on this machine
    python examples/dask_map.py tcp://10.0.0.1:8786   # uses yours; wasmjit must be installed on its machines

The module is compiled once, here. Each worker process receives the artifact (native code) once, under the hash of its
contents; tasks carry a reference to it. Workers compile nothing and load no compiler. (Dask's Active Memory Manager,
where it is on, takes copies away that no task waits for: the next task brings them again.)
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

from distributed import Client, Future, LocalCluster

from wasmjit import Engine, Instance, Module, Store
from wasmjit.runtime.shipping import ModuleReference, module_from, module_reference

# The largest number of steps that any start value in [first, end) takes to reach 1 (Collatz).
PROGRAM = """
(module
  (func (export "longest") (param $first i64) (param $end i64) (result i32)
    (local $n i64) (local $steps i32) (local $longest i32)
    (loop $starts
      (local.set $n (local.get $first))
      (local.set $steps (i32.const 0))
      (block $one (loop $step
        (br_if $one (i64.le_u (local.get $n) (i64.const 1)))
        (local.set $n (if (result i64) (i64.eqz (i64.and (local.get $n) (i64.const 1)))
          (then (i64.shr_u (local.get $n) (i64.const 1)))
          (else (i64.add (i64.mul (local.get $n) (i64.const 3)) (i64.const 1)))))
        (local.set $steps (i32.add (local.get $steps) (i32.const 1)))
        (br $step)))
      (if (i32.gt_u (local.get $steps) (local.get $longest)) (then (local.set $longest (local.get $steps))))
      (local.set $first (i64.add (local.get $first) (i64.const 1)))
      (br_if $starts (i64.lt_u (local.get $first) (local.get $end))))
    (local.get $longest)))
"""

Arguments = Sequence[Any]


def call(module: Module, function: str, arguments: Arguments) -> Any:
    """One call, in an instance of its own: whatever a task does to its memory, the next one begins afresh."""
    with Store(module.engine) as store:
        return Instance(store, module, []).exports(store)[function](store, *arguments)


# ---- Dask ----


# What is on a cluster already, by client and key. Kept while the client is open: Dask drops data that nobody holds, and
# to put the same key there again right after that is a race.
_scattered: dict[tuple[Client, str], Future] = {}


def scatter(client: Client, module: Module) -> tuple[ModuleReference, Future]:
    """Puts the artifact on every worker, once, under a key that is the hash of its contents."""
    for known in [known for known in _scattered if known[0].status == "closed"]:
        del _scattered[known]
    reference = module_reference(module)
    name = f"wasmjit-{reference.digest}"
    artifact = _scattered.get((client, name))
    if artifact is None or artifact.status != "finished":
        artifact = client.scatter({name: bytes(module.serialize())}, broadcast=True)[name]
        _scattered[client, name] = artifact
    return reference, artifact


def dask_task(reference: ModuleReference, artifact: bytes, function: str, arguments: Arguments) -> Any:
    """Runs in a worker. `artifact` is in the worker's memory already; it becomes a Module for the first task only."""
    return call(module_from(reference, lambda: artifact), function, arguments)


def map_with_dask(client: Client, module: Module, function: str, inputs: Iterable[Arguments]) -> list[Any]:
    """``[function(*arguments) for arguments in inputs]``, on the cluster."""
    reference, artifact = scatter(client, module)
    tasks = [client.submit(dask_task, reference, artifact, function, arguments, pure=False) for arguments in inputs]
    results: list[Any] = client.gather(tasks)
    return results


# ---- multiprocessing ----

_received: list[Module] = []  # in a worker process


def _receive(module: Module) -> None:
    """Runs once in each worker process: a Module travels by pickle, and its pickle is the artifact."""
    _received.append(module)


def _pool_task(task: tuple[str, Arguments]) -> Any:
    return call(_received[0], *task)


def map_with_processes(module: Module, function: str, inputs: Iterable[Arguments], processes: int = 2) -> list[Any]:
    """``[function(*arguments) for arguments in inputs]``, in worker processes."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _receive, (module,)) as pool:
        return pool.map(_pool_task, [(function, arguments) for arguments in inputs])


# ---- the demonstration ----


def main() -> None:
    """Does the same work three times and shows how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scheduler", nargs="?", help="address of a Dask scheduler; default: a cluster on this machine")
    parser.add_argument("--starts", type=int, default=4_000_000, help="how many start values (default: %(default)s)")
    parser.add_argument("--tasks", type=int, default=40, help="how many tasks (default: %(default)s)")
    options = parser.parse_args()

    module = Module(Engine(), PROGRAM)
    edges = [1 + options.starts * task // options.tasks for task in range(options.tasks + 1)]
    inputs = list(itertools.pairwise(edges))

    def show(what: str, results: list[int], begun: float) -> None:
        print(f"{what:24} longest chain: {max(results)} steps, {time.perf_counter() - begun:.2f} s")

    begun = time.perf_counter()
    show("here:", [call(module, "longest", arguments) for arguments in inputs], begun)
    begun = time.perf_counter()
    processes = os.cpu_count() or 1
    show(f"{processes} processes:", map_with_processes(module, "longest", inputs, processes), begun)
    cluster = None
    if options.scheduler is None:
        cluster = LocalCluster(n_workers=processes, threads_per_worker=1, dashboard_address=None)
    try:
        with Client(cluster or options.scheduler) as client:
            begun = time.perf_counter()
            show("Dask:", map_with_dask(client, module, "longest", inputs), begun)
    finally:
        if cluster is not None:
            cluster.close()


if __name__ == "__main__":
    main()
