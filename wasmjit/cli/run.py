"""``wasmjit run``: a program with WASI, or one function by name."""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .. import (
    Config,
    Engine,
    Func,
    FuncType,
    Linker,
    Module,
    Store,
    Trap,
    TrapCode,
    UnknownImportError,
    ValType,
    WasiConfig,
    WasmError,
    stopwatch,
)
from ..errors import THREAD_SPAWN, CompileTimeoutError
from .options import config_from, keep_cache_small, load_module, settings_of
from .run_rows import ROWS
from .settings_file import use_config_file

if TYPE_CHECKING:
    from .timing import RunTiming

# The widest range a literal may have: signed or unsigned.
INTEGER_BITS = {"i32": 32, "i64": 64}
# Arguments that settings of option groups and of the configuration file stand for.
_LIMIT_NAMES = ("memory_size", "table_elements", "instances", "tables", "memories")

EPILOG = (
    "The exit status is the program's; 134 after a trap, 1 for an error of ours, 2 for wrong usage. Options go before"
    " FILE: what follows it is the program's. The names and groups of wasmtime's command line are understood."
)


def command(name: str) -> Any:
    """The click command."""
    from . import click_commands

    return click_commands.make(
        name,
        run,
        ROWS,
        "Runs a WASI program, or calls one function of a module with --invoke.\n\n"
        "FILE is a module: binary, text (.wat) or, with --allow-precompiled, compiled (.cwasm).",
        passes_words=True,
        epilog=EPILOG,
    )


def run(arguments: SimpleNamespace) -> int:
    """Runs the program; its exit code arrives as the ExitTrap that this raises, or 0."""
    use_config_file(arguments)
    if not arguments.timing and arguments.timing_file is None:
        return _run(arguments, None)
    from . import timing

    with stopwatch.listen() as watch:
        measured = timing.RunTiming(arguments.file, watch)
        try:
            return _run(arguments, measured)
        finally:
            if measured.module is not None:
                timing.show(measured, arguments.timing_file, on_stderr=arguments.timing)


def _run(arguments: SimpleNamespace, timing: RunTiming | None) -> int:
    settings = _run_settings(arguments)
    # Profilers are told of compiled code: all of it is to be that.
    tier = "auto" if arguments.profile is None else "optimized"
    config = config_from(arguments, cached=settings.get("cache", True), tier=tier)
    fuel = _first(arguments.fuel, settings.get("fuel"))
    config.consume_fuel = fuel is not None
    has_threads = settings.get("threads", False)
    if has_threads:
        config.shared_memory = True
    if arguments.profile is not None:
        config.profiler = arguments.profile
    timeout = _first(arguments.timeout, settings.get("timeout"))
    is_bounded = config.compile_timeout is None and timeout is not None
    if is_bounded:
        config.compile_timeout = timeout
    engine = Engine(config)
    try:
        module = _load(engine, config, arguments, timing)
    except CompileTimeoutError:
        if not is_bounded:
            raise
        raise Trap._from_code(TrapCode.INTERRUPT.value) from None
    keep_cache_small(arguments, config)
    limits = {
        "fuel": fuel,
        "timeout": timeout,
        "max_memory": arguments.max_memory,
    }
    with Store(engine, **{name: value for name, value in limits.items() if value is not None}) as store:
        store.set_limits(**{name: settings[name] for name in _LIMIT_NAMES if name in settings})
        if arguments.max_table_elements is not None:
            store.set_limits(table_elements=arguments.max_table_elements)
        if config.epoch_interruption:
            store.set_epoch_deadline(1)  # nothing advances the epoch: it only costs what it costs
        linker = Linker(engine)
        if settings.get("wasi", True):
            wasi = wasi_config(arguments, settings.get("inherit_env", False))
            wasi.deterministic = settings.get("deterministic", False)
            for address in (value for name, value in settings_of(arguments) if name == "run.tcplisten"):
                _listen(wasi, *address)
            store.set_wasi(wasi)
            linker.define_wasi(threads=has_threads)
        elif has_threads:
            raise WasmError("-S threads: wasi-threads is part of WASI, which -S cli=n leaves out")
        if settings.get("unknown_exports_allow", False):
            linker.allow_unknown_exports = True
        with _default_interrupt():
            for preload in arguments.preload:
                _preload(linker, store, preload, arguments.allow_precompiled)
            if settings.get("unknown_imports_trap", False):
                linker.define_unknown_imports_as_traps(module)
            if settings.get("unknown_imports_default", False):
                linker.define_unknown_imports_as_default_values(store, module)
            if has_threads:
                linker.define_shared_memories(module)
            else:
                _check_threads(linker, store, module)
            with stopwatch.phase(stopwatch.INSTANTIATION):
                exports = linker.instantiate(store, module).exports(store)
            with stopwatch.phase(stopwatch.EXECUTION):
                _initialize(exports, store)
                if arguments.invoke is not None:
                    _invoke(exports, store, arguments.invoke, arguments.arguments)
                else:
                    _start(exports, store, arguments.file)
    return 0


def _check_threads(linker: Linker, store: Store, module: Module) -> None:
    """Raises WasmError, saying which option it takes, for a program that starts threads."""
    for item in module.imports:
        if (item.module, item.name) == THREAD_SPAWN:
            try:
                linker.get_by_import(store, item)
            except UnknownImportError:
                message = "the program starts threads (it imports `wasi::thread-spawn`): allow that with -S threads"
                raise WasmError(message) from None


def _load(engine: Engine, config: Config, arguments: SimpleNamespace, timing: RunTiming | None) -> Module:
    if timing is None:
        return load_module(engine, arguments.file, arguments.allow_precompiled)
    timing.tier = config.tier
    timing.module = load_module(engine, arguments.file, arguments.allow_precompiled, timing.keep)
    return timing.module


def _run_settings(arguments: SimpleNamespace) -> dict[str, Any]:
    """What the option groups say about this run, the last one winning."""
    return {name.removeprefix("run."): value for name, value in settings_of(arguments) if name.startswith("run.")}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


@contextmanager
def _default_interrupt() -> Iterator[None]:
    """Lets Ctrl-C end the process at once, also while wasm code runs (Python's handler would wait for its end)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def wasi_config(arguments: SimpleNamespace, inherit_env: bool = False) -> WasiConfig:
    """The program's view of the system. Raises WasmError for a bad ``--dir`` or ``--env``."""
    wasi = WasiConfig(
        max_output_bytes=arguments.max_output,
        max_descriptors=arguments.max_descriptors,
        max_threads=arguments.max_threads,
    )
    wasi.inherit_stdin()
    wasi.inherit_stdout(exit_on_broken_pipe=True)
    wasi.inherit_stderr(exit_on_broken_pipe=True)
    name = os.path.basename(arguments.file) if arguments.argv0 is None else arguments.argv0
    wasi.argv = [name, *arguments.arguments]
    variables = dict(os.environ) if inherit_env else {}
    for word in arguments.env:
        key, equals, value = word.partition("=")
        if not key:
            raise WasmError(f"--env {word}: expected NAME=VALUE")
        if not equals and key not in os.environ:
            raise WasmError(f"--env {word}: there is no such variable to inherit")
        variables[key] = value if equals else os.environ[key]
    wasi.env = variables
    for word in arguments.dir:
        host, _, rest = word.partition("::")
        guest, _, mode = rest.partition("::")
        if mode not in ("", "ro") or not host:
            raise WasmError(f"--dir {word}: expected HOST, HOST::GUEST or HOST::GUEST::ro")
        if not os.path.isdir(host):
            raise WasmError(f"--dir {word}: {host} is not a directory")
        wasi.preopen_dir(host, guest or host, mode != "ro")
    return wasi


def _listen(wasi: WasiConfig, host: str, port: int) -> None:
    """Gives the program a socket that listens. Raises WasmError if it cannot be had."""
    import socket

    try:
        made = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise WasmError(f"-S tcplisten={host}:{port}: {error.strerror or error}") from error
    with made:
        wasi.preopen_socket(made)


def _preload(linker: Linker, store: Store, preload: str, allow_precompiled: bool) -> None:
    name, equals, path = preload.partition("=")
    if not equals or not path:
        raise WasmError(f"--preload {preload}: expected NAME=FILE")
    module = load_module(store.engine, path, allow_precompiled)
    instance = linker.instantiate(store, module)
    _initialize(instance.exports(store), store)
    linker.define_instance(store, name, instance)


def _initialize(exports: Any, store: Store) -> None:
    """Starts a WASI reactor."""
    initialize = exports.get("_initialize")
    if isinstance(initialize, Func):
        initialize(store)


def _start(exports: Any, store: Store, path: str) -> None:
    """Runs a WASI command. A module without functions has done its work in its start function."""
    functions = [name for name, item in exports.items() if isinstance(item, Func)]
    start = exports.get("_start")
    if isinstance(start, Func):
        start(store)
    elif set(functions) - {"_initialize"}:
        names = ", ".join(functions[:10]) + (", ..." if len(functions) > 10 else "")
        raise WasmError(f"{path} has no _start: call one of its functions with --invoke ({names})")


def _invoke(exports: Any, store: Store, name: str, words: Sequence[str]) -> None:
    function = exports.get(name)
    if not isinstance(function, Func):
        raise WasmError(f"there is no exported function {name!r}")
    kind = function.type(store)
    result = function(store, *parse_arguments(name, kind, words))
    if not kind.results:
        return
    for value, value_type in zip([result] if len(kind.results) == 1 else result, kind.results, strict=True):
        print(format_value(value, value_type))


def parse_arguments(name: str, kind: FuncType, words: Sequence[str]) -> list[Any]:
    """The values that command-line words stand for. Raises WasmError naming the wrong one."""
    if len(words) != len(kind.params):
        types = " ".join(map(type_name, kind.params)) or "nothing"
        raise WasmError(f"{name} takes {len(kind.params)} arguments ({types}), not {len(words)}")
    return [parse_value(word, value_type) for word, value_type in zip(words, kind.params, strict=True)]


def type_name(value_type: ValType) -> str:
    """The specification's name of a type; `str` has the wasmtime package's ``anyref`` for an externref."""
    return "externref" if value_type == ValType.externref() else str(value_type)


def parse_value(word: str, value_type: ValType) -> Any:
    """The value of one command-line word: integers signed or unsigned, also hexadecimal; floats also hexadecimal."""
    kind = type_name(value_type)
    try:
        if kind in INTEGER_BITS:
            bits = INTEGER_BITS[kind]
            value = int(word, 0)
            if not -(1 << (bits - 1)) <= value < 1 << bits:
                raise ValueError
            return value - (1 << bits) if value >= 1 << (bits - 1) else value
        if kind in ("f32", "f64"):
            return float.fromhex(word) if "0x" in word.lower() else float(word)
    except (ValueError, OverflowError):
        raise WasmError(f"{word!r} is not an {kind}") from None
    if word == "null":
        return None
    raise WasmError(f"a value of type {kind} cannot be given on the command line (only null)")


def format_value(value: Any, value_type: ValType) -> str:
    """A result as text; an f32 with the fewest digits that tell it from its neighbours."""
    if value is None:
        return "null"
    if str(value_type) == "f32":
        for digits in range(6, 10):
            text = f"{value:.{digits}g}"
            if struct.pack("<f", float(text)) == struct.pack("<f", value):
                return text
    return str(value)
