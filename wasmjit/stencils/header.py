"""Writes stencils as tables for C.

    python -m wasmjit.stencils.header FOLDER MACHINE

makes ``wj_stencils.h`` in the build folder, or that of another machine, unless what is there was made of the same
sources. ``runtime_c/build.py`` does that before it compiles.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..wasm.first_tier import operation_name
from ..wasm.ops import OPS
from ..wasm.types import I32, V128
from . import cut, text, vector_text
from .cut import Blob, Hole
from .machine import current, use
from .sources import state_of
from .text import Operation

_WHAT = (*text.SLOT_HOLES, text.NARROW, text.WIDE, text.FULL, "TARGET", "POOL", text.BYTE, text.PLACE)
_DIVISIONS = [f"I{bits}_{name}" for bits in (32, 64) for name in ("DIV_S", "DIV_U", "REM_S", "REM_U")]
_HIGH = 4  # is added to the operand of a field of one bit, the fourth of its register
_FIRST_TRAP = 16  # TRAP_n is this and n


def _what(hole: Hole, blob: Blob) -> tuple[int, int]:
    """Number and addend of what is written into a hole."""
    if hole.what.startswith(cut.POOL):
        return _WHAT.index("POOL"), blob.places[hole.what]
    if hole.what.startswith("TRAP_"):
        return _FIRST_TRAP + int(hole.what.removeprefix("TRAP_")), 0
    if hole.kind == "RELATIVE_32" and hole.addend != -4:
        raise cut.StencilError(f"a jump to {hole.what}{hole.addend:+}")
    return _WHAT.index(hole.what), 0 if hole.kind == "RELATIVE_32" else hole.addend


def _array(declaration: str, items: Iterable[object], per_line: int = 24) -> list[str]:
    values = [str(item) for item in items] or ["0"]
    lines = [", ".join(values[i : i + per_line]) + "," for i in range(0, len(values), per_line)]
    return [f"static const {declaration} = {{", *lines, "};"]


def _registers_of(operation: Operation, letters: str) -> int:
    """A bit for each operand that is in a register of these letters, if it is in one, of forms that are given."""
    count = len(operation.letters[0])
    is_there = [any(form[i] in letters for form in operation.letters) for i in range(count)]
    others = [any(form[i] not in letters + "m" for form in operation.letters) for i in range(count)]
    return sum(1 << i for i in range(count) if is_there[i] and not others[i])


def _forms_and_rows(
    operations: list[Operation], by_operation: dict[str, dict[int, int]]
) -> tuple[list[int], list[str]]:
    """The stencil of each form of an operation, 0 where there is none; and where the forms of each operation begin."""
    forms: list[int] = []
    rows: list[str] = []
    for operation in operations:
        found = by_operation[operation.name]
        types = [*operation.result, *operation.operands]
        floats = sum(1 << i for i, valtype in enumerate(types) if text.is_float(valtype))
        vectors = sum(1 << i for i, valtype in enumerate(types) if valtype == V128)
        if operation.letters:
            floats = _registers_of(operation, "fv") or floats
            vectors = _registers_of(operation, "v")
        is_narrow = int(operation.result == (I32,))
        rows.append(f"{{{len(forms)}, {len(types)}, {len(operation.result)}, {floats}, {is_narrow}, {vectors}}}")
        forms += [found.get(index, 0) for index in range(max(found) + 1)]
        forms += [0] * ((1 << 2 * len(types)) - max(found) - 1)
    return forms, rows


def _interpreted(operations: list[Operation]) -> Iterator[tuple[str, Operation]]:
    """The interpreter's operations that are rows, by name, and what there are stencils of for each."""
    accesses = {operation_name(op) for op in OPS.values() if text.is_access(op)} | vector_text.ACCESSES
    for operation in operations:
        if text.is_interpreted(operation.name):
            yield operation.name, operation
        if operation.name in accesses:  # behind a comparison
            yield f"{operation.name}_CHECKED", operation
        if operation.name.removeprefix("BRANCH_") in _DIVISIONS:  # by a constant, which is put somewhere first
            yield f"{operation.name}_IMMEDIATE", operation


def _result(operation: Operation) -> str:
    if not operation.result:
        return "WJ_RESULT_NONE"
    return "WJ_RESULT_NARROW" if operation.result == (I32,) else "WJ_RESULT_WIDE"


def render(operations: list[Operation], blob: Blob) -> str:
    """The text of the header."""
    code = bytearray()
    offsets: dict[bytes, int] = {}
    fields: list[str] = []
    holes: list[str] = []
    stencils: list[str] = ["{0, 0, 0, 0, 0, 0, 0, 0, 0}"]  # 0: there is none
    by_operation: dict[str, dict[int, int]] = {}
    for stencil in blob.stencils:
        if stencil.code not in offsets:
            offsets[stencil.code] = len(code)
            code += stencil.code
        short = stencil.short
        is_short, offset, change = (short.hole + 1, short.offset, short.change) if short else (0, 0, 0)
        stencils.append(
            f"{{{offsets[stencil.code]}, {len(fields)}, {len(holes)}, {len(stencil.code)}, {len(stencil.fields)}, "
            f"{len(stencil.holes)}, {is_short}, {offset}, {change}}}"
        )
        fields += [
            f"{{{field.offset}, {field.shift}, {field.operand + _HIGH * field.is_high}}}" for field in stencil.fields
        ]
        for hole in stencil.holes:
            what, addend = _what(hole, blob)
            holes.append(f"{{{hole.offset}, {what}, {addend}}}")
        by_operation.setdefault(stencil.form.operation, {})[stencil.form.number] = len(stencils) - 1
    interpreted = list(_interpreted(operations))
    forms, rows = _forms_and_rows(operations, by_operation)
    lines = [
        "/* Generated by wasmjit.stencils.header when the C runtime is built: do not edit. */",
        "#ifndef WJ_STENCILS_H",
        "#define WJ_STENCILS_H",
        '#include "stencil.h"',
        f'#define WJ_STENCIL_CPU "{current().cpu}"',
        "enum {",
        *(f"    WJ_STENCIL_{operation.name}," for operation in operations),
        "};",
        "#ifdef WJ_STENCIL_TABLES /* in the one source that copies */",
        *_array("uint8_t stencil_code[]", code),
        *_array("uint8_t stencil_pool[]", blob.pool),
        *_array("wj_stencil_field stencil_fields[]", fields, 8),
        *_array("wj_stencil_hole stencil_holes[]", holes, 8),
        *_array("wj_stencil stencils[]", stencils, 4),
        *_array("uint16_t stencil_forms[]", forms),
        *_array("wj_stencil_operation stencil_operations[]", rows, 6),
        "/* Of the interpreter's operations: the stencils' number, plus 1. */",
        "const uint16_t wj_stencils_of[WJ_OPERATION_COUNT] = {",
        *(f"    [WJ_OP_{name}] = WJ_STENCIL_{operation.name} + 1," for name, operation in interpreted),
        "};",
        "const uint8_t wj_results_of[WJ_OPERATION_COUNT] = {",
        *(f"    [WJ_OP_{name}] = {_result(operation)}," for name, operation in interpreted),
        "};",
        "const wj_stencil_operation *const wj_stencil_operations = stencil_operations;",
        "#endif",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def make(folder: Path, machine: str) -> None:
    """Writes the header of a machine, unless it is of the same sources. Raises StencilError."""
    used = use(machine)
    path = folder / used.header
    head = f"/* of {state_of()} */\n"
    if path.exists() and path.read_text().startswith(head):
        return
    operations = [*text.operations(), *vector_text.operations()]
    contents = head + render(operations, cut.cut(operations, used.cpu))
    part = path.with_suffix(".part")
    part.write_text(contents)
    part.replace(path)


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
