"""A function that is entered at one of its loops: compiled code takes over an activation that runs elsewhere.

Parameters are ``(ptr %vmctx, [ptr %results,] ptr %frame)``, results those of the function. The frame (see `abi`) holds
the values of all locals as they are where the loop's header is reached; 32-bit values are in the lower half. Behind
them is the fuel that is left, where code counts it.

The prologue leads to the loop's header instead of to the start of the body. What comes before the loop is lowered all
the same: an outer loop may lead there again, and LLVM deletes it if none does. Because of the new edge into the header,
nothing that is computed before it may be used by its name behind it:

- operands are not, because the operand stack has to be empty there;
- values of locals and bounds checks are not, because every loop's header forgets them. Outer loops' do too: code before
  the loop that they lead to uses nothing from before their headers;
- parameters and the locals' first values are in the allocas only, never known by a name.

A loop that is entered from outside of those around it would make one knot of them all, in which LLVM recognises no
loop that counts: code for a nest of loops was 2.5 times as slow as it is otherwise. So optimised code has the body
once for each loop that is open there. The first copy is entered at the loop, and runs until it leads to the header of
the next loop outwards: that is in the second copy, and so on. Each copy is entered at one loop of its own. What cannot
be reached in a copy, LLVM deletes.
"""

from __future__ import annotations

import re

from .. import abi
from ..errors import CompileError, FunctionLeftError
from ..wasm.body_facts import BodyFacts
from ..wasm.lowering import Frame
from ..wasm.module import Module
from ..wasm.types import llvm_type
from . import calls
from .function import MAX_PROMOTED, FunctionLowering
from .patterns import late
from .unit import Unit
from .unit_state import CodePolicy, UnitState

# Of text, in all copies: LLVM takes some milliseconds a thousand.
_MOST_COPIED_LINES = 8_000
_MOST_COPIES = 4
# Of a loop that has others in it, which are as fast in any copy: what counts is when the code is there.
_MOST_OUTER_COPIED_LINES = 1_000
_MOST_OUTER_COPIES = 2

_NAME = late(r"%([A-Za-z_][\w.]*)")
_LABEL = late(r"^([A-Za-z_][\w.]*):", re.MULTILINE)
_DEFINED = late(r"^ *%([A-Za-z_][\w.]*) =", re.MULTILINE)


def _copy(text: str, shared: set[str], number: int, following: str) -> str:
    """A copy of a body, with names of its own but for those in `shared`; the label `following` is in the next copy."""

    def used(found: re.Match[str]) -> str:
        name = found[1]
        return found[0] if name in shared else f"%{name}.{number + (name == following)}"

    def label(found: re.Match[str]) -> str:
        return found[0] if found[1] in shared else f"{found[1]}.{number}:"

    return _LABEL.sub(label, _NAME.sub(used, text))


class LoopEntryLowering(FunctionLowering):
    """Lowers a function so that it is entered at the loop whose opcode stands at offset `entry_loop`."""

    def __init__(
        self, unit: UnitState, function_index: int, scope: int, entry_loop: int, tangled: bool = False
    ) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.entry_loop = entry_loop
        self.is_found = False
        self.has_inner = False  # whether there are loops in the one that is entered
        self.frame_offsets: list[int] = []
        self.open_loops: list[Frame] = []  # around what is lowered
        self.around: list[str] = []  # labels of loops that the one that is entered stands in, innermost first

    def refusal(self, reason: str) -> CompileError:
        """The error that says why the loop cannot be entered."""
        return CompileError(
            f"the loop at offset {self.entry_loop} cannot be entered: {reason}", function=self.function_index
        )

    def begin(self, local_types: list[int], num_params: int, frame: Frame, types: list[int]) -> None:
        """As for any function, but nothing is known of the locals."""
        self.frame_offsets = abi.loop_frame_offsets(local_types)
        super().begin(local_types, num_params, frame, types)
        self.cache.clear()

    def loop(self, frame: Frame, at: int) -> None:
        """A loop; the one that is entered must find the operand stack empty."""
        if at == self.entry_loop and self.values:
            raise self.refusal(
                "it has parameters" if frame.params else "there are operands on the stack where it begins"
            )
        super().loop(frame, at)
        self.checked.clear()
        self.fetched.clear()
        self.has_inner |= any(outer.label == self.first_label for outer in self.open_loops)
        if at == self.entry_loop:
            self.is_found = True
            self.first_label = frame.label
            for outer in reversed(self.open_loops):
                if outer.params:  # its header has phis, which would have to know of the copies
                    break
                self.around.append(outer.label)
        self.open_loops.append(frame)

    def end_loop(self, frame: Frame) -> None:
        """At the end of a loop."""
        super().end_loop(frame)
        self.open_loops.pop()

    def finish(self, frame: Frame, fallthrough: bool) -> None:
        """Raises CompileError if there was no such loop, or if the function needs a prototype of its own."""
        if not self.is_found:
            raise self.refusal("there is no loop in code that can be reached")
        if self.tail_calls:
            raise self.refusal("the function has tail calls")
        super().finish(frame, fallthrough)

    def assembled(self, head: str, num_locals: int) -> str:
        """The text: as many copies of the body as there are loops to go on in."""
        lines = ["start:", *self.lines, *self.cold]
        most = _MOST_COPIES
        if self.unit.policy.counting or self.tangled:
            most = 1  # this code is not optimised, or not much
        most_lines = _MOST_COPIED_LINES
        if self.has_inner:
            most, most_lines = min(most, _MOST_OUTER_COPIES), _MOST_OUTER_COPIED_LINES
        most = min(most, most_lines // len(lines), MAX_PROMOTED // (num_locals * self.num_edges + 1))
        entries = [self.first_label, *self.around][: max(1, most)]
        if len(entries) == 1:
            return super().assembled(head, num_locals)
        definition = head.partition("\n")[0]
        shared = {*_NAME.findall(definition), *_DEFINED.findall(head), *_LABEL.findall(head)}
        head = _copy(f"{head}\n  br label %{entries[0]}", shared, 0, "")
        text = "\n".join(lines)
        copies = [_copy(text, shared, number, [*entries, ""][number + 1]) for number in range(len(entries))]
        return "\n".join((head, *copies, "}\n"))

    def note_facts(self, facts: BodyFacts) -> None:
        """Tail calls that cannot be reached make no difference: nothing but loops leads here."""

    def definition(self) -> str:
        """The head of the function: the frame stands for all parameters."""
        return calls.definition(self, ["ptr %frame"])

    def fuel_definition(self) -> str:
        """What is left of the fuel comes with the frame, behind the locals."""
        offset = self.frame_offsets[-1]
        return (
            f"  %fuel = alloca i64\n  %fuel.h = getelementptr i8, ptr %frame, i64 {offset}\n"
            "  %fuel.f = load i64, ptr %fuel.h, align 8\n  store i64 %fuel.f, ptr %fuel"
        )

    def local_definition(self, index: int) -> str:
        """A local's alloca and its value in the frame."""
        llvm = llvm_type(self.local_types[index])
        return (
            f"  %p{index}.p = getelementptr i8, ptr %frame, i64 {self.frame_offsets[index]}\n"
            f"  %p{index} = load {llvm}, ptr %p{index}.p, align 8\n"
            f"  %l{index} = alloca {llvm}\n"
            f"  store {llvm} %p{index}, ptr %l{index}"
        )


class LoopEntry(Unit):
    """A unit of one replaceable function that is entered at a loop."""

    def __init__(
        self, module: Module, function: int, entry_loop: int, policy: CodePolicy, layout: abi.VMContextLayout
    ) -> None:
        super().__init__(module, (function,), policy, layout)
        self._entry_loop = entry_loop

    def new_lowering(self, function: int, scope: int, tangled: bool = False) -> FunctionLowering:
        """A lowering that enters the loop."""
        return LoopEntryLowering(self, function, scope, self._entry_loop, tangled)

    def text(self) -> str:
        """As of any unit. Raises CompileError, too, for a function that is left to the interpreter."""
        text = super().text()
        if self.left:
            raise FunctionLeftError("it is left to the interpreter", function=self.functions[0])
        return text
