"""Tiers: modules of Config.tier "auto" run baseline code while another process makes their optimised code.

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
import json
import mmap
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from ..artifact import Artifact
from ..cache import Cache
from ..config import OPTIMIZED, CompileProgress, Config
from ..errors import CompileError, WasmError
from ..target import host_machine
from .code import LoadedCode, executable_copy, load

if TYPE_CHECKING:
    from .trampolines import Trampolines

Progress = Callable[[CompileProgress], None] | None

# ---- the stages up to the artifact ----


def compile_artifact(config: Config, trampolines: Trampolines, wasm: bytes, progress: Progress = None) -> Artifact:
    """The code of a binary module in the end: from the cache, if the Config has one and it is there.

    Raises WasmError, and what `progress` raises.
    """
    directory = _cache_directory(config)
    if directory is None:
        return _compile(config, trampolines, wasm, progress)
    make = functools.partial(_compile, config, trampolines, wasm, progress)
    return Cache(directory).get_or_make(wasm, config.cache_key(), make)


def cached_artifact(config: Config, wasm: bytes) -> Artifact | None:
    """What the cache has of a binary module."""
    from ..cache import entry_key

    directory = _cache_directory(config)
    key = config.cache_key()
    return None if directory is None else Cache(directory).load(entry_key(wasm, key), key)


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


def _cache_directory(config: Config) -> str | None:
    return None if config.target is not None else config.cache_directory  # for other machines it is kept elsewhere


def _compile(
    config: Config, trampolines: Trampolines, wasm: bytes, progress: Progress, *, replaceable: bool = False
) -> Artifact:
    # The stages before the artifact are imported here only, so that running a .cwasm never loads them.
    from ..compile import pipeline
    from ..compile.trampolines import module_trampolines
    from ..wasm.decode import decode
    from ..wasm.validate import validate_module_level

    module = decode(wasm, config.features)
    validate_module_level(module)
    wanted = module_trampolines(module)
    finish_trampolines = trampolines.begin(wanted) if config.parallel_compilation else None
    units = pipeline.compile_module(module, config, progress=progress, replaceable=replaceable)
    target = pipeline.resolve_target(config)
    return Artifact.from_compiled(
        module,
        units,
        target=target,
        config_key=config.cache_key(),
        trampolines=finish_trampolines() if finish_trampolines is not None else trampolines.compile(wanted),
        keep_address_map=config.generate_address_map,
    )


# ---- redirecting calls ----

# jmp *table_entry(%rip); int3; int3
_X86_64_JUMP = struct.Struct("<HiH")
# adrp x16, entry; ldr x16, [x16, entry]; br x16; udf. x16 is the platform's register for veneers.
_AARCH64_JUMP = struct.Struct("<IIII")
_AARCH64_PAGE_BYTES = 4096


class Entries:
    """A function table in place of `LoadedCode.functions`, and a jump through it for each of some functions.

    `positions` are positions in the table: of functions that func-refs are made of, and of their register entries.
    """

    def __init__(self, code: LoadedCode, positions: Iterable[int]) -> None:
        ordered = list(positions)
        jump = {"x86_64": _x86_64_jump, "aarch64": _aarch64_jump}[host_machine()]
        stride = {"x86_64": _X86_64_JUMP.size, "aarch64": _AARCH64_JUMP.size}[host_machine()]
        jumps_bytes = len(ordered) * stride
        table_offset = -(-max(jumps_bytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        jumps = bytearray()
        for position in ordered:
            jumps += jump(len(jumps), table_offset + 8 * position)
        table_bytes = -(-8 * max(len(code.functions), 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        start, self._mapping = executable_copy(jumps or b"\0", data_bytes=table_bytes)
        self.table_address = start + table_offset
        self._addresses = {position: start + number * stride for number, position in enumerate(ordered)}
        assert isinstance(self._mapping, mmap.mmap)
        # Each store is one of 8 aligned bytes: running threads find the old address or the new one.
        self._table = memoryview(self._mapping)[table_offset : table_offset + 8 * len(code.functions)].cast("Q")
        self.redirect(code)

    def address(self, position: int) -> int:
        """The jump through the table's entry `position`."""
        return self._addresses[position]

    def redirect(self, code: LoadedCode) -> None:
        """Has all later calls go to `code`, which has to stay loaded from now on."""
        table = self._table
        # A function has a register entry in all tiers or in none, and any pairing of both entries will do.
        for position, address in enumerate(code.functions):
            table[position] = address


def _x86_64_jump(at: int, entry: int) -> bytes:
    return _X86_64_JUMP.pack(0x25FF, entry - (at + 6), 0xCCCC)


def _aarch64_jump(at: int, entry: int) -> bytes:
    pages = entry // _AARCH64_PAGE_BYTES - at // _AARCH64_PAGE_BYTES
    adrp = 0x9000_0010 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    ldr = 0xF940_0210 | entry % _AARCH64_PAGE_BYTES // 8 << 10
    return _AARCH64_JUMP.pack(adrp, ldr, 0xD61F_0200, 0)


# ---- making the optimised code in the background ----


class Replaceable(Protocol):
    """What runs baseline code."""

    def replace_code(self, code: LoadedCode) -> None:
        """Has later calls go to `code`."""
        ...


class Optimisation:
    """The optimised code of one module, made by the optimiser once `start` was called. Thread-safe.

    Who runs the baseline code is held weakly, and so is this by the optimiser: what nobody has any more is not made.
    """

    def __init__(self, config: Config, wasm: bytes) -> None:
        self.config = config
        self.wasm = wasm
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._artifact: Artifact | None = None
        self._error: str | None = None
        self._running: weakref.ref[Any] | None = None
        self._pid = os.getpid()

    def start(self) -> None:
        """Puts it behind those that wait already."""
        _current_optimiser().submit(self)

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

    def wait(self, timeout_seconds: float | None = None) -> Artifact | None:
        """The optimised code, which runs now wherever this module does; None if it takes longer than the timeout.

        Raises CompileError if it could not be made; the module goes on with baseline code.
        """
        self._come_along()
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
        self._lock = threading.Lock()
        if not self._done.is_set():
            self._done = threading.Event()
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
        self._done.set()

    def fail(self, reason: str) -> None:
        """There will be no optimised code."""
        self._error = reason
        self._done.set()


# A bare package object stands in for wasmjit, as for the workers of compile/pipeline.py.
_PROGRAM = """
import json, sys, types
sys.path[:], package = json.loads(sys.argv[1])
module = types.ModuleType("wasmjit")
module.__path__ = [package]
sys.modules["wasmjit"] = module
from wasmjit.runtime.tiers import serve
serve()
"""
_IDLE_SECONDS = 20.0
_NICENESS = 10


class _Optimiser:
    """The optimiser of this process, and the thread that hands it one module after the other."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.process: subprocess.Popen[bytes] | None = None
        self._waiting: queue.SimpleQueue[weakref.ref[Optimisation]] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()  # of starting and ending the process
        threading.Thread(target=self._run, name="wasmjit-tiers", daemon=True).start()

    def submit(self, job: Optimisation) -> None:
        """Has the code made, unless `job` is gone when its turn comes."""
        self._waiting.put(weakref.ref(job))

    def close(self) -> None:
        """Ends the process, whatever it does."""
        with self._lock:
            self._closed = True
            self._end_process()

    def _run(self) -> None:
        while not self._closed:
            try:
                job = self._waiting.get(timeout=_IDLE_SECONDS)()
            except queue.Empty:
                with self._lock:
                    self._end_process()
                job = self._waiting.get()()
            if job is not None and not self._closed:
                self._make(job)
            del job  # not to be kept while waiting for the next one

    def _make(self, job: Optimisation) -> None:
        try:
            job.finish(self._request(job))
        except WasmError as error:
            job.fail(error.reason)
        except Exception as error:  # whoever waits has to be told
            job.fail(f"{type(error).__name__}: {error}")

    def _request(self, job: Optimisation) -> bytes:
        from ..compile.wire import read_message, write_message

        process = self._started_process()
        assert process.stdin is not None and process.stdout is not None
        try:
            write_message(process.stdin, {"config": _options(job.config)}, job.wasm)
            reply = read_message(process.stdout)
        except (OSError, ValueError):
            reply = None
        if reply is None:
            with self._lock:
                self._end_process()
            raise CompileError(f"the optimising process died (exit code {process.returncode})")
        fields, artifact = reply
        if "error" in fields:
            raise CompileError(fields["error"])
        return artifact

    def _started_process(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise CompileError("the interpreter ends")
            if self.process is None or self.process.poll() is not None:
                self._end_process()
                package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
                argument = json.dumps([[p for p in sys.path if p], package])
                self.process = subprocess.Popen(
                    [sys.executable, "-S", "-E", "-c", _PROGRAM, argument],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is not for it, and it can be ended with its workers
                )
            return self.process

    def _end_process(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:  # its id is still its own
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()


_optimiser: _Optimiser | None = None
_optimiser_lock = threading.Lock()


def _current_optimiser() -> _Optimiser:
    """This process's; a forked child starts its own."""
    global _optimiser
    with _optimiser_lock:
        if _optimiser is None or _optimiser.pid != os.getpid():
            _optimiser = _Optimiser()
        return _optimiser


@atexit.register
def _close_optimiser() -> None:
    if _optimiser is not None and _optimiser.pid == os.getpid():
        _optimiser.close()


def _renew_lock_after_fork() -> None:
    global _optimiser_lock
    _optimiser_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock_after_fork)


def _options(config: Config) -> dict[str, Any]:
    """What the optimiser's Config is made of."""
    options = {name: getattr(config, name) for name in config.options()}
    directory = config.cache_directory
    return options | {"tier": OPTIMIZED, "cache": os.path.abspath(directory) if directory is not None else False}


# ---- the optimiser's process ----


def serve() -> None:
    """The optimiser's main function: answers requests on stdin; when that closes, it ends, its workers included."""
    from ..compile.wire import read_message, write_message
    from .trampolines import Trampolines

    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    received: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()

    def receive() -> None:
        while (message := read_message(requests)) is not None:
            received.put(message)
        os.killpg(os.getpgrp(), signal.SIGKILL)  # the session is our own: this process and its workers

    if os.getpgrp() != os.getpid():
        raise SystemExit("the optimiser has to be started in a session of its own")
    threading.Thread(target=receive, daemon=True).start()
    trampolines: dict[str, Trampolines] = {}
    while True:
        fields, wasm = received.get()
        config = Config(**fields["config"])
        made = trampolines.setdefault(config.cache_key(), Trampolines(config))
        try:
            artifact = compile_artifact(config, made, wasm).to_bytes()
        except Exception as error:
            reason = error.reason if isinstance(error, WasmError) else f"{type(error).__name__}: {error}"
            write_message(replies, {"error": reason}, b"")
        else:
            write_message(replies, {}, artifact)


__all__ = [
    "Entries",
    "Optimisation",
    "Progress",
    "cached_artifact",
    "compile_artifact",
    "compile_baseline",
    "serve",
]
