"""A guest without wasm (a memory and a context), a directory tree with traps for path resolution, and program runs."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.wasi_guest import program
from wasmjit.wasi import native
from wasmjit.wasi.config import WasiConfig
from wasmjit.wasi.constants import Errno, Rights
from wasmjit.wasi.preview1 import FUNCTIONS, call

PREOPENED = 3
MEMORY_BYTES = 1 << 17
READ, WRITE = int(Rights.FD_READ), int(Rights.FD_WRITE)


@pytest.fixture(autouse=True)
def done_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who does what C can do: all that calls preview 1 is run with both (`pytest_generate_tests`)."""
    chosen: str = getattr(request, "param", IN_C)
    monkeypatch.setattr(native, "enabled", chosen == IN_C)
    monkeypatch.setenv("WASMJIT_WASI_IN_C", str(int(chosen == IN_C)))  # for other processes
    return chosen


IN_C, IN_PYTHON = "in C", "in Python"


# Tests of what may happen in a program's memory: in C they have one that is shared.
IN_SHARED_MEMORY = ("test_escapes", "test_pointers")
CALL_NONE = ("test_files", "test_in_c", "test_simd_kernels", "test_rebuilding_gives_the_same_files")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs each test twice, but for those that call no function of preview 1."""
    if not {metafunc.module.__name__.rpartition(".")[2], metafunc.function.__name__} & {*CALL_NONE}:
        metafunc.parametrize("done_in", [IN_C, IN_PYTHON], indirect=True)


class Guest:
    """Calls preview 1 functions as a program would, through pointers into a memory of its own: those in Python itself,
    or, with `in_c`, what a module imports. There the memory may be `shared` with other threads."""

    def __init__(self, config: WasiConfig, in_c: bool, shared: bool = False) -> None:
        self._program = None
        if in_c:
            self._program = program(config, pages=MEMORY_BYTES >> 16, shared=shared)
            self._program.call("sched_yield")  # now there is a context
            self.context = self._program.store._record.wasi
            self.bytes = self._program.memory.view(*([] if shared else [self._program.store]))
        else:
            self.bytes = bytearray(MEMORY_BYTES)
            self.context = config.build()
        self.memory = memoryview(self.bytes)
        self._next = 1024

    def allocate(self, size_bytes: int) -> int:
        """Address of `size_bytes` of memory not handed out before."""
        address = self._next
        self._next = (self._next + size_bytes + 15) & ~15
        assert self._next <= MEMORY_BYTES, "the test uses too much memory"
        return address

    def put(self, data: bytes) -> int:
        """Address of a copy of `data`."""
        address = self.allocate(len(data))
        self.bytes[address : address + len(data)] = data
        return address

    def has(self, data: bytes) -> bool:
        """Whether these bytes are anywhere in the memory. (In a memoryview, `in` looks for a number.)"""
        return data in bytes(self.bytes)

    def u32(self, address: int) -> int:
        return int(struct.unpack_from("<I", self.bytes, address)[0])

    def u64(self, address: int) -> int:
        return int(struct.unpack_from("<Q", self.bytes, address)[0])

    def call(self, name: str, *arguments: int) -> Errno:
        """The error code of one call."""
        if self._program is not None:
            return Errno(self._program.call(name, *map(_as_wasm, FUNCTIONS[name].params, arguments)))
        return Errno(call(FUNCTIONS[name], self.context, self.memory, arguments))

    def path(
        self, name: str, path: str | bytes, *rest: int, before: tuple[int, ...] = (), fd: int = PREOPENED
    ) -> Errno:
        """Calls a ``path_*`` function: (fd, *before, path, length, *rest)."""
        encoded = path.encode() if isinstance(path, str) else path
        return self.call(name, fd, *before, self.put(encoded), len(encoded), *rest)

    def open(
        self,
        path: str | bytes,
        rights: int = READ,
        oflags: int = 0,
        follow: int = 1,
        fdflags: int = 0,
        fd: int = PREOPENED,
    ) -> int:
        """The new descriptor; raises OpenError."""
        result = self.allocate(4)
        code = self.path("path_open", path, oflags, rights, rights, fdflags, result, before=(follow,), fd=fd)
        if code:
            raise OpenError(code)
        return self.u32(result)

    def read(self, fd: int, size: int) -> bytes:
        """What one fd_read gives."""
        buffer, result = self.allocate(size), self.allocate(4)
        assert self.call("fd_read", fd, self.put(struct.pack("<II", buffer, size)), 1, result) == 0
        return bytes(self.bytes[buffer : buffer + self.u32(result)])

    def write(self, fd: int, *parts: bytes) -> int:
        """How much one fd_write of these parts wrote."""
        vectors = b"".join(struct.pack("<II", self.put(part), len(part)) for part in parts)
        result = self.allocate(4)
        assert self.call("fd_write", fd, self.put(vectors), len(parts), result) == 0
        return self.u32(result)


def _as_wasm(letter: str, value: int) -> int:
    """The argument as an export takes it: with a sign."""
    bits = 32 if letter == "i" else 64
    return ((value + (1 << bits - 1)) & (1 << bits) - 1) - (1 << bits - 1)


class OpenError(Exception):
    """path_open failed with this code."""

    def __init__(self, code: Errno) -> None:
        super().__init__(code.name)
        self.code = code


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A directory with every kind of way out, and a secret beside it."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("outside")
    root = tmp_path / "root"
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "file").write_text("hello world")
    (root / "dir" / "a").write_text("aaa")
    for link, target in {
        "abs": "/etc/passwd",
        "rootlink": "/",
        "up": "../secret",
        "updir": "../outside",
        "dir/up2": "../../secret",
        "dir/twice": "../up",
        "link": "file",
        "dlink": "dir",
        "dir/parent": "..",
        "loop1": "loop2",
        "loop2": "loop1",
        "self": "self/x",
        "dangling": "nowhere",
        "absdir": str(tmp_path / "outside"),
        "inside": str(root / "file"),
    }.items():
        os.symlink(target, root / link)
    os.utime(root / "file", ns=(10**18, 10**18))
    return root


@pytest.fixture(scope="session")
def guests_are_compiled() -> None:
    """What guests in C call through: compilers have descriptors, which tests do not want to appear meanwhile."""
    Guest(WasiConfig(), True).context.close()


@pytest.fixture
def make_guest(
    request: pytest.FixtureRequest, done_in: str, guests_are_compiled: None
) -> Iterator[Callable[..., Guest]]:
    """Makes a Guest from a WasiConfig, or from its keywords; `root` is preopened as ``/``."""
    guests: list[Guest] = []
    shared = request.module.__name__.rpartition(".")[2] in IN_SHARED_MEMORY

    def make(
        config: WasiConfig | None = None, root: Path | None = None, mutable: bool = True, **keywords: Any
    ) -> Guest:
        config = config or WasiConfig(**keywords)
        if root is not None:
            config.preopen_dir(root, "/", mutable)
        guests.append(Guest(config, done_in == IN_C, shared))
        return guests[-1]

    yield make
    for guest in guests:
        guest.context.close()


@pytest.fixture
def guest(make_guest: Callable[..., Guest], sandbox: Path) -> Guest:
    """A guest with the sandbox preopened."""
    return make_guest(root=sandbox)


Run = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture
def run_program(tmp_path: Path) -> Run:
    """Runs a program under the API given (wasmjit or wasmtime): exit code, standard output, standard error."""
    numbers = itertools.count()

    def run(
        api: Any,
        module: Any,
        engine: Any,
        arguments: list[str],
        *,
        stdin: bytes = b"",
        directories: tuple[tuple[str, str, bool], ...] = (),
        env: tuple[tuple[str, str], ...] = (),
    ) -> tuple[int, bytes, bytes]:
        streams = [tmp_path / f"{next(numbers)}.{name}" for name in ("stdin", "stdout", "stderr")]
        streams[0].write_bytes(stdin)
        wasi = api.WasiConfig()
        wasi.argv = arguments
        wasi.env = env
        wasi.stdin_file, wasi.stdout_file, wasi.stderr_file = map(str, streams)
        for host, guest_path, mutable in directories:
            wasi.preopen_dir(host, guest_path, mutable)
        store = api.Store(engine)
        store.set_wasi(wasi)
        linker = api.Linker(engine)
        linker.define_wasi()
        code = 0
        try:
            linker.instantiate(store, module).exports(store)["_start"](store)
        except api.ExitTrap as exit_trap:
            code = exit_trap.code
        return code, streams[1].read_bytes(), streams[2].read_bytes()

    return run
