"""Lowers one function body to LLVM IR text: control flow, variables, and which file lowers what. The walk drives it.

Locals are allocas that SROA promotes; within straight-line code their current value is cached, so most local.get cost
no instruction.
"""

from __future__ import annotations

import struct

from .. import abi
from ..wasm.body_facts import BodyFacts
from ..wasm.lowering import IF, LOOP, TRY_TABLE, Frame
from ..wasm.ops import MAKES_NANS, Op
from ..wasm.types import F32, F64, V128, llvm_type
from . import (
    atomics,
    calls,
    exceptions,
    fetched,
    hand_over,
    landings,
    limits,
    lower,
    memory,
    metering,
    references,
    simd,
    tables,
    tail_calls,
    visible,
)
from .atomics import AtomicEmitter
from .emit import phi
from .garbage_collection import ObjectEmitter
from .hand_over import HandingEmitter
from .liveness import Block
from .simd import VectorEmitter
from .tail_calls import TailCallingEmitter
from .unit_state import UnitState

_MAX_CACHED_ZEROS = 200
# Locals times edges between blocks: about how many phi operands LLVM would make of a function's locals.
MAX_PROMOTED = 200_000
# Locals beyond this many bytes count in the prologue's stack check: a frame must not skip the headroom below the limit.
_LARGE_FRAME_BYTES = 4096


class _Stores(dict[int, str]):
    """The beginning of a store to each local, by index, made when wanted: there may be 50,000, in each function."""

    local_types: list[int]

    def __missing__(self, index: int) -> str:
        text = self[index] = f"  store {llvm_type(self.local_types[index])} "
        return text


class FunctionLowering(TailCallingEmitter, HandingEmitter, VectorEmitter, AtomicEmitter, ObjectEmitter):
    """One function on its way to text; implements `wasm.lowering.Lowering`."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        """`tangled`: every load is volatile, which LLVM keeps, and nothing is anchored; see `TangledError`."""
        super().__init__(unit, function_index, scope, tangled)
        self.num_params = 0
        self.cache: dict[int, tuple[str, int]] = {}  # local -> its value, and the line behind which it has that
        self.loaded: set[int] = set()  # locals that are read from their allocas
        self.stores = _Stores()
        self.first_label = "start"  # the block that follows the prologue
        self.num_loops = 0

    def begin(self, local_types: list[int], num_params: int, frame: Frame, types: list[int]) -> None:
        """Called once the locals are known; `types` is the walker's operand stack."""
        self.types = types
        self.local_types = local_types
        self.num_params = num_params
        self.stores.local_types = local_types
        for index in range(num_params):
            self.cache[index] = (f"%p{index}", -1)
        # Every join walks over the cache: functions with very many locals start without their zeros in it.
        for index in range(num_params, min(len(local_types), num_params + _MAX_CACHED_ZEROS)):
            self.cache[index] = (lower.zero(local_types[index]), -1)
        frame.label = "return"
        frame.edges = []
        metering.enter_function(self, self.body_start)

    # ---- locals ----

    def read_local(self, index: int, known: tuple[str, int] | None) -> str:
        """The value of a local that this liveness block has not set: the one that is cached, or emits a load."""
        self.reads.add(index)
        if known is not None:
            return known[0]
        name = self.fresh()
        self.lines.append(f"  {name} = load {llvm_type(self.local_types[index])}, ptr %l{index}")
        self.loaded.add(index)
        self.cache[index] = (name, len(self.lines))
        # Its value may come from a load in an earlier block: keep that alive through this one's uses too.
        self.tainted.add(name)
        return name

    # ---- regular instructions that need more than a template ----

    def comparison(self, row: Op, template: lower.Render, number: int, a: str, b: str, is_condition: bool) -> str:
        """A comparison: its i1, if the next instruction takes that as it is, or else an i32. `number` is for names."""
        condition = f"%c{number}"
        text = f"  {condition} = xor i1 {a}, true" if a[:2] == "%c" else template(condition, a, b)
        if a in self.tainted or b in self.tainted:
            self.tainted.add(f"%v{number}")
            text += self.spread(row, condition, a, b)
        self.lines.append(text)
        if is_condition:
            return condition
        self.lines.append(f"  %v{number} = zext i1 {condition} to i32")
        return f"%v{number}"

    def regular(self, row: Op, at: int) -> None:
        """A row with a template and one operand that the walk's fast paths have not taken."""
        operand = self.values.pop()
        result = f"%v{at}f"
        self.lines.append(lower.TEMPLATES[row.code](result, operand, "") + self.sites.get(operand, ""))
        self.values.append(result)
        if operand in self.tainted:
            self.tainted.add(result)

    def float_binary(self, row: Op, template: lower.Render, result: str, a: str, b: str) -> str:
        """Float arithmetic, which LLVM folds where an operand is a constant."""
        a, b = lower.hide_constants(self, row, a, b)
        text = template(result, a, b)
        if a in self.tainted or b in self.tainted:
            text += self.spread(row, result, a, b)
        self.lines.append(text)
        return result

    def irregular(self, row: Op, a: str, b: str, at: int) -> str:
        """Rows whose lowering is ``@name``."""
        result = lower.IRREGULAR[row.lowering](self, row, a, b, at)
        if self.unit.policy.canonical_nans and row.code in MAKES_NANS:
            raw, result = result, self.fresh()
            self.lines.extend(lower.canonical_text(result, raw, llvm_type(row.result)).split("; "))
        if a in self.tainted or b in self.tainted:
            self.tainted.add(result)
        return result

    def constant(self, text: str, valtype: int, bits: int) -> None:
        """Pushes a constant that code has in memory."""
        self.values.append(lower.constant_in_memory(self, text, valtype, bits))

    def integer_constant(self, value: int) -> None:
        """i64.const"""
        self.values.append(str(value))

    def double_constant(self, bits: int) -> None:
        """f64.const from raw bits."""
        self.constant(f"0x{bits:016X}", F64, bits)

    def float_constant(self, bits: int) -> None:
        """f32.const from raw bits."""
        if bits & 0x7F800000 == 0x7F800000 and bits & 0x7FFFFF:
            # LLVM writes floats as doubles, and widening would quieten a signalling NaN.
            self.constant(f"bitcast (i32 {bits} to float)", F32, bits)
        else:
            wide = struct.unpack("<Q", struct.pack("<d", struct.unpack("<f", struct.pack("<I", bits))[0]))[0]
            self.constant(f"0x{wide:016X}", F32, bits)

    def load(self, row: Op, memory_index: int, offset: int, at: int) -> None:
        """A load of any width."""
        address = self.values.pop()
        place = memory.pointer(self, memory_index, address, offset, row.access_bytes, at)
        self.counter += 1
        result = f"%x{self.counter}"
        memory_type, value_type = row.memory_type, row.value_type
        load = f"load {self.volatile}{memory_type}, ptr {place}, align 1, !tbaa !1"
        # LLVM folds loads into the instructions that use them, and those keep their own location: they get this one.
        self.sites[result] = site = f", !dbg !DILocation(line: {at}{self.debug_tail}"
        if memory_type == value_type:
            self.lines.append(f"  {result} = {load}{site}")
        else:
            widen = "sext" if row.name[-1] == "s" else "zext"
            self.lines.append(
                f"  {result}n = {load}{site}\n  {result} = {widen} {memory_type} {result}n to {value_type}{site}"
            )
        self.note_load(result, value_type, at)
        self.values.append(result)

    def store(self, row: Op, memory_index: int, offset: int, at: int) -> None:
        """A store of any width."""
        value = self.values.pop()
        address = self.values.pop()
        place = memory.pointer(self, memory_index, address, offset, row.access_bytes, at)
        memory_type, value_type = row.memory_type, row.value_type
        if address[0] != "%":
            self.note_fixed_store(value, row.params[1])
        if memory_type != value_type:
            self.counter += 1
            name = f"%x{self.counter}"
            self.lines.append(f"  {name} = trunc {value_type} {value} to {memory_type}")
            value = name
        self.lines.append(
            f"  store {self.volatile}{memory_type} {value}, ptr {place}, align 1, !tbaa !1"
            f", !dbg !DILocation(line: {at}{self.debug_tail}"
        )

    def vector(self, row: Op, immediate: int, memory_index: int, offset: int, at: int) -> None:
        """A vector instruction."""
        simd.lower(self, row, immediate, memory_index, offset, at)

    def atomic(self, row: Op, memory_index: int, offset: int, at: int) -> None:
        """An atomic instruction."""
        atomics.lower(self, row, memory_index, offset, at)

    # ---- control ----

    def condition(self) -> str:
        """Pops an i32 as an i1."""
        value = self.values.pop()
        if value[:2] == "%c":
            return value
        name = self.fresh()
        self.lines.append(f"  {name} = icmp ne i32 {value}, 0{self.sites.get(value, '')}")
        if value in self.tainted:
            self.tainted.add(name)
        return name

    def block(self, frame: Frame) -> None:
        self.counter += 1
        frame.label = f"b{self.counter}"
        frame.mark = len(self.lines)
        frame.value_height = len(self.values) - len(frame.params)
        frame.edges = []

    def loop(self, frame: Frame, at: int) -> None:
        if self.fuel:
            metering.charge(self)
        self.num_loops += 1
        self.counter += 1
        frame.label = f"b{self.counter}"
        frame.value_height = len(self.values) - len(frame.params)
        frame.target = Block()
        self.successors.append(frame.target)
        frame.edges = [(self.values[frame.value_height :], self.current)]
        self.lines.append(f"  br label %{frame.label}")
        self.start_label(frame.label)
        # Any local may change in the loop, and the header is reached again: nothing cached holds there.
        self.cache.clear()
        self.open_block(frame.target)
        frame.header = len(self.lines)
        self.nesting.append(0)
        self.lines.append("")  # the parameters' phis, once all back edges are known
        for position in range(len(frame.params)):
            name = f"%{frame.label}.{position}"
            self.values[frame.value_height + position] = name
            self.tainted.add(name)
        count = metering.enter_loop(self, at)
        if count and hand_over.can_offer(self):
            hand_over.offer(self, count, at)
        self.block_start = len(self.lines)

    def if_(self, frame: Frame) -> None:
        if self.fuel:
            metering.charge(self)
        condition = self.condition()
        self.counter += 1
        frame.label = f"b{self.counter}"
        frame.else_label = f"e{self.counter}"
        then_label = f"h{self.counter}"
        frame.value_height = len(self.values) - len(frame.params)
        frame.values = self.values[frame.value_height :]
        frame.edges = []
        frame.otherwise = Block()
        self.successors.append(frame.otherwise)
        self.note_condition(frame, condition)
        self.lines.append(f"  br i1 {condition}, label %{then_label}, label %{frame.else_label}")
        self.start_label(then_label)
        frame.mark = len(self.lines)

    def else_(self, frame: Frame, fallthrough: bool) -> None:
        if fallthrough:
            self.jump(frame)
        del self.values[frame.value_height :]
        self.values.extend(frame.values)
        self.start_label(frame.else_label)
        self.filter_cache(frame.mark)
        self.open_block(frame.otherwise)

    def filter_cache(self, mark: int) -> None:
        """Forgets cached locals that were cached or written after line `mark`; in place, the walker holds the dict.

        And bounds checks.
        """
        cache = self.cache
        while cache:  # in the order of their lines, so that this costs no more than what it forgets
            index, entry = cache.popitem()
            if entry[1] < mark:
                cache[index] = entry
                break
        self.forget_checks(mark)

    def jump(self, frame: Frame) -> None:
        """Falls through to, or branches to, a frame's label, with the operands on top of the stack."""
        if self.fuel:
            metering.charge(self)
        self.edge(frame)
        self.lines.append(f"  br label %{frame.label}")

    def end(self, frame: Frame, fallthrough: bool) -> None:
        if frame.opcode == LOOP:
            self.lines[frame.header] = self.phis(frame, frame.params, frame.label)
            self.end_loop(frame)
            visible.end_loop(self, frame)
            if fallthrough:
                after = Block()
                self.successors.append(after)
                self.open_block(after)
            if not fallthrough:
                self.dead_end(frame)
            return
        if frame.opcode == TRY_TABLE and frame.catches:
            fallthrough = self.end_try_table(frame, fallthrough)
        if frame.opcode == IF:  # no else: the parameters are the results
            self.else_(frame, fallthrough)
            fallthrough = True
        if fallthrough and not frame.edges:
            return  # nobody branches here: straight on
        if fallthrough:
            self.jump(frame)
        if not frame.edges:
            self.dead_end(frame)
            return
        self.join(frame)

    def try_table(self, frame: Frame) -> None:
        self.block(frame)
        if frame.catches:
            exceptions.begin(self, frame)

    def end_try_table(self, frame: Frame, fallthrough: bool) -> bool:
        """The landing, if something branches there. Whether what comes next is what follows the body."""
        self.tries.pop()
        if not frame.has_landing:
            return fallthrough
        if fallthrough:
            self.jump(frame)
        del self.values[frame.value_height :]
        self.start_label(frame.else_label)
        self.filter_cache(frame.mark)
        self.open_block(frame.otherwise)
        exceptions.land(self, frame, self.body_start)
        self.close_block()
        return False

    def throw(self, tag: int, at: int) -> None:
        exceptions.throw(self, tag, at)

    def throw_ref(self, at: int) -> None:
        exceptions.throw_ref(self, at)

    def join(self, frame: Frame) -> None:
        """Starts the block that a frame's branches meet in."""
        if frame.conditions:
            self.anchor_conditions(frame)
        del self.values[frame.value_height :]
        self.start_label(frame.label)
        if frame.results:
            self.lines.append(self.phis(frame, frame.results, frame.label))
            for position in range(len(frame.results)):
                self.values.append(f"%{frame.label}.{position}")
                self.tainted.add(f"%{frame.label}.{position}")
        self.filter_cache(frame.mark)
        self.open_block(frame.target)

    def dead_end(self, frame: Frame) -> None:
        """After a frame that is never left: validation goes on, LLVM deletes what follows."""
        del self.values[frame.value_height :]
        self.counter += 1
        self.start_label(f"d{self.counter}")
        self.values.extend("poison" for _ in frame.results)
        self.open_block(Block())

    def phis(self, frame: Frame, types: tuple[int, ...], label: str) -> str:
        """One phi per operand, with an entry for every edge (LLVM counts the edges of a br_table one by one)."""
        return "\n".join(
            [
                phi(f"%{label}.{position}", llvm_type(valtype), frame.edges, position)
                for position, valtype in enumerate(types)
            ]
        )

    def branch(self, frame: Frame) -> None:
        """br and return: the rest of the frame is unreachable, so its operands go."""
        self.discard(frame.value_height, len(frame.label_types))
        self.jump(frame)
        self.close_block()

    def branch_if(self, frame: Frame) -> None:
        if self.fuel:
            metering.charge(self)
        condition = self.values.pop()
        if condition[:2] != "%c":
            self.values.append(condition)
            condition = self.condition()
        target = landings.target(self, frame)
        self.counter += 1
        self.current = label = f"n{self.counter}"
        self.discard(frame.value_height, len(frame.label_types))
        self.note_condition(frame, condition)
        self.lines.append(f"  br i1 {condition}, label %{target}, label %{label}\n{label}:")

    def branch_table(self, targets: list[Frame], default: Frame) -> None:
        landings.branch_table(self, targets, default)

    def unreachable(self, at: int) -> None:
        self.anchor_waiting()
        if self.fuel:
            metering.charge(self)
            metering.save_fuel(self)
        self.lines.append(self.trap("UNREACHABLE", at))
        self.close_block()

    # ---- calls ----

    def call(self, function: int, at: int) -> None:
        calls.call(self, function, at)

    def call_indirect(self, type_index: int, table: int, at: int) -> None:
        calls.call_indirect(self, type_index, table, at)

    def return_call(self, function: int, at: int) -> None:
        tail_calls.call(self, function, at)

    def call_ref(self, type_index: int, may_be_null: bool, at: int) -> None:
        references.call(self, type_index, may_be_null, at)

    def return_call_ref(self, type_index: int, may_be_null: bool, at: int) -> None:
        references.return_call(self, type_index, may_be_null, at)

    def return_call_indirect(self, type_index: int, table: int, at: int) -> None:
        reference = calls.checked_reference(self, type_index, table, at)
        tail_calls.call_reference(self, self.module.called_type(type_index), reference, at)

    def builtin(self, name: str, indices: tuple[int, ...], params: tuple[int, ...], result: int, at: int) -> None:
        calls.builtin(self, name, indices, params, result, at)

    def wide_arithmetic(self, name: str) -> None:
        lower.wide_arithmetic(self, name)

    # ---- parametric, variables, references ----

    def drop(self, valtype: int) -> None:
        value = self.values.pop()
        if value in self.tainted and value not in self.anchored:
            self.anchor(value, valtype)

    def select(self, valtype: int) -> None:
        condition = self.condition()
        b = self.values.pop()
        a = self.values.pop()
        name = self.fresh()
        llvm = llvm_type(valtype)
        # Compilers emit `select` where they expect a branch to be mispredicted; LLVM must not make it one again.
        site = self.sites.get(a) or self.sites.get(b) or ""
        self.lines.append(f"  {name} = select i1 {condition}, {llvm} {a}, {llvm} {b}, !unpredictable !0{site}")
        self.values.append(name)
        if a in self.tainted or b in self.tainted or condition in self.tainted:
            self.tainted.add(name)
            if a == b and condition in self.tainted:
                self.anchor_condition(condition)

    def global_pointer(self, index: int) -> str:
        """The address of a global's value."""
        layout = self.unit.layout
        imported = self.module.num_imported_globals
        if index < imported:
            return self.invariant(f"%g{index}", "%vmctx", layout.imported_globals + 8 * index)
        return self.address(f"%g{index}", "%vmctx", layout.globals + abi.GLOBAL_BYTES * (index - imported))

    def global_get(self, index: int) -> None:
        pointer = self.global_pointer(index)
        name = self.fresh()
        globaltype = self.module.globals[index]
        mark = "!tbaa !2" if globaltype.mutable else "!invariant.load !0"
        self.lines.append(f"  {name} = load {llvm_type(globaltype.content)}, ptr {pointer}, align 8, {mark}")
        self.values.append(name)

    def global_set(self, index: int) -> None:
        pointer = self.global_pointer(index)
        valtype = self.module.globals[index].content
        value = self.values.pop()
        self.note_fixed_store(value, valtype)
        self.lines.append(f"  store {self.unit.volatile}{llvm_type(valtype)} {value}, ptr {pointer}, align 8, !tbaa !2")

    def memory_size(self, memory_index: int) -> None:
        self.values.append(memory.size_pages(self, memory_index))

    def ref_null(self) -> None:
        self.values.append("null")

    def ref_is_null(self) -> None:
        references.is_null(self)

    def ref_as_non_null(self, at: int) -> None:
        references.as_non_null(self, at)

    def branch_on_null(self, frame: Frame) -> None:
        reference = self.values.pop()
        self.values.append(references.comparison_with_null(self, "eq", reference))
        self.branch_if(frame)
        self.values.append(reference)

    def branch_on_non_null(self, frame: Frame) -> None:
        self.values.append(references.comparison_with_null(self, "ne", self.values[-1]))
        self.branch_if(frame)
        self.values.pop()

    def ref_test(self, from_: int, target: int, at: int) -> None:
        references.test(self, from_, target, at)

    def ref_cast(self, from_: int, target: int, at: int) -> None:
        references.cast(self, from_, target, at)

    def branch_on_cast(self, frame: Frame, from_: int, target: int, is_on_failure: bool, at: int) -> None:
        self.values.append(references.fits(self, from_, target, at, is_negated=is_on_failure))
        self.branch_if(frame)

    def ref_func(self, function: int) -> None:
        self.values.append(calls.func_ref(self, function))

    def table_get(self, table: int, at: int) -> None:
        tables.get(self, table, at)

    def table_set(self, table: int, at: int) -> None:
        tables.set_(self, table, at)

    def table_size(self, table: int) -> None:
        tables.size(self, table)

    # ---- the whole function ----

    def finish(self, frame: Frame, fallthrough: bool) -> None:
        """At the body's `end`."""
        if fallthrough:
            if frame.edges:
                self.jump(frame)
                self.anchor_conditions(frame)
            else:
                self.return_(self.values)
                self.close_block()
        if frame.edges:
            self.start_label("return")
            phis = self.phis(frame, frame.results, "return")
            if phis:
                self.lines.append(phis)
            self.return_([f"%return.{position}" for position in range(len(frame.results))])
        tail_calls.emit_shared(self)
        visible.finish(self)
        self.finish_anchors()

    def return_(self, values: list[str]) -> None:
        """Returns: two results in registers, the rest through the results area."""
        if self.fuel:
            metering.charge(self)
            metering.save_fuel(self)
        results = self.type.results
        for position, offset in calls.area_slots(results):
            pointer = self.fresh()
            self.lines.append(
                f"  {pointer} = getelementptr i8, ptr %results, i64 {offset}\n"
                f"  store {llvm_type(results[position])} {values[position]}, ptr {pointer}, align 8, !tbaa !2"
            )
        if not results:
            self.lines.append("  ret void")
        elif len(results) == 1:
            self.lines.append(f"  ret {llvm_type(results[0])} {values[0]}")
        else:
            pair = calls.return_type(results)
            name = self.fresh()
            self.lines.append(
                f"  {name}a = insertvalue {pair} poison, {llvm_type(results[0])} {values[0]}, 0\n"
                f"  {name} = insertvalue {pair} {name}a, {llvm_type(results[1])} {values[1]}, 1\n"
                f"  ret {pair} {name}"
            )

    def note_facts(self, facts: BodyFacts) -> None:
        """Takes note of what validation found."""
        # With or without a register entry in every tier: who only knows of the body cannot tell what is reached.
        self.tail_calls = facts.has_tail_calls

    def text(self) -> str:
        """The function as LLVM IR. Asked for once."""
        used = set(self.loaded)
        for block in self.blocks:
            used.update(block.writes)
        locals_bytes = sum(16 if self.local_types[index] == V128 else 8 for index in used)
        large = locals_bytes > _LARGE_FRAME_BYTES
        head = [self.definition()]
        if self.fuel:
            head.append(self.fuel_definition())
        if self.results_area_bytes:
            head.append(f"  %area = alloca [{self.results_area_bytes} x i8], align 16")
        if self.hand_overs:
            head.append(hand_over.frame_definition(self))
            self.cold.append(hand_over.text(self))
        head.extend(self.invoke_definitions())
        head.extend(self.local_definition(index) for index in sorted(used))
        # The allocas come first: LLVM promotes only those of the entry block.
        if not self.leaf or large:
            head.append(self.stack_check(locals_bytes if large else 0))
        head.extend(self.prologue.values())
        text = self.assembled("\n".join(head), num_locals=len(used))
        if self.unit.shares_memory:
            text = fetched.without_needless_copies(text)
        if len(used) * self.num_edges <= MAX_PROMOTED:
            return text
        self.lines.clear()  # as much memory as that takes
        self.cold.clear()
        return lower.demote_locals(text, MAX_PROMOTED // self.num_edges)

    def assembled(self, head: str, num_locals: int) -> str:
        """The text: what comes before the body, and the body, which uses `num_locals` locals."""
        return "\n".join((head, f"  br label %{self.first_label}\nstart:", *self.lines, *self.cold, "}\n"))

    def may_be_tangled(self) -> bool:
        """Whether the text has to be looked at: LLVM may take out of proportion to optimise it (`limits`)."""
        return limits.may_be_tangled(
            lines=len(self.lines),
            edges=self.num_edges,
            sets=sum(len(block.writes) for block in self.blocks),
            loops=self.num_loops,
            checks=len(self.cold),
            operands=self.most_operands,
            carried=self.carried,
        )

    def definition(self) -> str:
        """The head of the function."""
        if self.tail_calls:
            return tail_calls.definition(self)
        return calls.definition(self, [f"{llvm_type(t)} %p{i}" for i, t in enumerate(self.type.params)])

    def fuel_definition(self) -> str:
        """The alloca of the fuel that is left; the body begins by loading it."""
        return "  %fuel = alloca i64"

    def local_definition(self, index: int) -> str:
        """A local's alloca and its value when the function begins."""
        valtype = self.local_types[index]
        llvm = llvm_type(valtype)
        initial = f"%p{index}" if index < self.num_params else lower.zero(valtype)
        return f"  %l{index} = alloca {llvm}\n  store {llvm} {initial}, ptr %l{index}"

    def stack_check(self, frame_bytes: int) -> str:
        """Compares the frame address with the limit before the function does anything.

        Without it, recursion would run off the thread's stack, whatever lies below it.
        """
        at = self.body_start
        self.prologue.pop("%store", None)
        label = self.trap_block("STACK_OVERFLOW", at)
        frame = "%stack.f"
        adjust = ""
        if frame_bytes:
            adjust = f"  %stack.g = sub i64 %stack.f, {frame_bytes}\n"
            frame = "%stack.g"
        return (
            f"  %store.p = getelementptr i8, ptr %vmctx, i64 {abi.VMCONTEXT['store']}\n"
            "  %store = load ptr, ptr %store.p, align 8, !invariant.load !0\n"
            f"  %stack.p = getelementptr i8, ptr %store, i64 {abi.STORE['stack_limit']}\n"
            "  %stack.l = load i64, ptr %stack.p, align 8, !tbaa !2\n"
            "  %stack.a = call ptr @llvm.frameaddress.p0(i32 0)\n"
            "  %stack.f = ptrtoint ptr %stack.a to i64\n"
            f"{adjust}"
            f"  %stack.o = icmp ult i64 {frame}, %stack.l\n"
            f"  br i1 %stack.o, label %{label}, label %body, !prof !3\nbody:"
        )
