"""The instruction table (spec sections 5.4 and 7): every opcode is declared once, here.

A row: opcode, name, immediates, operand types -> result type, lowering. What reads it: the body walker (decode, type
check), the compiler (lowering), the tests (each template row is compiled; each row gets wrong-type negatives).

Immediates: ``-`` none, or the walker's method for the row, `special`.
Lowerings:
  text           LLVM instruction with {r} result, {a} {b} operands; ``{r}x``-like names are free for temporaries;
                 lines are separated by ``;`` and the last one defines {r}
  ?text          an LLVM i1 expression; the walker widens it to i32 where it is not used as a condition
  ~text          float arithmetic that LLVM folds away when an operand is a constant (x * 1.0): `compile` hides those
  @name          a method of the lowering class: op(row, operands) -> result
  load T U       load LLVM type T, widen to U by the name's signedness; `store T U` likewise narrows
  special        the walker and the lowering class have a method of their own
"""

from __future__ import annotations

from dataclasses import dataclass

from .types import EXTERNREF, F32, F64, FUNCREF, I32, I64, UNKNOWN, V128, VALTYPE_CODES

_TABLE = """
00 unreachable            special
01 nop                    special
02 block                  special
03 loop                   special
04 if                     special
05 else                   special
0b end                    special
0c br                     special
0d br_if                  special
0e br_table               special
0f return                 special
10 call                   special
11 call_indirect          special
1a drop                   special
1b select                 special
1c select_typed           special
20 local.get              special
21 local.set              special
22 local.tee              special
23 global.get             special
24 global.set             special
25 table.get              special
26 table.set              special

28 i32.load               i32 -> i32       load i32 i32
29 i64.load               i32 -> i64       load i64 i64
2a f32.load               i32 -> f32       load float float
2b f64.load               i32 -> f64       load double double
2c i32.load8_s            i32 -> i32       load i8 i32
2d i32.load8_u            i32 -> i32       load i8 i32
2e i32.load16_s           i32 -> i32       load i16 i32
2f i32.load16_u           i32 -> i32       load i16 i32
30 i64.load8_s            i32 -> i64       load i8 i64
31 i64.load8_u            i32 -> i64       load i8 i64
32 i64.load16_s           i32 -> i64       load i16 i64
33 i64.load16_u           i32 -> i64       load i16 i64
34 i64.load32_s           i32 -> i64       load i32 i64
35 i64.load32_u           i32 -> i64       load i32 i64
36 i32.store              i32 i32 ->       store i32 i32
37 i64.store              i32 i64 ->       store i64 i64
38 f32.store              i32 f32 ->       store float float
39 f64.store              i32 f64 ->       store double double
3a i32.store8             i32 i32 ->       store i8 i32
3b i32.store16            i32 i32 ->       store i16 i32
3c i64.store8             i32 i64 ->       store i8 i64
3d i64.store16            i32 i64 ->       store i16 i64
3e i64.store32            i32 i64 ->       store i32 i64
3f memory.size            special
40 memory.grow            special

41 i32.const              special
42 i64.const              special
43 f32.const              special
44 f64.const              special

45 i32.eqz                i32 -> i32       ?icmp eq i32 {a}, 0
46 i32.eq                 i32 i32 -> i32   ?icmp eq i32 {a}, {b}
47 i32.ne                 i32 i32 -> i32   ?icmp ne i32 {a}, {b}
48 i32.lt_s               i32 i32 -> i32   ?icmp slt i32 {a}, {b}
49 i32.lt_u               i32 i32 -> i32   ?icmp ult i32 {a}, {b}
4a i32.gt_s               i32 i32 -> i32   ?icmp sgt i32 {a}, {b}
4b i32.gt_u               i32 i32 -> i32   ?icmp ugt i32 {a}, {b}
4c i32.le_s               i32 i32 -> i32   ?icmp sle i32 {a}, {b}
4d i32.le_u               i32 i32 -> i32   ?icmp ule i32 {a}, {b}
4e i32.ge_s               i32 i32 -> i32   ?icmp sge i32 {a}, {b}
4f i32.ge_u               i32 i32 -> i32   ?icmp uge i32 {a}, {b}
50 i64.eqz                i64 -> i32       ?icmp eq i64 {a}, 0
51 i64.eq                 i64 i64 -> i32   ?icmp eq i64 {a}, {b}
52 i64.ne                 i64 i64 -> i32   ?icmp ne i64 {a}, {b}
53 i64.lt_s               i64 i64 -> i32   ?icmp slt i64 {a}, {b}
54 i64.lt_u               i64 i64 -> i32   ?icmp ult i64 {a}, {b}
55 i64.gt_s               i64 i64 -> i32   ?icmp sgt i64 {a}, {b}
56 i64.gt_u               i64 i64 -> i32   ?icmp ugt i64 {a}, {b}
57 i64.le_s               i64 i64 -> i32   ?icmp sle i64 {a}, {b}
58 i64.le_u               i64 i64 -> i32   ?icmp ule i64 {a}, {b}
59 i64.ge_s               i64 i64 -> i32   ?icmp sge i64 {a}, {b}
5a i64.ge_u               i64 i64 -> i32   ?icmp uge i64 {a}, {b}
5b f32.eq                 f32 f32 -> i32   ?fcmp oeq float {a}, {b}
5c f32.ne                 f32 f32 -> i32   ?fcmp une float {a}, {b}
5d f32.lt                 f32 f32 -> i32   ?fcmp olt float {a}, {b}
5e f32.gt                 f32 f32 -> i32   ?fcmp ogt float {a}, {b}
5f f32.le                 f32 f32 -> i32   ?fcmp ole float {a}, {b}
60 f32.ge                 f32 f32 -> i32   ?fcmp oge float {a}, {b}
61 f64.eq                 f64 f64 -> i32   ?fcmp oeq double {a}, {b}
62 f64.ne                 f64 f64 -> i32   ?fcmp une double {a}, {b}
63 f64.lt                 f64 f64 -> i32   ?fcmp olt double {a}, {b}
64 f64.gt                 f64 f64 -> i32   ?fcmp ogt double {a}, {b}
65 f64.le                 f64 f64 -> i32   ?fcmp ole double {a}, {b}
66 f64.ge                 f64 f64 -> i32   ?fcmp oge double {a}, {b}

67 i32.clz                i32 -> i32       {r} = call i32 @llvm.ctlz.i32(i32 {a}, i1 false)
68 i32.ctz                i32 -> i32       {r} = call i32 @llvm.cttz.i32(i32 {a}, i1 false)
69 i32.popcnt             i32 -> i32       {r} = call i32 @llvm.ctpop.i32(i32 {a})
6a i32.add                i32 i32 -> i32   {r} = add i32 {a}, {b}
6b i32.sub                i32 i32 -> i32   {r} = sub i32 {a}, {b}
6c i32.mul                i32 i32 -> i32   {r} = mul i32 {a}, {b}
6d i32.div_s              i32 i32 -> i32   @divide
6e i32.div_u              i32 i32 -> i32   @divide
6f i32.rem_s              i32 i32 -> i32   @divide
70 i32.rem_u              i32 i32 -> i32   @divide
71 i32.and                i32 i32 -> i32   {r} = and i32 {a}, {b}
72 i32.or                 i32 i32 -> i32   {r} = or i32 {a}, {b}
73 i32.xor                i32 i32 -> i32   {r} = xor i32 {a}, {b}
74 i32.shl                i32 i32 -> i32   {r}m = and i32 {b}, 31; {r} = shl i32 {a}, {r}m
75 i32.shr_s              i32 i32 -> i32   {r}m = and i32 {b}, 31; {r} = ashr i32 {a}, {r}m
76 i32.shr_u              i32 i32 -> i32   {r}m = and i32 {b}, 31; {r} = lshr i32 {a}, {r}m
77 i32.rotl               i32 i32 -> i32   {r} = call i32 @llvm.fshl.i32(i32 {a}, i32 {a}, i32 {b})
78 i32.rotr               i32 i32 -> i32   {r} = call i32 @llvm.fshr.i32(i32 {a}, i32 {a}, i32 {b})
79 i64.clz                i64 -> i64       {r} = call i64 @llvm.ctlz.i64(i64 {a}, i1 false)
7a i64.ctz                i64 -> i64       {r} = call i64 @llvm.cttz.i64(i64 {a}, i1 false)
7b i64.popcnt             i64 -> i64       {r} = call i64 @llvm.ctpop.i64(i64 {a})
7c i64.add                i64 i64 -> i64   {r} = add i64 {a}, {b}
7d i64.sub                i64 i64 -> i64   {r} = sub i64 {a}, {b}
7e i64.mul                i64 i64 -> i64   {r} = mul i64 {a}, {b}
7f i64.div_s              i64 i64 -> i64   @divide
80 i64.div_u              i64 i64 -> i64   @divide
81 i64.rem_s              i64 i64 -> i64   @divide
82 i64.rem_u              i64 i64 -> i64   @divide
83 i64.and                i64 i64 -> i64   {r} = and i64 {a}, {b}
84 i64.or                 i64 i64 -> i64   {r} = or i64 {a}, {b}
85 i64.xor                i64 i64 -> i64   {r} = xor i64 {a}, {b}
86 i64.shl                i64 i64 -> i64   {r}m = and i64 {b}, 63; {r} = shl i64 {a}, {r}m
87 i64.shr_s              i64 i64 -> i64   {r}m = and i64 {b}, 63; {r} = ashr i64 {a}, {r}m
88 i64.shr_u              i64 i64 -> i64   {r}m = and i64 {b}, 63; {r} = lshr i64 {a}, {r}m
89 i64.rotl               i64 i64 -> i64   {r} = call i64 @llvm.fshl.i64(i64 {a}, i64 {a}, i64 {b})
8a i64.rotr               i64 i64 -> i64   {r} = call i64 @llvm.fshr.i64(i64 {a}, i64 {a}, i64 {b})

8b f32.abs                f32 -> f32       {r} = call float @llvm.fabs.f32(float {a})
8c f32.neg                f32 -> f32       {r} = fneg float {a}
8d f32.ceil               f32 -> f32       {r} = call float @llvm.ceil.f32(float {a})
8e f32.floor              f32 -> f32       {r} = call float @llvm.floor.f32(float {a})
8f f32.trunc              f32 -> f32       {r} = call float @llvm.trunc.f32(float {a})
90 f32.nearest            f32 -> f32       {r} = call float @llvm.roundeven.f32(float {a})
91 f32.sqrt               f32 -> f32       {r} = call float @llvm.sqrt.f32(float {a})
92 f32.add                f32 f32 -> f32   ~{r} = fadd float {a}, {b}
93 f32.sub                f32 f32 -> f32   ~{r} = fsub float {a}, {b}
94 f32.mul                f32 f32 -> f32   ~{r} = fmul float {a}, {b}
95 f32.div                f32 f32 -> f32   ~{r} = fdiv float {a}, {b}
96 f32.min                f32 f32 -> f32   @minimum_maximum
97 f32.max                f32 f32 -> f32   @minimum_maximum
98 f32.copysign           f32 f32 -> f32   {r} = call float @llvm.copysign.f32(float {a}, float {b})
99 f64.abs                f64 -> f64       {r} = call double @llvm.fabs.f64(double {a})
9a f64.neg                f64 -> f64       {r} = fneg double {a}
9b f64.ceil               f64 -> f64       {r} = call double @llvm.ceil.f64(double {a})
9c f64.floor              f64 -> f64       {r} = call double @llvm.floor.f64(double {a})
9d f64.trunc              f64 -> f64       {r} = call double @llvm.trunc.f64(double {a})
9e f64.nearest            f64 -> f64       {r} = call double @llvm.roundeven.f64(double {a})
9f f64.sqrt               f64 -> f64       {r} = call double @llvm.sqrt.f64(double {a})
a0 f64.add                f64 f64 -> f64   ~{r} = fadd double {a}, {b}
a1 f64.sub                f64 f64 -> f64   ~{r} = fsub double {a}, {b}
a2 f64.mul                f64 f64 -> f64   ~{r} = fmul double {a}, {b}
a3 f64.div                f64 f64 -> f64   ~{r} = fdiv double {a}, {b}
a4 f64.min                f64 f64 -> f64   @minimum_maximum
a5 f64.max                f64 f64 -> f64   @minimum_maximum
a6 f64.copysign           f64 f64 -> f64   {r} = call double @llvm.copysign.f64(double {a}, double {b})

a7 i32.wrap_i64           i64 -> i32       {r} = trunc i64 {a} to i32
a8 i32.trunc_f32_s        f32 -> i32       @truncate
a9 i32.trunc_f32_u        f32 -> i32       @truncate
aa i32.trunc_f64_s        f64 -> i32       @truncate
ab i32.trunc_f64_u        f64 -> i32       @truncate
ac i64.extend_i32_s       i32 -> i64       {r} = sext i32 {a} to i64
ad i64.extend_i32_u       i32 -> i64       {r} = zext i32 {a} to i64
ae i64.trunc_f32_s        f32 -> i64       @truncate
af i64.trunc_f32_u        f32 -> i64       @truncate
b0 i64.trunc_f64_s        f64 -> i64       @truncate
b1 i64.trunc_f64_u        f64 -> i64       @truncate
b2 f32.convert_i32_s      i32 -> f32       {r} = sitofp i32 {a} to float
b3 f32.convert_i32_u      i32 -> f32       {r} = uitofp i32 {a} to float
b4 f32.convert_i64_s      i64 -> f32       {r} = sitofp i64 {a} to float
b5 f32.convert_i64_u      i64 -> f32       {r} = uitofp i64 {a} to float
b6 f32.demote_f64         f64 -> f32       @demote
b7 f64.convert_i32_s      i32 -> f64       {r} = sitofp i32 {a} to double
b8 f64.convert_i32_u      i32 -> f64       {r} = uitofp i32 {a} to double
b9 f64.convert_i64_s      i64 -> f64       {r} = sitofp i64 {a} to double
ba f64.convert_i64_u      i64 -> f64       {r} = uitofp i64 {a} to double
bb f64.promote_f32        f32 -> f64       @promote
bc i32.reinterpret_f32    f32 -> i32       {r} = bitcast float {a} to i32
bd i64.reinterpret_f64    f64 -> i64       {r} = bitcast double {a} to i64
be f32.reinterpret_i32    i32 -> f32       {r} = bitcast i32 {a} to float
bf f64.reinterpret_i64    i64 -> f64       {r} = bitcast i64 {a} to double
c0 i32.extend8_s          i32 -> i32       {r}t = trunc i32 {a} to i8; {r} = sext i8 {r}t to i32
c1 i32.extend16_s         i32 -> i32       {r}t = trunc i32 {a} to i16; {r} = sext i16 {r}t to i32
c2 i64.extend8_s          i64 -> i64       {r}t = trunc i64 {a} to i8; {r} = sext i8 {r}t to i64
c3 i64.extend16_s         i64 -> i64       {r}t = trunc i64 {a} to i16; {r} = sext i16 {r}t to i64
c4 i64.extend32_s         i64 -> i64       {r}t = trunc i64 {a} to i32; {r} = sext i32 {r}t to i64

d0 ref.null               special
d1 ref.is_null            special
d2 ref.func               special

fc00 i32.trunc_sat_f32_s  f32 -> i32       {r} = call i32 @llvm.fptosi.sat.i32.f32(float {a})
fc01 i32.trunc_sat_f32_u  f32 -> i32       {r} = call i32 @llvm.fptoui.sat.i32.f32(float {a})
fc02 i32.trunc_sat_f64_s  f64 -> i32       {r} = call i32 @llvm.fptosi.sat.i32.f64(double {a})
fc03 i32.trunc_sat_f64_u  f64 -> i32       {r} = call i32 @llvm.fptoui.sat.i32.f64(double {a})
fc04 i64.trunc_sat_f32_s  f32 -> i64       {r} = call i64 @llvm.fptosi.sat.i64.f32(float {a})
fc05 i64.trunc_sat_f32_u  f32 -> i64       {r} = call i64 @llvm.fptoui.sat.i64.f32(float {a})
fc06 i64.trunc_sat_f64_s  f64 -> i64       {r} = call i64 @llvm.fptosi.sat.i64.f64(double {a})
fc07 i64.trunc_sat_f64_u  f64 -> i64       {r} = call i64 @llvm.fptoui.sat.i64.f64(double {a})
fc08 memory.init          special
fc09 data.drop            special
fc0a memory.copy          special
fc0b memory.fill          special
fc0c table.init           special
fc0d elem.drop            special
fc0e table.copy           special
fc0f table.grow           special
fc10 table.size           special
fc11 table.fill           special
"""

# Opcodes of later proposals, by first byte: a module that uses one is told which feature is missing.
UNSUPPORTED_OPCODES: dict[int, str] = {
    0x06: "legacy exceptions",
    0x07: "legacy exceptions",
    0x08: "exceptions",
    0x09: "legacy exceptions",
    0x0A: "exceptions",
    0x12: "tail calls",
    0x13: "tail calls",
    0x14: "typed function references",
    0x15: "typed function references",
    0x18: "legacy exceptions",
    0x19: "legacy exceptions",
    0x1F: "exceptions",
    0xD3: "garbage collection",
    0xD4: "typed function references",
    0xD5: "typed function references",
    0xD6: "typed function references",
    0xE0: "stack switching",
    0xE1: "stack switching",
    0xE2: "stack switching",
    0xE3: "stack switching",
    0xE4: "stack switching",
    0xE5: "stack switching",
    0xFB: "garbage collection",
    0xFD: "SIMD",
    0xFE: "threads",
}

# How a row is handled by the body walker.
BINARY, FLOAT_BINARY, COMPARISON, LOAD, STORE, UNARY, CONDITION, SPECIAL = range(8)


@dataclass(frozen=True, slots=True)
class Op:
    """One row. `code` is the opcode, for prefixed ones ``prefix << 8 | sub-opcode``."""

    code: int
    name: str
    kind: int
    params: tuple[int, ...]
    result: int  # UNKNOWN where there is none (or the row is special)
    lowering: str
    memory_type: str = ""  # LLVM type in memory, for loads and stores
    value_type: str = ""  # LLVM type of the value, for loads and stores
    access_bytes: int = 0  # width of a load or store, which is also its natural alignment


_WIDTHS = {"": 0, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "float": 4, "double": 8}


def _parse_row(line: str) -> Op:
    code, name, rest = line.split(None, 2)
    if rest == "special":
        return Op(int(code, 16), name, SPECIAL, (), UNKNOWN, rest)
    operands, _, tail = rest.partition("->")
    params = tuple(VALTYPE_CODES[t] for t in operands.split())
    first, _, lowering = tail.strip().partition(" ")
    result = VALTYPE_CODES.get(first, UNKNOWN)
    lowering = lowering.strip() if result else tail.strip()
    memory_type = value_type = ""
    if lowering.startswith(("load ", "store ")):
        access, memory_type, value_type = lowering.split()
        kind = LOAD if access == "load" else STORE
    elif lowering.startswith("?"):
        kind = CONDITION if len(params) == 1 else COMPARISON
    elif lowering.startswith("~"):
        kind = FLOAT_BINARY
    else:
        kind = UNARY if len(params) == 1 else BINARY
    return Op(int(code, 16), name, kind, params, result, lowering, memory_type, value_type, _WIDTHS[memory_type])


OPS: dict[int, Op] = {op.code: op for op in map(_parse_row, filter(None, _TABLE.splitlines()))}
OP_BY_NAME: dict[str, Op] = {op.name: op for op in OPS.values()}

LLVM_TYPES: dict[int, str] = {
    I32: "i32",
    I64: "i64",
    F32: "float",
    F64: "double",
    V128: "<2 x i64>",  # passed and returned in one vector register
    FUNCREF: "ptr",
    EXTERNREF: "ptr",
}
