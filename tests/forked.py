"""Command lines in processes that are forked from one that has imported the command line already.

They are processes like any others, with descriptors, status, signals and children of their own; what they do not do is
start Python and import, which takes most of the time of a small command. tests/cli/test_processes.py runs each command
in a Python of its own, and compares.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
# Read when a process starts, or when modules are imported: who has others needs a process that starts with them.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "WASMJIT_STENCILS")
_READ_BYTES = 1 << 16
# What commands import when they need it, with what that imports: half of the time of most.
_IMPORTED_LATER = """compile.loop_entry compile.pipeline compile.trampolines compile.workers driver.group_code dwarf
    link runtime.validator tiers.first_code tiers.lazy tiers.optimiser wasm.decode wasm.validate"""


def _fixed(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


class Forks:
    """The process that others are forked from, and how it is told to."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._fixed = _fixed(os.environ)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # as of the commands
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._socket = ours
        self._replies = ours.makefile("r")

    def close(self) -> None:
        """Ends the process."""
        self._replies.close()
        self._socket.close()
        self._process.communicate()

    def can(self, environment: Mapping[str, str]) -> bool:
        """Whether a process with these variables can be forked."""
        return _fixed(environment) == self._fixed

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], directory: Path, timeout_seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command line without standard input. Raises TimeoutExpired, having killed it."""
        request = json.dumps([list(arguments), dict(environment), str(directory)]).encode()
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        try:
            socket.send_fds(self._socket, [len(request).to_bytes(4, "little") + request], [out_end, err_end])
        finally:
            os.close(out_end)
            os.close(err_end)
        pid = int(self._replies.readline())
        try:
            said = _read_all((out, err), time.monotonic() + timeout_seconds)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(arguments), timeout_seconds) from None
        finally:
            os.close(out)
            os.close(err)
            status = int(self._replies.readline())
        stdout, stderr = (text.decode().replace("\r\n", "\n").replace("\r", "\n") for text in said)
        return subprocess.CompletedProcess(list(arguments), status, stdout, stderr)


def _read_all(descriptors: Sequence[int], deadline: float) -> list[bytes]:
    """What comes until all ends are closed. Raises TimeoutError."""
    said = {descriptor: bytearray() for descriptor in descriptors}
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                read = os.read(key.fd, _READ_BYTES)
                said[key.fd] += read
                if not read:
                    selector.unregister(key.fd)
    return [bytes(said[descriptor]) for descriptor in descriptors]


# ---- the process that is forked ----


def _serve(channel: socket.socket) -> None:
    import importlib
    import pkgutil

    from wasmjit import cli

    for name in [f"cli.{module.name}" for module in pkgutil.iter_modules(cli.__path__)] + _IMPORTED_LATER.split():
        importlib.import_module(f"wasmjit.{name}")
    while True:
        read, descriptors, _, _ = socket.recv_fds(channel, _READ_BYTES, 2)
        if not read:
            return
        length = 4 + int.from_bytes(read[:4], "little")
        while len(read) < length:
            read += channel.recv(length - len(read))
        pid = os.fork()
        if not pid:
            channel.close()
            _run(json.loads(read[4:]), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        channel.sendall(b"%d\n" % pid)
        channel.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _run(request: tuple[list[str], dict[str, str], str], descriptors: Sequence[int]) -> NoReturn:
    """As ``python -m wasmjit`` does."""
    import importlib.util

    from wasmjit import cli

    arguments, environment, directory = request
    for number, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = directory
    main = sys.modules["__main__"]  # which multiprocessing imports in processes that it starts
    main.__spec__ = importlib.util.find_spec("wasmjit.__main__")
    assert main.__spec__ is not None and main.__spec__.origin is not None
    main.__file__ = main.__spec__.origin
    sys.argv[:] = [main.__file__, *arguments]
    cli.main()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _channel:
        _serve(_channel)
