"""Validates one function body (spec section 3.4): one loop, which reads an instruction and checks its types.

Fast paths for the frequent instructions stand in `BodyWalker.run`; all others, and whatever the fast paths do not take,
are methods (`instructions.py`). Unreachable code is handled there, once: after an unconditional branch nothing is
lowered until the frame's `end` or `else`, and the operand stack is polymorphic (spec 3.4.12 and the appendix's
algorithm).

The compiler walks with a loop of its own, which writes text for what its fast paths take (`compile.walk`). They are a
subset of those here, and check the same; the methods are shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count as counting

from ..errors import MalformedError, ValidationError
from . import deadline
from .body_facts import FREE_HEIGHT, MAX_LOCALS, MOST_OPERANDS_PER_BYTE, BodyFacts
from .instructions import METHODS, TRACKING_METHODS, Instructions, Method
from .leb128 import read_signed, read_u32
from .lowering import FAST_ROWS, FastRow
from .module import ConstantFunction, Module
from .types import F64, I32, I64

# Between looks at the clock: some milliseconds.
LOOK_BYTES = 8 * 1024


def walk_body(module: Module, function_index: int) -> BodyFacts:
    """Validates the body of defined function `function_index`.

    Raises MalformedError, ValidationError or UnsupportedError with the byte
    offset and the function index.
    """
    return BodyWalker(module, function_index, None).walk()


class BodyWalker(Instructions):
    """The walk through one body."""

    def walk(self) -> BodyFacts:
        """As `run`, with errors that name the function."""
        try:
            return self.run()
        except IndexError:
            raise MalformedError("unexpected end", offset=len(self.module.wasm), function=self.function_index) from None
        except (MalformedError, ValidationError) as error:
            if error.function is not None:
                raise
            raise type(error)(
                error.reason,
                offset=error.offset,
                function=self.function_index,
                function_name=self.module.function_name(self.function_index),
            ) from None

    def read_locals(self) -> tuple[int, int]:
        """Reads the local declarations; returns the offset of the first instruction, and how many locals there are.

        Or 0, if some have no initial value: then each is looked at before it is read or written. Constant functions
        declare none.
        """
        if isinstance(self.body, ConstantFunction):
            return self.body.start, 0
        local_types = self.local_types
        local_types.extend(self.type.params)
        count, at = self.read_index(self.body.start)
        total = len(local_types)
        for _ in range(count):
            declared_at = at
            repeat, at = self.read_index(at)
            valtype, at = self.value_type(at)
            total += repeat
            if total > MAX_LOCALS:
                raise MalformedError("too many locals", offset=declared_at)
            local_types.extend([valtype] * repeat)
        if at > self.body.end:
            raise MalformedError("unexpected end", offset=self.body.end)
        self.note_locals()
        return at, len(local_types) if self.unset is None else 0

    def instructions(self) -> tuple[Sequence[Method], Sequence[FastRow | None]]:
        """What there is for each one-byte opcode: a method, and a fast path or None."""
        return METHODS if self.unset is None else TRACKING_METHODS, FAST_ROWS[self.module.address_type]

    def run(self) -> BodyFacts:
        """Walks the body."""
        wasm, types, local_types = self.wasm, self.types, self.local_types
        at, num_locals = self.read_locals()
        methods, rows = self.instructions()
        push = types.append
        height = look_at = 0
        deepest = 0  # looked for before operands are popped
        live = True
        for count in counting(1):  # noqa: B007 (it is looked at behind the loop)
            if at >= look_at:
                look_at = self.look(at)
            op_at = at
            op = wasm[at]
            at += 1
            if live:
                if 0x20 <= op < 0x23:  # local.get, local.set, local.tee
                    index = wasm[at]
                    at += 1
                    if index >= 0x80:
                        index, at = read_u32(wasm, at - 1)
                    if op == 0x20:
                        if index >= num_locals:
                            self.check_get(index, op_at)
                        push(local_types[index])
                        continue
                    if index >= num_locals:
                        self.check_set(index, op_at)
                    size = len(types)
                    if size > deepest:
                        deepest = size
                    if size <= height or types[-1] != local_types[index]:
                        self.take(local_types[index], op_at)
                    if op == 0x21:
                        types.pop()
                    continue
                if op == 0x41 or op == 0x42:  # i32.const, i64.const
                    push(I32 if op == 0x41 else I64)
                    at += 1
                    if wasm[at - 1] >= 0x80:
                        _, at = read_signed(wasm, at - 1, 32 if op == 0x41 else 64)
                    continue
                row = rows[op]
                if row is not None:
                    first, second, result, natural, _ = row
                    size = len(types)
                    if second:
                        if size - 2 >= height and types[-1] == second and types[-2] == first:
                            if size > deepest:
                                deepest = size
                            types.pop()
                            if natural < 0:
                                types[-1] = result
                                continue
                            types.pop()  # a store
                            is_short = wasm[at] <= natural and wasm[at + 1] < 0x80
                            at = at + 2 if is_short else self.access(at, op_at, natural)
                            continue
                    elif size > height and types[-1] == first:
                        types[-1] = result
                        if natural >= 0:
                            is_short = wasm[at] <= natural and wasm[at + 1] < 0x80
                            at = at + 2 if is_short else self.access(at, op_at, natural)
                        continue
                elif op == 0x44:  # f64.const
                    push(F64)
                    at += 8
                    continue
            # Everything else, everything unreachable, and whatever the fast paths did not accept.
            self.op_at = op_at
            if len(types) > deepest:
                deepest = len(types)
            at = methods[op](self, at)
            if self.done:
                break
            live = self.live
            height = self.frame.height
        return self.facts(at, count, deepest)

    def look(self, at: int) -> int:
        """From time to time: at the clock, and whether the body is over. Returns the offset for the next look."""
        if at > self.body.end:
            raise MalformedError("unexpected end", offset=self.body.end)
        deadline.check(self.function_index)
        return min(at + LOOK_BYTES, self.body.end + 1)

    def take(self, valtype: int, op_at: int) -> None:
        """Off the fast path: makes the operand on top one of `valtype`. Raises, unless it is a subtype."""
        self.op_at = op_at
        self.pop(valtype)
        self.types.append(valtype)

    def access(self, at: int, op_at: int, natural: int) -> int:
        """Off the fast path: reads a memory argument (see `memarg`; the offset is in `self.offset`), and checks it."""
        self.op_at = op_at
        self.offset, at = self.memarg(at)
        if self.align > natural:
            self.invalid("alignment must not be larger than natural", op_at)
        return at

    def facts(self, at: int, num_instructions: int, deepest: int) -> BodyFacts:
        """Of a body whose last `end` is before `at`."""
        end = self.body.end
        if at != end:
            if at > end:
                raise MalformedError("unexpected end", offset=end)
            raise MalformedError("operators remaining after end of function", offset=at)
        most = max(FREE_HEIGHT, MOST_OPERANDS_PER_BYTE * (end - self.body.start))
        is_interpretable = self.is_interpretable and deepest <= most
        return BodyFacts(num_instructions, frozenset(self.needed), self.has_tail_calls, deepest, is_interpretable)
