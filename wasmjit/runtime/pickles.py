"""Modules out of pickles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .. import processes
from ..config import Config
from .engine import Engine

_Made = TypeVar("_Made")

_unpickling = processes.lock()  # a finalizer or a signal handler may unpickle, too
_unpickled_engines: dict[str, Engine] = {}  # by what the Config's options are


def unpickle(deserialize: Callable[[Engine, bytes], _Made], config: Config, artifact: bytes) -> _Made:
    """The module of an artifact, in the one Engine that all of an equal Config share here."""
    with _unpickling:
        engine = _unpickled_engines.get(repr(config))
        if engine is None or engine._closed:
            made = Engine(config)
            engine = _unpickled_engines.get(repr(config))
            if engine is None or engine._closed:  # still
                engine = _unpickled_engines[repr(config)] = made
    return deserialize(engine, artifact)
