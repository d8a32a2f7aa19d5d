"""StructRef, ArrayRef, and what a Store tells of objects of garbage collection."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from wasmjit import (
    AnyRef,
    ArrayRef,
    ArrayType,
    ClosedError,
    Engine,
    FieldType,
    Instance,
    Module,
    Store,
    StructRef,
    StructType,
    Trap,
    TrapCode,
    ValType,
    WasmError,
)

POINT = StructType(
    [
        FieldType(ValType.i32(), mutable=True),
        FieldType("i8", mutable=True),
        FieldType(ValType.f64(), mutable=True),
        FieldType(ValType.externref(), mutable=True),
        FieldType(ValType.v128()),
    ]
)
BYTES = ArrayType(FieldType("i8", mutable=True))
WIDE = b"0123456789abcdef"


@pytest.fixture
def store() -> Store:
    return Store()


def point(store: Store, thing: Any = None) -> StructRef:
    return StructRef(store, POINT, [-1, 255, 0.5, thing, WIDE])


def test_fields_are_read_and_written(store: Store) -> None:
    made = point(store, "host")
    assert [made.field(store, index) for index in range(5)] == [-1, 255, 0.5, "host", WIDE]
    made.set_field(store, 1, 0x1FF)
    made.set_field(store, 3, None)
    assert (made.field(store, 0), made.field(store, 1), made.field(store, 2), made.field(store, 3)) == (
        -1,
        255,
        0.5,
        None,
    )
    assert made.type == POINT


def test_elements_are_read_and_written(store: Store) -> None:
    made = ArrayRef(store, BYTES, b"abc")
    made.set(store, 2, ord("d"))
    assert bytes(made) == b"abd"
    assert (made.get(store, 0), made.len(store), len(made), made.type) == (97, 3, 3, BYTES)
    assert bytes(ArrayRef(store, BYTES, [])) == b""


def test_objects_refer_to_each_other(store: Store) -> None:
    pair = StructType([FieldType(ValType.ref(_any(), True), mutable=True), FieldType(ValType.ref(_any(), True))])
    inner = point(store)
    outer = StructRef(store, pair, [inner, 7])
    assert outer.field(store, 0) == inner and outer.field(store, 0) is not inner
    assert outer.field(store, 1) == 7
    del inner
    store.gc()
    assert isinstance(outer.field(store, 0), StructRef) and outer.field(store, 0).field(store, 2) == 0.5
    outer.set_field(store, 0, outer)
    assert hash(outer.field(store, 0)) == hash(outer)


def _any() -> Any:
    from wasmjit import HeapType

    return HeapType("any")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ([1], "expected 5 fields, given 1"),
        (["x", 0, 0.0, None, WIDE], "don't know how to convert 'x' to i32"),
        ([0, 0, 0.0, None, b"short"], "16 bytes"),
    ],
)
def test_wrong_fields_are_refused(store: Store, fields: list[Any], error: str) -> None:
    with pytest.raises(TypeError, match=error):
        StructRef(store, POINT, fields)


def test_what_is_not_there_or_cannot_be_written(store: Store) -> None:
    made, array = point(store), ArrayRef(store, ArrayType(FieldType(ValType.i64())), [1])
    for index in (5, -1):
        with pytest.raises(IndexError):
            made.field(store, index)
    with pytest.raises(IndexError):
        array.get(store, 1)
    with pytest.raises(WasmError, match="field 4 is immutable"):
        made.set_field(store, 4, WIDE)
    with pytest.raises(WasmError, match="immutable"):
        array.set(store, 0, 2)
    with pytest.raises(WasmError, match="cannot construct directly"):
        AnyRef()


def test_references_are_of_one_store(store: Store) -> None:
    other = Store(store._record.engine)
    with pytest.raises(WasmError, match="another Store"):
        point(store).field(other, 0)
    with pytest.raises(WasmError, match="another Store"):
        StructRef(other, POINT, [0, 0, 0.0, point(store), WIDE])


def test_references_end_with_their_store(store: Store) -> None:
    made = point(store)
    store.close()
    with pytest.raises(ClosedError):
        made.field(store, 0)
    del made
    gc.collect()


def test_a_reference_keeps_its_object_and_nothing_else_does(store: Store) -> None:
    class Thing:
        pass

    thing = Thing()
    known = weakref.ref(thing)
    made = point(store, thing)
    del thing
    store.gc()
    assert made.field(store, 3) is known()
    live_bytes = store.gc_stats().live_bytes
    del made
    gc.collect()
    store.gc()
    store.gc()
    assert known() is None
    assert store.gc_stats().live_bytes < live_bytes


def test_a_subtype_goes_where_its_supertype_is_asked_for(store: Store) -> None:
    module = Module(
        store._record.engine,
        """(module
        (type $shape (sub (struct (field i32))))
        (type $circle (sub final $shape (struct (field i32) (field f64))))
        (func (export "first") (param (ref $shape)) (result i32) (struct.get $shape 0 (local.get 0)))
        (func (export "is") (param anyref) (result i32) (ref.test (ref $circle) (local.get 0))))""",
    )
    exports = Instance(store, module, []).exports(store)
    shape = StructType([FieldType(ValType.i32())], is_final=False)
    circle = StructType([FieldType(ValType.i32()), FieldType(ValType.f64())], supertype=shape)
    made = StructRef(store, circle, [5, 1.0])
    assert (exports["first"](store, made), exports["is"](store, made)) == (5, 1)
    assert exports["is"](store, StructRef(store, shape, [5])) == 0
    with pytest.raises(TypeError):
        exports["first"](store, point(store))


@pytest.mark.parametrize("limits", [{"gc_heap_size": 1 << 20}, {"total_memory": 1 << 20}])
def test_limits_hold_for_objects(limits: dict[str, int]) -> None:
    store = Store(Engine())
    store.set_limits(**limits)
    module = Module(
        store._record.engine,
        """(module (type $bytes (array (mut i8))) (type $list (struct (field (ref null $list)) (field (ref $bytes))))
        (func (export "make") (param i32) (drop (array.new_default $bytes (local.get 0))))
        (func (export "fill") (local $list (ref null $list))
          (loop $again
            (local.set $list (struct.new $list (local.get $list) (array.new_default $bytes (i32.const 1000))))
            (br $again))))""",
    )
    exports = Instance(store, module, []).exports(store)
    for name, arguments in (("make", [2 << 20]), ("fill", [])):
        with pytest.raises(Trap) as raised:
            exports[name](store, *arguments)
        assert raised.value.trap_code is TrapCode.ALLOCATION_TOO_LARGE
    exports["make"](store, 1 << 18)  # what `fill` had is free
    assert store.gc_stats().heap_bytes <= 1 << 20
