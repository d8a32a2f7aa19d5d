"""``wasmjit run``: a program with WASI, or one function by name."""

from __future__ import annotations

import argparse
import os
import signal
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .. import Engine, Func, FuncType, Linker, Store, ValType, WasiConfig, WasmError
from .options import add_engine_options, config_from, load_module, size_bytes

# The widest range a literal may have: signed or unsigned.
INTEGER_BITS = {"i32": 32, "i64": 64}


def add_commands(commands: Any) -> None:
    """Adds ``run`` to the argparse subparsers."""
    parser = commands.add_parser("run", help="run a program or call a function", description=__doc__)
    parser.add_argument(
        "--dir",
        action="append",
        default=[],
        metavar="HOST[::GUEST[::ro]]",
        help="a directory the program may use, under the name GUEST (HOST if left out), read-only with ::ro",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="an environment variable (ours if no =VALUE)",
    )
    parser.add_argument("--invoke", metavar="FUNCTION", help="call this export with the arguments; prints its results")
    parser.add_argument("--argv0", metavar="NAME", help="the program's own name (default: the file's)")
    parser.add_argument(
        "--preload",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a module that FILE imports as NAME",
    )
    parser.add_argument("--fuel", type=int, metavar="N", help="trap after about N instructions")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="trap when a call runs longer than this")
    parser.add_argument("--max-memory", type=size_bytes, metavar="SIZE", help="refuse memories larger than this")
    parser.add_argument("--allow-precompiled", action="store_true", help="FILE may be a .cwasm: native code, trusted")
    add_engine_options(parser)
    parser.add_argument("file", metavar="FILE", help="a module: binary, text (.wat) or precompiled (.cwasm)")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="given to the program")
    parser.set_defaults(act=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the program; its exit code arrives as the ExitTrap that this raises, or 0."""
    config = config_from(arguments)
    config.consume_fuel = arguments.fuel is not None
    engine = Engine(config)
    module = load_module(engine, arguments.file, arguments.allow_precompiled)
    limits = {"fuel": arguments.fuel, "timeout": arguments.timeout, "max_memory": arguments.max_memory}
    with Store(engine, **{name: value for name, value in limits.items() if value is not None}) as store:
        store.set_wasi(wasi_config(arguments))
        linker = Linker(engine)
        linker.define_wasi()
        with _default_interrupt():
            for preload in arguments.preload:
                _preload(linker, store, preload, arguments.allow_precompiled)
            exports = linker.instantiate(store, module).exports(store)
            _initialize(exports, store)
            if arguments.invoke is not None:
                _invoke(exports, store, arguments.invoke, arguments.arguments)
            else:
                _start(exports, store, arguments.file)
    return 0


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


def wasi_config(arguments: argparse.Namespace) -> WasiConfig:
    """The program's view of the system. Raises WasmError for a bad ``--dir`` or ``--env``."""
    wasi = WasiConfig()
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    name = os.path.basename(arguments.file) if arguments.argv0 is None else arguments.argv0
    wasi.argv = [name, *arguments.arguments]
    variables = []
    for word in arguments.env:
        key, equals, value = word.partition("=")
        if not key:
            raise WasmError(f"--env {word}: expected NAME=VALUE")
        if not equals and key not in os.environ:
            raise WasmError(f"--env {word}: there is no such variable to inherit")
        variables.append((key, value if equals else os.environ[key]))
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
