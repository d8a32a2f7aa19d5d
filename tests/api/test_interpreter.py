"""Functions of `tier="auto"` run in the interpreter, or code from stencils, until they are hot."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from tests.timing import again_and_again
from wasmjit import Config, Engine, Func, FuncType, Instance, Module, Store, Trap, TrapCode, ValType, thresholds
from wasmjit.compile import workers
from wasmjit.tiers.lazy import LazyCode

WAT = """(module $m
  (type $unary (func (param i32) (result i32)))
  (import "host" "ask" (func $ask (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $calls (mut i32) (i32.const 0))
  (table 3 funcref) (elem (i32.const 0) $fib $ask)
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                     (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func $sum (export "sum") (param $n i64) (result i64) (local $s i64)
    (loop $again
      (local.set $s (i64.add (local.get $s) (local.get $n)))
      (br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
    (local.get $s))
  (func $spin (export "spin") (loop $l (br $l)))
  (func $load (export "load") (param i32) (result i32) (i32.load offset=4 (local.get 0)))
  (func $outer (export "outer") (param i32) (result i32) (i32.add (i32.const 1) (call $load (local.get 0))))
  (func (export "through_host") (param i32) (result i32) (call $ask (local.get 0)))
  (func (export "indirect") (param i32 i32) (result i32) (call_indirect (type $unary) (local.get 0) (local.get 1)))
  (func $deep (export "deep") (call $deep))
  (func (export "vector") (param i32) (result i32)
    (i32x4.extract_lane 1 (i32x4.add (i32x4.splat (call $fib (local.get 0))) (i32x4.splat (i32.const 1)))))
  (func (export "calls_vector") (param i32) (result i32) (call 9 (local.get 0)))
)"""


@pytest.fixture(autouse=True, params=[False, True], ids=["words", "stencils"])
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No optimised code unless somebody waits for it. In the interpreter itself, and in native code in its place."""
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600)
    monkeypatch.setattr(thresholds, "STENCILS", request.param)
    monkeypatch.setenv("WASMJIT_STENCILS", "1" if request.param else "0")


@pytest.fixture
def engine() -> Engine:
    return Engine(Config(tier="auto"))


def make(engine: Engine, wat: str = WAT, ask: Any = lambda n: n + 1) -> tuple[Module, Store, Any]:
    module, store = Module(engine, wat), Store(engine)
    imports = [Func(store, FuncType([ValType.i32()], [ValType.i32()]), ask)] if module.imports else []
    return module, store, Instance(store, module, imports).exports(store)


def compiled(module: Module) -> set[int]:
    """The functions that have code of their own."""
    return {function.index for function in module.tier_report() if function.tier in ("baseline", "optimized")}


def test_nothing_is_compiled_for_what_runs_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pool: workers.WorkerPool) -> workers.Worker:
        raise AssertionError("a compiler was started")

    monkeypatch.setattr(workers.WorkerPool, "_take", refuse)
    _, store, exports = make(engine)
    assert exports["fib"](store, 10) == 55
    assert exports["sum"](store, 100) == 5050
    assert exports["through_host"](store, 4) == 5
    assert [exports["indirect"](store, 7, 0), exports["indirect"](store, 7, 1)] == [13, 8]
    assert exports["outer"](store, 0) == 1


def test_hot_functions_are_compiled(engine: Engine) -> None:
    module, store, exports = make(engine)
    fib = module._load().module.num_imported_functions
    deadline = time.monotonic() + 120
    while fib not in compiled(module):
        assert exports["fib"](store, 15) == 610
        assert time.monotonic() < deadline
    assert exports["fib"](store, 15) == 610


def test_a_hot_loop_goes_on_in_compiled_code(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one activation."""
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 10)
    monkeypatch.setattr(thresholds, "LOOP_PATIENCE_SECONDS_A_BYTE", 0)
    monkeypatch.setattr(thresholds, "INTERPRETER_IS_PATIENT", False)
    ready = LazyCode._ready

    def all_ready(code: LazyCode, timeout: float) -> Any:
        """The function's own code may be there first, and has to wait for its trampolines."""
        deadline = time.monotonic() + 120
        while len(found := ready(code, 0.01)) < len(code._pending) and time.monotonic() < deadline:
            time.sleep(0.001)
        return found

    monkeypatch.setattr(LazyCode, "_ready", all_ready)
    import wasmjit.compile.pipeline  # noqa: F401 - nothing waits for it

    module, store, exports = make(engine)
    # Long enough for code from stencils to watch its loops, too.
    assert exports["sum"](store, 3_000_000) == 4_500_001_500_000
    assert any(function.loops for function in module.tier_report())
    assert exports["sum"](store, 200) == 20100


def test_functions_with_vectors_are_not_compiled(engine: Engine) -> None:
    module, store, exports = make(engine)
    assert exports["vector"](store, 10) == 56
    assert exports["calls_vector"](store, 10) == 56
    assert 9 not in compiled(module)


def test_backtraces_are_those_of_compiled_code(engine: Engine) -> None:
    calls = {
        "outer": (1 << 20,),
        "through_host": (3,),
        "indirect": (3, 2),
        "vector": (-5,),
    }

    def fail(n: int) -> int:
        return int(nested["outer"](nested_store, -1))

    for name, arguments in calls.items():
        seen = []
        for other in (engine, Engine()):
            _, nested_store, nested = make(other, ask=fail)
            try:
                seen.append(nested[name](nested_store, *arguments))
            except Trap as trap:
                frames = [(f.func_name, f.module_offset, f.func_offset) for f in trap.frames]
                seen.append((trap.trap_code, frames))
        assert seen[0] == seen[1], name


def test_running_out_of_stack_is_a_trap(engine: Engine) -> None:
    _, store, exports = make(engine)
    for _ in range(3):
        with pytest.raises(Trap) as caught:
            exports["deep"](store)
        assert caught.value.trap_code is TrapCode.STACK_OVERFLOW
        assert {frame.func_name for frame in caught.value.frames} == {"deep"}
    assert exports["fib"](store, 10) == 55


def test_a_frame_larger_than_the_stack_is_a_trap(engine: Engine) -> None:
    locals = " ".join(["i64"] * 49_000)
    _, store, exports = make(
        engine, f'(module (func $f (export "f") (param i32) (local {locals}) (call $f (i32.const 1))))'
    )
    with pytest.raises(Trap) as caught:
        exports["f"](store, 1)
    assert caught.value.trap_code is TrapCode.STACK_OVERFLOW


@pytest.fixture
def nothing_is_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LazyCode, "hot", lambda *arguments: 0)


@pytest.mark.usefixtures("nothing_is_hot")
def test_interpreted_loops_can_be_interrupted(engine: Engine) -> None:
    _, store, exports = make(engine)
    with again_and_again(store.interrupt), pytest.raises(Trap) as caught:
        exports["spin"](store)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    assert [frame.func_name for frame in caught.value.frames] == ["spin"]
    store.timeout = 0.02
    with pytest.raises(Trap) as caught:
        exports["spin"](store)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    store.timeout = None
    assert exports["fib"](store, 10) == 55


@pytest.mark.usefixtures("nothing_is_hot")
def test_threads_may_be_the_first_to_call_together(engine: Engine) -> None:
    results: list[Any] = []
    barrier = threading.Barrier(4)
    for _ in range(20):
        module = Module(engine, WAT)

        def work(module: Module = module) -> None:
            store = Store(engine)
            ask = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda n: n)
            exports = Instance(store, module, [ask]).exports(store)
            barrier.wait()
            results.append((exports["fib"](store, 12), exports["sum"](store, 1000)))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [(144, 500500)] * 80


def test_exceptions_of_host_functions_pass_through(engine: Engine) -> None:
    def fail(n: int) -> int:
        raise KeyError(n)

    _, store, exports = make(engine, ask=fail)
    for name, arguments in (("through_host", (3,)), ("indirect", (3, 1))):
        with pytest.raises(KeyError):
            exports[name](store, *arguments)
    assert exports["fib"](store, 10) == 55


def test_calls_get_trampolines_when_they_are_many(engine: Engine) -> None:
    """What was looked up before there were any is told of them."""
    module, store, exports = make(engine)
    outer, through_host = exports["outer"], exports["through_host"]
    typed = outer.typed(store)
    record = store._record
    assert outer._item.enter is None and record.slow_functions
    deadline = time.monotonic() + 120
    while record.slow_functions or not outer._item.enter:
        assert (outer(store, 0), typed(0), through_host(store, 1)) == (1, 1, 2)
        assert time.monotonic() < deadline
    assert (outer(store, 0), typed(0), through_host(store, 1)) == (1, 1, 2)
    lazy = module._load()._lazy
    assert lazy is not None and lazy._has_trampolines


def test_a_forked_child_goes_on(engine: Engine) -> None:
    _, store, exports = make(engine)
    assert exports["fib"](store, 20) == 6765
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if exports["fib"](store, 21) == 10946 and exports["sum"](store, 5000) == 12502500 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_values_of_all_types_pass_in_any_number(engine: Engine) -> None:
    types = ["i32", "i64", "f32", "f64", "externref"] * 4
    params = " ".join(types)
    gets = " ".join(f"(local.get {i})" for i in range(len(types)))
    _, store, exports = make(
        engine,
        f"""(module (type $t (func (param {params}) (result {params})))
          (table 1 funcref) (elem (i32.const 0) $inner)
          (func (export "direct") (type $t) (call $inner {gets}))
          (func (export "indirect") (type $t) (call_indirect (type $t) {gets} (i32.const 0)))
          (func $inner (type $t) {gets}))""",
    )
    values: list[Any] = []
    for number in range(4):
        values += [-number, 1 << 62 | number, 0.5 * number, 0.1 * number, object()]
    assert exports["direct"](store, *values) == values
    assert exports["indirect"](store, *values) == values


# Operands refer to locals and constants until something changes them; branches carry values to where they belong.
OPERANDS = """(module
  (func (export "stale") (param i32) (result i32)
    (local.get 0) (local.set 0 (i32.const 100)) (local.get 0) (i32.sub))
  (func (export "tee") (param i32) (result i32)
    (i32.add (local.get 0) (local.tee 0 (i32.mul (local.get 0) (i32.const 3)))))
  (func (export "swap") (param i32 i32) (result i32 i32)
    (local.get 0) (local.get 1) (local.set 0) (local.set 1) (local.get 0) (local.get 1))
  (func (export "carry") (param i32) (result i32 i32)
    (block $b (result i32 i32)
      (i32.const 1) (i32.const 2) (i32.const 3)
      (br_if $b (local.get 0))
      (drop) (drop) (i32.const 9)))
  (func (export "table") (param i32) (result i32)
    (block $a (result i32)
      (block $b (result i32)
        (i32.const 50) (i32.const 7)
        (br_table $a $b $a (local.get 0)))
      (i32.add (i32.const 1000))))
  (func (export "both") (param i32) (result i32)
    (local.get 0) (i32.const 5)
    (i32.and (local.get 0) (i32.const 1))
    (if (param i32 i32) (result i32) (then (i32.add)) (else (i32.mul))))
  (func (export "loop") (param i32) (result i32)
    (i32.const 0)
    (loop $l (param i32) (result i32)
      (i32.add (local.get 0))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "wrapped") (param i64) (result i32)
    (if (result i32) (i32.wrap_i64 (i64.and (local.get 0) (i64.const 0x100000000)))
      (then (i32.const 1)) (else (i32.const 2))))
  (func (export "dead") (param i32) (result i32)
    (block $b (result i32)
      (br $b (local.get 0))
      (block (result i32) (i32.const 1) (br_table 0 1 (i32.const 2)) (if (then unreachable)))
      (i32.add (i32.const 3)))
    (return)
    (drop))
)"""


@pytest.mark.part(2)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("swap", (1, 2))]
    + [
        (name, (n,))
        for name in ("stale", "tee", "carry", "table", "both", "loop", "wrapped", "dead")
        for n in (1, 2, 3, 8)
    ],
)
def test_operands(engine: Engine, name: str, arguments: tuple[int, ...]) -> None:
    seen = []
    for other in (engine, Engine()):
        store = Store(other)
        seen.append(Instance(store, Module(other, OPERANDS), []).exports(store)[name](store, *arguments))
    assert seen[0] == seen[1]


# ---- hostile bodies ----


def _unsigned(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def _section(number: int, *items: bytes) -> bytes:
    contents = _unsigned(len(items)) + b"".join(items)
    return bytes([number]) + _unsigned(len(contents)) + contents


def _module_of(code: bytes, locals_count: int = 0) -> bytes:
    """`f` (i32 -> i32) with this code; type 1 has 1000 results, type 2 nothing, type 3 9 parameters and results."""
    local_groups = [_unsigned(locals_count) + b"\x7f"] if locals_count else []
    body = _unsigned(len(local_groups)) + b"".join(local_groups) + code + b"\x0b"
    many = _unsigned(1000) + b"\x7f" * 1000
    nine = _unsigned(9) + b"\x7f" * 9
    return (
        b"\0asm\1\0\0\0"
        + _section(1, b"\x60\x01\x7f\x01\x7f", b"\x60\x00" + many, b"\x60\x00\x00", b"\x60" + nine + nine)
        + _section(3, b"\x00")
        + _section(7, b"\x01f\x00\x00")
        + _section(10, _unsigned(len(body)) + body)
    )


_CONSTANTS = b"\x41\x03" * 1000
HOSTILE = {  # by a number: code, and locals beside the parameter
    # Every operand was looked at in every block.
    "blocks under operands": (lambda n: b"\x41\x01" * n + b"\x02\x40\x0b" * n + b"\x1a" * (n - 1), 0),
    "ifs under operands": (lambda n: b"\x41\x01" * n + b"\x20\x00\x04\x40\x0b" * n + b"\x1a" * (n - 1), 0),
    # ... for every local that was set.
    "locals set under operands": (lambda n: b"\x20\x00" * n + b"\x41\x01\x21\x01" * n + b"\x1a" * (n - 1), 1),
    "one of many locals": (lambda n: b"\x20\x00\x41\x01\x21\x00" * n + b"\x1a" * (n - 1), 0),
    # Every entry of a table, or every branch, moved the operands by code of its own.
    "tables of many operands": (
        lambda n: (
            b"\x02\x01\x02\x01"
            + _CONSTANTS
            + b"\x20\x00\x0e"
            + _unsigned(n // 2 * 2)
            + b"\x00\x01" * (n // 2)
            + b"\x00\x0b\x0b"
            + b"\x1a" * 999
        ),
        0,
    ),
    "branches with many operands": (
        lambda n: (
            b"\x41\x07\x02\x01\x41\x05"
            + _CONSTANTS
            + b"\x41\x00\x0d\x00" * (n // 10)
            + b"\x0c\x00\x0b"
            + b"\x1a" * 1000
        ),
        0,
    ),
    "branches with nine constants": (
        lambda n: (
            (
                b"\x41\x09" * 9
                + b"\x02\x03"
                + b"\x1a" * 9
                + b"\x41\x05" * 10
                + b"\x41\x00\x0d\x00\x0c\x00\x0b"
                + b"\x1a" * 9
            )
            * (n // 40)
            + b"\x20\x00"
        ),
        0,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_translation_takes_time_in_proportion(engine: Engine, name: str) -> None:
    """60,000 operands and 60,000 blocks, 360 kB, took 16 s: the square of the size."""
    make_code, locals_count = HOSTILE[name]
    module = Module(engine, _module_of(make_code(40_000), locals_count))
    store = Store(engine)
    function = Instance(store, module, []).exports(store)["f"]
    began = time.thread_time()
    assert isinstance(function(store, 1), int)
    assert time.thread_time() - began < 1.5


_PEAK = """
import resource, sys
from wasmjit import Config, Engine, Instance, Module, Store
store = Store(Engine(Config(tier="auto")), max_memory=65536)
module = Module(store.engine, sys.stdin.buffer.read())
function = Instance(store, module, []).exports(store)["f"]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert isinstance(function(store, 1), int)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.part(2)
@pytest.mark.parametrize("name", HOSTILE)
def test_translation_takes_memory_in_proportion(name: str) -> None:
    """A table of 20,000 entries that carry 1000 operands, 23 kB, took 240 MB, for ever."""
    make_code, locals_count = HOSTILE[name]
    wasm = _module_of(make_code(40_000), locals_count)
    done = subprocess.run([sys.executable, "-c", _PEAK], input=wasm, capture_output=True, check=True)
    assert int(done.stdout) < 200 * len(wasm) + (4 << 20)


def test_translation_can_be_interrupted(engine: Engine) -> None:
    """The largest body that there may be takes longer than a program should have to wait."""
    wasm = _module_of(b"\x20\x00\x1a" * 2_500_000 + b"\x41\x07")
    store = Store(engine)
    function = Instance(store, Module(engine, wasm), []).exports(store)["f"]
    store.timeout = 0.001
    with pytest.raises(Trap) as caught:
        function(store, 1)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    store.timeout = None
    assert function(store, 1) == 7
