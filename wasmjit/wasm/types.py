"""Types of the specification (section 2.3) as plain data: value types are small integers, the rest frozen records.

Value types are the binary format's own codes, so the decoder, the validator and the artifact share them as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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
UNKNOWN = 0  # the validator's bottom type: an operand of unreachable code

VALTYPE_NAMES: dict[int, str] = {
    I32: "i32",
    I64: "i64",
    F32: "f32",
    F64: "f64",
    V128: "v128",
    FUNCREF: "funcref",
    EXTERNREF: "externref",
    UNKNOWN: "unknown",
}
VALTYPE_CODES: dict[str, int] = {name: code for code, name in VALTYPE_NAMES.items() if code}
NUMERIC_TYPES = frozenset((I32, I64, F32, F64))
REFERENCE_TYPES = frozenset((FUNCREF, EXTERNREF))

# One letter a value type, as the C runtime's signatures have it (runtime_c/wj_api.h) and names of trampolines.
SIGNATURE_LETTERS: dict[int, str] = {I32: "i", I64: "I", F32: "f", F64: "F", V128: "V", FUNCREF: "u", EXTERNREF: "e"}

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


def valtype_name(valtype: int) -> str:
    """The text format's name of a value type."""
    return VALTYPE_NAMES.get(valtype, f"type {valtype:#x}")


def result_type_text(types: tuple[int, ...]) -> str:
    """``[i32 f64]``: a result type as the specification prints it."""
    return "[" + " ".join(valtype_name(t) for t in types) + "]"


@dataclass(frozen=True, slots=True)
class FuncType:
    """A function type: parameter types to result types."""

    params: tuple[int, ...]
    results: tuple[int, ...]

    def __str__(self) -> str:
        return f"{result_type_text(self.params)} -> {result_type_text(self.results)}"


def signature_letters(types: tuple[int, ...]) -> str:
    """The letters of these value types."""
    return "".join([SIGNATURE_LETTERS[t] for t in types])


def trampoline_name(kind: str, type: FuncType) -> str:
    """The symbol of the trampoline of a kind and type (see compile/trampolines.py), to which all references are alike.

    >>> trampoline_name("enter", FuncType((I32, FUNCREF), (F64,)))
    'wj_enter_ir_F'
    """
    params, results = (re.sub("[ue]", "r", signature_letters(types)) for types in (type.params, type.results))
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


ExternType = FuncType | TableType | MemoryType | GlobalType
