"""Sockets that a program is given, as guest descriptors, and the ``sock_*`` functions."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import termios
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .constants import (
    FDFLAGS_NONBLOCK,
    RIFLAGS_PEEK,
    RIFLAGS_WAITALL,
    ROFLAGS_DATA_TRUNCATED,
    SDFLAGS_RD,
    SDFLAGS_WR,
    Errno,
    FileType,
    Rights,
    WasiError,
    socket_rights,
)
from .descriptors import Descriptor, DescriptorTable
from .guest_memory import U32, check, vectors_at
from .host_io import wait_until_ready

if TYPE_CHECKING:
    import socket

    from .context import WasiContext

_U16 = struct.Struct("<H")
_HOW = {SDFLAGS_RD: 0, SDFLAGS_WR: 1, SDFLAGS_RD | SDFLAGS_WR: 2}  # SHUT_RD, SHUT_WR, SHUT_RDWR of POSIX


class HostSocket(Descriptor):
    """A socket of the host. Whether it blocks is the guest's own setting: the host's mode may be shared with others."""

    def __init__(self, made: socket.socket, nonblocking: bool = False) -> None:
        import socket  # here: programs without sockets start sooner

        self._socket = made
        self.host_fd = made.fileno()
        self._nonblocking = nonblocking
        self._listens = bool(made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        is_stream = made.type == socket.SOCK_STREAM
        self.file_type = FileType.SOCKET_STREAM if is_stream else FileType.SOCKET_DGRAM

    def rights(self) -> tuple[int, int]:
        base = socket_rights(self._listens)
        return base, socket_rights(False) if self._listens else 0

    def flags(self) -> int:
        return FDFLAGS_NONBLOCK if self._nonblocking else 0

    def set_flags(self, flags: int) -> None:
        if flags & ~FDFLAGS_NONBLOCK:
            raise WasiError(Errno.INVAL)
        self._nonblocking = bool(flags & FDFLAGS_NONBLOCK)

    def _wait(self, mask: int) -> None:
        """Waits until the socket is ready. Raises AGAIN where the guest wants no waiting."""
        assert self.host_fd is not None
        if self._nonblocking:
            poll = select.poll()
            poll.register(self.host_fd, mask)
            if not poll.poll(0):
                raise WasiError(Errno.AGAIN)
        else:
            wait_until_ready(self.host_fd, mask)

    def receive(self, vectors: Sequence[memoryview], peek: bool, everything: bool) -> tuple[int, bool]:
        """``sock_recv``: how many bytes, and whether a datagram was cut. `everything`: until the buffers are full."""
        if not any(map(len, vectors)):
            return 0, False
        import socket

        flags = socket.MSG_DONTWAIT | (socket.MSG_PEEK if peek else 0)
        left = [vector for vector in vectors if len(vector)]
        total = 0
        while True:
            try:
                count, _, message_flags, _ = self._socket.recvmsg_into(left, 0, flags)
            except BlockingIOError:
                if total and self._nonblocking:
                    return total, False
                self._wait(select.POLLIN)
                continue
            total += count
            truncated = bool(message_flags & socket.MSG_TRUNC)
            if not everything or peek or not count or self.file_type is FileType.SOCKET_DGRAM:
                return total, truncated
            while left and count >= len(left[0]):
                count -= len(left.pop(0))
            if not left:
                return total, truncated
            left[0] = left[0][count:]

    def send(self, vectors: Sequence[memoryview]) -> int:
        """``sock_send``."""
        import socket

        while True:
            try:
                return self._socket.sendmsg(vectors, (), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._wait(select.POLLOUT)

    def accept(self, nonblocking: bool) -> HostSocket:
        """``sock_accept``."""
        if not self._listens:
            raise WasiError(Errno.INVAL)
        while True:
            self._wait(select.POLLIN)
            try:
                return HostSocket(self._socket.accept()[0], nonblocking)
            except BlockingIOError:  # somebody else was faster
                continue

    def shut_down(self, how: int) -> None:
        """``sock_shutdown``."""
        if how not in _HOW:
            raise WasiError(Errno.INVAL)
        self._socket.shutdown(_HOW[how])

    def read(self, vectors: Sequence[memoryview]) -> int:
        return self.receive(vectors, peek=False, everything=False)[0]

    def write(self, vectors: Sequence[memoryview]) -> int:
        return self.send(vectors)

    def available_bytes(self) -> int:
        counted = bytearray(4)
        fcntl.ioctl(self._socket, termios.FIONREAD, counted)
        return int.from_bytes(counted, sys.byteorder)

    def close(self) -> None:
        self._socket.close()
        self.host_fd = None


def duplicate_socket(given: socket.socket) -> socket.socket:
    """A socket object of our own for the same socket; what is done to its mode stays ours."""
    import socket

    return socket.socket(given.family, given.type, given.proto, fileno=os.dup(given.fileno()))


def _socket(descriptors: DescriptorTable, fd: int, right: int) -> HostSocket:
    descriptor = descriptors.get(fd, right)
    if not isinstance(descriptor, HostSocket):
        raise WasiError(Errno.NOTSOCK)
    return descriptor


def sock_accept(context: WasiContext, memory: memoryview, fd: int, flags: int, result: int) -> None:
    check(memory, result, 4)
    listening = _socket(context.descriptors, fd, Rights.SOCK_ACCEPT.value)
    if flags & ~FDFLAGS_NONBLOCK:
        raise WasiError(Errno.INVAL)
    context.descriptors.check_room()
    accepted = listening.accept(bool(flags & FDFLAGS_NONBLOCK))
    accepted.lost = listening.lost_inheriting
    U32.pack_into(memory, result, context.descriptors.add(accepted))


def sock_recv(
    context: WasiContext,
    memory: memoryview,
    fd: int,
    iovecs: int,
    count: int,
    flags: int,
    size_result: int,
    flags_result: int,
) -> None:
    check(memory, size_result, 4)
    check(memory, flags_result, 2)
    receiving = _socket(context.descriptors, fd, Rights.FD_READ.value)
    if flags & ~(RIFLAGS_PEEK | RIFLAGS_WAITALL):
        raise WasiError(Errno.INVAL)
    received, truncated = receiving.receive(
        vectors_at(memory, iovecs, count), bool(flags & RIFLAGS_PEEK), bool(flags & RIFLAGS_WAITALL)
    )
    U32.pack_into(memory, size_result, received)
    _U16.pack_into(memory, flags_result, ROFLAGS_DATA_TRUNCATED if truncated else 0)


def sock_send(
    context: WasiContext, memory: memoryview, fd: int, iovecs: int, count: int, flags: int, result: int
) -> None:
    check(memory, result, 4)
    sending = _socket(context.descriptors, fd, Rights.FD_WRITE.value)
    if flags:
        raise WasiError(Errno.INVAL)
    U32.pack_into(memory, result, sending.send(vectors_at(memory, iovecs, count)))


def sock_shutdown(context: WasiContext, memory: memoryview, fd: int, how: int) -> None:
    _socket(context.descriptors, fd, Rights.SOCK_SHUTDOWN.value).shut_down(how)
