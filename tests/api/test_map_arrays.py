"""What `TypedFunc.map` is given: any array is read and written where NumPy says its elements are, or refused."""

from __future__ import annotations

import gc
import random
from typing import Any

import numpy
import pytest

from wasmjit import Engine, Func, FuncType, Instance, Module, Store, Trap, ValType

F64 = ValType.f64()
TEXT = """(module
  (func (export "add") (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1)))
  (func (export "both") (param i32 i32) (result i32 i32)
    (i32.add (local.get 0) (local.get 1)) (i32.sub (local.get 0) (local.get 1)))
  (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1))))"""


@pytest.fixture(scope="module")
def functions() -> dict[str, Any]:
    store = Store(Engine())
    exports = Instance(store, Module(store.engine, TEXT), []).exports(store)
    return {name: exports[name].typed(store) for name in exports}


class Guarded:
    """An array in the middle of a larger one, which tells whether anything outside of it was written."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "f8") -> None:
        size = int(numpy.prod(shape))
        self.whole = numpy.full(3 * size + 64, 77, dtype)
        self.array = self.whole[size + 32 : 2 * size + 32].reshape(shape)
        self.array[...] = 0
        self.outside = [self.whole[: size + 32], self.whole[2 * size + 32 :]]

    def check(self) -> None:
        assert all((part == 77).all() for part in self.outside)


@pytest.mark.parametrize("shape", [(3, 4), (30, 40), (1, 7), (7, 1)])
def test_into_a_matrix(functions: dict[str, Any], shape: tuple[int, int]) -> None:
    """reshape(-1) of a numpy.matrix has two dimensions: eleven numbers were written behind it."""
    numbers = numpy.arange(float(shape[0] * shape[1])).reshape(shape)
    guarded = Guarded(shape)
    out = guarded.array.view(numpy.matrix)
    assert functions["add"].map(numbers, 100.0, out=out) is out
    assert isinstance(out, numpy.matrix) and (numpy.asarray(out) == numbers + 100).all()
    guarded.check()
    assert (functions["add"].map(numpy.asmatrix(numbers), numpy.asmatrix(numbers)) == 2 * numbers).all()


class Lying(numpy.ndarray):  # type: ignore[misc, name-defined]
    """Says something else of itself than what is so."""

    shape = (1000,)  # type: ignore[assignment]
    strides = (4096,)  # type: ignore[assignment]
    size = 1000  # type: ignore[assignment]
    ndim = 1  # type: ignore[assignment]
    flags = {"WRITEABLE": True}  # type: ignore[assignment]  # noqa: RUF012
    ctypes = None  # type: ignore[assignment]

    def reshape(self, *_: Any, **__: Any) -> Any:
        return numpy.zeros(1)[:0]

    def __getitem__(self, _: Any) -> Any:
        return self

    def __setitem__(self, *_: Any) -> None:
        raise AssertionError("of the subclass")

    def astype(self, *_: Any, **__: Any) -> Any:
        return numpy.zeros(1000, "i1")


def test_subclasses_with_a_shape_and_methods_of_their_own(functions: dict[str, Any]) -> None:
    numbers = numpy.arange(12.0).reshape(3, 4)
    guarded = Guarded((3, 4))
    out = guarded.array.view(Lying)
    assert functions["add"].map(numbers.view(Lying), 1, out=out) is out
    assert (guarded.array == numbers + 1).all()
    guarded.check()


def test_masked_arrays_are_refused(functions: dict[str, Any]) -> None:
    masked = numpy.ma.array([1.0, 2.0], mask=[True, False])
    with pytest.raises(TypeError, match="parameter 1: masked"):
        functions["add"].map(masked, 1.0)
    with pytest.raises(TypeError, match="out: masked"):
        functions["add"].map([1.0, 2.0], 1.0, out=masked)


def test_objects_that_claim_to_be_arrays(functions: dict[str, Any]) -> None:
    class Claims:
        __class__ = numpy.ndarray  # type: ignore[assignment]
        shape, dtype, ndim = (2,), numpy.dtype("f8"), 1

    with pytest.raises(TypeError, match="out: expected a NumPy array"):
        functions["add"].map([1.0, 2.0], 1.0, out=Claims())


def layouts(numbers: Any) -> list[Any]:
    """Arrays with these elements, laid out in many ways."""
    wide = numpy.zeros((*numbers.shape, 3), numbers.dtype)
    wide[..., 1] = numbers
    backwards = numpy.ascontiguousarray(numbers[::-1])[::-1]
    swapped = numbers.astype(numbers.dtype.newbyteorder())
    record = numpy.zeros(numbers.shape, numpy.dtype([("a", "u1"), ("b", numbers.dtype)]))
    record["b"] = numbers
    made = [numbers.copy(), wide[..., 1], backwards, swapped, record["b"], numpy.asfortranarray(numbers)]
    return made


@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 2), (1,), (0, 3), ()])
def test_every_layout_in_and_out(functions: dict[str, Any], shape: tuple[int, ...]) -> None:
    numbers = numpy.arange(float(numpy.prod(shape))).reshape(shape)
    expected = numbers + numbers
    if not shape:
        assert functions["add"].map(numbers, numbers, out=(out := numpy.array(0.0))) is out and out == expected
        return
    for left in layouts(numbers):
        left.flags.writeable = False  # inputs are only read
        for out in layouts(numpy.zeros(shape)):
            base = out if out.base is None else out.base
            before = base.copy()
            assert functions["add"].map(left, numbers, out=out) is out
            assert (out == expected).all()
            out[...] = 0
            assert base.tobytes() == before.tobytes()  # nothing between and beside the elements was written


@pytest.mark.parametrize("seed", range(60))
def test_overlapping_arrays(functions: dict[str, Any], seed: int) -> None:
    """Results are those of arrays that do not overlap."""
    choose = random.Random(seed)

    def part() -> slice:
        step = choose.choice([-3, -2, -1, 1, 2, 3])
        start = choose.randrange(35, 60)
        return slice(start, start + 10 * step if start + 10 * step >= 0 else None, step)

    parts = [part() for _ in range(4)]
    whole = numpy.arange(100, dtype="i4")
    apart = whole.copy()
    expected = [apart[parts[0]] + apart[parts[1]], apart[parts[0]] - apart[parts[1]]]
    functions["both"].map(whole[parts[0]], whole[parts[1]], out=(whole[parts[2]], whole[parts[3]]))
    apart[parts[2]] = expected[0]
    apart[parts[3]] = expected[1]
    assert (whole == apart).all()


def test_in_place_and_broadcast(functions: dict[str, Any]) -> None:
    numbers = numpy.arange(10.0)
    assert functions["add"].map(numbers, numbers, out=numbers) is numbers and (numbers == 2 * numpy.arange(10.0)).all()
    numbers = numpy.arange(10.0)
    functions["add"].map(numbers[3], numbers, out=numbers)  # the operand is one of the elements that are written
    assert (numbers == numpy.arange(10.0) + 3).all()
    table = numpy.arange(12.0).reshape(3, 4)
    functions["add"].map(table, table[0], out=table)
    assert (table == numpy.arange(12.0).reshape(3, 4) + numpy.arange(4.0)).all()


def test_results_before_a_trap_are_there_in_every_layout(functions: dict[str, Any]) -> None:
    for out in layouts(numpy.full((2, 2), -1, "i4")):
        with pytest.raises(Trap):
            functions["divide"].map(100, [[5, 2], [0, 1]], out=out)
        assert out.tolist() == [[20, 50], [-1, -1]]
    longs = numpy.full(4, -1)
    with pytest.raises(Trap):
        functions["divide"].map(100, [5, 2, 0, 1], out=longs)
    assert longs.tolist() == [20, 50, -1, -1]


def test_arrays_that_are_resized_meanwhile() -> None:
    """By the function itself; what the loop reads and writes stays where it is."""
    store = Store(Engine())
    numbers, out = numpy.arange(1000.0), numpy.zeros(1000)
    refused = []

    def grow(number: float) -> float:
        for array in (numbers, out):
            try:
                array.resize(100_000, refcheck=False)
            except ValueError:
                refused.append(True)
        return number + 1

    function = Func(store, FuncType([F64], [F64]), grow).typed(store)
    assert function.map(numbers, out=out) is out
    assert (out == numpy.arange(1000.0) + 1).all() and len(refused) == 2000
    out.resize(2000, refcheck=False)  # free again


def test_conversions_that_change_what_was_given_before(functions: dict[str, Any]) -> None:
    numbers, out = numpy.arange(1000.0), numpy.zeros(1000)

    class Changes:
        def __array__(self, *_: Any, **__: Any) -> Any:
            numbers.resize(500_000, refcheck=False)
            out.resize(10, refcheck=False)
            gc.collect()
            return numpy.arange(1000.0)

    with pytest.raises(ValueError, match=r"broadcast|shape"):
        functions["add"].map(numbers, Changes(), out=out)
