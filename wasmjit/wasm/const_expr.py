"""Constant expressions (spec section 3.3.10) that are one instruction, as nearly all are.

The opcodes are those of `wasm.ops`, a table of all instructions, which running a compiled module does not take.
"""

from __future__ import annotations

# A constant expression, already parsed: ((opcode, immediate), ...) without its `end`.
# Immediates: i32.const / i64.const signed int; f32.const / f64.const the raw bits as an unsigned int (Python floats
# would quieten signalling NaNs); global.get / ref.func an index; ref.null the reference type; arithmetic None.
ConstExpr = tuple[tuple[int, int | None], ...]

I32_CONST, I64_CONST, F32_CONST, F64_CONST = 0x41, 0x42, 0x43, 0x44
V128_CONST = 0xFD00C
GLOBAL_GET, REF_NULL, REF_FUNC = 0x23, 0xD0, 0xD2
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
    if opcode in (I32_CONST, F32_CONST) and immediate is not None:
        return immediate & MASK_32
    if opcode in (I64_CONST, F64_CONST) and immediate is not None:
        return immediate & MASK_64
    if opcode == V128_CONST:
        return immediate
    return 0 if opcode == REF_NULL else None
