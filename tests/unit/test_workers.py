"""The pool of compiler processes: what becomes of a worker whose reply nobody waits for."""

from __future__ import annotations

import errno
import gc
import io
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wasmjit
from tests.timing import becomes_true
from wasmjit import Config, processes, thresholds
from wasmjit.compile import quick_imports, wire, workers
from wasmjit.compile.pipeline import _request_fields
from wasmjit.compile.workers import Pending, Worker, WorkerPool, background_pool
from wasmjit.processes import CompilerDiedError, last_words

# A module whose text, and whose object, is larger than what fits in a pipe.
LARGE = "\n".join(f'@s{number} = constant [100 x i8] c"{"x" * 100}"' for number in range(2000)).encode()
FIELDS = _request_fields(Config(), "object")


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool()
    yield made
    made.close()


def process_id(pending: Pending) -> int:
    assert pending._worker is not None
    return pending._worker.process.pid


def wait_for_reply(pool: WorkerPool) -> None:
    deadline = time.monotonic() + 120
    while not pool.idle and time.monotonic() < deadline:
        time.sleep(0.01)
        with pool.lock:
            pool._collect()
    assert pool.idle


def test_a_worker_is_used_again(pool: WorkerPool) -> None:
    first = pool.begin(FIELDS, LARGE)
    process = process_id(first)
    assert first.result()[1][:4] == b"\x7fELF"
    second = pool.begin(FIELDS, LARGE)
    assert process_id(second) == process
    second.result()


def test_a_worker_gets_no_request_before_its_reply_was_read(pool: WorkerPool) -> None:
    """Both sides would wait for the other to read."""
    dropped = pool.begin(FIELDS, LARGE)
    process = process_id(dropped)
    del dropped
    second = pool.begin(FIELDS, LARGE)
    assert process_id(second) != process
    assert len(second.result()[1]) > 100 * 2000
    pool.idle.pop().close()
    wait_for_reply(pool)
    third = pool.begin(FIELDS, LARGE)
    assert process_id(third) == process and len(third.result()[1]) > 100 * 2000


def test_a_worker_outlives_a_garbage_cycle(pool: WorkerPool) -> None:
    """Its pipes would be collected, which closes them, together with whoever gives it back."""
    cycle: list[object] = [pool.begin(FIELDS, LARGE)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    wait_for_reply(pool)
    assert pool.request(FIELDS, LARGE)[1][:4] == b"\x7fELF"


def test_more_than_the_pool_keeps_are_ended(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "WORKER_PATIENCE_SECONDS", 0)
    pending = [pool.begin(FIELDS, LARGE) for _ in range(pool.most_workers + 2)]
    workers = [item._worker for item in pending]
    del pending
    gc.collect()
    assert sum(worker is not None and worker.process.poll() is None for worker in workers) == pool.most_workers


def test_as_many_as_compile_at_once_are_kept(pool: WorkerPool) -> None:
    """All units, and trampolines: one was ended with each module of several units, and started for the next."""
    for _ in range(2):
        pending = [pool.begin(FIELDS, LARGE) for _ in range(pool.size + 1)]
        processes = {process_id(item) for item in pending}
        for item in pending:
            item.result()
        assert {worker.process.pid for worker in pool.idle} == processes


SPLIT = "@llvm.x86.avx512.rsqrt14.ps.512(<16 x float>"
DEADLY = {
    "report_fatal_error": (
        f"declare <16 x float> {SPLIT}, <16 x float>, i16)\ndefine <16 x float> @f(<16 x float> %x) {{\n"
        f"  %y = call <16 x float> {SPLIT} %x, <16 x float> %x, i16 -1)\n  ret <16 x float> %y\n}}\n",
        r"died \(signal 6\); it said: LLVM ERROR: .*split",
    ),
    "refused assembly": (
        'define void @f() {\n  call void asm sideeffect "bogus", ""()\n  ret void\n}\n',
        r"died \(exit code 1\); it said: .*error: .*invalid instruction",
    ),
}


@pytest.mark.parametrize(("text", "message"), DEADLY.values(), ids=DEADLY)
def test_llvms_last_words_are_the_reason(pool: WorkerPool, text: str, message: str) -> None:
    fields = _request_fields(Config(target="x86_64-unknown-linux-gnu", cpu="x86-64-v2"), "object")
    with pytest.raises(CompilerDiedError, match=message):
        pool.begin(fields, text.encode()).result()
    assert pool.begin(fields, LARGE).result()[1][:4] == b"\x7fELF"


def test_what_workers_print_is_bounded_and_forgotten_with_the_next_request() -> None:
    worker = Worker()
    try:
        worker.send(FIELDS, LARGE)  # it has begun to read requests when there is a reply
        assert worker.receive() is not None
        assert worker.process.stderr is not None
        words = worker.process.stderr.fileno()
        os.write(words, b"a reason\x1b[2J of then\n")
        assert last_words(worker.process) == r"; it said: a reason\x1b[2J of then"
        assert os.write(words, bytes(64 << 10)) < 64 << 10
        with pytest.raises(PermissionError):
            os.write(words, b"more")
        worker.send(FIELDS, LARGE)
        assert worker.receive() is not None
        assert last_words(worker.process) == ""
    finally:
        worker.close()


@pytest.mark.parametrize("are_kept", [True, False])
def test_replies_that_nobody_fetches_keep_no_worker(pool: WorkerPool, are_kept: bool) -> None:
    """Of a module that is used no more, or not at the moment."""
    pool.most_workers = 2
    pending = [pool.begin(FIELDS, LARGE) for _ in range(2)]
    assert pool.is_full
    if not are_kept:
        pending.clear()
    deadline = time.monotonic() + 120
    while pool.is_busy() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pool.idle
    assert [one.result()[1][:4] for one in pending] == [b"\x7fELF"] * len(pending)


def test_a_full_pool_has_another_worker_for_what_one_took_too_long_for(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for with the pool's lock held, which what starts it needs: all of them waited for ever."""
    pool.most_workers = 1
    first = pool.begin(FIELDS, LARGE)
    os.kill(process_id(first), signal.SIGXCPU)
    replies: list[bytes] = []
    thread = threading.Thread(target=lambda: replies.append(pool.begin(FIELDS, LARGE).result()[1]), daemon=True)
    monkeypatch.setattr(threading, "main_thread", lambda: thread)  # which starts no worker itself
    thread.start()
    thread.join(60)
    if not replies:
        pool.lock = threading.RLock()  # for the end of this test
    assert len(replies) == 1
    assert first.result()[1][:4] == b"\x7fELF"


def test_an_interrupt_while_a_worker_starts_leaves_it_to_its_pool(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was nobody's, and lived on."""

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    start = processes.start
    started = []

    def start_slowly(*arguments: Any, **options: Any) -> Any:
        started.append(start(*arguments, **options))
        signal.raise_signal(signal.SIGALRM)
        return started[0]

    monkeypatch.setattr(processes, "start", start_slowly)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted):
            pool.begin(FIELDS, LARGE)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert becomes_true(lambda: [worker.process for worker in pool.idle] == started)


def test_a_request_that_is_not_sent_leaves_its_worker_idle(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pending, "send", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.begin(FIELDS, LARGE)
    gc.collect()
    assert len(pool.idle) == 1 and not pool._busy


def test_a_request_that_an_interrupt_kept_from_being_made_ends_quietly() -> None:
    Pending.__new__(Pending).__del__()


_IMPORTS = """
import sys
import wasmjit.compile.worker as worker
from wasmjit.compile import llvm, quick_imports
assert not {"importlib.resources", "llvmlite.ir", "platform", "pathlib", "json", "signal"} & set(sys.modules)
assert sys.modules["enum"].__file__ and llvm.llvm.Linkage.external == 0
assert isinstance(sys.modules["typing"], quick_imports._Typing)
from typing import get_type_hints  # whoever needs more has it
assert sys.modules["typing"].__file__ and get_type_hints(worker.serve)["return"] is type(None)
if "-slowly" in sys.argv:  # llvmlite is not as it was
    for name in [name for name in sys.modules if name.startswith("llvmlite") or name == "wasmjit.compile.llvm"]:
        del sys.modules[name]
    quick_imports._Names.__getattr__ = lambda *_: 1 // 0
    worker._import_quickly()
    assert not any(name.startswith("llvmlite") for name in sys.modules)
    from importlib import import_module
    llvm = import_module("wasmjit.compile.llvm")
    assert "llvmlite.ir" in sys.modules
fields = {"triple": None, "cpu": None, "features": None, "guard_pages": True}
fields |= {"opt_level": "speed", "verify": True, "output": "object"}
assert llvm.compile_text("define void @f() {\\n  ret void\\n}\\n", fields)[0][:4] == b"\\x7fELF"
"""


@pytest.mark.parametrize("how", ["-quickly", "-slowly"])
def test_a_worker_imports_what_it_needs(how: str) -> None:
    """What else llvmlite imports took more than half of the time; where it has changed, all is imported."""
    bare = "import sys, types\nsys.modules['wasmjit'] = module = types.ModuleType('wasmjit')\n"
    bare += f"module.__path__ = {wasmjit.__path__!r}\nsys.path[:] = {sys.path!r}\n"
    subprocess.run([sys.executable, "-S", "-c", bare + _IMPORTS, how], check=True)


def test_named_tuples_of_a_worker_are_those_of_the_library() -> None:
    class Pair(quick_imports._NamedTuple):  # type: ignore[misc]
        """Two."""

        first: int
        second: str = "b"

        def both(self) -> str:
            return f"{self.first}{self.second}"

    pair = Pair(1)  # type: ignore[call-arg]
    assert pair == (1, "b") and pair.second == "b" and pair.both() == "1b" and Pair.__doc__ == "Two."
    assert pair._replace(first=2).both() == "2b" and repr(pair) == "Pair(first=1, second='b')"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"a": "b", "seconds": 0.25, "tiny": 1e-300},
        {"error": 'a "quoted" \\ line\nand \udc80\u1234'},
        {"number": 3, "truth": True, "nothing": None, "list": ["a"]},
    ],
)
def test_messages_are_what_was_written(fields: dict[str, Any]) -> None:
    for write, read in ((wire.write_message, wire.read_message), (wire.write_request, wire.read_request)):
        stream = io.BytesIO()
        write(stream, fields, b"body")
        write(stream, {}, b"")
        stream.seek(0)
        assert read(stream) == (fields, b"body") and read(stream) == ({}, b"") and read(stream) is None
    assert json.loads(wire._json(fields)) == fields


@pytest.mark.parametrize("num_processors", [1, 2])
def test_workers_beside_the_program_give_way_to_it(num_processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """But on one processor the program would wait for code all the longer."""
    monkeypatch.setattr(processes, "num_processors", lambda: num_processors)
    monkeypatch.setattr(workers, "_background_pool", None)
    niceness = thresholds.BESIDE_NICENESS if num_processors > 1 else thresholds.BESIDE_NICENESS_ALONE
    made = background_pool()
    assert made._niceness == niceness and made.most_workers <= num_processors
    pending = Pending(made, FIELDS, b"")
    made._take(pending)
    worker = pending._worker
    assert worker is not None
    try:
        assert worker.process.stdin is not None
        priority = os.getpriority(os.PRIO_PROCESS, worker.process.pid)
        deadline = time.monotonic() + 60  # Python has to start
        while niceness and priority == os.getpriority(os.PRIO_PROCESS, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
            priority = os.getpriority(os.PRIO_PROCESS, worker.process.pid)
        assert priority == min(os.getpriority(os.PRIO_PROCESS, 0) + niceness, 19)
    finally:
        pending.abandon()


def test_no_thread_begins_without_memory_for_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter would print a MemoryError that nobody can catch."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    ran: list[int] = []
    with pytest.raises(RuntimeError, match="no memory for a thread"):
        processes.start_thread(lambda: ran.append(1))
    assert not ran


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the system does not group sessions")
def test_a_process_in_a_session_of_its_own_gives_way() -> None:
    """Linux divides processors among sessions first: the optimiser had half of one, however nice it was."""
    process = processes.start("wasmjit.compile.llvm", alone=True, niceness=7)
    try:
        assert becomes_true(lambda: Path(f"/proc/{process.pid}/autogroup").read_text().endswith(" nice 7\n"))
    finally:
        processes.end(process)
    other = processes.start("wasmjit.compile.llvm", niceness=7)  # in ours, which is not its to change
    try:
        time.sleep(0.2)
        assert not Path("/proc/self/autogroup").read_text().endswith(" nice 7\n")
    finally:
        processes.end(other)


def test_what_catches_up_gives_way_no_longer() -> None:
    process = processes.start("wasmjit.compile.llvm", alone=True, niceness=7)
    try:
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert becomes_true(lambda: os.getpriority(os.PRIO_PROCESS, process.pid) == min(ours + 7, 19))
        processes.catch_up(process)
        if os.geteuid() == 0:
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == ours
    finally:
        processes.end(process, group=True)
