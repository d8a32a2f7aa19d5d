"""TypedFunc: a function bound to its store, called with the WebAssembly arguments alone, or over whole arrays."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .. import abi
from ..wasm import types as wt
from .native import KEEP_GIL, UNCHECKED, TypedBase, finish_callable_class
from .trampolines import MAP, Trampoline
from .value_types import FuncType

if TYPE_CHECKING:
    from .func_item import FuncItem
    from .store import StoreRecord

# What NumPy calls the value types; in little endian, as wasm has them.
_DTYPES = {wt.I32: "<i4", wt.I64: "<i8", wt.F32: "<f4", wt.F64: "<f8"}
_WORD_BYTES = 8
_COUNT, _DONE = (abi.MAP_JOB[name] // _WORD_BYTES for name in ("count", "done"))


class TypedFunc(TypedBase):
    """A WebAssembly function bound to its store; made by `Func.typed`.

    It is called with the WebAssembly arguments, converts as a call of the Func does, and holds the store.

    >>> from wasmjit import Instance, Module, Store
    >>> store = Store()
    >>> text = '(module (func (export "double") (param f64) (result f64) (f64.add (local.get 0) (local.get 0))))'
    >>> double = Instance(store, Module(store.engine, text), []).exports(store)["double"].typed(store)
    >>> double(21.0)
    42.0
    """

    __slots__ = ("__weakref__", "_flags", "_map_code", "_type")

    _type: wt.FuncType
    _flags: int
    _map_code: Trampoline | None

    def __init__(self) -> None:
        raise TypeError("TypedFunc has no constructor: use Func.typed")

    @classmethod
    def _make(cls, record: StoreRecord, item: FuncItem, flags: int, caller: int = 0) -> TypedFunc:
        """`caller` is the address of the instance context that a host function is to see as its caller."""
        self = cls.__new__(cls)
        self._type = item.type
        self._flags = flags
        self._map_code = None
        native = record.open()  # kept while C takes a reference of its own
        enter = item.enter
        address = 0 if enter is None else enter.address
        self._bind(record, enter, native.address, item.address, item.signature.address, address, flags, caller)
        if enter is None:
            record.engine._trampolines.expect(self)
        return self

    def speed_up(self) -> None:
        """For the runtime: there are new trampolines."""
        trampolines = self._owner.engine._trampolines
        if trampolines.lead(self, self._type) is None:
            trampolines.expect(self)

    @property
    def type(self) -> FuncType:
        """Its type."""
        return FuncType._wrap(self._type)

    @property
    def nogil(self) -> bool:
        """Whether the GIL is released while wasm runs."""
        return not self._flags & KEEP_GIL

    def __repr__(self) -> str:
        return f"<TypedFunc {self._type}>"

    def map(self, *arrays: Any, out: Any = None) -> Any:
        """Calls it for each element of NumPy arrays, in a loop of machine code; returns an array of the results.

        There is an array or number for each parameter, broadcast together as NumPy does. Arrays of another type are
        converted if NumPy calls them of the "same kind" (``numpy.can_cast``). Several results give a tuple of
        arrays, none gives None. `out` is the array to write the results to, or a tuple of them; it may be, or overlap,
        an array that is read. None of them can be resized meanwhile.

        The elements are called in order (row by row). A trap or an exception ends the loop: results of the elements
        before it are in `out`, and the exception says in a note, from Python 3.11 on, which element it was.

        Raises TypeError for a wrong number of arrays, types that do not convert, masked arrays, or a function with
        references or v128; ValueError for shapes that do not fit; ImportError without NumPy; and what a call raises.

        >>> import numpy
        >>> from wasmjit import Instance, Module, Store
        >>> store = Store()
        >>> text = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'
        >>> add = Instance(store, Module(store.engine, text), []).exports(store)["add"].typed(store)
        >>> add.map(numpy.arange(4, dtype="i4"), 10)
        array([10, 11, 12, 13], dtype=int32)
        """
        import numpy

        type = self._type
        if self._flags & UNCHECKED:
            raise TypeError("unchecked functions have no map")
        for valtype in (*type.params, *type.results):
            if valtype not in _DTYPES:
                raise TypeError(f"{type}: arrays have no elements of type {wt.valtype_name(valtype)}")
        if len(arrays) != len(type.params) or not arrays:
            raise TypeError(f"expected {len(type.params)} arrays, one for each parameter, got {len(arrays)}")
        given = [
            _converted(numpy, array, valtype, position)
            for position, (array, valtype) in enumerate(zip(arrays, type.params, strict=True), 1)
        ]
        targets = _targets(numpy, type, out)
        # From here on nothing of the caller's runs that could change what the arrays are.
        _guards = [weakref.ref(owner) for array in (*given, *targets) for owner in _owners(numpy, array)]
        inputs = numpy.broadcast_arrays(*given)
        shape = inputs[0].shape
        outputs = _outputs(numpy, type, shape, inputs, targets)
        # Rows of all arrays in the same order: one dimension, a view where that is possible.
        columns = [array.reshape(-1) for array in inputs] + [array.reshape(-1) for array in outputs]
        job = _new_job(numpy, columns, (*type.params, *type.results), inputs[0].size)
        try:
            self._run(job)
        finally:  # also of a loop that a trap ended
            done = job[_DONE]
            for target, output in zip(targets, outputs, strict=False):
                if target is not output:
                    target.flat[:done] = output.flat[:done]
        results = outputs if out is None else _as_list(out)
        if not results:
            return None
        return results[0] if len(results) == 1 else tuple(results)

    def _run(self, job: Any) -> None:
        code = self._map_code
        if code is None:
            code = self._map_code = self._owner.engine._trampolines.get(MAP, self._type)
        _native = self._owner.open()
        try:
            self._run_map(code.address, ctypes.addressof(job))
        except BaseException as error:
            if hasattr(error, "add_note"):
                error.add_note(f"in element {job[_DONE]} of {job[_COUNT]} of TypedFunc.map")
            raise


finish_callable_class(TypedFunc)


def _converted(numpy: Any, array: Any, valtype: int, position: int) -> Any:
    """An array of the parameter's type. Raises TypeError."""
    dtype = numpy.dtype(_DTYPES[valtype])
    _refuse_masked(array, f"parameter {position}")
    made = numpy.asarray(array)
    if isinstance(array, (int, float)) and not isinstance(array, bool):
        # A number of Python's has no type of its own: it must keep its value.
        if isinstance(array, float) and dtype.kind == "i":
            raise TypeError(f"parameter {position}: {array!r} is no {wt.valtype_name(valtype)}")
        if isinstance(array, int) and dtype.kind == "i":
            bits = 8 * dtype.itemsize
            if not -(1 << bits - 1) <= array < 1 << bits:
                raise OverflowError(f"parameter {position}: {array!r} does not fit {wt.valtype_name(valtype)}")
            array = array - (1 << bits) if array >= 1 << bits - 1 else array
        return numpy.array(array, dtype=dtype)
    if made.dtype.kind == "u" and dtype.kind == "i" and made.dtype.itemsize == dtype.itemsize:
        return made.astype(made.dtype.newbyteorder("<"), copy=False).view(dtype)  # the same bits, read as signed
    if not numpy.can_cast(made.dtype, dtype, casting="same_kind"):
        raise TypeError(
            f"parameter {position}: an array of {made.dtype} does not convert to {wt.valtype_name(valtype)}"
        )
    return made.astype(dtype, copy=False)


def _as_list(out: Any) -> list[Any]:
    return list(out) if isinstance(out, tuple) else [out]


def _targets(numpy: Any, functype: wt.FuncType, out: Any) -> list[Any]:
    """The arrays in `out` as what they are to NumPy itself: a subclass may have a shape and methods of its own."""
    if out is None:
        return []
    given = _as_list(out)
    if len(given) != len(functype.results):
        raise TypeError(f"out: expected {len(functype.results)} arrays, one for each result, got {len(given)}")
    targets = []
    for array in given:
        if not issubclass(type(array), numpy.ndarray):  # not isinstance: an object may claim any class
            raise TypeError(f"out: expected a NumPy array, not {array!r}")
        _refuse_masked(array, "out")
        targets.append(numpy.ndarray.view(array, numpy.ndarray))
    return targets


def _refuse_masked(array: Any, what: str) -> None:
    """Raises TypeError for an array with elements that count as not there."""
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(array, masked.MaskedArray):
        raise TypeError(f"{what}: masked arrays are not supported")


def _owners(numpy: Any, array: Any) -> Iterator[Any]:
    """The arrays whose memory an array shows. While there is a weak reference to one, it cannot be resized."""
    while isinstance(array, numpy.ndarray):
        yield array
        array = numpy.ndarray.base.__get__(array)


def _outputs(numpy: Any, type: wt.FuncType, shape: tuple[int, ...], inputs: Any, targets: list[Any]) -> list[Any]:
    """The arrays that the loop writes to, whose rows lie one behind the other: targets where they can be."""
    dtypes = [numpy.dtype(_DTYPES[valtype]) for valtype in type.results]
    if not targets:
        return [numpy.empty(shape, dtype) for dtype in dtypes]
    outputs: list[Any] = []
    for position, (array, dtype) in enumerate(zip(targets, dtypes, strict=True)):
        if not array.flags.writeable:
            raise ValueError("out: the array is read-only")
        if array.shape != shape:
            raise ValueError(f"out: shape {array.shape} is not {shape}, the shape of the arguments")
        if not numpy.can_cast(dtype, array.dtype, casting="same_kind"):
            raise TypeError(f"out: results of type {dtype} do not convert to {array.dtype}")
        others = [*inputs, *targets[:position], *targets[position + 1 :]]
        direct = (
            array.dtype == dtype
            and (array.flags.c_contiguous or array.ndim == 1)
            # What is written must not be read later on: then results would depend on the order.
            and not any(numpy.may_share_memory(array, other) and not _same(array, other) for other in others)
        )
        outputs.append(array if direct else numpy.empty(shape, dtype))
    return outputs


def _same(array: Any, other: Any) -> bool:
    """Whether each element of one is that of the other, so that it is read before it is written."""
    places = [(a.ctypes.data, a.strides, a.shape, a.dtype) for a in (array, other)]
    return bool(places[0] == places[1])


def _new_job(numpy: Any, columns: list[Any], valtypes: Sequence[int], count: int) -> Any:
    """What machine code is given (abi.MAP_JOB). It looks at nothing any more: here is the last look."""
    words = [0, 0, count, 0]
    for column, valtype in zip(columns, valtypes, strict=True):
        if type(column) is not numpy.ndarray or column.shape != (count,) or column.dtype != _DTYPES[valtype]:
            raise TypeError(f"an array of {column.dtype} and shape {column.shape} where {count} elements are expected")
        words += [column.ctypes.data, column.strides[0] if count > 1 else 0]
    return (ctypes.c_int64 * len(words))(*[word if word < 1 << 63 else word - (1 << 64) for word in words])
