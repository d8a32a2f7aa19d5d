"""Function types from Python annotations, for `Func.wrap` and `Linker.func_wrap`."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from ..wasm import types as wt
from .value_types import FuncType, ValType

# A bare Python type stands for the widest wasm type of its kind, so no value changes on its way.
_BARE = {int: wt.I64, float: wt.F64}


def function_type(function: Callable[..., Any]) -> tuple[FuncType, bool]:
    """The type that the annotations of `function` describe, and whether its first parameter is a Caller.

    Parameters are annotated ``wasmjit.i32``, ``i64``, ``f32``, ``f64``, ``v128``, ``externref``, ``funcref``, ``int``
    (an i64) or ``float`` (an f64); so is the result, or with None for no result, or ``tuple[...]`` for several. Raises
    TypeError naming what is missing or has no WebAssembly type.
    """
    if not callable(function):
        raise TypeError("expected a callable")
    name = getattr(function, "__name__", repr(function))
    try:
        import inspect

        parameters = list(inspect.signature(function).parameters.values())
        hints = typing.get_type_hints(_annotated(function), include_extras=True)
    except (TypeError, ValueError, NameError) as error:
        raise TypeError(f"cannot read the annotations of {name}: {error}") from error
    first = hints.get(parameters[0].name) if parameters else None
    takes_caller = hasattr(first, "_stands_for_a_store")
    params = []
    for parameter in parameters[int(takes_caller) :]:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty:
                continue
            raise TypeError(f"{name}: parameter {parameter} cannot be given by WebAssembly, which passes positions")
        if parameter.name not in hints:
            raise TypeError(f"{name}: parameter {parameter.name} has no annotation")
        params.append(_valtype(hints[parameter.name], f"{name}: parameter {parameter.name}"))
    if "return" not in hints:
        raise TypeError(f"{name}: the result has no annotation (None for no result)")
    return FuncType._wrap(wt.FuncType(tuple(params), _results(hints["return"], name))), takes_caller


def _annotated(function: Callable[..., Any]) -> Any:
    """What holds the annotations: the function itself, or the ``__call__`` of an object's class."""
    while hasattr(function, "func"):  # functools.partial: the signature leaves out what it has bound
        function = function.func
    import inspect

    if inspect.isroutine(function):
        return function
    return type(function).__call__


def _results(hint: Any, name: str) -> tuple[int, ...]:
    if hint is type(None):
        return ()
    if typing.get_origin(hint) is not tuple:
        return (_valtype(hint, f"{name}: the result"),)
    members = typing.get_args(hint)
    if Ellipsis in members:
        raise TypeError(f"{name}: the result is a tuple of any length: WebAssembly needs to know it")
    return tuple(_valtype(member, f"{name}: result {number}") for number, member in enumerate(members))


def _valtype(hint: Any, what: str) -> int:
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, ValType):
            return mark._code
    code = _BARE.get(hint) if isinstance(hint, type) else None
    if code is None:
        raise TypeError(f"{what} has no WebAssembly type: {hint!r} (use wasmjit.i32 and so on, int or float)")
    return code
