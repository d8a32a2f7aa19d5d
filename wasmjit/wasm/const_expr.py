"""Constant expressions (spec section 3.3.10): a plain instruction, as nearly always, or a call of what computes them.

An expression of several instructions is the body of a *constant function*: it takes nothing, gives the one value, and
stands behind the functions of the module in its function index space, where nothing but the expression refers to it
(`wasm.module.ConstantFunction`).

The opcodes are those of `wasm.ops`, a table of all instructions, which running a compiled module does not take.
"""

from __future__ import annotations

# A constant expression, already parsed: ((opcode, immediate),) without its `end`, with one of PLAIN, or CALL of a
# constant function; () for one of no instructions, which is invalid.
# Immediates: i32.const / i64.const signed int; f32.const / f64.const / v128.const the raw bits as an unsigned int
# (Python floats would quieten signalling NaNs); global.get / ref.func / call an index; ref.null the reference type.
ConstExpr = tuple[tuple[int, int], ...]

I32_CONST, I64_CONST, F32_CONST, F64_CONST = 0x41, 0x42, 0x43, 0x44
V128_CONST = 0xFD00C
GLOBAL_GET, REF_NULL, REF_FUNC = 0x23, 0xD0, 0xD2
CALL = 0x10
PLAIN = frozenset((I32_CONST, I64_CONST, F32_CONST, F64_CONST, V128_CONST, GLOBAL_GET, REF_NULL, REF_FUNC))
MASK_32 = (1 << 32) - 1
MASK_64 = (1 << 64) - 1


def constant(expression: ConstExpr) -> int | None:
    """The raw bits of an expression that is one constant or null; None for any other.

    >>> constant(((I32_CONST, -1),))
    4294967295
    """
    if len(expression) != 1:
        return None
    opcode, immediate = expression[0]
    if opcode in (I32_CONST, F32_CONST):
        return immediate & MASK_32
    if opcode in (I64_CONST, F64_CONST):
        return immediate & MASK_64
    if opcode == V128_CONST:
        return immediate
    return 0 if opcode == REF_NULL else None
