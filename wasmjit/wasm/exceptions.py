"""The instructions of exception handling (spec section 4.6: throw, throw_ref, try_table)."""

from __future__ import annotations

from ..errors import MalformedError
from .lowering import TRY_TABLE, Catch, Frame
from .operands import Operands
from .types import EXNREF, NON_NULL, matches, result_type_text

# The first byte of a clause: bits for whether it gives a reference, and whether it takes every exception.
_TAKES_REFERENCE, _TAKES_ALL, _CLAUSES = 1, 2, 4


class ExceptionInstructions(Operands):
    """See the module's docstring."""

    def tag_params(self, index: int) -> tuple[int, ...]:
        """What exceptions with a tag carry."""
        module = self.module
        if index >= len(module.tags):
            self.invalid(f"unknown tag {index}")
        return self.function_type(module.tags[index]).params

    def op_throw(self, at: int) -> int:
        self.need("exceptions")
        tag, at = self.read_index(at)
        self.pop_all(self.tag_params(tag))
        if self.live and self.lowering is not None:
            self.lowering.throw(tag, self.op_at)
        self.set_unreachable()
        return at

    def op_throw_ref(self, at: int) -> int:
        self.need("exceptions")
        self.pop(EXNREF)
        if self.live and self.lowering is not None:
            self.lowering.throw_ref(self.op_at)
        self.set_unreachable()
        return at

    def op_try_table(self, at: int) -> int:
        self.need("exceptions")
        params: tuple[int, ...] = ()
        results: tuple[int, ...] = ()
        if self.wasm[at] == 0x40:
            at += 1
        else:
            params, results, at = self.block_type(at)
        self.pop_all(params)
        catches, at = self.catches(at)
        frame = Frame(TRY_TABLE, params, results, len(self.types), not self.live)
        frame.catches = catches
        self.types.extend(params)
        self.frames.append(self.frame)
        self.frame = frame
        if self.live and self.lowering is not None:
            self.lowering.try_table(frame)
        return at

    def catches(self, at: int) -> tuple[list[Catch], int]:
        """The clauses, whose labels are those around the instruction, and the next offset."""
        count, at = self.read_index(at)
        if count > self.body.end - at:
            raise MalformedError("unexpected end", offset=self.body.end)
        found = []
        for _ in range(count):
            clause = self.wasm[at]
            if clause >= _CLAUSES:
                raise MalformedError(f"malformed catch clause {clause:#04x}", offset=at)
            at += 1
            tag = None
            carried: tuple[int, ...] = ()
            if not clause & _TAKES_ALL:
                tag, at = self.read_index(at)
                carried = self.tag_params(tag)
            if clause & _TAKES_REFERENCE:
                carried += (EXNREF | NON_NULL,)
            depth, at = self.read_index(at)
            frame = self.target(depth)
            wanted = frame.label_types
            if len(carried) != len(wanted) or not all(map(matches, carried, wanted)):
                self.invalid(
                    f"type mismatch: a clause gives {result_type_text(carried)} to a label that takes "
                    f"{result_type_text(wanted)}"
                )
            found.append(Catch(tag, bool(clause & _TAKES_REFERENCE), frame))
        return found, at
