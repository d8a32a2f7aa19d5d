"""Compiled modules on disk, by content: the second run of a program starts at full speed.

An entry is a ``.cwasm`` named by a hash of everything that its code depends on. Entries appear atomically, are checked
wholly when read, and ignored and removed when damaged; a cache that cannot be read or written is no error. It holds
native code, so entries that another user could have written are not taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .artifact import FORMAT_VERSION, Artifact, abi_hash
from .errors import ArtifactError
from .target import host_fingerprint
from .version import VERSION

DEFAULT_MAX_BYTES = 1 << 30
_SUFFIX = ".cwasm"
_TEMPORARY_PREFIX = ".new-"
# Clean-up goes below the limit by this part, so that it does not run at every store.
_CLEAN_TO = 0.75
_ABANDONED_SECONDS = 3600


def entry_key(wasm: bytes | memoryview, config_key: str) -> str:
    """The name (hex) of the entry for this module, `Config.cache_key()`, this machine and this version."""
    parts = (VERSION, str(FORMAT_VERSION), abi_hash(), host_fingerprint(), config_key, hashlib.sha256(wasm).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Cache:
    """The entries in one directory, which is made when first written to.

    `max_bytes` bounds their sum: the least recently used go first. Any number of processes may share a directory.
    """

    def __init__(self, directory: str | os.PathLike[str], max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.directory = Path(directory)
        self.max_bytes = max_bytes

    def get_or_make(self, wasm: bytes | memoryview, config_key: str, make: Callable[[], Artifact]) -> Artifact:
        """The entry for `wasm`, or what `make` returns, which becomes the entry."""
        key = entry_key(wasm, config_key)
        artifact = self.load(key, config_key)
        if artifact is None:
            artifact = make()
            self.store(key, artifact)
        return artifact

    def load(self, key: str, config_key: str | None = None) -> Artifact | None:
        """The entry called `key`, None if there is none that can be used. A damaged one is removed."""
        path = self.directory / (key + _SUFFIX)
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                if not _is_trusted(status):
                    return None
                artifact = Artifact.map_file(file.fileno(), str(path))
                artifact.verify()
                artifact.check_compatible(config_key)
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
        data = artifact.to_bytes()
        if len(data) > self.max_bytes:
            return False
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=self.directory)
            try:
                with open(descriptor, "wb") as file:
                    file.write(data)
                os.replace(temporary, self.directory / (key + _SUFFIX))
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            self.clean_up()
        except OSError:
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


def _is_trusted(status: os.stat_result) -> bool:
    """Whether only this user, or root, could have written the file."""
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid in (os.geteuid(), 0)
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
