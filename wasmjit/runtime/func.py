"""Func: calls in both directions, and the conversion between Python values and raw slots."""

from __future__ import annotations

import ctypes
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any, cast

from .. import abi
from ..errors import ClosedError, WasmError
from ..wasm import types as wt
from .awaited import synchronous
from .foreign import check_native_type, foreign_function
from .func_item import FuncItem
from .native import (
    CALLER,
    CALLER_OBJECT,
    KEEP_GIL,
    UNCHECKED,
    FuncBase,
    finish_callable_class,
    host_func_new,
    native_target_new,
    set_converters,
)
from .object_reference import AnyRef, object_word, python_to_word, word_to_python
from .store import Storelike, StoreRecord, address_of, check_store, record_of
from .trampolines import ENTER, HOST, NATIVE, REVERSE, Trampoline
from .type_ids import signature_of, type_of_id
from .typed import TypedFunc
from .value_types import FuncType
from .values import Val, bits_to_number, number_to_bits

_PYTHON_TYPES: dict[int, type] = {wt.I32: int, wt.I64: int, wt.F32: float, wt.F64: float}
_VALTYPES = {letter: valtype for valtype, letter in wt.SIGNATURE_LETTERS.items()}
_INT_BITS = {wt.I32: 32, wt.I64: 64}
_EXPECTED = {
    wt.I32: "an integer",
    wt.I64: "an integer",
    wt.F32: "a float",
    wt.F64: "a float",
    wt.FUNCREF: "a Func or None",
}


def new_func_item(record: StoreRecord, address: int, type: wt.FuncType) -> FuncItem:
    """The item of a func-ref."""
    enter = record.engine._trampolines.find(ENTER, type)
    return FuncItem(address, type, signature_of(type), enter)


# ---- values ----


def python_to_bits(record: StoreRecord, valtype: int, value: Any) -> int:
    """The raw slot for a Python value (or Val) given as `valtype`.

    Integers may be signed or unsigned, floats are rounded. Raises TypeError for a value of another kind (as is a
    reference that is null, or to a function of another type, where `valtype` does not allow it), OverflowError for an
    integer that does not fit, WasmError for a function of another Store.
    """
    if isinstance(value, Val):
        if wt.basic(value._code) != wt.basic(valtype):
            raise TypeError("wrong type of `Val` provided")
        value = value._val
    if value is None and not wt.is_defaultable(valtype):
        raise TypeError(f"None is no {wt.valtype_name(valtype)}: expected a reference that is not null")
    if wt.is_externref(valtype):
        return object_word(record, valtype, value) if isinstance(value, AnyRef) else record.externref_handle(value)
    if wt.is_exnref(valtype):
        if value is None:
            return 0
        raise TypeError(f"no value but None can be given as {wt.valtype_name(valtype)}: Python has no exnrefs")
    if wt.is_anyref(valtype):
        return 0 if value is None else python_to_word(record, valtype, value)
    if wt.is_reference(valtype):
        if value is None:
            return 0
        if isinstance(value, Func):
            if value._owner is not record:
                raise WasmError("function belongs to another Store than the one given")
            if isinstance(valtype, wt.TypeReference) and not wt.is_subtype(value._item.type, valtype.type):
                raise TypeError(f"a function of type {value._item.type} is no {wt.valtype_name(valtype)}")
            return value._item.address
    elif valtype == wt.V128 or isinstance(value, _PYTHON_TYPES.get(valtype, ())):
        if (bits := _INT_BITS.get(valtype)) is not None and not -(1 << bits - 1) <= value < 1 << bits:
            raise OverflowError(f"{value!r} does not fit {wt.valtype_name(valtype)}")
        return number_to_bits(valtype, value)
    expected = _EXPECTED.get(wt.basic(valtype), "a value")
    raise TypeError(f"don't know how to convert {value!r} to {wt.valtype_name(valtype)}: expected {expected}")


def bits_to_python(record: StoreRecord, valtype: int, bits: int) -> Any:
    """The Python value in a raw slot."""
    if wt.is_collected(valtype):
        return word_to_python(record, bits)
    if wt.is_exnref(valtype):
        if bits:
            raise WasmError("an exnref that is not null cannot be given to Python")
        return None
    if wt.is_reference(valtype):
        return Func._from_address(record, bits) if bits else None
    return bits_to_number(valtype, bits)


# What C calls for the values that it does not convert itself.


def _bits_for_c(record: StoreRecord, letter: str, value: Any, where: str) -> int:
    """The bits of a Val, of a reference, or of a number that another library's type makes an int or float of."""
    valtype = _VALTYPES[letter]
    try:
        if valtype in _INT_BITS and hasattr(type(value), "__index__"):
            value = operator.index(value)
        return python_to_bits(record, valtype, value)
    except (TypeError, OverflowError) as error:
        raise type(error)(f"{where}: {error}") from None


def _value_for_python(record: StoreRecord, letter: str, bits: int) -> Any:
    return bits_to_python(record, _VALTYPES[letter], bits)


set_converters(_bits_for_c, _value_for_python)


# ---- functions implemented outside ----


def new_host_item(
    record: StoreRecord, type: wt.FuncType, function: Callable[..., Any], access_caller: bool = False
) -> FuncItem:
    """Makes a function of this store that calls `function` with Python values (a Caller first if `access_caller`)."""
    return _new_item(record, type, function, CALLER_OBJECT if access_caller else 0)


def new_unchecked_item(
    record: StoreRecord, type: wt.FuncType, function: Callable[..., Any], access_caller: bool = False
) -> FuncItem:
    """Makes a function that C calls with one list of raw slots, and that returns the slots of its results."""
    return _new_item(record, type, function, UNCHECKED | (CALLER_OBJECT if access_caller else 0))


def new_address_item(record: StoreRecord, type: wt.FuncType, called: Callable[..., Any], code: int = 0) -> FuncItem:
    """Makes a function for which C calls `called` with Python values, the calling context's address first.

    `code`: of a function of the C runtime that stands in for the trampoline; 0: none does.
    """
    return _new_item(record, type, called, CALLER, code_address=code)


def new_foreign_item(record: StoreRecord, type: wt.FuncType, address: int, keep_alive: object) -> FuncItem:
    """Makes a function of the C function at `address`."""
    return _new_item(record, type, keep_alive, 0, foreign_address=address)


def _new_item(
    record: StoreRecord,
    type: wt.FuncType,
    called: Any,
    flags: int,
    *,
    foreign_address: int = 0,
    code_address: int = 0,
) -> FuncItem:
    """`called` must not hold the store: C holds it as long as the store lives."""
    native = record.open()
    trampolines = record.engine._trampolines
    code: Trampoline | None = None
    if foreign_address:
        code = trampolines.get(NATIVE, type)
    elif not code_address and not flags & UNCHECKED:
        code = trampolines.find(HOST, type)
    if code is not None:
        native.keepalive.add(code)
        code_address = code.address
    if max((*type.params, *type.results), default=0) >= wt.NON_NULL or type.definition is not None:
        native.keepalive.add(type)  # C has the signature, from which `type_of_id` comes back to the type
    signature = signature_of(type).pointer
    try:
        func_ref = host_func_new(native.pointer, called, signature, flags, code=code_address, native=foreign_address)
    except MemoryError:
        if native.is_closed():  # meanwhile
            raise ClosedError("store is closed") from None
        raise
    native.keep_roots(record)
    item = new_func_item(record, address_of(func_ref), type)
    if not code_address and not flags & UNCHECKED:
        record.slow_functions.append(item)
        trampolines.expect(record)
    return item


# ---- the public classes ----


class Func(FuncBase):
    """A function in a store: an export of an instance, or one implemented in Python.

    >>> from wasmjit import Store, ValType
    >>> store = Store()
    >>> double = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda n: 2 * n)
    >>> double(store, 21)
    42
    """

    __slots__ = ("__weakref__", "_item", "_native_address", "_variants")

    def __init__(self, store: Storelike, ty: FuncType, func: Callable[..., Any], access_caller: bool = False) -> None:
        """Makes a function that calls `func` with Python values; with `access_caller` a Caller comes first.

        `func` returns None, the result, or a sequence of results. What it raises passes through the wasm code that
        called it. Raises TypeError for arguments of a wrong kind.
        """
        record = record_of(store)
        if not isinstance(ty, FuncType):
            raise TypeError("expected a FuncType")
        if not callable(func):
            raise TypeError("expected a callable")
        self._initialize(record, new_host_item(record, ty._type, func, access_caller))

    def _initialize(self, record: StoreRecord, item: FuncItem) -> None:
        native = record.open()  # kept while C takes a reference of its own
        self._item = item
        self._native_address = 0
        self._variants: dict[int, TypedFunc] = {}
        enter = item.enter
        address = 0 if enter is None else enter.address
        self._bind(record, enter, native.address, item.address, item.signature.address, address, 0)
        if enter is None:
            record.engine._trampolines.expect(self)
        record.functions[item.address] = weakref.ref(self)

    def speed_up(self) -> None:
        """For the runtime: there are new trampolines."""
        trampolines = self._owner.engine._trampolines
        self._item.enter = trampolines.lead(self, self._item.type)
        if self._item.enter is None:
            trampolines.expect(self)

    @classmethod
    def _wrap(cls, record: StoreRecord, item: FuncItem) -> Func:
        """The one handle of this function, as long as anybody keeps it."""
        known = _known(record, item.address)
        if known is not None:
            return known
        self = cls.__new__(cls)
        self._initialize(record, item)
        return self

    @classmethod
    def _from_address(cls, record: StoreRecord, address: int) -> Func:
        """The function that a non-null raw funcref refers to."""
        known = _known(record, address)
        if known is not None:
            return known
        _native = record.open()
        id = ctypes.c_uint32.from_address(address + abi.FUNC_REF["type_id"]).value
        return cls._wrap(record, new_func_item(record, address, type_of_id(id)))

    @classmethod
    def wrap(cls, store: Storelike, func: Callable[..., Any]) -> Func:
        """Makes a function of a Python function, with the type that its annotations say (see `wasmjit.i32`).

        A first parameter annotated `Caller` gets the Caller. Raises TypeError for annotations that name no WebAssembly
        type.

        >>> import wasmjit
        >>> def half(n: wasmjit.i32) -> tuple[wasmjit.i32, wasmjit.i32]:
        ...     return divmod(n, 2)
        >>> store = wasmjit.Store()
        >>> Func.wrap(store, half)(store, 7)
        [3, 1]
        """
        from .hints import function_type

        ty, takes_caller = function_type(func)
        return cls(store, ty, func, access_caller=takes_caller)

    @classmethod
    def new_async(cls, store: Storelike, ty: FuncType, func: Callable[..., Any], access_caller: bool = False) -> Func:
        """Makes a function of an ``async def``, for wasm run with `call_async` (see `Linker.func_new_async`)."""
        return cls(store, ty, synchronous(func), access_caller)

    @classmethod
    def wrap_async(cls, store: Storelike, func: Callable[..., Any]) -> Func:
        """As `new_async`, with the type that the annotations say (see `wrap`).

        >>> import asyncio, wasmjit
        >>> async def half(n: wasmjit.i32) -> wasmjit.f64:
        ...     return n / 2
        >>> store = wasmjit.Store()
        >>> asyncio.run(Func.wrap_async(store, half).call_async(store, 5))
        2.5
        """
        from .hints import function_type

        ty, takes_caller = function_type(func)
        return cls.new_async(store, ty, func, takes_caller)

    def type(self, store: Storelike) -> FuncType:
        """Its type."""
        check_store(store, self._owner, "function")
        return FuncType._wrap(self._item.type)

    @classmethod
    def native(cls, store: Storelike, ty: FuncType, function: Any) -> Func:
        """Makes a function of a C function, which wasm calls without any Python in between and without the GIL.

        `function` is a ctypes or cffi function pointer, an object with an ``address`` (what ``numba.cfunc`` makes), or
        an address. It takes the WebAssembly arguments as C's ``int32_t``, ``int64_t``, ``float`` and ``double`` and
        returns the result, if there is one; it must not touch Python objects unless it takes the GIL (ctypes callbacks
        do). Where `function` tells its C types, they are checked. It is kept as long as the store is.

        Raises TypeError if they differ, or for `ty` with references, v128 or several results. A wrong address or a C
        function of another type is undefined behaviour.

        >>> import ctypes
        >>> from wasmjit import Store, ValType
        >>> f64 = ValType.f64()
        >>> prototype = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
        >>> square_root = prototype(("sqrt", ctypes.CDLL("libm.so.6")))
        >>> store = Store()
        >>> Func.native(store, FuncType([f64], [f64]), square_root)(store, 9.0)
        3.0
        """
        record = record_of(store)
        if not isinstance(ty, FuncType):
            raise TypeError("expected a FuncType")
        address, keep_alive = foreign_function(function, ty._type)
        return cls._wrap(record, new_foreign_item(record, ty._type, address, keep_alive))

    def typed(self, store: Storelike, *, nogil: bool = True) -> TypedFunc:
        """What calls it with the WebAssembly arguments alone, as fast as calls get; it keeps the store alive.

        With `nogil` off the GIL is kept while wasm runs, which saves the time to let go of it and take it back (some 25
        ns): for functions that are quick. No other thread of Python runs meanwhile, so none can interrupt the call; its
        timeout and Ctrl-C work.

        Raises WasmError for another Store; the callable raises it once the store is closed.

        >>> from wasmjit import Store, ValType
        >>> store = Store()
        >>> add = Func(store, FuncType([ValType.i32(), ValType.i32()], [ValType.i32()]), lambda a, b: a + b)
        >>> add.typed(store)(40, 2)
        42
        """
        check_store(store, self._owner, "function")
        return self._variant(0 if nogil else KEEP_GIL)

    def _variant(self, flags: int) -> TypedFunc:
        """The one TypedFunc with these flags."""
        found = self._variants.get(flags)
        if found is None:
            found = self._variants[flags] = TypedFunc._make(self._owner, self._item, flags)
        return found

    def native_address(self, store: Storelike) -> int:
        """The address of a C function that calls it: for ctypes, cffi, numba and C code, with or without the GIL.

        It takes and returns what `Func.native` says of types. A C caller cannot be told of a trap, an exception or a
        closed store: it gets 0, and the first such failure is raised by the next call into the store from Python, or by
        `Store.check_native_calls`. The function works as long as the store is open, and fails afterwards.

        Raises TypeError for a type that C callers cannot use, WasmError for another Store.

        >>> import ctypes
        >>> from wasmjit import Instance, Module, Store
        >>> store = Store()
        >>> text = '(module (func (export "inc") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))'
        >>> increment = Instance(store, Module(store.engine, text), []).exports(store)["inc"]
        >>> ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32)(increment.native_address(store))(41)
        42
        """
        check_store(store, self._owner, "function")
        if self._native_address:
            return self._native_address
        owner, item = self._owner, self._item
        check_native_type(item.type)
        native = owner.open()
        trampolines = owner.engine._trampolines
        code = trampolines.get(REVERSE, item.type)
        native.keep_roots(owner)
        target = native_target_new(native.pointer, item.address, item.signature.pointer)
        self._native_address = trampolines.thunk(target, code)
        return self._native_address

    def _refuse_store(self, store: Any) -> None:
        """Raises what is wrong with the store of a call; C saw that something is."""
        check_store(store, self._owner, "function")

    async def call_async(self, store: Storelike, *params: Any) -> Any:
        """Calls it on a thread of its own while the event loop goes on; what `async def` host functions it reaches
        are awaited on that loop, in the calling task. Takes and returns what a plain call does.

        Calls into one Store run one after another, except those that a host function being awaited makes: they run
        inside. Cancelling stops the wasm code and ends when it has unwound. Raises what a plain call does.

        >>> import asyncio
        >>> from wasmjit import Store, ValType
        >>> store = Store()
        >>> double = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda n: 2 * n)
        >>> asyncio.run(double.call_async(store, 21))
        42
        """
        from . import asynchronous

        check_store(store, self._owner, "function")
        return await asynchronous.run(self._owner, self, store, *params)

    def call_unchecked(self, store: Storelike, slots: Sequence[int]) -> list[int]:
        """Calls it with raw 8-byte slots (bit patterns; a v128 takes two) and returns the results' slots.

        References are raw; a wrong one is undefined behaviour. The high half of a 32-bit result is unspecified.
        """
        check_store(store, self._owner, "function")
        results: list[int] = self._variant(UNCHECKED)(*slots)
        return results


finish_callable_class(Func)


def _known(record: StoreRecord, address: int) -> Func | None:
    """The handle of a func-ref, if somebody keeps it."""
    reference = record.functions.get(address)
    return None if reference is None else cast("Func | None", reference())
