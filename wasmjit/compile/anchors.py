"""Exact traps: a load happens, and traps where it must, although LLVM sees no need for its value.

LLVM deletes a load whose value is unused, and with it the trap. A value is *tainted* if it comes from a load, directly,
through pure instructions or through a local. Where a tainted value may get lost it is *anchored*: an empty `asm
sideeffect` uses it. That is where it is

- dropped, or discarded by a branch (`discard`);
- stored to a local that is not read again on any path (`liveness.dead_stores`);
- an operand that does not matter to the result (`absorb`), or the condition of a branch whose two ways do the same;
- waiting while something happens that LLVM may find never to return (`anchor_waiting`).

Values that are used can get lost too: the load then goes where LLVM likes it, or gets narrower. Such loads are *kept*,
or *released* where loops may be vectorised: `exact` has the texts of both, and does the rest behind the optimiser.

Who else has a part in this: the walk (`walk.py`) has results of templates tainted where it makes them; vector loads are
volatile (`simd.py`); calls need nothing, functions are opaque to their callers (`calls.definition`).
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Sequence

from ..wasm.lowering import Frame
from ..wasm.ops import Op
from ..wasm.types import F32, F64, I32, I64, V128, llvm_type
from . import exact
from .emit import Emitter
from .liveness import Block, PendingStore, dead_stores
from .patterns import late
from .unit_state import UnitState

_SHORT_BRANCH_LINES = 12
_MAX_OPERAND_WORK = 500_000
_MAX_CARRIED_OPERANDS = 500_000  # where the interpreter cannot run it; 33,000 in functions of real programs
_EFFECT = late(r"\b(store|call|ret|switch)\b|br i1")
# What no loop has that LLVM vectorises: calls but to its own functions, vectors.
_NEVER_VECTORISED = late(r"\bswitch\b|\bcall\b(?! \w+ @llvm\.)|<\d+ x ")
_LABEL = late(r"^\w+:", re.MULTILINE)
_TARGETS = late(r"label %(\w+)")

# ---- what LLVM folds without looking at an operand ----

_MINIMUM_MAXIMUM = tuple(str(n) for bits in (31, 63) for n in (-(1 << bits), (1 << bits) - 1))
# Constants that let LLVM fold some integer operation without looking at the other operand.
ABSORBING = frozenset(("0", "-1", "1", *_MINIMUM_MAXIMUM))
# Operations LLVM folds to a constant when both operands are the same.
_FOLDS_EQUAL = frozenset(
    ("sub", "xor", "eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u", "rem_s", "rem_u")
)
# Operations LLVM folds to a constant when one operand is one of these, whatever the other one is.
_FOLDS_CONSTANT: dict[str, tuple[str, ...]] = {
    "and": ("0",),
    "or": ("-1",),
    "mul": ("0",),
    "shl": ("0",),
    "shr_s": ("0", "-1"),
    "shr_u": ("0",),
    "div_s": ("0",),
    "div_u": ("0",),
    "rem_s": ("0", "1", "-1"),
    "rem_u": ("0", "1"),
    **dict.fromkeys(("lt_u", "gt_u", "le_u", "ge_u"), ("0", "-1")),
    **dict.fromkeys(("lt_s", "gt_s", "le_s", "ge_s"), _MINIMUM_MAXIMUM),
}


def may_fold(row: Op, a: str, b: str) -> bool:
    """Whether LLVM may compute the row's result without one of the operands, and so without the load it came from."""
    operation = row.name[4:]
    if a == b:
        return operation in _FOLDS_EQUAL
    constants = _FOLDS_CONSTANT.get(operation, ())
    return a in constants or b in constants


# i32.and, i64.and: with the comparison behind it one instruction, into which the processor may take a load.
_TESTED_IN_MEMORY = frozenset((0x71, 0x83))


def _forks(lines: Sequence[str], header: int, wanted: Sequence[int]) -> list[int]:
    """For lines of a loop, in order: themselves, or the branch that may lead past them to the loop's end.

    In each iteration as many pass the one as the other, if branches lead upwards to loops' headers only.
    """
    labels = {}
    branches = []
    for index in range(header, len(lines)):
        text = lines[index]
        if "br " in text:
            branches.append((index, _TARGETS.findall(text)))
        for label in _LABEL.findall(text):
            labels[label[:-1]] = index
    found = []
    waiting = iter(branches)
    branch = next(waiting, None)
    fork = end = header  # the first of the branches that lead past something, and where the last of them leads to
    for line in wanted:
        while branch is not None and branch[0] < line:
            index, targets = branch
            if index >= end:
                fork = index
            end = max(end, *(labels.get(target, 0) for target in targets), 0)
            branch = next(waiting, None)
        found.append(fork if line < end else line)
    return found


class TangledError(Exception):
    """Finding out which loads have to be anchored would take time out of proportion: they are made volatile instead.

    Operands that wait on the stack are looked at by each branch that discards them, and by each instruction that may
    not return.
    """


class _Untainted(set[str]):
    """The tainted values where none has to be."""

    def add(self, value: str) -> None:
        """It does not."""

    def update(self, *values: Iterable[str]) -> None:
        """They do not."""


class AnchoringEmitter(Emitter):
    """The text of a function whose loads stay; and its liveness blocks, by which stores to locals are judged."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        """`tangled`: every load is volatile, which LLVM keeps, and nothing is anchored; see `TangledError`."""
        super().__init__(unit, function_index, scope)
        self.tangled = tangled
        self.volatile = "volatile " if tangled else unit.volatile
        self.operand_work = 0  # operands looked at to be anchored, and carried by calls
        # Where every access is checked, it is never the load that traps.
        self.tainted: set[str] = _Untainted() if tangled or not unit.guard_pages else set()
        self.anchored: set[str] = set()  # values that have been anchored
        self.types: list[int] = []  # of `values`: the walker's operand stack
        self.local_types: list[int] = []
        # value of a load -> debug location, for the instruction that LLVM may fold the load into
        self.sites: dict[str, str] = {}
        # Locals with a tainted value that nothing has read yet: line of the store, value, number of branches before.
        self.pending: dict[int, tuple[int, str, int]] = {}
        self.fixed_stores: list[tuple[int, str, int]] = []  # of tainted values to globals and constant addresses
        # Loads that `exact` sees to: line, value, its LLVM type, offset; and those in loops that may get vectorised.
        self.kept: list[tuple[int, str, str, int]] = []
        # Of the latter also the line in front of which it is counted how often they have to happen.
        self.released: list[tuple[int, str, str, int, int]] = []
        self.released_loops: dict[int, range] = {}  # number of a liveness block -> those of the loop that it is in
        self.nesting: list[int] = []  # of each open loop: how deep the loops in it are nested
        self.block_record = Block()
        self.blocks: list[Block] = [self.block_record]
        self.successors = self.block_record.successors
        self.reads = self.block_record.reads
        self.writes = self.block_record.writes
        self.block_start = 0

    # ---- anchors ----

    def anchor(self, value: str, valtype: int) -> None:
        """Keeps the computation of `value`, and so its traps, although nothing uses it."""
        if value[0] == "%":
            self.lines.append(self.anchor_text(value, valtype))

    def anchor_text(self, value: str, valtype: int) -> str:
        """An instruction that uses `value` and does nothing: LLVM must compute it, so its traps happen."""
        register = self.unit.float_register if valtype in (F32, F64, V128) else "r"
        return f'  call void asm sideeffect "", "{register}"({llvm_type(valtype)} {value})'

    def anchor_condition(self, condition: str) -> None:
        """Anchors an i1."""
        self.lines.append(self._anchor_condition_text(condition))

    def _anchor_condition_text(self, condition: str) -> str:
        self.unit.num_anchors += 1
        name = f"%w{self.unit.num_anchors}"
        return f"  {name} = zext i1 {condition} to i32\n{self.anchor_text(name, I32)}"

    def absorb(self, row: Op, a: str, b: str) -> None:
        """An operation LLVM may fold without looking at its tainted operand (x & 0, x - x): anchors that operand."""
        if may_fold(row, a, b):
            for value, valtype in zip((a, b), row.params, strict=True):
                if value in self.tainted:
                    self.anchor(value, valtype)

    def spread(self, row: Op, result: str, a: str, b: str) -> str:
        """For a row that computes `result` from tainted operands, which taint it. Returns the text of its location."""
        self.tainted.add(result)
        site = self.sites.get(a) or self.sites.get(b) or ""
        if site and row.code in _TESTED_IN_MEMORY:
            self.sites[result] = site
        if a == b or a in ABSORBING or b in ABSORBING:
            self.absorb(row, a, b)
        return site

    def anchor_waiting(self, operands: int = 0) -> None:
        """Anchors the tainted values on the stack and in locals, before something LLVM may find never to return.

        The top `operands` values are left out: they are the instruction's own.

        If it finds so, all code behind is dead, and the loads whose values only that code uses would go with it.
        """
        if self.tangled:
            return
        self.anchor_values(self.values[: len(self.values) - operands], self.types)
        for index, (_, value, _) in self.pending.items():
            self.anchor_values((value,), (self.local_types[index],))
        self.pending.clear()

    def anchor_values(self, values: Sequence[str], types: Sequence[int]) -> None:
        """Anchors those of `values` that are tainted, each once in the function."""
        self.work(len(values))
        for value, valtype in zip(values, types, strict=False):
            if value in self.tainted and value not in self.anchored:
                self.anchored.add(value)
                self.anchor(value, valtype)

    def discard(self, height: int, arity: int) -> None:
        """Anchors the tainted operands that a branch throws away: those between `height` and its `arity` operands."""
        end = len(self.values) - arity
        if end > height and not self.tangled:
            self.anchor_values(self.values[height:end], self.types[height:end])

    def work(self, operands: int) -> None:
        """Notes that so many operands were looked at or passed. Raises TangledError, or CompileError, beyond limits."""
        self.operand_work += operands
        if self.operand_work > _MAX_OPERAND_WORK:
            if not self.tangled:
                raise TangledError
            if self.operand_work > _MAX_CARRIED_OPERANDS:
                raise self.too_large("its calls carry too many operands")

    # ---- conditions ----

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
                self.lines[line] = self._anchor_condition_text(condition) + "\n" + self.lines[line]

    # ---- stores to locals ----

    def overwrite_pending(self, index: int) -> None:
        """A tainted value in a local is overwritten; unless a branch left in between, nothing can have read it."""
        line, value, first = self.pending.pop(index)
        if len(self.successors) > first:
            self._defer(PendingStore(index, line, value, first, len(self.successors)))
        else:
            self.lines[line] += "\n" + self.anchor_text(value, self.local_types[index])

    def _defer(self, store: PendingStore) -> None:
        """Leaves the decision to `liveness.dead_stores`, at the end of the function."""
        if self.block_record.pending is None:
            self.block_record.pending = []
        self.block_record.pending.append(store)

    def open_block(self, block: Block) -> None:
        """Makes `block` the current liveness block; the caller links the edges."""
        self.close_block()
        self.block_record.shrink()
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
                self._defer(PendingStore(index, line, value, first, None))
            self.pending.clear()

    # ---- loads that `exact` sees to ----

    def note_load(self, value: str, llvm: str, at: int) -> None:
        """Of a load from linear memory, whose line is the last one."""
        if self.unit.keeps_loads:
            self.kept.append((len(self.lines) - 1, value, llvm, at))
        self.tainted.add(value)

    def note_fixed_store(self, value: str, valtype: int) -> None:
        """Of a store to where each iteration of a loop stores, which will be the next line."""
        if value in self.tainted:
            self.fixed_stores.append((len(self.lines), value, valtype))

    def end_loop(self, frame: Frame) -> None:
        """At the end of a loop, of which `nesting` was told when it began."""
        depth = self.nesting.pop()
        if self.nesting:
            self.nesting[-1] = max(self.nesting[-1], depth + 1)
        if depth <= 1 and self.kept:
            self._release_loads(frame)

    def _release_loads(self, frame: Frame) -> None:
        """If LLVM may vectorise a loop, nothing must stand in the way (`exact`).

        Of loops with loops in them too: those may be unrolled and gone by then.
        """
        header = frame.header
        text = "\n".join(self.lines[header:])
        if _NEVER_VECTORISED.search(text):
            return
        first = bisect.bisect_left(self.kept, (header,))
        loads = self.kept[first:]
        forks = _forks(self.lines, header, [load[0] for load in loads])
        self.released += [(*load, fork) for load, fork in zip(loads, forks, strict=True)]
        del self.kept[first:]
        numbers = range(frame.target.number, len(self.blocks))
        for number in numbers:
            self.released_loops.setdefault(number, numbers)
        # LLVM stores once, behind the loop, what each iteration overwrites.
        while self.fixed_stores and self.fixed_stores[-1][0] >= header:
            line, value, valtype = self.fixed_stores.pop()
            self.lines[line] += "\n" + self._keep_text(value, valtype)

    def _keep_text(self, value: str, valtype: int) -> str:
        """What keeps a value that may not be used in each iteration of a loop, or not at all."""
        if not self.unit.keeps_loads or valtype not in (I32, I64, F32, F64):
            return self.anchor_text(value, valtype)
        self.unit.num_anchors += 1
        return exact.keep_text(value, llvm_type(valtype), f"%w{self.unit.num_anchors}")

    def finish_anchors(self) -> None:
        """At the end of the function, when all its liveness blocks are known."""
        for store in dead_stores(self.blocks, self.released_loops):
            self.lines[store.line] += "\n" + self._keep_text(store.value, self.local_types[store.local])
        for line, value, llvm, _ in self.kept:
            self.lines[line] += "\n" + exact.keep_text(value, llvm)
        for line, value, llvm, at, fork in self.released:
            self.lines[fork] = f"{exact.marker_text(self.debug(at))}\n{self.lines[fork]}"
            self.lines[line] += "\n" + exact.released_text(value, llvm, at)
