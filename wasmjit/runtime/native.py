"""The only Python file that touches the C runtime (``runtime_c/wj_api.h``, where every function is documented).

Addresses are plain ints; `lib` and `ffi` are cffi's. Importing this module installs the fault handlers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Mapping
from typing import Any

try:
    from ._native import ffi, lib
except ImportError as error:
    raise ImportError(
        f"wasmjit's C runtime is not built for this Python ({error}); in a source checkout run: "
        "python runtime_c/build.py"
    ) from error

__all__ = [
    "CALLER",
    "KEEP_GIL",
    "UNCHECKED",
    "callable_new",
    "ffi",
    "host_func_new",
    "is_interrupted",
    "lib",
    "set_frame_describer",
    "set_trap_factory",
    "store_roots",
    "take_object",
    "wait",
]

# Flags of `host_func_new` and `callable_new`.
CALLER = 1
UNCHECKED = 2
KEEP_GIL = 4


def set_trap_factory(factory: Callable[[int, int, tuple[int, ...]], BaseException]) -> None:
    """Sets what makes the exception of a trap from (trap code, fault address, pcs innermost first)."""
    lib.wj_set_trap_factory(id(factory))


def set_frame_describer(describer: Callable[[tuple[int, ...]], list[tuple[str, str, int]]]) -> None:
    """Sets what makes traceback entries (file, function, line) from pcs; it leaves out those that are no wasm code."""
    lib.wj_set_frame_describer(id(describer))


def is_interrupted() -> bool:
    """Whether the wasm calls of this thread are to end: what a host function that blocks has to look at."""
    return bool(lib.wj_is_interrupted())


def wait(descriptors: Mapping[int, int], timeout_ns: int | None) -> dict[int, int]:
    """As ``select.poll().poll``, but an interrupt of the wasm code that called us ends it: descriptor -> events.

    `descriptors` has the events to wait for; `timeout_ns` None waits for ever. Empty when the time is over and after a
    signal; the caller looks at the clock. Raises OSError.
    """
    entries = struct.pack(
        "=" + "ihh" * len(descriptors), *(n for fd, mask in descriptors.items() for n in (fd, mask, 0))
    )
    array = ffi.new("char[]", entries)
    found = lib.wj_wait(int(ffi.cast("uintptr_t", array)), len(descriptors), -1 if timeout_ns is None else timeout_ns)
    if found < 0 and found != -errno.EINTR:
        raise OSError(-found, os.strerror(-found))
    if found <= 0:
        return {}
    results = struct.iter_unpack("=ihh", ffi.buffer(array, len(entries)))
    return {fd: events for fd, _, events in results if events}


def host_func_new(
    store: Any, function: Callable[..., Any], params: str, results: str, type_id: int, flags: int = 0
) -> Any:
    """A ``wj_func_ref *`` that calls `function`; both live as long as the store. Raises MemoryError."""
    func_ref = lib.wj_host_func_new(store, id(function), params.encode(), results.encode(), type_id, flags)
    if func_ref == ffi.NULL:
        raise MemoryError("the C runtime could not make a host function")
    return func_ref


def callable_new(store: Any, func_ref: Any, params: str, results: str, owner: object, flags: int = 0) -> Any:
    """A builtin that calls `func_ref` with the wasm arguments; `owner` lives as long as it. Raises MemoryError."""
    return take_object(lib.wj_callable_new(store, func_ref, params.encode(), results.encode(), id(owner), flags))


def store_roots(store: Any) -> object:
    """What shows the garbage collector the callables of the store's host functions. Raises MemoryError.

    Keep it as an attribute of the Python object that owns the store.
    """
    roots: object = take_object(lib.wj_store_roots(store))
    return roots


def take_object(address: int) -> Any:
    """The object at `address`, a new reference from C that becomes ours. Raises MemoryError for 0."""
    if not address:
        raise MemoryError("the C runtime could not make an object")
    found = ctypes.cast(address, ctypes.py_object).value
    lib.wj_decref(address)
    return found


def _start() -> None:
    number = lib.wj_runtime_init()
    if number:
        raise OSError(number, f"cannot install the fault handlers: {os.strerror(number)}")


_start()
