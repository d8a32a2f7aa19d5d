"""``wasmjit compile``, ``validate`` and ``settings``."""

from __future__ import annotations

import argparse
import os
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from .. import Config, Engine, Module, WasmError, inspection
from .language import add_language_options, apply_language_options
from .options import add_engine_options, config_from, read_binary

WRAP_COLUMNS = 100


def add_commands(commands: Any) -> None:
    """Adds the commands of this file to the argparse subparsers."""
    parser = commands.add_parser(
        "compile", help="compile to a .cwasm file", description="Compiles a module ahead of time"
    )
    parser.add_argument("file", metavar="FILE", help="a module: binary or text")
    parser.add_argument("-o", "--output", metavar="OUT", help="default: FILE with .cwasm for its ending, here")
    parser.add_argument("--target", metavar="TRIPLE", help="for another machine, for example aarch64-unknown-linux-gnu")
    parser.add_argument("--cpu", metavar="NAME", help="LLVM's name of the processor (default: this machine's)")
    add_engine_options(parser)
    parser.set_defaults(act=compile_file)

    parser = commands.add_parser("validate", help="check modules", description="Checks modules; silent if all is well.")
    add_language_options(parser)
    parser.add_argument("files", metavar="FILE", nargs="+", help="a module: binary or text")
    parser.set_defaults(act=validate)

    parser = commands.add_parser("settings", help="list options", description="Shows the host and every Config option.")
    parser.set_defaults(act=settings)


def compile_file(arguments: argparse.Namespace) -> int:
    """Writes the artifact of a module."""
    config = config_from(arguments)
    if arguments.target is not None:
        config.target = arguments.target
    if arguments.cpu is not None:
        config.cpu = arguments.cpu
    wasm = read_binary(arguments.file)
    try:
        artifact = Module(Engine(config), wasm).serialize()
    except WasmError as error:
        raise WasmError(f"{arguments.file}: {error}") from error
    write_atomically(Path(arguments.output or Path(arguments.file).with_suffix(".cwasm").name), artifact)
    return 0


def write_atomically(path: Path, contents: bytes | bytearray) -> None:
    """Writes a file so that no other process ever sees a part of it."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
            # mkstemp makes files private; this one gets what any new file would.
            umask = os.umask(0)
            os.umask(umask)
            os.fchmod(file.fileno(), 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def validate(arguments: argparse.Namespace) -> int:
    """1 if a module is not valid, with the reason for each."""
    config = Config()
    apply_language_options(config, arguments)
    engine = Engine(config)
    wrong = []
    for path in arguments.files:
        try:
            wasm = read_binary(path)
        except WasmError as error:
            wrong.append(str(error))
            continue
        try:
            Module.validate(engine, wasm)
        except WasmError as error:
            wrong.append(f"{path}: {error}")
    if wrong:
        raise WasmError("\nwasmjit: error: ".join(wrong))
    return 0


def settings(arguments: argparse.Namespace) -> int:
    """Prints the host, and the options of Config with their defaults and meaning."""
    target = inspection.compile_target(Config())
    print(f"Host: {target.triple}, CPU {target.cpu}")
    print(textwrap.fill(f"CPU features: {' '.join(target.features)}", WRAP_COLUMNS, subsequent_indent="    "))
    print("\nOptions of Config (name, default, meaning):")
    for name, option in Config.options().items():
        print(f"\n{name} = {option.default!r}")
        print(textwrap.fill(option.__doc__ or "", WRAP_COLUMNS, initial_indent="    ", subsequent_indent="    "))
    return 0
