"""Threads of one compilation: they are had where the interpreter ends, and a signal handler that compiles waits for no
one who waits for what it has interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from wasmjit import Config, Engine, Module, processes, thresholds
from wasmjit.compile import workers
from wasmjit.compile.crew import Crew

UNITS = "(module (func) (func) (func))"
COMPILE_AT_END = f"""
import atexit, threading
from wasmjit import Config, Engine, Module, thresholds
thresholds.UNIT_BODY_BYTES = 1
def compile_late(wait=lambda: None):
    wait()
    assert Module(Engine(Config(tier="optimized", cache=False)), "{UNITS}").serialize()
    print("compiled")
threading.Thread(target=compile_late, args=[threading.main_thread().join]).start()
atexit.register(compile_late)
"""


def test_modules_are_compiled_after_the_main_thread_has_ended() -> None:
    """`concurrent.futures` refused to: RuntimeError, "cannot schedule new futures after interpreter shutdown"."""
    result = subprocess.run([sys.executable, "-c", COMPILE_AT_END], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "compiled\ncompiled\n", "")


def ends(run: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether this does, where it is the main thread that does it."""
    thread = threading.Thread(target=run, daemon=True)
    monkeypatch.setattr(threading, "main_thread", lambda: thread)
    thread.start()
    thread.join(60)
    return not thread.is_alive()


@pytest.mark.parametrize("where", ["pool", "imports", "crew"])
def test_a_signal_handler_compiles_wherever_it_comes(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waited for ever for threads that waited for locks which were held where it came."""
    monkeypatch.setattr(workers, "_pool", None)
    monkeypatch.setattr(thresholds, "UNIT_BODY_BYTES", 1)
    engine = Engine(Config(tier="optimized", cache=False))
    compiled: list[Module] = []

    def handler() -> None:
        compiled.append(Module(engine, UNITS))

    def come_where_a_thread_starts(start: Callable[[Callable[[], None]], None], run: Callable[[], None]) -> None:
        if not compiled:
            compiled.append(Module(engine, "(module)"))
            handler()
        start(run)

    def main() -> None:
        if where == "pool":
            with workers.pool().lock:
                handler()
        elif where == "imports":
            with processes.importing():
                handler()
        else:
            start = processes.start_thread
            monkeypatch.setattr(processes, "start_thread", lambda run: come_where_a_thread_starts(start, run))
            handler()

    assert ends(main, monkeypatch)
    assert compiled
    workers.pool().close()


def test_a_crew_has_so_many_threads_and_each_does_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    crew = Crew()
    go_on, done = threading.Event(), threading.Semaphore(0)
    at_work: list[int] = []

    def job() -> None:
        at_work.append(threading.get_ident())
        go_on.wait(60)
        done.release()

    for _ in range(6):
        crew.submit(job, 2)
    assert len(crew._at_work) == 2
    go_on.set()
    assert all(done.acquire(timeout=60) for _ in range(6))
    assert len(set(at_work)) == 2

    def fail(run: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(processes, "start_thread", fail)
    with pytest.raises(RuntimeError):
        crew.submit(job, 9)
    assert not crew._jobs


FORK = """
import os, signal, sys, threading, time
import wasmjit
class Slow:
    def find_spec(name, path, target=None):
        if name == "wasmjit.compile.limits":
            os.write(writing, b".")
            time.sleep(0.2)
reading, writing = os.pipe()
sys.meta_path.insert(0, Slow)
engine = wasmjit.Engine(wasmjit.Config(tier="optimized", cache=False))
threading.Thread(target=lambda: wasmjit.Module(engine, "(module)")).start()
os.read(reading, 1)
child = os.fork()
if child == 0:
    signal.alarm(20)
    wasmjit.Module(engine, "(module (func))")
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


def test_a_fork_waits_for_imports_of_threads_that_compile() -> None:
    """The child found modules' locks held by a thread that it does not have."""
    result = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")


LOADING = """
import os, signal, threading, time
from wasmjit import Config, Engine, Instance, Module, Store
from wasmjit.runtime import module as runtime
engine = Engine(Config(tier="optimized", cache=False))
module = Module(engine, '(module (func (export "f")))')
class Slow(runtime.LoadedModule):
    def __init__(self, *arguments):
        begun.set()
        time.sleep(0.1)
        super().__init__(*arguments)
begun, runtime.LoadedModule = threading.Event(), Slow
def use():
    store = Store(engine)
    Instance(store, module, []).exports(store)["f"](store)
threading.Thread(target=use).start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    use()
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


def test_a_child_loads_a_module_that_another_thread_was_loading() -> None:
    """Its lock was held by a thread that the child does not have."""
    result = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")


def test_a_fork_in_the_middle_of_a_lock_leaves_it_to_whoever_has_it() -> None:
    lock = processes.lock()
    with lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if lock._is_owned() else 1)
    assert os.waitpid(child, 0)[1] == 0
