"""From a decoded module to objects: units are generated here and compiled in worker processes.

LLVM aborts the process on some fatal errors and holds one global lock, so it runs in processes of its own: a crash
becomes a CompileError that names the functions, and units compile side by side.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import itertools
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from .. import processes, thresholds
from ..config import CompileProgress, Config
from ..errors import CompileError, CompileTimeoutError, FunctionLeftError
from ..target import Target, host_machine, normal_machine, parse_features
from ..wasm import deadline
from ..wasm.module import Module
from ..wasm.types import FuncType
from . import limits, trampolines
from .loop_entry import LoopEntry
from .unit import Group, Unit, plan_units
from .unit_state import CodePolicy, module_layout
from .wire import read_message, write_message

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


@dataclass(frozen=True, slots=True)
class CompiledUnit:
    """The object of functions `first_function` ... + `count` (indices of the module's function index space)."""

    first_function: int
    count: int
    object: bytes
    is_left: bool = False  # there is no code: the functions are left to the interpreter (limits.py)
    seconds: float = 0.0  # of work that it took


@dataclass(slots=True)
class CompileStatistics:
    """Where the time of one compilation went, in seconds of work (units compile side by side)."""

    instructions: int = 0
    ir_bytes: int = 0
    units: int = 0
    generate_seconds: float = 0.0
    parse_seconds: float = 0.0
    optimise_seconds: float = 0.0
    emit_seconds: float = 0.0


_PIPE_BYTES = 1 << 20
# All that were not closed. A `Pending` in a garbage cycle gives its worker back when it is collected: if nobody else
# had it, the worker would be part of that garbage, and its pipes would be closed by their own finalizers.
_workers: set[Worker] = set()


class Worker:
    """One compiler process. Used by one thread at a time."""

    def __init__(self) -> None:
        """Raises CompileError if the process cannot be started."""
        self._limits = processes.limits()
        self.process = processes.start("wasmjit.compile.llvm")
        _workers.add(self)
        # Requests are not to wait for the worker to start. Linux has the call, and may refuse.
        with contextlib.suppress(OSError, AttributeError):
            assert self.process.stdin is not None
            fcntl.fcntl(self.process.stdin, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def send(self, fields: dict[str, Any], body: bytes = b"") -> None:
        """Sends one request; `receive` has to follow, which tells what went wrong."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            write_message(self.process.stdin, limits.with_budget(fields, len(body)), body)

    def receive(self) -> tuple[dict[str, Any], bytes] | None:
        """Waits for the reply. None if the worker had ended before the request because there was none for long.

        Raises CompileError if LLVM refuses or the process dies.
        """
        assert self.process.stdout is not None
        try:
            reply = read_message(self.process.stdout)
        except (OSError, ValueError):
            reply = None
        if reply is None:
            with contextlib.suppress(Exception):
                self.process.wait(_DYING_SECONDS)
            said = processes.last_words(self.process)
            self.close()
            if self.process.returncode == 0:
                return None
            how = f"({describe_exit(self.process.returncode)}){said}{processes.limits_in_force()}"
            raise processes.CompilerDiedError(f"the compiler process died {how}")
        if "fatal" in reply[0]:
            self.close()
            reason = f"{reply[0]['fatal']}{processes.limits_in_force()}"
            raise processes.NoCompilerError(f"the compiler process cannot work: {reason}")
        if "error" in reply[0]:
            if reply[0]["error"].startswith("MemoryError"):
                self.close()
                raise processes.CompilerDiedError(f"the compiler process has no memory{processes.limits_in_force()}")
            raise CompileError(f"LLVM refused the generated code: {reply[0]['error']}")
        return reply

    def is_usable(self) -> bool:
        """Whether it lives, under the limits that are in force now."""
        return self.process.poll() is None and self._limits == processes.limits()

    def has_reply(self) -> bool:
        """Whether `receive` has something to read."""
        assert self.process.stdout is not None
        return bool(_readable([self.process.stdout.fileno()], 0))

    def close(self) -> None:
        """Ends the process, whatever it does: forked children of ours may hold its pipe, which would keep it."""
        _workers.discard(self)
        processes.end(self.process)


_DYING_SECONDS = 5  # from the end of its pipe to that of the process
_LONGEST_POLL_MS = (1 << 31) - 1


def _readable(descriptors: Sequence[int], timeout_seconds: float) -> set[int]:
    """Those that can be read from within this time. Not by select(), for which their numbers can be too large."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(min(timeout_seconds * 1000, _LONGEST_POLL_MS))}


def describe_exit(code: int | None) -> str:
    """What a process's exit code says."""
    if code is None:
        return "still running"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _out_of_time(fields: dict[str, Any], body: bytes) -> CompileError:
    seconds = limits.budget_seconds(fields["opt_level"], len(body))
    return CompileError(f"compiling took more than {seconds:.0f} s of processor time, without optimisation")


class Pending:
    """A request that a worker has, or its reply."""

    def __init__(self, pool: WorkerPool, worker: Worker | None, fields: dict[str, Any], body: bytes) -> None:
        self._pool = pool
        self._worker = worker
        self._request = (fields, body)
        self._reply: tuple[dict[str, Any], bytes] | CompileError | None = None
        self._is_waited_for = False

    def send(self) -> None:
        """Sends the request."""
        assert self._worker is not None
        try:
            self._worker.send(*self._request)
        except BaseException:
            self.abandon()  # interrupted in the middle of a message: the pipe's state is unknown
            raise

    def fileno(self) -> int | None:
        """A descriptor that can be read from when there is a reply; None if there is."""
        worker = self._worker
        if worker is None or self._reply is not None:
            return None
        assert worker.process.stdout is not None
        return worker.process.stdout.fileno()

    def is_ready(self) -> bool:
        """Whether there is a reply."""
        worker = self._worker
        return self._reply is not None or worker is None or worker.has_reply()

    def result(self) -> tuple[dict[str, Any], bytes]:
        """Waits for the reply. To be called once. Raises CompileError if LLVM refuses or the process dies."""
        with self._pool.lock:
            self._is_waited_for = True
        if self._reply is None:
            self.fetch()
        reply, self._reply = self._reply, None
        if isinstance(reply, CompileError):
            raise reply
        assert reply is not None
        return reply

    def fetch(self) -> None:
        """Waits for the reply, keeps it, and gives the worker back."""
        worker = self._worker
        if worker is None:
            self._reply = CompileError("the request was abandoned")
            return
        try:
            reply: tuple[dict[str, Any], bytes] | CompileError | None = worker.receive()
        except CompileError as error:
            reply = error
        except BaseException:
            self.abandon()
            raise
        self._worker = None
        if worker.process.poll() is None:
            self._pool.give_back(worker)
        elif reply is None or self._pool.alone is not None:
            # Nobody's error: it ended just when it got the request, or because this process has to go on alone.
            try:
                reply = self._pool.request(*self._request)
            except CompileError as error:
                reply = error
        elif worker.process.returncode == limits.OUT_OF_TIME:
            quicker = limits.quicker(self._request[0])
            try:
                reply = (
                    _out_of_time(*self._request) if quicker is None else self._pool.request(quicker, self._request[1])
                )
            except CompileError as error:
                reply = error
        self._request = ({}, b"")
        self._reply = reply

    def end_process(self) -> None:
        """Has whoever waits for the reply be told at once that there is none."""
        worker = self._worker
        if worker is not None:
            with contextlib.suppress(OSError):
                worker.process.kill()

    def abandon(self) -> None:
        """Ends the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def __del__(self) -> None:
        """Nobody asked for the result."""
        worker, self._worker = self._worker, None
        if worker is not None:
            try:
                self._pool.give_back(worker, is_busy=True)
            except (RecursionError, MemoryError):  # a finalizer runs anywhere
                self._pool._busy.append(worker)


class WorkerPool:
    """Workers of this process; they start when first needed and end with it.

    After a fork there is one of them in the child: as many children as there are may compile.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a collection in the middle of something gives workers back (`Pending`)
        self.idle: list[Worker] = []
        self._busy: list[Worker] = []  # with a request whose reply nobody wants any more
        self._pending: list[weakref.ref[Pending]] = []
        self.warm = False  # whether `warm_up` was called
        self.pid = os.getpid()
        self.size = 1 if processes.is_forked else max(1, min(os.cpu_count() or 1, 8))
        self._threads: ThreadPoolExecutor | None = None
        # What compiles in this process, in place of workers, one request at a time; see `go_alone`.
        self.alone: Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]] | None = None

    @property
    def threads(self) -> ThreadPoolExecutor:
        """Threads that wait for workers. Not made before they are needed: calls from a process without threads that
        let go of the GIL take less time."""
        from concurrent.futures import ThreadPoolExecutor

        with self.lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(max_workers=self.size, thread_name_prefix="wasmjit-compile")
            return self._threads

    def request(self, fields: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Runs one request on an idle or new worker. Raises CompileError."""
        return self.begin(fields, body).result()

    def begin(self, fields: dict[str, Any], body: bytes = b"") -> Pending:
        """Has a worker start on a request. Raises CompileError if none can be had."""
        if self.alone is not None:
            pending = Pending(self, None, fields, b"")
            try:
                pending._reply = self.alone(fields, body)
            except CompileError as error:
                pending._reply = error
            return pending
        pending = Pending(self, self._take(), fields, body)
        with self.lock:
            self._pending = [one for one in self._pending if (old := one()) is not None and old._worker is not None]
            self._pending.append(weakref.ref(pending))
        pending.send()
        return pending

    @property
    def is_full(self) -> bool:
        """Whether a request would have to wait for a worker."""
        with self.lock:
            return not self.idle and self._num_workers() > self.size

    def _num_workers(self) -> int:
        held = sum(1 for one in self._pending if (pending := one()) is not None and pending._worker is not None)
        return held + len(self.idle) + len(self._busy)

    def _take(self) -> Worker:
        """An idle or new worker. One that died since it was last used is nobody's error."""
        deadline = time.monotonic() + thresholds.WORKER_PATIENCE_SECONDS
        while True:
            with self.lock:
                self._collect()
                worker = self.idle.pop() if self.idle else None
                is_full = self.is_full
            if worker is not None and worker.is_usable():
                return worker
            if worker is not None:
                worker.close()
            elif not is_full or time.monotonic() > deadline:
                return Worker()
            else:
                self._read_ahead()

    def _read_ahead(self) -> None:
        """Takes replies that nobody waits for as yet, in order to have their workers."""
        waiting: dict[int, Pending] = {}
        with self.lock:
            for one in self._pending:
                pending = one()
                descriptor = pending.fileno() if pending is not None and not pending._is_waited_for else None
                if pending is not None and descriptor is not None:
                    waiting[descriptor] = pending
        for descriptor in _readable(list(waiting), thresholds.LOOK_AGAIN_SECONDS):
            with self.lock:
                pending = waiting[descriptor]
                if not pending._is_waited_for and pending.fileno() == descriptor:
                    pending.fetch()

    def _collect(self) -> None:
        """Reads replies that nobody wants. A worker must not get a request before: it may wait for its reply to be
        read, and we would wait for it to read the request."""
        for worker in self._busy[:]:
            if worker.has_reply():
                self._busy.remove(worker)
                try:
                    worker.receive()
                except CompileError:
                    pass
                except BaseException:
                    worker.close()  # a part of the reply may be left
                    raise
                if worker.process.poll() is None:
                    self.give_back(worker)

    def warm_up(self, requests: int) -> None:
        """Starts the workers that will be needed for as many requests: they get ready while the caller prepares those.

        Does something the first time only. Never fails: whoever needs a worker is told.
        """
        with self.lock:
            is_needed = not self.warm and not processes.is_forked and self.alone is None
            missing = min(self.size, requests) - len(self.idle) if is_needed else 0
            self.warm = True
        for _ in range(missing):
            with contextlib.suppress(CompileError):
                self.give_back(Worker())

    def give_back(self, worker: Worker, is_busy: bool = False) -> None:
        """Keeps a worker for later; a busy one has still to reply to a request."""
        with self.lock:
            workers = self._busy if is_busy else self.idle
            if len(workers) < self.size and self.alone is None and self.pid == os.getpid():
                workers.append(worker)
                return
        worker.close()

    def close(self) -> None:
        """Ends all workers that nobody waits for."""
        with self.lock:
            idle, busy, self.idle, self._busy = self.idle, self._busy, [], []
        for worker in (*idle, *busy):
            worker.close()

    def go_alone(self) -> None:
        """Ends all workers: from now on this process compiles by itself, what they were asked for included."""
        from . import llvm

        lock = threading.Lock()

        def compile_here(fields: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
            with lock:
                try:
                    facts, made = llvm.compile_here(fields, body)
                except Exception as error:
                    raise CompileError(f"LLVM refused the generated code: {error}") from None
            return facts, made

        self.alone = compile_here
        for worker in list(_workers):
            with contextlib.suppress(OSError):
                worker.process.kill()  # whoever waits for its reply closes it
        self.close()


_pool: WorkerPool | None = None
_pool_lock = threading.RLock()  # a finalizer or a signal handler may compile, too


def _forget_workers() -> None:
    """After a fork: they are the parent's."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.RLock()
    _workers.clear()


os.register_at_fork(after_in_child=_forget_workers)


def pool() -> WorkerPool:
    """This process's pool; a forked child starts its own, the pipes of the parent are not its to use."""
    global _pool
    with _pool_lock:
        if _pool is None or _pool.pid != os.getpid():
            made = WorkerPool()
            if _pool is None or _pool.pid != os.getpid():  # still
                _pool = made
        return _pool


@atexit.register
def _close_pool() -> None:
    if _pool is not None and _pool.pid == os.getpid():
        _pool.close()


def _request_fields(config: Config, output: str) -> dict[str, Any]:
    return {
        "triple": config.target,
        "cpu": config.cpu,
        "features": config.cpu_features,
        "opt_level": config.final_opt_level,
        "verify": config.verify_ir,
        "output": output,
        "memory_bytes": config.max_compiler_memory,
    }


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """The same for functions that are not to be optimised."""
    return fields | {"opt_level": limits.PLAIN}


_targets: dict[tuple[str | None, str | None, str | None], Target] = {}


def resolve_target(config: Config) -> Target:
    """The target that `config` compiles for: asks LLVM, once per process and choice."""
    key = (config.target, config.cpu, config.cpu_features)
    if key not in _targets:
        fields, _ = pool().request(_request_fields(config, "target"))
        _targets[key] = Target(fields["triple"], fields["cpu"], parse_features(fields["features"]))
    return _targets[key]


def target_architecture(config: Config) -> str:
    """The architecture that `config` compiles for, without asking LLVM."""
    return normal_machine(config.target.partition("-")[0]) if config.target else host_machine()


class Schedule(Protocol):
    """What a compilation asks on the way (tiers/optimiser_process.py)."""

    def choose(self, remaining: Sequence[range]) -> int:
        """Which of the units is to be compiled next."""
        ...

    def made(self, unit: CompiledUnit) -> None:
        """Is called with each unit, in the thread of the compilation."""
        ...


class _InOrder:
    """The schedule of a compilation that nobody watches."""

    def choose(self, remaining: Sequence[range]) -> int:
        return 0

    def made(self, unit: CompiledUnit) -> None:
        pass


def compile_module(
    module: Module,
    config: Config,
    statistics: CompileStatistics | None = None,
    progress: Callable[[CompileProgress], None] | None = None,
    *,
    replaceable: bool = False,
    interprets: bool = False,
    schedule: Schedule | None = None,
) -> list[CompiledUnit]:
    """Validates and compiles every function body of `module` (module-level validation is the caller's).

    With `replaceable`, functions call each other through the function table only, so that each can be replaced.
    With `interprets`, those for which LLVM would take memory out of proportion are left out (`CompiledUnit.is_left`).
    Notes in `module.interpretable` what the interpreter can take, as `validate` does.
    Raises ValidationError or MalformedError for invalid bodies, CompileError if LLVM fails, and what `progress`
    raises. Nothing is left half-done: the objects are returned all together.
    """
    from concurrent.futures import FIRST_COMPLETED, wait

    pid = os.getpid()
    began_at = time.monotonic()
    active = _Active()
    statistics = statistics if statistics is not None else CompileStatistics()
    schedule = schedule or _InOrder()
    policy = CodePolicy.from_config(config, target_architecture(config), replaceable=replaceable, interprets=interprets)
    layout = module_layout(module)
    fields = _request_fields(config, "object")
    workers = pool()
    remaining = list(plan_units(module, thresholds.REPLACEABLE_UNIT_BODY_BYTES if replaceable else None))
    num_units = len(remaining)
    futures: dict[Future[tuple[dict[str, Any], bytes]], range] = {}
    left: list[tuple[range, bytes]] = []  # units of functions that are left out, and the text in their place
    result: list[CompiledUnit] = []
    num_functions = 0
    interpretable = bytearray(len(module.bodies))
    generating: dict[range, float] = {}  # seconds, of units that are not finished

    def finish(functions: range, reply: tuple[dict[str, Any], bytes], is_left: bool = False) -> None:
        nonlocal num_functions
        facts, object_bytes = reply
        statistics.units += 1
        statistics.parse_seconds += facts["parse_seconds"]
        statistics.optimise_seconds += facts["optimise_seconds"]
        statistics.emit_seconds += facts["emit_seconds"]
        seconds = generating.pop(functions, 0.0) + _llvm_seconds(facts)
        result.append(CompiledUnit(functions.start, len(functions), object_bytes, is_left, seconds))
        num_functions += len(functions)
        schedule.made(result[-1])
        if progress is not None:
            progress(CompileProgress(num_functions, len(module.bodies), len(result), num_units))

    def left_seconds() -> float | None:
        if config.compile_timeout is None:
            return None
        left = began_at + config.compile_timeout - time.monotonic()
        if left <= 0:
            raise _timed_out(config.compile_timeout, (*futures.values(), *remaining))
        return left

    in_parallel = config.parallel_compilation and num_units > 1
    try:
        while remaining or futures or left:
            if left and not remaining and not futures:
                units, left = left, []
                if module.has_tail_calls:  # as it turned out: others have to know which functions make some
                    policy = replace(policy, interprets=False)
                    remaining = [functions for functions, _ in units]
                for functions, body in units if not remaining else ():
                    finish(
                        functions,
                        _compile_unit(workers, functions, _plain(fields), body, active, left_seconds()),
                        is_left=True,
                    )
                continue
            left_seconds()
            if os.getpid() != pid:
                raise CompileError("the process was forked while it compiled")  # the threads are the parent's
            # One text more than are being compiled: no worker waits for the generator, and not all texts are in memory
            # at once. A process that compiles by itself does one thing at a time.
            most = workers.size + 1 if in_parallel and workers.alone is None else 0
            if remaining and len(futures) <= most:
                functions = remaining.pop(schedule.choose(remaining) if len(remaining) > 1 else 0)
                started = time.perf_counter()
                unit = Unit(module, functions, policy, layout)
                body = unit.text().encode()
                generating[functions] = time.perf_counter() - started
                statistics.generate_seconds += generating[functions]
                if len(parts := split_unit(functions, unit, len(body))) > 1:
                    remaining[:0] = parts
                    num_units += len(parts) - 1
                    continue
                for function in unit.interpretable:
                    interpretable[function - module.num_imported_functions] = True
                if unit.left:
                    left.append((functions, body))
                    continue
                request = _plain(fields) if unit.tangled else fields
                statistics.instructions += unit.num_instructions
                statistics.ir_bytes += len(body)
                if in_parallel:
                    future = workers.threads.submit(_compile_unit, workers, functions, request, body, active)
                    futures[future] = functions
                else:
                    finish(functions, _compile_unit(workers, functions, request, body, active, left_seconds()))
                continue
            for future in wait(futures, timeout=left_seconds(), return_when=FIRST_COMPLETED).done:
                finish(futures.pop(future), future.result())
    finally:
        for future in futures:
            future.cancel()
        if futures and os.getpid() == pid:  # interrupted, or an error: nobody waits for what they make
            active.end()
    module.interpretable = bytes(interpretable)
    return sorted(result, key=lambda unit: unit.first_function)


def _llvm_seconds(facts: dict[str, Any]) -> float:
    """What a reply says of the time that it took."""
    return float(facts["parse_seconds"] + facts["optimise_seconds"] + facts["emit_seconds"])


def split_unit(functions: range, unit: Unit, text_bytes: int = 0) -> list[range]:
    """A unit as units of which each has one kind of functions: tangled ones, those that are left out, and others.

    Those whose text is far longer than that of a unit of functions that compilers make are split in halves.
    """
    parts = []
    for _, part in itertools.groupby(functions, lambda function: (function in unit.tangled, function in unit.left)):
        first, *rest = part
        parts.append(range(first, first + len(rest) + 1))
    most_bytes = thresholds.MOST_UNIT_TEXT_BYTES if not unit.tangled else thresholds.MOST_TANGLED_UNIT_TEXT_BYTES
    if len(parts) == 1 and text_bytes > most_bytes and len(functions) > 1:
        middle = functions[len(functions) // 2]
        return [range(functions.start, middle), range(middle, functions.stop)]
    return parts


@dataclass(slots=True)
class PendingGroup:
    """Functions that a worker compiles."""

    functions: Sequence[int]
    pending: Pending
    left: AbstractSet[int] = frozenset()  # those of them that are left to the interpreter: there is no code
    generate_seconds: float = 0.0

    def fileno(self) -> int | None:
        """A descriptor that can be read from when it is done; None if it is."""
        return self.pending.fileno()

    def result(self) -> CompiledUnit:
        """Waits for it. To be called once. Raises CompileError."""
        try:
            facts, object_bytes = self.pending.result()
        except CompileError as error:
            raise type(error)(f"functions {', '.join(map(str, self.functions))}: {error.reason}") from None
        seconds = self.generate_seconds + _llvm_seconds(facts)
        return CompiledUnit(self.functions[0], len(self.functions), object_bytes, seconds=seconds)


class GroupCompiler:
    """Compiles replaceable functions of a module that is known to be valid, and those that they call with them."""

    def __init__(
        self,
        module: Module,
        config: Config,
        *,
        opt_level: str | None = None,
        optimised_opt_level: str = "speed",
        interprets: bool = False,
    ) -> None:
        """`opt_level`: `config`'s, or "quick" (compile/llvm.py). `optimised_opt_level`: of loop entries to stay in.

        With `interprets`, functions for which LLVM would take memory out of proportion are left to the interpreter.
        """
        self._module = module
        self._optimised_opt_level = optimised_opt_level
        self._policy = CodePolicy.from_config(
            config, target_architecture(config), replaceable=True, counting=True, interprets=interprets
        )
        self._layout = module_layout(module)
        self._fields = _request_fields(config, "object")
        if opt_level is not None:
            self._fields["opt_level"] = opt_level

    def begin(
        self, function: int, is_missing: Callable[[int], bool], *, at_any_price: bool = False
    ) -> tuple[PendingGroup, Sequence[int]]:
        """Has a worker compile `function`, and others for which `is_missing` holds.

        Also says which functions they call beyond that. Raises CompileError, also for a function that is left to the
        interpreter (FunctionLeftError), but `at_any_price`.
        """
        group = Group(
            self._module,
            function,
            self._policy if not at_any_price else replace(self._policy, interprets=False),
            self._layout,
            is_missing=is_missing,
            room_instructions=thresholds.GROUP_INSTRUCTIONS,
        )
        started = time.perf_counter()
        body = group.text().encode()
        generate_seconds = time.perf_counter() - started
        if function in group.left:
            raise FunctionLeftError("it is left to the interpreter", function=function)
        pending = pool().begin(self._fields_for(function, group), body)
        return PendingGroup(list(group.functions), pending, group.left, generate_seconds), group.reached

    def _fields_for(self, function: int, unit: Unit) -> dict[str, Any]:
        """What the worker is told: large functions are compiled as quickly as can be."""
        if unit.tangled:
            return _plain(self._fields)
        body = self._module.bodies[function - self._module.num_imported_functions]
        is_large = body.end - body.start > thresholds.QUICK_BODY_BYTES
        return self._fields if not is_large else self._fields | {"opt_level": "none"}

    def begin_loop(self, function: int, loop_at: int, *, optimised: bool = False) -> PendingGroup:
        """Has a worker compile `function` alone, entered at the loop whose opcode stands at offset `loop_at`.

        The code is called as `loop_entry` says. With `optimised` it is code to stay in: it does not count, and so never
        asks for better code. LLVM verifies it: a value that is not there where the loop is entered is an error, never
        wrong code. Raises CompileError, with the reason if the loop cannot be entered.
        """
        policy, level = self._policy, self._optimised_opt_level
        if optimised:
            policy = replace(policy, counting=False, optimise_size=level == "speed_and_size")
        entry = LoopEntry(self._module, function, loop_at, policy, self._layout)
        body = entry.text().encode()
        fields = self._fields_for(function, entry) | {"verify": True}
        if optimised and fields["opt_level"] != limits.PLAIN:
            fields["opt_level"] = level
        return PendingGroup([function], pool().begin(fields, body))


def begin_trampolines(wanted: Sequence[tuple[str, FuncType]], config: Config) -> Pending:
    """Has an object made that defines trampolines of these kinds and types."""
    fields = _request_fields(config, "object") | {"opt_level": "trampoline"}
    return pool().begin(fields, trampolines.module_text(wanted).encode())


class _Active:
    """The requests of one compilation, which may end before them."""

    def __init__(self) -> None:
        self.pending: set[Pending] = set()
        self.is_over = False

    def end(self) -> None:
        """Ends the workers that have them, and that of any that is about to begin."""
        self.is_over = True
        for pending in list(self.pending):
            pending.end_process()


def _compile_unit(
    workers: WorkerPool,
    functions: range,
    fields: dict[str, Any],
    body: bytes,
    active: _Active,
    timeout_seconds: float | None = None,
) -> tuple[dict[str, Any], bytes]:
    pending = workers.begin(fields, body)
    active.pending.add(pending)
    try:
        if active.is_over:
            raise CompileError("nobody waits for it any more")
        descriptor = pending.fileno() if timeout_seconds is not None else None
        if descriptor is not None and timeout_seconds is not None and not _readable([descriptor], timeout_seconds):
            raise _timed_out(timeout_seconds, [functions])
        return pending.result()
    except CompileError as error:
        if isinstance(error, CompileTimeoutError):
            raise
        raise type(error)(f"functions {functions.start} to {functions.stop - 1}: {error.reason}") from None
    except BaseException:
        pending.abandon()
        raise
    finally:
        active.pending.discard(pending)
        pending.abandon()


def _timed_out(seconds: float, units: Sequence[range]) -> CompileTimeoutError:
    return deadline.timed_out(seconds, units[0].start if units else None)


def render(module: Module, config: Config, output: str, *, interprets: bool = False) -> str:
    """The code of all units as text, for tools and tests: `output` is "ir" (generated), "optimised" or "assembly".

    With `interprets`, there are traps in place of functions that `compile_module` leaves out.
    """
    policy = CodePolicy.from_config(config, target_architecture(config), interprets=interprets)
    layout = module_layout(module)
    fields = _request_fields(config, output)
    texts = []
    remaining = list(plan_units(module))
    while remaining:
        functions = remaining.pop(0)
        unit = Unit(module, functions, policy, layout)
        text = unit.text()
        if len(parts := split_unit(functions, unit)) > 1:
            remaining[:0] = parts
            continue
        if output != "ir":
            request = _plain(fields) if unit.tangled else fields
            text = _compile_unit(pool(), functions, request, text.encode(), _Active())[1].decode()
        texts.append(text)
    return "\n".join(texts)
