"""``wasmjit compile``, ``validate`` and ``settings``."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .. import Config, Engine, Module, WasmError
from .options import (
    CONFIG_ROW,
    ENGINE_ROWS,
    LANGUAGE_ROW,
    STDIN,
    apply_settings,
    binary_of,
    compile_module,
    config_from,
    keep_cache_small,
    read_file,
    settings_of,
)
from .rows import Row
from .settings_file import use_config_file

WRAP_COLUMNS = 100
TARGETS = (
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
)
COMPILE_ROWS = (
    Row("-o", "--output", kind=str, metavar="OUTFILE", help="default: FILE with .cwasm for its ending, here"),
    Row(
        "--target",
        kind=str,
        metavar="TRIPLE",
        choices=TARGETS,
        help="for another machine, for example aarch64-unknown-linux-gnu or aarch64-apple-darwin",
    ),
    Row("--cpu", kind=str, metavar="NAME", help="LLVM's name of the processor (default: this machine's)"),
    *ENGINE_ROWS,
)


def command(name: str) -> Any:
    """The click command of that name."""
    from . import click_commands

    if name == "compile":
        return click_commands.make(
            name,
            compile_file,
            COMPILE_ROWS,
            "Compiles a module ahead of time, for `wasmjit run --allow-precompiled` and Module.deserialize_file.\n\n"
            "FILE is a module: binary or text.",
            arguments=[click_commands.file_argument()],
        )
    if name == "validate":
        files = click_commands.file_argument("files", metavar="FILE...", nargs=-1, required=True)
        rows = (LANGUAGE_ROW, CONFIG_ROW)
        return click_commands.make(
            name, validate, rows, "Checks modules (binary or text); silent if all is well.", arguments=[files]
        )
    return click_commands.make(name, settings, (), "Shows the host, the targets and every Config option.")


def compile_file(arguments: SimpleNamespace) -> int:
    """Writes the artifact of a module."""
    use_config_file(arguments)
    config = config_from(arguments)
    if arguments.target is not None:
        config.target = arguments.target
    if arguments.cpu is not None:
        config.cpu = arguments.cpu
    module = compile_module(Engine(config), arguments.file, binary_of(arguments.file, read_file(arguments.file)))
    keep_cache_small(arguments, config)
    try:
        artifact = module._artifact.to_bytes()  # code, also in tier auto
    except WasmError as error:
        raise WasmError(f"{arguments.file}: {error}") from error
    write_output(arguments, ".cwasm", artifact)
    return 0


def write_output(arguments: SimpleNamespace, ending: str, contents: bytes | bytearray) -> None:
    """Writes what a command made of FILE to where ``-o`` says, ``-`` being stdout; else beside us, with that ending.

    Raises WasmError where nothing gives it a name.
    """
    output = arguments.output
    if output == "-":
        sys.stdout.buffer.write(contents)
        return
    if output is None:
        if arguments.file == STDIN:
            raise WasmError("a module from standard input gives its output no name: say -o OUTFILE (or -o -)")
        output = Path(arguments.file).with_suffix(ending).name
    write_atomically(Path(output), contents)


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


def validate(arguments: SimpleNamespace) -> int:
    """1 if a module is not valid, with the reason for each."""
    use_config_file(arguments)
    config = Config()
    apply_settings(config, settings_of(arguments))
    engine = Engine(config)
    wrong = []
    for path in arguments.files:
        try:
            wasm = binary_of(path, read_file(path))
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


def settings(arguments: SimpleNamespace) -> int:
    """Prints the host, the targets of `compile`, and the options of Config with their defaults and meaning."""
    import textwrap

    from .. import inspection

    target = inspection.compile_target(Config())
    print(f"Host: {target.triple}, CPU {target.cpu}")
    print(textwrap.fill(f"CPU features: {' '.join(target.features)}", WRAP_COLUMNS, subsequent_indent="    "))
    print(f"Targets of `wasmjit compile --target`: {', '.join(TARGETS)}")
    print("\nOptions of Config (name, default, meaning):")
    for name, option in Config.options().items():
        print(f"\n{name} = {option.default!r}")
        print(textwrap.fill(option.__doc__ or "", WRAP_COLUMNS, initial_indent="    ", subsequent_indent="    "))
    return 0
