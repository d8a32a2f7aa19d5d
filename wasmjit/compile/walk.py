"""Walks a function body for its code: the loop of `wasm.body`, which validates, with text for what is frequent.

The fast paths take what is valid beyond doubt and has a template; `wasm.instructions` has the methods for all else. A
template's text is written here, where it costs no call; what only some need is a method of the lowering.
"""

from __future__ import annotations

import functools
from itertools import count as counting
from typing import Any

from ..wasm.body import BodyWalker
from ..wasm.body_facts import BodyFacts
from ..wasm.instructions import METHODS, TRACKING_METHODS, Method
from ..wasm.leb128 import read_signed, read_u32
from ..wasm.lowering import FAST_ROWS
from ..wasm.ops import COMPARISON, CONDITION, FLOAT_BINARY, FREE_OF_FUEL, LOAD, OP_BY_NAME, STORE, Op
from ..wasm.types import I32
from .function import FunctionLowering
from .lower import Render, Renderers, is_text
from .lower import templates as templates_of

# The text of one-byte constants.
_SMALL_CONSTANTS = [str(byte if byte < 0x40 else byte - 0x80) for byte in range(0x80)]
# br_if, if, select, i32.eqz: they take the i1 of a comparison as it is.
_TAKES_CONDITION = frozenset((0x0D, 0x04, 0x1B, 0x1C, 0x45))


def lower_body(lowering: FunctionLowering) -> BodyFacts:
    """Validates a function's body and lowers it on the way. Raises what `walk_body` raises."""
    return LoweringWalker(lowering).walk()


class LoweringWalker(BodyWalker):
    """The walk through a body that is lowered."""

    def __init__(self, function: FunctionLowering) -> None:
        super().__init__(function.module, function.function_index, function)
        self.function = function

    def run(self) -> BodyFacts:
        """Walks the body."""
        wasm, types, local_types, function = self.wasm, self.types, self.local_types, self.function
        at, num_locals = self.read_locals()
        methods = _METHODS if self.unset is None else _TRACKING_METHODS
        function.begin(local_types, len(self.type.params), self.frame, types)
        rows = _text_rows(function.unit.policy.canonical_nans, self.module.address_type)
        values, tainted, cache, pending = function.values, function.tainted, function.cache, function.pending
        push_type, push_value, emit = types.append, values.append, function.lines.append
        height = deepest = look_at = name = block_start = num_free = 0
        live = True
        for count in counting(1):
            if at >= look_at:
                look_at = self.look(at)
            op_at, op = at, wasm[at]
            at += 1
            if live:
                if op == 0x20:  # local.get
                    index = wasm[at]
                    at += 1
                    if index >= 0x80:
                        index, at = read_u32(wasm, at - 1)
                    if index >= num_locals:
                        self.check_get(index, op_at)
                    push_type(local_types[index])
                    hit = cache.get(index)
                    push_value(function.read_local(index, hit) if hit is None or hit[1] < block_start else hit[0])
                    if index in pending:
                        del pending[index]
                    continue
                if op == 0x41:  # i32.const
                    value = wasm[at]
                    at += 1
                    if value >= 0x80:
                        value, at = read_signed(wasm, at - 1, 32)
                        push_value(str(value))
                    else:
                        push_value(_SMALL_CONSTANTS[value])
                    push_type(I32)
                    continue
                row = rows[op]
                if row is not None:
                    first, second, result, template, method, op_row = row
                    size = len(types)
                    if second:
                        fits = size - 2 >= height and types[-1] == second and types[-2] == first
                    else:
                        fits = size > height and types[-1] == first
                    if fits:
                        if size > deepest:
                            deepest = size
                        name += template is not None
                        if method is not None:
                            at = method(self, op_row, template, name, at, op_at)
                            continue
                        b = values.pop() if second else ""
                        if second:
                            types.pop()
                        types[-1] = result
                        a = values[-1]
                        values[-1] = r = f"%v{name}"
                        text = template(r, a, b)
                        if a in tainted or b in tainted:
                            text += function.spread(op_row, r, a, b)
                        emit(text)
                        continue
            # Everything else, everything unreachable, and whatever the fast paths did not accept.
            self.op_at = op_at
            if len(types) > deepest:
                deepest = len(types)
            if function.fuel:
                num_free += not live or op in FREE_OF_FUEL
                function.fuel_seen = 1 + count - num_free  # entering the function costs 1
            at = methods[op](self, at)
            if self.done:
                break
            live = self.live
            height = self.frame.height
            block_start = function.block_start
        return self.facts(at, count, deepest)

    def write_local(self, at: int) -> int:
        """local.set, local.tee"""
        if not self.live:
            return METHODS[self.wasm[self.op_at]](self, at)
        index = self.wasm[at]
        at += 1
        if index >= 0x80:
            index, at = read_u32(self.wasm, at - 1)
        types, function = self.types, self.function
        if index >= len(self.local_types) or self.unset is not None:
            self.check_set(index)
        if len(types) <= self.frame.height or types[-1] != self.local_types[index]:
            self.take(self.local_types[index], self.op_at)
        value = function.values[-1]
        if self.wasm[self.op_at] == 0x21:
            types.pop()
            function.values.pop()
        lines, cache, pending = function.lines, function.cache, function.pending
        lines.append(f"{function.stores[index]}{value}, ptr %l{index}")
        if index in pending:
            function.overwrite_pending(index)
        if index in cache:
            del cache[index]  # in the order of their lines
        cache[index] = (value, len(lines))
        if index not in function.writes:
            function.writes[index] = len(function.successors)
        if value in function.tainted:
            pending[index] = (len(lines) - 1, value, len(function.successors))
        return at

    # ---- rows that need more than their template: operands have the right types, `number` is for names ----

    def pop_operands(self, row: Op) -> tuple[str, str]:
        """Pops the types of a row's operands, pushes that of its result; the last value is to be replaced by that."""
        types, values = self.types, self.function.values
        b = ""
        if len(row.params) == 2:
            types.pop()
            b = values.pop()
        types[-1] = row.result
        return values[-1], b

    def irregular(self, row: Op, template: Render | None, number: int, at: int, op_at: int) -> int:
        a, b = self.pop_operands(row)
        self.function.values[-1] = self.function.irregular(row, a, b, op_at)
        return at

    def float_binary(self, row: Op, template: Render, number: int, at: int, op_at: int) -> int:
        a, b = self.pop_operands(row)
        self.function.values[-1] = self.function.float_binary(row, template, f"%v{number}", a, b)
        return at

    def comparison(self, row: Op, template: Render, number: int, at: int, op_at: int) -> int:
        a, b = self.pop_operands(row)
        is_condition = self.wasm[at] in _TAKES_CONDITION
        self.function.values[-1] = self.function.comparison(row, template, number, a, b, is_condition)
        return at

    def access_memory(self, row: Op, template: Render | None, number: int, at: int, op_at: int) -> int:
        align, offset, memory = self.wasm[at], self.wasm[at + 1], 0
        if align < 0x20 and 1 << align <= row.access_bytes and offset < 0x80:
            at += 2
        else:
            at = self.access(at, op_at, row.access_bytes.bit_length() - 1)
            offset, memory = self.offset, self.memory
        if row.kind == LOAD:
            self.types[-1] = row.result
            self.function.load(row, memory, offset, op_at)
        else:
            del self.types[-2:]
            self.function.store(row, memory, offset, op_at)
        return at


# Of a one-byte opcode: types of operands and result, as in FastRow; its renderer, if it has one; the method of the
# walker that lowers it, None where a renderer is all that is needed; and the row.
_TextRow = tuple[int, int, int, Any, Any, Op]

_METHOD_OF_KIND = {
    FLOAT_BINARY: LoweringWalker.float_binary,
    COMPARISON: LoweringWalker.comparison,
    CONDITION: LoweringWalker.comparison,
    LOAD: LoweringWalker.access_memory,
    STORE: LoweringWalker.access_memory,
}


def _with_local_writes(methods: list[Method]) -> list[Method]:
    methods = list(methods)
    for name in ("local.set", "local.tee"):
        methods[OP_BY_NAME[name].code] = LoweringWalker.write_local
    return methods


_METHODS, _TRACKING_METHODS = _with_local_writes(METHODS), _with_local_writes(TRACKING_METHODS)


def _late_template(rows: list[_TextRow | None], templates: Renderers, code: int) -> Render:
    """What makes the renderer of a row when it is first used, and puts it in its place."""

    def render(result: str, a: str, b: str) -> str:
        template = templates[code]
        row = rows[code]
        assert row is not None
        rows[code] = (*row[:3], template, *row[4:])
        return template(result, a, b)

    return render


@functools.cache
def _text_rows(canonical: bool, address_type: int) -> list[_TextRow | None]:
    """By opcode, with or without Config.nan_canonicalization, where memories have this address type."""
    templates = templates_of(canonical)
    rows: list[_TextRow | None] = []
    for fast in FAST_ROWS[address_type]:
        if fast is None:
            rows.append(None)
            continue
        first, second, result, _, row = fast
        template = _late_template(rows, templates, row.code) if is_text(row) else None
        method = _METHOD_OF_KIND.get(row.kind, None if template else LoweringWalker.irregular)
        if template is None and row.kind == FLOAT_BINARY:
            method = LoweringWalker.irregular
        rows.append((first, second, result, template, method, row))
    return rows
