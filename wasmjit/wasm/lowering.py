"""What the body walker and a lowering share: control frames, and the interface of a lowering."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .ops import LOAD, OPS, SPECIAL, STORE, Op
from .types import I32, UNKNOWN

# Opcodes that open a control frame; a function body is the outermost one.
BLOCK, LOOP, IF, ELSE, FUNCTION_BODY = 0x02, 0x03, 0x04, 0x05, 0x00


class Frame:
    """A control frame: the validator's view, and the labels and incoming edges of the lowering's view."""

    # What the lowering owns; the defaults cost nothing while only validating.
    label = ""
    else_label = ""
    header = -1  # a loop: the line its phis go to
    mark = 0  # the line at which the frame was entered
    value_height = 0
    values: list[str]  # an `if`: its parameters, for the `else`
    edges: list[tuple[list[str], str]]  # branches to the label: operands and the branching block
    landing: tuple[list[str], str] | None = None  # the operands of the last branch to it, and where they land
    conditions: list[tuple[int, str]] | None = None  # branches to the label on a tainted condition
    target: Any = None  # liveness block of the label
    otherwise: Any = None  # liveness block of an `else`
    unreachable = False

    def __init__(self, opcode: int, params: tuple[int, ...], results: tuple[int, ...], height: int, dead: bool) -> None:
        self.opcode = opcode
        self.params = params
        self.results = results
        self.height = height  # operand stack height below the frame's parameters
        self.dead = dead  # the frame itself stands in unreachable code: nothing of it is lowered
        self.label_types = params if opcode == LOOP else results  # what a branch to the frame carries


# What the walker calls for each template row while lowering: text from operand names.
Render = Callable[[str, str, str], str]


# What the fast paths know of a one-byte opcode: row, kind, first and second operand type, result type, renderer.
FastRow = tuple[Op, int, int, int, int, Any]


def fast_rows(templates: dict[int, Render], address_type: int = I32) -> list[FastRow | None]:
    """A FastRow per one-byte opcode that is not special; the renderer is None where `templates` has none.

    Loads and stores take addresses of `address_type`: I32 or I64, or UNKNOWN where the fast paths must not take them,
    because memories of both types are there (or none).
    """
    rows: list[FastRow | None] = [None] * 256
    for code, op in OPS.items():
        if op.kind in (LOAD, STORE) and not address_type:
            continue
        if op.kind != SPECIAL and code < 0x100:
            first = address_type if op.kind in (LOAD, STORE) else op.params[0]
            second = op.params[1] if len(op.params) > 1 else UNKNOWN
            rows[code] = (op, op.kind, first, second, op.result, templates.get(code))
    return rows


# Constants that let LLVM fold some integer operation without looking at the other operand.
ABSORBING = frozenset(("0", "-1", "1", *(str(n) for bits in (31, 63) for n in (-(1 << bits), (1 << bits) - 1))))


class Lowering(Protocol):
    """What `compile.function.FunctionLowering` gives the walker; `values` runs parallel to the operand types."""

    values: list[str]
    lines: list[str]
    tainted: set[str]
    cache: dict[int, tuple[str, int]]
    pending: dict[int, tuple[int, str, int]]
    successors: list[Any]
    reads: set[int]
    writes: dict[int, int]
    block_start: int
    fuel: bool  # whether `fuel_seen` is wanted: the cost of the live instructions so far
    fuel_seen: int
    rows: list[FastRow | None]
    templates: dict[int, Render]
    stores: dict[int, str]  # the beginning of a store to a local
    sites: dict[str, str]  # value of a load -> debug location, for the instruction that LLVM may fold the load into

    def begin(self, local_types: list[int], num_params: int, frame: Frame, types: list[int]) -> None: ...
    def load_local(self, index: int) -> str: ...
    def overwrite_pending(self, index: int) -> None: ...
    def absorb(self, row: Op, a: str, b: str) -> None: ...
    def hide_constants(self, row: Op, a: str, b: str) -> tuple[str, str]: ...
    def irregular(self, row: Op, a: str, b: str, at: int) -> str: ...
    def load(self, row: Op, memory_index: int, offset: int, at: int) -> None: ...
    def store(self, row: Op, memory_index: int, offset: int, at: int) -> None: ...
    def float_constant(self, bits: int) -> None: ...
    def block(self, frame: Frame) -> None: ...
    def loop(self, frame: Frame, at: int) -> None: ...
    def if_(self, frame: Frame) -> None: ...
    def else_(self, frame: Frame, fallthrough: bool) -> None: ...
    def end(self, frame: Frame, fallthrough: bool) -> None: ...
    def finish(self, frame: Frame, fallthrough: bool) -> None: ...
    def unreachable(self, at: int) -> None: ...
    def branch(self, frame: Frame) -> None: ...
    def branch_if(self, frame: Frame) -> None: ...
    def branch_table(self, targets: list[Frame], default: Frame) -> None: ...
    def call(self, function: int, at: int) -> None: ...
    def call_indirect(self, type_index: int, table: int, at: int) -> None: ...
    def return_call(self, function: int, at: int) -> None: ...
    def return_call_indirect(self, type_index: int, table: int, at: int) -> None: ...
    def drop(self, valtype: int) -> None: ...
    def select(self, valtype: int) -> None: ...
    def global_get(self, index: int) -> None: ...
    def global_set(self, index: int) -> None: ...
    def table_get(self, table: int, at: int) -> None: ...
    def table_set(self, table: int, at: int) -> None: ...
    def table_size(self, table: int) -> None: ...
    def memory_size(self, memory: int) -> None: ...
    def ref_null(self) -> None: ...
    def ref_is_null(self) -> None: ...
    def ref_func(self, function: int) -> None: ...
    def builtin(self, name: str, indices: tuple[int, ...], params: tuple[int, ...], result: int, at: int) -> None: ...
    def wide_arithmetic(self, name: str) -> None: ...
    def vector(self, row: Op, immediate: int, memory_index: int, offset: int, at: int) -> None: ...
