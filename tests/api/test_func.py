from __future__ import annotations

import ctypes
import gc
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import cffi
import numpy
import pytest

from wasmjit import (
    ClosedError,
    Engine,
    Func,
    FuncType,
    Instance,
    Linker,
    Module,
    Store,
    Trap,
    TypedFunc,
    Val,
    ValType,
    WasmError,
)

I32, I64, F32, F64 = ValType.i32(), ValType.i64(), ValType.f32(), ValType.f64()
EXTERNREF, FUNCREF = ValType.externref(), ValType.funcref()


def wat_name(valtype: ValType) -> str:
    """The text format's name; str() has another one for externref, for compatibility."""
    return "externref" if valtype == EXTERNREF else str(valtype)


def identity(store: Store, valtype: ValType) -> Func:
    return Func(store, FuncType([valtype], [valtype]), lambda value: value)


@pytest.mark.parametrize(
    ("valtype", "given", "seen"),
    [
        (I32, 7, 7),
        (I32, 1 << 31, -(1 << 31)),
        (I32, (1 << 32) - 1, -1),
        (I32, -(1 << 31), -(1 << 31)),
        (I32, True, 1),
        (I64, 1 << 63, -(1 << 63)),
        (I64, (1 << 64) - 1, -1),
        (F32, 0.1, 0.10000000149011612),
        (F32, 1e300, float("inf")),
        (F64, 0.1, 0.1),
        (I32, Val.i32(3), 3),
        (F64, Val.f64(2.5), 2.5),
        (EXTERNREF, None, None),
        (EXTERNREF, "any", "any"),
        (EXTERNREF, Val.externref("any"), "any"),
        (FUNCREF, None, None),
    ],
)
def test_values_through_wasm_and_back(store: Store, instantiate: Any, valtype: ValType, given: Any, seen: Any) -> None:
    assert identity(store, valtype)(store, given) == seen
    host = Func(store, FuncType([valtype], [valtype]), lambda value: given)
    name = wat_name(valtype)
    text = f"""(module (import "" "" (func $h (param {name}) (result {name})))
    (func (export "f") (param {name}) (result {name}) local.get 0 call $h))"""
    result = instantiate(text, host)["f"](store, given)
    assert result == seen and type(result) is type(seen)


@pytest.mark.parametrize(
    ("valtype", "value", "message"),
    [
        (I32, "x", "don't know how to convert 'x' to i32: expected an integer"),
        (I32, 1.0, "don't know how to convert 1.0 to i32: expected an integer"),
        (I64, None, "don't know how to convert None to i64: expected an integer"),
        (F32, 1, "don't know how to convert 1 to f32: expected a float"),
        (F64, "1", "don't know how to convert '1' to f64: expected a float"),
        (FUNCREF, 3, "don't know how to convert 3 to funcref: expected a Func or None"),
        (FUNCREF, print, "don't know how to convert <built-in function print> to funcref: expected a Func or None"),
        (I32, Val.i64(3), "wrong type of `Val` provided"),
        (EXTERNREF, Val.i32(3), "wrong type of `Val` provided"),
    ],
)
def test_wrong_values_in_both_directions(store: Store, valtype: ValType, value: Any, message: str) -> None:
    calls = []
    function = Func(store, FuncType([valtype], []), calls.append)
    with pytest.raises(TypeError) as caught:
        function(store, value)
    assert str(caught.value) == f"parameter 1: {message}"
    assert calls == []
    with pytest.raises(TypeError) as caught:
        Func(store, FuncType([], [valtype]), lambda: value)(store)
    assert str(caught.value) == f"result 1: {message}"


def test_number_of_arguments(store: Store) -> None:
    function = identity(store, I32)
    with pytest.raises(WasmError, match="too few parameters provided: given 0, expected 1"):
        function(store)
    with pytest.raises(WasmError, match="too many parameters provided: given 2, expected 1"):
        function(store, 1, 2)


def test_number_of_results(store: Store) -> None:
    def give(results: list[ValType], value: Any) -> Any:
        return Func(store, FuncType([], results), lambda: value)(store)

    assert give([], None) is None
    assert give([I32], 3) == 3
    for pair in ((3, 4.5), [3, 4.5]):
        assert give([I32, F64], pair) == [3, 4.5]
    assert give([I32] * 10, range(10)) == list(range(10))
    assert give([EXTERNREF, I64, FUNCREF], ("a", 2, None)) == ["a", 2, None]
    with pytest.raises(WasmError, match="callback produced results when it shouldn't"):
        give([], 3)
    with pytest.raises(WasmError, match="callback produced wrong number of results"):
        give([I32, I32], [3])
    with pytest.raises(TypeError):
        give([I32, I32], 3)
    with pytest.raises(TypeError, match="don't know how to convert None to i32"):
        give([I32], None)


def test_many_parameters_of_all_kinds(store: Store, instantiate: Any) -> None:
    kinds = [I32, F64, I64, F32, EXTERNREF] * 6
    text = " ".join(map(wat_name, kinds))
    gets = " ".join(f"local.get {i}" for i in range(len(kinds)))
    host = Func(store, FuncType(kinds, kinds), lambda *values: values)
    exports = instantiate(
        f"""(module (import "" "" (func $h (param {text}) (result {text})))
        (func (export "f") (param {text}) (result {text}) {gets} call $h))""",
        host,
    )
    values = [v for i in range(6) for v in (i, i + 0.5, -i, i * 0.25, f"object {i}")]
    assert exports["f"](store, *values) == values


def test_functions_as_values(store: Store, instantiate: Any) -> None:
    function = identity(store, I32)
    assert identity(store, FUNCREF)(store, function) is function
    exports = instantiate(
        """(module (func $two (export "two") (result i32) i32.const 2)
        (func (export "get") (result funcref) ref.func $two))"""
    )
    two = exports["get"](store)
    assert two is exports["two"]
    assert two(store) == 2


@pytest.mark.parametrize(
    "exception", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), Trap("own trap"), TypeError("t")]
)
def test_exceptions_pass_through_wasm(store: Store, instantiate: Any, exception: BaseException) -> None:
    def fail() -> None:
        raise exception

    exports = instantiate(
        '(module (import "" "" (func $h)) (func (export "f") call $h))', Func(store, FuncType([], []), fail)
    )
    for _ in range(3):
        with pytest.raises(type(exception)) as caught:
            exports["f"](store)
        assert caught.value is exception
    names = []
    traceback = caught.tb
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-1] == "fail"


def test_a_host_function_runs_once_even_if_it_raises_typeerror(store: Store) -> None:
    """The call is repeated with converted arguments only if C refused them before entering."""
    calls = []

    def fail(*values: Any) -> None:
        calls.append(values)
        raise TypeError("from inside")

    for kinds, values in (
        ([I32], [1]),
        ([I32], [True]),
        ([I32, F32], [Val.i32(1), 2.0]),
        ([EXTERNREF], [Val.externref(1)]),
    ):
        calls.clear()
        with pytest.raises(TypeError, match="from inside"):
            Func(store, FuncType(kinds, []), fail)(store, *values)
        assert len(calls) == 1


def test_nesting(store: Store, instantiate: Any) -> None:
    exports: Any = None

    def down(n: int) -> int:
        return 0 if n == 0 else 1 + int(exports["f"](store, n - 1))

    exports = instantiate(
        """(module (import "" "" (func $h (param i32) (result i32)))
        (func (export "f") (param i32) (result i32) local.get 0 call $h))""",
        Func(store, FuncType([I32], [I32]), down),
    )
    assert exports["f"](store, 50) == 50


def test_call_unchecked_moves_bits(store: Store, instantiate: Any) -> None:
    exports = instantiate(
        """(module (func (export "f") (param f32 f64 i32 i64) (result i64 i32 f64 f32)
        local.get 3 local.get 2 local.get 1 local.get 0)
        (func (export "none")) (func (export "one") (result f32) f32.const nan:0x200001))"""
    )
    nan, long_nan = 0x7FA00001, 0x7FF0000000000001  # signalling
    slots = exports["f"].call_unchecked(store, [nan, long_nan, 0xFFFFFFFF, 1 << 63])
    assert [slots[0], slots[1] & 0xFFFFFFFF, slots[2], slots[3] & 0xFFFFFFFF] == [1 << 63, 0xFFFFFFFF, long_nan, nan]
    assert exports["none"].call_unchecked(store, []) == []
    assert exports["one"].call_unchecked(store, []) == [nan]
    with pytest.raises(WasmError, match="too few parameters"):
        exports["f"].call_unchecked(store, [1])


def test_type_and_constructor(store: Store) -> None:
    kind = FuncType([I32], [F64, F64])
    assert Func(store, kind, lambda n: (1.0, 2.0)).type(store) == kind
    with pytest.raises(TypeError, match="expected a Store"):
        Func(3, kind, print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a FuncType"):
        Func(store, 3, print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a callable"):
        Func(store, kind, 3)  # type: ignore[arg-type]


def test_stores_do_not_mix(engine: Engine, store: Store) -> None:
    function = identity(store, I32)
    assert function(store, 1) == 1
    with Store(engine) as other:
        for use in (
            lambda: function(other, 1),
            lambda: function.type(other),
            lambda: function.call_unchecked(other, [1]),
        ):
            with pytest.raises(WasmError, match="function belongs to another Store"):
                use()
        with pytest.raises(WasmError, match="function belongs to another Store"):
            identity(other, FUNCREF)(other, function)
    for wrong in (3, None, function):
        with pytest.raises(TypeError, match="expected a Store"):
            function(wrong, 1)  # type: ignore[arg-type]
    store.close()
    closed: list[Callable[[], Any]] = [
        lambda: function(store, 1),
        lambda: function.type(store),
        lambda: Func(store, FuncType([], []), print),
    ]
    for use in closed:
        with pytest.raises(ClosedError, match="store is closed"):
            use()


def test_one_thread_at_a_time(engine: Engine) -> None:
    store = Store(engine)
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert leave.wait(120)

    function = Func(store, FuncType([], []), wait)
    other = Func(store, FuncType([], []), lambda: None)
    thread = threading.Thread(target=function, args=(store,))
    thread.start()
    try:
        assert inside.wait(120)
        with pytest.raises(WasmError, match="another thread"):
            other(store)
        with pytest.raises(WasmError, match="cannot be closed while its code is running"):
            store.close()
    finally:
        leave.set()
        thread.join()
    other(store)
    store.close()


def test_host_functions_do_not_keep_their_store(engine: Engine) -> None:
    """A host function that refers to its own store is a cycle through C; the collector must see it."""

    class Payload:
        pass

    payload = Payload()
    seen = weakref.ref(payload)
    store = Store(engine)

    def host(kept: Any = payload, own: Store = store) -> None:
        own.data()

    module = Module(engine, '(module (import "" "" (func $h)) (func (export "f") call $h))')
    instance = Instance(store, module, [Func(store, FuncType([], []), host)])
    instance.exports(store)["f"](store)
    del store, host, payload, instance
    gc.collect()
    assert seen() is None


def test_typed(store: Store, engine: Engine, instantiate: Any) -> None:
    exports = instantiate(
        """(module (func (export "add") (param i32 f64) (result f64) local.get 0 f64.convert_i32_s local.get 1 f64.add)
        (func (export "swap") (param i32 i64) (result i64 i32) local.get 1 local.get 0)
        (func (export "none")) (func (export "same") (param externref funcref) (result externref funcref)
        local.get 0 local.get 1) (func (export "trap") unreachable))"""
    )
    add = exports["add"].typed(store)
    assert type(add) is TypedFunc and repr(add) == "<TypedFunc [i32 f64] -> [f64]>"
    assert add(2, 0.5) == 2.5
    assert exports["add"].typed(store) is add
    assert exports["swap"].typed(store)(1, 2) == [2, 1]
    assert exports["none"].typed(store)() is None
    assert exports["same"].typed(store)("any", add and exports["add"]) == ["any", exports["add"]]
    assert exports["same"].typed(store)(None, None) == [None, None]
    with pytest.raises(Trap, match="unreachable"):
        exports["trap"].typed(store)()
    for arguments in ((1,), (1, 2.0, 3)):
        with pytest.raises(WasmError, match="parameters provided"):
            add(*arguments)
    assert add(Val.i32(1), 2.0) == 3.0
    with pytest.raises(TypeError, match="parameter 1"):
        add("1", 2.0)
    with Store(engine) as other, pytest.raises(WasmError, match="function belongs to another Store"):
        exports["add"].typed(other)
    store.close()
    with pytest.raises(WasmError, match="store is closed"):
        add(2, 0.5)
    with pytest.raises(ClosedError):
        exports["add"].typed(store)


def test_typed_keeps_its_store(engine: Engine) -> None:
    def make() -> Callable[..., Any]:
        store = Store(engine)
        return Func(store, FuncType([I32], [I32]), lambda n: n + 1).typed(store)

    call = make()
    gc.collect()
    assert call(1) == 2


def test_native_address(store: Store, engine: Engine, instantiate: Any) -> None:
    exports = instantiate('(module (func (export "a")) (func (export "b") nop) (func (export "c") unreachable))')
    addresses = [function.native_address(store) for function in exports.values()]
    assert len(set(addresses)) == 3 and all(0 < address < 1 << 64 for address in addresses)
    for address in addresses:
        with open("/proc/self/maps") as maps:
            ranges = [line.split()[:2] for line in maps]
        assert any(
            int(span.split("-")[0], 16) <= address < int(span.split("-")[1], 16) and "x" in rights
            for span, rights in ranges
        )
    store.close()
    with pytest.raises(ClosedError):
        exports["a"].native_address(store)


# ---- C functions ----


def test_native_imports_and_exports(store: Store, engine: Engine) -> None:
    f64 = ValType.f64()
    prototype = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_double)
    power = prototype(("pow", ctypes.CDLL("libm.so.6")))
    type = FuncType([f64, f64], [f64])
    function = Func.native(store, type, power)
    assert function(store, 2.0, 10.0) == 1024.0 and function.typed(store)(3.0, 2.0) == 9.0
    linker = Linker(engine)
    linker.define_native("math", "pow", type, power)
    text = """(module (import "math" "pow" (func $pow (param f64 f64) (result f64)))
        (func (export "cube") (param f64) (result f64) (call $pow (local.get 0) (f64.const 3))))"""
    cube = linker.instantiate(store, Module(engine, text)).exports(store)["cube"]
    assert isinstance(cube, Func) and cube(store, 3.0) == 27.0
    back = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(cube.native_address(store))
    assert back(2.0) == 8.0
    assert cube.native_address(store) == cube.native_address(store)
    store.check_native_calls()


def test_native_functions_of_all_kinds(store: Store) -> None:
    ffi = cffi.FFI()
    ffi.cdef("int abs(int); double ldexp(double, int); int printf(const char *, ...);")
    libc = ffi.dlopen(None)
    assert Func.native(store, FuncType([I32], [I32]), ffi.addressof(libc, "abs"))(store, -5) == 5
    address = int(ffi.cast("uintptr_t", ffi.addressof(libc, "abs")))
    assert Func.native(store, FuncType([I32], [I32]), address)(store, -6) == 6
    with pytest.raises(TypeError, match=r"the C function is \(int32\) -> int32, not \(int64\) -> int32"):
        Func.native(store, FuncType([I64], [I32]), ffi.addressof(libc, "abs"))
    with pytest.raises(TypeError, match="variable arguments"):
        Func.native(store, FuncType([I32], [I32]), ffi.addressof(libc, "printf"))
    with pytest.raises(TypeError, match=r"\(float32\) -> void, not \(float64\) -> void"):
        Func.native(store, FuncType([F64], []), ctypes.CFUNCTYPE(None, ctypes.c_float)(print))
    with pytest.raises(TypeError, match="c_void_p"):
        Func.native(store, FuncType([I64], []), ctypes.CFUNCTYPE(None, ctypes.c_void_p)(print))

    class Compiled:  # what numba.cfunc makes, as far as we look at it
        class _sig:
            args = ("int32",)
            return_type = "int32"

    compiled = Compiled()
    compiled.address = address  # type: ignore[attr-defined]
    assert Func.native(store, FuncType([I32], [I32]), compiled)(store, -7) == 7
    Compiled._sig.args = ("int32", "float64")  # type: ignore[assignment]
    with pytest.raises(TypeError, match="float64"):
        Func.native(store, FuncType([I32], [I32]), compiled)
    for wrong in (True, 0, -1, 1 << 64, "abs", None, print):
        with pytest.raises(TypeError, match="C function"):
            Func.native(store, FuncType([I32], [I32]), wrong)
    for type in (FuncType([EXTERNREF], []), FuncType([], [I32, I32])):
        with pytest.raises(TypeError, match="C functions"):
            Func.native(store, type, address)
        with pytest.raises(TypeError, match="C functions"):
            Func(store, type, lambda *_: (1, 2)).native_address(store)


def test_failures_of_native_calls_are_raised_later(store: Store, instantiate: Any) -> None:
    exports = instantiate('(module (func (export "trap") (result i32) unreachable) (func (export "fine")))')

    def fail() -> int:
        raise KeyError("host")

    failing = Func(store, FuncType([], [I32]), fail)
    prototypes = [ctypes.CFUNCTYPE(ctypes.c_int32), ctypes.PYFUNCTYPE(ctypes.c_int32)]
    for prototype in prototypes:
        assert prototype(exports["trap"].native_address(store))() == 0
        with pytest.raises(Trap, match="unreachable"):
            exports["fine"](store)
        assert exports["fine"](store) is None
        assert prototype(failing.native_address(store))() == 0
        assert prototype(exports["trap"].native_address(store))() == 0  # the first failure is kept
        with pytest.raises(KeyError, match="host"):
            store.check_native_calls()
        store.check_native_calls()
    address = failing.native_address(store)
    store.close()
    assert prototypes[0](address)() == 0, "a closed store cannot be entered"


def test_native_calls_from_threads_python_does_not_know(store: Store, instantiate: Any) -> None:
    """A thread that C started calls wasm, which calls Python."""
    seen = []
    host = Func(store, FuncType([I32], [I32]), lambda n: seen.append(threading.get_ident()) or n + 1)
    text = """(module (import "" "h" (func $h (param i32) (result i32)))
        (func (export "f") (result i32) (call $h (i32.const 4))))"""
    address = instantiate(text, host)["f"].native_address(store)
    libc = ctypes.CDLL(None)
    thread = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(address), None) == 0
    assert libc.pthread_join(thread, None) == 0
    assert len(seen) == 1 and seen[0] != threading.get_ident()
    store.check_native_calls()


# ---- map ----


def test_map(store: Store, instantiate: Any) -> None:
    exports = instantiate(
        """(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
        (func (export "mix") (param f32 i64) (result i64 f64 f32 i32) (local.get 1) (f64.promote_f32 (local.get 0))
            (local.get 0) (i32.wrap_i64 (local.get 1)))
        (global $g (mut i32) (i32.const 0))
        (func (export "sum") (param i32) (global.set $g (i32.add (global.get $g) (local.get 0))))
        (func (export "total") (result i32) (global.get $g))
        (func (export "check") (param i32) (result i32) (i32.div_s (i32.const 100) (local.get 0)))
        (func (export "refers") (param externref)))"""
    )
    add, mix, check = (exports[name].typed(store) for name in ("add", "mix", "check"))
    numbers = numpy.arange(12, dtype="i4")
    assert (add.map(numbers, numbers) == 2 * numbers).all() and add.map(numbers, numbers).dtype == numpy.int32
    assert (add.map(numbers[::3], 5) == numbers[::3] + 5).all()
    table = numbers.reshape(3, 4)
    assert (add.map(table.T, table[0][:, None]) == table.T + table[0][:, None]).all()
    assert add.map(numpy.int8(3), 4).shape == () and add.map(numpy.int8(3), 4) == 7
    assert add.map(numpy.zeros((0, 3), "i4"), 1).shape == (0, 3)
    assert (add.map(numpy.array([1 << 31, 1], "u4"), 0) == numpy.array([-(1 << 31), 1])).all()
    longs = numpy.array([1 << 40, -1])
    floats = numpy.array([1.5, numpy.nan], "f4")
    results = mix.map(floats, longs)
    assert [r.dtype.str for r in results] == ["<i8", "<f8", "<f4", "<i4"]
    assert (results[0] == longs).all() and (results[3] == [0, -1]).all()
    assert numpy.array_equal(results[1], floats, equal_nan=True) and numpy.array_equal(
        results[2], floats, equal_nan=True
    )
    assert exports["sum"].typed(store).map(numbers) is None and exports["total"](store) == numbers.sum()
    out = numpy.zeros((4, 3), "i8")
    assert add.map(table.T, 1, out=out) is out and (out == table.T + 1).all()
    unaligned = numpy.frombuffer(b"x" + numbers.tobytes(), "i4", offset=1)
    assert (add.map(unaligned, 1) == numbers + 1).all()
    with pytest.raises(Trap, match="divide by zero") as caught:
        check.map(numpy.array([5, 2, 0, 1]), out=(made := numpy.full(4, -1, "i4")))
    assert list(made) == [20, 50, -1, -1]
    if sys.version_info >= (3, 11):
        assert caught.value.__notes__ == ["in element 2 of 4 of TypedFunc.map"]


def test_map_refuses(store: Store, instantiate: Any) -> None:
    exports = instantiate(
        """(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
        (func (export "refers") (param externref)) (func (export "none")))"""
    )
    add = exports["add"].typed(store)
    for arguments in ((), ([1],), ([1], [2], [3])):
        with pytest.raises(TypeError, match="expected 2 arrays"):
            add.map(*arguments)
    with pytest.raises(TypeError, match="expected 0 arrays"):
        exports["none"].typed(store).map()
    with pytest.raises(TypeError, match="parameter 2: an array of float64 does not convert to i32"):
        add.map([1], [1.0])
    with pytest.raises(TypeError, match=r"parameter 1: 1\.5 is no i32"):
        add.map(1.5, [1])
    with pytest.raises(OverflowError, match="parameter 1: 4294967296 does not fit i32"):
        add.map(1 << 32, [1])
    with pytest.raises(TypeError, match="no elements of type externref"):
        exports["refers"].typed(store).map([None])
    with pytest.raises(ValueError, match="broadcast"):
        add.map([1, 2], [1, 2, 3])
    for wrong, error in (
        (numpy.zeros(3, "i4"), ValueError),
        (numpy.zeros(2, "i2").view("V2"), TypeError),
        ([0, 0], TypeError),
        ((numpy.zeros(2, "i4"),) * 2, TypeError),
        (numpy.broadcast_to(numpy.int32(0), 2), ValueError),
    ):
        with pytest.raises(error, match="out: "):
            add.map([1, 2], 1, out=wrong)
    store.close()
    with pytest.raises(WasmError, match="store is closed"):
        add.map([1], [2])
