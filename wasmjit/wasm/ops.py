"""The instruction table (spec sections 5.4 and 7): every opcode is declared once, here.

A row: opcode, name, first tier, feature, immediates, operand types -> result type, lowering. What reads it: the walks
through bodies (`wasm.body`, `compile.walk`), the compiler (lowering), the interpreter (opcodes and first tier:
`runtime_c/wj_opcodes.h`), the tests (each template row is compiled; each row gets wrong-type negatives). What adding a
row takes is in docs/adding-an-instruction.md.

First tier: ``i`` the interpreter, ``c`` compiled code: a body with such an instruction is never interpreted.
Feature: the attribute of `Features`, ``-`` where every module has it. The rows of `_VECTOR_TABLE` and `_RELAXED_TABLE`
are of the first tier ``i`` and of the features simd and relaxed_simd.
Immediates: any number of the words of `IMMEDIATES`.
The first operand of an access to memory, written i32, is an address: i64 where the memory has 64-bit addresses.
Lowerings:
  text           LLVM instruction with {r} result, {a} {b} operands; ``{r}x``-like names are free for temporaries;
                 lines are separated by ``;`` and the last one defines {r}
  ?text          an LLVM i1 expression; it is widened to i32 where it is not used as a condition
  ~text          float arithmetic that LLVM folds away when an operand is a constant (x * 1.0): `compile` hides those
  @name          a function of `compile.lower`, in `IRREGULAR`: op(lowering, row, operands, offset) -> result
  load T U       load LLVM type T, widen to U by the name's signedness; `store T U` likewise narrows
  atomic N T U   what `compile.atomics` calls N, in order with all others: of LLVM type T in memory, U as a value
  special        a method of the walks reads its immediates (`wasm.instructions`), and one of `Lowering` lowers it

The lowering of a vector row (`_VECTOR_TABLE`) starts with ``lane shape[>result shape]``: its v128 operands come as
vectors of the lane shape (a third one: of the result shape). Before that may stand ``load T:`` or ``store T:``, with
LLVM type T in memory; of a load, {a} is then what was loaded. What follows is one of
  text           as above; {s} {d} LLVM types of operand and result, {t} type in memory, {m} mask of i1 per result
                 lane, {e} lane type, {l} lane immediate
  =name          the LLVM intrinsic of that name over all operands
  ?text          an i1 per lane, which is widened to the lane
  ~...           as above
  @name p        the template `name` of `compile.simd`, with parameter {p}; it may differ by processor
  nothing        no instruction: the operand is the result
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .types import F32, F64, UNKNOWN, VALTYPE_CODES

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from ..records import dataclass

_TABLE = """
00 unreachable            i -                             special
01 nop                    i -                             special
02 block                  i -               blocktype     special
03 loop                   i -               blocktype     special
04 if                     i -               blocktype     special
05 else                   i -                             special
08 throw                  c exceptions      tag           special
0a throw_ref              c exceptions                    special
0b end                    i -                             special
0c br                     i -               label         special
0d br_if                  i -               label         special
0e br_table               i -               labels        special
0f return                 i -                             special
10 call                   i -               function      special
11 call_indirect          i -               type table    special
12 return_call            i tail_call       function      special
13 return_call_indirect   i tail_call       type table    special
14 call_ref               i function_references type      special
15 return_call_ref        i function_references type      special
1a drop                   i -                             special
1b select                 i -                             special
1c select_typed           i reference_types types         special
1f try_table              c exceptions      blocktype catches special
20 local.get              i -               local         special
21 local.set              i -               local         special
22 local.tee              i -               local         special
23 global.get             i -               global        special
24 global.set             i -               global        special
25 table.get              i reference_types table         special
26 table.set              i reference_types table         special

28 i32.load               i - memarg i32 -> i32       load i32 i32
29 i64.load               i - memarg i32 -> i64       load i64 i64
2a f32.load               i - memarg i32 -> f32       load float float
2b f64.load               i - memarg i32 -> f64       load double double
2c i32.load8_s            i - memarg i32 -> i32       load i8 i32
2d i32.load8_u            i - memarg i32 -> i32       load i8 i32
2e i32.load16_s           i - memarg i32 -> i32       load i16 i32
2f i32.load16_u           i - memarg i32 -> i32       load i16 i32
30 i64.load8_s            i - memarg i32 -> i64       load i8 i64
31 i64.load8_u            i - memarg i32 -> i64       load i8 i64
32 i64.load16_s           i - memarg i32 -> i64       load i16 i64
33 i64.load16_u           i - memarg i32 -> i64       load i16 i64
34 i64.load32_s           i - memarg i32 -> i64       load i32 i64
35 i64.load32_u           i - memarg i32 -> i64       load i32 i64
36 i32.store              i - memarg i32 i32 ->       store i32 i32
37 i64.store              i - memarg i32 i64 ->       store i64 i64
38 f32.store              i - memarg i32 f32 ->       store float float
39 f64.store              i - memarg i32 f64 ->       store double double
3a i32.store8             i - memarg i32 i32 ->       store i8 i32
3b i32.store16            i - memarg i32 i32 ->       store i16 i32
3c i64.store8             i - memarg i32 i64 ->       store i8 i64
3d i64.store16            i - memarg i32 i64 ->       store i16 i64
3e i64.store32            i - memarg i32 i64 ->       store i32 i64
3f memory.size            i -               memory        special
40 memory.grow            i -               memory        special

41 i32.const              i -               signed        special
42 i64.const              i -               signed        special
43 f32.const              i -               bytes4        special
44 f64.const              i -               bytes8        special

45 i32.eqz                i - i32 -> i32       ?icmp eq i32 {a}, 0
46 i32.eq                 i - i32 i32 -> i32   ?icmp eq i32 {a}, {b}
47 i32.ne                 i - i32 i32 -> i32   ?icmp ne i32 {a}, {b}
48 i32.lt_s               i - i32 i32 -> i32   ?icmp slt i32 {a}, {b}
49 i32.lt_u               i - i32 i32 -> i32   ?icmp ult i32 {a}, {b}
4a i32.gt_s               i - i32 i32 -> i32   ?icmp sgt i32 {a}, {b}
4b i32.gt_u               i - i32 i32 -> i32   ?icmp ugt i32 {a}, {b}
4c i32.le_s               i - i32 i32 -> i32   ?icmp sle i32 {a}, {b}
4d i32.le_u               i - i32 i32 -> i32   ?icmp ule i32 {a}, {b}
4e i32.ge_s               i - i32 i32 -> i32   ?icmp sge i32 {a}, {b}
4f i32.ge_u               i - i32 i32 -> i32   ?icmp uge i32 {a}, {b}
50 i64.eqz                i - i64 -> i32       ?icmp eq i64 {a}, 0
51 i64.eq                 i - i64 i64 -> i32   ?icmp eq i64 {a}, {b}
52 i64.ne                 i - i64 i64 -> i32   ?icmp ne i64 {a}, {b}
53 i64.lt_s               i - i64 i64 -> i32   ?icmp slt i64 {a}, {b}
54 i64.lt_u               i - i64 i64 -> i32   ?icmp ult i64 {a}, {b}
55 i64.gt_s               i - i64 i64 -> i32   ?icmp sgt i64 {a}, {b}
56 i64.gt_u               i - i64 i64 -> i32   ?icmp ugt i64 {a}, {b}
57 i64.le_s               i - i64 i64 -> i32   ?icmp sle i64 {a}, {b}
58 i64.le_u               i - i64 i64 -> i32   ?icmp ule i64 {a}, {b}
59 i64.ge_s               i - i64 i64 -> i32   ?icmp sge i64 {a}, {b}
5a i64.ge_u               i - i64 i64 -> i32   ?icmp uge i64 {a}, {b}
5b f32.eq                 i - f32 f32 -> i32   ?fcmp oeq float {a}, {b}
5c f32.ne                 i - f32 f32 -> i32   ?fcmp une float {a}, {b}
5d f32.lt                 i - f32 f32 -> i32   ?fcmp olt float {a}, {b}
5e f32.gt                 i - f32 f32 -> i32   ?fcmp ogt float {a}, {b}
5f f32.le                 i - f32 f32 -> i32   ?fcmp ole float {a}, {b}
60 f32.ge                 i - f32 f32 -> i32   ?fcmp oge float {a}, {b}
61 f64.eq                 i - f64 f64 -> i32   ?fcmp oeq double {a}, {b}
62 f64.ne                 i - f64 f64 -> i32   ?fcmp une double {a}, {b}
63 f64.lt                 i - f64 f64 -> i32   ?fcmp olt double {a}, {b}
64 f64.gt                 i - f64 f64 -> i32   ?fcmp ogt double {a}, {b}
65 f64.le                 i - f64 f64 -> i32   ?fcmp ole double {a}, {b}
66 f64.ge                 i - f64 f64 -> i32   ?fcmp oge double {a}, {b}

67 i32.clz                i - i32 -> i32       {r} = call i32 @llvm.ctlz.i32(i32 {a}, i1 false)
68 i32.ctz                i - i32 -> i32       {r} = call i32 @llvm.cttz.i32(i32 {a}, i1 false)
69 i32.popcnt             i - i32 -> i32       {r} = call i32 @llvm.ctpop.i32(i32 {a})
6a i32.add                i - i32 i32 -> i32   {r} = add i32 {a}, {b}
6b i32.sub                i - i32 i32 -> i32   {r} = sub i32 {a}, {b}
6c i32.mul                i - i32 i32 -> i32   {r} = mul i32 {a}, {b}
6d i32.div_s              i - i32 i32 -> i32   @divide
6e i32.div_u              i - i32 i32 -> i32   @divide
6f i32.rem_s              i - i32 i32 -> i32   @divide
70 i32.rem_u              i - i32 i32 -> i32   @divide
71 i32.and                i - i32 i32 -> i32   {r} = and i32 {a}, {b}
72 i32.or                 i - i32 i32 -> i32   {r} = or i32 {a}, {b}
73 i32.xor                i - i32 i32 -> i32   {r} = xor i32 {a}, {b}
74 i32.shl                i - i32 i32 -> i32   {r}m = and i32 {b}, 31; {r} = shl i32 {a}, {r}m
75 i32.shr_s              i - i32 i32 -> i32   {r}m = and i32 {b}, 31; {r} = ashr i32 {a}, {r}m
76 i32.shr_u              i - i32 i32 -> i32   {r}m = and i32 {b}, 31; {r} = lshr i32 {a}, {r}m
77 i32.rotl               i - i32 i32 -> i32   {r} = call i32 @llvm.fshl.i32(i32 {a}, i32 {a}, i32 {b})
78 i32.rotr               i - i32 i32 -> i32   {r} = call i32 @llvm.fshr.i32(i32 {a}, i32 {a}, i32 {b})
79 i64.clz                i - i64 -> i64       {r} = call i64 @llvm.ctlz.i64(i64 {a}, i1 false)
7a i64.ctz                i - i64 -> i64       {r} = call i64 @llvm.cttz.i64(i64 {a}, i1 false)
7b i64.popcnt             i - i64 -> i64       {r} = call i64 @llvm.ctpop.i64(i64 {a})
7c i64.add                i - i64 i64 -> i64   {r} = add i64 {a}, {b}
7d i64.sub                i - i64 i64 -> i64   {r} = sub i64 {a}, {b}
7e i64.mul                i - i64 i64 -> i64   {r} = mul i64 {a}, {b}
7f i64.div_s              i - i64 i64 -> i64   @divide
80 i64.div_u              i - i64 i64 -> i64   @divide
81 i64.rem_s              i - i64 i64 -> i64   @divide
82 i64.rem_u              i - i64 i64 -> i64   @divide
83 i64.and                i - i64 i64 -> i64   {r} = and i64 {a}, {b}
84 i64.or                 i - i64 i64 -> i64   {r} = or i64 {a}, {b}
85 i64.xor                i - i64 i64 -> i64   {r} = xor i64 {a}, {b}
86 i64.shl                i - i64 i64 -> i64   {r}m = and i64 {b}, 63; {r} = shl i64 {a}, {r}m
87 i64.shr_s              i - i64 i64 -> i64   {r}m = and i64 {b}, 63; {r} = ashr i64 {a}, {r}m
88 i64.shr_u              i - i64 i64 -> i64   {r}m = and i64 {b}, 63; {r} = lshr i64 {a}, {r}m
89 i64.rotl               i - i64 i64 -> i64   {r} = call i64 @llvm.fshl.i64(i64 {a}, i64 {a}, i64 {b})
8a i64.rotr               i - i64 i64 -> i64   {r} = call i64 @llvm.fshr.i64(i64 {a}, i64 {a}, i64 {b})

8b f32.abs                i - f32 -> f32       {r} = call float @llvm.fabs.f32(float {a})
8c f32.neg                i - f32 -> f32       {r} = fneg float {a}
8d f32.ceil               i - f32 -> f32       {r} = call float @llvm.ceil.f32(float {a})
8e f32.floor              i - f32 -> f32       {r} = call float @llvm.floor.f32(float {a})
8f f32.trunc              i - f32 -> f32       {r} = call float @llvm.trunc.f32(float {a})
90 f32.nearest            i - f32 -> f32       {r} = call float @llvm.roundeven.f32(float {a})
91 f32.sqrt               i - f32 -> f32       {r} = call float @llvm.sqrt.f32(float {a})
92 f32.add                i - f32 f32 -> f32   ~{r} = fadd float {a}, {b}
93 f32.sub                i - f32 f32 -> f32   ~{r} = fsub float {a}, {b}
94 f32.mul                i - f32 f32 -> f32   ~{r} = fmul float {a}, {b}
95 f32.div                i - f32 f32 -> f32   ~{r} = fdiv float {a}, {b}
96 f32.min                i - f32 f32 -> f32   @minimum_maximum
97 f32.max                i - f32 f32 -> f32   @minimum_maximum
98 f32.copysign           i - f32 f32 -> f32   {r} = call float @llvm.copysign.f32(float {a}, float {b})
99 f64.abs                i - f64 -> f64       {r} = call double @llvm.fabs.f64(double {a})
9a f64.neg                i - f64 -> f64       {r} = fneg double {a}
9b f64.ceil               i - f64 -> f64       {r} = call double @llvm.ceil.f64(double {a})
9c f64.floor              i - f64 -> f64       {r} = call double @llvm.floor.f64(double {a})
9d f64.trunc              i - f64 -> f64       {r} = call double @llvm.trunc.f64(double {a})
9e f64.nearest            i - f64 -> f64       {r} = call double @llvm.roundeven.f64(double {a})
9f f64.sqrt               i - f64 -> f64       {r} = call double @llvm.sqrt.f64(double {a})
a0 f64.add                i - f64 f64 -> f64   ~{r} = fadd double {a}, {b}
a1 f64.sub                i - f64 f64 -> f64   ~{r} = fsub double {a}, {b}
a2 f64.mul                i - f64 f64 -> f64   ~{r} = fmul double {a}, {b}
a3 f64.div                i - f64 f64 -> f64   ~{r} = fdiv double {a}, {b}
a4 f64.min                i - f64 f64 -> f64   @minimum_maximum
a5 f64.max                i - f64 f64 -> f64   @minimum_maximum
a6 f64.copysign           i - f64 f64 -> f64   {r} = call double @llvm.copysign.f64(double {a}, double {b})

a7 i32.wrap_i64           i - i64 -> i32       {r} = trunc i64 {a} to i32
a8 i32.trunc_f32_s        i - f32 -> i32       @truncate
a9 i32.trunc_f32_u        i - f32 -> i32       @truncate
aa i32.trunc_f64_s        i - f64 -> i32       @truncate
ab i32.trunc_f64_u        i - f64 -> i32       @truncate
ac i64.extend_i32_s       i - i32 -> i64       {r} = sext i32 {a} to i64
ad i64.extend_i32_u       i - i32 -> i64       {r} = zext i32 {a} to i64
ae i64.trunc_f32_s        i - f32 -> i64       @truncate
af i64.trunc_f32_u        i - f32 -> i64       @truncate
b0 i64.trunc_f64_s        i - f64 -> i64       @truncate
b1 i64.trunc_f64_u        i - f64 -> i64       @truncate
b2 f32.convert_i32_s      i - i32 -> f32       {r} = sitofp i32 {a} to float
b3 f32.convert_i32_u      i - i32 -> f32       {r} = uitofp i32 {a} to float
b4 f32.convert_i64_s      i - i64 -> f32       {r} = sitofp i64 {a} to float
b5 f32.convert_i64_u      i - i64 -> f32       {r} = uitofp i64 {a} to float
b6 f32.demote_f64         i - f64 -> f32       @demote
b7 f64.convert_i32_s      i - i32 -> f64       {r} = sitofp i32 {a} to double
b8 f64.convert_i32_u      i - i32 -> f64       {r} = uitofp i32 {a} to double
b9 f64.convert_i64_s      i - i64 -> f64       {r} = sitofp i64 {a} to double
ba f64.convert_i64_u      i - i64 -> f64       {r} = uitofp i64 {a} to double
bb f64.promote_f32        i - f32 -> f64       @promote
bc i32.reinterpret_f32    i - f32 -> i32       {r} = bitcast float {a} to i32
bd i64.reinterpret_f64    i - f64 -> i64       {r} = bitcast double {a} to i64
be f32.reinterpret_i32    i - i32 -> f32       {r} = bitcast i32 {a} to float
bf f64.reinterpret_i64    i - i64 -> f64       {r} = bitcast i64 {a} to double
c0 i32.extend8_s          i - i32 -> i32       {r}t = trunc i32 {a} to i8; {r} = sext i8 {r}t to i32
c1 i32.extend16_s         i - i32 -> i32       {r}t = trunc i32 {a} to i16; {r} = sext i16 {r}t to i32
c2 i64.extend8_s          i - i64 -> i64       {r}t = trunc i64 {a} to i8; {r} = sext i8 {r}t to i64
c3 i64.extend16_s         i - i64 -> i64       {r}t = trunc i64 {a} to i16; {r} = sext i16 {r}t to i64
c4 i64.extend32_s         i - i64 -> i64       {r}t = trunc i64 {a} to i32; {r} = sext i32 {r}t to i64

d0 ref.null               i reference_types heaptype      special
d1 ref.is_null            i reference_types               special
d2 ref.func               i reference_types function      special
d3 ref.eq                 c gc                            special
d4 ref.as_non_null        i function_references           special
d5 br_on_null             i function_references label     special
d6 br_on_non_null         i function_references label     special

fc00 i32.trunc_sat_f32_s  i - f32 -> i32       {r} = call i32 @llvm.fptosi.sat.i32.f32(float {a})
fc01 i32.trunc_sat_f32_u  i - f32 -> i32       {r} = call i32 @llvm.fptoui.sat.i32.f32(float {a})
fc02 i32.trunc_sat_f64_s  i - f64 -> i32       {r} = call i32 @llvm.fptosi.sat.i32.f64(double {a})
fc03 i32.trunc_sat_f64_u  i - f64 -> i32       {r} = call i32 @llvm.fptoui.sat.i32.f64(double {a})
fc04 i64.trunc_sat_f32_s  i - f32 -> i64       {r} = call i64 @llvm.fptosi.sat.i64.f32(float {a})
fc05 i64.trunc_sat_f32_u  i - f32 -> i64       {r} = call i64 @llvm.fptoui.sat.i64.f32(float {a})
fc06 i64.trunc_sat_f64_s  i - f64 -> i64       {r} = call i64 @llvm.fptosi.sat.i64.f64(double {a})
fc07 i64.trunc_sat_f64_u  i - f64 -> i64       {r} = call i64 @llvm.fptoui.sat.i64.f64(double {a})
fc08 memory.init          i bulk_memory     data memory   special
fc09 data.drop            i bulk_memory     data          special
fc0a memory.copy          i bulk_memory     memory memory special
fc0b memory.fill          i bulk_memory     memory        special
fc0c table.init           i bulk_memory     elem table    special
fc0d elem.drop            i bulk_memory     elem          special
fc0e table.copy           i bulk_memory     table table   special
fc0f table.grow           i reference_types table         special
fc10 table.size           i reference_types table         special
fc11 table.fill           i reference_types table         special
fc13 i64.add128           i wide_arithmetic               special
fc14 i64.sub128           i wide_arithmetic               special
fc15 i64.mul_wide_s       i wide_arithmetic               special
fc16 i64.mul_wide_u       i wide_arithmetic               special

fb00 struct.new           c gc type                       special
fb01 struct.new_default   c gc type                       special
fb02 struct.get           c gc type field                 special
fb03 struct.get_s         c gc type field                 special
fb04 struct.get_u         c gc type field                 special
fb05 struct.set           c gc type field                 special
fb06 array.new            c gc type                       special
fb07 array.new_default    c gc type                       special
fb08 array.new_fixed      c gc type count                 special
fb09 array.new_data       c gc type data                  special
fb0a array.new_elem       c gc type elem                  special
fb0b array.get            c gc type                       special
fb0c array.get_s          c gc type                       special
fb0d array.get_u          c gc type                       special
fb0e array.set            c gc type                       special
fb0f array.len            c gc                            special
fb10 array.fill           c gc type                       special
fb11 array.copy           c gc type type                  special
fb12 array.init_data      c gc type data                  special
fb13 array.init_elem      c gc type elem                  special
fb14 ref.test             c gc heaptype                   special
fb15 ref.test_null        c gc heaptype                   special
fb16 ref.cast             c gc heaptype                   special
fb17 ref.cast_null        c gc heaptype                   special
fb18 br_on_cast           c gc castflags label heaptype heaptype  special
fb19 br_on_cast_fail      c gc castflags label heaptype heaptype  special
fb1a any.convert_extern   c gc                            special
fb1b extern.convert_any   c gc                            special
fb1c ref.i31              c gc                            special
fb1d i31.get_s            c gc                            special
fb1e i31.get_u            c gc                            special

fe00 memory.atomic.notify       i threads atomic i32 i32 -> i32      atomic notify i32 i32
fe01 memory.atomic.wait32       i threads atomic i32 i32 i64 -> i32  atomic wait i32 i32
fe02 memory.atomic.wait64       i threads atomic i32 i64 i64 -> i32  atomic wait i64 i64
fe03 atomic.fence               i threads zero ->                    atomic fence
fe10 i32.atomic.load            i threads atomic i32 -> i32          atomic load i32 i32
fe11 i64.atomic.load            i threads atomic i32 -> i64          atomic load i64 i64
fe12 i32.atomic.load8_u         i threads atomic i32 -> i32          atomic load i8 i32
fe13 i32.atomic.load16_u        i threads atomic i32 -> i32          atomic load i16 i32
fe14 i64.atomic.load8_u         i threads atomic i32 -> i64          atomic load i8 i64
fe15 i64.atomic.load16_u        i threads atomic i32 -> i64          atomic load i16 i64
fe16 i64.atomic.load32_u        i threads atomic i32 -> i64          atomic load i32 i64
fe17 i32.atomic.store           i threads atomic i32 i32 ->          atomic store i32 i32
fe18 i64.atomic.store           i threads atomic i32 i64 ->          atomic store i64 i64
fe19 i32.atomic.store8          i threads atomic i32 i32 ->          atomic store i8 i32
fe1a i32.atomic.store16         i threads atomic i32 i32 ->          atomic store i16 i32
fe1b i64.atomic.store8          i threads atomic i32 i64 ->          atomic store i8 i64
fe1c i64.atomic.store16         i threads atomic i32 i64 ->          atomic store i16 i64
fe1d i64.atomic.store32         i threads atomic i32 i64 ->          atomic store i32 i64
fe1e i32.atomic.rmw.add         i threads atomic i32 i32 -> i32      atomic add i32 i32
fe1f i64.atomic.rmw.add         i threads atomic i32 i64 -> i64      atomic add i64 i64
fe20 i32.atomic.rmw8.add_u      i threads atomic i32 i32 -> i32      atomic add i8 i32
fe21 i32.atomic.rmw16.add_u     i threads atomic i32 i32 -> i32      atomic add i16 i32
fe22 i64.atomic.rmw8.add_u      i threads atomic i32 i64 -> i64      atomic add i8 i64
fe23 i64.atomic.rmw16.add_u     i threads atomic i32 i64 -> i64      atomic add i16 i64
fe24 i64.atomic.rmw32.add_u     i threads atomic i32 i64 -> i64      atomic add i32 i64
fe25 i32.atomic.rmw.sub         i threads atomic i32 i32 -> i32      atomic sub i32 i32
fe26 i64.atomic.rmw.sub         i threads atomic i32 i64 -> i64      atomic sub i64 i64
fe27 i32.atomic.rmw8.sub_u      i threads atomic i32 i32 -> i32      atomic sub i8 i32
fe28 i32.atomic.rmw16.sub_u     i threads atomic i32 i32 -> i32      atomic sub i16 i32
fe29 i64.atomic.rmw8.sub_u      i threads atomic i32 i64 -> i64      atomic sub i8 i64
fe2a i64.atomic.rmw16.sub_u     i threads atomic i32 i64 -> i64      atomic sub i16 i64
fe2b i64.atomic.rmw32.sub_u     i threads atomic i32 i64 -> i64      atomic sub i32 i64
fe2c i32.atomic.rmw.and         i threads atomic i32 i32 -> i32      atomic and i32 i32
fe2d i64.atomic.rmw.and         i threads atomic i32 i64 -> i64      atomic and i64 i64
fe2e i32.atomic.rmw8.and_u      i threads atomic i32 i32 -> i32      atomic and i8 i32
fe2f i32.atomic.rmw16.and_u     i threads atomic i32 i32 -> i32      atomic and i16 i32
fe30 i64.atomic.rmw8.and_u      i threads atomic i32 i64 -> i64      atomic and i8 i64
fe31 i64.atomic.rmw16.and_u     i threads atomic i32 i64 -> i64      atomic and i16 i64
fe32 i64.atomic.rmw32.and_u     i threads atomic i32 i64 -> i64      atomic and i32 i64
fe33 i32.atomic.rmw.or          i threads atomic i32 i32 -> i32      atomic or i32 i32
fe34 i64.atomic.rmw.or          i threads atomic i32 i64 -> i64      atomic or i64 i64
fe35 i32.atomic.rmw8.or_u       i threads atomic i32 i32 -> i32      atomic or i8 i32
fe36 i32.atomic.rmw16.or_u      i threads atomic i32 i32 -> i32      atomic or i16 i32
fe37 i64.atomic.rmw8.or_u       i threads atomic i32 i64 -> i64      atomic or i8 i64
fe38 i64.atomic.rmw16.or_u      i threads atomic i32 i64 -> i64      atomic or i16 i64
fe39 i64.atomic.rmw32.or_u      i threads atomic i32 i64 -> i64      atomic or i32 i64
fe3a i32.atomic.rmw.xor         i threads atomic i32 i32 -> i32      atomic xor i32 i32
fe3b i64.atomic.rmw.xor         i threads atomic i32 i64 -> i64      atomic xor i64 i64
fe3c i32.atomic.rmw8.xor_u      i threads atomic i32 i32 -> i32      atomic xor i8 i32
fe3d i32.atomic.rmw16.xor_u     i threads atomic i32 i32 -> i32      atomic xor i16 i32
fe3e i64.atomic.rmw8.xor_u      i threads atomic i32 i64 -> i64      atomic xor i8 i64
fe3f i64.atomic.rmw16.xor_u     i threads atomic i32 i64 -> i64      atomic xor i16 i64
fe40 i64.atomic.rmw32.xor_u     i threads atomic i32 i64 -> i64      atomic xor i32 i64
fe41 i32.atomic.rmw.xchg        i threads atomic i32 i32 -> i32      atomic xchg i32 i32
fe42 i64.atomic.rmw.xchg        i threads atomic i32 i64 -> i64      atomic xchg i64 i64
fe43 i32.atomic.rmw8.xchg_u     i threads atomic i32 i32 -> i32      atomic xchg i8 i32
fe44 i32.atomic.rmw16.xchg_u    i threads atomic i32 i32 -> i32      atomic xchg i16 i32
fe45 i64.atomic.rmw8.xchg_u     i threads atomic i32 i64 -> i64      atomic xchg i8 i64
fe46 i64.atomic.rmw16.xchg_u    i threads atomic i32 i64 -> i64      atomic xchg i16 i64
fe47 i64.atomic.rmw32.xchg_u    i threads atomic i32 i64 -> i64      atomic xchg i32 i64
fe48 i32.atomic.rmw.cmpxchg     i threads atomic i32 i32 i32 -> i32  atomic cmpxchg i32 i32
fe49 i64.atomic.rmw.cmpxchg     i threads atomic i32 i64 i64 -> i64  atomic cmpxchg i64 i64
fe4a i32.atomic.rmw8.cmpxchg_u  i threads atomic i32 i32 i32 -> i32  atomic cmpxchg i8 i32
fe4b i32.atomic.rmw16.cmpxchg_u i threads atomic i32 i32 i32 -> i32  atomic cmpxchg i16 i32
fe4c i64.atomic.rmw8.cmpxchg_u  i threads atomic i32 i64 i64 -> i64  atomic cmpxchg i8 i64
fe4d i64.atomic.rmw16.cmpxchg_u i threads atomic i32 i64 i64 -> i64  atomic cmpxchg i16 i64
fe4e i64.atomic.rmw32.cmpxchg_u i threads atomic i32 i64 i64 -> i64  atomic cmpxchg i32 i64
"""

# Opcode: the prefix 0xFD and three digits of sub-opcode.
_VECTOR_TABLE = """
fd000 v128.load                           memarg i32 -> v128            load <2 x i64>: i64x2
fd001 v128.load8x8_s                      memarg i32 -> v128            load <8 x i8>: i16x8 {r} = sext {t} {a} to {d}
fd002 v128.load8x8_u                      memarg i32 -> v128            load <8 x i8>: i16x8 {r} = zext {t} {a} to {d}
fd003 v128.load16x4_s                     memarg i32 -> v128            load <4 x i16>: i32x4 {r} = sext {t} {a} to {d}
fd004 v128.load16x4_u                     memarg i32 -> v128            load <4 x i16>: i32x4 {r} = zext {t} {a} to {d}
fd005 v128.load32x2_s                     memarg i32 -> v128            load <2 x i32>: i64x2 {r} = sext {t} {a} to {d}
fd006 v128.load32x2_u                     memarg i32 -> v128            load <2 x i32>: i64x2 {r} = zext {t} {a} to {d}
fd007 v128.load8_splat                    memarg i32 -> v128            load i8: i8x16 @splat
fd008 v128.load16_splat                   memarg i32 -> v128            load i16: i16x8 @splat
fd009 v128.load32_splat                   memarg i32 -> v128            load float: f32x4 @splat
fd00a v128.load64_splat                   memarg i32 -> v128            load double: f64x2 @splat
fd00b v128.store                          memarg i32 v128 ->            store <2 x i64>: i64x2
fd00c v128.const                          bits -> v128                  i64x2
fd00d i8x16.shuffle                       lanes v128 v128 -> v128       i8x16 @shuffle
fd00e i8x16.swizzle                       v128 v128 -> v128             i8x16 @swizzle
fd00f i8x16.splat                         i32 -> v128                   i8x16 @splat_narrow
fd010 i16x8.splat                         i32 -> v128                   i16x8 @splat_narrow
fd011 i32x4.splat                         i32 -> v128                   i32x4 @splat
fd012 i64x2.splat                         i64 -> v128                   i64x2 @splat
fd013 f32x4.splat                         f32 -> v128                   f32x4 @splat
fd014 f64x2.splat                         f64 -> v128                   f64x2 @splat
fd015 i8x16.extract_lane_s                lane v128 -> i32              i8x16 @extract_narrow sext
fd016 i8x16.extract_lane_u                lane v128 -> i32              i8x16 @extract_narrow zext
fd017 i8x16.replace_lane                  lane v128 i32 -> v128         i8x16 @replace_narrow
fd018 i16x8.extract_lane_s                lane v128 -> i32              i16x8 @extract_narrow sext
fd019 i16x8.extract_lane_u                lane v128 -> i32              i16x8 @extract_narrow zext
fd01a i16x8.replace_lane                  lane v128 i32 -> v128         i16x8 @replace_narrow
fd01b i32x4.extract_lane                  lane v128 -> i32              i32x4 @extract
fd01c i32x4.replace_lane                  lane v128 i32 -> v128         i32x4 @replace
fd01d i64x2.extract_lane                  lane v128 -> i64              i64x2 @extract
fd01e i64x2.replace_lane                  lane v128 i64 -> v128         i64x2 @replace
fd01f f32x4.extract_lane                  lane v128 -> f32              f32x4 @extract
fd020 f32x4.replace_lane                  lane v128 f32 -> v128         f32x4 @replace
fd021 f64x2.extract_lane                  lane v128 -> f64              f64x2 @extract
fd022 f64x2.replace_lane                  lane v128 f64 -> v128         f64x2 @replace
fd023 i8x16.eq                            v128 v128 -> v128             i8x16 ?icmp eq {s} {a}, {b}
fd024 i8x16.ne                            v128 v128 -> v128             i8x16 ?icmp ne {s} {a}, {b}
fd025 i8x16.lt_s                          v128 v128 -> v128             i8x16 ?icmp slt {s} {a}, {b}
fd026 i8x16.lt_u                          v128 v128 -> v128             i8x16 ?icmp ult {s} {a}, {b}
fd027 i8x16.gt_s                          v128 v128 -> v128             i8x16 ?icmp sgt {s} {a}, {b}
fd028 i8x16.gt_u                          v128 v128 -> v128             i8x16 ?icmp ugt {s} {a}, {b}
fd029 i8x16.le_s                          v128 v128 -> v128             i8x16 ?icmp sle {s} {a}, {b}
fd02a i8x16.le_u                          v128 v128 -> v128             i8x16 ?icmp ule {s} {a}, {b}
fd02b i8x16.ge_s                          v128 v128 -> v128             i8x16 ?icmp sge {s} {a}, {b}
fd02c i8x16.ge_u                          v128 v128 -> v128             i8x16 ?icmp uge {s} {a}, {b}
fd02d i16x8.eq                            v128 v128 -> v128             i16x8 ?icmp eq {s} {a}, {b}
fd02e i16x8.ne                            v128 v128 -> v128             i16x8 ?icmp ne {s} {a}, {b}
fd02f i16x8.lt_s                          v128 v128 -> v128             i16x8 ?icmp slt {s} {a}, {b}
fd030 i16x8.lt_u                          v128 v128 -> v128             i16x8 ?icmp ult {s} {a}, {b}
fd031 i16x8.gt_s                          v128 v128 -> v128             i16x8 ?icmp sgt {s} {a}, {b}
fd032 i16x8.gt_u                          v128 v128 -> v128             i16x8 ?icmp ugt {s} {a}, {b}
fd033 i16x8.le_s                          v128 v128 -> v128             i16x8 ?icmp sle {s} {a}, {b}
fd034 i16x8.le_u                          v128 v128 -> v128             i16x8 ?icmp ule {s} {a}, {b}
fd035 i16x8.ge_s                          v128 v128 -> v128             i16x8 ?icmp sge {s} {a}, {b}
fd036 i16x8.ge_u                          v128 v128 -> v128             i16x8 ?icmp uge {s} {a}, {b}
fd037 i32x4.eq                            v128 v128 -> v128             i32x4 ?icmp eq {s} {a}, {b}
fd038 i32x4.ne                            v128 v128 -> v128             i32x4 ?icmp ne {s} {a}, {b}
fd039 i32x4.lt_s                          v128 v128 -> v128             i32x4 ?icmp slt {s} {a}, {b}
fd03a i32x4.lt_u                          v128 v128 -> v128             i32x4 ?icmp ult {s} {a}, {b}
fd03b i32x4.gt_s                          v128 v128 -> v128             i32x4 ?icmp sgt {s} {a}, {b}
fd03c i32x4.gt_u                          v128 v128 -> v128             i32x4 ?icmp ugt {s} {a}, {b}
fd03d i32x4.le_s                          v128 v128 -> v128             i32x4 ?icmp sle {s} {a}, {b}
fd03e i32x4.le_u                          v128 v128 -> v128             i32x4 ?icmp ule {s} {a}, {b}
fd03f i32x4.ge_s                          v128 v128 -> v128             i32x4 ?icmp sge {s} {a}, {b}
fd040 i32x4.ge_u                          v128 v128 -> v128             i32x4 ?icmp uge {s} {a}, {b}
fd041 f32x4.eq                            v128 v128 -> v128             f32x4>i32x4 ?fcmp oeq {s} {a}, {b}
fd042 f32x4.ne                            v128 v128 -> v128             f32x4>i32x4 ?fcmp une {s} {a}, {b}
fd043 f32x4.lt                            v128 v128 -> v128             f32x4>i32x4 ?fcmp olt {s} {a}, {b}
fd044 f32x4.gt                            v128 v128 -> v128             f32x4>i32x4 ?fcmp ogt {s} {a}, {b}
fd045 f32x4.le                            v128 v128 -> v128             f32x4>i32x4 ?fcmp ole {s} {a}, {b}
fd046 f32x4.ge                            v128 v128 -> v128             f32x4>i32x4 ?fcmp oge {s} {a}, {b}
fd047 f64x2.eq                            v128 v128 -> v128             f64x2>i64x2 ?fcmp oeq {s} {a}, {b}
fd048 f64x2.ne                            v128 v128 -> v128             f64x2>i64x2 ?fcmp une {s} {a}, {b}
fd049 f64x2.lt                            v128 v128 -> v128             f64x2>i64x2 ?fcmp olt {s} {a}, {b}
fd04a f64x2.gt                            v128 v128 -> v128             f64x2>i64x2 ?fcmp ogt {s} {a}, {b}
fd04b f64x2.le                            v128 v128 -> v128             f64x2>i64x2 ?fcmp ole {s} {a}, {b}
fd04c f64x2.ge                            v128 v128 -> v128             f64x2>i64x2 ?fcmp oge {s} {a}, {b}
fd04d v128.not                            v128 -> v128                  i64x2 {r} = xor {s} {a}, splat (i64 -1)
fd04e v128.and                            v128 v128 -> v128             i64x2 {r} = and {s} {a}, {b}
fd04f v128.andnot                         v128 v128 -> v128             i64x2 @and_not
fd050 v128.or                             v128 v128 -> v128             i64x2 {r} = or {s} {a}, {b}
fd051 v128.xor                            v128 v128 -> v128             i64x2 {r} = xor {s} {a}, {b}
fd052 v128.bitselect                      v128 v128 v128 -> v128        i64x2 @bitselect
fd053 v128.any_true                       v128 -> i32                   i32x4 @any_true
fd054 v128.load8_lane                     memarg lane i32 v128 -> v128  load i8: i8x16 @load_lane
fd055 v128.load16_lane                    memarg lane i32 v128 -> v128  load i16: i16x8 @load_lane
fd056 v128.load32_lane                    memarg lane i32 v128 -> v128  load i32: i32x4 @load_lane
fd057 v128.load64_lane                    memarg lane i32 v128 -> v128  load i64: i64x2 @load_lane
fd058 v128.store8_lane                    memarg lane i32 v128 ->       store i8: i8x16 @extract
fd059 v128.store16_lane                   memarg lane i32 v128 ->       store i16: i16x8 @extract
fd05a v128.store32_lane                   memarg lane i32 v128 ->       store i32: i32x4 @extract
fd05b v128.store64_lane                   memarg lane i32 v128 ->       store i64: i64x2 @extract
fd05c v128.load32_zero                    memarg i32 -> v128            load i32: i32x4 @load_zero
fd05d v128.load64_zero                    memarg i32 -> v128            load i64: i64x2 @load_zero
fd05e f32x4.demote_f64x2_zero             v128 -> v128                  f64x2>f32x4 @demote
fd05f f64x2.promote_low_f32x4             v128 -> v128                  f32x4>f64x2 @promote_low
fd060 i8x16.abs                           v128 -> v128                  i8x16 @abs
fd061 i8x16.neg                           v128 -> v128                  i8x16 {r} = sub {s} zeroinitializer, {a}
fd062 i8x16.popcnt                        v128 -> v128                  i8x16 =ctpop
fd063 i8x16.all_true                      v128 -> i32                   i8x16 @all_true
fd064 i8x16.bitmask                       v128 -> i32                   i8x16 @bitmask
fd065 i8x16.narrow_i16x8_s                v128 v128 -> v128             i16x8>i8x16 @narrow_16_s
fd066 i8x16.narrow_i16x8_u                v128 v128 -> v128             i16x8>i8x16 @narrow_16_u
fd067 f32x4.ceil                          v128 -> v128                  f32x4 =ceil
fd068 f32x4.floor                         v128 -> v128                  f32x4 =floor
fd069 f32x4.trunc                         v128 -> v128                  f32x4 =trunc
fd06a f32x4.nearest                       v128 -> v128                  f32x4 =roundeven
fd06b i8x16.shl                           v128 i32 -> v128              i8x16 @shift shl
fd06c i8x16.shr_s                         v128 i32 -> v128              i8x16 @shift_8_right ashr
fd06d i8x16.shr_u                         v128 i32 -> v128              i8x16 @shift lshr
fd06e i8x16.add                           v128 v128 -> v128             i8x16 {r} = add {s} {a}, {b}
fd06f i8x16.add_sat_s                     v128 v128 -> v128             i8x16 =sadd.sat
fd070 i8x16.add_sat_u                     v128 v128 -> v128             i8x16 =uadd.sat
fd071 i8x16.sub                           v128 v128 -> v128             i8x16 {r} = sub {s} {a}, {b}
fd072 i8x16.sub_sat_s                     v128 v128 -> v128             i8x16 =ssub.sat
fd073 i8x16.sub_sat_u                     v128 v128 -> v128             i8x16 =usub.sat
fd074 f64x2.ceil                          v128 -> v128                  f64x2 =ceil
fd075 f64x2.floor                         v128 -> v128                  f64x2 =floor
fd076 i8x16.min_s                         v128 v128 -> v128             i8x16 =smin
fd077 i8x16.min_u                         v128 v128 -> v128             i8x16 =umin
fd078 i8x16.max_s                         v128 v128 -> v128             i8x16 =smax
fd079 i8x16.max_u                         v128 v128 -> v128             i8x16 =umax
fd07a f64x2.trunc                         v128 -> v128                  f64x2 =trunc
fd07b i8x16.avgr_u                        v128 v128 -> v128             i8x16 @average
fd07c i16x8.extadd_pairwise_i8x16_s       v128 -> v128                  i8x16>i16x8 @pairwise_8_s
fd07d i16x8.extadd_pairwise_i8x16_u       v128 -> v128                  i8x16>i16x8 @pairwise_8_u
fd07e i32x4.extadd_pairwise_i16x8_s       v128 -> v128                  i16x8>i32x4 @pairwise_16_s
fd07f i32x4.extadd_pairwise_i16x8_u       v128 -> v128                  i16x8>i32x4 @pairwise_16_u
fd080 i16x8.abs                           v128 -> v128                  i16x8 @abs
fd081 i16x8.neg                           v128 -> v128                  i16x8 {r} = sub {s} zeroinitializer, {a}
fd082 i16x8.q15mulr_sat_s                 v128 v128 -> v128             i16x8 @q15mulr_sat
fd083 i16x8.all_true                      v128 -> i32                   i16x8 @all_true
fd084 i16x8.bitmask                       v128 -> i32                   i16x8 @bitmask
fd085 i16x8.narrow_i32x4_s                v128 v128 -> v128             i32x4>i16x8 @narrow_32_s
fd086 i16x8.narrow_i32x4_u                v128 v128 -> v128             i32x4>i16x8 @narrow_32_u
fd087 i16x8.extend_low_i8x16_s            v128 -> v128                  i8x16>i16x8 @extend_low sext
fd088 i16x8.extend_high_i8x16_s           v128 -> v128                  i8x16>i16x8 @extend_high sext
fd089 i16x8.extend_low_i8x16_u            v128 -> v128                  i8x16>i16x8 @extend_low zext
fd08a i16x8.extend_high_i8x16_u           v128 -> v128                  i8x16>i16x8 @extend_high zext
fd08b i16x8.shl                           v128 i32 -> v128              i16x8 @shift shl
fd08c i16x8.shr_s                         v128 i32 -> v128              i16x8 @shift ashr
fd08d i16x8.shr_u                         v128 i32 -> v128              i16x8 @shift lshr
fd08e i16x8.add                           v128 v128 -> v128             i16x8 {r} = add {s} {a}, {b}
fd08f i16x8.add_sat_s                     v128 v128 -> v128             i16x8 =sadd.sat
fd090 i16x8.add_sat_u                     v128 v128 -> v128             i16x8 =uadd.sat
fd091 i16x8.sub                           v128 v128 -> v128             i16x8 {r} = sub {s} {a}, {b}
fd092 i16x8.sub_sat_s                     v128 v128 -> v128             i16x8 =ssub.sat
fd093 i16x8.sub_sat_u                     v128 v128 -> v128             i16x8 =usub.sat
fd094 f64x2.nearest                       v128 -> v128                  f64x2 =roundeven
fd095 i16x8.mul                           v128 v128 -> v128             i16x8 {r} = mul {s} {a}, {b}
fd096 i16x8.min_s                         v128 v128 -> v128             i16x8 =smin
fd097 i16x8.min_u                         v128 v128 -> v128             i16x8 =umin
fd098 i16x8.max_s                         v128 v128 -> v128             i16x8 =smax
fd099 i16x8.max_u                         v128 v128 -> v128             i16x8 =umax
fd09b i16x8.avgr_u                        v128 v128 -> v128             i16x8 @average
fd09c i16x8.extmul_low_i8x16_s            v128 v128 -> v128             i8x16>i16x8 @multiply_low sext
fd09d i16x8.extmul_high_i8x16_s           v128 v128 -> v128             i8x16>i16x8 @multiply_high sext
fd09e i16x8.extmul_low_i8x16_u            v128 v128 -> v128             i8x16>i16x8 @multiply_low zext
fd09f i16x8.extmul_high_i8x16_u           v128 v128 -> v128             i8x16>i16x8 @multiply_high zext
fd0a0 i32x4.abs                           v128 -> v128                  i32x4 @abs
fd0a1 i32x4.neg                           v128 -> v128                  i32x4 {r} = sub {s} zeroinitializer, {a}
fd0a3 i32x4.all_true                      v128 -> i32                   i32x4 @all_true
fd0a4 i32x4.bitmask                       v128 -> i32                   i32x4 @bitmask
fd0a7 i32x4.extend_low_i16x8_s            v128 -> v128                  i16x8>i32x4 @extend_low sext
fd0a8 i32x4.extend_high_i16x8_s           v128 -> v128                  i16x8>i32x4 @extend_high sext
fd0a9 i32x4.extend_low_i16x8_u            v128 -> v128                  i16x8>i32x4 @extend_low zext
fd0aa i32x4.extend_high_i16x8_u           v128 -> v128                  i16x8>i32x4 @extend_high zext
fd0ab i32x4.shl                           v128 i32 -> v128              i32x4 @shift shl
fd0ac i32x4.shr_s                         v128 i32 -> v128              i32x4 @shift ashr
fd0ad i32x4.shr_u                         v128 i32 -> v128              i32x4 @shift lshr
fd0ae i32x4.add                           v128 v128 -> v128             i32x4 {r} = add {s} {a}, {b}
fd0b1 i32x4.sub                           v128 v128 -> v128             i32x4 {r} = sub {s} {a}, {b}
fd0b5 i32x4.mul                           v128 v128 -> v128             i32x4 {r} = mul {s} {a}, {b}
fd0b6 i32x4.min_s                         v128 v128 -> v128             i32x4 =smin
fd0b7 i32x4.min_u                         v128 v128 -> v128             i32x4 =umin
fd0b8 i32x4.max_s                         v128 v128 -> v128             i32x4 =smax
fd0b9 i32x4.max_u                         v128 v128 -> v128             i32x4 =umax
fd0ba i32x4.dot_i16x8_s                   v128 v128 -> v128             i16x8>i32x4 @dot
fd0bc i32x4.extmul_low_i16x8_s            v128 v128 -> v128             i16x8>i32x4 @multiply_low_16_s sext
fd0bd i32x4.extmul_high_i16x8_s           v128 v128 -> v128             i16x8>i32x4 @multiply_high_16_s sext
fd0be i32x4.extmul_low_i16x8_u            v128 v128 -> v128             i16x8>i32x4 @multiply_low zext
fd0bf i32x4.extmul_high_i16x8_u           v128 v128 -> v128             i16x8>i32x4 @multiply_high zext
fd0c0 i64x2.abs                           v128 -> v128                  i64x2 @abs
fd0c1 i64x2.neg                           v128 -> v128                  i64x2 {r} = sub {s} zeroinitializer, {a}
fd0c3 i64x2.all_true                      v128 -> i32                   i64x2 @all_true_64
fd0c4 i64x2.bitmask                       v128 -> i32                   i64x2 @bitmask
fd0c7 i64x2.extend_low_i32x4_s            v128 -> v128                  i32x4>i64x2 @extend_low sext
fd0c8 i64x2.extend_high_i32x4_s           v128 -> v128                  i32x4>i64x2 @extend_high sext
fd0c9 i64x2.extend_low_i32x4_u            v128 -> v128                  i32x4>i64x2 @extend_low zext
fd0ca i64x2.extend_high_i32x4_u           v128 -> v128                  i32x4>i64x2 @extend_high zext
fd0cb i64x2.shl                           v128 i32 -> v128              i64x2 @shift shl
fd0cc i64x2.shr_s                         v128 i32 -> v128              i64x2 @shift ashr
fd0cd i64x2.shr_u                         v128 i32 -> v128              i64x2 @shift lshr
fd0ce i64x2.add                           v128 v128 -> v128             i64x2 {r} = add {s} {a}, {b}
fd0d1 i64x2.sub                           v128 v128 -> v128             i64x2 {r} = sub {s} {a}, {b}
fd0d5 i64x2.mul                           v128 v128 -> v128             i64x2 {r} = mul {s} {a}, {b}
fd0d6 i64x2.eq                            v128 v128 -> v128             i64x2 ?icmp eq {s} {a}, {b}
fd0d7 i64x2.ne                            v128 v128 -> v128             i64x2 ?icmp ne {s} {a}, {b}
fd0d8 i64x2.lt_s                          v128 v128 -> v128             i64x2 ?icmp slt {s} {a}, {b}
fd0d9 i64x2.gt_s                          v128 v128 -> v128             i64x2 ?icmp sgt {s} {a}, {b}
fd0da i64x2.le_s                          v128 v128 -> v128             i64x2 ?icmp sle {s} {a}, {b}
fd0db i64x2.ge_s                          v128 v128 -> v128             i64x2 ?icmp sge {s} {a}, {b}
fd0dc i64x2.extmul_low_i32x4_s            v128 v128 -> v128             i32x4>i64x2 @multiply_low sext
fd0dd i64x2.extmul_high_i32x4_s           v128 v128 -> v128             i32x4>i64x2 @multiply_high sext
fd0de i64x2.extmul_low_i32x4_u            v128 v128 -> v128             i32x4>i64x2 @multiply_low zext
fd0df i64x2.extmul_high_i32x4_u           v128 v128 -> v128             i32x4>i64x2 @multiply_high zext
fd0e0 f32x4.abs                           v128 -> v128                  f32x4 =fabs
fd0e1 f32x4.neg                           v128 -> v128                  f32x4 {r} = fneg {s} {a}
fd0e3 f32x4.sqrt                          v128 -> v128                  f32x4 =sqrt
fd0e4 f32x4.add                           v128 v128 -> v128             f32x4 ~{r} = fadd {s} {a}, {b}
fd0e5 f32x4.sub                           v128 v128 -> v128             f32x4 ~{r} = fsub {s} {a}, {b}
fd0e6 f32x4.mul                           v128 v128 -> v128             f32x4 ~{r} = fmul {s} {a}, {b}
fd0e7 f32x4.div                           v128 v128 -> v128             f32x4 ~{r} = fdiv {s} {a}, {b}
fd0e8 f32x4.min                           v128 v128 -> v128             f32x4 ~@minimum
fd0e9 f32x4.max                           v128 v128 -> v128             f32x4 ~@maximum
fd0ea f32x4.pmin                          v128 v128 -> v128             f32x4 @pseudo_minimum
fd0eb f32x4.pmax                          v128 v128 -> v128             f32x4 @pseudo_maximum
fd0ec f64x2.abs                           v128 -> v128                  f64x2 =fabs
fd0ed f64x2.neg                           v128 -> v128                  f64x2 {r} = fneg {s} {a}
fd0ef f64x2.sqrt                          v128 -> v128                  f64x2 =sqrt
fd0f0 f64x2.add                           v128 v128 -> v128             f64x2 ~{r} = fadd {s} {a}, {b}
fd0f1 f64x2.sub                           v128 v128 -> v128             f64x2 ~{r} = fsub {s} {a}, {b}
fd0f2 f64x2.mul                           v128 v128 -> v128             f64x2 ~{r} = fmul {s} {a}, {b}
fd0f3 f64x2.div                           v128 v128 -> v128             f64x2 ~{r} = fdiv {s} {a}, {b}
fd0f4 f64x2.min                           v128 v128 -> v128             f64x2 ~@minimum
fd0f5 f64x2.max                           v128 v128 -> v128             f64x2 ~@maximum
fd0f6 f64x2.pmin                          v128 v128 -> v128             f64x2 @pseudo_minimum
fd0f7 f64x2.pmax                          v128 v128 -> v128             f64x2 @pseudo_maximum
fd0f8 i32x4.trunc_sat_f32x4_s             v128 -> v128                  f32x4>i32x4 @truncate_f32_s
fd0f9 i32x4.trunc_sat_f32x4_u             v128 -> v128                  f32x4>i32x4 @truncate_f32_u
fd0fa f32x4.convert_i32x4_s               v128 -> v128                  i32x4>f32x4 {r} = sitofp {s} {a} to {d}
fd0fb f32x4.convert_i32x4_u               v128 -> v128                  i32x4>f32x4 {r} = uitofp {s} {a} to {d}
fd0fc i32x4.trunc_sat_f64x2_s_zero        v128 -> v128                  f64x2>i32x4 @truncate_f64_s
fd0fd i32x4.trunc_sat_f64x2_u_zero        v128 -> v128                  f64x2>i32x4 @truncate_f64_u
fd0fe f64x2.convert_low_i32x4_s           v128 -> v128                  i32x4>f64x2 @convert_low sitofp
fd0ff f64x2.convert_low_i32x4_u           v128 -> v128                  i32x4>f64x2 @convert_low uitofp
"""

_RELAXED_TABLE = """
fd100 i8x16.relaxed_swizzle               v128 v128 -> v128             i8x16 @relaxed_swizzle
fd101 i32x4.relaxed_trunc_f32x4_s         v128 -> v128                  f32x4>i32x4 @relaxed_truncate_f32_s
fd102 i32x4.relaxed_trunc_f32x4_u         v128 -> v128                  f32x4>i32x4 @relaxed_truncate_f32_u
fd103 i32x4.relaxed_trunc_f64x2_s_zero    v128 -> v128                  f64x2>i32x4 @relaxed_truncate_f64_s
fd104 i32x4.relaxed_trunc_f64x2_u_zero    v128 -> v128                  f64x2>i32x4 @relaxed_truncate_f64_u
fd105 f32x4.relaxed_madd                  v128 v128 v128 -> v128        f32x4 ~@relaxed_madd
fd106 f32x4.relaxed_nmadd                 v128 v128 v128 -> v128        f32x4 ~@relaxed_nmadd
fd107 f64x2.relaxed_madd                  v128 v128 v128 -> v128        f64x2 ~@relaxed_madd
fd108 f64x2.relaxed_nmadd                 v128 v128 v128 -> v128        f64x2 ~@relaxed_nmadd
fd109 i8x16.relaxed_laneselect            v128 v128 v128 -> v128        i8x16 @relaxed_laneselect
fd10a i16x8.relaxed_laneselect            v128 v128 v128 -> v128        i16x8 @relaxed_laneselect_16
fd10b i32x4.relaxed_laneselect            v128 v128 v128 -> v128        i32x4 @relaxed_laneselect
fd10c i64x2.relaxed_laneselect            v128 v128 v128 -> v128        i64x2 @relaxed_laneselect
fd10d f32x4.relaxed_min                   v128 v128 -> v128             f32x4 ~@relaxed_minimum
fd10e f32x4.relaxed_max                   v128 v128 -> v128             f32x4 ~@relaxed_maximum
fd10f f64x2.relaxed_min                   v128 v128 -> v128             f64x2 ~@relaxed_minimum
fd110 f64x2.relaxed_max                   v128 v128 -> v128             f64x2 ~@relaxed_maximum
fd111 i16x8.relaxed_q15mulr_s             v128 v128 -> v128             i16x8 @relaxed_q15mulr
fd112 i16x8.relaxed_dot_i8x16_i7x16_s     v128 v128 -> v128             i8x16>i16x8 @relaxed_dot
fd113 i32x4.relaxed_dot_i8x16_i7x16_add_s v128 v128 v128 -> v128        i8x16>i32x4 @relaxed_dot_add
"""

# Opcodes of later proposals, by first byte: a module that uses one is told which feature is missing.
UNSUPPORTED_OPCODES: dict[int, str] = {
    0x06: "legacy exceptions",
    0x07: "legacy exceptions",
    0x09: "legacy exceptions",
    0x18: "legacy exceptions",
    0x19: "legacy exceptions",
    0xE0: "stack switching",
    0xE1: "stack switching",
    0xE2: "stack switching",
    0xE3: "stack switching",
    0xE4: "stack switching",
    0xE5: "stack switching",
}

# What follows an opcode -> how it is encoded: x an index or number in LEB128; 4, 8 so many bytes; m a memory argument;
# b a block type; l labels of br_table; c clauses of try_table; t value types, counted; h a heap type; 1 a byte, w 16
# of them, of vector rows.
IMMEDIATES: dict[str, str] = {
    **dict.fromkeys(
        ("label", "function", "type", "table", "memory", "global", "local", "data", "elem", "signed", "tag"), "x"
    ),
    **dict.fromkeys(("field", "count"), "x"),
    "bytes4": "4",
    "bytes8": "8",
    "memarg": "m",
    "atomic": "m",  # whose alignment is the natural one
    "zero": "1",
    "blocktype": "b",
    "labels": "l",
    "catches": "c",
    "types": "t",
    "heaptype": "h",
    "castflags": "1",
    "lane": "1",
    "lanes": "w",
    "bits": "w",
}
_VECTOR_IMMEDIATES = frozenset(("memarg", "lane", "lanes", "bits"))

INTERPRETED, COMPILED = "i", "c"  # first tiers

# Instructions that take no fuel, as in wasmtime: unreachable, nop, block, loop, else, end, return, drop. Of all others
# each takes one (compile/metering.py).
FREE_OF_FUEL = frozenset((0x00, 0x01, 0x02, 0x03, 0x05, 0x0B, 0x0F, 0x1A))

# How a row is handled by the body walker.
BINARY, FLOAT_BINARY, COMPARISON, LOAD, STORE, UNARY, CONDITION, SPECIAL, VECTOR, ATOMIC = range(10)


@dataclass(frozen=True, slots=True)
class Op:
    """One row. `code` is the opcode, for prefixed ones ``prefix << 8 | sub-opcode``, for vectors ``<< 12``."""

    code: int
    name: str
    kind: int
    params: tuple[int, ...]
    result: int  # UNKNOWN where there is none (or the row is special)
    lowering: str
    memory_type: str = ""  # LLVM type in memory, for loads and stores
    value_type: str = ""  # LLVM type of the value, for loads and stores
    access_bytes: int = 0  # width of a load or store, which is also its natural alignment
    immediates: tuple[str, ...] = ()  # in order
    feature: str = ""  # of `Features`
    first_tier: str = COMPILED
    shape: str = ""  # lane shape of a vector row's operands
    result_shape: str = ""


_WIDTHS = {"": 0, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "float": 4, "double": 8}
_WIDTHS |= {"<8 x i8>": 8, "<4 x i16>": 8, "<2 x i32>": 8, "<2 x i64>": 16}


def _parse_row(line: str) -> Op:
    code, name, first_tier, feature, rest = line.split(None, 4)
    feature = feature.strip("-")
    operands, _, tail = rest.partition("->")
    words = operands.split()
    immediates = tuple(word for word in words if word in IMMEDIATES)
    if words[-1] == "special":
        return Op(
            int(code, 16),
            name,
            SPECIAL,
            (),
            UNKNOWN,
            "special",
            immediates=immediates,
            feature=feature,
            first_tier=first_tier,
        )
    params = tuple(VALTYPE_CODES[word] for word in words[len(immediates) :])
    first, _, lowering = tail.strip().partition(" ")
    result = VALTYPE_CODES.get(first, UNKNOWN)
    lowering = lowering.strip() if result else tail.strip()
    memory_type = value_type = ""
    if lowering.startswith("atomic "):
        kind = ATOMIC
        _, lowering, *types = lowering.split()
        memory_type, value_type = types or ("", "")
    elif lowering.startswith(("load ", "store ")):
        access, memory_type, value_type = lowering.split()
        kind = LOAD if access == "load" else STORE
    elif lowering.startswith("?"):
        kind = CONDITION if len(params) == 1 else COMPARISON
    elif lowering.startswith("~"):
        kind = FLOAT_BINARY
    else:
        kind = UNARY if len(params) == 1 else BINARY
    return Op(
        int(code, 16),
        name,
        kind,
        params,
        result,
        lowering,
        memory_type,
        value_type,
        _WIDTHS[memory_type],
        immediates,
        feature,
        first_tier,
    )


def _parse_vector_row(line: str, feature: str) -> Op:
    code, name, rest = line.split(None, 2)
    operands, _, tail = rest.partition("->")
    words = operands.split()
    immediates = tuple(word for word in words if word in _VECTOR_IMMEDIATES)
    params = tuple(VALTYPE_CODES[word] for word in words[len(immediates) :])
    first, _, lowering = tail.strip().partition(" ")
    result = VALTYPE_CODES.get(first, UNKNOWN)
    lowering = lowering.strip() if result else tail.strip()
    memory_type = ""
    if lowering.startswith(("load ", "store ")):
        access, _, lowering = lowering.partition(": ")
        memory_type = access.partition(" ")[2]
    shapes, _, lowering = lowering.partition(" ")
    shape, _, result_shape = shapes.partition(">")
    return Op(
        int(code, 16),
        name,
        VECTOR,
        params,
        result,
        lowering,
        memory_type,
        access_bytes=_WIDTHS[memory_type],
        immediates=immediates,
        feature=feature,
        first_tier=INTERPRETED,
        shape=shape,
        result_shape=result_shape or shape,
    )


OPS: dict[int, Op] = {op.code: op for op in map(_parse_row, filter(None, _TABLE.splitlines()))}
for _table, _feature in ((_VECTOR_TABLE, "simd"), (_RELAXED_TABLE, "relaxed_simd")):
    OPS |= {op.code: op for op in (_parse_vector_row(line, _feature) for line in filter(None, _table.splitlines()))}
OP_BY_NAME: dict[str, Op] = {op.name: op for op in OPS.values()}

# Opcodes of those without lanes whose result may be a NaN that no operand is: Config.nan_canonicalization has it be the
# canonical one.
_ARITHMETIC = ("add", "sub", "mul", "div", "sqrt", "ceil", "floor", "trunc", "nearest")
MAKES_NANS = frozenset(
    code
    for code, op in OPS.items()
    if op.kind in (BINARY, FLOAT_BINARY, UNARY)
    and op.result in (F32, F64)
    and (op.name[4:] in _ARITHMETIC or op.lowering[0] == "@")
)

# The instructions of constant expressions (spec section 3.3.10), by the feature that brought them there. The decoder
# reads no others, and the walk through a constant function (wasm/constant_walk.py) takes no others.
_CONSTANT = {
    "": "i32.const i64.const f32.const f64.const global.get ref.null ref.func",
    "simd": "v128.const",
    "extended_const": "i32.add i32.sub i32.mul i64.add i64.sub i64.mul",
    "gc": "struct.new struct.new_default array.new array.new_default array.new_fixed ref.i31 any.convert_extern "
    "extern.convert_any",
}
# Opcode -> that feature.
CONSTANT_FEATURES: dict[int, str] = {
    OP_BY_NAME[name].code: feature for feature, names in _CONSTANT.items() for name in names.split()
}
