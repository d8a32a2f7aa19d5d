"""Functions that are interpreted, or compiled at their first call: `tier="auto"` before there is optimised code."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import threading
import time
from typing import Any

import pytest

from wasmjit import (
    CompileError,
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Module,
    Store,
    Trap,
    TrapCode,
    ValType,
    abi,
    thresholds,
)
from wasmjit.compile import workers
from wasmjit.runtime import trampolines
from wasmjit.tiers import optimiser as client
from wasmjit.tiers.lazy import LazyCode

from .test_tiers import STRESS_SECONDS, WAT, make, one_call


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No optimised code unless somebody waits for it."""
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600)


@pytest.fixture
def compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No function is interpreted."""
    monkeypatch.setattr(thresholds, "INTERPRETS", False)


@pytest.fixture(params=["compiled", "interpreted"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(thresholds, "INTERPRETS", request.param == "interpreted")
    return Engine(Config(tier="auto"))


def lazy_code(module: Module) -> LazyCode:
    code = module._load()._lazy
    assert code is not None
    return code


def compiled(module: Module) -> set[int]:
    """The functions that have baseline code."""
    return {function.index for function in module.tier_report() if function.tier == "baseline"}


@pytest.mark.usefixtures("compiled_at_once")
def test_only_what_is_called_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(Config(tier="auto"))
    monkeypatch.setattr(thresholds, "MOST_PENDING_GROUPS", 1)
    module = Module(
        engine,
        """(module (func (export "a") (result i32) (call $b)) (func $b (result i32) (i32.const 7))
          (func (export "c") (result i32) (i32.const 8)))""",
    )
    store = Store(engine)
    exports = Instance(store, module, []).exports(store)
    assert compiled(module) == set()
    assert exports["a"](store) == 7
    assert compiled(module) == {0, 1}
    assert exports["c"](store) == 8
    assert compiled(module) == {0, 1, 2}


@pytest.mark.usefixtures("compiled_at_once")
def test_what_start_calls_is_begun_at_once() -> None:
    engine = Engine(Config(tier="auto"))
    module = Module(engine, '(module (func (export "_start") (call $a)) (func $a))')
    store = Store(engine)
    Instance(store, module, []).exports(store)["_start"](store)
    assert compiled(module) == {0, 1}


def test_every_kind_of_argument_survives_the_first_call(engine: Engine) -> None:
    """The stub keeps all argument registers, and leaves the stack as it was."""
    types = ["i32", "i64", "f32", "f64", "v128", "externref"] * 4
    params = " ".join(f"(param {t})" for t in types)
    gets = " ".join(f"(local.get {i})" for i in range(len(types)))
    module = Module(
        engine,
        f"""(module (func (export "outer") {params} (result {" ".join(types)}) (call $inner {gets}))
          (func $inner {params} (result {" ".join(types)}) {gets}))""",
    )
    store = Store(engine)
    exports = Instance(store, module, []).exports(store)
    order = random.Random(3)
    make_value = {
        "i32": lambda: order.randrange(-(1 << 31), 1 << 31),
        "i64": lambda: order.randrange(-(1 << 63), 1 << 63),
        "f32": lambda: float(order.randrange(1 << 20)),
        "f64": order.random,
        "v128": lambda: order.randrange(1 << 128),
        "externref": object,
    }
    values = [make_value[t]() for t in types]  # type: ignore[operator]
    results = exports["outer"](store, *values)
    as_numbers = [int.from_bytes(r, "little") if isinstance(r, bytes) else r for r in results]
    assert as_numbers == values
    assert list(exports["outer"](store, *values)) == list(results)


def test_every_way_in(engine: Engine) -> None:
    np = pytest.importorskip("numpy")
    wat = '(module (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))'

    def fresh() -> tuple[Store, Any]:
        store = Store(engine)
        return store, Instance(store, Module(engine, wat + " "), []).exports(store)["f"]

    store, f = fresh()
    assert f(store, 1) == 2
    store, f = fresh()
    assert f.typed(store)(1) == 2
    store, f = fresh()
    assert f.typed(store, nogil=False)(1) == 2
    store, f = fresh()
    assert list(f.typed(store).map(np.arange(3, dtype=np.int32))) == [1, 2, 3]
    store, f = fresh()
    assert ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(f.native_address(store))(1) == 2


def test_traps_say_where_as_optimised_code_does(engine: Engine) -> None:
    for name, arguments in (("deep", (3,)), ("out_of_bounds", (1 << 20,))):
        seen = []
        for other in (engine, Engine()):
            module = Module(other, WAT)
            store, exports = make(module)
            with pytest.raises(Trap) as caught:
                exports[name](store, *arguments)
            seen.append([(f.func_name, f.module_offset) for f in caught.value.frames])
        assert seen[0] == seen[1]


@pytest.mark.usefixtures("compiled_at_once")
def test_a_dead_compiler_is_an_error_of_that_call(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is compiled ahead while the start function's code is made.
    monkeypatch.setattr(thresholds, "MOST_PENDING_GROUPS", 1)
    engine = Engine(Config(tier="auto"))
    module = Module(engine, WAT)
    store, exports = make(module)  # runs the start function
    send = workers.Worker.send

    def deadly(self: workers.Worker, *arguments: Any) -> None:
        self.process.send_signal(signal.SIGSTOP)  # or it may have replied before it is killed
        send(self, *arguments)
        self.process.kill()

    with monkeypatch.context() as patch:
        patch.setattr(workers.Worker, "send", deadly)
        with pytest.raises(CompileError, match=r"functions \d+.*compiler process died"):
            exports["fib"](store, 5)
    assert exports["sum"](store, 10) == 110
    assert exports["fib"](store, 5) == 5  # who calls it again has it made again
    assert module.wait_optimized()
    assert exports["fib"](store, 5) == 5


@pytest.mark.usefixtures("compiled_at_once")
def test_an_interrupted_compilation_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "MOST_PENDING_GROUPS", 1)  # as above
    engine = Engine(Config(tier="auto"))
    module = Module(engine, WAT)
    store, exports = make(module)

    def interrupted(self: workers.Pending) -> Any:
        self.abandon()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workers.Pending, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            exports["fib"](store, 5)
    assert exports["fib"](store, 5) == 5


def test_a_signal_handler_may_call_what_is_not_compiled(engine: Engine) -> None:
    module = Module(engine, WAT)
    store, exports = make(module)
    results = []
    previous = signal.signal(signal.SIGALRM, lambda *_: results.append(exports["sum"](store, 10)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        assert exports["fib"](store, 20) == 6765
        while not results:
            time.sleep(0.001)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert results == [110]


def test_a_forked_child_compiles_for_itself(engine: Engine) -> None:
    module = Module(engine, WAT)
    store, exports = make(module)
    assert exports["fib"](store, 5) == 5
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if exports["fib"](store, 6) == 8 and exports["sum"](store, 10) == 110 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert exports["sum"](store, 10) == 110


def test_a_module_made_before_a_fork_is_instantiated_behind_it(engine: Engine) -> None:
    module = Module(engine, WAT)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store, exports = make(module)
            code = 0 if exports["fib"](store, 6) == 8 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store, exports = make(module)
    assert exports["fib"](store, 6) == 8


def test_a_fork_while_a_thread_brings_trampolines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has no such thread, which would give the lock back."""
    inside, is_over = threading.Event(), threading.Event()
    executable = trampolines._executable

    def slowly(pieces: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            is_over.wait()
        return executable(pieces)

    artifact = Module(Engine(Config(tier="optimized")), WAT).serialize()
    monkeypatch.setattr(trampolines, "_executable", slowly)
    engine = Engine(Config(tier="auto"))
    store, exports = make(Module(engine, WAT))
    end = time.monotonic() + 60
    while not inside.is_set() and time.monotonic() < end:
        exports["fib"](store, 20)
    assert inside.is_set()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            store, exports = make(Module.deserialize(engine, artifact))
            code = 0 if exports["fib"](store, 6) == 8 else 2
        finally:
            os._exit(code)
    is_over.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.usefixtures("compiled_at_once")
def test_a_timeout_while_compiling_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "MOST_PENDING_GROUPS", 1)  # as above
    engine = Engine(Config(tier="auto"))
    module = Module(engine, WAT)
    store, exports = make(module)
    result = workers.Pending.result

    def slow(self: workers.Pending) -> Any:
        time.sleep(0.05)
        return result(self)

    monkeypatch.setattr(workers.Pending, "result", slow)
    store.timeout = 0.01
    with pytest.raises(Trap) as caught:
        exports["fib"](store, 5)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    store.timeout = None
    assert exports["fib"](store, 5) == 5


@pytest.mark.usefixtures("compiled_at_once")
@pytest.mark.parametrize("waits_for", ["compiler", "another thread"])
def test_a_timeout_ends_waiting_for_code(monkeypatch: pytest.MonkeyPatch, waits_for: str) -> None:
    """Two functions of 1000 vectors take half a minute; calls waited for it, whatever their timeout."""
    module = Module(Engine(Config(tier="auto")), WAT)
    store, exports = make(module)
    ready = LazyCode._ready

    def never(self: LazyCode, timeout_seconds: float) -> list[Any]:
        time.sleep(timeout_seconds)
        return []

    monkeypatch.setattr(LazyCode, "_ready", never)
    store.timeout = 0.05
    lock = lazy_code(module)._lock
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            locked.set()
            done.wait(300)

    holder = threading.Thread(target=hold)
    if waits_for == "another thread":
        holder.start()
        locked.wait()
    began = time.monotonic()
    with pytest.raises(Trap) as caught:
        exports["fib"](store, 5)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    assert time.monotonic() - began < 60
    done.set()
    if holder.ident is not None:
        holder.join()
    monkeypatch.setattr(LazyCode, "_ready", ready)
    store.timeout = None
    assert exports["fib"](store, 5) == 5


def test_hot_functions_are_optimised_first(engine: Engine) -> None:
    module = Module(engine, WAT)
    store, exports = make(module)
    exports["sum"](store, 1000)
    exports["fib"](store, 3)
    loaded = module._load()
    names = {name: index for index, name in loaded.module.names.functions.items()}
    double, fib, deep = (range(names[name], names[name] + 1) for name in ("double", "fib", "deep"))
    weights = loaded.weights([double, fib, deep])
    assert weights[0] >= 1000 and 5 <= weights[1] < 100 and weights[2] == 0
    assert loaded._lazy is not None
    loaded._lazy.hot(names["deep"] - loaded.module.num_imported_functions, 0)
    weights = loaded.weights([double, fib, deep])
    assert weights[2] > weights[0], "code from stencils counts no loops"


def test_units_are_replaced_as_they_are_made(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optimised code of a part of the module runs before the rest is there."""
    module = Module(engine, WAT)
    store, exports = make(module)
    assert exports["fib"](store, 10) == 55
    chosen: list[int] = []
    taken: list[int] = []
    take_unit, weights = client.Optimisation.take_unit, client.Optimisation.weights

    def note(self: client.Optimisation, first: int, count: int, code: bytes, seconds: float) -> None:
        take_unit(self, first, count, code, seconds)
        taken.append(first)
        assert exports["fib"](store, 10) == 55

    def count_choices(self: client.Optimisation, units: Any) -> list[int]:
        chosen.append(len(units))
        return weights(self, units)

    monkeypatch.setattr(client.Optimisation, "take_unit", note)
    monkeypatch.setattr(client.Optimisation, "weights", count_choices)
    assert module.wait_optimized()
    assert taken == [1]
    assert exports["fib"](store, 10) == 55


def test_four_threads_while_code_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls, traps and interrupts in four threads, in modules new every time: first calls, units and tiers come in."""
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 0.0)
    engine = Engine(Config(tier="auto"))
    deadline = time.monotonic() + STRESS_SECONDS
    failures: list[BaseException] = []
    number = 0

    def work(module: Module, seed: int) -> None:
        order = random.Random(seed)
        try:
            for round in range(3):
                with Store(engine, timeout=60) as store:
                    function = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda n: n + 1)
                    exports = Instance(store, module, [function]).exports(store)
                    for _ in range(6):
                        one_call(order, store, exports)
                if round == 1 and seed % 4 == 0:
                    module.wait_optimized()
        except BaseException as failure:
            failures.append(failure)

    while time.monotonic() < deadline or number < 2:
        module = Module(engine, WAT + " " * number)
        threads = [threading.Thread(target=work, args=(module, 4 * number + i)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        number += 1


MANY = """(module (type $unary (func (param i32) (result i32))) (table funcref (elem $one $two $three $rare))
  (func $one (type $unary) (i32.add (local.get 0) (i32.const 1)))
  (func $two (type $unary) (i32.add (local.get 0) (i32.const 2)))
  (func $three (type $unary) (i32.add (local.get 0) (i32.const 3)))
  (func $rare (type $unary) (i32.add (local.get 0) (i32.const 4)))
  (func (export "call") (param i32 i32)
    (loop
      (drop (call_indirect (type $unary) (i32.const 0) (local.get 0)))
      (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))))"""


def test_short_functions_that_are_hot_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six handlers of a kernel took six requests, one after the other; a request has a price of its own."""
    asked: list[list[int]] = []
    begin = LazyCode._begin

    def note(self: LazyCode, function: int, **options: Any) -> Any:
        group = begin(self, function, **options)
        asked.append(sorted(group.functions))
        return group

    monkeypatch.setattr(LazyCode, "_begin", note)
    monkeypatch.setattr(LazyCode, "_ignores", lambda self: not all_are_hot)
    all_are_hot = False
    engine = Engine(Config(tier="auto"))
    module = Module(engine, MANY)
    store = Store(engine)
    exports = Instance(store, module, []).exports(store)
    for position, count in enumerate([9_000, 9_000, 9_000, 10]):
        exports["call"](store, position, count)
    all_are_hot = True
    end = time.monotonic() + 60
    while not asked and time.monotonic() < end:
        exports["call"](store, 1, 20_000)
    assert {0, 1, 2} <= set(asked[0]) and 3 not in asked[0]


def test_no_thread_begins_where_all_compilers_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LazyCode, "_ignores", lambda self: False)
    engine = Engine(Config(tier="auto"))
    module = Module(engine, MANY)
    store = Store(engine)
    exports = Instance(store, module, []).exports(store)
    compiler = lazy_code(module)._compiler_of_groups()
    monkeypatch.setattr(type(compiler), "is_busy", True)
    monkeypatch.setattr(LazyCode, "_ask", lambda *_, **__: pytest.fail("it asks"))
    reports = lazy_code(module).reports
    while sum(reports.values()) < 3:
        exports["call"](store, 1, 20_000)
        time.sleep(0.01)


@pytest.mark.parametrize(("num_processors", "times"), [(1, thresholds.TRAMPOLINES_PATIENCE_ALONE), (2, 1)])
def test_trampolines_are_not_made_for_programs_that_end_soon(
    num_processors: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are for many calls, and took a compiler as long as the function that was hot. What ends gets none."""
    monkeypatch.setattr("wasmjit.tiers.lazy.num_processors", lambda: num_processors)
    naps: list[float] = []
    woken = threading.Event()

    def nap(seconds: float) -> None:
        naps.append(seconds)
        woken.wait(60)

    module = Module(Engine(Config(tier="auto")), MANY)
    code = lazy_code(module)
    monkeypatch.setattr("wasmjit.tiers.lazy.time.sleep", nap)
    made: list[bool] = []
    monkeypatch.setattr(type(code._lazy_module), "begin_trampolines", lambda self: made.append(True))
    code._bring_trampolines()
    end = time.monotonic() + 60
    while not naps and time.monotonic() < end:
        pass
    assert naps == [times * thresholds.TRAMPOLINES_PATIENCE_SECONDS] and not made
    monkeypatch.undo()
    del code, module
    gc.collect()
    woken.set()
    assert not made


def test_what_was_watched_is_known_though_code_is_being_made() -> None:
    """It was lost while another thread had the lock, and a loop was entered that does not recur."""
    code = lazy_code(Module(Engine(Config(tier="auto")), MANY))
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with code._lock:
            is_held.set()
            is_over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert is_held.wait(60)
        assert code.hot(4, 77, abi.ASKED_BY_WATCH) == 0
    finally:
        is_over.set()
        thread.join()
    assert code._recurring == {4: 77}


@pytest.mark.parametrize("num_processors", [1, 2])
def test_first_questions_are_not_heard(num_processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one processor, until the process has used as much processor time as better code may save."""
    used = 5.0
    monkeypatch.setattr("wasmjit.tiers.lazy.num_processors", lambda: num_processors)
    monkeypatch.setattr("wasmjit.tiers.lazy.time.process_time", lambda: used)
    code = lazy_code(Module(Engine(Config(tier="auto")), MANY))
    assert [code._ignores() for _ in range(thresholds.IGNORED_QUESTIONS)] == [True] * thresholds.IGNORED_QUESTIONS
    assert code._ignores() is (num_processors == 1)
    used += thresholds.PATIENCE_ALONE_SECONDS
    assert not code._ignores()
    used = 0.0  # a fork
    assert not code._ignores()


@pytest.mark.parametrize("num_processors", [1, 2])
def test_code_has_to_pay_on_one_processor(num_processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM took a second of processor time for the interpreter's loop of QuickJS, in a task of two; and for SQLite's,
    in which the program was for a fifth of its time, more than all of a task of three."""
    used = 5.0
    monkeypatch.setattr("wasmjit.tiers.lazy.num_processors", lambda: num_processors)
    monkeypatch.setattr("wasmjit.tiers.lazy.time.process_time", lambda: used)
    monkeypatch.setattr(thresholds, "REQUEST_SECONDS_A_BYTE", 1.0)
    monkeypatch.setattr(LazyCode, "_ask", lambda *_, **__: None)
    code = lazy_code(Module(Engine(Config(tier="auto")), MANY))
    assert code._ignores()
    for position in (0, 1, 1, 1, 1):
        code.hot(position, 0, abi.ASKED_BY_STENCILS)
    cost_seconds = thresholds.REQUEST_SECONDS + code._module.bodies[0].end - code._module.bodies[0].start
    used += 0.9 * cost_seconds
    assert [code._pays(position) for position in (0, 1)] == [num_processors > 1] * 2
    used += 0.4 * cost_seconds  # in 1, four fifths of 1.3 times as much
    assert code._pays(1) and code._pays(0) is (num_processors > 1)
    used += 4.0 * cost_seconds
    assert code._pays(0)
    code._invested_seconds = 0.9 * (used - 5.0)
    assert code._pays(0) is (num_processors > 1)
