"""Living with other signal handlers, crashes and forks: each case is a process of its own."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TRAP_SIGNAL = signal.SIGTRAP if platform.machine() == "aarch64" else signal.SIGILL

PRELUDE = """
import ctypes, faulthandler, os, signal, sys, threading, time
from tests.unit.native_code import Code, Instance, TrapError, memory, memory_access, trap_chain
instance = Instance([memory(1)])
access = Code(memory_access(instance.layout.memories))
chain = Code(trap_chain())
load8 = instance.function(access.addresses["load8"], "iI", "i")
main = instance.function(chain.addresses["main"], "i", "i")

def check(rounds=3):
    for _ in range(rounds):
        for function, arguments, code in ((load8, (65536, 0), 1), (main, (9,), 9)):
            try:
                function(*arguments)
            except TrapError as error:
                assert error.code == code
            else:
                raise AssertionError("no trap")
        assert main(0) == 2

def crash():
    ctypes.string_at(8)
"""

WASMTIME = """
import wasmtime
engine = wasmtime.Engine()
store = wasmtime.Store(engine)
wat = '''(module (memory 1)
  (func (export "f") (param i32) (result i32) local.get 0 i32.load)
  (func (export "u") (param i32) unreachable)
  (func $r (export "r") (param i32) local.get 0 call $r)
  (func (export "d") (param i32) (result i32) i32.const 1 local.get 0 i32.div_s))'''
TRAPS = (
    ("f", 65536, "out of bounds"), ("u", 0, "unreachable"), ("r", 0, "call stack exhausted"), ("d", 0, "divide by zero")
)
other = wasmtime.Instance(store, wasmtime.Module(engine, wat), [])

def check_wasmtime(rounds=3):
    for _ in range(rounds):
        for name, argument, text in TRAPS:
            try:
                other.exports(store)[name](store, argument)
            except wasmtime.Trap as error:
                assert text in str(error), str(error)
            else:
                raise AssertionError("no trap")
"""


def run(root: Path, *parts: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    script = "\n".join(textwrap.dedent(part) for part in parts)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    environment.pop("PYTHONFAULTHANDLER", None)
    return subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, timeout=timeout
    )


def passes(root: Path, *parts: str) -> None:
    done = run(root, *parts, "print('finished')")
    assert (done.returncode, done.stdout) == (0, "finished\n"), done.stderr


@pytest.mark.parametrize(
    "steps",
    [
        "faulthandler.enable(); check(); faulthandler.disable(); check()",
        "check(); faulthandler.enable(); check(); faulthandler.disable(); check(); faulthandler.enable(); check()",
        "for _ in range(20): faulthandler.enable(); check(); faulthandler.disable(); check()",
        "faulthandler.enable(); faulthandler.disable(); check(); faulthandler.disable(); check()",
    ],
)
def test_traps_work_after_faulthandler_came_or_went(root: Path, steps: str) -> None:
    passes(root, PRELUDE, steps)
    passes(root, "import faulthandler; faulthandler.enable()", PRELUDE, "check()", steps)


@pytest.mark.part(3)
@pytest.mark.parametrize(
    "steps",
    [
        "faulthandler.enable()",
        "check(); faulthandler.enable()",
        "check(); faulthandler.enable(); check()",
        # Off and on again between two calls is seen at the next tick of the clock (runtime_c/enter.c).
        "faulthandler.enable(); check(); faulthandler.disable(); faulthandler.enable(); time.sleep(0.02); check()",
        "for _ in range(20): faulthandler.enable(); check(); faulthandler.disable(); check()\nfaulthandler.enable()",
    ],
)
@pytest.mark.parametrize("early", [False, True])
def test_faulthandler_still_reports_a_real_crash(root: Path, steps: str, early: bool) -> None:
    first = "import faulthandler; faulthandler.enable()" if early else ""
    done = run(root, first, PRELUDE, steps, "crash()")
    assert done.returncode == -signal.SIGSEGV, done.stderr
    # Twice where faulthandler was found on top before and is on top again now: it passes the signal on to us, and we
    # cannot know that it has had its turn.
    assert done.stderr.count("Fatal Python error: Segmentation fault") == (2 if "range" in steps else 1)
    assert "in crash" in done.stderr


@pytest.mark.parametrize("steps", ["", "check()", "check(); faulthandler.enable(); check(); faulthandler.disable()"])
def test_real_crash_without_faulthandler_dies_of_the_signal(root: Path, steps: str) -> None:
    done = run(root, PRELUDE, steps, "crash()")
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal" not in done.stderr


def test_crash_in_a_host_function_or_in_unregistered_code_is_no_trap(root: Path) -> None:
    done = run(
        root,
        PRELUDE,
        """
        from tests.unit.native_code import call_import
        from wasmjit import abi
        relay_code = Code(call_import("relay", 0, "", "", abi.VMCONTEXT["sizeof"]))
        instance.host(crash, slot=0)
        instance.function(relay_code.addresses["relay"])()
        """,
    )
    assert done.returncode == -signal.SIGSEGV, done.stderr
    done = run(root, PRELUDE, "access.unregister()", "load8(65536, 0)")
    assert done.returncode == -signal.SIGSEGV, done.stderr
    done = run(root, PRELUDE, "chain.unregister()", "main(9)")
    assert done.returncode == -TRAP_SIGNAL, done.stderr


def test_fault_outside_of_every_memory_is_no_trap(root: Path) -> None:
    """Registered code that touches an address which is no memory's is a defect: it must not pass as a trap."""
    for target in ("1 << 20", "0xdead_0000_0000_0000"):
        done = run(
            root,
            PRELUDE,
            f"""
            from wasmjit.runtime.native import lib
            base = lib.wj_memory_base(instance.memories[0])
            load8(0, (({target}) - base) % (1 << 64))
            """,
        )
        assert done.returncode == -signal.SIGSEGV, (target, done.stderr)


def test_called_directly_within_a_host_function_generated_code_is_no_trap(root: Path) -> None:
    """ctypes may call machine code from within a host function: landing at the entry would skip Python frames."""
    done = run(
        root,
        PRELUDE,
        """
        from tests.unit.native_code import call_import
        from wasmjit import abi
        relay_code = Code(call_import("relay", 0, "", "", abi.VMCONTEXT["sizeof"]))
        direct = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(chain.addresses["leaf"])
        instance.host(lambda: direct(None, 9) and None, slot=0)
        instance.function(relay_code.addresses["relay"])()
        """,
    )
    assert done.returncode == -TRAP_SIGNAL, done.stderr


def test_signals_sent_from_outside_keep_their_meaning(root: Path) -> None:
    for number in (signal.SIGSEGV, TRAP_SIGNAL, signal.SIGBUS):
        done = run(root, PRELUDE, "check()", f"os.kill(os.getpid(), {int(number)})", "signal.pause()")
        assert done.returncode == -number, done.stderr
    passes(
        root,
        PRELUDE,
        """
        seen = []
        signal.signal(signal.SIGSEGV, lambda *_: seen.append(1))
        time.sleep(0.02)  # only faulthandler is noticed at once, others at the next tick of the clock
        check()
        os.kill(os.getpid(), signal.SIGSEGV)
        assert seen == [1]
        signal.signal(signal.SIGSEGV, signal.SIG_IGN)
        time.sleep(0.02)
        check()
        os.kill(os.getpid(), signal.SIGSEGV)
        assert seen == [1]
        check()
        """,
    )


def test_handler_that_gives_the_fault_back_does_not_loop_for_ever(root: Path) -> None:
    """Python's own handler for SIGSEGV only sets a flag, so the fault repeats: in the end the process must die."""
    done = run(root, PRELUDE, "signal.signal(signal.SIGSEGV, lambda *_: None)", "check()", "crash()", timeout=30)
    assert done.returncode == -signal.SIGSEGV


@pytest.mark.part(2)
@pytest.mark.parametrize(
    "parts",
    [
        [PRELUDE, "check()", WASMTIME],
        [WASMTIME, PRELUDE],
        [WASMTIME, "check_wasmtime()", PRELUDE, "check()"],
        [PRELUDE, WASMTIME, "check_wasmtime()"],
        ["import faulthandler; faulthandler.enable()", WASMTIME, "check_wasmtime()", PRELUDE],
        ["import faulthandler; faulthandler.enable()", PRELUDE, "check()", WASMTIME],
    ],
)
def test_traps_of_both_engines_work_in_one_process(root: Path, parts: list[str]) -> None:
    mix = """
    for _ in range(5):
        check(); check_wasmtime()
    thread = threading.Thread(target=lambda: (check(), print("thread")))
    thread.start(); thread.join()
    check_wasmtime(); check()
    """
    done = run(root, *parts, mix, "print('finished')")
    assert (done.returncode, done.stdout) == (0, "thread\nfinished\n"), done.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the faulting loop and its handler are x86-64 code")
@pytest.mark.parametrize("ours_first", [True, False])
def test_faults_that_another_handler_resolves_never_count_as_a_loop(root: Path, ours_first: bool) -> None:
    """More faults at one place than we tolerate of a handler that gives them back; this one steps over the load."""
    other = """
    import ctypes
    from tests.unit.native_code import Code
    code = Code('''
    define void @on_fault(i32 %signal, ptr %info, ptr %context) {
      %rip = getelementptr i8, ptr %context, i64 168
      %pc = load i64, ptr %rip
      %next = add i64 %pc, 7
      store i64 %next, ptr %rip
      ret void
    }
    define void @fault_often(i64 %n) {
      br label %loop
    loop:
      %i = phi i64 [ %n, %0 ], [ %j, %loop ]
      call void asm sideeffect ".byte 0x8a, 0x04, 0x25, 8, 0, 0, 0", "~{al}"()
      %j = sub i64 %i, 1
      %end = icmp eq i64 %j, 0
      br i1 %end, label %done, label %loop
    done:
      ret void
    }
    ''', register=False)
    class Action(ctypes.Structure):
        _fields_ = [("handler", ctypes.c_void_p), ("mask", ctypes.c_ulong * 16), ("flags", ctypes.c_int),
                    ("restorer", ctypes.c_void_p)]
    action = Action(handler=code.addresses["on_fault"], flags=4)
    assert ctypes.CDLL(None).sigaction(11, ctypes.byref(action), None) == 0
    """
    # A handler put over ours is seen at the next tick of the clock (runtime_c/enter.c): a trap before that reaches it.
    parts = [PRELUDE, "check()", other, "time.sleep(0.02)"] if ours_first else [other, PRELUDE]
    passes(
        root,
        *parts,
        "check()",
        "ctypes.CFUNCTYPE(None, ctypes.c_long)(code.addresses['fault_often'])(150000)",
        "check()",
    )


def test_real_crash_with_both_engines_loaded_dies(root: Path) -> None:
    for parts in ([PRELUDE, WASMTIME], [WASMTIME, PRELUDE]):
        done = run(root, *parts, "check(); check_wasmtime(); check()", "crash()")
        assert done.returncode == -signal.SIGSEGV, done.stderr


def test_one_engine_inside_the_other(root: Path) -> None:
    """A host function of ours that calls wasmtime, which traps, and the other way round."""
    passes(
        root,
        PRELUDE,
        WASMTIME,
        """
        from tests.unit.native_code import call_import
        from wasmjit import abi
        relay_code = Code(call_import("relay", 0, "", "", abi.VMCONTEXT["sizeof"]))
        instance.host(check_wasmtime, slot=0)
        relay = instance.function(relay_code.addresses["relay"])
        relay(); check(); relay()
        caller = wasmtime.Module(engine, '(module (import "" "" (func $f)) (func (export "g") call $f))')
        outer = wasmtime.Instance(store, caller, [wasmtime.Func(store, wasmtime.FuncType([], []), check)])
        for _ in range(5):
            outer.exports(store)["g"](store)
            relay()
        """,
    )


def test_fork_keeps_traps_working_in_parent_and_child(root: Path) -> None:
    passes(
        root,
        PRELUDE,
        """
        check()
        for nested in range(3):
            child = os.fork()
            if child == 0:
                check()
                Code(trap_chain())
                thread = threading.Thread(target=check)
                thread.start(); thread.join()
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            check()
        """,
    )


def test_fork_within_a_host_function(root: Path) -> None:
    passes(
        root,
        PRELUDE,
        """
        from tests.unit.native_code import call_import
        from wasmjit import abi
        relay_code = Code(call_import("relay", 0, "", "I", abi.VMCONTEXT["sizeof"]))
        instance.host(os.fork, "", "I", slot=0)
        child = instance.function(relay_code.addresses["relay"], "", "I")()
        check()
        if child == 0:
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        """,
    )


def test_daemon_thread_inside_a_host_function_at_exit(root: Path) -> None:
    passes(
        root,
        PRELUDE,
        """
        from tests.unit.native_code import call_import
        from wasmjit import abi
        import time
        relay_code = Code(call_import("relay", 0, "", "", abi.VMCONTEXT["sizeof"]))
        started = threading.Event()
        def host():
            started.set()
            time.sleep(1000)
        instance.host(host, slot=0)
        threading.Thread(target=instance.function(relay_code.addresses["relay"]), daemon=True).start()
        started.wait()
        """,
    )


def test_missing_extension_gives_a_clear_error(root: Path, tmp_path: Path) -> None:
    done = run(
        root,
        """
        import sys
        sys.modules["wasmjit.runtime._native"] = None
        try:
            import wasmjit.runtime.native
        except ImportError as error:
            assert "runtime_c/build.py" in str(error)
            print("finished")
        """,
    )
    assert (done.returncode, done.stdout) == (0, "finished\n"), done.stderr
