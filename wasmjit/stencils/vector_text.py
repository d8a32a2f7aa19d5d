"""LLVM's text of vector operations as stencils: of rows from their own texts, and what moves vectors.

A v128 is in a slot and the one behind it, or in one of the registers that floats are in. A stencil has the text that
most engines have (`vectors.Choice`); where an engine's is another, code calls the routine instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..wasm.first_tier import computed, computed_from, operation_name, vector_rows
from ..wasm.ops import Op
from ..wasm.types import I32, I64, V128, llvm_type
from ..wasm.vectors import LANES
from . import text, vectors
from .machine import current
from .text import CONTEXT_OFFSET, OFFSETS, SLOT_HOLES, Form, Operation, leave

_VECTOR = llvm_type(V128)
# Which the interpreter has with a comparison, too (`text.is_access`).
ACCESSES = frozenset(("V128_LOAD", "V128_STORE"))
# Rows that there is a routine of only: LLVM has an instruction read a constant that is not the last part of it.
_ROUTINES_ONLY = frozenset(("f32x4.convert_i32x4_u",))


def _opaque(name: str, llvm: str) -> str:
    """%name is %name.c, of which LLVM does not know what it is."""
    return f'  %{name} = call {llvm} asm "", "={current().float_constraint},0"({llvm} %{name}.c)'


def _operands(op: Op, form: Form, registers: Sequence[str]) -> list[str]:
    """Defines %a, %b and %c as the row's text has them."""
    lines: list[str] = []
    types = computed_from(op)
    for position, wanted in enumerate(vectors.operand_types(op)):
        name, letter, register = "abc"[position], form.letters[1 + position], registers[1 + position]
        is_number = types[position] != V128
        llvm = llvm_type(types[position]) if is_number else wanted
        # Of what LLVM sees to be the same operand twice it may fold what makes a NaN a quiet one.
        is_hidden = letter == "v" and (form.is_careful or (position != 0 and 1 + position in form.equal))
        value = f"{name}{'.n' * is_number}{'.c' * is_hidden}"
        lines += text.read(value, letter, llvm, register, SLOT_HOLES[1 + position])
        if form.is_careful and letter == "m":
            lines[-1] = lines[-1].replace(" = load ", " = load volatile ")
        if is_hidden:
            lines.append(_opaque(name, wanted))
        if is_number:
            lines.append(vectors.converted(name, f"%{name}.n", llvm, wanted))
    return lines


def _row_operation(op: Op, name: str, lane: int) -> Operation:
    def write(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        made = vectors.compute(op, vectors.Choice(), current().is_x86, str(lane))
        lines = [*_operands(op, form, registers), made.text]
        value, llvm = made.value, made.llvm
        if llvm in ("i8", "i16"):
            lines.append(f"  %r.w = zext {llvm} {value} to i32")
            value, llvm = "%r.w", "i32"
        return [*lines, *text.write_result(value, form, llvm, registers)]

    operation = Operation(name, (computed(op),), computed_from(op), write)
    every = text.forms(name, operation.result, operation.operands)
    # Where no register is left for the result, the operands are put into their slots first.
    return operation._replace(
        kept=tuple(form for form in every if form.letters[0] != "m" or set(form.letters) == {"m"})
    )


def _rows() -> Iterator[Operation]:
    for op in vector_rows():
        name = operation_name(op)
        if "lane" in op.immediates:
            yield from (_row_operation(op, lane_name(name, lane), lane) for lane in range(LANES[op.shape]))
        elif "lanes" not in op.immediates and op.name not in _ROUTINES_ONLY:
            yield _row_operation(op, name, 0)


def lane_name(name: str, lane: int) -> str:
    """The operation of a row for a lane: those of the others follow that of the first, which has the row's name."""
    return f"{name}_OF_{lane}" if lane else name


def _accesses() -> Iterator[Operation]:
    for suffix, offsets in OFFSETS.items():
        address = I64 if suffix == "_NARROW" else I32

        def load(
            form: Form, registers: Sequence[str], offset: str, suffix: str = suffix, address: int = address
        ) -> list[str]:
            lines = text.reads(form, registers, (address,), 1) + text.address_of(offset, suffix)
            lines.append(f"  %v = load volatile {_VECTOR}, ptr %a.e, align 1")
            return [*lines, *text.write_result("%v", form, _VECTOR, registers)]

        def store(
            form: Form, registers: Sequence[str], offset: str, suffix: str = suffix, address: int = address
        ) -> list[str]:
            lines = text.reads(form, registers, (address, V128), 2) + text.address_of(offset, suffix)
            return [*lines, f"  store volatile {_VECTOR} %b, ptr %a.e, align 1", leave("NEXT")]

        yield Operation(f"V128_LOAD{suffix}", (V128,), (address,), load, offsets)
        yield Operation(f"V128_STORE{suffix}", (), (address, V128), store, offsets)


def _globals() -> Iterator[Operation]:
    for prefix, pointer in (("", "p"), ("IMPORTED_", "q")):
        load = "" if pointer == "p" else "\n  %g.q = load ptr, ptr %g.p, align 8"

        def get(
            form: Form, registers: Sequence[str], offset: str, load: str = load, pointer: str = pointer
        ) -> list[str]:
            lines = [text.in_context(offset) + load, f"  %v = load {_VECTOR}, ptr %g.{pointer}, align 8"]
            return [*lines, *text.write_result("%v", form, _VECTOR, registers)]

        def put(
            form: Form, registers: Sequence[str], offset: str, load: str = load, pointer: str = pointer
        ) -> list[str]:
            lines = [*text.reads(form, registers, (V128,), 1), text.in_context(offset) + load]
            return [*lines, f"  store {_VECTOR} %a, ptr %g.{pointer}, align 8", leave("NEXT")]

        yield Operation(f"{prefix}GLOBAL_GET_128", (V128,), (), get, CONTEXT_OFFSET)
        yield Operation(f"{prefix}GLOBAL_SET_128", (), (V128,), put, CONTEXT_OFFSET)


def operations() -> Iterator[Operation]:
    """All operations with vectors that stencils are made of."""
    yield text.copy_operation("COPY_128", ("mm", "mv", "vm", "vv"), _VECTOR)
    yield text.select_operation("SELECT_128", V128)
    loads: dict[str, list[Any]] = {"V128_LOAD": [], "V128_STORE": []}
    for operation in _accesses():
        loads[next(name for name in loads if operation.name.startswith(name))].append(operation)
    for made in loads.values():
        yield from made  # the suffixes of one behind the other
    yield from _globals()
    yield from _rows()
