"""Many small modules out of one run of wasm-tools: it encodes instructions, the modules around them are made here.

A process for each would take most of the time of tests that go through the table of instructions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tests import wasm_bytes
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm

LOCAL_GET, END = b"\x20", b"\x0b"
ONE_PAGE = b"\0\1"


@functools.cache
def encoded(texts: tuple[str, ...]) -> dict[str, bytes]:
    """The bytes that wasm-tools writes for instructions, of which none needs more of the module than a memory."""
    module = decode(wat2wasm(f"(module (memory 1) {' '.join(f'(func {text})' for text in texts)})"))
    assert len(module.bodies) == len(texts)
    # A body starts with its count of locals, none, and ends with `end`.
    return {text: module.wasm[body.start + 1 : body.end - 1] for text, body in zip(texts, module.bodies, strict=True)}


def program(*functions: tuple[Sequence[int], Sequence[int], bytes]) -> bytes:
    """A module with a page of memory and functions: parameters, results, and code without the last `end`."""
    types = [
        b"\x60" + wasm_bytes.vector(*[bytes([t]) for t in params]) + wasm_bytes.vector(*[bytes([t]) for t in results])
        for params, results, _ in functions
    ]
    bodies = [b"\0" + code + END for _, _, code in functions]
    return wasm_bytes.module(
        wasm_bytes.section(wasm_bytes.TYPE, wasm_bytes.vector(*types)),
        wasm_bytes.section(wasm_bytes.FUNCTION, wasm_bytes.vector(*map(wasm_bytes.unsigned, range(len(functions))))),
        wasm_bytes.section(wasm_bytes.MEMORY, wasm_bytes.vector(ONE_PAGE)),
        wasm_bytes.section(
            wasm_bytes.CODE, wasm_bytes.vector(*[wasm_bytes.unsigned(len(body)) + body for body in bodies])
        ),
    )


def applied(params: Sequence[int], result: int | None, code: bytes) -> tuple[Sequence[int], Sequence[int], bytes]:
    """A function that gets all its parameters and applies an instruction to them."""
    gets = b"".join(LOCAL_GET + bytes([index]) for index in range(len(params)))
    return params, [result] if result else [], gets + code
