"""Branches that carry operands, each of which is an entry of a phi for each edge: few edges for many branches.

Branches that carry the same operands to the same label share a block that goes on to it, its landing. Otherwise 2,500
branches out of a block of 1,000 results, 10 kB, would be 2.5 million entries, for which LLVM takes a gigabyte.
"""

from __future__ import annotations

from collections import Counter

from ..wasm.lowering import Frame
from ..wasm.types import I32
from . import metering
from .liveness import Block
from .metering import MeteredEmitter
from .unit_state import UnitState

_FEW_OPERANDS = 16  # for which branches go straight to the label
_MAX_PHI_OPERANDS = 5_000_000
_NO_OPERANDS: list[str] = []


class BranchingEmitter(MeteredEmitter):
    """The text of a function, and its branches to labels."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.num_edges = 0
        self.num_phi_operands = 0

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


def target(lowering: BranchingEmitter, frame: Frame) -> str:
    """The label for a br_if to `frame`, with the operands on top of the stack; records the edge."""
    count = len(frame.label_types)
    if count <= _FEW_OPERANDS:
        lowering.edge(frame)
        return frame.label
    carried = lowering.values[-count:]
    if frame.landing is not None and frame.landing[0] == carried:
        lowering.num_edges += 1
        lowering.successors.append(frame.target)
        return frame.landing[1]
    lowering.counter += 1
    source, lowering.current = lowering.current, f"j{lowering.counter}"
    lowering.edge(frame)
    lowering.cold.append(f"{lowering.current}:\n  br label %{frame.label}")
    frame.landing = (carried, lowering.current)
    lowering.current = source
    return frame.landing[1]


def branch_table(lowering: BranchingEmitter, targets: list[Frame], default: Frame) -> None:
    """A br_table."""
    if lowering.fuel:
        metering.charge(lowering)
    index = lowering.values.pop()
    arity = len(default.label_types)
    height = min(frame.value_height for frame in (*targets, default))
    lowering.discard(height, arity)
    cases = []
    reached: set[str] = set()
    # With operands, a label gets one edge, from a block of its own: else its phis would have an entry for each
    # case, which is the size of the table times the number of operands.
    shared = Counter(frame.label for frame in (*targets, default)) if arity else Counter()
    labels: dict[str, str] = {}
    blocks: list[str] = []
    source = lowering.current
    for number, frame in enumerate((*targets, default)):
        label = labels.get(frame.label)
        if label is None:
            label = labels[frame.label] = frame.label
            if shared[frame.label] > 1:
                lowering.counter += 1
                lowering.current = label = labels[frame.label] = f"j{lowering.counter}"
                blocks.append(f"{label}:\n  br label %{frame.label}")
            lowering.edge(frame)
            lowering.current = source
        elif label == frame.label:
            lowering.edge(frame, again=True)
        if number < len(targets):
            reached.add(frame.label)
            cases.append(f"i32 {number}, label %{label}")
    if reached <= {default.label} and index in lowering.tainted:
        lowering.anchor(index, I32)
    index = lowering.fetched_once(index, "i32")
    lowering.lines.append(f"  switch i32 {index}, label %{labels[default.label]} [ {' '.join(cases)} ]")
    lowering.lines.extend(blocks)
    lowering.close_block()
