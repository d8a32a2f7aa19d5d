"""Tells Linux's `perf` which function lies where: `Config.profiler`, ``wasmjit run --profile``.

``perfmap``: a line per function in ``/tmp/perf-PID.map``, which ``perf report`` reads by itself. ``jitdump``: a file
``jit-PID.dump`` in the working directory, which also holds the machine code, and for each instruction the offset in the
wasm module (as line number): ``perf record -k mono``, then ``perf inject --jit``. The formats are described in the
Linux source, tools/perf/Documentation/jit-interface.txt and jitdump-specification.txt.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from . import elf
from .errors import WasmError, printable
from .target import host_machine
from .wasm.module import Module

PERF_MAP, JIT_DUMP = "perfmap", "jitdump"
PERF_MAP_DIRECTORY = "/tmp"  # where perf looks

_JIT_MAGIC, _JIT_VERSION = 0x4A695444, 1
_CODE_LOAD, _DEBUG_INFO = 0, 2
_FILE_HEADER = struct.Struct("=IIIIIIQQ")  # magic, version, size, ELF machine, padding, pid, timestamp, flags
_RECORD_HEADER = struct.Struct("=IIQ")  # kind, size in bytes, timestamp
_LOAD = struct.Struct("=IIQQQQ")  # pid, tid, address, address, size in bytes, index
_DEBUG = struct.Struct("=QQ")  # address, entries
_DEBUG_ENTRY = struct.Struct("=QII")  # address, line, discriminator


class Contents(Protocol):
    """What is known of code: an Artifact's, or that of some functions."""

    module: Module
    functions: Sequence[int]
    code_offsets: Sequence[int]
    code_sizes: Sequence[int]

    @property
    def text(self) -> memoryview: ...
    def address_map(self) -> tuple[Sequence[int], Sequence[int]]: ...


class Code(Protocol):
    """What runtime/code.py makes: code at an address."""

    @property
    def artifact(self) -> Contents: ...
    @property
    def text_start(self) -> int: ...


_lock = threading.RLock()
_waiting: deque[tuple[str, Code]] = deque()
_is_writing = False


def _renew_after_fork() -> None:
    global _lock, _is_writing
    _lock, _is_writing = threading.RLock(), False
    _waiting.clear()


os.register_at_fork(after_in_child=_renew_after_fork)


def announce(profiler: str, code: Code) -> None:
    """Tells `profiler` of loaded code. Raises WasmError where its file cannot be written."""
    global _is_writing
    if not code.artifact.text:
        return
    with _lock:
        _waiting.append((profiler, code))
        if _is_writing:  # this is a finalizer or a signal handler in the middle of it, which goes on with this
            return
        _is_writing = True
        try:
            while _waiting:
                _write(*_waiting.popleft())
        finally:
            _is_writing = False


def _write(profiler: str, code: Code) -> None:
    try:
        if profiler == PERF_MAP:
            _write_perf_map(code)
        elif profiler == JIT_DUMP:
            _dump_of_this_process(host_machine()).write(code)
    except OSError as error:
        raise WasmError(f"profiler {profiler}: {error.filename or ''}: {error.strerror or error}") from error


def function_names(artifact: Contents) -> list[str]:
    """What profilers show, for each function that there is code of: ``wasm[3]::name``."""
    module = artifact.module
    names = module.names.functions
    exported = {export.index: export.name for export in reversed(module.exports) if export.kind == 0}
    found = []
    for index in artifact.functions:
        name = names.get(index, exported.get(index))
        found.append(f"wasm[{index}]" + ("" if name is None else "::" + "".join(name.splitlines())))
    return found


def _places(code: Code) -> list[tuple[str, int, int]]:
    """Name, offset and size of each function's code."""
    artifact = code.artifact
    return list(zip(function_names(artifact), artifact.code_offsets, artifact.code_sizes, strict=True))


# ---- perf map ----
def _write_perf_map(code: Code) -> None:
    path = os.path.join(PERF_MAP_DIRECTORY, f"perf-{os.getpid()}.map")
    # Anybody can make files there: a link in its place must not lead anywhere.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
        for name, offset, size in _places(code):
            file.write(f"{code.text_start + offset:x} {size:x} {printable(name, newlines=False)}\n")


# ---- jitdump ----
class _Dump:
    """The jitdump file of this process."""

    def __init__(self, machine: str) -> None:
        self.pid = os.getpid()
        path = os.path.abspath(f"jit-{self.pid}.dump")
        self._file = open(path, "wb+", buffering=0)  # noqa: SIM115 - open as long as the process is
        self._file.write(
            _FILE_HEADER.pack(
                _JIT_MAGIC, _JIT_VERSION, _FILE_HEADER.size, elf.MACHINE_NUMBERS[machine], 0, self.pid, _now(), 0
            )
        )
        # perf sees this mapping in its record, and so learns of the file.
        self._mark = mmap.mmap(self._file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        self._count = 0

    def write(self, code: Code) -> None:
        """Adds the functions of `code`."""
        artifact = code.artifact
        offsets, lines = artifact.address_map()
        parts = []
        position = 0
        order = sorted(_places(code), key=lambda place: place[1])
        for name, offset, size in order:
            entries = []
            while position < len(offsets) and offsets[position] < offset:
                position += 1
            while position < len(offsets) and offsets[position] < offset + size:
                if lines[position]:
                    entries.append((code.text_start + offsets[position], lines[position]))
                position += 1
            if entries:
                parts.append(_debug_record(code.text_start + offset, entries))
            text = bytes(artifact.text[offset : offset + size])
            parts.append(self._load_record(name, code.text_start + offset, text))
        self._file.write(b"".join(parts))

    def _load_record(self, name: str, address: int, text: bytes) -> bytes:
        self._count += 1
        encoded = name.encode("utf-8", "replace").replace(b"\0", b"?") + b"\0"
        size = _RECORD_HEADER.size + _LOAD.size + len(encoded) + len(text)
        load = _LOAD.pack(self.pid, threading.get_native_id(), address, address, len(text), self._count)
        return _RECORD_HEADER.pack(_CODE_LOAD, size, _now()) + load + encoded + text


def _debug_record(address: int, entries: Sequence[tuple[int, int]]) -> bytes:
    """A record of wasm offsets, in place of lines, for the function that follows."""
    rows = b"".join(_DEBUG_ENTRY.pack(at, line, 0) + b"wasm\0" for at, line in entries)
    size = _RECORD_HEADER.size + _DEBUG.size + len(rows)
    return _RECORD_HEADER.pack(_DEBUG_INFO, size, _now()) + _DEBUG.pack(address, len(entries)) + rows


def _now() -> int:
    """perf's clock, with ``-k mono``."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


_dump: Any = None


def _dump_of_this_process(machine: str) -> _Dump:
    global _dump
    if _dump is None or _dump.pid != os.getpid():
        _dump = _Dump(machine)
    made: _Dump = _dump
    return made
