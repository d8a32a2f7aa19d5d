from __future__ import annotations

import functools
import gc
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from wasmjit import (
    ClosedError,
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Limits,
    Memory,
    MemoryType,
    Module,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    ValType,
    WasiConfig,
    WasmError,
)


class Thing:
    """Something to hold a weak reference to."""


def test_data_and_engine(engine: Engine) -> None:
    data = {"a": 1}
    assert Store(engine, data).data() is data
    assert Store(engine, data=0).data() == 0
    assert Store(engine).data() is None
    assert Store(engine).engine is engine
    assert isinstance(Store().engine, Engine)
    with pytest.raises(TypeError, match="expected an Engine"):
        Store(3)  # type: ignore[arg-type]


def test_close(engine: Engine) -> None:
    with Store(engine, data=Thing()) as store:
        seen = weakref.ref(store.data())
        instance = Instance(store, Module(engine, '(module (func (export "f")))'), [])
        function = instance.exports(store)["f"]
    assert seen() is None
    store.close()
    uses: list[Callable[[], Any]] = [
        store.data,
        store.gc,
        store.set_limits,
        store.get_fuel,
        lambda: store.set_wasi(WasiConfig()),
        lambda: instance.exports(store),
        lambda: function(store),
        lambda: Instance(store, Module(engine, "(module)"), []),
    ]
    for use in uses:
        with pytest.raises(ClosedError, match="store is closed"):
            use()
        with pytest.raises(ValueError, match="closed"):  # what the wasmtime package raises
            use()


def test_cannot_be_closed_from_inside(engine: Engine) -> None:
    store = Store(engine)

    def host() -> None:
        with pytest.raises(WasmError, match="cannot be closed while its code is running"):
            store.close()

    Func(store, FuncType([], []), host)(store)
    store.close()


def test_dropping_frees_at_once(engine: Engine) -> None:
    """Without the cycle collector: memories are large, and a program that makes many stores must not pile them up."""
    module = Module(
        engine,
        """(module (import "" "h" (func $h (param externref))) (memory (export "m") 1) (table (export "t") 1 externref)
        (global (export "g") (mut i32) (i32.const 0)) (func (export "f") (param externref) local.get 0 call $h)
        (func $start) (start $start))""",
    )
    thing = Thing()
    seen = weakref.ref(thing)
    gc.disable()
    try:
        store = Store(engine, data=thing)
        host = Func(store, FuncType([ValType.externref()], []), lambda value: None)
        exports = Instance(store, module, [host]).exports(store)
        exports["f"](store, thing)
        native = weakref.ref(store._record.native)
        del store, host, exports, thing
        assert native() is None
        assert seen() is None
    finally:
        gc.enable()


def test_an_instance_keeps_code_alive_not_the_module(engine: Engine) -> None:
    store = Store(engine)
    module = Module(engine, '(module (func (export "f") (result i32) i32.const 4))')
    function = Instance(store, module, []).exports(store)["f"]
    module.close()
    del module
    gc.collect()
    assert function(store) == 4


def test_many_stores_need_no_more_memory(engine: Engine) -> None:
    module = Module(engine, '(module (memory (export "m") 1 4) (func (export "f") i32.const 0 i32.const 1 i32.store))')

    def rounds(count: int) -> None:
        for _ in range(count):
            store = Store(engine)
            Instance(store, module, []).exports(store)["f"](store)

    def resident_kib() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

    rounds(200)
    before = resident_kib()
    rounds(1000)
    assert resident_kib() - before < 4096


def test_limits(store: Store) -> None:
    engine = store.engine
    store.set_limits(memory_size=2 * 65536, table_elements=10)
    with pytest.raises(WasmError, match="memory minimum size of 3 pages exceeds memory limits"):
        Memory(store, MemoryType(Limits(3, None)))
    with pytest.raises(WasmError, match="memory minimum size of 3 pages exceeds memory limits"):
        Instance(store, Module(engine, "(module (memory 3))"), [])
    with pytest.raises(WasmError, match="table minimum size of 11 elements exceeds table limits"):
        Table(store, TableType(ValType.funcref(), Limits(11, None)), None)
    memory = Memory(store, MemoryType(Limits(1, None)))
    assert memory.grow(store, 1) == 1
    with pytest.raises(WasmError, match="failed to grow memory"):
        memory.grow(store, 1)
    table = Table(store, TableType(ValType.funcref(), Limits(9, None)), None)
    assert table.grow(store, 1, None) == 9
    with pytest.raises(WasmError, match="failed to grow table"):
        table.grow(store, 1, None)
    exports = Instance(
        store, Module(engine, '(module (memory 1) (func (export "grow") (result i32) i32.const 2 memory.grow))'), []
    ).exports(store)
    assert exports["grow"](store) == -1
    store.set_limits(memory_size=3 * 65536)
    assert exports["grow"](store) == 1


def test_counts(store: Store) -> None:
    module = Module(store.engine, "(module)")
    Instance(store, module, [])
    store.set_limits(instances=1, tables=1, memories=0)
    with pytest.raises(WasmError, match="resource limit exceeded: instance count too high at 2"):
        Instance(store, module, [])
    with pytest.raises(WasmError, match="memory count too high at 1"):
        Memory(store, MemoryType(Limits(0, None)))
    store.set_limits(instances=-1, memories=1)
    Memory(store, MemoryType(Limits(0, None)))
    with pytest.raises(TypeError, match="expected an int for tables"):
        store.set_limits(tables="3")  # type: ignore[arg-type]


# ---- limiter ----


def test_limiter_is_asked(store: Store, instantiate: Any) -> None:
    asked: list[Any] = []

    def limiter(kind: str, current: int, desired: int, maximum: int | None) -> bool:
        asked.append((kind, current, desired, maximum))
        return desired <= (2 * 65536 if kind == "memory" else 10)

    store.limiter = limiter
    assert store.limiter is limiter
    exports = instantiate(
        """(module (memory (export "m") 1) (table (export "t") 5 20 funcref)
        (func (export "grow") (param i32) (result i32) local.get 0 memory.grow)
        (func (export "tgrow") (param i32) (result i32) ref.null func local.get 0 table.grow))"""
    )
    assert asked == [("memory", 0, 65536, None), ("table", 0, 5, 20)]
    asked.clear()
    assert exports["grow"](store, 1) == 1
    assert exports["grow"](store, 1) == -1
    assert exports["grow"](store, 0) == 2
    assert exports["grow"](store, -1) == -1
    assert exports["tgrow"](store, 5) == 5
    assert exports["tgrow"](store, 1) == -1
    assert asked == [
        ("memory", 65536, 2 * 65536, None),
        ("memory", 2 * 65536, 3 * 65536, None),
        ("memory", 2 * 65536, (2 + 0xFFFFFFFF) * 65536, None),
        ("table", 5, 10, 20),
        ("table", 10, 11, 20),
    ]
    with pytest.raises(WasmError, match="failed to grow memory"):
        exports["m"].grow(store, 1)
    with pytest.raises(WasmError, match="failed to grow table"):
        exports["t"].grow(store, 1, None)
    with pytest.raises(WasmError, match="the limiter refused it"):
        Memory(store, MemoryType(Limits(3, None)))
    with pytest.raises(WasmError, match="the limiter refused it"):
        Table(store, TableType(ValType.funcref(), Limits(11, None)), None)
    store.limiter = None
    assert store.limiter is None
    assert exports["grow"](store, 1) == 2
    assert exports["m"].grow(store, 1) == 3


def test_limiter_object(store: Store, instantiate: Any) -> None:
    class Limiter:
        def memory_growing(self, current: int, desired: int, maximum: int | None) -> bool:
            return maximum == 4 * 65536

    store.limiter = Limiter()
    grow = """(module (memory 1 {}) (table 1 funcref) (func (export "f") (result i32) i32.const 1 memory.grow))"""
    assert instantiate(grow.format(4))["f"](store) == 1
    with pytest.raises(WasmError, match="limiter"):
        instantiate(grow.format(5))
    with pytest.raises(TypeError, match="memory_growing"):
        store.limiter = 3


def test_what_a_limiter_raises_passes_through(store: Store, instantiate: Any) -> None:
    class Stop(BaseException):
        pass

    def limiter(kind: str, current: int, desired: int, maximum: int | None) -> bool:
        if current:
            raise Stop(kind)
        return True

    store.limiter = limiter
    exports = instantiate(
        """(module (memory 1) (table 1 externref)
        (func (export "memory") (result i32) i32.const 1 memory.grow)
        (func (export "table") (result i32) ref.null extern i32.const 1 table.grow))"""
    )
    for kind in ("memory", "table"):
        for _ in range(3):
            with pytest.raises(Stop, match=kind):
                exports[kind](store)


def test_a_limiter_may_call_back(store: Store, instantiate: Any) -> None:
    exports: Any = None

    def limiter(kind: str, current: int, desired: int, maximum: int | None) -> bool:
        return current == 0 or exports["two"](store) == 2

    store.limiter = limiter
    exports = instantiate(
        """(module (memory 1) (func (export "two") (result i32) i32.const 2)
        (func (export "grow") (result i32) i32.const 1 memory.grow))"""
    )
    assert exports["grow"](store) == 1


def test_a_limiter_does_not_keep_its_store(engine: Engine) -> None:
    store = Store(engine)
    store.limiter = functools.partial(max, store)
    store.epoch_deadline_callback(functools.partial(max, store))
    seen = weakref.ref(store._record.native)
    del store
    gc.collect()
    assert seen() is None


def test_max_memory(engine: Engine) -> None:
    store = Store(engine, max_memory=65536)
    with pytest.raises(WasmError, match="exceeds memory limits"):
        Memory(store, MemoryType(Limits(2, None)))


# ---- fuel ----

LOOP = """(module (func (export "loop") (param i32)
 (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0))))
 (func (export "forever") (loop br 0)))"""


def test_fuel_and_epochs_need_their_option(store: Store) -> None:
    for use in (lambda: store.set_fuel(1), store.get_fuel, lambda: Store(store.engine, fuel=3)):
        with pytest.raises(WasmError, match="fuel is not configured in this store"):
            use()
    store.set_epoch_deadline(1)  # as in the wasmtime package: code does not look
    with pytest.raises(TypeError):
        store.set_fuel("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.set_epoch_deadline("1")  # type: ignore[arg-type]


@pytest.mark.parametrize("opt_level", ["none", "speed"])
def test_fuel(opt_level: str) -> None:
    engine = Engine(Config(consume_fuel=True, opt_level=opt_level))
    store = Store(engine)
    assert store.get_fuel() == 0
    exports = Instance(store, Module(engine, LOOP), []).exports(store)
    with pytest.raises(Trap) as caught:
        exports["loop"](store, 1)
    assert caught.value.trap_code is TrapCode.OUT_OF_FUEL
    assert caught.value.message.endswith("wasm trap: all fuel consumed by WebAssembly\n")
    store.set_fuel(10_000)
    exports["loop"](store, 10)
    used = 10_000 - store.get_fuel()
    assert used > 10
    store.set_fuel(10_000)
    exports["loop"](store, 10)
    assert 10_000 - store.get_fuel() == used
    with pytest.raises(Trap):
        exports["forever"](store)
    assert store.get_fuel() == 0
    with pytest.raises(Trap):
        exports["loop"](store, 1)
    store.set_fuel(used + 1)
    exports["loop"](store, 10)
    assert store.get_fuel() == 1


def test_host_functions_see_and_set_fuel() -> None:
    engine = Engine(Config(consume_fuel=True))
    store = Store(engine, fuel=1000)
    seen = []

    def host() -> None:
        seen.append(store.get_fuel())
        store.set_fuel(500)

    text = '(module (import "" "h" (func $h)) (func (export "f") call $h call $h))'
    exports = Instance(store, Module(engine, text), [Func(store, FuncType([], []), host)]).exports(store)
    exports["f"](store)
    assert 990 < seen[0] < 1000
    assert 490 < seen[1] < 500
    assert 490 < store.get_fuel() <= 500


def test_fuel_at_the_limits() -> None:
    store = Store(Engine(Config(consume_fuel=True)))
    store.set_fuel(2**64 - 1)
    assert store.get_fuel() == 2**63 - 1
    store.set_fuel(0)
    assert store.get_fuel() == 0


# ---- epochs ----


@pytest.fixture(scope="module")
def epoch_engine() -> Engine:
    return Engine(Config(epoch_interruption=True))


def test_epoch_deadline_traps(epoch_engine: Engine) -> None:
    store = Store(epoch_engine)
    exports = Instance(store, Module(epoch_engine, LOOP), []).exports(store)
    with pytest.raises(Trap) as caught:  # a new store's deadline has been reached
        exports["loop"](store, 1)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    store.set_epoch_deadline(1)
    exports["loop"](store, 1000)
    threading.Timer(0.02, epoch_engine.increment_epoch).start()
    with pytest.raises(Trap) as caught:
        exports["forever"](store)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    store.set_epoch_deadline(2**64 - 1)
    exports["loop"](store, 1)


def test_epoch_callback(epoch_engine: Engine) -> None:
    store = Store(epoch_engine)
    exports = Instance(store, Module(epoch_engine, LOOP), []).exports(store)
    calls = []

    class Stop(BaseException):
        pass

    def callback() -> int:
        calls.append(1)
        if len(calls) == 5:
            raise Stop
        if len(calls) > 1:
            epoch_engine.increment_epoch()
        return 1 if len(calls) > 1 else 0

    store.epoch_deadline_callback(callback)
    with pytest.raises(Stop):
        for _ in range(100):
            epoch_engine.increment_epoch()
            exports["loop"](store, 3)
    assert len(calls) == 5
    store.epoch_deadline_callback(lambda: 1000)
    epoch_engine.increment_epoch()
    exports["loop"](store, 1000)
    store.set_epoch_deadline(0)
    for wrong in ("text", -1, None):
        store.epoch_deadline_callback(lambda wrong=wrong: wrong)
        with pytest.raises((TypeError, OverflowError)):
            exports["loop"](store, 3)
    store.epoch_deadline_trap()
    with pytest.raises(Trap):
        exports["loop"](store, 3)
    with pytest.raises(TypeError, match="callable"):
        store.epoch_deadline_callback(3)  # type: ignore[arg-type]


def test_an_epoch_callback_may_call_wasm(epoch_engine: Engine) -> None:
    store, other = Store(epoch_engine), Store(epoch_engine)
    other.set_epoch_deadline(1000)
    module = Module(epoch_engine, LOOP)
    nested = Instance(other, module, []).exports(other)["loop"]
    store.epoch_deadline_callback(lambda: nested(other, 3) or 5)
    Instance(store, module, []).exports(store)["loop"](store, 3)


def test_epochs_from_many_threads(epoch_engine: Engine) -> None:
    before = int(epoch_engine._epoch[0])
    threads = [threading.Thread(target=lambda: [epoch_engine.increment_epoch() for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(epoch_engine._epoch[0]) == before + 4000


def test_another_thread_is_refused_while_code_runs(store: Store) -> None:
    errors: list[Any] = []
    function: Any = None

    def host() -> None:
        def intrude() -> None:
            try:
                function(store)
            except WasmError as error:
                errors.append(str(error))

        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    function = Func(store, FuncType([], []), host)
    function(store)
    assert errors == ["store is running on another thread: a Store is for one thread at a time"]


def test_wasi_config_is_checked(store: Store) -> None:
    store.set_wasi(WasiConfig())
    with pytest.raises(TypeError, match="expected a WasiConfig"):
        store.set_wasi("argv")


def test_gc_drops_only_what_nothing_refers_to(store: Store, instantiate: Any) -> None:
    exports = instantiate(
        """(module (table (export "table") 2 externref) (global (export "global") (mut externref) (ref.null extern))
        (func (export "keep") (param externref) i32.const 1 local.get 0 table.set)
        (func (export "get") (result externref) i32.const 1 table.get)
        (func (export "pass") (param externref) (result externref) local.get 0))"""
    )
    things = [Thing() for _ in range(5)]
    seen = [weakref.ref(thing) for thing in things]
    exports["pass"](store, things[0])
    exports["keep"](store, things[1])
    exports["global"].set_value(store, things[2])
    exports["table"].set(store, 0, things[3])
    made = Global(store, GlobalType(ValType.externref(), False), things[4])
    del things
    store.gc()
    assert [ref() is not None for ref in seen] == [False, True, True, True, True]
    assert exports["get"](store) is seen[1]()
    exports["keep"](store, None)
    exports["global"].set_value(store, None)
    exports["table"].set(store, 0, None)
    store.gc()
    assert [ref() is not None for ref in seen] == [False, False, False, False, True]
    assert made.value(store) is seen[4]()


def test_externrefs_in_passive_segments_survive(store: Store) -> None:
    thing = Thing()
    seen = weakref.ref(thing)
    given = Global(store, GlobalType(ValType.externref(), False), thing)
    module = Module(
        store.engine,
        """(module (import "" "g" (global externref)) (table (export "t") 1 externref)
        (elem $e externref (global.get 0)) (func (export "init") i32.const 0 i32.const 0 i32.const 1 table.init $e))""",
    )
    exports = Instance(store, module, [given]).exports(store)
    del thing
    store.gc()
    exports["init"](store)
    assert exports["t"].get(store, 0) is seen() is not None


def test_gc_inside_a_call_keeps_what_frames_hold(store: Store, instantiate: Any) -> None:
    exports = instantiate(
        """(module (import "" "" (func $h))
        (func (export "f") (param externref) (result externref) call $h local.get 0))""",
        Func(store, FuncType([], []), store.gc),
    )
    result = exports["f"](store, Thing())
    assert isinstance(result, Thing)


def test_many_externrefs_are_swept_by_themselves(store: Store) -> None:
    function = Func(store, FuncType([ValType.externref()], []), lambda value: None)
    for _ in range(20_000):
        function(store, Thing())
    assert len(store._record.externrefs) < 10_000


def test_stores_in_parallel_threads(engine: Engine) -> None:
    module = Module(
        engine,
        """(module (func (export "f") (param i32) (result i32) (local i32)
        (loop local.get 1 local.get 0 i32.add local.set 1
        local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0) local.get 1)
        (func (export "trap") unreachable))""",
    )
    results: list[Any] = []

    def work() -> None:
        for _ in range(50):
            with Store(engine) as store:
                exports = Instance(store, module, []).exports(store)
                results.append(exports["f"](store, 1000))
                try:
                    exports["trap"](store)
                except Exception as error:
                    results.append(type(error).__name__)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["500500"] * 200 + ["Trap"] * 200
