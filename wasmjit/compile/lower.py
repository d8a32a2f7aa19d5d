"""Instructions whose lowering is more than a line of the table, and the renderers of those lines."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable

from ..wasm.ops import ATOMIC, COMPARISON, CONDITION, LOAD, MAKES_NANS, OPS, SPECIAL, STORE, VECTOR, Op
from ..wasm.types import EXNREF, EXTERNREF, F32, F64, FUNCREF, I32, I64, NULLEXNREF, V128, by_type, llvm_type
from .anchors import AnchoringEmitter
from .patterns import late
from .unit_state import UnitState

zero: Callable[[int], str] = by_type(
    {
        I32: "0",
        I64: "0",
        F32: "0.0",
        F64: "0.0",
        V128: "zeroinitializer",
        FUNCREF: "null",
        EXTERNREF: "null",
        EXNREF: "null",
        NULLEXNREF: "null",
    }
)

_CANONICAL_NANS = {"float": ("i32", 0x7FC00000), "double": ("i64", 0x7FF8000000000000)}


def canonical_text(result: str, raw: str, llvm: str) -> str:
    """`result` is `raw`, or the canonical NaN if that is a NaN: chosen as integers, to LLVM all float NaNs are one."""
    integer, bits = _CANONICAL_NANS[llvm]
    return (
        f"{result}n = fcmp uno {llvm} {raw}, {raw}; {result}i = bitcast {llvm} {raw} to {integer}; "
        f"{result}s = select i1 {result}n, {integer} {bits}, {integer} {result}i; "
        f"{result} = bitcast {integer} {result}s to {llvm}"
    )


# From (result, a, b) to IR text; `b` is empty where there is one operand.
Render = Callable[[str, str, str], str]


def is_text(op: Op) -> bool:
    """Whether a row's lowering is a text."""
    return op.kind not in (SPECIAL, VECTOR, LOAD, STORE, ATOMIC) and not op.lowering.startswith("@")


class Renderers(dict[int, Render]):
    """By opcode, of rows that are a text; the result of a comparison is an i1.

    The table's texts become f-strings, as formatting is what IR generation spends its time on: each when it is first
    used, since all of them take as long as importing half of the compiler.
    """

    def __init__(self, canonical: bool) -> None:
        super().__init__()
        self._canonical = canonical

    def __missing__(self, code: int) -> Render:
        op = OPS[code]
        if not is_text(op):
            raise KeyError(code)
        text = op.lowering.lstrip("?~")
        if op.kind in (COMPARISON, CONDITION):
            text = "{r} = " + text
        if self._canonical and code in MAKES_NANS:
            llvm = llvm_type(op.result)
            text = text.replace("{r} =", "{r}x =")
            raw = "{r}x"
            if op.name.endswith("sqrt"):  # LLVM finds that sqrt is NaN where its operand is below 0, and folds the rest
                text += f"; {{r}}f = call {llvm} @llvm.arithmetic.fence.{op.name[:3]}({llvm} {{r}}x)"
                raw = "{r}f"
            text += "; " + canonical_text("{r}", raw, llvm)
        source = "\\n".join("  " + line.strip() for line in text.split(";"))
        render: Render = eval(f'lambda r, a, b: f"{source}"')
        self[code] = render
        return render


TEMPLATES = Renderers(canonical=False)


@functools.cache
def templates(canonical: bool) -> Renderers:
    """The renderers with or without Config.nan_canonicalization."""
    return Renderers(canonical=True) if canonical else TEMPLATES


class NumericEmitter(AnchoringEmitter):
    """The text of a function, and what it knows of the numbers in it."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.promoted: set[str] = set()  # results of f64.promote_f32
        self.constants: set[str] = set()  # that LLVM puts into memory


# ---- floating point that LLVM folds without quietening a signalling NaN ----

_ONE = ("0x3FF0000000000000", "0xBFF0000000000000")
_ZERO = ("0.0", "0x0000000000000000", "0x8000000000000000")


def opaque(lowering: AnchoringEmitter, value: str, llvm: str, site: str = "") -> str:
    """A copy of `value` that LLVM knows nothing about; it costs no instruction. `site` is its debug location."""
    name = lowering.fresh()
    register = lowering.unit.float_register
    lowering.lines.append(f'  {name} = call {llvm} asm "", "={register},0"({llvm} {value}) #2{site}')
    return name


def hide_constants(lowering: NumericEmitter, row: Op, a: str, b: str) -> tuple[str, str]:
    """Hides the constants of x * 1, x / 1, x + -0, x - 0, -0 - x, which LLVM folds to x or -x.

    LLVM may treat a signalling NaN as a quiet one; wasm requires a quiet result (spec 4.3.3, nan propagation).
    """
    hidden = _ONE if row.name[4:] in ("mul", "div") else _ZERO
    llvm = llvm_type(row.result)
    if a in hidden:
        a = opaque(lowering, a, llvm)
    if b in hidden:
        b = opaque(lowering, b, llvm)
    return a, b


def promote(lowering: NumericEmitter, row: Op, a: str, b: str, at: int) -> str:
    """f64.promote_f32; remembered, because LLVM folds a demotion of it."""
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = fpext float {a} to double")
    lowering.promoted.add(name)
    return name


def demote(lowering: NumericEmitter, row: Op, a: str, b: str, at: int) -> str:
    """f32.demote_f64."""
    if a in lowering.promoted:
        a = opaque(lowering, a, "double")
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = fptrunc double {a} to float")
    return name


def minimum_maximum(lowering: NumericEmitter, row: Op, a: str, b: str, at: int) -> str:
    """min and max: NaN if an operand is NaN (quiet, hence the addition), and -0 < +0."""
    name = lowering.fresh()
    llvm = llvm_type(row.result)
    bits = row.name[1:3]
    which = "minimum" if row.name.endswith("min") else "maximum"
    lowering.lines.append(
        f"  {name}u = fcmp uno {llvm} {a}, {b}\n"
        f"  {name}q = fadd {llvm} {a}, {b}\n"
        f"  {name}m = call {llvm} @llvm.{which}.f{bits}({llvm} {a}, {llvm} {b})\n"
        f"  {name} = select i1 {name}u, {llvm} {name}q, {llvm} {name}m"
    )
    return name


# ---- integers ----


def divide(lowering: NumericEmitter, row: Op, a: str, b: str, at: int) -> str:
    """div and rem: LLVM's are undefined where wasm traps, and for the remainder of MIN by -1."""
    llvm = llvm_type(row.result)
    operation = {"div_s": "sdiv", "div_u": "udiv", "rem_s": "srem", "rem_u": "urem"}[row.name[4:]]
    lowering.anchor_values((a,), row.params)  # all behind the checks is dead if LLVM finds that they always trap
    lowering.anchor_waiting(operands=1)
    b = lowering.fetched_once(b, llvm)  # the processor traps by itself, too
    constant = None if b[0] == "%" or b == "poison" else int(b)
    if operation == "sdiv" and constant in (None, -1):
        a = lowering.fetched_once(a, llvm)
    if constant is None or constant == 0:
        zero = lowering.fresh()
        lowering.lines.append(f"  {zero} = icmp eq {llvm} {b}, 0")
        lowering.trap_if(zero, "INTEGER_DIVISION_BY_ZERO", at)
    if operation in ("sdiv", "srem") and constant in (None, -1):
        minus_one = lowering.fresh()
        lowering.lines.append(f"  {minus_one} = icmp eq {llvm} {b}, -1")
        if operation == "sdiv":
            minimum = -(1 << (31 if llvm == "i32" else 63))
            overflow = lowering.fresh()
            lowering.lines.append(
                f"  {overflow}m = icmp eq {llvm} {a}, {minimum}\n  {overflow} = and i1 {overflow}m, {minus_one}"
            )
            lowering.trap_if(overflow, "INTEGER_OVERFLOW", at)
        else:
            divisor = lowering.fresh()
            lowering.lines.append(f"  {divisor} = select i1 {minus_one}, {llvm} 1, {llvm} {b}")
            b = divisor
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = {operation} {llvm} {a}, {b}")
    return name


def wide_arithmetic(lowering: NumericEmitter, name: str) -> None:
    """add128, sub128 and mul_wide: pops 64-bit halves (low, high, ...), pushes low and high half of the result."""
    values = lowering.values
    count = 2 if name.startswith("mul") else 4
    operands = values[-count:]
    del values[-count:]
    result = lowering.fresh()
    lines = lowering.lines
    if count == 2:
        extend, operation = ("sext" if name.endswith("_s") else "zext"), "mul"
        for part, value in zip("ab", operands, strict=True):
            lines.append(f"  {result}{part} = {extend} i64 {value} to i128")
    else:
        operation = name.removesuffix("128")
        for part, low, high in zip("ab", operands[::2], operands[1::2], strict=True):
            lines.append(
                f"  {result}{part}l = zext i64 {low} to i128\n  {result}{part}h = zext i64 {high} to i128\n"
                f"  {result}{part}s = shl nuw i128 {result}{part}h, 64\n"
                f"  {result}{part} = or disjoint i128 {result}{part}s, {result}{part}l"
            )
    lines.append(
        f"  {result}r = {operation} i128 {result}a, {result}b\n  {result}lo = trunc i128 {result}r to i64\n"
        f"  {result}s = lshr i128 {result}r, 64\n  {result}hi = trunc i128 {result}s to i64"
    )
    values += (f"{result}lo", f"{result}hi")
    if lowering.tainted.isdisjoint(operands):
        return
    # LLVM folds x * 0 and x - x; in all other cases a half that is dropped is anchored as any tainted value is.
    if (count == 2 and "0" in operands) or len(set(operands)) < count:
        lowering.anchor_values(operands, (I64,) * count)
    lowering.tainted.update(values[-2:])


# (source, result, signed) -> exclusive bounds of what truncates into range, as LLVM constants exact in the source type.
_TRUNCATE_BOUNDS = {
    (F32, I32, True): ("0xC1E0000020000000", "0x41E0000000000000"),  # -2147483904, 2147483648
    (F32, I32, False): ("0xBFF0000000000000", "0x41F0000000000000"),  # -1, 4294967296
    (F64, I32, True): ("0xC1E0000000200000", "0x41E0000000000000"),  # -2147483649, 2147483648
    (F64, I32, False): ("0xBFF0000000000000", "0x41F0000000000000"),
    (F32, I64, True): ("0xC3E0000020000000", "0x43E0000000000000"),  # next below -2^63 in f32, 2^63
    (F32, I64, False): ("0xBFF0000000000000", "0x43F0000000000000"),  # -1, 2^64
    (F64, I64, True): ("0xC3E0000000000001", "0x43E0000000000000"),  # next below -2^63 in f64, 2^63
    (F64, I64, False): ("0xBFF0000000000000", "0x43F0000000000000"),
}


def truncate(lowering: NumericEmitter, row: Op, a: str, b: str, at: int) -> str:
    """iNN.trunc_fMM: LLVM's conversion is poison out of range, so the range is checked first."""
    source = row.params[0]
    signed = row.name.endswith("_s")
    low, high = _TRUNCATE_BOUNDS[source, row.result, signed]
    llvm = llvm_type(source)
    name = lowering.fresh()
    lowering.anchor_waiting(operands=1)
    lowering.counter += 1
    failed, passed = f"t{lowering.counter}", f"k{lowering.counter}"
    lowering.lines.append(
        f"  {name}l = fcmp ogt {llvm} {a}, {low}\n"
        f"  {name}h = fcmp olt {llvm} {a}, {high}\n"
        f"  {name}o = and i1 {name}l, {name}h\n"
        f"  br i1 {name}o, label %{passed}, label %{failed}, !prof !4\n{passed}:"
    )
    lowering.current = passed
    overflow = lowering.trap_block("INTEGER_OVERFLOW", at)
    invalid = lowering.trap_block("BAD_CONVERSION_TO_INTEGER", at)
    lowering.cold.append(
        f"{failed}:\n  {name}n = fcmp uno {llvm} {a}, {a}\n  br i1 {name}n, label %{invalid}, label %{overflow}"
    )
    conversion = "fptosi" if signed else "fptoui"
    lowering.lines.append(f"  {name} = {conversion} {llvm} {a} to {llvm_type(row.result)}")
    return name


IRREGULAR: dict[str, Callable[[NumericEmitter, Op, str, str, int], str]] = {
    "@divide": divide,
    "@truncate": truncate,
    "@promote": promote,
    "@demote": demote,
    "@minimum_maximum": minimum_maximum,
}


# ---- functions that are large ----

_MOST_CONSTANTS = 4_000
_LOCAL_ACCESS = late(r"^  (%\w+ = load|store)( .*, ptr %l(\d+))$", re.MULTILINE)


def constant_in_memory(lowering: NumericEmitter, text: str, valtype: int, bits: int) -> str:
    """A constant that is no operand of an instruction, as a value. LLVM looks through all of a function for each."""
    known = lowering.constants
    if bits == 0 or text in known:
        return text
    if len(known) < _MOST_CONSTANTS:
        known.add(text)
        return text
    name = lowering.fresh()
    constants = lowering.unit.constants
    place = f"getelementptr (i8, ptr @wj_constants, i64 {16 * len(constants)})"
    constants.append(bits)
    # LLVM would make a constant of its own of what it knows to be read from one.
    lowering.lines.append(f"  {name} = load volatile {llvm_type(valtype)}, ptr {place}, align 16")
    return name


def demote_locals(text: str, most_promoted: int) -> str:
    """Leaves all but the most used locals in the stack frame, where a function is so large that LLVM, which makes
    phis of them at each join, would take time and memory by their number squared. It lets volatile ones alone.
    """
    accesses = Counter(int(match[3]) for match in _LOCAL_ACCESS.finditer(text))
    promoted = {index for index, _ in accesses.most_common(most_promoted)}

    def demote(match: re.Match[str]) -> str:
        return match[0] if int(match[3]) in promoted else f"  {match[1]} volatile{match[2]}"

    return _LOCAL_ACCESS.sub(demote, text)
