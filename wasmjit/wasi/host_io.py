"""Reads and writes on host descriptors that may block: what they wait for, an interrupt of the wasm code ends."""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Callable, Sequence

from ..runtime.native import is_interrupted, wait
from .constants import Errno, WasiError

# Linux: "do not wait", for one call. A pipe that another process shares keeps its own mode.
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ESPIPE, errno.ENOSYS)


def may_block(mode: int) -> bool:
    """Whether reads and writes of a descriptor with this ``st_mode`` may take any time."""
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode))


def wait_until_ready(host_fd: int, mask: int) -> None:
    """Waits for these ``select.POLL*`` events. Raises WasiError with INTR if the calling code is interrupted."""
    while not wait({host_fd: mask}, None):
        if is_interrupted():
            raise WasiError(Errno.INTR)


def read_some(host_fd: int, vectors: Sequence[memoryview], wait_for_it: bool = True) -> int:
    """As ``os.readv``; with `wait_for_it` off it raises BlockingIOError instead of waiting, where the host can."""
    try:
        return os.preadv(host_fd, vectors, -1, _NOWAIT)
    except OSError as error:
        return _later(error, os.preadv, os.readv, (host_fd, vectors), select.POLLIN if wait_for_it else 0)


def write_some(host_fd: int, vectors: Sequence[memoryview], wait_for_it: bool = True) -> int:
    """As ``os.writev``, and as `read_some` for waiting."""
    try:
        return os.pwritev(host_fd, vectors, -1, _NOWAIT)
    except OSError as error:
        return _later(error, os.pwritev, os.writev, (host_fd, vectors), select.POLLOUT if wait_for_it else 0)


def _later(
    error: OSError,
    at_once: Callable[..., int],
    blocking: Callable[..., int],
    arguments: tuple[int, Sequence[memoryview]],
    mask: int,
) -> int:
    """What to do after `at_once` failed. `blocking` is for descriptors that know no flags; `mask` 0: do not wait."""
    while isinstance(error, BlockingIOError):
        if not mask:
            raise error
        wait_until_ready(arguments[0], mask)
        try:
            return at_once(*arguments, -1, _NOWAIT)
        except OSError as next_error:
            error = next_error
    if error.errno not in _NOT_SUPPORTED:
        raise error
    while True:
        if mask:
            wait_until_ready(arguments[0], mask)
        try:
            return blocking(*arguments)
        except BlockingIOError:  # somebody else was faster, and the descriptor does not block by itself
            if not mask:
                raise
