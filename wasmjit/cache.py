"""Compiled modules on disk, by content: the second run of a program starts at full speed.

An entry is a ``.cwasm`` named by a hash of everything that its code depends on. Entries appear atomically, are checked
wholly when read, and ignored and removed when damaged; a cache that cannot be read or written is no error.

It holds native code. So an entry ends with a tag that only the user's own key gives (HMAC-SHA256 of its name and
contents), and entries that another user could write are not taken. Someone who can put files into the directory (it
was copied, unpacked, is shared or lies on a network) cannot make us run code, nor exchange one entry for another.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from .artifact import FORMAT_VERSION, Artifact, abi_hash
from .errors import ArtifactError
from .target import host_fingerprint
from .version import VERSION

DEFAULT_MAX_BYTES = 1 << 30
_SUFFIX = ".cwasm"
_TEMPORARY_PREFIX = ".new-"
_LOCK_PREFIX = ".making-"
# Who makes an entry may have been stopped, or may not be who makes it at all.
_LONGEST_WAIT_SECONDS = 120.0
_LOOK_AGAIN_SECONDS = 0.1
# Clean-up goes below the limit by this part, so that it does not run at every store.
_CLEAN_TO = 0.75
_ABANDONED_SECONDS = 3600
_TAG_BYTES = 32
_KEY_BYTES = 32
# What decides which code a module becomes, below the package: all files of these folders.
_COMPILER_FOLDERS = ("", "wasm", "compile", "driver")


def compiler_state(package: str) -> str:
    """What changes whenever a file of the compiler does, if the package at this path is in a checkout; else "".

    An installed package is what its version says. Nothing is read: a start must not wait for it.
    """
    if not os.path.exists(os.path.join(os.path.dirname(package), "pyproject.toml")):
        return ""
    found = []
    for folder in _COMPILER_FOLDERS:
        with os.scandir(os.path.join(package, folder)) as listing:
            found += [(f"{folder}/{item.name}", item.stat()) for item in listing if item.name.endswith(".py")]
    return repr(sorted((name, status.st_size, status.st_mtime_ns, status.st_ctime_ns) for name, status in found))


# Taken before the compiler is imported: what is edited later is not what runs here.
COMPILER_STATE = compiler_state(os.path.dirname(os.path.abspath(__file__)))


def user_key_path() -> Path:
    """Where this user's key is: ``wasmjit/cache.key`` below ``$XDG_STATE_HOME`` or ``~/.local/state``.

    Not in the cache's directory: what is unpacked there must not bring a key of its own. Raises OSError for a user
    without a home directory.
    """
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    if base.startswith("~"):
        raise FileNotFoundError(errno.ENOENT, "the user has no home directory")
    return Path(base, "wasmjit", "cache.key")


def user_key(path: Path | None = None) -> bytes | None:
    """The key that authenticates this user's entries; made when first asked for. None if it cannot be kept secret."""
    try:
        path = path or user_key_path()
        for _ in range(2):
            with contextlib.suppress(FileNotFoundError), open(open_regular(path), "rb") as file:
                status = os.fstat(file.fileno())
                secret = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077
                key = file.read(_KEY_BYTES + 1)
                return key if secret and status.st_uid == os.geteuid() and len(key) == _KEY_BYTES else None
            _make_key(path)
    except OSError:
        pass
    return None


def _make_key(path: Path) -> None:
    """Puts a new key there, unless another process was first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".new-{os.getpid()}-{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def entry_key(wasm: bytes | memoryview, config_key: str) -> str:
    """The name (hex) of the entry for this module, `Config.cache_key()`, this machine and this version.

    In a checkout, also for this state of the compiler's sources: a mended compiler never runs what it made before.
    """
    version = (VERSION, str(FORMAT_VERSION), abi_hash(), COMPILER_STATE)
    parts = (*version, host_fingerprint(), config_key, hashlib.sha256(wasm).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Cache:
    """The entries in one directory, which is made when first written to.

    `max_bytes` bounds their sum: the least recently used go first. Any number of processes, and users, may share a
    directory; users have entries of their own. `secret` authenticates them; None: the user's own key.
    """

    def __init__(
        self, directory: str | os.PathLike[str], max_bytes: int = DEFAULT_MAX_BYTES, secret: bytes | None = None
    ) -> None:
        self.directory = Path(directory)
        self.max_bytes = max_bytes
        self._secret = secret if secret is not None else user_key()

    def _path(self, key: str, secret: bytes) -> Path:
        return self.directory / (hmac.digest(secret, key.encode(), "sha256").hex() + _SUFFIX)

    @staticmethod
    def _tag(path: Path, contents: bytes | memoryview, secret: bytes) -> bytes:
        # One-shot, and so without a copy; the hash of the name comes first by being part of the key.
        return hmac.digest(secret + path.name.encode(), contents, "sha256")

    @contextlib.contextmanager
    def making(self, key: str) -> Iterator[None]:
        """Waits, for some time, until no other process makes the entry called `key`.

        A program that is run many times must not be optimised by as many processes. Without effect where the directory
        cannot be written to.
        """
        if self._secret is None:
            yield
            return
        own = self.directory / (_LOCK_PREFIX + self._path(key, self._secret).stem)
        with _locked(own):
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # whoever waits for it has it open
                    own.unlink()

    def load(self, key: str, config_key: str | None = None) -> Artifact | None:
        """The entry called `key`, None if there is none that can be used. A damaged one is removed."""
        if self._secret is None:
            return None
        path = self._path(key, self._secret)
        try:
            with open(open_regular(path), "rb") as file:
                status = os.fstat(file.fileno())
                if not _is_trusted(status):
                    return None
                artifact = Artifact.map_file(file.fileno(), str(path), max(status.st_size - _TAG_BYTES, 0))
                tag = os.pread(file.fileno(), _TAG_BYTES, status.st_size - _TAG_BYTES)
                if not hmac.compare_digest(tag, self._tag(path, artifact.serialized, self._secret)):
                    raise ArtifactError(f"{path} was not written with this user's key")
                artifact.check_compatible(config_key, runs_here=False)
            with contextlib.suppress(OSError):
                os.utime(path)  # the time of last use
            return artifact
        except ArtifactError:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        except OSError:
            return None

    def store(self, key: str, artifact: Artifact) -> bool:
        """Make `artifact` the entry called `key`; False if that was not possible (disk full, no permission, ...)."""
        data = artifact.serialized
        if self._secret is None or len(data) + _TAG_BYTES > self.max_bytes:
            return False
        path = self._path(key, self._secret)
        try:
            import tempfile  # not needed by those who find what they look for

            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=self.directory)
            try:
                with open(descriptor, "wb") as file:
                    file.write(data)
                    file.write(self._tag(path, data, self._secret))
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            self.clean_up()
        except (OSError, ImportError):
            return False
        return True

    def clean_up(self) -> int:
        """Remove the least recently used entries while all of them exceed `max_bytes`, and leftovers of processes that
        died; returns how many entries went."""
        entries: list[tuple[float, int, str]] = []
        now = time.time()
        with os.scandir(self.directory) as listing:
            for item in listing:
                with contextlib.suppress(OSError):
                    status = item.stat(follow_symlinks=False)
                    if item.name.endswith(_SUFFIX):
                        entries.append((status.st_mtime, status.st_size, item.path))
                    elif item.name.startswith(_TEMPORARY_PREFIX) and now - status.st_mtime > _ABANDONED_SECONDS:
                        os.unlink(item.path)
                    elif item.name.startswith(_LOCK_PREFIX):
                        _remove_if_free(item.path)
        total = sum(size for _, size, _ in entries)
        if total <= self.max_bytes:
            return 0
        removed = 0
        for _, size, path in sorted(entries):
            if total <= self.max_bytes * _CLEAN_TO:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
            removed += 1
        return removed


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the file. Raises OSError, also if it is no regular file: opening a FIFO would wait for ever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return descriptor


# ---- the one process that goes on after a program's end (tiers/background.py) ----


def background_lock_path() -> Path:
    """The file whose lock the user's one process holds; its contents are the process's id."""
    return user_key_path().with_name("background.lock")


def take_background_turn() -> int | None:
    """A descriptor that holds the lock, for as long as it is open anywhere; None if another process has it.

    Waits for nothing. None also where there is nowhere to put the file.
    """
    import fcntl

    try:
        path = background_lock_path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def background_process() -> int | None:
    """The id of the user's process that goes on now."""
    import fcntl

    try:
        descriptor = open_regular(background_lock_path(), os.O_RDONLY)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            text = file.read(20).decode(errors="replace").strip()
            return int(text) if text.isdecimal() else None
    return None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """With the lock that the file at `path` stands for; without it where that cannot be, or takes too long."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
            while True:
                descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT)
                stack.enter_context(open(descriptor, "ab"))  # closing it gives the lock back
                # Whoever had it may have removed the file, and another have made one since.
                if not _take_lock(descriptor, deadline) or _is_at(path, descriptor):
                    break
        yield


def _take_lock(descriptor: int, deadline: float) -> bool:
    """Waits until no other process has the lock of a file; whether this one has it now."""
    import fcntl

    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_AGAIN_SECONDS)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one at `path`."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _remove_if_free(path: str) -> None:
    """Removes a lock's file that a process left which was killed. Raises OSError if another process has the lock."""
    import fcntl

    with open(open_regular(Path(path), os.O_WRONLY), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)


def _is_trusted(status: os.stat_result) -> bool:
    """Whether only this user, or root, could have written the file."""
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid in (os.geteuid(), 0)
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
