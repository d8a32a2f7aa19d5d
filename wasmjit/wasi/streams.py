"""Standard streams: Python objects of many kinds, and host descriptors."""

from __future__ import annotations

import codecs
import io
import os
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .constants import Errno, FileType, Rights, WasiError
from .descriptors import Descriptor
from .host_io import may_block, read_some, write_some

if TYPE_CHECKING:
    import logging

MAX_LOG_LINE_BYTES = 1 << 16  # a longer line becomes several records


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

    def rights(self) -> tuple[Rights, Rights]:
        return Rights.FD_READ | Rights.POLL_FD_READWRITE, Rights(0)

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
            data = self._stream.read(len(vector))
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

    def rights(self) -> tuple[Rights, Rights]:
        return Rights.FD_WRITE | Rights.POLL_FD_READWRITE, Rights(0)

    def write(self, vectors: Sequence[memoryview]) -> int:
        data = b"".join(vectors)
        count = self._write(data)
        if count is None:
            return len(data)
        if count < 0:  # the wasmtime package's convention: a negative host errno
            raise OSError(-count, os.strerror(-count))
        return min(int(count), len(data))

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.BADF)


class _BinaryOutputStream(OutputStream):
    """To a file object of the io module, which copies at once: no intermediate bytes."""

    def __init__(self, stream: io.BytesIO | io.FileIO | io.BufferedWriter) -> None:
        self._stream = stream

    def write(self, vectors: Sequence[memoryview]) -> int:
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
    """Standard output to a logger: one record a line, without its end; the last one may lack it."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any], level: int) -> None:
        super().__init__(self._take)
        self._logger = logger
        self._level = level
        self._line = bytearray()

    def _take(self, data: bytes) -> None:
        *complete, rest = data.split(b"\n")
        for part in complete:
            self._line += part
            self._emit()
        self._line += rest
        if len(self._line) >= MAX_LOG_LINE_BYTES:
            self._emit()

    def _emit(self) -> None:
        line = self._line.decode("utf-8", "replace").removesuffix("\r")
        self._line.clear()
        self._logger.log(self._level, "%s", line)

    def flush(self) -> None:
        if self._line:
            self._emit()


class HostStream(Descriptor):
    """A host descriptor used as a stream: inherited stdio, or the file behind ``stdout_file``."""

    def __init__(self, host_fd: int, direction: Literal["in", "out"], owned: bool) -> None:
        self.host_fd = host_fd
        self._owned = owned
        self._is_input = direction == "in"
        try:
            mode = os.fstat(host_fd).st_mode
        except OSError:  # a process without standard streams: using it tells the guest
            mode = stat.S_IFREG
        self._may_block = may_block(mode)
        # As wasmtime: a terminal is a character device (so that guests use line buffering), all else is unknown.
        self.file_type = FileType.CHARACTER_DEVICE if os.isatty(host_fd) else FileType.UNKNOWN

    def rights(self) -> tuple[Rights, Rights]:
        return (Rights.FD_READ if self._is_input else Rights.FD_WRITE) | Rights.POLL_FD_READWRITE, Rights(0)

    def read(self, vectors: Sequence[memoryview]) -> int:
        if not self._is_input or self.host_fd is None:
            raise WasiError(Errno.BADF)
        return read_some(self.host_fd, vectors) if self._may_block else os.readv(self.host_fd, vectors)

    def write(self, vectors: Sequence[memoryview]) -> int:
        if self._is_input or self.host_fd is None:
            raise WasiError(Errno.BADF)
        return write_some(self.host_fd, vectors) if self._may_block else os.writev(self.host_fd, vectors)

    def read_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.SPIPE if self._is_input else Errno.BADF)

    def write_at(self, vectors: Sequence[memoryview], offset: int) -> int:
        raise WasiError(Errno.BADF if self._is_input else Errno.SPIPE)

    def close(self) -> None:
        if self._owned and self.host_fd is not None:
            os.close(self.host_fd)
        self.host_fd = None
