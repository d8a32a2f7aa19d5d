"""The optimiser's client: has another process make the optimised code of modules whose baseline code runs here.

Baseline code calls functions through the module's function table only, and func-refs refer to a jump through it
(runtime/entries.py), so storing an address there redirects all later calls of a function. Activations stay in the code
they are in, which remains mapped as long as the module does. A process of its own, the *optimiser*, compiles one module
after the other at low priority, as tier "optimized" does, cache included: it takes neither the GIL nor, as long as
others want it, the processor (tiers/optimiser_process.py).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .. import processes, thresholds
from ..artifact import Artifact
from ..cache import take_background_turn
from ..config import Config
from ..driver.build import has_cache
from ..driver.group_code import GroupCode
from ..errors import CompileError, WasmError
from ..processes import importing
from ..wasm.module import Module
from . import background, messages
from .function_tiers import Made

if TYPE_CHECKING:
    import subprocess

_NEVER = float("inf")  # of math, which takes a thirtieth of the time that a module's start takes

# Makes an Artifact or a GroupCode executable; raises WasmError.
Load = Callable[[Any], Any]


class Replaceable(Protocol):
    """What runs baseline code."""

    def replace_functions(self, code: Any) -> None:
        """Has later calls of the functions that `code`, a GroupCode that was loaded, has go there."""
        ...

    def weights(self, units: Sequence[range]) -> list[int]:
        """How much groups of functions were used so far."""
        ...

    def replace_code(self, code: Any) -> None:
        """Has later calls go to `code`, an Artifact that was loaded."""
        ...


class Optimisation:
    """The optimised code of one module, made by the optimiser once `start` was called. Thread-safe.

    Who runs the baseline code is held weakly, and so is this by the optimiser: what nobody has any more is not made.
    """

    def __init__(
        self,
        config: Config,
        wasm: bytes,
        load: Load,
        lazy_module: Module | None = None,
        *,
        waits_for_use: bool = False,
    ) -> None:
        """`load` makes code executable. With `lazy_module`, the decoded module, its functions can be replaced a few at
        a time.

        `waits_for_use`: it begins after `begin_soon`, or when somebody waits for it; but what is large and for the
        cache by itself, as all who run it save its validation then.
        """
        self._load = load
        self._lazy_module = lazy_module
        self._units: list[Any] = []  # those that are ready, until all are
        self._made: list[Made] = []  # what was compiled
        self.config = config
        self.wasm = wasm
        self._lock = threading.RLock()  # a signal handler may load the same module
        self._done = threading.Event()
        self.is_wanted = not waits_for_use or (self.is_for_cache and len(wasm) >= thresholds.LARGE_MODULE_BYTES)
        self.begin_at = 0.0
        self._busy_until = 0.0  # in processor time of this process: before it does not begin
        self._wait_for_use()
        self._artifact: Artifact | None = None
        self._error: str | None = None
        self.may_be_tried_again = False  # what failed for a reason that may go away
        self.has_died = False  # its compiler: of the module, maybe
        self.is_awaited = False  # the program stands still until it is there: it gives way to nobody
        self._is_submitted = False
        self._num_failures = 0
        self._running: weakref.ref[Any] | None = None
        self._pid = os.getpid()

    def _wait_for_use(self) -> None:
        is_alone = processes.num_processors() == 1
        times = thresholds.OPTIMISER_PATIENCE_ALONE if is_alone else 1
        patience_seconds = times * thresholds.OPTIMISER_PATIENCE_SECONDS
        self.begin_at = time.monotonic() + patience_seconds
        # Others may keep the one processor from the program: then it has not run for long.
        self._busy_until = time.process_time() + patience_seconds if is_alone else 0.0

    def due_at(self) -> float:
        """When to begin, as far as is known now."""
        missing_seconds = 0.0 if self.is_awaited else self._busy_until - time.process_time()
        return max(self.begin_at, time.monotonic() + missing_seconds) if missing_seconds > 0 else self.begin_at

    def begin_soon(self) -> None:
        """The module is used: it is worth optimising, when the program has run for some time."""
        self._come_along()
        if not self.is_wanted:
            self.is_wanted = True
            self.start()

    def start(self) -> None:
        """Puts it behind those that wait already, if it is wanted. Where that cannot be, the module goes on without."""
        if not self.is_wanted:
            return
        try:
            optimiser = _current_optimiser()
            if not self._is_submitted:
                optimiser.submit(self, keep=self.is_for_cache)
                self._is_submitted = True
            if self.is_awaited:
                optimiser.hurry(self)
            optimiser.look_again()
        except (RuntimeError, MemoryError, OSError) as error:  # no thread
            self.fail(error)

    @property
    def is_for_cache(self) -> bool:
        """Whether the code is of use even when nobody has the module any more."""
        return has_cache(self.config)

    @property
    def is_left(self) -> bool:
        """Whether it is to be made after the program's end, if it has not been begun."""
        return self.is_for_cache and self.is_wanted and self.config.background_cpu_seconds > 0 and not self.has_died

    @property
    def artifact(self) -> Artifact | None:
        """The optimised code, if it is there."""
        return self._artifact

    def attach(self, running: Replaceable) -> None:
        """Has the code of `running` replaced when there is better one; at once if there is."""
        self._come_along()
        with self._lock:
            if self._artifact is not None:
                running.replace_code(self._load(self._artifact))
            else:
                self._running = weakref.ref(running)
                for code in self._units:
                    running.replace_functions(code)

    def wait(self, timeout_seconds: float | None = None) -> Artifact | None:
        """The optimised code, which runs now wherever this module does; None if it takes longer than the timeout.

        Raises CompileError if it could not be made; the module goes on with baseline code.
        """
        self._come_along()
        with self._lock:
            if self._error is not None and self.may_be_tried_again:  # and is: somebody asks again
                self._error = None
                self._done.clear()
        if not self._done.is_set():
            self.begin_at = 0.0  # somebody waits for it
            self.is_wanted = self.is_awaited = True
            self.start()
        if not self._done.wait(timeout_seconds):
            return None
        if self._error is not None:
            raise CompileError(f"optimising in the background failed: {self._error}")
        return self._artifact

    def _come_along(self) -> None:
        """After a fork: the parent has the optimiser and its thread, which may have held the lock."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._lock = threading.RLock()
        if self._busy_until:  # that was the parent's processor time
            self._wait_for_use()
        if self._artifact is None and (self._error is None or self.may_be_tried_again):
            self._done = threading.Event()
            self._error = None
            self._is_submitted = False
            self.start()

    def finish(self, serialized: bytes) -> None:
        """Takes the optimiser's result into use. Raises WasmError if it cannot be."""
        artifact = Artifact.from_bytes(serialized)
        artifact.check_compatible(self.config.cache_key(), runs_here=False)  # `load` asks
        artifact.made, self._made = self._made, []
        with self._lock:
            running = self._running() if self._running is not None else None
            if running is not None:
                running.replace_code(self._load(artifact))
            self._artifact = artifact
            self._error, self.may_be_tried_again = None, False
            self._units.clear()
        self._done.set()

    def weights(self, units: Sequence[range]) -> list[int]:
        """How much the functions of each unit were used so far."""
        running = self._running() if self._running is not None else None
        return [0] * len(units) if running is None else running.weights(units)

    def take_unit(self, first_function: int, count: int, object_bytes: bytes, seconds: float) -> None:
        """Takes some of the optimised code into use, if that can be: all of it comes in the end.

        Raises CompileError if it is not what it should be.
        """
        functions = range(first_function, first_function + count)
        self._made.append((functions, seconds))
        if self._lazy_module is None:
            return
        with importing():
            from ..compile.pipeline import CompiledUnit

        unit = CompiledUnit(first_function, count, object_bytes, seconds=seconds)
        try:
            code = self._load(GroupCode(self._lazy_module, unit, functions))
        except (WasmError, OSError, MemoryError) as error:
            if isinstance(error, CompileError):
                raise
            return
        with self._lock:
            running = self._running() if self._running is not None else None
            self._units.append(code)
            if running is not None:
                running.replace_functions(code)

    def fail(self, error: BaseException) -> None:
        """There is no optimised code: never, or not now."""
        is_short = isinstance(error, messages.SHORTAGES) or type(error) is WasmError  # the system refuses to load code
        with self._lock:
            self._error = messages.reason(error)
            self.has_died = isinstance(error, processes.CompilerDiedError)
            self.may_be_tried_again = is_short or self.has_died
            self._num_failures += 1
            pause_seconds = min(
                thresholds.OPTIMISER_FIRST_PAUSE_SECONDS * 2**self._num_failures,
                thresholds.OPTIMISER_LONGEST_PAUSE_SECONDS,
            )
            self.begin_at = time.monotonic() + pause_seconds if is_short else _NEVER
        self._done.set()
        if is_short:
            processes.say_once(error)


class _Optimiser:
    """The optimiser of this process, and the thread that hands it one module after the other."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.process: subprocess.Popen[bytes] | None = None
        self._legacy: background.Legacy | None = None  # that the process has
        self._limits: tuple[int, ...] = ()  # under which it was started
        self._niceness = 0  # with which
        self._waiting: list[Callable[[], Optimisation | None]] = []
        self._making: Optimisation | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._is_sent = False  # whether the process has all of what it makes
        self._lock = threading.RLock()  # of starting and ending the process; a finalizer may end it, too
        self._has_thread = False

    def submit(self, job: Optimisation, keep: bool) -> None:
        """Has the code made, after the next `look_again`, unless `job` is gone by then; with `keep` it will not be."""
        with self._changed:
            self._waiting.append((lambda: job) if keep else weakref.ref(job))

    def look_again(self) -> None:
        """Something waits, or less long than before. Raises RuntimeError if there can be no thread now."""
        with self._changed:
            if not self._has_thread:
                processes.start_thread(self._run)
                self._has_thread = True
            self._changed.notify()

    def hurry(self, job: Optimisation) -> None:
        """The program waits for what is made now, if it is this."""
        process = self.process
        if self._making is job and process is not None and self._niceness:
            processes.catch_up(process)

    def close(self) -> None:
        """At the end of the program: hands over what is for the cache, and ends the process if there is nothing.

        Waits for nothing. The process learns of it when this one has ended.
        """
        self._closed = True
        if getattr(sys, "last_type", None) is KeyboardInterrupt:  # whoever ends it like that wants an end
            with self._lock:
                return self._end_process()
        making = self._making
        waiting = [job for reference in self._waiting if (job := reference()) is not None]
        left = [job for job in waiting if job.is_left]
        goes_on = making is not None and making.is_for_cache and making.config.background_cpu_seconds > 0
        with contextlib.suppress(OSError, RuntimeError, MemoryError, WasmError):  # then it is made another time
            if goes_on and self._is_sent and self.process is not None and self._legacy is not None:
                assert making is not None
                self._legacy.write(
                    [({"config": messages.options(job.config)}, job.wasm) for job in left], _budget([making, *left])
                )
                processes.forget(self.process)
                return
        with self._lock:
            self._end_process()
        if goes_on and making is not None:
            left.insert(0, making)
        if left:
            with contextlib.suppress(OSError, RuntimeError, MemoryError, WasmError):
                _leave(left)

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                job = self._next()
            if job is None:
                with self._lock:
                    self._end_process()
            elif not self._closed:
                self._making = job
                self._make(job)
                self._making = None
                if job.artifact is None and job.may_be_tried_again:  # when its time has come, or somebody asks
                    self.submit(job, keep=job.is_for_cache and not job.has_died)
            del job  # not to be kept while waiting for the next one

    def _next(self) -> Optimisation | None:
        """Waits for what is to be made next; None once it has waited for long with a process to keep."""
        idle_at = time.monotonic() + thresholds.OPTIMISER_IDLE_SECONDS
        while True:
            self._waiting = [reference for reference in self._waiting if reference() is not None]
            jobs = [(job.due_at(), reference) for reference in self._waiting if (job := reference()) is not None]
            job = None  # not to be kept while waiting
            now = time.monotonic()
            begin_at, reference = min(jobs, key=lambda item: item[0], default=(None, None))
            if begin_at is not None and begin_at <= now:
                assert reference is not None
                self._waiting.remove(reference)
                return reference()
            keeps_process = self.process is not None
            if keeps_process and now >= idle_at:
                return None
            ends = [at for at in (begin_at, idle_at if keeps_process else None) if at is not None and at < _NEVER]
            self._changed.wait(min(ends) - now if ends else None)

    def _make(self, job: Optimisation) -> None:
        try:
            job.finish(self._request(job))
        except Exception as error:  # whoever waits has to be told
            job.fail(error)

    def _request(self, job: Optimisation) -> bytes:
        with importing():
            from ..compile.wire import read_message, write_message

        process = self._started_process(0 if job.is_awaited else thresholds.OPTIMISER_NICENESS)
        assert process.stdin is not None and process.stdout is not None
        self._is_sent = False
        try:
            write_message(process.stdin, {"config": messages.options(job.config)}, job.wasm)
            self._is_sent = True
            while (reply := read_message(process.stdout)) is not None:
                if "choose" in reply[0]:
                    units = [range(first, stop) for first, stop in reply[0]["choose"]]
                    write_message(process.stdin, {"weights": job.weights(units)}, b"")
                elif "unit" in reply[0]:
                    first_function, count = reply[0]["unit"]
                    job.take_unit(first_function, count, reply[1], reply[0]["seconds"])
                else:
                    break
        except (OSError, ValueError):
            reply = None
        except BaseException:
            # Replies are left in the pipe, which the next request would take for its own: another module's code.
            with self._lock:
                self._end_process()
            raise
        if reply is None:
            said = processes.last_words(process)
            with self._lock:
                self._end_process()
            reason = f"the optimising process died (exit code {process.returncode}){said}{processes.limits_in_force()}"
            raise processes.CompilerDiedError(reason)
        fields, artifact = reply
        if "fatal" in fields:
            with self._lock:
                self._end_process()
            reason = f"{fields['fatal']}{processes.limits_in_force()}"
            raise processes.NoCompilerError(f"the optimising process cannot work: {reason}")
        if "error" in fields:
            raise messages.KINDS[fields["kind"]](fields["error"])
        return artifact

    def _started_process(self, niceness: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise CompileError("the interpreter ends")
            limits = processes.limits()
            is_there = self.process is not None and self.process.poll() is None
            if not is_there or limits != self._limits or niceness != self._niceness:
                self._end_process()
                self._limits, self._niceness = limits, niceness
                with contextlib.suppress(OSError, AttributeError):
                    self._legacy = background.Legacy()
                self.process = _start_process(self._legacy, niceness=niceness)
            assert self.process is not None
            return self.process

    def _end_process(self) -> None:
        legacy, self._legacy = self._legacy, None
        if legacy is not None:
            legacy.close()
        process, self.process = self.process, None
        if process is not None:
            processes.end(process, group=True)


def _start_process(
    legacy: background.Legacy | None, turn: int | None = None, niceness: int = thresholds.OPTIMISER_NICENESS
) -> subprocess.Popen[bytes]:
    """Starts an optimiser; with a `turn` it is to go on after our end, and holds the lock already."""
    keep = [] if legacy is None else [legacy.descriptor]
    arguments = {"legacy": None if legacy is None else legacy.descriptor, "turn": turn, "size": _pool_size()}
    return processes.start(
        "wasmjit.tiers.optimiser_process",
        keep=keep if turn is None else [*keep, turn],
        alone=True,
        pass_output=turn is None,
        niceness=niceness,
        arguments=arguments,
    )


def _pool_size() -> int | None:
    """How many workers the optimiser may have; None: as many as there are processors."""
    return 1 if processes.is_forked else None


def _budget(jobs: Sequence[Optimisation]) -> dict[str, int]:
    return {
        "cpu_seconds": max(job.config.background_cpu_seconds for job in jobs),
        "memory_bytes": max(job.config.background_memory for job in jobs),
        "niceness": thresholds.BACKGROUND_NICENESS,
    }


def _leave(jobs: Sequence[Optimisation]) -> None:
    """Has a process put the code of these into the cache when this one is gone, if none of this user does so now.

    Else a program that always ends before it is optimised would never be.
    """
    turn = take_background_turn()
    if turn is None:
        return
    legacy = background.Legacy()
    try:
        legacy.write([({"config": messages.options(job.config)}, job.wasm) for job in jobs], _budget(jobs))
        # Its end is nobody's business here, so nobody is to be warned of it.
        processes.forget(_start_process(legacy, turn))
    finally:
        legacy.close()
        os.close(turn)


_optimiser: _Optimiser | None = None
_optimiser_lock = threading.RLock()  # a finalizer or a signal handler may make modules, too


def _current_optimiser() -> _Optimiser:
    """This process's; a forked child starts its own."""
    global _optimiser
    with _optimiser_lock:
        if _optimiser is None or _optimiser.pid != os.getpid():
            made = _Optimiser()
            if _optimiser is None or _optimiser.pid != os.getpid():  # still
                _optimiser = made
        return _optimiser


@atexit.register
def _close_optimiser() -> None:
    if _optimiser is not None and _optimiser.pid == os.getpid():
        _optimiser.close()


def _renew_lock_after_fork() -> None:
    global _optimiser, _optimiser_lock
    _optimiser_lock = threading.RLock()
    optimiser, _optimiser = _optimiser, None
    if optimiser is not None and optimiser._legacy is not None:
        optimiser._legacy.close()


os.register_at_fork(after_in_child=_renew_lock_after_fork)
