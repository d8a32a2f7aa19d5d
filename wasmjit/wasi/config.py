"""What a WASI program gets to see: arguments, environment, standard streams and directories."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import WasmError
from .clocks import HostClock, VirtualClock, clock_from, random_from
from .constants import CLOCK_REALTIME
from .context import DEFAULT_MAX_THREADS, WasiContext
from .descriptors import Access, Descriptor, DescriptorTable, DirPerms, FilePerms, default_max_descriptors
from .files import PLAIN_VIEW, HostDirectory, HostView, StableHostView
from .fsspec_fs import FsspecFS, looks_like_fsspec
from .sockets import HostSocket, duplicate_socket
from .streams import (
    DEFAULT_MAX_CAPTURED_BYTES,
    HostStream,
    InputStream,
    LogStream,
    OutputBudget,
    OutputStream,
    is_in_memory,
)
from .virtual import VirtualFileSystem

if TYPE_CHECKING:
    import socket

_Path = str | bytes | os.PathLike[Any]


class _Preopened(NamedTuple):
    """A directory that programs will find open."""

    source: _HostDescriptor | VirtualFileSystem
    guest_path: bytes
    access: Access


class _HostDescriptor:
    """Owns a host descriptor until garbage collection; contexts take duplicates."""

    def __init__(self, host_fd: int) -> None:
        self._host_fd = host_fd
        self.close = weakref.finalize(self, os.close, host_fd)

    def duplicate(self) -> int:
        return os.dup(self._host_fd)

    def is_directory(self) -> bool:
        return stat.S_ISDIR(os.fstat(self._host_fd).st_mode)


def _encode(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be str, not {type(text).__name__}")
    encoded = text.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise WasmError(f"{what} {text!r} contains a NUL character")
    return encoded


def _count_or_none(value: int | None, name: str) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError(f"{name} must be None or an int of at least 0, not {value!r}")
    return value


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
    and its output is discarded. `stdin` takes ``bytes``, ``str`` or a readable file object; `stdout` and `stderr` a
    writable one (binary, or text: then output is decoded as UTF-8), a function of the bytes written, or a
    ``logging.Logger``, which gets a record for each line. With `deterministic` a program that gets the same input sees
    the same in every run (see the property); `clock`, `random`, `max_output_bytes`, `max_descriptors` and `max_threads`
    are those of the properties.

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
        clock: Any = None,
        random: Any = None,
        deterministic: bool = False,
        max_output_bytes: int | None = None,
        max_descriptors: int | None = None,
        max_threads: int | None = None,
    ) -> None:
        self._arguments: list[bytes] = []
        self._environment: list[bytes] = []
        self._preopened: list[_Preopened] = []
        self._sockets: list[socket.socket] = []
        self._random_setting: Any = None
        self._streams: list[Callable[[], Descriptor]] = [
            lambda: InputStream(io.BytesIO()),
            lambda: OutputStream(len),
            lambda: OutputStream(len),
        ]
        self._captures = [False, False, False]  # by stream: what is written stays in memory
        self.argv = argv
        self.env = env
        self.max_output_bytes = max_output_bytes
        self.max_descriptors = max_descriptors
        self.max_threads = max_threads
        self.clock = clock
        self.random = random
        self.deterministic = deterministic
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
        """Lets go of what `preopen_dir` and `preopen_socket` opened; programs that run keep what they have."""
        for preopened in self._preopened:
            if isinstance(preopened.source, _HostDescriptor):
                preopened.source.close()
        self._preopened.clear()
        for given in self._sockets:
            given.close()
        self._sockets.clear()

    @property
    def clock(self) -> Any:
        """The clocks that programs see: None for the host's, a `VirtualClock`, or an int: they stand still at this
        time, in nanoseconds since 1970, but for sleeps, which are over at once.

        >>> config = WasiConfig()
        >>> config.clock = 1_700_000_000 * 10**9
        """
        return self._clock

    @clock.setter
    def clock(self, clock: Any) -> None:
        clock_from(clock)
        self._clock = clock

    @property
    def random(self) -> Any:
        """Where random bytes come from: None for the host, an int or ``bytes`` as the seed of a sequence that is the
        same in every run, or a function that is called with a number and returns so many bytes.

        >>> config = WasiConfig()
        >>> config.random = 42
        """
        return self._random_setting

    @random.setter
    def random(self, random: Any) -> None:
        random_from(random)
        self._random_setting = random

    @property
    def deterministic(self) -> bool:
        """Whether a program that gets the same input sees the same in every run.

        Where `clock` and `random` are None it then gets ``VirtualClock()`` and the seed 0. Of host files it sees no
        inode and device numbers, no times but the clock's start, and directories sorted by name. What it reads from
        pipes, sockets and callables is up to who is at the other end.

        >>> WasiConfig(deterministic=True).deterministic
        True
        """
        return self._deterministic

    @deterministic.setter
    def deterministic(self, deterministic: bool) -> None:
        self._deterministic = bool(deterministic)

    @property
    def max_output_bytes(self) -> int | None:
        """How many bytes the program may write to standard output and standard error together; the write that goes
        beyond raises WasmError, which ends the program. None (the default): as many as it likes, but for
        ``io.BytesIO`` and ``io.StringIO``, which keep all of it in memory: 256 MiB.

        >>> config = WasiConfig(stdout=print, max_output_bytes=1 << 20)
        """
        return self._max_output_bytes

    @max_output_bytes.setter
    def max_output_bytes(self, max_bytes: int | None) -> None:
        self._max_output_bytes = _count_or_none(max_bytes, "max_output_bytes")

    @property
    def max_descriptors(self) -> int | None:
        """How many descriptors the program may have open at once, standard streams and directories included: then it
        gets MFILE. None (the default): 1024, but at most half of those that this process may open.

        >>> config = WasiConfig(max_descriptors=32)
        """
        return self._max_descriptors

    @max_descriptors.setter
    def max_descriptors(self, count: int | None) -> None:
        self._max_descriptors = _count_or_none(count, "max_descriptors")

    @property
    def max_threads(self) -> int | None:
        """How many threads besides the first the program may have at once (`Linker.define_wasi`): one more is refused
        with the error AGAIN. None (the default): 256.

        >>> config = WasiConfig(max_threads=4)
        """
        return self._max_threads

    @max_threads.setter
    def max_threads(self, count: int | None) -> None:
        self._max_threads = _count_or_none(count, "max_threads")

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
        if source.is_directory():
            source.close()
            raise WasmError(f"failed to open stdin file {os.fsdecode(path)!r}: {os.strerror(errno.EISDIR)}")
        self._streams[0] = lambda: HostStream(source.duplicate(), "in", owned=True)

    def inherit_stdin(self) -> None:
        """Uses this process's standard input (descriptor 0); if it was closed when Python started, the program
        has none."""
        self._streams[0] = lambda: HostStream.inherited(0)

    def _set_output(self, number: int, target: Any, name: str) -> None:
        self._captures[number] = is_in_memory(target)
        logging = sys.modules.get("logging")  # no Logger without it, and importing it takes a while
        if logging is not None and isinstance(target, (logging.Logger, logging.LoggerAdapter)):
            level = logging.INFO if number == 1 else logging.ERROR
            self._streams[number] = lambda: LogStream(target, level)
        elif callable(getattr(target, "write", None)):
            self._streams[number] = lambda: OutputStream.to_file(target)
        elif callable(target):
            self._set_output_custom(number, target)
        else:
            expected = "a writable file object, a function or a Logger"
            raise TypeError(f"{name} must be {expected}, not {type(target).__name__}")

    def _set_output_file(self, number: int, path: _Path, name: str) -> None:
        target = _open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, f"{name} file")
        self._captures[number] = False
        self._streams[number] = lambda: HostStream(target.duplicate(), "out", owned=True)

    def _set_output_custom(self, number: int, callback: Callable[[bytes], int | None]) -> None:
        if not callable(callback):
            raise TypeError("expected a callable that takes bytes")
        self._captures[number] = False
        self._streams[number] = lambda: OutputStream(callback)

    def _inherit_output(self, number: int, exit_on_broken_pipe: bool) -> None:
        def make() -> Descriptor:
            stream = sys.stdout if number == 1 else sys.stderr
            if stream is not None:  # None under pythonw and daemons
                stream.flush()  # what Python printed before must come before
            return HostStream.inherited(number, exit_on_broken_pipe)

        self._captures[number] = False
        self._streams[number] = make

    @property
    def stdout(self) -> Any:
        """Standard output: a writable file object (binary or text), a function of the bytes written (see
        `stdout_custom`), or a ``logging.Logger``, which gets a record of level INFO for each line. Write-only."""
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

    def inherit_stdout(self, *, exit_on_broken_pipe: bool = False) -> None:
        """Uses this process's standard output (descriptor 1); if that was closed when Python started, it has none.

        With `exit_on_broken_pipe` a program that writes to a pipe which nobody reads any more ends with the status 141,
        as programs do that SIGPIPE ends; else it gets the error PIPE, which many do not look at.
        """
        self._inherit_output(1, exit_on_broken_pipe)

    @property
    def stderr(self) -> Any:
        """Standard error: as `stdout`; a Logger gets records of level ERROR. Write-only."""
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

    def inherit_stderr(self, *, exit_on_broken_pipe: bool = False) -> None:
        """Uses this process's standard error (descriptor 2), as `inherit_stdout`."""
        self._inherit_output(2, exit_on_broken_pipe)

    def preopen_dir(
        self,
        path: _Path | VirtualFileSystem | Any,
        guest_path: str,
        fs_mutable: bool = True,
        *,
        dir_perms: DirPerms | None = None,
        file_perms: FilePerms | None = None,
    ) -> None:
        """Lets the program use the host directory `path` under the name `guest_path`.

        Instead of a path it may be a `MemoryFS`, a `FsspecFS` or a file system of the fsspec package (read-only).
        `dir_perms` are the permissions for directories below it, `file_perms` those for the contents of files; by
        default all with `fs_mutable`, else reading. `WasmError` if `path` is not a directory that can be opened.

        >>> config = WasiConfig()
        >>> config.preopen_dir(".", "/here", file_perms=FilePerms.READ)
        >>> config.close()
        """
        encoded = _encode(guest_path, "guest path")
        if isinstance(fs_mutable, (DirPerms, FilePerms)):  # all of which are true
            raise TypeError("permissions are given by name: dir_perms, file_perms")
        if dir_perms is None:
            dir_perms = DirPerms.READ_WRITE if fs_mutable else DirPerms.READ
        if file_perms is None:
            file_perms = FilePerms.READ_WRITE if fs_mutable else FilePerms.READ
        if not isinstance(dir_perms, DirPerms) or not isinstance(file_perms, FilePerms):
            raise TypeError("dir_perms must be DirPerms and file_perms must be FilePerms")
        source: _HostDescriptor | VirtualFileSystem
        if isinstance(path, VirtualFileSystem):
            source = path
        elif looks_like_fsspec(path):
            source = FsspecFS(path)
        else:
            source = _open(path, os.O_RDONLY | os.O_DIRECTORY, "directory")
        self._preopened.append(_Preopened(source, encoded, Access(dir_perms, file_perms)))

    def preopen_socket(self, given: socket.socket) -> None:
        """Gives the program a socket: one that listens, for ``sock_accept``, or one that is connected.

        Sockets have the numbers behind those of the directories: 3 and up, in the order of these calls. The program
        uses the same socket as `given`, which may be closed afterwards.

        >>> import socket
        >>> ours, theirs = socket.socketpair()
        >>> config = WasiConfig()
        >>> config.preopen_socket(theirs)
        >>> for each in (ours, theirs, config):
        ...     each.close()
        """
        import socket

        if not isinstance(given, socket.socket):
            raise TypeError(f"expected a socket, not {type(given).__name__}")
        try:
            self._sockets.append(duplicate_socket(given))
        except OSError as error:
            raise WasmError(f"cannot use the socket: {error}") from None

    def build(self) -> WasiContext:
        """The state for one run of a program, with host descriptors of its own. The config can be used again."""
        clock = clock_from(VirtualClock() if self._deterministic and self._clock is None else self._clock)
        random = random_from(0 if self._deterministic and self._random_setting is None else self._random_setting)
        view = PLAIN_VIEW
        if self._deterministic:
            view = StableHostView(clock.start_ns if isinstance(clock, VirtualClock) else 0)
        descriptors: list[Descriptor] = []
        try:
            descriptors += [make() for make in self._streams]
            self._bound_output(descriptors)
            for preopened in self._preopened:
                descriptors.append(_open_preopened(preopened, clock, view))
            descriptors += [HostSocket(duplicate_socket(given)) for given in self._sockets]
        except BaseException as error:
            for descriptor in descriptors:
                descriptor.close()
            if isinstance(error, OSError):
                raise WasmError(f"failed to set up WASI: {error}") from None
            raise
        most = default_max_descriptors() if self._max_descriptors is None else self._max_descriptors
        table = DescriptorTable(descriptors, most)
        threads = DEFAULT_MAX_THREADS if self._max_threads is None else self._max_threads
        return WasiContext(list(self._arguments), list(self._environment), table, clock, random, threads)

    def _bound_output(self, streams: list[Descriptor]) -> None:
        """Sets what the program may write."""
        if self._max_output_bytes is None:
            budget = OutputBudget(DEFAULT_MAX_CAPTURED_BYTES, "what is kept in memory unless `max_output_bytes` is set")
        else:
            budget = OutputBudget(self._max_output_bytes, "`max_output_bytes`")
        for stream, captures in zip(streams, self._captures, strict=True):
            if isinstance(stream, (OutputStream, HostStream)) and (captures or self._max_output_bytes is not None):
                stream.budget = budget


def _open_preopened(preopened: _Preopened, clock: HostClock, view: HostView) -> Descriptor:
    source, guest_path, access = preopened
    if isinstance(source, VirtualFileSystem):
        return source._open_root(access, guest_path, lambda: clock.time_ns(CLOCK_REALTIME))
    # Not dup: a duplicate shares the position that reading a directory moves.
    host_fd = source.duplicate()
    try:
        own_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=host_fd)
    finally:
        os.close(host_fd)
    return HostDirectory(own_fd, access, guest_path, view)
