"""Modules in many processes and machines: each receives an artifact once, known by the hash of its contents.

A Module travels by pickle, whole each time. Where many tasks use one module, send the artifact (`Module.serialize`)
once, by whatever the cluster has for that, and with each task a `ModuleReference`, a few hundred bytes; `module_from`
makes the Module in the other process on first use and gives the same one from then on. ``examples/dask_map.py`` does it
with Dask.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..config import Config
from ..errors import ArtifactError
from .module import Module
from .pickles import unpickle

# As many modules a process keeps; the one that was not used for longest goes first.
MAX_MODULES = 32


@dataclass(frozen=True)
class ModuleReference:
    """Which artifact is meant: its SHA-256 in hex, its size, and the Config of the Engine it is for. Can be pickled."""

    digest: str
    size_bytes: int
    config: Config

    @property
    def _key(self) -> tuple[str, str]:
        return self.digest, repr(self.config)


class CacheInfo(NamedTuple):
    """What `module_from` did in this process: artifacts fetched, calls that needed none, modules kept now."""

    fetches: int
    hits: int
    modules: int


class _Entry:
    """A module to be, and who makes it."""

    __slots__ = ("lock", "module")

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a finalizer or a signal handler may want the same one
        self.module: Module | None = None


class _Modules:
    """The modules of this process."""

    def __init__(self) -> None:
        self.entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self.lock = threading.RLock()
        self.fetches = 0
        self.hits = 0

    def entry(self, key: tuple[str, str]) -> _Entry:
        """The one under this key, now the newest."""
        with self.lock:
            entry = self.entries.setdefault(key, _Entry())
            self.entries.move_to_end(key)
            while len(self.entries) > MAX_MODULES:
                self.entries.popitem(last=False)
            return entry

    def count(self, *, fetched: bool) -> None:
        with self.lock:
            self.fetches += fetched
            self.hits += not fetched

    def after_fork(self) -> None:
        """In a child: what was made is good there too; who was making one has not come along."""
        made = [(key, entry.module) for key, entry in self.entries.items() if entry.module is not None]
        self.__init__()  # type: ignore[misc]
        for key, module in made:
            self.entries[key] = _Entry()
            self.entries[key].module = module


_modules = _Modules()
os.register_at_fork(after_in_child=lambda: _modules.after_fork())


def module_reference(module: Module) -> ModuleReference:
    """The reference to `module`, for `module_from` in other processes.

    >>> from wasmjit import Engine
    >>> module = Module(Engine(), "(module)")
    >>> reference = module_reference(module)
    >>> reference.size_bytes == len(module.serialize()), len(reference.digest)
    (True, 64)
    """
    if not isinstance(module, Module):
        raise TypeError("expected a Module")
    artifact = module.serialize()
    return ModuleReference(hashlib.sha256(artifact).hexdigest(), len(artifact), module.engine._config.copy())


def module_from(reference: ModuleReference, fetch: Callable[[], bytes | bytearray]) -> Module:
    """The Module that `reference` means, the same one for the whole process; thread-safe.

    `fetch` returns the artifact, the bytes of `Module.serialize`; it is called only where this process does not have
    the module, by one thread at a time. Modules of equal Configs share an Engine: make Stores with ``module.engine``.
    Raises ArtifactError if what it returns is something else, or where `Module.deserialize` would; and what it raises.
    Artifacts hold native code: use those whose reference came from somebody you trust.

    >>> from wasmjit import Engine
    >>> module = Module(Engine(), '(module (func (export "run")))')
    >>> module_from(module_reference(module), module.serialize).exports
    [<ExportType run [] -> []>]
    """
    if not isinstance(reference, ModuleReference):
        raise TypeError("expected a ModuleReference")
    entry = _modules.entry(reference._key)
    with entry.lock:
        module = entry.module
        fetched = module is None or module._closed
        if module is None or module._closed:
            received = _receive(reference, fetch())
            module = entry.module
            if module is None or module._closed:  # still
                module = entry.module = received
    _modules.count(fetched=fetched)
    return module


def _receive(reference: ModuleReference, artifact: bytes | bytearray) -> Module:
    digest = hashlib.sha256(artifact).hexdigest()
    if digest != reference.digest:
        raise ArtifactError(
            f"expected the artifact with SHA-256 {reference.digest} ({reference.size_bytes} bytes), "
            f"received {digest} ({len(artifact)} bytes)"
        )
    return unpickle(Module.deserialize, reference.config, bytes(artifact))


def cache_info() -> CacheInfo:
    """How often `module_from` fetched in this process, and how often it did not have to.

    >>> cache_info()._fields
    ('fetches', 'hits', 'modules')
    """
    with _modules.lock:
        kept = sum(entry.module is not None for entry in _modules.entries.values())
        return CacheInfo(_modules.fetches, _modules.hits, kept)


__all__ = ["CacheInfo", "ModuleReference", "cache_info", "module_from", "module_reference"]
