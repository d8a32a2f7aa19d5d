"""One loop per function body: read an instruction, check its types (spec section 3.4), and, if asked, lower it.

The compiler and `validate` share this walker: validation is the walk without a `Lowering`. Fast paths for the frequent
instructions stand in `BodyWalker.run`; the others are methods (`instructions.py`). Unreachable code is handled here,
once: after an unconditional branch nothing is lowered until the frame's `end` or `else`, and the operand stack is
polymorphic (spec 3.4.12 and the appendix's algorithm).
"""

from __future__ import annotations

from itertools import count as counting
from typing import TYPE_CHECKING

from ..errors import MalformedError, ValidationError
from . import deadline
from .instructions import METHODS, TRACKING_METHODS, Instructions
from .leb128 import read_signed, read_u32
from .lowering import ABSORBING, Lowering, fast_rows
from .module import Module
from .ops import COMPARISON, CONDITION, FLOAT_BINARY, LOAD, UNARY
from .types import F64, I32, I64, UNKNOWN

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from ..records import dataclass

# Between looks at the clock: some milliseconds.
_LOOK_BYTES = 8 * 1024
MAX_LOCALS = 50_000  # JS API, appendix "limits"
# The interpreter's translator has a record for each operand. A call may push 1,000: what is higher is compiled only.
_FREE_HEIGHT = 1 << 16
_MOST_OPERANDS_PER_BYTE = 4

# The text of one-byte i32.const immediates.
_SMALL_CONSTANTS = [str(byte if byte < 0x40 else byte - 0x80) for byte in range(0x80)]
# br_if, if, select, i32.eqz: they take the i1 of a comparison as it is.
_TAKES_CONDITION = frozenset((0x0D, 0x04, 0x1B, 0x1C, 0x45))
# i32.and, i64.and: with the comparison behind it one instruction, into which the processor may take a load.
_TESTED_IN_MEMORY = frozenset((0x71, 0x83))
# Instructions that make no code of their own: unreachable, nop, block, loop, else, end, return, drop.
_FREE_OF_FUEL = frozenset((0x00, 0x01, 0x02, 0x03, 0x05, 0x0B, 0x0F, 0x1A))


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What is known of a body that is valid."""

    num_instructions: int
    needed: frozenset[str]  # features of its instructions and locals, of `Features`
    has_tail_calls: bool
    deepest_stack: int  # operands that are on the stack at once, at most, where the body can be reached
    # Whether all of its instructions are the interpreter's, it has no vectors, not in what it calls either, and one
    # memory at most, and its operand stack is in proportion to its bytes.
    is_interpretable: bool

    @property
    def has_vectors(self) -> bool:
        """Whether there are vectors among its locals and instructions."""
        return not self.needed.isdisjoint(("simd", "relaxed_simd"))


def walk_body(module: Module, function_index: int, lowering: Lowering | None = None) -> BodyFacts:
    """Validates the body of defined function `function_index`, lowering it on the way if `lowering` is given.

    Raises MalformedError, ValidationError or UnsupportedError with the byte
    offset and the function index.
    """
    walker = BodyWalker(module, function_index, lowering)
    try:
        return walker.run()
    except IndexError:
        raise MalformedError("unexpected end", offset=len(module.wasm), function=function_index) from None
    except (MalformedError, ValidationError) as error:
        if error.function is not None:
            raise
        raise type(error)(
            error.reason,
            offset=error.offset,
            function=function_index,
            function_name=module.names.functions.get(function_index),
        ) from None


class BodyWalker(Instructions):
    """The walk through one body."""

    def read_locals(self) -> int:
        """Reads the local declarations; returns the offset of the first instruction."""
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
        return at

    def run(self) -> BodyFacts:
        """Walks the body."""
        wasm = self.wasm
        at = self.read_locals()
        end = self.body.end
        local_types = self.local_types
        # How many there are, or 0 if some have no initial value: then each is looked at before.
        num_locals = len(local_types) if self.unset is None else 0
        types = self.types
        push_type = types.append
        lowering = self.lowering
        height = 0
        live = True
        deepest = 0  # looked for before operands are popped
        free = 0  # instructions that cost no fuel
        name = 0
        look_at = 0  # the clock, from this offset on
        fast = _FAST[self.module.address_type] if lowering is None else lowering.rows
        absorbing = ABSORBING
        special = METHODS if self.unset is None else TRACKING_METHODS
        small = _SMALL_CONSTANTS
        from_bytes = int.from_bytes
        fuel = lowering is not None and lowering.fuel
        if lowering is not None:
            lowering.begin(local_types, len(self.type.params), self.frame, types)
            values = lowering.values
            push_value = values.append
            lines = lowering.lines
            emit = lines.append
            tainted = lowering.tainted
            cache = lowering.cache
            pending = lowering.pending
            stores = lowering.stores
            sites = lowering.sites
            reads = lowering.reads
            writes = lowering.writes
            successors = lowering.successors
            block_start = 0
        for count in counting(1):
            if at >= look_at:
                look_at = at + _LOOK_BYTES
                deadline.check(self.function_index)
            op_at = at
            op = wasm[at]
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
                    if lowering is not None:
                        hit = cache.get(index)
                        if hit is None:
                            reads.add(index)
                            push_value(lowering.load_local(index))
                        else:
                            push_value(hit[0])
                            if hit[1] < block_start:
                                reads.add(index)
                        if index in pending:
                            del pending[index]
                    continue
                if op == 0x41:  # i32.const
                    byte = wasm[at]
                    at += 1
                    push_type(I32)
                    if byte < 0x80:
                        if lowering is not None:
                            push_value(small[byte])
                        continue
                    value, at = read_signed(wasm, at - 1, 32)
                    if lowering is not None:
                        push_value(str(value))
                    continue
                row = fast[op]
                if row is not None:
                    op_row, kind, ta, tb, result, template = row
                    if kind <= FLOAT_BINARY:
                        size = len(types)
                        if size - 2 >= height and types[-1] == tb and types[-2] == ta:
                            if size > deepest:
                                deepest = size
                            types.pop()
                            types[-1] = result
                            if lowering is None:
                                continue
                            b = values.pop()
                            a = values[-1]
                            if template is None:
                                values[-1] = lowering.irregular(op_row, a, b, op_at)
                                continue
                            if kind == FLOAT_BINARY:
                                a, b = lowering.hide_constants(op_row, a, b)
                            name += 1
                            values[-1] = r = f"%v{name}"
                            text = template(r, a, b)
                            if a in tainted or b in tainted:
                                tainted.add(r)
                                site = sites.get(a) or sites.get(b) or ""
                                text += site
                                if site and op_row.code in _TESTED_IN_MEMORY:
                                    sites[r] = site
                                if a == b or a in absorbing or b in absorbing:
                                    lowering.absorb(op_row, a, b)
                            emit(text)
                            continue
                    elif kind == COMPARISON:
                        size = len(types)
                        if size - 2 >= height and types[-1] == tb and types[-2] == ta:
                            if size > deepest:
                                deepest = size
                            types.pop()
                            types[-1] = I32
                            if lowering is None:
                                continue
                            b = values.pop()
                            a = values[-1]
                            name += 1
                            condition = f"%c{name}"
                            text = template(condition, a, b)
                            if a in tainted or b in tainted:
                                tainted.update((condition, f"%v{name}"))
                                text += sites.get(a) or sites.get(b) or ""
                                if a == b or a in absorbing or b in absorbing:
                                    lowering.absorb(op_row, a, b)
                            emit(text)
                            if wasm[at] in _TAKES_CONDITION:
                                values[-1] = condition
                            else:
                                values[-1] = r = f"%v{name}"
                                emit(f"  {r} = zext i1 {condition} to i32")
                            continue
                    elif kind == LOAD:
                        if len(types) > height and types[-1] == ta:
                            align = wasm[at]
                            offset = wasm[at + 1]
                            at += 2
                            memory = 0
                            if align >= 0x20 or offset >= 0x80:
                                self.op_at = op_at
                                offset, at = self.memarg(at - 2)
                                align = self.align
                                memory = self.memory
                            if 1 << align > op_row.access_bytes:
                                self.invalid("alignment must not be larger than natural", op_at)
                            types[-1] = result
                            if lowering is not None:
                                lowering.load(op_row, memory, offset, op_at)
                            continue
                    elif kind == UNARY:
                        if len(types) > height and types[-1] == ta:
                            types[-1] = result
                            if lowering is None:
                                continue
                            a = values[-1]
                            if template is None:
                                values[-1] = lowering.irregular(op_row, a, "", op_at)
                                continue
                            name += 1
                            values[-1] = r = f"%v{name}"
                            text = template(r, a, "")
                            if a in tainted:
                                tainted.add(r)
                                text += sites.get(a, "")
                            emit(text)
                            continue
                    elif kind == CONDITION:  # i32.eqz, i64.eqz
                        if len(types) > height and types[-1] == ta:
                            types[-1] = I32
                            if lowering is None:
                                continue
                            a = values[-1]
                            name += 1
                            condition = f"%c{name}"
                            if a[:2] == "%c":
                                text = f"  {condition} = xor i1 {a}, true"
                            else:
                                text = template(condition, a, "")
                            if a in tainted:
                                tainted.update((condition, f"%v{name}"))
                                text += sites.get(a, "")
                            emit(text)
                            if wasm[at] in _TAKES_CONDITION:
                                values[-1] = condition
                            else:
                                values[-1] = r = f"%v{name}"
                                emit(f"  {r} = zext i1 {condition} to i32")
                            continue
                    elif len(types) - 2 >= height and types[-1] == tb and types[-2] == ta:  # STORE
                        if len(types) > deepest:
                            deepest = len(types)
                        align = wasm[at]
                        offset = wasm[at + 1]
                        at += 2
                        memory = 0
                        if align >= 0x20 or offset >= 0x80:
                            self.op_at = op_at
                            offset, at = self.memarg(at - 2)
                            align = self.align
                            memory = self.memory
                        if 1 << align > op_row.access_bytes:
                            self.invalid("alignment must not be larger than natural", op_at)
                        del types[-2:]
                        if lowering is not None:
                            lowering.store(op_row, memory, offset, op_at)
                        continue
                elif op == 0x21 or op == 0x22:  # local.set, local.tee
                    index = wasm[at]
                    at += 1
                    if index >= 0x80:
                        index, at = read_u32(wasm, at - 1)
                    if index >= num_locals:
                        self.check_set(index, op_at)
                    size = len(types)
                    if size <= height or types[-1] != local_types[index]:
                        self.op_at = op_at
                        self.pop(local_types[index])  # raises, unless it is a subtype
                        push_type(local_types[index])
                    if size > deepest:
                        deepest = size
                    if op == 0x21:
                        types.pop()
                    if lowering is not None:
                        a = values.pop() if op == 0x21 else values[-1]
                        emit(f"{stores[index]}{a}, ptr %l{index}")
                        if index in pending:
                            lowering.overwrite_pending(index)
                        position = len(lines)
                        if index in cache:
                            del cache[index]  # in the order of their lines
                        cache[index] = (a, position)
                        if index not in writes:
                            writes[index] = len(successors)
                        if a in tainted:
                            pending[index] = (position - 1, a, len(successors))
                    continue
                elif op == 0x42:  # i64.const
                    byte = wasm[at]
                    if byte < 0x80:
                        at += 1
                        value = byte if byte < 0x40 else byte - 0x80
                    else:
                        value, at = read_signed(wasm, at, 64)
                    push_type(I64)
                    if lowering is not None:
                        push_value(str(value))
                    continue
                elif op == 0x44:  # f64.const
                    push_type(F64)
                    if lowering is not None:
                        lowering.double_constant(from_bytes(wasm[at : at + 8], "little"))
                    at += 8
                    if at > end:
                        raise MalformedError("unexpected end", offset=end)
                    continue
            # Everything else, everything unreachable, and whatever the fast paths did not accept.
            self.op_at = op_at
            if len(types) > deepest:
                deepest = len(types)
            if fuel:
                if not live or op in _FREE_OF_FUEL:
                    free += 1
                assert lowering is not None
                lowering.fuel_seen = 1 + count - free  # entering the function costs 1
            method = special[op]
            if method is not None:
                at = method(self, at)
                if self.done:
                    break
                live = self.live
                height = self.frame.height
                if at > end:
                    raise MalformedError("unexpected end", offset=end)
                if lowering is not None and lowering.reads is not reads:  # another block
                    reads = lowering.reads
                    writes = lowering.writes
                    successors = lowering.successors
                    block_start = lowering.block_start
            else:
                at = self.generic(op, at)
        if at != end:
            if at > end:
                raise MalformedError("unexpected end", offset=end)
            raise MalformedError("operators remaining after end of function", offset=at)
        most = max(_FREE_HEIGHT, _MOST_OPERANDS_PER_BYTE * (end - self.body.start))
        is_interpretable = self.is_interpretable and deepest <= most
        return BodyFacts(count, frozenset(self.needed), self.has_tail_calls, deepest, is_interpretable)


_FAST = {address_type: fast_rows({}, address_type) for address_type in (I32, I64, UNKNOWN)}
