"""One function's LLVM IR text in the making: its lines, names and blocks, its traps, and what it loads where it begins.

Knows no instruction. What is above it: `anchors` (exact traps), the files that lower one kind of instruction each, and
`function`, which puts them together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .. import abi
from ..errors import TRAPS, CompileError
from ..wasm.types import FuncType
from . import fetched, limits
from .unit_state import UnitState

TRAP_NUMBERS = {trap.name: trap.number for trap in TRAPS}

_COLD_LINES = 4  # of a block that traps


class LeftError(Exception):
    """LLVM would take memory out of proportion for the function (`limits.is_left`): the interpreter is to run it."""


def phi(name: str, llvm: str, edges: Sequence[tuple[list[str], str]], position: int) -> str:
    """A phi of an operand: `edges` have all operands, and the blocks that they come from."""
    incoming = ", ".join(f"[ {values[position]}, %{source} ]" for values, source in edges)
    return f"  {name} = phi {llvm} {incoming}"


class Emitter:
    """The text of one function so far. Values are LLVM operand texts; `values` is wasm's operand stack of them."""

    def __init__(self, unit: UnitState, function_index: int, scope: int) -> None:
        """`scope` is the number of the function's debug metadata."""
        self.unit = unit
        self.module = unit.module
        self.function_index = function_index
        self.type: FuncType = unit.module.function_type(function_index)
        self.scope = scope
        self.debug_tail = f", scope: !{scope})"
        self.values: list[str] = []
        self.lines: list[str] = []
        self.cold: list[str] = []  # blocks that are seldom entered: they stand at the end
        self.prologue: dict[str, str] = {}  # what is computed once, where the function begins: name -> text
        self.counter = 0  # for names
        self.fetched: dict[str, tuple[str, int]] = {}  # values -> `fetched_once` of them, and its line
        self.current = "start"  # label of the LLVM block being written, for phi edges
        self.leaf = True  # no calls but tail calls, which leave no frame
        self.collections: list[int] = []  # lines at which the collector may run (visible.py)
        body = unit.module.body(function_index)
        self.body_start = body.start
        self.body_bytes = body.end - body.start
        self.may_be_left = unit.may_leave(function_index)
        self.most_lines = limits.most_lines_begun(self.body_bytes) if self.may_be_left else sys.maxsize

    # ---- names, blocks and locations ----

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

    def note_collection(self) -> None:
        """Notes that what is called here may make objects, so that the collector runs."""
        self.collections.append(len(self.lines))

    # ---- what is checked and then trusted ----

    def fetched_once(self, value: str, llvm: str) -> str:
        """A value that is going to be checked, and then trusted.

        Where memories are shared it is a copy that LLVM knows nothing of. It may have come from a load of shared
        memory, and LLVM might load it once more behind the check, when another thread has written something else.
        What comes from no load loses it at the end (`fetched`).
        """
        if not self.unit.shares_memory or value[0] != "%":
            return value
        known = self.fetched.get(value)
        if known is not None:
            return known[0]
        name = self.fresh()
        self.lines.append(f'  {name} = call {llvm} asm "", "=r,0"({llvm} {value}) #2 {fetched.MARK}')
        self.fetched[value] = self.fetched[name] = (name, len(self.lines) - 1)
        return name

    def forget_fetched(self, mark: int) -> None:
        """Forgets those copies that were made from line `mark` on."""
        known = self.fetched
        while known:  # in the order of their lines
            value, entry = known.popitem()
            if entry[1] < mark:
                known[value] = entry
                break

    # ---- what gets too large ----

    def check_length(self) -> None:
        """Raises LeftError for what is too long anyway: called where a function gets longer than its instructions."""
        if self.num_lines > self.most_lines:
            raise LeftError

    @property
    def num_lines(self) -> int:
        """How long the text is so far."""
        return len(self.lines) + _COLD_LINES * len(self.cold)

    def too_large(self, reason: str) -> CompileError | LeftError:
        """The error for a function that LLVM would take gigabytes for."""
        if self.may_be_left:
            return LeftError()
        return CompileError(
            f"function {self.function_index} is too large: {reason}",
            offset=self.body_start,
            function=self.function_index,
            function_name=self.module.names.functions.get(self.function_index),
        )

    # ---- traps ----

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
        return f"{label}:\n{first}{self.trap(trap, at)}"

    def trap(self, trap: str, at: int) -> str:
        """What traps, and is the end of its block."""
        # ubsantrap is noreturn and reads no memory: without the clobber, stores before it die.
        site = self.debug(at)
        return (
            f'  call void asm sideeffect "", "~{{memory}}"(){site}\n'
            f"  call void @llvm.ubsantrap(i8 {TRAP_NUMBERS[trap]}) #1{site}\n  unreachable"
        )

    # ---- what is computed once, where the function begins ----

    def once(self, name: str, text: str) -> str:
        """Has `text`, which defines `name`, done where the function begins; returns `name`."""
        if name not in self.prologue:
            self.prologue[name] = text
        return name

    def address(self, name: str, base: str, offset: int) -> str:
        """The address `offset` bytes behind `base`, computed once."""
        if name not in self.prologue:
            self.prologue[name] = f"  {name} = getelementptr i8, ptr {base}, i64 {offset}"
        return name

    def invariant(self, name: str, base: str, index: int, step: str = "i8", llvm: str = "ptr", facts: str = "") -> str:
        """What never changes while the function runs, loaded once: it lies `index` times a `step` behind `base`.

        `facts`: metadata that says more of it.
        """
        if name not in self.prologue:
            align = 4 if llvm == "i32" else 8
            self.prologue[name] = (
                f"  {name}.p = getelementptr {step}, ptr {base}, i64 {index}\n"
                f"  {name} = load {llvm}, ptr {name}.p, align {align}, !invariant.load !0{facts}"
            )
        return name

    def store_record(self) -> str:
        """The store's record (abi.STORE)."""
        return self.invariant("%store", "%vmctx", abi.VMCONTEXT["store"])

    def function_table(self) -> str:
        """The module's function table, through which units call each other."""
        return self.invariant("%functions", "%vmctx", abi.VMCONTEXT["functions"])

    def function_slot(self, name: str, array: int, position: int, step: str = "ptr") -> str:
        """The text that computes `name`: where an array of the function table has what belongs to a defined function,
        `position` counted among those."""
        word = abi.function_word(array, len(self.module.bodies), position)
        return f"  {name} = getelementptr {step}, ptr {self.function_table()}, i64 {word}"

    def builtin_pointer(self, builtin: str) -> str:
        """The code of a function of the C runtime, from the builtins table."""
        number = abi.BUILTIN_INDEX[builtin]
        table = self.invariant("%builtins", "%vmctx", abi.VMCONTEXT["builtins"])
        return self.invariant(f"%builtin{number}", table, number, step="ptr")
