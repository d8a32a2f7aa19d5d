"""What references are to, in Python: heap types, and structure and array types, which nothing has values of yet."""

from __future__ import annotations

import copy
import pickle

import pytest

from tests.rows import for_each
from wasmjit import (
    ArrayType,
    ClosedError,
    FieldType,
    Func,
    FuncType,
    Global,
    GlobalType,
    HeapType,
    Instance,
    Limits,
    Linker,
    Module,
    Store,
    StructType,
    Table,
    TableType,
    Tag,
    TagType,
    Val,
    ValType,
    WasmError,
)
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm

I32 = ValType.i32()
UNARY = FuncType([I32], [I32])
SHAPE = StructType([FieldType(I32, mutable=True)], is_final=False)
CIRCLE = StructType([FieldType(I32, mutable=True), FieldType("i8")], supertype=SHAPE)
BYTES = ArrayType(FieldType("i8", mutable=True))
KINDS: list[str | FuncType | StructType | ArrayType] = [
    *"func nofunc extern noextern any eq i31 struct array none".split(),
    *(UNARY, SHAPE, CIRCLE, BYTES),
]
# What each is below, beside itself.
ABOVE = {
    "nofunc": ["func", repr(UNARY)],
    "noextern": ["extern"],
    "eq": ["any"],
    "i31": ["eq", "any"],
    "struct": ["eq", "any"],
    "array": ["eq", "any"],
    "none": ["i31", "struct", "array", "eq", "any", repr(SHAPE), repr(CIRCLE), repr(BYTES)],
    repr(UNARY): ["func"],
    repr(SHAPE): ["struct", "eq", "any"],
    repr(CIRCLE): [repr(SHAPE), "struct", "eq", "any"],
    repr(BYTES): ["array", "eq", "any"],
}


def test_which_match() -> None:
    for kind in KINDS:
        below = HeapType(kind)
        found = {repr(other) for other in map(HeapType, KINDS) if below.matches(other)}
        assert found == {repr(below), *ABOVE.get(repr(below), [])}, kind
    some, null = ValType.ref(HeapType("i31"), nullable=False), ValType.ref(HeapType("any"))
    assert some.matches(null) and not null.matches(some) and not I32.matches(null)
    assert not ValType.ref(HeapType("i31")).matches(ValType.ref(HeapType("any"), nullable=False))


def test_what_they_tell() -> None:
    assert ValType.ref(HeapType("func")) == ValType.funcref() and ValType.externref().heap_type == HeapType("extern")
    some = ValType.ref(HeapType(CIRCLE), nullable=False)
    assert some.heap_type == HeapType(CIRCLE) and not some.is_nullable and ValType.funcref().is_nullable
    assert I32.heap_type is None and not I32.is_nullable
    assert HeapType("eq").name == "eq" and HeapType("eq").concrete is None
    assert HeapType(CIRCLE).concrete == CIRCLE and HeapType(CIRCLE).name is None
    assert HeapType(UNARY).concrete == UNARY and HeapType(BYTES).concrete == BYTES
    assert CIRCLE.supertype == SHAPE and CIRCLE.is_final and not SHAPE.is_final and SHAPE.supertype is None
    number, packed = CIRCLE.fields
    assert (number.storage, number.mutable, packed.storage, packed.mutable) == (I32, True, "i8", False)
    assert BYTES.element == FieldType("i8", mutable=True) != FieldType("i16", mutable=True)
    assert [repr(t) for t in (CIRCLE, BYTES, HeapType("none"))] == ["(struct (mut i32) i8)", "(array (mut i8))", "none"]
    assert len({SHAPE, CIRCLE, copy.copy(SHAPE), HeapType("any"), HeapType("any")}) == 3


def test_equal_ones_are_those_of_modules() -> None:
    text = """(module (type $s (sub (struct (field (mut i32)))))
      (type (sub final $s (struct (field (mut i32)) (field i8)))) (type (array (mut i8))))"""
    types = decode(wat2wasm(text)).types
    assert types == [SHAPE._type, CIRCLE._type, BYTES._type]
    assert StructType([FieldType(I32, mutable=True)]) != SHAPE  # which is not final
    for made in (
        SHAPE,
        CIRCLE,
        BYTES,
        HeapType(CIRCLE),
        HeapType("any"),
        ValType.ref(HeapType(BYTES)),
        FieldType("i8"),
    ):
        assert pickle.loads(pickle.dumps(made)) == made


def test_supertypes_that_do_not_fit() -> None:
    with pytest.raises(WasmError, match="the supertype is final"):
        StructType([FieldType(I32, mutable=True)], supertype=CIRCLE)
    with pytest.raises(WasmError, match="does not match its supertype"):
        StructType([], supertype=SHAPE)
    with pytest.raises(WasmError, match="does not match its supertype"):
        ArrayType(FieldType(I32), supertype=ArrayType(FieldType("i8"), is_final=False))
    below: StructType | None = None
    with pytest.raises(WasmError, match="more than 63 supertypes"):
        for _ in range(70):
            below = StructType([], supertype=below, is_final=False)


@for_each(
    [
        lambda: HeapType(1),  # type: ignore[arg-type]
        lambda: ValType.ref("any"),  # type: ignore[arg-type]
        lambda: FieldType("i32"),
        lambda: StructType([I32]),  # type: ignore[list-item]
        lambda: ArrayType(I32),  # type: ignore[arg-type]
        lambda: StructType([], supertype=BYTES),  # type: ignore[arg-type]
        lambda: ArrayType(FieldType("i8"), supertype=SHAPE),  # type: ignore[arg-type]
    ]
)
def test_arguments_of_other_types(make: object) -> None:
    with pytest.raises(TypeError):
        make()  # type: ignore[operator]


def test_names_and_closed_ones() -> None:
    with pytest.raises(WasmError, match="no heap type is called 'exnref'"):
        HeapType("exnref")
    closed = HeapType("any")
    closed.close()
    with pytest.raises(ClosedError):
        ValType.ref(closed)


OF_OBJECTS = [
    ValType.ref(HeapType(kind), nullable=is_nullable)
    for kind in ("any", "eq", "i31", "struct", "array", "none", "nofunc", "noextern", SHAPE, BYTES)
    for is_nullable in (True, False)
]


@for_each(OF_OBJECTS)
def test_what_has_types_of_objects(valtype: ValType) -> None:
    """Each way to a function, global, table or tag with them, and null."""
    store = Store()
    linker = Linker(store.engine)
    assert Func(store, FuncType([valtype], []), print).type(store).params == [valtype]
    assert Func(store, FuncType([I32], [I32, valtype]), print).type(store).results == [I32, valtype]
    linker.define_func("a", "b", FuncType([valtype], []), print)
    linker.define_func("a", "c", FuncType([], [valtype]), print, access_caller=True)
    assert Tag(store, TagType(FuncType([valtype], []))).type(store).functype.params == [valtype]
    ways = [
        lambda: Global(store, GlobalType(valtype, mutable=True), None).value(store),
        lambda: Table(store, TableType(valtype, Limits(1, None)), None).get(store, 0),
    ]
    for way in ways:
        if valtype.is_nullable:
            assert way() == Val.ref_null(valtype)
        else:
            with pytest.raises(TypeError, match="expected a reference that is not null"):
                way()


def test_functions_of_references_to_one_type() -> None:
    """Those run: a host function that takes and gives what another type of functions has."""
    unary = ValType.ref(HeapType(UNARY))
    store = Store()
    double = Func(store, UNARY, lambda n: 2 * n)
    called = Func(store, FuncType([unary, I32], [I32]), lambda f, n: f(store, n) + 1)
    text = """(module (type $u (func (param i32) (result i32)))
      (import "" "" (func $f (param (ref null $u) i32) (result i32)))
      (func (export "f") (param (ref null $u)) (result i32) (call $f (local.get 0) (i32.const 20))))"""
    exports = Instance(store, Module(store.engine, text), [called]).exports(store)
    assert exports["f"](store, double) == 41
    assert exports["f"].type(store).params == [unary]
    other = Func(store, FuncType([], []), lambda: None)
    with pytest.raises(TypeError):
        exports["f"](store, other)
