"""``wasmjit objdump``: what became of a module's functions."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from .. import Engine, WasmError, inspection
from ..errors import printable
from ..inspection import FunctionPlace
from .console import show
from .options import (
    ENGINE_ROWS,
    binary_of,
    compile_module,
    config_from,
    is_precompiled,
    keep_cache_small,
    read_file,
)
from .rows import Row
from .settings_file import use_config_file

# Flag -> the form of the code that it shows.
_FORMS = {"ir": "ir", "optimised_ir": "optimised", "assembly": "assembly", "disassemble": "code"}
ROWS = (
    Row("--ir", help="the LLVM IR as generated"),
    Row("--optimised-ir", help="the IR after LLVM's passes"),
    Row("--assembly", help="what LLVM emits, as assembler source"),
    Row("-d", "--disassemble", help="the machine code (takes binutils)"),
    Row("-f", "--function", kind=str, metavar="FUNCTION", help="only this one, by name or index"),
    *ENGINE_ROWS,
)


def command(name: str) -> Any:
    """The click command."""
    from . import click_commands

    return click_commands.make(
        name,
        objdump,
        ROWS,
        "Lists a module's functions with their offsets and sizes in bytes, or shows their code.\n\n"
        "FILE is a module: binary, text or precompiled (.cwasm).",
        arguments=[click_commands.file_argument()],
    )


def objdump(arguments: SimpleNamespace) -> int:
    """Prints what the options ask for."""
    use_config_file(arguments)
    forms = [form for name, form in _FORMS.items() if getattr(arguments, name)]
    if len(forms) > 1:
        import click

        raise click.UsageError("--ir, --optimised-ir, --assembly and --disassemble: one at a time")
    form = forms[0] if forms else None
    config = config_from(arguments)
    contents = read_file(arguments.file)
    if is_precompiled(contents):
        if form not in (None, "code"):
            raise WasmError(f"{arguments.file} is precompiled: the IR is not kept in it (try --disassemble)")
        wasm = b""
        artifact = contents
    else:
        wasm = binary_of(arguments.file, contents)
        artifact = compile_module(Engine(config), arguments.file, wasm)._artifact.to_bytes()
        keep_cache_small(arguments, config)
    places = inspection.functions(artifact)
    wanted = None if arguments.function is None else find_function(places, arguments.function, arguments.file)
    if form is None:
        print_table(places if wanted is None else [wanted])
        for line in inspection.shared_memories(artifact) if wanted is None else ():
            show(printable(line, newlines=False))
    elif form == "code":
        show(inspection.disassemble(artifact, wanted), end="")
    elif form == "assembly" and wanted is not None:
        raise WasmError("--assembly shows whole modules; --disassemble can show one function")
    else:
        indices = None if wanted is None else [wanted.index]
        interprets = any(place.is_interpreted for place in places)
        show(inspection.llvm_text(wasm, config, form, indices, interprets=interprets), end="")
    return 0


def find_function(places: Sequence[FunctionPlace], wanted: str, path: str) -> FunctionPlace:
    """The function of that name or index. Raises WasmError."""
    for place in places:
        if wanted == place.name or wanted == str(place.index):
            return place
    raise WasmError(f"{path} defines no function {wanted!r}")


def print_table(places: Sequence[FunctionPlace]) -> None:
    """A line per function."""
    print(f"{'index':>6} {'wasm offset':>12} {'size':>8} {'code offset':>12} {'size':>8}  name")
    for place in places:
        code = f"{place.code_offset:>#12x} {place.code_size:>8}" if not place.is_interpreted else f"{'interpreted':>21}"
        name = printable(place.name or "-", newlines=False)
        show(f"{place.index:>6} {place.wasm_offset:>#12x} {place.wasm_size:>8} {code}  {name}")
