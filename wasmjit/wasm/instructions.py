"""The instructions that need a method of their own: control, calls, variables, references, bulk operations.

A method is named for its instruction, reads immediates at `at`, checks types, lowers if the code is live and a lowering
is there, and returns the offset of the next instruction.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from ..errors import MalformedError, UnsupportedError
from .exceptions import ExceptionInstructions
from .garbage_collection import GarbageCollectionInstructions
from .leb128 import read_signed, read_u32
from .lowering import BLOCK, ELSE, IF, LOOP, Frame
from .ops import INTERPRETED, OP_BY_NAME, OPS, SPECIAL
from .types import (
    F32,
    F64,
    FUNCREF,
    I32,
    I64,
    UNKNOWN,
    FuncType,
    all_match,
    is_defaultable,
    is_reference,
    matches,
    non_null,
    valtype_name,
)

_EMPTY: tuple[int, ...] = ()


def _count_type(to: int, from_: int) -> int:
    """The type of a copy's count: I64 only where both sides have 64-bit addresses."""
    return I64 if to == from_ == I64 else I32


class Instructions(GarbageCollectionInstructions, ExceptionInstructions):
    """See the module's docstring."""

    def enter(self, opcode: int, at: int) -> int:
        """block, loop, if: checks the parameters and pushes a frame."""
        if self.wasm[at] == 0x40:
            params = results = _EMPTY
            at += 1
        else:
            params, results, at = self.block_type(at)
        if opcode == IF:
            self.pop(I32)
        if params:
            self.pop_all(params)
        frame = Frame(opcode, params, results, len(self.types), not self.live)
        if params:
            self.types.extend(params)
        self.frames.append(self.frame)
        self.frame = frame
        if self.live and self.lowering is not None:
            if opcode == BLOCK:
                self.lowering.block(frame)
            elif opcode == LOOP:
                self.lowering.loop(frame, self.op_at)
            else:
                self.lowering.if_(frame)
        return at

    def op_block(self, at: int) -> int:
        return self.enter(BLOCK, at)

    def op_loop(self, at: int) -> int:
        return self.enter(LOOP, at)

    def op_if(self, at: int) -> int:
        return self.enter(IF, at)

    def op_else(self, at: int) -> int:
        frame = self.frame
        if frame.opcode != IF:
            raise MalformedError("else found outside of an `if` block", offset=self.op_at)
        self.check_end(frame)
        if self.lowering is not None and not frame.dead:
            self.lowering.else_(frame, not frame.unreachable)
        frame.opcode = ELSE
        frame.unreachable = False
        self.types.extend(frame.params)
        self.live = not frame.dead
        return at

    def op_end(self, at: int) -> int:
        frame = self.frame
        results = frame.results
        if results:
            self.pop_all(results)
        if len(self.types) != frame.height:
            self.remaining(frame)
        if frame.opcode == IF and frame.params != results and not all_match(frame.params, results):
            self.invalid("type mismatch: an `if` without `else` must have equal parameter and result types")
        if results:
            self.types.extend(results)
        lowering = self.lowering
        if not self.frames:
            self.done = True
            if lowering is not None:
                lowering.finish(frame, not frame.unreachable)
            return at
        if lowering is not None and not frame.dead:
            lowering.end(frame, not frame.unreachable)
        self.frame = self.frames.pop()
        self.live = not frame.dead
        return at

    def op_br(self, at: int) -> int:
        depth, at = self.read_index(at)
        frame = self.target(depth)
        label_types = frame.label_types
        if label_types:
            self.pop_all(label_types)
        if self.live and self.lowering is not None:
            self.lowering.branch(frame)
        self.set_unreachable()
        return at

    def op_br_if(self, at: int) -> int:
        depth = self.wasm[at]
        at += 1
        if depth >= 0x80:
            depth, at = read_u32(self.wasm, at - 1)
        frame = self.target(depth)
        types = self.types
        if self.live and len(types) > self.frame.height and types[-1] == I32:
            types.pop()
        else:
            self.pop(I32)
        label_types = frame.label_types
        if label_types:
            self.pop_all(label_types)
            types.extend(label_types)
        if self.live and self.lowering is not None:
            self.lowering.branch_if(frame)
        return at

    def op_br_table(self, at: int) -> int:
        count, at = self.read_index(at)
        if count > self.body.end - at:
            raise MalformedError("unexpected end", offset=self.body.end)
        depths: list[int] = []
        for _ in range(count + 1):
            depth, at = self.read_index(at)
            depths.append(depth)
        self.pop(I32)
        frames = [self.target(depth) for depth in depths]
        arity = len(frames[-1].label_types)
        checked: set[int] = set()
        for frame in frames:
            if id(frame) in checked:
                continue
            checked.add(id(frame))
            label_types = frame.label_types
            if len(label_types) != arity:
                self.invalid("type mismatch: br_table target labels have different number of types")
            # What lies on the stack goes back as it was: an operand of unreachable code may fit several labels.
            kept = self.types[self.frame.height :][-len(label_types) :] if label_types else []
            self.pop_all(label_types)
            self.types.extend(kept)
        self.pop_all(frames[-1].label_types)
        if self.live and self.lowering is not None:
            self.lowering.branch_table(frames[:-1], frames[-1])
        self.set_unreachable()
        return at

    def op_return(self, at: int) -> int:
        self.pop_all(self.type.results)
        if self.live and self.lowering is not None:
            self.lowering.branch(self.frames[0] if self.frames else self.frame)
        self.set_unreachable()
        return at

    def op_unreachable(self, at: int) -> int:
        if self.live and self.lowering is not None:
            self.lowering.unreachable(self.op_at)
        self.set_unreachable()
        return at

    def op_nop(self, at: int) -> int:
        return at

    # ---- calls ----

    def op_call(self, at: int) -> int:
        index = self.wasm[at]
        at += 1
        if index >= 0x80:
            index, at = read_u32(self.wasm, at - 1)
        module = self.module
        if index >= len(module.functions):
            self.invalid(f"unknown function {index}")
        functype: FuncType = module.types[module.functions[index]]  # type: ignore[assignment]  # frequent: no call
        if functype.params:
            self.pop_all(functype.params)
        if functype.results:
            self.types.extend(functype.results)
        if self.live and self.lowering is not None:
            self.lowering.call(index, self.op_at)
        return at

    def op_call_indirect(self, at: int) -> int:
        type_index, table, at = self.indirect_callee(at)
        functype = self.function_type(type_index)
        self.pop(self.module.tables[table].address_type)
        self.pop_all(functype.params)
        self.types.extend(functype.results)
        if self.live and self.lowering is not None:
            self.lowering.call_indirect(type_index, table, self.op_at)
        return at

    def indirect_callee(self, at: int) -> tuple[int, int, int]:
        """The immediates of an indirect call: (type index, table, next offset)."""
        type_index, at = self.read_index(at)
        table, at = self.table_index(at)
        if not matches(self.module.tables[table].element, FUNCREF):
            self.invalid("type mismatch: indirect calls need a table of funcref")
        return type_index, table, at

    def op_return_call(self, at: int) -> int:
        self.need("tail_call")
        index, at = self.read_index(at)
        if index >= len(self.module.functions):
            self.invalid(f"unknown function {index}")
        self.pop_tail_operands(self.module.function_type(index))
        if self.live and self.lowering is not None:
            self.lowering.return_call(index, self.op_at)
        self.set_unreachable()
        return at

    def op_return_call_indirect(self, at: int) -> int:
        self.need("tail_call")
        type_index, table, at = self.indirect_callee(at)
        self.pop(self.module.tables[table].address_type)
        self.pop_tail_operands(self.function_type(type_index))
        if self.live and self.lowering is not None:
            self.lowering.return_call_indirect(type_index, table, self.op_at)
        self.set_unreachable()
        return at

    def pop_tail_operands(self, functype: FuncType) -> None:
        """The operands of a tail call of a function of this type, which has to return what the present one does."""
        self.has_tail_calls = self.module.has_tail_calls = True
        if not all_match(functype.results, self.type.results):
            self.invalid("type mismatch: a tail call must have the results of the function that it is in")
        self.pop_all(functype.params)

    # ---- parametric and variables ----

    def op_drop(self, at: int) -> int:
        valtype = self.types.pop() if len(self.types) > self.frame.height else self.pop(UNKNOWN)
        if self.live and self.lowering is not None:
            self.lowering.drop(valtype)
        return at

    def op_select(self, at: int) -> int:
        self.pop(I32)
        first = self.pop(UNKNOWN)
        second = self.pop(UNKNOWN)
        if is_reference(first) or is_reference(second):
            self.invalid("type mismatch: select without a type needs numeric operands")
        if first != second and first != UNKNOWN and second != UNKNOWN:
            self.invalid("type mismatch: select operands have different types")
        self.types.append(first or second)
        if self.live and self.lowering is not None:
            self.lowering.select(first or second)
        return at

    def op_select_typed(self, at: int) -> int:
        self.need("reference_types")
        count, at = self.read_index(at)
        if count != 1:
            self.invalid("invalid result arity: select takes exactly one type")
        valtype, at = self.value_type(at)
        self.pop(I32)
        self.pop(valtype)
        self.pop(valtype)
        self.types.append(valtype)
        if self.live and self.lowering is not None:
            self.lowering.select(valtype)
        return at

    def op_local_get(self, at: int) -> int:  # only in unreachable code
        index, at = self.read_index(at)
        self.check_get(index)
        self.types.append(self.local_types[index])
        return at

    def op_local_set(self, at: int) -> int:
        index, at = self.read_index(at)
        self.check_set(index)
        self.pop(self.local_types[index])
        return at

    def op_local_tee(self, at: int) -> int:
        index, at = self.read_index(at)
        self.check_set(index)
        self.pop(self.local_types[index])
        self.types.append(self.local_types[index])
        return at

    def op_global_get(self, at: int) -> int:
        index, at = self.read_index(at)
        if index >= len(self.module.globals):
            self.invalid(f"unknown global {index}")
        content = self.module.globals[index].content
        self.types.append(content)
        if self.live and self.lowering is not None:
            self.lowering.global_get(index)
        return at

    def op_global_set(self, at: int) -> int:
        index, at = self.read_index(at)
        if index >= len(self.module.globals):
            self.invalid(f"unknown global {index}")
        if not self.module.globals[index].mutable:
            self.invalid("immutable global: global.set needs a mutable global")
        self.pop(self.module.globals[index].content)
        if self.live and self.lowering is not None:
            self.lowering.global_set(index)
        return at

    # ---- constants ----

    def op_i32_const(self, at: int) -> int:  # only in unreachable code
        _, at = read_signed(self.wasm, at, 32)
        self.types.append(I32)
        return at

    def op_i64_const(self, at: int) -> int:
        value, at = read_signed(self.wasm, at, 64)
        self.types.append(I64)
        if self.live and self.lowering is not None:
            self.lowering.integer_constant(value)
        return at

    def op_f32_const(self, at: int) -> int:
        self.types.append(F32)
        if at + 4 > self.body.end:
            raise MalformedError("unexpected end", offset=at)
        if self.live and self.lowering is not None:
            self.lowering.float_constant(struct.unpack_from("<I", self.wasm, at)[0])
        return at + 4

    def op_f64_const(self, at: int) -> int:
        self.types.append(F64)
        if at + 8 > self.body.end:
            raise MalformedError("unexpected end", offset=self.body.end)
        if self.live and self.lowering is not None:
            self.lowering.double_constant(struct.unpack_from("<Q", self.wasm, at)[0])
        return at + 8

    # ---- references and tables ----

    def op_ref_null(self, at: int) -> int:
        self.need("reference_types")
        valtype, at = self.heap_type(at)
        self.types.append(valtype)
        if self.live and self.lowering is not None:
            self.lowering.ref_null()
        return at

    def op_ref_is_null(self, at: int) -> int:
        self.need("reference_types")
        self.pop_reference()
        self.types.append(I32)
        if self.live and self.lowering is not None:
            self.lowering.ref_is_null()
        return at

    def op_ref_func(self, at: int) -> int:
        self.need("reference_types")
        index, at = self.read_index(at)
        if index >= len(self.module.functions):
            self.invalid(f"unknown function {index}")
        if index not in self.module.referenced_functions:
            self.invalid(f"undeclared function reference {index}")
        self.types.append(self.module.reference(self.module.functions[index], nullable=False))
        if self.live and self.lowering is not None:
            self.lowering.ref_func(index)
        return at

    def op_ref_as_non_null(self, at: int) -> int:
        self.need("function_references")
        valtype = self.pop_reference()
        self.types.append(non_null(valtype))
        if self.live and self.lowering is not None and is_defaultable(valtype):
            self.lowering.ref_as_non_null(self.op_at)
        return at

    def op_br_on_null(self, at: int) -> int:
        self.need("function_references")
        depth, at = self.read_index(at)
        frame = self.target(depth)
        valtype = self.pop_reference()
        label_types = frame.label_types
        self.pop_all(label_types)
        self.types.extend(label_types)
        if self.live and self.lowering is not None:
            self.lowering.branch_on_null(frame)
        self.types.append(non_null(valtype))
        return at

    def op_br_on_non_null(self, at: int) -> int:
        self.need("function_references")
        depth, at = self.read_index(at)
        frame = self.target(depth)
        label_types = frame.label_types
        if not label_types or not is_reference(label_types[-1]):
            self.invalid("type mismatch: br_on_non_null needs a label that takes a reference")
        valtype = non_null(self.pop_reference())
        if not matches(valtype, label_types[-1]):
            self.invalid(f"type mismatch: expected {valtype_name(label_types[-1])}, found {valtype_name(valtype)}")
        self.pop_all(label_types[:-1])
        self.types.extend(label_types)
        if self.live and self.lowering is not None:
            self.lowering.branch_on_non_null(frame)
        self.types.pop()
        return at

    def callee_by_reference(self, at: int) -> tuple[int, bool, int]:
        """The immediate of a call by reference, whose operand is popped: (type index, whether it may be null, next
        offset)."""
        self.need("function_references")
        type_index, at = self.read_index(at)
        self.function_type(type_index)
        valtype = self.pop(self.module.reference(type_index, nullable=True))
        return type_index, is_defaultable(valtype), at

    def op_call_ref(self, at: int) -> int:
        type_index, may_be_null, at = self.callee_by_reference(at)
        functype = self.module.called_type(type_index)
        self.pop_all(functype.params)
        self.types.extend(functype.results)
        if self.live and self.lowering is not None:
            self.lowering.call_ref(type_index, may_be_null, self.op_at)
        return at

    def op_return_call_ref(self, at: int) -> int:
        self.need("tail_call")
        type_index, may_be_null, at = self.callee_by_reference(at)
        self.pop_tail_operands(self.function_type(type_index))
        if self.live and self.lowering is not None:
            self.lowering.return_call_ref(type_index, may_be_null, self.op_at)
        self.set_unreachable()
        return at

    def table_index(self, at: int) -> tuple[int, int]:
        """A table index immediate, checked."""
        index, at = self.read_index(at)
        if index >= len(self.module.tables):
            self.invalid(f"unknown table {index}")
        return index, at

    def op_table_get(self, at: int) -> int:
        self.need("reference_types")
        table, at = self.table_index(at)
        self.pop(self.module.tables[table].address_type)
        self.types.append(self.module.tables[table].element)
        if self.live and self.lowering is not None:
            self.lowering.table_get(table, self.op_at)
        return at

    def op_table_set(self, at: int) -> int:
        self.need("reference_types")
        table, at = self.table_index(at)
        self.pop(self.module.tables[table].element)
        self.pop(self.module.tables[table].address_type)
        if self.live and self.lowering is not None:
            self.lowering.table_set(table, self.op_at)
        return at

    # ---- memory, and the 0xFC page ----

    def memory_index(self, at: int) -> tuple[int, int]:
        """A memory index immediate, checked."""
        index, at = self.read_index(at)
        if index >= len(self.module.memories):
            self.invalid(f"unknown memory {index}")
        return index, at

    def op_memory_size(self, at: int) -> int:
        memory, at = self.memory_index(at)
        self.types.append(self.module.memories[memory].address_type)
        if self.live and self.lowering is not None:
            self.lowering.memory_size(memory)
        return at

    def op_memory_grow(self, at: int) -> int:
        memory, at = self.memory_index(at)
        address = self.module.memories[memory].address_type
        self.bulk("memory_grow", (memory,), (address,), address)
        return at

    def op_prefix_fb(self, at: int) -> int:
        sub, at = read_u32(self.wasm, at)
        method = _FB_METHODS[sub] if sub < len(_FB_METHODS) else None
        if method is None:
            raise MalformedError(f"illegal opcode 0xfb {sub:#04x}", offset=self.op_at)
        self.note(OPS[0xFB00 | sub])
        self.need("gc")
        return method(self, at)

    def op_prefix_fc(self, at: int) -> int:
        sub, at = read_u32(self.wasm, at)
        row = OPS.get(0xFC00 | sub) if sub < 0x100 else None
        if row is None:
            if sub == 0x12:
                raise UnsupportedError("feature memory control is not supported yet", offset=self.op_at)
            raise MalformedError(f"illegal opcode 0xfc {sub:#04x}", offset=self.op_at)
        self.note(row)
        if row.kind != SPECIAL:  # saturating truncation: one operand, one result
            self.pop_all(row.params)
            self.types.append(row.result)
            if self.live and self.lowering is not None:
                self.lowering.regular(row, self.op_at)
            return at
        method = _FC_METHODS[sub]
        assert method is not None  # every special row has one
        return method(self, at)

    def bulk(self, name: str, indices: tuple[int, ...], params: tuple[int, ...], result: int = UNKNOWN) -> None:
        """Checks and lowers an instruction that is a call of a runtime builtin."""
        self.pop_all(params)
        if result:
            self.types.append(result)
        if self.live and self.lowering is not None:
            self.lowering.builtin(name, indices, params, result, self.op_at)

    def op_memory_init(self, at: int) -> int:
        self.need("bulk_memory")
        segment, at = self.data_index(at)
        memory, at = self.memory_index(at)
        self.bulk("memory_init", (memory, segment), (self.module.memories[memory].address_type, I32, I32))
        return at

    def op_data_drop(self, at: int) -> int:
        self.need("bulk_memory")
        segment, at = self.data_index(at)
        self.bulk("data_drop", (segment,), ())
        return at

    def op_memory_copy(self, at: int) -> int:
        self.need("bulk_memory")
        destination, at = self.memory_index(at)
        source, at = self.memory_index(at)
        to = self.module.memories[destination].address_type
        from_ = self.module.memories[source].address_type
        self.bulk("memory_copy", (destination, source), (to, from_, _count_type(to, from_)))
        return at

    def op_memory_fill(self, at: int) -> int:
        self.need("bulk_memory")
        memory, at = self.memory_index(at)
        address = self.module.memories[memory].address_type
        self.bulk("memory_fill", (memory,), (address, I32, address))
        return at

    def op_table_init(self, at: int) -> int:
        self.need("bulk_memory")
        segment, at = self.element_index(at)
        table, at = self.table_index(at)
        if not matches(self.module.elements[segment].element, self.module.tables[table].element):
            self.invalid("type mismatch: element segment and table have different types")
        self.bulk("table_init", (table, segment), (self.module.tables[table].address_type, I32, I32))
        return at

    def op_elem_drop(self, at: int) -> int:
        self.need("bulk_memory")
        segment, at = self.element_index(at)
        self.bulk("elem_drop", (segment,), ())
        return at

    def op_table_copy(self, at: int) -> int:
        self.need("bulk_memory")
        destination, at = self.table_index(at)
        source, at = self.table_index(at)
        if not matches(self.module.tables[source].element, self.module.tables[destination].element):
            self.invalid("type mismatch: tables have different element types")
        to = self.module.tables[destination].address_type
        from_ = self.module.tables[source].address_type
        self.bulk("table_copy", (destination, source), (to, from_, _count_type(to, from_)))
        return at

    def op_table_grow(self, at: int) -> int:
        self.need("reference_types")
        table, at = self.table_index(at)
        type = self.module.tables[table]
        self.bulk("table_grow", (table,), (type.element, type.address_type), type.address_type)
        return at

    def op_table_size(self, at: int) -> int:
        self.need("reference_types")
        table, at = self.table_index(at)
        self.types.append(self.module.tables[table].address_type)
        if self.live and self.lowering is not None:
            self.lowering.table_size(table)
        return at

    def op_table_fill(self, at: int) -> int:
        self.need("reference_types")
        table, at = self.table_index(at)
        type = self.module.tables[table]
        self.bulk("table_fill", (table,), (type.address_type, type.element, type.address_type))
        return at

    # ---- wide arithmetic ----

    def wide_arithmetic(self, name: str, num_operands: int) -> None:
        """Checks and lowers an instruction on 64-bit halves that gives a 128-bit result: low half, high half."""
        self.need("wide_arithmetic")
        self.pop_all((I64,) * num_operands)
        self.types += (I64, I64)
        if self.live and self.lowering is not None:
            self.lowering.wide_arithmetic(name)

    def op_i64_add128(self, at: int) -> int:
        self.wide_arithmetic("add128", 4)
        return at

    def op_i64_sub128(self, at: int) -> int:
        self.wide_arithmetic("sub128", 4)
        return at

    def op_i64_mul_wide_s(self, at: int) -> int:
        self.wide_arithmetic("mul_wide_s", 2)
        return at

    def op_i64_mul_wide_u(self, at: int) -> int:
        self.wide_arithmetic("mul_wide_u", 2)
        return at


Method = Callable[[Any, int], int]  # of a walker, which reads its instruction's immediates; returns the next offset


def _methods(page: int) -> list[Method | None]:
    """Opcode within a page (0: one-byte opcodes) -> method."""
    methods: list[Method | None] = [None] * 256
    for code, op in OPS.items():
        if op.kind == SPECIAL and code >> 8 == page:
            methods[code & 0xFF] = getattr(Instructions, "op_" + op.name.replace(".", "_"))
    return methods


def _compiled_only(method: Method) -> Method:
    def noted(self: Instructions, at: int) -> int:
        self.is_interpretable = False
        return method(self, at)

    return noted


def _first_methods() -> list[Method]:
    """A method for each one-byte opcode: regular ones, and those that there are none of, have the same."""
    methods = [method or Instructions.generic for method in _methods(0)]
    for code, method in enumerate(methods):
        if code in OPS and OPS[code].kind == SPECIAL and OPS[code].first_tier != INTERPRETED:
            methods[code] = _compiled_only(method)
    return methods


METHODS = _first_methods()
METHODS[0xFB] = Instructions.op_prefix_fb
METHODS[0xFC] = Instructions.op_prefix_fc
METHODS[0xFD] = Instructions.op_prefix_fd
METHODS[0xFE] = Instructions.op_prefix_fe
_FB_METHODS = _methods(0xFB)
_FC_METHODS = _methods(0xFC)


def _entering(method: Method) -> Method:
    def tracked(self: Instructions, at: int) -> int:
        at = method(self, at)
        self.frame.num_set_locals = len(self.set_locals)
        return at

    return tracked


def _leaving(method: Method) -> Method:
    def tracked(self: Instructions, at: int) -> int:
        self.leave_locals()
        return method(self, at)

    return tracked


# For functions some of whose locals have no initial value: others do not pay for it.
TRACKING_METHODS = list(METHODS)
for _tracking, _names in ((_entering, ("block", "loop", "if", "try_table")), (_leaving, ("else", "end"))):
    for _name in _names:
        TRACKING_METHODS[OP_BY_NAME[_name].code] = _tracking(getattr(Instructions, "op_" + _name))
