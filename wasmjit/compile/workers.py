"""The compiler's worker processes, which LLVM runs in: requests to them, and the pool of this process.

LLVM aborts the process on some fatal errors and holds one global lock: in processes of its own a crash becomes a
CompileError, and requests are done side by side. compile/llvm.py is what they run.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from .. import processes, thresholds
from ..errors import CompileError
from . import limits
from .crew import Crew
from .wire import read_message, write_request

_PIPE_BYTES = 1 << 20
# All that were not closed. A `Pending` in a garbage cycle gives its worker back when it is collected: if nobody else
# had it, the worker would be part of that garbage, and its pipes would be closed by their own finalizers.
_workers: set[Worker] = set()


class Worker:
    """One compiler process. Used by one thread at a time."""

    def __init__(self, niceness: int = 0) -> None:
        """Raises CompileError if the process cannot be started."""
        self._limits = processes.limits()
        self.process = processes.start("wasmjit.compile.worker", niceness=niceness)
        _workers.add(self)
        # Requests are not to wait for the worker to start. Linux has the call, and may refuse.
        with contextlib.suppress(OSError, AttributeError):
            assert self.process.stdin is not None
            fcntl.fcntl(self.process.stdin, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def send(self, fields: dict[str, Any], body: bytes = b"") -> None:
        """Sends one request; `receive` has to follow, which tells what went wrong."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            write_request(self.process.stdin, limits.with_budget(fields, len(body)), body)

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
        return bool(readable([self.process.stdout.fileno()], 0))

    def close(self) -> None:
        """Ends the process, whatever it does: forked children of ours may hold its pipe, which would keep it."""
        _workers.discard(self)
        processes.end(self.process)


_DYING_SECONDS = 5  # from the end of its pipe to that of the process
_LONGEST_POLL_MS = (1 << 31) - 1


def readable(descriptors: Sequence[int], timeout_seconds: float) -> set[int]:
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
    seconds = limits.with_budget(fields, len(body))["cpu_seconds"]
    return CompileError(f"compiling took more than {seconds:.0f} s of processor time, without optimisation")


class Pending:
    """A request that a worker has, or its reply."""

    _worker: Worker | None = None  # also of one that an interrupt kept from being made

    def __init__(self, pool: WorkerPool, fields: dict[str, Any], body: bytes) -> None:
        self._pool = pool
        self._is_sent = False
        self._request = (fields, body)
        self._reply: tuple[dict[str, Any], bytes] | CompileError | None = None
        self._exit_code: int | None = None  # of its worker, if that ended
        self._is_waited_for = False

    def send(self) -> None:
        """Sends the request."""
        assert self._worker is not None
        try:
            self._is_sent = True
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

    def result(self) -> tuple[dict[str, Any], bytes]:
        """Waits for the reply. To be called once. Raises CompileError if LLVM refuses or the process dies."""
        with self._pool.lock:
            self._is_waited_for = True
        if self._reply is None and self._exit_code is None:
            self.fetch()
        reply, self._reply = self._reply, None
        if self._exit_code is not None:
            reply = self._again(self._exit_code, reply)
        self._request = ({}, b"")
        if isinstance(reply, CompileError):
            raise reply
        assert reply is not None
        return reply

    def fetch(self) -> None:
        """Waits for the reply, keeps it, and gives the worker back.

        Asks nobody else, where the worker ended: the pool's lock may be held, which a worker that starts needs.
        """
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
        self._is_sent = False
        if worker.process.poll() is None:
            self._pool.give_back(self)
            self._request = ({}, b"")
        else:
            self._worker = None
            self._exit_code = worker.process.returncode
        self._reply = reply

    def _again(
        self, exit_code: int | None, reply: tuple[dict[str, Any], bytes] | CompileError | None
    ) -> tuple[dict[str, Any], bytes] | CompileError | None:
        """The reply of another worker, where the first ended for no reason of the request; or that one."""
        try:
            # Nobody's error: it ended just when it got the request, or because this process has to go on alone.
            if reply is None or self._pool.alone is not None:
                return self._pool.request(*self._request)
            if exit_code == limits.OUT_OF_TIME:
                quicker = limits.quicker(self._request[0])
                if quicker is None:
                    return _out_of_time(*self._request)
                return self._pool.request(quicker, self._request[1])
        except CompileError as error:
            return error
        return reply

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
        if self._worker is not None:
            try:
                self._pool.give_back(self)
            except (RecursionError, MemoryError):  # a finalizer runs anywhere
                self._pool._busy.append(self._worker)


class WorkerPool:
    """Workers of this process; they start when first needed and end with it.

    After a fork there is one of them in the child: as many children as there are may compile.
    """

    def __init__(self, niceness: int = 0) -> None:
        self._niceness = niceness  # of workers
        self.lock = threading.RLock()  # a collection in the middle of something gives workers back (`Pending`)
        self.idle: list[Worker] = []
        self._busy: list[Worker] = []  # with a request whose reply nobody wants any more
        self._pending: list[weakref.ref[Pending]] = []
        self.warm = False  # whether `warm_up` was called
        self.pid = os.getpid()
        self.size = 1 if processes.is_forked else max(1, min(os.cpu_count() or 1, 8))
        # Trampolines are made beside the units of their module. One that is started for them and ended when it comes
        # back, with each module, takes as much processor time as small modules do.
        self.most_workers = self.size + 1
        self.crew = Crew()  # that waits for workers
        # What compiles in this process, in place of workers, one request at a time; see `go_alone`.
        self.alone: Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]] | None = None

    def request(self, fields: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Runs one request on an idle or new worker. Raises CompileError."""
        return self.begin(fields, body).result()

    def begin(self, fields: dict[str, Any], body: bytes = b"") -> Pending:
        """Has a worker start on a request. Raises CompileError if none can be had."""
        if self.alone is not None:
            pending = Pending(self, fields, b"")
            try:
                pending._reply = self.alone(fields, body)
            except CompileError as error:
                pending._reply = error
            return pending
        pending = Pending(self, fields, body)
        self._take(pending)
        pending.send()
        return pending

    @property
    def is_held_by_this_thread(self) -> bool:
        """Whether a signal handler or a finalizer asks, in the middle of something here: it must not wait for threads
        that would use the pool."""
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]

    @property
    def is_full(self) -> bool:
        """Whether a request would have to wait for a worker."""
        with self.lock:
            return not self.idle and self._num_workers() >= self.most_workers

    def is_busy(self) -> bool:
        """As `is_full`, once replies are taken that are there: nobody may want them any more, or not as yet."""
        if self.is_full:
            with self.lock:
                self._collect()
            self._read_ahead(0)
        return self.is_full

    def _num_workers(self) -> int:
        held = sum(1 for one in self._pending if (pending := one()) is not None and pending._worker is not None)
        return held + len(self.idle) + len(self._busy)

    def _take(self, pending: Pending) -> None:
        """Gives it an idle or new worker. One that died since it was last used is nobody's error."""
        deadline = time.monotonic() + thresholds.WORKER_PATIENCE_SECONDS
        while True:
            with self.lock:
                self._collect()
                kept = [one for one in self._pending if (old := one()) is not None and old._worker is not None]
                self._pending = [*kept, weakref.ref(pending)]
                if self.idle:
                    # No call in between, at which a signal handler may raise: always one of the two has it.
                    pending._worker = self.idle[-1]
                    del self.idle[-1]
                is_full = self.is_full
            worker = pending._worker
            if worker is not None and worker.is_usable():
                return
            if worker is not None:
                pending.abandon()
            elif not is_full or time.monotonic() > deadline:
                self._start_worker()
            else:
                self._read_ahead(thresholds.LOOK_AGAIN_SECONDS)

    def _start_worker(self) -> None:
        """Adds an idle worker. Raises CompileError.

        Not in the main thread: what signal handlers raise there, Ctrl-C too, would leave a process that nobody has.
        """
        if threading.current_thread() is not threading.main_thread():
            return self._keep(Worker(self._niceness))
        processes.prepare()
        errors: list[BaseException] = []
        done = threading.Event()

        def start() -> None:
            try:
                self._keep(Worker(self._niceness))
            except BaseException as error:
                errors.append(error)
            finally:
                done.set()

        try:
            processes.start_thread(start)
        except (RuntimeError, MemoryError):
            return self._keep(Worker(self._niceness))
        done.wait()
        if errors:
            raise errors[0]

    def _keep(self, worker: Worker) -> None:
        # Without the lock: the thread that this one starts a worker for may hold it, further up its stack, where a
        # signal handler interrupted it. In front: `_take` gets what is at the end in two steps.
        if self.alone is None and self.pid == os.getpid():
            self.idle.insert(0, worker)
        else:
            worker.close()

    def _read_ahead(self, timeout_seconds: float) -> None:
        """Takes replies that nobody waits for as yet, and come in this time, in order to have their workers."""
        waiting: dict[int, Pending] = {}
        with self.lock:
            for one in self._pending:
                pending = one()
                descriptor = pending.fileno() if pending is not None and not pending._is_waited_for else None
                if pending is not None and descriptor is not None:
                    waiting[descriptor] = pending
        for descriptor in readable(list(waiting), timeout_seconds):
            with self.lock:
                pending = waiting[descriptor]
                if not pending._is_waited_for and pending.fileno() == descriptor:
                    pending._is_waited_for = True  # nor by a signal handler that comes meanwhile
                    pending.fetch()

    def _collect(self) -> None:
        """Reads replies that nobody wants. A worker must not get a request before: it may wait for its reply to be
        read, and we would wait for it to read the request."""
        for worker in self._busy[:]:
            if worker.has_reply():
                try:
                    self._busy.remove(worker)
                    worker.receive()
                except CompileError:
                    pass
                except BaseException:
                    worker.close()  # a part of the reply may be left
                    raise
                if worker.process.poll() is None:
                    self._keep(worker)

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
                self._start_worker()

    def give_back(self, pending: Pending) -> None:
        """Keeps its worker for later; one that was sent the request has still to reply."""
        with self.lock:
            workers = self._busy if pending._is_sent else self.idle
            worker = pending._worker
            if worker is None:
                return
            if len(workers) < self.most_workers and self.alone is None and self.pid == os.getpid():
                # As in `_take`.
                workers += [worker]
                pending._worker = None
                return
        pending.abandon()

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
_background_pool: WorkerPool | None = None
_pool_lock = threading.RLock()  # a finalizer or a signal handler may compile, too


def _forget_workers() -> None:
    """After a fork: they are the parent's."""
    global _pool, _background_pool, _pool_lock
    _pool, _background_pool, _pool_lock = None, None, threading.RLock()
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


def background_pool() -> WorkerPool:
    """That for what nobody waits for: its workers give way to the program, and are as many as it has processors."""
    global _background_pool
    with _pool_lock:
        if _background_pool is None or _background_pool.pid != os.getpid():
            num_processors = processes.num_processors()
            made = WorkerPool(thresholds.BESIDE_NICENESS if num_processors > 1 else thresholds.BESIDE_NICENESS_ALONE)
            made.size = made.most_workers = min(made.size, num_processors)
            if _background_pool is None or _background_pool.pid != os.getpid():  # still
                _background_pool = made
        return _background_pool


@atexit.register
def _close_pools() -> None:
    for one in (_pool, _background_pool):
        if one is not None and one.pid == os.getpid():
            one.close()
