"""All WASI calls with arguments that ask for as much as can be, and what the process took: for test_bounds.py.

``python -m tests.wasi.hostile`` prints JSON: case -> [error code, growth of the peak in bytes]. A process of
its own, because a peak never falls.
"""

from __future__ import annotations

import io
import json
import logging
import os
import resource
import socket
import struct
import sys
import tempfile
from typing import Any

import wasmjit
from tests.api.wasi_guest import CREAT, DIRECTORY, READ, WRITE, Program, text_of
from wasmjit.wasi.preview1 import MODULES

MIB = 1 << 20
MEMORY_BYTES = 4 * MIB  # N
ALL = (1 << 30) - 1  # rights
MAX = (1 << 32) - 1
MAX64 = (1 << 64) - 1
NAMES = 10_000


class Nowhere(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        pass


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def outputs() -> dict[str, Any]:
    logger = logging.getLogger("wasmjit.tests.hostile")
    logger.propagate = False
    logger.addHandler(Nowhere())
    logger.setLevel(logging.DEBUG)
    return {"discarded": None, "BytesIO": io.BytesIO(), "StringIO": io.StringIO(), "callable": len, "logger": logger}


class Cases:
    def __init__(self, engine: wasmjit.Engine, module: wasmjit.Module) -> None:
        self.engine, self.module = engine, module
        self.results: dict[str, tuple[int, int]] = {}
        self.called: set[str] = set()

    def program(self, config: wasmjit.WasiConfig) -> Program:
        return Program(wasmjit, self.engine, self.module, config, max_memory=MEMORY_BYTES, timeout=20)

    def measure(self, case: str, program: Program, name: str, *arguments: int) -> int:
        self.called.add(name)
        before = peak_bytes()
        code = program.call(name, *(value - (1 << 64) if value >> 63 else signed32(value) for value in arguments))
        self.results[f"{name} {case}".strip()] = code, peak_bytes() - before
        return code


def signed32(value: int) -> int:
    return value - (1 << 32) if (1 << 31) <= value < 1 << 32 else value


def vectors(program: Program, count: int = 1024) -> tuple[int, int]:
    """An array of iovecs, each the whole memory behind it."""
    start = 65536
    program.memory.write(program.store, struct.pack("<II", start, MEMORY_BYTES - start) * count, 16384)
    return 16384, count


def transfers(cases: Cases, program: Program, fd: int, case: str) -> None:
    array = vectors(program)
    for name in ("fd_write", "fd_read", "sock_send", "sock_recv"):
        rest = {"sock_send": (0, 64), "sock_recv": (0, 64, 72)}.get(name, (64,))
        cases.measure(case, program, name, fd, *array, *rest)
    for name in ("fd_pwrite", "fd_pread"):
        cases.measure(case, program, name, fd, *array, 0, 64)
        cases.measure(f"{case} far", program, name, fd, *array, 1 << 40, 64)
    cases.measure(f"{case} of many vectors", program, "fd_write", fd, 0, MEMORY_BYTES // 8, 64)


def files(cases: Cases, program: Program, case: str) -> None:
    """What may be asked of a directory, descriptor 3, with NAMES files in "d"."""
    fd = program.open(b"new", READ | WRITE, CREAT)
    transfers(cases, program, fd, case)
    for name, arguments in (
        ("fd_allocate", (fd, 0, 1 << 29)),
        ("fd_allocate", (fd, 0, MAX64)),
        ("fd_filestat_set_size", (fd, 1 << 29)),
        ("fd_filestat_set_size", (fd, 1 << 62)),
        ("fd_advise", (fd, 0, MAX64, 3)),
        ("fd_seek", (fd, 1 << 62, 0, 64)),
        ("fd_write", (fd, *vectors(program, 1), 64)),
        ("fd_sync", (fd,)),
        ("fd_datasync", (fd,)),
        ("fd_tell", (fd, 64)),
        ("fd_filestat_get", (fd, 64)),
        ("fd_filestat_set_times", (fd, MAX64, MAX64, 5)),
        ("fd_fdstat_get", (fd, 64)),
        ("fd_fdstat_set_flags", (fd, 31)),
        ("fd_fdstat_set_rights", (fd, 0, 0)),
    ):
        cases.measure(f"{case} {arguments[1:]}", program, name, *arguments)
    long, length = 65536, MEMORY_BYTES - 65536
    program.memory.write(program.store, b"x" * length, long)
    for name, arguments in (
        ("path_create_directory", (3, long, length)),
        ("path_filestat_get", (3, 1, long, length, 64)),
        ("path_filestat_set_times", (3, 1, long, length, 0, 0, 5)),
        ("path_link", (3, 0, long, length, 3, long, length)),
        ("path_open", (3, 1, long, length, 1, ALL, ALL, 0, 64)),
        ("path_readlink", (3, long, length, long, length, 64)),
        ("path_remove_directory", (3, long, length)),
        ("path_rename", (3, long, length, 3, long, length)),
        ("path_symlink", (long, length, 3, long, 10)),
        ("path_symlink", (long, 65536, 3, long, 10)),
        ("path_unlink_file", (3, long, length)),
        ("fd_prestat_get", (3, 64)),
        ("fd_prestat_dir_name", (3, long, length)),
    ):
        cases.measure(f"{case} {arguments}", program, name, *arguments)
    directory = program.open(b"d", READ, DIRECTORY)
    cases.measure(f"{case} all", program, "fd_readdir", directory, long, length, 0, 64)
    cases.measure(f"{case} far", program, "fd_readdir", directory, long, length, MAX, 64)
    before, opened = peak_bytes(), 0
    path = program.put(b"d")
    while program.call("path_open", 3, 0, path, 1, DIRECTORY, 1 << 14, 1 << 14, 0, 64) == 0:
        opened += 1
        program.call("fd_readdir", program.u32(64), long, 4096, 0, 68)
    cases.results[f"path_open {case}: {opened} directories, each listed"] = 0, peak_bytes() - before
    for number in range(4, opened + 6):
        program.call("fd_close", number)
    before, opened = peak_bytes(), 0
    path = program.put(b"new")
    while program.call("path_open", 3, 0, path, 3, 0, READ, READ, 0, 64) == 0:
        opened += 1
    cases.results[f"path_open {case}: {opened} files"] = 0, peak_bytes() - before


def main() -> None:
    engine = wasmjit.Engine(wasmjit.Config(tier="baseline"))
    text = text_of().replace('(memory (export "memory") 4)', f'(memory (export "memory") {MEMORY_BYTES >> 16})')
    cases = Cases(engine, wasmjit.Module(engine, text))
    cases.program(wasmjit.WasiConfig()).call("sched_yield")  # what is loaded at first belongs to no call
    for name, target in outputs().items():
        program = cases.program(wasmjit.WasiConfig(stdout=target, stdin=io.StringIO("x" * 100)))
        program.memory.write(program.store, b"\n" * 16384 if name == "logger" else b"a" * 65536, 65536)
        transfers(cases, program, 1, name)
        transfers(cases, program, 0, f"stdin {name}")
    program = cases.program(wasmjit.WasiConfig(argv=["x" * 100] * 1000, env={"A": "x" * 10_000}))
    for name, arguments in (
        ("args_get", (0, 65536)),
        ("args_sizes_get", (0, 8)),
        ("environ_get", (0, 65536)),
        ("environ_sizes_get", (0, 8)),
        ("clock_res_get", (0, 8)),
        ("clock_time_get", (0, MAX64, 8)),
        ("fd_renumber", (1, 2)),
        ("fd_close", (2,)),
        ("proc_raise", (9,)),
        ("random_get", (0, MEMORY_BYTES)),
        ("random_get", (0, MAX)),
        ("sched_yield", ()),
        ("sock_accept", (0, MAX, 8)),
        ("sock_shutdown", (0, MAX)),
    ):
        cases.measure(str(arguments), program, name, *arguments)
    subscriptions = struct.pack("<QBxxxxxxxIxxxxQQHxxxxxx", 1, 0, 1, 1, 0, 0) * (2 * MIB // 48)
    program.memory.write(program.store, subscriptions, 0)
    for count in (2 * MIB // 48, MAX):
        cases.measure(str(count), program, "poll_oneoff", 0, 2 * MIB, count, 4 * MIB - 16)
    cases.measure("within itself", program, "poll_oneoff", 0, 0, 2 * MIB // 48, 4 * MIB - 16)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with wasmjit.WasiConfig() as config:
        config.preopen_socket(ours)
        program = cases.program(config)
        for name, rest in (("sock_send", (0, 64)), ("fd_write", (64,))):
            cases.measure("socket", program, name, 3, *vectors(program), *rest)
            while True:
                try:
                    theirs.recv(MIB)
                except BlockingIOError:
                    break
    names = {f"d/{number}" + "x" * 100: b"" for number in range(NAMES)}
    with wasmjit.WasiConfig() as config:
        config.preopen_dir(wasmjit.MemoryFS(names), "/")
        files(cases, cases.program(config), "MemoryFS")
    with tempfile.TemporaryDirectory() as host:
        os.mkdir(f"{host}/d")
        for number in range(NAMES // 25):
            os.close(os.open(f"{host}/d/{number}" + "x" * 100, os.O_CREAT | os.O_WRONLY))
        for deterministic in (False, True):
            with wasmjit.WasiConfig(deterministic=deterministic) as config:
                config.preopen_dir(host, "/")
                files(cases, cases.program(config), "sorted" if deterministic else "host")
    missing = set(MODULES["wasi_snapshot_preview1"]) - cases.called - {"proc_exit"}
    assert not missing, f"not called: {missing}"
    json.dump(cases.results, sys.stdout)


if __name__ == "__main__":
    main()
