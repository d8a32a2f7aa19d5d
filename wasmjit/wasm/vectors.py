"""The vector instructions (prefix 0xFD): their immediates and operand types, by the rows of the opcode table."""

from __future__ import annotations

from ..errors import MalformedError
from .leb128 import read_u32
from .operands import Operands
from .ops import OPS, VECTOR, Op

LANES = {"i8x16": 16, "i16x8": 8, "i32x4": 4, "i64x2": 2, "f32x4": 4, "f64x2": 2}
VECTOR_BYTES = 16


def _rows() -> list[Op | None]:
    vectors = [op for op in OPS.values() if op.kind == VECTOR]
    rows: list[Op | None] = [None] * (max(op.code & 0xFFF for op in vectors) + 1)
    for op in vectors:
        rows[op.code & 0xFFF] = op
    return rows


ROWS = _rows()  # by sub-opcode


class VectorInstructions(Operands):
    """See the module's docstring."""

    def op_prefix_fd(self, at: int) -> int:
        """Checks and lowers the vector instruction whose sub-opcode is at `at`."""
        sub = self.wasm[at]
        at += 1
        if sub >= 0x80:
            sub, at = read_u32(self.wasm, at - 1)
        row = ROWS[sub] if sub < len(ROWS) else None
        if row is None:
            raise MalformedError(f"illegal opcode 0xfd {sub:#04x}", offset=self.op_at)
        self.note(row)
        if row.feature != "simd" or not self.module.features.simd:
            self.need(row.feature if self.module.features.simd else "simd")
        immediate = offset = 0
        params = row.params
        if row.immediates:
            immediate, offset, at = self.vector_immediates(row, at)
            if row.access_bytes:
                params = (self.module.memories[self.memory].address_type, *params[1:])
        types = self.types
        count = len(params)
        first = len(types) - count
        if first >= self.frame.height and tuple(types[first:]) == params:
            del types[first:]
        else:
            self.pop_all(params)
        if row.result:
            types.append(row.result)
        if self.live and self.lowering is not None:
            self.lowering.vector(row, immediate, self.memory if row.access_bytes else 0, offset, self.op_at)
        return at

    def vector_immediates(self, row: Op, at: int) -> tuple[int, int, int]:
        """A row's immediates: (lane, 16 lanes or 128 bits as a little-endian number; memory offset; next offset)."""
        wasm = self.wasm
        immediate = offset = 0
        for kind in row.immediates:
            if kind == "memarg":
                offset, at = self.memarg(at)
                if 1 << self.align > row.access_bytes:
                    self.invalid("alignment must not be larger than natural")
            elif kind == "lane":
                immediate = wasm[at]
                at += 1
                if immediate >= LANES[row.shape]:
                    self.invalid(f"invalid lane index {immediate}: {row.shape} has {LANES[row.shape]} lanes")
            else:
                lanes = wasm[at : at + VECTOR_BYTES]
                at += VECTOR_BYTES
                if at > self.body.end:
                    raise MalformedError("unexpected end", offset=self.body.end)
                if kind == "lanes" and max(lanes) >= 2 * VECTOR_BYTES:
                    self.invalid(f"invalid lane index {max(lanes)}: two vectors have 32 bytes")
                immediate = int.from_bytes(lanes, "little")
        return immediate, offset, at
