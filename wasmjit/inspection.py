"""What became of a module: its functions' places in wasm and machine code, its LLVM IR, its instructions.

For people and tools (``wasmjit objdump``), not for running: nothing else imports this.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .artifact import Artifact, detect
from .config import Config
from .errors import WasmError
from .target import Target
from .wasm.text import find_wasm_tools

__all__ = [
    "FORMS",
    "FunctionPlace",
    "compile_target",
    "disassemble",
    "find_wasm_tools",
    "functions",
    "llvm_text",
    "precompiled_kind",
]

# As generated; after LLVM's passes; what the processor gets.
FORMS = ("ir", "optimised", "assembly")
_DETECTED_BYTES = 4096
# A function, under its name or with that of its register entry (compile/tail_calls.py).
_IR_DEFINITION = re.compile(r"^define [^\n]*@[ft](\d+)\(.*?^}\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class FunctionPlace:
    """A function that a module defines. Offsets and sizes in bytes: in the wasm module, and in the machine code."""

    index: int
    name: str | None
    wasm_offset: int
    wasm_size: int
    code_offset: int
    code_size: int


def precompiled_kind(path: str) -> str | None:
    """``module`` or ``component`` if the file at `path` is a ``.cwasm``, else None."""
    with open(path, "rb") as file:
        return detect(file.read(_DETECTED_BYTES))


def functions(artifact: bytes) -> list[FunctionPlace]:
    """The functions of a serialized module, by index. Raises ArtifactError."""
    contents = Artifact.from_bytes(artifact)
    module = contents.module
    first = module.num_imported_functions
    exported = {export.index: export.name for export in reversed(module.exports) if export.kind == 0}
    return [
        FunctionPlace(
            index=first + i,
            name=module.names.functions.get(first + i, exported.get(first + i)),
            wasm_offset=body.start,
            wasm_size=body.end - body.start,
            code_offset=contents.code_offsets[i],
            code_size=contents.code_sizes[i],
        )
        for i, body in enumerate(module.bodies)
    ]


def compile_target(config: Config) -> Target:
    """The machine that `config` compiles for: LLVM's triple, CPU name and features."""
    from .compile.pipeline import resolve_target

    return resolve_target(config)


def llvm_text(wasm: bytes, config: Config, form: str, wanted: Iterable[int] | None = None) -> str:
    """The code of a module in one of FORMS; of IR, with `wanted`, just the definitions of those functions.

    Raises WasmError for an invalid module.
    """
    # The stages before the artifact are imported here only, so that running a .cwasm never loads them.
    from .compile.pipeline import render
    from .wasm.decode import decode
    from .wasm.validate import validate_module_level

    module = decode(wasm, config.features)
    validate_module_level(module)
    text = render(module, config, form)
    if wanted is None or form == "assembly":
        return text
    indices = set(wanted)
    return "\n".join(found[0] for found in _IR_DEFINITION.finditer(text) if int(found[1]) in indices)


def disassemble(artifact: bytes, wanted: FunctionPlace | None = None) -> str:
    """The machine code of a serialized module, or of one of its functions, as binutils' objdump prints it.

    Raises WasmError if there is no objdump, or if it does not know the code's architecture.
    """
    tool = shutil.which("objdump")
    if tool is None:
        raise WasmError("disassembling takes `objdump` (Debian package binutils)")
    limits = []
    if wanted is not None:
        end = wanted.code_offset + wanted.code_size
        limits = [f"--start-address={wanted.code_offset}", f"--stop-address={end}"]
    with tempfile.TemporaryDirectory(prefix="wasmjit-objdump-") as directory:
        path = Path(directory) / "module"
        path.write_bytes(artifact)
        # Only code: constants lie in a section of their own.
        command = [tool, "--disassemble", "--no-show-raw-insn", "--section=.text", *limits, str(path)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise WasmError(f"objdump failed: {done.stderr.strip().replace(str(path), 'the module')}")
    return done.stdout.partition("Disassembly of section .text:\n")[2].lstrip("\n")
