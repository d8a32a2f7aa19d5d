"""What wasm-tools says: accept or refuse, for one module or, through its script runner, for thousands at a time."""

from __future__ import annotations

import re
import subprocess

from wasmjit.config import SUPPORTED_FEATURES, Features
from wasmjit.errors import UnsupportedError, WasmError
from wasmjit.records import fields, replace
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import find_wasm_tools
from wasmjit.wasm.validate import validate

# Wasm 2.0 without SIMD, with extended constant expressions, and whatever wasmjit has learnt since, but for garbage
# collection. wasm-tools uses the same names, with hyphens.
FEATURES = ",".join(
    ["wasm2,-simd,extended-const", *sorted(name.replace("_", "-") for name in SUPPORTED_FEATURES - {"gc"})]
)
ALL_FEATURES = Features(**{field.name: field.name in SUPPORTED_FEATURES for field in fields(Features)})
# Garbage collection, too, with which mutants differ more.
TYPE_FEATURES = f"{FEATURES},gc"
_FAILED_LINE = re.compile(r"failed directive on [^\n]*:(\d+):\d+")


def our_refusal(wasm: bytes, features: str = FEATURES) -> WasmError | None:
    """None if wasmjit accepts the module, else its error. Any exception but WasmError goes through."""
    try:
        validate(decode(wasm, replace(ALL_FEATURES, gc=features == TYPE_FEATURES)))
    except WasmError as error:
        return error
    return None


def wasm_tools_refusal(wasm: bytes, features: str = FEATURES) -> str | None:
    """None if `wasm-tools validate` accepts the module, else its message."""
    if not wasm.startswith(b"\0asm"):
        return "magic header not detected"  # wasm-tools would read it as text
    command = [find_wasm_tools(), "validate", f"--features={features}"]
    result = subprocess.run(command, input=wasm, capture_output=True, check=False)
    return None if result.returncode == 0 else result.stderr.decode("utf-8", "replace").strip()


def refused_by_wasm_tools(modules: list[bytes], features: str = FEATURES) -> set[int]:
    """The positions of the modules that wasm-tools refuses: one process for all, each module a line of a script.

    The script runner also looks into known custom sections, which `validate` and the specification do not: their names
    are changed first, wherever they stand.
    """
    script = "\n".join(f'(module binary "{_escaped(wasm)}")' for wasm in modules)
    command = [find_wasm_tools(), "wast", f"--features={features}", "-"]
    result = subprocess.run(command, input=script.encode(), capture_output=True, check=False)
    output = result.stderr.decode("utf-8", "replace")
    lines = {int(line) - 1 for line in _FAILED_LINE.findall(output)}
    if result.returncode != 0 and not lines:
        raise RuntimeError(f"wasm-tools wast failed: {output[:2000]}")
    return lines


def _escaped(wasm: bytes) -> str:
    hidden = wasm.replace(b"name", b"nam_").replace(b"producers", b"producer_")
    return "".join([f"\\{byte:02x}" for byte in hidden])


def disagreements(modules: list[bytes], batch: int = 1000, features: str = FEATURES) -> list[tuple[bytes, str]]:
    """Modules that one side accepts and the other refuses, with what each says. Confirmed by `wasm-tools validate`.

    With TYPE_FEATURES exceptions, which we do not support yet, do not count.
    """
    found: list[tuple[bytes, str]] = []
    for start in range(0, len(modules), batch):
        part = modules[start : start + batch]
        refused = refused_by_wasm_tools(part, features)
        for position, wasm in enumerate(part):
            ours = our_refusal(wasm, features)
            if features == TYPE_FEATURES and isinstance(ours, UnsupportedError) and "exceptions" in str(ours):
                continue
            if (ours is None) == (position not in refused):
                continue
            theirs = wasm_tools_refusal(wasm, features)
            if (ours is None) != (theirs is None):
                found.append((wasm, f"wasmjit: {ours or 'accepted'}; wasm-tools: {theirs or 'accepted'}"))
    return found
