"""Calls from within a try_table, from which an exception may come back in place of results.

LLVM knows them as `callbr`: inline assembly that calls, and goes on behind itself, or in another block, the landing of
the try_table. Behind the call stands a no-operation that no compiler makes; its operand says where the landing is. So
code tells the unwinder (runtime_c/exceptions.c) all that it asks, there are no tables, and where nothing is thrown the
no-operation is all that it costs. To LLVM the assembly overwrites all registers but the frame's own: whatever the
landing uses lies in the frame, and the frames between need not be looked into.

On AArch64 a frame record is at the bottom of its frame, and does not tell where the caller's stack pointer was. So the
assembly makes a frame record of its own right below the frame, and calls from there.

Results come back in memory: a register that `callbr` defines is taken for one of the landing's by LLVM's allocator for
unoptimised code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..abi import MARK_RECORD_BYTES
from ..wasm.lowering import Frame
from ..wasm.types import F32, F64, I32, V128, llvm_type
from .landings import BranchingEmitter
from .unit_state import UnitState

_FLOATS = frozenset((llvm_type(F32), llvm_type(F64), llvm_type(V128)))
_RESULT_BYTES = _OPERAND_BYTES = 16

Operand = tuple[str, str]  # LLVM type, value


@dataclass(frozen=True, slots=True)
class _Convention:
    """The registers of a call, and those that the assembly overwrites."""

    int_arguments: tuple[str, ...]
    float_arguments: tuple[str, ...]
    callee: str
    clobbers: str


def _clobbers(*names: str) -> str:
    return ",".join(f"~{{{name}}}" for name in (*names, "memory"))


def _numbered(letter: str, count: int, first: int = 0) -> tuple[str, ...]:
    return tuple(f"{letter}{number}" for number in range(first, first + count))


_X86_64 = _Convention(
    ("di", "si", "dx", "cx", "r8", "r9"),
    _numbered("xmm", 8),
    "ax",
    _clobbers(
        *("ax", "bx", "cx", "dx", "si", "di", *_numbered("r", 8, first=8)),
        *(*_numbered("xmm", 32), *_numbered("k", 8)),
        *("dirflag", "fpsr", "flags"),
    ),
)
_AARCH64 = _Convention(
    _numbered("x", 8),
    _numbered("q", 8),
    "x16",
    _clobbers(*_numbered("x", 29), "lr", *_numbered("v", 32), *_numbered("p", 16), "cc"),
)
_CONVENTIONS = {"x86_64": _X86_64, "aarch64": _AARCH64}
# AArch64 has a name for each size of a register.
_SIZES = {llvm_type(I32): "w", llvm_type(F32): "s", llvm_type(F64): "d"}
_LANDED_POINTERS = ("x9", "x10")


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
    lowering.num_landed = max(lowering.num_landed, len(results))
    convention = _CONVENTIONS[lowering.unit.policy.machine]
    placed = _places(convention, operands)
    if placed is None:
        callee, operands = _spread(lowering, returns, callee, operands)
        placed = _places(convention, operands)
        assert placed is not None
    inputs = [(convention.callee, ("ptr", callee)), *zip(placed, operands, strict=True)]
    if convention is _X86_64:
        constraints = ["=*m"] * len(results)
        arguments = [f"ptr elementtype(i128) %landed{number}" for number in range(len(results))]
        text = _call_x86_64(results, len(results) + len(inputs))
    else:
        constraints, arguments = [], []
        inputs += [(_LANDED_POINTERS[number], ("ptr", f"%landed{number}")) for number in range(len(results))]
        text = _call_aarch64(results, len(inputs))
    for name, (llvm, value) in inputs:
        constraints.append(f"{{{name}}}")
        arguments.append(f"{llvm} {value}")
    landing = lowering.landing()
    lowering.counter += 1
    label = f"k{lowering.counter}"
    assembly, registers = "\\0A".join(text), ",".join((*constraints, "!i", convention.clobbers))
    lowering.lines.append(
        f'  callbr void asm sideeffect alignstack "{assembly}", "{registers}"({", ".join(arguments)}) '
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


def _call_x86_64(results: Sequence[int], label: int) -> list[str]:
    """Calls, and stores each result to an operand; where to land is operand `label`."""
    # nopl disp32(%rbx), as runtime_c/arch.h knows it. LLVM and our stencils pad with the form of %rax.
    text = ["callq *%rax", ".byte 0x0f, 0x1f, 0x83", f".long ${{{label}:l}} - ."]
    free = {True: ["%xmm0", "%xmm1"], False: ["%rax", "%rdx"]}
    for number, valtype in enumerate(results):
        is_float = llvm_type(valtype) in _FLOATS
        text.append(f"{'movups' if is_float else 'movq'} {free[is_float].pop(0)}, ${number}")
    return text


def _call_aarch64(results: Sequence[int], label: int) -> list[str]:
    """Calls, and stores each result to where a register points; where to land is operand `label`."""
    text = [f"stp x29, xzr, [sp, #-{MARK_RECORD_BYTES}]!", "mov x29, sp"]
    if results:
        text.append(f"stp {', '.join(_LANDED_POINTERS)}, [sp, #16]")
    # movn xzr, #low half; movz xzr, #high half, lsl #48: as runtime_c/arch.h knows it.
    text += [
        "blr x16",
        f".long 0x9280001f | (((${{{label}:l}} - .) & 0xffff) << 5)",
        f".long 0xd2e0001f | ((((${{{label}:l}} - . + 4) >> 16) & 0xffff) << 5)",
    ]
    if results:
        text.append(f"ldp {', '.join(_LANDED_POINTERS)}, [sp, #16]")
    text.append(f"ldr x29, [sp], #{MARK_RECORD_BYTES}")
    free = {True: ["q0", "q1"], False: ["x0", "x1"]}
    for pointer, valtype in zip(_LANDED_POINTERS, results, strict=False):
        text.append(f"str {free[llvm_type(valtype) in _FLOATS].pop(0)}, [{pointer}]")
    return text


def _places(convention: _Convention, operands: Sequence[Operand]) -> list[str] | None:
    """The register of each operand; None if there are not enough."""
    free = {True: list(convention.float_arguments), False: list(convention.int_arguments)}
    found = []
    for llvm, _ in operands:
        registers = free[llvm in _FLOATS]
        if not registers:
            return None
        name = registers.pop(0)
        found.append(_SIZES[llvm] + name[1:] if convention is _AARCH64 and llvm in _SIZES else name)
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
