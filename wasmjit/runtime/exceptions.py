"""WasmException: exceptions of WebAssembly as those of Python, and the way from the one to the other."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

from .. import abi
from ..errors import Closable
from ..wasm import types as wt
from ..wasm.const_expr import MASK_64
from .externs import Tag, read_bits
from .func import bits_to_python, python_to_bits
from .native import lib, set_exception_hooks
from .store import StoreRecord
from .trap import Frame, frames_at


class WasmException(Closable, Exception):
    """An exception of WebAssembly: a tag, and the values that its type says.

    Raised by a call that one left. Raised in a host function, it is thrown on in the wasm code that called it, if that
    catches it.

    >>> from wasmjit import FuncType, Instance, Module, Store, TagType, ValType
    >>> store = Store()
    >>> tag = Tag(store, TagType(FuncType([ValType.i32()], [])))
    >>> module = Module(store.engine, '''(module (import "" "" (tag $t (param i32)))
    ...     (func (export "f") (throw $t (i32.const 7))))''')
    >>> try:
    ...     Instance(store, module, [tag]).exports(store)["f"](store)
    ... except WasmException as error:
    ...     error.tag.eq(store, tag), error.values
    (True, (7,))
    """

    def __init__(self, tag: Tag, values: Iterable[Any] = ()) -> None:
        """Raises TypeError where there are not as many values as the tag's type has. Their types are looked at where
        wasm catches it."""
        if not isinstance(tag, Tag):
            raise TypeError("expected a Tag")
        params = tag._item.type.functype.params
        self._tag = tag
        self._values = tuple(values)
        self._frames: tuple[Frame, ...] = ()
        if len(self._values) != len(params):
            raise TypeError(f"expected {len(params)} values for a tag of type {wt.result_type_text(params)}")
        super().__init__(tag, self._values)

    @property
    def tag(self) -> Tag:
        """Its tag."""
        return self._tag

    @property
    def values(self) -> tuple[Any, ...]:
        """What it carries."""
        return self._values

    @property
    def frames(self) -> list[Frame]:
        """The wasm functions that were active where it was thrown, innermost first; none of one made in Python."""
        return list(self._frames)

    def __str__(self) -> str:
        return f"exception of WebAssembly with {self._tag._item.type}: {', '.join(map(repr, self._values))}"


# ---- what C calls ----


def _places(params: tuple[int, ...], payload: int) -> Iterable[tuple[int, int]]:
    """Type and address of each value of an exception."""
    start = abi.EXCEPTION["sizeof"]
    return [(t, payload + at - start) for t, at in zip(params, abi.payload_offsets(params), strict=False)]


def _to_wasm(record: StoreRecord, exception: WasmException) -> int | None:
    """The address of an exception of the store; None for a tag of another Store. Raises TypeError and the like."""
    item = exception._tag._item
    if exception._tag._owner is not record:
        return None
    native = record.open()
    params = item.type.functype.params
    with native:  # what is converted must stay until the exception has it
        bits = [python_to_bits(record, t, value) for t, value in zip(params, exception._values, strict=True)]
        address = int(lib.wj_exception_new(native.pointer, item.address))
        if not address:
            raise MemoryError("no memory for an exception")
        for (valtype, place), word in zip(_places(params, address + abi.EXCEPTION["sizeof"]), bits, strict=True):
            ctypes.c_uint64.from_address(place).value = word & MASK_64
            if valtype == wt.V128:
                ctypes.c_uint64.from_address(place + 8).value = word >> 64
    return address


def _to_python(record: StoreRecord, tag: int, payload: int, pcs: tuple[int, ...]) -> WasmException:
    """What is raised for an exception that leaves wasm."""
    item, native = record.tags[tag], record.open()
    values = [
        bits_to_python(record, valtype, read_bits(native, place, valtype))
        for valtype, place in _places(item.type.functype.params, payload)
    ]
    made = WasmException(Tag._wrap(record, item), values)
    made._frames = frames_at(pcs)
    return made


set_exception_hooks(WasmException, _to_wasm, _to_python)
