"""The operand stack of a body under validation (spec section 3.4 and appendix), and the immediates of instructions."""

from __future__ import annotations

from typing import NoReturn

from ..errors import MalformedError, UnsupportedError, ValidationError
from .leb128 import read_signed, read_u32, read_unsigned
from .lowering import FUNCTION_BODY, Frame, Lowering
from .module import Module
from .ops import INTERPRETED, LOAD, OPS, STORE, UNSUPPORTED_OPCODES, Op
from .types import (
    EXCEPTION_TYPES,
    EXTERNREF,
    FUNCREF,
    GC_TYPE_NAMES,
    NON_NULL,
    NUMERIC_TYPES,
    REFERENCE_TYPES,
    UNKNOWN,
    V128,
    FuncType,
    is_defaultable,
    is_reference,
    matches,
    non_null,
    result_type_text,
    valtype_name,
)

_EMPTY: tuple[int, ...] = ()
_REF, _REF_NULL = 0x64, 0x63  # (ref ht), (ref null ht): followed by a heap type
_EXCEPTION_TYPES = frozenset((0x69, 0x74))  # exnref, nullexnref
_SINGLE = {t: (t,) for t in (*NUMERIC_TYPES, V128, FUNCREF, EXTERNREF)}


class Operands:
    """The state of one walk. Methods named for instructions read immediates at `at` and return the next offset."""

    def __init__(self, module: Module, function_index: int, lowering: Lowering | None) -> None:
        self.module = module
        self.wasm = module.wasm
        self.lowering = lowering
        self.function_index = function_index
        self.body = module.body(function_index)
        self.type: FuncType = module.function_type(function_index)
        self.local_types: list[int] = []
        self.types: list[int] = []
        self.frames: list[Frame] = []
        self.frame = Frame(FUNCTION_BODY, _EMPTY, self.type.results, 0, False)
        self.live = True  # the current instruction is reachable (as far as validation can tell)
        self.done = False
        self.op_at = 0
        self.memory = self.offset = 0  # of the memory argument read last
        self.needed: set[str] = set()  # features, of `Features`
        self.is_interpretable = True  # so far
        self.has_tail_calls = False
        # Locals without an initial value (spec 3.4: "local initialization"): those that are not set here, or None if
        # there are no such; and those that are, in the order in which they were set.
        self.unset: set[int] | None = None
        self.set_locals: list[int] = []

    # ---- errors and the operand stack ----

    def invalid(self, message: str, at: int | None = None) -> NoReturn:
        """Raises a ValidationError at the current instruction."""
        raise ValidationError(message, offset=self.op_at if at is None else at)

    def need(self, feature: str) -> None:
        """Raises UnsupportedError at the current instruction unless `feature` (of `Features`) may be used."""
        self.check_feature(feature, self.op_at)

    def check_feature(self, feature: str, at: int) -> None:
        """As `need`, of what is at an offset."""
        self.module.features.check(feature, at)
        self.needed.add(feature)

    def note(self, row: Op) -> None:
        """Notes in which tier a body with this instruction can begin, and its feature; rows on the fast path begin in
        any, and are of none."""
        if row.first_tier != INTERPRETED:
            self.is_interpretable = False
        if row.feature:
            self.needed.add(row.feature)

    def pop(self, expected: int) -> int:
        """Pops an operand of type `expected` (UNKNOWN: any); returns its type."""
        types = self.types
        frame = self.frame
        if len(types) == frame.height:
            if frame.unreachable:
                return expected
            self.invalid(f"type mismatch: expected {valtype_name(expected)}, but nothing is on the stack")
        actual = types.pop()
        if actual != expected and actual != UNKNOWN and expected != UNKNOWN and not matches(actual, expected):
            self.invalid(f"type mismatch: expected {valtype_name(expected)}, found {valtype_name(actual)}")
        return actual or expected

    def pop_all(self, expected: tuple[int, ...]) -> None:
        """Pops a result type."""
        types = self.types
        first = len(types) - len(expected)
        # At once, where it fits: thousands of branches may carry a thousand operands each.
        if first >= self.frame.height and tuple(types[first:]) == expected:
            del types[first:]
            return
        if first < self.frame.height and self.frame.unreachable:  # only what is there has to be looked at
            expected = expected[self.frame.height - first :]
        for valtype in reversed(expected):
            self.pop(valtype)

    def check_end(self, frame: Frame) -> None:
        """At `end` and `else`: exactly the frame's results are on the stack."""
        if frame.results:
            self.pop_all(frame.results)
        if len(self.types) != frame.height:
            self.remaining(frame)

    def remaining(self, frame: Frame) -> NoReturn:
        """More is on the stack than the frame's results."""
        self.invalid(
            f"type mismatch: values remaining on stack at end of block, expected {result_type_text(frame.results)}"
        )

    def set_unreachable(self) -> None:
        """The rest of the frame cannot be reached: the operand stack becomes polymorphic."""
        self.frame.unreachable = True
        del self.types[self.frame.height :]
        self.live = False

    def target(self, depth: int) -> Frame:
        """The frame a branch depth names."""
        if depth > len(self.frames):
            self.invalid(f"unknown label {depth}")
        return self.frame if depth == 0 else self.frames[-depth]

    def read_index(self, at: int) -> tuple[int, int]:
        """An index immediate."""
        index = self.wasm[at]
        if index < 0x80:
            return index, at + 1
        return read_u32(self.wasm, at)

    def data_index(self, at: int) -> tuple[int, int]:
        """A data segment index, checked against the data count section."""
        index, at = self.read_index(at)
        if self.module.data_count is None:
            raise MalformedError("data count section required", offset=self.op_at)
        if index >= self.module.data_count:
            self.invalid(f"unknown data segment {index}")
        return index, at

    def element_index(self, at: int) -> tuple[int, int]:
        """An element segment index, checked."""
        index, at = self.read_index(at)
        if index >= len(self.module.elements):
            self.invalid(f"unknown elem segment {index}")
        return index, at

    def pop_reference(self) -> int:
        """Pops a reference; returns its type, NON_NULL where nothing is known of it."""
        valtype = self.pop(UNKNOWN)
        if valtype == UNKNOWN:
            return NON_NULL
        if not is_reference(valtype):
            self.invalid(f"type mismatch: expected a reference, found {valtype_name(valtype)}")
        return valtype

    # ---- locals that have no initial value ----

    def note_locals(self) -> None:
        """After the local declarations."""
        types = self.local_types
        if max(types, default=0) >= NON_NULL:  # seldom
            indices = range(len(self.type.params), len(types))
            self.unset = {index for index in indices if not is_defaultable(types[index])} or None

    def check_get(self, index: int, at: int | None = None) -> None:
        """Before a local is read."""
        if index >= len(self.local_types):
            self.invalid(f"unknown local {index}", at)
        if self.unset is not None and index in self.unset:
            self.invalid(f"uninitialized local: {index} is read before it is set", at)

    def check_set(self, index: int, at: int | None = None) -> None:
        """Before a local is written."""
        if index >= len(self.local_types):
            self.invalid(f"unknown local {index}", at)
        if self.unset is not None and index in self.unset:
            self.unset.remove(index)
            self.set_locals.append(index)

    def leave_locals(self) -> None:
        """At the end of the frame, or `else`: what was set in it is not set any more."""
        assert self.unset is not None
        first = self.frame.num_set_locals
        self.unset.update(self.set_locals[first:])
        del self.set_locals[first:]

    def value_type(self, at: int) -> tuple[int, int]:
        """A value type and the next offset; ``(ref null func)`` is the long form of funcref, extern likewise."""
        code = self.wasm[at]
        if code in NUMERIC_TYPES or code in REFERENCE_TYPES:
            return code, at + 1
        if code in (_REF, _REF_NULL):
            if code == _REF:
                self.check_feature("function_references", at)
            valtype, at = self.heap_type(at + 1)
            return (non_null(valtype) if code == _REF else valtype), at
        if code == V128:
            self.check_feature("simd", at)
            return code, at + 1
        if code in GC_TYPE_NAMES:
            self.check_feature("gc", at)
            return code, at + 1
        if code in EXCEPTION_TYPES:
            self.check_feature("exceptions", at)
            return code, at + 1
        self.refuse_type(code, at)

    def heap_type(self, at: int) -> tuple[int, int]:
        """A heap type, as the nullable reference type to it, and the next offset."""
        code = self.wasm[at]
        if code in REFERENCE_TYPES:
            return code, at + 1
        if code in EXCEPTION_TYPES:
            self.check_feature("exceptions", at)
            return code, at + 1
        if 0x40 <= code < 0x80:
            if code not in GC_TYPE_NAMES:
                self.refuse_type(code, at)
            self.check_feature("gc", at)
            return code, at + 1
        index, after = read_signed(self.wasm, at, 33)
        if index < 0:
            raise MalformedError("malformed heap type", offset=at)
        self.check_feature("function_references", at)
        if index >= len(self.module.types):
            self.invalid(f"unknown type {index}", at)
        if index in self.module.gc_types and not isinstance(self.module.types[index], FuncType):
            self.check_feature("gc", at)
        return self.module.reference(index, nullable=True), after

    def function_type(self, index: int, at: int | None = None) -> FuncType:
        """The type of functions that an index immediate says."""
        if index >= len(self.module.types):
            self.invalid(f"unknown type {index}", at)
        found = self.module.types[index]
        if not isinstance(found, FuncType):
            self.invalid(f"type mismatch: type {index} is no function type", at)
        if index in self.module.gc_types:
            self.check_feature("gc", self.op_at if at is None else at)
        return found

    def refuse_type(self, code: int, at: int) -> NoReturn:
        """A type code that is not Wasm 2.0's."""
        if code in _EXCEPTION_TYPES:
            raise UnsupportedError(f"feature exceptions is not supported yet (offset {at})", offset=at)
        raise MalformedError(f"malformed value type {code:#x}", offset=at)

    # ---- regular instructions off the fast path: unreachable code, or an error to report ----

    def generic(self, at: int) -> int:
        """Checks a table row by the general rules. Reachable valid rows took the fast path, except some accesses."""
        op = self.wasm[self.op_at]
        row = OPS.get(op)
        if row is None:
            self.refuse_opcode(op)
        self.note(row)
        if row.kind in (LOAD, STORE):
            offset, at = self.memarg(at)
            if 1 << self.align > row.access_bytes:
                self.invalid("alignment must not be larger than natural")
            self.pop_all((self.module.memories[self.memory].address_type, *row.params[1:]))
            if self.live and self.lowering is not None:  # a module with memories of both address types
                access = self.lowering.load if row.kind == LOAD else self.lowering.store
                access(row, self.memory, offset, self.op_at)
        else:
            self.pop_all(row.params)
        if row.result:
            self.types.append(row.result)
        return at

    def refuse_opcode(self, op: int) -> NoReturn:
        """An opcode that has no row."""
        feature = UNSUPPORTED_OPCODES.get(op)
        if feature is None:
            raise MalformedError(f"illegal opcode {op:#04x}", offset=self.op_at)
        raise UnsupportedError(f"feature {feature} is not supported yet (offset {self.op_at})", offset=self.op_at)

    def memarg(self, at: int) -> tuple[int, int]:
        """A memory argument: sets `self.align` (an exponent) and `self.memory`, returns (offset, next offset)."""
        start = at
        align, at = read_u32(self.wasm, at)
        if align >= 0x80:
            raise MalformedError("malformed memop flags", offset=start)
        self.memory = 0
        if align & 0x40:
            align &= ~0x40
            self.memory, at = self.read_index(at)
        if self.memory >= len(self.module.memories):
            self.invalid(f"unknown memory {self.memory}")
        self.align = align
        offset_at = at
        offset, at = read_unsigned(self.wasm, at, 64)
        if not self.module.memories[self.memory].is_64:
            if offset >> 32:
                self.invalid("offset out of range: the memory has 32-bit addresses")
            if at - offset_at > 5:
                raise MalformedError("integer representation too long", offset=offset_at)
        return offset, at

    # ---- block types ----

    def block_type(self, at: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Reads a block type: (parameter types, result types, next offset)."""
        code = self.wasm[at]
        if code & 0xC0 == 0x40:
            valtype, at = self.value_type(at)
            return _EMPTY, _SINGLE.get(valtype) or (valtype,), at
        index, after = read_signed(self.wasm, at, 33)
        if index < 0:
            raise MalformedError("malformed block type", offset=at)
        functype = self.function_type(index, at)
        return functype.params, functype.results, after
