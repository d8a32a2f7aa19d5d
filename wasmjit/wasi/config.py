"""What a WASI program gets to see: arguments, environment, standard streams and directories."""

from __future__ import annotations

import ctypes
import io
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import WasmError
from .files import Descriptor, DescriptorTable, HostDirectory, HostStream, InputStream, OutputStream

_Path = str | bytes | os.PathLike[Any]


class WasiContext:
    """The state of one running WASI program, made by `WasiConfig.build`. Closes its descriptors when it goes."""

    def __init__(self, arguments: list[bytes], environment: list[bytes], descriptors: DescriptorTable) -> None:
        self.arguments = arguments
        self.environment = environment
        self.descriptors = descriptors
        # Kept by `link`: instance address -> where C keeps the size of its memory, and the memory's bytes.
        self.views: dict[int, tuple[ctypes.c_uint64, memoryview]] = {}
        self.close = weakref.finalize(self, descriptors.close_all)


class _HostDescriptor:
    """Owns a host descriptor until garbage collection; contexts take duplicates."""

    def __init__(self, host_fd: int) -> None:
        self._host_fd = host_fd
        self.close = weakref.finalize(self, os.close, host_fd)

    def duplicate(self) -> int:
        return os.dup(self._host_fd)


def _encode(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be str, not {type(text).__name__}")
    encoded = text.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise WasmError(f"{what} {text!r} contains a NUL character")
    return encoded


def _open(path: _Path, flags: int, what: str) -> _HostDescriptor:
    try:
        return _HostDescriptor(os.open(path, flags | os.O_CLOEXEC, 0o666))
    except OSError as error:
        raise WasmError(f"failed to open {what} {os.fsdecode(path)!r}: {error.strerror}") from None
    except ValueError as error:
        raise WasmError(f"failed to open {what}: {error}") from None


class WasiConfig:
    """Configures WASI for the programs of one Store; give it to ``Store.set_wasi``.

    Without further settings a program sees no arguments, no environment, an empty standard input, no directories,
    and its output is discarded. `stdin` takes ``bytes``, ``str`` or a readable file object, `stdout` and `stderr` a
    writable one (binary, or text: then output is decoded as UTF-8).

    >>> import io
    >>> output = io.BytesIO()
    >>> config = WasiConfig(argv=["program", "-v"], stdin=b"some input", stdout=output)
    >>> config.env = [("HOME", "/")]
    """

    def __init__(
        self,
        *,
        argv: Iterable[str] = (),
        env: Mapping[str, str] | Iterable[Iterable[str]] = (),
        stdin: bytes | str | Any = None,
        stdout: Any = None,
        stderr: Any = None,
    ) -> None:
        self._arguments: list[bytes] = []
        self._environment: list[bytes] = []
        self._preopened: list[tuple[_HostDescriptor, bytes, bool]] = []
        self._streams: list[Callable[[], Descriptor]] = [
            lambda: InputStream(io.BytesIO()),
            lambda: OutputStream(len),
            lambda: OutputStream(len),
        ]
        self.argv = argv
        self.env = env
        if stdin is not None:
            self.stdin = stdin
        if stdout is not None:
            self.stdout = stdout
        if stderr is not None:
            self.stderr = stderr

    def __enter__(self) -> WasiConfig:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the directories opened by `preopen_dir`; contexts that were built stay usable."""
        for directory, _, _ in self._preopened:
            directory.close()
        self._preopened.clear()

    @property
    def argv(self) -> list[str]:
        """The arguments, the program's name first."""
        return [argument.decode("utf-8", "surrogateescape") for argument in self._arguments]

    @argv.setter
    def argv(self, arguments: Iterable[str]) -> None:
        self._arguments = [_encode(argument, "argument") for argument in arguments]

    def inherit_argv(self) -> None:
        """Gives the program this process's ``sys.argv``."""
        self.argv = sys.argv

    @property
    def env(self) -> list[tuple[str, str]]:
        """The environment variables as (name, value) pairs; a mapping is taken as well."""
        pairs = (variable.decode("utf-8", "surrogateescape").partition("=") for variable in self._environment)
        return [(name, value) for name, _, value in pairs]

    @env.setter
    def env(self, variables: Mapping[str, str] | Iterable[Iterable[str]]) -> None:
        pairs = variables.items() if isinstance(variables, Mapping) else variables
        environment = []
        for name, value in pairs:
            if not name or "=" in name:
                raise WasmError(f"{name!r} cannot be the name of an environment variable")
            environment.append(_encode(name, "environment variable") + b"=" + _encode(value, "value"))
        self._environment = environment

    def inherit_env(self) -> None:
        """Gives the program all environment variables of this process."""
        self.env = dict(os.environ)

    @property
    def stdin(self) -> Any:
        """Standard input: ``bytes``, ``str`` (as UTF-8) or a readable file object. Write-only."""
        raise AttributeError("stdin can be set, but not read")

    @stdin.setter
    def stdin(self, source: bytes | str | Any) -> None:
        if isinstance(source, str):
            source = source.encode()
        if isinstance(source, (bytes, bytearray, memoryview)):
            data = bytes(source)
            self._streams[0] = lambda: InputStream(io.BytesIO(data))
        elif callable(getattr(source, "read", None)):
            self._streams[0] = lambda: InputStream(source)
        else:
            raise TypeError(f"stdin must be bytes, str or a readable file object, not {type(source).__name__}")

    @property
    def stdin_file(self) -> Any:
        """Path of a file to use as standard input. Write-only. `WasmError` if it cannot be opened."""
        raise AttributeError("stdin_file can be set, but not read")

    @stdin_file.setter
    def stdin_file(self, path: _Path) -> None:
        source = _open(path, os.O_RDONLY, "stdin file")
        self._streams[0] = lambda: HostStream(source.duplicate(), "in", owned=True)

    def inherit_stdin(self) -> None:
        """Uses this process's standard input (descriptor 0)."""
        self._streams[0] = lambda: HostStream(0, "in", owned=False)

    def _set_output(self, number: int, target: Any, name: str) -> None:
        if not callable(getattr(target, "write", None)):
            raise TypeError(f"{name} must be a writable file object, not {type(target).__name__}")
        self._streams[number] = lambda: OutputStream.to_file(target)

    def _set_output_file(self, number: int, path: _Path, name: str) -> None:
        target = _open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, f"{name} file")
        self._streams[number] = lambda: HostStream(target.duplicate(), "out", owned=True)

    def _set_output_custom(self, number: int, callback: Callable[[bytes], int | None]) -> None:
        if not callable(callback):
            raise TypeError("expected a callable that takes bytes")
        self._streams[number] = lambda: OutputStream(callback)

    def _inherit_output(self, number: int) -> None:
        def make() -> Descriptor:
            stream = sys.stdout if number == 1 else sys.stderr
            if stream is not None:  # None under pythonw and daemons
                stream.flush()  # what Python printed before must come before
            return HostStream(number, "out", owned=False)

        self._streams[number] = make

    @property
    def stdout(self) -> Any:
        """Standard output: a writable file object, binary or text. Write-only."""
        raise AttributeError("stdout can be set, but not read")

    @stdout.setter
    def stdout(self, target: Any) -> None:
        self._set_output(1, target, "stdout")

    @property
    def stdout_file(self) -> Any:
        """Path of a file for standard output, created or truncated now. Write-only. `WasmError` if that fails."""
        raise AttributeError("stdout_file can be set, but not read")

    @stdout_file.setter
    def stdout_file(self, path: _Path) -> None:
        self._set_output_file(1, path, "stdout")

    @property
    def stdout_custom(self) -> Any:
        """A function called with the bytes written, which returns None or how many it took. Write-only."""
        raise AttributeError("stdout_custom can be set, but not read")

    @stdout_custom.setter
    def stdout_custom(self, callback: Callable[[bytes], int | None]) -> None:
        self._set_output_custom(1, callback)

    def inherit_stdout(self) -> None:
        """Uses this process's standard output (descriptor 1)."""
        self._inherit_output(1)

    @property
    def stderr(self) -> Any:
        """Standard error: a writable file object, binary or text. Write-only."""
        raise AttributeError("stderr can be set, but not read")

    @stderr.setter
    def stderr(self, target: Any) -> None:
        self._set_output(2, target, "stderr")

    @property
    def stderr_file(self) -> Any:
        """Path of a file for standard error, created or truncated now. Write-only. `WasmError` if that fails."""
        raise AttributeError("stderr_file can be set, but not read")

    @stderr_file.setter
    def stderr_file(self, path: _Path) -> None:
        self._set_output_file(2, path, "stderr")

    @property
    def stderr_custom(self) -> Any:
        """As `stdout_custom`, for standard error. Write-only."""
        raise AttributeError("stderr_custom can be set, but not read")

    @stderr_custom.setter
    def stderr_custom(self, callback: Callable[[bytes], int | None]) -> None:
        self._set_output_custom(2, callback)

    def inherit_stderr(self) -> None:
        """Uses this process's standard error (descriptor 2)."""
        self._inherit_output(2)

    def preopen_dir(self, path: _Path, guest_path: str, fs_mutable: bool = True) -> None:
        """Lets the program use the host directory `path` under the name `guest_path`.

        With ``fs_mutable=False`` nothing in it can be created, changed or deleted. `WasmError` if `path` is not a
        directory that can be opened.
        """
        directory = _open(path, os.O_RDONLY | os.O_DIRECTORY, "directory")
        self._preopened.append((directory, _encode(guest_path, "guest path"), fs_mutable))

    def build(self) -> WasiContext:
        """The state for one run of a program, with host descriptors of its own. The config can be used again."""
        descriptors: list[Descriptor] = []
        try:
            for make in self._streams:
                descriptors.append(make())
            for directory, guest_path, mutable in self._preopened:
                # Not dup: a duplicate shares the position that reading a directory moves.
                host_fd = directory.duplicate()
                try:
                    own_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=host_fd)
                finally:
                    os.close(host_fd)
                descriptors.append(HostDirectory(own_fd, mutable, guest_path))
        except OSError as error:
            for descriptor in descriptors:
                descriptor.close()
            raise WasmError(f"failed to set up WASI: {error}") from None
        return WasiContext(list(self._arguments), list(self._environment), DescriptorTable(descriptors))
