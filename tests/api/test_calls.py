"""Calls through trampolines, on every path: what is refused and with which words, references, counts, lifetimes."""

from __future__ import annotations

import ctypes
import functools
import gc
import resource
import struct
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from wasmjit import ClosedError, Engine, Func, FuncType, Instance, Linker, Module, Store, Trap, Val, ValType, WasmError
from wasmjit.errors import ParameterCountError

I32, I64, F32, F64 = ValType.i32(), ValType.i64(), ValType.f32(), ValType.f64()
EXTERNREF, FUNCREF = ValType.externref(), ValType.funcref()
NAMES = {I32: "i32", I64: "i64", F32: "f32", F64: "f64", EXTERNREF: "externref", FUNCREF: "funcref"}
# Half of them, losing 32 bytes each, the least that malloc gives, lose more than tests allow.
many_calls = pytest.mark.parametrize("calls", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])

Path = Callable[[Func, Store], Callable[..., Any]]
PATHS: dict[str, Path] = {
    "func": lambda function, store: functools.partial(function, store),
    "typed": lambda function, store: function.typed(store),
    "typed_gil_kept": lambda function, store: function.typed(store, nogil=False),
}


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> Path:
    """How Python enters wasm."""
    return PATHS[request.param]


def identity_text(*kinds: ValType) -> str:
    """A module whose `f` returns its parameters; its `host` gives them to an import and returns what that returns."""
    names = " ".join(NAMES[kind] for kind in kinds)
    gets = " ".join(f"local.get {n}" for n in range(len(kinds)))
    type = f"(param {names}) (result {names})"
    return f"""(module (import "" "" (func $host {type})) (func (export "f") {type} {gets})
      (func (export "host") {type} {gets} call $host))"""


def give_back(*values: Any) -> Any:
    """The host function of most tests."""
    return values if len(values) > 1 else values[0]


def identity(store: Store, *kinds: ValType, host: Callable[..., Any] = give_back) -> Any:
    """The exports of such a module."""
    import_ = Func(store, FuncType(kinds, kinds), host)
    return Instance(store, Module(store.engine, identity_text(*kinds)), [import_]).exports(store)


# ---- what is refused ----

REFUSED: list[tuple[ValType, Any, type[Exception], str]] = [
    (I32, 1 << 32, OverflowError, "4294967296 does not fit i32"),
    (I32, -(1 << 31) - 1, OverflowError, "-2147483649 does not fit i32"),
    (I32, 1 << 200, OverflowError, f"{1 << 200} does not fit i32"),
    (I64, 1 << 64, OverflowError, "18446744073709551616 does not fit i64"),
    (I64, -(1 << 63) - 1, OverflowError, "-9223372036854775809 does not fit i64"),
    (I64, -(1 << 200), OverflowError, f"{-(1 << 200)} does not fit i64"),
    (I32, "x", TypeError, "don't know how to convert 'x' to i32: expected an integer"),
    (I32, 1.0, TypeError, "don't know how to convert 1.0 to i32: expected an integer"),
    (I64, None, TypeError, "don't know how to convert None to i64: expected an integer"),
    (F32, "1", TypeError, "don't know how to convert '1' to f32: expected a float"),
    (F64, None, TypeError, "don't know how to convert None to f64: expected a float"),
    (FUNCREF, 3, TypeError, "don't know how to convert 3 to funcref"),
]


@pytest.mark.parametrize("position", [1, 2, 9])
@pytest.mark.parametrize(("kind", "value", "error", "message"), REFUSED, ids=lambda item: str(item)[:20])
def test_wrong_arguments_are_named(
    store: Store, path: Path, kind: ValType, value: Any, error: type[Exception], message: str, position: int
) -> None:
    reached: list[Any] = []
    kinds = [I64] * (position - 1) + [kind, F64]
    call = path(identity(store, *kinds, host=lambda *values: reached.append(values))["host"], store)
    for _ in range(2):
        with pytest.raises(error) as caught:
            call(*range(position - 1), value, 0.5)
        assert str(caught.value).startswith(f"parameter {position}: {message}")
    assert reached == []


@pytest.mark.parametrize("position", [1, 2, 9])
@pytest.mark.parametrize(("kind", "value", "error", "message"), REFUSED, ids=lambda item: str(item)[:20])
def test_wrong_results_of_host_functions_are_named(
    store: Store, path: Path, kind: ValType, value: Any, error: type[Exception], message: str, position: int
) -> None:
    kinds = [I64] * (position - 1) + [kind]
    results = (*range(position - 1), value)
    text = f"""(module (import "" "" (func $host (result {" ".join(NAMES[k] for k in kinds)})))
      (func (export "f") call $host {"drop " * position}))"""
    host = Func(store, FuncType([], kinds), lambda: results if position > 1 else value)
    call = path(Instance(store, Module(store.engine, text), [host]).exports(store)["f"], store)
    for _ in range(2):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value).startswith(f"result {position}: {message}")


@pytest.mark.parametrize("kind", [I32, I64])
def test_integers_of_both_readings(store: Store, path: Path, kind: ValType) -> None:
    bits = int(NAMES[kind][1:])
    for name in ("f", "host"):
        call = path(identity(store, kind)[name], store)
        for number in (0, 1, -1, True, (1 << bits - 1) - 1, -(1 << bits - 1), 1 << bits - 1, (1 << bits) - 1):
            seen = call(number)
            assert type(seen) is int and seen == (number - (1 << bits) if number >= 1 << bits - 1 else number)


def test_host_results_of_both_readings(store: Store) -> None:
    for kind, bits in ((I32, 32), (I64, 64)):
        call = Func(store, FuncType([], [kind]), lambda bits=bits: (1 << bits) - 1).typed(store)  # type: ignore[misc]
        assert call() == -1


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_wrong_number_of_arguments(store: Store, path: Path, count: int) -> None:
    reached: list[Any] = []
    call = path(Func(store, FuncType([I32] * count, []), lambda *values: reached.append(values)), store)
    for given in {count + 1, count + 5, 0, max(count - 1, 0)} - {count}:
        amount = "many" if given > count else "few"
        with pytest.raises(ParameterCountError) as caught:
            call(*[1] * given)
        assert str(caught.value) == f"too {amount} parameters provided: given {given}, expected {count}"
        assert isinstance(caught.value, WasmError) and isinstance(caught.value, TypeError)
    assert reached == []
    call(*[1] * count)
    assert len(reached) == 1


def test_keyword_arguments_are_refused(store: Store, path: Path) -> None:
    call = path(identity(store, I32)["f"], store)
    for keywords in ({"n": 1}, {"store": store}, {"": 1}):
        with pytest.raises(TypeError, match="keyword"):
            call(**keywords)
        with pytest.raises(TypeError, match="keyword"):
            call(1, **keywords)
    assert call(1) == 1
    assert call(*[2]) == 2


def test_arguments_whose_repr_fails(store: Store, path: Path) -> None:
    """The message shows the value; what its repr raises goes on, and nothing is left half done."""

    class Rude:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    call = path(identity(store, I32, I32)["f"], store)
    for _ in range(3):
        with pytest.raises((ZeroDivisionError, TypeError)):
            call(1, Rude())
    assert call(1, 2) == [1, 2]


def test_a_first_wrong_argument_is_reported(store: Store, path: Path) -> None:
    call = path(identity(store, I32, I32, F64)["f"], store)
    with pytest.raises(TypeError, match=r"^parameter 1: "):
        call("a", "b", "c")
    with pytest.raises(OverflowError, match=r"^parameter 2: "):
        call(1, 1 << 40, "c")


def test_typed_objects_cannot_be_made_by_hand(store: Store) -> None:
    typed = identity(store, I32)["f"].typed(store)
    try:
        made = type(typed).__new__(type(typed))
    except TypeError:
        return
    with pytest.raises(TypeError):
        made(1)
    with pytest.raises(TypeError):
        made()


# ---- values ----


def test_floats_keep_their_bits(store: Store, path: Path) -> None:
    call = path(identity(store, F64)["host"], store)
    for bits in (1 << 63, 0x7FF8000000000001, 0xFFF8DEADBEEF0001, 0x7FF0000000000000, 1, 0x000FFFFFFFFFFFFF):
        value = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
        assert struct.pack("<d", call(value)) == bits.to_bytes(8, "little")


def test_references_arrive_as_the_same_objects(store: Store, path: Path) -> None:
    exports = identity(store, EXTERNREF, FUNCREF, EXTERNREF, FUNCREF)
    token = object()
    for name in ("f", "host"):
        seen = path(exports[name], store)(token, exports["f"], None, None)
        assert seen[0] is token and seen[1] is exports["f"] and seen[2:] == [None, None]
    single = identity(store, EXTERNREF)
    for value in (token, "text", 0, [], Ellipsis):
        assert path(single["f"], store)(value) is value
        assert path(single["host"], store)(value) is value


def test_functions_of_other_stores_are_refused(engine: Engine, store: Store, path: Path) -> None:
    with Store(engine) as other:
        foreign = identity(other, I32)["f"]
        call = path(identity(store, FUNCREF)["f"], store)
        with pytest.raises(WasmError, match="another Store"):
            call(foreign)
        host = Func(store, FuncType([], [FUNCREF]), lambda: foreign)
        with pytest.raises(WasmError, match="another Store"):
            path(host, store)()
    with pytest.raises(WasmError):
        call(foreign)  # its store is closed


def test_several_results_are_a_list(store: Store, path: Path) -> None:
    kinds = [I32, F64, I64, F32] * 3
    call = path(identity(store, *kinds)["f"], store)
    values = [1, 0.5, 1 << 40, 0.25] * 3
    seen = call(*values)
    assert type(seen) is list and seen == values
    assert call(*values) is not seen


def test_a_thousand_parameters(store: Store, path: Path) -> None:
    kinds = [I32, F64, I64, F32] * 250
    total = "".join(
        f"local.get {n} {'f64.convert_i32_s' if k is I32 else 'f64.convert_i64_s' if k is I64 else ''}"
        f"{'f64.promote_f32' if k is F32 else ''} f64.add "
        for n, k in enumerate(kinds)
    )
    text = f"""(module (func (export "f") (param {" ".join(NAMES[k] for k in kinds)}) (result f64)
      f64.const 0 {total}))"""
    call = path(Instance(store, Module(store.engine, text), []).exports(store)["f"], store)
    assert call(*[1, 0.5, 2, 0.25] * 250) == 250 * 3.75
    with pytest.raises(TypeError, match=r"^parameter 1000: "):
        call(*[1, 0.5, 2, 0.25] * 249, 1, 0.5, 2, "x")


def test_val_is_taken_by_func(store: Store) -> None:
    function = identity(store, I32, F64)["f"]
    assert function(store, Val.i32(3), 2.5) == [3, 2.5]
    with pytest.raises(TypeError, match="wrong type of `Val`"):
        function(store, Val.i64(3), 2.5)


def test_as_an_ordinary_callable(store: Store, path: Path) -> None:
    call = path(identity(store, I32)["f"], store)
    assert callable(call)
    assert list(map(call, range(5))) == list(range(5))
    assert sorted([3, 1, 2], key=call) == [1, 2, 3]
    assert functools.reduce(lambda total, n: total + call(n), range(10), 0) == 45


# ---- lifetimes ----


def test_closed_stores_cannot_be_entered(engine: Engine, path: Path) -> None:
    store = Store(engine)
    exports = identity(store, I32)
    calls = [path(exports[name], store) for name in ("f", "host")]
    for call in calls:
        call(1)
    store.close()
    for call in calls:
        for arguments in ((1,), ("x",), ()):
            with pytest.raises((ClosedError, WasmError, TypeError)):
                call(*arguments)
        with pytest.raises(WasmError, match="store is closed"):
            call(1)
    with pytest.raises(ClosedError):
        exports["f"].typed(store)


def test_instances_that_nobody_holds_can_be_called(engine: Engine, path: Path) -> None:
    """What an export leads to lives as long as the store; a typed function keeps the store."""

    def make() -> Callable[..., Any]:
        store = Store(engine)
        text = '(module (memory 1) (func (export "f") (param i32) (result i32) local.get 0 i32.load))'
        return path(Instance(store, Module(engine, text), []).exports(store)["f"], store)

    call = make()
    gc.collect()
    assert call(8) == 0
    with pytest.raises(Trap):
        call(-1)


def test_a_store_closed_by_its_own_host_function_goes_on(store: Store, path: Path) -> None:
    def host(n: int) -> int:
        with pytest.raises(WasmError, match="running"):
            store.close()
        return n + 1

    call = path(identity(store, I32, host=host)["host"], store)
    assert [call(n) for n in range(3)] == [1, 2, 3]


def test_a_call_that_drops_its_own_function(engine: Engine) -> None:
    """The callable and the store live until the call is over, even if nobody else holds them."""
    held: list[Any] = []

    def host(n: int) -> int:
        held.clear()
        gc.collect()
        return n + 1

    def make() -> weakref.ref[Store]:
        store = Store(engine)
        held.append(identity(store, I32, host=host)["host"].typed(store))
        return weakref.ref(store._record)  # type: ignore[arg-type]

    record = make()
    assert held[0](41) == 42
    gc.collect()
    assert record() is None


def test_cycles_through_typed_functions_are_collected(engine: Engine) -> None:
    class Payload:
        typed: Any

    payload = Payload()
    seen = weakref.ref(payload)
    store = Store(engine)
    exports = identity(store, I32, host=lambda n, kept=payload: n)
    payload.typed = exports["host"].typed(store), exports["f"].typed(store, nogil=False)
    assert payload.typed[0](1) == 1
    del payload, store, exports
    gc.collect()
    assert seen() is None


def test_one_thread_at_a_time(store: Store, path: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def host(n: int) -> int:
        inside.set()
        assert leave.wait(120)
        return n

    exports = identity(store, I32, host=host)
    blocked, other = path(exports["host"], store), path(exports["f"], store)
    thread = threading.Thread(target=blocked, args=(1,))
    thread.start()
    try:
        assert inside.wait(120)
        with pytest.raises(WasmError, match="another thread"):
            other(1)
    finally:
        leave.set()
        thread.join()
    assert other(1) == 1


def test_four_threads_with_a_store_each(engine: Engine, path: Path) -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        with Store(engine) as store:
            exports = identity(store, I32, F64, EXTERNREF)
            calls = [path(exports[name], store) for name in ("f", "host")]
            for n in range(3000):
                expected = [n, n / 2, number]
                wrong.extend(seen for call in calls if (seen := call(*expected)) != expected)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_gil_is_kept_or_released_as_chosen(store: Store) -> None:
    """While a wasm loop runs, another thread gets to run Python with the GIL released, and does not with it kept."""
    text = """(module (func (export "spin") (param i32) (result i32) (local i32)
      (loop (local.set 1 (i32.xor (i32.mul (local.get 1) (i32.const 5)) (local.get 0)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (local.get 1)))"""
    spin = Instance(store, Module(store.engine, text), []).exports(store)["spin"]
    turns = 0
    running = True

    def count() -> None:
        nonlocal turns
        while running:
            turns += 1

    thread = threading.Thread(target=count)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        found = {}
        thread.start()
        for nogil in (True, False):
            call = spin.typed(store, nogil=nogil)
            tries = []
            for _ in range(3):  # the other thread may have a turn just before or after
                before = turns
                call(60_000_000)  # long beside a time slice of the other thread, which it may get before and after
                tries.append(turns - before)
            found[nogil] = max(tries) if nogil else min(tries)  # another process may have its processor
    finally:
        running = False
        thread.join()
        sys.setswitchinterval(interval)
    assert found[True] > 1000
    assert found[False] < found[True] / 2


# ---- reference counts and memory ----


def resident_bytes() -> int:
    """The memory of this process."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


BIG = 12345678901234  # integers that no cache holds


def test_reference_counts_of_arguments_and_results(store: Store, path: Path) -> None:
    given: tuple[Any, ...] = (BIG + 1, 1.5e300, object(), [1], None)
    kinds = (I64, F64, EXTERNREF, EXTERNREF, FUNCREF)
    answer = [BIG + 2, 2.5e300, object(), (2,), None]
    exports = identity(store, *kinds, host=lambda *values: answer)
    calls = [path(exports[name], store) for name in ("f", "host")]
    for call in calls:
        call(*given)  # what is an externref stays in the store
    counted = [item for item in (*given, *answer, answer) if item is not None]  # None is everybody's
    before = [sys.getrefcount(item) for item in counted]
    for call in calls:
        for _ in range(1000):
            call(*given)
    after = [sys.getrefcount(item) for item in counted]
    assert [b - a for a, b in zip(before, after, strict=True) if b != a] == []


def test_reference_counts_when_calls_fail(store: Store, path: Path) -> None:
    first, wrong = BIG + 3, object()
    exports = identity(store, I64, I32, host=lambda *values: (_ for _ in ()).throw(ValueError))
    results = (BIG + 4, wrong)
    bad = identity(store, I64, I32, host=lambda *values: results)
    cases: list[tuple[Any, tuple[Any, ...], type[BaseException]]] = [
        (exports["f"], (first, wrong), TypeError),
        (exports["f"], (first,), ParameterCountError),
        (exports["f"], (first, 1, wrong), ParameterCountError),
        (exports["host"], (first, 1), ValueError),
        (bad["host"], (first, 1), TypeError),
    ]
    watched = (first, wrong, *results, results)
    before = [sys.getrefcount(item) for item in watched]
    for function, arguments, error in cases:
        call = path(function, store)
        for _ in range(300):
            with pytest.raises(error):
                call(*arguments)
    gc.collect()
    assert [b - a for a, b in zip(before, [sys.getrefcount(i) for i in watched], strict=True) if b - a > 20] == []


def hammer(call: Callable[..., Any], arguments: tuple[Any, ...], count: int) -> None:
    for _ in range(count // 10):
        call(*arguments)
        call(*arguments)
        call(*arguments)
        call(*arguments)
        call(*arguments)
        call(*arguments)
        call(*arguments)
        call(*arguments)
        call(*arguments)
        call(*arguments)


@many_calls
def test_many_calls_leave_nothing_behind(store: Store, path: Path, calls: int) -> None:
    """Arguments, several results and results of a host function: all new objects, all freed."""
    exports = identity(store, I64, F64, EXTERNREF)
    arguments = (BIG, 2.5, "kept by the store")
    for name, count in (("f", calls), ("host", calls // 2)):
        call = path(exports[name], store)
        hammer(call, arguments, 10_000)
        gc.collect()
        before, blocks = resident_bytes(), sys.getallocatedblocks()
        hammer(call, arguments, count)
        assert resident_bytes() - before < 4 << 20
        assert sys.getallocatedblocks() - blocks < 1000


@many_calls
def test_many_calls_from_a_loop_leave_nothing_behind(store: Store, calls: int) -> None:
    linker = Linker(store.engine)
    linker.define_func("", "", FuncType([I64, F64], [I64]), lambda n, x: n + BIG)
    text = """(module (import "" "" (func $host (param i64 f64) (result i64)))
      (func (export "loop") (param i64) (result i64) (local i64)
        (loop (local.set 1 (call $host (local.get 0) (f64.const 0.5)))
          (br_if 0 (i32.wrap_i64 (local.tee 0 (i64.sub (local.get 0) (i64.const 1))))))
        (local.get 1)))"""
    loop = linker.instantiate(store, Module(store.engine, text)).exports(store)["loop"]
    for nogil in (True, False):
        call = loop.typed(store, nogil=nogil)
        assert call(10_000) == BIG + 1
        gc.collect()
        before, blocks = resident_bytes(), sys.getallocatedblocks()
        call(calls)
        assert resident_bytes() - before < 4 << 20
        assert sys.getallocatedblocks() - blocks < 1000


def test_failing_calls_leave_nothing_behind(store: Store, path: Path) -> None:
    def host(*values: Any) -> Any:
        raise ValueError("from inside")

    exports = identity(store, I64, host=host)
    cases: list[tuple[Any, tuple[Any, ...], type[BaseException]]] = [
        (exports["f"], ("x",), TypeError),
        (exports["f"], (1 << 64,), OverflowError),
        (exports["f"], (), ParameterCountError),
        (exports["host"], (BIG,), ValueError),
    ]

    def run(count: int) -> None:
        for function, arguments, error in cases:
            call = path(function, store)
            for _ in range(count):
                try:
                    call(*arguments)
                except error:
                    continue
                pytest.fail("no exception")

    run(500)
    gc.collect()
    before, blocks = resident_bytes(), sys.getallocatedblocks()
    run(20_000)
    gc.collect()
    assert resident_bytes() - before < 4 << 20
    assert sys.getallocatedblocks() - blocks < 1000


# ---- without Python on the path ----


def test_numba_both_ways(store: Store) -> None:
    """A numba cfunc as an import, and wasm called from numba's machine code, in a loop."""
    numba = pytest.importorskip("numba")

    @numba.cfunc("int32(int32, int32)")  # type: ignore[misc]
    def multiply(a: int, b: int) -> int:
        return a * b

    type = FuncType([I32, I32], [I32])
    text = """(module (import "" "multiply" (func $multiply (param i32 i32) (result i32)))
      (func (export "f") (param i32 i32) (result i32)
        (i32.add (call $multiply (local.get 0) (local.get 1)) (i32.const 1))))"""
    linker = Linker(store.engine)
    linker.define_native("", "multiply", type, multiply)
    f = linker.instantiate(store, Module(store.engine, text)).exports(store)["f"]
    assert f(store, 6, 7) == 43
    native = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)(f.native_address(store))

    @numba.njit(nogil=True)  # type: ignore[misc]
    def total(count: int) -> int:
        found = 0
        for i in range(count):
            found += native(i, 2)
        return found

    assert total(1000) == sum(2 * i + 1 for i in range(1000))
    with pytest.raises((TypeError, WasmError)):
        linker.define_native("", "wrong", FuncType([I64, I32], [I32]), multiply)
