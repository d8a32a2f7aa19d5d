"""The walk through a constant function: that of any body, with constant instructions only (spec section 3.3.10)."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import MalformedError, ValidationError
from .body import LOOK_BYTES, BodyWalker
from .body_facts import BodyFacts
from .deadline import check, each
from .instructions import METHODS, Method
from .leb128 import read_u32
from .lowering import FAST_ROWS, FUNCTION_BODY, FastRow, Frame
from .module import ConstantFunction, Module
from .ops import CONSTANT_FEATURES, OP_BY_NAME
from .types import UNKNOWN

_END, _GC_PREFIX, _SIMD_PREFIX = 0x0B, 0xFB, 0xFD


def check_constant_functions(module: Module) -> None:
    """Validates all constant functions. Raises what `walk_body` raises, which says what the expression is of.

    What is valid here the runtime evaluates (runtime_c/constants.c), in every tier.
    """
    functions, first = module.constant_functions, len(module.functions)
    walker = ConstantWalker(module, first, None) if functions else None
    for position in each(len(functions)):
        assert walker is not None
        index = first + position
        if position:
            walker.go_on(index, functions[position])
        walker.walk()


def check_constant_global(module: Module, index: int, num_globals: int, offset: int) -> None:
    """Of a global that a constant expression reads: it is immutable, and has its value then.

    Those of the module came with the garbage collection proposal; without it, imported ones can be read.
    """
    if index >= len(module.globals):
        raise ValidationError(f"unknown global {index}", offset=offset)
    if index >= num_globals:
        raise ValidationError(f"unknown global {index}: only globals before this can be read here", offset=offset)
    if index >= module.num_imported_globals:
        module.features.check_is_on("gc", offset)
    if module.globals[index].mutable:
        raise ValidationError(f"constant expression required: global {index} is mutable", offset=offset)


class ConstantWalker(BodyWalker):
    """The walk through one constant function, and then others: there may be a hundred thousand short ones."""

    def go_on(self, index: int, function: ConstantFunction) -> None:
        """Makes the next walk one through another function, after one that found no error."""
        if (function.result,) != self.type.results:
            self.type = self.module.function_type(index)
        self.function_index, self.body = index, function
        self.types.clear()
        self.frame = Frame(FUNCTION_BODY, (), self.type.results, 0, False)
        self.done = False
        self.needed.clear()
        self.is_interpretable = True

    def walk(self) -> BodyFacts:
        """As `run`, with errors that name what the expression is of."""
        try:
            return self.run()
        except IndexError:
            raise MalformedError("unexpected end", offset=len(self.module.wasm)) from None
        except (MalformedError, ValidationError) as error:
            name = self.module.function_name(self.function_index)
            raise type(error)(f"{error.reason}, in the {name}", offset=error.offset) from None

    def look(self, at: int) -> int:
        """As of any body, but none at the clock where it begins: most are short."""
        if at > self.body.end:
            raise MalformedError("unexpected end", offset=self.body.end)
        if at > self.body.start:
            check()
        return min(at + LOOK_BYTES, self.body.end + 1)

    def instructions(self) -> tuple[Sequence[Method], Sequence[FastRow | None]]:
        return _METHODS, _ROWS

    def refuse(self, at: int) -> int:
        """What is no constant instruction."""
        self.invalid(f"constant expression required: opcode {self.wasm[self.op_at]:#04x}")

    def op_constant_global_get(self, at: int) -> int:
        assert isinstance(self.body, ConstantFunction)
        index, _ = self.read_index(at)
        check_constant_global(self.module, index, self.body.num_globals, self.op_at)
        return self.op_global_get(at)

    def op_constant_vector(self, at: int) -> int:
        sub, _ = read_u32(self.wasm, at)
        if sub >= 1 << 12 or (_SIMD_PREFIX << 12) + sub not in CONSTANT_FEATURES:
            return self.refuse(at)
        return self.op_prefix_fd(at)

    def op_constant_prefix_fb(self, at: int) -> int:
        sub, _ = read_u32(self.wasm, at)
        if sub >= 1 << 8 or (_GC_PREFIX << 8) + sub not in CONSTANT_FEATURES:
            return self.refuse(at)
        return self.op_prefix_fb(at)


def _methods() -> list[Method]:
    methods: list[Method] = [
        method if code in CONSTANT_FEATURES or code == _END else ConstantWalker.refuse
        for code, method in enumerate(METHODS)
    ]
    methods[OP_BY_NAME["global.get"].code] = ConstantWalker.op_constant_global_get
    methods[_SIMD_PREFIX] = ConstantWalker.op_constant_vector
    methods[_GC_PREFIX] = ConstantWalker.op_constant_prefix_fb
    return methods


_METHODS = _methods()
_ROWS = [row if code in CONSTANT_FEATURES else None for code, row in enumerate(FAST_ROWS[UNKNOWN])]
