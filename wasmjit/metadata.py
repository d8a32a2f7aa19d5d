"""A decoded Module as JSON-able data and back: the metadata of a ``.cwasm``.

Only data segment bytes are kept of the wasm bytes: `strip` rewrites the segments to index into those. Names and body
ranges, which most programs never look at, live in sections of their own and are parsed on first use (`LoadedModule`).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import ArtifactError
from .wasm.module import (
    ConstExpr,
    DataSegment,
    ElementSegment,
    Export,
    FunctionBody,
    GlobalDefinition,
    Import,
    Module,
    Names,
)
from .wasm.types import FUNCTION, FuncType, GlobalType, Limits, MemoryType, TableType

if TYPE_CHECKING:
    from dataclasses import replace
else:
    from .records import replace

_REF_FUNC = 0xD2
_Json = Any  # what json.loads returns


def strip(module: Module) -> Module:
    """A copy of `module` whose `wasm` holds the data segments' bytes only, one after the other."""
    pieces, segments, at = [], [], 0
    for segment in module.data:
        piece = module.wasm[segment.data_start : segment.data_end]
        segments.append(replace(segment, data_start=at, data_end=at + len(piece)))
        pieces.append(piece)
        at += len(piece)
    return replace(module, wasm=b"".join(pieces), data=segments, custom_sections=[])


class LoadedModule(Module):
    """A Module from an artifact, whose `names` and `bodies` are parsed when first asked for."""

    __slots__ = ("_bodies", "_load_bodies", "_load_names", "_names")

    _names: Names | None
    _bodies: list[FunctionBody] | None
    _load_names: Callable[[], Names]
    _load_bodies: Callable[[], list[FunctionBody]]

    @property
    def names(self) -> Names:
        """The name section's contents."""
        if self._names is None:
            self._names = self._load_names()
        return self._names

    @names.setter
    def names(self, value: Names) -> None:
        self._names = value

    @property
    def bodies(self) -> list[FunctionBody]:
        """Byte ranges of the defined functions' bodies in the wasm module that was compiled."""
        if self._bodies is None:
            self._bodies = self._load_bodies()
        return self._bodies

    @bodies.setter
    def bodies(self, value: list[FunctionBody]) -> None:
        self._bodies = value


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


def encode_module(module: Module) -> dict[str, _Json]:
    """Everything of a stripped `module` except data bytes, names and bodies."""
    return {
        "types": [[list(t.params), list(t.results)] for t in module.types],
        "imports": [[i.module, i.name, i.kind, _encode_import_type(i), i.offset] for i in module.imports],
        "functions": list(module.functions),
        "tables": [_encode_table(t) for t in module.tables],
        "memories": [_encode_memory(m) for m in module.memories],
        "globals": [[g.content, g.mutable] for g in module.globals],
        "imported": [
            module.num_imported_functions,
            module.num_imported_tables,
            module.num_imported_memories,
            module.num_imported_globals,
        ],
        "global_definitions": [
            [g.type.content, g.type.mutable, _encode_expression(g.init), g.offset] for g in module.global_definitions
        ],
        "exports": [[e.name, e.kind, e.index, e.offset] for e in module.exports],
        "start": [module.start, module.start_offset],
        "elements": [
            [e.mode, e.element, _encode_items(e.items), e.table, _encode_expression(e.start), e.offset]
            for e in module.elements
        ],
        "data": [
            [d.mode, d.memory, _encode_expression(d.start), d.data_start, d.data_end, d.offset] for d in module.data
        ],
        "data_count": module.data_count,
        "code": [module.code_start, module.code_end],
        "referenced_functions": sorted(module.referenced_functions),
    }


def decode_module(
    data: dict[str, _Json], wasm: bytes, load_names: Callable[[], Names], load_bodies: Callable[[], list[FunctionBody]]
) -> LoadedModule:
    """The inverse of `encode_module`; `wasm` holds the data segment bytes. Raises ArtifactError where `data` is not
    what `encode_module` makes."""
    try:
        return _decode_module(data, wasm, load_names, load_bodies)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"the artifact's metadata is damaged ({type(error).__name__}: {error})") from None


def _decode_module(
    data: dict[str, _Json], wasm: bytes, load_names: Callable[[], Names], load_bodies: Callable[[], list[FunctionBody]]
) -> LoadedModule:
    functions, tables, memories, globals_ = data["imported"]
    module = LoadedModule(
        wasm=wasm,
        types=[FuncType(tuple(params), tuple(results)) for params, results in data["types"]],
        imports=[Import(m, n, kind, _decode_import_type(kind, t), at) for m, n, kind, t, at in data["imports"]],
        functions=data["functions"],
        tables=[_decode_table(t) for t in data["tables"]],
        memories=[_decode_memory(m) for m in data["memories"]],
        globals=[GlobalType(content, mutable) for content, mutable in data["globals"]],
        num_imported_functions=functions,
        num_imported_tables=tables,
        num_imported_memories=memories,
        num_imported_globals=globals_,
        global_definitions=[
            GlobalDefinition(GlobalType(content, mutable), _decode_expression(init), at)
            for content, mutable, init, at in data["global_definitions"]
        ],
        exports=[Export(*e) for e in data["exports"]],
        start=data["start"][0],
        start_offset=data["start"][1],
        elements=[
            ElementSegment(mode, element, _decode_items(items), table, _decode_expression(start), at)
            for mode, element, items, table, start, at in data["elements"]
        ],
        data=[
            DataSegment(mode, memory, _decode_expression(start), first, last, at)
            for mode, memory, start, first, last, at in data["data"]
        ],
        data_count=data["data_count"],
        code_start=data["code"][0],
        code_end=data["code"][1],
        referenced_functions=set(data["referenced_functions"]),
    )
    module._names = module._bodies = None
    module._load_names, module._load_bodies = load_names, load_bodies
    return module


def _encode_table(table: TableType) -> _Json:
    return [table.element, table.limits.min, table.limits.max, table.is_64]


def _decode_table(data: _Json) -> TableType:
    element, minimum, maximum, is_64 = data
    return TableType(element, Limits(minimum, maximum), is_64)


def _encode_memory(memory: MemoryType) -> _Json:
    return [memory.limits.min, memory.limits.max, memory.is_64, memory.shared, memory.page_size_log2]


def _decode_memory(data: _Json) -> MemoryType:
    minimum, maximum, *rest = data
    return MemoryType(Limits(minimum, maximum), *rest)


def _encode_import_type(import_: Import) -> _Json:
    kind = import_.type
    if isinstance(kind, TableType):
        return ["table", *_encode_table(kind)]
    if isinstance(kind, MemoryType):
        return ["memory", *_encode_memory(kind)]
    if isinstance(kind, GlobalType):
        return ["global", kind.content, kind.mutable]
    return kind  # a type index: functions, and tags later


def _decode_import_type(kind: int, data: _Json) -> int | TableType | MemoryType | GlobalType:
    if isinstance(data, int):
        return data
    if kind == FUNCTION:
        raise ValueError("a function import without a type index")
    name, *rest = data
    if name == "table":
        return _decode_table(rest)
    if name == "memory":
        return _decode_memory(rest)
    if name == "global":
        return GlobalType(*rest)
    raise ValueError(f"import type {name}")


def _encode_expression(expression: ConstExpr) -> _Json:
    return [list(instruction) for instruction in expression]


def _decode_expression(data: _Json) -> ConstExpr:
    return tuple([(opcode, immediate) for opcode, immediate in data])


def _encode_items(items: tuple[ConstExpr, ...]) -> _Json:
    """A list of function indices where all items are a plain ref.func, which is nearly always so."""
    if all(len(item) == 1 and item[0][0] == _REF_FUNC for item in items):
        return [item[0][1] for item in items]
    return [_encode_expression(item) for item in items]


def _decode_items(data: _Json) -> tuple[ConstExpr, ...]:
    if data and isinstance(data[0], int):
        return tuple([((_REF_FUNC, index),) for index in data])
    return tuple([_decode_expression(item) for item in data])
