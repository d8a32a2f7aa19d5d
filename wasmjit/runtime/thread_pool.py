"""ThreadPool: calls of a module's functions on several threads, over instances that share a memory."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ClosedError, LinkError, UnknownImportError, WasmError
from ..wasm import types as wt
from .handle import Handle
from .instance import Instance
from .linker import InstancePre, Linker, definition_of
from .module import Module
from .shared_memory import SharedMemory
from .store import Store
from .values import MemoryType

if TYPE_CHECKING:
    from concurrent.futures import Future
    from queue import SimpleQueue

    from typing_extensions import Self

_INTERRUPT_AGAIN_SECONDS = 0.01  # a worker may have been about to call

_Job = tuple[Any, str, tuple[Any, ...]]  # Future, name of the function, arguments


class ThreadPool(Handle):
    """Threads that call functions of a module, each in an instance and a Store of its own; the shared memories that the
    module imports are the same for all. The GIL is released while wasm runs, so they run in parallel.

    >>> from wasmjit import Config, Engine
    >>> text = '''(module (import "env" "memory" (memory 1 1 shared))
    ...   (func (export "square") (param i32) (result i32)
    ...     (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
    ...     (i32.mul (local.get 0) (local.get 0))))'''
    >>> with ThreadPool(Module(Engine(Config(shared_memory=True)), text), workers=2) as pool:
    ...     print(list(pool.map("square", range(5))), pool.memory.view()[0])
    [0, 1, 4, 9, 16] 5
    """

    def __init__(
        self,
        module: Module,
        imports: Linker | Sequence[SharedMemory | Callable[..., Any]] | None = None,
        workers: int | None = None,
        *,
        initializer: Callable[[Store, Instance, int], object] | None = None,
        wasi: Any = None,
        fuel: int | None = None,
        timeout: float | None = None,
        max_memory: int | None = None,
    ) -> None:
        """Makes `workers` threads (by default one for each processor that we may use) and their instances.

        `imports` is a Linker, or for each of `Module.imports` a SharedMemory or a function of Python, which the threads
        call at once. None, or a Linker without them: shared memories are made, of the type that the module imports.
        `initializer` is called in each thread with its Store, its Instance and a number from 0: to give each its own
        part of a stack, for example. `wasi` is a `WasiConfig` for each Store; the other keywords are those of `Store`
        (the timeout is one of each call).

        Raises what `Linker.instantiate` and `initializer` raise, ValueError for no workers.
        """
        if not isinstance(module, Module):
            raise TypeError("expected a `Module`")
        count = len(os.sched_getaffinity(0)) if workers is None else workers
        if not isinstance(count, int) or count < 1:
            raise ValueError("a ThreadPool has at least one worker")
        resolved, self._memories = _resolve(module, imports)
        limits = {"fuel": fuel, "timeout": timeout, "max_memory": max_memory}
        limits = {name: value for name, value in limits.items() if value is not None}
        self._state = _State(InstancePre(module, resolved), initializer, wasi, limits)
        self._finish = weakref.finalize(self, _State.terminate, self._state)
        try:
            self._state.start(count)
        except BaseException:
            self.terminate()
            raise

    @property
    def memories(self) -> list[SharedMemory]:
        """The shared memories that the instances have in common, as imported."""
        self._check_open()
        return list(self._memories)

    @property
    def memory(self) -> SharedMemory:
        """The first of `memories`. Raises WasmError if there is none."""
        self._check_open()
        if not self._memories:
            raise WasmError("the module imports no shared memory")
        return self._memories[0]

    def submit(self, name: str, *arguments: Any) -> Future[Any]:
        """Has one of the threads call the export `name`; its result or exception is the Future's.

        Raises ClosedError after `close`, KeyError if the module exports no function of this name.
        """
        self._check_open()
        return self._state.submit(name, arguments)

    def map(self, name: str, *iterables: Iterable[Any], timeout: float | None = None) -> Iterator[Any]:
        """Calls the export `name` with the items of the iterables; the results in their order, as they are asked for.

        All items are submitted at once. An exception of a call is raised in its place, and what has not begun is
        cancelled. `timeout` (seconds) bounds the wait for each result: TimeoutError.
        """
        futures = [self.submit(name, *arguments) for arguments in zip(*iterables, strict=False)]
        return _results(futures, timeout)

    def close(self) -> None:
        """Waits until all that was submitted is done, then ends the threads. Later use raises ClosedError."""
        super().close()
        self._state.close()
        self._finish.detach()

    def terminate(self) -> None:
        """As `close`, but what has not begun is cancelled, and what runs ends with a Trap of code INTERRUPT."""
        super().close()
        self._state.terminate()
        self._finish.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """`close`, or `terminate` if an exception leaves the ``with`` block."""
        if exception and exception[0] is not None:
            self.terminate()
        else:
            self.close()


def _results(futures: list[Future[Any]], timeout: float | None) -> Iterator[Any]:
    try:
        for future in futures:
            yield future.result(timeout)
    finally:
        for future in futures:
            future.cancel()


def _resolve(module: Module, imports: Any) -> tuple[list[tuple[str, Any]], list[SharedMemory]]:
    """What defines each import, and the shared memories. Raises UnknownImportError, LinkError, TypeError."""
    wanted = module.imports
    if isinstance(imports, Linker):
        given = [imports._definitions.get((item.module, item.name or "")) for item in wanted]
    elif imports is None:
        given = [None] * len(wanted)
    else:
        if len(imports) != len(wanted):
            raise LinkError(f"expected {len(wanted)} imports, found {len(imports)}")
        given = [definition_of(item, kind._extern_type) for item, kind in zip(imports, wanted, strict=True)]
    resolved = []
    memories = []
    made: dict[tuple[str, str], Any] = {}
    for item, definition in zip(wanted, given, strict=True):
        kind = item._extern_type
        if definition is None and isinstance(kind, wt.MemoryType) and kind.shared:
            key = item.module, item.name or ""
            if key not in made:
                made[key] = definition_of(SharedMemory(module._engine, MemoryType._wrap(kind)), kind)
            definition = made[key]
        if definition is None:
            raise UnknownImportError(item.module, item.name or "", item.type)
        memory = getattr(definition, "memory", None)
        if memory is not None:
            memories.append(memory)
        resolved.append((f"{item.module}::{item.name}", definition))
    return resolved, memories


class _State:
    """What the threads share. They refer to no pool, so that one that is dropped ends."""

    def __init__(self, prepared: InstancePre, initializer: Any, wasi: Any, limits: dict[str, Any]) -> None:
        self._prepared = prepared
        self._initializer = initializer
        self._wasi = wasi
        self._limits = limits
        self._functions = {export.name for export in prepared._module._decoded.exports if export.kind == wt.FUNCTION}
        from queue import SimpleQueue  # here, and in other functions: most programs have no pools

        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_terminated = False
        self._threads: list[threading.Thread] = []
        self._stores: list[Store] = []

    def start(self, count: int) -> None:
        """Starts the threads. Raises what making one of the instances raises."""
        from queue import SimpleQueue

        ready: SimpleQueue[BaseException | None] = SimpleQueue()
        for number in range(count):
            thread = threading.Thread(
                target=self._work, args=(number, ready), name=f"wasmjit-pool-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        failures = [ready.get() for _ in range(count)]
        for failure in failures:
            if failure is not None:
                raise failure

    def _work(self, number: int, ready: SimpleQueue[BaseException | None]) -> None:
        try:
            store = Store(self._prepared._module.engine, **self._limits)
            self._stores.append(store)
            if self._wasi is not None:
                store.set_wasi(self._wasi)
            instance = self._prepared.instantiate(store)
            if self._initializer is not None:
                self._initializer(store, instance, number)
        except BaseException as error:
            ready.put(error)
            return
        ready.put(None)
        del ready
        exports = instance.exports(store)
        while (job := self._jobs.get()) is not None:
            future, name, arguments = job
            if not future.set_running_or_notify_cancel():
                continue
            if self._is_terminated:
                future.set_exception(ClosedError("the ThreadPool was terminated"))
                continue
            try:
                result = exports[name](store, *arguments)  # type: ignore[operator]  # of a function's name
            except BaseException as error:
                future.set_exception(error)
                del error
            else:
                future.set_result(result)
                del result
            del job, future, arguments  # not kept until the next one comes

    def submit(self, name: str, arguments: tuple[Any, ...]) -> Future[Any]:
        """Queues a call."""
        from concurrent.futures import Future

        if name not in self._functions:
            raise KeyError(f"the module exports no function {name!r}")
        future: Future[Any] = Future()
        with self._lock:
            if self._is_closed:
                raise ClosedError("threadpool is closed")
            self._jobs.put((future, name, arguments))
        return future

    def _end(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                for _ in self._threads:
                    self._jobs.put(None)

    def close(self) -> None:
        """Ends the threads once all is done."""
        self._end()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def terminate(self) -> None:
        """Ends the threads soon."""
        self._is_terminated = True
        self._end()
        for thread in self._threads:
            while thread.is_alive() and thread is not threading.current_thread():
                for store in list(self._stores):
                    store.interrupt()
                thread.join(_INTERRUPT_AGAIN_SECONDS)


__all__ = ["ThreadPool"]
