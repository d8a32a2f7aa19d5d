"""Where code from stencils lies: what other processes, and systems that refuse memory for it, do to it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("there are no stencils for this system", allow_module_level=True)

_BEGIN = """
    import os, sys
    from wasmjit import Config, Engine, Instance, Module, Store, Trap, TrapCode, thresholds
    thresholds.STENCILS, thresholds.OPTIMISER_PATIENCE_SECONDS = True, 3600.0
    thresholds.INTERPRETER_BUDGET = 2**31 - 1

    def functions(count):
        # Each fills some memory with its code.
        divisions = "(drop (i32.div_u (i32.const 7) (local.get 0)))" * 40
        texts = [
            '(func (export "f%d") (param i32) (result i32) %s (i32.const %d))' % (i, divisions, i) for i in range(count)
        ]
        store = Store(Engine(Config(tier="auto", cache=False)))
        exports = Instance(store, Module(store.engine, "(module" + "".join(texts) + ")"), []).exports(store)
        return lambda i: exports["f%d" % i](store, 1)

    def code_files():
        with open("/proc/self/maps") as file:
            return [line for line in file if "memfd:wasmjit" in line and "r-xs" in line]
"""


def _run(script: str) -> str:
    text = textwrap.dedent(_BEGIN) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout.strip()


# ---- processes ----


def test_parent_and_child_do_not_write_over_each_others_code() -> None:
    """Both had the same pages: one ran what the other had written there."""
    script = """
        call = functions(40)
        assert call(0) == 0 and code_files()
        to_child, from_parent = os.pipe()
        to_parent, from_child = os.pipe()
        pid = os.fork()
        if pid == 0:
            assert os.read(to_child, 1) == b"1"
            assert [call(i) for i in range(1, 20)] == list(range(1, 20))
            os.write(from_child, b"2")
            assert os.read(to_child, 1) == b"3"
            assert [call(i) for i in range(40)] == list(range(40)), "what the parent has written"
            os._exit(0)
        os.write(from_parent, b"1")
        assert os.read(to_parent, 1) == b"2"
        assert [call(i) for i in range(20, 40)] == list(range(20, 40))
        os.write(from_parent, b"3")
        assert [call(i) for i in range(40)] == list(range(40)), "what the child has written"
        assert os.waitpid(pid, 0)[1] == 0
        print("done")
    """
    assert _run(script) == "done"


def test_grandchildren_have_memory_of_their_own() -> None:
    script = """
        call = functions(60)
        assert call(0) == 0
        for generation in range(3):
            pid = os.fork()
            if pid:
                assert all(call(i) == i for i in range(1 + 20 * generation, 60))
                status = os.waitpid(pid, 0)[1]
                if generation == 0:
                    assert status == 0
                    assert all(call(i) == i for i in range(60))
                    print("done")
                    sys.exit()
                os._exit(status >> 8 or status)
            assert all(call(i) == i for i in range(1 + 20 * generation, 20 + 20 * generation))
        os._exit(0)
    """
    assert _run(script) == "done"


def test_a_fork_waits_for_who_writes_code() -> None:
    """A child of a process whose threads make code: nobody there would ever give back their lock."""
    script = """
        import signal, threading
        functions(1)(0)  # a child of a thread that imports waits for it forever, in Python
        is_over = False
        def work():
            while not is_over:
                call = functions(30)
                assert all(call(i) == i for i in range(30))
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(12):
            pid = os.fork()
            if pid == 0:
                signal.alarm(30)
                call = functions(5)
                os._exit(any(call(i) != i for i in range(5)))
            assert os.waitpid(pid, 0)[1] == 0
        is_over = True
        for thread in threads:
            thread.join()
        print("done")
    """
    assert _run(script) == "done"


# ---- systems that refuse ----

# Has the system answer some calls with an error: their number, and conditions: an argument, how it is compared, with
# what. (Classic BPF: struct seccomp_data has the number at 0, the low half of argument i at 16 + 8 i.)
_REFUSE = """
    import ctypes, errno, struct

    def refuse(number, error, *conditions):
        code = [(0x20, 0, 0, 0), (0x15, 0, 2 * len(conditions) + 1, number)]  # load; jump if equal
        for i, (argument, comparison, operand) in enumerate(conditions):
            code += [(0x20, 0, 0, 16 + 8 * argument), (comparison, 0, 2 * (len(conditions) - 1 - i) + 1, operand)]
        code += [(0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7fff0000)]
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
        libc = ctypes.CDLL(None, use_errno=True)
        description = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(program))
        assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges
        if libc.prctl(22, 2, ctypes.create_string_buffer(description), 0, 0) != 0:
            print("no filter")
            sys.exit()

    MMAP, MADVISE, FTRUNCATE, MEMFD_CREATE = 9, 28, 77, 319
    IS, HAS = 0x15, 0x45  # equal; has one of the bits
    EXECUTABLE, SHARED = (2, HAS, 4), (3, HAS, 1)  # of mmap
"""
_REFUSALS = {
    "no file in memory": "refuse(MEMFD_CREATE, errno.EPERM)",
    "no size": "refuse(FTRUNCATE, errno.EFBIG)",
    "nothing shared is executable": "refuse(MMAP, errno.EACCES, EXECUTABLE, SHARED)",
    "no pages": "refuse(MADVISE, errno.ENOMEM, (2, IS, 23))",
    "a limit of files": "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))",
    "a limit of files, with its signal": (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL);"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    ),
}


@pytest.mark.parametrize("refusal", _REFUSALS.values(), ids=_REFUSALS)
def test_where_the_system_refuses_functions_are_interpreted(refusal: str) -> None:
    script = f"""
        call = functions(50)
        {refusal}
        assert [call(i) for i in range(50)] == list(range(50))
        assert [call(i) for i in range(50)] == list(range(50))
        print(len(code_files()))
    """
    said = _run(textwrap.dedent(_REFUSE) + textwrap.dedent(script))
    if said == "no filter":
        pytest.skip("this system has no filters of system calls")
    assert said == ("1" if "MADVISE" in refusal else "0")  # there, the memory that has no pages


def test_what_has_code_keeps_it_when_the_system_refuses_more() -> None:
    script = """
        call = functions(1000)
        assert [call(i) for i in range(10)] == list(range(10))
        before = code_files()
        assert before
        refuse(MMAP, errno.EACCES, EXECUTABLE, SHARED)
        assert [call(i) for i in range(1000)] == list(range(1000))
        assert code_files() == before
        print("done")
    """
    said = _run(textwrap.dedent(_REFUSE) + textwrap.dedent(script))
    assert said in ("done", "no filter")


_GIVES_BACK = """
    import resource, time
    from wasmjit import Func, FuncType
    thresholds.INTERPRETER_BUDGET = 1000
    store = Store(Engine(Config(tier="auto", cache=False)))
    module = Module(store.engine, '''(module (import "" "half" (func $half))
      (func $add (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
      (func (export "sum") (param $n i32) (result i32) (local $s i32)
        (loop $again
          (local.set $s (call $add (local.get $s) (local.get $n)))
          (if (i32.eq (local.get $n) (i32.const 5000)) (then (call $half)))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $s)))''')
    half = lambda: None
    exports = Instance(store, module, [Func(store, FuncType([], []), lambda: half())]).exports(store)
    def tiers():
        return [function.tier for function in module.tier_report()]
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    assert exports["add"](store, 1, 2) == 3 and exports["sum"](store, 10) == 55
    assert tiers() == ["interpreted"] * 2
    def give_back():
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
"""


def test_the_system_is_asked_again_later() -> None:
    """Each function at a call of its own: after a pause, and not before."""
    script = """
        give_back()
        begun = time.monotonic()
        exports["add"](store, 1, 2)
        assert tiers() == ["interpreted"] * 2 or time.monotonic() - begun > 0.02
        time.sleep(0.15)
        assert exports["add"](store, 3, 4) == 7
        assert tiers() == ["stencil", "interpreted"]
        assert exports["sum"](store, 10) == 55
        assert tiers() == ["stencil", "stencil"]
        print("done")
    """
    assert _run(textwrap.dedent(_GIVES_BACK) + textwrap.dedent(script)) == "done"


def test_functions_that_are_called_by_interpreted_ones_are_asked_for_again() -> None:
    """At a report of the function: such calls do not go through the function table."""
    script = """
        def half():
            give_back()
            time.sleep(0.3)
        assert exports["sum"](store, 10_000) == 10_000 * 10_001 // 2
        assert tiers() == ["stencil", "interpreted"]
        print("done")
    """
    assert _run(textwrap.dedent(_GIVES_BACK) + textwrap.dedent(script)) == "done"


def test_systems_that_do_not_know_of_executable_files_in_memory() -> None:
    """Linux before 6.3 refuses the flag."""
    script = """
        call = functions(10)
        refuse(MEMFD_CREATE, errno.EINVAL, (1, HAS, 0x10))
        assert [call(i) for i in range(10)] == list(range(10))
        print(len(code_files()))
    """
    assert _run(textwrap.dedent(_REFUSE) + textwrap.dedent(script)) in ("1", "no filter")


def test_address_space_that_is_nearly_used_up() -> None:
    script = """
        import resource
        call = functions(300)
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 20), resource.RLIM_INFINITY))
        for i in range(300):
            assert call(i) == i
        print("done")
    """
    assert _run(script) == "done"


def test_code_is_in_proportion_to_the_body() -> None:
    """A call of two bytes passed nine hundred arguments, and took as many results: 30 kB of code."""
    script = """
        many = " ".join(["i32"] * 900)
        calls = "(call $f) " * 2000
        text = f'''(module (type $t (func (param {many}) (result {many})))
          (func $f (type $t) {" ".join(f"(local.get {i})" for i in range(900))})
          (func (export "g") (result i32) {"(i32.const 7) " * 900} {calls} {"(drop) " * 899})
          (func (export "h") (result i32) (i32.const 8)))'''
        store = Store(Engine(Config(tier="auto", cache=False)))
        module = Module(store.engine, text)
        exports = Instance(store, module, []).exports(store)
        assert exports["g"](store) == 7 and exports["h"](store) == 8
        tiers = [(function.tier, function.size) for function in module.tier_report()]
        assert tiers[1][0] == "interpreted" and tiers[2][0] == "stencil", tiers
        assert all(size is None or size < 1 << 20 for _, size in tiers)
        print("done")
    """
    assert _run(script) == "done"
