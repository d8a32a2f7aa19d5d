"""The program of these tests, and what they share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from wasmjit import FuncType, ValType

I32 = ValType.i32()
I32_TO_I32 = FuncType([I32], [I32])
NOTHING = FuncType([], [])
# run(n) = host.get(n) + 1; the rest is for single tests.
TEXT = """
(module
  (import "host" "get" (func $get (param i32) (result i32)))
  (memory (export "memory") 1 10)
  (func (export "run") (param i32) (result i32) (i32.add (call $get (local.get 0)) (i32.const 1)))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "forever") (loop (br 0)))
  (func (export "trap") unreachable)
  (func (export "nothing")))
"""


async def double(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop go on until it is so, two minutes at most."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited for too long"
        await asyncio.sleep(0.001)
