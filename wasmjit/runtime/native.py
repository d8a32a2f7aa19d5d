"""The only Python file that touches the C runtime (``runtime_c/wj_api.h``, where every function is documented).

Addresses are plain ints; `lib` and `ffi` are cffi's. Importing this module installs the fault handlers.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
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
    "lib",
    "set_trap_factory",
    "store_roots",
    "take_object",
]

# Flags of `host_func_new` and `callable_new`.
CALLER = 1
UNCHECKED = 2
KEEP_GIL = 4


def set_trap_factory(factory: Callable[[int, int, tuple[int, ...]], BaseException]) -> None:
    """Sets what makes the exception of a trap from (trap code, fault address, pcs innermost first)."""
    lib.wj_set_trap_factory(id(factory))


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
