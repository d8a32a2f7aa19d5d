"""Preview 1 in a `Linker`: the functions of `preview1` as host functions of whichever Store calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ..errors import WasmError
from ..runtime.externs import Memory
from ..runtime.store import StoreRecord, record_of
from ..runtime.values import FuncType, ValType
from .config import WasiConfig, WasiContext
from .preview1 import FUNCTIONS, MODULE_NAME, WasiFunction, call

if TYPE_CHECKING:
    from ..runtime.func import Caller
    from ..runtime.linker import Linker

_VALUE_TYPES = {"i": ValType.i32, "I": ValType.i64}


def _context_of(record: StoreRecord) -> WasiContext:
    """The context of a Store: made from the WasiConfig given to ``set_wasi`` when it is first needed."""
    if isinstance(record.wasi, WasiConfig):
        record.wasi = record.wasi.build()
    if record.wasi is None:
        raise WasmError("WASI is not configured in this Store: call Store.set_wasi(WasiConfig()) first")
    return cast(WasiContext, record.wasi)


def _view_of(memory: Memory, caller: Caller, context: WasiContext) -> memoryview:
    """The bytes of the guest's memory. The last view is used again while memory and size are the same.

    A memory that may move (explicit bounds checks) moves only when it grows.
    """
    owner, view = context.last_view
    if owner is not memory._item or len(view) != memory.data_len(caller):
        view = memoryview(memory.get_buffer_ptr(caller)).cast("B")
        context.last_view = memory._item, view
    return view


def _host_function(function: WasiFunction) -> Callable[..., int | None]:
    """`function` as a host function that takes a Caller."""

    def host(caller: Caller, *arguments: int) -> int | None:
        memory = caller.get("memory")
        if not isinstance(memory, Memory):
            raise WasmError(f"{MODULE_NAME}::{function.name}: the calling module exports no memory named `memory`")
        context = _context_of(record_of(caller))
        code = call(function, context, _view_of(memory, caller, context), arguments)
        return code if function.results else None

    return host


def add_to_linker(linker: Linker) -> None:
    """Defines every preview 1 function in `linker`; each call uses the WASI configuration of the calling Store.

    Raises WasmError if one of the names is defined already and shadowing is not allowed.
    """
    for function in FUNCTIONS.values():
        type = FuncType(
            [_VALUE_TYPES[letter]() for letter in function.params],
            [_VALUE_TYPES[letter]() for letter in function.results],
        )
        linker.define_func(MODULE_NAME, function.name, type, _host_function(function), access_caller=True)
