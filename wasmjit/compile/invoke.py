"""Calls from within a try_table, from which an exception may come back in place of results.

LLVM knows them as `callbr`: inline assembly that calls, and goes on behind itself, or in another block, the landing of
the try_table. Behind the call stands a no-operation that no compiler makes; its operand says where the landing is. So
code tells the unwinder (runtime_c/exceptions.c) all that it asks, there are no tables, and where nothing is thrown the
no-operation is all that it costs. To LLVM the assembly overwrites all registers but the frame's own: whatever the
landing uses lies in the frame, and the frames between need not be looked into.

Results come back in memory: a register that `callbr` defines is taken for one of the landing's by LLVM's allocator for
unoptimised code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..wasm.lowering import Frame
from ..wasm.types import F32, F64, V128, llvm_type
from .landings import BranchingEmitter
from .unit_state import UnitState

_INT_ARGUMENTS = ("di", "si", "dx", "cx", "r8", "r9")
_FLOAT_ARGUMENTS = tuple(f"xmm{number}" for number in range(8))
_INT_RESULTS, _FLOAT_RESULTS = ("%rax", "%rdx"), ("%xmm0", "%xmm1")
_CLOBBERS = ",".join(
    f"~{{{name}}}"
    for name in (
        *("ax", "bx", "cx", "dx", "si", "di"),
        *(f"r{number}" for number in range(8, 16)),
        *(f"xmm{number}" for number in range(32)),
        *(f"k{number}" for number in range(8)),
        *("dirflag", "fpsr", "flags", "memory"),
    )
)
# nopl disp32(%rbx), as runtime_c/exceptions.c knows it. LLVM and our stencils pad with the form of %rax.
_MARK = ".byte 0x0f, 0x1f, 0x83"
_FLOATS = frozenset((llvm_type(F32), llvm_type(F64), llvm_type(V128)))
_RESULT_BYTES = _OPERAND_BYTES = 16

Operand = tuple[str, str]  # LLVM type, value


class InvokingEmitter(BranchingEmitter):
    """The text of a function, and the try_tables that are open."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.tries: list[Frame] = []  # innermost last
        self.num_landed = 0  # places for results
        self.spread_bytes = 0  # for operands that do not fit in registers

    def landing(self) -> str:
        """The label where an exception goes that is thrown here, in the innermost try_table; notes the edge."""
        frame = self.tries[-1]
        frame.has_landing = True
        self.successors.append(frame.otherwise)
        return frame.else_label

    def invoke_definitions(self) -> Iterator[str]:
        """The allocas for what calls from try_tables have in memory."""
        for number in range(self.num_landed):
            yield f"  %landed{number} = alloca i128, align {_RESULT_BYTES}"
        if self.spread_bytes:
            yield f"  %spread = alloca [{self.spread_bytes} x i8], align {_OPERAND_BYTES}"


def emit(
    lowering: InvokingEmitter, returns: str, results: Sequence[int], callee: str, operands: Sequence[Operand], at: int
) -> list[str]:
    """Calls, and returns what comes back in registers, of the types `results`, in LLVM the type `returns`."""
    constraints: list[str] = []
    arguments: list[str] = []
    landed = _taken(results)
    lowering.num_landed = max(lowering.num_landed, len(landed))
    for number in range(len(landed)):
        constraints.append("=*m")
        arguments.append(f"ptr elementtype(i128) %landed{number}")
    placed = _places(operands)
    if placed is None:
        callee, operands = _spread(lowering, returns, callee, operands)
        placed = _places(operands)
        assert placed is not None
    for name, (llvm, value) in (("ax", ("ptr", callee)), *zip(placed, operands, strict=True)):
        constraints.append(f"{{{name}}}")
        arguments.append(f"{llvm} {value}")
    text = ["callq *%rax", _MARK, f".long ${{{len(constraints)}:l}} - ."]
    text += [f"{move} {register}, ${number}" for number, (move, register) in enumerate(landed)]
    landing = lowering.landing()
    lowering.counter += 1
    label = f"k{lowering.counter}"
    assembly, registers = "\\0A".join(text), ",".join(constraints)
    lowering.lines.append(
        f'  callbr void asm sideeffect alignstack "{assembly}", "{registers},!i,{_CLOBBERS}"({", ".join(arguments)}) '
        f"to label %{label} [label %{landing}]{lowering.debug(at)}\n{label}:"
    )
    lowering.current = label
    lowering.num_edges += 1
    names = []
    for number, valtype in enumerate(results):
        name = lowering.fresh()
        lowering.lines.append(f"  {name} = load {llvm_type(valtype)}, ptr %landed{number}, align {_RESULT_BYTES}")
        names.append(name)
    return names


def _taken(results: Sequence[int]) -> list[tuple[str, str]]:
    """How to store each result: instruction and register."""
    used = {True: 0, False: 0}
    found = []
    for valtype in results:
        is_float = llvm_type(valtype) in _FLOATS
        registers = _FLOAT_RESULTS if is_float else _INT_RESULTS
        found.append(("movups" if is_float else "movq", registers[used[is_float]]))
        used[is_float] += 1
    return found


def _places(operands: Sequence[Operand]) -> list[str] | None:
    """The register of each operand; None if there are not enough."""
    free = {True: list(_FLOAT_ARGUMENTS), False: list(_INT_ARGUMENTS)}
    found = []
    for llvm, _ in operands:
        registers = free[llvm in _FLOATS]
        if not registers:
            return None
        found.append(registers.pop(0))
    return found


def _spread(
    lowering: InvokingEmitter, returns: str, callee: str, operands: Sequence[Operand]
) -> tuple[str, list[Operand]]:
    """Puts the callee and its operands into memory, for a function that calls with them; that one and its operand."""
    types = tuple(llvm for llvm, _ in operands)
    number = lowering.unit.spreads.setdefault((returns, types), len(lowering.unit.spreads))
    stored = [("ptr", callee), *operands]
    lowering.spread_bytes = max(lowering.spread_bytes, _OPERAND_BYTES * len(stored))
    for position, (llvm, value) in enumerate(stored):
        name = lowering.fresh()
        lowering.lines.append(
            f"  {name} = getelementptr i8, ptr %spread, i64 {_OPERAND_BYTES * position}\n"
            f"  store {llvm} {value}, ptr {name}, align {_OPERAND_BYTES}"
        )
    return f"@spread{number}", [("ptr", "%spread")]


def spreads(unit: UnitState) -> Iterator[str]:
    """The functions that call with operands from memory."""
    for (returns, types), number in unit.spreads.items():
        lines = [
            f"define internal {returns} @spread{number}(ptr %from) #0 {{",
            "  %code = load ptr, ptr %from, align 16",
        ]
        operands = []
        for position, llvm in enumerate(types):
            lines += [
                f"  %p{position} = getelementptr i8, ptr %from, i64 {_OPERAND_BYTES * (position + 1)}",
                f"  %v{position} = load {llvm}, ptr %p{position}, align {_OPERAND_BYTES}",
            ]
            operands.append(f"{llvm} %v{position}")
        call = f"call {returns} %code({', '.join(operands)})"
        end = [f"  {call}", "  ret void"] if returns == "void" else [f"  %r = {call}", f"  ret {returns} %r"]
        yield "\n".join([*lines, *end, "}", ""])
