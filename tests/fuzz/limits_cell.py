"""One cell of `limits.py`, in a process of its own: a small program of wasm under a limit that is set in its middle.

The process tells by a descriptor, in JSON, how each step ended. It looks at what happened when the limit is lifted, and
then goes on as if nothing had been: whatever failed has to work now.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STEPS = ("text", "validate", "translate", "first", "hot", "optimise", "cache", "interrupt")
NEEDS_PROCESSES = ("text",)
WORK = 20_000
MASK = 0xFFFF_FFFF
SALTS = (77, 1234)  # of the module under test, and of another one
_DEPTH = 300
# A thread has this many frames at least, however close to the limit the main thread is.
_BASE_DEPTH = 90
_FILLERS = 24
_HOT_CALLS = 8
_TIMEOUT_SECONDS = 0.1


def text(salt: int) -> str:
    """The module: loops, recursion, tables, memory, a host function, and functions that get warm with others."""
    fillers = "".join(
        f"(func $f{n} (type $one) (i32.add (i32.mul (local.get 0) (i32.const {n + 3})) (i32.const {salt})))"
        for n in range(_FILLERS)
    )
    calls = "".join(f"(local.set $s (i32.xor (local.get $s) (call $f{n} (local.get $n))))" for n in range(_FILLERS))
    return f"""(module
      (import "host" "step" (func $step (param i32) (result i32)))
      (memory (export "memory") 1 16) (data (i32.const 16) "limits") (table 2 funcref) (elem (i32.const 0) $add $mul)
      (type $one (func (param i32) (result i32))) (type $two (func (param i32 i32) (result i32)))
      (func $add (type $two) (i32.add (local.get 0) (local.get 1)))
      (func $mul (type $two) (i32.mul (local.get 0) (i32.or (local.get 1) (i32.const 1))))
      {fillers}
      (func $many (param $n i32) (result i32) (local $s i32) {calls} (local.get $s))
      (func $deep (export "deep") (param i32) (result i32)
        (if (result i32) (local.get 0)
          (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1))))) (else (i32.const 0))))
      (func (export "forever") (loop (br 0)))
      (func (export "work") (param $n i32) (result i32) (local $s i32) (local $at i32)
        (i32.store (i32.const 64) (i32.const 0))
        (loop $l
          (local.set $s (call_indirect (type $two) (local.get $s) (local.get $n)
            (i32.and (i32.shr_u (local.get $n) (i32.const 3)) (i32.const 1))))
          (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (local.get $s)))
          (if (i32.eqz (i32.and (local.get $n) (i32.const 0x3ff)))
            (then (local.set $s (i32.add (call $step (local.get $n)) (call $many (local.get $s))))))
          (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (i32.add (i32.load (i32.const 64)) (i32.load8_u (i32.const 17)))))"""


def expected(n: int, salt: int) -> int:
    """What `work` returns, unsigned."""
    s = total = 0
    while n:
        s = (s * (n | 1) if n >> 3 & 1 else s + n) & MASK
        total = (total + s) & MASK
        if n & 0x3FF == 0:
            many = 0
            for filler in range(_FILLERS):
                many ^= (s * (filler + 3) + salt) & MASK
            s = (step(n) + many) & MASK
        n -= 1
    return (total + ord("i")) & MASK


def step(n: int) -> int:
    """The host function."""
    return n * 3 + 1


class WrongResultError(AssertionError):
    """The worst that can happen."""


# ---- limits ----


def _fill_descriptors() -> int:
    """Opens what is free below the highest descriptor; how many there can be then."""
    highest = max(map(int, os.listdir("/proc/self/fd")))
    while True:
        descriptor = os.open(os.devnull, os.O_RDONLY)
        if descriptor > highest:
            os.close(descriptor)
            return highest + 1


def _soft(kind: int, value: int) -> Callable[[], None]:
    before = resource.getrlimit(kind)
    hard = before[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    return lambda: resource.setrlimit(kind, before)


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    raise LookupError(field)


def _stack_in_use() -> int:
    """Bytes of the main thread's stack that the system counts against its limit."""
    return _status_bytes("VmStk")


def limit_descriptors(spare: int) -> Callable[[], None]:
    """As many descriptors as are in use, and some."""
    return _soft(resource.RLIMIT_NOFILE, _fill_descriptors() + spare)


def limit_processes(spare: int) -> Callable[[], None]:
    """As many processes and threads of this user as there are, and some. The user was given up before (`give_up`)."""
    own = 0
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            status = Path("/proc", entry, "status").read_text()
            if f"\nUid:\t{os.getuid()}\t" in status:
                own += int(status.partition("\nThreads:")[2].split()[0])
    return _soft(resource.RLIMIT_NPROC, own + spare)


def limit_forks(_: int) -> Callable[[], None]:
    """Neither fork nor thread: the next processes would belong to a namespace whose first process has ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    new_pid_namespace = 0x2000_0000
    if libc.unshare(new_pid_namespace):
        raise OSError(ctypes.get_errno(), "unshare")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

    def lift() -> None:
        if libc.setns(own, new_pid_namespace):
            raise OSError(ctypes.get_errno(), "setns")

    return lift


def limit_address_space(spare: int) -> Callable[[], None]:
    """As much as is mapped, and some."""
    return _soft(resource.RLIMIT_AS, _status_bytes("VmSize") + spare)


def limit_data(spare: int) -> Callable[[], None]:
    """The same for private writable memory."""
    return _soft(resource.RLIMIT_DATA, _status_bytes("VmData") + spare)


def limit_stack(spare: int) -> Callable[[], None]:
    """What the main thread's stack has grown to, and some."""
    return _soft(resource.RLIMIT_STACK, _stack_in_use() + spare)


def limit_file_size(size: int) -> Callable[[], None]:
    """Of files that are written."""
    return _soft(resource.RLIMIT_FSIZE, size)


def limit_signals(count: int) -> Callable[[], None]:
    """Queued signals and timers, of the user."""
    return _soft(resource.RLIMIT_SIGPENDING, count)


def limit_recursion(spare: int) -> Callable[[], None]:
    """Python frames beyond those that there are."""
    before = sys.getrecursionlimit()
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    while True:
        try:
            sys.setrecursionlimit(depth + spare)
            break
        except RecursionError:  # C calls count as well
            depth += 1
    return lambda: sys.setrecursionlimit(before)


EXECUTABLES = (None, "", "/nonexistent/python", "/bin/true")


def limit_executable(number: int) -> Callable[[], None]:
    """What is known of Python's program."""
    names = ("executable", "_base_executable", "exec_prefix", "base_exec_prefix")
    before = {name: getattr(sys, name) for name in names}
    sys.executable = sys._base_executable = EXECUTABLES[number]  # type: ignore[assignment,attr-defined]
    sys.exec_prefix = sys.base_exec_prefix = "/nonexistent"

    def lift() -> None:
        for name, value in before.items():
            setattr(sys, name, value)

    return lift


def limit_root(_: int) -> Callable[[], None]:
    """Nothing but an empty directory."""
    root, here = os.open("/", os.O_RDONLY), os.open(".", os.O_RDONLY)
    os.chroot(tempfile.mkdtemp())
    os.chdir("/")

    def lift() -> None:
        os.fchdir(root)
        os.chroot(".")
        os.fchdir(here)
        os.close(root)
        os.close(here)

    return lift


# What becomes of the directories that files are put into: (variables, what they are).
DIRECTORIES = ("absent", "unset", "file", "read-only")


def limit_directories(number: int) -> Callable[[], None]:
    """HOME, TMPDIR and what is made of them are none."""
    kind = DIRECTORIES[number]
    names = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")
    before = {name: os.environ.get(name) for name in names}
    place = Path(os.environ["TMPDIR"])
    value = {"absent": "/proc/nonexistent", "file": str(place / "file"), "read-only": "/proc/1"}.get(kind)
    if kind == "file":
        (place / "file").touch()
    for name in names:
        os.environ.pop(name, None)
        if value is not None and (name in ("HOME", "TMPDIR") or kind == "read-only"):
            os.environ[name] = value
    tempfile.tempdir = None

    def lift() -> None:
        for name, value in before.items():
            if value is not None:
                os.environ[name] = value
        tempfile.tempdir = None

    return lift


def limit_disk(_: int) -> Callable[[], None]:
    """The cache is on a disk (`limits.py` mounts it) that gets full, or has no room for another file."""
    cache = Path(os.environ["WASMJIT_CACHE_DIR"])
    made: list[Path] = []
    with contextlib.suppress(OSError):
        for number in range(10_000):
            made.append(cache / f"filler{number}")
            with open(made[-1], "wb", buffering=0) as file:
                while file.write(bytes(65536)):
                    pass

    def lift() -> None:
        for path in made:
            path.unlink(missing_ok=True)

    return lift


def limit_nothing(_: int) -> Callable[[], None]:
    """That all is well without a limit."""
    return lambda: None


LIMITS = {
    "nothing": limit_nothing,
    "descriptors": limit_descriptors,
    "processes": limit_processes,
    "forks": limit_forks,
    "address-space": limit_address_space,
    "data": limit_data,
    "stack": limit_stack,
    "thread-stack": limit_nothing,
    "file-size": limit_file_size,
    "signals": limit_signals,
    "disk-bytes": limit_disk,
    "disk-files": limit_disk,
    "directories": limit_directories,
    "recursion": limit_recursion,
    "executable": limit_executable,
    "root": limit_root,
}


_READ_ALL = (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: Python may be where root alone can read it


def give_up_root() -> None:
    """Has this process belong to a user that nobody is: limits that root does not have hold then."""
    libc = ctypes.CDLL(None, use_errno=True)
    keep_capabilities, capset, ambient, is_raised = 8, {"x86_64": 126}.get(os.uname().machine, 91), 47, 2
    user = 70_000 + os.getpid() % 100_000
    os.setgroups([])
    libc.prctl(keep_capabilities, 1, 0, 0, 0)
    os.setgid(user)
    os.setuid(user)
    bits = sum(1 << number for number in _READ_ALL)
    version_3 = 0x2008_0522
    head, data = (ctypes.c_uint32 * 2)(version_3, 0), (ctypes.c_uint32 * 6)(bits, bits, bits)
    if libc.syscall(capset, head, data):
        raise OSError(ctypes.get_errno(), "capset")
    for number in _READ_ALL:
        libc.prctl(ambient, is_raised, number, 0, 0)


# ---- the program ----


class World:
    """The program, a step at a time; what a step needs was made by those before it."""

    def __init__(self, cell: dict[str, Any]) -> None:
        from wasmjit import Config, Engine

        self.cell = cell
        self.modules = {salt: Path(cell["directory"], f"{salt}.wasm").read_bytes() for salt in SALTS}
        self.salt = SALTS[0]
        tier = cell["tier"]
        self.is_auto = tier in ("auto", "default", "fuel")
        options = {} if tier == "default" else {"tier": "auto" if tier == "fuel" else tier}
        self.engine = Engine(Config(**options, consume_fuel=tier == "fuel"))
        self.cached = Engine(Config(**options, consume_fuel=tier == "fuel", cache=True))
        self.module: Any = None
        self.store: Any = None
        self.exports: Any = None
        self.notes: list[BaseException] = []

    def start(self) -> None:
        """What comes before all steps: the cache has the module already if that is what is looked at."""
        if self.cell["phase"] == "cache":
            from wasmjit import Module

            Module(self.cached, self.modules[self.salt]).wait_optimized(60)

    def text(self) -> None:
        from wasmjit import Module

        Module.validate(self.engine, bytes(self._wat2wasm("(module (func))")))

    @staticmethod
    def _wat2wasm(source: str) -> bytearray:
        from wasmjit import wat2wasm

        return wat2wasm(source)

    def validate(self) -> None:
        from wasmjit import Module

        Module.validate(self.engine, self.modules[self.salt])

    def translate(self) -> None:
        from wasmjit import Module

        self.module = Module(self.engine, self.modules[self.salt])

    def first(self) -> None:
        self.exports, self.store = self._instance(self.module)
        self._deep()
        self._work(50)
        # All of its functions, so that they have code where code is made at the first call.
        self._work(0x400)

    def _instance(self, module: Any) -> tuple[Any, Any]:
        from wasmjit import Linker, Store

        fuel = {"fuel": 1 << 50} if self.cell["tier"] == "fuel" else {}
        store = Store(module.engine, **fuel)
        linker = Linker(module.engine)
        linker.define_func("host", "step", self._step_type(), step)
        return linker.instantiate(store, module).exports(store), store

    @staticmethod
    def _step_type() -> Any:
        from wasmjit import FuncType, ValType

        return FuncType([ValType.i32()], [ValType.i32()])

    def _work(self, n: int) -> None:
        found = self.exports["work"](self.store, n) & MASK
        if found != EXPECTED[n, self.salt]:
            raise WrongResultError(f"work({n}) is {found}, not {EXPECTED[n, self.salt]}")

    def _deep(self) -> None:
        found = self.exports["deep"](self.store, _DEPTH)
        if found != _DEPTH:
            raise WrongResultError(f"deep({_DEPTH}) is {found}")

    def _too_deep(self) -> None:
        from wasmjit import Trap, TrapCode

        try:
            self.exports["deep"](self.store, 10_000_000)
        except Trap as trap:
            if trap.trap_code is not TrapCode.STACK_OVERFLOW:
                raise

    def hot(self) -> None:
        if self.cell["limit"] in ("stack", "thread-stack"):
            self._too_deep()
        for _ in range(_HOT_CALLS):
            self._work(WORK)
            self._deep()
            time.sleep(0.04)

    def optimise(self) -> None:
        if self.is_auto:
            self._wait(self.module)
        self._work(WORK)

    def _wait(self, module: Any) -> None:
        """Asks for optimised code: that there may be none is for those who wait for it, not for the program."""
        from wasmjit import CompileError

        try:
            if not module.wait_optimized(45):
                raise TimeoutError("no optimised code in 45 s")
        except (CompileError, RecursionError, MemoryError) as error:
            self.notes.append(error)

    def cache(self) -> None:
        from wasmjit import Module

        self.exports, self.store = self._instance(Module(self.cached, self.modules[self.salt]))
        self._work(WORK)
        self.salt = SALTS[1]
        module = Module(self.cached, self.modules[self.salt])
        self.exports, self.store = self._instance(module)
        self.hot()
        if self.is_auto:
            self._wait(module)
            self._work(WORK)
        self.salt = SALTS[0]
        if self.module is not None:
            self.exports, self.store = self._instance(self.module)

    def interrupt(self) -> None:
        from wasmjit import Trap, TrapCode

        self.store.timeout = _TIMEOUT_SECONDS
        try:
            self.exports["forever"](self.store)
        except Trap as trap:
            if trap.trap_code is not TrapCode.INTERRUPT and (self.cell["tier"] != "fuel"):
                raise
        finally:
            self.store.timeout = None

    def afterwards(self) -> None:
        """The limit is lifted: what was made goes on, and another module can be made."""
        self.notes = []
        if self.module is None:
            self.translate()
        if self.exports is None:
            self.first()
        self.salt = SALTS[0]
        self.exports, self.store = self._instance(self.module)
        self.hot()
        self.optimise()
        self.salt = SALTS[1]
        self.text()
        self.validate()
        self.translate()
        self.first()
        self.hot()
        self.optimise()
        self.salt = SALTS[0]
        self.cache()
        self.interrupt()
        if self.notes:
            raise self.notes[0]

    def forget(self) -> None:
        """The end of all handles."""
        self.module = self.store = self.exports = None


EXPECTED: dict[tuple[int, int], int] = {}


def _say(descriptor: int, **fields: Any) -> None:
    os.write(descriptor, json.dumps(fields).encode() + b"\n")


def _describe(error: BaseException) -> dict[str, Any]:
    """An error, by type, message, and the file of the frame that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}wasmjit{os.sep}" in frame.filename and "tests" not in frame.filename]
    return {
        "type": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__],
        "message": f"{str(error)[:200]} {str(error)[200:][-200:]}".strip(),
        "is_through_us": bool(own),
        "traceback": "".join(traceback.format_exception(error))[-3000:],
    }


def _below(depth: int, call: Callable[[], None]) -> None:
    if depth:
        _below(depth - 1, call)
    else:
        call()


def _in_thread(stack_bytes: int, call: Callable[[], None]) -> None:
    threading.stack_size(stack_bytes)
    thread = threading.Thread(target=call)
    thread.start()
    threading.stack_size(0)
    thread.join()


@contextlib.contextmanager
def _placed(cell: dict[str, Any]) -> Iterator[Callable[[Callable[[], None]], None]]:
    """How the program is called: far down, or in a thread with little stack."""
    if cell["limit"] == "thread-stack":
        yield lambda call: _in_thread(cell["amount"], call)
    elif cell["limit"] == "recursion":
        yield lambda call: _below(_BASE_DEPTH, call)
    else:
        yield lambda call: call()


def run(cell: dict[str, Any], descriptor: int) -> None:
    """All of one cell."""
    for salt in SALTS:
        for n in (50, 0x400, WORK):
            EXPECTED[n, salt] = expected(n, salt)
    if cell["is_user"]:
        give_up_root()
    world = World(cell)
    world.start()
    first = STEPS.index(cell["phase"])
    for name in STEPS[:first]:
        if name not in ("text", "cache", "interrupt") or name == cell["phase"]:
            getattr(world, name)()
    steps = [name for name in STEPS[first:] if name == cell["phase"] or name not in ("text", "cache", "interrupt")]
    at: list[str] = []
    found: list[BaseException] = []
    _say(descriptor, prepared=True)

    def limited() -> None:
        lift = LIMITS[cell["limit"]](cell["amount"])
        try:
            for name in steps:
                at.append(name)
                getattr(world, name)()
        except BaseException as error:
            found.append(error)
        finally:
            lift()

    with _placed(cell) as call:
        call(limited)
    told = [_describe(error) for error in found]
    _say(descriptor, at=at[-1], error=told[0] if told else None, notes=[_describe(note) for note in world.notes])
    found.clear()
    world.notes.clear()
    gc.collect()
    if cell["has_afterwards"]:
        try:
            world.afterwards()
            _say(descriptor, afterwards=None)
        except BaseException as error:
            _say(descriptor, afterwards=_describe(error))
    if cell["ends_limited"]:
        LIMITS[cell["limit"]](cell["amount"])
    world.forget()
    gc.collect()


def run_command_line(cell: dict[str, Any], descriptor: int) -> None:
    """A cell of the command line: nothing of ours is left to tell how it ended, but its status."""
    from wasmjit.cli import main, open_standard_streams

    open_standard_streams()
    if cell["is_user"]:
        give_up_root()
    if cell["phase"] == "cache":
        import subprocess

        done = subprocess.run([sys.executable, "-m", "wasmjit", *cell["arguments"]], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    sys.argv[1:] = cell["arguments"]
    _say(descriptor, prepared=True)

    def limited() -> None:
        LIMITS[cell["limit"]](cell["amount"])
        main()

    with _placed(cell) as call:
        call(limited)


def main() -> None:
    """The process of a cell: `argv` has the cell, and the descriptor to tell how it went by."""
    cell, descriptor = json.loads(sys.argv[1]), int(sys.argv[2])
    sys.stdout.flush()
    (run_command_line if cell["tier"].startswith("cli") else run)(cell, descriptor)
