"""Exceptions: within wasm, out of it, into it, and through everything that may be in between."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wasmjit import (
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    Instance,
    Linker,
    Module,
    Store,
    Tag,
    TagType,
    Trap,
    UnsupportedError,
    ValType,
    WasmError,
    WasmException,
    abi,
    wat2wasm,
)
from wasmjit.runtime.native import lib
from wasmjit.target import host_machine

I32 = ValType.i32()
TIERS = ("none", "speed", "auto")

PASS = """(module (import "" "t" (tag $t (param i32))) (import "" "f" (func $f (param i32) (result i32)))
    (func (export "throw") (param i32) (result i32) (throw $t (local.get 0)))
    (func $g (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1)))
    (func (export "catch") (param i32) (result i32) (local $was i32)
        (local.set $was (i32.const 1000))
        (block $caught (result i32)
            (try_table (result i32) (catch $t $caught)
                (local.set $was (i32.const 2000))
                (call $g (local.get 0)))
            (return))
        (i32.add (local.get $was))))"""


@pytest.fixture(params=TIERS, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    tier = "auto" if request.param == "auto" else "optimized"
    with Engine(Config(tier=tier, opt_level="none" if request.param == "none" else "speed")) as made:
        yield made


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    with Store(engine) as made:
        yield made


def tag_of(store: Store, *params: ValType) -> Tag:
    return Tag(store, TagType(FuncType(params, [])))


def exports(store: Store, text: str, *imports: Any) -> Any:
    return Instance(store, Module(store.engine, text), imports).exports(store)


def host(store: Store, function: Callable[[int], int]) -> Func:
    return Func(store, FuncType([I32], [I32]), function)


def test_out_of_wasm(store: Store) -> None:
    text = """(module $m (tag $t (export "t") (param i32 i64 f32 f64 v128 externref funcref))
        (func $f (export "f") (param externref) (throw $t (i32.const -1) (i64.const 2) (f32.const 0.5) (f64.const 0.25)
            (v128.const i64x2 3 4) (local.get 0) (ref.func $f)))
        (func $g (export "g") (param externref) (call $f (local.get 0))))"""
    made = exports(store, text)
    something = object()
    with pytest.raises(WasmException) as caught:
        made["g"](store, something)
    error = caught.value
    assert error.tag.eq(store, made["t"]) and not error.tag.eq(store, tag_of(store))
    *numbers, reference, function = error.values
    assert numbers == [-1, 2, 0.5, 0.25, (3).to_bytes(8, "little") + (4).to_bytes(8, "little")]
    assert reference is something and isinstance(function, Func)
    assert [frame.func_name for frame in error.frames] == ["f", "g"]
    assert "exception of WebAssembly" in str(error)
    assert [entry.name for entry in caught.traceback[-2:]] == ["g", "f"]


def test_caught_in_wasm_with_its_locals(store: Store) -> None:
    tag = tag_of(store, I32)
    thrower = exports(store, PASS, tag, host(store, lambda value: 0))["throw"]
    made = exports(store, PASS, tag, thrower)
    assert made["catch"](store, 7) == 2007
    other = exports(store, PASS, tag_of(store, I32), thrower)  # another tag of the same type
    with pytest.raises(WasmException) as caught:
        other["catch"](store, 7)
    assert caught.value.values == (7,)


def test_raised_by_a_host_function(store: Store) -> None:
    tag = tag_of(store, I32)
    foreign = Store(store.engine)
    raised: list[BaseException] = [
        WasmException(tag, [5]),
        KeyError("mine"),
        WasmException(tag_of(foreign, I32), [1]),
        KeyboardInterrupt(),
        Trap("stop"),
    ]

    def function(number: int) -> int:
        if number < len(raised):
            raise raised[number]
        return number

    made = exports(store, PASS, tag, host(store, function))
    assert made["catch"](store, 0) == 2005
    assert made["catch"](store, 99) == 100
    for number in range(1, len(raised)):
        with pytest.raises(BaseException) as caught:
            made["catch"](store, number)
        assert caught.value is raised[number]
        assert "function" in [entry.name for entry in caught.traceback]
    other = tag_of(store)
    passing = host(store, lambda number: (_ for _ in ()).throw(WasmException(other)))
    with pytest.raises(WasmException) as again:  # not the same object: wasm has had it
        exports(store, PASS, tag, passing)["catch"](store, 0)
    assert again.value.tag.eq(store, other) and again.value.values == ()
    bad = host(store, lambda number: (_ for _ in ()).throw(WasmException(tag, ["no number"])))
    with pytest.raises(TypeError, match="don't know how to convert"):
        exports(store, PASS, tag, bad)["catch"](store, 0)
    foreign.close()


def test_through_python_and_back(store: Store) -> None:
    """Wasm throws through a host function that calls it, and wasm around that catches."""
    tag = tag_of(store, I32)
    throw = exports(store, PASS, tag, host(store, lambda value: 0))["throw"]
    seen: list[WasmException] = []

    def function(value: int) -> int:
        try:
            return int(throw(store, value))
        except WasmException as error:
            seen.append(error)
            raise

    assert exports(store, PASS, tag, host(store, function))["catch"](store, 3) == 2003
    assert [error.values for error in seen] == [(3,)]


def test_references_to_exceptions(store: Store) -> None:
    text = """(module (tag $t (param i32)) (global $kept (mut exnref) (ref.null exn)) (table $all 10 exnref)
        (func (export "keep") (param i32)
            (block $caught (result exnref)
                (try_table (catch_all_ref $caught) (throw $t (local.get 0)))
                (unreachable))
            (global.set $kept)
            (table.set $all (i32.const 3) (global.get $kept)))
        (func (export "again") (result i32)
            (block $caught (result i32)
                (try_table (catch $t $caught) (throw_ref (table.get $all (i32.const 3))))
                (unreachable)))
        (func (export "null") (throw_ref (ref.null exn)))
        (func (export "give") (result exnref) (global.get $kept))
        (func (export "take") (param exnref) (result i32) (local exnref)
            (local.set 1 (local.get 0)) (ref.is_null (local.get 1))))"""
    made = exports(store, text)
    assert made["give"](store) is None and made["take"](store, None) == 1
    for number in (1, 2):
        made["keep"](store, number)
        assert made["again"](store) == made["again"](store) == number
    with pytest.raises(Trap, match="null reference"):
        made["null"](store)
    with pytest.raises(WasmError, match="exnref"):
        made["give"](store)
    with pytest.raises(TypeError, match="exnref"):
        made["take"](store, object())


def exception_bytes(store: Store) -> int:
    return int(lib.wj_store_exception_bytes(store._record.open().pointer))


def test_exceptions_are_freed(store: Store) -> None:
    text = """(module (tag $t (param i32))
        (func $throw (throw $t (i32.const 1)))
        (func (export "plain") (param i32)
            (loop $again
                (block $caught (result i32) (try_table (catch $t $caught) (call $throw)) (unreachable))
                (drop)
                (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
        (func (export "reference") (param i32)
            (loop $again
                (block $caught (result exnref) (try_table (catch_all_ref $caught) (call $throw)) (unreachable))
                (drop)
                (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
        (func (export "out") (throw $t (i32.const 1))))"""
    made = exports(store, text)
    made["plain"](store, 1000)
    assert exception_bytes(store) == 0
    made["reference"](store, 1000)
    assert exception_bytes(store) == 0
    for _ in range(10):
        with pytest.raises(WasmException):
            made["out"](store)
        assert exception_bytes(store) < 100


@pytest.mark.slow
def test_exceptions_have_a_limit(store: Store) -> None:
    """Millions within one call, to each of which there may be a reference."""
    text = """(module (tag $t (param i32)) (func $throw (throw $t (i32.const 1)))
        (func (export "f")
            (loop $again
                (block $caught (result exnref) (try_table (catch_all_ref $caught) (call $throw)) (unreachable))
                (drop)
                (br $again))))"""
    made = exports(store, text)
    for _ in range(2):
        with pytest.raises(Trap, match="allocation size too large"):
            made["f"](store)
        assert exception_bytes(store) == 0


def test_traps_are_not_caught(store: Store) -> None:
    text = """(module (func $f unreachable) (func $r (call $r))
        (func (export "trap") (block $caught (try_table (catch_all $caught) (call $f))))
        (func (export "deep") (block $caught (try_table (catch_all $caught) (call $r)))))"""
    made = exports(store, text)
    for name, reason in (("trap", "unreachable"), ("deep", "call stack exhausted")):
        with pytest.raises(Trap, match=reason):
            made[name](store)


def test_calls_with_many_operands(store: Store) -> None:
    """More than there are registers for, and results of all kinds."""
    kinds = ("i32", "f64", "i64", "f32") * 6
    params, results = " ".join(kinds), " ".join(kinds[:7])
    locals_ = " ".join(f"(local.get {number})" for number in range(len(kinds)))
    text = f"""(module (tag $t (param {params})) (type $k (func (param {params}) (result {results})))
        (func $f (type $k) (if (local.get 0) (then (throw $t {locals_})))
            {" ".join(f"(local.get {number})" for number in range(7))})
        (func (export "f") (param {params}) (result {params})
            (block $caught (result {params})
                (try_table (result {results}) (catch $t $caught) (call $f {locals_}))
                {" ".join(f"(local.get {number})" for number in range(7, len(kinds)))}
                (return))))"""
    made = exports(store, text)
    for first in (0, 1):
        values = [first, *(n if kind[0] == "i" else n / 2 for n, kind in enumerate(kinds[1:], 1))]
        assert made["f"](store, *values) == values


def test_nothing_is_in_a_register_at_a_landing(store: Store) -> None:
    """Whatever is used behind a call lies in the frame: few values, for which there are registers; and many."""
    for count in (1, 60):
        numbers = range(count)
        set_all = [
            f"(local.set {2 * n + 3} (i64.mul (local.get 1) (i64.const {n + 2})))"
            f"(local.set {2 * n + 4} (f64.mul (local.get 2) (f64.const {n + 3})))"
            for n in numbers
        ]
        add_all = [
            f"(i64.add (local.get {2 * n + 3})) (i64.add (i64.trunc_f64_s (local.get {2 * n + 4})))" for n in numbers
        ]
        text = f"""(module (tag $t)
            (func $f (param i32) (if (local.get 0) (then (throw $t))))
            (func (export "f") (param i32 i64 f64) (result i64)
                {"(local i64 f64)" * count}
                {" ".join(set_all)}
                (block $caught (try_table (catch $t $caught) (call $f (local.get 0))))
                (i64.const 0) {" ".join(add_all)}))"""
        expected = sum(5 * (n + 2) + 7 * (n + 3) for n in numbers)
        made = exports(store, text)
        assert [made["f"](store, thrown, 5, 7.0) for thrown in (0, 1)] == [expected] * 2


def test_a_landing_far_away(store: Store) -> None:
    """Further than half of a mark on AArch64 tells."""
    between = "(i32.store8 (i32.const 0) (local.get 0))" * 5000
    text = f"""(module (memory 1) (tag $t)
        (func $f (param i32) (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $t))))
        (func (export "f") (param i32) (result i32)
            (block $caught
                (try_table (catch $t $caught)
                    (call $f (local.get 0)) {between} (call $f (i32.sub (local.get 0) (i32.const 1))))
                (return (i32.const 5)))
            (i32.load8_u (i32.const 0))))"""
    made = exports(store, text)
    assert [made["f"](store, given) for given in (1, 0, 2)] == [0, 5, 2]


def test_for_another_architecture() -> None:
    """LLVM would need to read the other one's assembly, which it ends the process for."""
    other = "aarch64" if host_machine() == "x86_64" else "x86_64"
    text = """(module (func $f)
        (func (export "f") (block $caught (try_table (catch_all $caught) (call $f)))))"""
    with Engine(Config(target=f"{other}-unknown-linux-gnu")) as engine:
        assert engine.precompile_module(wat2wasm(text.replace("(catch_all $caught)", "")))
        with pytest.raises(UnsupportedError, match="cannot be compiled for another architecture"):
            engine.precompile_module(wat2wasm(text))


WITHOUT_TAGS = """(module (import "m" "table" (table 2 2 funcref)) (type $s (func (param i32) (result i32)))
    (func (export "call") (param i32) (result i32) (local i32)
        (local.set 1 (i32.const 3))
        (if (i32.eqz (local.get 0))
            (then (return (call_indirect (type $s) (local.get 0) (i32.const 0)))))
        (i32.add (call_indirect (type $s) (i32.sub (local.get 0) (i32.const 1)) (i32.const 1)) (local.get 1))))"""
WITH_TAGS = """(module (import "m" "call" (func $call (param i32) (result i32))) (import "m" "probe" (func $probe))
    (tag $t (param i32))
    (table (export "table") 2 2 funcref) (elem (i32.const 0) $throw $again)
    (func $throw (param i32) (result i32) (throw $t (i32.const 42)))
    (func $again (param i32) (result i32) (call $call (local.get 0)))
    (func $catch (export "catch") (param i32) (result i32)
        (block $caught (result i32)
            (try_table (result i32) (catch $t $caught) (call $call (local.get 0)))))
    (func (export "many") (param i32 i32) (result i32) (local i32)
        (loop $again
            (block $caught (result i32)
                (try_table (result i32) (catch $t $caught) (call $call (local.get 0))))
            (local.set 2 (i32.add (local.get 2)))
            (br_if $again (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
        (local.get 2))
    (func (export "probed") (param i32)
        (call $probe) (drop (call $catch (local.get 0))) (call $probe)))"""


def through_other_code(store: Store, probe: Callable[[], None] = lambda: None) -> Any:
    """The exports of a module whose calls lead through frames of one that knows of no exceptions, many times."""
    linker = Linker(store.engine)
    linker.define_func("m", "probe", FuncType([], []), probe)
    for name, text in (("m", '(module (table (export "table") 2 2 funcref))'), ("n", WITHOUT_TAGS)):
        linker.define_instance(store, name, linker.instantiate(store, Module(store.engine, text)))
    linker.define(store, "m", "call", linker.get(store, "n", "call"))
    made = linker.instantiate(store, Module(store.engine, WITH_TAGS)).exports(store)
    table: Any = linker.get(store, "m", "table")
    for index in range(2):
        table.set(store, index, made["table"].get(store, index))
    return made


def test_through_code_without_tags(store: Store) -> None:
    """In tier auto it is interpreted, or code from stencils."""
    made = through_other_code(store)
    assert [made["catch"](store, depth) for depth in (0, 1, 2, 50)] == [42] * 4
    assert made["many"](store, 20, 500) == 42 * 500
    with pytest.raises(Trap, match="call stack exhausted"):
        made["catch"](store, 1 << 30)
    assert made["catch"](store, 3) == 42


def test_through_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasmjit.thresholds.STENCILS", False)
    with Engine(Config(tier="auto")) as engine, Store(engine) as store:
        limits: list[int] = []
        native = store._record.open()
        made = through_other_code(store, lambda: limits.append(native.read_word(abi.STORE["stack_limit"])))
        assert [made["catch"](store, depth) for depth in (0, 1, 2, 50)] == [42] * 4
        assert made["many"](store, 20, 500) == 42 * 500
        made["probed"](store, 20)  # the interpreter has lowered the limit, which is put back
        assert limits[0] == limits[1]


@pytest.mark.parametrize("tier", ["optimized", "auto"])
def test_fuel_is_the_same_where_it_is_caught(tier: str) -> None:
    with Engine(Config(tier=tier, consume_fuel=True)) as engine, Store(engine, fuel=10_000) as store:
        made = through_other_code(store)
        assert made["catch"](store, 5) == 42
        assert store.get_fuel() == 9_914


def test_many_comparisons_and_handlers(store: Store) -> None:
    """Names of values and labels are numbered alike: they have to differ."""
    tests = " ".join(f"(drop (i32.add (i32.eq (local.get 0) (i32.const {n})) (local.get 0)))" for n in range(40))
    tries = " ".join("(block $caught (try_table (catch $t $caught) (catch_all $caught) (call $f)))" for _ in range(40))
    text = f"""(module (tag $t) (func $f (throw $t))
        (func (export "f") (param i32) (result i32) {tests} {tries} {tests} {tries} (local.get 0)))"""
    assert exports(store, text)["f"](store, 4) == 4


def test_wasm_exception_objects(store: Store) -> None:
    tag = tag_of(store, I32)
    error = WasmException(tag, [1])
    assert error.tag is tag and error.values == (1,) and error.frames == []
    with pytest.raises(TypeError, match="expected 1 values"):
        WasmException(tag)
    with pytest.raises(TypeError, match="expected a Tag"):
        WasmException(1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "(tag)",
        "(func (block (try_table (catch_all 0))))",
        "(func (throw_ref (unreachable)))",
        "(func (local exnref))",
    ],
)
def test_exceptions_off(text: str) -> None:
    with pytest.raises(UnsupportedError, match="feature exceptions is off"):
        Module.validate(Engine(Config(wasm_exceptions=False)), wat2wasm(f"(module {text})"))


def test_globals_of_python_have_no_exnref(store: Store) -> None:
    made = exports(store, '(module (global (export "g") (mut exnref) (ref.null exn)))')
    assert isinstance(made["g"], Global)
    with pytest.raises(TypeError, match="exnref"):
        made["g"].set_value(store, object())
    made["g"].set_value(store, None)


def test_callers_of_c_on_many_threads(store: Store) -> None:
    """Each waits for the GIL to be told what left its call, and another one throws in the store meanwhile."""
    text = """(module (tag $t (param i32)) (func (export "f") (param i32) (throw $t (local.get 0))))"""
    thrown = exports(store, text)["f"]
    called = ctypes.CFUNCTYPE(None, ctypes.c_int32)(thrown.native_address(store))
    threads = [threading.Thread(target=lambda: [called(7) for _ in range(300)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises((WasmException, WasmError)):
        store.check_native_calls()
