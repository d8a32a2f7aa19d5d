"""Text parsed by a library, in place of a process of wasm-tools for each: the tests have 10,000 texts.

wasmtime has the parser of wasm-tools, and says the same of what it refuses. tests/unit/test_text.py is about the
program, and compares them.
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import Any

import wasmtime

from wasmjit.wasm import text


class InProcess:
    """What `wasmjit.wasm.text` needs of the module subprocess."""

    @staticmethod
    def run(command: list[str], *, input: bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
        assert command[1:] == ["parse", "-"]
        with contextlib.suppress(UnicodeDecodeError):
            input.decode()  # the program has other words for this
            try:
                return subprocess.CompletedProcess(command, 0, bytes(wasmtime.wat2wasm(input)), b"")
            except wasmtime.WasmtimeError as error:
                said = f"error: {error}\n".replace("--> <anon>:", "--> <stdin>:", 1)
                return subprocess.CompletedProcess(command, 1, b"", said.encode())
        return subprocess.run(command, input=input, **options)


def use() -> None:
    """Has this process do so."""
    text.subprocess = InProcess  # type: ignore[attr-defined]
