"""A decoded module: what `decode` returns, what `validate`, `compile` and the artifact read. Bodies stay bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

from ..config import Features
from .const_expr import CALL, REF_FUNC
from .const_expr import ConstExpr as ConstExpr
from .types import (
    FUNCTION,
    TAG,
    UNKNOWN,
    DefinedType,
    ExternType,
    FuncType,
    GlobalType,
    MemoryType,
    TableType,
    TagType,
    TypeReference,
    reference_to,
)

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    from ..records import dataclass, field


@dataclass(frozen=True, slots=True)
class Import:
    """One import: its kind, and its type, which for functions and tags is a type index."""

    module: str
    name: str
    kind: int
    type: int | TableType | MemoryType | GlobalType
    offset: int


@dataclass(frozen=True, slots=True)
class Export:
    """One export: extern kind and index in that kind's index space."""

    name: str
    kind: int
    index: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class FunctionBody:
    """The byte range of one code entry: `start` is the first byte of its locals, `end` one past its last byte."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ConstantFunction:
    """What computes a constant expression of several instructions: a function without parameters or locals.

    `start` is the offset in the module of its first instruction, `end` that behind its `end`; `result` is the type of
    its value. It may read the first `num_globals` globals.
    """

    start: int
    end: int
    result: int
    num_globals: int


@dataclass(frozen=True, slots=True)
class GlobalDefinition:
    """A global that the module defines."""

    type: GlobalType
    init: ConstExpr
    offset: int


PASSIVE, ACTIVE, DECLARATIVE = range(3)


class FunctionItems(Sequence[ConstExpr]):
    """The items of an element segment that are all a plain ``ref.func``, as nearly always: kept as function indices.

    Large modules have tens of thousands; a pair of tuples for each would take longer than the rest of loading.
    """

    __slots__ = ("functions",)

    def __init__(self, functions: Sequence[int]) -> None:
        self.functions = functions

    def __len__(self) -> int:
        return len(self.functions)

    @overload
    def __getitem__(self, at: int) -> ConstExpr: ...
    @overload
    def __getitem__(self, at: slice) -> FunctionItems: ...
    def __getitem__(self, at: int | slice) -> ConstExpr | FunctionItems:
        return FunctionItems(self.functions[at]) if isinstance(at, slice) else ((REF_FUNC, self.functions[at]),)

    def __iter__(self) -> Iterator[ConstExpr]:
        return (((REF_FUNC, function),) for function in self.functions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (tuple, FunctionItems)) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"FunctionItems({list(self.functions)})"


@dataclass(frozen=True, slots=True)
class ElementSegment:
    """An element segment. `items` is a constant expression per element; `table` and `start` hold when ACTIVE."""

    mode: int
    element: int
    items: Sequence[ConstExpr]
    table: int
    start: ConstExpr
    offset: int


@dataclass(frozen=True, slots=True)
class DataSegment:
    """A data segment: its bytes are ``wasm[data_start:data_end]``; `memory` and `start` hold when ACTIVE."""

    mode: int
    memory: int
    start: ConstExpr
    data_start: int
    data_end: int
    offset: int


@dataclass(frozen=True, slots=True)
class CustomSection:
    """A custom section: its contents are ``wasm[start:end]``."""

    name: str
    start: int
    end: int


@dataclass(slots=True)
class Names:
    """What the name section tells; empty where it is missing or damaged (a bad name section is no error)."""

    module: str | None = None
    functions: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Module:
    """A decoded module. Index spaces (`functions`, `tables`, `memories`, `globals`) start with the imports."""

    wasm: bytes | memoryview  # of a decoded module bytes; of an artifact what data segments are ranges of
    types: list[DefinedType] = field(default_factory=list)
    # Indices of types of the garbage collection proposal, and of functions that take or return values of it: such may
    # be defined; what has values of them is left out.
    gc_types: set[int] = field(default_factory=set)
    imports: list[Import] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)  # type index of each function
    tables: list[TableType] = field(default_factory=list)
    memories: list[MemoryType] = field(default_factory=list)
    globals: list[GlobalType] = field(default_factory=list)
    tags: list[int] = field(default_factory=list)  # type index of each
    num_imported_functions: int = 0
    num_imported_tables: int = 0
    num_imported_memories: int = 0
    num_imported_globals: int = 0
    num_imported_tags: int = 0
    global_definitions: list[GlobalDefinition] = field(default_factory=list)
    table_inits: dict[int, ConstExpr] = field(default_factory=dict)  # by table index: what its elements are at first
    exports: list[Export] = field(default_factory=list)
    start: int | None = None
    start_offset: int = 0
    elements: list[ElementSegment] = field(default_factory=list)
    data: list[DataSegment] = field(default_factory=list)
    data_count: int | None = None
    merged_data: int | None = None  # the segment with all initial contents (see initial_data.py)
    bodies: list[FunctionBody] = field(default_factory=list)
    code_start: int = 0  # offset of the code section's contents
    code_end: int = 0
    custom_sections: list[CustomSection] = field(default_factory=list)
    # Functions that may become a reference: in element segments, exports, or ref.func in globals (spec C.refs).
    # `ref.func` in a body is valid only for these, so every function reference has a VMFuncRef slot.
    referenced_functions: set[int] = field(default_factory=set)
    names: Names = field(default_factory=Names)
    features: Features = field(default_factory=Features)  # what the bodies may use
    has_tail_calls: bool = False  # whether a body that was validated makes any
    tail_callers: frozenset[int] | None = None  # the functions that make some, where all bodies have been validated
    references: dict[int, TypeReference] = field(default_factory=dict)  # what `reference` has made
    reference_indices: dict[int, int] = field(default_factory=dict)  # of those that are nullable, the type index
    interpretable: bytes = b""  # by position: 1 for bodies that are valid and that the interpreter can take
    # Behind `functions` in the function index space, for constant expressions alone: no other index reaches them.
    constant_functions: list[ConstantFunction] = field(default_factory=list)
    constant_code: bytes = b""  # of a module from an artifact: their bodies, one behind the other

    @property
    def address_type(self) -> int:
        """I32 or I64 where all memories have addresses of this type, UNKNOWN where they differ or there are none."""
        memories = self.memories
        if len(memories) == 1:  # nearly always, and this is asked once per body
            return memories[0].address_type
        kinds = {memory.address_type for memory in memories}
        return kinds.pop() if len(kinds) == 1 else UNKNOWN

    def function_type(self, index: int) -> FuncType:
        """The type of function `index`, which may be a constant function."""
        functions = self.functions
        if index < len(functions):
            return self.types[functions[index]]  # type: ignore[return-value]  # validation has seen to it
        return FuncType((), (self.constant_functions[index - len(functions)].result,))

    def body(self, index: int) -> FunctionBody | ConstantFunction:
        """The byte range of defined function `index`, which may be a constant function: that declares no locals."""
        functions = self.functions
        if index < len(functions):
            return self.bodies[index - self.num_imported_functions]
        return self.constant_functions[index - len(functions)]

    def function_name(self, index: int) -> str | None:
        """What the name section calls a function; of a constant function, what it computes."""
        if index < len(self.functions):
            return self.names.functions.get(index)
        return f"constant expression of {self._owner(((CALL, index),))}"

    def _owner(self, expression: ConstExpr) -> str:
        """What a constant expression that there is once is of."""
        inits = [(f"table {table}", init) for table, init in self.table_inits.items()]
        inits += [(f"global {i}", g.init) for i, g in enumerate(self.global_definitions, self.num_imported_globals)]
        inits += [(f"data segment {i}", segment.start) for i, segment in enumerate(self.data)]
        for i, element in enumerate(self.elements):
            inits.append((f"element segment {i}", element.start))
            if not isinstance(element.items, FunctionItems):
                inits += [(f"element segment {i}", item) for item in element.items]
        return next(owner for owner, init in inits if init == expression)

    def bytes_of_constants(self) -> bytes:
        """The bodies of the constant functions, one behind the other."""
        if self.constant_code:
            return self.constant_code
        return b"".join([bytes(self.wasm[function.start : function.end]) for function in self.constant_functions])

    def import_type(self, position: int) -> ExternType:
        """The type of import number `position`."""
        imported = self.imports[position]
        if imported.kind == FUNCTION:
            return self.called_type(imported.type)  # type: ignore[arg-type]
        if imported.kind == TAG:
            return TagType(self.called_type(imported.type))  # type: ignore[arg-type]
        assert not isinstance(imported.type, int)
        return imported.type

    def called_type(self, type_index: int) -> FuncType:
        """The function type with an index that validation has seen."""
        return self.types[type_index]  # type: ignore[return-value]

    def reference(self, type_index: int, nullable: bool) -> TypeReference:
        """The type of references to what has a type of the module."""
        key = 2 * type_index + nullable
        found = self.references.get(key)
        if found is None:
            found = self.references[key] = reference_to(self.types[type_index], nullable)
            if nullable:
                self.reference_indices[found] = type_index
        return found

    def index_of_reference(self, valtype: TypeReference) -> int:
        """The index of a type that what this refers to has, where the nullable type of references to it was read."""
        return self.reference_indices[reference_to(valtype.type, nullable=True)]

    def func_ref_functions(self) -> list[int]:
        """The defined functions that have a func-ref slot in the instance context, in slot order."""
        first = self.num_imported_functions
        return [function for function in sorted(self.referenced_functions) if function >= first]
