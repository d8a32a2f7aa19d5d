"""Stage 2: validation (spec section 3). Bodies are checked by `body.walk_body`, everything around them here.

Who has the C runtime gives `validate` what spares the walker most bodies (`runtime.validator`). The compiler checks
bodies while it lowers them and calls `validate_module_level` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import ValidationError
from .binary import Reader
from .body_facts import HAS_TAIL_CALLS, IS_INTERPRETABLE, IS_VALID
from .const_expr import F32_CONST, F64_CONST, GLOBAL_GET, I32_CONST, I64_CONST, REF_FUNC, REF_NULL, V128_CONST
from .module import ACTIVE, ConstExpr, ElementSegment, FunctionItems, Module
from .types import (
    EXTERN_KIND_NAMES,
    F32,
    F64,
    FUNCREF,
    FUNCTION,
    GLOBAL,
    I32,
    I64,
    MEMORY,
    NON_NULL,
    PAGE_SIZES_LOG2,
    TABLE,
    TAG,
    V128,
    FuncType,
    Limits,
    MemoryType,
    TableType,
    is_defaultable,
    matches,
    valtype_name,
)

_FUNCTION_SECTION, _TABLE_SECTION, _MEMORY_SECTION, _TAG_SECTION = 3, 4, 5, 13
_CONSTANTS = {I32_CONST: I32, I64_CONST: I64, F32_CONST: F32, F64_CONST: F64, V128_CONST: V128}


_INTERPRETABLE = bytes([bool(verdict & IS_INTERPRETABLE) for verdict in range(256)])
_TAIL_CALLING = frozenset(verdict for verdict in range(256) if verdict & HAS_TAIL_CALLS)

# Looks at the bodies of a module that is valid otherwise, and returns what is known of each, by position: 0 of those
# that it does not take. It takes none that `walk_body` refuses.
BodyChecker = Callable[[Module], bytearray]


def validate(module: Module, check: BodyChecker | None = None) -> int:
    """Checks a whole module, and notes in `module.interpretable` what the interpreter can take.

    `check` may spare the walker bodies that are valid; what it does not take is walked through, in order. Returns how
    many of those turn out to be valid.
    Raises ValidationError (UnsupportedError for features that are left out) with offset and function index, and
    MalformedError where a function body is not in the binary format.
    """
    validate_module_level(module)
    first = module.num_imported_functions
    verdicts = bytearray(len(module.bodies)) if check is None else check(module)
    misses = 0
    position = verdicts.find(0)
    if position >= 0:  # the walker and its table are read in where they are needed: most processes never do
        from .body import walk_body
    while position >= 0:
        facts = walk_body(module, first + position)
        verdicts[position] = (
            IS_VALID | IS_INTERPRETABLE * facts.is_interpretable | HAS_TAIL_CALLS * facts.has_tail_calls
        )
        misses += 1
        position = verdicts.find(0, position + 1)
    if not _TAIL_CALLING.isdisjoint(verdicts):
        module.has_tail_calls = True
    module.tail_callers = frozenset(
        [first + position for position, verdict in enumerate(verdicts) if verdict in _TAIL_CALLING]
        if module.has_tail_calls
        else ()
    )
    module.interpretable = bytes(verdicts.translate(_INTERPRETABLE))
    return misses if check is not None else 0


def validate_module_level(module: Module) -> None:
    """Checks everything but the function bodies (spec section 3.5). Raises ValidationError with the byte offset."""
    _check_types(module)
    imported = module.num_imported_globals
    for table, init in module.table_inits.items():
        offset = _section_start(module, _TABLE_SECTION)
        _check_const_expr(module, init, module.tables[table].element, offset, num_globals=imported)
    for index, definition in enumerate(module.global_definitions, imported):
        _check_const_expr(module, definition.init, definition.type.content, definition.offset, num_globals=index)
    _check_exports(module)
    _check_start(module)
    for segment in module.elements:
        _check_elements(module, segment)
    for data in module.data:
        if data.mode == ACTIVE:
            if data.memory >= len(module.memories):
                raise ValidationError(f"unknown memory {data.memory}", offset=data.offset)
            _check_const_expr(module, data.start, module.memories[data.memory].address_type, data.offset)
    if module.constant_functions:
        from .constant_walk import check_constant_functions

        check_constant_functions(module)


def _check_types(module: Module) -> None:
    """Type indices of functions, and the limits of tables and memories."""
    for imported in module.imports:
        extern = imported.type
        if isinstance(extern, int):
            _check_function_types(module, [extern], imported.offset)
            if imported.kind == TAG:
                _check_tag(module, extern, imported.offset)
        elif isinstance(extern, TableType):
            _check_table(extern, imported.offset)
        elif isinstance(extern, MemoryType):
            _check_memory(extern, imported.offset)
    defined_types = module.functions[module.num_imported_functions :]
    if defined_types:
        _check_function_types(module, defined_types, _section_start(module, _FUNCTION_SECTION))
    defined_tags = module.tags[module.num_imported_tags :]
    if defined_tags:
        offset = _section_start(module, _TAG_SECTION)
        _check_function_types(module, defined_tags, offset)
        for tag in defined_tags:
            _check_tag(module, tag, offset)
    for index, table in enumerate(module.tables[module.num_imported_tables :], module.num_imported_tables):
        _check_table(table, _section_start(module, _TABLE_SECTION))
        if not is_defaultable(table.element) and index not in module.table_inits:
            raise ValidationError(
                f"type mismatch: table {index} of {valtype_name(table.element)} has no initial value",
                offset=_section_start(module, _TABLE_SECTION),
            )
    for memory in module.memories[module.num_imported_memories :]:
        _check_memory(memory, _section_start(module, _MEMORY_SECTION))


def _check_function_types(module: Module, indices: Sequence[int], offset: int) -> None:
    """Indices of types that functions or tags have."""
    if max(indices) >= len(module.types):
        raise ValidationError(f"unknown type {max(indices)}", offset=offset)
    if not module.gc_types:
        return
    for index in indices:
        if not isinstance(module.types[index], FuncType):
            raise ValidationError(f"type mismatch: type {index} is no function type", offset=offset)


def _check_tag(module: Module, index: int, offset: int) -> None:
    if module.called_type(index).results:
        raise ValidationError("non-empty tag result type", offset=offset)


def _section_start(module: Module, wanted: int) -> int:
    """Offset of the contents of a section that is there: decoded modules keep no offset of each type, table, memory."""
    reader = Reader(module.wasm, 0)
    reader.at = 8
    while True:
        section = reader.byte()
        size = reader.unsigned()
        if section == wanted:
            return reader.at
        reader.skip(size)


def _check_limits(limits: Limits, offset: int) -> None:
    if limits.max is not None and limits.min > limits.max:
        raise ValidationError(f"size minimum must not be greater than maximum: {limits}", offset=offset)


def _check_table(table: TableType, offset: int) -> None:
    """A 32-bit table counts its elements in 32 bits."""
    _check_limits(table.limits, offset)
    # 64 bits are all that the binary format has, so a 64-bit table always fits.
    if not table.is_64 and max(table.limits.min, table.limits.max or 0) >= 1 << 32:
        raise ValidationError(f"table size must be at most 2^32-1 elements: {table.limits}", offset=offset)


def _check_memory(memory: MemoryType, offset: int) -> None:
    """Pages have 1 or 65536 bytes; a 32-bit memory has at most 4 GiB, whatever its page size."""
    if memory.page_size_log2 not in PAGE_SIZES_LOG2:
        raise ValidationError(
            f"invalid custom page size: 2^{memory.page_size_log2} bytes, must be 1 or 65536", offset=offset
        )
    _check_limits(memory.limits, offset)
    if memory.shared and memory.limits.max is None:
        raise ValidationError("shared memory must have maximum", offset=offset)
    if max(memory.limits.min, memory.limits.max or 0) <= memory.most_pages:
        return
    suffix = "" if memory.is_64 else " (4GiB)"
    raise ValidationError(f"memory size must be at most {memory.most_pages} pages{suffix}", offset=offset)


def _check_exports(module: Module) -> None:
    spaces: dict[int, int] = {
        FUNCTION: len(module.functions),
        TABLE: len(module.tables),
        MEMORY: len(module.memories),
        GLOBAL: len(module.globals),
        TAG: len(module.tags),
    }
    names: set[str] = set()
    for export in module.exports:
        if export.index >= spaces.get(export.kind, 0):
            raise ValidationError(f"unknown {EXTERN_KIND_NAMES[export.kind]} {export.index}", offset=export.offset)
        if export.name in names:
            raise ValidationError(f'duplicate export name "{export.name}"', offset=export.offset)
        names.add(export.name)


def _check_start(module: Module) -> None:
    if module.start is None:
        return
    if module.start >= len(module.functions):
        raise ValidationError(f"unknown function {module.start}", offset=module.start_offset)
    functype = module.function_type(module.start)
    if functype.params or functype.results:
        raise ValidationError(
            f"start function must take and return nothing, its type is {functype}",
            offset=module.start_offset,
            function=module.start,
        )


def _check_elements(module: Module, segment: ElementSegment) -> None:
    offset = segment.offset
    if segment.mode == ACTIVE:
        if segment.table >= len(module.tables):
            raise ValidationError(f"unknown table {segment.table}", offset=offset)
        table = module.tables[segment.table]
        if not matches(segment.element, table.element):
            raise ValidationError(
                f"type mismatch: elements of type {valtype_name(segment.element)} for a table of "
                f"{valtype_name(table.element)}",
                offset=offset,
            )
        _check_const_expr(module, segment.start, table.address_type, offset)
    items = segment.items
    if (
        isinstance(items, FunctionItems)  # nearly always, and segments can be long
        and segment.element == FUNCREF | NON_NULL
        and max(items.functions, default=-1) < len(module.functions)
    ):
        return
    for item in items:
        _check_const_expr(module, item, segment.element, offset)


def _check_const_expr(
    module: Module, expression: ConstExpr, expected: int, offset: int, *, num_globals: int | None = None
) -> None:
    """A constant expression that gives a value of type `expected` (spec section 3.3.10).

    It may read immutable globals, the first `num_globals` at most. Of constant functions, which are checked by
    themselves, it is known to be their type.
    """
    if not expression:
        raise ValidationError(f"type mismatch: expected {valtype_name(expected)}, found nothing", offset=offset)
    ((opcode, immediate),) = expression
    if opcode in _CONSTANTS:
        found = _CONSTANTS[opcode]
    elif opcode == GLOBAL_GET:
        num_globals = len(module.globals) if num_globals is None else num_globals
        from .constant_walk import check_constant_global

        check_constant_global(module, immediate, num_globals, offset)
        found = module.globals[immediate].content
    elif opcode == REF_FUNC:
        if immediate >= len(module.functions):
            raise ValidationError(f"unknown function {immediate}", offset=offset)
        found = module.reference(module.functions[immediate], nullable=False)
    else:
        found = immediate if opcode == REF_NULL else expected
    if found != expected and not matches(found, expected):
        raise ValidationError(
            f"type mismatch: expected {valtype_name(expected)}, found {valtype_name(found)}", offset=offset
        )
