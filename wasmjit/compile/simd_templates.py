"""The templates that vector rows of the opcode table name (``@name p``): LLVM IR, for some instructions by processor.

`render_source` fills in what a row settles: {s} {d} {t} {m} {e} {p} as the table has them, and
  {x} {y}        suffixes of intrinsics over operand and result type: v16i8
  {w} {i}        the operand's lanes at twice their width; as integers
  {h} {g}        half of the operand's, of the result's lanes
  {low} {high}   shuffle masks of the operand's halves; {first}: lane 0 for all
  {n} {bits}     number of operand lanes, their width
  {nan}          the canonical NaN of the operand's lanes, as an integer

The x86-64 ones name instructions of up to SSE4.1 by intrinsic where LLVM does not find them by itself: every x86-64-v2
processor has those. All follow section 4.3 of the specification; the relaxed ones are as wasmtime's, and are replaced
by those of `DETERMINISTIC` where the Config says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..wasm.ops import Op
from ..wasm.vectors import LANES
from .patterns import late

LANE_TYPES = {"i8x16": "i8", "i16x8": "i16", "i32x4": "i32", "i64x2": "i64", "f32x4": "float", "f64x2": "double"}
LANE_BITS = {shape: 128 // lanes for shape, lanes in LANES.items()}
_CANONICAL_NANS = {32: 0x7FC00000, 64: 0x7FF8000000000000}
# 2^31, 2^31 - 1, 2^32 - 1, 2^52
_TWO_31, _MAX_S32, _MAX_U32, _TWO_52 = (
    "0x41E0000000000000",
    "0x41DFFFFFFFC00000",
    "0x41EFFFFFFFE00000",
    "0x4330000000000000",
)
_CVTTPS = "call <4 x i32> @llvm.x86.sse2.cvttps2dq(<4 x float> "
_TO_FRONT = "<4 x i32> <i32 0, i32 1, i32 2, i32 3>"


def _narrowing(x86: str, aarch64: str) -> tuple[str, str]:
    """Two vectors to one of half as wide lanes, with saturation."""
    return (
        f"{{r}} = call {{d}} @llvm.x86.{x86}({{s}} {{a}}, {{s}} {{b}})",
        f"{{r}}l = call {{g}} @llvm.aarch64.neon.{aarch64}({{s}} {{a}}); "
        f"{{r}}h = call {{g}} @llvm.aarch64.neon.{aarch64}({{s}} {{b}}); "
        "{r} = shufflevector {g} {r}l, {g} {r}h, {both}",
    )


def _half(mask: str) -> str:
    """Lanes of one half, widened by {p}."""
    return f"{{r}}h = shufflevector {{s}} {{a}}, {{s}} poison, {mask}; {{r}} = {{p}} {{h}} {{r}}h to {{d}}"


def _product(mask: str) -> str:
    """Products of the lanes of one half, widened by {p}."""
    return (
        f"{{r}}ah = shufflevector {{s}} {{a}}, {{s}} poison, {mask}; {{r}}aw = {{p}} {{h}} {{r}}ah to {{d}}; "
        f"{{r}}bh = shufflevector {{s}} {{b}}, {{s}} poison, {mask}; {{r}}bw = {{p}} {{h}} {{r}}bh to {{d}}; "
        "{r} = mul {d} {r}aw, {r}bw"
    )


def _extremum(name: str, merge: str) -> str:
    """minps gives its second operand for NaN and for zeros of either sign: both orders agree but for zeros and NaN."""
    return (
        f"{{r}}u = call {{s}} @llvm.x86.{{{name}}}({{s}} {{a}}, {{s}} {{b}}); "
        f"{{r}}v = call {{s}} @llvm.x86.{{{name}}}({{s}} {{b}}, {{s}} {{a}}); "
        "{r}x = bitcast {s} {r}u to {i}; {r}y = bitcast {s} {r}v to {i}; "
        f"{{r}}z = {merge} {{i}} {{r}}x, {{r}}y; {{r}}n = fcmp uno {{s}} {{a}}, {{b}}; "
        "{r}k = select {m} {r}n, {i} splat ({k} {nan}), {i} {r}z; {r} = bitcast {i} {r}k to {d}"
    )


_SATURATE_F32_S = (
    "{r}o = fcmp ord {s} {a}, {a}; {r}z = select {m} {r}o, {s} {a}, {s} zeroinitializer; "
    f"{{r}}c = {_CVTTPS}{{r}}z); {{r}}b = fcmp oge {{s}} {{r}}z, splat (float {_TWO_31}); "
    "{r}x = sext {m} {r}b to {d}; {r} = xor {d} {r}c, {r}x"
)
# What exceeds 2^31 is converted apart, less 2^31, and added; both parts saturate.
_SATURATE_F32_U = (
    "{r}p = fcmp ogt {s} {a}, zeroinitializer; {r}q = select {m} {r}p, {s} {a}, {s} zeroinitializer; "
    f"{{r}}t = fsub {{s}} {{r}}q, splat (float {_TWO_31}); {{r}}g = fcmp oge {{s}} {{r}}t, splat (float {_TWO_31}); "
    f"{{r}}k = sext {{m}} {{r}}g to {{d}}; {{r}}c = {_CVTTPS}{{r}}t); {{r}}x = xor {{d}} {{r}}c, {{r}}k; "
    "{r}y = call {d} @llvm.smax.v4i32({d} {r}x, {d} zeroinitializer); "
    f"{{r}}v = {_CVTTPS}{{r}}q); {{r}} = add {{d}} {{r}}v, {{r}}y"
)
_SATURATE_F64_S = (
    f"{{r}}o = fcmp ord {{s}} {{a}}, {{a}}; {{r}}z = select <2 x i1> {{r}}o, {{s}} splat (double {_MAX_S32}), "
    "{s} zeroinitializer; {r}p = fcmp olt {s} {a}, {r}z; {r}q = select <2 x i1> {r}p, {s} {a}, {s} {r}z; "
    "{r} = call {d} @llvm.x86.sse2.cvttpd2dq({s} {r}q)"
)
# The sum with 2^52 has the integer in the low half of its mantissa.
_SATURATE_F64_U = (
    "{r}p = fcmp ogt {s} {a}, zeroinitializer; {r}q = select <2 x i1> {r}p, {s} {a}, {s} zeroinitializer; "
    f"{{r}}t = fcmp olt {{s}} {{r}}q, splat (double {_MAX_U32}); "
    f"{{r}}u = select <2 x i1> {{r}}t, {{s}} {{r}}q, {{s}} splat (double {_MAX_U32}); "
    f"{{r}}v = call {{s}} @llvm.trunc.v2f64({{s}} {{r}}u); {{r}}w = fadd {{s}} {{r}}v, splat (double {_TWO_52}); "
    "{r}i = bitcast {s} {r}w to {d}; "
    "{r} = shufflevector {d} {r}i, {d} zeroinitializer, <4 x i32> <i32 0, i32 2, i32 4, i32 4>"
)


def _truncate_f64(conversion: str, narrow: str) -> str:
    """AArch64: to 64 bits, then to 32, both saturating."""
    return (
        f"{{r}}w = call <2 x i64> @llvm.{conversion}.sat.v2i64.v2f64({{s}} {{a}}); "
        f"{{r}}n = call <2 x i32> @llvm.aarch64.neon.{narrow}.v2i32(<2 x i64> {{r}}w); "
        f"{{r}} = shufflevector <2 x i32> {{r}}n, <2 x i32> zeroinitializer, {_TO_FRONT}"
    )


_SIGNED_DOT = (
    "{r}al = shufflevector {s} {a}, {s} poison, {low}; {r}ah = shufflevector {s} {a}, {s} poison, {high}; "
    "{r}bl = shufflevector {s} {b}, {s} poison, {low}; {r}bh = shufflevector {s} {b}, {s} poison, {high}; "
    "{r}cl = sext {h} {r}al to {W}; {r}ch = sext {h} {r}ah to {W}; "
    "{r}dl = sext {h} {r}bl to {W}; {r}dh = sext {h} {r}bh to {W}; "
    "{r}pl = mul {W} {r}cl, {r}dl; {r}ph = mul {W} {r}ch, {r}dh; "
    "{r}pe = shufflevector {W} {r}pl, {W} {r}ph, {even}; {r}po = shufflevector {W} {r}pl, {W} {r}ph, {odd}; "
    "{r}D = add {W} {r}pe, {r}po"
)
_BITSELECT = (
    "{r}x = and {s} {a}, {c}; {r}n = xor {s} {c}, splat ({e} -1); {r}y = and {s} {b}, {r}n; {r} = or {s} {r}x, {r}y"
)
_SHIFT = (
    "{amount}; {r}i = insertelement {s} poison, {e} {r}m, i64 0; "
    "{r}v = shufflevector {s} {r}i, {s} poison, {first}; {r} = {p} {s} {a}, {r}v"
)
_BY_SIGN = "{r}c = icmp slt {s} {c}, zeroinitializer; {r} = select {m} {r}c, {s} {a}, {s} {b}"
_TABLE = "{r} = call {d} @llvm.aarch64.neon.tbl1.v16i8({s} {a}, {s} {b})"
# LLVM must not make one instruction of pmaddwd and an addition behind it (vpdpwssd of VNNI): in a loop that sums up,
# each addition would wait five cycles for the one before, not one.
_HIDDEN_SUMS = 'call {d} asm "", "=x,0"({d} {r}H) #2'
_PMADDWD = "{r}H = call {d} @llvm.x86.sse2.pmadd.wd(<8 x i16> {r}D, <8 x i16> splat (i16 1)); {r}S = " + _HIDDEN_SUMS
_SADDLP = "{r}S = call {d} @llvm.aarch64.neon.saddlp.v4i32.v8i16(<8 x i16> {r}D)"
_PMADDUBSW = "{r}D = call <8 x i16> @llvm.x86.ssse3.pmadd.ub.sw.128({s} {b}, {s} {a})"


def _hidden(text: str) -> str:
    """`text` with a result that LLVM does not know as one of pmaddwd."""
    return text.replace("{r} =", "{r}H =") + "; {r} = " + _HIDDEN_SUMS


def _sum(pairs: str) -> str:
    """Adds pairs of {r}D, widened, and {c}."""
    return f"; {pairs}; {{r}} = add {{d}} {{r}}S, {{c}}"


# name -> for both processors, or (x86-64, AArch64)
TEMPLATES: dict[str, str | tuple[str, str]] = {
    # lanes
    "splat": "{r}i = insertelement {d} poison, {e} {a}, i64 0; {r} = shufflevector {d} {r}i, {d} poison, {first}",
    "splat_narrow": "{r}t = trunc i32 {a} to {e}; {r}i = insertelement {d} poison, {e} {r}t, i64 0; "
    "{r} = shufflevector {d} {r}i, {d} poison, {first}",
    "shuffle": "{r} = shufflevector {s} {a}, {s} {b}, <16 x i32> {l}",
    "swizzle": (
        # pshufb gives 0 where bit 7 of the index is set: 16 to 143 get it by the addition, the rest have it.
        "{r}i = call {s} @llvm.uadd.sat.{x}({s} {b}, {s} splat (i8 112)); "
        "{r} = call {s} @llvm.x86.ssse3.pshuf.b.128({s} {a}, {s} {r}i)",
        _TABLE,
    ),
    "extract": "{r} = extractelement {s} {a}, i64 {l}",
    "extract_narrow": "{r}e = extractelement {s} {a}, i64 {l}; {r} = {p} {e} {r}e to i32",
    "replace": "{r} = insertelement {s} {a}, {e} {b}, i64 {l}",
    "replace_narrow": "{r}t = trunc i32 {b} to {e}; {r} = insertelement {s} {a}, {e} {r}t, i64 {l}",
    "load_lane": "{r} = insertelement {s} {b}, {e} {a}, i64 {l}",
    "load_zero": "{r} = insertelement {s} zeroinitializer, {e} {a}, i64 0",
    # bits
    "and_not": "{r}n = xor {s} {b}, splat ({e} -1); {r} = and {s} {a}, {r}n",
    "bitselect": _BITSELECT,
    "any_true": (
        "{r}w = bitcast {s} {a} to i128; {r}c = icmp ne i128 {r}w, 0; {r} = zext i1 {r}c to i32",
        "{r}w = call i32 @llvm.vector.reduce.umax.{x}({s} {a}); {r}c = icmp ne i32 {r}w, 0; {r} = zext i1 {r}c to i32",
    ),
    "all_true": (
        "{r}e = icmp eq {s} {a}, zeroinitializer; {r}x = sext <{n} x i1> {r}e to {s}; {r}w = bitcast {s} {r}x to i128; "
        "{r}c = icmp eq i128 {r}w, 0; {r} = zext i1 {r}c to i32",
        "{r}w = call {e} @llvm.vector.reduce.umin.{x}({s} {a}); {r}c = icmp ne {e} {r}w, 0; {r} = zext i1 {r}c to i32",
    ),
    "all_true_64": (
        "{r}e = icmp eq {s} {a}, zeroinitializer; {r}x = sext <{n} x i1> {r}e to {s}; {r}w = bitcast {s} {r}x to i128; "
        "{r}c = icmp eq i128 {r}w, 0; {r} = zext i1 {r}c to i32",
        "{r}e = icmp eq {s} {a}, zeroinitializer; {r}x = sext <{n} x i1> {r}e to {s}; "
        "{r}w = call {e} @llvm.vector.reduce.add.{x}({s} {r}x); {r}c = icmp eq {e} {r}w, 0; {r} = zext i1 {r}c to i32",
    ),
    "bitmask": "{r}n = icmp slt {s} {a}, zeroinitializer; {r}b = bitcast <{n} x i1> {r}n to i{n}; "
    "{r} = zext i{n} {r}b to i32",
    # integers
    "abs": "{r} = call {d} @llvm.abs.{x}({s} {a}, i1 false)",
    "shift": _SHIFT,
    # 8-bit lanes on x86-64: in the high halves of 16-bit ones.
    "shift_8_right": (
        "{r}m = and i32 {b}, 7; {r}n = add i32 {r}m, 8; {r}t = trunc i32 {r}n to i16; "
        "{r}i = insertelement {W} poison, i16 {r}t, i64 0; "
        "{r}v = shufflevector {W} {r}i, {W} poison, <8 x i32> zeroinitializer; "
        "{r}l = shufflevector {s} {a}, {s} poison, {twice_low}; "
        "{r}h = shufflevector {s} {a}, {s} poison, {twice_high}; "
        "{r}wl = bitcast {s} {r}l to {W}; {r}wh = bitcast {s} {r}h to {W}; "
        "{r}sl = ashr {W} {r}wl, {r}v; {r}sh = ashr {W} {r}wh, {r}v; "
        "{r} = call {d} @llvm.x86.sse2.packsswb.128({W} {r}sl, {W} {r}sh)",
        _SHIFT,
    ),
    "average": "{r}a = zext {s} {a} to {w}; {r}b = zext {s} {b} to {w}; {r}s = add {w} {r}a, {r}b; "
    "{r}u = add {w} {r}s, splat (i{double} 1); {r}h = lshr {w} {r}u, splat (i{double} 1); {r} = trunc {w} {r}h to {d}",
    "extend_low": _half("{low}"),
    "extend_high": _half("{high}"),
    "multiply_low": _product("{low}"),
    "multiply_high": _product("{high}"),
    "multiply_low_16_s": (_hidden(_product("{low}")), _product("{low}")),
    "multiply_high_16_s": (_hidden(_product("{high}")), _product("{high}")),
    "pairwise_8_s": (
        "{r} = call {d} @llvm.x86.ssse3.pmadd.ub.sw.128({s} splat (i8 1), {s} {a})",
        "{r} = call {d} @llvm.aarch64.neon.saddlp.v8i16.v16i8({s} {a})",
    ),
    "pairwise_8_u": (
        "{r} = call {d} @llvm.x86.ssse3.pmadd.ub.sw.128({s} {a}, {s} splat (i8 1))",
        "{r} = call {d} @llvm.aarch64.neon.uaddlp.v8i16.v16i8({s} {a})",
    ),
    "pairwise_16_s": (
        _hidden("{r} = call {d} @llvm.x86.sse2.pmadd.wd({s} {a}, {s} splat (i16 1))"),
        "{r} = call {d} @llvm.aarch64.neon.saddlp.v4i32.v8i16({s} {a})",
    ),
    "pairwise_16_u": (
        "{r}w = bitcast {s} {a} to {d}; {r}e = and {d} {r}w, splat (i32 65535); {r}o = lshr {d} {r}w, splat (i32 16); "
        "{r} = add {d} {r}e, {r}o",
        "{r} = call {d} @llvm.aarch64.neon.uaddlp.v4i32.v8i16({s} {a})",
    ),
    "dot": (
        _hidden("{r} = call {d} @llvm.x86.sse2.pmadd.wd({s} {a}, {s} {b})"),
        _SIGNED_DOT.replace("{r}D", "{r}"),
    ),
    "narrow_16_s": _narrowing("sse2.packsswb.128", "sqxtn.v8i8"),
    "narrow_16_u": _narrowing("sse2.packuswb.128", "sqxtun.v8i8"),
    "narrow_32_s": _narrowing("sse2.packssdw.128", "sqxtn.v4i16"),
    "narrow_32_u": _narrowing("sse41.packusdw", "sqxtun.v4i16"),
    "q15mulr_sat": (
        # pmulhrsw overflows for -1 * -1 only.
        "{r}p = call {s} @llvm.x86.ssse3.pmul.hr.sw.128({s} {a}, {s} {b}); "
        "{r}c = icmp eq {s} {r}p, splat (i16 -32768); "
        "{r}x = sext {m} {r}c to {s}; {r} = xor {s} {r}p, {r}x",
        "{r} = call {s} @llvm.aarch64.neon.sqrdmulh.v8i16({s} {a}, {s} {b})",
    ),
    # floating point
    "pseudo_minimum": (
        "{r} = call {s} @llvm.x86.{minp}({s} {b}, {s} {a})",
        "{r}c = fcmp olt {s} {b}, {a}; {r} = select {m} {r}c, {s} {b}, {s} {a}",
    ),
    "pseudo_maximum": (
        "{r} = call {s} @llvm.x86.{maxp}({s} {b}, {s} {a})",
        "{r}c = fcmp ogt {s} {b}, {a}; {r} = select {m} {r}c, {s} {b}, {s} {a}",
    ),
    "minimum": (_extremum("minp", "or"), "{r} = call {d} @llvm.minimum.{x}({s} {a}, {s} {b})"),
    "maximum": (_extremum("maxp", "and"), "{r} = call {d} @llvm.maximum.{x}({s} {a}, {s} {b})"),
    "demote": "{r}h = fptrunc {s} {a} to <2 x float>; "
    f"{{r}} = shufflevector <2 x float> {{r}}h, <2 x float> zeroinitializer, {_TO_FRONT}",
    "promote_low": "{r}h = shufflevector {s} {a}, {s} poison, {low}; {r} = fpext {h} {r}h to {d}",
    "convert_low": _half("{low}"),
    "truncate_f32_s": (_SATURATE_F32_S, "{r} = call {d} @llvm.fptosi.sat.{y}.{x}({s} {a})"),
    "truncate_f32_u": (_SATURATE_F32_U, "{r} = call {d} @llvm.fptoui.sat.{y}.{x}({s} {a})"),
    "truncate_f64_s": (_SATURATE_F64_S, _truncate_f64("fptosi", "sqxtn")),
    "truncate_f64_u": (_SATURATE_F64_U, _truncate_f64("fptoui", "uqxtn")),
    # relaxed
    "relaxed_swizzle": ("{r} = call {s} @llvm.x86.ssse3.pshuf.b.128({s} {a}, {s} {b})", _TABLE),
    "relaxed_truncate_f32_s": (f"{{r}} = {_CVTTPS}{{a}})", "{r} = call {d} @llvm.fptosi.sat.{y}.{x}({s} {a})"),
    "relaxed_truncate_f32_u": (_SATURATE_F32_U, "{r} = call {d} @llvm.fptoui.sat.{y}.{x}({s} {a})"),
    "relaxed_truncate_f64_s": (
        "{r} = call {d} @llvm.x86.sse2.cvttpd2dq({s} {a})",
        _truncate_f64("fptosi", "sqxtn"),
    ),
    "relaxed_truncate_f64_u": (_SATURATE_F64_U, _truncate_f64("fptoui", "uqxtn")),
    # Fused where the processor can.
    "relaxed_madd": "{r} = call {d} @llvm.fmuladd.{x}({s} {a}, {s} {b}, {s} {c})",
    "relaxed_nmadd": "{r}n = fneg {s} {a}; {r} = call {d} @llvm.fmuladd.{x}({s} {r}n, {s} {b}, {s} {c})",
    "relaxed_laneselect": (_BY_SIGN, _BITSELECT),
    "relaxed_laneselect_16": _BITSELECT,  # no x86-64 instruction selects 16-bit lanes by their sign
    "relaxed_minimum": (
        "{r} = call {s} @llvm.x86.{minp}({s} {b}, {s} {a})",
        "{r} = call {d} @llvm.minimum.{x}({s} {a}, {s} {b})",
    ),
    "relaxed_maximum": (
        "{r} = call {s} @llvm.x86.{maxp}({s} {b}, {s} {a})",
        "{r} = call {d} @llvm.maximum.{x}({s} {a}, {s} {b})",
    ),
    "relaxed_q15mulr": (
        "{r} = call {s} @llvm.x86.ssse3.pmul.hr.sw.128({s} {a}, {s} {b})",
        "{r} = call {s} @llvm.aarch64.neon.sqrdmulh.v8i16({s} {a}, {s} {b})",
    ),
    "relaxed_dot": (_PMADDUBSW.replace("{r}D", "{r}"), _SIGNED_DOT.replace("{r}D", "{r}")),
    "relaxed_dot_add": (_PMADDUBSW + _sum(_PMADDWD), _SIGNED_DOT + _sum(_SADDLP)),
    # deterministic
    "fused_madd": "{r} = call {d} @llvm.fma.{x}({s} {a}, {s} {b}, {s} {c})",
    "fused_nmadd": "{r}n = fneg {s} {a}; {r} = call {d} @llvm.fma.{x}({s} {r}n, {s} {b}, {s} {c})",
    "signed_dot": _SIGNED_DOT.replace("{r}D", "{r}"),
    "signed_dot_add": (_SIGNED_DOT + _sum(_PMADDWD), _SIGNED_DOT + _sum(_SADDLP)),
}

# Config.wasm_relaxed_simd_deterministic: what stands for a relaxed instruction.
DETERMINISTIC = {
    "relaxed_swizzle": "swizzle",
    "relaxed_truncate_f32_s": "truncate_f32_s",
    "relaxed_truncate_f32_u": "truncate_f32_u",
    "relaxed_truncate_f64_s": "truncate_f64_s",
    "relaxed_truncate_f64_u": "truncate_f64_u",
    "relaxed_madd": "fused_madd",
    "relaxed_nmadd": "fused_nmadd",
    "relaxed_laneselect": "bitselect",
    "relaxed_laneselect_16": "bitselect",
    "relaxed_minimum": "minimum",
    "relaxed_maximum": "maximum",
    "relaxed_q15mulr": "q15mulr_sat",
    "relaxed_dot": "signed_dot",
    "relaxed_dot_add": "signed_dot_add",
}
_MAKES_NANS = frozenset(
    """add sub mul div sqrt ceil floor trunc nearest min max demote_f64x2_zero promote_low_f32x4 relaxed_madd
    relaxed_nmadd""".split()
)
_PICKS_NANS = frozenset(("relaxed_min", "relaxed_max"))  # on x86-64 these give an operand as it is
_PLACEHOLDER = late(r"\{(\w+)\}")
_OPEN = frozenset("rabcl")  # filled in anew each time


def _mask(lanes: Sequence[int]) -> str:
    return f"<{len(lanes)} x i32> <{', '.join(f'i32 {lane}' for lane in lanes)}>"


def _suffix(shape: str) -> str:
    return f"v{LANES[shape]}{shape[0]}{LANE_BITS[shape]}"


def _shift_amount(lane: str, bits: int) -> str:
    """{r}m is {b} modulo the width of a lane, in the lane's type."""
    if bits == 32:
        return "{r}m = and i32 {b}, 31"
    conversion = "zext" if bits == 64 else "trunc"
    return f"{{r}}t = {conversion} i32 {{b}} to {lane}; {{r}}m = and {lane} {{r}}t, {bits - 1}"


def _placeholders(op: Op, parameter: str) -> dict[str, str]:
    """What a row settles: see the module's docstring."""
    lanes, bits, lane = LANES[op.shape], LANE_BITS[op.shape], LANE_TYPES[op.shape]
    result_lanes = LANES[op.result_shape]
    return {
        "s": f"<{lanes} x {lane}>",
        "d": f"<{result_lanes} x {LANE_TYPES[op.result_shape]}>",
        "t": op.memory_type,
        "m": f"<{result_lanes} x i1>",
        "e": lane,
        "p": parameter,
        "x": _suffix(op.shape),
        "y": _suffix(op.result_shape),
        "w": f"<{lanes} x i{2 * bits}>",
        "W": f"<{lanes // 2} x i{2 * bits}>",
        "i": f"<{lanes} x i{bits}>",
        "k": f"i{bits}",
        "h": f"<{lanes // 2} x {lane}>",
        "g": f"<{result_lanes // 2} x {LANE_TYPES[op.result_shape]}>",
        "low": _mask(range(lanes // 2)),
        "high": _mask(range(lanes // 2, lanes)),
        "twice_low": _mask([lane // 2 for lane in range(lanes)]),
        "twice_high": _mask([(lanes + lane) // 2 for lane in range(lanes)]),
        "even": _mask(range(0, lanes, 2)),
        "odd": _mask(range(1, lanes, 2)),
        "both": _mask(range(result_lanes)),
        "first": f"<{lanes} x i32> zeroinitializer",
        "n": str(lanes),
        "double": str(2 * bits),
        "minp": f"sse{'2' if bits == 64 else ''}.min.p{'d' if bits == 64 else 's'}",
        "maxp": f"sse{'2' if bits == 64 else ''}.max.p{'d' if bits == 64 else 's'}",
        "amount": _shift_amount(lane, bits),
        "nan": str(_CANONICAL_NANS.get(bits, 0)),
    }


def _canonical(op: Op) -> str:
    """`{r}` is `{r}N`, with canonical NaNs: chosen as integers, to LLVM all float NaNs are one."""
    bits = LANE_BITS[op.result_shape]
    integers = f"<{LANES[op.result_shape]} x i{bits}>"
    # LLVM finds that sqrt is NaN where its operand is below 0, and folds the rest; hence the fence.
    return ("; {r}N = call {d} @llvm.arithmetic.fence.{y}({d} {r}M)" if op.name.endswith("sqrt") else "") + (
        f"; {{r}}Nu = fcmp uno {{d}} {{r}}N, {{r}}N; {{r}}Ni = bitcast {{d}} {{r}}N to {integers}; "
        f"{{r}}Ns = select {{m}} {{r}}Nu, {integers} splat (i{bits} {_CANONICAL_NANS[bits]}), {integers} {{r}}Ni; "
        f"{{r}} = bitcast {integers} {{r}}Ns to {{d}}"
    )


def render_source(op: Op, x86: bool, deterministic: bool, canonical_nans: bool) -> str:
    """The row's text with placeholders {r} {a} {b} {c} {l} left; "" where the row needs no instruction."""
    text = op.lowering.lstrip("~")
    parameter = ""
    if text.startswith("="):
        operands = ", ".join(f"{{s}} {{{name}}}" for name in "abc"[: len(op.params)])
        text = f"{{r}} = call {{d}} @llvm.{text[1:]}.{{x}}({operands})"
    elif text.startswith("?"):
        text = f"{{r}}c = {text[1:]}; {{r}} = sext {{m}} {{r}}c to {{d}}"
    elif text.startswith("@"):
        name, _, parameter = text[1:].partition(" ")
        name = DETERMINISTIC.get(name, name) if deterministic else name
        choice = TEMPLATES[name]
        text = choice if isinstance(choice, str) else choice[0 if x86 else 1]
    operation = op.name.partition(".")[2]
    if (
        canonical_nans
        and op.result_shape[0] == "f"
        and (operation in _MAKES_NANS or (operation in _PICKS_NANS and (deterministic or not x86)))
    ):
        text = text.replace("{r} =", "{r}M =" if op.name.endswith("sqrt") else "{r}N =") + _canonical(op)
    settled = _placeholders(op, parameter)
    text = _PLACEHOLDER.sub(lambda found: found[0] if found[1] in _OPEN else settled[found[1]], text)
    return "\n".join("  " + line.strip() for line in text.split(";")) if text else ""
