"""The type section (spec sections 5.3 and 5.5.4), and value types wherever the module's sections have them.

Groups of types are read as keys (`recursion.py`), in which what is not known yet is named by its position, and interned
when they are complete.
"""

from __future__ import annotations

from ..errors import ValidationError
from .binary import Reader
from .deadline import each
from .module import Module
from .recursion import ARRAY, FUNC, MAX_SUBTYPING_DEPTH, STRUCT, Member, defined, supertype_error, within
from .types import (
    EXCEPTION_TYPES,
    EXTERNREF,
    F32,
    F64,
    FUNCREF,
    GC_TYPE_NAMES,
    I8,
    I16,
    I32,
    I64,
    MAX_PARAMS,
    MAX_RESULTS,
    V128,
    FuncType,
    needs_gc,
    non_null,
    reference_to,
)

# Implementation limits of the JS API.
MAX_TYPES = 1_000_000
MAX_FIELDS = 10_000

# Value types of one byte that need no feature check.
_PLAIN_VALTYPES = bytes((I32, I64, F32, F64, FUNCREF))
_REF, _REF_NULL = 0x64, 0x63  # (ref ht), (ref null ht): followed by a heap type
_FUNC, _STRUCT, _ARRAY, _SUB, _SUB_FINAL, _REC = 0x60, 0x5F, 0x5E, 0x50, 0x4F, 0x4E


class TypeDecoder:
    """The module under construction, the current section's reader, features seen."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.reader = Reader(b"", 0)
        self.used: dict[str, int] = {}  # feature -> offset of its first use
        # Those whose types may be defined, though nothing may have them yet: feature -> offset of the first.
        self.defined_with: dict[str, int] = {}
        # In the type section: the first type of the group that is read, and the one behind it.
        self.group_start = self.group_end = 0
        self.is_in_type_section = False
        self.mentions_gc = False  # does the present type

    def count(self, what: str, limit: int, already: int = 0) -> int:
        """The number of entries that starts a vector; `already` ones count towards the limit as well."""
        at = self.reader.at
        count = self.reader.unsigned()
        if already + count > limit:
            raise self.reader.error(f"{what} count exceeds limit of {limit}: {already + count}", at)
        return count

    def use(self, feature: str, at: int) -> None:
        """Notes the use of a feature at position `at` of the section: checked once the whole module is well formed."""
        self.used.setdefault(feature, self.reader.base + at)

    def define_with(self, feature: str, at: int) -> None:
        """As `use`, of a type that is only defined."""
        self.defined_with.setdefault(feature, self.reader.base + at)

    # ---- value types ----

    def value_type(self) -> int:
        """A value type; those of later proposals are noted as used."""
        reader = self.reader
        at = reader.at
        code = reader.byte()
        if code in _PLAIN_VALTYPES:
            return code
        if code == V128:
            self.use("simd", at)
            return code
        reader.at = at
        return self.reference_type("malformed value type")

    def reference_type(self, error: str = "malformed reference type") -> int:
        """A reference type, in the short form or the long one; those of later proposals are noted as used."""
        reader = self.reader
        at = reader.at
        code = reader.byte()
        if code == FUNCREF:
            return FUNCREF
        if code == EXTERNREF:
            self.use("reference_types", at)
            return EXTERNREF
        if code == _REF_NULL:
            return self.heap_type(nullable=True)
        if code == _REF:
            self.use("function_references", at)
            return self.heap_type(nullable=False)
        reader.at = at
        return self.abstract_heap_type(error)

    def heap_type(self, nullable: bool) -> int:
        """A heap type, as a reference type to it; those of later proposals are noted as used."""
        reader = self.reader
        at = reader.at
        if 0x40 <= reader.data[at] < 0x80:
            if reader.data[at] in (FUNCREF, EXTERNREF):
                found = self.reference_type()
            else:
                found = self.abstract_heap_type("malformed heap type")
            return found if nullable else non_null(found)
        index = reader.signed(33)
        if index < 0:
            raise reader.error("malformed heap type", at)
        self.use("function_references", at)
        if index < len(self.module.types):
            reference = self.module.reference(index, nullable)
            if needs_gc(reference):
                self.use_gc_type(at)
            return reference
        if index >= self.group_end:
            raise ValidationError(f"unknown type {index}", offset=reader.base + at)
        return within(index - self.group_start, nullable)

    def abstract_heap_type(self, error: str) -> int:
        """One of the heap types of the exception and GC proposals, as the nullable reference type to it."""
        at = self.reader.at
        code = self.reader.byte()
        if code in GC_TYPE_NAMES:
            self.use_gc_type(at)
            return code
        if code not in EXCEPTION_TYPES:
            raise self.reader.error(f"{error} {code:#04x}", at)
        self.use("exceptions", at)
        return code

    def use_gc_type(self, at: int) -> None:
        """Notes a type of the GC proposal: where types are defined, or where something would have it."""
        if self.is_in_type_section:
            self.mentions_gc = True
            self.define_with("gc", at)
        else:
            self.use("gc", at)

    def value_types(self, what: str, limit: int) -> tuple[int, ...]:
        """A result type: a vector of value types."""
        reader = self.reader
        data, at = reader.data, reader.at
        count = data[at]
        if count < 0x80:
            types = bytes(data[at + 1 : at + 1 + count])
            if len(types) == count and not types.translate(None, _PLAIN_VALTYPES):
                reader.at = at + 1 + count
                return tuple(types)
        count = self.count(what, limit)
        return tuple([self.value_type() for _ in range(count)])

    # ---- the type section ----

    def type_section(self) -> None:
        """A vector of recursion groups; one of a single type need not say so."""
        reader, types = self.reader, self.module.types
        self.is_in_type_section = True
        for _ in each(self.count("types", MAX_TYPES)):
            at = reader.at
            form = reader.byte()
            if form == _REC:
                self.define_with("gc", at)
                self.group(self.count("types", MAX_TYPES, len(types)))
            elif form == _FUNC:
                self.group_start, self.group_end = len(types), len(types) + 1
                params, results = self.function_type()
                if min((*params, *results), default=0) >= 0:
                    if self.mentions_gc:
                        self.note_gc_type(len(types))
                    types.append(FuncType(params, results))
                else:  # it refers to itself
                    reader.at = at
                    self.group(1)
            else:
                reader.at = at
                self.group(1)
        if len(types) > MAX_TYPES:
            raise reader.error(f"types count exceeds limit of {MAX_TYPES}: {len(types)}")
        self.is_in_type_section = False
        self.group_start = self.group_end = 0

    def function_type(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Parameters and results, after the 0x60."""
        params = self.value_types("params", MAX_PARAMS)
        at = self.reader.at
        results = self.value_types("results", MAX_RESULTS)
        if len(results) > 1:
            self.use("multi_value", at)
        return params, results

    def group(self, count: int) -> None:
        """A recursion group of `count` types, after its head."""
        types = self.module.types
        start = self.group_start = len(types)
        self.group_end = start + count
        members, offsets = [], []
        for position in each(count):
            offsets.append(self.reader.base + self.reader.at)
            members.append(self.member(position))
            if self.mentions_gc:
                self.note_gc_type(start + position)
        types += defined(tuple(members))
        for index, member in enumerate(members, start):
            type = types[index]
            # What a reference within the group is to was not known when it was read.
            refers_within = member.kind == FUNC and min((*member.values, *member.others), default=0) < 0
            if refers_within and isinstance(type, FuncType) and any(map(needs_gc, (*type.params, *type.results))):
                self.note_gc_type(index)
        for depth_only in (True, False):  # depths first: the way up is short in all that follows
            for position, member in enumerate(members):
                if member.supertype is None:
                    continue
                type = types[start + position]
                assert type.definition is not None
                if depth_only and type.definition.depth <= MAX_SUBTYPING_DEPTH:
                    continue
                reason = supertype_error(type)
                if reason is not None:
                    raise ValidationError(f"sub type {start + position}: {reason}", offset=offsets[position])

    def note_gc_type(self, index: int) -> None:
        """After a type that mentions types of the GC proposal."""
        self.module.gc_types.add(index)
        self.mentions_gc = False

    def member(self, position: int) -> Member:
        """A subtype (spec section 5.3.9), the one at a position of its group."""
        reader = self.reader
        at = reader.at
        form = reader.byte()
        is_final, supertype = True, None
        if form in (_SUB, _SUB_FINAL):
            self.define_with("gc", at)
            is_final = form == _SUB_FINAL
            if self.count("supertypes", 1):
                supertype = self.supertype(position)
            at = reader.at
            form = reader.byte()
        if form == _FUNC:
            return Member(FUNC, is_final, supertype, *self.function_type())
        if form == _STRUCT:
            fields = [self.field_type() for _ in each(self.count("fields", MAX_FIELDS))]
            kind = STRUCT
        elif form == _ARRAY:
            fields = [self.field_type()]
            kind = ARRAY
        else:
            raise reader.error(f"malformed type: unknown form {form:#04x}", at)
        self.use_gc_type(at)
        return Member(kind, is_final, supertype, tuple([t for t, _ in fields]), tuple([mut for _, mut in fields]))

    def supertype(self, position: int) -> int:
        """The index of a type's supertype, as a reference to it."""
        at = self.reader.at
        index = self.reader.unsigned()
        if index < len(self.module.types):
            return reference_to(self.module.types[index], nullable=False)
        if index >= self.group_start + position:
            raise ValidationError(f"unknown type {index}: no supertype before it", offset=self.reader.base + at)
        return within(index - self.group_start, nullable=False)

    def field_type(self) -> tuple[int, bool]:
        """Storage type and mutability of a field."""
        storage = self.reader.data[self.reader.at]
        if storage in (I8, I16):
            self.reader.at += 1
        else:
            storage = self.value_type()
        return storage, self.mutability()

    def mutability(self) -> bool:
        at = self.reader.at
        flag = self.reader.byte()
        if flag > 1:
            raise self.reader.error(f"malformed mutability {flag:#04x}", at)
        return flag == 1
