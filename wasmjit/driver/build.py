"""The driver: from binary modules to artifacts. Decodes, validates, generates, has LLVM compile, links, and caches.

Whoever wants code of a module comes here: `Module`, `Engine.precompile_module`, the tiers and the optimiser's process.
Nothing here loads or runs code, and the C runtime is not imported.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import stopwatch, thresholds
from ..artifact import Artifact, check_runnable, detect
from ..cache import Cache, entry_key
from ..config import OPTIMIZED, CompileProgress, Config
from ..errors import CompileError, WasmError
from ..wasm.module import Module

if TYPE_CHECKING:
    from ..compile.pipeline import Schedule
    from ..target import Target
    from ..wasm.validate import BodyChecker
    from .trampoline_code import TrampolineCode

Progress = Callable[[CompileProgress], None] | None


def build(
    config: Config,
    modules: Sequence[bytes],
    trampolines: TrampolineCode,
    progress: Progress = None,
    schedule: Schedule | None = None,
) -> list[Artifact]:
    """The code of binary modules in the end, each from the cache if the Config has one and it is there.

    Those that are not there are made together. `schedule` is told of what is made. Raises WasmError, which says of
    which one of several modules (``modules[1]: ...``), and what `progress` raises.
    """
    with stopwatch.phase(stopwatch.CACHE):
        entries = [_entry_of(config, wasm) for wasm in modules]
        found = [None if entry is None else entry.load() for entry in entries]
    missing = [number for number, artifact in enumerate(found) if artifact is None]
    if missing:
        labels = [f"modules[{number}]" if len(modules) > 1 else "" for number in missing]
        binaries = [modules[number] for number in missing]
        with stopwatch.phase(stopwatch.COMPILING):
            made = _compile(config, trampolines, binaries, progress, schedule=schedule, labels=labels)
        for number, artifact in zip(missing, made, strict=True):
            entry = entries[number]
            if entry is not None:
                entry.cache.store(entry.key, artifact)
            found[number] = artifact
    return [artifact for artifact in found if artifact is not None]


def baseline(config: Config) -> Config:
    """The Config of baseline code for modules of `config`."""
    made = config.copy()
    made.tier = OPTIMIZED
    made.opt_level = "none"
    return made


def checked(config: Config, wasm: bytes, check: BodyChecker) -> Module:
    """The decoded module, which is valid: for code that is made when it is wanted. Raises WasmError.

    `check` looks at its bodies first (`wasm.validate`).
    """
    from ..wasm import deadline
    from ..wasm.validate import validate

    with deadline.within(_bounded(config).compile_timeout):
        with stopwatch.phase(stopwatch.DECODING):
            module = _decoded(config, wasm)
        if config.parallel_compilation and not can_interpret(config):
            from ..compile.workers import pool

            pool().warm_up(2)  # they get ready meanwhile
        with stopwatch.phase(stopwatch.VALIDATION):
            validate(module, check)
        return module


def can_interpret(config: Config) -> bool:
    """Whether the interpreter does what code compiled with `config` would do: of functions that it can take."""
    return (
        thresholds.INTERPRETS and config.profiler == "none"  # profilers are told of compiled code only
    )


def target_of(config: Config) -> Target:
    """The machine that `config` compiles for. Raises CompileError."""
    from ..compile.pipeline import resolve_target

    return resolve_target(config)


def require_runnable(config: Config) -> None:
    """Raises ArtifactError unless this machine can run what is compiled with `config`. A Config that names no other
    machine costs nothing; for another one LLVM is asked, once per process."""
    if config.target is not None or config.cpu is not None or config.cpu_features is not None:
        check_runnable(target_of(config))


# ---- what is given ----


def to_binary(wasm: Any) -> bytes:
    """The binary module that `wasm` holds as binary or text. Raises TypeError, WasmError."""
    if isinstance(wasm, str) and wasm:
        return text_to_binary(wasm)
    if not isinstance(wasm, (bytes, bytearray, memoryview)):
        raise TypeError("expected wasm bytes")
    binary = bytes(wasm)
    refuse_precompiled(binary)
    return binary if binary[:1] in (b"", b"\0") else text_to_binary(binary)


def text_to_binary(text: str | bytes) -> bytes:
    """The binary form of a module in the text format. Raises WasmError with line and column if it does not parse."""
    from ..wasm.text import wat2wasm

    return wat2wasm(text)


def refuse_precompiled(binary: bytes) -> None:
    """Raises WasmError for an artifact."""
    if detect(binary) is not None:
        raise WasmError("this is a compiled module, not WebAssembly: use Module.deserialize")


# ---- the cache ----


class _Entry(NamedTuple):
    """Where the cache that a Config has keeps a module."""

    cache: Cache
    key: str
    config_key: str

    def load(self) -> Artifact | None:
        """What is there."""
        return self.cache.load(self.key, self.config_key)


def has_cache(config: Config) -> bool:
    """Whether what is made is kept on disk: what is for other machines is kept elsewhere."""
    return config.target is None and config.cache_directory is not None


def _entry_of(config: Config, wasm: bytes) -> _Entry | None:
    directory = config.cache_directory if has_cache(config) else None
    if directory is None:
        return None
    config_key = config.cache_key()
    return _Entry(Cache(directory), entry_key(wasm, config_key), config_key)


def cached(config: Config, wasm: bytes) -> Artifact | None:
    """What the cache has of a binary module."""
    with stopwatch.phase(stopwatch.CACHE):
        entry = _entry_of(config, wasm)
        return None if entry is None else entry.load()


@contextlib.contextmanager
def turn(config: Config, wasm: bytes) -> Iterator[None]:
    """Waits, for some time, until no other process makes the same module for the cache."""
    entry = _entry_of(config, wasm)
    with contextlib.nullcontext() if entry is None else entry.cache.making(entry.key):
        yield


# ---- bounds ----

_within = threading.local()


@contextlib.contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Has what is built in this thread end with CompileTimeoutError after so many seconds."""
    before = getattr(_within, "seconds", None)
    _within.seconds = seconds
    try:
        yield
    finally:
        _within.seconds = before


def _bounded(config: Config) -> Config:
    """The Config, with what `within` says."""
    seconds = getattr(_within, "seconds", None)
    if seconds is None or (config.compile_timeout is not None and config.compile_timeout <= seconds):
        return config
    config = config.copy()
    config.compile_timeout = seconds
    return config


# ---- the stages ----


def _decoded(config: Config, wasm: bytes) -> Module:
    """The decoded module, if the Config's limits of size let it be compiled. Raises WasmError."""
    from ..wasm.decode import decode

    if len(wasm) > config.max_module_bytes:
        raise CompileError(f"the module has {len(wasm)} bytes: Config.max_module_bytes is {config.max_module_bytes}")
    module = decode(wasm, config.features)
    for position, body in enumerate(module.bodies):
        size_bytes = body.end - body.start
        if size_bytes > config.max_function_bytes:
            index = position + module.num_imported_functions
            raise CompileError(
                f"the function has {size_bytes} bytes: Config.max_function_bytes is {config.max_function_bytes}",
                offset=body.start,
                function=index,
                function_name=module.names.functions.get(index),
            )
    return module


def _compile(
    config: Config,
    trampolines: TrampolineCode,
    binaries: Sequence[bytes],
    progress: Progress,
    *,
    schedule: Schedule | None = None,
    labels: Sequence[str] = ("",),
) -> list[Artifact]:
    # The stages before the artifact are imported here only, so that running a .cwasm never loads them.
    from ..compile.pipeline import compile_modules, labelled
    from ..compile.trampolines import module_trampolines
    from ..wasm import deadline
    from ..wasm.types import trampoline_name
    from ..wasm.validate import validate_module_level

    config = _bounded(config)
    with deadline.within(config.compile_timeout):
        modules = []
        for wasm, label in zip(binaries, labels, strict=True):
            with labelled(label):
                modules.append(_decoded(config, wasm))
                validate_module_level(modules[-1])
        wanted = [{trampoline_name(*item): item for item in module_trampolines(module)} for module in modules]
        items = list({name: item for each in wanted for name, item in each.items()}.values())
        begun = trampolines.begin(items) if config.parallel_compilation else None
        units = compile_modules(
            modules,
            config,
            progress=progress,
            interprets=[can_interpret(config) for module in modules],
            schedule=schedule,
            labels=labels,
        )
        target = target_of(config)
        pieces = begun.finish() if begun is not None else trampolines.compile(items)
        return [
            Artifact.from_compiled(
                module,
                made,
                target=target,
                config_key=config.cache_key(),
                trampolines={name: pieces[name] for name in names},
                keep_address_map=config.generate_address_map,
            )
            for module, made, names in zip(modules, units, wanted, strict=True)
        ]
