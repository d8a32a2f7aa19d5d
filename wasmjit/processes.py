"""Processes of ours: started from here, tied to the process that started them, counted, and safe beside forks.

A child ends as soon as its parent does, however that ends: it watches a descriptor of the parent (pidfd), and the pipe
that requests come through. (A parent-death signal would come when the *thread* that started it ends.) Everything here
is for both sides, and imports as little as can be.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .errors import CompileError, printable
from .weak_values import WeakMembers

if TYPE_CHECKING:
    import subprocess

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
# Another Python to run compilers with, where this process's is none: frozen programs, embedded interpreters.
INTERPRETER_VARIABLE = "WASMJIT_PYTHON"

# A bare package object stands in for wasmjit: a child imports what its main function needs, not the runtime. Nothing of
# what is imported is garbage: looking for it would take a tenth of the processor time, as often as it is done later.
_PROGRAM = """
import gc
gc.disable()
import os, sys
sys.path[:], package, parent, main, version, niceness, arguments = eval(sys.argv[1])
try:
    os.nice(niceness)
except OSError:
    pass
module = type(sys)("wasmjit")
module.__path__ = [package]
sys.modules["wasmjit"] = module
try:
    if main == "wasmjit.compile.worker":
        import wasmjit.compile.quick_imports
    if version != sys.version.split()[0]:
        raise RuntimeError("it is Python " + sys.version.split()[0] + ", not " + version)
    from wasmjit.processes import Parent, give_way
    give_way(niceness)
    watched = Parent(parent)
    from importlib import import_module
    serve = import_module(main).serve
except Exception as error:
    import json
    from struct import pack
    fields = json.dumps({"fatal": f"{type(error).__name__}: {error}"}).encode()
    os.write(1, pack("<II", len(fields), 0) + fields)
    os._exit(1)
gc.freeze()
gc.enable()
serve(watched, **arguments)
"""


class NoCompilerError(CompileError):
    """No process that compiles can be had."""


class CompilerDiedError(CompileError):
    """A process that compiled has ended in the middle: of what it was given, or because the system has run out of
    something. Who asks again may get it."""


def limits() -> tuple[int, ...]:
    """The limits that a process which is started now has as long as it lives."""
    import resource

    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
    return tuple(resource.getrlimit(kind)[0] for kind in (*kinds, resource.RLIMIT_STACK, resource.RLIMIT_FSIZE))


def limits_in_force() -> str:
    """What is known to be the reason when our processes fail: limits of memory, which they have from us."""
    import resource

    names = {resource.RLIMIT_AS: "address space", resource.RLIMIT_DATA: "memory"}
    soft_limits = {name: resource.getrlimit(kind)[0] for kind, name in names.items()}
    known = [f"{name} is limited to {limit >> 20} MiB" for name, limit in soft_limits.items() if limit >= 0]
    return f"; {' and '.join(known)}" if known else ""


# ---- the parent's side ----


def interpreter() -> str:
    """The Python to run children with. Raises CompileError if none is known.

    Never what is not known to be Python: a frozen or embedding program would start itself again, and again.
    """
    named = os.environ.get(INTERPRETER_VARIABLE)
    if named:
        return named
    candidates = [] if getattr(sys, "frozen", False) else [sys.executable]
    if not candidates or not _is_python(candidates[0]):
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        candidates += [getattr(sys, "_base_executable", None) or ""] if not getattr(sys, "frozen", False) else []
        candidates += [os.path.join(prefix, "bin", version) for prefix in (sys.exec_prefix, sys.base_exec_prefix)]
    for path in candidates:
        if path and _is_python(path) and os.access(path, os.X_OK, effective_ids=_EFFECTIVE):
            return path
    raise NoCompilerError(
        f"cannot start a compiler process: sys.executable ({sys.executable!r}) is no Python that can be run; "
        f"{INTERPRETER_VARIABLE} can name one"
    )


# Who runs it is the effective user.
_EFFECTIVE = os.access in os.supports_effective_ids


def _is_python(path: str | None) -> bool:
    return path is not None and os.path.basename(path).lower().startswith(("python", "pypy"))


def start(
    main: str,
    *,
    keep: Sequence[int] = (),
    alone: bool = False,
    pass_output: bool = True,
    niceness: int = 0,
    arguments: dict[str, Any] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a child that runs `serve` of module `main` with these `arguments`; its stdin and stdout are pipes, and
    stderr is kept for `last_words`.

    `keep`: descriptors that it gets. `alone`: in a session of its own. `niceness`: by how much it gives way to us, from
    its imports on. Raises CompileError.
    """
    prepare()
    import subprocess

    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if not sys.flags.ignore_environment and "PYTHONHOME" in os.environ:
        environment["PYTHONHOME"] = os.environ["PYTHONHOME"]
    paths = [str.__str__(path) for path in sys.path if path and isinstance(path, str)]
    version = sys.version.split()[0]
    # Plain values, which need no module to be read: `json` would be a tenth of a worker's start.
    argument = repr([paths, _PACKAGE, os.getpid(), main, version, niceness, arguments or {}])
    ours: list[int] = []
    theirs: list[int] = []
    words = _file_for_words()
    try:
        for is_output in (False, True):
            if is_output and not pass_output:
                theirs.append(os.open(os.devnull, os.O_WRONLY))
                continue
            reading, writing = _pipe()
            ours.append(reading if is_output else writing)
            theirs.append(writing if is_output else reading)
        process = subprocess.Popen(
            [interpreter(), "-S", "-s", "-c", _PROGRAM, argument],
            bufsize=0,
            stdin=theirs[0],
            stdout=theirs[1],
            stderr=subprocess.DEVNULL if words is None else words,
            start_new_session=alone,  # Ctrl-C is not for it, and it can be ended with its workers
            pass_fds=keep,
            env=environment,
        )
    except BaseException as error:
        for descriptor in (*ours, *(() if words is None else (words,))):
            os.close(descriptor)
        if isinstance(error, (OSError, ValueError, RuntimeError)):
            raise NoCompilerError(f"cannot start a compiler process: {error}") from None
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    process.stdin = os.fdopen(ours[0], "wb", buffering=0)
    process.stdout = os.fdopen(ours[1], "rb", buffering=0) if pass_output else None
    process.stderr = None if words is None else os.fdopen(words, "rb", buffering=0)
    _started.add(process)
    return process


_is_prepared = False


def prepare() -> None:
    """Imports what `start` takes.

    A signal handler that interrupts an import, and waits for a thread that starts a process, does it by itself: the
    thread would wait for the lock of imports.
    """
    global _is_prepared
    if not _is_prepared:
        with importing():
            import subprocess  # noqa: F401
        _is_prepared = True


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are none of 0, 1 and 2."""
    reading, writing = os.pipe()
    try:
        reading = _above_standard(reading)
    except OSError:
        os.close(writing)
        raise
    try:
        return reading, _above_standard(writing)
    except OSError:
        os.close(reading)
        raise


def _above_standard(descriptor: int) -> int:
    """The descriptor, or another in its place: 0, 1 and 2, should those be closed, programs take for their own."""
    if descriptor > 2:
        return descriptor
    import fcntl

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


_WORDS_BYTES = 64 << 10
_MOST_WORDS = 300


def _file_for_words() -> int | None:
    """Memory that a child may write so much to, and no more; it never waits, as for a pipe. None: there is none."""
    with contextlib.suppress(OSError, AttributeError):
        import fcntl

        descriptor = _above_standard(os.memfd_create("wasmjit-stderr", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        try:
            os.ftruncate(descriptor, _WORDS_BYTES)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor
    return None


def last_words(process: subprocess.Popen[bytes]) -> str:
    """What a child printed last, to be added to a message: the last line that tells of an error, or simply the last.

    To be asked before its pipes are closed.
    """
    data = b""
    with contextlib.suppress(OSError, ValueError):
        data = b"" if process.stderr is None else os.pread(process.stderr.fileno(), _WORDS_BYTES, 0)
    lines = [line.strip() for line in data.replace(b"\0", b"").decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        return ""
    line = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
    return f"; it said: {printable(line[:_MOST_WORDS], newlines=False)}"


def end(process: subprocess.Popen[bytes], *, group: bool = False) -> None:
    """Kills it and closes its pipes; with `group`, its children too. It has nothing to lose."""
    import signal

    _started.discard(process)
    if process.poll() is None:  # its id is still its own
        with contextlib.suppress(OSError):
            if group:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
    close_pipes(process)


def forget(process: subprocess.Popen[bytes]) -> None:
    """It goes on without us."""
    _started.discard(process)
    process.returncode = 0  # nobody is to be warned of it


def close_pipes(process: subprocess.Popen[bytes]) -> None:
    """Closes our ends of its pipes."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()


def start_thread(run: Callable[[], None]) -> None:
    """Starts a thread that keeps nothing from ending. Raises RuntimeError if there can be none.

    `threading` waits for ever for a thread that begins and has no memory for its first call.
    """
    if not _has_memory_for_calls():  # the interpreter would print what nobody can catch
        raise RuntimeError("there is no memory for a thread to begin")
    begun = threading.Lock()
    begun.acquire()

    def main() -> None:
        begun.release()
        run()

    before = _threads()
    _thread.start_new_thread(main, ())
    while not begun.acquire(timeout=_LOOK_AT_THREAD_SECONDS):
        if before and (now := _threads()) and not now - before and not begun.acquire(blocking=False):
            raise RuntimeError("there is no memory for a thread to begin")


_LOOK_AT_THREAD_SECONDS = 0.2
_FIRST_CALLS_BYTES = 1 << 20


def _has_memory_for_calls() -> bool:
    """Whether the system still has what the frames of a thread's first calls lie in."""
    try:
        with importing():
            import mmap
        mmap.mmap(-1, _FIRST_CALLS_BYTES).close()
    except (OSError, MemoryError, ImportError):
        return False
    return True


def _threads() -> set[str]:
    """The system's numbers of this process's threads; empty where they are not to be had."""
    with contextlib.suppress(OSError):
        return set(os.listdir("/proc/self/task"))
    return set()


_said = False


def say_once(error: BaseException) -> None:
    """Warns, at the first time, that the program goes on in slower code because no better can be had."""
    global _said
    if _said:
        return
    _said = True
    with contextlib.suppress(Exception):  # warnings can be errors; this must be none
        with importing():
            import warnings
        reason = getattr(error, "reason", None) or f"{type(error).__name__}: {error}"
        message = f"wasmjit cannot make faster code, and goes on in the code that there is: {reason}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def catch_up(process: subprocess.Popen[bytes]) -> None:
    """Has a process that was started `alone` and gave way, and those that it started, give way no longer, as far as the
    system lets us (it asks for a privilege)."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PGRP, process.pid, os.getpriority(os.PRIO_PROCESS, 0))
    with contextlib.suppress(OSError), open(f"/proc/{process.pid}/autogroup", "w") as autogroup:
        autogroup.write("0")


def give_way(niceness: int) -> None:
    """Has the session of this process give way to others, if it is the leader's to say.

    Linux may divide processors among sessions first (autogroups): niceness is for the processes within one then, and
    each session has a niceness of its own.
    """
    if niceness and os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as autogroup:
            autogroup.write(str(niceness))


def num_processors() -> int:
    """How many of them this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (OSError, AttributeError):  # not on macOS
        return os.cpu_count() or 1


# ---- forks ----

# Without a lock: a signal handler may come where it is held, and wait for a thread that starts a process.
_started: set[subprocess.Popen[bytes]] = set()
_import_lock = threading.RLock()
_locks: WeakMembers[Any] = WeakMembers()
# Imports take milliseconds. What they wait for may be held by the thread that forks: then it goes on.
_LONGEST_IMPORT_SECONDS = 2.0
_LOOK_AT_IMPORTS_SECONDS = 0.001
_NAME_OF_OURS = __name__.partition(".")[0] + "."
_holds_import_lock = False
# A process that was forked starts fewer processes: as many as there are may do the same.
is_forked = False


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around imports beside running wasm: a fork in another thread waits for them. Its child would find a module's
    lock held by a thread that it does not have, and wait for ever."""
    with _import_lock:
        yield


def lock() -> Any:
    """A `threading.RLock` that is free in a child which is forked while another thread has it."""
    made = threading.RLock()
    _locks.add(made)
    return made


def _before_fork() -> None:
    global _holds_import_lock
    end_at = time.monotonic() + _LONGEST_IMPORT_SECONDS
    _holds_import_lock = _import_lock.acquire(timeout=_LONGEST_IMPORT_SECONDS)
    while _others_import() and time.monotonic() < end_at:
        time.sleep(_LOOK_AT_IMPORTS_SECONDS)


def _others_import() -> bool:
    """Whether other threads are in the middle of modules of ours that they import without `importing`, as is done all
    over where modules are compiled."""
    locks: dict[str, Any] = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    for name, reference in list(locks.items()):
        owner = getattr(reference(), "owner", None) if name.startswith(_NAME_OF_OURS) else None
        if owner is not None and owner != threading.get_ident():
            return True
    return False


def _after_fork_in_parent() -> None:
    if _holds_import_lock:
        _import_lock.release()


def _after_fork_in_child() -> None:
    """The processes are the parent's: their pipes would keep them, and us, waiting for each other."""
    global is_forked, _import_lock
    is_forked = True
    _import_lock = threading.RLock()
    for one in list(_locks):
        if not one._is_owned():  # by this thread, in whose signal handler or finalizer the fork was
            one._at_fork_reinit()
    for process in list(_started):
        process.returncode = 0  # nothing of it is to be waited for, or killed, here
        close_pipes(process)
    _started.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


# ---- the child's side ----

_LOOK_MILLISECONDS = 200  # where the system has no pidfd


class Parent:
    """The process that started this one, watched by a thread: this one ends with it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._pidfd: int | None = None
        with contextlib.suppress(OSError, AttributeError):
            self._pidfd = os.pidfd_open(pid)
        # 0: in another process namespace, where it cannot be seen.
        if os.getppid() == 0:
            self._pidfd = None
        # Looked at when its descriptor is there: it may have ended before, and another process have its number.
        self.is_gone = os.getppid() not in (pid, 0)

    def watch(self, at_end: Callable[[], None] | None = None) -> None:
        """Has a thread call `at_end` when the parent has ended, or closed the pipe; without it, ends this process."""
        start_thread(lambda: self._watch(at_end or _exit))

    def _watch(self, at_end: Callable[[], None]) -> None:
        import select

        poll = select.poll()
        poll.register(0, 0)  # says when nobody can write any more
        if self._pidfd is not None:
            poll.register(self._pidfd, select.POLLIN)
        namespace_parent = os.getppid()
        timeout = None if self._pidfd is not None else _LOOK_MILLISECONDS
        while not self.is_gone:
            if poll.poll(timeout) or os.getppid() != namespace_parent:
                self.is_gone = True
        at_end()


def _exit() -> None:
    os._exit(0)


def forget_words() -> None:
    """What was printed before this is no reason for what happens from now on."""
    with contextlib.suppress(OSError):
        if size_bytes := os.lseek(2, 0, os.SEEK_CUR):
            os.pwrite(2, bytes(min(size_bytes, _WORDS_BYTES)), 0)
            os.lseek(2, 0, os.SEEK_SET)


def wait_for_request(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read, or the end, within this time."""
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
