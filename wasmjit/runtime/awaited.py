"""Host functions that are `async def`, as wasm sees them. Apart from asynchronous.py, which imports asyncio: they can
be made wherever others can, also by a finalizer at the interpreter's end, when nothing can be imported."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from ..errors import WasmError

here = threading.local()  # `job`: what this thread runs, innermost (a `_Job` of asynchronous.py)


def synchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    """A host function that has the event loop await `function`, for wasm that runs under `run`.

    It keeps the name and the signature. Raises WasmError if it is called in any other way.
    """
    if not callable(function):
        raise TypeError("expected a callable")

    def call(*arguments: Any) -> Any:
        job = getattr(here, "job", None)
        if job is None:
            raise WasmError(
                f"host function {name_of(function)} is asynchronous: wasm that reaches it must be run with "
                "`await func.call_async(store, ...)` or `await linker.instantiate_async(store, module)`"
            )
        return job.call_on_loop(function, arguments)

    return functools.update_wrapper(call, function, updated=())  # as to `__dict__`, see Engine._cache_key


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


__all__ = ["here", "name_of", "synchronous"]
