"""Standard streams: Python objects of many kinds, and host descriptors."""

from __future__ import annotations

import codecs
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..errors import WasmError
from ..runtime.native import is_interrupted
from ..runtime.trap import ExitTrap
from . import operations
from .constants import Errno, FileType, Rights, WasiError
from .descriptors import Descriptor
from .host_io import may_block, read_some, write_some

if TYPE_CHECKING:
    import logging

MAX_LOG_LINE_BYTES = 1 << 16  # a longer line becomes several records
# What Python objects are handed or asked for at once: 1024 iovecs over the same bytes would otherwise become one object
# of 1024 times the guest's memory.
CHUNK_BYTES = 1 << 20
# The rights of streams.
_READING = (Rights.FD_READ | Rights.POLL_FD_READWRITE).value
_WRITING = (Rights.FD_WRITE | Rights.POLL_FD_READWRITE).value
_STATUS_OF_SIGPIPE = 128 + 13  # as a shell has it
_RECORDS_BETWEEN_LOOKS = 64  # for an interrupt: a record may take 0.1 ms
DEFAULT_MAX_CAPTURED_BYTES = 256 << 20


class OutputBudget:
    """How many bytes a program may still write to its standard streams. Counts for both together."""

    def __init__(self, max_bytes: int, setting: str) -> None:
        self._left_bytes = self._max_bytes = max_bytes
        self._setting = setting

    def write(self, vectors: Sequence[memoryview], write: Callable[[Sequence[memoryview]], int]) -> int:
        """Writes with `write` what may be written still; how much. Raises WasmError if that is not all: a program
        need not look at a short write, and nobody would see that something is missing."""
        if sum(map(len, vectors)) <= self._left_bytes:
            count = write(vectors)
            self._left_bytes -= count
            return count
        count = write(_first(vectors, self._left_bytes)) if self._left_bytes else 0
        self._left_bytes -= count
        if self._left_bytes == 0:
            raise WasmError(f"the program's output exceeds {self._setting}: {self._max_bytes} bytes")
        return count


def _first(vectors: Sequence[memoryview], count_bytes: int) -> list[memoryview]:
    """The first bytes of buffers."""
    found = []
    for vector in vectors:
        found.append(vector[:count_bytes])
        count_bytes -= len(found[-1])
        if count_bytes == 0:
            break
    return found


def is_in_memory(target: object) -> bool:
    """Whether what is written to this object stays in memory as a whole."""
    return isinstance(getattr(target, "buffer", target), (io.BytesIO, io.StringIO))


def chunks_of(vectors: Sequence[memoryview]) -> Iterator[bytes]:
    """The bytes of the buffers, in pieces of at most CHUNK_BYTES: one piece where that is enough."""
    waiting: list[memoryview] = []
    waiting_bytes = 0
    for vector in vectors:
        if waiting and waiting_bytes + len(vector) > CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, waiting_bytes = [], 0
        if len(vector) > CHUNK_BYTES:
            for start in range(0, len(vector), CHUNK_BYTES):
                yield bytes(vector[start : start + CHUNK_BYTES])
        else:
            waiting.append(vector)
            waiting_bytes += len(vector)
    if waiting:
        yield b"".join(waiting)


def write_all(write: Callable[[memoryview], int], vectors: Sequence[memoryview]) -> int:
    """Writes buffers one by one with `write`; stops at the first short write."""
    total = 0
    for vector in vectors:
        written = write(vector)
        total += written
        if written < len(vector):
            break
    return total


class InputStream(Descriptor):
    """Standard input from a Python file object (binary or text), read on demand."""

    def __init__(self, stream: Any) -> None:
        self._stream = getattr(stream, "buffer", stream)
        self._left = b""  # read, but not taken yet
        # A buffered readinto waits until the whole buffer is full, which would hang an interactive guest.
        # Only types known not to keep the buffer get a view of guest memory; it may be unmapped later.
        self._into: Callable[[memoryview], int | None] | None = None
        if type(self._stream) is io.BufferedReader:
            self._into = self._stream.readinto1
        elif type(self._stream) in (io.BytesIO, io.FileIO):
            self._into = self._stream.readinto

    def rights(self) -> tuple[int, int]:
        return _READING, 0

    def read(self, vectors: Sequence[memoryview]) -> int:
        vector = next((v for v in vectors if len(v)), None)
        if vector is None:
            return 0
        if self._into is not None:
            count = self._into(vector)
            if count is None:
                raise WasiError(Errno.AGAIN)
            return count
        if not self._left:
            data = self._stream.read(min(len(vector), CHUNK_BYTES))
            if data is None:
                raise WasiError(Errno.AGAIN)
            self._left = data.encode() if isinstance(data, str) else bytes(data)
        count = min(len(self._left), len(vector))
        vector[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.BADF)


class OutputStream(Descriptor):
    """Standard output to a callback that takes ``bytes`` and returns None or the count it took."""

    budget: OutputBudget | None = None

    def __init__(self, write: Callable[[bytes], int | None]) -> None:
        self._write = write

    @classmethod
    def to_file(cls, stream: Any) -> Descriptor:
        """To a Python file object: binary, or text (decoded as UTF-8, with errors replaced)."""
        if hasattr(stream, "buffer"):
            stream.flush()  # what was printed before must come before
            stream = stream.buffer
        if type(stream) in (io.BytesIO, io.FileIO, io.BufferedWriter, io.BufferedRandom):
            return _BinaryOutputStream(stream)
        if isinstance(stream, io.TextIOBase):
            return _TextOutputStream(stream)
        return cls(stream.write)

    def rights(self) -> tuple[int, int]:
        return _WRITING, 0

    def write(self, vectors: Sequence[memoryview]) -> int:
        return self._write_now(vectors) if self.budget is None else self.budget.write(vectors, self._write_now)

    def _write_now(self, vectors: Sequence[memoryview]) -> int:
        total = 0
        for data in chunks_of(vectors):
            if total and is_interrupted():  # what was written stays written: a short write
                break
            try:
                count = self._write(data)
                if count is not None and count < 0:  # the wasmtime package's convention: a negative host errno
                    raise OSError(-count, os.strerror(-count))
            except OSError:
                if total:
                    break
                raise
            total += len(data) if count is None else min(int(count), len(data))
            if count is not None and count < len(data):
                break
        return total

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.BADF)


class _BinaryOutputStream(OutputStream):
    """To a file object of the io module, which copies at once: no intermediate bytes."""

    def __init__(self, stream: io.BytesIO | io.FileIO | io.BufferedWriter) -> None:
        self._stream = stream

    def _write_now(self, vectors: Sequence[memoryview]) -> int:
        return write_all(lambda vector: self._stream.write(vector) or 0, vectors)

    def flush(self) -> None:
        if not self._stream.closed:
            self._stream.flush()


class _TextOutputStream(OutputStream):
    """To a text file object. What a cut character at the end leaves undecided is written at the end of the program."""

    def __init__(self, stream: io.TextIOBase) -> None:
        decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

        def write_text(data: bytes) -> None:
            stream.write(decode(data))

        super().__init__(write_text)
        self._stream = stream
        self._decode = decode

    def flush(self) -> None:
        if rest := self._decode(b"", True):
            self._stream.write(rest)


class LogStream(OutputStream):
    """Standard output to a logger: one record a line, without its end; the last one may lack it.

    A handler may take long, and a line may be one byte: between records it looks whether the program is to end.
    """

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any], level: int) -> None:
        super().__init__(self._take)
        self._logger = logger
        self._level = level
        self._line = bytearray()

    def _take(self, data: bytes) -> int:
        """Makes records of the lines; how many bytes it took: fewer than all if the calling code is interrupted."""
        position = records = 0
        while position < len(data):
            limit = position + MAX_LOG_LINE_BYTES - len(self._line)
            end = data.find(b"\n", position, limit)
            if end >= 0:
                self._line += data[position:end]
                position = end + 1
            else:
                self._line += data[position:limit]
                position = min(limit, len(data))
                if len(self._line) < MAX_LOG_LINE_BYTES:
                    break
            self._emit()
            records += 1
            if records % _RECORDS_BETWEEN_LOOKS == 0 and is_interrupted():
                break
        return position

    def _emit(self) -> None:
        line = self._line.decode("utf-8", "replace").removesuffix("\r")
        self._line.clear()
        self._logger.log(self._level, "%s", line)

    def flush(self) -> None:
        if self._line:
            self._emit()


class HostStream(Descriptor):
    """A host descriptor used as a stream: inherited stdio, or the file behind ``stdout_file``."""

    budget: OutputBudget | None = None
    exit_on_broken_pipe = False

    @classmethod
    def inherited(cls, number: int, exit_on_broken_pipe: bool = False) -> HostStream:
        """A standard stream of this process. One that was closed when Python started is closed for the guest too,
        whatever has the number by now: it would write into a file of ours."""
        made = cls(number, "out" if number else "in", owned=False)
        made.exit_on_broken_pipe = exit_on_broken_pipe
        if getattr(sys, ("__stdin__", "__stdout__", "__stderr__")[number]) is None:
            made.host_fd = None
        return made

    def __init__(self, host_fd: int, direction: Literal["in", "out"], owned: bool) -> None:
        self.host_fd = host_fd
        self._owned = owned
        self._is_input = direction == "in"
        try:
            mode = os.fstat(host_fd).st_mode
        except OSError:  # closed: using it tells the guest, and whoever gets the number later is safe
            mode = stat.S_IFREG
            self.host_fd = None
        self._may_block = may_block(mode)
        self._is_socket = stat.S_ISSOCK(mode)
        # As wasmtime: a terminal is a character device (so that guests use line buffering), all else is unknown.
        self.file_type = FileType.CHARACTER_DEVICE if os.isatty(host_fd) else FileType.UNKNOWN

    def rights(self) -> tuple[int, int]:
        return _READING if self._is_input else _WRITING, 0

    def host_operations(self) -> int:
        allowed = operations.FDSTAT | (operations.MAY_BLOCK if self._may_block else 0)
        # A socket tells of an error once: Python, asked again after C failed, would see the end of the input.
        if self.host_fd is None or self.budget is not None or self._is_socket:
            return allowed
        return allowed | (operations.READ if self._is_input else operations.WRITE)

    def read(self, vectors: Sequence[memoryview]) -> int:
        if not self._is_input or self.host_fd is None:
            raise WasiError(Errno.BADF)
        return read_some(self.host_fd, vectors) if self._may_block else os.readv(self.host_fd, vectors)

    def write(self, vectors: Sequence[memoryview]) -> int:
        if self._is_input or self.host_fd is None:
            raise WasiError(Errno.BADF)
        return self._write_now(vectors) if self.budget is None else self.budget.write(vectors, self._write_now)

    def _write_now(self, vectors: Sequence[memoryview]) -> int:
        assert self.host_fd is not None
        try:
            return write_some(self.host_fd, vectors) if self._may_block else os.writev(self.host_fd, vectors)
        except BrokenPipeError:
            if self.exit_on_broken_pipe:
                raise ExitTrap(_STATUS_OF_SIGPIPE) from None
            raise

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.SPIPE if self._is_input else Errno.BADF)

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.BADF if self._is_input else Errno.SPIPE)

    def close(self) -> None:
        if self._owned and self.host_fd is not None:
            os.close(self.host_fd)
        self.host_fd = None
