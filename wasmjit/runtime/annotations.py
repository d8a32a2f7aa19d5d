"""`i32` and its fellows, for annotations (`hints`): to a type checker they are the Python types of the values."""

from __future__ import annotations

from typing import Annotated, Any

from .func import Func
from .value_types import ValType

i32 = Annotated[int, ValType.i32()]
i64 = Annotated[int, ValType.i64()]
f32 = Annotated[float, ValType.f32()]
f64 = Annotated[float, ValType.f64()]
v128 = Annotated[bytes, ValType.v128()]
externref = Annotated[Any, ValType.externref()]
funcref = Annotated[Func | None, ValType.funcref()]

__all__ = ["externref", "f32", "f64", "funcref", "i32", "i64", "v128"]
