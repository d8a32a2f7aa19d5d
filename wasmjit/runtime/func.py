"""Func and Caller: calls in both directions, and the conversion between Python values and raw slots."""

from __future__ import annotations

import builtins
import ctypes
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import abi
from ..errors import WasmError
from ..wasm import types as wt
from .native import CALLER, UNCHECKED, callable_new, ffi, host_func_new
from .store import Storelike, StoreRecord, address_of, check_store, record_of
from .type_ids import type_id, type_of_id
from .values import FuncType, Val, bits_to_number, number_to_bits, signature

if TYPE_CHECKING:
    from .externs import AsExtern

_PYTHON_TYPES: dict[int, type] = {wt.I32: int, wt.I64: int, wt.F32: float, wt.F64: float}


@dataclass(slots=True, eq=False)
class FuncItem:
    """A function of one store: the address of its func-ref (abi.FUNC_REF)."""

    address: int
    type: wt.FuncType

    def current_type(self) -> wt.FuncType:
        """Its type."""
        return self.type


# ---- values ----


def python_to_bits(record: StoreRecord, valtype: int, value: Any) -> int:
    """The raw slot for a Python value (or Val) given as `valtype`.

    Integers wrap to the type's width, floats round to it. Raises TypeError for a value of another kind, WasmError for a
    function of another Store.
    """
    if isinstance(value, Val):
        if value._code != valtype:
            raise TypeError("wrong type of `Val` provided")
        value = value._val
    if valtype == wt.EXTERNREF:
        return record.externref_handle(value)
    if valtype == wt.FUNCREF:
        if value is None:
            return 0
        if isinstance(value, Func):
            if value._owner is not record:
                raise WasmError("function belongs to another Store than the one given")
            return value._item.address
    elif isinstance(value, _PYTHON_TYPES.get(valtype, ())):
        return number_to_bits(valtype, value)
    raise TypeError(f"don't know how to convert {value!r} to {wt.valtype_name(valtype)}")


def bits_to_python(record: StoreRecord, valtype: int, bits: int) -> Any:
    """The Python value in a raw slot."""
    if valtype == wt.EXTERNREF:
        return record.externref_value(bits)
    if valtype == wt.FUNCREF:
        return Func._from_address(record, bits) if bits else None
    return bits_to_number(valtype, bits)


def _to_native(record: StoreRecord, valtype: int, value: Any) -> Any:
    """What the C boundary takes for a Python value: a raw int for a reference, a plain number else."""
    bits = python_to_bits(record, valtype, value)
    return bits if valtype in wt.REFERENCE_TYPES else bits_to_number(valtype, bits)


def _from_native(record: StoreRecord, valtype: int, value: Any) -> Any:
    return bits_to_python(record, valtype, value) if valtype in wt.REFERENCE_TYPES else value


def _has_references(types: Sequence[int]) -> bool:
    return any(valtype in wt.REFERENCE_TYPES for valtype in types)


# ---- functions implemented in Python ----


def new_host_item(
    record: StoreRecord, type: wt.FuncType, function: Callable[..., Any], access_caller: bool = False
) -> FuncItem:
    """Makes a function of this store that calls `function` with Python values (a Caller first if `access_caller`)."""
    if access_caller or _has_references(type.params):
        called = _converting_trampoline(weakref.ref(record), type, function, access_caller)
    elif type.results:
        called = _plain_trampoline(weakref.ref(record), type, function)
    else:
        called = function  # C converts numbers and checks that it returns None
    return new_native_item(record, type, called, access_caller)


def new_unchecked_item(
    record: StoreRecord, type: wt.FuncType, function: Callable[..., Any], access_caller: bool = False
) -> FuncItem:
    """Makes a function that C calls with one list of raw slots, and that returns the slots of its results."""
    native = record.open()
    weak_record = weakref.ref(record)

    def with_caller(instance_address: int, slots: list[int]) -> Any:
        caller = Caller(_alive(weak_record), instance_address)
        try:
            return function(caller, slots)
        finally:
            caller._invalidate()

    called, flags = (with_caller, UNCHECKED | CALLER) if access_caller else (function, UNCHECKED)
    func_ref = host_func_new(
        native.pointer, called, signature(type.params), signature(type.results), type_id(type), flags
    )
    native.keep_roots()
    return FuncItem(address_of(func_ref), type)


def new_native_item(
    record: StoreRecord, type: wt.FuncType, called: Callable[..., Any], access_caller: bool = False
) -> FuncItem:
    """Makes a function for which C calls `called` itself: with plain numbers, references as raw ints, and first, if
    `access_caller`, the address of the calling instance. `called` must not hold the store.
    """
    native = record.open()
    params, results = signature(type.params), signature(type.results)
    flags = CALLER if access_caller else 0
    func_ref = host_func_new(native.pointer, called, params, results, type_id(type), flags)
    native.keep_roots()
    return FuncItem(address_of(func_ref), type)


# A trampoline is what C calls where it cannot call the host function itself. It refers to its store weakly: C holds it
# as long as the store lives, and a strong reference would leave every store to the cycle collector.


def _converting_trampoline(
    weak_record: weakref.ref[StoreRecord], type: wt.FuncType, function: Callable[..., Any], access_caller: bool
) -> Callable[..., Any]:
    """Makes the Caller and converts references."""
    params, results = type.params, type.results

    def trampoline(*arguments: Any) -> Any:
        record = _alive(weak_record)
        numbers = arguments[1:] if access_caller else arguments
        values = [_from_native(record, t, v) for t, v in zip(params, numbers, strict=True)]
        if not access_caller:
            return _results_to_native(record, results, function(*values))
        caller = Caller(record, arguments[0])
        try:
            return _results_to_native(record, results, function(caller, *values))
        finally:
            caller._invalidate()

    return trampoline


def _plain_trampoline(
    weak_record: weakref.ref[StoreRecord], type: wt.FuncType, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Converts results only. The usual one, a number of exactly the right type, goes to C as it is."""
    results = type.results
    passed_type = _PYTHON_TYPES.get(results[0]) if len(results) == 1 else None
    exact_type = builtins.type

    def trampoline(*arguments: Any) -> Any:
        value = function(*arguments)
        return value if exact_type(value) is passed_type else _results_to_native(_alive(weak_record), results, value)

    return trampoline


def _alive(weak_record: weakref.ref[StoreRecord]) -> StoreRecord:
    record = weak_record()
    assert record is not None, "a running store is alive"
    return record


def _results_to_native(record: StoreRecord, types: Sequence[int], value: Any) -> Any:
    """Checks what a host function returned, and makes of it what the C boundary takes."""
    if not types:
        return value  # C checks that it is None
    if len(types) == 1:
        return _to_native(record, types[0], value)
    if len(value) != len(types):
        raise WasmError("callback produced wrong number of results")
    return [_to_native(record, t, v) for t, v in zip(types, value, strict=True)]


# ---- the public classes ----


class Func:
    """A function in a store: an export of an instance, or one implemented in Python.

    >>> from wasmjit import Store, ValType
    >>> store = Store()
    >>> double = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda n: 2 * n)
    >>> double(store, 21)
    42
    """

    __slots__ = ("__weakref__", "_arity", "_item", "_native", "_owner", "_unchecked")

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
        self._owner = record
        self._item = item
        self._arity = len(item.type.params)
        self._native: Callable[..., Any] | None = None
        self._unchecked: Callable[..., Any] | None = None
        record.functions[item.address] = self

    @classmethod
    def _wrap(cls, record: StoreRecord, item: FuncItem) -> Func:
        """The one handle of this function, as long as anybody keeps it."""
        known = record.functions.get(item.address)
        if known is not None:
            return known
        self = cls.__new__(cls)
        self._initialize(record, item)
        return self

    @classmethod
    def _from_address(cls, record: StoreRecord, address: int) -> Func:
        """The function that a non-null raw funcref refers to."""
        known = record.functions.get(address)
        if known is not None:
            return known
        id = ctypes.c_uint32.from_address(address + abi.FUNC_REF["type_id"]).value
        return cls._wrap(record, FuncItem(address, type_of_id(id)))

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
        from .annotations import function_type

        ty, takes_caller = function_type(func)
        return cls(store, ty, func, access_caller=takes_caller)

    @classmethod
    def new_async(cls, store: Storelike, ty: FuncType, func: Callable[..., Any], access_caller: bool = False) -> Func:
        """Makes a function of an ``async def``, for wasm run with `call_async` (see `Linker.func_new_async`)."""
        from .asynchronous import synchronous

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
        from .annotations import function_type

        ty, takes_caller = function_type(func)
        return cls.new_async(store, ty, func, takes_caller)

    def type(self, store: Storelike) -> FuncType:
        """Its type."""
        check_store(store, self._owner, "function")
        return FuncType._wrap(self._item.type)

    def typed(self, store: Storelike) -> Callable[..., Any]:
        """What calls it with the WebAssembly arguments alone, as fast as calls get: without a store, and for numbers a
        builtin of the C extension. It converts as a call of the Func does, but takes no Val, and keeps the store alive.

        Raises WasmError for another Store; the callable raises WasmError once the store is closed.

        >>> from wasmjit import Store, ValType
        >>> store = Store()
        >>> add = Func(store, FuncType([ValType.i32(), ValType.i32()], [ValType.i32()]), lambda a, b: a + b)
        >>> add.typed(store)(40, 2)
        42
        """
        check_store(store, self._owner, "function")
        if self._native is None:
            self._native = self._bind()
        return self._native

    @property
    def native_address(self) -> int:
        """The address of its machine code, for debuggers and profilers. It follows wasmjit's own calling convention.

        Raises ClosedError once the store is closed.
        """
        self._owner.open()
        return ctypes.c_uint64.from_address(self._item.address + abi.FUNC_REF["code"]).value

    def __call__(self, store: Storelike, *params: Any) -> Any:
        """Calls it. Arguments are Python values or Val; returns None, the result, or a list of results.

        Raises Trap, whatever a host function raised, WasmError for a wrong number of arguments or a wrong Store,
        TypeError for an argument of a wrong kind.
        """
        owner = self._owner
        if getattr(store, "_record", None) is not owner or owner.native is None:
            check_store(store, owner, "function")
        if len(params) != self._arity:
            amount = "many" if len(params) > self._arity else "few"
            raise WasmError(f"too {amount} parameters provided: given {len(params)}, expected {self._arity}")
        native = self._native
        if native is None:
            native = self._native = self._bind()
        try:
            return native(*params)
        except TypeError:
            # C checks numbers before it enters the code and knows no Val. Wrong arguments get their message here; if no
            # number was a Val, the code has run and the error came out of a host function.
            types = self._item.type.params
            for valtype, value in zip(types, params, strict=True):
                python_to_bits(owner, valtype, value)
            if not any(isinstance(v, Val) and t in _PYTHON_TYPES for t, v in zip(types, params, strict=True)):
                raise
        return native(*[value._val if isinstance(value, Val) else value for value in params])

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
        if self._unchecked is None:
            self._unchecked = self._native_callable(UNCHECKED)
        results: list[int] = self._unchecked(*slots)
        return results

    def _native_callable(self, flags: int) -> Callable[..., Any]:
        type = self._item.type
        func_ref = ffi.cast("wj_func_ref *", self._item.address)
        params, results = signature(type.params), signature(type.results)
        function: Callable[..., Any] = callable_new(self._owner.pointer, func_ref, params, results, self._owner, flags)
        return function

    def _bind(self) -> Callable[..., Any]:
        """What calls the code with Python values; C does numbers, references are converted here."""
        native = self._native_callable(0)
        params, results = self._item.type.params, self._item.type.results
        if not _has_references(params) and not _has_references(results):
            return native
        record = self._owner

        def call(*arguments: Any) -> Any:
            values = native(
                *[
                    python_to_bits(record, t, v) if t in wt.REFERENCE_TYPES else v
                    for t, v in zip(params, arguments, strict=True)
                ]
            )
            if len(results) > 1:
                return [_from_native(record, t, v) for t, v in zip(results, values, strict=True)]
            return _from_native(record, results[0], values) if results else None

        return call


class Caller:
    """The instance that called a host function; usable as a Store until that function returns.

    >>> from wasmjit import FuncType, Instance, Module, Store
    >>> store = Store()
    >>> def hello(caller):
    ...     print(caller["memory"].read(caller, 0, 5))
    >>> show = Func(store, FuncType([], []), hello, access_caller=True)
    >>> text = '''(module (import "" "show" (func $show)) (memory (export "memory") 1) (data (i32.const 0) "hello")
    ...     (func (export "run") (call $show)))'''
    >>> Instance(store, Module(store.engine, text), [show]).exports(store)["run"](store)
    bytearray(b'hello')
    """

    __slots__ = ("_instance_address", "_live_record")

    def __init__(self, record: StoreRecord, instance_address: int) -> None:
        self._live_record: StoreRecord | None = record
        self._instance_address = instance_address

    @property
    def _record(self) -> StoreRecord:
        if self._live_record is None:
            raise ValueError("caller is no longer valid")
        return self._live_record

    def _invalidate(self) -> None:
        self._live_record = None

    def data(self) -> Any:
        """The object that the store was made with, as `Store.data`. Raises ValueError when the call is over."""
        return self._record.data

    def get(self, name: str) -> AsExtern | None:
        """The calling instance's export `name`; None if there is none, or if the call is over."""
        if not isinstance(name, str):
            raise TypeError("expected a str")
        record = self._live_record
        instance = record.instances.get(self._instance_address) if record is not None else None
        if record is None or instance is None:
            return None
        return instance.export(record, name)

    def __getitem__(self, name: str) -> AsExtern:
        """The calling instance's export `name`. Raises KeyError if there is none."""
        item = self.get(name)
        if item is None:
            raise KeyError(f"failed to find export {name}")
        return item
