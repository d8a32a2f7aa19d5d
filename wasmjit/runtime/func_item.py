"""What stands for a function of a store before there is a Func of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wasm import types as wt
from .native_store import NativeStore
from .trampolines import Trampoline
from .type_ids import Signature

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from ..records import dataclass


@dataclass(slots=True, eq=False)
class FuncItem:
    """A function of one store: the address of its func-ref (abi.FUNC_REF).

    `signature` and `enter` are what calls of it take; there may be no trampoline (yet).
    """

    address: int
    type: wt.FuncType
    signature: Signature
    enter: Trampoline | None

    def current_type(self, _native: NativeStore) -> wt.FuncType:
        """Its type."""
        return self.type
