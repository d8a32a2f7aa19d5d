"""Types of the specification (section 2.3) as plain data: value types are integers, the rest frozen records.

Of most value types these are the binary format's own codes. Equal types are equal integers, in the whole process: the
type of references to what has one type of a type section is a `TypeReference`, made once for equal types
(`reference_to`). Where types need not be equal but fit, `matches` says whether they do. What tells types of recursion
groups apart from others of the same structure is in `recursion.py`.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from ..weak_values import WeakValues

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from ..records import dataclass

I32 = 0x7F
I64 = 0x7E
F32 = 0x7D
F64 = 0x7C
V128 = 0x7B
FUNCREF = 0x70
EXTERNREF = 0x6F
# The reference types of the garbage collection proposal that name no type of the type section.
ANYREF, EQREF, I31REF, STRUCTREF, ARRAYREF, NULLREF, NULLFUNCREF, NULLEXTERNREF = (
    0x6E, 0x6D, 0x6C, 0x6B, 0x6A, 0x71, 0x73, 0x72,
)  # fmt: skip
EXNREF, NULLEXNREF = 0x69, 0x74  # of exceptions
I16, I8 = 0x77, 0x78  # packed types: of fields only
FIRST_REFERENCE, LAST_REFERENCE = 0x69, 0x74  # all codes of reference types, those of exceptions too, are between these
UNKNOWN = 0  # the validator's bottom type: an operand of unreachable code
# Added to the code of a nullable reference type: the one without null. By itself a reference, of unreachable code, that
# is not null and of which no more is known.
NON_NULL = 0x100
_CONCRETE = 0x200
_SERIAL_SHIFT = 10

VALTYPE_NAMES: dict[int, str] = {
    I32: "i32",
    I64: "i64",
    F32: "f32",
    F64: "f64",
    V128: "v128",
    FUNCREF: "funcref",
    EXTERNREF: "externref",
    EXNREF: "exnref",
    NULLEXNREF: "nullexnref",
    UNKNOWN: "unknown",
}
VALTYPE_CODES: dict[str, int] = {name: code for code, name in VALTYPE_NAMES.items() if code}
NUMERIC_TYPES = frozenset((I32, I64, F32, F64))
REFERENCE_TYPES = frozenset((FUNCREF, EXTERNREF))  # those of the first proposal
# The others of one byte.
GC_TYPE_NAMES: dict[int, str] = {
    ANYREF: "anyref",
    EQREF: "eqref",
    I31REF: "i31ref",
    STRUCTREF: "structref",
    ARRAYREF: "arrayref",
    NULLREF: "nullref",
    NULLFUNCREF: "nullfuncref",
    NULLEXTERNREF: "nullexternref",
}
EXCEPTION_TYPES = frozenset((EXNREF, NULLEXNREF))
_HEAP_NAMES = {FUNCREF: "func", EXTERNREF: "extern", 0: "unknown", EXNREF: "exn", NULLEXNREF: "noexn"} | {
    ANYREF: "any",
    EQREF: "eq",
    I31REF: "i31",
    STRUCTREF: "struct",
    ARRAYREF: "array",
    NULLREF: "none",
    NULLFUNCREF: "nofunc",
    NULLEXTERNREF: "noextern",
}
# Abstract heap types, by their nullable references: those above each (spec section 3.3.3).
_ABOVE: dict[int, frozenset[int]] = {
    EQREF: frozenset((ANYREF,)),
    I31REF: frozenset((EQREF, ANYREF)),
    STRUCTREF: frozenset((EQREF, ANYREF)),
    ARRAYREF: frozenset((EQREF, ANYREF)),
    NULLREF: frozenset((I31REF, STRUCTREF, ARRAYREF, EQREF, ANYREF)),
    NULLFUNCREF: frozenset((FUNCREF,)),
    NULLEXTERNREF: frozenset((EXTERNREF,)),
    NULLEXNREF: frozenset((EXNREF,)),
}

_TOPS = {
    FUNCREF: FUNCREF, NULLFUNCREF: FUNCREF, EXTERNREF: EXTERNREF, NULLEXTERNREF: EXTERNREF, EXNREF: EXNREF,
    NULLEXNREF: EXNREF,
}  # fmt: skip

# One letter a value type, as the C runtime's signatures have it (runtime_c/wj_api.h) and names of trampolines.
SIGNATURE_LETTERS: dict[int, str] = {
    I32: "i", I64: "I", F32: "f", F64: "F", V128: "V", FUNCREF: "u", EXTERNREF: "e", EXNREF: "x",
    NULLEXNREF: "y", NULLFUNCREF: "v", NULLEXTERNREF: "w", ANYREF: "a", EQREF: "q", I31REF: "j", STRUCTREF: "s",
    ARRAYREF: "k", NULLREF: "n",
}  # fmt: skip

# Kinds of imports and exports (spec section 5.5.5), by their binary code.
FUNCTION, TABLE, MEMORY, GLOBAL, TAG = range(5)
EXTERN_KIND_NAMES = ("function", "table", "memory", "global", "tag")

# The JS API's implementation limits of a function type.
MAX_PARAMS = 1_000
MAX_RESULTS = 1_000

PAGE_SIZE_LOG2 = 16
PAGE_SIZE_BYTES = 1 << PAGE_SIZE_LOG2
PAGE_SIZES_LOG2 = (0, PAGE_SIZE_LOG2)
MAX_PAGES_32 = 65536  # that the type of a 32-bit memory can name
MAX_ELEMENTS_32 = (1 << 32) - 1  # that of a 32-bit table


def is_reference(valtype: int) -> bool:
    """Whether it is a reference type."""
    return valtype >= NON_NULL or valtype in REFERENCE_TYPES or valtype in GC_TYPE_NAMES or valtype in EXCEPTION_TYPES


def needs_gc(valtype: int) -> bool:
    """Whether it is a type of the garbage collection proposal."""
    if isinstance(valtype, TypeReference):
        return not isinstance(valtype.type, FuncType)
    return valtype & ~NON_NULL in GC_TYPE_NAMES


def top(valtype: int) -> int:
    """The nullable type of all references that have a supertype with these: any, func, extern or exn.

    >>> valtype_name(top(reference_to(FuncType((), ()), nullable=False)))
    'funcref'
    """
    if isinstance(valtype, TypeReference):
        return FUNCREF if isinstance(valtype.type, FuncType) else ANYREF
    return _TOPS.get(valtype & ~NON_NULL, ANYREF)


def difference(from_: int, to: int) -> int:
    """The type of references of type `from_` that a cast to `to` fails for (spec section 3.1.4)."""
    return from_ if not is_defaultable(to) else non_null(from_)


def is_packed(storage: int) -> bool:
    """Whether it is a storage type that values do not have: they are i32."""
    return storage in (I8, I16)


def unpacked(storage: int) -> int:
    """The type of values that are stored so."""
    return I32 if is_packed(storage) else storage


def is_externref(valtype: int) -> bool:
    """Whether it is a reference to something of the host, with or without null: it keeps a Python object alive."""
    return valtype & ~NON_NULL == EXTERNREF


def is_anyref(valtype: int) -> bool:
    """Whether it is a reference to what is below `any`: a structure, an array, an i31, or what was of the host."""
    return is_reference(valtype) and top(valtype) == ANYREF


def is_collected(valtype: int) -> bool:
    """Whether such references keep something alive that is looked for from the roots of a store."""
    return is_externref(valtype) or is_anyref(valtype)


def is_exnref(valtype: int) -> bool:
    """Whether it is a reference to an exception, with or without null."""
    return valtype & ~NON_NULL in EXCEPTION_TYPES


def is_defaultable(valtype: int) -> bool:
    """Whether variables of this type have an initial value: zero or null."""
    return not valtype & NON_NULL


def non_null(valtype: int) -> int:
    """The reference type without null."""
    return reference_to(valtype.type, nullable=False) if isinstance(valtype, TypeReference) else valtype | NON_NULL


def nullable(valtype: int) -> int:
    """The reference type with null."""
    return reference_to(valtype.type, nullable=True) if isinstance(valtype, TypeReference) else valtype & ~NON_NULL


def basic(valtype: int) -> int:
    """The type of one byte that has the same representation: of references the nullable one, and of those to what has
    one type, funcref or anyref."""
    if valtype < NON_NULL:
        return valtype
    if isinstance(valtype, TypeReference):
        return top(valtype)
    return valtype & ~NON_NULL or FUNCREF


def matches(found: int, wanted: int) -> bool:
    """Whether a value of type `found` can be used where `wanted` is asked for (spec section 3.3)."""
    if found in (wanted, UNKNOWN):
        return True
    if not (is_reference(found) and is_reference(wanted)) or (wanted & NON_NULL and not found & NON_NULL):
        return False
    if found == NON_NULL:
        return True
    if isinstance(found, TypeReference):
        if isinstance(wanted, TypeReference):
            return is_subtype(found.type, wanted.type)
        return wanted & ~NON_NULL in found.type.heap_types
    heap_type = found & ~NON_NULL
    if isinstance(wanted, TypeReference):
        return heap_type == wanted.type.bottom
    return heap_type == wanted & ~NON_NULL or wanted & ~NON_NULL in _ABOVE.get(heap_type, ())


def is_subtype(found: DefinedType, wanted: DefinedType) -> bool:
    """Whether `found` is `wanted`, or was declared to be below it, directly or not (63 steps at most)."""
    wanted_definition = wanted.definition
    if wanted_definition is None:
        return found == wanted
    present = found.definition
    while present is not None and present is not wanted_definition:
        present = None if present.supertype is None else present.supertype.definition
    return present is wanted_definition


def all_match(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether values of these types can be used where those are asked for."""
    return found == wanted or (len(found) == len(wanted) and all(map(matches, found, wanted)))


def valtype_name(valtype: int) -> str:
    """The text format's name of a value type; that of the type a reference is to stands in its place."""
    return _name(valtype, is_inner=False)


def _name(valtype: int, is_inner: bool) -> str:
    """What references within the type of a reference are to is left out: a small module has types of any depth."""
    found = VALTYPE_NAMES.get(valtype)
    if found is not None:
        return found
    null = "" if valtype & NON_NULL else "null "
    if isinstance(valtype, TypeReference):
        if is_inner:
            return f"(ref {null}...)"
        if not isinstance(valtype.type, FuncType):
            return f"(ref {null}{valtype.type.KIND} ...)"
        params, results = (
            "".join([f" ({word} {_name(t, is_inner=True)})" for t in types])
            for word, types in (("param", valtype.type.params), ("result", valtype.type.results))
        )
        return f"(ref {null}(func{params}{results}))"
    if valtype in GC_TYPE_NAMES:
        return GC_TYPE_NAMES[valtype]
    heap = _HEAP_NAMES.get(valtype & ~NON_NULL)
    return f"type {valtype:#x}" if heap is None else f"(ref {null}{heap})"


def result_type_text(types: tuple[int, ...]) -> str:
    """``[i32 f64]``: a result type as the specification prints it."""
    return "[" + " ".join(valtype_name(t) for t in types) + "]"


class RecursionGroup:
    """The types of a group, made by `recursion.py`. They keep each other, so what holds one holds all."""

    __slots__ = ("__weakref__", "serial", "types")

    def __init__(self, serial: int) -> None:
        self.serial = serial  # another one for each, never used again
        self.types: tuple[DefinedType, ...] = ()


class Definition:
    """What a type is beside its structure: where it is defined, and what it declares. The same for equal types."""

    __slots__ = ("depth", "group", "is_final", "position", "references", "supertype")

    def __init__(self, group: RecursionGroup, position: int, is_final: bool) -> None:
        self.group = group
        self.position = position
        self.is_final = is_final
        self.supertype: DefinedType | None = None
        self.depth = 0  # how many supertypes there are, one above the other
        self.references: dict[bool, TypeReference] = {}  # by whether they are nullable, those that were asked for


@dataclass(frozen=True, slots=True)
class FuncType:
    """A function type: parameter types to result types.

    Types with a `definition` are equal if that is the same. Those without are final, have no supertype and are a
    recursion group by themselves without referring to it, as all were before the garbage collection proposal.
    """

    params: tuple[int, ...]
    results: tuple[int, ...]
    definition: Definition | None = None

    KIND: ClassVar[str] = "func"
    heap_types: ClassVar[frozenset[int]] = frozenset((FUNCREF,))  # what all of the kind match, without null or with
    bottom: ClassVar[int] = NULLFUNCREF

    def __str__(self) -> str:
        return f"{result_type_text(self.params)} -> {result_type_text(self.results)}"


@dataclass(frozen=True, slots=True)
class FieldType:
    """A field of a structure, or the elements of an array: a value type or a packed one, and mutability."""

    storage: int
    mutable: bool


@dataclass(frozen=True, slots=True)
class StructType:
    """A structure type. It always has a definition."""

    fields: tuple[FieldType, ...]
    definition: Definition

    KIND: ClassVar[str] = "struct"
    heap_types: ClassVar[frozenset[int]] = frozenset((STRUCTREF, EQREF, ANYREF))
    bottom: ClassVar[int] = NULLREF


@dataclass(frozen=True, slots=True)
class ArrayType:
    """An array type. It always has a definition."""

    element: FieldType
    definition: Definition

    KIND: ClassVar[str] = "array"
    heap_types: ClassVar[frozenset[int]] = frozenset((ARRAYREF, EQREF, ANYREF))
    bottom: ClassVar[int] = NULLREF


DefinedType = FuncType | StructType | ArrayType


class TypeReference(int):
    """The type of references to what has one type of a type section, made by `reference_to`."""

    type: DefinedType
    _number: _Number  # keeps it from going to another type, or the type from getting another one

    def __reduce__(self) -> Any:
        """Numbers differ between processes."""
        return reference_to, (self.type, not self & NON_NULL)


class _Number:
    """The number of a type of references, held by those who use it: integers take no weak references themselves."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: int) -> None:
        self.value = value


# Keys have plain integers in place of references, which would keep types: what is held from here, a collection of
# garbage would find only after what refers to it is gone.
_ReferenceKey = tuple[tuple[int, ...], tuple[int, ...], bool]
_references: WeakValues[_ReferenceKey, _Number] = WeakValues()
_references_lock = threading.RLock()  # a signal handler may make types, too
_last_serial = 0  # numbers are not used again: one that is kept somewhere never comes to mean another type


def lock() -> threading.RLock:
    """What is held while types are looked up and made."""
    return _references_lock


def _renew_lock_after_fork() -> None:
    global _references_lock
    _references_lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock_after_fork)


def reference_to(type: DefinedType, nullable: bool) -> TypeReference:
    """The type of references to what has `type`: the same integer for equal ones, as long as one of them is used.

    >>> thunk = FuncType((), (I32,))
    >>> reference_to(thunk, nullable=True) == reference_to(FuncType((), (I32,)), nullable=True)
    True
    >>> valtype_name(reference_to(thunk, nullable=False))
    '(ref (func (result i32)))'
    """
    if type.definition is not None:  # which keeps them: here, they would keep the type that keeps them
        with _references_lock:
            kept = type.definition.references
            found = kept.get(nullable)  # a signal handler may make it, too
            return found or kept.setdefault(nullable, _reference(type, _new_number(nullable)))
    assert isinstance(type, FuncType)
    with _references_lock:
        number = _references.get((type.params, type.results, nullable))
        if number is None:
            number = _new_number(nullable)
            _references[plain(type.params), plain(type.results), nullable] = number
    return _reference(type, number)


def plain(valtypes: tuple[int, ...]) -> tuple[int, ...]:
    """Equal value types, which keep no type."""
    return valtypes if max(valtypes, default=0) < NON_NULL else tuple(map(int, valtypes))


def _new_number(nullable: bool) -> _Number:
    global _last_serial
    _last_serial += 1
    return _Number(_last_serial << _SERIAL_SHIFT | _CONCRETE | (0 if nullable else NON_NULL))


def _reference(type: DefinedType, number: _Number) -> TypeReference:
    made = TypeReference(number.value)
    made.type, made._number = type, number
    return made


class _ByType(dict[int, str]):
    """A text for each value type; references to what has one type have that of funcref or anyref.

    Those that are not told apart have funcref's.
    """

    def __missing__(self, valtype: int) -> str:
        if not is_reference(valtype):
            raise KeyError(valtype)
        representation = basic(valtype)
        return self.get(representation) or self[FUNCREF]


def by_type(texts: dict[int, str]) -> Callable[[int], str]:
    """A function from value types to texts, given those of types of one byte."""
    return _ByType(texts).__getitem__


letter: Callable[[int], str] = by_type(SIGNATURE_LETTERS)
llvm_type: Callable[[int], str] = by_type(
    {
        I32: "i32",
        I64: "i64",
        F32: "float",
        F64: "double",
        V128: "<2 x i64>",  # passed and returned in one vector register
        FUNCREF: "ptr",
        EXTERNREF: "ptr",
        EXNREF: "ptr",
        NULLEXNREF: "ptr",
        **dict.fromkeys(GC_TYPE_NAMES, "ptr"),
    }
)


def signature_letters(types: tuple[int, ...]) -> str:
    """The letters of these value types."""
    return "".join([letter(t) for t in types])


def trampoline_name(kind: str, type: FuncType) -> str:
    """The symbol of the trampoline of a kind and type (see compile/trampolines.py), to which all references are alike.

    >>> trampoline_name("enter", FuncType((I32, FUNCREF), (F64,)))
    'wj_enter_ir_F'
    """
    params, results = (re.sub("[uexyvwaqjskn]", "r", signature_letters(types)) for types in (type.params, type.results))
    return f"wj_{kind}_{params}_{results}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Minimum and optional maximum, in pages (memories) or elements (tables)."""

    min: int
    max: int | None = None

    def __str__(self) -> str:
        return f"{self.min}.." + ("" if self.max is None else str(self.max))


@dataclass(frozen=True, slots=True)
class TableType:
    """A table of references."""

    element: int
    limits: Limits
    is_64: bool = False

    @property
    def address_type(self) -> int:
        """The type of its indices: I32 or I64."""
        return I64 if self.is_64 else I32

    def __str__(self) -> str:
        return f"table {'i64 ' if self.is_64 else ''}{self.limits} {valtype_name(self.element)}"


@dataclass(frozen=True, slots=True)
class MemoryType:
    """A linear memory; limits count pages of ``1 << page_size_log2`` bytes."""

    limits: Limits
    is_64: bool = False
    shared: bool = False
    page_size_log2: int = PAGE_SIZE_LOG2

    @property
    def address_type(self) -> int:
        """The type of its addresses: I32 or I64."""
        return I64 if self.is_64 else I32

    @property
    def most_pages(self) -> int:
        """The largest size it may have, in pages: all that its addresses reach, but below 2^32 or 2^64 pages."""
        reach = 1 << (64 if self.is_64 else 32)
        return min(reach >> self.page_size_log2, reach - 1)

    def __str__(self) -> str:
        shared = " shared" if self.shared else ""
        pages = "" if self.page_size_log2 == PAGE_SIZE_LOG2 else f" (pagesize {1 << self.page_size_log2:#x})"
        return f"memory {'i64 ' if self.is_64 else ''}{self.limits}{shared}{pages}"


@dataclass(frozen=True, slots=True)
class GlobalType:
    """A global variable's content type and mutability."""

    content: int
    mutable: bool

    def __str__(self) -> str:
        return f"global {'mut ' if self.mutable else ''}{valtype_name(self.content)}"


@dataclass(frozen=True, slots=True)
class TagType:
    """An exception tag: the function type whose parameters an exception with it carries."""

    functype: FuncType

    def __str__(self) -> str:
        return f"tag {result_type_text(self.functype.params)}"


ExternType = FuncType | TableType | MemoryType | GlobalType | TagType
