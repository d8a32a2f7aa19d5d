"""Processes of ours: none outlives a parent that is killed, one at most a normal end; forks and failures do no harm."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.timing import becomes_true
from wasmjit import CompileError, Config, Engine, Module, processes, wat2wasm
from wasmjit.cache import background_lock_path, background_process, take_background_turn

MARK = "WASMJIT_TEST_MARK"
LARGE_FUNCTIONS = 400  # each takes LLVM some tens of milliseconds
HEAD = (
    "import os, signal, sys, threading, time\nfrom wasmjit import *\n"
    "def large(): return open(os.environ['WASMJIT_TEST_LARGE'], 'rb').read()\n"
    "def small(n=0): return f'(module (func (export \"f\") (result i32) (i32.const {n})))'\n"
)
LOOP = """(module (func $g (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func (export "loop") (param i32) (result i32) (local $s i32)
    (loop $l (local.set $s (i32.add (local.get $s) (call $g (local.get 0))))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get $s)))"""
AUTO = f"store = Store(Engine(Config(tier='auto')))\nmodule = Module(store.engine, '''{LOOP}''')\n" + (
    "loop = Instance(store, module, []).exports(store)['loop']\n"
)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module that LLVM takes many seconds for."""
    product = "(i32.mul (local.get 1) (i32.load (local.get 0)))"
    step = f"(local.set 1 (i32.add {product} (i32.rotl (local.get 0) (local.get 1))))"
    loop = f"(loop {step * 40} (local.tee 0 (i32.shr_u (local.get 0) (i32.const 1))) (br_if 0))"
    function = f"(func (param i32) (result i32) (local i32) {loop} (local.get 1))"
    path = tmp_path_factory.mktemp("large") / "large.wasm"
    path.write_bytes(wat2wasm(f'(module (memory 1) (func (export "_start")) {function * LARGE_FUNCTIONS})'))
    return path


@pytest.fixture
def environment(tmp_path: Path, large: Path) -> Iterator[dict[str, str]]:
    """What marks processes as this test's; they are ended behind it."""
    made = os.environ | {
        MARK: uuid.uuid4().hex,
        "WASMJIT_TEST_LARGE": str(large),
        "WASMJIT_CACHE_DIR": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "configuration"),
    }
    yield made
    end_all(made)


def end_all(environment: dict[str, str]) -> None:
    """Kills the processes with the environment's mark."""
    for process in marked(environment):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def marked(environment: dict[str, str]) -> list[int]:
    """The processes with the environment's mark that are not dead."""
    mark, found = f"{MARK}={environment[MARK]}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                is_dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
                if not is_dead and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def used_seconds(process: int) -> float:
    """Processor time; that of starting is a fifth of a second."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_gone(environment: dict[str, str], besides: int = 0) -> list[int]:
    """Those that are left after very long, or as soon as there are no more than `besides`."""
    becomes_true(lambda: len(marked(environment)) <= besides, 300)  # they have what time others leave them
    return marked(environment)


@pytest.mark.parametrize(
    ("tier", "by"),
    [
        pytest.param("optimized", signal.SIGTERM, marks=pytest.mark.slow),
        ("optimized", signal.SIGKILL),
        pytest.param("auto", signal.SIGHUP, marks=pytest.mark.slow),
        ("auto", signal.SIGKILL),
        ("auto", signal.SIGINT),
    ],
)
def test_no_process_outlives_a_parent_that_is_killed(tier: str, by: int, environment: dict[str, str]) -> None:
    """In the middle of a compilation that would take minutes; in tier auto, the optimiser has a session of its own."""
    program = HEAD + (
        f"config = Config(tier='{tier}', cache=True)\n"
        "print('ready', flush=True)\nmodule = Module(Engine(config), large())\nmodule.wait_optimized()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with parent:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            others = [process for process in marked(environment) if process != parent.pid]
            if len(others) >= (2 if tier == "auto" else 1) and any(used_seconds(process) > 0.4 for process in others):
                break
            time.sleep(0.05)
        assert len(marked(environment)) >= 2
        parent.send_signal(by)
        parent.wait(60)
    assert wait_until_gone(environment) == []


def test_a_forked_child_keeps_no_worker_and_delays_nobody(environment: dict[str, str]) -> None:
    program = HEAD + (
        "Module(Engine(Config(tier='optimized')), small())\n"
        "if os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)\n"
        "print(time.time(), flush=True)"
    )
    delays = []
    for _ in range(5):  # machines are busy
        process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            left_at = float(process.stdout.readline())
            process.wait(60)
            delays.append(time.time() - left_at)
        left = wait_until_gone(environment, besides=1)
        assert len(left) == 1
        os.kill(left[0], signal.SIGKILL)
        assert wait_until_gone(environment) == []
        if delays[-1] < 1.5:  # it was a second for each worker
            break
    assert min(delays) < 1.5, delays


def test_workers_of_a_killed_parent_end_though_a_fork_lives(environment: dict[str, str]) -> None:
    """Also one that Python knows nothing of, and that has all descriptors still."""
    program = HEAD + (
        "import ctypes\nModule(Engine(Config(tier='optimized')), small())\n"
        "child = ctypes.CDLL(None).fork()\n"
        "time.sleep(0.2 if child else 60)\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], env=environment, check=False, timeout=60)
    assert len(wait_until_gone(environment, besides=1)) == 1


def test_at_most_one_process_is_left_behind_by_programs_that_end(environment: dict[str, str], large: Path) -> None:
    """Each run leaves code to be made; they used to wait for each other, as many as there were runs."""
    command = [sys.executable, "-m", "wasmjit", "run", "--tier", "auto", str(large)]
    for _ in range(4):
        subprocess.run(command, env=environment, check=True, timeout=60)
    left = wait_until_gone(environment, besides=1)
    assert len(left) == 1
    process = left[0]
    assert becomes_true(lambda: os.sched_getscheduler(process) == os.SCHED_IDLE)
    assert os.getpriority(os.PRIO_PROCESS, process) == 19
    assert resource.prlimit(process, resource.RLIMIT_CPU)[0] < 200
    assert resource.prlimit(process, resource.RLIMIT_AS)[0] == 2 << 30
    info = subprocess.run(
        [sys.executable, "-m", "wasmjit", "cache", "info"], env=environment, capture_output=True, text=True, check=True
    )
    assert f"process {process}" in info.stdout and "120 s" in info.stdout


def test_what_goes_on_ends_with_its_budget(environment: dict[str, str], tmp_path: Path) -> None:
    program = HEAD + (
        "config = Config(tier='auto', cache=True, background_cpu_seconds=int(sys.argv[1]))\n"
        "Module(Engine(config), large())"
    )
    subprocess.run([sys.executable, "-c", program, "1"], env=environment, check=True, timeout=60)
    assert wait_until_gone(environment) == []
    subprocess.run([sys.executable, "-c", program, "0"], env=environment, check=True, timeout=60)
    assert wait_until_gone(environment) == []
    assert not list(tmp_path.glob("cache/*.cwasm"))


@pytest.mark.part(3)
@pytest.mark.parametrize("how", ["fds", "executable", "frozen", "recursion", "chroot", "nproc", "memory", "errors"])
def test_failing_to_get_better_code_fails_no_program(how: str, environment: dict[str, str]) -> None:
    if how in ("chroot", "nproc") and os.geteuid() != 0:
        pytest.skip("needs root")
    ways = {
        "fds": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\nheld = []\n"
        "try:\n    while True: held.append(os.open('/dev/null', 0))\nexcept OSError: pass",
        "executable": "from wasmjit import processes\nsys.executable = sys._base_executable = '/nonexistent'\n"
        "sys.exec_prefix = sys.base_exec_prefix = '/nonexistent'",
        "frozen": "sys.frozen = True\nsys.exec_prefix = sys.base_exec_prefix = '/nonexistent'",
        "recursion": "depth = sys.getrecursionlimit() - 30",
        "chroot": "import tempfile\nos.chroot(tempfile.mkdtemp())",
        "nproc": "import resource, concurrent.futures.thread, wasmjit.compile.pipeline\n"
        "os.setgid(65534); os.setuid(65534); resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))",
        "memory": "import wasmjit.compile.workers as workers\n"
        "def fail(*_): raise MemoryError\nworkers.WorkerPool.begin = fail",
        "errors": "import warnings\nwarnings.simplefilter('error')\nsys.executable = None\n"
        "sys._base_executable = None\nsys.exec_prefix = sys.base_exec_prefix = '/nonexistent'",
    }
    program = (
        HEAD
        + AUTO
        + (
            "loop(store, 1)\ndepth = 0\n"
            f"{ways[how]}\n"
            "def call(depth): return call(depth - 1) if depth else loop(store, 1_000_000)\n"
            "until = time.process_time() + 0.5  # many times what passes before better code is asked for\n"
            "while time.process_time() < until:\n    assert call(depth) == EXPECTED\n"
            "print(True, flush=True)\nos._exit(0)"
        )
    )
    program = program.replace("EXPECTED", "1785293664")
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout) == (0, "True\n"), result
    said = result.stderr.count("wasmjit cannot make faster code")
    assert said == (0 if how in ("recursion", "errors") else 1), result.stderr
    assert wait_until_gone(environment) == []


def test_what_a_signal_handler_raises_is_the_programs(environment: dict[str, str]) -> None:
    """Also while code is asked for: else its time limit would be lost."""
    program = (
        HEAD
        + AUTO
        + (
            "from wasmjit.tiers.lazy import LazyCode\n"
            "inner = LazyCode._hot\n"
            "def hot(*arguments):\n    os.kill(os.getpid(), signal.SIGALRM)\n    return inner(*arguments)\n"
            "LazyCode._hot = hot\n"
            "def late(*_): raise TimeoutError('late')\n"
            "signal.signal(signal.SIGALRM, late)\n"
            "try:\n    loop(store, 100_000_000)\nexcept TimeoutError as error:\n    print(error)"
        )
    )
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout) == (0, "late\n"), result.stderr


@pytest.mark.parametrize("what", ["frozen", "missing", "not python"])
def test_tiers_that_need_a_compiler_say_that_there_is_none(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from wasmjit.compile import workers

    monkeypatch.setattr(workers, "_pool", None)
    monkeypatch.setattr(sys, "exec_prefix", "/nonexistent")
    monkeypatch.setattr(sys, "base_exec_prefix", "/nonexistent")
    monkeypatch.setattr(sys, "_base_executable", None)
    if what == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.setattr(sys, "executable", None if what == "missing" else "/bin/true")
    with pytest.raises(CompileError, match=r"cannot start a compiler process: .*WASMJIT_PYTHON"):
        Module(Engine(Config(tier="optimized")), "(module (func))")
    monkeypatch.setenv(processes.INTERPRETER_VARIABLE, "/nonexistent")
    with pytest.raises(CompileError, match=r"cannot start a compiler process: .*No such file"):
        Module(Engine(Config(tier="optimized")), "(module (func))")


def test_forks_beside_threads_that_run_wasm_do_not_hang(environment: dict[str, str]) -> None:
    """Three of a thousand did: the child waited for a module that a thread of its parent was importing."""
    count = int(os.environ.get("WASMJIT_TEST_FORKS", "30"))
    program = (
        HEAD
        + AUTO
        + (
            "def work():\n"
            "    while True:\n"
            "        with Store(store.engine) as own:\n"
            "            Instance(own, module, []).exports(own)['loop'](own, 100_000)\n"
            "for _ in range(2): threading.Thread(target=work, daemon=True).start()\n"
            "children = []\n"
            f"for number in range({count}):\n"
            "    child = os.fork()\n"
            "    if child == 0:\n"
            "        signal.alarm(30)\n"
            "        with Store(store.engine) as own:\n"
            "            f = Instance(own, module, []).exports(own)['loop']\n"
            "            os._exit(0 if f(own, 200_000 if number % 10 == 0 else 3) else 1)\n"
            "    children.append(child)\n"
            "    if len(children) == 10:\n"
            "        assert not any([os.waitpid(c, 0)[1] for c in children]); children.clear()\n"
            "print('ok', flush=True)\nos._exit(0)"
        )
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True, timeout=250
    )
    assert (result.returncode, result.stdout) == (0, "ok\n"), result.stderr
    assert wait_until_gone(environment) == []


def test_forks_with_live_pools_start_a_bounded_number_of_processes(environment: dict[str, str]) -> None:
    """Each child started as many workers as its parent, an optimiser, and that one's workers."""
    children = 8
    program = HEAD + (
        "engine = Engine(Config(tier='auto'))\n"
        "module = Module(engine, large())\nmodule.wait_optimized(0.5)\n"
        "Module(Engine(Config(tier='optimized')), small())\n"
        f"for _ in range({children}):\n"
        "    if os.fork() == 0:\n"
        "        Module(Engine(Config(tier='optimized')), small(os.getpid())); module.wait_optimized(1)\n"
        "        os.write(1, b'.')\n"
        "        time.sleep(60)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, bufsize=0)
    most, compiled, deadline = 0, 0, time.monotonic() + 120
    with parent:
        assert parent.stdout is not None
        while compiled < children and time.monotonic() < deadline:
            most = max(most, len(marked(environment)))
            if select.select([parent.stdout], [], [], 0.1)[0]:
                compiled += len(parent.stdout.read(children))
        most = max(most, len(marked(environment)))
        end_all(environment)
    assert compiled == children
    own = 1 + 2 * (os.cpu_count() or 1) + 4
    # Itself and an optimiser, each with a worker, and one more for a request that would have to wait.
    assert children < most <= own + 6 * children


def test_a_burst_of_requests_starts_few_workers() -> None:
    """Each module that is compiled at its first call asks for trampolines at once."""
    from wasmjit.compile.pipeline import _request_fields
    from wasmjit.compile.workers import WorkerPool

    pool = WorkerPool()
    pending = [pool.begin(_request_fields(Config(), "target")) for _ in range(40)]
    assert pool._num_workers() <= pool.size + 2
    assert all(one.result()[0]["cpu"] for one in pending)
    pool.close()


def test_a_worker_that_had_ended_of_idleness_is_nobodys_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just when it was sent a request."""
    from wasmjit.compile.pipeline import _request_fields
    from wasmjit.compile.workers import WorkerPool

    start = processes.start
    ended: list[int] = []

    def start_one_that_ends(main: str, **options: Any) -> subprocess.Popen[bytes]:
        if ended:
            return start(main, **options)
        ended.append(1)
        return subprocess.Popen(["true"], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(processes, "start", start_one_that_ends)
    pool = WorkerPool()
    assert pool.request(_request_fields(Config(), "target"))[0]["cpu"]
    pool.close()


def test_a_user_has_one_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    first = take_background_turn()
    assert first is not None
    os.pwrite(first, b"123\n", 0)
    assert take_background_turn() is None and background_process() == 123
    os.close(first)
    assert background_process() is None
    second = take_background_turn()
    assert second is not None
    os.close(second)
    background_lock_path().unlink()
    os.mkfifo(background_lock_path())
    assert take_background_turn() is None and background_process() is None
