"""Asynchronous calls: wasm runs on a thread of ours, `async def` host functions on the event loop that awaits the call.

wasm code cannot be suspended, so each activation keeps a thread, and the thread waits where wasm waits. Who does what:

    event loop                                     worker thread
    `run`, in the task that awaits the call        `_Lane._run`: calls the function
      waits for messages of its `_Job`               wasm calls an asynchronous host function: `_Job.call_on_loop`
      gets a `_HostCall`, awaits the coroutine       waits for the reply, and meanwhile runs what that coroutine
      in that same task, replies                     calls in the same Store
      gets `_Done`, returns or raises              takes the Store's next job

The coroutine of a host function runs in the awaiting task itself: cancelling the task cancels it, and it sees the
task's context variables. A `_Lane` gives a Store one thread at a time: further calls wait for their turn, and a nested
call (from a host function's coroutine) runs on the thread that waits for that coroutine.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from ..errors import WasmError
from .awaited import here, name_of
from .native import lib
from .store import StoreRecord
from .trap import Trap, TrapCode

# A thread without work ends after this long.
IDLE_SECONDS = 10.0
# A worker that waits for a host function looks this often whether its loop has been closed without a word.
CLOSED_LOOP_SECONDS = 1.0
# A cancelled call is interrupted again after this long if its code still runs: a host function may have caught the
# first interrupt, or the code may have been just about to start.
INTERRUPT_AGAIN_SECONDS = 0.05

_UNSET = object()


# ---- the threads ----


class _Threads:
    """Daemon threads, as many as there are blocked calls: one that waits never keeps another call from starting.

    A finalizer may run, and call `start`, wherever something is allocated: the lock can be taken again, and nothing is
    given to the thread that asks, which may wait for it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._idle: dict[int, SimpleQueue[Callable[[], None]]] = {}  # by thread
        self._count = 0

    def start(self, work: Callable[[], None]) -> None:
        """Runs `work` on an idle thread or a new one. Raises RuntimeError if there can be no further thread."""
        with self._lock:
            others = [thread for thread in self._idle if thread != threading.get_ident()]
            if others:
                self._idle.pop(others[-1]).put(work)
                return
            self._count += 1
            name = f"wasmjit-{self._count}"
        threading.Thread(target=self._serve, args=(work,), name=name, daemon=True).start()

    def _serve(self, work: Callable[[], None]) -> None:
        inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        while True:
            work()
            del work  # it refers to a Store
            with self._lock:
                self._idle[threading.get_ident()] = inbox
            try:
                work = inbox.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._idle.pop(threading.get_ident(), None) is not None:
                        return
                work = inbox.get()  # given just now


_threads = _Threads()


# ---- what travels between the loop and the worker ----


class _Done:
    """The end of a job."""

    __slots__ = ("failure", "result")

    def __init__(self, result: Any, failure: BaseException | None) -> None:
        self.result = result
        self.failure = failure


class _HostCall:
    """A worker's request that the loop awaits ``function(*arguments)``; the reply is put into the same object."""

    __slots__ = ("arguments", "context", "done", "failure", "function", "job", "outer", "result")

    def __init__(self, job: _Job, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.job = job
        self.function = function
        self.arguments = arguments
        self.context = contextvars.copy_context()  # the sender's: the worker's at first, the loop's in the reply
        self.outer: _HostCall | None = None  # the host call whose coroutine awaits our job
        self.done = False
        self.result: Any = None
        self.failure: BaseException | None = None

    async def serve(self) -> None:
        """Awaits the coroutine, on the loop and in the task that awaits the job, and replies."""
        _carry(self.context)
        self.outer = _serving.get()
        _serving.set(self)
        try:
            awaitable = self.function(*self.arguments)
            if not inspect.isawaitable(awaitable):
                raise TypeError(f"asynchronous host function {name_of(self.function)} returned nothing to await")
            result = await awaitable
        except GeneratorExit:  # the task is being thrown away and must not await anything any more
            self.reply(None, asyncio.CancelledError())
            raise
        except BaseException as error:
            inner = error.__traceback__
            self.reply(None, error.with_traceback(inner.tb_next if inner is not None else None))
        else:
            self.reply(result, None)
        finally:
            _serving.set(self.outer)

    def reply(self, result: Any, failure: BaseException | None) -> None:
        """Lets the worker go on."""
        self.result, self.failure = result, failure
        self.context = contextvars.copy_context()
        self.job.lane.answer(self)


# The host call whose coroutine this is, so that calls it makes into the same Store are known as nested ones.
_serving: contextvars.ContextVar[_HostCall | None] = contextvars.ContextVar("wasmjit_serving", default=None)


def _carry(source: contextvars.Context) -> None:
    """Sets the context variables that differ in `source`, so that both sides of a call see each other's changes."""
    for variable, value in source.items():
        if variable is not _serving and variable.get(_UNSET) is not value:
            variable.set(value)


class _Job:
    """One function to be run on the thread of a lane, and the mailbox of the coroutine that awaits it."""

    def __init__(self, lane: _Lane, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.lane = lane
        self.function = function
        self.arguments = arguments
        self.context = contextvars.copy_context()
        self.outer: _Job | None = None  # what the thread ran before, and will go on with
        self.cancelled = False
        self._loop = asyncio.get_running_loop()
        self._mail: deque[_HostCall | _Done] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._abandoned = False

    # On the loop.

    async def next_message(self, timeout_seconds: float | None) -> _HostCall | _Done | None:
        """What the worker sends next; None if it sends nothing for so long. May be cancelled without losing any."""
        if not self._mail:
            self._waiter = self._loop.create_future()
            timer = None if timeout_seconds is None else self._loop.call_later(timeout_seconds, self._wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        return self._mail.popleft() if self._mail else None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def deliver(self, message: _HostCall | _Done) -> None:
        """Puts a message into the mailbox."""
        if self._abandoned and isinstance(message, _HostCall):
            message.reply(None, asyncio.CancelledError())
        self._mail.append(message)
        self._wake()

    def abandon(self) -> None:
        """Nobody will look into the mailbox any more: the code is to end."""
        self._abandoned = True
        self.lane.cancel(self)
        for message in self._mail:
            if isinstance(message, _HostCall):
                message.reply(None, asyncio.CancelledError())

    # On the worker.

    def loop_is_closed(self) -> bool:
        """Whether no message can arrive any more."""
        return self._loop.is_closed()

    def post(self, message: _HostCall | _Done) -> None:
        """Sends a message to the awaiting coroutine. Raises RuntimeError if its loop is closed."""
        self._loop.call_soon_threadsafe(self.deliver, message)

    def call_on_loop(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Has the loop await ``function(*arguments)``; returns or raises what comes of it."""
        if self.cancelled:
            raise asyncio.CancelledError
        call = _HostCall(self, function, arguments)
        self.lane.lend(True)
        try:
            try:
                self.post(call)
            except RuntimeError as error:
                raise WasmError("the event loop that awaited this call is closed") from error
            self.lane.wait_for(call)
        finally:
            self.lane.lend(False)
        _carry(call.context)
        failure = call.failure
        try:
            if failure is not None:
                raise failure
            return call.result
        finally:
            del failure, call  # the traceback refers to this frame


# ---- one Store's turn-taking ----


class _Lane:
    """What runs one Store's asynchronous calls: one thread at a time, first come, first served."""

    def __init__(self, record: StoreRecord) -> None:
        self._record = weakref.ref(record)
        self._changed = threading.Condition()
        # All below is guarded by _changed.
        self._queue: deque[_Job] = deque()
        self._nested: deque[_Job] = deque()  # for the thread while it waits for a host function's coroutine
        self._running: list[_Job] = []  # outermost first
        self._has_thread = False
        self._thread: int | None = None  # which, while it runs

    # On the loop.

    def submit(self, job: _Job) -> None:
        """Has the job run when it is its turn. Raises WasmError where that could never be."""
        outer = _serving.get()
        while outer is not None and (outer.job.lane is not self or outer.done):
            outer = outer.outer
        current = getattr(here, "job", None)
        while outer is None and current is not None:
            if current.lane is self:
                raise WasmError("this Store's code waits for the host function that awaits this call: call it directly")
            current = current.outer
        with self._changed:
            if outer is None and self._thread == threading.get_ident():  # a finalizer that runs between two calls
                raise WasmError("an asynchronous call cannot be awaited on the thread that runs this Store's calls")
            if outer is not None and self._has_thread:
                self._nested.append(job)
                self._changed.notify()
                return
            self._queue.append(job)
            if not self._has_thread:
                try:
                    _threads.start(self._work)
                except BaseException:
                    self._queue.pop()
                    raise
                self._has_thread = True

    def cancel(self, job: _Job) -> None:
        """Interrupts the job, or takes it from the queue. It ends with a message in any case."""
        with self._changed:
            job.cancelled = True
            for waiting in (self._queue, self._nested):
                if job in waiting:
                    waiting.remove(job)
                    job.deliver(_Done(None, asyncio.CancelledError()))
                    return
            record = self._record()
            if job in self._running and record is not None:
                _interrupt(record)

    def answer(self, call: _HostCall) -> None:
        """Wakes the thread that waits for `call`."""
        with self._changed:
            call.done = True
            self._changed.notify()

    # On the worker.

    def wait_for(self, call: _HostCall) -> None:
        """Waits for the reply to `call`, and runs nested jobs meanwhile."""
        while True:
            with self._changed:
                while not call.done and not self._nested:
                    if not self._changed.wait(CLOSED_LOOP_SECONDS) and call.job.loop_is_closed():
                        call.failure = WasmError("the event loop that awaited this call was closed")
                        call.done = True
                if call.done:
                    return
                job = self._nested.popleft()
            self.lend(False)
            self._run(job)
            del job

    def lend(self, lent: bool) -> None:
        """Says whether the coroutine may act on the Store in this thread's place: grow memories that have to move."""
        record = self._record()
        native = None if record is None else record.native
        if native is not None:
            lib.wj_store_lend(native.pointer, lent)

    def _work(self) -> None:
        self._thread = threading.get_ident()
        while True:
            with self._changed:
                waiting = self._nested or self._queue  # nested ones are left over if their host function did not wait
                if not waiting:
                    self._has_thread = False
                    self._thread = None
                    return
                job = waiting.popleft()
            self._run(job)
            del job

    def _run(self, job: _Job) -> None:
        with self._changed:
            self._running.append(job)
        job.outer = getattr(here, "job", None)
        here.job = job
        result, failure = None, None
        try:
            if job.cancelled:
                raise asyncio.CancelledError
            result = job.context.run(job.function, *job.arguments)
        except BaseException as error:
            failure = error
        here.job = job.outer
        with self._changed:
            self._running.pop()
            record = self._record()
            if job.cancelled and record is not None and self._running:
                _forget_interrupt(record)
        if job.outer is not None:
            self.lend(True)  # again, before the coroutine goes on
        try:
            job.post(_Done(result, failure))
        except RuntimeError:
            pass  # the loop is closed: nobody waits
        finally:
            del failure, result, record


def _interrupt(record: StoreRecord) -> None:
    """Ends the store's outermost call, if one runs."""
    record.interrupt()


def _forget_interrupt(record: StoreRecord) -> None:
    """Takes back the interrupt that ended a nested job, or came too late for it: the outer call goes on."""
    native = record.native
    if native is not None:
        lib.wj_store_forget_interrupt(native.pointer)


_lanes: weakref.WeakKeyDictionary[StoreRecord, _Lane] = weakref.WeakKeyDictionary()


def _lane_of(record: StoreRecord) -> _Lane:
    """Without a lock: making a lane may run a finalizer that asks for it."""
    lane = _lanes.get(record)
    return _lanes.setdefault(record, _Lane(record)) if lane is None else lane


def _after_fork() -> None:
    """In a child: no thread has come along, and those that were at work may have held any lock."""
    global _lanes, _threads
    _lanes = weakref.WeakKeyDictionary()
    _threads = _Threads()


os.register_at_fork(after_in_child=_after_fork)


# ---- what func.py, linker.py and instance.py use ----


async def run(record: StoreRecord, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, which runs code of this store, on a worker thread; the loop goes on meanwhile.

    Returns or raises what it does. Cancelling interrupts the code and waits until it has unwound, so that the store is
    free again when this returns. Raises WasmError from a host function of the store that the worker itself runs.
    """
    job = _Job(_lane_of(record), function, arguments)
    job.lane.submit(job)
    cancellation: asyncio.CancelledError | None = None
    try:
        while True:
            try:
                message = await job.next_message(INTERRUPT_AGAIN_SECONDS if cancellation else None)
            except asyncio.CancelledError as error:
                cancellation = cancellation or error
                job.lane.cancel(job)
                continue
            if isinstance(message, _Done):
                break
            if message is None:
                job.lane.cancel(job)
            elif cancellation is not None:
                message.reply(None, cancellation)
            else:
                await message.serve()
        _carry(job.context)
        failure = message.failure
        if cancellation is not None and (failure is None or _is_interrupt(failure)):
            raise cancellation
        if failure is not None:
            raise failure
        return message.result
    except GeneratorExit:  # thrown away without being cancelled: nobody will look at what comes
        job.abandon()
        raise
    finally:
        message = failure = cancellation = None  # tracebacks refer to this frame


def _is_interrupt(failure: BaseException) -> bool:
    return isinstance(failure, asyncio.CancelledError) or (
        isinstance(failure, Trap) and failure.trap_code == TrapCode.INTERRUPT
    )


__all__ = ["run"]
