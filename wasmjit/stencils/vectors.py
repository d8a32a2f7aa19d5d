"""LLVM's text of what vector rows compute, from operands to a result: for routines of the runtime and for stencils.

An engine's code has one of several texts for some rows, by its Config and the processor: see `Choice`. All tiers of an
engine have the same.
"""

from __future__ import annotations

from typing import NamedTuple

from ..compile.simd import VECTOR_TYPES
from ..compile.simd_templates import LANE_TYPES, render_source
from ..wasm.first_tier import computed, computed_from
from ..wasm.ops import Op
from ..wasm.types import V128, llvm_type


class Choice(NamedTuple):
    """What decides between the texts of a row; as a number: a bit each, in this order."""

    has_canonical_nans: bool = False
    is_deterministic: bool = False  # relaxed instructions
    has_fused_multiply_add: bool = False

    @property
    def number(self) -> int:
        """As C has it (wj_interpreter_plan.vector_choice)."""
        return sum(1 << bit for bit, is_so in enumerate(self) if is_so)


CHOICES = [Choice(*(bool(number >> bit & 1) for bit in range(3))) for number in range(8)]


class Computed(NamedTuple):
    """Instructions, and the value that they define, of LLVM's type `llvm`."""

    text: str
    value: str
    llvm: str


def operand_types(op: Op) -> list[str]:
    """LLVM's types of the operands that a row's text has, a to c at the most: vectors in their lane shapes."""
    types = []
    for position, valtype in enumerate(computed_from(op)):
        if valtype == V128:
            is_third = position == 2
            types.append(VECTOR_TYPES[op.result_shape if is_third else op.shape])
        else:
            types.append(op.memory_type if op.access_bytes and op.result and position == 0 else llvm_type(valtype))
    return types


def number_type(op: Op, position: int) -> str:
    """LLVM's type of an operand that is a number, as it is in a slot or register."""
    return llvm_type(computed_from(op)[position])


def result_type(op: Op) -> str:
    """LLVM's type of the result: a vector in its lane shape, or what is stored."""
    if computed(op) == V128:
        return VECTOR_TYPES[op.result_shape]
    return op.memory_type if op.access_bytes else llvm_type(op.result)


def converted(name: str, value: str, llvm: str, wanted: str) -> str:
    """The instruction that makes %name, what was loaded, of a number in a slot, which has as many bits or more."""
    bits = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "float": 32, "double": 64}
    if bits.get(wanted, 64) < bits[llvm]:
        return f"  %{name} = trunc {llvm} {value} to {wanted}"
    return f"  %{name} = bitcast {llvm} {value} to {wanted}"


def compute(op: Op, choice: Choice, is_x86: bool, lane: str) -> Computed:
    """The row's text over %a, %b and %c, of `operand_types`. `lane`: its immediate."""
    source = render_source(op, is_x86, choice.is_deterministic, choice.has_canonical_nans)
    values = {"r": "%r", "a": "%a", "b": "%b", "c": "%c", "l": lane}
    return Computed(source.format(**values), "%r", result_type(op))


def uses_multiply_add(op: Op) -> bool:
    """Whether the row is one of those that a processor may have one instruction for, with another result than two."""
    return op.name.endswith("madd")


def lane_type(op: Op) -> str:
    """LLVM's type of a lane of the operands."""
    return LANE_TYPES[op.shape]
