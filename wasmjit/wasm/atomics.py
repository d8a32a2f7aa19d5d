"""The atomic instructions (prefix 0xFE): their immediates and operand types, by the rows of the opcode table."""

from __future__ import annotations

from ..errors import MalformedError
from .leb128 import read_u32
from .ops import OPS
from .vectors import VectorInstructions


class AtomicInstructions(VectorInstructions):
    """See the module's docstring."""

    def op_prefix_fe(self, at: int) -> int:
        """Checks and lowers the atomic instruction whose sub-opcode is at `at`."""
        sub, at = read_u32(self.wasm, at)
        row = OPS.get(0xFE00 | sub) if sub < 0x100 else None
        if row is None:
            raise MalformedError(f"illegal opcode 0xfe {sub:#04x}", offset=self.op_at)
        self.note(row)
        self.need(row.feature)
        offset, params = 0, row.params
        if row.access_bytes:
            offset, at = self.memarg(at)
            if 1 << self.align != row.access_bytes:
                self.invalid("alignment of an atomic access must be natural")
            params = (self.module.memories[self.memory].address_type, *params[1:])
        else:  # atomic.fence
            at += 1
            if self.wasm[at - 1] != 0:
                raise MalformedError("zero byte expected", offset=at - 1)
        self.pop_all(params)
        if row.result:
            self.types.append(row.result)
        if self.live and self.lowering is not None:
            self.lowering.atomic(row, self.memory if row.access_bytes else 0, offset, self.op_at)
        return at
