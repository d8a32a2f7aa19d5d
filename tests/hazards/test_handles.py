"""Stores that are closed, swept or collected in the middle of something: by a finalizer, another thread, a conversion.

What may come of it is ClosedError, or what there was before; never freed memory, never a lost reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

from wasmjit import ClosedError, Config, Engine, Func, FuncType, Instance, Module, Store, Val, ValType, WasmError
from wasmjit.runtime.native import lib

EXTERNREF = ValType.externref()


class Thing:
    """What externrefs refer to."""


def run_alone(source: str, *arguments: str) -> str:
    """What a process of its own prints, in which freed memory is overwritten."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(source), *arguments],
        env={**os.environ, "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    return done.stdout.strip()


# ---- closed in between ----


def test_a_finalizer_closes_the_store_while_externrefs_are_swept() -> None:
    source = """
        import gc
        from wasmjit import ClosedError, Engine, Instance, Module, Store
        engine = Engine()
        tables = "".join(f'(table (export "t{i}") 600 2000 externref)' for i in range(40))
        module = Module(engine, f"(module {tables})")
        odd = set()
        for threshold in range(1, 400, 13):
            store = Store(engine)
            Instance(store, module, []).exports(store)["t1"].set(store, 1, object())
            class Closes:
                def __init__(self):
                    self.cycle = self
                def __del__(self):
                    store.close()
            gc.disable()
            Closes()
            gc.set_threshold(threshold)
            gc.enable()
            try:
                store.gc()
            except ClosedError:
                pass
            except Exception as error:
                odd.add(repr(error))
            gc.set_threshold(700)
            gc.collect()
        print(odd or "ok")
    """
    assert run_alone(source) == "ok"


@pytest.mark.parametrize("seconds", [0.3, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", ["gc", "fuel", "settings"])
def test_another_thread_closes_the_store(what: str, seconds: float) -> None:
    source = """
        import sys, threading, time
        from wasmjit import ClosedError, Config, Engine, Instance, Module, Store, WasmError
        sys.setswitchinterval(1e-6)
        what = sys.argv[1]
        engine = Engine(Config(consume_fuel=what == "fuel"))
        module = Module(engine, '(module (table (export "t") 600 2000 externref) (func (export "f")))')
        odd = set()
        until = time.monotonic() + float(sys.argv[2])
        def use(stores):
            for store, function in stores:
                try:
                    while True:
                        if what == "gc":
                            store.gc()
                        elif what == "fuel":
                            fuel = store.get_fuel()
                            if fuel != 7:
                                odd.add(f"fuel {fuel}")
                            store.set_fuel(7)
                        else:
                            store.set_epoch_deadline(5)
                            store.epoch_deadline_trap()
                            store.set_limits(1 << 20)
                            store.timeout = 5
                            store.interrupt()
                except (ClosedError, WasmError):
                    pass
                except BaseException as error:
                    odd.add(repr(error))
        def close(stores):
            for store, _ in stores:
                while True:
                    try:
                        store.close()
                        break
                    except WasmError:
                        pass
        while time.monotonic() < until and not odd:
            stores = []
            for _ in range(20):
                store = Store(engine, fuel=7 if what == "fuel" else None)
                stores.append((store, Instance(store, module, []).exports(store)["f"]))
            threads = [threading.Thread(target=t, args=(stores,)) for t in (use, use, close)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
        print(odd or "ok")
    """
    assert run_alone(source, what, str(seconds)) == "ok"


def test_a_call_between_the_two_steps_of_close_says_that_the_store_is_closed(engine: Engine) -> None:
    store = Store(engine)
    function = Func(store, FuncType([], []), lambda: None)
    typed = function.typed(store)
    native = store._record.open()
    assert lib.wj_store_close(native.pointer) == 0  # the record does not know yet
    with pytest.raises(ClosedError):
        function(store)
    with pytest.raises(ClosedError):
        typed()


def test_is_running_looks_at_the_store_once(engine: Engine) -> None:
    """`gc` of a store that another thread closes: AttributeError when it was looked up twice."""
    store = Store(engine)
    seen: list[str] = []

    class Record(type(store._record)):  # type: ignore[misc]
        @property
        def native(self) -> Any:
            seen.append("looked")
            return None if len(seen) > 1 else kept

    kept = store._record.native
    record = Record.__new__(Record)
    assert record.is_running() is False and seen == ["looked"]


def test_finalizers_of_the_same_cycle_may_use_the_store() -> None:
    """All finalizers of a cycle run before anything in it goes: the C store has to be there still."""
    source = """
        import gc
        from wasmjit import *
        engine = Engine(Config(consume_fuel=True))
        module = Module(engine, '(module (memory (export "m") 1) (func (export "f") (result i32) i32.const 7)'
                                ' (global (export "g") i32 (i32.const 5)))')
        seen = []
        class User:
            def __init__(self, store):
                self.store, self.exports = store, Instance(store, module, []).exports(store)
                self.handles = [self.exports[name] for name in "mfg"]
            def __del__(self):
                store, (memory, function, number) = self.store, self.handles
                try:
                    seen.append((store.get_fuel(), function(store), memory.size(store), number.value(store)))
                    store.gc()
                except ClosedError:
                    seen.append("closed")
        for order in range(40):
            store = Store(engine, fuel=100)
            user = User(store)
            host = Func(store, FuncType([], []), lambda user=user: None)  # the cycle: store, host function, user
            store.data_of_mine = user
            del store, user, host
            gc.collect()
        print(set(seen))
    """
    assert run_alone(source) == "{(100, 7, 1, 5)}"


# ---- references in hands ----


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Config(opt_level="none"))


@pytest.fixture(params=["optimized", "auto", "baseline"])
def first(request: pytest.FixtureRequest) -> Any:
    """A store, and a function in it that returns the first of its three arguments."""
    engine = Engine(Config(tier=request.param))
    store = Store(engine)
    text = """(module (func (export "first") (param externref externref externref) (result externref) local.get 0)
        (func (export "all") (param externref externref externref) (result externref externref externref)
          local.get 0 local.get 1 local.get 2))"""
    exports = Instance(store, Module(engine, text), []).exports(store)
    return store, exports


def test_arguments_of_a_call_are_kept_while_others_are_converted(first: Any) -> None:
    store, exports = first
    function, typed = exports["first"], exports["first"].typed(store)
    for _ in range(3000):
        a, b, c = Thing(), Thing(), Thing()
        assert function(store, a, b, c) is a
        assert typed(a, b, c) is a
    assert len(store._record.externrefs) < 20_000


def test_a_sweep_in_the_middle_of_conversions(first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalizer, or another thread, has the store swept between one argument and the next, and between results."""
    from wasmjit.runtime.store import StoreRecord

    store, exports = first
    handle_of, value_of = StoreRecord.externref_handle, StoreRecord.externref_value

    def handle_and_sweep(record: StoreRecord, value: Any) -> int:
        made = handle_of(record, value)
        store.gc()
        return made

    def value_and_sweep(record: StoreRecord, handle: int) -> Any:
        store.gc()
        found = value_of(record, handle)
        store.gc()
        return found

    monkeypatch.setattr(StoreRecord, "externref_handle", handle_and_sweep)
    monkeypatch.setattr(StoreRecord, "externref_value", value_and_sweep)
    for function in (lambda *a: exports["all"](store, *a), exports["all"].typed(store)):
        things = [Thing(), Thing(), Thing()]
        assert function(*things) == things
        assert function(Val.externref(things[0]), *things[1:]) == things
    from wasmjit import Global, GlobalType, Limits, Table, TableType

    thing = Thing()
    table = Table(store, TableType(EXTERNREF, Limits(1)), thing)
    assert table.get(store, 0) is thing
    assert table.grow(store, 1, Thing()) == 1 and isinstance(table.get(store, 1), Thing)
    table.set(store, 0, Thing())
    assert isinstance(table.get(store, 0), Thing)
    held = Global(store, GlobalType(EXTERNREF, True), Thing())
    assert isinstance(held.value(store), Thing)
    held.set_value(store, Thing())
    assert isinstance(held.value(store), Thing)
    passing = Func(store, FuncType([EXTERNREF] * 3, [EXTERNREF] * 3), lambda *given: list(given))
    assert passing(store, *things) == things
    monkeypatch.undo()
    gc.collect()
    store.gc()
    assert len(store._record.externrefs) == 3  # in the table and the global


def test_results_of_host_functions_are_kept(engine: Engine) -> None:
    store = Store(engine)
    things = [Thing() for _ in range(3)]

    def host(_: Any) -> list[Thing]:
        store.gc()
        return [Thing(), things[1], Thing()]

    text = """(module (import "" "h" (func $h (param externref) (result externref externref externref)))
      (func (export "f") (param externref) (result externref externref externref externref)
        local.get 0 local.get 0 call $h))"""
    function = Instance(
        store, Module(engine, text), [Func(store, FuncType([EXTERNREF], [EXTERNREF] * 3), host)]
    ).exports(store)["f"]
    for _ in range(100):
        given = Thing()
        back = function(store, given)
        assert back[0] is given and back[2] is things[1] and all(isinstance(thing, Thing) for thing in back)


def test_externrefs_of_host_functions_are_swept_after_the_call(engine: Engine) -> None:
    """Calls that take and return none themselves made a store grow for ever."""
    store = Store(engine)
    text = """(module (import "" "h" (func $h (result externref))) (func (export "f") call $h drop))"""
    made = Func(store, FuncType([], [EXTERNREF]), Thing)
    function = Instance(store, Module(engine, text), [made]).exports(store)["f"]
    for _ in range(20_000):
        function(store)
    assert len(store._record.externrefs) < 10_000


def test_objects_that_use_the_store_when_they_are_swept(engine: Engine) -> None:
    store = Store(engine)
    take = Func(store, FuncType([EXTERNREF], [EXTERNREF]), lambda value: value)
    seen: list[Any] = []

    class Last:
        def __del__(self) -> None:
            other = Thing()
            seen.append(take(store, other) is other)
            store.gc()

    for _ in range(50):
        take(store, Last())
    store.gc()
    assert seen == [True] * 50
    store.gc()
    assert len(store._record.externrefs) <= 1


def test_a_store_that_is_closed_by_what_is_swept(engine: Engine) -> None:
    store = Store(engine)
    take = Func(store, FuncType([EXTERNREF], []), lambda value: None)

    class Closes:
        def __del__(self) -> None:
            store.close()

    take(store, Closes())
    take(store, Thing())
    store.gc()
    with pytest.raises(ClosedError):
        store.gc()


def test_a_stale_externref_is_an_error_and_no_other_object(engine: Engine) -> None:
    store = Store(engine)
    take = Func(store, FuncType([EXTERNREF], [EXTERNREF]), lambda value: value)
    take(store, Thing())
    store.gc()
    take(store, Thing())
    with pytest.raises(WasmError, match="externref 6 stands for no object"):
        store._record.externref_value(6)
    with pytest.raises(WasmError, match="externref 98 stands for no object"):
        Func(store, FuncType([], [EXTERNREF]), lambda: None).call_unchecked(store, [])
        take.call_unchecked(store, [98])
    with pytest.raises(WasmError, match="reference 96 is to no object"):
        take.call_unchecked(store, [96])


def test_two_threads_with_externrefs_of_one_store(engine: Engine) -> None:
    """A Store is for one thread at a time, but misuse gives no wrong objects."""
    store = Store(engine)
    exports = Instance(
        store,
        Module(
            engine,
            """(module (table (export "t") 8 externref)
              (func (export "f") (param externref) (result externref) local.get 0))""",
        ),
        [],
    ).exports(store)
    function, table = exports["f"], exports["t"]
    odd: list[Any] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def use(slot: int) -> None:
        for _ in range(3000):
            thing = Thing()
            try:
                if function(store, thing) is not thing:
                    odd.append("another object")
            except WasmError as error:
                if "another thread" not in str(error):
                    odd.append(error)
            table.set(store, slot, thing)
            store.gc()
            if table.get(store, slot) is not thing:
                odd.append("another element")

    threads = [threading.Thread(target=use, args=(slot,)) for slot in range(2)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not odd, odd[:3]


# ---- a second interpreter ----


@pytest.mark.parametrize("ended", [False, True])
def test_a_second_interpreter_is_refused_and_the_first_goes_on(ended: bool) -> None:
    source = """
        import sys
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        from wasmjit import Instance, Module, Store, Trap
        def trap():
            store = Store()
            module = Module(store.engine, '(module (func (export "t") (unreachable)))')
            try:
                Instance(store, module, []).exports(store)["t"](store)
            except Trap as error:
                print(error.trap_code)
        trap()
        try:
            other = interpreters.create(isolated=False)
        except TypeError:
            other = interpreters.create("legacy")
        code = f"import sys; sys.path[:] = {sys.path!r}\\ntry:\\n import wasmjit\\n"
        code += "except ImportError as error:\\n print(error, flush=True)"
        interpreters.run_string(other, code)
        if sys.argv[1] == "True":
            interpreters.destroy(other)
        trap()
    """
    first, refused, last = run_alone(source, str(ended)).splitlines()
    assert first == last == "TrapCode.UNREACHABLE"
    assert "main interpreter" in refused


# ---- found by tests/fuzz/schedules.py ----


def test_a_function_made_between_the_two_steps_of_close(engine: Engine) -> None:
    """It was refused as if there were no memory."""
    store = Store(engine)
    native = store._record.open()
    assert lib.wj_store_close(native.pointer) == 0
    with pytest.raises(ClosedError):
        Func(store, FuncType([], []), lambda: None)


def test_host_functions_that_are_the_last_to_keep_their_store() -> None:
    """The collector lets go of one after the other; the list of them went with the store."""
    source = """
        import gc
        from wasmjit import *
        engine = Engine()
        kind = FuncType([], [])
        for count in range(1, 200):
            store = Store(engine)
            box = []
            made = [Func(store, kind, lambda box=box, number=number: number) for number in range(1 + count % 5)]
            box.append((store, made) if count % 3 else store)
            if count % 2:
                box.append(made[0].typed(store))
            store.epoch_deadline_callback(lambda box=box: 1)
            del store, box, made
            if count % 7 == 0:
                gc.collect()
        gc.collect()
        print("ok")
    """
    assert run_alone(source) == "ok"


@pytest.mark.parametrize("seconds", [0.4, pytest.param(4, marks=pytest.mark.slow)])
def test_c_callers_without_the_gil_while_the_store_is_closed(seconds: float) -> None:
    """They looked whether it was closed, and entered, while another thread closed it and freed it."""
    source = """
        import ctypes, sys, threading, time
        from wasmjit import *
        sys.setswitchinterval(1e-6)
        engine = Engine()
        module = Module(engine, '(module (func (export "f") (param i32) (result i32) local.get 0))')
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)
        odd = set()
        def call(function, ends):
            for _ in range(100_000):
                found = function(7)
                if found != 7:
                    odd.update({found} - {0})
                    if ends.is_set():
                        break
        until = time.monotonic() + float(sys.argv[1])
        while time.monotonic() < until and not odd:
            store = Store(engine)
            function = Instance(store, module, []).exports(store)["f"]
            functions = [prototype(function.native_address(store)) for _ in range(2)]
            ends = threading.Event()
            threads = [threading.Thread(target=call, args=(f, ends)) for f in functions]
            [thread.start() for thread in threads]
            while store._record.native is not None:
                try:
                    store.close()
                except WasmError:
                    pass
            ends.set()
            del store, function
            [thread.join() for thread in threads]
        print(odd or "ok")
    """
    assert run_alone(source, str(seconds)) == "ok"


def test_two_c_callers_without_the_gil_do_not_run_in_one_store(engine: Engine) -> None:
    """Both found the store free, and entered."""
    import ctypes

    store = Store(engine)
    text = """(module (global $inside (mut i32) (i32.const 0)) (global $seen (export "seen") (mut i32) (i32.const 0))
      (func (export "f") (param i32) (result i32)
        (global.set $inside (i32.add (global.get $inside) (i32.const 1)))
        (if (i32.ne (global.get $inside) (i32.const 1)) (then (global.set $seen (i32.const 1))))
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (global.set $inside (i32.sub (global.get $inside) (i32.const 1)))
        (i32.const 7)))"""
    exports = Instance(store, Module(engine, text), []).exports(store)
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(exports["f"].native_address(store))
    counts = [0, 0]

    def call(number: int) -> None:
        for _ in range(20_000):
            counts[number] += function(50) == 7

    threads = [threading.Thread(target=call, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with contextlib.suppress(WasmError):
        store.check_native_calls()
    assert exports["seen"].value(store) == 0 and all(counts)


def test_a_finalizer_awaits_a_call_on_the_thread_that_runs_the_store(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for itself for ever."""
    from wasmjit.runtime import asynchronous

    store = Store(engine)
    function = Func(store, FuncType([], [ValType.i32()]), lambda: 5)
    post = asynchronous._Job.post
    seen: list[str] = []

    def post_after_a_finalizer(job: Any, message: Any) -> None:
        if not seen:
            seen.append("begins")
            try:
                asyncio.run(asyncio.wait_for(function.call_async(store), 5))
            except WasmError as error:
                seen.append(str(error))
        post(job, message)

    monkeypatch.setattr(asynchronous._Job, "post", post_after_a_finalizer)
    assert asyncio.run(function.call_async(store)) == 5
    assert "cannot be awaited on the thread" in seen[1]


def test_a_c_caller_is_in_a_store_whose_last_reference_goes() -> None:
    """The code that it ran was unmapped."""
    source = """
        import ctypes, gc, threading, time
        from wasmjit import *
        store = Store(Engine(Config(opt_level="none")))
        module = Module(store.engine, '''(module (func (export "f") (param i32) (result i32)
          (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (i32.const 7)))''')
        function = Instance(store, module, []).exports(store)["f"]
        call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(function.native_address(store))
        seen = []
        thread = threading.Thread(target=lambda: seen.append(call(200_000_000)))
        thread.start()
        while not store._record.is_running():
            time.sleep(0.001)
        del store, module, function
        gc.collect()
        was_running = not seen
        thread.join()
        print(was_running, seen)
    """
    assert run_alone(source) == "True [7]"


def test_a_finalizer_uses_an_engine_that_is_being_used_for_the_first_time() -> None:
    """Python 3.11 makes two dicts of one object's attributes, and frees those twice, when what a collection runs asks
    for `__dict__` while the first is being made: functools.cached_property does."""
    source = """
        import gc
        from wasmjit import Engine
        class Uses:
            def __init__(self, engine):
                self.engine, self.cycle = engine, self
            def __del__(self):
                gc.disable()
                uses.append(self.engine.precompile_compatibility_hash())
        uses, most = [], 0
        Engine().precompile_compatibility_hash()
        for threshold in range(1, 60):
            gc.disable()
            engine = Engine()
            gc.collect()
            Uses(engine)
            gc.set_threshold(threshold)
            gc.enable()
            engine._cache_key
            engine.precompile_compatibility_hash()
            gc.disable()
            dicts = [found for found in gc.get_objects() if type(found) is dict]
            most = max(most, sum(found.get("_config") is engine._config for found in dicts))
        print(len(uses) > 10, most < 2)
    """
    assert run_alone(source) == "True True"
