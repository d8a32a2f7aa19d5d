"""Waiting: poll_oneoff, pipes and sockets; what ends it; and sockets that a program is given."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.api.wasi_guest import READ, WRITE, Program, program, subscription
from wasmjit import Trap, TrapCode, VirtualClock, WasiConfig
from wasmjit.wasi.constants import Errno
from wasmjit.wasi.streams import HostStream

SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
CLOCK, FD_READ, FD_WRITE = 0, 1, 2


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """(reading end, writing end)."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def with_stream(number: int, host_fd: int, timeout: float | None = None) -> Program:
    """A program one of whose standard streams is a host descriptor; `timeout` holds from now on."""
    made = program(WasiConfig())
    made.call("sched_yield")  # now there is a context
    stream = HostStream(host_fd, "out" if number else "in", owned=False)
    descriptors = made.store._record.wasi.descriptors
    descriptors.renumber(descriptors.add(stream), number)
    made.store.timeout = timeout
    return made


def seconds_of(run: Callable[[], object]) -> float:
    started = time.monotonic()
    run()
    return time.monotonic() - started


# ---- what ends a wait ----


def wait_a_day(guest: Program) -> object:
    return guest.poll(subscription(1, CLOCK, 1, DAY_NS))


def wait_for_input(guest: Program) -> object:
    return guest.poll(subscription(1, FD_READ, 0))


def read_input(guest: Program) -> object:
    return guest.read(0, 10)


def read_twice(guest: Program) -> object:
    """A read that finds nothing, of a descriptor that was read before."""
    guest.read(0, 1)
    return guest.read(0, 10)


WAITS = [wait_a_day, wait_for_input, read_input, read_twice]


@pytest.mark.parametrize("wait", WAITS)
def test_a_timeout_ends_it(pipe: tuple[int, int], wait: Callable[[Program], object]) -> None:
    os.write(pipe[1], b"x" if wait is read_twice else b"")
    guest = with_stream(0, pipe[0], timeout=0.1)
    with pytest.raises(Trap) as caught:
        wait(guest)
    assert caught.value.trap_code is TrapCode.INTERRUPT


@pytest.mark.parametrize("wait", WAITS)
def test_interrupt_ends_it(pipe: tuple[int, int], wait: Callable[[Program], object]) -> None:
    os.write(pipe[1], b"x" if wait is read_twice else b"")
    guest = with_stream(0, pipe[0])
    stop = threading.Event()

    def interrupt() -> None:
        while not stop.wait(0.02):
            guest.store.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Trap) as caught:
            wait(guest)
            wait(guest)  # the first may have been hit in the call before the one that waits
    finally:
        stop.set()
        thread.join()
    assert caught.value.trap_code is TrapCode.INTERRUPT


@pytest.mark.parametrize("wait", [wait_a_day, wait_for_input, read_input])
def test_control_c_ends_it(pipe: tuple[int, int], wait: Callable[[Program], object]) -> None:
    guest = with_stream(0, pipe[0])
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            wait(guest)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, previous)


def test_a_handler_that_returns_does_not_end_it(pipe: tuple[int, int]) -> None:
    guest = with_stream(0, pipe[0])
    calls = []
    previous = signal.signal(signal.SIGUSR1, lambda *arguments: calls.append(os.write(pipe[1], b"abc")))
    timer = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1))
    timer.start()
    try:
        assert guest.read(0, 10) == b"abc" and calls == [3]
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, previous)


def test_a_timeout_ends_a_write_that_nobody_reads(pipe: tuple[int, int]) -> None:
    guest = with_stream(1, pipe[1], timeout=0.2)
    with pytest.raises(Trap) as caught:
        for _ in range(100):
            assert guest.write(1, bytes(60_000)) > 0
            guest._next = 1024
    assert caught.value.trap_code is TrapCode.INTERRUPT


def test_data_passes_through_pipes_whole() -> None:
    reading, writing = os.pipe()
    guest = with_stream(1, writing)
    data = bytes(range(256)) * 400
    received: list[bytes] = []

    def receive() -> None:
        while part := os.read(reading, 1000):
            received.append(part)

    thread = threading.Thread(target=receive)
    thread.start()
    left = data
    while left:
        guest._next = 1024
        left = left[guest.write(1, left) :]
    os.close(writing)
    thread.join()
    os.close(reading)
    assert b"".join(received) == data


# ---- poll_oneoff ----


def test_sleeping_takes_its_time() -> None:
    guest = program(WasiConfig())
    assert 0.05 <= seconds_of(lambda: guest.poll(subscription(1, CLOCK, 1, SECOND_NS // 20))) < 2
    assert seconds_of(lambda: guest.poll(subscription(1, CLOCK, 0, time.time_ns() + SECOND_NS // 20, flags=1))) > 0.04
    assert guest.poll(subscription(1, CLOCK, 0, 5, flags=1), subscription(2, CLOCK, 1, DAY_NS)) == [(1, 0, CLOCK, 0, 0)]


def test_files_and_objects_are_always_ready(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    config = WasiConfig(stdin=b"x", stdout=lambda data: None)
    config.preopen_dir(tmp_path, "/")
    guest = program(config)
    fd = guest.open(b"file", READ | WRITE)
    assert guest.poll(subscription(1, FD_READ, fd), subscription(2, FD_WRITE, fd)) == [
        (1, 0, FD_READ, 5, 0), (2, 0, FD_WRITE, 1, 0),
    ]  # fmt: skip
    guest.read(fd, 3)
    found = guest.poll(subscription(1, FD_READ, fd), subscription(2, FD_READ, 0), subscription(3, FD_WRITE, 1))
    assert sorted(found) == [(1, 0, FD_READ, 2, 0), (2, 0, FD_READ, 1, 0), (3, 0, FD_WRITE, 1, 0)]


def test_a_wrong_subscription_is_an_event_with_its_error() -> None:
    guest = program(WasiConfig())
    wrong = [
        (1, FD_READ, 77, Errno.BADF),
        (2, CLOCK, 9, Errno.INVAL),
        (3, CLOCK, 2, Errno.INVAL),
        (4, 7, 0, Errno.INVAL),
    ]
    found = guest.poll(*(subscription(*fields[:3]) for fields in wrong), subscription(9, CLOCK, 1, DAY_NS))
    assert found == [(userdata, error, tag, 0, 0) for userdata, tag, _, error in wrong]


def test_a_pipe_is_ready_when_there_is_something_or_nobody_any_more(pipe: tuple[int, int]) -> None:
    guest = with_stream(0, pipe[0])
    ready = subscription(1, FD_READ, 0)
    assert guest.poll(ready, subscription(2, CLOCK, 1, SECOND_NS // 100)) == [(2, 0, CLOCK, 0, 0)]
    os.write(pipe[1], b"x")
    assert guest.poll(ready, subscription(2, CLOCK, 1, DAY_NS)) == [(1, 0, FD_READ, 1, 0)]
    other_reading, other_writing = os.pipe()
    os.close(other_writing)
    guest = with_stream(0, other_reading)
    assert guest.poll(ready) == [(1, 0, FD_READ, 1, 1)]
    os.close(other_reading)


def test_a_virtual_clock_does_not_wait() -> None:
    guest = program(WasiConfig(clock=VirtualClock(start_ns=10 * SECOND_NS, step_ns=0)))
    now = guest.room(8)
    assert seconds_of(lambda: guest.poll(subscription(1, CLOCK, 1, DAY_NS))) < 5
    assert guest.call("clock_time_get", 0, 0, now) == 0
    assert struct.unpack("<Q", guest.get(now, 8))[0] == 10 * SECOND_NS + DAY_NS


# ---- pipes in directories ----


def test_opening_a_pipe_does_not_wait_but_reading_does(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    config = WasiConfig()
    config.preopen_dir(tmp_path, "/")
    guest = program(config)
    assert guest.open(b"fifo", WRITE) == -Errno.NXIO  # nobody reads
    fd = guest.open(b"fifo")
    thread = threading.Timer(0.05, (tmp_path / "fifo").write_bytes, (b"late",))
    thread.start()
    assert guest.read(fd, 10) == b"late"
    thread.join()
    nonblocking = guest.open(b"fifo", fdflags=4)
    with open(tmp_path / "fifo", "wb"):
        assert guest.read(nonblocking, 10) == -Errno.AGAIN
    config.close()
    limited = WasiConfig()
    limited.preopen_dir(tmp_path, "/")
    guest = program(limited)
    fd = guest.open(b"fifo")
    guest.store.timeout = 0.1
    with pytest.raises(Trap):
        guest.read(fd, 10)


# ---- sockets ----


def socket_guest(given: socket.socket, timeout: float | None = None) -> Program:
    """A program with a socket as descriptor 3; `timeout` holds from now on."""
    config = WasiConfig()
    config.preopen_socket(given)
    made = program(config)
    made.call("sched_yield")
    config.close()
    made.store.timeout = timeout
    return made


def receive(guest: Program, fd: int, size: int, flags: int = 0) -> tuple[bytes, int] | Errno:
    buffer, result, flags_result = guest.room(size), guest.room(4), guest.room(4)
    vectors = guest.put(struct.pack("<IIII", buffer, size // 2, buffer + size // 2, size - size // 2))
    code = guest.call("sock_recv", fd, vectors, 2, flags, result, flags_result)
    return Errno(code) if code else (guest.get(buffer, guest.u32(result)), guest.u32(flags_result))


def send(guest: Program, fd: int, data: bytes, flags: int = 0) -> int:
    result = guest.room(4)
    code = guest.call("sock_send", fd, guest.put(struct.pack("<II", guest.put(data), len(data))), 1, flags, result)
    return -code if code else guest.u32(result)


def test_a_connected_socket() -> None:
    ours, theirs = socket.socketpair()
    guest = socket_guest(theirs)
    theirs.close()  # the program has its own
    status = guest.room(24)
    assert guest.call("fd_fdstat_get", 3, status) == 0 and guest.get(status, 1) == b"\6"
    assert guest.call("fd_prestat_get", 3, status) == Errno.BADF  # where the C library's search for directories ends
    ours.sendall(b"hello")
    assert guest.poll(subscription(1, FD_READ, 3)) == [(1, 0, FD_READ, 5, 0)]
    assert receive(guest, 3, 3, flags=1) == (b"hel", 0)  # a look
    assert receive(guest, 3, 3) == (b"hel", 0)
    threading.Timer(0.05, ours.sendall, (b" world",)).start()
    assert receive(guest, 3, 8, flags=2) == (b"lo world", 0)  # all of it
    assert send(guest, 3, b"answer") == 6 and guest.write(3, b"!") == 1 and ours.recv(100) == b"answer!"
    ours.sendall(b"by read")
    assert guest.read(3, 100) == b"by read"
    assert send(guest, 3, b"x", flags=1) == -Errno.INVAL and receive(guest, 3, 4, flags=8) is Errno.INVAL
    assert guest.call("sock_shutdown", 3, 4) == Errno.INVAL == guest.call("sock_shutdown", 3, 0)
    assert guest.call("sock_accept", 3, 0, status) == Errno.INVAL
    assert guest.call("fd_seek", 3, 0, 0, status) == Errno.SPIPE
    assert guest.call("sock_shutdown", 3, 2) == 0 and ours.recv(100) == b"" and send(guest, 3, b"x") == -Errno.PIPE
    ours.close()
    assert receive(guest, 3, 10) == (b"", 0)
    assert guest.call("fd_close", 3) == 0 and receive(guest, 3, 10) is Errno.BADF


def test_a_reset_connection_is_no_end_of_input() -> None:
    """The host tells of the error once."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as theirs:
        ours = server.accept()[0]
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with ours:
            made = with_stream(0, ours.fileno())
            theirs.sendall(b"begun")
            assert made.read(0, 16) == b"begun"
            theirs.close()
            assert made.read(0, 16) == -Errno.CONNRESET


def test_a_listening_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        guest = socket_guest(server)
        result = guest.room(4)
        assert guest.call("fd_fdstat_set_flags", 3, 4) == 0  # do not wait
        assert guest.call("sock_accept", 3, 0, result) == Errno.AGAIN
        assert server.getblocking()  # the host's own setting is untouched
        assert guest.call("fd_fdstat_set_flags", 3, 0) == 0
        clients: list[socket.socket] = []
        thread = threading.Timer(0.05, lambda: clients.append(socket.create_connection(address)))
        thread.start()
        assert guest.call("sock_accept", 3, 4, result) == 0 and guest.u32(result) == 4
        thread.join()
        assert receive(guest, 4, 10) is Errno.AGAIN
        clients[0].sendall(b"ping")
        assert guest.poll(subscription(1, FD_READ, 4)) == [(1, 0, FD_READ, 4, 0)]
        assert receive(guest, 4, 10) == (b"ping", 0) and send(guest, 4, b"pong") == 4
        assert clients[0].recv(10) == b"pong"
        assert guest.call("sock_accept", 3, 1, result) == Errno.INVAL
        clients[0].close()


def test_datagrams_are_cut_and_say_so() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        guest = socket_guest(theirs)
        ours.send(b"0123456789")
        ours.send(b"next")
        assert receive(guest, 3, 4) == (b"0123", 1) and receive(guest, 3, 10) == (b"next", 0)


@pytest.mark.parametrize("what", ["accept", "receive", "send"])
def test_a_timeout_ends_waits_for_sockets(what: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as server:
        guest = socket_guest(server if what == "accept" else theirs, timeout=0.2)
        with pytest.raises(Trap) as caught:
            if what == "accept":
                guest.call("sock_accept", 3, 0, guest.room(4))
            elif what == "receive":
                receive(guest, 3, 10)
            else:
                for _ in range(1000):
                    guest._next = 1024
                    assert send(guest, 3, bytes(60_000)) > 0
        assert caught.value.trap_code is TrapCode.INTERRUPT


def test_sockets_come_after_directories_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        config = WasiConfig()
        config.preopen_socket(theirs)
        config.preopen_dir(tmp_path, "/")
        guest = program(config)
        result = guest.room(8)
        assert guest.call("fd_prestat_get", 3, result) == 0 and guest.call("fd_prestat_get", 4, result) == Errno.BADF
        assert send(guest, 4, b"x") == 1 and send(guest, 3, b"x") == -Errno.NOTSOCK
    with pytest.raises(TypeError):
        WasiConfig().preopen_socket(3)  # type: ignore[arg-type]
