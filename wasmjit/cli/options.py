"""Options that several commands share: how to compile, how to lay out memory; and loading a module from a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import Config, Engine, Module, WasmError, inspection, wat2wasm
from .language import add_language_options, apply_language_options

# -O's words: LLVM's letters and digits, and the names Config uses.
OPT_LEVELS = {
    "0": "none",
    "1": "speed",
    "2": "speed",
    "3": "speed",
    "s": "speed_and_size",
    "z": "speed_and_size",
    "none": "none",
    "speed": "speed",
    "speed_and_size": "speed_and_size",
}
SIZE_SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
BINARY_MAGIC = b"\0asm"


def opt_level(text: str) -> str:
    """The Config opt_level of an ``-O`` argument: ``0``, ``2``, ``s``, ``speed``, ``opt-level=2`` ..."""
    try:
        return OPT_LEVELS[text.removeprefix("opt-level=")]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(OPT_LEVELS)}") from None


def size_bytes(text: str) -> int:
    """A number of bytes, with an optional suffix ``k``, ``m`` or ``g`` (powers of 1024)."""
    digits = text.rstrip("kKmMgG")
    try:
        return int(digits, 0) * SIZE_SUFFIXES[text[len(digits) :].lower()]
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 65536, 512k or 4g") from None


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Options of the Config that any command which compiles has."""
    add_language_options(parser)
    group = parser.add_argument_group("compilation")
    group.add_argument(
        "-O",
        "--opt-level",
        type=opt_level,
        default="speed",
        metavar="LEVEL",
        help="0, 2 (default) or s, or by name",
    )
    group.add_argument(
        "--tier",
        choices=("baseline", "optimized", "auto"),
        default="optimized",
        help="auto: start at once, with code that is replaced by the optimised code when that is ready",
    )
    group.add_argument("--cpu-features", metavar="LIST", help="add or remove CPU features: +avx2,-fma")
    group.add_argument("--exact-traps", action="store_true", help="keep every memory access in order (slower loops)")
    group.add_argument("--nan-canonicalization", action="store_true", help="the same NaN bits on every processor")
    group = parser.add_argument_group("memory")
    group.add_argument(
        "--explicit-checks", action="store_true", help="check bounds in the code instead of with guard pages"
    )
    group.add_argument("--memory-reservation", type=size_bytes, metavar="SIZE", help="address space for each memory")
    group.add_argument("--memory-guard-size", type=size_bytes, metavar="SIZE", help="inaccessible space around it")
    group.add_argument("--max-wasm-stack", type=size_bytes, metavar="SIZE", help="stack that wasm code may use")


def config_from(arguments: argparse.Namespace) -> Config:
    """The Config that the options of `add_engine_options` describe."""
    config = Config(opt_level=arguments.opt_level, tier=arguments.tier)
    config.signals_based_traps = not arguments.explicit_checks
    config.exact_traps = arguments.exact_traps
    config.nan_canonicalization = arguments.nan_canonicalization
    for name in ("cpu_features", "memory_reservation", "memory_guard_size", "max_wasm_stack"):
        value = getattr(arguments, name)
        if value is not None:
            setattr(config, name, value)
    apply_language_options(config, arguments)
    return config


def read_binary(path: str) -> bytes:
    """The module in a file, in binary form: text is converted. Raises WasmError naming the file."""
    contents = Path(path).read_bytes()
    if contents.startswith(BINARY_MAGIC):
        return contents
    try:
        return bytes(wat2wasm(contents))
    except WasmError as error:
        raise WasmError(f"{path}: {error}") from error


def load_module(engine: Engine, path: str, allow_precompiled: bool) -> Module:
    """The module in a file: binary, text or, if allowed, precompiled. Raises WasmError naming the file."""
    if inspection.precompiled_kind(path) is None:
        return Module.from_file(engine, path)
    if not allow_precompiled:
        raise WasmError(f"{path} is precompiled native code: run it with --allow-precompiled, if you trust it")
    return Module.deserialize_file(engine, path)
