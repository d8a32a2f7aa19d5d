"""Units: groups of functions that become one LLVM module each, and the text around the functions."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from .. import abi, thresholds
from ..wasm.body import walk_body
from ..wasm.module import Module
from ..wasm.types import llvm_type
from . import calls, heap, limits
from .anchors import TangledError
from .emit import TRAP_NUMBERS, LeftError
from .function import FunctionLowering
from .invoke import spreads
from .tail_calls import entries
from .unit_state import CodePolicy, UnitState
from .walk import lower_body

_FIRST_SCOPE = 20  # metadata numbers below are the fixed ones of `_METADATA`

_METADATA = """
!0 = !{}
!1 = !{!5, !5, i64 0}
!2 = !{!6, !6, i64 0}
!3 = !{!"branch_weights", i32 1, i32 1048575}
!4 = !{!"branch_weights", i32 1048575, i32 1}
!5 = !{!"linear memory", !7}
!6 = !{!"instance context", !7}
!7 = !{!"wasmjit"}
!10 = !{i32 2, !"Debug Info Version", i32 3}
!11 = !{i32 7, !"Dwarf Version", i32 5}
!12 = distinct !DICompileUnit(language: DW_LANG_C, file: !13, emissionKind: LineTablesOnly, nameTableKind: None)
!13 = !DIFile(filename: "wasm", directory: "")
!14 = !DISubroutineType(types: !0)
!llvm.module.flags = !{!10, !11}
!llvm.dbg.cu = !{!12}
"""

# What every function needs (docs/rationale.md names the failure behind each):
# no-builtins: a loop that fills memory must not become memset@PLT, whose fault would lie outside our code
# disable-tail-calls: LLVM turns unbounded recursion into an endless loop, instead of the trap
# null_pointer_is_valid: call_indirect loads through a null reference and the fault handler makes it a trap
# probe-stack: a frame larger than a page must not step over the stack's guard page
# noinline: trap frames are exact
_ATTRIBUTES = (
    'nounwind noinline null_pointer_is_valid "frame-pointer"="all" "no-builtins" "disable-tail-calls"="true" '
    '"probe-stack"="inline-asm"'
)


def plan_units(module: Module, unit_bytes: int | None = None) -> Iterator[range]:
    """Splits the defined functions into ranges of about `unit_bytes` (None: as many as optimised units have); the same
    module always splits alike."""
    unit_bytes = thresholds.UNIT_BODY_BYTES if unit_bytes is None else unit_bytes
    most_functions = thresholds.MOST_UNIT_FUNCTIONS
    first = module.num_imported_functions
    start = first
    size = 0
    for number, body in enumerate(module.bodies):
        if size and (size + body.end - body.start > unit_bytes or first + number - start >= most_functions):
            yield range(start, first + number)
            start = first + number
            size = 0
        size += body.end - body.start
    if start < first + len(module.bodies):
        yield range(start, first + len(module.bodies))


class Unit(UnitState):
    """One LLVM module in the making."""

    def order(self) -> Iterator[int]:
        """The functions, as they are to be lowered."""
        return iter(self.functions)

    def new_lowering(self, function: int, scope: int, tangled: bool = False) -> FunctionLowering:
        """What lowers a function of the unit, whose debug scope is metadata number `scope`."""
        return FunctionLowering(self, function, scope, tangled)

    def lower(self, function: int, scope: int) -> FunctionLowering:
        """The lowered function. Raises what `walk_body` raises, and LeftError."""
        callees, adapters, called = len(self.callees), dict(self.tail_adapters), set(self.tail_called)
        lowering = self.new_lowering(function, scope)
        try:
            facts = lower_body(lowering)
        except TangledError:  # once more, from the beginning
            del self.callees[callees:]
            self.tail_adapters, self.tail_called = adapters, called
            lowering = self.new_lowering(function, scope, tangled=True)
            facts = lower_body(lowering)
        lowering.note_facts(facts)
        self.num_instructions += facts.num_instructions
        if facts.is_interpretable:
            self.interpretable.add(function)
        return lowering

    def text(self) -> str:
        """Validates and lowers the unit's functions; returns the LLVM module. Raises what `walk_body` raises."""
        # Generation makes objects by the million and no cycles among them: collections would only cost time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._text()
        except BaseException as error:
            import traceback

            traceback.clear_frames(error.__traceback__)  # it is quicker to free what they hold than to look through it
            raise
        finally:
            if collecting:
                gc.enable()

    def _text(self) -> str:
        scope = _FIRST_SCOPE
        parts = []
        scopes = []
        for function in self.order():
            parts.append(self._function_text(function, scope))
            line = self.module.body(function).start
            scopes.append(
                f'!{scope} = distinct !DISubprogram(name: "f{function}", scope: !13, file: !13, line: {line}, '
                f"scopeLine: {line}, type: !14, spFlags: DISPFlagDefinition, unit: !12)"
            )
            scope += 1
        table = ", ".join(f"ptr @f{function}" for function in self.functions)
        size = " optsize" if self.policy.optimise_size else ""
        return "\n".join(
            (
                *parts,
                *entries(self),
                *spreads(self),
                *constants(self.constants),
                f"@wj_functions_{self.functions[0]} = constant [{len(self.functions)} x ptr] [{table}]",
                f"attributes #0 = {{ {_ATTRIBUTES}{size} }}",
                "attributes #1 = { nomerge noreturn nounwind }",
                "attributes #2 = { nounwind willreturn memory(none) }",
                _METADATA,
                *([heap.tags()] if self.has_object_code else ()),
                *scopes,
                "",
            )
        )

    def _function_text(self, function: int, scope: int) -> str:
        """Lowers a function, and finds out what LLVM is to make of it."""
        callees = len(self.callees)
        try:
            return self._compiled_text(function, scope)
        except LeftError:
            del self.callees[callees:]
        if not walk_body(self.module, function).is_interpretable:  # of which not all may have been looked at
            self.not_interpretable.add(function)
            return self._compiled_text(function, scope)
        self.left.add(function)
        self.interpretable.add(function)
        return self._placeholder(function, scope)

    def _compiled_text(self, function: int, scope: int) -> str:
        """The function as LLVM IR. Raises LeftError if it is to be left to the interpreter.

        What it makes on the way is many times the function's bytes, and is gone before another attempt begins.
        """
        lowering = self.lower(function, scope)
        makes_tail_calls, operands, carried = lowering.tail_calls, lowering.most_operands, lowering.carried
        may_be_tangled = lowering.may_be_tangled()
        text = lowering.text()
        del lowering  # the lines, of which there is a second list while they are looked at
        tangled = may_be_tangled and limits.is_tangled(text, operands, carried)
        body = self.module.body(function)
        if self.may_leave(function) and limits.is_left(text, body.end - body.start, tangled=tangled):
            raise LeftError
        if tangled:
            self.tangled.add(function)
        if makes_tail_calls:
            self.tail_callers.add(function)
        return text

    def _placeholder(self, function: int, scope: int) -> str:
        """What stands for a function that is left to the interpreter: nothing ever calls it."""
        functype = self.module.function_type(function)
        head = calls.definition_head(functype, function, scope, [llvm_type(param) for param in functype.params])
        return f"{head}\n  call void @llvm.ubsantrap(i8 {TRAP_NUMBERS['UNREACHABLE']}) #1\n  unreachable\n}}\n"


def constants(bits: Sequence[int]) -> Iterator[str]:
    """The definition of `@wj_constants`: 16 bytes each."""
    if bits:
        items = ", ".join(f"i128 {each}" for each in bits)
        yield f"@wj_constants = private unnamed_addr constant [{len(bits)} x i128] [{items}], align 16"


class Group(Unit):
    """A unit of replaceable functions: one, and those that it calls, directly or not, as long as there is room.

    `functions` is complete, and `reached` has those that there was no room for, once the text is made.
    """

    def __init__(
        self,
        module: Module,
        function: int,
        policy: CodePolicy,
        layout: abi.VMContextLayout,
        *,
        is_missing: Callable[[int], bool],
        room_instructions: int,
        others: Sequence[int] = (),
        room_for_others: int = 0,
    ) -> None:
        """`is_missing` says of a defined function whether its code is wanted; about `room_instructions` are lowered.

        `others`: functions that are wanted, too, and come along if all are no more than `room_for_others`.
        """
        self._members: list[int] = []
        super().__init__(module, self._members, policy, layout)
        self._is_missing = is_missing
        self._room_instructions = room_instructions
        self._others = list(others)
        self._room_for_others = room_for_others
        self.reached: deque[int] = deque([function])

    def calls_directly(self, function: int) -> bool:
        """Not those in whose place there is nothing: groups are not divided, as other units are."""
        return super().calls_directly(function) and function not in self.left

    def order(self) -> Iterator[int]:
        """The functions, nearest first. What a function calls is known once it is lowered."""
        seen = set(self.reached)
        while self.reached and self.num_instructions < self._room_instructions:
            function = self.reached.popleft()
            self._members.append(function)
            yield function
            for callee in self.callees:
                if callee not in seen and self._is_missing(callee):
                    seen.add(callee)
                    self.reached.append(callee)
            self.callees.clear()
            while not self.reached and self._others and self.num_instructions < self._room_for_others:
                other = self._others.pop(0)
                if other not in seen:
                    seen.add(other)
                    self.reached.append(other)
