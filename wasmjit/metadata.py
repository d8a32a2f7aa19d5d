"""A decoded Module as JSON-able data and back: the metadata of a ``.cwasm``.

What there is one of per function is an array of unsigned 32-bit numbers, which takes next to no time to read: the
types of all functions, the functions that may be referenced, the items of element segments (`_Indices`).
Only data segment bytes are kept of the wasm bytes: `strip` rewrites the segments to index into those. All of it is
parsed when first used (`StoredModule`); names and body ranges, which most programs never look at, by themselves.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import ArtifactError
from .wasm.const_expr import REF_NULL
from .wasm.initial_data import DROPPED, merge, move
from .wasm.module import (
    ConstantFunction,
    ConstExpr,
    DataSegment,
    ElementSegment,
    Export,
    FunctionBody,
    FunctionItems,
    GlobalDefinition,
    Import,
    Module,
    Names,
)
from .wasm.recursion import ARRAY, FUNC, STRUCT, Member, defined, supertype_error, within
from .wasm.types import (
    FUNCTION,
    GC_TYPE_NAMES,
    GLOBAL,
    I8,
    I16,
    MEMORY,
    NON_NULL,
    TABLE,
    TAG,
    VALTYPE_NAMES,
    DefinedType,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    StructType,
    TableType,
    TypeReference,
    is_defaultable,
    is_reference,
    reference_to,
)

if TYPE_CHECKING:
    from dataclasses import fields, replace
else:
    from .records import fields, replace

_Json = Any  # what json.loads returns


def strip(module: Module) -> Module:
    """A copy of `module` whose `wasm` holds the data segments' bytes only; active segments are merged if possible.

    The bodies of constant functions are in `constant_code`.
    """
    constant_code = module.bytes_of_constants()
    merged = merge(module)
    if merged is not module:
        return replace(merged, custom_sections=[], constant_code=constant_code)
    contents = bytearray()
    segments = [move(segment, module.wasm, contents) for segment in module.data]
    return replace(module, wasm=bytes(contents), data=segments, custom_sections=[], constant_code=constant_code)


class StoredModule(Module):
    """A Module from an artifact, of which the names, the bodies, and all the rest are parsed when first asked for.

    Two threads may both do that; they come to the same.
    """

    __slots__ = ("_func_ref_functions", "_load", "_load_bodies", "_load_names")

    def __init__(
        self,
        num_imported_functions: int,
        load: Callable[[], Module],
        load_names: Callable[[], Names],
        load_bodies: Callable[[], list[FunctionBody]],
    ) -> None:
        """`load` gives everything else; it may raise ArtifactError."""
        self.num_imported_functions = num_imported_functions
        self._load = load
        self._load_names = load_names
        self._load_bodies = load_bodies

    def __getattr__(self, name: str) -> Any:
        """For slots that hold nothing yet."""
        if name == "names":
            self.names = self._load_names()
        elif name == "bodies":
            self.bodies = self._load_bodies()
        elif name == "_func_ref_functions":
            self._func_ref_functions = super().func_ref_functions()
        elif name in _LOADED_AT_ONCE:
            loaded = self._load()
            for each in _LOADED_AT_ONCE:
                setattr(self, each, getattr(loaded, each))
        else:
            raise AttributeError(name)
        return getattr(self, name)

    def func_ref_functions(self) -> list[int]:
        """As of any Module, worked out once."""
        return self._func_ref_functions


_LOADED_AT_ONCE = frozenset(field.name for field in fields(Module)) - {"names", "bodies", "num_imported_functions"}


def encode_names(names: Names) -> bytes:
    """JSON of a module's names, deterministic."""
    functions = sorted(names.functions.items())
    return _dump([names.module, [i for i, _ in functions], [name for _, name in functions]])


def decode_names(data: bytes) -> Names:
    """The inverse of `encode_names`."""
    module, indices, functions = json.loads(data)
    return Names(module, dict(zip(indices, functions, strict=True)))


def encode_bodies(module: Module) -> bytes:
    """Start and end of every body as unsigned 32-bit numbers."""
    return array("I", [edge for body in module.bodies for edge in (body.start, body.end)]).tobytes()


def decode_bodies(data: bytes) -> list[FunctionBody]:
    """The inverse of `encode_bodies`."""
    edges = array("I", data)
    return [FunctionBody(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def dump_json(value: _Json) -> bytes:
    """Deterministic JSON."""
    return _dump(value)


def _dump(value: _Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class _Indices:
    """Reads a series of unsigned 32-bit numbers from its start on."""

    def __init__(self, numbers: memoryview[int]) -> None:
        self._numbers = numbers
        self._at = 0

    def take(self, count: int) -> memoryview[int]:
        """The next `count`. Raises ValueError if there are fewer."""
        start, end = self._at, self._at + count
        if not start <= end <= len(self._numbers):
            raise ValueError(f"{count} indices at {start} of {len(self._numbers)}")
        self._at = end
        return self._numbers[start:end]

    def is_at_end(self) -> bool:
        """Whether all were taken."""
        return self._at == len(self._numbers)


def encode_module(module: Module) -> tuple[dict[str, _Json], bytes]:
    """Everything of a stripped `module` except data bytes, names and bodies: JSON-able data, and arrays."""
    referenced = sorted(module.referenced_functions)
    indices = array("I", [*module.functions, *referenced])
    types = _TypeWriter(module.types)
    encoded = {
        "types": types.all(),
        "imports": [[i.module, i.name, i.kind, _encode_import_type(i, types), i.offset] for i in module.imports],
        "functions": len(module.functions),
        "tags": module.tags,
        "tables": [_encode_table(t, types) for t in module.tables],
        "table_inits": [[table, _encode_expression(init, types)] for table, init in module.table_inits.items()],
        "memories": [_encode_memory(m) for m in module.memories],
        "globals": [[types.value(g.content), g.mutable] for g in module.globals],
        "imported": [
            module.num_imported_functions,
            module.num_imported_tables,
            module.num_imported_memories,
            module.num_imported_globals,
            module.num_imported_tags,
        ],
        "global_definitions": [
            [types.value(g.type.content), g.type.mutable, _encode_expression(g.init, types), g.offset]
            for g in module.global_definitions
        ],
        "exports": [[e.name, e.kind, e.index, e.offset] for e in module.exports],
        "start": [module.start, module.start_offset],
        "elements": [
            [
                e.mode,
                types.value(e.element),
                _encode_items(e.items, indices, types),
                e.table,
                _encode_expression(e.start, types),
                e.offset,
            ]
            for e in module.elements
        ],
        "data": [
            len(module.data),
            [
                [at, d.mode, d.memory, _encode_expression(d.start, types), d.data_start, d.data_end, d.offset]
                for at, d in enumerate(module.data)
                if d is not DROPPED
            ],
        ],
        "data_count": module.data_count,
        "merged_data": module.merged_data,
        "code": [module.code_start, module.code_end],
        "referenced_functions": len(referenced),
        "constant_functions": [
            [f.start, f.end, types.value(f.result), f.num_globals] for f in module.constant_functions
        ],
    }
    return encoded, indices.tobytes()


def decode_module(
    data: dict[str, _Json], indices: memoryview[int], wasm: bytes | memoryview, constant_code: bytes = b""
) -> Module:
    """The inverse of `encode_module`; `wasm` holds the data segment bytes, `constant_code` the bodies of constant
    functions. Raises ArtifactError where `data` is not what `encode_module` makes."""
    try:
        return _decode_module(data, _Indices(indices), wasm, constant_code)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"the artifact's metadata is damaged ({type(error).__name__}: {error})") from None


def _decode_module(data: dict[str, _Json], indices: _Indices, wasm: bytes | memoryview, constant_code: bytes) -> Module:
    functions, tables, memories, globals_, tags = data["imported"]
    function_types = indices.take(data["functions"]).tolist()
    referenced_functions = indices.take(data["referenced_functions"]).tolist()
    types = _TypeReader(data["types"])
    module = Module(
        wasm=wasm,
        types=types.types,
        imports=[Import(m, n, kind, _decode_import_type(kind, t, types), at) for m, n, kind, t, at in data["imports"]],
        functions=function_types,
        tags=data["tags"],
        tables=[_decode_table(t, types) for t in data["tables"]],
        table_inits={table: _decode_expression(init, types) for table, init in data["table_inits"]},
        memories=[_decode_memory(m) for m in data["memories"]],
        globals=[GlobalType(types.value(content), mutable) for content, mutable in data["globals"]],
        num_imported_functions=functions,
        num_imported_tables=tables,
        num_imported_memories=memories,
        num_imported_globals=globals_,
        num_imported_tags=tags,
        gc_types={index for index, type in enumerate(types.types) if not isinstance(type, FuncType)},
        global_definitions=[
            GlobalDefinition(GlobalType(types.value(content), mutable), _decode_expression(init, types), at)
            for content, mutable, init, at in data["global_definitions"]
        ],
        exports=[Export(*e) for e in data["exports"]],
        start=data["start"][0],
        start_offset=data["start"][1],
        elements=[
            ElementSegment(
                mode,
                types.value(element),
                _decode_items(items, indices, types),
                table,
                _decode_expression(start, types),
                at,
            )
            for mode, element, items, table, start, at in data["elements"]
        ],
        data=_decode_data(data["data"], types),
        data_count=data["data_count"],
        merged_data=data["merged_data"],
        code_start=data["code"][0],
        code_end=data["code"][1],
        referenced_functions=set(referenced_functions),
        constant_functions=[
            ConstantFunction(start, end, types.value(result), num_globals)
            for start, end, result, num_globals in data["constant_functions"]
        ],
        constant_code=constant_code,
    )
    if any(not isinstance(type, FuncType) for type in types.types):
        for index in {*module.functions, *module.tags}:
            _index_of_function_type(index, types)
    if any(not tables <= table < len(module.tables) for table in module.table_inits):
        raise ValueError("initial elements of no table")
    if not indices.is_at_end():
        raise ValueError("indices of nothing")
    sizes = [function.end - function.start for function in module.constant_functions]
    if min(sizes, default=1) < 1 or sum(sizes) != len(constant_code):
        raise ValueError("constant expressions")
    return module


def _decode_data(data: _Json, types: _TypeReader) -> list[DataSegment]:
    count, rows = data
    segments = [DROPPED] * count
    for position, mode, memory, start, first, last, at in rows:
        segments[position] = DataSegment(mode, memory, _decode_expression(start, types), first, last, at)
    return segments


class _TypeWriter:
    """Writes value types; a reference to what has one type of the module names that type by its index.

    A recursion group is one word, ``(F!:<1?>,S3+w<0!>)``: for each type its kind, what it declares (see `_member`) and
    its values, which name types of the group, too, by their index in the module.
    """

    def __init__(self, types: Sequence[DefinedType]) -> None:
        self._types = types
        self._indices: dict[DefinedType, int] | None = None
        self._own: dict[DefinedType, int] = {}  # those of the group that is written, which may be there twice

    def value(self, valtype: int) -> _Json:
        """JSON of a value type."""
        if not isinstance(valtype, TypeReference):
            return valtype
        return [self._index(valtype.type), is_defaultable(valtype)]

    def _index(self, type: DefinedType) -> int:
        own = self._own.get(type) if self._own else None
        if own is not None:
            return own
        if self._indices is None:
            self._indices = {type: index for index, type in reversed(list(enumerate(self._types)))}
        return self._indices[type]

    def all(self) -> str:
        """The module's types."""
        words: list[str] = []
        at = 0
        while at < len(self._types):
            type = self._types[at]
            if type.definition is None:
                words.append(f"{self._values(type.params)}:{self._values(type.results)}")
                at += 1
                continue
            group = type.definition.group.types
            self._own = dict(zip(group, range(at, at + len(group)), strict=True))
            words.append(f"({','.join(map(self._member, group))})")
            self._own = {}
            at += len(group)
        return " ".join(words)

    def _member(self, type: DefinedType) -> str:
        """Its kind, the index of its supertype if there is one, ``!`` if it is final, else ``?``; then its values, of
        fields with ``+`` in front if they are mutable and ``-`` if not."""
        definition = type.definition
        assert definition is not None
        above = "" if definition.supertype is None else self._index(definition.supertype)
        head = f"{_KIND_LETTERS[type.KIND]}{above}{'!' if definition.is_final else '?'}"
        if isinstance(type, FuncType):
            return f"{head}{self._values(type.params)}:{self._values(type.results)}"
        fields = type.fields if isinstance(type, StructType) else (type.element,)
        return head + "".join([f"{'+' if f.mutable else '-'}{self._values((f.storage,))}" for f in fields])

    def _values(self, valtypes: tuple[int, ...]) -> str:
        """The byte in the binary format of most is an ASCII character."""
        if max(valtypes, default=0) < NON_NULL:
            return bytes(valtypes).decode("ascii")
        return "".join([chr(t) if t < NON_NULL else self._long(t) for t in valtypes])

    def _long(self, valtype: int) -> str:
        written = self.value(valtype)
        if isinstance(written, list):
            return f"<{written[0]}{'?' if written[1] else '!'}>"
        return f"<{chr(valtype & ~NON_NULL)}>"


class _TypeReader:
    """The inverse; `types` are those that were read so far, to which alone others refer that are not of one group."""

    def __init__(self, text: str) -> None:
        self.types: list[DefinedType] = []
        self._group_end = 0
        for each in text.split():
            if each[0] == "(":
                self._group(each[1:-1].split(","))
            else:
                self.types.append(_decode_type(each) if "<" not in each else self._type(each))

    def value(self, data: _Json) -> int:
        """A value type. Raises ValueError or TypeError for what is none."""
        if isinstance(data, list):
            index, nullable = data
            if len(self.types) <= index < self._group_end:
                return within(index - len(self.types), bool(nullable))
            if not 0 <= index < len(self.types):
                raise ValueError(f"type {index} of {len(self.types)}")
            return reference_to(self.types[index], bool(nullable))
        if not data or data & ~NON_NULL not in _VALTYPES or (data & NON_NULL and not is_reference(data)):
            raise ValueError(f"value type {data}")
        return int(data)

    def _type(self, text: str) -> FuncType:
        params, results = map(self._values, text.split(":"))
        return FuncType(params, results)

    def _group(self, members: list[str]) -> None:
        start = len(self.types)
        self._group_end = start + len(members)
        key = tuple([self._member(member, start + position) for position, member in enumerate(members)])
        self.types += defined(key)
        for type in self.types[start:]:
            reason = supertype_error(type)
            if reason is not None:
                raise ValueError(reason)

    def _member(self, text: str, index: int) -> Member:
        head = _MEMBER.fullmatch(text)
        if head is None:
            raise ValueError(f"type {text[:20]}")
        letter, above, finality, rest = head.groups()
        if above and int(above) >= index:  # is_subtype goes up until there is none
            raise ValueError(f"supertype {above} of type {index}")
        supertype = self.value([int(above), False]) if above else None
        kind = _KINDS[letter]
        if kind == FUNC:
            params, results = map(self._values, rest.split(":"))
            return Member(kind, finality == "!", supertype, params, results)
        fields = _FIELDS.findall(rest)
        if len("".join(itertools.chain.from_iterable(fields))) != len(rest):
            raise ValueError(f"fields {rest[:20]}")
        storage = tuple([self._storage(piece) for _, piece in fields])
        return Member(kind, finality == "!", supertype, storage, tuple([mark == "+" for mark, _ in fields]))

    def _values(self, text: str) -> tuple[int, ...]:
        return tuple([self._piece(piece) for piece in _PIECES.findall(text)])

    def _storage(self, piece: str) -> int:
        return ord(piece) if piece in _PACKED else self._piece(piece)

    def _piece(self, piece: str) -> int:
        if piece[0] != "<":
            return self.value(ord(piece))
        if piece[-2] in "?!":
            return self.value([int(piece[1:-2]), piece[-2] == "?"])
        return self.value(ord(piece[1]) | NON_NULL)


_PIECES = re.compile(r"<[^>]*>|.", re.DOTALL)
_FIELDS = re.compile(r"([+-])(<[^>]*>|.)", re.DOTALL)
_MEMBER = re.compile(r"([FSA])([0-9]*)([!?])(.*)", re.DOTALL)
_KIND_LETTERS = {FUNC: "F", STRUCT: "S", ARRAY: "A"}
_KINDS = {letter: kind for kind, letter in _KIND_LETTERS.items()}
_PACKED = (chr(I8), chr(I16))
# What a type without references to what has one type consists of.
_VALTYPES = bytes([*(code for code in VALTYPE_NAMES if code), *GC_TYPE_NAMES])


def _decode_type(text: str) -> FuncType:
    return _usual_type(text) if len(text) <= _USUAL_TYPE_CHARACTERS else _made_type(text)


_USUAL_TYPE_CHARACTERS = 32  # longer ones take kilobytes


@functools.lru_cache(maxsize=4096)  # modules have much the same ones
def _usual_type(text: str) -> FuncType:
    return _made_type(text)


def _made_type(text: str) -> FuncType:
    params, results = text.encode("ascii").split(b":")
    if (params + results).translate(None, _VALTYPES):
        raise ValueError(f"type {text[:20]!r}")
    return FuncType(tuple(params), tuple(results))


def _encode_table(table: TableType, types: _TypeWriter) -> _Json:
    return [types.value(table.element), table.limits.min, table.limits.max, table.is_64]


def _decode_table(data: _Json, types: _TypeReader) -> TableType:
    element, minimum, maximum, is_64 = data
    return TableType(types.value(element), Limits(minimum, maximum), is_64)


def _encode_memory(memory: MemoryType) -> _Json:
    return [memory.limits.min, memory.limits.max, memory.is_64, memory.shared, memory.page_size_log2]


def _decode_memory(data: _Json) -> MemoryType:
    minimum, maximum, *rest = data
    return MemoryType(Limits(minimum, maximum), *rest)


def _encode_import_type(import_: Import, types: _TypeWriter) -> _Json:
    kind = import_.type
    if isinstance(kind, TableType):
        return _encode_table(kind, types)
    if isinstance(kind, MemoryType):
        return _encode_memory(kind)
    if isinstance(kind, GlobalType):
        return [types.value(kind.content), kind.mutable]
    return kind  # a type index


def _decode_import_type(kind: int, data: _Json, types: _TypeReader) -> int | TableType | MemoryType | GlobalType:
    if kind in (FUNCTION, TAG):
        return _index_of_function_type(data, types)
    if kind == TABLE:
        return _decode_table(data, types)
    if kind == MEMORY:
        return _decode_memory(data)
    if kind == GLOBAL:
        content, mutable = data
        return GlobalType(types.value(content), mutable)
    raise ValueError(f"import kind {kind}")


def _index_of_function_type(index: _Json, types: _TypeReader) -> int:
    if not 0 <= index < len(types.types) or not isinstance(types.types[index], FuncType):
        raise ValueError(f"function type {index}")
    return int(index)


def _encode_expression(expression: ConstExpr, types: _TypeWriter) -> _Json:
    return [[opcode, types.value(immediate) if opcode == REF_NULL else immediate] for opcode, immediate in expression]


def _decode_expression(data: _Json, types: _TypeReader) -> ConstExpr:
    if not data:  # of segments that are not active
        return ()
    ((opcode, immediate),) = data
    return ((opcode, types.value(immediate) if opcode == REF_NULL else immediate),)


def _encode_items(items: Sequence[ConstExpr], indices: array[int], types: _TypeWriter) -> _Json:
    """Plain functions are counted here, and go to `indices`."""
    if isinstance(items, FunctionItems):
        indices.extend(items.functions)
        return len(items)
    return [_encode_expression(item, types) for item in items]


def _decode_items(data: _Json, indices: _Indices, types: _TypeReader) -> Sequence[ConstExpr]:
    if isinstance(data, int):
        return FunctionItems(indices.take(data))
    return tuple([_decode_expression(item, types) for item in data])
