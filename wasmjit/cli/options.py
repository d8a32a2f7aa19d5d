"""Options that several commands share: how to compile, how to lay out memory; and loading a module from a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import SimpleNamespace
from typing import BinaryIO

from .. import Config, Engine, Module, WasmError, stopwatch
from ..reading import read_module
from .rows import HelpWanted, Row, Setting, duration_seconds, integer, one_of, size_bytes

TIER_VARIABLE = "WASMJIT_TIER"
TIERS = ("baseline", "optimized", "auto")
COMPILATION, MEMORY, CACHE, GROUPS = "Compilation", "Memory", "Configuration and cache", "Option groups, as wasmtime's"
BINARY_MAGIC = b"\0asm"
STDIN = "-"  # as a name of FILE
_DETECTED_BYTES = 4096


def _group(letter: str) -> Callable[[str], list[Setting]]:
    """The kind of a group's option: ``name[=value],...``."""

    def kind(text: str) -> list[Setting]:
        from . import groups  # large tables, seldom needed

        if text == "help":
            raise HelpWanted(groups.help_text(letter))
        return groups.parse(letter, text)

    return kind


def _group_row(letter: str, *flags: str, help: str) -> Row:
    def choices(typed: str) -> list[str]:
        from . import groups

        return groups.complete(letter, typed)

    return Row(
        f"-{letter}",
        *flags,
        name=f"settings_{letter.lower()}",
        kind=_group(letter),
        metavar="NAME[=VALUE],...",
        repeated=True,
        help=help,
        section=GROUPS,
        choices=choices,
    )


def _no_recording(text: str) -> str:
    raise ValueError("wasmtime's option -R has no equivalent in wasmjit: runs cannot be recorded and replayed")


LANGUAGE_ROW = _group_row(
    "W",
    "--wasm",
    help="proposals and limits: `-W simd=n`, `-W memory64,custom-page-sizes`; `-W help` lists all",
)
CONFIG_ROW = Row(
    "--config",
    kind=str,
    metavar="FILE",
    section=CACHE,
    help="take settings from this TOML file (default: ~/.config/wasmjit/config.toml, if there is one)",
)
NO_CACHE_ROW = Row("--no-cache", help="neither use nor fill the cache of compiled code", section=CACHE)
OPTIMIZE_ROW = _group_row(
    "O", "--optimize", "--opt-level", help="`-O0`, `-O2` (default), `-Os`, `-O memory-reservation=1g`; `-O help` lists"
)
WASI_ROW = _group_row("S", "--wasi", help="WASI: `-S inherit-env`; `-S help` lists")
EXPLICIT_CHECKS_ROW = Row(
    "--explicit-checks", help="check bounds in the code instead of with guard pages", section=MEMORY
)
# What any command that compiles has.
ENGINE_ROWS = (
    OPTIMIZE_ROW,
    _group_row("C", "--codegen", help="how code is generated: `-C cpu-features=+avx2`; `-C help` lists"),
    _group_row("D", "--debug", help="what debuggers get: `-D debug-info`; `-D help` lists"),
    LANGUAGE_ROW,
    Row("-R", "--record", kind=_no_recording, metavar="...", help="no equivalent of wasmtime's", section=GROUPS),
    Row(
        "--tier",
        kind=one_of(*TIERS),
        metavar="|".join(TIERS),
        choices=TIERS,
        section=COMPILATION,
        help="auto (of run, by default): start at once, in code that gets better; optimized: compile all of it first",
    ),
    Row(
        "--cpu-features",
        kind=str,
        metavar="LIST",
        help="add or remove CPU features: +avx2,-fma",
        section=COMPILATION,
    ),
    Row(
        "--compile-timeout",
        kind=duration_seconds,
        metavar="DURATION",
        help="give up on a module whose code is not there after this time",
        section=COMPILATION,
    ),
    Row(
        "--max-compiler-memory",
        kind=size_bytes,
        metavar="SIZE",
        help="address space of each compiler process",
        section=COMPILATION,
    ),
    Row("--exact-traps", help="keep every memory access in order (slower loops)", section=COMPILATION),
    Row("--nan-canonicalization", help="the same NaN bits on every processor", section=COMPILATION),
    Row("-g", name="debug_info", help="keep what debuggers need: -D debug-info", section=COMPILATION),
    EXPLICIT_CHECKS_ROW,
    Row(
        "--memory-reservation",
        kind=size_bytes,
        metavar="SIZE",
        help="address space for each memory",
        section=MEMORY,
    ),
    Row(
        "--memory-guard-size",
        kind=size_bytes,
        metavar="SIZE",
        help="inaccessible space around it",
        section=MEMORY,
    ),
    Row("--max-wasm-stack", kind=size_bytes, metavar="SIZE", help="stack that wasm code may use", section=MEMORY),
    CONFIG_ROW,
    NO_CACHE_ROW,
    Row(
        "--background-seconds",
        kind=integer,
        metavar="N",
        name="background_cpu_seconds",
        help="processor time after a program's end for code that is not in the cache yet (0: none; default: 120)",
        section=CACHE,
    ),
    Row(
        "--background-memory",
        kind=size_bytes,
        metavar="SIZE",
        help="address space that this may take (default: 2g)",
        section=CACHE,
    ),
)
_VALUES = (
    "tier",
    "cpu_features",
    "memory_reservation",
    "memory_guard_size",
    "max_wasm_stack",
    "compile_timeout",
    "max_compiler_memory",
    "background_cpu_seconds",
    "background_memory",
)
_FLAGS = {
    "exact_traps": ("exact_traps", True),
    "nan_canonicalization": ("nan_canonicalization", True),
    "debug_info": ("debug_info", True),
    "explicit_checks": ("signals_based_traps", False),
}


def config_from(arguments: SimpleNamespace, *, cached: bool = True, tier: str = "optimized") -> Config:
    """The Config that the options of ENGINE_ROWS describe, with the cache on if `cached`.

    `tier`, where they and the environment name none: what commands make or measure is optimised code.
    """
    config = Config() if os.environ.get(TIER_VARIABLE) else Config(tier=tier)
    if cached:
        config.cache = getattr(arguments, "cache_directory", None) or True
    for name in _VALUES:
        value = getattr(arguments, name, None)
        if value is not None:
            setattr(config, name, value)
    for name, (option, value) in _FLAGS.items():
        if getattr(arguments, name, False):
            setattr(config, option, value)
    apply_settings(config, settings_of(arguments))
    if getattr(arguments, "no_cache", False) or not cached:
        config.cache = False
    return config


def settings_of(arguments: SimpleNamespace) -> list[Setting]:
    """What the configuration file says, then the groups of the command line, each in order."""
    found: list[Setting] = list(getattr(arguments, "file_settings", ()))
    for letter in "ocdws":
        for part in getattr(arguments, f"settings_{letter}", ()):
            found += part
    return found


def apply_settings(config: Config, settings: Iterable[Setting]) -> None:
    """Sets those that are options of Config, the last one winning. WasmError: no such Cranelift flag."""
    for name, value in settings:
        if name == "cranelift":
            config.cranelift_flag_set(*value)
        elif not name.startswith("run."):
            setattr(config, name, value)


def keep_cache_small(arguments: SimpleNamespace, config: Config) -> None:
    """Cleans the cache up to the size that the configuration file gives; without one, `Module` does, to 1 GiB."""
    limit, directory = getattr(arguments, "cache_max_bytes", None), config.cache_directory
    if limit is not None and directory is not None:
        from ..cache import Cache

        with suppress(OSError):  # a cache that cannot be read or written is no error
            Cache(directory, limit).clean_up()


def read_file(path: str) -> bytes:
    """What a file holds; ``-`` is standard input, which a program that is run finds read to its end.

    Raises OSError, and WasmError, naming the file, for what is too large for a module.
    """
    if path == STDIN:
        return _read(path, sys.stdin.buffer)
    with open(path, "rb") as file:
        return _read(path, file)


def _read(path: str, file: BinaryIO) -> bytes:
    first = file.read(_DETECTED_BYTES)
    if is_precompiled(first):
        return first + file.read()
    try:
        return read_module(file, Config.options()["max_module_bytes"].default, first)
    except WasmError as error:
        raise WasmError(f"{path}: {error}") from error


def is_precompiled(contents: bytes) -> bool:
    """Whether that is a ``.cwasm``."""
    return Engine.detect_precompiled(contents[:_DETECTED_BYTES]) is not None


def binary_of(path: str, contents: bytes) -> bytes:
    """The module that the file at `path` holds, in binary form: text is converted. Raises WasmError naming the file."""
    if contents.startswith(BINARY_MAGIC):
        return contents
    from .. import wat2wasm

    try:
        return bytes(wat2wasm(contents))
    except WasmError as error:
        raise WasmError(f"{path}: {error}") from error


def compile_module(engine: Engine, path: str, wasm: bytes) -> Module:
    """The module `wasm` from the file `path`; on a terminal a progress bar shows what takes over a second."""
    from .console import compile_progress

    try:
        with compile_progress(os.path.basename(path)) as progress:
            return Module(engine, wasm, progress=progress)
    except WasmError as error:
        error.args = (f"{path}: {error}", *error.args[1:])
        raise


def load_module(
    engine: Engine, path: str, allow_precompiled: bool, keep: Callable[[bytes], None] = lambda _: None
) -> Module:
    """The module in a file: binary, text or, if allowed, precompiled. Raises WasmError naming the file.

    `keep` is called with what was read.
    """
    with stopwatch.phase(stopwatch.READING):
        contents = read_file(path)
    keep(contents)
    if not is_precompiled(contents):
        return compile_module(engine, path, contents)
    if not allow_precompiled:
        raise WasmError(f"{path} is precompiled native code: run it with --allow-precompiled, if you trust it")
    return Module.deserialize(engine, contents) if path == STDIN else Module.deserialize_file(engine, path)
