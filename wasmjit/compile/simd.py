"""Lowers the vector instructions (rows of kind VECTOR): operands to the lane shape, the template, the result back.

A v128 is ``<2 x i64>`` wherever it has a name of its own: on the stack, in locals, globals and signatures. An
instruction sees its operands as vectors of its lane shape; the bitcasts cost nothing, and a result that is used in the
shape it was computed in goes without (`VectorEmitter.shaped`).

Exact traps. LLVM narrows a vector load to the lanes that are used, and drops it where none is: an access that reaches
over the end of the memory would no longer trap. So vector loads are volatile. That costs little: loops with vectors in
them do not get vectorised. Their values are hidden from LLVM too. Else instructions would take the load as their
memory operand, and there are some that do not read all of it: on x86-64 those that widen its low half, and with AVX-512
all that work under a mask; on AArch64 `ld1r`, for a splat of the lowest lane. Without memory operands kernels are as
fast as with them, or faster.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable

from ..wasm.const_expr import V128_CONST
from ..wasm.ops import OP_BY_NAME, OPS, Op
from ..wasm.types import V128, llvm_type
from ..wasm.vectors import LANES, ROWS
from . import memory
from .calls import CallingEmitter
from .lower import NumericEmitter, constant_in_memory, opaque
from .memory import AddressingEmitter
from .simd_templates import LANE_BITS, LANE_TYPES, render_source
from .unit_state import CodePolicy, UnitState

# From (result, a, b, c, lane) to IR text; None where the operand is the result.
Render = Callable[[str, str, str, str, str], str]

VECTOR = llvm_type(V128)
VECTOR_TYPES = {shape: f"<{LANES[shape]} x {lane}>" for shape, lane in LANE_TYPES.items()}
_MASK_64 = (1 << 64) - 1
_EXTREMA = frozenset(op.code for op in ROWS if op is not None and op.name[-4:] in (".min", ".max", "_min", "_max"))
_DEMOTE = OP_BY_NAME["f32x4.demote_f64x2_zero"].code
_SHUFFLE = OP_BY_NAME["i8x16.shuffle"].code
_SPLATS = {op.code: LANE_BITS[op.shape] for op in ROWS if op is not None and op.name.endswith(".splat")}
_MULTIPLY_ADDS = frozenset(op.code for op in ROWS if op is not None and op.name.endswith("madd"))
# Lanes for which LLVM folds float arithmetic: zeros, ones, infinities and NaNs (see lower.hide_constants).
_FOLDS_LANES = {
    32: frozenset((0, 0x80000000, 0x3F800000, 0xBF800000)),
    64: frozenset((0, 1 << 63, 0x3FF << 52, 0xBFF << 52)),
}
_EXPONENTS = {32: 0x7F800000, 64: 0x7FF << 52}


class Renderers(dict[int, "Render | None"]):
    """Opcode -> renderer. A text becomes an f-string once, when first used: all of them take 17 ms."""

    def __init__(self, x86: bool, deterministic: bool, canonical_nans: bool) -> None:
        super().__init__()
        self.choices = (x86, deterministic, canonical_nans)

    def __missing__(self, code: int) -> Render | None:
        source = render_source(OPS[code], *self.choices)
        self[code] = render = eval(f"lambda r, a, b, c, l: f{source!r}") if source else None
        return render


@functools.cache
def _renderers(x86: bool, deterministic: bool, canonical_nans: bool) -> Renderers:
    return Renderers(x86, deterministic, canonical_nans)


def policy_renderers(policy: CodePolicy) -> Renderers:
    """The renderers for a policy."""
    return _renderers(policy.machine == "x86_64", policy.deterministic_simd, policy.canonical_nans)


class VectorEmitter(CallingEmitter, AddressingEmitter, NumericEmitter):
    """The text of a function, and what it knows of its vectors."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.vector_renderers = policy_renderers(unit.policy)
        self.calls_multiply_add = unit.policy.deterministic_simd and not unit.policy.fused_multiply_add
        self.constant_vectors: set[str] = set()  # computed from constants alone
        self.shaped: dict[str, tuple[str, str]] = {}  # v128 -> lane shape and name of the vector it was computed as


# ---- constants ----


def constant_text(bits: int) -> str:
    """A v128 constant as an operand."""
    if bits == 0:
        return "zeroinitializer"
    return f"<i64 {bits & _MASK_64}, i64 {bits >> 64}>"


def constant_bits(value: str) -> int | None:
    """The bits of an operand that is a v128 constant."""
    if value == "zeroinitializer":
        return 0
    if value[0] != "<":
        return None
    low, high = value[1:-1].split(", ")
    return int(low[4:]) | int(high[4:]) << 64


def _scalar_bits(value: str, lane_bits: int) -> int | None:
    """The bits of an operand that is a constant number, as the walk (`walk.py`) and `FunctionLowering` write them."""
    if value[0] == "%" or value == "poison":
        return None
    if value.startswith("bitcast"):  # an f32 NaN
        return int(value.split()[2])
    if value.startswith("0x"):
        bits = int(value, 16)
        if lane_bits == 64:
            return bits
        return int(struct.unpack("<I", struct.pack("<f", struct.unpack("<d", struct.pack("<Q", bits))[0]))[0])
    if "." in value:
        return 0 if float(value) == 0 else None
    return int(value) & ((1 << lane_bits) - 1)


def _lanes(bits: int, lane_bits: int) -> list[int]:
    mask = (1 << lane_bits) - 1
    return [bits >> shift & mask for shift in range(0, 128, lane_bits)]


def shaped(lowering: VectorEmitter, value: str, shape: str) -> str:
    """A v128 operand as a vector of `shape`."""
    known = lowering.shaped.get(value)
    if known is not None and known[0] == shape:
        return known[1]
    wanted = VECTOR_TYPES[shape]
    if wanted == VECTOR or value in ("zeroinitializer", "poison"):
        return value
    if value[0] == "%":
        lowering.counter = number = lowering.counter + 1
        lowering.lines.append(f"  %x{number} = bitcast {VECTOR} {value} to {wanted}")
        return f"%x{number}"
    bits = constant_bits(value)
    if bits is not None and shape[0] == "i":
        lane = LANE_TYPES[shape]
        return "<" + ", ".join(f"{lane} {number}" for number in _lanes(bits, LANE_BITS[shape])) + ">"
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = bitcast {VECTOR} {value} to {wanted}")
    return name


def _may_fold(lowering: VectorEmitter, value: str, shape: str) -> bool:
    """Whether LLVM may fold float arithmetic with this operand and forget to quieten a signalling NaN."""
    bits = None if value[0] == "%" else constant_bits(value)
    if bits is None:
        return value in lowering.constant_vectors
    width = LANE_BITS[shape]
    exponent = _EXPONENTS[width]
    return any(lane in _FOLDS_LANES[width] or lane & exponent == exponent for lane in _lanes(bits, width))


# ---- instructions ----


def lower(lowering: VectorEmitter, row: Op, immediate: int, memory_index: int, offset: int, at: int) -> None:
    """Lowers one vector instruction; `immediate` as `VectorInstructions.vector_immediates` gives it."""
    if row.code == V128_CONST:
        lowering.values.append(constant_in_memory(lowering, constant_text(immediate), V128, immediate))
    elif row.access_bytes and row.result:
        _load(lowering, row, immediate, memory_index, offset, at)
    elif row.access_bytes:
        _store(lowering, row, immediate, memory_index, offset, at)
    else:
        _compute(lowering, row, immediate)


def _compute(lowering: VectorEmitter, row: Op, immediate: int) -> None:
    """An instruction from operands to a result."""
    values = lowering.values
    count = len(row.params)
    operands = values[-count:]
    del values[-count:]
    lane_bits = _SPLATS.get(row.code)
    if lane_bits is not None:
        bits = _scalar_bits(operands[0], lane_bits)
        if bits is not None:
            values.append(constant_text(sum(bits << shift for shift in range(0, 128, lane_bits))))
            return
    names = ["", "", ""]
    shape = row.shape
    for position, valtype in enumerate(row.params):
        value = operands[position]
        if valtype == V128:
            names[position] = name = shaped(lowering, value, shape if position < 2 else row.result_shape)
            if row.lowering[0] == "~" and _may_fold(lowering, value, shape):
                names[position] = opaque(lowering, name, VECTOR_TYPES[shape])
        else:
            # The lane may get lost on the way, and with it the load that this number came from.
            lowering.anchor_values((value,), (valtype,))
            names[position] = value
    if row.code in _MULTIPLY_ADDS and lowering.calls_multiply_add:
        values.append(_call_multiply_add(lowering, row, names))
        return
    lane = str(immediate)
    if row.code == _SHUFFLE:
        lane = "<" + ", ".join(f"i32 {index}" for index in immediate.to_bytes(16, "little")) + ">"
    if row.code == _DEMOTE or (names[0] == names[1] and row.code in _EXTREMA):
        names[0] = opaque(lowering, names[0], VECTOR_TYPES[shape])  # of a promotion; of x and x
    result = _finish(lowering, row, names, lane)
    values.append(result)
    constants = lowering.constant_vectors
    if operands[0][0] != "%" or operands[0] in constants or row.code == _SHUFFLE:
        known = [value[0] != "%" or value in constants for value in operands]
        if all(known) or (row.code == _SHUFFLE and any(known)):  # a shuffle may leave one operand out
            constants.add(result)


def _call_multiply_add(lowering: VectorEmitter, row: Op, names: list[str]) -> str:
    """relaxed_madd and relaxed_nmadd, deterministic, without an instruction for it: the runtime's, lane by lane."""
    pointer = lowering.builtin_pointer(f"fused_multiply_add_{row.shape[:3]}")
    vector, bits = VECTOR_TYPES[row.shape], LANE_BITS[row.shape]
    integers = f"<{LANES[row.shape]} x i{bits}>"
    name = lowering.fresh()
    emit = lowering.lines.append
    for letter, operand in zip("abc", names, strict=True):
        if letter == "a" and "nmadd" in row.name:
            emit(f"  {name}n = fneg {vector} {operand}")
            operand = f"{name}n"
        emit(f"  {name}{letter} = bitcast {vector} {operand} to {integers}")
    sums = "poison"
    for index in range(LANES[row.shape]):
        operands = ["ptr %vmctx"]
        for letter in "abc":
            operand = f"{name}{letter}{index}"
            emit(f"  {operand} = extractelement {integers} {name}{letter}, i64 {index}")
            if bits == 32:
                emit(f"  {operand}w = zext i32 {operand} to i64")
                operand += "w"
            operands.append(f"i64 {operand}")
        total = f"{name}t{index}"
        emit(f"  {total} = call i64 {pointer}({', '.join(operands)})")
        if bits == 32:
            emit(f"  {total}w = trunc i64 {total} to i32")
            total += "w"
        emit(f"  {name}s{index} = insertelement {integers} {sums}, i{bits} {total}, i64 {index}")
        sums = f"{name}s{index}"
    emit(f"  {name} = bitcast {integers} {sums} to {VECTOR}")
    return name


def _finish(lowering: VectorEmitter, row: Op, names: list[str], lane: str, site: str = "", hide: bool = False) -> str:
    """Emits the row's template; returns the result, a v128 as such. `hide`: LLVM must not know what it is.

    `site` is the debug location of a load; LLVM may fold it into any of the template's instructions.
    """
    render = lowering.vector_renderers[row.code]
    shape = row.result_shape
    llvm = VECTOR_TYPES[shape] if row.result == V128 else ""
    lowering.counter = number = lowering.counter + 1
    computed = f"%x{number}"
    if render is None:
        computed = names[0]
    elif not site:
        text = render(computed, names[0], names[1], names[2], lane)
        if not llvm or llvm == VECTOR:
            lowering.lines.append(text)
            return computed
        result = f"%y{number}"
        lowering.lines.append(f"{text}\n  {result} = bitcast {llvm} {computed} to {VECTOR}")
        lowering.shaped[result] = (shape, computed)
        return result
    else:
        text = render(computed, names[0], names[1], names[2], lane)
        lowering.lines.append(text.replace("\n", site + "\n") + site)
    if hide:
        computed = opaque(lowering, computed, llvm, site)  # its location may become that of the load
    if not llvm or llvm == VECTOR:
        return computed
    result = lowering.fresh()
    lowering.lines.append(f"  {result} = bitcast {llvm} {computed} to {VECTOR}")
    lowering.shaped[result] = (shape, computed)
    return result


def _load(lowering: VectorEmitter, row: Op, lane: int, memory_index: int, offset: int, at: int) -> None:
    """A load into a vector, into one lane of an operand, or of every lane."""
    values = lowering.values
    vector = values.pop() if len(row.params) == 2 else ""
    place = memory.pointer(lowering, memory_index, values.pop(), offset, row.access_bytes, at)
    site = lowering.debug(at)
    loaded = lowering.fresh()
    x86 = lowering.unit.policy.machine == "x86_64"
    anchored = x86 and row.lowering == "@load_zero"  # a volatile load would take a second instruction to clear lanes
    volatile = lowering.volatile if anchored else "volatile "
    lowering.lines.append(f"  {loaded} = load {volatile}{row.memory_type}, ptr {place}, align 1, !tbaa !1{site}")
    if vector:
        vector = shaped(lowering, vector, row.shape)
    result = _finish(lowering, row, [loaded, vector, ""], str(lane), site, hide=not anchored)
    if anchored:
        lowering.anchor(result, V128)
    values.append(result)


def _store(lowering: VectorEmitter, row: Op, lane: int, memory_index: int, offset: int, at: int) -> None:
    """A store of a vector or of one lane."""
    value = lowering.values.pop()
    address = lowering.values.pop()
    place = memory.pointer(lowering, memory_index, address, offset, row.access_bytes, at)
    if "lane" in row.immediates:
        value = _finish(lowering, row, [shaped(lowering, value, row.shape), "", ""], str(lane))
    lowering.lines.append(
        f"  store {lowering.volatile}{row.memory_type} {value}, ptr {place}, align 1, !tbaa !1{lowering.debug(at)}"
    )
