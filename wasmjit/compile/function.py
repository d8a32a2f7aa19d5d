"""Lowers one function body to LLVM IR text: control flow, variables, calls. The walker (`wasm.body`) drives it.

Values are LLVM operand texts on a stack that runs parallel to the walker's operand types. Locals are allocas that SROA
promotes; within straight-line code their current value is cached, so most local.get cost no instruction.

Exact traps. LLVM deletes a load whose value is unused, and with it the trap. A value is *tainted* if it comes from a
load, directly, through pure instructions or through a local. A tainted value that is dropped, discarded by a branch, or
stored to a local that is not read again on any path (`liveness.py`) is anchored by an empty `asm sideeffect`. Calls
need none: functions are opaque to their callers (`calls.definition`).
"""

from __future__ import annotations

import bisect
import re
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .. import abi
from ..errors import TRAPS, CompileError
from ..wasm.lowering import IF, LOOP, Frame
from ..wasm.ops import Op
from ..wasm.types import F32, F64, I32, I64, V128, FuncType, llvm_type
from . import calls, exact, hand_over, landings, limits, lower, memory, metering, references, simd, tables, tail_calls
from .liveness import Block, PendingStore, dead_stores

if TYPE_CHECKING:
    from .unit import Unit

TRAP_NUMBERS = {trap.name: trap.number for trap in TRAPS}

_NO_OPERANDS: list[str] = []
_SHORT_BRANCH_LINES = 12
# What no loop has that LLVM vectorises: calls but to its own functions, vectors.
_LABEL = re.compile(r"^\w+:", re.MULTILINE)
_NEVER_VECTORISED = re.compile(r"\bswitch\b|\bcall\b(?! \w+ @llvm\.)|<\d+ x ")
_MAX_PHI_OPERANDS = 5_000_000
_MAX_OPERAND_WORK = 500_000
_MAX_CARRIED_OPERANDS = 500_000  # where the interpreter cannot run it; 33,000 in functions of real programs
_MAX_CACHED_ZEROS = 200
_COLD_LINES = 4  # of a block that traps
# Locals times edges between blocks: about how many phi operands LLVM would make of a function's locals.
_MAX_PROMOTED = 200_000
_EFFECT = re.compile(r"\b(store|call|ret|switch)\b|br i1")
# Locals beyond this many bytes count in the prologue's stack check: a frame must not skip the headroom below the limit.
_LARGE_FRAME_BYTES = 4096


class TangledError(Exception):
    """Finding out which loads have to be anchored would take time out of proportion: they are made volatile instead.

    Operands that wait on the stack are looked at by each branch that discards them, and by each instruction that may
    not return.
    """


class LeftError(Exception):
    """LLVM would take memory out of proportion for the function (`limits.is_left`): the interpreter is to run it."""


class _Untainted(set[str]):
    """The tainted values where none has to be."""

    def add(self, value: str) -> None:
        """It does not."""

    def update(self, *values: Iterable[str]) -> None:
        """They do not."""


class _Stores(dict[int, str]):
    """The beginning of a store to each local, by index, made when wanted: there may be 50,000, in each function."""

    local_types: list[int]

    def __missing__(self, index: int) -> str:
        text = self[index] = f"  store {llvm_type(self.local_types[index])} "
        return text


class FunctionLowering:
    """One function on its way to text; implements `wasm.body.Lowering`."""

    def __init__(self, unit: Unit, function_index: int, scope: int, tangled: bool = False) -> None:
        """`tangled`: every load is volatile, which LLVM keeps, and nothing is anchored; see `TangledError`."""
        self.unit = unit
        self.module = unit.module
        self.function_index = function_index
        self.type: FuncType = unit.module.function_type(function_index)
        self.scope = scope
        self.debug_tail = f", scope: !{scope})"
        self.values: list[str] = []
        self.lines: list[str] = []
        self.cold: list[str] = []
        self.prologue: dict[str, str] = {}
        self.guard_pages = unit.guard_pages
        self.guarded = unit.guarded  # memories that never move and whose addresses need no check
        self.wide_memories = unit.wide_memories
        self.checked: dict[tuple[int, str], memory.Check] = {}  # (memory, address operand) -> its bounds check
        self.check_lines: set[int] = set()  # where bounds checks branch
        self.bases: dict[int, str] = {}  # memories whose base is in the prologue
        self.cache: dict[int, tuple[str, int]] = {}
        self.local_types: list[int] = []
        self.num_params = 0
        self.loaded: set[int] = set()
        self._stores = _Stores()
        self.stores: dict[int, str] = self._stores
        self.volatile = "volatile " if tangled else unit.volatile
        self.tangled = tangled
        self.operand_work = 0  # operands looked at to be anchored, and carried by calls
        self.carried = 0  # operands and results of all calls
        self.templates = lower.TEMPLATES
        self.vector_renderers = simd.policy_renderers(unit.policy)
        self.constant_vectors: set[str] = set()  # computed from constants alone
        self.constants: set[str] = set()  # that LLVM puts into memory
        self.calls_multiply_add = unit.policy.deterministic_simd and not unit.policy.fused_multiply_add
        self.shaped: dict[str, tuple[str, str]] = {}  # v128 -> lane shape and name of the vector it was computed as
        self.rows = lower.rows(unit.policy.canonical_nans, unit.module.address_type)
        self.counter = 0
        self.current = "start"  # label of the LLVM block being written, for phi edges
        self.first_label = "start"  # the block that follows the prologue
        self.nesting: list[int] = []  # of each open loop: how deep the loops in it are nested
        self.released_loops: dict[int, range] = {}  # number of a liveness block -> those of the loop that it is in
        self.fixed_stores: list[tuple[int, str, int]] = []  # of tainted values to globals and constant addresses
        # Loads that `exact` sees to: line, value, its LLVM type, offset; and those in loops that may get vectorised.
        self.kept: list[tuple[int, str, str, int]] = []
        self.released: list[tuple[int, str, str, int, bool]] = []
        self.leaf = True  # no calls but tail calls, which leave no frame
        self.tail_calls = False
        self.num_tail_calls = 0
        self.shared_calls: dict[tuple[FuncType, tail_calls.Callee], tail_calls.SharedCall] = {}
        self.fuel = unit.policy.fuel
        self.fuel_seen = 0  # cost of the instructions walked so far; the walker counts
        self.fuel_charged = 0
        self.num_phi_operands = 0
        self.num_edges = 0
        self.num_loops = 0
        self.most_operands = max(len(self.type.params), len(self.type.results))  # of any call
        body = unit.module.bodies[function_index - unit.module.num_imported_functions]
        self.body_start = body.start
        self.may_be_left = unit.may_leave(function_index)
        self.most_lines = limits.most_lines_begun(body.end - body.start) if self.may_be_left else sys.maxsize
        self.results_area_bytes = 0
        self.hand_overs: list[hand_over.HandOver] = []
        # liveness
        self.tainted: set[str] = _Untainted() if tangled else set()
        self.settled: set[str] = set()
        self.types: list[int] = []
        self.sites: dict[str, str] = {}
        self.promoted: set[str] = set()
        self.pending: dict[int, tuple[int, str, int]] = {}
        self.block_record = Block()
        self.blocks: list[Block] = [self.block_record]
        self.successors = self.block_record.successors
        self.reads = self.block_record.reads
        self.writes = self.block_record.writes
        self.block_start = 0

    # ---- small tools ----

    def fresh(self) -> str:
        """A new value name."""
        self.counter += 1
        return f"%x{self.counter}"

    def debug(self, at: int) -> str:
        """The debug location that maps an instruction to wasm offset `at`."""
        return f", !dbg !DILocation(line: {at}{self.debug_tail}"

    def start_label(self, label: str) -> None:
        """Starts an LLVM block."""
        self.lines.append(f"{label}:")
        self.current = label
        self.check_length()

    def check_length(self) -> None:
        """Raises LeftError for what is too long anyway: called where a function gets longer than its instructions."""
        if self.num_lines > self.most_lines:
            raise LeftError

    def check_tail_calls(self) -> None:
        """Raises CompileError, or LeftError, where a function of very many tail calls gets out of proportion."""
        body = self.module.bodies[self.function_index - self.module.num_imported_functions]
        if self.num_lines > limits.most_lines(body.end - body.start):
            raise self.too_large("it makes too many tail calls")

    @property
    def num_lines(self) -> int:
        """How long the text is so far."""
        return len(self.lines) + _COLD_LINES * len(self.cold)

    def trap_if(self, condition: str, trap: str, at: int, first: str = "") -> None:
        """Traps where i1 `condition` holds, after doing `first`."""
        self.counter += 1
        label = f"k{self.counter}"
        self.lines.append(
            f"  br i1 {condition}, label %{self.trap_block(trap, at, first)}, label %{label}, !prof !3\n{label}:"
        )
        self.current = label

    def trap_block(self, trap: str, at: int, first: str = "") -> str:
        """A cold block that raises `trap`; returns its label."""
        self.counter += 1
        label = f"t{self.counter}"
        self.cold.append(self.trap_text(label, trap, at, first))
        self.check_length()
        return label

    def trap_text(self, label: str, trap: str, at: int, first: str = "") -> str:
        """The text of a block that raises `trap`, after doing `first`."""
        # ubsantrap is noreturn and reads no memory: without the clobber, stores before it die.
        clobber = f'  call void asm sideeffect "", "~{{memory}}"(){self.debug(at)}'
        return f"{label}:\n{first}{clobber}\n{self.trap(trap, at)}"

    def trap(self, trap: str, at: int) -> str:
        """The trapping instruction and the end of its block."""
        return f"  call void @llvm.ubsantrap(i8 {TRAP_NUMBERS[trap]}) #1{self.debug(at)}\n  unreachable"

    def begin(self, local_types: list[int], num_params: int, frame: Frame, types: list[int]) -> None:
        """Called once the locals are known; `types` is the walker's operand stack."""
        self.types = types
        self.local_types = local_types
        self.num_params = num_params
        self._stores.local_types = local_types
        for index in range(num_params):
            self.cache[index] = (f"%p{index}", -1)
        # Every join walks over the cache: functions with very many locals start without their zeros in it.
        for index in range(num_params, min(len(local_types), num_params + _MAX_CACHED_ZEROS)):
            self.cache[index] = (lower.zero(local_types[index]), -1)
        frame.label = "return"
        frame.edges = []
        metering.enter_function(self, self.body_start)

    # ---- locals and liveness ----

    def load_local(self, index: int) -> str:
        """Emits a load of a local that is not cached."""
        name = self.fresh()
        self.lines.append(f"  {name} = load {llvm_type(self.local_types[index])}, ptr %l{index}")
        self.loaded.add(index)
        self.cache[index] = (name, len(self.lines))
        # Its value may come from a load in an earlier block: keep that alive through this one's uses too.
        self.tainted.add(name)
        return name

    def overwrite_pending(self, index: int) -> None:
        """A tainted value in a local is overwritten; unless a branch left in between, nothing can have read it."""
        line, value, first = self.pending.pop(index)
        if len(self.successors) > first:
            self.defer(PendingStore(index, line, value, first, len(self.successors)))
        else:
            self.lines[line] += "\n" + lower.anchor_text(self.unit, value, self.local_types[index])

    def defer(self, store: PendingStore) -> None:
        """Leaves the decision to `liveness.dead_stores`, at the end of the function."""
        if self.block_record.pending is None:
            self.block_record.pending = []
        self.block_record.pending.append(store)

    def open_block(self, block: Block) -> None:
        """Makes `block` the current liveness block; the caller links the edges."""
        self.close_block()
        self.block_record = block
        block.number = len(self.blocks)
        self.blocks.append(block)
        self.successors = block.successors
        self.reads = block.reads
        self.writes = block.writes
        self.block_start = len(self.lines)

    def close_block(self) -> None:
        """What is still pending at the end of a block depends on its successors: `liveness.dead_stores` decides."""
        if self.pending:
            for index, (line, value, first) in self.pending.items():
                self.defer(PendingStore(index, line, value, first, None))
            self.pending.clear()

    def anchor(self, value: str, valtype: int) -> None:
        """Keeps the computation of `value`, and so its traps, although nothing uses it."""
        if value[0] == "%":
            self.lines.append(lower.anchor_text(self.unit, value, valtype))

    def absorb(self, row: Op, a: str, b: str) -> None:
        """An operation LLVM may fold without looking at its tainted operand (x & 0, x - x): anchors that operand."""
        if lower.may_fold(row, a, b):
            for value, valtype in zip((a, b), row.params, strict=True):
                if value in self.tainted:
                    self.anchor(value, valtype)

    def settle(self, operands: int = 0) -> None:
        """Anchors the tainted values on the stack and in locals, before something LLVM may find never to return.

        The top `operands` values are left out: they are the instruction's own.

        If it finds so, all code behind is dead, and the loads whose values only that code uses would go with it.
        """
        if self.tangled:
            return
        self.settle_values(self.values[: len(self.values) - operands], self.types)
        for index, (_, value, _) in self.pending.items():
            self.settle_values((value,), (self.local_types[index],))
        self.pending.clear()

    def work(self, operands: int) -> None:
        """Notes that so many operands were looked at or passed. Raises TangledError, or CompileError, beyond limits."""
        self.operand_work += operands
        if self.operand_work > _MAX_OPERAND_WORK:
            if not self.tangled:
                raise TangledError
            if self.operand_work > _MAX_CARRIED_OPERANDS:
                raise self.too_large("its calls carry too many operands")

    def too_large(self, reason: str) -> CompileError | LeftError:
        """The error for a function that LLVM would take gigabytes for."""
        if self.may_be_left:
            return LeftError()
        body = self.module.bodies[self.function_index - self.module.num_imported_functions]
        return CompileError(
            f"function {self.function_index} is too large: {reason}",
            offset=body.start,
            function=self.function_index,
            function_name=self.module.names.functions.get(self.function_index),
        )

    def settle_values(self, values: Sequence[str], types: Sequence[int]) -> None:
        """Anchors those of `values` that are tainted, each once in the function."""
        self.work(len(values))
        for value, valtype in zip(values, types, strict=False):
            if value in self.tainted and value not in self.settled:
                self.settled.add(value)
                self.anchor(value, valtype)

    def discard(self, height: int, arity: int) -> None:
        """Anchors the tainted operands that a branch throws away: those between `height` and its `arity` operands."""
        end = len(self.values) - arity
        if end > height and not self.tangled:
            self.settle_values(self.values[height:end], self.types[height:end])

    # ---- regular instructions that need more than a template ----

    def hide_constants(self, row: Op, a: str, b: str) -> tuple[str, str]:
        """See `lower.hide_constants`."""
        return lower.hide_constants(self, row, a, b)

    def irregular(self, row: Op, a: str, b: str, at: int) -> str:
        """Rows whose lowering is ``@name``."""
        result = lower.IRREGULAR[row.lowering](self, row, a, b, at)
        if self.unit.policy.canonical_nans and row.result in (F32, F64):
            raw, result = result, self.fresh()
            self.lines.extend(lower.canonical_text(result, raw, llvm_type(row.result)).split("; "))
        if a in self.tainted or b in self.tainted:
            self.tainted.add(result)
        return result

    def constant(self, text: str, valtype: int, bits: int) -> None:
        """Pushes a constant that code has in memory."""
        self.values.append(lower.constant_in_memory(self, text, valtype, bits))

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
        if self.unit.keeps_loads:
            self.kept.append((len(self.lines) - 1, result, value_type, at))
        self.values.append(result)
        self.tainted.add(result)

    def store(self, row: Op, memory_index: int, offset: int, at: int) -> None:
        """A store of any width."""
        value = self.values.pop()
        address = self.values.pop()
        place = memory.pointer(self, memory_index, address, offset, row.access_bytes, at)
        memory_type, value_type = row.memory_type, row.value_type
        if address[0] != "%" and value in self.tainted:
            self.fixed_stores.append((len(self.lines), value, row.params[1]))
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

    def edge(self, frame: Frame, again: bool = False) -> None:
        """Records a branch from the current block to a frame's label, with the operands on top of the stack.

        `again`: the same instruction branched there before; LLVM counts edges, the liveness search needs one.
        Raises CompileError where a function would become gigabytes of phis.
        """
        self.num_edges += 1
        if frame.label_types:
            self.num_phi_operands += len(frame.label_types)
            if self.num_phi_operands > _MAX_PHI_OPERANDS:
                raise self.too_large("its branches carry too many operands")
            frame.edges.append((self.values[-len(frame.label_types) :], self.current))
        else:
            frame.edges.append((_NO_OPERANDS, self.current))
        if not again:
            target = frame.target
            if target is None:
                frame.target = target = Block()
            self.successors.append(target)

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
        metering.enter_loop(self, at)
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

    def note_condition(self, frame: Frame, condition: str) -> None:
        """Remembers a branch on a tainted condition, for `anchor_conditions`."""
        if condition in self.tainted:
            if frame.conditions is None:
                frame.conditions = []
            frame.conditions.append((len(self.lines), condition))

    def anchor_conditions(self, frame: Frame) -> None:
        """At a join: LLVM drops a branch whose two ways do the same, and the load its condition came from with it.

        Code from compilers has no such branches; what is looked for is a handful of lines without any effect.
        """
        last = len(self.lines) - 1
        for line, condition in frame.conditions or ():
            if last - line <= _SHORT_BRANCH_LINES and not _EFFECT.search("\n".join(self.lines[line + 1 :])):
                self.lines[line] = lower.anchor_condition_text(self.unit, condition) + "\n" + self.lines[line]

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

        The same for bounds checks: what is behind a join need not have passed those before it.
        """
        # Both are in the order of their lines, so that this costs no more than what it forgets.
        cache = self.cache
        while cache:
            index, entry = cache.popitem()
            if entry[1] < mark:
                cache[index] = entry
                break
        checked = self.checked
        while checked:
            key, check = checked.popitem()
            if check.line < mark:
                checked[key] = check
                break

    def jump(self, frame: Frame) -> None:
        """Falls through to, or branches to, a frame's label, with the operands on top of the stack."""
        if self.fuel:
            metering.charge(self)
        self.edge(frame)
        self.lines.append(f"  br label %{frame.label}")

    def end(self, frame: Frame, fallthrough: bool) -> None:
        if frame.opcode == LOOP:
            self.lines[frame.header] = self.phis(frame, frame.params, frame.label)
            depth = self.nesting.pop()
            if self.nesting:
                self.nesting[-1] = max(self.nesting[-1], depth + 1)
            if depth <= 1 and self.kept:
                self.release_loads(frame)
            if fallthrough:
                after = Block()
                self.successors.append(after)
                self.open_block(after)
            if not fallthrough:
                self.dead_end(frame)
            return
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

    def release_loads(self, frame: Frame) -> None:
        """At the end of a loop: if LLVM may vectorise it, nothing must stand in the way (`exact`).

        Of loops with loops in them too: those may be unrolled and gone by then.
        """
        header = frame.header
        if any(_NEVER_VECTORISED.search(line) for line in self.lines[header:]):
            return
        first = bisect.bisect_left(self.kept, (header,))
        # A block under a condition is not to be more than its load: LLVM makes vectors of it under a mask.
        is_straight = len(_LABEL.findall("\n".join(self.lines[header:]))) <= 1
        self.released += [(*load, is_straight) for load in self.kept[first:]]
        del self.kept[first:]
        numbers = range(frame.target.number, len(self.blocks))
        for number in numbers:
            self.released_loops.setdefault(number, numbers)
        # LLVM stores once, behind the loop, what each iteration overwrites.
        while self.fixed_stores and self.fixed_stores[-1][0] >= header:
            line, value, valtype = self.fixed_stores.pop()
            self.lines[line] += "\n" + self.keep_text(value, valtype)

    def keep_text(self, value: str, valtype: int) -> str:
        """What keeps a value that may not be used in each iteration of a loop, or not at all."""
        if not self.unit.keeps_loads or valtype not in (I32, I64, F32, F64):
            return lower.anchor_text(self.unit, value, valtype)
        self.unit.num_anchors += 1
        return exact.keep_text(value, llvm_type(valtype), f"%w{self.unit.num_anchors}")

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
                lower.phi(f"%{label}.{position}", llvm_type(valtype), frame.edges, position)
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
        self.settle()
        if self.fuel:
            metering.charge(self)
            metering.save_fuel(self)
        self.lines.append(
            f'  call void asm sideeffect "", "~{{memory}}"(){self.debug(at)}\n{self.trap("UNREACHABLE", at)}'
        )
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
        tail_calls.call_reference(self, self.module.types[type_index], reference, at)

    def builtin(self, name: str, indices: tuple[int, ...], params: tuple[int, ...], result: int, at: int) -> None:
        calls.builtin(self, name, indices, params, result, at)

    def wide_arithmetic(self, name: str) -> None:
        lower.wide_arithmetic(self, name)

    # ---- parametric, variables, references ----

    def drop(self, valtype: int) -> None:
        value = self.values.pop()
        if value in self.tainted and value not in self.settled:
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

    def anchor_condition(self, condition: str) -> None:
        """Anchors an i1."""
        self.lines.append(lower.anchor_condition_text(self.unit, condition))

    def global_pointer(self, index: int) -> str:
        """The address of a global's value."""
        name = f"%g{index}"
        if name not in self.prologue:
            layout = self.unit.layout
            imported = self.module.num_imported_globals
            if index < imported:
                self.prologue[name] = (
                    f"  {name}.p = getelementptr i8, ptr %vmctx, i64 {layout.imported_globals + 8 * index}\n"
                    f"  {name} = load ptr, ptr {name}.p, align 8, !invariant.load !0"
                )
            else:
                offset = layout.globals + abi.GLOBAL_BYTES * (index - imported)
                self.prologue[name] = f"  {name} = getelementptr i8, ptr %vmctx, i64 {offset}"
        return name

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
        if value in self.tainted:
            self.fixed_stores.append((len(self.lines), value, valtype))
        self.lines.append(f"  store {llvm_type(valtype)} {value}, ptr {pointer}, align 8, !tbaa !2")

    def memory_size(self, memory_index: int) -> None:
        self.values.append(memory.size_pages(self, memory_index))

    def ref_null(self) -> None:
        self.values.append("null")

    def ref_is_null(self) -> None:
        references.is_null(self)

    def ref_as_non_null(self, at: int) -> None:
        references.as_non_null(self, at)

    def branch_on_null(self, frame: Frame) -> None:
        references.branch_on_null(self, frame)

    def branch_on_non_null(self, frame: Frame) -> None:
        references.branch_on_non_null(self, frame)

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
        for store in dead_stores(self.blocks, self.released_loops):
            self.lines[store.line] += "\n" + self.keep_text(store.value, self.local_types[store.local])
        for line, value, llvm, _ in self.kept:
            self.lines[line] += "\n" + exact.keep_text(value, llvm)
        for line, value, llvm, at, is_marked in self.released:
            self.lines[line] += "\n" + exact.released_text(value, llvm, at, self.debug(at) if is_marked else "")

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

    def text(self) -> str:
        """The function as LLVM IR."""
        used = set(self.loaded)
        for block in self.blocks:
            used.update(block.writes)
        locals_bytes = sum(16 if self.local_types[index] == V128 else 8 for index in used)
        large = locals_bytes > _LARGE_FRAME_BYTES
        head = [self.definition()]
        if self.fuel:
            head.append("  %fuel = alloca i64")
        if self.results_area_bytes:
            head.append(f"  %area = alloca [{self.results_area_bytes} x i8], align 16")
        if self.hand_overs:
            head.append(hand_over.frame_definition(self))
            self.cold.append(hand_over.text(self))
        head.extend(self.local_definition(index) for index in sorted(used))
        # The allocas come first: LLVM promotes only those of the entry block.
        if not self.leaf or large:
            head.append(self.stack_check(locals_bytes if large else 0))
        head.extend(self.prologue.values())
        head.append(f"  br label %{self.first_label}\nstart:")
        text = "\n".join((*head, *self.lines, *self.cold, "}\n"))
        return (
            text
            if len(used) * self.num_edges <= _MAX_PROMOTED
            else lower.demote_locals(text, _MAX_PROMOTED // self.num_edges)
        )

    def definition(self) -> str:
        """The head of the function."""
        if self.tail_calls:
            return tail_calls.definition(self)
        return calls.definition(self, [f"{llvm_type(t)} %p{i}" for i, t in enumerate(self.type.params)])

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
        offset = abi.VMCONTEXT["store"]
        self.prologue.pop("%store", None)
        label = self.trap_block("STACK_OVERFLOW", at)
        frame = "%stack.f"
        adjust = ""
        if frame_bytes:
            adjust = f"  %stack.g = sub i64 %stack.f, {frame_bytes}\n"
            frame = "%stack.g"
        return (
            f"  %store.p = getelementptr i8, ptr %vmctx, i64 {offset}\n"
            "  %store = load ptr, ptr %store.p, align 8, !invariant.load !0\n"
            f"  %stack.p = getelementptr i8, ptr %store, i64 {abi.STORE['stack_limit']}\n"
            "  %stack.l = load i64, ptr %stack.p, align 8, !tbaa !2\n"
            "  %stack.a = call ptr @llvm.frameaddress.p0(i32 0)\n"
            "  %stack.f = ptrtoint ptr %stack.a to i64\n"
            f"{adjust}"
            f"  %stack.o = icmp ult i64 {frame}, %stack.l\n"
            f"  br i1 %stack.o, label %{label}, label %body, !prof !3\nbody:"
        )
