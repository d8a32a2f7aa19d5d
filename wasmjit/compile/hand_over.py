"""Baseline code that hands an activation over to optimised code where a loop begins anew: what leads to `loop_entry`.

Later calls of a function find optimised code in the function table; an activation that stays in a loop does not. So
code that counts asks the runtime at the headers of loops, once in `HAND_OVER_PERIOD` counts, for code that goes on from
there. If there is some, the locals are written to a frame, and what that code returns is returned. Of the locals only
those that are live: code that is not optimised has them in its stack frame, and would copy all of them wherever paths
join.

The function is on the stack twice then. The call has `abi.HAND_OVER_OFFSET` for its location, so that backtraces leave
its frame out.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import abi, thresholds
from ..wasm.types import llvm_type
from . import calls
from .calls import CallingEmitter
from .liveness import Block, live_locals
from .unit_state import UnitState


class HandOver(NamedTuple):
    """A loop's header: its block, the LLVM block that has asked, and what the answer is called."""

    header: Block
    label: str
    code: str


class HandingEmitter(CallingEmitter):
    """The text of a function whose activations may go on in other code."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.hand_overs: list[HandOver] = []


def can_offer(lowering: HandingEmitter) -> bool:
    """Whether `loop_entry` can go on from a loop that begins now, and the runtime may have code that does."""
    return (
        not lowering.values
        and not _may_tail_call(lowering)
        and lowering.function_index not in lowering.unit.catching
        and len(lowering.local_types) <= thresholds.MOST_HAND_OVER_LOCALS
    )


def _may_tail_call(lowering: HandingEmitter) -> bool:
    """Whether the function may make tail calls, which have to leave this frame, too."""
    module = lowering.module
    callers = module.tail_callers
    return module.has_tail_calls if callers is None else lowering.function_index in callers


def offer(lowering: HandingEmitter, count: str, at: int) -> None:
    """At the header of the loop at `at`, where the function's counter is now `count`."""
    lowering.leaf = False  # the frame needs the stack check
    lowering.counter += 1
    ask, on = f"t{lowering.counter}", f"k{lowering.counter}"
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name}m = and i64 {count}, {thresholds.HAND_OVER_PERIOD - 1}\n"
        f"  {name}h = icmp eq i64 {name}m, 0\n"
        f"  br i1 {name}h, label %{ask}, label %{on}, !prof !3\n{on}:"
    )
    lowering.current = on
    position = lowering.function_index - lowering.module.num_imported_functions
    # The table of builtins is read here, not in the prologue: that would cost every call of the function.
    lowering.cold.append(
        f"{ask}:\n"
        f"  {name}b = getelementptr i8, ptr %vmctx, i64 {abi.VMCONTEXT['builtins']}\n"
        f"  {name}t = load ptr, ptr {name}b, align 8, !invariant.load !0\n"
        f"  {name}p = getelementptr ptr, ptr {name}t, i64 {abi.BUILTIN_INDEX['hot_loop']}\n"
        f"  {name}f = load ptr, ptr {name}p, align 8, !invariant.load !0\n"
        f"  {name} = call i64 {name}f(ptr %vmctx, i32 {position}, i32 {at}){lowering.debug(at)}\n"
        f"  {name}n = icmp eq i64 {name}, 0\n"
        f"  br i1 {name}n, label %{on}, label %{ask}.over"
    )
    lowering.hand_overs.append(HandOver(lowering.block_record, ask, name))


def frame_definition(lowering: HandingEmitter) -> str:
    """The alloca of the frame, for the entry block."""
    size_bytes = abi.loop_frame_offsets(lowering.local_types)[-1] + abi.SLOT_BYTES * lowering.fuel
    return f"  %handed = alloca [{size_bytes // abi.SLOT_BYTES} x i64], align 8"


def text(lowering: HandingEmitter) -> str:
    """The blocks that go on in other code, once the function's liveness blocks are complete."""
    live = live_locals(lowering.blocks)
    parts = [_filled_frame(lowering, item, live[item.header]) for item in lowering.hand_overs]
    codes = ", ".join(f"[ {item.code}, %{item.label}.over ]" for item in lowering.hand_overs)
    results = lowering.type.results
    llvm = calls.return_type(results)
    area = "ptr %results, " if calls.area_slots(results) else ""
    call = f"call {llvm} %hand.callee(ptr %vmctx, {area}ptr %handed){lowering.debug(abi.HAND_OVER_OFFSET)}"
    # The return has a location again: an interrupt may find the activation there, and no other one of the function.
    end = lowering.debug(lowering.body_start)
    parts.append(f"hand.over:\n  %hand.code = phi i64 {codes}\n  %hand.callee = inttoptr i64 %hand.code to ptr")
    parts.append(
        f"  %hand.result = {call}\n  ret {llvm} %hand.result{end}" if results else f"  {call}\n  ret void{end}"
    )
    return "\n".join(parts)


def _filled_frame(lowering: HandingEmitter, item: HandOver, live: int) -> str:
    """The block that writes the locals in `live` to the frame, and what is left of the fuel."""
    lines = [f"{item.label}.over:"]
    offsets = abi.loop_frame_offsets(lowering.local_types)
    for index, valtype in enumerate(lowering.local_types):
        if live >> index & 1:
            value, llvm = f"{item.code}l{index}", llvm_type(valtype)
            lines.append(
                f"  {value} = load {llvm}, ptr %l{index}\n"
                f"  {value}p = getelementptr i8, ptr %handed, i64 {offsets[index]}\n"
                f"  store {llvm} {value}, ptr {value}p, align 8"
            )
    if lowering.fuel:
        value = f"{item.code}.fuel"
        lines.append(
            f"  {value} = load i64, ptr %fuel\n"
            f"  {value}p = getelementptr i8, ptr %handed, i64 {offsets[-1]}\n"
            f"  store i64 {value}, ptr {value}p, align 8"
        )
    lines.append("  br label %hand.over")
    return "\n".join(lines)
