"""C functions given as Python objects: their address, and whether they have the type that is asked for."""

from __future__ import annotations

import ctypes
from typing import Any

from ..wasm import types as wt
from .native import ffi

# Size in bytes and kind ("i" integer, "f" float) of what C passes for a value type.
_C_TYPES = {wt.I32: (4, "i"), wt.I64: (8, "i"), wt.F32: (4, "f"), wt.F64: (8, "f")}
_CType = tuple[int, str] | None  # None: no value
_CTYPES_FUNCTION: Any = ctypes.CFUNCTYPE(None).__mro__[1]  # the base of all function pointer types


def check_native_type(type: wt.FuncType) -> None:
    """Raises TypeError for a type that no C function has: with references, v128, or several results."""
    for valtype in (*type.params, *type.results):
        if valtype not in _C_TYPES:
            raise TypeError(f"{type}: C functions have no values of type {wt.valtype_name(valtype)}")
    if len(type.results) > 1:
        raise TypeError(f"{type}: C functions return at most one result")


def foreign_function(function: Any, type: wt.FuncType) -> tuple[int, object]:
    """The address of a C function, and what must live as long as it is called.

    Raises TypeError if `function` is none, or tells C types that are not those of `type`.
    """
    check_native_type(type)
    found = _from_ctypes(function) or _from_cffi(function) or _from_numba(function)
    if found is None:
        if isinstance(function, bool) or not isinstance(function, int):
            raise TypeError(
                f"expected a C function (ctypes, cffi, an object with an address, or an int), not {function!r}"
            )
        found = function, None
    address, signature = found
    if not 0 < address < 1 << 64:
        raise TypeError(f"a C function cannot be at address {address:#x}")
    if signature is not None:
        params: list[_CType] = [_C_TYPES[t] for t in type.params]
        result = _C_TYPES[type.results[0]] if type.results else None
        if signature != (params, result):
            raise TypeError(
                f"the C function is {_describe(*signature)}, not {_describe(params, result)} as {type} needs"
            )
    return address, function


def _describe(params: list[_CType], result: _CType) -> str:
    def name(c_type: _CType) -> str:
        if c_type is None:
            return "void"
        size, kind = c_type
        return f"int{8 * size}" if kind == "i" else f"float{8 * size}" if kind == "f" else kind

    return f"({', '.join(map(name, params))}) -> {name(result)}"


_Found = tuple[int, tuple[list[_CType], _CType] | None] | None


def _from_ctypes(function: Any) -> _Found:
    if not isinstance(function, _CTYPES_FUNCTION):
        return None
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    if function.argtypes is None:  # anything goes, as far as ctypes knows
        return address, None
    return address, ([_ctypes_type(t) for t in function.argtypes], _ctypes_type(function.restype))


def _ctypes_type(c_type: Any) -> _CType:
    if c_type is None:
        return None
    code = getattr(c_type, "_type_", None)
    if isinstance(code, str) and code in "bBhHiIlLqQ":
        return ctypes.sizeof(c_type), "i"
    if isinstance(code, str) and code in "fd":
        return ctypes.sizeof(c_type), "f"
    return 0, getattr(c_type, "__name__", str(c_type))


def _from_cffi(function: Any) -> _Found:
    if not isinstance(function, ffi.CData):  # of any cffi library, not only ours
        return None
    c_type = ffi.typeof(function)
    if c_type.kind != "function":
        raise TypeError(f"expected a C function, not {function!r}")
    if c_type.ellipsis:
        raise TypeError(f"{c_type.cname}: functions with variable arguments cannot be imported")
    signature = [_cffi_type(t) for t in c_type.args], _cffi_type(c_type.result)
    return int(ffi.cast("uintptr_t", function)), signature


def _cffi_type(c_type: Any) -> _CType:
    if c_type.kind == "void":
        return None
    if c_type.kind in ("primitive", "enum"):
        name = c_type.cname
        if name in ("float", "double"):
            return ffi.sizeof(c_type), "f"
        if "long double" not in name and "complex" not in name:
            return ffi.sizeof(c_type), "i"
    return 0, c_type.cname


_NUMBA_TYPES: dict[str, _CType] = {
    "none": None,
    **{f"{sign}int{bits}": (bits // 8, "i") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": (bits // 8, "f") for bits in (32, 64)},
}


def _from_numba(function: Any) -> _Found:
    """What ``numba.cfunc`` makes has an address, and its signature as text in numba's names."""
    address = getattr(function, "address", None)
    if not isinstance(address, int):
        return None
    signature = getattr(function, "_sig", None)
    params, result = getattr(signature, "args", None), getattr(signature, "return_type", None)
    if params is None or result is None:
        return address, None
    names = [str(t) for t in (*params, result)]
    types = [_NUMBA_TYPES.get(name, (0, name)) for name in names]
    return address, (types[:-1], types[-1])
