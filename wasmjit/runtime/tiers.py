"""Tiers: modules of Config.tier "auto" run baseline code while another process makes their optimised code.

Baseline code is made when it is called (runtime/lazy.py), or at once where that cannot be.

Baseline code calls functions through the module's function table only, and func-refs refer to a jump through it
(`Entries`), so storing an address there redirects all later calls of a function. Activations stay in the code they
are in, which remains mapped as long as the module does. A process of its own, the *optimiser*, compiles one module
after the other at low priority, as tier "optimized" does, cache included: it takes neither the GIL nor, as long as
others want it, the processor.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .. import processes
from ..artifact import Artifact
from ..cache import Cache, entry_key, take_background_turn
from ..config import OPTIMIZED, CompileProgress, Config
from ..errors import CompileError, CompileTimeoutError, WasmError
from ..processes import importing
from ..wasm.module import Module
from . import background
from .code import LoadedCode, load
from .interpreter import can_interpret
from .lazy import GroupCode, LazyModule
from .store import MAX_TIMEOUT_SECONDS

if TYPE_CHECKING:
    import queue
    import subprocess

    from ..compile.pipeline import CompiledUnit, Schedule
    from .trampolines import Trampolines

Progress = Callable[[CompileProgress], None] | None

# For tests of code that is compiled at its first call.
INTERPRETS = True

# ---- the stages up to the artifact ----


class _Entry(NamedTuple):
    """Where the cache that a Config has keeps a module."""

    cache: Cache
    key: str
    config_key: str


def _cache_directory(config: Config) -> str | None:
    return None if config.target is not None else config.cache_directory  # for other machines it is kept elsewhere


def _entry_of(config: Config, wasm: bytes) -> _Entry | None:
    directory = _cache_directory(config)
    if directory is None:
        return None
    config_key = config.cache_key()
    return _Entry(Cache(directory), entry_key(wasm, config_key), config_key)


def compile_artifact(config: Config, trampolines: Trampolines, wasm: bytes, progress: Progress = None) -> Artifact:
    """The code of a binary module in the end: from the cache, if the Config has one and it is there.

    Raises WasmError, and what `progress` raises.
    """
    return _compile_into(_entry_of(config, wasm), config, trampolines, wasm, progress)


def _compile_into(
    entry: _Entry | None,
    config: Config,
    trampolines: Trampolines,
    wasm: bytes,
    progress: Progress = None,
    schedule: Schedule | None = None,
) -> Artifact:
    """As compile_artifact; `schedule` is told of what is made."""
    make = functools.partial(_compile, config, trampolines, wasm, progress, schedule=schedule)
    return make() if entry is None else entry.cache.get_or_make(entry.key, entry.config_key, make)


def cached_artifact(config: Config, wasm: bytes) -> Artifact | None:
    """What the cache has of a binary module."""
    entry = _entry_of(config, wasm)
    return None if entry is None else entry.cache.load(entry.key, entry.config_key)


_within = threading.local()


@contextlib.contextmanager
def compile_within(seconds: float | None) -> Iterator[None]:
    """Has compilations in this thread end with Trap INTERRUPT after so many seconds."""
    before = getattr(_within, "seconds", None)
    _within.seconds = seconds
    try:
        yield
    except CompileTimeoutError:
        if seconds is None:
            raise
        from .trap import Trap, TrapCode

        raise Trap._from_code(TrapCode.INTERRUPT.value) from None
    finally:
        _within.seconds = before


def _bounded(config: Config) -> Config:
    """The Config, with what `compile_within` says."""
    seconds = getattr(_within, "seconds", None)
    if seconds is None or (config.compile_timeout is not None and config.compile_timeout <= seconds):
        return config
    config = config.copy()
    config.compile_timeout = min(seconds, MAX_TIMEOUT_SECONDS)
    return config


def _decoded(config: Config, wasm: bytes) -> Module:
    """The decoded module, if the Config's limits of size let it be compiled. Raises WasmError."""
    from ..wasm.decode import decode

    if len(wasm) > config.max_module_bytes:
        raise CompileError(f"the module has {len(wasm)} bytes: Config.max_module_bytes is {config.max_module_bytes}")
    module = decode(wasm, config.features)
    for position, body in enumerate(module.bodies):
        size_bytes = body.end - body.start
        if size_bytes > config.max_function_bytes:
            index = position + module.num_imported_functions
            raise CompileError(
                f"the function has {size_bytes} bytes: Config.max_function_bytes is {config.max_function_bytes}",
                offset=body.start,
                function=index,
                function_name=module.names.functions.get(index),
            )
    return module


def begin_lazily(config: Config, trampolines: Trampolines, wasm: bytes) -> LazyModule | None:
    """Decodes and validates a binary module. None if its functions cannot be compiled one by one.

    Raises WasmError.
    """
    from ..wasm import deadline

    with deadline.within(_bounded(config).compile_timeout):
        return _begin_lazily(config, trampolines, wasm)


def _begin_lazily(config: Config, trampolines: Trampolines, wasm: bytes) -> LazyModule | None:
    from ..wasm.validate import validate

    module = _decoded(config, wasm)
    interprets = INTERPRETS and can_interpret(config, module)
    if config.parallel_compilation and not interprets:
        from ..compile import pipeline

        pipeline.pool().warm_up(2)  # they get ready meanwhile
    validate(module)
    # Whether a function tail-calls decides what others find in the function table (compile/tail_calls.py).
    if module.has_tail_calls or not module.bodies:
        return None
    return LazyModule(module, trampolines, interprets=interprets)


def interpreted_rest(config: Config, trampolines: Trampolines, artifact: Artifact) -> LazyModule:
    """What runs the functions that an artifact has no code of. Raises WasmError."""
    with importing():
        from ..wasm.decode import decode

        wasm = artifact.wasm  # which imports something, too
    module = decode(wasm, config.features)
    first = module.num_imported_functions
    # All that it can take: where the native stack gets short, it runs functions that there is code of, too.
    compiled_only = artifact.compiled_only
    module.interpretable = bytes(first + position not in compiled_only for position in range(len(module.bodies)))
    return LazyModule(module, trampolines, interprets=True, left=artifact.interpreted)


def compile_baseline(config: Config, trampolines: Trampolines, wasm: bytes, progress: Progress = None) -> Artifact:
    """Code that is made quickly and whose functions can be replaced. Raises as `compile_artifact`."""
    from ..compile.pipeline import pool
    from ..compile.unit import REPLACEABLE_UNIT_BODY_BYTES

    if config.parallel_compilation:
        pool().warm_up(2 + len(wasm) // REPLACEABLE_UNIT_BODY_BYTES)  # units, and trampolines
    baseline = config.copy()
    baseline.tier = OPTIMIZED
    baseline.opt_level = "none"
    return _compile(baseline, trampolines, wasm, progress, replaceable=True)


def _compile(
    config: Config,
    trampolines: Trampolines,
    wasm: bytes,
    progress: Progress,
    *,
    replaceable: bool = False,
    schedule: Schedule | None = None,
) -> Artifact:
    # The stages before the artifact are imported here only, so that running a .cwasm never loads them.
    from ..compile import pipeline
    from ..compile.trampolines import module_trampolines
    from ..wasm import deadline
    from ..wasm.validate import validate_module_level

    config = _bounded(config)
    with deadline.within(config.compile_timeout):
        module = _decoded(config, wasm)
        validate_module_level(module)
        wanted = module_trampolines(module)
        begun = trampolines.begin(wanted) if config.parallel_compilation else None
        units = pipeline.compile_module(
            module,
            config,
            progress=progress,
            replaceable=replaceable,
            interprets=INTERPRETS and not replaceable and can_interpret(config, module),
            schedule=schedule,
        )
        target = pipeline.resolve_target(config)
        return Artifact.from_compiled(
            module,
            units,
            target=target,
            config_key=config.cache_key(),
            trampolines=begun.finish() if begun is not None else trampolines.compile(wanted),
            keep_address_map=config.generate_address_map,
        )


# ---- making the optimised code in the background ----


class Replaceable(Protocol):
    """What runs baseline code."""

    def replace_functions(self, code: LoadedCode) -> None:
        """Has later calls of the functions that `code` has go there."""
        ...

    def weights(self, units: Sequence[range]) -> list[int]:
        """How much groups of functions were used so far."""
        ...

    def replace_code(self, code: LoadedCode) -> None:
        """Has later calls go to `code`."""
        ...


class Optimisation:
    """The optimised code of one module, made by the optimiser once `start` was called. Thread-safe.

    Who runs the baseline code is held weakly, and so is this by the optimiser: what nobody has any more is not made.
    """

    def __init__(self, config: Config, wasm: bytes, lazy_module: Module | None = None) -> None:
        """With `lazy_module`, the decoded module, its functions can be replaced a few at a time."""
        self._lazy_module = lazy_module
        self._units: list[LoadedCode] = []  # those that are ready, until all are
        self.config = config
        self.wasm = wasm
        self._lock = threading.RLock()  # a signal handler may load the same module
        self._done = threading.Event()
        self.begin_at = time.monotonic() + _PATIENCE_SECONDS
        self._artifact: Artifact | None = None
        self._error: str | None = None
        self.may_be_tried_again = False  # what failed for a reason that may go away
        self.has_died = False  # its compiler: of the module, maybe
        self._is_submitted = False
        self._num_failures = 0
        self._running: weakref.ref[Any] | None = None
        self._pid = os.getpid()

    def start(self) -> None:
        """Puts it behind those that wait already. Where that cannot be, the module goes on without."""
        try:
            optimiser = _current_optimiser()
            if not self._is_submitted:
                optimiser.submit(self, keep=self.is_for_cache)
                self._is_submitted = True
            optimiser.look_again()
        except (RuntimeError, MemoryError, OSError) as error:  # no thread
            self.fail(error)

    @property
    def is_for_cache(self) -> bool:
        """Whether the code is of use even when nobody has the module any more."""
        return _cache_directory(self.config) is not None

    @property
    def artifact(self) -> Artifact | None:
        """The optimised code, if it is there."""
        return self._artifact

    def attach(self, running: Replaceable) -> None:
        """Has the code of `running` replaced when there is better one; at once if there is."""
        self._come_along()
        with self._lock:
            if self._artifact is not None:
                running.replace_code(load(self._artifact))
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
        if self._artifact is None and (self._error is None or self.may_be_tried_again):
            self._done = threading.Event()
            self._error = None
            self._is_submitted = False
            self.start()

    def finish(self, serialized: bytes) -> None:
        """Takes the optimiser's result into use. Raises WasmError if it cannot be."""
        artifact = Artifact.from_bytes(serialized)
        artifact.check_compatible(self.config.cache_key())
        with self._lock:
            running = self._running() if self._running is not None else None
            if running is not None:
                running.replace_code(load(artifact))
            self._artifact = artifact
            self._error, self.may_be_tried_again = None, False
            self._units.clear()
        self._done.set()

    def weights(self, units: Sequence[range]) -> list[int]:
        """How much the functions of each unit were used so far."""
        running = self._running() if self._running is not None else None
        return [0] * len(units) if running is None else running.weights(units)

    def take_unit(self, first_function: int, count: int, object_bytes: bytes) -> None:
        """Takes some of the optimised code into use, if that can be: all of it comes in the end.

        Raises CompileError if it is not what it should be.
        """
        if self._lazy_module is None:
            return
        with importing():
            from ..compile.pipeline import CompiledUnit

        functions = range(first_function, first_function + count)
        try:
            code = load(GroupCode(self._lazy_module, CompiledUnit(first_function, count, object_bytes), functions))
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
        is_short = isinstance(error, _SHORTAGES) or type(error) is WasmError  # the system refuses to load code
        with self._lock:
            self._error = _reason(error)
            self.has_died = isinstance(error, processes.CompilerDiedError)
            self.may_be_tried_again = is_short or self.has_died
            self._num_failures += 1
            pause_seconds = min(_FIRST_PAUSE_SECONDS * 2**self._num_failures, _LONGEST_PAUSE_SECONDS)
            self.begin_at = time.monotonic() + (pause_seconds if is_short else _UNTIL_ASKED_SECONDS)
        self._done.set()
        if is_short:
            processes.say_once(error)


# What the system is short of may be there another time. (RuntimeError: a thread cannot be started.)
_SHORTAGES = (processes.NoCompilerError, OSError, MemoryError, ImportError, RuntimeError)


def _reason(error: BaseException) -> str:
    return error.reason if isinstance(error, WasmError) else f"{type(error).__name__}: {error}"


_IDLE_SECONDS = 20.0
# Programs that end sooner would only be kept from ending by it.
_PATIENCE_SECONDS = 2.0
_NICENESS = 10
# What fails for a reason that may go away is tried again, after twice as long each time.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 300.0
_UNTIL_ASKED_SECONDS = 1e8


class _Optimiser:
    """The optimiser of this process, and the thread that hands it one module after the other."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.process: subprocess.Popen[bytes] | None = None
        self._legacy: background.Legacy | None = None  # that the process has
        self._limits: tuple[int, ...] = ()  # under which it was started
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
        left = [job for job in waiting if job.is_for_cache and job.config.background_cpu_seconds and not job.has_died]
        goes_on = making is not None and making.is_for_cache and making.config.background_cpu_seconds > 0
        with contextlib.suppress(OSError, RuntimeError, MemoryError, WasmError):  # then it is made another time
            if goes_on and self._is_sent and self.process is not None and self._legacy is not None:
                assert making is not None
                self._legacy.write(
                    [({"config": _options(job.config)}, job.wasm) for job in left], _budget([making, *left])
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
        idle_at = time.monotonic() + _IDLE_SECONDS
        while True:
            self._waiting = [reference for reference in self._waiting if reference() is not None]
            jobs = [(job.begin_at, reference) for reference in self._waiting if (job := reference()) is not None]
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
            ends = [at for at in (begin_at, idle_at if keeps_process else None) if at is not None]
            self._changed.wait(min(ends) - now if ends else None)

    def _make(self, job: Optimisation) -> None:
        try:
            job.finish(self._request(job))
        except Exception as error:  # whoever waits has to be told
            job.fail(error)

    def _request(self, job: Optimisation) -> bytes:
        with importing():
            from ..compile.wire import read_message, write_message

        process = self._started_process()
        assert process.stdin is not None and process.stdout is not None
        self._is_sent = False
        try:
            write_message(process.stdin, {"config": _options(job.config)}, job.wasm)
            self._is_sent = True
            while (reply := read_message(process.stdout)) is not None:
                if "choose" in reply[0]:
                    units = [range(first, stop) for first, stop in reply[0]["choose"]]
                    write_message(process.stdin, {"weights": job.weights(units)}, b"")
                elif "unit" in reply[0]:
                    first_function, count = reply[0]["unit"]
                    job.take_unit(first_function, count, reply[1])
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
            raise _KINDS[fields["kind"]](fields["error"])
        return artifact

    def _started_process(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise CompileError("the interpreter ends")
            limits = processes.limits()
            if self.process is None or self.process.poll() is not None or limits != self._limits:
                self._end_process()
                self._limits = limits
                with contextlib.suppress(OSError, AttributeError):
                    self._legacy = background.Legacy()
                self.process = _start_process(self._legacy)
            return self.process

    def _end_process(self) -> None:
        legacy, self._legacy = self._legacy, None
        if legacy is not None:
            legacy.close()
        process, self.process = self.process, None
        if process is not None:
            processes.end(process, group=True)


def _start_process(legacy: background.Legacy | None, turn: int | None = None) -> subprocess.Popen[bytes]:
    """Starts an optimiser; with a `turn` it is to go on after our end, and holds the lock already."""
    keep = [] if legacy is None else [legacy.descriptor]
    arguments = {"legacy": None if legacy is None else legacy.descriptor, "turn": turn, "size": _pool_size()}
    return processes.start(
        "wasmjit.runtime.tiers",
        keep=keep if turn is None else [*keep, turn],
        alone=True,
        pass_output=turn is None,
        arguments=arguments,
    )


def _pool_size() -> int | None:
    """How many workers the optimiser may have; None: as many as there are processors."""
    return 1 if processes.is_forked else None


def _budget(jobs: Sequence[Optimisation]) -> dict[str, int]:
    return {
        "cpu_seconds": max(job.config.background_cpu_seconds for job in jobs),
        "memory_bytes": max(job.config.background_memory for job in jobs),
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
        legacy.write([({"config": _options(job.config)}, job.wasm) for job in jobs], _budget(jobs))
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


def _options(config: Config) -> dict[str, Any]:
    """What the optimiser's Config is made of."""
    options = {name: getattr(config, name) for name in config.options()}
    directory = config.cache_directory
    return options | {"tier": OPTIMIZED, "cache": os.path.abspath(directory) if directory else False}


# What the optimiser's process says of an error beside the reason: whether it may go away.
_KINDS: dict[str, type[CompileError]] = {
    "died": processes.CompilerDiedError,
    "short": processes.NoCompilerError,
    "code": CompileError,
}


def _kind_of(error: Exception) -> str:
    if isinstance(error, processes.CompilerDiedError):
        return "died"
    return "short" if isinstance(error, _SHORTAGES) and not isinstance(error, RecursionError) else "code"


# ---- the optimiser's process ----


def serve(parent: processes.Parent, legacy: int | None, turn: int | None, size: int | None) -> None:
    """The optimiser's main function: answers requests on stdin. When its parent has ended, it and its workers do, too.

    It goes on, alone and within a budget, with what the parent left behind at a normal end (runtime/background.py).
    """
    import queue

    from ..compile import pipeline
    from ..compile.wire import read_message, write_message
    from .trampolines import Trampolines

    if os.getpgrp() != os.getpid():
        raise SystemExit("the optimiser has to be started in a session of its own")
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    for limit in (signal.SIGXCPU, signal.SIGALRM):  # what ends it when it goes on alone
        signal.signal(limit, signal.SIG_DFL)
    if size is not None:
        pipeline.pool().size = size
    # None: there will be no more.
    jobs: queue.SimpleQueue[tuple[dict[str, Any], bytes] | None] = queue.SimpleQueue()
    answers: queue.SimpleQueue[list[int] | None] = queue.SimpleQueue()
    is_alone = threading.Event()

    def end() -> None:
        os.killpg(os.getpgrp(), signal.SIGKILL)  # the session is our own: this process and its workers

    def go_on() -> None:
        """The parent is gone."""
        held = turn
        left = None if legacy is None else background.read_legacy(legacy)
        if left is None:
            return end()
        if held is None:
            held = take_background_turn()
        if held is None:
            return end()
        try:
            pipeline.pool().go_alone()
            background.keep_within(left[0], held)
        except BaseException:
            return end()  # without bounds it must not
        is_alone.set()
        for message in left[1]:
            jobs.put(message)
        jobs.put(None)
        answers.put(None)

    def receive() -> None:
        try:
            while (message := read_message(requests)) is not None:
                if "config" in message[0]:
                    jobs.put(message)
                else:
                    answers.put(message[0]["weights"])
        except BaseException:  # our parent would wait forever for a process that does not hear it
            end()

    def reply(fields: dict[str, Any], body: bytes = b"") -> None:
        if is_alone.is_set():
            return
        with contextlib.suppress(OSError, ValueError):  # our parent may have ended
            write_message(replies, fields, body)

    class Watched:
        """Asks our parent which unit is next, and hands over what is made."""

        def choose(self, remaining: Sequence[range]) -> int:
            reply({"choose": [[unit.start, unit.stop] for unit in remaining]})
            weights = answers.get()
            if weights is None:
                answers.put(None)
                return 0
            return max(range(len(remaining)), key=weights.__getitem__)

        def made(self, unit: CompiledUnit) -> None:
            if not unit.is_left:
                reply({"unit": [unit.first_function, unit.count]}, unit.object)

    if turn is None:
        processes.start_thread(receive)
        parent.watch(go_on)
    else:
        go_on()
    trampolines: dict[str, Trampolines] = {}
    while (job := jobs.get()) is not None:
        fields, wasm = job
        try:
            config = Config(**fields["config"])
            made = trampolines.setdefault(config.cache_key(), Trampolines(config))
            entry = _entry_of(config, wasm)
            # Until no other process makes the same one.
            turns = entry.cache.making(entry.key) if entry and not is_alone.is_set() else contextlib.nullcontext()
            with turns:
                artifact = _compile_into(entry, config, made, wasm, schedule=Watched()).to_bytes()
        except Exception as error:
            reply({"error": _reason(error), "kind": _kind_of(error)})
        else:
            reply({}, artifact)
    end()


__all__ = [
    "Optimisation",
    "Progress",
    "begin_lazily",
    "cached_artifact",
    "compile_artifact",
    "compile_baseline",
    "serve",
]
