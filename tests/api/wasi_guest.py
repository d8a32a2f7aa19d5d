"""A module that exports each WASI function it imports: tests call them as a program does, under both packages."""

from __future__ import annotations

import struct
from typing import Any

import wasmjit
from wasmjit.wasi.preview1 import MODULES

TYPES = {"i": "i32", "I": "i64"}
READ, WRITE = 1 << 1, 1 << 6
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8


def text_of(
    module: str = "wasi_snapshot_preview1", names: tuple[str, ...] | None = None, pages: int = 4, shared: bool = False
) -> str:
    """The module in text."""
    functions = [f for f in MODULES[module].values() if names is None or f.name in names]
    parts = []
    for function in functions:
        params = f"(param {' '.join(TYPES[letter] for letter in function.params)})"
        result = f"(result {TYPES[function.results]})" if function.results else ""
        arguments = " ".join(f"(local.get {index})" for index in range(len(function.params)))
        parts.append(f'(import "{module}" "{function.name}" (func ${function.name} {params} {result}))')
        parts.append(f'(func (export "{function.name}") {params} {result} (call ${function.name} {arguments}))')
    imports, wrappers = parts[::2], parts[1::2]
    memory = f'(memory (export "memory") {pages}{f" {pages} shared" if shared else ""})'
    return f"(module {' '.join(imports)} {memory} {' '.join(wrappers)})"


class Program:
    """An instance of that module under one of the packages."""

    def __init__(self, api: Any, engine: Any, module: Any, config: Any, **limits: Any) -> None:
        self.store = api.Store(engine, **limits)
        self.store.set_wasi(config)
        linker = api.Linker(engine)
        linker.define_wasi()
        self.exports = linker.instantiate(self.store, module).exports(self.store)
        self.memory = self.exports["memory"]
        self._next = 1024

    def put(self, data: bytes) -> int:
        """Address of a copy of `data`, aligned to 16."""
        address = self._next
        self._next = (address + len(data) + 15) & ~15
        if isinstance(self.memory, wasmjit.SharedMemory):
            self.memory.view()[address : address + len(data)] = data
        else:
            self.memory.write(self.store, data, address)
        return address

    def room(self, size_bytes: int) -> int:
        """Address of so many zeros."""
        return self.put(bytes(size_bytes))

    def get(self, address: int, size_bytes: int) -> bytes:
        """What memory holds there."""
        if isinstance(self.memory, wasmjit.SharedMemory):
            return bytes(self.memory.view()[address : address + size_bytes])
        return bytes(self.memory.read(self.store, address, address + size_bytes))

    def u32(self, address: int) -> int:
        """The number there."""
        return int(struct.unpack("<I", self.get(address, 4))[0])

    def call(self, name: str, *arguments: int) -> int:
        """The error code of a call."""
        return int(self.exports[name](self.store, *arguments) or 0)

    def path(self, name: str, path: bytes, *rest: int, before: tuple[int, ...] = (), fd: int = 3) -> int:
        """Calls (fd, *before, path, length, *rest)."""
        return self.call(name, fd, *before, self.put(path), len(path), *rest)

    def open(
        self, path: bytes, rights: int = READ, oflags: int = 0, follow: int = 1, fdflags: int = 0, fd: int = 3
    ) -> int:
        """The new descriptor, or minus the error code."""
        result = self.room(4)
        code = self.path("path_open", path, oflags, rights, rights, fdflags, result, before=(follow,), fd=fd)
        return -code if code else self.u32(result)

    def read(self, fd: int, size_bytes: int) -> bytes | int:
        """What one fd_read gives, or minus the error code."""
        buffer, result = self.room(size_bytes), self.room(4)
        code = self.call("fd_read", fd, self.put(struct.pack("<II", buffer, size_bytes)), 1, result)
        return -code if code else self.get(buffer, self.u32(result))

    def write(self, fd: int, data: bytes) -> int:
        """How much one fd_write wrote, or minus the error code."""
        result = self.room(4)
        code = self.call("fd_write", fd, self.put(struct.pack("<II", self.put(data), len(data))), 1, result)
        return -code if code else self.u32(result)

    def poll(self, *subscriptions: bytes) -> list[tuple[int, int, int, int, int]]:
        """(userdata, error, type, bytes, flags) of the events."""
        events, count = self.room(32 * len(subscriptions)), self.room(4)
        assert self.call("poll_oneoff", self.put(b"".join(subscriptions)), events, len(subscriptions), count) == 0
        return [struct.unpack("<QHB5xQH6x", self.get(events + 32 * i, 32)) for i in range(self.u32(count))]


def subscription(userdata: int, tag: int, subject: int, timeout_ns: int = 0, flags: int = 0) -> bytes:
    """For `Program.poll`: tag 0 a clock, 1 reading, 2 writing."""
    return struct.pack("<QB7xI4xQQH6x", userdata, tag, subject, timeout_ns, 0, flags)


_ENGINE = wasmjit.Engine(wasmjit.Config(tier="baseline", shared_memory=True))
_MODULES: dict[tuple[str, int, bool], wasmjit.Module] = {}


def program(
    config: wasmjit.WasiConfig,
    module: str = "wasi_snapshot_preview1",
    pages: int = 4,
    shared: bool = False,
    **limits: Any,
) -> Program:
    """One under wasmjit, with a memory of so many pages."""
    if (module, pages, shared) not in _MODULES:
        _MODULES[module, pages, shared] = wasmjit.Module(_ENGINE, text_of(module, pages=pages, shared=shared))
    return Program(wasmjit, _ENGINE, _MODULES[module, pages, shared], config, **limits)
