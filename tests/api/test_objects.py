"""Objects of garbage collection: what instructions do beside the suite, and how Python sees them."""

from __future__ import annotations

import copy
import gc
from array import array
from typing import Any

import pytest

from wasmjit import (
    ArrayRef,
    ArrayType,
    Config,
    Engine,
    FieldType,
    Instance,
    LinkError,
    Module,
    Store,
    Trap,
    TrapCode,
    ValType,
    WasmError,
)

TYPES = """
  (type $point (sub (struct (field $x (mut i32)) (field $host (mut externref)))))
  (type $dot (sub final $point (struct (field (mut i32)) (field (mut externref)) (field $size i8))))
  (type $ints (array (mut i32))) (type $longs (array (mut i64))) (type $words (array (mut anyref)))"""
MODULE = f"""(module {TYPES}
  (func (export "point") (param i32 externref) (result (ref $point))
    (struct.new $point (local.get 0) (local.get 1)))
  (func (export "dot") (param i32) (result anyref) (struct.new $dot (local.get 0) (ref.null extern) (i32.const -1)))
  (func (export "x") (param (ref $point)) (result i32) (struct.get $point $x (local.get 0)))
  (func (export "host") (param (ref $point)) (result externref) (struct.get $point $host (local.get 0)))
  (func (export "is_dot") (param (ref null $point)) (result i32) (ref.test (ref $dot) (local.get 0)))
  (func (export "any") (param anyref) (result anyref) (local.get 0))
  (func (export "eq") (param eqref) (result eqref) (local.get 0))
  (func (export "i31") (param i31ref) (result i32) (i31.get_s (local.get 0)))
  (func (export "struct") (param structref))
  (func (export "out") (param anyref) (result externref) (extern.convert_any (local.get 0)))
  (func (export "in") (param externref) (result anyref) (any.convert_extern (local.get 0)))
  (func (export "longs") (param i32) (result i32) (array.len (array.new_default $longs (local.get 0))))
  (func (export "ints") (param i32 i32) (result (ref $ints)) (array.new $ints (local.get 0) (local.get 1)))
  (func (export "fill") (param (ref $ints) i32 i32 i32)
    (array.fill $ints (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
  (func (export "copy") (param (ref $ints) i32 (ref $ints) i32 i32)
    (array.copy $ints $ints (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))
  (func (export "get") (param (ref null $ints) i32) (result i32) (array.get $ints (local.get 0) (local.get 1)))
  (global (export "mine") (mut anyref) (ref.null any))
  (table (export "all") 2 structref))"""


@pytest.fixture(scope="module")
def module() -> Module:
    return Module(Engine(Config(tier="optimized")), MODULE)


@pytest.fixture
def store(module: Module) -> Store:
    return Store(module.engine)


@pytest.fixture
def exports(module: Module, store: Store) -> Any:
    return Instance(store, module, []).exports(store)


def test_references_are_equal_by_identity(store: Store, exports: Any) -> None:
    point, other = exports["point"](store, 7, None), exports["point"](store, 7, None)
    assert point == exports["any"](store, point) != other and point != 7 and len({point, point, other}) == 2
    assert exports["x"](store, point) == 7 and exports["is_dot"](store, point) == 0
    dot = exports["dot"](store, 8)
    assert exports["x"](store, dot) == 8 and exports["is_dot"](store, dot) == 1 and exports["is_dot"](store, None) == 0
    array = exports["ints"](store, 3, 4)
    assert (point.kind, dot.kind, array.kind) == ("struct", "struct", "array")


def test_types_are_checked_on_the_way_in(store: Store, exports: Any) -> None:
    array = exports["ints"](store, 3, 4)
    for name, value in (
        ("x", array), ("x", 5), ("x", None), ("struct", array), ("struct", 5), ("i31", array), ("eq", "some"),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            exports[name](store, value)
    with pytest.raises(OverflowError):
        exports["i31"](store, 1 << 31)


def test_integers_are_i31s(store: Store, exports: Any) -> None:
    for number in (0, 1, -1, (1 << 30) - 1, -(1 << 30)):
        assert exports["any"](store, number) == exports["eq"](store, number) == exports["i31"](store, number) == number
    assert exports["any"](store, (1 << 31) - 1) == -1
    assert exports["out"](store, 5) == 5


def test_what_is_of_the_host_goes_through_any(store: Store, exports: Any) -> None:
    thing = object()
    assert exports["in"](store, thing) is thing and exports["any"](store, thing) is thing
    assert exports["out"](store, thing) is thing
    point = exports["point"](store, 1, thing)
    outside = exports["out"](store, point)
    assert outside == point and exports["in"](store, outside) == point


def test_objects_keep_what_is_of_the_host(store: Store, exports: Any) -> None:
    """A sweep of externrefs finds none in objects."""
    thing = object()
    point = exports["point"](store, 1, thing)
    store.gc()
    gc.collect()
    assert exports["host"](store, point) is thing


def test_globals_and_tables_have_objects(store: Store, exports: Any) -> None:
    point = exports["point"](store, 1, None)
    exports["mine"].set_value(store, point)
    exports["all"].set(store, 1, point)
    assert exports["mine"].value(store) == point == exports["all"].get(store, 1)
    exports["mine"].set_value(store, 5)
    assert exports["mine"].value(store) == 5
    with pytest.raises(TypeError):
        exports["all"].set(store, 0, 5)


def test_another_store_has_other_objects(store: Store, exports: Any, module: Module) -> None:
    other = Store(module.engine)
    made = Instance(other, module, []).exports(other)["point"](other, 1, None)
    with pytest.raises(WasmError, match="another Store"):
        exports["x"](store, made)


def test_what_is_too_large(store: Store, exports: Any) -> None:
    for length in (-1, 1 << 29):
        with pytest.raises(Trap) as raised:
            exports["longs"](store, length)
        assert raised.value.trap_code == TrapCode.ALLOCATION_TOO_LARGE
    assert exports["longs"](store, 1000) == 1000


def test_traps_of_arrays(store: Store, exports: Any) -> None:
    array = exports["ints"](store, 3, 4)
    for name, operands, code in (
        ("get", (array, 4), TrapCode.ARRAY_OUT_OF_BOUNDS),
        ("get", (array, -1), TrapCode.ARRAY_OUT_OF_BOUNDS),
        ("get", (None, 0), TrapCode.NULL_REFERENCE),
        ("fill", (array, 4, 0, 1), TrapCode.ARRAY_OUT_OF_BOUNDS),
        ("fill", (array, -1, 0, -1), TrapCode.ARRAY_OUT_OF_BOUNDS),
        ("copy", (array, 1, array, 0, 4), TrapCode.ARRAY_OUT_OF_BOUNDS),
    ):
        with pytest.raises(Trap) as raised:
            exports[name](store, *operands)
        assert raised.value.trap_code == code


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9, 15, 16, 17, 40])
def test_copies_overlap(store: Store, exports: Any, count: int) -> None:
    """Of few elements all are read before one is written."""
    for to, from_ in ((3, 0), (0, 3), (5, 5), (41, 0)):
        array = exports["ints"](store, 0, 100)
        expected = list(range(100))
        for index in expected:
            exports["fill"](store, array, index, index, 1)
        exports["copy"](store, array, to, array, from_, count)
        expected[to : to + count] = expected[from_ : from_ + count]
        assert [exports["get"](store, array, index) for index in range(100)] == expected


def test_types_that_differ_in_an_abstract_reference_are_different_types() -> None:
    """Their signatures had the same letters."""
    store = Store()
    give = Instance(
        store, Module(store.engine, '(module (func (export "f") (param eqref) (result i32) (i32.const 1)))'), []
    ).exports(store)["f"]
    for wanted in ("anyref", "structref", "i31ref", "(ref eq)"):
        taker = Module(store.engine, f'(module (import "" "" (func (param {wanted}) (result i32))))')
        with pytest.raises(LinkError):
            Instance(store, taker, [give])
    text = """(module (type $e (func (param eqref) (result i32))) (type $s (func (param structref) (result i32)))
      (table 1 funcref) (elem (i32.const 0) func $f) (func $f (type $e) (i32.const 1))
      (func (export "call") (result i32) (call_indirect (type $s) (ref.null none) (i32.const 0))))"""
    with pytest.raises(Trap) as raised:
        Instance(store, Module(store.engine, text), []).exports(store)["call"](store)
    assert raised.value.trap_code == TrapCode.BAD_SIGNATURE


def test_bulk_instructions_take_fuel_by_their_count() -> None:
    store = Store(Engine(Config(consume_fuel=True)))
    store.set_fuel(1_000_000)
    exports = Instance(store, Module(store.engine, MODULE), []).exports(store)
    array = exports["ints"](store, 0, 10_000)
    before = store.get_fuel()
    exports["fill"](store, array, 0, 1, 10_000)
    middle = store.get_fuel()
    exports["copy"](store, array, 0, array, 0, 10_000)
    assert before - middle > 10_000 and middle - store.get_fuel() > 10_000
    store.set_fuel(100)
    with pytest.raises(Trap) as raised:
        exports["copy"](store, array, 0, array, 0, 10_000)
    assert raised.value.trap_code == TrapCode.OUT_OF_FUEL


def test_exceptions_carry_objects() -> None:
    store = Store()
    text = f"""(module {TYPES} (tag $t (param (ref $point) i64))
      (func $throw (param i32) (throw $t (struct.new $point (local.get 0) (ref.null extern)) (i64.const 2)))
      (func (export "f") (param i32) (result i32) (block $caught (result (ref $point) i64)
        (try_table (catch $t $caught) (call $throw (local.get 0))) (unreachable)) drop struct.get $point $x))"""
    assert Instance(store, Module(store.engine, text), []).exports(store)["f"](store, 9) == 9


def test_modules_without_types_of_objects_test_those_of_others(store: Store, exports: Any) -> None:
    text = """(module (func (export "f") (param anyref) (result i32 i32 i32 i32)
        (ref.test (ref struct) (local.get 0)) (ref.test (ref array) (local.get 0))
        (ref.test (ref i31) (local.get 0)) (ref.test (ref eq) (local.get 0)))
      (func (export "len") (param arrayref) (result i32) (array.len (local.get 0))))"""
    other = Store(Engine())
    found = Instance(other, Module(other.engine, text), []).exports(other)
    assert found["f"](other, 5) == [0, 0, 1, 1] and found["f"](other, None) == [0, 0, 0, 0]
    assert found["f"](other, "some") == [0, 0, 0, 0]
    second = Instance(store, Module(store.engine, text), []).exports(store)
    assert second["f"](store, exports["point"](store, 1, None)) == [1, 0, 0, 1]
    array = exports["ints"](store, 1, 3)
    assert second["f"](store, array) == [0, 1, 0, 1] and second["len"](store, array) == 3
    with pytest.raises(Trap):
        second["len"](store, None)


def test_very_many_types_are_described_in_proportion() -> None:
    """Each was looked for among all that there were; equal ones of another module are the same."""
    types = "\n".join(
        f"(type $t{n} (sub (struct (field {' i32' * (n % 9)}) (field (ref null {n})))))" for n in range(3000)
    )
    text = f"""(module {types}
      (func (export "new") (result anyref) (struct.new_default $t2999))
      (func (export "is") (param anyref) (result i32 i32)
        (ref.test (ref $t2999) (local.get 0)) (ref.test (ref $t17) (local.get 0))))"""
    store = Store(Engine(Config(tier="auto")))
    module = Module(store.engine, text)
    first, second = (Instance(store, module, []).exports(store) for _ in range(2))
    assert first["is"](store, second["new"](store)) == [1, 0]


def test_a_fill_in_a_function_of_many_locals() -> None:
    """The loop's label had the name of a local."""
    locals_set = " ".join(f"(local.set {n} (local.get 0)) (drop (local.get {n}))" for n in range(1, 60))
    text = f"""(module (type $a (array (mut i32)))
      (func (export "f") (param i32) (result i32) (local {"i32 " * 60}) {locals_set}
        (array.get $a (array.new $a (local.get 0) (i32.const 9)) (i32.const 8))))"""
    for tier in ("baseline", "optimized"):
        store = Store(Engine(Config(tier=tier)))
        assert Instance(store, Module(store.engine, text), []).exports(store)["f"](store, 7) == 7


BYTES = ArrayType(FieldType("i8", mutable=True))


def test_references_are_not_copied(store: Store) -> None:
    """A copy had the same place, which two later ones got when both were gone."""
    array = ArrayRef(store, BYTES, b"wasm")
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(array)
    with pytest.raises(WasmError, match="already"):
        array.__init__(store, BYTES, b"")  # type: ignore[misc]
    assert bytes(array) == b"wasm"


def test_python_makes_objects_where_garbage_was() -> None:
    """Nothing was freed before as much as 4 MiB was given out, whatever the limit."""
    store = Store()
    store.set_limits(gc_heap_size=1 << 18)
    for _ in range(40):
        last = ArrayRef(store, BYTES, bytes(8000))
    kept = []
    with pytest.raises(MemoryError):
        for _ in range(40):
            kept.append(ArrayRef(store, BYTES, bytes(8000)))
    assert len(kept) > 20 and last.len(store) == 8000


def test_constant_expressions_make_objects_where_garbage_was() -> None:
    """They were a trap: nothing was collected for them."""
    store = Store()
    store.set_limits(gc_heap_size=1 << 20)
    text = """(module (type $bytes (array i8))
      (global $g (mut (ref null $bytes)) (array.new_default $bytes (i32.const 400000)))
      (func (export "drop") (global.set $g (ref.null $bytes))))"""
    module = Module(store.engine, text)
    for _ in range(5):
        Instance(store, module, []).exports(store)["drop"](store)
    Instance(store, module, [])
    Instance(store, module, [])
    with pytest.raises(Trap) as raised:
        Instance(store, module, [])
    assert raised.value.trap_code == TrapCode.ALLOCATION_TOO_LARGE


def test_a_long_fill_in_a_constant_expression_is_interrupted() -> None:
    """It went on to the end of the array, for minutes."""
    text = "(module (type $bytes (array i8)) (global (ref $bytes) (array.new $bytes (i32.const 5) (i32.const {}))))"
    store = Store(timeout=0.01)
    module = Module(store.engine, text.format(1 << 30))
    with pytest.raises(Trap) as raised:
        Instance(store, module, [])
    assert raised.value.trap_code == TrapCode.INTERRUPT


@pytest.mark.parametrize("length", [0, 1, 2, 3, 1000, 1 << 20])
def test_arrays_of_constant_expressions_are_filled(length: int) -> None:
    store = Store()
    for storage, value, expected in (
        ("i8", "(i32.const 0x1fe)", 254), ("i16", "(i32.const -2)", 65534), ("f64", "(f64.const 1.5)", 1.5),
        ("v128", "(v128.const i64x2 3 4)", (3).to_bytes(8, "little") + (4).to_bytes(8, "little")),
    ):  # fmt: skip
        text = f"""(module (type $array (array {storage})) (global (export "g") (ref $array)
          (array.new $array {value} (i32.const {length}))))"""
        found = Instance(store, Module(store.engine, text), []).exports(store)["g"].value(store)
        assert found.len(store) == length
        for at in {0, 1, length // 3, length - 2, length - 1}:
            if 0 <= at < length:
                assert found.get(store, at) == expected


@pytest.mark.parametrize("fuel", [False, True])
def test_operands_that_are_never_computed(fuel: bool) -> None:
    """The length of an array was, and the module refused with a ValueError."""
    never = "(block (result i32) (loop (br 0)) (unreachable))"
    never_array = "(block (result (ref $a)) (loop (br 0)) (unreachable))"
    instructions = (
        f"(array.new_default $a {never})", f"(array.new $a (i32.const 1) {never})", f"(array.new $a {never} {never})",
        f"(array.new_fixed $a 2 {never} {never})", f"(array.new_data $a $d {never} {never})", f"(ref.i31 {never})",
        f"(struct.new $s {never} {never})", f"(array.new $v (v128.const i64x2 1 2) {never})",
        f"(array.get_s $a {never_array} {never})", f"(array.set $a {never_array} {never} {never})",
        f"(array.fill $a {never_array} {never} {never} {never})",
        f"(array.fill $a (ref.null $a) {never} {never} {never})",
        f"(array.copy $a $a {never_array} {never} {never_array} {never} {never})",
        f"(array.init_data $a $d {never_array} {never} {never} {never})", f"(array.len {never_array})",
        f"(ref.test (ref $a) {never_array})", f"(ref.cast (ref $a) (ref.cast anyref {never_array}))",
        f"(ref.eq {never_array} {never_array})",
        f"(extern.convert_any {never_array})", f"(i31.get_s (ref.i31 {never}))",
    )  # fmt: skip
    has_no_result = ("array.set", "array.fill", "array.copy", "array.init")
    for tier in ("baseline", "optimized", "auto"):
        engine = Engine(Config(tier=tier, consume_fuel=fuel))
        for way in ("{}", "(if (local.get 0) (then {}))"):
            functions = [
                f"(func (param i32) {way.format(text if text.startswith(has_no_result, 1) else f'(drop {text})')})"
                for text in instructions
            ]
            Module(
                engine,
                f"""(module (type $a (array (mut i8))) (type $v (array v128)) (type $s (struct (field i8 i32)))
              (data $d "") {" ".join(functions)})""",
            )


def numbers_of(storage: Any, mutable: bool = True) -> ArrayType:
    return ArrayType(FieldType(storage, mutable=mutable))


@pytest.mark.parametrize(
    ("storage", "format", "values"),
    [
        ("i8", "B", [0, 1, 255]), ("i16", "H", [0, 1, 65535]), (ValType.i32(), "i", [0, -1, 1 << 30]),
        (ValType.i64(), "q", [0, -1, 1 << 62]), (ValType.f32(), "f", [0.0, -1.5, 3.0]),
        (ValType.f64(), "d", [0.1, 2.0, 3.0]),
    ],
)  # fmt: skip
def test_elements_are_viewed_and_copied_at_once(storage: Any, format: str, values: list[Any]) -> None:
    store = Store()
    buffer = array(format, values)
    made = ArrayRef(store, numbers_of(storage), buffer)
    view = made.view(store)
    assert list(made) == view.tolist() == values and view.format == format and not view.readonly
    assert list(ArrayRef(store, numbers_of(storage), iter(values))) == values
    view[1] = values[2]
    assert made.get(store, 1) == values[2]
    assert made.read(store) == bytes(view) and made.read(store, 1, -1) == bytes(view[1:-1])
    assert made.read(store, 2, 1) == b""
    made.write(store, buffer[:2], 1)
    assert list(made) == [values[0], *values[:2]]
    for wrong in (-1, 2, 4):
        with pytest.raises(IndexError):
            made.write(store, buffer[:2], wrong)
    empty = ArrayRef(store, numbers_of(storage), ())
    empty.write(store, b"")
    assert empty.view(store).tolist() == [] and empty.read(store) == b""


def test_what_cannot_be_viewed_or_written(store: Store, module: Module) -> None:
    fixed = ArrayRef(store, numbers_of("i16", mutable=False), [1, 2])
    with pytest.raises(TypeError):
        fixed.view(store)[0] = 1
    with pytest.raises(WasmError, match="immutable"):
        fixed.write(store, b"ab")
    with pytest.raises(ValueError, match="3 bytes are no whole number of elements of 2"):
        ArrayRef(store, numbers_of("i16"), [1, 2]).write(store, b"abc")
    with pytest.raises(TypeError):
        ArrayRef(store, numbers_of(ValType.externref()), [None]).view(store)
    with pytest.raises(WasmError, match="another Store"):
        fixed.view(Store(module.engine))


def test_a_view_keeps_its_array(store: Store) -> None:
    view = ArrayRef(store, BYTES, b"kept").view(store)
    for _ in range(3):
        gc.collect()
        store.gc()
        ArrayRef(store, BYTES, b"other")
    assert bytes(view) == b"kept"
    store.close()
    view[0] = ord("w")
    assert bytes(view) == b"wept"


@pytest.mark.parametrize(
    ("reserved_bytes", "fits_bytes"), [(0, 1 << 20), (256 << 20, 128 << 20), (1 << 60, 4_160_684_032)]
)
def test_how_much_address_space_a_heap_takes(reserved_bytes: int, fits_bytes: int) -> None:
    store = Store(Engine(Config(gc_heap_reservation=reserved_bytes)))
    text = """(module (type $a (array (mut i8))) (func (export "f") (param i32)
      (array.set $a (array.new_default $a (local.get 0)) (i32.sub (local.get 0) (i32.const 1)) (i32.const 1))))"""
    make = Instance(store, Module(store.engine, text), []).exports(store)["f"]
    length = fits_bytes - 8  # without the header
    make(store, length - (length >> 31 << 32))
    with pytest.raises(Trap) as raised:
        make(store, length + 1 - (length >> 31 << 32))
    assert raised.value.trap_code == TrapCode.ALLOCATION_TOO_LARGE


def test_integers_that_do_not_fit_are_refused(store: Store) -> None:
    longs = ArrayType(FieldType(ValType.i64(), True))
    with pytest.raises(OverflowError, match="18446744073709551616 does not fit i64"):
        ArrayRef(store, longs, [1, 1 << 64])
    made = ArrayRef(store, longs, [1])
    with pytest.raises(OverflowError, match="does not fit i64"):
        made.set(store, 0, -1 << 64)
    assert made.get(store, 0) == 1
