"""What became of a module: its functions' places in wasm and machine code, its LLVM IR, its instructions.

For people and tools (``wasmjit objdump``), not for running: nothing else imports this.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .artifact import Artifact, detect
from .config import Config
from .errors import ArtifactError, WasmError
from .target import Target
from .wasm import types as wt
from .wasm.text import find_wasm_tools

__all__ = [
    "FORMS",
    "CodeLine",
    "FunctionPlace",
    "FunctionViews",
    "compile_target",
    "disassemble",
    "find_wasm_tools",
    "functions",
    "llvm_text",
    "precompiled_kind",
    "side_by_side",
]

# As generated; after LLVM's passes; what the processor gets.
FORMS = ("ir", "optimised", "assembly")
_DETECTED_BYTES = 4096
# A function, under its name or with that of its register entry (compile/tail_calls.py).
_IR_DEFINITION = re.compile(r"^define [^\n]*@[ft](\d+)\(.*?^}\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class FunctionPlace:
    """A function that a module defines. Offsets and sizes in bytes: in the wasm module, and in the machine code.

    Of one that `is_interpreted` the code is a trap, which is never reached (compile/limits.py).
    """

    index: int
    name: str | None
    wasm_offset: int
    wasm_size: int
    code_offset: int
    code_size: int
    is_interpreted: bool


def precompiled_kind(path: str) -> str | None:
    """``module`` or ``component`` if the file at `path` is a ``.cwasm``, else None."""
    with open(path, "rb") as file:
        return detect(file.read(_DETECTED_BYTES))


def functions(artifact: bytes) -> list[FunctionPlace]:
    """The functions of a serialized module, by index. Raises ArtifactError."""
    contents = Artifact.from_bytes(artifact)
    if not contents.has_code:
        raise ArtifactError("it holds no code: the module is compiled as it runs")
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
            is_interpreted=first + i in contents.interpreted,
        )
        for i, body in enumerate(module.bodies)
    ]


def shared_memories(artifact: bytes) -> list[str]:
    """A line about each shared memory of a serialized module. Raises ArtifactError."""
    module = Artifact.from_bytes(artifact).module
    imported = [f"{item.module}::{item.name}" for item in module.imports if item.kind == wt.MEMORY]
    lines = []
    for index, memory in enumerate(module.memories):
        if memory.shared:
            whence = f"imported as {imported[index]}" if index < len(imported) else "defined"
            lines.append(f"memory {index}: shared, {memory.limits.min} to {memory.limits.max} pages, {whence}")
    return lines


def compile_target(config: Config) -> Target:
    """The machine that `config` compiles for: LLVM's triple, CPU name and features."""
    from .compile.pipeline import resolve_target

    return resolve_target(config)


def llvm_text(
    wasm: bytes, config: Config, form: str, wanted: Iterable[int] | None = None, *, interprets: bool = False
) -> str:
    """The code of a module in one of FORMS; of IR, with `wanted`, just the definitions of those functions.

    `interprets`: some of its functions are interpreted (`FunctionPlace`). Raises WasmError for an invalid module.
    """
    # The stages before the artifact are imported here only, so that running a .cwasm never loads them.
    from .compile.pipeline import render
    from .wasm.decode import decode
    from .wasm.validate import validate_module_level

    module = decode(wasm, config.features)
    validate_module_level(module)
    text = render(module, config, form, interprets=interprets)
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


# ---- side by side ----
@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line of one view. `offset` is the wasm offset of the instruction that it belongs to, None if none is known.

    `exact`: the line says so itself (its own offset, its debug location); else it computes what that instruction takes.
    """

    text: str
    offset: int | None
    exact: bool


@dataclass(slots=True)
class FunctionViews:
    """A function as wasm text, LLVM IR and assembly, whose lines share offsets."""

    place: FunctionPlace
    wasm: list[CodeLine] = field(default_factory=list)
    ir: list[CodeLine] = field(default_factory=list)
    assembly: list[CodeLine] = field(default_factory=list)


_PRINTED = re.compile(r"\(;@([0-9a-f]+) *;\) {0,2}(.*)")
_UNIT_OF_IR = re.compile(r"^(?=; ModuleID = )", re.MULTILINE)
_INLINE_LOCATION = re.compile(r"!dbg !DILocation\(line: (\d+)")
_LOCATION = re.compile(r"^!(\d+) = (?:distinct )?!DILocation\(line: (\d+)", re.MULTILINE)
_REFERENCE = re.compile(r"!dbg !(\d+)")
_ASSEMBLY_FUNCTION = re.compile(r"^[ft](\d+):")
_ASSEMBLY_LOCATION = re.compile(r"\t\.loc\t\d+ (\d+)")


def side_by_side(
    wasm: bytes, artifact: bytes, config: Config, wanted: Iterable[int] | None = None, ir_form: str = "optimised"
) -> list[FunctionViews]:
    """The functions of a module, or those with an index in `wanted`, as wasm text, IR and assembly.

    `artifact` is the compiled module; `ir_form` is ``ir`` (as generated) or ``optimised``. Raises WasmError.
    """
    indices = None if wanted is None else set(wanted)
    places = functions(artifact)
    views = {place.index: FunctionViews(place) for place in places if indices is None or place.index in indices}
    interprets = any(place.is_interpreted for place in places)
    for index, lines in _ir_lines(llvm_text(wasm, config, ir_form, interprets=interprets)):
        if index in views:
            views[index].ir += lines
    for index, lines in _assembly_lines(llvm_text(wasm, config, "assembly", interprets=interprets)):
        if index in views:
            views[index].assembly += lines
    _add_wasm_lines(list(views.values()), wasm)
    return list(views.values())


def _add_wasm_lines(views: list[FunctionViews], wasm: bytes) -> None:
    """The text of each function. A line without code of its own goes with the next one that has some."""
    printed: list[tuple[int, str]] = []
    for line in _printed_with_offsets(wasm).splitlines():
        match = _PRINTED.match(line)
        if match is not None:
            printed.append((int(match[1], 16), match[2]))
        elif printed:  # goes on with the line above
            printed.append((printed[-1][0], line))
    starts = [offset for offset, _ in printed]
    for view in views:
        located = sorted({line.offset for line in (*view.ir, *view.assembly) if line.offset is not None})
        first, end = view.place.wasm_offset, view.place.wasm_offset + view.place.wasm_size
        for offset, text in printed[bisect_left(starts, first) : bisect_left(starts, end)]:
            at = bisect_left(located, offset)
            found = located[at] if at < len(located) else None
            view.wasm.append(CodeLine(text, found, found == offset))


def _printed_with_offsets(wasm: bytes) -> str:
    tool = find_wasm_tools()
    done = subprocess.run([str(tool), "print", "--print-offsets"], input=wasm, capture_output=True)
    if done.returncode:
        raise WasmError(f"wasm-tools print failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def _ir_lines(text: str) -> Iterator[tuple[int, list[CodeLine]]]:
    """Function index and lines of each definition. A line without a location goes with the next one of its block."""
    for unit in _UNIT_OF_IR.split(text):
        locations = {int(number): int(line) for number, line in _LOCATION.findall(unit)}
        for definition in _IR_DEFINITION.finditer(unit):
            lines: list[CodeLine] = []
            following: int | None = None
            for line in reversed(definition[0].splitlines()):
                inline, reference = _INLINE_LOCATION.search(line), _REFERENCE.search(line)
                own = int(inline[1]) if inline else locations.get(int(reference[1])) if reference else None
                if not line.startswith("  "):  # a label, the head or the end
                    following = None
                elif own:
                    following = own
                lines.append(CodeLine(line, following, bool(own)))
            yield int(definition[1]), lines[::-1]


def _assembly_lines(text: str) -> Iterator[tuple[int, list[CodeLine]]]:
    """Function index and lines of each function: labels and instructions, without directives."""
    index: int | None = None
    offset: int | None = None
    lines: list[CodeLine] = []
    for line in text.splitlines():
        start, location = _ASSEMBLY_FUNCTION.match(line), _ASSEMBLY_LOCATION.match(line)
        if start:
            index, offset, lines = int(start[1]), None, [CodeLine(line, None, False)]
        elif index is None:
            continue
        elif location:
            offset = int(location[1]) or None
        elif line.startswith(".Lfunc_end"):
            yield index, lines
            index = None
        elif line.startswith("\t") and line[1:2] not in (".", "#", "/"):
            lines.append(CodeLine(line.replace("\t", "  ", 1).expandtabs(8), offset, True))
        elif line.startswith(".LBB"):
            lines.append(CodeLine(line.partition("#")[0].rstrip(), None, False))
