"""Fuel and epochs: code that counts what it runs, and code that looks at a clock. Both are off unless asked for.

Fuel: what is left lives in a local of each function, is written back to the store before calls, and read again after
them. An instruction costs 1, those that make no code nothing, bulk instructions their count on top, and entering a
function 1, as in wasmtime. The cost of a straight stretch is subtracted where it ends; whether anything is left is
looked at where a function or a loop begins, so counts are the same in every run and at every opt level. Bulk
instructions and growths are charged before they are called, and the runtime looks (`spend` in runtime_c/builtins.c)
before the first byte moves.

The interpreter counts at the same places (runtime_c/interpret_stack.h: `charge`), so what is left does not depend on
the tier, not after a trap either.

Epochs: where a function or a loop begins, the engine's counter is compared with the store's deadline.
"""

from __future__ import annotations

from .. import abi
from ..wasm.types import I32
from .anchors import AnchoringEmitter
from .unit_state import UnitState


class MeteredEmitter(AnchoringEmitter):
    """The text of a function, and the fuel that it uses."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.fuel = unit.policy.fuel
        self.fuel_seen = 0  # cost of the instructions walked so far; the walker counts
        self.fuel_charged = 0


def enter_function(lowering: MeteredEmitter, at: int) -> None:
    """At the start of a body."""
    policy = lowering.unit.policy
    if policy.fuel:
        load_fuel(lowering)
        lowering.fuel_seen = 1  # entering costs 1: recursion of empty functions ends too
        charge(lowering)
        check_fuel(lowering, at)
    if policy.epochs:
        check_epoch(lowering, at)
    if policy.counting:
        count(lowering)


def enter_loop(lowering: MeteredEmitter, at: int) -> str:
    """At a loop's header. Returns the function's counter, if it has one."""
    if lowering.unit.policy.fuel:
        check_fuel(lowering, at)
    if lowering.unit.policy.epochs:
        check_epoch(lowering, at)
    return count(lowering) if lowering.unit.policy.counting else ""


def count(lowering: MeteredEmitter) -> str:
    """Counts that a function or loop was begun, in the function table's counters: which code is hot.

    Returns the new count. Threads may lose a few counts to each other.
    """
    position = lowering.function_index - lowering.module.num_imported_functions
    name = lowering.fresh()
    lowering.lines.append(
        f"{lowering.function_slot(f'{name}p', abi.COUNTERS, position, step='i64')}\n"
        f"  {name}n = load i64, ptr {name}p, align 8\n"
        f"  {name} = add i64 {name}n, 1\n"
        f"  store i64 {name}, ptr {name}p, align 8"
    )
    return name


def _fuel_pointer(lowering: MeteredEmitter) -> str:
    return lowering.address("%fuel.p", lowering.store_record(), abi.STORE["fuel"])


def load_fuel(lowering: MeteredEmitter) -> None:
    """Takes over what the store says is left."""
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name} = load i64, ptr {_fuel_pointer(lowering)}, align 8, !tbaa !2\n  store i64 {name}, ptr %fuel"
    )


def save_fuel(lowering: MeteredEmitter) -> None:
    """Tells the store what is left."""
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name} = load i64, ptr %fuel\n  store i64 {name}, ptr {_fuel_pointer(lowering)}, align 8, !tbaa !2"
    )


def charge(lowering: MeteredEmitter) -> None:
    """Subtracts what has been walked since the last charge."""
    cost = lowering.fuel_seen - lowering.fuel_charged
    if cost:
        lowering.fuel_charged = lowering.fuel_seen
        name = lowering.fresh()
        lowering.lines.append(
            f"  {name} = load i64, ptr %fuel\n  {name}r = sub i64 {name}, {cost}\n  store i64 {name}r, ptr %fuel"
        )


def charge_count(lowering: MeteredEmitter, count: str, count_type: int) -> None:
    """Subtracts the operand `count`: a bulk instruction costs 1 for each byte, element or page, as in wasmtime."""
    name = lowering.fresh()
    if count_type == I32:
        lowering.lines.append(f"  {name}n = zext i32 {count} to i64")
    else:
        lowering.lines.append(f"  {name}n = call i64 @llvm.umin.i64(i64 {count}, i64 {abi.MOST_CHARGED})")
    lowering.lines.append(
        f"  {name} = load i64, ptr %fuel\n  {name}r = sub i64 {name}, {name}n\n  store i64 {name}r, ptr %fuel"
    )


def charge_count64(lowering: MeteredEmitter, count: str) -> None:
    """As `charge_count`, of an i64 below 2^32."""
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name} = load i64, ptr %fuel\n  {name}r = sub i64 {name}, {count}\n  store i64 {name}r, ptr %fuel"
    )


def check_fuel(lowering: MeteredEmitter, at: int) -> None:
    """Traps if nothing is left."""
    name = lowering.fresh()
    pointer = _fuel_pointer(lowering)
    lowering.lines.append(f"  {name} = load i64, ptr %fuel\n  {name}o = icmp sle i64 {name}, 0")
    lowering.trap_if(f"{name}o", "OUT_OF_FUEL", at, first=f"  store i64 {name}, ptr {pointer}, align 8, !tbaa !2\n")


def check_epoch(lowering: MeteredEmitter, at: int) -> None:
    """Calls the runtime if the deadline is reached; it traps or sets a later one."""
    store = lowering.store_record()
    lowering.once(
        "%epoch",
        f"  %epoch.p = getelementptr i8, ptr {store}, i64 {abi.STORE['epoch']}\n"
        "  %epoch = load ptr, ptr %epoch.p, align 8, !tbaa !2",
    )
    lowering.address("%deadline.p", store, abi.STORE["epoch_deadline"])
    callee = lowering.builtin_pointer("epoch_deadline_reached")
    name = lowering.fresh()
    lowering.counter += 1
    reached, on = f"t{lowering.counter}", f"k{lowering.counter}"
    # Volatile: another thread advances the epoch, and the callback moves the deadline.
    lowering.lines.append(
        f"  {name} = load volatile i64, ptr %epoch, align 8\n"
        f"  {name}d = load volatile i64, ptr %deadline.p, align 8\n"
        f"  {name}r = icmp uge i64 {name}, {name}d\n"
        f"  br i1 {name}r, label %{reached}, label %{on}, !prof !3\n{on}:"
    )
    lowering.current = on
    lowering.note_collection()  # what the callback does may run code that makes objects
    lowering.cold.append(f"{reached}:\n  call void {callee}(ptr %vmctx){lowering.debug(at)}\n  br label %{on}")
