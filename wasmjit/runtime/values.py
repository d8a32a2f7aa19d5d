"""The public classes of types of externs (GlobalType, ...), Val, and numbers <-> raw 64-bit slots.

The classes wrap the plain records of `wasmjit.wasm.types`; `_wrap`/`_type` convert.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any

from ..errors import WasmError, printable
from ..wasm import types as wt
from .handle import Handle
from .value_types import FuncType, TypeHandle, ValType

if TYPE_CHECKING:
    from dataclasses import dataclass

    from .func import Func
else:
    from ..records import dataclass

V128_BYTES = 16


def number_to_bits(valtype: int, value: Any) -> int:
    """The raw bits of a number: integers wrap to the type's width, floats are rounded to it (as ctypes does).

    A v128, of 128 bits, is an int or a buffer of 16 bytes. Raises OverflowError and TypeError for others.
    """
    if valtype == wt.V128:
        return _v128_to_bits(value)
    if valtype == wt.I32:
        return int(value) & 0xFFFFFFFF
    if valtype == wt.I64:
        return int(value) & 0xFFFFFFFFFFFFFFFF
    if valtype == wt.F32:
        return int.from_bytes(bytes(ctypes.c_float(value)), "little")
    return int.from_bytes(struct.pack("<d", value), "little")


def _v128_to_bits(value: Any) -> int:
    if isinstance(value, int):
        if not 0 <= value < 1 << 128:
            raise OverflowError(f"{value} is not a v128: expected 0 <= n < 2**128")
        return value
    try:
        contents = memoryview(value).tobytes()
    except TypeError:
        contents = b""
    if len(contents) != V128_BYTES:
        raise TypeError(f"don't know how to convert {value!r} to v128: expected 16 bytes, or an integer")
    return int.from_bytes(contents, "little")


def bits_to_number(valtype: int, bits: int) -> int | float | bytes:
    """The Python value in raw bits: signed integers, floats (a NaN may lose its signalling bit), 16 bytes of a v128."""
    number: int | float
    if valtype == wt.V128:
        return bits.to_bytes(V128_BYTES, "little")
    if valtype == wt.I32:
        (number,) = struct.unpack("<i", (bits & 0xFFFFFFFF).to_bytes(4, "little"))
    elif valtype == wt.I64:
        (number,) = struct.unpack("<q", bits.to_bytes(8, "little"))
    elif valtype == wt.F32:
        (number,) = struct.unpack("<f", (bits & 0xFFFFFFFF).to_bytes(4, "little"))
    else:
        (number,) = struct.unpack("<d", bits.to_bytes(8, "little"))
    return number


class GlobalType(TypeHandle):
    """A global's content type and mutability.

    >>> GlobalType(ValType.f64(), mutable=True).content
    f64
    """

    _record_type: wt.GlobalType

    def __init__(self, valtype: ValType, mutable: bool) -> None:
        if not isinstance(valtype, ValType):
            raise TypeError("expected valtype")
        valtype._check_open()
        self._record_type = wt.GlobalType(valtype._code, bool(mutable))

    @property
    def content(self) -> ValType:
        """The type of its value."""
        return ValType._wrap(self._type.content)

    @property
    def mutable(self) -> bool:
        """Whether it can be set."""
        return bool(self._type.mutable)


@dataclass
class Limits:
    """A minimum and an optional maximum, in elements (tables) or pages (memories).

    >>> Limits(1), Limits(1, 16)
    (Limits(min=1, max=None), Limits(min=1, max=16))
    """

    min: int
    max: int | None = None


def _check_limits(limits: Limits, what: str) -> None:
    for name, value in (("minimum", limits.min), ("maximum", limits.max)):
        if value is not None and (not isinstance(value, int) or value < 0):
            raise WasmError(f"{what}: {name} {value!r} is not a size")


class TableType(TypeHandle):
    """A table's element type, limits in elements, and whether its indices have 64 bits.

    >>> TableType(ValType.funcref(), Limits(10)).element
    funcref
    """

    _record_type: wt.TableType

    def __init__(self, valtype: ValType, limits: Limits, is_64: bool = False) -> None:
        if not isinstance(limits, Limits):
            raise TypeError("expected Limits")
        if not isinstance(valtype, ValType):
            raise TypeError("expected valtype")
        valtype._check_open()
        if not wt.is_reference(valtype._code):
            raise WasmError(f"a table cannot hold {wt.valtype_name(valtype._code)}: expected a reference type")
        _check_limits(limits, "table type")
        if limits.min > wt.MAX_ELEMENTS_32 or (limits.max or 0) > wt.MAX_ELEMENTS_32:
            raise WasmError(f"table type: more than {wt.MAX_ELEMENTS_32} elements")
        if limits.max is not None and limits.max < limits.min:
            raise WasmError("maximum table size cannot be smaller than the minimum table size")
        self._record_type = wt.TableType(valtype._code, wt.Limits(limits.min, limits.max), bool(is_64))

    @property
    def element(self) -> ValType:
        """The type of its elements."""
        return ValType._wrap(self._type.element)

    @property
    def limits(self) -> Limits:
        """Its limits, in elements."""
        return Limits(self._type.limits.min, self._type.limits.max)

    @property
    def is_64(self) -> bool:
        """Whether indices are 64-bit."""
        return bool(self._type.is_64)


class MemoryType(TypeHandle):
    """A linear memory's limits, in pages of ``1 << page_size_log2`` bytes, and its address type.

    >>> memory = MemoryType(Limits(1, 16))
    >>> memory.limits.max * memory.page_size
    1048576
    """

    _record_type: wt.MemoryType

    def __init__(self, limits: Limits, is_64: bool = False, shared: bool = False, page_size_log2: int = 16) -> None:
        if not isinstance(limits, Limits):
            raise TypeError("expected Limits")
        _check_limits(limits, "memory type")
        if page_size_log2 not in (0, wt.PAGE_SIZE_LOG2):
            raise WasmError("page size must be 1 or 65536 bytes (page_size_log2 0 or 16)")
        if limits.max is not None and limits.max < limits.min:
            raise WasmError("maximum page size cannot be smaller than the minimum page size")
        most_pages = 1 << ((64 if is_64 else 32) - page_size_log2)
        if limits.min > most_pages:
            raise WasmError("minimum size is too large for this memory type's index type")
        if limits.max is not None and limits.max > most_pages:
            raise WasmError("maximum size is too large for this memory type's index type")
        if shared and limits.max is None:
            raise WasmError("shared memories must have a maximum size")
        self._record_type = wt.MemoryType(wt.Limits(limits.min, limits.max), bool(is_64), bool(shared), page_size_log2)

    @property
    def limits(self) -> Limits:
        """Its limits, in pages."""
        return Limits(self._type.limits.min, self._type.limits.max)

    @property
    def is_64(self) -> bool:
        """Whether addresses are 64-bit."""
        return bool(self._type.is_64)

    @property
    def is_shared(self) -> bool:
        """Whether threads may share it."""
        return bool(self._type.shared)

    @property
    def page_size(self) -> int:
        """Page size in bytes."""
        return 1 << self.page_size_log2

    @property
    def page_size_log2(self) -> int:
        """Log2 of the page size in bytes."""
        return int(self._type.page_size_log2)


class TagType(TypeHandle):
    """The type of a tag: a function type whose parameters are what an exception carries.

    >>> TagType(FuncType([ValType.i32()], [])).functype.params
    [i32]
    """

    _record_type: wt.TagType

    def __init__(self, functype: FuncType) -> None:
        if not isinstance(functype, FuncType):
            raise TypeError("expected a FuncType")
        self._record_type = wt.TagType(functype._type)

    @property
    def functype(self) -> FuncType:
        """The function type that describes the payload."""
        return FuncType._wrap(self._type.functype)


AsExternType = FuncType | TableType | MemoryType | GlobalType | TagType


def wrap_extern_type(type: wt.ExternType) -> AsExternType:
    """The public class for a plain type record."""
    if isinstance(type, wt.FuncType):
        return FuncType._wrap(type)
    if isinstance(type, wt.TableType):
        return TableType._wrap(type)
    if isinstance(type, wt.MemoryType):
        return MemoryType._wrap(type)
    if isinstance(type, wt.TagType):
        return TagType._wrap(type)
    return GlobalType._wrap(type)


class ImportType(Handle):
    """One import of a module: `module`, `name` and `type`.

    >>> from wasmjit import Engine, Module
    >>> (needed,) = Module(Engine(), '(module (import "host" "print" (func (param i32))))').imports
    >>> needed.module, needed.name, needed.type.params
    ('host', 'print', [i32])
    """

    def __init__(self, module: str, name: str, type: wt.ExternType) -> None:
        self._module = module
        self._name = name
        self._extern_type = type

    @property
    def module(self) -> str:
        """The module name that the import asks for."""
        self._check_open()
        return self._module

    @property
    def name(self) -> str:
        """The name inside that module."""
        self._check_open()
        return self._name

    @property
    def type(self) -> AsExternType:
        """What kind of item it must be."""
        self._check_open()
        return wrap_extern_type(self._extern_type)

    def __repr__(self) -> str:
        return f"<ImportType {printable(f'{self._module}::{self._name}', newlines=False)} {self._extern_type}>"


class ExportType(Handle):
    """One export of a module: `name` and `type`.

    >>> from wasmjit import Engine, Module
    >>> (offered,) = Module(Engine(), '(module (memory (export "memory") 2))').exports
    >>> offered.name, offered.type.limits.min
    ('memory', 2)
    """

    def __init__(self, name: str, type: wt.ExternType) -> None:
        self._name = name
        self._extern_type = type

    @property
    def name(self) -> str:
        """Its name."""
        self._check_open()
        return self._name

    @property
    def type(self) -> AsExternType:
        """What kind of item it is."""
        self._check_open()
        return wrap_extern_type(self._extern_type)

    def __repr__(self) -> str:
        return f"<ExportType {printable(self._name, newlines=False)} {self._extern_type}>"


class Val:
    """A WebAssembly value with its type, for where a bare Python value would not do.

    >>> Val.i32(-1).value, Val.i32(2**31).value
    (-1, -2147483648)
    """

    __slots__ = ("_code", "_val")

    def __init__(self, kind: int, val: Any) -> None:
        """`kind` is the binary format's code of the type; prefer `Val.i32(...)` and so on."""
        self._code = kind
        self._val = val

    @classmethod
    def i32(cls, val: int) -> Val:
        """An i32; wraps to 32 bits. Raises TypeError for anything but an int."""
        return cls._number(wt.I32, val, int, "expected an integer")

    @classmethod
    def i64(cls, val: int) -> Val:
        """An i64; wraps to 64 bits. Raises TypeError for anything but an int."""
        return cls._number(wt.I64, val, int, "expected an integer")

    @classmethod
    def f32(cls, val: float) -> Val:
        """An f32; rounds to it. Raises TypeError for anything but a float."""
        return cls._number(wt.F32, val, float, "expected a float")

    @classmethod
    def f64(cls, val: float) -> Val:
        """An f64. Raises TypeError for anything but a float."""
        return cls._number(wt.F64, val, float, "expected a float")

    @classmethod
    def _number(cls, code: int, val: Any, kind: Any, message: str) -> Val:
        if not isinstance(val, kind):
            raise TypeError(message)
        return cls(code, bits_to_number(code, number_to_bits(code, val)))

    @classmethod
    def v128(cls, val: bytes | bytearray | memoryview | int) -> Val:
        """A v128, of 16 bytes in the order of memory or of their number (little-endian); `value` is the bytes.

        Raises TypeError for anything else, OverflowError for an int that is negative or over 128 bits.

        >>> Val.v128(1).value
        b'\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00'
        """
        return cls(wt.V128, bits_to_number(wt.V128, _v128_to_bits(val)))

    @classmethod
    def externref(cls, extern: Any) -> Val:
        """A reference to any Python object; None is the null reference."""
        return cls(wt.EXTERNREF, extern)

    @classmethod
    def funcref(cls, f: Func | None) -> Val:
        """A reference to a function; None is the null reference."""
        return cls(wt.FUNCREF, f)

    @classmethod
    def ref_null(cls, ty: ValType) -> Val:
        """The null reference of type `ty`. Raises WasmError unless that is a reference type that has null."""
        if not wt.is_reference(ty._code) or not wt.is_defaultable(ty._code):
            raise WasmError(f"Invalid reference type for `ref_null`: {ty}")
        return cls(ty._code, None)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Val):
            return self._code == other._code and bool(self._val == other._val)
        return bool(self._val == other)

    __hash__ = None  # type: ignore[assignment]  # equal to bare values of other types, so no hash fits

    def __repr__(self) -> str:
        return f"Val.{wt.valtype_name(self._code)}({self._val!r})"

    @property
    def value(self) -> Any:
        """The value as a Python object."""
        return self._val

    @property
    def type(self) -> ValType:
        """Its type."""
        return ValType._wrap(self._code)

    def _value_as(self, code: int) -> Any:
        return self._val if self._code == code else None

    def as_i32(self) -> int | None:
        """Its value if it is an i32, else None."""
        value: int | None = self._value_as(wt.I32)
        return value

    def as_i64(self) -> int | None:
        """Its value if it is an i64, else None."""
        value: int | None = self._value_as(wt.I64)
        return value

    def as_f32(self) -> float | None:
        """Its value if it is an f32, else None."""
        value: float | None = self._value_as(wt.F32)
        return value

    def as_f64(self) -> float | None:
        """Its value if it is an f64, else None."""
        value: float | None = self._value_as(wt.F64)
        return value

    def as_v128(self) -> bytes | None:
        """Its 16 bytes if it is a v128, else None."""
        value: bytes | None = self._value_as(wt.V128)
        return value

    def as_externref(self) -> Any:
        """Its object if it is an externref, else None."""
        return self._value_as(wt.EXTERNREF)

    def as_funcref(self) -> Func | None:
        """Its function if it is a funcref, else None."""
        value: Func | None = self._value_as(wt.FUNCREF)
        return value
