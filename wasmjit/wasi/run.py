"""`run`: a WASI program in one call."""

from __future__ import annotations

import functools
import io
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..config import Config
from ..errors import WasmError
from ..runtime.engine import Engine
from ..runtime.linker import Linker
from ..runtime.module import Module, compile_within
from ..runtime.store import Store
from ..runtime.trap import ExitTrap, Trap, TrapCode
from .config import WasiConfig
from .context import WasiContext

_Path = str | os.PathLike[str]
_MODES = ("rw", "ro")


class Result(NamedTuple):
    """What became of a program that `run` ran.

    >>> result = Result(exit_code=3, stdout=b"", stderr=b"no such file")
    >>> exit_code, _, message = result
    >>> exit_code, message
    (3, b'no such file')
    """

    exit_code: int  # 0 if it just returned
    stdout: bytes  # empty if stdout went elsewhere
    stderr: bytes


@functools.lru_cache(maxsize=2)
def _default_engine(process: int, consume_fuel: bool) -> Engine:
    """The Engine of programs that are given as files: compiled code is kept on disk."""
    return Engine(Config(cache=True, consume_fuel=consume_fuel, shared_memory=True))


def run(
    program: _Path | bytes | bytearray | memoryview | Module,
    args: Iterable[str] = (),
    *,
    stdin: Any = b"",
    stdout: Any = None,
    stderr: Any = None,
    env: Mapping[str, str] | Iterable[Iterable[str]] = (),
    dirs: Mapping[str, Any] | Iterable[_Path] = (),
    argv0: str | None = None,
    timeout: float | None = None,
    fuel: int | None = None,
    max_memory: int | None = None,
    max_table_elements: int | None = None,
    max_output: int | None = None,
    max_descriptors: int | None = None,
    threads: bool = False,
    max_threads: int | None = None,
    clock: Any = None,
    random: Any = None,
    deterministic: bool = False,
    engine: Engine | None = None,
) -> Result:
    """Runs a WASI program to its end; its exit code and what it wrote.

    `program` is the path of a module (binary or text), its bytes, or a Module. `args` come after the program's name,
    which is `argv0`, by default the file's. `stdin`, `stdout` and `stderr` are what `WasiConfig` takes; what is not
    redirected is collected in the Result. `dirs` are the directories it may use: guest name -> path, `MemoryFS` or
    fsspec file system, each also as a pair with ``"ro"`` or ``"rw"``; or simply paths, which keep their names.
    `timeout` (seconds) bounds it from here on, reading and compiling the module included.
    `fuel` and `max_memory` (bytes of all memories and tables) bound it as they do a `Store`;
    `max_table_elements` holds for each table. `max_output` is how many bytes it may write to stdout and stderr
    together, by default 256 MiB of what is collected; beyond that the run ends with a WasmError. With `threads` it may
    start threads (see `Linker.define_wasi`). `max_descriptors`, `max_threads`, `clock`, `random` and `deterministic`
    are those of `WasiConfig`. Nothing else of the host can be seen.

    Without an `engine`, compiled code is kept in the on-disk cache, and the program starts at once, in code that gets
    better while it runs (`Config.tier`). Raises Trap if it traps or its time is over, WasmError for a program that
    cannot be run, OSError for a file that cannot be read, and whatever a file object or callable of yours raises. To
    have what it wrote before a Trap, redirect its output.

    >>> text = b'''(module
    ...   (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    ...   (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    ...   (memory (export "memory") 1)
    ...   (data (i32.const 0) "\\\\08\\\\00\\\\00\\\\00\\\\03\\\\00\\\\00\\\\00hi\\\\n")
    ...   (func (export "_start")
    ...     (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
    ...     (call $exit (i32.const 3))))'''
    >>> run(text, engine=Engine())
    Result(exit_code=3, stdout=b'hi\\n', stderr=b'')
    """
    began = time.monotonic()
    with compile_within(timeout):
        module = _module_of(program, engine, fuel is not None)
    outputs = [io.BytesIO(), io.BytesIO()]
    with WasiConfig(
        argv=[argv0 if argv0 is not None else _name_of(program), *args],
        env=env,
        stdin=stdin,
        stdout=outputs[0] if stdout is None else stdout,
        stderr=outputs[1] if stderr is None else stderr,
        clock=clock,
        random=random,
        deterministic=deterministic,
        max_output_bytes=max_output,
        max_descriptors=max_descriptors,
        max_threads=max_threads,
    ) as config:
        _preopen(config, dirs)
        with Store(module.engine, fuel=fuel, timeout=timeout, max_memory=max_memory) as store:
            if max_table_elements is not None:
                store.set_limits(table_elements=max_table_elements)
            store.set_wasi(config)
            exit_code = _run_command(store, module, None if timeout is None else began + timeout, threads)
    return Result(exit_code, *(output.getvalue() for output in outputs))


def _leave_time(store: Store, deadline: float | None) -> None:
    """Gives the next call what is left of the time. Raises Trap if nothing is."""
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Trap._from_code(TrapCode.INTERRUPT.value)
        store.timeout = left


def _run_command(store: Store, module: Module, deadline: float | None, threads: bool) -> int:
    linker = Linker(module.engine)
    linker.define_wasi(threads=threads)
    if threads:
        linker.define_shared_memories(module)
    try:
        _leave_time(store, deadline)
        start = linker.instantiate(store, module).exports(store).get("_start")
        if start is None:
            raise WasmError("the module exports no function `_start`: it is not a WASI program")
        _leave_time(store, deadline)
        start(store)  # type: ignore[operator]  # if it is no function, the error says so
        return 0
    except ExitTrap as exit_trap:
        return exit_trap.code
    finally:
        context = store._record.wasi
        if isinstance(context, WasiContext):
            context.close()


def _module_of(program: Any, engine: Engine | None, consume_fuel: bool) -> Module:
    if isinstance(program, Module):
        if engine is not None and not Engine.same(engine, program.engine):
            raise WasmError("the module belongs to another Engine than the one given")
        return program
    engine = engine or _default_engine(os.getpid(), consume_fuel)
    if isinstance(program, (str, os.PathLike)):
        return Module.from_file(engine, os.fspath(program))
    if isinstance(program, (bytes, bytearray, memoryview)):
        return Module(engine, bytes(program))
    raise TypeError(f"program must be a path, bytes or a Module, not {type(program).__name__}")


def _name_of(program: Any) -> str:
    if isinstance(program, (str, os.PathLike)):
        return os.path.basename(os.fspath(program))
    return (program.name if isinstance(program, Module) else None) or "program"


def _preopen(config: WasiConfig, dirs: Mapping[str, Any] | Iterable[_Path]) -> None:
    if isinstance(dirs, (str, os.PathLike)):
        raise TypeError("dirs must be a mapping or a sequence of paths, not one path")
    pairs = dirs.items() if isinstance(dirs, Mapping) else [(os.fspath(path), path) for path in dirs]
    for guest_path, source in pairs:
        mode = "rw"
        if isinstance(source, tuple):
            if len(source) != 2 or source[1] not in _MODES:
                raise ValueError(f'directory {guest_path!r}: a pair must be of a directory and "ro" or "rw"')
            source, mode = source
        config.preopen_dir(source, guest_path, mode == "rw")
