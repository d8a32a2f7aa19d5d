"""Preview 1 in a `Linker`: the functions of `preview1` as host functions of whichever Store calls them."""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import THREAD_SPAWN, WasmError
from ..runtime.caller import Caller
from ..runtime.externs import Memory, SharedMemory
from ..runtime.linker import AddressDefinition
from ..runtime.store import StoreRecord
from ..runtime.value_types import FuncType, ValType
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
    """The memory of the calling instance: where C keeps its size, and its bytes.

    Other threads write to one that is shared at any time: whatever looks at a number in it does so once, and a copy of
    it is what is checked and used.
    """
    caller = Caller(record, instance_address)
    memory = caller.get("memory")
    if isinstance(memory, SharedMemory):
        item, view = memory._join(record), memory.view()
    elif isinstance(memory, Memory):
        item, view = memory._item, memoryview(memory.get_buffer_ptr(caller)).cast("B")
    else:
        raise WasmError(f"WASI's {function.name}: the calling module exports no memory named `memory`")
    store = record.open()
    if context.known_to_c is not None:
        context.known_to_c.add_memory(instance_address, item.pointer)
    return item.size_counter(store), view


class _Definition(AddressDefinition):
    """One function of preview 1."""

    __slots__ = ("_function",)

    def __init__(self, function: WasiFunction) -> None:
        self._function = function

    def current_type(self) -> Any:
        return _type_of(self._function.params, self._function.results)

    def code(self) -> int:
        return native.code_of(self._function.name) if self._function.in_c else 0

    def bind(self, record: StoreRecord) -> Callable[..., int | None]:
        """What C calls with the calling instance's address and ints."""
        function = self._function
        weak_record = weakref.ref(record)  # C holds `host` as long as the store lives

        def host(instance_address: int, *arguments: int) -> int | None:
            record = weak_record()
            assert record is not None, "a running store is alive"
            context = record.wasi
            if type(context) is not WasiContext:
                context = _context_of(record)
            # The view is made anew when the memory has grown: only then can it have moved (explicit bounds checks), and
            # one that is shared never does.
            known = context.views.get(instance_address)
            if known is None or known[0].value != len(known[1]):
                known = context.views[instance_address] = _new_view(record, context, instance_address, function)
            if context.threads is None:
                code = call(function, context, known[1], arguments)
            else:
                code = context.threads.call(call, function, context, known[1], arguments)
            return code if function.results else None

        return host


@functools.cache
def _type_of(params: str, results: str) -> Any:
    return FuncType(*([_VALUE_TYPES[letter]() for letter in letters] for letters in (params, results)))._type


def add_to_linker(linker: Linker, threads: bool = False) -> None:
    """Defines every preview 1 function in `linker`; each call uses the WASI configuration of the calling Store. With
    `threads` that of wasi-threads too.

    Raises WasmError if one of the names is defined already and shadowing is not allowed.
    """
    definitions = _definitions()
    if threads:
        from .threads import ThreadSpawn

        definitions = [*definitions, (THREAD_SPAWN, ThreadSpawn(_context_of))]
    linker._insert_all(definitions)


@functools.cache
def _definitions() -> list[tuple[tuple[str, str], AddressDefinition]]:
    """Made once: they belong to no Linker."""
    return [
        ((module, function.name), _Definition(function))
        for module, functions in MODULES.items()
        for function in functions.values()
    ]
