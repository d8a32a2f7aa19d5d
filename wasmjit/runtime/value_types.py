"""The public classes of value types and what references are to: ValType, HeapType, FuncType, StructType, ArrayType."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from ..errors import WasmError
from ..wasm import recursion
from ..wasm import types as wt
from .handle import Handle


class ValType(Handle):
    """A value type, made by `ValType.i32()` and so on; equal by value and hashable.

    >>> ValType.i32(), ValType.i32() == ValType.i64()
    (i32, False)
    """

    _code: int

    def __init__(self) -> None:
        raise WasmError("cannot construct directly")

    @classmethod
    def _wrap(cls, code: int) -> ValType:
        self = cls.__new__(cls)
        self._code = code
        return self

    @classmethod
    def i32(cls) -> ValType:
        """32-bit integer."""
        return cls._wrap(wt.I32)

    @classmethod
    def i64(cls) -> ValType:
        """64-bit integer."""
        return cls._wrap(wt.I64)

    @classmethod
    def f32(cls) -> ValType:
        """32-bit float."""
        return cls._wrap(wt.F32)

    @classmethod
    def f64(cls) -> ValType:
        """64-bit float."""
        return cls._wrap(wt.F64)

    @classmethod
    def v128(cls) -> ValType:
        """128-bit vector: in Python 16 bytes, in the order they have in memory; an int is taken too."""
        return cls._wrap(wt.V128)

    @classmethod
    def externref(cls) -> ValType:
        """Nullable reference to any Python object."""
        return cls._wrap(wt.EXTERNREF)

    @classmethod
    def funcref(cls) -> ValType:
        """Nullable reference to a function."""
        return cls._wrap(wt.FUNCREF)

    @classmethod
    def ref(cls, heap_type: HeapType, nullable: bool = True) -> ValType:
        """A reference to what has a heap type, null or not, or never null.

        >>> from wasmjit import HeapType
        >>> ValType.ref(HeapType("func")) == ValType.funcref(), ValType.ref(HeapType("i31"), nullable=False)
        (True, (ref i31))
        """
        if not isinstance(heap_type, HeapType):
            raise TypeError("expected a HeapType")
        return cls._wrap(heap_type._type if nullable else wt.non_null(heap_type._type))

    @property
    def heap_type(self) -> HeapType | None:
        """What it is a reference to; None of numbers and vectors."""
        self._check_open()
        if not wt.is_reference(self._code):
            return None
        return HeapType._wrap(wt.nullable(self._code))

    @property
    def is_nullable(self) -> bool:
        """Whether it is a reference that may be null."""
        self._check_open()
        return wt.is_reference(self._code) and wt.is_defaultable(self._code)

    def matches(self, other: ValType) -> bool:
        """Whether a value of this type can be used where one of type `other` is asked for."""
        self._check_open()
        other._check_open()
        return wt.matches(self._code, other._code)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ValType):
            return False
        self._check_open()
        other._check_open()
        return self._code == other._code

    def __hash__(self) -> int:
        return hash(self._code)

    def __str__(self) -> str:
        """``i32`` and so on; ``anyref`` for an externref, as the wasmtime package prints it: programs compare it."""
        self._check_open()
        return "anyref" if self._code == wt.EXTERNREF else wt.valtype_name(self._code)

    __repr__ = __str__


def _codes(types: Iterable[ValType]) -> tuple[int, ...]:
    codes = []
    for valtype in types:
        if not isinstance(valtype, ValType):
            raise TypeError("expected ValType")
        valtype._check_open()
        codes.append(valtype._code)
    return tuple(codes)


_Wrapped = TypeVar("_Wrapped", bound="TypeHandle")


class TypeHandle(Handle):
    """What the composite types share: equality, hash and text follow the wrapped record."""

    _record_type: Any

    @classmethod
    def _wrap(cls: type[_Wrapped], record: Any) -> _Wrapped:
        self = cls.__new__(cls)
        self._record_type = record
        return self

    @property
    def _type(self) -> Any:
        self._check_open()
        return self._record_type

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._type == other._type

    def __hash__(self) -> int:
        return hash(self._type)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._record_type}>"


class FuncType(TypeHandle):
    """A function type: parameter types to result types.

    >>> FuncType([ValType.i32()], [ValType.f64()]).results
    [f64]
    """

    _record_type: wt.FuncType

    def __init__(self, params: Iterable[ValType], results: Iterable[ValType]) -> None:
        self._record_type = wt.FuncType(_codes(params), _codes(results))

    @property
    def params(self) -> list[ValType]:
        """The parameter types."""
        return [ValType._wrap(code) for code in self._type.params]

    @property
    def results(self) -> list[ValType]:
        """The result types."""
        return [ValType._wrap(code) for code in self._type.results]


_PACKED_NAMES = {wt.I8: "i8", wt.I16: "i16"}


class FieldType(TypeHandle):
    """A field of a structure, or the elements of an array: what it holds, and whether it can be written.

    `storage` is a ValType, or ``"i8"`` or ``"i16"`` for a packed one, which is an i32 when it is read.

    >>> FieldType("i8", mutable=True), FieldType(ValType.i64())
    ((mut i8), i64)
    """

    _record_type: wt.FieldType

    def __init__(self, storage: ValType | str, mutable: bool = False) -> None:
        if isinstance(storage, ValType):
            storage._check_open()
            code = storage._code
        else:
            found = [packed for packed, name in _PACKED_NAMES.items() if name == storage]
            if not found:
                raise TypeError("expected a ValType, 'i8' or 'i16'")
            code = found[0]
        self._record_type = wt.FieldType(code, bool(mutable))

    @property
    def storage(self) -> ValType | str:
        """What it holds."""
        code = self._type.storage
        return _PACKED_NAMES.get(code) or ValType._wrap(code)

    @property
    def mutable(self) -> bool:
        """Whether it can be written."""
        return bool(self._type.mutable)

    def __repr__(self) -> str:
        name = _PACKED_NAMES.get(self._type.storage) or wt.valtype_name(self._type.storage)
        return f"(mut {name})" if self._type.mutable else name


def _defined(kind: str, fields: tuple[wt.FieldType, ...], above: _DefinedType | None, is_final: bool) -> Any:
    """A type that is a recursion group by itself. Raises WasmError if it cannot be below `above`."""
    reference = None if above is None else wt.reference_to(above._type, nullable=False)
    member = recursion.Member(
        kind, bool(is_final), reference, tuple([f.storage for f in fields]), tuple([f.mutable for f in fields])
    )
    (made,) = recursion.defined((member,))
    reason = recursion.supertype_error(made)
    if reason is not None:
        raise WasmError(reason)
    return made


class _DefinedType(TypeHandle):
    """What structure and array types share."""

    @property
    def supertype(self) -> StructType | ArrayType | None:
        """The type that it was declared to be below, or None."""
        above = self._type.definition.supertype
        return None if above is None else _wrapped(above)

    @property
    def is_final(self) -> bool:
        """Whether no type can be declared to be below it."""
        return bool(self._type.definition.is_final)


def _field(field: object) -> wt.FieldType:
    if not isinstance(field, FieldType):
        raise TypeError("expected a FieldType")
    return field._type  # type: ignore[no-any-return]


class StructType(_DefinedType):
    """A structure type, by itself in its recursion group; equal ones are equal wherever they come from.

    `supertype`: the one that it is declared to be below, which must not be final. Raises WasmError if it cannot be.

    >>> shape = StructType([FieldType(ValType.i32())], is_final=False)
    >>> circle = StructType([FieldType(ValType.i32()), FieldType(ValType.f64())], supertype=shape)
    >>> circle, circle.supertype == shape
    ((struct i32 f64), True)
    """

    _record_type: wt.StructType

    def __init__(self, fields: Iterable[FieldType], supertype: StructType | None = None, is_final: bool = True) -> None:
        if supertype is not None and not isinstance(supertype, StructType):
            raise TypeError("expected a StructType or None")
        self._record_type = _defined(recursion.STRUCT, tuple(map(_field, fields)), supertype, is_final)

    @property
    def fields(self) -> list[FieldType]:
        """Its fields."""
        return [FieldType._wrap(field) for field in self._type.fields]

    def __repr__(self) -> str:
        return f"({' '.join(['struct', *map(repr, self.fields)])})"


class ArrayType(_DefinedType):
    """An array type, by itself in its recursion group; equal ones are equal wherever they come from.

    `supertype`: as of a StructType.

    >>> ArrayType(FieldType("i16", mutable=True))
    (array (mut i16))
    """

    _record_type: wt.ArrayType

    def __init__(self, element: FieldType, supertype: ArrayType | None = None, is_final: bool = True) -> None:
        if supertype is not None and not isinstance(supertype, ArrayType):
            raise TypeError("expected an ArrayType or None")
        self._record_type = _defined(recursion.ARRAY, (_field(element),), supertype, is_final)

    @property
    def element(self) -> FieldType:
        """What its elements are."""
        return FieldType._wrap(self._type.element)

    def __repr__(self) -> str:
        return f"(array {self.element!r})"


def _wrapped(type: wt.DefinedType) -> Any:
    if isinstance(type, wt.FuncType):
        return FuncType._wrap(type)
    return (StructType if isinstance(type, wt.StructType) else ArrayType)._wrap(type)


_ABSTRACT = {
    "func": wt.FUNCREF,
    "nofunc": wt.NULLFUNCREF,
    "extern": wt.EXTERNREF,
    "noextern": wt.NULLEXTERNREF,
    "any": wt.ANYREF,
    "eq": wt.EQREF,
    "i31": wt.I31REF,
    "struct": wt.STRUCTREF,
    "array": wt.ARRAYREF,
    "none": wt.NULLREF,
}
_NAMES = {code: name for name, code in _ABSTRACT.items()}


class HeapType(TypeHandle):
    """What a reference is to: one of the specification's kinds, by name, or what has one type.

    `ValType.ref` makes a value type of it.

    >>> HeapType("i31").matches(HeapType("eq"))
    True
    >>> HeapType(FuncType([], [])).name is None
    True
    """

    _record_type: int  # the nullable type of references to it

    def __init__(self, kind: str | FuncType | StructType | ArrayType) -> None:
        if isinstance(kind, str):
            if kind not in _ABSTRACT:
                raise WasmError(f"no heap type is called {kind!r}: expected one of {', '.join(_ABSTRACT)}")
            self._record_type = _ABSTRACT[kind]
        elif isinstance(kind, (FuncType, StructType, ArrayType)):
            self._record_type = wt.reference_to(kind._type, nullable=True)
        else:
            raise TypeError("expected a name, FuncType, StructType or ArrayType")

    @property
    def name(self) -> str | None:
        """``"any"`` and so on; None of what has one type."""
        return _NAMES.get(self._type)

    @property
    def concrete(self) -> FuncType | StructType | ArrayType | None:
        """The type that it has, or None."""
        found = self._type
        return _wrapped(found.type) if isinstance(found, wt.TypeReference) else None

    def matches(self, other: HeapType) -> bool:
        """Whether references to this can be used where those to `other` are asked for."""
        return wt.matches(self._type, other._type)

    def __repr__(self) -> str:
        return self.name or repr(self.concrete)
