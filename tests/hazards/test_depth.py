"""How deep recursion gets: at least as deep as with the wasmtime package, whatever runs it, and then a trap."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

from wasmjit import (
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Limits,
    Memory,
    MemoryType,
    Module,
    Store,
    Trap,
    TrapCode,
    thresholds,
)
from wasmjit import ValType as V

DEEP = 32_700  # wasmtime's default reaches 32,761 of the smallest function
TIERS = ("optimized", "baseline", "auto")


def down(call: str) -> str:
    """A body that counts down by `call`, and up again on the way back."""
    return f"""(param i32) (result i32)
      (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
        (else (i32.add (i32.const 1) ({call.format("(i32.sub (local.get 0) (i32.const 1))")}))))"""


ITSELF = f'(module (func $f (export "f") {down("call $f {}")}))'
INDIRECT = f"""(module (type $t (func (param i32) (result i32))) (table 1 funcref) (elem (i32.const 0) $f)
  (func $f (export "f") {down("call_indirect (type $t) {} (i32.const 0)")}))"""
MUTUAL = f"""(module (func $f (export "f") {down("call $g {}")}) (func $g {down("call $h {}")})
  (func $h {down("call $f {}")}))"""
# Instances that call each other, one through a table and the other by an import, beside memories of their own.
FIRST = """(module (type $t (func (param i32) (result i32))) (memory 1) (table (export "table") 1 funcref)
  (func (export "memory") (param i32) (result i32) (i32.load (local.get 0)))
  (func $f (export "f") (param i32) (result i32)
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
    (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
      (else
        (i32.add (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)) (i32.const 1))
        (i32.store (i32.const 4) (i32.add (i32.load (i32.const 4)) (i32.const 1)))))))"""
SECOND = f"""(module (import "" "table" (table 1 funcref)) (import "" "f" (func $f (param i32) (result i32)))
  (memory 1) (elem (i32.const 0) $g)
  (func (export "memory") (param i32) (result i32) (i32.load (local.get 0)))
  (func $g {down("call $f {}")} (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))))"""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code is replaced when a test says so."""
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600)
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 2**31 - 1)


def overflows(function: Any, store: Store, depth: int) -> Trap:
    with pytest.raises(Trap) as caught:
        function(store, depth)
    assert caught.value.trap_code is TrapCode.STACK_OVERFLOW
    return caught.value


def exported(tier: str, text: str) -> tuple[Module, Store, Any]:
    engine = Engine(Config(tier=tier))
    module, store = Module(engine, text), Store(engine)
    return module, store, Instance(store, module, []).exports(store)["f"]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("text", [ITSELF, MUTUAL], ids=["itself", "mutual"])
def test_no_tier_gets_less_deep_than_wasmtime(tier: str, text: str) -> None:
    """Tier "auto" overflowed at 7,276 frames."""
    _, store, function = exported(tier, text)
    assert function(store, DEEP) == DEEP
    overflows(function, store, 2_000_000)
    assert function(store, DEEP) == DEEP


def test_indirect_calls_get_as_deep() -> None:
    for tier in TIERS:
        _, store, function = exported(tier, INDIRECT)
        assert function(store, DEEP // 2) == DEEP // 2  # a frame is twice as large, with wasmtime too
        overflows(function, store, 2_000_000)


@pytest.mark.parametrize("compiled", [c for n in (1, 2, 3) for c in itertools.combinations(range(3), n)], ids=str)
def test_what_was_compiled_before_does_not_matter(compiled: tuple[int, ...]) -> None:
    """Interpreted and compiled functions call each other: frames of both kinds, and between them the runtime's."""
    module, store, function = exported("auto", MUTUAL)
    lazy = module._load()._lazy
    assert lazy is not None
    for position in compiled:
        lazy.resolve(position)
    assert function(store, DEEP) == DEEP
    overflows(function, store, 2_000_000)
    assert function(store, DEEP) == DEEP


def test_instances_that_call_each_other() -> None:
    for tier in TIERS:
        engine = Engine(Config(tier=tier))
        store = Store(engine)
        first = Instance(store, Module(engine, FIRST), []).exports(store)
        second = Instance(store, Module(engine, SECOND), [first["table"], first["f"]]).exports(store)
        depth = DEEP // 3 * 2 // 2 * 2
        assert first["f"](store, depth) == depth
        counts = [first["memory"](store, 0), first["memory"](store, 4), second["memory"](store, 0)]
        assert counts == [depth // 2 + 1, depth // 2, depth // 2]
        overflows(first["f"], store, 2_000_000)
        assert first["f"](store, depth) == depth


def test_a_function_with_many_locals_gets_deep() -> None:
    sets = "".join(f"(local.set {i} (i32.add (local.get 0) (i32.const {i})))" for i in range(1, 100))
    body = down("call $f {}").replace("(result i32)", f"(result i32) (local {'i32 ' * 99}) {sets}", 1)
    _, store, function = exported("auto", f'(module (func $f (export "f") {body}))')
    assert function(store, DEEP) == DEEP
    overflows(function, store, 2_000_000)


def test_a_trap_far_down_shows_the_innermost_frames() -> None:
    _, store, function = exported("auto", ITSELF.replace("(then (i32.const 0))", "(then unreachable)"))
    with pytest.raises(Trap) as caught:
        function(store, 20_000)
    assert [frame.func_index for frame in caught.value.frames] == [0] * len(caught.value.frames)
    assert len(caught.value.frames) > 100


def test_the_stack_of_interpreted_functions_is_bounded_by_max_wasm_stack() -> None:
    depths = []
    for stack_bytes in (64 << 10, 256 << 10):
        engine = Engine(Config(tier="auto", max_wasm_stack=stack_bytes))
        store = Store(engine)
        function = Instance(store, Module(engine, ITSELF), []).exports(store)["f"]
        depths.append(max(n for n in (4_000, 16_000, 64_000, 256_000) if _fits(function, store, n)))
    assert depths == [16_000, 64_000]


def _fits(function: Any, store: Store, depth: int) -> bool:
    try:
        return bool(function(store, depth) == depth)
    except Trap:
        return False


# ---- nesting ----

THROUGH_HOST = """(module (import "" "" (func $ask (param i32) (result i32)))
  (func $f (export "f") (param $n i32) (result i32) (local $kept i64)
    (local.set $kept (i64.extend_i32_u (i32.mul (local.get $n) (i32.const 3))))
    (if (i32.eqz (local.get $n)) (then (return (i32.const 0))))
    (i32.add (i32.add (call $ask (local.get $n)) (i32.const 1))
             (i32.sub (i32.wrap_i64 (local.get $kept)) (i32.mul (local.get $n) (i32.const 3))))))"""


def test_activations_of_one_store_through_the_host_keep_their_locals() -> None:
    engine = Engine(Config(tier="auto"))
    store = Store(engine)
    exports: Any = None
    host = Func(store, FuncType([V.i32()], [V.i32()]), lambda n: exports["f"](store, n - 1))
    exports = Instance(store, Module(engine, THROUGH_HOST), [host]).exports(store)
    assert exports["f"](store, 100) == 100
    host_fails = Func(store, FuncType([V.i32()], [V.i32()]), lambda n: 1 // (n - 50) + exports["g"](store, n - 1))
    exports = {"g": Instance(store, Module(engine, THROUGH_HOST), [host_fails]).exports(store)["f"]}
    with pytest.raises(ZeroDivisionError):
        exports["g"](store, 100)
    with pytest.raises(ZeroDivisionError):
        exports["g"](store, 60)


def test_stores_that_call_each_other() -> None:
    engine = Engine(Config(tier="auto"))
    stores = [Store(engine), Store(engine)]
    functions: list[Any] = []
    module = Module(engine, THROUGH_HOST)
    for i, store in enumerate(stores):
        host = Func(
            store, FuncType([V.i32()], [V.i32()]), lambda n, other=1 - i: functions[other](stores[other], n - 1)
        )
        functions.append(Instance(store, module, [host]).exports(store)["f"])
    assert functions[0](stores[0], 100) == 100


def test_a_signal_handler_interprets_in_the_middle() -> None:
    """On top of a function that is interrupted anywhere, also between two activations."""
    script = """
        import signal, sys, time
        from wasmjit import Config, Engine, Instance, Module, Store
        from wasmjit import thresholds
        thresholds.INTERPRETER_BUDGET = 2**31 - 1
        store = Store(Engine(Config(tier="auto")))
        function = Instance(store, Module(store.engine, sys.argv[1]), []).exports(store)["f"]
        runs = 0
        def handler(number, frame):
            global runs
            runs += 1
            assert function(store, 20) == 20
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0007)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            assert function(store, 3000) == 3000
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("handled", runs > 50)
    """
    assert _output(script, ITSELF) == "handled True"


# ---- small stacks, and what Python finds below ----


def _output(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout.strip()


_ON_A_THREAD = """
    import json, re, sys, threading
    from wasmjit import Config, Engine, Func, FuncType, Instance, Module, Store, Trap, TrapCode, ValType
    from wasmjit import thresholds
    thresholds.INTERPRETER_BUDGET, thresholds.INTERPRETER_IS_PATIENT = 50, False
    stack_kib, tier, text, parentheses = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])

    def callback(n):
        json.loads(json.dumps({"a": [1, [2, {"b": []}]]}))
        re.compile("(a|b(c|d)*)+%d" % n)
        exec(compile("def f(x):\\n class A:\\n  y = [i for i in range(x) if i]\\n return A", "name", "exec"))
        return eval("(" * parentheses + "1" + ")" * parentheses) - 1

    def work():
        engine = Engine(Config(tier=tier))
        store = Store(engine)
        host = Func(store, FuncType([ValType.i32()], [ValType.i32()]), callback)
        exports = Instance(store, Module(engine, text), [host]).exports(store)
        for name in ("scalar", "vector"):
            low, high = 0, 1 << 21  # the deepest that is no trap, within 1 in 100
            while high - low > low // 100 + 1:
                depth = (low + high) // 2
                try:
                    assert exports[name](store, depth) == depth
                    low = depth
                except Trap as trap:
                    assert trap.trap_code is TrapCode.STACK_OVERFLOW
                    high = depth
        print("ok")

    if stack_kib:
        threading.stack_size(stack_kib << 10)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    else:
        work()
"""
_CALLS_BACK = """(module (import "" "" (func $host (param i32) (result i32)))
  (func $f (export "scalar") (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0)) (then (call $host (i32.const 1)))
      (else (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))))
  (func $v (export "vector") (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0)) (then (call $host (i32.const 1)))
      (else (i32x4.extract_lane 0 (i32x4.add (i32x4.splat (i32.const 1))
        (i32x4.splat (call $v (i32.sub (local.get 0) (i32.const 1))))))))))"""


@pytest.mark.part(5)
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("stack_kib", "parentheses"), [(64, 0), (128, 10), (1024, 60), (0, 150)])
def test_python_finds_room_below_the_deepest_wasm(stack_kib: int, parentheses: int, tier: str) -> None:
    """Threads of 128 KiB ended in SIGSEGV in tier "auto": making code takes stack, too."""
    assert _output(_ON_A_THREAD, str(stack_kib), tier, _CALLS_BACK, str(parentheses)) == "ok"


def test_every_thread_has_its_depth() -> None:
    engine = Engine(Config(tier="auto"))
    module = Module(engine, MUTUAL)
    results: list[object] = []

    def work() -> None:
        store = Store(engine)
        function = Instance(store, module, []).exports(store)["f"]
        for _ in range(3):
            results.append(function(store, 100_000))
            overflows(function, store, 2_000_000)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [100_000] * 9


# ---- memory ----


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize("depth", [400_000, 2_000_000], ids=["returns", "traps"])
def test_deep_recursion_leaves_no_memory_behind(depth: int) -> None:
    engine = Engine(Config(tier="auto"))
    module = Module(engine, ITSELF)
    stores = [Store(engine) for _ in range(10)]
    functions = [Instance(store, module, []).exports(store)["f"] for store in stores]
    before = _resident_bytes()
    for store, function in zip(stores, functions, strict=True):
        if depth == 400_000:
            assert function(store, depth) == depth
        else:
            overflows(function, store, depth)
    assert _resident_bytes() - before < 20 << 20  # each took 24 to 32 MB


def test_a_memory_is_found_again_after_a_call_of_another_instance() -> None:
    """The interpreter keeps the base of memory 0 in a register: that of the instance whose code runs."""
    engine = Engine(Config(tier="auto"))
    store = Store(engine)
    shared = Memory(store, MemoryType(Limits(1, 1)))
    text = """(module (import "" "memory" (memory 1)) (func (export "g") (param i32) (result i32)
      (i32.store (i32.const 8) (local.get 0)) (i32.load (i32.const 8))))"""
    callee = Instance(store, Module(engine, text), [shared]).exports(store)["g"]
    text = """(module (import "" "g" (func $g (param i32) (result i32))) (memory (export "memory") 1)
      (func (export "f") (param i32) (result i32)
        (i32.store (i32.const 8) (i32.const 1000))
        (drop (call $g (local.get 0)))
        (i32.add (call $g (local.get 0)) (i32.load (i32.const 8)))))"""
    function = Instance(store, Module(engine, text), [callee]).exports(store)["f"]
    for i in range(3):
        assert function(store, i) == 1000 + i
    assert shared.read(store, 8, 12) == b"\2\0\0\0"


# ---- large frames ----

# So many locals have a frame on the native stack, where code is from stencils, that two fit on it.
HUGE = f"""(module (import "" "" (func $ask (param i32) (result i32)))
  (func $f (export "f") (param i32) (result i32) (local {"i64 " * 30_000})
    (local.set 29999 (i64.extend_i32_u (local.get 0)))
    (if (i32.eqz (local.get 0)) (then (return (call $ask (i32.const 1)))))
    (i32.sub (i32.add (i32.wrap_i64 (local.get 29999)) (i32.const 1))
             (i32.sub (local.get 0) (call $f (i32.sub (local.get 0) (i32.const 1)))))))"""


@pytest.mark.part(3)
@pytest.mark.parametrize("stack_kib", [64, 256, 1024, 0])
@pytest.mark.parametrize("tier", TIERS)
def test_huge_frames_end_in_a_trap(tier: str, stack_kib: int) -> None:
    script = """
        import json, sys, threading
        from wasmjit import Config, Engine, Func, FuncType, Instance, Module, Store, Trap, TrapCode, ValType
        stack_kib, tier, text = int(sys.argv[1]), sys.argv[2], sys.argv[3]

        def work():
            store = Store(Engine(Config(tier=tier)))
            kind = FuncType([ValType.i32()], [ValType.i32()])
            host = Func(store, kind, lambda n: len(json.loads(json.dumps([n]))) - 1)
            function = Instance(store, Module(store.engine, text), [host]).exports(store)["f"]
            deepest = -1
            for _ in range(2):
                for depth in (0, 1, 2, 3, 5, 10, 30, 100, 1_000_000):
                    try:
                        assert function(store, depth) == depth
                        deepest = max(deepest, depth)
                    except Trap as trap:
                        assert trap.trap_code is TrapCode.STACK_OVERFLOW
            assert deepest < 1_000_000
            print("ok", deepest)

        if stack_kib:
            threading.stack_size(stack_kib << 10)
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        else:
            work()
    """
    said = _output(script, str(stack_kib), tier, HUGE)
    assert said.startswith("ok ")
    if tier == "auto":
        assert int(said.split()[1]) >= 30  # in the interpreter, whose stack does not depend on the thread's


# Functions of small and large frames that call each other, one of them through the host, at any depth.
ALTERNATING = f"""(module (import "" "" (func $host (param i32) (result i32)))
  (func $large (export "large") (param i32) (result i32) (local {"i64 " * 500})
    (local.set 400 (i64.extend_i32_u (local.get 0)))
    (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
    (i32.add (i32.const 1)
      (i32.sub (call $small (i32.sub (local.get 0) (i32.const 1))) (i32.wrap_i64 (i64.sub (local.get 400)
        (i64.extend_i32_u (local.get 0)))))))
  (func $small (export "small") (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
    (if (i32.eqz (i32.rem_u (local.get 0) (i32.const 1000)))
      (then (return (i32.add (i32.const 1) (call $host (i32.sub (local.get 0) (i32.const 1)))))))
    (i32.add (i32.const 1) (call $large (i32.sub (local.get 0) (i32.const 1))))))"""


@pytest.mark.parametrize("tier", TIERS)
def test_small_and_large_frames_and_the_hosts(tier: str) -> None:
    store = Store(Engine(Config(tier=tier)))
    exports: Any = None
    host = Func(store, FuncType([V.i32()], [V.i32()]), lambda n: exports["large"](store, n))
    exports = Instance(store, Module(store.engine, ALTERNATING), [host]).exports(store)
    for depth in (5, 999, 4_000, 20_000, 5):
        try:
            assert exports["large"](store, depth) == depth
        except Trap as trap:  # in the tiers that keep few locals in frames it fits
            assert trap.trap_code is TrapCode.STACK_OVERFLOW and depth == 20_000
    overflows(exports["large"], store, 2_000_000)
