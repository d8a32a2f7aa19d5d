"""``wasmjit objdump``: what became of a module's functions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import Engine, Module, WasmError, inspection
from ..inspection import FunctionPlace
from .options import add_engine_options, config_from, read_binary


def add_commands(commands: Any) -> None:
    """Adds ``objdump`` to the argparse subparsers."""
    parser = commands.add_parser(
        "objdump",
        help="show functions, IR, machine code",
        description="Lists a module's functions with their offsets and sizes in bytes, or shows their code.",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--ir", dest="form", action="store_const", const="ir", help="the LLVM IR as generated")
    form.add_argument(
        "--optimised-ir", dest="form", action="store_const", const="optimised", help="the IR after LLVM's passes"
    )
    form.add_argument(
        "--assembly", dest="form", action="store_const", const="assembly", help="what LLVM emits, as assembler source"
    )
    form.add_argument(
        "-d", "--disassemble", dest="form", action="store_const", const="code", help="the machine code (takes binutils)"
    )
    parser.add_argument("-f", "--function", metavar="FUNCTION", help="only this one, by name or index")
    parser.add_argument("file", metavar="FILE", help="a module: binary, text or precompiled (.cwasm)")
    add_engine_options(parser)
    parser.set_defaults(act=objdump)


def objdump(arguments: argparse.Namespace) -> int:
    """Prints what the options ask for."""
    config = config_from(arguments)
    form = arguments.form
    if inspection.precompiled_kind(arguments.file) is not None:
        if form not in (None, "code"):
            raise WasmError(f"{arguments.file} is precompiled: the IR is not kept in it (try --disassemble)")
        wasm = b""
        artifact = Path(arguments.file).read_bytes()
    else:
        wasm = read_binary(arguments.file)
        artifact = bytes(Module(Engine(config), wasm).serialize())
    places = inspection.functions(artifact)
    wanted = None if arguments.function is None else find_function(places, arguments.function, arguments.file)
    if form is None:
        print_table(places if wanted is None else [wanted])
    elif form == "code":
        print(inspection.disassemble(artifact, wanted), end="")
    elif form == "assembly" and wanted is not None:
        raise WasmError("--assembly shows whole modules; --disassemble can show one function")
    else:
        print(inspection.llvm_text(wasm, config, form, None if wanted is None else [wanted.index]), end="")
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
        print(
            f"{place.index:>6} {place.wasm_offset:>#12x} {place.wasm_size:>8} "
            f"{place.code_offset:>#12x} {place.code_size:>8}  {place.name or '-'}"
        )
