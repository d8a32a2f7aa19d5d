"""Preview 1 in a `Linker`: the functions of `preview1` as host functions of whichever Store calls them."""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import WasmError
from ..runtime.caller import Caller
from ..runtime.externs import Memory
from ..runtime.linker import AddressDefinition
from ..runtime.store import StoreRecord
from ..runtime.values import FuncType, ValType
from . import native
from .config import WasiConfig
from .context import WasiContext
from .preview1 import MODULES, WasiFunction, call

if TYPE_CHECKING:
    from ..runtime.linker import Linker

_VALUE_TYPES = {"i": ValType.i32, "I": ValType.i64}


def _context_of(record: StoreRecord) -> WasiContext:
    """The context of a Store: made from the WasiConfig given to ``set_wasi`` when it is first needed."""
    while isinstance(config := record.wasi, WasiConfig):
        context = config.build()
        if native.enabled:
            context.known_to_c = table = native.HostTable(context)
            context.descriptors.show_in(table)
        if record.set_wasi(context, context.known_to_c, instead_of=config):
            return context
        context.close()
    if not isinstance(record.wasi, WasiContext):
        raise WasmError("WASI is not configured in this Store: call Store.set_wasi(WasiConfig()) first")
    return record.wasi


def _new_view(
    record: StoreRecord, context: WasiContext, instance_address: int, function: WasiFunction
) -> tuple[ctypes.c_uint64, memoryview]:
    """The memory of the calling instance: where C keeps its size, and its bytes."""
    caller = Caller(record, instance_address)
    memory = caller.get("memory")
    if not isinstance(memory, Memory):
        raise WasmError(f"WASI's {function.name}: the calling module exports no memory named `memory`")
    store = record.open()
    if context.known_to_c is not None:
        context.known_to_c.add_memory(instance_address, memory._item.pointer)
    return memory._item.size_counter(store), memoryview(memory.get_buffer_ptr(caller)).cast("B")


def _bind(function: WasiFunction) -> Callable[[StoreRecord], Callable[..., int | None]]:
    """What makes `function` a host function of a store; C calls it with the calling instance's address and ints."""

    def bind(record: StoreRecord) -> Callable[..., int | None]:
        weak_record = weakref.ref(record)  # C holds `host` as long as the store lives

        def host(instance_address: int, *arguments: int) -> int | None:
            record = weak_record()
            assert record is not None, "a running store is alive"
            context = record.wasi
            if type(context) is not WasiContext:
                context = _context_of(record)
            # The view is made anew when the memory has grown: only then can it have moved (explicit bounds checks).
            known = context.views.get(instance_address)
            if known is None or known[0].value != len(known[1]):
                known = context.views[instance_address] = _new_view(record, context, instance_address, function)
            code = call(function, context, known[1], arguments)
            return code if function.results else None

        return host

    return bind


def add_to_linker(linker: Linker) -> None:
    """Defines every preview 1 function in `linker`; each call uses the WASI configuration of the calling Store.

    Raises WasmError if one of the names is defined already and shadowing is not allowed.
    """
    linker._insert_all(_definitions())


def _no_code() -> int:
    return 0


@functools.cache
def _definitions() -> list[tuple[tuple[str, str], AddressDefinition]]:
    """Made once: they belong to no Linker."""
    types: dict[tuple[str, str], FuncType] = {}
    found = []
    for module, functions in MODULES.items():
        for function in functions.values():
            letters = function.params, function.results
            if letters not in types:
                types[letters] = FuncType(*([_VALUE_TYPES[letter]() for letter in some] for some in letters))
            code = functools.partial(native.code_of, function.name) if function.in_c else _no_code
            found.append(((module, function.name), AddressDefinition(types[letters]._type, _bind(function), code)))
    return found
